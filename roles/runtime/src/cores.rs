//! One single-threaded runtime per processor core; a connection stays on the one it was put on.
//!
//! Waking a task on a work-stealing runtime costs twice as much processor time at a pool's usual rate.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{io, thread};

use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tracing::error;

use crate::Shutdown;
use crate::tasks::catch_panic;

/// Tasks that may wait to be started on one core; one more is refused with [`SpawnError::Busy`].
pub const MAX_WAITING_TASKS: usize = 1024;

type Start = Box<dyn FnOnce() + Send>;

/// Why a task was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// [`MAX_WAITING_TASKS`] wait already on the least loaded core.
    #[error("the least loaded core has too many tasks waiting")]
    Busy,
    /// The runtimes have ended.
    #[error("the runtimes have ended")]
    Ended,
}

/// The runtimes of all cores. They end, and drop what still runs, when the program's shutdown reaches its end, or when
/// they have been dropped and their last task is done.
#[derive(Debug)]
pub struct CoreRuntimes {
    cores: Vec<Core>,
    panics: PanicCount,
}

/// How many tasks of a [`CoreRuntimes`] panicked. A clone goes on counting after the runtimes were given away.
#[derive(Clone, Debug, Default)]
pub struct PanicCount(Arc<AtomicU64>);

impl PanicCount {
    /// The number now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Core {
    starts: mpsc::Sender<Start>,
    load: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl CoreRuntimes {
    /// Starts `cores` threads, as many as the machine has cores when `None`.
    ///
    /// # Errors
    /// When the operating system refuses a thread or what a runtime needs.
    pub fn new(cores: Option<NonZeroUsize>, shutdown: &Shutdown) -> io::Result<Self> {
        let machine = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let cores = cores.unwrap_or_else(machine);
        let cores = (0..cores.get()).map(|index| Core::start(index, shutdown.clone()));
        Ok(Self {
            cores: cores.collect::<io::Result<_>>()?,
            panics: PanicCount::default(),
        })
    }

    /// Number of cores.
    pub fn len(&self) -> usize {
        self.cores.len()
    }

    /// Whether there is no core, which never is.
    pub fn is_empty(&self) -> bool {
        self.cores.is_empty()
    }

    /// Tasks started and not ended, on each core.
    pub fn loads(&self) -> Vec<usize> {
        let load = |core: &Core| core.load.load(Ordering::Relaxed);
        self.cores.iter().map(load).collect()
    }

    /// Tasks that panicked: each one is a defect. Others on the core notice nothing.
    pub const fn panics(&self) -> &PanicCount {
        &self.panics
    }

    /// Runs what `make` makes on the core with the fewest tasks. The future need not be `Send`: it never moves.
    ///
    /// # Errors
    /// [`SpawnError`]; `make` is dropped.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + 'static,
    {
        let least = self
            .cores
            .iter()
            .min_by_key(|core| core.load.load(Ordering::Relaxed));
        let core = least.ok_or(SpawnError::Ended)?;
        let place = Place::take(&core.load);
        let panics = self.panics.clone();
        let start = Box::new(move || {
            tokio::task::spawn_local(async move {
                let _place = place;
                let task = pin!(make());
                if let Err(panic) = catch_panic(task).await {
                    panics.add();
                    error!(panic, "a connection's task panicked: please report this");
                }
            });
        });
        core.starts.try_send(start).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SpawnError::Busy,
            mpsc::error::TrySendError::Closed(_) => SpawnError::Ended,
        })
    }

    /// Waits, blocking, until every core is done: all tasks have ended or the shutdown has reached its end.
    pub fn join(self) {
        for core in self.cores {
            drop(core.starts);
            if let Some(Err(_)) = core.thread.map(thread::JoinHandle::join) {
                error!("a core's thread panicked: please report this");
            }
        }
    }
}

impl Core {
    fn start(index: usize, shutdown: Shutdown) -> io::Result<Self> {
        let (starts, receiver) = mpsc::channel(MAX_WAITING_TASKS);
        let load = Arc::default();
        let running = Arc::clone(&load);
        // The runtime is made on its thread, where it stays; what goes wrong is reported through the channel.
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("core-{index}"))
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(run(receiver, shutdown, running));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })?;
        made.recv()
            .unwrap_or_else(|_| Err(io::Error::other("the core's thread ended")))?;
        Ok(Self {
            starts,
            load,
            thread: Some(thread),
        })
    }
}

async fn run(mut starts: mpsc::Receiver<Start>, shutdown: Shutdown, load: Arc<AtomicUsize>) {
    let all_done = async {
        while let Some(start) = starts.recv().await {
            start();
        }
        // No more can come; the last ones go one by one.
        while load.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(JOIN_INTERVAL).await;
        }
    };
    tokio::select! {
        () = all_done => {}
        () = shutdown.ended() => {}
    }
}

/// How often a core that gets no more tasks looks whether the last one has ended.
const JOIN_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

/// A task's share of its core's load, given back when the task is dropped, started or not.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn two_cores(shutdown: &Shutdown) -> CoreRuntimes {
        CoreRuntimes::new(NonZeroUsize::new(2), shutdown).unwrap()
    }

    #[test]
    fn tasks_go_to_the_least_loaded_core_and_stay_there() {
        let shutdown = Shutdown::new();
        let cores = two_cores(&shutdown);
        let (sender, names) = sync_channel(4);
        for _ in 0..4 {
            let (sender, shutdown) = (sender.clone(), shutdown.clone());
            let task = move || async move {
                let not_send = Rc::new(thread::current().name().map(str::to_owned));
                tokio::task::yield_now().await;
                sender.send((*not_send).clone()).unwrap();
                shutdown.draining().await;
            };
            cores.spawn(task).unwrap();
        }
        let mut names: Vec<_> = (0..4).map(|_| names.recv().unwrap().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["core-0", "core-0", "core-1", "core-1"]);
        assert_eq!(cores.loads(), [2, 2]);
        shutdown.drain();
        cores.join();
    }

    #[test]
    fn a_panic_hurts_nobody_else() {
        let cores = two_cores(&Shutdown::new());
        let panics = cores.panics().clone();
        let (sender, done) = sync_channel(1);
        cores.spawn(|| async { panic!("on purpose") }).unwrap();
        cores
            .spawn(move || async move { sender.send(()).unwrap() })
            .unwrap();
        done.recv().unwrap();
        cores.join();
        assert_eq!(panics.count(), 1);
    }

    #[test]
    fn the_end_of_the_grace_time_drops_what_still_runs() {
        let shutdown = Shutdown::new();
        let cores = two_cores(&shutdown);
        cores.spawn(std::future::pending).unwrap();
        shutdown.end();
        cores.join();
    }
}
