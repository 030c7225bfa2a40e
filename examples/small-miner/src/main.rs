//! A CPU miner for Stratum V2 pools: one extended channel, one thread.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use network_helpers_sv2::{ClientSecurity, Connection, Endpoint, Options, connect};
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
    /// Shares to find before it ends; without it there is no end
    #[arg(long)]
    count: Option<u64>,
}

struct Miner {
    connection: Connection,
    session: UpstreamSession,
    clock: SystemClock,
    user: String,
    nonce: u32,
    accepted: u64,
}

impl Miner {
    /// Does what the session wants done: sends its messages, and takes note of what the pool did.
    fn act(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some(output) = self.session.poll_output() {
            match output {
                UpstreamOutput::Send(message) => {
                    self.connection.queue_as(message.kind(), &message, &[])?;
                }
                UpstreamOutput::Share(share) => self.connection.queue(&share.message)?,
                UpstreamOutput::Event(event) => self.note(event)?,
                UpstreamOutput::Close(end) => return Err(end.into()),
                // Of standard channels and of devices behind a proxy, which this miner has none of.
                UpstreamOutput::StandardShare(_) | UpstreamOutput::Forward(_) => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, event: UpstreamEvent) -> Result<(), Box<dyn Error>> {
        match event {
            UpstreamEvent::Ready => {
                let terms = OpenTerms {
                    nominal_hash_rate: 1_000_000.0,
                    min_extranonce_size: 4,
                    ..OpenTerms::default()
                };
                let user = self.user.clone().try_into()?;
                self.session.open_extended(user, terms, self.clock.now())?;
            }
            UpstreamEvent::Channel(ClientEvent::Acknowledged(message)) => {
                self.accepted += u64::from(message.new_submits_accepted_count);
                println!("accepted: {} shares by now", self.accepted);
            }
            UpstreamEvent::Channel(ClientEvent::OpenRefused { error_code, .. }) => {
                return Err(format!("the pool opens no channel: {error_code}").into());
            }
            other => println!("{other:?}"),
        }
        Ok(())
    }

    /// Hashes for a moment and hands in what was found; `false` when there is no work.
    fn mine(&mut self) -> Result<bool, Box<dyn Error>> {
        let channels = self.session.channels();
        let channel_id = channels.channels().next().map(|channel| channel.id());
        let Some(work) = channel_id.and_then(|id| channels.work(id).cloned()) else {
            return Ok(false);
        };
        let extranonce = vec![0; work.extranonce_size()];
        if let Some(nonce) = search(&work, &extranonce, self.nonce) {
            let found = found(&work, &extranonce, nonce);
            self.session.submit(&work, &found, None, self.clock.now())?;
            println!("found: nonce {nonce} for job {}", work.job_id());
        }
        self.nonce = self.nonce.wrapping_add(HASHES_AT_A_TIME);
        Ok(true)
    }

    async fn run(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        while self.accepted < count {
            let is_mining = self.mine()?;
            self.act()?;
            // Without work it waits for the pool's next word, with work it only looks whether there is one.
            let wait = Duration::from_millis(if is_mining { 0 } else { 100 });
            self.connection.ready(Some(Instant::now() + wait)).await?;
            while let Some(frame) = self.connection.next_frame()? {
                let header = frame.header();
                let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
                let now = self.clock.now();
                self.session
                    .handle_frame(extension_type, msg_type, frame.payload(), now);
            }
            self.session.handle_timeout(self.clock.now());
            self.act()?;
        }
        Ok(())
    }
}

fn found<'a>(work: &Work, extranonce: &'a [u8], nonce: u32) -> Found<'a> {
    Found {
        nonce,
        ntime: work.min_ntime(),
        version: work.version(),
        extranonce,
    }
}

/// The first nonce from `start` on whose header meets the target.
fn search(work: &Work, extranonce: &[u8], start: u32) -> Option<u32> {
    let mut header = work.header(&found(work, extranonce, start))?;
    (0..HASHES_AT_A_TIME).find_map(|at| {
        header.nonce = start.wrapping_add(at);
        let hash = header.hash();
        work.target().is_met_by(&hash).then_some(header.nonce)
    })
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let security = match args.plain {
        true => ClientSecurity::Plain,
        false => ClientSecurity::Noise {
            authority: args.pool.authority,
        },
    };
    let clock = SystemClock::default();
    let mut miner = Miner {
        connection: connect(&args.pool, &security, Options::default()).await?,
        session: UpstreamSession::new(UpstreamTerms::default(), clock.now()),
        clock,
        user: args.user.clone(),
        nonce: 0,
        accepted: 0,
    };
    miner.run(args.count.unwrap_or(u64::MAX)).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
