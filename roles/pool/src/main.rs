//! The pool as a program of its own.

use clap::Parser;
use stratum_runtime::config::ConfigArgs;

/// Gives work to Stratum V2 miners, takes their shares and hands in their blocks
#[derive(Parser)]
#[command(name = "pool", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> anyhow::Result<()> {
    Ok(stratum_pool::main(&Args::parse().config)?)
}
