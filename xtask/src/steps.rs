//! `cargo xtask test`: everything that must hold before a change is taken.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::{root, tidy};

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
        name: "no-std",
        run: no_std,
    },
    Step {
        name: "tests",
        run: all_tests,
    },
];

/// Workspaces of their own that compile on stable: formatted like the main one.
const OUTSIDE: &[&str] = &["benches/Cargo.toml", "test/no-std/Cargo.toml"];

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

/// All tests: with nextest where it is installed (it leaves doc tests out), with cargo's own runner elsewhere.
fn all_tests() -> anyhow::Result<()> {
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

/// Runs the benchmarks, which are a workspace of their own; `arguments` go to them.
///
/// # Errors
/// When cargo cannot be started or a benchmark fails.
pub fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = cargo_command(&["bench", "--manifest-path", "benches/Cargo.toml"]);
    command.arg("--").args(arguments);
    finish(command)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    finish(cargo_command(arguments))
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .env("CI", "true")
        .stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> anyhow::Result<()> {
    let line = shown(&command);
    let status = command
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    format!("cargo {}", arguments.join(" "))
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
    fn a_failing_command_is_shown() {
        let error = cargo(&["no-such-subcommand"]).unwrap_err().to_string();
        assert!(
            error.starts_with("`cargo no-such-subcommand` ended with"),
            "{error}"
        );
    }
}
