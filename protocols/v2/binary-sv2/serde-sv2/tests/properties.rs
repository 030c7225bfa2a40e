//! Every message of every table, frames, and a message of all data types, generated: our own codec, serde's and JSON
//! agree on the value, on its bytes, and on what they refuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use binary_sv2::{
    Arbitrary, B016M, B032, B064K, B0255, Bytes, Decodable, Deserialize, Encodable, IntoOwned, Mac,
    PubKey, Seq064K, Seq0255, Serialize, Signature, Str0255, U24, U256,
};
use framing_sv2::{Frame, Header, NoiseFrame, Sv2Frame};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_sv2::{Error, from_bytes_prefix, message_from_bytes, to_slice, to_vec};

/// Values generated of each message.
const CASES: u32 = 48;

/// Where a message is cut, and what is made of one of its bytes.
fn damage() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, u8)> {
    any::<(prop::sample::Index, prop::sample::Index, u8)>()
}

/// Tests a type that may borrow: its value, its bytes, its JSON, and damaged bytes.
macro_rules! check {
    ($name:ty, $value:expr, $damage:expr) => {{
        let value = $value;
        let bytes = Encodable::to_vec(&value);
        prop_assert_eq!(to_vec(&value), Ok(bytes.clone()));
        prop_assert_eq!(serde_sv2::encoded_len(&value), Ok(bytes.len()));

        let (own, own_rest) = <$name>::decode_prefix(&bytes).unwrap();
        let (through_serde, rest) = from_bytes_prefix::<$name>(&bytes).unwrap();
        prop_assert_eq!(&own, &value);
        prop_assert_eq!(&through_serde, &value);
        prop_assert!(own_rest.is_empty() && rest.is_empty());
        prop_assert_eq!(to_vec(&own), Ok(bytes.clone()));
        prop_assert_eq!(&through_serde.into_owned(), &value);

        let json = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<$name>(&json).unwrap(), &value);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&<$name>::deserialize(&json).unwrap(), &value);

        let mut exact = vec![0; bytes.len()];
        prop_assert_eq!(to_slice(&value, &mut exact), Ok(bytes.len()));
        prop_assert_eq!(&exact, &bytes);
        if let Some(short) = bytes.len().checked_sub(1) {
            prop_assert!(matches!(
                to_slice(&value, &mut exact[..short]),
                Err(Error::BufferTooShort(_))
            ));
        }

        let (cut, at, byte) = $damage;
        let mut damaged = bytes.clone();
        if !damaged.is_empty() {
            damaged[at.index(bytes.len())] = byte;
        }
        for damaged in [&bytes[..cut.index(bytes.len() + 1)], &damaged[..]] {
            match (
                <$name>::decode_prefix(damaged),
                from_bytes_prefix::<$name>(damaged),
            ) {
                (Ok((own, own_rest)), Ok((through_serde, rest))) => {
                    // Of their bytes, because a damaged float may be no number.
                    prop_assert_eq!(own.to_vec(), through_serde.to_vec());
                    prop_assert_eq!(own_rest, rest);
                }
                (Err(own), Err(Error::Decode(through_serde))) => {
                    prop_assert_eq!(own.field, through_serde.field)
                }
                (own, through_serde) => prop_assert!(false, "{:?}, but {:?}", own, through_serde),
            }
        }
        bytes
    }};
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..ProptestConfig::with_cases(CASES)
    })
}

