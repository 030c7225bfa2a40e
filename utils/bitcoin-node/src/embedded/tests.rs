//! The embedded chain's rules, with the time as an argument.

use bitcoin::absolute::LockTime;
use bitcoin::block::Version;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Witness, transaction,
};
use roles_logic_sv2::block_template::BlockTemplate;

use super::*;
use crate::generate::{self, commit};
use crate::reject::RejectReason;
use crate::rpc::tip::subsidy_sats;

/// The clock of these tests.
const NOW_SECS: u64 = 1_800_000_000;

fn spend(previous: OutPoint, witness: &[&[u8]], output_sats: u64) -> Transaction {
    let script_sig = if witness.is_empty() {
        ScriptBuf::from_bytes(vec![0x51])
    } else {
        ScriptBuf::new()
    };
    let input = TxIn {
        previous_output: previous,
        script_sig,
        sequence: Sequence::MAX,
        witness: Witness::from_slice(witness),
    };
    let output = TxOut {
        value: Amount::from_sat(output_sats),
        script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

fn some_output(number: u8) -> OutPoint {
    OutPoint {
        txid: bitcoin::Txid::from_byte_array([number; 32]),
        vout: 0,
    }
}

fn add(
    chain: &mut EmbeddedChain,
    tx: &Transaction,
    fee_sats: u64,
) -> Result<[u8; 32], MempoolError> {
    chain.add_transaction(&serialize(tx), fee_sats)
}

fn unsolved(template: &BlockTemplate) -> Block {
    generate::unsolved_block(template, ScriptBuf::from_bytes(vec![0x51])).unwrap()
}

fn solve(mut block: Block) -> Vec<u8> {
    assert!(generate::solve(&mut block));
    serialize(&block)
}

/// Same block with a change after which the merkle root is right again.
fn with(template: &BlockTemplate, change: impl FnOnce(&mut Block)) -> Vec<u8> {
    let mut block = unsolved(template);
    change(&mut block);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    solve(block)
}

fn mine(chain: &mut EmbeddedChain) -> [u8; 32] {
    let block = solve(unsolved(&chain.template(NOW_SECS)));
    assert_eq!(chain.submit_block(&block, NOW_SECS), Ok(Verdict::NewTip));
    chain.tip_hash()
}

#[test]
fn two_hundred_blocks_with_transactions_and_a_halving() {
    let mut chain = EmbeddedChain::new();
    let mut paid = 0;
    for number in 1..=200_u8 {
        let segwit = spend(some_output(number), &[&[1, 2, 3]], 1_000);
        let legacy = spend(
            OutPoint {
                txid: segwit.compute_txid(),
                vout: 0,
            },
            &[],
            900,
        );
        add(&mut chain, &segwit, 500).unwrap();
        add(&mut chain, &legacy, 100).unwrap();
        let template = chain.template(NOW_SECS);
        assert_eq!(
            (
                template.height,
                template.transactions.len(),
                template.fees_sats()
            ),
            (u32::from(number), 2, 600)
        );
        assert_eq!(
            template.subsidy_sats,
            if number < 150 {
                5_000_000_000
            } else {
                2_500_000_000
            }
        );
        let hash = mine(&mut chain);
        paid += chain.coinbase(hash).unwrap().output[0].value.to_sat();
        assert_eq!(
            (chain.mempool_len(), chain.height()),
            (0, u32::from(number))
        );
        assert_eq!(
            chain.standing(hash),
            BlockStanding::Active { confirmations: 1 }
        );
    }
    assert_eq!(paid, 149 * 5_000_000_000 + 51 * 2_500_000_000 + 200 * 600);
}

#[test]
fn time_moves_on_with_the_median_when_blocks_are_faster_than_the_clock() {
    let mut chain = EmbeddedChain::new();
    for _ in 0..30 {
        mine(&mut chain);
    }
    let template = chain.template(NOW_SECS);
    assert!(template.min_time_secs > u32::try_from(NOW_SECS).unwrap());
    assert_eq!(template.current_time_secs, template.min_time_secs);
}

/// A change that breaks a rule.
type Change = fn(&mut Block);

/// Each change alone is refused with its reason and leaves no trace; without it the block is taken.
fn check_refusals(cases: &[(RejectReason, Change)]) {
    for (reason, change) in cases {
        let mut chain = EmbeddedChain::new();
        mine(&mut chain);
        let parent = spend(some_output(1), &[&[1]], 50);
        add(&mut chain, &parent, 10).unwrap();
        add(
            &mut chain,
            &spend(
                OutPoint {
                    txid: parent.compute_txid(),
                    vout: 0,
                },
                &[&[2]],
                40,
            ),
            10,
        )
        .unwrap();
        let template = chain.template(NOW_SECS);
        assert_eq!(
            chain.submit_block(&with(&template, change), NOW_SECS),
            Err(reason.clone())
        );
        assert_eq!(
            (chain.height(), chain.mempool_len()),
            (1, 2),
            "{reason} changed the chain"
        );
        assert_eq!(
            chain.submit_block(&with(&template, |_| ()), NOW_SECS),
            Ok(Verdict::NewTip)
        );
    }
}

#[test]
fn broken_headers_and_coinbases_have_their_reasons() {
    check_refusals(&[
        (RejectReason::BadDiffbits, |block| {
            block.header.bits = CompactTarget::from_consensus(0x207f_fffe)
        }),
        (RejectReason::PrevBlkNotFound, |block| {
            block.header.prev_blockhash = BlockHash::from_byte_array([9; 32])
        }),
        (RejectReason::TimeTooOld, |block| block.header.time = 1),
        (RejectReason::TimeTooNew, |block| {
            block.header.time += u32::try_from(FUTURE_TIME_MAX_SECS).unwrap() + 1
        }),
        (RejectReason::BadVersion, |block| {
            block.header.version = Version::from_consensus(3)
        }),
        (RejectReason::BadCbMissing, |block| {
            block.txdata[0].input[0].previous_output = some_output(1)
        }),
        (RejectReason::BadCbMultiple, |block| {
            let mut second = block.txdata[0].clone();
            second.lock_time = LockTime::from_consensus(1);
            block.txdata.push(second);
        }),
        (RejectReason::BadCbLength, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51])
        }),
        (RejectReason::BadCbLength, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51; 101])
        }),
        (RejectReason::BadCbHeight, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x53, 0x00])
        }),
        (RejectReason::BadCbAmount, |block| {
            block.txdata[0].output[0].value += Amount::from_sat(1)
        }),
        (RejectReason::BadTxnsVoutToolarge, |block| {
            block.txdata[0].output[0].value = Amount::MAX
        }),
        (RejectReason::BadTxnsNonfinal, |block| {
            block.txdata[0].lock_time = LockTime::from_consensus(500);
            block.txdata[0].input[0].sequence = Sequence::ZERO;
        }),
    ]);
}

