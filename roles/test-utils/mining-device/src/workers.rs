//! The threads that hash, one per core.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use roles_logic_sv2::clock::Now;

use crate::hasher::{Hasher, ScanEnd};
use crate::work::{FoundShare, WorkSource, WorkUnit};

/// How long a thread waits before it asks a source again that has nothing left in this second.
const USED_UP_WAIT: Duration = Duration::from_millis(50);

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
    /// Starts `threads` idle threads that hash with `hasher` and hand what they find to `on_found`.
    ///
    /// `on_found` may block, for instance on a full queue: that thread then hashes no more until it returns, and
    /// dropping the set waits for it.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        threads: usize,
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
        for index in 0..threads {
            let (shared, clock, on_found) =
                (Arc::clone(&workers.shared), clock.clone(), on_found.clone());
            let run = move || {
                while let Some((unit, stop)) = shared.next_unit(&clock) {
                    shared.hash(&hasher, &unit, &stop, &on_found);
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

    /// Gives all threads new work at once; `None` lets them rest. What they were at is dropped.
    pub fn assign(&self, source: Option<WorkSource>) {
        let mut assignment = self.shared.lock();
        assignment.stop.store(true, Ordering::Relaxed);
        assignment.stop = Arc::default();
        assignment.source = source;
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
        on_found: &impl Fn(FoundShare),
    ) {
        let mut nonces = unit.nonces.clone();
        while !nonces.is_empty() {
            let scan = hasher.scan(&unit.work, nonces.clone(), stop);
            self.hashes.fetch_add(scan.hashes, Ordering::Relaxed);
            let ScanEnd::Found(nonce) = scan.end else {
                return;
            };
            on_found(unit.share(nonce));
            // Iterating a range to its end leaves it empty, also where the last nonce has no successor.
            nonces = nonce..=*nonces.end();
            nonces.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::testing::standard_work;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn source(version: u32, target: [u8; 32]) -> WorkSource {
        WorkSource::new(standard_work(version, target), true)
    }

    fn workers(threads: usize) -> (Workers, Receiver<FoundShare>) {
        let (found, shares) = sync_channel(4);
        // A closed queue means that the test is over.
        let on_found = move |share| drop(found.send(share));
        (
            Workers::start(threads, Hasher::detect(), Now::default, on_found).unwrap(),
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
        let (workers, shares) = workers(2);
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
        let (resting, _shares) = workers(2);
        drop(resting);
        let (hashing, shares) = workers(2);
        hashing.assign(Some(source(1, EASY)));
        shares.recv_timeout(DEADLINE).unwrap();
        drop(shares);
        hashing.assign(Some(source(2, [0; 32])));
        drop(hashing);
    }
}
