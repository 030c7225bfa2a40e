//! What is found of sound templates, and which ones are found out.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

mod common;

use bitcoin::consensus::serialize;
use bitcoin::opcodes::all::OP_CHECKSIG;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use coinbase_negotiator_core::{Agreement, Fault, TemplateFault, Unreadable};
use roles_logic_sv2::coinbase::CoinbaseError;

use common::{Block, Scene, block, commitment_of, old_coin, p2pkh, spend, txs};

fn negotiated(block: Block) -> Result<Box<Agreement>, Fault> {
    let mut scene = Scene::asked();
    scene.offer(block);
    scene.end()
}

fn fault_of(block: Block) -> TemplateFault {
    match negotiated(block) {
        Err(fault @ Fault::Template { source, .. }) => {
            assert!(fault.is_breach());
            source
        }
        other => panic!("{other:?}"),
    }
}

fn of_weight(weight_wu: u64) -> Transaction {
    let tx = |len| spend(old_coin(1), false, ScriptBuf::from(vec![0; len]));
    // Long enough that its length takes five bytes.
    let len = 0x2_0000;
    let rest = (weight_wu - tx(len).weight().to_wu()) / 4;
    tx(len + rest as usize)
}

#[test]
fn a_sound_template_is_agreed_upon_with_its_figures() {
    let mut scene = Scene::asked();
    let block = block(7, &txs(&[true, false, true]));
    scene.provides(block.template);
    assert!(scene.told().is_empty(), "it waits for its tip");
    scene.provides(block.tip);
    assert_eq!(scene.told(), ["template 7", "RequestTransactionData"]);
    scene.provides(block.data);
    let agreement = scene.end().unwrap();
    assert_eq!(agreement.outputs, [p2pkh()]);
    assert_eq!(agreement.token, None);
    assert_eq!(agreement.asked.coinbase_output_max_additional_size, 34);
    let figures = agreement.figures;
    assert_eq!((figures.template_id, figures.transactions), (7, 3));
    assert_eq!(figures.coinbase_outputs, 2);
    assert_eq!(figures.value_remaining_sats, 5_000_000_000);
    assert!(figures.has_witness_commitment);
    let weights = txs(&[true, false, true]);
    let weights = weights.iter().map(|tx| tx.weight().to_wu()).sum::<u64>();
    assert_eq!(figures.weight_wu, 1_168 + 4 * 34 + weights);
    assert_eq!(figures.sigops_cost, 4);
}

#[test]
fn a_block_without_segwit_reserves_less() {
    let mut plain = block(7, &txs(&[false]));
    plain.template.coinbase_tx_outputs_count = 0;
    plain.template.coinbase_tx_outputs = Vec::new().try_into().unwrap();
    let figures = negotiated(plain).unwrap().figures;
    assert!(!figures.has_witness_commitment);
    let weight = txs(&[false])[0].weight().to_wu();
    assert_eq!(figures.weight_wu, 944 + 4 * 34 + weight);
    assert_eq!(figures.coinbase_outputs, 1);
}

#[test]
fn weight_fits_to_the_last_unit() {
    let room = 4_000_000 - 1_168 - 4 * 34;
    let figures = negotiated(block(1, &[of_weight(room)])).unwrap().figures;
    assert_eq!(figures.weight_wu, 4_000_000);
    let weight_wu = 4_000_004;
    assert_eq!(
        fault_of(block(1, &[of_weight(room + 4)])),
        TemplateFault::TooHeavy { weight_wu }
    );
    // Outputs of the template beside the commitment are not in the reservation.
    let full = [of_weight(room)];
    let mut with_more = block(1, &full);
    let more = TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from(vec![0x6a]),
    };
    let outputs = [commitment_of(&full), serialize(&more)].concat();
    with_more.template.coinbase_tx_outputs = outputs.try_into().unwrap();
    with_more.template.coinbase_tx_outputs_count = 2;
    let weight_wu = 4_000_000 + 4 * 10;
    assert_eq!(fault_of(with_more), TemplateFault::TooHeavy { weight_wu });
}

