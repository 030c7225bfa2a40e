//! Connections over TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use noise_sv2::HandshakeError;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::rustls;

use crate::handshake::Failure;
use crate::tls::{self, ClientFailure};
use crate::{
    ClientSecurity, CloseReason, Connection, Endpoint, LineConnection, LineOptions, MaybeTls,
    Options, ServerSecurity, Sv1Endpoint, TlsClient, TlsServer,
};

/// Time to resolve the name and reach the server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After this silence of a client its server's operating system asks whether it is still there, and again at a quarter of
/// it; one that vanished ends the connection with [`CloseReason::Io`] even where there is no idle deadline.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The same for a server that vanished, of which its client must know sooner: hash rate waits.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(12);

/// Questions without an answer after which the peer counts as gone.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long a server's machine may leave what a client sent it unacknowledged; then the connection ends with
/// [`CloseReason::Io`]. Otherwise the operating system would try for a quarter of an hour.
pub const CLIENT_SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a client has no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find {endpoint}: {source}; check the host's name and the network")]
    Resolve {
        /// The server.
        endpoint: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// None of the addresses can be reached.
    #[error("cannot reach {endpoint}: {source}; check that the server runs and the port is right")]
    Reach {
        /// The server.
        endpoint: String,
        /// What the operating system says of the last address.
        source: io::Error,
    },
    /// Finding the name and reaching its address took longer than [`CONNECT_TIMEOUT`].
    #[error("cannot reach {endpoint} in time; check the address, the network and firewalls")]
    Timeout {
        /// The server.
        endpoint: String,
    },
    /// The server is not the one that was expected, or does not speak Noise.
    #[error(
        "{endpoint} failed the handshake: {source}; check the authority key, and the clock of this machine"
    )]
    Handshake {
        /// The server.
        endpoint: String,
        /// What failed.
        source: HandshakeError,
    },
    /// The connection ended during the handshake.
    #[error(
        "{endpoint}: {reason}; check that the server speaks Stratum V2 with Noise on this port"
    )]
    Closed {
        /// The server.
        endpoint: String,
        /// How it ended.
        reason: CloseReason,
    },
    /// The certificate of the server is not to be believed.
    #[error(
        "{endpoint} shows a certificate that is not trusted: {source}; check the host's name, name the file of its CA, or do without verification"
    )]
    Certificate {
        /// The server.
        endpoint: String,
        /// What is wrong with the certificate.
        source: rustls::Error,
    },
    /// TLS with the server cannot be opened.
    #[error(
        "TLS with {endpoint} failed: {source}; check that the port is the server's port for TLS"
    )]
    Tls {
        /// The server.
        endpoint: String,
        /// What failed.
        source: io::Error,
    },
}

impl ConnectError {
    /// The reason under which the attempt is counted.
    pub fn reason(&self) -> CloseReason {
        match self {
            Self::Handshake { .. } | Self::Certificate { .. } => CloseReason::HandshakeFailed,
            Self::Tls { source, .. } => tls::reason_of(source),
            Self::Closed { reason, .. } => *reason,
            Self::Resolve { .. } | Self::Reach { .. } | Self::Timeout { .. } => CloseReason::Io,
        }
    }
}

/// Connects to a server. The name is resolved anew each time, and its addresses are tried in order.
///
/// # Errors
/// [`ConnectError`], whose message says what to check.
pub async fn connect(
    endpoint: &Endpoint,
    security: &ClientSecurity,
    options: Options,
) -> Result<Connection, ConnectError> {
    let name = || endpoint.to_string();
    let stream = reach_in_time(&endpoint.host, endpoint.port, &name).await?;
    let opened = Connection::open_client(stream, security, options).await;
    opened.map_err(|failure| match failure {
        Failure::Noise(source) => ConnectError::Handshake {
            endpoint: name(),
            source,
        },
        Failure::Closed(reason) => ConnectError::Closed {
            endpoint: name(),
            reason,
        },
    })
}

