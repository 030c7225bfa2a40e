//! What there is to mine at one moment: a tip and one job for each way to pay.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::job::{ChainTip, Job};
use crate::target::Target;

/// Names a way to pay a channel's reward. The owner chooses the numbers; equal numbers share jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayoutId(pub u32);

/// What channels must have in common to mine the same job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// Who is paid.
    pub payout: PayoutId,
    /// Bytes of the extranonce, the server's prefix included: the coinbase announces its length (MS-15).
    pub full_extranonce_size: usize,
}

/// An immutable snapshot of the work: the tip, and the newest job on it for each [`JobKey`].
///
/// Made once per template and shared by all connections. A connection compares it with the snapshot that it had before,
/// so it may skip some: another tip means a future job and `SetNewPrevHash`, another `Arc` of a job on the same tip a
/// job to start at once, and the same `Arc` means nothing new (a snapshot may only add a payout).
#[derive(Clone, Debug)]
pub struct WorkState {
    tip: Arc<ChainTip>,
    jobs: Box<[(JobKey, Arc<Job>)]>,
}

impl WorkState {
    /// A snapshot; where a key comes twice, one of its jobs is dropped.
    pub fn new(
        tip: impl Into<Arc<ChainTip>>,
        jobs: impl IntoIterator<Item = (PayoutId, Arc<Job>)>,
    ) -> Self {
        let keyed = |(payout, job): (PayoutId, Arc<Job>)| {
            let full_extranonce_size = job.full_extranonce_size();
            let key = JobKey {
                payout,
                full_extranonce_size,
            };
            (key, job)
        };
        let mut jobs: Vec<_> = jobs.into_iter().map(keyed).collect();
        jobs.sort_by_key(|(key, _)| *key);
        jobs.dedup_by_key(|(key, _)| *key);
        Self {
            tip: tip.into(),
            jobs: jobs.into_boxed_slice(),
        }
    }

    /// The tip that all jobs build on.
    pub const fn tip(&self) -> &Arc<ChainTip> {
        &self.tip
    }

    /// The newest job for a key; `None` until the owner has made one.
    pub fn job(&self, key: JobKey) -> Option<&Arc<Job>> {
        let at = self.jobs.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.jobs.get(at).map(|(_, job)| job)
    }

    /// All jobs with their keys, ascending.
    pub fn jobs(&self) -> impl Iterator<Item = (JobKey, &Arc<Job>)> {
        self.jobs.iter().map(|(key, job)| (*key, job))
    }
}

/// On which terms shares of a payout's jobs are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkTerms {
    /// The target follows from the rate of shares that the operator wants; shares are acknowledged when they are stored.
    #[default]
    Own,
    /// The same, but the target is not made harder than this one: an upstream credits no more than it asked for.
    AtMost(Target),
    /// The target is the upstream's, and shares are acknowledged when the owner says so, as the upstream does.
    Relayed(Target),
}

/// The newest work of one payout, for owners whose payouts have tips of their own, as a proxy's upstreams have.
#[derive(Clone, Debug)]
pub struct PayoutWork {
    /// What it builds on.
    pub tip: Arc<ChainTip>,
    /// What is mined.
    pub job: Arc<Job>,
    /// Earliest block time of the job, in Unix seconds; not before that of the tip.
    pub min_ntime: u32,
    /// On which terms.
    pub terms: WorkTerms,
}
