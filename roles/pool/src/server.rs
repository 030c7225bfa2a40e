//! The pool: a listener, its connections on their cores, and the feed of templates.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use network_helpers_sv2::{
    CloseCounts, CloseReason, Options, ServerSecurity, Spoken, TlsServer, sniff,
};
use pool_core::shard::{PoolConfig, Shard, ShardError};
use roles_logic_sv2::template_client::TemplateClient;
use stratum_runtime::{
    AcceptLimits, BindError, Core as _, CoreRuntimes, Gate, PanicCount, Refusal, Shutdown,
    SystemClock, accept_loop, announce, bind, drive,
};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::counters::{Named, Shares, book_discarded};
use crate::ledger::NullLedger;
use crate::session::{LocalShard, News, Session, Sinks, Templates, Wiring, refresh};
use crate::source::{Blocks, Feed, SourceSnapshot, TemplateSource};
use crate::sv1::{self, Sv1Context, Sv1Listen};

/// Blocks on their way from the connections to the template source. One more is dropped and counted: so many cannot all
/// be on different tips.
pub const BLOCKS_WAITING_MAX: usize = 4_096;

/// What a pool in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where miners connect; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// How connections are secured.
    pub security: ServerSecurity,
    /// Who may connect.
    pub accept: AcceptLimits,
    /// Limits and deadlines of a connection's bytes.
    pub connection: Options,
    /// Threads that serve connections; as many as there are cores when `None`.
    pub threads: Option<NonZeroUsize>,
    /// The rules.
    pub pool: PoolConfig,
    /// How Sv1 miners are served; not at all when `None`.
    pub sv1: Option<Sv1Listen>,
}

impl Config {
    /// The defaults for a listener at `listen` and the rules given.
    pub fn new(listen: SocketAddr, security: ServerSecurity, pool: PoolConfig) -> Self {
        Self {
            listen,
            security,
            accept: AcceptLimits::default(),
            connection: Options {
                max_payload_len: MAX_PAYLOAD_LEN,
                ..Options::default()
            },
            threads: None,
            pool,
            sv1: None,
        }
    }
}

/// Longest message of a miner, in bytes; the longest legal one, a list of extensions, fits.
pub const MAX_PAYLOAD_LEN: usize = 132 * 1024;

/// Why a pool does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Rules that do not fit together.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The operating system refuses a thread or what belongs to a listener.
    #[error(
        "cannot start the threads for connections: {0}; check the limits of this user (ulimit -u)"
    )]
    System(#[from] std::io::Error),
}

/// What a pool has done and sees, for status pages and metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Connections open now, handshakes included.
    pub connections: usize,
    /// Connections let in since start.
    pub accepted: u64,
    /// Connections refused at the door, by [`Refusal::name`]; reasons that never happened are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections ended, by [`CloseReason::name`]; reasons that never happened are left out.
    pub closed: BTreeMap<&'static str, u64>,
    /// What was not done for miners, by reason.
    pub rejects: BTreeMap<&'static str, u64>,
    /// Connections whose task panicked: each one is a defect of this program.
    pub panics: u64,
    /// Shares accepted since start.
    pub shares_accepted: u64,
    /// Hashes that the accepted shares stand for.
    pub hashes: f64,
    /// Shares rejected since start, by the error code sent.
    pub shares_rejected: BTreeMap<&'static str, u64>,
    /// The template source.
    pub source: SourceSnapshot,
}

#[derive(Debug)]
struct Counters {
    gate: Gate,
    closed: CloseCounts,
    panics: PanicCount,
    rejects: Arc<Named>,
    shares: Arc<Shares>,
    source: watch::Receiver<SourceSnapshot>,
}

/// What every connection needs.
struct Context {
    config: Config,
    rules: Arc<PoolConfig>,
    templates: Templates,
    sinks: Sinks,
    shutdown: Shutdown,
    counters: Arc<Counters>,
    next_shard: AtomicU32,
    clock: SystemClock,
}

