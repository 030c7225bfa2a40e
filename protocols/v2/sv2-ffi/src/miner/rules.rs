//! What a server's messages mean: the rules of [`ClientChannels`](roles_logic_sv2::channels::client::ClientChannels), which a test
//! compares them with, in memory that can be refused.

use alloc::vec::Vec;
use core::ops::Range;

use binary_sv2::B032;
use const_sv2::mining::CLOSE_CHANNEL;
use mining_sv2::{
    CloseChannel, MiningMessage, NewExtendedMiningJob, NewMiningJob,
    OpenExtendedMiningChannelSuccess, OpenStandardMiningChannelSuccess, SetExtranoncePrefix,
    SetGroupChannel, SetNewPrevHash, SubmitSharesSuccess,
};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::ClientReject;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::job::ChainTip;
use roles_logic_sv2::target::Target;

use crate::miner::channel::{Channel, State};
use crate::miner::error::{End, MinerError};
use crate::miner::job::{Job, Prefix, Trouble};
use crate::miner::wire::Outgoing;

/// Ids of closed channels and former groups that are remembered, for messages that were on their way. Once there were more,
/// no unknown id is held against the server any more.
const MAX_FORMER_IDS: usize = 16;

/// What a server did that the owner wants to know. `T` is text of the server's: a place in its frame, or the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event<T> {
    /// Channels may be opened now.
    Ready { server_flags: u32 },
    /// A channel is open; work follows.
    Opened { request_id: u32, channel_id: u32 },
    /// A channel was refused.
    OpenRefused { request_id: u32, text: T },
    /// There is something else to hash, or nothing any more.
    Work { channel_id: u32 },
    /// Shares were credited.
    Accepted(SubmitSharesSuccess),
    /// A share was rejected.
    Rejected {
        channel_id: u32,
        sequence_number: u32,
        text: T,
    },
    /// An update was refused.
    UpdateRefused { channel_id: u32, text: T },
    /// The server ended a channel.
    Closed { channel_id: u32, text: T },
    /// The server asks us to come again, maybe elsewhere.
    Reconnect { host: T, port: u16 },
    /// A message broke the rules and changed nothing; with it went this request for a channel, unless it is 0.
    Refused {
        reason: ClientReject,
        request_id: u32,
    },
    /// The connection is over.
    Ended { end: End, text: T },
}

impl<T> Event<T> {
    /// The same with its text read.
    pub(super) fn map<U>(self, read: impl FnOnce(T) -> U) -> Event<U> {
        match self {
            Self::Ready { server_flags } => Event::Ready { server_flags },
            Self::Opened {
                request_id,
                channel_id,
            } => Event::Opened {
                request_id,
                channel_id,
            },
            Self::OpenRefused { request_id, text } => Event::OpenRefused {
                request_id,
                text: read(text),
            },
            Self::Work { channel_id } => Event::Work { channel_id },
            Self::Accepted(message) => Event::Accepted(message),
            Self::Rejected {
                channel_id,
                sequence_number,
                text,
            } => Event::Rejected {
                channel_id,
                sequence_number,
                text: read(text),
            },
            Self::UpdateRefused { channel_id, text } => Event::UpdateRefused {
                channel_id,
                text: read(text),
            },
            Self::Closed { channel_id, text } => Event::Closed {
                channel_id,
                text: read(text),
            },
            Self::Reconnect { host, port } => Event::Reconnect {
                host: read(host),
                port,
            },
            Self::Refused { reason, request_id } => Event::Refused { reason, request_id },
            Self::Ended { end, text } => Event::Ended {
                end,
                text: read(text),
            },
        }
    }
}

/// Where text stands in a frame.
pub(super) type Place = Range<usize>;

/// Where `text` stands in the payload that it was decoded from.
pub(super) fn place(payload: &[u8], text: &[u8]) -> Place {
    let start = text.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
    start..start.saturating_add(text.len())
}

