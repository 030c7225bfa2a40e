//! What differs between a plain and an encrypted connection: how a frame is sealed and opened.

use framing_sv2::Header;

use crate::decoder::DecodeError;
use crate::encoder::EncodeError;
#[cfg(feature = "noise_sv2")]
pub use noise::{MaybeNoise, MaybeOpener, MaybeSealer};

/// How frames are sealed on their way out.
pub trait Seal {
    /// Length in bytes of a header on the wire.
    fn header_len(&self) -> usize;

    /// Length in bytes on the wire of a payload of `payload_len` bytes.
    fn payload_len(&self, payload_len: usize) -> usize;

    /// Seals a frame in place: header in the first 6 bytes, payload from [`Seal::header_len`] on,
    /// room for whatever the layer adds at the end.
    ///
    /// # Errors
    /// [`EncodeError`]: the connection cannot be used any more.
    fn seal(&mut self, frame: &mut [u8]) -> Result<(), EncodeError>;
}

/// How frames are opened when they arrive.
pub trait Open {
    /// Length in bytes of a header on the wire.
    fn header_len(&self) -> usize;

    /// Length in bytes on the wire of a payload of `payload_len` bytes.
    fn payload_len(&self, payload_len: usize) -> usize;

    /// Opens a header of [`Open::header_len`] bytes in place; shorter input is an error.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection cannot be used any more.
    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, DecodeError>;

    /// Opens a whole payload in place; afterwards it stands at the start of `sealed`.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection cannot be used any more.
    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), DecodeError>;
}

/// No encryption: frames travel as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Seal for Plain {
    fn header_len(&self) -> usize {
        Header::LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        payload_len
    }

    fn seal(&mut self, _frame: &mut [u8]) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl Open for Plain {
    fn header_len(&self) -> usize {
        Header::LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        payload_len
    }

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, DecodeError> {
        let header = sealed.first_chunk().ok_or(DecodeError::HeaderCutShort)?;
        Ok(Header::from_bytes(*header))
    }

    fn open_payload(&mut self, _sealed: &mut [u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

#[cfg(feature = "noise_sv2")]
mod noise;
