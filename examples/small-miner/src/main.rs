//! A CPU miner for Stratum V2 pools: one extended channel, one thread.

use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use network_helpers_sv2::{ClientSecurity, Endpoint, Options, connect};
use roles_logic_sv2::channels::client::{ClientEvent, Found, OpenTerms, Work};
use roles_logic_sv2::upstream::{UpstreamEvent, UpstreamOutput, UpstreamSession};
use stratum_runtime::SystemClock;
use tokio::time::{Instant, timeout};

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
    /// End when so many shares are accepted [default: never]
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// End after so many seconds [default: never]
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

async fn mine(args: &Args) -> anyhow::Result<()> {
    let authority = args.pool.authority;
    let security = match args.plain {
        true => ClientSecurity::Plain,
        false => ClientSecurity::Noise { authority },
    };
    let connected = connect(&args.pool, &security, Options::default()).await;
    let mut connection = connected.map_err(anyhow::Error::msg)?;
    let clock = SystemClock::default();
    let mut session = UpstreamSession::new(Default::default(), clock.now());
    let (mut nonce, mut accepted) = (0_u32, 0);
    while accepted < args.count {
        // The session keeps the rules of the protocol; what it wants done is done here.
        while let Some(output) = session.poll_output() {
            match output {
                UpstreamOutput::Send(sent) => connection.queue_as(sent.kind(), &sent, &[])?,
                UpstreamOutput::Share(share) => connection.queue(&share.message)?,
                UpstreamOutput::Event(UpstreamEvent::Ready) => {
                    let mut terms = OpenTerms::default();
                    (terms.nominal_hash_rate, terms.min_extranonce_size) = (1e6, 4);
                    session.open_extended(args.user.clone().try_into()?, terms, clock.now())?;
                }
                UpstreamOutput::Event(UpstreamEvent::Channel(event)) => accepted += note(event)?,
                UpstreamOutput::Close(end) => return Err(end.into()),
                // Of standard channels and of devices behind a proxy, which this miner has none of.
                _ => {}
            }
        }
        // Without work it waits for the pool's next word, with work it only looks whether there is one.
        let mut until = Instant::now() + Duration::from_millis(100);
        let channels = session.channels();
        let channel_id = channels.channels().next().map(|channel| channel.id());
        if let Some(work) = channel_id.and_then(|id| channels.work(id).cloned()) {
            if let Some(found) = search(&work, &[0; 32], nonce) {
                println!("found: nonce {} for job {}", found.nonce, work.job_id());
                session.submit(&work, &found, None, clock.now())?;
            }
            nonce = nonce.wrapping_add(HASHES_AT_A_TIME);
            until = Instant::now();
        }
        connection.ready(Some(until)).await?;
        while let Some(frame) = connection.next_frame()? {
            let (header, payload) = (frame.header(), frame.payload());
            let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
            session.handle_frame(extension_type, msg_type, payload, clock.now());
        }
        session.handle_timeout(clock.now());
    }
    Ok(())
}

/// Shows what the pool did; gives the shares that it accepted.
fn note(event: ClientEvent) -> anyhow::Result<u64> {
    println!("{event:?}");
    match event {
        ClientEvent::Acknowledged(success) => Ok(success.new_submits_accepted_count.into()),
        ClientEvent::OpenRefused { error_code, .. } => Err(anyhow!("no channel: {error_code}")),
        _ => Ok(0),
    }
}

/// The first share whose nonce is `start` or one of those that follow.
fn search<'a>(work: &Work, extranonce: &'a [u8], start: u32) -> Option<Found<'a>> {
    let mut found = Found {
        nonce: start,
        ntime: work.min_ntime(),
        version: work.version(),
        extranonce: extranonce.get(..work.extranonce_size())?,
    };
    let mut header = work.header(&found)?;
    found.nonce = (0..HASHES_AT_A_TIME).find_map(|at| {
        header.nonce = start.wrapping_add(at);
        let is_share = work.target().is_met_by(&header.hash());
        is_share.then_some(header.nonce)
    })?;
    Some(found)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let time = Duration::from_secs(args.seconds.into());
    timeout(time, mine(&args)).await.unwrap_or(Ok(()))
}
