//! From one upstream to another, and back.

use std::time::Duration;

use bitcoin::ScriptBuf;
use mining_proxy_core::{
    ChannelMode, DEFAULT_KEEP_MINERS, ExpectedPayout, LEAVE_GRACE, Note, ProxyConfig,
};
use mining_sv2::OpenExtendedMiningChannelSuccess;

use crate::common::upstream::{GROUP, Reach, Upstream};
use crate::common::{World, config};

const BOTH: [ChannelMode; 2] = [ChannelMode::Aggregated, ChannelMode::PerMiner];

/// Within so many seconds miners work again, whatever happened to their upstream.
const SECONDS: u64 = 15;

/// Both upstreams are to pay the script that they do pay, unless a test has one pay another.
fn paid(mode: ChannelMode) -> ProxyConfig {
    let mut config = config(mode, 2);
    for upstream in &mut config.upstreams {
        upstream.expected_payout = Some(ExpectedPayout {
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
            min_percent: 95,
        });
    }
    config
}

/// An upstream that is, or becomes, like this is left for the next one: at the start, and in the middle of the work.
/// Nobody is moved back to it as long as it is like this.
fn check(spoil: impl Fn(&mut Upstream), reason: Option<&str>) {
    for mode in BOTH {
        let mut world = World::prepared(paid(mode), |upstreams| spoil(&mut upstreams[0]));
        let early = world.crowd(3);
        world.waits_secs(SECONDS);
        assert_moved(&mut world, &early, mode, reason);

        let mut world = World::new(paid(mode));
        let miners = world.crowd(3);
        world.mine_all();
        assert_eq!(world.upstreams[0].shares.len(), 3);
        spoil(&mut world.upstreams[0]);
        world.cut(0);
        world.waits_secs(SECONDS);
        assert_moved(&mut world, &miners, mode, None);
        world.waits_secs(120);
        assert_moved(&mut world, &miners, mode, reason);
        let uses = uses(&world);
        assert_eq!(uses, [Some(0), None, Some(1)], "{mode:?} {reason:?}");
    }
}

/// Which upstreams were used, one after the other.
fn uses(world: &World) -> Vec<Option<usize>> {
    let used = |note: &Note| match note {
        Note::Uses(indices) => {
            assert!(indices.len() <= 1, "{indices:?}");
            Some(indices.first().copied())
        }
        _ => None,
    };
    world.notes.iter().filter_map(used).collect()
}

fn assert_moved(world: &mut World, miners: &[usize], mode: ChannelMode, reason: Option<&str>) {
    assert_eq!(world.used(), Some(1), "{mode:?} {reason:?}");
    world.upstreams[1].shares.clear();
    miners.iter().for_each(|miner| world.mine(*miner));
    assert_eq!(world.upstreams[1].shares.len(), miners.len());
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    if let Some(reason) = reason {
        let failures = world.failures(0);
        let is_told = failures.iter().any(|failure| failure.contains(reason));
        assert!(is_told, "{mode:?} {reason:?}: {failures:?}");
        let last = world.snapshot().upstreams[0].last_failure.clone();
        assert!(last.is_some_and(|last| failures.contains(&last)));
    }
    world.assert_books_balance();
}

#[test]
fn test_translator_fallback_on_setup_connection_error() {
    check(
        |upstream| upstream.setup = Some(Err("unsupported-feature-flags")),
        Some("unsupported-feature-flags"),
    );
}

#[test]
fn test_translator_fallback_on_open_mining_message_error() {
    check(
        |upstream| upstream.refuses_opens = Some("unknown-user"),
        Some("unknown-user"),
    );
}

#[test]
fn an_upstream_that_cannot_be_connected_to_is_left() {
    check(
        |upstream| upstream.reach = Reach::Refused,
        Some("connection refused"),
    );
}

#[test]
fn an_upstream_whose_address_swallows_everything_is_not_waited_for() {
    check(|upstream| upstream.reach = Reach::Silent, None);
}

#[test]
fn an_upstream_that_accepts_and_says_nothing_is_left() {
    check(|upstream| upstream.setup = None, Some("did not answer"));
    check(|upstream| upstream.is_mute = true, Some("did not answer"));
}

#[test]
fn an_upstream_that_answers_no_request_for_a_channel_is_left() {
    check(
        |upstream| upstream.ignores_opens = true,
        Some("did not answer"),
    );
}

