//! Devices that do not keep to the rules, and extensions that nobody knows.

use binary_sv2::Encodable as _;
use common_messages_sv2::{ChannelEndpointChanged, CommonMessage};
use mining_proxy_core::Note;
use mining_sv2::{OpenExtendedMiningChannel, OpenStandardMiningChannel};
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::messages::ForwardedFrame;

use super::*;
use crate::common::device::TERMS;
use crate::common::upstream::Reach;

/// An extension that nobody knows, with the channel bit.
const FOREIGN: u16 = 0x8abc;

/// Set up, with a channel.
fn set_up(world: &mut World) -> usize {
    world.device_with(PLAIN, Extended, "mallory")
}

fn label(world: &World, device: usize) -> Option<&'static str> {
    world.devices[device]
        .closed
        .as_ref()
        .map(CloseReason::label)
}

fn open(hash_rate: f32, identity: &[u8]) -> Vec<u8> {
    OpenExtendedMiningChannel {
        request_id: 9,
        user_identity: identity.try_into().unwrap(),
        nominal_hash_rate: hash_rate,
        max_target: [0xff; 32].into(),
        min_extranonce_size: 0,
    }
    .to_vec()
}

#[test]
fn frames_that_are_no_messages_end_the_connection_and_no_other() {
    for mode in BOTH {
        let frames: [(u16, u8, &[u8], Option<&str>); 9] = [
            (0, 0x13, &[1, 2], Some("malformed-message")),
            (0, 0x10, &[], Some("malformed-message")),
            (0x8000, 0x1b, &[0; 5], Some("malformed-message")),
            // Of a server.
            (0x8000, 0x15, &[0; 300], Some("wrong-direction")),
            // Setup once more.
            (0, 0x00, &[0; 300], Some("message-out-of-place")),
            // Nobody knows it.
            (0, 0x7e, &[], None),
            (0x0abc, 0x01, &[1], None),
            (FOREIGN, 0x01, &[1], None),
            (FOREIGN, 0x01, &[77, 0, 0, 0, 1], None),
        ];
        let mut world = World::with(mode, 1);
        let good = world.device_with(PLAIN, Extended, "alice.rig1");
        let mut closed = 0;
        for (extension_type, msg_type, payload, expected) in frames {
            let bad = set_up(&mut world);
            world.device_sends(bad, extension_type, msg_type, payload);
            assert_eq!(
                label(&world, bad),
                expected,
                "{extension_type:#x} {msg_type:#x}"
            );
            closed += u64::from(expected.is_some());
            // Whatever it sends now.
            world.device_sends(bad, 0x8000, 0x1b, &[0; 60]);
        }
        assert_eq!(world.snapshot().closed.values().sum::<u64>(), closed);
        let channel = world.devices[good].opened[0];
        world.digs(good, channel);
        world.waits_secs(2);
        world.devices[good].assert_content();
        assert_eq!(world.proxy.devices(), 1 + 4);
        assert_eq!(world.proxy.miners(), 1 + 4);
    }
}

#[test]
fn any_bytes_at_any_time_do_no_harm() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let good = world.device_with(PLAIN, Extended, "alice.rig1");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for round in 0..3_000 {
            let bad = if round % 2 == 0 {
                world.raw_device()
            } else {
                set_up(&mut world)
            };
            let len = (next() % 80) as usize;
            let payload: Vec<u8> = (0..len).map(|_| (next() % 4) as u8).collect();
            let extension_type = [0, 0x8000, 1, FOREIGN][(next() % 4) as usize];
            world.device_sends(bad, extension_type, (next() % 0x40) as u8, &payload);
            if !world.devices[bad].is_gone {
                world.device_leaves(bad);
            }
        }
        assert_eq!((world.proxy.devices(), world.proxy.miners()), (1, 1));
        world.waits_secs(10);
        let channel = world.devices[good].opened[0];
        world.digs(good, channel);
        world.waits_secs(2);
        world.devices[good].assert_content();
        world.assert_books_balance();
        world.assert_nothing_is_left_to_do();
    }
}

