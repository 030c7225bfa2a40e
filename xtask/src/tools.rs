//! What tests need beside cargo: programs of the system, and programs that cargo installs.
//!
//! ```no_run
//! xtask::tools::system(&[("cmake", "cmake"), ("valgrind", "valgrind")])?;
//! let status = xtask::tools::cargo_tool("cargo-hack", "0.6.46")?.arg("--version").status()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::root;
use crate::steps::{cargo_command, finish};

/// Where cargo's tools are installed, from the root: beside build output, so that nothing of the user's changes.
const TOOLS: &str = "target/tools";

/// Has programs of the system at hand: each is a program's name and the name of Debian's package that holds it.
///
/// What is missing is installed with apt-get where that needs no password (root, on Debian and its kin).
///
/// # Errors
/// When programs are missing and cannot be installed: the message names all of them and the command that
/// installs them.
pub fn system(needs: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !is_on_path("apt-get") {
        bail!("{}", complaint(&missing));
    }
    let install = || {
        let packages = missing.iter().map(|(_, package)| package);
        let mut command = Command::new("apt-get");
        command
            // Another apt-get may be at work: that of a test beside this one, or the system's own.
            .args(["-o", "DPkg::Lock::Timeout=120"])
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        finish(command)
    };
    // A fresh machine has no lists of packages, and an old one has stale ones.
    if install().is_err() {
        let mut update = Command::new("apt-get");
        update
            .arg("update")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        finish(update)
            .and_then(|()| install())
            .with_context(|| complaint(&missing))?;
    }
    let missing = self::missing(needs);
    if !missing.is_empty() {
        bail!(
            "apt-get did its work, but not all is there: {}",
            complaint(&missing)
        );
    }
    Ok(())
}

fn missing<'a>(needs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let missing = needs.iter().filter(|(program, _)| !is_on_path(program));
    missing.copied().collect()
}

fn complaint(missing: &[(&str, &str)]) -> String {
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    format!(
        "not on PATH: {}; on Debian and Ubuntu `sudo apt-get install {}` installs them, elsewhere use the packages \
         of the same programs",
        programs.join(", "),
        packages.join(" ")
    )
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A command of a tool that cargo installs, ready for the tool's own arguments: `cargo_tool("cargo-hack", "0.6.46")`
/// is `cargo hack`, run at the root of the repository.
///
/// Taken from PATH or `target/tools` where the version is this one; else built into `target/tools`, with the versions
/// of the tool's own lock file.
///
/// # Errors
/// When the tool must be built and cannot be: the message says how to build it by hand.
pub fn cargo_tool(name: &str, version: &str) -> anyhow::Result<Command> {
    let own = root().join(TOOLS).join("bin").join(name);
    let places = [own.clone(), PathBuf::from(name)];
    let found = places
        .into_iter()
        .find(|program| is_version(program, name, version));
    let program = match found {
        Some(program) => program,
        None => install(name, version).map(|()| own)?,
    };
    Ok(subcommand(&program, name))
}

/// What cargo itself would start for the subcommand: the program with the subcommand's name as first argument.
fn subcommand(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(name.strip_prefix("cargo-").unwrap_or(name))
        .current_dir(root())
        .env("CI", "true")
        .stdin(Stdio::null());
    command
}

fn is_version(program: &Path, name: &str, version: &str) -> bool {
    let output = subcommand(program, name)
        .arg("--version")
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        let said = String::from_utf8_lossy(&output.stdout);
        output.status.success() && said.split_whitespace().any(|word| word == version)
    })
}

/// Without optimization: what the tools start takes the time, and building them takes longer than they save.
fn install(name: &str, version: &str) -> anyhow::Result<()> {
    println!("installing {name} {version} into {TOOLS}");
    let mut command = cargo_command(&[
        "install",
        "--quiet",
        "--locked",
        "--force",
        "--debug",
        "--version",
        version,
    ]);
    command.args(["--root", TOOLS, name]);
    finish(command).with_context(|| format!("the tests need {name} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once() {
        let needs = [
            ("sh", "dash"),
            ("no-such-compiler", "compiler"),
            ("no-such-maker", "maker"),
        ];
        let missing = missing(&needs);
        assert_eq!(missing, needs[1..]);
        let text = complaint(&missing);
        assert!(
            text.starts_with("not on PATH: no-such-compiler, no-such-maker;"),
            "{text}"
        );
        assert!(
            text.contains("`sudo apt-get install compiler maker`"),
            "{text}"
        );
    }

    #[test]
    fn a_tool_of_another_version_is_not_taken() {
        let said = Command::new("rustfmt").arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let version = said.split_whitespace().nth(1).unwrap();
        let is_fmt = |program: &str, version| is_version(program.as_ref(), "cargo-fmt", version);
        assert!(is_fmt("cargo-fmt", version), "{said}");
        assert!(!is_fmt("cargo-fmt", "0.0.1"));
        assert!(!is_fmt("cargo-no-such-tool", version));
    }
}
