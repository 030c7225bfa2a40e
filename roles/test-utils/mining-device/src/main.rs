//! The CPU miner as a program of its own.

use clap::Parser;
use stratum_mining_device::MinerArgs;

/// Mines on this machine's processor for a Stratum V2 pool or proxy
#[derive(Parser)]
#[command(name = "mining-device", version)]
struct Args {
    #[command(flatten)]
    miner: MinerArgs,
}

fn main() -> anyhow::Result<()> {
    Ok(stratum_mining_device::main(&Args::parse().miner)?)
}