#[test]
fn messages_before_setup_end_the_connection() {
    let mut world = World::with(Aggregated, 1);
    for (msg_type, payload) in [(0x13, open(1.0, b"mallory")), (0x1b, vec![0; 60])] {
        let bad = world.raw_device();
        world.device_sends(bad, 0, msg_type, &payload);
        assert_eq!(label(&world, bad), Some("message-before-setup"));
    }
    let silent = world.raw_device();
    world.waits_secs(11);
    assert_eq!(label(&world, silent), Some("setup-timeout"));
    let idle = world.device(PLAIN);
    world.waits_secs(61);
    assert_eq!(label(&world, idle), Some("no-channel"));
    assert_eq!(world.proxy.devices(), 0);
    assert_eq!(world.snapshot().closed.len(), 3);
}

#[test]
fn opens_that_make_no_sense_are_refused() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let bad = set_up(&mut world);
        for rate in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
            world.device_sends(bad, 0, 0x13, &open(rate, b"mallory"));
        }
        let impossible = OpenStandardMiningChannel {
            request_id: 7,
            user_identity: "mallory".try_into().unwrap(),
            nominal_hash_rate: 1.0,
            max_target: [0; 32].into(),
        };
        world.device_sends(bad, 0, 0x10, &impossible.to_vec());
        assert_eq!(
            world.devices[bad].count("OpenMiningChannel.Error"),
            5,
            "{mode:?}"
        );
        assert_eq!(world.devices[bad].closed, None);
        assert_eq!(world.proxy.miners(), 1);
    }
}

#[test]
fn identities_of_any_bytes_and_any_length_are_taken() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |_| {});
        let device = set_up(&mut world);
        let name = "OpenExtendedMiningChannel.Success";
        for identity in [&[0xff; 255][..], &[], &[b'a'; 255], b"a.\0\n"] {
            let before = world.devices[device].count(name);
            world.device_sends(device, 0, 0x13, &open(1.0, identity));
            assert_eq!(world.devices[device].count(name), before + 1, "{mode:?}");
        }
        for identity in world.upstreams[0].identities() {
            assert!(identity.len() <= 255);
        }
        assert_eq!(world.devices[device].closed, None);
    }
}

#[test]
fn ten_thousand_opens_at_once_are_all_answered_and_bounded() {
    for mode in BOTH {
        for is_up in [true, false] {
            let mut config = config(mode, 1);
            config.max_miners = 2_000;
            let mut world = World::prepared(config, |upstreams| {
                upstreams[0].reach = if is_up { Reach::Up } else { Reach::Refused };
            });
            let good = world.device_with(PLAIN, Extended, "alice.rig1");
            let bad = world.device(PLAIN);
            let (id, now) = (world.devices[bad].id, world.now);
            let frame = open(1.0, b"mallory");
            for _ in 0..10_000 {
                world.proxy.handle_device_frame(id, 0, 0x13, &frame, now);
            }
            assert!(world.proxy.miners() <= 2_000);
            let mut answers = [0; 2];
            while let Some(output) = world.proxy.poll_device_output(id) {
                let mining_proxy_core::DeviceOutput::Send(message) = output else {
                    panic!("{output:?}")
                };
                match message.kind().name {
                    "OpenExtendedMiningChannel.Success" => answers[0] += 1,
                    "OpenMiningChannel.Error" => answers[1] += 1,
                    _ => {}
                }
            }
            let waiting = world.proxy.miners() - 1 - answers[0];
            assert_eq!(
                answers[0] + answers[1] + waiting,
                10_000,
                "{mode:?} {is_up}"
            );
            assert!(waiting <= mining_proxy_core::MAX_WAITING_OPENS);
            world.device_leaves(bad);
            assert_eq!(world.proxy.miners(), 1);
            world.revive(0);
            world.waits_secs(25);
            let channel = world.devices[good].opened[0];
            world.digs(good, channel);
            world.waits_secs(2);
            world.devices[good].assert_content();
            assert_eq!(world.upstreams[0].channels.len(), 1);
            world.assert_nothing_is_left_to_do();
        }
    }
}

