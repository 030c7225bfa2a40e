//! Block headers.

use crate::hash::hash_header;

/// Version bits that a miner may change freely (BIP323): 24 bits.
pub const VERSION_ROLLING_MASK: u32 = 0x1fff_ffe0;

/// The fields of a block header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Full version, rolled bits included.
    pub version: u32,
    /// Hash of the block before, 32 raw bytes.
    pub prev_hash: [u8; 32],
    /// Root over the transactions, 32 raw bytes.
    pub merkle_root: [u8; 32],
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Compact form of the network target.
    pub nbits: u32,
    /// What miners try first.
    pub nonce: u32,
}

impl Header {
    /// The 80 bytes that are hashed: integers little-endian, hashes raw (JB-7).
    #[inline]
    pub fn to_bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(&self.prev_hash);
        bytes[36..68].copy_from_slice(&self.merkle_root);
        bytes[68..72].copy_from_slice(&self.ntime.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.nbits.to_le_bytes());
        bytes[76..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// SHA-256d of the 80 bytes, 32 raw bytes: a little-endian integer to compare with targets.
    pub fn hash(&self) -> [u8; 32] {
        block_hash(&self.to_bytes())
    }
}

/// SHA-256d of a serialised header, 32 raw bytes: a little-endian integer to compare with targets.
#[inline]
pub fn block_hash(header: &[u8; 80]) -> [u8; 32] {
    hash_header(header)
}

/// The version that results from a job's version and the bits a miner chose under `mask` (Sv1's version rolling).
///
/// Bits outside the mask are taken from the job, whatever `version_bits` says there.
pub const fn rolled_version(job_version: u32, mask: u32, version_bits: u32) -> u32 {
    job_version & !mask | version_bits & mask
}

/// Whether two versions differ in nothing but the bits of [`VERSION_ROLLING_MASK`].
pub const fn differs_only_in_rollable_bits(job_version: u32, version: u32) -> bool {
    (job_version ^ version) & !VERSION_ROLLING_MASK == 0
}
