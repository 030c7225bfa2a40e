//! Frames: a header with its payload, or bytes that only the Noise layer understands.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use binary_sv2::{Encodable, Message};

use crate::{FrameError, Header};

/// A unit of what travels over a connection, borrowed from a buffer or owned.
pub trait Frame<'a>: Sized {
    /// The header, where the frame has one that can be read.
    fn header(&self) -> Option<Header>;

    /// Everything behind the header, TLV fields included.
    fn payload(&self) -> &[u8];

    /// Number of bytes that [`Frame::serialize`] writes.
    fn encoded_len(&self) -> usize;

    /// Writes the frame at the start of `buffer` and gives the number of bytes written.
    ///
    /// # Errors
    /// [`FrameError::BufferTooShort`] when `buffer` is shorter than [`Frame::encoded_len`].
    fn serialize(&self, buffer: &mut [u8]) -> Result<usize, FrameError>;

    /// The frame that `bytes` are, no more and no less.
    ///
    /// # Errors
    /// [`FrameError::MissingBytes`] or [`FrameError::ExcessBytes`].
    fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, FrameError>;

    /// The frame that `bytes` are said to be: for bytes whose length was checked before.
    ///
    /// Where they do not have the length of their frame, the payload is what is there.
    fn from_bytes_unchecked(bytes: impl Into<Cow<'a, [u8]>>) -> Self;

    /// The frame of a message, with its number, extension and channel bit.
    ///
    /// # Errors
    /// [`FrameError::PayloadTooLong`] for a message that no frame can hold; [`FrameError::Opaque`]
    /// where frames carry no messages.
    fn from_message<T: Message>(message: &T) -> Result<Self, FrameError>;

    /// The frame's bytes in a vector of their own.
    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_len()];
        let written = self.serialize(&mut bytes);
        debug_assert_eq!(
            written,
            Ok(bytes.len()),
            "encoded_len and serialize disagree"
        );
        bytes
    }
}

fn put<'b>(buffer: &'b mut [u8], bytes: &[u8]) -> Result<&'b mut [u8], FrameError> {
    let available = buffer.len();
    let (target, rest) =
        buffer
            .split_at_mut_checked(bytes.len())
            .ok_or(FrameError::BufferTooShort {
                needed: bytes.len(),
                available,
            })?;
    target.copy_from_slice(bytes);
    Ok(rest)
}

/// The frame of a message: header and payload in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sv2Frame<'a> {
    header: Header,
    payload: Cow<'a, [u8]>,
}

impl<'a> Sv2Frame<'a> {
    /// The frame of a payload, whose length the header takes on.
    ///
    /// # Errors
    /// [`FrameError::PayloadTooLong`].
    pub fn new(
        extension_type: u16,
        msg_type: u8,
        payload: impl Into<Cow<'a, [u8]>>,
    ) -> Result<Self, FrameError> {
        let payload = payload.into();
        let header = Header::new(extension_type, msg_type, payload.len())?;
        Ok(Self { header, payload })
    }

    /// The frame of a header and its payload: for a length that was checked before.
    ///
    /// Where `payload` does not have the length that the header announces, both stay as they are.
    pub fn from_parts_unchecked(header: Header, payload: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            header,
            payload: payload.into(),
        }
    }

    /// The header.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// Everything behind the header, TLV fields included.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Header and payload apart.
    pub fn into_parts(self) -> (Header, Cow<'a, [u8]>) {
        (self.header, self.payload)
    }

    /// The same frame, owning what it borrowed.
    pub fn into_owned(self) -> Sv2Frame<'static> {
        Sv2Frame {
            header: self.header,
            payload: Cow::Owned(self.payload.into_owned()),
        }
    }
}

impl<'a> Frame<'a> for Sv2Frame<'a> {
    fn header(&self) -> Option<Header> {
        Some(self.header)
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn encoded_len(&self) -> usize {
        Header::LEN + self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) -> Result<usize, FrameError> {
        let (needed, available) = (self.encoded_len(), buffer.len());
        if available < needed {
            return Err(FrameError::BufferTooShort { needed, available });
        }
        let rest = put(buffer, &self.header.to_bytes())?;
        put(rest, &self.payload)?;
        Ok(needed)
    }

    fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, FrameError> {
        let bytes = bytes.into();
        let Some(header) = bytes.first_chunk() else {
            return Err(FrameError::MissingBytes {
                missing: Header::LEN - bytes.len(),
            });
        };
        let len = Header::LEN + Header::from_bytes(*header).payload_len();
        if bytes.len() < len {
            return Err(FrameError::MissingBytes {
                missing: len - bytes.len(),
            });
        }
        if bytes.len() > len {
            return Err(FrameError::ExcessBytes {
                excess: bytes.len() - len,
            });
        }
        Ok(Self::from_bytes_unchecked(bytes))
    }

    fn from_bytes_unchecked(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        let split = bytes.len().min(Header::LEN);
        let mut header = [0; Header::LEN];
        header[..split].copy_from_slice(&bytes[..split]);
        let payload = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[split..]),
            Cow::Owned(mut bytes) => {
                bytes.drain(..split);
                Cow::Owned(bytes)
            }
        };
        Self {
            header: Header::from_bytes(header),
            payload,
        }
    }

    fn from_message<T: Message>(message: &T) -> Result<Self, FrameError> {
        let header = Header::for_message(&T::KIND, message.encoded_len())?;
        Ok(Self {
            header,
            payload: Cow::Owned(Encodable::to_vec(message)),
        })
    }
}

/// Bytes that only the Noise layer understands: a handshake message or a sealed frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseFrame<'a> {
    bytes: Cow<'a, [u8]>,
}

