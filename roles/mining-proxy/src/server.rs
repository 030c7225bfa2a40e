//! The proxy: its listeners, and miners on their threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mining_proxy_core::{ConfigError, ProxyConfig};
use network_helpers_sv2::{ClientSecurity, CloseCounts, LineOptions, Options};
use stratum_runtime::config::sv1::{DEFAULT_BAN, TlsListen};
use stratum_runtime::{
    AcceptLimits, Ban, BindError, CoreRuntimes, Gate, PanicCount, Refusal, Shutdown, accept_loop,
    bind, serve_lines,
};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::front::{Front, Order, Orders};
use crate::miner::Miner;

/// Longest message of an upstream, in bytes: room for a job with the longest coinbase parts.
pub const MAX_PAYLOAD_LEN: usize = 256 * 1024;

/// Bytes that may wait for an upstream that does not read; with more it is left. 20 000 miners with ten shares a minute
/// find 11 MB of them within the 30 seconds after which it is left in any case.
pub const MAX_OUTBOUND_LEN: usize = 16 * 1024 * 1024;

/// Orders that may wait for one thread; who gives one more waits too.
const MAX_ORDERS: usize = 64;

/// What a proxy in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where miners connect; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Where they connect through TLS.
    pub tls: Option<TlsListen>,
    /// How the connection to each upstream is secured, in the order of the rules' upstreams.
    pub security: Vec<ClientSecurity>,
    /// Limits and deadlines of connections to upstreams.
    pub upstream_options: Options,
    /// Who may connect.
    pub accept: AcceptLimits,
    /// Limits and deadlines of miners' connections.
    pub connection: LineOptions,
    /// How long an address is banned whose miner broke the rules; zero for not at all.
    pub ban: Duration,
    /// Threads that serve miners, each with upstream connections of its own.
    pub threads: NonZeroUsize,
    /// The rules.
    pub rules: ProxyConfig,
}

impl Config {
    /// The defaults for a listener at `listen`; `security` has an entry for each upstream of the rules.
    pub fn new(listen: SocketAddr, security: Vec<ClientSecurity>, rules: ProxyConfig) -> Self {
        Self {
            listen,
            tls: None,
            security,
            upstream_options: Options {
                handshake_timeout: rules.answer_timeout,
                max_payload_len: MAX_PAYLOAD_LEN,
                max_outbound_len: MAX_OUTBOUND_LEN,
                // A pool has nothing to say while nothing changes; the rules know when silence means something.
                idle_timeout: None,
                ..Options::default()
            },
            accept: AcceptLimits::default(),
            connection: LineOptions {
                // Miners are silent until they find something; the time without a share is bounded by the rules.
                idle_timeout: None,
                ..LineOptions::server()
            },
            ban: DEFAULT_BAN,
            threads: NonZeroUsize::MIN,
            rules,
        }
    }
}

/// Why a proxy does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Rules that make no sense.
    #[error("the rules make no sense: {0}")]
    Rules(#[from] ConfigError),
    /// There is no upstream, or not one way to secure each.
    #[error("no upstream is configured; add one with its url")]
    NoUpstream,
    /// The operating system refuses a thread or what belongs to a listener.
    #[error("cannot start the threads for miners: {0}; check the limits of this user (ulimit -u)")]
    System(#[from] std::io::Error),
}

/// What a proxy has done and sees, for status pages and metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The rules' side, of all threads together.
    pub core: mining_proxy_core::Snapshot,
    /// Connections open now, handshakes included.
    pub connections: usize,
    /// Connections let in since start.
    pub connected: u64,
    /// Connections refused at the door, by [`Refusal::name`]; reasons that never happened are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections ended, by `CloseReason::name`; reasons that never happened are left out.
    pub closed: BTreeMap<&'static str, u64>,
    /// Addresses banned now.
    pub bans: Vec<Ban>,
    /// Connections whose task panicked: each one is a defect of this program.
    pub panics: u64,
}

