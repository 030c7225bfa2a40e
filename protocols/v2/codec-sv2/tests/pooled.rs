//! Decoders, outputs and frames on a slab pool give the same bytes and frames as those on other pools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use buffer_sv2::{BufferPool, LocalPool, SlabPool, SlabShape};
use codec_sv2::{
    Decoded, FrameDecoder, FrameEncoder, Open, Plain, PooledFrame, PooledNoiseDecoder, Seal,
    pooled_decoder, pooled_output,
};
use framing_sv2::Sv2Frame;
use noise_sv2::{CipherState, Opener, Sealer};
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const SLOT_LEN: usize = 8 * 1024;

fn sealer() -> Sealer {
    Sealer::new(CipherState::new(&KEY))
}

fn opener() -> Opener {
    Opener::new(CipherState::new(&KEY))
}

fn pool(slots: usize) -> SlabPool {
    let slot_len = SLOT_LEN;
    SlabPool::new(SlabShape { slots, slot_len }).unwrap()
}

fn frames() -> impl Strategy<Value = Vec<Sv2Frame<'static>>> {
    let payload_len = prop_oneof![8 => 0..120usize, 2 => 0..20_000usize];
    let frame = (any::<u16>(), any::<u8>(), payload_len, any::<u8>());
    let frame = frame.prop_map(|(extension_type, msg_type, len, seed)| {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8 ^ seed).collect();
        Sv2Frame::new(extension_type, msg_type, payload).unwrap()
    });
    prop::collection::vec(frame, 0..12)
}

/// Gives `wire` to a decoder in reads of at most `split` bytes, and what comes out to `take`.
fn decode<L: Open, P: BufferPool>(
    mut decoder: FrameDecoder<L, P>,
    wire: &[u8],
    split: usize,
    mut take: impl FnMut(&Sv2Frame<'_>),
) {
    let mut rest = wire;
    loop {
        match decoder.next_frame().unwrap() {
            Decoded::Frame(frame) => take(&frame),
            Decoded::Missing(_) if rest.is_empty() => return,
            Decoded::Missing(_) => {
                let taken = decoder.feed(&rest[..split.min(rest.len())]);
                rest = &rest[taken..];
            }
        }
    }
}

/// Sends `frames` through an output, a decoder and copies on one small pool, which are dropped in the order that
/// `order` says.
fn check<L: Seal, M: Open>(
    frames: &[Sv2Frame<'static>],
    seal: impl Fn() -> L,
    open: impl Fn() -> M,
    (split, slots): (usize, usize),
    order: &[prop::sample::Index],
) {
    let mut expected_wire = Vec::new();
    let mut expected_encoder = FrameEncoder::new(seal());
    let pool = pool(slots);
    let mut output = pooled_output(&pool);
    let mut encoder = FrameEncoder::new(seal());
    for frame in frames {
        expected_encoder
            .encode_frame(frame, &mut expected_wire)
            .unwrap();
        encoder.encode_frame(frame, &mut output).unwrap();
    }
    assert_eq!(output.filled(), expected_wire);

    let local = FrameDecoder::new(open(), LocalPool::default(), usize::MAX);
    let mut expected = Vec::new();
    decode(local, &expected_wire, split, |frame| {
        expected.push(frame.clone().into_owned());
    });
    assert_eq!(expected, frames);

    let mut kept = Vec::new();
    let decoder = pooled_decoder(open(), &pool);
    decode(decoder, output.filled(), split, |frame| {
        kept.push((kept.len(), PooledFrame::copied(frame, &pool)));
    });
    assert_eq!(kept.len(), frames.len());
    drop(output);
    for index in order.iter().cycle() {
        for (number, frame) in &kept {
            assert_eq!(frame.frame(), frames[*number]);
        }
        let in_pool = kept.iter().filter(|(_, frame)| frame.is_pooled()).count();
        assert_eq!(pool.usage().in_use, in_pool);
        if kept.is_empty() {
            return;
        }
        kept.swap_remove(index.index(kept.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_are_the_same_on_any_pool_in_any_order(
        frames in frames(),
        split in prop_oneof![1..40usize, 1..100_000usize],
        slots in 1..20usize,
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
    ) {
        check(&frames, || Plain, || Plain, (split, slots), &order);
        check(&frames, sealer, opener, (split, slots), &order);
    }
}

#[test]
fn connections_of_all_threads_share_a_pool() {
    const CONNECTIONS: u8 = 8;
    const FRAMES: usize = 50;
    // Fewer slots than connections and frames want at once.
    let pool = pool(6);
    let (to, from) = std::sync::mpsc::sync_channel::<PooledFrame>(4);
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (pool, to) = (pool.clone(), to.clone());
            scope.spawn(move || {
                let mut output = pooled_output(&pool);
                let mut encoder = FrameEncoder::new(sealer());
                let mut decoder: PooledNoiseDecoder = pooled_decoder(opener(), &pool);
                for _ in 0..FRAMES {
                    encoder
                        .encode_raw(0, connection, &[connection; 300], &mut output)
                        .unwrap();
                    decoder.feed(output.filled());
                    output.consume(usize::MAX);
                    output.release();
                    let Decoded::Frame(frame) = decoder.next_frame().unwrap() else {
                        panic!("a frame has arrived")
                    };
                    to.send(PooledFrame::copied(&frame, &pool)).unwrap();
                    assert!(matches!(decoder.next_frame(), Ok(Decoded::Missing(_))));
                }
            });
        }
        drop(to);
        let mut received = [0; CONNECTIONS as usize];
        for kept in from {
            let connection = kept.frame().header().msg_type();
            assert_eq!(kept.frame().payload(), [connection; 300]);
            received[usize::from(connection)] += 1;
        }
        assert_eq!(received, [FRAMES; CONNECTIONS as usize]);
    });
    let usage = pool.usage();
    assert_eq!((usage.in_use, usage.too_long), (0, 0));
    assert!((1..=6).contains(&usage.peak), "{usage:?}");
}
