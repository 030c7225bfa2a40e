//! All protocols on one port, with and without a proxy before it, over real sockets on the loopback interface.
use std::net::SocketAddr;
use std::time::Duration;

use network_helpers_sv2::{
    ClientSecurity, CloseReason, Endpoint, LineOptions, Options, ProxyProtocol, ServerIdentity,
    ServerSecurity, Spoken, TlsClient, TlsServer,
};
use noise_sv2::AuthoritySecretKey;
use smol::future::zip;

use crate::on::{
    AsyncReadExt, AsyncWriteExt, Connection, LineConnection, MaybeTls, TcpListener, TcpStream,
    accept, accept_lines, connect, connect_lines, copy_both, end, run_on_sockets, sniff,
};

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    listener: TcpListener,
    tls: TlsServer,
    noise: ServerSecurity,
    proxies: ProxyProtocol,
}

/// A connection as the server has it.
enum Served {
    Lines(LineConnection<MaybeTls>),
    Frames(Connection),
}

impl Server {
    async fn new(proxies: &[&str]) -> Self {
        let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
        let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: TlsServer::self_signed(vec!["localhost".to_owned()]).unwrap(),
            noise: ServerSecurity::Noise(identity.into()),
            proxies: ProxyProtocol {
                trusted: proxies.iter().map(|text| text.parse().unwrap()).collect(),
            },
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    async fn serve(&self) -> Result<(Served, SocketAddr), CloseReason> {
        let (mut stream, peer) = self.listener.accept().await.unwrap();
        let client = self.proxies.client_address(&mut stream, peer).await?;
        let options = LineOptions::server();
        let served = match sniff(&stream, PATIENCE, true).await? {
            Spoken::Sv1 => Served::Lines(accept_lines(stream, None, options).await?),
            Spoken::Tls => Served::Lines(accept_lines(stream, Some(&self.tls), options).await?),
            Spoken::Sv2 => Served::Frames(accept(stream, &self.noise, Options::default()).await?),
        };
        Ok((served, client))
    }
}

impl Served {
    /// What the client has said, and how.
    async fn first(&mut self) -> String {
        loop {
            match self {
                Self::Lines(connection) => {
                    let layer = ["Sv1", "Sv1 in TLS"][usize::from(connection.stream().is_tls())];
                    if let Some(line) = connection.next_line() {
                        return format!("{layer}: {}", String::from_utf8_lossy(line.unwrap()));
                    }
                    connection.ready(None).await.unwrap();
                }
                Self::Frames(connection) => {
                    if let Some(frame) = connection.next_frame().unwrap() {
                        return format!("Sv2: {}", String::from_utf8_lossy(frame.payload()));
                    }
                    connection.ready(None).await.unwrap();
                }
            }
        }
    }
}

/// Says hello as a client of the kind that stands there in [`KINDS`].
async fn hello(kind: usize, address: SocketAddr) {
    if kind == 2 {
        let endpoint: Endpoint = address.to_string().parse().unwrap();
        let security = ClientSecurity::Noise { authority: None };
        let mut client = connect(&endpoint, &security, Options::default())
            .await
            .unwrap();
        client.queue_raw(0, 1, b"hello").unwrap();
        return client.close().await;
    }
    let scheme = ["stratum+tcp", "stratum+ssl"][kind];
    let endpoint = format!("{scheme}://{address}").parse().unwrap();
    let tls = TlsClient::believing_anyone();
    let connecting = connect_lines(&endpoint, Some(&tls), LineOptions::client());
    let mut client = connecting.await.unwrap();
    client.queue("{\"params\":\"hello\"}\n").unwrap();
    client.close().await;
}

const KINDS: [&str; 3] = [
    "Sv1: {\"params\":\"hello\"}",
    "Sv1 in TLS: {\"params\":\"hello\"}",
    "Sv2: hello",
];

#[test]
fn each_client_is_served_in_what_it_speaks() {
    run_on_sockets(async {
        let server = Server::new(&[]).await;
        for (kind, expected) in KINDS.into_iter().enumerate() {
            let serving = async {
                let (mut served, client) = server.serve().await.unwrap();
                assert!(client.ip().is_loopback());
                served.first().await
            };
            let ((), got) = zip(hello(kind, server.address()), serving).await;
            assert_eq!(got, expected);
        }
    });
}

#[test]
fn each_client_is_served_through_a_proxy() {
    run_on_sockets(async {
        let server = Server::new(&["127.0.0.0/8"]).await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let headers: [&[u8]; 2] = [
            b"PROXY TCP4 198.51.100.7 127.0.0.1 56324 3333\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\xdc\x04\x0d\x05",
        ];
        for header in headers {
            for (kind, expected) in KINDS.into_iter().enumerate() {
                let proxying = async {
                    let (near, _) = proxy.accept().await.unwrap();
                    let mut far = TcpStream::connect(server.address()).await.unwrap();
                    far.write_all(header).await.unwrap();
                    copy_both(near, far).await;
                };
                let serving = async {
                    let (mut served, client) = server.serve().await.unwrap();
                    assert_eq!(client, "198.51.100.7:56324".parse().unwrap());
                    served.first().await
                };
                let address = proxy.local_addr().unwrap();
                let clients = zip(hello(kind, address), proxying);
                let (_, got) = zip(clients, serving).await;
                assert_eq!(got, expected);
            }
        }
    });
}

#[test]
fn a_header_from_who_is_not_trusted_is_not_believed() {
    run_on_sockets(async {
        let server = Server::new(&["192.0.2.0/24"]).await;
        let client = async {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            let header = "PROXY TCP4 198.51.100.7 127.0.0.1 56324 3333\r\n";
            stream.write_all(header.as_bytes()).await.unwrap();
            end(&mut stream).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        // It is taken for a handshake, as all that is not JSON.
        let ((), served) = zip(client, server.serve()).await;
        assert_eq!(served.err(), Some(CloseReason::HandshakeClosed));
    });
}
