//! A pool of equal slots in one block of memory, shared by threads without a lock.

mod sync;

#[allow(
    unsafe_code,
    reason = "the pool's unsafe core; its head has the invariants"
)]
mod raw;

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use crate::pool::{BufferPool, SystemPool};
use raw::{Handle, SLOT_ALIGN, Slot};
use sync::Ordering;

/// Most slots of a [`SlabPool`].
pub const MAX_SLOTS: usize = 4096;

/// Most bytes of a [`SlabPool`], all slots together.
pub const MAX_SLAB_LEN: usize = 64 * 1024 * 1024;

/// Handles of one [`SlabPool`] that may exist at once; one more panics. On 64 bits nobody comes near, on 32 bits it
/// is 2¹⁸ less one.
pub const MAX_HANDLES: usize = raw::MAX_HANDLES;

/// Slots of a [`SlabPool`] unless told otherwise.
pub const DEFAULT_SLOTS: usize = 64;

/// Length in bytes of the slots of a [`SlabPool`] unless told otherwise: what a decoder takes for a read.
pub const DEFAULT_SLOT_LEN: usize = 8 * 1024;

/// How the memory of a [`SlabPool`] is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabShape {
    /// Number of slots: 1 to [`MAX_SLOTS`]. When all are out, the system's allocator serves.
    pub slots: usize,
    /// Length of each in bytes, at least 1; rounded up to whole cache lines of 64 bytes. What is longer comes from
    /// the system's allocator.
    pub slot_len: usize,
}

impl Default for SlabShape {
    fn default() -> Self {
        Self {
            slots: DEFAULT_SLOTS,
            slot_len: DEFAULT_SLOT_LEN,
        }
    }
}

/// Why there can be no pool of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlabShapeError {
    /// There would be no slot, or slots without a byte.
    Empty,
    /// There would be more slots than [`MAX_SLOTS`].
    TooManySlots,
    /// All slots together would be longer than [`MAX_SLAB_LEN`].
    TooLong,
}

impl core::fmt::Display for SlabShapeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("a pool needs at least one slot of at least one byte"),
            Self::TooManySlots => write!(f, "a pool has at most {MAX_SLOTS} slots"),
            Self::TooLong => write!(f, "a pool has at most {MAX_SLAB_LEN} bytes"),
        }
    }
}

impl core::error::Error for SlabShapeError {}

/// What became of a [`SlabPool`] so far. The numbers are read one after the other: while other threads work they need
/// not fit each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabUsage {
    /// Slots that are out now.
    pub in_use: usize,
    /// Most slots that were out at once. A slot that was just on its way back may count.
    pub peak: usize,
    /// How often the system's allocator stepped in because no free slot was found; wraps around. Where slots come back
    /// while another thread looks, it may pass by the last.
    pub full: usize,
    /// How often the system's allocator stepped in because a slot is too short; wraps around.
    pub too_long: usize,
}

/// A pool of equal slots, for any number of threads: taking and returning are a few atomic instructions, without lock
/// or wait.
///
/// All memory is taken when the pool is made, and is given back when the last handle and the last slot are gone.
/// Slots may be returned by any thread and in any order. What the pool does not have comes from the system's
/// allocator, and is counted: see [`SlabPool::usage`].
///
/// ```
/// use buffer_sv2::{BufferPool, SlabPool, SlabShape};
///
/// let pool = SlabPool::new(SlabShape { slots: 2, slot_len: 1024 })?;
/// let mut first = pool.take(5);
/// let second = pool.take(1000);
/// let third = pool.take(1);
/// assert!(first.is_pooled() && second.is_pooled() && !third.is_pooled());
///
/// first[..5].copy_from_slice(b"share");
/// std::thread::spawn(move || assert_eq!(first[..5], *b"share")).join().unwrap();
/// assert!(pool.take(1).is_pooled());
/// assert_eq!((pool.usage().in_use, pool.usage().peak, pool.usage().full), (1, 2, 1));
/// # Ok::<(), buffer_sv2::SlabShapeError>(())
/// ```
///
/// A clone is another handle of the same pool.
///
/// # Panics
/// Cloning panics at [`MAX_HANDLES`].
///
/// With feature `debug` each slot is filled with a pattern when it is returned and checked for it when it is taken,
/// a broken invariant panics, and `tracing` has an event for each slot that comes and goes.
#[derive(Clone)]
pub struct SlabPool(Handle);

