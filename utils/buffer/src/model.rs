//! A [`SlabPool`] beside a model of it, for fuzzing and property tests.
//!
//! ```
//! use buffer_sv2::SlabShape;
//! use buffer_sv2::model::{Op, run};
//!
//! let ops = [Op::Take { len: 10 }, Op::Take { len: 100 }, Op::Return { which: 0 }, Op::Take { len: 64 }];
//! run(SlabShape { slots: 2, slot_len: 64 }, ops);
//! ```

use alloc::vec::Vec;

use crate::{BufferPool, SlabPool, SlabShape, SlabStorage, SlabUsage};

/// Slices the model holds at most; it returns the oldest to take one more.
pub const MAX_HELD: usize = 128;

/// Handles the model holds at most; it drops the oldest to clone one more.
pub const MAX_MODEL_HANDLES: usize = 8;

/// Something that can be done with a pool. Numbers of slices and handles count modulo those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes a slice of at least `len` bytes and fills it.
    Take {
        /// Bytes wanted.
        len: usize,
    },
    /// Returns one of the slices held.
    Return {
        /// Number of the slice.
        which: usize,
    },
    /// Fills one of the slices held with something else.
    Write {
        /// Number of the slice.
        which: usize,
    },
    /// Makes another handle of the pool.
    CloneHandle {
        /// Number of the handle to clone.
        which: usize,
    },
    /// Drops a handle of the pool, also the last: then only returns are left.
    DropHandle {
        /// Number of the handle.
        which: usize,
    },
}

/// Does `ops` with a new pool and compares it with the model: counters after each, the bytes of a slice before it
/// is filled anew or returned, and in the end all slices are.
///
/// # Panics
/// When the pool breaks a promise: a slice that is too short, overlaps another, or loses its bytes, or counters
/// that are wrong. Also when there can be no pool of this `shape`.
pub fn run(shape: SlabShape, ops: impl IntoIterator<Item = Op>) {
    let mut model = Model::new(shape);
    for op in ops {
        model.apply(op);
        model.check();
    }
    model.finish();
}

struct Held {
    storage: SlabStorage,
    seed: u8,
}

impl Held {
    fn new(storage: SlabStorage, seed: u8) -> Self {
        let mut held = Self { storage, seed };
        held.fill(seed);
        held
    }

    fn fill(&mut self, seed: u8) {
        self.seed = seed;
        for (byte, expected) in self.storage.iter_mut().zip(pattern(seed)) {
            *byte = expected;
        }
    }

    fn check(&self) {
        let intact = self.storage.iter().copied().zip(pattern(self.seed));
        assert!(
            intact.into_iter().all(|(byte, expected)| byte == expected),
            "a slice has lost its bytes"
        );
    }

    fn overlaps(&self, other: &[u8]) -> bool {
        let (own, other) = (self.storage.as_ptr_range(), other.as_ptr_range());
        own.start < other.end && other.start < own.end
    }
}

/// Bytes of which no two slices have the same for long, and no slice the same at two places near each other.
fn pattern(seed: u8) -> impl Iterator<Item = u8> {
    (0..=250)
        .cycle()
        .map(move |byte: u8| byte.wrapping_mul(31) ^ seed)
}

struct Model {
    shape: SlabShape,
    handles: Vec<SlabPool>,
    held: Vec<Held>,
    expected: SlabUsage,
    seed: u8,
}

impl Model {
    fn new(shape: SlabShape) -> Self {
        let pool = SlabPool::new(shape).expect("a shape within the limits");
        Self {
            shape: pool.shape(),
            handles: Vec::from([pool]),
            held: Vec::new(),
            expected: SlabUsage::default(),
            seed: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Take { len } => self.take(len),
            Op::Return { which } => self.give_back(which),
            Op::Write { which } => {
                let seed = self.next_seed();
                if let Some(which) = which.checked_rem(self.held.len()) {
                    self.held[which].check();
                    self.held[which].fill(seed);
                }
            }
            Op::CloneHandle { which } => {
                let Some(which) = which.checked_rem(self.handles.len()) else {
                    return;
                };
                self.handles.push(self.handles[which].clone());
                if self.handles.len() > MAX_MODEL_HANDLES {
                    self.handles.remove(0);
                }
            }
            Op::DropHandle { which } => {
                if let Some(which) = which.checked_rem(self.handles.len()) {
                    self.handles.swap_remove(which);
                }
            }
        }
    }

    fn take(&mut self, len: usize) {
        if self.held.len() == MAX_HELD {
            self.give_back(0);
        }
        let seed = self.next_seed();
        let Some(pool) = usize::from(seed).checked_rem(self.handles.len()) else {
            return;
        };
        let storage = self.handles[pool].take(len);
        assert!(storage.len() >= len, "a slice is shorter than asked for");
        let overlap = self.held.iter().any(|held| held.overlaps(&storage));
        assert!(!overlap, "two slices overlap");
        let expected = &mut self.expected;
        let fits = len <= self.shape.slot_len;
        if fits && expected.in_use < self.shape.slots {
            assert!(storage.is_pooled(), "a slot is free, and not used");
            assert_eq!(storage.len(), self.shape.slot_len);
            expected.in_use += 1;
            expected.peak = expected.peak.max(expected.in_use);
        } else {
            assert!(
                !storage.is_pooled(),
                "there are more slots than there can be"
            );
            expected.full += usize::from(fits);
            expected.too_long += usize::from(!fits);
        }
        self.held.push(Held::new(storage, seed));
    }

    fn give_back(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.held.len()) else {
            return;
        };
        let held = self.held.remove(which);
        held.check();
        self.expected.in_use -= usize::from(held.storage.is_pooled());
    }

    fn next_seed(&mut self) -> u8 {
        self.seed = self.seed.wrapping_add(1);
        self.seed
    }

    fn check(&self) {
        for pool in &self.handles {
            assert_eq!(pool.usage(), self.expected);
        }
    }

    /// Returns what is held, every other first, after the handles where these are an odd number.
    fn finish(mut self) {
        if self.handles.len() % 2 == 1 {
            self.handles.clear();
        }
        let mut which = 0;
        while !self.held.is_empty() {
            self.give_back(which);
            self.check();
            which += 1;
        }
    }
}
