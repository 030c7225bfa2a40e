use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionData, SetNewPrevHash,
    TemplateDistributionMessage as Message,
};

use super::*;
use crate::embedded::EmbeddedNode;
use crate::generate;
use crate::reject::RejectReason;

const CONSTRAINTS: Constraints = Constraints {
    additional_size: 43,
    additional_sigops: 0,
};

/// A transaction with a witness that nothing else spends.
fn transaction(number: u8) -> Vec<u8> {
    bitcoin::consensus::serialize(&Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint {
                txid: bitcoin::Txid::from_byte_array([number; 32]),
                vout: 0,
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[number; 64]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(50_000),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; 22]),
        }],
    })
}

/// The solution that a pool with an output of 34 bytes of script finds.
fn solve(template: &NewTemplate<'_>, tip: &SetNewPrevHash) -> SubmitSolution<'static> {
    let payout = ScriptBuf::from_bytes(vec![0x51; 34]);
    generate::solution(template, tip, payout, &[]).unwrap()
}

async fn template(link: &mut TemplateLink) -> NewTemplate<'static> {
    match link.to_client.recv().await {
        Some(Message::NewTemplate(template)) => template,
        other => panic!("not a template: {other:?}"),
    }
}

async fn tip(link: &mut TemplateLink) -> SetNewPrevHash {
    match link.to_client.recv().await {
        Some(Message::SetNewPrevHash(tip)) => tip,
        other => panic!("not a tip: {other:?}"),
    }
}

async fn connect(hub: &TemplateHub) -> TemplateLink {
    let link = hub.connect();
    let message = CoinbaseOutputConstraints::from(CONSTRAINTS);
    link.to_server.send(message.into()).await.unwrap();
    link
}

#[tokio::test]
async fn blocks_with_transactions_are_mined_over_a_link() {
    let node = Arc::new(EmbeddedNode::default());
    let (hub, task) = TemplateHub::spawn_with_task(Arc::clone(&node) as Arc<dyn Node>);
    let mut link = connect(&hub).await;
    for height in 1..=20 {
        let empty = template(&mut link).await;
        let new_tip = tip(&mut link).await;
        assert!(empty.future_template);
        assert_eq!(new_tip.template_id, empty.template_id);

        let raw = transaction(height);
        node.add_transaction(&raw, 2_000).unwrap();
        let full = template(&mut link).await;
        assert!(!full.future_template);
        assert_eq!(
            full.coinbase_tx_value_remaining,
            empty.coinbase_tx_value_remaining + 2_000
        );

        let request = RequestTransactionData {
            template_id: full.template_id,
        };
        link.to_server.send(request.into()).await.unwrap();
        let Some(Message::RequestTransactionDataSuccess(data)) = link.to_client.recv().await else {
            panic!("no transaction data")
        };
        assert_eq!(data.transaction_list.to_vec(), [raw.try_into().unwrap()]);

        link.to_server
            .send(solve(&full, &new_tip).into())
            .await
            .unwrap();
    }
    template(&mut link).await;
    assert_eq!(node.with_chain(|chain| chain.height()), 20);

    let snapshot = hub.snapshot();
    drop((hub, link));
    task.await.unwrap();
    let snapshot = snapshot.borrow().clone();
    assert_eq!((snapshot.solutions, snapshot.blocks_stored), (20, 20));
    assert_eq!(snapshot.deviations, BTreeMap::new());
    assert_eq!((snapshot.tips, snapshot.templates), (21, 41));
}

