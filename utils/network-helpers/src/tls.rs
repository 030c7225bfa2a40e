//! TLS around the lines of Stratum V1, for clients and servers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tracing::debug;

use crate::CloseReason;

mod any_server;

/// A TCP stream, in the clear or in TLS.
///
/// A peer that closes without saying so in TLS, as many do, has closed all the same: what speaks over it marks the ends
/// of its messages itself.
pub struct MaybeTls(Layer);

enum Layer {
    Plain(TcpStream),
    // Boxed, as it is some kilobytes long and most connections have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl MaybeTls {
    /// Whether it is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self.0, Layer::Tls(_))
    }

    /// The socket underneath, for its addresses.
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Layer::Plain(stream) => stream,
            Layer::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl From<TcpStream> for MaybeTls {
    fn from(stream: TcpStream) -> Self {
        Self(Layer::Plain(stream))
    }
}

impl fmt::Debug for MaybeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaybeTls")
            .field("is_tls", &self.is_tls())
            .field("tcp", self.tcp())
            .finish()
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Layer::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; check the path and who may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file of certificates has none.
    #[error(
        "{path} has no certificate; use a PEM file with -----BEGIN CERTIFICATE----- in it, the server's own first"
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file of a key has none that can be used.
    #[error(
        "{path} has no private key; use a PEM file with -----BEGIN PRIVATE KEY----- in it and no passphrase"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file is cut or changed.
    #[error("{path} is not whole: {source}; copy it again")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A certificate cannot vouch for servers.
    #[error(
        "{path} cannot vouch for servers: {source}; use the certificate of the CA that signed theirs"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Certificate and key do not belong together, or one of them cannot be used.
    #[error(
        "{key} and {certificate} do not make a TLS server: {source}; use the key that the certificate was made for"
    )]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What does not fit.
        source: rustls::Error,
    },
    /// A name that no certificate can have.
    #[error(
        "cannot make a certificate for {names:?}: {source}; use names and addresses of this server"
    )]
    SelfSigned {
        /// The names it was to be made for.
        names: Vec<String>,
        /// What is wrong with them.
        source: rcgen::Error,
    },
}

/// How clients trust TLS servers. Clones share it.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    is_verifying: bool,
}

impl TlsClient {
    /// Believes servers whose certificate one of the usual authorities (those that Mozilla trusts) has signed for their
    /// name, or one of the certificates in the PEM files `authorities`.
    ///
    /// # Errors
    /// [`TlsError`] when a file has no certificate that can be used.
    pub fn verifying(authorities: &[PathBuf]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for path in authorities {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|source| TlsError::Authority {
                        path: path.clone(),
                        source,
                    })?;
            }
        }
        let config = client_config().with_root_certificates(roots);
        Ok(Self {
            config: Arc::new(config.with_no_client_auth()),
            is_verifying: true,
        })
    }

    /// Believes any server, so that whoever sits between can read and change everything, the payout address included.
    ///
    /// It is what nearly all miners do, as most pools show certificates that they have signed themselves; and it still
    /// hides from those who only listen what is mined for whom. Use it only where [`TlsClient::verifying`] cannot be.
    pub fn believing_anyone() -> Self {
        let verifier = Arc::new(any_server::AnyServer::new(provider()));
        let config = client_config().dangerous();
        let config = config.with_custom_certificate_verifier(verifier);
        Self {
            config: Arc::new(config.with_no_client_auth()),
            is_verifying: false,
        }
    }

    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        handshake_timeout: Duration,
    ) -> Result<MaybeTls, ClientFailure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ClientFailure::Tls(io::Error::other(error)))?;
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        match timeout(handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(MaybeTls(Layer::Tls(Box::new(stream.into())))),
            Ok(Err(error)) => Err(ClientFailure::Tls(error)),
            Err(_) => Err(ClientFailure::Timeout),
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("is_verifying", &self.is_verifying)
            .finish_non_exhaustive()
    }
}

/// Why a client's handshake came to nothing.
pub(crate) enum ClientFailure {
    Tls(io::Error),
    Timeout,
}

/// What a TLS server shows its clients. Clones share it.
#[derive(Clone)]
pub struct TlsServer {
    acceptor: TlsAcceptor,
    is_self_signed: bool,
}

impl TlsServer {
    /// A server with the certificate in the PEM file `certificate`, followed there by those that lead to its authority,
    /// and the key in the PEM file `key`.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be used, or the two do not belong together.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let private = private_key(key)?;
        let acceptor = acceptor(chain, private).map_err(|source| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
        Ok(Self {
            acceptor,
            is_self_signed: false,
        })
    }

    /// A server with a key and a certificate made now, for the names and addresses `names`. Nobody vouches for it, so
    /// only clients that believe anyone connect to it.
    ///
    /// # Errors
    /// [`TlsError::SelfSigned`] when one of the names is none.
    pub fn self_signed(names: Vec<String>) -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed(names.clone());
        let made = made.map_err(|source| TlsError::SelfSigned { names, source })?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let acceptor = acceptor(vec![made.cert.der().clone()], key.into())
            .expect("a certificate was made for its key");
        Ok(Self {
            acceptor,
            is_self_signed: true,
        })
    }

    /// Opens TLS as its server on a stream that was accepted.
    ///
    /// # Errors
    /// [`CloseReason`] when the handshake fails or takes longer than `handshake_timeout`.
    pub async fn accept(
        &self,
        stream: TcpStream,
        handshake_timeout: Duration,
    ) -> Result<MaybeTls, CloseReason> {
        // On the heap, so that the handshake's state does not stay in the memory of the connection's task.
        let handshake = Box::pin(self.acceptor.accept(stream));
        match timeout(handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(MaybeTls(Layer::Tls(Box::new(stream.into())))),
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake failed");
                Err(reason_of(&error))
            }
            Err(_) => Err(CloseReason::HandshakeTimeout),
        }
    }
}

impl fmt::Debug for TlsServer {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("is_self_signed", &self.is_self_signed)
            .finish_non_exhaustive()
    }
}

pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CloseReason::HandshakeClosed,
        _ if tls_error(error).is_some() => CloseReason::HandshakeFailed,
        _ => CloseReason::Io,
    }
}

/// What TLS itself objects to.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const PROVIDER_HAS_BOTH: &str = "the provider has ciphers for TLS 1.2 and 1.3";

fn client_config() -> ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(PROVIDER_HAS_BOTH)
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(PROVIDER_HAS_BOTH)
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config).into())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate {
            path: path.to_owned(),
        }),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem_error(path, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
        },
        error => pem_error(path, error),
    })
}

fn pem_error(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { path, source },
        source => TlsError::Pem { path, source },
    }
}
