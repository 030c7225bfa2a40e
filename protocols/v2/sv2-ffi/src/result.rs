//! Results as numbers.

use core::ffi::c_char;

use binary_sv2::{DecodeError, DecodeErrorKind};

/// What a function returns: [`SV2_OK`] or the number of what went wrong.
pub type sv2_result = i32;

/// Done.
pub const SV2_OK: sv2_result = 0;

// 1 to 29: how the library is used.

/// A pointer that must not be is NULL.
pub const SV2_NULL: sv2_result = 1;
/// A pointer is not aligned for what it points to.
pub const SV2_MISALIGNED: sv2_result = 2;
/// A length is longer than memory can be: more than half of the address space.
pub const SV2_BAD_LENGTH: sv2_result = 3;
/// Memory to write to overlaps memory to read from.
pub const SV2_OVERLAP: sv2_result = 4;
/// The pointer is no handle, or a handle of another kind.
pub const SV2_WRONG_HANDLE: sv2_result = 5;
/// The handle was freed.
pub const SV2_FREED: sv2_result = 6;
/// The handle is in use: by another thread, or by the call that this callback belongs to.
pub const SV2_BUSY: sv2_result = 7;
/// An earlier call on the handle failed half way, by a panic or for want of memory. Free it.
pub const SV2_FAILED: sv2_result = 8;
/// `SV2_MAX_HANDLES` handles are in use.
pub const SV2_TOO_MANY_HANDLES: sv2_result = 9;
/// No memory is left. Where the function does not say otherwise, nothing was changed.
pub const SV2_NO_MEMORY: sv2_result = 10;
/// A bug of the library: it panicked. The handle of the call, if any, can only be freed.
pub const SV2_PANIC: sv2_result = 11;
/// `sv2_init` has not been called.
pub const SV2_NOT_INITIALISED: sv2_result = 12;
/// `sv2_init` has been called before.
pub const SV2_ALREADY_INITIALISED: sv2_result = 13;
/// The buffer to write to is too short.
pub const SV2_BUFFER_TOO_SHORT: sv2_result = 14;
/// The callback for random bytes failed, or gave bytes that are not random.
pub const SV2_RANDOM_FAILED: sv2_result = 15;
/// The callback for the time failed.
pub const SV2_CLOCK_FAILED: sv2_result = 16;

// 30 to 59: bytes.

/// The payload ends before the message does.
pub const SV2_MISSING_BYTES: sv2_result = 30;
/// A length prefix in the payload is above what the field's type allows.
pub const SV2_LENGTH_ABOVE_MAX: sv2_result = 31;
/// A field to encode is longer than its type allows.
pub const SV2_FIELD_TOO_LONG: sv2_result = 32;
/// An encoded sequence does not hold the elements that it is said to.
pub const SV2_BAD_SEQUENCE: sv2_result = 33;
/// The message is longer than a frame can be, 16 777 215 bytes.
pub const SV2_MESSAGE_TOO_LONG: sv2_result = 34;
/// A frame announces a longer payload than the decoder accepts. Close the connection.
pub const SV2_PAYLOAD_TOO_LONG: sv2_result = 35;
/// No whole frame is there yet: more bytes are needed. No error.
pub const SV2_NEED_BYTES: sv2_result = 36;
/// The sequence has no further element, or none at this position. No error.
pub const SV2_END: sv2_result = 37;

/// Why a call cannot do what it was asked to; becomes the [`sv2_result`] of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) sv2_result);

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        match error.kind {
            DecodeErrorKind::LengthAboveMax { .. } => Self(SV2_LENGTH_ABOVE_MAX),
            _ => Self(SV2_MISSING_BYTES),
        }
    }
}

/// What `result` means, as English text that ends with a zero byte.
///
/// The text is static: it is never freed and never changes. Numbers that are no result have one too. Works before `sv2_init`.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_result_text(result: sv2_result) -> *const c_char {
    text(result).as_ptr()
}

fn text(result: sv2_result) -> &'static core::ffi::CStr {
    match result {
        SV2_OK => c"done",
        SV2_NULL => c"a pointer that must not be is NULL",
        SV2_MISALIGNED => c"a pointer is not aligned for what it points to",
        SV2_BAD_LENGTH => c"a length is longer than memory can be",
        SV2_OVERLAP => c"memory to write to overlaps memory to read from",
        SV2_WRONG_HANDLE => c"the pointer is no handle, or a handle of another kind",
        SV2_FREED => c"the handle was freed",
        SV2_BUSY => c"the handle is in use",
        SV2_FAILED => c"an earlier call on the handle failed half way; free it",
        SV2_TOO_MANY_HANDLES => c"too many handles are in use",
        SV2_NO_MEMORY => c"no memory is left",
        SV2_PANIC => c"a bug of the library: it panicked",
        SV2_NOT_INITIALISED => c"sv2_init has not been called",
        SV2_ALREADY_INITIALISED => c"sv2_init has been called before",
        SV2_BUFFER_TOO_SHORT => c"the buffer to write to is too short",
        SV2_RANDOM_FAILED => c"the callback for random bytes failed, or its bytes are not random",
        SV2_CLOCK_FAILED => c"the callback for the time failed",
        SV2_MISSING_BYTES => c"the payload ends before the message does",
        SV2_LENGTH_ABOVE_MAX => c"a length in the payload is above what the field's type allows",
        SV2_FIELD_TOO_LONG => c"a field is longer than its type allows",
        SV2_BAD_SEQUENCE => c"an encoded sequence does not hold the elements it is said to",
        SV2_MESSAGE_TOO_LONG => c"the message is longer than a frame can be",
        SV2_PAYLOAD_TOO_LONG => c"a frame announces a longer payload than the decoder accepts",
        SV2_NEED_BYTES => c"no whole frame is there yet: more bytes are needed",
        SV2_END => c"the sequence has no such element",
        _ => c"no result of this library",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    /// The numbers as their definitions in the crate's sources state them.
    fn results() -> Vec<(String, sv2_result)> {
        include_str!("result.rs")
            .lines()
            .filter_map(|line| {
                line.strip_prefix("pub const ")?
                    .split_once(": sv2_result = ")
            })
            .map(|(name, number)| (name.into(), number.trim_end_matches(';').parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_result_has_a_number_and_a_text_of_its_own() {
        let results = results();
        assert!(results.len() > 20);
        let mut numbers = BTreeMap::new();
        let mut texts = BTreeMap::new();
        texts.insert(text(-1), "none");
        for (name, number) in &results {
            assert_eq!(numbers.insert(number, name), None, "{name}");
            assert_eq!(texts.insert(text(*number), name), None, "{name}");
        }
    }
}
