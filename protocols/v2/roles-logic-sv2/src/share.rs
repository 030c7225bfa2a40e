//! Judging shares: one validator for standard and extended channels.
//!
//! The channel finds the job; [`validate`] does the rest. Reasons are checked in this order, the first one counts:
//! unknown job ([`RejectReason::UnknownJob`], found by the channel), stale, extranonce size, ntime, version, target,
//! duplicate.
//!
//! Whatever the reason, a known job's share whose hash meets the network target is a block, and the verdict says so
//! once: consensus decides about blocks, the rules of the channel only about credit.

use crate::clock::Now;
use crate::duplicates::{DuplicateSet, Insertion};
use crate::header::{Header, VERSION_ROLLING_MASK, block_hash};
use crate::job::{ChainTip, Job};
use crate::target::{Difficulty, ShareTarget};

/// Seconds that a share's ntime may lie ahead of the clock: what consensus allows (MS-40, JB-17).
pub const DEFAULT_NTIME_WINDOW_SECS: u32 = 7_200;

/// What a miner submits, of either kind of channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// What the miner tried.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full version, rolled bits included.
    pub version: u32,
    /// The miner's part of the extranonce; empty on standard channels.
    pub extranonce: &'a [u8],
}

/// Where the merkle root of a share comes from.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// Standard channel: the root was sent with the job (32 raw bytes).
    Standard(&'a [u8; 32]),
    /// Extended channel: the root follows from the miner's part of the extranonce.
    Extended {
        /// The prefix that was in force when the job was sent.
        extranonce_prefix: &'a [u8],
    },
}

/// All that a share of a known job is judged by.
#[derive(Clone, Copy, Debug)]
pub struct ShareContext<'a> {
    /// The job that the share names.
    pub job: &'a Job,
    /// The tip that the job is mined on.
    pub tip: &'a ChainTip,
    /// Whether another tip has replaced that one, or `SetNewPrevHash` has ended the job.
    pub is_stale: bool,
    /// `min_ntime` of the job's own message, zero when it came as a future job.
    pub job_min_ntime: u32,
    /// The target in force for this job (MS-52).
    pub target: &'a ShareTarget,
    /// Where the merkle root comes from.
    pub root: Root<'a>,
}

/// Limits that the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareLimits {
    /// Seconds that ntime may lie ahead, inclusive; see [`ShareLimits::latest_ntime`].
    pub ntime_window_secs: u32,
}

impl Default for ShareLimits {
    fn default() -> Self {
        Self {
            ntime_window_secs: DEFAULT_NTIME_WINDOW_SECS,
        }
    }
}

impl ShareLimits {
    /// The latest ntime to accept, in Unix seconds, inclusive.
    ///
    /// The window counts from the tip's `min_ntime`, as deployed servers have it, or from now, whichever is later:
    /// now is what the wall clock says, and at least `min_ntime` plus the seconds since the tip came, so that a miner
    /// that rolls ntime once a second stays within the window however old the tip and however wrong the wall clock.
    pub fn latest_ntime(&self, tip: &ChainTip, now: Now) -> u64 {
        let elapsed_secs = (now.instant - tip.received_at).as_secs();
        let carried_on = u64::from(tip.min_ntime).saturating_add(elapsed_secs);
        carried_on
            .max(now.unix_secs)
            .saturating_add(u64::from(self.ntime_window_secs))
    }
}

/// Why a share earns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The channel is not open on this connection.
    #[error("no such channel on this connection")]
    UnknownChannel,
    /// The channel knows no such job, or no longer.
    #[error("no such job on this channel")]
    UnknownJob,
    /// The job builds on a block that is no longer the tip.
    #[error("the job is older than the chain tip")]
    Stale,
    /// The extranonce is not as long as the channel agreed on.
    #[error("the extranonce has the wrong size")]
    BadExtranonceSize,
    /// ntime is earlier than the tip or the job allows.
    #[error("ntime is before min_ntime")]
    NtimeTooEarly,
    /// ntime is too far ahead.
    #[error("ntime is too far in the future")]
    NtimeTooLate,
    /// The version was changed, and the job does not allow it.
    #[error("the job does not allow version rolling")]
    VersionRollingNotAllowed,
    /// A version bit was changed that BIP323 does not set aside.
    #[error("a version bit outside the rollable ones was changed")]
    NonRollableVersionBit,
    /// The hash exceeds the target.
    #[error("the hash does not meet the target")]
    DifficultyTooLow,
    /// The same header was credited before.
    #[error("the share was submitted before")]
    Duplicate,
    /// The channel's memory of shares is full until the next tip.
    #[error("too many shares on one tip to tell duplicates; the difficulty is too low")]
    TooManyShares,
    /// A field that an extension appended to the message is malformed.
    #[error("a field of an extension is malformed")]
    MalformedExtensionField,
}

impl RejectReason {
    /// All reasons, in the order of [`Self::index`].
    pub const ALL: [Self; 12] = [
        Self::UnknownChannel,
        Self::UnknownJob,
        Self::Stale,
        Self::BadExtranonceSize,
        Self::NtimeTooEarly,
        Self::NtimeTooLate,
        Self::VersionRollingNotAllowed,
        Self::NonRollableVersionBit,
        Self::DifficultyTooLow,
        Self::Duplicate,
        Self::TooManyShares,
        Self::MalformedExtensionField,
    ];

