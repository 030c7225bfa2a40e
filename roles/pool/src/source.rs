//! Where templates come from: a hub in this process, or a template provider over the wire.

use std::sync::Arc;
use std::time::Duration;

use bitcoin_node::hub::{TemplateHub, TemplateLink};
use common_messages_sv2::{CommonMessage, SetupConnection};
use const_sv2::Protocol;
use framing_sv2::Sv2Frame;
use network_helpers_sv2::{
    Backoff, ClientSecurity, CloseReason, Connection, Endpoint, Options, Stream, Wake, connect,
    random_u32,
};
use roles_logic_sv2::channels::server::BlockFound;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{self, SetupRequest};
use roles_logic_sv2::template_client::{ActiveTemplate, Anomalies, Output, TemplateClient};
use stratum_runtime::{Shutdown, SystemClock};
use template_distribution_sv2::TemplateDistributionMessage;
use tokio::sync::{mpsc, watch};

/// First pause before a template provider that was lost is tried again; it doubles up to [`RECONNECT_PAUSE_MAX`].
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two attempts to reach a template provider.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Seconds that a template provider has to answer `SetupConnection`.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest message of a template provider, in bytes: a `NewTemplate` with 255 hashes and 64 KB of outputs fits.
const MAX_PAYLOAD_LEN: usize = 128 * 1024;

/// Where templates come from.
#[derive(Clone, Debug)]
pub enum TemplateSource {
    /// A template server in this process.
    InProcess(TemplateHub),
    /// A template provider over the wire, found again whenever it is lost.
    Remote {
        /// Its address.
        endpoint: Endpoint,
        /// How the connection is secured.
        security: ClientSecurity,
    },
}

/// How the pool stands with its template source.
#[derive(Clone, Debug, Default)]
pub struct SourceSnapshot {
    /// Whether templates can come at the moment.
    pub is_connected: bool,
    /// Connections lost or refused since start, and what happened last.
    pub failures: u64,
    /// Why the last connection failed; empty when none has.
    pub last_failure: String,
    /// The template being mined.
    pub active: Option<Arc<ActiveTemplate>>,
    /// What the source sent that could not be used.
    pub anomalies: Anomalies,
    /// Blocks handed in.
    pub blocks_submitted: u64,
}

/// The task that keeps the pool in work.
pub(crate) struct Feed {
    pub(crate) client: TemplateClient,
    pub(crate) templates: watch::Sender<Option<Arc<ActiveTemplate>>>,
    pub(crate) blocks: mpsc::Receiver<Box<BlockFound>>,
    pub(crate) snapshot: watch::Sender<SourceSnapshot>,
    pub(crate) clock: SystemClock,
    pub(crate) shutdown: Shutdown,
    /// A block that found no connection, kept for the next one.
    pub(crate) waiting: Vec<TemplateDistributionMessage<'static>>,
}

/// Solutions kept while the template provider is away. One more pushes out the oldest: it is the least likely to win.
const MAX_WAITING_SOLUTIONS: usize = 64;

/// Why a connection to the template source ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// All connections of miners are closed, and no more blocks come.
    #[error("the pool has ended")]
    PoolEnded,
    #[error("{0}")]
    Lost(String),
}

impl Feed {
    /// Runs until no block can come any more: all miners are gone.
    pub(crate) async fn run(mut self, source: TemplateSource) {
        let mut backoff = Backoff::new(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX);
        loop {
            let active = self
                .client
                .active()
                .map(|active| active.template().template_id);
            let Err(ended) = match &source {
                TemplateSource::InProcess(hub) => self.run_in_process(hub.connect()).await,
                TemplateSource::Remote { endpoint, security } => {
                    self.run_remote(endpoint, security).await
                }
            };
            let Ended::Lost(reason) = ended else { return };
            if active
                != self
                    .client
                    .active()
                    .map(|active| active.template().template_id)
            {
                // It gave work, so the next attempt need not wait long.
                backoff = Backoff::new(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX);
            }
            let pause = backoff.next_pause(random_u32());
            tracing::warn!(%reason, pause_ms = pause.as_millis(), "no connection to the template source; trying again");
            self.snapshot.send_modify(|snapshot| {
                snapshot.is_connected = false;
                snapshot.failures += 1;
                snapshot.last_failure = reason;
            });
            if self.pause(pause).await.is_err() {
                return;
            }
        }
    }

