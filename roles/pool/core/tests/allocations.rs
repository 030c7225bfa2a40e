//! An accepted share takes no memory from the allocator, once a connection is warm.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::alloc::System;

use binary_sv2::Encodable as _;
use mining_sv2::{SubmitSharesExtended, SubmitSharesStandard};
use pool_core::downstream::Output;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::downstream::WorkerCounters;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use common::{HARD, Miner, Pool, config};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SHARES: usize = 100;

/// Frames of good shares for the job that is mined now, with a worker's name behind those of extended channels.
fn shares(miner: &mut Miner, channel: u32, kind: ChannelKind) -> (u8, Vec<Vec<u8>>) {
    let work = miner.work(channel);
    let frames = (0..SHARES as u32).map(|sequence_number| {
        let found = miner.find(&work, true);
        match kind {
            ChannelKind::Standard => SubmitSharesStandard {
                channel_id: channel,
                sequence_number,
                job_id: work.job_id(),
                nonce: found.nonce,
                ntime: found.ntime,
                version: found.version,
            }
            .to_vec(),
            ChannelKind::Extended => {
                let share = SubmitSharesExtended {
                    channel_id: channel,
                    sequence_number,
                    job_id: work.job_id(),
                    nonce: found.nonce,
                    ntime: found.ntime,
                    version: found.version,
                    extranonce: found.extranonce.as_slice().try_into().unwrap(),
                };
                [share.to_vec(), b"\x02\x00\x01\x04\x00rig1".to_vec()].concat()
            }
        }
    });
    let msg_type = match kind {
        ChannelKind::Standard => 0x1a,
        ChannelKind::Extended => 0x1b,
    };
    (msg_type, frames.collect())
}

/// Hands in all shares and carries out what follows; gives how often memory was asked for, and how many were
/// acknowledged.
fn hand_in(pool: &mut Pool, miner: &mut Miner, msg_type: u8, frames: &[Vec<u8>]) -> (usize, u32) {
    let mut acknowledged = 0;
    let mut buffer = [0; 512];
    let region = Region::new(ALLOCATOR);
    for frame in frames {
        miner
            .pool
            .handle_frame(0x8000, msg_type, frame, &mut pool.shard, pool.now);
        while let Some(output) = miner.pool.poll_output() {
            match output {
                Output::Send(message) => {
                    let mut writer = binary_sv2::Writer::new(&mut buffer);
                    message.encode(&mut writer).unwrap();
                }
                Output::Persist { shares, .. } => {
                    acknowledged += shares.slice().accepted_count;
                    miner
                        .pool
                        .handle_persisted(shares, &mut pool.shard, pool.now);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (
        region.change().allocations + region.change().reallocations,
        acknowledged,
    )
}

/// One test, as the counters are those of the whole process.
#[test]
fn accepted_shares_allocate_nothing() {
    // What answers pass through by value stays small too.
    assert!(size_of::<Output>() <= 128, "{}", size_of::<Output>());
    for kind in [ChannelKind::Standard, ChannelKind::Extended] {
        let mut config = config();
        let mut channels = (*config.channels).clone();
        // Targets stay as they are: a new one means a new job, which is no part of a share's way.
        channels.vardiff.shares_per_minute = 6e9;
        config.channels = channels.into();
        let mut pool = Pool::new(config);
        let mut miner = Miner::set_up(&mut pool, 0);
        let extensions = extensions_sv2::RequestExtensions {
            request_id: 1,
            requested_extensions: vec![2].try_into().unwrap(),
        };
        miner.send(&mut pool, &extensions);
        let channel = miner.open(&mut pool, kind, "alice").unwrap();
        let (msg_type, warm_up) = shares(&mut miner, channel, kind);
        let (allocations, acknowledged) = hand_in(&mut pool, &mut miner, msg_type, &warm_up);
        assert_eq!(acknowledged, SHARES as u32);
        assert!(
            allocations > 0,
            "the memory of shares grows, which the counters see"
        );

        pool.new_tip(HARD);
        miner.work_came(&mut pool);
        let (msg_type, frames) = shares(&mut miner, channel, kind);
        let (allocations, acknowledged) = hand_in(&mut pool, &mut miner, msg_type, &frames);
        assert_eq!((allocations, acknowledged), (0, SHARES as u32), "{kind:?}");

        let counted = miner.pool.workers().map(|(_, counters)| *counters).next();
        let is_named = kind == ChannelKind::Extended;
        assert_eq!(
            counted.map(|WorkerCounters { accepted, .. }| accepted),
            is_named.then_some(200)
        );
    }
}
