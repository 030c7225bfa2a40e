//! What upstreams may say, and what they should not.

use std::time::Duration;

use binary_sv2::{Encodable, Message};
use common_messages_sv2::{ChannelEndpointChanged, CommonMessage, Reconnect};
use mining_proxy_core::{ChannelMode, LEAVE_GRACE, LinkId, Note};
use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, SetExtranoncePrefix,
    SetTarget, SubmitSharesError, SubmitSharesSuccess, UpdateChannelError,
};
use roles_logic_sv2::target::Target;

use crate::common::upstream::{GROUP, Reach, Upstream};
use crate::common::{START_SECS, World, config};

const BOTH: [ChannelMode; 2] = [ChannelMode::Aggregated, ChannelMode::PerMiner];

const ELSEWHERE: &str = "c.example:4444";

/// A world at work, whose upstream asks to be connected to anew.
fn asked_to_move(mode: ChannelMode, host: &str, port: u16, reach: Reach) -> World {
    let mut world = World::with(mode, 2);
    let _ = world.crowd(3);
    world.mine_all();
    world.places.insert(ELSEWHERE.to_owned(), reach);
    let link = world.link(0);
    world.upstreams[0].reconnect(link, host, port);
    world.run();
    world
}

fn assert_works(world: &mut World, mode: ChannelMode) {
    let shares = world.upstreams[0].shares.len();
    let miners = world.miners.len();
    world.mine_all();
    assert_eq!(world.upstreams[0].shares.len(), shares + miners, "{mode:?}");
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    assert!(world.miners.iter().all(|miner| miner.rejected.is_empty()));
    world.assert_books_balance();
}

#[test]
fn miners_move_without_a_gap_where_an_upstream_sends_them() {
    for mode in BOTH {
        for (host, port, place) in [
            ("c.example", 4444, ELSEWHERE),
            ("", 0, "a.example:3333"),
            ("c.example", 0, "c.example:3333"),
            ("", 4444, "a.example:4444"),
        ] {
            let mut world = asked_to_move(mode, host, port, Reach::Up);
            assert_eq!(world.connects.last().map(|place| &**place), Some(place));
            assert_eq!(world.used(), Some(0), "{mode:?} {place}");
            // The old connection stays for the answers to its last shares.
            assert_eq!(world.links(), 2);
            assert_works(&mut world, mode);
            let link = world.last_link(0);
            let (on, _) = world.upstreams[0].shares.last().unwrap();
            assert_eq!(*on, link, "{mode:?} {place}: on the new one");
            world.waits(LEAVE_GRACE);
            assert_eq!(world.links(), 1);
            assert_works(&mut world, mode);
            let reconnects = Note::Reconnects { upstream: 0 };
            assert!(world.notes.contains(&reconnects));
            assert!(world.failures(0).is_empty(), "nothing has failed");
        }
    }
}

#[test]
fn shares_of_the_old_connection_count_while_miners_move() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let old = world.miners[miner].last_job();
        world.upstreams[0].verdict = None;
        world.mine(miner);
        let link = world.link(0);
        world.upstreams[0].reconnect(link, "", 0);
        world.run();
        assert_eq!(world.late_share(miner, &old).as_deref(), Ok("true"));
        assert_eq!(world.upstreams[0].shares.last().unwrap().0, link);
        world.upstreams[0].answers(2, Ok(()));
        world.run();
        let counts = world.snapshot().upstream;
        assert_eq!((counts.accepted, counts.lost), (2, 0), "{mode:?}");
        world.assert_books_balance();
    }
}

#[test]
fn a_second_reconnect_meanwhile_changes_nothing() {
    for mode in BOTH {
        let mut world = asked_to_move(mode, "c.example", 4444, Reach::Silent);
        let link = world.link_to(0, "a.example:3333");
        world.upstreams[0].reconnect(link, "b.example", 5555);
        world.run();
        assert_eq!(world.connects.last().map(|place| &**place), Some(ELSEWHERE));
        assert_eq!(world.links(), 2);
        assert_eq!(world.snapshot().upstreams[0].ignored, 1);
        assert_works(&mut world, mode);
    }
}

