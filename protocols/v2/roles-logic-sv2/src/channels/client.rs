//! The channels of one upstream connection (5.2, 5.3), as a mining device or proxy keeps them.
//!
//! [`ClientChannels`] asks for channels, follows jobs, tips and targets, and turns what a miner finds into submissions.
//! The miner takes its [`Work`] by value: it holds all that is hashed and stays as it is, whatever arrives meanwhile.
//! [`ClientChannels::submit`] says whether it still counts.
//!
//! Everything a server sends is bounded and checked; what breaks the rules is counted in [`ClientReject`] and changes
//! nothing.
//!
//! ```
//! use mining_sv2::{MiningMessage, NewMiningJob, OpenStandardMiningChannelSuccess, SetNewPrevHash};
//! use roles_logic_sv2::channels::client::{ClientChannels, Found, OpenTerms, Submission};
//! use roles_logic_sv2::clock::Now;
//!
//! let now = Now::default();
//! let mut client = ClientChannels::new();
//! let terms = OpenTerms { nominal_hash_rate: 1e6, ..OpenTerms::default() };
//! let open = client.open_standard("alice.rig1".try_into().unwrap(), terms).unwrap();
//!
//! let answers: [MiningMessage; 3] = [
//!     OpenStandardMiningChannelSuccess {
//!         request_id: open.request_id,
//!         channel_id: 2,
//!         target: [0xff; 32].into(),
//!         extranonce_prefix: [0; 20].as_slice().try_into().unwrap(),
//!         group_channel_id: 1,
//!     }.into(),
//!     NewMiningJob {
//!         channel_id: 2, job_id: 1, min_ntime: None, version: 0x2000_0000, merkle_root: [7; 32].into(),
//!     }.into(),
//!     SetNewPrevHash {
//!         channel_id: 2, job_id: 1, prev_hash: [9; 32].into(), min_ntime: 1_700_000_000, nbits: 0x207f_ffff,
//!     }.into(),
//! ];
//! for answer in &answers {
//!     client.handle_message(answer, now).unwrap();
//! }
//! let work = client.work(2).expect("the job is active").clone();
//! let found = Found { nonce: 5, ntime: work.min_ntime(), version: work.version(), extranonce: &[] };
//! assert!(work.target().is_met_by(&work.header(&found).unwrap().hash()));
//! let Submission::Standard(share) = client.submit(&work, &found).unwrap() else { panic!("a standard channel") };
//! assert_eq!((share.channel_id, share.job_id, share.sequence_number), (2, 1, 1));
//! ```

mod work;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use binary_sv2::{IntoOwned, Str0255};
use mining_sv2::{
    CloseChannel, MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannel,
    OpenExtendedMiningChannelSuccess, OpenStandardMiningChannel, OpenStandardMiningChannelSuccess,
    SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash, SetTarget, SubmitSharesExtended,
    SubmitSharesStandard, SubmitSharesSuccess, UpdateChannel,
};

use crate::channels::ChannelKind;
use crate::clock::Now;
use crate::coinbase::Coinbase;
use crate::job::{ChainTip, Job};
use crate::target::Target;

use work::JobSlot;
pub use work::{Found, Work};

/// Channels of one connection. At the limit no further one is asked for.
pub const MAX_CHANNELS: usize = 10_000;

/// Requests for channels that wait for an answer. At the limit no further one is sent.
pub const MAX_PENDING_OPENS: usize = 1_024;

/// Future jobs kept on one channel. One more pushes out the oldest.
pub const MAX_FUTURE_JOBS: usize = 8;

/// Shares of one channel that wait for an answer. One more pushes out the oldest, which then counts as unanswered.
pub const MAX_IN_FLIGHT: usize = 1_024;

/// Ids of closed channels and former groups that are remembered, for messages that were on their way. Of more, the
/// oldest are forgotten.
pub const MAX_FORMER_IDS: usize = 4_096;

/// Events kept until they are taken: room for one of each channel, as a message to a group brings. One more pushes out
/// the oldest; what [`ClientChannels`] itself knows stays right.
pub const MAX_EVENTS: usize = MAX_CHANNELS + 1_024;

/// Room kept for events when there are none.
const EVENTS_KEPT: usize = 16;

