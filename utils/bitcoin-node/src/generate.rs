//! Whole blocks from a template, as bitcoind's `generatetoaddress` makes them, and solutions of template distribution:
//! for regtest and for tests.

use binary_sv2::B064K;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Witness, transaction,
};
use roles_logic_sv2::block_template::BlockTemplate;
use roles_logic_sv2::coinbase::{Coinbase, CoinbaseTemplate, MAX_SCRIPT_SIG_SIZE};
use roles_logic_sv2::header;
use roles_logic_sv2::merkle::root_from_path;
use roles_logic_sv2::target::Target;
use template_distribution_sv2::{NewTemplate, SetNewPrevHash, SubmitSolution};

/// The block that `template` asks for, paying subsidy and fees to `payout`; its proof of work is left out.
///
/// `None` when a transaction of the template cannot be read.
pub fn unsolved_block(template: &BlockTemplate, payout: ScriptBuf) -> Option<Block> {
    let height = Builder::new().push_int(i64::from(template.height));
    let input = TxIn {
        previous_output: OutPoint::null(),
        // A scriptSig has at least two bytes; the first heights are pushed by one.
        script_sig: height.push_slice(b"/regtest/").into_script(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[[0; 32]]),
    };
    let value = Amount::from_sat(template.subsidy_sats.saturating_add(template.fees_sats()));
    let outputs = [(value, payout), (Amount::ZERO, ScriptBuf::new())];
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: outputs
            .map(|(value, script_pubkey)| TxOut {
                value,
                script_pubkey,
            })
            .into(),
    };
    let others = template
        .transactions
        .iter()
        .map(|tx| deserialize(&tx.raw).ok());
    let header = Header {
        version: Version::from_consensus(template.version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(template.prev_hash),
        merkle_root: TxMerkleNode::all_zeros(),
        time: template.current_time_secs,
        bits: CompactTarget::from_consensus(template.nbits),
        nonce: 0,
    };
    let txdata = core::iter::once(Some(coinbase))
        .chain(others)
        .collect::<Option<_>>()?;
    let mut block = Block { header, txdata };
    commit(&mut block);
    Some(block)
}

/// Writes the witness commitment into the coinbase's second output, and the merkle root into the header.
pub fn commit(block: &mut Block) {
    const COMMITMENT_HEADER: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    let root = block
        .witness_root()
        .map(|root| Block::compute_witness_commitment(&root, &[0; 32]));
    let output = block.txdata.first_mut().and_then(|tx| tx.output.get_mut(1));
    if let (Some(commitment), Some(output)) = (root, output) {
        let script = [&COMMITMENT_HEADER[..], &commitment.to_byte_array()].concat();
        output.script_pubkey = ScriptBuf::from_bytes(script);
    }
    if let Some(root) = block.compute_merkle_root() {
        block.header.merkle_root = root;
    }
}

/// Tries nonces until the header meets its own target, at most all of them; says whether one does.
pub fn solve(block: &mut Block) -> bool {
    let target = block.header.target();
    (0..=u32::MAX).any(|nonce| {
        block.header.nonce = nonce;
        target.is_met_by(block.header.block_hash())
    })
}

/// What a client of a template provider finds that pays all there is to `payout`, and any `others` nothing.
///
/// The scriptSig has all of its 100 bytes, so this is the largest coinbase that a template leaves room for.
/// `None` when the template's outputs are malformed, or no nonce meets the target.
pub fn solution(
    template: &NewTemplate<'_>,
    tip: &SetNewPrevHash,
    payout: ScriptBuf,
    others: &[ScriptBuf],
) -> Option<SubmitSolution<'static>> {
    const EXTRANONCE: [u8; 8] = [7; 8];
    let parts = CoinbaseTemplate {
        tx_version: template.coinbase_tx_version,
        script_sig_prefix: template.coinbase_prefix.as_bytes(),
        input_sequence: template.coinbase_tx_input_sequence,
        value_remaining_sats: template.coinbase_tx_value_remaining,
        outputs_count: template.coinbase_tx_outputs_count,
        outputs: template.coinbase_tx_outputs.as_bytes(),
        locktime: template.coinbase_tx_locktime,
    };
    let output = |sats, script_pubkey| TxOut {
        value: Amount::from_sat(sats),
        script_pubkey,
    };
    let mut payouts = vec![output(template.coinbase_tx_value_remaining, payout)];
    payouts.extend(others.iter().map(|script| output(0, script.clone())));
    let tag_size =
        MAX_SCRIPT_SIG_SIZE.checked_sub(template.coinbase_prefix.len() + EXTRANONCE.len())?;
    let coinbase =
        Coinbase::from_template(&parts, &payouts, &vec![0; tag_size], EXTRANONCE.len()).ok()?;
    let path: Vec<_> = template.merkle_path.iter().map(|node| node.0).collect();
    let mut header = header::Header {
        version: template.version,
        prev_hash: tip.prev_hash.0,
        merkle_root: root_from_path(&coinbase.txid(&EXTRANONCE, &[])?, &path),
        ntime: tip.header_timestamp,
        nbits: tip.nbits,
        nonce: 0,
    };
    let target = Target::from_le_bytes(tip.target.0);
    (0..=u32::MAX).find(|nonce| {
        header.nonce = *nonce;
        target.is_met_by(&header.hash())
    })?;
    Some(SubmitSolution {
        template_id: template.template_id,
        version: header.version,
        header_timestamp: header.ntime,
        header_nonce: header.nonce,
        coinbase_tx: B064K::try_from(coinbase.for_block(&EXTRANONCE, &[])).ok()?,
    })
}
