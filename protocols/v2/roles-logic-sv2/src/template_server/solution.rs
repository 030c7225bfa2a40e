//! From a client's solution to a block.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitcoin::Transaction;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use template_distribution_sv2::SubmitSolution;

use super::Work;
use crate::clock::Now;
use crate::coinbase::{MAX_SCRIPT_SIG_SIZE, MIN_SCRIPT_SIG_SIZE, write_compact_size};
use crate::header::{Header, differs_only_in_rollable_bits};
use crate::merkle::{WITNESS_RESERVED_VALUE, root_from_path};

/// First bytes of a script that commits to witnesses (BIP141).
const COMMITMENT_SCRIPT_START: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Why a solution makes no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum SolutionError {
    /// No template has had this id.
    #[error("no template has the id {template_id}")]
    UnknownTemplate {
        /// The id in the solution.
        template_id: u64,
    },
    /// The template was replaced too long ago, or by too many others.
    #[error("template {template_id} is forgotten")]
    ForgottenTemplate {
        /// The id in the solution.
        template_id: u64,
    },
    /// The bytes are not exactly one transaction.
    #[error("coinbase_tx is no transaction")]
    MalformedCoinbase,
    /// The transaction is not a coinbase, or its scriptSig is shorter than 2 or longer than 100 bytes.
    #[error("coinbase_tx is no coinbase")]
    NotACoinbase,
    /// The header's hash is above the network's target.
    #[error("the header hash is above the network target")]
    HashAboveTarget,
    /// Consensus asks for a later time.
    #[error("header_timestamp is {header_timestamp}, the chain allows {min_time_secs} and later")]
    TimeTooOld {
        /// The time in the solution, in Unix seconds.
        header_timestamp: u32,
        /// The earliest possible, in Unix seconds.
        min_time_secs: u32,
    },
}

impl SolutionError {
    /// The kind of error in one word, for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::UnknownTemplate { .. } => "unknown-template",
            Self::ForgottenTemplate { .. } => "forgotten-template",
            Self::MalformedCoinbase => "malformed-coinbase",
            Self::NotACoinbase => "not-a-coinbase",
            Self::HashAboveTarget => "hash-above-target",
            Self::TimeTooOld { .. } => "time-too-old",
        }
    }
}

/// What a client did against the protocol in a solution that is a block all the same.
///
/// A block is worth more than a rule of form: it is handed to the node, and the deviation is told to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Deviation {
    /// The tip was replaced before the solution came.
    StaleTip,
    /// Version bits outside of BIP323's differ from the template's (TC-12).
    VersionBits,
    /// The time lies before the one that `SetNewPrevHash` started from (TC-13).
    TimeBeforeStart,
    /// The time is later than the one that `SetNewPrevHash` started from and the seconds since (TC-13).
    TimeAhead,
    /// The coinbase's witness was missing, or not the one that the template's commitment asks for (TC-14).
    CoinbaseWitness,
}

/// A block ready for the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolvedBlock {
    /// The template it was made from.
    pub template_id: u64,
    /// Its height.
    pub height: u32,
    /// Hash of its header, 32 raw bytes.
    pub hash: [u8; 32],
    /// The whole block in consensus serialisation.
    pub bytes: Arc<[u8]>,
    /// What the client should have done otherwise; empty for a proper solution.
    pub deviations: Vec<Deviation>,
}

pub(super) fn assemble(
    work: &Work,
    solution: &SubmitSolution<'_>,
    is_stale: bool,
    now: Now,
) -> Result<SolvedBlock, SolutionError> {
    let source = work.source();
    if solution.header_timestamp < source.min_time_secs {
        return Err(SolutionError::TimeTooOld {
            header_timestamp: solution.header_timestamp,
            min_time_secs: source.min_time_secs,
        });
    }
    let mut coinbase = parse_coinbase(solution.coinbase_tx.as_bytes())?;
    let txid = coinbase.compute_txid().to_byte_array();
    let header = Header {
        version: solution.version,
        prev_hash: source.prev_hash,
        merkle_root: root_from_path(&txid, work.merkle_path()),
        ntime: solution.header_timestamp,
        nbits: source.nbits,
        nonce: solution.header_nonce,
    };
    let hash = header.hash();
    if !work.tip().target.is_met_by(&hash) {
        return Err(SolutionError::HashAboveTarget);
    }
    let had_other_witness = correct_witness(&mut coinbase);
    let tip = work.tip();
    let found = [
        (is_stale, Deviation::StaleTip),
        (
            !differs_only_in_rollable_bits(source.version, solution.version),
            Deviation::VersionBits,
        ),
        (
            solution.header_timestamp < tip.start_time_secs,
            Deviation::TimeBeforeStart,
        ),
        (
            solution.header_timestamp > tip.header_timestamp(now),
            Deviation::TimeAhead,
        ),
        (had_other_witness, Deviation::CoinbaseWitness),
    ];
    let found = found.into_iter().filter(|(is_found, _)| *is_found);
    Ok(SolvedBlock {
        template_id: work.template_id(),
        height: source.height,
        hash,
        bytes: serialise(&header, &coinbase, work),
        deviations: found.map(|(_, deviation)| deviation).collect(),
    })
}

fn parse_coinbase(bytes: &[u8]) -> Result<Transaction, SolutionError> {
    let tx: Transaction =
        encode::deserialize(bytes).map_err(|_| SolutionError::MalformedCoinbase)?;
    let script_sig_sizes = MIN_SCRIPT_SIG_SIZE..=MAX_SCRIPT_SIG_SIZE;
    match tx.input.first() {
        Some(input) if tx.is_coinbase() && script_sig_sizes.contains(&input.script_sig.len()) => {
            Ok(tx)
        }
        _ => Err(SolutionError::NotACoinbase),
    }
}

/// Gives the coinbase the witness that its outputs ask for, and says whether it had another.
fn correct_witness(coinbase: &mut Transaction) -> bool {
    let has_commitment = coinbase.output.iter().any(|output| {
        let script = output.script_pubkey.as_bytes();
        script.len() >= 38 && script.starts_with(&COMMITMENT_SCRIPT_START)
    });
    let items: &[&[u8]] = if has_commitment {
        &[&WITNESS_RESERVED_VALUE]
    } else {
        &[]
    };
    let right = bitcoin::Witness::from_slice(items);
    let Some(input) = coinbase.input.first_mut() else {
        return false;
    };
    let had_other = input.witness != right;
    input.witness = right;
    had_other
}

fn serialise(header: &Header, coinbase: &Transaction, work: &Work) -> Arc<[u8]> {
    let coinbase = encode::serialize(coinbase);
    let txs = work.transactions();
    let size: usize = txs.iter().map(|tx| tx.raw.len()).sum();
    let mut block = Vec::with_capacity(80 + 9 + coinbase.len() + size);
    block.extend_from_slice(&header.to_bytes());
    write_compact_size(&mut block, txs.len() as u64 + 1);
    block.extend_from_slice(&coinbase);
    for tx in txs {
        block.extend_from_slice(&tx.raw);
    }
    block.into()
}
