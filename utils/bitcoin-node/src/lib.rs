//! One trait over a Bitcoin node: JSON-RPC with ZMQ or long poll, and an embedded regtest chain.
//!
//! [`Node`] is what a pool or template provider sees: a [`watch`](tokio::sync::watch) of [`NodeState`] (status and
//! newest template) and two questions, [`Node::submit_block`] and [`Node::block_standing`]. There are three of them:
//!
//! - [`RpcNode`](rpc::RpcNode) follows any bitcoind and outlives its restarts, hangs, reindexes and first download;
//! - [`EmbeddedNode`](embedded::EmbeddedNode) is a regtest chain in the process, for the demo and for fast tests;
//! - [`NodeSet`](set::NodeSet) joins several nodes into one: fail-over for templates, every block to every node.
//!
//! [`TemplateHub`](hub::TemplateHub) serves any of them to several clients, each with a coinbase of its own.
//!
//! ```
//! use bitcoin_node::{Node, NodeStatus, embedded::EmbeddedNode};
//!
//! let node = EmbeddedNode::default();
//! let state = node.state().borrow().clone();
//! assert_eq!(state.status, NodeStatus::Ready);
//! assert_eq!(state.template.map(|template| template.height), Some(1));
//! ```

pub mod backoff;
pub mod embedded;
pub mod generate;
pub mod hub;
mod node;
pub mod reject;
pub mod rpc;
pub mod set;

pub use bitcoin::Network;
pub use node::{BlockStanding, Node, NodeFuture, NodeState, NodeStatus, SubmitOutcome};
pub use reject::RejectReason;