    /// Where this reason stands in [`Self::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The `error_code` of `SubmitShares.Error`, as deployed software writes it.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::UnknownChannel => "invalid-channel-id",
            Self::UnknownJob => "invalid-job-id",
            Self::Stale => "stale-share",
            Self::BadExtranonceSize => "bad-extranonce-size",
            Self::NtimeTooEarly
            | Self::NtimeTooLate
            | Self::TooManyShares
            | Self::MalformedExtensionField => "invalid-share",
            Self::VersionRollingNotAllowed => "version-rolling-not-allowed",
            Self::NonRollableVersionBit => "invalid-non-rollable-version-bit",
            Self::DifficultyTooLow => "difficulty-too-low",
            Self::Duplicate => "duplicate-share",
        }
    }
}

/// A share that earns its difficulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedShare {
    /// What it counts: the difficulty of the target in force, not of the hash; the network's for a block that meets
    /// only the network's target.
    pub difficulty: Difficulty,
    /// Block hash, 32 raw bytes.
    pub hash: [u8; 32],
}

/// A header that meets the network target. The coinbase comes from the job, see
/// [`Coinbase::for_block`](crate::coinbase::Coinbase::for_block).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSolution {
    /// The fields of the header, as `SubmitSolution` wants them.
    pub header: Header,
    /// Block hash, 32 raw bytes.
    pub hash: [u8; 32],
}

/// What a share is worth: credit or a reason, and apart from that perhaps a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Credit, or why there is none.
    pub outcome: Result<AcceptedShare, RejectReason>,
    /// Set when the share is a block, even when it earns no credit. Never twice for one header on one tip, unless the
    /// memory of shares is full: a block told twice costs nothing, one lost costs a reward.
    pub block: Option<BlockSolution>,
}

impl Verdict {
    /// No credit and no block: what a channel answers itself for unknown channels and jobs.
    pub const fn rejected(reason: RejectReason) -> Self {
        Self {
            outcome: Err(reason),
            block: None,
        }
    }
}

/// Judges a share of a known job, and remembers it in `seen` when it is credited or a block.
///
/// Allocates nothing but when `seen` grows. `seen` belongs to the channel; the channel clears it on a new tip.
pub fn validate(
    context: &ShareContext<'_>,
    share: &Share<'_>,
    limits: &ShareLimits,
    seen: &mut DuplicateSet,
    now: Now,
) -> Verdict {
    let Some(merkle_root) = merkle_root(context, share) else {
        let reason = if context.is_stale {
            RejectReason::Stale
        } else {
            RejectReason::BadExtranonceSize
        };
        return Verdict::rejected(reason);
    };
    let header = Header {
        version: share.version,
        prev_hash: context.tip.prev_hash,
        merkle_root,
        ntime: share.ntime,
        nbits: context.tip.nbits,
        nonce: share.nonce,
    };
    let hash = block_hash(&header.to_bytes());
    let is_block = context.tip.network_target.is_met_by(&hash);
    let judged =
        check_rules(context, share, limits, now).and_then(|()| credit(context, &hash, is_block));
    // Only what is credited or a block takes memory, so that worthless shares cannot fill it.
    let insertion = if judged.is_ok() || is_block {
        seen.insert(&hash)
    } else {
        Insertion::New
    };
    let outcome = judged.and_then(|difficulty| match insertion {
        Insertion::New => Ok(AcceptedShare { difficulty, hash }),
        Insertion::Duplicate => Err(RejectReason::Duplicate),
        Insertion::Full => Err(RejectReason::TooManyShares),
    });
    let block =
        (is_block && insertion != Insertion::Duplicate).then_some(BlockSolution { header, hash });
    Verdict { outcome, block }
}

#[inline]
fn merkle_root(context: &ShareContext<'_>, share: &Share<'_>) -> Option<[u8; 32]> {
    match context.root {
        Root::Standard(root) => share.extranonce.is_empty().then_some(*root),
        Root::Extended { extranonce_prefix } => {
            context.job.merkle_root(extranonce_prefix, share.extranonce)
        }
    }
}

fn check_rules(
    context: &ShareContext<'_>,
    share: &Share<'_>,
    limits: &ShareLimits,
    now: Now,
) -> Result<(), RejectReason> {
    if context.is_stale {
        return Err(RejectReason::Stale);
    }
    if share.ntime < context.tip.min_ntime.max(context.job_min_ntime) {
        return Err(RejectReason::NtimeTooEarly);
    }
    if u64::from(share.ntime) > limits.latest_ntime(context.tip, now) {
        return Err(RejectReason::NtimeTooLate);
    }
    let changed = share.version ^ context.job.version();
    // A server whose jobs forbid it says so at setup (REQUIRES_FIXED_VERSION), so standard channels know too.
    if changed != 0 && !context.job.version_rolling_allowed() {
        return Err(RejectReason::VersionRollingNotAllowed);
    }
    if changed & !VERSION_ROLLING_MASK != 0 {
        return Err(RejectReason::NonRollableVersionBit);
    }
    Ok(())
}

/// What the hash earns. A block earns something even where the channel's target is harder than the network's.
fn credit(
    context: &ShareContext<'_>,
    hash: &[u8; 32],
    is_block: bool,
) -> Result<Difficulty, RejectReason> {
    if context.target.target().is_met_by(hash) {
        Ok(context.target.difficulty())
    } else if is_block {
        Ok(context.tip.network_target.difficulty())
    } else {
        Err(RejectReason::DifficultyTooLow)
    }
}

#[cfg(test)]
mod tests;
