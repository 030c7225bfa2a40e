//! Helpers for end-to-end tests: whole programs, real sockets, a real node.

pub mod chain;
pub mod panics;
pub mod peer;
pub mod programs;
pub mod regtest_node;

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longer than anything that is waited for takes; a test that hangs says where.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until what is seen is as wanted, and gives it.
///
/// # Panics
/// After [`PATIENCE`], with what was seen last.
pub async fn eventually<S: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> S,
    is_it: impl Fn(&S) -> bool,
) -> S {
    let started = Instant::now();
    loop {
        let seen = look().await;
        if is_it(&seen) {
            println!("{what}: after {:?}", started.elapsed());
            return seen;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "not in time: {what}: {seen:#?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
