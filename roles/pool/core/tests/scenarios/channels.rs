//! Opening, updating and closing channels; groups; prefixes; limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use const_sv2::mining::{REQUIRES_STANDARD_JOBS, REQUIRES_WORK_SELECTION};
use mining_sv2::{OpenExtendedMiningChannel, SetCustomMiningJob, UpdateChannel};
use pool_core::shard::{PoolConfig, Shard};
use roles_logic_sv2::channels::ChannelKind::{self, Extended, Standard};
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::extranonce::ExtranonceLayout;

use crate::common::{HARD, Miner, Pool, config};

const JOB: &str = "NewExtendedMiningJob";

/// What three opens, a template and a tip bring.
fn check_groups(flags: u32, kind: ChannelKind, first: [&str; 3], template: &[&str], tip: &[&str]) {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, flags);
    for id in [2, 3, 4] {
        assert_eq!(miner.open(&mut pool, kind, "alice"), Ok(id));
        let expected = first.map(|text| text.replace('#', &id.to_string()));
        assert_eq!(miner.sent(), expected);
    }
    pool.new_template();
    miner.work_came(&mut pool);
    assert_eq!(miner.sent(), template);
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    assert_eq!(miner.sent(), tip);
    miner.work_came(&mut pool);
    assert_eq!(miner.sent(), [""; 0], "the same work is not sent twice");
    for id in [2, 3, 4] {
        miner.mine(&mut pool, id);
        assert_eq!(
            miner
                .pool
                .channels()
                .unwrap()
                .channel(id)
                .unwrap()
                .accounting()
                .accepted(),
            1
        );
    }
}

#[test]
fn a_group_is_told_once_and_each_channel_where_it_must_be() {
    let opened = "OpenExtendedMiningChannel.Success";
    check_groups(
        0,
        Extended,
        [opened, &format!("{JOB} # future"), "SetNewPrevHash #"],
        &[&format!("{JOB} 1 now")],
        &[&format!("{JOB} 1 future"), "SetNewPrevHash 1"],
    );
    let opened = "OpenStandardMiningChannel.Success";
    let first = [opened, "NewMiningJob # future", "SetNewPrevHash #"];
    check_groups(
        0,
        Standard,
        first,
        &[&format!("{JOB} 1 now")],
        &[&format!("{JOB} 1 future"), "SetNewPrevHash 1"],
    );
    check_groups(
        REQUIRES_STANDARD_JOBS,
        Standard,
        first,
        &[
            "NewMiningJob 2 now",
            "NewMiningJob 3 now",
            "NewMiningJob 4 now",
        ],
        &[
            "NewMiningJob 2 future",
            "SetNewPrevHash 2",
            "NewMiningJob 3 future",
            "SetNewPrevHash 3",
            "NewMiningJob 4 future",
            "SetNewPrevHash 4",
        ],
    );
}

#[test]
fn a_later_job_starts_at_the_time_that_the_provider_named() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Extended, "alice").unwrap();
    pool.now = pool.now.after(std::time::Duration::from_secs(40));
    pool.new_template();
    miner.work_came(&mut pool);
    assert_eq!(miner.work(channel).min_ntime(), crate::common::START_SECS);
}

#[test]
fn who_makes_its_own_jobs_gets_none_and_custom_jobs_are_refused() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, REQUIRES_WORK_SELECTION);
    let channel_id = miner.open(&mut pool, Extended, "alice").unwrap();
    pool.new_tip(HARD);
    miner.work_came(&mut pool);
    assert_eq!(miner.sent(), ["OpenExtendedMiningChannel.Success"]);
    let job = SetCustomMiningJob {
        channel_id,
        request_id: 9,
        mining_job_token: vec![1].try_into().unwrap(),
        version: 0x2000_0000,
        prev_hash: [1; 32].into(),
        min_ntime: 0,
        nbits: HARD,
        coinbase_tx_version: 2,
        coinbase_prefix: vec![1, 1].try_into().unwrap(),
        coinbase_tx_input_n_sequence: 0,
        coinbase_tx_outputs: vec![0].try_into().unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: vec![].try_into().unwrap(),
    };
    miner.send(&mut pool, &job);
    assert_eq!(miner.sent(), ["SetCustomMiningJob.Error jd-not-supported"]);
    let refused = miner.open(&mut pool, Standard, "alice").unwrap_err();
    assert!(refused.starts_with("OpenMiningChannel.Error "), "{refused}");
}

