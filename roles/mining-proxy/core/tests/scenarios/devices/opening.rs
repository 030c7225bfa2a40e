//! Setup, and channels.

use mining_proxy_core::{EXTRANONCE_SIZES_ASKED, MAX_WAITING_OPENS};
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::downstream::CloseReason;

use super::*;
use crate::common::device::{NAMING, TERMS};
use crate::common::upstream::Reach;

#[test]
fn every_kind_of_device_gets_its_channel_and_work_at_once() {
    for mode in BOTH {
        for (kind, channel_kind) in KINDS {
            let mut world = World::with(mode, 1);
            let device = world.device(kind);
            world.devices[device].log.clear();
            let channel = world.opens(device, channel_kind, "alice.rig1").unwrap();
            let (opened, job) = match channel_kind {
                Extended => ("OpenExtendedMiningChannel.Success", "NewExtendedMiningJob"),
                Standard => ("OpenStandardMiningChannel.Success", "NewMiningJob"),
            };
            let expected = [opened, job, "SetNewPrevHash"];
            let log = &world.devices[device].log;
            assert!(
                log.starts_with(&expected),
                "{mode:?} {channel_kind:?} {log:?}"
            );
            for _ in 0..5 {
                world.digs(device, channel);
                world.waits_secs(2);
            }
            assert_eq!(shares(&world, 0), 5, "{mode:?} {channel_kind:?}");
            world.devices[device].assert_content();
            world.assert_devices_answered();
            world.assert_books_balance();
            world.assert_nothing_is_left_to_do();
        }
    }
}

#[test]
fn each_kind_of_channel_is_opened_upstream_as_the_upstream_has_it() {
    for (flags, gives_roots) in [(0, true), (0, false), (2, false)] {
        let mut world = World::prepared(config(PerMiner, 1), |upstreams| {
            upstreams[0].setup = Some(Ok(flags));
            upstreams[0].gives_roots = gives_roots;
        });
        let extended = world.device_with(PLAIN, Extended, "alice.rig1");
        let standard = world.device_with(PLAIN, Standard, "alice.rig2");
        let small = world.device_with(SMALL, Standard, "alice.rig3");
        let kinds = world.upstreams[0].channels.iter();
        let kinds: Vec<_> = kinds.map(|channel| channel.is_standard).collect();
        assert_eq!(kinds, [false, flags == 0, flags == 0]);
        let link = world.link(0);
        for round in 0..6 {
            world.dig_all();
            world.waits_secs(6);
            match round % 2 {
                0 => drop(world.upstreams[0].new_job(link)),
                _ => world.upstreams[0].new_tip(link),
            }
            world.run();
        }
        let (all, of_standard) = (shares(&world, 0), world.upstreams[0].standard_shares.len());
        assert_eq!((all, of_standard), (18, if flags == 0 { 12 } else { 0 }));
        for device in [extended, standard, small] {
            world.devices[device].assert_content();
        }
        if gives_roots {
            // Such a root is handed on as it is.
            let channel = world.devices[small].opened[0];
            let work = world.devices[small].work(channel);
            world.digs(small, channel);
            let (_, share) = world.upstreams[0].standard_shares.last().unwrap();
            let root = world.upstreams[0].root(share.job_id, share.channel_id);
            assert_eq!(work.merkle_root(&[]), Some(root));
        }
        world.assert_devices_answered();
        world.assert_books_balance();
    }
}

#[test]
fn small_devices_get_standard_jobs_only() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let device = world.device(SMALL);
        let channels: Vec<_> = (0..3)
            .map(|i| {
                world
                    .opens(device, Standard, &format!("alice.rig{i}"))
                    .unwrap()
            })
            .collect();
        assert_eq!(world.opens(device, Extended, "alice.rig9"), None);
        let code = "extended-channels-not-supported-for-standard-jobs";
        assert_eq!(world.devices[device].refused, [code]);
        let link = world.link(0);
        world.waits_secs(10);
        world.upstreams[0].new_tip(link);
        world.waits_secs(10);
        world.upstreams[0].new_job(link);
        world.waits_secs(10);
        world.dig_all();
        world.waits_secs(2);
        let log = &world.devices[device];
        assert_eq!(log.count("NewExtendedMiningJob"), 0);
        assert!(log.count("NewMiningJob") >= 3 * channels.len());
        assert_eq!(log.count("SetGroupChannel"), 0);
        log.assert_content();
        world.assert_devices_answered();
    }
}

#[test]
fn channels_of_one_device_share_a_group_where_they_share_a_channel() {
    let mut world = World::with(Aggregated, 1);
    let device = world.device(PLAIN);
    for i in 0..3 {
        world
            .opens(device, Extended, &format!("alice.rig{i}"))
            .unwrap();
    }
    world.opens(device, Standard, "alice.rig3").unwrap();
    let link = world.link(0);
    world.waits_secs(10);
    for is_tip in [true, false, true] {
        world.devices[device].log.clear();
        if is_tip {
            world.upstreams[0].new_tip(link);
        } else {
            world.upstreams[0].new_job(link);
        }
        world.waits_secs(6);
        let expected = if is_tip {
            &["NewExtendedMiningJob", "SetNewPrevHash"][..]
        } else {
            &["NewExtendedMiningJob"]
        };
        let log = world.devices[device].log.iter();
        let log: Vec<_> = log.filter(|name| **name != "SetTarget").copied().collect();
        assert_eq!(log, expected);
        world.dig_all();
        world.waits_secs(2);
    }
    world.devices[device].assert_content();
    assert_eq!(shares(&world, 0), 12);
    assert_eq!(world.upstreams[0].channels.len(), 1);
    world.assert_devices_answered();
}

