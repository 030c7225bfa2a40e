//! Connections over real sockets on the loopback interface.
use std::net::SocketAddr;
use std::time::Duration;

use network_helpers_sv2::{
    CLIENT_SEND_TIMEOUT, ClientSecurity, CloseReason, ConnectError, Endpoint, Options,
    ServerIdentity, ServerSecurity, Wake,
};
use noise_sv2::AuthoritySecretKey;
use smol::future::zip;

use crate::on::{
    AsyncReadExt, AsyncWriteExt, Connection, Instant, SECOND, TcpListener, TcpStream, accept,
    connect, end, run, run_on_sockets,
};

fn noise() -> (ClientSecurity, ServerSecurity) {
    let authority = AuthoritySecretKey::from_bytes(&[1; 32]).unwrap();
    let client = ClientSecurity::Noise {
        authority: Some(authority.public_key()),
    };
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    (client, ServerSecurity::Noise(identity.into()))
}

async fn listener() -> (TcpListener, Endpoint, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.to_string().parse().unwrap(), address)
}

async fn next(connection: &mut Connection) -> Result<usize, CloseReason> {
    loop {
        if let Some(frame) = connection.next_frame()? {
            return Ok(frame.payload().len());
        }
        connection.ready(None).await?;
    }
}

#[test]
fn a_client_and_a_server_talk() {
    run_on_sockets(async {
        let (listener, endpoint, _) = listener().await;
        let (client, server) = noise();
        let (client, server) = zip(connect(&endpoint, &client, Options::default()), async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, &server, Options::default()).await
        })
        .await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        assert!(client.stream().nodelay().unwrap() && server.stream().nodelay().unwrap());

        // Longer than a Noise block and than what the sockets hold.
        client.queue_raw(0, 1, &vec![7; 3_000_000]).unwrap();
        let (flushed, len) = zip(client.flush(), next(&mut server)).await;
        assert_eq!((flushed, len), (Ok(()), Ok(3_000_000)));
        let at_server = async {
            let end = next(&mut server).await;
            drop(server);
            end
        };
        let ((), end) = zip(client.close(), at_server).await;
        assert_eq!(end, Err(CloseReason::PeerClosed));
    });
}

/// What a server says of a client that writes `bytes`, closes its sending side, and reads until the end.
async fn verdict_on(bytes: &[u8], security: &ServerSecurity) -> Result<usize, CloseReason> {
    let (listener, _, address) = listener().await;
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close first, so neither write nor read must succeed.
        let _ = stream.write_all(bytes).await;
        let _ = end(&mut stream).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = accept(stream, security, Options::default()).await?;
        next(&mut connection).await
    };
    zip(client, server).await.1
}

#[test]
fn hostile_clients_end_with_a_reason() {
    run_on_sockets(async {
        let noise = noise().1;
        let half_a_handshake = verdict_on(&[5; 20], &noise).await;
        assert_eq!(half_a_handshake, Err(CloseReason::HandshakeClosed));
        let http = verdict_on(
            "GET / HTTP/1.1\r\nHost: pool\r\n".repeat(9).as_bytes(),
            &noise,
        )
        .await;
        assert_eq!(http, Err(CloseReason::Undecryptable));
        let oversized = verdict_on(&[0, 0, 1, 0xff, 0xff, 0xff], &ServerSecurity::Plain).await;
        assert_eq!(oversized, Err(CloseReason::PayloadTooLong));
        let cut = verdict_on(&[0, 0, 1, 4, 0, 0, 1], &ServerSecurity::Plain).await;
        assert_eq!(cut, Err(CloseReason::Truncated));
    });
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    run_on_sockets(async {
        let (listener, endpoint, _) = listener().await;
        let (client, server) = zip(
            connect(&endpoint, &ClientSecurity::Plain, Options::default()),
            listener.accept(),
        )
        .await;
        let _does_not_read = client.unwrap();
        let mut server = accept(
            server.unwrap().0,
            &ServerSecurity::Plain,
            Options::default(),
        )
        .await
        .unwrap();
        // The sockets of the operating system hold some megabytes before the limit is felt.
        let dropped = (0..100_000).find_map(|_| server.queue_raw(0, 1, &[0; 4096]).err());
        assert_eq!(dropped, Some(CloseReason::SlowConsumer));
        assert!(server.outbound_len() <= Options::default().max_outbound_len);
    });
}

#[test]
fn nobody_listening_says_what_to_check() {
    run_on_sockets(async {
        let (listener, endpoint, _) = listener().await;
        drop(listener);
        let error = connect(&endpoint, &ClientSecurity::Plain, Options::default())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, ConnectError::Reach { .. }));
        assert!(
            error.to_string().contains("check that the server runs"),
            "{error}"
        );
    });
}

#[test]
fn the_clients_error_names_the_server_and_the_key() {
    run_on_sockets(async {
        let (listener, endpoint, _) = listener().await;
        let other = AuthoritySecretKey::from_bytes(&[2; 32]).unwrap();
        let client = ClientSecurity::Noise {
            authority: Some(other.public_key()),
        };
        let server = noise().1;
        let (client, _) = zip(connect(&endpoint, &client, Options::default()), async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, &server, Options::default()).await
        })
        .await;
        let error = client.err().unwrap();
        assert_eq!(error.reason(), CloseReason::HandshakeFailed);
        let message = error.to_string();
        assert!(
            message.contains(&endpoint.to_string()) && message.contains("authority key"),
            "{message}"
        );
    });
}

#[test]
fn silence_after_connect_ends_at_the_deadline() {
    run(async {
        let (listener, _, address) = listener().await;
        let (silent, accepted) = zip(TcpStream::connect(address), listener.accept()).await;
        let _silent = silent.unwrap();
        let options = Options {
            handshake_timeout: 10 * SECOND,
            ..Options::default()
        };
        let opened = accept(accepted.unwrap().0, &noise().1, options).await;
        assert_eq!(opened.err(), Some(CloseReason::HandshakeTimeout));
    });
}

#[test]
fn deadlines_and_bytes_wake_alike() {
    run_on_sockets(async {
        let (listener, endpoint, _) = listener().await;
        let (client, server) = zip(
            connect(&endpoint, &ClientSecurity::Plain, Options::default()),
            listener.accept(),
        )
        .await;
        let mut client = client.unwrap();
        let mut server = accept(
            server.unwrap().0,
            &ServerSecurity::Plain,
            Options::default(),
        )
        .await
        .unwrap();
        let past = Some(Instant::now());
        assert_eq!(server.ready(past).await, Ok(Wake::Deadline));
        client.queue_raw(0, 1, &[1]).unwrap();
        client.flush().await.unwrap();
        assert_eq!(server.ready(None).await, Ok(Wake::Readable));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_hears_soon_of_a_server_that_vanished() {
    run_on_sockets(async {
        let (_listener, endpoint, _) = listener().await;
        let client = connect(&endpoint, &ClientSecurity::Plain, Options::default()).await;
        let client = client.unwrap();
        let socket = socket2::SockRef::from(client.stream());
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(CLIENT_SEND_TIMEOUT)
        );
        let retries = socket.tcp_keepalive_retries().unwrap();
        let gone = socket.tcp_keepalive_time().unwrap()
            + socket.tcp_keepalive_interval().unwrap() * retries;
        assert!(gone <= Duration::from_secs(30), "{gone:?}");
    });
}