/// Connects to a Stratum V1 server, with TLS where its address says so. The name is resolved anew each time, and its
/// addresses are tried in order.
///
/// # Errors
/// [`ConnectError`], whose message says what to check.
pub async fn connect_lines(
    endpoint: &Sv1Endpoint,
    tls: &TlsClient,
    options: LineOptions,
) -> Result<LineConnection<MaybeTls>, ConnectError> {
    let name = || endpoint.to_string();
    let stream = reach_in_time(&endpoint.host, endpoint.port, &name).await?;
    if !endpoint.is_tls {
        return Ok(LineConnection::new(stream.into(), options));
    }
    // On the heap, so that the handshake's state does not stay in the memory of the connection's task.
    let opening = Box::pin(tls.connect(stream, &endpoint.host, options.handshake_timeout));
    let stream = opening
        .await
        .map_err(|failure| tls_error(endpoint, failure))?;
    Ok(LineConnection::new(stream, options))
}

fn tls_error(endpoint: &Sv1Endpoint, failure: ClientFailure) -> ConnectError {
    let endpoint = endpoint.to_string();
    match failure {
        ClientFailure::Timeout => ConnectError::Tls {
            endpoint,
            source: io::ErrorKind::TimedOut.into(),
        },
        ClientFailure::Tls(error) => match tls::tls_error(&error) {
            Some(source @ rustls::Error::InvalidCertificate(_)) => ConnectError::Certificate {
                endpoint,
                source: source.clone(),
            },
            _ => ConnectError::Tls {
                endpoint,
                source: error,
            },
        },
    }
}

async fn reach_in_time(
    host: &str,
    port: u16,
    name: &impl Fn() -> String,
) -> Result<TcpStream, ConnectError> {
    timeout(CONNECT_TIMEOUT, reach(host, port, name))
        .await
        .map_err(|_| ConnectError::Timeout { endpoint: name() })?
}

async fn reach(
    host: &str,
    port: u16,
    name: &impl Fn() -> String,
) -> Result<TcpStream, ConnectError> {
    let addresses = lookup_host((host, port))
        .await
        .map_err(|source| ConnectError::Resolve {
            endpoint: name(),
            source,
        })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connected(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Reach {
        endpoint: name(),
        source: last,
    })
}

async fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream, CLIENT_KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(CLIENT_SEND_TIMEOUT))?;
    Ok(stream)
}

/// Opens a connection as its server on a TCP stream that was accepted.
///
/// # Errors
/// As [`Connection::server`].
pub async fn accept(
    stream: TcpStream,
    security: &ServerSecurity,
    options: Options,
) -> Result<Connection, CloseReason> {
    prepare(&stream, KEEPALIVE)?;
    Connection::server(stream, security, options).await
}

/// Opens a connection that speaks lines as its server on a TCP stream that was accepted: through TLS where `tls` is
/// given.
///
/// # Errors
/// [`CloseReason`] when the socket has ended already, or as [`TlsServer::accept`].
pub async fn accept_lines(
    stream: TcpStream,
    tls: Option<&TlsServer>,
    options: LineOptions,
) -> Result<LineConnection<MaybeTls>, CloseReason> {
    prepare(&stream, KEEPALIVE)?;
    let stream = match tls {
        Some(tls) => tls.accept(stream, options.handshake_timeout).await?,
        None => stream.into(),
    };
    Ok(LineConnection::new(stream, options))
}

fn prepare(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    // Without it a small message waits up to 40 ms for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(silence / 4)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_hears_soon_of_a_server_that_vanished() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = connected(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(CLIENT_SEND_TIMEOUT)
        );
        let retries = socket.tcp_keepalive_retries().unwrap();
        let gone = socket.tcp_keepalive_time().unwrap()
            + socket.tcp_keepalive_interval().unwrap() * retries;
        assert!(gone <= Duration::from_secs(30), "{gone:?}");
    }
}