/// What all connections need.
pub(crate) struct Context {
    /// As it was at the start.
    pub(crate) config: Arc<Config>,
    pub(crate) shutdown: Shutdown,
    pub(crate) gate: Gate,
    pub(crate) closed: CloseCounts,
    panics: PanicCount,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    local_addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    watcher: Watcher,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Serves miners until `shutdown` drains; needs a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], whose message says what to do.
    pub fn start(config: Config, shutdown: Shutdown) -> Result<Self, StartError> {
        check(&config)?;
        let listener = bind(config.listen, "listen.address")?;
        let local_addr = listener.local_addr()?;
        let tls = config.tls.as_ref();
        let tls = tls.map(|tls| bind(tls.address, "listen.tls_address"));
        let tls = tls.transpose()?;
        let tls_addr = tls.as_ref().map(TcpListener::local_addr).transpose()?;

        let cores = CoreRuntimes::new(Some(config.threads), &shutdown)?;
        let context = Arc::new(Context {
            gate: Gate::new(config.accept.clone()),
            closed: CloseCounts::default(),
            panics: cores.panics().clone(),
            shutdown: shutdown.clone(),
            config: Arc::new(config),
        });
        let mut orders = Vec::new();
        for _ in 0..cores.len() {
            let (sender, receiver) = mpsc::channel(MAX_ORDERS);
            orders.push(sender);
            let context = context.clone();
            let started = cores.spawn(move || keep(context, receiver));
            started.map_err(std::io::Error::other)?;
        }
        let watcher = Watcher {
            context: context.clone(),
            orders: orders.into(),
        };
        tracing::info!(%local_addr, tls_addr = tls_addr.map(tracing::field::display), "listening for miners");
        let task = tokio::spawn(serve_all(listener, tls, cores, context));
        Ok(Self {
            local_addr,
            tls_addr,
            watcher,
            task,
        })
    }

    /// The address it listens on, with the port that the operating system chose for port 0.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address it listens on for TLS.
    pub const fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_addr
    }

    /// A handle to see how it is doing, as long as that is needed.
    pub fn watcher(&self) -> Watcher {
        self.watcher.clone()
    }

    /// See [`Reloader::reload`].
    ///
    /// # Errors
    /// As there.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, StartError> {
        self.reloader().reload(config).await
    }

    /// A handle that gives it another configuration, as long as that is needed.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.watcher.clone())
    }

    /// Waits until the shutdown has drained it: miners told to come again and closed, the last shares answered, or the
    /// grace time over.
    pub async fn join(self) {
        if self.task.await.is_err() {
            tracing::error!("the proxy's task panicked: please report this");
        }
    }
}

/// Sees how a proxy is doing.
#[derive(Clone)]
pub struct Watcher {
    context: Arc<Context>,
    orders: Arc<[mpsc::Sender<Order>]>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// How it is now. Threads that have ended are left out.
    pub async fn snapshot(&self) -> Snapshot {
        let mut core = mining_proxy_core::Snapshot::default();
        for thread in &*self.orders {
            let (sender, answer) = oneshot::channel();
            if thread.send(Order::Snapshot(sender)).await.is_ok()
                && let Ok(more) = answer.await
            {
                core.merge(more);
            }
        }
        let (gate, closed) = (&self.context.gate, &self.context.closed);
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), gate.refused(refusal)));
        let closed = closed.iter().map(|(reason, count)| (reason.name(), count));
        let is_any = |(_, count): &(&str, u64)| *count > 0;
        Snapshot {
            core,
            connections: gate.inside(),
            connected: gate.accepted(),
            refused: refused.into_iter().filter(is_any).collect(),
            closed: closed.filter(is_any).collect(),
            bans: gate.bans(tokio::time::Instant::now()),
            panics: self.context.panics.count(),
        }
    }
}

/// Gives a proxy another configuration while it runs.
#[derive(Clone, Debug)]
pub struct Reloader(Watcher);

