//! Sv2 devices, in both modes.

mod hostile;
mod moves;
mod opening;
mod shares;
mod terms;
mod versions;

use mining_proxy_core::ChannelMode;
use roles_logic_sv2::channels::ChannelKind;

use crate::common::device::{Extended, Kind, PLAIN, SMALL, Standard};
use crate::common::{World, config};

use ChannelMode::{Aggregated, PerMiner};

const BOTH: [ChannelMode; 2] = [Aggregated, PerMiner];

/// Devices of each kind, with the channel that each opens.
const KINDS: [(Kind, ChannelKind); 3] = [(PLAIN, Extended), (PLAIN, Standard), (SMALL, Standard)];

/// One device with one channel on one upstream; the channel.
fn lone(mode: ChannelMode, kind: ChannelKind) -> (World, u32) {
    let mut world = World::with(mode, 1);
    let device = world.device(PLAIN);
    let channel = world.opens(device, kind, "alice.rig1").unwrap();
    world.devices[device].log.clear();
    (world, channel)
}

/// The upstream's channel of the only device, or of all.
fn upstream_channel(world: &World, at: usize) -> u32 {
    let channels = &world.upstreams[at].channels;
    assert_eq!(channels.len(), 1);
    channels[0].id
}

/// Shares that an upstream has, of both kinds.
fn shares(world: &World, at: usize) -> usize {
    let upstream = &world.upstreams[at];
    upstream.shares.len() + upstream.standard_shares.len()
}
