//! Where memory comes from and goes back to.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Length in bytes of the smallest buffer a pool hands out: one page.
pub const MIN_BUFFER_LEN: usize = 4 * 1024;

/// Length in bytes of the longest buffer a pool keeps; longer ones go straight back to the system.
pub const MAX_RETAINED_BUFFER_LEN: usize = 128 * 1024;

/// Buffers a pool keeps unless told otherwise; one more goes back to the system.
pub const DEFAULT_MAX_RETAINED_BUFFERS: usize = 256;

/// Bytes a pool keeps unless told otherwise; a buffer that would exceed them goes back to the system.
pub const DEFAULT_MAX_RETAINED_BYTES: usize = 4 * 1024 * 1024;

const SIZE_CLASSES: usize = (MAX_RETAINED_BUFFER_LEN / MIN_BUFFER_LEN).ilog2() as usize + 1;

/// The allocator has no memory of the length asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no memory is left")
    }
}

impl core::error::Error for OutOfMemory {}

/// A source of byte buffers: a cheap handle, cloned into everything that needs memory now and then.
pub trait BufferPool: Clone {
    /// Memory that returns to the pool when it is dropped.
    type Storage: AsRef<[u8]> + AsMut<[u8]>;

    /// Hands out at least `len` bytes of unspecified contents.
    ///
    /// Never fails and never waits: what the pool does not have comes from the system's allocator.
    fn take(&self, len: usize) -> Self::Storage;

    /// As [`BufferPool::take`], but where memory runs short a pool may say so instead of ending the process.
    ///
    /// [`SystemPool`] does; a pool that does not say so has memory or ends.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    fn try_take(&self, len: usize) -> Result<Self::Storage, OutOfMemory> {
        Ok(self.take(len))
    }
}

/// The pool a codec uses unless told otherwise: that of the current thread.
#[cfg(feature = "std")]
pub type DefaultPool = ThreadPool;
/// The pool a codec uses unless told otherwise: none, without a thread to hold it.
#[cfg(not(feature = "std"))]
pub type DefaultPool = SystemPool;

/// No pool: every buffer comes from the system's allocator and goes back to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemPool;

impl BufferPool for SystemPool {
    type Storage = Vec<u8>;

    fn take(&self, len: usize) -> Vec<u8> {
        vec![0; rounded_len(len)]
    }

    fn try_take(&self, len: usize) -> Result<Vec<u8>, OutOfMemory> {
        let len = rounded_len(len);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| OutOfMemory)?;
        bytes.resize(len, 0);
        Ok(bytes)
    }
}

/// How much memory a pool keeps for later. What is handed out does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Buffers kept; one more goes back to the system.
    pub buffers: usize,
    /// Sum of the lengths of the buffers kept, in bytes; one that would exceed it goes back.
    pub bytes: usize,
}

impl Default for RetentionLimits {
    fn default() -> Self {
        Self {
            buffers: DEFAULT_MAX_RETAINED_BUFFERS,
            bytes: DEFAULT_MAX_RETAINED_BYTES,
        }
    }
}

/// A pool for everything that runs on one thread, passed around as a handle.
#[derive(Clone, Debug, Default)]
pub struct LocalPool(Rc<RefCell<Shelf>>);

impl LocalPool {
    /// An empty pool that will keep as much as `limits` allow.
    pub fn new(limits: RetentionLimits) -> Self {
        Self(Rc::new(RefCell::new(Shelf {
            limits,
            ..Shelf::default()
        })))
    }

    /// Bytes in the pool, ready to be taken.
    pub fn retained_bytes(&self) -> usize {
        self.0.borrow().retained_bytes
    }

    /// Buffers in the pool, ready to be taken.
    pub fn retained_buffers(&self) -> usize {
        self.0.borrow().retained_buffers
    }
}

/// Whatever owns a [`Shelf`]. `None` means it is out of reach, and the system's allocator serves.
trait Shelved: Clone {
    fn with_shelf<R>(&self, f: impl FnOnce(&mut Shelf) -> R) -> Option<R>;
}

impl Shelved for LocalPool {
    fn with_shelf<R>(&self, f: impl FnOnce(&mut Shelf) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok().map(|mut shelf| f(&mut shelf))
    }
}

impl BufferPool for LocalPool {
    type Storage = LocalStorage;

    fn take(&self, len: usize) -> LocalStorage {
        LocalStorage(Pooled::take(self.clone(), len))
    }
}

/// Memory of a [`LocalPool`], which gets it back when this is dropped.
pub struct LocalStorage(Pooled<LocalPool>);

impl AsRef<[u8]> for LocalStorage {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl AsMut<[u8]> for LocalStorage {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0.bytes
    }
}

#[cfg(feature = "std")]
pub use thread::{ThreadPool, ThreadStorage};

#[cfg(feature = "std")]
mod thread {
    use core::cell::RefCell;

    use super::{BufferPool, Pooled, Shelf, Shelved};

    std::thread_local! {
        static SHELF: RefCell<Shelf> = RefCell::default();
    }

    /// The pool of the current thread, with the default limits.
    ///
    /// The handle holds nothing and may move between threads: a buffer comes from the thread that
    /// takes it and goes to the thread that drops it, so no lock is needed.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct ThreadPool;

