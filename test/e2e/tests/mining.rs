//! Blocks on a real bitcoind -regtest, found by pool, template provider and miners that speak over Noise.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::collections::BTreeMap;

use bitcoin_node::hub::TemplateHub;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::template_server::Deviation;
use serde_json::json;
use stratum_e2e::chain::{MinedBlock, wallet_sats};
use stratum_e2e::eventually;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{ANYWHERE, Running, follow, pool_config, provider_config, remote};
use stratum_e2e::regtest_node::{RegtestNode, Zmq};
use stratum_pool::TemplateSource;

/// Blocks of the proof. The subsidy halves on the way.
const BLOCKS: u64 = 50;

async fn reach(bitcoind: &RegtestNode, height: u64) {
    let look = async || bitcoind.height().await.unwrap();
    eventually("height", look, |now| *now >= height).await;
}

/// Payments of all kinds into the mempool: to segwit and legacy addresses, with and without a witness of their own.
async fn pay(bitcoind: &RegtestNode) -> Vec<String> {
    let segwit = bitcoind.address("bech32").await.unwrap();
    let taproot = bitcoind.address("bech32m").await.unwrap();
    let mut paid = vec![bitcoind.pay(&taproot).await.unwrap()];
    paid.extend(bitcoind.pay_by_legacy(&segwit).await.unwrap());
    paid
}

async fn mempool_size(bitcoind: &RegtestNode) -> u64 {
    let info = bitcoind.rpc("getmempoolinfo", json!([])).await.unwrap();
    info["size"].as_u64().unwrap()
}

/// The proof: each block is the pool's, pays the wallet all that can be claimed, and carries the payments; the node dies
/// in the middle, and nothing else has to be started again.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_blocks_are_mined_over_the_wire_though_the_node_is_killed() {
    let panics = PanicWatch::new();
    let mut bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    let address = bitcoind.fund_wallet().await.unwrap();
    let coins_before = wallet_sats(&bitcoind).await.unwrap();
    let start = bitcoind.height().await.unwrap();

    let provider = Running::provider(provider_config(ANYWHERE), follow(bitcoind.config()));
    let source = remote(provider.program.local_addr());
    let pool = Running::pool(pool_config(ANYWHERE, &address), source);
    let pool_address = pool.program.local_addr();
    let miner = Running::miner(pool_address, ChannelKind::Extended, "farm.rig");

    let mut paid = Vec::new();
    for height in [start + 1, start + 12] {
        reach(&bitcoind, height).await;
        paid.extend(pay(&bitcoind).await);
    }
    reach(&bitcoind, start + BLOCKS / 2).await;
    bitcoind.flush().await.unwrap();
    bitcoind.kill().unwrap();
    let status = async || provider.program.snapshot().hub.node_status;
    eventually("the node is missed", status, |status| !status.is_ready()).await;
    bitcoind.restart().await.unwrap();
    // What was not on disk yet is forgotten by a node that dies so.
    let restart = bitcoind.height().await.unwrap();
    assert!(restart > start && restart < start + BLOCKS);
    reach(&bitcoind, restart + 2).await;
    paid.extend(pay(&bitcoind).await);
    reach(&bitcoind, start + BLOCKS).await;
    let mempool = async || mempool_size(&bitcoind).await;
    eventually("payments are mined", mempool, |size| *size == 0).await;

    let snapshot = miner.program.snapshot();
    assert_eq!(snapshot.reconnects, 0, "{snapshot:#?}");
    assert!(snapshot.anomalies.is_empty(), "{snapshot:#?}");
    miner.stop().await;
    let snapshot = pool.program.snapshot();
    assert_eq!(
        (snapshot.accepted, snapshot.source.failures),
        (1, 0),
        "{snapshot:#?}"
    );
    assert!(
        snapshot.source.is_connected && snapshot.shares_accepted >= BLOCKS,
        "{snapshot:#?}"
    );
    assert!(snapshot.rejects.is_empty(), "{snapshot:#?}");
    pool.stop().await;
    let snapshot = provider.program.snapshot();
    assert_eq!(snapshot.accepted, 1, "{snapshot:#?}");
    assert!(snapshot.rejects.is_empty(), "{snapshot:#?}");
    // A share may cross a new tip on its way; it is handed in all the same.
    let is_late = |deviation: &Deviation| *deviation == Deviation::StaleTip;
    assert!(snapshot.hub.deviations.keys().all(is_late), "{snapshot:#?}");
    provider.stop().await;

    assert_chain(&bitcoind, start, &address, &paid, coins_before).await;
    panics.assert_none();
}

