//! Shares, good and bad, over frames; worker identities; blocks.

use std::time::Duration;

use binary_sv2::{Encodable, Message};
use const_sv2::mining::REQUIRES_VERSION_ROLLING;
use extensions_sv2::{RequestExtensions, WorkerIdentity};
use mining_sv2::SubmitSharesStandard;
use pool_core::downstream::Output;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::channels::ChannelKind::{self, Extended, Standard};
use roles_logic_sv2::channels::client::Work;
use roles_logic_sv2::channels::server::{ServerChannels, ServerConfig};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::share::RejectReason;

use crate::common::{EASY, HARD, Miner, OwnedFound, Pool, config};

fn working(kind: ChannelKind) -> (Pool, Miner, u32) {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, kind, "alice").unwrap();
    miner.sent();
    (pool, miner, channel)
}

fn accounts<T>(miner: &Miner, channel: u32, look: impl Fn(&ServerChannels, u32) -> T) -> T {
    look(miner.pool.channels().unwrap(), channel)
}

/// What the pool sent about shares; targets move when many come at once.
fn answers(miner: &mut Miner) -> Vec<String> {
    let mut sent = miner.sent();
    sent.retain(|line| line.starts_with("SubmitShares"));
    sent
}

#[test]
fn shares_are_acknowledged_in_batches_once_the_ledger_has_them() {
    for kind in [Standard, Extended] {
        let mut config = config();
        let mut channels = (*config.channels).clone();
        channels.slices.max_shares = 3;
        config.channels = channels.into();
        let mut pool = Pool::new(config);
        pool.is_ledger_quick = false;
        let mut miner = Miner::set_up(&mut pool, 0);
        let channel = miner.open(&mut pool, kind, "alice").unwrap();
        (0..3).for_each(|_| miner.mine(&mut pool, channel));
        assert_eq!(miner.persisted, [("alice".to_owned(), 3)]);
        assert_eq!(answers(&mut miner), [""; 0], "the ledger has not confirmed");
        miner.mine(&mut pool, channel);
        miner.confirm(&mut pool);
        assert_eq!(answers(&mut miner), ["SubmitShares.Success up to 3: 3"]);
        miner.pass(&mut pool, Duration::from_secs(1));
        miner.confirm(&mut pool);
        assert_eq!(answers(&mut miner), ["SubmitShares.Success up to 4: 1"]);
    }
}

/// A share that is good but for `spoil` is rejected with this code.
fn check_bad(
    spoil: impl Fn(&mut OwnedFound, &mut Miner, &Work),
    expected: &str,
    reason: RejectReason,
) {
    let (mut pool, mut miner, channel) = working(Extended);
    let work = miner.work(channel);
    let mut found = miner.find(&work, true);
    spoil(&mut found, &mut miner, &work);
    miner.force(&mut pool, &work, &found);
    assert_eq!(miner.sent(), [format!("SubmitShares.Error 77 {expected}")]);
    let rejected = accounts(&miner, channel, |channels, id| {
        channels.channel(id).unwrap().accounting().rejected(reason)
    });
    assert_eq!(rejected, 1);
    miner.mine(&mut pool, channel);
    miner.pass(&mut pool, Duration::from_secs(1));
    assert_eq!(miner.sent(), ["SubmitShares.Success up to 1: 1"]);
}

#[test]
fn each_kind_of_bad_share_has_its_answer() {
    use RejectReason as R;
    check_bad(
        |found, _, _| found.ntime -= 1,
        "invalid-share",
        R::NtimeTooEarly,
    );
    check_bad(
        |found, _, _| found.ntime += 86_400,
        "invalid-share",
        R::NtimeTooLate,
    );
    let code = "invalid-non-rollable-version-bit";
    check_bad(
        |found, _, _| found.version ^= 1,
        code,
        R::NonRollableVersionBit,
    );
    check_bad(
        |found, _, _| found.extranonce.push(0),
        "bad-extranonce-size",
        R::BadExtranonceSize,
    );
    check_bad(
        |found, _, _| found.extranonce.clear(),
        "bad-extranonce-size",
        R::BadExtranonceSize,
    );
    let miss =
        |found: &mut OwnedFound, miner: &mut Miner, work: &Work| *found = miner.find(work, false);
    check_bad(miss, "difficulty-too-low", R::DifficultyTooLow);
}

