//! Where templates come from: a hub in this process, or a template provider over the wire.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
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
use stratum_runtime::SystemClock;
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
    pub(crate) blocks: Blocks,
    pub(crate) snapshot: watch::Sender<SourceSnapshot>,
    pub(crate) clock: SystemClock,
}

/// Blocks on their way to the template source.
pub(crate) struct Blocks {
    found: mpsc::Receiver<Box<BlockFound>>,
    /// No more can be found: all connections of miners are closed.
    has_ended: bool,
    waiting: VecDeque<Message>,
    /// How many of those that wait, the first ones, were sent before.
    resends: usize,
    /// Handed to the present connection, which does not say whether the source has them.
    sent: VecDeque<(tokio::time::Instant, Message)>,
}

type Message = TemplateDistributionMessage<'static>;

/// Solutions that wait for the template source, and as many that were sent last. While so many wait, further blocks stay
/// in the pool's own queue.
const MAX_SOLUTIONS: usize = 64;

/// Solutions sent this shortly before the end of their connection are sent again on the next one: they may never have
/// arrived. A source that has them already says so and nothing is lost. They are sent again once, as a source that hangs
/// up on them would do so for ever.
const RESEND_WINDOW: Duration = Duration::from_secs(60);

impl Blocks {
    pub(crate) const fn new(found: mpsc::Receiver<Box<BlockFound>>) -> Self {
        Self {
            found,
            has_ended: false,
            waiting: VecDeque::new(),
            resends: 0,
            sent: VecDeque::new(),
        }
    }

    /// The next block; `None` once there can be none. Waits for ever while it makes no sense to take one. Cancel safe.
    async fn next(&mut self) -> Option<Box<BlockFound>> {
        if self.has_ended || self.waiting.len() >= MAX_SOLUTIONS {
            std::future::pending::<()>().await;
        }
        let found = self.found.recv().await;
        self.has_ended = found.is_none();
        found
    }

    /// Whether all is done: nothing waits, and nothing comes any more.
    fn is_done(&self) -> bool {
        self.has_ended && self.waiting.is_empty()
    }

    /// The first of those that wait was sent.
    fn handle_sent(&mut self) {
        let Some(solution) = self.waiting.pop_front() else {
            return;
        };
        if self.resends > 0 {
            self.resends -= 1;
            return;
        }
        if self.sent.len() >= MAX_SOLUTIONS {
            self.sent.pop_front();
        }
        self.sent.push_back((tokio::time::Instant::now(), solution));
    }

    fn handle_lost_connection(&mut self) {
        for (sent_at, solution) in self.sent.drain(..).rev() {
            if sent_at.elapsed() < RESEND_WINDOW {
                self.waiting.push_front(solution);
                self.resends += 1;
            }
        }
    }
}

/// Why a connection to the template source ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// All connections of miners are closed, and all blocks are handed in.
    #[error("the pool has ended")]
    PoolEnded,
    #[error("{0}")]
    Lost(String),
}

impl From<CloseReason> for Ended {
    fn from(reason: CloseReason) -> Self {
        Self::Lost(reason.to_string())
    }
}

impl Feed {
    /// Runs until no block can come any more, all miners being gone, and none waits.
    pub(crate) async fn run(mut self, source: TemplateSource) {
        let mut backoff = Backoff::new(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX);
        loop {
            let before = self.client.active().cloned();
            let Err(ended) = match &source {
                TemplateSource::InProcess(hub) => self.run_in_process(hub.connect()).await,
                TemplateSource::Remote { endpoint, security } => {
                    self.run_remote(endpoint, security).await
                }
            };
            let Ended::Lost(reason) = ended else { return };
            self.blocks.handle_lost_connection();
            let is_new = |active: &Arc<ActiveTemplate>| {
                before
                    .as_ref()
                    .is_none_or(|before| !Arc::ptr_eq(active, before))
            };
            if self.client.active().is_some_and(is_new) {
                // It gave work, so the next attempt need not wait long.
                backoff = Backoff::new(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX);
            }
            let pause = backoff.next_pause(random_u32());
            self.log_lost(&reason, pause);
            self.snapshot.send_modify(|snapshot| {
                snapshot.is_connected = false;
                snapshot.failures += 1;
                snapshot.last_failure = reason;
            });
            if self.meanwhile(tokio::time::sleep(pause)).await.is_err() {
                return;
            }
        }
    }

    /// The same reason is told once: how the pool stands is said every minute.
    fn log_lost(&self, reason: &str, pause: Duration) {
        let pause_ms = pause.as_millis();
        let is_news = {
            let last = self.snapshot.borrow();
            last.is_connected || last.last_failure != reason
        };
        match is_news {
            true => tracing::warn!(
                reason,
                "no connection to the template source; trying again until there is one"
            ),
            false => tracing::debug!(
                reason,
                pause_ms,
                "still no connection to the template source"
            ),
        }
    }

