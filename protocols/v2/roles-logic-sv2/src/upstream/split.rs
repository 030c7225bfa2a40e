//! Who works for which of several upstreams, so that the work done for each follows the operator's weights.
//!
//! A leaf is what can be moved as one: a device's channel, an Sv1 miner. Once a second [`Split::rebalance`] compares what
//! was worked for each upstream with its share by weight, and names the leaves to move. Many leaves are divided once and
//! then left alone; what does not come out even, or a single leaf, goes to and fro. The goal is to be within
//! [`SplitConfig::tolerance`] of the weights in a minute and to stay there with few moves, since each costs a device some
//! work.
//!
//! # What counts as work
//!
//! Shares say what was worked, but ten of them are a third more or less by luck. To follow luck would send devices about
//! for nothing: the pools' luck evens out by itself, and what an operator pays for is time at a hashrate. So work is
//! reckoned as hashrate × time, by the owner's estimates, and held against the counted shares: as far as luck does not
//! explain the difference ([`Split::worked`]), the shares are right and the estimates were wrong. Estimates that are
//! all wrong by the same factor do no harm.
//!
//! # What is decided
//!
//! For upstream j of weight share w let `owed` = w × all work − work for j, and `lacking` = w × all hashrate − hashrate at
//! j. Leaves are moved, the fitting ones first, as long as that lessens the sum of the squares of
//! `owed` + `lacking` × horizon: each upstream is to have its due a horizon from now. Nothing is moved while that is within
//! the tolerance, except when what was owed is paid and leaves that were lent for it can go home.
//!
//! ```
//! use roles_logic_sv2::clock::Instant;
//! use roles_logic_sv2::upstream::split::{Load, Split, SplitConfig};
//!
//! let now = Instant::from_secs(100);
//! let mut split = Split::new(SplitConfig::default());
//! split.set_weights(&[(0, 70), (4, 30)], now);
//! let load = |key| Load { key, upstream: 0, hashrate: 1e14, moved_at: Instant::default() };
//! let loads: Vec<_> = (0..10).map(load).collect();
//! let moves = split.rebalance(&loads, now);
//! assert_eq!(moves.len(), 3);
//! assert!(moves.iter().all(|(_, upstream)| *upstream == 4));
//! ```

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::clock::Instant;

/// Time between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time, as a part of the window, in which something owed is paid: shorter takes more leaves to and fro.
const HORIZON: f64 = 0.1;

/// Squared deviations, in units of the variance, that are luck: more happens once in 370 times.
const LUCK: f64 = 9.0;

/// How exactly and how eagerly to follow the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitConfig {
    /// How far back work is remembered; it is forgotten little by little.
    pub window: Duration,
    /// Part of all work that may be at the wrong upstream.
    pub tolerance: f64,
    /// The shortest time that a leaf stays where it is; so it is at first.
    pub min_dwell: Duration,
    /// The longest such time. It grows with what is remembered: tolerance × time.
    pub max_dwell: Duration,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            tolerance: 0.01,
            min_dwell: Duration::from_secs(1),
            max_dwell: Duration::from_secs(10),
        }
    }
}

/// A leaf, and where it works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load<K> {
    /// The owner's name for it.
    pub key: K,
    /// For whom it works, or is on its way to. If that one is not used, or has no weight, it is moved at once.
    pub upstream: usize,
    /// What it is thought to do, in hashes a second. What is not a positive number counts as none.
    pub hashrate: f64,
    /// When it was sent there.
    pub moved_at: Instant,
}

/// What is known of one upstream.
#[derive(Clone, Copy, Debug)]
struct Account {
    upstream: usize,
    /// Part of all work that it is to have.
    share: f64,
    /// Hashrate × time.
    worked: f64,
    /// Work of the counted shares, and the sum of its squares.
    counted: f64,
    counted_squares: f64,
    /// Hashes a second of the leaves there.
    hashrate: f64,
}

/// A tentative division of the leaves.
struct Plan {
    /// Hashes that each account would be short of at the horizon.
    short: Vec<f64>,
    /// Hashes a second that each lacks.
    lacking: Vec<f64>,
    /// Leaves that may be moved, at each account, by hashrate: the bits of a positive number are in its order.
    movable: Vec<BTreeSet<(u64, usize)>>,
    /// Leaf and account it is moved to.
    moves: Vec<(usize, usize)>,
}

/// The division of leaves among upstreams.
#[derive(Clone, Debug)]
pub struct Split {
    config: SplitConfig,
    /// As the owner has set them.
    weights: Vec<(usize, u32)>,
    /// Of the upstreams that are to have anything.
    accounts: Vec<Account>,
    since: Instant,
    looked_at: Instant,
    next_look: Instant,
    /// Hashes a second of all leaves, the sum of the squares, and how many there are.
    hashrate: f64,
    hashrate_squares: f64,
    leaves: f64,
}

