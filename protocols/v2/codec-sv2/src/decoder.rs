//! Bytes in, frames out.

use buffer_sv2::{Buffer, BufferPool, DefaultPool, OutOfMemory};
use framing_sv2::{Header, Sv2Frame};
#[cfg(feature = "noise_sv2")]
use noise_sv2::{CipherError, DefaultCipher, Opener};

#[cfg(feature = "noise_sv2")]
use crate::layer::MaybeOpener;
use crate::layer::{Open, Plain};

/// Bytes of memory a decoder takes for a read when nothing longer is announced.
///
/// About a hundred share submissions: more seldom wait on one connection.
pub const READ_LEN: usize = 8 * 1024;

/// Longest payload in bytes that a decoder accepts unless told otherwise.
///
/// All transactions of a block fit. A longer one ends the connection with
/// [`DecodeError::PayloadTooLong`] before memory is taken for it; servers that expect only short
/// messages set a lower limit.
pub const DEFAULT_MAX_PAYLOAD_LEN: usize = 4 * 1024 * 1024;

/// Why a stream of bytes is given up; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A header announces more than the decoder accepts.
    #[error("message {msg_type:#04x} announces {len} bytes of payload, {max} are accepted")]
    PayloadTooLong {
        /// Number of the message within its extension.
        msg_type: u8,
        /// Bytes announced.
        len: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// Fewer bytes than a header has.
    #[error("the header is cut short")]
    HeaderCutShort,
    /// A frame cannot be decrypted.
    #[cfg(feature = "noise_sv2")]
    #[error("the frame cannot be decrypted: {0}")]
    Cipher(#[from] CipherError),
}

/// What a decoder has for its caller.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The next frame, in the decoder's own memory.
    Frame(Sv2Frame<'a>),
    /// Read on: at least this many bytes are missing until there is more to say.
    Missing(usize),
}

/// A decoder of frames in the clear.
pub type StandardSv2Decoder<P = DefaultPool> = FrameDecoder<Plain, P>;

/// A decoder of frames sealed by Noise.
#[cfg(feature = "noise_sv2")]
pub type StandardNoiseDecoder<P = DefaultPool, C = DefaultCipher> = FrameDecoder<Opener<C>, P>;

/// A decoder for a connection whose configuration says whether it is encrypted.
#[cfg(feature = "noise_sv2")]
pub type ConnectionDecoder<P = DefaultPool, C = DefaultCipher> = FrameDecoder<MaybeOpener<C>, P>;

/// Turns bytes, split in any way, into frames.
///
/// Read into [`FrameDecoder::writable`], report with [`FrameDecoder::advance`] how much came, then
/// take [`FrameDecoder::next_frame`] until bytes are missing. Frames are opened where they lie, and
/// many may arrive in one read. While no byte waits the decoder holds no memory. It never holds more
/// than twice what has arrived or [`READ_LEN`], whichever is more, rounded up to the buffers of its
/// pool; what a frame merely announces takes none.
///
/// After an error the decoder repeats it for ever: the stream has lost its frames.
pub struct FrameDecoder<L, P: BufferPool = DefaultPool> {
    layer: L,
    buffer: Buffer<P>,
    max_payload_len: usize,
    // Bytes at the front of the buffer that hold the frame given out last.
    given_out: usize,
    // The header whose payload is awaited; its bytes are consumed.
    awaited: Option<Header>,
    failed: Option<DecodeError>,
}

impl<P: BufferPool + Default> StandardSv2Decoder<P> {
    /// A decoder with the default pool and limit.
    pub fn plain() -> Self {
        Self::new(Plain, P::default(), DEFAULT_MAX_PAYLOAD_LEN)
    }
}

impl<L: Open, P: BufferPool> FrameDecoder<L, P> {
    /// A decoder of what `layer` opens, with memory from `pool`, refusing payloads of more than
    /// `max_payload_len` bytes.
    pub const fn new(layer: L, pool: P, max_payload_len: usize) -> Self {
        Self {
            layer,
            buffer: Buffer::new(pool),
            max_payload_len,
            given_out: 0,
            awaited: None,
            failed: None,
        }
    }

    /// Changes the longest payload accepted, from the next header on.
    pub const fn set_max_payload_len(&mut self, max_payload_len: usize) {
        self.max_payload_len = max_payload_len;
    }

    /// Bytes of memory held at the moment.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether the stream may end here: no part of a frame has arrived.
    pub const fn is_between_frames(&self) -> bool {
        self.awaited.is_none() && self.buffer.len() == self.given_out
    }

    /// Memory to read into, of unspecified contents; report with [`FrameDecoder::advance`] what came.
    ///
    /// Empty only when a whole frame waits and no room is left, or after an error: take the frames
    /// first.
    pub fn writable(&mut self) -> &mut [u8] {
        if let Some(len) = self.wanted_room() {
            self.buffer.reserve(len);
        }
        self.room()
    }

    /// As [`FrameDecoder::writable`], with memory that the pool may refuse.
    ///
    /// # Errors
    /// [`OutOfMemory`], with the decoder as it was: it may be tried again.
    pub fn try_writable(&mut self) -> Result<&mut [u8], OutOfMemory> {
        if let Some(len) = self.wanted_room() {
            self.buffer.try_reserve(len)?;
        }
        Ok(self.room())
    }

    // Bytes of room that the next read should have; none to ask for while a whole frame waits.
    fn wanted_room(&mut self) -> Option<usize> {
        self.drop_given_out();
        let missing = self.missing();
        if self.failed.is_some() || missing == 0 {
            return None;
        }
        // An announced length is only believed as far as bytes have come to back it.
        let least = READ_LEN.saturating_sub(self.buffer.len());
        Some(missing.clamp(least, least.max(self.buffer.len())))
    }

    fn room(&mut self) -> &mut [u8] {
        if self.failed.is_some() {
            return &mut [];
        }
        self.buffer.spare_mut()
    }

    /// Says that `len` bytes were read into [`FrameDecoder::writable`]; 0 hands unused memory back.
    pub fn advance(&mut self, len: usize) {
        self.buffer.advance(len);
        self.buffer.release();
    }

    /// Copies as much of `bytes` as there is room for and gives the number of bytes taken: for
    /// callers that already have the bytes.
    ///
    /// At least one is taken unless a whole frame waits or the decoder has failed.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let taken = copy(bytes, self.writable());
        self.advance(taken);
        taken
    }

    /// As [`FrameDecoder::feed`], with memory that the pool may refuse.
    ///
    /// # Errors
    /// [`OutOfMemory`]: nothing was taken, and it may be tried again.
    pub fn try_feed(&mut self, bytes: &[u8]) -> Result<usize, OutOfMemory> {
        let taken = copy(bytes, self.try_writable()?);
        self.advance(taken);
        Ok(taken)
    }

    /// Why the stream was given up, if it was.
    pub const fn error(&self) -> Option<DecodeError> {
        self.failed
    }

    /// The next frame, or how many bytes are missing. The frame lies in the decoder's memory until
    /// the next call.
    ///
    /// # Errors
    /// [`DecodeError`], again on every further call: close the connection.
    pub fn next_frame(&mut self) -> Result<Decoded<'_>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.drop_given_out();
        match self.open_next() {
            Ok(None) => {
                self.buffer.release();
                Ok(Decoded::Missing(self.missing()))
            }
            Ok(Some(header)) => {
                let payload = &self.buffer.filled()[..header.payload_len()];
                Ok(Decoded::Frame(Sv2Frame::from_parts_unchecked(
                    header, payload,
                )))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fail(&mut self, error: DecodeError) -> DecodeError {
        self.failed = Some(error);
        self.buffer.consume(usize::MAX);
        self.buffer.release();
        error
    }

    fn drop_given_out(&mut self) {
        self.buffer.consume(core::mem::take(&mut self.given_out));
    }

    fn missing(&self) -> usize {
        let wanted = match self.awaited {
            Some(header) => self.layer.payload_len(header.payload_len()),
            None => self.layer.header_len(),
        };
        wanted.saturating_sub(self.buffer.len())
    }

    // Opens header and payload as far as they have arrived; the header of a frame that is complete.
    fn open_next(&mut self) -> Result<Option<Header>, DecodeError> {
        if self.awaited.is_none() {
            self.awaited = self.open_header()?;
        }
        let Some(header) = self.awaited else {
            return Ok(None);
        };
        let sealed_len = self.layer.payload_len(header.payload_len());
        let Some(sealed) = self.buffer.filled_mut().get_mut(..sealed_len) else {
            return Ok(None);
        };
        self.layer.open_payload(sealed)?;
        self.awaited = None;
        self.given_out = sealed_len;
        Ok(Some(header))
    }

    fn open_header(&mut self) -> Result<Option<Header>, DecodeError> {
        let header_len = self.layer.header_len();
        let Some(sealed) = self.buffer.filled_mut().get_mut(..header_len) else {
            return Ok(None);
        };
        let header = self.layer.open_header(sealed)?;
        let (len, max) = (header.payload_len(), self.max_payload_len);
        if len > max {
            return Err(DecodeError::PayloadTooLong {
                msg_type: header.msg_type(),
                len,
                max,
            });
        }
        self.buffer.consume(header_len);
        Ok(Some(header))
    }
}

fn copy(bytes: &[u8], room: &mut [u8]) -> usize {
    let len = bytes.len().min(room.len());
    room[..len].copy_from_slice(&bytes[..len]);
    len
}
