//! Long-lived tasks with a name, a policy for their end, and a bounded join.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use network_helpers_sv2::{Backoff, random_u32};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{Phase, Shutdown};

/// What happens when a task ends by itself while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// Nothing: the task had an end.
    Leave,
    /// It is started again after a pause that doubles from `first` to `bound` with each end, and begins at `first` again
    /// once it has run for longer than `bound`.
    Restart {
        /// The first pause.
        first: Duration,
        /// The longest pause.
        bound: Duration,
    },
    /// The program cannot do without it: it drains and ends.
    Drain,
}

/// How often tasks ended otherwise than by returning `Ok`.
#[derive(Debug, Default)]
pub struct TaskCounts {
    panics: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
}

impl TaskCounts {
    /// Tasks that panicked: each one is a defect of the program.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Tasks that returned an error.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Tasks that were started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

/// The long-lived tasks of a program. Dropping it aborts them.
pub struct Tasks {
    set: JoinSet<()>,
    shutdown: Shutdown,
    counts: Arc<TaskCounts>,
}

impl Tasks {
    /// No tasks yet; they end with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            set: JoinSet::new(),
            shutdown,
            counts: Arc::default(),
        }
    }

    /// The counters of all tasks, to be shown.
    pub fn counts(&self) -> Arc<TaskCounts> {
        Arc::clone(&self.counts)
    }

    /// Runs what `start` makes, again if `on_end` says so. A panic is caught, counted and logged, then treated like
    /// any other end. Once draining has begun nothing is started again.
    pub fn spawn<F, E>(
        &mut self,
        name: &'static str,
        on_end: OnEnd,
        start: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let counts = Arc::clone(&self.counts);
        self.set
            .spawn(supervise(name, on_end, start, shutdown, counts));
    }

    /// Waits until every task has ended, at most until [`Phase::Ended`]; gives the number of those aborted then.
    pub async fn join(mut self) -> usize {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = async { while self.set.join_next().await.is_some() {} } => 0,
            () = shutdown.ended() => {
                let left = self.set.len();
                self.set.shutdown().await;
                left
            }
        }
    }
}

async fn supervise<F, E>(
    name: &'static str,
    on_end: OnEnd,
    mut start: impl FnMut() -> F,
    shutdown: Shutdown,
    counts: Arc<TaskCounts>,
) where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut backoff = match on_end {
        OnEnd::Restart { first, bound } => Some(Backoff::new(first, bound)),
        OnEnd::Leave | OnEnd::Drain => None,
    };
    loop {
        let started = Instant::now();
        report(name, catch_panic(pin!(start())).await, &counts);
        if shutdown.phase() > Phase::Running {
            return;
        }
        let Some(backoff) = &mut backoff else { break };
        if matches!(on_end, OnEnd::Restart { bound, .. } if started.elapsed() > bound) {
            backoff.reset();
        }
        let pause = backoff.next_pause(random_u32());
        warn!(
            task = name,
            pause_ms = pause.as_millis(),
            "starting the task again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.draining() => return,
        }
        counts.restarts.fetch_add(1, Ordering::Relaxed);
    }
    if on_end == OnEnd::Drain {
        error!(
            task = name,
            "the program cannot do without this task: draining"
        );
        shutdown.drain();
    }
}

fn report<E: std::fmt::Display>(
    name: &'static str,
    end: Result<Result<(), E>, String>,
    counts: &TaskCounts,
) {
    match end {
        Ok(Ok(())) => info!(task = name, "task ended"),
        Ok(Err(error)) => {
            counts.failures.fetch_add(1, Ordering::Relaxed);
            error!(task = name, %error, "task failed");
        }
        Err(panic) => {
            counts.panics.fetch_add(1, Ordering::Relaxed);
            error!(task = name, panic, "task panicked: please report this");
        }
    }
}

/// Runs `future` to its end, or gives the message of the panic that ended it.
///
/// The future is pinned by the caller: taken by value it would lie twice in the memory of its task.
pub(crate) async fn catch_panic<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Result<T, String> {
    // After a panic the future is only dropped, never polled again, so no broken state is seen.
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(message(&*panic))),
        },
    )
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    type End = Result<(), String>;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_counted_and_the_task_starts_again() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let mut runs = 0;
        let all = shutdown.clone();
        let restart = OnEnd::Restart {
            first: Duration::from_secs(1),
            bound: Duration::from_secs(4),
        };
        tasks.spawn("flaky", restart, move || {
            runs += 1;
            let (run, shutdown) = (runs, all.clone());
            async move {
                match run {
                    1 => panic!("first"),
                    2 => Err("second"),
                    _ => {
                        shutdown.drain();
                        Ok(())
                    }
                }
            }
        });
        let counts = tasks.counts();
        assert_eq!(tasks.join().await, 0);
        let seen = (counts.panics(), counts.failures(), counts.restarts());
        assert_eq!(seen, (1, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ran_for_long_starts_again_soon() {
        let mut tasks = Tasks::new(Shutdown::new());
        let (first, bound) = (Duration::from_secs(1), Duration::from_secs(100));
        let runs = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&runs);
        tasks.spawn("slow", OnEnd::Restart { first, bound }, move || {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(bound * 2).await;
                End::Err("lost".into())
            }
        });
        tokio::time::sleep((bound * 2 + first) * 10).await;
        assert_eq!(
            runs.load(Ordering::Relaxed),
            11,
            "a pause was longer than the first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_the_program_needs_drains_it() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("leaves", OnEnd::Leave, async || End::Ok(()));
        tasks.spawn("needed", OnEnd::Drain, async || End::Err("gone".into()));
        tasks.join().await;
        assert_eq!(shutdown.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn joining_ends_with_the_grace_time() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("hangs", OnEnd::Leave, std::future::pending::<End>);
        shutdown.end();
        assert_eq!(tasks.join().await, 1);
    }
}