#[test]
fn shares_for_what_is_not_there_have_their_answers() {
    let (mut pool, mut miner, channel) = working(Standard);
    for (channel_id, job_id, expected) in [
        (99, 1, "invalid-channel-id"),
        (channel, 99, "invalid-job-id"),
    ] {
        let share = SubmitSharesStandard {
            channel_id,
            sequence_number: 5,
            job_id,
            nonce: 0,
            ntime: 0,
            version: 0,
        };
        miner.send(&mut pool, &share);
        assert_eq!(miner.sent(), [format!("SubmitShares.Error 5 {expected}")]);
    }
    assert_eq!(miner.pool.ignored().shares_of_unknown_channels, 1);
}

#[test]
fn a_share_counts_once_and_not_after_its_tip() {
    let (mut pool, mut miner, channel) = working(Extended);
    let work = miner.work(channel);
    let found = miner.find(&work, true);
    miner.force(&mut pool, &work, &found);
    miner.force(&mut pool, &work, &found);
    assert_eq!(miner.sent(), ["SubmitShares.Error 77 duplicate-share"]);
    let late = miner.find(&work, true);
    pool.new_template();
    miner.work_came(&mut pool);
    miner.sent();
    miner.force(&mut pool, &work, &late);
    assert_eq!(miner.sent(), [""; 0], "the tip is the same");
    let later = miner.find(&work, true);
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    miner.sent();
    miner.force(&mut pool, &work, &later);
    assert_eq!(miner.sent(), ["SubmitShares.Error 77 stale-share"]);
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    miner.sent();
    miner.force(&mut pool, &work, &later);
    assert_eq!(miner.sent(), ["SubmitShares.Error 77 stale-share"]);
}

#[test]
fn versions_are_not_rolled_where_the_pool_forbids_it() {
    let forbidding = || {
        Pool::new(PoolConfig {
            version_rolling_allowed: false,
            ..config()
        })
    };
    for kind in [Standard, Extended] {
        let mut pool = forbidding();
        let mut miner = Miner::set_up(&mut pool, 0);
        let channel = miner.open(&mut pool, kind, "alice").unwrap();
        miner.sent();
        let work = miner.work(channel);
        let mut found = miner.find(&work, true);
        found.version ^= 1 << 20;
        miner.force(&mut pool, &work, &found);
        let refused = "SubmitShares.Error 77 version-rolling-not-allowed";
        assert_eq!(miner.sent(), [refused], "{kind:?}");
        miner.mine(&mut pool, channel);
        assert_eq!(miner.sent(), [""; 0], "{kind:?}");
    }
    // Who is told so at setup need not find out; who cannot mine without rolling is not taken.
    let (fixed, unsupported) = (
        "SetupConnection.Success 2 0b1",
        "SetupConnection.Error unsupported-feature-flags 0b100",
    );
    for (flags, answer) in [(0, fixed), (REQUIRES_VERSION_ROLLING, unsupported)] {
        let mut pool = forbidding();
        let mut miner = Miner::connect(&pool);
        let setup = SetupRequest::mining(flags).message(&Endpoint::default());
        miner.send(&mut pool, &setup);
        assert_eq!(miner.sent(), [answer]);
    }
}

#[test]
fn versions_are_rolled_where_the_pool_allows_it() {
    for kind in [Standard, Extended] {
        let mut pool = Pool::new(config());
        let mut miner = Miner::set_up(&mut pool, REQUIRES_VERSION_ROLLING);
        let channel = miner.open(&mut pool, kind, "alice").unwrap();
        miner.sent();
        let work = miner.work(channel);
        let rolled = miner.find_rolled(&work, 1 << 20, true);
        miner.force(&mut pool, &work, &rolled);
        assert_eq!(miner.sent(), [""; 0], "{kind:?}");
    }
}

