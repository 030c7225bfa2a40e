//! How a program ends: drain first, end when the grace time is over, at once on a second signal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

/// Seconds that draining may take unless the configuration says otherwise; what is left then is dropped.
pub const DEFAULT_GRACE_SECS: u64 = 10;

/// Exit status of a process that a signal ended, as shells report Ctrl-C.
const EXIT_BY_SIGNAL: i32 = 130;

/// How far the end of the program has come. It only moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal operation.
    #[default]
    Running,
    /// No new connections; each part tells its peers and finishes what it has begun.
    Draining,
    /// The grace time is over: whatever still runs is dropped.
    Ended,
}

/// The program's end as a value: everyone holds a clone, anyone may start it, all see it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

impl Shutdown {
    /// A program that is running.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it is now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Starts draining, if that has not begun.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends the grace time.
    pub fn end(&self) {
        self.advance(Phase::Ended);
    }

    /// Waits until draining has begun. Cancel safe.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the grace time is over. Cancel safe.
    pub async fn ended(&self) {
        self.reached(Phase::Ended).await;
    }

    /// A receiver of every phase to come, for a `select!` that lives long.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let moves = *phase < to;
            *phase = to.max(*phase);
            moves
        });
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Lets Ctrl-C and SIGTERM drain the program; a second one ends the process at once, and `grace` after the first
/// one [`Phase::Ended`] is reached. Runs as a task of the current runtime.
///
/// # Errors
/// When the operating system refuses the signal handlers.
pub fn drain_on_signals(shutdown: Shutdown, grace: Duration) -> io::Result<()> {
    let signals = signals()?;
    let exit = || std::process::exit(EXIT_BY_SIGNAL);
    tokio::spawn(drain_on(signals, shutdown, grace, exit));
    Ok(())
}

/// Signals as they arrive, by name. One that finds two others waiting changes nothing and is dropped.
fn signals() -> io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(2);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while terminate.recv().await.is_some() {
                let _ = sender.try_send("SIGTERM");
            }
        });
    }
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = sender.try_send("Ctrl-C");
        }
    });
    Ok(receiver)
}

async fn drain_on(
    mut signals: mpsc::Receiver<&'static str>,
    shutdown: Shutdown,
    grace: Duration,
    exit: impl FnOnce(),
) {
    tokio::select! {
        Some(signal) = signals.recv() => info!(signal, "draining; a second signal ends at once"),
        () = shutdown.draining() => {}
    }
    shutdown.drain();
    tokio::select! {
        Some(signal) = signals.recv() => {
            warn!(signal, "second signal: ending at once");
            exit();
        }
        () = tokio::time::sleep(grace) => {
            if shutdown.phase() < Phase::Ended {
                warn!(grace_secs = grace.as_secs(), "grace time is over: dropping what still runs");
            }
            shutdown.end();
        }
        () = shutdown.ended() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn the_phase_only_moves_on() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        shutdown.end();
        shutdown.drain();
        assert_eq!(shutdown.phase(), Phase::Ended);
    }

    #[tokio::test(start_paused = true)]
    async fn one_signal_drains_and_the_grace_time_ends() {
        let (sender, signals) = mpsc::channel(2);
        let shutdown = Shutdown::new();
        let exited = Cell::new(false);
        let start = tokio::time::Instant::now();
        tokio::join!(
            drain_on(signals, shutdown.clone(), GRACE, || exited.set(true)),
            async {
                assert_eq!(shutdown.phase(), Phase::Running);
                sender.send("SIGTERM").await.unwrap();
                shutdown.draining().await;
                assert_eq!(start.elapsed(), Duration::ZERO);
                shutdown.ended().await;
                assert_eq!(start.elapsed(), GRACE);
            }
        );
        assert!(!exited.get());
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_signal_ends_at_once() {
        let (sender, signals) = mpsc::channel(2);
        sender.try_send("Ctrl-C").unwrap();
        sender.try_send("Ctrl-C").unwrap();
        let exited = Cell::new(false);
        let start = tokio::time::Instant::now();
        drain_on(signals, Shutdown::new(), GRACE, || exited.set(true)).await;
        assert!(exited.get());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_from_within_gets_the_same_grace() {
        let (_sender, signals) = mpsc::channel(2);
        let shutdown = Shutdown::new();
        shutdown.drain();
        let start = tokio::time::Instant::now();
        drain_on(signals, shutdown.clone(), GRACE, || ()).await;
        assert_eq!(start.elapsed(), GRACE);
        assert_eq!(shutdown.phase(), Phase::Ended);
    }
}
