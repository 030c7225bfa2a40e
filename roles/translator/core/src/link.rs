//! One connection to an upstream, with what it means to the miners.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::job::Job;
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::upstream::{OutgoingShare, UpstreamSession};
use stratum_translation::bridge::ChannelWork;

use crate::miner::MinerId;
use stratum_translation::layout::Layout;

/// Shares of one channel that wait for an answer. One more pushes out the oldest, which then counts as lost.
pub const MAX_IN_FLIGHT: usize = 65_536;

/// How long a connection that is no longer used stays for the answers to its last shares.
pub const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// How long an open channel may be without work; then the upstream is of no use.
pub(crate) const WORK_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection to an upstream; its number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) u64);

/// What is to be done for one connection to an upstream.
#[derive(Clone, Debug)]
pub enum LinkOutput {
    /// Send this.
    Send(AnyMessage<'static>),
    /// Send this share, with the worker's name behind it.
    Share(OutgoingShare),
    /// Send what is queued, then close; nothing follows.
    Close,
}

/// A channel, and whose shares on it wait.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Whose it is; everyone's when `None`.
    pub(crate) owner: Option<MinerId>,
    in_flight: VecDeque<(u32, MinerId)>,
}

impl Channel {
    pub(crate) fn of(owner: Option<MinerId>) -> Self {
        Self {
            owner,
            in_flight: VecDeque::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A share went out. Gives the miner of one that is no longer waited for.
    pub(crate) fn sent(&mut self, sequence_number: u32, miner: MinerId) -> Option<MinerId> {
        let oldest = if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.in_flight.pop_front()
        } else {
            None
        };
        self.in_flight.push_back((sequence_number, miner));
        oldest.map(|(_, miner)| miner)
    }

    /// The next miner one of whose shares is acknowledged by this number. Numbers may wrap.
    pub(crate) fn acknowledged(&mut self, last: u32) -> Option<MinerId> {
        let (sequence_number, _) = self.in_flight.front()?;
        if last.wrapping_sub(*sequence_number) >= 1 << 31 {
            return None;
        }
        self.in_flight.pop_front().map(|(_, miner)| miner)
    }

    /// The miner whose share is rejected.
    pub(crate) fn rejected(&mut self, sequence_number: u32) -> Option<MinerId> {
        let mut waiting = self.in_flight.iter();
        let at = waiting.position(|(number, _)| *number == sequence_number)?;
        self.in_flight.remove(at).map(|(_, miner)| miner)
    }

    /// The miners whose shares will never be answered.
    pub(crate) fn lost(self) -> impl Iterator<Item = MinerId> {
        self.in_flight.into_iter().map(|(_, miner)| miner)
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) upstream: usize,
    /// `None` before the connection is made.
    pub(crate) session: Option<UpstreamSession>,
    /// The connection that it takes the place of, on the upstream's own wish.
    pub(crate) replaces: Option<LinkId>,
    /// Which of the sizes of extranonce was asked for.
    pub(crate) size_index: usize,
    pub(crate) channels: BTreeMap<u32, Channel>,
    /// Who asked for channels; everyone when `None`.
    pub(crate) requests: BTreeMap<u32, Option<MinerId>>,
    /// The work of the channel that is everyone's.
    pub(crate) work: Option<Arc<ChannelWork>>,
    /// What miners get of the extranonce; `None` before it is known.
    pub(crate) layout: Option<Layout>,
    pub(crate) is_ready: bool,
    /// The upstream opens no channel for nobody: it waits for the first miner.
    pub(crate) waits_for_miners: bool,
    /// When the upstream has to have given work.
    pub(crate) work_deadline: Option<Instant>,
    /// The last job whose payout was found right.
    pub(crate) checked_job: Option<Arc<Job>>,
    /// No longer used; until then it waits for answers.
    pub(crate) leaves_at: Option<Instant>,
    pub(crate) told_hashrate: f32,
    pub(crate) is_woken: bool,
    pub(crate) outputs: VecDeque<LinkOutput>,
}

impl Link {
    pub(crate) fn new(upstream: usize, replaces: Option<LinkId>) -> Self {
        Self {
            upstream,
            session: None,
            replaces,
            size_index: 0,
            channels: BTreeMap::new(),
            requests: BTreeMap::new(),
            work: None,
            layout: None,
            is_ready: false,
            waits_for_miners: false,
            work_deadline: None,
            checked_job: None,
            leaves_at: None,
            told_hashrate: 0.0,
            is_woken: false,
            outputs: VecDeque::new(),
        }
    }

    /// The channel that is everyone's.
    pub(crate) fn common_channel(&self) -> Option<u32> {
        let mut channels = self.channels.iter();
        let common = channels.find(|(_, channel)| channel.owner.is_none());
        common.map(|(channel_id, _)| *channel_id)
    }

    /// Shares that wait for an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.channels.values().map(Channel::in_flight).sum()
    }
}
