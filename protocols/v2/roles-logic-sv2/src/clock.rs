//! Time as an argument.
//!
//! Nothing below the I/O wall reads a clock. The shell (or a simulator) says what time it is with every input.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point on the shell's monotonic clock, in microseconds since an origin that the shell chooses.
///
/// Only differences carry meaning. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `micros` microseconds after the shell's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `secs` seconds after the shell's origin.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the shell's origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`, zero when `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// What the shell's two clocks say at one moment.
///
/// `instant` measures intervals; `unix_secs` is compared with block times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock in seconds since 1970-01-01 UTC.
    pub unix_secs: u64,
}

impl Now {
    /// The same moment moved forward by `duration` on both clocks.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = self.instant + duration;
        // Whole seconds are counted on the monotonic clock, so many small steps add up to the same wall time.
        let secs = micros.as_micros() / 1_000_000 - self.instant.as_micros() / 1_000_000;
        Self {
            instant: micros,
            unix_secs: self.unix_secs.saturating_add(secs),
        }
    }
}
