//! Unsigned integers of 256 and 512 bits, as far as targets need them.
//!
//! None of this is on the share path: comparing targets needs no arithmetic.

use core::cmp::Ordering;

/// An unsigned integer of `N` 64-bit limbs, the least significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wide<const N: usize>(pub(crate) [u64; N]);

pub(crate) type U256 = Wide<4>;
pub(crate) type U512 = Wide<8>;

impl<const N: usize> Ord for Wide<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl<const N: usize> PartialOrd for Wide<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Wide<N> {
    pub(crate) const ZERO: Self = Self([0; N]);
    pub(crate) const MAX: Self = Self([u64::MAX; N]);

    pub(crate) const fn from_u128(value: u128) -> Self {
        let mut limbs = [0; N];
        limbs[0] = value as u64;
        limbs[1] = (value >> 64) as u64;
        Self(limbs)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|limb| *limb == 0)
    }

    /// The number of significant bits, 0 for zero.
    pub(crate) fn bits(&self) -> u32 {
        match self.0.iter().rposition(|limb| *limb != 0) {
            Some(top) => (top as u32 + 1) * 64 - self.0[top].leading_zeros(),
            None => 0,
        }
    }

    fn is_power_of_two(&self) -> bool {
        self.0.iter().map(|limb| limb.count_ones()).sum::<u32>() == 1
    }

    fn bit(&self, at: u32) -> u64 {
        self.0[at as usize / 64] >> (at % 64) & 1
    }

    /// Bits shifted beyond the top are lost.
    pub(crate) const fn shl(&self, by: u32) -> Self {
        let (whole, part) = (by as usize / 64, by % 64);
        let mut out = [0; N];
        let mut i = whole;
        while i < N {
            out[i] = self.0[i - whole] << part;
            if part > 0 && i > whole {
                out[i] |= self.0[i - whole - 1] >> (64 - part);
            }
            i += 1;
        }
        Self(out)
    }

    pub(crate) fn shr(&self, by: u32) -> Self {
        let (whole, part) = (by as usize / 64, by % 64);
        let mut out = [0; N];
        for (i, limb) in out.iter_mut().enumerate() {
            let at = |index: usize| self.0.get(index).copied().unwrap_or_default();
            *limb = at(i + whole) >> part;
            if part > 0 {
                *limb |= at(i + whole + 1) << (64 - part);
            }
        }
        Self(out)
    }

    pub(crate) fn wrapping_sub(&self, other: &Self) -> Self {
        let mut out = self.0;
        let mut borrow = false;
        for (limb, subtrahend) in out.iter_mut().zip(other.0) {
            let (low, first) = limb.overflowing_sub(subtrahend);
            let (low, second) = low.overflowing_sub(u64::from(borrow));
            *limb = low;
            borrow = first || second;
        }
        Self(out)
    }

    pub(crate) fn wrapping_add_u64(&self, value: u64) -> Self {
        let mut out = self.0;
        let mut carry = value;
        for limb in &mut out {
            let (sum, overflow) = limb.overflowing_add(carry);
            *limb = sum;
            carry = u64::from(overflow);
        }
        Self(out)
    }

    pub(crate) fn wrapping_mul_u64(&self, factor: u64) -> Self {
        let mut out = self.0;
        let mut carry = 0u128;
        for limb in &mut out {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        Self(out)
    }

    /// Quotient and remainder; `None` when `divisor` is zero.
    pub(crate) fn div_rem(&self, divisor: &Self) -> Option<(Self, Self)> {
        if divisor.is_zero() {
            return None;
        }
        if divisor.is_power_of_two() {
            // As most difficulties are.
            let quotient = self.shr(divisor.bits() - 1);
            let rest = self.wrapping_sub(&quotient.shl(divisor.bits() - 1));
            return Some((quotient, rest));
        }
        // The quotient has no bits above these: with one bit less than the divisor the rest is below it.
        let steps = (self.bits() + 1).saturating_sub(divisor.bits());
        let mut quotient = Self::ZERO;
        let mut rest = self.shr(steps);
        for at in (0..steps).rev() {
            // A divisor above half the range would lose the remainder's top bit here.
            let lost = rest.bit(N as u32 * 64 - 1) == 1;
            rest = rest.shl(1);
            rest.0[0] |= self.bit(at);
            if lost || rest >= *divisor {
                rest = rest.wrapping_sub(divisor);
                quotient.0[at as usize / 64] |= 1 << (at % 64);
            }
        }
        Some((quotient, rest))
    }

    /// The nearest `f64`, ties to even.
    pub(crate) fn to_f64(self) -> f64 {
        let dropped = self.bits().saturating_sub(64);
        let lost = self.shr(dropped).shl(dropped) != self;
        // 64 bits are more than 53: the lowest one stands for all that is lost, and the conversion rounds once.
        let top = self.shr(dropped).0[0] | u64::from(lost);
        top as f64 * power_of_two(dropped as i32)
    }

    pub(crate) fn widen(&self) -> U512 {
        let mut limbs = [0; 8];
        for (to, from) in limbs.iter_mut().zip(self.0) {
            *to = from;
        }
        Wide(limbs)
    }

    /// The lower 256 bits when nothing lies above them.
    pub(crate) fn narrow(&self) -> Option<U256> {
        let mut limbs = [0; 4];
        for (to, from) in limbs.iter_mut().zip(self.0) {
            *to = from;
        }
        (self.bits() <= 256).then_some(Wide(limbs))
    }

    /// The value when it fits, else `u128::MAX`.
    pub(crate) fn saturating_u128(&self) -> u128 {
        if self.bits() > 128 {
            return u128::MAX;
        }
        u128::from(self.0[1]) << 64 | u128::from(self.0[0])
    }
}

