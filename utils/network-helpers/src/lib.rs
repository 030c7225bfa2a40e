//! Stratum connections over TCP with limits and deadlines, on tokio or smol: V2 plain or in Noise, V1 plain or in TLS.
//!
//! A [`Connection`] is owned by one task and needs no other: [`Connection::ready`] waits for bytes while it writes what
//! is pending, [`Connection::next_frame`] gives the frames that have arrived, `queue_*` adds messages, and all of them
//! leave in one write at the next wait. Every peer is bounded in time (handshake, idleness, stalled writes) and in
//! memory (payload, outbound bytes); whatever ends a connection is a [`CloseReason`] with a name for metrics. While
//! nothing is under way a connection holds no buffers. A [`LineConnection`] is the same for the lines of Stratum V1.
//!
//! # Features
//!
//! | Feature | Brings |
//! |---|---|
//! | `with_tokio` (default) | [`tokio`]: connections on tokio; their names stand here at the root as well |
//! | `core` (default) | nothing more; our own codec of messages is always there |
//! | `with_serde` | handed on to `codec_sv2`, `framing_sv2` and `binary_sv2`; on connections serde changes nothing |
//! | `async_std` | [`smol`]: the same names on smol, which async-std's authors point to since it is discontinued |
//!
//! Features only add: with both, each module serves its runtime, and either end of a connection may be on either. With
//! neither, what needs no runtime is left (addresses, securities, limits, reasons, pauses), and [`runtime`], with which
//! connections run on any other one.
//!
//! [`Connection`]: runtime::Connection
//! [`Connection::ready`]: runtime::Connection::ready
//! [`Connection::next_frame`]: runtime::Connection::next_frame
//! [`LineConnection`]: runtime::LineConnection
#![cfg_attr(
    not(feature = "with_tokio"),
    doc = "\n[`tokio`]: https://docs.rs/stratum-network-helpers-sv2"
)]
#![cfg_attr(
    not(feature = "async_std"),
    doc = "\n[`smol`]: https://docs.rs/stratum-network-helpers-sv2"
)]
#![cfg_attr(feature = "with_tokio", doc = include_str!("tokio/example.md"))]
#![cfg_attr(feature = "async_std", doc = include_str!("smol/example.md"))]

#[cfg(any(feature = "with_tokio", feature = "async_std"))]
mod api;
mod backoff;
mod close;
mod connection;
mod endpoint;
#[cfg(any(feature = "with_tokio", feature = "async_std"))]
mod halves;
mod handshake;
mod keys_ahead;
mod line_connection;
mod proxy_protocol;
mod random;
pub mod runtime;
mod server_url;
#[cfg(feature = "async_std")]
pub mod smol;
mod sniff;
mod tcp;
mod timer;
mod tls;
#[cfg(feature = "with_tokio")]
pub mod tokio;
mod wire;

#[cfg(feature = "with_tokio")]
pub use self::tokio::{
    Connection, FrameReceiver, FrameSender, LineConnection, MaybeTls, Stream, accept, accept_lines,
    connect, connect_lines, sniff, split,
};
pub use backoff::Backoff;
pub use close::{CloseCounts, CloseReason};
pub use connection::{
    DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_OUTBOUND_LEN,
    DEFAULT_STALL_TIMEOUT, LINGER, Options, Wake,
};
pub use endpoint::{Endpoint, EndpointError};
#[cfg(any(feature = "with_tokio", feature = "async_std"))]
pub use halves::DEFAULT_QUEUE_LEN;
pub use handshake::{ClientSecurity, ServerIdentity, ServerSecurity};
pub use ipnet::IpNet;
pub use line_connection::LineOptions;
pub use proxy_protocol::{PROXY_HEADER_MAX_LEN, PROXY_HEADER_TIMEOUT, ProxyProtocol};
pub use random::{random_bytes, random_u32};
pub use server_url::{Protocol, ServerUrl, ServerUrlError, Sv1Endpoint};
pub use sniff::{SNIFF_SETTLE, Spoken};
pub use sv1_api::line::LineTooLong;
pub use tcp::{CLIENT_SEND_TIMEOUT, CONNECT_TIMEOUT, ConnectError};
pub use tls::{TlsClient, TlsError, TlsServer};
