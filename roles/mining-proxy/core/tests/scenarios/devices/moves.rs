//! From one upstream to another, and back.

use std::time::Duration;

use mining_proxy_core::{LEAVE_GRACE, Note, ProxyConfig};
use roles_logic_sv2::channels::server::MAX_EARLIER_GROUPS;
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::target::Target;

use super::*;
use crate::common::device::{Device, TERMS};
use crate::common::upstream::Reach;

/// An upstream that fails or comes back is noticed and everything in order within so many seconds.
const SECONDS: u64 = 25;

/// Upstreams in these modes; the first is the best.
fn in_modes(modes: &[ChannelMode]) -> ProxyConfig {
    let mut config = config(modes[0], modes.len());
    for (upstream, mode) in config.upstreams.iter_mut().zip(modes) {
        upstream.mode = *mode;
    }
    config
}

/// All pairs of modes.
fn pairs() -> impl Iterator<Item = [ChannelMode; 2]> {
    BOTH.into_iter().flat_map(|a| BOTH.map(|b| [a, b]))
}

/// One device of each kind, and one with several channels.
fn crowd(world: &mut World) {
    for (i, (kind, channel)) in KINDS.into_iter().enumerate() {
        world.device_with(kind, channel, &format!("alice.rig{i}"));
    }
    let several = world.device(PLAIN);
    for (i, kind) in [Extended, Extended, Standard].into_iter().enumerate() {
        world.opens(several, kind, &format!("bob.rig{i}")).unwrap();
    }
}

/// Channels of [`crowd`].
const CROWD: usize = 6;

fn labels(world: &World) -> Vec<Option<&'static str>> {
    let closed = world.devices.iter().map(|device| device.closed.as_ref());
    closed
        .map(|reason| reason.map(CloseReason::label))
        .collect()
}

fn assert_content(world: &World) {
    world.devices.iter().for_each(Device::assert_content);
    world.assert_devices_answered();
    world.assert_books_balance();
}

#[test]
fn devices_keep_their_channels_when_the_upstream_changes() {
    for modes in pairs() {
        let mut world = World::new(in_modes(&modes));
        world.waits_secs(SECONDS);
        crowd(&mut world);
        for round in 0..3 {
            for at in [0, 1] {
                world.waits_secs(SECONDS);
                assert_eq!(world.used(), Some(at), "{modes:?} {round}");
                let before = shares(&world, at);
                world.dig_all();
                assert_eq!(shares(&world, at), before + CROWD, "{modes:?} {round}");
                world.waits_secs(3);
                let link = world.link(at);
                world.upstreams[at].new_tip(link);
                world.run();
                world.dig_all();
                assert_eq!(shares(&world, at), before + 2 * CROWD);
                world.waits_secs(3);
                assert_content(&world);
                world.kill(at);
                world.revive(1 - at);
            }
        }
        let opened = world.devices.iter().map(|device| device.opened.len());
        assert_eq!(opened.sum::<usize>(), CROWD);
    }
}

