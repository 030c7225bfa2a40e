//! Variable difficulty: keeps one channel near the wanted share rate.
//!
//! A pure control loop. It is told of accepted shares and of time, and answers with a new target now and then. The
//! hashrate is inferred from the difficulty credited over time, so shares that still come in under an earlier target
//! count for what they are. What the client claims (`nominal_hash_rate`) only decides where the loop starts, for
//! firmware is known to claim the same number whatever the device.
//!
//! It searches first: a quarter of the difficulty each time most of an interval passes in silence, a jump to the estimate as
//! soon as shares pour in. Once the estimate holds it tracks: a change of target needs evidence that chance does not
//! give, and long windows refine the estimate. Prolonged silence starts the search anew, so the loop is never stuck.
//!
//! A new target takes effect with the next job (MS-52): send one along.

use core::time::Duration;

use crate::clock::Instant;
use crate::target::{ConversionError, Difficulty, Target};

/// Silence lowers the difficulty by this factor.
const SILENCE_FACTOR: f64 = 4.0;

/// While searching: wanted intervals without any share that count as silence.
const SEARCH_SILENCE: f64 = 0.75;

/// While searching: wanted intervals since the last share that count as silence. Chance gives as many once in 150.
const SEARCH_GAP: f64 = 5.0;

/// While tracking: wanted intervals since the last share that count as silence. Chance gives as many once in 160 000.
const TRACK_SILENCE: f64 = 12.0;

/// Shares after which the search believes its estimate.
const SEARCH_SHARES: f64 = 16.0;

/// While searching: an estimate this far from the wanted rate is acted upon as soon as half the shares are there.
const SEARCH_RATIO: f64 = 2.0;

/// Squared deviations (in units of the variance) beyond which tracking sees a change of hashrate.
const TRACK_DEVIATION_SQUARED: f64 = 14.0;

/// Wanted intervals that the window for sudden changes lasts.
const SHORT_WINDOW: f64 = 48.0;

/// Wanted intervals after which the long window is looked at first; then each time it has grown by half.
const FIRST_REFINEMENT: f64 = 32.0;

/// Wanted intervals that the long window remembers; it then forgets half, so that slow drifts are followed.
const LONG_WINDOW: f64 = 512.0;

/// Deviation of the long window's estimate below which a new target is not worth a message.
const DEAD_BAND: f64 = 0.05;

/// A share under an old, harder target counts as at most this many of the present ones: one share is one accident.
const MAX_CREDIT: f64 = 4.0;

/// Share rate that suits most pools.
pub const DEFAULT_SHARES_PER_MINUTE: f64 = 10.0;

/// Lowest difficulty by default: some 4300 hashes a share, which a single CPU core does in a millisecond.
pub const DEFAULT_MIN_DIFFICULTY: f64 = 1e-6;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VardiffConfig {
    /// Accepted shares a minute to aim at.
    pub shares_per_minute: f64,
    /// Difficulty that no channel goes below, however slow; bounds what a flood of easy shares can cost.
    pub min_difficulty: f64,
}

impl Default for VardiffConfig {
    fn default() -> Self {
        Self {
            shares_per_minute: DEFAULT_SHARES_PER_MINUTE,
            min_difficulty: DEFAULT_MIN_DIFFICULTY,
        }
    }
}

/// Difficulty credited since some moment.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    credited: f64,
}

impl Window {
    const fn new(since: Instant) -> Self {
        Self {
            since,
            credited: 0.0,
        }
    }

    fn secs(&self, now: Instant) -> f64 {
        (now - self.since).as_secs_f64()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The hashrate is not known; `heard` once a share has come since the last change.
    Search { heard: bool },
    /// The estimate held; the long window is next looked at when it spans `refine_at` wanted intervals.
    Track { refine_at: f64 },
}

/// The control loop of one channel. Fixed size, no allocation.
#[derive(Clone, Debug)]
pub struct Vardiff {
    /// Seconds between shares at the wanted rate.
    interval_secs: f64,
    floor: f64,
    min_difficulty: f64,
    max_target: Target,
    difficulty: f64,
    target: Target,
    phase: Phase,
    short: Window,
    long: Window,
    last_share: Instant,
}

impl Vardiff {
    /// A loop that starts where `nominal_hashrate` (hashes a second, as the client claims) says.
    ///
    /// `max_target` is the easiest target that the client accepts; the loop never exceeds it.
    ///
    /// # Errors
    /// A rate or minimum difficulty that is not above zero, a claimed hashrate that is negative or not finite.
    pub fn new(
        config: VardiffConfig,
        nominal_hashrate: f64,
        max_target: Target,
        now: Instant,
    ) -> Result<Self, ConversionError> {
        let start = Target::from_hashrate(nominal_hashrate, config.shares_per_minute)?;
        Target::from_difficulty(config.min_difficulty)?;
        let mut vardiff = Self {
            interval_secs: 60.0 / config.shares_per_minute,
            floor: config.min_difficulty,
            min_difficulty: 0.0,
            max_target,
            difficulty: 0.0,
            target: Target::MAX,
            phase: Phase::Search { heard: false },
            short: Window::new(now),
            long: Window::new(now),
            last_share: now,
        };
        vardiff.limit(max_target);
        vardiff.change(start.difficulty_f64(), vardiff.phase, now);
        Ok(vardiff)
    }

