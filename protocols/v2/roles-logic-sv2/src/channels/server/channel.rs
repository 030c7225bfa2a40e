//! One open channel.

use alloc::vec::Vec;

use crate::accounting::ShareAccounting;
use crate::channels::server::ServerConfig;
use crate::channels::server::group::{Group, JobEntry};
use crate::channels::{ChannelKind, PayoutId, WorkTerms};
use crate::clock::Instant;
use crate::duplicates::{DuplicateSet, SharesElsewhere};
use crate::extranonce::ExtranoncePrefix;
use crate::job::ChainTip;
use crate::target::{ShareTarget, Target};
use crate::vardiff::Vardiff;

/// Earlier targets that a channel remembers for jobs still in use.
///
/// At the limit the oldest is forgotten; its jobs are judged by the easier of it and the next one, so an honest share
/// is never rejected.
pub const MAX_EARLIER_TARGETS: usize = 8;

/// How many more shares than wanted a client is asked for when an upstream takes that many: one that does not know the
/// hash rate yet would have it send thousands a second.
const MAX_EXCESS: f64 = 16.0;

/// A target and the first job that it holds for (MS-52).
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetFrom {
    pub(super) first_job_id: u32,
    pub(super) target: ShareTarget,
}

/// What the channel had before, for shares of jobs sent before a change; ends with the tip.
#[derive(Debug)]
pub(super) struct Earlier<T> {
    pub(super) until_job_id: u32,
    pub(super) value: T,
}

/// Groups that a channel was in on the present tip, and that are remembered for the shares of their jobs. Of more, the
/// oldest are forgotten; shares of their jobs are then late.
pub const MAX_EARLIER_GROUPS: usize = 8;

/// A channel's time in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub(super) group_id: u32,
    pub(super) first_job_id: u32,
}

/// The block time that a channel was last told to start a job with.
#[derive(Clone, Copy, Debug)]
struct Started {
    group_id: u32,
    first_job_id: u32,
    ntime: u32,
}

/// The merkle root that a standard channel was sent for one job.
#[derive(Debug)]
struct SentRoot {
    group_id: u32,
    first_job_id: u32,
    has_earlier_prefix: bool,
    root: [u8; 32],
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: u32,
    pub(super) kind: ChannelKind,
    pub(super) group_id: u32,
    /// The first job that it had of this group; before the channel's first one when it has always been there.
    pub(super) group_since: u32,
    /// Oldest first.
    pub(super) earlier_groups: Vec<Stay>,
    /// The first job that was sent on this channel.
    pub(super) first_job_id: u32,
    pub(super) prefix: ExtranoncePrefix,
    pub(super) earlier_prefix: Option<Earlier<ExtranoncePrefix>>,
    pub(super) target: TargetFrom,
    earlier_targets: Vec<TargetFrom>,
    root: Option<SentRoot>,
    started: Option<Started>,
    pub(super) nominal_hash_rate: f32,
    pub(super) seen: DuplicateSet,
    /// Shares for payouts that it had before, where each payout has a tip of its own.
    pub(super) seen_elsewhere: SharesElsewhere<PayoutId>,
    pub(super) vardiff: Vardiff,
    pub(super) accounting: ShareAccounting,
}

/// What a channel is opened with.
pub(super) struct Opening {
    pub(super) id: u32,
    pub(super) kind: ChannelKind,
    pub(super) group_id: u32,
    pub(super) terms: WorkTerms,
    pub(super) first_job_id: u32,
    pub(super) prefix: ExtranoncePrefix,
    pub(super) nominal_hash_rate: f32,
    pub(super) seen: DuplicateSet,
    pub(super) vardiff: Vardiff,
    pub(super) accounting: ShareAccounting,
}

/// The target that a channel is to have on these terms.
fn wanted_target(vardiff: &Vardiff, terms: WorkTerms) -> Target {
    let own = vardiff.target();
    match terms {
        WorkTerms::Relayed(upstream) => upstream,
        WorkTerms::AtMost(upstream) if upstream > own => {
            let eased = Target::from_difficulty(own.difficulty_f64() / MAX_EXCESS);
            let bound = eased.map_or(upstream, |eased| eased.min(upstream));
            bound.min(vardiff.easiest_target()).max(own)
        }
        WorkTerms::AtMost(_) | WorkTerms::Own => own,
    }
}

impl Channel {
    pub(super) fn new(opening: Opening) -> Self {
        let target = wanted_target(&opening.vardiff, opening.terms);
        Self {
            id: opening.id,
            kind: opening.kind,
            group_id: opening.group_id,
            group_since: 0,
            earlier_groups: Vec::new(),
            first_job_id: opening.first_job_id,
            prefix: opening.prefix,
            earlier_prefix: None,
            target: TargetFrom {
                first_job_id: opening.first_job_id,
                target: target.into(),
            },
            earlier_targets: Vec::new(),
            root: None,
            started: None,
            nominal_hash_rate: opening.nominal_hash_rate,
            seen: opening.seen,
            seen_elsewhere: SharesElsewhere::new(),
            vardiff: opening.vardiff,
            accounting: opening.accounting,
        }
    }

    /// The target that the channel is to have on these terms, when it is another one than it has.
    pub(super) fn new_target(&self, terms: WorkTerms) -> Option<Target> {
        let wanted = wanted_target(&self.vardiff, terms);
        (wanted != *self.target.target.target()).then_some(wanted)
    }

    /// The group that sent this job; `None` when that is forgotten.
    pub(super) fn group_of_job(&self, job_id: u32) -> Option<u32> {
        if job_id >= self.group_since {
            return Some(self.group_id);
        }
        let mut earlier = self.earlier_groups.iter().rev();
        let stay = earlier.find(|stay| job_id >= stay.first_job_id);
        stay.map(|stay| stay.group_id)
    }

