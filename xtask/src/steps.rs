//! `cargo xtask test`: everything that must hold before a change is taken.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::checks::{api, buffer, features, ffi};
use crate::{node, root, tidy, tools};

/// One step of the test run.
pub struct Step {
    /// Name, as `--only` takes it.
    pub name: &'static str,
    run: fn() -> anyhow::Result<()>,
}

/// The steps in the order of the run: cheap ones first, so that a slip costs seconds.
pub const STEPS: &[Step] = &[
    Step {
        name: "tidy",
        run: tidy_step,
    },
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "docs",
        run: docs,
    },
    Step {
        name: "features",
        run: features::check,
    },
    Step {
        name: "api",
        run: api::check,
    },
    Step {
        name: "no-std",
        run: no_std,
    },
    Step {
        name: "runtimes",
        run: runtimes,
    },
    Step {
        name: "ffi",
        run: ffi::check,
    },
    Step {
        name: "node",
        run: node_step,
    },
    Step {
        name: "tests",
        run: all_tests,
    },
    Step {
        name: "buffer",
        run: buffer::check,
    },
    Step {
        name: "demo",
        run: demo,
    },
];

/// Whether the binary has its demo; without it that step is left out.
const HAS_DEMO: bool = true;

/// How long the demo may take for its blocks, without the build: it needs seconds.
const DEMO_DEADLINE: Duration = Duration::from_secs(180);

/// Workspaces of their own that compile on stable: formatted like the main one.
const OUTSIDE: &[&str] = &[
    "benches/Cargo.toml",
    "test/interop/Cargo.toml",
    "test/no-std/Cargo.toml",
    "xtask/public-api/Cargo.toml",
];

/// Runs all steps, or those named in `only`, and stops at the first that fails.
///
/// # Errors
/// When a name in `only` is unknown or a step fails; the message names the step.
pub fn run(only: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!(
            "there is no step `{unknown}`; the steps are {}",
            names.join(", ")
        );
    }
    let wanted: Vec<_> = STEPS
        .iter()
        .filter(|step| HAS_DEMO || step.name != "demo")
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect();
    let mut times = Vec::new();
    for (index, step) in wanted.iter().enumerate() {
        println!("== [{}/{}] {}", index + 1, wanted.len(), step.name);
        let started = Instant::now();
        let result = (step.run)();
        times.push((step.name, started.elapsed()));
        result.with_context(|| {
            format!(
                "step `{0}` failed; once mended, `cargo xtask test --only {0}` runs it alone",
                step.name
            )
        })?;
    }
    report(&times);
    Ok(())
}

