//! Targets, and hash rates.

use super::*;
use crate::common::device::TERMS;
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::target::Target;

fn target(difficulty: f64) -> Target {
    Target::from_difficulty(difficulty).unwrap()
}

/// A power of two.
fn easy(exponent: i32) -> Target {
    target(2f64.powi(exponent))
}

fn terms(nominal_hash_rate: f32, max_target: Target) -> OpenTerms {
    OpenTerms {
        nominal_hash_rate,
        max_target,
        min_extranonce_size: 0,
    }
}

#[test]
fn on_a_shared_channel_each_device_has_the_target_that_suits_it() {
    // Of the upstream's channel; hashes a second; the device's, by the difficulty at its wanted rate of shares.
    let wanted = 6_000.0 / 2f64.powi(32);
    let cases = [
        // The upstream asks for no more than the device is asked for anyway.
        (target(wanted / 4.0), 1_000.0, target(wanted / 4.0)),
        (target(wanted), 1_000.0, target(wanted)),
        // It asks for less: the device may go on being asked for more shares than wanted, up to sixteen times.
        (target(wanted * 4.0), 1_000.0, target(wanted)),
    ];
    for (upstream, hash_rate, expected) in cases {
        let mut world = World::prepared(config(Aggregated, 1), |upstreams| {
            upstreams[0].target = upstream.to_le_bytes();
        });
        let device = world.device(PLAIN);
        let channel = world
            .opens_with(
                device,
                Extended,
                "alice.rig1",
                terms(hash_rate, Target::MAX),
            )
            .unwrap();
        let given = *world.devices[device].work(channel).target();
        let ratio = given.difficulty_f64() / expected.difficulty_f64();
        assert!((0.99..1.01).contains(&ratio), "{ratio} {upstream:?}");
    }
}

#[test]
fn a_shared_channel_is_never_harder_on_a_device_than_on_us_and_no_more_than_sixteen_times_easier() {
    let wanted = 6.0 / 2f64.powi(32);
    for (upstream, factor) in [(2.0, 1.0 / 2.0), (16.0, 1.0 / 16.0), (64.0, 1.0 / 16.0)] {
        // The upstream's is easier by this than what the device would have.
        let rate = 1_000_f32;
        let own = wanted * f64::from(rate);
        let mut world = World::prepared(config(Aggregated, 1), |upstreams| {
            upstreams[0].target = target(own / upstream).to_le_bytes();
        });
        let device = world.device(PLAIN);
        let channel = world
            .opens_with(device, Extended, "alice.rig1", terms(rate, Target::MAX))
            .unwrap();
        let given = world.devices[device]
            .work(channel)
            .target()
            .difficulty_f64();
        let ratio = given / own / factor;
        assert!((0.99..1.01).contains(&ratio), "{upstream}: {ratio}");
        let at_upstream = Target::from_le_bytes(world.upstreams[0].target);
        assert!(given >= at_upstream.difficulty_f64() * 0.99);
    }
}

#[test]
fn shares_below_the_upstream_s_target_stay_here_and_are_counted() {
    let mut world = World::prepared(config(Aggregated, 1), |upstreams| {
        upstreams[0].target = easy(-20).to_le_bytes();
    });
    let device = world.device_with(PLAIN, Extended, "alice.rig1");
    let channel = world.devices[device].opened[0];
    let work = world.devices[device].work(channel);
    let mut above = 0;
    for _ in 0..30 {
        let found = world.digs_on(device, &work);
        let hash = work.header(&found.borrow()).unwrap().hash();
        above += usize::from(easy(-20).is_met_by(&hash));
        world.waits_secs(1);
    }
    world.waits_secs(2);
    let counts = world.snapshot().upstream;
    assert_eq!(shares(&world, 0), above);
    assert_eq!(counts.below_target, 30 - above as u64);
    assert_eq!(world.devices[device].accepted, 30);
    world.assert_devices_answered();
    world.assert_books_balance();
}

