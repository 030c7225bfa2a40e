//! Messages of the template distribution protocol. Made by `cargo xtask header` from the structs of the sub-protocol's crate.

use binary_sv2::{B016M, B064K, B0255, Seq064K, Seq0255, Str0255, U256};

use crate::payload::{decode, encode, payload};
use crate::result::sv2_result;
#[allow(clippy::wildcard_imports, reason = "the types that fields can have")]
use crate::view::*;

/// Number of `CoinbaseOutputConstraints`, sent by the client.
pub const SV2_MSG_COINBASE_OUTPUT_CONSTRAINTS: u8 = 0x70;

/// `CoinbaseOutputConstraints`: what the client will add to the coinbase (specification 7.1).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_coinbase_output_constraints {
    /// Bytes that the client's outputs will take in the coinbase.
    pub coinbase_output_max_additional_size: u32,
    /// Signature operations that the client's outputs will add.
    pub coinbase_output_max_additional_sigops: u16,
}

payload!(
    sv2_coinbase_output_constraints = template_distribution::COINBASE_OUTPUT_CONSTRAINTS {
        coinbase_output_max_additional_size: u32,
        coinbase_output_max_additional_sigops: u16,
    }
);

/// Reads a `CoinbaseOutputConstraints` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_coinbase_output_constraints_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_coinbase_output_constraints,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `CoinbaseOutputConstraints` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_coinbase_output_constraints_encode(
    message: *const sv2_coinbase_output_constraints,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `NewTemplate`, sent by the server.
pub const SV2_MSG_NEW_TEMPLATE: u8 = 0x71;

/// `NewTemplate`: a block template (specification 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_new_template {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Whether the template waits for a `SetNewPrevHash` that names it.
    pub future_template: u8,
    /// Block version; BIP323 bits may be rolled.
    pub version: u32,
    /// Version of the coinbase transaction.
    pub coinbase_tx_version: u32,
    /// Start of the scriptSig, at most 8 bytes.
    pub coinbase_prefix: sv2_bytes,
    /// nSequence of the coinbase input.
    pub coinbase_tx_input_sequence: u32,
    /// Satoshis that the client may spend in its outputs.
    pub coinbase_tx_value_remaining: u64,
    /// Number of outputs in `coinbase_tx_outputs`.
    pub coinbase_tx_outputs_count: u32,
    /// Outputs to append last, consensus serialisation without a count.
    pub coinbase_tx_outputs: sv2_bytes,
    /// Lock time of the coinbase.
    pub coinbase_tx_locktime: u32,
    /// Hashes from the coinbase to the root, deepest first, raw bytes.
    pub merkle_path: sv2_u256_seq,
}

payload!(sv2_new_template = template_distribution::NEW_TEMPLATE { template_id: u64, future_template: bool, version: u32, coinbase_tx_version: u32, coinbase_prefix: B0255<'_>, coinbase_tx_input_sequence: u32, coinbase_tx_value_remaining: u64, coinbase_tx_outputs_count: u32, coinbase_tx_outputs: B064K<'_>, coinbase_tx_locktime: u32, merkle_path: Seq0255<'_, U256>,  });

/// Reads a `NewTemplate` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_template_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_new_template,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `NewTemplate` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_new_template_encode(
    message: *const sv2_new_template,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetNewPrevHash`, sent by the server.
pub const SV2_MSG_TEMPLATE_SET_NEW_PREV_HASH: u8 = 0x72;

/// `SetNewPrevHash`: a new chain tip, and the template to start with (specification 7.3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_template_set_new_prev_hash {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Hash of the block to build on, raw bytes.
    pub prev_hash: [u8; 32],
    /// Block time to start from, in Unix seconds.
    pub header_timestamp: u32,
    /// Network target in compact form.
    pub nbits: u32,
    /// Largest hash of a solution, little-endian integer; may lie below what `nbits` means.
    pub target: [u8; 32],
}

payload!(
    sv2_template_set_new_prev_hash = template_distribution::SET_NEW_PREV_HASH {
        template_id: u64,
        prev_hash: U256,
        header_timestamp: u32,
        nbits: u32,
        target: U256,
    }
);

/// Reads a `SetNewPrevHash` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_template_set_new_prev_hash_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_template_set_new_prev_hash,
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
pub unsafe extern "C" fn sv2_template_set_new_prev_hash_encode(
    message: *const sv2_template_set_new_prev_hash,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `RequestTransactionData`, sent by the client.
pub const SV2_MSG_REQUEST_TRANSACTION_DATA: u8 = 0x73;

/// `RequestTransactionData`: asks for the transactions of a template (specification 7.4).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_request_transaction_data {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
}

payload!(
    sv2_request_transaction_data =
        template_distribution::REQUEST_TRANSACTION_DATA { template_id: u64 }
);

/// Reads a `RequestTransactionData` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_request_transaction_data,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `RequestTransactionData` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_encode(
    message: *const sv2_request_transaction_data,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `RequestTransactionData.Success`, sent by the server.
pub const SV2_MSG_REQUEST_TRANSACTION_DATA_SUCCESS: u8 = 0x74;

/// `RequestTransactionData.Success`: the transactions of a template (specification 7.5).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_request_transaction_data_success {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Extra data that some chains need, not interpreted.
    pub excess_data: sv2_bytes,
    /// All transactions of the template in block order, without the coinbase.
    pub transaction_list: sv2_b016m_seq,
}

payload!(sv2_request_transaction_data_success = template_distribution::REQUEST_TRANSACTION_DATA_SUCCESS { template_id: u64, excess_data: B064K<'_>, transaction_list: Seq064K<'_, B016M<'_>>,  });

/// Reads a `RequestTransactionData.Success` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_request_transaction_data_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `RequestTransactionData.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_success_encode(
    message: *const sv2_request_transaction_data_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `RequestTransactionData.Error`, sent by the server.
pub const SV2_MSG_REQUEST_TRANSACTION_DATA_ERROR: u8 = 0x75;

/// `RequestTransactionData.Error`: refuses the transactions of a template (specification 7.6).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_request_transaction_data_error {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_request_transaction_data_error = template_distribution::REQUEST_TRANSACTION_DATA_ERROR { template_id: u64, error_code: Str0255<'_>,  });

/// Reads a `RequestTransactionData.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_request_transaction_data_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `RequestTransactionData.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_request_transaction_data_error_encode(
    message: *const sv2_request_transaction_data_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SubmitSolution`, sent by the client.
pub const SV2_MSG_SUBMIT_SOLUTION: u8 = 0x76;

/// `SubmitSolution`: a block was found on a template (specification 7.7).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_submit_solution {
    /// Number of the template, strictly increasing.
    pub template_id: u64,
    /// Full block version, rolled bits included.
    pub version: u32,
    /// Block time in Unix seconds.
    pub header_timestamp: u32,
    /// Nonce of the header.
    pub header_nonce: u32,
    /// The coinbase, BIP141 fields included.
    pub coinbase_tx: sv2_bytes,
}

payload!(sv2_submit_solution = template_distribution::SUBMIT_SOLUTION { template_id: u64, version: u32, header_timestamp: u32, header_nonce: u32, coinbase_tx: B064K<'_>,  });

/// Reads a `SubmitSolution` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_solution_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_submit_solution,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SubmitSolution` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_submit_solution_encode(
    message: *const sv2_submit_solution,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}
