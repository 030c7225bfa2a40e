//! Whether a template leaves the room that was asked for.

use std::collections::BTreeMap;

use bitcoin::consensus::encode::{deserialize, deserialize_partial};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use const_sv2::MAX_TEMPLATE_COINBASE_PREFIX_LEN;
use roles_logic_sv2::block_template::{
    MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, WITNESS_SCALE_FACTOR,
};
use roles_logic_sv2::coinbase::{
    Coinbase, CoinbaseError, MAX_FULL_EXTRANONCE_SIZE, MAX_SCRIPT_SIG_SIZE, split_by_weight,
};
use roles_logic_sv2::job::JobTemplate;
use roles_logic_sv2::merkle;
use roles_logic_sv2::template_server::Constraints;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionDataSuccess,
};

/// Start of the script of a witness commitment (BIP141); 32 bytes of hash follow.
const COMMITMENT_SCRIPT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Bytes of the output of a witness commitment, which the reservation of 7.1 includes.
const COMMITMENT_OUTPUT_SIZE: usize = 8 + 1 + 38;

/// What is wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateFault {
    /// More bytes at the start of the scriptSig than 7.2 allows.
    #[error(
        "its scriptSig starts with {size} bytes, allowed are {MAX_TEMPLATE_COINBASE_PREFIX_LEN}"
    )]
    LongPrefix {
        /// Bytes of `coinbase_prefix`.
        size: usize,
    },
    /// It leaves nothing to pay.
    #[error("it leaves no value for our outputs")]
    NoValue,
    /// Its value, with that of its own outputs, is more than there ever will be.
    #[error("its coinbase would be worth more than all bitcoin")]
    TooMuchValue,
    /// No coinbase can be made of it with our outputs.
    #[error("no coinbase can be made of it: {0}")]
    Coinbase(#[from] CoinbaseError),
    /// Its merkle path does not belong to its transactions.
    #[error("its merkle path is not that of its {transactions} transactions")]
    WrongPath {
        /// Transactions without the coinbase.
        transactions: usize,
    },
    /// A transaction has a witness, and no output commits to it (TS-13).
    #[error("it has transactions with a witness, and no output that commits to them")]
    NoCommitment,
    /// The commitment is that of other transactions.
    #[error("its witness commitment is not that of its transactions")]
    WrongCommitment,
    /// The block is too heavy with our outputs (TS-9, TS-10).
    #[error(
        "with our outputs the block would weigh {weight_wu} weight units of {MAX_BLOCK_WEIGHT_WU}"
    )]
    TooHeavy {
        /// Weight of the block with all that 7.1 has it reserve.
        weight_wu: u64,
    },
    /// The block has too many signature operations with our outputs (TS-9).
    #[error(
        "with our outputs the block would have a signature operations cost of {sigops_cost} or more, of {MAX_BLOCK_SIGOPS_COST}"
    )]
    TooManySigops {
        /// Cost of the operations that can be counted without the coins spent, and of those reserved.
        sigops_cost: u64,
    },
}

/// A transaction is in another encoding than consensus' own, which 7.5 leaves open: the template cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction {position} of the template is not in consensus' encoding")]
pub struct Unreadable {
    /// Its place in the list, from 1, which is its place in the block.
    pub position: usize,
}

/// What was found out of a template that leaves the room asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Number of the template.
    pub template_id: u64,
    /// Transactions without the coinbase.
    pub transactions: usize,
    /// Outputs of the coinbase: ours and the template's.
    pub coinbase_outputs: usize,
    /// Satoshis for our outputs.
    pub value_remaining_sats: u64,
    /// Whether an output commits to witnesses.
    pub has_witness_commitment: bool,
    /// Weight of the block with all that 7.1 has it reserve, in weight units.
    pub weight_wu: u64,
    /// Cost of the signature operations reserved and of those in the block that can be counted without the coins spent:
    /// coins of the same block are known, others are not.
    pub sigops_cost: u64,
}

/// What can be said of a template before its transactions are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    coinbase_outputs: usize,
    /// Bytes of the template's own outputs, and what scripts in them cost.
    own_outputs_size: usize,
    own_sigops: usize,
    commitment: Option<[u8; 32]>,
}

/// Judges the coinbase: our outputs beside the template's own, worth what there is to pay.
pub(crate) fn outline(
    template: &NewTemplate<'_>,
    scripts: &[ScriptBuf],
) -> Result<Outline, TemplateFault> {
    let prefix_size = template.coinbase_prefix.as_bytes().len();
    if prefix_size > MAX_TEMPLATE_COINBASE_PREFIX_LEN {
        return Err(TemplateFault::LongPrefix { size: prefix_size });
    }
    let value = template.coinbase_tx_value_remaining;
    if value == 0 {
        return Err(TemplateFault::NoValue);
    }
    let extranonce_size = (MAX_SCRIPT_SIG_SIZE - prefix_size).min(MAX_FULL_EXTRANONCE_SIZE);
    let payouts = payouts(value, scripts)?;
    let job = JobTemplate::from(template);
    // Built only to see whether it can be: as one that mines would, with the longest extranonce.
    Coinbase::from_template(&job.coinbase, &payouts, &[], extranonce_size)?;
    let own = own_outputs(template)?;
    let own_value = own.iter().map(|output| output.value.to_sat());
    let total = own_value.fold(value, u64::saturating_add);
    if total > Amount::MAX_MONEY.to_sat() {
        return Err(TemplateFault::TooMuchValue);
    }
    let sigops = own
        .iter()
        .map(|output| output.script_pubkey.count_sigops_legacy());
    Ok(Outline {
        coinbase_outputs: payouts.len() + own.len(),
        own_outputs_size: template.coinbase_tx_outputs.as_bytes().len(),
        own_sigops: sigops.sum(),
        commitment: own.iter().rev().find_map(commitment),
    })
}

