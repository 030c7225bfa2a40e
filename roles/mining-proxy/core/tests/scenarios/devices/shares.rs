//! Shares, and what becomes of them.

use super::*;
use crate::common::device::NAMING;
use crate::common::upstream::EASY;
use roles_logic_sv2::target::Target;

#[test]
fn shares_on_a_shared_channel_are_acknowledged_here() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(Aggregated, kind);
        world.upstreams[0].verdict = None;
        for _ in 0..3 {
            world.digs(0, channel);
        }
        world.waits_secs(2);
        let counts = world.snapshot().upstream;
        assert_eq!((counts.passed_on, counts.accepted), (3, 0));
        world.assert_devices_answered();
        assert_eq!(world.devices[0].acks.last().unwrap().1, 3);
        // What the upstream says of them is counted, and no news to the device.
        world.upstreams[0].answers(2, Ok(()));
        world.upstreams[0].answers(1, Err("stale-share"));
        world.waits_secs(2);
        world.devices[0].assert_content();
        let snapshot = world.snapshot();
        let counts = snapshot.upstream;
        assert_eq!((counts.accepted, counts.rejected, counts.lost), (2, 1, 0));
        assert_eq!(snapshot.miners[0].upstream_rejected["stale-share"], 1);
        assert_eq!(snapshot.upstreams[0].rejected["stale-share"], 1);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn shares_on_a_channel_of_its_own_are_answered_as_the_upstream_answers() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        world.upstreams[0].verdict = None;
        for _ in 0..6 {
            world.digs(0, channel);
        }
        world.waits_secs(5);
        assert_eq!(
            (world.devices[0].accepted, world.devices[0].codes().len()),
            (0, 0)
        );
        world.upstreams[0].answers(3, Ok(()));
        world.run();
        assert_eq!(world.devices[0].acks, [(channel, 3, 3)]);
        world.upstreams[0].answers(1, Err("low-difficulty"));
        world.upstreams[0].answers(2, Ok(()));
        world.run();
        assert_eq!(world.devices[0].acks[1..], [(channel, 6, 2)]);
        assert_eq!(
            world.devices[0].rejected,
            [(channel, 4, "low-difficulty".to_owned())]
        );
        let snapshot = world.snapshot();
        let miner = &snapshot.miners[0];
        assert_eq!((miner.upstream.passed_on, miner.upstream.accepted), (6, 5));
        assert_eq!(miner.upstream_rejected["low-difficulty"], 1);
        assert_eq!(snapshot.upstreams[0].submitted, 6);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn numbers_of_shares_are_the_device_s_own() {
    // Some of the shares never leave, so that numbers upstream are others.
    let (mut world, channel) = lone(PerMiner, Extended);
    let work = world.devices[0].work(channel);
    let found = world.digs_on(0, &work);
    world.hands_in(0, &work, &found, None);
    world.hands_in(0, &work, &found, None);
    world.upstreams[0].verdict = None;
    world.digs(0, channel);
    world.digs(0, channel);
    world.upstreams[0].answers(1, Err("invalid-share"));
    world.upstreams[0].answers(1, Ok(()));
    world.run();
    let duplicate = |number| (channel, number, "duplicate-share".to_owned());
    let expected = [
        duplicate(2),
        duplicate(3),
        (channel, 4, "invalid-share".to_owned()),
    ];
    assert_eq!(world.devices[0].rejected, expected);
    assert_eq!(world.devices[0].acks, [(channel, 1, 1), (channel, 5, 1)]);
    world.assert_devices_answered();
    world.assert_books_balance();
}

