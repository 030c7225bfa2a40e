//! Coinbase transactions with a hole for the extranonce.
//!
//! A [`Coinbase`] is built once per job. It gives out the two parts that miners get (stripped of BIP141 data), the
//! same with that data (for declarations), the txid for any extranonce, and the whole transaction for a block.
//!
//! scriptSig = template's `coinbase_prefix` || tag || push opcode || full extranonce (prefix and miner's part).

use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(feature = "server")]
use bitcoin::TxOut;

use crate::hash::{Block, INITIAL, Midstate, compress, second_hash};
use crate::merkle::WITNESS_RESERVED_VALUE;

/// Consensus limit on a coinbase's scriptSig, in bytes.
pub const MAX_SCRIPT_SIG_SIZE: usize = 100;

/// Consensus asks for at least this many bytes of scriptSig.
pub const MIN_SCRIPT_SIG_SIZE: usize = 2;

/// Largest extranonce, the server's prefix and the miner's part together: two fields of 32 bytes.
pub const MAX_FULL_EXTRANONCE_SIZE: usize = 64;

/// Largest prefix or suffix that a message holds (`B0_64K`).
pub const MAX_PART_SIZE: usize = 65_535;

/// Blocks of SHA-256 that the extranonce may touch: it starts in the first and has at most 64 bytes.
const MAX_HEAD_BLOCKS: usize = 2;

const SEGWIT_MARKER_AND_FLAG: [u8; 2] = [0, 1];
const WITNESS_COMMITMENT_SCRIPT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
const VERSION_SIZE: usize = 4;
const LOCKTIME_SIZE: usize = 4;
const SEQUENCE_SIZE: usize = 4;
const MAX_DIRECT_PUSH: usize = 75;
const OP_PUSHDATA1: u8 = 0x4c;

/// Why a coinbase cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoinbaseError {
    /// More than [`MAX_SCRIPT_SIG_SIZE`] bytes, or fewer than [`MIN_SCRIPT_SIG_SIZE`].
    #[error(
        "the scriptSig would have {size} bytes, allowed are 2 to 100; shorten the pool tag or the extranonce"
    )]
    ScriptSigSize {
        /// Bytes it would have, extranonce included.
        size: usize,
    },
    /// More than [`MAX_FULL_EXTRANONCE_SIZE`] bytes.
    #[error("an extranonce of {size} bytes is longer than the 64 that two fields hold")]
    ExtranonceSize {
        /// Bytes asked for.
        size: usize,
    },
    /// The payouts are not worth exactly what the template leaves to spend.
    #[error(
        "payouts of {actual_sats} sat do not match the {expected_sats} sat that the template leaves"
    )]
    OutputsTotal {
        /// The template's `coinbase_tx_value_remaining`.
        expected_sats: u64,
        /// Sum of the payouts, `u64::MAX` when it overflows.
        actual_sats: u64,
    },
    /// The encoded outputs are not exactly as many transaction outputs as announced.
    #[error("the encoded outputs are not exactly {count} transaction outputs")]
    MalformedOutputs {
        /// Outputs announced.
        count: u64,
    },
    /// A part longer than [`MAX_PART_SIZE`].
    #[error("a coinbase part of {size} bytes does not fit a message")]
    PartTooLong {
        /// Bytes of the longer part.
        size: usize,
    },
    /// A suffix too short to hold sequence, outputs and locktime, or a prefix without a scriptSig.
    #[error("the coinbase parts are truncated")]
    Truncated,
    /// Payout weights that add up to nothing.
    #[error("no payout has a weight above zero")]
    NoPayout,
    /// The allocator refuses.
    #[error("no memory for the coinbase")]
    NoMemory,
}

