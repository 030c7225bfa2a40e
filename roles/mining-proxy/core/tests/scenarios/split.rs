//! Several upstreams at a time, and other configurations while miners mine.

use std::time::Duration;

use mining_proxy_core::{ChannelMode, LEAVE_GRACE, Note, PARK_TIME, ProxyConfig, UpstreamConfig};
use roles_logic_sv2::target::ShareTarget;
use sv1_api::client::ClientJob;

use crate::common::{World, config};

use ChannelMode::{Aggregated, PerMiner};

const BOTH: [ChannelMode; 2] = [Aggregated, PerMiner];

/// An upstream that fails or comes back is noticed and everything in order within so many seconds.
const SECONDS: u64 = 25;

/// Upstreams of one priority, with these weights.
fn divided(mode: ChannelMode, weights: &[u32]) -> ProxyConfig {
    let mut config = config(mode, weights.len());
    for (upstream, weight) in config.upstreams.iter_mut().zip(weights) {
        (upstream.priority, upstream.weight) = (0, *weight);
    }
    config
}

/// Miners that find shares as fast as their hash rate has it, without luck.
struct Farm {
    world: World,
    /// Hashes a second, and hashes since the last share.
    miners: Vec<(f64, f64)>,
    /// Hashes that shares of each upstream stand for.
    worked: Vec<f64>,
}

impl Farm {
    fn new(config: ProxyConfig, hashrates: &[f64]) -> Self {
        let upstreams = config.upstreams.len();
        let mut world = World::new(config);
        world.waits_secs(SECONDS);
        world.crowd(hashrates.len());
        let miners = hashrates.iter().enumerate();
        Self {
            world,
            // Not all find their first share at once.
            miners: miners
                .map(|(i, rate)| (*rate, rate * (i % 5) as f64))
                .collect(),
            worked: vec![0.0; upstreams],
        }
    }

    fn equal(config: ProxyConfig, count: usize) -> Self {
        Self::new(config, &vec![1.0; count])
    }

    fn mines(&mut self, secs: u64) {
        for _ in 0..secs {
            self.world.waits_secs(1);
            for miner in 0..self.miners.len() {
                self.mines_a_second(miner);
            }
        }
    }

    fn mines_a_second(&mut self, miner: usize) {
        let job = self.world.miners[miner].last_job();
        let share = ShareTarget::new(*job.target());
        let hashes = share.difficulty().expected_hashes();
        let (rate, done) = &mut self.miners[miner];
        *done += *rate;
        while self.miners[miner].1 >= hashes {
            self.miners[miner].1 -= hashes;
            let before = self.shares();
            self.world.mine(miner);
            self.worked.resize(self.world.upstreams.len(), 0.0);
            for (at, (before, after)) in before.into_iter().zip(self.shares()).enumerate() {
                self.worked[at] += hashes * (after - before) as f64;
            }
        }
    }

    /// Shares that each upstream has.
    fn shares(&self) -> Vec<usize> {
        let upstreams = self.world.upstreams.iter();
        upstreams.map(|upstream| upstream.shares.len()).collect()
    }

    /// What part of the work each upstream got since this was last asked.
    fn parts(&mut self) -> Vec<f64> {
        let sum: f64 = self.worked.iter().sum();
        let parts = self.worked.iter().map(|worked| worked / sum).collect();
        self.worked.fill(0.0);
        parts
    }

    /// Nobody was ever without work, disturbed, or told of a share that it does not count.
    fn assert_content(&self) {
        for miner in &self.world.miners {
            assert!(miner.is_undisturbed(), "{}", miner.user);
            assert!(miner.rejected.is_empty(), "{:?}", miner.rejected);
        }
        let snapshot = self.world.snapshot();
        assert_eq!(snapshot.upstream.lost, 0, "{:?}", snapshot.upstream);
        assert_eq!(snapshot.upstream.rejected, 0);
        self.world.assert_books_balance();
    }
}

fn assert_near(parts: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let near = parts.iter().zip(expected);
    let is_near = near
        .clone()
        .all(|(part, wanted)| (part - wanted).abs() <= tolerance);
    assert!(is_near, "{what}: {parts:?}, not {expected:?}");
}

