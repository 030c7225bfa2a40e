//! How much work one client may cause.

use roles_logic_sv2::clock::Instant;

use crate::Limits;

/// What any frame costs but a solution: one that is a block costs nothing, however many there are.
pub const FRAME_COST: u32 = 1;

/// What a change of constraints costs: a template may have to be made for them.
pub const CONSTRAINTS_COST: u32 = 4;

/// What a request for transaction data costs: the answer has up to 4 MB.
pub const TRANSACTION_DATA_COST: u32 = 8;

/// What a solution costs that makes no block. One whose template is not known costs [`FRAME_COST`]: it is not worked on.
pub const REFUSED_SOLUTION_COST: u32 = 8;

const MILLION: u64 = 1_000_000;

/// A bucket of tokens that fills with time. A client that finds it empty is disconnected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    millionths: u64,
    capacity: u64,
    per_second: u64,
    filled_at: Instant,
}

impl Budget {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let capacity = u64::from(limits.burst) * MILLION;
        Self {
            millionths: capacity,
            capacity,
            per_second: u64::from(limits.per_second),
            filled_at: now,
        }
    }

    /// Takes `cost` tokens, if they are there.
    #[must_use]
    pub(crate) fn take(&mut self, cost: u32, now: Instant) -> bool {
        let micros = u64::try_from((now - self.filled_at).as_micros()).unwrap_or(u64::MAX);
        let new = micros.saturating_mul(self.per_second);
        self.filled_at = self.filled_at.max(now);
        self.millionths = self.millionths.saturating_add(new).min(self.capacity);
        let left = self.millionths.checked_sub(u64::from(cost) * MILLION);
        self.millionths = left.unwrap_or(self.millionths);
        left.is_some()
    }
}
