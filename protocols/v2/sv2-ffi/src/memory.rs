//! Where memory comes from, and what happens when there is none.
//!
//! Rust's collections end the process when the allocator refuses. So whatever a caller or a peer can make the library allocate is asked
//! for in ways that can be refused: [`boxed`], `try_reserve`, `try_writable`. A test refuses each allocation once.

use alloc::boxed::Box;
use core::alloc::Layout;

use crate::result::{Fault, SV2_NO_MEMORY};

/// With the standard library its allocator serves, and a Rust program that links this crate may choose another.
#[cfg(any(test, not(feature = "std")))]
mod global {
    use core::alloc::{GlobalAlloc, Layout};

    use crate::platform;

    struct Allocator;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    // SAFETY: memory comes from the platform's allocator, which gives null or memory of the layout that nobody else holds, and goes back there.
    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            #[cfg(test)]
            if super::tests::is_refused() {
                return core::ptr::null_mut();
            }
            // SAFETY: the caller's promise about `layout` is the one that is asked for.
            let memory = unsafe { platform::allocate(layout) };
            #[cfg(test)]
            if !memory.is_null() {
                super::tests::count(layout.size() as isize);
            }
            memory
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            #[cfg(test)]
            super::tests::count(-(layout.size() as isize));
            // SAFETY: from the platform, with this layout.
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

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    std::thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        /// Bytes held by this thread now, and at most.
        static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
    }

    /// Counts memory of this thread that was taken, or given back.
    pub(crate) fn count(len: isize) {
        let _ = HELD.try_with(|cell| {
            let (held, peak) = cell.get();
            cell.set((held + len, peak.max(held + len)));
        });
    }

    /// Most bytes that `body` held at a time; it is handed what tells how many it holds at the moment.
    #[cfg(feature = "miner")]
    pub(crate) fn peak_of(body: impl FnOnce(&dyn Fn() -> usize)) -> usize {
        HELD.with(|cell| cell.set((0, 0)));
        body(&|| HELD.with(Cell::get).0 as usize);
        HELD.with(Cell::get).1 as usize
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

    #[test]
    fn a_box_can_be_refused() {
        let refused = with_memory_for(0, || boxed([7u8; 100]).map(|_| ()));
        assert_eq!(refused, Err(Fault(SV2_NO_MEMORY)));
        assert_eq!(*with_memory_for(1, || boxed(7u8)).unwrap(), 7);
    }
}