#[test]
fn a_share_whose_upstream_is_gone_is_answered() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        world.upstreams[0].verdict = None;
        world.digs(0, channel);
        world.digs(0, channel);
        world.kill(0);
        assert_eq!(world.devices[0].codes(), ["upstream-lost"; 2]);
        let snapshot = world.snapshot();
        assert_eq!((snapshot.upstream.lost, snapshot.upstreams[0].lost), (2, 2));
        // And the next ones are as well.
        world.digs(0, channel);
        assert_eq!(world.devices[0].codes()[2..], ["stale-share"]);
        assert_eq!(world.snapshot().rejected["stale-share"], 1);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
    let (mut world, channel) = lone(Aggregated, Extended);
    world.upstreams[0].verdict = None;
    world.digs(0, channel);
    world.kill(0);
    world.waits_secs(2);
    // It was acknowledged already.
    assert_eq!(
        (world.devices[0].accepted, world.snapshot().upstream.lost),
        (1, 1)
    );
    world.digs(0, channel);
    assert_eq!(world.devices[0].codes(), ["stale-share"]);
    world.assert_devices_answered();
    world.assert_books_balance();
}

#[test]
fn what_is_of_no_use_is_rejected_here_and_stays_here() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            let (mut world, channel) = lone(mode, kind);
            let link = world.link(0);
            let stale = world.devices[0].work(channel);
            world.waits_secs(10);
            world.upstreams[0].new_tip(link);
            world.waits_secs(10);
            let work = world.devices[0].work(channel);
            let found = world.devices[0].find_below(&stale, stale.target());
            world.hands_in(0, &stale, &found, None);
            let found = world.digs_on(0, &work);
            world.hands_in(0, &work, &found, None);
            let mut early = found.clone();
            early.ntime = 1;
            world.hands_in(0, &work, &early, None);
            let mut rolled = found.clone();
            rolled.version ^= 1;
            world.hands_in(0, &work, &rolled, None);
            let expected = [
                "stale-share",
                "duplicate-share",
                "invalid-share",
                "invalid-non-rollable-version-bit",
            ];
            assert_eq!(world.devices[0].codes(), expected, "{mode:?} {kind:?}");
            assert_eq!(shares(&world, 0), 1);
            let snapshot = world.snapshot();
            for code in expected {
                assert_eq!(snapshot.rejected[code], 1);
                assert_eq!(snapshot.miners[0].rejected[code], 1);
            }
            world.waits_secs(2);
            world.assert_devices_answered();
            world.assert_books_balance();
        }
    }
}

#[test]
fn a_share_that_is_too_easy_and_one_of_no_job_stay_here() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].target = Target::from_difficulty(2f64.powi(-26))
                .unwrap()
                .to_le_bytes();
        });
        let device = world.device_with(PLAIN, Extended, "alice.rig1");
        let channel = world.devices[device].opened[0];
        let work = world.devices[device].work(channel);
        assert!(*work.target() < Target::MAX);
        let found = loop {
            let found = world.devices[device].find_below(&work, &Target::MAX);
            let hash = work.header(&found.borrow()).unwrap().hash();
            if !work.target().is_met_by(&hash) {
                break found;
            }
        };
        world.hands_in(device, &work, &found, None);
        assert_eq!(world.devices[device].codes(), ["difficulty-too-low"]);
        let unknown = mining_sv2::SubmitSharesExtended {
            channel_id: channel,
            sequence_number: 1,
            job_id: 77,
            nonce: 1,
            ntime: work.min_ntime(),
            version: work.version(),
            extranonce: found.extranonce.as_slice().try_into().unwrap(),
        };
        let payload = binary_sv2::Encodable::to_vec(&unknown);
        world.device_sends(device, 0x8000, 0x1b, &payload);
        assert_eq!(world.devices[device].codes()[1..], ["invalid-job-id"]);
        assert_eq!(world.snapshot().rejected["invalid-job-id"], 1);
        assert_eq!(shares(&world, 0), 0);
        world.assert_books_balance();
    }
}

