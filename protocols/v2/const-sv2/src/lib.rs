//! The tables of the Stratum V2 specification: messages, flags, extension numbers, limits, error codes.
//!
//! Every message of the protocol stands on one line of one table here. The constants below, the message enums of the
//! sub-protocol crates, their parsers, encoders and names, and the list of fuzz targets are all made from that line.
//!
//! ```
//! use const_sv2::{Direction, mining};
//!
//! assert_eq!(mining::OPEN_STANDARD_MINING_CHANNEL.msg_type, 0x10);
//! assert_eq!(mining::NEW_MINING_JOB.wire_extension_type(), 0x8000);
//! assert_eq!(mining::SET_TARGET.direction, Direction::ToClient);
//! ```
#![no_std]

pub mod error_codes;
#[macro_use]
#[rustfmt::skip]
mod tables;

/// Version of the protocol that this project speaks (specification 3.6.1).
pub const PROTOCOL_VERSION: u16 = 2;

/// Length of a frame header in bytes (specification 3.2).
pub const FRAME_HEADER_LEN: usize = 6;

/// Length of an encrypted frame header in bytes (specification 4.6).
pub const ENCRYPTED_FRAME_HEADER_LEN: usize = FRAME_HEADER_LEN + AEAD_TAG_LEN;

/// Largest payload that a frame header can announce, in bytes (specification 3.2).
pub const MAX_PAYLOAD_LEN: usize = 0xff_ffff;

/// Length of an AEAD tag in bytes (specification 3.1, `MAC`).
pub const AEAD_TAG_LEN: usize = 16;

/// Largest ciphertext of one Noise message in bytes (specification 4.6).
pub const NOISE_BLOCK_CIPHERTEXT_LEN: usize = 65_535;

/// Largest plaintext of one Noise message in bytes (specification 4.6).
pub const NOISE_BLOCK_PLAINTEXT_LEN: usize = NOISE_BLOCK_CIPHERTEXT_LEN - AEAD_TAG_LEN;

/// Length of the first handshake message in bytes (specification 4.5.1.1).
pub const HANDSHAKE_ACT_1_LEN: usize = 64;

/// Length of the second handshake message in bytes.
///
/// 64 bytes of encoded ephemeral key, 80 of sealed static key, 90 of sealed certificate (specification 4.5.2.1, whose
/// figure of 170 bytes predates ElligatorSwift encodings).
pub const HANDSHAKE_ACT_2_LEN: usize = 234;

/// Length of the certificate message inside act 2, in bytes (specification 4.5.2).
pub const CERTIFICATE_LEN: usize = 74;

/// The certificate version in use (specification 4.5.2).
pub const CERTIFICATE_VERSION: u16 = 0;

/// Prefix of a textual authority key: U16 version 1, little-endian (specification 4.7).
pub const AUTHORITY_KEY_PREFIX: [u8; 2] = [1, 0];

/// Bit 15 of `extension_type`: the payload starts with a channel id (specification 3.2.1).
pub const CHANNEL_MSG_BIT: u16 = 0x8000;

/// Extension number of the core protocol.
pub const EXTENSION_CORE: u16 = 0x0000;

/// Extension number of extension negotiation.
pub const EXTENSION_NEGOTIATION: u16 = 0x0001;

/// Extension number of worker identity.
pub const EXTENSION_WORKER_IDENTITY: u16 = 0x0002;

/// Field number of `user_identity` in the worker identity extension.
pub const WORKER_IDENTITY_FIELD_USER_IDENTITY: u8 = 0x01;

/// Longest `user_identity` of the worker identity extension, in bytes (extension 0x0002, 1.1).
pub const MAX_WORKER_IDENTITY_LEN: usize = 32;

/// First extension number that is free for experiments.
pub const FIRST_EXPERIMENTAL_EXTENSION: u16 = 0x4000;

/// The version bits that a miner may roll, BIP323.
pub const BIP323_VERSION_ROLLING_MASK: u32 = 0x1fff_ffe0;

/// Longest scriptSig of a coinbase in bytes (specification 7.1).
pub const MAX_COINBASE_SCRIPT_SIG_LEN: usize = 100;

/// Longest `coinbase_prefix` of a template in bytes (specification 7.2).
pub const MAX_TEMPLATE_COINBASE_PREFIX_LEN: usize = 8;

/// Longest extranonce (prefix and rolled part together) in bytes, the limit of `B0_32`.
pub const MAX_EXTRANONCE_LEN: usize = 32;

/// Weight reserved for header, transaction count and fixed coinbase parts of a SegWit block, in weight units (specification 7.1).
pub const COINBASE_RESERVE_SEGWIT_WU: u32 = 1_168;

