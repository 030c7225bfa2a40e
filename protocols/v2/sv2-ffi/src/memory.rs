//! Where memory comes from, and what happens when there is none.
//!
//! Rust's collections end the process when the allocator refuses. So whatever a caller or a peer can make the library allocate is asked
//! for in ways that can be refused: [`boxed`], `try_reserve`, `try_writable`. What calls code that cannot be refused, the miner's
//! session with its maps and lists, runs `guarded`: the allocator then falls back on a reserve taken beforehand, the
//! call ends with `SV2_NO_MEMORY` instead of its result, and no such call begins again before the reserve is whole.

use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};

use crate::platform;
use crate::result::{Fault, SV2_NO_MEMORY};

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: memory comes from the platform's allocator or else from the reserve, each of which gives null or memory of the layout that
// nobody else holds; it goes back to where it came from, which its address tells.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        if tests::is_refused() {
            return reserve::take(layout);
        }
        // SAFETY: the caller's promise about `layout` is the one that is asked for.
        let memory = unsafe { platform::allocate(layout) };
        if memory.is_null() {
            return reserve::take(layout);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !reserve::give_back(memory) {
            // SAFETY: not from the reserve, so from the platform, with this layout.
            unsafe { platform::free(memory, layout) }
        }
    }
}

/// A value in memory of its own.
///
/// # Errors
/// `SV2_NO_MEMORY`.
pub(crate) fn boxed<T>(value: T) -> Result<Box<T>, Fault> {
    const {
        assert!(
            size_of::<T>() > 0,
            "an object without a size has no address"
        )
    }
    let layout = Layout::new::<T>();
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc::alloc::alloc(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(Fault(SV2_NO_MEMORY));
    }
    // SAFETY: memory of the layout of `T` from the global allocator, which is what a box is made of.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

#[cfg(feature = "miner")]
#[allow(
    unused_imports,
    reason = "for exports that call code which cannot be refused"
)]
pub(crate) use reserve::{RESERVE_LEN, guarded};

/// The emergency reserve: a block from which memory is handed out front to back, and which is whole again once all came back.
#[cfg(any(feature = "miner", test))]
mod reserve {
    use core::alloc::Layout;
    use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use crate::platform;
    use crate::result::{Fault, SV2_NO_MEMORY};

    /// Length of the reserve in bytes: more than one guarded call takes.
    pub(crate) const RESERVE_LEN: usize = 64 * 1024;

    const UNIT: usize = 16;
    const UNITS: usize = RESERVE_LEN / UNIT;
    const LAYOUT: Layout = match Layout::from_size_align(RESERVE_LEN, UNIT) {
        Ok(layout) => layout,
        Err(_) => panic!("the reserve is no layout"),
    };
    /// The word counts pieces handed out in its low half and units used in its high half.
    const HALF: u32 = usize::BITS / 2;
    const ONE_PIECE: usize = 1;
    const PIECES: usize = (1 << HALF) - 1;
    const _: () = assert!(UNITS <= PIECES, "the word's half is too narrow");

    static BLOCK: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
    static WORD: AtomicUsize = AtomicUsize::new(0);
    /// How often memory was taken from the reserve.
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    /// How many calls are guarded at the moment. The reserve is there for them only.
    static GUARDED: AtomicUsize = AtomicUsize::new(0);

