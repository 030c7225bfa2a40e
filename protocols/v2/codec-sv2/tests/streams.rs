//! Streams of bytes in every shape: split anywhere, changed anywhere, or random.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use buffer_sv2::{LocalPool, MAX_RETAINED_BUFFER_LEN};
use codec_sv2::{
    ConnectionDecoder, ConnectionEncoder, DecodeError, Decoded, FrameDecoder, FrameEncoder,
    MaybeNoise, MaybeOpener, MaybeSealer, NoiseEncoder, Open, Plain, READ_LEN, Seal,
    StandardNoiseDecoder,
};
use framing_sv2::{Header, Sv2Frame};
use noise_sv2::{BLOCK_LEN, CipherError, CipherState, Opener, Sealer};
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const MAX_PAYLOAD_LEN: usize = 3 * BLOCK_LEN;

fn sealer() -> Sealer {
    Sealer::new(CipherState::new(&KEY))
}

fn plain_sealer() -> MaybeSealer {
    MaybeNoise::default()
}

fn plain_opener() -> MaybeOpener {
    MaybeNoise::default()
}

fn opener() -> Opener {
    Opener::new(CipherState::new(&KEY))
}

fn frames() -> impl Strategy<Value = Vec<Sv2Frame<'static>>> {
    let payload_len = prop_oneof![
        8 => 0..120usize,
        2 => 0..20_000usize,
        1 => BLOCK_LEN - 1..BLOCK_LEN + 2,
        1 => 2 * BLOCK_LEN - 1..2 * BLOCK_LEN + 2,
    ];
    let frame = (any::<u16>(), any::<u8>(), payload_len, any::<u8>()).prop_map(
        |(extension_type, msg_type, len, seed)| {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8 ^ seed).collect();
            Sv2Frame::new(extension_type, msg_type, payload).unwrap()
        },
    );
    prop::collection::vec(frame, 0..12)
}

/// Lengths of the reads a stream arrives in, repeated until it ends.
fn splits() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(1), 1..40usize, 1..100_000usize], 1..20)
}

fn encode<L: Seal>(frames: &[Sv2Frame<'_>], layer: L) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(layer);
    let mut wire = Vec::new();
    for frame in frames {
        let len = wire.len() + encoder.frame_len(frame.payload().len());
        encoder.encode_frame(frame, &mut wire).unwrap();
        assert_eq!(wire.len(), len);
    }
    wire
}

/// All frames of a stream that arrives in reads of the given lengths, and how it ends. Checks on the
/// way that memory is bounded by what has arrived.
fn decode<L: Open>(
    wire: &[u8],
    splits: &[usize],
    layer: L,
) -> (Vec<Sv2Frame<'static>>, Result<usize, DecodeError>) {
    let mut decoder = FrameDecoder::new(layer, LocalPool::default(), MAX_PAYLOAD_LEN);
    let mut frames = Vec::new();
    let mut rest = wire;
    for split in splits.iter().cycle() {
        let read = rest.len().min(*split);
        let taken = decoder.feed(&rest[..read]);
        assert!(
            taken > 0 || read == 0,
            "drained and unfailed, so there is room"
        );
        rest = &rest[taken..];
        let arrived = wire.len() - rest.len();
        assert!(decoder.capacity() <= (2 * arrived).max(READ_LEN).next_power_of_two());

        let missing = loop {
            match decoder.next_frame() {
                Ok(Decoded::Frame(frame)) => frames.push(frame.into_owned()),
                Ok(Decoded::Missing(missing)) => break missing,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error), "it stays failed");
                    assert_eq!(decoder.feed(&[0]), 0);
                    assert_eq!(decoder.capacity(), 0);
                    return (frames, Err(error));
                }
            }
        };
        assert!(missing > 0);
        if decoder.is_between_frames() {
            assert_eq!(decoder.capacity(), 0, "idle, so without memory");
        }
        if rest.is_empty() {
            return (frames, Ok(missing));
        }
    }
    unreachable!("splits is not empty")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_gives_the_same_frames(frames in frames(), splits in splits()) {
        let plain = encode(&frames, Plain);
        prop_assert_eq!(decode(&plain, &splits, Plain), (frames.clone(), Ok(6)));
        let noise = encode(&frames, sealer());
        prop_assert_eq!(decode(&noise, &splits, opener()), (frames.clone(), Ok(22)));

        prop_assert_eq!(encode(&frames, plain_sealer()), plain.clone());
        prop_assert_eq!(decode(&plain, &splits, plain_opener()), (frames.clone(), Ok(6)));
        prop_assert_eq!(encode(&frames, MaybeSealer::from(sealer())), noise.clone());
        prop_assert_eq!(decode(&noise, &splits, MaybeOpener::from(opener())), (frames, Ok(22)));
    }

    #[test]
    fn a_cut_stream_gives_the_frames_that_are_whole(
        frames in frames(), splits in splits(), cut: prop::sample::Index,
    ) {
        let wire = encode(&frames, sealer());
        let len = cut.index(wire.len() + 1);
        let (whole, end) = decode(&wire[..len], &splits, opener());
        prop_assert_eq!(&whole[..], &frames[..whole.len()]);
        let missing = end.unwrap();
        prop_assert!(len == wire.len() || len + missing <= wire.len());
    }

    #[test]
    fn a_changed_bit_ends_the_stream(
        frames in frames(), splits in splits(), at: prop::sample::Index, bit in 0..8u32,
    ) {
        let mut wire = encode(&frames, sealer());
        if !wire.is_empty() {
            let at = at.index(wire.len());
            wire[at] ^= 1 << bit;
            let (whole, end) = decode(&wire, &splits, opener());
            prop_assert_eq!(&whole[..], &frames[..whole.len()]);
            prop_assert_eq!(end, Err(DecodeError::Cipher(CipherError::Authentication)));
        }
    }

    #[test]
    fn random_bytes_are_frames_or_an_error(
        wire in prop::collection::vec(any::<u8>(), 0..30_000), splits in splits(),
    ) {
        let (frames, end) = decode(&wire, &splits, Plain);
        prop_assert!(frames.iter().all(|frame| frame.payload().len() <= MAX_PAYLOAD_LEN));
        if let Err(error) = end {
            let DecodeError::PayloadTooLong { len, max, .. } = error else { panic!("{error}") };
            prop_assert!(len > max);
        }
        let noise = decode(&wire, &splits, opener());
        prop_assert_eq!(noise.0, []);
        prop_assert_eq!(noise.1.is_err(), wire.len() >= 22);
    }
}

