//! Noise transcripts: handshakes step by step, sealed frames, and everything that must be refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;

use codec_sv2::{Decoded, FrameDecoder, NoiseEncoder, StandardNoiseDecoder};
use framing_sv2::{Frame, Header, MAX_PAYLOAD_LEN, Sv2Frame};
use noise_sv2::{
    AeadCipher, AuthorityPublicKey, AuthoritySecretKey, Certificate, CipherError, DefaultCipher,
    EphemeralKey, Initiator, Opener, PROTOCOL_NAME, PortableCipher, Responder, SEALED_HEADER_LEN,
    StaticKey, SymmetricState, Transport, decode_key, opened_payload_len, sealed_payload_len,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stratum_vectors::{array, bytes, list, load, repeat, text, to_hex, uint, unhex};

fn ephemeral(key: &Value) -> EphemeralKey {
    EphemeralKey::from_parts(&array(key, "secret"), &array(key, "ellswift")).unwrap()
}

fn static_key(key: &Value) -> StaticKey {
    StaticKey::from_parts(&array(key, "secret"), &array(key, "ellswift")).unwrap()
}

fn authority(vector: &Value) -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&array(&vector["authority"], "secret")).unwrap()
}

fn certificate(vector: &Value) -> Certificate {
    let certificate = &vector["certificate"];
    let second = |key| u32::try_from(uint(certificate, key)).unwrap();
    Certificate::issue(
        &authority(vector),
        &static_key(&vector["responder_static"]),
        second("valid_from")..=second("not_valid_after"),
        &array(certificate, "schnorr_aux_rand"),
    )
}

#[test]
fn keys_and_certificates() {
    for vector in list(&load("noise.json"), "handshakes") {
        for role in [
            "initiator_ephemeral",
            "responder_ephemeral",
            "responder_static",
        ] {
            let key = &vector[role];
            assert_eq!(decode_key(&array(key, "ellswift")), array(key, "x_only"));
        }
        let server = static_key(&vector["responder_static"]);
        assert_eq!(
            server.x_only(),
            array(&vector["responder_static"], "x_only")
        );
        let public = authority(vector).public_key();
        assert_eq!(public.to_bytes(), array(&vector["authority"], "x_only"));
        assert_eq!(
            public.to_string(),
            text(&vector["authority"], "base58check")
        );

        let expected = &vector["certificate"];
        let certificate = certificate(vector);
        assert_eq!(
            certificate.digest(&server.x_only()),
            array(expected, "digest_m")
        );
        assert_eq!(
            certificate.to_bytes(),
            array(expected, "signature_noise_message")
        );
        assert_eq!(
            Certificate::from_bytes(&array(expected, "signature_noise_message")),
            certificate
        );
        assert_eq!(
            certificate.verify(&public, &server.x_only(), uint(vector, "now"), 0),
            Ok(())
        );
    }
}

/// The portable cipher, which remembers the key that was set last.
struct Recording(PortableCipher);

thread_local! {
    static KEY: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
}

impl AeadCipher for Recording {
    fn new(key: &[u8; 32]) -> Self {
        KEY.set(Some(*key));
        Self(PortableCipher::new(key))
    }

    fn seal_in_place(&self, n: u64, ad: &[u8], message: &mut [u8]) -> Result<(), CipherError> {
        self.0.seal_in_place(n, ad, message)
    }

    fn open_in_place(&self, n: u64, ad: &[u8], message: &mut [u8]) -> Result<(), CipherError> {
        self.0.open_in_place(n, ad, message)
    }
}

fn room_for_tag(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len() + 16, 0);
    message
}

#[test]
fn every_step_of_the_symmetric_state() {
    let file = load("noise.json");
    assert_eq!(text(&file, "protocol_name"), PROTOCOL_NAME);
    for vector in list(&file, "handshakes") {
        KEY.set(None);
        let mut steps = list(vector, "steps").iter();
        let mut check = |state: &SymmetricState<Recording>| {
            let step = steps.next().unwrap();
            assert_eq!(*state.handshake_hash(), array(step, "h"), "{step}");
            assert_eq!(*state.chaining_key(), array(step, "ck"), "{step}");
            assert_eq!(
                KEY.get().map(to_hex).as_deref(),
                step["k"].as_str(),
                "{step}"
            );
        };
        let mut state = SymmetricState::<Recording>::new();
        check(&state);
        state.mix_hash(&bytes(vector, "act1"));
        check(&state);
        state.decrypt_and_hash(&mut []).unwrap();
        check(&state);
        state.mix_hash(&bytes(&vector["responder_ephemeral"], "ellswift"));
        check(&state);
        state.mix_key(&array(&vector["ecdh_ee"], "secret"));
        check(&state);
        let key = bytes(&vector["responder_static"], "ellswift");
        state.encrypt_and_hash(&mut room_for_tag(key)).unwrap();
        check(&state);
        state.mix_key(&array(&vector["ecdh_es"], "secret"));
        check(&state);
        let message = bytes(&vector["certificate"], "signature_noise_message");
        state.encrypt_and_hash(&mut room_for_tag(message)).unwrap();
        check(&state);
        assert!(steps.next().is_none());

        assert_eq!(*state.handshake_hash(), array(vector, "final_h"));
        assert_eq!(*state.chaining_key(), array(vector, "final_ck"));
        drop(state.split());
        assert_eq!(KEY.get(), Some(array(vector, "k2_responder_to_initiator")));
    }
}