fn with_worker(name: &str) -> Vec<u8> {
    let mut trailing = Vec::new();
    WorkerIdentity::new(name.as_bytes())
        .unwrap()
        .append_to(&mut trailing);
    trailing
}

fn negotiate(pool: &mut Pool, miner: &mut Miner) {
    let request = RequestExtensions {
        request_id: 1,
        requested_extensions: vec![2].try_into().unwrap(),
    };
    miner.send(pool, &request);
    assert_eq!(miner.sent(), ["RequestExtensions.Success"]);
}

fn workers(miner: &Miner) -> Vec<(String, u64, u64)> {
    let named = miner.pool.workers();
    let named = named.map(|(name, counters)| {
        (
            String::from_utf8_lossy(name).into_owned(),
            counters.accepted,
            counters.rejected,
        )
    });
    named.collect()
}

#[test]
fn worker_identities_are_used_in_accounting_once_negotiated() {
    let mut pool = Pool::new(PoolConfig {
        max_workers: 2,
        ..config()
    });
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Extended, "farm").unwrap();
    miner.mine_as(&mut pool, channel, &with_worker("rig1"));
    assert_eq!(
        workers(&miner),
        [],
        "not negotiated: whatever stands there is ignored"
    );
    miner.mine_as(&mut pool, channel, &[0xff; 40]);

    miner.sent();
    negotiate(&mut pool, &mut miner);
    // Little-endian as deployed, big-endian as printed in the specification.
    miner.mine_as(&mut pool, channel, &with_worker("rig1"));
    miner.mine_as(&mut pool, channel, b"\x00\x02\x01\x00\x04rig1");
    miner.mine_as(&mut pool, channel, &with_worker("rig2"));
    let work = miner.work(channel);
    let mut found = miner.find(&work, true);
    found.ntime += 100_000;
    let tail = with_worker("rig2");
    let share = mining_sv2::SubmitSharesExtended {
        channel_id: channel,
        sequence_number: 9,
        job_id: work.job_id(),
        nonce: found.nonce,
        ntime: found.ntime,
        version: found.version,
        extranonce: found.extranonce.as_slice().try_into().unwrap(),
    };
    let payload = [share.to_vec(), tail].concat();
    miner.send_raw(
        &mut pool,
        &<mining_sv2::SubmitSharesExtended as Message>::KIND,
        &payload,
    );
    // More workers than the connection may name are counted together.
    miner.mine_as(&mut pool, channel, &with_worker("rig3"));
    miner.mine_as(&mut pool, channel, &with_worker("rig4"));
    let expected = [("(other workers)", 2, 0), ("rig1", 2, 0), ("rig2", 1, 1)];
    assert_eq!(
        workers(&miner),
        expected.map(|(name, yes, no)| (name.to_owned(), yes, no))
    );
    // A share without, or with malformed fields behind it, is a share all the same.
    miner.mine_as(&mut pool, channel, &[]);
    miner.mine_as(&mut pool, channel, &[2, 0, 1, 200, 0, b'x']);
    let accepted = accounts(&miner, channel, |channels, id| {
        channels.channel(id).unwrap().accounting().accepted()
    });
    assert_eq!(accepted, 9);
}

#[test]
fn a_worker_identity_that_is_too_long_rejects_the_share_but_not_its_block() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    negotiate(&mut pool, &mut miner);
    let channel = miner.open(&mut pool, Extended, "farm").unwrap();
    let too_long = [&[2, 0, 1, 33, 0][..], &[b'x'; 33]].concat();
    miner.sent();
    miner.mine_as(&mut pool, channel, &too_long);
    assert_eq!(miner.sent(), ["SubmitShares.Error 1 invalid-share"]);
    assert_eq!(miner.pool.discarded().oversized_worker_identity, 1);
    pool.new_tip(EASY);
    miner.work_came(&mut pool);
    miner.sent();
    while pool.blocks.is_empty() {
        miner.mine_as(&mut pool, channel, &too_long);
    }
    let rejected = miner.sent();
    assert!(
        rejected.iter().all(|line| line.ends_with("invalid-share")),
        "{rejected:?}"
    );
    assert_eq!(miner.persisted, []);
}

