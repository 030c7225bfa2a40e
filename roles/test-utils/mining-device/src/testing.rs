//! A server's side for tests.

use std::sync::Arc;
use std::time::Duration;

use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannelSuccess,
    OpenStandardMiningChannelSuccess, SetNewPrevHash,
};
use roles_logic_sv2::channels::client::{ClientChannels, OpenTerms, Work};
use roles_logic_sv2::clock::Now;
use sv1_api::client::{ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession};

use crate::task::Task;

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

/// A miner at an Sv1 server of which only the lines are there.
pub(crate) struct Sv1Jobs {
    session: ClientSession,
    pub(crate) now: Now,
}

impl Sv1Jobs {
    /// The server lets `version_mask` be rolled.
    pub(crate) fn new(version_mask: u32, extranonce2_size: usize) -> Self {
        let config = ClientConfig::new("pool.example", "alice");
        let mut jobs = Self {
            session: ClientSession::new(config, now()),
            now: now(),
        };
        let configured = match version_mask {
            0 => r#"{"version-rolling":false}"#.to_owned(),
            mask => {
                format!(r#"{{"version-rolling":true,"version-rolling.mask":"{mask:08x}"}}"#)
            }
        };
        let subscribed = format!(r#"[[],"0102",{extranonce2_size}]"#);
        for (id, result) in [(1, &*configured), (2, &subscribed), (3, "true")] {
            jobs.hear(&format!(r#"{{"id":{id},"result":{result},"error":null}}"#));
        }
        jobs
    }

    /// Takes a line of the server, and gives the job that comes of it.
    pub(crate) fn hear(&mut self, line: &str) -> Option<Arc<ClientJob>> {
        self.session.handle_line(line.as_bytes(), self.now);
        let outputs = std::iter::from_fn(|| self.session.poll_output());
        let jobs = outputs.filter_map(|output| match output {
            ClientOutput::Event(ClientEvent::Work(job)) => Some(job),
            _ => None,
        });
        jobs.last()
    }

    /// Another first part of the extranonce, in hexadecimal, for the jobs to come.
    pub(crate) fn extranonce1(&mut self, extranonce1: &str) {
        let line = r#"{"id":null,"method":"mining.set_extranonce","params":["EN1",4]}"#;
        self.hear(&line.replace("EN1", extranonce1));
    }

    /// Another difficulty for the jobs to come.
    pub(crate) fn difficulty(&mut self, difficulty: &str) {
        let line = r#"{"id":null,"method":"mining.set_difficulty","params":[NUMBER]}"#;
        self.hear(&line.replace("NUMBER", difficulty));
    }

    /// The job that comes of a line.
    pub(crate) fn task_of(&mut self, line: &str) -> Option<Task> {
        Some(Task::sv1(self.hear(line)?, self.now.instant))
    }

    /// A job, always the same but for its name and ntime.
    pub(crate) fn task(&mut self, job_id: &str, ntime: u32) -> Task {
        self.task_of(&sv1_job(job_id, ntime, true)).unwrap()
    }

    /// A job with another coinbase.
    pub(crate) fn other_task(&mut self, job_id: &str, ntime: u32) -> Task {
        let line = sv1_job(job_id, ntime, true).replace("0a0b", "0a0c");
        self.task_of(&line).unwrap()
    }

    /// The last job with other version bits; `None` when they are the same.
    pub(crate) fn masked_task(&mut self, version_mask: u32) -> Option<Task> {
        self.task_of(&format!(
            r#"{{"id":null,"method":"mining.set_version_mask","params":["{version_mask:08x}"]}}"#
        ))
    }
}

/// The line of a job.
pub(crate) fn sv1_job(job_id: &str, ntime: u32, clean_jobs: bool) -> String {
    let prev_hash = "33".repeat(32);
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{job_id}","{prev_hash}","0a0b","0d",[],"20000000","207fffff","{ntime:08x}",{clean_jobs}]}}"#
    )
}
