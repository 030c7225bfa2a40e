//! What an Sv1 miner hashes.

use roles_logic_sv2::header::Header;
use roles_logic_sv2::merkle::{root_from_path, sha256d};
use roles_logic_sv2::target::Target;

use crate::difficulty::Difficulty;
use crate::server_message::{Notify, SetExtranonce};

/// A job with all that is hashed: immutable, whatever the server changes afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientJob {
    notify: Notify,
    extranonce: SetExtranonce,
    difficulty: Difficulty,
    target: Target,
    version_mask: u32,
    generation: u64,
}

/// What a miner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundShare<'a> {
    /// The miner's part of the extranonce.
    pub extranonce2: &'a [u8],
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Nonce of the header.
    pub nonce: u32,
    /// Full version, rolled bits included.
    pub version: u32,
}

impl ClientJob {
    pub(super) fn new(
        notify: Notify,
        extranonce: SetExtranonce,
        difficulty: Difficulty,
        version_mask: u32,
        generation: u64,
    ) -> Self {
        Self {
            notify,
            extranonce,
            difficulty,
            target: difficulty.target(),
            version_mask,
            generation,
        }
    }

    /// What the server sent.
    pub const fn notify(&self) -> &Notify {
        &self.notify
    }

    /// Bytes of the extranonce that the miner rolls.
    pub const fn extranonce2_size(&self) -> usize {
        self.extranonce.extranonce2_size
    }

    /// The difficulty that its shares must have.
    pub const fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// The target that its shares must not exceed.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Version bits that may be rolled; 0 for none.
    pub const fn version_mask(&self) -> u32 {
        self.version_mask
    }

    pub(super) fn with_version_mask(&self, version_mask: u32) -> Self {
        Self {
            version_mask,
            ..self.clone()
        }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The coinbase transaction, without BIP141 fields.
    pub fn coinbase(&self, extranonce2: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 4] = [
            &self.notify.coinbase_prefix,
            &self.extranonce.extranonce1,
            extranonce2,
            &self.notify.coinbase_suffix,
        ];
        parts.concat()
    }

    /// The merkle root, 32 raw bytes.
    pub fn merkle_root(&self, extranonce2: &[u8]) -> [u8; 32] {
        root_from_path(
            &sha256d(&self.coinbase(extranonce2)),
            &self.notify.merkle_path,
        )
    }

    /// The header to hash.
    pub fn header(&self, share: &FoundShare<'_>) -> Header {
        Header {
            version: share.version,
            prev_hash: self.notify.prev_hash,
            merkle_root: self.merkle_root(share.extranonce2),
            ntime: share.ntime,
            nbits: self.notify.nbits,
            nonce: share.nonce,
        }
    }
}
