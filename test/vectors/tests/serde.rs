//! The messages of `messages.json` and `malformed.json` through serde: the same bytes and values as our own codec's, and
//! the same refusals.

mod support;

use binary_sv2::{DecodeError, DecodeErrorKind, Encodable};
use const_sv2::{Direction, Protocol};
use framing_sv2::{Frame, FrameError, Header, Sv2Frame};
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use serde::Deserialize;
use serde_json::Value;
use stratum_vectors::{bytes, list, load, text, to_hex, uint};
use support::{Tested, fields, message, messages};

/// Longest payload that is made JSON of: longer ones take seconds and show nothing else.
const MAX_JSON_LEN: usize = 70_000;

/// The message that a vector describes.
fn tested(vector: &Value, extension_key: &str) -> &'static Tested {
    let extension_type = uint(vector, extension_key) as u16;
    message(extension_type, uint(vector, "msg_type") as u8)
        .unwrap_or_else(|| panic!("no message in our tables is {}", text(vector, "message")))
}

/// The first frame of a malformed entry, apart; `None` where no message in our tables is the frame's.
fn framed(entry: &Value) -> Option<(&'static Tested, Vec<u8>)> {
    let frame = bytes(entry, "frame_hex");
    let (header, payload) = frame.split_first_chunk().expect("a whole header");
    let header = Header::from_bytes(*header);
    let tested = message(header.extension_type(), header.msg_type())?;
    Some((tested, payload[..header.payload_len()].to_vec()))
}

#[test]
fn every_vector_is_encoded_and_decoded() {
    for vector in list(&load("messages.json"), "vectors") {
        let tested = tested(vector, "extension_type");
        let what = format!("{} {}", text(vector, "message"), vector["id"]);
        let fields = fields(vector);
        // That these bytes are the vector's is tested with our own codec.
        let payload = (tested.encode)(&fields);
        assert!((tested.serde_encode)(&fields) == payload, "{what}");
        let read = (tested.serde_decode)(&payload).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(read, payload.len(), "{what}");
        if payload.len() <= MAX_JSON_LEN {
            let json = (tested.to_json)(&payload);
            assert!(json.starts_with('{') && json.ends_with('}'), "{what}");
        }
    }
}

/// Whether serde refuses for our own codec's reason.
///
/// serde does not know the length of elements that it has not read: where our own codec finds that a sequence of a fixed
/// element length does not fit, serde finds the first element that does not.
fn same_refusal(own: &DecodeError, serde: &serde_sv2::Error) -> bool {
    let serde_sv2::Error::Decode(serde) = serde else {
        return false;
    };
    let is_missing =
        |error: &DecodeError| matches!(error.kind, DecodeErrorKind::MissingBytes { .. });
    let is_cut_sequence = own.element.is_none() && serde.element.is_some();
    own == serde
        || (own.field == serde.field && is_missing(own) && is_missing(serde) && is_cut_sequence)
}

/// Checks that both codecs refuse the payload for the same reason.
fn refused(tested: &Tested, payload: &[u8]) {
    match ((tested.decode)(payload), (tested.serde_decode)(payload)) {
        (Err(own), Err(serde)) => {
            let name = tested.kind.name;
            assert!(same_refusal(&own, &serde), "{name}: {own}, but {serde}");
        }
        (_, Ok(_)) => panic!("{} was accepted", tested.kind.name),
        (Ok(_), Err(serde)) => panic!("{} was refused by serde only: {serde}", tested.kind.name),
    }
}

#[test]
fn every_truncation_is_refused() {
    for entry in list(&load("malformed.json"), "truncations") {
        let tested = tested(entry, "wire_extension_type");
        let payload = bytes(entry, "valid_payload_hex");
        assert_eq!((tested.serde_decode)(&payload), Ok(payload.len()));
        for len in 0..payload.len() {
            refused(tested, &payload[..len]);
        }
    }
}

#[test]
fn every_case_is_refused_or_no_message() {
    let file = load("malformed.json");
    for entry in list(&file, "cases") {
        let expected = text(entry, "expected");
        if expected.starts_with("incomplete") {
            incomplete(&bytes(entry, "frame_hex"));
            continue;
        }
        match framed(entry) {
            Some((_, payload)) if expected.contains("unsupported-protocol") => {
                // Its bytes are whole and its meaning is not: setup negotiation answers such a value.
                assert!(!Protocol::ALL.contains(&Protocol(payload[0])), "{entry}");
            }
            Some((tested, payload)) => refused(tested, &payload),
            None => assert!(!expected.starts_with("reject"), "{entry}"),
        }
    }
}

