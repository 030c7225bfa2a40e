//! Proof of work on a CPU: double SHA-256 of block headers over ranges of nonces.
//!
//! The first 64 bytes of a header hold no nonce, so their compression (the midstate) is done once per [`Work`]. Of
//! the rest only the last word of the hash is computed for each nonce: it is the most significant one, so nearly
//! every nonce is refused by it. What passes is hashed again in full.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use stratum_mining_device::hasher::{Hasher, ScanEnd, Work};
//!
//! let header = [0; 80];
//! let easy_target = [0xff; 32];
//! let scan = Hasher::detect().scan(&Work::new(&header, &easy_target), 7..=9, &AtomicBool::new(false));
//! assert_eq!(scan.end, ScanEnd::Found(7));
//! ```

mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod sha_ni;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nonces hashed between two looks at the stop flag: well under a millisecond of work.
const BATCH: u32 = 4096;

/// A header to be mined, without its nonce, and the target to be met.
#[derive(Clone, Debug)]
pub struct Work {
    header: [u8; 80],
    target: [u8; 32],
    midstate: [u32; 8],
    tail: [u32; 3],
    /// The most significant 32 bits of the target.
    target_top: u32,
}

impl Work {
    /// Prepares a header (as serialised in a block, its nonce is ignored) for a target (256-bit integer, little-endian).
    pub fn new(header: &[u8; 80], target: &[u8; 32]) -> Self {
        let words = header.as_chunks::<4>().0;
        let block = std::array::from_fn(|index| u32::from_be_bytes(words[index]));
        Self {
            header: *header,
            target: *target,
            midstate: portable::compress(&portable::INITIAL, block),
            tail: std::array::from_fn(|index| u32::from_be_bytes(words[16 + index])),
            target_top: u32::from_le_bytes([target[28], target[29], target[30], target[31]]),
        }
    }

    /// The header with `nonce` in its last four bytes.
    pub fn header_with(&self, nonce: u32) -> [u8; 80] {
        let mut header = self.header;
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        header
    }

    /// Whether the hash of the header with `nonce` is not above the target.
    pub fn is_met_by(&self, nonce: u32) -> bool {
        let hash = double_sha256(&self.header_with(nonce));
        hash.iter().rev().le(self.target.iter().rev())
    }

    /// Whether a hash whose last SHA-256 word is this one can still be at or below the target.
    fn may_be_met(&self, last_word: u32) -> bool {
        last_word.swap_bytes() <= self.target_top
    }
}

/// What a [`Hasher::scan`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Why it ended.
    pub end: ScanEnd,
    /// Nonces tried.
    pub hashes: u64,
}

/// Why a [`Hasher::scan`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// This nonce meets the target, and none before it in the range does.
    Found(u32),
    /// No nonce of the range meets the target.
    Exhausted,
    /// The stop flag was raised.
    Stopped,
}

/// One way to hash, chosen for the CPU it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(Backend);

#[derive(Clone, Copy, Debug)]
enum Backend {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(sha_ni::ShaNi),
}

impl Hasher {
    /// The fastest hasher of this CPU.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(sha_ni) = sha_ni::ShaNi::detect() {
            return Self(Backend::ShaNi(sha_ni));
        }
        Self::portable()
    }

    /// The hasher that works on every CPU.
    pub fn portable() -> Self {
        Self(Backend::Portable)
    }

    /// What the hasher is built on, for people.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Backend::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Backend::ShaNi(_) => "SHA-NI",
        }
    }

    /// Tries the nonces in ascending order until one meets the target, the range ends or `stop` is raised.
    ///
    /// To go on after a find, scan again from the nonce behind it.
    pub fn scan(&self, work: &Work, nonces: RangeInclusive<u32>, stop: &AtomicBool) -> Scan {
        let (first, end) = (u64::from(*nonces.start()), u64::from(*nonces.end()) + 1);
        let mut next = first;
        while next < end {
            if stop.load(Ordering::Relaxed) {
                return Scan {
                    end: ScanEnd::Stopped,
                    hashes: next - first,
                };
            }
            // Both fit: `next` is below 2^32 here, and a batch is small.
            let (start, count) = (next as u32, (end - next).min(u64::from(BATCH)) as u32);
            let Some(offset) = self.first_candidate(work, start, count) else {
                next += u64::from(count);
                continue;
            };
            next += u64::from(offset) + 1;
            if work.is_met_by(start + offset) {
                return Scan {
                    end: ScanEnd::Found(start + offset),
                    hashes: next - first,
                };
            }
        }
        Scan {
            end: ScanEnd::Exhausted,
            hashes: end.saturating_sub(first),
        }
    }

    /// The lowest offset below `count` whose nonce passes the test of the last word.
    fn first_candidate(&self, work: &Work, start: u32, count: u32) -> Option<u32> {
        match self.0 {
            Backend::Portable => portable::first_candidate(work, start, count),
            #[cfg(target_arch = "x86_64")]
            Backend::ShaNi(sha_ni) => sha_ni.first_candidate(work, start, count),
        }
    }
}

/// SHA-256 of the SHA-256 of a block header: its hash, 32 raw bytes.
pub fn double_sha256(header: &[u8; 80]) -> [u8; 32] {
    let words = header.as_chunks::<4>().0;
    let word = |index: usize| u32::from_be_bytes(words[index]);
    let midstate = portable::compress(&portable::INITIAL, std::array::from_fn(word));
    let second_block = portable::header_tail_block([word(16), word(17), word(18)], word(19));
    let digest = portable::compress(&midstate, second_block);
    let hash = portable::compress(&portable::INITIAL, portable::digest_block(digest));
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(hash) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
