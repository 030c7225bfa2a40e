//! The pool as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use stratum_runtime::config::ConfigArgs;

/// Gives work to Stratum V2 miners, takes their shares and hands in their blocks
#[derive(Parser)]
#[command(name = "pool", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    match stratum_pool::main(&Args::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        // The message is for an operator, who has no use for a backtrace.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
