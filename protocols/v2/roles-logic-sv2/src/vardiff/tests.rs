//! Miners with a Poisson clock, in virtual time.

extern crate std;

use alloc::vec::Vec;
use core::time::Duration;

use super::*;

/// SplitMix64: the same seed gives the same miner.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Waiting time of a Poisson process with one event a second.
    fn exponential(&mut self) -> f64 {
        let uniform = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -uniform.ln()
    }
}

struct Miner {
    rng: Rng,
    /// Hashes a second.
    hashrate: f64,
    vardiff: Vardiff,
    now: Instant,
    shares: u64,
    changes: u64,
}

const HASHRATE: f64 = 1e14;

impl Miner {
    fn new(seed: u64, shares_per_minute: f64, claimed: f64) -> Self {
        let config = VardiffConfig {
            shares_per_minute,
            ..VardiffConfig::default()
        };
        let now = Instant::from_secs(1000);
        let vardiff = Vardiff::new(config, claimed, Target::MAX, now).unwrap();
        Self {
            rng: Rng(seed),
            hashrate: HASHRATE,
            vardiff,
            now,
            shares: 0,
            changes: 0,
        }
    }

    fn run(&mut self, secs: f64) {
        let end = self.now + Duration::from_secs_f64(secs);
        let mut difficulty = self.vardiff.target().difficulty();
        loop {
            let mean_secs = difficulty.expected_hashes() / self.hashrate;
            let wait = (self.rng.exponential() * mean_secs).min(1e9);
            let share_at = self.now + Duration::from_secs_f64(wait);
            let timeout = self.vardiff.poll_timeout().unwrap_or(end);
            assert!(timeout > self.now, "a timeout that is due again at once");
            self.now = share_at.min(timeout).min(end);
            let changed = if self.now == share_at {
                self.shares += 1;
                self.vardiff.share_accepted(difficulty, self.now)
            } else {
                self.vardiff.handle_timeout(self.now)
            };
            if let Some(target) = changed {
                self.changes += 1;
                difficulty = target.difficulty();
            }
            if self.now >= end {
                break;
            }
        }
    }

    /// The share rate that the present target leads to, relative to the wanted one.
    fn rate(&self) -> f64 {
        let secs = self.vardiff.target().difficulty().expected_hashes() / self.hashrate;
        self.vardiff.interval_secs / secs
    }
}

const RATES: [f64; 4] = [6.0, 10.0, 15.0, 20.0];