impl Reloader {
    /// Takes another configuration: its upstreams and what concerns them at once, all else for miners and connections that
    /// are yet to come. Gives the keys whose change takes effect at the next start only. Listeners stay open, and a miner
    /// whose upstream did not change notices nothing.
    ///
    /// # Errors
    /// [`StartError`]; then nothing has changed.
    pub async fn reload(&self, mut config: Config) -> Result<Vec<&'static str>, StartError> {
        check(&config)?;
        let Watcher { context, orders } = &self.0;
        let start = &context.config;
        let later = fixed_keys(start, &config);
        if tls_address(&config) != tls_address(start) {
            config.tls.clone_from(&start.tls);
        }
        let config = Arc::new(config);
        for thread in &**orders {
            let (sender, answer) = oneshot::channel();
            let order = Order::Reload(config.clone(), sender);
            if thread.send(order).await.is_ok()
                && let Ok(taken) = answer.await
            {
                // All threads have had the same configurations, so all take one or none does.
                taken?;
            }
        }
        Ok(later)
    }
}

/// Whether a proxy can run as this says.
fn check(config: &Config) -> Result<(), StartError> {
    let count = config.rules.upstreams.len();
    if count == 0 || config.security.len() != count {
        return Err(StartError::NoUpstream);
    }
    let now = stratum_runtime::SystemClock::new().now();
    mining_proxy_core::Proxy::new(Arc::new(config.rules.clone()), [0; 16], now)?;
    Ok(())
}

fn tls_address(config: &Config) -> Option<SocketAddr> {
    config.tls.as_ref().map(|tls| tls.address)
}

/// Keys that say something else, and that a proxy follows from its start only.
fn fixed_keys(start: &Config, new: &Config) -> Vec<&'static str> {
    let (old_accept, accept) = (&start.accept, &new.accept);
    let keys = [
        ("listen.address", start.listen != new.listen),
        ("tls.address", tls_address(start) != tls_address(new)),
        ("program.threads", start.threads != new.threads),
        (
            "connections.total",
            old_accept.connections != accept.connections,
        ),
        (
            "connections.per_address",
            old_accept.per_address != accept.per_address,
        ),
        (
            "connections.per_sec",
            old_accept.per_second != accept.per_second,
        ),
        ("connections.burst", old_accept.burst != accept.burst),
        (
            "connections.proxy_protocol_from",
            old_accept.proxies != accept.proxies,
        ),
    ];
    let changed = keys.into_iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| key).collect()
}

thread_local! {
    /// A proxy's cores are threads of its own, so a thread has one front.
    static FRONT: RefCell<Option<Rc<Front>>> = const { RefCell::new(None) };
}

/// The life of a thread's proxy.
async fn keep(context: Arc<Context>, orders: Orders) {
    let shutdown = context.shutdown.clone();
    let Some(front) = Front::new(context) else {
        return;
    };
    FRONT.set(Some(front.clone()));
    front.keep(shutdown, orders).await;
    FRONT.set(None);
}

async fn serve_all(
    listener: TcpListener,
    tls: Option<TcpListener>,
    cores: CoreRuntimes,
    context: Arc<Context>,
) {
    let plain = serve_on(listener, false, &cores, &context);
    match tls {
        Some(tls) => {
            let tls = serve_on(tls, true, &cores, &context);
            tokio::join!(plain, tls);
        }
        None => plain.await,
    }
    // Joining threads blocks; the last of them ends when all its connections are closed.
    let _ = tokio::task::spawn_blocking(move || cores.join()).await;
}

async fn serve_on(
    listener: TcpListener,
    is_tls: bool,
    cores: &CoreRuntimes,
    context: &Arc<Context>,
) {
    let (gate, shutdown) = (context.gate.clone(), context.shutdown.clone());
    let context = context.clone();
    let serve = move |stream, peer| serve(context.clone(), is_tls, stream, peer);
    accept_loop(listener, gate, cores, &shutdown, serve).await;
}

async fn serve(context: Arc<Context>, is_tls: bool, stream: TcpStream, peer: SocketAddr) {
    // The thread ends, or its front is not there yet, which is a moment after the start.
    let Some(front) = FRONT.with_borrow(Option::clone) else {
        return;
    };
    let config = front.config();
    let tls = config.tls.as_ref().filter(|_| is_tls);
    let tls = tls.map(|tls| tls.server.clone());
    let options = config.connection;
    // It may be long until this connection ends.
    drop(config);
    let session = || Miner::new(&front, peer);
    let clock = front.clock;
    let closed = &context.closed;
    serve_lines(stream, peer, tls.as_ref(), options, clock, closed, session).await;
}
