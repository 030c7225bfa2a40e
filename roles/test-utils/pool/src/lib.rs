//! A Stratum V2 pool for tests of miners.
pub mod core;
mod event;
mod misbehaviour;
mod script;

pub use event::{ConnectionId, Counters, Event, JudgedShare, MAX_ENDS, OTHER_ENDS};
pub use misbehaviour::{
    Delivery, Door, ErrorCode, Lie, Listed, MAX_DURATION, Misbehaviour, ParseError, Place,
    Reception,
};
pub use script::{Act, Command, MAX_WAITING_COMMANDS, ScriptError, parse_script};
