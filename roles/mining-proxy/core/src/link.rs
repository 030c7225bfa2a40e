//! One connection to an upstream, with what it means to the miners.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use mining_sv2::SubmitSharesStandard;
use roles_logic_sv2::channels::PayoutId;
use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::job::{ChainTip, Job};
use roles_logic_sv2::messages::{AnyMessage, ForwardedFrame};
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::{OutgoingShare, UpstreamSession};
use stratum_translation::bridge::ChannelWork;

use crate::miner::MinerId;
use stratum_translation::layout::Layout;

/// Shares of one channel that wait for an answer. One more pushes out the oldest, which then counts as lost.
pub const MAX_IN_FLIGHT: usize = 65_536;

/// How long a connection, or a miner's channel, that is no longer used stays for the answers to its last shares.
pub const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// The longest that a connection stays for miners that still mine on it, as their channels elsewhere are being opened.
pub(crate) const MAX_LEAVE: Duration = Duration::from_secs(60);

/// How often it is looked whether they are gone.
pub(crate) const LEAVE_STEP: Duration = Duration::from_secs(1);

/// How long an open channel may be without work; then the upstream is of no use.
pub(crate) const WORK_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests for channels that are under way at a time. Further miners wait for their turn.
pub(crate) const MAX_OPENS_UNDER_WAY: usize = 256;

/// Moves to another place on an upstream's own wish, within [`MOVE_INTERVAL`]; further ones are ignored: two places that
/// each name the other must not keep us busy.
pub(crate) const MAX_MOVES: u32 = 3;

/// See [`MAX_MOVES`].
pub(crate) const MOVE_INTERVAL: Duration = Duration::from_secs(60);

/// One connection to an upstream; its number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(NonZeroU64);

impl LinkId {
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number by which its work is known.
    pub(crate) const fn source(self) -> u64 {
        self.0.get()
    }

