//! Sealed frames: the header alone, then the payload in blocks. Specification 4.6.

pub use const_sv2::{
    ENCRYPTED_FRAME_HEADER_LEN as SEALED_HEADER_LEN, FRAME_HEADER_LEN as HEADER_LEN,
    NOISE_BLOCK_CIPHERTEXT_LEN as SEALED_BLOCK_LEN, NOISE_BLOCK_PLAINTEXT_LEN as BLOCK_LEN,
};

use crate::cipher::{AeadCipher, CipherError, CipherState, DefaultCipher, TAG_LEN};

/// Length in bytes of a sealed payload of `payload_len` bytes: a tag more for each block begun.
pub const fn sealed_payload_len(payload_len: usize) -> usize {
    payload_len.saturating_add(payload_len.div_ceil(BLOCK_LEN).saturating_mul(TAG_LEN))
}

/// Length in bytes of the payload that fills `sealed_len` bytes when sealed, the inverse of
/// [`sealed_payload_len`]; `None` when no payload does.
pub const fn opened_payload_len(sealed_len: usize) -> Option<usize> {
    let last_block = sealed_len % SEALED_BLOCK_LEN;
    if last_block != 0 && last_block <= TAG_LEN {
        return None;
    }
    Some(sealed_len - sealed_len.div_ceil(SEALED_BLOCK_LEN) * TAG_LEN)
}

/// The two directions of an established connection. They are independent: take them apart to write
/// and to read in different places.
pub struct Transport<C = DefaultCipher> {
    /// What this side sends.
    pub sealer: Sealer<C>,
    /// What this side receives.
    pub opener: Opener<C>,
}

/// The sending direction: seals frames in the order they are written.
#[derive(Debug)]
pub struct Sealer<C = DefaultCipher> {
    state: CipherState<C>,
}

impl<C: AeadCipher> Sealer<C> {
    /// The sending direction under a cipher of its own.
    pub const fn new(state: CipherState<C>) -> Self {
        Self { state }
    }

    /// Seals a frame in place.
    ///
    /// `frame` is the header in the first 6 bytes, the payload from byte [`SEALED_HEADER_LEN`] on
    /// without gaps, and room for the tags at the end, so that its length is [`SEALED_HEADER_LEN`]
    /// plus [`sealed_payload_len`] of the payload. Afterwards all of it is ciphertext.
    ///
    /// # Errors
    /// [`CipherError::BufferLength`] when no frame has that length, with nothing sealed;
    /// [`CipherError::NonceExhausted`]: close the connection.
    pub fn seal_frame(&mut self, frame: &mut [u8]) -> Result<(), CipherError> {
        let Some((header, payload)) = frame.split_first_chunk_mut::<SEALED_HEADER_LEN>() else {
            return Err(CipherError::BufferLength);
        };
        let Some(len) = opened_payload_len(payload.len()) else {
            return Err(CipherError::BufferLength);
        };
        self.state.seal(&[], header)?;
        spread_blocks(payload, len);
        payload
            .chunks_mut(SEALED_BLOCK_LEN)
            .try_for_each(|block| self.state.seal(&[], block))
    }
}

/// The receiving direction: opens frames in the order they arrive.
#[derive(Debug)]
pub struct Opener<C = DefaultCipher> {
    state: CipherState<C>,
}

impl<C: AeadCipher> Opener<C> {
    /// The receiving direction under a cipher of its own.
    pub const fn new(state: CipherState<C>) -> Self {
        Self { state }
    }

