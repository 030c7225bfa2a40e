//! Bytes and sequences that belong to somebody else.

use core::ops::Range;

use binary_sv2::{B016M, Decodable as _, Reader};
use const_sv2::MAX_PAYLOAD_LEN;

use crate::boundary::boundary;
use crate::pointer::{Out, addresses, apart, bytes, check_bytes, objects, reference};
use crate::result::{
    Fault, SV2_BAD_LENGTH, SV2_BAD_SEQUENCE, SV2_END, SV2_FIELD_TOO_LONG, SV2_MESSAGE_TOO_LONG,
    sv2_result,
};

/// Bytes that belong to somebody else: in a decoded message to the payload it was decoded from, in a message to encode to the caller.
///
/// No zero byte stands at the end, not even behind text. Where `len` is 0, `data` may be NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_bytes {
    /// The first byte.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// A number that may be absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_option_u32 {
    /// 0 when the number is absent.
    pub is_present: u8,
    /// The number; 0 in a decoded message and unused in one to encode where it is absent.
    pub value: u32,
}

/// A sequence of 32-byte values, one behind the other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_u256_seq {
    /// The first byte of the first value; may be NULL where `count` is 0.
    pub data: *const u8,
    /// Number of values, each of 32 bytes.
    pub count: usize,
}

/// A sequence of numbers.
///
/// A decoded one has `encoded`, its bytes in the payload, and `items` NULL. To encode, fill `items` and `count`; or leave `items` NULL to pass
/// on a decoded sequence. Read either with `sv2_u32_seq_at`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_u32_seq {
    /// The numbers as on the wire, four bytes each, little-endian, unaligned.
    pub encoded: *const u8,
    /// The numbers as an array, or NULL.
    pub items: *const u32,
    /// Number of elements.
    pub count: usize,
}

/// A sequence of byte strings of up to 16 777 215 bytes each, such as transactions.
///
/// A decoded one has `encoded`, its bytes in the payload, and `items` NULL: take its elements with `sv2_b016m_seq_next`. To encode, fill
/// `items` and `count`; or leave `items` NULL to pass on a decoded sequence.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_b016m_seq {
    /// The elements as on the wire, each behind its length of three bytes, little-endian.
    pub encoded: *const u8,
    /// Number of bytes at `encoded`.
    pub encoded_len: usize,
    /// The elements as an array, or NULL.
    pub items: *const sv2_bytes,
    /// Number of elements.
    pub count: usize,
}

/// Longest element of a `sv2_b016m_seq` in bytes.
const MAX_ELEMENT_LEN: usize = B016M::MAX_LEN;

impl sv2_bytes {
    /// What C is shown of bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    pub(crate) fn addresses(&self) -> Range<usize> {
        addresses(self.data, self.len)
    }

    pub(crate) fn check(&self, max_len: usize) -> Result<(), Fault> {
        check_bytes(self.data, self.len)?;
        if self.len > max_len {
            return Err(Fault(SV2_FIELD_TOO_LONG));
        }
        Ok(())
    }
}

/// Writes the number at `index`, counted from 0, to `out`.
///
/// `SV2_END` when the sequence ends before.
///
/// # Safety
/// `seq` is NULL or leads to a sequence whose pointers lead to its elements; `out` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_u32_seq_at(
    seq: *const sv2_u32_seq,
    index: usize,
    out: *mut u32,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (seq, out) = unsafe { (reference(seq)?, Out::new(out)?) };
        if index >= seq.count {
            return Err(Fault(SV2_END));
        }
        if seq.items.is_null() {
            let len = seq.count.checked_mul(4).ok_or(Fault(SV2_BAD_LENGTH))?;
            // SAFETY: the caller's promise: `count` numbers of four bytes.
            let bytes = unsafe { bytes(seq.encoded, len) }?;
            let number = bytes.as_chunks().0.get(index).ok_or(Fault(SV2_END))?;
            out.write(u32::from_le_bytes(*number));
        } else {
            // SAFETY: the caller's promise.
            let numbers = unsafe { objects(seq.items, seq.count) }?;
            out.write(*numbers.get(index).ok_or(Fault(SV2_END))?);
        }
        Ok(())
    })
}

