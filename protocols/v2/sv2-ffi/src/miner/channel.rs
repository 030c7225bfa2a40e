//! One channel: its job, its tip, its target, its shares.

use alloc::vec::Vec;

use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientReject, ShareCounts};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::job::ChainTip;
use roles_logic_sv2::target::Target;

use crate::miner::job::{Job, JobTerms, MAX_EXTRANONCE_LEN, Prefix, Trouble, Work};

/// Jobs kept on a channel for tips to come. One more pushes out the oldest.
pub(crate) const MAX_FUTURE_JOBS: usize = 4;

/// Where a channel is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was asked for; the answer is due then.
    Asked(Instant),
    Open,
    /// The server closed it, and nobody has been told yet.
    Closed,
}

/// A job on a tip.
struct Active {
    job: Job,
    min_ntime: u32,
    target: Target,
}

/// A channel, from the request for it to the news of its end.
pub(super) struct Channel {
    pub(super) state: State,
    pub(super) request_id: u32,
    pub(super) id: u32,
    pub(super) kind: ChannelKind,
    pub(super) group_id: u32,
    pub(super) prefix: Prefix,
    /// Bytes that the miner rolls: at least what was asked for, once it is open.
    pub(super) extranonce_size: usize,
    pub(super) target: Target,
    /// No target is easier.
    pub(super) max_target: Target,
    /// There is other work, and nobody has been told yet.
    pub(super) is_changed: bool,
    pub(super) counts: ShareCounts,
    next_sequence_number: u32,
    tip: Option<ChainTip>,
    /// Number of the tip among all of the connection; 0 before the first.
    tip_number: u32,
    work_number: u32,
    future: Vec<Job>,
    work: Option<Active>,
}

impl Channel {
    /// A channel that is asked for.
    pub(super) fn asked(
        kind: ChannelKind,
        request_id: u32,
        min_extranonce_size: usize,
        max_target: Target,
        due: Instant,
    ) -> Self {
        Self {
            state: State::Asked(due),
            request_id,
            id: 0,
            kind,
            group_id: 0,
            prefix: Prefix::default(),
            extranonce_size: min_extranonce_size,
            target: Target::MAX,
            max_target,
            is_changed: false,
            counts: ShareCounts::default(),
            next_sequence_number: 0,
            tip: None,
            tip_number: 0,
            work_number: 0,
            future: Vec::new(),
            work: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether this many bytes to roll are what was asked for, and can be.
    pub(super) const fn is_size_sound(&self, extranonce_size: usize) -> bool {
        extranonce_size >= self.extranonce_size && extranonce_size <= MAX_EXTRANONCE_LEN
    }

    pub(super) const fn job_terms(&self) -> JobTerms {
        JobTerms {
            kind: self.kind,
            prefix: self.prefix,
            extranonce_size: self.extranonce_size,
        }
    }

    /// Takes a job: to start at once when it has an earliest time, for a tip to come without. `true`: there is other work.
    pub(super) fn take_job(&mut self, job: Job, min_ntime: Option<u32>) -> Result<bool, Trouble> {
        if let Some(min_ntime) = min_ntime {
            if self.tip.is_none() {
                return Err(ClientReject::NoPrevHash.into());
            }
            self.start(job, min_ntime);
            return Ok(true);
        }
        self.future
            .try_reserve_exact(MAX_FUTURE_JOBS.saturating_sub(self.future.len()))
            .map_err(|_| Trouble::NoMemory)?;
        self.future.retain(|other| other.id != job.id);
        if self.future.len() >= MAX_FUTURE_JOBS {
            self.future.remove(0);
        }
        self.future.push(job);
        Ok(false)
    }

    /// A new tip ends all jobs but the one named (MC-19).
    pub(super) fn take_tip(
        &mut self,
        tip: &ChainTip,
        tip_number: u32,
        job_id: u32,
    ) -> Result<bool, Trouble> {
        let named = self.future.iter().position(|job| job.id == job_id);
        let job = named.map(|at| self.future.swap_remove(at));
        self.future.clear();
        self.tip = Some(*tip);
        self.tip_number = tip_number;
        self.work = None;
        match job {
            Some(job) => {
                self.start(job, tip.min_ntime);
                Ok(true)
            }
            None => Err(ClientReject::UnknownJob.into()),
        }
    }

    fn start(&mut self, job: Job, min_ntime: u32) {
        self.work_number = self.work_number.wrapping_add(1);
        self.work = Some(Active {
            job,
            min_ntime,
            target: self.target,
        });
    }

    /// A target that was agreed upon. Jobs that are active keep theirs (MC-25).
    pub(super) fn take_target(&mut self, target: Target) -> Result<bool, Trouble> {
        if target > self.max_target {
            return Err(ClientReject::TargetTooEasy.into());
        }
        self.target = target;
        Ok(false)
    }

    /// What to hash now.
    pub(super) fn work(&self, now: Now) -> Option<Work> {
        let (active, tip) = (self.work.as_ref()?, self.tip.as_ref()?);
        let min_ntime = active.min_ntime.max(tip.min_ntime);
        // One second more for each since the tip came (MC-10).
        let elapsed_secs = (now.instant - tip.received_at).as_secs();
        let elapsed_secs = u32::try_from(elapsed_secs).unwrap_or(u32::MAX);
        let job = &active.job;
        Some(Work {
            channel_id: self.id,
            job_id: job.id,
            tip_number: self.tip_number,
            work_number: self.work_number,
            version: job.version(),
            version_mask: job.version_mask(),
            min_ntime,
            max_ntime: tip.min_ntime.saturating_add(elapsed_secs).max(min_ntime),
            nbits: tip.nbits,
            prev_hash: tip.prev_hash,
            target: active.target,
            extranonce_size: job.extranonce_size(),
            merkle_root: job.fixed_root(),
        })
    }

    /// Whether shares of this work still count.
    pub(super) const fn is_current(&self, work: &Work) -> bool {
        self.tip_number == work.tip_number
    }

    /// The job of this work, unless another took its place.
    pub(super) fn job(&self, work: &Work) -> Option<&Job> {
        let active = self.work.as_ref()?;
        let is_same = self.is_current(work) && self.work_number == work.work_number;
        is_same.then_some(&active.job)
    }

    /// Number of the next share.
    pub(super) const fn next_sequence_number(&self) -> u32 {
        self.next_sequence_number.wrapping_add(1)
    }

    /// That share is on its way.
    pub(super) const fn submitted(&mut self) {
        self.next_sequence_number = self.next_sequence_number();
        self.counts.submitted += 1;
    }

    /// Whether a share with this number was sent. Numbers may wrap.
    pub(super) const fn was_sent(&self, sequence_number: u32) -> bool {
        let age = self.next_sequence_number.wrapping_sub(sequence_number);
        age < 1 << 31 && (age as u64) < self.counts.submitted
    }

    /// Gives back what takes memory.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.is_changed = false;
        self.future = Vec::new();
        self.work = None;
    }
}
