//! The node backends against a real bitcoind -regtest.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bitcoin::ScriptBuf;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin_node::generate::{solve, unsolved_block};
use bitcoin_node::rpc::{RpcConfig, RpcNode, TipSource};
use bitcoin_node::set::{NodeSet, NodeSetConfig};
use bitcoin_node::{BlockStanding, Node, NodeState, NodeStatus, RejectReason, SubmitOutcome};
use roles_logic_sv2::block_template::BlockTemplate;
use serde_json::json;
use stratum_e2e::PATIENCE;
use stratum_e2e::regtest_node::{RegtestNode, Zmq};

/// Polls so rare that only ZMQ or the long poll can tell of a tip within a test.
fn without_polls(config: RpcConfig) -> RpcConfig {
    RpcConfig {
        fallback_poll_interval: Duration::from_secs(600),
        refresh_interval: Duration::from_secs(600),
        ..config
    }
}

async fn until(
    node: &dyn Node,
    what: &str,
    mut is_reached: impl FnMut(&NodeState) -> bool,
) -> NodeState {
    let mut state = node.state();
    let reached = state.wait_for(|state| is_reached(state));
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("{what} not reached, state is {:?}", node.state().borrow()),
    }
}

async fn template_at(node: &dyn Node, height: u64) -> Arc<BlockTemplate> {
    let state = until(node, "full template", |state| {
        state.status.is_ready()
            && state.template.as_ref().is_some_and(|template| {
                u64::from(template.height) == height && !template.is_provisional
            })
    });
    state.await.template.unwrap()
}

fn solved(template: &BlockTemplate) -> Arc<[u8]> {
    let mut block = unsolved_block(template, ScriptBuf::from_bytes(vec![0x51])).unwrap();
    assert!(solve(&mut block));
    serialize(&block).into()
}

fn hash_of(block: &[u8]) -> [u8; 32] {
    deserialize::<bitcoin::Block>(block)
        .unwrap()
        .block_hash()
        .to_byte_array()
}

/// Legacy and segwit payments are in the template, and the block made from it is accepted with their fees.
#[tokio::test(flavor = "multi_thread")]
async fn templates_become_blocks_of_the_node() {
    let bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    let address = bitcoind.fund_wallet().await.unwrap();
    let config = RpcConfig {
        refresh_interval: Duration::from_millis(200),
        ..bitcoind.config()
    };
    let node = RpcNode::spawn(config).unwrap();
    template_at(&node, 102).await;
    for kind in ["legacy", "p2sh-segwit", "bech32", "bech32m"] {
        bitcoind
            .pay(&bitcoind.address(kind).await.unwrap())
            .await
            .unwrap();
    }
    let state = until(&node, "payments", |state| {
        state
            .template
            .as_ref()
            .is_some_and(|template| template.transactions.len() == 4)
    })
    .await;
    let template = state.template.unwrap();
    assert!(template.fees_sats() > 0);
    let block = solved(&template);
    assert_eq!(
        node.submit_block(Arc::clone(&block)).await,
        SubmitOutcome::Accepted
    );
    assert_eq!(
        node.submit_block(Arc::clone(&block)).await,
        SubmitOutcome::Duplicate
    );
    assert_eq!(
        node.block_standing(hash_of(&block)).await,
        Ok(BlockStanding::Active { confirmations: 1 })
    );
    assert_eq!(
        node.block_standing([5; 32]).await,
        Ok(BlockStanding::Unknown)
    );
    assert!(template_at(&node, 103).await.transactions.is_empty());
    assert_eq!(
        bitcoind.rpc("getmempoolinfo", json!([])).await.unwrap()["size"],
        0
    );
    bitcoind.mine(1, &address).await.unwrap();
    assert_eq!(
        node.block_standing(hash_of(&block)).await,
        Ok(BlockStanding::Active { confirmations: 2 })
    );
}

