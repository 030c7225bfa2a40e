//! How difficult a miner's shares are to be.

use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::target::{ConversionError, Difficulty as Credit, ShareTarget, Target};
use roles_logic_sv2::vardiff::{Vardiff, VardiffConfig};
use sv1_api::Difficulty;
use sv1_api::worker::PasswordOptions;

use crate::difficulty::{at_least, at_most, rounded_down};

/// How many more shares than wanted a miner is asked for when an upstream takes that many.
const MAX_EXCESS: f64 = 16.0;

/// The difficulty of one miner: always a power of two, and mostly not above the upstream's.
///
/// A share earns what the upstream asked for, however much more the miner was asked for: any more would be given away.
/// Two things go above. A minimum: the operator's, or one below which the miner does not work. And a bound on the rate of
/// shares: an upstream that does not know of the miner's hash rate yet would have it send thousands a second.
///
/// What jobs and shares need of it is worked out when something changes: that takes divisions of large numbers.
#[derive(Clone, Debug)]
pub(super) struct DifficultyPolicy {
    config: VardiffConfig,
    vardiff: Vardiff,
    fixed: Option<Difficulty>,
    /// No difficulty below this, whoever said so.
    minimum: f64,
    floor: Difficulty,
    /// What shares must meet to count upstream; anything until that is known.
    upstream: Option<Target>,
    ceiling: Option<Difficulty>,
    difficulty: Difficulty,
    share_target: Arc<ShareTarget>,
}

impl DifficultyPolicy {
    pub(super) fn new(
        config: VardiffConfig,
        nominal_hashrate: f64,
        now: Instant,
    ) -> Result<Self, ConversionError> {
        let minimum = config.min_difficulty;
        let floor = at_least(Target::from_difficulty(minimum)?);
        let vardiff = Vardiff::new(config, nominal_hashrate, floor.target(), now)?;
        let difficulty = at_most(vardiff.target());
        let mut policy = Self {
            config,
            vardiff,
            fixed: None,
            minimum,
            floor,
            upstream: None,
            ceiling: None,
            difficulty,
            share_target: Arc::new(ShareTarget::new(difficulty.target())),
        };
        policy.settle();
        Ok(policy)
    }

    /// The difficulty of the next job.
    pub(super) const fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// The same for the judge of shares.
    pub(super) const fn share_target(&self) -> &Arc<ShareTarget> {
        &self.share_target
    }

    /// No difficulty is below this one.
    pub(super) const fn floor(&self) -> Difficulty {
        self.floor
    }

    /// Works out the difficulty of the next job.
    fn settle(&mut self) {
        let wanted = match self.fixed {
            Some(fixed) => rounded_down(fixed),
            None => at_most(self.vardiff.target()),
        };
        let capped = match self.ceiling {
            Some(ceiling) if ceiling < wanted => ceiling,
            _ => wanted,
        };
        let bound = Difficulty::new(wanted.as_f64() / MAX_EXCESS).map(rounded_down);
        let lowest = bound.filter(|bound| *bound > self.floor);
        let lowest = lowest.unwrap_or(self.floor);
        let difficulty = if capped < lowest { lowest } else { capped };
        if difficulty != self.difficulty {
            self.difficulty = difficulty;
            self.share_target = Arc::new(ShareTarget::new(difficulty.target()));
        }
    }

    /// What shares of the jobs to come must meet to count.
    pub(super) fn set_upstream(&mut self, target: Target) {
        if self.upstream.replace(target) != Some(target) {
            self.ceiling = Some(at_most(target));
            self.settle();
        }
    }

    pub(super) fn apply_options(&mut self, options: &PasswordOptions, now: Instant) {
        if let Some(minimum) = options.minimum_difficulty {
            self.raise_minimum(minimum.as_f64(), now);
        }
        if let Some(start) = options.starting_difficulty {
            self.restart(start.target(), now);
        }
        self.fixed = options.fixed_difficulty.or(self.fixed);
        self.settle();
    }

    pub(super) fn raise_minimum(&mut self, minimum: f64, now: Instant) {
        if minimum > self.minimum {
            self.minimum = minimum;
            self.floor = at_least(Target::from_difficulty(minimum).unwrap_or(Target::MAX));
            self.vardiff.set_max_target(self.floor.target(), now);
            self.settle();
        }
    }

    /// The miner begins to work: time until now says nothing of it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.restart(self.vardiff.target(), now);
    }

    /// Time in which no share could count.
    pub(super) fn skip(&mut self, duration: Duration) {
        self.vardiff.skip(duration);
    }

    /// Searches on from another target.
    pub(super) fn restart(&mut self, target: Target, now: Instant) {
        let easiest = self.floor.target();
        let hashrate = target.to_hashrate(self.config.shares_per_minute);
        let restarted =
            hashrate.and_then(|hashrate| Vardiff::new(self.config, hashrate, easiest, now));
        if let Ok(vardiff) = restarted {
            self.vardiff = vardiff;
            self.settle();
        }
    }

    /// Whether the difficulty may have changed.
    pub(super) fn share_accepted(&mut self, credit: Credit, now: Instant) -> bool {
        let is_changed = self.vardiff.share_accepted(credit, now).is_some();
        self.follow(is_changed)
    }

    /// Whether the difficulty may have changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_changed = self.vardiff.handle_timeout(now).is_some();
        self.follow(is_changed)
    }

    fn follow(&mut self, is_changed: bool) -> bool {
        let is_free = self.fixed.is_none();
        if is_changed && is_free {
            self.settle();
        }
        is_changed && is_free
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.vardiff.poll_timeout()
    }

    /// Estimated hashes a second.
    pub(super) fn hashrate(&self, now: Instant) -> f64 {
        self.vardiff.hashrate(now)
    }
}
