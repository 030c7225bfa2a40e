//! The traits that every type on the wire has.

use alloc::vec;
use alloc::vec::Vec;

use crate::{BufferTooShort, DecodeError, Reader, Writer};

/// A type that can be written to the wire.
pub trait Encodable {
    /// Number of bytes that [`Encodable::encode`] writes.
    fn encoded_len(&self) -> usize;

    /// Writes the value.
    ///
    /// # Errors
    /// [`BufferTooShort`] when the writer has less than [`Encodable::encoded_len`] bytes left.
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort>;

    /// Writes the value at the start of `buffer` and gives the number of bytes written.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `buffer` is shorter than [`Encodable::encoded_len`].
    fn encode_to_slice(&self, buffer: &mut [u8]) -> Result<usize, BufferTooShort> {
        let mut writer = Writer::new(buffer);
        self.encode(&mut writer)?;
        Ok(writer.written())
    }

    /// The value's bytes in a vector of their own.
    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_len()];
        let written = self.encode_to_slice(&mut bytes);
        debug_assert_eq!(written, Ok(bytes.len()), "encoded_len and encode disagree");
        bytes
    }
}

/// A type that can be read from the wire, borrowing from the payload where it can.
pub trait Decodable<'a>: Sized {
    /// Length in bytes when it is the same for every value.
    ///
    /// Sequences of such types are checked by one multiplication instead of a walk.
    const FIXED_LEN: Option<usize> = None;

    /// Reads the value and leaves the reader behind it.
    ///
    /// # Errors
    /// [`DecodeError`] naming the field when the bytes do not hold a value of this type.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Reads the value from the start of `bytes` and gives the bytes behind it, where TLV fields stand.
    ///
    /// # Errors
    /// As [`Decodable::decode`].
    fn decode_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        Ok((value, reader.rest()))
    }

    /// Reads the value from the start of `bytes`; bytes behind it are no error (specification 3.4.3).
    ///
    /// # Errors
    /// As [`Decodable::decode`].
    fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes))
    }
}

/// A type that can be cut loose from the payload it was decoded from.
pub trait IntoOwned {
    /// The same type without a borrow.
    type Owned: 'static;

    /// The same value, owning what it borrowed.
    fn into_owned(self) -> Self::Owned;
}

/// Sum of the lengths when all are fixed; what the derive of [`Decodable`] computes [`Decodable::FIXED_LEN`] with.
#[doc(hidden)]
pub const fn sum_of_fixed_lens(lens: &[Option<usize>]) -> Option<usize> {
    let mut sum = 0;
    let mut rest = lens;
    while let Some((first, others)) = rest.split_first() {
        match first {
            Some(len) => sum += *len,
            None => return None,
        }
        rest = others;
    }
    Some(sum)
}
