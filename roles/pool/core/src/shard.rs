//! What the connections of one core share: the work, ways to pay, extranonce prefixes.
//!
//! Each core of the machine has a [`Shard`] of its own with its own part of the extranonce space, so that opening a
//! channel or making a job waits for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use const_sv2::EXTENSION_WORKER_IDENTITY;
use const_sv2::mining::REQUIRES_FIXED_VERSION;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::channels::{PayoutId, WorkState};
use roles_logic_sv2::coinbase::{CoinbaseError, MAX_SCRIPT_SIG_SIZE};
use roles_logic_sv2::downstream::{DEFAULT_MAX_WORKERS, Deadlines, DownstreamTerms};
use roles_logic_sv2::extensions::ExtensionPolicy;
use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceError, ExtranonceLayout};
use roles_logic_sv2::job::{Job, JobFactory};
use roles_logic_sv2::setup::SetupPolicy;
use roles_logic_sv2::template_client::ActiveTemplate;
use thiserror::Error;

use crate::payout::{PayoutChoice, PoolPayouts};

/// What the operator sets, checked.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Whom blocks pay.
    pub payouts: PoolPayouts,
    /// Whether `user_identity` may name another payout than the pool's (see [`crate::payout::choose`]).
    pub honours_identity_patterns: bool,
    /// Text that the coinbase carries.
    pub pool_tag: String,
    /// How the extranonce is divided.
    pub extranonce: ExtranonceLayout,
    /// Which part of the extranonce space this process has; no two pools that pay the same outputs may have the same.
    pub server_id: u32,
    /// Cores that share that part; each may be of another number on each server.
    pub shards: u32,
    /// Rules of channels.
    pub channels: Arc<ServerConfig>,
    /// What a connection may ask for at setup.
    pub setup: SetupPolicy,
    /// Extensions supported and required.
    pub extensions: ExtensionPolicy,
    /// Whether miners may roll the bits of BIP323. Where not, they are told at setup.
    pub version_rolling_allowed: bool,
    /// Payouts other than the pool's on one core. At the limit an open is answered `channel-capacity-exhausted`.
    pub max_payouts: usize,
    /// Workers that one connection may name by extension 0x0002; the shares of further ones are counted together.
    pub max_workers: usize,
    /// Deadlines of a connection.
    pub deadlines: Deadlines,
}

/// Bytes that a template may put in front of the scriptSig (`coinbase_prefix`, 7.2).
const MAX_TEMPLATE_SCRIPT_SIG_SIZE: usize = 8;

/// Payouts other than the pool's that one core serves by default.
pub const DEFAULT_MAX_PAYOUTS: usize = 10_000;

impl PoolConfig {
    /// The defaults with these payouts: one core, server 0, worker identity supported.
    pub fn new(payouts: PoolPayouts) -> Self {
        Self {
            payouts,
            honours_identity_patterns: true,
            pool_tag: "Stratum".to_owned(),
            extranonce: ExtranonceLayout::default(),
            server_id: 0,
            shards: 1,
            channels: Arc::new(ServerConfig::default()),
            setup: SetupPolicy::mining(),
            extensions: ExtensionPolicy::new([EXTENSION_WORKER_IDENTITY], []),
            version_rolling_allowed: true,
            max_payouts: DEFAULT_MAX_PAYOUTS,
            max_workers: DEFAULT_MAX_WORKERS,
            deadlines: Deadlines::default(),
        }
    }

    /// The terms of connections: with jobs that forbid it, setup says that versions are fixed (MS-16 to MS-18).
    fn terms(&self) -> DownstreamTerms {
        let mut setup = self.setup;
        if !self.version_rolling_allowed {
            setup.success_flags |= REQUIRES_FIXED_VERSION;
        }
        DownstreamTerms {
            setup,
            extensions: self.extensions.clone(),
            channels: self.channels.clone(),
            max_workers: self.max_workers,
            deadlines: self.deadlines,
        }
    }
}

/// A configuration that makes no working shard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShardError {
    /// Server id and cores do not fit the extranonce's layout.
    #[error("extranonce: {0}")]
    Extranonce(#[from] ExtranonceError),
    /// The pool's own coinbase cannot be built.
    #[error("coinbase: {0}")]
    Coinbase(#[from] CoinbaseError),
}

/// Why a way to pay is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayoutRefusal {
    /// [`PoolConfig::max_payouts`] is reached.
    #[error("no further payout address can be served")]
    TooMany,
    /// No coinbase can be built for it.
    #[error("the coinbase for this payout cannot be built")]
    Coinbase,
}

#[derive(Debug)]
struct Variant {
    id: PayoutId,
    factory: JobFactory,
    /// Channels that are paid so.
    users: usize,
    job: Option<Arc<Job>>,
}

/// What the connections of one core share.
#[derive(Debug)]
pub struct Shard {
    config: Arc<PoolConfig>,
    terms: Arc<DownstreamTerms>,
    /// Lends prefixes of this core's part of the space.
    pub extranonces: ExtranonceAllocator,
    variants: BTreeMap<PayoutChoice, Variant>,
    next_payout: u32,
    active: Option<Arc<ActiveTemplate>>,
    work: Option<Arc<WorkState>>,
    jobs_failed: u64,
}

