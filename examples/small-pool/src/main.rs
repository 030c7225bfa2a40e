//! A Stratum V2 pool: one template that never changes, shares that are checked and counted, and nobody who is paid.

mod work;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use network_helpers_sv2::{Options, ServerSecurity, accept};
use roles_logic_sv2::channels::server::{Grant, OpenRefusal, OpenRequest, ServerChannels};
use roles_logic_sv2::channels::{ChannelKind, PayoutId, WorkState, WorkTerms};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::downstream::{ChannelOwner, DownstreamOutput, DownstreamSession, JudgedShare};
use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceLayout};
use stratum_runtime::{SystemClock, bind};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// Miners served at a time; one more waits until another has left.
const MAX_MINERS: usize = 100;

/// Pause after a connection that could not be taken, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A Stratum V2 pool without encryption, for a network of your own
#[derive(Parser)]
#[command(name = "small-pool", version)]
struct Args {
    /// Where it listens; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:34254")]
    address: SocketAddr,
    /// End after so many good shares [default: never]
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// End after so many seconds [default: never]
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

/// What all connections share. One thread serves them, so nothing is locked.
struct Pool {
    extranonces: RefCell<ExtranonceAllocator>,
    work: Arc<WorkState>,
    good_shares: Cell<u64>,
    count: u64,
}

/// What a session asks its pool, and tells it.
impl ChannelOwner for &Pool {
    fn open(&mut self, channels: &mut ServerChannels, request: OpenRequest, _: &[u8], now: Now) {
        let mut extranonces = self.extranonces.borrow_mut();
        let size = request.min_extranonce_size().into();
        let Ok(extranonce_prefix) = (match request.kind() {
            ChannelKind::Standard => extranonces.allocate_standard(),
            ChannelKind::Extended => extranonces.allocate_extended(size),
        }) else {
            return channels.refuse(request, OpenRefusal::CapacityExhausted);
        };
        channels.handle_work(&self.work);
        let grant = Grant {
            payout: PayoutId(0),
            extranonce_prefix,
            full_extranonce_size: extranonces.full_size(),
            terms: WorkTerms::Own,
        };
        match channels.open(request, grant, now) {
            Ok(channel_id) => println!("channel {channel_id} is open"),
            Err(failed) => extranonces.release(failed.extranonce_prefix),
        }
    }

    fn judged(&mut self, share: &JudgedShare<'_>, _: &ServerChannels) {
        match &share.verdict.outcome {
            Ok(good) => println!("good share of difficulty {}", good.difficulty.to_f64()),
            Err(reason) => return println!("bad share: {reason}"),
        }
        self.good_shares.set(self.good_shares.get() + 1);
    }
}

/// Serves a miner until it leaves, or the pool has its shares.
async fn serve(pool: Rc<Pool>, stream: TcpStream, clock: SystemClock) -> anyhow::Result<()> {
    let mut connection = accept(stream, &ServerSecurity::Plain, Options::default()).await?;
    let mut session = DownstreamSession::new(Arc::default(), clock.now());
    while pool.good_shares.get() < pool.count {
        let until = session.poll_timeout().and_then(|due| clock.deadline(due));
        connection.ready(until).await?;
        while let Some(frame) = connection.next_frame()? {
            let (header, payload) = (frame.header(), frame.payload());
            let (extension_type, msg_type, now) =
                (header.extension_type(), header.msg_type(), clock.now());
            session.handle_frame(extension_type, msg_type, payload, &mut &*pool, now);
        }
        session.handle_timeout(clock.now());
        while let Some(output) = session.poll_output() {
            match output {
                DownstreamOutput::Send(sent) => connection.queue_as(sent.kind(), &sent, &[])?,
                // A pool stores them first.
                DownstreamOutput::Persist(shares) => session.handle_persisted(shares, clock.now()),
                DownstreamOutput::SubmitBlock(block) => println!("a block: {:?}", block.solution),
                DownstreamOutput::Close(reason) => {
                    connection.close().await;
                    return Err(reason.into());
                }
                // This pool lends each prefix once and forwards nothing.
                _ => {}
            }
        }
    }
    connection.close().await;
    Ok(())
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let clock = SystemClock::default();
    let extranonces = ExtranonceAllocator::new(ExtranonceLayout::default(), 0)?;
    let pool = Rc::new(Pool {
        work: Arc::new(work::of_one_block(extranonces.full_size(), clock.now())?),
        extranonces: RefCell::new(extranonces),
        good_shares: Cell::new(0),
        count: args.count,
    });
    let listener = bind(args.address, "--address").map_err(anyhow::Error::msg)?;
    println!("listening on {}", listener.local_addr()?);
    let mut miners = JoinSet::new();
    while pool.good_shares.get() < pool.count {
        tokio::select! {
            accepted = listener.accept(), if miners.len() < MAX_MINERS => match accepted {
                Ok((stream, _)) => drop(miners.spawn_local(serve(pool.clone(), stream, clock))),
                Err(error) => {
                    println!("a miner cannot be let in: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = miners.join_next() => println!("a miner is gone: {ended:?}"),
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let local = LocalSet::new();
    let time = Duration::from_secs(args.seconds.into());
    let ended = tokio::time::timeout(time, local.run_until(run(&args)));
    ended.await.unwrap_or(Ok(()))
}
