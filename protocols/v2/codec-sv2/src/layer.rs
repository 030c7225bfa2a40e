//! What differs between a plain and an encrypted connection: how a frame is sealed and opened.

use framing_sv2::Header;
use noise_sv2::{
    AeadCipher, CipherError, DefaultCipher, Opener, SEALED_HEADER_LEN, Sealer, sealed_payload_len,
};

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
    /// [`CipherError`]: the connection cannot be used any more.
    fn seal(&mut self, frame: &mut [u8]) -> Result<(), CipherError>;
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
    /// [`CipherError`]: the connection cannot be used any more.
    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, CipherError>;

    /// Opens a whole payload in place; afterwards it stands at the start of `sealed`.
    ///
    /// # Errors
    /// [`CipherError`]: the connection cannot be used any more.
    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), CipherError>;
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

    fn seal(&mut self, _frame: &mut [u8]) -> Result<(), CipherError> {
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

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, CipherError> {
        let header = sealed.first_chunk().ok_or(CipherError::BufferLength)?;
        Ok(Header::from_bytes(*header))
    }

    fn open_payload(&mut self, _sealed: &mut [u8]) -> Result<(), CipherError> {
        Ok(())
    }
}

impl<C: AeadCipher> Seal for Sealer<C> {
    fn header_len(&self) -> usize {
        SEALED_HEADER_LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        sealed_payload_len(payload_len)
    }

    fn seal(&mut self, frame: &mut [u8]) -> Result<(), CipherError> {
        self.seal_frame(frame)
    }
}

impl<C: AeadCipher> Open for Opener<C> {
    fn header_len(&self) -> usize {
        SEALED_HEADER_LEN
    }

    fn payload_len(&self, payload_len: usize) -> usize {
        sealed_payload_len(payload_len)
    }

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, CipherError> {
        let sealed = sealed.first_chunk_mut().ok_or(CipherError::BufferLength)?;
        Ok(Header::from_bytes(Opener::open_header(self, sealed)?))
    }

    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), CipherError> {
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

    fn seal(&mut self, frame: &mut [u8]) -> Result<(), CipherError> {
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

    fn open_header(&mut self, sealed: &mut [u8]) -> Result<Header, CipherError> {
        delegate!(self, layer => layer.open_header(sealed))
    }

    fn open_payload(&mut self, sealed: &mut [u8]) -> Result<(), CipherError> {
        delegate!(self, layer => layer.open_payload(sealed))
    }
}

/// The sending side of a connection that may be encrypted.
pub type MaybeSealer<C = DefaultCipher> = MaybeNoise<Sealer<C>>;

/// The receiving side of a connection that may be encrypted.
pub type MaybeOpener<C = DefaultCipher> = MaybeNoise<Opener<C>>;
