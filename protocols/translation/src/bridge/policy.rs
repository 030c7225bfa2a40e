//! How difficult a miner's shares are to be.

use roles_logic_sv2::clock::Instant;
use roles_logic_sv2::target::{ConversionError, Difficulty as Credit, Target};
use roles_logic_sv2::vardiff::{Vardiff, VardiffConfig};
use sv1_api::Difficulty;
use sv1_api::worker::PasswordOptions;

use crate::difficulty::{at_least, at_most, rounded_down};

/// The difficulty of one miner: always a power of two, and never easier than what counts upstream.
#[derive(Debug)]
pub(super) struct DifficultyPolicy {
    config: VardiffConfig,
    vardiff: Vardiff,
    fixed: Option<Difficulty>,
    /// No difficulty below this, whoever said so.
    minimum: f64,
}

impl DifficultyPolicy {
    pub(super) fn new(
        config: VardiffConfig,
        nominal_hashrate: f64,
        now: Instant,
    ) -> Result<Self, ConversionError> {
        Ok(Self {
            config,
            vardiff: Vardiff::new(config, nominal_hashrate, Target::MAX, now)?,
            fixed: None,
            minimum: config.min_difficulty,
        })
    }

    /// The difficulty for a job whose shares must meet `upstream`.
    pub(super) fn difficulty(&self, upstream: &Target) -> Difficulty {
        let wanted = match self.fixed {
            Some(fixed) => rounded_down(fixed),
            None => at_most(self.vardiff.target()),
        };
        let minimum = Target::from_difficulty(self.minimum).unwrap_or(Target::MAX);
        let floor = at_least(minimum.min(*upstream));
        if wanted < floor { floor } else { wanted }
    }

    pub(super) fn apply_options(&mut self, options: &PasswordOptions, now: Instant) {
        if let Some(minimum) = options.minimum_difficulty {
            self.raise_minimum(minimum.as_f64());
        }
        if let Some(start) = options.starting_difficulty {
            self.restart(start.target(), now);
        }
        self.fixed = options.fixed_difficulty.or(self.fixed);
    }

    pub(super) const fn raise_minimum(&mut self, minimum: f64) {
        self.minimum = self.minimum.max(minimum);
    }

    /// Searches on from another target.
    pub(super) fn restart(&mut self, target: Target, now: Instant) {
        let hashrate = target.to_hashrate(self.config.shares_per_minute);
        let restarted =
            hashrate.and_then(|hashrate| Vardiff::new(self.config, hashrate, Target::MAX, now));
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
