//! Figures, as JSON and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use network_helpers_sv2::Protocol;
use serde::Serialize;

use crate::args::{Args, ChannelType};

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server: `self`, or host and port.
    pub server: String,
    /// The protocol of the load: `sv1` or `sv2`.
    pub protocol: &'static str,
    /// Connections.
    pub connections: usize,
    /// Channels on each.
    pub channels: usize,
    /// Their kind; not of Stratum V1, which has none.
    pub channel: Option<ChannelType>,
    /// Whether the translator of `--self` opens a channel for each miner; not known of another server.
    pub per_miner: Option<bool>,
    /// Whether all devices of the proxy of `--self` share one channel on the pool; not known of another server.
    pub aggregated: Option<bool>,
    /// Shares under way on a channel.
    pub window: usize,
    /// Shares a second on each connection; saturated when missing.
    pub rate: Option<f64>,
    /// Shares per acknowledgement; only known of the pool started by `--self`.
    pub acks: Option<u32>,
    /// Seconds of a round.
    pub seconds: f64,
    /// Rounds; figures of shares and tips are the medians of all.
    pub rounds: usize,
    /// What the server did.
    #[serde(flatten)]
    pub figures: Figures,
    /// The same load on the bare server.
    pub floor: Option<Figures>,
    /// Server's CPU time per share or tip, divided by the bare server's.
    pub cpu_to_floor: Option<f64>,
}

/// The figures of one server. CPU is user and system time of its process in microseconds, memory is resident memory in
/// bytes; both are missing where the process cannot be seen.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Connections being opened.
    pub setup: SetupFigures,
    /// Shares, unless tips were measured.
    pub shares: Option<ShareFigures>,
    /// Tips, if they were measured.
    pub tips: Option<TipFigures>,
    /// Connections that ended during the run, by reason.
    pub lost: BTreeMap<String, u64>,
}

/// How connections are opened.
#[derive(Clone, Debug, Serialize)]
pub struct SetupFigures {
    /// Connects with their handshakes, a second.
    pub handshakes_per_second: f64,
    /// The same with setup, all channels opened and their first work, a second.
    pub connections_per_second: f64,
    /// CPU time per connect and handshake.
    pub handshake_cpu_us: Option<f64>,
    /// CPU time per connection until all its channels have work.
    pub cpu_us: Option<f64>,
    /// Memory per idle connection with its channels.
    pub memory_bytes: Option<f64>,
    /// From the request for channels to work on all of them, in microseconds.
    pub open_to_work_us: Option<Quantiles>,
}

/// How shares are taken.
#[derive(Clone, Debug, Serialize)]
pub struct ShareFigures {
    /// Shares accepted in all rounds.
    pub accepted: u64,
    /// Shares rejected in the whole run, by code.
    pub rejected: BTreeMap<String, u64>,
    /// Shares accepted a second.
    pub accepted_per_second: f64,
    /// CPU time per share answered.
    pub cpu_us: Option<f64>,
    /// From submitting a share to its answer, in microseconds; of the shares acknowledged together the last one.
    pub latency_us: Option<Quantiles>,
    /// Growth of memory per share accepted.
    pub memory_bytes: Option<f64>,
    /// The pool behind the translator or proxy of `--self`.
    pub upstream: Option<UpstreamFigures>,
}

/// The pool behind a translator or proxy.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamFigures {
    /// Shares it has accepted in the whole run.
    pub accepted: u64,
    /// Shares that miners were told are accepted, and the pool has not; negative when it has more. Anything but 0 is a
    /// defect.
    pub missing: i64,
    /// Its CPU time per share answered.
    pub cpu_us: Option<f64>,
}

/// How a new tip spreads.
#[derive(Clone, Debug, Serialize)]
pub struct TipFigures {
    /// Tips.
    pub tips: usize,
    /// Connections that did not hear of a tip in time, summed over all tips.
    pub missed: usize,
    /// From the node's new tip to the first connection, in milliseconds; not known of a server behind a URL.
    pub first_ms: Option<f64>,
    /// From the first connection to the last, in milliseconds.
    pub spread_ms: f64,
    /// CPU time per connection.
    pub cpu_us: Option<f64>,
    /// Growth of memory per connection and tip.
    pub memory_bytes: Option<f64>,
}

/// Two quantiles of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of the values are not above it.
    pub p50: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
}

impl Quantiles {
    /// Of nanoseconds, in microseconds; `None` without any.
    pub(crate) fn of_nanos(nanos: &mut [u32]) -> Option<Self> {
        nanos.sort_unstable();
        let at = |percent: usize| {
            let at = (nanos.len() * percent).div_ceil(100).saturating_sub(1);
            nanos.get(at).map(|nanos| f64::from(*nanos) / 1e3)
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
        })
    }

    pub(crate) fn of_durations(durations: &mut [Duration]) -> Option<Self> {
        let nanos = durations.iter().filter(|duration| !duration.is_zero());
        let mut nanos: Vec<_> = nanos
            .map(|duration| u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX))
            .collect();
        Self::of_nanos(&mut nanos)
    }
}

