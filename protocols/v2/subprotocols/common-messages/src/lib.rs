//! Messages common to all Stratum V2 sub-protocols (specification 3.6).
//!
//! ```
//! use binary_sv2::Encodable;
//! use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
//!
//! let payload = SetupConnectionSuccess { used_version: 2, flags: 0 }.to_vec();
//! let message = CommonMessage::parse(0x01, &payload).unwrap();
//! assert_eq!(message.kind().name, "SetupConnection.Success");
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec is always there.
//! - `with_serde`: all messages implement serde's `Serialize` and `Deserialize`, see `binary_sv2` for their forms.
//! - `prop_test`: all messages implement proptest's `Arbitrary`; brings the standard library.
#![no_std]

#[cfg(feature = "prop_test")]
use binary_sv2::Arbitrary;
use binary_sv2::{Decodable, Encodable, Str0255};
#[cfg(feature = "with_serde")]
use binary_sv2::{Deserialize, Serialize};

const_sv2::common_messages!(
    binary_sv2::message_enum,
    [
        /// Any common message.
        CommonMessage, common;
    ]
);

#[cfg(feature = "with_serde")]
const_sv2::common_messages!(binary_sv2::message_enum_serde, [CommonMessage;]);

#[cfg(feature = "prop_test")]
const_sv2::common_messages!(binary_sv2::message_enum_arbitrary, [CommonMessage;]);

/// First message of a client on a new connection (specification 3.6.1).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetupConnection<'a> {
    /// Number of the sub-protocol, see `const_sv2::Protocol`.
    pub protocol: u8,
    /// Lowest protocol version that the client speaks, currently 2.
    pub min_version: u16,
    /// Highest protocol version that the client speaks, currently 2.
    pub max_version: u16,
    /// Features that the client requires; their meaning depends on `protocol`.
    pub flags: u32,
    /// Host name or address that the client connected to.
    pub endpoint_host: Str0255<'a>,
    /// Port that the client connected to.
    pub endpoint_port: u16,
    /// Manufacturer or developer and firmware version.
    pub vendor: Str0255<'a>,
    /// Hardware or software package.
    pub hardware_version: Str0255<'a>,
    /// Firmware on the device.
    pub firmware: Str0255<'a>,
    /// Identifier of the device, empty without telemetry.
    pub device_id: Str0255<'a>,
}

/// The server takes the connection (specification 3.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetupConnectionSuccess {
    /// Protocol version of this connection, between the client's bounds.
    pub used_version: u16,
    /// Features that the server requires; their meaning depends on the sub-protocol.
    pub flags: u32,
}

/// The server refuses the connection and closes it (specification 3.6.3).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct SetupConnectionError<'a> {
    /// Every flag that the server does not support; 0 when flags are not the cause.
    pub flags: u32,
    /// Printable reason, see `const_sv2::error_codes`; unknown codes are logged and otherwise ignored.
    pub error_code: Str0255<'a>,
}

/// An endpoint of the channel changed: extension state of the channel starts anew (specification 3.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct ChannelEndpointChanged {
    /// Channel within the connection.
    pub channel_id: u32,
}

/// The client should connect to another host or port (specification 3.6.5).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct Reconnect<'a> {
    /// Host to connect to, empty for the present one.
    pub new_host: Str0255<'a>,
    /// Port to connect to, 0 for the present one.
    pub new_port: u16,
}
