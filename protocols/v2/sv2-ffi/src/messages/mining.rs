//! Messages of the mining protocol. Made by `cargo xtask header` from the structs of the sub-protocol's crate.

use binary_sv2::{B032, B064K, B0255, Seq064K, Seq0255, Str0255, U256};

use crate::payload::{decode, encode, payload};
use crate::result::sv2_result;
#[allow(clippy::wildcard_imports, reason = "the types that fields can have")]
use crate::view::*;

/// Number of `OpenStandardMiningChannel`, sent by the client.
pub const SV2_MSG_OPEN_STANDARD_MINING_CHANNEL: u8 = 0x10;

/// `OpenStandardMiningChannel`: asks for a standard channel (specification 5.3.2).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_open_standard_mining_channel {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Who is mining; UTF-8 is recommended, not required.
    pub user_identity: sv2_bytes,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts, little-endian integer.
    pub max_target: [u8; 32],
}

payload!(sv2_open_standard_mining_channel = mining::OPEN_STANDARD_MINING_CHANNEL { request_id: u32, user_identity: Str0255<'_>, nominal_hash_rate: f32, max_target: U256,  });

/// Reads a `OpenStandardMiningChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_standard_mining_channel_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_open_standard_mining_channel,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `OpenStandardMiningChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_standard_mining_channel_encode(
    message: *const sv2_open_standard_mining_channel,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `OpenStandardMiningChannel.Success`, sent by the server.
pub const SV2_MSG_OPEN_STANDARD_MINING_CHANNEL_SUCCESS: u8 = 0x11;

/// `OpenStandardMiningChannel.Success`: grants a standard channel (specification 5.3.3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_open_standard_mining_channel_success {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Channel within the connection.
    pub channel_id: u32,
    /// Target of the channel, little-endian integer.
    pub target: [u8; 32],
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: sv2_bytes,
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
}

payload!(sv2_open_standard_mining_channel_success = mining::OPEN_STANDARD_MINING_CHANNEL_SUCCESS { request_id: u32, channel_id: u32, target: U256, extranonce_prefix: B032<'_>, group_channel_id: u32,  });

/// Reads a `OpenStandardMiningChannel.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_standard_mining_channel_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_open_standard_mining_channel_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `OpenStandardMiningChannel.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_standard_mining_channel_success_encode(
    message: *const sv2_open_standard_mining_channel_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `OpenMiningChannel.Error`, sent by the server.
pub const SV2_MSG_OPEN_MINING_CHANNEL_ERROR: u8 = 0x12;

/// `OpenMiningChannel.Error`: refuses a channel (specification 5.3.6).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_open_mining_channel_error {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_open_mining_channel_error = mining::OPEN_MINING_CHANNEL_ERROR { request_id: u32, error_code: Str0255<'_>,  });

/// Reads a `OpenMiningChannel.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_mining_channel_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_open_mining_channel_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `OpenMiningChannel.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_mining_channel_error_encode(
    message: *const sv2_open_mining_channel_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `OpenExtendedMiningChannel`, sent by the client.
pub const SV2_MSG_OPEN_EXTENDED_MINING_CHANNEL: u8 = 0x13;

/// `OpenExtendedMiningChannel`: asks for an extended channel (specification 5.3.4).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_open_extended_mining_channel {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Who is mining; UTF-8 is recommended, not required.
    pub user_identity: sv2_bytes,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts, little-endian integer.
    pub max_target: [u8; 32],
    /// Least number of extranonce bytes that the client needs for itself.
    pub min_extranonce_size: u16,
}

payload!(sv2_open_extended_mining_channel = mining::OPEN_EXTENDED_MINING_CHANNEL { request_id: u32, user_identity: Str0255<'_>, nominal_hash_rate: f32, max_target: U256, min_extranonce_size: u16,  });

/// Reads a `OpenExtendedMiningChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_extended_mining_channel_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_open_extended_mining_channel,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `OpenExtendedMiningChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_extended_mining_channel_encode(
    message: *const sv2_open_extended_mining_channel,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `OpenExtendedMiningChannel.Success`, sent by the server.
pub const SV2_MSG_OPEN_EXTENDED_MINING_CHANNEL_SUCCESS: u8 = 0x14;

/// `OpenExtendedMiningChannel.Success`: grants an extended channel (specification 5.3.5).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_open_extended_mining_channel_success {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Channel within the connection.
    pub channel_id: u32,
    /// Target of the channel, little-endian integer.
    pub target: [u8; 32],
    /// Number of extranonce bytes that the client rolls, the prefix not counted.
    pub extranonce_size: u16,
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: sv2_bytes,
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
}

payload!(sv2_open_extended_mining_channel_success = mining::OPEN_EXTENDED_MINING_CHANNEL_SUCCESS { request_id: u32, channel_id: u32, target: U256, extranonce_size: u16, extranonce_prefix: B032<'_>, group_channel_id: u32,  });

/// Reads a `OpenExtendedMiningChannel.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_extended_mining_channel_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_open_extended_mining_channel_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `OpenExtendedMiningChannel.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_open_extended_mining_channel_success_encode(
    message: *const sv2_open_extended_mining_channel_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `NewMiningJob`, sent by the server.
pub const SV2_MSG_NEW_MINING_JOB: u8 = 0x15;

/// `NewMiningJob`: work for a standard channel (specification 5.3.15).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_new_mining_job {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Earliest block time in Unix seconds; absent for a future job.
    pub min_ntime: sv2_option_u32,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Merkle root of the header, raw bytes.
    pub merkle_root: [u8; 32],
}

payload!(sv2_new_mining_job = mining::NEW_MINING_JOB { channel_id: u32, job_id: u32, min_ntime: Option<u32>, version: u32, merkle_root: U256,  });

/// Reads a `NewMiningJob` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_mining_job_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_new_mining_job,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `NewMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_mining_job_encode(
    message: *const sv2_new_mining_job,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `UpdateChannel`, sent by the client.
pub const SV2_MSG_UPDATE_CHANNEL: u8 = 0x16;

/// `UpdateChannel`: the client's hash rate or wanted target changed (specification 5.3.7).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_update_channel {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Expected hash rate in hashes per second.
    pub nominal_hash_rate: f32,
    /// Largest target that the client accepts from now on, little-endian integer.
    pub maximum_target: [u8; 32],
}

payload!(
    sv2_update_channel = mining::UPDATE_CHANNEL {
        channel_id: u32,
        nominal_hash_rate: f32,
        maximum_target: U256,
    }
);

/// Reads a `UpdateChannel` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_update_channel_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_update_channel,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `UpdateChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_update_channel_encode(
    message: *const sv2_update_channel,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `UpdateChannel.Error`, sent by the server.
pub const SV2_MSG_UPDATE_CHANNEL_ERROR: u8 = 0x17;

/// `UpdateChannel.Error`: refuses an `UpdateChannel` (specification 5.3.8).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_update_channel_error {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_update_channel_error = mining::UPDATE_CHANNEL_ERROR { channel_id: u32, error_code: Str0255<'_>,  });

/// Reads a `UpdateChannel.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_update_channel_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_update_channel_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `UpdateChannel.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_update_channel_error_encode(
    message: *const sv2_update_channel_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `CloseChannel`, sent by either side.
pub const SV2_MSG_CLOSE_CHANNEL: u8 = 0x18;

/// `CloseChannel`: ends a channel, or all channels of a group (specification 5.3.9).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_close_channel {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Printable reason for closing the channel.
    pub reason_code: sv2_bytes,
}

payload!(sv2_close_channel = mining::CLOSE_CHANNEL { channel_id: u32, reason_code: Str0255<'_>,  });

/// Reads a `CloseChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_close_channel_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_close_channel,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `CloseChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_close_channel_encode(
    message: *const sv2_close_channel,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetExtranoncePrefix`, sent by the server.
pub const SV2_MSG_SET_EXTRANONCE_PREFIX: u8 = 0x19;

/// `SetExtranoncePrefix`: a new extranonce prefix for jobs sent after it (specification 5.3.10).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_extranonce_prefix {
    /// Channel within the connection.
    pub channel_id: u32,
    /// First bytes of the extranonce, fixed by the server.
    pub extranonce_prefix: sv2_bytes,
}

payload!(sv2_set_extranonce_prefix = mining::SET_EXTRANONCE_PREFIX { channel_id: u32, extranonce_prefix: B032<'_>,  });

/// Reads a `SetExtranoncePrefix` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_extranonce_prefix_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_extranonce_prefix,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetExtranoncePrefix` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_extranonce_prefix_encode(
    message: *const sv2_set_extranonce_prefix,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SubmitSharesStandard`, sent by the client.
pub const SV2_MSG_SUBMIT_SHARES_STANDARD: u8 = 0x1a;

/// `SubmitSharesStandard`: a share of a standard channel (specification 5.3.11).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_submit_shares_standard {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full block version, rolled bits included.
    pub version: u32,
}

payload!(
    sv2_submit_shares_standard = mining::SUBMIT_SHARES_STANDARD {
        channel_id: u32,
        sequence_number: u32,
        job_id: u32,
        nonce: u32,
        ntime: u32,
        version: u32,
    }
);

/// Reads a `SubmitSharesStandard` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_standard_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_submit_shares_standard,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SubmitSharesStandard` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_standard_encode(
    message: *const sv2_submit_shares_standard,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SubmitSharesExtended`, sent by the client.
pub const SV2_MSG_SUBMIT_SHARES_EXTENDED: u8 = 0x1b;

/// `SubmitSharesExtended`: a share of an extended channel (specification 5.3.12).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_submit_shares_extended {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full block version, rolled bits included.
    pub version: u32,
    /// Extranonce bytes that the client rolled, the prefix not included.
    pub extranonce: sv2_bytes,
}

payload!(sv2_submit_shares_extended = mining::SUBMIT_SHARES_EXTENDED { channel_id: u32, sequence_number: u32, job_id: u32, nonce: u32, ntime: u32, version: u32, extranonce: B032<'_>,  });

/// Reads a `SubmitSharesExtended` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_extended_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_submit_shares_extended,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SubmitSharesExtended` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_extended_encode(
    message: *const sv2_submit_shares_extended,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SubmitShares.Success`, sent by the server.
pub const SV2_MSG_SUBMIT_SHARES_SUCCESS: u8 = 0x1c;

/// `SubmitShares.Success`: acknowledges a batch of shares (specification 5.3.13).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_submit_shares_success {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Sequence number of the last accepted submission.
    pub last_sequence_number: u32,
    /// Number of submissions that this message acknowledges.
    pub new_submits_accepted_count: u32,
    /// Sum of the difficulties of these submissions.
    pub new_shares_sum: u64,
}

payload!(
    sv2_submit_shares_success = mining::SUBMIT_SHARES_SUCCESS {
        channel_id: u32,
        last_sequence_number: u32,
        new_submits_accepted_count: u32,
        new_shares_sum: u64,
    }
);

/// Reads a `SubmitShares.Success` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_submit_shares_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SubmitShares.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_success_encode(
    message: *const sv2_submit_shares_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SubmitShares.Error`, sent by the server.
pub const SV2_MSG_SUBMIT_SHARES_ERROR: u8 = 0x1d;

/// `SubmitShares.Error`: rejects one share (specification 5.3.14).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_submit_shares_error {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client to tell its submissions apart.
    pub sequence_number: u32,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_submit_shares_error = mining::SUBMIT_SHARES_ERROR { channel_id: u32, sequence_number: u32, error_code: Str0255<'_>,  });

/// Reads a `SubmitShares.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_submit_shares_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SubmitShares.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_shares_error_encode(
    message: *const sv2_submit_shares_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `NewExtendedMiningJob`, sent by the server.
pub const SV2_MSG_NEW_EXTENDED_MINING_JOB: u8 = 0x1f;

/// `NewExtendedMiningJob`: work for an extended or group channel (specification 5.3.16).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_new_extended_mining_job {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Earliest block time in Unix seconds; absent for a future job.
    pub min_ntime: sv2_option_u32,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Whether the BIP323 bits of the version may be rolled.
    pub version_rolling_allowed: u8,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: sv2_u256_seq,
    /// Coinbase up to the extranonce, without BIP141 fields.
    pub coinbase_tx_prefix: sv2_bytes,
    /// Coinbase behind the extranonce, without BIP141 fields.
    pub coinbase_tx_suffix: sv2_bytes,
}

payload!(sv2_new_extended_mining_job = mining::NEW_EXTENDED_MINING_JOB { channel_id: u32, job_id: u32, min_ntime: Option<u32>, version: u32, version_rolling_allowed: bool, merkle_path: Seq0255<'_, U256>, coinbase_tx_prefix: B064K<'_>, coinbase_tx_suffix: B064K<'_>,  });

/// Reads a `NewExtendedMiningJob` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_extended_mining_job_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_new_extended_mining_job,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `NewExtendedMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_extended_mining_job_encode(
    message: *const sv2_new_extended_mining_job,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetNewPrevHash`, sent by the server.
pub const SV2_MSG_MINING_SET_NEW_PREV_HASH: u8 = 0x20;

/// `SetNewPrevHash`: the block to build on, and the job to start with (specification 5.3.17).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_mining_set_new_prev_hash {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Job within the channel.
    pub job_id: u32,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: [u8; 32],
    /// Earliest block time in Unix seconds.
    pub min_ntime: u32,
    /// Network target in compact form.
    pub nbits: u32,
}

payload!(
    sv2_mining_set_new_prev_hash = mining::SET_NEW_PREV_HASH {
        channel_id: u32,
        job_id: u32,
        prev_hash: U256,
        min_ntime: u32,
        nbits: u32,
    }
);

/// Reads a `SetNewPrevHash` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_mining_set_new_prev_hash_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_mining_set_new_prev_hash,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetNewPrevHash` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_mining_set_new_prev_hash_encode(
    message: *const sv2_mining_set_new_prev_hash,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetTarget`, sent by the server.
pub const SV2_MSG_SET_TARGET: u8 = 0x21;

/// `SetTarget`: a new target for future jobs; active jobs keep theirs (specification 5.3.21).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_target {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Largest target that shares may have, little-endian integer.
    pub maximum_target: [u8; 32],
}

payload!(
    sv2_set_target = mining::SET_TARGET {
        channel_id: u32,
        maximum_target: U256,
    }
);

/// Reads a `SetTarget` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_target_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_target,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetTarget` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_target_encode(
    message: *const sv2_set_target,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetCustomMiningJob`, sent by the client.
pub const SV2_MSG_SET_CUSTOM_MINING_JOB: u8 = 0x22;

/// `SetCustomMiningJob`: a job that the client made (specification 5.3.18).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_custom_mining_job {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Token that the job declaration server allocated.
    pub mining_job_token: sv2_bytes,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: [u8; 32],
    /// Earliest block time in Unix seconds.
    pub min_ntime: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Version of the coinbase transaction.
    pub coinbase_tx_version: u32,
    /// Everything of the scriptSig that precedes the extranonce.
    pub coinbase_prefix: sv2_bytes,
    /// nSequence of the coinbase input.
    pub coinbase_tx_input_n_sequence: u32,
    /// Outputs of the coinbase, consensus serialisation behind a CompactSize count.
    pub coinbase_tx_outputs: sv2_bytes,
    /// Lock time of the coinbase.
    pub coinbase_tx_locktime: u32,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: sv2_u256_seq,
}

payload!(sv2_set_custom_mining_job = mining::SET_CUSTOM_MINING_JOB { channel_id: u32, request_id: u32, mining_job_token: B0255<'_>, version: u32, prev_hash: U256, min_ntime: u32, nbits: u32, coinbase_tx_version: u32, coinbase_prefix: B0255<'_>, coinbase_tx_input_n_sequence: u32, coinbase_tx_outputs: B064K<'_>, coinbase_tx_locktime: u32, merkle_path: Seq0255<'_, U256>,  });

/// Reads a `SetCustomMiningJob` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_custom_mining_job,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetCustomMiningJob` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_encode(
    message: *const sv2_set_custom_mining_job,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetCustomMiningJob.Success`, sent by the server.
pub const SV2_MSG_SET_CUSTOM_MINING_JOB_SUCCESS: u8 = 0x23;

/// `SetCustomMiningJob.Success`: the pool commits to reward the job (specification 5.3.19).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_custom_mining_job_success {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Job within the channel.
    pub job_id: u32,
}

payload!(
    sv2_set_custom_mining_job_success = mining::SET_CUSTOM_MINING_JOB_SUCCESS {
        channel_id: u32,
        request_id: u32,
        job_id: u32,
    }
);

/// Reads a `SetCustomMiningJob.Success` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_custom_mining_job_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetCustomMiningJob.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_success_encode(
    message: *const sv2_set_custom_mining_job_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetCustomMiningJob.Error`, sent by the server.
pub const SV2_MSG_SET_CUSTOM_MINING_JOB_ERROR: u8 = 0x24;

/// `SetCustomMiningJob.Error`: the pool refuses the job (specification 5.3.20).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_custom_mining_job_error {
    /// Channel within the connection.
    pub channel_id: u32,
    /// Chosen by the client, echoed in the answer.
    pub request_id: u32,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_set_custom_mining_job_error = mining::SET_CUSTOM_MINING_JOB_ERROR { channel_id: u32, request_id: u32, error_code: Str0255<'_>,  });

/// Reads a `SetCustomMiningJob.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_custom_mining_job_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetCustomMiningJob.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_custom_mining_job_error_encode(
    message: *const sv2_set_custom_mining_job_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetGroupChannel`, sent by the server.
pub const SV2_MSG_SET_GROUP_CHANNEL: u8 = 0x25;

/// `SetGroupChannel`: puts channels into a group (specification 5.3.22).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_set_group_channel {
    /// Group channel that the channel belongs to.
    pub group_channel_id: u32,
    /// Channels of the group.
    pub channel_ids: sv2_u32_seq,
}

payload!(sv2_set_group_channel = mining::SET_GROUP_CHANNEL { group_channel_id: u32, channel_ids: Seq064K<'_, u32>,  });

/// Reads a `SetGroupChannel` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_group_channel_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_set_group_channel,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetGroupChannel` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_set_group_channel_encode(
    message: *const sv2_set_group_channel,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}