    /// Waits, and keeps the blocks that are found meanwhile.
    async fn pause(&mut self, pause: Duration) -> Result<(), Ended> {
        let end = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                // A pool that ends does not wait for a provider that may never come back.
                () = self.shutdown.draining(), if self.waiting.is_empty() => return Err(Ended::PoolEnded),
                block = self.blocks.recv() => self.take_block(block)?,
            }
            while let Some(output) = self.client.poll_output() {
                self.settle(output, |_| Err(CloseReason::Io));
            }
        }
    }

    fn take_block(&mut self, block: Option<Box<BlockFound>>) -> Result<(), Ended> {
        let block = block.ok_or(Ended::PoolEnded)?;
        let mut shown = block.solution.hash;
        shown.reverse();
        let hash = bitcoin::hex::DisplayHex::to_lower_hex_string(shown.as_slice());
        let Some(template_id) = block.job.template_id() else {
            return Ok(());
        };
        tracing::info!(%hash, template_id, "block found");
        self.client
            .submit(template_id, &block.solution, block.coinbase);
        self.snapshot
            .send_modify(|snapshot| snapshot.blocks_submitted += 1);
        Ok(())
    }

    /// Carries out an output; what cannot be sent and is a solution waits for the next connection.
    fn settle(
        &mut self,
        output: Output,
        mut send: impl FnMut(&TemplateDistributionMessage<'static>) -> Result<(), CloseReason>,
    ) -> Option<CloseReason> {
        match output {
            Output::Send(message) => {
                let reason = send(&message).err()?;
                if matches!(message, TemplateDistributionMessage::SubmitSolution(_)) {
                    if self.waiting.len() >= MAX_WAITING_SOLUTIONS {
                        self.waiting.remove(0);
                    }
                    self.waiting.push(message);
                }
                Some(reason)
            }
            Output::Work(active) => {
                let anomalies = *self.client.anomalies();
                self.snapshot.send_modify(|snapshot| {
                    snapshot.is_connected = true;
                    snapshot.active = Some(active.clone());
                    snapshot.anomalies = anomalies;
                });
                self.templates.send_replace(Some(active));
                None
            }
        }
    }

    async fn run_in_process(
        &mut self,
        mut link: TemplateLink,
    ) -> Result<std::convert::Infallible, Ended> {
        let lost =
            || Ended::Lost("the template server in this process refuses or has ended".to_owned());
        self.client.handle_connected();
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send(message) => {
                        link.to_server.send(message).await.map_err(|_| lost())?
                    }
                    work => {
                        self.settle(work, |_| Ok(()));
                    }
                }
            }
            tokio::select! {
                biased;
                block = self.blocks.recv() => self.take_block(block)?,
                message = link.to_client.recv() => {
                    self.client.handle_message(&message.ok_or_else(lost)?, self.clock.now());
                }
            }
        }
    }

    async fn run_remote(
        &mut self,
        endpoint: &Endpoint,
        security: &ClientSecurity,
    ) -> Result<std::convert::Infallible, Ended> {
        let options = Options {
            // Between two blocks a provider may have nothing to say; keep-alive of TCP finds out when it is gone.
            idle_timeout: None,
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connecting = connect(endpoint, security, options);
        let connection = connecting
            .await
            .map_err(|error| Ended::Lost(error.to_string()))?;
        let mut remote = Remote::new(connection);
        remote.set_up(endpoint).await?;
        tracing::info!(%endpoint, "connected to the template provider");
        self.snapshot
            .send_modify(|snapshot| snapshot.is_connected = true);
        self.client.handle_connected();
        for solution in std::mem::take(&mut self.waiting) {
            remote
                .queue(&solution)
                .map_err(|reason| Ended::Lost(reason.to_string()))?;
        }
        let served = self.serve(&mut remote).await;
        if matches!(served, Err(Ended::PoolEnded)) {
            // The last block may just have been queued.
            remote.connection.close().await;
        }
        served
    }

    async fn serve(
        &mut self,
        remote: &mut Remote<impl Stream>,
    ) -> Result<std::convert::Infallible, Ended> {
        loop {
            while let Some(output) = self.client.poll_output() {
                if let Some(reason) = self.settle(output, |message| remote.queue(message)) {
                    return Err(Ended::Lost(reason.to_string()));
                }
            }
            let ready = tokio::select! {
                biased;
                block = self.blocks.recv() => {
                    self.take_block(block)?;
                    continue;
                }
                ready = remote.connection.ready(None) => ready,
            };
            ready.map_err(|reason| Ended::Lost(reason.to_string()))?;
            remote.read(&mut self.client, self.clock)?;
        }
    }
}

