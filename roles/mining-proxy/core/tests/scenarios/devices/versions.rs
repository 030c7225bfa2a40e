//! Versions of jobs that have to be left as they are.

use const_sv2::mining::{REQUIRES_FIXED_VERSION, REQUIRES_VERSION_ROLLING};
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::upstream::UpstreamEnd;

use super::*;
use crate::common::upstream::Upstream;

/// Firmware that rolls versions and cannot do otherwise.
const ROLLING: Kind = Kind {
    flags: REQUIRES_VERSION_ROLLING,
    ..PLAIN
};

/// What a pool says of it: with the flag and each job, or with jobs only.
const WAYS: [u32; 2] = [REQUIRES_FIXED_VERSION, 0];

fn fix(upstream: &mut Upstream, flags: u32) {
    upstream.setup = Some(Ok(flags));
    upstream.may_roll = false;
}

fn has_fixed_version(world: &World, device: usize) -> bool {
    world.devices[device].session.has_fixed_version()
}

#[test]
fn a_device_hears_at_setup_what_the_upstream_says_there() {
    for (mode, (kind, channel_kind)) in BOTH.into_iter().flat_map(|mode| KINDS.map(|of| (mode, of)))
    {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            fix(&mut upstreams[0], REQUIRES_FIXED_VERSION);
        });
        let device = world.device(kind);
        assert!(has_fixed_version(&world, device));
        let channel = world.opens(device, channel_kind, "alice.rig1").unwrap();
        world.digs(device, channel);
        world.waits_secs(2);
        world.devices[device].assert_content();
        assert_eq!(shares(&world, 0), 1, "{mode:?}");
    }
    let mut world = World::with(Aggregated, 1);
    let device = world.device(PLAIN);
    assert!(!has_fixed_version(&world, device));
}

#[test]
fn a_device_that_must_roll_versions_is_refused_where_it_may_not() {
    let mut world = World::prepared(config(Aggregated, 1), |upstreams| {
        fix(&mut upstreams[0], REQUIRES_FIXED_VERSION);
    });
    let device = world.device(ROLLING);
    let Some(UpstreamEnd::SetupRefused { code, flags }) = &world.devices[device].ended else {
        panic!("{:?}", world.devices[device].ended)
    };
    assert_eq!(code, "unsupported-feature-flags");
    assert_ne!(flags & REQUIRES_VERSION_ROLLING, 0);
}

#[test]
fn a_device_that_was_not_told_comes_again_and_is() {
    for (mode, way) in BOTH
        .into_iter()
        .flat_map(|mode| WAYS.map(|way| (mode, way)))
    {
        let mut world = World::prepared(config(mode, 2), |upstreams| fix(&mut upstreams[1], way));
        world.waits_secs(25);
        let standard = world.device_with(SMALL, Standard, "alice.rig1");
        let rolling = world.device_with(ROLLING, Extended, "bob.rig1");
        let extended = world.device_with(PLAIN, Extended, "carol.rig1");
        assert!(!has_fixed_version(&world, standard));
        world.dig_all();
        world.waits_secs(2);
        world.kill(0);
        world.waits_secs(25);
        assert_eq!(world.used(), Some(1));
        let no_work = Some(CloseReason::NoWork);
        // Jobs of a standard channel upstream do not speak of versions: without the flag they may be rolled (MC-17).
        let is_free = mode == PerMiner && way == 0;
        let expected = no_work.clone().filter(|_| !is_free);
        assert_eq!(world.devices[standard].closed, expected, "{mode:?} {way}");
        assert_eq!(world.devices[rolling].closed, no_work, "{mode:?} {way}");
        // Each of its jobs says so.
        assert_eq!(world.devices[extended].closed, None, "{mode:?} {way}");
        let channel = world.devices[extended].opened[0];
        assert_eq!(world.devices[extended].work(channel).version_mask(), 0);
        let again = world.device_with(SMALL, Standard, "alice.rig1");
        assert!(has_fixed_version(&world, again));
        let again = world.device(ROLLING);
        assert!(world.devices[again].ended.is_some());
        world.dig_all();
        world.waits_secs(2);
        let at_work = 2 + usize::from(is_free);
        assert_eq!(shares(&world, 1), at_work, "{mode:?} {way}");
        world.assert_books_balance();
    }
}

#[test]
fn who_was_told_that_versions_are_fixed_hears_nothing_else_later() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 2), |upstreams| {
            fix(&mut upstreams[0], REQUIRES_FIXED_VERSION);
        });
        world.waits_secs(25);
        let device = world.device_with(PLAIN, Extended, "alice.rig1");
        assert!(has_fixed_version(&world, device));
        world.kill(0);
        world.waits_secs(25);
        assert_eq!(world.used(), Some(1));
        let channel = world.devices[device].opened[0];
        let work = world.devices[device].work(channel);
        assert_eq!(work.version_mask(), 0, "{mode:?}");
        world.digs(device, channel);
        world.waits_secs(2);
        world.devices[device].assert_content();
        assert_eq!(shares(&world, 1), 1, "{mode:?}");
    }
}
