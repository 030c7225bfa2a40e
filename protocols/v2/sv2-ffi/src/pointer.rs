//! The caller's pointers.
//!
//! Checked is what can be: NULL, alignment, length, overlap. That a pointer leads to live memory of its length is the caller's
//! promise, which the header states once for all functions.

use core::ops::Range;

use crate::result::{Fault, SV2_BAD_LENGTH, SV2_MISALIGNED, SV2_NULL, SV2_OVERLAP};

/// A place of the caller's to write a result to, which may hold nothing yet.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checks the pointer.
    ///
    /// # Safety
    /// `pointer` is NULL or leads to memory that a `T` can be written to while this lives.
    pub(crate) unsafe fn new(pointer: *mut T) -> Result<Self, Fault> {
        check(pointer)?;
        Ok(Self(pointer))
    }

    /// Writes the result.
    pub(crate) fn write(self, value: T) {
        // SAFETY: the promise of `new`; alignment was checked there.
        unsafe { self.0.write(value) }
    }

    /// The addresses that are written to.
    pub(crate) fn addresses(&self) -> Range<usize> {
        addresses(self.0, size_of::<T>())
    }
}

/// The object behind a pointer.
///
/// # Safety
/// `pointer` is NULL or leads to a `T` that nobody writes to for `'a`.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T) -> Result<&'a T, Fault> {
    check(pointer)?;
    // SAFETY: neither NULL nor misaligned, the rest is the caller's promise.
    Ok(unsafe { &*pointer })
}

/// The bytes behind a pointer; NULL with length 0 are no bytes.
///
/// # Safety
/// `pointer` leads to `len` bytes that nobody writes to for `'a`, unless it is NULL or `len` is 0.
pub(crate) unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> Result<&'a [u8], Fault> {
    check_bytes(pointer, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, not longer than memory can be, the rest is the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
}

/// The objects behind a pointer; NULL with count 0 are none.
///
/// # Safety
/// `pointer` leads to `count` objects that nobody writes to for `'a`, unless it is NULL or `count` is 0.
pub(crate) unsafe fn objects<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T], Fault> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer)?;
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Fault(SV2_BAD_LENGTH));
    }
    // SAFETY: not NULL, aligned, not longer than memory can be, the rest is the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(pointer, count) })
}

/// A buffer to write to; NULL with capacity 0 is an empty one.
///
/// # Safety
/// `pointer` leads to `capacity` bytes that nobody else reads or writes for `'a`, unless it is NULL or `capacity` is 0.
pub(crate) unsafe fn buffer<'a>(pointer: *mut u8, capacity: usize) -> Result<&'a mut [u8], Fault> {
    check_bytes(pointer, capacity)?;
    if capacity == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not NULL, not longer than memory can be, the rest is the caller's promise. The bytes may be uninitialised; they
    // are only written.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, capacity) })
}

/// Whether `len` bytes can be at `pointer` at all.
pub(crate) fn check_bytes(pointer: *const u8, len: usize) -> Result<(), Fault> {
    if len == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(Fault(SV2_NULL));
    }
    if len > isize::MAX as usize || pointer.addr().checked_add(len).is_none() {
        return Err(Fault(SV2_BAD_LENGTH));
    }
    Ok(())
}

/// The addresses of `len` bytes.
pub(crate) fn addresses<T>(pointer: *const T, len: usize) -> Range<usize> {
    pointer.addr()..pointer.addr().saturating_add(len)
}

/// Refuses memory to write to that is memory to read from.
pub(crate) fn apart(written: &Range<usize>, read: &Range<usize>) -> Result<(), Fault> {
    let overlaps = written.start < read.end && read.start < written.end;
    if overlaps && !written.is_empty() && !read.is_empty() {
        return Err(Fault(SV2_OVERLAP));
    }
    Ok(())
}

fn check<T>(pointer: *const T) -> Result<(), Fault> {
    if pointer.is_null() {
        return Err(Fault(SV2_NULL));
    }
    if !pointer.is_aligned() {
        return Err(Fault(SV2_MISALIGNED));
    }
    Ok(())
}
