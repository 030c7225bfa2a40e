//! Changes to open channels (5.3.7, 5.3.8, 5.3.10, 5.3.18 to 5.3.20, 5.3.22).

use alloc::sync::Arc;
use alloc::vec::Vec;

use const_sv2::error_codes::{set_custom_mining_job, update_channel};
use mining_sv2::{
    SetCustomMiningJob, SetCustomMiningJobError, SetCustomMiningJobSuccess, SetExtranoncePrefix,
    SetGroupChannel, UpdateChannel, UpdateChannelError,
};

use super::channel::Earlier;
use super::group::Group;
use super::open::{checked_max_target, is_sound_hash_rate, prefix_field, text};
use super::{Output, ServerChannels};
use crate::channels::{ChannelKind, JobKey, PayoutId};
use crate::clock::Now;
use crate::duplicates::DuplicateSet;
use crate::extranonce::ExtranoncePrefix;
use crate::job::{ChainTip, Job};
use crate::vardiff::Vardiff;

/// A claimed hash rate must differ by this factor from the last claim to start the search for a target anew: firmware
/// repeats wrong claims, and a restart would forget what was measured.
const NEW_CLAIM_FACTOR: f32 = 2.0;

/// Why an `UpdateChannel` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateRefusal {
    /// No channel of this connection has this id.
    #[error("no such channel on this connection")]
    UnknownChannel,
    /// The hash rate is negative, infinite or not a number.
    #[error("the nominal hash rate is not a sensible number")]
    InvalidNominalHashRate,
    /// No hash can meet the target asked for.
    #[error("maximum_target is out of range")]
    MaxTargetOutOfRange,
}

impl UpdateRefusal {
    /// The `error_code` of `UpdateChannel.Error`.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::UnknownChannel => update_channel::INVALID_CHANNEL_ID,
            Self::InvalidNominalHashRate => update_channel::INVALID_NOMINAL_HASHRATE,
            Self::MaxTargetOutOfRange => update_channel::MAX_TARGET_OUT_OF_RANGE,
        }
    }
}

/// Why a `SetCustomMiningJob` is refused before anyone looks into the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CustomJobRefusal {
    /// This server takes no custom jobs, or setup did not settle on them (MC-20).
    #[error("custom jobs are not taken on this connection")]
    NotSupported,
    /// No extended channel of this connection has this id (MC-21).
    #[error("no such extended channel on this connection")]
    UnknownChannel,
}

impl CustomJobRefusal {
    /// The `error_code` of `SetCustomMiningJob.Error`.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::NotSupported => set_custom_mining_job::JD_NOT_SUPPORTED,
            Self::UnknownChannel => set_custom_mining_job::INVALID_CHANNEL_ID,
        }
    }
}