/// A channel as the server granted it.
struct Granted<'a> {
    kind: ChannelKind,
    request_id: u32,
    channel_id: u32,
    group_id: u32,
    target: Target,
    prefix: &'a B032<'a>,
    extranonce_size: usize,
}

impl<'a> From<&'a OpenStandardMiningChannelSuccess<'a>> for Granted<'a> {
    fn from(message: &'a OpenStandardMiningChannelSuccess<'a>) -> Self {
        Self {
            kind: ChannelKind::Standard,
            request_id: message.request_id,
            channel_id: message.channel_id,
            group_id: message.group_channel_id,
            target: Target::from_le_bytes(message.target.0),
            prefix: &message.extranonce_prefix,
            extranonce_size: 0,
        }
    }
}

impl<'a> From<&'a OpenExtendedMiningChannelSuccess<'a>> for Granted<'a> {
    fn from(message: &'a OpenExtendedMiningChannelSuccess<'a>) -> Self {
        Self {
            kind: ChannelKind::Extended,
            request_id: message.request_id,
            channel_id: message.channel_id,
            group_id: message.group_channel_id,
            target: Target::from_le_bytes(message.target.0),
            prefix: &message.extranonce_prefix,
            extranonce_size: usize::from(message.extranonce_size),
        }
    }
}

/// The channels of a connection.
pub(super) struct Channels {
    pub(super) list: Vec<Channel>,
    /// What the last message brought; work of other channels is marked there.
    pub(super) news: Option<Event<Place>>,
    /// Why the channels that are marked as closed were closed.
    closed_because: Place,
    former: [u32; MAX_FORMER_IDS],
    /// Ids that were remembered so far.
    former_count: usize,
    rejects: [u64; ClientReject::ALL.len()],
    /// Tips that came, on all channels: a server may use the id of a closed channel again, and work of that one stays told apart.
    tip_count: u32,
}

impl Channels {
    pub(super) const fn new() -> Self {
        Self {
            list: Vec::new(),
            news: None,
            closed_because: 0..0,
            former: [0; MAX_FORMER_IDS],
            former_count: 0,
            rejects: [0; ClientReject::ALL.len()],
            tip_count: 0,
        }
    }

    /// Whether something waits to be told.
    pub(super) fn has_news(&self) -> bool {
        let is_news = |channel: &Channel| channel.is_changed || channel.state == State::Closed;
        self.news.is_some() || self.list.iter().any(is_news)
    }

    /// The next thing to tell.
    pub(super) fn next_news(&mut self) -> Option<Event<Place>> {
        if let Some(news) = self.news.take() {
            return Some(news);
        }
        if let Some(channel) = self.list.iter_mut().find(|channel| channel.is_changed) {
            channel.is_changed = false;
            return Some(Event::Work {
                channel_id: channel.id,
            });
        }
        let is_closed = |channel: &Channel| channel.state == State::Closed;
        let at = self.list.iter().position(is_closed)?;
        Some(Event::Closed {
            channel_id: self.list.remove(at).id,
            text: self.closed_because.clone(),
        })
    }

    /// Messages that changed nothing, by reason.
    pub(super) fn rejected(&self, reason: ClientReject) -> u64 {
        let count = self.rejects.get(reason.index());
        count.copied().unwrap_or_default()
    }

    /// Takes a message of the server. `Err` is what to do about one that changes nothing.
    pub(super) fn handle(
        &mut self,
        message: &MiningMessage<'_>,
        payload: &[u8],
        outgoing: &mut Outgoing,
        now: Now,
    ) -> Result<(), Trouble> {
        let handled = self.dispatch(message, payload, outgoing, now);
        if let Err(Trouble::Reject(reason)) = handled {
            if let Some(count) = self.rejects.get_mut(reason.index()) {
                *count += 1;
            }
            let request_id = match message {
                MiningMessage::OpenStandardMiningChannelSuccess(message) => message.request_id,
                MiningMessage::OpenExtendedMiningChannelSuccess(message) => message.request_id,
                _ => 0,
            };
            self.news = Some(Event::Refused { reason, request_id });
        }
        handled
    }