#[test]
fn the_connection_goes_on_when_nobody_is_where_the_upstream_sends_us() {
    for mode in BOTH {
        let mut world = asked_to_move(mode, "c.example", 4444, Reach::Refused);
        assert_eq!(world.failures(0), ["connection refused"], "{mode:?}");
        assert_eq!((world.used(), world.links()), (Some(0), 1));
        assert_works(&mut world, mode);
        world.waits_secs(600);
        assert_eq!((world.used(), world.links()), (Some(0), 1));
        assert_works(&mut world, mode);
        // A later wish is heard again.
        world.places.clear();
        let link = world.link(0);
        world.upstreams[0].reconnect(link, "c.example", 4444);
        world.waits_secs(10);
        assert_ne!(world.link(0), link);
        assert_works(&mut world, mode);
    }
}

#[test]
fn a_place_that_takes_the_connection_and_is_of_no_use_changes_nothing() {
    for mode in BOTH {
        for spoil in [
            (|upstream| upstream.setup = Some(Err("unsupported-protocol"))) as fn(&mut Upstream),
            |upstream| upstream.setup = None,
            |upstream| upstream.refuses_opens = Some("unknown-user"),
            |upstream| upstream.ignores_opens = true,
            |upstream| upstream.withholds_work = true,
            |upstream| upstream.extranonce_size = 3,
        ] {
            let mut world = World::with(mode, 2);
            let _ = world.crowd(3);
            world.mine_all();
            spoil(&mut world.upstreams[0]);
            let link = world.link(0);
            world.upstreams[0].reconnect(link, "c.example", 4444);
            for _ in 0..20 {
                world.waits_secs(1);
                assert_eq!(world.used(), Some(0));
                assert_works(&mut world, mode);
            }
            assert_eq!(world.link(0), link, "{mode:?}: the old one goes on");
            assert_eq!(world.failures(0).len(), 1);
        }
    }
}

#[test]
fn the_old_connection_may_die_before_the_new_one_is_ready() {
    for mode in BOTH {
        for upstreams in [1, 2] {
            let mut world = World::with(mode, upstreams);
            let _ = world.crowd(3);
            world.places.insert(ELSEWHERE.to_owned(), Reach::Silent);
            let old = world.link(0);
            world.upstreams[0].reconnect(old, "c.example", 4444);
            world.run();
            let new = world.last_link(0);
            assert_ne!(new, old);
            world.cut_link(old);
            // The new one comes up just now.
            world.connects_at_last(new);
            world.waits_secs(60);
            assert_eq!(world.used(), Some(0), "{mode:?} {upstreams}");
            assert_eq!(
                world.link(0),
                new,
                "{mode:?} {upstreams}: it is not forgotten"
            );
            assert_eq!(world.links(), 1);
            world.upstreams[0].shares.clear();
            world.mine_all();
            assert_eq!(world.upstreams[0].shares.len(), 3);
            assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
            world.assert_books_balance();
        }
    }
}

#[test]
fn a_connection_under_way_is_let_go_of_when_a_better_upstream_is_used() {
    for mode in BOTH {
        let mut world = World::with(mode, 2);
        let _ = world.crowd(2);
        world.kill(0);
        world.waits_secs(2);
        assert_eq!(world.used(), Some(1));
        world.places.insert(ELSEWHERE.to_owned(), Reach::Silent);
        let link = world.link(1);
        world.upstreams[1].reconnect(link, "c.example", 4444);
        world.run();
        assert_eq!(world.links(), 2);
        world.revive(0);
        world.waits_secs(60);
        assert_eq!((world.used(), world.links()), (Some(0), 1), "{mode:?}");
        // The same when its predecessor had died before.
        world.kill(0);
        world.waits_secs(2);
        let link = world.link(1);
        world.upstreams[1].reconnect(link, "c.example", 4444);
        world.run();
        let new = world.last_link(1);
        world.revive(0);
        world.upstreams[1].reach = Reach::Refused;
        world.cut_link(link);
        world.connects_at_last(new);
        world.waits_secs(60);
        assert_eq!((world.used(), world.links()), (Some(0), 1), "{mode:?}");
    }
}