#[test]
fn a_share_for_a_channel_that_is_closed_or_another_s_is_answered_and_counted() {
    for mode in BOTH {
        let (mut world, channel) = lone(mode, Extended);
        let other = world.device_with(PLAIN, Extended, "bob.rig1");
        let share = |channel_id| mining_sv2::SubmitSharesStandard {
            channel_id,
            sequence_number: 1,
            job_id: 1,
            nonce: 1,
            ntime: 1,
            version: 1,
        };
        // Of the upstream's channel, of a group, of nobody.
        for channel_id in [1, 77, u32::MAX] {
            let payload = binary_sv2::Encodable::to_vec(&share(channel_id));
            world.device_sends(other, 0x8000, 0x1a, &payload);
        }
        world.device_closes(0, channel);
        let payload = binary_sv2::Encodable::to_vec(&share(channel));
        world.device_sends(0, 0x8000, 0x1a, &payload);
        for (device, expected) in [(0, 1), (other, 3)] {
            assert_eq!(world.devices[device].count("SubmitShares.Error"), expected);
            assert_eq!(world.devices[device].closed, None);
        }
        assert_eq!(
            world.snapshot().rejected.get("invalid-channel-id"),
            Some(&4)
        );
        assert_eq!(shares(&world, 0), 0);
        world.assert_books_balance();
    }
}

#[test]
fn a_block_of_the_tip_before_goes_up_and_is_answered_once() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            for verdict in [Ok(()), Err("stale-share")] {
                let mut world = World::prepared(config(mode, 1), |upstreams| {
                    upstreams[0].nbits = EASY;
                });
                let device = world.device_with(PLAIN, kind, "alice.rig1");
                let channel = world.devices[device].opened[0];
                let old = world.devices[device].work(channel);
                let link = world.link(0);
                world.waits_secs(10);
                world.upstreams[0].new_tip(link);
                world.waits_secs(10);
                world.upstreams[0].verdict = Some(verdict);
                let target = Target::from_nbits(EASY).unwrap();
                let found = world.devices[device].find_below(&old, &target);
                world.hands_in(device, &old, &found, None);
                assert_eq!(shares(&world, 0), 1, "{mode:?} {kind:?}");
                world.waits_secs(2);
                assert_eq!(world.devices[device].codes(), ["stale-share"]);
                assert_eq!(world.snapshot().upstream.unpaid_blocks, 1);
                world.assert_devices_answered();
                world.assert_books_balance();
            }
        }
    }
}

#[test]
fn an_acknowledgement_counts_what_the_device_waits_for() {
    let mut world = World::prepared(config(PerMiner, 1), |upstreams| {
        upstreams[0].nbits = EASY;
        upstreams[0].verdict = None;
    });
    let device = world.device_with(PLAIN, Extended, "alice.rig1");
    let channel = world.devices[device].opened[0];
    let old = world.devices[device].work(channel);
    let link = world.link(0);
    world.upstreams[0].new_tip(link);
    world.run();
    let target = Target::from_nbits(EASY).unwrap();
    let block = world.devices[device].find_below(&old, &target);
    world.hands_in(device, &old, &block, None);
    world.digs(device, channel);
    world.upstreams[0].answers(2, Ok(()));
    world.run();
    assert_eq!(world.devices[device].codes(), ["stale-share"]);
    assert_eq!(world.devices[device].acks, [(channel, 2, 1)]);
    world.assert_devices_answered();
    world.assert_books_balance();
}

