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

// 60 to 79: how a miner is used.

/// Events wait: take them with `sv2_miner_next_event` first.
pub const SV2_EVENTS_WAITING: sv2_result = 60;
/// The connection has ended.
pub const SV2_ENDED: sv2_result = 61;
/// The server has not taken the connection yet: wait for `SV2_EVENT_READY`.
pub const SV2_NOT_READY: sv2_result = 62;
/// No such channel is open.
pub const SV2_CHANNEL_NOT_OPEN: sv2_result = 63;
/// The channel has nothing to hash at the moment.
pub const SV2_NO_WORK: sv2_result = 64;
/// The chain has a newer tip than the work, or the channel a newer job.
pub const SV2_STALE_WORK: sv2_result = 65;
/// The extranonce has not the number of bytes that the work says.
pub const SV2_BAD_EXTRANONCE_SIZE: sv2_result = 66;
/// Bits of the version were changed that may not be.
pub const SV2_VERSION_NOT_ALLOWED: sv2_result = 67;
/// The header's time is before the earliest of the work.
pub const SV2_NTIME_TOO_EARLY: sv2_result = 68;
/// As many channels as were agreed to are open or asked for.
pub const SV2_TOO_MANY_CHANNELS: sv2_result = 69;
/// The server does not read: `SV2_MAX_OUTGOING_LEN` bytes wait to be sent.
pub const SV2_OUTGOING_FULL: sv2_result = 70;
/// No authority key: a character is wrong or missing.
pub const SV2_BAD_AUTHORITY_KEY: sv2_result = 71;
/// The config asks for what there is not.
pub const SV2_BAD_CONFIG: sv2_result = 72;

// 80 to 99: why a miner's connection ends.

/// The server does not speak Noise as agreed, or its part of the handshake was changed on the way.
pub const SV2_HANDSHAKE_FAILED: sv2_result = 80;
/// The server's certificate is not signed by the authority: another pool, or somebody in between.
pub const SV2_CERTIFICATE_REFUSED: sv2_result = 81;
/// The server's certificate is not valid yet: check the clocks.
pub const SV2_CERTIFICATE_NOT_YET_VALID: sv2_result = 82;
/// The server's certificate is not valid any more: check the clocks.
pub const SV2_CERTIFICATE_EXPIRED: sv2_result = 83;
/// A frame cannot be decrypted: bytes were changed, lost, or out of order.
pub const SV2_CIPHER_FAILED: sv2_result = 84;
/// A frame does not hold the message that its header names.
pub const SV2_MALFORMED_MESSAGE: sv2_result = 85;
/// A message that has no place there.
pub const SV2_OUT_OF_ORDER: sv2_result = 86;
/// The server refused the connection.
pub const SV2_SETUP_REFUSED: sv2_result = 87;
/// The server chose a version of the protocol that was not offered.
pub const SV2_VERSION_NOT_OFFERED: sv2_result = 88;
/// The server wants versions left as they are, and the device must roll them.
pub const SV2_VERSION_ROLLING_REFUSED: sv2_result = 89;
/// The server opens extended channels only, and the device takes standard jobs only.
pub const SV2_STANDARD_CHANNELS_REFUSED: sv2_result = 90;
/// The server did not answer in time.
pub const SV2_NO_ANSWER: sv2_result = 91;
/// The server takes shares and says nothing.
pub const SV2_SERVER_SILENT: sv2_result = 92;

// 100 to 119: why a server's message is refused. 102 ends the connection too.