#[test]
fn one_device_may_close_and_open_without_end() {
    for mode in BOTH {
        let mut config = config(mode, 1);
        config.max_miners = 4;
        let mut world = World::new(config);
        let device = world.device(PLAIN);
        // More than there are numbers for.
        for i in 0..5_000 {
            let kind = [Extended, Standard][i % 2];
            let channel = world.opens_with(device, kind, "alice.rig1", TERMS);
            let channel = channel.expect("a number");
            if i % 100 == 0 {
                world.digs(device, channel);
                let link = world.link(0);
                world.upstreams[0].new_tip(link);
                world.run();
            }
            world.device_closes(device, channel);
        }
        assert_eq!(world.proxy.miners(), 0);
        world.waits_secs(10);
        let expected = if mode == PerMiner { 0 } else { 1 };
        assert_eq!(world.upstreams[0].channels.len(), expected, "{mode:?}");
        world.assert_books_balance();
    }
}

#[test]
fn what_is_not_done_for_devices_is_counted_by_reason_and_kept() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let frames: [(u16, u8, &[u8]); 5] = [
            // Nobody knows it.
            (0, 0x7e, &[]),
            (0x0abc, 0x01, &[1]),
            (0x0abc, 0x01, &[1]),
            // `CloseChannel` of channel 77, which is not there, as it should be and without the channel bit.
            (0x8000, 0x18, &[77, 0, 0, 0, 0]),
            (0, 0x18, &[77, 0, 0, 0, 0]),
        ];
        let expected = [
            ("close-of-unknown-channel", 2),
            ("unknown-extension", 2),
            ("unknown-message", 1),
            ("wrong-channel-bit", 1),
        ];
        let device = set_up(&mut world);
        assert!(world.snapshot().not_done.is_empty());
        for (extension_type, msg_type, payload) in frames {
            world.device_sends(device, extension_type, msg_type, payload);
        }
        assert_eq!(world.snapshot().not_done, expected.into());
        world.device_leaves(device);
        assert_eq!(world.proxy.devices(), 0);
        assert_eq!(world.snapshot().not_done, expected.into());
        // A second one, and another thread's.
        let device = set_up(&mut world);
        world.device_sends(device, 0, 0x7e, &[]);
        let mut both = world.snapshot();
        both.merge(world.snapshot());
        assert_eq!(both.not_done["unknown-message"], 4);
        assert_eq!(both.not_done["wrong-channel-bit"], 2);
    }
}

fn foreign(channel_id: u32, rest: &[u8]) -> Vec<u8> {
    [&channel_id.to_le_bytes(), rest].concat()
}

#[test]
fn frames_of_unknown_extensions_pass_where_a_channel_is_handed_on() {
    for kind in [Extended, Standard] {
        let (mut world, channel) = lone(PerMiner, kind);
        // Numbers on both sides are not the same.
        let other = world.device_with(PLAIN, kind, "bob.rig1");
        let own = world.devices[other].opened[0];
        let link = world.link(0);
        let upstream = world.upstreams[0].channels[1].id;
        assert_ne!(own, upstream);
        world.device_sends(other, FOREIGN, 0x55, &foreign(own, &[1, 2, 3]));
        let frame = |payload| ForwardedFrame {
            extension_type: FOREIGN,
            msg_type: 0x55,
            payload,
        };
        assert_eq!(
            world.upstreams[0].forwarded,
            [frame(foreign(upstream, &[1, 2, 3]))]
        );
        world.upstream_sends(link, FOREIGN, 0x55, &foreign(upstream, &[4, 5]));
        assert_eq!(world.devices[other].foreign, [frame(foreign(own, &[4, 5]))]);
        assert_eq!(world.devices[0].foreign, []);
        assert_eq!(world.snapshot().foreign_ignored, 0);
        assert_eq!(world.snapshot().upstreams[0].ignored, 0);
        // Other work is of the same endpoint.
        world.upstreams[0].new_tip(link);
        world.run();
        assert_eq!(world.devices[other].count("ChannelEndpointChanged"), 0);
        // For nobody.
        world.device_sends(other, FOREIGN, 0x55, &foreign(77, &[1]));
        world.upstream_sends(link, FOREIGN, 0x55, &foreign(4_711, &[1]));
        assert_eq!(world.snapshot().foreign_ignored, 1);
        assert_eq!(world.snapshot().upstreams[0].ignored, 1);
        world.digs(0, channel);
        world.devices[0].assert_content();
    }
}