#[test]
fn a_place_may_name_another_one_in_turn() {
    for mode in BOTH {
        let mut world = asked_to_move(mode, "c.example", 4444, Reach::Silent);
        let new = world.last_link(0);
        // As soon as it takes the connection it names the next.
        world.upstreams[0].ignores_opens = true;
        world.connects_at_last(new);
        world.upstreams[0].ignores_opens = false;
        world.upstreams[0].reconnect(new, "d.example", 0);
        world.waits(LEAVE_GRACE);
        assert_eq!(
            world.connects.last().map(|place| &**place),
            Some("d.example:4444")
        );
        assert_eq!((world.used(), world.links()), (Some(0), 1), "{mode:?}");
        assert_works(&mut world, mode);
    }
}

#[test]
fn two_places_that_name_each_other_do_not_keep_us_busy() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let _ = world.crowd(2);
        for _ in 0..100 {
            let link = world.last_link(0);
            world.upstreams[0].reconnect(link, "c.example", 4444);
            world.waits(Duration::from_millis(100));
        }
        assert!(world.connects.len() <= 4, "{:?}", world.connects);
        assert!(world.snapshot().upstreams[0].ignored >= 90);
        assert_works(&mut world, mode);
    }
}

#[test]
fn an_upstream_that_sends_us_away_before_it_is_ready_is_followed() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].ignores_opens = true;
        });
        let old = world.link(0);
        let early = world.miner("alice.rig1");
        world.upstreams[0].ignores_opens = false;
        world.upstreams[0].reconnect(old, "c.example", 4444);
        world.waits(LEAVE_GRACE);
        assert_eq!((world.used(), world.links()), (Some(0), 1), "{mode:?}");
        assert_ne!(world.link(0), old);
        world.mine(early);
        assert_eq!(world.miners[early].accepted, 1, "{mode:?}");
    }
}

#[test]
fn extensions_are_asked_for_again_when_the_endpoint_has_changed() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let requests = world.upstreams[0].extension_requests;
        let link = world.link(0);
        let channel_id = world.upstreams[0].channels[0].id;
        let changed = ChannelEndpointChanged { channel_id };
        world.upstreams[0].say(link, CommonMessage::from(changed));
        world.run();
        assert_eq!(world.upstreams[0].extension_requests, requests + 1);
        assert_eq!(world.snapshot().upstreams[0].endpoints_changed, 1);
        let (upstream, count) = (0, 1);
        let note = Note::EndpointChanged { upstream, count };
        assert!(world.notes.contains(&note), "{mode:?}");
        world.mine(miner);
        let workers = &world.upstreams[0].workers;
        assert_eq!(
            workers.last(),
            Some(&Some("alice.rig1".to_owned())),
            "{mode:?}"
        );
        assert_works(&mut world, mode);
    }
}

#[test]
fn another_prefix_keeps_the_jobs_that_were_sent() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let old = world.miners[miner].last_job();
        let link = world.link(0);
        world.upstreams[0].set_prefix(link, 2, [0xab; 4]);
        world.upstreams[0].new_job(link);
        world.waits_secs(6);
        let new = world.miners[miner].last_job();
        assert_ne!(old.notify().job_id, new.notify().job_id);
        world.mine_on(miner, &new);
        world.mine_on(miner, &old);
        assert_eq!(world.miners[miner].accepted, 2, "{mode:?}");
        let jobs: Vec<_> = world.upstreams[0]
            .shares
            .iter()
            .map(|(_, share)| share.job_id)
            .collect();
        assert_eq!(jobs, [2, 1]);
        assert_works(&mut world, mode);
    }
}

