//! A CPU miner for Stratum V2 pools: one extended channel, one thread.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use network_helpers_sv2::{ClientSecurity, Endpoint, Options, connect};
use roles_logic_sv2::channels::client::{ClientEvent, Found, OpenTerms, Work};
use roles_logic_sv2::upstream::{UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms};
use stratum_runtime::SystemClock;
use tokio::time::Instant;

/// Hashes between two looks at the connection: some milliseconds of one core.
const HASHES_AT_A_TIME: u32 = 10_000;

/// Mines for a Stratum V2 pool, with one thread
#[derive(Parser)]
#[command(name = "small-miner", version)]
struct Args {
    /// Address of the pool: stratum2+tcp://HOST:PORT/KEY, or HOST:PORT to believe any key
    pool: Endpoint,
    /// Whom to pay, as the pool wants it
    #[arg(long, default_value = "miner")]
    user: String,
    /// Connect without encryption
    #[arg(long)]
    plain: bool,
    /// Shares to find before it ends [default: no end]
    #[arg(long)]
    count: Option<u64>,
    /// Seconds after which it ends [default: no end]
    #[arg(long)]
    seconds: Option<u64>,
}

async fn mine(args: &Args) -> Result<(), Box<dyn Error>> {
    let security = match (args.plain, args.pool.authority) {
        (true, _) => ClientSecurity::Plain,
        (false, authority) => ClientSecurity::Noise { authority },
    };
    let mut connection = connect(&args.pool, &security, Options::default()).await?;
    let clock = SystemClock::default();
    let mut session = UpstreamSession::new(UpstreamTerms::default(), clock.now());
    let (mut nonce, mut accepted) = (0_u32, 0);
    loop {
        // The session keeps the rules of the protocol. Here is done what it wants done: send, and take note.
        while let Some(output) = session.poll_output() {
            match output {
                UpstreamOutput::Send(message) => {
                    connection.queue_as(message.kind(), &message, &[])?;
                }
                UpstreamOutput::Share(share) => connection.queue(&share.message)?,
                UpstreamOutput::Event(UpstreamEvent::Ready) => {
                    let terms = OpenTerms {
                        nominal_hash_rate: 1_000_000.0,
                        min_extranonce_size: 4,
                        ..OpenTerms::default()
                    };
                    session.open_extended(args.user.clone().try_into()?, terms, clock.now())?;
                }
                UpstreamOutput::Event(UpstreamEvent::Channel(event)) => accepted += note(&event)?,
                UpstreamOutput::Close(end) => return Err(end.into()),
                // Of standard channels and of devices behind a proxy, which this miner has none of.
                _ => {}
            }
        }
        if accepted >= args.count.unwrap_or(u64::MAX) {
            return Ok(());
        }
        // Without work it waits for the pool's next word, with work it only looks whether there is one.
        let channels = session.channels();
        let channel_id = channels.channels().next().map(|channel| channel.id());
        let work = channel_id.and_then(|id| channels.work(id).cloned());
        let wait = Duration::from_millis(if work.is_some() { 0 } else { 100 });
        if let Some(work) = work {
            if let Some(found) = search(&work, &[0; 32], nonce) {
                println!("found: nonce {} for job {}", found.nonce, work.job_id());
                session.submit(&work, &found, None, clock.now())?;
            }
            nonce = nonce.wrapping_add(HASHES_AT_A_TIME);
        }
        connection.ready(Some(Instant::now() + wait)).await?;
        while let Some(frame) = connection.next_frame()? {
            let (header, now) = (frame.header(), clock.now());
            session.handle_frame(header.extension_type(), header.msg_type(), frame.payload(), now);
        }
        session.handle_timeout(clock.now());
    }
}

/// Shows what the pool did; gives the shares that it accepted.
fn note(event: &ClientEvent) -> Result<u64, String> {
    match event {
        ClientEvent::Acknowledged(message) => {
            let count = message.new_submits_accepted_count;
            println!("accepted: shares up to number {}, {count} more", message.last_sequence_number);
            return Ok(count.into());
        }
        ClientEvent::OpenRefused { error_code, .. } => {
            return Err(format!("the pool opens no channel: {error_code}"));
        }
        other => println!("{other:?}"),
    }
    Ok(0)
}

/// The first share whose nonce is `start` or one of those that follow.
fn search<'a>(work: &Work, extranonce: &'a [u8], start: u32) -> Option<Found<'a>> {
    let found = |nonce| {
        Some(Found {
            nonce,
            ntime: work.min_ntime(),
            version: work.version(),
            extranonce: extranonce.get(..work.extranonce_size())?,
        })
    };
    let mut header = work.header(&found(start)?)?;
    (0..HASHES_AT_A_TIME).find_map(|at| {
        header.nonce = start.wrapping_add(at);
        let is_share = work.target().is_met_by(&header.hash());
        is_share.then(|| found(header.nonce)).flatten()
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let time = Duration::from_secs(args.seconds.unwrap_or(u64::from(u32::MAX)));
    match tokio::time::timeout(time, mine(&args)).await {
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Ok(Ok(())) | Err(_) => ExitCode::SUCCESS,
    }
}