/// What the node and its wallet say of all that was mined above `start`.
async fn assert_chain(
    bitcoind: &RegtestNode,
    start: u64,
    address: &str,
    paid: &[String],
    coins_before: u64,
) {
    let info = bitcoind.rpc("getblockchaininfo", json!([])).await.unwrap();
    let height = info["blocks"].as_u64().unwrap();
    assert!(height >= start + BLOCKS && info["headers"] == info["blocks"]);
    let (mut subsidies, mut fees) = (0, 0);
    let (mut with_witness, mut without) = (0, 0);
    for height in start + 1..=height {
        let block = MinedBlock::at(bitcoind, height).await.unwrap();
        block.assert_claims_everything();
        assert_eq!(block.payouts().keys().collect::<Vec<_>>(), [address]);
        assert!(block.has_tag("Stratum"), "block {height} is not the pool's");
        subsidies += block.subsidy_sats;
        fees += block.fees_sats;
        for payment in block.payments() {
            let has_witness = payment.input.iter().any(|input| !input.witness.is_empty());
            *(if has_witness {
                &mut with_witness
            } else {
                &mut without
            }) += 1;
        }
    }
    assert!(fees > 0);
    assert_eq!(with_witness + without, paid.len());
    assert!(
        with_witness > 0 && without > 0,
        "{with_witness} and {without}"
    );
    for txid in paid {
        let seen = bitcoind.rpc("gettransaction", json!([txid])).await.unwrap();
        assert!(seen["confirmations"].as_i64().unwrap() > 0, "{seen:#}");
    }
    // The fees went from the wallet to itself.
    let coins = wallet_sats(bitcoind).await.unwrap();
    assert_eq!(coins, coins_before + subsidies);
}

/// A pool that asks the node itself serves both kinds of channel at once, and pays each block to whom its miner says.
#[tokio::test(flavor = "multi_thread")]
async fn standard_and_extended_miners_are_paid_as_they_ask() {
    let panics = PanicWatch::new();
    let bitcoind = RegtestNode::start(Zmq::RawBlock).await.unwrap();
    let pooled = bitcoind.fund_wallet().await.unwrap();
    let solo = bitcoind.address("bech32m").await.unwrap();
    let split = bitcoind.address("legacy").await.unwrap();
    let start = bitcoind.height().await.unwrap();

    let hub = TemplateHub::spawn(follow(bitcoind.config()));
    let pool = Running::pool(
        pool_config(ANYWHERE, &pooled),
        TemplateSource::InProcess(hub),
    );
    let server = pool.program.local_addr();
    let miners = [
        (ChannelKind::Standard, "farm.rig".to_owned()),
        (ChannelKind::Standard, format!("{solo}.rig")),
        (ChannelKind::Extended, format!("sri/solo/{solo}/rig")),
        (ChannelKind::Extended, format!("sri/donate/25/{split}/rig")),
    ];
    let miners = miners.map(|(kind, identity)| Running::miner(server, kind, &identity));

    let mut blocks = BTreeMap::<Vec<String>, u64>::new();
    let mut height = start;
    // Each miner finds the next block by a chance of one in four.
    while blocks.len() < 3
        || miners
            .iter()
            .any(|miner| miner.program.snapshot().acknowledged < 5)
    {
        height += 1;
        reach(&bitcoind, height).await;
        let block = MinedBlock::at(&bitcoind, height).await.unwrap();
        block.assert_claims_everything();
        let payouts = block.payouts();
        if let (Some(ours), Some(theirs)) = (payouts.get(&pooled), payouts.get(&split)) {
            assert_eq!(*ours, (ours + theirs) / 4);
        }
        *blocks.entry(payouts.into_keys().collect()).or_default() += 1;
    }
    let mut both = vec![pooled.clone(), split];
    both.sort();
    let mut expected = [vec![pooled], vec![solo], both];
    expected.sort();
    assert!(blocks.keys().eq(&expected), "{blocks:#?}");

    for miner in miners {
        let snapshot = miner.program.snapshot();
        assert_eq!(
            (snapshot.reconnects, snapshot.anomalies.len()),
            (0, 0),
            "{snapshot:#?}"
        );
        miner.stop().await;
    }
    pool.stop().await;
    panics.assert_none();
}