#[test]
fn an_upstream_that_gives_no_work_in_time_is_left() {
    check(
        |upstream| upstream.withholds_work = true,
        Some("no work in time"),
    );
}

#[test]
fn an_upstream_with_too_small_an_extranonce_is_left() {
    check(
        |upstream| upstream.extranonce_size = 3,
        Some("min-extranonce-size-too-large"),
    );
    // One that grants less than was asked for has granted nothing.
    check(
        |upstream| (upstream.extranonce_size, upstream.ignores_sizes) = (3, true),
        Some("extranonce has not the size"),
    );
}

#[test]
fn translator_falls_back_when_payout_does_not_match_user_identity() {
    check(
        |upstream| upstream.pays = 0x52,
        Some("pays 0 of 5000000000"),
    );
}

#[test]
fn translator_mines_when_payout_matches_address_or_donation_identity() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miner = world.miner("alice.rig1");
        world.mine(miner);
        assert_eq!((world.used(), world.failures(0).len()), (Some(0), 0));
        // The script changes in the middle: the next job is not mined.
        world.upstreams[0].pays = 0x52;
        let link = world.link(0);
        world.upstreams[0].new_tip(link);
        world.waits_secs(2);
        assert_moved(&mut world, &[miner], mode, Some("pays 0 of 5000000000"));
    }
}

#[test]
fn test_translator_fallback_during_abrupt_disconnection() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(5);
        world.upstreams[0].verdict = None;
        (0..4).for_each(|_| world.mine_all());
        // Half of them is answered, then the line is dead.
        world.upstreams[0].answers(10, Ok(()));
        world.run();
        world.kill(0);
        let snapshot = world.snapshot();
        assert_eq!(snapshot.upstream.accepted, 10, "{mode:?}");
        assert_eq!(snapshot.upstream.lost, 10, "{mode:?}");
        assert_eq!(snapshot.upstreams[0].lost, 10);
        world.waits_secs(1);
        assert_moved(&mut world, &miners, mode, Some("closed the connection"));
    }
}

#[test]
fn an_upstream_that_falls_silent_while_shares_wait_is_left() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(20);
        world.mine_all();
        world.upstreams[0].is_mute = true;
        (0..2).for_each(|_| world.mine_all());
        // Nothing is done in haste: a busy server may be slow.
        world.waits_secs(9);
        assert_eq!(world.used(), Some(0));
        world.waits_secs(2);
        assert_moved(&mut world, &miners, mode, Some("says nothing"));
        assert_eq!(world.snapshot().upstream.lost, 40);
    }
}

#[test]
fn aggregated_translator_triggers_fallback_on_close_channel_message() {
    for channel_id in [2, GROUP] {
        let mut world = World::new(paid(ChannelMode::Aggregated));
        let miners = world.crowd(3);
        world.mine_all();
        let link = world.link(0);
        world.upstreams[0].close(link, channel_id);
        world.waits_secs(1);
        let reason = Some("closed the channel: going away");
        assert_moved(&mut world, &miners, ChannelMode::Aggregated, reason);
    }
}

#[test]
fn the_primary_is_used_again_when_it_has_proved_itself() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(5);
        world.kill(0);
        world.waits_secs(60);
        assert_eq!(world.used(), Some(1), "{mode:?}");
        world.revive(0);
        world.waits_secs(60);
        assert_eq!(world.used(), Some(0), "{mode:?}");
        world.upstreams[0].shares.clear();
        miners.iter().for_each(|miner| world.mine(*miner));
        assert_eq!(world.upstreams[0].shares.len(), 5);
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
        assert_eq!(world.links(), 1, "the other one is let go of");
        assert_eq!(uses(&world), [Some(0), None, Some(1), Some(0)]);
        world.assert_books_balance();
    }
}

#[test]
fn an_upstream_that_is_wrong_is_looked_at_while_miners_work_elsewhere() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(3);
        world.upstreams[0].pays = 0x52;
        world.cut(0);
        world.waits_secs(2);
        for _ in 0..60 {
            world.waits_secs(10);
            assert_eq!(world.used(), Some(1), "{mode:?}");
            miners.iter().for_each(|miner| world.mine(*miner));
        }
        assert!(world.upstreams[0].connections >= 15, "it is looked at");
        assert!(world.miners.iter().all(|miner| miner.rejected.is_empty()));
        assert!(world.upstreams[0].identities().is_empty());
        world.upstreams[0].pays = 0x51;
        world.waits_secs(60);
        assert_eq!(world.used(), Some(0), "{mode:?}");
        world.mine_all();
        world.assert_books_balance();
    }
}

