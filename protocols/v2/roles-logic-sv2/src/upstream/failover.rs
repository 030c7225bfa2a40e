//! Which of several upstreams to use: the best that work, back to better ones when they have proved themselves.
//!
//! Each upstream has a priority; smaller is better. Those of equal priority are a tier and are used together; what is
//! used is of one tier. The owner says what becomes of each upstream ([`Failover::ready`], [`Failover::failed`]) and
//! does what comes out: connect, use, leave.
//!
//! - While none is used, the best tier is tried first, all of it; the next one as soon as all better upstreams have
//!   failed, or after [`FailoverConfig::patience`] for each better tier that neither fails nor gets ready. The first
//!   that is ready is used.
//! - While a tier is used, the rest of it and better ones are tried again and again, with pauses that double; while none
//!   is used, with shorter ones. One that has been ready for [`FailoverConfig::settle`] is used too, or instead if it is
//!   better. That time doubles for an upstream that is lost soon after it was taken into use, so that two that come and
//!   go do not have miners go to and fro.
//! - One that is no longer wanted ([`Failover::set_wanted`]: maintenance, removal) is neither tried nor taken into use.
//!   If nothing else is ready, it stays in use until another is, and is left then: that costs no hash.
//!
//! ```
//! use roles_logic_sv2::clock::Instant;
//! use roles_logic_sv2::upstream::failover::{Failover, FailoverConfig, FailoverOutput as Output};
//!
//! let now = Instant::default();
//! let mut failover = Failover::new(&[0, 1], FailoverConfig::default(), now);
//! assert_eq!(failover.poll_output(), Some(Output::Try(0)));
//! failover.failed(0, 0, now);
//! assert_eq!(failover.poll_output(), Some(Output::Try(1)));
//! failover.ready(1, now);
//! assert_eq!(failover.poll_output(), Some(Output::Use(vec![1])));
//! ```

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::clock::Instant;

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverConfig {
    /// Pause before an upstream that failed is tried again; it doubles with each further failure.
    pub first_pause: Duration,
    /// The longest pause while another is used.
    pub max_pause: Duration,
    /// The longest pause while none is used: miners wait, which costs more than an attempt.
    pub max_search_pause: Duration,
    /// How long a better tier may take before the next one is tried beside it.
    pub patience: Duration,
    /// How long an upstream must have been ready before it is used beside, or instead of, those that work.
    pub settle: Duration,
    /// The longest that this time gets for one that comes and goes.
    pub max_settle: Duration,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(30),
            max_search_pause: Duration::from_secs(2),
            patience: Duration::from_secs(2),
            settle: Duration::from_secs(10),
            max_settle: Duration::from_secs(600),
        }
    }
}

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverOutput {
    /// Connect to this upstream; then say [`Failover::ready`] or [`Failover::failed`].
    Try(usize),
    /// Use exactly these upstreams from now on, in ascending order; none for now when empty.
    Use(Vec<usize>),
    /// Close the connection to this upstream, or give the attempt up: better ones are used, or it is not wanted.
    Leave(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected.
    Idle { since: Instant, pause: Duration },
    /// Being connected to.
    Trying,
    /// Could be used.
    Ready { since: Instant },
    /// Is used.
    Used { since: Instant },
}

impl State {
    /// Not connected, and nothing speaks against trying it.
    const fn left(now: Instant) -> Self {
        Self::Idle {
            since: now,
            pause: Duration::ZERO,
        }
    }
}

#[derive(Clone, Debug)]
struct Upstream {
    priority: u32,
    is_wanted: bool,
    state: State,
    pause: Duration,
    settle: Duration,
}

impl Upstream {
    const fn new(priority: u32, config: &FailoverConfig, now: Instant) -> Self {
        Self {
            priority,
            is_wanted: true,
            state: State::left(now),
            pause: config.first_pause,
            settle: config.settle,
        }
    }

    const fn want(&mut self, is_wanted: bool, config: &FailoverConfig, now: Instant) {
        if is_wanted && !self.is_wanted && !self.is_used() {
            *self = Self::new(self.priority, config, now);
        }
        self.is_wanted = is_wanted;
    }

    const fn is_used(&self) -> bool {
        matches!(self.state, State::Used { .. })
    }
}

/// The choice between upstreams.
#[derive(Clone, Debug)]
pub struct Failover {
    config: FailoverConfig,
    upstreams: Vec<Upstream>,
    /// What the owner was last told to use.
    used: Vec<usize>,
    /// Since when no wanted upstream is used, if so.
    searching_since: Option<Instant>,
    outputs: VecDeque<FailoverOutput>,
}

impl Failover {
    /// None of the upstreams is connected. Each is known by its index in `priorities`.
    pub fn new(priorities: &[u32], config: FailoverConfig, now: Instant) -> Self {
        let priorities = priorities.iter();
        let mut failover = Self {
            config,
            upstreams: priorities
                .map(|priority| Upstream::new(*priority, &config, now))
                .collect(),
            used: Vec::new(),
            searching_since: None,
            outputs: VecDeque::new(),
        };
        failover.decide(now);
        failover
    }

    /// The upstreams to use, in ascending order.
    pub fn used(&self) -> &[usize] {
        &self.used
    }

    /// One upstream more; gives its index. No index is given twice: one that was removed stays, unwanted.
    pub fn add(&mut self, priority: u32, now: Instant) -> usize {
        let index = self.upstreams.len();
        let upstream = Upstream::new(priority, &self.config, now);
        self.upstreams.push(upstream);
        self.decide(now);
        index
    }

    /// Moves an upstream to another tier. Of those used, the ones that are best now stay in use and the others are left.
    pub fn set_priority(&mut self, index: usize, priority: u32, now: Instant) {
        if let Some(upstream) = self.upstreams.get_mut(index) {
            upstream.priority = priority;
            self.decide(now);
        }
    }

    /// Says whether an upstream may be tried and used.
    ///
    /// One that is no longer wanted is left. If it was used, others that are ready are used first; if none is, it stays
    /// in use until another one has been taken into use, for maintenance must not cost a second of hash. While no other
    /// is wanted, or none works, it stays, unless the owner closes the connection ([`Self::failed`]). If it fails
    /// meanwhile, it is simply gone.
    ///
    /// One that is wanted again starts with a clean record and is tried at once, unless better ones are used.
    pub fn set_wanted(&mut self, index: usize, is_wanted: bool, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(index) else {
            return;
        };
        upstream.want(is_wanted, &self.config, now);
        self.decide(now);
    }

    /// Says of each upstream, at its index, its priority and whether it is wanted; those beyond the ones there are are new.
    ///
    /// The same as [`Self::add`], [`Self::set_priority`] and [`Self::set_wanted`] one after the other, but that nothing is
    /// done about what lies only on the way.
    pub fn set_all(&mut self, upstreams: &[(u32, bool)], now: Instant) {
        for (index, (priority, is_wanted)) in upstreams.iter().enumerate() {
            match self.upstreams.get_mut(index) {
                Some(upstream) => {
                    upstream.priority = *priority;
                    upstream.want(*is_wanted, &self.config, now);
                }
                None => self.upstreams.push(Upstream {
                    is_wanted: *is_wanted,
                    ..Upstream::new(*priority, &self.config, now)
                }),
            }
        }
        self.decide(now);
    }

    /// Is as patient as this from now on.
    pub fn set_config(&mut self, config: FailoverConfig, now: Instant) {
        self.config = config;
        self.decide(now);
    }

    /// This upstream could be used now.
    pub fn ready(&mut self, index: usize, now: Instant) {
        if let Some(upstream) = self.upstreams.get_mut(index)
            && upstream.state == State::Trying
        {
            upstream.state = State::Ready { since: now };
            self.decide(now);
        }
    }

    /// The connection to this upstream ended, or it turned out to be of no use. `random` shortens the pause, so that
    /// the clients of one server do not all come back at once.
    pub fn failed(&mut self, index: usize, random: u32, now: Instant) {
        let FailoverConfig {
            first_pause,
            max_pause,
            settle,
            max_settle,
            ..
        } = self.config;
        let Some(upstream) = self.upstreams.get_mut(index) else {
            return;
        };
        // The time that it had to settle proves nothing: it did not have to bear anything.
        if let State::Ready { since } | State::Used { since } = upstream.state {
            if now - since > max_pause.max(upstream.settle) {
                // It was a good one: come back at once.
                upstream.pause = Duration::ZERO;
                upstream.settle = settle;
            } else if upstream.is_used() {
                upstream.settle = upstream.settle.saturating_mul(2).min(max_settle);
            }
        }
        let pause = upstream.pause;
        upstream.pause = pause.saturating_mul(2).clamp(first_pause, max_pause);
        let half = pause / 2;
        let pause = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        upstream.state = State::Idle { since: now, pause };
        self.decide(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<FailoverOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let upstreams = self.upstreams.iter();
        upstreams.filter_map(|upstream| self.due(upstream)).min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    /// The priority of what is used. What is not wanted does not count: it is used for want of another.
    fn tier(&self) -> Option<u32> {
        let used = self.upstreams.iter();
        let used = used.filter(|upstream| upstream.is_wanted && upstream.is_used());
        used.map(|upstream| upstream.priority).min()
    }

    /// When something is to be done about an upstream: try it, or take it into use.
    fn due(&self, upstream: &Upstream) -> Option<Instant> {
        let tier = self.tier();
        if !upstream.is_wanted || tier.is_some_and(|tier| tier < upstream.priority) {
            return None;
        }
        match (upstream.state, tier) {
            (State::Idle { since, pause }, Some(_)) => Some(since + pause),
            (State::Idle { since, pause }, None) => {
                let pause = pause.min(self.config.max_search_pause);
                Some((since + pause).max(self.turn(upstream.priority)))
            }
            (State::Ready { since }, Some(_)) => Some(since + upstream.settle),
            (State::Ready { since }, None) => Some(since),
            (State::Trying | State::Used { .. }, _) => None,
        }
    }

    /// From when on a tier may be tried while none is used.
    fn turn(&self, priority: u32) -> Instant {
        let better = self.upstreams.iter();
        let better = better.filter(|better| better.priority < priority);
        let under_way = better.filter(|better| better.state == State::Trying);
        let tiers: BTreeSet<u32> = under_way.map(|better| better.priority).collect();
        let waits = u32::try_from(tiers.len()).unwrap_or(u32::MAX);
        let since = self.searching_since.unwrap_or_default();
        since + self.config.patience.saturating_mul(waits)
    }

    /// Leaves come last but for attempts, so that the owner changes from one set to the next without a gap.
    fn decide(&mut self, now: Instant) {
        if self.tier().is_none() {
            self.searching_since.get_or_insert(now);
        }
        self.take_into_use(now);
        if self.tier().is_some() {
            self.searching_since = None;
        }
        let left = self.let_go(now);
        self.announce();
        let left = left.into_iter().map(FailoverOutput::Leave);
        self.outputs.extend(left);
        self.try_again(now);
    }

    /// Takes all into use that may be; [`Self::let_go`] keeps the best of them.
    fn take_into_use(&mut self, now: Instant) {
        let ready = self.upstreams.iter().enumerate();
        let ready = ready.filter(|(_, upstream)| matches!(upstream.state, State::Ready { .. }));
        let due = ready.filter(|(_, upstream)| self.due(upstream).is_some_and(|due| due <= now));
        let due: Vec<usize> = due.map(|(index, _)| index).collect();
        for index in due {
            if let Some(upstream) = self.upstreams.get_mut(index) {
                upstream.state = State::Used { since: now };
            }
        }
    }

    /// Lets go of all that are worse than what is used, or not wanted and not needed; gives their indices.
    fn let_go(&mut self, now: Instant) -> Vec<usize> {
        let tier = self.tier();
        let mut left = Vec::new();
        for (index, upstream) in self.upstreams.iter_mut().enumerate() {
            let is_worse = tier.is_some_and(|tier| tier < upstream.priority);
            let is_needed = upstream.is_wanted || upstream.is_used() && tier.is_none();
            if (is_worse || !is_needed) && !matches!(upstream.state, State::Idle { .. }) {
                upstream.state = State::left(now);
                left.push(index);
            }
        }
        left
    }

    fn announce(&mut self) {
        let used = self.upstreams.iter().enumerate();
        let used = used.filter(|(_, upstream)| upstream.is_used());
        let used: Vec<usize> = used.map(|(index, _)| index).collect();
        if used != self.used {
            self.used.clone_from(&used);
            self.outputs.push_back(FailoverOutput::Use(used));
        }
    }

    /// Tries those whose time has come. Better ones come first, for an attempt at one makes worse ones wait.
    fn try_again(&mut self, now: Instant) {
        let upstreams = self.upstreams.iter().enumerate();
        let idle = upstreams.filter(|(_, upstream)| matches!(upstream.state, State::Idle { .. }));
        let mut idle: Vec<_> = idle
            .map(|(index, upstream)| (upstream.priority, index))
            .collect();
        idle.sort_unstable();
        for (_, index) in idle {
            let due = self
                .upstreams
                .get(index)
                .and_then(|upstream| self.due(upstream));
            if due.is_some_and(|due| due <= now)
                && let Some(upstream) = self.upstreams.get_mut(index)
            {
                upstream.state = State::Trying;
                self.outputs.push_back(FailoverOutput::Try(index));
            }
        }
    }
}

#[cfg(test)]
mod tests;
