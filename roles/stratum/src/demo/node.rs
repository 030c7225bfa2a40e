//! The node of the demo: the embedded chain, a bitcoind that runs, or one that is started for it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bitcoin::Block;
use bitcoin::consensus::deserialize;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::rpc::{RpcAuth, RpcClient, RpcConfig, RpcError, RpcNode};
use bitcoin_node::set::{NodeSet, NodeSetConfig};
use bitcoin_node::{BlockStanding, Network, Node, NodeFuture, NodeState, SubmitOutcome};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::wallet::{self, Wallet};

/// How long a bitcoind that was just started may take to answer.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const START_PAUSE: Duration = Duration::from_millis(100);

/// Blocks whose news nobody has read yet; one more waits.
const NEWS_WAITING_MAX: usize = 256;

/// A block that was handed to the node, and what came of it.
#[derive(Debug)]
pub(super) struct BlockNews {
    pub(super) height: u64,
    /// As explorers show it.
    pub(super) hash: String,
    pub(super) transactions: usize,
    pub(super) reward_sats: u64,
    pub(super) outcome: SubmitOutcome,
}

/// A node, and what the demo needs to know of it.
pub(super) struct DemoNode {
    pub(super) node: Arc<dyn Node>,
    pub(super) chain: Network,
    pub(super) blocks: mpsc::Receiver<BlockNews>,
    /// Ends the bitcoind that was started for the demo, when dropped.
    _process: Option<OwnBitcoind>,
}

impl DemoNode {
    fn new(node: Arc<dyn Node>, chain: Network) -> anyhow::Result<Self> {
        let set = NodeSet::spawn(vec![node], NodeSetConfig::default())?;
        let (news, blocks) = mpsc::channel(NEWS_WAITING_MAX);
        let node = Arc::new(Watched {
            node: Arc::new(set),
            news,
        });
        Ok(Self {
            node,
            chain,
            blocks,
            _process: None,
        })
    }

    /// A chain in this process, with payments of `wallet` in each block.
    pub(super) fn embedded(wallet: Wallet) -> anyhow::Result<Self> {
        let (chain, coins) = wallet::funded_chain(&wallet).context("cannot fund the wallet")?;
        let node = Arc::new(EmbeddedNode::new(chain));
        tokio::spawn(wallet::pay_in_every_block(wallet, coins, node.clone()));
        Self::new(node, Network::Regtest)
    }

    /// A bitcoind at `url`.
    pub(super) async fn at(url: &str, payout: &str) -> anyhow::Result<Self> {
        let config = RpcConfig::from_url(url, None, std::env::home_dir()).context("--node")?;
        let name = config.display_name();
        let advice =
            "check that bitcoind runs there with server=1, and user and password or cookie file";
        let info = chain_info(&config)
            .await
            .with_context(|| format!("{name} cannot be used; {advice}"))?;
        Self::follow(config, &info, payout).await
    }

    /// A bitcoind -regtest of our own, found or obtained, in a folder that is thrown away.
    pub(super) async fn auto(payout: &str) -> anyhow::Result<Self> {
        let binaries =
            tokio::task::spawn_blocking(|| bitcoind::ensure(&programs_folder())).await??;
        let mut process = OwnBitcoind::start(&binaries)?;
        let config = RpcConfig {
            chain: Some(Network::Regtest),
            ..process.rpc_config()
        };
        let info = process.wait_until_it_answers(&config).await?;
        let node = Self::follow(config, &info, payout).await?;
        Ok(Self {
            _process: Some(process),
            ..node
        })
    }

    async fn follow(config: RpcConfig, info: &Value, payout: &str) -> anyhow::Result<Self> {
        let name = info
            .get("chain")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let chain = match name {
            "main" => Network::Bitcoin,
            "test" => Network::Testnet,
            "testnet4" => Network::Testnet4,
            "signet" => Network::Signet,
            "regtest" => Network::Regtest,
            other => bail!("the node is on chain `{other}`, which is not known"),
        };
        let is_asleep = info.get("initialblockdownload") == Some(&Value::Bool(true));
        if chain == Network::Regtest && is_asleep {
            wake(&config, payout).await?;
        }
        let config = RpcConfig {
            chain: Some(chain),
            ..config
        };
        Self::new(Arc::new(RpcNode::spawn(config)?), chain)
    }
}

/// A regtest node whose tip is old gives no templates until it has a new one.
async fn wake(config: &RpcConfig, payout: &str) -> anyhow::Result<()> {
    let descriptor = match payout.contains('(') {
        true => payout.to_owned(),
        false => format!("addr({payout})"),
    };
    let client = RpcClient::new(config)?;
    let mined: Result<Value, _> = client
        .require("generatetodescriptor", json!([1, descriptor]))
        .await;
    mined.context(
        "the regtest node waits for a recent block and cannot make one; mine one with bitcoin-cli generatetoaddress",
    )?;
    Ok(())
}