impl ServerChannels {
    /// Takes over what the client says of a channel. A valid update has no answer but perhaps `SetTarget` (MS-24, MS-25).
    ///
    /// # Errors
    /// The refusal, which has been answered.
    pub fn handle_update_channel(
        &mut self,
        message: &UpdateChannel,
        now: Now,
    ) -> Result<(), UpdateRefusal> {
        let updated = self.update(message, now);
        match updated {
            Ok(at) => self.retarget(at),
            Err(refusal) => {
                self.ignored.updates_refused += 1;
                self.send(UpdateChannelError {
                    channel_id: message.channel_id,
                    error_code: text(refusal.error_code()),
                });
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn update(&mut self, message: &UpdateChannel, now: Now) -> Result<usize, UpdateRefusal> {
        let hash_rate = message.nominal_hash_rate;
        let at = self.channel_at(message.channel_id);
        let at = at.ok_or(UpdateRefusal::UnknownChannel)?;
        if !is_sound_hash_rate(hash_rate) {
            return Err(UpdateRefusal::InvalidNominalHashRate);
        }
        let max_target = checked_max_target(message.maximum_target.0)
            .ok_or(UpdateRefusal::MaxTargetOutOfRange)?;
        let config = self.config.vardiff;
        let channel = self.channels.get_mut(at);
        let channel = channel.ok_or(UpdateRefusal::UnknownChannel)?;
        let last = channel.nominal_hash_rate;
        let is_new_claim =
            hash_rate > last * NEW_CLAIM_FACTOR || last > hash_rate * NEW_CLAIM_FACTOR;
        if is_new_claim {
            channel.nominal_hash_rate = hash_rate;
            channel.vardiff = Vardiff::new(config, f64::from(hash_rate), max_target, now.instant)
                .map_err(|_| UpdateRefusal::InvalidNominalHashRate)?;
        } else {
            channel.vardiff.set_max_target(max_target, now.instant);
        }
        let due = channel.poll_timeout(&self.config);
        self.wake_at(due);
        Ok(at)
    }

    /// Gives a channel another extranonce prefix, for jobs sent from now on (MS-30), and sends it its job again.
    ///
    /// The old prefix comes back as [`Output::Released`] with the next tip; a prefix changed twice on one tip ends the
    /// jobs of the first one.
    ///
    /// # Errors
    /// The prefix, when the channel is not open or its prefix has another length (MS-15).
    pub fn set_extranonce_prefix(
        &mut self,
        channel_id: u32,
        prefix: ExtranoncePrefix,
    ) -> Result<(), ExtranoncePrefix> {
        let size = prefix.as_bytes().len();
        let Some(channel) = self
            .channels
            .iter_mut()
            .find(|channel| channel.id == channel_id)
            .filter(|channel| channel.prefix.as_bytes().len() == size)
        else {
            return Err(prefix);
        };
        let field = prefix_field(&prefix);
        let old = core::mem::replace(&mut channel.prefix, prefix);
        let group = self.groups.iter().find(|g| g.id == channel.group_id);
        let earlier = Earlier {
            until_job_id: group.map_or(1, Group::next_job_id),
            value: old,
        };
        let replaced = channel.earlier_prefix.replace(earlier);
        channel.forget_root();
        if let Some(replaced) = replaced {
            self.outputs.push_back(Output::Released(replaced.value));
        }
        self.send(SetExtranoncePrefix {
            channel_id,
            extranonce_prefix: field,
        });
        self.resend(channel_id);
        Ok(())
    }

    /// Pays channels another way from their next job on: moves them to another group and sends them its job.
    ///
    /// Jobs sent so far stay valid until the tip changes. Unknown ids are left out; gives the group's id.
    pub fn set_payout(&mut self, channel_ids: &[u32], payout: PayoutId) -> Option<u32> {
        let mut moved = Vec::new();
        let mut new_group_id = None;
        for channel_id in channel_ids {
            if let Some((group_id, tip)) = self.move_channel(*channel_id, payout) {
                moved.push((*channel_id, tip));
                new_group_id = Some(group_id);
            }
        }
        let group_channel_id = new_group_id?;
        if !self.flags.standard_jobs_only {
            let channel_ids: Vec<u32> = moved.iter().map(|(id, _)| *id).collect();
            // More channels than one message names are beyond what a connection may have.
            let channel_ids = channel_ids.try_into().unwrap_or_default();
            self.send(SetGroupChannel {
                group_channel_id,
                channel_ids,
            });
        }
        self.restart(group_channel_id, &moved);
        Some(group_channel_id)
    }

    /// Gives the group, and the tip that the channel knew.
    fn move_channel(
        &mut self,
        channel_id: u32,
        payout: PayoutId,
    ) -> Option<(u32, Option<Arc<ChainTip>>)> {
        let at = self.channel_at(channel_id)?;
        let old_group_id = self.channels.get(at)?.group_id;
        let old_group = self.groups.get(self.group_at(old_group_id)?)?;
        let (key, next_job_id) = (old_group.key, old_group.next_job_id());
        let (terms, tip) = (old_group.terms, old_group.tip().cloned());
        if key.payout == payout {
            return Some((old_group_id, tip));
        }
        let group_id = self.join_group(JobKey { payout, ..key }, terms);
        let group_at = self.group_at(group_id)?;
        let group = self.groups.get_mut(group_at)?;
        group.skip_ids_below(next_job_id);
        let (first_job_id, new_tip) = (group.next_job_id(), group.tip().cloned());
        let old_group_at = self.group_at(old_group_id)?;
        let old_group = self.groups.get_mut(old_group_at)?;
        old_group.members -= 1;
        old_group.former_members += 1;
        let channel = self.channels.get_mut(at)?;
        if let Some(forgotten) = channel.enter_group(group_id, first_job_id) {
            self.forget_group(forgotten);
        }
        // With one tip for all payouts one memory of shares is right, and ends with it.
        if self.work.is_none() {
            self.change_shares((key.payout, tip.as_ref()), (payout, new_tip.as_deref()), at);
        }
        Some((group_id, tip))
    }

    /// The shares known of a channel are those of the payout that it goes to. Where that has no tip yet they are looked for
    /// when it has one.
    fn change_shares(
        &mut self,
        (old, old_tip): (PayoutId, Option<&Arc<ChainTip>>),
        (new, new_tip): (PayoutId, Option<&ChainTip>),
        at: usize,
    ) {
        let Some(channel) = self.channels.get_mut(at) else {
            return;
        };
        let fresh = DuplicateSet::new(self.config.max_shares_per_tip);
        let seen = core::mem::replace(&mut channel.seen, fresh);
        if let Some(tip) = old_tip {
            channel.seen_elsewhere.leave(old, tip.clone(), seen);
        }
        if let Some(tip) = new_tip {
            channel.recall_shares(new, tip);
        }
    }

    /// Looks at a `SetCustomMiningJob` as far as channels go. When it is sound the owner checks the job and answers with
    /// [`Self::accept_custom_job`] or [`Self::refuse_custom_job`].
    ///
    /// # Errors
    /// The refusal, which has been answered.
    pub fn handle_set_custom_mining_job(
        &mut self,
        message: &SetCustomMiningJob<'_>,
    ) -> Result<(), CustomJobRefusal> {
        let checked = if !self.config.takes_custom_jobs || !self.flags.selects_work {
            Err(CustomJobRefusal::NotSupported)
        } else if self
            .channel(message.channel_id)
            .is_none_or(|channel| channel.kind() != ChannelKind::Extended)
        {
            Err(CustomJobRefusal::UnknownChannel)
        } else {
            Ok(())
        };
        checked.inspect_err(|refusal| {
            let code = refusal.error_code();
            self.refuse_custom_job(message.channel_id, message.request_id, code);
        })
    }

    /// Refuses a custom job; `error_code` is one of `const_sv2::error_codes::set_custom_mining_job`.
    pub fn refuse_custom_job(
        &mut self,
        channel_id: u32,
        request_id: u32,
        error_code: &'static str,
    ) {
        self.ignored.custom_jobs_refused += 1;
        self.send(SetCustomMiningJobError {
            channel_id,
            request_id,
            error_code: text(error_code),
        });
    }

    /// Takes a custom job: its shares count from now on, those of jobs on another tip no more (MS-57).
    ///
    /// Gives its id; `None` when the channel is gone or the job has another extranonce size.
    pub fn accept_custom_job(
        &mut self,
        channel_id: u32,
        request_id: u32,
        job: Arc<Job>,
        tip: ChainTip,
    ) -> Option<u32> {
        let at = self.channel_at(channel_id)?;
        let group_at = self.group_at(self.channels.get(at)?.group_id)?;
        let group = self.groups.get_mut(group_at)?;
        if job.full_extranonce_size() != group.key.full_extranonce_size {
            return None;
        }
        let tip = Arc::new(tip);
        let is_new_tip = group.is_new_tip(&tip);
        if is_new_tip {
            group.set_tip(tip.clone());
        }
        let min_ntime = tip.min_ntime;
        let job_id = group.push(job, tip, min_ntime);
        if is_new_tip {
            self.end_tip_of(at);
        }
        self.send(SetCustomMiningJobSuccess {
            channel_id,
            request_id,
            job_id,
        });
        Some(job_id)
    }
}
