//! What a pool works out for each share, and for each template.

use std::hint::black_box;
use std::sync::Arc;

use bitcoin::ScriptBuf;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::coinbase::CoinbaseTemplate;
use roles_logic_sv2::duplicates::DuplicateSet;
use roles_logic_sv2::job::{ChainTip, Job, JobFactory, JobTemplate, Payout};
use roles_logic_sv2::share::{Root, Share, ShareContext, ShareLimits, validate};
use roles_logic_sv2::target::{ShareTarget, Target};

/// Steps of the merkle path of a full block.
const PATH_LEN: usize = 12;

/// Shares that a channel remembers when its set is emptied, as a new tip does.
const SHARES_PER_TIP: u32 = 10_000;

const MIN_NTIME: u32 = 1_700_000_000;
const EXTRANONCE_SIZE: usize = 20;
const PREFIX: [u8; 4] = [1, 2, 3, 4];
const EXTRANONCE: [u8; 16] = [5; 16];

/// An output that commits to witnesses, as templates carry it.
const COMMITMENT: [u8; 47] = {
    let mut output = [7; 47];
    let head = [
        0, 0, 0, 0, 0, 0, 0, 0, 38, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed,
    ];
    let mut at = 0;
    while at < head.len() {
        output[at] = head[at];
        at += 1;
    }
    output
};

fn template(path_len: usize) -> JobTemplate<'static> {
    JobTemplate {
        template_id: 1,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            script_sig_prefix: &[3, 1, 2, 3],
            input_sequence: u32::MAX,
            value_remaining_sats: 312_500_000,
            outputs_count: 1,
            outputs: &COMMITMENT,
            locktime: 0,
        },
        merkle_path: Arc::from(vec![[9; 32]; path_len]),
    }
}

fn factory() -> JobFactory {
    let payout = Payout {
        script_pubkey: ScriptBuf::from_bytes([&[0, 20][..], &[8; 20]].concat()),
        weight: 1,
    };
    JobFactory::new(vec![payout], "pool", "", EXTRANONCE_SIZE, true).expect("the parts fit")
}

fn job(path_len: usize) -> Arc<Job> {
    factory()
        .job(&template(path_len))
        .expect("the template is sound")
}

fn validation(criterion: &mut Criterion) {
    let tip = ChainTip::new([5; 32], 0x1703_4219, MIN_NTIME, Instant::default());
    let tip = tip.expect("nbits is sound");
    let target = ShareTarget::new(Target::MAX);
    let now = Now {
        instant: Instant::default(),
        unix_secs: MIN_NTIME.into(),
    };
    let root = [6; 32];
    let extended = Root::Extended {
        extranonce_prefix: &PREFIX,
    };
    for (name, job, root, extranonce) in [
        ("standard", job(PATH_LEN), Root::Standard(&root), &[][..]),
        ("extended, no path", job(0), extended, &EXTRANONCE[..]),
        (
            "extended, 12 steps",
            job(PATH_LEN),
            extended,
            &EXTRANONCE[..],
        ),
    ] {
        let context = ShareContext {
            job: &job,
            tip: &tip,
            is_stale: false,
            job_min_ntime: 0,
            target: &target,
            root,
        };
        let mut seen = DuplicateSet::default();
        let mut nonce = 0_u32;
        criterion.bench_function(&format!("validate/{name}"), |bencher| {
            bencher.iter(|| {
                nonce = nonce.wrapping_add(1);
                if nonce.is_multiple_of(SHARES_PER_TIP) {
                    seen.clear();
                }
                let share = Share {
                    nonce,
                    ntime: MIN_NTIME,
                    version: 0x2000_0000,
                    extranonce,
                };
                let limits = ShareLimits::default();
                let verdict = validate(&context, black_box(&share), &limits, &mut seen, now);
                assert!(verdict.outcome.is_ok());
            });
        });
    }
}

fn jobs(criterion: &mut Criterion) {
    let (factory, template) = (factory(), template(PATH_LEN));
    criterion.bench_function("job from a template, 12 steps", |bencher| {
        // What it gives back is dropped outside of the measurement.
        bencher.iter_batched(
            || (),
            |()| factory.job(black_box(&template)),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, validation, jobs);
criterion_main!(benches);
