//! The template provider as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use stratum_runtime::config::ConfigArgs;

/// Gives block templates of a Bitcoin node to Stratum V2 pools and job declarators
#[derive(Parser)]
#[command(name = "template-provider", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    match stratum_template_provider::main(&Args::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        // The message is for an operator, who has no use for a backtrace.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
