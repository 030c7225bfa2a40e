//! The miner on our pool, whose templates come from an embedded chain.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::{Command, Output};
use std::sync::Arc;

use bitcoin_node::Network;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::hub::TemplateHub;
use network_helpers_sv2::ServerSecurity;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use stratum_pool::{Config, Pool, TemplateSource};
use stratum_runtime::Shutdown;

fn miner(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_small-miner"))
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_shares_are_accepted() {
    let payouts = PoolPayouts::new(Network::Regtest, [("raw(51)", 1)]).unwrap();
    let rules = PoolConfig::new(payouts);
    let config = Config::new(([127, 0, 0, 1], 0).into(), ServerSecurity::Plain, rules);
    let source = TemplateSource::InProcess(TemplateHub::spawn(Arc::new(EmbeddedNode::default())));
    let shutdown = Shutdown::new();
    let pool = Pool::start(config, source, shutdown.clone()).unwrap();
    let address = pool.local_addr().to_string();
    let output = miner(&[&address, "--plain", "--count", "3"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("found: nonce"), "{said}");
    assert!(!said.contains("Rejected"), "{said}");
    assert!(pool.snapshot().shares_accepted >= 3);
    shutdown.drain();
    pool.join().await;
}

#[test]
fn seconds_end_it_whatever_the_pool_says() {
    // It takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let output = miner(&[&address, "--plain", "--seconds", "1"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_pool_that_is_not_there_is_told() {
    let output = miner(&["127.0.0.1:1"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot reach 127.0.0.1:1"), "{said}");
}
