//! What to hash: a job dealt out in units, so that no header is hashed twice.
//!
//! A unit is a range of nonces under one version, ntime and extranonce. When all nonces are dealt, the version and the
//! extranonce are rolled, as far as the job lets us; where neither can be rolled any further the next second of ntime opens the
//! nonces again.

use std::ops::RangeInclusive;

use roles_logic_sv2::channels::client::Found;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::header::{Header, rolled_version};

use crate::hasher;
use crate::task::Task;

/// Nonces of one unit: about a second of one core with SHA-NI.
pub const UNIT_NONCES: u32 = 1 << 24;

/// Units in which all nonces are dealt out.
const UNITS_PER_ROUND: u64 = (1 << 32) / UNIT_NONCES as u64;

/// Extranonce bytes that are rolled, at most: more than any machine can count through.
const MAX_ROLLED_BYTES: usize = 4;

/// Deals a [`Task`] out.
#[derive(Clone, Debug)]
pub struct WorkSource {
    task: Task,
    first_roll: u32,
    dealt_units: u64,
    /// The latest ntime of all units dealt.
    latest_ntime: u32,
    /// The latest ntime of what was dealt before all that can be rolled was used up.
    used_up_ntime: Option<u32>,
}

/// A range of nonces to hash, and the share they make.
#[derive(Clone, Debug)]
pub struct WorkUnit {
    /// Header and target.
    pub work: hasher::Work,
    /// What to try.
    pub nonces: RangeInclusive<u32>,
    share: FoundShare,
}

/// A share to submit, with the job that it was found on.
#[derive(Clone, Debug)]
pub struct FoundShare {
    /// What was hashed.
    pub task: Task,
    /// Nonce that meets the target.
    pub nonce: u32,
    /// Block time, Unix seconds.
    pub ntime: u32,
    /// Full version, rolled bits included.
    pub version: u32,
    /// Our bytes of the extranonce; none on a standard channel.
    pub extranonce: Vec<u8>,
}

impl FoundShare {
    /// The share without its job.
    pub fn found(&self) -> Found<'_> {
        Found {
            nonce: self.nonce,
            ntime: self.ntime,
            version: self.version,
            extranonce: &self.extranonce,
        }
    }
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
    /// A source that has dealt nothing yet. It begins with version and extranonce rolled `first_roll` times, 0 for as
    /// the job has them.
    pub const fn new(task: Task, first_roll: u32) -> Self {
        Self {
            task,
            first_roll,
            dealt_units: 0,
            latest_ntime: 0,
            used_up_ntime: None,
        }
    }

    /// What is dealt out.
    pub const fn task(&self) -> &Task {
        &self.task
    }

    /// The same source, without the headers that `former` has dealt: a job may come again under another number, with
    /// other version bits, or with another target.
    #[must_use]
    pub fn without(mut self, former: &Self) -> Self {
        if !self.makes_headers_of(former) {
            return self;
        }
        self.first_roll = former.first_roll;
        self.latest_ntime = former.latest_ntime;
        self.used_up_ntime = former.used_up_ntime;
        let (mask, version) = (self.task.version_mask(), self.task.version());
        if (mask, version) == (former.task.version_mask(), former.task.version()) {
            self.dealt_units = former.dealt_units;
            return self;
        }
        // The same roll means another version now, so only an extranonce that is new makes a new header for sure.
        let begun_rounds = former.dealt_units.div_ceil(UNITS_PER_ROUND);
        if begun_rounds < self.extranonces() {
            self.dealt_units = begun_rounds * UNITS_PER_ROUND;
        } else {
            self.used_up_ntime = Some(former.latest_ntime);
        }
        self
    }

    /// Whether some header can be made of both jobs.
    fn makes_headers_of(&self, other: &Self) -> bool {
        let versions = self.task.version() ^ other.task.version();
        let masks = self.task.version_mask() | other.task.version_mask();
        versions & !masks == 0
            && self.task.extranonce_size() == other.task.extranonce_size()
            && self.plain_header() == other.plain_header()
    }

    /// The header without all that is rolled.
    fn plain_header(&self) -> Option<Header> {
        self.task.header(&Found {
            nonce: 0,
            ntime: 0,
            version: 0,
            extranonce: &vec![0; self.task.extranonce_size()],
        })
    }

    /// The next unit, with the latest ntime that a share may have; `None` when all of this second is dealt.
    pub fn next_unit(&mut self, now: Now) -> Option<WorkUnit> {
        let ntime = self.task.max_ntime(now);
        if self.used_up_ntime.is_some_and(|used_up| ntime <= used_up) {
            return None;
        }
        // What does not fit is rolled off anyway.
        let roll = (self.dealt_units / UNITS_PER_ROUND) as u32;
        let roll = self.first_roll.wrapping_add(roll);
        let share = FoundShare {
            nonce: 0,
            ntime,
            version: self.version(roll),
            extranonce: self.extranonce(roll),
            task: self.task.clone(),
        };
        let header = self.task.header(&share.found())?;
        // Fits: there are 2^32 / UNIT_NONCES units.
        let first = (self.dealt_units % UNITS_PER_ROUND) as u32 * UNIT_NONCES;
        self.advance(ntime);
        Some(WorkUnit {
            work: hasher::Work::new(&header.to_bytes(), &self.task.target().to_le_bytes()),
            nonces: first..=first + (UNIT_NONCES - 1),
            share,
        })
    }

    fn advance(&mut self, ntime: u32) {
        self.latest_ntime = self.latest_ntime.max(ntime);
        self.dealt_units += 1;
        if self.dealt_units / UNITS_PER_ROUND >= self.rounds() {
            self.dealt_units = 0;
            self.used_up_ntime = Some(self.latest_ntime);
        }
    }

    /// How often all nonces can be dealt under one ntime. Version and extranonce are rolled together, so the one with
    /// more values decides.
    fn rounds(&self) -> u64 {
        let versions = 1 << self.task.version_mask().count_ones();
        self.extranonces().max(versions)
    }

    /// Values that our part of the extranonce takes.
    fn extranonces(&self) -> u64 {
        1 << (8 * self.task.extranonce_size().min(MAX_ROLLED_BYTES))
    }

    /// The job's version, its rollable bits changed by the lowest bits of `roll`.
    fn version(&self, roll: u32) -> u32 {
        let (version, mask) = (self.task.version(), self.task.version_mask());
        rolled_version(version, mask, version ^ spread(roll, mask))
    }

    fn extranonce(&self, roll: u32) -> Vec<u8> {
        let mut extranonce = vec![0; self.task.extranonce_size()];
        let rolled = extranonce.iter_mut().take(MAX_ROLLED_BYTES);
        for (byte, counter) in rolled.zip(roll.to_le_bytes()) {
            *byte = counter;
        }
        extranonce
    }
}

