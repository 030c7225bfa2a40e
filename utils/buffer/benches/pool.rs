//! What it costs to take memory for a read, touch it and give it back: from the pools, and plain from the allocator.
//!
//! `cargo bench -p stratum-buffer-sv2 --features criterion`
//!
//! On two virtual cores with glibc's allocator, 8 KiB each time. With several threads the time is that of all of them for
//! one read each, so on two cores four threads take at least twice as long as two:
//!
//! | | slab pool | thread pool | zeroed `Vec` | `Vec`, not zeroed |
//! |---|---|---|---|---|
//! | one at a time | 28 ns | 22 ns | 138 ns | 25 ns |
//! | 32, out of order | 1.0 µs | 0.8 µs | 6.2 µs | 1.1 µs |
//! | 32, returned by another thread | 9 µs | 37 µs | 30 µs | 16 µs |
//! | two threads | 57 ns | 38 ns | 235 ns | 46 ns |
//! | four threads | 111 ns | 65 ns | 355 ns | 69 ns |
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use buffer_sv2::{BufferPool, SlabPool, SlabShape, SystemPool, ThreadPool};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of a read.
const LEN: usize = 8 * 1024;

/// Slices out at once, of one thread.
const HELD: usize = 32;

/// Batches of [`HELD`] slices on their way from one thread to another.
const QUEUE: usize = 4;

/// The allocator as `Vec` uses it, without zeroes: less than a pool promises, as such memory cannot be read into in safe
/// Rust.
#[derive(Clone)]
struct Unzeroed;

/// As much of a buffer as there can be without writing it.
struct Capacity(Vec<u8>);

impl AsRef<[u8]> for Capacity {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Capacity {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl BufferPool for Unzeroed {
    type Storage = Capacity;

    fn take(&self, len: usize) -> Capacity {
        let mut bytes = Vec::with_capacity(len);
        bytes.push(0);
        Capacity(bytes)
    }
}

fn slab() -> SlabPool {
    SlabPool::new(SlabShape {
        slots: 256,
        slot_len: LEN,
    })
    .unwrap()
}

fn touched<P: BufferPool>(pool: &P) -> P::Storage {
    let mut storage = pool.take(black_box(LEN));
    storage.as_mut()[0] = 1;
    black_box(storage)
}

fn one_at_a_time(pool: &impl BufferPool) {
    drop(touched(pool));
}

/// As many reads as there are buffers, and each third returned first, then the others.
fn out_of_order<P: BufferPool>(pool: &P, held: &mut Vec<P::Storage>) {
    held.extend((0..HELD).map(|_| touched(pool)));
    for which in (0..HELD).rev().step_by(3) {
        drop(held.swap_remove(which));
    }
    held.clear();
}

/// Time for `rounds` reads of each of `threads` threads at once.
fn in_threads<P: BufferPool + Send>(pool: &P, threads: usize, rounds: u64) -> Duration {
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let run = |pool: P| {
            let start = &start;
            move || {
                start.wait();
                (0..rounds).for_each(|_| one_at_a_time(&pool));
            }
        };
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(run(pool.clone())))
            .collect();
        start.wait();
        let started = Instant::now();
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        started.elapsed()
    })
}

/// Time for `rounds` batches of reads of one thread that another uses and returns.
fn handed_over<P: BufferPool>(pool: &P, rounds: u64) -> Duration
where
    P::Storage: Send,
{
    let (to, from) = sync_channel::<Vec<P::Storage>>(QUEUE);
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let all = from.into_iter().flatten();
            all.map(|storage| u64::from(storage.as_ref()[0])).sum()
        });
        let started = Instant::now();
        for _ in 0..rounds {
            let batch = (0..HELD).map(|_| touched(pool)).collect();
            to.send(batch).unwrap();
        }
        drop(to);
        let used: u64 = worker.join().unwrap();
        assert_eq!(used, rounds * HELD as u64);
        started.elapsed()
    })
}

fn bench<P: BufferPool + Send>(c: &mut Criterion, name: &str, pool: &P)
where
    P::Storage: Send,
{
    let mut group = c.benchmark_group(name);
    group.bench_function("one at a time", |b| b.iter(|| one_at_a_time(pool)));
    group.throughput(Throughput::Elements(HELD as u64));
    let mut held = Vec::with_capacity(HELD);
    group.bench_function(format!("{HELD}, out of order"), |b| {
        b.iter(|| out_of_order(pool, &mut held));
    });
    group.bench_function(format!("{HELD}, returned by another thread"), |b| {
        b.iter_custom(|rounds| handed_over(pool, rounds));
    });
    for threads in [2, 4] {
        group.throughput(Throughput::Elements(threads as u64));
        group.bench_function(format!("one at a time, {threads} threads"), |b| {
            b.iter_custom(|rounds| in_threads(pool, threads, rounds));
        });
    }
}

fn pools(c: &mut Criterion) {
    bench(c, "slab pool", &slab());
    bench(c, "thread pool", &ThreadPool);
    bench(c, "zeroed vec", &SystemPool);
    bench(c, "vec as it comes", &Unzeroed);
}

criterion_group!(benches, pools);
criterion_main!(benches);
