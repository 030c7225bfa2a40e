//! The chain itself: a block and the time go in, a verdict comes out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{Block, BlockHash, CompactTarget, Network, Transaction};
use roles_logic_sv2::block_template::{BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU};

use super::mempool::{FinalAt, Mempool, MempoolError, PoolTransaction, check_outputs, sigops_cost};
use crate::node::BlockStanding;
use crate::reject::RejectReason;
use crate::rpc::tip::{median_time_secs, subsidy_sats};

/// Blocks of the best chain whose headers and coinbases are kept; older ones are forgotten and count as unknown.
pub const RETAINED_BLOCKS_MAX: usize = 1_000;

/// Blocks below the tip that a longer branch can replace. Deeper ones give up their transactions,
/// and a block that would build below is refused with `prev-blk-not-found`.
pub const REORG_DEPTH_MAX: u32 = 12;

/// Blocks kept that are not on the best chain; one more pushes out the lowest.
pub const SIDE_BLOCKS_MAX: usize = 64;

/// How far a block's time may be ahead of the clock, in seconds.
pub const FUTURE_TIME_MAX_SECS: u64 = 7_200;

/// Version of the blocks that templates ask for (BIP9, no signals).
const TEMPLATE_VERSION: u32 = 0x2000_0000;

/// Lowest block version after BIP34, BIP66 and BIP65, which are active from the start.
const BLOCK_VERSION_MIN: i32 = 4;

/// What became of a valid block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the new tip.
    NewTip,
    /// It was known.
    Duplicate,
    /// It is stored on a branch that is not longer than the best chain.
    Inconclusive,
}

#[derive(Debug)]
struct Entry {
    header: Header,
    height: u32,
    coinbase: Transaction,
    coinbase_sats: u64,
    wtxids: Vec<[u8; 32]>,
    /// What it took from the mempool; empty for blocks of a branch, and again below the reorg depth.
    mined: Vec<Arc<PoolTransaction>>,
}

/// A regtest chain in memory: real headers and proof of work, and the rules that a coinbase and a block's shape can break.
///
/// Checked as bitcoind does: proof of work, nbits, version, time, merkle root, BIP34 height, witness commitment, weight,
/// size, signature operations, lock times, subsidy (halving every 150 blocks) and fees, one level of branches with
/// reorganisation. Not checked: scripts, signatures and whether an input exists. Transactions come with their fee from
/// whoever runs the chain ([`add_transaction`](Self::add_transaction)), and a block holds no others.
///
/// Memory is bounded by [`RETAINED_BLOCKS_MAX`] headers and coinbases, the transactions of [`REORG_DEPTH_MAX`] blocks,
/// [`SIDE_BLOCKS_MAX`] blocks of branches, and one block's worth of waiting transactions.
#[derive(Debug)]
pub struct EmbeddedChain {
    entries: HashMap<BlockHash, Entry>,
    /// The best chain, oldest first, never empty.
    active: VecDeque<BlockHash>,
    mempool: Mempool,
}

impl Default for EmbeddedChain {
    fn default() -> Self {
        Self::new()
    }
}

impl EmbeddedChain {
    /// The chain that holds regtest's genesis block.
    pub fn new() -> Self {
        let genesis = genesis_block(Network::Regtest);
        let hash = genesis.block_hash();
        let coinbase = genesis
            .txdata
            .into_iter()
            .next()
            .expect("the genesis block has a coinbase");
        let entry = Entry {
            header: genesis.header,
            height: 0,
            coinbase,
            coinbase_sats: 0,
            wtxids: Vec::new(),
            mined: Vec::new(),
        };
        Self {
            entries: HashMap::from([(hash, entry)]),
            active: VecDeque::from([hash]),
            mempool: Mempool::default(),
        }
    }

    /// Height of the tip; zero is the genesis block.
    pub fn height(&self) -> u32 {
        self.tip().1.height
    }

    /// Hash of the tip, 32 raw bytes.
    pub fn tip_hash(&self) -> [u8; 32] {
        self.tip().0.to_byte_array()
    }

    /// Number of transactions that wait for a block.
    pub fn mempool_len(&self) -> usize {
        self.mempool.transactions().len()
    }

    /// The coinbase of a block that is still kept, by the block's hash (32 raw bytes).
    pub fn coinbase(&self, hash: [u8; 32]) -> Option<&Transaction> {
        self.entries
            .get(&BlockHash::from_byte_array(hash))
            .map(|entry| &entry.coinbase)
    }

