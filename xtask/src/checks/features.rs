//! Every library builds alone, with each set of its features.
//!
//! In a build of the whole workspace what one crate asks for another gets as well, and hides what the other forgot.

use crate::members;
use crate::steps::finish;
use crate::tools;

/// cargo-hack's version; `cargo hack --version` prints it.
const CARGO_HACK: &str = "0.6.46";

/// Checks each library with each set of its features.
///
/// `default` is not combined with others: it is a set of features itself, and among the sets.
/// cargo-hack's `--no-dev-deps` is not needed: since resolver 2 dependencies of tests switch on nothing while no
/// test is built, and it would rewrite manifests while other programs read them.
///
/// # Errors
/// When a set of features does not build; cargo says which.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut command = tools::cargo_tool("cargo-hack", CARGO_HACK)?;
    command.args([
        "check",
        "--quiet",
        "--lib",
        "--feature-powerset",
        "--exclude-features",
        "default",
    ]);
    for member in members::libraries()? {
        command.args(["--package", &member.package]);
    }
    finish(command)
}
