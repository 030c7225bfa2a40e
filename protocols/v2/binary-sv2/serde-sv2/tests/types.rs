//! How the data types look in JSON, what their limits are through serde, and what has no form on the wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use binary_sv2::{
    B016M, B032, B064K, B0255, Bytes, DecodeErrorKind, Encodable, LengthError, Mac, PubKey,
    Seq064K, Seq0255, SequenceTooLong, Signature, Str0255, U24, U256,
};
use common_messages_sv2::{Reconnect, SetupConnectionSuccess};
use mining_sv2::{MiningMessage, NewMiningJob, SetTarget};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_sv2::{Error, from_bytes, message_from_bytes, to_vec};

/// Checks that `value` is `json` to people and `bytes` on the wire, in both directions.
#[track_caller]
fn check<'a, T>(value: &T, json: &'a str, bytes: &'a [u8])
where
    T: Serialize + Deserialize<'a> + PartialEq + Debug,
{
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
    assert_eq!(to_vec(value).unwrap(), bytes);
    assert_eq!(&from_bytes::<T>(bytes).unwrap(), value);
}

#[test]
fn data_types_have_a_form_for_people_and_one_for_the_wire() {
    let hex32 = format!("\"{}\"", "01".repeat(32));
    check(&true, "true", &[1]);
    check(&U24::new(0x01_0203).unwrap(), "66051", &[3, 2, 1]);
    check(&U256([1; 32]), &hex32, &[1; 32]);
    check(&PubKey([1; 32]), &hex32, &[1; 32]);
    check(
        &Signature([0xab; 64]),
        &format!("\"{}\"", "ab".repeat(64)),
        &[0xab; 64],
    );
    check(
        &Mac([0x0f; 16]),
        "\"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\"",
        &[0x0f; 16],
    );
    check(
        &B032::try_from(vec![0xde, 0xad]).unwrap(),
        "\"dead\"",
        &[2, 0xde, 0xad],
    );
    check(&B0255::default(), "\"\"", &[0]);
    check(&B064K::try_from(vec![7]).unwrap(), "\"07\"", &[1, 0, 7]);
    check(&B016M::try_from(vec![7]).unwrap(), "\"07\"", &[1, 0, 0, 7]);
    check(&Bytes(vec![7, 8].into()), "\"0708\"", &[7, 8]);
    check(
        &Str0255::try_from("pool \"1\"").unwrap(),
        r#""pool \"1\"""#,
        b"\x08pool \"1\"",
    );
    check(
        &Str0255::try_from(vec![b'a', 0xff]).unwrap(),
        "[97,255]",
        &[2, b'a', 0xff],
    );
    check(&Some(1_u16), "1", &[1, 1, 0]);
    check(&None::<u16>, "null", &[0]);
    check(
        &Seq0255::new(vec![1_u16, 2]).unwrap(),
        "[1,2]",
        &[2, 1, 0, 2, 0],
    );
    check(&Seq064K::new(vec![true]).unwrap(), "[true]", &[1, 0, 1]);
    check(&(1_u8, [2_u16, 3]), "[1,[2,3]]", &[1, 2, 0, 3, 0]);
}

