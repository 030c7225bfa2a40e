//! What to hash: a job dealt out in units, so that no header is hashed twice.
//!
//! A unit is a range of nonces under one version, ntime and extranonce. When all nonces are dealt, a standard channel
//! rolls the version, an extended one its extranonce; where neither is allowed the next second of ntime opens
//! the nonces again.

use std::ops::RangeInclusive;
use std::sync::Arc;

use roles_logic_sv2::clock::Now;
use roles_logic_sv2::header::{Header, VERSION_ROLLING_MASK, rolled_version};
use roles_logic_sv2::job::{ChainTip, Job};
use roles_logic_sv2::target::Target;

use crate::hasher::Work;

/// Nonces of one unit: about a second of one core with SHA-NI.
pub const UNIT_NONCES: u32 = 1 << 24;

/// Units in which all nonces are dealt out.
const UNITS_PER_ROUND: u64 = (1 << 32) / UNIT_NONCES as u64;

/// Extranonce bytes that are rolled, at most: more than any machine can count through.
const MAX_ROLLED_BYTES: usize = 8;

/// A job that is being mined on one channel.
#[derive(Clone, Debug)]
pub struct Task {
    /// The channel it came on.
    pub channel_id: u32,
    /// Its number there.
    pub job_id: u32,
    /// Block version to start from.
    pub version: u32,
    /// Whether the bits of BIP323 may be changed.
    pub version_rolling_allowed: bool,
    /// What to build on.
    pub tip: ChainTip,
    /// Earliest ntime of this job, which may be later than the tip's, in Unix seconds.
    pub min_ntime: u32,
    /// Largest hash that makes a share.
    pub target: Target,
    /// Where the merkle root comes from.
    pub root: RootSource,
}

/// Where a task's merkle root comes from.
#[derive(Clone, Debug)]
pub enum RootSource {
    /// A standard channel's job: the server computed it, 32 raw bytes.
    Fixed([u8; 32]),
    /// An extended channel's job: it follows from the extranonce, whose end is ours to roll.
    Extranonce {
        /// Coinbase and merkle path.
        job: Arc<Job>,
        /// The server's bytes of the extranonce.
        prefix: Vec<u8>,
        /// Number of our bytes.
        size: usize,
    },
}

/// Deals a [`Task`] out.
#[derive(Clone, Debug)]
pub struct WorkSource {
    task: Task,
    dealt_units: u64,
    /// The ntime of the last unit dealt before all that can be rolled was used up.
    used_up_ntime: Option<u32>,
}

/// A range of nonces to hash, and the share they make.
#[derive(Clone, Debug)]
pub struct WorkUnit {
    /// Header and target.
    pub work: Work,
    /// What to try.
    pub nonces: RangeInclusive<u32>,
    share: FoundShare,
}

/// A share to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundShare {
    /// The channel it was mined for.
    pub channel_id: u32,
    /// The job it was mined on.
    pub job_id: u32,
    /// Nonce that meets the target.
    pub nonce: u32,
    /// Block time, Unix seconds.
    pub ntime: u32,
    /// Full version, rolled bits included.
    pub version: u32,
    /// Our bytes of the extranonce; `None` on a standard channel.
    pub extranonce: Option<Vec<u8>>,
}

impl WorkUnit {
    /// The share that `nonce` makes.
    pub fn share(&self, nonce: u32) -> FoundShare {
        FoundShare {
            nonce,
            ..self.share.clone()
        }
    }
}

impl WorkSource {
    /// A source that has dealt nothing yet.
    pub const fn new(task: Task) -> Self {
        Self {
            task,
            dealt_units: 0,
            used_up_ntime: None,
        }
    }

