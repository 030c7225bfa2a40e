//! Connections over TCP, on any runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use noise_sv2::HandshakeError;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;

use crate::handshake::Failure;
use crate::runtime::{Connection, Io, LineConnection, MaybeTls, Runtime};
use crate::tls::{self, ClientFailure};
use crate::{
    ClientSecurity, CloseReason, Endpoint, LineOptions, Options, ServerSecurity, Sv1Endpoint,
    TlsClient, TlsServer,
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

/// A TCP stream of a runtime, and TLS upon it. Implemented for the streams of the runtimes that this crate has features for,
/// and by nobody else.
pub trait Tcp: Sealed + Io<<Self as Tcp>::Runtime> + 'static {
    /// The runtime.
    type Runtime: Runtime;

    /// What TLS makes of it.
    #[doc(hidden)]
    type Tls;

    #[doc(hidden)]
    fn resolve(host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    #[doc(hidden)]
    fn reach(address: SocketAddr) -> impl Future<Output = io::Result<Self>> + Send;

    /// Waits for bytes and copies them without taking them.
    #[doc(hidden)]
    fn look(&self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;

    #[doc(hidden)]
    fn socket(&self) -> SockRef<'_>;

    #[doc(hidden)]
    fn open_tls(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> impl Future<Output = io::Result<Self::Tls>> + Send;

    #[doc(hidden)]
    fn accept_tls(
        self,
        config: Arc<ServerConfig>,
    ) -> impl Future<Output = io::Result<Self::Tls>> + Send;

    /// The stream under TLS.
    #[doc(hidden)]
    fn below(tls: &Self::Tls) -> &Self;
}

/// Keeps [`Tcp`] to this crate.
pub trait Sealed: Sized {}

/// Why a client has no connection.
///
/// Each message holds its cause, so [`Error::source`](std::error::Error::source) does not give that again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find {endpoint}: {cause}; check the host's name and the network")]
    Resolve {
        /// The server.
        endpoint: String,
        /// What the resolver says.
        cause: io::Error,
    },
    /// None of the addresses can be reached.
    #[error("cannot reach {endpoint}: {cause}; check that the server runs and the port is right")]
    Reach {
        /// The server.
        endpoint: String,
        /// What the operating system says of the last address.
        cause: io::Error,
    },
    /// Finding the name and reaching its address took longer than [`CONNECT_TIMEOUT`].
    #[error("cannot reach {endpoint} in time; check the address, the network and firewalls")]
    Timeout {
        /// The server.
        endpoint: String,
    },
    /// The server is not the one that was expected, or does not speak Noise.
    #[error(
        "{endpoint} failed the handshake: {cause}; check the authority key, and the clock of this machine"
    )]
    Handshake {
        /// The server.
        endpoint: String,
        /// What failed.
        cause: HandshakeError,
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
        "{endpoint} shows a certificate that is not trusted: {cause}; check the host's name, name the file of its CA, or do without verification"
    )]
    Certificate {
        /// The server.
        endpoint: String,
        /// What is wrong with the certificate.
        cause: rustls::Error,
    },
    /// TLS with the server cannot be opened.
    #[error(
        "TLS with {endpoint} failed: {cause}; check that the port is the server's port for TLS"
    )]
    Tls {
        /// The server.
        endpoint: String,
        /// What failed.
        cause: io::Error,
    },
}

impl ConnectError {
    /// The reason under which the attempt is counted.
    pub fn reason(&self) -> CloseReason {
        match self {
            Self::Handshake { .. } | Self::Certificate { .. } => CloseReason::HandshakeFailed,
            Self::Tls { cause, .. } => tls::reason_of(cause),
            Self::Closed { reason, .. } => *reason,
            Self::Resolve { .. } | Self::Reach { .. } | Self::Timeout { .. } => CloseReason::Io,
        }
    }
}