/// The node's verdicts are the embedded chain's verdicts.
#[tokio::test(flavor = "multi_thread")]
async fn rejections_are_those_of_the_embedded_chain() {
    type Change = fn(&mut bitcoin::Block);
    let changes: [(RejectReason, Change); 7] = [
        (RejectReason::TimeTooOld, |block| block.header.time = 1),
        (RejectReason::TimeTooNew, |block| block.header.time += 8_000),
        (RejectReason::BadVersion, |block| {
            block.header.version = bitcoin::block::Version::from_consensus(1)
        }),
        (RejectReason::BadCbHeight, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x60, 0x00])
        }),
        (RejectReason::BadCbAmount, |block| {
            block.txdata[0].output[0].value += bitcoin::Amount::from_sat(1)
        }),
        (RejectReason::BadWitnessMerkleMatch, |block| {
            block.txdata[0].output[1].script_pubkey.as_mut_bytes()[20] ^= 1
        }),
        (RejectReason::BadCbLength, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51])
        }),
    ];
    let bitcoind = RegtestNode::start(Zmq::Off).await.unwrap();
    let real = RpcNode::spawn(bitcoind.config()).unwrap();
    let embedded = bitcoin_node::embedded::EmbeddedNode::default();
    for (reason, change) in changes {
        for (node, height) in [(&real as &dyn Node, 1), (&embedded, 1)] {
            let template = template_at(node, height).await;
            let mut block = unsolved_block(&template, ScriptBuf::from_bytes(vec![0x51])).unwrap();
            change(&mut block);
            block.header.merkle_root = block.compute_merkle_root().unwrap();
            assert!(solve(&mut block));
            let outcome = node.submit_block(serialize(&block).into()).await;
            assert_eq!(
                outcome,
                SubmitOutcome::Rejected(reason.clone()),
                "{}",
                node.name()
            );
        }
    }
    for node in [&real as &dyn Node, &embedded] {
        let template = template_at(node, 1).await;
        let mut block = unsolved_block(&template, ScriptBuf::from_bytes(vec![0x51])).unwrap();
        assert_eq!(
            node.submit_block([1, 2, 3].into()).await,
            SubmitOutcome::Rejected(RejectReason::Malformed)
        );
        block.header.merkle_root = bitcoin::TxMerkleNode::from_byte_array([1; 32]);
        assert!(solve(&mut block));
        assert_eq!(
            node.submit_block(serialize(&block).into()).await,
            SubmitOutcome::Rejected(RejectReason::BadTxnmrklroot)
        );
    }
}

/// Submits blocks by one connection and takes the time until another one has a template on top of them.
async fn tip_latencies(zmq: Zmq, source: TipSource) -> (RpcNode, Vec<Duration>, Vec<Duration>) {
    const BLOCKS: u64 = 40;
    let bitcoind = RegtestNode::start(zmq).await.unwrap();
    let submitter = RpcNode::spawn(without_polls(bitcoind.config())).unwrap();
    let node = RpcNode::spawn(RpcConfig {
        tip_source: source,
        ..without_polls(bitcoind.config())
    })
    .unwrap();
    let (mut replied, mut first, mut full) = (Vec::new(), Vec::new(), Vec::new());
    for height in 1..=BLOCKS {
        let template = template_at(&node, height).await;
        // Let the subscription or the long poll settle: what is measured is the news, not the start.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let block = solved(&template);
        let hash = hash_of(&block);
        let mut state = node.state();
        let started = Instant::now();
        let submission = async { (submitter.submit_block(block).await, started.elapsed()) };
        let news = async {
            state
                .wait_for(|state| {
                    state
                        .template
                        .as_ref()
                        .is_some_and(|template| template.prev_hash == hash)
                })
                .await
                .unwrap();
            started.elapsed()
        };
        let ((outcome, replied_after), elapsed) =
            tokio::time::timeout(Duration::from_secs(30), async {
                tokio::join!(submission, news)
            })
            .await
            .unwrap();
        assert_eq!(outcome, SubmitOutcome::Accepted);
        replied.push(replied_after);
        first.push(elapsed);
        template_at(&node, height + 1).await;
        full.push(started.elapsed());
    }
    replied.sort();
    first.sort();
    full.sort();
    let at = |times: &[Duration], share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{zmq:?} {source:?}, from submitblock sent: node answers p50 {:?}; first template p50 {:?} p90 {:?}; full template p50 {:?} p90 {:?}",
        at(&replied, 50),
        at(&first, 50),
        at(&first, 90),
        at(&full, 50),
        at(&full, 90)
    );
    (node, first, full)
}