    /// Opens a sealed header in place and gives the 6 bytes of it.
    ///
    /// # Errors
    /// [`CipherError`]: close the connection.
    pub fn open_header(
        &mut self,
        sealed: &mut [u8; SEALED_HEADER_LEN],
    ) -> Result<[u8; HEADER_LEN], CipherError> {
        self.state.open(&[], sealed)?;
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&sealed[..HEADER_LEN]);
        Ok(header)
    }

    /// Opens a whole sealed payload in place: afterwards `sealed` begins with the payload, whose
    /// length is returned.
    ///
    /// # Errors
    /// [`CipherError::BufferLength`] when no payload has that length sealed, with nothing opened;
    /// otherwise [`CipherError`]: close the connection, the contents of `sealed` are lost.
    pub fn open_payload(&mut self, sealed: &mut [u8]) -> Result<usize, CipherError> {
        let len = opened_payload_len(sealed.len()).ok_or(CipherError::BufferLength)?;
        sealed
            .chunks_mut(SEALED_BLOCK_LEN)
            .try_for_each(|block| self.state.open(&[], block))?;
        gather_blocks(sealed, len);
        Ok(len)
    }
}

// Moves the blocks of a payload of `len` bytes apart, leaving room for a tag after each. The last
// block moves first, so that none is overwritten.
fn spread_blocks(payload: &mut [u8], len: usize) {
    for block in (1..len.div_ceil(BLOCK_LEN)).rev() {
        let from = block * BLOCK_LEN;
        let to = block * SEALED_BLOCK_LEN;
        payload.copy_within(from..len.min(from + BLOCK_LEN), to);
    }
}

// The reverse of `spread_blocks`.
fn gather_blocks(payload: &mut [u8], len: usize) {
    for block in 1..len.div_ceil(BLOCK_LEN) {
        let to = block * BLOCK_LEN;
        let from = block * SEALED_BLOCK_LEN;
        payload.copy_within(from..from + BLOCK_LEN.min(len - to), to);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn lengths_are_inverse() {
        for len in (0..300_000).step_by(7).chain(BLOCK_LEN - 2..BLOCK_LEN + 3) {
            assert_eq!(opened_payload_len(sealed_payload_len(len)), Some(len));
        }
        for sealed in [1, 16, SEALED_BLOCK_LEN + 1, SEALED_BLOCK_LEN + 16] {
            assert_eq!(opened_payload_len(sealed), None);
        }
        assert_eq!(sealed_payload_len(usize::MAX), usize::MAX);
    }

    #[test]
    fn buffers_of_impossible_length_change_nothing() {
        let mut sealer = Sealer::<DefaultCipher>::new(CipherState::new(&[1; 32]));
        let mut opener = Opener::<DefaultCipher>::new(CipherState::new(&[1; 32]));
        for len in [0, 21, 23, 38] {
            assert_eq!(
                sealer.seal_frame(&mut vec![0; len]),
                Err(CipherError::BufferLength)
            );
        }
        assert_eq!(
            opener.open_payload(&mut [0; 16]),
            Err(CipherError::BufferLength)
        );
        assert_eq!((sealer.state.counter(), opener.state.counter()), (0, 0));
    }

    #[test]
    fn payloads_of_every_number_of_blocks_come_back() {
        let mut sealer = Sealer::<DefaultCipher>::new(CipherState::new(&[1; 32]));
        let mut opener = Opener::<DefaultCipher>::new(CipherState::new(&[1; 32]));
        for len in [
            0,
            1,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            3 * BLOCK_LEN,
            200_000,
        ] {
            let mut frame = vec![0; SEALED_HEADER_LEN + sealed_payload_len(len)];
            frame[..HEADER_LEN].copy_from_slice(b"header");
            for (i, byte) in frame[SEALED_HEADER_LEN..][..len].iter_mut().enumerate() {
                *byte = (i % 251) as u8;
            }
            sealer.seal_frame(&mut frame).unwrap();
            let (header, payload) = frame.split_first_chunk_mut().unwrap();
            assert_eq!(opener.open_header(header), Ok(*b"header"));
            assert_eq!(opener.open_payload(payload), Ok(len));
            assert!(
                payload[..len]
                    .iter()
                    .enumerate()
                    .all(|(i, byte)| *byte == (i % 251) as u8)
            );
        }
    }
}
