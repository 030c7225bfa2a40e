//! The pool on sockets: doors, bytes, and the handle.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::time::Duration;

use binary_sv2::Encodable as _;
use network_helpers_sv2::{
    ClientSecurity, CloseReason, ConnectError, Connection, Options, connect,
};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use stratum_test_pool::{Act, Builder, Door, Event, Lie, Reception, TestPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A deadline that shows that nothing came.
const SHORT: Duration = Duration::from_millis(200);

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

async fn started(builder: Builder) -> TestPool {
    builder.start().await.unwrap()
}

async fn client(pool: &TestPool) -> Result<Connection, ConnectError> {
    let security = match pool.authority() {
        Some(key) => ClientSecurity::Noise {
            authority: Some(key),
        },
        None => ClientSecurity::Plain,
    };
    let options = Options {
        handshake_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    patiently(connect(&pool.endpoint(), &security, options)).await
}

async fn says_setup(connection: &mut Connection) {
    let message = SetupRequest::mining(0).message(&Endpoint::default());
    connection.queue_raw(0, 0x00, &message.to_vec()).unwrap();
    patiently(connection.flush()).await.unwrap();
}

/// The type of the next message, or how the connection ends.
async fn hears(connection: &mut Connection) -> Result<u8, CloseReason> {
    patiently(async {
        loop {
            if let Some(frame) = connection.next_frame()? {
                return Ok(frame.header().msg_type());
            }
            connection.ready(None).await?;
        }
    })
    .await
}

#[tokio::test]
async fn clients_are_served_encrypted_and_in_the_clear() {
    for builder in [TestPool::builder(), TestPool::builder().plain()] {
        let pool = started(builder).await;
        let mut events = pool.events();
        let mut connection = client(&pool).await.unwrap();
        says_setup(&mut connection).await;
        assert_eq!(hears(&mut connection).await, Ok(0x01));
        let first = patiently(events.next()).await.unwrap();
        assert!(matches!(first, Event::Connected(_)), "{first}");
        connection.close().await;
        let counters = patiently(pool.wait_until(|counters| counters.connections == 0)).await;
        assert_eq!(counters.received("SetupConnection"), 1);
        assert_eq!(counters.sent("SetupConnection.Success"), 1);
        assert_eq!(counters.ends["the peer closed the connection"], 1);
        pool.stop().await;
        assert_eq!(
            patiently(async { while events.next().await.is_some() {} }).await,
            ()
        );
    }
}

#[tokio::test]
async fn each_door_is_as_it_is_told() {
    for (door, reason) in [
        (Door::Refuse, CloseReason::HandshakeClosed),
        (Door::Mute, CloseReason::HandshakeTimeout),
        (Door::Gibberish, CloseReason::HandshakeFailed),
        (Door::WrongCertificate, CloseReason::HandshakeFailed),
    ] {
        let pool = started(TestPool::builder()).await;
        let mut early = client(&pool).await.unwrap();
        pool.misbehave(door.clone()).await;
        let Err(error) = client(&pool).await else {
            panic!("{door} lets a client in")
        };
        // A connection that is closed at once may be reset.
        let is_reset = door == Door::Refuse && error.reason() == CloseReason::Io;
        assert!(error.reason() == reason || is_reset, "{door}: {error}");
        // Who is in stays in, and the next one comes in when the pool behaves.
        says_setup(&mut early).await;
        assert_eq!(hears(&mut early).await, Ok(0x01));
        pool.behave().await;
        client(&pool).await.unwrap();
        pool.stop().await;
    }
}

#[tokio::test]
async fn bytes_are_wrong_on_the_wire_encrypted_and_in_the_clear() {
    // Frames that are no messages: who hears one hears type 0x3f.
    for (lie, encrypted, plain) in [
        (
            Lie::Oversize,
            CloseReason::PayloadTooLong,
            CloseReason::PayloadTooLong,
        ),
        (
            Lie::Truncated,
            CloseReason::Truncated,
            CloseReason::Truncated,
        ),
        (
            Lie::Garbage,
            CloseReason::Undecryptable,
            CloseReason::PayloadTooLong,
        ),
        (
            Lie::Disconnect,
            CloseReason::PeerClosed,
            CloseReason::PeerClosed,
        ),
    ] {
        for (builder, reason) in [
            (TestPool::builder(), encrypted),
            (TestPool::builder().plain(), plain),
        ] {
            let pool = started(builder).await;
            let mut connection = client(&pool).await.unwrap();
            says_setup(&mut connection).await;
            assert_eq!(hears(&mut connection).await, Ok(0x01));
            assert_eq!(pool.misbehave(lie.clone()).await, 1);
            assert_eq!(hears(&mut connection).await, Err(reason), "{lie}");
            pool.stop().await;
        }
    }
}

#[tokio::test]
async fn a_refused_setup_is_heard_before_the_end() {
    let refusal = Reception::RefuseSetup("unsupported-protocol".into());
    let pool = started(TestPool::builder().misbehave(refusal)).await;
    let mut connection = client(&pool).await.unwrap();
    says_setup(&mut connection).await;
    assert_eq!(hears(&mut connection).await, Ok(0x02));
    assert_eq!(hears(&mut connection).await, Err(CloseReason::PeerClosed));
    pool.stop().await;
}

#[tokio::test]
async fn commands_that_are_timed_come_in_their_time() {
    let script = ["after 100ms disconnect".parse().unwrap()];
    let pool = started(TestPool::builder().plain().script(script)).await;
    let mut connection = client(&pool).await.unwrap();
    assert_eq!(hears(&mut connection).await, Err(CloseReason::PeerClosed));
    assert_eq!(pool.command(Act::NewBlock).await, Ok(0));
    pool.stop().await;
}

#[tokio::test]
async fn a_mute_door_says_nothing_in_the_clear_either() {
    let pool = started(TestPool::builder().plain().misbehave(Door::Mute)).await;
    let mut stream = TcpStream::connect(pool.address()).await.unwrap();
    stream.write_all(&[0; 64]).await.unwrap();
    let mut byte = [0];
    assert!(timeout(SHORT, stream.read(&mut byte)).await.is_err());
    drop(stream);
    patiently(pool.wait_until(|counters| counters.not_connected == 1)).await;
    pool.stop().await;
}

#[tokio::test]
async fn a_pool_that_is_dropped_is_gone() {
    let pool = started(TestPool::builder().plain()).await;
    let mut connection = client(&pool).await.unwrap();
    drop(pool);
    assert!(hears(&mut connection).await.is_err());
}