#[test]
fn a_share_that_the_upstream_would_find_stale_is_called_that() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        let link = world.link(0);
        let upstream = upstream_channel(&world, 0);
        // It names a job that nobody has.
        world.upstreams[0].next_block();
        world.upstreams[0].activate(link, upstream, 77);
        world.run();
        world.digs(0, channel);
        assert_eq!(world.devices[0].codes(), ["stale-share"]);
        assert_eq!(world.snapshot().upstream.lost, 1);
        world.upstreams[0].new_tip(link);
        world.run();
        world.digs(0, channel);
        assert_eq!(world.devices[0].accepted, 1);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn a_block_that_is_no_share_goes_up() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].nbits = EASY;
            upstreams[0].target = Target::from_difficulty(1.0).unwrap().to_le_bytes();
        });
        let device = world.device_with(PLAIN, Extended, "alice.rig1");
        let channel = world.devices[device].opened[0];
        let work = world.devices[device].work(channel);
        let target = Target::from_nbits(EASY).unwrap();
        let found = world.devices[device].find_below(&work, &target);
        world.hands_in(device, &work, &found, None);
        world.waits_secs(2);
        assert_eq!(shares(&world, 0), 1, "{mode:?}");
        assert_eq!(world.devices[device].accepted, 1);
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn a_worker_s_name_that_is_no_text_is_told_in_as_many_bytes_as_there_are() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let device = world.device_with(NAMING, Extended, "alice.rig1");
        let channel = world.devices[device].opened[0];
        let work = world.devices[device].work(channel);
        let found = world.devices[device].find_below(&work, work.target());
        let message = mining_sv2::SubmitSharesExtended {
            channel_id: channel,
            sequence_number: 1,
            job_id: work.job_id(),
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
            extranonce: found.extranonce.as_slice().try_into().unwrap(),
        };
        let mut payload = binary_sv2::Encodable::to_vec(&message);
        let worker = extensions_sv2::WorkerIdentity::new(&[0xff; 32]).unwrap();
        worker.append_to(&mut payload);
        world.device_sends(device, 0x8000, 0x1b, &payload);
        assert_eq!(shares(&world, 0), 1);
        let told = world.upstreams[0].workers[0].as_ref().unwrap();
        assert!(told.len() <= 32 && told.starts_with('\u{fffd}'), "{told}");
    }
}

#[test]
fn jobs_on_one_block_count_until_the_next_block() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            let (mut world, channel) = lone(mode, kind);
            let link = world.link(0);
            let first = world.devices[0].work(channel);
            world.waits_secs(10);
            world.upstreams[0].new_job(link);
            world.waits_secs(10);
            let second = world.devices[0].work(channel);
            assert_ne!(first.job_id(), second.job_id());
            world.digs_on(0, &first);
            world.digs_on(0, &second);
            world.waits_secs(2);
            world.devices[0].assert_content();
            let upstream = &world.upstreams[0];
            let extended = upstream.shares.iter().map(|(_, share)| share.job_id);
            let standard = upstream
                .standard_shares
                .iter()
                .map(|(_, share)| share.job_id);
            let jobs: Vec<_> = extended.chain(standard).collect();
            assert!(jobs.len() == 2 && jobs[0] < jobs[1], "{jobs:?}");
            world.assert_devices_answered();
        }
    }
}

#[test]
fn a_future_job_is_mined_when_its_block_comes() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            let (mut world, channel) = lone(mode, kind);
            let link = world.link(0);
            let upstream = upstream_channel(&world, 0);
            world.upstreams[0].next_block();
            let job_id = world.upstreams[0].future_job(link, upstream);
            world.run();
            let before = world.devices[0].work(channel).job_id();
            world.digs(0, channel);
            world.upstreams[0].activate(link, upstream, job_id);
            world.run();
            assert_eq!(
                world.devices[0].work(channel).job_id(),
                before + 1,
                "{mode:?} {kind:?}"
            );
            world.digs(0, channel);
            let upstream = &world.upstreams[0];
            let extended = upstream.shares.iter().map(|(_, share)| share.job_id);
            let standard = upstream
                .standard_shares
                .iter()
                .map(|(_, share)| share.job_id);
            assert_eq!(extended.chain(standard).last(), Some(job_id));
            world.waits_secs(2);
            world.devices[0].assert_content();
        }
    }
}