/// Connects to a server. The name is resolved anew each time, and its addresses are tried in order.
///
/// # Errors
/// [`ConnectError`], whose message says what to check.
pub async fn connect<T: Tcp>(
    endpoint: &Endpoint,
    security: &ClientSecurity,
    options: Options,
) -> Result<Connection<T, T::Runtime>, ConnectError> {
    let name = || endpoint.to_string();
    let stream = reach_in_time(&endpoint.host, endpoint.port, &name).await?;
    let opened = Connection::open_client(stream, security, options).await;
    opened.map_err(|failure| match failure {
        Failure::Noise(cause) => ConnectError::Handshake {
            endpoint: name(),
            cause,
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
/// `tls` says which servers are believed, and matters for TLS only; `None` believes those that one of the usual
/// authorities vouches for, as [`TlsClient::verifying`] without files does.
///
/// # Errors
/// [`ConnectError`], whose message says what to check.
pub async fn connect_lines<T: Tcp>(
    endpoint: &Sv1Endpoint,
    tls: Option<&TlsClient>,
    options: LineOptions,
) -> Result<LineConnection<MaybeTls<T>, T::Runtime>, ConnectError>
where
    MaybeTls<T>: Io<T::Runtime>,
{
    let name = || endpoint.to_string();
    let stream: T = reach_in_time(&endpoint.host, endpoint.port, &name).await?;
    if !endpoint.is_tls {
        return Ok(LineConnection::new(stream.into(), options));
    }
    let tls = tls.unwrap_or_else(|| TlsClient::usual());
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
            cause: io::ErrorKind::TimedOut.into(),
        },
        ClientFailure::Tls(error) => match tls::tls_error(&error) {
            Some(cause @ rustls::Error::InvalidCertificate(_)) => ConnectError::Certificate {
                endpoint,
                cause: cause.clone(),
            },
            _ => ConnectError::Tls {
                endpoint,
                cause: error,
            },
        },
    }
}

async fn reach_in_time<T: Tcp>(
    host: &str,
    port: u16,
    name: &impl Fn() -> String,
) -> Result<T, ConnectError> {
    // On the heap, as a handshake is: it is over before the connection begins.
    T::Runtime::timeout(CONNECT_TIMEOUT, Box::pin(reach(host, port, name)))
        .await
        .unwrap_or_else(|| Err(ConnectError::Timeout { endpoint: name() }))
}

async fn reach<T: Tcp>(
    host: &str,
    port: u16,
    name: &impl Fn() -> String,
) -> Result<T, ConnectError> {
    let addresses = T::resolve(host, port)
        .await
        .map_err(|cause| ConnectError::Resolve {
            endpoint: name(),
            cause,
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
        cause: last,
    })
}

async fn connected<T: Tcp>(address: SocketAddr) -> io::Result<T> {
    let stream = T::reach(address).await?;
    prepare(&stream, CLIENT_KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    stream
        .socket()
        .set_tcp_user_timeout(Some(CLIENT_SEND_TIMEOUT))?;
    Ok(stream)
}

/// Opens a connection as its server on a TCP stream that was accepted.
///
/// # Errors
/// As [`Connection::server`].
pub async fn accept<T: Tcp>(
    stream: T,
    security: &ServerSecurity,
    options: Options,
) -> Result<Connection<T, T::Runtime>, CloseReason> {
    prepare(&stream, KEEPALIVE)?;
    Connection::server(stream, security, options).await
}

/// Opens a connection that speaks lines as its server on a TCP stream that was accepted: through TLS where `tls` is
/// given.
///
/// # Errors
/// [`CloseReason`] when the socket has ended already, or as [`TlsServer::accept`].
pub async fn accept_lines<T: Tcp>(
    stream: T,
    tls: Option<&TlsServer>,
    options: LineOptions,
) -> Result<LineConnection<MaybeTls<T>, T::Runtime>, CloseReason>
where
    MaybeTls<T>: Io<T::Runtime>,
{
    prepare(&stream, KEEPALIVE)?;
    let stream = match tls {
        Some(tls) => tls.accept(stream, options.handshake_timeout).await?,
        None => stream.into(),
    };
    Ok(LineConnection::new(stream, options))
}

fn prepare(stream: &impl Tcp, silence: Duration) -> io::Result<()> {
    let socket = stream.socket();
    // Without it a small message waits up to 40 ms for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(silence / 4)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::iter::successors;

    use rustls::CertificateError;

    use super::*;
    use crate::{EndpointError, TlsError};

    /// Fails unless all messages of the chain that `error` begins hold `cause` once between them.
    #[track_caller]
    fn check_told_once(error: &(dyn Error + 'static), cause: &str) {
        let chain = successors(Some(error), |error: &&(dyn Error + 'static)| {
            (*error).source()
        });
        let told: Vec<_> = chain.map(ToString::to_string).collect();
        let count: usize = told.iter().map(|told| told.matches(cause).count()).sum();
        assert_eq!(count, 1, "`{cause}` in {told:?}");
    }

    #[test]
    fn a_chain_of_errors_tells_each_cause_once() {
        let endpoint = || "pool.example:3333".to_owned();
        let io = || io::Error::other("no route");
        let bad = || rustls::Error::InvalidCertificate(CertificateError::Expired);
        let handshake = HandshakeError::from(noise_sv2::CertificateError::Signature);
        let wrong = handshake.to_string();
        let cases: [(ConnectError, &str); 7] = [
            (
                ConnectError::Resolve {
                    endpoint: endpoint(),
                    cause: io(),
                },
                "no route",
            ),
            (
                ConnectError::Reach {
                    endpoint: endpoint(),
                    cause: io(),
                },
                "no route",
            ),
            (
                ConnectError::Tls {
                    endpoint: endpoint(),
                    cause: io::Error::other(bad()),
                },
                "Expired",
            ),
            (
                ConnectError::Certificate {
                    endpoint: endpoint(),
                    cause: bad(),
                },
                "Expired",
            ),
            (
                ConnectError::Handshake {
                    endpoint: endpoint(),
                    cause: handshake,
                },
                &wrong,
            ),
            (
                ConnectError::Closed {
                    endpoint: endpoint(),
                    reason: CloseReason::HandshakeClosed,
                },
                "the peer closed",
            ),
            (
                ConnectError::Timeout {
                    endpoint: endpoint(),
                },
                "in time",
            ),
        ];
        for (error, cause) in &cases {
            check_told_once(error, cause);
        }
        let read = TlsError::Read {
            path: "key.pem".into(),
            cause: io(),
        };
        check_told_once(&read, "no route");
        let key: EndpointError = "a:1/x".parse::<Endpoint>().unwrap_err();
        let EndpointError::Key { cause, .. } = &key else {
            panic!("{key}");
        };
        check_told_once(&key, &cause.to_string());
    }
}