    /// Runs code whose allocations cannot be refused.
    ///
    /// When memory runs out meanwhile the result is given up: what `body` made is dropped, and what it changed is changed half way,
    /// so break the handle.
    ///
    /// # Errors
    /// What `body` gives, or `SV2_NO_MEMORY`: without a whole reserve `body` does not even begin.
    #[allow(
        dead_code,
        reason = "whether there is a caller depends on the features"
    )]
    pub(crate) fn guarded<R>(body: impl FnOnce() -> Result<R, Fault>) -> Result<R, Fault> {
        ready()?;
        let before = TIMES.load(Ordering::Acquire);
        let open = Open::new();
        let result = body();
        drop(open);
        // With several threads another one's shortage ends this call too: memory is out for both.
        if TIMES.load(Ordering::Acquire) != before {
            return Err(Fault(SV2_NO_MEMORY));
        }
        result
    }

    /// The reserve is open while this lives, also through a panic.
    struct Open;

    impl Open {
        fn new() -> Self {
            GUARDED.fetch_add(1, Ordering::AcqRel);
            Self
        }
    }

    impl Drop for Open {
        fn drop(&mut self) {
            GUARDED.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Takes the reserve from the platform if it is not there, and checks that it is whole.
    fn ready() -> Result<(), Fault> {
        if BLOCK.load(Ordering::Acquire).is_null() {
            // SAFETY: the layout has a size.
            let block = unsafe { platform::allocate(LAYOUT) };
            if block.is_null() {
                return Err(Fault(SV2_NO_MEMORY));
            }
            let null = core::ptr::null_mut();
            let placed = BLOCK.compare_exchange(null, block, Ordering::AcqRel, Ordering::Acquire);
            if placed.is_err() {
                // SAFETY: another thread placed its block first; this one was allocated above and is known to nobody.
                unsafe { platform::free(block, LAYOUT) }
            }
        }
        match WORD.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(Fault(SV2_NO_MEMORY)),
        }
    }

    /// Memory of the reserve, or null.
    #[cold]
    pub(super) fn take(layout: Layout) -> *mut u8 {
        let block = BLOCK.load(Ordering::Acquire);
        let is_open = GUARDED.load(Ordering::Acquire) > 0;
        if !is_open || block.is_null() || layout.align() > UNIT {
            return core::ptr::null_mut();
        }
        let units = layout.size().div_ceil(UNIT);
        let longer = |word: usize| {
            let used = (word >> HALF) + units;
            let fits = used <= UNITS && word & PIECES < PIECES;
            fits.then(|| used << HALF | ((word & PIECES) + ONE_PIECE))
        };
        TIMES.fetch_add(1, Ordering::AcqRel);
        match WORD.fetch_update(Ordering::AcqRel, Ordering::Acquire, longer) {
            // SAFETY: the units from here on lie within the block, and the word says that they are taken.
            Ok(word) => unsafe { block.add((word >> HALF) * UNIT) },
            Err(_) => core::ptr::null_mut(),
        }
    }

    /// Takes memory back if it is the reserve's.
    pub(super) fn give_back(memory: *mut u8) -> bool {
        let block = BLOCK.load(Ordering::Acquire).addr();
        let is_ours = block != 0 && (block..block + RESERVE_LEN).contains(&memory.addr());
        if is_ours {
            let less = |word: usize| match (word & PIECES).saturating_sub(ONE_PIECE) {
                0 => Some(0),
                pieces => Some(word & !PIECES | pieces),
            };
            let _ = WORD.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        }
        is_ours
    }
}

/// Without code that cannot be refused there is no reserve.
#[cfg(not(any(feature = "miner", test)))]
mod reserve {
    pub(super) fn take(_layout: core::alloc::Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    pub(super) fn give_back(_memory: *mut u8) -> bool {
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    use std::vec::Vec;

    use super::*;
    use crate::result::SV2_BUSY;

    std::thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Whether this allocation of the current thread is one to refuse.
    pub(crate) fn is_refused() -> bool {
        let Some(left) = LEFT.try_with(Cell::get).ok().flatten() else {
            return false;
        };
        LEFT.with(|cell| cell.set(Some(left.saturating_sub(1))));
        left == 0
    }

    /// Runs `body` with memory for `allocations` allocations on this thread, and none from then on.
    pub(crate) fn with_memory_for<R>(allocations: usize, body: impl FnOnce() -> R) -> R {
        LEFT.with(|cell| cell.set(Some(allocations)));
        let result = body();
        LEFT.with(|cell| cell.set(None));
        result
    }

    /// The reserve is one for the process.
    fn alone() -> std::sync::MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_box_can_be_refused() {
        let refused = with_memory_for(0, || boxed([7u8; 100]).map(|_| ()));
        assert_eq!(refused, Err(Fault(SV2_NO_MEMORY)));
        assert_eq!(*with_memory_for(1, || boxed(7u8)).unwrap(), 7);
    }

    #[test]
    fn guarded_code_survives_the_want_of_each_allocation() {
        let _turn = alone();
        let work = || {
            let map: BTreeMap<u32, Vec<u8>> = (0..50).map(|n| (n, [0; 100].to_vec())).collect();
            Ok(map)
        };
        guarded(work).unwrap();
        let mut refusals = 0;
        for allocations in 0.. {
            let result = with_memory_for(allocations, || guarded(work));
            let Err(fault) = result else {
                break;
            };
            assert_eq!(fault, Fault(SV2_NO_MEMORY));
            refusals += 1;
            guarded(work).unwrap();
        }
        assert!(refusals > 50, "{refusals}");
    }

    #[test]
    fn nothing_guarded_begins_while_the_reserve_is_in_use() {
        let _turn = alone();
        guarded(|| Ok(())).unwrap();
        let mut kept = Vec::new();
        let result = with_memory_for(0, || {
            guarded(|| {
                kept = Vec::<u8>::with_capacity(10);
                Ok(())
            })
        });
        assert_eq!(result, Err(Fault(SV2_NO_MEMORY)));
        assert_eq!(guarded(|| Ok(())), Err(Fault(SV2_NO_MEMORY)));
        drop(kept);
        assert_eq!(
            guarded(|| Err::<(), _>(Fault(SV2_BUSY))),
            Err(Fault(SV2_BUSY))
        );
    }
}
