//! serde for frames: the header's fields and the payload, in the order of the wire.

use alloc::borrow::Cow;

use binary_sv2::{Bytes, U24};
use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_core::ser::{Serialize, Serializer};

use crate::{Frame, FrameError, Header, NoiseFrame, Sv2Frame};

#[derive(binary_sv2::Deserialize, binary_sv2::Serialize)]
struct HeaderFields {
    extension_type: u16,
    msg_type: u8,
    msg_length: U24,
}

#[derive(binary_sv2::Deserialize, binary_sv2::Serialize)]
struct FrameFields<'a> {
    extension_type: u16,
    msg_type: u8,
    msg_length: U24,
    payload: Bytes<'a>,
}

/// A header holds no length that does not fit.
fn msg_length<E: serde_core::ser::Error>(header: Header) -> Result<U24, E> {
    u32::try_from(header.payload_len())
        .map_err(E::custom)
        .and_then(|length| U24::new(length).map_err(E::custom))
}

fn payload_len(msg_length: U24) -> usize {
    // 24 bits fit into any `usize` that has an allocator.
    u32::from(msg_length) as usize
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = HeaderFields {
            extension_type: self.extension_type(),
            msg_type: self.msg_type(),
            msg_length: msg_length(*self)?,
        };
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = HeaderFields::deserialize(deserializer)?;
        let len = payload_len(fields.msg_length);
        Self::new(fields.extension_type, fields.msg_type, len).map_err(D::Error::custom)
    }
}

impl Serialize for Sv2Frame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = FrameFields {
            extension_type: self.header().extension_type(),
            msg_type: self.header().msg_type(),
            msg_length: msg_length(self.header())?,
            payload: Bytes(Cow::Borrowed(self.payload())),
        };
        fields.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Sv2Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = FrameFields::deserialize(deserializer)?;
        let (announced, len) = (payload_len(fields.msg_length), fields.payload.0.len());
        if announced > len {
            let missing = announced - len;
            return Err(D::Error::custom(FrameError::MissingBytes { missing }));
        }
        if announced < len {
            let excess = len - announced;
            return Err(D::Error::custom(FrameError::ExcessBytes { excess }));
        }
        Self::new(fields.extension_type, fields.msg_type, fields.payload.0)
            .map_err(D::Error::custom)
    }
}

impl Serialize for NoiseFrame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(Cow::Borrowed(self.payload())).serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for NoiseFrame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(|Bytes(bytes)| Self::from_bytes_unchecked(bytes))
    }
}
