//! The template provider in C++ of `examples/interop-cpp`, built with and without cargo: against its client in Rust, before
//! our pool, and its blocks on a real bitcoind.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use network_helpers_sv2::ClientSecurity;
use roles_logic_sv2::channels::ChannelKind;
use serde_json::json;
use stratum_e2e::eventually;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{ANYWHERE, Running, endpoint, pool_config};
use stratum_e2e::regtest_node::{RegtestNode, Zmq};
use stratum_pool::TemplateSource;

/// Blocks that the pool's miner has to find.
const BLOCKS: usize = 20;

fn example(name: &str) -> PathBuf {
    xtask::root().join("examples").join(name)
}

/// Runs an example's `run.sh` and gives what it prints.
fn run(name: &str, argument: &str) -> String {
    let output = Command::new("bash")
        .arg(example(name).join("run.sh"))
        .arg(argument)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name} says: {said}");
    said
}

/// A template provider in C++ on a free port; killed when dropped.
struct Provider {
    child: Child,
    address: SocketAddr,
    /// Blocks it took, in hexadecimal.
    blocks: Arc<Mutex<Vec<String>>>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap();
        let address = address.parse().unwrap();
        let blocks = Arc::new(Mutex::new(Vec::new()));
        let to = blocks.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let block = line.strip_prefix("block ").map(str::to_owned);
                to.lock().unwrap().extend(block);
            }
        });
        Self {
            child,
            address,
            blocks,
        }
    }

    fn blocks(&self) -> Vec<String> {
        self.blocks.lock().unwrap().clone()
    }
}

/// Built by cargo, the client in Rust mines on it; built without, a peer of the message crates alone talks to it.
#[test]
fn provider_in_cpp_and_peers_in_rust_understand_each_other() {
    let said = run("interop-cpp", "4");
    assert!(said.contains("blocks taken: 4"), "{said}");
    assert_eq!(said.matches("\nblock ").count(), 4, "{said}");
    let said = run("interop-cpp-no-cargo", "");
    assert!(
        said.contains("RequestTransactionData.Success: template 1 has 0 transactions"),
        "{said}"
    );
    assert!(said.contains("\ndone\n"), "{said}");
}

/// A miner of our pool finds blocks on the templates of the provider in C++; a real bitcoind takes every one of them.
#[tokio::test(flavor = "multi_thread")]
async fn pool_mines_on_templates_from_cpp_and_bitcoind_takes_the_blocks() {
    let panics = PanicWatch::new();
    let bitcoind = RegtestNode::start(Zmq::Off).await.unwrap();
    let said = tokio::task::spawn_blocking(|| run("interop-cpp", "--build")).await;
    let said = said.unwrap();
    let provider = Provider::start(Path::new(said.lines().last().unwrap()));

    let source = TemplateSource::Remote {
        endpoint: endpoint(provider.address),
        security: ClientSecurity::Plain,
    };
    let address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let pool = Running::pool(pool_config(ANYWHERE, address), source);
    let miner = Running::miner(pool.program.local_addr(), ChannelKind::Extended, "farm.rig");
    let look = async || provider.blocks().len();
    eventually("blocks", look, |count| *count >= BLOCKS).await;
    miner.stop().await;
    pool.stop().await;

    for (index, block) in provider.blocks().iter().enumerate() {
        let refused = bitcoind.rpc("submitblock", json!([block])).await.unwrap();
        assert!(refused.is_null(), "block {}: {refused}", index + 1);
    }
    let height = bitcoind.rpc("getblockcount", json!([])).await.unwrap();
    assert_eq!(height, provider.blocks().len());
    panics.assert_none();
}
