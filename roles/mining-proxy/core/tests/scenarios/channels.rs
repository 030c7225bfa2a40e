//! Channels, jobs and shares with one upstream that is well.

use mining_proxy_core::{ChannelMode, Note};
use roles_logic_sv2::target::Target;

use crate::common::upstream::GROUP;
use crate::common::{World, config};

const BOTH: [ChannelMode; 2] = [ChannelMode::Aggregated, ChannelMode::PerMiner];

#[test]
fn translate_sv1_to_sv2_successfully() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        for _ in 0..5 {
            world.mine(miner);
        }
        assert_eq!(world.miners[miner].accepted, 5, "{mode:?}");
        let upstream = world.snapshot().upstream;
        assert_eq!((upstream.passed_on, upstream.accepted), (5, 5), "{mode:?}");
        let [(_, share), ..] = &world.upstreams[0].shares[..] else {
            panic!()
        };
        assert_eq!(share.extranonce.len(), 12);
        world.assert_books_balance();
    }
}

#[test]
fn tproxy_sends_single_open_extended_mining_channel_in_aggregated_mode() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    assert_eq!(world.upstreams[0].opens, 1);
    assert_eq!(
        world.upstreams[0].channels[0].nominal_hash_rate, 0.0,
        "no miners yet (MP-4)"
    );
    let miners: Vec<_> = (0..5)
        .map(|i| world.miner(&format!("alice.rig{i}")))
        .collect();
    assert_eq!(world.upstreams[0].opens, 1);
    miners.iter().for_each(|miner| world.mine(*miner));
    let mut extranonces: Vec<_> = world.upstreams[0]
        .shares
        .iter()
        .map(|(_, share)| share.extranonce.as_bytes().to_vec())
        .collect();
    extranonces.sort();
    extranonces.dedup();
    assert_eq!(extranonces.len(), 5, "miners search apart");
}

#[test]
fn a_channel_per_miner_has_the_miners_name() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    assert_eq!(
        world.upstreams[0].opens, 0,
        "no channel before there is a miner"
    );
    let first = world.miner("alice.rig1");
    let second = world.miner("alice.rig2");
    assert_eq!(
        world.upstreams[0].identities(),
        ["farm-a.rig1", "farm-a.rig2"]
    );
    world.mine(second);
    world.mine(first);
    let channels: Vec<_> = world.upstreams[0]
        .shares
        .iter()
        .map(|(_, share)| share.channel_id)
        .collect();
    assert_eq!(channels, [3, 2]);
    assert_eq!(
        world.miners.iter().map(|miner| miner.accepted).sum::<u64>(),
        2
    );
}

#[test]
fn aggregated_translator_does_not_send_update_channel_before_channel_opens() {
    let mut config = config(ChannelMode::Aggregated, 1);
    config.answer_timeout = std::time::Duration::from_secs(60);
    let mut world = World::new(config);
    world.upstreams[0].ignores_opens = true;
    world.cut(0);
    world.waits_secs(5);
    let _ = world.miner("alice.rig1");
    world.waits_secs(30);
    assert!(world.upstreams[0].updates.is_empty());
}

#[test]
fn the_upstream_is_told_of_hash_rate_that_comes_and_goes() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    for i in 0..10 {
        let _ = world.miner(&format!("alice.rig{i}"));
    }
    world.waits_secs(2);
    let told: Vec<_> = world.upstreams[0]
        .updates
        .iter()
        .map(|update| update.nominal_hash_rate)
        .collect();
    assert!(told.len() <= 2, "at most one a second (MP-6): {told:?}");
    assert_eq!(told.last(), Some(&10.0));
    for miner in 0..10 {
        world.leaves(miner);
    }
    world.waits_secs(2);
    let last = world.upstreams[0].updates.last().unwrap();
    assert_eq!(last.nominal_hash_rate, 0.0);
    // Nothing changes: nothing is said.
    let count = world.upstreams[0].updates.len();
    world.waits_secs(600);
    assert_eq!(world.upstreams[0].updates.len(), count);
}

