//! The threads that hash, one per core.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use roles_logic_sv2::clock::Now;

use crate::hasher::{Hasher, ScanEnd};
use crate::work::{FoundShare, WorkSource, WorkUnit};

/// How long a thread waits before it asks a source again that has nothing left in this second.
const USED_UP_WAIT: Duration = Duration::from_millis(50);

/// Nonces tried between two updates of the hash counter: some 50 milliseconds with SHA-NI.
const SCAN_NONCES: u32 = 1 << 18;

/// How often a thread that is held back may hash, at most: it tries the nonces of one such pause at once.
const HELD_BACK_STEP: Duration = Duration::from_millis(100);

/// How the threads work.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Number of threads.
    pub threads: NonZeroUsize,
    /// Most hashes a second of all threads together; no limit when `None`.
    pub hashrate_limit: Option<f64>,
    /// Whether other programs go first. It costs nothing on a machine that is idle otherwise. Linux only.
    pub is_low_priority: bool,
}

impl Effort {
    /// All that `threads` threads can do, after other programs.
    pub const fn full(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            hashrate_limit: None,
            is_low_priority: true,
        }
    }
}

/// Hashes a second of all that `effort` allows, measured for `duration`. Blocks that long.
pub fn measure(effort: &Effort, hasher: Hasher, duration: Duration) -> f64 {
    let work = crate::hasher::Work::new(&[0x5a; 80], &[0; 32]);
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let hashes: u64 = std::thread::scope(|scope| {
        let scan = || {
            effort.settle();
            hasher.scan(&work, 0..=u32::MAX, &stop).hashes
        };
        let threads: Vec<_> = (0..effort.threads.get())
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, scan).ok())
            .collect();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .sum()
    });
    let hashrate = hashes as f64 / started.elapsed().as_secs_f64();
    hashrate.min(effort.hashrate_limit.unwrap_or(f64::INFINITY))
}

impl Effort {
    /// Prepares the present thread.
    fn settle(&self) {
        #[cfg(target_os = "linux")]
        if self.is_low_priority {
            // It is only a favour to others: where it is refused, the thread hashes all the same.
            let _ = rustix::process::nice(LOWEST_PRIORITY);
        }
    }

    /// Hashes a second of one thread.
    fn limit_per_thread(&self) -> Option<f64> {
        Some(self.hashrate_limit? / self.threads.get() as f64)
    }
}

/// Niceness added to a thread that lets others go first.
#[cfg(target_os = "linux")]
const LOWEST_PRIORITY: i32 = 19;

/// Keeps one thread below its limit.
#[derive(Debug)]
struct Pace {
    limit: f64,
    started: Instant,
    hashes: u64,
}

impl Pace {
    fn new(limit: f64) -> Self {
        Self {
            limit,
            started: Instant::now(),
            hashes: 0,
        }
    }

    /// Nonces to try at once.
    fn step(&self) -> u32 {
        ((self.limit * HELD_BACK_STEP.as_secs_f64()) as u32).clamp(1, SCAN_NONCES)
    }

    /// Books hashes and gives the moment from which on the next ones may be made.
    fn spend(&mut self, hashes: u64) -> Instant {
        self.hashes += hashes;
        let takes = Duration::try_from_secs_f64(self.hashes as f64 / self.limit);
        let due = self.started + takes.unwrap_or(HELD_BACK_STEP);
        if due + HELD_BACK_STEP < Instant::now() {
            // Time without work is not made up for later.
            *self = Self::new(self.limit);
        }
        due
    }
}

/// A set of hashing threads. They stop when it is dropped.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    // Threads meet here once per unit, which is a second of hashing: the lock is never contended for long.
    assignment: Mutex<Assignment>,
    changed: Condvar,
    hashes: AtomicU64,
}

#[derive(Debug, Default)]
struct Assignment {
    source: Option<WorkSource>,
    /// Raised when the source is replaced.
    stop: Arc<AtomicBool>,
    is_closing: bool,
}

impl Workers {
    /// Starts idle threads that hash with `hasher` and hand what they find to `on_found`.
    ///
    /// `on_found` may block, for instance on a full queue: that thread then hashes no more until it returns, and
    /// dropping the set waits for it.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        effort: Effort,
        hasher: Hasher,
        clock: impl Fn() -> Now + Clone + Send + 'static,
        on_found: impl Fn(FoundShare) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            assignment: Mutex::default(),
            changed: Condvar::new(),
            hashes: AtomicU64::new(0),
        });
        let mut workers = Self {
            shared,
            threads: Vec::new(),
        };
        for index in 0..effort.threads.get() {
            let (shared, clock, on_found) =
                (Arc::clone(&workers.shared), clock.clone(), on_found.clone());
            let run = move || {
                effort.settle();
                let mut pace = effort.limit_per_thread().map(Pace::new);
                while let Some((unit, stop)) = shared.next_unit(&clock) {
                    shared.hash(&hasher, &unit, &stop, pace.as_mut(), &on_found);
                }
            };
            workers.threads.push(
                std::thread::Builder::new()
                    .name(format!("hasher-{index}"))
                    .spawn(run)?,
            );
        }
        Ok(workers)
    }

    /// Gives all threads new work at once; `None` lets them rest. What they were at is dropped, and not hashed again
    /// when the new work comes to the same.
    pub fn assign(&self, source: Option<WorkSource>) {
        let mut assignment = self.shared.lock();
        assignment.stop.store(true, Ordering::Relaxed);
        assignment.stop = Arc::default();
        assignment.source = match &assignment.source {
            Some(former) => source.map(|source| source.without(former)),
            None => source,
        };
        self.shared.changed.notify_all();
    }

    /// Hashes done since the start, by all threads.
    pub fn hashes(&self) -> u64 {
        self.shared.hashes.load(Ordering::Relaxed)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.assign(None);
        for thread in self.threads.drain(..) {
            // A thread ends early only by a panic in `on_found`, which has been reported where it happened.
            drop(thread.join());
        }
    }
}