    /// The target in force.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// The easiest target that the client accepts.
    pub const fn max_target(&self) -> Target {
        self.max_target
    }

    /// The easiest target that the loop may come to: the client's or the operator's limit.
    pub fn easiest_target(&self) -> Target {
        let easiest = Target::from_difficulty(self.min_difficulty);
        easiest.map_or(self.max_target, |easiest| easiest.min(self.max_target))
    }

    /// Estimated hashes a second, from the window that refines the target.
    pub fn hashrate(&self, now: Instant) -> f64 {
        let secs = self.long.secs(now);
        if secs > 0.0 {
            self.long.credited / secs * HASHES_PER_DIFFICULTY
        } else {
            0.0
        }
    }

    /// Time that says nothing of the miner, such as one in which its shares could not count: as if it had not passed.
    pub fn skip(&mut self, duration: Duration) {
        self.short.since += duration;
        self.long.since += duration;
        self.last_share += duration;
    }

    /// The client's limit changed (`UpdateChannel.maximum_target`). Gives the new target when the present one exceeds it.
    pub fn set_max_target(&mut self, max_target: Target, now: Instant) -> Option<Target> {
        self.limit(max_target);
        if self.target <= max_target {
            return None;
        }
        self.change(self.difficulty, self.phase, now)
    }

    /// An accepted share of `difficulty` came. Gives a new target when it is time for one.
    pub fn share_accepted(&mut self, difficulty: Difficulty, now: Instant) -> Option<Target> {
        self.last_share = now;
        if self.phase == (Phase::Search { heard: false }) {
            // How long the first share took says little: the clock starts with it.
            self.phase = Phase::Search { heard: true };
            self.short = Window::new(now);
            self.long = Window::new(now);
            return None;
        }
        let credit = difficulty.to_f64().min(MAX_CREDIT * self.difficulty);
        self.short.credited += credit;
        self.long.credited += credit;
        self.evaluate(now)
    }