#[test]
fn work_is_divided_by_weight_within_a_minute_and_stays_divided() {
    for mode in BOTH {
        let mut farm = Farm::equal(divided(mode, &[70, 30]), 20);
        farm.mines(60);
        farm.parts();
        for minute in 0..10 {
            farm.mines(60);
            let parts = farm.parts();
            assert_near(
                &parts,
                &[0.7, 0.3],
                0.02,
                &format!("{mode:?}, minute {minute}"),
            );
        }
        assert_eq!(farm.world.division(), [14, 6], "{mode:?}");
        farm.assert_content();
    }
}

#[test]
fn what_does_not_come_out_even_goes_to_and_fro() {
    for mode in BOTH {
        for rates in [&[1.0][..], &[1.0, 4.0, 2.0], &[3.0; 3]] {
            let mut farm = Farm::new(divided(mode, &[70, 30]), rates);
            // Their hash rates are not known yet.
            farm.mines(300);
            farm.parts();
            farm.mines(1_200);
            assert_near(
                &farm.parts(),
                &[0.7, 0.3],
                0.02,
                &format!("{mode:?} {rates:?}"),
            );
            farm.assert_content();
        }
    }
}

#[test]
fn when_one_of_two_fails_all_work_for_the_other_until_it_is_back() {
    for mode in BOTH {
        let mut farm = Farm::equal(divided(mode, &[1, 1]), 20);
        farm.mines(60);
        assert_eq!(farm.world.division(), [10, 10]);
        farm.world.kill(0);
        farm.mines(3);
        assert_eq!(
            (farm.world.all_used(), farm.world.division()),
            (vec![1], vec![0, 20])
        );
        farm.parts();
        farm.mines(60);
        assert_eq!(farm.parts(), [0.0, 1.0], "{mode:?}");
        farm.world.revive(0);
        // The pauses between attempts have grown meanwhile.
        farm.mines(60);
        assert_eq!(farm.world.division(), [10, 10], "{mode:?}");
        farm.parts();
        farm.mines(120);
        assert_near(&farm.parts(), &[0.5, 0.5], 0.02, "again");
        assert!(farm.world.miners.iter().all(|miner| miner.is_undisturbed()));
        farm.world.assert_books_balance();
    }
}

#[test]
fn one_that_is_drained_is_left_without_a_moment_of_idleness() {
    for mode in BOTH {
        let mut config = divided(mode, &[70, 30]);
        let mut farm = Farm::equal(config.clone(), 20);
        farm.mines(60);
        // Shares are on their way when it begins.
        farm.world.upstreams[0].verdict = None;
        farm.mines(8);
        assert!(farm.world.upstreams[0].unanswered() > 0);
        config.upstreams[0].is_drained = true;
        farm.world.reconfigure(config.clone());
        assert_eq!(farm.world.division(), [0, 20], "{mode:?}");
        assert!(farm.world.snapshot().upstreams[0].is_drained);
        farm.mines(2);
        farm.world.upstreams[0].answers(usize::MAX, Ok(()));
        farm.world.upstreams[0].verdict = Some(Ok(()));
        farm.world.waits(LEAVE_GRACE);
        farm.assert_content();
        assert_eq!(farm.world.links_of(0), []);
        farm.parts();
        farm.mines(60);
        assert_eq!(farm.parts(), [0.0, 1.0], "{mode:?}");
        // And back.
        config.upstreams[0].is_drained = false;
        farm.world.reconfigure(config);
        farm.mines(60);
        assert_eq!(farm.world.division(), [14, 6], "{mode:?}");
        farm.assert_content();
    }
}

#[test]
fn a_drained_one_is_kept_for_miners_whose_channels_elsewhere_are_not_open_yet() {
    let mut config = config(PerMiner, 2);
    config.answer_timeout = Duration::from_secs(60);
    let mut farm = Farm::equal(config.clone(), 10);
    farm.mines(10);
    farm.world.upstreams[1].holds_opens = true;
    config.upstreams[0].is_drained = true;
    farm.world.reconfigure(config);
    // One channel is opened on trial, then one for each.
    farm.world.upstreams[1].answers_opens(1);
    farm.mines(20);
    assert_eq!(farm.world.division(), [0, 10]);
    // They mine on where they were until it is their turn.
    for moved in 1..=5 {
        assert_eq!(farm.world.links_of(0).len(), 1);
        farm.world.upstreams[1].answers_opens(2);
        farm.mines(4);
        farm.assert_content();
        assert_eq!(farm.world.upstreams[1].channels.len(), 2 * moved);
    }
    farm.mines(3);
    assert_eq!(farm.world.links_of(0), []);
    farm.assert_content();
}

