//! Everything a developer or CI runs, as a library so that tests can use it too.
//!
//! The command line is `cargo xtask <command>`; the end-to-end tests take their node from here as well.

use std::path::Path;

pub mod checks;
pub mod coverage;
pub mod header;
mod members;
pub mod steps;
pub mod tidy;
pub mod tools;

pub use bitcoind as node;

/// The root of the repository.
pub fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}