#[test]
fn a_miner_that_leaves_closes_its_channel() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let miner = world.miner("alice.rig1");
    world.leaves(miner);
    assert_eq!(world.upstreams[0].closes, [2]);
    // One that leaves while its channel is being opened leaves none behind.
    world.upstreams[0].ignores_opens = true;
    let miner = world.miner("alice.rig2");
    world.leaves(miner);
    let link = world.link(0);
    world.upstreams[0].say(
        link,
        mining_sv2::MiningMessage::from(mining_sv2::OpenExtendedMiningChannelSuccess {
            request_id: 2,
            channel_id: 9,
            target: [1; 32].into(),
            extranonce_size: 12,
            extranonce_prefix: [9; 4].as_slice().try_into().unwrap(),
            group_channel_id: GROUP,
        }),
    );
    world.run();
    assert_eq!(world.upstreams[0].closes, [2, 9]);
}

#[test]
fn an_upstream_that_wants_hash_rate_first_is_not_asked_again_for_a_miner_that_says_nothing() {
    let mut world = World::prepared(config(ChannelMode::Aggregated, 1), |upstreams| {
        upstreams[0].refuses_opens = Some("no-hash-rate");
    });
    world.raw_miner();
    world.cut(0);
    world.waits_secs(5);
    let opens = world.upstreams[0].opens;
    assert!(opens <= 2, "{opens}");
}

#[test]
fn translator_correctly_deals_with_group_channels() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miners: Vec<_> = (0..3)
            .map(|i| world.miner(&format!("alice.rig{i}")))
            .collect();
        let link = world.link(0);
        let before: Vec<_> = miners
            .iter()
            .map(|miner| world.miners[*miner].jobs.len())
            .collect();
        world.upstreams[0].new_tip(link);
        world.run();
        for (miner, before) in miners.iter().zip(before) {
            let jobs = &world.miners[*miner].jobs;
            assert_eq!(jobs.len(), before + 1, "{mode:?}: one job each");
            assert!(jobs.last().unwrap().notify().clean_jobs);
        }
        world.upstreams[0].shares.clear();
        miners.iter().for_each(|miner| world.mine(*miner));
        let mut channels: Vec<_> = world.upstreams[0]
            .shares
            .iter()
            .map(|(_, share)| share.channel_id)
            .collect();
        channels.sort_unstable();
        let expected: &[u32] = match mode {
            ChannelMode::Aggregated => &[2, 2, 2],
            ChannelMode::PerMiner => &[2, 3, 4],
        };
        assert_eq!(channels, expected);
        assert!(world.miners.iter().all(|miner| miner.accepted == 1));
    }
}

#[test]
fn non_aggregated_translator_handles_set_group_channel_message() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let first = world.miner("alice.rig1");
    let second = world.miner("alice.rig2");
    let link = world.link(0);
    world.upstreams[0].set_group(link, 77, &[2]);
    world.run();
    let before = [first, second].map(|miner| world.miners[miner].jobs.len());
    let job = world.upstreams[0].future_job(link, 77);
    world.upstreams[0].next_block();
    world.upstreams[0].activate(link, 77, job);
    world.run();
    assert_eq!(world.miners[first].jobs.len(), before[0] + 1);
    assert_eq!(
        world.miners[second].jobs.len(),
        before[1],
        "not of that group"
    );
    world.mine(first);
    assert_eq!(world.upstreams[0].shares.last().unwrap().1.job_id, job);
}

#[test]
fn non_aggregated_translator_correctly_deals_with_close_channel_message() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let miners: Vec<_> = (0..3)
        .map(|i| world.miner(&format!("alice.rig{i}")))
        .collect();
    let link = world.link(0);
    world.upstreams[0].close(link, 3);
    world.run();
    // The others notice nothing, and this one gets another channel.
    assert_eq!(world.upstreams[0].opens, 4);
    miners.iter().for_each(|miner| world.mine(*miner));
    assert!(
        world
            .miners
            .iter()
            .all(|miner| miner.accepted == 1 && miner.closed.is_none())
    );
    world.upstreams[0].close(link, GROUP);
    world.waits_secs(20);
    assert_eq!(world.used(), Some(0));
    // Closed again so soon, that one is asked to come again; all others go on.
    assert_eq!(
        world
            .miners
            .iter()
            .filter(|miner| miner.closed.is_some())
            .count(),
        1
    );
    for miner in [0, 2] {
        world.mine(miner);
        assert_eq!(world.miners[miner].accepted, 2);
    }
    world.assert_books_balance();
}

