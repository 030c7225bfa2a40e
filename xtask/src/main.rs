//! Everything a developer or CI runs.

use std::process::ExitCode;

use anyhow::bail;
use xtask::checks::api;
use xtask::{coverage, header, node, steps, tidy};

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--only STEP]...   all that must hold, step by step; names as the run prints them
  tidy                    the rules of the house that no compiler checks
  node                    a real bitcoind: BITCOIND, the one on PATH, or Debian's unpacked into target/
  api [--bless]           what the libraries make public, compared with docs/api or written there
  coverage [--write]      how much of the libraries their tests reach; --write puts the figure into the README
  bench [ARGUMENTS]       the benchmarks
  header [--check]        writes the C library's header and what it is made from; --check says whether they are up to date
  interop [ARGUMENTS]     our programs with the reference implementation's crates as peers; ARGUMENTS as for `cargo test`
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Without the backtrace that a variable of the environment may ask for: the causes say more.
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n{USAGE}")
    };
    match &**command {
        "test" => steps::run(&only(rest)?),
        "tidy" => print_tidy(),
        "node" => print_node(),
        "api" => match rest {
            [] => api::check(),
            [option] if option == "--bless" => api::bless(),
            other => bail!("`{}` is not understood; use --bless", other.join(" ")),
        },
        "coverage" => match rest {
            [] => coverage::run(false),
            [option] if option == "--write" => coverage::run(true),
            other => bail!("`{}` is not understood; use --write", other.join(" ")),
        },
        "header" => match rest {
            [] => header::write(),
            [option] if option == "--check" => header::check(),
            other => bail!(
                "`{}` is not understood; use --check or nothing",
                other.join(" ")
            ),
        },
        "bench" => steps::bench(rest),
        "interop" => steps::interop(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        unknown => bail!("there is no command `{unknown}`\n{USAGE}"),
    }
}

fn only(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let pairs = arguments.chunks(2).map(|pair| match pair {
        [option, name] if option == "--only" => Ok(name.clone()),
        other => bail!("`{}` is not understood; use --only STEP", other.join(" ")),
    });
    pairs.collect()
}

fn print_node() -> anyhow::Result<()> {
    let binaries = node::ensure(&xtask::root().join("target"))?;
    println!(
        "{} ({})\n{:?}",
        binaries.version()?,
        binaries.origin(),
        binaries.bitcoind()
    );
    Ok(())
}

fn print_tidy() -> anyhow::Result<()> {
    let findings = tidy::check(&tidy::Tree::read()?);
    findings.iter().for_each(|finding| println!("{finding}"));
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: {} rules hold", tidy::RULES.len());
    Ok(())
}
