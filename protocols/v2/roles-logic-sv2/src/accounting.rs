//! What a channel has earned: verdicts folded into acknowledgements, counters and a hashrate.
//!
//! Accepted shares gather in a slice. A closed slice is what one `SubmitShares.Success` acknowledges (MS-31) and what a
//! ledger stores; each slice counts from zero (MS-33).

use core::time::Duration;

use crate::clock::Instant;
use crate::share::{RejectReason, Verdict};
use crate::target::{Difficulty, Target};

/// Buckets of the window over which the hashrate is taken.
const BUCKETS: usize = 10;

/// Length of a bucket: together with [`BUCKETS`], the hashrate is that of the last ten minutes.
const BUCKET: Duration = Duration::from_secs(60);

/// When a slice closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceLimits {
    /// Shares after which it closes; 1 acknowledges each share by itself, 0 counts as 1.
    pub max_shares: u32,
    /// Age after which it closes, counted from its first share.
    pub max_age: Duration,
}

impl Default for SliceLimits {
    /// Ten shares or one second.
    fn default() -> Self {
        Self {
            max_shares: 10,
            max_age: Duration::from_secs(1),
        }
    }
}

/// Accepted shares that are acknowledged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Sequence number of the last accepted share: `last_sequence_number`.
    pub last_sequence_number: u32,
    /// Accepted shares: `new_submits_accepted_count`.
    pub accepted_count: u32,
    /// Sum of their difficulties, each that of the target it was accepted under.
    pub difficulty: Difficulty,
    /// When the first of them came.
    pub opened_at: Instant,
}

impl Slice {
    /// `new_shares_sum`: the difficulties summed exactly, then rounded down (MS-34).
    pub fn shares_sum(&self) -> u64 {
        self.difficulty.floor()
    }
}

/// The books of one channel, in fixed memory.
#[derive(Clone, Debug)]
pub struct ShareAccounting {
    limits: SliceLimits,
    open: Option<Slice>,
    accepted: u64,
    rejected: [u64; RejectReason::ALL.len()],
    blocks: u64,
    difficulty: Difficulty,
    best_hash: Option<Target>,
    last_share_at: Option<Instant>,
    hashrate: HashrateWindow,
}

impl ShareAccounting {
    /// Empty books, opened at `now`.
    pub fn new(limits: SliceLimits, now: Instant) -> Self {
        Self {
            limits,
            open: None,
            accepted: 0,
            rejected: [0; RejectReason::ALL.len()],
            blocks: 0,
            difficulty: Difficulty::ZERO,
            best_hash: None,
            last_share_at: None,
            hashrate: HashrateWindow::new(now),
        }
    }

    /// Counts a verdict on a share that somebody else acknowledges.
    pub fn count(&mut self, verdict: &Verdict, now: Instant) {
        self.blocks += u64::from(verdict.block.is_some());
        let share = match &verdict.outcome {
            Ok(share) => share,
            Err(reason) => {
                if let Some(count) = self.rejected.get_mut(reason.index()) {
                    *count += 1;
                }
                return;
            }
        };
        self.accepted += 1;
        self.difficulty += share.difficulty;
        self.last_share_at = Some(now);
        self.hashrate.add(share.difficulty, now);
        let hash = Target::from_le_bytes(share.hash);
        self.best_hash = Some(self.best_hash.map_or(hash, |best| best.min(hash)));
    }

    /// Books a verdict. Gives the slice that this share fills.
    ///
    /// `sequence_number` is the client's; it is echoed, not checked (MS-32).
    pub fn record(
        &mut self,
        sequence_number: u32,
        verdict: &Verdict,
        now: Instant,
    ) -> Option<Slice> {
        self.count(verdict, now);
        let share = verdict.outcome.as_ref().ok()?;

        let slice = self.open.get_or_insert(Slice {
            last_sequence_number: sequence_number,
            accepted_count: 0,
            difficulty: Difficulty::ZERO,
            opened_at: now,
        });
        slice.last_sequence_number = sequence_number;
        slice.accepted_count += 1;
        slice.difficulty += share.difficulty;
        if slice.accepted_count >= self.limits.max_shares {
            self.open.take()
        } else {
            None
        }
    }

    /// When the open slice closes by age; `None` while there is none.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.map(|slice| slice.opened_at + self.limits.max_age)
    }

    /// Closes the open slice when it is old enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Slice> {
        if self.poll_timeout()? <= now {
            self.open.take()
        } else {
            None
        }
    }

    /// Closes the open slice whatever its age: the channel closes, or the connection drains.
    pub fn close_slice(&mut self) -> Option<Slice> {
        self.open.take()
    }

    /// Shares accepted since the books were opened.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Shares rejected for `reason`.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected
            .get(reason.index())
            .copied()
            .unwrap_or_default()
    }

    /// Shares rejected for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Blocks found, those among rejected shares included.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Difficulty of all accepted shares.
    pub const fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// Difficulty of the best accepted share's hash, zero before the first one.
    pub fn best_difficulty(&self) -> f64 {
        self.best_hash.map_or(0.0, Target::difficulty_f64)
    }

    /// When the last accepted share came.
    pub const fn last_share_at(&self) -> Option<Instant> {
        self.last_share_at
    }

    /// Hashes a second over the last ten minutes, or since the books were opened when that is less.
    pub fn hashrate(&self, now: Instant) -> f64 {
        self.hashrate.estimate(now)
    }
}

