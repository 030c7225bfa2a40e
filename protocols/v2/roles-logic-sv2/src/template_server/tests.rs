use alloc::vec;

use binary_sv2::{B064K, U256};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header as BlockHeader, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, ScriptBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness,
};
use proptest::prelude::*;
use template_distribution_sv2::{CoinbaseOutputConstraints, NewTemplate, SetNewPrevHash};

use super::*;
use crate::block_template::{MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, TemplateTransaction};
use crate::merkle::root_from_path;

const REGTEST_NBITS: u32 = 0x207f_ffff;
const START_SECS: u32 = 1_700_000_000;

fn at_secs(secs: u64) -> Now {
    let start = Now {
        instant: Instant::from_secs(1_000),
        unix_secs: u64::from(START_SECS),
    };
    start.after(Duration::from_secs(secs))
}

fn transaction(seed: u8, output_script_len: usize, witness_len: Option<usize>) -> Transaction {
    let mut witness = Witness::new();
    if let Some(len) = witness_len {
        witness.push(vec![seed; len]);
    }
    let previous_output = OutPoint {
        txid: bitcoin::Txid::from_byte_array([seed; 32]),
        vout: u32::from(seed),
    };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1_000),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51; output_script_len]),
        }],
    }
}

fn template_transaction(tx: &Transaction, fee_sats: u64, sigops_cost: u32) -> TemplateTransaction {
    TemplateTransaction {
        raw: serialize(tx).into(),
        txid: tx.compute_txid().to_byte_array(),
        wtxid: tx.compute_wtxid().to_byte_array(),
        fee_sats,
        weight_wu: tx.weight().to_wu() as u32,
        sigops_cost,
    }
}

fn block_template(prev_hash: u8, transactions: Vec<TemplateTransaction>) -> BlockTemplate {
    BlockTemplate {
        height: 840_000,
        version: 0x2000_0000,
        prev_hash: [prev_hash; 32],
        nbits: REGTEST_NBITS,
        current_time_secs: START_SECS,
        min_time_secs: START_SECS - 600,
        subsidy_sats: 312_500_000,
        transactions,
        segwit_active: true,
        weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
        sigops_limit: MAX_BLOCK_SIGOPS_COST,
        is_provisional: false,
    }
}

fn some_transactions(count: u8) -> Vec<TemplateTransaction> {
    let txs = (0..count).map(|i| transaction(i, 20, (i % 2 == 0).then_some(70)));
    txs.map(|tx| template_transaction(&tx, 1_000, 4)).collect()
}

/// A server that got `template`, and its work for no constraints.
fn serve(template: BlockTemplate, now: Now) -> (TemplateServer, Arc<Work>) {
    let mut server = TemplateServer::new(1);
    server.handle_template(Arc::new(template), now).unwrap();
    let work = server.work(Constraints::default(), None).unwrap().unwrap();
    (server, work)
}

/// What a careful client makes of the two messages: the coinbase with `outputs` and a scriptSig of 100 bytes.
fn coinbase(template: &NewTemplate<'_>, mut output: Vec<TxOut>) -> Transaction {
    let mut script_sig = template.coinbase_prefix.as_bytes().to_vec();
    script_sig.resize(100, 0xee);
    let mut rest = template.coinbase_tx_outputs.as_bytes();
    for _ in 0..template.coinbase_tx_outputs_count {
        let (txout, len) = bitcoin::consensus::deserialize_partial(rest).unwrap();
        output.push(txout);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    let witness = match template.coinbase_tx_outputs_count {
        0 => Witness::new(),
        _ => Witness::from_slice(&[[0u8; 32]]),
    };
    Transaction {
        version: bitcoin::transaction::Version(template.coinbase_tx_version as i32),
        lock_time: LockTime::from_consensus(template.coinbase_tx_locktime),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script_sig),
            sequence: Sequence(template.coinbase_tx_input_sequence),
            witness,
        }],
        output,
    }
}

