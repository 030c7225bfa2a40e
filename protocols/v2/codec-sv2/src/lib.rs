//! Bytes in, Stratum V2 frames out, plain or over Noise.
//!
//! A decoder owns the memory a connection reads into and hands out frames that lie in it; an encoder
//! appends frames to the memory a connection writes from. Neither knows sockets: the caller moves the
//! bytes. On an encrypted connection the caller exchanges the two handshake messages of `noise_sv2`
//! first and makes both from the halves of the `Transport` that come out of it.
//!
//! ```
//! use codec_sv2::{Decoded, Encoder, StandardSv2Decoder};
//!
//! let mut wire = Vec::new();
//! let mut encoder = Encoder::default();
//! encoder.encode_raw(0x8000, 0x21, b"payload", &mut wire)?;
//!
//! let mut decoder: StandardSv2Decoder = StandardSv2Decoder::plain();
//! let room = decoder.writable();
//! room[..wire.len()].copy_from_slice(&wire);
//! decoder.advance(wire.len());
//!
//! let Decoded::Frame(frame) = decoder.next_frame()? else { panic!("a frame has arrived") };
//! assert_eq!(frame.payload(), b"payload");
//! assert_eq!(decoder.next_frame()?, Decoded::Missing(6));
//! assert_eq!(decoder.capacity(), 0, "an idle connection holds no memory");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; the codec of payloads is always there.
//! - `noise_sv2` (default): encrypted connections; without it there are frames in the clear only, and no cipher is needed.
//! - `std` (default): the assembly cipher of `noise_sv2`, and the standard library's error trait.
//! - `with_serde`: handed on to `framing_sv2` and `binary_sv2`; on connections serde changes nothing.
//! - `with_buffer_pool`: decoder, output and frames can lie in a `SlabPool`, one block of memory that all threads share:
//!   see `pooled_decoder`, `pooled_output` and `PooledFrame`.
#![no_std]

extern crate alloc;

mod decoder;
mod encoder;
mod layer;
#[cfg(feature = "with_buffer_pool")]
mod pooled;

#[cfg(feature = "noise_sv2")]
pub use decoder::{ConnectionDecoder, StandardNoiseDecoder};
pub use decoder::{
    DEFAULT_MAX_PAYLOAD_LEN, DecodeError, Decoded, FrameDecoder, READ_LEN, StandardSv2Decoder,
};
#[cfg(feature = "noise_sv2")]
pub use encoder::{ConnectionEncoder, NoiseEncoder};
pub use encoder::{EncodeError, Encoder, FrameEncoder};
#[cfg(feature = "noise_sv2")]
pub use layer::{MaybeNoise, MaybeOpener, MaybeSealer};
pub use layer::{Open, Plain, Seal};
#[cfg(all(feature = "noise_sv2", feature = "with_buffer_pool"))]
pub use pooled::{PooledConnectionDecoder, PooledNoiseDecoder};
#[cfg(feature = "with_buffer_pool")]
pub use pooled::{PooledFrame, PooledOutput, PooledSv2Decoder, pooled_decoder, pooled_output};