#[test]
fn the_limit_is_enforced_before_memory_is_taken() {
    for len in [MAX_PAYLOAD_LEN + 1, framing_sv2::MAX_PAYLOAD_LEN] {
        let header = Header::new(0, 0x55, len).unwrap();
        let mut decoder = FrameDecoder::new(Plain, LocalPool::default(), MAX_PAYLOAD_LEN);
        assert_eq!(decoder.feed(&header.to_bytes()), Header::LEN);
        let error = DecodeError::PayloadTooLong {
            msg_type: 0x55,
            len,
            max: MAX_PAYLOAD_LEN,
        };
        assert_eq!(decoder.next_frame(), Err(error));
        assert_eq!(decoder.capacity(), 0);
    }
}

#[test]
fn an_announced_length_takes_no_memory() {
    let header = Header::new(0, 0x55, MAX_PAYLOAD_LEN).unwrap();
    let mut decoder = FrameDecoder::new(Plain, LocalPool::default(), MAX_PAYLOAD_LEN);
    decoder.feed(&header.to_bytes());
    assert_eq!(decoder.next_frame(), Ok(Decoded::Missing(MAX_PAYLOAD_LEN)));
    assert_eq!(decoder.capacity(), 0);
    assert_eq!(decoder.writable().len(), READ_LEN);
    assert!(!decoder.is_between_frames());
}

#[test]
fn waiting_frames_do_not_grow_the_buffer() {
    let frame = Sv2Frame::new(0, 1, vec![5; 100]).unwrap();
    let wire = encode(&vec![frame; 1000], Plain);
    let mut decoder = FrameDecoder::new(Plain, LocalPool::default(), MAX_PAYLOAD_LEN);
    assert_eq!(decoder.feed(&wire), READ_LEN);
    assert_eq!(
        decoder.feed(&wire[READ_LEN..]),
        0,
        "frames wait and the buffer is full"
    );
    assert_eq!(decoder.capacity(), READ_LEN);
}

#[test]
fn memory_returns_to_the_pool_with_the_last_byte() {
    let pool = LocalPool::default();
    let mut encoder = NoiseEncoder::new(sealer());
    let mut decoder: StandardNoiseDecoder<LocalPool> =
        FrameDecoder::new(opener(), pool.clone(), MAX_PAYLOAD_LEN);
    let mut wire = Vec::new();
    for _ in 0..3 {
        wire.clear();
        encoder.encode_raw(0, 1, &[5; 100], &mut wire).unwrap();
        decoder.feed(&wire);
        assert_eq!(pool.retained_buffers(), 0);
        assert!(matches!(decoder.next_frame(), Ok(Decoded::Frame(_))));
        assert_eq!(decoder.next_frame(), Ok(Decoded::Missing(22)));
        assert_eq!((pool.retained_buffers(), decoder.capacity()), (1, 0));
        assert_eq!(decoder.writable().len(), READ_LEN);
        decoder.advance(0);
        assert_eq!(
            pool.retained_buffers(),
            1,
            "a read that brought nothing holds nothing"
        );
    }
    const { assert!(READ_LEN <= MAX_RETAINED_BUFFER_LEN) };
}

#[test]
fn a_frame_that_cannot_be_written_leaves_the_output_alone() {
    let mut wire = b"before".to_vec();
    let too_long = vec![0; framing_sv2::MAX_PAYLOAD_LEN + 1];
    let one_nonce_left: Sealer = Sealer::new(CipherState::at(&KEY, u64::MAX - 1));
    let mut encoder = ConnectionEncoder::new(MaybeSealer::from(one_nonce_left));
    assert!(encoder.encode_raw(0, 0, &too_long, &mut wire).is_err());
    assert_eq!(wire, b"before");
    assert!(
        encoder
            .encode_raw(0, 0, b"one nonce for two blocks", &mut wire)
            .is_err()
    );
    assert_eq!(wire, b"before");

    let mut decoder: ConnectionDecoder =
        FrameDecoder::new(plain_opener(), Default::default(), MAX_PAYLOAD_LEN);
    assert_eq!(decoder.next_frame(), Ok(Decoded::Missing(6)));
}
