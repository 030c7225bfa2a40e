//! Opening and closing channels (5.3.2 to 5.3.6, 5.3.9).

use binary_sv2::{B032, Str0255};
use const_sv2::error_codes::open_mining_channel as codes;
use mining_sv2::{
    CloseChannel, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    OpenMiningChannelError, OpenStandardMiningChannel, OpenStandardMiningChannelSuccess,
};

use super::channel::{Channel, Opening};
use super::group::Group;
use super::{Output, PendingAck, ServerChannels};
use crate::accounting::ShareAccounting;
use crate::channels::{ChannelKind, JobKey, PayoutId, WorkTerms};
use crate::clock::Now;
use crate::duplicates::DuplicateSet;
use crate::extranonce::ExtranoncePrefix;
use crate::target::Target;
use crate::vardiff::Vardiff;

/// An open request that passed the checks of the protocol, to be granted or refused by the owner.
#[derive(Debug)]
#[must_use = "a client waits for the answer"]
pub struct OpenRequest {
    request_id: u32,
    kind: ChannelKind,
    nominal_hash_rate: f32,
    max_target: Target,
    min_extranonce_size: u16,
}

impl OpenRequest {
    /// Which kind of channel is wanted.
    pub const fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Expected hashes a second, not negative and finite.
    pub const fn nominal_hash_rate(&self) -> f32 {
        self.nominal_hash_rate
    }

    /// Easiest target that the client takes.
    pub const fn max_target(&self) -> Target {
        self.max_target
    }

    /// Least extranonce bytes that the client needs for itself; 0 for a standard channel.
    pub const fn min_extranonce_size(&self) -> u16 {
        self.min_extranonce_size
    }
}

/// What the owner gives a channel.
#[derive(Debug)]
pub struct Grant {
    /// Who is paid; channels with the same one share jobs.
    pub payout: PayoutId,
    /// First bytes of the extranonce; for a standard channel all of it.
    pub extranonce_prefix: ExtranoncePrefix,
    /// Bytes of the whole extranonce, the same for all channels of the server.
    pub full_extranonce_size: usize,
    /// On which terms shares are taken, where the payout has no channels yet.
    pub terms: WorkTerms,
}

/// Why a channel is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRefusal {
    /// The hash rate is negative, infinite or not a number.
    #[error("the nominal hash rate is not a sensible number")]
    InvalidNominalHashRate,
    /// No hash can meet the client's `max_target`.
    #[error("max_target is out of range")]
    MaxTargetOutOfRange,
    /// The client asks for more extranonce bytes than there are.
    #[error("min_extranonce_size is above what this server can give")]
    MinExtranonceSizeTooLarge,
    /// A limit of the connection, the server or the extranonce space is reached.
    #[error("no channel is left")]
    CapacityExhausted,
    /// The identity follows no pattern that the pool understands, or names an invalid address.
    #[error("the user identity cannot be used")]
    InvalidUserIdentity,
    /// The pool does not know this user.
    #[error("the user is unknown")]
    UnknownUser,
    /// The connection takes extended channels only.
    #[error("standard channels are not served on this connection")]
    StandardChannel,
    /// The connection takes standard channels only.
    #[error("extended channels are not served on this connection")]
    ExtendedChannel,
}

impl OpenRefusal {
    /// The `error_code` of `OpenMiningChannel.Error`.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::InvalidNominalHashRate => codes::INVALID_NOMINAL_HASHRATE,
            Self::MaxTargetOutOfRange => codes::MAX_TARGET_OUT_OF_RANGE,
            Self::MinExtranonceSizeTooLarge => codes::MIN_EXTRANONCE_SIZE_TOO_LARGE,
            Self::CapacityExhausted => codes::CHANNEL_CAPACITY_EXHAUSTED,
            Self::InvalidUserIdentity => codes::INVALID_USER_IDENTITY,
            Self::UnknownUser => codes::UNKNOWN_USER,
            Self::StandardChannel => codes::STANDARD_CHANNELS_NOT_SUPPORTED_FOR_CUSTOM_WORK,
            Self::ExtendedChannel => codes::EXTENDED_CHANNELS_NOT_SUPPORTED_FOR_STANDARD_JOBS,
        }
    }
}

