//! What the devices found.

use std::collections::BTreeMap;
use std::fmt;

use roles_logic_sv2::clock::Instant;
use serde::Serialize;

use super::log::Log;
use super::{Failure, Firmware, JOB_PLACES, MAX_FRAME_LEN, MAX_MERKLE_BRANCHES, Rule, Seen};
use crate::args::ChannelType;
use crate::report::counted;

/// Failures that a report tells in full; further ones are counted.
pub(super) const MAX_FAILURES: usize = 32;

/// What a server did to devices with small firmware.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FirmwareReport {
    /// The server: host and port.
    pub server: String,
    /// `firmware`, to tell the report from that of a load.
    pub profile: &'static str,
    /// Devices.
    pub connections: usize,
    /// Kind of their channels.
    pub channel: ChannelType,
    /// Seconds until all were done.
    pub seconds: f64,
    /// What was seen of the server by all of them.
    #[serde(flatten)]
    pub seen: Seen,
    /// How often each rule was broken.
    pub failed: BTreeMap<Rule, u64>,
    /// The first failures of each device and rule.
    pub failures: Vec<Failure>,
}

impl FirmwareReport {
    pub(super) fn new(firmware: &Firmware) -> Self {
        let endpoint = &firmware.endpoint;
        Self {
            server: format!("{}:{}", endpoint.host, endpoint.port),
            profile: "firmware",
            connections: firmware.connections.get(),
            channel: firmware.channel,
            seconds: 0.0,
            seen: Seen::default(),
            failed: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, log: Log) {
        self.seen.add(log.seen);
        for (rule, times) in log.failed {
            *self.failed.entry(rule).or_default() += times;
        }
        let room = MAX_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(log.failures.into_iter().take(room));
    }

    pub(super) fn finish(&mut self, since_start: Instant) {
        self.seconds = (since_start - Instant::default()).as_secs_f64();
        self.failures
            .sort_by(|one, other| one.after_secs.total_cmp(&other.after_secs));
    }

    /// Whether the server did nothing that the firmware cannot take.
    pub fn is_ok(&self) -> bool {
        self.failed.is_empty()
    }
}

impl fmt::Display for FirmwareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        writeln!(
            f,
            "{}: {} as small firmware ({}), {:.1} s",
            self.server,
            counted(self.connections, "connection"),
            self.channel.name(),
            self.seconds
        )?;
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<44} {value}");
        line("frames", &seen.frames)?;
        line(
            "longest frame, bytes",
            &format!("{} of {MAX_FRAME_LEN}", seen.largest_frame_bytes),
        )?;
        line(
            "most merkle branches of a job",
            &format!("{} of {MAX_MERKLE_BRANCHES}", seen.most_branches),
        )?;
        line(&format!("jobs, into {JOB_PLACES} places"), &seen.jobs)?;
        line("jobs that repeat earlier work", &seen.jobs_repeated)?;
        line("tips", &seen.tips)?;
        line("targets", &seen.targets)?;
        for (name, times) in &seen.ignored {
            line(&format!("ignored, {name}"), times)?;
        }
        line("shares sent", &seen.submitted)?;
        line("shares accepted", &seen.accepted)?;
        for (code, times) in &seen.rejected {
            line(&format!("shares rejected, {code}"), times)?;
        }
        if let Some(secs) = seen.first_share_secs {
            line(
                "first share of the slowest device, s",
                &format!("{secs:.1}"),
            )?;
        }
        for (rule, times) in &self.failed {
            line(&format!("FAILED, {rule}"), times)?;
        }
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        Ok(())
    }
}