    /// Time passed. Gives a new target when silence or the windows call for one.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Target> {
        if self.poll_timeout()? > now {
            None
        } else {
            self.evaluate(now)
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` when only a share can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Search { heard: false } if self.is_at_minimum() => None,
            Phase::Search { heard: false } => Some(self.silent_at(SEARCH_SILENCE)),
            Phase::Search { heard: true } => Some(self.silent_at(SEARCH_GAP)),
            Phase::Track { refine_at } => {
                let windows = self
                    .end_of(&self.short, SHORT_WINDOW)
                    .min(self.end_of(&self.long, refine_at));
                Some(windows.min(self.silent_at(TRACK_SILENCE)))
            }
        }
    }

    fn evaluate(&mut self, now: Instant) -> Option<Target> {
        match self.phase {
            Phase::Search { heard } => self.search(heard, now),
            Phase::Track { refine_at } => self.track(refine_at, now),
        }
    }

    fn search(&mut self, heard: bool, now: Instant) -> Option<Target> {
        let patience = if heard { SEARCH_GAP } else { SEARCH_SILENCE };
        if now >= self.silent_at(patience) {
            return self.back_off(now);
        }
        let seen = self.short.credited / self.difficulty;
        let wanted = self.short.secs(now) / self.interval_secs;
        if seen >= SEARCH_SHARES / 2.0
            && seen > SEARCH_RATIO * wanted
            && wanted < SEARCH_SHARES / 4.0
            || seen >= SEARCH_SHARES
        {
            let ratio = self.ratio(&self.short, now);
            let is_settled = ratio < SEARCH_RATIO && seen >= SEARCH_SHARES;
            let phase = if is_settled {
                Phase::Track {
                    refine_at: FIRST_REFINEMENT,
                }
            } else {
                Phase::Search { heard: true }
            };
            return self.change(self.difficulty * ratio, phase, now);
        }
        None
    }

    fn track(&mut self, refine_at: f64, now: Instant) -> Option<Target> {
        if now >= self.silent_at(TRACK_SILENCE) {
            return self.back_off(now);
        }
        let seen = self.short.credited / self.difficulty;
        let wanted = self.short.secs(now) / self.interval_secs;
        let deviation = seen - wanted;
        if deviation * deviation > TRACK_DEVIATION_SQUARED * seen.max(wanted) {
            let ratio = self.ratio(&self.short, now).max(1.0 / SILENCE_FACTOR);
            return self.change(self.difficulty * ratio, Phase::Search { heard: true }, now);
        }
        if now >= self.end_of(&self.short, SHORT_WINDOW) {
            self.short = Window::new(now);
        }
        if now >= self.end_of(&self.long, refine_at) {
            return self.refine(now);
        }
        None
    }

    /// Looks at the long window: keeps it, and takes its estimate when the deviation is no accident.
    fn refine(&mut self, now: Instant) -> Option<Target> {
        let ratio = self.ratio(&self.long, now);
        if now >= self.end_of(&self.long, LONG_WINDOW) {
            self.long.credited /= 2.0;
            self.long.since += Duration::from_secs_f64(self.long.secs(now) / 2.0);
        }
        let spanned = self.long.secs(now) / self.interval_secs;
        self.phase = Phase::Track {
            refine_at: (spanned * 1.5).min(LONG_WINDOW),
        };
        let deviation = ratio - 1.0;
        if deviation.abs() < DEAD_BAND || deviation * deviation * spanned < 1.0 {
            return None;
        }
        let (long, phase) = (self.long, self.phase);
        let changed = self.change(self.difficulty * ratio, phase, now);
        self.long = long;
        changed
    }

    /// The observed share rate relative to the wanted one. The share that ends the window is the reason it ends now:
    /// counting it would overestimate.
    fn ratio(&self, window: &Window, now: Instant) -> f64 {
        let seen =
            window.credited / self.difficulty - if self.last_share == now { 1.0 } else { 0.0 };
        let wanted = window.secs(now).max(1e-6) / self.interval_secs;
        seen.max(0.0) / wanted
    }

    /// When `intervals` have passed since the last share or the last change.
    fn silent_at(&self, intervals: f64) -> Instant {
        self.last_share.max(self.short.since) + self.intervals(intervals)
    }

    fn end_of(&self, window: &Window, intervals: f64) -> Instant {
        window.since + self.intervals(intervals)
    }

    fn back_off(&mut self, now: Instant) -> Option<Target> {
        self.change(
            self.difficulty / SILENCE_FACTOR,
            Phase::Search { heard: false },
            now,
        )
    }

    /// Sets the difficulty, within limits, and starts both windows. Gives the target when it is another one.
    fn change(&mut self, difficulty: f64, phase: Phase, now: Instant) -> Option<Target> {
        self.difficulty = difficulty.clamp(self.min_difficulty, MAX_DIFFICULTY);
        self.phase = phase;
        self.short = Window::new(now);
        self.long = Window::new(now);
        let target = Target::from_difficulty(self.difficulty)
            .unwrap_or(self.max_target)
            .min(self.max_target);
        let changed = target != self.target;
        self.target = target;
        changed.then_some(target)
    }

    fn limit(&mut self, max_target: Target) {
        self.max_target = max_target;
        self.min_difficulty = max_target
            .difficulty_f64()
            .clamp(self.floor, MAX_DIFFICULTY);
    }

    fn is_at_minimum(&self) -> bool {
        self.difficulty <= self.min_difficulty
    }

    fn intervals(&self, count: f64) -> Duration {
        Duration::try_from_secs_f64(self.interval_secs * count).unwrap_or(Duration::MAX)
    }
}

/// Hashes that a share of difficulty 1 takes on average.
const HASHES_PER_DIFFICULTY: f64 = 4_295_032_833.0;

/// Keeps arithmetic finite: ten orders of magnitude above the network's difficulty.
const MAX_DIFFICULTY: f64 = 1e24;

#[cfg(test)]
mod tests;
