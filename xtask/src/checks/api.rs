//! What each library makes public, listed in `docs/api`: a change to it shows in the diff, and is meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::members::{self, Member};
use crate::root;
use crate::steps::{cargo_command, finish};

/// Where the lists are, one for each library, named as it is imported.
const LISTS: &str = "docs/api";

/// The program that reads rustdoc's JSON: a workspace of its own, so that nothing else waits for what it needs.
const READER: &str = "xtask/public-api/Cargo.toml";

/// What the reader ends with when rustdoc's JSON has a format that it does not know.
const OTHER_FORMAT: i32 = 2;

/// Lines shown of each difference.
const LINES_SHOWN_MAX: usize = 40;

/// Lists by library.
type Lists = BTreeMap<String, String>;

/// Compares what is public with the lists.
///
/// # Errors
/// When they differ; the message shows how. When rustdoc or its reader fails.
pub fn check() -> anyhow::Result<()> {
    let Some(lists) = present()? else {
        return Ok(());
    };
    let mut differences = 0;
    for (library, list) in &lists {
        let path = root().join(LISTS).join(library).with_extension("txt");
        let known = std::fs::read_to_string(path).unwrap_or_default();
        differences += show_difference(library, &known, list);
    }
    if differences > 0 {
        bail!(
            "the public API of {differences} libraries is not what {LISTS} says; if that is meant, `cargo xtask api \
             --bless` writes it down"
        );
    }
    println!("{} libraries make public what {LISTS} says", lists.len());
    Ok(())
}

/// Writes the lists anew.
///
/// # Errors
/// When rustdoc or its reader fails, or a file cannot be written.
pub fn bless() -> anyhow::Result<()> {
    let lists =
        present()?.context("nothing is written: the lists cannot be made with this rustc")?;
    let folder = root().join(LISTS);
    empty(&folder)?;
    for (library, list) in &lists {
        std::fs::write(folder.join(library).with_extension("txt"), list)?;
    }
    println!("wrote {} lists into {LISTS}", lists.len());
    Ok(())
}

/// What others build programs of: the crates under `protocols` and `utils`. The cores are parts of our own programs.
fn present() -> anyhow::Result<Option<Lists>> {
    let mut members = members::libraries()?;
    members.retain(|member| {
        member.folder.starts_with("protocols/") || member.folder.starts_with("utils/")
    });
    let members: Vec<_> = members.iter().collect();
    lists(&members, &["--all-features"])
}

/// What `members` make public when built with `features`.
///
/// `None` when this rustc's rustdoc writes a format that the reader does not know, which is said.
///
/// # Errors
/// When rustdoc or its reader fails.
pub(crate) fn lists(members: &[&Member], features: &[&str]) -> anyhow::Result<Option<Lists>> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let target = root().join(target);
    document(members, features)?;

    let folder = target.join("api");
    empty(&folder)?;
    let names = || {
        members
            .iter()
            .filter_map(|member| member.library.as_deref())
    };
    let jsons = names().map(|name| target.join("doc").join(name).with_extension("json"));
    // Built before it is run, so that a failure to build is not taken for its answer.
    let reader = |verb| {
        let mut command =
            cargo_command(&[verb, "--quiet", "--manifest-path", READER, "--target-dir"]);
        command.arg(target.join("public-api"));
        command
    };
    finish(reader("build"))?;
    let mut command = reader("run");
    command.arg("--");
    command.arg(&folder).args(jsons);
    let status = command
        .status()
        .context("starting the reader of rustdoc's JSON")?;
    match status.code() {
        Some(0) => {}
        Some(OTHER_FORMAT) => return not_compared(),
        _ => bail!("the reader of rustdoc's JSON ended with {status}"),
    }
    let read = |name: &str| -> anyhow::Result<_> {
        let list = std::fs::read_to_string(folder.join(name).with_extension("txt"))?;
        Ok((name.to_owned(), list))
    };
    names().map(read).collect::<anyhow::Result<_>>().map(Some)
}

/// A new rustc is no fault of whoever has it; the project's own runs must follow.
fn not_compared() -> anyhow::Result<Option<Lists>> {
    let what = format!(
        "the public API was not looked at: {READER} must take the version of public-api that knows this rustc"
    );
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        bail!(what);
    }
    println!("{what}");
    Ok(None)
}

fn document(members: &[&Member], features: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo_command(&["doc", "--quiet", "--no-deps", "--lib"]);
    command.args(features);
    for member in members {
        command.args(["--package", &member.package]);
    }
    if let Some(rustdoc) = std::env::var_os("RUSTDOC") {
        command.env("REAL_RUSTDOC", rustdoc);
    }
    command
        .env("RUSTDOC", root().join("xtask/rustdoc-json.sh"))
        .env(
            "RUSTDOCFLAGS",
            "-Z unstable-options --output-format json --cap-lints allow",
        );
    finish(command)
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("emptying {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// Prints what went and what came; counts 1 if anything did.
fn show_difference(library: &str, known: &str, present: &str) -> usize {
    let gone = only_in_first(known, present);
    let new = only_in_first(present, known);
    if gone.is_empty() && new.is_empty() {
        return 0;
    }
    println!("{library}:");
    let lines = gone
        .iter()
        .map(|line| ('-', line))
        .chain(new.iter().map(|line| ('+', line)));
    for (sign, line) in lines.take(LINES_SHOWN_MAX) {
        println!("  {sign} {line}");
    }
    let rest = (gone.len() + new.len()).saturating_sub(LINES_SHOWN_MAX);
    if rest > 0 {
        println!("  and {rest} more");
    }
    1
}

/// Lines that `first` has more often than `second`.
pub(crate) fn only_in_first<'a>(first: &'a str, second: &str) -> Vec<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for line in second.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let is_more = |line: &&str| match counts.get_mut::<str>(line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    first.lines().filter(is_more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_as_often_as_it_stands() {
        assert_eq!(only_in_first("a\nb\na\nc\n", "a\nb\n"), ["a", "c"]);
        assert_eq!(show_difference("x", "a\nb\n", "b\na\n"), 0);
        assert_eq!(show_difference("x", "a\n", "a\na\n"), 1);
    }
}
