//! The nodes that templates come from and blocks go to.

use std::sync::Arc;

use bitcoin_node::Node;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::rpc::{RpcConfig, RpcError, RpcNode};
use bitcoin_node::set::{NodeSet, NodeSetConfig, NodeSetError};
use thiserror::Error;

/// Which nodes to use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodesConfig {
    /// A regtest chain in this process, gone with it.
    Embedded,
    /// bitcoind, the best one first.
    Rpc(Vec<RpcConfig>),
}

/// Why nodes cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] RpcError),
    /// None, or too many.
    #[error(transparent)]
    Set(#[from] NodeSetError),
}

impl NodesConfig {
    /// Starts to follow the nodes; needs a tokio runtime. A node that cannot be reached is a status, not an error.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn spawn(self) -> Result<Arc<dyn Node>, NodeError> {
        let nodes = match self {
            Self::Embedded => vec![Arc::new(EmbeddedNode::default()) as Arc<dyn Node>],
            Self::Rpc(configs) => {
                let spawn = |config| Ok(Arc::new(RpcNode::spawn(config)?) as Arc<dyn Node>);
                configs
                    .into_iter()
                    .map(spawn)
                    .collect::<Result<_, RpcError>>()?
            }
        };
        Ok(Arc::new(NodeSet::spawn(nodes, NodeSetConfig::default())?))
    }
}
