//! An upstream, whatever becomes of the connections to it.

use roles_logic_sv2::clock::Instant;

use crate::config::{ChannelMode, UpstreamConfig};
use crate::link::{LinkId, MAX_MOVES, MOVE_INTERVAL};
use crate::snapshot::UpstreamSnapshot;

/// One upstream that is configured, or once was.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    /// The configuration has it no longer.
    pub(crate) is_removed: bool,
    /// The connection that fail-over knows of.
    pub(crate) link: Option<LinkId>,
    /// Since when moves on its own wish are counted, and how many there were.
    moves: (Instant, u32),
    pub(crate) counts: UpstreamSnapshot,
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig, now: Instant) -> Self {
        Self {
            counts: UpstreamSnapshot {
                name: format!("{}:{}", config.host, config.port),
                ..UpstreamSnapshot::default()
            },
            config,
            is_removed: false,
            link: None,
            moves: (now, 0),
        }
    }

    /// Whether it is to be connected to and used.
    pub(crate) const fn is_wanted(&self) -> bool {
        !self.is_removed && !self.config.is_drained
    }

    pub(crate) const fn is_aggregated(&self) -> bool {
        matches!(self.config.mode, ChannelMode::Aggregated)
    }

    /// Whether it is the same in another configuration: what is there may go on.
    pub(crate) fn is(&self, config: &UpstreamConfig) -> bool {
        let own = &self.config;
        let is_same_place = own.host == config.host && own.port == config.port;
        is_same_place && own.user_identity == config.user_identity && own.mode == config.mode
    }

    /// Whether it may have us move once more; that is counted.
    pub(crate) fn may_move(&mut self, now: Instant) -> bool {
        let (since, moves) = &mut self.moves;
        if now - *since >= MOVE_INTERVAL {
            (*since, *moves) = (now, 0);
        }
        *moves += 1;
        *moves <= MAX_MOVES
    }
}