#[test]
fn translator_does_not_shutdown_on_missing_downstream_channel() {
    // What is said of a channel that was closed a moment before crossed with that on its way.
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let miner = world.miner("alice.rig1");
    let gone = world.miner("alice.rig2");
    let channel_id = world.upstreams[0].channels[1].id;
    world.leaves(gone);
    let link = world.link(0);
    world.upstreams[0].job(link, channel_id, 1, None);
    world.upstreams[0].activate(link, channel_id, 1);
    world.upstreams[0].set_target(link, channel_id, [1; 32]);
    world.upstreams[0].close(link, channel_id);
    world.run();
    world.mine(miner);
    assert_eq!((world.used(), world.miners[miner].accepted), (Some(0), 1));
    assert_eq!(world.snapshot().upstreams[0].ignored, 4);
}

#[test]
fn aggregated_translator_handles_downstream_connecting_during_future_job() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let link = world.link(0);
    let future = world.upstreams[0].future_job(link, GROUP);
    let miner = world.miner("alice.rig1");
    world.mine(miner);
    assert_eq!(world.miners[miner].accepted, 1, "on the job that is active");
    world.upstreams[0].next_block();
    world.upstreams[0].activate(link, GROUP, future);
    world.run();
    world.mine(miner);
    assert_eq!(world.upstreams[0].shares.last().unwrap().1.job_id, future);
}

#[test]
fn test_translator_keepalive_job_sent_and_share_received_by_pool() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let first = world.miners[miner].last_job();
        world.waits_secs(61);
        let copy = world.miners[miner].last_job();
        assert_ne!(first.notify().job_id, copy.notify().job_id);
        world.mine_on(miner, &copy);
        world.mine_on(miner, &first);
        let jobs: Vec<_> = world.upstreams[0]
            .shares
            .iter()
            .map(|(_, share)| share.job_id)
            .collect();
        assert_eq!(jobs, [1, 1], "{mode:?}: both are the upstream's one job");
    }
}

#[test]
fn another_prefix_of_the_upstream_needs_no_word_to_the_miner() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let link = world.link(0);
        world.upstreams[0].set_prefix(link, 2, [0xab; 4]);
        world.upstreams[0].new_tip(link);
        world.run();
        world.mine(miner);
        assert_eq!(world.miners[miner].accepted, 1);
        let job = world.miners[miner].last_job();
        let prefix = &job.notify().coinbase_prefix;
        assert!(prefix.ends_with(&[0xab; 4]), "{mode:?}");
        assert!(!world.miners[miner].was_told("set_extranonce"));
    }
}

#[test]
fn a_target_of_the_upstream_counts_for_later_jobs() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    let link = world.link(0);
    let impossible = Target::from_difficulty(1e9).unwrap();
    world.upstreams[0].set_target(link, 2, impossible.to_le_bytes());
    world.run();
    world.mine(miner);
    assert_eq!(
        world.upstreams[0].shares.len(),
        1,
        "the job is an older one"
    );
    world.upstreams[0].new_tip(link);
    world.run();
    world.mine(miner);
    let upstream = world.snapshot().upstream;
    assert_eq!((upstream.passed_on, upstream.below_target), (1, 1));
    assert_eq!(world.miners[miner].accepted, 2);
    world.assert_books_balance();
}

#[test]
fn the_upstreams_verdict_is_counted_for_each_miner_and_told_at_once() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let good = world.miner("alice.rig1");
        let bad = world.miner("alice.rig2");
        world.mine(good);
        world.upstreams[0].verdict = Some(Err("difficulty-too-low"));
        (0..5).for_each(|_| world.mine(bad));
        let told: Vec<_> = world
            .notes
            .iter()
            .filter_map(|note| match note {
                Note::Rejected {
                    user, code, count, ..
                } => Some((&**user, &**code, *count)),
                _ => None,
            })
            .collect();
        let code = "difficulty-too-low";
        assert_eq!(
            told,
            [
                ("alice.rig2", code, 1),
                ("alice.rig2", code, 2),
                ("alice.rig2", code, 4)
            ]
        );
        let snapshot = world.snapshot();
        assert_eq!(snapshot.miners[good].upstream.accepted, 1);
        assert_eq!(snapshot.miners[bad].upstream.rejected, 5);
        assert_eq!(snapshot.miners[bad].upstream_rejected[code], 5);
        assert_eq!(snapshot.upstreams[0].rejected[code], 5);
        assert_eq!(
            world.miners[bad].accepted, 5,
            "they met the miner's difficulty"
        );
        world.assert_books_balance();
    }
}