#[test]
fn shares_of_the_old_upstream_count_there_while_miners_move_back() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        world.upstreams[0].reach = Reach::Refused;
        world.cut(0);
        let miners = world.crowd(3);
        world.waits_secs(2);
        world.mine_all();
        // One share each waits for its answer while the primary comes back.
        world.upstreams[1].verdict = None;
        world.mine_all();
        let old: Vec<_> = world.miners.iter().map(|miner| miner.last_job()).collect();
        let found = world.miners[0].find(&old[0]);
        let credited = found.params(&world.miners[0].user, &old[0]);
        assert!(world.asks(0, "mining.submit", &credited).is_ok());
        world.revive(0);
        while world.used() != Some(0) {
            world.waits(Duration::from_millis(100));
        }
        let (before, lost) = (
            world.upstreams[1].shares.len(),
            world.snapshot().upstream.lost,
        );
        for miner in &miners {
            let jobs = &world.miners[*miner].jobs;
            assert_ne!(
                jobs.last().unwrap().notify().job_id,
                old[*miner].notify().job_id
            );
            let answer = world.late_share(*miner, &old[*miner]);
            assert_eq!(answer.as_deref(), Ok("true"), "{mode:?}");
        }
        assert_eq!(world.upstreams[1].shares.len(), before + 3, "{mode:?}");
        let duplicate = Err((22, "duplicate share".to_owned()));
        assert_eq!(world.asks(0, "mining.submit", &credited), duplicate);
        // All that is answered now is counted, though nobody mines there any more.
        let waiting = world.upstreams[1].unanswered() as u64;
        let accepted = world.snapshot().upstream.accepted;
        world.upstreams[1].answers(usize::MAX, Ok(()));
        world.run();
        assert_eq!(world.snapshot().upstream.accepted, accepted + waiting);
        assert_eq!(world.snapshot().upstream.lost, lost);
        world.assert_books_balance();
        // A new block there ends those jobs, and so does the end of the connection.
        let link = world.last_link(1);
        world.upstreams[1].new_tip(link);
        world.run();
        let stale = Err((21, "the job is stale".to_owned()));
        assert_eq!(world.late_share(0, &old[0]), stale, "{mode:?}");
        // What it closes now is nobody's loss.
        world.upstreams[1].close(link, GROUP);
        world.run();
        world.mine_all();
        assert!(world.miners.iter().all(|miner| miner.rejected.is_empty()));
        world.waits(LEAVE_GRACE);
        assert_eq!(world.links(), 1);
        assert_eq!(world.late_share(1, &old[1]), stale, "{mode:?}");
        let shares = world.upstreams[0].shares.len();
        world.mine_all();
        assert_eq!(world.upstreams[0].shares.len(), shares + 3, "{mode:?}");
        assert_eq!(world.snapshot().upstream.lost, lost);
        world.assert_books_balance();
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    }
}

#[test]
fn a_channel_that_comes_when_its_miner_has_moved_on_is_closed_again() {
    let mut world = World::with(ChannelMode::PerMiner, 2);
    world.waits_secs(40);
    world.kill(0);
    let _ = world.miner("alice.rig1");
    world.waits_secs(1);
    // The second one waits for its channel when the primary comes back.
    world.upstreams[1].ignores_opens = true;
    world.revive(0);
    while world.used() != Some(0) {
        world.waits(Duration::from_millis(10));
        if world.miners.len() == 1 && world.upstreams[0].opens > 0 {
            // Four seconds before: the request must not be overdue.
            world.waits_secs(6);
            let _ = world.miner("alice.rig2");
        }
    }
    world.mine_all();
    assert_eq!(world.upstreams[0].shares.len(), 2);
    let link = world.last_link(1);
    let late = OpenExtendedMiningChannelSuccess {
        request_id: 2,
        channel_id: 77,
        target: [1; 32].into(),
        extranonce_size: 12,
        extranonce_prefix: [9; 4].as_slice().try_into().unwrap(),
        group_channel_id: GROUP,
    };
    world.upstreams[1].mining(link, late);
    world.waits_secs(10);
    assert!(world.upstreams[1].closes.contains(&77));
    world.mine_all();
    assert_eq!(world.upstreams[0].shares.len(), 4);
    assert!(world.miners.iter().all(|miner| miner.rejected.is_empty()));
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
}

