//! One session with a node: from the first answer to the first error.

use core::future::{Future, pending};
use core::pin::Pin;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Network};
use roles_logic_sv2::block_template::BlockTemplate;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::RpcCounters;
use super::client::{
    CODE_IN_INITIAL_DOWNLOAD, CODE_NOT_CONNECTED, CODE_NOT_FOUND, CODE_WARMING_UP, RpcClient,
    RpcError,
};
use super::config::{RpcConfig, TipSource};
use super::gbt::{self, NodeTemplate, is_material};
use super::tip::{MEDIAN_TIME_BLOCKS, RecentHeaders, TipHeader, provisional_template};
use super::zmq::{self, Notification, TipSignal, ZmqTips};
use crate::backoff::Backoff;
use crate::embedded::unix_secs;
use crate::node::{NodeState, NodeStatus};

type TemplateFuture = Pin<Box<dyn Future<Output = Result<NodeTemplate, RpcError>> + Send>>;

/// The part of getblockchaininfo's answer that is used.
#[derive(Debug, Deserialize)]
struct ChainInfo {
    chain: String,
    blocks: u32,
    headers: u32,
    verificationprogress: f64,
    initialblockdownload: bool,
}

impl ChainInfo {
    fn syncing(&self) -> NodeStatus {
        NodeStatus::Syncing {
            progress: self.verificationprogress.clamp(0.0, 1.0),
            blocks: self.blocks,
            headers: self.headers,
        }
    }
}

/// What follows a node: lives as long as the node is configured.
pub(super) struct Follower {
    pub(super) config: RpcConfig,
    pub(super) client: Arc<RpcClient>,
    pub(super) counters: Arc<RpcCounters>,
    pub(super) state: watch::Sender<NodeState>,
}

impl Follower {
    /// Follows the node until something goes wrong, and says what.
    pub(super) async fn session(&mut self, backoff: &mut Backoff) -> NodeStatus {
        let info: ChainInfo = match self.client.require("getblockchaininfo", json!([])).await {
            Ok(info) => info,
            Err(error) => return status_of(&error),
        };
        let chain = match self.check_chain(&info) {
            Ok(chain) => chain,
            Err(status) => return status,
        };
        let opened = async {
            // Subscribed before the first template is asked for, so that no tip falls between the two.
            let zmq = self.subscribe().await?;
            let first = fetch_template(Arc::clone(&self.client), chain).await?;
            Ok::<_, RpcError>((zmq, first))
        };
        let (zmq, first) = match opened.await {
            Ok(opened) => opened,
            Err(error) if error.code() == Some(CODE_IN_INITIAL_DOWNLOAD) => return info.syncing(),
            Err(error) => return status_of(&error),
        };
        backoff.reset();
        let mut session = Session::new(self, chain, zmq, &first);
        session.publish_full(first);
        match session.run().await {
            Ok(never) => match never {},
            Err(error) => status_of(&error),
        }
    }

    fn check_chain(&self, info: &ChainInfo) -> Result<Network, NodeStatus> {
        let chain = Network::from_core_arg(&info.chain).ok();
        let Some(chain) =
            chain.filter(|chain| self.config.chain.is_none_or(|expected| expected == *chain))
        else {
            let expected = self.config.chain.unwrap_or(Network::Bitcoin);
            return Err(NodeStatus::WrongChain {
                expected,
                found: info.chain.chars().take(20).collect(),
            });
        };
        self.state
            .send_if_modified(|state| state.chain.replace(chain) != Some(chain));
        // A regtest chain whose tip is old counts as downloading although there is nothing to download.
        if info.initialblockdownload && chain != Network::Regtest {
            Err(info.syncing())
        } else {
            Ok(chain)
        }
    }

