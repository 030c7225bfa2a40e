//! All that miners and upstreams share.

mod channels;
mod devices;
mod division;
mod miners;
mod reload;
mod shares;
mod upstreams;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceError, ExtranonceLayout};
use roles_logic_sv2::target::ConversionError;
use roles_logic_sv2::upstream::failover::Failover;
use roles_logic_sv2::upstream::split::{Split, SplitConfig};
use stratum_translation::bridge::Bridge;
use stratum_translation::layout::Layout;

use crate::config::{DeviceTerms, ProxyConfig};
use crate::device::{Device, DeviceId};
use crate::link::{Link, LinkId, LinkOutput};
use crate::miner::{MinerId, MinerOutput, Miners};
use crate::parking::{MAX_PARKED, Parking};
use crate::slots::Slots;
use crate::snapshot::{
    Snapshot, Totals, UpstreamSnapshot, UpstreamStanding, add_counts, add_not_done, count_code,
    of_miner,
};
use crate::upstream::Upstream;

/// A connection to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Say [`Proxy::link_connected`] or [`Proxy::link_closed`] of it.
    pub link: LinkId,
    /// The upstream, for its key.
    pub upstream: usize,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Something that an operator wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// These upstreams are used from now on; none when empty.
    Uses(Vec<usize>),
    /// An upstream failed, or was lost.
    Failed {
        /// The upstream.
        upstream: usize,
        /// Why.
        reason: String,
    },
    /// An upstream wants to be connected to anew.
    Reconnects {
        /// The upstream.
        upstream: usize,
    },
    /// An upstream says that another endpoint stands behind a channel. Told at the first, and each time their number has
    /// doubled.
    EndpointChanged {
        /// The upstream.
        upstream: usize,
        /// How often it said so.
        count: u64,
    },
    /// An upstream rejects shares of a miner. Told at the first, and each time their number has doubled.
    Rejected {
        /// The miner.
        miner: MinerId,
        /// Its name.
        user: String,
        /// The upstream's words.
        code: String,
        /// How many there were with this code.
        count: u64,
    },
    /// An upstream opens no channel for a miner.
    NoChannel {
        /// The upstream.
        upstream: usize,
        /// The identity asked for.
        identity: String,
        /// The upstream's words.
        code: String,
    },
    /// There has been no upstream for too long: this many miners are sent away.
    SendsAway(usize),
}

/// What the shell is to do that concerns neither a miner nor a link alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Make this connection.
    Connect(Connect),
    /// Log this.
    Note(Note),
}

/// Whose outputs or timers have changed, other than by an input of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// An Sv1 miner's.
    Miner(MinerId),
    /// A device's.
    Device(DeviceId),
    /// A link's.
    Link(LinkId),
}

/// Room kept for the outputs of a link when there are none: a megabyte at most, once for all miners. Thousands of shares
/// come together where miners are many; to take and give back so much memory each time costs a tenth of their processing.
const OUTPUTS_KEPT: usize = 4_096;

/// Notes kept until they are taken. Of more, the oldest go.
const MAX_NOTES: usize = 1_024;

/// Upstreams that there may be, those included that were once configured.
pub const MAX_UPSTREAMS: usize = 1_024;

/// The proxy.
///
/// Take all of [`Self::poll_output`] and [`Self::poll_wake`] after each call, and of the outputs of whoever the call was for.
#[derive(Debug)]
pub struct Proxy {
    config: Arc<ProxyConfig>,
    /// Most miners that there is ever room for.
    room: u32,
    /// What names of sessions are made from, so that nobody guesses one.
    key: [u8; 16],
    sessions: u64,
    random: u64,
    /// The name of the last job. It begins with the time, so that no job of before is called the same.
    job_name: u32,
    miners: Miners,
    devices: Slots<Device>,
    /// The terms of devices' connections.
    device_terms: DeviceTerms,
    next_payout: u32,
    parking: Parking,
    numbers: ExtranonceAllocator,
    failover: Failover,
    split: Split,
    links: BTreeMap<LinkId, Link>,
    /// Last words on links that are given up.
    farewells: BTreeMap<LinkId, VecDeque<LinkOutput>>,
    next_link: LinkId,
    /// All that were ever configured: an upstream keeps its index.
    upstreams: Vec<Upstream>,
    /// The links that miners are divided among.
    used: Vec<LinkId>,
    /// Those that had a new tip since numbers of miners that left were last given free.
    new_tips: BTreeSet<LinkId>,
    /// Since when there has been no work for anybody.
    orphaned_at: Option<Instant>,
    /// Jobs on their way to miners, each at its time.
    paced: BTreeSet<(Instant, MinerId)>,
    /// When upstreams are told of the miners' hash rate.
    update_at: Option<Instant>,
    told_at: Instant,
    is_draining: bool,
    totals: Totals,
    outputs: VecDeque<Output>,
    wakes: VecDeque<Wake>,
}

