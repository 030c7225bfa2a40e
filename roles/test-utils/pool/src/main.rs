//! The test pool as a program.

use std::process::ExitCode;

use clap::Parser;
use stratum_test_pool::TestPoolArgs;

/// A Stratum V2 pool for tests of miners: a fixed template, and misbehaviour on command
///
/// It prints what it sees. Standard input takes commands, one a line: a misbehaviour (see --list), `behave`, `new-block`,
/// `new-job`, `list`, `counters`, `stop`.
#[derive(Parser)]
#[command(name = "test-pool", version)]
struct Args {
    #[command(flatten)]
    pool: TestPoolArgs,
}

fn main() -> ExitCode {
    match stratum_test_pool::main(&Args::parse().pool) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