#[test]
fn a_target_counts_from_the_next_job_on_for_shares_in_flight_too() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let easy = world.miners[miner].last_job();
        let link = world.link(0);
        let hard = Target::from_difficulty(2f64.powi(-28)).unwrap();
        world.upstreams[0].set_target(link, GROUP, hard.to_le_bytes());
        world.run();
        assert_eq!(
            world.miners[miner].last_job(),
            easy,
            "no word to the miner before a job"
        );
        world.upstreams[0].new_job(link);
        world.waits_secs(6);
        let next = world.miners[miner].last_job();
        assert!(next.difficulty() >= easy.difficulty());
        for _ in 0..20 {
            world.mine_on(miner, &easy);
        }
        assert_eq!(
            world.upstreams[0].shares.len(),
            20,
            "{mode:?}: as they were asked for"
        );
        for _ in 0..40 {
            world.mine_on(miner, &next);
        }
        // What reaches the upstream meets its target; the rest is kept and counted.
        let counts = world.snapshot().upstream;
        assert_eq!(counts.passed_on + counts.below_target, 60);
        assert_eq!(world.upstreams[0].shares.len() as u64, counts.passed_on);
        world.assert_books_balance();
    }
}

#[test]
fn a_group_may_be_changed_while_channels_work() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    let link = world.link(0);
    world.upstreams[0].set_group(link, 77, &[2]);
    let job = world.upstreams[0].future_job(link, 77);
    world.upstreams[0].next_block();
    world.upstreams[0].activate(link, 77, job);
    world.run();
    world.mine(miner);
    assert_eq!(world.upstreams[0].shares[0].1.job_id, job);
    // The former group is no longer ours, and a group cannot be called as a channel is.
    let ignored = world.snapshot().upstreams[0].ignored;
    world.upstreams[0].new_tip(link);
    world.upstreams[0].set_group(link, 2, &[2]);
    world.run();
    assert_eq!(world.snapshot().upstreams[0].ignored, ignored + 3);
    assert_works(&mut world, ChannelMode::Aggregated);
}

#[test]
fn an_update_that_is_refused_is_counted_and_changes_nothing() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let _ = world.crowd(2);
        world.waits_secs(2);
        let link = world.link(0);
        let channel_id = world.upstreams[0].channels[0].id;
        let refusal = |channel_id| UpdateChannelError {
            channel_id,
            error_code: "invalid-nominal-hashrate".try_into().unwrap(),
        };
        world.upstreams[0].mining(link, refusal(channel_id));
        world.run();
        let upstream = &world.snapshot().upstreams[0];
        assert_eq!((upstream.updates_refused, upstream.ignored), (1, 0));
        assert_works(&mut world, mode);
        // The next change is told all the same.
        let updates = world.upstreams[0].updates.len();
        let _ = world.crowd(2);
        world.waits_secs(120);
        if mode == ChannelMode::Aggregated {
            assert!(world.upstreams[0].updates.len() > updates);
        }
    }
}

#[test]
fn a_frame_that_is_no_message_ends_the_connection_and_is_said() {
    for mode in BOTH {
        for (msg_type, payload) in [
            (NewExtendedMiningJob::KIND.msg_type, &[1, 2, 3][..]),
            (OpenExtendedMiningChannelSuccess::KIND.msg_type, &[0xff; 64]),
            (SetTarget::KIND.msg_type, &[]),
        ] {
            let mut world = World::with(mode, 2);
            let _ = world.crowd(2);
            world.mine_all();
            let link = world.link(0);
            world.upstream_sends(link, 0x8000, msg_type, payload);
            world.waits_secs(1);
            assert_eq!(world.used(), Some(1), "{mode:?} {msg_type}");
            let failures = world.failures(0);
            assert!(
                failures[0].contains("frame that cannot be taken"),
                "{failures:?}"
            );
            world.mine_all();
            assert_eq!(world.upstreams[1].shares.len(), 2);
            world.assert_books_balance();
        }
    }
}

