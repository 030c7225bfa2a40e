//! The same with Sv2 devices.

use const_sv2::mining::REQUIRES_EXTENDED_CHANNELS;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::target::Target;

use super::*;
use crate::common::device::{Device, Extended, Kind, NAMING, PLAIN, SMALL, Standard};

const KINDS: [(Kind, ChannelKind); 4] = [
    (PLAIN, Extended),
    (NAMING, Extended),
    (PLAIN, Standard),
    (SMALL, Standard),
];

/// Devices of each kind, each with so many channels.
fn devices(world: &mut World, channels: usize) {
    for (i, (kind, channel)) in KINDS.into_iter().enumerate() {
        let device = world.device(kind);
        for at in 0..channels {
            let user = format!("alice.rig{i}x{at}");
            world.opens(device, channel, &user).expect("a channel");
        }
    }
}

/// Whatever was passed on was accepted, and no device heard a no.
fn assert_devices_content(world: &World, pool: &Shared, mode: ChannelMode) {
    assert_all_accepted(world, pool, mode);
    world.devices.iter().for_each(Device::assert_content);
    world.assert_devices_answered();
    let refused = world.snapshot().rejected;
    assert!(refused.is_empty(), "{mode:?}: {refused:?}");
}

#[test]
fn every_share_of_a_device_that_is_passed_on_is_accepted() {
    for mode in BOTH {
        for flags in [0, REQUIRES_EXTENDED_CHANNELS] {
            let pool = Shared::asking(flags);
            let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
            devices(&mut world, 2);
            for round in 0..40 {
                world.dig_all();
                world.waits_secs(1 + round % 3 * 10);
                match round % 10 {
                    3 | 6 => pool.with(&mut world, Pool::new_template),
                    9 => pool.with(&mut world, |pool| pool.new_tip(pool_side::HARD)),
                    _ => {}
                }
            }
            world.waits_secs(20);
            assert_devices_content(&world, &pool, mode);
            let counts = world.snapshot().upstream;
            assert_eq!(counts.passed_on + counts.below_target, 320);
        }
    }
}

#[test]
fn miners_of_both_kinds_share_a_channel() {
    let mode = ChannelMode::Aggregated;
    let pool = Shared::new();
    let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
    let miner = world.miner("alice.rig1");
    devices(&mut world, 1);
    for _ in 0..10 {
        world.mine(miner);
        world.dig_all();
        world.waits_secs(5);
        pool.with(&mut world, Pool::new_template);
    }
    world.waits_secs(20);
    assert_devices_content(&world, &pool, mode);
}

/// A block of each channel; each is what the template provider makes of it.
fn find_blocks(world: &mut World, pool: &Shared) -> usize {
    let target = Target::from_nbits(EASY).unwrap();
    let mut count = 0;
    for device in 0..world.devices.len() {
        for channel in world.devices[device].opened.clone() {
            let work = world.devices[device].work(channel);
            let found = world.devices[device].find_below(&work, &target);
            world.hands_in(device, &work, &found, None);
            let mut blocks = pool.blocks();
            assert_eq!(blocks.len(), 1);
            let block = pool.solve(blocks.remove(0), world.now);
            assert!(block.header.validate_pow(block.header.target()).is_ok());
            assert_eq!(block.header.bits.to_consensus(), EASY);
            assert!(block.check_merkle_root());
            assert!(block.check_witness_commitment());
            let paid = paid(&block.txdata[0]);
            assert_eq!((paid.len(), &*paid[0].1), (1, POOL_SCRIPT));
            assert!(paid[0].0 > 5_000_000_000, "with the fee");
            count += 1;
        }
    }
    count
}

#[test]
fn a_block_of_a_device_is_a_block() {
    for mode in BOTH {
        for flags in [0, REQUIRES_EXTENDED_CHANNELS] {
            let pool = Shared::asking(flags);
            let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
            devices(&mut world, 2);
            pool.with(&mut world, |pool| pool.new_tip(EASY));
            world.waits_secs(10);
            let count = find_blocks(&mut world, &pool);
            assert_eq!(count, 8, "{mode:?}");
            world.waits_secs(20);
            world.devices.iter().for_each(Device::assert_content);
            assert_eq!(world.snapshot().upstream.rejected, 0);
        }
    }
}

