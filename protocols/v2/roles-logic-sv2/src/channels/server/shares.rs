//! Shares (5.3.11 to 5.3.14): one path for both kinds of channel.

use alloc::boxed::Box;
use alloc::sync::Arc;

use binary_sv2::Str0255;
use mining_sv2::{
    SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess,
};

use super::channel::Channel;
use super::group::{Group, Lookup};
use super::open::text;
use super::{BlockFound, Output, ServerChannels, ServerConfig, Slice};
use crate::channels::{ChannelKind, WorkTerms};
use crate::clock::Now;
use crate::job::Job;
use crate::share::{RejectReason, Root, Share, ShareContext, Verdict, validate};

/// Shares that wait for the ledger. Not to be copied: each is acknowledged once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "these shares are acknowledged when this comes back"]
pub struct PendingAck {
    channel_id: u32,
    slice: Slice,
}

impl PendingAck {
    pub(super) const fn new(channel_id: u32, slice: Slice) -> Self {
        Self { channel_id, slice }
    }

    /// The channel that they came on.
    pub const fn channel_id(&self) -> u32 {
        self.channel_id
    }

    /// What is to be stored.
    pub const fn slice(&self) -> &Slice {
        &self.slice
    }
}

/// Which share a message is about.
#[derive(Clone, Copy)]
struct ShareIds {
    channel_id: u32,
    sequence_number: u32,
    job_id: u32,
}

impl ServerChannels {
    /// Judges a share of a standard channel. The verdict is for the owner to look at; its answers are in the outputs.
    pub fn handle_submit_standard(&mut self, message: &SubmitSharesStandard, now: Now) -> Verdict {
        let ids = ShareIds {
            channel_id: message.channel_id,
            sequence_number: message.sequence_number,
            job_id: message.job_id,
        };
        let share = Share {
            nonce: message.nonce,
            ntime: message.ntime,
            version: message.version,
            extranonce: &[],
        };
        self.handle_share(ids, &share, None, now)
    }

    /// Judges a share of an extended channel. The verdict is for the owner to look at; its answers are in the outputs.
    pub fn handle_submit_extended(
        &mut self,
        message: &SubmitSharesExtended<'_>,
        now: Now,
    ) -> Verdict {
        let (ids, share) = extended_parts(message);
        self.handle_share(ids, &share, None, now)
    }

    /// Rejects a share whatever it is worth, as the owner says: a field of an extension is malformed (EX-16). A block is
    /// handed in all the same.
    pub fn reject_submit_extended(
        &mut self,
        message: &SubmitSharesExtended<'_>,
        reason: RejectReason,
        now: Now,
    ) -> Verdict {
        let (ids, share) = extended_parts(message);
        self.handle_share(ids, &share, Some(reason), now)
    }

    /// The ledger has these shares: they are acknowledged, unless their channel is gone (MS-26, MS-31).
    pub fn handle_persisted(&mut self, ack: PendingAck) {
        let PendingAck { channel_id, slice } = ack;
        if self.channel_at(channel_id).is_some() {
            self.send(SubmitSharesSuccess {
                channel_id,
                last_sequence_number: slice.last_sequence_number,
                new_submits_accepted_count: slice.accepted_count,
                new_shares_sum: slice.shares_sum(),
            });
        }
    }

    /// Acknowledges shares of a job that an upstream gave, as it acknowledged them ([`WorkTerms::Relayed`]). Nothing is
    /// sent when their channel is gone.
    pub fn acknowledge(&mut self, success: SubmitSharesSuccess) {
        if self.channel_at(success.channel_id).is_some() {
            self.send(success);
        }
    }

    /// Rejects a share of such a job, as the upstream rejected it.
    pub fn reject(&mut self, channel_id: u32, sequence_number: u32, error_code: Str0255<'static>) {
        if self.channel_at(channel_id).is_some() {
            self.send(SubmitSharesError {
                channel_id,
                sequence_number,
                error_code,
            });
        }
    }

    /// The job that shares of a channel name by this number, with the extranonce prefix that it was sent with; `None` when
    /// it is not known, or no longer.
    pub fn job(&self, channel_id: u32, job_id: u32) -> Option<(&Arc<Job>, &[u8])> {
        let channel = self.channels.get(self.channel_at(channel_id)?)?;
        let group_at = self.group_at(channel.group_of_job(job_id)?)?;
        match self.groups.get(group_at)?.find(job_id) {
            Lookup::Known { entry, .. } => Some((&entry.job, channel.prefix_of_job(job_id))),
            Lookup::Stale | Lookup::Unknown => None,
        }
    }