async fn chain_info(config: &RpcConfig) -> Result<Value, RpcError> {
    let client = RpcClient::new(config)?;
    client.require("getblockchaininfo", json!([])).await
}

/// Where programs are kept that have been obtained: the build folder, or the user's cache.
fn programs_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let build = own
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "target"));
    let cache = || {
        let home = std::env::home_dir().unwrap_or_else(std::env::temp_dir);
        home.join(".cache/stratum")
    };
    build.map_or_else(cache, Path::to_path_buf)
}

/// A bitcoind -regtest; killed when dropped.
struct OwnBitcoind {
    child: Child,
    rpc_port: u16,
    folder: TempDir,
}

impl OwnBitcoind {
    fn start(binaries: &bitcoind::NodeBinaries) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("stratum-demo-").tempdir()?;
        // Free now; whoever takes it before bitcoind does makes the start fail, which is said.
        let rpc_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let stderr = std::fs::File::create(folder.path().join("stderr.log"))?;
        let child = binaries
            .regtest(folder.path(), rpc_port)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start bitcoind ({})", binaries.origin()))?;
        Ok(Self {
            child,
            rpc_port,
            folder,
        })
    }

    fn rpc_config(&self) -> RpcConfig {
        let cookie = self.folder.path().join("regtest/.cookie");
        RpcConfig::new("127.0.0.1", self.rpc_port, RpcAuth::CookieFile(cookie))
    }

    async fn wait_until_it_answers(&mut self, config: &RpcConfig) -> anyhow::Result<Value> {
        let until = tokio::time::Instant::now() + START_PATIENCE;
        loop {
            let error = match chain_info(config).await {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            let log = self.folder.path().join("stderr.log");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("bitcoind ended ({status}): {}", said().trim());
            }
            if tokio::time::Instant::now() > until {
                bail!(
                    "bitcoind does not answer: {error}; it says: {}",
                    said().trim()
                );
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }
}

impl Drop for OwnBitcoind {
    fn drop(&mut self) {
        // Its data is thrown away, so nothing is lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells of every block that is handed in.
struct Watched {
    node: Arc<dyn Node>,
    news: mpsc::Sender<BlockNews>,
}

impl Node for Watched {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.node.state()
    }

    fn submit_block(&self, block: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        Box::pin(async move {
            let outcome = self.node.submit_block(block.clone()).await;
            if let Ok(block) = deserialize::<Block>(&block) {
                let news = BlockNews {
                    height: height(&block),
                    hash: block.block_hash().to_string(),
                    transactions: block.txdata.len(),
                    reward_sats: block.coinbase().map_or(0, |coinbase| {
                        coinbase
                            .output
                            .iter()
                            .map(|output| output.value.to_sat())
                            .sum()
                    }),
                    outcome: outcome.clone(),
                };
                // When the demo has ended, nobody wants news.
                let _ = self.news.send(news).await;
            }
            outcome
        })
    }

    fn block_standing(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        self.node.block_standing(hash)
    }
}

/// The height in the coinbase (BIP34); the first sixteen are opcodes.
fn height(block: &Block) -> u64 {
    const OP_1: u8 = 0x51;
    const OP_16: u8 = 0x60;
    let coinbase = block.coinbase().and_then(|coinbase| coinbase.input.first());
    match coinbase.and_then(|input| input.script_sig.as_bytes().first()) {
        Some(opcode @ OP_1..=OP_16) => u64::from(opcode - OP_1) + 1,
        _ => block.bip34_block_height().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin_node::embedded::EmbeddedChain;
    use bitcoin_node::generate::unsolved_block;

    use super::*;

    #[test]
    fn every_height_is_read() {
        let mut template = EmbeddedChain::new().template(1_700_000_000);
        for expected in [1, 16, 17, 128, 900_000] {
            template.height = expected;
            let block = unsolved_block(&template, bitcoin::ScriptBuf::new()).unwrap();
            assert_eq!(height(&block), u64::from(expected));
        }
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_named_with_what_to_do() {
        let at = |url: &'static str| async move {
            let error = DemoNode::at(url, "raw(51)").await.err().unwrap();
            format!("{error:#}")
        };
        let error = at("rpc://alice:hunter2@127.0.0.1:1").await;
        assert!(
            error.contains("rpc://127.0.0.1:1 cannot be used; check that bitcoind runs"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        let error = at("127.0.0.1:8332").await;
        assert!(error.contains("must start with rpc://"), "{error}");
    }
}