fn report(times: &[(&str, Duration)]) {
    println!("== all {} steps passed", times.len());
    for (name, time) in times {
        println!("   {name:<8} {:>7.1} s", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    println!("   {:<8} {:>7.1} s", "total", total.as_secs_f64());
}

fn tidy_step() -> anyhow::Result<()> {
    let findings = tidy::check(&tidy::Tree::read()?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} rules of the house are broken at the places above"),
    }
}

fn format() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    OUTSIDE
        .iter()
        .try_for_each(|manifest| cargo(&["fmt", "--manifest-path", manifest, "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    cargo(&[
        "clippy",
        "--manifest-path",
        "benches/Cargo.toml",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

fn docs() -> anyhow::Result<()> {
    let mut command = cargo_command(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    finish(command)
}

/// Links the crates that firmware uses into a program without std, and runs it.
fn no_std() -> anyhow::Result<()> {
    // What the workspace always has: nothing else would notice if it were needed.
    cargo(&["check", "-p", "stratum-codec-sv2", "--no-default-features"])?;
    let mut command = cargo_command(&[
        "run",
        "--release",
        "--manifest-path",
        "test/no-std/Cargo.toml",
    ]);
    command
        .arg("--target-dir")
        .arg(root().join("target/no-std"));
    finish(command)
}

/// The features of the crate with the connections, of which the rest uses the default: each alone, none, and both.
fn runtimes() -> anyhow::Result<()> {
    let of_crate = |command: &str, more: &[&str]| {
        let package = ["--package", "stratum-network-helpers-sv2"];
        cargo_command(&[&[command], &package[..], more].concat())
    };
    let none = ["--all-targets", "--no-default-features"];
    for features in ["", "async_std"] {
        let alone = ["--features", features, "--", "-D", "warnings"];
        finish(of_crate("clippy", &[&none[..], &alone].concat()))?;
    }
    let all = ["--all-features", "--", "-D", "warnings"];
    finish(of_crate("clippy", &[&["--all-targets"], &all[..]].concat()))?;
    let mut docs = of_crate("doc", &["--no-deps", "--all-features"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    finish(docs)?;
    finish(of_crate("test", &["--all-features"]))
}

/// All tests: with nextest where it is installed (it leaves doc tests out), with cargo's own runner elsewhere.
fn all_tests() -> anyhow::Result<()> {
    // Examples in C and C++ are built by their tests.
    tools::system(&[("cc", "gcc"), ("c++", "g++"), ("curl", "curl")])?;
    let probe = cargo_command(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if probe.is_ok_and(|status| status.success()) {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])?;
        cargo(&["test", "--workspace", "--doc"])
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"])
    }
}

/// Has a real node ready before tests ask for it, so that a missing one is reported as what it is.
fn node_step() -> anyhow::Result<()> {
    let node = node::ensure(&root().join("target"))?;
    println!("{} from {}", node.version()?, node.origin());
    Ok(())
}

/// The first thing anyone sees: it must mine and end by itself.
fn demo() -> anyhow::Result<()> {
    let stratum = ["--release", "--package", "stratum", "--bin", "stratum"];
    cargo(&[&["build"], &stratum[..]].concat())?;
    let mut command = cargo_command(&[&["run", "--quiet"], &stratum[..]].concat());
    command.args(["--", "demo", "--blocks", "5"]);
    finish_within(command, DEMO_DEADLINE)
}

/// Runs the benchmarks, which are a workspace of their own, and those of the buffer pools; `arguments` go to them.
///
/// # Errors
/// When cargo cannot be started or a benchmark fails.
pub fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = cargo_command(&["bench", "--manifest-path", "benches/Cargo.toml"]);
    command.arg("--").args(arguments);
    finish(command)?;
    let mut command = cargo_command(&["bench", "--package", "stratum-buffer-sv2"]);
    command.args(["--features", "criterion", "--"]);
    command.args(arguments);
    finish(command)
}

/// Runs the tests with another implementation as peer, which are a workspace of their own; `arguments` go to `cargo test`.
///
/// # Errors
/// When cargo cannot be started or a test fails.
pub fn interop(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = cargo_command(&["test", "--manifest-path", "test/interop/Cargo.toml"]);
    // Its lockfile differs from ours, so in our target directory each would undo the other's builds.
    let target = root().join("target/interop");
    command.arg("--target-dir").arg(target).args(arguments);
    finish(command)
}

/// Runs cargo at the root of the repository.
pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    finish(cargo_command(arguments))
}

/// The cargo that runs us, at the root of the repository.
pub(crate) fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .env("CI", "true")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end; an error shows it.
pub(crate) fn finish(mut command: Command) -> anyhow::Result<()> {
    let line = shown(&command);
    let status = command
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

fn finish_within(mut command: Command, deadline: Duration) -> anyhow::Result<()> {
    let line = shown(&command);
    let mut child = command
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    let started = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{line}` ended with {status}"),
            None if started.elapsed() < deadline => std::thread::sleep(Duration::from_millis(100)),
            None => break,
        }
    }
    child.kill()?;
    child.wait()?;
    bail!("`{line}` was stopped after {} s", deadline.as_secs());
}

fn shown(command: &Command) -> String {
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let program = Path::new(command.get_program())
        .file_stem()
        .unwrap_or_default();
    format!("{} {}", program.to_string_lossy(), arguments.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_step_is_named_with_the_known_ones() {
        let error = run(&["tidyy".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("`tidyy`") && error.contains("tidy, format"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_stopped() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = finish_within(command, Duration::ZERO)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("was stopped after 0 s"), "{error}");
    }

    #[test]
    fn a_failing_command_is_shown() {
        let error = cargo(&["no-such-subcommand"]).unwrap_err().to_string();
        assert!(
            error.starts_with("`cargo no-such-subcommand` ended with"),
            "{error}"
        );
    }
}