/// A connection to a template provider.
struct Remote<S> {
    connection: Connection<S>,
    router: Router,
}

impl<S: Stream> Remote<S> {
    const fn new(connection: Connection<S>) -> Self {
        let router = Router::new(Protocol::TEMPLATE_DISTRIBUTION, Peer::Server);
        Self { connection, router }
    }

    fn queue(&mut self, message: &TemplateDistributionMessage<'static>) -> Result<(), CloseReason> {
        self.connection.queue_as(message.kind(), message, &[])
    }

    async fn set_up(&mut self, endpoint: &Endpoint) -> Result<(), Ended> {
        let lost = |reason: CloseReason| Ended::Lost(reason.to_string());
        let request = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0);
        self.connection
            .queue(&setup_message(&request, endpoint))
            .map_err(lost)?;
        let until = tokio::time::Instant::now() + SETUP_TIMEOUT;
        loop {
            if let Some(frame) = self.connection.next_frame().map_err(lost)? {
                return check_setup(self.router, &request, &frame);
            }
            if self.connection.ready(Some(until)).await.map_err(lost)? == Wake::Deadline {
                return Err(Ended::Lost(
                    "it did not answer SetupConnection in time".to_owned(),
                ));
            }
        }
    }

    fn read(&mut self, client: &mut TemplateClient, clock: SystemClock) -> Result<(), Ended> {
        while let Some(frame) = self
            .connection
            .next_frame()
            .map_err(|reason| Ended::Lost(reason.to_string()))?
        {
            let header = frame.header();
            match self
                .router
                .route(header.extension_type(), header.msg_type(), frame.payload())
            {
                Ok(routed) => match routed.message {
                    AnyMessage::TemplateDistribution(message) => {
                        client.handle_message(&message, clock.now())
                    }
                    other => tracing::debug!(
                        message = other.kind().name,
                        "message of the template provider ignored"
                    ),
                },
                Err(error) if error.is_ignored() => tracing::debug!(%error, "frame ignored"),
                Err(error) => return Err(Ended::Lost(error.to_string())),
            }
        }
        Ok(())
    }
}

fn setup_message<'a>(request: &SetupRequest, endpoint: &'a Endpoint) -> SetupConnection<'a> {
    request.message(&setup::Endpoint {
        // A name above 255 bytes resolves to nothing, so the empty default is never sent.
        host: endpoint.host.as_str().try_into().unwrap_or_default(),
        port: endpoint.port,
        vendor: concat!("stratum-pool ", env!("CARGO_PKG_VERSION"))
            .try_into()
            .unwrap_or_default(),
        ..setup::Endpoint::default()
    })
}

fn check_setup(router: Router, request: &SetupRequest, frame: &Sv2Frame<'_>) -> Result<(), Ended> {
    let header = frame.header();
    let routed = router
        .route(header.extension_type(), header.msg_type(), frame.payload())
        .map_err(|error| Ended::Lost(error.to_string()))?;
    match routed.message {
        AnyMessage::Common(CommonMessage::SetupConnectionSuccess(success)) => request
            .handle_success(&success)
            .map(|_| ())
            .map_err(|error| Ended::Lost(error.to_string())),
        AnyMessage::Common(CommonMessage::SetupConnectionError(error)) => Err(Ended::Lost(
            format!("it refuses the connection: {}", error.error_code),
        )),
        other => Err(Ended::Lost(format!(
            "{} came instead of an answer to SetupConnection",
            other.kind().name
        ))),
    }
}
