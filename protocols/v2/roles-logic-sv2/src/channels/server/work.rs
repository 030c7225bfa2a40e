//! Giving out work (5.3.15 to 5.3.17, 5.3.21).

use alloc::sync::Arc;
use alloc::vec::Vec;

use mining_sv2::{NewMiningJob, SetNewPrevHash, SetTarget};

use super::group::Group;
use super::{ExtendedJob, Output, ServerChannels};
use crate::channels::{ChannelKind, PayoutId, PayoutWork, WorkState, WorkTerms};
use crate::job::{ChainTip, Job};
use crate::target::Target;

/// How a job is announced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Without `min_ntime`, followed by `SetNewPrevHash`: the receiver learns of a tip.
    WithPrevHash,
    /// With `min_ntime`, on the tip that the receiver knows.
    AtOnce,
    /// The same, for one that has this work already.
    Again,
}

/// Who is told.
#[derive(Clone, Copy)]
enum Receiver {
    Group,
    /// Place in the list of channels.
    Channel(usize),
}

impl ServerChannels {
    /// New work: on another tip one future job and one `SetNewPrevHash` for each group, on the same tip one job to start
    /// at once for each group whose job is another one. Where the client takes standard jobs only, each channel is told.
    ///
    /// Nothing is sent to a client that makes its own jobs.
    pub fn handle_work(&mut self, work: &Arc<WorkState>) {
        if self.flags.selects_work {
            return;
        }
        let last = self.work.replace(work.clone());
        if last.is_none_or(|last| last.tip() != work.tip()) {
            self.end_tip();
        }
        for at in 0..self.groups.len() {
            self.deliver_state(at, work);
        }
    }

    /// New work of one payout, which may be on another tip than that of others: as [`Self::handle_work`], for its channels.
    ///
    /// Owners use either this or that.
    pub fn handle_payout_work(&mut self, payout: PayoutId, work: &PayoutWork) {
        if self.flags.selects_work {
            return;
        }
        let groups = self.groups.iter();
        let ids: Vec<u32> = groups
            .filter(|group| group.key.payout == payout)
            .map(|group| group.id)
            .collect();
        for id in ids {
            self.begin_tip_of_group(id, &work.tip);
            // Groups that nobody uses any more may be gone by now.
            if let Some(at) = self.group_at(id) {
                self.set_terms(at, work.terms);
                self.deliver(at, &work.tip, &work.job, work.min_ntime);
            }
        }
    }

    fn begin_tip_of_group(&mut self, id: u32, tip: &Arc<ChainTip>) {
        let at = self.group_at(id);
        let Some(group) = at.and_then(|at| self.groups.get_mut(at)) else {
            return;
        };
        if !group.is_new_tip(tip) {
            return;
        }
        group.set_tip(tip.clone());
        let payout = group.key.payout;
        // Channels that moved here have jobs of before, and have them until the first tip that they see here.
        let has_started = group.has_started();
        for at in 0..self.channels.len() {
            let is_here = self.channels.get(at).is_some_and(|at| at.group_id == id);
            if is_here && has_started {
                self.end_tip_of(at);
            }
            match self.channels.get_mut(at) {
                Some(channel) if is_here => channel.recall_shares(payout, tip),
                Some(channel) => channel.seen_elsewhere.end_tip(payout, tip),
                None => {}
            }
        }
    }

    /// The work of a payout has ended and nothing follows it: shares of its jobs are late from now on. Clients are not
    /// told, as there is nothing else for them to do.
    pub fn end_payout_work(&mut self, payout: PayoutId) {
        let groups = self.groups.iter_mut();
        groups
            .filter(|group| group.key.payout == payout)
            .for_each(Group::end);
        for channel in &mut self.channels {
            channel.seen_elsewhere.forget(payout);
        }
    }

    /// Other terms for the jobs of a group to come. Its channels are told their targets; a job follows.
    fn set_terms(&mut self, group_at: usize, terms: WorkTerms) {
        let Some(group) = self.groups.get_mut(group_at) else {
            return;
        };
        let group_id = group.id;
        if core::mem::replace(&mut group.terms, terms) == terms {
            return;
        }
        for at in 0..self.channels.len() {
            let channel = self.channels.get(at);
            let target = channel
                .filter(|channel| channel.group_id == group_id)
                .and_then(|channel| channel.new_target(terms));
            if let Some(target) = target {
                self.announce_target(at, target);
            }
        }
    }

