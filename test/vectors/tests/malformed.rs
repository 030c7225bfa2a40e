//! The byte strings of `malformed.json`: what must be refused, naming the field, and what must be tolerated.

mod support;

use codec_sv2::{Decoded, StandardSv2Decoder};
use const_sv2::Protocol;
use extensions_sv2::WorkerIdentity;
use framing_sv2::{Header, Sv2Frame};
use serde_json::Value;
use stratum_vectors::{bytes, list, load, text, uint};
use support::{Tested, message, same_but_for_bools, same_name};

/// What a connection makes of a stream of bytes: its first frame and the bytes behind it, or the bytes it waits for.
fn first_frame(stream: &[u8]) -> Result<(Sv2Frame<'static>, Vec<u8>), usize> {
    let mut decoder: StandardSv2Decoder = StandardSv2Decoder::plain();
    let mut waiting = stream;
    loop {
        let taken = decoder.feed(waiting);
        waiting = &waiting[taken..];
        match decoder
            .next_frame()
            .expect("no stream here breaks the framing")
        {
            Decoded::Frame(frame) => {
                let frame = frame.into_owned();
                let behind = Header::LEN + frame.payload().len();
                return Ok((frame, stream[behind..].to_vec()));
            }
            Decoded::Missing(missing) if waiting.is_empty() => return Err(missing),
            Decoded::Missing(_) => {}
        }
    }
}

fn whole_frame(entry: &Value) -> (Sv2Frame<'static>, Vec<u8>) {
    first_frame(&bytes(entry, "frame_hex"))
        .unwrap_or_else(|missing| panic!("{missing} bytes missing: {entry}"))
}

fn tested_of(frame: &Sv2Frame<'_>) -> Option<&'static Tested> {
    message(frame.header().extension_type(), frame.header().msg_type())
}

/// The message that an entry names; payload and frame of the entry must agree.
fn tested(entry: &Value) -> &'static Tested {
    let name = text(entry, "message");
    let extension_type = match entry.get("frame_hex") {
        Some(_) => {
            let (frame, _) = whole_frame(entry);
            assert_eq!(frame.payload(), bytes(entry, "payload_hex"), "{name}");
            frame.header().extension_type()
        }
        None => uint(entry, "wire_extension_type") as u16,
    };
    let tested = message(extension_type, uint(entry, "msg_type") as u8)
        .unwrap_or_else(|| panic!("no message in our tables is {name}"));
    assert_eq!(tested.kind.name, name);
    tested
}

#[test]
fn every_truncation_is_refused_naming_a_field() {
    for entry in list(&load("malformed.json"), "truncations") {
        let tested = tested(entry);
        let payload = bytes(entry, "valid_payload_hex");
        let whole = (tested.decode)(&payload).expect("the whole payload is valid");
        assert_eq!(whole.read, payload.len());
        for len in 0..payload.len() {
            match (tested.decode)(&payload[..len]) {
                Ok(_) => panic!("{} of {len} bytes was accepted", tested.kind.name),
                Err(error) => assert_ne!(error.field, "", "{}", tested.kind.name),
            }
        }
    }
}

/// A payload that must be refused by an error that names the entry's field, or one of its elements.
fn refused_in_its_field(entry: &Value) {
    let name = text(entry, "message");
    let Err(error) = (tested(entry).decode)(&bytes(entry, "payload_hex")) else {
        panic!("accepted: {entry}");
    };
    let expected = text(entry, "field");
    let element = error.element.map(|position| format!("[{position}]"));
    let path = format!("{}{}", error.field, element.unwrap_or_default());
    assert!(
        same_name(error.field, expected) || same_name(&path, expected),
        "{name}: the error names {path}, not {expected}: {entry}"
    );
    assert!(error.to_string().contains(error.field));
}

/// A frame whose payload must not decode.
fn refused_frame(entry: &Value, frame: &Sv2Frame<'_>) {
    let tested = tested_of(frame).expect("a message of our tables");
    match (tested.decode)(frame.payload()) {
        Err(error) => assert_ne!(error.field, ""),
        // Its bytes are whole and its meaning is not: setup negotiation answers such a value.
        Ok(_) if text(entry, "expected").contains("unsupported-protocol") => {
            let protocol = Protocol(frame.payload()[0]);
            assert!(!Protocol::ALL.contains(&protocol), "{entry}");
        }
        Ok(_) => panic!("accepted: {entry}"),
    }
}

#[test]
fn every_case_is_refused_ignored_or_waited_for() {
    for entry in list(&load("malformed.json"), "cases") {
        let expected = text(entry, "expected");
        if entry.get("field").is_some() {
            assert!(expected.starts_with("reject"), "{entry}");
            refused_in_its_field(entry);
            continue;
        }
        if expected.starts_with("incomplete") {
            incomplete(&bytes(entry, "frame_hex"));
            continue;
        }
        let (frame, behind) = whole_frame(entry);
        if expected.starts_with("reject") {
            refused_frame(entry, &frame);
        } else {
            // To be ignored or forwarded: nothing here may take it for a message that it knows.
            assert!(tested_of(&frame).is_none(), "{entry}");
            assert!(behind.is_empty(), "{entry}");
        }
    }
}

/// The decoder waits for exactly the bytes that complete the header or, behind a header, the payload.
fn incomplete(stream: &[u8]) {
    let missing = match stream {
        [_, _, _, low, middle, high, payload @ ..] => {
            u32::from_le_bytes([*low, *middle, *high, 0]) as usize - payload.len()
        }
        _ => Header::LEN - stream.len(),
    };
    assert_eq!(first_frame(stream), Err(missing));
}

#[test]
fn what_is_tolerated_decodes_unchanged() {
    for entry in list(&load("malformed.json"), "tolerated") {
        let payload = bytes(entry, "payload_hex");
        let decoded =
            (tested(entry).decode)(&payload).unwrap_or_else(|error| panic!("{error}: {entry}"));
        assert!(
            same_but_for_bools(&decoded.encoded, &payload[..decoded.read]),
            "{entry}"
        );
        let trailing = text(entry, "category") == "trailing bytes";
        assert_eq!(trailing, decoded.read < payload.len(), "{entry}");
        let Some(expected) = entry["expected_value"].as_bool() else {
            continue;
        };
        let field = decoded
            .bools
            .iter()
            .find(|(name, _)| same_name(name, text(entry, "field")));
        assert_eq!(field.map(|(_, value)| *value), Some(expected), "{entry}");
    }
}

#[test]
fn malformed_tlv_fields_never_spoil_the_message() {
    for entry in list(&load("malformed.json"), "tlv") {
        let (frame, _) = whole_frame(entry);
        let tested = tested_of(&frame).expect("a message of our tables");
        let decoded =
            (tested.decode)(frame.payload()).unwrap_or_else(|error| panic!("{error}: {entry}"));
        let trailing = &frame.payload()[decoded.read..];
        assert_eq!(trailing, bytes(entry, "tlv_bytes_hex"), "{entry}");

        let identity = WorkerIdentity::find(trailing);
        let expected = text(entry, "expected");
        if expected.starts_with("reject") {
            assert!(identity.is_err(), "{entry}");
        } else if expected.starts_with("message decodes") || expected.starts_with("unknown field") {
            assert_eq!(identity, Ok(None), "{entry}");
        } else if expected.starts_with("valid") {
            assert!(matches!(identity, Ok(Some(_))), "{entry}");
        } else {
            assert!(identity.is_ok(), "{entry}");
        }
    }
}
