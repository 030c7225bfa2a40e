//! Jobs: one immutable value per template and payout, shared by every channel that mines it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mining_sv2::SetCustomMiningJob;
use template_distribution_sv2::{NewTemplate, SetNewPrevHash};

use crate::channels::client::Work;
use crate::clock::Instant;
use crate::coinbase::{Coinbase, CoinbaseError, CoinbaseTemplate, CustomCoinbase};
use crate::merkle::root_from_path;
use crate::target::{NbitsError, Target};

#[cfg(feature = "server")]
mod factory;

#[cfg(feature = "server")]
pub use factory::{JobFactory, Payout};

/// The block to build on, as the last `SetNewPrevHash` (or a custom job) names it. Shared by all jobs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// Hash of the block to build on, 32 raw bytes.
    pub prev_hash: [u8; 32],
    /// Compact form of the network target, as it goes into headers.
    pub nbits: u32,
    /// Earliest ntime allowed, in Unix seconds.
    pub min_ntime: u32,
    /// A hash that does not exceed this is a block.
    pub network_target: Target,
    /// When the tip became known.
    pub received_at: Instant,
}

impl ChainTip {
    /// Whether both are built on the same block, whenever they were told: a header on one may be on the other too.
    pub fn is_same_block(&self, other: &Self) -> bool {
        (self.prev_hash, self.nbits) == (other.prev_hash, other.nbits)
    }

    /// The tip with the network target that `nbits` stands for.
    ///
    /// # Errors
    /// `nbits` that consensus refuses.
    pub fn new(
        prev_hash: [u8; 32],
        nbits: u32,
        min_ntime: u32,
        received_at: Instant,
    ) -> Result<Self, NbitsError> {
        let network_target = Target::from_nbits(nbits)?;
        Ok(Self {
            prev_hash,
            nbits,
            min_ntime,
            network_target,
            received_at,
        })
    }

    /// The tip that a template provider announces.
    ///
    /// What counts as a block follows from nBits, as consensus has it; the message's own target is not used.
    ///
    /// # Errors
    /// `nbits` that consensus refuses.
    pub fn from_template_provider(
        message: &SetNewPrevHash,
        received_at: Instant,
    ) -> Result<Self, NbitsError> {
        Self::new(
            message.prev_hash.0,
            message.nbits,
            message.header_timestamp,
            received_at,
        )
    }
}

/// What a block template says, borrowed from the message (7.2); jobs share its path.
#[derive(Clone, Debug)]
pub struct JobTemplate<'a> {
    /// The template's number, named again when a solution is submitted.
    pub template_id: u64,
    /// Block version to start from.
    pub version: u32,
    /// The coinbase's fields.
    pub coinbase: CoinbaseTemplate<'a>,
    /// Path from the coinbase to the root, deepest first.
    pub merkle_path: Arc<[[u8; 32]]>,
}

impl<'a> From<&'a NewTemplate<'_>> for JobTemplate<'a> {
    fn from(message: &'a NewTemplate<'_>) -> Self {
        Self {
            template_id: message.template_id,
            version: message.version,
            coinbase: CoinbaseTemplate {
                tx_version: message.coinbase_tx_version,
                script_sig_prefix: message.coinbase_prefix.as_bytes(),
                input_sequence: message.coinbase_tx_input_sequence,
                value_remaining_sats: message.coinbase_tx_value_remaining,
                outputs_count: message.coinbase_tx_outputs_count,
                outputs: message.coinbase_tx_outputs.as_bytes(),
                locktime: message.coinbase_tx_locktime,
            },
            merkle_path: message.merkle_path.iter().map(|node| node.0).collect(),
        }
    }
}

/// Where a job comes from.
#[derive(Clone, Debug)]
enum Origin {
    Template(u64),
    Custom,
    Upstream(Arc<RelayedWork>),
}

/// What the merkle root of a job's header comes from.
#[derive(Clone, Debug)]
enum RootSource {
    Coinbase {
        coinbase: Coinbase,
        merkle_path: Arc<[[u8; 32]]>,
    },
    Fixed([u8; 32]),
}

/// What an upstream's channel mines, for a proxy that hands it on: shares of the job made of it go there.
#[derive(Clone, Debug)]
pub struct RelayedWork {
    work: Work,
    source: u64,
    zeros: usize,
}

impl RelayedWork {
    /// As the upstream gave it.
    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// The owner's number of the connection that it came on.
    pub const fn source(&self) -> u64 {
        self.source
    }

    /// The upstream channel's part of the extranonce for a share of ours, whose own is `prefix` and then `extranonce`.
    pub fn extranonce(&self, prefix: &[u8], extranonce: &[u8]) -> Vec<u8> {
        let mut own = Vec::new();
        if self.work.extranonce_size() > 0 {
            own.resize(self.zeros, 0);
            own.extend_from_slice(prefix);
            own.extend_from_slice(extranonce);
        }
        own
    }
}

/// Work that cannot be handed on: its channel has fewer bytes of extranonce than miners were promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream grants {available} bytes of extranonce, {shown} are needed")]
pub struct ExtranonceTooShort {
    /// Bytes there are.
    pub available: usize,
    /// Bytes that miners see.
    pub shown: usize,
}

/// What a miner works on: immutable, made once, shared as `Arc` by standard and extended channels alike.
///
/// What differs by channel stays with the channel: job id, target, extranonce prefix, and the tip it is mined on.
#[derive(Clone, Debug)]
pub struct Job {
    origin: Origin,
    version: u32,
    version_rolling_allowed: bool,
    root: RootSource,
}

