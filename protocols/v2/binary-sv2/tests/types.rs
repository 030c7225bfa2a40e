//! Every data type of the specification (3.1): its bytes, its limits, and that reading undoes writing.

use std::fmt::Debug;

use binary_sv2::{
    B016M, B032, B064K, B0255, BufferTooShort, Bytes, Decodable, DecodeError, DecodeErrorKind,
    Encodable, IntoOwned, LengthError, Mac, PubKey, Seq064K, Seq0255, SequenceTooLong, Signature,
    Str0255, U24, U24OutOfRange, U256, Writer,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Checks that `value` stands for exactly `bytes`, in both directions, borrowed and owned.
#[track_caller]
fn check<'a, T>(value: &T, bytes: &'a [u8])
where
    T: Decodable<'a> + Encodable + PartialEq + Debug + IntoOwned,
    T::Owned: Encodable + PartialEq<T> + Debug,
{
    assert_eq!(value.to_vec(), bytes);
    assert_eq!(value.encoded_len(), bytes.len());
    let (decoded, rest) = T::decode_prefix(bytes).expect("valid bytes decode");
    assert_eq!(&decoded, value);
    assert!(rest.is_empty());
    assert_eq!(&decoded.into_owned(), value);
    for len in 0..bytes.len() {
        let mut buffer = vec![0; len];
        assert!(value.encode_to_slice(&mut buffer).is_err(), "{len}");
        assert!(T::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
}

fn missing(needed: usize, available: usize) -> DecodeErrorKind {
    DecodeErrorKind::MissingBytes { needed, available }
}

fn kind<T>(result: Result<T, DecodeError>) -> Option<DecodeErrorKind> {
    result.err().map(|error| error.kind)
}

#[test]
fn integers_are_little_endian() {
    check(&0x01_u8, &[1]);
    check(&0x0201_u16, &[1, 2]);
    check(&U24::new(0x03_0201).unwrap(), &[1, 2, 3]);
    check(&0x0403_0201_u32, &[1, 2, 3, 4]);
    check(&0x0807_0605_0403_0201_u64, &[1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn u24_holds_24_bits() {
    check(&U24::MAX, &[0xff; 3]);
    assert_eq!(u32::from(U24::MAX), 0xff_ffff);
    assert_eq!(U24::new(0x100_0000), Err(U24OutOfRange(0x100_0000)));
    assert_eq!(U24::try_from(u32::MAX), Err(U24OutOfRange(u32::MAX)));
}

#[test]
fn only_bit_0_of_a_bool_counts() {
    check(&false, &[0]);
    check(&true, &[1]);
    for byte in 0..=u8::MAX {
        assert_eq!(bool::from_bytes(&[byte]), Ok(byte % 2 == 1));
    }
}

#[test]
fn floats_keep_every_bit() {
    check(&1.5_f32, &[0, 0, 0xc0, 0x3f]);
    for bits in [
        0x0000_0001,
        0x8000_0000,
        0x7f80_0000,
        0x7fc0_0001,
        0xffff_ffff_u32,
    ] {
        let float = f32::from_bytes(&bits.to_le_bytes()).unwrap();
        assert_eq!(float.to_bits(), bits);
        assert_eq!(float.to_vec(), bits.to_le_bytes());
    }
}

#[test]
fn arrays_are_raw_bytes() {
    let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
    check(&U256(bytes[..32].try_into().unwrap()), &bytes[..32]);
    check(&PubKey(bytes[..32].try_into().unwrap()), &bytes[..32]);
    check(&Signature(bytes), &bytes);
    check(&Mac(bytes[..16].try_into().unwrap()), &bytes[..16]);
    assert_eq!(
        format!("{:?}", Mac(bytes[..16].try_into().unwrap())),
        "Mac(000102030405060708090a0b0c0d0e0f)"
    );
}

macro_rules! byte_strings {
    ($($test:ident: $name:ident, $prefix:literal, $max:literal;)*) => {$(
        #[test]
        fn $test() {
            assert_eq!($name::MAX_LEN, $max);
            check(&$name::default(), &[0; $prefix]);
            for len in [1, 2, 31, 32, 255, 256, 65_535, 65_536, $max] {
                let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                if len > $max {
                    let refused = LengthError { length: len, max: $max };
                    assert_eq!($name::try_from(bytes.as_slice()), Err(refused));
                    assert_eq!($name::try_from(bytes), Err(refused));
                    continue;
                }
                let value = $name::try_from(bytes.as_slice()).unwrap();
                let encoded = value.to_vec();
                assert_eq!(encoded[..$prefix], len.to_le_bytes()[..$prefix]);
                assert_eq!(encoded[$prefix..], bytes);
                assert_eq!($name::from_bytes(&encoded).unwrap().into_owned(), value);
                assert_eq!(value.as_borrowed().into_vec(), bytes);
                let cut = &encoded[..encoded.len() - 1];
                assert_eq!(kind($name::from_bytes(cut)), Some(missing(len, len - 1)));
            }
        }
    )*};
}

byte_strings! {
    str0_255: Str0255, 1, 255;
    b0_32: B032, 1, 32;
    b0_255: B0255, 1, 255;
    b0_64k: B064K, 2, 65_535;
    b0_16m: B016M, 3, 16_777_215;
}

#[test]
fn b0_32_refuses_a_length_above_32_even_when_the_bytes_are_there() {
    for length in 33..=255 {
        let mut bytes = vec![7; 256];
        bytes[0] = length;
        assert_eq!(
            kind(B032::from_bytes(&bytes)),
            Some(DecodeErrorKind::LengthAboveMax {
                length: length.into(),
                max: 32
            })
        );
    }
}

#[test]
fn decoded_byte_strings_borrow_from_the_payload() {
    let payload = [3, b'a', b'b', b'c', 0xff];
    let (text, rest) = Str0255::decode_prefix(&payload).unwrap();
    assert_eq!(text.as_bytes().as_ptr(), payload[1..].as_ptr());
    assert_eq!(rest, [0xff]);
}

#[test]
fn bytes_take_what_is_left() {
    check(&Bytes::default(), &[]);
    let value = Bytes(vec![1, 2, 3].into());
    assert_eq!(value.to_vec(), [1, 2, 3]);
    assert_eq!(Bytes::from_bytes(&[1, 2, 3]).unwrap().into_owned(), value);
}

#[test]
fn text_may_be_any_bytes() {
    let text = Str0255::from_bytes(&[4, b'a', 0xc3, 0x28, 0]).unwrap();
    assert_eq!(text.as_bytes(), [b'a', 0xc3, 0x28, 0]);
    assert_eq!(text.as_str(), None);
    assert_eq!(text.to_string(), "a\\xc3(\\0");
    assert_eq!(Str0255::try_from("é").unwrap().as_str(), Some("é"));
}

#[test]
fn displayed_text_cannot_act_on_a_terminal_or_a_log() {
    for (text, shown) in [
        ("rig 7", "rig 7"),
        (r#"it's "a\b""#, r#"it's "a\b""#),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\u{1b}[31m", "\\u{1b}[31m"),
        ("\u{7f}\u{9b}", "\\u{7f}\\u{9b}"),
        ("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}"),
        ("héß漢", "héß漢"),
    ] {
        let text = Str0255::try_from(text).unwrap();
        assert_eq!(text.to_string(), shown);
        assert_eq!(format!("{text:?}"), format!("\"{shown}\""));
    }
}

#[test]
fn a_sequence_counts_elements() {
    check(&Seq0255::<u16>::default(), &[0]);
    check(
        &Seq0255::new(vec![0x0201_u16, 3]).unwrap(),
        &[2, 1, 2, 3, 0],
    );
    check(&Seq064K::new(vec![0x0201_u16]).unwrap(), &[1, 0, 1, 2]);
    let texts = vec![Str0255::try_from("a").unwrap(), Str0255::default()];
    check(&Seq064K::new(texts).unwrap(), &[2, 0, 1, b'a', 0]);
}

#[test]
fn a_sequence_has_at_most_as_many_elements_as_its_count_can_say() {
    assert_eq!(
        Seq0255::new(vec![0_u8; 256]),
        Err(SequenceTooLong {
            count: 256,
            max: 255
        })
    );
    assert_eq!(
        Seq064K::new(vec![0_u8; 65_536]),
        Err(SequenceTooLong {
            count: 65_536,
            max: 65_535
        })
    );
    let full = Seq064K::new(vec![5_u8; 65_535]).unwrap();
    assert_eq!(Seq064K::from_bytes(&Encodable::to_vec(&full)), Ok(full));
}

#[test]
fn a_count_past_the_payload_is_refused() {
    assert_eq!(
        kind(Seq0255::<U256>::from_bytes(&[2; 64])),
        Some(missing(64, 63))
    );
    let error = Seq064K::<B016M>::from_bytes(&[2, 0, 0, 0, 0, 1, 0]).unwrap_err();
    assert_eq!((error.element, error.kind), (Some(1), missing(3, 2)));
}

#[test]
fn elements_of_a_decoded_sequence_are_those_of_an_owned_one() {
    let owned = Seq0255::new(vec![1_u32, 2, 3]).unwrap();
    let bytes = Encodable::to_vec(&owned);
    let decoded = Seq0255::<u32>::from_bytes(&bytes).unwrap();
    assert_eq!(decoded.iter().len(), 3);
    assert_eq!(decoded.to_vec(), [1, 2, 3]);
    assert_eq!(
        decoded.iter().collect::<Vec<_>>(),
        owned.iter().collect::<Vec<_>>()
    );
    assert_ne!(decoded, Seq0255::new(vec![1_u32, 2]).unwrap());
    assert_ne!(decoded, Seq0255::new(vec![1_u32, 2, 4]).unwrap());
    assert_eq!(format!("{decoded:?}"), "[1, 2, 3]");
}

#[test]
fn an_option_is_a_count_of_0_or_1() {
    check(&None::<u32>, &[0]);
    check(&Some(0x0201_u16), &[1, 1, 2]);
    for length in 2..=255 {
        let mut bytes = vec![0; 2_000];
        bytes[0] = length;
        assert_eq!(
            kind(Option::<u32>::from_bytes(&bytes)),
            Some(DecodeErrorKind::LengthAboveMax {
                length: length.into(),
                max: 1
            })
        );
    }
}

#[test]
fn a_refused_write_leaves_the_writer_as_it_was() {
    let mut buffer = [0; 3];
    let mut writer = Writer::new(&mut buffer);
    assert_eq!(writer.put(&[1]), Ok(()));
    let refused = BufferTooShort {
        needed: 3,
        available: 2,
    };
    assert_eq!(writer.put(&[2, 3, 4]), Err(refused));
    assert_eq!(writer.put(&[2, 3, 4]), Err(refused));
    assert_eq!(writer.put(&[2, 3]), Ok(()));
    assert_eq!(writer.written(), 3);
    assert_eq!(buffer, [1, 2, 3]);
}

/// Checks that whatever `bytes` decode to is written as the bytes it was read from.
fn check_canonical<'a, T: Decodable<'a> + Encodable + IntoOwned>(bytes: &'a [u8])
where
    T::Owned: Encodable,
{
    if let Ok((value, rest)) = T::decode_prefix(bytes) {
        let read = &bytes[..bytes.len() - rest.len()];
        assert_eq!(value.to_vec(), read);
        assert_eq!(value.into_owned().to_vec(), read);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_are_written_as_they_were_read(bytes in vec(any::<u8>(), 0..600)) {
        check_canonical::<u64>(&bytes);
        check_canonical::<U24>(&bytes);
        check_canonical::<f32>(&bytes);
        check_canonical::<U256>(&bytes);
        check_canonical::<Str0255>(&bytes);
        check_canonical::<B032>(&bytes);
        check_canonical::<B064K>(&bytes);
        check_canonical::<B016M>(&bytes);
        check_canonical::<Bytes>(&bytes);
        check_canonical::<Option<u16>>(&bytes);
        check_canonical::<Option<Seq0255<Str0255>>>(&bytes);
        check_canonical::<Seq0255<U24>>(&bytes);
        check_canonical::<Seq064K<Option<B032>>>(&bytes);
        check_canonical::<Seq0255<Seq0255<B0255>>>(&bytes);
    }

    #[test]
    fn displayed_text_holds_no_control_character(bytes in vec(any::<u8>(), 0..=255)) {
        let text = Str0255::try_from(bytes).unwrap();
        prop_assert!(!text.to_string().contains(char::is_control));
    }

    #[test]
    fn sequences_of_sequences_survive(lists in vec(vec(vec(any::<u8>(), 0..=255), 0..8), 0..8)) {
        let lists = lists
            .into_iter()
            .map(|list| {
                let elements = list.into_iter().map(|bytes| B0255::try_from(bytes).unwrap());
                Seq0255::new(elements.collect()).unwrap()
            })
            .collect();
        let value = Seq064K::new(lists).unwrap();
        let bytes = Encodable::to_vec(&value);
        prop_assert_eq!(bytes.len(), value.encoded_len());
        prop_assert_eq!(Seq064K::<Seq0255<B0255>>::from_bytes(&bytes).unwrap(), value);
    }
}
