//! Byte strings behind a length prefix: `STR0_255`, `B0_32`, `B0_255`, `B0_64K`, `B0_16M`, and `BYTES` without one.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use thiserror::Error;

use crate::{
    BufferTooShort, Decodable, DecodeError, DecodeErrorKind, Encodable, IntoOwned, Reader, Writer,
};

/// A byte string is longer than its type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{length} bytes are above the maximum of {max}")]
pub struct LengthError {
    /// Length of the rejected byte string.
    pub length: usize,
    /// The largest length that the type allows.
    pub max: usize,
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! byte_strings {
    ($($(#[$meta:meta])* $name:ident(prefix: $prefix:literal, max: $max:literal);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name<'a>(Cow<'a, [u8]>);

        impl<'a> $name<'a> {
            /// Longest value in bytes.
            pub const MAX_LEN: usize = $max;

            /// The bytes, without the length prefix.
            #[inline]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Number of bytes, without the length prefix.
            #[inline]
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are no bytes.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The bytes in a vector; copies only what is borrowed.
            pub fn into_vec(self) -> Vec<u8> {
                self.0.into_owned()
            }

            /// The same value, borrowing from `self`.
            pub fn as_borrowed(&self) -> $name<'_> {
                $name(Cow::Borrowed(&self.0))
            }

            fn check(length: usize) -> Result<(), LengthError> {
                if length > $max { Err(LengthError { length, max: $max }) } else { Ok(()) }
            }
        }

        impl AsRef<[u8]> for $name<'_> {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl<'a> TryFrom<&'a [u8]> for $name<'a> {
            type Error = LengthError;

            fn try_from(bytes: &'a [u8]) -> Result<Self, LengthError> {
                Self::check(bytes.len())?;
                Ok(Self(Cow::Borrowed(bytes)))
            }
        }

        impl TryFrom<Vec<u8>> for $name<'_> {
            type Error = LengthError;

            fn try_from(bytes: Vec<u8>) -> Result<Self, LengthError> {
                Self::check(bytes.len())?;
                Ok(Self(Cow::Owned(bytes)))
            }
        }

        impl Encodable for $name<'_> {
            #[inline]
            fn encoded_len(&self) -> usize {
                $prefix + self.0.len()
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                writer.put_prefix::<$prefix>(self.0.len())?;
                writer.put(&self.0)
            }
        }

        impl<'a> Decodable<'a> for $name<'a> {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                let length = reader.prefix::<$prefix>()?;
                if length > $max {
                    return Err(DecodeErrorKind::LengthAboveMax { length, max: $max }.into());
                }
                Ok(Self(Cow::Borrowed(reader.take(length)?)))
            }
        }

        impl IntoOwned for $name<'_> {
            type Owned = $name<'static>;

            fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }
        }
    )*};
}

byte_strings! {
    /// `STR0_255`: up to 255 bytes of text behind a one-byte length (specification 3.1).
    ///
    /// UTF-8 is recommended, not required, so this holds bytes; [`fmt::Display`] escapes what a terminal
    /// would act upon instead of showing it.
    Str0255(prefix: 1, max: 255);
    /// `B0_32`: up to 32 bytes behind a one-byte length (specification 3.1).
    B032(prefix: 1, max: 32);
    /// `B0_255`: up to 255 bytes behind a one-byte length (specification 3.1).
    B0255(prefix: 1, max: 255);
    /// `B0_64K`: up to 65 535 bytes behind a two-byte length (specification 3.1).
    B064K(prefix: 2, max: 65_535);
    /// `B0_16M`: up to 16 777 215 bytes behind a three-byte length (specification 3.1).
    B016M(prefix: 3, max: 16_777_215);
}

macro_rules! debug_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                write_hex(f, &self.0)?;
                write!(f, ")")
            }
        }
    )*};
}

debug_as_hex!(B032, B0255, B064K, B016M, Bytes);

impl Str0255<'_> {
    /// The text when it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl<'a> TryFrom<&'a str> for Str0255<'a> {
    type Error = LengthError;

    fn try_from(text: &'a str) -> Result<Self, LengthError> {
        Self::try_from(text.as_bytes())
    }
}

impl TryFrom<String> for Str0255<'_> {
    type Error = LengthError;

    fn try_from(text: String) -> Result<Self, LengthError> {
        Self::try_from(text.into_bytes())
    }
}

impl fmt::Display for Str0255<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // A peer chose these characters: escaped, they cannot forge a line of a log, drive a terminal or turn the
            // direction of the text around them.
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\'' | '\\' => f.write_char(character)?,
                    _ => write!(f, "{}", character.escape_debug())?,
                }
            }
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Str0255<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// `BYTES`: the rest of the payload, without a length prefix (specification 3.1).
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl Encodable for Bytes<'_> {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        writer.put(&self.0)
    }
}

impl<'a> Decodable<'a> for Bytes<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self(Cow::Borrowed(reader.take(reader.rest().len())?)))
    }
}

impl IntoOwned for Bytes<'_> {
    type Owned = Bytes<'static>;

    fn into_owned(self) -> Bytes<'static> {
        Bytes(Cow::Owned(self.0.into_owned()))
    }
}