#[test]
fn on_a_channel_of_its_own_a_device_has_exactly_the_upstream_s_target() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        let link = world.link(0);
        assert_eq!(*world.devices[0].work(channel).target(), Target::MAX);
        let old = world.devices[0].work(channel);
        let upstream = upstream_channel(&world, 0);
        let harder = easy(-27);
        world.upstreams[0].set_target(link, upstream, harder.to_le_bytes());
        world.waits_secs(10);
        // It counts from the next job on.
        assert_eq!(*world.devices[0].work(channel).target(), Target::MAX);
        let found = world.devices[0].find_below(&old, &Target::MAX);
        world.hands_in(0, &old, &found, None);
        assert_eq!(world.devices[0].accepted, 1);
        world.upstreams[0].new_job(link);
        world.waits_secs(6);
        let work = world.devices[0].work(channel);
        assert_eq!(*work.target(), harder, "{kind:?}");
        world.digs_on(0, &work);
        assert_eq!(world.devices[0].accepted, 2);
        let easier = easy(-30);
        world.upstreams[0].set_target(link, upstream, easier.to_le_bytes());
        world.upstreams[0].new_tip(link);
        world.run();
        assert_eq!(*world.devices[0].work(channel).target(), easier);
        world.digs(0, channel);
        // Nothing here changes it, however long there are no shares or many.
        world.waits_secs(600);
        for _ in 0..50 {
            world.digs(0, channel);
        }
        assert_eq!(*world.devices[0].work(channel).target(), easier);
        assert_eq!(world.devices[0].count("SetTarget"), 2);
        world.devices[0].assert_content();
        assert_eq!(world.devices[0].accepted, 53);
        world.assert_books_balance();
    }
}

#[test]
fn the_upstream_is_told_of_the_limit_and_the_hash_rate_of_each() {
    for kind in [Extended, Standard] {
        let mut world = World::with(PerMiner, 1);
        let device = world.device(PLAIN);
        let channel = world
            .opens_with(device, kind, "alice.rig1", terms(50.0, easy(-24)))
            .unwrap();
        let opened = &world.upstreams[0].channels[0];
        assert_eq!(opened.max_target, easy(-24).to_le_bytes());
        assert!((opened.nominal_hash_rate - 50.0).abs() < 0.01);
        world.waits_secs(5);
        world.upstreams[0].updates.clear();
        world.device_updates(device, channel, terms(500.0, easy(-22)));
        world.waits_secs(1);
        let [update] = world.upstreams[0].updates[..] else {
            panic!("{:?}", world.upstreams[0].updates)
        };
        assert_eq!(update.maximum_target.0, easy(-22).to_le_bytes());
        assert!(
            (update.nominal_hash_rate - 500.0).abs() < 0.01,
            "{update:?}"
        );
        assert_eq!(world.devices[device].updates_refused, [""; 0]);
    }
}

#[test]
fn updates_that_make_no_sense_are_refused_and_go_no_further() {
    for mode in BOTH {
        let (mut world, channel) = lone(mode, Extended);
        world.waits_secs(5);
        world.upstreams[0].updates.clear();
        for rate in [f32::NAN, f32::INFINITY, -1.0] {
            world.device_updates(0, channel, terms(rate, Target::MAX));
        }
        world.device_updates(0, channel, terms(1.0, Target::from_le_bytes([0; 32])));
        world.waits_secs(5);
        let refused = &world.devices[0].updates_refused;
        let expected = ["invalid-nominal-hashrate"; 3].into_iter();
        let expected: Vec<_> = expected.chain(["max-target-out-of-range"]).collect();
        assert_eq!(*refused, expected, "{mode:?}");
        assert_eq!(world.upstreams[0].updates, []);
        world.digs(0, channel);
        world.devices[0].assert_content();
    }
}

/// What the upstream was last told of the channel that all share.
fn told(world: &World) -> f32 {
    let told = world.upstreams[0].updates.last();
    told.expect("an update").nominal_hash_rate
}