#[test]
fn shares_of_an_upstream_that_is_gone_are_refused_and_not_lost() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miner = world.miner("alice.rig1");
        let old = world.miners[miner].last_job();
        world.upstreams[1].reach = Reach::Refused;
        world.kill(0);
        let answer = world.late_share(miner, &old);
        let nobody = Err((20, "no connection to the pool".to_owned()));
        assert_eq!(answer, nobody, "{mode:?}");
        world.revive(1);
        world.waits_secs(3);
        assert_eq!(world.used(), Some(1));
        let stale = Err((21, "the job is stale".to_owned()));
        assert_eq!(world.late_share(miner, &old), stale, "{mode:?}");
        world.mine(miner);
        assert_eq!(world.snapshot().upstream.lost, 0);
        world.assert_books_balance();
    }
}

#[test]
fn two_flapping_upstreams_keep_their_miners() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(4);
        let mut changes = 0;
        let mut used = world.used();
        // Each is up for 20 seconds and down for 5, in turn; half an hour of it.
        for second in 0..1_800 {
            let (round, moment) = (second / 25, second % 25);
            match moment {
                20 => world.kill(round % 2),
                0 => (0..2).for_each(|at| world.revive(at)),
                _ => {}
            }
            world.waits_secs(1);
            if moment != 20 {
                assert!(world.used().is_some(), "{mode:?} second {second}");
            }
            changes += u32::from(world.used() != used);
            used = world.used();
            world.mine_all();
            world.assert_books_balance();
            assert!(world.links() <= 4, "{} connections", world.links());
        }
        assert!(changes <= 72, "{mode:?}: {changes} changes");
        for miner in miners {
            assert!(world.miners[miner].is_undisturbed());
            let shares = world.miners[miner].accepted;
            assert!(shares > 1_600, "{mode:?}: {shares}");
        }
    }
}

#[test]
fn miners_are_kept_while_all_upstreams_are_down_and_then_sent_away() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(3);
        world.mine_all();
        (0..2).for_each(|at| world.kill(at));
        let patience = DEFAULT_KEEP_MINERS.as_secs();
        world.waits_secs(patience - 5);
        assert_eq!(world.used(), None);
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
        // One comes now: it is heard, and waits.
        let late = world.raw_miner();
        let subscription = world.requests(late, "mining.subscribe", r#""cpuminer/2.5.1""#);
        assert_eq!(world.answer_to(late, subscription), None);
        world.waits_secs(10);
        for miner in miners {
            assert!(world.miners[miner].was_told("client.reconnect"), "{mode:?}");
            assert!(world.miners[miner].closed.is_some());
        }
        assert!(world.notes.contains(&Note::SendsAway(3)));
        assert_eq!(world.miners[late].closed, None, "{mode:?}");
        world.revive(1);
        world.waits_secs(3);
        assert_eq!(world.used(), Some(1));
        assert!(
            world
                .answer_to(late, subscription)
                .is_some_and(|answer| answer.is_ok())
        );
        // Those that were sent away come back.
        let miner = world.miner("alice.rig0");
        world.mine(miner);
        assert_eq!(world.miners[miner].accepted, 1, "{mode:?}");
        world.assert_books_balance();
    }
}

#[test]
fn upstreams_that_are_back_in_time_find_all_their_miners() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(3);
        (0..2).for_each(|at| world.kill(at));
        world.waits_secs(DEFAULT_KEEP_MINERS.as_secs() - 10);
        world.revive(0);
        world.waits_secs(5);
        assert_eq!(world.used(), Some(0));
        world.waits_secs(600);
        world.mine_all();
        for miner in miners {
            assert!(world.miners[miner].is_undisturbed());
            assert_eq!(world.miners[miner].accepted, 1, "{mode:?}");
        }
    }
}

#[test]
fn an_upstream_that_can_be_used_and_gives_no_work_does_not_hold_miners_for_ever() {
    // It is there, takes the connection, and opens nothing: to miners that is as bad as nobody.
    let mut config = paid(ChannelMode::PerMiner);
    config.upstreams.truncate(1);
    let mut world = World::new(config);
    let miner = world.miner("alice.rig1");
    world.upstreams[0].ignores_opens = true;
    world.cut(0);
    world.waits_secs(DEFAULT_KEEP_MINERS.as_secs() + 10);
    assert!(world.miners[miner].was_told("client.reconnect"));
}

