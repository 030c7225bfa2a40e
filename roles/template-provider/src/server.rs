//! The server: a listener, its connections on their cores, and the hub behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin_node::Node;
use bitcoin_node::hub::{HubSnapshot, TemplateHub};
use network_helpers_sv2::{CloseCounts, CloseReason, Options, ServerSecurity};
use stratum_runtime::{
    BindError, CoreRuntimes, Gate, PanicCount, Refusal, Shutdown, SystemClock, accept_loop,
    announce, bind, drive,
};
use template_provider_core::{Downstream, Limits};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Config;
use crate::session::{RejectCounts, Session, Wiring};

/// Longest payload that a client may send, in bytes: room for the longest `SubmitSolution` and the longest list of
/// extensions. A longer one ends the connection before memory is taken for it.
const MAX_PAYLOAD_LEN: usize = 256 * 1024;

/// Bytes that may wait for a client that does not read: a block's transactions four times over. With more the
/// connection ends as a slow consumer.
const MAX_OUTBOUND_LEN: usize = 16 * 1024 * 1024;

/// Why a template provider does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The operating system refuses a thread or what belongs to a listener.
    #[error(
        "cannot start the threads for connections: {0}; check the limits of this user (ulimit -u)"
    )]
    System(#[from] std::io::Error),
}

/// A running template provider.
#[derive(Debug)]
pub struct TemplateProvider {
    local_addr: SocketAddr,
    hub: TemplateHub,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

/// What a template provider has done and sees, for status pages and metrics.
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
    /// What was not done for clients, by [`template_provider_core::Reject::name`].
    pub rejects: BTreeMap<&'static str, u64>,
    /// Connections whose task panicked: each one is a defect of this program.
    pub panics: u64,
    /// Templates, solutions, blocks, and the node.
    pub hub: HubSnapshot,
}

#[derive(Debug)]
struct Counters {
    gate: Gate,
    closed: CloseCounts,
    panics: PanicCount,
    rejects: Arc<RejectCounts>,
    hub: watch::Receiver<HubSnapshot>,
}

/// What every connection needs.
struct Context {
    security: ServerSecurity,
    limits: Limits,
    options: Options,
    hub: TemplateHub,
    shutdown: Shutdown,
    counters: Arc<Counters>,
}

impl TemplateProvider {
    /// Serves `node` to clients until `shutdown` drains; needs a tokio runtime.
    ///
    /// Blocks go to `node`: give it a [`NodeSet`](bitcoin_node::set::NodeSet) for retries, several nodes, and the
    /// question afterwards whether they have the block.
    ///
    /// # Errors
    /// [`StartError`], whose message says what to do.
    pub fn start(
        config: Config,
        node: Arc<dyn Node>,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let listener = bind(config.listen, "listen.address")?;
        let local_addr = listener.local_addr()?;
        let cores = CoreRuntimes::new(config.threads, &shutdown)?;
        let (hub, hub_task) = TemplateHub::spawn_with_task(node);
        let counters = Arc::new(Counters {
            gate: Gate::new(config.accept),
            closed: CloseCounts::default(),
            panics: cores.panics().clone(),
            rejects: Arc::default(),
            hub: hub.snapshot(),
        });
        let context = Arc::new(Context {
            security: config.security,
            limits: config.limits,
            options: Options {
                handshake_timeout: config.limits.setup_timeout,
                // A client only speaks when it has found a block; TCP keepalive notices when it is gone.
                idle_timeout: None,
                max_payload_len: MAX_PAYLOAD_LEN,
                max_outbound_len: MAX_OUTBOUND_LEN,
                ..Options::default()
            },
            hub: hub.clone(),
            shutdown: shutdown.clone(),
            counters: Arc::clone(&counters),
        });
        announce("template provider", local_addr, &context.security);
        let task = tokio::spawn(async move {
            serve_all(listener, cores, context).await;
            // All connections are closed; what is left are blocks that the node has not answered to.
            tokio::select! {
                _ = hub_task => {}
                () = shutdown.ended() => {}
            }
        });
        Ok(Self {
            local_addr,
            hub,
            counters,
            task,
        })
    }

    /// The address it listens on, with the port that the operating system chose for port 0.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The hub behind the server, for clients in the same process. While a clone of it lives, [`TemplateProvider::join`]
    /// waits for the end of the grace time.
    pub const fn hub(&self) -> &TemplateHub {
        &self.hub
    }

    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.watcher().snapshot()
    }

    /// A handle to the counters that lives as long as it is needed.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.counters.clone())
    }

    /// Waits until the shutdown has drained it: all connections closed and all blocks answered, or the grace time over.
    pub async fn join(self) {
        drop(self.hub);
        if self.task.await.is_err() {
            tracing::error!("the template provider's task panicked: please report this");
        }
    }
}

/// Reads a template provider's counters.
#[derive(Clone, Debug)]
pub struct Watcher(Arc<Counters>);

impl Watcher {
    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        let counters = &self.0;
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), counters.gate.refused(refusal)));
        let closed = counters.closed.iter();
        let closed = closed.map(|(reason, count)| (reason.name(), count));
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
            hub: counters.hub.borrow().clone(),
        }
    }
}

async fn serve_all(listener: TcpListener, cores: CoreRuntimes, context: Arc<Context>) {
    let (gate, shutdown) = (context.counters.gate.clone(), context.shutdown.clone());
    let serve = move |stream, peer| serve(Arc::clone(&context), stream, peer);
    accept_loop(listener, gate, &cores, &shutdown, serve).await;
    // Joining threads blocks; the last of them ends when all its connections are closed.
    let _ = tokio::task::spawn_blocking(move || cores.join()).await;
}

async fn serve(context: Arc<Context>, stream: TcpStream, peer: SocketAddr) {
    let handshake = network_helpers_sv2::accept(stream, &context.security, context.options);
    let opened = tokio::select! {
        opened = handshake => opened,
        () = context.shutdown.draining() => Err(CloseReason::Shutdown),
    };
    let reason = match opened {
        Ok(connection) => {
            tracing::info!(%peer, "template client connected");
            let clock = SystemClock::new();
            let mut session = Session(Downstream::new(context.limits, clock.now()));
            let rejects = Arc::clone(&context.counters.rejects);
            let mut wiring = Wiring::new(context.hub.clone(), rejects, &context.shutdown);
            let reason = drive(&mut session, &mut wiring, connection, clock).await;
            tracing::info!(%peer, %reason, "template client disconnected");
            reason
        }
        Err(reason) => {
            tracing::debug!(%peer, %reason, "no connection");
            reason
        }
    };
    context.counters.closed.count(reason);
}