/// The middle value, `None` of none.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Report {
    pub(crate) fn new(args: &Args, figures: Figures, floor: Option<Figures>) -> Self {
        let shape = &args.shape;
        let url = args.url.as_ref();
        let is_sv1 = args.protocol() == Protocol::Sv1;
        let ratio = floor.as_ref().and_then(|floor| {
            Some(figures.cpu_us()? / floor.cpu_us()?).filter(|ratio| ratio.is_finite())
        });
        Self {
            server: url.map_or("self".to_owned(), |url| {
                format!("{}:{}", url.host(), url.port())
            }),
            protocol: if is_sv1 { "sv1" } else { "sv2" },
            connections: shape.connections.get(),
            channels: shape.channels.get(),
            channel: (!is_sv1).then_some(shape.channel()),
            per_miner: (args.own && is_sv1).then_some(args.per_miner),
            aggregated: args.proxy.then_some(args.aggregated),
            window: shape.window.get(),
            rate: shape.rate,
            acks: args.own.then_some(args.acks.get()),
            seconds: shape.round().as_secs_f64(),
            rounds: shape.rounds.get(),
            figures,
            floor,
            cpu_to_floor: ratio,
        }
    }
}

impl Report {
    /// Shares that miners were told are accepted, and the pool behind the translator or proxy has not; see
    /// [`UpstreamFigures::missing`].
    pub fn missing(&self) -> i64 {
        let shares = self.figures.shares.as_ref();
        let upstream = shares.and_then(|shares| shares.upstream.as_ref());
        upstream.map_or(0, |upstream| upstream.missing)
    }
}

impl Figures {
    /// CPU time of what was measured: shares or tips.
    fn cpu_us(&self) -> Option<f64> {
        let shares = self.shares.as_ref().and_then(|shares| shares.cpu_us);
        shares.or_else(|| self.tips.as_ref().and_then(|tips| tips.cpu_us))
    }
}

/// A figure, or a dash where there is none.
struct Shown<T>(Option<T>);

impl fmt::Display for Shown<f64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) if value.abs() < 100.0 => write!(f, "{value:.2}"),
            Some(value) => write!(f, "{value:.0}"),
            None => f.write_str("-"),
        }
    }
}

impl fmt::Display for Shown<Quantiles> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p50 = self.0.map(|quantiles| quantiles.p50);
        let p99 = self.0.map(|quantiles| quantiles.p99);
        write!(f, "{} / {}", Shown(p50), Shown(p99))
    }
}

pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = match (self.rate, self.channel) {
            _ if self.figures.tips.is_some() => "new tips".to_owned(),
            (Some(rate), _) => format!("{rate} shares a second on each connection"),
            (None, Some(_)) => format!("{} shares under way on each channel", self.window),
            (None, None) => format!("{} shares under way on each connection", self.window),
        };
        let connections = counted(self.connections, "connection");
        let channels = match self.channel {
            Some(kind) => {
                let channels = counted(self.channels, "channel");
                format!("{connections}, on each {channels} ({})", kind.name())
            }
            None => format!("{connections} of Stratum V1"),
        };
        writeln!(
            f,
            "{}: {channels}; {load}; {} of {} s",
            self.server,
            counted(self.rounds, "round"),
            self.seconds
        )?;
        write!(f, "{}", self.figures)?;
        if let Some(floor) = &self.floor {
            write!(f, "the same load on a bare server:\n{floor}")?;
        }
        if let Some(ratio) = self.cpu_to_floor {
            writeln!(f, "CPU time, divided by the bare server's: {ratio:.2}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = &self.setup;
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<44} {value}");
        line(
            "handshakes a second",
            &Shown(Some(setup.handshakes_per_second)),
        )?;
        line(
            "connections a second",
            &Shown(Some(setup.connections_per_second)),
        )?;
        line("CPU per handshake, us", &Shown(setup.handshake_cpu_us))?;
        line(
            "CPU per connection until it has work, us",
            &Shown(setup.cpu_us),
        )?;
        line(
            "memory per idle connection, bytes",
            &Shown(setup.memory_bytes),
        )?;
        line("open to work, p50 / p99, us", &Shown(setup.open_to_work_us))?;
        if let Some(shares) = &self.shares {
            line("shares accepted", &shares.accepted)?;
            for (code, count) in &shares.rejected {
                line(&format!("shares rejected, {code}"), count)?;
            }
            line("shares a second", &Shown(Some(shares.accepted_per_second)))?;
            line("CPU per share, us", &Shown(shares.cpu_us))?;
            line("submit to answer, p50 / p99, us", &Shown(shares.latency_us))?;
            line(
                "growth of memory per share, bytes",
                &Shown(shares.memory_bytes),
            )?;
            if let Some(upstream) = &shares.upstream {
                line("CPU of the pool per share, us", &Shown(upstream.cpu_us))?;
                line("shares accepted by the pool, in all", &upstream.accepted)?;
                line("shares that the pool does not have", &upstream.missing)?;
            }
        }
        if let Some(tips) = &self.tips {
            line("new tip to first connection, ms", &Shown(tips.first_ms))?;
            line("first to last connection, ms", &Shown(Some(tips.spread_ms)))?;
            line("CPU per connection and tip, us", &Shown(tips.cpu_us))?;
            line(
                "growth per connection and tip, bytes",
                &Shown(tips.memory_bytes),
            )?;
            line("connections that did not hear of a tip", &tips.missed)?;
        }
        for (reason, count) in &self.lost {
            line(&format!("connections lost, {reason}"), count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut nanos: Vec<u32> = (1..=200).rev().map(|micros| micros * 1000).collect();
        let found = Quantiles::of_nanos(&mut nanos).unwrap();
        assert_eq!((found.p50, found.p99), (100.0, 198.0));
        let one = Quantiles::of_nanos(&mut [7000]).unwrap();
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
        assert_eq!(Quantiles::of_nanos(&mut []), None);
    }

    #[test]
    fn a_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median(&mut [3.0, 900.0, 2.0]), Some(3.0));
        assert_eq!(median(&mut []), None);
    }
}
