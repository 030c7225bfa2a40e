//! Mining channels: what the server gives out on them and what the client makes of it (5).
//!
//! `server` holds the channels of one downstream connection, [`client`] those of one upstream connection. Both are
//! pure: messages and the time go in, messages and events come out.

pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod work;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

#[cfg(feature = "server")]
pub use work::{JobKey, PayoutId, PayoutWork, WorkState, WorkTerms};

/// The two kinds of channel that submit shares (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// The server fixes the coinbase; the client rolls version, ntime and nonce.
    Standard,
    /// The client rolls a part of the extranonce too.
    Extended,
}
