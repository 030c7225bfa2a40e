//! A deadline that moves with every message and hardly ever strikes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Strikes at a deadline given with each poll.
///
/// A deadline that moves back leaves the timer where it is: it wakes once too early and is set again then. So a deadline
/// moved by every message costs a timer operation per interval, not per message.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Timer {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.is_set || deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
            self.is_set = true;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                self.is_set = false;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_strikes_at_the_last_deadline_given() {
        let start = Instant::now();
        let at = |secs| Some(start + Duration::from_secs(secs));
        let mut timer = Timer::default();
        for deadline in [None, at(5), at(9), at(7)] {
            let poll = poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline))).await;
            assert_eq!(poll, Poll::Pending);
        }
        poll_fn(|cx| timer.poll(cx, at(8))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(8));
        poll_fn(|cx| timer.poll(cx, at(1))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(8));
        poll_fn(|cx| timer.poll(cx, at(10))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
