//! Encoding and decoding of the messages that a pool sends and receives most.

use std::hint::black_box;

use binary_sv2::{Decodable, Encodable, Seq0255, U256};
use criterion::{Criterion, criterion_group, criterion_main};
use mining_sv2::{NewExtendedMiningJob, SubmitSharesExtended};
use template_distribution_sv2::NewTemplate;

/// Steps of the merkle path of a full block.
const PATH_LEN: usize = 12;

fn path() -> Seq0255<'static, U256> {
    let steps = (0..PATH_LEN).map(|i| U256([i as u8; 32]));
    Seq0255::new(steps.collect()).expect("a path fits a sequence")
}

fn share() -> SubmitSharesExtended<'static> {
    SubmitSharesExtended {
        channel_id: 1,
        sequence_number: 7,
        job_id: 2,
        nonce: 0x1234_5678,
        ntime: 1_700_000_000,
        version: 0x2000_0000,
        extranonce: [7; 8].as_slice().try_into().expect("8 bytes fit"),
    }
}

fn job() -> NewExtendedMiningJob<'static> {
    NewExtendedMiningJob {
        channel_id: 1,
        job_id: 2,
        min_ntime: Some(1_700_000_000),
        version: 0x2000_0000,
        version_rolling_allowed: true,
        merkle_path: path(),
        coinbase_tx_prefix: vec![1; 58].try_into().expect("58 bytes fit"),
        coinbase_tx_suffix: vec![2; 110].try_into().expect("110 bytes fit"),
    }
}

fn template() -> NewTemplate<'static> {
    NewTemplate {
        template_id: 1,
        future_template: true,
        version: 0x2000_0000,
        coinbase_tx_version: 2,
        coinbase_prefix: vec![3, 1, 2, 3].try_into().expect("4 bytes fit"),
        coinbase_tx_input_sequence: u32::MAX,
        coinbase_tx_value_remaining: 312_500_000,
        coinbase_tx_outputs_count: 1,
        coinbase_tx_outputs: vec![4; 47].try_into().expect("47 bytes fit"),
        coinbase_tx_locktime: 0,
        merkle_path: path(),
    }
}

macro_rules! bench {
    ($criterion:ident, $($name:ident = $message:expr;)*) => {$(
        let (message, name) = ($message, stringify!($name));
        let bytes = message.to_vec();
        // A decoded job is sent on as it came, one of our own from its elements.
        let decoded = $name::from_bytes(&bytes).expect("what was written is read");
        let mut buffer = vec![0; bytes.len()];
        $criterion.bench_function(&format!("{name}/encode"), |bencher| {
            bencher.iter(|| black_box(&message).encode_to_slice(black_box(&mut buffer)));
        });
        $criterion.bench_function(&format!("{name}/encode decoded"), |bencher| {
            bencher.iter(|| black_box(&decoded).encode_to_slice(black_box(&mut buffer)));
        });
        $criterion.bench_function(&format!("{name}/decode"), |bencher| {
            bencher.iter(|| drop(black_box($name::from_bytes(black_box(&bytes)))));
        });
    )*};
}

fn messages(criterion: &mut Criterion) {
    bench! {
        criterion,
        SubmitSharesExtended = share();
        NewExtendedMiningJob = job();
        NewTemplate = template();
    }
}

criterion_group!(benches, messages);
criterion_main!(benches);