impl Shared {
    /// A thread that panicked left the assignment whole: it is only replaced, never half changed.
    fn lock(&self) -> MutexGuard<'_, Assignment> {
        self.assignment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a unit and the flag that ends it; `None` when the threads are to end.
    fn next_unit(&self, clock: &impl Fn() -> Now) -> Option<(WorkUnit, Arc<AtomicBool>)> {
        let mut assignment = self.lock();
        while !assignment.is_closing {
            let Some(source) = &mut assignment.source else {
                assignment = self
                    .changed
                    .wait(assignment)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(unit) = source.next_unit(clock()) {
                return Some((unit, Arc::clone(&assignment.stop)));
            }
            let waited = self.changed.wait_timeout(assignment, USED_UP_WAIT);
            assignment = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    fn hash(
        &self,
        hasher: &Hasher,
        unit: &WorkUnit,
        stop: &AtomicBool,
        mut pace: Option<&mut Pace>,
        on_found: &impl Fn(FoundShare),
    ) {
        let mut nonces = unit.nonces.clone();
        while !nonces.is_empty() {
            let step = pace.as_ref().map_or(SCAN_NONCES, |pace| pace.step());
            let last = nonces.start().saturating_add(step - 1).min(*nonces.end());
            let scan = hasher.scan(&unit.work, *nonces.start()..=last, stop);
            self.hashes.fetch_add(scan.hashes, Ordering::Relaxed);
            let last = match scan.end {
                ScanEnd::Found(nonce) => {
                    on_found(unit.share(nonce));
                    nonce
                }
                ScanEnd::Exhausted => last,
                ScanEnd::Stopped => return,
            };
            if let Some(pace) = &mut pace {
                self.wait_until(pace.spend(scan.hashes), stop);
            }
            // Iterating a range to its end leaves it empty, also where the last nonce has no successor.
            nonces = last..=*nonces.end();
            nonces.next();
        }
    }

    fn wait_until(&self, due: Instant, stop: &AtomicBool) {
        let mut assignment = self.lock();
        while !stop.load(Ordering::Relaxed) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(assignment, left);
            assignment = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::task::Task;
    use crate::testing::standard_work;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn source(version: u32, target: [u8; 32]) -> WorkSource {
        WorkSource::new(Task::sv2(standard_work(version, target), true), 0)
    }

    fn effort(threads: usize) -> Effort {
        Effort::full(NonZeroUsize::new(threads).unwrap())
    }

    fn workers(effort: Effort) -> (Workers, Receiver<FoundShare>) {
        let (found, shares) = sync_channel(4);
        // A closed queue means that the test is over.
        let on_found = move |share| drop(found.send(share));
        (
            Workers::start(effort, Hasher::detect(), Now::default, on_found).unwrap(),
            shares,
        )
    }

    /// One nonce in 256 makes a share.
    const EASY: [u8; 32] = {
        let mut target = [0xff; 32];
        target[31] = 0;
        target
    };

    #[test]
    fn threads_find_shares_and_take_new_work() {
        let (workers, shares) = workers(effort(2));
        workers.assign(Some(source(1, EASY)));
        assert_eq!(shares.recv_timeout(DEADLINE).unwrap().version, 1);
        workers.assign(Some(source(2, EASY)));
        let share = std::iter::from_fn(|| shares.recv_timeout(DEADLINE).ok())
            .find(|share| share.version == 2);
        assert!(share.is_some());
        assert!(workers.hashes() > 0);
        drop(shares);
    }

    #[test]
    fn dropping_ends_threads_that_hash_and_threads_that_rest() {
        let (resting, _shares) = workers(effort(2));
        drop(resting);
        let (hashing, shares) = workers(effort(2));
        hashing.assign(Some(source(1, EASY)));
        shares.recv_timeout(DEADLINE).unwrap();
        drop(shares);
        hashing.assign(Some(source(2, [0; 32])));
        drop(hashing);
    }

    #[test]
    fn a_limit_holds_back() {
        let limited = Effort {
            hashrate_limit: Some(1000.0),
            ..effort(2)
        };
        let (workers, _shares) = workers(limited);
        let started = Instant::now();
        workers.assign(Some(source(1, [0; 32])));
        while workers.hashes() < 300 {
            assert!(started.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        // 100 hashes are made at once, the next ones only when these have taken their time.
        assert!(started.elapsed() >= HELD_BACK_STEP);
    }

    #[test]
    fn the_hashrate_is_measured_within_the_limit() {
        let full = measure(&effort(1), Hasher::detect(), Duration::from_millis(20));
        assert!(full > 10_000.0, "{full}");
        let limited = Effort {
            hashrate_limit: Some(7.0),
            ..effort(1)
        };
        let limited = measure(&limited, Hasher::detect(), Duration::from_millis(1));
        assert!(limited <= 7.0);
    }
}
