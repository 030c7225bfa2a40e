//! Shares, targets and acknowledgements.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use mining_sv2::{SubmitSharesExtended, UpdateChannel};

use super::dialogue::{Dialogue, EASY_NBITS, HARD_NBITS, config};
use crate::accounting::SliceLimits;
use crate::channels::ChannelKind;
use crate::channels::client::{ClientError, OpenTerms};
use crate::channels::server::{MAX_EARLIER_TARGETS, MAX_JOBS, Output, ServerConfig, ServerFlags};
use crate::share::RejectReason;
use crate::target::Target;

const KINDS: [ChannelKind; 2] = [ChannelKind::Standard, ChannelKind::Extended];

/// Each share is acknowledged by itself.
fn one_by_one() -> ServerConfig {
    ServerConfig {
        slices: SliceLimits {
            max_shares: 1,
            ..SliceLimits::default()
        },
        ..config()
    }
}

#[test]
fn bad_shares_are_told_apart() {
    for kind in KINDS {
        let mut dialogue = Dialogue::new(one_by_one(), ServerFlags::default());
        dialogue.give_work();
        let limit = Target::from_difficulty(1e-8).unwrap();
        let terms = OpenTerms {
            max_target: limit,
            ..OpenTerms::default()
        };
        let id = dialogue.open_with(kind, 0, terms).unwrap();
        let work = dialogue.work(id);
        let good = dialogue.find(&work, true);
        assert!(dialogue.submit(&work, &good).unwrap().outcome.is_ok());
        dialogue.sent();
        let now_secs = dialogue.now.unix_secs as u32;
        let mut cases = Vec::from([
            (good.clone(), RejectReason::Duplicate, "duplicate-share"),
            (
                dialogue.find(&work, false),
                RejectReason::DifficultyTooLow,
                "difficulty-too-low",
            ),
        ]);
        let mut early = good.clone();
        early.ntime = work.min_ntime() - 1;
        cases.push((early, RejectReason::NtimeTooEarly, "invalid-share"));
        let mut late = good.clone();
        late.ntime = now_secs + 7_300;
        cases.push((late, RejectReason::NtimeTooLate, "invalid-share"));
        let mut version = good.clone();
        version.version ^= 1;
        cases.push((
            version,
            RejectReason::NonRollableVersionBit,
            "invalid-non-rollable-version-bit",
        ));
        for (found, reason, code) in cases {
            let verdict = dialogue.submit(&work, &found).unwrap();
            assert_eq!(verdict.outcome, Err(reason));
            assert_eq!(dialogue.sent(), [format!("SubmitShares.Error {code}")]);
            let channel = dialogue.server.channel(id).unwrap();
            assert_eq!(channel.accounting().rejected(reason), 1);
        }
        // What the client would not send.
        let mut long = good.clone();
        long.extranonce.push(1);
        assert_eq!(
            dialogue.submit(&work, &long),
            Err(ClientError::BadExtranonceSize)
        );
        assert_eq!(
            dialogue.force(&work, &long),
            Some(RejectReason::BadExtranonceSize)
        );
        dialogue.new_tip(HARD_NBITS);
        assert_eq!(dialogue.submit(&work, &good), Err(ClientError::Stale));
        assert_eq!(dialogue.force(&work, &good), Some(RejectReason::Stale));
        let counts = dialogue.client.channel(id).unwrap().counts();
        assert_eq!(
            (counts.submitted, counts.acknowledged, counts.rejected),
            (6, 1, 5)
        );
        assert_eq!(dialogue.client.channel(id).unwrap().in_flight(), 0);
    }
}

