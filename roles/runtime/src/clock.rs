//! Where cores get their time from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roles_logic_sv2::clock::{Instant, Now};

/// The clocks of the operating system, read for cores as [`Now`].
///
/// Copies share one origin, so their instants can be compared. The monotonic clock is tokio's: a test that pauses
/// tokio's time moves it by hand.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose instants count from now.
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    /// What both clocks say.
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A machine whose clock stands before 1970 gets 0: every certificate and block time is refused then.
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            instant: Instant::from_micros(micros),
            unix_secs: unix.as_secs(),
        }
    }

    /// The moment of tokio's clock that a core calls `instant`; `None` when it is too far away to be represented.
    pub fn deadline(&self, instant: Instant) -> Option<tokio::time::Instant> {
        self.origin
            .checked_add(Duration::from_micros(instant.as_micros()))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn instants_follow_tokios_clock_and_map_back() {
        let clock = SystemClock::new();
        let start = clock.now();
        tokio::time::advance(Duration::from_millis(1_500)).await;
        let later = clock.now();
        assert_eq!(later.instant - start.instant, Duration::from_millis(1_500));
        assert_eq!(
            clock.deadline(later.instant),
            Some(tokio::time::Instant::now())
        );
        let far = clock.now().instant + Duration::from_secs(60);
        let in_a_minute = tokio::time::Instant::now() + Duration::from_secs(60);
        assert_eq!(clock.deadline(far), Some(in_a_minute));
    }

    #[test]
    fn the_wall_clock_is_unix_time() {
        assert!(SystemClock::new().now().unix_secs > 1_700_000_000);
    }
}
