//! Stratum V2 as a C library: messages, frames, and a miner's connection, for firmware and nodes.
//!
//! C callers read `sv2.h`, which is made from this crate by `cargo xtask header`, and the README beside it. This page is for those
//! who change the crate.
//!
//! - **Results.** Every function that can fail returns an [`sv2_result`], a number with a name and a text.
//! - **The boundary.** The body of every export runs in `boundary`: an error becomes its number, a panic [`SV2_PANIC`] with std and
//!   a call of the platform's `abort` without.
//! - **Handles.** An opaque pointer is no address but a kind, a slot and a generation, resolved in a table: a handle of the wrong
//!   kind, a freed one, or one in use by another thread is found out, see [`handle`](self#handles).
//! - **Memory.** What a peer makes the library allocate is asked for in ways that can be refused; `memory` says how.
//! - **Messages.** Structs, decoders and encoders under `messages` are written by `cargo xtask header` from the Rust structs of the
//!   sub-protocol crates. They borrow: a decoded struct points into the payload.
//!
//! # Handles
//!
//! A handle is odd, so no address of an object is one, and holds 4 bits of kind, 8 of slot, and as generation the 19 bits (on 64-bit
//! targets 51) that are left. Freeing a handle advances the generation of its slot, and slots are used in turn. Detection ends where
//! generations repeat: a handle kept beyond 2^19 (2^51) further uses of its slot is taken for the one that has its number by then.
//!
//! ```
//! use sv2_ffi::{SV2_OK, sv2_setup_connection_success, sv2_setup_connection_success_encode};
//!
//! let message = sv2_setup_connection_success { used_version: 2, flags: 0 };
//! let (mut frame, mut len) = ([0; 16], 0);
//! // SAFETY: message, buffer and length are there, and the capacity is the buffer's.
//! let result = unsafe {
//!     sv2_setup_connection_success_encode(&message, frame.as_mut_ptr(), frame.len(), &mut len)
//! };
//! assert_eq!(result, SV2_OK);
//! assert_eq!(frame[..len], [0, 0, 1, 6, 0, 0, 2, 0, 0, 0, 0, 0]);
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(
    unsafe_code,
    reason = "an interface to C is made of pointers; each block has its proof"
)]
#![allow(non_camel_case_types, reason = "types are named as C callers see them")]

extern crate alloc;

mod boundary;
mod decoder;
mod environment;
mod handle;
mod memory;
mod messages;
#[cfg(feature = "miner")]
mod miner;
mod payload;
mod platform;
mod pointer;
mod result;
mod view;

pub use decoder::*;
pub use environment::*;
pub use handle::SV2_MAX_HANDLES;
pub use messages::*;
#[cfg(feature = "miner")]
pub use miner::*;
pub use platform::*;
pub use result::*;
pub use view::*;