#[tokio::test]
async fn a_late_solution_still_reaches_the_node() {
    let node = Arc::new(EmbeddedNode::default());
    let hub = TemplateHub::spawn(node);
    let (mut slow, mut fast) = (connect(&hub).await, connect(&hub).await);
    let late = solve(&template(&mut slow).await, &tip(&mut slow).await);
    let mut first = solve(&template(&mut fast).await, &tip(&mut fast).await);
    assert_eq!(first, late, "equal constraints share one template");

    // Any other block of this height: the later time changes the hash.
    while first.header_nonce == late.header_nonce || hub.submit(first.clone()).await.is_err() {
        first.header_nonce += 1;
    }
    assert_eq!(
        tip(&mut {
            template(&mut slow).await;
            slow
        })
        .await
        .template_id,
        late.template_id + 1
    );
    let submitted = hub.submit(late).await.unwrap();
    assert_eq!(submitted.block.deviations, [Deviation::StaleTip]);
    assert_eq!(
        submitted.outcome.await.unwrap(),
        SubmitOutcome::Inconclusive
    );
}

#[tokio::test]
async fn what_a_client_does_wrong_is_counted_and_the_link_goes_on() {
    let hub = TemplateHub::spawn(Arc::new(EmbeddedNode::default()));
    let mut link = connect(&hub).await;
    let (new, new_tip) = (template(&mut link).await, tip(&mut link).await);

    link.to_server.send(new_tip.into()).await.unwrap();
    link.to_server
        .send(RequestTransactionData { template_id: 7 }.into())
        .await
        .unwrap();
    let Some(Message::RequestTransactionDataError(error)) = link.to_client.recv().await else {
        panic!("no error")
    };
    assert_eq!(error.error_code.as_bytes(), b"template-id-not-found");

    let mut greedy = new.clone();
    greedy.coinbase_tx_value_remaining += 1;
    let submitted = hub.submit(solve(&greedy, &new_tip)).await.unwrap();
    let reason = SubmitOutcome::Rejected(RejectReason::BadCbAmount);
    assert_eq!(submitted.outcome.await.unwrap(), reason);
    let unknown = SubmitSolution {
        template_id: 7,
        ..solve(&new, &new_tip)
    };
    assert!(hub.submit(unknown).await.is_err());

    let mut snapshot = hub.snapshot();
    let counted = snapshot
        .wait_for(|snapshot| !snapshot.blocks_refused.is_empty())
        .await;
    let counted = counted.unwrap().clone();
    assert_eq!(counted.blocks_refused.get("bad-cb-amount"), Some(&1));
    assert_eq!(counted.solutions_refused.get("unknown-template"), Some(&1));
}

#[tokio::test]
async fn constraints_that_no_block_meets_end_the_link() {
    let hub = TemplateHub::spawn(Arc::new(EmbeddedNode::default()));
    let mut link = hub.connect();
    let message = CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: u32::MAX,
        coinbase_output_max_additional_sigops: 0,
    };
    link.to_server.send(message.into()).await.unwrap();
    assert_eq!(link.to_client.recv().await, None);
}

#[tokio::test]
async fn constraints_may_change_and_ids_rise() {
    let hub = TemplateHub::spawn(Arc::new(EmbeddedNode::default()));
    let mut link = connect(&hub).await;
    let first = template(&mut link).await;
    tip(&mut link).await;
    for round in 1..=3 {
        let message = CoinbaseOutputConstraints::from(CONSTRAINTS);
        link.to_server.send(message.into()).await.unwrap();
        let next = template(&mut link).await;
        assert_eq!(next.template_id, first.template_id + round);
        assert!(!next.future_template);
    }
}

#[tokio::test]
async fn a_limited_number_of_constraints_is_served_at_once() {
    let hub = TemplateHub::spawn(Arc::new(EmbeddedNode::default()));
    let constraints = |additional_size| Constraints {
        additional_size,
        additional_sigops: 0,
    };
    let mut held = Vec::new();
    for size in 0..CONSTRAINTS_SERVED_MAX as u32 {
        held.push(hub.subscribe(constraints(size), None).await.unwrap());
    }
    let refused = hub.subscribe(constraints(9_999), None).await.unwrap_err();
    assert_eq!(refused, SubscribeError::TooManyConstraints);
    assert!(hub.subscribe(constraints(0), None).await.is_ok());
    held.pop();
    assert!(hub.subscribe(constraints(9_999), None).await.is_ok());
}
