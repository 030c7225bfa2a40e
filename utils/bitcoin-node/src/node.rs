//! The trait, and what it says about a node.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use bitcoin::Network;
use roles_logic_sv2::block_template::BlockTemplate;
use tokio::sync::watch;

use crate::reject::RejectReason;
use crate::rpc::RpcError;

/// A boxed future, so that [`Node`] can be used as `dyn Node`.
pub type NodeFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A Bitcoin node, or something that acts like one.
///
/// Dropping it ends the tasks it runs.
pub trait Node: Send + Sync {
    /// What operators call it, for logs and status pages; holds no password.
    fn name(&self) -> &str;

    /// The node's state now and its changes. Only the newest state is kept: a reader that is late skips old ones.
    fn state(&self) -> watch::Receiver<NodeState>;

    /// Hands a full serialised block to the node, once.
    fn submit_block(&self, block: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome>;

    /// Where the node sees the block with this hash (32 raw bytes).
    fn block_standing(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>>;

    /// Whether the block with this hash (32 raw bytes) is part of the node's best chain.
    fn has_block(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<bool, RpcError>> {
        Box::pin(async move {
            Ok(matches!(
                self.block_standing(hash).await?,
                BlockStanding::Active { .. }
            ))
        })
    }
}

/// What is known of a node at one moment.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Whether its templates can be mined on, and if not, why.
    pub status: NodeStatus,
    /// The chain it is on, once it said so.
    pub chain: Option<Network>,
    /// The newest template. Stays while the node is unreachable: its tip may still be the newest.
    pub template: Option<Arc<BlockTemplate>>,
    /// Counts the templates; a changed number means another template.
    pub generation: u64,
}

/// Whether a node can be mined on.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum NodeStatus {
    /// No answer yet since start.
    #[default]
    Connecting,
    /// It cannot be reached, or does not answer as a node does.
    Unreachable {
        /// What went wrong.
        reason: String,
    },
    /// It refuses the user name and password, or the cookie.
    WrongCredentials,
    /// It is on another chain than the configured one.
    WrongChain {
        /// The chain that was configured.
        expected: Network,
        /// The chain as the node calls it.
        found: String,
    },
    /// It starts or reindexes and says to wait.
    WarmingUp {
        /// What it says it is doing.
        message: String,
    },
    /// It downloads or verifies the chain.
    Syncing {
        /// Share of the chain that is verified, 0 to 1.
        progress: f64,
        /// Height of the newest verified block.
        blocks: u32,
        /// Height of the newest known header.
        headers: u32,
    },
    /// It has no peers, so a block mined on it would reach nobody.
    NoPeers,
    /// It gives templates.
    Ready,
}

impl NodeStatus {
    /// Whether templates of this node are to be mined on.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether the last template may still be the newest one; a node on a wrong or old tip says that it is not.
    pub(crate) fn keeps_template(&self) -> bool {
        !matches!(self, Self::WrongChain { .. } | Self::Syncing { .. })
    }

    /// What the operator can do about it, where there is something to do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Connecting | Self::Ready | Self::WarmingUp { .. } => None,
            Self::Unreachable { .. } => {
                Some("check that bitcoind runs with server=1, and the host, port and rpcallowip")
            }
            Self::WrongCredentials => {
                Some("check user and password, or that the cookie file is this node's and readable")
            }
            Self::WrongChain { .. } => {
                Some("point to a node of the configured chain, or change the chain")
            }
            Self::Syncing { .. } => Some("wait until the node has caught up"),
            Self::NoPeers => Some("check the node's network connection"),
        }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Unreachable { reason } => write!(f, "unreachable: {reason}"),
            Self::WrongCredentials => f.write_str("refuses the credentials"),
            Self::WrongChain { expected, found } => {
                let expected = expected.to_core_arg();
                write!(f, "is on chain {found}, not on {expected}")
            }
            Self::WarmingUp { message } => write!(f, "starting: {message}"),
            Self::Syncing {
                progress,
                blocks,
                headers,
            } => {
                write!(
                    f,
                    "syncing: block {blocks} of {headers}, {:.2} %",
                    progress * 100.0
                )
            }
            Self::NoPeers => f.write_str("has no peers"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// What a node said to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitOutcome {
    /// It is the new tip.
    Accepted,
    /// The node had it already.
    Duplicate,
    /// Valid so far, but not the tip: another block of this height came first, or the node has not decided yet.
    Inconclusive,
    /// Refused.
    Rejected(RejectReason),
    /// No answer: nobody knows whether the node has it.
    Failed(RpcError),
}

impl SubmitOutcome {
    /// Whether the node holds the block now.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate | Self::Inconclusive)
    }
}

impl fmt::Display for SubmitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Inconclusive => f.write_str("inconclusive"),
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Where a node sees a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStanding {
    /// On the best chain.
    Active {
        /// One for the tip.
        confirmations: u32,
    },
    /// Known, on no best chain.
    Stale,
    /// Not known.
    Unknown,
}