/// What a client wants of a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenTerms {
    /// Expected hashes a second, 0 for a proxy without miners (MP-4).
    pub nominal_hash_rate: f32,
    /// Easiest target accepted.
    pub max_target: Target,
    /// Least extranonce bytes needed; only an extended channel has them.
    pub min_extranonce_size: u16,
}

impl Default for OpenTerms {
    fn default() -> Self {
        Self {
            nominal_hash_rate: 0.0,
            max_target: Target::MAX,
            min_extranonce_size: 0,
        }
    }
}

/// Why a message from the server changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ClientReject {
    /// The message is not for a mining client.
    #[error("not a message for a mining client")]
    Unexpected,
    /// An answer to a request that is not open.
    #[error("an answer to a request that is not open")]
    UnknownRequest,
    /// No channel or group of this connection ever had this id.
    #[error("no such channel or group on this connection")]
    UnknownChannel,
    /// The channel was closed, or the group left: the message was on its way.
    #[error("the channel is closed, or the group is another one by now")]
    FormerChannel,
    /// The id is taken already, by a channel or a group (MS-9, MS-10).
    #[error("the channel id is in use")]
    IdInUse,
    /// `SetNewPrevHash` names a job that was not sent as a future job (MS-50). The channel has no work now (MC-19).
    #[error("SetNewPrevHash names no future job of the channel")]
    UnknownJob,
    /// A job to start at once on a channel that knows of no tip.
    #[error("a job came before the first SetNewPrevHash")]
    NoPrevHash,
    /// `nbits` that consensus refuses.
    #[error("nbits is not a valid target")]
    InvalidNbits,
    /// A standard job for an extended channel or a group, or an extended job for a standard channel (MS-4).
    #[error("the job is of the wrong kind for the channel")]
    WrongKind,
    /// Coinbase parts that do not fit the channel's extranonce.
    #[error("the coinbase cannot be built from the parts of the job")]
    BadCoinbase,
    /// The channel has fewer extranonce bytes than asked for or granted, or more than there can be.
    #[error("the extranonce has not the size that was asked for or granted")]
    BadExtranonceSize,
    /// A target easier than the client said it takes (MS-25).
    #[error("the target is easier than the maximum that was agreed")]
    TargetTooEasy,
    /// An answer to a share that was never sent.
    #[error("an answer to a share that was never sent")]
    UnsentShare,
}

impl ClientReject {
    /// All reasons, in the order of [`Self::index`].
    pub const ALL: [Self; 13] = [
        Self::Unexpected,
        Self::UnknownRequest,
        Self::UnknownChannel,
        Self::FormerChannel,
        Self::IdInUse,
        Self::UnknownJob,
        Self::NoPrevHash,
        Self::InvalidNbits,
        Self::WrongKind,
        Self::BadCoinbase,
        Self::BadExtranonceSize,
        Self::TargetTooEasy,
        Self::UnsentShare,
    ];

    /// Whether no server in its right mind does this, whatever crossed on the way: what else it says cannot be relied
    /// upon.
    pub const fn is_broken_word(self) -> bool {
        matches!(
            self,
            Self::UnknownChannel
                | Self::BadExtranonceSize
                | Self::TargetTooEasy
                | Self::UnsentShare
        )
    }

    /// Where this reason stands in [`Self::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a share is not submitted, or a channel not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The channel is closed.
    #[error("the channel is not open")]
    NotOpen,
    /// A `SetNewPrevHash` has ended the job (MC-19).
    #[error("the job is older than the chain tip")]
    Stale,
    /// The extranonce has not the channel's size (MC-11).
    #[error("the extranonce has the wrong size")]
    BadExtranonceSize,
    /// Too many channels, or too many requests under way.
    #[error("no further channel can be asked for")]
    TooManyChannels,
}