    async fn subscribe(&self) -> Result<Option<ZmqTips>, RpcError> {
        if self.config.tip_source == TipSource::LongPoll {
            return Ok(None);
        }
        let announced: Vec<Notification> =
            match self.client.require("getzmqnotifications", json!([])).await {
                Ok(announced) => announced,
                // A node built without ZMQ does not know the call.
                Err(RpcError::Node { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
        let Some((topic, address)) = zmq::choose(&announced, &self.config.host) else {
            return Ok(None);
        };
        Ok(ZmqTips::connect(topic, &address).await)
    }

    pub(super) fn publish_status(&self, status: NodeStatus) {
        let is_new = self.state.send_if_modified(|state| {
            state.template = state.template.take().filter(|_| status.keeps_template());
            core::mem::replace(&mut state.status, status.clone()) != status
        });
        if is_new {
            tracing::warn!(
                node = self.config.display_name(),
                advice = status.advice(),
                "node {status}"
            );
        }
    }

    fn publish_template(&self, template: BlockTemplate) {
        let was_ready = self.state.borrow().status.is_ready();
        self.state.send_modify(|state| {
            state.status = NodeStatus::Ready;
            state.template = Some(Arc::new(template));
            state.generation += 1;
        });
        if !was_ready {
            tracing::info!(node = self.config.display_name(), "node ready");
        }
    }
}

async fn fetch_template(client: Arc<RpcClient>, chain: Network) -> Result<NodeTemplate, RpcError> {
    let timeout = client.call_timeout();
    gbt::parse(
        &client
            .call_raw(gbt::METHOD, gbt::params(chain, None), timeout)
            .await?,
    )
}

fn status_of(error: &RpcError) -> NodeStatus {
    match (error, error.code()) {
        (RpcError::WrongCredentials, _) => NodeStatus::WrongCredentials,
        (RpcError::Node { message, .. }, Some(CODE_WARMING_UP)) => NodeStatus::WarmingUp {
            message: message.clone(),
        },
        (_, Some(CODE_NOT_CONNECTED)) => NodeStatus::NoPeers,
        _ => NodeStatus::Unreachable {
            reason: error.to_string(),
        },
    }
}

/// Nothing: a session only ends by error.
enum Never {}

struct Session<'a> {
    follower: &'a mut Follower,
    chain: Network,
    zmq: Option<ZmqTips>,
    /// Open while there is no ZMQ.
    long_poll: Option<TemplateFuture>,
    /// A template on its way; dropped and asked for anew when a newer tip is heard of.
    fetch: Option<TemplateFuture>,
    long_poll_id: String,
    /// The tip of the newest template.
    tip: [u8; 32],
    /// A tip that the slow poll found and ZMQ has not told of.
    untold: Option<[u8; 32]>,
    recent: RecentHeaders,
}

/// What woke the session.
enum Wake {
    Tip(Option<TipSignal>),
    LongPoll(Result<NodeTemplate, RpcError>),
    Fetched(Result<NodeTemplate, RpcError>),
    FallbackPoll,
    Refresh,
}

async fn maybe<F: Future + Unpin + ?Sized>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

impl<'a> Session<'a> {
    fn new(
        follower: &'a mut Follower,
        chain: Network,
        zmq: Option<ZmqTips>,
        first: &NodeTemplate,
    ) -> Self {
        let tip = first.template.prev_hash;
        Self {
            follower,
            chain,
            zmq,
            long_poll: None,
            fetch: None,
            long_poll_id: String::new(),
            tip,
            untold: None,
            recent: RecentHeaders::default(),
        }
    }

    async fn run(&mut self) -> Result<Never, RpcError> {
        let config = &self.follower.config;
        let mut fallback = interval(config.fallback_poll_interval);
        fallback.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refresh = interval_at(
            Instant::now() + config.refresh_interval,
            config.refresh_interval,
        );
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.keep_long_poll();
            let wake = tokio::select! {
                biased;
                signal = async { match &mut self.zmq { Some(zmq) => zmq.next().await, None => pending().await } } => Wake::Tip(signal),
                reply = maybe(self.long_poll.as_mut()) => Wake::LongPoll(reply),
                reply = maybe(self.fetch.as_mut()) => Wake::Fetched(reply),
                _ = fallback.tick() => Wake::FallbackPoll,
                _ = refresh.tick() => Wake::Refresh,
            };
            self.handle(wake).await?;
        }
    }

    async fn handle(&mut self, wake: Wake) -> Result<(), RpcError> {
        match wake {
            Wake::Tip(Some(signal)) => self.handle_tip_signal(signal).await,
            Wake::Tip(None) => {
                self.give_up_zmq();
                self.poll_tip().await
            }
            Wake::LongPoll(reply) => self.handle_long_poll(reply),
            Wake::Fetched(reply) => {
                self.fetch = None;
                self.publish_full(reply?);
                self.learn_headers().await
            }
            Wake::FallbackPoll => {
                if self.zmq.is_none() {
                    self.zmq = self.follower.subscribe().await?;
                } else if self.untold.is_some() {
                    self.give_up_zmq();
                }
                self.poll_tip().await
            }
            Wake::Refresh => {
                self.fetch.get_or_insert_with(|| {
                    Box::pin(fetch_template(
                        Arc::clone(&self.follower.client),
                        self.chain,
                    ))
                });
                Ok(())
            }
        }
    }

    fn give_up_zmq(&mut self) {
        tracing::warn!(
            node = self.follower.config.display_name(),
            "the node's ZMQ is lost, long poll is used until it is back"
        );
        RpcCounters::add(&self.follower.counters.zmq_lost);
        (self.zmq, self.untold) = (None, None);
    }

    /// Long poll runs exactly while there is no ZMQ.
    fn keep_long_poll(&mut self) {
        if self.zmq.is_some() || self.long_poll_id.is_empty() {
            self.long_poll = None;
        } else if self.long_poll.is_none() {
            let client = Arc::clone(&self.follower.client);
            let params = gbt::params(self.chain, Some(&self.long_poll_id));
            let timeout = self.follower.config.long_poll_timeout;
            self.long_poll = Some(Box::pin(async move {
                gbt::parse(&client.call_raw(gbt::METHOD, params, timeout).await?)
            }));
        }
    }

    fn handle_long_poll(&mut self, reply: Result<NodeTemplate, RpcError>) -> Result<(), RpcError> {
        self.long_poll = None;
        match reply {
            // Nothing new for so long: a dead node is noticed by the slow poll, not here.
            Err(RpcError::Timeout { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(new) => {
                if new.template.prev_hash != self.tip {
                    RpcCounters::add(&self.follower.counters.tips_by_long_poll);
                    self.fetch = None;
                }
                self.publish_full(new);
                Ok(())
            }
        }
    }

    async fn poll_tip(&mut self) -> Result<(), RpcError> {
        let best: BlockHash = self
            .follower
            .client
            .require("getbestblockhash", json!([]))
            .await?;
        let best = best.to_byte_array();
        if best == self.tip {
            return self.learn_headers().await;
        }
        RpcCounters::add(&self.follower.counters.tips_by_fallback_poll);
        self.untold = self.zmq.is_some().then_some(best);
        self.handle_tip(TipSignal::Hash(best)).await
    }

    async fn handle_tip_signal(&mut self, signal: TipSignal) -> Result<(), RpcError> {
        RpcCounters::add(&self.follower.counters.tips_by_zmq);
        self.untold = None;
        self.handle_tip(signal).await
    }

    /// First the empty template, then the node's own.
    async fn handle_tip(&mut self, signal: TipSignal) -> Result<(), RpcError> {
        let hash = match &signal {
            TipSignal::Hash(hash) => *hash,
            TipSignal::Header(header) => header.block_hash().to_byte_array(),
        };
        if hash == self.tip {
            return Ok(());
        }
        if self.follower.config.empty_template_first
            && !self.recent.contains(&hash)
            && let Some(tip) = self.resolve(signal, hash).await?
        {
            self.publish_provisional(&tip);
        }
        self.fetch = Some(Box::pin(fetch_template(
            Arc::clone(&self.follower.client),
            self.chain,
        )));
        Ok(())
    }

    /// Places the tip: by the headers at hand, or by asking the node. `None` when it is no tip any more.
    async fn resolve(
        &mut self,
        signal: TipSignal,
        hash: [u8; 32],
    ) -> Result<Option<TipHeader>, RpcError> {
        if let TipSignal::Header(header) = signal
            && let Some(tip) = self.recent.place(&header)
        {
            self.recent.push(
                hash,
                tip.height,
                header.time,
                Some(header.prev_blockhash.to_byte_array()),
            );
            return Ok(Some(tip));
        }
        match self.follower.client.header(hash).await {
            Ok(info) => {
                self.recent.push(
                    hash,
                    info.height,
                    info.time,
                    info.previousblockhash.map(BlockHash::to_byte_array),
                );
                Ok(info.as_tip())
            }
            Err(error) if error.code() == Some(CODE_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn publish_provisional(&mut self, tip: &TipHeader) {
        let last = self.follower.state.borrow().template.clone();
        let template =
            last.and_then(|last| provisional_template(self.chain, tip, &last, unix_secs()));
        if let Some(template) = template {
            RpcCounters::add(&self.follower.counters.provisional_templates);
            self.tip = tip.hash;
            self.follower.publish_template(template);
        }
    }

    fn publish_full(&mut self, new: NodeTemplate) {
        let state = self.follower.state.borrow().clone();
        let delta = self.follower.config.fees_delta_sats;
        let is_wanted = state
            .template
            .is_none_or(|old| is_material(&old, &new.template, delta));
        self.tip = new.template.prev_hash;
        self.long_poll_id = new.long_poll_id;
        if is_wanted || !state.status.is_ready() {
            self.follower.publish_template(new.template);
        }
    }

    /// Fills the list of newest headers after a jump, so that the next header can be placed at once.
    async fn learn_headers(&mut self) -> Result<(), RpcError> {
        if self.zmq.is_none() || self.recent.tip() == Some(self.tip) {
            return Ok(());
        }
        let mut found = Vec::with_capacity(MEDIAN_TIME_BLOCKS);
        let mut next = Some(self.tip);
        while let (true, Some(hash)) = (found.len() < MEDIAN_TIME_BLOCKS, next) {
            let info = self.follower.client.header(hash).await?;
            next = info.previousblockhash.map(BlockHash::to_byte_array);
            found.push(info);
        }
        self.recent = RecentHeaders::default();
        for info in found.into_iter().rev() {
            self.recent.push(
                info.hash.to_byte_array(),
                info.height,
                info.time,
                info.previousblockhash.map(BlockHash::to_byte_array),
            );
        }
        Ok(())
    }
}
