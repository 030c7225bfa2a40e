//! How difficult a miner's shares are to be.

use std::time::Duration;

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::target::{ConversionError, Difficulty as Credit, Target};
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
#[derive(Clone, Debug)]
pub(super) struct DifficultyPolicy {
    config: VardiffConfig,
    vardiff: Vardiff,
    fixed: Option<Difficulty>,
    /// No difficulty below this, whoever said so.
    minimum: f64,
    /// What shares must meet to count upstream.
    upstream: Target,
}

impl DifficultyPolicy {
    pub(super) fn new(
        config: VardiffConfig,
        nominal_hashrate: f64,
        now: Instant,
    ) -> Result<Self, ConversionError> {
        let minimum = config.min_difficulty;
        let easiest = at_least(Target::from_difficulty(minimum)?).target();
        Ok(Self {
            config,
            vardiff: Vardiff::new(config, nominal_hashrate, easiest, now)?,
            fixed: None,
            minimum,
            // Until an upstream asks for less, nothing is too hard.
            upstream: Target::from_le_bytes([0; 32]),
        })
    }

    /// The difficulty of the next job.
    pub(super) fn difficulty(&self) -> Difficulty {
        let wanted = match self.fixed {
            Some(fixed) => rounded_down(fixed),
            None => at_most(self.vardiff.target()),
        };
        let ceiling = at_most(self.upstream);
        let capped = if wanted < ceiling { wanted } else { ceiling };
        let bound = Difficulty::new(wanted.as_f64() / MAX_EXCESS).map(rounded_down);
        let floor = self.floor();
        let lowest = bound.filter(|bound| *bound > floor).unwrap_or(floor);
        if capped < lowest { lowest } else { capped }
    }

    /// No difficulty is below this one.
    pub(super) fn floor(&self) -> Difficulty {
        at_least(Target::from_difficulty(self.minimum).unwrap_or(Target::MAX))
    }

    /// What shares of the jobs to come must meet to count.
    pub(super) const fn set_upstream(&mut self, target: Target) {
        self.upstream = target;
    }

    pub(super) fn apply_options(&mut self, options: &PasswordOptions, now: Instant) {
        if let Some(minimum) = options.minimum_difficulty {
            self.raise_minimum(minimum.as_f64(), now);
        }
        if let Some(start) = options.starting_difficulty {
            self.restart(start.target(), now);
        }
        self.fixed = options.fixed_difficulty.or(self.fixed);
    }

    pub(super) fn raise_minimum(&mut self, minimum: f64, now: Instant) {
        self.minimum = self.minimum.max(minimum);
        self.vardiff.set_max_target(self.floor().target(), now);
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
        let easiest = self.floor().target();
        let hashrate = target.to_hashrate(self.config.shares_per_minute);
        let restarted =
            hashrate.and_then(|hashrate| Vardiff::new(self.config, hashrate, easiest, now));
        if let Ok(vardiff) = restarted {
            self.vardiff = vardiff;
        }
    }

    /// Whether the difficulty may have changed.
    pub(super) fn share_accepted(&mut self, credit: Credit, now: Instant) -> bool {
        self.vardiff.share_accepted(credit, now).is_some() && self.fixed.is_none()
    }

    /// Whether the difficulty may have changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.vardiff.handle_timeout(now).is_some() && self.fixed.is_none()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.vardiff.poll_timeout()
    }

    /// Estimated hashes a second.
    pub(super) fn hashrate(&self, now: Instant) -> f64 {
        self.vardiff.hashrate(now)
    }
}