impl SlabPool {
    /// A pool with all slots free, zeroed.
    ///
    /// # Errors
    /// [`SlabShapeError`] when the shape is empty or exceeds a limit.
    pub fn new(shape: SlabShape) -> Result<Self, SlabShapeError> {
        let SlabShape { slots, slot_len } = shape;
        if slots == 0 || slot_len == 0 {
            return Err(SlabShapeError::Empty);
        }
        if slots > MAX_SLOTS {
            return Err(SlabShapeError::TooManySlots);
        }
        let rounded_len = slot_len.checked_next_multiple_of(SLOT_ALIGN);
        let slot_len = rounded_len
            .filter(|slot_len| *slot_len <= MAX_SLAB_LEN / slots)
            .ok_or(SlabShapeError::TooLong)?;
        Ok(Self(Handle::new(slots, slot_len)))
    }

    /// How the memory is cut, with the length of slots as rounded.
    pub fn shape(&self) -> SlabShape {
        let slab = self.0.slab();
        SlabShape {
            slots: slab.slots(),
            slot_len: slab.slot_len(),
        }
    }

    /// What became of the pool so far.
    pub fn usage(&self) -> SlabUsage {
        let slab = self.0.slab();
        SlabUsage {
            in_use: slab.in_use(),
            peak: slab.peak(),
            full: slab.full.load(Ordering::Relaxed),
            too_long: slab.too_long.load(Ordering::Relaxed),
        }
    }

    fn slot(&self, len: usize) -> Option<Slot> {
        let slab = self.0.slab();
        if len > slab.slot_len() {
            slab.too_long.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let slot = self.0.take();
        if slot.is_none() {
            slab.full.fetch_add(1, Ordering::Relaxed);
        }
        slot
    }
}

impl BufferPool for SlabPool {
    type Storage = SlabStorage;

    fn take(&self, len: usize) -> SlabStorage {
        let storage = match self.slot(len) {
            Some(slot) => SlabStorage(Place::Slot(slot)),
            None => SlabStorage(Place::System(SystemPool.take(len))),
        };
        event("taken", &storage);
        storage
    }
}

impl core::fmt::Debug for SlabPool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SlabPool")
            .field("shape", &self.shape())
            .field("usage", &self.usage())
            .finish()
    }
}

/// Memory of a [`SlabPool`], which gets it back when this is dropped: by any thread, in any order, also when all
/// handles of the pool are gone.
pub struct SlabStorage(Place);

enum Place {
    Slot(Slot),
    System(Vec<u8>),
}

impl SlabStorage {
    /// Whether it is a slot of the pool, and not from the system's allocator.
    pub const fn is_pooled(&self) -> bool {
        matches!(self.0, Place::Slot(_))
    }
}

impl AsRef<[u8]> for SlabStorage {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Place::Slot(slot) => slot.as_ref(),
            Place::System(bytes) => bytes,
        }
    }
}

impl AsMut<[u8]> for SlabStorage {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Place::Slot(slot) => slot.as_mut(),
            Place::System(bytes) => bytes,
        }
    }
}

impl Deref for SlabStorage {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl DerefMut for SlabStorage {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut()
    }
}

impl core::fmt::Debug for SlabStorage {
    /// Length and place only: the bytes may be secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SlabStorage")
            .field("len", &self.len())
            .field("is_pooled", &self.is_pooled())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "debug")]
impl Drop for SlabStorage {
    fn drop(&mut self) {
        event("returned", self);
    }
}

/// Tells `tracing` what happened to memory, with feature `debug`; never its contents.
#[cfg(feature = "debug")]
fn event(what: &'static str, storage: &SlabStorage) {
    let slot = match &storage.0 {
        Place::Slot(slot) => Some(slot.index()),
        Place::System(_) => None,
    };
    let len = storage.as_ref().len();
    tracing::trace!(target: "buffer_sv2", what, slot, len);
}

