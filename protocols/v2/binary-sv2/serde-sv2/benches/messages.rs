//! The messages that connections are busy with: our own codec against serde's.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use binary_sv2::{Decodable, Encodable, U256};
use criterion::{Criterion, criterion_group, criterion_main};
use mining_sv2::{
    NewExtendedMiningJob, SetNewPrevHash, SubmitSharesExtended, SubmitSharesStandard,
    SubmitSharesSuccess,
};
use template_distribution_sv2::NewTemplate;

/// Benches one message: own codec and serde, in both directions.
macro_rules! bench {
    ($criterion:ident, $type:ident, $message:expr) => {{
        let message = $message;
        let bytes = Encodable::to_vec(&message);
        let mut buffer = vec![0; bytes.len()];
        let mut group = $criterion.benchmark_group(stringify!($type));
        group.bench_function("encode, own", |b| {
            b.iter(|| black_box(&message).encode_to_slice(black_box(&mut buffer)));
        });
        group.bench_function("encode, serde", |b| {
            b.iter(|| serde_sv2::to_slice(black_box(&message), black_box(&mut buffer)));
        });
        group.bench_function("decode, own", |b| {
            b.iter(|| $type::from_bytes(black_box(&bytes)));
        });
        group.bench_function("decode, serde", |b| {
            b.iter(|| serde_sv2::from_bytes::<$type>(black_box(&bytes)));
        });
        group.finish();
    }};
}

fn shares(criterion: &mut Criterion) {
    bench!(
        criterion,
        SubmitSharesStandard,
        SubmitSharesStandard {
            channel_id: 1,
            sequence_number: 2,
            job_id: 3,
            nonce: 4,
            ntime: 5,
            version: 6,
        }
    );
    bench!(
        criterion,
        SubmitSharesExtended,
        SubmitSharesExtended {
            channel_id: 1,
            sequence_number: 2,
            job_id: 3,
            nonce: 4,
            ntime: 5,
            version: 6,
            extranonce: vec![7; 8].try_into().expect("it is short"),
        }
    );
    bench!(
        criterion,
        SubmitSharesSuccess,
        SubmitSharesSuccess {
            channel_id: 1,
            last_sequence_number: 2,
            new_submits_accepted_count: 3,
            new_shares_sum: 4,
        }
    );
}

fn jobs(criterion: &mut Criterion) {
    let merkle_path = vec![U256([7; 32]); 12];
    bench!(
        criterion,
        NewExtendedMiningJob,
        NewExtendedMiningJob {
            channel_id: 1,
            job_id: 2,
            min_ntime: None,
            version: 3,
            version_rolling_allowed: true,
            merkle_path: merkle_path.clone().try_into().expect("it is short"),
            coinbase_tx_prefix: vec![7; 60].try_into().expect("it is short"),
            coinbase_tx_suffix: vec![7; 120].try_into().expect("it is short"),
        }
    );
    bench!(
        criterion,
        SetNewPrevHash,
        SetNewPrevHash {
            channel_id: 1,
            job_id: 2,
            prev_hash: U256([7; 32]),
            min_ntime: 3,
            nbits: 4,
        }
    );
    bench!(
        criterion,
        NewTemplate,
        NewTemplate {
            template_id: 1,
            future_template: true,
            version: 2,
            coinbase_tx_version: 3,
            coinbase_prefix: vec![7; 4].try_into().expect("it is short"),
            coinbase_tx_input_sequence: 4,
            coinbase_tx_value_remaining: 5,
            coinbase_tx_outputs_count: 1,
            coinbase_tx_outputs: vec![7; 47].try_into().expect("it is short"),
            coinbase_tx_locktime: 6,
            merkle_path: merkle_path.try_into().expect("it is short"),
        }
    );
}

criterion_group!(benches, shares, jobs);
criterion_main!(benches);
