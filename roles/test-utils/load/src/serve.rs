//! The servers that `--self` measures, each in a process of its own.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use binary_sv2::Message;
use bitcoin::Network;
use bitcoin_node::hub::TemplateHub;
use bitcoin_node::rpc::RpcError;
use bitcoin_node::{BlockStanding, Node, NodeFuture, NodeState, NodeStatus, SubmitOutcome};
use const_sv2::MessageKind;
use framing_sv2::Header;
use mining_sv2::{SetNewPrevHash, SubmitSharesSuccess};
use network_helpers_sv2::{Endpoint, ServerIdentity, ServerSecurity};
use noise_sv2::AuthoritySecretKey;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::block_template::{BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU};
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_pool::{Config, Pool, TemplateSource};
use stratum_runtime::{AcceptLimits, CoreRuntimes, Shutdown, raise_open_files, random_bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::args::{Args, ServerRole};
use crate::process::NEW_TIP;

/// Shares that a channel of the measured pool remembers on one tip: what the fastest client sends in minutes.
const MAX_SHARES_PER_TIP: usize = 1 << 26;

/// Height of the block to be mined at first.
const FIRST_HEIGHT: u32 = 840_000;

/// The network's target at that height: no share is a block.
const NBITS: u32 = 0x1703_4219;

/// Is one of the servers until standard input ends, as it does when the client has ended.
pub(crate) fn serve(role: ServerRole, args: &Args) -> anyhow::Result<()> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the server's runtime")?;
    let (tip, tips) = watch::channel(0);
    let shutdown = Shutdown::new();
    let ending = shutdown.clone();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line == NEW_TIP {
                tip.send_modify(|tip| *tip += 1);
            }
        }
        ending.end();
    });
    runtime.block_on(async {
        match role {
            ServerRole::Pool => run_pool(args, tips, shutdown).await,
            ServerRole::Floor => run_floor(args, tips, shutdown).await,
        }
    })
}

/// Tells the client where to connect, as a line on standard output.
fn tell(address: SocketAddr, identity: Option<&ServerIdentity>) -> anyhow::Result<()> {
    let endpoint = Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: identity.map(ServerIdentity::authority),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{endpoint}")
        .and_then(|()| out.flush())
        .context("tell the client where to connect")
}

async fn run_pool(
    args: &Args,
    mut tips: watch::Receiver<u32>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let authority = AuthoritySecretKey::from_bytes(&random_bytes()).context("authority key")?;
    let identity = Arc::new(ServerIdentity::new(
        authority,
        ServerIdentity::DEFAULT_VALIDITY,
    ));
    let config = Config {
        accept: AcceptLimits {
            connections: usize::MAX,
            per_address: usize::MAX,
            per_second: u32::MAX,
            burst: u32::MAX,
            ..AcceptLimits::default()
        },
        threads: args.threads,
        ..Config::new(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            ServerSecurity::Noise(identity.clone()),
            rules(args)?,
        )
    };
    let (states, node) = watch::channel(state(0));
    let hub = TemplateHub::spawn(Arc::new(FixedNode(node)));
    let pool = Pool::start(config, TemplateSource::InProcess(hub), shutdown.clone())?;
    tell(pool.local_addr(), Some(&identity))?;
    loop {
        tokio::select! {
            () = shutdown.ended() => break,
            changed = tips.changed() => match changed {
                Ok(()) => { states.send_replace(state(*tips.borrow_and_update())); }
                Err(_) => break,
            },
        }
    }
    pool.join().await;
    Ok(())
}

/// The pool's rules, but for targets that stay as easy as the client asks.
fn rules(args: &Args) -> anyhow::Result<PoolConfig> {
    let payouts = PoolPayouts::new(Network::Bitcoin, [("raw(51)", 1)])?;
    let channels = ServerConfig {
        vardiff: VardiffConfig {
            shares_per_minute: 1e9,
            min_difficulty: f64::MIN_POSITIVE,
        },
        is_target_fixed: true,
        slices: SliceLimits {
            max_shares: args.acks.get(),
            ..SliceLimits::default()
        },
        max_shares_per_tip: MAX_SHARES_PER_TIP,
        ..ServerConfig::default()
    };
    Ok(PoolConfig {
        channels: Arc::new(channels),
        ..PoolConfig::new(payouts)
    })
}

/// A node whose tip changes when the client says so.
struct FixedNode(watch::Receiver<NodeState>);

impl Node for FixedNode {
    fn name(&self) -> &str {
        "fixed"
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.0.clone()
    }

