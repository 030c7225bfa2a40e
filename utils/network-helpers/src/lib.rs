//! Stratum connections over TCP with limits and deadlines: V2 plain or in Noise, V1 plain or in TLS.
//!
//! A [`Connection`] is owned by one task and needs no other: [`Connection::ready`] waits for bytes while it writes what
//! is pending, [`Connection::next_frame`] gives the frames that have arrived, `queue_*` adds messages, and all of them
//! leave in one write at the next wait. Every peer is bounded in time (handshake, idleness, stalled writes) and in
//! memory (payload, outbound bytes); whatever ends a connection is a [`CloseReason`] with a name for metrics. While
//! nothing is under way a connection holds no buffers. A [`LineConnection`] is the same for the lines of Stratum V1.
//!
//! ```
//! use network_helpers_sv2::{ClientSecurity, Connection, Options, ServerIdentity, ServerSecurity, Wake};
//! use noise_sv2::AuthoritySecretKey;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let authority = AuthoritySecretKey::from_bytes(&[1; 32])?;
//! let client = ClientSecurity::Noise { authority: Some(authority.public_key()) };
//! let server = ServerSecurity::Noise(ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY).into());
//!
//! let (near, far) = tokio::io::duplex(4096);
//! let options = Options::default();
//! let (client, server) = tokio::join!(
//!     Connection::client(near, &client, options),
//!     Connection::server(far, &server, options),
//! );
//! let (mut client, mut server) = (client?, server?);
//!
//! client.queue_raw(0, 0x56, b"ping")?;
//! client.flush().await?;
//! assert_eq!(server.ready(None).await?, Wake::Readable);
//! assert_eq!(server.next_frame()?.unwrap().payload(), b"ping");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec of messages is always there.
//! - `with_serde`: handed on to `codec_sv2`, `framing_sv2` and `binary_sv2`; on connections serde changes nothing.

mod backoff;
mod close;
mod connection;
mod endpoint;
mod halves;
mod handshake;
mod keys_ahead;
mod line_connection;
mod proxy_protocol;
mod random;
mod server_url;
mod sniff;
mod tcp;
mod timer;
mod tls;
mod wire;

pub use backoff::Backoff;
pub use close::{CloseCounts, CloseReason};
pub use connection::{
    Connection, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_OUTBOUND_LEN,
    DEFAULT_STALL_TIMEOUT, LINGER, Options, Stream, Wake,
};
pub use endpoint::{Endpoint, EndpointError};
pub use halves::{DEFAULT_QUEUE_LEN, FrameReceiver, FrameSender, split};
pub use handshake::{ClientSecurity, ServerIdentity, ServerSecurity};
pub use ipnet::IpNet;
pub use line_connection::{LineConnection, LineOptions};
pub use proxy_protocol::{PROXY_HEADER_MAX_LEN, PROXY_HEADER_TIMEOUT, ProxyProtocol};
pub use random::{random_bytes, random_u32};
pub use server_url::{Protocol, ServerUrl, ServerUrlError, Sv1Endpoint};
pub use sniff::{SNIFF_SETTLE, Spoken, sniff};
pub use sv1_api::line::LineTooLong;
pub use tcp::{
    CLIENT_SEND_TIMEOUT, CONNECT_TIMEOUT, ConnectError, accept, accept_lines, connect,
    connect_lines,
};
pub use tls::{MaybeTls, TlsClient, TlsError, TlsServer};
