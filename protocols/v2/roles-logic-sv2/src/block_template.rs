//! A node's view of the next block, before any client's constraints are applied.

use alloc::sync::Arc;
use alloc::vec::Vec;

/// Consensus limit on a block's weight, in weight units.
pub const MAX_BLOCK_WEIGHT_WU: u32 = 4_000_000;

/// Consensus limit on a block's signature operations cost.
pub const MAX_BLOCK_SIGOPS_COST: u32 = 80_000;

/// Weight units per byte outside of witnesses, and sigops cost per signature operation outside of witnesses.
pub const WITNESS_SCALE_FACTOR: u32 = 4;

/// One transaction of a [`BlockTemplate`], in block order, the coinbase left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateTransaction {
    /// Consensus serialisation, with witness where the transaction has one.
    pub raw: Arc<[u8]>,
    /// Transaction id, 32 raw bytes (the order in which they are hashed, not the displayed one).
    pub txid: [u8; 32],
    /// Witness transaction id, 32 raw bytes.
    pub wtxid: [u8; 32],
    /// Fee in satoshis.
    pub fee_sats: u64,
    /// Weight in weight units.
    pub weight_wu: u32,
    /// Signature operations cost (legacy operations count four).
    pub sigops_cost: u32,
}

/// Everything a node knows about the block to be mined next.
///
/// Transactions are in an order in which the block is valid, parents first, so any prefix of the list is valid too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTemplate {
    /// Height of the block to be mined.
    pub height: u32,
    /// Block version proposed by the node.
    pub version: u32,
    /// Hash of the block to build on, 32 raw bytes.
    pub prev_hash: [u8; 32],
    /// Compact form of the network target.
    pub nbits: u32,
    /// Time to start from, in Unix seconds.
    pub current_time_secs: u32,
    /// Earliest block time that consensus allows, in Unix seconds (median time past plus one).
    pub min_time_secs: u32,
    /// Block subsidy in satoshis, without fees.
    pub subsidy_sats: u64,
    /// Transactions to include, parents before children.
    pub transactions: Vec<TemplateTransaction>,
    /// Whether blocks at this height may carry witnesses (BIP141).
    pub segwit_active: bool,
    /// Largest block weight the node accepts, in weight units.
    pub weight_limit_wu: u32,
    /// Largest signature operations cost the node accepts.
    pub sigops_limit: u32,
    /// True for a template without transactions made from the header of a new tip, ahead of the node's own.
    pub is_provisional: bool,
}

impl BlockTemplate {
    /// Sum of the fees of all transactions, in satoshis.
    pub fn fees_sats(&self) -> u64 {
        self.transactions.iter().map(|tx| tx.fee_sats).sum()
    }
}
