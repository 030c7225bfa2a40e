//! The cost of a frame on its way through a connection: encoded, sealed, opened, decoded.

use std::hint::black_box;

use binary_sv2::Decodable;
use codec_sv2::{DEFAULT_MAX_PAYLOAD_LEN, Decoded, FrameDecoder, FrameEncoder, Open, Plain, Seal};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mining_sv2::SubmitSharesExtended;
use noise_sv2::{CipherState, DefaultCipher, Opener, Sealer};

/// Frames that arrive with one read.
const BATCH: usize = 10;

const KEY: [u8; 32] = [7; 32];

fn share() -> SubmitSharesExtended<'static> {
    SubmitSharesExtended {
        channel_id: 1,
        sequence_number: 2,
        job_id: 3,
        nonce: 4,
        ntime: 5,
        version: 6,
        extranonce: vec![7; 8].try_into().unwrap(),
    }
}

fn shares(c: &mut Criterion, name: &str, seal: impl Seal, open: impl Open) {
    let mut encoder = FrameEncoder::new(seal);
    let mut decoder = FrameDecoder::new(
        open,
        buffer_sv2::DefaultPool::default(),
        DEFAULT_MAX_PAYLOAD_LEN,
    );
    let mut wire = Vec::with_capacity(4096);
    let mut group = c.benchmark_group(format!("{BATCH} shares, {name}"));
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("encode, then read and decode", |b| {
        b.iter(|| {
            wire.clear();
            for _ in 0..BATCH {
                encoder.encode(black_box(&share()), &mut wire).unwrap();
            }
            decoder.feed(&wire);
            let mut decoded = 0;
            while let Decoded::Frame(frame) = decoder.next_frame().unwrap() {
                let share = SubmitSharesExtended::from_bytes(frame.payload()).unwrap();
                decoded += usize::from(black_box(share).channel_id == 1);
            }
            assert_eq!(decoded, BATCH);
        });
    });
}

fn codec(c: &mut Criterion) {
    shares(c, "plain", Plain, Plain);
    let state = || CipherState::<DefaultCipher>::new(&KEY);
    shares(c, "noise", Sealer::new(state()), Opener::new(state()));
}

criterion_group!(benches, codec);
criterion_main!(benches);
