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
//! a pool with limits of its own; [`SystemPool`] keeps nothing. All keep within named limits and fall
//! back on the system's allocator. Memory is handed out as it was left: its contents are unspecified.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod buffer;
mod pool;

pub use buffer::{Append, Buffer};
pub use pool::{
    BufferPool, DEFAULT_MAX_RETAINED_BUFFERS, DEFAULT_MAX_RETAINED_BYTES, DefaultPool, LocalPool,
    LocalStorage, MAX_RETAINED_BUFFER_LEN, MIN_BUFFER_LEN, OutOfMemory, RetentionLimits,
    SystemPool,
};
#[cfg(feature = "std")]
pub use pool::{ThreadPool, ThreadStorage};
