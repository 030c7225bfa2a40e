//! What the demo shows of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bitcoin_node::{Network, SubmitOutcome};
use stratum_runtime::Rate;
use stratum_template_provider::Snapshot;

use super::node::BlockNews;

/// The parts that can be asked how they are, besides the template provider.
pub(super) struct Parts {
    pub(super) chain: Network,
    pub(super) provider: SocketAddr,
    pub(super) pool: stratum_pool::Watcher,
    pub(super) pool_addr: SocketAddr,
    pub(super) translator_addr: SocketAddr,
    pub(super) miners: Vec<stratum_mining_device::Watcher>,
}

/// What has been seen since start.
pub(super) struct Status {
    parts: Parts,
    started: Instant,
    wanted: Option<u64>,
    found: u64,
    accepted: u64,
}

impl Status {
    pub(super) fn new(wanted: Option<u64>, parts: Parts) -> Self {
        Self {
            parts,
            started: Instant::now(),
            wanted,
            found: 0,
            accepted: 0,
        }
    }

    pub(super) fn count(&mut self, news: &BlockNews) {
        self.found += 1;
        self.accepted += u64::from(news.outcome == SubmitOutcome::Accepted);
    }

    /// Whether the node has accepted as many blocks as were wanted.
    pub(super) fn is_complete(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.accepted >= wanted)
    }

    /// Everything, for a terminal.
    pub(super) fn lines(
        &self,
        provider: &Snapshot,
        translator: &stratum_mining_proxy::Snapshot,
    ) -> Vec<String> {
        let pool = self.parts.pool.snapshot();
        let hub = &provider.hub;
        let template = hub.template.as_ref();
        let tip = template.map_or_else(
            || "-".to_owned(),
            |template| {
                let height = template.height.saturating_sub(1);
                format!("{height}  {}", hash_text(&template.prev_hash))
            },
        );
        let template = template.map_or_else(
            || "none yet".to_owned(),
            |template| {
                let fees = coins(template.fees_sats());
                let count = counted(template.transactions.len(), "transaction");
                format!("{}  {count}, {fees} BTC fees", template.height)
            },
        );
        let (templates, miners) = (provider.connections, pool.connections);
        let served = |count| counted(count, "connection");
        let wanted = match self.wanted {
            Some(wanted) => format!(" of {wanted}"),
            None => String::new(),
        };
        vec![
            String::new(),
            format!(
                "node        {} ({}), {}",
                hub.node,
                self.parts.chain.to_core_arg(),
                hub.node_status
            ),
            format!("tip         {tip}"),
            format!("template    {template}"),
            format!("provider    {}, {}", self.parts.provider, served(templates)),
            format!("pool        {}, {}", self.parts.pool_addr, served(miners)),
            format!(
                "translator  {}, {}",
                self.parts.translator_addr,
                translated(translator)
            ),
            format!(
                "miners      {}, {}",
                self.parts.miners.len(),
                Rate(self.hashrate())
            ),
            format!("shares      {}", self.shares(&pool)),
            format!(
                "blocks      {} found, {}{wanted} accepted",
                self.found, self.accepted
            ),
            format!(
                "running     {}   Ctrl-C ends it",
                clock_text(self.started.elapsed())
            ),
        ]
    }

    /// The most important in one line.
    pub(super) fn line(&self, provider: &Snapshot) -> String {
        let pool = self.parts.pool.snapshot();
        let height = provider.hub.template.as_ref();
        let height = height.map_or(0, |template| template.height.saturating_sub(1));
        format!(
            "status  height {height}, {}, shares: {}, blocks: {} accepted, {}",
            Rate(self.hashrate()),
            self.shares(&pool),
            self.accepted,
            clock_text(self.started.elapsed())
        )
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What came of it all.
    pub(super) fn sum(&self, elapsed: Duration) -> String {
        let pool = self.parts.pool.snapshot();
        let blocks = counted(self.accepted, "block");
        let secs = elapsed.as_secs_f64();
        let shares = self.shares(&pool);
        format!("done    {blocks} accepted by the node in {secs:.1} s; shares: {shares}")
    }

    fn hashrate(&self) -> f64 {
        self.parts
            .miners
            .iter()
            .map(|miner| miner.snapshot().hashrate)
            .sum()
    }

    fn shares(&self, pool: &stratum_pool::Snapshot) -> String {
        let rejected: u64 = pool.shares_rejected.values().sum();
        let reasons = reasons(&pool.shares_rejected);
        format!(
            "{} accepted, {rejected} rejected{reasons}",
            pool.shares_accepted
        )
    }
}

/// What the translator does for its Sv1 miners.
fn translated(translator: &stratum_mining_proxy::Snapshot) -> String {
    let miners = counted(translator.core.miners.len(), "Sv1 miner");
    let counts = translator.core.upstream;
    let (accepted, rejected) = (counts.accepted, counts.rejected);
    format!("{miners}, {accepted} of their shares accepted upstream, {rejected} rejected")
}

fn reasons(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let all: Vec<_> = counts
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    format!(" ({})", all.join(", "))
}

pub(super) fn counted<N: PartialEq + From<u8> + std::fmt::Display>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Satoshis as coins.
pub(super) fn coins(sats: u64) -> String {
    format!("{}.{:08}", sats / 100_000_000, sats % 100_000_000)
}

fn clock_text(elapsed: Duration) -> String {
    let secs = elapsed.as_secs();
    format!("{}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

/// A hash as explorers show it.
fn hash_text(raw: &[u8; 32]) -> String {
    raw.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(coins(2_500_004_000), "25.00004000");
        assert_eq!(clock_text(Duration::from_secs(3_725)), "1:02:05");
        assert_eq!(counted(1_u64, "block"), "1 block");
        assert_eq!(counted(0_usize, "block"), "0 blocks");
        assert_eq!(reasons(&[("stale-share", 2)].into()), " (stale-share 2)");
        let mut hash = [0; 32];
        hash[31] = 0xab;
        assert!(hash_text(&hash).starts_with("ab00"));
    }
}