#[test]
fn a_message_is_a_map_of_its_fields() {
    let target = SetTarget {
        channel_id: 1,
        maximum_target: U256([0xff; 32]),
    };
    let json = format!(
        r#"{{"channel_id":1,"maximum_target":"{}"}}"#,
        "ff".repeat(32)
    );
    check(&target, &json, &target.to_vec());
    let any = format!(r#"{{"SetTarget":{json}}}"#);
    assert_eq!(
        serde_json::from_str::<MiningMessage<'_>>(&any).unwrap(),
        target.into()
    );
}

#[test]
fn fields_may_come_in_any_order_and_with_strangers() {
    let read =
        |json| serde_json::from_value::<SetupConnectionSuccess>(json).map_err(|e| e.to_string());
    let expected = SetupConnectionSuccess {
        used_version: 2,
        flags: 5,
    };
    assert_eq!(
        read(json!({"flags": 5, "new": [1, {}], "used_version": 2})),
        Ok(expected)
    );
    assert_eq!(read(json!([2, 5])), Ok(expected));
    for (json, error) in [
        (
            r#"{"used_version":2}"#,
            "missing field `flags` at line 1 column 18",
        ),
        (
            r#"{"flags":1,"flags":1}"#,
            "duplicate field `flags` at line 1 column 18",
        ),
        (
            r#"{"used_version":65536}"#,
            "invalid value: integer `65536`, expected u16 at line 1 column 21",
        ),
        (
            r"[2]",
            "invalid length 1, expected SetupConnectionSuccess at line 1 column 3",
        ),
        (
            r"7",
            "invalid type: integer `7`, expected SetupConnectionSuccess at line 1 column 1",
        ),
    ] {
        let read = serde_json::from_str::<SetupConnectionSuccess>(json);
        assert_eq!(read.unwrap_err().to_string(), error);
    }
}

#[test]
fn an_option_may_be_left_out() {
    let json = json!({"channel_id": 1, "job_id": 2, "version": 3, "merkle_root": "00".repeat(32)});
    let job: NewMiningJob = serde_json::from_value(json).unwrap();
    assert_eq!(job.min_ntime, None);
}

#[test]
fn an_unknown_message_is_refused_by_name_and_by_number() {
    let error = serde_json::from_str::<MiningMessage<'_>>(r#"{"Reconnect":{}}"#).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("unknown variant `Reconnect`, expected one of `OpenStandard")
    );
    let error = message_from_bytes::<MiningMessage<'_>>(0x04, &[0; 99]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid value: integer `4`, expected the number of a message"
    );
    assert_eq!(
        from_bytes::<MiningMessage<'_>>(&[0; 99]),
        Err(Error::NoWireForm(
            "an enum without the number of its message"
        ))
    );
}

#[test]
fn limits_hold_in_json() {
    for (json, error) in [
        (
            format!("\"{}\"", "00".repeat(33)),
            "33 bytes are above the maximum of 32",
        ),
        (
            "\"0\"".to_owned(),
            "invalid value: string \"0\", expected hexadecimal digits, two for each byte",
        ),
        (
            "\"0g\"".to_owned(),
            "invalid value: string \"0g\", expected hexadecimal digits, two for each byte",
        ),
        (
            "\"+1\"".to_owned(),
            "invalid value: string \"+1\", expected hexadecimal digits, two for each byte",
        ),
        (
            "[1]".to_owned(),
            "invalid type: sequence, expected hexadecimal digits, two for each byte",
        ),
    ] {
        let refused = serde_json::from_str::<B032<'_>>(&json)
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with(error), "{refused}");
    }
    assert_eq!(
        serde_json::from_str::<B032<'_>>("\"aB\"")
            .unwrap()
            .as_bytes(),
        [0xab]
    );

    let refused = |json: &str| {
        serde_json::from_str::<Seq0255<'_, u8>>(json)
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused(&format!("{:?}", [0; 256]))
            .starts_with("256 elements are above the maximum of 255")
    );
    let long = serde_json::from_str::<Str0255<'_>>(&format!("{:?}", [0; 256])).unwrap_err();
    assert!(
        long.to_string()
            .starts_with("invalid length 256, expected at most 255 bytes")
    );
    let long =
        serde_json::from_str::<Str0255<'_>>(&format!("\"{}\"", "é".repeat(128))).unwrap_err();
    assert!(
        long.to_string()
            .starts_with("256 bytes are above the maximum of 255")
    );
    let short = serde_json::from_str::<U256>(&format!("\"{}\"", "00".repeat(31))).unwrap_err();
    assert!(
        short
            .to_string()
            .starts_with("invalid length 31, expected 32 bytes")
    );
    let high = serde_json::from_str::<U24>("16777216").unwrap_err();
    assert!(
        high.to_string()
            .starts_with("16777216 does not fit into 24 bits")
    );
}

#[test]
fn limits_hold_on_the_wire() {
    let above = DecodeErrorKind::LengthAboveMax {
        length: 33,
        max: 32,
    };
    assert_eq!(
        from_bytes::<B032<'_>>(&[33; 99]),
        Err(Error::Decode(above.into()))
    );
    let above = DecodeErrorKind::LengthAboveMax { length: 2, max: 1 };
    assert_eq!(
        from_bytes::<Option<u8>>(&[2; 99]),
        Err(Error::Decode(above.into()))
    );

    /// Newtypes of our own that claim to be data types.
    #[derive(Serialize)]
    #[serde(rename = "SEQ0_255")]
    struct Long(Vec<u8>);
    assert_eq!(
        to_vec(&Long(vec![0; 256])),
        Err(Error::TooManyElements(SequenceTooLong {
            count: 256,
            max: 255
        }))
    );
    assert_eq!(to_vec(&Long(vec![7; 2])).unwrap(), [2, 7, 7]);

    struct TooLong;
    impl Serialize for TooLong {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct Inner;
            impl Serialize for Inner {
                fn serialize<S: serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    serializer.serialize_bytes(&[0; 33])
                }
            }
            serializer.serialize_newtype_struct("B0_32", &Inner)
        }
    }
    assert_eq!(
        to_vec(&TooLong),
        Err(Error::TooManyBytes(LengthError {
            length: 33,
            max: 32
        }))
    );
}

