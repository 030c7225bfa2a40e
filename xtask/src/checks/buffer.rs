//! The pool of slots is unsafe code that threads share: what can look for its mistakes does.
//!
//! Loom tries every order of what threads do. AddressSanitizer and valgrind watch each access to memory while the tests
//! run, Miri each rule of the language. Each has a target folder of its own, so that its flags rebuild nothing
//! else.

use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::root;
use crate::steps::{cargo_command, finish};
use crate::tools;

const PACKAGE: [&str; 2] = ["--package", "stratum-buffer-sv2"];

/// Cases of each property test where every access to memory costs twenty times as much.
const SLOW_CASES: &str = "16";

/// What valgrind counts as an error: also what is lost, but not what std keeps until the process ends.
const VALGRIND: &str = "valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite";

/// Runs the tests of the pool with all that looks for mistakes of unsafe code.
///
/// # Errors
/// When one finds a mistake, or valgrind is missing and cannot be installed.
pub(crate) fn check() -> anyhow::Result<()> {
    asserts()?;
    loom()?;
    address_sanitizer()?;
    valgrind()?;
    miri()
}

/// The tests with the asserts of feature `debug`, and all that features add.
fn asserts() -> anyhow::Result<()> {
    let mut command = cargo_command(&["test", "--quiet"]);
    command
        .args(PACKAGE)
        .args(["--features", "debug,fuzz,prop_test"]);
    finish(command)
}

fn loom() -> anyhow::Result<()> {
    let mut command = cargo_command(&["test", "--quiet", "--test", "loom"]);
    apart(&mut command, "loom");
    command.args(PACKAGE).env("RUSTFLAGS", "--cfg loom");
    finish(command)
}

/// With nightly where there is one, else with stable that is told to take what is nightly's.
fn address_sanitizer() -> anyhow::Result<()> {
    let arguments = ["test", "--quiet", "--lib"];
    let mut command = match nightly(&["--version"]) {
        true => nightly_cargo(&arguments),
        false => {
            let mut command = cargo_command(&arguments);
            command.env("RUSTC_BOOTSTRAP", "1");
            command
        }
    };
    apart(&mut command, "asan");
    // With a target the flags are not for build scripts and macros, which could not load the sanitizer.
    command
        .args(PACKAGE)
        .args(["--target", &host()?])
        .env("RUSTFLAGS", "-Zsanitizer=address");
    finish(command)
}

fn valgrind() -> anyhow::Result<()> {
    tools::system(&[("valgrind", "valgrind")])?;
    let host = host()?.replace('-', "_").to_uppercase();
    // Only programs that are run know of the runner: nothing is built for it.
    let mut command = cargo_command(&["test", "--quiet", "--lib", "--features", "fuzz,prop_test"]);
    command
        .args(PACKAGE)
        .env(format!("CARGO_TARGET_{host}_RUNNER"), VALGRIND)
        .env("PROPTEST_CASES", SLOW_CASES);
    finish(command)
}

fn miri() -> anyhow::Result<()> {
    if !nightly(&["miri", "--version"]) {
        println!(
            "Miri is not installed: `rustup component add --toolchain nightly miri` has it run here"
        );
        return Ok(());
    }
    let mut command = nightly_cargo(&["miri", "test", "--quiet", "--lib"]);
    apart(&mut command, "miri");
    // Without isolation proptest may look for the cases that failed before.
    command
        .args(PACKAGE)
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", "2")
        .args(["slab", "model"]);
    finish(command)
}

/// Builds into a folder of its own below the usual one, wherever else the environment would have it.
fn apart(command: &mut Command, name: &str) {
    command
        .arg("--target-dir")
        .arg(root().join("target/buffer").join(name))
        .env_remove("CARGO_BUILD_BUILD_DIR");
}

/// The target that programs are built for when none is named.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("starting `rustc -vV`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("`rustc -vV` does not name its host")
}

/// The nightly toolchain's cargo, whichever toolchain runs us.
fn nightly_cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo"])
        .args(arguments)
        .current_dir(root())
        .env("CI", "true")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .stdin(Stdio::null());
    command
}

fn nightly(arguments: &[&str]) -> bool {
    let status = nightly_cargo(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
