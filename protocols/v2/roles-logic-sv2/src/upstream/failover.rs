//! Which of several upstreams to use: the best that works, back to a better one when it has proved itself.
//!
//! Upstreams are numbered in the order of the operator's preference. The owner says what becomes of each
//! ([`Failover::ready`], [`Failover::failed`]) and does what comes out: connect, use, leave.
//!
//! - While none is used, the best is tried first; the next one as soon as all better ones have failed, or after
//!   [`FailoverConfig::patience`] when they neither fail nor get ready. The first that is ready is used.
//! - While one is used, better ones are tried again and again, with pauses that double; while none is used, with shorter
//!   ones. One that has been ready for [`FailoverConfig::settle`] is used instead. That time doubles for an upstream that
//!   is lost soon after it was taken into use, so that two that come and go do not have miners go to and fro.
//!
//! ```
//! use roles_logic_sv2::clock::Instant;
//! use roles_logic_sv2::upstream::failover::{Failover, FailoverConfig, FailoverOutput as Output};
//!
//! let now = Instant::default();
//! let mut failover = Failover::new(2, FailoverConfig::default(), now);
//! assert_eq!(failover.poll_output(), Some(Output::Try(0)));
//! failover.failed(0, 0, now);
//! assert_eq!(failover.poll_output(), Some(Output::Try(1)));
//! failover.ready(1, now);
//! assert_eq!(failover.poll_output(), Some(Output::Use(Some(1))));
//! ```

use alloc::collections::VecDeque;
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
    /// How long a better upstream may take before the next one is tried beside it.
    pub patience: Duration,
    /// How long a better upstream must have been ready before it is used instead of one that works.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverOutput {
    /// Connect to this upstream; then say [`Failover::ready`] or [`Failover::failed`].
    Try(usize),
    /// Use this upstream from now on; none for now when `None`.
    Use(Option<usize>),
    /// Close the connection to this upstream: a better one is used.
    Leave(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected.
    Idle { since: Instant, pause: Duration },
    /// Being connected to.
    Trying,
    /// Could be used, or is.
    Ready { since: Instant },
}

#[derive(Clone, Debug)]
struct Upstream {
    state: State,
    pause: Duration,
    settle: Duration,
}

/// The choice between upstreams.
#[derive(Clone, Debug)]
pub struct Failover {
    config: FailoverConfig,
    upstreams: Vec<Upstream>,
    used: Option<usize>,
    /// Since when that one is used.
    used_since: Instant,
    /// Since when none is used.
    searching_since: Instant,
    outputs: VecDeque<FailoverOutput>,
}

impl Failover {
    /// None of `count` upstreams is connected.
    pub fn new(count: usize, config: FailoverConfig, now: Instant) -> Self {
        let upstream = Upstream {
            state: State::Idle {
                since: now,
                pause: Duration::ZERO,
            },
            pause: config.first_pause,
            settle: config.settle,
        };
        let mut failover = Self {
            config,
            upstreams: alloc::vec![upstream; count],
            used: None,
            used_since: now,
            searching_since: now,
            outputs: VecDeque::new(),
        };
        failover.decide(now);
        failover
    }

