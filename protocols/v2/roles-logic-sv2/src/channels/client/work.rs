//! What a miner hashes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::channels::ChannelKind;
use crate::channels::client::{ClientChannel, ClientReject};
use crate::clock::Now;
use crate::header::{Header, VERSION_ROLLING_MASK};
use crate::job::{ChainTip, Job};
use crate::target::Target;

/// What the header's merkle root comes from.
#[derive(Clone, Debug)]
enum RootSource {
    /// It came with the job, or follows from the prefix alone.
    Fixed([u8; 32]),
    /// It follows from what the miner puts behind the prefix.
    Rolled {
        job: Arc<Job>,
        extranonce_prefix: Vec<u8>,
        extranonce_size: usize,
    },
}

/// A job as it came, before it is known on which tip.
#[derive(Clone, Debug)]
pub(super) struct JobSlot {
    pub(super) job_id: u32,
    version: u32,
    version_mask: u32,
    root: RootSource,
}

impl JobSlot {
    pub(super) const fn standard(job_id: u32, version: u32, merkle_root: [u8; 32]) -> Self {
        Self {
            job_id,
            version,
            version_mask: VERSION_ROLLING_MASK,
            root: RootSource::Fixed(merkle_root),
        }
    }

    /// A standard channel works out its root from its prefix; an extended one keeps the job.
    pub(super) fn extended(
        job_id: u32,
        job: Arc<Job>,
        channel: &ClientChannel,
    ) -> Result<Self, ClientReject> {
        let prefix = channel.extranonce_prefix();
        let (version, may_roll) = (job.version(), job.version_rolling_allowed());
        let root = match channel.kind() {
            ChannelKind::Standard => {
                let root = job.merkle_root(prefix, &[]);
                RootSource::Fixed(root.ok_or(ClientReject::BadCoinbase)?)
            }
            ChannelKind::Extended => RootSource::Rolled {
                job,
                extranonce_prefix: prefix.to_vec(),
                extranonce_size: channel.extranonce_size(),
            },
        };
        Ok(Self {
            job_id,
            version,
            version_mask: if may_roll { VERSION_ROLLING_MASK } else { 0 },
            root,
        })
    }
}

/// An active job with all that a miner needs to hash it: immutable, cheap to clone.
#[derive(Clone, Debug)]
pub struct Work {
    channel_id: u32,
    slot: JobSlot,
    tip: Arc<ChainTip>,
    min_ntime: u32,
    target: Target,
}

/// What a miner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full version, rolled bits included.
    pub version: u32,
    /// The miner's part of the extranonce, [`Work::extranonce_size`] bytes.
    pub extranonce: &'a [u8],
}

impl Work {
    pub(super) const fn new(
        channel_id: u32,
        slot: JobSlot,
        tip: Arc<ChainTip>,
        min_ntime: u32,
        target: Target,
    ) -> Self {
        Self {
            channel_id,
            slot,
            tip,
            min_ntime,
            target,
        }
    }

    /// The channel that it belongs to.
    pub const fn channel_id(&self) -> u32 {
        self.channel_id
    }

    /// The job that it is.
    pub const fn job_id(&self) -> u32 {
        self.slot.job_id
    }

    /// Version to start from.
    pub const fn version(&self) -> u32 {
        self.slot.version
    }

    /// Version bits that may be changed; 0 where none may (MC-16).
    pub const fn version_mask(&self) -> u32 {
        self.slot.version_mask
    }

    /// ntime to start from, in Unix seconds (MC-14).
    pub fn min_ntime(&self) -> u32 {
        self.min_ntime.max(self.tip.min_ntime)
    }

    /// Latest ntime, in Unix seconds: one second more for each since the tip came (MC-10).
    pub fn max_ntime(&self, now: Now) -> u32 {
        let elapsed_secs = (now.instant - self.tip.received_at).as_secs();
        let elapsed_secs = u32::try_from(elapsed_secs).unwrap_or(u32::MAX);
        let carried_on = self.tip.min_ntime.saturating_add(elapsed_secs);
        carried_on.max(self.min_ntime())
    }

    /// The target in force; later changes are for later jobs.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The block to build on.
    pub const fn tip(&self) -> &Arc<ChainTip> {
        &self.tip
    }

    /// Extranonce bytes that the miner may choose; 0 when the root is fixed.
    pub const fn extranonce_size(&self) -> usize {
        match self.slot.root {
            RootSource::Fixed(_) => 0,
            RootSource::Rolled {
                extranonce_size, ..
            } => extranonce_size,
        }
    }

    /// The job with its coinbase, for those who hand it on; `None` when the root is fixed.
    pub const fn job(&self) -> Option<&Arc<Job>> {
        match &self.slot.root {
            RootSource::Fixed(_) => None,
            RootSource::Rolled { job, .. } => Some(job),
        }
    }

    /// First bytes of the extranonce, the server's; empty when the root is fixed.
    pub fn extranonce_prefix(&self) -> &[u8] {
        match &self.slot.root {
            RootSource::Fixed(_) => &[],
            RootSource::Rolled {
                extranonce_prefix, ..
            } => extranonce_prefix,
        }
    }

    /// The merkle root for the miner's part of the extranonce; `None` when it has the wrong size.
    pub fn merkle_root(&self, extranonce: &[u8]) -> Option<[u8; 32]> {
        match &self.slot.root {
            RootSource::Fixed(root) => extranonce.is_empty().then_some(*root),
            RootSource::Rolled {
                job,
                extranonce_prefix,
                ..
            } => job.merkle_root(extranonce_prefix, extranonce),
        }
    }

    /// The header to hash; `None` when the extranonce has the wrong size.
    pub fn header(&self, found: &Found<'_>) -> Option<Header> {
        Some(Header {
            version: found.version,
            prev_hash: self.tip.prev_hash,
            merkle_root: self.merkle_root(found.extranonce)?,
            ntime: found.ntime,
            nbits: self.tip.nbits,
            nonce: found.nonce,
        })
    }
}
