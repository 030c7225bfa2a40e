//! A regtest chain inside the process: the default of the demo and of fast tests.
//!
//! [`EmbeddedChain`] is the pure core, [`EmbeddedNode`] the thin [`Node`] around it.

mod chain;
mod mempool;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::Network;
use tokio::sync::watch;

pub use chain::{
    EmbeddedChain, FUTURE_TIME_MAX_SECS, REORG_DEPTH_MAX, RETAINED_BLOCKS_MAX, SIDE_BLOCKS_MAX,
    Verdict,
};
pub use mempool::{
    MEMPOOL_SIGOPS_MAX, MEMPOOL_TRANSACTIONS_MAX, MEMPOOL_WEIGHT_MAX_WU, MempoolError,
};

use crate::node::{BlockStanding, Node, NodeFuture, NodeState, NodeStatus, SubmitOutcome};
use crate::rpc::RpcError;

/// An [`EmbeddedChain`] behind the [`Node`] trait. It runs no task: each call does its work at once.
#[derive(Debug)]
pub struct EmbeddedNode {
    chain: Mutex<EmbeddedChain>,
    state: watch::Sender<NodeState>,
}

impl Default for EmbeddedNode {
    fn default() -> Self {
        Self::new(EmbeddedChain::new())
    }
}

impl EmbeddedNode {
    /// Serves `chain`.
    pub fn new(chain: EmbeddedChain) -> Self {
        let state = NodeState {
            status: NodeStatus::Ready,
            chain: Some(Network::Regtest),
            template: Some(Arc::new(chain.template(unix_secs()))),
            generation: 1,
        };
        Self {
            chain: Mutex::new(chain),
            state: watch::Sender::new(state),
        }
    }

    /// Puts a transaction in line for the next block and publishes a template that has it.
    /// Answers with its txid (32 raw bytes); see [`EmbeddedChain::add_transaction`].
    ///
    /// # Errors
    /// Says why it cannot stand in the next block.
    pub fn add_transaction(&self, raw: &[u8], fee_sats: u64) -> Result<[u8; 32], MempoolError> {
        let mut chain = self.chain();
        let txid = chain.add_transaction(raw, fee_sats)?;
        self.publish(&chain);
        Ok(txid)
    }

    /// Looks at the chain; templates are not published while the answer is made.
    pub fn with_chain<T>(&self, look: impl FnOnce(&EmbeddedChain) -> T) -> T {
        look(&self.chain())
    }

    fn submit(&self, block: &[u8]) -> SubmitOutcome {
        let mut chain = self.chain();
        match chain.submit_block(block, unix_secs()) {
            Ok(Verdict::NewTip) => {
                self.publish(&chain);
                SubmitOutcome::Accepted
            }
            Ok(Verdict::Duplicate) => SubmitOutcome::Duplicate,
            Ok(Verdict::Inconclusive) => SubmitOutcome::Inconclusive,
            Err(reason) => SubmitOutcome::Rejected(reason),
        }
    }

    fn chain(&self) -> MutexGuard<'_, EmbeddedChain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, chain: &EmbeddedChain) {
        let template = Arc::new(chain.template(unix_secs()));
        self.state.send_modify(|state| {
            state.template = Some(template);
            state.generation += 1;
        });
    }
}

impl Node for EmbeddedNode {
    fn name(&self) -> &str {
        "embedded regtest chain"
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.state.subscribe()
    }

    fn submit_block(&self, block: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        Box::pin(async move { self.submit(&block) })
    }

    fn block_standing(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        Box::pin(async move { Ok(self.chain().standing(hash)) })
    }
}

pub(crate) fn unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
