//! Jobs and shares of one protocol in the words of the other.

use std::fmt;
use std::str::FromStr;

use const_sv2::MAX_WORKER_IDENTITY_LEN;
use mining_sv2::{NewExtendedMiningJob, SetNewPrevHash, SubmitSharesExtended};
use roles_logic_sv2::channels::client::Work;
use roles_logic_sv2::header::{VERSION_ROLLING_MASK, rolled_version};
use roles_logic_sv2::merkle::sha256d;
use sv1_api::client_message::Submit;
use sv1_api::server_message::Notify;

pub use sv1_api::server_message::swap_words;

/// Why a share cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The extranonce is longer than 32 bytes.
    #[error("the extranonce is longer than 32 bytes")]
    ExtranonceTooLong,
    /// The job's coinbase is not known: it is of a standard channel.
    #[error("the work is of a standard channel")]
    NoCoinbase,
    /// The text is no name that a job was given.
    #[error("not the name of a job")]
    BadJobName,
    /// The channel leaves its miners fewer extranonce bytes than they are to be shown.
    #[error("the channel has {available} bytes of extranonce, {shown} are to be the miners'")]
    ExtranonceTooShort {
        /// Bytes that the channel has.
        available: usize,
        /// Bytes that miners are to be shown.
        shown: usize,
    },
}

/// How a job of a channel is called in Sv1: `7`, and `7-1` when the same job is sent a second time.
///
/// A miner that gets a job again would mine the same headers again, or ignore it: a copy has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobName {
    /// The job: the channel's number for it, or one that its owner gives.
    pub job_id: u32,
    /// How often it was sent before.
    pub copy: u32,
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.copy {
            0 => write!(f, "{}", self.job_id),
            copy => write!(f, "{}-{copy}", self.job_id),
        }
    }
}

impl FromStr for JobName {
    type Err = MappingError;

    /// A job has one name: shares of another spelling would not be seen as duplicates.
    fn from_str(name: &str) -> Result<Self, MappingError> {
        let (job_id, copy) = name.split_once('-').unwrap_or((name, "0"));
        let parsed = Self {
            job_id: canonical(job_id)?,
            copy: canonical(copy)?,
        };
        if parsed.copy == 0 && name.contains('-') {
            return Err(MappingError::BadJobName);
        }
        Ok(parsed)
    }
}

/// A number without a sign, and without zeros in front.
fn canonical(digits: &str) -> Result<u32, MappingError> {
    let is_zero = digits == "0";
    match digits.parse() {
        Ok(number) if is_zero || digits.starts_with(|first| matches!(first, '1'..='9')) => {
            Ok(number)
        }
        _ => Err(MappingError::BadJobName),
    }
}

/// The job of an extended channel as `mining.notify`, on the block that `prev_hash` names.
///
/// The block time to start from is the job's own where it has one.
pub fn notify(
    job: &NewExtendedMiningJob<'_>,
    prev_hash: &SetNewPrevHash,
    clean_jobs: bool,
) -> Notify {
    Notify {
        job_id: job.job_id.to_string(),
        prev_hash: prev_hash.prev_hash.0,
        coinbase_prefix: job.coinbase_tx_prefix.as_bytes().to_vec(),
        coinbase_suffix: job.coinbase_tx_suffix.as_bytes().to_vec(),
        merkle_path: job.merkle_path.iter().map(|node| node.0).collect(),
        version: job.version,
        nbits: prev_hash.nbits,
        ntime: job.min_ntime.unwrap_or(prev_hash.min_ntime),
        clean_jobs,
    }
}

/// What an extended channel mines as `mining.notify`, with the block time given.
///
/// `hidden` are the first bytes of the extranonce that stand in the coinbase and are not shown as extranonce.
///
/// # Errors
/// Work of a standard channel, whose coinbase is not known.
pub fn notify_of_work(
    work: &Work,
    hidden: &[u8],
    name: JobName,
    ntime: u32,
) -> Result<Notify, MappingError> {
    let job = work.job().ok_or(MappingError::NoCoinbase)?;
    let coinbase = job.coinbase().ok_or(MappingError::NoCoinbase)?;
    Ok(Notify {
        job_id: name.to_string(),
        prev_hash: work.tip().prev_hash,
        coinbase_prefix: [coinbase.prefix(), hidden].concat(),
        coinbase_suffix: coinbase.suffix().to_vec(),
        merkle_path: job.merkle_path().to_vec(),
        version: work.version(),
        nbits: work.tip().nbits,
        ntime,
        clean_jobs: false,
    })
}