#[test]
fn the_upstream_of_a_shared_channel_is_told_the_sum_at_most_once_a_second() {
    let mut world = World::with(Aggregated, 1);
    world.waits_secs(5);
    let mut channels = Vec::new();
    let device = world.device(PLAIN);
    let before = world.upstreams[0].updates.len();
    for i in 0..10 {
        let user = format!("alice.rig{i}");
        let opened = world.opens_with(device, Extended, &user, terms(100.0, Target::MAX));
        channels.push(opened.unwrap());
    }
    world.waits_secs(3);
    assert!((told(&world) - 1_000.0).abs() < 1.0, "{}", told(&world));
    assert!(world.upstreams[0].updates.len() <= before + 2);
    // Two end their channels, one says that it is stronger, one has gone.
    world.device_closes(device, channels[0]);
    world.device_closes(device, channels[2]);
    world.waits_secs(3);
    assert!((told(&world) - 800.0).abs() < 1.0, "{}", told(&world));
    world.device_updates(device, channels[1], terms(600.0, Target::MAX));
    world.waits_secs(3);
    assert!((told(&world) - 1_300.0).abs() < 1.0, "{}", told(&world));
    world.device_leaves(device);
    world.waits_secs(3);
    assert_eq!(told(&world), 0.0);
    assert!(world.upstreams[0].closes.is_empty());
    assert_eq!(world.proxy.miners(), 0);
}

#[test]
fn the_least_limit_of_all_is_told_where_the_channel_is_too_easy() {
    let mut world = World::with(Aggregated, 1);
    let device = world.device(PLAIN);
    world.opens_with(device, Extended, "alice.rig1", terms(1.0, easy(-20)));
    world.opens_with(device, Extended, "alice.rig2", terms(1.0, easy(-24)));
    world.waits_secs(3);
    let told = world.upstreams[0].updates.last().unwrap().maximum_target.0;
    assert_eq!(told, easy(-20).to_le_bytes());
    for channel in world.devices[device].opened.clone() {
        let limit = if channel == world.devices[device].opened[0] {
            easy(-20)
        } else {
            easy(-24)
        };
        assert!(*world.devices[device].work(channel).target() <= limit);
    }
}

#[test]
fn channels_of_a_device_that_has_gone_are_closed_upstream() {
    let mut world = World::with(PerMiner, 1);
    let gone = world.device(PLAIN);
    for (i, kind) in [Extended, Standard, Extended].into_iter().enumerate() {
        world.opens(gone, kind, &format!("alice.rig{i}")).unwrap();
    }
    let stays = world.device_with(PLAIN, Extended, "bob.rig1");
    let channels: Vec<_> = world.upstreams[0].channels.iter().map(|at| at.id).collect();
    // One of its channels has a share on its way.
    world.upstreams[0].verdict = None;
    let opened = world.devices[gone].opened.clone();
    world.digs(gone, opened[1]);
    world.device_closes(gone, opened[2]);
    assert_eq!(world.upstreams[0].closes, [channels[2]]);
    world.device_leaves(gone);
    assert_eq!(world.upstreams[0].closes[1..], [channels[0]]);
    world.upstreams[0].answers(1, Ok(()));
    world.waits_secs(2);
    assert_eq!(world.upstreams[0].closes[2..], [channels[1]]);
    assert_eq!(world.upstreams[0].identities(), ["farm-a.rig1"]);
    let counts = world.snapshot().upstream;
    assert_eq!((counts.passed_on, counts.accepted), (1, 1));
    assert_eq!(world.proxy.devices(), 1);
    world.upstreams[0].verdict = Some(Ok(()));
    let channel = world.devices[stays].opened[0];
    world.digs(stays, channel);
    world.devices[stays].assert_content();
    world.assert_books_balance();
}

#[test]
fn a_device_s_hash_rate_is_measured() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].target = easy(-27).to_le_bytes();
        });
        let device = world.device(PLAIN);
        let channel = world
            .opens_with(device, Extended, "alice.rig1", TERMS)
            .unwrap();
        let mut hashes = 0.0;
        for _ in 0..300 {
            world.waits_secs(1);
            let work = world.devices[device].work(channel);
            let difficulty = work.target().difficulty_f64() * 2f64.powi(32);
            // So many hashes a second, without luck.
            hashes += 200.0;
            while hashes >= difficulty {
                hashes -= difficulty;
                world.digs_on(device, &work);
            }
        }
        let snapshot = world.snapshot();
        let measured = snapshot.miners[0].hashrate;
        assert!((170.0..230.0).contains(&measured), "{mode:?} {measured}");
        assert_eq!(snapshot.devices, 1);
        assert_eq!(snapshot.miners[0].user.as_deref(), Some("alice.rig1"));
        let told = told(&world);
        assert!((170.0..230.0).contains(&told), "{mode:?} {told}");
        world.devices[device].assert_content();
        world.assert_books_balance();
    }
}
