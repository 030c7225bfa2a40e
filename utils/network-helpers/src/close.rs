//! Why connections end.

use std::sync::atomic::{AtomicU64, Ordering};

use codec_sv2::{DecodeError, EncodeError};
use thiserror::Error;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal $message:literal,)*) => {
        /// Why a connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* #[error($message)] $variant,)*
        }

        impl CloseReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason's name in metrics and logs. It never changes.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

close_reasons! {
    /// The peer closed it between two messages.
    PeerClosed "peer_closed" "the peer closed the connection",
    /// The peer closed it in the middle of a message.
    Truncated "truncated" "the peer closed the connection in the middle of a message",
    /// The operating system reports an error, such as a reset.
    Io "io" "the connection broke",
    /// The handshake was not complete in time, or nothing came at all.
    HandshakeTimeout "handshake_timeout" "the handshake was not complete in time",
    /// The peer closed the connection during the handshake.
    HandshakeClosed "handshake_closed" "the peer closed the connection during the handshake",
    /// The handshake failed: other protocol, other authority, expired certificate.
    HandshakeFailed "handshake_failed" "the handshake failed",
    /// A trusted proxy sent no header of the PROXY protocol, or a wrong one.
    ProxyHeader "proxy_header" "a trusted proxy did not send a valid PROXY header",
    /// A header announces a longer payload than is accepted.
    PayloadTooLong "payload_too_long" "a frame announced a longer payload than is accepted",
    /// A frame cannot be decrypted: mostly a peer that does not speak the protocol.
    Undecryptable "undecryptable" "a frame cannot be decrypted",
    /// Nothing was received for too long.
    Idle "idle" "nothing was received for too long",
    /// The peer does not read what it is sent.
    SlowConsumer "slow_consumer" "the peer reads too slowly",
    /// An own message could not be encoded: a defect of this program.
    Unsendable "unsendable" "a message could not be encoded",
    /// The peer broke the rules of the protocol; the core has said so where the protocol allows.
    Protocol "protocol" "the peer broke the rules of the protocol",
    /// The role has no further use for the connection.
    Finished "finished" "the connection is no longer needed",
    /// The program is shutting down.
    Shutdown "shutdown" "the program is shutting down",
    /// What a connection depends on inside the program does not keep up.
    Overloaded "overloaded" "the program is overloaded",
}

impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::PayloadTooLong { .. } => Self::PayloadTooLong,
            _ => Self::Undecryptable,
        }
    }
}

impl From<EncodeError> for CloseReason {
    fn from(_: EncodeError) -> Self {
        Self::Unsendable
    }
}

impl From<std::io::Error> for CloseReason {
    fn from(_: std::io::Error) -> Self {
        Self::Io
    }
}

/// How many connections ended, by reason.
#[derive(Debug)]
pub struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// Counts one end.
    pub fn count(&self, reason: CloseReason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of connections that ended for `reason`.
    pub fn of(&self, reason: CloseReason) -> u64 {
        let count = self.0.get(reason as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL
            .iter()
            .map(|reason| (*reason, self.of(*reason)))
    }
}

impl Default for CloseCounts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CloseReason::ALL.len()])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_counter_of_its_own() {
        let names: HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.name())
            .collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
        let counts = CloseCounts::default();
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            (0..=index).for_each(|_| counts.count(*reason));
        }
        let counted: Vec<_> = counts.iter().map(|(_, count)| count).collect();
        assert_eq!(counted, (1..=counted.len() as u64).collect::<Vec<_>>());
    }
}
