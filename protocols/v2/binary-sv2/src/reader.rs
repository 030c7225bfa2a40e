//! Reading a payload in one pass.

use core::fmt;

use thiserror::Error;

/// Why bytes do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The payload ends before the field does.
    #[error("{needed} bytes needed, {available} left")]
    MissingBytes {
        /// Bytes that the field needs from where it starts.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// A length prefix lies above what the type allows, such as 33 for `B0_32`.
    #[error("length {length} is above the maximum of {max}")]
    LengthAboveMax {
        /// The length read.
        length: usize,
        /// The largest length that the type allows.
        max: usize,
    },
}

/// A field that does not decode, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("field {field}{}: {kind}", Position(*element))]
pub struct DecodeError {
    /// Name of the field in the message, empty for a value that stands alone.
    pub field: &'static str,
    /// Position of the element that does not decode, where the field is a sequence and its count is not at fault.
    pub element: Option<usize>,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

struct Position(Option<usize>);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |position| write!(f, "[{position}]"))
    }
}

impl DecodeError {
    /// The same error with the field named; a name given further inside is replaced.
    #[must_use]
    #[cold]
    pub fn in_field(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The same error with the position in its sequence.
    #[must_use]
    #[cold]
    pub(crate) fn in_element(self, position: usize) -> Self {
        Self {
            element: Some(position),
            ..self
        }
    }
}

impl From<DecodeErrorKind> for DecodeError {
    #[cold]
    fn from(kind: DecodeErrorKind) -> Self {
        Self {
            field: "",
            element: None,
            kind,
        }
    }
}

/// A payload and how far it has been read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeErrorKind::MissingBytes`] when fewer are left; nothing is taken then.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.missing(len)),
        }
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`DecodeErrorKind::MissingBytes`] when fewer are left; nothing is taken then.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.missing(N)),
        }
    }

    /// Takes a little-endian length or count prefix of `PREFIX` bytes (at most 3).
    #[inline]
    pub(crate) fn prefix<const PREFIX: usize>(&mut self) -> Result<usize, DecodeError> {
        let bytes = self.array::<PREFIX>()?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    #[cold]
    fn missing(&self, needed: usize) -> DecodeError {
        DecodeErrorKind::MissingBytes {
            needed,
            available: self.rest.len(),
        }
        .into()
    }
}
