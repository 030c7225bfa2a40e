//! The proxy: its listeners, and miners on their threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mining_proxy_core::{ConfigError, ProxyConfig};
use network_helpers_sv2::{ClientSecurity, CloseCounts, LineOptions, Options, ServerSecurity};
use stratum_runtime::config::sv1::{DEFAULT_BAN, TlsListen};
use stratum_runtime::{
    AcceptLimits, Ban, BindError, CoreRuntimes, Gate, PanicCount, Refusal, Shutdown, accept_loop,
    announce, bind, serve, serve_lines,
};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::device::Device;
use crate::front::{Front, Order, Orders};
use crate::miner::Miner;

/// Longest message of an upstream, in bytes: room for a job with the longest coinbase parts.
pub const MAX_PAYLOAD_LEN: usize = 256 * 1024;

/// Bytes that may wait for an upstream that does not read; with more it is left. 20 000 miners with ten shares a minute
/// find 11 MB of them within the 30 seconds after which it is left in any case.
pub const MAX_OUTBOUND_LEN: usize = 16 * 1024 * 1024;

/// Orders that may wait for one thread; who gives one more waits too.
const MAX_ORDERS: usize = 64;

/// Where Sv2 devices connect.
#[derive(Clone, Debug)]
pub struct DevicesListen {
    /// Address; port 0 chooses a free one.
    pub address: SocketAddr,
    /// How connections are secured.
    pub security: ServerSecurity,
    /// Limits and deadlines of connections.
    pub options: Options,
    /// How long an address is banned whose device broke the rules; zero for not at all.
    pub ban: Duration,
}

/// Which keys of the configuration hold the addresses, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenKeys {
    /// That of [`Config::devices`].
    pub devices: &'static str,
    /// That of [`Config::listen`].
    pub sv1: &'static str,
    /// That of [`Config::tls`].
    pub tls: &'static str,
}

/// What a proxy in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Sv2 devices connect; nowhere when `None`.
    pub devices: Option<DevicesListen>,
    /// Where Sv1 miners connect; nowhere when `None`. Port 0 chooses a free one.
    pub listen: Option<SocketAddr>,
    /// Where they connect through TLS.
    pub tls: Option<TlsListen>,
    /// What all of that is called.
    pub keys: ListenKeys,
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
    /// The defaults for Sv1 miners at `listen`; `security` has an entry for each upstream of the rules.
    pub fn for_sv1(listen: SocketAddr, security: Vec<ClientSecurity>, rules: ProxyConfig) -> Self {
        Self {
            listen: Some(listen),
            ..Self::new(security, rules)
        }
    }

    /// The defaults for Sv2 devices at `address`.
    pub fn for_devices(
        address: SocketAddr,
        device_security: ServerSecurity,
        security: Vec<ClientSecurity>,
        rules: ProxyConfig,
    ) -> Self {
        let devices = DevicesListen {
            address,
            security: device_security,
            // They are silent until they find something.
            options: Options {
                idle_timeout: None,
                ..Options::default()
            },
            ban: DEFAULT_BAN,
        };
        Self {
            devices: Some(devices),
            ..Self::new(security, rules)
        }
    }

    /// The defaults without any listener.
    pub fn new(security: Vec<ClientSecurity>, rules: ProxyConfig) -> Self {
        Self {
            devices: None,
            listen: None,
            tls: None,
            keys: ListenKeys {
                devices: "listen.address",
                sv1: "listen.address",
                tls: "tls.address",
            },
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
    /// There is no listener.
    #[error("nobody could connect: configure an address to listen on")]
    NoListener,
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
    addrs: Addrs,
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
        let listeners = listen(&config)?;
        let addrs = Addrs::of(&listeners);

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
        for (port, address) in &addrs.0 {
            match (port, &context.config.devices) {
                (Port::Devices, Some(devices)) => {
                    announce("mining proxy", *address, &devices.security);
                }
                _ => tracing::info!(%address, "listening for {}", port.name()),
            }
        }
        let task = tokio::spawn(serve_all(listeners, cores, context));
        Ok(Self {
            addrs,
            watcher,
            task,
        })
    }

    /// The address of its first listener: that for Sv2 devices, or else that for Sv1 miners.
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.addrs.0.first();
        first.map_or(([0, 0, 0, 0], 0).into(), |(_, addr)| *addr)
    }

    /// The address that it listens on for Sv2 devices, with the port that the operating system chose for port 0.
    pub fn devices_addr(&self) -> Option<SocketAddr> {
        self.addrs.of_port(Port::Devices)
    }

    /// The same for Sv1 miners.
    pub fn sv1_addr(&self) -> Option<SocketAddr> {
        self.addrs.of_port(Port::Sv1)
    }

    /// The same for Sv1 miners that come through TLS.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.addrs.of_port(Port::Tls)
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
        if devices_address(&config) != devices_address(start) {
            config.devices.clone_from(&start.devices);
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

/// Who comes to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Devices,
    Sv1,
    Tls,
}

