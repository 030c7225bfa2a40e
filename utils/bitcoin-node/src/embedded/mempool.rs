//! Transactions waiting for a block of the embedded chain.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Transaction};
use roles_logic_sv2::block_template::{
    MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, TemplateTransaction,
};

use crate::reject::RejectReason;

/// Most transactions that wait at once; further ones are refused with [`MempoolError::Full`].
pub const MEMPOOL_TRANSACTIONS_MAX: usize = 4_000;

/// Most weight that waits at once, so that everything fits into the next block beside header and coinbase.
pub const MEMPOOL_WEIGHT_MAX_WU: u32 = MAX_BLOCK_WEIGHT_WU - 8_000;

/// Most signature operations cost that waits at once, for the same reason.
pub const MEMPOOL_SIGOPS_MAX: u32 = MAX_BLOCK_SIGOPS_COST - 400;

/// Why a transaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// The bytes are no transaction.
    #[error("the bytes are no transaction")]
    Malformed,
    /// A coinbase can only stand in a block.
    #[error("a coinbase can only stand in a block")]
    Coinbase,
    /// No inputs, no outputs, or an amount out of range.
    #[error("the transaction has no inputs, no outputs, or an amount out of range")]
    Shape,
    /// It waits already, or was mined a few blocks ago.
    #[error("the transaction is known already")]
    AlreadyKnown,
    /// Another waiting transaction spends the same output.
    #[error("another waiting transaction spends the same output")]
    Conflict,
    /// A waiting transaction spends an output of this one: parents are added first.
    #[error("a child of this transaction was added before it")]
    ChildFirst,
    /// Its lock time is later than the next block.
    #[error("the lock time is later than the next block")]
    NonFinal,
    /// The next block has no room for it.
    #[error("the next block has no room left")]
    Full,
}

/// A waiting transaction.
#[derive(Debug)]
pub(super) struct PoolTransaction {
    pub(super) template: TemplateTransaction,
    pub(super) inputs: Vec<OutPoint>,
}

impl PoolTransaction {
    fn parse(raw: &[u8], fee_sats: u64, final_at: FinalAt) -> Result<Self, MempoolError> {
        let tx: Transaction = deserialize(raw).map_err(|_| MempoolError::Malformed)?;
        if tx.is_coinbase() {
            return Err(MempoolError::Coinbase);
        }
        if tx.input.is_empty()
            || check_outputs(&tx).is_err()
            || fee_sats > Amount::MAX_MONEY.to_sat()
        {
            return Err(MempoolError::Shape);
        }
        if !final_at.admits(&tx) {
            return Err(MempoolError::NonFinal);
        }
        let template = TemplateTransaction {
            raw: raw.into(),
            txid: tx.compute_txid().to_byte_array(),
            wtxid: tx.compute_wtxid().to_byte_array(),
            fee_sats,
            weight_wu: u32::try_from(tx.weight().to_wu()).map_err(|_| MempoolError::Full)?,
            sigops_cost: sigops_cost(&tx),
        };
        Ok(Self {
            template,
            inputs: tx.input.iter().map(|input| input.previous_output).collect(),
        })
    }
}

/// Signature operations cost as far as it can be told without the outputs that are spent.
pub(super) fn sigops_cost(tx: &Transaction) -> u32 {
    u32::try_from(tx.total_sigop_cost(|_| None)).unwrap_or(u32::MAX)
}

/// Checks that there are outputs and that their amounts are in range; answers with their sum in satoshis.
pub(super) fn check_outputs(tx: &Transaction) -> Result<u64, RejectReason> {
    if tx.output.is_empty() {
        return Err(RejectReason::BadTxnsVoutEmpty);
    }
    let mut sum = Amount::ZERO;
    for output in &tx.output {
        sum = sum
            .checked_add(output.value)
            .filter(|sum| *sum <= Amount::MAX_MONEY)
            .ok_or(RejectReason::BadTxnsVoutToolarge)?;
    }
    Ok(sum.to_sat())
}

/// The block that lock times are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinalAt {
    pub(super) height: u32,
    pub(super) median_time_past_secs: u32,
}

