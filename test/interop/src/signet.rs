//! A bitcoind on a signet of its own, which anyone may sign: its blocks take a processor seconds, so that most shares are
//! only shares, and it judges those that are blocks.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bitcoin_node::Network;
use bitcoin_node::rpc::{RpcAuth, RpcClient, RpcConfig, RpcNode};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::eventually;
use crate::ours::Home;

/// Hashes that a block takes on average: the proof of work limit of every signet.
pub const HASHES_PER_BLOCK: f64 = 4.84e6;

/// A signature that fits is none at all.
const CHALLENGE: &str = "-signetchallenge=51";

/// The tip is as old as signet itself until the first block; with the usual limit the node would wait for newer ones.
const MAX_TIP_AGE: &str = "-maxtipage=2000000000";

/// A running bitcoind; killed when dropped.
pub struct Signet {
    child: Child,
    client: RpcClient,
    config: RpcConfig,
    _folder: TempDir,
}

impl Signet {
    /// Starts one and waits until it answers; obtains it when there is none, as `cargo xtask node` does.
    ///
    /// # Panics
    /// When it cannot be had or does not start.
    pub fn start(runtime: &Runtime, log: &Path) -> Self {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let binaries = bitcoind::ensure(&target).expect("a bitcoind");
        let folder = tempfile::tempdir().expect("a folder");
        let rpc_port = free_port();
        let config = config(folder.path(), rpc_port);
        let _inside = runtime.enter();
        let mut node = Self {
            child: spawn(binaries.bitcoind(), folder.path(), rpc_port, log),
            client: RpcClient::new(&config).expect("a node's address"),
            config,
            _folder: folder,
        };
        eventually("bitcoind answers", || {
            let ended = node.child.try_wait().expect("a child");
            assert!(ended.is_none(), "bitcoind ended: {ended:?}; see {log:?}");
            runtime.block_on(node.try_height())
        });
        node
    }

    /// A runtime and this node, for our programs.
    ///
    /// # Panics
    /// When the node's address is none.
    pub fn home(&self, runtime: Runtime) -> Home<RpcNode> {
        let node = {
            let _inside = runtime.enter();
            RpcNode::spawn(self.config.clone()).expect("a node's address")
        };
        Home::on(runtime, node)
    }

    /// Height of its best chain.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn height(&self, runtime: &Runtime) -> u64 {
        let height = runtime.block_on(self.try_height());
        height.expect("the node answers")
    }

    async fn try_height(&self) -> Option<u64> {
        let height = self.client.call("getblockcount", serde_json::json!([]));
        height.await.ok().flatten()
    }
}

impl Drop for Signet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(mut bitcoind: Command, folder: &Path, rpc_port: u16, log: &Path) -> Child {
    let log = File::create(log).expect("a log file");
    bitcoind
        .args(["-signet", CHALLENGE, MAX_TIP_AGE])
        .args(["-listen=0", "-dnsseed=0", "-connect=0"])
        .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
        .arg(format!("-rpcport={rpc_port}"))
        .arg(format!("-datadir={}", folder.display()))
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a log file"))
        .stdout(log)
        .spawn()
        .expect("bitcoind starts")
}

fn config(folder: &Path, rpc_port: u16) -> RpcConfig {
    let cookie: PathBuf = folder.join("signet/.cookie");
    RpcConfig {
        chain: Some(Network::Signet),
        ..RpcConfig::new("127.0.0.1", rpc_port, RpcAuth::CookieFile(cookie))
    }
}

/// A port that is free now. Another program can take it before ours does; then the start fails and says so.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}