#[test]
fn signature_operations_fit_to_the_last_one() {
    let with_sigops = |count| {
        let script = ScriptBuf::from(vec![OP_CHECKSIG.to_u8(); count]);
        block(1, &[spend(old_coin(1), false, script)])
    };
    let figures = negotiated(with_sigops(19_999)).unwrap().figures;
    assert_eq!(figures.sigops_cost, 80_000);
    let sigops_cost = 80_004;
    assert_eq!(
        fault_of(with_sigops(20_000)),
        TemplateFault::TooManySigops { sigops_cost }
    );
    // Of a coin of the same block it is known how it is spent.
    let program = bitcoin::WitnessProgram::new(bitcoin::WitnessVersion::V0, &[7; 20]).unwrap();
    let parent = spend(old_coin(1), false, ScriptBuf::new_witness_program(&program));
    let coin = OutPoint::new(parent.compute_txid(), 0);
    let child = spend(coin, true, ScriptBuf::new());
    let figures = negotiated(block(1, &[parent, child])).unwrap().figures;
    assert_eq!(figures.sigops_cost, 4 + 1);
}

#[test]
fn each_lie_of_a_template_has_its_name() {
    let spoiled = |spoil: fn(&mut Block)| {
        let mut block = block(3, &txs(&[true, false]));
        spoil(&mut block);
        fault_of(block)
    };
    let long_prefix = spoiled(|block| {
        block.template.coinbase_prefix = vec![1; 9].try_into().unwrap();
    });
    assert_eq!(long_prefix, TemplateFault::LongPrefix { size: 9 });
    let no_value = spoiled(|block| block.template.coinbase_tx_value_remaining = 0);
    assert_eq!(no_value, TemplateFault::NoValue);
    let too_much = spoiled(|block| {
        block.template.coinbase_tx_value_remaining = 2_100_000_000_000_001;
    });
    assert_eq!(too_much, TemplateFault::TooMuchValue);
    let miscounted = spoiled(|block| block.template.coinbase_tx_outputs_count = 2);
    let malformed = CoinbaseError::MalformedOutputs { count: 2 };
    assert_eq!(miscounted, TemplateFault::Coinbase(malformed));
    let wrong_path = spoiled(|block| {
        block.template.merkle_path = vec![[1; 32].into(), [2; 32].into()].try_into().unwrap();
    });
    assert_eq!(wrong_path, TemplateFault::WrongPath { transactions: 2 });
    let hidden = spoiled(|block| {
        let other = common::block(3, &txs(&[true]));
        block.data = other.data;
    });
    assert_eq!(hidden, TemplateFault::WrongPath { transactions: 1 });
    let uncommitted = spoiled(|block| {
        block.template.coinbase_tx_outputs_count = 0;
        block.template.coinbase_tx_outputs = Vec::new().try_into().unwrap();
    });
    assert_eq!(uncommitted, TemplateFault::NoCommitment);
    let wrong = spoiled(|block| {
        block.template.coinbase_tx_outputs = commitment_of(&[]).try_into().unwrap();
    });
    assert_eq!(wrong, TemplateFault::WrongCommitment);
}

/// BIP141: of several commitments the last one counts.
#[test]
fn the_last_commitment_counts() {
    let transactions = txs(&[true]);
    let (right, wrong) = (commitment_of(&transactions), commitment_of(&[]));
    let with = |outputs: [&[u8]; 2]| {
        let mut block = block(3, &transactions);
        block.template.coinbase_tx_outputs = outputs.concat().try_into().unwrap();
        block.template.coinbase_tx_outputs_count = 2;
        block
    };
    assert!(negotiated(with([&wrong, &right])).is_ok());
    let fault = fault_of(with([&right, &wrong]));
    assert_eq!(fault, TemplateFault::WrongCommitment);
}

#[test]
fn transactions_in_another_encoding_are_no_breach_but_not_judged() {
    let mut block = block(3, &txs(&[true, false]));
    let list = vec![
        serialize(&txs(&[true])[0]).try_into().unwrap(),
        vec![1, 2, 3].try_into().unwrap(),
    ];
    block.data.transaction_list = list.try_into().unwrap();
    let fault = negotiated(block).unwrap_err();
    assert_eq!(fault, Fault::Unreadable(Unreadable { position: 2 }));
    assert!(!fault.is_breach());
}
