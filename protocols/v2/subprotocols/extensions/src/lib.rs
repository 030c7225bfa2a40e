//! Stratum V2 extensions: negotiation (0x0001), TLV fields behind a message, worker identity (0x0002).
//!
//! ```
//! use extensions_sv2::{WorkerIdentity, tlv_fields};
//!
//! let mut payload = vec![0xaa; 4];
//! WorkerIdentity::new(b"rig-7").unwrap().append_to(&mut payload);
//! let trailing = &payload[4..];
//! assert_eq!(trailing, b"\x02\x00\x01\x05\x00rig-7");
//!
//! let identity = WorkerIdentity::find(trailing).unwrap().unwrap();
//! assert_eq!(identity.as_bytes(), b"rig-7");
//! assert_eq!(tlv_fields(trailing).count(), 1);
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec is always there.
//! - `with_serde`: all messages implement serde's `Serialize` and `Deserialize`, see `binary_sv2` for their forms.
//! - `prop_test`: all messages implement proptest's `Arbitrary`; brings the standard library.
#![no_std]

extern crate alloc;

mod negotiation;
mod tlv;
mod worker_identity;

pub use negotiation::{
    ExtensionNegotiationMessage, RequestExtensions, RequestExtensionsError,
    RequestExtensionsSuccess,
};
pub use tlv::{TLV_HEADER_LEN, Tlv, TlvByteOrder, TlvError, TlvFields, tlv_fields, tlv_fields_for};
pub use worker_identity::{WorkerIdentity, WorkerIdentityError};
