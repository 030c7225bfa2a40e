//! What there is to hash.

use alloc::vec::Vec;

use mining_sv2::{NewExtendedMiningJob, NewMiningJob};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::ClientReject;
use roles_logic_sv2::coinbase::{CoinbaseError, CoinbaseHash};
use roles_logic_sv2::header::{Header, VERSION_ROLLING_MASK};
use roles_logic_sv2::merkle::root_from_path;
use roles_logic_sv2::target::Target;

use crate::miner::error::MinerError;

/// Longest extranonce prefix, and longest part of the client's own, in bytes.
pub(super) const MAX_EXTRANONCE_LEN: usize = binary_sv2::B032::MAX_LEN;

/// Why a message does not change what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It breaks the rules.
    Reject(ClientReject),
    /// The allocator refuses: the same message again does what this one did not.
    NoMemory,
}

impl From<ClientReject> for Trouble {
    fn from(reject: ClientReject) -> Self {
        Self::Reject(reject)
    }
}

/// First bytes of an extranonce.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefix {
    bytes: [u8; MAX_EXTRANONCE_LEN],
    len: u8,
}

impl Prefix {
    /// The prefix of a message; the type of its field bounds it.
    pub(super) fn new(from: &binary_sv2::B032<'_>) -> Self {
        let mut prefix = Self::default();
        let from = from.as_bytes();
        if let Some(bytes) = prefix.bytes.get_mut(..from.len()) {
            bytes.copy_from_slice(from);
            prefix.len = from.len() as u8;
        }
        prefix
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// What the merkle root comes from.
enum Root {
    /// It came with the job, or follows from the prefix alone.
    Fixed([u8; 32]),
    /// It follows from what the miner puts behind the prefix.
    Rolled {
        coinbase: CoinbaseHash,
        path: Vec<[u8; 32]>,
        prefix: Prefix,
        extranonce_size: usize,
    },
}

/// A job as it came, before it is known on which tip.
pub(super) struct Job {
    pub(super) id: u32,
    version: u32,
    version_mask: u32,
    root: Root,
}

/// What of a channel goes into its jobs.
pub(super) struct JobTerms {
    pub(super) kind: ChannelKind,
    pub(super) prefix: Prefix,
    pub(super) extranonce_size: usize,
}

impl Job {
    pub(super) const fn standard(message: &NewMiningJob) -> Self {
        Self {
            id: message.job_id,
            version: message.version,
            version_mask: VERSION_ROLLING_MASK,
            root: Root::Fixed(message.merkle_root.0),
        }
    }

    /// A standard channel works out its root from its prefix; an extended one keeps what it takes to do so.
    pub(super) fn extended(
        message: &NewExtendedMiningJob<'_>,
        terms: &JobTerms,
    ) -> Result<Self, Trouble> {
        let coinbase = CoinbaseHash::from_stripped_parts(
            message.coinbase_tx_prefix.as_bytes(),
            message.coinbase_tx_suffix.as_bytes(),
            terms.prefix.len() + terms.extranonce_size,
        )
        .map_err(|error| match error {
            CoinbaseError::NoMemory => Trouble::NoMemory,
            _ => ClientReject::BadCoinbase.into(),
        })?;
        let nodes = message.merkle_path.iter().map(|node| node.0);
        let root = match terms.kind {
            ChannelKind::Standard => {
                let txid = coinbase.txid(terms.prefix.as_bytes(), &[]);
                let txid = txid.ok_or(ClientReject::BadCoinbase)?;
                Root::Fixed(nodes.fold(txid, |hash, node| root_from_path(&hash, &[node])))
            }
            ChannelKind::Extended => {
                let mut path = Vec::new();
                path.try_reserve_exact(message.merkle_path.len())
                    .map_err(|_| Trouble::NoMemory)?;
                path.extend(nodes);
                Root::Rolled {
                    coinbase,
                    path,
                    prefix: terms.prefix,
                    extranonce_size: terms.extranonce_size,
                }
            }
        };
        Ok(Self {
            id: message.job_id,
            version: message.version,
            version_mask: if message.version_rolling_allowed {
                VERSION_ROLLING_MASK
            } else {
                0
            },
            root,
        })
    }

    /// The root for the miner's part of the extranonce.
    pub(super) fn merkle_root(&self, extranonce: &[u8]) -> Result<[u8; 32], MinerError> {
        match &self.root {
            Root::Fixed(root) if extranonce.is_empty() => Ok(*root),
            Root::Fixed(_) => Err(MinerError::BadExtranonceSize),
            Root::Rolled {
                coinbase,
                path,
                prefix,
                ..
            } => {
                let txid = coinbase.txid(prefix.as_bytes(), extranonce);
                let txid = txid.ok_or(MinerError::BadExtranonceSize)?;
                Ok(root_from_path(&txid, path))
            }
        }
    }

    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    pub(super) const fn version_mask(&self) -> u32 {
        self.version_mask
    }

    pub(super) const fn extranonce_size(&self) -> usize {
        match &self.root {
            Root::Fixed(_) => 0,
            Root::Rolled {
                extranonce_size, ..
            } => *extranonce_size,
        }
    }

    /// The root where the miner has nothing to choose.
    pub(super) const fn fixed_root(&self) -> Option<[u8; 32]> {
        match &self.root {
            Root::Fixed(root) => Some(*root),
            Root::Rolled { .. } => None,
        }
    }
}

/// Work as miners hold it: by value, and good for submitting until its tip is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) channel_id: u32,
    pub(crate) job_id: u32,
    /// Which tip of the channel, counted from its first.
    pub(crate) tip_number: u32,
    /// Which work of the channel, counted from its first.
    pub(crate) work_number: u32,
    pub(crate) version: u32,
    pub(crate) version_mask: u32,
    pub(crate) min_ntime: u32,
    pub(crate) max_ntime: u32,
    pub(crate) nbits: u32,
    pub(crate) prev_hash: [u8; 32],
    pub(crate) target: Target,
    pub(crate) extranonce_size: usize,
    /// `None` where it follows from the extranonce.
    pub(crate) merkle_root: Option<[u8; 32]>,
}

/// What a miner chose to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roll<'a> {
    pub(crate) version: u32,
    pub(crate) ntime: u32,
    pub(crate) nonce: u32,
    pub(crate) extranonce: &'a [u8],
}

impl Work {
    /// Whether the server could take it.
    pub(crate) const fn check(&self, roll: &Roll<'_>) -> Result<(), MinerError> {
        if roll.extranonce.len() != self.extranonce_size {
            return Err(MinerError::BadExtranonceSize);
        }
        if (roll.version ^ self.version) & !self.version_mask != 0 {
            return Err(MinerError::VersionNotAllowed);
        }
        if roll.ntime < self.min_ntime {
            return Err(MinerError::NtimeTooEarly);
        }
        Ok(())
    }

    /// The header around a merkle root.
    pub(crate) const fn header(&self, roll: &Roll<'_>, merkle_root: [u8; 32]) -> Header {
        Header {
            version: roll.version,
            prev_hash: self.prev_hash,
            merkle_root,
            ntime: roll.ntime,
            nbits: self.nbits,
            nonce: roll.nonce,
        }
    }
}