/// A grant that could not be used; the client has its answer.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct OpenFailed {
    /// Why.
    pub refusal: OpenRefusal,
    /// The prefix of the grant, for the allocator.
    pub extranonce_prefix: ExtranoncePrefix,
}

/// Whether a claimed hash rate can be worked with; 0 is a proxy without miners (MP-4).
pub(super) fn is_sound_hash_rate(hash_rate: f32) -> bool {
    hash_rate.is_finite() && hash_rate >= 0.0
}

/// The target when at least one hash can meet it.
pub(super) fn checked_max_target(bytes: [u8; 32]) -> Option<Target> {
    (bytes != [0; 32]).then(|| Target::from_le_bytes(bytes))
}

/// A text that is known to be short.
pub(super) fn text(code: &'static str) -> Str0255<'static> {
    code.try_into()
        .expect("the codes of this program have less than 256 bytes")
}

/// A prefix as a message field.
pub(super) fn prefix_field(prefix: &ExtranoncePrefix) -> B032<'static> {
    prefix
        .as_bytes()
        .to_vec()
        .try_into()
        .expect("a prefix has at most 32 bytes")
}

impl ServerChannels {
    /// Checks a request for a standard channel.
    ///
    /// # Errors
    /// The refusal, which has been answered.
    pub fn request_standard(
        &mut self,
        message: &OpenStandardMiningChannel<'_>,
    ) -> Result<OpenRequest, OpenRefusal> {
        let is_served = !self.flags.selects_work && !self.flags.extended_channels_only;
        self.request(
            message.request_id,
            ChannelKind::Standard,
            is_served.then_some(()).ok_or(OpenRefusal::StandardChannel),
            (message.nominal_hash_rate, message.max_target.0, 0),
        )
    }

    /// Checks a request for an extended channel.
    ///
    /// # Errors
    /// The refusal, which has been answered.
    pub fn request_extended(
        &mut self,
        message: &OpenExtendedMiningChannel<'_>,
    ) -> Result<OpenRequest, OpenRefusal> {
        let is_served = !self.flags.standard_jobs_only;
        let size = message.min_extranonce_size;
        self.request(
            message.request_id,
            ChannelKind::Extended,
            is_served.then_some(()).ok_or(OpenRefusal::ExtendedChannel),
            (message.nominal_hash_rate, message.max_target.0, size),
        )
    }

    fn request(
        &mut self,
        request_id: u32,
        kind: ChannelKind,
        is_served: Result<(), OpenRefusal>,
        (nominal_hash_rate, max_target, min_extranonce_size): (f32, [u8; 32], u16),
    ) -> Result<OpenRequest, OpenRefusal> {
        let checked = is_served.and_then(|()| {
            if !is_sound_hash_rate(nominal_hash_rate) {
                return Err(OpenRefusal::InvalidNominalHashRate);
            }
            let max_target =
                checked_max_target(max_target).ok_or(OpenRefusal::MaxTargetOutOfRange)?;
            if self.channels.len() >= self.config.max_channels {
                return Err(OpenRefusal::CapacityExhausted);
            }
            Ok(OpenRequest {
                request_id,
                kind,
                nominal_hash_rate,
                max_target,
                min_extranonce_size,
            })
        });
        checked.inspect_err(|refusal| self.answer_refusal(request_id, *refusal))
    }

    /// Answers a request with a refusal.
    pub fn refuse(&mut self, request: OpenRequest, refusal: OpenRefusal) {
        self.answer_refusal(request.request_id, refusal);
    }

    /// Answers a request with the words of the upstream that refused it.
    pub fn refuse_as(&mut self, request: OpenRequest, error_code: Str0255<'static>) {
        self.ignored.opens_refused += 1;
        self.send(OpenMiningChannelError {
            request_id: request.request_id,
            error_code,
        });
    }

