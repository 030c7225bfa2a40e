//! Channels that mine the same jobs, and the jobs they may still submit for.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::channels::{JobKey, WorkTerms};
use crate::job::{ChainTip, Job};

/// Jobs that a group remembers. The oldest is dropped for a newer one; a share for it is then `invalid-job-id`.
///
/// At a new template every 30 seconds this is eight minutes, far more than a share is under way.
pub const MAX_JOBS: usize = 16;

/// A job under the ids `first_id` up to the next entry's: the same work is sent again under a new id when a channel
/// opens or its target changes.
#[derive(Clone, Debug)]
pub(super) struct JobEntry {
    pub(super) first_id: u32,
    pub(super) job: Arc<Job>,
    pub(super) tip: Arc<ChainTip>,
    /// Earliest block time, in Unix seconds.
    pub(super) min_ntime: u32,
}

/// What is known of a job id.
#[derive(Debug)]
pub(super) enum Lookup<'g> {
    /// A job that can be validated.
    Known { entry: &'g JobEntry, is_stale: bool },
    /// It was sent, and a tip has ended it since.
    Stale,
    /// Never sent, or too old on the present tip.
    Unknown,
}

/// Channels with the same [`JobKey`]: they share jobs and job ids, so ids are small and follow each other.
#[derive(Debug)]
pub(super) struct Group {
    /// The group's channel id.
    pub(super) id: u32,
    pub(super) key: JobKey,
    pub(super) terms: WorkTerms,
    /// Channels that are in the group now.
    pub(super) members: u32,
    /// Channels that were in the group and may still submit for its jobs.
    pub(super) former_members: u32,
    /// Oldest first.
    jobs: Vec<JobEntry>,
    next_job_id: u32,
    has_started: bool,
    /// The first id on the present tip.
    first_id_on_tip: u32,
    tip: Option<Arc<ChainTip>>,
}

impl Group {
    pub(super) const fn new(id: u32, key: JobKey, terms: WorkTerms) -> Self {
        Self {
            id,
            key,
            terms,
            members: 0,
            former_members: 0,
            jobs: Vec::new(),
            next_job_id: 1,
            has_started: false,
            first_id_on_tip: 1,
            tip: None,
        }
    }

    /// The newest job, when it is on the present tip.
    pub(super) fn current(&self) -> Option<&JobEntry> {
        self.jobs.last().filter(|entry| self.is_on_tip(entry))
    }

    pub(super) fn is_on_tip(&self, entry: &JobEntry) -> bool {
        self.tip
            .as_ref()
            .is_some_and(|tip| Arc::ptr_eq(tip, &entry.tip) || *tip == entry.tip)
    }

    /// The present tip.
    pub(super) const fn tip(&self) -> Option<&Arc<ChainTip>> {
        self.tip.as_ref()
    }

    /// Whether this is another tip than the present one.
    pub(super) fn is_new_tip(&self, tip: &Arc<ChainTip>) -> bool {
        self.tip.as_ref() != Some(tip)
    }

    /// Moves to another tip: of the jobs so far only those of the tip it replaces are kept, to tell late shares from
    /// wrong ones and to find blocks among them.
    pub(super) fn set_tip(&mut self, tip: Arc<ChainTip>) {
        let replaced = self.tip.replace(tip);
        self.jobs
            .retain(|entry| Some(&entry.tip) == replaced.as_ref());
        self.first_id_on_tip = self.next_job_id;
    }

    /// The work has ended and nothing follows it: shares of all jobs so far are late.
    pub(super) fn end(&mut self) {
        self.tip = None;
        self.first_id_on_tip = self.next_job_id;
    }

    /// Whether any job was ever sent.
    pub(super) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// The id that the next job will have.
    pub(super) const fn next_job_id(&self) -> u32 {
        self.next_job_id
    }

    /// Job ids of this group stay above those of another one, whose channels move here (MS-43).
    pub(super) fn skip_ids_below(&mut self, job_id: u32) {
        self.next_job_id = self.next_job_id.max(job_id);
    }

    /// The oldest id that still leads to a job.
    pub(super) fn oldest_job_id(&self) -> u32 {
        self.jobs
            .first()
            .map_or(self.next_job_id, |entry| entry.first_id)
    }

    /// A new job on the present tip; gives its id.
    pub(super) fn push(&mut self, job: Arc<Job>, tip: Arc<ChainTip>, min_ntime: u32) -> u32 {
        if self.jobs.len() >= MAX_JOBS {
            self.jobs.remove(0);
        }
        self.has_started = true;
        self.jobs.push(JobEntry {
            first_id: self.next_job_id,
            job,
            tip,
            min_ntime,
        });
        self.next_alias()
    }

    /// One more id for the newest job. After 2^32 ids the last one stays: a job is then told apart by nothing but time.
    pub(super) fn next_alias(&mut self) -> u32 {
        let job_id = self.next_job_id;
        self.next_job_id = job_id.saturating_add(1);
        job_id
    }

    pub(super) fn find(&self, job_id: u32) -> Lookup<'_> {
        if job_id == 0 || job_id >= self.next_job_id {
            return Lookup::Unknown;
        }
        match self
            .jobs
            .iter()
            .rev()
            .find(|entry| entry.first_id <= job_id)
        {
            Some(entry) => Lookup::Known {
                entry,
                is_stale: !self.is_on_tip(entry),
            },
            None if job_id < self.first_id_on_tip => Lookup::Stale,
            None => Lookup::Unknown,
        }
    }
}
