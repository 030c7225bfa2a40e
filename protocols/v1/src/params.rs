//! Reading parameters: tolerant of form, strict of meaning.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::difficulty::Difficulty;

/// Why the parameters of a message cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ParamError {
    /// The parameter.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It has another JSON type.
    #[error("has the wrong type")]
    WrongType,
    /// It is not hexadecimal, or has an odd number of digits.
    #[error("is not hexadecimal")]
    NotHex,
    /// It has a length that it cannot have.
    #[error("has the wrong length")]
    WrongLength,
    /// The number is outside of what it can be.
    #[error("is out of range")]
    OutOfRange,
}

/// The parameters of one message, by position.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    /// A list; nothing at all counts as an empty one.
    pub(crate) fn parse(raw: Option<&RawValue>) -> Result<Self, ParamError> {
        let Some(raw) = raw else {
            return Ok(Self(Vec::new()));
        };
        let list: Option<Vec<Value>> =
            serde_json::from_str(raw.get()).map_err(|_| Problem::WrongType.of("params"))?;
        Ok(Self(list.unwrap_or_default()))
    }

    pub(crate) const fn from_list(list: Vec<Value>) -> Self {
        Self(list)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The parameter; `null` counts as missing.
    pub(crate) fn optional(&self, at: usize) -> Option<&Value> {
        self.0.get(at).filter(|value| !value.is_null())
    }

    pub(crate) fn value(&self, at: usize, name: &'static str) -> Result<&Value, ParamError> {
        self.optional(at).ok_or(Problem::Missing.of(name))
    }

    pub(crate) fn text(
        &self,
        at: usize,
        name: &'static str,
        max_bytes: usize,
    ) -> Result<String, ParamError> {
        let value = self.value(at, name)?;
        let text = value.as_str().ok_or(Problem::WrongType.of(name))?;
        if text.len() > max_bytes {
            return Err(Problem::WrongLength.of(name));
        }
        Ok(text.to_owned())
    }

    /// A text that is not needed to go on: anything else counts as none.
    pub(crate) fn optional_text(&self, at: usize, max_bytes: usize) -> Option<String> {
        let text = self.optional(at)?.as_str()?;
        (text.len() <= max_bytes).then(|| text.to_owned())
    }

    pub(crate) fn u32_hex(&self, at: usize, name: &'static str) -> Result<u32, ParamError> {
        u32_from_hex(self.value(at, name)?, name)
    }

    pub(crate) fn bytes(
        &self,
        at: usize,
        name: &'static str,
        max_bytes: usize,
    ) -> Result<Vec<u8>, ParamError> {
        bytes_from_hex(self.value(at, name)?, name, max_bytes)
    }

    pub(crate) fn uint(&self, at: usize, name: &'static str, max: u64) -> Result<u64, ParamError> {
        let number = uint(self.value(at, name)?).ok_or(Problem::WrongType.of(name))?;
        if number > max {
            return Err(Problem::OutOfRange.of(name));
        }
        Ok(number)
    }

    pub(crate) fn difficulty(&self, at: usize) -> Result<Difficulty, ParamError> {
        difficulty(self.value(at, "difficulty")?)
    }
}

impl Problem {
    pub(crate) const fn of(self, name: &'static str) -> ParamError {
        ParamError {
            name,
            problem: self,
        }
    }
}

/// A big-endian integer of 1 to 8 digits: some miners leave the leading zeros out.
pub(crate) fn u32_from_hex(value: &Value, name: &'static str) -> Result<u32, ParamError> {
    let text = value.as_str().ok_or(Problem::WrongType.of(name))?;
    if text.is_empty() || text.len() > 8 {
        return Err(Problem::WrongLength.of(name));
    }
    // from_str_radix alone would take a sign.
    if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Problem::NotHex.of(name));
    }
    u32::from_str_radix(text, 16).map_err(|_| Problem::NotHex.of(name))
}

pub(crate) fn bytes_from_hex(
    value: &Value,
    name: &'static str,
    max_bytes: usize,
) -> Result<Vec<u8>, ParamError> {
    let text = value.as_str().ok_or(Problem::WrongType.of(name))?;
    if text.len() > 2 * max_bytes {
        return Err(Problem::WrongLength.of(name));
    }
    hex::decode(text).map_err(|_| Problem::NotHex.of(name))
}

pub(crate) fn array_from_hex<const N: usize>(
    value: &Value,
    name: &'static str,
) -> Result<[u8; N], ParamError> {
    let bytes = bytes_from_hex(value, name, N)?;
    bytes.try_into().map_err(|_| Problem::WrongLength.of(name))
}

/// A number above zero, also where it comes as a text.
pub(crate) fn difficulty(value: &Value) -> Result<Difficulty, ParamError> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let number = number.ok_or(Problem::WrongType.of("difficulty"))?;
    Difficulty::new(number).ok_or(Problem::OutOfRange.of("difficulty"))
}

/// A whole number, also where it comes as a text or as a float.
fn uint(value: &Value) -> Option<u64> {
    let from_float = || {
        let float = value.as_f64()?;
        (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
    };
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .or_else(from_float)
}