    fn answer_refusal(&mut self, request_id: u32, refusal: OpenRefusal) {
        self.ignored.opens_refused += 1;
        self.send(OpenMiningChannelError {
            request_id,
            error_code: text(refusal.error_code()),
        });
    }

    /// Opens the channel: the answer, then, when there is work, a future job and `SetNewPrevHash` (MS-42, MS-51).
    ///
    /// # Errors
    /// A grant that does not suit the request, or limits that were reached meanwhile. The refusal has been answered.
    pub fn open(
        &mut self,
        request: OpenRequest,
        grant: Grant,
        now: Now,
    ) -> Result<u32, OpenFailed> {
        match self.checked_vardiff(&request, &grant, now) {
            Ok(vardiff) => Ok(self.open_checked(&request, grant, vardiff, now)),
            Err(refusal) => {
                self.answer_refusal(request.request_id, refusal);
                Err(OpenFailed {
                    refusal,
                    extranonce_prefix: grant.extranonce_prefix,
                })
            }
        }
    }

    fn checked_vardiff(
        &self,
        request: &OpenRequest,
        grant: &Grant,
        now: Now,
    ) -> Result<Vardiff, OpenRefusal> {
        let prefix_size = grant.extranonce_prefix.as_bytes().len();
        let rollable = grant
            .full_extranonce_size
            .checked_sub(prefix_size)
            .ok_or(OpenRefusal::CapacityExhausted)?;
        if rollable < usize::from(request.min_extranonce_size)
            || request.kind == ChannelKind::Standard && rollable > 0
        {
            return Err(OpenRefusal::MinExtranonceSizeTooLarge);
        }
        // Two ids are needed, the channel's and perhaps its group's.
        let has_ids = self.next_id < u32::MAX - 2;
        if self.channels.len() >= self.config.max_channels || !has_ids {
            return Err(OpenRefusal::CapacityExhausted);
        }
        let hash_rate = f64::from(request.nominal_hash_rate);
        Vardiff::new(
            self.config.vardiff,
            hash_rate,
            request.max_target,
            now.instant,
        )
        .map_err(|_| OpenRefusal::InvalidNominalHashRate)
    }

    fn open_checked(
        &mut self,
        request: &OpenRequest,
        grant: Grant,
        vardiff: Vardiff,
        now: Now,
    ) -> u32 {
        let key = JobKey {
            payout: grant.payout,
            full_extranonce_size: grant.full_extranonce_size,
        };
        let group_id = self.join_group(key, grant.terms);
        let id = self.take_id();
        let group = self.group_at(group_id).and_then(|at| self.groups.get(at));
        let first_job_id = group.map_or(1, Group::next_job_id);
        let terms = group.map_or(grant.terms, |group| group.terms);
        let prefix_size = grant.extranonce_prefix.as_bytes().len();
        let extranonce_size = grant.full_extranonce_size - prefix_size;
        let channel = Channel::new(Opening {
            id,
            kind: request.kind,
            group_id,
            terms,
            first_job_id,
            prefix: grant.extranonce_prefix,
            nominal_hash_rate: request.nominal_hash_rate,
            seen: DuplicateSet::new(self.config.max_shares_per_tip),
            vardiff,
            accounting: ShareAccounting::new(self.config.slices, now.instant),
        });
        self.answer_success(request, &channel, extranonce_size);
        self.wake_at(channel.poll_timeout(&self.config));
        if self.channels.len() == self.channels.capacity() {
            // Most connections have one channel: doubling from one wastes nothing on them.
            self.channels.reserve_exact(self.channels.len().max(1));
        }
        self.channels.push(channel);
        self.start(id);
        id
    }

