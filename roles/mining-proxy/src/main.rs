//! The mining proxy as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use stratum_runtime::config::ConfigArgs;

/// Puts the devices of a farm on Stratum V2 pools, behind few connections
#[derive(Parser)]
#[command(name = "mining-proxy", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    match stratum_mining_proxy::main(&Args::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        // The message is for an operator, who has no use for a backtrace.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