    fn dispatch(
        &mut self,
        message: &MiningMessage<'_>,
        payload: &[u8],
        outgoing: &mut Outgoing,
        now: Now,
    ) -> Result<(), Trouble> {
        use MiningMessage as M;
        match message {
            M::OpenStandardMiningChannelSuccess(message) => self.opened(&message.into(), outgoing),
            M::OpenExtendedMiningChannelSuccess(message) => self.opened(&message.into(), outgoing),
            M::OpenMiningChannelError(message) => {
                let at = self.asked_at(message.request_id)?;
                self.list.remove(at);
                self.news = Some(Event::OpenRefused {
                    request_id: message.request_id,
                    text: place(payload, message.error_code.as_bytes()),
                });
                Ok(())
            }
            M::NewMiningJob(message) => self.standard_job(message),
            M::NewExtendedMiningJob(message) => self.extended_job(message),
            M::SetNewPrevHash(message) => self.new_prev_hash(message, now),
            M::SetTarget(message) => {
                let target = Target::from_le_bytes(message.maximum_target.0);
                self.for_addressed(message.channel_id, |channel| channel.take_target(target))
            }
            M::SetExtranoncePrefix(message) => self.new_prefix(message),
            M::SetGroupChannel(message) => self.new_group(message),
            M::SubmitSharesSuccess(message) => self.acknowledged(message),
            M::SubmitSharesError(message) => {
                let (channel_id, sequence_number) = (message.channel_id, message.sequence_number);
                let channel = self.open_channel(channel_id)?;
                if !channel.was_sent(sequence_number) {
                    return Err(ClientReject::UnsentShare.into());
                }
                channel.counts.rejected += 1;
                self.news = Some(Event::Rejected {
                    channel_id,
                    sequence_number,
                    text: place(payload, message.error_code.as_bytes()),
                });
                Ok(())
            }
            M::UpdateChannelError(message) => {
                let channel_id = self.open_channel(message.channel_id)?.id;
                self.news = Some(Event::UpdateRefused {
                    channel_id,
                    text: place(payload, message.error_code.as_bytes()),
                });
                Ok(())
            }
            M::CloseChannel(message) => self.closed(message, payload),
            _ => Err(ClientReject::Unexpected.into()),
        }
    }

    /// Takes what the server granted; if it cannot be taken, nobody asks for it any more.
    fn opened(&mut self, granted: &Granted<'_>, outgoing: &mut Outgoing) -> Result<(), Trouble> {
        let at = self.asked_at(granted.request_id)?;
        let checked = self.check_opening(at, granted);
        if checked == Err(ClientReject::BadExtranonceSize) {
            // The server holds the channel open: it must learn that nobody mines there.
            let reason = "extranonce size not as requested";
            let message = CloseChannel {
                channel_id: granted.channel_id,
                reason_code: reason.try_into().unwrap_or_default(),
            };
            if let Err(MinerError::NoMemory) = outgoing.send(&CLOSE_CHANNEL, &message) {
                return Err(Trouble::NoMemory);
            }
        }
        if let Err(reason) = checked {
            self.list.remove(at);
            return Err(reason.into());
        }
        let channel = self.list.get_mut(at).ok_or(ClientReject::UnknownRequest)?;
        channel.state = State::Open;
        channel.id = granted.channel_id;
        channel.group_id = granted.group_id;
        channel.target = granted.target;
        channel.prefix = Prefix::new(granted.prefix);
        channel.extranonce_size = granted.extranonce_size;
        self.news = Some(Event::Opened {
            request_id: granted.request_id,
            channel_id: granted.channel_id,
        });
        Ok(())
    }

