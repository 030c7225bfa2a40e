//! Pauses between attempts that grow up to a bound.

use std::time::Duration;

/// A pause that doubles with every failure, from a first value up to a bound.
///
/// ```
/// use std::time::Duration;
/// let mut backoff = bitcoin_node::backoff::Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
/// assert_eq!([backoff.next_pause(), backoff.next_pause(), backoff.next_pause()].map(|pause| pause.as_secs()), [1, 2, 3]);
/// backoff.reset();
/// assert_eq!(backoff.next_pause().as_secs(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first` and never exceeds `bound`.
    pub const fn new(first: Duration, bound: Duration) -> Self {
        Self {
            first,
            bound,
            next: first,
        }
    }

    /// The pause to make now; the next one is twice as long, up to the bound.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.bound);
        self.next = pause.saturating_mul(2);
        pause
    }

    /// Starts again at the first pause, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
