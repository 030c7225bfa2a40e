//! Ping and pong over Stratum V2 frames, in the clear.

use std::process::ExitCode;

use clap::Parser;
use network_helpers_sv2::{ClientSecurity, ServerSecurity};
use ping_pong::PingPongArgs;

/// A server and a client that send each other our own messages in Stratum V2 frames, unencrypted
#[derive(Parser)]
#[command(name = "ping_pong_without_noise", version)]
struct Args {
    #[command(flatten)]
    ping_pong: PingPongArgs,
}

fn main() -> ExitCode {
    let args = Args::parse().ping_pong;
    match ping_pong::run(&args, &ServerSecurity::Plain, &ClientSecurity::Plain) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
