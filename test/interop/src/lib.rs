//! Peers made of the reference implementation's published crates (`sri`), and our programs to meet them.
//!
//! [`peer`] is a connection, [`client`] a miner, [`pool`] a small pool. Everything on the peer's side of the socket is
//! its own: handshake, codec, messages, channels, share validation, Bitcoin types. It blocks, so a peer is a thread.
//!
//! [`programs`] has its programs instead, with [`signet`] as their chain.
//!
//! This is test support: what does not go as it should ends by panic.

pub mod client;
pub mod ours;
pub mod peer;
pub mod pool;
pub mod programs;
pub mod signet;
pub mod work;

use std::time::{Duration, Instant};

/// Longer than anything that is waited for takes; a test that hangs says where.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until something is seen, and gives it.
///
/// # Panics
/// After [`PATIENCE`].
pub fn eventually<S>(what: &str, mut look: impl FnMut() -> Option<S>) -> S {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            println!("{what}: after {:?}", started.elapsed());
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