/// The same for a block without SegWit transactions, in weight units (specification 7.1).
pub const COINBASE_RESERVE_LEGACY_WU: u32 = 944;

/// Least reservation that Bitcoin Core makes, in weight units.
pub const MIN_COINBASE_RESERVE_WU: u32 = 2_000;

/// How far a block's time may lie ahead of network time, in seconds (specification 5.1).
pub const FUTURE_BLOCK_TIME_LIMIT_SECS: u32 = 7_200;

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the downstream to the upstream side.
    ToServer,
    /// From the upstream to the downstream side.
    ToClient,
    /// Either side may send it.
    Both,
}

/// One line of the message tables (specification 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKind {
    /// Extension number, without the channel bit.
    pub extension: u16,
    /// Message number within the extension.
    pub msg_type: u8,
    /// Whether the payload starts with a channel id and bit 15 of `extension_type` is set.
    pub is_channel_message: bool,
    /// Which way the message travels.
    pub direction: Direction,
    /// The name that the specification gives it.
    pub name: &'static str,
}

impl MessageKind {
    /// The `extension_type` of a frame that carries this message, channel bit included.
    pub const fn wire_extension_type(&self) -> u16 {
        if self.is_channel_message {
            self.extension | CHANNEL_MSG_BIT
        } else {
            self.extension
        }
    }
}

/// Makes one [`MessageKind`] constant per table line.
#[macro_export]
#[doc(hidden)]
macro_rules! message_constants {
    ($($(#[$meta:meta])* $variant:ident $(<$lifetime:lifetime>)?, $constant:ident, $name:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub const $constant: $crate::MessageKind = $crate::MessageKind {
                extension: $extension,
                msg_type: $msg_type,
                is_channel_message: $channel,
                direction: $crate::Direction::$direction,
                name: $name,
            };
        )*
        /// Every message of this table.
        pub const ALL: &[$crate::MessageKind] = &[$($constant),*];
    };
}

/// The `protocol` field of `SetupConnection` (specification 3.6.1).
///
/// A newtype, so that a value this version does not know survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// The mining protocol.
    pub const MINING: Self = Self(0);
    /// The job declaration protocol.
    pub const JOB_DECLARATION: Self = Self(1);
    /// The template distribution protocol.
    pub const TEMPLATE_DISTRIBUTION: Self = Self(2);
    /// The protocols of the specification.
    pub const ALL: [Self; 3] = [
        Self::MINING,
        Self::JOB_DECLARATION,
        Self::TEMPLATE_DISTRIBUTION,
    ];
}

/// Messages that every sub-protocol shares (specification 3.6).
pub mod common {
    common_messages!(crate::message_constants);
}

/// Messages and flags of the mining protocol (specification 5).
pub mod mining {
    mining_messages!(crate::message_constants);

    /// `SetupConnection.flags`: the client takes standard jobs only, no group channels.
    pub const REQUIRES_STANDARD_JOBS: u32 = 1;
    /// `SetupConnection.flags`: the client sends its own jobs (`SetCustomMiningJob`).
    pub const REQUIRES_WORK_SELECTION: u32 = 1 << 1;
    /// `SetupConnection.flags`: the client must be allowed to roll the version.
    pub const REQUIRES_VERSION_ROLLING: u32 = 1 << 2;
    /// All flags defined for `SetupConnection`.
    pub const SETUP_FLAGS: u32 =
        REQUIRES_STANDARD_JOBS | REQUIRES_WORK_SELECTION | REQUIRES_VERSION_ROLLING;
    /// `SetupConnection.Success.flags`: the server does not take rolled versions.
    pub const REQUIRES_FIXED_VERSION: u32 = 1;
    /// `SetupConnection.Success.flags`: the server does not take standard channels.
    pub const REQUIRES_EXTENDED_CHANNELS: u32 = 1 << 1;
}

/// Messages and flags of the job declaration protocol (specification 6).
pub mod job_declaration {
    job_declaration_messages!(crate::message_constants);

    /// `SetupConnection.flags`: the client agrees to reveal its transactions.
    pub const DECLARE_TX_DATA: u32 = 1;
    /// All flags defined for `SetupConnection`.
    pub const SETUP_FLAGS: u32 = DECLARE_TX_DATA;
}

/// Messages of the template distribution protocol (specification 7), which defines no flags.
pub mod template_distribution {
    template_distribution_messages!(crate::message_constants);
}

/// Messages of extension 0x0001, extension negotiation.
pub mod extension_negotiation {
    extension_negotiation_messages!(crate::message_constants);
}
