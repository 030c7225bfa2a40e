//! TLS over real sockets on the loopback interface.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use network_helpers_sv2::{
    CloseReason, ConnectError, LineOptions, Sv1Endpoint, TlsClient, TlsError, TlsServer,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use smol::future::zip;
use tempfile::TempDir;

use crate::on::{
    AsyncReadExt, AsyncWriteExt, LineConnection, MaybeTls, SECOND, TcpListener, TcpStream,
    TlsConnector, accept_lines, connect_lines, end, run, run_on_sockets,
};

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// A CA, and a server that it vouches for, as files.
struct Files {
    _folder: TempDir,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn for_name(name: &str) -> Self {
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            authority: write("ca.pem", pem("CERTIFICATE", ca_certificate.der())),
            certificate: write("certificate.pem", pem("CERTIFICATE", certificate.der())),
            key: write("key.pem", pem("PRIVATE KEY", &key.serialize_der())),
            _folder: folder,
        }
    }

    fn server(&self) -> TlsServer {
        TlsServer::from_pem_files(&self.certificate, &self.key).unwrap()
    }

    fn client(&self) -> TlsClient {
        TlsClient::verifying(std::slice::from_ref(&self.authority)).unwrap()
    }
}

fn self_signed() -> TlsServer {
    TlsServer::self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

type Lines = LineConnection<MaybeTls>;

/// What client and server say of each other.
async fn meet(
    client: Option<&TlsClient>,
    server: Option<&TlsServer>,
    is_tls: bool,
) -> (Result<Lines, ConnectError>, Result<Lines, CloseReason>) {
    let (listener, address) = listener().await;
    let endpoint = Sv1Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        is_tls,
    };
    let connecting = async {
        let mut connection = connect_lines(&endpoint, client, LineOptions::client()).await?;
        let _ = connection.queue("{\"id\":1}\n");
        let _ = connection.flush().await;
        Ok(connection)
    };
    zip(connecting, async {
        let (stream, _) = listener.accept().await.unwrap();
        accept_lines(stream, server, LineOptions::server()).await
    })
    .await
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn next(connection: &mut Lines) -> Result<String, CloseReason> {
    loop {
        if let Some(line) = connection.next_line() {
            return Ok(String::from_utf8(line.unwrap().to_vec()).unwrap());
        }
        connection.ready(None).await?;
    }
}

#[test]
fn lines_go_through_tls_and_in_the_clear() {
    run_on_sockets(async {
        let files = Files::for_name("127.0.0.1");
        let (verified, own) = (files.server(), self_signed());
        for (client, server) in [
            (Some(files.client()), Some(&verified)),
            (Some(TlsClient::believing_anyone()), Some(&verified)),
            (Some(TlsClient::believing_anyone()), Some(&own)),
            (Some(files.client()), None),
            (None, None),
        ] {
            let (client, accepted) = meet(client.as_ref(), server, server.is_some()).await;
            let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
            for connection in [&client, &accepted] {
                assert_eq!(connection.stream().is_tls(), server.is_some());
                assert!(connection.stream().tcp().nodelay().unwrap());
            }
            assert_eq!(next(&mut accepted).await.unwrap(), "{\"id\":1}");
            // Longer than a TLS record and than what the sockets hold.
            let long = "x".repeat(200_000);
            for _ in 0..20 {
                let _ = accepted.queue(&(long.clone() + "\n"));
                let (flushed, got) = zip(accepted.flush(), next(&mut client)).await;
                assert_eq!((flushed, got), (Ok(()), Ok(long.clone())));
            }
            let at_client = async {
                let end = next(&mut client).await;
                drop(client);
                end
            };
            let ((), end) = zip(accepted.close(), at_client).await;
            assert_eq!(end, Err(CloseReason::PeerClosed));
        }
    });
}

#[test]
fn a_peer_that_closes_without_saying_so_has_closed() {
    run_on_sockets(async {
        let (client, accepted) = meet(
            Some(&TlsClient::believing_anyone()),
            Some(&self_signed()),
            true,
        )
        .await;
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
        next(&mut accepted).await.unwrap();
        accepted.queue("{}\n").unwrap();
        let (_, got) = zip(accepted.flush(), next(&mut client)).await;
        assert_eq!(got.unwrap(), "{}");
        drop(client);
        assert_eq!(next(&mut accepted).await, Err(CloseReason::PeerClosed));
    });
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    run_on_sockets(async {
        let (client, accepted) = meet(
            Some(&TlsClient::believing_anyone()),
            Some(&self_signed()),
            true,
        )
        .await;
        let (_does_not_read, mut accepted) = (client.unwrap(), accepted.unwrap());
        let line = "x".repeat(4095) + "\n";
        // The sockets of the operating system hold some megabytes before the limit is felt.
        let dropped = (0..100_000).find_map(|_| accepted.queue(&line).err());
        assert_eq!(dropped, Some(CloseReason::SlowConsumer));
        assert!(accepted.outbound_len() <= LineOptions::server().max_outbound_len);
    });
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    run_on_sockets(async {
        let files = Files::for_name("127.0.0.1");
        let other_name = Files::for_name("pool.example");
        for (client, server) in [
            (None, self_signed()),
            (Some(TlsClient::verifying(&[]).unwrap()), self_signed()),
            (Some(files.client()), self_signed()),
            (Some(files.client()), other_name.server()),
            (Some(other_name.client()), other_name.server()),
        ] {
            let (client, accepted) = meet(client.as_ref(), Some(&server), true).await;
            let error = client.err().unwrap();
            assert!(matches!(error, ConnectError::Certificate { .. }), "{error}");
            assert_eq!(error.reason(), CloseReason::HandshakeFailed);
            let message = error.to_string();
            assert!(
                message.contains("stratum+ssl://127.0.0.1:") && message.contains("file of its CA"),
                "{message}"
            );
            // In TLS 1.3 the server may be done before the client has looked.
            if let Err(reason) = accepted {
                assert_eq!(reason, CloseReason::HandshakeFailed);
            }
        }
    });
}

#[test]
fn tls_where_there_is_none_says_what_to_check() {
    run_on_sockets(async {
        let (listener, address) = listener().await;
        let endpoint: Sv1Endpoint = format!("stratum+ssl://{address}").parse().unwrap();
        let answers: [&[u8]; 2] = [b"{\"id\":null,\"error\":[20,\"x\",null]}\n", b""];
        for answer in answers {
            let tls = TlsClient::believing_anyone();
            let (client, ()) = zip(
                connect_lines(&endpoint, Some(&tls), LineOptions::client()),
                async {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.read_exact(&mut [0]).await.unwrap();
                    let _ = stream.write_all(answer).await;
                    let _ = end(&mut stream).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                },
            )
            .await;
            let error = client.err().unwrap();
            assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
            let message = error.to_string();
            assert!(message.contains("server's port for TLS"), "{message}");
        }
    });
}

/// What a TLS server says of a client that writes `bytes`, closes its sending side, and reads until the end.
async fn verdict_on(bytes: &[u8]) -> Option<CloseReason> {
    let (listener, address) = listener().await;
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close first, so neither write nor read must succeed.
        let _ = stream.write_all(bytes).await;
        let _ = end(&mut stream).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = accept_lines(stream, Some(&self_signed()), LineOptions::server()).await;
        accepted.err()
    };
    zip(client, server).await.1
}