/// Tries nonces until the header meets the target of `nbits`.
fn mine(
    template: &NewTemplate<'_>,
    tip: &SetNewPrevHash,
    coinbase: &Transaction,
    coinbase_bytes: Vec<u8>,
    version: u32,
    header_timestamp: u32,
) -> SubmitSolution<'static> {
    let path: Vec<_> = template.merkle_path.iter().map(|node| node.0).collect();
    let root = root_from_path(&coinbase.compute_txid().to_byte_array(), &path);
    let mut header = BlockHeader {
        version: Version::from_consensus(version as i32),
        prev_blockhash: BlockHash::from_byte_array(tip.prev_hash.0),
        merkle_root: TxMerkleNode::from_byte_array(root),
        time: header_timestamp,
        bits: CompactTarget::from_consensus(tip.nbits),
        nonce: 0,
    };
    while header.validate_pow(header.target()).is_err() {
        header.nonce += 1;
    }
    SubmitSolution {
        template_id: template.template_id,
        version,
        header_timestamp,
        header_nonce: header.nonce,
        coinbase_tx: B064K::try_from(coinbase_bytes).unwrap(),
    }
}

fn proper_solution(work: &Work, now: Now) -> SubmitSolution<'static> {
    let (template, tip) = (work.new_template(true), work.set_new_prev_hash(now));
    let tx = coinbase(&template, vec![]);
    let bytes = serialize(&tx);
    mine(
        &template,
        &tip,
        &tx,
        bytes,
        template.version,
        tip.header_timestamp,
    )
}

fn check_block(block: &Block, template: &BlockTemplate) {
    assert!(block.check_merkle_root());
    assert!(block.check_witness_commitment());
    let height = Builder::new()
        .push_int(i64::from(template.height))
        .into_script();
    let script_sig = &block.txdata[0].input[0].script_sig;
    assert!(script_sig.as_bytes().starts_with(height.as_bytes()));
    let height = bitcoin::absolute::Height::from_consensus(template.height).unwrap();
    let time = bitcoin::absolute::Time::from_consensus(template.min_time_secs).unwrap();
    assert!(block.txdata[0].is_absolute_timelock_satisfied(height, time));
    assert_eq!(
        block.txdata[0].input[0].witness.is_empty(),
        !template.segwit_active
    );
}

#[test]
fn heights_are_pushed_as_consensus_does() {
    let cases: [(u32, &[u8]); 9] = [
        (1, &[0x51, 0]),
        (16, &[0x60, 0]),
        (17, &[1, 17]),
        (127, &[1, 0x7f]),
        (128, &[2, 0x80, 0]),
        (300, &[2, 0x2c, 1]),
        (32_768, &[3, 0, 0x80, 0]),
        (840_000, &[3, 0x40, 0xd1, 0x0c]),
        (u32::MAX, &[5, 0xff, 0xff, 0xff, 0xff, 0]),
    ];
    for (height, prefix) in cases {
        assert_eq!(bip34_prefix(height), prefix, "height {height}");
    }
}

#[test]
fn the_reservation_is_the_specifications() {
    let reserve = |size| Constraints {
        additional_size: size,
        additional_sigops: 0,
    };
    assert_eq!(reserve(0).reserved_weight_wu(true), 1_168);
    assert_eq!(reserve(100).reserved_weight_wu(true), 1_568);
    assert_eq!(reserve(100).reserved_weight_wu(false), 1_344);
    assert_eq!(
        reserve(u32::MAX).reserved_weight_wu(true),
        1_168 + 4 * 0xffff_ffff
    );
    let sigops = |count| Constraints {
        additional_size: 0,
        additional_sigops: count,
    };
    assert_eq!(sigops(400).reserved_sigops_cost(), 1_600);
    assert_eq!(sigops(u16::MAX).reserved_sigops_cost(), 80_000);
    let message = CoinbaseOutputConstraints::from(reserve(7));
    assert_eq!(Constraints::from(message), reserve(7));
}

#[test]
fn outputs_beyond_a_block_are_refused() {
    let (mut server, _) = serve(block_template(1, vec![]), at_secs(0));
    let largest = (MAX_BLOCK_WEIGHT_WU - 1_168) / 4;
    let constraints = |additional_size| Constraints {
        additional_size,
        additional_sigops: 0,
    };
    assert!(server.work(constraints(largest), None).unwrap().is_some());
    let error = ConstraintsError {
        additional_size: largest + 1,
        weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
    };
    assert_eq!(
        server.work(constraints(largest + 1), None).unwrap_err(),
        WorkError::Constraints(error)
    );
}

