//! Targets: 256-bit integers that a block hash must not exceed, and their other forms.
//!
//! The same quantity is met as a target (the integer), as nBits (consensus' compact form), as a difficulty
//! (relative to [`Target::DIFFICULTY_1`]) and as the hashrate that finds a share of it so and so often.

use core::fmt;
use core::ops::{Add, AddAssign};

use crate::wide::{U256, U512, Wide, power_of_two};

/// A 256-bit unsigned integer which a hash, read as a little-endian integer, must not exceed.
///
/// On the wire 32 bytes, least significant first. Compared as integers, never as byte strings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

/// Why a compact form (nBits) is no target that a block could be mined at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NbitsError {
    /// The sign bit is set on a value that is not zero.
    #[error("nbits {nbits:#010x} encodes a negative target")]
    Negative {
        /// The value in question.
        nbits: u32,
    },
    /// The value needs more than 256 bits.
    #[error("nbits {nbits:#010x} encodes a target of more than 256 bits")]
    Overflow {
        /// The value in question.
        nbits: u32,
    },
    /// The value is zero: no hash meets it.
    #[error("nbits {nbits:#010x} encodes a target of zero")]
    Zero {
        /// The value in question.
        nbits: u32,
    },
}

/// Why a number given as difficulty, hashrate or share rate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// NaN or infinite.
    #[error("the number is not finite")]
    NonFinite,
    /// Below zero.
    #[error("the number is negative")]
    Negative,
    /// Zero where it would be divided by, or so large a rate that its inverse is zero.
    #[error("division by zero")]
    DivisionByZero,
    /// Text that is no decimal number, or one of more than 38 significant digits.
    #[error("not a decimal number of at most 38 digits")]
    NotDecimal,
}

/// What a compact form (nBits) says, read as consensus does, before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// The magnitude; bits beyond 256 are lost when `is_overflow`.
    pub target: Target,
    /// The sign bit is set and the mantissa is not zero.
    pub is_negative: bool,
    /// The magnitude has more than 256 bits.
    pub is_overflow: bool,
}

impl Compact {
    /// Reads a compact form: exponent in the top byte, sign in bit 23, mantissa below.
    pub fn from_nbits(nbits: u32) -> Self {
        let size = nbits >> 24;
        let mantissa = nbits & 0x007f_ffff;
        let word = U256::from_u128(u128::from(mantissa));
        let magnitude = if size <= 3 {
            word.shr(8 * (3 - size))
        } else {
            word.shl(8 * (size - 3))
        };
        Self {
            target: Target(magnitude),
            is_negative: mantissa != 0 && nbits & 0x0080_0000 != 0,
            is_overflow: mantissa != 0
                && (size > 34 || mantissa > 0xff && size > 33 || mantissa > 0xffff && size > 32),
        }
    }
}

impl Target {
    /// The easiest target, `2^256 - 1`: every hash meets it.
    pub const MAX: Self = Self(U256::MAX);

    /// The target of difficulty 1, `0xffff * 2^208`.
    pub const DIFFICULTY_1: Self = Self(Wide([0, 0, 0, 0xffff_0000]));

    /// Reads 32 bytes, least significant first: the order of the wire and of a raw block hash.
    pub const fn from_le_bytes(bytes: [u8; 32]) -> Self {
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut limbs = [0; 4];
        let mut i = 0;
        // Whole limbs and not bytes: every share is compared with two targets.
        while i < limbs.len() {
            limbs[i] = u64::from_le_bytes(chunks[i]);
            i += 1;
        }
        Self(Wide(limbs))
    }