#[test]
fn a_tip_announced_anew_neither_credits_twice_nor_ends_jobs() {
    let (mut pool, mut miner, channel) = working(Extended);
    let work = miner.work(channel);
    let (first, second) = (miner.find(&work, true), miner.find(&work, true));
    miner.force(&mut pool, &work, &first);
    // The template provider restarts, a minute later, on the same tip and with the same transactions.
    pool.now = pool.now.after(Duration::from_secs(60));
    pool.restart_provider();
    miner.work_came(&mut pool);
    miner.sent();
    let new_work = miner.work(channel);
    assert_ne!(new_work.job_id(), work.job_id());
    miner.force(&mut pool, &new_work, &first);
    assert_eq!(miner.sent(), ["SubmitShares.Error 77 duplicate-share"]);
    miner.force(&mut pool, &work, &second);
    assert_eq!(miner.sent(), [""; 0], "found before, handed in after");
}

#[test]
fn a_stale_block_is_handed_in_and_a_block_goes_first() {
    let mut pool = Pool::new(config());
    pool.new_tip(EASY);
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Standard, "alice").unwrap();
    let work = miner.work(channel);
    let network = roles_logic_sv2::target::Target::from_nbits(EASY).unwrap();
    let found = loop {
        let found = miner.find(&work, true);
        if network.is_met_by(&work.header(&found.borrow()).unwrap().hash()) {
            break found;
        }
    };
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    miner.sent();
    let share = SubmitSharesStandard {
        channel_id: channel,
        sequence_number: 3,
        job_id: work.job_id(),
        nonce: found.nonce,
        ntime: found.ntime,
        version: found.version,
    };
    miner.send(&mut pool, &share);
    assert_eq!(miner.sent(), ["SubmitShares.Error 3 stale-share"]);
    assert_eq!(pool.blocks.len(), 1);
    let block = pool.blocks.remove(0);
    assert_eq!(block.solution.header.nonce, found.nonce);
}

#[test]
fn a_block_overtakes_all_that_waits_for_the_same_miner() {
    let mut pool = Pool::new(config());
    pool.new_tip(EASY);
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Standard, "alice").unwrap();
    let work = miner.work(channel);
    let network = roles_logic_sv2::target::Target::from_nbits(EASY).unwrap();
    let found = loop {
        let found = miner.find(&work, true);
        if network.is_met_by(&work.header(&found.borrow()).unwrap().hash()) {
            break found;
        }
    };
    let mut share = SubmitSharesStandard {
        channel_id: 99,
        sequence_number: 1,
        job_id: work.job_id(),
        nonce: found.nonce,
        ntime: found.ntime,
        version: found.version,
    };
    // Both came in one read: nothing is carried out in between.
    let kind = SubmitSharesStandard::KIND;
    for channel_id in [99, channel] {
        share.channel_id = channel_id;
        miner.pool.handle_frame(
            kind.wire_extension_type(),
            kind.msg_type,
            &share.to_vec(),
            &mut pool.shard,
            pool.now,
        );
    }
    let first = miner.pool.poll_output();
    assert!(matches!(first, Some(Output::SubmitBlock(_))), "{first:?}");
}

#[test]
fn the_memory_of_shares_is_bounded_and_says_so() {
    let mut config = config();
    let channels = ServerConfig {
        max_shares_per_tip: 3,
        ..(*config.channels).clone()
    };
    config.channels = channels.into();
    let mut pool = Pool::new(config);
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Standard, "alice").unwrap();
    miner.sent();
    (0..4).for_each(|_| miner.mine(&mut pool, channel));
    assert_eq!(miner.sent(), ["SubmitShares.Error 4 invalid-share"]);
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    miner.sent();
    miner.mine(&mut pool, channel);
    assert_eq!(miner.sent(), [""; 0]);
}