#[test]
fn a_tip_is_announced_provisional_first_then_in_full() {
    let (mut server, first) = serve(block_template(1, some_transactions(3)), at_secs(0));
    let mut client = Announcer::default();
    let announced = client.announce(&first, at_secs(0)).unwrap();
    assert!(announced.new_template.future_template);
    assert_eq!(announced.set_new_prev_hash.unwrap().template_id, 1);
    assert!(client.announce(&first, at_secs(0)).is_none());

    let mut provisional = block_template(2, vec![]);
    provisional.is_provisional = true;
    provisional.current_time_secs += 60;
    server
        .handle_template(Arc::new(provisional), at_secs(60))
        .unwrap();
    let second = server
        .work(Constraints::default(), client.template_id())
        .unwrap()
        .unwrap();
    let announced = client.announce(&second, at_secs(65)).unwrap();
    assert!(announced.new_template.future_template);
    assert!(announced.new_template.merkle_path.is_empty());
    assert_eq!(
        announced.set_new_prev_hash,
        Some(SetNewPrevHash {
            template_id: 2,
            prev_hash: U256([2; 32]),
            header_timestamp: START_SECS + 65,
            nbits: REGTEST_NBITS,
            target: U256(Target::from_nbits(REGTEST_NBITS).unwrap().to_le_bytes()),
        })
    );

    server
        .handle_template(
            Arc::new(block_template(2, some_transactions(3))),
            at_secs(61),
        )
        .unwrap();
    let third = server
        .work(Constraints::default(), client.template_id())
        .unwrap()
        .unwrap();
    let announced = client.announce(&third, at_secs(61)).unwrap();
    assert!(!announced.new_template.future_template);
    assert_eq!(
        announced.new_template.coinbase_tx_value_remaining,
        312_503_000
    );
    assert_eq!(announced.set_new_prev_hash, None);
}

#[test]
fn other_nbits_on_the_same_block_are_a_new_tip() {
    let (mut server, first) = serve(block_template(1, vec![]), at_secs(0));
    let mut easier = block_template(1, vec![]);
    easier.nbits = 0x1d00_ffff;
    let tip = server
        .handle_template(Arc::new(easier), at_secs(1))
        .unwrap();
    assert_ne!(tip.number, first.tip().number);
    let mut broken = block_template(1, vec![]);
    broken.nbits = 0;
    assert!(
        server
            .handle_template(Arc::new(broken), at_secs(2))
            .is_err()
    );
    assert_eq!(server.tip(), Some(tip));
}

#[test]
fn equal_choices_share_work_and_ids_rise_for_every_client() {
    let (mut server, first) = serve(block_template(1, some_transactions(3)), at_secs(0));
    let other = Constraints {
        additional_size: 500,
        additional_sigops: 3,
    };
    let shared = server.work(other, None).unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &shared));

    let large = Constraints {
        additional_size: (MAX_BLOCK_WEIGHT_WU - 1_168) / 4,
        additional_sigops: 0,
    };
    let empty = server.work(large, None).unwrap().unwrap();
    assert_eq!((empty.template_id(), empty.transactions().len()), (2, 0));

    // Back to what it had: the old id would be lower than one it knows.
    let again = server.work(other, Some(2)).unwrap().unwrap();
    assert_eq!((again.template_id(), again.transactions().len()), (3, 3));
    assert!(Arc::ptr_eq(again.body(), first.body()));
    // A client that knows less gets the newest of them.
    assert_eq!(
        server.work(other, Some(1)).unwrap().unwrap().template_id(),
        3
    );
}

#[test]
fn one_template_is_handed_out_in_a_limited_number_of_variants() {
    let (mut server, first) = serve(block_template(1, vec![]), at_secs(0));
    let mut last = first.template_id();
    for _ in 1..WORKS_PER_TEMPLATE_MAX {
        last = server
            .work(Constraints::default(), Some(last))
            .unwrap()
            .unwrap()
            .template_id();
    }
    let refused = server.work(Constraints::default(), Some(last));
    assert_eq!(refused.unwrap_err(), WorkError::TooManyVariants);
    assert!(server.work(Constraints::default(), None).unwrap().is_some());
    server
        .handle_template(Arc::new(block_template(1, vec![])), at_secs(1))
        .unwrap();
    assert!(
        server
            .work(Constraints::default(), Some(last))
            .unwrap()
            .is_some()
    );
}

