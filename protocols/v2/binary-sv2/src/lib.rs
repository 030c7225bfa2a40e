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
#![no_std]

extern crate alloc;
extern crate self as binary_sv2;

mod byte_strings;
mod codec;
mod fixed;
mod messages;
mod reader;
mod sequences;
mod writer;

pub use binary_sv2_derive::{Decodable, Encodable};
pub use byte_strings::{B016M, B032, B064K, B0255, Bytes, LengthError, Str0255};
pub use codec::{Decodable, Encodable, IntoOwned};
pub use fixed::{Mac, PubKey, Signature, U24, U24OutOfRange, U256};
pub use messages::{Message, ParseMessageError};
pub use reader::{DecodeError, DecodeErrorKind, Reader};
pub use sequences::{Seq064K, Seq0255, SeqIter, SequenceTooLong};
pub use writer::{BufferTooShort, Writer};

#[doc(hidden)]
pub use codec::sum_of_fixed_lens;
#[doc(hidden)]
pub use const_sv2;