/// `2^exponent` for exponents of normal numbers (-1022 to 1023), clamped to that range.
pub(crate) fn power_of_two(exponent: i32) -> f64 {
    let biased = (exponent.clamp(-1022, 1023) + 1023) as u64;
    f64::from_bits(biased << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_undoes_multiplication() {
        let a = U512::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef).shl(200);
        let (quotient, rest) = a
            .wrapping_mul_u64(1_000_003)
            .wrapping_add_u64(17)
            .div_rem(&a)
            .unwrap();
        assert_eq!(
            (quotient, rest),
            (U512::from_u128(1_000_003), U512::from_u128(17))
        );
        assert_eq!(a.div_rem(&U512::ZERO), None);
        assert_eq!(quotient.div_rem(&a), Some((U512::ZERO, quotient)));
    }

    #[test]
    fn division_by_a_power_of_two_is_a_shift() {
        let a = U256::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef).shl(100);
        for by in [0, 1, 52, 64, 99, 130, 255] {
            let (quotient, rest) = a.div_rem(&U256::from_u128(1).shl(by)).unwrap();
            assert_eq!(quotient, a.shr(by));
            assert_eq!(a.wrapping_sub(&quotient.shl(by)), rest);
            assert!(rest.bits() <= by);
        }
    }

    #[test]
    fn division_by_more_than_half_the_range() {
        let divisor = U256::MAX.wrapping_sub(&U256::from_u128(4));
        let (quotient, rest) = U256::MAX.div_rem(&divisor).unwrap();
        assert_eq!((quotient, rest), (U256::from_u128(1), U256::from_u128(4)));
    }

    #[test]
    fn shifts_cross_limbs() {
        let one = U256::from_u128(1);
        for by in [0, 1, 63, 64, 65, 127, 128, 255] {
            assert_eq!(one.shl(by).bits(), by + 1);
            assert_eq!(one.shl(by).shr(by), one);
        }
        assert!(one.shl(256).is_zero());
    }

    #[test]
    fn floats_round_to_nearest_even() {
        for value in [
            0u128,
            1,
            (1 << 53) + 1,
            (1 << 54) + 3,
            u128::MAX,
            (1 << 100) + (1 << 47),
        ] {
            assert_eq!(U256::from_u128(value).to_f64(), value as f64);
        }
    }
}
