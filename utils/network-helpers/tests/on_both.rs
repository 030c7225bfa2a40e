//! Either end of a connection on either runtime, each on a thread of its own, over real sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    dead_code,
    unused_imports,
    reason = "the other tests need more of the runtimes"
)]

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use network_helpers_sv2::{
    ClientSecurity, CloseReason, Endpoint, LineOptions, Options, ServerIdentity, ServerSecurity,
    Sv1Endpoint, TlsClient, TlsServer,
};
use noise_sv2::AuthoritySecretKey;

#[path = "on/smol.rs"]
mod on_smol;
#[path = "on/tokio.rs"]
mod on_tokio;

/// Payload of a frame that is longer than a Noise block and than what the sockets hold.
const LONG: usize = 3_000_000;

/// Frames and lines on one runtime, in names that are the same for both.
macro_rules! ends_on {
    ($ends:ident, $on:ident) => {
        mod $ends {
            use super::$on::{
                Connection, LineConnection, MaybeTls, TcpListener, accept, accept_lines, connect,
                connect_lines, run_on_sockets,
            };
            use super::*;

            async fn next_frame(connection: &mut Connection) -> Result<usize, CloseReason> {
                loop {
                    if let Some(frame) = connection.next_frame()? {
                        return Ok(frame.payload().len());
                    }
                    connection.ready(None).await?;
                }
            }

            async fn next_line(
                connection: &mut LineConnection<MaybeTls>,
            ) -> Result<String, CloseReason> {
                loop {
                    if let Some(line) = connection.next_line() {
                        return Ok(String::from_utf8_lossy(line.unwrap()).into_owned());
                    }
                    connection.ready(None).await?;
                }
            }

            /// Sends a frame, gets another and closes.
            pub(super) fn client(address: SocketAddr, security: &ClientSecurity) {
                run_on_sockets(async {
                    let endpoint: Endpoint = address.to_string().parse().unwrap();
                    let connecting = connect(&endpoint, security, Options::default());
                    let mut client = connecting.await.unwrap();
                    client.queue_raw(0, 1, &vec![7; LONG]).unwrap();
                    client.flush().await.unwrap();
                    assert_eq!(next_frame(&mut client).await, Ok(9));
                    client.close().await;
                });
            }

            /// Answers a frame and waits for the end.
            pub(super) fn server(bound: SyncSender<SocketAddr>, security: &ServerSecurity) {
                run_on_sockets(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    bound.send(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().await.unwrap();
                    let accepting = accept(stream, security, Options::default());
                    let mut server = accepting.await.unwrap();
                    assert_eq!(next_frame(&mut server).await, Ok(LONG));
                    server.queue_raw(0, 1, &[1; 9]).unwrap();
                    server.flush().await.unwrap();
                    assert_eq!(next_frame(&mut server).await, Err(CloseReason::PeerClosed));
                });
            }

            /// Sends a line, gets another and closes.
            pub(super) fn line_client(address: SocketAddr, is_tls: bool) {
                run_on_sockets(async {
                    let endpoint = Sv1Endpoint {
                        host: address.ip().to_string(),
                        port: address.port(),
                        is_tls,
                    };
                    let tls = is_tls.then(TlsClient::believing_anyone);
                    let connecting = connect_lines(&endpoint, tls.as_ref(), LineOptions::client());
                    let mut client = connecting.await.unwrap();
                    assert_eq!(client.stream().is_tls(), is_tls);
                    client.queue("question\n").unwrap();
                    client.flush().await.unwrap();
                    assert_eq!(next_line(&mut client).await.unwrap(), "answer");
                    client.close().await;
                });
            }

            /// Answers a line and waits for the end.
            pub(super) fn line_server(bound: SyncSender<SocketAddr>, tls: Option<&TlsServer>) {
                run_on_sockets(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    bound.send(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().await.unwrap();
                    let accepting = accept_lines(stream, tls, LineOptions::server());
                    let mut server = accepting.await.unwrap();
                    assert_eq!(next_line(&mut server).await.unwrap(), "question");
                    server.queue("answer\n").unwrap();
                    server.flush().await.unwrap();
                    assert_eq!(next_line(&mut server).await, Err(CloseReason::PeerClosed));
                });
            }
        }
    };
}

ends_on!(tokio_ends, on_tokio);
ends_on!(smol_ends, on_smol);

/// Runs a server and the client that it is met by.
fn meet(
    server: impl FnOnce(SyncSender<SocketAddr>) + Send,
    client: impl FnOnce(SocketAddr) + Send,
) {
    let (bound, address) = sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(|| server(bound));
        scope.spawn(move || client(address.recv().unwrap()));
    });
}

#[test]
fn frames_go_from_one_runtime_to_the_other() {
    let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
    let pinned = ClientSecurity::Noise {
        authority: Some(authority.public_key()),
    };
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    let noise = ServerSecurity::Noise(identity.into());
    for (client, server) in [
        (pinned, noise),
        (ClientSecurity::Plain, ServerSecurity::Plain),
    ] {
        meet(
            |bound| tokio_ends::server(bound, &server),
            |address| smol_ends::client(address, &client),
        );
        meet(
            |bound| smol_ends::server(bound, &server),
            |address| tokio_ends::client(address, &client),
        );
    }
}

#[test]
fn lines_go_from_one_runtime_to_the_other() {
    let tls = TlsServer::self_signed(vec!["localhost".to_owned()]).unwrap();
    for tls in [None, Some(&tls)] {
        meet(
            |bound| tokio_ends::line_server(bound, tls),
            |address| smol_ends::line_client(address, tls.is_some()),
        );
        meet(
            |bound| smol_ends::line_server(bound, tls),
            |address| tokio_ends::line_client(address, tls.is_some()),
        );
    }
}