/// All value, in equal parts.
fn payouts(value_sats: u64, scripts: &[ScriptBuf]) -> Result<Vec<TxOut>, CoinbaseError> {
    let values = split_by_weight(value_sats, &vec![1; scripts.len()])?;
    let outputs = scripts.iter().zip(values);
    let outputs = outputs.map(|(script, sats)| TxOut {
        value: Amount::from_sat(sats),
        script_pubkey: script.clone(),
    });
    Ok(outputs.collect())
}

fn own_outputs(template: &NewTemplate<'_>) -> Result<Vec<TxOut>, CoinbaseError> {
    let count = u64::from(template.coinbase_tx_outputs_count);
    let mut rest = template.coinbase_tx_outputs.as_bytes();
    let mut outputs = Vec::new();
    while !rest.is_empty() {
        let (output, read) = deserialize_partial::<TxOut>(rest)
            .map_err(|_| CoinbaseError::MalformedOutputs { count })?;
        rest = rest.get(read..).unwrap_or_default();
        outputs.push(output);
    }
    Ok(outputs)
}

/// The hash that an output commits to, if it is a witness commitment. Of several the last one counts.
fn commitment(output: &TxOut) -> Option<[u8; 32]> {
    let rest = output
        .script_pubkey
        .as_bytes()
        .strip_prefix(&COMMITMENT_SCRIPT)?;
    rest.first_chunk().copied()
}

/// Reads a template's transactions, without the coinbase.
pub(crate) fn transactions(
    message: &RequestTransactionDataSuccess<'_>,
) -> Result<Vec<Transaction>, Unreadable> {
    let list = message.transaction_list.iter().enumerate();
    let transactions = list
        .map(|(at, raw)| deserialize(raw.as_bytes()).map_err(|_| Unreadable { position: at + 1 }));
    transactions.collect()
}

/// Judges the block: the transactions beside our coinbase.
pub(crate) fn judge(
    template: &NewTemplate<'_>,
    outline: &Outline,
    asked: CoinbaseOutputConstraints,
    transactions: &[Transaction],
) -> Result<Figures, TemplateFault> {
    let txids = transactions
        .iter()
        .map(|tx| tx.compute_txid().to_byte_array());
    let path = merkle::coinbase_path(&txids.collect::<Vec<_>>());
    let told = template.merkle_path.iter().map(|node| node.0);
    if !path.into_iter().eq(told) {
        return Err(TemplateFault::WrongPath {
            transactions: transactions.len(),
        });
    }
    check_commitment(outline, transactions)?;
    let constraints = Constraints::from(asked);
    let weight_wu = weight_wu(outline, constraints, transactions);
    if weight_wu > u64::from(MAX_BLOCK_WEIGHT_WU) {
        return Err(TemplateFault::TooHeavy { weight_wu });
    }
    let sigops_cost = sigops_cost(outline, constraints, transactions);
    if sigops_cost > u64::from(MAX_BLOCK_SIGOPS_COST) {
        return Err(TemplateFault::TooManySigops { sigops_cost });
    }
    Ok(Figures {
        template_id: template.template_id,
        transactions: transactions.len(),
        coinbase_outputs: outline.coinbase_outputs,
        value_remaining_sats: template.coinbase_tx_value_remaining,
        has_witness_commitment: outline.commitment.is_some(),
        weight_wu,
        sigops_cost,
    })
}

fn check_commitment(outline: &Outline, transactions: &[Transaction]) -> Result<(), TemplateFault> {
    let has_witness = |tx: &Transaction| tx.input.iter().any(|input| !input.witness.is_empty());
    match outline.commitment {
        None if transactions.iter().any(has_witness) => Err(TemplateFault::NoCommitment),
        None => Ok(()),
        Some(told) => {
            let wtxids = transactions
                .iter()
                .map(|tx| tx.compute_wtxid().to_byte_array());
            let right = merkle::witness_commitment(&wtxids.collect::<Vec<_>>());
            match told == right {
                true => Ok(()),
                false => Err(TemplateFault::WrongCommitment),
            }
        }
    }
}

/// The block's weight with the longest scriptSig and all that was announced, as 7.1 has a provider reckon. Outputs of the
/// template other than the commitment come on top.
fn weight_wu(outline: &Outline, constraints: Constraints, transactions: &[Transaction]) -> u64 {
    let is_segwit = outline.commitment.is_some();
    let in_reserve = if is_segwit { COMMITMENT_OUTPUT_SIZE } else { 0 };
    let others = outline.own_outputs_size.saturating_sub(in_reserve) as u64;
    let weights = transactions.iter().map(|tx| tx.weight().to_wu());
    constraints.reserved_weight_wu(is_segwit)
        + u64::from(WITNESS_SCALE_FACTOR) * others
        + weights.sum::<u64>()
}

fn sigops_cost(outline: &Outline, constraints: Constraints, transactions: &[Transaction]) -> u64 {
    let coins = transactions.iter().flat_map(|tx| {
        let txid = tx.compute_txid();
        let outputs = tx.output.iter().enumerate();
        outputs.map(move |(at, output)| (OutPoint::new(txid, at as u32), output))
    });
    let coins: BTreeMap<OutPoint, &TxOut> = coins.collect();
    let spent = |coin: &OutPoint| coins.get(coin).map(|output| (*output).clone());
    let costs = transactions.iter().map(|tx| tx.total_sigop_cost(spent));
    constraints.reserved_sigops_cost()
        + u64::from(WITNESS_SCALE_FACTOR) * outline.own_sigops as u64
        + costs.sum::<usize>() as u64
}