#[test]
fn broken_witnesses_and_transactions_have_their_reasons() {
    check_refusals(&[
        (RejectReason::BadWitnessMerkleMatch, |block| {
            block.txdata[1].input[0].witness = Witness::from_slice(&[[8]])
        }),
        (RejectReason::BadWitnessNonceSize, |block| {
            block.txdata[0].input[0].witness = Witness::from_slice(&[[0; 31]])
        }),
        (RejectReason::BadWitnessNonceSize, |block| {
            block.txdata[0].input[0].witness = Witness::new()
        }),
        (RejectReason::UnexpectedWitness, |block| {
            drop(block.txdata[0].output.pop())
        }),
        (RejectReason::BadTxnsInputsMissingorspent, |block| {
            block.txdata.push(spend(some_output(200), &[&[1]], 5));
            commit(block);
        }),
        (RejectReason::BadTxnsInputsMissingorspent, |block| {
            block.txdata.swap(1, 2);
            commit(block);
        }),
        (RejectReason::BadTxnsDuplicate, |block| {
            let again = block.txdata[2].clone();
            block.txdata.push(again);
        }),
        (RejectReason::BadBlkSigops, |block| {
            block.txdata[0].output[0].script_pubkey = ScriptBuf::from_bytes(vec![0xac; 20_001])
        }),
        (RejectReason::BadBlkLength, |block| {
            block.txdata[0].output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; 1_000_000])
        }),
        (RejectReason::BadBlkWeight, |block| {
            block.txdata[1].input[0].witness = Witness::from_slice(&[vec![0; 3_999_500]]);
            commit(block);
        }),
    ]);
}

#[test]
fn work_and_merkle_root_are_checked() {
    let mut chain = EmbeddedChain::new();
    let mut block = unsolved(&chain.template(NOW_SECS));
    while block.header.validate_pow(block.header.target()).is_ok() {
        block.header.nonce += 1;
    }
    assert_eq!(
        chain.submit_block(&serialize(&block), NOW_SECS),
        Err(RejectReason::HighHash)
    );
    block.header.bits = CompactTarget::from_consensus(0x2100_ffff);
    assert_eq!(
        chain.submit_block(&serialize(&block), NOW_SECS),
        Err(RejectReason::HighHash)
    );
    let mut block = unsolved(&chain.template(NOW_SECS));
    block.header.merkle_root = TxMerkleNode::from_byte_array([1; 32]);
    assert_eq!(
        chain.submit_block(&solve(block), NOW_SECS),
        Err(RejectReason::BadTxnmrklroot)
    );
}

