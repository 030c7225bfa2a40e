//! What clients of both protocols have in common: when shares are sent, which wait for an answer, and the loop.

pub(crate) mod sv1;
pub(crate) mod sv2;

use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use network_helpers_sv2::{CloseReason, Wake};

use crate::stats::Stats;

/// How long a server may take to answer, or to give the first job.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client that is to pause waits before it looks again.
const PAUSE: Duration = Duration::from_millis(10);

/// When shares are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Never.
    Idle,
    /// Whenever the window has room.
    Saturated,
    /// One at `next`, then one per `interval`.
    Every { next: Instant, interval: Duration },
}

/// How connections are opened.
pub(crate) trait Protocol: 'static {
    /// A connection after its handshake, if it has one.
    type Connection: 'static;
    /// The same with work.
    type Miner: Miner;

    /// Connects.
    fn connect(&self) -> impl Future<Output = anyhow::Result<Self::Connection>>;

    /// Waits until there is work. Gives the time from the first request to the last work, too; zero for a bare server,
    /// which has none.
    fn open(
        &self,
        connection: Self::Connection,
        number: usize,
    ) -> impl Future<Output = anyhow::Result<(Self::Miner, Duration)>>;
}

/// A connection with work.
pub(crate) trait Miner: 'static {
    /// Queues a share; `false` when the window has no room.
    fn send_share(&mut self, now: Instant) -> Result<bool, CloseReason>;

    /// Writes what is queued, and waits for bytes or the time.
    fn ready(
        &mut self,
        until: Option<tokio::time::Instant>,
    ) -> impl Future<Output = Result<Wake, CloseReason>>;

    /// Takes what has arrived.
    fn read(&mut self) -> Result<(), CloseReason>;
}

/// Sends shares and takes answers until the connection ends.
pub(crate) async fn run(mut miner: impl Miner, mut pace: Pace, stats: Rc<Stats>) {
    let reason = loop {
        if let Err(reason) = step(&mut miner, &mut pace, &stats).await {
            break reason;
        }
    };
    stats.lose(reason.name());
}

async fn step(miner: &mut impl Miner, pace: &mut Pace, stats: &Stats) -> Result<(), CloseReason> {
    let until = send(miner, pace, stats)?;
    match miner.ready(until.map(Into::into)).await? {
        Wake::Readable => miner.read(),
        Wake::Deadline => Ok(()),
    }
}

/// Sends what is due, and says when the next share is; `None` when an answer comes first.
fn send(
    miner: &mut impl Miner,
    pace: &mut Pace,
    stats: &Stats,
) -> Result<Option<Instant>, CloseReason> {
    let now = Instant::now();
    match pace {
        _ if stats.is_over.get() => Ok(None),
        Pace::Idle => Ok(None),
        Pace::Saturated if stats.is_paused.get() => Ok(Some(now + PAUSE)),
        Pace::Saturated => {
            while miner.send_share(now)? {}
            Ok(None)
        }
        Pace::Every { next, interval } => {
            while *next <= now {
                if !miner.send_share(now)? {
                    return Ok(None);
                }
                *next += *interval;
            }
            Ok(Some(*next))
        }
    }
}

/// The shares of a miner or channel that have no answer yet, with the time each was sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    shares: VecDeque<(u32, Instant)>,
    stats: Rc<Stats>,
}

impl Waiting {
    pub(crate) fn new(stats: &Rc<Stats>) -> Self {
        Self {
            shares: VecDeque::new(),
            stats: stats.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shares.len()
    }

    pub(crate) fn sent(&mut self, number: u32, now: Instant) {
        self.shares.push_back((number, now));
        self.stats.under_way.update(|count| count + 1);
    }

    /// This share has its answer; `false` when it does not wait for one.
    pub(crate) fn answered(&mut self, number: u32, now: Instant) -> bool {
        let at = self.shares.iter().position(|(sent, _)| *sent == number);
        let share = at.and_then(|at| self.shares.remove(at));
        self.note(share, 1, now);
        share.is_some()
    }

    /// All shares up to `last` have theirs; the newest of them says how long it took.
    pub(crate) fn answered_until(&mut self, last: u32, now: Instant) {
        let count = self.shares.partition_point(|(number, _)| *number <= last);
        self.oldest_answered(count, now);
    }

    /// As many of the oldest have theirs.
    pub(crate) fn oldest_answered(&mut self, count: usize, now: Instant) {
        let count = count.min(self.shares.len());
        let newest = self.shares.drain(..count).next_back();
        self.note(newest, count as u64, now);
    }

    fn note(&self, newest: Option<(u32, Instant)>, count: u64, now: Instant) {
        if let Some((_, sent)) = newest {
            self.stats.answered(sent, now);
            self.stats.under_way.update(|waiting| waiting - count);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let lost = self.shares.len() as u64;
        self.stats.under_way.update(|count| count - lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_free_the_window_and_are_timed() {
        let (stats, start) = (Rc::new(Stats::default()), Instant::now());
        let mut waiting = Waiting::new(&stats);
        (0..6).for_each(|number| waiting.sent(number, start));
        let now = start + Duration::from_micros(50);
        assert!(waiting.answered(1, now));
        assert!(!waiting.answered(1, now));
        waiting.answered_until(2, now);
        waiting.oldest_answered(2, now);
        assert_eq!(waiting.shares, [(5, start)]);
        assert_eq!(stats.under_way.get(), 1);
        assert_eq!(*stats.latencies.borrow(), [50_000; 3]);
        drop(waiting);
        assert_eq!(stats.under_way.get(), 0);
    }
}
