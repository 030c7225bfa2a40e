//! Writing and reading the data types that messages are long of.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use binary_sv2::{B016M, B0255, Decodable, Encodable, Seq064K, Seq0255, Str0255, U256};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Benches one value in both directions.
macro_rules! bench {
    ($criterion:ident, $name:literal, $type:ty, $value:expr) => {{
        let value: $type = $value;
        let bytes = Encodable::to_vec(&value);
        let mut buffer = vec![0; bytes.len()];
        let mut group = $criterion.benchmark_group($name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("encode", |b| {
            b.iter(|| black_box(&value).encode_to_slice(black_box(&mut buffer)));
        });
        group.bench_function("decode", |b| {
            b.iter(|| <$type>::from_bytes(black_box(&bytes)));
        });
        group.finish();
    }};
}

fn types(criterion: &mut Criterion) {
    let text = Str0255::try_from("rig-7").expect("it is short");
    bench!(criterion, "U256", U256, U256([7; 32]));
    bench!(criterion, "STR0_255", Str0255<'_>, text.clone());
    bench!(
        criterion,
        "SEQ0_255[U256], 12 elements",
        Seq0255<'_, U256>,
        Seq0255::new(vec![U256([7; 32]); 12]).expect("they are few")
    );
    bench!(
        criterion,
        "SEQ0_255[STR0_255], 100 elements",
        Seq0255<'_, Str0255<'_>>,
        Seq0255::new(vec![text; 100]).expect("they are few")
    );
    bench!(
        criterion,
        "SEQ0_64K[B0_16M], 3 000 transactions",
        Seq064K<'_, B016M<'_>>,
        Seq064K::new(vec![
            B016M::try_from(vec![7; 300]).expect("it is short");
            3_000
        ])
        .expect("they are few")
    );
    bench!(
        criterion,
        "OPTION[B0_255]",
        Option<B0255<'_>>,
        B0255::try_from(vec![7; 200]).ok()
    );
}

criterion_group!(benches, types);
criterion_main!(benches);
