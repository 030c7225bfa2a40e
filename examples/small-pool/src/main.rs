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
use stratum_runtime::{SystemClock, bind};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

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

/// The job: a coinbase that anyone may spend (OP_TRUE), in a block of its own.
fn work(full_extranonce_size: usize, now: Now) -> anyhow::Result<WorkState> {
    let script_pubkey = ScriptBuf::from_bytes(vec![0x51]);
    let weight = 1;
    let payouts = vec![Payout {
        script_pubkey,
        weight,
    }];
    let factory = JobFactory::new(payouts, "small-pool", "", full_extranonce_size, true)?;
    let job = factory.job(&JobTemplate {
        template_id: 1,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            // The height, 840 000, as BIP34 has it.
            script_sig_prefix: &[3, 0x40, 0xd1, 0x0c],
            input_sequence: u32::MAX,
            value_remaining_sats: 312_500_000,
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        },
        merkle_path: Arc::new([]),
    })?;
    let (nbits, min_ntime) = (0x1703_4219, now.unix_secs.try_into()?);
    let tip = ChainTip::new([0x5a; 32], nbits, min_ntime, now.instant)?;
    Ok(WorkState::new(tip, [(PayoutId(0), job)]))
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
        work: Arc::new(work(extranonces.full_size(), clock.now())?),
        extranonces: RefCell::new(extranonces),
        good_shares: Cell::new(0),
        count: args.count,
    });
    let listener = bind(args.address, "--address").map_err(anyhow::Error::msg)?;
    println!("listening on {}", listener.local_addr()?);
    let mut miners = JoinSet::new();
    while pool.good_shares.get() < pool.count {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                miners.spawn_local(serve(pool.clone(), stream, clock));
            }
            Some(Ok(ended)) = miners.join_next() => println!("a miner is gone: {ended:?}"),
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