    /// The 32 bytes, least significant first.
    pub fn to_le_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, limb) in bytes.chunks_exact_mut(8).zip(self.0.0) {
            to.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// The 32 bytes, most significant first: the order people read.
    pub fn to_be_bytes(self) -> [u8; 32] {
        let mut bytes = self.to_le_bytes();
        bytes.reverse();
        bytes
    }

    /// Whether `hash` (32 raw bytes, SHA-256d of a header) is at or below this target.
    #[inline]
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        Self::from_le_bytes(*hash) <= *self
    }

    /// The network target of a compact form.
    ///
    /// # Errors
    /// Forms that consensus refuses for proof of work: negative, more than 256 bits, zero.
    pub fn from_nbits(nbits: u32) -> Result<Self, NbitsError> {
        let compact = Compact::from_nbits(nbits);
        if compact.is_negative {
            return Err(NbitsError::Negative { nbits });
        }
        if compact.is_overflow {
            return Err(NbitsError::Overflow { nbits });
        }
        if compact.target.0.is_zero() {
            return Err(NbitsError::Zero { nbits });
        }
        Ok(compact.target)
    }

    /// The compact form, rounded down to its 23 bits of precision; `from_nbits` then gives a target at or below this.
    pub fn to_nbits(self) -> u32 {
        let mut size = self.0.bits().div_ceil(8);
        let mut mantissa = match size {
            0..=3 => (self.0.0[0] << (8 * (3 - size))) as u32,
            _ => self.0.shr(8 * (size - 3)).0[0] as u32,
        };
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        size << 24 | mantissa
    }

    /// `floor(DIFFICULTY_1 / difficulty)` for exactly the number that `difficulty` holds, at most [`Target::MAX`].
    ///
    /// # Errors
    /// Not finite, negative, zero.
    pub fn from_difficulty(difficulty: f64) -> Result<Self, ConversionError> {
        check_rate(difficulty)?;
        let bits = difficulty.to_bits();
        let (exponent, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
        // Subnormal numbers have no implicit leading bit.
        let (mantissa, exponent) = if exponent == 0 {
            (fraction, -1074)
        } else {
            (fraction | 1 << 52, exponent - 1075)
        };
        // Beyond 2^86 the quotient leaves 256 bits whatever the mantissa.
        if exponent < -86 {
            return Ok(Self::MAX);
        }
        let up = exponent.min(0).unsigned_abs();
        let down = exponent.max(0).unsigned_abs().min(256);
        let numerator = Self::DIFFICULTY_1.0.widen().shl(up);
        Ok(quotient(numerator, U512::from_u128(u128::from(mantissa)))?.shifted_right(down))
    }

    /// `floor(DIFFICULTY_1 / difficulty)` for exactly the decimal number in `text`, at most [`Target::MAX`].
    ///
    /// Digits with an optional fraction and exponent: `1024`, `0.001`, `2.5e-7`.
    ///
    /// # Errors
    /// Not a number of at most 38 significant digits, negative, zero.
    pub fn from_difficulty_str(text: &str) -> Result<Self, ConversionError> {
        if text.starts_with('-') {
            return Err(ConversionError::Negative);
        }
        let (mantissa, exponent) = parse_decimal(text).ok_or(ConversionError::NotDecimal)?;
        if mantissa == 0 {
            return Err(ConversionError::DivisionByZero);
        }
        // 10^77 times the numerator still fits 512 bits, and is beyond 256 bits after any division.
        if exponent < -77 {
            return Ok(Self::MAX);
        }
        let mut numerator = Self::DIFFICULTY_1.0.widen();
        for _ in exponent..0 {
            numerator = numerator.wrapping_mul_u64(10);
        }
        let mut target = quotient(numerator, U512::from_u128(mantissa))?;
        for _ in 0..exponent.clamp(0, 77) {
            target = target.divided_by(10);
        }
        Ok(target)
    }

    /// `DIFFICULTY_1 / self` in `f64`, both first rounded to it; infinite for a target of zero.
    pub fn difficulty_f64(self) -> f64 {
        Self::DIFFICULTY_1.0.to_f64() / self.0.to_f64()
    }

    /// `DIFFICULTY_1 / self` in fixed point, rounded down: what a share of this target counts.
    pub fn difficulty(self) -> Difficulty {
        let scaled = Self::DIFFICULTY_1.0.widen().shl(Difficulty::FRACTION_BITS);
        match scaled.div_rem(&self.0.widen()) {
            Some((whole, _)) => Difficulty(whole.saturating_u128()),
            None => Difficulty(u128::MAX),
        }
    }

    /// The target at which a miner of `hashrate` (hashes a second) finds `shares_per_minute`.
    ///
    /// `floor((2^256 - 1 - work) / (work + 1))` with `work = floor(hashrate * (60 / shares_per_minute))`.
    ///
    /// # Errors
    /// A number that is not finite or negative; a share rate of zero.
    pub fn from_hashrate(hashrate: f64, shares_per_minute: f64) -> Result<Self, ConversionError> {
        check_finite(hashrate)?;
        let seconds = seconds_per_share(shares_per_minute)?;
        let work = U256::from_u128((hashrate * seconds) as u128);
        let (target, _) = U256::MAX
            .wrapping_sub(&work)
            .div_rem(&work.wrapping_add_u64(1))
            .ok_or(ConversionError::DivisionByZero)?;
        Ok(Self(target))
    }

    /// The hashrate (hashes a second) that finds `shares_per_minute` at this target.
    ///
    /// `floor((2^256 - target) / floor((target + 1) * s / 100))` with `s = floor(60 / shares_per_minute * 100)`,
    /// rounded to the nearest `f64`.
    ///
    /// # Errors
    /// A share rate that is not finite, negative, zero, or so high that the denominator is zero.
    pub fn to_hashrate(self, shares_per_minute: f64) -> Result<f64, ConversionError> {
        let hundredths = (seconds_per_share(shares_per_minute)? * 100.0) as u64;
        let target = self.0.widen();
        let (denominator, _) = target
            .wrapping_add_u64(1)
            .wrapping_mul_u64(hundredths)
            .div_rem(&U512::from_u128(100))
            .ok_or(ConversionError::DivisionByZero)?;
        let numerator = U512::from_u128(1).shl(256).wrapping_sub(&target);
        let (hashrate, _) = numerator
            .div_rem(&denominator)
            .ok_or(ConversionError::DivisionByZero)?;
        Ok(hashrate.to_f64())
    }

    fn shifted_right(self, by: u32) -> Self {
        Self(self.0.shr(by))
    }

    fn divided_by(self, divisor: u64) -> Self {
        let divisor = U256::from_u128(u128::from(divisor));
        Self(
            self.0
                .div_rem(&divisor)
                .map_or(U256::ZERO, |(whole, _)| whole),
        )
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// 64 hexadecimal digits, most significant first.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_be_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A difficulty, or a sum of them, in fixed point with 32 fraction bits: sums are exact and never drift.
///
/// One unit of difficulty stands for `2^32 * 65536 / 65535` hashes on average. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Difficulty(u128);

impl Difficulty {
    /// Bits after the binary point.
    pub const FRACTION_BITS: u32 = 32;

    /// No difficulty at all, the start of a sum.
    pub const ZERO: Self = Self(0);

    /// The fixed-point number itself: the difficulty times `2^32`.
    pub const fn to_fixed(self) -> u128 {
        self.0
    }

    /// From the fixed-point number: the difficulty times `2^32`.
    pub const fn from_fixed(fixed: u128) -> Self {
        Self(fixed)
    }

    /// Rounded down to a whole number, at most `u64::MAX`: the unit of `SubmitShares.Success.new_shares_sum`.
    pub fn floor(self) -> u64 {
        u64::try_from(self.0 >> Self::FRACTION_BITS).unwrap_or(u64::MAX)
    }

    /// The nearest `f64`.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 * power_of_two(-(Self::FRACTION_BITS as i32))
    }

    /// The number of hashes that this difficulty takes on average.
    pub fn expected_hashes(self) -> f64 {
        self.0 as f64 * (65536.0 / 65535.0)
    }
}

impl Add for Difficulty {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Difficulty {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A target with the difficulty its shares count, worked out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareTarget {
    target: Target,
    difficulty: Difficulty,
}

impl ShareTarget {
    /// The target of a channel or of an active job.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            difficulty: target.difficulty(),
        }
    }

    /// The integer to compare hashes with.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// What one share counts.
    pub const fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}

impl From<Target> for ShareTarget {
    fn from(target: Target) -> Self {
        Self::new(target)
    }
}

fn quotient(numerator: U512, denominator: U512) -> Result<Target, ConversionError> {
    let (whole, _) = numerator
        .div_rem(&denominator)
        .ok_or(ConversionError::DivisionByZero)?;
    Ok(whole.narrow().map_or(Target::MAX, Target))
}

fn check_finite(number: f64) -> Result<(), ConversionError> {
    if !number.is_finite() {
        return Err(ConversionError::NonFinite);
    }
    if number < 0.0 {
        return Err(ConversionError::Negative);
    }
    Ok(())
}

fn check_rate(number: f64) -> Result<(), ConversionError> {
    check_finite(number)?;
    if number == 0.0 {
        Err(ConversionError::DivisionByZero)
    } else {
        Ok(())
    }
}

fn seconds_per_share(shares_per_minute: f64) -> Result<f64, ConversionError> {
    check_rate(shares_per_minute)?;
    Ok(60.0 / shares_per_minute)
}

/// Mantissa and decimal exponent of `digits[.digits][e[sign]digits]`.
fn parse_decimal(text: &str) -> Option<(u128, i32)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut mantissa = 0u128;
    let mut digits = 0u32;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(byte).to_digit(10)?;
        mantissa = mantissa.checked_mul(10)?.checked_add(u128::from(digit))?;
        digits += 1;
    }
    let shift = i32::try_from(fraction.len()).ok()?;
    (digits > 0).then_some((mantissa, i32::from(exponent) - shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_compare_as_integers() {
        let mut low_byte = [0; 32];
        low_byte[0] = 0xff;
        let mut high_byte = [0; 32];
        high_byte[31] = 1;
        assert!(Target::from_le_bytes(low_byte) < Target::from_le_bytes(high_byte));
        assert!(Target::from_le_bytes(high_byte).is_met_by(&high_byte));
        assert!(!Target::from_le_bytes(low_byte).is_met_by(&high_byte));
        assert_eq!(Target::from_le_bytes(high_byte).to_le_bytes(), high_byte);
    }

    #[test]
    fn float_and_decimal_difficulties_agree_where_the_float_is_exact() {
        for (number, text) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (1.5e3, "1.5e3"),
            (4294967296.0, "4294967296"),
        ] {
            assert_eq!(
                Target::from_difficulty(number),
                Target::from_difficulty_str(text)
            );
        }
        assert_eq!(Target::from_difficulty(1.0), Ok(Target::DIFFICULTY_1));
        assert_eq!(
            Target::from_difficulty(f64::MIN_POSITIVE / 2.0),
            Ok(Target::MAX)
        );
        assert_eq!(
            Target::from_difficulty(f64::MAX).map(Target::difficulty_f64),
            Ok(f64::INFINITY)
        );
        assert_eq!(Target::from_difficulty_str("1e-400"), Ok(Target::MAX));
    }

    #[test]
    fn bad_numbers_are_named() {
        use ConversionError as E;
        for (number, error) in [
            (f64::NAN, E::NonFinite),
            (-1.0, E::Negative),
            (0.0, E::DivisionByZero),
        ] {
            assert_eq!(Target::from_difficulty(number), Err(error));
        }
        for (text, error) in [
            ("", E::NotDecimal),
            (".", E::NotDecimal),
            ("1x", E::NotDecimal),
            ("-1", E::Negative),
            ("0.0", E::DivisionByZero),
            ("999999999999999999999999999999999999999999", E::NotDecimal),
        ] {
            assert_eq!(Target::from_difficulty_str(text), Err(error), "{text}");
        }
    }

    #[test]
    fn difficulty_sums_keep_fractions() {
        let half = Target::from_difficulty(0.5).unwrap().difficulty();
        assert_eq!(half.floor(), 0);
        assert_eq!((half + half).floor(), 1);
        assert_eq!((half + half).to_f64(), 1.0);
        assert_eq!(
            Target::from_le_bytes([0; 32]).difficulty().floor(),
            u64::MAX
        );
    }
}