#[test]
fn shares_of_the_upstream_before_count_there_while_it_lives() {
    for modes in pairs() {
        let mut world = World::prepared(in_modes(&modes), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        world.waits_secs(SECONDS);
        crowd(&mut world);
        assert_eq!(world.used(), Some(1));
        world.waits_secs(3);
        world.upstreams[1].verdict = None;
        world.dig_all();
        let works: Vec<_> = works(&world);
        // A better one is there, and the old one is alive.
        world.revive(0);
        while world.used() != Some(0) {
            world.waits(Duration::from_millis(100));
            assert!(world.now.unix_secs < 1_700_000_200);
        }
        for (device, work) in &works {
            world.digs_on(*device, work);
        }
        assert_eq!(shares(&world, 1), 2 * CROWD, "{modes:?}");
        world.dig_all();
        assert_eq!(shares(&world, 0), CROWD, "{modes:?}");
        let waiting = world.upstreams[1].unanswered();
        world.upstreams[1].answers(waiting, Ok(()));
        world.waits_secs(2);
        let counts = world.snapshot().upstream;
        assert_eq!(counts.accepted as usize, 3 * CROWD, "{modes:?}");
        assert_content(&world);
        world.waits(LEAVE_GRACE);
        world.waits_secs(1);
        assert!(world.links_of(1).is_empty(), "{modes:?}");
        // Nobody is there to count them now.
        for (device, work) in &works {
            world.digs_on(*device, work);
        }
        let devices = world.devices.iter();
        let codes: Vec<_> = devices.flat_map(Device::codes).collect();
        assert_eq!(codes, ["stale-share"; CROWD], "{modes:?}");
        world.assert_devices_answered();
    }
}

/// All devices work for the upstream at this place by now.
fn sends_all_to(world: &mut World, config: &mut ProxyConfig, to: usize) {
    for (at, upstream) in config.upstreams.iter_mut().enumerate() {
        upstream.weight = u32::from(at == to);
    }
    world.reconfigure(config.clone());
    world.waits_secs(2);
    assert_eq!(world.division()[1 - to], 0);
}

/// Both upstreams are used, and all devices work for the first.
fn at_the_first(modes: &[ChannelMode; 2]) -> (World, ProxyConfig) {
    let mut config = in_modes(modes);
    config.min_job_interval = Duration::from_secs(1);
    for upstream in &mut config.upstreams {
        upstream.priority = 0;
    }
    let mut world = World::new(config.clone());
    world.waits_secs(SECONDS);
    sends_all_to(&mut world, &mut config, 0);
    crowd(&mut world);
    (world, config)
}

/// Where a device was before, its upstream may still be on the same block, and would see the same share again.
#[test]
fn a_device_that_comes_back_to_a_tip_hands_in_no_share_twice() {
    for modes in pairs() {
        let (mut world, mut config) = at_the_first(&modes);
        let works = works(&world);
        let mut found = Vec::new();
        for (device, work) in &works {
            found.push(world.digs_on(*device, work));
        }
        assert_eq!(shares(&world, 0), CROWD);
        sends_all_to(&mut world, &mut config, 1);
        // Late ones, one of them once more.
        for ((device, work), found) in works.iter().zip(&found) {
            world.digs_on(*device, work);
            world.hands_in(*device, work, found, None);
        }
        assert_eq!(shares(&world, 0), 2 * CROWD, "{modes:?}");
        for _ in 0..2 {
            let link = world.link(1);
            world.upstreams[1].new_tip(link);
            world.run();
            world.dig_all();
        }
        assert_eq!(shares(&world, 1), 2 * CROWD, "{modes:?}");
        sends_all_to(&mut world, &mut config, 0);
        for ((device, work), found) in works.iter().zip(&found) {
            let work = world.devices[*device].work(work.channel_id());
            world.hands_in(*device, &work, found, None);
        }
        let devices = world.devices.iter();
        let codes: Vec<_> = devices.flat_map(Device::codes).collect();
        assert_eq!(codes, ["duplicate-share"; 2 * CROWD], "{modes:?}");
        assert_eq!(shares(&world, 0), 2 * CROWD, "{modes:?}");
        world.dig_all();
        assert_eq!(shares(&world, 0), 3 * CROWD, "{modes:?}");
        world.waits_secs(2);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

/// Each stay is remembered for the shares of its jobs, up to a limit.
#[test]
fn shares_of_before_many_moves_are_late() {
    for modes in pairs() {
        let (mut world, mut config) = at_the_first(&modes);
        let works = works(&world);
        for moves in 1..=MAX_EARLIER_GROUPS {
            sends_all_to(&mut world, &mut config, moves % 2);
            for (device, work) in &works {
                world.digs_on(*device, work);
            }
            assert_eq!(shares(&world, 0), moves * CROWD, "{modes:?}");
        }
        world.waits_secs(2);
        assert_content(&world);
        sends_all_to(&mut world, &mut config, 1);
        for (device, work) in &works {
            world.digs_on(*device, work);
        }
        let devices = world.devices.iter();
        let codes: Vec<_> = devices.flat_map(Device::codes).collect();
        assert_eq!(codes, ["stale-share"; CROWD], "{modes:?}");
        world.dig_all();
        world.waits_secs(2);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

fn works(world: &World) -> Vec<(usize, roles_logic_sv2::channels::client::Work)> {
    let devices = world.devices.iter().enumerate();
    let works = devices.flat_map(|(index, device)| {
        let channels = device.session.channels().channels();
        channels.map(move |channel| (index, device.work(channel.id())))
    });
    works.collect()
}

#[test]
fn a_new_block_at_the_upstream_before_ends_its_jobs() {
    for modes in pairs() {
        let mut world = World::prepared(in_modes(&modes), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.waits_secs(3);
        let works = works(&world);
        world.revive(0);
        while world.used() != Some(0) {
            world.waits(Duration::from_millis(100));
        }
        world.upstreams[1].next_block();
        let link = world.links_of(1)[0];
        world.upstreams[1].new_tip(link);
        world.run();
        for (device, work) in &works {
            world.digs_on(*device, work);
        }
        let devices = world.devices.iter();
        let codes: Vec<_> = devices.flat_map(Device::codes).collect();
        assert_eq!(codes, ["stale-share"; CROWD], "{modes:?}");
        assert_eq!(shares(&world, 1), 0);
        world.dig_all();
        assert_eq!(shares(&world, 0), CROWD);
        world.waits_secs(2);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn without_any_upstream_devices_hear_that_and_are_sent_away_in_the_end() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        world.kill(0);
        world.dig_all();
        let devices = world.devices.iter();
        let codes: Vec<_> = devices.flat_map(Device::codes).collect();
        assert_eq!(codes, ["stale-share"; CROWD], "{mode:?}");
        world.waits_secs(115);
        assert_eq!(labels(&world), [None; 4]);
        world.waits_secs(6);
        assert_eq!(labels(&world), [Some("no-work"); 4], "{mode:?}");
        assert!(world.notes.contains(&Note::SendsAway(CROWD)));
        assert_eq!((world.proxy.devices(), world.proxy.miners()), (0, 0));
        let closed = world.snapshot().closed;
        assert_eq!(closed.values().sum::<u64>(), 4, "{closed:?}");
        // They come again.
        world.revive(0);
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        world.assert_books_balance();
    }
}

#[test]
fn what_was_accepted_is_acknowledged_before_the_connection_is_closed() {
    let mut world = World::with(Aggregated, 1);
    let device = world.device(PLAIN);
    let channel = world.opens(device, Extended, "alice.rig1").unwrap();
    let link = world.link(0);
    world.digs(device, channel);
    assert_eq!(
        world.devices[device].accepted, 0,
        "ten go together, or those of a second"
    );
    // The upstream that comes instead has no room for it.
    world.upstreams[0].extranonce_size = 8;
    world.upstreams[0].reconnect(link, "", 0);
    world.run();
    assert_eq!(world.devices[device].closed, Some(CloseReason::NoWork));
    assert_eq!(world.devices[device].accepted, 1);
    world.assert_books_balance();
}

#[test]
fn a_device_that_does_not_fit_the_next_upstream_comes_again_and_fits() {
    for modes in pairs() {
        let mut world = World::prepared(in_modes(&modes), |upstreams| {
            upstreams[1].extranonce_size = 8;
            upstreams[1].setup = Some(Ok(2));
        });
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        world.kill(0);
        world.waits_secs(SECONDS);
        assert_eq!(world.used(), Some(1));
        assert_eq!(labels(&world), [Some("no-work"); 4], "{modes:?}");
        world.devices.clear();
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        assert_eq!(shares(&world, 1), CROWD, "{modes:?}");
        for device in &world.devices {
            device.assert_content();
            for channel in device.session.channels().channels() {
                let size = channel.extranonce_prefix().len() + channel.extranonce_size();
                assert_eq!(size, 8);
            }
        }
        world.assert_books_balance();
    }
}

#[test]
fn a_device_that_is_sent_away_waits_for_nothing_more() {
    for modes in pairs() {
        let mut world = World::prepared(in_modes(&modes), |upstreams| {
            upstreams[1].extranonce_size = 8;
            upstreams[1].reach = Reach::Refused;
        });
        let device = world.device_with(PLAIN, Extended, "alice.rig1");
        let other = world.device(PLAIN);
        world.kill(0);
        assert_eq!(world.opens(device, Extended, "alice.rig2"), None);
        assert_eq!(world.opens(other, Standard, "bob.rig1"), None);
        world.revive(1);
        world.waits_secs(SECONDS);
        assert_eq!(labels(&world), [Some("no-work"), None], "{modes:?}");
        assert_eq!(world.proxy.miners(), 1);
        world.dig_all();
        world.waits_secs(6);
        world.devices[other].assert_content();
        assert_eq!(world.upstreams[1].channels.len(), 1, "{modes:?}");
        world.assert_books_balance();
    }
}

#[test]
fn without_an_upstream_an_open_is_waited_with_for_as_long_as_a_device_has_for_it() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        let device = world.device(PLAIN);
        assert_eq!(world.opens(device, Extended, "alice.rig1"), None);
        world.waits_secs(59);
        assert_eq!(labels(&world), [None]);
        world.waits_secs(2);
        assert_eq!(labels(&world), [Some("no-channel")]);
        assert_eq!((world.proxy.devices(), world.proxy.miners()), (0, 0));
    }
}

#[test]
fn an_upstream_that_breaks_its_word_is_left_and_devices_notice_nothing() {
    for modes in pairs() {
        let mut world = World::new(in_modes(&modes));
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        let link = world.link(0);
        let channel = world.upstreams[0].channels[0].id;
        world.upstreams[0].acknowledges(link, channel, 1_000_000, 1);
        world.upstreams[0].reach = Reach::Refused;
        world.run();
        world.waits_secs(SECONDS);
        assert_eq!(world.used(), Some(1));
        assert_eq!(
            world.snapshot().upstreams[0].broken_words["unsent-share"],
            1
        );
        world.dig_all();
        world.waits_secs(2);
        assert_eq!(shares(&world, 1), CROWD);
        world.devices.iter().for_each(Device::assert_content);
        world.assert_devices_answered();
    }
}

#[test]
fn an_upstream_s_wish_to_be_connected_to_anew_is_no_news_to_devices() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(2);
        let first = world.link(0);
        world.upstreams[0].reconnect(first, "", 0);
        world.run();
        world.dig_all();
        world.waits_secs(10);
        assert_ne!(world.link(0), first);
        world.dig_all();
        world.waits_secs(2);
        let reconnects: usize = world.devices.iter().map(|device| device.reconnects).sum();
        assert_eq!(reconnects, 0, "{mode:?}");
        assert_eq!(shares(&world, 0), 3 * CROWD);
        assert_content(&world);
    }
}

#[test]
fn a_channel_that_the_upstream_closes_is_opened_again_but_not_for_ever() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        let link = world.link(0);
        world.upstreams[0].verdict = None;
        world.digs(0, channel);
        let first = upstream_channel(&world, 0);
        world.upstreams[0].close(link, first);
        world.run();
        assert_eq!(world.devices[0].codes(), ["upstream-lost"]);
        world.upstreams[0].verdict = Some(Ok(()));
        assert_ne!(upstream_channel(&world, 0), first);
        world.digs(0, channel);
        assert_eq!(world.devices[0].accepted, 1);
        assert_eq!(world.devices[0].opened, [channel]);
        assert_eq!(world.devices[0].count("CloseChannel"), 0);
        // A while later it may be once more.
        world.waits_secs(11);
        let second = upstream_channel(&world, 0);
        world.upstreams[0].close(link, second);
        world.run();
        world.digs(0, channel);
        assert_eq!(world.devices[0].accepted, 2);
        let third = upstream_channel(&world, 0);
        world.upstreams[0].close(link, third);
        world.run();
        assert_eq!(labels(&world), [Some("no-work")], "{kind:?}");
        assert_eq!(world.used(), Some(0));
        world.assert_books_balance();
    }
}

