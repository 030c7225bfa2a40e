//! Bytes of no server in its right mind.

use proptest::prelude::*;

use super::*;

/// A connection with a channel of each kind, for bytes of any kind.
fn mining() -> Client {
    let (mut client, mut server) = ready(Security::Plain);
    let [one, other] =
        [ChannelKind::Standard, ChannelKind::Extended].map(|kind| open(&mut client, kind, 0));
    let bytes = [
        server.frame(&standard_success(one, 2)),
        server.frame(&extended_success(other, 3)),
        server.frame(&extended_job(GROUP, 7, 100, 2)),
        server.frame(&tip(GROUP, 7)),
    ];
    receive(&mut client, &bytes.concat(), at(0));
    client
}

/// Frames with the header of a message and any payload, so that decoders see more than their first field.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(prop_oneof![3 => 0..4u8, 1 => any::<u8>()], 0..120);
    let frame = (0..0x28u8, payload).prop_map(|(msg_type, payload)| {
        Server::default().raw(
            Header::new(0x8000, msg_type, payload.len()).unwrap(),
            &payload,
        )
    });
    prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, the same events, the same end.
    #[test]
    fn any_bytes_in_any_pieces_tell_the_same(
        bytes in prop_oneof![frames(), prop::collection::vec(any::<u8>(), 0..300)],
        step in 1..40usize,
    ) {
        let (mut whole, mut pieces) = (mining(), mining());
        let at_once = receive(&mut whole, &bytes, at(1));
        let mut bit_by_bit = Vec::new();
        for piece in bytes.chunks(step) {
            bit_by_bit.extend(receive(&mut pieces, piece, at(1)));
        }
        prop_assert_eq!(&at_once, &bit_by_bit);
        let ended = at_once.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
        prop_assert!(ended <= 1);
        prop_assert_eq!(whole.outgoing(), pieces.outgoing());
        for id in [2, 3] {
            prop_assert_eq!(whole.work(id, at(2)), pieces.work(id, at(2)));
        }
    }

    /// A byte changed anywhere in a sealed stream ends it, and what came before counts.
    #[test]
    fn a_changed_byte_ends_a_sealed_connection(at_byte: prop::sample::Index, mask in 1..=255u8) {
        let (mut client, mut server) = ready(noise());
        let request_id = open(&mut client, ChannelKind::Standard, 0);
        let mut bytes = [
            server.frame(&standard_success(request_id, 2)),
            server.frame(&standard_job(2, 1)),
            server.frame(&tip(2, 1)),
        ].concat();
        *at_byte.get_mut(&mut bytes) ^= mask;
        let told = receive(&mut client, &bytes, at(0));
        let ended = Event::Ended { end: End::Cipher, text: Vec::new() };
        prop_assert_eq!(told.last(), Some(&ended));
    }
}