#[test]
fn transactions_are_kept_once_for_all_templates() {
    let (mut server, first) = serve(block_template(1, some_transactions(3)), at_secs(0));
    for (prev_hash, txs) in [
        (1, some_transactions(4)),
        (2, vec![]),
        (2, some_transactions(5)),
    ] {
        server
            .handle_template(Arc::new(block_template(prev_hash, txs)), at_secs(1))
            .unwrap();
    }
    let newest = server.template().unwrap();
    for (old, new) in first.transactions().iter().zip(&newest.transactions) {
        assert!(Arc::ptr_eq(&old.raw, &new.raw));
    }
    assert_eq!(newest.transactions, some_transactions(5));
}

#[test]
fn transaction_data_is_given_for_the_current_tip_only() {
    let txs = some_transactions(3);
    let (mut server, work) = serve(block_template(1, txs.clone()), at_secs(0));
    let data = server.transaction_data(1).unwrap().transaction_data();
    let list: Vec<_> = data
        .transaction_list
        .iter()
        .map(|tx| tx.into_vec())
        .collect();
    assert_eq!(
        list,
        txs.iter().map(|tx| tx.raw.to_vec()).collect::<Vec<_>>()
    );
    assert!(data.excess_data.is_empty());

    let error = |server: &TemplateServer, id| server.transaction_data(id).unwrap_err().error_code();
    assert_eq!(error(&server, 0), "template-id-not-found");
    assert_eq!(error(&server, 2), "template-id-not-found");
    server
        .handle_template(Arc::new(block_template(1, txs)), at_secs(1))
        .unwrap();
    assert!(
        server.transaction_data(work.template_id()).is_ok(),
        "same tip, better fees"
    );
    server
        .handle_template(Arc::new(block_template(2, vec![])), at_secs(2))
        .unwrap();
    assert_eq!(error(&server, 1), "stale-template-id");
    server.handle_timeout(at_secs(10_000));
    assert_eq!(error(&server, 1), "stale-template-id");
}

#[test]
fn a_late_solution_is_a_block_until_its_tip_is_forgotten() {
    let (mut server, work) = serve(block_template(1, some_transactions(2)), at_secs(0));
    let solution = proper_solution(&work, at_secs(0));
    assert_eq!(server.solve(&solution, at_secs(5)).unwrap().deviations, []);
    assert_eq!(server.poll_timeout(), None);

    server
        .handle_template(Arc::new(block_template(2, vec![])), at_secs(10))
        .unwrap();
    let late = server.solve(&solution, at_secs(11)).unwrap();
    assert_eq!(late.deviations, [Deviation::StaleTip]);
    assert_eq!(
        server.poll_timeout(),
        Some(at_secs(10).instant + STALE_RETENTION)
    );

    server.handle_timeout(at_secs(129));
    assert!(server.solve(&solution, at_secs(129)).is_ok());
    server.handle_timeout(at_secs(130));
    let forgotten = SolutionError::ForgottenTemplate { template_id: 1 };
    assert_eq!(server.solve(&solution, at_secs(130)), Err(forgotten));
    let unknown = SubmitSolution {
        template_id: 99,
        ..solution
    };
    let error = SolutionError::UnknownTemplate { template_id: 99 };
    assert_eq!(server.solve(&unknown, at_secs(130)), Err(error));
}

#[test]
fn the_oldest_template_makes_room_for_the_newest() {
    let (mut server, first) = serve(block_template(1, vec![]), at_secs(0));
    let solution = proper_solution(&first, at_secs(0));
    for _ in 1..TEMPLATES_RETAINED_MAX {
        server
            .handle_template(Arc::new(block_template(1, vec![])), at_secs(1))
            .unwrap();
    }
    assert!(server.solve(&solution, at_secs(1)).is_ok());
    server
        .handle_template(Arc::new(block_template(1, vec![])), at_secs(1))
        .unwrap();
    let forgotten = SolutionError::ForgottenTemplate { template_id: 1 };
    assert_eq!(server.solve(&solution, at_secs(1)), Err(forgotten));
}