/// What a server did that the owner wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// A channel is open; work follows.
    Opened {
        /// The request it answers.
        request_id: u32,
        /// The channel.
        channel_id: u32,
    },
    /// A channel was refused. The code is for a log.
    OpenRefused {
        /// The request it answers.
        request_id: u32,
        /// The server's words.
        error_code: Str0255<'static>,
    },
    /// There is something else to hash on this channel: take [`ClientChannels::work`], which may be nothing.
    WorkChanged {
        /// The channel.
        channel_id: u32,
    },
    /// Shares were credited.
    Acknowledged(SubmitSharesSuccess),
    /// A share was rejected. The code is for a log.
    Rejected {
        /// The channel.
        channel_id: u32,
        /// The share.
        sequence_number: u32,
        /// The server's words.
        error_code: Str0255<'static>,
    },
    /// An update was refused. The code is for a log.
    UpdateRefused {
        /// The channel.
        channel_id: u32,
        /// The server's words.
        error_code: Str0255<'static>,
    },
    /// The server ended a channel.
    Closed {
        /// The channel.
        channel_id: u32,
        /// The server's words.
        reason_code: Str0255<'static>,
    },
    /// Send this: an answer that the rules ask for.
    Send(MiningMessage<'static>),
}

/// A share to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Submission<'a> {
    /// Of a standard channel.
    Standard(SubmitSharesStandard),
    /// Of an extended channel.
    Extended(SubmitSharesExtended<'a>),
}

/// What became of a channel's shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareCounts {
    /// Handed in.
    pub submitted: u64,
    /// Credited, as the server counts.
    pub acknowledged: u64,
    /// Rejected.
    pub rejected: u64,
    /// Forgotten without an answer.
    pub unanswered: u64,
    /// Difficulty credited, as the server counts.
    pub difficulty_sum: u64,
}

#[derive(Debug)]
struct PendingOpen {
    request_id: u32,
    kind: ChannelKind,
    min_extranonce_size: u16,
    max_target: Target,
}

/// One open channel.
#[derive(Debug)]
pub struct ClientChannel {
    id: u32,
    kind: ChannelKind,
    group_id: u32,
    extranonce_prefix: Vec<u8>,
    extranonce_size: usize,
    target: Target,
    /// No target is easier.
    max_target: Target,
    tip: Option<Arc<ChainTip>>,
    future: VecDeque<JobSlot>,
    work: Option<Work>,
    next_sequence_number: u32,
    in_flight: VecDeque<u32>,
    counts: ShareCounts,
}

impl ClientChannel {
    const fn new(kind: ChannelKind, id: u32) -> Self {
        Self {
            id,
            kind,
            group_id: 0,
            extranonce_prefix: Vec::new(),
            extranonce_size: 0,
            target: Target::MAX,
            max_target: Target::MAX,
            tip: None,
            future: VecDeque::new(),
            work: None,
            next_sequence_number: 0,
            in_flight: VecDeque::new(),
            counts: ShareCounts {
                submitted: 0,
                acknowledged: 0,
                rejected: 0,
                unanswered: 0,
                difficulty_sum: 0,
            },
        }
    }

    /// The channel's id.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Standard or extended.
    pub const fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// The group that the channel belongs to.
    pub const fn group_id(&self) -> u32 {
        self.group_id
    }

    /// The target of jobs to come; the one in force is that of [`Work::target`].
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// First bytes of the extranonce of jobs to come.
    pub fn extranonce_prefix(&self) -> &[u8] {
        &self.extranonce_prefix
    }

    /// Extranonce bytes that the client rolls; 0 on a standard channel.
    pub const fn extranonce_size(&self) -> usize {
        self.extranonce_size
    }

    /// What became of the shares.
    pub const fn counts(&self) -> &ShareCounts {
        &self.counts
    }

    /// Shares without an answer so far.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether a share with this number was sent. Numbers may wrap.
    const fn was_sent(&self, sequence_number: u32) -> bool {
        let age = self.next_sequence_number.wrapping_sub(sequence_number);
        age < 1 << 31 && (age as u64) < self.counts.submitted
    }

    /// A target that was agreed upon.
    fn check_target(&self, target: &Target) -> Result<(), ClientReject> {
        if *target > self.max_target {
            return Err(ClientReject::TargetTooEasy);
        }
        Ok(())
    }

    /// Sequence numbers up to and including `last` are answered. Numbers may wrap.
    fn settle_up_to(&mut self, last: u32) {
        let is_settled = |sequence_number: &u32| last.wrapping_sub(*sequence_number) < 1 << 31;
        while self.in_flight.front().is_some_and(is_settled) {
            self.in_flight.pop_front();
        }
    }