    impl Shelved for ThreadPool {
        fn with_shelf<R>(&self, f: impl FnOnce(&mut Shelf) -> R) -> Option<R> {
            // Out of reach only while the thread itself ends.
            SHELF.try_with(|shelf| f(&mut shelf.borrow_mut())).ok()
        }
    }

    impl BufferPool for ThreadPool {
        type Storage = ThreadStorage;

        fn take(&self, len: usize) -> ThreadStorage {
            ThreadStorage(Pooled::take(*self, len))
        }
    }

    /// Memory of a [`ThreadPool`], which gets it back when this is dropped.
    pub struct ThreadStorage(Pooled<ThreadPool>);

    impl AsRef<[u8]> for ThreadStorage {
        fn as_ref(&self) -> &[u8] {
            &self.0.bytes
        }
    }

    impl AsMut<[u8]> for ThreadStorage {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0.bytes
        }
    }
}

struct Pooled<S: Shelved> {
    bytes: Vec<u8>,
    home: S,
}

impl<S: Shelved> Pooled<S> {
    fn take(home: S, len: usize) -> Self {
        let len = rounded_len(len);
        let bytes = home.with_shelf(|shelf| shelf.take(len)).flatten();
        Self {
            bytes: bytes.unwrap_or_else(|| vec![0; len]),
            home,
        }
    }
}

impl<S: Shelved> Drop for Pooled<S> {
    fn drop(&mut self) {
        let bytes = core::mem::take(&mut self.bytes);
        self.home.with_shelf(|shelf| shelf.put(bytes));
    }
}

/// The buffers of a pool, by size: class 0 holds those of [`MIN_BUFFER_LEN`], each next one twice as
/// long.
#[derive(Debug, Default)]
struct Shelf {
    classes: [Vec<Vec<u8>>; SIZE_CLASSES],
    limits: RetentionLimits,
    retained_buffers: usize,
    retained_bytes: usize,
}

impl Shelf {
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.classes.get_mut(size_class(len)?)?.pop()?;
        self.retained_buffers -= 1;
        self.retained_bytes -= bytes.len();
        Some(bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) {
        let Some(class) = size_class(bytes.len()).and_then(|class| self.classes.get_mut(class))
        else {
            return;
        };
        if self.retained_buffers >= self.limits.buffers
            || self.retained_bytes + bytes.len() > self.limits.bytes
        {
            return;
        }
        self.retained_buffers += 1;
        self.retained_bytes += bytes.len();
        class.push(bytes);
    }
}

// Buffers a pool can keep come in powers of two, so that any of a class serves; longer ones are cut to
// measure.
fn rounded_len(len: usize) -> usize {
    if len > MAX_RETAINED_BUFFER_LEN {
        len
    } else {
        len.next_power_of_two().max(MIN_BUFFER_LEN)
    }
}

fn size_class(len: usize) -> Option<usize> {
    let fits = len.is_power_of_two() && (MIN_BUFFER_LEN..=MAX_RETAINED_BUFFER_LEN).contains(&len);
    fits.then(|| (len / MIN_BUFFER_LEN).ilog2() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_is_used_again() {
        let pool = LocalPool::default();
        let mut storage = pool.take(5_000);
        assert_eq!(storage.as_ref().len(), 8_192);
        storage.as_mut().fill(7);
        drop(storage);
        assert_eq!((pool.retained_buffers(), pool.retained_bytes()), (1, 8_192));
        assert_eq!(pool.take(4_000).as_ref(), [0; 4_096]);
        assert_eq!(
            pool.take(8_192).as_ref(),
            [7; 8_192],
            "the same memory, not cleared"
        );
    }

    #[test]
    fn what_is_kept_is_bounded_by_number_and_by_bytes() {
        let by_number = LocalPool::new(RetentionLimits {
            buffers: 3,
            bytes: usize::MAX,
        });
        let by_bytes = LocalPool::new(RetentionLimits {
            buffers: usize::MAX,
            bytes: 20_000,
        });
        for pool in [&by_number, &by_bytes] {
            let taken: Vec<_> = (0..10).map(|_| pool.take(8_000)).collect();
            assert_eq!(pool.retained_bytes(), 0);
            drop(taken);
        }
        assert_eq!(by_number.retained_buffers(), 3);
        assert_eq!(by_bytes.retained_bytes(), 16_384);
    }

    #[test]
    fn long_buffers_are_cut_to_measure_and_not_kept() {
        let pool = LocalPool::default();
        let storage = pool.take(MAX_RETAINED_BUFFER_LEN + 1);
        assert_eq!(storage.as_ref().len(), MAX_RETAINED_BUFFER_LEN + 1);
        drop(storage);
        assert_eq!(pool.retained_bytes(), 0);
        drop(pool.take(MAX_RETAINED_BUFFER_LEN));
        assert_eq!(pool.retained_bytes(), MAX_RETAINED_BUFFER_LEN);
    }

    #[cfg(feature = "std")]
    #[test]
    fn the_thread_pool_keeps_memory_on_its_thread() {
        let mut storage = ThreadPool.take(1);
        storage.as_mut().fill(9);
        drop(storage);
        assert_eq!(ThreadPool.take(1).as_ref(), [9; MIN_BUFFER_LEN]);
        std::thread::spawn(|| assert_eq!(ThreadPool.take(1).as_ref(), [0; MIN_BUFFER_LEN]))
            .join()
            .unwrap();
    }
}
