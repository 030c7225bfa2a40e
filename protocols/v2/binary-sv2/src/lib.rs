//! The binary data types of Stratum V2 (specification 3.1).
//!
//! A message is a struct that derives [`Encodable`] and [`Decodable`]; its fields are written in order, unpadded,
//! integers little-endian. Decoding is one pass over the payload: byte strings and sequences borrow from it, every
//! length is checked against what is there, and an error names the field. [`IntoOwned`] cuts the borrow.
//!
//! ```
//! use binary_sv2::{Decodable, Encodable, IntoOwned, Str0255};
//!
//! #[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
//! struct Greeting<'a> {
//!     number: u32,
//!     text: Str0255<'a>,
//!     reply_to: Option<u32>,
//! }
//!
//! let greeting = Greeting { number: 7, text: "hi".try_into().unwrap(), reply_to: None };
//! let bytes = greeting.to_vec();
//! assert_eq!(bytes, [7, 0, 0, 0, 2, b'h', b'i', 0]);
//!
//! let (decoded, trailing) = Greeting::decode_prefix(&bytes).unwrap();
//! assert!(trailing.is_empty());
//! assert_eq!(decoded.into_owned(), greeting);
//!
//! let error = Greeting::from_bytes(&bytes[..5]).unwrap_err();
//! assert_eq!(error.field, "text");
//! ```
//!
//! # Features
//!
//! - `core` (default): the codec above. Nothing switches it off, because frames are made of it: without `core`, with
//!   `with_serde` alone or with both, the same types have the same API and the same bytes. The name is there to be
//!   asked for.
//! - `with_serde`: all data types implement serde's `Serialize` and `Deserialize`, and derives of these names do for
//!   messages what serde's own do, borrowing without an attribute.
//! - `prop_test`: all data types implement proptest's `Arbitrary`, and a derive of this name does for messages; brings
//!   the standard library.
//! - `criterion`: the benches of this crate; without them it does nothing.
//!
//! # With serde
//!
//! `stratum-serde-sv2` writes and reads the bytes of the wire through serde. In other formats the data types are newtypes
//! by the name that the specification gives them, around bytes, lists and numbers. In formats for people (JSON, TOML):
//!
//! | Type | Is |
//! |---|---|
//! | `U24`, integers, `F32`, `BOOL` | a number, a boolean; JSON has no infinite floats and no NaN |
//! | `U256`, `PUBKEY`, `SIGNATURE`, `MAC`, `B0_32`, `B0_255`, `B0_64K`, `B0_16M`, `BYTES` | hexadecimal in the order of the wire |
//! | `STR0_255` | text; a list of byte values where it is no UTF-8 |
//! | `OPTION[T]` | the value, or null, or no field at all |
//! | `SEQ0_255[T]`, `SEQ0_64K[T]` | a list |
//! | a message | a map of its fields; names that it has no field for are passed over |
//! | any message of a sub-protocol | a map of one entry, its key the message's name: `{"SetTarget": {…}}` |
//!
//! Limits of lengths and counts hold in every format. Byte strings and text borrow where the format can lend them;
//! sequences take a vector of their own.
#![no_std]

extern crate alloc;
extern crate self as binary_sv2;

#[cfg(feature = "prop_test")]
mod arbitrary;
mod byte_strings;
mod codec;
mod fixed;
mod messages;
mod reader;
mod sequences;
#[cfg(feature = "with_serde")]
mod with_serde;
mod writer;

#[cfg(feature = "prop_test")]
pub use binary_sv2_derive::Arbitrary;
pub use binary_sv2_derive::{Decodable, Encodable};
#[cfg(feature = "with_serde")]
pub use binary_sv2_derive::{Deserialize, Serialize};
pub use byte_strings::{B016M, B032, B064K, B0255, Bytes, LengthError, Str0255};
pub use codec::{Decodable, Encodable, IntoOwned};
pub use fixed::{Mac, PubKey, Signature, U24, U24OutOfRange, U256};
pub use messages::{Message, ParseMessageError};
#[cfg(feature = "prop_test")]
pub use proptest::arbitrary::Arbitrary;
pub use reader::{DecodeError, DecodeErrorKind, Reader};
pub use sequences::{Seq064K, Seq0255, SeqIter, SequenceTooLong};
#[cfg(feature = "with_serde")]
pub use serde_core::{Deserialize, Serialize};
pub use writer::{BufferTooShort, Writer};

#[doc(hidden)]
pub use codec::sum_of_fixed_lens;
#[doc(hidden)]
pub use const_sv2;
#[cfg(feature = "prop_test")]
#[doc(hidden)]
pub use proptest;
#[cfg(feature = "with_serde")]
#[doc(hidden)]
pub use with_serde::derived;
