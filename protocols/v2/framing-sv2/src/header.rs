//! The six bytes before every payload.

use const_sv2::{CHANNEL_MSG_BIT, FRAME_HEADER_LEN, MAX_PAYLOAD_LEN, MessageKind};

use crate::FrameError;

/// What stands before a payload: `extension_type` `u16`, `msg_type` `u8`, `msg_length` `u24`, all
/// little-endian. Specification 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    extension_type: u16,
    msg_type: u8,
    payload_len: u32,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = FRAME_HEADER_LEN;

    /// The header of a payload of `payload_len` bytes; `extension_type` includes the channel bit.
    ///
    /// # Errors
    /// [`FrameError::PayloadTooLong`] above [`MAX_PAYLOAD_LEN`] bytes.
    pub const fn new(
        extension_type: u16,
        msg_type: u8,
        payload_len: usize,
    ) -> Result<Self, FrameError> {
        if payload_len > MAX_PAYLOAD_LEN {
            return Err(FrameError::PayloadTooLong { len: payload_len });
        }
        Ok(Self {
            extension_type,
            msg_type,
            payload_len: payload_len as u32,
        })
    }

    /// The header of a message of this kind whose payload, TLV fields included, has `payload_len`
    /// bytes.
    ///
    /// # Errors
    /// As [`Header::new`].
    pub const fn for_message(kind: &MessageKind, payload_len: usize) -> Result<Self, FrameError> {
        Self::new(kind.wire_extension_type(), kind.msg_type, payload_len)
    }

    /// The header in six bytes; every six bytes are one.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [e0, e1, msg_type, l0, l1, l2] = bytes;
        Self {
            extension_type: u16::from_le_bytes([e0, e1]),
            msg_type,
            payload_len: u32::from_le_bytes([l0, l1, l2, 0]),
        }
    }

    /// The six bytes on the wire.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [e0, e1] = self.extension_type.to_le_bytes();
        let [l0, l1, l2, _] = self.payload_len.to_le_bytes();
        [e0, e1, self.msg_type, l0, l1, l2]
    }

    /// The whole field, channel bit included.
    pub const fn extension_type(self) -> u16 {
        self.extension_type
    }

    /// The extension number: the field without the channel bit. 0 is the core protocol.
    pub const fn extension(self) -> u16 {
        self.extension_type & !CHANNEL_MSG_BIT
    }

    /// Whether the payload begins with a channel id (specification 3.2.1).
    ///
    /// The bit is the most significant one; the text of the specification once calls it the least.
    pub const fn is_channel_message(self) -> bool {
        self.extension_type & CHANNEL_MSG_BIT != 0
    }

    /// Number of the message within its extension.
    pub const fn msg_type(self) -> u8 {
        self.msg_type
    }

    /// Length of the payload in bytes before encryption, TLV fields included.
    pub const fn payload_len(self) -> usize {
        self.payload_len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_in_the_specification() {
        let header = Header::new(0x8abc, 0x15, 0x01_02_03).unwrap();
        assert_eq!(header.to_bytes(), [0xbc, 0x8a, 0x15, 3, 2, 1]);
        assert_eq!(Header::from_bytes(header.to_bytes()), header);
        assert_eq!(header.extension(), 0x0abc);
        assert!(header.is_channel_message());
        assert!(!Header::from_bytes([0xff, 0x7f, 0, 0, 0, 0]).is_channel_message());
    }

    #[test]
    fn the_length_field_has_24_bits() {
        assert_eq!(
            Header::new(0, 0, MAX_PAYLOAD_LEN).unwrap().payload_len(),
            0x00ff_ffff
        );
        assert_eq!(
            Header::new(0, 0, MAX_PAYLOAD_LEN + 1),
            Err(FrameError::PayloadTooLong {
                len: MAX_PAYLOAD_LEN + 1
            })
        );
    }

    #[test]
    fn a_message_brings_its_channel_bit() {
        let header = Header::for_message(&const_sv2::mining::NEW_MINING_JOB, 7).unwrap();
        assert_eq!(header.to_bytes(), [0x00, 0x80, 0x15, 7, 0, 0]);
    }
}