    /// All shares of the last tip are history, and so is what channels had before a change.
    fn end_tip(&mut self) {
        for at in 0..self.channels.len() {
            self.end_tip_of(at);
        }
    }

    pub(super) fn end_tip_of(&mut self, at: usize) {
        let Some(channel) = self.channels.get_mut(at) else {
            return;
        };
        channel.seen.clear();
        if let Some(earlier) = channel.earlier_prefix.take() {
            channel.forget_root();
            self.outputs.push_back(Output::Released(earlier.value));
        }
        for earlier in core::mem::take(&mut channel.earlier_groups) {
            self.forget_group(earlier.group_id);
        }
    }

    fn deliver_state(&mut self, group_at: usize, work: &WorkState) {
        let Some(group) = self.groups.get_mut(group_at) else {
            return;
        };
        let tip = work.tip();
        if group.is_new_tip(tip) {
            group.set_tip(tip.clone());
        }
        if let Some(job) = work.job(group.key) {
            self.deliver(group_at, tip, job, tip.min_ntime);
        }
    }

    /// A job on the group's tip, unless it is the one that the group has.
    fn deliver(&mut self, group_at: usize, tip: &Arc<ChainTip>, job: &Arc<Job>, min_ntime: u32) {
        let Some(group) = self.groups.get_mut(group_at) else {
            return;
        };
        let start = match group.current() {
            Some(entry) if Arc::ptr_eq(&entry.job, job) => return,
            Some(_) => Start::AtOnce,
            None => Start::WithPrevHash,
        };
        // Before a channel has had a job it is told by its own id: the first message is for it (MS-42).
        let is_first = !group.has_started();
        let group_id = group.id;
        let job_id = group.push(job.clone(), tip.clone(), min_ntime);
        if group.members == 0 {
            return;
        }
        let is_lone = group.members == 1 && self.config.is_lone_channel_addressed;
        let is_for_all = !is_first && !is_lone && !self.flags.standard_jobs_only;
        if is_for_all && job.coinbase().is_some() {
            self.send_job(Receiver::Group, group_at, job_id, start);
            return;
        }
        for at in 0..self.channels.len() {
            if self
                .channels
                .get(at)
                .is_some_and(|c| c.group_id == group_id)
            {
                self.send_job(Receiver::Channel(at), group_at, job_id, start);
            }
        }
    }

    /// The first job of a channel that has just been opened, when there is one.
    pub(super) fn start(&mut self, channel_id: u32) {
        let Some((at, group_at)) = self.working_channel(channel_id) else {
            return;
        };
        let is_working = self
            .groups
            .get(group_at)
            .is_some_and(|g| g.current().is_some());
        if is_working {
            self.send_alias(at, group_at, Start::WithPrevHash);
        } else if let Some(work) = self.work.clone() {
            self.deliver_state(group_at, &work);
        }
    }

    /// Sends the present job once more under a new id, so that a change takes effect at once.
    pub(super) fn resend(&mut self, channel_id: u32) {
        let Some((at, group_at)) = self.working_channel(channel_id) else {
            return;
        };
        if self
            .groups
            .get(group_at)
            .is_some_and(|g| g.current().is_some())
        {
            self.send_alias(at, group_at, Start::Again);
        }
    }

    /// Channels have moved to this group from tips given with them: its job at once, or the group's first one when there
    /// is none yet.
    pub(super) fn restart(&mut self, group_id: u32, moved: &[(u32, Option<Arc<ChainTip>>)]) {
        let Some(group_at) = self.group_at(group_id) else {
            return;
        };
        let Some(group) = self.groups.get(group_at) else {
            return;
        };
        let Some(tip) = group.current().map(|entry| entry.tip.clone()) else {
            if let Some(work) = self.work.clone() {
                self.deliver_state(group_at, &work);
            }
            return;
        };
        let terms = group.terms;
        for (channel_id, known) in moved {
            let Some((at, _)) = self.working_channel(*channel_id) else {
                continue;
            };
            let target = self
                .channels
                .get(at)
                .and_then(|channel| channel.new_target(terms));
            if let Some(target) = target {
                self.announce_target(at, target);
            }
            let is_known = known
                .as_ref()
                .is_some_and(|known| known.is_same_block(&tip));
            let start = if is_known {
                Start::AtOnce
            } else {
                Start::WithPrevHash
            };
            self.send_alias(at, group_at, start);
        }
    }