    /// Where the block with this hash (32 raw bytes) stands; a block older than the retained ones counts as unknown.
    pub fn standing(&self, hash: [u8; 32]) -> BlockStanding {
        let hash = BlockHash::from_byte_array(hash);
        match self.entries.get(&hash) {
            None => BlockStanding::Unknown,
            Some(entry) if self.active_at(entry.height) == Some(hash) => BlockStanding::Active {
                confirmations: self.height() - entry.height + 1,
            },
            Some(_) => BlockStanding::Stale,
        }
    }

    /// What to mine next, at `unix_secs` by the clock.
    pub fn template(&self, unix_secs: u64) -> BlockTemplate {
        let (hash, tip) = self.tip();
        let min_time_secs = self.median_time_past_secs(hash).saturating_add(1);
        let height = tip.height + 1;
        BlockTemplate {
            height,
            version: TEMPLATE_VERSION,
            prev_hash: hash.to_byte_array(),
            nbits: tip.header.bits.to_consensus(),
            current_time_secs: u32::try_from(unix_secs)
                .unwrap_or(u32::MAX)
                .max(min_time_secs),
            min_time_secs,
            subsidy_sats: subsidy_sats(Network::Regtest, height),
            transactions: self
                .mempool
                .transactions()
                .iter()
                .map(|tx| tx.template.clone())
                .collect(),
            segwit_active: true,
            weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
            sigops_limit: MAX_BLOCK_SIGOPS_COST,
            is_provisional: false,
        }
    }

    /// Puts a transaction in line for the next block, on the caller's word that it is valid and pays `fee_sats`.
    /// Answers with its txid (32 raw bytes).
    ///
    /// # Errors
    /// Says why it cannot stand in the next block.
    pub fn add_transaction(&mut self, raw: &[u8], fee_sats: u64) -> Result<[u8; 32], MempoolError> {
        let (hash, tip) = self.tip();
        let final_at = FinalAt {
            height: tip.height + 1,
            median_time_past_secs: self.median_time_past_secs(hash),
        };
        let mut mined = self
            .active
            .iter()
            .filter_map(|hash| self.entries.get(hash))
            .flat_map(|entry| &entry.mined);
        if let Ok(tx) = deserialize::<Transaction>(raw) {
            let txid = tx.compute_txid().to_byte_array();
            if mined.any(|known| known.template.txid == txid) {
                return Err(MempoolError::AlreadyKnown);
            }
        }
        Ok(self.mempool.add(raw, fee_sats, final_at)?.template.txid)
    }

    /// Takes a full serialised block at `unix_secs` by the clock.
    ///
    /// # Errors
    /// The rule it breaks; the chain is unchanged then.
    pub fn submit_block(&mut self, raw: &[u8], unix_secs: u64) -> Result<Verdict, RejectReason> {
        let block: Block = deserialize(raw).map_err(|_| RejectReason::Malformed)?;
        let hash = block.block_hash();
        if self.entries.contains_key(&hash) {
            return Ok(Verdict::Duplicate);
        }
        check_block(&block)?;
        let height = self.check_header(&block.header, unix_secs)?;
        let final_at = FinalAt {
            height,
            median_time_past_secs: self.median_time_past_secs(block.header.prev_blockhash),
        };
        let entry = check_in_context(block, final_at)?;
        if entry.header.prev_blockhash == *self.tip().0 {
            self.extend_tip(hash, entry)?;
            return Ok(Verdict::NewTip);
        }
        let is_longer = height > self.height();
        self.entries.insert(hash, entry);
        if is_longer {
            self.reorganise(hash)?;
        } else {
            self.forget_surplus_side_block();
        }
        Ok(if is_longer {
            Verdict::NewTip
        } else {
            Verdict::Inconclusive
        })
    }

    fn tip(&self) -> (&BlockHash, &Entry) {
        let hash = self.active.back().expect("the best chain is never empty");
        (
            hash,
            self.entries
                .get(hash)
                .expect("blocks of the best chain are kept"),
        )
    }

    fn active_at(&self, height: u32) -> Option<BlockHash> {
        let depth = usize::try_from(self.height().checked_sub(height)?).ok()?;
        self.active.iter().rev().nth(depth).copied()
    }

    fn median_time_past_secs(&self, of: impl core::borrow::Borrow<BlockHash>) -> u32 {
        let mut hash = *of.borrow();
        let mut times = Vec::with_capacity(11);
        while let (true, Some(entry)) = (times.len() < 11, self.entries.get(&hash)) {
            times.push(entry.header.time);
            hash = entry.header.prev_blockhash;
        }
        median_time_secs(times)
    }