macro_rules! messages {
    (
        $krate:ident, $enum_name:ident, $protocol:ident;
        $($name:ident $(<$lifetime:lifetime>)?, $constant:ident, $text:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        mod $protocol {
            use super::*;
            use $krate::*;

            #[test]
            fn messages_are_the_same_through_all_codecs() {
                $({
                    let checked = runner().run(&(any::<$name>(), damage()), |(message, damage)| {
                        let bytes = check!($name, message.clone(), damage);
                        let any = $enum_name::from(message);
                        let read = message_from_bytes::<$enum_name>($msg_type, &bytes);
                        prop_assert_eq!(read, Ok((any.clone(), &[][..])));
                        prop_assert_eq!(to_vec(&any), Ok(bytes));
                        Ok(())
                    });
                    checked.unwrap_or_else(|error| panic!("{}: {error}", $text));
                })*
            }

            #[test]
            fn any_message_of_the_table_is_generated_and_read_from_json() {
                let kinds = std::cell::RefCell::new(std::collections::BTreeSet::new());
                let checked = runner().run(&prop::collection::vec(any::<$enum_name>(), 40), |messages| {
                    for message in messages {
                        kinds.borrow_mut().insert(message.kind().name);
                        let json = serde_json::to_string(&message).unwrap();
                        let start = format!("{{\"{}\":", message.kind().name);
                        prop_assert!(json.starts_with(&start));
                        prop_assert_eq!(serde_json::from_str::<$enum_name>(&json).unwrap(), message);
                    }
                    Ok(())
                });
                checked.unwrap();
                assert_eq!(kinds.borrow().len(), $enum_name::KINDS.len());
            }
        }
    };
}

const_sv2::common_messages!(messages, [common_messages_sv2, CommonMessage, common;]);
const_sv2::mining_messages!(messages, [mining_sv2, MiningMessage, mining;]);
const_sv2::job_declaration_messages!(messages, [job_declaration_sv2, JobDeclarationMessage, job_declaration;]);
const_sv2::template_distribution_messages!(
    messages,
    [template_distribution_sv2, TemplateDistributionMessage, template_distribution;]
);
const_sv2::extension_negotiation_messages!(
    messages,
    [extensions_sv2, ExtensionNegotiationMessage, extension_negotiation;]
);

/// All data types in one message; more fields than a tuple of strategies may have.
#[derive(Clone, Debug, PartialEq, Arbitrary, Decodable, Deserialize, Encodable, Serialize)]
struct Everything<'p> {
    flag: bool,
    byte: u8,
    short: u16,
    three: U24,
    int: u32,
    long: u64,
    float: f32,
    hash: U256,
    key: PubKey,
    signature: Signature,
    mac: Mac,
    text: Str0255<'p>,
    tiny: B032<'p>,
    small: B0255<'p>,
    middle: B064K<'p>,
    large: B016M<'p>,
    maybe: Option<B032<'p>>,
    texts: Seq0255<'p, Str0255<'p>>,
    lists: Seq064K<'p, Seq0255<'p, u16>>,
    inner: Inner,
    inners: Seq0255<'p, Inner>,
    r#type: Seq064K<'p, Option<U256>>,
    rest: Bytes<'p>,
}

#[derive(Clone, Debug, PartialEq, Arbitrary, Decodable, Deserialize, Encodable, Serialize)]
struct Inner {
    number: U24,
    empty: Empty,
}

#[derive(Clone, Debug, PartialEq, Arbitrary, Decodable, Deserialize, Encodable, Serialize)]
struct Empty {}

#[test]
fn data_types_are_the_same_through_all_codecs() {
    let checked = runner().run(&(any::<Everything>(), damage()), |(value, damage)| {
        check!(Everything, value, damage);
        Ok(())
    });
    checked.unwrap();
}

proptest! {
    #[test]
    fn frames_are_the_same_through_all_codecs(frame: Sv2Frame<'static>, header: Header, noise: NoiseFrame<'static>) {
        let bytes = frame.to_vec();
        prop_assert_eq!(to_vec(&frame), Ok(bytes.clone()));
        prop_assert_eq!(serde_sv2::from_bytes(&bytes), Ok(frame.clone()));
        prop_assert_eq!(Sv2Frame::from_bytes(&bytes), Ok(frame.clone()));
        let json = serde_json::to_string(&frame).unwrap();
        prop_assert_eq!(serde_json::from_str::<Sv2Frame<'_>>(&json).unwrap(), frame);

        prop_assert_eq!(to_vec(&header), Ok(header.to_bytes().to_vec()));
        prop_assert_eq!(serde_sv2::from_bytes(&header.to_bytes()), Ok(header));

        prop_assert_eq!(to_vec(&noise), Ok(noise.to_vec()));
        prop_assert_eq!(serde_sv2::from_bytes(noise.payload()), Ok(noise.clone()));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused_alike(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let own = Everything::decode_prefix(&bytes);
        let through_serde = from_bytes_prefix::<Everything<'_>>(&bytes);
        prop_assert_eq!(own.is_ok(), through_serde.is_ok());
    }
}
