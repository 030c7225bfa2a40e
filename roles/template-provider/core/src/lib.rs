//! The template provider's rules without I/O.
//!
//! A [`Downstream`] is the server's side of one connection. It has four verbs: `handle_*` takes what happened,
//! [`Downstream::handle_timeout`] that time has passed, [`Downstream::poll_output`] gives what is to be done, one
//! [`Output`] after another until there is none, and [`Downstream::poll_timeout`] says when to come back. Templates,
//! transactions and solutions are the template server's business ([`roles_logic_sv2::template_server`]); a connection
//! asks for them by an output and is given the answer by a `handle_*`.
//!
//! ```
//! use const_sv2::Protocol;
//! use framing_sv2::{Frame, Sv2Frame};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::setup::{Endpoint, SetupRequest};
//! use template_distribution_sv2::CoinbaseOutputConstraints;
//! use template_provider_core::{Downstream, Limits, Output};
//!
//! let now = Now::default();
//! let mut downstream = Downstream::new(Limits::default(), now);
//!
//! let setup = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0).message(&Endpoint::default());
//! downstream.handle_frame(&Sv2Frame::from_message(&setup)?, now);
//! let Some(Output::Send(answer)) = downstream.poll_output() else { panic!("setup is answered") };
//! assert_eq!(answer.header().msg_type(), 0x01);
//!
//! let constraints = CoinbaseOutputConstraints {
//!     coinbase_output_max_additional_size: 43,
//!     coinbase_output_max_additional_sigops: 0,
//! };
//! downstream.handle_frame(&Sv2Frame::from_message(&constraints)?, now);
//! assert!(matches!(downstream.poll_output(), Some(Output::Subscribe { after: None, .. })));
//! # Ok::<(), framing_sv2::FrameError>(())
//! ```

mod budget;
mod downstream;
mod reject;

pub use budget::{CONSTRAINTS_COST, FRAME_COST, REFUSED_SOLUTION_COST, TRANSACTION_DATA_COST};
pub use downstream::{Downstream, Limits, Output};
pub use reject::Reject;

#[cfg(test)]
mod tests;