/// The lowest bits of `number`, one after the other, at the places that `mask` has.
fn spread(number: u32, mask: u32) -> u32 {
    let (mut number, mut mask, mut spread) = (number, mask, 0);
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        spread |= lowest * (number & 1);
        mask ^= lowest;
        number >>= 1;
    }
    spread
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use roles_logic_sv2::header::VERSION_ROLLING_MASK;
    use stratum_vectors::{array, list, load, text, uint};

    use super::*;
    use crate::hasher::{Hasher, ScanEnd};
    use crate::testing::{MIN_NTIME, Sv1Jobs, extended_work, now, standard_work};

    const VERSION: u32 = 0x3fff_ffff;

    fn standard(may_roll_version: bool) -> Task {
        Task::sv2(standard_work(VERSION, [0xff; 32]), may_roll_version)
    }

    fn deal(source: &mut WorkSource, units: u64) -> Vec<WorkUnit> {
        (0..units).map_while(|_| source.next_unit(now())).collect()
    }

    fn round(source: &mut WorkSource) -> FoundShare {
        let units = deal(source, UNITS_PER_ROUND);
        assert_eq!(units.len() as u64, UNITS_PER_ROUND);
        units[0].share(0)
    }

    #[test]
    fn units_cover_all_nonces_once() {
        let mut source = WorkSource::new(standard(true), 0);
        let mut next = 0_u64;
        for unit in deal(&mut source, UNITS_PER_ROUND) {
            assert_eq!(u64::from(*unit.nonces.start()), next);
            assert_eq!(unit.share(0).version, VERSION);
            next = u64::from(*unit.nonces.end()) + 1;
        }
        assert_eq!(next, 1 << 32);
    }

    #[test]
    fn a_standard_channel_rolls_the_version_within_its_bits() {
        let mut source = WorkSource::new(standard(true), 0);
        let units = deal(&mut source, 5 * UNITS_PER_ROUND);
        let versions: HashSet<u32> = units.iter().map(|unit| unit.share(0).version).collect();
        assert_eq!(versions.len(), 5);
        let fixed = |version| (version ^ VERSION) & !VERSION_ROLLING_MASK == 0;
        assert!(versions.into_iter().all(fixed));
    }

    #[test]
    fn a_fixed_version_is_never_rolled() {
        let mut source = WorkSource::new(standard(false), 0);
        let units = deal(&mut source, u64::MAX);
        assert_eq!(units.len() as u64, UNITS_PER_ROUND);
        assert!(units.iter().all(|unit| unit.share(0).version == VERSION));
    }

    #[test]
    fn an_extranonce_is_rolled_and_used_up_for_a_second() {
        let mut source = WorkSource::new(Task::sv2(extended_work(VERSION, 1), false), 7);
        let units = deal(&mut source, u64::MAX);
        assert_eq!(units.len() as u64, 256 * UNITS_PER_ROUND);
        let extranonces: HashSet<Vec<u8>> =
            units.iter().map(|unit| unit.share(0).extranonce).collect();
        assert_eq!(extranonces.len(), 256);
        assert!(units.iter().all(|unit| unit.share(0).version == VERSION));

        assert!(
            source
                .next_unit(now().after(Duration::from_millis(999)))
                .is_none()
        );
        let later = source
            .next_unit(now().after(Duration::from_secs(1)))
            .unwrap();
        assert_eq!(
            (later.share(9).ntime, later.share(9).nonce),
            (MIN_NTIME + 1, 9)
        );
    }

    #[test]
    fn version_and_extranonce_are_rolled_together() {
        let mut jobs = Sv1Jobs::new(0x0001_2000, 2);
        let mut source = WorkSource::new(jobs.task("a", 20), 5);
        let rolled: Vec<_> = (0..4)
            .map(|_| {
                let share = round(&mut source);
                (share.version ^ 0x2000_0000, share.extranonce)
            })
            .collect();
        // The bits of a mask need not stand side by side.
        let expected: [(u32, Vec<u8>); 4] = [
            (0x0000_2000, vec![5, 0]),
            (0x0001_0000, vec![6, 0]),
            (0x0001_2000, vec![7, 0]),
            (0x0000_0000, vec![8, 0]),
        ];
        assert_eq!(rolled, expected);
    }

    #[test]
    fn an_sv1_job_without_version_bits_and_extranonce_has_nonces_only() {
        let mut jobs = Sv1Jobs::new(0, 0);
        let mut source = WorkSource::new(jobs.task("a", 20), 5);
        assert_eq!(deal(&mut source, u64::MAX).len() as u64, UNITS_PER_ROUND);
        let later = source.next_unit(now().after(Duration::from_secs(3)));
        assert_eq!(later.unwrap().share(0).ntime, 23);
    }

    #[test]
    fn a_job_that_comes_again_goes_on_where_it_was() {
        let mut jobs = Sv1Jobs::new(0x1fff_e000, 4);
        let mut former = WorkSource::new(jobs.task("a", 20), 5);
        deal(&mut former, 3);
        let mut again = WorkSource::new(jobs.task("b", 20), 6).without(&former);
        let unit = again.next_unit(now()).unwrap();
        assert_eq!(*unit.nonces.start(), 3 * UNIT_NONCES);
        assert_eq!(unit.share(0).extranonce, [5, 0, 0, 0]);

        let mut other = WorkSource::new(jobs.other_task("c", 20), 6).without(&again);
        let unit = other.next_unit(now()).unwrap();
        assert_eq!((*unit.nonces.start(), unit.share(0).extranonce[0]), (0, 6));
    }

    #[test]
    fn other_version_bits_begin_at_an_extranonce_that_is_new() {
        let mut jobs = Sv1Jobs::new(0x1fff_e000, 4);
        let mut former = WorkSource::new(jobs.task("a", 20), 5);
        deal(&mut former, UNITS_PER_ROUND + 1);
        let mut masked = WorkSource::new(jobs.masked_task(0x2000).unwrap(), 9).without(&former);
        assert_eq!(masked.task().version_mask(), 0x2000);
        assert_eq!(round(&mut masked).extranonce, [7, 0, 0, 0]);
    }

    #[test]
    fn other_version_bits_wait_for_the_next_second_where_no_extranonce_is_new() {
        let mut jobs = Sv1Jobs::new(0x1fff_e000, 0);
        let mut former = WorkSource::new(jobs.task("a", 20), 0);
        deal(&mut former, 1);
        let mut masked = WorkSource::new(jobs.masked_task(0x2000).unwrap(), 0).without(&former);
        assert!(masked.next_unit(now()).is_none());
        assert!(
            masked
                .next_unit(now().after(Duration::from_secs(1)))
                .is_some()
        );
    }

    #[test]
    fn no_header_is_dealt_twice_however_often_a_job_comes_again() {
        let mut steps = 1_u32;
        let mut step = |choices: u32| {
            steps = steps.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            steps >> 16 & (choices - 1)
        };
        for extranonce2_size in [0, 1, 2] {
            let mut jobs = Sv1Jobs::new(0x1fff_e000, extranonce2_size);
            let mut source = WorkSource::new(jobs.task("0", 20), 5);
            let mut dealt = HashSet::new();
            for _ in 0..600 {
                jobs.now = jobs.now.after(Duration::from_millis(500));
                for _ in 0..step(256) {
                    let Some(unit) = source.next_unit(jobs.now) else {
                        break;
                    };
                    assert!(dealt.insert(unit.work.header_with(*unit.nonces.start())));
                }
                let masks = [0, 0x2000, 0x6000, 0x1fff_e000];
                let task = match step(4) {
                    0 => jobs.masked_task(masks[step(4) as usize]),
                    1 => Some(jobs.task("1", 20 + step(32))),
                    _ => None,
                };
                if let Some(task) = task {
                    source = WorkSource::new(task, step(256)).without(&source);
                }
            }
            assert!(dealt.len() > 1_000, "{}", dealt.len());
        }
    }

    #[test]
    fn a_unit_hashes_the_header_of_its_share() {
        for (task, ntime) in [
            (standard(true), MIN_NTIME),
            (Task::sv2(extended_work(VERSION, 6), true), MIN_NTIME),
            (Sv1Jobs::new(0x1fff_e000, 4).task("a", 20), 20),
        ] {
            let mut source = WorkSource::new(task, 77);
            let unit = source
                .next_unit(now().after(Duration::from_secs(5)))
                .unwrap();
            let share = unit.share(0x0102_0304);
            let header = share.task.header(&share.found()).unwrap();
            assert_eq!(unit.work.header_with(share.nonce), header.to_bytes());
            assert_eq!(share.ntime, ntime + 5);
        }
    }

    /// The share that a miner of the real world handed in on this job, in hexadecimal.
    fn handed_in(vector: &serde_json::Value) -> (Vec<u8>, u32) {
        let line: serde_json::Value = serde_json::from_str(text(vector, "submit_line")).unwrap();
        let bits = line["params"][5].as_str().unwrap_or("0");
        let extranonce = line["params"][2].as_str().unwrap();
        let bits = u32::from_str_radix(bits, 16).unwrap();
        (stratum_vectors::unhex(extranonce), bits)
    }

    #[test]
    fn shares_of_real_miners_are_found_again() {
        for vector in list(&load("sv1.json"), "worked_shares") {
            let (name, steps) = (text(vector, "name"), &vector["steps"]);
            let (extranonce, version_bits) = handed_in(vector);
            let mask = vector["version_mask"].as_str().unwrap_or("0");
            let mask = u32::from_str_radix(mask, 16).unwrap();
            let mut jobs = Sv1Jobs::new(mask, extranonce.len());
            jobs.extranonce1(text(vector, "extranonce1"));
            jobs.difficulty(text(vector, "share_difficulty"));
            let task = jobs.task_of(text(vector, "notify_line")).unwrap();

            let ntime = uint(steps, "ntime") as u32;
            let elapsed = Duration::from_secs((ntime - task.max_ntime(now())).into());
            let first_roll = u32::from_le_bytes(extranonce.clone().try_into().unwrap());
            let mut source = WorkSource::new(task.clone(), first_roll);
            let nonce = uint(steps, "nonce") as u32;
            let units = std::iter::from_fn(|| source.next_unit(now().after(elapsed)));
            let mut unit = { units }.find(|unit| unit.nonces.contains(&nonce)).unwrap();
            // Ours are rolled together, theirs need not be.
            unit.share.version = rolled_version(task.version(), mask, version_bits);
            let header = task.header(&unit.share(nonce).found()).unwrap();
            assert_eq!(header.to_bytes(), array(steps, "header"), "{name}");
            if mask == 0 {
                assert_eq!(unit.work.header_with(nonce), header.to_bytes(), "{name}");
            }

            let work = hasher::Work::new(&header.to_bytes(), &task.target().to_le_bytes());
            let around = nonce.saturating_sub(2_000)..=nonce;
            let scan = Hasher::detect().scan(&work, around, &Default::default());
            assert_eq!(scan.end, ScanEnd::Found(nonce), "{name}");
        }
    }
}