#[test]
fn another_prefix_upstream_is_no_news_to_devices() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            let mut world = World::prepared(config(mode, 1), |upstreams| {
                // A standard channel's root comes ready from the upstream, whatever the prefix.
                upstreams[0].setup = Some(Ok(2));
            });
            let device = world.device_with(PLAIN, kind, "alice.rig1");
            let channel = world.devices[device].opened[0];
            let link = world.link(0);
            let upstream = upstream_channel(&world, 0);
            world.upstreams[0].set_prefix(link, upstream, [9; 4]);
            world.waits_secs(6);
            world.devices[device].log.clear();
            world.upstreams[0].new_job(link);
            world.waits_secs(6);
            let log = world.devices[device].log.iter();
            let news: Vec<_> = log.filter(|name| **name != "SetTarget").copied().collect();
            let job = if kind == Extended {
                "NewExtendedMiningJob"
            } else {
                "NewMiningJob"
            };
            assert_eq!(news, [job]);
            let work = world.devices[device].work(channel);
            let found = world.digs_on(device, &work);
            let (_, share) = world.upstreams[0].shares.last().unwrap();
            let root = world.upstreams[0].root_of(share, &[9; 4]);
            assert_eq!(
                work.merkle_root(&found.extranonce),
                Some(root),
                "{mode:?} {kind:?}"
            );
            world.waits_secs(2);
            world.devices[device].assert_content();
        }
    }
}

#[test]
fn another_group_upstream_is_followed() {
    for mode in BOTH {
        let (mut world, channel) = lone(mode, Extended);
        let link = world.link(0);
        let upstream = upstream_channel(&world, 0);
        world.upstreams[0].set_group(link, 4_000, &[upstream]);
        world.waits_secs(6);
        world.upstreams[0].next_block();
        let job_id = world.upstreams[0].future_job(link, 4_000);
        world.upstreams[0].activate(link, 4_000, job_id);
        world.waits_secs(1);
        world.digs(0, channel);
        assert_eq!(world.upstreams[0].shares.last().unwrap().1.job_id, job_id);
        world.waits_secs(2);
        world.devices[0].assert_content();
        assert_eq!(world.devices[0].count("SetGroupChannel"), 0);
    }
}

/// Shares of all channels of all devices; each is what the upstream makes of it.
fn digs_and_checks(world: &mut World) {
    for device in 0..world.devices.len() {
        for channel in world.devices[device].opened.clone() {
            let work = world.devices[device].work(channel);
            let found = world.digs_on(device, &work);
            let root = work.merkle_root(&found.extranonce);
            assert_eq!(root, Some(world.upstreams[0].last_root()));
        }
    }
}

#[test]
fn every_share_is_valid_upstream() {
    let kinds = [Extended, Standard];
    let cases = BOTH
        .into_iter()
        .flat_map(|mode| kinds.map(|kind| (mode, kind)));
    for (mode, kind) in cases {
        for flags in [0, 2] {
            let mut world = World::prepared(config(mode, 1), |upstreams| {
                upstreams[0].setup = Some(Ok(flags));
            });
            let devices = [(); 2].map(|()| world.device(PLAIN));
            for (device, i) in devices.into_iter().chain(devices).zip(0..) {
                world.opens(device, kind, &format!("alice.rig{i}")).unwrap();
            }
            let link = world.link(0);
            for _ in 0..5 {
                digs_and_checks(&mut world);
                world.upstreams[0].new_job(link);
                world.waits_secs(10);
            }
            world.assert_devices_answered();
            world.assert_books_balance();
        }
    }
}

#[test]
fn channels_of_one_upstream_may_have_different_room() {
    let mut world = World::new(config(PerMiner, 1));
    let first = world.device(PLAIN);
    world.opens(first, Extended, "alice.rig0").unwrap();
    world.upstreams[0].extranonce_size = 7;
    let second = world.device(PLAIN);
    let _ = world.opens(second, Extended, "alice.rig1");
    assert_eq!(world.upstreams[0].channels.len(), 2);
    let link = world.link(0);
    for _ in 0..3 {
        world.upstreams[0].new_tip(link);
        world.waits_secs(1);
        let channel = world.devices[first].opened[0];
        let work = world.devices[first].work(channel);
        let found = world.digs_on(first, &work);
        assert_eq!(
            work.merkle_root(&found.extranonce),
            Some(world.upstreams[0].last_root())
        );
    }
    world.assert_devices_answered();
}
