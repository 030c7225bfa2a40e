//! What the derives accept and how they refuse the rest.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use binary_sv2::{Decodable, DecodeErrorKind, Encodable, IntoOwned, Seq0255, Str0255};

#[test]
fn what_has_no_form_on_the_wire_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/derive_fails/*.rs");
}

#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
struct Empty {}

#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
struct Inner {
    left: u16,
    right: bool,
}

#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
struct Outer<'p>
where
    'p: 'p,
{
    r#type: u8,
    inner: Inner,
    list: Seq0255<'p, Inner>,
    names: Seq0255<'p, Str0255<'p>>,
    empty: Empty,
}

fn outer() -> Outer<'static> {
    let inner = Inner {
        left: 0x0201,
        right: true,
    };
    Outer {
        r#type: 9,
        inner: inner.clone(),
        list: vec![inner.clone(), inner].try_into().unwrap(),
        names: vec!["a".try_into().unwrap(), "bc".try_into().unwrap()]
            .try_into()
            .unwrap(),
        empty: Empty {},
    }
}

const OUTER: &[u8] = &[9, 1, 2, 1, 2, 1, 2, 1, 1, 2, 1, 2, 1, b'a', 2, b'b', b'c'];

#[test]
fn fields_follow_one_another_unpadded() {
    assert_eq!(outer().to_vec(), OUTER);
    let (decoded, rest) = Outer::decode_prefix(OUTER).unwrap();
    assert_eq!(decoded, outer());
    assert!(rest.is_empty());
    assert_eq!(decoded.into_owned(), outer());
}

#[test]
fn structs_of_fixed_fields_have_a_fixed_length() {
    assert_eq!(Empty::FIXED_LEN, Some(0));
    assert_eq!(Inner::FIXED_LEN, Some(3));
    assert_eq!(Outer::FIXED_LEN, None);
}

#[test]
fn an_error_names_the_field_of_the_message_and_the_element() {
    for (len, field, element) in [
        (0, "type", None),
        (2, "inner", None),
        (4, "list", None),
        (9, "list", None),
        (11, "names", None),
        (12, "names", Some(0)),
        (14, "names", Some(1)),
        (16, "names", Some(1)),
    ] {
        let error = Outer::from_bytes(&OUTER[..len]).unwrap_err();
        assert_eq!((error.field, error.element), (field, element), "{len}");
    }
    let error = Outer::from_bytes(&OUTER[..16]).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::MissingBytes {
            needed: 2,
            available: 1
        }
    );
    assert_eq!(error.to_string(), "field names[1]: 2 bytes needed, 1 left");
}
