use alloc::sync::Arc;
use core::time::Duration;

use bitcoin::ScriptBuf;

use super::*;
use crate::clock::Instant;
use crate::coinbase::{CoinbaseError, CoinbaseTemplate, split_by_weight};
use crate::job::{JobFactory, JobTemplate, Payout};
use crate::target::Target;

const MIN_NTIME: u32 = 1_700_000_000;
const PREFIX: [u8; 4] = [1, 2, 3, 4];

fn template() -> JobTemplate<'static> {
    JobTemplate {
        template_id: 9,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            script_sig_prefix: &[3, 1, 2, 3],
            input_sequence: 0xffff_ffff,
            value_remaining_sats: 100,
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        },
        merkle_path: Arc::new([[7; 32]; 3]),
    }
}

fn payout(weight: u32) -> Payout {
    Payout {
        script_pubkey: ScriptBuf::from_bytes(alloc::vec![0x51]),
        weight,
    }
}

fn factory(may_roll: bool) -> JobFactory {
    JobFactory::new(alloc::vec![payout(2), payout(1)], "pool", "", 8, may_roll).unwrap()
}

/// A channel on a regtest-like tip, where every second hash is a block.
struct Bench {
    job: Arc<Job>,
    tip: ChainTip,
    target: ShareTarget,
    is_stale: bool,
    seen: DuplicateSet,
    now: Now,
}

impl Bench {
    fn new(nbits: u32) -> Self {
        let received_at = Instant::from_secs(50);
        Self {
            job: factory(true).job(&template()).unwrap(),
            tip: ChainTip::new([5; 32], nbits, MIN_NTIME, received_at).unwrap(),
            target: ShareTarget::new(Target::MAX),
            is_stale: false,
            seen: DuplicateSet::default(),
            now: Now {
                instant: received_at,
                unix_secs: MIN_NTIME.into(),
            },
        }
    }

    fn submit(&mut self, nonce: u32, ntime: u32) -> Verdict {
        let share = Share {
            nonce,
            ntime,
            version: self.job.version(),
            extranonce: &[0; 4],
        };
        let context = ShareContext {
            job: &self.job,
            tip: &self.tip,
            is_stale: self.is_stale,
            job_min_ntime: MIN_NTIME + 1,
            target: &self.target,
            root: Root::Extended {
                extranonce_prefix: &PREFIX,
            },
        };
        validate(
            &context,
            &share,
            &ShareLimits::default(),
            &mut self.seen,
            self.now,
        )
    }
}

const REGTEST: u32 = 0x207f_ffff;
const MAINNET: u32 = 0x1703_a30c;

#[test]
fn a_stale_share_that_is_a_block_is_still_a_block_once() {
    let mut bench = Bench::new(REGTEST);
    bench.is_stale = true;
    let verdicts: alloc::vec::Vec<_> = (0..50)
        .map(|nonce| bench.submit(nonce, MIN_NTIME + 1))
        .collect();
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.outcome == Err(RejectReason::Stale))
    );
    let blocks = verdicts
        .iter()
        .filter(|verdict| verdict.block.is_some())
        .count();
    assert!((10..40).contains(&blocks), "{blocks}");
    for nonce in 0..50 {
        assert_eq!(
            bench.submit(nonce, MIN_NTIME + 1).block,
            None,
            "the same block again"
        );
    }
}

#[test]
fn a_block_counts_the_networks_difficulty_where_the_channels_target_is_harder() {
    let mut bench = Bench::new(REGTEST);
    bench.target = ShareTarget::new(Target::from_difficulty(1e9).unwrap());
    let network = bench.tip.network_target.difficulty();
    let mut accepted = 0;
    for nonce in 0..50 {
        let verdict = bench.submit(nonce, MIN_NTIME + 1);
        match verdict.outcome {
            Ok(share) => {
                assert_eq!(share.difficulty, network);
                assert!(verdict.block.is_some_and(|block| block.hash == share.hash));
                accepted += 1;
            }
            Err(reason) => assert_eq!(
                (reason, verdict.block),
                (RejectReason::DifficultyTooLow, None)
            ),
        }
    }
    assert!(accepted > 0);
}

#[test]
fn ntime_is_bounded_by_job_and_clock() {
    let mut bench = Bench::new(MAINNET);
    let outcome = |bench: &mut Bench, ntime| bench.submit(0, ntime).outcome.map(|_| ());
    assert_eq!(
        outcome(&mut bench, MIN_NTIME),
        Err(RejectReason::NtimeTooEarly),
        "the job's own min_ntime"
    );
    assert_eq!(outcome(&mut bench, MIN_NTIME + 7200), Ok(()));
    assert_eq!(
        outcome(&mut bench, MIN_NTIME + 7201),
        Err(RejectReason::NtimeTooLate)
    );
    // Three hours later, ntime rolled once a second, and a wall clock that stood still.
    bench.now.instant = bench.tip.received_at + Duration::from_secs(3 * 3600);
    assert_eq!(outcome(&mut bench, MIN_NTIME + 3 * 3600), Ok(()));
    assert_eq!(
        outcome(&mut bench, MIN_NTIME + 3 * 3600 + 7201),
        Err(RejectReason::NtimeTooLate)
    );
}