impl Split {
    /// No upstream is used yet.
    pub fn new(config: SplitConfig) -> Self {
        Self {
            config,
            weights: Vec::new(),
            accounts: Vec::new(),
            since: Instant::default(),
            looked_at: Instant::default(),
            next_look: Instant::default(),
            hashrate: 0.0,
            hashrate_squares: 0.0,
            leaves: 0.0,
        }
    }

    /// Exactly these upstreams are used, with these weights. One of weight 0 gets nothing while another has weight.
    ///
    /// If anything is new, all that was worked is forgotten: an upstream that was away is not paid back. Then
    /// [`Self::rebalance`] is due at once.
    pub fn set_weights(&mut self, weights: &[(usize, u32)], now: Instant) {
        if self.weights == weights {
            return;
        }
        self.weights = weights.to_vec();
        let sum: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let count = weights.len() as f64;
        let accounts = weights.iter().map(|(upstream, weight)| Account {
            upstream: *upstream,
            share: match sum > 0.0 {
                true => f64::from(*weight) / sum,
                false => 1.0 / count,
            },
            worked: 0.0,
            counted: 0.0,
            counted_squares: 0.0,
            hashrate: 0.0,
        });
        self.accounts = accounts.filter(|account| account.share > 0.0).collect();
        (self.since, self.looked_at, self.next_look) = (now, now, now);
        (self.hashrate, self.hashrate_squares, self.leaves) = (0.0, 0.0, 0.0);
    }

    /// A share was found for this upstream, worth so much work: its difficulty, or hashes (2³² for each unit of
    /// difficulty). Only proportions matter, but all must be in the same unit.
    ///
    /// Count it when it is found to be valid here, not when the upstream takes it: one that refuses good shares would be
    /// given ever more leaves.
    pub fn worked(&mut self, upstream: usize, work: f64) {
        let mut accounts = self.accounts.iter_mut();
        if let Some(account) = accounts.find(|account| account.upstream == upstream)
            && is_positive(work)
        {
            account.counted += work;
            account.counted_squares += work * work;
        }
    }

    /// Where a new leaf goes: to the upstream that is short of most. `hashrate` in hashes a second; if it is not known,
    /// the leaf is taken for an average one. `None` if no upstream is used.
    pub fn place(&mut self, hashrate: f64) -> Option<usize> {
        let hashrate = match hashrate {
            known if is_positive(known) => known,
            _ if self.leaves > 0.0 && self.hashrate > 0.0 => self.hashrate / self.leaves,
            _ => 1.0,
        };
        self.add_leaf(hashrate);
        let index = self.neediest()?;
        let account = self.accounts.get_mut(index)?;
        account.hashrate += hashrate;
        Some(account.upstream)
    }