#[test]
fn a_block_of_a_device_on_an_earlier_tip_reaches_the_node() {
    for mode in BOTH {
        for (kind, channel_kind) in KINDS {
            let pool = Shared::new();
            let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
            let device = world.device_with(kind, channel_kind, "alice.rig1");
            pool.with(&mut world, |pool| pool.new_tip(EASY));
            let old = world.devices[device].work(world.devices[device].opened[0]);
            pool.with(&mut world, |pool| pool.new_tip(EASY));
            let found = world.devices[device].find_below(&old, &Target::from_nbits(EASY).unwrap());
            world.hands_in(device, &old, &found, None);
            assert_eq!(pool.blocks().len(), 1, "{mode:?}");
            assert_eq!(world.devices[device].codes(), ["stale-share"]);
            world.waits_secs(2);
            world.assert_devices_answered();
            assert_eq!(world.snapshot().upstream.unpaid_blocks, 1);
        }
    }
}

#[test]
fn whom_a_device_s_block_pays_is_checked() {
    for mode in BOTH {
        for (script, is_mined) in [(POOL_SCRIPT, true), (SCRIPT, false)] {
            let pool = Shared::new();
            let mut config = config(mode, Some("farm"));
            config.upstreams[0].expected_payout = Some(ExpectedPayout {
                script_pubkey: ScriptBuf::from_hex(script).unwrap(),
                min_percent: 95,
            });
            let mut world = World::real(config, vec![pool.peer()]);
            let device = world.device_with(PLAIN, Standard, "alice.rig1");
            world.waits_secs(10);
            assert_eq!(world.devices[device].opened.len(), usize::from(is_mined));
            assert_eq!(world.failures(0).is_empty(), is_mined, "{mode:?}");
        }
    }
}

#[test]
fn pools_that_are_killed_again_and_again_lose_no_device_and_no_share_silently() {
    let modes = BOTH.into_iter().flat_map(|a| BOTH.map(|b| [a, b]));
    for modes in modes {
        let pools = [Shared::new(), Shared::asking(REQUIRES_EXTENDED_CHANNELS)];
        let mut config = common::config(modes[0], 2);
        config.bridge.vardiff.shares_per_minute = SHARES_PER_MINUTE;
        config.upstreams[1].mode = modes[1];
        let peers = pools.iter().map(Shared::peer).collect();
        let mut world = World::real(config, peers);
        devices(&mut world, 2);
        for round in 0..10 {
            for step in 0..6 {
                world.dig_all();
                world.waits(std::time::Duration::from_millis(300));
                if step == 3 {
                    let used = world.used().unwrap();
                    pools[used].with(&mut world, |pool| pool.new_tip(pool_side::HARD));
                }
            }
            let used = world.used().unwrap();
            world.kill(used);
            world.revive(1 - used);
            world.waits_secs(3);
            assert!(world.used().is_some(), "{modes:?} round {round}");
        }
        world.dig_all();
        world.waits_secs(30);
        for device in &world.devices {
            assert_eq!((&device.closed, &device.ended), (&None, &None), "{modes:?}");
            assert_eq!(device.session.ignored(), 0);
            let codes = device.codes();
            assert!(
                codes.iter().all(|code| *code == "upstream-lost"),
                "{codes:?}"
            );
        }
        world.assert_devices_answered();
        let counts = world.snapshot().upstream;
        assert_eq!(counts.rejected, 0, "{modes:?}");
        assert_eq!(counts.passed_on, counts.accepted + counts.lost);
        let persisted: u64 = pools.iter().map(Shared::persisted).sum();
        assert!(persisted >= counts.accepted, "{modes:?} {counts:?}");
        assert!(counts.accepted > 60, "{counts:?}");
    }
}