    fn answer_success(&mut self, request: &OpenRequest, channel: &Channel, size: usize) {
        let request_id = request.request_id;
        let target = channel.target.target.target().to_le_bytes().into();
        let extranonce_prefix = prefix_field(&channel.prefix);
        match request.kind {
            ChannelKind::Standard => self.send(OpenStandardMiningChannelSuccess {
                request_id,
                channel_id: channel.id,
                target,
                extranonce_prefix,
                group_channel_id: channel.group_id,
            }),
            ChannelKind::Extended => self.send(OpenExtendedMiningChannelSuccess {
                request_id,
                channel_id: channel.id,
                target,
                // At most 32 less the prefix, which the layout ensures; 16 bits hold it.
                extranonce_size: u16::try_from(size).unwrap_or(u16::MAX),
                extranonce_prefix,
                group_channel_id: channel.group_id,
            }),
        }
    }

    /// Ids ascend and are never used again, so that late messages meet no stranger.
    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        id
    }

    /// The group for a key, new or not, with one more member. Who makes its own jobs shares none.
    pub(super) fn join_group(&mut self, key: JobKey, terms: WorkTerms) -> u32 {
        let shares_jobs = !self.flags.selects_work;
        let existing = self.groups.iter_mut().find(|group| group.key == key);
        if let Some(group) = existing.filter(|_| shares_jobs) {
            group.members += 1;
            return group.id;
        }
        let id = self.take_id();
        let mut group = Group::new(id, key, terms);
        group.members = 1;
        self.groups.push(group);
        id
    }

    /// One member less; a group that nobody uses is gone.
    fn leave_group(&mut self, group_id: u32) {
        self.change_group(group_id, |group| group.members -= 1);
    }

    /// A former member's jobs are history; a group that nobody uses is gone.
    pub(super) fn forget_group(&mut self, group_id: u32) {
        self.change_group(group_id, |group| group.former_members -= 1);
    }

    fn change_group(&mut self, group_id: u32, change: impl FnOnce(&mut Group)) {
        let Some(at) = self.group_at(group_id) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(at) {
            change(group);
            if group.members == 0 && group.former_members == 0 {
                self.groups.remove(at);
            }
        }
    }

    /// The client ends a channel, or with a group's id all channels of the group (MS-27).
    pub fn handle_close_channel(&mut self, message: &CloseChannel<'_>) {
        if !self.remove(message.channel_id) {
            self.ignored.closes_of_unknown_channels += 1;
        }
    }

    /// Ends a channel, or with a group's id all channels of the group, and tells the client. `false`: no such id.
    ///
    /// `reason` is printable ASCII (MS-28); what does not fit 255 bytes is left out.
    pub fn close(&mut self, channel_id: u32, reason: &'static str) -> bool {
        let is_open = self.channel_at(channel_id).is_some() || self.group_at(channel_id).is_some();
        if is_open {
            self.send(CloseChannel {
                channel_id,
                reason_code: reason.try_into().unwrap_or_default(),
            });
            self.remove(channel_id);
        }
        is_open
    }

    /// The connection is gone or drained: hands out the last shares and all prefixes, and sends nothing.
    pub fn close_all(&mut self) {
        while let Some(channel) = self.channels.pop() {
            self.retire(channel);
        }
    }

    fn remove(&mut self, channel_id: u32) -> bool {
        if let Some(at) = self.channel_at(channel_id) {
            let channel = self.channels.remove(at);
            self.retire(channel);
            return true;
        }
        if self.group_at(channel_id).is_none() {
            return false;
        }
        let is_member = |channel: &mut Channel| channel.group_id == channel_id;
        let members: alloc::vec::Vec<_> = self.channels.extract_if(.., is_member).collect();
        members.into_iter().for_each(|channel| self.retire(channel));
        true
    }

    /// The last outputs of a channel that is closed.
    fn retire(&mut self, mut channel: Channel) {
        if let Some(slice) = channel.accounting.close_slice() {
            let ack = PendingAck::new(channel.id, slice);
            self.outputs.push_back(Output::Persist(ack));
        }
        self.leave_group(channel.group_id);
        for earlier in &channel.earlier_groups {
            self.forget_group(earlier.group_id);
        }
        if let Some(earlier) = channel.earlier_prefix {
            self.outputs.push_back(Output::Released(earlier.value));
        }
        self.outputs.push_back(Output::Closed {
            channel_id: channel.id,
            extranonce_prefix: channel.prefix,
        });
    }
}