    /// The upstream to use.
    pub const fn used(&self) -> Option<usize> {
        self.used
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
        let was_used = self.used == Some(index);
        if let State::Ready { since } = upstream.state {
            // The time that it had to settle proves nothing: it did not have to bear anything.
            let lasted = now - if was_used { self.used_since } else { since };
            if lasted > max_pause.max(upstream.settle) {
                // It was a good one: come back at once.
                upstream.pause = Duration::ZERO;
                upstream.settle = settle;
            } else if was_used {
                upstream.settle = upstream.settle.saturating_mul(2).min(max_settle);
            }
        }
        let pause = upstream.pause;
        upstream.pause = pause.saturating_mul(2).clamp(first_pause, max_pause);
        let half = pause / 2;
        let pause = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        upstream.state = State::Idle { since: now, pause };
        if was_used {
            self.used = None;
            self.searching_since = now;
            self.outputs.push_back(FailoverOutput::Use(None));
        }
        self.decide(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<FailoverOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wanted = self.upstreams.iter().enumerate();
        wanted.filter_map(|(index, _)| self.due(index)).min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    /// When something is to be done about an upstream: try it, or use it instead of another.
    fn due(&self, index: usize) -> Option<Instant> {
        let upstream = self.upstreams.get(index)?;
        if self.used.is_some_and(|used| used <= index) {
            return None;
        }
        match upstream.state {
            State::Idle { since, pause } => {
                let pause = match self.used {
                    Some(_) => pause,
                    None => pause.min(self.config.max_search_pause),
                };
                Some((since + pause).max(self.turn(index)?))
            }
            State::Trying => None,
            State::Ready { since } => Some(match self.used {
                Some(_) => since + upstream.settle,
                None => since,
            }),
        }
    }

    /// From when on an upstream may be tried.
    fn turn(&self, index: usize) -> Option<Instant> {
        if self.used.is_some() {
            return Some(Instant::default());
        }
        let better = self.upstreams.get(..index)?;
        let under_way = better.iter().filter(|better| better.state == State::Trying);
        let waits = u32::try_from(under_way.count()).unwrap_or(u32::MAX);
        Some(self.searching_since + self.config.patience.saturating_mul(waits))
    }

    fn decide(&mut self, now: Instant) {
        for index in 0..self.upstreams.len() {
            if self.due(index).is_none_or(|due| due > now) {
                continue;
            }
            let Some(upstream) = self.upstreams.get_mut(index) else {
                continue;
            };
            match upstream.state {
                State::Ready { .. } => self.take_into_use(index, now),
                _ => {
                    upstream.state = State::Trying;
                    self.outputs.push_back(FailoverOutput::Try(index));
                }
            }
        }
    }

    /// Uses an upstream, and lets go of all that are no better.
    fn take_into_use(&mut self, index: usize, now: Instant) {
        self.used = Some(index);
        self.used_since = now;
        self.outputs.push_back(FailoverOutput::Use(Some(index)));
        for (other, upstream) in self.upstreams.iter_mut().enumerate().skip(index + 1) {
            if !matches!(upstream.state, State::Idle { .. }) {
                upstream.state = State::Idle {
                    since: now,
                    pause: Duration::ZERO,
                };
                self.outputs.push_back(FailoverOutput::Leave(other));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailoverOutput::{Leave, Try, Use};

    struct Scene {
        failover: Failover,
        now: Instant,
    }

    impl Scene {
        fn new(count: usize) -> Self {
            let now = Instant::from_secs(1_000);
            let failover = Failover::new(count, FailoverConfig::default(), now);
            Self { failover, now }
        }

        /// Everything that happens within so many seconds, each with its millisecond.
        fn within(&mut self, secs: u64) -> Vec<(u64, FailoverOutput)> {
            let start = self.now;
            let end = start + Duration::from_secs(secs);
            let mut seen = Vec::new();
            loop {
                let ms = (self.now - start).as_millis() as u64;
                seen.extend(core::iter::from_fn(|| self.failover.poll_output()).map(|o| (ms, o)));
                match self.failover.poll_timeout().filter(|at| *at <= end) {
                    Some(at) => {
                        assert!(at >= self.now || seen.len() < 1_000, "time stands still");
                        self.now = at.max(self.now);
                        self.failover.handle_timeout(self.now);
                    }
                    None => break,
                }
            }
            self.now = end;
            seen
        }

        fn now(&mut self) -> Vec<FailoverOutput> {
            core::iter::from_fn(|| self.failover.poll_output()).collect()
        }

        fn ready(&mut self, index: usize) {
            self.failover.ready(index, self.now);
        }

        fn failed(&mut self, index: usize) {
            self.failover.failed(index, u32::MAX, self.now);
        }
    }

    #[test]
    fn a_lone_upstream_is_tried_again_and_again_with_longer_pauses() {
        let mut scene = Scene::new(1);
        assert_eq!(scene.now(), [Try(0)]);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            scene.failed(0);
            let tried = scene.within(31);
            assert_eq!(tried.len(), 1);
            pauses.push(tried[0].0);
        }
        let expected = [500, 1_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000];
        assert_eq!(pauses, expected, "miners wait");
        // One that worked for long is back at once.
        scene.ready(0);
        scene.within(120);
        scene.failed(0);
        assert_eq!(scene.within(1), [(0, Use(None)), (0, Try(0))]);
    }

    #[test]
    fn the_next_is_tried_at_once_when_the_best_fails_and_after_a_while_when_it_says_nothing() {
        let mut scene = Scene::new(3);
        assert_eq!(
            scene.within(5),
            [(0, Try(0)), (2_000, Try(1)), (4_000, Try(2))]
        );
        scene.ready(2);
        assert_eq!(scene.now(), [Use(Some(2))]);

        let mut scene = Scene::new(3);
        assert_eq!(scene.now(), [Try(0)]);
        scene.failed(0);
        assert_eq!(scene.now(), [Try(1)]);
        scene.ready(1);
        assert_eq!(scene.now(), [Use(Some(1))]);
        assert_eq!(scene.failover.used(), Some(1));
    }

    #[test]
    fn a_better_one_is_used_again_when_it_has_lasted() {
        let mut scene = Scene::new(2);
        scene.failed(0);
        scene.ready(1);
        scene.now();
        assert_eq!(scene.within(5), [(500, Try(0))]);
        scene.ready(0);
        assert_eq!(scene.within(9), []);
        assert_eq!(scene.within(5), [(1_000, Use(Some(0))), (1_000, Leave(1))]);
        assert_eq!(scene.within(600), []);
    }

    #[test]
    fn one_that_is_lost_while_it_settles_changes_nothing() {
        let mut scene = Scene::new(2);
        scene.failed(0);
        scene.ready(1);
        scene.now();
        for _ in 0..20 {
            let tried = scene.within(31);
            assert!(
                tried.iter().all(|(_, output)| *output == Try(0)),
                "{tried:?}"
            );
            scene.ready(0);
            assert_eq!(scene.within(5), []);
            scene.failed(0);
            assert_eq!(scene.failover.used(), Some(1));
        }
    }

    #[test]
    fn two_that_come_and_go_are_changed_less_and_less_often() {
        let mut scene = Scene::new(2);
        let mut changes = Vec::new();
        // Each is up for 20 seconds and down for 5, in turn; an hour of it.
        for second in 0_u64..3_600 {
            let (round, moment) = (second / 25, second % 25);
            let down = usize::try_from(round % 2).ok().filter(|_| moment >= 20);
            if moment == 20 {
                scene.failed((round % 2) as usize);
            }
            for (_, output) in scene.within(1) {
                match output {
                    Try(index) if down == Some(index) => scene.failed(index),
                    Try(index) => scene.ready(index),
                    Use(Some(_)) => changes.push(round),
                    _ => {}
                }
            }
        }
        let early = changes.iter().filter(|round| **round < 24).count();
        let late = changes.iter().filter(|round| **round >= 120).count();
        assert!(late <= early, "{changes:?}");
        assert!(
            scene
                .failover
                .upstreams
                .iter()
                .any(|upstream| upstream.settle > Duration::from_secs(60))
        );
    }

    #[test]
    fn one_that_breaks_as_soon_as_it_is_used_is_used_less_and_less_often() {
        let mut scene = Scene::new(2);
        scene.failed(0);
        scene.ready(1);
        let mut uses = Vec::new();
        // Ready whenever it is tried, and lost a second after it was taken into use; two hours of it.
        for second in 0..7_200_u64 {
            for (_, output) in scene.within(1) {
                match output {
                    Try(index) => scene.ready(index),
                    Use(Some(0)) => {
                        uses.push(second);
                        scene.failed(0);
                    }
                    _ => {}
                }
            }
        }
        let pauses: Vec<_> = uses.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted(), "{uses:?}");
        assert!(pauses.last().is_some_and(|pause| *pause >= 600), "{uses:?}");
    }

    #[test]
    fn none_is_used_twice_and_none_is_left_that_is_used() {
        // Any order of events: what is used was ready, what is left is not used.
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut scene = Scene::new(3);
        let mut trying = [false; 3];
        let mut ready = [false; 3];
        for _ in 0..200_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for (_, output) in scene.within(random % 7) {
                match output {
                    Try(index) => {
                        assert!(!trying[index] && !ready[index]);
                        trying[index] = true;
                    }
                    Use(Some(index)) => assert!(ready[index]),
                    Use(None) => {}
                    Leave(index) => {
                        assert!(scene.failover.used().is_some_and(|used| used < index));
                        (trying[index], ready[index]) = (false, false);
                    }
                }
            }
            let index = (random >> 32) as usize % 3;
            if trying[index] && random & 0x100 != 0 {
                (trying[index], ready[index]) = (false, true);
                scene.ready(index);
            } else if (trying[index] || ready[index]) && random & 0xe00 == 0 {
                (trying[index], ready[index]) = (false, false);
                scene.failed(index);
            }
            if let Some(used) = scene.failover.used() {
                assert!(ready[used]);
            } else {
                assert!(
                    trying.iter().any(|trying| *trying) || scene.failover.poll_timeout().is_some()
                );
            }
        }
    }
}