#[test]
fn a_message_that_has_no_place_there_ends_the_connection() {
    let mut world = World::prepared(config(ChannelMode::Aggregated, 1), |upstreams| {
        upstreams[0].setup = None;
    });
    let link = world.link(0);
    let reconnect = Reconnect {
        new_host: "evil.example".try_into().unwrap(),
        new_port: 1,
    };
    world.upstreams[0].say(link, CommonMessage::from(reconnect));
    world.run();
    assert_eq!(world.failures(0), ["Reconnect is out of order"]);
    assert_eq!(world.connects, ["a.example:3333"]);
}

#[test]
fn frames_of_unknown_kinds_are_counted_and_nothing_else() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let _ = world.crowd(2);
        let link = world.link(0);
        world.upstream_sends(link, 0x4001, 0x77, &[1, 2, 3]);
        world.upstream_sends(link, 0x0000, 0x3f, &[]);
        assert_eq!(world.snapshot().upstreams[0].ignored, 2, "{mode:?}");
        assert_works(&mut world, mode);
        // What was counted stays when the connection is gone.
        world.cut(0);
        world.waits_secs(5);
        assert_eq!(world.snapshot().upstreams[0].ignored, 2);
    }
}

#[test]
fn an_extension_that_we_do_not_know_cannot_be_required_of_us() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 2), |upstreams| {
            upstreams[0].requires = Some(0x4001);
        });
        let _ = world.crowd(2);
        world.waits_secs(1);
        assert_eq!(world.used(), Some(1));
        let failures = world.failures(0);
        assert!(failures[0].contains("0x4001"), "{mode:?} {failures:?}");
        world.mine_all();
        assert_eq!(world.upstreams[1].shares.len(), 2);
    }
}

#[test]
fn a_share_that_is_answered_twice_counts_once() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        world.upstreams[0].verdict = None;
        let link = world.link(0);
        world.mine(miner);
        world.mine(miner);
        world.upstreams[0].acknowledges(link, 2, 2, 2);
        world.upstreams[0].rejects(link, 2, 2, "stale-share");
        world.run();
        let snapshot = world.snapshot();
        let counts = snapshot.upstream;
        assert_eq!((counts.accepted, counts.rejected), (2, 0), "{mode:?}");
        assert_eq!(snapshot.upstreams[0].ignored, 1);
        let is_rejection = |note: &Note| matches!(note, Note::Rejected { .. });
        assert!(!world.notes.iter().any(is_rejection));
        assert_eq!(world.used(), Some(0));
    }
}