    fn submit_block(&self, _: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        Box::pin(std::future::ready(SubmitOutcome::Inconclusive))
    }

    fn block_standing(&self, _: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        Box::pin(std::future::ready(Ok(BlockStanding::Unknown)))
    }
}

fn state(tip: u32) -> NodeState {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u32::try_from(now.unwrap_or_default().as_secs()).unwrap_or(u32::MAX);
    let mut prev_hash = [0x5a; 32];
    let (height, _) = prev_hash.split_at_mut(4);
    height.copy_from_slice(&tip.to_le_bytes());
    let template = BlockTemplate {
        height: FIRST_HEIGHT + tip,
        version: 0x2000_0000,
        prev_hash,
        nbits: NBITS,
        current_time_secs: now,
        min_time_secs: now.saturating_sub(3600),
        subsidy_sats: 312_500_000,
        transactions: Vec::new(),
        segwit_active: true,
        weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
        sigops_limit: MAX_BLOCK_SIGOPS_COST,
        is_provisional: false,
    };
    NodeState {
        status: NodeStatus::Ready,
        chain: Some(Network::Bitcoin),
        template: Some(Arc::new(template)),
        generation: u64::from(tip) + 1,
    }
}

/// What the bare server writes.
struct Bare {
    share_len: usize,
    acks: usize,
    ack_len: usize,
    /// Acknowledgements, one after the other.
    ack_frames: Vec<u8>,
    tip_frame: Vec<u8>,
}

/// Acknowledgements that the bare server writes at once.
const ACKS_AT_ONCE: usize = 1024;

/// Bytes that the bare server reads at once.
const READ_LEN: usize = 16 * 1024;

impl Bare {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let [share_len, ack_len, tip_len] = *args.bare_lens else {
            anyhow::bail!("--bare-lens needs three lengths");
        };
        anyhow::ensure!(share_len > 0, "a share has some bytes");
        let ack = frame(&SubmitSharesSuccess::KIND, ack_len)?;
        Ok(Self {
            share_len,
            acks: args.acks.get() as usize,
            ack_len,
            ack_frames: ack.repeat(ACKS_AT_ONCE),
            tip_frame: frame(&SetNewPrevHash::KIND, tip_len)?,
        })
    }
}

/// A frame of `len` bytes, zeros behind its header.
fn frame(kind: &MessageKind, len: usize) -> anyhow::Result<Vec<u8>> {
    let payload_len = len
        .checked_sub(Header::LEN)
        .context("a frame has a header")?;
    let mut frame = Header::for_message(kind, payload_len)?.to_bytes().to_vec();
    frame.resize(len, 0);
    Ok(frame)
}

async fn run_floor(
    args: &Args,
    tips: watch::Receiver<u32>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let bare = Arc::new(Bare::new(args)?);
    let cores = CoreRuntimes::new(args.threads, &shutdown)?;
    let listener = stratum_runtime::bind(([127, 0, 0, 1], 0).into(), "the bare server")?;
    tell(listener.local_addr()?, None)?;
    loop {
        tokio::select! {
            () = shutdown.ended() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("accept")?;
                stream.set_nodelay(true)?;
                let (bare, tips) = (bare.clone(), tips.clone());
                cores.spawn(move || async move {
                    // An error is the client's end.
                    let _ = answer(stream, &bare, tips).await;
                })?;
            }
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    bare: &Bare,
    mut tips: watch::Receiver<u32>,
) -> std::io::Result<()> {
    let mut unread = 0;
    let mut owed = 0;
    tips.mark_unchanged();
    loop {
        tokio::select! {
            biased;
            Ok(()) = tips.changed() => stream.write_all(&bare.tip_frame).await?,
            ready = stream.readable() => {
                ready?;
                match read(&stream)? {
                    Some(0) => return Ok(()),
                    len => unread += len.unwrap_or(0),
                }
                owed += unread / bare.share_len;
                unread %= bare.share_len;
                let len = owed / bare.acks * bare.ack_len;
                owed %= bare.acks;
                let acks = bare.ack_frames.get(..len).unwrap_or(&bare.ack_frames);
                if !acks.is_empty() {
                    stream.write_all(acks).await?;
                }
            }
        }
    }
}

/// Reads and forgets; apart from [`answer`], so that no idle connection holds the buffer. `None` when nothing is there.
fn read(stream: &TcpStream) -> std::io::Result<Option<usize>> {
    READ_BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        read => read.map(Some),
    })
}

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_LEN]);
}
