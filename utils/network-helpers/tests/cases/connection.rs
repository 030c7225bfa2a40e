//! The rules of connections, over memory and in virtual time.

use network_helpers_sv2::{
    ClientSecurity, CloseReason, DEFAULT_QUEUE_LEN, LINGER, Options, ServerIdentity,
    ServerSecurity, Wake,
};
use noise_sv2::AuthoritySecretKey;
use smol::future::{or, yield_now, zip};

use super::streams;
use crate::on::{
    AsyncReadExt, AsyncWriteExt, Connection, Instant, Pipe, SECOND, assert_took, duplex, run, split,
};

const PIPE_LEN: usize = 16 * 1024;

fn authority(byte: u8) -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn noise() -> (ClientSecurity, ServerSecurity) {
    let client = ClientSecurity::Noise {
        authority: Some(authority(1).public_key()),
    };
    let identity = ServerIdentity::new(authority(1), ServerIdentity::DEFAULT_VALIDITY);
    (client, ServerSecurity::Noise(identity.into()))
}

const PLAIN: (ClientSecurity, ServerSecurity) = (ClientSecurity::Plain, ServerSecurity::Plain);

type Pair = (Connection<Pipe>, Connection<Pipe>);

async fn pair_with(security: (ClientSecurity, ServerSecurity), options: Options) -> Pair {
    let (near, far) = duplex(PIPE_LEN);
    let (client, server) = zip(
        Connection::client(near, &security.0, options),
        Connection::server(far, &security.1, options),
    )
    .await;
    (client.unwrap(), server.unwrap())
}

async fn plain_pair() -> Pair {
    pair_with(PLAIN, Options::default()).await
}

/// Waits for a frame and gives its number and the length of its payload.
async fn next(connection: &mut Connection<Pipe>) -> Result<(u8, usize), CloseReason> {
    loop {
        if let Some(frame) = connection.next_frame()? {
            return Ok((frame.header().msg_type(), frame.payload().len()));
        }
        connection.ready(None).await?;
    }
}

#[test]
fn frames_travel_both_ways_and_leave_no_memory_behind() {
    run(async {
        for security in [noise(), PLAIN] {
            let (mut client, mut server) = pair_with(security, Options::default()).await;
            for i in 0..100 {
                client
                    .queue_raw(0, i, &vec![i; usize::from(i) * 40])
                    .unwrap();
            }
            let both = async {
                for i in 0..100 {
                    assert_eq!(next(&mut server).await, Ok((i, usize::from(i) * 40)));
                }
                server.queue_raw(0x8000, 7, &[]).unwrap();
                server.flush().await.unwrap();
            };
            let (answer, ()) = zip(next(&mut client), both).await;
            assert_eq!(answer, Ok((7, 0)));
            assert_eq!(client.next_frame().unwrap(), None);
            assert_eq!(server.next_frame().unwrap(), None);
            assert_eq!((client.buffered(), server.buffered()), (0, 0));
        }
    });
}

#[test]
fn what_is_queued_leaves_in_one_write() {
    run(async {
        let io = streams::Counting::default();
        let mut connection = Connection::client(io.clone(), &PLAIN.0, Options::default())
            .await
            .unwrap();
        for _ in 0..50 {
            connection.queue_raw(0, 1, &[0; 60]).unwrap();
        }
        let wake = connection.ready(Some(Instant::now())).await;
        assert_eq!(wake, Ok(Wake::Deadline));
        assert_eq!(io.writes(), [50 * 66]);
    });
}

#[test]
fn a_handshake_that_stops_ends_at_its_deadline() {
    run(async {
        let options = Options {
            handshake_timeout: 10 * SECOND,
            ..Options::default()
        };
        for sent in [0, 1, 63] {
            let (mut peer, far) = duplex(PIPE_LEN);
            peer.write_all(&[7; 63][..sent]).await.unwrap();
            let start = Instant::now();
            let opened = Connection::server(far, &noise().1, options).await;
            assert_eq!(opened.err(), Some(CloseReason::HandshakeTimeout));
            assert_took(start, options.handshake_timeout);
        }
        let (_silent, near) = duplex(PIPE_LEN);
        let opened = Connection::client(near, &noise().0, options).await;
        assert_eq!(opened.err(), Some(CloseReason::HandshakeTimeout));
    });
}

#[test]
fn a_peer_that_leaves_during_the_handshake_is_told_apart() {
    run(async {
        let (mut peer, far) = duplex(PIPE_LEN);
        peer.write_all(&[7; 30]).await.unwrap();
        drop(peer);
        let opened = Connection::server(far, &noise().1, Options::default()).await;
        assert_eq!(opened.err(), Some(CloseReason::HandshakeClosed));
    });
}