/// What a share's submission says beside what the miner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareTerms<'a> {
    /// Channel of the upstream connection.
    pub channel_id: u32,
    /// Tells the submission from others of the channel.
    pub sequence_number: u32,
    /// The channel's job.
    pub job_id: u32,
    /// Version of the job.
    pub job_version: u32,
    /// Bits that the miner may roll; `None` without version rolling.
    pub version_mask: Option<u32>,
    /// The miner's own part of the channel's extranonce, in front of extranonce2; empty when the channel is its own.
    pub extranonce_part: &'a [u8],
}

/// A miner's share as one of an extended channel.
///
/// # Errors
/// An extranonce longer than 32 bytes.
pub fn share(
    submit: &Submit,
    terms: &ShareTerms<'_>,
) -> Result<SubmitSharesExtended<'static>, MappingError> {
    let extranonce = [terms.extranonce_part, &submit.extranonce2].concat();
    Ok(SubmitSharesExtended {
        channel_id: terms.channel_id,
        sequence_number: terms.sequence_number,
        job_id: terms.job_id,
        nonce: submit.nonce,
        ntime: submit.ntime,
        version: version(terms.job_version, terms.version_mask, submit.version_bits),
        extranonce: extranonce
            .try_into()
            .map_err(|_| MappingError::ExtranonceTooLong)?,
    })
}

/// The full version of a share: bits outside the mask are the job's, and so are all where the miner sent none.
pub const fn version(job_version: u32, mask: Option<u32>, version_bits: Option<u32>) -> u32 {
    match (mask, version_bits) {
        (Some(mask), Some(bits)) => rolled_version(job_version, mask, bits),
        _ => job_version,
    }
}

/// The version bits that a miner may roll: what the operator allows, within BIP323, where the channel's jobs allow it
/// at all; 0 for none. The miner's own wish narrows it further.
pub const fn version_mask(operator: u32, is_rolling_allowed: bool) -> u32 {
    if is_rolling_allowed {
        operator & VERSION_ROLLING_MASK
    } else {
        0
    }
}

/// A worker's name in the at most 32 bytes that the worker identity extension (0x0002) has for it.
///
/// Longer names keep their beginning, and a digest keeps them distinct.
pub fn worker_identity(name: &str) -> String {
    shortened(name, MAX_WORKER_IDENTITY_LEN)
}

/// A name in at most `max_len` bytes. Longer ones keep their beginning, and a digest of nine characters keeps them
/// distinct.
pub fn shortened(name: &str, max_len: usize) -> String {
    if name.len() <= max_len {
        return name.to_owned();
    }
    let digest = sha256d(name.as_bytes());
    let digest: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = max_len.saturating_sub(digest.len() + 1);
    let end = (0..=room).rev().find(|at| name.is_char_boundary(*at));
    let start = name.get(..end.unwrap_or(0)).unwrap_or_default();
    format!("{start}~{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn copies_of_a_job_have_names_of_their_own() {
        for (name, job_id, copy) in [("7", 7, 0), ("7-1", 7, 1), ("4294967295-12", u32::MAX, 12)] {
            let parsed = JobName { job_id, copy };
            assert_eq!(name.parse(), Ok(parsed));
            assert_eq!(parsed.to_string(), name);
        }
        for name in [
            "",
            "x",
            "07",
            "+7",
            "7-",
            "7-0",
            "7-01",
            "7-1-1",
            "4294967296",
        ] {
            assert_eq!(
                name.parse::<JobName>(),
                Err(MappingError::BadJobName),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_rolls_where_upstream_forbids_it() {
        assert_eq!(version_mask(0x1fff_e000, false), 0);
        assert_eq!(version_mask(u32::MAX, true), VERSION_ROLLING_MASK);
        assert_eq!(version(0x2000_0000, None, Some(u32::MAX)), 0x2000_0000);
        assert_eq!(version(0x2abc_0000, Some(0x1fff_e000), None), 0x2abc_0000);
    }

    #[test]
    fn long_worker_names_stay_distinct() {
        assert_eq!(worker_identity("alice.rig1"), "alice.rig1");
        let long = "b".repeat(40);
        let names: Vec<_> = ["x", "y", "é"]
            .iter()
            .map(|end| worker_identity(&format!("{long}{end}")))
            .collect();
        for name in &names {
            assert_eq!(name.len(), 32);
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(worker_identity(&"é".repeat(20)).len() <= 32);
    }

    proptest! {
        #[test]
        fn bits_outside_the_mask_are_the_jobs(job: u32, mask: u32, bits: u32) {
            let full = version(job, Some(mask), Some(bits));
            prop_assert_eq!(full & !mask, job & !mask);
            prop_assert_eq!(full & mask, bits & mask);
        }

        #[test]
        fn words_are_swapped_back(hash: [u8; 32]) {
            prop_assert_eq!(swap_words(swap_words(hash)), hash);
        }
    }
}