#[test]
fn the_only_one_is_not_left_when_it_is_drained() {
    for mode in BOTH {
        let mut config = config(mode, 2);
        let mut farm = Farm::equal(config.clone(), 3);
        farm.world.kill(1);
        config.upstreams[0].is_drained = true;
        farm.world.reconfigure(config);
        farm.mines(30);
        assert_eq!(farm.world.division(), [3, 0]);
        farm.world.revive(1);
        farm.mines(SECONDS);
        assert_eq!(farm.world.division(), [0, 3]);
        farm.assert_content();
    }
}

#[test]
fn one_upstream_has_one_channel_for_all_and_the_other_a_channel_each() {
    for modes in [[Aggregated, PerMiner], [PerMiner, Aggregated]] {
        let mut config = divided(Aggregated, &[1, 1]);
        (config.upstreams[0].mode, config.upstreams[1].mode) = (modes[0], modes[1]);
        let mut farm = Farm::equal(config, 8);
        farm.mines(120);
        let each = farm.world.division();
        assert_eq!(each, [4, 4], "{modes:?}");
        let channels = |farm: &Farm, at: usize| farm.world.upstreams[at].channels.len();
        let expected = modes.map(|mode| if mode == PerMiner { 4 } else { 1 });
        assert_eq!([channels(&farm, 0), channels(&farm, 1)], expected);
        farm.parts();
        farm.mines(120);
        assert_near(&farm.parts(), &[0.5, 0.5], 0.02, "mixed");
        for at in [0, 1] {
            farm.world.kill(at);
            farm.mines(SECONDS);
            assert_eq!(farm.world.division()[1 - at], 8, "{modes:?}");
            farm.world.revive(at);
            farm.mines(90);
            assert_eq!(farm.world.division(), [4, 4], "{modes:?}");
        }
        assert!(farm.world.miners.iter().all(|miner| miner.is_undisturbed()));
        farm.world.assert_books_balance();
    }
}

#[test]
fn a_name_waits_for_a_channel_only_where_its_miner_has_one_of_its_own() {
    let mut config = config(Aggregated, 2);
    config.upstreams[1].mode = PerMiner;
    let mut world = World::prepared(config, |upstreams| {
        upstreams[0].reach = crate::common::upstream::Reach::Refused;
        upstreams[1].refuses_user = Some("rig1");
    });
    world.miner("alice.rig0");
    let refused = world.raw_miner();
    world.asks(refused, "mining.subscribe", "").unwrap();
    let answer = world.asks(refused, "mining.authorize", "\"alice.rig1\",\"x\"");
    assert!(answer.is_err());
    world.revive(0);
    world.waits_secs(40);
    assert_eq!(world.used(), Some(0));
    let answer = world.asks(refused, "mining.authorize", "\"alice.rig1\",\"x\"");
    assert_eq!(answer.as_deref(), Ok("true"));
}

#[test]
fn a_miner_that_one_upstream_refuses_works_for_another() {
    let mut world = World::prepared(divided(PerMiner, &[1, 1]), |upstreams| {
        upstreams[0].refuses_user = Some("rig3");
        upstreams[1].refuses_user = Some("rig4");
    });
    world.waits_secs(SECONDS);
    world.crowd(8);
    for _ in 0..60 {
        world.waits_secs(5);
        world.mine_all();
    }
    let users = |at: usize| world.upstreams[at].identities().join(" ");
    assert!(users(1).contains("rig3") && users(0).contains("rig4"));
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    assert!(world.miners.iter().all(|miner| miner.rejected.is_empty()));
    world.assert_books_balance();
}

