//! What every export runs in.

use crate::result::{Fault, SV2_OK, sv2_result};

/// Runs the body of an export: an error becomes its number, and so does a panic.
///
/// Without std nothing unwinds: a panic has called the platform's `abort` before it could arrive here.
pub(crate) fn boundary(body: impl FnOnce() -> Result<(), Fault>) -> sv2_result {
    match caught(body) {
        Ok(()) => SV2_OK,
        Err(Fault(result)) => result,
    }
}

#[cfg(feature = "std")]
fn caught(body: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    // Unwind safe: what a body changes is either a handle, which its guard marks as failed, or memory of the caller, which is
    // written last and at once.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body))
        .unwrap_or(Err(Fault(crate::result::SV2_PANIC)))
}

#[cfg(not(feature = "std"))]
fn caught(body: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    body()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{SV2_NULL, SV2_PANIC};

    #[test]
    fn errors_and_panics_become_numbers() {
        assert_eq!(boundary(|| Ok(())), SV2_OK);
        assert_eq!(boundary(|| Err(Fault(SV2_NULL))), SV2_NULL);
        assert_eq!(boundary(|| panic!("a test's own panic")), SV2_PANIC);
    }
}