#[test]
fn shares_acknowledged_together_are_each_their_miners() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miners: Vec<_> = (0..3)
        .map(|i| world.miner(&format!("alice.rig{i}")))
        .collect();
    world.upstreams[0].verdict = None;
    for miner in [0, 1, 1, 2, 1] {
        world.mine(miners[miner]);
    }
    world.assert_books_balance();
    let link = world.link(0);
    let ack = |last_sequence_number, new_submits_accepted_count| mining_sv2::SubmitSharesSuccess {
        channel_id: 2,
        last_sequence_number,
        new_submits_accepted_count,
        new_shares_sum: 1,
    };
    world.upstreams[0].say(link, mining_sv2::MiningMessage::from(ack(4, 4)));
    world.run();
    let accepted = |world: &World| {
        let miners = world.snapshot().miners;
        miners
            .iter()
            .map(|miner| miner.upstream.accepted)
            .collect::<Vec<_>>()
    };
    assert_eq!(accepted(&world), [1, 2, 1]);
    world.upstreams[0].say(link, mining_sv2::MiningMessage::from(ack(5, 1)));
    world.run();
    assert_eq!(accepted(&world), [1, 3, 1]);
    // An acknowledgement of what was never sent changes nothing.
    world.upstreams[0].say(link, mining_sv2::MiningMessage::from(ack(1_000, 995)));
    world.run();
    assert_eq!(accepted(&world), [1, 3, 1]);
}

#[test]
fn workers_are_named_where_the_upstream_wants_to_know() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        world.mine(miner);
        let long = format!("alice.{}", "x".repeat(40));
        let other = format!("{long}y");
        let long_named = world.miner(&long);
        let other_named = world.miner(&other);
        world.mine(long_named);
        world.mine(other_named);
        let workers: Vec<_> = world.upstreams[0].workers.iter().flatten().collect();
        assert_eq!(workers[0], "alice.rig1");
        assert_ne!(workers[1], workers[2], "{mode:?}: cut names stay distinct");
        assert!(workers.iter().all(|worker| worker.len() <= 32));
    }
    // Without the extension the connection is ready after a second, and shares go without names.
    let mut world = World::with(ChannelMode::Aggregated, 1);
    world.upstreams[0].knows_extensions = false;
    world.cut(0);
    world.waits(std::time::Duration::from_millis(1_400));
    assert_eq!(world.used(), None);
    world.waits(std::time::Duration::from_millis(200));
    assert_eq!(world.used(), Some(0));
    let miner = world.miner("alice.rig1");
    world.mine(miner);
    assert_eq!(world.upstreams[0].workers, [None]);
}

#[test]
fn a_refreshed_job_is_spread_and_paced_and_a_new_tip_is_not() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miners: Vec<_> = (0..20)
        .map(|i| world.miner(&format!("alice.rig{i}")))
        .collect();
    world.waits_secs(10);
    let link = world.link(0);
    let counts = |world: &World| {
        miners
            .iter()
            .map(|miner| world.miners[*miner].jobs.len())
            .sum::<usize>()
    };
    let before = counts(&world);
    world.upstreams[0].new_job(link);
    world.run();
    let at_once = counts(&world) - before;
    assert!((1..=2).contains(&at_once), "{at_once}");
    world.waits(std::time::Duration::from_millis(500));
    let half = counts(&world) - before;
    assert!((9..=12).contains(&half), "{half}");
    world.waits_secs(1);
    assert_eq!(counts(&world) - before, 20);
    // Another one so soon waits, and the third takes its place.
    world.upstreams[0].new_job(link);
    world.run();
    let newest = world.upstreams[0].new_job(link);
    world.waits_secs(2);
    assert_eq!(counts(&world) - before, 20);
    world.waits_secs(5);
    assert_eq!(counts(&world) - before, 40);
    world.mine(3);
    assert_eq!(world.upstreams[0].shares.last().unwrap().1.job_id, newest);
    // A new tip goes out at once, whatever else is on its way.
    world.upstreams[0].new_job(link);
    world.upstreams[0].new_tip(link);
    world.run();
    assert_eq!(counts(&world) - before, 60);
}

