//! A client that pings and a server that answers, with messages of our own in frames of Stratum V2.
//!
//! The two programs that use it, `ping_pong_without_noise` and `ping_pong_with_noise`, differ only in what they hand to
//! [`run`] as security: messages and frames are the same in the clear and encrypted.

mod client;
mod messages;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use network_helpers_sv2::{ClientSecurity, Endpoint, ServerSecurity};

pub use messages::{EXTENSION, Ping, Pong};

/// The options of both programs.
#[derive(clap::Args, Clone, Debug)]
pub struct PingPongArgs {
    /// Where the server listens; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:34254")]
    pub address: SocketAddr,
    /// End after this many pings [default: never]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// End after this many seconds [default: never]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Milliseconds from one ping to the next
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub every_ms: u64,
}

/// Runs the server and the client until the client has sent its pings or its time is over.
///
/// # Errors
/// What failed, where, and what to do.
pub fn run(
    args: &PingPongArgs,
    server: &ServerSecurity,
    client: &ClientSecurity,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime; check the limits of this user (ulimit -u)")?;
    runtime.block_on(play(args, server, client))
}

async fn play(
    args: &PingPongArgs,
    server: &ServerSecurity,
    client: &ClientSecurity,
) -> anyhow::Result<()> {
    let listener = stratum_runtime::bind(args.address, "--address")?;
    let address = listener.local_addr()?;
    println!("server: listening on {address}");
    let endpoint = Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: None,
    };
    let both = async {
        tokio::try_join!(
            server::serve(&listener, server),
            client::ping(&endpoint, client, args),
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