    fn take_job(&mut self, slot: JobSlot, min_ntime: Option<u32>) -> Result<bool, ClientReject> {
        let Some(min_ntime) = min_ntime else {
            self.future.retain(|other| other.job_id != slot.job_id);
            if self.future.len() >= MAX_FUTURE_JOBS {
                self.future.pop_front();
            }
            self.future.push_back(slot);
            return Ok(false);
        };
        let tip = self.tip.clone().ok_or(ClientReject::NoPrevHash)?;
        self.work = Some(Work::new(self.id, slot, tip, min_ntime, self.target));
        Ok(true)
    }

    /// A new tip ends all jobs but the one named (MC-19).
    fn take_tip(&mut self, tip: Arc<ChainTip>, job_id: u32) -> Result<(), ClientReject> {
        let named = self.future.iter().position(|slot| slot.job_id == job_id);
        let slot = named.and_then(|at| self.future.swap_remove_back(at));
        self.future.clear();
        self.tip = Some(tip.clone());
        let min_ntime = tip.min_ntime;
        let target = self.target;
        self.work = slot.map(|slot| Work::new(self.id, slot, tip, min_ntime, target));
        self.work
            .as_ref()
            .map_or(Err(ClientReject::UnknownJob), |_| Ok(()))
    }
}

/// The channels of one upstream connection.
#[derive(Debug, Default)]
pub struct ClientChannels {
    /// By ascending id.
    channels: Vec<ClientChannel>,
    pending: Vec<PendingOpen>,
    /// Ids that channels and groups had.
    former: VecDeque<u32>,
    next_request_id: u32,
    events: VecDeque<ClientEvent>,
    rejects: [u64; ClientReject::ALL.len()],
}