#[test]
fn garbage_is_noticed_at_the_first_frame() {
    run(async {
        let (mut peer, far) = duplex(PIPE_LEN);
        peer.write_all(&[b'G'; 500]).await.unwrap();
        let mut server = Connection::server(far, &noise().1, Options::default())
            .await
            .unwrap();
        assert_eq!(next(&mut server).await, Err(CloseReason::Undecryptable));
    });
}

#[test]
fn a_client_refuses_garbage_and_other_authorities() {
    run(async {
        let (mut peer, near) = duplex(PIPE_LEN);
        peer.write_all(&[1; 234]).await.unwrap();
        let opened = Connection::client(near, &noise().0, Options::default()).await;
        assert_eq!(opened.err(), Some(CloseReason::HandshakeFailed));

        let (near, far) = duplex(PIPE_LEN);
        let other = ClientSecurity::Noise {
            authority: Some(authority(2).public_key()),
        };
        let server = noise().1;
        let (client, _server) = zip(
            Connection::client(near, &other, Options::default()),
            Connection::server(far, &server, Options::default()),
        )
        .await;
        assert_eq!(client.err(), Some(CloseReason::HandshakeFailed));
    });
}

#[test]
fn an_unpinned_client_believes_any_server() {
    run(async {
        let any = ClientSecurity::Noise { authority: None };
        let (mut client, mut server) = pair_with((any, noise().1), Options::default()).await;
        client.queue_raw(0, 3, b"x").unwrap();
        let (_, got) = zip(client.flush(), next(&mut server)).await;
        assert_eq!(got, Ok((3, 1)));
    });
}

#[test]
fn a_long_payload_is_refused_by_its_header() {
    run(async {
        let (mut peer, far) = duplex(PIPE_LEN);
        let options = Options {
            max_payload_len: 1000,
            ..Options::default()
        };
        let mut server = Connection::server(far, &PLAIN.1, options).await.unwrap();
        peer.write_all(&[0, 0, 1, 0xe9, 3, 0]).await.unwrap();
        assert_eq!(next(&mut server).await, Err(CloseReason::PayloadTooLong));
        assert_eq!(next(&mut server).await, Err(CloseReason::PayloadTooLong));
        assert_eq!(server.buffered(), 0);
    });
}

#[test]
fn the_end_of_the_stream_is_clean_only_between_frames() {
    run(async {
        let (mut peer, far) = duplex(PIPE_LEN);
        let mut server = Connection::server(far, &PLAIN.1, Options::default())
            .await
            .unwrap();
        peer.write_all(&[0, 0, 1, 1, 0, 0, 9, 0]).await.unwrap();
        drop(peer);
        assert_eq!(next(&mut server).await, Ok((1, 1)));
        assert_eq!(next(&mut server).await, Err(CloseReason::Truncated));

        let (client, mut server) = plain_pair().await;
        drop(client);
        assert_eq!(next(&mut server).await, Err(CloseReason::PeerClosed));
    });
}

#[test]
fn every_received_byte_moves_the_idle_deadline() {
    run(async {
        let options = Options {
            idle_timeout: Some(60 * SECOND),
            ..Options::default()
        };
        let (mut client, mut server) = pair_with(PLAIN, options).await;
        let start = Instant::now();
        let deadline = start + 50 * SECOND;
        assert_eq!(server.ready(Some(deadline)).await, Ok(Wake::Deadline));
        client.queue_raw(0, 1, &[]).unwrap();
        client.flush().await.unwrap();
        assert_eq!(next(&mut server).await, Ok((1, 0)));
        assert_eq!(next(&mut server).await, Err(CloseReason::Idle));
        assert_took(start, 110 * SECOND);
    });
}

#[test]
fn a_peer_that_does_not_read_is_dropped_at_the_byte_limit() {
    run(async {
        let options = Options {
            max_outbound_len: 10_000,
            ..Options::default()
        };
        let (client, mut server) = pair_with(PLAIN, options).await;
        let full = PIPE_LEN + options.max_outbound_len;
        let queued = std::iter::from_fn(|| server.queue_raw(0, 1, &[0; 994]).ok()).count();
        assert_eq!(queued, full / 1000);
        assert_eq!(
            server.queue_raw(0, 1, &[0; 994]),
            Err(CloseReason::SlowConsumer)
        );
        assert!(server.outbound_len() <= options.max_outbound_len);
        drop(client);
    });
}