#[cfg(not(feature = "debug"))]
const fn event(_what: &'static str, _storage: &SlabStorage) {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::MIN_BUFFER_LEN;

    fn pool(slots: usize, slot_len: usize) -> SlabPool {
        SlabPool::new(SlabShape { slots, slot_len }).expect("a small pool")
    }

    #[test]
    fn a_shape_keeps_to_the_limits() {
        let cases = [
            (0, 1, Err(SlabShapeError::Empty)),
            (1, 0, Err(SlabShapeError::Empty)),
            (1, 1, Ok((1, 64))),
            (3, 65, Ok((3, 128))),
            (MAX_SLOTS, 64, Ok((MAX_SLOTS, 64))),
            (MAX_SLOTS + 1, 64, Err(SlabShapeError::TooManySlots)),
            (1, MAX_SLAB_LEN, Ok((1, MAX_SLAB_LEN))),
            (1, MAX_SLAB_LEN + 1, Err(SlabShapeError::TooLong)),
            (3, MAX_SLAB_LEN / 3, Err(SlabShapeError::TooLong)),
            (MAX_SLOTS, usize::MAX, Err(SlabShapeError::TooLong)),
        ];
        for (slots, slot_len, expected) in cases {
            let shape = SlabPool::new(SlabShape { slots, slot_len }).map(|pool| pool.shape());
            let shape = shape.map(|shape| (shape.slots, shape.slot_len));
            assert_eq!(shape, expected, "{slots} slots of {slot_len} bytes");
        }
        let default = SlabPool::new(SlabShape::default()).unwrap();
        assert_eq!(default.shape(), SlabShape::default());
    }

    #[test]
    fn what_the_pool_does_not_have_comes_from_the_system_and_is_counted() {
        let pool = pool(2, 128);
        let slots = [pool.take(128), pool.take(0)];
        assert!(
            slots
                .iter()
                .all(|slot| slot.is_pooled() && slot.len() == 128)
        );
        let (full, too_long) = (pool.take(1), pool.take(MIN_BUFFER_LEN + 1));
        assert!(!full.is_pooled() && !too_long.is_pooled());
        assert_eq!(
            (full.len(), too_long.len()),
            (MIN_BUFFER_LEN, 2 * MIN_BUFFER_LEN)
        );
        let usage = |in_use| SlabUsage {
            in_use,
            peak: 2,
            full: 1,
            too_long: 1,
        };
        assert_eq!(pool.usage(), usage(2));
        drop((slots, full, too_long));
        assert_eq!(pool.usage(), usage(0));
    }

    #[test]
    fn slots_return_in_any_order() {
        let pool = pool(3, 64);
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut slots = [0, 1, 2].map(|i| {
                let mut slot = pool.take(64);
                slot.fill(i);
                Some(slot)
            });
            for (returned, which) in order.into_iter().enumerate() {
                assert_eq!(pool.usage().in_use, 3 - returned);
                slots[which] = None;
                for (i, slot) in slots.iter().enumerate() {
                    assert!(slot.iter().all(|slot| **slot == [i as u8; 64]));
                }
            }
        }
        assert_eq!((pool.usage().peak, pool.usage().full), (3, 0));
    }

    #[test]
    fn a_slot_outlives_its_pool() {
        let pool = pool(1, 64);
        let mut slot = pool.clone().take(1);
        drop(pool);
        slot.fill(5);
        assert_eq!(*slot, [5; 64]);
    }

    /// Takes memory, uses it, sends it on, and drops what another thread has sent.
    #[cfg(feature = "std")]
    fn pass_on(
        pool: &SlabPool,
        mark: u8,
        to: &std::sync::mpsc::SyncSender<SlabStorage>,
        from: &std::sync::mpsc::Receiver<SlabStorage>,
    ) {
        let mut storage = pool.take(256);
        storage.fill(mark);
        std::thread::yield_now();
        assert!(storage.iter().all(|byte| *byte == mark));
        // When the queue is full it comes back, and is dropped here.
        drop(to.try_send(storage));
        if let Ok(other) = from.try_recv() {
            assert!(other.iter().all(|byte| *byte == other[0]));
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn threads_share_a_pool() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };
        const THREADS: u8 = 4;
        // Fewer slots than are wanted at once, so that threads meet at them and run out of them.
        let pool = pool(6, 256);
        std::thread::scope(|scope| {
            let channel = |_| std::sync::mpsc::sync_channel(2);
            let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(channel).unzip();
            // What a thread takes its neighbour drops.
            receivers.rotate_left(1);
            for (mark, (to, from)) in (0..THREADS).zip(senders.into_iter().zip(receivers)) {
                let pool = pool.clone();
                scope.spawn(move || (0..ROUNDS).for_each(|_| pass_on(&pool, mark, &to, &from)));
            }
        });
        let usage = pool.usage();
        assert_eq!(usage.in_use, 0);
        assert!((1..=6).contains(&usage.peak), "{usage:?}");
    }
}