#[test]
fn jobs_never_sent_and_jobs_long_gone_are_told_apart() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let first = dialogue.open(ChannelKind::Standard, 0).unwrap();
    dialogue.new_template();
    let second = dialogue.open(ChannelKind::Standard, 0).unwrap();
    let outcome = |dialogue: &mut Dialogue, channel_id, job_id| {
        let share = mining_sv2::SubmitSharesStandard {
            channel_id,
            sequence_number: 1,
            job_id,
            nonce: 0,
            ntime: 0,
            version: 0,
        };
        let verdict = dialogue.server.handle_submit_standard(&share, dialogue.now);
        dialogue.pump();
        verdict.outcome.unwrap_err()
    };
    use RejectReason::{NtimeTooEarly, Stale, UnknownJob};
    assert_eq!(outcome(&mut dialogue, first, 0), UnknownJob);
    assert_eq!(outcome(&mut dialogue, first, 1), NtimeTooEarly);
    assert_eq!(
        outcome(&mut dialogue, second, 1),
        UnknownJob,
        "it was sent before the channel opened"
    );
    assert_eq!(outcome(&mut dialogue, first, 99), UnknownJob);
    for _ in 0..=MAX_JOBS {
        dialogue.new_template();
    }
    assert_eq!(
        outcome(&mut dialogue, first, 1),
        UnknownJob,
        "too old on this tip"
    );
    for _ in 0..3 {
        dialogue.new_tip(HARD_NBITS);
        assert_eq!(outcome(&mut dialogue, first, 1), Stale);
    }
}

#[test]
fn a_stale_share_that_is_a_block_is_a_block() {
    for kind in KINDS {
        let mut dialogue = Dialogue::new(config(), ServerFlags::default());
        dialogue.hub.new_tip(EASY_NBITS, dialogue.now);
        dialogue.give_work();
        let id = dialogue.open(kind, 0).unwrap();
        let work = dialogue.work(id);
        let network = work.tip().network_target;
        let found = dialogue.find_where(&work, |hash| network.is_met_by(hash));
        dialogue.new_tip(EASY_NBITS);
        assert_eq!(dialogue.force(&work, &found), Some(RejectReason::Stale));
        let block = dialogue.blocks.pop().expect("a block");
        assert_eq!(block.solution.header, work.header(&found.borrow()).unwrap());
        // The coinbase is the one that the header commits to.
        let txid = crate::merkle::sha256d(&block.coinbase);
        let root = crate::merkle::root_from_path(&txid, block.job.merkle_path());
        assert_eq!(root, block.solution.header.merkle_root);
    }
}

#[test]
fn a_block_overtakes_what_waits_to_be_sent() {
    let mut dialogue = Dialogue::new(config(), ServerFlags::default());
    dialogue.hub.new_tip(EASY_NBITS, dialogue.now);
    dialogue.give_work();
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    let work = dialogue.work(id);
    let network = work.tip().network_target;
    let found = dialogue.find_where(&work, |hash| network.is_met_by(hash));
    let mut share = SubmitSharesExtended {
        channel_id: id,
        sequence_number: 1,
        job_id: u32::MAX,
        nonce: found.nonce,
        ntime: found.ntime,
        version: found.version,
        extranonce: found.extranonce.as_slice().try_into().unwrap(),
    };
    // Nothing is polled between the two.
    let _ = dialogue.server.handle_submit_extended(&share, dialogue.now);
    share.job_id = work.job_id();
    let _ = dialogue.server.handle_submit_extended(&share, dialogue.now);
    let first = dialogue.server.poll_output();
    assert!(matches!(first, Some(Output::SubmitBlock(_))), "{first:?}");
}

fn limit_target(dialogue: &mut Dialogue, channel_id: u32, difficulty: f64) {
    let update = UpdateChannel {
        channel_id,
        nominal_hash_rate: 0.0,
        maximum_target: Target::from_difficulty(difficulty)
            .unwrap()
            .to_le_bytes()
            .into(),
    };
    dialogue
        .server
        .handle_update_channel(&update, dialogue.now)
        .unwrap();
    dialogue.pump();
}

#[test]
fn active_jobs_keep_their_target() {
    for is_job_resent_on_new_target in [false, true] {
        let config = ServerConfig {
            is_job_resent_on_new_target,
            ..config()
        };
        let mut dialogue = Dialogue::new(config, ServerFlags::default());
        dialogue.give_work();
        let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
        let before = dialogue.work(id);
        limit_target(&mut dialogue, id, 64e-9);
        let resent = dialogue.work(id);
        assert_eq!(
            resent.job_id() > before.job_id(),
            is_job_resent_on_new_target
        );
        if !is_job_resent_on_new_target {
            dialogue.new_template();
        }
        let after = dialogue.work(id);
        assert!(after.target() < before.target());
        // Enough for the old target, not for the new one.
        let between =
            |hash: &[u8; 32]| before.target().is_met_by(hash) && !after.target().is_met_by(hash);
        let found = dialogue.find_where(&before, between);
        let credited = dialogue.submit(&before, &found).unwrap().outcome.unwrap();
        assert_eq!(credited.difficulty, before.target().difficulty());
        let found = dialogue.find_where(&after, between);
        let verdict = dialogue.submit(&after, &found).unwrap();
        assert_eq!(verdict.outcome, Err(RejectReason::DifficultyTooLow));
        let found = dialogue.find(&after, true);
        let credited = dialogue.submit(&after, &found).unwrap().outcome.unwrap();
        assert_eq!(credited.difficulty, after.target().difficulty());
    }
}

