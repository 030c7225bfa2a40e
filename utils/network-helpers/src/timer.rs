//! A deadline that moves with every message and hardly ever strikes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::runtime::{Runtime, Sleep};

/// Strikes at a deadline given with each poll.
///
/// A deadline that moves back leaves the timer where it is: it wakes once too early and is set again then. So a deadline
/// moved by every message costs a timer operation per interval, not per message.
pub(crate) struct Timer<R: Runtime> {
    sleep: Option<R::Sleep>,
    is_set: bool,
}

impl<R: Runtime> Default for Timer<R> {
    fn default() -> Self {
        Self {
            sleep: None,
            is_set: false,
        }
    }
}

impl<R: Runtime> Timer<R> {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| R::sleep_until(deadline));
        if !self.is_set || deadline < sleep.deadline() {
            sleep.reset(deadline);
            self.is_set = true;
        }
        while Pin::new(&mut *sleep).poll(cx).is_ready() {
            if R::now() >= deadline {
                self.is_set = false;
                return Poll::Ready(());
            }
            sleep.reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(all(test, feature = "with_tokio"))]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::tokio::Tokio;

    #[tokio::test(start_paused = true)]
    async fn it_strikes_at_the_last_deadline_given() {
        let start = Tokio::now();
        let at = |secs| Some(start + Duration::from_secs(secs));
        let elapsed = || Tokio::now() - start;
        let mut timer = Timer::<Tokio>::default();
        for deadline in [None, at(5), at(9), at(7)] {
            let poll = poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline))).await;
            assert_eq!(poll, Poll::Pending);
        }
        poll_fn(|cx| timer.poll(cx, at(8))).await;
        assert_eq!(elapsed(), Duration::from_secs(8));
        poll_fn(|cx| timer.poll(cx, at(1))).await;
        assert_eq!(elapsed(), Duration::from_secs(8));
        poll_fn(|cx| timer.poll(cx, at(10))).await;
        assert_eq!(elapsed(), Duration::from_secs(10));
    }
}