    /// Places of a channel and its group, unless the client makes its own jobs.
    fn working_channel(&self, channel_id: u32) -> Option<(usize, usize)> {
        if self.flags.selects_work {
            return None;
        }
        let at = self.channel_at(channel_id)?;
        let group_at = self.group_at(self.channels.get(at)?.group_id)?;
        Some((at, group_at))
    }

    fn send_alias(&mut self, at: usize, group_at: usize, start: Start) {
        if let Some(job_id) = self.groups.get_mut(group_at).map(Group::next_alias) {
            self.send_job(Receiver::Channel(at), group_at, job_id, start);
        }
    }

    /// Announces the group's newest job under `job_id`.
    fn send_job(&mut self, receiver: Receiver, group_at: usize, job_id: u32, start: Start) {
        let Some(group) = self.groups.get(group_at) else {
            return;
        };
        let Some(entry) = group.current() else {
            return;
        };
        let tip = entry.tip.clone();
        let mut start_ntime = entry.min_ntime.max(tip.min_ntime);
        let mut channel = match receiver {
            Receiver::Group => None,
            Receiver::Channel(at) => self.channels.get_mut(at),
        };
        let channel_id = channel.as_ref().map_or(group.id, |channel| channel.id);
        if let Some(channel) = &mut channel {
            let is_again = start == Start::Again;
            start_ntime = channel.start_ntime(group.id, entry, start_ntime, is_again);
        }
        let min_ntime = (start != Start::WithPrevHash).then_some(start_ntime);
        if let Some(channel) = channel.filter(|c| c.kind == ChannelKind::Standard) {
            let version = entry.job.version();
            let Some(merkle_root) = channel.standard_root(group.id, entry, job_id) else {
                self.ignored.unfit_jobs += 1;
                return;
            };
            self.send(NewMiningJob {
                channel_id,
                job_id,
                min_ntime,
                version,
                merkle_root: merkle_root.into(),
            });
        } else if entry.job.coinbase().is_none() {
            self.ignored.unfit_jobs += 1;
            return;
        } else {
            let job = entry.job.clone();
            let version_rolling_allowed =
                job.version_rolling_allowed() && !self.flags.fixed_version;
            self.send(ExtendedJob {
                channel_id,
                job_id,
                min_ntime,
                version_rolling_allowed,
                job,
            });
        }
        if start == Start::WithPrevHash {
            self.send(SetNewPrevHash {
                channel_id,
                job_id,
                prev_hash: tip.prev_hash.into(),
                min_ntime: start_ntime,
                nbits: tip.nbits,
            });
        }
    }

    /// Gives a channel the target that it is to have by now, with its job once more so that it holds at once.
    pub(super) fn retarget(&mut self, at: usize) {
        let Some(channel) = self.channels.get(at) else {
            return;
        };
        let group = self.group_at(channel.group_id);
        let terms = group
            .and_then(|at| self.groups.get(at))
            .map(|group| group.terms);
        let Some(target) = channel.new_target(terms.unwrap_or_default()) else {
            return;
        };
        let channel_id = channel.id;
        self.announce_target(at, target);
        if self.config.is_job_resent_on_new_target {
            self.resend(channel_id);
        }
    }

    /// A new target for the jobs to come; those sent so far keep theirs (MS-52).
    fn announce_target(&mut self, at: usize, target: Target) {
        let Some(channel) = self.channels.get_mut(at) else {
            return;
        };
        let channel_id = channel.id;
        let group_of = |id| {
            let found = self.groups.binary_search_by_key(&id, |group| group.id);
            self.groups.get(found.ok()?)
        };
        let earlier = channel.earlier_groups.iter().map(|stay| stay.group_id);
        let oldest_job_id = earlier
            .chain([channel.group_id])
            .filter_map(group_of)
            .map(Group::oldest_job_id)
            .min();
        let next_job_id = group_of(channel.group_id).map_or(1, Group::next_job_id);
        channel.set_target(target, next_job_id, oldest_job_id.unwrap_or(next_job_id));
        self.send(SetTarget {
            channel_id,
            maximum_target: target.to_le_bytes().into(),
        });
    }
}