#[test]
fn many_targets_on_one_tip_never_cost_an_honest_share() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    let mut works = Vec::from([dialogue.work(id)]);
    for step in 1..=2 * MAX_EARLIER_TARGETS as u32 {
        limit_target(&mut dialogue, id, f64::from(step + 1) * 1e-9);
        works.push(dialogue.work(id));
    }
    for work in &works {
        let found = dialogue.find(work, true);
        assert!(
            dialogue.submit(work, &found).unwrap().outcome.is_ok(),
            "job {}",
            work.job_id()
        );
    }
}

#[test]
fn shares_are_acknowledged_in_batches_and_only_when_stored() {
    let config = ServerConfig {
        is_target_fixed: true,
        ..config()
    };
    let mut dialogue = Dialogue::new(config, ServerFlags::default());
    dialogue.give_work();
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    dialogue.is_ledger_quick = false;
    dialogue.sent();
    for _ in 0..25 {
        assert!(dialogue.mine(id).outcome.is_ok());
    }
    assert_eq!(dialogue.unconfirmed.len(), 2, "ten shares make a slice");
    assert!(
        !dialogue
            .sent()
            .iter()
            .any(|line| line.contains("SubmitShares"))
    );
    dialogue.pass(Duration::from_millis(1_200));
    assert_eq!(dialogue.unconfirmed.len(), 3, "a second closes the rest");
    while let Some(ack) = dialogue.unconfirmed.pop_front() {
        dialogue.server.handle_persisted(ack);
    }
    dialogue.pump();
    let sent: Vec<_> = dialogue
        .sent()
        .into_iter()
        .filter(|line| line.contains("SubmitShares"))
        .collect();
    assert_eq!(
        sent,
        [
            "SubmitShares.Success up to 10: 10",
            "SubmitShares.Success up to 20: 10",
            "SubmitShares.Success up to 25: 5",
        ]
    );
    let counts = dialogue.client.channel(id).unwrap().counts();
    assert_eq!((counts.submitted, counts.acknowledged), (25, 25));
    assert_eq!(dialogue.client.channel(id).unwrap().in_flight(), 0);
    // The last shares of a channel are stored, but nobody is there to hear of it.
    assert!(dialogue.mine(id).outcome.is_ok());
    dialogue.server.close(id, "bye");
    dialogue.pump();
    let ack = dialogue.unconfirmed.pop_front().expect("the open slice");
    assert_eq!((ack.channel_id(), ack.slice().accepted_count), (id, 1));
    dialogue.sent();
    dialogue.server.handle_persisted(ack);
    dialogue.pump();
    assert_eq!(dialogue.sent(), [] as [&str; 0]);
}

#[test]
fn silence_makes_the_work_easier_and_a_flood_makes_it_harder() {
    for kind in KINDS {
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let terms = OpenTerms {
            nominal_hash_rate: 1e12,
            ..OpenTerms::default()
        };
        let id = dialogue.open_with(kind, 0, terms).unwrap();
        let start = *dialogue.work(id).target();
        dialogue.pass(Duration::from_secs(120));
        let easier = *dialogue.work(id).target();
        assert!(easier > start, "{start} {easier}");
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let id = dialogue.open(kind, 0).unwrap();
        let start = *dialogue.work(id).target();
        for _ in 0..20 {
            assert!(dialogue.mine(id).outcome.is_ok());
            dialogue.pass(Duration::from_millis(500));
        }
        let harder = *dialogue.work(id).target();
        assert!(harder < start, "{start} {harder}");
    }
}
