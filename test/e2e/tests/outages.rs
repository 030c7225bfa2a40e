//! What the programs depend on goes away and comes back, or is wrong at first: mining resumes by itself.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use bitcoin_node::hub::TemplateHub;
use bitcoin_node::rpc::{RpcAuth, RpcConfig};
use bitcoin_node::{Network, NodeStatus};
use roles_logic_sv2::channels::ChannelKind;
use stratum_e2e::eventually;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{ANYWHERE, Running, follow, pool_config, provider_config, remote};
use stratum_e2e::regtest_node::{RegtestNode, Zmq};
use stratum_mining_device::MiningDevice;
use stratum_pool::TemplateSource;

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// Waits for new blocks on the node, and for a new acknowledged share of every miner.
async fn mining_goes_on(bitcoind: &RegtestNode, miners: &[Running<MiningDevice>], when: &str) {
    let acknowledged = || {
        let miners = miners.iter();
        miners
            .map(|miner| miner.program.snapshot().acknowledged)
            .collect::<Vec<_>>()
    };
    let (height, before) = (bitcoind.height().await.unwrap(), acknowledged());
    let look = async || (bitcoind.height().await.unwrap(), acknowledged());
    eventually(when, look, |(now, credited)| {
        *now >= height + 2
            && credited
                .iter()
                .zip(&before)
                .all(|(now, before)| now > before)
    })
    .await;
}

fn reconnects(miners: &[Running<MiningDevice>]) -> Vec<u64> {
    let miners = miners.iter();
    miners
        .map(|miner| miner.program.snapshot().reconnects)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_and_restarted_servers_only_interrupt() {
    let panics = PanicWatch::new();
    let bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    let provider = Running::provider(provider_config(ANYWHERE), follow(bitcoind.config()));
    let provider_address = provider.program.local_addr();
    let pool = Running::pool(pool_config(ANYWHERE, PAYEE), remote(provider_address));
    let pool_address = pool.program.local_addr();
    let miners = [ChannelKind::Standard, ChannelKind::Extended]
        .map(|kind| Running::miner(pool_address, kind, "rig"));
    mining_goes_on(&bitcoind, &miners, "at start").await;

    bitcoind.freeze().unwrap();
    let status = async || provider.program.snapshot().hub.node_status;
    let is_missed = |status: &NodeStatus| matches!(status, NodeStatus::Unreachable { .. });
    eventually("a frozen node is missed", status, is_missed).await;
    bitcoind.thaw().unwrap();
    eventually("a thawed node is found", status, NodeStatus::is_ready).await;
    mining_goes_on(&bitcoind, &miners, "after the node was frozen").await;
    assert_eq!(pool.program.snapshot().source.failures, 0);

    // Without a word, as if the machine had lost its power.
    provider.kill().await;
    let source = async || pool.program.snapshot().source;
    eventually("the provider is missed", source, |source| {
        !source.is_connected
    })
    .await;
    let provider = Running::provider(provider_config(provider_address), follow(bitcoind.config()));
    mining_goes_on(&bitcoind, &miners, "after the provider's restart").await;
    let source = source().await;
    assert!(source.is_connected && source.failures > 0, "{source:#?}");
    let snapshot = provider.program.snapshot();
    assert!(snapshot.closed.is_empty(), "{snapshot:#?}");
    assert_eq!(reconnects(&miners), [0, 0], "miners do not notice");

    let accepted = pool.program.snapshot().accepted;
    assert_eq!(accepted, miners.len() as u64);
    pool.stop().await;
    let pool = Running::pool(pool_config(pool_address, PAYEE), remote(provider_address));
    mining_goes_on(&bitcoind, &miners, "after the pool's restart").await;
    assert_eq!(reconnects(&miners), [1, 1]);
    pool.kill().await;
    let pool = Running::pool(pool_config(pool_address, PAYEE), remote(provider_address));
    mining_goes_on(&bitcoind, &miners, "after the pool's death").await;
    assert_eq!(reconnects(&miners), [2, 2]);

    for miner in miners {
        let watcher = miner.program.watcher();
        miner.stop().await;
        let snapshot = watcher.snapshot();
        assert!(snapshot.anomalies.is_empty(), "{snapshot:#?}");
        // Another's block may come first.
        let is_stale = |code: &String| code == "stale-share";
        assert!(snapshot.rejected.keys().all(is_stale), "{snapshot:#?}");
    }
    pool.stop().await;
    provider.stop().await;
    panics.assert_none();
}

/// Nothing listens, then a node that refuses the credentials, then one of another chain, then the right one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_wrong_at_start_is_a_status_until_it_is_right() {
    let panics = PanicWatch::new();
    let mut bitcoind = RegtestNode::start(Zmq::Off).await.unwrap();
    bitcoind.stop().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "__cookie__:wrong").unwrap();
    let node = follow(RpcConfig {
        auth: RpcAuth::CookieFile(cookie.clone()),
        chain: Some(Network::Regtest),
        ..bitcoind.config()
    });
    let state = node.state();
    let hub = TemplateHub::spawn(node);
    let pool = Running::pool(pool_config(ANYWHERE, PAYEE), TemplateSource::InProcess(hub));
    let server = pool.program.local_addr();
    let miners = [ChannelKind::Standard, ChannelKind::Extended]
        .map(|kind| Running::miner(server, kind, "rig"));
    let status = async || state.borrow().status.clone();

    let is_closed = |status: &NodeStatus| matches!(status, NodeStatus::Unreachable { .. });
    eventually("nothing listens", status, is_closed).await;
    bitcoind.replace_by_signet().await.unwrap();
    let is_refused = |status: &NodeStatus| *status == NodeStatus::WrongCredentials;
    eventually("the credentials are wrong", status, is_refused).await;
    std::fs::copy(bitcoind.cookie(), &cookie).unwrap();
    let is_other = |status: &NodeStatus| {
        let (expected, found) = (Network::Regtest, "signet".to_owned());
        *status == NodeStatus::WrongChain { expected, found }
    };
    eventually("the chain is wrong", status, is_other).await;
    let hashes = miners
        .each_ref()
        .map(|miner| miner.program.snapshot().hashes);
    assert_eq!(hashes, [0, 0], "there is nothing to mine on");

    bitcoind.kill().unwrap();
    bitcoind.restart().await.unwrap();
    std::fs::copy(bitcoind.cookie(), &cookie).unwrap();
    eventually("all is right", status, NodeStatus::is_ready).await;
    mining_goes_on(&bitcoind, &miners, "with the right node").await;

    for miner in miners {
        miner.stop().await;
    }
    let snapshot = pool.program.snapshot();
    assert!(snapshot.rejects.is_empty(), "{snapshot:#?}");
    pool.stop().await;
    panics.assert_none();
}