#[test]
fn clients_without_tls_end_with_a_reason() {
    run_on_sockets(async {
        let failed = Some(CloseReason::HandshakeFailed);
        assert_eq!(
            verdict_on(b"{\"id\":1,\"method\":\"mining.subscribe\"}\n").await,
            failed
        );
        assert_eq!(verdict_on(&[0x16; 100]).await, failed);
        let closed = Some(CloseReason::HandshakeClosed);
        assert_eq!(verdict_on(b"").await, closed);
        assert_eq!(verdict_on(&[0x16, 3, 1, 0, 200, 1]).await, closed);
    });
}

#[test]
fn silence_ends_at_the_deadline() {
    run(async {
        let (listener, address) = listener().await;
        let (silent, accepted) = zip(TcpStream::connect(address), listener.accept()).await;
        let (_silent, stream) = (silent.unwrap(), accepted.unwrap().0);
        let options = LineOptions {
            handshake_timeout: 10 * SECOND,
            ..LineOptions::server()
        };
        let accepted = accept_lines(stream, Some(&self_signed()), options).await;
        assert_eq!(accepted.err(), Some(CloseReason::HandshakeTimeout));
    });
}

#[test]
fn both_versions_that_are_still_in_use_are_spoken() {
    run_on_sockets(async {
        let files = Files::for_name("127.0.0.1");
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read_to_string(&files.authority).unwrap();
        let der: String = ca.lines().filter(|line| !line.starts_with('-')).collect();
        roots
            .add(BASE64_STANDARD.decode(der).unwrap().into())
            .unwrap();
        for version in [&TLS12, &TLS13] {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let (listener, address) = listener().await;
            let client = async {
                let stream = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let connector = TlsConnector::from(Arc::new(config));
                let mut stream = connector.connect(name, stream).await.unwrap();
                stream.write_all(b"{}\n").await.unwrap();
                stream.flush().await.unwrap();
                stream
            };
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = files.server();
                let mut server = accept_lines(stream, Some(&tls), LineOptions::server())
                    .await
                    .unwrap();
                next(&mut server).await.unwrap()
            };
            let (client, line) = zip(client, server).await;
            assert_eq!(line, "{}");
            assert_eq!(client.get_ref().1.protocol_version(), Some(version.version));
        }
    });
}

