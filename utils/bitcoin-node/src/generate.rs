//! Whole blocks from a template, as bitcoind's `generatetoaddress` makes them: for regtest and for tests.

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