#[test]
fn frames_of_unknown_extensions_end_where_a_channel_is_shared() {
    let (mut world, channel) = lone(Aggregated, Extended);
    let link = world.link(0);
    let upstream = upstream_channel(&world, 0);
    world.device_sends(0, FOREIGN, 0x55, &foreign(channel, &[1]));
    world.upstream_sends(link, FOREIGN, 0x55, &foreign(upstream, &[1]));
    assert_eq!(world.upstreams[0].forwarded, []);
    assert_eq!(world.devices[0].foreign, []);
    assert_eq!(world.snapshot().foreign_ignored, 1);
    assert_eq!(world.snapshot().upstreams[0].ignored, 1);
}

#[test]
fn a_device_hears_of_another_endpoint_if_it_has_spoken_to_the_one_before() {
    for speaks in [None, Some(true), Some(false)] {
        let mut world = World::with(PerMiner, 2);
        world.waits_secs(25);
        let device = world.device_with(PLAIN, Extended, "alice.rig1");
        let own = world.devices[device].opened[0];
        let link = world.link(0);
        let upstream = world.upstreams[0].channels.last().unwrap().id;
        match speaks {
            Some(true) => world.device_sends(device, FOREIGN, 0x55, &foreign(own, &[1])),
            Some(false) => world.upstream_sends(link, FOREIGN, 0x55, &foreign(upstream, &[1])),
            None => {}
        }
        world.kill(0);
        world.waits_secs(25);
        assert_eq!(world.used(), Some(1));
        let name = "ChannelEndpointChanged";
        assert_eq!(
            world.devices[device].count(name),
            usize::from(speaks.is_some())
        );
        world.revive(0);
        world.kill(1);
        world.waits_secs(25);
        // It has not spoken to that one.
        assert_eq!(
            world.devices[device].count(name),
            usize::from(speaks.is_some())
        );
        world.digs(device, own);
        world.waits_secs(2);
        world.devices[device].assert_content();
    }
}

#[test]
fn a_device_hears_when_the_endpoint_changes_further_up() {
    for mode in [PerMiner, Aggregated] {
        let (mut world, channel) = lone(mode, Extended);
        let link = world.link(0);
        let channel_id = upstream_channel(&world, 0);
        let changes = |world: &mut World| {
            let changed = ChannelEndpointChanged { channel_id };
            world.upstreams[0].say(link, CommonMessage::from(changed));
            world.run();
            world.devices[0].count("ChannelEndpointChanged")
        };
        assert_eq!(changes(&mut world), 0, "it has not spoken to any");
        world.device_sends(0, FOREIGN, 0x55, &foreign(channel, &[1]));
        // Where the channel is shared, the proxy itself is the endpoint.
        let heard = usize::from(mode == PerMiner);
        assert_eq!(changes(&mut world), heard);
        assert_eq!(changes(&mut world), heard, "nor to this one");
        assert_eq!(world.snapshot().upstreams[0].endpoints_changed, 3);
        let told = world.notes.iter();
        let told = told.filter(|note| matches!(note, Note::EndpointChanged { .. }));
        assert_eq!(told.count(), 2, "at the first, and when it has doubled");
        world.digs(0, channel);
        world.waits_secs(2);
        world.devices[0].assert_content();
    }
}

#[test]
fn what_the_endpoint_before_says_is_for_nobody() {
    let mut world = World::prepared(config(PerMiner, 2), |upstreams| {
        upstreams[0].reach = Reach::Refused;
    });
    world.waits_secs(25);
    let device = world.device_with(PLAIN, Extended, "alice.rig1");
    let own = world.devices[device].opened[0];
    let old = world.link(1);
    let upstream = world.upstreams[1].channels.last().unwrap().id;
    world.device_sends(device, FOREIGN, 0x55, &foreign(own, &[1]));
    world.revive(0);
    while world.used() != Some(0) {
        world.waits(std::time::Duration::from_millis(100));
    }
    assert_eq!(world.devices[device].count("ChannelEndpointChanged"), 1);
    world.upstream_sends(old, FOREIGN, 0x55, &foreign(upstream, &[1]));
    assert_eq!(world.devices[device].foreign, []);
}
