//! What a device sees of its server.

use std::collections::BTreeMap;
use std::time::Duration;

use roles_logic_sv2::clock::{Instant, Now};
use serde::Serialize;

use super::rule::{Failure, Rule};
use crate::stats::count;

/// Failures of one rule that a device tells in full; further ones are counted.
const MAX_TOLD: u64 = 3;

/// What the server sent, and what it said of the shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Frames.
    pub frames: u64,
    /// The longest frame in bytes, decrypted, with its header.
    pub largest_frame_bytes: usize,
    /// The longest merkle path of a job.
    pub most_branches: usize,
    /// Jobs.
    pub jobs: u64,
    /// Jobs among them that were the work of an earlier one on their tip.
    pub jobs_repeated: u64,
    /// `SetNewPrevHash`.
    pub tips: u64,
    /// `SetTarget`.
    pub targets: u64,
    /// Messages that firmware has no use for, by name; `SetExtranoncePrefix` is the one that matters.
    pub ignored: BTreeMap<String, u64>,
    /// Shares sent.
    pub submitted: u64,
    /// Shares accepted.
    pub accepted: u64,
    /// Shares rejected by code, those of jobs that a tip had ended included.
    pub rejected: BTreeMap<String, u64>,
    /// Seconds until a device had its first share accepted; the slowest one.
    pub first_share_secs: Option<f64>,
}

impl Seen {
    /// Adds what another device has seen.
    pub(super) fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.largest_frame_bytes = self.largest_frame_bytes.max(other.largest_frame_bytes);
        self.most_branches = self.most_branches.max(other.most_branches);
        self.jobs += other.jobs;
        self.jobs_repeated += other.jobs_repeated;
        self.tips += other.tips;
        self.targets += other.targets;
        self.submitted += other.submitted;
        self.accepted += other.accepted;
        let slowest = self.first_share_secs.into_iter();
        let slowest = slowest.chain(other.first_share_secs);
        self.first_share_secs = slowest.max_by(f64::total_cmp);
        for (name, times) in other.ignored {
            *self.ignored.entry(name).or_default() += times;
        }
        for (code, times) in other.rejected {
            *self.rejected.entry(code).or_default() += times;
        }
    }

    /// How often the server sent a message that is ignored.
    pub(super) fn ignored(&self, name: &str) -> u64 {
        self.ignored.get(name).copied().unwrap_or_default()
    }
}

/// The notes of one device.
#[derive(Clone, Debug)]
pub(super) struct Log {
    connection: usize,
    began: Instant,
    pub(super) seen: Seen,
    pub(super) failed: BTreeMap<Rule, u64>,
    pub(super) failures: Vec<Failure>,
}

impl Log {
    pub(super) fn new(connection: usize, now: Now) -> Self {
        Self {
            connection,
            began: now.instant,
            seen: Seen::default(),
            failed: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    pub(super) fn age(&self, now: Now) -> Duration {
        now.instant - self.began
    }

    pub(super) fn fail(&mut self, rule: Rule, what: impl Into<String>, now: Now) {
        let times = self.failed.entry(rule).or_default();
        *times += 1;
        if *times <= MAX_TOLD {
            let failure =
                Failure::new(self.connection, now.instant - self.began, rule, what.into());
            self.failures.push(failure);
        }
    }

    pub(super) fn ignore(&mut self, name: &str) {
        count(&mut self.seen.ignored, name);
    }

    pub(super) fn accept(&mut self, shares: u32, now: Now) {
        self.seen.accepted += u64::from(shares);
        if self.seen.accepted > 0 && self.seen.first_share_secs.is_none() {
            self.seen.first_share_secs = Some(self.age(now).as_secs_f64());
        }
    }

    pub(super) fn reject(&mut self, code: &str) {
        count(&mut self.seen.rejected, code);
    }
}