    /// When [`Self::rebalance`] is due; never while fewer than two upstreams are used.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.weights.len() > 1).then_some(self.next_look)
    }

    /// Looks at all leaves; gives those to be moved now, each with its new upstream. What follows takes them for moved.
    ///
    /// Takes time proportional to the leaves, and n log n when some are moved.
    pub fn rebalance<K: Copy>(&mut self, loads: &[Load<K>], now: Instant) -> Vec<(K, usize)> {
        self.advance(now);
        self.next_look = now + LOOK_INTERVAL;
        self.believe_shares();
        let homeless = self.measure(loads);
        let mut moves: Vec<(usize, usize)> = Vec::new();
        for (index, hashrate) in homeless {
            self.add_leaf(hashrate);
            let Some(to) = self.neediest() else {
                return Vec::new();
            };
            if let Some(account) = self.accounts.get_mut(to) {
                account.hashrate += hashrate;
                moves.push((index, to));
            }
        }
        // One that was just given a home has not dwelt there.
        if moves.is_empty() && self.accounts.len() > 1 {
            moves = self.moves(loads, now);
        }
        let named = moves.into_iter().filter_map(|(index, to)| {
            let (load, account) = (loads.get(index)?, self.accounts.get(to)?);
            Some((load.key, account.upstream))
        });
        named.collect()
    }

    /// Time passed: leaves worked where they were, and what was long ago matters less.
    fn advance(&mut self, now: Instant) {
        let secs = (now - self.looked_at).as_secs_f64();
        let kept = 1.0 / (1.0 + secs / self.window());
        for account in &mut self.accounts {
            account.worked = account.worked * kept + account.hashrate * secs;
            account.counted *= kept;
            account.counted_squares *= kept;
        }
        self.looked_at = self.looked_at.max(now);
    }

    /// Where counted shares differ from what was reckoned by more than luck, they are believed: the more so, the further
    /// off they are.
    fn believe_shares(&mut self) {
        let counted = self.sum(|account| account.counted);
        let squares = self.sum(|account| account.counted_squares);
        let worked = self.sum(|account| account.worked);
        if counted <= 0.0 || squares <= 0.0 || worked <= 0.0 {
            return;
        }
        // So many shares of equal work would vary as much.
        let shares = counted * counted / squares;
        // Where none was ever found, their size may be unlike that of others.
        let accounts = self.accounts.iter_mut();
        for account in accounts.filter(|account| account.counted > 0.0) {
            let reckoned = account.worked / worked;
            let found = account.counted / counted;
            // The last term makes up for the skewness of few shares.
            let variance = (reckoned * (1.0 - reckoned) + 1.0 / shares) / shares;
            let deviation = reckoned - found;
            let excess = deviation * deviation / (LUCK * variance);
            if excess > 1.0 {
                account.worked = worked * (found + deviation / excess);
            }
        }
    }

    /// Adds up who works where; gives the leaves that work for none that is to have any, strongest first.
    fn measure<K>(&mut self, loads: &[Load<K>]) -> Vec<(usize, f64)> {
        (self.hashrate, self.hashrate_squares, self.leaves) = (0.0, 0.0, 0.0);
        for account in &mut self.accounts {
            account.hashrate = 0.0;
        }
        let mut homeless = Vec::new();
        for (index, load) in loads.iter().enumerate() {
            let hashrate = sound(load.hashrate);
            match self.home(load.upstream) {
                Some(account) => {
                    account.hashrate += hashrate;
                    self.add_leaf(hashrate);
                }
                None => homeless.push((index, hashrate)),
            }
        }
        homeless.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        homeless
    }

    fn home(&mut self, upstream: usize) -> Option<&mut Account> {
        let mut accounts = self.accounts.iter_mut();
        accounts.find(|account| account.upstream == upstream)
    }

    fn add_leaf(&mut self, hashrate: f64) {
        self.hashrate += hashrate;
        self.hashrate_squares += hashrate * hashrate;
        self.leaves += 1.0;
    }

    /// The account that is short of most.
    fn neediest(&self) -> Option<usize> {
        let short = self.short();
        let short = short.iter().enumerate();
        let neediest = short.max_by(|(_, a), (_, b)| a.total_cmp(b));
        neediest.map(|(index, _)| index)
    }

    /// The leaves to move, and accounts to move them to.
    fn moves<K>(&mut self, loads: &[Load<K>], now: Instant) -> Vec<(usize, usize)> {
        let lacking = self.lacking();
        let tolerated = self.config.tolerance * self.sum(|account| account.worked);
        let tolerated_hashrate = self.config.tolerance * self.hashrate;
        let leaf = self.typical_hashrate() * self.horizon();
        let is_off = range(&self.short()) > (2.0 * tolerated).max(leaf + tolerated);
        let is_paid = range(&lacking) > 1.5 * tolerated_hashrate && self.is_getting_worse();
        if !is_off && !is_paid {
            return Vec::new();
        }
        let plan = self.plan(loads, now);
        let is_evener = range(&plan.lacking) + tolerated_hashrate / 2.0 < range(&lacking);
        if !is_off && !is_evener {
            return Vec::new();
        }
        let changes = lacking.iter().zip(&plan.lacking);
        for (account, (before, after)) in self.accounts.iter_mut().zip(changes) {
            account.hashrate += before - after;
        }
        plan.moves
    }

    /// Moves leaves as long as that brings the accounts closer to their due.
    fn plan<K>(&self, loads: &[Load<K>], now: Instant) -> Plan {
        let mut plan = Plan {
            short: self.short(),
            lacking: self.lacking(),
            movable: self.accounts.iter().map(|_| BTreeSet::new()).collect(),
            moves: Vec::new(),
        };
        let dwell = Duration::try_from_secs_f64(self.dwell()).unwrap_or(Duration::MAX);
        for (index, load) in loads.iter().enumerate() {
            let hashrate = sound(load.hashrate);
            let mut accounts = self.accounts.iter().zip(&mut plan.movable);
            let home = accounts.find(|(account, _)| account.upstream == load.upstream);
            if let Some((_, movable)) = home
                && hashrate > 0.0
                && now - load.moved_at >= dwell
            {
                movable.insert((hashrate.to_bits(), index));
            }
        }
        // Each leaf is moved once at most.
        while plan.step(self.horizon()) {}
        plan
    }

    /// Hashes that each account is owed.
    fn owed(&self) -> impl Iterator<Item = f64> {
        let all = self.sum(|account| account.worked);
        let accounts = self.accounts.iter();
        accounts.map(move |account| account.share * all - account.worked)
    }

    /// Hashes a second that each account lacks.
    fn lacking(&self) -> Vec<f64> {
        let all = self.hashrate;
        let accounts = self.accounts.iter();
        let lacking = accounts.map(|account| account.share * all - account.hashrate);
        lacking.collect()
    }

    /// Hashes that each account will be short of at the horizon.
    fn short(&self) -> Vec<f64> {
        let horizon = self.horizon();
        let both = self.owed().zip(self.lacking());
        both.map(|(owed, lacking)| owed + lacking * horizon)
            .collect()
    }

    /// Whether those that are owed something lack hashrate, all in all.
    fn is_getting_worse(&self) -> bool {
        let both = self.owed().zip(self.lacking());
        both.map(|(owed, lacking)| owed * lacking).sum::<f64>() >= 0.0
    }

    /// The seconds in which the accounts are to be even. The longest in which one leaf makes no difference that is not
    /// tolerated: moves are as rare then as they can be.
    fn horizon(&self) -> f64 {
        let dwell = self.dwell();
        let leaf = self.typical_hashrate();
        if leaf <= 0.0 {
            return dwell;
        }
        let harmless = self.config.tolerance * self.sum(|account| account.worked) / leaf;
        harmless.min(HORIZON * self.window()).max(dwell)
    }

    /// Hashes a second of a leaf that is big enough to matter.
    fn typical_hashrate(&self) -> f64 {
        if self.hashrate > 0.0 {
            self.hashrate_squares / self.hashrate
        } else {
            0.0
        }
    }

    /// The seconds that a leaf stays where it is.
    fn dwell(&self) -> f64 {
        let remembered = (self.looked_at - self.since).min(self.config.window);
        let dwell = self.config.tolerance * remembered.as_secs_f64();
        let min = self.config.min_dwell.as_secs_f64();
        dwell.min(self.config.max_dwell.as_secs_f64()).max(min)
    }

    fn window(&self) -> f64 {
        self.config.window.as_secs_f64().max(1.0)
    }

    fn sum(&self, of: impl Fn(&Account) -> f64) -> f64 {
        self.accounts.iter().map(of).sum()
    }
}

