//! What the proxy sees, for status pages, metrics and tests.

use std::collections::BTreeMap;

use roles_logic_sv2::clock::Now;
use roles_logic_sv2::downstream::DownstreamSession;
use stratum_translation::bridge::UpstreamCounts;

use crate::miner::{Face, MinerId};

/// Error codes of upstreams that are told apart in total; further ones are counted together.
pub const MAX_REJECT_CODES: usize = 64;

/// How an upstream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamStanding {
    /// Not connected.
    #[default]
    Down,
    /// Connected to, or being tried.
    Trying,
    /// Could be used.
    Ready,
    /// Used.
    Used,
}

/// One upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamSnapshot {
    /// Host and port as configured.
    pub name: String,
    /// As configured; smaller is better.
    pub priority: u32,
    /// As configured: its part of the work of those that are used together.
    pub weight: u32,
    /// Miners leave it, as its configuration says.
    pub is_drained: bool,
    /// The configuration has it no longer. Its counters stay.
    pub is_removed: bool,
    /// Miners that work for it, or are on their way there.
    pub miners: usize,
    /// How it stands.
    pub standing: UpstreamStanding,
    /// Why it was last left or lost.
    pub last_failure: Option<String>,
    /// How often it was lost or failed.
    pub failures: u64,
    /// Shares sent.
    pub submitted: u64,
    /// Shares acknowledged.
    pub accepted: u64,
    /// Shares rejected, by error code.
    pub rejected: BTreeMap<String, u64>,
    /// Shares that were never answered, or could not be sent.
    pub lost: u64,
    /// Messages that had no effect: of unknown kinds, against the rules, answers to nothing, `Reconnect` too often.
    pub ignored: u64,
    /// How often it was left for what no server in its right mind says, by the name of that.
    pub broken_words: BTreeMap<&'static str, u64>,
    /// Updates of a channel's hash rate that were refused.
    pub updates_refused: u64,
    /// How often it said that another endpoint stands behind a channel: what extensions knew of that channel is void.
    pub endpoints_changed: u64,
    /// Channels open now.
    pub channels: usize,
}

/// One miner.
#[derive(Clone, Debug)]
pub struct MinerSnapshot {
    /// The miner.
    pub id: MinerId,
    /// The first name it was authorized under.
    pub user: Option<String>,
    /// What it runs, as it says.
    pub user_agent: Option<String>,
    /// Seconds since it connected.
    pub connected_secs: u64,
    /// Estimated hashes a second.
    pub hashrate: f64,
    /// The difficulty of its next job.
    pub difficulty: Option<f64>,
    /// Shares that met its difficulty.
    pub accepted: u64,
    /// What was refused here, by its text.
    pub rejected: BTreeMap<&'static str, u64>,
    /// What became of its shares upstream.
    pub upstream: UpstreamCounts,
    /// What upstreams rejected, by error code.
    pub upstream_rejected: BTreeMap<String, u64>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Upstreams as they were first configured, each at its index; those that were removed are still there.
    pub upstreams: Vec<UpstreamSnapshot>,
    /// Miners that are connected.
    pub miners: Vec<MinerSnapshot>,
    /// Sessions that may be resumed.
    pub parked: usize,
    /// Estimated hashes a second of all miners.
    pub hashrate: f64,
    /// Shares that met their miner's difficulty, of all miners there ever were.
    pub accepted: u64,
    /// What was refused here, by its text, of all miners there ever were.
    pub rejected: BTreeMap<&'static str, u64>,
    /// What became of the accepted shares, of all miners there ever were.
    pub upstream: UpstreamCounts,
    /// Connections that were closed from here, by the reason's text, those of devices by its label.
    pub closed: BTreeMap<String, u64>,
    /// Requests of devices for a channel or other terms that were refused, by error code.
    pub requests_refused: BTreeMap<String, u64>,
    /// What else was not done for devices, by reason: frames passed over, jobs that could not be sent. Refused shares and
    /// requests are above.
    pub not_done: BTreeMap<&'static str, u64>,
    /// Devices connected; each of their channels is one of the miners.
    pub devices: usize,
    /// Frames of unknown extensions that devices sent for channels that end here.
    pub foreign_ignored: u64,
}

/// What is kept of miners that left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    pub(crate) upstream: UpstreamCounts,
    pub(crate) closed: BTreeMap<String, u64>,
    pub(crate) requests_refused: BTreeMap<String, u64>,
    pub(crate) not_done: BTreeMap<&'static str, u64>,
    pub(crate) foreign_ignored: u64,
}

