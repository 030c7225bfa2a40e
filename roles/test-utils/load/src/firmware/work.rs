//! What a device hashes, built from bytes as firmware does it, without the server's code for jobs.

use mining_sv2::{NewExtendedMiningJob, NewMiningJob, SetNewPrevHash};
use roles_logic_sv2::header::{Header, rolled_version};
use roles_logic_sv2::merkle::{root_from_path, sha256d};
use roles_logic_sv2::target::Target;

/// Version bits that the chips of small devices roll, whatever a job says of it.
const ROLLED_BITS: u32 = 0x1fff_e000;

/// The lowest of them.
const ROLLED_SHIFT: u32 = ROLLED_BITS.trailing_zeros();

/// A job as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: u32,
    pub(super) version: u32,
    pub(super) root: RootSource,
}

/// What the merkle root comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootSource {
    /// It came with the job.
    Fixed([u8; 32]),
    /// It follows from the extranonce between the two parts.
    Coinbase {
        prefix: Vec<u8>,
        suffix: Vec<u8>,
        path: Vec<[u8; 32]>,
    },
}

impl Job {
    pub(super) const fn standard(message: &NewMiningJob) -> Self {
        Self {
            id: message.job_id,
            version: message.version,
            root: RootSource::Fixed(message.merkle_root.0),
        }
    }

    pub(super) fn extended(message: &NewExtendedMiningJob<'_>) -> Self {
        Self {
            id: message.job_id,
            version: message.version,
            root: RootSource::Coinbase {
                prefix: message.coinbase_tx_prefix.as_bytes().to_vec(),
                suffix: message.coinbase_tx_suffix.as_bytes().to_vec(),
                path: message.merkle_path.iter().map(|node| node.0).collect(),
            },
        }
    }
}

/// The extranonce that a channel was opened with.
#[derive(Clone, Debug, Default)]
pub(super) struct Extranonce {
    pub(super) prefix: Vec<u8>,
    pub(super) size: usize,
}

/// A job being mined.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) job: Job,
    /// Tips heard of when it was started.
    pub(super) tips: u64,
    pub(super) target: Target,
    prev_hash: [u8; 32],
    nbits: u32,
    ntime: u32,
    extranonce: Extranonce,
    /// The device's part of the extranonce, as a number.
    counter: u64,
    /// Runs on through all versions and extranonces, so that no share is found twice.
    nonce: u32,
}

/// A share that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) nonce: u32,
    pub(super) ntime: u32,
    pub(super) version: u32,
    pub(super) extranonce: Vec<u8>,
}

impl Work {
    pub(super) const fn new(
        job: Job,
        tip: &SetNewPrevHash,
        tips: u64,
        ntime: u32,
        target: Target,
        extranonce: Extranonce,
    ) -> Self {
        Self {
            job,
            tips,
            target,
            prev_hash: tip.prev_hash.0,
            nbits: tip.nbits,
            ntime,
            extranonce,
            counter: 0,
            nonce: 0,
        }
    }

    /// Whether the other one, of the same tip and channel, leads to the same headers.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let parts = |work: &Self| (work.job.version, work.ntime);
        parts(self) == parts(other) && self.job.root == other.job.root
    }

    /// Tries `hashes` nonces under the next version and extranonce. The header's time stays: chips do not roll it.
    pub(super) fn mine(&mut self, hashes: u32) -> Vec<Found> {
        let extranonce = extranonce_bytes(self.counter, self.extranonce.size);
        let version_bits = (self.counter as u32) << ROLLED_SHIFT;
        let mut header = Header {
            version: rolled_version(self.job.version, ROLLED_BITS, version_bits),
            prev_hash: self.prev_hash,
            merkle_root: self.merkle_root(&extranonce),
            ntime: self.ntime,
            nbits: self.nbits,
            nonce: self.nonce,
        };
        self.counter = self.counter.wrapping_add(1);
        let mut found = Vec::new();
        for _ in 0..hashes {
            header.nonce = self.nonce;
            self.nonce = self.nonce.wrapping_add(1);
            if self.target.is_met_by(&header.hash()) {
                found.push(Found {
                    nonce: header.nonce,
                    ntime: header.ntime,
                    version: header.version,
                    extranonce: extranonce.clone(),
                });
            }
        }
        found
    }

    fn merkle_root(&self, extranonce: &[u8]) -> [u8; 32] {
        match &self.job.root {
            RootSource::Fixed(root) => *root,
            RootSource::Coinbase {
                prefix,
                suffix,
                path,
            } => {
                let coinbase = [prefix, &self.extranonce.prefix, extranonce, suffix].concat();
                root_from_path(&sha256d(&coinbase), path)
            }
        }
    }
}

/// The last bytes of the number, big-endian.
fn extranonce_bytes(counter: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let digits = counter.to_be_bytes();
    for (byte, digit) in bytes.iter_mut().rev().zip(digits.iter().rev()) {
        *byte = *digit;
    }
    bytes
}
