//! Any bitcoind over JSON-RPC, with ZMQ where it publishes tips and long poll where it does not.
//!
//! One task per node follows it: it asks for the chain, subscribes, fetches a template, then waits for whichever comes
//! first of ZMQ, long poll, a slow poll of the tip and the refresh for better fees. Any error ends that session with a
//! [`NodeStatus`](crate::NodeStatus) and starts another after a bounded pause; nothing a node does ends the task.
//!
//! A tip learnt over ZMQ or by the slow poll is published first as an empty template made from its header. The answer
//! to a long poll is a full template already, so there it would come too late to help.

mod client;
mod config;
pub mod gbt;
mod session;
#[cfg(test)]
mod tests;
pub mod tip;
pub mod zmq;

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use client::{
    CODE_DESERIALIZATION, CODE_IN_INITIAL_DOWNLOAD, CODE_NOT_CONNECTED, CODE_NOT_FOUND,
    CODE_WARMING_UP, RESPONSE_BYTES_MAX, RpcClient, RpcError,
};
pub use config::{Password, RpcAuth, RpcConfig, RpcUrlError, TipSource};

use crate::backoff::Backoff;
use crate::node::{BlockStanding, Node, NodeFuture, NodeState, SubmitOutcome};
use crate::reject::RejectReason;
use client::parse_reply;

/// Deadline for submitblock: a node that verifies a full block on a slow disk must not be taken for a dead one.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// First pause before a node that failed is tried again; it doubles up to [`RpcConfig::reconnect_pause_max`].
pub const RECONNECT_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// What happened to one node's connection since start.
#[derive(Debug, Default)]
pub struct RpcCounters {
    /// Sessions that ended with an error, whatever the error.
    pub sessions_failed: AtomicU64,
    /// Tips that ZMQ told of.
    pub tips_by_zmq: AtomicU64,
    /// Tips that the long poll told of.
    pub tips_by_long_poll: AtomicU64,
    /// Tips that only the slow poll found.
    pub tips_by_fallback_poll: AtomicU64,
    /// ZMQ connections that were lost, or given up because they told nothing of a new tip.
    pub zmq_lost: AtomicU64,
    /// Templates made from a header alone.
    pub provisional_templates: AtomicU64,
}

impl RpcCounters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A bitcoind, followed by a task of its own until this is dropped.
#[derive(Debug)]
pub struct RpcNode {
    name: String,
    client: Arc<RpcClient>,
    counters: Arc<RpcCounters>,
    state: watch::Receiver<NodeState>,
    task: JoinHandle<()>,
}

impl Drop for RpcNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RpcNode {
    /// Starts to follow the node of `config`; needs a tokio runtime. An unreachable node is a status, not an error.
    ///
    /// # Errors
    /// When the host of `config` cannot stand in an address.
    pub fn spawn(config: RpcConfig) -> Result<Self, RpcError> {
        let client = Arc::new(RpcClient::new(&config)?);
        let counters = Arc::new(RpcCounters::default());
        let (sender, state) = watch::channel(NodeState::default());
        let name = config.display_name();
        let follower = session::Follower {
            config,
            client: Arc::clone(&client),
            counters: Arc::clone(&counters),
            state: sender,
        };
        Ok(Self {
            name,
            client,
            counters,
            state,
            task: tokio::spawn(follow(follower)),
        })
    }

    /// What happened to the connection so far.
    pub fn counters(&self) -> &RpcCounters {
        &self.counters
    }
}

async fn follow(mut follower: session::Follower) {
    let mut backoff = Backoff::new(RECONNECT_PAUSE_FIRST, follower.config.reconnect_pause_max);
    loop {
        let end = follower.session(&mut backoff).await;
        RpcCounters::add(&follower.counters.sessions_failed);
        follower.publish_status(end);
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

impl Node for RpcNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    fn submit_block(&self, block: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        Box::pin(async move {
            let params = json!([hex::encode(&block)]);
            let reply = self
                .client
                .call_raw("submitblock", params, SUBMIT_TIMEOUT)
                .await;
            submit_outcome(reply.and_then(|bytes| parse_reply::<String>("submitblock", &bytes)))
        })
    }

    fn block_standing(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        Box::pin(async move {
            match self.client.header(hash).await {
                Ok(header) => Ok(u32::try_from(header.confirmations)
                    .map_or(BlockStanding::Stale, |confirmations| {
                        BlockStanding::Active { confirmations }
                    })),
                Err(error) if error.code() == Some(CODE_NOT_FOUND) => Ok(BlockStanding::Unknown),
                Err(error) => Err(error),
            }
        })
    }
}

/// BIP22: `null` is accepted, a text is the reason.
fn submit_outcome(reply: Result<Option<String>, RpcError>) -> SubmitOutcome {
    match reply {
        Ok(None) => SubmitOutcome::Accepted,
        Ok(Some(text)) => match text.as_str() {
            "duplicate" => SubmitOutcome::Duplicate,
            "inconclusive" | "duplicate-inconclusive" => SubmitOutcome::Inconclusive,
            reason => SubmitOutcome::Rejected(RejectReason::from_text(reason)),
        },
        Err(error) if error.code() == Some(CODE_DESERIALIZATION) => {
            SubmitOutcome::Rejected(RejectReason::Malformed)
        }
        Err(error) => SubmitOutcome::Failed(error),
    }
}