#[test]
fn a_block_with_a_fault_of_form_is_still_a_block() {
    let template = block_template(1, some_transactions(3));
    let (server, work) = serve(template.clone(), at_secs(0));
    let (new, tip) = (work.new_template(true), work.set_new_prev_hash(at_secs(0)));
    let tx = coinbase(&new, vec![]);
    let mut stripped = tx.clone();
    stripped.input[0].witness = Witness::new();
    let mut other = tx.clone();
    other.input[0].witness = Witness::from_slice(&[[1u8; 32], [2; 32]]);

    let rolled = new.version ^ 0x1fff_ffe0;
    let cases = [
        (&tx, new.version, START_SECS, None),
        (&tx, rolled, START_SECS + 5, None),
        (
            &tx,
            new.version ^ 1,
            START_SECS,
            Some(Deviation::VersionBits),
        ),
        (
            &tx,
            new.version,
            START_SECS - 1,
            Some(Deviation::TimeBeforeStart),
        ),
        (&tx, new.version, START_SECS + 6, Some(Deviation::TimeAhead)),
        (
            &stripped,
            new.version,
            START_SECS,
            Some(Deviation::CoinbaseWitness),
        ),
        (
            &other,
            new.version,
            START_SECS,
            Some(Deviation::CoinbaseWitness),
        ),
    ];
    for (sent, version, time, deviation) in cases {
        let solution = mine(&new, &tip, sent, serialize(sent), version, time);
        let solved = server.solve(&solution, at_secs(5)).unwrap();
        assert_eq!(solved.deviations, deviation.into_iter().collect::<Vec<_>>());
        let block: Block = deserialize(&solved.bytes).unwrap();
        assert_eq!(block.block_hash().to_byte_array(), solved.hash);
        check_block(&block, &template);
    }
}

#[test]
fn a_block_without_segwit_carries_no_witness() {
    let mut template = block_template(1, vec![]);
    template.segwit_active = false;
    template.height = 5;
    let (server, work) = serve(template.clone(), at_secs(0));
    let (new, tip) = (work.new_template(true), work.set_new_prev_hash(at_secs(0)));
    assert_eq!(new.coinbase_tx_outputs_count, 0);
    let payout = TxOut {
        value: Amount::from_sat(312_500_000),
        script_pubkey: ScriptBuf::new(),
    };
    let mut tx = coinbase(&new, vec![payout]);
    tx.input[0].witness = Witness::from_slice(&[[0u8; 32]]);
    let solution = mine(&new, &tip, &tx, serialize(&tx), new.version, START_SECS);
    let solved = server.solve(&solution, at_secs(0)).unwrap();
    assert_eq!(solved.deviations, [Deviation::CoinbaseWitness]);
    check_block(&deserialize(&solved.bytes).unwrap(), &template);
}

#[test]
fn what_consensus_refuses_is_no_block() {
    let (server, work) = serve(block_template(1, some_transactions(3)), at_secs(0));
    let good = proper_solution(&work, at_secs(0));
    let error =
        |solution: SubmitSolution<'static>| server.solve(&solution, at_secs(0)).unwrap_err();

    let mut garbage = good.clone();
    garbage.coinbase_tx = B064K::try_from(vec![1; 60]).unwrap();
    assert_eq!(error(garbage), SolutionError::MalformedCoinbase);

    let mut ordinary = good.clone();
    ordinary.coinbase_tx = B064K::try_from(serialize(&transaction(1, 20, None))).unwrap();
    assert_eq!(error(ordinary), SolutionError::NotACoinbase);

    let mut long: Transaction = deserialize(good.coinbase_tx.as_bytes()).unwrap();
    long.input[0].script_sig = ScriptBuf::from_bytes(vec![1; 101]);
    let mut too_long = good.clone();
    too_long.coinbase_tx = B064K::try_from(serialize(&long)).unwrap();
    assert_eq!(error(too_long), SolutionError::NotACoinbase);

    let mut old = good.clone();
    old.header_timestamp = START_SECS - 601;
    let times = SolutionError::TimeTooOld {
        header_timestamp: START_SECS - 601,
        min_time_secs: START_SECS - 600,
    };
    assert_eq!(error(old), times);

    let misses = (0..100).filter(|nonce| {
        let mut other = good.clone();
        other.header_nonce = *nonce;
        server.solve(&other, at_secs(0)) == Err(SolutionError::HashAboveTarget)
    });
    assert!(
        misses.count() > 10,
        "half of all hashes are above regtest's target"
    );
}