    /// Waits for `what`, and takes the blocks that are found meanwhile.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Ended> {
        let mut what = std::pin::pin!(what);
        loop {
            self.settle(|_| Ok(false))?;
            tokio::select! {
                done = &mut what => return Ok(done),
                block = self.blocks.next() => self.take_block(block),
            }
        }
    }

    fn take_block(&mut self, block: Option<Box<BlockFound>>) {
        let Some(block) = block else { return };
        let mut shown = block.solution.hash;
        shown.reverse();
        let hash = bitcoin::hex::DisplayHex::to_lower_hex_string(shown.as_slice());
        let Some(template_id) = block.job.template_id() else {
            return;
        };
        tracing::info!(%hash, template_id, "block found");
        self.client
            .submit(template_id, &block.solution, block.coinbase);
    }

    /// Publishes new work, and hands to `send` what the client asks for and, after that, the solutions that wait.
    ///
    /// `send` says whether it took the message; one that it did not take waits.
    fn settle(
        &mut self,
        mut send: impl FnMut(&Message) -> Result<bool, Ended>,
    ) -> Result<(), Ended> {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Work(active) => self.publish(active),
                Output::Send(solution @ Message::SubmitSolution(_)) => {
                    self.blocks.waiting.push_back(solution)
                }
                Output::Send(message) => {
                    send(&message)?;
                }
            }
        }
        while let Some(solution) = self.blocks.waiting.front() {
            if !send(solution)? {
                return Ok(());
            }
            self.blocks.handle_sent();
            self.snapshot
                .send_modify(|snapshot| snapshot.blocks_submitted += 1);
        }
        if self.blocks.is_done() {
            return Err(Ended::PoolEnded);
        }
        Ok(())
    }

    fn publish(&self, active: Arc<ActiveTemplate>) {
        let anomalies = *self.client.anomalies();
        self.snapshot.send_modify(|snapshot| {
            snapshot.is_connected = true;
            snapshot.active = Some(active.clone());
            snapshot.anomalies = anomalies;
        });
        self.templates.send_replace(Some(active));
    }

    async fn run_in_process(&mut self, mut link: TemplateLink) -> Result<Infallible, Ended> {
        let lost =
            || Ended::Lost("the template server in this process refuses or has ended".to_owned());
        self.client.handle_connected();
        loop {
            let settled = self.settle(|message| match link.to_server.try_send(message.clone()) {
                Ok(()) => Ok(true),
                Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(lost()),
            });
            if matches!(settled, Err(Ended::PoolEnded)) {
                // The server ends its side when it has taken everything.
                drop(link.to_server);
                while link.to_client.recv().await.is_some() {}
                return Err(Ended::PoolEnded);
            }
            settled?;
            let is_full = !self.blocks.waiting.is_empty();
            tokio::select! {
                biased;
                block = self.blocks.next() => self.take_block(block),
                // Both ways are open while it waits, or two full queues would wait for each other.
                room = link.to_server.reserve(), if is_full => drop(room.map_err(|_| lost())?),
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
    ) -> Result<Infallible, Ended> {
        let options = Options {
            // Between two blocks a provider may have nothing to say; keep-alive of TCP finds out when it is gone.
            idle_timeout: None,
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connected = self.meanwhile(connect(endpoint, security, options)).await?;
        let connection = connected.map_err(|error| Ended::Lost(error.to_string()))?;
        let mut remote = Remote::new(connection);
        self.meanwhile(remote.set_up(endpoint)).await??;
        tracing::info!(%endpoint, "connected to the template provider");
        self.snapshot
            .send_modify(|snapshot| snapshot.is_connected = true);
        self.client.handle_connected();
        let served = self.serve(&mut remote).await;
        if matches!(served, Err(Ended::PoolEnded)) {
            // The last block may just have been queued.
            remote.connection.close().await;
        }
        served
    }

    async fn serve(&mut self, remote: &mut Remote<impl Stream>) -> Result<Infallible, Ended> {
        loop {
            self.settle(|message| Ok(remote.queue(message).map(|()| true)?))?;
            tokio::select! {
                biased;
                block = self.blocks.next() => self.take_block(block),
                ready = remote.connection.ready(None) => {
                    ready?;
                    remote.read(&mut self.client, self.clock)?;
                }
            }
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
        let request = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0);
        self.connection.queue(&setup_message(&request, endpoint))?;
        let until = tokio::time::Instant::now() + SETUP_TIMEOUT;
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                if check_setup(self.router, &request, &frame)? {
                    return Ok(());
                }
            }
            if self.connection.ready(Some(until)).await? == Wake::Deadline {
                return Err(Ended::Lost(
                    "it did not answer SetupConnection in time".to_owned(),
                ));
            }
        }
    }

    fn read(&mut self, client: &mut TemplateClient, clock: SystemClock) -> Result<(), Ended> {
        while let Some(frame) = self.connection.next_frame()? {
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
        hardware_version: std::env::consts::OS.try_into().unwrap_or_default(),
        ..setup::Endpoint::default()
    })
}

/// Whether the frame is the answer to `SetupConnection`, and good; one that is not known says nothing.
fn check_setup(
    router: Router,
    request: &SetupRequest,
    frame: &Sv2Frame<'_>,
) -> Result<bool, Ended> {
    let header = frame.header();
    let routed = match router.route(header.extension_type(), header.msg_type(), frame.payload()) {
        Ok(routed) => routed,
        Err(error) if error.is_ignored() => return Ok(false),
        Err(error) => return Err(Ended::Lost(error.to_string())),
    };
    match routed.message {
        AnyMessage::Common(CommonMessage::SetupConnectionSuccess(success)) => request
            .handle_success(&success)
            .map(|_| true)
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

#[cfg(test)]
mod tests;
