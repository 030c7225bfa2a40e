//! Both ends of a Stratum V1 connection: a miner that submits shares, and the server that judges them.

mod client;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use network_helpers_sv2::Sv1Endpoint;

/// Beats from one share to the next.
const SUBMIT_BEATS: u32 = 2;

/// Beats from one job to the next.
const NOTIFY_BEATS: u32 = 5;

/// A Stratum V1 server and a miner that works for it: a share every two beats, a job every five
#[derive(Parser)]
#[command(name = "client_and_server", version)]
struct Args {
    /// Where the server listens; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:34256")]
    address: SocketAddr,
    /// End when this many shares are answered [default: never]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds [default: never]
    #[arg(long)]
    seconds: Option<u64>,
    // The server closes a connection with more than a hundred lines a second, so a beat is not shorter.
    /// Length of a beat in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    every_ms: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime; check the limits of this user (ulimit -u)")?;
    runtime.block_on(work(args))
}

async fn work(args: &Args) -> anyhow::Result<()> {
    let listener = stratum_runtime::bind(args.address, "--address")?;
    let address = listener.local_addr()?;
    println!("server is listening on {address}");
    let endpoint = Sv1Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        is_tls: false,
    };
    let beat = Duration::from_millis(args.every_ms);
    let both = async {
        tokio::try_join!(
            server::serve(&listener, beat * NOTIFY_BEATS),
            client::mine(&endpoint, beat * SUBMIT_BEATS, args.count),
        )
    };
    let Some(seconds) = args.seconds else {
        return both.await.map(drop);
    };
    match tokio::time::timeout(Duration::from_secs(seconds), both).await {
        Ok(ended) => ended.map(drop),
        Err(_) => {
            println!("ended after {seconds} s");
            Ok(())
        }
    }
}
