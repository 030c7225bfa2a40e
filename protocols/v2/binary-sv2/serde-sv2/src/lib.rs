//! A serde Serializer and Deserializer of the bytes of Stratum V2.
//!
//! What `binary_sv2` writes and reads by itself, this crate writes and reads through serde, for the data types, every
//! message (feature `with_serde` of its crate), and structs of your own that derive serde's traits. The bytes are the same
//! ones and so is what is refused; decoded byte strings borrow from the payload.
//!
//! ```
//! use binary_sv2::{Encodable, Seq0255, Str0255, U24};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Greeting<'a> {
//!     number: U24,
//!     #[serde(borrow)]
//!     text: Str0255<'a>,
//!     reply_to: Option<u32>,
//! }
//!
//! let greeting = Greeting { number: U24::MAX, text: "hi".try_into().unwrap(), reply_to: Some(7) };
//! let bytes = serde_sv2::to_vec(&greeting)?;
//! assert_eq!(bytes, [0xff, 0xff, 0xff, 2, b'h', b'i', 1, 7, 0, 0, 0]);
//! assert_eq!(serde_sv2::from_bytes::<Greeting>(&bytes)?, greeting);
//!
//! let error = serde_sv2::from_bytes::<Greeting>(&bytes[..4]).unwrap_err();
//! assert_eq!(error.to_string(), "field text: 2 bytes needed, 0 left");
//! # Ok::<(), serde_sv2::Error>(())
//! ```
//!
//! # What has a form on the wire
//!
//! | serde | Bytes |
//! |---|---|
//! | `bool`, `u8`, `u16`, `u32`, `u64`, `f32` | `BOOL`, the integers and `F32` |
//! | structs, tuples, arrays | the elements one after another |
//! | `Option` | `OPTION[T]` |
//! | a newtype by the name of a data type, such as `B0_255` or `SEQ0_64K` | that data type |
//! | any other newtype | what is inside |
//! | a newtype variant | the payload; the number of the message stands in the frame's header, see [`message_from_bytes`] |
//!
//! The rest (text and lists without a length of a known size, signed integers, maps, …) is refused with
//! [`Error::NoWireForm`].
//!
//! # Where it differs from `binary_sv2`
//!
//! - A sequence is unpacked into a vector of its elements, which may take several times the memory of its bytes;
//!   `binary_sv2` leaves it packed. Nothing is reserved for elements that have not been read.
//! - A sequence of a fixed element length that reaches past the payload is refused at the element that is cut, not as a
//!   whole: serde does not know the length of elements it has not read.
#![no_std]

extern crate alloc;

mod de;
mod error;
mod ser;
mod wire_type;

pub use de::{Deserializer, from_bytes, from_bytes_prefix, message_from_bytes};
pub use error::Error;
pub use ser::{Output, Serializer, encoded_len, to_slice, to_vec};