#[test]
fn files_that_cannot_be_used_say_which_and_what_to_do() {
    let files = Files::for_name("pool.example");
    let other = Files::for_name("pool.example");
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let empty = write("empty.pem", b"");
    let certificate = std::fs::read(&files.certificate).unwrap();
    let cut = write("cut.pem", &certificate[..certificate.len() / 2]);
    let junk = write("junk.pem", pem("CERTIFICATE", b"junk").as_bytes());
    let absent = folder.path().join("absent.pem");
    let error = |certificate: &Path, key: &Path| {
        TlsServer::from_pem_files(certificate, key)
            .unwrap_err()
            .to_string()
    };
    for (message, named, advice) in [
        (error(&absent, &files.key), &absent, "check the path"),
        (
            error(&files.certificate, &absent),
            &absent,
            "check the path",
        ),
        (
            error(&empty, &files.key),
            &empty,
            "-----BEGIN CERTIFICATE-----",
        ),
        (
            error(&files.key, &files.key),
            &files.key,
            "-----BEGIN CERTIFICATE-----",
        ),
        (error(&files.certificate, &empty), &empty, "no passphrase"),
        (
            error(&files.certificate, &files.certificate),
            &files.certificate,
            "no passphrase",
        ),
        (error(&cut, &files.key), &cut, "copy it again"),
        (
            error(&files.certificate, &other.key),
            &other.key,
            "the certificate was made for",
        ),
        (error(&junk, &files.key), &junk, "do not make a TLS server"),
    ] {
        let named = named.display().to_string();
        assert!(
            message.contains(&named) && message.contains(advice),
            "{message}"
        );
    }
    let verifying = TlsClient::verifying(&[files.authority, junk.clone()]).unwrap_err();
    assert!(matches!(verifying, TlsError::Authority { path, .. } if path == junk));
    let self_signed = TlsServer::self_signed(vec!["пул".to_owned()]).unwrap_err();
    assert!(
        self_signed.to_string().contains("names and addresses"),
        "{self_signed}"
    );
}

#[test]
fn debug_shows_no_key() {
    let files = Files::for_name("pool.example");
    let shown = format!("{:?} {:?}", files.server(), files.client());
    assert_eq!(
        shown,
        "TlsServer { is_self_signed: false, .. } TlsClient { is_verifying: true, .. }"
    );
}