#[test]
fn nobody_shares_an_extranonce() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        for kind in [Extended, Standard] {
            for _ in 0..2 {
                let device = world.device(PLAIN);
                for i in 0..3 {
                    world.opens(device, kind, &format!("alice.rig{i}")).unwrap();
                }
            }
        }
        let channels = |world: &World| -> Vec<Vec<u8>> {
            let devices = world.devices.iter();
            let all = devices.flat_map(|device| device.session.channels().channels());
            all.map(|channel| channel.extranonce_prefix()[..4].to_vec())
                .collect()
        };
        let mut prefixes = channels(&world);
        prefixes.sort();
        prefixes.dedup();
        assert_eq!(prefixes.len(), 12, "{mode:?}");
    }
}

#[test]
fn a_lone_channel_has_small_jobs_in_order_whatever_happens() {
    for mode in BOTH {
        for kind in [Extended, Standard] {
            let (mut world, channel) = lone(mode, kind);
            let link = world.link(0);
            assert_eq!(
                world.devices[0].work(channel).job_id(),
                1,
                "{mode:?} {kind:?}"
            );
            let mut last = 1;
            for round in 0..20 {
                match round % 3 {
                    0 => world.upstreams[0].new_tip(link),
                    _ => drop(world.upstreams[0].new_job(link)),
                }
                world.waits_secs(6);
                let job_id = world.devices[0].work(channel).job_id();
                assert!(last < job_id && job_id <= last + 2, "{job_id} after {last}");
                last = job_id;
                world.digs(0, channel);
            }
            world.waits_secs(2);
            world.devices[0].assert_content();
        }
    }
}

#[test]
fn the_answer_to_an_open_comes_before_all_else_however_late_it_is() {
    for mode in BOTH {
        for (kind, channel_kind) in KINDS {
            let mut world = World::prepared(config(mode, 1), |upstreams| {
                upstreams[0].reach = Reach::Refused;
            });
            let device = world.device(kind);
            assert_eq!(world.opens(device, channel_kind, "alice.rig1"), None);
            world.devices[device].log.clear();
            world.waits_secs(8);
            assert_eq!(world.devices[device].log, [""; 0]);
            world.upstreams[0].withholds_work = true;
            world.revive(0);
            world.waits_secs(25);
            let link = world.link(0);
            if let Some(channel) = world.upstreams[0]
                .channels
                .first()
                .map(|channel| channel.id)
            {
                world.upstreams[0].first_work(link, channel);
            }
            world.waits_secs(1);
            let name = world.devices[device].log.first().copied().unwrap();
            assert!(name.ends_with("MiningChannel.Success"), "{mode:?} {name}");
            let channel = world.devices[device].opened[0];
            world.digs(device, channel);
            world.waits_secs(2);
            world.devices[device].assert_content();
            world.assert_devices_answered();
        }
    }
}

#[test]
fn a_device_that_needs_more_extranonce_than_there_is_hears_that() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let device = world.device(PLAIN);
        for (min_extranonce_size, is_opened) in [(8, true), (9, false), (0, true), (32, false)] {
            let terms = OpenTerms {
                min_extranonce_size,
                ..TERMS
            };
            let opened = world.opens_with(device, Extended, "alice.rig1", terms);
            assert_eq!(
                opened.is_some(),
                is_opened,
                "{mode:?} {min_extranonce_size}"
            );
        }
        let code = "min-extranonce-size-too-large";
        assert_eq!(world.devices[device].refused, [code; 2]);
        world.waits_secs(6);
        // None is left open for those.
        let expected = if mode == PerMiner { 2 } else { 1 };
        assert_eq!(world.upstreams[0].channels.len(), expected, "{mode:?}");
        assert_eq!(world.upstreams[0].opens, expected);
        assert_eq!(world.proxy.miners(), 2);
    }
}

#[test]
fn an_upstream_with_little_extranonce_is_shared_all_the_same() {
    for mode in BOTH {
        for size in EXTRANONCE_SIZES_ASKED {
            for kind in [Extended, Standard] {
                let mut world = World::prepared(config(mode, 1), |upstreams| {
                    upstreams[0].extranonce_size = size;
                });
                let device = world.device(PLAIN);
                let channels: Vec<_> = (0..2)
                    .map(|i| world.opens(device, kind, &format!("alice.rig{i}")).unwrap())
                    .collect();
                for channel in channels {
                    world.digs(device, channel);
                }
                world.waits_secs(2);
                world.devices[device].assert_content();
                assert_eq!(shares(&world, 0), 2, "{mode:?} {size} {kind:?}");
            }
        }
    }
}