    /// The next unit; `None` when all of this second is dealt, or the job's coinbase does not fit its extranonce.
    ///
    /// Its ntime is as late as a share's may be: the tip's minimum plus the time since the tip came (5.3.11),
    /// or the job's own minimum (5.3.15).
    pub fn next_unit(&mut self, now: Now) -> Option<WorkUnit> {
        let ntime = self.latest_ntime(now);
        if self.used_up_ntime.is_some_and(|used_up| ntime <= used_up) {
            return None;
        }
        let (round, unit) = (
            self.dealt_units / UNITS_PER_ROUND,
            self.dealt_units % UNITS_PER_ROUND,
        );
        let (version, extranonce) = self.rolled(round);
        let header = Header {
            version,
            prev_hash: self.task.tip.prev_hash,
            merkle_root: self.merkle_root(extranonce.as_deref())?,
            ntime,
            nbits: self.task.tip.nbits,
            nonce: 0,
        };
        self.advance(ntime);
        // Fits: there are 2^32 / UNIT_NONCES units.
        let first = unit as u32 * UNIT_NONCES;
        Some(WorkUnit {
            work: Work::new(&header.to_bytes(), &self.task.target.to_le_bytes()),
            nonces: first..=first + (UNIT_NONCES - 1),
            share: FoundShare {
                channel_id: self.task.channel_id,
                job_id: self.task.job_id,
                nonce: 0,
                ntime,
                version,
                extranonce,
            },
        })
    }

