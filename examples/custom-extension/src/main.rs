//! An extension of one's own: negotiated, and with messages of its own.

mod client;
mod messages;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use const_sv2::EXTENSION_WORKER_IDENTITY;
use network_helpers_sv2::Endpoint;
use roles_logic_sv2::extensions::ExtensionPolicy;

use messages::COOLING;

/// A server and a device that agree on an extension of our own, and speak it
#[derive(Parser)]
#[command(name = "custom_extension", version)]
struct Args {
    /// Where the server listens; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:34257")]
    address: SocketAddr,
    /// End after this many reports [default: never]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// End after this many seconds [default: never]
    #[arg(long)]
    seconds: Option<u64>,
    /// Milliseconds from one report to the next
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every_ms: u64,
    /// The server does not know the extension
    #[arg(long)]
    unknown: bool,
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

#[tokio::main(flavor = "current_thread")]
async fn run(args: &Args) -> anyhow::Result<()> {
    // Without its source, which the message tells already.
    let listener = stratum_runtime::bind(args.address, "--address").map_err(anyhow::Error::msg)?;
    let address = listener.local_addr().context("the port is not known")?;
    println!("server: listening on {address}");
    let endpoint = Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: None,
    };
    let ours = (!args.unknown).then_some(COOLING);
    let supported = [EXTENSION_WORKER_IDENTITY].into_iter().chain(ours);
    let policy = ExtensionPolicy::new(supported, []);
    let both = async {
        tokio::try_join!(
            server::serve(&listener, &policy),
            client::report(&endpoint, args),
        )
    };
    let time = Duration::from_secs(args.seconds.unwrap_or(u32::MAX.into()));
    match tokio::time::timeout(time, both).await {
        Ok(ended) => ended.map(drop),
        Err(_) => {
            println!("ended after {} s", time.as_secs());
            Ok(())
        }
    }
}
