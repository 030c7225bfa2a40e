//! Giving out work (5.3.15 to 5.3.17, 5.3.21).

use alloc::sync::Arc;

use mining_sv2::{NewMiningJob, SetNewPrevHash, SetTarget};

use super::group::Group;
use super::{ExtendedJob, Output, ServerChannels};
use crate::channels::{ChannelKind, WorkState};
use crate::target::Target;

/// How a job is announced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Without `min_ntime`, followed by `SetNewPrevHash`: the receiver learns of a tip.
    WithPrevHash,
    /// With `min_ntime`, on the tip that the receiver knows.
    AtOnce,
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
            self.deliver(at, work);
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
        if let Some(earlier) = channel.earlier_group.take() {
            self.forget_group(earlier.value);
        }
    }

    fn deliver(&mut self, group_at: usize, work: &WorkState) {
        let Some(group) = self.groups.get_mut(group_at) else {
            return;
        };
        let tip = work.tip();
        if group.is_new_tip(tip) {
            group.set_tip(tip.clone());
        }
        let Some(job) = work.job(group.key) else {
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
        let job_id = group.push(job.clone(), tip.clone());
        if group.members == 0 {
            return;
        }
        if !is_first && !self.flags.standard_jobs_only {
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
            self.deliver(group_at, &work);
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
            self.send_alias(at, group_at, Start::AtOnce);
        }
    }

    /// Channels have moved to this group: its job at once, or the group's first one when there is none yet.
    pub(super) fn restart(&mut self, group_id: u32, channel_ids: &[u32]) {
        let Some(group_at) = self.group_at(group_id) else {
            return;
        };
        if self
            .groups
            .get(group_at)
            .is_some_and(|g| g.current().is_some())
        {
            channel_ids.iter().for_each(|id| self.resend(*id));
        } else if let Some(work) = self.work.clone() {
            self.deliver(group_at, &work);
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
        let min_ntime = (start == Start::AtOnce).then_some(tip.min_ntime);
        let channel = match receiver {
            Receiver::Group => None,
            Receiver::Channel(at) => self.channels.get_mut(at),
        };
        let channel_id = channel.as_ref().map_or(group.id, |channel| channel.id);
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
        } else {
            let job = entry.job.clone();
            self.send(ExtendedJob {
                channel_id,
                job_id,
                min_ntime,
                job,
            });
        }
        if start == Start::WithPrevHash {
            self.send(SetNewPrevHash {
                channel_id,
                job_id,
                prev_hash: tip.prev_hash.into(),
                min_ntime: tip.min_ntime,
                nbits: tip.nbits,
            });
        }
    }

    /// A new target for the jobs to come; those sent so far keep theirs (MS-52).
    pub(super) fn set_target(&mut self, at: usize, target: Target) {
        let Some(channel) = self.channels.get_mut(at) else {
            return;
        };
        let channel_id = channel.id;
        let group_of = |id| {
            let found = self.groups.binary_search_by_key(&id, |group| group.id);
            self.groups.get(found.ok()?)
        };
        let earlier_group = channel.earlier_group.as_ref().map(|earlier| earlier.value);
        let oldest_job_id = [Some(channel.group_id), earlier_group]
            .into_iter()
            .flatten()
            .filter_map(group_of)
            .map(Group::oldest_job_id)
            .min();
        let next_job_id = group_of(channel.group_id).map_or(1, Group::next_job_id);
        channel.set_target(target, next_job_id, oldest_job_id.unwrap_or(next_job_id));
        self.send(SetTarget {
            channel_id,
            maximum_target: target.to_le_bytes().into(),
        });
        if self.config.is_job_resent_on_new_target {
            self.resend(channel_id);
        }
    }
}