/// A frame that has not arrived as a whole is none, through serde as otherwise.
fn incomplete(stream: &[u8]) {
    let missing = match Sv2Frame::from_bytes(stream) {
        Err(FrameError::MissingBytes { missing }) => missing,
        other => panic!("{other:?} of {}", to_hex(stream)),
    };
    let through_serde = serde_sv2::from_bytes::<Sv2Frame<'_>>(stream);
    match through_serde.expect_err("an incomplete frame") {
        serde_sv2::Error::Decode(error) => {
            assert!(stream.len() < Header::LEN, "{error} in {}", to_hex(stream));
        }
        error => assert_eq!(
            error.to_string(),
            FrameError::MissingBytes { missing }.to_string()
        ),
    }
}

#[test]
fn frames_are_those_of_the_vectors() {
    for vector in list(&load("messages.json"), "vectors") {
        if vector.get("frame_hex").is_none() {
            continue;
        }
        let bytes = bytes(vector, "frame_hex");
        let frame: Sv2Frame<'_> = serde_sv2::from_bytes(&bytes).expect("a whole frame");
        assert_eq!(Ok(&frame), Sv2Frame::from_bytes(&bytes).as_ref());
        assert_eq!(serde_sv2::to_vec(&frame).as_ref(), Ok(&bytes));
        let json = serde_json::to_string(&frame).expect("frames have a form");
        assert_eq!(
            serde_json::from_str::<Sv2Frame<'_>>(&json).expect("it was written"),
            frame
        );

        let longer = [&bytes[..], &[0]].concat();
        let error = serde_sv2::from_bytes::<Sv2Frame<'_>>(&longer).expect_err("a byte too many");
        assert_eq!(
            error.to_string(),
            FrameError::ExcessBytes { excess: 1 }.to_string()
        );
    }
}

/// A message as a router gives it is written by the name of its sub-protocol and its own.
#[test]
fn routed_messages_are_read_from_json() {
    for vector in list(&load("messages.json"), "vectors") {
        let tested = tested(vector, "extension_type");
        let payload = (tested.encode)(&fields(vector));
        if payload.len() > MAX_JSON_LEN {
            continue;
        }
        let peer = match tested.kind.direction {
            Direction::ToClient => Peer::Server,
            Direction::ToServer | Direction::Both => Peer::Client,
        };
        let router = Router::new(protocol(tested), peer);
        let extension_type = tested.kind.wire_extension_type();
        let routed = router
            .route(extension_type, tested.kind.msg_type, &payload)
            .unwrap_or_else(|error| panic!("{error}: {vector}"));
        assert_eq!(serde_sv2::to_vec(&routed.message).as_ref(), Ok(&payload));

        let json = serde_json::to_value(&routed.message).expect("every message has a form");
        let (_, inner) = json
            .as_object()
            .and_then(|map| map.iter().next())
            .expect("a map");
        assert!(inner.get(tested.kind.name).is_some(), "{json}");
        match AnyMessage::deserialize(&json) {
            Ok(read) => assert_eq!(read.to_vec(), payload),
            Err(error) => assert!(json.to_string().contains(":null"), "{error}: {json}"),
        }
        let alone = serde_sv2::message_from_bytes::<AnyMessage<'_>>(tested.kind.msg_type, &payload);
        assert!(
            alone.is_err(),
            "which protocol it is of, its bytes do not say"
        );
    }
}

/// A sub-protocol that has the message.
fn protocol(tested: &Tested) -> Protocol {
    match tested.kind.msg_type {
        0x50..0x70 => Protocol::JOB_DECLARATION,
        0x70.. => Protocol::TEMPLATE_DISTRIBUTION,
        _ => Protocol::MINING,
    }
}

#[test]
fn what_is_tolerated_decodes() {
    let file = load("malformed.json");
    for entry in list(&file, "tolerated") {
        let (tested, payload) = framed(entry).expect("a message of our tables");
        let own = (tested.decode)(&payload).unwrap_or_else(|e| panic!("{e}: {entry}"));
        assert_eq!((tested.serde_decode)(&payload), Ok(own.read), "{entry}");
    }
}

#[test]
fn a_message_of_another_number_is_refused() {
    use mining_sv2::MiningMessage;
    for number in 0..=u8::MAX {
        let known = messages().any(|tested| {
            tested.kind.extension == 0
                && tested.kind.msg_type == number
                && (0x10..0x50).contains(&number)
        });
        let payload = [0; 300];
        let read = serde_sv2::message_from_bytes::<MiningMessage<'_>>(number, &payload);
        assert_eq!(read.is_ok(), known, "{number}");
        assert_eq!(read.is_ok(), MiningMessage::parse(number, &payload).is_ok());
    }
}