#[test]
fn when_all_share_a_channel_and_it_is_closed_the_upstream_is_left() {
    let mut world = World::with(Aggregated, 2);
    world.waits_secs(SECONDS);
    crowd(&mut world);
    let link = world.link(0);
    let common = upstream_channel(&world, 0);
    world.upstreams[0].close(link, common);
    world.run();
    assert_eq!(world.used(), Some(1));
    world.dig_all();
    world.waits_secs(2);
    assert_eq!(shares(&world, 1), CROWD);
    assert_content(&world);
}

#[test]
fn a_job_that_comes_while_a_device_is_on_its_way_reaches_it() {
    for mode in BOTH {
        let mut world = World::prepared(in_modes(&[mode, mode]), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.upstreams[0].withholds_work = mode == PerMiner;
        world.revive(0);
        world.waits_secs(8);
        // The old one has a new block, which is what is to be mined until there is work on the new one.
        if let [old, ..] = world.links_of(1)[..] {
            world.upstreams[1].new_tip(old);
            world.run();
        }
        world.dig_all();
        world.waits_secs(2);
        world.devices.iter().for_each(Device::assert_content);
        world.assert_devices_answered();
    }
}

/// Upstreams of one priority, with these weights and modes.
fn divided(modes: &[ChannelMode], weights: &[u32]) -> ProxyConfig {
    let mut config = in_modes(modes);
    for (upstream, weight) in config.upstreams.iter_mut().zip(weights) {
        (upstream.priority, upstream.weight) = (0, *weight);
    }
    config
}

/// So many seconds; these devices, the first ones, find shares as fast as their hash rate of 1 has it. Gives the work that
/// each upstream got.
fn mines(world: &mut World, done: &mut [f64], secs: u64) -> [f64; 2] {
    let mut worked = [0.0; 2];
    for _ in 0..secs {
        world.waits_secs(1);
        for (device, done) in done.iter_mut().enumerate() {
            *done += 1.0;
            let channel = world.devices[device].opened[0];
            loop {
                let work = world.devices[device].work(channel);
                let share = roles_logic_sv2::target::ShareTarget::new(*work.target());
                let hashes = share.difficulty().expected_hashes().max(1.0);
                if *done < hashes {
                    break;
                }
                *done -= hashes;
                let before = [shares(world, 0), shares(world, 1)];
                world.digs_on(device, &work);
                for at in [0, 1] {
                    worked[at] += hashes * (shares(world, at) - before[at]) as f64;
                }
            }
        }
    }
    worked
}

#[test]
fn devices_are_divided_by_weight() {
    for modes in pairs() {
        for count in [10, 1] {
            let mut world = World::prepared(divided(&modes, &[70, 30]), |upstreams| {
                let target = Target::from_difficulty(2f64.powi(-30)).unwrap();
                upstreams[0].target = target.to_le_bytes();
                upstreams[1].target = target.to_le_bytes();
            });
            world.waits_secs(SECONDS);
            for (i, kind) in (0..count).zip([Extended, Standard].into_iter().cycle()) {
                world.device_with(PLAIN, kind, &format!("alice.rig{i}"));
            }
            let mut done: Vec<_> = (0..count).map(|i| (i % 5) as f64).collect();
            mines(&mut world, &mut done, 900);
            let [first, second] = mines(&mut world, &mut done, 1_800);
            let part = first / (first + second);
            assert!((0.64..0.76).contains(&part), "{modes:?} {count}: {part}");
            world.waits_secs(2);
            assert_content(&world);
        }
    }
}

#[test]
fn what_devices_find_is_what_is_divided_whatever_they_claim() {
    for mode in BOTH {
        let mut world = World::prepared(divided(&[mode, mode], &[70, 30]), |upstreams| {
            let target = Target::from_difficulty(2f64.powi(-30)).unwrap();
            upstreams[0].target = target.to_le_bytes();
            upstreams[1].target = target.to_le_bytes();
        });
        world.waits_secs(SECONDS);
        // The second finds nothing, ever.
        for user in ["alice.rig1", "mallory.rig1"] {
            world.device_with(PLAIN, Extended, user);
        }
        let mut done = [0.0];
        mines(&mut world, &mut done, 1_800);
        let [first, second] = mines(&mut world, &mut done, 1_800);
        let part = first / (first + second);
        assert!((0.6..0.8).contains(&part), "{mode:?}: {part}");
    }
}

#[test]
fn an_upstream_that_is_drained_is_left_without_a_moment_without_work() {
    for modes in pairs() {
        let config = divided(&modes, &[70, 30]);
        let mut world = World::new(config.clone());
        world.waits_secs(SECONDS);
        crowd(&mut world);
        world.dig_all();
        world.waits_secs(5);
        let mut drained = config;
        drained.upstreams[0].is_drained = true;
        world.reconfigure(drained);
        for _ in 0..20 {
            world.dig_all();
            world.waits(Duration::from_millis(500));
        }
        assert_eq!(world.all_used(), [1], "{modes:?}");
        let before = shares(&world, 1);
        world.dig_all();
        assert_eq!(shares(&world, 1), before + CROWD);
        world.waits_secs(2);
        assert_content(&world);
        assert_eq!(world.snapshot().upstream.lost, 0);
    }
}

#[test]
fn the_end_of_the_program_is_told_and_last_shares_are_answered() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        crowd(&mut world);
        world.upstreams[0].verdict = None;
        world.dig_all();
        let now = world.now;
        world.proxy.drain(now);
        world.run();
        assert!(world.devices.iter().all(|device| device.reconnects == 1));
        assert!(world.proxy.device_connected(now).is_none());
        world.dig_all();
        // No further channels.
        assert_eq!(world.opens_with(0, Extended, "late", TERMS), None);
        assert_eq!(world.devices[0].refused, ["channel-capacity-exhausted"]);
        world.waits_secs(1);
        let waiting = world.upstreams[0].unanswered();
        world.upstreams[0].answers(waiting, Ok(()));
        world.waits_secs(1);
        assert!(!world.proxy.is_drained());
        world.waits_secs(8);
        assert_eq!(labels(&world), [Some("drained"); 4], "{mode:?}");
        let accepted: u64 = world.devices.iter().map(|device| device.accepted).sum();
        assert_eq!(accepted as usize, 2 * CROWD);
        world.run();
        assert!(world.proxy.is_drained(), "{mode:?}");
        assert_eq!(world.links(), 0);
        assert_eq!(world.snapshot().upstream.lost, 0);
        world.assert_books_balance();
    }
}