    fn check_opening(&self, at: usize, granted: &Granted<'_>) -> Result<(), ClientReject> {
        let asked = self.list.get(at).ok_or(ClientReject::UnknownRequest)?;
        if granted.target > asked.max_target {
            return Err(ClientReject::TargetTooEasy);
        }
        let (id, group_id) = (granted.channel_id, granted.group_id);
        let is_taken = |other: &Channel| {
            other.is_open() && (other.id == id || other.group_id == id || other.id == group_id)
        };
        if id == group_id || self.list.iter().any(is_taken) {
            return Err(ClientReject::IdInUse);
        }
        if granted.kind != asked.kind || !asked.is_size_sound(granted.extranonce_size) {
            return Err(ClientReject::BadExtranonceSize);
        }
        Ok(())
    }

    fn standard_job(&mut self, message: &NewMiningJob) -> Result<(), Trouble> {
        let channel = self.open_channel(message.channel_id)?;
        if channel.kind != ChannelKind::Standard {
            return Err(ClientReject::WrongKind.into());
        }
        channel.is_changed |= channel.take_job(Job::standard(message), message.min_ntime)?;
        Ok(())
    }

    fn extended_job(&mut self, message: &NewExtendedMiningJob<'_>) -> Result<(), Trouble> {
        let own = self.open_channel(message.channel_id);
        if own.is_ok_and(|channel| channel.kind == ChannelKind::Standard) {
            return Err(ClientReject::WrongKind.into());
        }
        self.for_addressed(message.channel_id, |channel| {
            let job = Job::extended(message, &channel.job_terms())?;
            channel.take_job(job, message.min_ntime)
        })
    }

    fn new_prev_hash(&mut self, message: &SetNewPrevHash, now: Now) -> Result<(), Trouble> {
        let tip = ChainTip::new(
            message.prev_hash.0,
            message.nbits,
            message.min_ntime,
            now.instant,
        );
        let tip = tip.map_err(|_| ClientReject::InvalidNbits)?;
        self.tip_count = self.tip_count.wrapping_add(1);
        let tip_number = self.tip_count;
        self.for_addressed(message.channel_id, |channel| {
            channel.take_tip(&tip, tip_number, message.job_id)
        })
    }

    /// Jobs that came before keep their prefix.
    fn new_prefix(&mut self, message: &SetExtranoncePrefix<'_>) -> Result<(), Trouble> {
        let channel = self.open_channel(message.channel_id)?;
        let prefix = Prefix::new(&message.extranonce_prefix);
        if prefix.len() > channel.prefix.len() {
            // What it grows by is taken from the bytes that were granted.
            return Err(ClientReject::BadExtranonceSize.into());
        }
        channel.prefix = prefix;
        Ok(())
    }

    fn new_group(&mut self, message: &SetGroupChannel<'_>) -> Result<(), Trouble> {
        let group_id = message.group_channel_id;
        if self.open_channel(group_id).is_ok() {
            return Err(ClientReject::IdInUse.into());
        }
        let mut result = Ok(());
        for channel_id in &message.channel_ids {
            match self.open_channel(channel_id) {
                Ok(channel) => {
                    let former = core::mem::replace(&mut channel.group_id, group_id);
                    self.remember(former);
                }
                Err(reason) => result = Err(reason.into()),
            }
        }
        result
    }

    fn acknowledged(&mut self, message: &SubmitSharesSuccess) -> Result<(), Trouble> {
        let channel = self.open_channel(message.channel_id)?;
        if !channel.was_sent(message.last_sequence_number) {
            return Err(ClientReject::UnsentShare.into());
        }
        let counts = &mut channel.counts;
        counts.acknowledged += u64::from(message.new_submits_accepted_count);
        counts.difficulty_sum = counts.difficulty_sum.saturating_add(message.new_shares_sum);
        self.news = Some(Event::Accepted(*message));
        Ok(())
    }

