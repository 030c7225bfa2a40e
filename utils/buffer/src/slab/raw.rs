//! The unsafe core: one block of memory in equal slots, a bit for each slot that is free, one counter of owners.
//!
//! All of the pool's unsafe code is here, and stands on three invariants:
//!
//! 1. **Life.** [`Slab::owners`] is [`HANDLE`] times the [`Handle`]s plus the [`Slot`]s that exist, and does not
//!    wrap. Whoever brings it to 0 was the last owner and frees the slab; nobody else does.
//! 2. **Exclusion.** A bit that is set in [`Slab::words`] stands for a slot of which no [`Slot`] exists. A bit is
//!    cleared and set by atomic operations that tell its former value, so of all who want a slot one sees it
//!    set and gets the only [`Slot`] of it. Only the drop of that [`Slot`] sets it again.
//! 3. **Memory.** [`Slab::memory`] is one allocation of [`slab_layout`], zeroed when it was made: slot `i` is the
//!    `slot_len` bytes from `i * slot_len`, no two overlap, and none is ever uninitialised.
//!
//! A bitmap and not a list of free slots: it has no links that could be read from a slot that was taken in the
//! meantime (the ABA problem), and returning is one instruction in whatever order slots come back.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::ptr::NonNull;

use super::sync::{AtomicUsize, Ordering, alloc_zeroed, dealloc, fence};

/// Bytes that slots are aligned to: a cache line, so that neighbours in use by two threads share none.
pub(super) const SLOT_ALIGN: usize = 64;

/// Slots of one word of the bitmap; few for loom, so that small pools have several words.
pub(super) const WORD_BITS: usize = if cfg!(loom) { 2 } else { usize::BITS as usize };

/// Share of a [`Slot`] in the counter of owners.
const SLOT: usize = 1;

/// Share of a [`Handle`]. Above all slots, so that the counter tells how many of these are out.
const HANDLE: usize = 1 << 13;

/// More [`Handle`]s than this panic: half of what the counter holds.
pub(super) const MAX_HANDLES: usize = usize::MAX / 2 / HANDLE;

/// What is left in a slot that was returned, with feature `debug`.
const POISON: u8 = 0xDB;

const _: () = assert!(super::MAX_SLOTS < HANDLE && super::MAX_SLAB_LEN <= u32::MAX as usize);

/// A word of the bitmap, on cache lines of its own: processors fetch them in pairs.
#[repr(align(128))]
struct Word(AtomicUsize);

pub(super) struct Slab {
    owners: AtomicUsize,
    /// Most slots that were out at once.
    peak: AtomicUsize,
    /// Where the next handle starts to look for a slot.
    next_word: AtomicUsize,
    words: Box<[Word]>,
    memory: NonNull<u8>,
    slots: usize,
    slot_len: usize,
    /// How often the system's allocator stepped in because no free slot was found.
    pub(super) full: AtomicUsize,
    /// The same because a slot is too short.
    pub(super) too_long: AtomicUsize,
    /// Tells loom of each access to a slot, which then checks that no two can meet.
    #[cfg(loom)]
    accesses: Box<[loom::cell::UnsafeCell<()>]>,
}

/// Memory of `slots` slots; the caller has checked both against the limits, so their product is small.
fn slab_layout(slots: usize, slot_len: usize) -> Layout {
    Layout::from_size_align(slots * slot_len, SLOT_ALIGN).expect("bounded by MAX_SLAB_LEN")
}

/// The bits of word `index` when all slots are free.
const fn full_word(index: usize, slots: usize) -> usize {
    let left = slots - index * WORD_BITS;
    let bits = if left < WORD_BITS { left } else { WORD_BITS };
    usize::MAX >> (usize::BITS as usize - bits)
}

impl Slab {
    fn new(slots: usize, slot_len: usize) -> Self {
        let layout = slab_layout(slots, slot_len);
        assert!(layout.size() > 0, "a slab has a slot, and a slot a byte");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        if cfg!(feature = "debug") {
            // SAFETY: that many bytes were just allocated, and nobody else knows of them.
            unsafe { memory.write_bytes(POISON, layout.size()) };
        }
        Self {
            owners: AtomicUsize::new(HANDLE),
            peak: AtomicUsize::new(0),
            next_word: AtomicUsize::new(1),
            words: (0..slots.div_ceil(WORD_BITS))
                .map(|index| Word(AtomicUsize::new(full_word(index, slots))))
                .collect(),
            memory,
            slots,
            slot_len,
            full: AtomicUsize::new(0),
            too_long: AtomicUsize::new(0),
            #[cfg(loom)]
            accesses: (0..slots)
                .map(|_| loom::cell::UnsafeCell::new(()))
                .collect(),
        }
    }

    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    pub(super) const fn slot_len(&self) -> usize {
        self.slot_len
    }