/// The sorted rates of some miners after `secs`, relative to the wanted one.
fn rates_after(secs: f64, shares_per_minute: f64, claimed: f64) -> Vec<f64> {
    let rate = |seed| {
        let mut miner = Miner::new(seed, shares_per_minute, claimed);
        miner.run(secs);
        miner.rate()
    };
    let mut rates: Vec<f64> = (0..100).map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

#[test]
fn converges_within_two_minutes_from_a_start_a_thousandfold_wrong() {
    for shares_per_minute in RATES {
        for factor in [1e-3, 1.0, 1e3] {
            let rates = rates_after(120.0, shares_per_minute, HASHRATE * factor);
            let case = (shares_per_minute, factor);
            assert!(
                (0.8..1.25).contains(&rates[50]),
                "median {} for {case:?}",
                rates[50]
            );
            // At 6 a minute two minutes hold 12 shares: chance alone leaves one in ten off by a factor.
            assert!(rates[10] > 0.3, "lower tenth {} for {case:?}", rates[10]);
            assert!(rates[90] < 2.0, "upper tenth {} for {case:?}", rates[90]);
        }
    }
}

#[test]
fn stays_within_a_tenth_of_the_wanted_rate_and_changes_seldom_over_weeks() {
    for (seed, shares_per_minute) in RATES.into_iter().enumerate() {
        let mut miner = Miner::new(seed as u64, shares_per_minute, 1e12);
        miner.run(120.0);
        (miner.shares, miner.changes) = (0, 0);
        let days = 14.0;
        miner.run(days * 86_400.0);
        let rate = miner.shares as f64 / (days * 1440.0) / shares_per_minute;
        assert!(
            (0.95..1.05).contains(&rate),
            "{rate} at {shares_per_minute} a minute"
        );
        let changes_per_day = miner.changes as f64 / days;
        assert!(
            changes_per_day < 4.0 * shares_per_minute,
            "{changes_per_day} at {shares_per_minute} a minute"
        );
    }
}

#[test]
fn follows_a_miner_that_slows_down_or_speeds_up_at_random_for_a_week() {
    for seed in 0..4 {
        let mut miner = Miner::new(seed, 10.0, HASHRATE);
        let mut settled = 0;
        for _ in 0..7 * 24 {
            let exponent = (miner.rng.next() % 7) as i32 - 3;
            miner.hashrate = HASHRATE * 10f64.powi(exponent);
            miner.run(1800.0);
            let before = miner.shares;
            miner.run(1800.0);
            let rate = (miner.shares - before) as f64 / 300.0;
            assert!((0.3..3.0).contains(&rate), "{rate} after half an hour");
            settled += u64::from((0.75..1.25).contains(&rate));
        }
        assert!(settled > 7 * 24 * 9 / 10, "{settled} of {} hours", 7 * 24);
    }
}

#[test]
fn a_miner_that_stops_for_a_day_is_found_again() {
    for seed in 0..20 {
        let mut miner = Miner::new(seed, 6.0, HASHRATE);
        miner.run(3600.0);
        miner.hashrate = 1e-9;
        miner.run(86_400.0);
        assert_eq!(
            miner.vardiff.poll_timeout(),
            None,
            "nothing to wait for at the easiest target"
        );
        miner.hashrate = HASHRATE;
        miner.shares = 0;
        miner.run(120.0);
        assert!((0.2..5.0).contains(&miner.rate()), "{}", miner.rate());
        // Catching up with 20 orders of magnitude may cost some hundred shares, not a flood.
        assert!(miner.shares < 1000, "{} shares", miner.shares);
    }
}

#[test]
fn never_exceeds_the_clients_max_target() {
    let config = VardiffConfig::default();
    let start = Instant::from_secs(0);
    let max_target = Target::from_difficulty(1000.0).unwrap();
    let mut vardiff = Vardiff::new(config, 0.0, max_target, start).unwrap();
    assert_eq!(vardiff.target(), max_target);
    assert_eq!(
        (
            vardiff.poll_timeout(),
            vardiff.handle_timeout(Instant::from_secs(9999))
        ),
        (None, None)
    );

    let easier = Target::from_difficulty(10.0).unwrap();
    assert_eq!(vardiff.set_max_target(easier, start), None);
    let harder = Target::from_difficulty(5000.0).unwrap();
    assert_eq!(vardiff.set_max_target(harder, start), Some(harder));
    assert_eq!(vardiff.target(), harder);
}

#[test]
fn shares_under_an_old_target_count_for_what_they_are() {
    let config = VardiffConfig::default();
    let start = Instant::from_secs(0);
    let mut vardiff = Vardiff::new(config, 1e9, Target::MAX, start).unwrap();
    let old = vardiff.target().difficulty();
    let changes = |vardiff: &mut Vardiff, from: u64, count: u64| -> u64 {
        let at = |i| Instant::from_micros(from + i * 1000);
        (0..count)
            .map(|i| u64::from(vardiff.share_accepted(old, at(i)).is_some()))
            .sum()
    };
    assert!(changes(&mut vardiff, 0, 20) > 0);
    let raised = vardiff.target();
    // The miner has not got its new job yet: the same stream of old shares must not raise the target again and again.
    changes(&mut vardiff, 20_000, 200);
    let ratio = vardiff.target().difficulty_f64() / raised.difficulty_f64();
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}

#[test]
fn bad_numbers_are_refused() {
    let new = |shares_per_minute, min_difficulty, claimed| {
        let config = VardiffConfig {
            shares_per_minute,
            min_difficulty,
        };
        Vardiff::new(config, claimed, Target::MAX, Instant::default()).map(|_| ())
    };
    assert_eq!(new(0.0, 1.0, 1e12), Err(ConversionError::DivisionByZero));
    assert_eq!(new(6.0, 0.0, 1e12), Err(ConversionError::DivisionByZero));
    assert_eq!(new(6.0, 1.0, f64::NAN), Err(ConversionError::NonFinite));
    assert_eq!(new(6.0, 1.0, f64::from(f32::MAX)), Ok(()));
}