#[test]
fn the_largest_of_each_type_pass() {
    macro_rules! largest {
        ($($name:ident, $prefix:literal;)*) => {$(
            let value = $name::try_from(vec![7; $name::MAX_LEN]).unwrap();
            let bytes = Encodable::to_vec(&value);
            assert_eq!(bytes.len(), $prefix + $name::MAX_LEN);
            assert!(to_vec(&value).as_ref() == Ok(&bytes));
            assert!(from_bytes::<$name<'_>>(&bytes).as_ref() == Ok(&value));
        )*};
    }
    largest! {
        Str0255, 1;
        B032, 1;
        B0255, 1;
        B064K, 2;
        B016M, 3;
    }
    let value = Seq064K::new(vec![7_u8; 65_535]).unwrap();
    let bytes = Encodable::to_vec(&value);
    assert_eq!(to_vec(&value).as_ref(), Ok(&bytes));
    assert_eq!(from_bytes(&bytes), Ok(value));
}

#[test]
fn byte_strings_borrow() {
    let payload = [3, b'a', b'b', b'c', 5, 0];
    let reconnect: Reconnect<'_> = from_bytes(&payload).unwrap();
    assert_eq!(
        reconnect.new_host.as_bytes().as_ptr(),
        payload[1..].as_ptr()
    );
    let json = r#"{"new_host":"abc","new_port":5}"#;
    let reconnect: Reconnect<'_> = serde_json::from_str(json).unwrap();
    assert!(
        json.as_bytes()
            .as_ptr_range()
            .contains(&reconnect.new_host.as_bytes().as_ptr())
    );
}

#[test]
fn an_error_names_field_and_element() {
    let error = from_bytes::<Reconnect<'_>>(&[3, b'a']).unwrap_err();
    assert_eq!(error.to_string(), "field new_host: 3 bytes needed, 1 left");
    let error = from_bytes::<mining_sv2::SetGroupChannel<'_>>(&[0, 0, 0, 0, 2, 0, 1, 2, 3, 4, 5])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "field channel_ids[1]: 4 bytes needed, 1 left"
    );
}

#[test]
fn what_stratum_has_no_type_for_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Other {
        Unit,
        Struct { a: u8 },
        Tuple(u8, u8),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Transparent(u16);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct U24(u16);
    let no_form = |result: Result<Vec<u8>, Error>| matches!(result, Err(Error::NoWireForm(_)));
    assert!(no_form(to_vec("text")));
    assert!(no_form(to_vec(&'c')));
    assert!(no_form(to_vec(&1_i32)));
    assert!(no_form(to_vec(&1.0_f64)));
    assert!(no_form(to_vec(&())));
    assert!(no_form(to_vec(&vec![1_u8])));
    assert!(no_form(to_vec(&BTreeMap::from([(1_u8, 2_u8)]))));
    assert!(no_form(to_vec(&Other::Unit)));
    assert!(no_form(to_vec(&Other::Struct { a: 1 })));
    assert!(no_form(to_vec(&Other::Tuple(1, 2))));
    assert!(no_form(to_vec(&U24(1))));
    assert_eq!(to_vec(&Transparent(0x0102)).unwrap(), [2, 1]);

    fn refused<'a, T: Deserialize<'a>>() -> bool {
        matches!(from_bytes::<T>(&[1; 64]), Err(Error::NoWireForm(_)))
    }
    assert!(refused::<&str>());
    assert!(refused::<String>());
    assert!(refused::<char>());
    assert!(refused::<i64>());
    assert!(refused::<f64>());
    assert!(refused::<()>());
    assert!(refused::<Vec<u8>>());
    assert!(refused::<&[u8]>());
    assert!(refused::<BTreeMap<u8, u8>>());
    assert!(refused::<Other>());
    assert!(refused::<U24>());
    assert!(refused::<serde_json::Value>());
    assert_eq!(from_bytes(&[2, 1]), Ok(Transparent(0x0102)));
}