    pub(super) fn in_use(&self) -> usize {
        self.slots_out(self.owners.load(Ordering::Relaxed))
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Slots out according to a value of the counter. While one thread is between the two steps of a return
    /// another may have the slot already, which then counts twice.
    fn slots_out(&self, owners: usize) -> usize {
        (owners % HANDLE).min(self.slots)
    }

    /// Clears the bit of a free slot, looking from word `first` on, and gives the slot's index.
    ///
    /// Lock-free: a thread only goes round again when another has taken what it saw.
    fn claim(&self, first: usize) -> Option<usize> {
        let (before, from_first) = self.words.split_at(first % self.words.len());
        let in_order = (first % self.words.len()..).zip(from_first);
        in_order
            .chain((0..).zip(before))
            .find_map(|(index, word)| Some(index * WORD_BITS + word.claim()?))
    }

    /// Sets the bit of a slot. Acts for the [`Slot`] of that index, whose last access this is.
    fn unclaim(&self, index: usize) {
        let bit = 1 << (index % WORD_BITS);
        // Release: what the holder did to the slot has happened before the next one acquires it.
        let before = self.words[index / WORD_BITS]
            .0
            .fetch_or(bit, Ordering::Release);
        if cfg!(feature = "debug") {
            assert_eq!(before & bit, 0, "slot {index} was returned twice");
        }
    }
}

impl Word {
    /// Clears a bit that is set and gives its position.
    fn claim(&self) -> Option<usize> {
        let mut free = self.0.load(Ordering::Relaxed);
        while free != 0 {
            let position = free.trailing_zeros();
            let bit = 1 << position;
            // Acquire: pairs with the release of the slot's last holder, and with those before it.
            let before = self.0.fetch_and(!bit, Ordering::Acquire);
            if before & bit != 0 {
                return Some(position as usize);
            }
            free = before;
        }
        None
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if cfg!(feature = "debug") {
            for (index, word) in self.words.iter().enumerate() {
                let free = word.0.load(Ordering::Relaxed);
                assert_eq!(
                    free,
                    full_word(index, self.slots),
                    "a slot outlives the slab"
                );
            }
        }
        // To free is to write: whoever used a slot must have done so before.
        #[cfg(loom)]
        for access in &self.accesses {
            access.with_mut(|_| ());
        }
        // SAFETY: allocated in `new` with the same layout, and dropped once. By the invariant of life no
        // `Slot` exists any more, and nothing else points into the memory.
        unsafe {
            dealloc(self.memory.as_ptr(), slab_layout(self.slots, self.slot_len));
        }
    }
}

/// Ends the part that an owner has in the slab, and the slab with the last of them.
///
/// # Safety
/// The caller is an owner whose share in [`Slab::owners`] is `share`, and touches neither `slab` nor a slot
/// afterwards.
unsafe fn disown(slab: NonNull<Slab>, share: usize) {
    // SAFETY: the caller is an owner until the subtraction, so the slab lives that long. Another thread may free
    // it right after; the reference is to an atomic only, which permits that.
    let owners = unsafe { &(*slab.as_ptr()).owners };
    // Release: what this owner did happens before the last one frees.
    if owners.fetch_sub(share, Ordering::Release) != share {
        return;
    }
    // Acquire: pairs with the releases of all owners before.
    fence(Ordering::Acquire);
    // SAFETY: the counter has come to 0, so there is no other owner and, as only owners make owners, never will
    // be. The pointer came from a box in `Handle::new`.
    drop(unsafe { Box::from_raw(slab.as_ptr()) });
}

/// An owner of the slab that takes slots from it.
pub(super) struct Handle {
    slab: NonNull<Slab>,
    /// Where it looks first: handles start at different words, so that threads seldom meet at one.
    first_word: usize,
}

// SAFETY: what a handle reaches is atomic, or written before the handle was made and freed by the last owner,
// after all that others did. The slots' bytes are reached through `Slot` only.
unsafe impl Send for Handle {}
// SAFETY: as above; all methods take `&self` and change atomics only.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) fn new(slots: usize, slot_len: usize) -> Self {
        Self {
            slab: NonNull::from(Box::leak(Box::new(Slab::new(slots, slot_len)))),
            first_word: 0,
        }
    }

    pub(super) fn slab(&self) -> &Slab {
        // SAFETY: this handle is an owner, so the slab lives; nobody has it `&mut` before the last owner ends.
        unsafe { self.slab.as_ref() }
    }

    /// The only [`Slot`] of a slot that was free; `None` when none is.
    pub(super) fn take(&self) -> Option<Slot> {
        let slab = self.slab();
        let index = slab.claim(self.first_word)?;
        // Relaxed: this handle keeps the slab alive meanwhile.
        let owners = slab.owners.fetch_add(SLOT, Ordering::Relaxed) + SLOT;
        let out = slab.slots_out(owners);
        // Seldom true, so that the line is seldom written.
        if out > slab.peak.load(Ordering::Relaxed) {
            slab.peak.fetch_max(out, Ordering::Relaxed);
        }
        let slot = Slot {
            slab: self.slab,
            // SAFETY: `index` is below `slots`, so the offset stays within the allocation.
            start: unsafe { slab.memory.add(index * slab.slot_len) },
            index: index as u32,
            len: slab.slot_len as u32,
        };
        if cfg!(feature = "debug") {
            let intact = slot.as_ref().iter().all(|byte| *byte == POISON);
            assert!(intact, "slot {index} was written after it was returned");
        }
        Some(slot)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        let slab = self.slab();
        // Relaxed: this handle keeps the slab alive, and whoever gets the new one gets it from here.
        let before = slab.owners.fetch_add(HANDLE, Ordering::Relaxed);
        if before / HANDLE >= MAX_HANDLES {
            // Nobody owns this share, and it is not the last: `self` still has its own.
            slab.owners.fetch_sub(HANDLE, Ordering::Relaxed);
            panic!("more than {MAX_HANDLES} handles of one pool");
        }
        Self {
            slab: self.slab,
            first_word: slab.next_word.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: this handle is an owner with this share, and ends here.
        unsafe { disown(self.slab, HANDLE) }
    }
}