#[test]
fn an_open_that_cannot_be_granted_is_refused_and_takes_nothing() {
    let sound = OpenExtendedMiningChannel {
        request_id: 1,
        user_identity: "alice".try_into().unwrap(),
        nominal_hash_rate: 1e6,
        max_target: [0xff; 32].into(),
        min_extranonce_size: 16,
    };
    let cases = [
        (
            REQUIRES_STANDARD_JOBS,
            sound.clone(),
            "extended-channels-not-supported-for-standard-jobs",
        ),
        (
            0,
            OpenExtendedMiningChannel {
                min_extranonce_size: 17,
                ..sound.clone()
            },
            "min-extranonce-size-too-large",
        ),
        (
            0,
            OpenExtendedMiningChannel {
                max_target: [0; 32].into(),
                ..sound.clone()
            },
            "max-target-out-of-range",
        ),
        (
            0,
            OpenExtendedMiningChannel {
                nominal_hash_rate: f32::NAN,
                ..sound.clone()
            },
            "invalid-nominal-hashrate",
        ),
        (
            0,
            OpenExtendedMiningChannel {
                nominal_hash_rate: -1.0,
                ..sound
            },
            "invalid-nominal-hashrate",
        ),
    ];
    for (flags, request, expected) in cases {
        let mut pool = Pool::new(config());
        let mut miner = Miner::set_up(&mut pool, flags);
        miner.send(&mut pool, &request);
        assert_eq!(
            miner.sent(),
            [format!("OpenMiningChannel.Error {expected}")]
        );
        assert_eq!(miner.pool.ignored().opens_refused, 1);
        assert_eq!(
            (pool.shard.extranonces.in_use(), pool.shard.payouts_in_use()),
            (0, 1)
        );
    }
}

#[test]
fn limits_of_channels_and_of_the_extranonce_space_are_answered() {
    let few_channels = |config: &mut PoolConfig| {
        let channels = ServerConfig {
            max_channels: 2,
            ..(*config.channels).clone()
        };
        config.channels = Arc::new(channels);
    };
    let few_prefixes = |config: &mut PoolConfig| {
        config.extranonce = ExtranonceLayout {
            max_channels: 2,
            ..config.extranonce
        };
    };
    let limits: [&dyn Fn(&mut PoolConfig); 2] = [&few_channels, &few_prefixes];
    for limit in limits {
        let mut config = config();
        limit(&mut config);
        let mut pool = Pool::new(config);
        let mut miner = Miner::set_up(&mut pool, 0);
        let first = miner.open(&mut pool, Extended, "alice").unwrap();
        assert!(miner.open(&mut pool, Standard, "bob").is_ok());
        let full = Err("OpenMiningChannel.Error channel-capacity-exhausted".to_owned());
        for user in ["carol", crate::common::ADDRESS] {
            assert_eq!(miner.open(&mut pool, Standard, user), full);
            assert_eq!(pool.shard.payouts_in_use(), 1, "{user}");
        }
        let close = miner.channels.close(first, "".try_into().unwrap()).unwrap();
        miner.send(&mut pool, &close);
        pool.new_tip(HARD);
        miner.work_came(&mut pool);
        assert!(
            miner.open(&mut pool, Standard, "carol").is_ok(),
            "there is room again"
        );
    }
}

#[test]
fn updates_are_checked_and_a_harder_target_is_honoured() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel_id = miner.open(&mut pool, Extended, "alice").unwrap();
    miner.sent();
    let sound = UpdateChannel {
        channel_id,
        nominal_hash_rate: 0.0,
        maximum_target: [0xff; 32].into(),
    };
    let cases = [
        (sound, None),
        (
            UpdateChannel {
                channel_id: 99,
                ..sound
            },
            Some("invalid-channel-id"),
        ),
        (
            UpdateChannel {
                maximum_target: [0; 32].into(),
                ..sound
            },
            Some("max-target-out-of-range"),
        ),
        (
            UpdateChannel {
                nominal_hash_rate: f32::INFINITY,
                ..sound
            },
            Some("invalid-nominal-hashrate"),
        ),
    ];
    for (update, error) in cases {
        miner.send(&mut pool, &update);
        let answer = error.map(|code| format!("UpdateChannel.Error {code}"));
        assert_eq!(miner.sent(), Vec::from_iter(answer));
    }
    assert_eq!(miner.pool.ignored().updates_refused, 3);

    // A job under way keeps its target, the next one has the new one.
    let old_work = miner.work(channel_id);
    let old_found = miner.find(&old_work, true);
    let mut target = [0xff; 32];
    target[31] = 0x03;
    miner.send(
        &mut pool,
        &UpdateChannel {
            maximum_target: target.into(),
            ..sound
        },
    );
    let expected = [
        format!("SetTarget {channel_id}"),
        format!("{JOB} {channel_id} now"),
    ];
    assert_eq!(miner.sent(), expected);
    assert!(*miner.work(channel_id).target() < *old_work.target());
    miner.force(&mut pool, &old_work, &old_found);
    let new_work = miner.work(channel_id);
    let missed = miner.find(&new_work, false);
    miner.force(&mut pool, &new_work, &missed);
    assert_eq!(miner.sent(), ["SubmitShares.Error 77 difficulty-too-low"]);
    miner.mine(&mut pool, channel_id);
    let channels = miner.pool.channels().unwrap();
    assert_eq!(
        channels
            .channel(channel_id)
            .unwrap()
            .accounting()
            .accepted(),
        2
    );
}