#[test]
fn a_peer_that_stops_reading_is_dropped_at_the_stall_deadline() {
    run(async {
        let options = Options {
            stall_timeout: 30 * SECOND,
            ..Options::default()
        };
        let (mut client, mut server) = pair_with(PLAIN, options).await;
        let start = Instant::now();
        // One frame longer than the limit is allowed, as nothing else waits.
        server.queue_raw(0, 1, &vec![0; 1_000_000]).unwrap();
        let stall = options.stall_timeout;
        let waits = Some(start + stall / 2);
        assert_eq!(server.ready(waits).await, Ok(Wake::Deadline));
        // The peer takes a little, which starts the deadline again, and then nothing.
        assert_eq!(client.ready(None).await, Ok(Wake::Readable));
        assert_eq!(server.ready(None).await, Err(CloseReason::SlowConsumer));
        assert_took(start, stall / 2 + stall);
    });
}

#[test]
fn waiting_is_cancel_safe() {
    run(async {
        let (mut client, mut server) = pair_with(noise(), Options::default()).await;
        let sending = async {
            for i in 0..200 {
                client.queue_raw(0, i, &[i; 100]).unwrap();
                client.flush().await.unwrap();
                yield_now().await;
            }
        };
        let receiving = async {
            let mut expected = 0;
            while expected < 200 {
                let waiting = async {
                    server.ready(None).await.unwrap();
                };
                or(waiting, yield_now()).await;
                while let Some(frame) = server.next_frame().unwrap() {
                    assert_eq!(frame.header().msg_type(), expected);
                    expected += 1;
                }
            }
        };
        zip(sending, receiving).await;
    });
}

#[test]
fn closing_sends_what_is_queued_and_ignores_what_comes() {
    run(async {
        let (mut client, mut server) = plain_pair().await;
        server.queue_raw(0, 9, b"bye").unwrap();
        client.queue_raw(0, 1, &[0; 3 * PIPE_LEN]).unwrap();
        let start = Instant::now();
        let last_words = async {
            client.flush().await.unwrap();
            assert_eq!(next(&mut client).await, Ok((9, 3)));
            assert_eq!(next(&mut client).await, Err(CloseReason::PeerClosed));
            drop(client);
        };
        zip(server.close(), last_words).await;
        assert!(start.elapsed() < LINGER);
    });
}

#[test]
fn closing_does_not_wait_for_ever() {
    run(async {
        let close = async |unread| {
            let (_client, mut server) = plain_pair().await;
            server.queue_raw(0, 9, &vec![0; unread]).unwrap();
            let start = Instant::now();
            server.close().await;
            assert_took(start, LINGER);
        };
        zip(close(3), close(100_000)).await;
    });
}

#[test]
fn two_queues_carry_frames_and_the_reason_of_the_end() {
    run(async {
        let (client, server) = pair_with(noise(), Options::default()).await;
        let (to_server, mut from_server) = split(client, DEFAULT_QUEUE_LEN);
        let (to_client, mut from_client) = split(server, 1);
        let frame = |msg_type, len| framing_sv2::Sv2Frame::new(0, msg_type, vec![1; len]).unwrap();
        let send = async {
            for i in 0..100 {
                to_server.send(frame(i, 700)).await.unwrap();
            }
        };
        // The receiver's queue holds one frame, so the sender has to wait for it now and then.
        let receive = async {
            for i in 0..100 {
                assert_eq!(from_client.recv().await.unwrap(), frame(i, 700));
            }
        };
        zip(send, receive).await;
        to_client.send(frame(200, 3)).await.unwrap();
        drop(to_client);
        assert_eq!(from_server.recv().await.unwrap(), frame(200, 3));
        assert_eq!(
            from_server.recv().await.unwrap_err(),
            CloseReason::PeerClosed
        );
        assert_eq!(from_client.recv().await.unwrap_err(), CloseReason::Finished);
    });
}

#[test]
fn dropping_the_receiver_closes_the_connection() {
    run(async {
        let (client, server) = plain_pair().await;
        let (_to_server, from_server) = split(client, DEFAULT_QUEUE_LEN);
        let (_to_client, mut from_client) = split(server, DEFAULT_QUEUE_LEN);
        drop(from_server);
        assert_eq!(
            from_client.recv().await.unwrap_err(),
            CloseReason::PeerClosed
        );
    });
}

#[test]
fn nothing_is_sent_before_the_handshake() {
    run(async {
        let (near, mut far) = duplex(PIPE_LEN);
        let security = noise().0;
        let client = Connection::client(near, &security, Options::default());
        let server = async {
            far.read_exact(&mut [0; 64]).await.unwrap();
            drop(far);
        };
        let (client, ()) = zip(client, server).await;
        assert_eq!(client.err(), Some(CloseReason::HandshakeClosed));
    });
}