/// A slot that is out: the only way to its bytes.
pub(super) struct Slot {
    slab: NonNull<Slab>,
    start: NonNull<u8>,
    index: u32,
    len: u32,
}

// SAFETY: a slot is the only way to its bytes, and what else it reaches is atomic, as for `Handle`.
unsafe impl Send for Slot {}
// SAFETY: a shared slot only gives shared bytes.
unsafe impl Sync for Slot {}

impl Slot {
    fn slab(&self) -> &Slab {
        // SAFETY: this slot is an owner, so the slab lives; nobody has it `&mut` before the last owner ends.
        unsafe { self.slab.as_ref() }
    }

    #[cfg(any(test, feature = "debug"))]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        #[cfg(loom)]
        self.slab().accesses[self.index as usize].with(|_| ());
        // SAFETY: `len` initialised bytes of the slab's memory, which lives as long as this owner. This is the only
        // `Slot` of them, and borrowed: nobody writes meanwhile.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        #[cfg(loom)]
        self.slab().accesses[self.index as usize].with_mut(|_| ());
        // SAFETY: as in `as_ref`, and borrowed mutably: nobody else reads or writes meanwhile.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if cfg!(feature = "debug") {
            self.as_mut().fill(POISON);
        }
        self.slab().unclaim(self.index as usize);
        // SAFETY: this slot is an owner with this share, and ends here; its bytes may be another's already.
        unsafe { disown(self.slab, SLOT) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn each_slot_is_handed_out_once() {
        for slots in [1, 2, WORD_BITS - 1, WORD_BITS, WORD_BITS + 1, 3 * WORD_BITS] {
            let handle = Handle::new(slots, SLOT_ALIGN);
            let other = handle.clone();
            let taken: Vec<_> = (0..slots).map(|_| other.take().unwrap()).collect();
            assert!(handle.take().is_none() && other.take().is_none());
            let mut indices: Vec<_> = taken.iter().map(Slot::index).collect();
            indices.sort_unstable();
            assert!(indices.into_iter().eq(0..slots as u32));
            for slot in &taken {
                assert_eq!(slot.start.as_ptr().align_offset(SLOT_ALIGN), 0);
            }
            assert_eq!(
                (handle.slab().in_use(), handle.slab().peak()),
                (slots, slots)
            );
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn handles_are_limited() {
        let handle = Handle::new(1, SLOT_ALIGN);
        let slot = handle.take().unwrap();
        let there = MAX_HANDLES - 1;
        handle
            .slab()
            .owners
            .fetch_add(there * HANDLE, Ordering::Relaxed);
        let refused = std::panic::catch_unwind(|| drop(handle.clone()));
        assert!(refused.is_err());
        handle
            .slab()
            .owners
            .fetch_sub(there * HANDLE, Ordering::Relaxed);
        assert_eq!(handle.slab().owners.load(Ordering::Relaxed), HANDLE + SLOT);
        drop((handle.clone(), handle, slot));
    }

    #[cfg(feature = "debug")]
    #[test]
    #[should_panic = "written after it was returned"]
    fn a_write_after_the_return_is_noticed() {
        let handle = Handle::new(1, SLOT_ALIGN);
        let start = handle.take().unwrap().start;
        // SAFETY: the handle keeps the memory alive, and no slot is out.
        unsafe { start.write(1) };
        handle.take();
    }

    #[cfg(feature = "debug")]
    #[test]
    #[should_panic = "returned twice"]
    fn a_second_return_is_noticed() {
        let handle = Handle::new(1, SLOT_ALIGN);
        handle.slab().unclaim(0);
    }
}
