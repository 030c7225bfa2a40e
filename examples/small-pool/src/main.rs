//! A Stratum V2 pool: one template that never changes, shares that are checked and counted, and nobody who is paid.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::ScriptBuf;
use clap::Parser;
use network_helpers_sv2::{Options, ServerSecurity, accept};
use roles_logic_sv2::channels::server::{Grant, OpenRefusal, OpenRequest, ServerChannels};
use roles_logic_sv2::channels::{ChannelKind, PayoutId, WorkState, WorkTerms};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::coinbase::CoinbaseTemplate;
use roles_logic_sv2::downstream::{ChannelOwner, DownstreamOutput, DownstreamSession, JudgedShare};
use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceLayout};
use roles_logic_sv2::job::{ChainTip, JobFactory, JobTemplate, Payout};
use stratum_runtime::SystemClock;
use tokio::net::TcpStream;

/// A Stratum V2 pool without encryption, for a network of your own
#[derive(Parser)]
#[command(name = "small-pool", version)]
struct Args {
    /// Where it listens; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:34254")]
    address: SocketAddr,
    /// End after this many good shares [default: never]
    #[arg(long)]
    count: Option<u64>,
    /// End after this many seconds [default: never]
    #[arg(long)]
    seconds: Option<u64>,
}

/// What all connections share; one thread serves them, so nothing is locked.
struct Pool {
    work: Arc<WorkState>,
    extranonces: RefCell<ExtranonceAllocator>,
    good_shares: Cell<u64>,
    enough: tokio::sync::Notify,
    count: u64,
}

impl Pool {
    fn new(count: u64, now: Now) -> anyhow::Result<Self> {
        let extranonces = ExtranonceAllocator::new(ExtranonceLayout::default(), 0)?;
        // Anyone may spend what this script is paid (OP_TRUE).
        let payout = Payout { script_pubkey: ScriptBuf::from_bytes(vec![0x51]), weight: 1 };
        let factory = JobFactory::new(vec![payout], "small-pool", "", extranonces.full_size(), true)?;
        let coinbase = CoinbaseTemplate {
            tx_version: 2,
            script_sig_prefix: &[3, 0x40, 0xd1, 0x0c], // height 840 000
            input_sequence: u32::MAX,
            value_remaining_sats: 312_500_000,
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        };
        let template =
            JobTemplate { template_id: 1, version: 0x2000_0000, coinbase, merkle_path: Arc::new([]) };
        let min_ntime = u32::try_from(now.unix_secs)?;
        let tip = ChainTip::new([0x5a; 32], 0x1703_4219, min_ntime, now.instant)?;
        let jobs = [(PayoutId(0), factory.job(&template)?)];
        Ok(Self {
            work: Arc::new(WorkState::new(tip, jobs)),
            extranonces: RefCell::new(extranonces),
            good_shares: Cell::new(0),
            enough: tokio::sync::Notify::new(),
            count,
        })
    }
}

/// The session asks its pool about channels, and tells it of shares.
impl ChannelOwner for &Pool {
    fn open(&mut self, channels: &mut ServerChannels, request: OpenRequest, user: &[u8], now: Now) {
        let mut extranonces = self.extranonces.borrow_mut();
        let prefix = match request.kind() {
            ChannelKind::Standard => extranonces.allocate_standard(),
            ChannelKind::Extended => extranonces.allocate_extended(request.min_extranonce_size().into()),
        };
        let Ok(extranonce_prefix) = prefix else {
            return channels.refuse(request, OpenRefusal::CapacityExhausted);
        };
        channels.handle_work(&self.work);
        let full_extranonce_size = extranonces.full_size();
        let terms = WorkTerms::Own;
        let grant = Grant { payout: PayoutId(0), extranonce_prefix, full_extranonce_size, terms };
        match channels.open(request, grant, now) {
            Ok(id) => println!("channel {id} is open for {}", String::from_utf8_lossy(user)),
            Err(failed) => extranonces.release(failed.extranonce_prefix),
        }
    }

    fn judged(&mut self, share: &JudgedShare<'_>, _: &ServerChannels) {
        match &share.verdict.outcome {
            Ok(good) => {
                self.good_shares.set(self.good_shares.get() + 1);
                println!("good share on channel {}, difficulty {}", share.channel_id, good.difficulty.to_f64());
            }
            Err(reason) => println!("bad share on channel {}: {reason}", share.channel_id),
        }
    }
}

async fn serve(stream: TcpStream, pool: &Pool, clock: SystemClock) -> anyhow::Result<()> {
    let mut connection = accept(stream, &ServerSecurity::Plain, Options::default()).await?;
    let mut session = DownstreamSession::new(Arc::default(), clock.now());
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                DownstreamOutput::Send(message) => connection.queue_as(message.kind(), &message, &[])?,
                // A pool stores them first.
                DownstreamOutput::Persist(shares) => session.handle_persisted(shares, clock.now()),
                DownstreamOutput::SubmitBlock(_) => println!("a block!"),
                DownstreamOutput::Released(prefix)
                | DownstreamOutput::Closed { extranonce_prefix: prefix, .. } => {
                    pool.extranonces.borrow_mut().release(prefix);
                }
                DownstreamOutput::Forward(_) => {}
                DownstreamOutput::Close(reason) => {
                    connection.close().await;
                    return Err(reason.into());
                }
            }
        }
        if pool.good_shares.get() >= pool.count {
            // The last answers leave before the pool does.
            connection.flush().await?;
            pool.enough.notify_one();
        }
        let until = session.poll_timeout().and_then(|due| clock.deadline(due));
        connection.ready(until).await?;
        while let Some(frame) = connection.next_frame()? {
            let (header, now) = (frame.header(), clock.now());
            let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
            session.handle_frame(extension_type, msg_type, frame.payload(), &mut &*pool, now);
        }
        session.handle_timeout(clock.now());
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let clock = SystemClock::default();
    let pool = Rc::new(Pool::new(args.count.unwrap_or(u64::MAX), clock.now())?);
    let listener = stratum_runtime::bind(args.address, "--address").map_err(anyhow::Error::msg)?;
    println!("listening on {}", listener.local_addr()?);
    let accepting = async {
        loop {
            let (stream, peer) = listener.accept().await?;
            let pool = pool.clone();
            tokio::task::spawn_local(async move {
                println!("{peer} is there");
                if let Err(error) = serve(stream, &pool, clock).await {
                    println!("{peer} is gone: {error}");
                }
            });
        }
    };
    let time = Duration::from_secs(args.seconds.unwrap_or(u64::from(u32::MAX)));
    tokio::select! {
        failed = accepting => return failed,
        () = pool.enough.notified() => {}
        () = tokio::time::sleep(time) => {}
    }
    println!("good shares: {}", pool.good_shares.get());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tokio::task::LocalSet::new().run_until(run(&args)).await
}
