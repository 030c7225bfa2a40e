//! Every encoding of `messages.json`: the fields give the payload, the payload gives the fields, the kind the header.

mod support;

use extensions_sv2::{Tlv, TlvByteOrder, TlvFields, tlv_fields_for};
use framing_sv2::{Frame, Header, Sv2Frame};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stratum_vectors::{bytes, list, load, text, to_hex, uint};
use support::{Tested, fields, message};

/// The message of a vector, whose line in our tables must be the one that the vector describes.
fn tested(vector: &Value) -> &'static Tested {
    let extension = uint(vector, "extension_type") as u16;
    let tested = message(extension, uint(vector, "msg_type") as u8)
        .unwrap_or_else(|| panic!("no message in our tables is {}", text(vector, "message")));
    assert_eq!(tested.kind.name, text(vector, "message"));
    assert_eq!(
        Some(tested.kind.is_channel_message),
        vector["channel_bit"].as_bool()
    );
    tested
}

/// The frame that carries the payload.
fn frame(tested: &Tested, payload: &[u8]) -> Vec<u8> {
    let extension_type = tested.kind.wire_extension_type();
    let frame = Sv2Frame::new(extension_type, tested.kind.msg_type, payload)
        .expect("the payload fits a frame");
    frame.to_vec()
}

fn digest(bytes: &[u8]) -> String {
    to_hex(Sha256::digest(bytes))
}

#[test]
fn every_vector_is_encoded_and_decoded() {
    for vector in list(&load("messages.json"), "vectors") {
        let tested = tested(vector);
        let what = format!("{} {}", text(vector, "message"), vector["id"]);
        let fields = fields(vector);
        let payload = (tested.encode)(&fields);
        let frame = frame(tested, &payload);
        assert_eq!(payload.len() as u64, uint(vector, "payload_len"), "{what}");
        if vector.get("payload_hex").is_some() {
            assert_eq!(payload, bytes(vector, "payload_hex"), "{what}");
            assert_eq!(frame, bytes(vector, "frame_hex"), "{what}");
        } else {
            let head = &payload[..payload.len().min(64)];
            assert_eq!(head, bytes(vector, "payload_first64_hex"), "{what}");
            assert_eq!(
                frame[..Header::LEN],
                bytes(vector, "frame_header_hex"),
                "{what}"
            );
            assert_eq!(digest(&payload), text(vector, "payload_sha256"), "{what}");
            assert_eq!(digest(&frame), text(vector, "frame_sha256"), "{what}");
        }
        let decoded = (tested.decode)(&payload).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(decoded.read, payload.len(), "{what}");
        assert_eq!(decoded.encoded, payload, "{what}");
        assert!((tested.decodes_to)(&payload, &fields), "{what}");
    }
}

/// Of the set in this repository: another one may have vectors of a few messages only.
#[test]
fn every_message_of_our_tables_has_a_vector() {
    let file: Value = serde_json::from_str(include_str!("../messages.json")).expect("valid JSON");
    for tested in support::messages() {
        assert!(
            list(&file, "vectors").iter().any(|vector| {
                uint(vector, "extension_type") == u64::from(tested.kind.extension)
                    && uint(vector, "msg_type") == u64::from(tested.kind.msg_type)
            }),
            "no vector of {}",
            tested.kind.name
        );
    }
}

/// The TLV fields that a vector lists.
fn tlvs(vector: &Value) -> Vec<(u16, u8, Vec<u8>)> {
    let tlvs = vector["tlvs"].as_array().expect("tlvs is a list");
    tlvs.iter()
        .map(|tlv| {
            (
                uint(tlv, "extension_type") as u16,
                uint(tlv, "field_type") as u8,
                bytes(tlv, "value_hex"),
            )
        })
        .collect()
}

#[test]
fn tlv_fields_are_written_little_endian_and_read_in_both_orders() {
    for vector in list(&load("messages.json"), "tlv_vectors") {
        let tested = tested(vector);
        let base = (tested.encode)(&fields(vector));
        assert_eq!(base.len() as u64, uint(vector, "base_payload_len"));
        let expected = tlvs(vector);

        let mut payload = base.clone();
        for (extension_type, field_type, value) in &expected {
            let tlv = Tlv {
                extension_type: *extension_type,
                field_type: *field_type,
                value,
            };
            assert!(tlv.append_to(&mut payload));
        }
        assert_eq!(payload, bytes(vector, "payload_hex"));
        assert_eq!(frame(tested, &payload), bytes(vector, "frame_hex"));

        for (key, order) in [
            ("payload_hex", TlvByteOrder::LittleEndian),
            (
                "payload_hex_spec_example_big_endian",
                TlvByteOrder::BigEndian,
            ),
        ] {
            let payload = bytes(vector, key);
            let decoded = (tested.decode)(&payload).expect("TLV fields are no error");
            assert_eq!(decoded.encoded, base);
            assert!((tested.decodes_to)(&payload, &fields(vector)));
            let trailing = &payload[decoded.read..];
            assert_eq!(read(TlvFields::new(trailing, order)), expected);
            let negotiated: Vec<u16> = expected.iter().map(|(extension, ..)| *extension).collect();
            assert_eq!(tlv_fields_for(trailing, &negotiated).order(), order);
            assert_eq!(read(tlv_fields_for(trailing, &negotiated)), expected);
        }
    }
}

fn read(fields: TlvFields<'_>) -> Vec<(u16, u8, Vec<u8>)> {
    fields
        .map(|field| field.expect("the vector's fields are whole"))
        .map(|field| (field.extension_type, field.field_type, field.value.to_vec()))
        .collect()
}
