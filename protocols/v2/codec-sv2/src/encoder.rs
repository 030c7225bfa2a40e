//! Messages in, bytes out.

use binary_sv2::{BufferTooShort, Encodable, Message};
use buffer_sv2::Append;
use const_sv2::MessageKind;
use framing_sv2::{FrameError, Header, Sv2Frame};
#[cfg(feature = "noise_sv2")]
use noise_sv2::{CipherError, DefaultCipher, Sealer};

#[cfg(feature = "noise_sv2")]
use crate::layer::MaybeSealer;
use crate::layer::{Plain, Seal};

/// Why a message was not written. Nothing of it is left in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload is longer than a header can announce.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The message wrote more than the length it stated.
    #[error("the message is longer than it stated: {0}")]
    Length(#[from] BufferTooShort),
    /// The frame cannot be encrypted; close the connection.
    #[cfg(feature = "noise_sv2")]
    #[error("the frame cannot be encrypted: {0}")]
    Cipher(#[from] CipherError),
}

/// An encoder of frames in the clear.
pub type Encoder = FrameEncoder<Plain>;

/// An encoder of frames sealed by Noise.
#[cfg(feature = "noise_sv2")]
pub type NoiseEncoder<C = DefaultCipher> = FrameEncoder<Sealer<C>>;

/// An encoder for a connection whose configuration says whether it is encrypted.
#[cfg(feature = "noise_sv2")]
pub type ConnectionEncoder<C = DefaultCipher> = FrameEncoder<MaybeSealer<C>>;

/// Appends frames to an output, each encoded and sealed where it will be sent from.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameEncoder<L> {
    layer: L,
}

impl<L: Seal> FrameEncoder<L> {
    /// An encoder of frames that `layer` seals.
    pub const fn new(layer: L) -> Self {
        Self { layer }
    }

    /// Number of bytes that a payload of `payload_len` bytes becomes, header included.
    pub fn frame_len(&self, payload_len: usize) -> usize {
        self.layer
            .header_len()
            .saturating_add(self.layer.payload_len(payload_len))
    }

    /// Appends a message.
    ///
    /// # Errors
    /// [`EncodeError`], with `out` as it was.
    #[inline]
    pub fn encode<T: Message>(
        &mut self,
        message: &T,
        out: &mut impl Append,
    ) -> Result<(), EncodeError> {
        self.encode_as(&T::KIND, message, &[], out)
    }

    /// Appends a message followed by TLV fields that are already encoded.
    ///
    /// # Errors
    /// [`EncodeError`], with `out` as it was.
    #[inline]
    pub fn encode_with_tlv<T: Message>(
        &mut self,
        message: &T,
        tlv: &[u8],
        out: &mut impl Append,
    ) -> Result<(), EncodeError> {
        self.encode_as(&T::KIND, message, tlv, out)
    }

    /// Appends a message whose kind is known at run time only, such as the enum of a sub-protocol,
    /// followed by TLV fields.
    ///
    /// # Errors
    /// [`EncodeError`], with `out` as it was.
    #[inline]
    pub fn encode_as(
        &mut self,
        kind: &MessageKind,
        fields: &impl Encodable,
        tlv: &[u8],
        out: &mut impl Append,
    ) -> Result<(), EncodeError> {
        let fields_len = fields.encoded_len();
        let header = Header::for_message(kind, fields_len.saturating_add(tlv.len()))?;
        self.encode_with(header, out, |payload| {
            let (to_fields, to_tlv) = payload.split_at_mut(fields_len);
            to_tlv.copy_from_slice(tlv);
            let written = fields.encode_to_slice(to_fields)?;
            debug_assert_eq!(written, fields_len, "encoded_len and encode disagree");
            Ok(())
        })
    }

    /// Appends a payload that is already encoded.
    ///
    /// # Errors
    /// [`EncodeError`], with `out` as it was.
    pub fn encode_raw(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        out: &mut impl Append,
    ) -> Result<(), EncodeError> {
        let header = Header::new(extension_type, msg_type, payload.len())?;
        self.encode_with(header, out, |place| {
            place.copy_from_slice(payload);
            Ok(())
        })
    }

    /// Appends a frame as it is, for relays.
    ///
    /// # Errors
    /// [`EncodeError`], with `out` as it was.
    pub fn encode_frame(
        &mut self,
        frame: &Sv2Frame<'_>,
        out: &mut impl Append,
    ) -> Result<(), EncodeError> {
        let header = frame.header();
        self.encode_raw(
            header.extension_type(),
            header.msg_type(),
            frame.payload(),
            out,
        )
    }

    /// Appends a frame whose payload `fill` writes: it gets exactly the bytes the header announces,
    /// of unspecified contents, and must write all of them.
    ///
    /// # Errors
    /// What `fill` reports, or what the layer does; `out` is then as it was.
    #[inline]
    pub fn encode_with(
        &mut self,
        header: Header,
        out: &mut impl Append,
        fill: impl FnOnce(&mut [u8]) -> Result<(), BufferTooShort>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let frame = out.append(self.frame_len(header.payload_len()));
        let written = self.write_frame(header, frame, fill);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    #[inline]
    fn write_frame(
        &mut self,
        header: Header,
        frame: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> Result<(), BufferTooShort>,
    ) -> Result<(), EncodeError> {
        let (to_header, sealed_payload) = frame.split_at_mut(self.layer.header_len());
        to_header[..Header::LEN].copy_from_slice(&header.to_bytes());
        fill(&mut sealed_payload[..header.payload_len()])?;
        self.layer.seal(frame)
    }
}
