//! Writing a payload into memory that the caller owns.

use thiserror::Error;

/// The buffer handed to a [`Writer`] cannot hold the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the buffer is too short: {needed} bytes needed, {available} left")]
pub struct BufferTooShort {
    /// Bytes that the value needs from where it starts.
    pub needed: usize,
    /// Bytes left in the buffer.
    pub available: usize,
}

/// A buffer and how far it has been written.
#[derive(Debug)]
pub struct Writer<'b> {
    rest: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    /// A writer at the start of `buffer`.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            len: buffer.len(),
            rest: buffer,
        }
    }

    /// Number of bytes written so far.
    pub const fn written(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// [`BufferTooShort`] when they do not fit; nothing is written then.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooShort> {
        if bytes.len() > self.rest.len() {
            return Err(self.too_short(bytes.len()));
        }
        let (target, rest) = core::mem::take(&mut self.rest).split_at_mut(bytes.len());
        target.copy_from_slice(bytes);
        self.rest = rest;
        Ok(())
    }

    #[cold]
    fn too_short(&self, needed: usize) -> BufferTooShort {
        BufferTooShort {
            needed,
            available: self.rest.len(),
        }
    }

    /// Writes the low `PREFIX` bytes of a length or count, little-endian.
    #[inline]
    pub(crate) fn put_prefix<const PREFIX: usize>(
        &mut self,
        length: usize,
    ) -> Result<(), BufferTooShort> {
        let bytes = length.to_le_bytes();
        self.put(bytes.get(..PREFIX).unwrap_or(&bytes))
    }
}
