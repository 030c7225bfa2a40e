//! What the library takes from the machine it runs on: memory and an end.

#[cfg(any(test, not(feature = "std")))]
use core::alloc::Layout;
use core::ffi::{c_char, c_void};

use crate::boundary::boundary;
use crate::handle;
use crate::result::{Fault, SV2_ALREADY_INITIALISED, sv2_result};

/// What a library built without Rust's standard library needs of its platform.
///
/// The functions may be called from any thread that calls the library, and must not call the library themselves. `context` is handed to
/// each of them as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_platform {
    /// For the caller's own use; may be NULL.
    pub context: *mut c_void,
    /// Gives `len` bytes (never 0) whose address is a multiple of `alignment` (a power of two), or NULL when there are none.
    pub allocate: Option<
        unsafe extern "C" fn(context: *mut c_void, len: usize, alignment: usize) -> *mut c_void,
    >,
    /// Takes back what `allocate` gave for this `len` and `alignment`.
    pub free: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            memory: *mut c_void,
            len: usize,
            alignment: usize,
        ),
    >,
    /// Called when the library has found a bug of its own and cannot go on. It must not return: restart the device, or end the
    /// process. If it returns, the calling thread stops for ever.
    pub abort: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// Tells the library about its platform: once, before any handle is made.
///
/// `platform` is read during the call only. A library built without the standard library needs all three functions; one built with it
/// has its own, for which `platform` may be NULL and is otherwise left alone, so that the same program runs on both.
///
/// `SV2_NULL` when `platform` or one of its functions is missing; `SV2_ALREADY_INITIALISED` at a second call.
///
/// # Safety
/// `platform` is NULL or leads to a platform whose functions do what their documentation says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_init(platform: *const sv2_platform) -> sv2_result {
    // SAFETY: the caller's promise.
    boundary(|| unsafe { store::init(platform) })
}

/// Number of handles in use, of all kinds together; at most `SV2_MAX_HANDLES`. 0 after a program has freed all of its handles.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_handles_in_use() -> usize {
    handle::count()
}

/// Version of the library, such as "0.1.0", as static text that ends with a zero byte. Works before `sv2_init`.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

pub(crate) use store::initialised;
#[cfg(any(test, not(feature = "std")))]
pub(crate) use store::{allocate, free};

/// With the standard library: its allocator.
#[cfg(feature = "std")]
mod store {
    use core::sync::atomic::{AtomicBool, Ordering};
    #[cfg(test)]
    use std::alloc::{GlobalAlloc as _, System};

    use super::*;

    static IS_SET: AtomicBool = AtomicBool::new(false);

    pub(super) unsafe fn init(_platform: *const sv2_platform) -> Result<(), Fault> {
        if IS_SET.swap(true, Ordering::AcqRel) {
            return Err(Fault(SV2_ALREADY_INITIALISED));
        }
        Ok(())
    }

    /// Whether handles may be made: always, nothing is missing.
    pub(crate) fn initialised() -> Result<(), Fault> {
        Ok(())
    }

    /// # Safety
    /// The layout has a size.
    #[cfg(test)]
    pub(crate) unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    /// # Safety
    /// `memory` came from `allocate` with this layout.
    #[cfg(test)]
    pub(crate) unsafe fn free(memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Without the standard library: the caller's functions.
#[cfg(not(feature = "std"))]
mod store {
    use core::cell::UnsafeCell;
    use core::mem::MaybeUninit;
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::pointer::reference;
    use crate::result::{SV2_NOT_INITIALISED, SV2_NULL};

    const UNSET: u8 = 0;
    const SETTING: u8 = 1;
    const SET: u8 = 2;

    type Allocate = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
    type Free = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize);
    type Abort = unsafe extern "C" fn(*mut c_void);

    #[derive(Clone, Copy)]
    struct Platform {
        context: *mut c_void,
        allocate: Allocate,
        free: Free,
        abort: Abort,
    }

    struct Place {
        state: AtomicU8,
        platform: UnsafeCell<MaybeUninit<Platform>>,
    }

    // SAFETY: written once, by whoever moves `state` from unset to setting, and read only after it was moved to set.
    unsafe impl Sync for Place {}

    static PLACE: Place = Place {
        state: AtomicU8::new(UNSET),
        platform: UnsafeCell::new(MaybeUninit::uninit()),
    };

    pub(super) unsafe fn init(platform: *const sv2_platform) -> Result<(), Fault> {
        // SAFETY: the caller's promise.
        let given = unsafe { reference(platform) }?;
        let (Some(allocate), Some(free), Some(abort)) = (given.allocate, given.free, given.abort)
        else {
            return Err(Fault(SV2_NULL));
        };
        let platform = Platform {
            context: given.context,
            allocate,
            free,
            abort,
        };
        PLACE
            .state
            .compare_exchange(UNSET, SETTING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| Fault(SV2_ALREADY_INITIALISED))?;
        // SAFETY: only one call ever gets here, and nobody reads before the store below.
        unsafe { (*PLACE.platform.get()).write(platform) };
        PLACE.state.store(SET, Ordering::Release);
        Ok(())
    }

    fn platform() -> Option<Platform> {
        if PLACE.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: written before the state became set, and never again.
        Some(unsafe { (*PLACE.platform.get()).assume_init() })
    }

    /// Whether handles may be made.
    pub(crate) fn initialised() -> Result<(), Fault> {
        platform().map(|_| ()).ok_or(Fault(SV2_NOT_INITIALISED))
    }

    /// # Safety
    /// The layout has a size.
    pub(crate) unsafe fn allocate(layout: Layout) -> *mut u8 {
        let Some(platform) = platform() else {
            return core::ptr::null_mut();
        };
        // SAFETY: the platform's function is what `sv2_platform` says that it is.
        unsafe { (platform.allocate)(platform.context, layout.size(), layout.align()) }.cast()
    }

    /// # Safety
    /// `memory` came from `allocate` with this layout.
    pub(crate) unsafe fn free(memory: *mut u8, layout: Layout) {
        if let Some(platform) = platform() {
            // SAFETY: the platform's function is what `sv2_platform` says that it is, and the memory came from its other one.
            unsafe {
                (platform.free)(
                    platform.context,
                    memory.cast(),
                    layout.size(),
                    layout.align(),
                );
            }
        }
    }

    #[panic_handler]
    fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
        if let Some(platform) = platform() {
            // SAFETY: the platform's function is what `sv2_platform` says that it is.
            unsafe { (platform.abort)(platform.context) };
        }
        loop {
            core::hint::spin_loop();
        }
    }
}