/// What a template says of the coinbase (7.2), borrowed from the message.
#[derive(Clone, Copy, Debug)]
pub struct CoinbaseTemplate<'a> {
    /// Transaction version.
    pub tx_version: u32,
    /// First bytes of the scriptSig (BIP34 height and what the node adds).
    pub script_sig_prefix: &'a [u8],
    /// Sequence number of the only input.
    pub input_sequence: u32,
    /// Satoshis that the payouts must be worth together.
    pub value_remaining_sats: u64,
    /// Number of outputs in `outputs`.
    pub outputs_count: u32,
    /// Outputs that come last and stay unchanged, concatenated, without a count.
    pub outputs: &'a [u8],
    /// Transaction lock time.
    pub locktime: u32,
}

/// What a custom job says of the coinbase (5.3.18), borrowed from the message.
#[derive(Clone, Copy, Debug)]
pub struct CustomCoinbase<'a> {
    /// Transaction version.
    pub tx_version: u32,
    /// All of the scriptSig before the extranonce (JB-15).
    pub script_sig_prefix: &'a [u8],
    /// Sequence number of the only input.
    pub input_sequence: u32,
    /// All outputs, preceded by their count as CompactSize.
    pub outputs: &'a [u8],
    /// Transaction lock time.
    pub locktime: u32,
}

/// A coinbase transaction without its extranonce, with SHA-256 worked out up to it.
#[derive(Clone, Debug)]
pub struct Coinbase {
    /// Prefix and suffix, stripped of BIP141 data, one behind the other.
    bytes: Box<[u8]>,
    prefix_len: usize,
    hash: CoinbaseHash,
}

/// SHA-256 of a coinbase without its extranonce, worked out up to it: all that is needed to mine.
///
/// It takes one piece of memory, of the suffix's length and at most 192 bytes more. That can be refused.
#[derive(Clone, Debug)]
pub struct CoinbaseHash {
    full_extranonce_size: usize,
    /// SHA-256 of all whole blocks before the extranonce.
    midstate: Midstate,
    /// Everything behind the midstate, padded, zeros in place of the extranonce.
    blocks: Vec<Block>,
    /// Where the extranonce goes in `blocks`.
    hole: usize,
}

impl CoinbaseHash {
    /// Takes the stripped parts of a `NewExtendedMiningJob` as they came.
    ///
    /// # Errors
    /// As [`Coinbase::from_stripped_parts`], and [`CoinbaseError::NoMemory`].
    pub fn from_stripped_parts(
        prefix: &[u8],
        suffix: &[u8],
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        if prefix.len() < VERSION_SIZE || suffix.len() < SEQUENCE_SIZE + 1 + LOCKTIME_SIZE {
            return Err(CoinbaseError::Truncated);
        }
        Self::new(prefix, suffix, full_extranonce_size)
    }

    fn new(
        prefix: &[u8],
        suffix: &[u8],
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        if full_extranonce_size > MAX_FULL_EXTRANONCE_SIZE {
            return Err(CoinbaseError::ExtranonceSize {
                size: full_extranonce_size,
            });
        }
        let longer = prefix.len().max(suffix.len());
        if longer > MAX_PART_SIZE {
            return Err(CoinbaseError::PartTooLong { size: longer });
        }
        let (hashed, rest) = prefix.as_chunks::<64>();
        let blocks = padded_blocks(rest, suffix, full_extranonce_size, hashed.len())?;
        let mut midstate = INITIAL;
        compress(&mut midstate, hashed);
        Ok(Self {
            full_extranonce_size,
            midstate,
            blocks,
            hole: rest.len(),
        })
    }

    /// Bytes that the extranonce has, the server's prefix included.
    pub const fn full_extranonce_size(&self) -> usize {
        self.full_extranonce_size
    }

