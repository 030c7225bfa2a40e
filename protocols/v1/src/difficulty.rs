//! Difficulties as they stand in messages.

use roles_logic_sv2::target::Target;
use serde_json::{Value, json};

/// Whole numbers up to this one have an exact `f64`.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// How hard a share is to find: 1 stands for about 2^32 hashes. Finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Difficulty(f64);

impl Difficulty {
    /// What a miner assumes until it is told.
    pub const ONE: Self = Self(1.0);

    /// `None` for what no share can have: zero, negative, not finite.
    pub fn new(difficulty: f64) -> Option<Self> {
        (difficulty.is_finite() && difficulty > 0.0).then_some(Self(difficulty))
    }

    /// The number.
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// The target that shares must not exceed: exact for the number that this is.
    pub fn target(self) -> Target {
        // Only zero, negative and infinite numbers have none.
        Target::from_difficulty(self.0).unwrap_or(Target::MAX)
    }

    /// Whole numbers without a decimal point: firmware exists that reads integers only.
    pub(crate) fn to_json(self) -> Value {
        if self.0.fract() == 0.0 && self.0 <= MAX_EXACT_INTEGER {
            json!(self.0 as u64)
        } else {
            json!(self.0)
        }
    }
}
