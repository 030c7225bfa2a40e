//! What a connection takes from its surroundings: randomness and time.

use core::ffi::c_void;

use crate::boundary::boundary;
use crate::pointer::reference;
use crate::result::{Fault, SV2_CLOCK_FAILED, SV2_NULL, SV2_RANDOM_FAILED, sv2_result};

/// What two clocks say at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct sv2_time {
    /// A clock that never goes back, in microseconds since any origin.
    pub monotonic_us: u64,
    /// The time of day in seconds since 1970-01-01 UTC.
    pub unix_secs: u64,
}

/// Randomness and time for an object of the library, which calls these functions during calls on that object only.
///
/// The functions return 0 when they did what they are for; anything else is a failure, which the library's function
/// returns as `SV2_RANDOM_FAILED` or `SV2_CLOCK_FAILED`. They may call the library, but not with the handle of the call
/// that they belong to: that one is `SV2_BUSY`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_environment {
    /// For the caller's own use, handed to each function as it is; may be NULL.
    pub context: *mut c_void,
    /// Fills `len` bytes with randomness fit for keys: of the operating system, or of a hardware generator.
    pub random:
        Option<unsafe extern "C" fn(context: *mut c_void, bytes: *mut u8, len: usize) -> i32>,
    /// Writes what the clocks say.
    pub clock: Option<unsafe extern "C" fn(context: *mut c_void, now: *mut sv2_time) -> i32>,
}

/// An environment whose functions are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment {
    context: *mut c_void,
    random: unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> i32,
    clock: unsafe extern "C" fn(*mut c_void, *mut sv2_time) -> i32,
}

// SAFETY: the context is handed back to the caller's functions and nowhere else used; which threads they may be called on is decided
// by who calls the library.
unsafe impl Send for Environment {}

/// Fewest bytes of which all equal are taken for a generator that is broken: chance makes them once in 2^120.
const PLAUSIBLE_FROM: usize = 16;

impl Environment {
    /// The environment behind a pointer, copied.
    ///
    /// # Safety
    /// `environment` is NULL or leads to an environment whose functions do what their documentation says as long as this is used.
    pub(crate) unsafe fn new(environment: *const sv2_environment) -> Result<Self, Fault> {
        // SAFETY: the caller's promise.
        let given = unsafe { reference(environment) }?;
        Ok(Self {
            context: given.context,
            random: given.random.ok_or(Fault(SV2_NULL))?,
            clock: given.clock.ok_or(Fault(SV2_NULL))?,
        })
    }

    /// Fills `bytes` with randomness.
    ///
    /// Sixteen bytes or more that are all the same are refused: a generator that is not running gives such.
    pub(crate) fn random(&self, bytes: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: the promise of `new`; the bytes are there.
        let outcome = unsafe { (self.random)(self.context, bytes.as_mut_ptr(), bytes.len()) };
        let all_equal = bytes.windows(2).all(|pair| pair[0] == pair[1]);
        if outcome != 0 || (all_equal && bytes.len() >= PLAUSIBLE_FROM) {
            return Err(Fault(SV2_RANDOM_FAILED));
        }
        Ok(())
    }

    /// What the clocks say.
    pub(crate) fn now(&self) -> Result<sv2_time, Fault> {
        let mut now = sv2_time::default();
        // SAFETY: the promise of `new`; there is room for the time.
        match unsafe { (self.clock)(self.context, &raw mut now) } {
            0 => Ok(now),
            _ => Err(Fault(SV2_CLOCK_FAILED)),
        }
    }
}

/// Calls each function of an environment and says whether it works: worth a call when a device starts.
///
/// `SV2_RANDOM_FAILED` when the random function fails, gives bytes that are all the same, or gives the same bytes twice.
/// `SV2_CLOCK_FAILED` when the clock fails or goes back. `SV2_NULL` when one is missing.
///
/// # Safety
/// `environment` is NULL or leads to an environment whose functions do what their documentation says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_environment_check(environment: *const sv2_environment) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let environment = unsafe { Environment::new(environment) }?;
        let (mut first, mut second) = ([0; 32], [0; 32]);
        environment.random(&mut first)?;
        environment.random(&mut second)?;
        if first == second {
            return Err(Fault(SV2_RANDOM_FAILED));
        }
        let (earlier, later) = (environment.now()?, environment.now()?);
        if later.monotonic_us < earlier.monotonic_us {
            return Err(Fault(SV2_CLOCK_FAILED));
        }
        Ok(())
    })
}