/// Adds what was not done for a device to what was not done for others; reasons that never happened are left out.
pub(crate) fn add_not_done(sum: &mut BTreeMap<&'static str, u64>, device: &DownstreamSession) {
    let discarded = device.discarded().named().into_iter();
    let named = discarded.chain(device.ignored().passed_over());
    for (name, count) in named.filter(|(_, count)| *count > 0) {
        *sum.entry(name).or_default() += count;
    }
}

/// Counts an error code. A server chooses its own, so beyond [`MAX_REJECT_CODES`] of them the rest is "other".
pub(crate) fn count_code(codes: &mut BTreeMap<String, u64>, code: &str) {
    let is_known = codes.contains_key(code) || codes.len() < MAX_REJECT_CODES;
    let code = if is_known { code } else { "other" };
    *codes.entry(code.to_owned()).or_default() += 1;
}

/// Adds what became of some shares to what became of others.
pub(crate) const fn add_counts(sum: &mut UpstreamCounts, more: &UpstreamCounts) {
    sum.below_target += more.below_target;
    sum.passed_on += more.passed_on;
    sum.unpaid_blocks += more.unpaid_blocks;
    sum.accepted += more.accepted;
    sum.rejected += more.rejected;
    sum.lost += more.lost;
}

/// One miner as it is now.
pub(crate) fn of_miner(id: MinerId, miner: &crate::miner::Miner, now: Now) -> MinerSnapshot {
    let common = MinerSnapshot {
        id,
        user: miner.user.clone(),
        user_agent: None,
        connected_secs: (now.instant - miner.connected_at).as_secs(),
        hashrate: miner.estimate(now),
        difficulty: None,
        accepted: 0,
        rejected: BTreeMap::new(),
        upstream: UpstreamCounts::default(),
        upstream_rejected: miner.codes.clone(),
    };
    match &miner.face {
        Face::Sv1(sv1) => {
            let bridge = &sv1.bridge;
            let rejects = bridge.session().rejects().iter();
            MinerSnapshot {
                user_agent: bridge.session().user_agent().map(str::to_owned),
                difficulty: bridge.difficulty().map(|difficulty| difficulty.as_f64()),
                accepted: bridge.accepted(),
                rejected: rejects
                    .map(|(reason, count)| (reason.text(), count))
                    .collect(),
                upstream: *bridge.upstream(),
                ..common
            }
        }
        Face::Device(leaf) => MinerSnapshot {
            difficulty: leaf.open.map(|_| leaf.difficulty),
            accepted: leaf.accepted,
            rejected: leaf.rejected.clone(),
            upstream: leaf.upstream,
            ..common
        },
    }
}

impl Snapshot {
    /// Adds what another proxy with the same upstreams sees, as each thread of a program has its own.
    pub fn merge(&mut self, more: Self) {
        let mut others = more.upstreams.into_iter();
        let pairs = self.upstreams.iter_mut().zip(&mut others);
        pairs.for_each(|(upstream, more)| upstream.merge(more));
        // One of the two may have had a new configuration a moment earlier.
        self.upstreams.extend(others);
        self.miners.extend(more.miners);
        self.parked += more.parked;
        self.hashrate += more.hashrate;
        self.accepted += more.accepted;
        for (reason, count) in more.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        add_counts(&mut self.upstream, &more.upstream);
        for (reason, count) in more.closed {
            *self.closed.entry(reason).or_default() += count;
        }
        for (code, count) in more.requests_refused {
            *self.requests_refused.entry(code).or_default() += count;
        }
        for (reason, count) in more.not_done {
            *self.not_done.entry(reason).or_default() += count;
        }
        self.devices += more.devices;
        self.foreign_ignored += more.foreign_ignored;
    }
}

impl UpstreamSnapshot {
    fn merge(&mut self, more: Self) {
        // Of two that stand differently the one that is used tells more.
        if more.standing == UpstreamStanding::Used {
            self.standing = more.standing;
        }
        self.miners += more.miners;
        self.last_failure = self.last_failure.take().or(more.last_failure);
        self.failures += more.failures;
        self.submitted += more.submitted;
        self.accepted += more.accepted;
        for (code, count) in more.rejected {
            *self.rejected.entry(code).or_default() += count;
        }
        self.lost += more.lost;
        self.ignored += more.ignored;
        for (label, count) in more.broken_words {
            *self.broken_words.entry(label).or_default() += count;
        }
        self.updates_refused += more.updates_refused;
        self.endpoints_changed += more.endpoints_changed;
        self.channels += more.channels;
    }
}
