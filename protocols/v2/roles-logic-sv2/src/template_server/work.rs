//! A template as clients see it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use binary_sv2::{B016M, B064K, B0255, Seq064K, Seq0255, U256};
use template_distribution_sv2::{NewTemplate, RequestTransactionDataSuccess, SetNewPrevHash};

use crate::block_template::{BlockTemplate, TemplateTransaction};
use crate::clock::Now;
use crate::merkle::{coinbase_path, witness_commitment};
use crate::target::Target;

/// Version of coinbase transactions.
const COINBASE_TX_VERSION: u32 = 2;

/// nSequence of the coinbase input: not final, so that the lock time counts.
///
/// Lock time height - 1 with this sequence is what Bitcoin Core 30 makes and BIP54 asks for. It is final at its own
/// height, so every node of today accepts it.
const COINBASE_TX_INPUT_SEQUENCE: u32 = 0xffff_fffe;

/// Amount, script length, OP_RETURN, push of 36 bytes, commitment header (BIP141).
const COMMITMENT_OUTPUT_START: [u8; 15] = [
    0, 0, 0, 0, 0, 0, 0, 0, 38, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed,
];

const OP_1: u8 = 0x51;
const OP_0: u8 = 0x00;

/// A chain tip and what mining on it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Counts the tips since start, from 1.
    pub number: u64,
    /// Hash of the block to build on, 32 raw bytes.
    pub prev_hash: [u8; 32],
    /// Network target in compact form.
    pub nbits: u32,
    /// Network target.
    pub target: Target,
    /// Block time that the tip's first template started from, in Unix seconds.
    pub start_time_secs: u32,
    /// When that template came, in Unix seconds.
    pub since_secs: u64,
}

impl Tip {
    /// Block time to start from now, in Unix seconds: the first template's, moved on by the time that has passed.
    ///
    /// Only the wall clock of `now` counts, so work may be announced by another clock than the server's.
    pub fn header_timestamp(&self, now: Now) -> u32 {
        let elapsed = now.unix_secs.saturating_sub(self.since_secs);
        self.start_time_secs
            .saturating_add(u32::try_from(elapsed).unwrap_or(u32::MAX))
    }
}

/// What a choice of transactions determines, the same for all clients who get that choice.
#[derive(Debug)]
pub(super) struct Body {
    transaction_count: usize,
    value_remaining_sats: u64,
    /// The witness commitment output, or nothing.
    outputs: Vec<u8>,
    merkle_path: Vec<[u8; 32]>,
}

impl Body {
    /// The first `transaction_count` transactions of `source`, fees and commitment worked out for them.
    pub(super) fn new(source: &BlockTemplate, transaction_count: usize) -> Self {
        let (txs, _) = source
            .transactions
            .split_at(transaction_count.min(source.transactions.len()));
        let fees = txs
            .iter()
            .fold(0u64, |sum, tx| sum.saturating_add(tx.fee_sats));
        let txids: Vec<_> = txs.iter().map(|tx| tx.txid).collect();
        let mut outputs = Vec::new();
        if source.segwit_active {
            let wtxids: Vec<_> = txs.iter().map(|tx| tx.wtxid).collect();
            outputs.extend_from_slice(&COMMITMENT_OUTPUT_START);
            outputs.extend_from_slice(&witness_commitment(&wtxids));
        }
        Self {
            transaction_count: txs.len(),
            value_remaining_sats: source.subsidy_sats.saturating_add(fees),
            outputs,
            merkle_path: coinbase_path(&txids),
        }
    }
}

/// A numbered template: a node's template with as many of its transactions as the client's coinbase leaves room for.
#[derive(Debug)]
pub struct Work {
    template_id: u64,
    tip: Tip,
    source: Arc<BlockTemplate>,
    body: Arc<Body>,
}

impl Work {
    pub(super) const fn new(
        template_id: u64,
        tip: Tip,
        source: Arc<BlockTemplate>,
        body: Arc<Body>,
    ) -> Self {
        Self {
            template_id,
            tip,
            source,
            body,
        }
    }

    pub(super) const fn body(&self) -> &Arc<Body> {
        &self.body
    }

    pub(super) fn merkle_path(&self) -> &[[u8; 32]] {
        &self.body.merkle_path
    }

    /// The number that clients know it by.
    pub const fn template_id(&self) -> u64 {
        self.template_id
    }

    /// The tip to build on.
    pub const fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The node's template; it may hold more transactions than this work.
    pub fn source(&self) -> &BlockTemplate {
        &self.source
    }

