//! No task of a program under test may panic, though its runtime would survive it.

use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

/// Panics of this process on threads that are not a test's own, each with its place.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The threads that tests run on: their panics are failed assertions.
static TESTS: Mutex<Vec<thread::ThreadId>> = Mutex::new(Vec::new());

/// Watches for panics from now on; make it first in every test of the binary.
#[derive(Debug)]
pub struct PanicWatch(());

impl PanicWatch {
    /// Watches all threads but this one, which is the test's.
    #[allow(
        clippy::new_without_default,
        reason = "it changes the process, which a default does not"
    )]
    pub fn new() -> Self {
        static HOOK: Once = Once::new();
        let mut tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
        tests.push(thread::current().id());
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                note(info);
                usual(info);
            }));
        });
        Self(())
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// When a task or thread of a program has panicked, in this test or one that ran beside it.
    pub fn assert_none(self) {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.is_empty(), "programs panicked: {seen:#?}");
    }
}

fn note(info: &PanicHookInfo<'_>) {
    let present = thread::current();
    let tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !tests.contains(&present.id()) {
        let name = present.name().unwrap_or("unnamed").to_owned();
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(format!("{name}: {info}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_other_threads_are_seen() {
        let watch = PanicWatch::new();
        assert!(thread::spawn(|| panic!("on purpose")).join().is_err());
        let seen = panic::catch_unwind(|| watch.assert_none()).unwrap_err();
        let seen = seen.downcast::<String>().unwrap();
        assert!(seen.contains("on purpose"), "{seen}");
    }
}
