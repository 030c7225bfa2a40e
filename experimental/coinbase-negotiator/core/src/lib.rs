//! The room that outputs need in a coinbase, worked out and negotiated with a template provider: the rules, without I/O.
//!
//! A [`Negotiation`] learns the outputs (they are given, or a job declaration server names them with a token, JC-18), says
//! what they take with `CoinbaseOutputConstraints` (JC-19, TC-1), and judges the first template that comes: whether a
//! block can be made of it with these outputs. It is driven as every core here: `handle_*`, `handle_timeout`,
//! `poll_output`, `poll_timeout`.
//!
//! ```
//! use bitcoin::ScriptBuf;
//! use coinbase_negotiator_core::{Negotiation, Output, Party, Source, Terms};
//! use roles_logic_sv2::clock::Now;
//!
//! let outputs = vec![ScriptBuf::from(vec![0; 22])];
//! let mut negotiation = Negotiation::new(Terms::new(Source::Outputs(outputs)), Now::default());
//! assert!(matches!(negotiation.poll_output(), Some(Output::Told(_))));
//! assert!(matches!(negotiation.poll_output(), Some(Output::Connect(Party::TemplateProvider))));
//! negotiation.handle_connected(Party::TemplateProvider, Now::default());
//! let Some(Output::Send(_, setup)) = negotiation.poll_output() else { panic!() };
//! assert_eq!(setup.kind().name, "SetupConnection");
//! ```

mod check;
mod fault;
mod negotiation;

pub use check::{Figures, TemplateFault, Unreadable};
pub use fault::{Fault, OrderFault};
pub use negotiation::{
    Agreement, DEFAULT_ANSWER_TIMEOUT, MAX_DECLARED_OUTPUTS, MAX_REQUESTS, Negotiation, News,
    Output, Party, Source, Terms, Token,
};