/// A running pool.
#[derive(Debug)]
pub struct Pool {
    local_addr: SocketAddr,
    sv1_addrs: Vec<SocketAddr>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Pool {
    /// Serves miners with work from `source` until `shutdown` drains; needs a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], whose message says what to do.
    pub fn start(
        config: Config,
        source: TemplateSource,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let cores = CoreRuntimes::new(config.threads, &shutdown)?;
        let mut rules = config.pool.clone();
        rules.shards = u32::try_from(cores.len()).unwrap_or(u32::MAX);
        let rules = Arc::new(rules);
        // Rules that do not fit together are found before anything listens.
        Shard::new(rules.clone(), rules.shards - 1)?;
        let ports = Ports::bind(&config)?;
        let (local_addr, sv1_addrs) = (ports.sv2.local_addr()?, ports.sv1_addrs());

        let clock = SystemClock::new();
        let (template_sender, templates) = watch::channel(None);
        let (block_sender, blocks) = mpsc::channel(BLOCKS_WAITING_MAX);
        let (source_sender, source_snapshot) = watch::channel(SourceSnapshot::default());
        let feed = Feed {
            client: TemplateClient::new(rules.payouts.constraints()),
            templates: template_sender,
            blocks: Blocks::new(blocks),
            snapshot: source_sender,
            clock,
        };
        let counters = Arc::new(Counters {
            gate: Gate::new(config.accept.clone()),
            closed: CloseCounts::default(),
            panics: cores.panics().clone(),
            rejects: Arc::default(),
            shares: Arc::default(),
            source: source_snapshot,
        });
        let sinks = Sinks {
            blocks: block_sender,
            shares: counters.shares.clone(),
            rejects: counters.rejects.clone(),
            ledger: NullLedger,
        };
        let context = Arc::new(Context {
            config,
            rules,
            templates,
            sinks,
            shutdown: shutdown.clone(),
            counters: counters.clone(),
            next_shard: AtomicU32::new(0),
            clock,
        });
        announce("pool", local_addr, &context.config.security);
        for address in &sv1_addrs {
            tracing::info!(%address, "Sv1 miners connect");
        }
        let feeding = tokio::spawn(feed.run(source));
        let task = tokio::spawn(async move {
            serve_all(ports, cores, context).await;
            // All connections are closed; what is left are blocks on their way out.
            tokio::select! {
                _ = feeding => {}
                () = shutdown.ended() => {}
            }
        });
        Ok(Self {
            local_addr,
            sv1_addrs,
            counters,
            task,
        })
    }

    /// The address it listens on, with the port that the operating system chose for port 0.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The ports of their own that Sv1 miners have, the one through TLS last.
    pub fn sv1_addrs(&self) -> &[SocketAddr] {
        &self.sv1_addrs
    }

    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.watcher().snapshot()
    }

    /// A handle to the counters that lives as long as it is needed.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.counters.clone())
    }

    /// Waits until the shutdown has drained it: all connections closed and all blocks handed in, or the grace time over.
    pub async fn join(self) {
        if self.task.await.is_err() {
            tracing::error!("the pool's task panicked: please report this");
        }
    }
}

/// Reads a pool's counters.
#[derive(Clone, Debug)]
pub struct Watcher(Arc<Counters>);

impl Watcher {
    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        let counters = &self.0;
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), counters.gate.refused(refusal)));
        let closed = counters
            .closed
            .iter()
            .map(|(reason, count)| (reason.name(), count));
        Snapshot {
            connections: counters.gate.inside(),
            accepted: counters.gate.accepted(),
            refused: refused
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
            closed: closed.filter(|(_, count)| *count > 0).collect(),
            rejects: counters.rejects.all(),
            panics: counters.panics.count(),
            shares_accepted: counters.shares.accepted(),
            hashes: counters.shares.hashes(),
            shares_rejected: counters.shares.rejected(),
            source: counters.source.borrow().clone(),
        }
    }
}

/// What miners speak on a port.
#[derive(Clone)]
enum Port {
    Sv2,
    /// Sv2, or Sv1 in the clear or through TLS.
    Shared(Option<TlsServer>),
    /// Sv1, in the clear or through TLS.
    Sv1(Option<TlsServer>),
}

/// All listeners of a pool.
struct Ports {
    sv2: TcpListener,
    sv2_port: Port,
    sv1: Vec<(TcpListener, Port)>,
}

impl Ports {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let sv2 = bind(config.listen, "listen.address")?;
        let Some(listen) = &config.sv1 else {
            return Ok(Self {
                sv2,
                sv2_port: Port::Sv2,
                sv1: Vec::new(),
            });
        };
        let tls = listen.tls.as_ref();
        let mut sv1 = Vec::new();
        if let Some(address) = listen.address {
            sv1.push((bind(address, "sv1.address")?, Port::Sv1(None)));
        }
        if let Some(tls) = tls {
            let port = Port::Sv1(Some(tls.server.clone()));
            sv1.push((bind(tls.address, "sv1.tls.address")?, port));
        }
        let sv2_port = match listen.shares_port {
            true => Port::Shared(tls.map(|tls| tls.server.clone())),
            false => Port::Sv2,
        };
        Ok(Self { sv2, sv2_port, sv1 })
    }

    fn sv1_addrs(&self) -> Vec<SocketAddr> {
        let addrs = self.sv1.iter();
        addrs
            .filter_map(|(listener, _)| listener.local_addr().ok())
            .collect()
    }
}