#[test]
fn a_channel_with_little_room_serves_miners_all_the_same() {
    for mode in BOTH {
        for (size, shown) in [
            (32 - 4, 12),
            (12, 12),
            (11, 11),
            (10, 10),
            (9, 9),
            (8, 8),
            (4, 4),
        ] {
            let mut world = World::with(mode, 1);
            world.upstreams[0].extranonce_size = size;
            world.cut(0);
            world.waits_secs(2);
            let miner = world.miner("alice.rig1");
            if world.miners[miner].closed.is_some()
                || world.miners[miner].was_told("client.reconnect")
            {
                // In per-miner mode the first miner's channel teaches the size; it comes again.
                world.waits_secs(1);
            }
            let miner = world.miner("alice.rig2");
            world.mine(miner);
            assert_eq!(world.miners[miner].accepted, 1, "{mode:?} {size}");
            let share = &world.upstreams[0].shares[0].1;
            assert_eq!(share.extranonce.len(), usize::from(size));
            let extranonce2_size = world.miners[miner].last_job().extranonce2_size();
            assert!(
                extranonce2_size + 2 <= shown && extranonce2_size <= 8,
                "{extranonce2_size}"
            );
        }
    }
}

#[test]
fn an_upstream_that_wants_hash_rate_first_gets_its_channel_with_the_first_miner() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    world.upstreams[0].refuses_opens = Some("invalid-nominal-hashrate");
    world.cut(0);
    world.waits_secs(3);
    assert_eq!(world.used(), Some(0), "it is of use");
    world.upstreams[0].refuses_opens = None;
    let miner = world.miner("alice.rig1");
    assert!(world.upstreams[0].channels[0].nominal_hash_rate > 0.0);
    world.mine(miner);
    assert_eq!(world.miners[miner].accepted, 1);
    // It was without an upstream for a moment, and has forgotten that.
    world.waits_secs(300);
    world.mine(miner);
    assert!(world.miners[miner].is_undisturbed());
}

#[test]
fn a_miner_that_takes_no_less_is_not_credited_less() {
    for mode in BOTH {
        for refuses_limits in [false, true] {
            let mut world = World::prepared(config(mode, 1), |upstreams| {
                upstreams[0].refuses_limits = refuses_limits;
            });
            let _ = world.miner("alice.rig1");
            let miner = world.raw_miner();
            let agent = r#""cpuminer/2.5.1""#;
            world.asks(miner, "mining.subscribe", agent).unwrap();
            let name = r#""alice.rig2","md=16""#;
            world.asks(miner, "mining.authorize", name).unwrap();
            world.waits_secs(3);
            // The channel's target was easier: it is asked to be harder.
            let target = Target::from_difficulty(16.0).unwrap().to_le_bytes();
            let channel_id = world.upstreams[0].channels.last().unwrap().id;
            let last = world.upstreams[0].updates.last().unwrap();
            assert_eq!(last.channel_id, channel_id, "{mode:?}");
            assert_eq!(last.maximum_target.0, target, "{mode:?}");
            assert!(last.nominal_hash_rate > 0.0);
            // Told once is enough, and as long as it is so it is said.
            let link = world.link(0);
            world.upstreams[0].set_target(link, channel_id, target);
            world.upstreams[0].new_tip(link);
            let updates = world.upstreams[0].updates.len();
            world.waits_secs(600);
            assert_eq!(world.upstreams[0].updates.len(), updates, "{mode:?}");
            assert_eq!(world.used(), Some(0));
            world.leaves(miner);
            world.waits_secs(3);
            if mode == ChannelMode::Aggregated {
                let last = world.upstreams[0].updates.last().unwrap();
                assert_ne!(last.maximum_target.0, target);
            }
        }
    }
}

#[test]
fn what_a_kind_of_miner_needs_is_asked_for_with_its_channel() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let miner = world.raw_worker("nicehash/1.0", "alice.rig1");
    let target = Target::from_difficulty(524_288.0).unwrap().to_le_bytes();
    assert_eq!(world.upstreams[0].channels[0].max_target, target);
    // Where that is refused there is a channel all the same.
    world.upstreams[0].refuses_limits = true;
    let other = world.raw_worker("nicehash/1.0", "alice.rig2");
    assert_eq!(world.upstreams[0].channels[1].max_target, [0xff; 32]);
    world.waits_secs(3);
    let last = world.upstreams[0].updates.last().unwrap();
    assert_eq!((last.channel_id, last.maximum_target.0), (3, target));
    assert!(world.miners[miner].has_job() && world.miners[other].has_job());
}
