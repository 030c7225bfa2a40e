//! What it means for a connection and its address that the rules of Stratum V1 ended a miner.

use std::net::SocketAddr;
use std::time::Duration;

use network_helpers_sv2::CloseReason;
use sv1_api::server::CloseReason as MinerEnd;

use crate::Gate;

/// What a connection that the rules ended is counted as.
pub const fn close_reason(end: MinerEnd) -> CloseReason {
    match end {
        MinerEnd::LoginTimeout | MinerEnd::NoShares => CloseReason::Idle,
        MinerEnd::Reconnect => CloseReason::Finished,
        _ => CloseReason::Protocol,
    }
}

/// Bans the address of a miner that broke the rules for `duration`, and logs that; others may come back at once. Zero
/// bans nobody.
pub fn ban(gate: &Gate, peer: SocketAddr, end: MinerEnd, duration: Duration) {
    let why = match end {
        MinerEnd::TooManyFaults => "does not speak the protocol",
        MinerEnd::TooManyLines => "too many lines a second",
        MinerEnd::TooManyHeld => "too many requests before the first answer",
        _ => return,
    };
    if !duration.is_zero() {
        tracing::warn!(%peer, reason = why, secs = duration.as_secs(), "banned");
        gate.ban(peer.ip(), duration, why, tokio::time::Instant::now());
    }
}
