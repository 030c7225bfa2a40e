//! New tips: what their header says about the next block before the node has a template for it.

use std::collections::VecDeque;

use bitcoin::block::Header;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Network};
use roles_logic_sv2::block_template::BlockTemplate;
use serde::Deserialize;

/// Number of blocks whose times make the median time past.
pub const MEDIAN_TIME_BLOCKS: usize = 11;

/// Number of blocks between changes of the difficulty.
const RETARGET_BLOCKS: u32 = 2_016;

/// Subsidy of the first blocks, in satoshis.
const FIRST_SUBSIDY_SATS: u64 = 5_000_000_000;

/// The median of up to eleven block times, as consensus takes it.
pub fn median_time_secs(mut times: Vec<u32>) -> u32 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Subsidy of the block at `height`, in satoshis.
pub const fn subsidy_sats(chain: Network, height: u32) -> u64 {
    let interval = if matches!(chain, Network::Regtest) {
        150
    } else {
        210_000
    };
    match FIRST_SUBSIDY_SATS.checked_shr(height / interval) {
        Some(sats) => sats,
        None => 0,
    }
}

/// What the next block needs to know of the tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TipHeader {
    /// Block hash, 32 raw bytes.
    pub hash: [u8; 32],
    /// Height of the tip itself.
    pub height: u32,
    /// Its compact target.
    pub nbits: u32,
    /// Median time past of the tip and the ten blocks below, in Unix seconds.
    pub median_time_secs: u32,
}

/// A template without transactions on top of `tip`, or `None` where the header alone does not tell the next target:
/// at a change of difficulty, and on test networks that let blocks become easy.
///
/// `last` is the newest template of this node; version, limits and rules are taken from it.
pub fn provisional_template(
    chain: Network,
    tip: &TipHeader,
    last: &BlockTemplate,
    unix_secs: u64,
) -> Option<BlockTemplate> {
    let height = tip.height.checked_add(1)?;
    let nbits_may_change = match chain {
        Network::Regtest => false,
        Network::Testnet | Network::Testnet4 => true,
        _ => height.is_multiple_of(RETARGET_BLOCKS),
    };
    if nbits_may_change || last.prev_hash == tip.hash {
        return None;
    }
    let min_time_secs = tip.median_time_secs.checked_add(1)?;
    Some(BlockTemplate {
        height,
        version: last.version,
        prev_hash: tip.hash,
        nbits: tip.nbits,
        current_time_secs: u32::try_from(unix_secs).ok()?.max(min_time_secs),
        min_time_secs,
        subsidy_sats: subsidy_sats(chain, height),
        transactions: Vec::new(),
        segwit_active: last.segwit_active,
        weight_limit_wu: last.weight_limit_wu,
        sigops_limit: last.sigops_limit,
        is_provisional: true,
    })
}

/// The part of getblockheader's answer that is used.
#[derive(Clone, Debug, Deserialize)]
pub struct HeaderInfo {
    /// The block's hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
    /// Its time, in Unix seconds.
    pub time: u32,
    /// Its median time past, in Unix seconds.
    pub mediantime: u32,
    /// Its compact target, in hexadecimal.
    pub bits: String,
    /// One for the tip, minus one off the best chain.
    pub confirmations: i64,
    /// Its parent; the genesis block has none.
    pub previousblockhash: Option<BlockHash>,
}

impl HeaderInfo {
    /// The tip, when the block is one.
    pub fn as_tip(&self) -> Option<TipHeader> {
        let nbits = u32::from_str_radix(&self.bits, 16).ok()?;
        (self.confirmations == 1).then(|| TipHeader {
            hash: self.hash.to_byte_array(),
            height: self.height,
            nbits,
            median_time_secs: self.mediantime,
        })
    }
}

/// The newest blocks, so that a bare header can be placed without asking the node.
#[derive(Clone, Debug, Default)]
pub struct RecentHeaders {
    /// Hash, height and time, oldest first; at most [`MEDIAN_TIME_BLOCKS`], older ones fall out.
    blocks: VecDeque<([u8; 32], u32, u32)>,
}

impl RecentHeaders {
    /// Whether the block was seen.
    pub fn contains(&self, hash: &[u8; 32]) -> bool {
        self.blocks.iter().any(|(known, ..)| known == hash)
    }

    /// The newest block's hash.
    pub fn tip(&self) -> Option<[u8; 32]> {
        self.blocks.back().map(|(hash, ..)| *hash)
    }

    /// Notes a block; one that does not build on the newest starts the list anew.
    pub fn push(&mut self, hash: [u8; 32], height: u32, time_secs: u32, parent: Option<[u8; 32]>) {
        if self.tip() == Some(hash) {
            return;
        }
        if self.tip() != parent {
            self.blocks.clear();
        }
        self.blocks.push_back((hash, height, time_secs));
        if self.blocks.len() > MEDIAN_TIME_BLOCKS {
            self.blocks.pop_front();
        }
    }

    /// Places a header that builds on the newest block; `None` when it does not, or when too few blocks are known.
    pub fn place(&self, header: &Header) -> Option<TipHeader> {
        let (parent, height, _) = *self.blocks.back()?;
        let reaches_genesis = self
            .blocks
            .front()
            .is_some_and(|(_, height, _)| *height == 0);
        let is_enough = self.blocks.len() + 1 >= MEDIAN_TIME_BLOCKS || reaches_genesis;
        if header.prev_blockhash.to_byte_array() != parent || !is_enough {
            return None;
        }
        let older = self
            .blocks
            .iter()
            .rev()
            .take(MEDIAN_TIME_BLOCKS - 1)
            .map(|(_, _, time)| *time);
        Some(TipHeader {
            hash: header.block_hash().to_byte_array(),
            height: height.checked_add(1)?,
            nbits: header.bits.to_consensus(),
            median_time_secs: median_time_secs(older.chain([header.time]).collect()),
        })
    }
}