    fn latest_ntime(&self, now: Now) -> u32 {
        let elapsed = now
            .instant
            .saturating_duration_since(self.task.tip.received_at);
        let elapsed_secs = u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX);
        let latest = self.task.tip.min_ntime.saturating_add(elapsed_secs);
        latest.max(self.task.min_ntime)
    }

    fn advance(&mut self, ntime: u32) {
        self.dealt_units += 1;
        if self.dealt_units / UNITS_PER_ROUND >= self.rounds() {
            self.dealt_units = 0;
            self.used_up_ntime = Some(ntime);
        }
    }

    /// How often all nonces can be dealt under one ntime.
    fn rounds(&self) -> u64 {
        match &self.task.root {
            RootSource::Extranonce { size, .. } if *size >= 4 => 1 << 32,
            RootSource::Extranonce { size, .. } => 1 << (8 * size),
            RootSource::Fixed(_) if self.task.version_rolling_allowed => {
                1 << VERSION_ROLLING_MASK.count_ones()
            }
            RootSource::Fixed(_) => 1,
        }
    }

    /// Version and extranonce of a round.
    fn rolled(&self, round: u64) -> (u32, Option<Vec<u8>>) {
        let version = self.task.version;
        match &self.task.root {
            RootSource::Extranonce { size, .. } => {
                let mut extranonce = vec![0; *size];
                let rolled = (*size).min(MAX_ROLLED_BYTES);
                extranonce[..rolled].copy_from_slice(&round.to_le_bytes()[..rolled]);
                (version, Some(extranonce))
            }
            RootSource::Fixed(_) if round == 0 => (version, None),
            RootSource::Fixed(_) => {
                let counter = (version & VERSION_ROLLING_MASK) as u64
                    + (round << VERSION_ROLLING_MASK.trailing_zeros());
                (
                    rolled_version(version, VERSION_ROLLING_MASK, counter as u32),
                    None,
                )
            }
        }
    }

    fn merkle_root(&self, extranonce: Option<&[u8]>) -> Option<[u8; 32]> {
        match &self.task.root {
            RootSource::Fixed(root) => Some(*root),
            RootSource::Extranonce { job, prefix, .. } => job.merkle_root(prefix, extranonce?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use roles_logic_sv2::clock::Instant;
    use roles_logic_sv2::coinbase::Coinbase;
    use stratum_vectors::{array, bytes, list, uint};

    use super::*;

    fn now() -> Now {
        Now {
            instant: Instant::from_secs(1000),
            unix_secs: 1_700_000_000,
        }
    }

    fn task(version_rolling_allowed: bool, root: RootSource) -> Task {
        Task {
            channel_id: 1,
            job_id: 2,
            version: 0x2000_0000,
            version_rolling_allowed,
            tip: ChainTip::new([3; 32], 0x207f_ffff, 500, now().instant).unwrap(),
            min_ntime: 500,
            target: Target::MAX,
            root,
        }
    }

    fn deal(source: &mut WorkSource, units: u64, now: Now) -> Vec<WorkUnit> {
        (0..units).map_while(|_| source.next_unit(now)).collect()
    }

    #[test]
    fn units_cover_all_nonces_once() {
        let mut source = WorkSource::new(task(true, RootSource::Fixed([4; 32])));
        let units = deal(&mut source, UNITS_PER_ROUND, now());
        let mut next = 0_u64;
        for unit in &units {
            assert_eq!(u64::from(*unit.nonces.start()), next);
            next = u64::from(*unit.nonces.end()) + 1;
        }
        assert_eq!(next, 1 << 32);
        assert!(
            units
                .iter()
                .all(|unit| unit.share(0).version == 0x2000_0000)
        );
    }

    #[test]
    fn a_standard_channel_rolls_the_version_within_its_bits() {
        let mut source = WorkSource::new(Task {
            version: 0x3fff_ffff,
            ..task(true, RootSource::Fixed([4; 32]))
        });
        let versions: HashSet<u32> = deal(&mut source, 5 * UNITS_PER_ROUND, now())
            .iter()
            .map(|unit| unit.share(0).version)
            .collect();
        assert_eq!(versions.len(), 5);
        assert!(
            versions
                .iter()
                .all(|version| (version ^ 0x3fff_ffff) & !VERSION_ROLLING_MASK == 0)
        );
    }

    #[test]
    fn a_fixed_version_waits_for_the_next_second() {
        let mut source = WorkSource::new(task(false, RootSource::Fixed([4; 32])));
        let first = deal(&mut source, u64::MAX, now());
        assert_eq!(first.len() as u64, UNITS_PER_ROUND);
        assert_eq!(first[0].share(9).ntime, 500);
        assert!(
            source
                .next_unit(now().after(Duration::from_millis(999)))
                .is_none()
        );
        let later = source
            .next_unit(now().after(Duration::from_secs(1)))
            .unwrap();
        assert_eq!(
            (
                later.share(9).ntime,
                later.share(9).nonce,
                later.share(9).version
            ),
            (501, 9, 0x2000_0000)
        );
    }

    #[test]
    fn ntime_is_never_later_than_the_time_since_the_tip() {
        let mut source = WorkSource::new(task(true, RootSource::Fixed([4; 32])));
        for elapsed_secs in [0, 1, 59, 3600] {
            let unit = source
                .next_unit(now().after(Duration::from_secs(elapsed_secs)))
                .unwrap();
            assert_eq!(u64::from(unit.share(0).ntime), 500 + elapsed_secs);
        }
    }

    #[test]
    fn a_job_starts_with_its_own_ntime() {
        let mut source = WorkSource::new(Task {
            min_ntime: 510,
            ..task(true, RootSource::Fixed([4; 32]))
        });
        for (elapsed_secs, ntime) in [(0, 510), (10, 510), (11, 511)] {
            let unit = source.next_unit(now().after(Duration::from_secs(elapsed_secs)));
            assert_eq!(unit.unwrap().share(0).ntime, ntime);
        }
    }

    #[test]
    fn an_extended_channel_rolls_its_extranonce() {
        let vectors = stratum_vectors::load("jobs.json");
        for entry in list(&vectors, "extended_jobs") {
            let (prefix, share) = (bytes(entry, "extranonce_prefix"), &entry["share"]);
            let size = bytes(entry, "extranonce").len();
            let mut source = WorkSource::new(extended_task(entry, prefix.clone(), size));
            let units = deal(&mut source, 2 * UNITS_PER_ROUND, now());
            let (first, second) = (&units[0], units.last().unwrap());
            assert_eq!(first.share(0).extranonce, Some(vec![0; size]));
            assert_ne!(first.share(0).extranonce, second.share(0).extranonce);
            let header = second.work.header_with(7);
            let RootSource::Extranonce { job, .. } = &source.task.root else {
                unreachable!()
            };
            let root = job.merkle_root(&prefix, second.share(7).extranonce.as_deref().unwrap());
            assert_eq!(Some(header[36..68].try_into().unwrap()), root);
            assert_eq!(header[4..36], array::<32>(share, "prev_hash"));
        }
    }

    fn extended_task(entry: &serde_json::Value, prefix: Vec<u8>, size: usize) -> Task {
        let (expected, share) = (&entry["expected"], &entry["share"]);
        let coinbase = Coinbase::from_stripped_parts(
            &bytes(expected, "coinbase_tx_prefix"),
            &bytes(expected, "coinbase_tx_suffix"),
            prefix.len() + size,
        )
        .unwrap();
        let path: Vec<[u8; 32]> = Vec::new();
        let job = Job::new(None, 1, true, path, coinbase);
        let nbits = uint(share, "nbits") as u32;
        Task {
            tip: ChainTip::new(array(share, "prev_hash"), nbits, 500, now().instant).unwrap(),
            ..task(
                true,
                RootSource::Extranonce {
                    job: Arc::new(job),
                    prefix,
                    size,
                },
            )
        }
    }
}