/// One that says what no server in its right mind says is left for another; miners notice nothing.
#[test]
fn an_upstream_that_breaks_its_word_is_left_with_a_counted_reason() {
    type Lie = fn(&mut Upstream, LinkId);
    let lies: [(&str, Lie); 5] = [
        ("unknown-channel", |upstream, link| {
            upstream.job(link, 4_711, 50, Some(START_SECS));
        }),
        ("unsent-share", |upstream, link| {
            upstream.mining(
                link,
                SubmitSharesSuccess {
                    channel_id: 2,
                    last_sequence_number: 1_000,
                    new_submits_accepted_count: 1,
                    new_shares_sum: 1,
                },
            );
        }),
        ("unsent-share", |upstream, link| {
            upstream.mining(
                link,
                SubmitSharesError {
                    channel_id: 2,
                    sequence_number: 1_000,
                    error_code: "stale-share".try_into().unwrap(),
                },
            );
        }),
        ("extranonce-size", |upstream, link| {
            upstream.mining(
                link,
                SetExtranoncePrefix {
                    channel_id: 2,
                    extranonce_prefix: [7; 8].as_slice().try_into().unwrap(),
                },
            );
        }),
        ("target-too-easy", |upstream, link| {
            upstream.set_target(link, 2, [0xff; 32]);
        }),
    ];
    for mode in BOTH {
        for (label, lie) in lies {
            if mode == ChannelMode::Aggregated && label == "target-too-easy" {
                // Anything is taken there.
                continue;
            }
            let mut world = World::with(mode, 2);
            let miners = world.crowd(3);
            world.mine_all();
            let link = world.link(0);
            lie(&mut world.upstreams[0], link);
            world.waits_secs(1);
            assert_eq!(world.used(), Some(1), "{mode:?} {label}");
            let left = &world.snapshot().upstreams[0];
            assert_eq!(left.broken_words.get(label), Some(&1), "{left:?}");
            world.mine_all();
            assert_eq!(world.upstreams[1].shares.len(), miners.len());
            assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
            if label != "unsent-share" {
                world.assert_books_balance();
            }
        }
    }
}

#[test]
fn jobs_that_cannot_be_mined_change_nothing() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let link = world.link(0);
        let job = world.miners[miner].last_job();
        // Parts that are no coinbase with so many bytes in the middle.
        let broken = NewExtendedMiningJob {
            channel_id: 2,
            job_id: 51,
            min_ntime: Some(START_SECS),
            version: 0x2000_0000,
            version_rolling_allowed: true,
            merkle_path: Vec::new().try_into().unwrap(),
            coinbase_tx_prefix: vec![1, 2, 3].try_into().unwrap(),
            coinbase_tx_suffix: Vec::new().try_into().unwrap(),
        };
        world.upstreams[0].mining(link, broken);
        world.waits_secs(10);
        assert_eq!(world.miners[miner].last_job(), job, "{mode:?}");
        assert_eq!(world.snapshot().upstreams[0].ignored, 1);
        assert_works(&mut world, mode);
    }
}

#[test]
fn a_tip_without_a_job_ends_the_work_that_there_was() {
    for mode in BOTH {
        let mut world = World::with(mode, 2);
        let miner = world.miner("alice.rig1");
        world.mine(miner);
        let link = world.link(0);
        world.upstreams[0].next_block();
        world.upstreams[0].activate(link, GROUP, 4_711);
        world.waits_secs(5);
        assert_eq!(world.used(), Some(0), "{mode:?}: it may come yet");
        world.upstreams[0].new_tip(link);
        world.waits_secs(60);
        world.mine(miner);
        assert_eq!(
            (world.used(), world.upstreams[0].shares.len()),
            (Some(0), 2)
        );
        world.upstreams[0].next_block();
        world.upstreams[0].activate(link, GROUP, 4_711);
        world.waits_secs(12);
        assert_eq!(world.failures(0), ["the upstream gave no work in time"]);
        // It was good for long, so it gets another chance at once.
        assert_eq!(
            (world.used(), world.upstreams[0].connections),
            (Some(0), 2),
            "{mode:?}"
        );
        world.mine(miner);
        world.assert_books_balance();
    }
}

#[test]
fn one_channel_without_work_among_others_is_given_up_alone() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let good = world.miner("alice.rig1");
    world.upstreams[0].withholds_work = true;
    let bad = world.miner("alice.rig2");
    world.waits_secs(12);
    assert!(world.miners[bad].closed.is_some());
    assert_eq!(world.upstreams[0].closes, [3]);
    assert_eq!((world.used(), world.failures(0).len()), (Some(0), 0));
    world.mine(good);
    assert!(world.miners[good].is_undisturbed());
}

