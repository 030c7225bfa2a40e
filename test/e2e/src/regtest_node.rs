//! A bitcoind of one's own on -regtest: started in a folder that is thrown away, stopped, killed, frozen, started again.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bitcoin::Network;
use bitcoin_node::rpc::{RpcAuth, RpcClient, RpcConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::node::NodeBinaries;

/// How long a node may take to answer after a start, or to end after a stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the node publishes over ZMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zmq {
    /// Nothing.
    Off,
    /// Hashes of new tips.
    HashBlock,
    /// New tips in full.
    RawBlock,
}

/// A running bitcoind -regtest; killed when dropped.
pub struct RegtestNode {
    binaries: NodeBinaries,
    folder: TempDir,
    rpc_port: u16,
    zmq_port: u16,
    zmq: Zmq,
    client: RpcClient,
    child: Child,
}

impl Drop for RegtestNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RegtestNode {
    /// Obtains a bitcoind if there is none, starts it and waits until it answers.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn start(zmq: Zmq) -> anyhow::Result<Self> {
        let binaries =
            tokio::task::spawn_blocking(|| xtask::node::ensure(&xtask::root().join("target")))
                .await??;
        let folder = tempfile::Builder::new()
            .prefix("stratum-regtest-")
            .tempdir()?;
        let (rpc_port, zmq_port) = free_ports()?;
        let client = RpcClient::new(&config(&folder, rpc_port))?;
        let child = spawn(&binaries, &folder, rpc_port, zmq_port, zmq)?;
        let mut node = Self {
            binaries,
            folder,
            rpc_port,
            zmq_port,
            zmq,
            client,
            child,
        };
        node.wait_until_it_answers().await?;
        Ok(node)
    }

    /// How to reach it, by its cookie.
    pub fn config(&self) -> RpcConfig {
        config(&self.folder, self.rpc_port)
    }

    /// How to reach it, as an address for command lines.
    pub fn url(&self) -> String {
        format!(
            "rpc://127.0.0.1:{}?cookie={}",
            self.rpc_port,
            cookie(&self.folder).display()
        )
    }

    /// Calls its RPC server.
    ///
    /// # Errors
    /// The node's error, or that it does not answer.
    pub async fn rpc(&self, method: &'static str, params: Value) -> anyhow::Result<Value> {
        Ok(self
            .client
            .call(method, params)
            .await?
            .unwrap_or(Value::Null))
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.rpc("stop", json!([])).await?;
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("bitcoind does not stop")
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same ports and data, after [`stop`](Self::stop) or [`kill`](Self::kill), and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(
            &self.binaries,
            &self.folder,
            self.rpc_port,
            self.zmq_port,
            self.zmq,
        )?;
        self.wait_until_it_answers().await
    }

    /// Starts a node of another chain, signet, in its place after [`stop`](Self::stop) or [`kill`](Self::kill): same port,
    /// same credentials.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn replace_by_signet(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let mut command = self.binaries.bitcoind();
        command
            .args(["-signet", "-listen=0", "-dnsseed=0", "-connect=0"])
            .arg(format!("-datadir={}", folder.display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .arg(format!("-rpccookiefile={}", cookie(&self.folder).display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("stderr.log"))?);
        self.child = command.spawn().context("cannot start bitcoind -signet")?;
        self.wait_until_it_answers().await
    }

    /// The file with its credentials, written anew at each start.
    pub fn cookie(&self) -> PathBuf {
        cookie(&self.folder)
    }

    /// Freezes it: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it run again after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    /// Makes a wallet with coins that can be spent at once; answers with an address of it.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn fund_wallet(&self) -> anyhow::Result<String> {
        let wallet = json!({"wallet_name": "test", "load_on_startup": true});
        self.rpc("createwallet", wallet).await?;
        let address = self.address("bech32").await?;
        self.mine(101, &address).await?;
        Ok(address)
    }

    /// A new address of the wallet: `legacy`, `p2sh-segwit`, `bech32` or `bech32m`.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn address(&self, kind: &str) -> anyhow::Result<String> {
        let address = self.rpc("getnewaddress", json!(["", kind])).await?;
        Ok(address.as_str().context("no address")?.to_owned())
    }

    /// Lets the node mine `count` blocks to `address`.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn mine(&self, count: u32, address: &str) -> anyhow::Result<()> {
        self.rpc("generatetoaddress", json!([count, address]))
            .await
            .map(drop)
    }

    /// Pays one coin to `address`; answers with the transaction's id.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn pay(&self, address: &str) -> anyhow::Result<String> {
        let txid = self.rpc("sendtoaddress", json!([address, 1])).await?;
        Ok(txid.as_str().context("no txid")?.to_owned())
    }

    /// Pays one coin to a legacy address of the wallet, and half of it from there to `address`: the second transaction
    /// has no witness. Answers with the ids of both.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn pay_by_legacy(&self, address: &str) -> anyhow::Result<[String; 2]> {
        let legacy = self.address("legacy").await?;
        let first = self.pay(&legacy).await?;
        let seen = self.rpc("gettransaction", json!([first])).await?;
        let mut details = seen["details"].as_array().into_iter().flatten();
        let output = details
            .find(|output| output["address"] == legacy.as_str() && output["category"] == "receive");
        let output = &output.context("the wallet does not see its own coin")?["vout"];
        let options = json!({
            "inputs": [{"txid": first, "vout": output}],
            "add_inputs": false,
            "change_type": "legacy",
            "fee_rate": 20,
        });
        let params = json!({"outputs": {address: 0.5}, "options": options});
        let sent = self.rpc("send", params).await?;
        let second = sent["txid"].as_str().context("no txid")?.to_owned();
        Ok([first, second])
    }

    /// Makes it write its chain to disk, which it does once an hour otherwise. A node that is killed forgets what came
    /// after.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn flush(&self) -> anyhow::Result<()> {
        self.rpc("gettxoutsetinfo", json!([])).await.map(drop)
    }

    /// Height of its best chain.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn height(&self) -> anyhow::Result<u64> {
        self.rpc("getblockcount", json!([]))
            .await?
            .as_u64()
            .context("no height")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            bail!("kill {signal} failed")
        }
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if self
                .client
                .call::<Value>("getblockcount", json!([]))
                .await
                .is_ok()
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("bitcoind ended ({status}): {}", self.last_words());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("bitcoind does not answer: {}", self.last_words())
    }

    fn last_words(&self) -> String {
        let text =
            std::fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default();
        text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
    }
}

