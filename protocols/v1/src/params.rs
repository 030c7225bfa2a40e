//! Reading parameters: tolerant of form, strict of meaning.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

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

/// Parameters that memory is taken for at first: a share has six.
const USUAL_PARAMS: usize = 6;

/// One parameter. Texts stay where they came from: shares are made of nothing else.
#[derive(Debug)]
pub(crate) enum Param<'a> {
    Null,
    Text(Cow<'a, str>),
    Other(Value),
}

impl Param<'_> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_value(&self) -> Option<&Value> {
        match self {
            Self::Other(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&Vec<Value>> {
        self.as_value()?.as_array()
    }

    pub(crate) fn as_object(&self) -> Option<&Map<String, Value>> {
        self.as_value()?.as_object()
    }
}

impl From<Value> for Param<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(text.into()),
            other => Self::Other(other),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Param<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamVisitor)
    }
}

struct ParamVisitor;

impl<'a> Visitor<'a> for ParamVisitor {
    type Value = Param<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Param<'a>, E> {
        Ok(Param::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Param<'a>, E> {
        Ok(Param::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Param<'a>, E> {
        Ok(Param::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Param<'a>, E> {
        Ok(Param::Other(value.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Param<'a>, E> {
        Ok(Param::Other(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Param<'a>, E> {
        Ok(Param::Other(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Param<'a>, E> {
        Ok(Param::Other(number.into()))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, list: A) -> Result<Param<'a>, A::Error> {
        let list = Value::deserialize(SeqAccessDeserializer::new(list));
        list.map(Param::Other)
    }

    fn visit_map<A: MapAccess<'a>>(self, members: A) -> Result<Param<'a>, A::Error> {
        let object = Value::deserialize(MapAccessDeserializer::new(members));
        object.map(Param::Other)
    }
}

/// The parameters of one message, by position.
#[derive(Debug, Default)]
pub(crate) struct Params<'a>(Vec<Param<'a>>);

/// The member `params`: a list; nothing at all counts as an empty one.
#[derive(Debug)]
pub(crate) enum RawParams<'a> {
    List(Params<'a>),
    Other,
}

impl Default for RawParams<'_> {
    fn default() -> Self {
        Self::List(Params::default())
    }
}

impl<'a> RawParams<'a> {
    pub(crate) fn list(&self) -> Result<&Params<'a>, ParamError> {
        match self {
            Self::List(params) => Ok(params),
            Self::Other => Err(Problem::WrongType.of("params")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawParams<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamsVisitor)
    }
}

struct ParamsVisitor;

impl<'a> Visitor<'a> for ParamsVisitor {
    type Value = RawParams<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<RawParams<'a>, A::Error> {
        let mut params = Vec::new();
        while let Some(param) = list.next_element()? {
            if params.is_empty() {
                params.reserve(USUAL_PARAMS);
            }
            params.push(param);
        }
        Ok(RawParams::List(Params(params)))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<RawParams<'a>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(RawParams::Other)
    }

    fn visit_unit<E>(self) -> Result<RawParams<'a>, E> {
        Ok(RawParams::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawParams<'a>, E> {
        Ok(RawParams::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawParams<'a>, E> {
        Ok(RawParams::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawParams<'a>, E> {
        Ok(RawParams::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawParams<'a>, E> {
        Ok(RawParams::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<RawParams<'a>, E> {
        Ok(RawParams::Other)
    }
}

impl<'a> Params<'a> {
    pub(crate) fn from_list(list: &[Value]) -> Self {
        Self(list.iter().cloned().map(Param::from).collect())
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The parameter; `null` counts as missing.
    pub(crate) fn optional(&self, at: usize) -> Option<&Param<'a>> {
        let param = self.0.get(at);
        param.filter(|param| !matches!(param, Param::Null))
    }

    pub(crate) fn value(&self, at: usize, name: &'static str) -> Result<&Param<'a>, ParamError> {
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
        u32_from_hex(self.value(at, name)?.as_str(), name)
    }

    pub(crate) fn bytes(
        &self,
        at: usize,
        name: &'static str,
        max_bytes: usize,
    ) -> Result<Vec<u8>, ParamError> {
        bytes_from_hex(self.value(at, name)?.as_str(), name, max_bytes)
    }

    pub(crate) fn array<const N: usize>(
        &self,
        at: usize,
        name: &'static str,
    ) -> Result<[u8; N], ParamError> {
        array_from_hex(self.value(at, name)?.as_str(), name)
    }

    pub(crate) fn uint(&self, at: usize, name: &'static str, max: u64) -> Result<u64, ParamError> {
        let number = uint(self.value(at, name)?).ok_or(Problem::WrongType.of(name))?;
        if number > max {
            return Err(Problem::OutOfRange.of(name));
        }
        Ok(number)
    }

    pub(crate) fn difficulty(&self, at: usize) -> Result<Difficulty, ParamError> {
        let param = self.value(at, "difficulty")?;
        difficulty(param.as_value(), param.as_str())
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

/// A big-endian integer of 1 to 8 digits: some miners leave the leading zeros out. `None` for what is no text.
pub(crate) fn u32_from_hex(text: Option<&str>, name: &'static str) -> Result<u32, ParamError> {
    let text = text.ok_or(Problem::WrongType.of(name))?;
    if text.is_empty() || text.len() > 8 {
        return Err(Problem::WrongLength.of(name));
    }
    let digits = text.bytes().map(hex_digit);
    let number = { digits }.try_fold(0, |number, digit| Some(number << 4 | u32::from(digit?)));
    number.ok_or(Problem::NotHex.of(name))
}

fn hex_digit(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn bytes_from_hex(
    text: Option<&str>,
    name: &'static str,
    max_bytes: usize,
) -> Result<Vec<u8>, ParamError> {
    let text = text.ok_or(Problem::WrongType.of(name))?;
    if text.len() > 2 * max_bytes {
        return Err(Problem::WrongLength.of(name));
    }
    hex::decode(text).map_err(|_| Problem::NotHex.of(name))
}

pub(crate) fn array_from_hex<const N: usize>(
    text: Option<&str>,
    name: &'static str,
) -> Result<[u8; N], ParamError> {
    let bytes = bytes_from_hex(text, name, N)?;
    bytes.try_into().map_err(|_| Problem::WrongLength.of(name))
}

/// A number above zero, also where it comes as a text.
pub(crate) fn difficulty(
    number: Option<&Value>,
    text: Option<&str>,
) -> Result<Difficulty, ParamError> {
    let number = number.and_then(Value::as_f64);
    let number = number.or_else(|| text?.parse().ok());
    let number = number.ok_or(Problem::WrongType.of("difficulty"))?;
    Difficulty::new(number).ok_or(Problem::OutOfRange.of("difficulty"))
}

/// A whole number, also where it comes as a text or as a float.
fn uint(param: &Param<'_>) -> Option<u64> {
    let number = match param {
        Param::Text(text) => return text.parse().ok(),
        param => param.as_value()?,
    };
    let from_float = || {
        let float = number.as_f64()?;
        (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
    };
    number.as_u64().or_else(from_float)
}