    /// Checks the header against its parent; answers with its height.
    fn check_header(&self, header: &Header, unix_secs: u64) -> Result<u32, RejectReason> {
        let parent = self
            .entries
            .get(&header.prev_blockhash)
            .ok_or(RejectReason::PrevBlkNotFound)?;
        if parent.height + REORG_DEPTH_MAX < self.height() {
            return Err(RejectReason::PrevBlkNotFound);
        }
        if header.bits != parent.header.bits {
            return Err(RejectReason::BadDiffbits);
        }
        if header.time <= self.median_time_past_secs(header.prev_blockhash) {
            return Err(RejectReason::TimeTooOld);
        }
        if u64::from(header.time) > unix_secs.saturating_add(FUTURE_TIME_MAX_SECS) {
            return Err(RejectReason::TimeTooNew);
        }
        if header.version.to_consensus() < BLOCK_VERSION_MIN {
            return Err(RejectReason::BadVersion);
        }
        Ok(parent.height + 1)
    }

    fn extend_tip(&mut self, hash: BlockHash, mut entry: Entry) -> Result<(), RejectReason> {
        let mined = self.mempool.select(&entry.wtxids)?;
        let fees: u64 = mined.iter().map(|tx| tx.template.fee_sats).sum();
        if entry.coinbase_sats > subsidy_sats(Network::Regtest, entry.height).saturating_add(fees) {
            return Err(RejectReason::BadCbAmount);
        }
        self.mempool.remove_mined(&mined);
        entry.mined = mined;
        self.entries.insert(hash, entry);
        self.active.push_back(hash);
        self.forget_old_blocks();
        Ok(())
    }

    /// Makes the branch that ends in `new_tip` the best chain, or forgets that branch and leaves the rest as it was.
    fn reorganise(&mut self, new_tip: BlockHash) -> Result<(), RejectReason> {
        let mut branch = Vec::new();
        let mut hash = new_tip;
        while let Some(entry) = self.entries.get(&hash) {
            if self.active_at(entry.height) == Some(hash) {
                break;
            }
            branch.push(hash);
            hash = entry.header.prev_blockhash;
        }
        let (fork, saved_mempool) = (hash, self.mempool.clone());
        let mut removed = Vec::new();
        while *self.tip().0 != fork {
            removed.extend(self.active.pop_back());
        }
        for hash in &removed {
            let mined = self
                .entries
                .get(hash)
                .map(|entry| entry.mined.clone())
                .unwrap_or_default();
            self.mempool.put_back(&mined);
        }
        for hash in branch.iter().rev() {
            let entry = self.entries.remove(hash).expect("the walk found it");
            if let Err(reason) = self.extend_tip(*hash, entry) {
                self.restore(fork, removed, saved_mempool);
                branch
                    .iter()
                    .for_each(|hash| drop(self.entries.remove(hash)));
                return Err(reason);
            }
        }
        self.forget_surplus_side_block();
        Ok(())
    }

    fn restore(&mut self, fork: BlockHash, removed: Vec<BlockHash>, mempool: Mempool) {
        while *self.tip().0 != fork {
            self.active.pop_back();
        }
        self.active.extend(removed.into_iter().rev());
        self.mempool = mempool;
    }

    fn forget_old_blocks(&mut self) {
        if let Some(deep) = self
            .height()
            .checked_sub(REORG_DEPTH_MAX + 1)
            .and_then(|height| self.active_at(height))
            && let Some(entry) = self.entries.get_mut(&deep)
        {
            entry.mined = Vec::new();
            entry.wtxids = Vec::new();
        }
        while self.active.len() > RETAINED_BLOCKS_MAX {
            if let Some(hash) = self.active.pop_front() {
                self.entries.remove(&hash);
            }
        }
    }

    fn forget_surplus_side_block(&mut self) {
        if self.entries.len() - self.active.len() <= SIDE_BLOCKS_MAX {
            return;
        }
        let active: HashSet<_> = self.active.iter().copied().collect();
        let lowest = self
            .entries
            .iter()
            .filter(|(hash, _)| !active.contains(*hash))
            .min_by_key(|(hash, entry)| (entry.height, **hash));
        if let Some(hash) = lowest.map(|(hash, _)| *hash) {
            self.entries.remove(&hash);
        }
    }
}

