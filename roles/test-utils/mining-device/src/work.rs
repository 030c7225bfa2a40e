//! What to hash: a job dealt out in units, so that no header is hashed twice.
//!
//! A unit is a range of nonces under one version, ntime and extranonce. When all nonces are dealt, a standard channel
//! rolls the version, an extended one its extranonce; where neither is allowed the next second of ntime opens
//! the nonces again.

use std::ops::RangeInclusive;

use roles_logic_sv2::channels::client::{Found, Work};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::header::rolled_version;

use crate::hasher;

/// Nonces of one unit: about a second of one core with SHA-NI.
pub const UNIT_NONCES: u32 = 1 << 24;

/// Units in which all nonces are dealt out.
const UNITS_PER_ROUND: u64 = (1 << 32) / UNIT_NONCES as u64;

/// Extranonce bytes that are rolled, at most: more than any machine can count through.
const MAX_ROLLED_BYTES: usize = 4;

/// Deals a channel's [`Work`] out.
#[derive(Clone, Debug)]
pub struct WorkSource {
    job: Work,
    version_mask: u32,
    dealt_units: u64,
    /// The ntime of the last unit dealt before all that can be rolled was used up.
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
    pub job: Work,
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
    /// A source that has dealt nothing yet. It rolls the version only where both the server and the job allow it.
    pub const fn new(job: Work, may_roll_version: bool) -> Self {
        Self {
            version_mask: if may_roll_version {
                job.version_mask()
            } else {
                0
            },
            job,
            dealt_units: 0,
            used_up_ntime: None,
        }
    }

    /// What is dealt out.
    pub const fn job(&self) -> &Work {
        &self.job
    }

    /// The next unit, with the latest ntime that a share may have; `None` when all of this second is dealt.
    pub fn next_unit(&mut self, now: Now) -> Option<WorkUnit> {
        let ntime = self.job.max_ntime(now);
        if self.used_up_ntime.is_some_and(|used_up| ntime <= used_up) {
            return None;
        }
        let round = self.dealt_units / UNITS_PER_ROUND;
        let share = FoundShare {
            nonce: 0,
            ntime,
            version: self.version(round),
            extranonce: self.extranonce(round),
            job: self.job.clone(),
        };
        let header = self.job.header(&share.found())?;
        // Fits: there are 2^32 / UNIT_NONCES units.
        let first = (self.dealt_units % UNITS_PER_ROUND) as u32 * UNIT_NONCES;
        self.advance(ntime);
        Some(WorkUnit {
            work: hasher::Work::new(&header.to_bytes(), &self.job.target().to_le_bytes()),
            nonces: first..=first + (UNIT_NONCES - 1),
            share,
        })
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
        match self.job.extranonce_size() {
            0 => 1 << self.version_mask.count_ones(),
            size => 1 << (8 * size.min(MAX_ROLLED_BYTES)),
        }
    }

    fn version(&self, round: u64) -> u32 {
        let (version, mask) = (self.job.version(), self.version_mask);
        if self.job.extranonce_size() > 0 || mask == 0 {
            return version;
        }
        // The bits of BIP323 stand side by side, so counting up from the job's own goes through all of them; what
        // overflows falls out of the mask.
        let bits = u64::from(version & mask) + (round << mask.trailing_zeros());
        rolled_version(version, mask, bits as u32)
    }

    fn extranonce(&self, round: u64) -> Vec<u8> {
        let mut extranonce = vec![0; self.job.extranonce_size()];
        let rolled = extranonce.iter_mut().take(MAX_ROLLED_BYTES);
        for (byte, counter) in rolled.zip(round.to_le_bytes()) {
            *byte = counter;
        }
        extranonce
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use roles_logic_sv2::header::VERSION_ROLLING_MASK;

    use super::*;
    use crate::testing::{MIN_NTIME, extended_work, now, standard_work};

    const VERSION: u32 = 0x3fff_ffff;

    fn deal(source: &mut WorkSource, units: u64) -> Vec<WorkUnit> {
        (0..units).map_while(|_| source.next_unit(now())).collect()
    }

    #[test]
    fn units_cover_all_nonces_once() {
        let mut source = WorkSource::new(standard_work(VERSION, [0xff; 32]), true);
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
        let mut source = WorkSource::new(standard_work(VERSION, [0xff; 32]), true);
        let units = deal(&mut source, 5 * UNITS_PER_ROUND);
        let versions: HashSet<u32> = units.iter().map(|unit| unit.share(0).version).collect();
        assert_eq!(versions.len(), 5);
        let fixed = |version| (version ^ VERSION) & !VERSION_ROLLING_MASK == 0;
        assert!(versions.into_iter().all(fixed));
    }

    #[test]
    fn a_fixed_version_is_never_rolled() {
        let mut source = WorkSource::new(standard_work(VERSION, [0xff; 32]), false);
        let units = deal(&mut source, u64::MAX);
        assert_eq!(units.len() as u64, UNITS_PER_ROUND);
        assert!(units.iter().all(|unit| unit.share(0).version == VERSION));
    }

    #[test]
    fn an_extended_channel_rolls_its_extranonce_and_waits_when_it_is_used_up() {
        let mut source = WorkSource::new(extended_work(VERSION, 1), true);
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
    fn a_unit_hashes_the_header_of_its_share() {
        for job in [
            standard_work(VERSION, [0xff; 32]),
            extended_work(VERSION, 6),
        ] {
            let mut source = WorkSource::new(job, true);
            let unit = source
                .next_unit(now().after(Duration::from_secs(5)))
                .unwrap();
            let share = unit.share(0x0102_0304);
            let header = share.job.header(&share.found()).unwrap();
            assert_eq!(unit.work.header_with(share.nonce), header.to_bytes());
            assert_eq!(share.ntime, MIN_NTIME + 5);
        }
    }
}