    /// Goes to another group, whose jobs begin with `first_job_id`. Gives a group that is forgotten for it.
    pub(super) fn enter_group(&mut self, group_id: u32, first_job_id: u32) -> Option<u32> {
        let forgotten = match self.earlier_groups.len() >= MAX_EARLIER_GROUPS {
            true => Some(self.earlier_groups.remove(0).group_id),
            false => None,
        };
        self.earlier_groups.push(Stay {
            group_id: self.group_id,
            first_job_id: self.group_since,
        });
        (self.group_id, self.group_since) = (group_id, first_job_id);
        forgotten
    }

    /// The shares known for the payout of a group that the channel is in, or was.
    pub(super) fn seen_of(&mut self, group: &Group) -> &mut DuplicateSet {
        let is_own = group.id == self.group_id;
        let elsewhere = match is_own {
            true => None,
            false => self.seen_elsewhere.find_mut(group.key.payout),
        };
        elsewhere.unwrap_or(&mut self.seen)
    }

    /// Works for this payout on this tip: shares that it handed in for it on the same block are known still.
    pub(super) fn recall_shares(&mut self, payout: PayoutId, tip: &ChainTip) {
        if let Some(seen) = self.seen_elsewhere.come_back(payout, tip) {
            self.seen = seen;
        }
    }

    /// The target in force for a job.
    pub(super) fn target_of_job(&self, job_id: u32) -> &ShareTarget {
        if job_id >= self.target.first_job_id {
            return &self.target.target;
        }
        let held = |from: &&TargetFrom| from.first_job_id <= job_id;
        let oldest = self.earlier_targets.first().unwrap_or(&self.target);
        let found = self.earlier_targets.iter().rev().find(held);
        &found.unwrap_or(oldest).target
    }

    fn has_earlier_prefix(&self, job_id: u32) -> bool {
        let earlier = self.earlier_prefix.as_ref();
        earlier.is_some_and(|earlier| job_id < earlier.until_job_id)
    }

    /// The prefix that a job was sent with.
    pub(super) fn prefix_of_job(&self, job_id: u32) -> &[u8] {
        match &self.earlier_prefix {
            Some(earlier) if job_id < earlier.until_job_id => earlier.value.as_bytes(),
            _ => self.prefix.as_bytes(),
        }
    }

    /// A new target for `first_job_id` and later jobs; targets whose jobs are all gone are forgotten.
    pub(super) fn set_target(&mut self, target: Target, first_job_id: u32, oldest_job_id: u32) {
        if self.target.first_job_id < first_job_id {
            self.earlier_targets.push(self.target);
        }
        self.target = TargetFrom {
            first_job_id,
            target: target.into(),
        };
        self.forget_targets_before(oldest_job_id);
        if self.earlier_targets.len() > MAX_EARLIER_TARGETS {
            let forgotten = self.earlier_targets.remove(0);
            if let Some(next) = self.earlier_targets.first_mut() {
                let easier = forgotten.target.target().max(next.target.target());
                next.target = ShareTarget::new(*easier);
            }
        }
    }

    /// Forgets targets that hold for no job from `oldest_job_id` on.
    pub(super) fn forget_targets_before(&mut self, oldest_job_id: u32) {
        let next_firsts = self.earlier_targets.iter().skip(1);
        let unused = next_firsts
            .chain(Some(&self.target))
            .take_while(|next| next.first_job_id <= oldest_job_id)
            .count();
        self.earlier_targets
            .drain(..unused.min(self.earlier_targets.len()));
        if self.earlier_targets.is_empty() {
            self.earlier_targets = Vec::new();
        }
    }

    /// The merkle root of a standard channel for a job, worked out once. `None` when the prefix does not fit the job.
    pub(super) fn standard_root(
        &mut self,
        group_id: u32,
        entry: &JobEntry,
        job_id: u32,
    ) -> Option<[u8; 32]> {
        let has_earlier_prefix = self.has_earlier_prefix(job_id);
        let is_cached = |sent: &&SentRoot| {
            sent.group_id == group_id
                && sent.first_job_id == entry.first_id
                && sent.has_earlier_prefix == has_earlier_prefix
        };
        if let Some(sent) = self.root.as_ref().filter(is_cached) {
            return Some(sent.root);
        }
        let root = entry.job.merkle_root(self.prefix_of_job(job_id), &[])?;
        self.root = Some(SentRoot {
            group_id,
            first_job_id: entry.first_id,
            has_earlier_prefix,
            root,
        });
        Some(root)
    }

    /// The block time to start a job with, from `earliest` on. The same work once more starts a second later: small firmware
    /// begins each job anew, never rolls the time, and would find the same shares again.
    pub(super) fn start_ntime(
        &mut self,
        group_id: u32,
        entry: &JobEntry,
        earliest: u32,
        is_again: bool,
    ) -> u32 {
        let same = self.started.filter(|started| {
            started.group_id == group_id && started.first_job_id == entry.first_id
        });
        let ntime = match same {
            Some(started) => started.ntime.saturating_add(1).max(earliest),
            None => earliest.saturating_add(u32::from(is_again)),
        };
        self.started = Some(Started {
            group_id,
            first_job_id: entry.first_id,
            ntime,
        });
        ntime
    }

    /// Roots follow from the prefix.
    pub(super) fn forget_root(&mut self) {
        self.root = None;
    }

    /// When the channel has something to do by itself.
    pub(super) fn poll_timeout(&self, config: &ServerConfig) -> Option<Instant> {
        let vardiff = self
            .vardiff
            .poll_timeout()
            .filter(|_| !config.is_target_fixed);
        let due = [vardiff, self.accounting.poll_timeout()];
        due.into_iter().flatten().min()
    }
}