prop_compose! {
    fn any_transaction()(
        script_len in 0usize..400,
        witness_len in proptest::option::of(0usize..600),
        fee_sats in 0u64..100_000,
        sigops_cost in 0u32..40,
    ) -> (usize, Option<usize>, u64, u32) {
        (script_len, witness_len, fee_sats, sigops_cost)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn pushes_agree_with_the_bitcoin_crate(height in 1u32..) {
        let push = Builder::new().push_int(i64::from(height)).into_script();
        let prefix = bip34_prefix(height);
        prop_assert!(prefix.starts_with(push.as_bytes()));
        prop_assert!((2..=8).contains(&prefix.len()));
    }

    #[test]
    fn no_block_leaves_its_limits(
        txs in proptest::collection::vec(any_transaction(), 0..40),
        output_lens in proptest::collection::vec(0usize..300, 0..6),
        height in 1u32..3_000_000,
        segwit_active: bool,
        weight_limit_wu in 8_000u32..80_000,
        sigops_limit in 0u32..2_000,
    ) {
        let transactions: Vec<_> = txs.iter().enumerate().map(|(i, (script_len, witness_len, fee, sigops))| {
            let tx = transaction(i as u8, *script_len, witness_len.filter(|_| segwit_active));
            template_transaction(&tx, *fee, *sigops)
        }).collect();
        let template = BlockTemplate {
            height, segwit_active, weight_limit_wu, sigops_limit, ..block_template(3, transactions)
        };
        // Scripts of nothing but OP_CHECKSIG: each byte is a signature operation.
        let outputs: Vec<_> = output_lens.iter().map(|len| TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::from_bytes(vec![0xac; *len]),
        }).collect();
        let sigops: usize = output_lens.iter().sum();
        let constraints = Constraints {
            additional_size: outputs.iter().map(|output| serialize(output).len() as u32).sum(),
            additional_sigops: sigops as u16,
        };
        let (mut server, _) = serve(template.clone(), at_secs(0));
        let work = server.work(constraints, None).unwrap().unwrap();
        let (new, tip) = (work.new_template(true), work.set_new_prev_hash(at_secs(0)));
        let mut tx = coinbase(&new, outputs);
        if tx.output.is_empty() {
            tx.output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() });
        }
        let solution = mine(&new, &tip, &tx, serialize(&tx), new.version, tip.header_timestamp);
        let solved = server.solve(&solution, at_secs(0)).unwrap();
        prop_assert_eq!(&solved.deviations, &[]);
        let block: Block = deserialize(&solved.bytes).unwrap();
        check_block(&block, &template);

        let kept = work.transactions();
        prop_assert_eq!(block.txdata.len(), kept.len() + 1);
        prop_assert_eq!(kept, &template.transactions[..kept.len()]);
        let fees: u64 = kept.iter().map(|tx| tx.fee_sats).sum();
        prop_assert_eq!(new.coinbase_tx_value_remaining, template.subsidy_sats + fees);
        let slack = if output_lens.is_empty() && !segwit_active { 36 } else { 0 };
        prop_assert!(block.weight().to_wu() <= u64::from(weight_limit_wu) + slack);
        let cost = |txs: &[TemplateTransaction]| txs.iter().map(|tx| tx.sigops_cost).sum::<u32>();
        let coinbase_cost = 4 * sigops as u32;
        // Where the client alone is above the limit, no transaction makes it worse.
        prop_assert!(cost(kept) + coinbase_cost <= sigops_limit.max(coinbase_cost));

        // Not one transaction less than there is room for.
        if let Some(next) = template.transactions.get(kept.len()) {
            let weight: u32 = kept.iter().map(|tx| tx.weight_wu).sum::<u32>() + next.weight_wu;
            let weight_is_full = u64::from(weight) + constraints.reserved_weight_wu(segwit_active) > u64::from(weight_limit_wu);
            prop_assert!(weight_is_full || cost(kept) + next.sigops_cost + coinbase_cost > sigops_limit);
        }
    }

    #[test]
    fn any_solution_is_answered(
        template_id: u64, version: u32, header_timestamp: u32, header_nonce: u32,
        coinbase_tx in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (server, _) = serve(block_template(1, some_transactions(2)), at_secs(0));
        let coinbase_tx = B064K::try_from(coinbase_tx).unwrap();
        for template_id in [template_id, 1] {
            let solution = SubmitSolution {
                template_id, version, header_timestamp, header_nonce, coinbase_tx: coinbase_tx.clone(),
            };
            prop_assert!(server.solve(&solution, at_secs(0)).is_err());
        }
    }
}