impl FinalAt {
    /// BIP113: times are compared with the median time past.
    pub(super) fn admits(self, tx: &Transaction) -> bool {
        /// Lock times below are heights.
        const LOCKTIME_THRESHOLD: u32 = 500_000_000;
        let lock = tx.lock_time.to_consensus_u32();
        let passed = if lock < LOCKTIME_THRESHOLD {
            self.height
        } else {
            self.median_time_past_secs
        };
        lock == 0 || lock < passed || tx.input.iter().all(|input| input.sequence.is_final())
    }
}

/// Waiting transactions, parents first.
#[derive(Clone, Debug, Default)]
pub(super) struct Mempool {
    transactions: Vec<Arc<PoolTransaction>>,
    spent: HashSet<OutPoint>,
    weight_wu: u32,
    sigops_cost: u32,
}

impl Mempool {
    pub(super) fn transactions(&self) -> &[Arc<PoolTransaction>] {
        &self.transactions
    }

    pub(super) fn add(
        &mut self,
        raw: &[u8],
        fee_sats: u64,
        final_at: FinalAt,
    ) -> Result<Arc<PoolTransaction>, MempoolError> {
        let tx = Arc::new(PoolTransaction::parse(raw, fee_sats, final_at)?);
        let txid = tx.template.txid;
        if self
            .transactions
            .iter()
            .any(|known| known.template.txid == txid)
        {
            return Err(MempoolError::AlreadyKnown);
        }
        if tx.inputs.iter().any(|input| self.spent.contains(input)) {
            return Err(MempoolError::Conflict);
        }
        if self
            .spent
            .iter()
            .any(|spent| spent.txid.to_byte_array() == txid)
        {
            return Err(MempoolError::ChildFirst);
        }
        if !self.has_room_for(&tx) {
            return Err(MempoolError::Full);
        }
        self.push(Arc::clone(&tx));
        Ok(tx)
    }

    fn has_room_for(&self, tx: &PoolTransaction) -> bool {
        self.transactions.len() < MEMPOOL_TRANSACTIONS_MAX
            && self.weight_wu.saturating_add(tx.template.weight_wu) <= MEMPOOL_WEIGHT_MAX_WU
            && self.sigops_cost.saturating_add(tx.template.sigops_cost) <= MEMPOOL_SIGOPS_MAX
    }

    fn push(&mut self, tx: Arc<PoolTransaction>) {
        self.weight_wu += tx.template.weight_wu;
        self.sigops_cost += tx.template.sigops_cost;
        self.spent.extend(tx.inputs.iter().copied());
        self.transactions.push(tx);
    }

    /// The waiting transactions that a block with these wtxids takes, if it may take them in this order.
    pub(super) fn select(
        &self,
        wtxids: &[[u8; 32]],
    ) -> Result<Vec<Arc<PoolTransaction>>, RejectReason> {
        let mut waiting: HashMap<_, _> = self
            .transactions
            .iter()
            .map(|tx| (tx.template.wtxid, tx))
            .collect();
        let mut unmined: HashSet<_> = self
            .transactions
            .iter()
            .map(|tx| tx.template.txid)
            .collect();
        let mut taken = Vec::with_capacity(wtxids.len());
        for wtxid in wtxids {
            let tx = waiting
                .remove(wtxid)
                .ok_or(RejectReason::BadTxnsInputsMissingorspent)?;
            if tx
                .inputs
                .iter()
                .any(|input| unmined.contains(&input.txid.to_byte_array()))
            {
                return Err(RejectReason::BadTxnsInputsMissingorspent);
            }
            unmined.remove(&tx.template.txid);
            taken.push(Arc::clone(tx));
        }
        Ok(taken)
    }

    pub(super) fn remove_mined(&mut self, mined: &[Arc<PoolTransaction>]) {
        if mined.is_empty() {
            return;
        }
        let gone: HashSet<_> = mined.iter().map(|tx| tx.template.txid).collect();
        let kept = core::mem::take(self).transactions;
        kept.into_iter()
            .filter(|tx| !gone.contains(&tx.template.txid))
            .for_each(|tx| self.push(tx));
    }

    /// Puts the transactions of a disconnected block back, ahead of those that wait.
    /// What does not fit any more falls off the end, where the children are.
    pub(super) fn put_back(&mut self, unmined: &[Arc<PoolTransaction>]) {
        let waiting = core::mem::take(self).transactions;
        for tx in unmined.iter().cloned().chain(waiting) {
            if !self.has_room_for(&tx) {
                return;
            }
            self.push(tx);
        }
    }
}
