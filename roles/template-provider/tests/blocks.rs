//! Whatever clients and mempool ask for, the chain accepts the blocks.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
};
use bitcoin_node::embedded::{EmbeddedChain, Verdict};
use bitcoin_node::generate;
use proptest::prelude::*;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::template_server::{Constraints, TemplateServer};

const NOW: Now = Now {
    instant: roles_logic_sv2::clock::Instant::from_secs(1),
    unix_secs: 1_800_000_000,
};

/// A transaction that nothing else conflicts with, of about `size` bytes, half of them witness if there is one.
fn transaction(number: u32, size: usize, has_witness: bool) -> Transaction {
    let mut spent = [0xaa; 32];
    spent[..4].copy_from_slice(&number.to_le_bytes());
    let half = vec![0x51; size / 2];
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint {
                txid: Txid::from_byte_array(spent),
                vout: 0,
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: match has_witness {
                true => Witness::from_slice(&[&half]),
                false => Witness::new(),
            },
        }],
        output: vec![TxOut {
            value: Amount::from_sat(10_000),
            script_pubkey: ScriptBuf::from_bytes(half.clone()),
        }],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Several blocks in a row on one chain, each with transactions and constraints of its own, the announced size and
    /// sigops used to the last byte and a scriptSig of 100 bytes.
    #[test]
    fn the_chain_accepts_every_block(
        blocks in proptest::collection::vec((
            proptest::collection::vec((2usize..4_000, any::<bool>(), 0u64..50_000), 0..30),
            proptest::collection::vec(1usize..200, 0..5),
            4_000u32..200_000,
            any::<bool>(),
        ), 1..5),
    ) {
        let mut chain = EmbeddedChain::new();
        let mut server = TemplateServer::new(1);
        let mut number = 0;
        for (height, (txs, others, weight_limit_wu, is_stripped)) in (1..).zip(blocks) {
            for (size, has_witness, fee_sats) in txs {
                number += 1;
                let raw = serialize(&transaction(number, size, has_witness));
                chain.add_transaction(&raw, fee_sats).unwrap();
            }
            let mut template = chain.template(NOW.unix_secs);
            template.weight_limit_wu = weight_limit_wu;
            server.handle_template(Arc::new(template), NOW).unwrap();

            let payout = ScriptBuf::from_bytes(vec![0x51; 34]);
            // Nothing but OP_CHECKSIG.
            let others: Vec<_> = others.iter().map(|len| ScriptBuf::from_bytes(vec![0xac; *len])).collect();
            let size = |script: &ScriptBuf| 8 + 1 + script.len() as u32;
            let constraints = Constraints {
                additional_size: size(&payout) + others.iter().map(size).sum::<u32>(),
                additional_sigops: others.iter().map(|script| script.len() as u16).sum(),
            };
            let Ok(work) = server.work(constraints, None) else {
                prop_assert!(constraints.reserved_weight_wu(true) > u64::from(weight_limit_wu));
                return Ok(());
            };
            let work = work.unwrap();
            let (new, tip) = (work.new_template(true), work.set_new_prev_hash(NOW));
            let mut solution = generate::solution(&new, &tip, payout, &others).unwrap();
            if is_stripped {
                let stripped = roles_logic_sv2::coinbase::strip_bip141(solution.coinbase_tx.as_bytes()).unwrap();
                solution.coinbase_tx = stripped.try_into().unwrap();
            }
            let solved = server.solve(&solution, NOW).unwrap();
            let block: Block = deserialize(&solved.bytes).unwrap();
            prop_assert!(block.weight().to_wu() <= u64::from(weight_limit_wu));
            prop_assert_eq!(chain.submit_block(&solved.bytes, NOW.unix_secs), Ok(Verdict::NewTip));
            prop_assert_eq!(chain.height(), height);
            prop_assert_eq!(chain.tip_hash(), solved.hash);
        }
    }
}
