//! The Bitcoin nodes of a program: `[node]` of its configuration.

use std::sync::Arc;

use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::rpc::{RpcConfig, RpcError, RpcNode};
use bitcoin_node::set::{NODES_MAX, NodeSet, NodeSetConfig, NodeSetError};
use bitcoin_node::{Network, Node};
use serde::Deserialize;
use thiserror::Error;

use crate::Secret;
use crate::config::Invalid;
use crate::config::sections::secs;

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
    /// Starts to follow the nodes; needs a tokio runtime. A node that cannot be reached is a status and a line in the log,
    /// not an error.
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

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawNode {
    urls: Vec<Secret<String>>,
    chain: Option<String>,
    empty_template_first: bool,
    fees_delta_sats: u64,
    refresh_secs: u64,
    call_timeout_secs: u64,
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            urls: vec![Secret::new("rpc://127.0.0.1".to_owned())],
            chain: None,
            empty_template_first: true,
            fees_delta_sats: 1_000,
            refresh_secs: 30,
            call_timeout_secs: 15,
        }
    }
}

impl RawNode {
    /// The nodes.
    ///
    /// # Errors
    /// When there are none or too many, or one of the values is of no use.
    pub fn nodes(&self) -> Result<NodesConfig, Invalid> {
        self.nodes_on(self.chain()?)
    }

    /// The nodes, which must be on `chain` where one is given.
    ///
    /// # Errors
    /// As [`Self::nodes`].
    pub fn nodes_on(&self, chain: Option<Network>) -> Result<NodesConfig, Invalid> {
        const KEY: &str = "node.urls";
        match self.urls.as_slice() {
            [] => Err(Invalid::new(
                KEY,
                "is empty",
                "name at least one node, such as rpc://127.0.0.1:8332",
            )),
            _ if self.is_embedded() => Ok(NodesConfig::Embedded),
            urls if urls.len() > NODES_MAX => {
                let what = format!("names {} nodes", urls.len());
                Err(Invalid::new(KEY, what, format!("name at most {NODES_MAX}")))
            }
            urls => {
                let nodes = urls.iter().map(|url| self.node(url.expose(), chain));
                Ok(NodesConfig::Rpc(nodes.collect::<Result<_, _>>()?))
            }
        }
    }

    /// The chain that is configured.
    ///
    /// # Errors
    /// When it has another name.
    pub fn chain(&self) -> Result<Option<Network>, Invalid> {
        let Some(name) = &self.chain else {
            return Ok(self.is_embedded().then_some(Network::Regtest));
        };
        let chain = match name.as_str() {
            "mainnet" | "main" => Network::Bitcoin,
            "testnet" | "test" => Network::Testnet,
            "testnet4" => Network::Testnet4,
            "signet" => Network::Signet,
            "regtest" => Network::Regtest,
            other => {
                let fix = "choose mainnet, testnet, testnet4, signet or regtest";
                let what = format!("`{other}` is no chain");
                return Err(Invalid::new("node.chain", what, fix));
            }
        };
        if self.is_embedded() && chain != Network::Regtest {
            let what = format!("is {name}, but the embedded chain is regtest");
            return Err(Invalid::new("node.chain", what, "leave it out"));
        }
        Ok(Some(chain))
    }

    fn is_embedded(&self) -> bool {
        matches!(self.urls.as_slice(), [only] if only.expose() == "embedded")
    }

    fn node(&self, url: &str, chain: Option<Network>) -> Result<RpcConfig, Invalid> {
        // The error never repeats the address: it may hold a password.
        let node = RpcConfig::from_url(url, chain, std::env::home_dir()).map_err(|error| {
            let fix = "see the comment on node.urls in the configuration that `stratum config init` writes";
            Invalid::new("node.urls", error.to_string(), fix)
        })?;
        Ok(RpcConfig {
            empty_template_first: self.empty_template_first,
            fees_delta_sats: self.fees_delta_sats,
            refresh_interval: secs("node.refresh_secs", self.refresh_secs)?,
            call_timeout: secs("node.call_timeout_secs", self.call_timeout_secs)?,
            ..node
        })
    }
}
