//! The `stratum` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match stratum_cli::run(stratum_cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", stratum_cli::message(&error));
            ExitCode::FAILURE
        }
    }
}