impl Job {
    /// A job from parts made elsewhere; `template_id` is `None` for custom jobs and for jobs from an upstream.
    pub fn new(
        template_id: Option<u64>,
        version: u32,
        version_rolling_allowed: bool,
        merkle_path: impl Into<Arc<[[u8; 32]]>>,
        coinbase: Coinbase,
    ) -> Self {
        Self {
            origin: template_id.map_or(Origin::Custom, Origin::Template),
            version,
            version_rolling_allowed,
            root: RootSource::Coinbase {
                coinbase,
                merkle_path: merkle_path.into(),
            },
        }
    }

    /// A job that hands on what an upstream's channel mines. `source` is the owner's number of the connection.
    ///
    /// Miners see the last `shown` bytes of the channel's extranonce. What stands before, the upstream's prefix and
    /// zeros, is part of the coinbase: neither another prefix nor another upstream needs a word to the miner. Of a
    /// standard channel the merkle root is handed on as it is, and there is no coinbase.
    ///
    /// # Errors
    /// The channel has fewer than `shown` bytes of extranonce.
    pub fn relayed(work: Work, source: u64, shown: usize) -> Result<Self, ExtranonceTooShort> {
        let available = work.extranonce_size();
        let short = ExtranonceTooShort { available, shown };
        let (root, zeros) = match work.job() {
            Some(job) => {
                let zeros = available.checked_sub(shown).ok_or(short)?;
                let root = job.hiding(work.extranonce_prefix(), zeros);
                (root.ok_or(short)?, zeros)
            }
            None => (
                RootSource::Fixed(work.merkle_root(&[]).unwrap_or_default()),
                0,
            ),
        };
        Ok(Self {
            version: work.version(),
            version_rolling_allowed: work.version_mask() != 0,
            root,
            origin: Origin::Upstream(Arc::new(RelayedWork {
                work,
                source,
                zeros,
            })),
        })
    }

    /// The root with the first bytes of the extranonce, `prefix` and then zeros, as part of the coinbase.
    fn hiding(&self, prefix: &[u8], zeros: usize) -> Option<RootSource> {
        let RootSource::Coinbase {
            coinbase,
            merkle_path,
        } = &self.root
        else {
            return None;
        };
        let shown = coinbase
            .full_extranonce_size()
            .checked_sub(prefix.len() + zeros)?;
        let mut head = [coinbase.prefix(), prefix].concat();
        head.resize(head.len() + zeros, 0);
        let coinbase = Coinbase::from_stripped_parts(&head, coinbase.suffix(), shown).ok()?;
        Some(RootSource::Coinbase {
            coinbase,
            merkle_path: merkle_path.clone(),
        })
    }

    /// A job that a client chose itself; its miner may roll the version.
    ///
    /// # Errors
    /// A coinbase that cannot be built.
    pub fn from_custom(
        message: &SetCustomMiningJob<'_>,
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        let fields = CustomCoinbase {
            tx_version: message.coinbase_tx_version,
            script_sig_prefix: message.coinbase_prefix.as_bytes(),
            input_sequence: message.coinbase_tx_input_n_sequence,
            outputs: message.coinbase_tx_outputs.as_bytes(),
            locktime: message.coinbase_tx_locktime,
        };
        let coinbase = Coinbase::from_custom(&fields, full_extranonce_size)?;
        let path: Vec<_> = message.merkle_path.iter().map(|node| node.0).collect();
        Ok(Self::new(None, message.version, true, path, coinbase))
    }

    /// The template it was made from, which a block solution names; `None` for custom jobs and jobs from an upstream.
    pub const fn template_id(&self) -> Option<u64> {
        match self.origin {
            Origin::Template(id) => Some(id),
            Origin::Custom | Origin::Upstream(_) => None,
        }
    }

    /// The upstream's work that it hands on; `None` where it was made here.
    pub const fn relayed_work(&self) -> Option<&Arc<RelayedWork>> {
        match &self.origin {
            Origin::Upstream(relayed) => Some(relayed),
            Origin::Template(_) | Origin::Custom => None,
        }
    }

    /// Block version to start from.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Whether an extended channel may change the bits of BIP323.
    pub const fn version_rolling_allowed(&self) -> bool {
        self.version_rolling_allowed
    }

    /// Path from the coinbase to the root, deepest first, 32 raw bytes each; empty where the root came ready.
    pub fn merkle_path(&self) -> &[[u8; 32]] {
        match &self.root {
            RootSource::Coinbase { merkle_path, .. } => merkle_path,
            RootSource::Fixed(_) => &[],
        }
    }

    /// The coinbase without its extranonce; `None` where the root came ready, of an upstream's standard channel.
    pub const fn coinbase(&self) -> Option<&Coinbase> {
        match &self.root {
            RootSource::Coinbase { coinbase, .. } => Some(coinbase),
            RootSource::Fixed(_) => None,
        }
    }

    /// Bytes of the extranonce, the server's prefix included; 0 where the root came ready.
    pub const fn full_extranonce_size(&self) -> usize {
        match &self.root {
            RootSource::Coinbase { coinbase, .. } => coinbase.full_extranonce_size(),
            RootSource::Fixed(_) => 0,
        }
    }

    /// The merkle root for an extranonce in two parts; a standard channel has no second part.
    ///
    /// `None` when the parts together have not [`Self::full_extranonce_size`] bytes. Where the root came ready, it is that
    /// one whatever the prefix, and `None` for any second part.
    #[inline]
    pub fn merkle_root(&self, extranonce_prefix: &[u8], extranonce: &[u8]) -> Option<[u8; 32]> {
        match &self.root {
            RootSource::Coinbase {
                coinbase,
                merkle_path,
            } => {
                let txid = coinbase.txid(extranonce_prefix, extranonce)?;
                Some(root_from_path(&txid, merkle_path))
            }
            RootSource::Fixed(root) => extranonce.is_empty().then_some(*root),
        }
    }
}