impl Shard {
    /// The shard of one core, `index` from 0.
    ///
    /// # Errors
    /// [`ShardError`] when server id, cores, tag and outputs do not fit together.
    pub fn new(config: Arc<PoolConfig>, index: u32) -> Result<Self, ShardError> {
        let (layout, server_id) = (config.extranonce, config.server_id);
        let extranonces = ExtranonceAllocator::part(layout, server_id, index, config.shards)?;
        let factory = factory(&config, &PayoutChoice::Pool)?;
        let size = MAX_TEMPLATE_SCRIPT_SIG_SIZE + factory.script_sig_size();
        if size > MAX_SCRIPT_SIG_SIZE {
            return Err(CoinbaseError::ScriptSigSize { size }.into());
        }
        // The pool's own payout is always there.
        let pool = Variant {
            id: PayoutId(0),
            factory,
            users: 1,
            job: None,
        };
        Ok(Self {
            terms: Arc::new(config.terms()),
            config,
            extranonces,
            variants: BTreeMap::from([(PayoutChoice::Pool, pool)]),
            next_payout: 1,
            active: None,
            work: None,
            jobs_failed: 0,
        })
    }

    /// The pool's configuration.
    pub const fn config(&self) -> &Arc<PoolConfig> {
        &self.config
    }

    /// The terms of its connections.
    pub const fn terms(&self) -> &Arc<DownstreamTerms> {
        &self.terms
    }

    /// New work: one job for each way to pay.
    pub fn handle_template(&mut self, active: &Arc<ActiveTemplate>) {
        let is_new_tip = self
            .active
            .as_ref()
            .is_none_or(|last| last.tip() != active.tip());
        if is_new_tip {
            self.extranonces.advance_tip();
        }
        self.active = Some(active.clone());
        let template = active.job_template();
        for variant in self.variants.values_mut() {
            variant.job = variant.factory.job(&template).ok();
            self.jobs_failed += u64::from(variant.job.is_none());
        }
        self.publish();
    }

    fn publish(&mut self) {
        let Some(active) = &self.active else { return };
        let jobs = self
            .variants
            .values()
            .filter_map(|variant| Some((variant.id, variant.job.clone()?)));
        self.work = Some(Arc::new(WorkState::new(active.tip().clone(), jobs)));
    }

    /// The template that [`Self::work`] was made of.
    pub const fn active(&self) -> Option<&Arc<ActiveTemplate>> {
        self.active.as_ref()
    }

    /// The work as of now; `None` before the first template.
    pub const fn work(&self) -> Option<&Arc<WorkState>> {
        self.work.as_ref()
    }

    /// Jobs that could not be made of a template, for example because its value is too small to share.
    pub const fn jobs_failed(&self) -> u64 {
        self.jobs_failed
    }

    /// The payout of a channel to be opened, with one more user; its job is in [`Self::work`] afterwards.
    ///
    /// # Errors
    /// [`PayoutRefusal`] when the limit is reached or no coinbase can pay so.
    pub fn take_payout(&mut self, choice: &PayoutChoice) -> Result<PayoutId, PayoutRefusal> {
        if let Some(variant) = self.variants.get_mut(choice) {
            variant.users += 1;
            return Ok(variant.id);
        }
        if self.variants.len() > self.config.max_payouts {
            return Err(PayoutRefusal::TooMany);
        }
        let factory = factory(&self.config, choice).map_err(|_| PayoutRefusal::Coinbase)?;
        let job = match &self.active {
            Some(active) => Some(
                factory
                    .job(&active.job_template())
                    .map_err(|_| PayoutRefusal::Coinbase)?,
            ),
            None => None,
        };
        let id = self.take_payout_id();
        self.variants.insert(
            choice.clone(),
            Variant {
                id,
                factory,
                users: 1,
                job,
            },
        );
        self.publish();
        Ok(id)
    }

    /// An id that no way to pay has: two with one id would mine for the same address.
    fn take_payout_id(&mut self) -> PayoutId {
        loop {
            let id = PayoutId(self.next_payout);
            self.next_payout = self.next_payout.wrapping_add(1);
            if self.variants.values().all(|variant| variant.id != id) {
                return id;
            }
        }
    }

    /// A channel that was paid so is gone; a way to pay without users is forgotten.
    pub fn release_payout(&mut self, choice: &PayoutChoice) {
        let Some(variant) = self.variants.get_mut(choice) else {
            return;
        };
        variant.users = variant.users.saturating_sub(1);
        if variant.users == 0 {
            self.variants.remove(choice);
        }
    }

    /// Ways to pay that are in use, the pool's own included.
    pub fn payouts_in_use(&self) -> usize {
        self.variants.len()
    }
}

fn factory(config: &PoolConfig, choice: &PayoutChoice) -> Result<JobFactory, CoinbaseError> {
    JobFactory::new(
        config.payouts.payouts(choice),
        &config.pool_tag,
        "",
        config.extranonce.full_size,
        config.version_rolling_allowed,
    )
}