/// Far above what is usual, far below the polls that would hide a silent subscription.
const NEWS_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn zmq_hashblock_tells_of_a_tip() {
    let (node, first, full) = tip_latencies(Zmq::HashBlock, TipSource::Auto).await;
    assert!(first[first.len() / 2] < NEWS_MAX && full[full.len() / 2] < NEWS_MAX);
    assert_eq!(node.counters().tips_by_zmq.load(Ordering::Relaxed), 40);
    assert_eq!(
        node.counters()
            .provisional_templates
            .load(Ordering::Relaxed),
        40
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn zmq_rawblock_tells_of_a_tip() {
    let (node, first, _) = tip_latencies(Zmq::RawBlock, TipSource::Auto).await;
    assert!(first[first.len() / 2] < NEWS_MAX);
    assert_eq!(node.counters().tips_by_zmq.load(Ordering::Relaxed), 40);
    assert_eq!(
        node.counters()
            .provisional_templates
            .load(Ordering::Relaxed),
        40
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_poll_tells_of_a_tip_where_there_is_no_zmq() {
    let (node, first, _) = tip_latencies(Zmq::Off, TipSource::Auto).await;
    assert!(first[first.len() / 2] < NEWS_MAX);
    assert_eq!(
        node.counters().tips_by_long_poll.load(Ordering::Relaxed),
        40
    );
}

/// The provisional template is one that the node accepts a block on.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_template_can_be_mined() {
    let bitcoind = RegtestNode::start(Zmq::RawBlock).await.unwrap();
    let address = bitcoind.fund_wallet().await.unwrap();
    // The polls are for the first block, which may be found before the node knows of the subscription.
    let config = RpcConfig {
        fallback_poll_interval: Duration::from_secs(1),
        ..without_polls(bitcoind.config())
    };
    let node = RpcNode::spawn(config).unwrap();
    template_at(&node, 102).await;
    let mut found = 0;
    for height in 103..160 {
        let mut state = node.state();
        // Looked at meanwhile: the full template follows within milliseconds.
        let reached = state.wait_for(|state| {
            state
                .template
                .as_ref()
                .is_some_and(|template| template.height == height)
        });
        let reached = tokio::time::timeout(PATIENCE, reached);
        let (mined, reached) = tokio::join!(bitcoind.mine(1, &address), reached);
        mined.unwrap();
        let template = reached.unwrap().unwrap().template.clone().unwrap();
        let full = template_at(&node, u64::from(height)).await;
        if template.is_provisional {
            found += 1;
            // The version is the last one's: a change of signals is not worth the wait.
            let same = BlockTemplate {
                is_provisional: false,
                current_time_secs: full.current_time_secs,
                version: full.version,
                ..(*template).clone()
            };
            assert_eq!(same, *full, "the header told something else than the node");
        }
    }
    assert!(found > 0, "no provisional template was seen");
}

/// A killed, stopped or frozen node is a status; when it is back, templates and tips come again by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_and_comes_back_is_followed_again() {
    let mut bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    let config = RpcConfig {
        call_timeout: Duration::from_secs(2),
        fallback_poll_interval: Duration::from_secs(1),
        refresh_interval: Duration::from_secs(600),
        ..bitcoind.config()
    };
    let node = RpcNode::spawn(config).unwrap();
    let mut height = 1;
    for outage in ["kill", "stop", "freeze"] {
        template_at(&node, height).await;
        match outage {
            "kill" => bitcoind.kill().unwrap(),
            "stop" => bitcoind.stop().await.unwrap(),
            _ => bitcoind.freeze().unwrap(),
        }
        let down = until(&node, outage, |state| !state.status.is_ready()).await;
        assert!(down.template.is_some(), "the last template is kept");
        if outage == "freeze" {
            bitcoind.thaw().unwrap();
        } else {
            assert!(matches!(
                node.submit_block(solved(&down.template.unwrap())).await,
                SubmitOutcome::Failed(_)
            ));
            bitcoind.restart().await.unwrap();
        }
        // A block that is found before the node knows of the subscription is told by the polls alone.
        let told = node.counters().tips_by_zmq.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while node.counters().tips_by_zmq.load(Ordering::Relaxed) == told {
            assert!(Instant::now() < deadline, "ZMQ is silent after {outage}");
            let template = template_at(&node, height).await;
            assert_eq!(
                node.submit_block(solved(&template)).await,
                SubmitOutcome::Accepted
            );
            height += 1;
            template_at(&node, height).await;
        }
    }
}

/// Two nodes that do not know each other: the block reaches both, and templates go on when the first one dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_submits_to_all_and_fails_over() {
    let mut first = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    let second = RegtestNode::start(Zmq::Off).await.unwrap();
    let spawn = |config: RpcConfig| {
        let config = RpcConfig {
            fallback_poll_interval: Duration::from_millis(500),
            ..config
        };
        Arc::new(RpcNode::spawn(config).unwrap()) as Arc<dyn Node>
    };
    let config = NodeSetConfig {
        return_after: Duration::from_millis(500),
        ..NodeSetConfig::default()
    };
    let set = NodeSet::spawn(vec![spawn(first.config()), spawn(second.config())], config).unwrap();
    let template = template_at(&set, 1).await;
    let reports = set.submit_to_all(solved(&template)).await;
    assert_eq!(
        reports
            .iter()
            .filter(|report| report.is_confirmed())
            .count(),
        2,
        "{reports:?}"
    );
    assert_eq!(
        (
            first.height().await.unwrap(),
            second.height().await.unwrap()
        ),
        (1, 1)
    );

    // Not killed: it would forget the first block, which it cannot fetch from anyone here.
    first.stop().await.unwrap();
    let template = template_at(&set, 2).await;
    assert_eq!(
        set.submit_block(solved(&template)).await,
        SubmitOutcome::Accepted
    );
    template_at(&set, 3).await;
    first.restart().await.unwrap();
    // The block that was found meanwhile is still handed to the node that was away.
    let deadline = Instant::now() + Duration::from_secs(30);
    while first.height().await.unwrap() < 2 {
        assert!(
            Instant::now() < deadline,
            "the block never reached the first node"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(set.state().borrow().status, NodeStatus::Ready);
}
