//! A miner's end of a connection: bytes in, events and bytes out, 80 bytes to hash, shares.
//!
//! It follows the rules of `roles_logic_sv2`, built for devices: at most one frame of the server is in memory at a time, jobs are kept as the
//! hash of what can be hashed of them, and every piece of memory is asked for in a way that can be refused. A call that is refused memory
//! gives `SV2_NO_MEMORY`, changes nothing, and may be repeated.
//!
//! Memory of one connection, in bytes: about 1 500 for itself and 500 for each channel, asked for or open; of each channel for the job under
//! way and up to [`MAX_FUTURE_JOBS`](channel::MAX_FUTURE_JOBS) future ones, if it is extended, the length of the coinbase's suffix, 192, and 32 for
//! each node of the merkle path; one frame while it arrives and is looked at, at most the longest payload that was agreed to and
//! its tags; and what waits to be sent, at most [`MAX_OUTGOING_LEN`](wire::MAX_OUTGOING_LEN).

mod channel;
mod client;
mod error;
mod exports;
mod job;
mod rules;
mod wire;

#[cfg(test)]
mod tests;

pub use exports::*;
