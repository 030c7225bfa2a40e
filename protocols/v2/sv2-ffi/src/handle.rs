//! Handles: what a caller holds of an object of the library.
//!
//! A handle looks like a pointer and is none. Its bits, from the lowest: 1, always set; kind, 4; slot, 8; generation, the rest. The table
//! has one atomic word per slot with kind and generation in the same places and the slot's state in place of the others. Whoever moves the
//! word from ready to busy owns the object until it moves it back, so two calls on one handle never meet.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::memory;
use crate::result::{
    Fault, SV2_BUSY, SV2_FAILED, SV2_FREED, SV2_NULL, SV2_TOO_MANY_HANDLES, SV2_WRONG_HANDLE,
};

/// Handles that can be in use at once, of all kinds together. One more gives `SV2_TOO_MANY_HANDLES`.
pub const SV2_MAX_HANDLES: usize = 256;

const KIND_SHIFT: u32 = 1;
const SLOT_SHIFT: u32 = 5;
const GENERATION_SHIFT: u32 = 13;
const KIND_MASK: usize = 0xf << KIND_SHIFT;
const SLOT_MASK: usize = (SV2_MAX_HANDLES - 1) << SLOT_SHIFT;
const GENERATION_MASK: usize = !0 << GENERATION_SHIFT;
const ONE_GENERATION: usize = 1 << GENERATION_SHIFT;
const IS_HANDLE: usize = 1;

// States of a slot, in the bits that hold the slot's number in a handle.
const STATE_MASK: usize = SLOT_MASK;
const EMPTY: usize = 0;
const READY: usize = 1 << SLOT_SHIFT;
const BUSY: usize = 2 << SLOT_SHIFT;
const BROKEN: usize = 3 << SLOT_SHIFT;

/// The kinds of handles; a number is never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    /// `sv2_decoder`.
    Decoder = 1,
    /// `sv2_miner`.
    #[cfg(feature = "miner")]
    #[allow(
        dead_code,
        reason = "the tests of this module have objects of their own"
    )]
    Miner = 2,
    #[cfg(test)]
    Test = 15,
}

/// An object that callers hold by a handle. It may be used on any thread, by one at a time.
pub(crate) trait Object: Send + Sized {
    /// The kind of its handles: one for each type, or objects would be taken for what they are not.
    const KIND: Kind;
}

struct Slot {
    word: AtomicUsize,
    object: UnsafeCell<*mut ()>,
}

// SAFETY: `object` is touched only by whoever moved `word` to `BUSY`, until it moves it on; both moves order memory.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; SV2_MAX_HANDLES] = [const {
    Slot {
        word: AtomicUsize::new(EMPTY),
        object: UnsafeCell::new(core::ptr::null_mut()),
    }
}; SV2_MAX_HANDLES];

