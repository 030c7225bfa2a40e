//! What a device shows of itself.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::target::Target;

/// Codes of rejected shares that are told apart; shares with further codes count as `other`.
pub const MAX_REJECT_CODES: usize = 16;

/// The hash rate is that of the last so many samples.
const SAMPLES: usize = 11;

/// Pause between two samples of the hash counter.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// What a device does and has done, for status pages and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Whether a server takes our shares at the moment.
    pub is_connected: bool,
    /// The server in use or tried next.
    pub upstream: String,
    /// Kind of channel; `None` at an Sv1 server.
    pub channel: Option<ChannelKind>,
    /// Hashes per second that we should make, by which the server chooses the first target; 0 until they have been
    /// measured.
    pub nominal_hashrate: f32,
    /// Hashes per second over the last ten seconds; 0 without work.
    pub hashrate: f64,
    /// Hashes since start.
    pub hashes: u64,
    /// Shares sent since start.
    pub submitted: u64,
    /// Shares credited since start, as servers count.
    pub acknowledged: u64,
    /// Shares rejected since start, by the server's code or words, [`MAX_REJECT_CODES`] of them at most.
    pub rejected: BTreeMap<String, u64>,
    /// Finds not sent, as a later job or the connection's end had come before.
    pub outdated: u64,
    /// The target of the work at hand.
    pub target: Option<Target>,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Why the last connection or attempt ended; `None` when none has.
    pub last_failure: Option<String>,
    /// Messages of servers that changed nothing, by reason.
    pub anomalies: BTreeMap<String, u64>,
}

impl Snapshot {
    pub(crate) fn new(upstream: String, channel: Option<ChannelKind>) -> Self {
        Self {
            is_connected: false,
            upstream,
            channel,
            nominal_hashrate: 0.0,
            hashrate: 0.0,
            hashes: 0,
            submitted: 0,
            acknowledged: 0,
            rejected: BTreeMap::new(),
            outdated: 0,
            target: None,
            reconnects: 0,
            last_failure: None,
            anomalies: BTreeMap::new(),
        }
    }

    /// Shares rejected for all reasons.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Counts a share that was rejected.
    pub(crate) fn reject(&mut self, mut code: String) {
        if !self.rejected.contains_key(&code) && self.rejected.len() + 1 >= MAX_REJECT_CODES {
            code = "other".to_owned();
        }
        *self.rejected.entry(code).or_default() += 1;
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_connected {
            true => write!(f, "mining at {}", Rate(self.hashrate))?,
            false => f.write_str("not connected")?,
        }
        write!(f, ", shares: {} accepted", self.acknowledged)?;
        write!(f, ", {} rejected", self.rejected_total())?;
        for (index, (code, count)) in self.rejected.iter().enumerate() {
            write!(f, "{}{code} {count}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.rejected.is_empty() {
            f.write_str(")")?;
        }
        if let Some(target) = self.target {
            write!(f, ", difficulty {:.3e}", target.difficulty_f64())?;
        }
        write!(f, ", {}", self.upstream)
    }
}

/// Hashes per second, for people.
pub(crate) struct Rate(pub(crate) f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["H/s", "kH/s", "MH/s", "GH/s"];
        let mut rate = self.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        while rate >= 1000.0 {
            let Some(next) = units.next() else { break };
            rate /= 1000.0;
            unit = Some(next);
        }
        write!(f, "{rate:.2} {}", unit.copied().unwrap_or_default())
    }
}

/// The recent rate of a counter.
#[derive(Debug, Default)]
pub(crate) struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    /// Takes what the counter says and gives its rate per second.
    pub(crate) fn sample(&mut self, now: Instant, count: u64) -> f64 {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, count));
        let (first_at, first) = self.0.front().copied().unwrap_or((now, count));
        let secs = (now - first_at).as_secs_f64();
        if secs > 0.0 {
            count.saturating_sub(first) as f64 / secs
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_forgets_what_is_long_ago() {
        let mut meter = Meter::default();
        let mut now = Instant::from_micros(7);
        assert_eq!(meter.sample(now, 500), 0.0);
        let mut count = 500;
        for secs in 1..=30 {
            now += SAMPLE_INTERVAL;
            count += if secs <= 20 { 1_000 } else { 10 };
            let rate = meter.sample(now, count);
            match secs {
                1..=20 => assert_eq!(rate, 1_000.0),
                30 => assert_eq!(rate, 10.0),
                _ => assert!(rate < 1_000.0 && rate > 10.0),
            }
        }
    }

    #[test]
    fn codes_of_rejects_are_bounded() {
        let mut snapshot = Snapshot::new("a:1".into(), Some(ChannelKind::Standard));
        for index in 0..100 {
            snapshot.reject(format!("code-{index}"));
        }
        snapshot.reject("code-0".to_owned());
        assert_eq!(snapshot.rejected.len(), MAX_REJECT_CODES);
        assert_eq!(snapshot.rejected_total(), 101);
        assert_eq!(snapshot.rejected.get("code-0"), Some(&2));
    }

    #[test]
    fn a_line_says_it_all() {
        let mut snapshot = Snapshot::new("a:1".into(), Some(ChannelKind::Standard));
        let idle = "not connected, shares: 0 accepted, 0 rejected, a:1";
        assert_eq!(snapshot.to_string(), idle);
        snapshot.is_connected = true;
        snapshot.hashrate = 12_345_678.0;
        snapshot.acknowledged = 3;
        snapshot.rejected = [("stale-share".to_owned(), 2)].into();
        snapshot.target = Some(Target::from_nbits(0x1d00_ffff).unwrap());
        assert_eq!(
            snapshot.to_string(),
            "mining at 12.35 MH/s, shares: 3 accepted, 2 rejected (stale-share 2), difficulty 1.000e0, a:1"
        );
    }
}
