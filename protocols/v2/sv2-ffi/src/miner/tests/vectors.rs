//! The Noise transcripts of `test/vectors`, through the functions that C calls. Only the key of the handshake is put in by hand: its
//! encoding is a part of the transcript.

use core::ffi::c_void;

use noise_sv2::{AuthorityPublicKey, CipherState, Opener, SEALED_HEADER_LEN, Sealer};
use serde_json::Value;

use super::*;
use crate::environment::{Environment, sv2_environment, sv2_time};
use crate::handle::create;
use crate::miner::exports::*;
use crate::result::*;

unsafe extern "C" fn no_random(_context: *mut c_void, _bytes: *mut u8, _len: usize) -> i32 {
    1
}

/// The context leads to the time of day.
unsafe extern "C" fn tell_time(context: *mut c_void, now: *mut sv2_time) -> i32 {
    // SAFETY: `miner` hands over what is read and where to write.
    unsafe {
        (*now).monotonic_us = 0;
        (*now).unix_secs = *context.cast();
    }
    0
}

fn load() -> Value {
    let text = include_str!("../../../../../../test/vectors/noise.json");
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(value[key].as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value, key: &str) -> [u8; N] {
    bytes(value, key).try_into().unwrap()
}

/// A miner in the middle of the handshake, with the key of the vector.
fn miner(vector: &Value, authority: [u8; 32], now: &mut u64) -> *mut sv2_miner {
    let key = &vector["initiator_ephemeral"];
    let key = EphemeralKey::from_parts(&array(key, "secret"), &array(key, "ellswift")).unwrap();
    let security = Security::Noise {
        authority: Some(AuthorityPublicKey::from_bytes(&authority).unwrap()),
        key,
    };
    let environment = sv2_environment {
        context: (&raw mut *now).cast(),
        random: Some(no_random),
        clock: Some(tell_time),
    };
    // SAFETY: the functions do what they should while `now` is there, which is as long as callers use the miner.
    let environment = unsafe { Environment::new(&environment) }.unwrap();
    let client = Client::new(terms(security), at(0)).unwrap();
    create(sv2_miner {
        client,
        environment,
    })
    .unwrap()
}

fn outgoing(miner: *mut sv2_miner) -> Vec<u8> {
    let (mut data, mut len) = (core::ptr::null(), 0);
    // SAFETY: both can be written to, and what they lead to is there until the next call.
    let sent = unsafe {
        assert_eq!(sv2_miner_outgoing(miner, &mut data, &mut len), SV2_OK);
        core::slice::from_raw_parts(data, len).to_vec()
    };
    assert_eq!(sv2_miner_sent(miner, len), SV2_OK);
    sent
}

/// Hands in bytes to their end or the first event; gives that event's kind and reason, zeros without one.
fn told(miner: *mut sv2_miner, bytes: &[u8]) -> (u32, sv2_result) {
    let mut taken = 0;
    // SAFETY: a struct of numbers and of a view of nothing.
    let mut event: sv2_event = unsafe { core::mem::zeroed() };
    // SAFETY: the bytes are there, and what is written to can be.
    let (received, next) = unsafe {
        (
            sv2_miner_receive(miner, bytes.as_ptr(), bytes.len(), &mut taken),
            sv2_miner_next_event(miner, &mut event),
        )
    };
    assert_eq!(received, SV2_OK);
    match next {
        SV2_OK => (event.kind, event.reason),
        _ => (0, SV2_OK),
    }
}

#[test]
fn recorded_handshakes() {
    for vector in load()["handshakes"].as_array().unwrap() {
        let mut now = vector["now"].as_u64().unwrap();
        let authority = array(&vector["authority"], "x_only");
        let miner = miner(vector, authority, &mut now);
        assert_eq!(outgoing(miner), bytes(vector, "act1"));
        assert_eq!(told(miner, &bytes(vector, "act2")), (0, SV2_OK));

        // Both keys of the transcript: what is sent opens with the one, what the other seals is taken.
        let state = CipherState::new(&array(vector, "k1_initiator_to_responder"));
        let mut opener = Opener::<PortableCipher>::new(state);
        let mut setup = outgoing(miner);
        let (header, payload) = setup.split_first_chunk_mut::<SEALED_HEADER_LEN>().unwrap();
        let header = Header::from_bytes(opener.open_header(header).unwrap());
        assert_eq!((header.extension_type(), header.msg_type()), (0, 0));
        assert_eq!(opener.open_payload(payload), Ok(header.payload_len()));
        let state = CipherState::new(&array(vector, "k2_responder_to_initiator"));
        let sealer = Sealer::<PortableCipher>::new(state);
        let mut server = Server {
            transport: Some(Transport { sealer, opener }),
        };
        let answer = server.frame(&setup_success());
        assert_eq!(told(miner, &answer), (SV2_EVENT_READY, SV2_OK));
        assert_eq!(sv2_miner_free(miner), SV2_OK);
    }
}

#[test]
fn handshakes_that_must_fail() {
    for vector in load()["handshake_failures"].as_array().unwrap() {
        let mut now = vector["now"].as_u64().unwrap();
        let miner = miner(vector, array(vector, "pinned_authority_x_only"), &mut now);
        outgoing(miner);
        let name = vector["name"].as_str().unwrap();
        let act2 = bytes(vector, "act2");
        let ended = |reason| (SV2_EVENT_ENDED, reason);
        let expected = match vector["own_check"].as_str().unwrap() {
            // Too few bytes are awaited, and one too many belongs to what follows.
            _ if act2.len() < noise_sv2::ACT2_LEN => (0, SV2_OK),
            "ok" | "length" => (0, SV2_OK),
            // Ten seconds are allowed for, as deployed clients do.
            _ if name.starts_with("leeway") => (0, SV2_OK),
            "expired" => ended(SV2_CERTIFICATE_EXPIRED),
            "not yet valid" => ended(SV2_CERTIFICATE_NOT_YET_VALID),
            "signature" | "version" => ended(SV2_CERTIFICATE_REFUSED),
            _ => ended(SV2_HANDSHAKE_FAILED),
        };
        assert_eq!(told(miner, &act2), expected, "{name}");
        let is_through = expected.0 == 0 && act2.len() >= noise_sv2::ACT2_LEN;
        assert_eq!(!outgoing(miner).is_empty(), is_through, "{name}");
        assert_eq!(sv2_miner_free(miner), SV2_OK);
    }
}

#[test]
fn streams_that_must_fail() {
    let file = load();
    let context = &file["transport_failures_context"];
    for vector in file["transport_failures"].as_array().unwrap() {
        if vector["receiver"] != "initiator" {
            continue;
        }
        let name = vector["name"].as_str().unwrap();
        let mut now = context["now"].as_u64().unwrap();
        let miner = miner(context, array(context, "authority_x_only"), &mut now);
        assert_eq!(told(miner, &bytes(context, "act2")), (0, SV2_OK));
        let told = told(miner, &bytes(vector, "stream_hex"));
        // The first frame of the stream that can be opened names a job that its payload does not hold.
        let accepted = vector["frames_accepted_before_failure"].as_u64().unwrap();
        let expected = match vector["then"].as_str().unwrap() {
            _ if accepted > 0 => (SV2_EVENT_ENDED, SV2_MALFORMED_MESSAGE),
            "needs more data" => (0, SV2_OK),
            _ => (SV2_EVENT_ENDED, SV2_CIPHER_FAILED),
        };
        assert_eq!(told, expected, "{name}: {vector}");
        assert_eq!(sv2_miner_free(miner), SV2_OK);
    }
}
