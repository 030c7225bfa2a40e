//! Sv1: lines, messages, both ends of a connection.

use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::Now;
use sv1_api::Difficulty;
use sv1_api::client::{ClientConfig, ClientEvent, ClientOutput, ClientSession, FoundShare};
use sv1_api::client_message::ClientMessage;
use sv1_api::line::{Lines, MAX_MINER_LINE_BYTES};
use sv1_api::message::{Message, Request};
use sv1_api::server::{Grant, Job, ServerConfig, ServerEvent, ServerOutput, ServerSession};
use sv1_api::server_message::{Notify, ServerMessage};

/// A stream gives the same lines however it is cut, and never more than the limit is held.
pub(crate) fn lines(data: &[u8]) {
    let Some(([limit, size], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = usize::from(*limit);
    let whole = lines_of([stream].into_iter(), limit);
    let cut = lines_of(stream.chunks(usize::from(*size).max(1)), limit);
    assert_eq!(whole, cut, "the lines depend on how the stream is cut");
}

fn lines_of<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    for mut piece in pieces {
        while let Some(line) = lines.next_line(&mut piece) {
            found.push(line.ok().map(<[u8]>::to_vec));
        }
        assert!(lines.held() <= limit, "more is held than the limit");
    }
    found
}

fn request_of(line: &str) -> Request<'_> {
    match Message::parse(line.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{line} is no request but {other:?}"),
    }
}

/// What is understood is written so that it is understood the same.
pub(crate) fn message(data: &[u8]) {
    match Message::parse(data) {
        Ok(Message::Request(request)) => {
            if let Ok(message) = ClientMessage::parse(&request) {
                let line = message.to_line(&request.id);
                let again = request_of(&line);
                assert_eq!(again.id, request.id);
                assert_eq!(ClientMessage::parse(&again), Ok(message));
            }
            if let Ok(message) = ServerMessage::parse(&request) {
                let line = message.to_line(&request.id);
                assert_eq!(ServerMessage::parse(&request_of(&line)), Ok(message));
            }
        }
        Ok(Message::Response(response)) => {
            let line = response.to_line();
            match Message::parse(line.as_bytes()) {
                Ok(Message::Response(again)) => assert_eq!(again.to_line(), line),
                other => panic!("{line} is no answer but {other:?}"),
            }
        }
        Err(_) => {}
    }
}

/// What a session sends is one line, and a message.
fn check_line(line: &str) {
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
    Message::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
}

fn notify(job_id: u8) -> Notify {
    Notify {
        job_id: job_id.to_string(),
        prev_hash: [1; 32],
        coinbase_prefix: vec![2],
        coinbase_suffix: vec![3],
        merkle_path: vec![[4; 32]],
        version: 0x2000_0000,
        nbits: 0x207f_ffff,
        ntime: 5,
        clean_jobs: false,
    }
}

/// A session with an owner who grants and accepts everything; lines that begin with `!` are what the owner does.
pub(crate) fn server(data: &[u8]) {
    let mut now = Now::default();
    let mut session = ServerSession::new(ServerConfig::default(), now);
    let mut lines = Lines::new(MAX_MINER_LINE_BYTES);
    let mut stream = data;
    let mut is_closed = false;
    while let Some(line) = lines.next_line(&mut stream) {
        match line {
            Ok([b'!', action, argument, ..]) => {
                now = act(&mut session, *action, *argument, now);
            }
            Ok(line) => session.handle_line(line, now),
            Err(error) => session.handle_long_line(error, now),
        }
        take_outputs(&mut session, &mut is_closed, now);
    }
    assert!(session.workers().len() <= sv1_api::server::MAX_WORKERS);
}

fn act(session: &mut ServerSession, action: u8, argument: u8, now: Now) -> Now {
    match action {
        b'j' => session.send_job(&Arc::new(Job::new(notify(argument))), false, now),
        b'c' => session.send_job(&Arc::new(Job::new(notify(argument))), true, now),
        b'd' => {
            let difficulty = Difficulty::new(f64::from(argument) / 8.0);
            session.set_difficulty(difficulty.unwrap_or(Difficulty::ONE));
        }
        b'm' => session.set_version_mask(u32::from(argument) << 13),
        b'e' => {
            session.set_extranonce(vec![argument; 4], usize::from(argument % 16));
        }
        b'p' => session.ping(),
        b'w' => {
            let now = now.after(Duration::from_secs(u64::from(argument)));
            session.handle_timeout(now);
            return now;
        }
        _ => {}
    }
    now
}

fn take_outputs(session: &mut ServerSession, is_closed: &mut bool, now: Now) {
    let mut is_difficulty_told = false;
    while let Some(output) = session.poll_output() {
        match output {
            ServerOutput::Send(line) => {
                assert!(!*is_closed, "something is sent after the end");
                check_line(&line);
                let is_job = line.contains("\"method\":\"mining.notify\"");
                assert!(
                    is_job || !is_difficulty_told,
                    "a difficulty belongs to no job"
                );
                is_difficulty_told = line.contains("\"method\":\"mining.set_difficulty\"");
            }
            ServerOutput::Close(_) => *is_closed = true,
            ServerOutput::Event(ServerEvent::Subscribe(_)) => {
                let grant = Grant {
                    extranonce1: vec![1, 2, 3, 4],
                    extranonce2_size: 8,
                    session: "s".to_owned(),
                };
                session.grant(grant, now);
            }
            ServerOutput::Event(ServerEvent::Authorize { id, authorize }) => {
                session.answer_authorize(&id, &authorize.user, true, now);
            }
            ServerOutput::Event(ServerEvent::Submit { id, .. }) => {
                session.answer_submit(&id, Ok(()), now);
            }
            ServerOutput::Event(_) => {}
        }
    }
    assert!(!is_difficulty_told, "a difficulty belongs to no job");
}

/// A miner that submits something on each job; a line that begins with `!` lets time pass.
pub(crate) fn client(data: &[u8]) {
    let mut now = Now::default();
    let mut session = ClientSession::new(ClientConfig::new("a.pool.example", "w"), now);
    let mut is_closed = false;
    for line in data.split(|byte| *byte == b'\n') {
        match line {
            [b'!', secs, ..] => {
                now = now.after(Duration::from_secs(u64::from(*secs)));
                session.handle_timeout(now);
            }
            line => session.handle_line(line, now),
        }
        while let Some(output) = session.poll_output() {
            assert!(!is_closed, "something follows the end");
            match output {
                ClientOutput::Send(line) => check_line(&line),
                ClientOutput::Close(_) => is_closed = true,
                ClientOutput::Event(ClientEvent::Work(job)) => {
                    let extranonce2 = vec![0; job.extranonce2_size()];
                    let share = FoundShare {
                        extranonce2: &extranonce2,
                        ntime: job.notify().ntime,
                        nonce: 0,
                        version: job.notify().version,
                    };
                    assert_eq!(job.header(&share).prev_hash, job.notify().prev_hash);
                    let before = session.counts().submitted;
                    let submitted = u64::from(session.submit(&job, &share).is_ok());
                    assert_eq!(session.counts().submitted, before + submitted);
                }
                ClientOutput::Event(_) => {}
            }
        }
    }
}
