//! Hashing with the peer's Bitcoin types.

use sri::bitcoin::block::{Header, Version};
use sri::bitcoin::hashes::Hash as _;
use sri::bitcoin::{BlockHash, CompactTarget, Target, TxMerkleNode};
use sri::channels_sv2::chain_tip::ChainTip;

/// What a header is made of, but for the nonce.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Version with rolled bits.
    pub version: u32,
    /// Merkle root as hashed.
    pub merkle_root: [u8; 32],
    /// Time.
    pub ntime: u32,
}

impl Candidate {
    /// The first nonce whose hash satisfies `is_wanted`.
    pub fn nonce(&self, tip: &ChainTip, is_wanted: impl Fn(&Target) -> bool) -> u32 {
        let mut header = Header {
            version: Version::from_consensus(self.version.cast_signed()),
            prev_blockhash: BlockHash::from_byte_array(bytes32(tip.prev_hash().as_ref())),
            merkle_root: TxMerkleNode::from_byte_array(self.merkle_root),
            time: self.ntime,
            bits: CompactTarget::from_consensus(tip.nbits()),
            nonce: 0,
        };
        let wanted = (0..=u32::MAX).find(|nonce| {
            header.nonce = *nonce;
            is_wanted(&Target::from_le_bytes(header.block_hash().to_byte_array()))
        });
        wanted.expect("one of all nonces")
    }
}

/// The tip's target.
pub fn network_target(tip: &ChainTip) -> Target {
    Target::from_compact(CompactTarget::from_consensus(tip.nbits()))
}

/// Exactly 32 bytes.
pub fn bytes32(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("32 bytes")
}
