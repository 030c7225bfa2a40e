//! Everything a developer or CI runs.

use anyhow::bail;
use xtask::{steps, tidy};

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--only STEP]...   all that must hold: tidy, format, clippy, docs, no-std, tests
  tidy                    the rules of the house that no compiler checks
  bench [ARGUMENTS]       the benchmarks
";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n{USAGE}")
    };
    match &**command {
        "test" => steps::run(&only(rest)?),
        "tidy" => print_tidy(),
        "bench" => steps::bench(rest),
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

fn print_tidy() -> anyhow::Result<()> {
    let findings = tidy::check(&tidy::Tree::read()?);
    findings.iter().for_each(|finding| println!("{finding}"));
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: {} rules hold", tidy::RULES.len());
    Ok(())
}
