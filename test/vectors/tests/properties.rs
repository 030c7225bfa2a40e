//! Every message of every table: reading undoes writing, and no bytes are too strange to be read.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use support::{Entropy, messages};

proptest! {
    #[test]
    fn decoding_undoes_encoding(random in vec(any::<u8>(), 0..2_000), trailing in vec(any::<u8>(), 0..20)) {
        for tested in messages() {
            let encoded = (tested.arbitrary)(&mut Entropy(&random));
            let payload = [encoded.as_slice(), &trailing].concat();
            let decoded = (tested.decode)(&payload).unwrap_or_else(|e| panic!("{}: {e}", tested.kind.name));
            prop_assert_eq!(decoded.read, encoded.len(), "{}", tested.kind.name);
            prop_assert_eq!(decoded.encoded, encoded, "{}", tested.kind.name);
        }
    }

    #[test]
    fn arbitrary_bytes_decode_or_are_refused_in_a_field(bytes in vec(any::<u8>(), 0..2_000)) {
        for tested in messages() {
            if let Err(error) = (tested.decode)(&bytes) {
                prop_assert_ne!(error.field, "", "{}", tested.kind.name);
            }
        }
    }

    #[test]
    fn a_damaged_message_decodes_or_is_refused_in_a_field(
        random in vec(any::<u8>(), 0..600),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        len in any::<prop::sample::Index>(),
    ) {
        for tested in messages() {
            let mut bytes = (tested.arbitrary)(&mut Entropy(&random));
            let at = position.index(bytes.len());
            bytes[at] = byte;
            for payload in [&bytes[..], &bytes[..len.index(bytes.len())]] {
                if let Err(error) = (tested.decode)(payload) {
                    prop_assert_ne!(error.field, "", "{}", tested.kind.name);
                }
            }
        }
    }
}
