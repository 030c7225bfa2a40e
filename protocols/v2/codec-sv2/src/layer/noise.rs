//! Frames sealed by Noise, and connections that may be.

use framing_sv2::Header;
use noise_sv2::{
    AeadCipher, CipherError, DefaultCipher, Opener, SEALED_HEADER_LEN, Sealer, sealed_payload_len,
};

use crate::decoder::DecodeError;
use crate::encoder::EncodeError;
use crate::layer::{Open, Plain, Seal};

impl<C: AeadCipher> Seal for Sealer<C> {
    fn header_len(&self) -> usize {
        SEALED_HEADER_LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        sealed_payload_len(payload_len)
    }

    fn seal(&mut self, frame: &mut [u8]) -> Result<(), EncodeError> {
        Ok(self.seal_frame(frame)?)
    }
}

impl<C: AeadCipher> Open for Opener<C> {
    fn header_len(&self) -> usize {
        SEALED_HEADER_LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        sealed_payload_len(payload_len)
    }

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, DecodeError> {
        let sealed = sealed.first_chunk_mut().ok_or(CipherError::BufferLength)?;
        Ok(Header::from_bytes(Opener::open_header(self, sealed)?))
    }

    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), DecodeError> {
        Opener::open_payload(self, sealed)?;
        Ok(())
    }
}

/// A connection that is encrypted or not, as its configuration says at run time.
pub enum MaybeNoise<N> {
    /// Frames travel as they are.
    Plain(Plain),
    /// Frames are sealed by Noise.
    Noise(N),
}

impl<N> Default for MaybeNoise<N> {
    fn default() -> Self {
        Self::Plain(Plain)
    }
}

impl<C> From<Sealer<C>> for MaybeNoise<Sealer<C>> {
    fn from(sealer: Sealer<C>) -> Self {
        Self::Noise(sealer)
    }
}

impl<C> From<Opener<C>> for MaybeNoise<Opener<C>> {
    fn from(opener: Opener<C>) -> Self {
        Self::Noise(opener)
    }
}

macro_rules! delegate {
    ($self:ident, $layer:ident => $call:expr) => {
        match $self {
            Self::Plain($layer) => $call,
            Self::Noise($layer) => $call,
        }
    };
}

impl<N: Seal> Seal for MaybeNoise<N> {
    fn header_len(&self) -> usize {
        delegate!(self, layer => Seal::header_len(layer))
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        delegate!(self, layer => Seal::payload_len(layer, payload_len))
    }

    fn seal(&mut self, frame: &mut [u8]) -> Result<(), EncodeError> {
        delegate!(self, layer => layer.seal(frame))
    }
}

impl<N: Open> Open for MaybeNoise<N> {
    fn header_len(&self) -> usize {
        delegate!(self, layer => Open::header_len(layer))
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        delegate!(self, layer => Open::payload_len(layer, payload_len))
    }

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, DecodeError> {
        delegate!(self, layer => layer.open_header(sealed))
    }

    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), DecodeError> {
        delegate!(self, layer => layer.open_payload(sealed))
    }
}

/// The sending side of a connection that may be encrypted.
pub type MaybeSealer<C = DefaultCipher> = MaybeNoise<Sealer<C>>;

/// The receiving side of a connection that may be encrypted.
pub type MaybeOpener<C = DefaultCipher> = MaybeNoise<Opener<C>>;
