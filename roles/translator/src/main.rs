//! The translator as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use stratum_runtime::config::ConfigArgs;

/// Puts Sv1 miners on Stratum V2 pools
#[derive(Parser)]
#[command(name = "translator", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    match stratum_translator::main(&Args::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        // The message is for an operator, who has no use for a backtrace.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