/// What can be said of a block alone, in the order in which bitcoind looks.
fn check_block(block: &Block) -> Result<(), RejectReason> {
    let limit = bitcoin::Target::from_compact(block.header.bits);
    // A nonsense nbits must not pass as an easy target; the right value is checked against the parent afterwards.
    if limit > bitcoin::Target::from_compact(CompactTarget::from_consensus(0x207f_ffff))
        || block.header.validate_pow(limit).is_err()
    {
        return Err(RejectReason::HighHash);
    }
    if block.txdata.is_empty() {
        return Err(RejectReason::BadBlkLength);
    }
    if !block.check_merkle_root() {
        return Err(RejectReason::BadTxnmrklroot);
    }
    let mut seen = HashSet::new();
    if !block.txdata.iter().all(|tx| seen.insert(tx.compute_txid())) {
        return Err(RejectReason::BadTxnsDuplicate);
    }
    let stripped: usize = block.txdata.iter().map(Transaction::base_size).sum();
    if (stripped + Header::SIZE) * 4 > MAX_BLOCK_WEIGHT_WU as usize {
        return Err(RejectReason::BadBlkLength);
    }
    if !block.txdata.first().is_some_and(Transaction::is_coinbase) {
        return Err(RejectReason::BadCbMissing);
    }
    if block.txdata.iter().skip(1).any(Transaction::is_coinbase) {
        return Err(RejectReason::BadCbMultiple);
    }
    let script_sig_len = block
        .coinbase()
        .and_then(|tx| tx.input.first())
        .map_or(0, |input| input.script_sig.len());
    if !(2..=100).contains(&script_sig_len) {
        return Err(RejectReason::BadCbLength);
    }
    let sigops = block
        .txdata
        .iter()
        .map(sigops_cost)
        .fold(0_u32, u32::saturating_add);
    if sigops > MAX_BLOCK_SIGOPS_COST {
        return Err(RejectReason::BadBlkSigops);
    }
    Ok(())
}

/// What depends on height and time past.
fn check_in_context(block: Block, final_at: FinalAt) -> Result<Entry, RejectReason> {
    if !block.txdata.iter().all(|tx| final_at.admits(tx)) {
        return Err(RejectReason::BadTxnsNonfinal);
    }
    let coinbase = block.coinbase().ok_or(RejectReason::BadCbMissing)?;
    let height_push = Builder::new()
        .push_int(i64::from(final_at.height))
        .into_script();
    if !coinbase.input.first().is_some_and(|input| {
        input
            .script_sig
            .as_bytes()
            .starts_with(height_push.as_bytes())
    }) {
        return Err(RejectReason::BadCbHeight);
    }
    check_witness(&block, coinbase)?;
    if block.weight().to_wu() > u64::from(MAX_BLOCK_WEIGHT_WU) {
        return Err(RejectReason::BadBlkWeight);
    }
    let coinbase_sats = check_outputs(coinbase)?;
    let wtxids = block
        .txdata
        .iter()
        .skip(1)
        .map(|tx| tx.compute_wtxid().to_byte_array())
        .collect();
    let coinbase = coinbase.clone();
    Ok(Entry {
        header: block.header,
        height: final_at.height,
        coinbase,
        coinbase_sats,
        wtxids,
        mined: Vec::new(),
    })
}

/// BIP141: the last output that looks like a commitment is the commitment.
fn check_witness(block: &Block, coinbase: &Transaction) -> Result<(), RejectReason> {
    const COMMITMENT_HEADER: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    const COMMITMENT_LEN: usize = 38;
    let mut scripts = coinbase
        .output
        .iter()
        .rev()
        .map(|output| output.script_pubkey.as_bytes());
    let found = scripts
        .find(|script| script.len() >= COMMITMENT_LEN && script.starts_with(&COMMITMENT_HEADER));
    let Some(committed) =
        found.and_then(|script| script.get(COMMITMENT_HEADER.len()..COMMITMENT_LEN))
    else {
        let has_witness = block
            .txdata
            .iter()
            .any(|tx| tx.input.iter().any(|input| !input.witness.is_empty()));
        return if has_witness {
            Err(RejectReason::UnexpectedWitness)
        } else {
            Ok(())
        };
    };
    let witness = coinbase.input.first().map(|input| &input.witness);
    let reserved = witness
        .filter(|witness| witness.len() == 1)
        .and_then(|witness| witness.nth(0));
    let reserved = reserved
        .filter(|item| item.len() == 32)
        .ok_or(RejectReason::BadWitnessNonceSize)?;
    let root = block
        .witness_root()
        .ok_or(RejectReason::BadWitnessMerkleMatch)?;
    if Block::compute_witness_commitment(&root, reserved).to_byte_array() == committed {
        Ok(())
    } else {
        Err(RejectReason::BadWitnessMerkleMatch)
    }
}