/// Both sides of a recorded handshake: initiator's and responder's transport.
fn shake_hands<C: AeadCipher>(vector: &Value) -> (Transport<C>, Transport<C>) {
    let (server_key, certificate) = (static_key(&vector["responder_static"]), certificate(vector));
    let (client, act1) = Initiator::with_cipher(
        Some(authority(vector).public_key()),
        ephemeral(&vector["initiator_ephemeral"]),
    );
    assert_eq!(act1, array(vector, "act1"));
    let (server, act2) = Responder::with_cipher(&server_key, &certificate)
        .respond(&act1, ephemeral(&vector["responder_ephemeral"]))
        .unwrap();
    assert_eq!(act2, array(vector, "act2"));
    (
        client.finish(&act2, uint(vector, "now"), 0).unwrap(),
        server,
    )
}

#[test]
fn shared_secrets() {
    for vector in list(&load("noise.json"), "handshakes") {
        let encoding = |role: &str| array(&vector[role], "ellswift");
        let client = ephemeral(&vector["initiator_ephemeral"]);
        let ee = array(&vector["ecdh_ee"], "secret");
        let es = array(&vector["ecdh_es"], "secret");
        assert_eq!(
            *client.shared_secret_as_initiator(&encoding("responder_ephemeral")),
            ee
        );
        assert_eq!(
            *client.shared_secret_as_initiator(&encoding("responder_static")),
            es
        );
        let server = ephemeral(&vector["responder_ephemeral"]);
        assert_eq!(*server.shared_secret_as_responder(&client.encoding()), ee);
        let server = static_key(&vector["responder_static"]);
        assert_eq!(*server.shared_secret_as_responder(&client.encoding()), es);
    }
}

fn exchange_frames<C: AeadCipher>(vector: &Value) {
    let (client, server) = shake_hands::<C>(vector);
    let decoder = |opener| FrameDecoder::new(opener, buffer_pool(), MAX_PAYLOAD_LEN);
    let mut to_server = (NoiseEncoder::new(client.sealer), decoder(server.opener));
    let mut to_client = (NoiseEncoder::new(server.sealer), decoder(client.opener));
    for frame in list(vector, "transport") {
        let (encoder, decoder) = match text(frame, "direction") {
            "i2r" => &mut to_server,
            "r2i" => &mut to_client,
            other => panic!("unknown direction {other}"),
        };
        let len = usize::try_from(uint(frame, "payload_len")).unwrap();
        let payload = repeat(&bytes(frame, "payload_pattern_hex"), len);
        let header = Header::from_bytes(array(frame, "header_hex"));
        let mut wire = Vec::new();
        encoder
            .encode_raw(
                header.extension_type(),
                header.msg_type(),
                &payload,
                &mut wire,
            )
            .unwrap();

        assert_eq!(wire.len() as u64, uint(frame, "ciphertext_len"));
        assert_eq!(Sha256::digest(&wire)[..], bytes(frame, "ciphertext_sha256"));
        assert_eq!(
            wire[..SEALED_HEADER_LEN],
            bytes(frame, "header_ciphertext_hex")
        );
        if frame["ciphertext_hex"].is_string() {
            assert_eq!(wire, bytes(frame, "ciphertext_hex"));
        }
        if frame["last_64_ciphertext_hex"].is_string() {
            assert!(wire.ends_with(&bytes(frame, "last_64_ciphertext_hex")));
        }

        let (frames, end) = decode(decoder, &wire);
        assert!(end.is_ok());
        assert_eq!(frames, [Sv2Frame::from_parts_unchecked(header, payload)]);
    }
}

fn buffer_pool() -> buffer_sv2::LocalPool {
    buffer_sv2::LocalPool::default()
}

type Decoder<C> = StandardNoiseDecoder<buffer_sv2::LocalPool, C>;

