//! Every message of every table, and TLV fields: reading undoes writing, and no bytes are too strange to be read.

mod support;

use extensions_sv2::{Tlv, TlvByteOrder, TlvFields, WorkerIdentity, tlv_fields};
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

    #[test]
    fn tlv_fields_survive(
        fields in vec((any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..300)), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        for (extension_type, field_type, value) in &fields {
            let tlv = Tlv { extension_type: *extension_type, field_type: *field_type, value };
            prop_assert!(tlv.append_to(&mut bytes));
        }
        let read: Vec<_> = tlv_fields(&bytes)
            .map(|field| field.map(|tlv| (tlv.extension_type, tlv.field_type, tlv.value.to_vec())))
            .collect::<Result<_, _>>()
            .expect("whole fields are read");
        prop_assert_eq!(&read, &fields);

        // Cut anywhere, whole fields are still read and at most the last result is an error.
        let cut = &bytes[..cut.index(bytes.len() + 1)];
        let whole = tlv_fields(cut).filter(|field| field.is_ok()).count();
        prop_assert!(tlv_fields(cut).take(whole).all(|field| field.is_ok()));
        prop_assert!(tlv_fields(cut).count() <= whole + 1);
    }

    #[test]
    fn arbitrary_bytes_behind_a_message_are_no_trouble(bytes in vec(any::<u8>(), 0..300)) {
        for order in [TlvByteOrder::LittleEndian, TlvByteOrder::BigEndian] {
            let values: usize = TlvFields::new(&bytes, order).flatten().map(|tlv| tlv.value.len()).sum();
            prop_assert!(values <= bytes.len());
        }
        if let Ok(Some(identity)) = WorkerIdentity::find(&bytes) {
            prop_assert!(identity.as_bytes().len() <= const_sv2::MAX_WORKER_IDENTITY_LEN);
        }
    }
}
