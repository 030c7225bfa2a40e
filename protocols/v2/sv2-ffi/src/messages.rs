//! The messages as C structs, with a decoder and an encoder each.
//!
//! The modules are written by `cargo xtask header`, from the structs of the sub-protocol crates and the tables of `const_sv2`.

mod common;
#[cfg(feature = "miner")]
mod mining;
#[cfg(feature = "template-provider")]
mod template_distribution;

pub use common::*;
#[cfg(feature = "miner")]
pub use mining::*;
#[cfg(feature = "template-provider")]
pub use template_distribution::*;

/// `sv2_setup_connection.protocol`: the mining protocol.
pub const SV2_PROTOCOL_MINING: u8 = 0;
/// `sv2_setup_connection.protocol`: the job declaration protocol.
pub const SV2_PROTOCOL_JOB_DECLARATION: u8 = 1;
/// `sv2_setup_connection.protocol`: the template distribution protocol.
pub const SV2_PROTOCOL_TEMPLATE_DISTRIBUTION: u8 = 2;
/// Version of the protocol that this library speaks.
pub const SV2_PROTOCOL_VERSION: u16 = 2;
/// Length of a frame's header in bytes.
pub const SV2_FRAME_HEADER_LEN: usize = 6;
/// Longest payload of a frame in bytes.
pub const SV2_MAX_PAYLOAD_LEN: u32 = 16_777_215;

// Numbers stand here as such because the header is made from the text.
const _: () = {
    use const_sv2::Protocol;
    assert!(SV2_PROTOCOL_MINING == Protocol::MINING.0);
    assert!(SV2_PROTOCOL_JOB_DECLARATION == Protocol::JOB_DECLARATION.0);
    assert!(SV2_PROTOCOL_TEMPLATE_DISTRIBUTION == Protocol::TEMPLATE_DISTRIBUTION.0);
    assert!(SV2_PROTOCOL_VERSION == const_sv2::PROTOCOL_VERSION);
    assert!(SV2_FRAME_HEADER_LEN == const_sv2::FRAME_HEADER_LEN);
    assert!(SV2_MAX_PAYLOAD_LEN as usize == const_sv2::MAX_PAYLOAD_LEN);
};