fn cookie(folder: &TempDir) -> PathBuf {
    folder.path().join("regtest/.cookie")
}

fn config(folder: &TempDir, rpc_port: u16) -> RpcConfig {
    let auth = RpcAuth::CookieFile(cookie(folder));
    RpcConfig {
        chain: Some(Network::Regtest),
        ..RpcConfig::new("127.0.0.1", rpc_port, auth)
    }
}

/// Two ports that are free now. Another program can take them before the node does; then the start fails and says so.
fn free_ports() -> anyhow::Result<(u16, u16)> {
    let (first, second) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn spawn(
    binaries: &NodeBinaries,
    folder: &TempDir,
    rpc_port: u16,
    zmq_port: u16,
    zmq: Zmq,
) -> anyhow::Result<Child> {
    let mut command = binaries.regtest(folder.path(), rpc_port);
    match zmq {
        Zmq::Off => {}
        Zmq::HashBlock => _ = command.arg(format!("-zmqpubhashblock=tcp://127.0.0.1:{zmq_port}")),
        Zmq::RawBlock => _ = command.arg(format!("-zmqpubrawblock=tcp://127.0.0.1:{zmq_port}")),
    }
    let stderr = File::create(folder.path().join("stderr.log"))?;
    command
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("cannot start bitcoind ({})", binaries.origin()))
}