    /// Closes all slices, whatever their age: the connection is to end, and its shares are to be acknowledged before.
    pub fn close_slices(&mut self) {
        for channel in &mut self.channels {
            if let Some(slice) = channel.accounting.close_slice() {
                let ack = PendingAck::new(channel.id, slice);
                self.outputs.push_back(Output::Persist(ack));
            }
        }
    }

    /// Closes slices that are old enough and adjusts targets.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.next_timeout.is_none_or(|due| due > now.instant) {
            return;
        }
        self.next_timeout = None;
        for at in 0..self.channels.len() {
            let Some(channel) = self.channels.get_mut(at) else {
                return;
            };
            if let Some(slice) = channel.accounting.handle_timeout(now.instant) {
                let ack = PendingAck::new(channel.id, slice);
                self.outputs.push_back(Output::Persist(ack));
            }
            let is_changed = !self.config.is_target_fixed
                && channel.vardiff.handle_timeout(now.instant).is_some();
            let due = channel.poll_timeout(&self.config);
            self.wake_at(due);
            if is_changed {
                self.retarget(at);
            }
        }
    }

    fn handle_share(
        &mut self,
        ids: ShareIds,
        share: &Share<'_>,
        veto: Option<RejectReason>,
        now: Now,
    ) -> Verdict {
        let Some(at) = self.channel_at(ids.channel_id) else {
            self.ignored.shares_of_unknown_channels += 1;
            self.send_error(
                ids.channel_id,
                ids.sequence_number,
                RejectReason::UnknownChannel,
            );
            return Verdict::rejected(RejectReason::UnknownChannel);
        };
        let Some(channel) = self.channels.get_mut(at) else {
            return Verdict::rejected(RejectReason::UnknownChannel);
        };
        let group = channel.group_of_job(ids.job_id).and_then(|group_id| {
            let at = self
                .groups
                .binary_search_by_key(&group_id, |group| group.id);
            self.groups.get(at.ok()?)
        });
        let is_relayed = group.is_some_and(|group| matches!(group.terms, WorkTerms::Relayed(_)));
        let (mut verdict, block) = judge(channel, group, ids.job_id, share, &self.config, now);
        if let Some(reason) = veto {
            verdict.outcome = Err(reason);
        }
        if let Some(block) = block {
            // Nothing a block waits for.
            self.outputs.push_front(Output::SubmitBlock(block));
        }
        self.book(at, ids, &verdict, is_relayed, now);
        verdict
    }

    /// What follows from a verdict.
    fn book(&mut self, at: usize, ids: ShareIds, verdict: &Verdict, is_relayed: bool, now: Now) {
        let Some(channel) = self.channels.get_mut(at) else {
            return;
        };
        let accounting = &mut channel.accounting;
        let slice = if is_relayed {
            accounting.count(verdict, now.instant);
            None
        } else {
            accounting.record(ids.sequence_number, verdict, now.instant)
        };
        let is_changed = match &verdict.outcome {
            Ok(share) if !self.config.is_target_fixed => channel
                .vardiff
                .share_accepted(share.difficulty, now.instant)
                .is_some(),
            _ => false,
        };
        let due = channel.poll_timeout(&self.config);
        self.wake_at(due);
        if let Err(reason) = verdict.outcome {
            self.send_error(ids.channel_id, ids.sequence_number, reason);
        }
        if let Some(slice) = slice {
            let ack = PendingAck::new(ids.channel_id, slice);
            self.outputs.push_back(Output::Persist(ack));
        }
        if is_changed {
            self.retarget(at);
        }
    }

    fn send_error(&mut self, channel_id: u32, sequence_number: u32, reason: RejectReason) {
        self.send(SubmitSharesError {
            channel_id,
            sequence_number,
            error_code: text(reason.error_code()),
        });
    }
}

fn extended_parts<'a>(message: &'a SubmitSharesExtended<'_>) -> (ShareIds, Share<'a>) {
    let ids = ShareIds {
        channel_id: message.channel_id,
        sequence_number: message.sequence_number,
        job_id: message.job_id,
    };
    let share = Share {
        nonce: message.nonce,
        ntime: message.ntime,
        version: message.version,
        extranonce: message.extranonce.as_bytes(),
    };
    (ids, share)
}

