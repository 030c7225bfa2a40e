//! What turns a server's templates into jobs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitcoin::{Amount, ScriptBuf, TxOut};

use crate::coinbase::{Coinbase, CoinbaseError, script_sig_tag, split_by_weight};
use crate::job::{Job, JobTemplate};

/// An output of the coinbase and its part of the reward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// Where the money goes.
    pub script_pubkey: ScriptBuf,
    /// Part of the reward relative to the weights of the other payouts; 0 makes an output without value.
    pub weight: u32,
}

/// Makes jobs that pay the same outputs under the same tag and extranonce size.
#[derive(Clone, Debug)]
pub struct JobFactory {
    payouts: Vec<Payout>,
    tag: Vec<u8>,
    full_extranonce_size: usize,
    version_rolling_allowed: bool,
}

impl JobFactory {
    /// A factory for one payout variant.
    ///
    /// # Errors
    /// No payout with a weight, a tag or an extranonce that does not fit the scriptSig.
    pub fn new(
        payouts: Vec<Payout>,
        pool_tag: &str,
        miner_tag: &str,
        full_extranonce_size: usize,
        version_rolling_allowed: bool,
    ) -> Result<Self, CoinbaseError> {
        if payouts.iter().all(|payout| payout.weight == 0) {
            return Err(CoinbaseError::NoPayout);
        }
        let tag = script_sig_tag(pool_tag, miner_tag, full_extranonce_size)?;
        Ok(Self {
            payouts,
            tag,
            full_extranonce_size,
            version_rolling_allowed,
        })
    }

    /// The job for a template, the reward split by weight.
    ///
    /// # Errors
    /// A template whose coinbase cannot be built.
    pub fn job(&self, template: &JobTemplate<'_>) -> Result<Arc<Job>, CoinbaseError> {
        let weights: Vec<u32> = self.payouts.iter().map(|payout| payout.weight).collect();
        let values = split_by_weight(template.coinbase.value_remaining_sats, &weights)?;
        let outputs: Vec<TxOut> = self
            .payouts
            .iter()
            .zip(values)
            .map(|(payout, sats)| TxOut {
                value: Amount::from_sat(sats),
                script_pubkey: payout.script_pubkey.clone(),
            })
            .collect();
        self.job_with_outputs(template, &outputs)
    }

    /// The job for a template with the outputs given, which must be worth exactly what the template leaves.
    ///
    /// # Errors
    /// A template whose coinbase cannot be built with these outputs.
    pub fn job_with_outputs(
        &self,
        template: &JobTemplate<'_>,
        outputs: &[TxOut],
    ) -> Result<Arc<Job>, CoinbaseError> {
        let coinbase = Coinbase::from_template(
            &template.coinbase,
            outputs,
            &self.tag,
            self.full_extranonce_size,
        )?;
        let id = Some(template.template_id);
        Ok(Arc::new(Job::new(
            id,
            template.version,
            self.version_rolling_allowed,
            template.merkle_path.clone(),
            coinbase,
        )))
    }

    /// Bytes that this factory adds to a coinbase's scriptSig, extranonce included.
    pub fn script_sig_size(&self) -> usize {
        self.tag.len() + self.full_extranonce_size
    }
}