/// Takes the first element off `rest`, a copy of a decoded message's sequence, and writes it to `item`, which borrows from the same
/// payload.
///
/// `SV2_END` when no element is left. `SV2_BAD_SEQUENCE` when the bytes do not hold one, which no decoded sequence gives.
///
/// # Safety
/// `rest` is NULL or leads to a sequence whose pointers lead to its elements; `item` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_b016m_seq_next(
    rest: *mut sv2_b016m_seq,
    item: *mut sv2_bytes,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let (seq, item) = unsafe { (*reference(rest)?, Out::new(item)?) };
        // SAFETY: the caller's promise.
        let to_rest = unsafe { Out::new(rest) }?;
        apart(&item.addresses(), &to_rest.addresses())?;
        let count = seq.count.checked_sub(1).ok_or(Fault(SV2_END))?;
        if seq.items.is_null() {
            // SAFETY: the caller's promise.
            let bytes = unsafe { bytes(seq.encoded, seq.encoded_len) }?;
            let mut reader = Reader::new(bytes);
            let element = B016M::decode(&mut reader).map_err(|_| Fault(SV2_BAD_SEQUENCE))?;
            item.write(sv2_bytes::of(element.as_bytes()));
            let left = sv2_bytes::of(reader.rest());
            to_rest.write(sv2_b016m_seq {
                encoded: left.data,
                encoded_len: left.len,
                items: seq.items,
                count,
            });
        } else {
            // SAFETY: the caller's promise.
            let (first, others) = unsafe { objects(seq.items, seq.count) }?
                .split_first()
                .ok_or(Fault(SV2_END))?;
            item.write(*first);
            to_rest.write(sv2_b016m_seq {
                items: others.as_ptr(),
                count,
                ..seq
            });
        }
        Ok(())
    })
}

impl sv2_u256_seq {
    pub(crate) fn as_bytes(&self, max_count: usize) -> Result<sv2_bytes, Fault> {
        if self.count > max_count {
            return Err(Fault(SV2_FIELD_TOO_LONG));
        }
        let len = self.count.checked_mul(32).ok_or(Fault(SV2_BAD_LENGTH))?;
        check_bytes(self.data, len)?;
        Ok(sv2_bytes {
            data: self.data,
            len,
        })
    }
}

impl sv2_u32_seq {
    /// The memory that the elements lie in.
    pub(crate) fn memory(&self, max_count: usize) -> Result<sv2_bytes, Fault> {
        if self.count > max_count {
            return Err(Fault(SV2_FIELD_TOO_LONG));
        }
        let len = self.count.checked_mul(4).ok_or(Fault(SV2_BAD_LENGTH))?;
        let data = if self.items.is_null() {
            self.encoded
        } else {
            self.items.cast()
        };
        check_bytes(data, len)?;
        Ok(sv2_bytes { data, len })
    }

    /// The elements where they are an array of the caller's.
    ///
    /// # Safety
    /// The pointers lead to `count` elements.
    pub(crate) unsafe fn items<'a>(&self) -> Result<Option<&'a [u32]>, Fault> {
        if self.items.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { objects(self.items, self.count) }.map(Some)
    }
}

impl sv2_b016m_seq {
    /// The elements where they are an array of the caller's.
    ///
    /// # Safety
    /// The pointers lead to `count` elements.
    pub(crate) unsafe fn items<'a>(&self) -> Result<Option<&'a [sv2_bytes]>, Fault> {
        if self.items.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { objects(self.items, self.count) }.map(Some)
    }

    /// Length of the elements on the wire, each checked.
    ///
    /// # Safety
    /// The pointers lead to the elements.
    pub(crate) unsafe fn wire_len(&self, max_count: usize) -> Result<usize, Fault> {
        if self.count > max_count {
            return Err(Fault(SV2_FIELD_TOO_LONG));
        }
        // SAFETY: the caller's promise.
        if let Some(items) = unsafe { self.items() }? {
            return items.iter().try_fold(0usize, |sum, item| {
                item.check(MAX_ELEMENT_LEN)?;
                let sum = sum + 3 + item.len;
                (sum <= MAX_PAYLOAD_LEN)
                    .then_some(sum)
                    .ok_or(Fault(SV2_MESSAGE_TOO_LONG))
            });
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(self.encoded, self.encoded_len) }?;
        if bytes.len() > MAX_PAYLOAD_LEN {
            return Err(Fault(SV2_MESSAGE_TOO_LONG));
        }
        let mut reader = Reader::new(bytes);
        for _ in 0..self.count {
            B016M::decode(&mut reader).map_err(|_| Fault(SV2_BAD_SEQUENCE))?;
        }
        if !reader.rest().is_empty() {
            return Err(Fault(SV2_BAD_SEQUENCE));
        }
        Ok(bytes.len())
    }
}
