//! Pooled byte buffers for the Stratum V2 codec.
//!
//! A connection holds memory only while bytes wait in it. [`Buffer`] is the queue of bytes that a
//! decoder reads into and an encoder writes to; its memory comes from a [`BufferPool`] and goes back
//! as soon as the queue is empty, so that thousands of idle connections share a few buffers.
//!
//! ```
//! use buffer_sv2::{Buffer, LocalPool};
//!
//! let pool = LocalPool::default();
//! let mut buffer = Buffer::new(pool.clone());
//! buffer.reserve(3);
//! buffer.spare_mut()[..3].copy_from_slice(b"abc");
//! buffer.advance(3);
//! buffer.consume(1);
//! assert_eq!(buffer.filled(), b"bc");
//!
//! buffer.consume(2);
//! buffer.release();
//! assert_eq!(pool.retained_buffers(), 1);
//! ```
//!
//! [`ThreadPool`] is one pool per thread, for connections that stay on their thread; [`LocalPool`] is
//! a pool with limits of its own; [`SlabPool`] is one block of memory for any number of threads;
//! [`SystemPool`] keeps nothing. All keep within named limits and fall back on the system's allocator.
//! Memory is handed out as it was left: its contents are unspecified.
//!
//! [`SlabPool`] needs a target whose processor can exchange words atomically, and is missing elsewhere.
//!
//! | Feature | Adds |
//! |---|---|
//! | `std` (default) | [`ThreadPool`], which is then the default pool |
//! | `debug` | to [`SlabPool`]: asserts, a pattern in what was returned, events of `tracing` |
//! | `fuzz` | `model` and `fuzz::run`: [`SlabPool`] beside a model, driven by any bytes |
//! | `prop_test` | `model` and `prop_test`: the same driven by strategies of `proptest` |
//! | `criterion` | the bench of the pools |
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod buffer;
#[cfg(all(any(test, feature = "fuzz"), target_has_atomic = "ptr"))]
pub mod fuzz;
#[cfg(all(
    any(test, feature = "fuzz", feature = "prop_test"),
    target_has_atomic = "ptr"
))]
pub mod model;
mod pool;
#[cfg(all(any(test, feature = "prop_test"), target_has_atomic = "ptr"))]
pub mod prop_test;
#[cfg(target_has_atomic = "ptr")]
mod slab;

pub use buffer::{Append, Buffer};
pub use pool::{
    BufferPool, DEFAULT_MAX_RETAINED_BUFFERS, DEFAULT_MAX_RETAINED_BYTES, DefaultPool, LocalPool,
    LocalStorage, MAX_RETAINED_BUFFER_LEN, MIN_BUFFER_LEN, OutOfMemory, RetentionLimits,
    SystemPool,
};
#[cfg(feature = "std")]
pub use pool::{ThreadPool, ThreadStorage};
#[cfg(target_has_atomic = "ptr")]
pub use slab::{
    DEFAULT_SLOT_LEN, DEFAULT_SLOTS, MAX_HANDLES, MAX_SLAB_LEN, MAX_SLOTS, SlabPool, SlabShape,
    SlabShapeError, SlabStorage, SlabUsage,
};
