//! The rules of connections that speak lines, over memory and in virtual time.

use network_helpers_sv2::runtime::{Io, Runtime};
use network_helpers_sv2::{CloseReason, LINGER, LineOptions, LineTooLong, Wake};
use smol::future::{or, yield_now, zip};

use super::streams;
use crate::on::{
    AsyncReadExt, AsyncWriteExt, Instant, LineConnection, Pipe, Rt, SECOND, assert_took, duplex,
    run,
};

const PIPE_LEN: usize = 16 * 1024;

type Pair = (LineConnection<Pipe>, LineConnection<Pipe>);

fn pair_with(options: LineOptions) -> Pair {
    let (near, far) = duplex(PIPE_LEN);
    let client = LineConnection::new(near, LineOptions::client());
    (client, LineConnection::new(far, options))
}

fn pair() -> Pair {
    pair_with(LineOptions::server())
}

/// A server, and what it gets its bytes from.
fn server(max_line_len: usize) -> (Pipe, LineConnection<Pipe>) {
    let (peer, far) = duplex(PIPE_LEN);
    let options = LineOptions {
        max_line_len,
        ..LineOptions::server()
    };
    (peer, LineConnection::new(far, options))
}

/// Waits for a line.
async fn next<S: Io<Rt>>(
    connection: &mut LineConnection<S>,
) -> Result<Result<String, LineTooLong>, CloseReason> {
    loop {
        if let Some(line) = connection.next_line() {
            return Ok(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
        }
        connection.ready(None).await?;
    }
}

fn line(text: &str) -> Result<Result<String, LineTooLong>, CloseReason> {
    Ok(Ok(text.to_owned()))
}

#[test]
fn lines_travel_both_ways_and_leave_no_memory_behind() {
    run(async {
        let (mut client, mut server) = pair();
        let text = |i: usize| "x".repeat(i * 40 + 1);
        for i in 0..100 {
            client.queue(&(text(i) + "\n")).unwrap();
        }
        let both = async {
            for i in 0..100 {
                assert_eq!(next(&mut server).await, line(&text(i)));
            }
            server.queue("answer\n").unwrap();
            server.flush().await.unwrap();
        };
        let (answer, ()) = zip(next(&mut client), both).await;
        assert_eq!(answer, line("answer"));
        for connection in [&mut client, &mut server] {
            assert_eq!(connection.next_line(), None);
            let past = Some(Instant::now());
            assert_eq!(connection.ready(past).await, Ok(Wake::Deadline));
            assert_eq!((connection.buffered(), connection.is_all_sent()), (0, true));
        }
    });
}

#[test]
fn what_is_queued_leaves_in_one_write() {
    run(async {
        let io = streams::Counting::default();
        let mut connection = LineConnection::new(io.clone(), LineOptions::server());
        for _ in 0..50 {
            connection.queue("{\"id\":1}\n").unwrap();
        }
        let wake = connection.ready(Some(Instant::now())).await;
        assert_eq!(wake, Ok(Wake::Deadline));
        assert_eq!(io.writes(), [50 * 9]);
    });
}

#[test]
fn a_line_without_its_end_is_not_sent() {
    run(async {
        let (mut client, _server) = pair();
        for unended in ["", "{}", "{}\n{}"] {
            assert_eq!(client.queue(unended), Err(CloseReason::Unsendable));
        }
        assert_eq!(client.outbound_len(), 0);
    });
}

#[test]
fn lines_come_as_they_are_cut() {
    run(async {
        let (mut peer, mut server) = server(100);
        for part in [
            "{\"a\"",
            ":1}",
            "\r\n\r\n \n{}",
            "\n{\"b\":",
            "2}\n{\"c\":3}\n",
        ] {
            peer.write_all(part.as_bytes()).await.unwrap();
            assert_eq!(server.ready(None).await, Ok(Wake::Readable));
            let mut lines = Vec::new();
            while let Some(line) = server.next_line() {
                lines.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
            }
            let expected: &[&str] = match part {
                "\r\n\r\n \n{}" => &["{\"a\":1}"],
                "\n{\"b\":" => &["{}"],
                "2}\n{\"c\":3}\n" => &["{\"b\":2}", "{\"c\":3}"],
                _ => &[],
            };
            assert_eq!(lines, expected, "{part:?}");
        }
    });
}

#[test]
fn a_long_line_is_told_once_and_passed_over() {
    run(async {
        let (mut peer, mut server) = server(100);
        let too_long = Ok(Err(LineTooLong { limit: 100 }));
        for len in [101, 5_000, 50_000] {
            let sending = async {
                peer.write_all("x".repeat(len).as_bytes()).await.unwrap();
                peer.write_all(b"\n{}\n").await.unwrap();
            };
            let receiving = async {
                assert_eq!(next(&mut server).await, too_long, "{len}");
                assert_eq!(next(&mut server).await, line("{}"), "{len}");
            };
            zip(sending, receiving).await;
        }
        peer.write_all(&[b'x'; 101]).await.unwrap();
        assert_eq!(next(&mut server).await, too_long, "before its end comes");
        assert_eq!(server.next_line(), None);
        let past = Some(Instant::now());
        assert_eq!(server.ready(past).await, Ok(Wake::Deadline));
        assert_eq!(server.buffered(), 0);
    });
}

#[test]
fn the_end_of_the_stream_is_clean_only_between_lines() {
    run(async {
        for (sent, end) in [
            (&b""[..], CloseReason::PeerClosed),
            (b"{}\n", CloseReason::PeerClosed),
            (b"{}\r\n", CloseReason::PeerClosed),
            (b"{}\n{", CloseReason::Truncated),
            (&[b'x'; 101], CloseReason::Truncated),
        ] {
            let (mut peer, mut server) = server(100);
            peer.write_all(sent).await.unwrap();
            drop(peer);
            let reason = loop {
                match next(&mut server).await {
                    Ok(_) => {}
                    Err(reason) => break reason,
                }
            };
            assert_eq!(reason, end, "{}", sent.escape_ascii());
        }
    });
}

#[test]
fn every_received_byte_moves_the_idle_deadline() {
    run(async {
        let options = LineOptions {
            idle_timeout: Some(60 * SECOND),
            ..LineOptions::server()
        };
        let (mut client, mut server) = pair_with(options);
        let start = Instant::now();
        let deadline = start + 50 * SECOND;
        assert_eq!(server.ready(Some(deadline)).await, Ok(Wake::Deadline));
        client.queue("{}\n").unwrap();
        client.flush().await.unwrap();
        assert_eq!(next(&mut server).await, line("{}"));
        assert_eq!(next(&mut server).await, Err(CloseReason::Idle));
        assert_took(start, 110 * SECOND);
    });
}

#[test]
fn a_peer_that_does_not_read_is_dropped_at_the_byte_limit() {
    run(async {
        let options = LineOptions {
            max_outbound_len: 10_000,
            ..LineOptions::server()
        };
        let (client, mut server) = pair_with(options);
        let full = PIPE_LEN + options.max_outbound_len;
        let text = "x".repeat(999) + "\n";
        let queued = std::iter::from_fn(|| server.queue(&text).ok()).count();
        assert_eq!(queued, full / 1000);
        assert_eq!(server.queue(&text), Err(CloseReason::SlowConsumer));
        assert!(server.outbound_len() <= options.max_outbound_len);
        drop(client);
    });
}

#[test]
fn a_peer_that_stops_reading_is_dropped_at_the_stall_deadline() {
    run(async {
        let options = LineOptions {
            stall_timeout: 30 * SECOND,
            ..LineOptions::server()
        };
        let (mut client, mut server) = pair_with(options);
        let start = Instant::now();
        // One line longer than the limit is allowed, as nothing else waits.
        server.queue(&("x".repeat(1_000_000) + "\n")).unwrap();
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
fn bytes_that_the_stream_holds_back_are_flushed_and_watched() {
    run(async {
        let (mut peer, far) = duplex(PIPE_LEN);
        let options = LineOptions {
            stall_timeout: 30 * SECOND,
            ..LineOptions::server()
        };
        let mut server = LineConnection::new(streams::Holding::new(far), options);
        server.queue("{}\n").unwrap();
        let past = Some(Instant::now());
        assert_eq!(server.ready(past).await, Ok(Wake::Deadline));
        let mut got = [0; 3];
        let read = Rt::timeout(LINGER, peer.read_exact(&mut got)).await;
        assert!(read.is_some(), "it is held back");
        assert_eq!((&got, server.is_all_sent()), (b"{}\n", true));

        let start = Instant::now();
        server.queue(&("x".repeat(2 * PIPE_LEN) + "\n")).unwrap();
        assert_eq!(server.ready(None).await, Err(CloseReason::SlowConsumer));
        assert_took(start, options.stall_timeout);
        assert_eq!((server.outbound_len(), server.is_all_sent()), (0, false));
    });
}

#[test]
fn waiting_is_cancel_safe() {
    run(async {
        let (mut client, mut server) = pair();
        let sending = async {
            for i in 0..200 {
                client.queue(&format!("{i} {}\n", "x".repeat(i))).unwrap();
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
                while let Some(line) = server.next_line() {
                    let text = format!("{expected} {}", "x".repeat(expected));
                    assert_eq!(line.unwrap().trim_ascii_end(), text.trim_end().as_bytes());
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
        let (mut client, mut server) = pair();
        server.queue("bye\n").unwrap();
        client.queue(&("x".repeat(3 * PIPE_LEN) + "\n")).unwrap();
        let start = Instant::now();
        let last_words = async {
            client.flush().await.unwrap();
            assert_eq!(next(&mut client).await, line("bye"));
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
            let (_client, mut server) = pair();
            server.queue(&("x".repeat(unread) + "\n")).unwrap();
            let start = Instant::now();
            server.close().await;
            assert_took(start, LINGER);
        };
        zip(close(3), close(100_000)).await;
    });
}

#[test]
fn lines_that_are_not_taken_stop_the_reading() {
    run(async {
        let (mut client, mut server) = pair();
        for _ in 0..1_000 {
            client.queue(&("x".repeat(99) + "\n")).unwrap();
        }
        let past = || Some(Instant::now());
        for _ in 0..10 {
            assert_eq!(client.ready(past()).await, Ok(Wake::Deadline));
            assert_eq!(server.ready(None).await, Ok(Wake::Readable));
        }
        assert!(server.buffered() <= PIPE_LEN, "{}", server.buffered());
        let mut taken = 0;
        while taken < 1_000 {
            while server.next_line().is_some() {
                taken += 1;
            }
            client.ready(past()).await.unwrap();
            server.ready(past()).await.unwrap();
        }
    });
}