#[test]
fn any_bytes_are_refused_without_a_panic() {
    let mut chain = EmbeddedChain::new();
    let block = solve(unsolved(&chain.template(NOW_SECS)));
    for length in 0..block.len() {
        assert_eq!(
            chain.submit_block(&block[..length], NOW_SECS),
            Err(RejectReason::Malformed)
        );
    }
    for position in 0..block.len() {
        let mut changed = block.clone();
        changed[position] ^= 0xff;
        // Whatever the byte was, the chain must stay usable; a few changes (of the nonce) can even be valid.
        let _ = chain.submit_block(&changed, NOW_SECS);
    }
    mine(&mut chain);
}

#[test]
fn known_blocks_and_branches() {
    let mut chain = EmbeddedChain::new();
    mine(&mut chain);
    let tx = spend(some_output(3), &[&[1]], 7);
    add(&mut chain, &tx, 20).unwrap();
    let template = chain.template(NOW_SECS);
    let first = solve(unsolved(&template));
    assert_eq!(chain.submit_block(&first, NOW_SECS), Ok(Verdict::NewTip));
    assert_eq!(chain.submit_block(&first, NOW_SECS), Ok(Verdict::Duplicate));
    let old_tip = chain.tip_hash();
    assert_eq!(add(&mut chain, &tx, 20), Err(MempoolError::AlreadyKnown));

    // A rival of the same height waits; its child makes it win, and the transaction that only the loser had waits again.
    let rival = with(
        &BlockTemplate {
            transactions: Vec::new(),
            ..template.clone()
        },
        |block| block.header.time += 1,
    );
    assert_eq!(
        chain.submit_block(&rival, NOW_SECS),
        Ok(Verdict::Inconclusive)
    );
    let rival_hash = bitcoin::consensus::deserialize::<Block>(&rival)
        .unwrap()
        .block_hash()
        .to_byte_array();
    assert_eq!(
        (
            chain.tip_hash(),
            chain.standing(rival_hash),
            chain.mempool_len()
        ),
        (old_tip, BlockStanding::Stale, 0)
    );
    let child = BlockTemplate {
        height: 3,
        prev_hash: rival_hash,
        current_time_secs: template.current_time_secs + 2,
        transactions: Vec::new(),
        ..template
    };
    assert_eq!(
        chain.submit_block(&with(&child, |_| ()), NOW_SECS),
        Ok(Verdict::NewTip)
    );
    assert_eq!(chain.standing(old_tip), BlockStanding::Stale);
    assert_eq!(
        chain.standing(rival_hash),
        BlockStanding::Active { confirmations: 2 }
    );
    assert_eq!((chain.height(), chain.mempool_len()), (3, 1));
    mine(&mut chain);
    assert_eq!((chain.height(), chain.mempool_len()), (4, 0));
}

#[test]
fn a_longer_branch_that_pays_too_much_changes_nothing() {
    let mut chain = EmbeddedChain::new();
    mine(&mut chain);
    let fork = chain.template(NOW_SECS);
    add(&mut chain, &spend(some_output(3), &[&[1]], 7), 20).unwrap();
    let tip = mine(&mut chain);
    let greedy = with(&fork, |block| {
        block.header.time += 1;
        block.txdata[0].output[0].value += Amount::from_sat(1);
    });
    assert_eq!(
        chain.submit_block(&greedy, NOW_SECS),
        Ok(Verdict::Inconclusive)
    );
    let greedy_hash = bitcoin::consensus::deserialize::<Block>(&greedy)
        .unwrap()
        .block_hash()
        .to_byte_array();
    let child = BlockTemplate {
        height: 3,
        prev_hash: greedy_hash,
        current_time_secs: fork.current_time_secs + 2,
        ..fork
    };
    assert_eq!(
        chain.submit_block(&with(&child, |_| ()), NOW_SECS),
        Err(RejectReason::BadCbAmount)
    );
    assert_eq!(
        (chain.tip_hash(), chain.height(), chain.mempool_len()),
        (tip, 2, 0)
    );
    assert_eq!(chain.standing(greedy_hash), BlockStanding::Unknown);
    mine(&mut chain);
}

