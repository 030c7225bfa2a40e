//! A queue of bytes on pooled memory.

use alloc::vec::Vec;

use crate::pool::{BufferPool, DefaultPool, OutOfMemory};

/// Something bytes can be appended to without passing them through a buffer in between.
pub trait Append {
    /// Number of bytes it holds.
    fn len(&self) -> usize;

    /// Whether it holds no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `len` bytes of unspecified contents at the end and gives them to be overwritten.
    fn append(&mut self, len: usize) -> &mut [u8];

    /// Takes back everything after the first `len` bytes.
    fn truncate(&mut self, len: usize);
}

impl Append for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn append(&mut self, len: usize) -> &mut [u8] {
        let start = self.len();
        self.resize(start + len, 0);
        &mut self[start..]
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// A queue of bytes: filled at the end, consumed at the front, without memory while it is empty.
///
/// Its memory comes from a pool with the first bytes and goes back with [`Buffer::release`] or on
/// drop. It grows without limit: whoever fills it bounds it.
pub struct Buffer<P: BufferPool = DefaultPool> {
    pool: P,
    storage: Option<P::Storage>,
    start: usize,
    end: usize,
}

impl<P: BufferPool> Buffer<P> {
    /// An empty queue that will take its memory from `pool`.
    pub const fn new(pool: P) -> Self {
        Self {
            pool,
            storage: None,
            start: 0,
            end: 0,
        }
    }

    /// Number of bytes waiting to be consumed.
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether no byte waits to be consumed.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory it holds; 0 when released.
    pub fn capacity(&self) -> usize {
        self.storage
            .as_ref()
            .map_or(0, |storage| storage.as_ref().len())
    }

    /// The bytes waiting to be consumed.
    pub fn filled(&self) -> &[u8] {
        self.storage
            .as_ref()
            .map_or(&[], |storage| &storage.as_ref()[self.start..self.end])
    }

    /// The bytes waiting to be consumed, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Some(storage) => &mut storage.as_mut()[self.start..self.end],
            None => &mut [],
        }
    }

    /// The memory behind the filled bytes, of unspecified contents: write here, then
    /// [`Buffer::advance`].
    pub fn spare_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Some(storage) => &mut storage.as_mut()[self.end..],
            None => &mut [],
        }
    }

    /// Adds the first `len` bytes of [`Buffer::spare_mut`] to the filled ones; at most all of them.
    pub fn advance(&mut self, len: usize) {
        self.end += len.min(self.capacity() - self.end);
    }

    /// Drops the first `len` filled bytes; at most all of them.
    pub const fn consume(&mut self, len: usize) {
        if len < self.len() {
            self.start += len;
        } else {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes [`Buffer::spare_mut`] at least `len` bytes long, by moving the filled bytes to the front
    /// where that is enough, otherwise into longer memory.
    pub fn reserve(&mut self, len: usize) {
        if !self.make_room(len) {
            let longer = self.pool.take(self.len().saturating_add(len));
            self.move_to(longer);
        }
    }

    /// As [`Buffer::reserve`], with memory that the pool may refuse.
    ///
    /// # Errors
    /// [`OutOfMemory`]; what is filled stays.
    pub fn try_reserve(&mut self, len: usize) -> Result<(), OutOfMemory> {
        if !self.make_room(len) {
            let longer = self.pool.try_take(self.len().saturating_add(len))?;
            self.move_to(longer);
        }
        Ok(())
    }

    // Makes room in the memory that is there; false when that is not enough.
    fn make_room(&mut self, len: usize) -> bool {
        let capacity = self.capacity();
        if capacity - self.end >= len {
            return true;
        }
        let filled = self.len();
        match &mut self.storage {
            Some(storage) if capacity - filled >= len => {
                storage.as_mut().copy_within(self.start..self.end, 0);
                self.start = 0;
                self.end = filled;
                true
            }
            _ => false,
        }
    }

    fn move_to(&mut self, mut longer: P::Storage) {
        let filled = self.len();
        longer.as_mut()[..filled].copy_from_slice(self.filled());
        self.storage = Some(longer);
        self.start = 0;
        self.end = filled;
    }

    /// Gives the memory back to the pool if no byte waits to be consumed.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.storage = None;
            self.start = 0;
            self.end = 0;
        }
    }
}

