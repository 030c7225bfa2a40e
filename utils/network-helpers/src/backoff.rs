//! Pauses between attempts.

use std::time::Duration;

/// Pauses that double with every failure up to a bound, each shortened at random by up to half, so that clients that
/// lost the same server do not all come back at once.
///
/// ```
/// use std::time::Duration;
/// let mut backoff = network_helpers_sv2::Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
/// assert_eq!([u32::MAX; 3].map(|random| backoff.next_pause(random).as_secs_f32().round()), [1., 2., 3.]);
/// backoff.reset();
/// assert_eq!(backoff.next_pause(0), Duration::from_millis(500));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `bound`.
    pub const fn new(first: Duration, bound: Duration) -> Self {
        Self {
            first,
            bound,
            next: first,
        }
    }

    /// The pause to make now: between half of the full pause, for `random` 0, and all of it, for `u32::MAX`.
    pub fn next_pause(&mut self, random: u32) -> Duration {
        let full = self.next.min(self.bound);
        self.next = full.saturating_mul(2);
        full / 2 + (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts again at the first pause, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_their_bounds() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
        for attempt in 0..200_u32 {
            let full = Duration::from_millis(100)
                .saturating_mul(1 << attempt.min(20))
                .min(Duration::from_secs(60));
            let pause = backoff.next_pause(attempt.wrapping_mul(0x9e37_79b9));
            assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
        }
    }
}
