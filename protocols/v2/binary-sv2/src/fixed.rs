//! Types of a fixed length: integers, `BOOL`, `F32`, `U24`, `U256`, keys, signatures, `MAC`.

use core::fmt;

use thiserror::Error;

use crate::{BufferTooShort, Decodable, DecodeError, Encodable, IntoOwned, Reader, Writer};

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Encodable for $number {
            #[inline]
            fn encoded_len(&self) -> usize {
                size_of::<Self>()
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                writer.put(&self.to_le_bytes())
            }
        }

        impl<'a> Decodable<'a> for $number {
            const FIXED_LEN: Option<usize> = Some(size_of::<Self>());

            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(*reader.array()?))
            }
        }

        impl IntoOwned for $number {
            type Owned = Self;

            #[inline]
            fn into_owned(self) -> Self {
                self
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, f32);

/// `BOOL`: one byte of which only bit 0 counts (specification 3.1).
impl Encodable for bool {
    #[inline]
    fn encoded_len(&self) -> usize {
        1
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        writer.put(&[u8::from(*self)])
    }
}

impl<'a> Decodable<'a> for bool {
    const FIXED_LEN: Option<usize> = Some(1);

    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [byte] = reader.array()?;
        Ok(byte & 1 == 1)
    }
}

impl IntoOwned for bool {
    type Owned = Self;

    fn into_owned(self) -> Self {
        self
    }
}

/// A number does not fit into 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} does not fit into 24 bits")]
pub struct U24OutOfRange(pub u32);

/// `U24`: an unsigned integer of three bytes, little-endian (specification 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct U24(u32);

impl U24 {
    /// The largest value, 16 777 215.
    pub const MAX: Self = Self(0xff_ffff);

    /// Wraps a value.
    ///
    /// # Errors
    /// [`U24OutOfRange`] above [`U24::MAX`].
    pub const fn new(value: u32) -> Result<Self, U24OutOfRange> {
        if value > Self::MAX.0 {
            Err(U24OutOfRange(value))
        } else {
            Ok(Self(value))
        }
    }
}

impl TryFrom<u32> for U24 {
    type Error = U24OutOfRange;

    fn try_from(value: u32) -> Result<Self, U24OutOfRange> {
        Self::new(value)
    }
}

impl From<U24> for u32 {
    fn from(value: U24) -> Self {
        value.0
    }
}

impl Encodable for U24 {
    #[inline]
    fn encoded_len(&self) -> usize {
        3
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        let [low, middle, high, _] = self.0.to_le_bytes();
        writer.put(&[low, middle, high])
    }
}

impl<'a> Decodable<'a> for U24 {
    const FIXED_LEN: Option<usize> = Some(3);

    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [low, middle, high] = *reader.array()?;
        Ok(Self(u32::from_le_bytes([low, middle, high, 0])))
    }
}

impl IntoOwned for U24 {
    type Owned = Self;

    fn into_owned(self) -> Self {
        self
    }
}

macro_rules! byte_arrays {
    ($($(#[$meta:meta])* $name:ident[$len:literal];)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes in wire order.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; $len] {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self([0; $len])
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                crate::byte_strings::write_hex(f, &self.0)?;
                write!(f, ")")
            }
        }

        impl Encodable for $name {
            #[inline]
            fn encoded_len(&self) -> usize {
                $len
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                writer.put(&self.0)
            }
        }

        impl<'a> Decodable<'a> for $name {
            const FIXED_LEN: Option<usize> = Some($len);

            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                Ok(Self(*reader.array()?))
            }
        }

        impl IntoOwned for $name {
            type Owned = Self;

            fn into_owned(self) -> Self {
                self
            }
        }
    )*};
}

byte_arrays! {
    /// `U256`: 32 bytes, a little-endian integer or the raw output of SHA-256d (specification 3.1).
    ///
    /// The order of the derived comparison is that of the bytes, not that of the integer: compare targets as integers.
    U256[32];
    /// `PUBKEY`: an x-only public key of BIP340, 32 bytes (specification 3.1).
    PubKey[32];
    /// `SIGNATURE`: a signature of BIP340, 64 bytes (specification 3.1).
    Signature[64];
    /// `MAC`: an AEAD tag, 16 bytes (specification 3.1).
    Mac[16];
}