impl NoiseFrame<'_> {
    /// The same frame, owning what it borrowed.
    pub fn into_owned(self) -> NoiseFrame<'static> {
        NoiseFrame {
            bytes: Cow::Owned(self.bytes.into_owned()),
        }
    }
}

impl<'a> Frame<'a> for NoiseFrame<'a> {
    /// None: a sealed header cannot be read, and a handshake message has none.
    fn header(&self) -> Option<Header> {
        None
    }

    fn payload(&self) -> &[u8] {
        &self.bytes
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) -> Result<usize, FrameError> {
        put(buffer, &self.bytes)?;
        Ok(self.bytes.len())
    }

    fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, FrameError> {
        Ok(Self::from_bytes_unchecked(bytes))
    }

    fn from_bytes_unchecked(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
        }
    }

    /// Always [`FrameError::Opaque`]: a message is sealed by the codec, not by the frame.
    fn from_message<T: Message>(_message: &T) -> Result<Self, FrameError> {
        Err(FrameError::Opaque)
    }
}

/// Either kind of frame, for code that handles a connection before and after its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EitherFrame<'a> {
    /// Bytes of the Noise layer.
    Noise(NoiseFrame<'a>),
    /// A message's frame.
    Sv2(Sv2Frame<'a>),
}

impl EitherFrame<'_> {
    /// Number of bytes that [`EitherFrame::serialize`] writes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Noise(frame) => frame.encoded_len(),
            Self::Sv2(frame) => frame.encoded_len(),
        }
    }

    /// Writes the frame at the start of `buffer` and gives the number of bytes written.
    ///
    /// # Errors
    /// As [`Frame::serialize`].
    pub fn serialize(&self, buffer: &mut [u8]) -> Result<usize, FrameError> {
        match self {
            Self::Noise(frame) => frame.serialize(buffer),
            Self::Sv2(frame) => frame.serialize(buffer),
        }
    }

    /// The same frame, owning what it borrowed.
    pub fn into_owned(self) -> EitherFrame<'static> {
        match self {
            Self::Noise(frame) => EitherFrame::Noise(frame.into_owned()),
            Self::Sv2(frame) => EitherFrame::Sv2(frame.into_owned()),
        }
    }
}

impl<'a> From<NoiseFrame<'a>> for EitherFrame<'a> {
    fn from(frame: NoiseFrame<'a>) -> Self {
        Self::Noise(frame)
    }
}

impl<'a> From<Sv2Frame<'a>> for EitherFrame<'a> {
    fn from(frame: Sv2Frame<'a>) -> Self {
        Self::Sv2(frame)
    }
}

#[cfg(test)]
mod tests {
    use binary_sv2::{BufferTooShort, Writer};
    use const_sv2::MessageKind;
    use proptest::prelude::*;

    use super::*;

    struct Greeting(u32);

    impl Encodable for Greeting {
        fn encoded_len(&self) -> usize {
            4
        }

        fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
            writer.put(&self.0.to_le_bytes())
        }
    }

    impl Message for Greeting {
        const KIND: MessageKind = const_sv2::mining::SET_TARGET;
    }

    #[test]
    fn a_message_becomes_a_frame() {
        let frame = Sv2Frame::from_message(&Greeting(0x0102_0304)).unwrap();
        assert_eq!(frame.to_vec(), [0x00, 0x80, 0x21, 4, 0, 0, 4, 3, 2, 1]);
        assert_eq!(Sv2Frame::from_bytes(&frame.to_vec()[..]).unwrap(), frame);
        assert_eq!(
            NoiseFrame::from_message(&Greeting(0)),
            Err(FrameError::Opaque)
        );
    }

    #[test]
    fn unchecked_bytes_of_any_length_are_a_frame() {
        let frame = Sv2Frame::from_bytes_unchecked(&[1, 2][..]);
        assert_eq!(
            (frame.header().extension_type(), frame.payload()),
            (0x0201, &[][..])
        );
        let frame = Sv2Frame::from_bytes_unchecked(vec![0, 0, 0, 9, 0, 0, 5]);
        assert_eq!(
            (frame.header().payload_len(), frame.payload()),
            (9, &[5][..])
        );
    }

    proptest! {
        #[test]
        fn frames_round_trip_and_other_lengths_are_refused(
            extension_type: u16,
            msg_type: u8,
            payload in prop::collection::vec(any::<u8>(), 0..300),
            cut: prop::sample::Index,
        ) {
            let frame = Sv2Frame::new(extension_type, msg_type, &payload[..]).unwrap();
            let mut bytes = frame.to_vec();
            prop_assert_eq!(&Sv2Frame::from_bytes(bytes.clone()).unwrap(), &frame);

            let len = cut.index(bytes.len());
            let missing = if len < Header::LEN { Header::LEN } else { bytes.len() } - len;
            prop_assert_eq!(
                Sv2Frame::from_bytes(&bytes[..len]),
                Err(FrameError::MissingBytes { missing })
            );
            let needed = bytes.len();
            prop_assert_eq!(
                EitherFrame::from(frame.clone()).serialize(&mut vec![0; len]),
                Err(FrameError::BufferTooShort { needed, available: len })
            );

            let noise = NoiseFrame::from_bytes(&bytes[..]).unwrap();
            prop_assert_eq!(noise.to_vec(), &bytes[..]);
            prop_assert_eq!(EitherFrame::from(noise.clone()).into_owned(), noise.clone().into());

            bytes.push(0);
            prop_assert_eq!(
                Sv2Frame::from_bytes(bytes),
                Err(FrameError::ExcessBytes { excess: 1 })
            );
        }
    }
}
