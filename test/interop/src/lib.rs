//! Peers made of the reference implementation's published crates (`sri`), and our programs to meet them.
//!
//! [`peer`] is a connection, [`client`] a miner, [`pool`] a small pool. Everything on the peer's side of the socket is
//! its own: handshake, codec, messages, channels, share validation, Bitcoin types. It blocks, so a peer is a thread.
//!
//! This is test support: what does not go as it should ends by panic.

pub mod client;
pub mod ours;
pub mod peer;
pub mod pool;
pub mod work;
