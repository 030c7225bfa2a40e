//! A server's side for tests.

use std::time::Duration;

use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannelSuccess,
    OpenStandardMiningChannelSuccess, SetNewPrevHash,
};
use roles_logic_sv2::channels::client::{ClientChannels, OpenTerms, Work};
use roles_logic_sv2::clock::Now;

pub(crate) const MIN_NTIME: u32 = 500;
pub(crate) const CHANNEL: u32 = 7;

pub(crate) fn now() -> Now {
    Now::default().after(Duration::from_secs(1000))
}

pub(crate) fn standard_opened(request_id: u32, target: [u8; 32]) -> MiningMessage<'static> {
    let message = OpenStandardMiningChannelSuccess {
        request_id,
        channel_id: CHANNEL,
        target: target.into(),
        extranonce_prefix: [1, 2].as_slice().try_into().unwrap(),
        group_channel_id: 1,
    };
    message.into()
}

pub(crate) fn extended_opened(request_id: u32, extranonce_size: u16) -> MiningMessage<'static> {
    let message = OpenExtendedMiningChannelSuccess {
        request_id,
        channel_id: CHANNEL,
        target: [0xff; 32].into(),
        extranonce_size,
        extranonce_prefix: [1, 2].as_slice().try_into().unwrap(),
        group_channel_id: 1,
    };
    message.into()
}

pub(crate) fn standard_job(job_id: u32, version: u32) -> MiningMessage<'static> {
    let message = NewMiningJob {
        channel_id: CHANNEL,
        job_id,
        min_ntime: None,
        version,
        merkle_root: [4; 32].into(),
    };
    message.into()
}

/// A job whose coinbase leaves room for an extranonce of `full_size` bytes.
fn extended_job(job_id: u32, version: u32, full_size: usize) -> MiningMessage<'static> {
    let mut prefix = vec![2, 0, 0, 0, 1];
    prefix.extend([0; 32]);
    prefix.extend([0xff; 4]);
    prefix.extend([u8::try_from(2 + full_size).unwrap(), 0x51, 0]);
    let mut suffix = vec![0xff; 4];
    suffix.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0, 0, 0, 0]);
    let message = NewExtendedMiningJob {
        channel_id: CHANNEL,
        job_id,
        min_ntime: None,
        version,
        version_rolling_allowed: true,
        merkle_path: Vec::new().try_into().unwrap(),
        coinbase_tx_prefix: prefix.try_into().unwrap(),
        coinbase_tx_suffix: suffix.try_into().unwrap(),
    };
    message.into()
}

pub(crate) fn new_prev_hash(job_id: u32) -> MiningMessage<'static> {
    let message = SetNewPrevHash {
        channel_id: CHANNEL,
        job_id,
        prev_hash: [3; 32].into(),
        min_ntime: MIN_NTIME,
        nbits: 0x207f_ffff,
    };
    message.into()
}

fn work_after(messages: &[MiningMessage<'_>], channels: &mut ClientChannels) -> Work {
    for message in messages {
        channels.handle_message(message, now()).unwrap();
    }
    channels.work(CHANNEL).unwrap().clone()
}

pub(crate) fn standard_work(version: u32, target: [u8; 32]) -> Work {
    let mut channels = ClientChannels::new();
    let request = channels
        .open_standard("a".try_into().unwrap(), OpenTerms::default())
        .unwrap();
    let script = [
        standard_opened(request.request_id, target),
        standard_job(2, version),
        new_prev_hash(2),
    ];
    work_after(&script, &mut channels)
}

pub(crate) fn extended_work(version: u32, extranonce_size: u16) -> Work {
    let mut channels = ClientChannels::new();
    let request = channels
        .open_extended("a".try_into().unwrap(), OpenTerms::default())
        .unwrap();
    let full_size = 2 + usize::from(extranonce_size);
    let script = [
        extended_opened(request.request_id, extranonce_size),
        extended_job(2, version, full_size),
        new_prev_hash(2),
    ];
    work_after(&script, &mut channels)
}
