//! Room in a coinbase: what outputs take, and what a template provider is told of it (7.1).
//!
//! A pool and a job declarator client know their outputs before they know a template. They add up what those take and
//! announce it, so that no template is too full for them.
//!
//! ```
//! use bitcoin::ScriptBuf;
//! use roles_logic_sv2::coinbase_space::CoinbaseSpace;
//!
//! let p2wpkh = ScriptBuf::from(vec![0; 22]);
//! let space = CoinbaseSpace::of_script(&p2wpkh).plus(CoinbaseSpace::ANY_ADDRESS);
//! let constraints = space.constraints()?;
//! assert_eq!(constraints.coinbase_output_max_additional_size, 31 + 51);
//! assert_eq!(constraints.coinbase_output_max_additional_sigops, 1);
//! # Ok::<(), roles_logic_sv2::coinbase_space::CoinbaseSpaceError>(())
//! ```

use bitcoin::{Script, ScriptBuf, VarInt};
use const_sv2::COINBASE_RESERVE_SEGWIT_WU;
use template_distribution_sv2::CoinbaseOutputConstraints;

use crate::block_template::{MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, WITNESS_SCALE_FACTOR};

/// Most bytes of outputs that an otherwise empty block has room for.
pub const MAX_SPACE_SIZE: usize =
    ((MAX_BLOCK_WEIGHT_WU - COINBASE_RESERVE_SEGWIT_WU) / WITNESS_SCALE_FACTOR) as usize;

/// Most signature operations in outputs that an otherwise empty block may have.
pub const MAX_SPACE_SIGOPS: usize = (MAX_BLOCK_SIGOPS_COST / WITNESS_SCALE_FACTOR) as usize;

/// Bytes of an output's value.
const VALUE_SIZE: usize = 8;

/// What outputs take in a coinbase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoinbaseSpace {
    /// Bytes of the outputs: value, script length and script of each.
    pub size: usize,
    /// Signature operations in their scripts, as consensus counts them without knowing how they are spent.
    pub sigops: usize,
}

/// No block has room for the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoinbaseSpaceError {
    /// More bytes than [`MAX_SPACE_SIZE`].
    #[error("coinbase outputs of {size} bytes fit no block; at most {MAX_SPACE_SIZE} do")]
    TooLarge {
        /// Bytes of the outputs.
        size: usize,
    },
    /// More signature operations than [`MAX_SPACE_SIGOPS`].
    #[error(
        "coinbase outputs with {sigops} signature operations fit no block; at most {MAX_SPACE_SIGOPS} do"
    )]
    TooManySigops {
        /// Signature operations of the outputs.
        sigops: usize,
    },
}

impl CoinbaseSpace {
    /// Enough for an output to any one address: a witness program of 40 bytes behind its version is the longest, and
    /// P2PKH has the most signature operations.
    pub const ANY_ADDRESS: Self = Self {
        size: VALUE_SIZE + 1 + 42,
        sigops: 1,
    };

    /// What one output takes.
    pub fn of_script(script: &Script) -> Self {
        Self {
            size: VALUE_SIZE + VarInt::from(script.len()).size() + script.len(),
            sigops: script.count_sigops_legacy(),
        }
    }

    /// What outputs take together.
    pub fn of_scripts<'s>(scripts: impl IntoIterator<Item = &'s ScriptBuf>) -> Self {
        let spaces = scripts.into_iter().map(|script| Self::of_script(script));
        spaces.fold(Self::default(), Self::plus)
    }

    /// Both together. What is beyond all numbers stays the largest one, which fits no block.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_add(other.size),
            sigops: self.sigops.saturating_add(other.sigops),
        }
    }

    /// What to tell a template provider.
    ///
    /// # Errors
    /// [`CoinbaseSpaceError`] when no block has room for it.
    pub fn constraints(self) -> Result<CoinbaseOutputConstraints, CoinbaseSpaceError> {
        let Self { size, sigops } = self;
        let announced_size = u32::try_from(size).ok().filter(|_| size <= MAX_SPACE_SIZE);
        let announced_sigops = u16::try_from(sigops)
            .ok()
            .filter(|_| sigops <= MAX_SPACE_SIGOPS);
        Ok(CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: announced_size
                .ok_or(CoinbaseSpaceError::TooLarge { size })?,
            coinbase_output_max_additional_sigops: announced_sigops
                .ok_or(CoinbaseSpaceError::TooManySigops { sigops })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use bitcoin::consensus::serialize;
    use bitcoin::opcodes::all::OP_CHECKMULTISIG;
    use bitcoin::{Amount, TxOut};

    use super::*;

    #[test]
    fn size_is_that_of_the_serialised_outputs() {
        for len in [0, 1, 22, 34, 252, 253, 65_535, 65_536] {
            let script_pubkey = ScriptBuf::from(vec![0; len]);
            let output = TxOut {
                value: Amount::from_sat(7),
                script_pubkey,
            };
            let space = CoinbaseSpace::of_script(&output.script_pubkey);
            assert_eq!(space.size, serialize(&output).len(), "{len}");
        }
    }

    #[test]
    fn no_address_needs_more_than_any_address() {
        let program = bitcoin::WitnessProgram::new(bitcoin::WitnessVersion::V16, &[7; 40]).unwrap();
        let longest = ScriptBuf::new_witness_program(&program);
        let costly = ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_raw_hash(
            bitcoin::hashes::Hash::all_zeros(),
        ));
        let any = CoinbaseSpace::ANY_ADDRESS;
        assert_eq!(CoinbaseSpace::of_script(&longest).size, any.size);
        assert_eq!(CoinbaseSpace::of_script(&costly).sigops, any.sigops);
        let both = CoinbaseSpace::of_scripts(&[longest, costly]);
        assert_eq!((both.size, both.sigops), (51 + 34, 1));
    }

    #[test]
    fn what_fits_no_block_is_not_announced() {
        let announced = |size, sigops| CoinbaseSpace { size, sigops }.constraints();
        let most = announced(MAX_SPACE_SIZE, MAX_SPACE_SIGOPS).unwrap();
        assert_eq!(most.coinbase_output_max_additional_size, 999_708);
        assert_eq!(most.coinbase_output_max_additional_sigops, 20_000);
        let size = MAX_SPACE_SIZE + 1;
        let too_large = CoinbaseSpaceError::TooLarge { size };
        assert_eq!(announced(size, 0), Err(too_large));
        let script = ScriptBuf::from(vec![OP_CHECKMULTISIG.to_u8(); 1_001]);
        let scripts: Vec<_> = vec![script; 1];
        let space = CoinbaseSpace::of_scripts(&scripts);
        let too_many = CoinbaseSpaceError::TooManySigops { sigops: 20_020 };
        assert_eq!(space.constraints(), Err(too_many));
        let endless = CoinbaseSpace {
            size: usize::MAX,
            sigops: usize::MAX,
        };
        assert!(endless.plus(endless).constraints().is_err());
    }
}