/// Where the search for an empty slot begins: slots are used in turn, so that a freed handle stays known for long.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Puts an object into the table and gives its handle.
pub(crate) fn create<T: Object>(object: T) -> Result<*mut T, Fault> {
    let object = memory::boxed(object)?;
    let start = NEXT.fetch_add(1, Ordering::Relaxed);
    let slots = (0..SV2_MAX_HANDLES).map(|step| start.wrapping_add(step) % SV2_MAX_HANDLES);
    for (index, slot) in slots.filter_map(|index| Some((index, SLOTS.get(index)?))) {
        let word = slot.word.load(Ordering::Relaxed);
        let generation = word & GENERATION_MASK;
        let kind = (T::KIND as usize) << KIND_SHIFT;
        let is_taken = word & STATE_MASK != EMPTY
            || slot
                .word
                .compare_exchange(
                    word,
                    generation | kind | BUSY,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_err();
        if is_taken {
            continue;
        }
        // SAFETY: this call moved the word to `BUSY`.
        unsafe { *slot.object.get() = Box::into_raw(object).cast() };
        slot.word
            .store(generation | kind | READY, Ordering::Release);
        let handle = generation | index << SLOT_SHIFT | kind | IS_HANDLE;
        return Ok(core::ptr::without_provenance_mut(handle));
    }
    Err(Fault(SV2_TOO_MANY_HANDLES))
}

/// The object behind a handle, for one call.
pub(crate) fn borrow<T: Object>(handle: *mut T) -> Result<Borrowed<T>, Fault> {
    let slot = find(handle)?;
    let word = take(slot, handle, false)?;
    // SAFETY: `take` moved the word to `BUSY`, and found that the object was put there for this kind.
    let object = unsafe { *slot.object.get() };
    let object = NonNull::new(object.cast()).ok_or(Fault(SV2_WRONG_HANDLE))?;
    Ok(Borrowed {
        object,
        slot,
        back_to: word,
    })
}

/// Drops the object behind a handle; the handle is unknown from then on.
pub(crate) fn free<T: Object>(handle: *mut T) -> Result<(), Fault> {
    let slot = find(handle)?;
    let word = take(slot, handle, true)?;
    // SAFETY: as in `borrow`; the word leaves `BUSY` with a new generation only, so the object is taken out once.
    let object = unsafe {
        let object = (*slot.object.get()).cast::<T>();
        *slot.object.get() = core::ptr::null_mut();
        Box::from_raw(object)
    };
    let next = (word & GENERATION_MASK).wrapping_add(ONE_GENERATION);
    slot.word.store(next | EMPTY, Ordering::Release);
    drop(object);
    Ok(())
}

/// Number of handles in use.
pub(crate) fn count() -> usize {
    let in_use = |slot: &&Slot| slot.word.load(Ordering::Relaxed) & STATE_MASK != EMPTY;
    SLOTS.iter().filter(in_use).count()
}

fn find<T: Object>(handle: *mut T) -> Result<&'static Slot, Fault> {
    let bits = handle.addr();
    if bits == 0 {
        return Err(Fault(SV2_NULL));
    }
    if bits & IS_HANDLE == 0 || bits & KIND_MASK != (T::KIND as usize) << KIND_SHIFT {
        return Err(Fault(SV2_WRONG_HANDLE));
    }
    let index = (bits & SLOT_MASK) >> SLOT_SHIFT;
    SLOTS.get(index).ok_or(Fault(SV2_WRONG_HANDLE))
}

/// Moves the handle's slot from ready (or broken, where `even_broken`) to busy, and gives the word it had.
fn take<T: Object>(slot: &Slot, handle: *mut T, even_broken: bool) -> Result<usize, Fault> {
    let bits = handle.addr();
    let word = slot.word.load(Ordering::Relaxed);
    if word & STATE_MASK == EMPTY || word & GENERATION_MASK != bits & GENERATION_MASK {
        return Err(Fault(SV2_FREED));
    }
    if word & KIND_MASK != bits & KIND_MASK {
        return Err(Fault(SV2_WRONG_HANDLE));
    }
    match word & STATE_MASK {
        BUSY => return Err(Fault(SV2_BUSY)),
        BROKEN if !even_broken => return Err(Fault(SV2_FAILED)),
        _ => (),
    }
    let busy = word & !STATE_MASK | BUSY;
    match slot
        .word
        .compare_exchange(word, busy, Ordering::Acquire, Ordering::Relaxed)
    {
        Ok(_) => Ok(word),
        // Somebody else was faster, with a call or with freeing it: a race either way.
        Err(_) => Err(Fault(SV2_BUSY)),
    }
}

/// An object that belongs to one call, until this is dropped.
///
/// Dropped while panicking, it leaves the handle broken: such a handle can only be freed.
pub(crate) struct Borrowed<T: Object> {
    object: NonNull<T>,
    slot: &'static Slot,
    back_to: usize,
}