#[test]
fn a_channel_that_shrinks_is_followed_where_the_miner_can() {
    // The same upstream, after a restart, grants less: miners get another extranonce or come again.
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let follows = world.miner_with(sv1_api::client::ClientConfig::new(
            "t.example",
            "alice.rig1",
        ));
        let stays = world.raw_worker("cpuminer/2.5.1", "alice.rig2");
        world.upstreams[0].extranonce_size = 8;
        world.cut(0);
        world.waits_secs(3);
        assert!(
            world.miners[follows].was_told("mining.set_extranonce"),
            "{mode:?}"
        );
        assert!(world.miners[follows].closed.is_none());
        assert!(world.miners[stays].was_told("client.reconnect"), "{mode:?}");
        world.mine(follows);
        assert_eq!(world.miners[follows].accepted, 1, "{mode:?}");
        let share = &world.upstreams[0].shares.last().unwrap().1;
        assert_eq!(share.extranonce.len(), 8);
        let again = world.raw_worker("cpuminer/2.5.1", "alice.rig2");
        assert!(world.miners[again].is_undisturbed());
    }
}

#[test]
fn an_upstream_that_grants_less_than_before_in_answer_to_a_wish_is_asked_for_less() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let _ = world.crowd(1);
        world.upstreams[0].extranonce_size = 4;
        world.cut(0);
        world.waits_secs(3);
        let miner = world.miner("alice.rig9");
        let asked: Vec<_> = world.upstreams[0]
            .channels
            .iter()
            .map(|channel| channel.min_extranonce_size)
            .collect();
        assert!(asked.iter().all(|size| *size == 4), "{mode:?} {asked:?}");
        world.mine(miner);
        assert_eq!(world.miners[miner].accepted, 1, "{mode:?}");
    }
}

#[test]
fn a_connection_that_is_let_go_of_says_goodbye() {
    for mode in BOTH {
        let mut world = World::with(mode, 2);
        let _ = world.crowd(2);
        world.kill(0);
        world.waits_secs(1);
        world.revive(0);
        world.waits_secs(60);
        assert_eq!(world.used(), Some(0));
        let channels = if mode == ChannelMode::Aggregated {
            1
        } else {
            2
        };
        assert_eq!(world.upstreams[1].closes.len(), channels, "{mode:?}");
    }
}

#[test]
fn a_message_to_a_group_of_thousands_reaches_each_channel() {
    // More than any queue between the two would hold.
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let miners: Vec<_> = (0..4_200)
        .map(|i| world.raw_worker("x", &format!("a.{i}")))
        .collect();
    let link = world.link(0);
    let jobs = |world: &World, miner: usize| {
        let lines = world.miners[miner].lines.iter();
        lines
            .filter(|line| line.contains("mining.notify\",\"params"))
            .count()
    };
    let before: Vec<_> = miners.iter().map(|miner| jobs(&world, *miner)).collect();
    world.upstreams[0].new_tip(link);
    world.run();
    for (miner, before) in miners.iter().zip(before) {
        assert_eq!(jobs(&world, *miner), before + 1, "miner {miner}");
    }
}

#[test]
fn bytes_of_every_message_cut_short_never_panic() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let _ = world.crowd(1);
    let messages: [MiningMessage<'static>; 3] = [
        SetTarget {
            channel_id: 2,
            maximum_target: [0xff; 32].into(),
        }
        .into(),
        SubmitSharesSuccess {
            channel_id: 2,
            last_sequence_number: 1,
            new_submits_accepted_count: 1,
            new_shares_sum: 1,
        }
        .into(),
        UpdateChannelError {
            channel_id: 2,
            error_code: "x".try_into().unwrap(),
        }
        .into(),
    ];
    for message in messages {
        let payload = message.to_vec();
        for end in 0..payload.len() {
            world.waits_secs(3);
            let link = world.last_link(0);
            let msg_type = message.kind().msg_type;
            world.upstream_sends(link, 0x8000, msg_type, &payload[..end]);
        }
    }
    world.waits_secs(5);
    assert_eq!(world.used(), Some(0));
}
