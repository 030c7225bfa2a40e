//! The CPU miner as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use stratum_mining_device::MinerArgs;

/// Mines on this machine's processor for a Stratum pool or proxy, V2 or V1
#[derive(Parser)]
#[command(name = "mining-device", version)]
struct Args {
    #[command(flatten)]
    miner: MinerArgs,
}

fn main() -> ExitCode {
    match stratum_mining_device::main(&Args::parse().miner) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