#[test]
fn an_upstream_s_refusal_reaches_the_device() {
    let mut world = World::prepared(config(PerMiner, 1), |upstreams| {
        upstreams[0].refuses_user = Some("mallory");
    });
    let device = world.device(PLAIN);
    for kind in [Extended, Standard] {
        assert!(world.opens(device, kind, "alice.rig1").is_some());
        assert_eq!(world.opens(device, kind, "alice.mallory"), None);
    }
    assert_eq!(world.devices[device].refused, ["unknown-user"; 2]);
    assert_eq!(
        world.proxy.snapshot(world.now).requests_refused["unknown-user"],
        2
    );
    assert_eq!(world.proxy.miners(), 2);
}

#[test]
fn identities_upstream_are_the_operator_s_with_the_device_s_behind_it() {
    let cases = [
        (Some("farm"), "alice.rig1", "farm.rig1"),
        (Some("sri/donate"), "alice.rig1", "sri/donate/rig1"),
        (None, "alice.rig1", "alice.rig1"),
    ];
    for (configured, user, expected) in cases {
        for kind in [Extended, Standard] {
            let mut config = config(PerMiner, 1);
            config.upstreams[0].user_identity = configured.map(str::to_owned);
            let mut world = World::new(config);
            world.device_with(PLAIN, kind, user);
            assert_eq!(world.upstreams[0].identities(), [expected]);
        }
    }
    let mut world = World::with(Aggregated, 1);
    world.device_with(PLAIN, Extended, "alice.rig1");
    assert_eq!(world.upstreams[0].identities(), ["farm-a"]);
}

#[test]
fn who_found_a_share_is_told_upstream() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let naming = world.device_with(NAMING, Extended, "alice.rig1");
        let plain = world.device_with(PLAIN, Extended, "bob.rig2");
        let mut dig = |device: usize, worker: Option<&str>| {
            let channel = world.devices[device].opened[0];
            let work = world.devices[device].work(channel);
            let found = world.devices[device].find_below(&work, work.target());
            world.hands_in(device, &work, &found, worker);
            world.upstreams[0].workers.last().unwrap().clone().unwrap()
        };
        assert_eq!(dig(naming, Some("carol.rig9")), "carol.rig9");
        assert_eq!(dig(naming, None), "alice.rig1", "{mode:?}");
        assert_eq!(dig(plain, None), "bob.rig2");
        // Not negotiated, so it is not there.
        assert_eq!(dig(plain, Some("carol.rig9")), "bob.rig2");
    }
}

#[test]
fn standard_shares_on_a_shared_channel_name_the_device() {
    let (mut world, channel) = lone(Aggregated, Standard);
    world.digs(0, channel);
    assert_eq!(world.upstreams[0].workers, [Some("alice.rig1".to_owned())]);
}

#[test]
fn a_device_that_would_choose_its_own_work_is_refused() {
    let mut world = World::with(Aggregated, 1);
    let flags = const_sv2::mining::REQUIRES_WORK_SELECTION;
    let device = world.device(Kind { flags, ..PLAIN });
    let closed = world.devices[device].closed.as_ref();
    let label = closed.map(CloseReason::label);
    assert_eq!(label, Some("unsupported-feature-flags"));
    assert_eq!(world.devices[device].log, ["SetupConnection.Error"]);
}

#[test]
fn opens_wait_as_long_as_there_is_room_for_them() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        let device = world.device(PLAIN);
        for _ in 0..MAX_WAITING_OPENS {
            world.opens(device, Extended, "alice.rig1");
        }
        assert_eq!(world.devices[device].refused, [""; 0]);
        assert_eq!(world.proxy.miners(), MAX_WAITING_OPENS);
        world.revive(0);
        world.waits_secs(25);
        let opened = &world.devices[device].opened;
        assert_eq!(opened.len(), MAX_WAITING_OPENS, "{mode:?}");
        world.devices[device].assert_content();
    }
}

#[test]
fn a_job_whose_payout_nobody_sees_is_not_mined_where_payout_is_checked() {
    let mut config = config(PerMiner, 1);
    config.upstreams[0].expected_payout = Some(mining_proxy_core::ExpectedPayout {
        script_pubkey: bitcoin::ScriptBuf::from_bytes(vec![0x51]),
        min_percent: 90,
    });
    for (pays, gives_roots) in [(0x51, true), (0x52, true), (0x52, false)] {
        let mut world = World::prepared(config.clone(), |upstreams| {
            (upstreams[0].pays, upstreams[0].gives_roots) = (pays, gives_roots);
        });
        let device = world.device(PLAIN);
        let channel = world.opens(device, Standard, "alice.rig1");
        assert_eq!(channel.is_some(), pays == 0x51);
        assert_eq!(world.failures(0).is_empty(), pays == 0x51);
        assert!(
            world.upstreams[0]
                .channels
                .iter()
                .all(|channel| !channel.is_standard)
        );
    }
}