    /// The link whose work has this number.
    pub(crate) const fn of_source(source: u64) -> Option<Self> {
        match NonZeroU64::new(source) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// What is to be done for one connection to an upstream.
#[derive(Clone, Debug)]
pub enum LinkOutput {
    /// Send this.
    Send(AnyMessage<'static>),
    /// Send this share, with the worker's name behind it.
    Share(OutgoingShare),
    /// Send this share of a standard channel.
    StandardShare(SubmitSharesStandard),
    /// Send this as it is.
    Forward(ForwardedFrame),
    /// Send what is queued, then close; nothing follows.
    Close,
}

/// A share that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) miner: MinerId,
    /// The number that a device gave it, where it is to hear what the upstream says.
    pub(crate) own_number: Option<u32>,
}

/// A channel, and whose shares on it wait.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Whose it is; everyone's when `None`.
    pub(crate) owner: Option<MinerId>,
    /// The name of its work among the works of a device.
    pub(crate) payout: PayoutId,
    /// When it has to have got work; `None` while it has some.
    pub(crate) work_due: Option<Instant>,
    /// Its owner is gone, and the last answers are waited for.
    pub(crate) is_retired: bool,
    /// When it is closed, as its owner is gone or works elsewhere.
    pub(crate) closes_at: Option<Instant>,
    last_sent: u32,
    in_flight: VecDeque<(u32, Sent)>,
}

impl Channel {
    pub(crate) const fn of(owner: Option<MinerId>, payout: PayoutId) -> Self {
        Self {
            owner,
            payout,
            work_due: None,
            is_retired: false,
            closes_at: None,
            last_sent: 0,
            in_flight: VecDeque::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A share went out. Gives one that is no longer waited for.
    pub(crate) fn sent(&mut self, sequence_number: u32, sent: Sent) -> Option<Sent> {
        let oldest = if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.in_flight.pop_front()
        } else {
            None
        };
        self.last_sent = sequence_number;
        self.in_flight.push_back((sequence_number, sent));
        oldest.map(|(_, sent)| sent)
    }

    /// Whether a share with this number was sent. Numbers may wrap.
    pub(crate) const fn was_sent(&self, sequence_number: u32) -> bool {
        self.last_sent.wrapping_sub(sequence_number) < 1 << 31
    }

    /// The next share that is acknowledged by this number.
    pub(crate) fn acknowledged(&mut self, last: u32) -> Option<Sent> {
        let (sequence_number, _) = self.in_flight.front()?;
        if last.wrapping_sub(*sequence_number) >= 1 << 31 {
            return None;
        }
        self.in_flight.pop_front().map(|(_, sent)| sent)
    }

    /// The share that is rejected.
    pub(crate) fn rejected(&mut self, sequence_number: u32) -> Option<Sent> {
        let mut waiting = self.in_flight.iter();
        let at = waiting.position(|(number, _)| *number == sequence_number)?;
        self.in_flight.remove(at).map(|(_, sent)| sent)
    }

    /// The shares that will never be answered.
    pub(crate) fn lost(self) -> impl Iterator<Item = Sent> {
        self.in_flight.into_iter().map(|(_, sent)| sent)
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) upstream: usize,
    /// All miners share one channel.
    pub(crate) is_aggregated: bool,
    /// Where it goes to.
    pub(crate) place: (String, u16),
    /// `None` before the connection is made.
    pub(crate) session: Option<UpstreamSession>,
    /// What the session asks for is being carried out, further up the stack.
    pub(crate) is_busy: bool,
    /// The connection that it takes the place of, on the upstream's own wish.
    pub(crate) replaces: Option<LinkId>,
    /// Which of the sizes of extranonce was asked for.
    pub(crate) size_index: usize,
    pub(crate) channels: BTreeMap<u32, Channel>,
    /// Who asked for channels; everyone when `None`.
    pub(crate) requests: BTreeMap<u32, Option<MinerId>>,
    /// Whose request waits until others are answered.
    pub(crate) waiting: VecDeque<MinerId>,
    /// The work of the channel that is everyone's.
    pub(crate) work: Option<Arc<ChannelWork>>,
    /// The tip of the newest work.
    pub(crate) tip: Option<Arc<ChainTip>>,
    /// What miners get of the extranonce; `None` before it is known.
    pub(crate) layout: Option<Layout>,
    pub(crate) is_ready: bool,
    /// Miners mined here.
    pub(crate) was_used: bool,
    /// Some of its work came with a version that has to be left as it is, whatever it said at setup.
    pub(crate) gave_fixed_version: bool,
    /// The upstream opens no channel for nobody: it waits for the first miner.
    pub(crate) waits_for_miners: bool,
    /// When channels have to have got work, and which.
    pub(crate) work_deadlines: VecDeque<(Instant, u32)>,
    /// When channels that nobody mines on any more are closed at last.
    pub(crate) retired: VecDeque<(Instant, u32)>,
    /// The last job whose payout was found right.
    pub(crate) checked_job: Option<Arc<Job>>,
    /// No longer used; until then it waits for answers.
    pub(crate) leaves_at: Option<Instant>,
    /// At the latest then.
    pub(crate) leaves_by: Instant,
    /// The hash rate and the easiest target that the upstream was told of the channel that is everyone's.
    pub(crate) told_hashrate: f32,
    pub(crate) told_max_target: Target,
    /// Messages that had no effect, those apart that the session counts.
    pub(crate) ignored: u64,
    pub(crate) is_woken: bool,
    pub(crate) outputs: VecDeque<LinkOutput>,
}

impl Link {
    pub(crate) const fn new(
        upstream: usize,
        is_aggregated: bool,
        place: (String, u16),
        replaces: Option<LinkId>,
    ) -> Self {
        Self {
            upstream,
            is_aggregated,
            place,
            session: None,
            is_busy: false,
            replaces,
            size_index: 0,
            channels: BTreeMap::new(),
            requests: BTreeMap::new(),
            waiting: VecDeque::new(),
            work: None,
            tip: None,
            layout: None,
            is_ready: false,
            was_used: false,
            gave_fixed_version: false,
            waits_for_miners: false,
            work_deadlines: VecDeque::new(),
            retired: VecDeque::new(),
            checked_job: None,
            leaves_at: None,
            leaves_by: Instant::from_secs(0),
            told_hashrate: 0.0,
            told_max_target: Target::MAX,
            ignored: 0,
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

    /// All that the upstream sent here and that had no effect.
    pub(crate) fn ignored(&self) -> u64 {
        let session = self.session.as_ref();
        self.ignored + session.map_or(0, UpstreamSession::ignored)
    }

    /// Whether versions of its jobs have to be left as they are.
    pub(crate) fn has_fixed_version(&self) -> bool {
        let session = self.session.as_ref();
        self.gave_fixed_version || session.is_some_and(UpstreamSession::has_fixed_version)
    }

    /// A channel is closed after a while, unless its owner comes back to it.
    pub(crate) fn close_later(&mut self, channel_id: u32, at: Instant) {
        if let Some(channel) = self.channels.get_mut(&channel_id) {
            channel.work_due = None;
            channel.closes_at = Some(at);
            self.retired.push_back((at, channel_id));
        }
    }

    /// The owner of a channel comes back to it; `false` when it is not there any more.
    pub(crate) fn reopen(&mut self, channel_id: u32, owner: MinerId) -> bool {
        let channel = self.channels.get_mut(&channel_id);
        let channel = channel.filter(|channel| channel.owner == Some(owner));
        channel.is_some_and(|channel| channel.closes_at.take().is_some())
    }

    /// A channel has no work; it has to have got some by then.
    pub(crate) fn expect_work(&mut self, channel_id: u32, due: Instant) {
        let channel = self.channels.get_mut(&channel_id);
        if let Some(channel) = channel.filter(|channel| channel.work_due.is_none()) {
            channel.work_due = Some(due);
            self.work_deadlines.push_back((due, channel_id));
        }
    }

    /// The next time at which something is to be done here.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let work = self.work_deadlines.front().map(|(due, _)| *due);
        let retired = self.retired.front().map(|(due, _)| *due);
        [self.leaves_at, work, retired].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        Sent {
            miner: MinerId::new(7, 0),
            own_number: None,
        }
    }

    #[test]
    fn numbers_of_shares_may_wrap() {
        let miner = sent();
        let mut channel = Channel::of(None, PayoutId(0));
        for number in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert_eq!(channel.sent(number, miner), None);
        }
        assert!(channel.was_sent(u32::MAX) && channel.was_sent(1) && !channel.was_sent(2));
        assert_eq!(channel.rejected(0), Some(miner));
        assert_eq!(channel.rejected(0), None);
        let answered = std::iter::from_fn(|| channel.acknowledged(u32::MAX)).count();
        assert_eq!((answered, channel.in_flight()), (2, 1));
        assert_eq!(channel.acknowledged(1), Some(miner));
        assert_eq!(channel.acknowledged(1), None);
    }

    #[test]
    fn the_oldest_share_is_given_up_when_too_many_wait() {
        let miner = sent();
        let mut channel = Channel::of(None, PayoutId(0));
        for number in 0..MAX_IN_FLIGHT as u32 {
            assert_eq!(channel.sent(number, miner), None);
        }
        assert_eq!(channel.sent(MAX_IN_FLIGHT as u32, miner), Some(miner));
        assert_eq!(channel.in_flight(), MAX_IN_FLIGHT);
    }
}