#[test]
fn a_miner_comes_back_to_the_channel_that_it_left() {
    let mut config = divided(PerMiner, &[1, 1]);
    let mut farm = Farm::equal(config.clone(), 4);
    farm.mines(60);
    let opens = |farm: &Farm| [0, 1].map(|at| farm.world.upstreams[at].opens);
    let before = opens(&farm);
    let weigh = |farm: &mut Farm, config: &mut ProxyConfig, weights: [u32; 2]| {
        for (upstream, weight) in config.upstreams.iter_mut().zip(weights) {
            upstream.weight = weight;
        }
        farm.world.reconfigure(config.clone());
        farm.mines(3);
    };
    weigh(&mut farm, &mut config, [100, 1]);
    assert_eq!(farm.world.division(), [4, 0]);
    // What it left is open still, and it goes on there.
    assert_eq!(farm.world.upstreams[1].channels.len(), 2);
    weigh(&mut farm, &mut config, [1, 100]);
    assert_eq!(farm.world.division(), [0, 4]);
    let after = opens(&farm);
    assert_eq!(after[1], before[1] + 2, "for those only that had none");
    weigh(&mut farm, &mut config, [1, 1]);
    farm.mines(20);
    assert_eq!(
        [0, 1].map(|at| farm.world.upstreams[at].channels.len()),
        [2, 2]
    );
    farm.assert_content();
}

#[test]
fn a_channel_that_is_opened_after_its_miner_has_turned_back_is_closed() {
    let mut config = divided(PerMiner, &[1, 1]);
    let mut farm = Farm::equal(config.clone(), 4);
    farm.mines(30);
    farm.world.upstreams[1].holds_opens = true;
    config.upstreams[1].weight = 100;
    farm.world.reconfigure(config.clone());
    farm.mines(2);
    assert_eq!(farm.world.division(), [0, 4]);
    config.upstreams[1].is_drained = true;
    farm.world.reconfigure(config);
    assert_eq!(farm.world.division(), [4, 0]);
    farm.world.upstreams[1].answers_opens(usize::MAX);
    farm.world.run();
    // The two that had been there may still hand in shares there, nobody else.
    assert_eq!(farm.world.upstreams[1].channels.len(), 2);
    farm.parts();
    farm.mines(20);
    assert_eq!(farm.parts(), [1.0, 0.0]);
    farm.assert_content();
}

#[test]
fn no_miner_is_moved_where_it_would_have_to_reconnect() {
    let config = divided(Aggregated, &[70, 30]);
    let mut world = World::prepared(config, |upstreams| upstreams[1].extranonce_size = 8);
    world.waits_secs(SECONDS);
    let miners = world.crowd(3);
    for _ in 0..60 {
        world.waits_secs(2);
        world.mine_all();
    }
    for miner in miners {
        assert!(world.miners[miner].is_undisturbed());
        assert!(world.miners[miner].rejected.is_empty());
    }
    assert!(world.division().iter().all(|miners| *miners > 0));
}

/// Weights give way to what is possible.
#[test]
fn a_miner_is_not_sent_again_to_an_upstream_that_refused_it() {
    let mut world = World::prepared(divided(PerMiner, &[3, 1]), |upstreams| {
        upstreams[0].refuses_user = Some("rig3");
    });
    world.waits_secs(SECONDS);
    for name in ["rig1", "rig2", "rig3a", "rig3b"] {
        world.miner(&format!("alice.{name}"));
    }
    for _ in 0..60 {
        world.waits_secs(2);
        world.mine_all();
    }
    let notes = world.notes.iter();
    let refusals = notes.filter(|note| matches!(note, Note::NoChannel { .. }));
    assert!(refusals.count() <= 2);
    assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    assert_eq!(world.division().iter().sum::<usize>(), 4);
}

/// Else the old owner's shares and the new one's could be the same.
#[test]
fn what_tells_miners_apart_is_given_again_when_every_upstream_had_a_new_block() {
    let mut world = World::new(divided(Aggregated, &[1, 1]));
    world.waits_secs(SECONDS);
    let first = world.miner("alice.rig0");
    let part = world.miners[first].part();
    world.leaves(first);
    world.waits(PARK_TIME);
    let mut next = |at: usize, name: &str| {
        let link = world.link(at);
        world.upstreams[at].new_tip(link);
        world.run();
        let miner = world.miner(name);
        world.miners[miner].part()
    };
    assert_ne!(next(0, "alice.rig1"), part);
    assert_ne!(next(0, "alice.rig2"), part);
    assert_eq!(next(1, "alice.rig3"), part);
}