#[test]
fn memory_is_bounded() {
    let mut chain = EmbeddedChain::new();
    let fork = chain.template(NOW_SECS);
    let mut rivals = Vec::new();
    mine(&mut chain);
    for number in 1..=100 {
        let rival = with(&fork, |block| block.header.time += number);
        assert_eq!(
            chain.submit_block(&rival, NOW_SECS),
            Ok(Verdict::Inconclusive)
        );
        rivals.push(
            bitcoin::consensus::deserialize::<Block>(&rival)
                .unwrap()
                .block_hash()
                .to_byte_array(),
        );
    }
    let kept = rivals
        .iter()
        .filter(|hash| chain.standing(**hash) != BlockStanding::Unknown)
        .count();
    assert_eq!(kept, SIDE_BLOCKS_MAX);
    let first = chain.tip_hash();
    for _ in 0..RETAINED_BLOCKS_MAX {
        // The clock has to follow: six blocks a second is as fast as the median time lets a chain grow.
        let block = solve(unsolved(&chain.template(NOW_SECS + 10_000)));
        chain.submit_block(&block, NOW_SECS + 10_000).unwrap();
    }
    assert_eq!(chain.standing(first), BlockStanding::Unknown);
    assert_eq!(
        chain.submit_block(&with(&fork, |block| block.header.time += 500), NOW_SECS),
        Err(RejectReason::PrevBlkNotFound)
    );
}

#[test]
fn a_mempool_takes_only_what_fits_the_next_block() {
    let mut chain = EmbeddedChain::new();
    let parent = spend(some_output(1), &[&[1]], 50);
    let child = spend(
        OutPoint {
            txid: parent.compute_txid(),
            vout: 0,
        },
        &[],
        50,
    );
    add(&mut chain, &child, 1).unwrap();
    assert_eq!(add(&mut chain, &parent, 1), Err(MempoolError::ChildFirst));
    assert_eq!(add(&mut chain, &child, 1), Err(MempoolError::AlreadyKnown));
    assert_eq!(
        add(
            &mut chain,
            &spend(child.input[0].previous_output, &[], 51),
            1
        ),
        Err(MempoolError::Conflict)
    );
    assert_eq!(
        chain.add_transaction(&[0; 10], 1),
        Err(MempoolError::Malformed)
    );
    assert_eq!(
        add(&mut chain, &spend(OutPoint::null(), &[], 51), 1),
        Err(MempoolError::Coinbase)
    );
    let mut shapeless = spend(some_output(2), &[], 1);
    shapeless.output.clear();
    assert_eq!(add(&mut chain, &shapeless, 1), Err(MempoolError::Shape));
    assert_eq!(
        add(&mut chain, &spend(some_output(2), &[], 1), u64::MAX),
        Err(MempoolError::Shape)
    );
    let mut late = spend(some_output(2), &[], 1);
    late.lock_time = LockTime::from_consensus(2);
    late.input[0].sequence = Sequence::ZERO;
    assert_eq!(add(&mut chain, &late, 1), Err(MempoolError::NonFinal));
    add(
        &mut chain,
        &spend(some_output(4), &[&vec![0; 3_900_000]], 1),
        1,
    )
    .unwrap();
    assert_eq!(
        add(
            &mut chain,
            &spend(some_output(5), &[&vec![0; 100_000]], 1),
            1
        ),
        Err(MempoolError::Full)
    );
    let template = chain.template(NOW_SECS);
    assert_eq!(template.transactions.len(), 2);
    assert_eq!(
        chain.submit_block(&solve(unsolved(&template)), NOW_SECS),
        Ok(Verdict::NewTip)
    );
    assert_eq!(template.subsidy_sats, subsidy_sats(Network::Regtest, 1));
}

#[tokio::test]
async fn the_node_publishes_what_the_chain_does() {
    let node = EmbeddedNode::default();
    let mut state = node.state();
    let template = state.borrow_and_update().template.clone().unwrap();
    let txid = node
        .add_transaction(&serialize(&spend(some_output(1), &[&[1]], 1)), 30)
        .unwrap();
    assert!(state.has_changed().unwrap());
    let fuller = state.borrow_and_update().template.clone().unwrap();
    assert_eq!(
        (template.transactions.len(), fuller.transactions[0].txid),
        (0, txid)
    );
    let block = solve(unsolved(&fuller));
    assert_eq!(
        node.submit_block(block.clone().into()).await,
        SubmitOutcome::Accepted
    );
    assert_eq!(
        node.submit_block(block.into()).await,
        SubmitOutcome::Duplicate
    );
    assert_eq!(
        node.submit_block(vec![1, 2, 3].into()).await,
        SubmitOutcome::Rejected(RejectReason::Malformed)
    );
    let state = state.borrow_and_update().clone();
    assert_eq!((state.generation, state.template.unwrap().height), (3, 2));
    let tip = node.with_chain(EmbeddedChain::tip_hash);
    assert_eq!(node.has_block(tip).await, Ok(true));
    assert_eq!(node.has_block([1; 32]).await, Ok(false));
}
