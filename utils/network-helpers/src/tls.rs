//! TLS around the lines of Stratum V1, for clients and servers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
#[cfg(any(feature = "with_tokio", feature = "async_std"))]
use std::task::Poll;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use thiserror::Error;
use tracing::debug;

use crate::CloseReason;
use crate::runtime::{Runtime, Tcp};

mod any_server;

/// The TCP stream `T`, in the clear or in TLS.
///
/// A peer that closes without saying so in TLS, as many do, has closed all the same: what speaks over it marks the ends
/// of its messages itself.
pub struct MaybeTls<T: Tcp>(pub(crate) Layer<T>);

pub(crate) enum Layer<T: Tcp> {
    Plain(T),
    // Boxed, as it is some kilobytes long and most connections have none.
    Tls(Box<T::Tls>),
}

impl<T: Tcp> MaybeTls<T> {
    fn encrypted(stream: T::Tls) -> Self {
        Self(Layer::Tls(Box::new(stream)))
    }

    /// Whether it is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self.0, Layer::Tls(_))
    }

    /// The socket underneath, for its addresses.
    pub fn tcp(&self) -> &T {
        match &self.0 {
            Layer::Plain(stream) => stream,
            Layer::Tls(stream) => T::below(stream),
        }
    }
}

impl<T: Tcp> From<T> for MaybeTls<T> {
    fn from(stream: T) -> Self {
        Self(Layer::Plain(stream))
    }
}

impl<T: Tcp + fmt::Debug> fmt::Debug for MaybeTls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaybeTls")
            .field("is_tls", &self.is_tls())
            .field("tcp", self.tcp())
            .finish()
    }
}

/// What is read where the peer closes without saying so in TLS: the end of the stream.
#[cfg(any(feature = "with_tokio", feature = "async_std"))]
pub(crate) fn end_without_notice<N: Default>(read: Poll<io::Result<N>>) -> Poll<io::Result<N>> {
    match read {
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Poll::Ready(Ok(N::default()))
        }
        read => read,
    }
}

/// Why TLS cannot be set up.
///
/// Each message holds its cause, so [`Error::source`](std::error::Error::source) does not give that again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}; check the path and who may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
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
    #[error("{path} is not whole: {cause}; copy it again")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// A certificate cannot vouch for servers.
    #[error(
        "{path} cannot vouch for servers: {cause}; use the certificate of the CA that signed theirs"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls::Error,
    },
    /// Certificate and key do not belong together, or one of them cannot be used.
    #[error(
        "{key} and {certificate} do not make a TLS server: {cause}; use the key that the certificate was made for"
    )]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// What does not fit.
        cause: rustls::Error,
    },
    /// A name that no certificate can have.
    #[error(
        "cannot make a certificate for {names:?}: {cause}; use names and addresses of this server"
    )]
    SelfSigned {
        /// The names it was to be made for.
        names: Vec<String>,
        /// What is wrong with them.
        cause: rcgen::Error,
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
        let mut roots = usual_authorities();
        for path in authorities {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|cause| TlsError::Authority {
                        path: path.clone(),
                        cause,
                    })?;
            }
        }
        Ok(Self::with_authorities(roots))
    }

    fn with_authorities(roots: RootCertStore) -> Self {
        let config = client_config().with_root_certificates(roots);
        Self {
            config: Arc::new(config.with_no_client_auth()),
            is_verifying: true,
        }
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

    /// [`TlsClient::verifying`] without files, made at its first use.
    pub(crate) fn usual() -> &'static Self {
        static USUAL: LazyLock<TlsClient> =
            LazyLock::new(|| TlsClient::with_authorities(usual_authorities()));
        &USUAL
    }

    pub(crate) async fn connect<T: Tcp>(
        &self,
        stream: T,
        host: &str,
        handshake_timeout: Duration,
    ) -> Result<MaybeTls<T>, ClientFailure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ClientFailure::Tls(io::Error::other(error)))?;
        let handshake = stream.open_tls(Arc::clone(&self.config), name);
        match T::Runtime::timeout(handshake_timeout, handshake).await {
            Some(Ok(stream)) => Ok(MaybeTls::encrypted(stream)),
            Some(Err(error)) => Err(ClientFailure::Tls(error)),
            None => Err(ClientFailure::Timeout),
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
    config: Arc<ServerConfig>,
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
        let config = server_config(chain, private).map_err(|cause| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            cause,
        })?;
        Ok(Self {
            config,
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
        let made = made.map_err(|cause| TlsError::SelfSigned { names, cause })?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = server_config(vec![made.cert.der().clone()], key.into())
            .expect("a certificate was made for its key");
        Ok(Self {
            config,
            is_self_signed: true,
        })
    }

    /// Opens TLS as its server on a stream that was accepted.
    ///
    /// # Errors
    /// [`CloseReason`] when the handshake fails or takes longer than `handshake_timeout`.
    pub async fn accept<T: Tcp>(
        &self,
        stream: T,
        handshake_timeout: Duration,
    ) -> Result<MaybeTls<T>, CloseReason> {
        // On the heap, so that the handshake's state does not stay in the memory of the connection's task.
        let handshake = Box::pin(stream.accept_tls(Arc::clone(&self.config)));
        match T::Runtime::timeout(handshake_timeout, handshake).await {
            Some(Ok(stream)) => Ok(MaybeTls::encrypted(stream)),
            Some(Err(error)) => {
                debug!(%error, "TLS handshake failed");
                Err(reason_of(&error))
            }
            None => Err(CloseReason::HandshakeTimeout),
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

fn usual_authorities() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
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

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(PROVIDER_HAS_BOTH)
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
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
        pem::Error::Io(cause) => TlsError::Read { path, cause },
        cause => TlsError::Pem { path, cause },
    }
}