#[test]
fn closing_a_channel_or_a_group_gives_everything_back() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let ids: Vec<u32> = (0..5)
        .map(|_| miner.open(&mut pool, Extended, "alice").unwrap())
        .collect();
    miner.mine(&mut pool, ids[0]);
    assert_eq!(miner.persisted, []);
    let close = miner
        .channels
        .close(ids[0], "".try_into().unwrap())
        .unwrap();
    miner.send(&mut pool, &close);
    // The last share is of a channel that is gone, and still alice's.
    assert_eq!(miner.persisted, [("alice".to_owned(), 1)]);
    miner.sent();
    let group = mining_sv2::CloseChannel {
        channel_id: 1,
        ..close.clone()
    };
    miner.send(&mut pool, &group);
    miner.send(&mut pool, &group);
    assert_eq!(miner.pool.ignored().closes_of_unknown_channels, 1);
    assert_eq!(miner.pool.channels().unwrap().channels().len(), 0);
    assert_eq!(pool.shard.extranonces.in_use(), 0);
    assert_eq!(miner.sent(), [""; 0]);
}

#[test]
fn prefixes_are_disjoint_on_all_servers_and_cores() {
    let mut seen = BTreeSet::new();
    // A server of two cores beside one of three.
    for (server_id, shards) in [(0, 2), (1, 3)] {
        let config = Arc::new(PoolConfig {
            server_id,
            shards,
            ..config()
        });
        for index in 0..shards {
            let mut shard = Shard::new(config.clone(), index).unwrap();
            for _ in 0..20 {
                let prefix = shard.extranonces.allocate_extended(16).unwrap();
                assert!(
                    seen.insert(prefix.as_bytes().to_vec()),
                    "{server_id} {index}"
                );
            }
        }
        assert!(
            Shard::new(config.clone(), shards).is_err(),
            "there is no such core"
        );
    }
    let config = PoolConfig {
        server_id: 256,
        ..config()
    };
    assert!(
        Shard::new(Arc::new(config), 0).is_err(),
        "one byte has no such server"
    );
}

#[test]
fn a_tag_that_some_template_leaves_no_room_for_is_refused_at_start() {
    let longest = |len| PoolConfig {
        pool_tag: "x".repeat(len),
        ..config()
    };
    assert!(Shard::new(Arc::new(longest(64)), 0).is_ok());
    assert!(Shard::new(Arc::new(longest(65)), 0).is_err());
}

#[test]
fn many_channels_and_many_tips_take_bounded_memory() {
    const CHANNELS: u32 = 1_000;
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    for i in 0..CHANNELS {
        let kind = if i % 2 == 0 { Standard } else { Extended };
        miner
            .open(&mut pool, kind, &format!("user{}", i % 7))
            .unwrap();
    }
    miner.sent();
    for round in 0..200 {
        pool.new_tip(HARD);
        miner.work_came(&mut pool);
        assert_eq!(miner.sent().len(), 2, "one group");
        // One channel comes and goes with each tip, and pays another way.
        let user = format!("sri/donate/{}/{}", 1 + round % 90, crate::common::ADDRESS);
        let id = miner.open(&mut pool, Extended, &user).unwrap();
        let close = miner.channels.close(id, "".try_into().unwrap()).unwrap();
        miner.send(&mut pool, &close);
        miner.sent();
        assert_eq!(pool.shard.payouts_in_use(), 1);
        assert_eq!(pool.shard.extranonces.in_use(), u64::from(CHANNELS));
    }
    let work = pool.shard.work().unwrap();
    assert!(
        work.jobs().count() <= 2,
        "ways to pay that are gone leave the work"
    );
    let active = pool.shard.active().unwrap();
    // The feed, the shard and this look: jobs of past tips do not keep templates.
    assert_eq!(Arc::strong_count(active), 2);
    miner.disconnect(&mut pool);
    assert_eq!(pool.shard.extranonces.in_use(), 0);
}

#[test]
fn work_that_comes_late_reaches_channels_that_wait() {
    let mut pool = Pool::without_work(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Extended, "alice").unwrap();
    assert_eq!(miner.sent(), ["OpenExtendedMiningChannel.Success"]);
    pool.publish();
    miner.work_came(&mut pool);
    assert_eq!(
        miner.sent(),
        [
            format!("{JOB} {channel} future"),
            format!("SetNewPrevHash {channel}")
        ]
    );
    miner.mine(&mut pool, channel);
}