    fn closed(&mut self, message: &CloseChannel<'_>, payload: &[u8]) -> Result<(), Trouble> {
        let id = message.channel_id;
        let mut is_any = false;
        for at in 0..self.list.len() {
            let Some(channel) = self.list.get_mut(at) else {
                break;
            };
            if channel.is_open() && (channel.id == id || channel.group_id == id) {
                is_any = true;
                channel.close();
                let channel_id = channel.id;
                self.remember(channel_id);
            }
        }
        if !is_any {
            return Err(self.unknown(id).into());
        }
        self.remember(id);
        self.closed_because = place(payload, message.reason_code.as_bytes());
        Ok(())
    }

    /// Does the same to the channel with this id, or to all of the group with this id; `Ok(true)` means other work.
    ///
    /// Each channel is served whatever happens to another, unless memory is out; the last error is given.
    fn for_addressed(
        &mut self,
        id: u32,
        mut act: impl FnMut(&mut Channel) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        // No group has a channel's id.
        let is_channel = self.open_channel(id).is_ok();
        let (mut is_any, mut failed) = (false, None);
        for channel in self.list.iter_mut().filter(|channel| channel.is_open()) {
            let is_addressed = match is_channel {
                true => channel.id == id,
                false => channel.group_id == id,
            };
            if !is_addressed {
                continue;
            }
            is_any = true;
            match act(channel) {
                Ok(is_other_work) => channel.is_changed |= is_other_work,
                Err(Trouble::NoMemory) => return Err(Trouble::NoMemory),
                Err(trouble) => {
                    // A tip without a job takes the work away.
                    channel.is_changed |= trouble == ClientReject::UnknownJob.into();
                    failed = Some(trouble);
                }
            }
        }
        match failed {
            Some(trouble) => Err(trouble),
            None if is_any => Ok(()),
            None => Err(self.unknown(id).into()),
        }
    }

    fn asked_at(&self, request_id: u32) -> Result<usize, ClientReject> {
        let is_asked = |channel: &Channel| {
            matches!(channel.state, State::Asked(_)) && channel.request_id == request_id
        };
        let at = self.list.iter().position(is_asked);
        at.ok_or(ClientReject::UnknownRequest)
    }

    /// An open channel.
    pub(super) fn open_channel(&mut self, channel_id: u32) -> Result<&mut Channel, ClientReject> {
        let unknown = self.unknown(channel_id);
        let mut open = self.list.iter_mut().filter(|channel| channel.is_open());
        open.find(|channel| channel.id == channel_id).ok_or(unknown)
    }

    /// An open channel, to look at.
    pub(super) fn channel(&self, channel_id: u32) -> Option<&Channel> {
        let mut open = self.list.iter().filter(|channel| channel.is_open());
        open.find(|channel| channel.id == channel_id)
    }

    /// Why there is nothing of this id.
    fn unknown(&self, id: u32) -> ClientReject {
        let kept = self.former.iter().take(self.former_count);
        if self.former_count > MAX_FORMER_IDS || kept.into_iter().any(|former| *former == id) {
            ClientReject::FormerChannel
        } else {
            ClientReject::UnknownChannel
        }
    }

    fn remember(&mut self, id: u32) {
        if self
            .former
            .iter()
            .take(self.former_count)
            .any(|former| *former == id)
        {
            return;
        }
        if let Some(place) = self.former.get_mut(self.former_count) {
            *place = id;
        }
        self.former_count = self.former_count.saturating_add(1);
    }

    /// Forgets a channel that the client ended.
    pub(super) fn remove(&mut self, channel_id: u32) {
        let is_it = |channel: &Channel| channel.is_open() && channel.id == channel_id;
        if let Some(at) = self.list.iter().position(is_it) {
            let group_id = self.list.remove(at).group_id;
            self.remember(channel_id);
            // Until the server has read this it works for the group too.
            let is_left = |other: &Channel| other.is_open() && other.group_id == group_id;
            if !self.list.iter().any(is_left) {
                self.remember(group_id);
            }
        }
    }
}