#[test]
fn worthless_shares_take_no_memory() {
    let mut bench = Bench::new(MAINNET);
    bench.target = ShareTarget::new(Target::from_difficulty(1e12).unwrap());
    for nonce in 0..100 {
        let verdict = bench.submit(nonce, MIN_NTIME + 1);
        assert_eq!(verdict, Verdict::rejected(RejectReason::DifficultyTooLow));
    }
    assert_eq!(bench.seen.heap_size(), 0);
}

#[test]
fn a_full_memory_refuses_credit_but_no_block() {
    let mut bench = Bench::new(REGTEST);
    bench.seen = DuplicateSet::new(0);
    let verdicts: alloc::vec::Vec<_> = (0..20)
        .map(|nonce| bench.submit(nonce, MIN_NTIME + 1))
        .collect();
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.outcome == Err(RejectReason::TooManyShares))
    );
    assert!(verdicts.iter().any(|verdict| verdict.block.is_some()));
}

#[test]
fn standard_and_extended_channels_hash_the_same_header() {
    let mut bench = Bench::new(MAINNET);
    let extended = bench.submit(77, MIN_NTIME + 1).outcome.unwrap();
    let root = bench
        .job
        .merkle_root(&[1, 2, 3, 4, 0, 0, 0, 0], &[])
        .unwrap();
    let share = Share {
        nonce: 77,
        ntime: MIN_NTIME + 1,
        version: bench.job.version(),
        extranonce: &[],
    };
    let context = ShareContext {
        job: &bench.job,
        tip: &bench.tip,
        is_stale: false,
        job_min_ntime: 0,
        target: &bench.target,
        root: Root::Standard(&root),
    };
    let limits = ShareLimits::default();
    let mut seen = DuplicateSet::default();
    let standard = validate(&context, &share, &limits, &mut seen, bench.now)
        .outcome
        .unwrap();
    assert_eq!(standard, extended);
    let with_extranonce = Share {
        extranonce: &[0],
        ..share
    };
    let verdict = validate(&context, &with_extranonce, &limits, &mut seen, bench.now);
    assert_eq!(verdict, Verdict::rejected(RejectReason::BadExtranonceSize));
}

#[test]
fn the_reward_is_split_to_the_last_satoshi() {
    assert_eq!(
        split_by_weight(100, &[1, 1, 1]),
        Ok(alloc::vec![34, 33, 33])
    );
    assert_eq!(split_by_weight(100, &[0, 95, 5]), Ok(alloc::vec![0, 95, 5]));
    assert_eq!(
        split_by_weight(u64::MAX, &[u32::MAX, 1]).map(|s| s.iter().sum::<u64>()),
        Ok(u64::MAX)
    );
    assert_eq!(split_by_weight(100, &[0]), Err(CoinbaseError::NoPayout));
}

#[test]
fn a_coinbase_that_consensus_would_refuse_is_an_error() {
    let tagged = |tag: &str| {
        let factory = JobFactory::new(alloc::vec![payout(1)], tag, "", 8, true)?;
        factory.job(&template()).map(|_| ())
    };
    // 4 bytes of the template, 8 of extranonce, "Sv2///", the opcodes of two pushes (a long one has two bytes).
    assert_eq!(tagged(&"x".repeat(79)), Ok(()));
    assert_eq!(
        tagged(&"x".repeat(80)),
        Err(CoinbaseError::ScriptSigSize { size: 101 })
    );
    assert!(matches!(
        tagged(&"x".repeat(1000)),
        Err(CoinbaseError::ScriptSigSize { .. })
    ));
    let too_long = JobFactory::new(alloc::vec![payout(1)], "", "", 65, true).unwrap_err();
    assert_eq!(too_long, CoinbaseError::ExtranonceSize { size: 65 });
    let wrong_total = factory(true)
        .job_with_outputs(&template(), &[])
        .unwrap_err();
    assert_eq!(
        wrong_total,
        CoinbaseError::OutputsTotal {
            expected_sats: 100,
            actual_sats: 0
        }
    );
    let mut bad_count = template();
    bad_count.coinbase.outputs_count = 1;
    let malformed = factory(true).job(&bad_count).unwrap_err();
    assert_eq!(malformed, CoinbaseError::MalformedOutputs { count: 1 });
}
