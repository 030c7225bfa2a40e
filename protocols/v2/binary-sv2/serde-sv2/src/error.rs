//! What can go wrong.

use alloc::string::String;
use core::fmt::{Display, Write};

use binary_sv2::{BufferTooShort, DecodeError, LengthError, SequenceTooLong};

/// Why a value is not written, or bytes are not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not hold the value: which field, and why.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The buffer to write to cannot hold the value.
    #[error(transparent)]
    BufferTooShort(#[from] BufferTooShort),
    /// A byte string is longer than its type allows.
    #[error(transparent)]
    TooManyBytes(#[from] LengthError),
    /// A sequence has more elements than its type allows.
    #[error(transparent)]
    TooManyElements(#[from] SequenceTooLong),
    /// Stratum V2 has no such data type.
    #[error("{0} has no form on the wire")]
    NoWireForm(&'static str),
    /// The type itself refuses what was read.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    #[cold]
    fn refused(message: impl Display) -> Self {
        // Not `to_string`: the standard library's is compiled to unwind, which a program that aborts cannot link.
        let mut text = String::new();
        match write!(text, "{message}") {
            Ok(()) => Self::Refused(text),
            Err(core::fmt::Error) => Self::Refused(String::new()),
        }
    }

    /// The same error with the field named, where it is one of the bytes.
    #[cold]
    pub(crate) fn in_field(self, field: &'static str) -> Self {
        match self {
            Self::Decode(error) => Self::Decode(error.in_field(field)),
            other => other,
        }
    }

    /// The same error with the position in its sequence, where it is one of the bytes.
    #[cold]
    pub(crate) fn in_element(self, position: usize) -> Self {
        match self {
            Self::Decode(error) => Self::Decode(DecodeError {
                element: Some(position),
                ..error
            }),
            other => other,
        }
    }
}

impl serde_core::ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::refused(message)
    }
}

impl serde_core::de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::refused(message)
    }
}
