//! How much of the libraries their tests reach.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::members::{self, Member};
use crate::steps::finish;
use crate::{root, tools};

/// cargo-tarpaulin's version; `cargo tarpaulin --version` prints it.
const TARPAULIN: &str = "0.37.5";

/// Seconds that a test may be silent: counted code is slow, and the longest simulations say nothing for minutes.
const SILENCE_MAX_SECS: &str = "1200";

/// Tests of several libraries at once, beside each library's own.
const COMMON_TESTS: &[&str] = &["stratum-vectors"];

/// Where the README has the figure.
const MARKERS: [&str; 2] = ["<!-- coverage -->", "<!-- /coverage -->"];

/// Lines of code, and how many of them tests reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    reached: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        100.0 * self.reached as f64 / self.all.max(1) as f64
    }
}

impl std::ops::AddAssign for Lines {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.reached += other.reached;
    }
}

/// Runs the libraries' tests and prints the figure for each; `is_written` puts the sum into the README.
///
/// # Errors
/// When a test fails, or the tool that counts cannot be had.
pub fn run(is_written: bool) -> anyhow::Result<()> {
    let libraries = members::libraries()?;
    let report = measure(&libraries)?;
    let by_library = by_library(&report, &libraries);
    if by_library.is_empty() {
        bail!("no line of a library was counted");
    }
    let mut sum = Lines::default();
    for (package, lines) in &by_library {
        println!(
            "{:>6.1} % of {:>5} lines  {package}",
            lines.percent(),
            lines.all
        );
        sum += *lines;
    }
    println!("{:>6.1} % of {:>5} lines  together", sum.percent(), sum.all);
    if is_written {
        let path = root().join("README.md");
        let readme = std::fs::read_to_string(&path)?;
        std::fs::write(&path, with_figure(&readme, sum)?)?;
    }
    Ok(())
}

/// The tool's report in the format of lcov.
fn measure(libraries: &[Member]) -> anyhow::Result<String> {
    let folder = root().join("target/coverage");
    std::fs::create_dir_all(&folder)?;
    let mut command = tools::cargo_tool("cargo-tarpaulin", TARPAULIN)?;
    // The compiler's own counters: the other way, ptrace, is forbidden in many containers.
    command.args([
        "--engine",
        "llvm",
        "--skip-clean",
        "--timeout",
        SILENCE_MAX_SECS,
        "--out",
        "Lcov",
        "--output-dir",
    ]);
    command
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("target"));
    let packages = libraries.iter().map(|member| &*member.package);
    for package in packages.chain(COMMON_TESTS.iter().copied()) {
        command.args(["--packages", package]);
    }
    finish(command)?;
    let path = folder.join("lcov.info");
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Sums the report's files by the library that they belong to.
fn by_library<'a>(report: &str, libraries: &'a [Member]) -> BTreeMap<&'a str, Lines> {
    let mut sums = BTreeMap::<&str, Lines>::new();
    for (path, lines) in files(report) {
        let is_inside = |member: &&Member| path.starts_with(format!("{}/src", member.folder));
        if let Some(member) = libraries.iter().find(is_inside) {
            *sums.entry(&member.package).or_default() += lines;
        }
    }
    sums
}

/// The files of a report by their path from the root.
fn files(report: &str) -> impl Iterator<Item = (&Path, Lines)> {
    report.split("end_of_record").filter_map(|record| {
        let value = |key: &str| record.lines().find_map(|line| line.strip_prefix(key));
        let path = Path::new(value("SF:")?);
        let path = path.strip_prefix(root()).unwrap_or(path);
        let lines = Lines {
            all: value("LF:")?.parse().ok()?,
            reached: value("LH:")?.parse().ok()?,
        };
        Some((path, lines))
    })
}

fn with_figure(readme: &str, lines: Lines) -> anyhow::Result<String> {
    let [start, end] = MARKERS;
    let parts = readme.split_once(start).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) = parts.context("README.md has no place for the figure")?;
    Ok(format!(
        "{before}{start}{:.1} %{end}{after}",
        lines.percent()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_summed_by_library() {
        let libraries = members::libraries().unwrap();
        let report = "TN:\nSF:utils/buffer/src/a.rs\nDA:1,1\nLF:8\nLH:6\nend_of_record\n\
                      TN:\nSF:utils/buffer/src/b.rs\nLF:2\nLH:1\nend_of_record\n\
                      TN:\nSF:utils/buffer/tests/c.rs\nLF:9\nLH:9\nend_of_record\n";
        let sums = by_library(report, &libraries);
        let expected = Lines {
            all: 10,
            reached: 7,
        };
        assert_eq!(sums, BTreeMap::from([("stratum-buffer-sv2", expected)]));
    }

    #[test]
    fn the_figure_replaces_the_one_before() {
        let lines = Lines {
            all: 1000,
            reached: 912,
        };
        let readme = "a <!-- coverage -->?<!-- /coverage --> b";
        let written = with_figure(readme, lines).unwrap();
        assert_eq!(written, "a <!-- coverage -->91.2 %<!-- /coverage --> b");
        assert_eq!(with_figure(&written, lines).unwrap(), written);
        assert!(with_figure("nothing", lines).is_err());
    }
}
