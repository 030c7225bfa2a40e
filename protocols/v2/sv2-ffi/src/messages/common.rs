//! Messages common to all sub-protocols. Made by `cargo xtask header` from the structs of the sub-protocol's crate.

use binary_sv2::Str0255;

use crate::payload::{decode, encode, payload};
use crate::result::sv2_result;
#[allow(clippy::wildcard_imports, reason = "the types that fields can have")]
use crate::view::*;

/// Number of `SetupConnection`, sent by the client.
pub const SV2_MSG_SETUP_CONNECTION: u8 = 0x00;

/// `SetupConnection`: first message of a client on a new connection (specification 3.6.1).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_setup_connection {
    /// Number of the sub-protocol, such as `SV2_PROTOCOL_MINING`.
    pub protocol: u8,
    /// Lowest protocol version that the client speaks, currently 2.
    pub min_version: u16,
    /// Highest protocol version that the client speaks, currently 2.
    pub max_version: u16,
    /// Features that the client requires; their meaning depends on `protocol`.
    pub flags: u32,
    /// Host name or address that the client connected to.
    pub endpoint_host: sv2_bytes,
    /// Port that the client connected to.
    pub endpoint_port: u16,
    /// Manufacturer or developer and firmware version.
    pub vendor: sv2_bytes,
    /// Hardware or software package.
    pub hardware_version: sv2_bytes,
    /// Firmware on the device.
    pub firmware: sv2_bytes,
    /// Identifier of the device, empty without telemetry.
    pub device_id: sv2_bytes,
}

payload!(sv2_setup_connection = common::SETUP_CONNECTION { protocol: u8, min_version: u16, max_version: u16, flags: u32, endpoint_host: Str0255<'_>, endpoint_port: u16, vendor: Str0255<'_>, hardware_version: Str0255<'_>, firmware: Str0255<'_>, device_id: Str0255<'_>,  });

/// Reads a `SetupConnection` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_setup_connection,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetupConnection` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_encode(
    message: *const sv2_setup_connection,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetupConnection.Success`, sent by the server.
pub const SV2_MSG_SETUP_CONNECTION_SUCCESS: u8 = 0x01;

/// `SetupConnection.Success`: the server takes the connection (specification 3.6.2).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_setup_connection_success {
    /// Protocol version of this connection, between the client's bounds.
    pub used_version: u16,
    /// Features that the server requires; their meaning depends on the sub-protocol.
    pub flags: u32,
}

payload!(
    sv2_setup_connection_success = common::SETUP_CONNECTION_SUCCESS {
        used_version: u16,
        flags: u32,
    }
);

/// Reads a `SetupConnection.Success` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_success_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_setup_connection_success,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetupConnection.Success` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_success_encode(
    message: *const sv2_setup_connection_success,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `SetupConnection.Error`, sent by the server.
pub const SV2_MSG_SETUP_CONNECTION_ERROR: u8 = 0x02;

/// `SetupConnection.Error`: the server refuses the connection and closes it (specification 3.6.3).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_setup_connection_error {
    /// Every flag that the server does not support; 0 when flags are not the cause.
    pub flags: u32,
    /// Printable reason, such as "stale-share"; unknown codes are logged and otherwise ignored.
    pub error_code: sv2_bytes,
}

payload!(sv2_setup_connection_error = common::SETUP_CONNECTION_ERROR { flags: u32, error_code: Str0255<'_>,  });

/// Reads a `SetupConnection.Error` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_error_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_setup_connection_error,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `SetupConnection.Error` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_setup_connection_error_encode(
    message: *const sv2_setup_connection_error,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `ChannelEndpointChanged`, sent by the server.
pub const SV2_MSG_CHANNEL_ENDPOINT_CHANGED: u8 = 0x03;

/// `ChannelEndpointChanged`: an endpoint of the channel changed: extension state of the channel starts anew (specification 3.6.4).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_channel_endpoint_changed {
    /// Channel within the connection.
    pub channel_id: u32,
}

payload!(sv2_channel_endpoint_changed = common::CHANNEL_ENDPOINT_CHANGED { channel_id: u32 });

/// Reads a `ChannelEndpointChanged` from the payload of its frame into `out`, which points nowhere.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_channel_endpoint_changed_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_channel_endpoint_changed,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `ChannelEndpointChanged` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_channel_endpoint_changed_encode(
    message: *const sv2_channel_endpoint_changed,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}

/// Number of `Reconnect`, sent by the server.
pub const SV2_MSG_RECONNECT: u8 = 0x04;

/// `Reconnect`: the client should connect to another host or port (specification 3.6.5).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_reconnect {
    /// Host to connect to, empty for the present one.
    pub new_host: sv2_bytes,
    /// Port to connect to, 0 for the present one.
    pub new_port: u16,
}

payload!(sv2_reconnect = common::RECONNECT { new_host: Str0255<'_>, new_port: u16,  });

/// Reads a `Reconnect` from the payload of its frame into `out`, which points into `payload`, and is valid as long as that is there and unchanged.
///
/// `SV2_MISSING_BYTES` or `SV2_LENGTH_ABOVE_MAX` when the payload does not hold one. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_reconnect_decode(
    payload: *const u8,
    payload_len: usize,
    out: *mut sv2_reconnect,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { decode(payload, payload_len, out) }
}

/// Writes the frame of a `Reconnect` to `buffer`, and its length to `len`; keeps nothing of `message`.
///
/// `SV2_BUFFER_TOO_SHORT`, with the length needed in `len`; `SV2_FIELD_TOO_LONG`, `SV2_BAD_SEQUENCE` or `SV2_MESSAGE_TOO_LONG`
/// when no frame can hold the message. Nothing is to be freed.
///
/// # Safety
/// The pointers lead to what the head of `sv2.h` says, or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_reconnect_encode(
    message: *const sv2_reconnect,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
) -> sv2_result {
    // SAFETY: the caller's promise.
    unsafe { encode(message, buffer, capacity, len) }
}
