//! `stratum load` as a program of its own.

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(version, about = "Loads a Stratum server and measures what it costs")]
struct Cli {
    #[command(flatten)]
    args: stratum_load::Args,
}

fn main() -> ExitCode {
    match stratum_load::main(&Cli::parse().args, &[]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
