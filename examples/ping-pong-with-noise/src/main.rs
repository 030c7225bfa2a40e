//! Ping and pong over Stratum V2 frames, encrypted by Noise.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use network_helpers_sv2::{ClientSecurity, ServerIdentity, ServerSecurity, random_bytes};
use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};
use ping_pong::PingPongArgs;

/// A server and a client that send each other our own messages in Stratum V2 frames, encrypted by Noise
#[derive(Parser)]
#[command(name = "ping_pong_with_noise", version)]
struct Args {
    #[command(flatten)]
    ping_pong: PingPongArgs,
    /// Authority that the client expects; with any other than the server's the handshake fails [default: the server's]
    #[arg(long, value_name = "KEY")]
    expect: Option<AuthorityPublicKey>,
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
    // In practice the secret key stays with the operator, who publishes the public one: `stratum keys` makes a pair.
    let authority = AuthoritySecretKey::generate(random_bytes)?;
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    let authority = identity.authority();
    println!("server: my authority is {authority}");
    let client = ClientSecurity::Noise {
        authority: Some(args.expect.unwrap_or(authority)),
    };
    let server = ServerSecurity::Noise(Arc::new(identity));
    ping_pong::run(&args.ping_pong, &server, &client)
}
