//! Sv1's difficulties and Sv2's targets.
//!
//! A target is exact, a difficulty in JSON is an `f64`: [`rounded`] gives the same one as deployed servers do. What miners are given should be a power
//! of two ([`at_least`]): those are exact in every form, and integers for all hardware that cannot read fractions.

use roles_logic_sv2::target::Target;
use sv1_api::Difficulty;

/// The lowest power that is ever given: one hash in 2^32 difficulties of it is a share of difficulty 1.
const MIN_EXPONENT: i32 = -32;

/// The highest power that is ever given: beyond it the target is zero.
const MAX_EXPONENT: i32 = 223;

/// The difficulty of a target as an `f64`, both numbers first rounded to one; `None` for the target zero, which no share
/// meets.
pub fn rounded(target: Target) -> Option<Difficulty> {
    Difficulty::new(target.difficulty_f64())
}

/// The lowest power of two all of whose shares meet `target`: what to give a miner whose shares must count there.
pub fn at_least(target: Target) -> Difficulty {
    let estimate = log2(target.difficulty_f64());
    let meets = |exponent: &i32| power(*exponent).target() <= target;
    let exponent = (estimate - 1..=MAX_EXPONENT).find(meets);
    power(exponent.unwrap_or(MAX_EXPONENT))
}

/// The highest power of two that is not harder than `target`.
///
/// Some of its shares do not meet `target`: whoever gives it out must say so of those, and count them.
pub fn at_most(target: Target) -> Difficulty {
    let estimate = log2(target.difficulty_f64());
    let is_as_easy = |exponent: &i32| power(*exponent).target() >= target;
    let exponent = (MIN_EXPONENT..=estimate + 1).rev().find(is_as_easy);
    power(exponent.unwrap_or(MIN_EXPONENT))
}

/// The power of two nearest below or at a difficulty that someone asked for.
pub fn rounded_down(difficulty: Difficulty) -> Difficulty {
    power(log2(difficulty.as_f64()))
}

/// The exponent of the power of two at or below, within what is ever given.
fn log2(difficulty: f64) -> i32 {
    // The exponent field is exact where a logarithm is not.
    let exponent = (difficulty.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    exponent.clamp(MIN_EXPONENT, MAX_EXPONENT)
}

fn power(exponent: i32) -> Difficulty {
    Difficulty::new(f64::from(exponent).exp2()).unwrap_or(Difficulty::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in MIN_EXPONENT + 1..MAX_EXPONENT {
            let difficulty = power(exponent);
            let target = difficulty.target();
            assert_eq!(
                at_least(target).as_f64(),
                difficulty.as_f64(),
                "2^{exponent}"
            );
            assert_eq!(rounded_down(difficulty).as_f64(), difficulty.as_f64());
        }
        assert_eq!(at_most(Target::DIFFICULTY_1), Difficulty::ONE);
        assert_eq!(
            at_least(Target::from_le_bytes([0; 32])).as_f64(),
            2f64.powi(223)
        );
        assert_eq!(rounded(Target::from_le_bytes([0; 32])), None);
    }

    proptest! {
        #[test]
        fn a_miners_share_counts_upstream(bytes: [u8; 32], shift in 0usize..32) {
            let mut bytes = bytes;
            bytes[32 - shift..].fill(0);
            let target = Target::from_le_bytes(bytes);
            let hard = at_least(target);
            prop_assert!(hard.target() <= target || hard == power(MAX_EXPONENT));
            prop_assert!(at_most(target).target() >= target || at_most(target) == power(MIN_EXPONENT));
            let half = Difficulty::new(hard.as_f64() / 2.0).expect("above zero");
            prop_assert!(half.target() > target || hard == power(MIN_EXPONENT));
        }

        #[test]
        fn a_rounded_difficulty_has_nearly_its_target(bytes: [u8; 32]) {
            let target = Target::from_le_bytes(bytes);
            if let Some(difficulty) = rounded(target) {
                let again = rounded(difficulty.target()).expect("not zero");
                prop_assert!((again.as_f64() / difficulty.as_f64() - 1.0).abs() < 1e-15 || target < Target::from_nbits(0x0800_ffff).expect("a target"));
            }
        }
    }
}