    /// The txid for an extranonce given in two parts, 32 raw bytes.
    ///
    /// `None` when the parts together have not [`Self::full_extranonce_size`] bytes.
    #[inline]
    pub fn txid(&self, extranonce_prefix: &[u8], extranonce: &[u8]) -> Option<[u8; 32]> {
        if extranonce_prefix.len() + extranonce.len() != self.full_extranonce_size {
            return None;
        }
        let touched = (self.hole + self.full_extranonce_size).div_ceil(64);
        let mut head = [[0; 64]; MAX_HEAD_BLOCKS];
        let (copied, untouched) = self.blocks.split_at_checked(touched)?;
        head.get_mut(..touched)?.copy_from_slice(copied);
        let extranonce_at = self.hole + extranonce_prefix.len();
        let bytes = head.as_flattened_mut();
        bytes
            .get_mut(self.hole..extranonce_at)?
            .copy_from_slice(extranonce_prefix);
        bytes
            .get_mut(extranonce_at..extranonce_at + extranonce.len())?
            .copy_from_slice(extranonce);
        let mut state = self.midstate;
        compress(&mut state, head.get(..touched)?);
        compress(&mut state, untouched);
        Some(second_hash(&state))
    }
}

impl Coinbase {
    /// Builds the coinbase for a template: `payouts` first, then the template's own outputs.
    ///
    /// `tag` comes between the template's part of the scriptSig and the extranonce, see [`script_sig_tag`].
    ///
    /// # Errors
    /// A scriptSig or extranonce of forbidden size, malformed outputs, payouts that are not worth exactly
    /// `value_remaining_sats`.
    #[cfg(feature = "server")]
    pub fn from_template(
        template: &CoinbaseTemplate<'_>,
        payouts: &[TxOut],
        tag: &[u8],
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        let expected_sats = template.value_remaining_sats;
        let actual_sats = payouts
            .iter()
            .fold(0u64, |sum, out| sum.saturating_add(out.value.to_sat()));
        if actual_sats != expected_sats {
            return Err(CoinbaseError::OutputsTotal {
                expected_sats,
                actual_sats,
            });
        }
        check_outputs(template.outputs, u64::from(template.outputs_count))?;
        let payouts_size: usize = payouts.iter().map(|out| out.script_pubkey.len() + 17).sum();
        let size = 64 + MAX_SCRIPT_SIG_SIZE + payouts_size + template.outputs.len();
        let script_sig = [template.script_sig_prefix, tag];
        let mut bytes = Vec::with_capacity(size);
        write_input(
            &mut bytes,
            template.tx_version,
            script_sig,
            full_extranonce_size,
        )?;
        let prefix_len = bytes.len();
        bytes.extend_from_slice(&template.input_sequence.to_le_bytes());
        write_compact_size(
            &mut bytes,
            payouts.len() as u64 + u64::from(template.outputs_count),
        );
        for payout in payouts {
            bytes.extend_from_slice(&payout.value.to_sat().to_le_bytes());
            write_compact_size(&mut bytes, payout.script_pubkey.len() as u64);
            bytes.extend_from_slice(payout.script_pubkey.as_bytes());
        }
        bytes.extend_from_slice(template.outputs);
        bytes.extend_from_slice(&template.locktime.to_le_bytes());
        Self::from_bytes(bytes, prefix_len, full_extranonce_size)
    }

    /// Builds the coinbase of a custom job.
    ///
    /// # Errors
    /// A scriptSig or extranonce of forbidden size, malformed outputs.
    pub fn from_custom(
        custom: &CustomCoinbase<'_>,
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        let (count, outputs) = read_compact_size(custom.outputs)
            .ok_or(CoinbaseError::MalformedOutputs { count: 0 })?;
        check_outputs(outputs, count)?;
        let mut bytes = Vec::with_capacity(64 + MAX_SCRIPT_SIG_SIZE + custom.outputs.len());
        write_input(
            &mut bytes,
            custom.tx_version,
            [custom.script_sig_prefix, &[]],
            full_extranonce_size,
        )?;
        let prefix_len = bytes.len();
        bytes.extend_from_slice(&custom.input_sequence.to_le_bytes());
        bytes.extend_from_slice(custom.outputs);
        bytes.extend_from_slice(&custom.locktime.to_le_bytes());
        Self::from_bytes(bytes, prefix_len, full_extranonce_size)
    }

