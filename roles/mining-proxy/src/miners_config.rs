//! What the configurations of all programs on upstreams say of miners: how difficult their work is, and when they get it.

use std::num::NonZeroUsize;
use std::time::Duration;

use mining_proxy_core::{DEFAULT_MIN_JOB_INTERVAL, DEFAULT_PACE, ProxyConfig};
use roles_logic_sv2::setup;
use roles_logic_sv2::vardiff::VardiffConfig;
use serde::Deserialize;
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::secs;
use stratum_runtime::config::sv1::{RawMinerLimits, above_zero, extranonce2_size, version_mask};
use stratum_translation::bridge::{
    BridgeConfig, DEFAULT_EXTRANONCE2_SIZE, DEFAULT_NOMINAL_HASHRATE,
};
use sv1_api::server::{DEFAULT_VERSION_MASK, ServerConfig};

/// Shares a minute that a miner may be asked for at most: ten a second.
const SHARES_PER_MINUTE_MAX: f64 = 600.0;

/// `[difficulty]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawDifficulty {
    shares_per_minute: f64,
    minimum: f64,
    nominal_hashrate: f64,
}

/// `[jobs]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RawJobs {
    extranonce2_size: usize,
    version_mask: String,
    keep_alive_secs: u64,
    spread_ms: u64,
    min_interval_secs: u64,
}

impl Default for RawDifficulty {
    fn default() -> Self {
        let vardiff = VardiffConfig::default();
        Self {
            shares_per_minute: vardiff.shares_per_minute,
            minimum: vardiff.min_difficulty,
            nominal_hashrate: DEFAULT_NOMINAL_HASHRATE,
        }
    }
}

impl Default for RawJobs {
    fn default() -> Self {
        Self {
            extranonce2_size: DEFAULT_EXTRANONCE2_SIZE,
            version_mask: format!("{DEFAULT_VERSION_MASK:08x}"),
            keep_alive_secs: ServerConfig::default().job_interval.as_secs(),
            spread_ms: u64::try_from(DEFAULT_PACE.as_millis()).unwrap_or(u64::MAX),
            min_interval_secs: DEFAULT_MIN_JOB_INTERVAL.as_secs(),
        }
    }
}

impl RawDifficulty {
    fn vardiff(&self) -> Result<VardiffConfig, Invalid> {
        if !(self.shares_per_minute > 0.0 && self.shares_per_minute <= SHARES_PER_MINUTE_MAX) {
            let what = format!("is {}", self.shares_per_minute);
            let fix = format!("choose more than 0 and at most {SHARES_PER_MINUTE_MAX}");
            return Err(Invalid::new("difficulty.shares_per_minute", what, fix));
        }
        Ok(VardiffConfig {
            shares_per_minute: self.shares_per_minute,
            min_difficulty: above_zero("difficulty.minimum", self.minimum)?,
        })
    }
}

/// The rules for miners, on top of the usual ones. The keys of `limits` stand in messages behind `section`.
///
/// # Errors
/// Numbers that make no sense.
pub fn miner_rules(
    difficulty: &RawDifficulty,
    jobs: &RawJobs,
    limits: &RawMinerLimits,
    section: &str,
) -> Result<ProxyConfig, Invalid> {
    let usual = ProxyConfig::default();
    let mask = version_mask("jobs.version_mask", &jobs.version_mask)?;
    let interval = secs("jobs.keep_alive_secs", jobs.keep_alive_secs)?;
    Ok(ProxyConfig {
        extranonce2_size: extranonce2_size("jobs.extranonce2_size", jobs.extranonce2_size)?,
        bridge: BridgeConfig {
            server: limits.server(section, mask, interval)?,
            vardiff: difficulty.vardiff()?,
            nominal_hashrate: above_zero(
                "difficulty.nominal_hashrate",
                difficulty.nominal_hashrate,
            )?,
            ..usual.bridge
        },
        pace: Duration::from_millis(jobs.spread_ms),
        min_job_interval: Duration::from_secs(jobs.min_interval_secs),
        ..usual
    })
}

/// Who may connect where miners do and nothing is said.
pub fn usual_accept_limits() -> AcceptLimits {
    AcceptLimits {
        connections: 20_000,
        per_address: 5_000,
        per_second: 2_000,
        burst: 10_000,
        ..AcceptLimits::default()
    }
}

/// As many threads as the machine has cores.
pub fn one_per_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// What pools are told of a program: its name and version.
pub fn about(program: &str) -> setup::Endpoint<'static> {
    let version = format!("{program}/{}", env!("CARGO_PKG_VERSION"));
    setup::Endpoint {
        vendor: "stratum".try_into().unwrap_or_default(),
        hardware_version: version.try_into().unwrap_or_default(),
        ..setup::Endpoint::default()
    }
}