impl<P: BufferPool> core::fmt::Debug for Buffer<P> {
    /// Lengths only: the bytes may be secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<P: BufferPool + Default> Default for Buffer<P> {
    fn default() -> Self {
        Self::new(P::default())
    }
}

impl<P: BufferPool> Append for Buffer<P> {
    fn len(&self) -> usize {
        self.len()
    }

    fn append(&mut self, len: usize) -> &mut [u8] {
        // Twice as much as there is, so that many small frames cost few moves.
        if self.capacity() - self.end < len {
            self.reserve(len.max(self.len()));
        }
        let start = self.end;
        self.advance(len);
        match &mut self.storage {
            Some(storage) => &mut storage.as_mut()[start..self.end],
            None => &mut [],
        }
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.end = self.start + len;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::{LocalPool, SlabPool, SlabShape};

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<u8>),
        Fill { room: usize, bytes: Vec<u8> },
        Consume(usize),
        Truncate(usize),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..9_000);
        prop_oneof![
            bytes().prop_map(Step::Append),
            (0..9_000usize, bytes()).prop_map(|(room, bytes)| Step::Fill { room, bytes }),
            (0..20_000usize).prop_map(Step::Consume),
            (0..20_000usize).prop_map(Step::Truncate),
            Just(Step::Release),
        ]
    }

    fn check(pool: impl BufferPool, steps: &[Step]) {
        let mut buffer = Buffer::new(pool);
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Step::Append(bytes) => {
                    buffer.append(bytes.len()).copy_from_slice(bytes);
                    model.extend(bytes);
                }
                Step::Fill { room, bytes } => {
                    buffer.reserve(*room);
                    let spare = buffer.spare_mut();
                    assert!(spare.len() >= *room);
                    let len = bytes.len().min(spare.len());
                    spare[..len].copy_from_slice(&bytes[..len]);
                    buffer.advance(len);
                    model.extend(&bytes[..len]);
                }
                Step::Consume(len) => {
                    buffer.consume(*len);
                    model.drain(..(*len).min(model.len()));
                }
                Step::Truncate(len) => {
                    buffer.truncate(*len);
                    model.truncate(*len);
                }
                Step::Release => {
                    buffer.release();
                    assert!(!model.is_empty() || buffer.capacity() == 0);
                }
            }
            assert_eq!(buffer.filled(), model.make_contiguous());
            assert_eq!(buffer.filled_mut(), model.make_contiguous());
            assert_eq!(buffer.is_empty(), model.is_empty());
        }
    }

    proptest! {
        #[test]
        fn it_is_a_queue_on_any_pool(steps in prop::collection::vec(step(), 0..40)) {
            check(LocalPool::default(), &steps);
            // Two slots of which a queue that grows needs both, and outgrows them.
            let slab = SlabPool::new(SlabShape { slots: 2, slot_len: 10_000 }).unwrap();
            check(slab.clone(), &steps);
            assert_eq!(slab.usage().in_use, 0);
        }
    }

    #[test]
    fn memory_that_is_refused_leaves_what_is_filled() {
        let mut buffer = Buffer::new(crate::SystemPool);
        buffer.append(3).copy_from_slice(b"abc");
        assert_eq!(buffer.try_reserve(isize::MAX as usize), Err(OutOfMemory));
        assert_eq!(buffer.filled(), b"abc");
        assert_eq!(buffer.try_reserve(100_000), Ok(()));
        assert!(buffer.spare_mut().len() >= 100_000);
        assert_eq!(buffer.filled(), b"abc");
    }

    #[test]
    fn advancing_too_far_stops_at_the_end() {
        let mut buffer = Buffer::<LocalPool>::default();
        buffer.advance(5);
        assert_eq!(buffer.len(), 0);
        buffer.reserve(1);
        buffer.advance(usize::MAX);
        assert_eq!(buffer.len(), buffer.capacity());
    }
}
