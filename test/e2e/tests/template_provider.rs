//! The template server against a real bitcoind -regtest.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::sync::Arc;
use std::time::Duration;

use bitcoin::ScriptBuf;
use bitcoin_node::generate;
use bitcoin_node::hub::{TemplateHub, TemplateLink};
use bitcoin_node::rpc::{RpcConfig, RpcNode};
use bitcoin_node::set::{NodeSet, NodeSetConfig};
use serde_json::json;
use stratum_e2e::regtest_node::{RegtestNode, Zmq};
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, SetNewPrevHash, TemplateDistributionMessage as Message,
};

async fn connect(hub: &TemplateHub, additional_size: u32) -> TemplateLink {
    let link = hub.connect();
    let constraints = CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: additional_size,
        coinbase_output_max_additional_sigops: 0,
    };
    link.to_server.send(constraints.into()).await.unwrap();
    link
}

/// What a client works on.
#[derive(Default)]
struct Job {
    template: Option<NewTemplate<'static>>,
    tip: Option<SetNewPrevHash>,
}

impl Job {
    /// Reads messages until the newest template is as wanted, and belongs to the tip.
    async fn follow(
        &mut self,
        link: &mut TemplateLink,
        is_it: impl Fn(&NewTemplate<'_>) -> bool,
    ) -> (NewTemplate<'static>, SetNewPrevHash) {
        let find = async {
            let mut waits_for_tip = self.template.is_none();
            loop {
                if let (false, Some(template), Some(tip)) =
                    (waits_for_tip, &self.template, self.tip)
                    && is_it(template)
                {
                    return (template.clone(), tip);
                }
                match link.to_client.recv().await.unwrap() {
                    Message::NewTemplate(template) => {
                        waits_for_tip = template.future_template;
                        self.template = Some(template);
                    }
                    Message::SetNewPrevHash(tip) => {
                        waits_for_tip = false;
                        self.tip = Some(tip);
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), find).await;
        found.expect("no such template in time")
    }
}

fn height_of(template: &NewTemplate<'_>) -> u64 {
    u64::from(template.coinbase_tx_locktime) + 1
}

/// A client without room for transactions mines the node's own mempool away from its blocks, one with room into them;
/// bitcoind accepts both kinds, and its wallet sees the payments confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn bitcoind_accepts_blocks_of_clients_with_and_without_room() {
    let bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
    bitcoind.fund_wallet().await.unwrap();
    let config = RpcConfig {
        refresh_interval: Duration::from_millis(200),
        ..bitcoind.config()
    };
    let node = RpcNode::spawn(config).unwrap();
    let node = NodeSet::spawn(vec![Arc::new(node)], NodeSetConfig::default()).unwrap();
    let hub = TemplateHub::spawn(Arc::new(node));

    let mut greedy = connect(&hub, (4_000_000 - 1_168) / 4).await;
    let mut modest = connect(&hub, 43).await;
    let (mut greedy_job, mut modest_job) = (Job::default(), Job::default());
    // Few rounds: bitcoind looks at its mempool for a template every five seconds only.
    for round in 0..2 {
        let payment = bitcoind
            .pay(&bitcoind.address("bech32").await.unwrap())
            .await
            .unwrap();
        let height = bitcoind.height().await.unwrap() + 1;
        let is_full = |template: &NewTemplate<'_>| {
            height_of(template) == height && !template.merkle_path.is_empty()
        };
        modest_job.follow(&mut modest, is_full).await;

        let is_next = |template: &NewTemplate<'_>| height_of(template) == height;
        let (template, tip) = greedy_job.follow(&mut greedy, is_next).await;
        assert!(template.merkle_path.is_empty(), "no room for transactions");
        let script = ScriptBuf::from_bytes(vec![0x51; 34]);
        let solution = generate::solution(&template, &tip, script.clone(), &[]).unwrap();
        greedy.to_server.send(solution.into()).await.unwrap();

        let is_full = |template: &NewTemplate<'_>| {
            height_of(template) == height + 1 && !template.merkle_path.is_empty()
        };
        let (template, tip) = modest_job.follow(&mut modest, is_full).await;
        let solution = generate::solution(&template, &tip, script, &[]).unwrap();
        modest.to_server.send(solution.into()).await.unwrap();
        let mut snapshot = hub.snapshot();
        let stored = snapshot.wait_for(|snapshot| snapshot.blocks_stored == 2 * (round + 1));
        tokio::time::timeout(Duration::from_secs(60), stored)
            .await
            .unwrap()
            .unwrap();

        assert_eq!(bitcoind.height().await.unwrap(), height + 1);
        let seen = bitcoind
            .rpc("gettransaction", json!([payment]))
            .await
            .unwrap();
        assert_eq!(seen["confirmations"], 1);
    }
    let snapshot = hub.snapshot().borrow().clone();
    assert!(
        snapshot.blocks_refused.is_empty() && snapshot.deviations.is_empty(),
        "{snapshot:?}"
    );
}
