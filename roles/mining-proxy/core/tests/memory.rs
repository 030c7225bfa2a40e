//! What a miner costs in memory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::alloc::System;

use mining_proxy_core::{ChannelMode, MinerId, PARK_TIME};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use common::World;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MINERS: usize = 500;

/// Bytes that a miner may keep, idle and at work, its share of everything included; with a channel of its own that is also
/// what the scripted upstream keeps of it.
const MAX_BYTES: [(ChannelMode, isize, isize); 2] = [
    (ChannelMode::Aggregated, 2_128, 2_752),
    (ChannelMode::PerMiner, 3_648, 4_992),
];

/// Takes what is for a miner, so that nothing of it stays.
fn drain(world: &mut World, miner: MinerId) {
    world.run();
    while world.proxy.poll_miner_output(miner).is_some() {}
}

fn log_in(world: &mut World, i: usize) -> MinerId {
    let now = world.now;
    let miner = world.proxy.miner_connected(now).unwrap();
    let user = format!("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig{i}");
    for line in [
        r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#,
        r#"{"id":2,"method":"mining.subscribe","params":["cgminer/4.12.1"]}"#,
        &format!(r#"{{"id":3,"method":"mining.authorize","params":["{user}","x"]}}"#),
    ] {
        world.proxy.handle_line(miner, line.as_bytes(), now);
        drain(world, miner);
    }
    miner
}

/// Bytes kept since then, for each miner.
fn kept(region: &Region<'_, System>) -> isize {
    let change = region.change();
    let bytes = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    bytes / MINERS as isize
}

/// So many minutes with a job each, and a block now and then.
fn minutes(world: &mut World, miners: &[MinerId], count: usize) {
    for round in 0..count {
        let link = world.link(0);
        if round % 20 == 0 {
            world.upstreams[0].new_tip(link);
        } else {
            world.upstreams[0].new_job(link);
        }
        world.waits_secs(60);
        for miner in miners {
            let now = world.now;
            world.proxy.handle_miner_timeout(*miner, now);
            drain(world, *miner);
        }
    }
}

/// One test, as the counters are those of the whole process.
#[test]
fn a_miner_keeps_little_and_not_more_with_time() {
    for (mode, max_idle, max_working) in MAX_BYTES {
        let mut world = World::with(mode, 1);
        let region = Region::new(ALLOCATOR);
        let miners: Vec<_> = (0..MINERS).map(|i| log_in(&mut world, i)).collect();
        let idle = kept(&region);
        minutes(&mut world, &miners, 60);
        let working = kept(&region);
        println!("{mode:?}: {idle} bytes idle, {working} at work");
        assert!(
            idle <= max_idle && working <= max_working,
            "{mode:?}: {idle} bytes idle, {working} at work"
        );
        minutes(&mut world, &miners, 60);
        let later = kept(&region);
        assert!(later <= working + 64, "{mode:?}: {working}, then {later}");
        // When they are gone nothing is left but their places, and those of their channels.
        for miner in &miners {
            let now = world.now;
            world.proxy.miner_closed(*miner, now);
            world.run();
        }
        world.waits(PARK_TIME);
        let left = kept(&region);
        assert!(left <= 640, "{mode:?}: {left}");
    }
}
