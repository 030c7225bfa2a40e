//! The configuration, as it is written and as it is used.

use std::num::NonZeroUsize;
use std::time::Duration;

use mining_proxy_core::{DEFAULT_MIN_JOB_INTERVAL, DEFAULT_PACE, ProxyConfig};
use roles_logic_sv2::setup;
use roles_logic_sv2::vardiff::VardiffConfig;
use serde::Deserialize;
use stratum_mining_proxy::Config;
use stratum_mining_proxy::upstreams_config::{
    RawFailover, RawUpstream, channel_mode, check_upstreams,
};
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{ProgramSettings, RawConnections, RawProgram, Usual, secs};
use stratum_runtime::config::sv1::{
    RawMinerLimits, RawTls, above_zero, extranonce2_size, socket_address, version_mask,
};
use stratum_translation::bridge::{
    BridgeConfig, DEFAULT_EXTRANONCE2_SIZE, DEFAULT_NOMINAL_HASHRATE,
};
use sv1_api::server::{DEFAULT_VERSION_MASK, ServerConfig};

/// The commented configuration that `stratum config init translator` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../translator-config.toml");

/// Shares a minute that a miner may be asked for at most: ten a second.
const SHARES_PER_MINUTE_MAX: f64 = 600.0;

/// What the program needs besides.
#[derive(Clone, Debug)]
pub struct ProgramConfig {
    /// The server.
    pub translator: Config,
    /// Its log and its end.
    pub program: ProgramSettings,
}

/// What a translator takes where nothing is said.
#[derive(Clone, Debug, PartialEq)]
struct Usually;

impl Usual for Usually {
    const PORT: u16 = 3333;
    const THREADS: usize = 1;

    fn accept_limits() -> AcceptLimits {
        AcceptLimits {
            connections: 20_000,
            per_address: 5_000,
            per_second: 2_000,
            burst: 10_000,
            ..AcceptLimits::default()
        }
    }
}

/// The keys as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    upstreams: Option<Vec<RawUpstream>>,
    listen: RawListen,
    tls: RawTls,
    channels: RawChannels,
    difficulty: RawDifficulty,
    jobs: RawJobs,
    failover: RawFailover,
    connections: RawConnections<Usually>,
    limits: RawMinerLimits,
    program: RawProgram<Usually>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawListen {
    address: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawChannels {
    mode: String,
    worker_names: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawDifficulty {
    shares_per_minute: f64,
    minimum: f64,
    nominal_hashrate: f64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawJobs {
    extranonce2_size: usize,
    version_mask: String,
    keep_alive_secs: u64,
    spread_ms: u64,
    min_interval_secs: u64,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            address: format!("127.0.0.1:{}", Usually::PORT),
        }
    }
}

impl Default for RawChannels {
    fn default() -> Self {
        Self {
            mode: "aggregated".to_owned(),
            worker_names: true,
        }
    }
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

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let listen = socket_address("listen.address", &raw.listen.address, Usually::PORT)?;
        let accept = raw.connections.accept_limits()?;
        let mode = channel_mode("channels.mode", &raw.channels.mode)?;
        let upstreams = raw.upstreams.as_deref().unwrap_or_default();
        let (upstreams, security) = check_upstreams(upstreams, mode)?;
        let rules = ProxyConfig {
            upstreams,
            about: about(),
            answer_timeout: raw.failover.answer_timeout()?,
            failover: raw.failover.rules()?,
            names_workers: raw.channels.worker_names,
            extranonce2_size: extranonce2_size("jobs.extranonce2_size", raw.jobs.extranonce2_size)?,
            bridge: raw.bridge()?,
            max_miners: u32::try_from(accept.connections).unwrap_or(u32::MAX),
            pace: Duration::from_millis(raw.jobs.spread_ms),
            min_job_interval: Duration::from_secs(raw.jobs.min_interval_secs),
            keep_miners: raw.failover.keep_miners()?,
        };
        let translator = Config {
            tls: raw.tls.listen("tls", Usually::PORT + 1)?,
            accept,
            connection: raw.limits.options("limits")?,
            ban: raw.limits.ban(),
            threads: raw.program.threads().unwrap_or_else(one_per_core),
            ..Config::new(listen, security, rules)
        };
        Ok(Self {
            translator,
            program: raw.program.settings()?,
        })
    }
}

fn one_per_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// What pools are told of this program.
fn about() -> setup::Endpoint<'static> {
    setup::Endpoint {
        vendor: "stratum".try_into().unwrap_or_default(),
        hardware_version: concat!("translator/", env!("CARGO_PKG_VERSION"))
            .try_into()
            .unwrap_or_default(),
        ..setup::Endpoint::default()
    }
}

impl RawConfig {
    fn bridge(&self) -> Result<BridgeConfig, Invalid> {
        let jobs = &self.jobs;
        let mask = version_mask("jobs.version_mask", &jobs.version_mask)?;
        let interval = secs("jobs.keep_alive_secs", jobs.keep_alive_secs)?;
        let server = self.limits.server("limits", mask, interval)?;
        Ok(BridgeConfig {
            server,
            vardiff: self.difficulty.vardiff()?,
            nominal_hashrate: above_zero(
                "difficulty.nominal_hashrate",
                self.difficulty.nominal_hashrate,
            )?,
            ..ProxyConfig::default().bridge
        })
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

#[cfg(test)]
mod tests;
