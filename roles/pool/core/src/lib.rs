//! The pool's rules without I/O.
//!
//! Work comes as an active template from `roles_logic_sv2::template_client`. Each core of the machine has a
//! [`shard::Shard`], which turns it into jobs, and one [`downstream::Downstream`] for each connection.
//!
//! ```
//! use std::sync::Arc;
//! use pool_core::downstream::{Downstream, Output};
//! use pool_core::payout::PoolPayouts;
//! use pool_core::shard::{PoolConfig, Shard};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::setup::{Endpoint, SetupRequest};
//! use binary_sv2::Encodable;
//!
//! let payouts = PoolPayouts::new(bitcoin::Network::Regtest, [("raw(51)", 1)]).unwrap();
//! let config = Arc::new(PoolConfig::new(payouts));
//! let mut shard = Shard::new(config, 0).unwrap();
//! let mut downstream = Downstream::new(&shard, Now::default());
//!
//! let setup = SetupRequest::mining(0).message(&Endpoint::default()).to_vec();
//! downstream.handle_frame(0, 0x00, &setup, &mut shard, Now::default());
//! let Some(Output::Send(answer)) = downstream.poll_output() else { panic!("setup is answered") };
//! assert_eq!(answer.kind().name, "SetupConnection.Success");
//! ```

pub mod descriptor;
pub mod downstream;
pub mod payout;
pub mod shard;
pub mod sv1;