/// The message is not one for a miner.
pub const SV2_REFUSED_UNEXPECTED: sv2_result = 100;
/// An answer to a request that is not open.
pub const SV2_REFUSED_UNKNOWN_REQUEST: sv2_result = 101;
/// No channel or group of the connection ever had this id.
pub const SV2_REFUSED_UNKNOWN_CHANNEL: sv2_result = 102;
/// The channel is closed, or the group another one by now: the message was on its way. No error.
pub const SV2_REFUSED_FORMER_CHANNEL: sv2_result = 103;
/// The id of a new channel or group is taken.
pub const SV2_REFUSED_ID_IN_USE: sv2_result = 104;
/// A new tip names a job that was never sent, or pushed out. The channel has no work now.
pub const SV2_REFUSED_UNKNOWN_JOB: sv2_result = 105;
/// A job to start at once on a channel that knows of no tip.
pub const SV2_REFUSED_NO_PREV_HASH: sv2_result = 106;
/// The tip's nbits are no target.
pub const SV2_REFUSED_INVALID_NBITS: sv2_result = 107;
/// A job for channels of the other kind.
pub const SV2_REFUSED_WRONG_KIND: sv2_result = 108;
/// The parts of the coinbase do not go together with the channel's extranonce.
pub const SV2_REFUSED_BAD_COINBASE: sv2_result = 109;
/// The extranonce has not the size that was asked for or granted. Ends the connection.
pub const SV2_REFUSED_BAD_EXTRANONCE_SIZE: sv2_result = 110;
/// The target is easier than the easiest that was agreed to. Ends the connection.
pub const SV2_REFUSED_TARGET_TOO_EASY: sv2_result = 111;
/// An answer to a share that was never sent. Ends the connection.
pub const SV2_REFUSED_UNSENT_SHARE: sv2_result = 112;
/// A message of an unknown kind, which is skipped as the specification asks for.
pub const SV2_REFUSED_UNKNOWN_FRAME: sv2_result = 113;

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
        SV2_EVENTS_WAITING => c"events wait to be taken first",
        SV2_ENDED => c"the connection has ended",
        SV2_NOT_READY => c"the server has not taken the connection yet",
        SV2_CHANNEL_NOT_OPEN => c"no such channel is open",
        SV2_NO_WORK => c"the channel has nothing to hash at the moment",
        SV2_STALE_WORK => c"the work is not the newest any more",
        SV2_BAD_EXTRANONCE_SIZE => c"the extranonce has the wrong length",
        SV2_VERSION_NOT_ALLOWED => c"bits of the version were changed that may not be",
        SV2_NTIME_TOO_EARLY => c"the time of the header is too early for the work",
        SV2_TOO_MANY_CHANNELS => c"too many channels are open or asked for",
        SV2_OUTGOING_FULL => c"too much waits to be sent",
        SV2_BAD_AUTHORITY_KEY => c"this is no authority key",
        SV2_BAD_CONFIG => c"the config asks for what there is not",
        SV2_HANDSHAKE_FAILED => c"the handshake failed",
        SV2_CERTIFICATE_REFUSED => c"the certificate is not signed by the authority",
        SV2_CERTIFICATE_NOT_YET_VALID => c"the certificate is not valid yet; check the clocks",
        SV2_CERTIFICATE_EXPIRED => c"the certificate is not valid any more; check the clocks",
        SV2_CIPHER_FAILED => c"a frame cannot be decrypted",
        SV2_MALFORMED_MESSAGE => c"a message is malformed",
        SV2_OUT_OF_ORDER => c"a message is out of order",
        SV2_SETUP_REFUSED => c"the server refused the connection",
        SV2_VERSION_NOT_OFFERED => c"the server chose a version that was not offered",
        SV2_VERSION_ROLLING_REFUSED => c"the server takes no rolled versions",
        SV2_STANDARD_CHANNELS_REFUSED => c"the server opens extended channels only",
        SV2_NO_ANSWER => c"the server did not answer in time",
        SV2_SERVER_SILENT => c"the server says nothing while shares wait",
        SV2_REFUSED_UNEXPECTED => c"the message is not one for a miner",
        SV2_REFUSED_UNKNOWN_REQUEST => c"an answer to a request that is not open",
        SV2_REFUSED_UNKNOWN_CHANNEL => c"no such channel or group on this connection",
        SV2_REFUSED_FORMER_CHANNEL => c"the channel is closed by now",
        SV2_REFUSED_ID_IN_USE => c"the id is in use",
        SV2_REFUSED_UNKNOWN_JOB => c"a tip names a job that is not known",
        SV2_REFUSED_NO_PREV_HASH => c"a job came before the first tip",
        SV2_REFUSED_INVALID_NBITS => c"nbits are no target",
        SV2_REFUSED_WRONG_KIND => c"a job for channels of the other kind",
        SV2_REFUSED_BAD_COINBASE => c"the coinbase cannot be built",
        SV2_REFUSED_BAD_EXTRANONCE_SIZE => c"the extranonce is not of the size agreed to",
        SV2_REFUSED_TARGET_TOO_EASY => c"the target is easier than agreed to",
        SV2_REFUSED_UNSENT_SHARE => c"an answer to a share that was never sent",
        SV2_REFUSED_UNKNOWN_FRAME => c"a message of an unknown kind",
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
