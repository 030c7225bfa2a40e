//! Byte strings and arrays: hexadecimal for people, bytes for programs.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use serde_core::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_core::ser::{Serialize, Serializer};

use super::newtype;
use crate::{B016M, B032, B064K, B0255, Bytes, Mac, PubKey, Signature, Str0255, U256};

/// Bytes that people read as hexadecimal.
struct Hex<'a>(Cow<'a, [u8]>);

/// Bytes that are turned into digits at once.
const PIECE_LEN: usize = 64;

/// The hexadecimal digit of a number below 16.
const fn digit_of(number: u8) -> u8 {
    match number {
        0..=9 => b'0' + number,
        _ => b'a' + number - 10,
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In pieces: each call costs a format more than the digits do.
        self.0.chunks(PIECE_LEN).try_for_each(|piece| {
            let mut digits = [0; 2 * PIECE_LEN];
            for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(piece) {
                *pair = [digit_of(byte >> 4), digit_of(byte & 0xf)];
            }
            let digits = digits.get(..2 * piece.len()).unwrap_or_default();
            f.write_str(core::str::from_utf8(digits).unwrap_or_default())
        })
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Hex<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(HexVisitor).map(Self)
        } else {
            deserializer.deserialize_bytes(BytesVisitor).map(Self)
        }
    }
}

struct HexVisitor;

impl Visitor<'_> for HexVisitor {
    type Value = Cow<'static, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hexadecimal digits, two for each byte")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        unhex(text.as_bytes())
            .map(Cow::Owned)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The bytes of hexadecimal digits in either case.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok())
        .collect()
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.into()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes))
    }
}

/// Bytes that people read as text; what is no UTF-8 they get as numbers, so that nothing is lost.
struct Text<'a>(Cow<'a, [u8]>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match core::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(self.0.iter()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(TextVisitor).map(Self)
        } else {
            deserializer.deserialize_bytes(BytesVisitor).map(Self)
        }
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or the numbers of its bytes")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.as_bytes().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            if bytes.len() == Str0255::MAX_LEN {
                return Err(A::Error::invalid_length(
                    bytes.len() + 1,
                    &"at most 255 bytes",
                ));
            }
            bytes.push(byte);
        }
        Ok(Cow::Owned(bytes))
    }
}

macro_rules! byte_strings {
    ($($name:ident, $wire_name:literal, $inner:ident;)*) => {$(
        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($wire_name, &$inner(Cow::Borrowed(self.as_bytes())))
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match newtype(deserializer, $wire_name)? {
                    $inner(Cow::Borrowed(bytes)) => Self::try_from(bytes),
                    $inner(Cow::Owned(bytes)) => Self::try_from(bytes),
                }
                .map_err(D::Error::custom)
            }
        }
    )*};
}

byte_strings! {
    Str0255, "STR0_255", Text;
    B032, "B0_32", Hex;
    B0255, "B0_255", Hex;
    B064K, "B0_64K", Hex;
    B016M, "B0_16M", Hex;
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("BYTES", &Hex(Cow::Borrowed(&self.0)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        newtype(deserializer, "BYTES").map(|Hex(bytes)| Self(bytes))
    }
}

macro_rules! byte_arrays {
    ($($name:ident, $wire_name:literal, $len:literal;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($wire_name, &Hex(Cow::Borrowed(self.as_bytes())))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Hex(bytes) = newtype(deserializer, $wire_name)?;
                <[u8; $len]>::try_from(&*bytes)
                    .map(Self)
                    .map_err(|_| D::Error::invalid_length(bytes.len(), &concat!($len, " bytes")))
            }
        }
    )*};
}

byte_arrays! {
    U256, "U256", 32;
    PubKey, "PUBKEY", 32;
    Signature, "SIGNATURE", 64;
    Mac, "MAC", 16;
}