    /// Takes the stripped parts of a `NewExtendedMiningJob` as they came.
    ///
    /// The parts are hashed as they are: whether they form a transaction is the sender's business.
    ///
    /// # Errors
    /// An extranonce of more than [`MAX_FULL_EXTRANONCE_SIZE`] bytes, parts that fit no message or no coinbase.
    pub fn from_stripped_parts(
        prefix: &[u8],
        suffix: &[u8],
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        if prefix.len() < VERSION_SIZE || suffix.len() < SEQUENCE_SIZE + 1 + LOCKTIME_SIZE {
            return Err(CoinbaseError::Truncated);
        }
        let mut bytes = Vec::with_capacity(prefix.len() + suffix.len());
        bytes.extend_from_slice(prefix);
        bytes.extend_from_slice(suffix);
        Self::from_bytes(bytes, prefix.len(), full_extranonce_size)
    }

    fn from_bytes(
        bytes: Vec<u8>,
        prefix_len: usize,
        full_extranonce_size: usize,
    ) -> Result<Self, CoinbaseError> {
        let (prefix, suffix) = bytes.split_at(prefix_len);
        let hash = CoinbaseHash::new(prefix, suffix, full_extranonce_size)?;
        Ok(Self {
            bytes: bytes.into_boxed_slice(),
            prefix_len,
            hash,
        })
    }

    /// Everything before the extranonce, without BIP141 data: `coinbase_tx_prefix`.
    pub fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix_len]
    }

    /// Everything behind the extranonce, without BIP141 data: `coinbase_tx_suffix`.
    pub fn suffix(&self) -> &[u8] {
        &self.bytes[self.prefix_len..]
    }

    /// Bytes that the extranonce has, the server's prefix included.
    pub const fn full_extranonce_size(&self) -> usize {
        self.hash.full_extranonce_size
    }

    /// The prefix with BIP141's marker and flag, as declarations carry it.
    pub fn prefix_with_bip141(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix_len + SEGWIT_MARKER_AND_FLAG.len());
        self.write_prefix_with_bip141(&mut out);
        out
    }

    /// The suffix with BIP141's witness (one item, the reserved value), as declarations carry it.
    pub fn suffix_with_bip141(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.suffix().len() + 34);
        self.write_suffix_with_bip141(&mut out);
        out
    }

    /// The txid for an extranonce given in two parts, 32 raw bytes.
    ///
    /// `None` when the parts together have not [`Self::full_extranonce_size`] bytes.
    #[inline]
    pub fn txid(&self, extranonce_prefix: &[u8], extranonce: &[u8]) -> Option<[u8; 32]> {
        self.hash.txid(extranonce_prefix, extranonce)
    }

    /// The whole transaction as a block carries it: with a witness exactly when an output commits to witnesses.
    ///
    /// Consensus refuses a witness in a block that does not commit to it, and a commitment without one.
    pub fn for_block(&self, extranonce_prefix: &[u8], extranonce: &[u8]) -> Vec<u8> {
        if self.has_witness_commitment() {
            self.with_witness(extranonce_prefix, extranonce)
        } else {
            [self.prefix(), extranonce_prefix, extranonce, self.suffix()].concat()
        }
    }

    /// The whole transaction with BIP141 marker, flag and witness.
    pub fn with_witness(&self, extranonce_prefix: &[u8], extranonce: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.full_extranonce_size() + 36);
        self.write_prefix_with_bip141(&mut out);
        out.extend_from_slice(extranonce_prefix);
        out.extend_from_slice(extranonce);
        self.write_suffix_with_bip141(&mut out);
        out
    }

    /// Whether an output holds a BIP141 witness commitment.
    pub fn has_witness_commitment(&self) -> bool {
        let commitment = || {
            let (_, after_sequence) = self.suffix().split_at_checked(SEQUENCE_SIZE)?;
            let (count, mut rest) = read_compact_size(after_sequence)?;
            for _ in 0..count {
                let (script, after) = read_output(rest)?;
                if script.starts_with(&WITNESS_COMMITMENT_SCRIPT) {
                    return Some(());
                }
                rest = after;
            }
            None
        };
        commitment().is_some()
    }

    fn write_prefix_with_bip141(&self, out: &mut Vec<u8>) {
        let (version, rest) = self.prefix().split_at(VERSION_SIZE.min(self.prefix_len));
        out.extend_from_slice(version);
        out.extend_from_slice(&SEGWIT_MARKER_AND_FLAG);
        out.extend_from_slice(rest);
    }

    fn write_suffix_with_bip141(&self, out: &mut Vec<u8>) {
        let suffix = self.suffix();
        let (outputs, locktime) = suffix.split_at(suffix.len().saturating_sub(LOCKTIME_SIZE));
        out.extend_from_slice(outputs);
        out.extend_from_slice(&[1, WITNESS_RESERVED_VALUE.len() as u8]);
        out.extend_from_slice(&WITNESS_RESERVED_VALUE);
        out.extend_from_slice(locktime);
    }
}

