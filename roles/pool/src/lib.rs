//! A Stratum V2 mining pool.

mod counters;
mod ledger;
mod server;
mod session;
mod source;

pub use server::{
    BLOCKS_WAITING_MAX, Config, MAX_PAYLOAD_LEN, Pool, Snapshot, StartError, Watcher,
};
pub use source::{RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN, SourceSnapshot, TemplateSource};
