//! A channel of an Sv2 device, as one of those who mine.

use std::collections::BTreeMap;
use std::sync::Arc;

use roles_logic_sv2::channels::{ChannelKind, PayoutId};
use roles_logic_sv2::job::ChainTip;
use roles_logic_sv2::share::RejectReason;
use roles_logic_sv2::target::{Difficulty, Target};
use stratum_translation::bridge::{ChannelWork, UpstreamCounts};

use crate::device::DeviceId;
use crate::miner::ChannelRef;

/// A channel upstream whose jobs a leaf was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) channel: ChannelRef,
    /// Its name among the works of the device.
    pub(crate) payout: PayoutId,
}

/// An open channel of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenLeaf {
    pub(crate) channel_id: u32,
    /// Bytes of extranonce that the device sees.
    pub(crate) shown: usize,
}

/// A channel of a device.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) device: DeviceId,
    pub(crate) kind: ChannelKind,
    /// `None` as long as the device waits for the answer.
    pub(crate) open: Option<OpenLeaf>,
    /// Least extranonce bytes that the device needs for itself.
    pub(crate) min_extranonce_size: u16,
    /// Hashes a second, as the device claims.
    pub(crate) nominal_hash_rate: f32,
    /// Hashes a second, as its shares show; 0 before the first.
    pub(crate) hashrate: f64,
    pub(crate) difficulty: f64,
    pub(crate) max_target: Target,
    /// Where its present jobs come from, and where those before did.
    pub(crate) given: Option<Given>,
    pub(crate) former: Option<Given>,
    pub(crate) tip: Option<Arc<ChainTip>>,
    /// Frames of unknown extensions have passed between it and its upstream.
    pub(crate) has_foreign: bool,
    pub(crate) accepted: u64,
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    pub(crate) upstream: UpstreamCounts,
}

impl Leaf {
    /// Bytes of extranonce that the device sees; `None` before its channel is open.
    pub(crate) fn shown(&self) -> Option<usize> {
        self.open.map(|open| open.shown)
    }

    pub(crate) fn is_standard(&self) -> bool {
        self.kind == ChannelKind::Standard
    }

    /// Whether this work is on another block than the present one.
    pub(crate) fn is_new_tip(&self, work: &ChannelWork) -> bool {
        self.tip.as_ref() != Some(work.work().tip())
    }

    /// The works that its device has from a channel upstream.
    pub(crate) fn payout_of(&self, channel: ChannelRef) -> Option<PayoutId> {
        let mut given = [self.given, self.former].into_iter().flatten();
        let found = given.find(|given| given.channel == channel);
        found.map(|given| given.payout)
    }

    /// Its jobs come from another channel upstream; whether they did not before.
    pub(crate) fn give(&mut self, given: Given) -> bool {
        let before = self.given.replace(given);
        if before == Some(given) {
            return false;
        }
        self.former = before;
        before.is_some()
    }

    pub(crate) fn count(&mut self, outcome: Result<Difficulty, RejectReason>) {
        match outcome {
            Ok(_) => self.accepted += 1,
            Err(reason) => *self.rejected.entry(reason.error_code()).or_default() += 1,
        }
    }
}