/// Finds the job and judges the share.
fn judge(
    channel: &mut Channel,
    group: Option<&Group>,
    job_id: u32,
    share: &Share<'_>,
    config: &ServerConfig,
    now: Now,
) -> (Verdict, Option<Box<BlockFound>>) {
    let rejected = |reason| (Verdict::rejected(reason), None);
    if job_id < channel.first_job_id {
        return rejected(RejectReason::UnknownJob);
    }
    let Some(group) = group else {
        // Of a group that the channel has left and that is forgotten, mostly with the tip.
        return rejected(RejectReason::Stale);
    };
    let (entry, is_stale) = match group.find(job_id) {
        Lookup::Known { entry, is_stale } => (entry, is_stale),
        Lookup::Stale => return rejected(RejectReason::Stale),
        Lookup::Unknown => return rejected(RejectReason::UnknownJob),
    };
    let sent_root = match channel.kind {
        ChannelKind::Extended => None,
        ChannelKind::Standard => match channel.standard_root(group.id, entry, job_id) {
            Some(root) => Some(root),
            None => return rejected(RejectReason::UnknownJob),
        },
    };
    // The set is taken out for the call, as the context borrows from the channel.
    let mut seen = core::mem::take(channel.seen_of(group));
    let root = match &sent_root {
        Some(root) => Root::Standard(root),
        None => Root::Extended {
            extranonce_prefix: channel.prefix_of_job(job_id),
        },
    };
    let context = ShareContext {
        job: &entry.job,
        tip: &entry.tip,
        is_stale,
        job_min_ntime: entry.min_ntime,
        target: channel.target_of_job(job_id),
        root,
    };
    let verdict = validate(&context, share, &config.share_limits, &mut seen, now);
    *channel.seen_of(group) = seen;
    let block = verdict.block.map(|solution| {
        let prefix = channel.prefix_of_job(job_id);
        Box::new(BlockFound {
            channel_id: channel.id,
            job: entry.job.clone(),
            solution,
            coinbase: entry
                .job
                .coinbase()
                .map(|coinbase| coinbase.for_block(prefix, share.extranonce))
                .unwrap_or_default(),
        })
    });
    (verdict, block)
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::channels::server::{Grant, ServerFlags, ServerMessage};
    use crate::channels::{PayoutId, WorkTerms};
    use crate::extranonce::{ExtranonceAllocator, ExtranonceLayout};
    use crate::target::{Difficulty, Target};

    /// No test can mine shares whose difficulties add up to a whole number, so the ledger's answer is made up.
    #[test]
    fn an_acknowledgement_says_what_the_ledger_stored() {
        let mut channels =
            ServerChannels::new(Arc::new(ServerConfig::default()), ServerFlags::default());
        let mut extranonces = ExtranonceAllocator::new(ExtranonceLayout::default(), 0).unwrap();
        let request = mining_sv2::OpenStandardMiningChannel {
            request_id: 1,
            user_identity: "alice".try_into().unwrap(),
            nominal_hash_rate: 0.0,
            max_target: [0xff; 32].into(),
        };
        let checked = channels.request_standard(&request).unwrap();
        let grant = Grant {
            payout: PayoutId(0),
            extranonce_prefix: extranonces.allocate_standard().unwrap(),
            full_extranonce_size: extranonces.full_size(),
            terms: WorkTerms::Own,
        };
        let channel_id = channels.open(checked, grant, Now::default()).unwrap();
        while channels.poll_output().is_some() {}
        let mut difficulty = Difficulty::ZERO;
        for target in [2.5, 4.75] {
            difficulty += Target::from_difficulty(target).unwrap().difficulty();
        }
        let slice = Slice {
            last_sequence_number: 42,
            accepted_count: 2,
            difficulty,
            opened_at: Now::default().instant,
        };
        channels.handle_persisted(PendingAck::new(channel_id, slice));
        let Some(Output::Send(ServerMessage::SubmitSharesSuccess(success))) =
            channels.poll_output()
        else {
            panic!("the shares are acknowledged")
        };
        let expected = SubmitSharesSuccess {
            channel_id,
            last_sequence_number: 42,
            new_submits_accepted_count: 2,
            new_shares_sum: 7,
        };
        assert_eq!(success, expected);
        channels.handle_persisted(PendingAck::new(channel_id + 1, slice));
        assert!(channels.poll_output().is_none(), "its channel is gone");
    }
}