async fn serve_all(ports: Ports, cores: CoreRuntimes, context: Arc<Context>) {
    let mut listeners = JoinSet::new();
    let cores = Arc::new(cores);
    for (listener, port) in ports.sv1.into_iter().chain([(ports.sv2, ports.sv2_port)]) {
        let (context, cores) = (context.clone(), cores.clone());
        listeners.spawn(async move {
            let (gate, shutdown) = (context.counters.gate.clone(), context.shutdown.clone());
            let serve = move |stream, peer| serve(context.clone(), port.clone(), stream, peer);
            accept_loop(listener, gate, &cores, &shutdown, serve).await;
        });
    }
    listeners.join_all().await;
    drop(context);
    let Some(cores) = Arc::into_inner(cores) else {
        return;
    };
    // Joining threads blocks; the last of them ends when all its connections are closed.
    let _ = tokio::task::spawn_blocking(move || cores.join()).await;
}

thread_local! {
    /// A pool's cores are threads of its own, so a thread has one shard.
    static SHARD: RefCell<Option<LocalShard>> = const { RefCell::new(None) };
}

/// The shard of the present core, made with the first connection.
fn local_shard(context: &Context) -> Option<LocalShard> {
    SHARD.with_borrow_mut(|slot| {
        if slot.is_none() {
            let index = context.next_shard.fetch_add(1, Ordering::Relaxed);
            let shard = Shard::new(context.rules.clone(), index).ok()?;
            *slot = Some(Rc::new(RefCell::new(shard)));
        }
        slot.clone()
    })
}

async fn serve(context: Arc<Context>, port: Port, stream: TcpStream, peer: SocketAddr) {
    let first = context.config.connection.handshake_timeout;
    let tls = match port {
        Port::Sv2 => return serve_sv2(context, stream, peer).await,
        Port::Sv1(tls) => tls,
        Port::Shared(tls) => match Box::pin(sniff(&stream, first, tls.is_some())).await {
            Ok(Spoken::Sv1) => None,
            Ok(Spoken::Tls) => tls,
            Ok(Spoken::Sv2) => return serve_sv2(context, stream, peer).await,
            Err(reason) => {
                tracing::debug!(%peer, %reason, "connection ended before it said anything");
                return context.counters.closed.count(reason);
            }
        },
    };
    // In a box, as its state would otherwise be part of every task that serves an Sv2 miner.
    Box::pin(serve_sv1(&context, stream, peer, tls.as_ref())).await;
}

async fn serve_sv1(
    context: &Context,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&TlsServer>,
) {
    let (Some(listen), Some(shard)) = (&context.config.sv1, local_shard(context)) else {
        return context.counters.closed.count(CloseReason::Overloaded);
    };
    let wanted = Sv1Context {
        listen,
        shard,
        news: News::new(context.templates.clone(), context.shutdown.subscribe()),
        sinks: context.sinks.clone(),
        gate: &context.counters.gate,
        closed: &context.counters.closed,
        clock: context.clock,
    };
    sv1::serve(wanted, stream, peer, tls).await;
}

async fn serve_sv2(context: Arc<Context>, stream: TcpStream, peer: SocketAddr) {
    let reason = match open(&context, stream).await {
        Ok(connection) => {
            tracing::debug!(%peer, "miner connected");
            run(&context, connection).await
        }
        Err(reason) => reason,
    };
    tracing::debug!(%peer, %reason, "miner disconnected");
    context.counters.closed.count(reason);
}

async fn open(
    context: &Context,
    stream: TcpStream,
) -> Result<network_helpers_sv2::Connection, CloseReason> {
    let handshake =
        network_helpers_sv2::accept(stream, &context.config.security, context.config.connection);
    tokio::select! {
        opened = handshake => opened,
        () = context.shutdown.draining() => Err(CloseReason::Shutdown),
    }
}

async fn run(context: &Context, connection: network_helpers_sv2::Connection) -> CloseReason {
    let Some(shard) = local_shard(context) else {
        return CloseReason::Overloaded;
    };
    let mut templates = context.templates.clone();
    refresh(&shard, &mut templates, &context.counters.rejects);
    let clock = context.clock;
    let mut session = Session::new(shard, clock.now());
    let mut wiring = Wiring::new(
        templates,
        context.shutdown.subscribe(),
        context.sinks.clone(),
        clock,
    );
    let reason = drive(&mut session, &mut wiring, connection, clock).await;
    session.handle_disconnected();
    while let Some(output) = session.poll_output() {
        // Shares and blocks are still good; there is nobody left to send to.
        let _ = wiring.settle(output, &mut session);
    }
    book_discarded(&context.counters.rejects, &session.downstream);
    reason
}
