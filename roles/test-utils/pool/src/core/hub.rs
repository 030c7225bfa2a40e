//! The work that all connections share: a fixed template, and other blocks or jobs on command.

use std::sync::Arc;

use bitcoin::ScriptBuf;
use roles_logic_sv2::channels::{PayoutId, WorkState};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::coinbase::{CoinbaseError, CoinbaseTemplate};
use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceError, ExtranonceLayout};
use roles_logic_sv2::job::{ChainTip, Job, JobFactory, JobTemplate, Payout};
use roles_logic_sv2::merkle::sha256d;
use roles_logic_sv2::target::NbitsError;
use roles_logic_sv2::template_server::bip34_prefix;
use thiserror::Error;

use super::PoolConfig;

/// Height of the first block that is mined on.
const FIRST_HEIGHT: u32 = 840_000;

/// The subsidy at that height.
const SUBSIDY_SATS: u64 = 312_500_000;

/// Bytes of the extranonce in front of the miner's: the channel's number.
const PREFIX_SIZE: usize = 4;

/// Channels that may be open at a time, of all connections; one more is refused.
pub const MAX_CHANNELS: u32 = 100_000;

/// Who is paid when somebody else is to be (OP_2), and who when that is whom the pool pays (OP_3).
const OTHERS: &[u8] = &[0x52];
const OTHERS_OTHER: &[u8] = &[0x53];

/// All channels are paid the same way.
pub(super) const PAYOUT: PayoutId = PayoutId(0);

/// A configuration that no work can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkError {
    /// There is no room for so much extranonce.
    #[error("extranonce: {0}")]
    Extranonce(#[from] ExtranonceError),
    /// The network's target is none.
    #[error("nbits: {0}")]
    Nbits(#[from] NbitsError),
    /// The coinbase cannot be built.
    #[error("coinbase: {0}")]
    Coinbase(#[from] CoinbaseError),
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) extranonces: ExtranonceAllocator,
    factory: JobFactory,
    /// Pays somebody else.
    other_factory: JobFactory,
    tip: Arc<ChainTip>,
    former_tip: Arc<ChainTip>,
    height: u32,
    /// Makes each job another one.
    job_number: u64,
    pub(super) work: Arc<WorkState>,
    job: Arc<Job>,
}

impl Hub {
    pub(super) fn new(config: &PoolConfig, now: Now) -> Result<Self, WorkError> {
        let nbits = config.nbits;
        let layout = ExtranonceLayout {
            full_size: PREFIX_SIZE + config.extranonce_size,
            server_id_size: 0,
            channel_number_size: PREFIX_SIZE,
            max_channels: MAX_CHANNELS,
        };
        let extranonces = ExtranonceAllocator::new(layout, 0)?;
        let full_size = layout.full_size;
        let factory = factory(config.pays.clone(), full_size)?;
        let other = match config.pays.as_bytes() {
            OTHERS => OTHERS_OTHER,
            _ => OTHERS,
        };
        let other_factory = self::factory(ScriptBuf::from_bytes(other.to_vec()), full_size)?;
        let former_tip = Arc::new(tip(FIRST_HEIGHT - 1, nbits, now)?);
        let tip = Arc::new(tip(FIRST_HEIGHT, nbits, now)?);
        let job = job(&factory, FIRST_HEIGHT, 1)?;
        Ok(Self {
            extranonces,
            factory,
            other_factory,
            work: work(&tip, &job),
            job,
            tip,
            former_tip,
            height: FIRST_HEIGHT,
            job_number: 1,
        })
    }

    /// The present job, for lies about it.
    pub(super) const fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// The block that is built on.
    pub(super) const fn tip(&self) -> &Arc<ChainTip> {
        &self.tip
    }

    /// Other work on the same block.
    pub(super) fn new_job(&mut self) {
        self.job_number += 1;
        // The first job could be made, and this one differs from it in a number.
        if let Ok(job) = job(&self.factory, self.height, self.job_number) {
            self.job = job;
            self.work = work(&self.tip, &self.job);
        }
    }

    /// Work on the next block.
    pub(super) fn new_block(&mut self, now: Now) {
        let height = self.height.saturating_add(1);
        if let Ok(tip) = tip(height, self.tip.nbits, now) {
            self.height = height;
            self.former_tip = std::mem::replace(&mut self.tip, Arc::new(tip));
            self.extranonces.advance_tip();
            self.new_job();
        }
    }

    /// A new job on the present block that pays somebody else.
    pub(super) fn other_payees_work(&mut self) -> Arc<WorkState> {
        self.job_number += 1;
        let job = job(&self.other_factory, self.height, self.job_number);
        work(&self.tip, &job.unwrap_or_else(|_| self.job.clone()))
    }

    /// A new job on the block before, which is no work for anybody.
    pub(super) fn stale_work(&mut self) -> Arc<WorkState> {
        self.job_number += 1;
        let job = job(
            &self.factory,
            self.height.saturating_sub(1),
            self.job_number,
        );
        work(&self.former_tip, &job.unwrap_or_else(|_| self.job.clone()))
    }
}

fn factory(script_pubkey: ScriptBuf, full_size: usize) -> Result<JobFactory, CoinbaseError> {
    let payout = Payout {
        script_pubkey,
        weight: 1,
    };
    JobFactory::new(vec![payout], "test-pool", "", full_size, true)
}

fn work(tip: &Arc<ChainTip>, job: &Arc<Job>) -> Arc<WorkState> {
    Arc::new(WorkState::new(tip.clone(), [(PAYOUT, job.clone())]))
}

fn tip(height: u32, nbits: u32, now: Now) -> Result<ChainTip, NbitsError> {
    let prev_hash = sha256d(&height.to_le_bytes());
    let min_ntime = u32::try_from(now.unix_secs).unwrap_or(u32::MAX);
    ChainTip::new(prev_hash, nbits, min_ntime, now.instant)
}

fn job(factory: &JobFactory, height: u32, number: u64) -> Result<Arc<Job>, CoinbaseError> {
    let template = JobTemplate {
        template_id: number,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            script_sig_prefix: &bip34_prefix(height),
            input_sequence: u32::MAX,
            // As if other transactions were in it, which pay other fees.
            value_remaining_sats: SUBSIDY_SATS.saturating_add(number),
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        },
        merkle_path: Arc::new([sha256d(b"a transaction"), sha256d(b"two more")]),
    };
    factory.job(&template)
}