/// Why there is no proxy.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A share rate, hashrate or minimum difficulty that is no sensible number.
    #[error("difficulty: {0}")]
    Difficulty(#[from] ConversionError),
    /// More miners than can be told apart.
    #[error("miners: {0}")]
    Miners(#[from] ExtranonceError),
    /// More than [`MAX_UPSTREAMS`].
    #[error("upstreams: at most {MAX_UPSTREAMS}, those included that were removed since the start")]
    Upstreams,
}

impl Proxy {
    /// No miners, and no connections yet. `key` is random: sessions are named with it, and pauses shortened.
    ///
    /// # Errors
    /// Numbers of the configuration that make no sense.
    pub fn new(config: Arc<ProxyConfig>, key: [u8; 16], now: Now) -> Result<Self, ConfigError> {
        Bridge::new(config.bridge, now)?;
        let parked = u32::try_from(MAX_PARKED).unwrap_or(u32::MAX);
        let layout = ExtranonceLayout {
            full_size: Layout::usual(config.extranonce2_size).shown(),
            server_id_size: 0,
            channel_number_size: 4,
            // Numbers of miners that left are lent again only on the next block.
            max_channels: config.max_miners.saturating_mul(4).saturating_add(parked),
        };
        let mut proxy = Self {
            room: config.max_miners,
            key,
            sessions: 0,
            random: u128::from_le_bytes(key) as u64 | 1,
            job_name: now.unix_secs as u32,
            miners: Miners::default(),
            devices: Slots::default(),
            device_terms: config.device_terms(),
            next_payout: 0,
            parking: Parking::default(),
            numbers: ExtranonceAllocator::new(layout, 0)?,
            failover: Failover::new(&[], config.failover, now.instant),
            split: Split::new(SplitConfig::default()),
            links: BTreeMap::new(),
            farewells: BTreeMap::new(),
            next_link: LinkId::FIRST,
            upstreams: Vec::new(),
            used: Vec::new(),
            new_tips: BTreeSet::new(),
            orphaned_at: None,
            paced: BTreeSet::new(),
            update_at: None,
            told_at: now.instant,
            is_draining: false,
            totals: Totals::default(),
            outputs: VecDeque::new(),
            wakes: VecDeque::new(),
            config: config.clone(),
        };
        proxy.reconfigure(config, now)?;
        Ok(proxy)
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next one whose outputs and timers are to be looked at.
    pub fn poll_wake(&mut self) -> Option<Wake> {
        let wake = self.wakes.pop_front()?;
        match wake {
            Wake::Miner(id) => {
                if let Some(miner) = self.miners.find_mut(id) {
                    miner.is_woken = false;
                }
            }
            Wake::Device(id) => {
                if let Some(device) = self.devices.find_mut(id) {
                    device.is_woken = false;
                }
            }
            Wake::Link(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.is_woken = false;
                }
            }
        }
        Some(wake)
    }

    /// The next thing to do for a miner, in order.
    pub fn poll_miner_output(&mut self, id: MinerId) -> Option<MinerOutput> {
        let outputs = &mut self.miners.find_mut(id)?.outputs;
        let output = outputs.pop_front();
        if output.is_none() {
            // Its memory as well: most miners have nothing coming most of the time.
            *outputs = VecDeque::new();
        }
        output
    }

    /// The next thing to do for a link, in order. [`LinkOutput::Close`] for one that is gone.
    pub fn poll_link_output(&mut self, id: LinkId) -> Option<LinkOutput> {
        if let Some(link) = self.links.get_mut(&id) {
            let output = link.outputs.pop_front();
            if output.is_none() {
                link.outputs.shrink_to(OUTPUTS_KEPT);
            }
            return output;
        }
        let last = self.farewells.get_mut(&id).and_then(VecDeque::pop_front);
        if last.is_none() {
            self.farewells.remove(&id);
        }
        last.or(Some(LinkOutput::Close))
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = self.links.values().filter_map(Link::poll_timeout);
        let timers = [
            self.failover.poll_timeout().filter(|_| !self.is_draining),
            self.split.poll_timeout().filter(|_| !self.is_draining),
            self.paced.first().map(|(at, _)| *at),
            self.update_at,
            self.parking.poll_timeout(),
            self.orphaned_at.map(|at| at + self.config.keep_miners),
        ];
        timers.into_iter().flatten().chain(link.min()).min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if !self.is_draining {
            self.failover.handle_timeout(now.instant);
            self.follow_failover(now);
            self.rebalance(now);
        }
        self.handle_link_deadlines(now);
        self.send_paced(now);
        if self.update_at.is_some_and(|at| at <= now.instant) {
            self.tell_hashrates(now);
        }
        while let Some(number) = self.parking.expired(now.instant) {
            self.numbers.release(number);
        }
        let patience = self.config.keep_miners;
        if self
            .orphaned_at
            .is_some_and(|at| at + patience <= now.instant)
        {
            self.send_away(now);
        }
    }

    /// Ends in good order: miners are told to come again, upstreams that their channels are free. Done when
    /// [`Self::is_drained`].
    pub fn drain(&mut self, now: Now) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        for id in self.miners.ids() {
            if self.miners.sv1(id).is_some() {
                self.dismiss(id, now);
            }
        }
        for id in self.devices.ids() {
            self.drain_device(id, now);
        }
        self.leave_when_drained(now);
    }

    /// With the last miner gone, upstreams are told.
    fn leave_when_drained(&mut self, now: Now) {
        if self.is_draining && self.miners.len() == 0 && self.devices.len() == 0 {
            self.leave_all(now);
        }
    }

    /// Whether nothing is left to wait for.
    pub fn is_drained(&self) -> bool {
        let is_silent = self.links.is_empty() && self.farewells.is_empty();
        let is_empty = self.miners.len() == 0 && self.devices.len() == 0;
        self.is_draining && is_empty && is_silent
    }

    /// How everything stands.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let miners: Vec<_> = self
            .miners
            .iter()
            .map(|(id, miner)| of_miner(id, miner, now))
            .collect();
        let mut snapshot = Snapshot {
            upstreams: self.upstream_snapshots(),
            parked: self.parking.len(),
            // Not a sum: that of nothing is -0.
            hashrate: miners.iter().fold(0.0, |sum, miner| sum + miner.hashrate),
            accepted: self.totals.accepted,
            rejected: self.totals.rejected.clone(),
            upstream: self.totals.upstream,
            closed: self.totals.closed.clone(),
            requests_refused: self.totals.requests_refused.clone(),
            not_done: self.totals.not_done.clone(),
            devices: self.devices.len(),
            foreign_ignored: self.totals.foreign_ignored,
            miners: Vec::new(),
        };
        for (_, device) in self.devices.iter() {
            add_not_done(&mut snapshot.not_done, device.session());
        }
        for miner in &miners {
            snapshot.accepted += miner.accepted;
            add_counts(&mut snapshot.upstream, &miner.upstream);
            for (reason, count) in &miner.rejected {
                *snapshot.rejected.entry(reason).or_default() += count;
            }
        }
        snapshot.miners = miners;
        snapshot
    }

    fn upstream_snapshots(&self) -> Vec<UpstreamSnapshot> {
        let upstreams = self.upstreams.iter();
        let mut snapshots: Vec<_> = upstreams.map(|at| self.upstream_snapshot(at)).collect();
        let miners = self.miners.iter();
        let at = miners.filter_map(|(_, miner)| self.links.get(&miner.link?));
        for link in at {
            if let Some(upstream) = snapshots.get_mut(link.upstream) {
                upstream.miners += 1;
            }
        }
        for link in self.links.values() {
            if let Some(upstream) = snapshots.get_mut(link.upstream) {
                upstream.ignored += link.ignored();
            }
        }
        snapshots
    }

    fn upstream_snapshot(&self, upstream: &Upstream) -> UpstreamSnapshot {
        let link = upstream
            .link
            .and_then(|id| Some((id, self.links.get(&id)?)));
        UpstreamSnapshot {
            priority: upstream.config.priority,
            weight: upstream.config.weight,
            is_drained: upstream.config.is_drained,
            is_removed: upstream.is_removed,
            channels: link.map_or(0, |(_, link)| link.channels.len()),
            standing: match link {
                None => UpstreamStanding::Down,
                Some((id, _)) if self.used.contains(&id) => UpstreamStanding::Used,
                Some((_, link)) if link.is_ready => UpstreamStanding::Ready,
                Some(_) => UpstreamStanding::Trying,
            },
            ..upstream.counts.clone()
        }
    }

    /// How a miner stands; `None` when it is gone.
    pub fn miner_snapshot(&self, id: MinerId, now: Now) -> Option<crate::MinerSnapshot> {
        Some(of_miner(id, self.miners.find(id)?, now))
    }

    /// Miners connected.
    pub const fn miners(&self) -> usize {
        self.miners.len()
    }

    /// Host and port of an upstream, as configured; empty for one that there is not.
    pub fn upstream_name(&self, index: usize) -> &str {
        let upstream = self.upstreams.get(index);
        upstream.map_or("", |upstream| &*upstream.counts.name)
    }

    /// Whether all miners of a link share one channel.
    fn is_aggregated(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_aggregated)
    }

    /// What there is to count about an upstream.
    fn counts(&mut self, upstream: usize) -> Option<&mut UpstreamSnapshot> {
        Some(&mut self.upstreams.get_mut(upstream)?.counts)
    }

    fn note(&mut self, note: Note) {
        if self.outputs.len() >= MAX_NOTES {
            let notes = self.outputs.iter();
            let at = { notes }.position(|output| matches!(output, Output::Note(_)));
            at.and_then(|at| self.outputs.remove(at));
        }
        self.outputs.push_back(Output::Note(note));
    }

    fn wake_miner(&mut self, id: MinerId) {
        if let Some(miner) = self.miners.find_mut(id)
            && !std::mem::replace(&mut miner.is_woken, true)
        {
            self.wakes.push_back(Wake::Miner(id));
        }
    }

    fn wake_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && !std::mem::replace(&mut link.is_woken, true)
        {
            self.wakes.push_back(Wake::Link(id));
        }
    }

    /// A number that varies: pauses are shortened by it.
    const fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }

    fn count_upstream_code(&mut self, upstream: usize, code: &str) {
        let Some(counts) = self.counts(upstream) else {
            return;
        };
        count_code(&mut counts.rejected, code);
    }
}