/// The frames in `wire`, and whether the decoder still works behind them.
fn decode<C: AeadCipher>(
    decoder: &mut Decoder<C>,
    mut wire: &[u8],
) -> (Vec<Sv2Frame<'static>>, Result<(), codec_sv2::DecodeError>) {
    let mut frames = Vec::new();
    loop {
        match decoder.next_frame() {
            Ok(Decoded::Frame(frame)) => frames.push(frame.into_owned()),
            Ok(Decoded::Missing(_)) if wire.is_empty() => return (frames, Ok(())),
            Ok(Decoded::Missing(_)) => wire = &wire[decoder.feed(wire)..],
            Err(error) => return (frames, Err(error)),
        }
    }
}

#[test]
fn handshakes_and_frames() {
    for vector in list(&load("noise.json"), "handshakes") {
        exchange_frames::<DefaultCipher>(vector);
        exchange_frames::<PortableCipher>(vector);
    }
}

#[test]
fn handshakes_that_must_fail() {
    let (mut accepted, mut rejected) = (0, 0);
    for vector in list(&load("noise.json"), "handshake_failures") {
        let finish = |authority| {
            let (client, _) = Initiator::new(authority, ephemeral(&vector["initiator_ephemeral"]));
            let act2 = bytes(vector, "act2").try_into().ok()?;
            client.finish(&act2, uint(vector, "now"), 0).ok()
        };
        let pinned =
            AuthorityPublicKey::from_bytes(&array(vector, "pinned_authority_x_only")).unwrap();
        let with_pin = finish(Some(pinned)).is_some();
        let expected = match text(vector, "expected_strict") {
            "accept" => true,
            "reject" => false,
            other => panic!("unknown expectation {other}"),
        };
        assert_eq!(with_pin, expected, "{}", text(vector, "name"));
        assert!(
            !with_pin || finish(None).is_some(),
            "pinning a key never accepts more"
        );
        *(if with_pin {
            &mut accepted
        } else {
            &mut rejected
        }) += 1;
    }
    assert!(accepted > 0 && rejected > 0);
}

#[test]
fn streams_that_must_fail() {
    let file = load("noise.json");
    let context = &file["transport_failures_context"];
    let receiver = || -> Opener {
        let authority =
            AuthorityPublicKey::from_bytes(&array(context, "authority_x_only")).unwrap();
        let (client, _) =
            Initiator::new(Some(authority), ephemeral(&context["initiator_ephemeral"]));
        client
            .finish(&array(context, "act2"), uint(context, "now"), 0)
            .unwrap()
            .opener
    };
    for vector in list(&file, "transport_failures") {
        let name = text(vector, "name");
        assert_eq!(
            text(vector, "receiver"),
            "initiator",
            "the context has no other side"
        );
        let mut decoder = FrameDecoder::new(receiver(), buffer_pool(), MAX_PAYLOAD_LEN);
        let (frames, end) = decode(&mut decoder, &bytes(vector, "stream_hex"));
        assert_eq!(
            frames.len() as u64,
            uint(vector, "frames_accepted_before_failure"),
            "{name}"
        );
        assert_eq!(end.is_ok(), text(vector, "then") == "ok", "{name}");
        for (i, frame) in frames.iter().enumerate() {
            let sent = &context[format!("frame{}", i + 1)];
            let sent = [bytes(sent, "header_hex"), bytes(sent, "payload_hex")].concat();
            assert_eq!(frame.to_vec(), sent, "{name}");
        }
    }
}

#[test]
fn lengths_of_ciphertexts() {
    for vector in list(&load("noise.json"), "ciphertext_lengths") {
        let len = usize::try_from(uint(vector, "payload_len")).unwrap();
        let sealed = usize::try_from(uint(vector, "payload_ciphertext_len")).unwrap();
        assert_eq!(sealed_payload_len(len), sealed);
        assert_eq!(opened_payload_len(sealed), Some(len));
    }
}

#[test]
fn authority_keys_as_text() {
    let file = load("noise.json");
    for vector in list(&file, "authority_keys") {
        let key = AuthorityPublicKey::from_bytes(&array(vector, "x_only")).unwrap();
        assert_eq!(key.to_string(), text(vector, "base58check"));
        assert_eq!(text(vector, "base58check").parse(), Ok(key));
    }
    for vector in list(&file, "authority_keys_invalid") {
        let parsed = text(vector, "text").parse::<AuthorityPublicKey>();
        assert!(parsed.is_err(), "{vector}");
    }
}

#[test]
fn hexadecimal_payloads_match_their_pattern() {
    for vector in list(&load("noise.json"), "handshakes") {
        for frame in list(vector, "transport") {
            let Some(payload) = frame["payload_hex"].as_str() else {
                continue;
            };
            let len = usize::try_from(uint(frame, "payload_len")).unwrap();
            assert_eq!(
                unhex(payload),
                repeat(&bytes(frame, "payload_pattern_hex"), len)
            );
        }
    }
}
