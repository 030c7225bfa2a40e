//! A job of either protocol, as whoever hashes sees it.

use std::sync::Arc;

use roles_logic_sv2::channels::client::{Found, Work};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::header::Header;
use roles_logic_sv2::target::Target;
use sv1_api::client::{self as sv1, ClientJob};

/// What is hashed: headers within the rules of the job. Immutable, cheap to clone.
#[derive(Clone, Debug)]
pub enum Task {
    /// Of a channel.
    Sv2 {
        /// The job.
        work: Work,
        /// Version bits that both the server and the job let us roll.
        version_mask: u32,
    },
    /// Of an Sv1 connection.
    Sv1 {
        /// The job.
        job: Arc<ClientJob>,
        /// When it came: its ntime goes on from there.
        received_at: Instant,
    },
}

impl Task {
    /// A job of a channel. Its version is rolled only where both the server and the job allow it.
    pub const fn sv2(work: Work, may_roll_version: bool) -> Self {
        let version_mask = if may_roll_version {
            work.version_mask()
        } else {
            0
        };
        Self::Sv2 { work, version_mask }
    }

    /// A job of an Sv1 connection, which came at `received_at`.
    pub const fn sv1(job: Arc<ClientJob>, received_at: Instant) -> Self {
        Self::Sv1 { job, received_at }
    }

    /// Version to start from.
    pub fn version(&self) -> u32 {
        match self {
            Self::Sv2 { work, .. } => work.version(),
            Self::Sv1 { job, .. } => job.notify().version,
        }
    }

    /// Version bits that may be rolled; 0 for none.
    pub fn version_mask(&self) -> u32 {
        match self {
            Self::Sv2 { version_mask, .. } => *version_mask,
            Self::Sv1 { job, .. } => job.version_mask(),
        }
    }

    /// Bytes of the extranonce that are ours; 0 for none.
    pub fn extranonce_size(&self) -> usize {
        match self {
            Self::Sv2 { work, .. } => work.extranonce_size(),
            Self::Sv1 { job, .. } => job.extranonce2_size(),
        }
    }

    /// Latest ntime that a share may have, in Unix seconds: one second more for each that has passed.
    pub fn max_ntime(&self, now: Now) -> u32 {
        match self {
            Self::Sv2 { work, .. } => work.max_ntime(now),
            Self::Sv1 { job, received_at } => {
                let elapsed_secs = (now.instant - *received_at).as_secs();
                let elapsed_secs = u32::try_from(elapsed_secs).unwrap_or(u32::MAX);
                job.notify().ntime.saturating_add(elapsed_secs)
            }
        }
    }

    /// The target that shares must not exceed.
    pub fn target(&self) -> &Target {
        match self {
            Self::Sv2 { work, .. } => work.target(),
            Self::Sv1 { job, .. } => job.target(),
        }
    }

    /// The header to hash; `None` when the extranonce has the wrong size.
    pub fn header(&self, found: &Found<'_>) -> Option<Header> {
        match self {
            Self::Sv2 { work, .. } => work.header(found),
            Self::Sv1 { job, .. } => {
                let fits = found.extranonce.len() == job.extranonce2_size();
                fits.then(|| job.header(&sv1_share(found)))
            }
        }
    }
}

/// A find in the words of Sv1.
pub(crate) const fn sv1_share<'a>(found: &Found<'a>) -> sv1::FoundShare<'a> {
    sv1::FoundShare {
        extranonce2: found.extranonce,
        ntime: found.ntime,
        nonce: found.nonce,
        version: found.version,
    }
}