impl<T: Object> Deref for Borrowed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the object lives until its slot leaves `BUSY`, and until then this is the only way to it.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Object> DerefMut for Borrowed<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`; `&mut self` keeps it the only reference.
        unsafe { self.object.as_mut() }
    }
}

impl<T: Object> Drop for Borrowed<T> {
    fn drop(&mut self) {
        #[cfg(feature = "std")]
        if std::thread::panicking() {
            self.back_to = self.back_to & !STATE_MASK | BROKEN;
        }
        self.slot.word.store(self.back_to, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "handles must hold against the caller's threads"
)]
mod tests {
    use std::sync::{Mutex, MutexGuard};
    use std::vec::Vec;

    use super::*;
    use crate::boundary::boundary;
    use crate::decoder::sv2_decoder;
    use crate::result::{SV2_OK, SV2_PANIC, sv2_result};

    #[derive(Debug)]
    struct Counter(u32);

    impl Object for Counter {
        const KIND: Kind = Kind::Test;
    }

    /// The table is one for the process: tests that count its slots take turns.
    fn alone() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn fault<T>(result: Result<T, Fault>) -> sv2_result {
        result.map_or_else(|Fault(result)| result, |_| SV2_OK)
    }

    #[test]
    fn a_handle_leads_to_its_object_until_it_is_freed() {
        let _turn = alone();
        let handle = create(Counter(7)).unwrap();
        borrow(handle).unwrap().0 += 1;
        assert_eq!(borrow(handle).unwrap().0, 8);
        assert_eq!(fault(free(handle)), SV2_OK);
        assert_eq!(fault(borrow(handle)), SV2_FREED);
        assert_eq!(fault(free(handle)), SV2_FREED);
    }

    #[test]
    fn what_is_no_handle_of_this_kind_is_found_out() {
        let _turn = alone();
        let handle = create(Counter(0)).unwrap();
        assert_eq!(
            fault(borrow(handle.cast::<sv2_decoder>())),
            SV2_WRONG_HANDLE
        );
        assert_eq!(fault(borrow(core::ptr::null_mut::<Counter>())), SV2_NULL);
        let mut object = Counter(0);
        assert_eq!(fault(borrow(&raw mut object)), SV2_WRONG_HANDLE);
        assert_eq!(fault(free(&raw mut object)), SV2_WRONG_HANDLE);
        free(handle).unwrap();
    }

    #[test]
    fn a_handle_in_use_is_busy_for_everyone_else() {
        let _turn = alone();
        let handle = create(Counter(0)).unwrap();
        let bits = handle.addr();
        let borrowed = borrow(handle).unwrap();
        let elsewhere = move || {
            let handle = core::ptr::without_provenance_mut::<Counter>(bits);
            (fault(borrow(handle)), fault(free(handle)))
        };
        assert_eq!(
            std::thread::spawn(elsewhere).join().unwrap(),
            (SV2_BUSY, SV2_BUSY)
        );
        drop(borrowed);
        assert_eq!(fault(free(handle)), SV2_OK);
    }

    #[test]
    fn many_threads_never_meet_in_one_object() {
        let _turn = alone();
        let handle = create(Counter(0)).unwrap();
        let bits = handle.addr();
        let count = move || {
            let handle = core::ptr::without_provenance_mut::<Counter>(bits);
            let add = |_: &u32| match borrow(handle) {
                Ok(mut counter) => {
                    counter.0 += 1;
                    true
                }
                Err(fault) => {
                    assert_eq!(fault, Fault(SV2_BUSY));
                    false
                }
            };
            (0..20_000).filter(add).count()
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(count)).collect();
        let added: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(borrow(handle).unwrap().0 as usize, added);
        free(handle).unwrap();
    }

    #[test]
    fn a_panic_breaks_the_handle_and_only_freeing_is_left() {
        let _turn = alone();
        let handle = create(Counter(0)).unwrap();
        let result = boundary(|| {
            let _counter = borrow(handle)?;
            panic!("a test's own panic")
        });
        assert_eq!(result, SV2_PANIC);
        assert_eq!(fault(borrow(handle)), SV2_FAILED);
        assert_eq!(fault(free(handle)), SV2_OK);
        assert_eq!(fault(free(handle)), SV2_FREED);
    }

    #[test]
    fn the_table_has_a_limit_and_every_slot_comes_back() {
        let _turn = alone();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let before = count();
            let handles: Vec<_> = (before..SV2_MAX_HANDLES)
                .map(|_| create(Counter(0)).unwrap())
                .collect();
            assert_eq!(fault(create(Counter(0))), SV2_TOO_MANY_HANDLES);
            for handle in handles {
                assert!(seen.insert(handle), "a handle came twice");
                free(handle).unwrap();
            }
            assert_eq!(count(), before);
        }
    }

    #[test]
    fn detection_ends_where_generations_repeat() {
        let _turn = alone();
        let handle = create(Counter(1)).unwrap();
        let slot = find(handle).unwrap();
        free(handle).unwrap();
        // All but the last of the generations pass.
        slot.word.store(
            (handle.addr() & GENERATION_MASK).wrapping_sub(ONE_GENERATION),
            Ordering::Release,
        );
        assert_eq!(fault(borrow(handle)), SV2_FREED);
        slot.word
            .store(handle.addr() & GENERATION_MASK, Ordering::Release);
        assert_eq!(
            fault(borrow(handle)),
            SV2_FREED,
            "an empty slot is never a handle's"
        );
    }
}
