//! What a client adds to the coinbase, and what that leaves room for.

use const_sv2::{COINBASE_RESERVE_LEGACY_WU, COINBASE_RESERVE_SEGWIT_WU};
use template_distribution_sv2::CoinbaseOutputConstraints;

use crate::block_template::{
    BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, WITNESS_SCALE_FACTOR,
};

/// What a client announced with `CoinbaseOutputConstraints` (specification 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraints {
    /// Bytes that the client's outputs take in the coinbase.
    pub additional_size: u32,
    /// Signature operations that the client's outputs add.
    pub additional_sigops: u16,
}

/// No block could hold what a client wants to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{additional_size} bytes of coinbase outputs do not fit a block of {weight_limit_wu} weight units"
)]
pub struct ConstraintsError {
    /// Bytes that were announced.
    pub additional_size: u32,
    /// The smaller of the node's limit and consensus'.
    pub weight_limit_wu: u32,
}

impl From<CoinbaseOutputConstraints> for Constraints {
    fn from(message: CoinbaseOutputConstraints) -> Self {
        Self {
            additional_size: message.coinbase_output_max_additional_size,
            additional_sigops: message.coinbase_output_max_additional_sigops,
        }
    }
}

impl From<Constraints> for CoinbaseOutputConstraints {
    fn from(constraints: Constraints) -> Self {
        Self {
            coinbase_output_max_additional_size: constraints.additional_size,
            coinbase_output_max_additional_sigops: constraints.additional_sigops,
        }
    }
}

impl Constraints {
    /// Weight kept free for header, transaction count and coinbase, in weight units (TS-10).
    ///
    /// Covers a scriptSig of 100 bytes and, with SegWit, the witness commitment and its reserved value.
    pub fn reserved_weight_wu(self, segwit_active: bool) -> u64 {
        let fixed = if segwit_active {
            COINBASE_RESERVE_SEGWIT_WU
        } else {
            COINBASE_RESERVE_LEGACY_WU
        };
        u64::from(fixed) + u64::from(WITNESS_SCALE_FACTOR) * u64::from(self.additional_size)
    }

    /// Sigops cost kept free for the client's outputs.
    ///
    /// An operation in an output counts four in a block. Some clients announce that cost itself; four times as much is
    /// kept free for them, which costs nothing unless a template is at the limit. What goes beyond a block's limit is
    /// meant as such a cost: then all of the limit is kept free.
    pub fn reserved_sigops_cost(self) -> u64 {
        let cost = u64::from(WITNESS_SCALE_FACTOR) * u64::from(self.additional_sigops);
        cost.min(u64::from(MAX_BLOCK_SIGOPS_COST))
    }

    /// How many transactions, counted from the first, a block has room for beside this coinbase (TS-9).
    ///
    /// # Errors
    /// [`ConstraintsError`] when not even an empty block has room for the coinbase.
    pub fn fitting_transactions(self, template: &BlockTemplate) -> Result<usize, ConstraintsError> {
        let weight_limit_wu = template.weight_limit_wu.min(MAX_BLOCK_WEIGHT_WU);
        let too_large = ConstraintsError {
            additional_size: self.additional_size,
            weight_limit_wu,
        };
        let mut weight_left = u64::from(weight_limit_wu)
            .checked_sub(self.reserved_weight_wu(template.segwit_active))
            .ok_or(too_large)?;
        let sigops_limit = u64::from(template.sigops_limit.min(MAX_BLOCK_SIGOPS_COST));
        let mut sigops_left = sigops_limit.saturating_sub(self.reserved_sigops_cost());
        let fits = |tx: &&crate::block_template::TemplateTransaction| {
            let left = (
                weight_left.checked_sub(u64::from(tx.weight_wu)),
                sigops_left.checked_sub(u64::from(tx.sigops_cost)),
            );
            let (Some(weight), Some(sigops)) = left else {
                return false;
            };
            (weight_left, sigops_left) = (weight, sigops);
            true
        };
        Ok(template.transactions.iter().take_while(fits).count())
    }
}