/// Difficulty by minute, in a ring.
#[derive(Clone, Debug)]
struct HashrateWindow {
    opened_at: Instant,
    /// Minutes since `opened_at` of the newest bucket.
    newest: u64,
    buckets: [Difficulty; BUCKETS],
}

impl HashrateWindow {
    fn new(opened_at: Instant) -> Self {
        Self {
            opened_at,
            newest: 0,
            buckets: [Difficulty::ZERO; BUCKETS],
        }
    }

    fn minute(&self, now: Instant) -> u64 {
        (now - self.opened_at).as_secs() / BUCKET.as_secs()
    }

    fn add(&mut self, difficulty: Difficulty, now: Instant) {
        let minute = self.minute(now).max(self.newest);
        for passed in self.newest + 1..=minute.min(self.newest + BUCKETS as u64) {
            self.buckets[(passed % BUCKETS as u64) as usize] = Difficulty::ZERO;
        }
        self.newest = minute;
        self.buckets[(minute % BUCKETS as u64) as usize] += difficulty;
    }

    fn estimate(&self, now: Instant) -> f64 {
        let minute = self.minute(now).max(self.newest);
        let oldest = (minute + 1).saturating_sub(BUCKETS as u64);
        let sum = (oldest..=self.newest).fold(Difficulty::ZERO, |sum, at| {
            sum + self.buckets[(at % BUCKETS as u64) as usize]
        });
        let begin = self.opened_at + Duration::from_secs(oldest * BUCKET.as_secs());
        let secs = (now - begin).as_secs_f64();
        // The first moments say nothing.
        if secs < 1.0 {
            0.0
        } else {
            sum.expected_hashes() / secs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::AcceptedShare;

    fn accepted(difficulty: f64) -> Verdict {
        let target = Target::from_difficulty(difficulty).unwrap();
        let share = AcceptedShare {
            difficulty: target.difficulty(),
            hash: target.to_le_bytes(),
        };
        Verdict {
            outcome: Ok(share),
            block: None,
        }
    }

    fn books(max_shares: u32) -> ShareAccounting {
        let limits = SliceLimits {
            max_shares,
            ..SliceLimits::default()
        };
        ShareAccounting::new(limits, Instant::default())
    }

    #[test]
    fn a_slice_closes_by_count_and_the_next_counts_from_zero() {
        let mut books = books(3);
        let now = Instant::from_secs(5);
        assert_eq!(books.record(7, &accepted(1.5), now), None);
        assert_eq!(
            books.record(8, &Verdict::rejected(RejectReason::Duplicate), now),
            None
        );
        assert_eq!(books.record(9, &accepted(1.5), now), None);
        let slice = books.record(11, &accepted(1.5), now).unwrap();
        assert_eq!(
            (
                slice.last_sequence_number,
                slice.accepted_count,
                slice.shares_sum()
            ),
            (11, 3, 4)
        );
        assert_eq!(books.record(12, &accepted(2.0), now), None);
        let slice = books.close_slice().unwrap();
        assert_eq!(
            (
                slice.last_sequence_number,
                slice.accepted_count,
                slice.shares_sum()
            ),
            (12, 1, 2)
        );
        assert_eq!(books.close_slice(), None);
    }

    #[test]
    fn a_slice_closes_by_age() {
        let mut books = books(100);
        assert_eq!(books.poll_timeout(), None);
        let opened = Instant::from_secs(10);
        assert_eq!(books.record(1, &accepted(1.0), opened), None);
        let due = books.poll_timeout().unwrap();
        assert_eq!(due, Instant::from_secs(11));
        assert_eq!(books.handle_timeout(Instant::from_micros(10_999_999)), None);
        assert_eq!(
            books.handle_timeout(due).map(|slice| slice.accepted_count),
            Some(1)
        );
        assert_eq!(books.poll_timeout(), None);
    }

    #[test]
    fn counters_tell_the_reasons_apart() {
        let mut books = books(1);
        for (i, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), i);
            for _ in 0..=i {
                assert_eq!(
                    books.record(0, &Verdict::rejected(reason), Instant::default()),
                    None
                );
            }
        }
        for (i, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(books.rejected(reason), i as u64 + 1);
        }
        assert_eq!(
            books.rejected_total(),
            (1..=RejectReason::ALL.len() as u64).sum()
        );
        assert_eq!((books.accepted(), books.best_difficulty()), (0, 0.0));
    }

    #[test]
    fn the_hashrate_is_that_of_the_last_ten_minutes() {
        let mut books = books(1);
        let share = accepted(1024.0);
        for second in (1..=3600).step_by(10) {
            books.record(0, &share, Instant::from_secs(second));
        }
        let expected = 1024.0 * 4_295_032_833.0 / 10.0;
        let ratio = books.hashrate(Instant::from_secs(3600)) / expected;
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
        assert_eq!(books.hashrate(Instant::from_secs(3600 + 700)), 0.0);
        assert_eq!(books.last_share_at(), Some(Instant::from_secs(3591)));
        assert_eq!(books.best_difficulty(), 1024.0);
    }
}