impl ClientChannels {
    /// No channels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The request for a standard channel.
    ///
    /// # Errors
    /// Too many channels or requests.
    pub fn open_standard<'a>(
        &mut self,
        user_identity: Str0255<'a>,
        terms: OpenTerms,
    ) -> Result<OpenStandardMiningChannel<'a>, ClientError> {
        Ok(OpenStandardMiningChannel {
            request_id: self.request(ChannelKind::Standard, 0, terms.max_target)?,
            user_identity,
            nominal_hash_rate: terms.nominal_hash_rate,
            max_target: terms.max_target.to_le_bytes().into(),
        })
    }

    /// The request for an extended channel.
    ///
    /// # Errors
    /// Too many channels or requests.
    pub fn open_extended<'a>(
        &mut self,
        user_identity: Str0255<'a>,
        terms: OpenTerms,
    ) -> Result<OpenExtendedMiningChannel<'a>, ClientError> {
        Ok(OpenExtendedMiningChannel {
            request_id: self.request(
                ChannelKind::Extended,
                terms.min_extranonce_size,
                terms.max_target,
            )?,
            user_identity,
            nominal_hash_rate: terms.nominal_hash_rate,
            max_target: terms.max_target.to_le_bytes().into(),
            min_extranonce_size: terms.min_extranonce_size,
        })
    }

    fn request(
        &mut self,
        kind: ChannelKind,
        min_extranonce_size: u16,
        max_target: Target,
    ) -> Result<u32, ClientError> {
        let is_full = self.pending.len() >= MAX_PENDING_OPENS
            || self.channels.len() + self.pending.len() >= MAX_CHANNELS;
        if is_full {
            return Err(ClientError::TooManyChannels);
        }
        self.next_request_id = self.next_request_id.wrapping_add(1);
        self.pending.push(PendingOpen {
            request_id: self.next_request_id,
            kind,
            min_extranonce_size,
            max_target,
        });
        Ok(self.next_request_id)
    }

    /// Tells the server of another hash rate or limit. The target changes only by its `SetTarget` (MC-8).
    ///
    /// # Errors
    /// [`ClientError::NotOpen`].
    pub fn update(
        &mut self,
        channel_id: u32,
        terms: OpenTerms,
    ) -> Result<UpdateChannel, ClientError> {
        let channel = self
            .own_channel(channel_id)
            .map_err(|_| ClientError::NotOpen)?;
        // A target by the limit of before may be under way: only an easier limit holds at once.
        channel.max_target = channel.max_target.max(terms.max_target);
        Ok(UpdateChannel {
            channel_id,
            nominal_hash_rate: terms.nominal_hash_rate,
            maximum_target: terms.max_target.to_le_bytes().into(),
        })
    }

    /// Ends a channel (MC-9).
    ///
    /// # Errors
    /// [`ClientError::NotOpen`].
    pub fn close<'a>(
        &mut self,
        channel_id: u32,
        reason_code: Str0255<'a>,
    ) -> Result<CloseChannel<'a>, ClientError> {
        let at = self.channel_at(channel_id).ok_or(ClientError::NotOpen)?;
        let group_id = self.channels.remove(at).group_id;
        self.remember(channel_id);
        // Until the server has read this it works for the group too.
        if self.channels.iter().all(|other| other.group_id != group_id) {
            self.remember(group_id);
        }
        Ok(CloseChannel {
            channel_id,
            reason_code,
        })
    }

    /// An open channel.
    pub fn channel(&self, channel_id: u32) -> Option<&ClientChannel> {
        self.channels.get(self.channel_at(channel_id)?)
    }

    /// All open channels, by ascending id.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &ClientChannel> {
        self.channels.iter()
    }

    /// What to hash on a channel now; `None` when it is not open or has no job.
    pub fn work(&self, channel_id: u32) -> Option<&Work> {
        self.channel(channel_id)?.work.as_ref()
    }

    /// The next event, in order.
    pub fn poll_output(&mut self) -> Option<ClientEvent> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.events.shrink_to(EVENTS_KEPT);
        }
        event
    }

    /// Messages that changed nothing, by reason.
    pub fn rejected(&self, reason: ClientReject) -> u64 {
        self.rejects
            .get(reason.index())
            .copied()
            .unwrap_or_default()
    }

    /// A share to send for what a miner found on `work`.
    ///
    /// # Errors
    /// The channel is closed, the work is of an earlier tip, the extranonce has the wrong size.
    pub fn submit<'a>(
        &mut self,
        work: &Work,
        found: &Found<'a>,
    ) -> Result<Submission<'a>, ClientError> {
        let channel = self
            .channel(work.channel_id())
            .ok_or(ClientError::NotOpen)?;
        if channel.tip.as_ref() != Some(work.tip()) {
            return Err(ClientError::Stale);
        }
        self.submit_block(work, found)
    }

    /// The same for a block, whatever the tip: it earns nothing as a share, and may yet win over another block.
    ///
    /// # Errors
    /// The channel is closed, the extranonce has the wrong size.
    pub fn submit_block<'a>(
        &mut self,
        work: &Work,
        found: &Found<'a>,
    ) -> Result<Submission<'a>, ClientError> {
        let at = self
            .channel_at(work.channel_id())
            .ok_or(ClientError::NotOpen)?;
        let channel = self.channels.get_mut(at).ok_or(ClientError::NotOpen)?;
        if found.extranonce.len() != work.extranonce_size() {
            return Err(ClientError::BadExtranonceSize);
        }
        let extranonce = found
            .extranonce
            .try_into()
            .map_err(|_| ClientError::BadExtranonceSize)?;
        channel.next_sequence_number = channel.next_sequence_number.wrapping_add(1);
        let sequence_number = channel.next_sequence_number;
        if channel.in_flight.len() >= MAX_IN_FLIGHT {
            channel.in_flight.pop_front();
            channel.counts.unanswered += 1;
        }
        channel.in_flight.push_back(sequence_number);
        channel.counts.submitted += 1;
        let share = SubmitSharesStandard {
            channel_id: work.channel_id(),
            sequence_number,
            job_id: work.job_id(),
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
        };
        Ok(match channel.kind {
            ChannelKind::Standard => Submission::Standard(share),
            ChannelKind::Extended => Submission::Extended(SubmitSharesExtended {
                channel_id: share.channel_id,
                sequence_number,
                job_id: share.job_id,
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce,
            }),
        })
    }

    /// Takes a message from the server.
    ///
    /// # Errors
    /// Why it changed nothing (or, for a tip without a job, left a channel without work); it is counted.
    pub fn handle_message(
        &mut self,
        message: &MiningMessage<'_>,
        now: Now,
    ) -> Result<(), ClientReject> {
        let handled = self.dispatch(message, now);
        handled.inspect_err(|reason| {
            if let Some(count) = self.rejects.get_mut(reason.index()) {
                *count += 1;
            }
        })
    }

    fn dispatch(&mut self, message: &MiningMessage<'_>, now: Now) -> Result<(), ClientReject> {
        use MiningMessage as M;
        match message {
            M::OpenStandardMiningChannelSuccess(message) => self.standard_opened(message),
            M::OpenExtendedMiningChannelSuccess(message) => self.extended_opened(message),
            M::OpenMiningChannelError(message) => {
                self.take_pending(message.request_id)?;
                self.tell(ClientEvent::OpenRefused {
                    request_id: message.request_id,
                    error_code: message.error_code.clone().into_owned(),
                });
                Ok(())
            }
            M::NewMiningJob(message) => self.standard_job(message),
            M::NewExtendedMiningJob(message) => self.extended_job(message),
            M::SetNewPrevHash(message) => self.new_prev_hash(message, now),
            M::SetTarget(message) => self.new_target(message),
            M::SetExtranoncePrefix(message) => self.new_prefix(message),
            M::SetGroupChannel(message) => self.new_group(message),
            M::SubmitSharesSuccess(message) => self.acknowledged(message),
            M::SubmitSharesError(message) => {
                let (channel_id, sequence_number) = (message.channel_id, message.sequence_number);
                let channel = self.own_channel(channel_id)?;
                if !channel.was_sent(sequence_number) {
                    return Err(ClientReject::UnsentShare);
                }
                channel.in_flight.retain(|other| *other != sequence_number);
                channel.counts.rejected += 1;
                self.tell(ClientEvent::Rejected {
                    channel_id,
                    sequence_number,
                    error_code: message.error_code.clone().into_owned(),
                });
                Ok(())
            }
            M::UpdateChannelError(message) => {
                let channel_id = self.own_channel(message.channel_id)?.id;
                self.tell(ClientEvent::UpdateRefused {
                    channel_id,
                    error_code: message.error_code.clone().into_owned(),
                });
                Ok(())
            }
            M::CloseChannel(message) => self.closed(message),
            _ => Err(ClientReject::Unexpected),
        }
    }

    fn standard_opened(
        &mut self,
        message: &OpenStandardMiningChannelSuccess<'_>,
    ) -> Result<(), ClientReject> {
        let mut channel = ClientChannel::new(ChannelKind::Standard, message.channel_id);
        channel.group_id = message.group_channel_id;
        channel.extranonce_prefix = message.extranonce_prefix.as_bytes().to_vec();
        channel.target = Target::from_le_bytes(message.target.0);
        self.opened(message.request_id, channel)
    }

    fn extended_opened(
        &mut self,
        message: &OpenExtendedMiningChannelSuccess<'_>,
    ) -> Result<(), ClientReject> {
        let mut channel = ClientChannel::new(ChannelKind::Extended, message.channel_id);
        channel.group_id = message.group_channel_id;
        channel.extranonce_prefix = message.extranonce_prefix.as_bytes().to_vec();
        channel.extranonce_size = usize::from(message.extranonce_size);
        channel.target = Target::from_le_bytes(message.target.0);
        self.opened(message.request_id, channel)
    }

    fn opened(&mut self, request_id: u32, mut channel: ClientChannel) -> Result<(), ClientReject> {
        let channel_id = channel.id;
        let pending = self.take_pending(request_id)?;
        channel.max_target = pending.max_target;
        channel.check_target(&channel.target)?;
        let is_taken = |other: &ClientChannel| {
            other.id == channel_id || other.group_id == channel_id || other.id == channel.group_id
        };
        if channel_id == channel.group_id || self.channels.iter().any(is_taken) {
            return Err(ClientReject::IdInUse);
        }
        let is_size_sound = pending.kind == channel.kind
            && channel.extranonce_size >= usize::from(pending.min_extranonce_size)
            && channel.extranonce_size <= binary_sv2::B032::MAX_LEN;
        if !is_size_sound {
            // The server holds the channel open: it must learn that nobody mines there.
            let reason = "extranonce size not as requested";
            let message = CloseChannel {
                channel_id,
                reason_code: reason.try_into().unwrap_or_default(),
            };
            self.tell(ClientEvent::Send(message.into()));
            return Err(ClientReject::BadExtranonceSize);
        }
        let at = self.channels.partition_point(|other| other.id < channel_id);
        self.channels.insert(at, channel);
        self.tell(ClientEvent::Opened {
            request_id,
            channel_id,
        });
        Ok(())
    }

    fn standard_job(&mut self, message: &NewMiningJob) -> Result<(), ClientReject> {
        let channel = self.own_channel(message.channel_id)?;
        if channel.kind != ChannelKind::Standard {
            return Err(ClientReject::WrongKind);
        }
        let slot = JobSlot::standard(message.job_id, message.version, message.merkle_root.0);
        if channel.take_job(slot, message.min_ntime)? {
            self.work_changed(message.channel_id);
        }
        Ok(())
    }

    fn extended_job(&mut self, message: &NewExtendedMiningJob<'_>) -> Result<(), ClientReject> {
        let id = message.channel_id;
        let own = self.channel(id);
        if own.is_some_and(|channel| channel.kind == ChannelKind::Standard) {
            return Err(ClientReject::WrongKind);
        }
        let mut shared: Option<Arc<Job>> = None;
        self.for_addressed(id, |channel| {
            let full_size = channel.extranonce_prefix.len() + channel.extranonce_size;
            let same_size = shared
                .take()
                .filter(|job| job.full_extranonce_size() == full_size);
            let job = match same_size {
                Some(job) => job,
                None => Arc::new(extended_job(message, full_size)?),
            };
            shared = Some(job.clone());
            let slot = JobSlot::extended(message.job_id, job, channel)?;
            channel.take_job(slot, message.min_ntime)
        })
    }

    fn new_prev_hash(&mut self, message: &SetNewPrevHash, now: Now) -> Result<(), ClientReject> {
        let tip = ChainTip::new(
            message.prev_hash.0,
            message.nbits,
            message.min_ntime,
            now.instant,
        );
        let tip = Arc::new(tip.map_err(|_| ClientReject::InvalidNbits)?);
        self.for_addressed(message.channel_id, |channel| {
            channel.take_tip(tip.clone(), message.job_id)?;
            Ok(true)
        })
    }

    /// Jobs that are active keep their target (MC-25): it went into their [`Work`].
    fn new_target(&mut self, message: &SetTarget) -> Result<(), ClientReject> {
        let target = Target::from_le_bytes(message.maximum_target.0);
        self.for_addressed(message.channel_id, |channel| {
            channel.check_target(&target)?;
            channel.target = target;
            Ok(false)
        })
    }

    /// Jobs that came before keep their prefix: it went into their slot.
    fn new_prefix(&mut self, message: &SetExtranoncePrefix<'_>) -> Result<(), ClientReject> {
        let channel = self.own_channel(message.channel_id)?;
        let prefix = message.extranonce_prefix.as_bytes();
        if prefix.len() > channel.extranonce_prefix.len() {
            // What it grows by is taken from the bytes that were granted.
            return Err(ClientReject::BadExtranonceSize);
        }
        channel.extranonce_prefix = prefix.to_vec();
        Ok(())
    }

    fn new_group(&mut self, message: &SetGroupChannel<'_>) -> Result<(), ClientReject> {
        let group_id = message.group_channel_id;
        if self.channel_at(group_id).is_some() {
            return Err(ClientReject::IdInUse);
        }
        let mut result = Ok(());
        let mut former = Vec::new();
        for channel_id in &message.channel_ids {
            match self.own_channel(channel_id) {
                Ok(channel) => former.push(core::mem::replace(&mut channel.group_id, group_id)),
                Err(reason) => result = Err(reason),
            }
        }
        former.dedup();
        former.into_iter().for_each(|id| self.remember(id));
        result
    }

    fn acknowledged(&mut self, message: &SubmitSharesSuccess) -> Result<(), ClientReject> {
        let channel = self.own_channel(message.channel_id)?;
        if !channel.was_sent(message.last_sequence_number) {
            return Err(ClientReject::UnsentShare);
        }
        channel.settle_up_to(message.last_sequence_number);
        let counts = &mut channel.counts;
        counts.acknowledged += u64::from(message.new_submits_accepted_count);
        counts.difficulty_sum = counts.difficulty_sum.saturating_add(message.new_shares_sum);
        self.tell(ClientEvent::Acknowledged(*message));
        Ok(())
    }

    fn closed(&mut self, message: &CloseChannel<'_>) -> Result<(), ClientReject> {
        let id = message.channel_id;
        let is_addressed = |channel: &mut ClientChannel| channel.id == id || channel.group_id == id;
        let closed: Vec<u32> = self
            .channels
            .extract_if(.., is_addressed)
            .map(|channel| channel.id)
            .collect();
        if closed.is_empty() {
            return Err(self.unknown(id));
        }
        self.remember(id);
        for channel_id in closed {
            self.remember(channel_id);
            self.tell(ClientEvent::Closed {
                channel_id,
                reason_code: message.reason_code.clone().into_owned(),
            });
        }
        Ok(())
    }

    /// Does the same to the channel with this id, or to all of the group with this id; `Ok(true)` means other work.
    ///
    /// Each channel is served whatever happens to another; the last error is given.
    fn for_addressed(
        &mut self,
        id: u32,
        mut act: impl FnMut(&mut ClientChannel) -> Result<bool, ClientReject>,
    ) -> Result<(), ClientReject> {
        let mut changed = Vec::new();
        let mut is_any = false;
        let mut failed = None;
        // No group has a channel's id. Servers without groups send each channel its own, so it must not take a search.
        let addressed = match self.channel_at(id) {
            Some(at) => self.channels.get_mut(at..=at).unwrap_or_default(),
            None => &mut self.channels,
        };
        for channel in addressed {
            if channel.id != id && channel.group_id != id {
                continue;
            }
            is_any = true;
            let acted = act(channel);
            failed = acted.err().or(failed);
            // A tip without a job takes the work away.
            if matches!(acted, Ok(true) | Err(ClientReject::UnknownJob)) {
                changed.push(channel.id);
            }
        }
        changed.into_iter().for_each(|id| self.work_changed(id));
        match failed {
            Some(reason) => Err(reason),
            None if is_any => Ok(()),
            None => Err(self.unknown(id)),
        }
    }

    fn work_changed(&mut self, channel_id: u32) {
        self.tell(ClientEvent::WorkChanged { channel_id });
    }

    fn tell(&mut self, event: ClientEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn take_pending(&mut self, request_id: u32) -> Result<PendingOpen, ClientReject> {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.request_id == request_id);
        at.map(|at| self.pending.swap_remove(at))
            .ok_or(ClientReject::UnknownRequest)
    }

    fn channel_at(&self, channel_id: u32) -> Option<usize> {
        self.channels
            .binary_search_by_key(&channel_id, |channel| channel.id)
            .ok()
    }

    fn own_channel(&mut self, channel_id: u32) -> Result<&mut ClientChannel, ClientReject> {
        let Some(at) = self.channel_at(channel_id) else {
            return Err(self.unknown(channel_id));
        };
        self.channels
            .get_mut(at)
            .ok_or(ClientReject::UnknownChannel)
    }

    /// Why there is nothing of this id.
    fn unknown(&self, id: u32) -> ClientReject {
        if self.former.contains(&id) {
            ClientReject::FormerChannel
        } else {
            ClientReject::UnknownChannel
        }
    }

    fn remember(&mut self, id: u32) {
        if self.former.len() >= MAX_FORMER_IDS {
            self.former.pop_front();
        }
        if self.former.back() != Some(&id) {
            self.former.push_back(id);
        }
    }
}

fn extended_job(
    message: &NewExtendedMiningJob<'_>,
    full_extranonce_size: usize,
) -> Result<Job, ClientReject> {
    let coinbase = Coinbase::from_stripped_parts(
        message.coinbase_tx_prefix.as_bytes(),
        message.coinbase_tx_suffix.as_bytes(),
        full_extranonce_size,
    );
    let path: Vec<[u8; 32]> = message.merkle_path.iter().map(|node| node.0).collect();
    Ok(Job::new(
        None,
        message.version,
        message.version_rolling_allowed,
        path,
        coinbase.map_err(|_| ClientReject::BadCoinbase)?,
    ))
}
