//! Stratum V1: messages, line framing, miner quirks, and both ends of a connection without I/O.
//!
//! Written strictly, read tolerantly: what goes out has one form that all known miners take, what comes in may have any
//! form in which the meaning is clear. What is refused is counted by reason and never ends more than its connection.
//!
//! - [`mod@line`] cuts a byte stream into lines, [`message`] tells requests from answers, [`client_message`] and
//!   [`server_message`] give them meaning.
//! - [`server`] and [`client`] are the two ends of a connection: lines and time in, lines and events out.
//! - [`quirks`] knows what certain miners need, [`worker`] what names and passwords carry.
//!
//! ```
//! use sv1_api::client_message::ClientMessage;
//! use sv1_api::message::Message;
//!
//! let line = br#"{"params": ["slush.miner1", "bf", "00000001", "504e86ed", "b2957c02"], "id": 4, "method": "mining.submit"}"#;
//! let Ok(Message::Request(request)) = Message::parse(line) else { panic!() };
//! let Ok(ClientMessage::Submit(share)) = ClientMessage::parse(&request) else { panic!() };
//! assert_eq!((share.nonce, request.id.as_json()), (0xb295_7c02, "4"));
//! ```

pub mod client;
pub mod client_message;
mod difficulty;
pub mod error;
mod id;
pub mod line;
pub mod message;
mod params;
pub mod quirks;
pub mod reject;
pub mod server;
pub mod server_message;
pub mod worker;

pub use difficulty::Difficulty;
pub use id::{Id, MAX_ID_BYTES};
pub use params::{ParamError, Problem};