#[test]
fn an_upstream_killed_ten_times_in_a_row_under_load_loses_no_miner_and_no_share() {
    for mode in BOTH {
        let mut world = World::new(paid(mode));
        let miners = world.crowd(40);
        for upstream in &mut world.upstreams {
            upstream.verdict = None;
        }
        let mut handed_in = 0;
        for round in 0..10 {
            for step in 0..6 {
                world.mine_all();
                handed_in += miners.len() as u64;
                world.upstreams.iter_mut().for_each(|upstream| {
                    let verdict = if step == 3 {
                        Err("stale-share")
                    } else {
                        Ok(())
                    };
                    upstream.answers(30, verdict);
                });
                world.waits(Duration::from_millis(200));
                world.assert_books_balance();
            }
            let used = world.used().expect("an upstream");
            world.kill(used);
            world.assert_books_balance();
            // Shares that are found meanwhile are refused, each with a reason.
            world.mine_all();
            handed_in += miners.len() as u64;
            world.revive(1 - used);
            world.waits_secs(3);
            assert!(world.used().is_some(), "{mode:?} round {round}");
            world.assert_books_balance();
        }
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
        let snapshot = world.snapshot();
        let refused: u64 = snapshot.rejected.values().sum();
        assert_eq!(snapshot.accepted + refused, handed_in, "{mode:?}");
        let told: usize = world.miners.iter().map(|miner| miner.rejected.len()).sum();
        assert_eq!(told as u64, refused);
        let counts = snapshot.upstream;
        let waiting: usize = world.upstreams.iter().map(Upstream::unanswered).sum();
        assert_eq!(
            counts.accepted + counts.rejected + counts.lost + counts.below_target + waiting as u64,
            snapshot.accepted
        );
        assert!(counts.accepted >= 1_500, "{counts:?}");
        world.mine_all();
    }
}

#[test]
fn tproxy_sends_per_upstream_user_identity() {
    let mut world = World::with(ChannelMode::Aggregated, 2);
    let _ = world.miner("alice.rig1");
    assert_eq!(world.upstreams[0].identities(), ["farm-a"]);
    let mut world = World::with(ChannelMode::PerMiner, 2);
    let _ = world.miner("alice.rig1");
    assert_eq!(world.upstreams[0].identities(), ["farm-a.rig1"]);
}

#[test]
fn tproxy_per_upstream_user_identity_switches_on_fallback() {
    for (mode, first, second) in [
        (ChannelMode::Aggregated, ["farm-a"; 2], ["farm-b"; 2]),
        (
            ChannelMode::PerMiner,
            ["farm-a.rig0", "farm-a.rig1"],
            ["farm-b.rig0", "farm-b.rig1"],
        ),
    ] {
        let mut world = World::with(mode, 2);
        let _ = world.crowd(2);
        let count = world.upstreams[0].identities().len();
        assert_eq!(world.upstreams[0].identities(), first[..count]);
        world.kill(0);
        world.waits_secs(1);
        assert_eq!(world.upstreams[1].identities(), second[..count], "{mode:?}");
        world.revive(0);
        world.waits_secs(30);
        assert_eq!(world.used(), Some(0));
        assert_eq!(world.upstreams[0].identities(), first[..count], "{mode:?}");
        assert!(world.upstreams[1].identities().is_empty());
    }
}

#[test]
fn without_an_identity_of_the_operators_miners_go_by_their_own_names() {
    let mut config = config(ChannelMode::PerMiner, 2);
    config.upstreams[1].user_identity = None;
    let mut world = World::new(config);
    let _ = world.miner("alice.rig1");
    assert_eq!(world.upstreams[0].identities(), ["farm-a.rig1"]);
    world.kill(0);
    world.waits_secs(1);
    assert_eq!(world.upstreams[1].identities(), ["alice.rig1"]);
}

#[test]
fn a_thousand_miners_with_channels_of_their_own_are_moved_in_turns() {
    let mut world = World::with(ChannelMode::PerMiner, 2);
    let miners = world.crowd(1_500);
    world.kill(0);
    world.waits_secs(1);
    assert_eq!(world.upstreams[1].channels.len(), 1_500);
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    for miner in [0, 700, 1_499] {
        world.mine(miners[miner]);
        assert_eq!(world.miners[miner].accepted, 1);
    }
    // A server that goes away channel by channel, all with one message.
    let link = world.link(1);
    world.upstreams[1].close(link, GROUP);
    world.waits_secs(1);
    assert_eq!(world.upstreams[1].opens, 3_000);
    world.mine(miners[1_499]);
    assert_eq!(world.miners[1_499].accepted, 2);
}