    /// The transactions of the block in block order, without the coinbase.
    pub fn transactions(&self) -> &[TemplateTransaction] {
        let all = &self.source.transactions;
        all.get(..self.body.transaction_count).unwrap_or(all)
    }

    /// Subsidy and fees, in satoshis.
    pub fn value_remaining_sats(&self) -> u64 {
        self.body.value_remaining_sats
    }

    /// The message that announces this work (7.2).
    pub fn new_template(&self, future_template: bool) -> NewTemplate<'static> {
        let path = self.body.merkle_path.iter().copied().map(U256);
        NewTemplate {
            template_id: self.template_id,
            future_template,
            version: self.source.version,
            coinbase_tx_version: COINBASE_TX_VERSION,
            coinbase_prefix: B0255::try_from(bip34_prefix(self.source.height))
                .expect("the push of a 32-bit height has at most 6 bytes"),
            coinbase_tx_input_sequence: COINBASE_TX_INPUT_SEQUENCE,
            coinbase_tx_value_remaining: self.body.value_remaining_sats,
            coinbase_tx_outputs_count: u32::from(!self.body.outputs.is_empty()),
            coinbase_tx_outputs: B064K::try_from(self.body.outputs.clone())
                .expect("one output of 47 bytes at most"),
            coinbase_tx_locktime: self.source.height.saturating_sub(1),
            merkle_path: Seq0255::new(path.collect())
                .expect("a path is no longer than the logarithm of a length"),
        }
    }

    /// The message that makes this work, announced as a future template, the current one (7.3).
    pub fn set_new_prev_hash(&self, now: Now) -> SetNewPrevHash {
        SetNewPrevHash {
            template_id: self.template_id,
            prev_hash: U256(self.tip.prev_hash),
            header_timestamp: self.tip.header_timestamp(now),
            nbits: self.tip.nbits,
            target: U256(self.tip.target.to_le_bytes()),
        }
    }

    /// The message that holds the transactions (7.5), borrowing them.
    pub fn transaction_data(&self) -> RequestTransactionDataSuccess<'_> {
        // A node's template cannot hold a transaction above 4 MB, nor more than 65 535 of them: a block's weight forbids it.
        let raws = self.transactions().iter();
        let raws = raws.filter_map(|tx| B016M::try_from(&*tx.raw).ok());
        RequestTransactionDataSuccess {
            template_id: self.template_id,
            excess_data: B064K::default(),
            transaction_list: Seq064K::new(raws.collect()).unwrap_or_default(),
        }
    }
}

/// What a client is sent when there is other work for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// Sent first.
    pub new_template: NewTemplate<'static>,
    /// Sent right behind it when the client does not know the tip yet; the template is a future one then.
    pub set_new_prev_hash: Option<SetNewPrevHash>,
}

/// What one client was told last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcer {
    template_id: Option<u64>,
    tip: Option<u64>,
}

impl Announcer {
    /// What the client must be told of `work`; `None` when it knows this work or newer.
    pub fn announce(&mut self, work: &Work, now: Now) -> Option<Announcement> {
        if Some(work.template_id) <= self.template_id {
            return None;
        }
        let is_new_tip = self.tip != Some(work.tip.number);
        self.template_id = Some(work.template_id);
        self.tip = Some(work.tip.number);
        Some(Announcement {
            new_template: work.new_template(is_new_tip),
            set_new_prev_hash: is_new_tip.then(|| work.set_new_prev_hash(now)),
        })
    }

    /// The id of the newest template that the client knows.
    pub const fn template_id(&self) -> Option<u64> {
        self.template_id
    }
}

/// The start of a coinbase's scriptSig: the push of its height (BIP34), 2 to 6 bytes.
///
/// Heights up to 16 are a single opcode, which consensus compares with; an `OP_0` behind it makes up the 2 bytes that a
/// scriptSig must have. Other heights are pushed as the shortest little-endian number.
pub fn bip34_prefix(height: u32) -> Vec<u8> {
    match height {
        0 => alloc::vec![OP_0, OP_0],
        1..=16 => alloc::vec![OP_1 + (height - 1) as u8, OP_0],
        _ => {
            let bytes = height.to_le_bytes();
            // One bit more than the number: the top one is the sign.
            let size = (32 - height.leading_zeros()) as usize / 8 + 1;
            let number = bytes.iter().copied().chain([0]).take(size);
            core::iter::once(size as u8).chain(number).collect()
        }
    }
}