#[test]
fn what_tells_miners_apart_is_not_given_again_by_a_block_that_was_there_when_its_owner_left() {
    let mut world = World::new(divided(Aggregated, &[1, 1]));
    world.waits_secs(SECONDS);
    let first = world.miner("alice.rig0");
    let part = world.miners[first].part();
    let new_tip = |world: &mut World, at: usize| {
        let link = world.link(at);
        world.upstreams[at].new_tip(link);
        world.run();
    };
    new_tip(&mut world, 0);
    world.leaves(first);
    world.waits(PARK_TIME);
    let mut next = |at: usize, name: &str| {
        new_tip(&mut world, at);
        let miner = world.miner(name);
        world.miners[miner].part()
    };
    assert_ne!(next(1, "alice.rig1"), part);
    assert_ne!(next(0, "alice.rig2"), part);
    assert_eq!(next(1, "alice.rig3"), part);
}

/// A job on an upstream's old tip is stale also for a miner that works elsewhere by now.
#[test]
fn late_shares_of_a_miner_that_moved_are_judged_by_their_own_upstream() {
    for mode in BOTH {
        let mut config = divided(mode, &[1, 1]);
        let mut farm = Farm::equal(config.clone(), 2);
        farm.mines(30);
        let moved = (0..2).find(|miner| {
            let before = farm.shares();
            farm.world.mine(*miner);
            farm.shares()[1] > before[1]
        });
        let moved = moved.unwrap();
        let late = farm.world.miners[moved].last_job();
        config.upstreams[1].weight = 0;
        farm.world.reconfigure(config);
        farm.mines(2);
        assert_eq!(farm.world.division(), [2, 0], "{mode:?}");
        let before = farm.shares()[1];
        farm.world.late_share(moved, &late).unwrap();
        assert_eq!(farm.shares()[1], before + 1);
        let link = farm.world.link(1);
        farm.world.upstreams[1].new_tip(link);
        farm.world.run();
        let (_, text) = farm.world.late_share(moved, &late).unwrap_err();
        assert!(text.contains("tale"), "{mode:?}: {text}");
        farm.world.assert_books_balance();
    }
}

/// Where a miner was before, its upstream may still be on the same block, and would see the same share again.
#[test]
fn a_miner_that_comes_back_to_a_tip_hands_in_no_share_twice() {
    for mode in BOTH {
        let mut config = divided(mode, &[1, 0]);
        let mut world = World::new(config.clone());
        world.waits_secs(SECONDS);
        let miner = world.miner("alice.rig0");
        let mut weigh = |world: &mut World, weights: [u32; 2]| {
            (config.upstreams[0].weight, config.upstreams[1].weight) = weights.into();
            world.reconfigure(config.clone());
            world.waits_secs(2);
        };
        assert_eq!(world.division(), [1, 0]);
        let job = world.miners[miner].last_job();
        let found = world.miners[miner].find(&job);
        let user = world.miners[miner].user.clone();
        let hands_in = |world: &mut World, job: &ClientJob| {
            world.asks(miner, "mining.submit", &found.params(&user, job))
        };
        hands_in(&mut world, &job).unwrap();
        weigh(&mut world, [0, 1]);
        assert_eq!(world.division(), [0, 1]);
        hands_in(&mut world, &job).unwrap_err();
        world.late_share(miner, &job).unwrap();
        for _ in 0..2 {
            let link = world.link(1);
            world.upstreams[1].new_tip(link);
            world.run();
            world.mine(miner);
        }
        weigh(&mut world, [1, 0]);
        assert_eq!(world.division(), [1, 0]);
        let again = world.miners[miner].last_job();
        let (_, text) = hands_in(&mut world, &again).unwrap_err();
        assert!(text.contains("uplicate"), "{mode:?}: {text}");
        assert_eq!(world.upstreams[0].shares.len(), 2);
        // On another block it is another share.
        let link = world.link(0);
        world.upstreams[0].next_block();
        world.upstreams[0].new_tip(link);
        world.run();
        world.mine(miner);
        assert_eq!(world.upstreams[0].shares.len(), 3);
        world.assert_books_balance();
    }
}

/// The lines that each miner has seen.
fn lines(farm: &Farm) -> Vec<usize> {
    let miners = farm.world.miners.iter();
    miners.map(|miner| miner.lines.len()).collect()
}

/// Another configuration takes effect at once, and no miner gets a line of it.
fn takes_quietly(farm: &mut Farm, config: &ProxyConfig) -> Vec<usize> {
    let before = lines(farm);
    let places = farm.world.reconfigure(config.clone());
    assert_eq!(lines(farm), before);
    places
}