impl Plan {
    /// Moves the leaf whose move betters things most; false if none does.
    fn step(&mut self, horizon: f64) -> bool {
        let accounts = 0..self.short.len();
        let pairs = accounts.clone().flat_map(|from| {
            let others = accounts.clone().filter(move |to| *to != from);
            others.map(move |to| (from, to))
        });
        let moves = pairs.filter_map(|(from, to)| {
            let (leaf, gain) = self.best_leaf(from, to, horizon)?;
            Some((gain, from, to, leaf))
        });
        let Some((_, from, to, leaf)) = moves.max_by(|(a, ..), (b, ..)| a.total_cmp(b)) else {
            return false;
        };
        let hashrate = f64::from_bits(leaf.0);
        for (account, change) in [(from, hashrate), (to, -hashrate)] {
            let (short, lacking) = (self.short.get_mut(account), self.lacking.get_mut(account));
            if let (Some(short), Some(lacking)) = (short, lacking) {
                *short += change * horizon;
                *lacking += change;
            }
        }
        if let Some(movable) = self.movable.get_mut(from) {
            movable.remove(&leaf);
        }
        self.moves.push((leaf.1, to));
        true
    }

    /// The leaf of one account that fits best at another, and what the sum of squares gets smaller by.
    fn best_leaf(&self, from: usize, to: usize, horizon: f64) -> Option<((u64, usize), f64)> {
        let gap = self.short.get(to)? - self.short.get(from)?;
        if gap <= 0.0 {
            return None;
        }
        let movable = self.movable.get(from)?;
        // Best is one that makes the two equal; the next smaller and the next greater are the candidates.
        let ideal = (gap / 2.0 / horizon).to_bits();
        let smaller = movable.range(..(ideal, 0)).next_back();
        let greater = movable.range((ideal, 0)..).next();
        let gains = [smaller, greater].into_iter().flatten().map(|leaf| {
            let work = f64::from_bits(leaf.0) * horizon;
            (*leaf, 2.0 * work * (gap - work))
        });
        // Not for what rounding leaves.
        let gains = gains.filter(|(_, gain)| *gain > gap * gap * 1e-9);
        gains.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

/// From the smallest to the greatest.
fn range(values: &[f64]) -> f64 {
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    greatest - smallest
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn sound(hashrate: f64) -> f64 {
    if is_positive(hashrate) { hashrate } else { 0.0 }
}

#[cfg(test)]
mod tests;
