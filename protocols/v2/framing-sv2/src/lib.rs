//! Stratum V2 frames: header, Sv2Frame, NoiseFrame, EitherFrame.
//!
//! A frame is a header of six bytes and a payload: the fields of a message, and behind them any TLV
//! fields that extensions add. Frames borrow from the buffer they were read into or own their bytes.
//!
//! ```
//! use framing_sv2::{Frame, Sv2Frame};
//!
//! let frame = Sv2Frame::new(0x8000, 0x21, &[1, 0, 0, 0][..])?;
//! let bytes = frame.to_vec();
//! assert_eq!(bytes, [0x00, 0x80, 0x21, 4, 0, 0, 1, 0, 0, 0]);
//!
//! let frame = Sv2Frame::from_bytes(&bytes[..])?;
//! assert!(frame.header().is_channel_message());
//! assert_eq!(frame.header().extension(), 0);
//! # Ok::<(), framing_sv2::FrameError>(())
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec is always there.
//! - `std` (default): the standard library's error trait.
//! - `with_serde`: [`Header`], [`Sv2Frame`] and [`NoiseFrame`] implement serde's `Serialize` and `Deserialize`: header and
//!   payload as they are on the wire, the payload hexadecimal for people. An [`EitherFrame`] does not, because
//!   its bytes do not say which it is.
//! - `prop_test`: frames implement proptest's `Arbitrary`; brings the standard library.
#![no_std]

extern crate alloc;

#[cfg(feature = "prop_test")]
mod arbitrary;
mod frame;
mod header;
#[cfg(feature = "with_serde")]
mod with_serde;

pub use const_sv2::MAX_PAYLOAD_LEN;
pub use frame::{EitherFrame, Frame, NoiseFrame, Sv2Frame};
pub use header::Header;

/// Why bytes are no frame, or a frame cannot be made or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes end before the frame does; `missing` counts at least those still to come.
    #[error("{missing} bytes of the frame are missing")]
    MissingBytes {
        /// Bytes missing of the header, or of the payload that a whole header announces.
        missing: usize,
    },
    /// The bytes go on behind the end of the frame.
    #[error("{excess} bytes stand behind the end of the frame")]
    ExcessBytes {
        /// Bytes behind the end.
        excess: usize,
    },
    /// The length field has 24 bits.
    #[error("a payload of {len} bytes is too long, {MAX_PAYLOAD_LEN} is the limit")]
    PayloadTooLong {
        /// Length of the payload in bytes.
        len: usize,
    },
    /// The buffer to write to is shorter than the frame.
    #[error("the buffer is too short: {needed} bytes needed, {available} left")]
    BufferTooShort {
        /// Bytes the frame needs.
        needed: usize,
        /// Bytes the buffer has.
        available: usize,
    },
    /// A frame of the Noise layer carries no message in the clear.
    #[error("a Noise frame carries no message in the clear")]
    Opaque,
}