#[test]
fn upstreams_are_added_removed_and_weighed_while_miners_mine() {
    for mode in BOTH {
        let mut config = divided(mode, &[1]);
        let mut farm = Farm::equal(config.clone(), 12);
        farm.mines(30);
        let connects = |farm: &Farm| farm.world.connects.len();
        let one = connects(&farm);
        // Nothing new.
        assert_eq!(takes_quietly(&mut farm, &config), [0]);
        // A second one, before the first: each keeps its own number.
        let second = UpstreamConfig {
            user_identity: Some("farm-b".to_owned()),
            mode,
            ..UpstreamConfig::new("b.example", 3333)
        };
        config.upstreams.insert(0, second);
        assert_eq!(takes_quietly(&mut farm, &config), [1, 0]);
        farm.mines(SECONDS);
        assert_eq!(farm.world.division(), [6, 6], "{mode:?}");
        config.upstreams[0].weight = 2;
        assert_eq!(takes_quietly(&mut farm, &config), [1, 0]);
        farm.mines(30);
        assert_eq!(farm.world.division(), [4, 8], "{mode:?}");
        assert_eq!(connects(&farm), one + 1, "connections were left alone");
        // Better is the second now: the first is let go of, its counters stay.
        config.upstreams[1].priority = 1;
        farm.world.reconfigure(config.clone());
        assert_eq!(farm.world.division(), [0, 12], "{mode:?}");
        let accepted = farm.world.snapshot().upstreams[0].accepted;
        assert!(accepted > 0);
        farm.mines(SECONDS);
        config.upstreams.pop();
        takes_quietly(&mut farm, &config);
        farm.mines(SECONDS);
        let gone = farm.world.snapshot().upstreams[0].clone();
        assert!(gone.is_removed && gone.accepted == accepted);
        assert_eq!(farm.world.links(), 1);
        farm.assert_content();
    }
}

#[test]
fn miners_of_an_upstream_that_stays_notice_nothing_of_a_configuration() {
    for mode in BOTH {
        let mut config = divided(mode, &[1, 1, 1]);
        let mut farm = Farm::equal(config.clone(), 9);
        farm.mines(60);
        assert_eq!(farm.world.division(), [3, 3, 3]);
        let before = lines(&farm);
        // The third goes, and its miners go to the others, which have theirs still.
        config.upstreams.pop();
        farm.world.reconfigure(config.clone());
        assert_eq!(farm.world.division().iter().sum::<usize>(), 9);
        let after = lines(&farm);
        let untouched = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before == after);
        assert_eq!(untouched.count(), 6, "{mode:?}");
        // Priorities move together: nothing is left in between.
        let connects = farm.world.connects.len();
        for upstream in &mut config.upstreams {
            upstream.priority += 5;
        }
        takes_quietly(&mut farm, &config);
        farm.mines(30);
        assert_eq!(farm.world.connects.len(), connects);
        assert_eq!(farm.world.all_used(), [0, 1]);
        farm.assert_content();
    }
}

#[test]
fn other_rules_hold_for_miners_that_connect_later() {
    let mut config = config(Aggregated, 1);
    let mut world = World::new(config.clone());
    let early = world.miner("alice.rig0");
    config.bridge.vardiff.min_difficulty = 1.0;
    config.max_miners = 1_000_000;
    world.reconfigure(config.clone());
    let late = world.miner("alice.rig1");
    let snapshot = world.snapshot();
    let difficulty = |miner: usize| {
        let id = world.miners[miner].id;
        let miner = snapshot.miners.iter().find(|miner| miner.id == id);
        miner.unwrap().difficulty.unwrap()
    };
    assert!(difficulty(early) < 1.0 && difficulty(late) >= 1.0);
    // Numbers that make no sense change nothing.
    config.bridge.vardiff.shares_per_minute = f64::NAN;
    config.upstreams.clear();
    let now = world.now;
    world.proxy.reconfigure(config.into(), now).unwrap_err();
    assert_eq!(world.used(), Some(0));
}

#[test]
fn an_upstream_that_is_drained_from_the_start_is_not_connected_to() {
    let mut config = config(Aggregated, 2);
    config.upstreams[0].is_drained = true;
    let mut world = World::new(config);
    world.miner("alice.rig0");
    world.waits_secs(60);
    assert_eq!((world.used(), world.connects.len()), (Some(1), 1));
}
