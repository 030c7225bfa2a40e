//! Any bytes, any cuts, any values.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sv1_api::client_message::{Authorize, ClientMessage, Submit, Subscribe};
use sv1_api::line::{Lines, trim};
use sv1_api::message::Message;
use sv1_api::server_message::{Notify, ServerMessage, SetExtranonce};
use sv1_api::{Difficulty, Id};

/// The lines of a stream that comes in pieces; `None` for one that is too long.
fn lines_of<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    for mut piece in pieces {
        while let Some(line) = lines.next_line(&mut piece) {
            found.push(line.ok().map(<[u8]>::to_vec));
        }
        assert!(lines.held() <= limit);
    }
    found
}

fn request_of(line: &str) -> sv1_api::message::Request<'_> {
    match Message::parse(line.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{line} is no request: {other:?}"),
    }
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_how_the_stream_is_cut(
        stream in prop::collection::vec(prop::sample::select(b"ab \r\n\0{".to_vec()), 0..200),
        size in 1usize..20,
        limit in 0usize..12,
    ) {
        let whole = lines_of(std::iter::once(&stream[..]), limit);
        let cut = lines_of(stream.chunks(size), limit);
        // Only a last line without an end can be too long sooner or later.
        prop_assert_eq!(&whole, &cut);
        let mut wanted: Vec<_> = stream.split(|byte| *byte == b'\n').collect();
        let last = wanted.pop().unwrap_or_default();
        let mut wanted: Vec<_> = wanted
            .into_iter()
            .map(|line| (line.len() <= limit).then(|| trim(line).to_vec()))
            .filter(|line| line.as_deref() != Some(&[]))
            .collect();
        wanted.extend((last.len() > limit).then_some(None));
        prop_assert_eq!(whole, wanted);
    }

    #[test]
    fn ids_are_echoed_to_the_byte(number: u64, text in "[^\\x00-\\x1f]{0,12}") {
        for id in [number.to_string(), format!("-{number}"), serde_json_text(&text)] {
            let line = format!("{{\"id\": {id} ,\"method\":\"x\"}}");
            let request = request_of(&line);
            prop_assert_eq!(request.id.as_json(), &*id);
        }
    }

    #[test]
    fn requests_of_miners_survive_the_wire(
        worker in ".{0,40}", job_id in "[ -~]{0,40}", password in prop::option::of(".{0,20}"),
        extranonce2 in prop::collection::vec(any::<u8>(), 0..=32),
        ntime: u32, nonce: u32, version_bits: Option<u32>, difficulty in 1e-12f64..1e20,
    ) {
        let subscribe = Subscribe { user_agent: Some(worker.clone()), session: Some(job_id.clone()) };
        for message in [
            ClientMessage::Submit(Submit { worker: worker.clone(), job_id, extranonce2, ntime, nonce, version_bits }),
            ClientMessage::Authorize(Authorize { user: worker, password }),
            ClientMessage::Subscribe(subscribe),
            ClientMessage::SuggestDifficulty(Difficulty::new(difficulty).unwrap()),
        ] {
            let line = message.to_line(&Id::from(u64::from(nonce)));
            let request = request_of(&line);
            prop_assert_eq!(request.id.as_u64(), Some(u64::from(nonce)));
            prop_assert_eq!(ClientMessage::parse(&request).unwrap(), message);
        }
    }

    #[test]
    fn messages_of_servers_survive_the_wire(
        job_id in "[ -~]{0,40}", prev_hash: [u8; 32],
        coinbase_prefix in prop::collection::vec(any::<u8>(), 0..100),
        coinbase_suffix in prop::collection::vec(any::<u8>(), 0..100),
        merkle_path in prop::collection::vec(any::<[u8; 32]>(), 0..12),
        version: u32, nbits: u32, ntime: u32, clean_jobs: bool, difficulty in 1e-12f64..1e20,
    ) {
        let extranonce = SetExtranonce { extranonce1: prev_hash.to_vec(), extranonce2_size: 8 };
        for message in [
            ServerMessage::Notify(Notify {
                job_id, prev_hash, coinbase_prefix, coinbase_suffix, merkle_path, version, nbits, ntime, clean_jobs,
            }),
            ServerMessage::SetDifficulty(Difficulty::new(difficulty).unwrap()),
            ServerMessage::SetExtranonce(extranonce),
            ServerMessage::SetVersionMask(version),
        ] {
            let line = message.to_line(&Id::NULL);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert_eq!(ServerMessage::parse(&request_of(&line)).unwrap(), message);
        }
    }
}

fn serde_json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