/// The part of the scriptSig between a template's own bytes and the extranonce.
///
/// A push of `Sv2/<pool_tag>/<miner_tag>/`, as deployed software writes it, then the opcode that pushes the extranonce.
///
/// # Errors
/// An extranonce of more than [`MAX_FULL_EXTRANONCE_SIZE`] bytes; a tag that alone exceeds the scriptSig.
pub fn script_sig_tag(
    pool_tag: &str,
    miner_tag: &str,
    full_extranonce_size: usize,
) -> Result<Vec<u8>, CoinbaseError> {
    if full_extranonce_size > MAX_FULL_EXTRANONCE_SIZE {
        return Err(CoinbaseError::ExtranonceSize {
            size: full_extranonce_size,
        });
    }
    let text = ["Sv2/", pool_tag, "/", miner_tag, "/"].concat();
    if text.len() > MAX_SCRIPT_SIG_SIZE {
        return Err(CoinbaseError::ScriptSigSize {
            size: text.len() + full_extranonce_size,
        });
    }
    let mut tag = Vec::with_capacity(text.len() + 3);
    if text.len() > MAX_DIRECT_PUSH {
        tag.push(OP_PUSHDATA1);
    }
    tag.push(text.len() as u8);
    tag.extend_from_slice(text.as_bytes());
    tag.push(full_extranonce_size as u8);
    Ok(tag)
}

/// A coinbase without BIP141's marker, flag and witness: the form whose hash is the txid.
///
/// Data that carries no marker and flag is returned as it is. `None` when it ends early or the witness is malformed.
pub fn strip_bip141(coinbase: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = coinbase.split_at_checked(VERSION_SIZE)?;
    let Some(rest) = rest.strip_prefix(&SEGWIT_MARKER_AND_FLAG) else {
        return Some(coinbase.to_vec());
    };
    let witness = skip_inputs_and_outputs(rest)?;
    let (body, _) = rest.split_at_checked(rest.len() - witness.len())?;
    // One stack of items for the one input that a coinbase has.
    let (items, mut after) = read_compact_size(witness)?;
    for _ in 0..items {
        let (size, item) = read_compact_size(after)?;
        after = item.get(usize::try_from(size).ok()?..)?;
    }
    (after.len() == LOCKTIME_SIZE).then(|| [version, body, after].concat())
}

fn skip_inputs_and_outputs(from: &[u8]) -> Option<&[u8]> {
    let (1, mut rest) = read_compact_size(from)? else {
        return None;
    };
    let (size, script) = read_compact_size(rest.get(36..)?)?;
    rest = script.get(usize::try_from(size).ok()?.checked_add(SEQUENCE_SIZE)?..)?;
    let (outputs, mut rest) = read_compact_size(rest)?;
    for _ in 0..outputs {
        (_, rest) = read_output(rest)?;
    }
    Some(rest)
}