impl Port {
    const fn name(self) -> &'static str {
        match self {
            Self::Devices => "Sv2 devices",
            Self::Sv1 => "Sv1 miners",
            Self::Tls => "Sv1 miners through TLS",
        }
    }
}

/// The addresses of all listeners.
#[derive(Clone, Debug)]
struct Addrs(Vec<(Port, SocketAddr)>);

impl Addrs {
    fn of(listeners: &[(Port, TcpListener)]) -> Self {
        let addrs = listeners.iter();
        Self(
            addrs
                .filter_map(|(port, listener)| Some((*port, listener.local_addr().ok()?)))
                .collect(),
        )
    }

    fn of_port(&self, port: Port) -> Option<SocketAddr> {
        let found = self.0.iter().find(|(of, _)| *of == port);
        found.map(|(_, addr)| *addr)
    }
}

/// All listeners that are configured.
fn listen(config: &Config) -> Result<Vec<(Port, TcpListener)>, StartError> {
    let keys = config.keys;
    let wanted = [
        (Port::Devices, devices_address(config), keys.devices),
        (Port::Sv1, config.listen, keys.sv1),
        (Port::Tls, tls_address(config), keys.tls),
    ];
    let mut listeners = Vec::new();
    for (port, address, key) in wanted {
        if let Some(address) = address {
            listeners.push((port, bind(address, key)?));
        }
    }
    if listeners.is_empty() {
        return Err(StartError::NoListener);
    }
    Ok(listeners)
}

fn devices_address(config: &Config) -> Option<SocketAddr> {
    config.devices.as_ref().map(|devices| devices.address)
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
        (
            start.keys.devices,
            devices_address(start) != devices_address(new),
        ),
        (start.keys.sv1, start.listen != new.listen),
        (start.keys.tls, tls_address(start) != tls_address(new)),
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
    listeners: Vec<(Port, TcpListener)>,
    cores: CoreRuntimes,
    context: Arc<Context>,
) {
    let cores = Arc::new(cores);
    let mut tasks = JoinSet::new();
    for (port, listener) in listeners {
        let (context, cores) = (context.clone(), cores.clone());
        tasks.spawn(async move {
            let (gate, shutdown) = (context.gate.clone(), context.shutdown.clone());
            let serve = move |stream, peer| serve_port(context.clone(), port, stream, peer);
            accept_loop(listener, gate, &cores, &shutdown, serve).await;
        });
    }
    tasks.join_all().await;
    drop(context);
    let Some(cores) = Arc::into_inner(cores) else {
        return;
    };
    // Joining threads blocks; the last of them ends when all its connections are closed.
    let _ = tokio::task::spawn_blocking(move || cores.join()).await;
}

async fn serve_port(context: Arc<Context>, port: Port, stream: TcpStream, peer: SocketAddr) {
    // The thread ends, or its front is not there yet, which is a moment after the start.
    let Some(front) = FRONT.with_borrow(Option::clone) else {
        return;
    };
    match port {
        // In boxes, as each would otherwise be part of every task that serves the other.
        Port::Devices => Box::pin(serve_device(&context, &front, stream, peer)).await,
        Port::Sv1 | Port::Tls => {
            Box::pin(serve_miner(
                &context,
                &front,
                port == Port::Tls,
                stream,
                peer,
            ))
            .await;
        }
    }
}

async fn serve_device(context: &Context, front: &Rc<Front>, stream: TcpStream, peer: SocketAddr) {
    let config = front.config();
    let Some(listen) = config.devices.clone() else {
        return;
    };
    // It may be long until this connection ends.
    drop(config);
    let session = || Device::new(front, peer);
    let (security, options) = (&listen.security, listen.options);
    serve(
        stream,
        peer,
        security,
        options,
        front.clock,
        &context.closed,
        session,
    )
    .await;
}

async fn serve_miner(
    context: &Context,
    front: &Rc<Front>,
    is_tls: bool,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let config = front.config();
    let tls = config.tls.as_ref().filter(|_| is_tls);
    let tls = tls.map(|tls| tls.server.clone());
    let options = config.connection;
    // It may be long until this connection ends.
    drop(config);
    let session = || Miner::new(front, peer);
    let clock = front.clock;
    serve_lines(
        stream,
        peer,
        tls.as_ref(),
        options,
        clock,
        &context.closed,
        session,
    )
    .await;
}
