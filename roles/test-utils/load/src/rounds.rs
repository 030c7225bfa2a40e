//! Figures of several rounds, and their medians.

use std::collections::BTreeMap;

use crate::report::{Quantiles, ShareFigures, TipFigures, UpstreamFigures, median};

/// What happened in a round of shares.
pub(crate) struct Round {
    pub(crate) secs: f64,
    pub(crate) accepted: u64,
    /// Shares answered.
    pub(crate) judged: u64,
    /// CPU time of the server, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// CPU time of its upstream, in microseconds.
    pub(crate) upstream_cpu_us: Option<f64>,
}

/// Figures of each round of shares.
#[derive(Default)]
pub(crate) struct Rounds {
    accepted: u64,
    per_second: Vec<f64>,
    cpu_us: Vec<f64>,
    upstream_cpu_us: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    pub(crate) fn push(&mut self, round: &Round, latencies: &mut [u32]) {
        self.accepted += round.accepted;
        self.per_second.push(round.accepted as f64 / round.secs);
        if round.judged > 0 {
            let each = |cpu_us: f64| cpu_us / round.judged as f64;
            self.cpu_us.extend(round.cpu_us.map(each));
            self.upstream_cpu_us.extend(round.upstream_cpu_us.map(each));
        }
        if let Some(latency) = Quantiles::of_nanos(latencies) {
            self.p50.push(latency.p50);
            self.p99.push(latency.p99);
        }
    }

    /// `upstream` is how many shares it has accepted and how many more the clients were told of, where that is known.
    pub(crate) fn figures(
        mut self,
        rejected: BTreeMap<String, u64>,
        memory_bytes: Option<f64>,
        upstream: Option<(u64, i64)>,
    ) -> ShareFigures {
        let (p50, p99) = (median(&mut self.p50), median(&mut self.p99));
        ShareFigures {
            accepted: self.accepted,
            rejected,
            accepted_per_second: median(&mut self.per_second).unwrap_or_default(),
            cpu_us: median(&mut self.cpu_us),
            latency_us: p50.zip(p99).map(|(p50, p99)| Quantiles { p50, p99 }),
            memory_bytes,
            upstream: upstream.map(|(accepted, missing)| UpstreamFigures {
                accepted,
                missing,
                cpu_us: median(&mut self.upstream_cpu_us),
            }),
        }
    }
}

/// Figures of each tip.
#[derive(Default)]
pub(crate) struct TipRounds {
    spread_ms: Vec<f64>,
    first_ms: Vec<f64>,
    cpu_us: Vec<f64>,
    heard: usize,
}

impl TipRounds {
    pub(crate) fn push(
        &mut self,
        spread_ms: f64,
        first_ms: Option<f64>,
        cpu_us: Option<f64>,
        heard: usize,
    ) {
        self.spread_ms.push(spread_ms);
        self.first_ms.extend(first_ms);
        self.cpu_us.extend(cpu_us);
        self.heard += heard;
    }

    pub(crate) fn figures(mut self, connections: usize, grown: Option<f64>) -> TipFigures {
        let tips = self.spread_ms.len();
        let each = connections as f64;
        TipFigures {
            tips,
            missed: (connections * tips).saturating_sub(self.heard),
            first_ms: median(&mut self.first_ms),
            spread_ms: median(&mut self.spread_ms).unwrap_or_default(),
            cpu_us: median(&mut self.cpu_us).map(|cpu| cpu / each),
            memory_bytes: grown.map(|grown| grown / each / tips.max(1) as f64),
        }
    }
}