/// Version, the one input's outpoint, and its scriptSig up to the extranonce.
fn write_input(
    out: &mut Vec<u8>,
    tx_version: u32,
    script_sig: [&[u8]; 2],
    full_extranonce_size: usize,
) -> Result<(), CoinbaseError> {
    if full_extranonce_size > MAX_FULL_EXTRANONCE_SIZE {
        return Err(CoinbaseError::ExtranonceSize {
            size: full_extranonce_size,
        });
    }
    let size = script_sig[0].len() + script_sig[1].len() + full_extranonce_size;
    if !(MIN_SCRIPT_SIG_SIZE..=MAX_SCRIPT_SIG_SIZE).contains(&size) {
        return Err(CoinbaseError::ScriptSigSize { size });
    }
    out.extend_from_slice(&tx_version.to_le_bytes());
    out.push(1);
    out.extend_from_slice(&[0; 32]);
    out.extend_from_slice(&[0xff; 4]);
    out.push(size as u8);
    out.extend_from_slice(script_sig[0]);
    out.extend_from_slice(script_sig[1]);
    Ok(())
}

/// `before || zeros || after || SHA-256 padding`, where `hashed_blocks` have been hashed before.
fn padded_blocks(
    before: &[u8],
    after: &[u8],
    zeros: usize,
    hashed_blocks: usize,
) -> Result<Vec<Block>, CoinbaseError> {
    let len = before.len() + zeros + after.len();
    let count = (len + 9).div_ceil(64);
    let mut blocks = Vec::new();
    blocks
        .try_reserve_exact(count)
        .map_err(|_| CoinbaseError::NoMemory)?;
    blocks.resize(count, [0; 64]);
    let bytes = blocks.as_flattened_mut();
    bytes[..before.len()].copy_from_slice(before);
    bytes[before.len() + zeros..len].copy_from_slice(after);
    bytes[len] = 0x80;
    let bits = (hashed_blocks * 64 + len) as u64 * 8;
    let length_at = bytes.len() - 8;
    bytes[length_at..].copy_from_slice(&bits.to_be_bytes());
    Ok(blocks)
}

fn check_outputs(mut encoded: &[u8], count: u64) -> Result<(), CoinbaseError> {
    for _ in 0..count {
        (_, encoded) = read_output(encoded).ok_or(CoinbaseError::MalformedOutputs { count })?;
    }
    if encoded.is_empty() {
        Ok(())
    } else {
        Err(CoinbaseError::MalformedOutputs { count })
    }
}

/// The script of the first output, and what follows it.
fn read_output(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = read_compact_size(from.get(8..)?)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

/// Appends Bitcoin's variable-length integer.
pub fn write_compact_size(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfc => out.push(value as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&bytes[..4]);
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Bitcoin's variable-length integer, and what follows it; `None` when it is cut short or not in shortest form.
pub fn read_compact_size(from: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = from.split_first()?;
    let (size, least) = match first {
        0xfd => (2, 0xfd),
        0xfe => (4, 0x1_0000),
        0xff => (8, 0x1_0000_0000),
        small => return Some((u64::from(*small), rest)),
    };
    let (number, rest) = rest.split_at_checked(size)?;
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(number);
    let value = u64::from_le_bytes(bytes);
    (value >= least).then_some((value, rest))
}

/// Splits `total_sats` by weight; what rounding leaves over goes to the first share with a weight above zero.
///
/// # Errors
/// [`CoinbaseError::NoPayout`] when no weight is above zero.
pub fn split_by_weight(total_sats: u64, weights: &[u32]) -> Result<Vec<u64>, CoinbaseError> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let first = weights
        .iter()
        .position(|weight| *weight > 0)
        .ok_or(CoinbaseError::NoPayout)?;
    let share =
        |weight: &u32| (u128::from(total_sats) * u128::from(*weight) / u128::from(sum)) as u64;
    let mut shares: Vec<u64> = weights.iter().map(share).collect();
    shares[first] += total_sats - shares.iter().sum::<u64>();
    Ok(shares)
}
