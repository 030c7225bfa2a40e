//! The configuration, as it is written and as it is used.

use std::num::NonZeroUsize;
use std::time::Duration;

use bitcoin::{Network, ScriptBuf};
use network_helpers_sv2::{ClientSecurity, Endpoint};
use pool_core::descriptor::{address_script, script_pubkey};
use pool_core::payout::{PayoutChoice, choose};
use roles_logic_sv2::setup;
use roles_logic_sv2::upstream::DEFAULT_ANSWER_TIMEOUT;
use roles_logic_sv2::upstream::failover::FailoverConfig;
use roles_logic_sv2::vardiff::VardiffConfig;
use serde::Deserialize;
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
use translator_core::{
    ChannelMode, DEFAULT_KEEP_MINERS, DEFAULT_MIN_JOB_INTERVAL, DEFAULT_PACE, ExpectedPayout,
    TranslatorConfig, UpstreamConfig,
};

use crate::server::Config;

/// The commented configuration that `stratum config init translator` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../translator-config.toml");

/// Shares a minute that a miner may be asked for at most: ten a second.
const SHARES_PER_MINUTE_MAX: f64 = 600.0;

/// How much of the reward an expected payout gets at least, unless the configuration says otherwise.
const DEFAULT_PAYOUT_MIN_PERCENT: u8 = 90;

/// The chains whose addresses are taken: a translator needs to know of no chain.
const NETWORKS: [Network; 4] = [
    Network::Bitcoin,
    Network::Testnet,
    Network::Signet,
    Network::Regtest,
];

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
struct RawUpstream {
    url: Option<String>,
    user_identity: Option<String>,
    payout: String,
    payout_min_percent: u8,
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

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawFailover {
    answer_timeout_secs: u64,
    patience_secs: u64,
    settle_secs: u64,
    keep_miners_secs: u64,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            url: None,
            user_identity: None,
            payout: String::new(),
            payout_min_percent: DEFAULT_PAYOUT_MIN_PERCENT,
        }
    }
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

impl Default for RawFailover {
    fn default() -> Self {
        let failover = FailoverConfig::default();
        Self {
            answer_timeout_secs: DEFAULT_ANSWER_TIMEOUT.as_secs(),
            patience_secs: failover.patience.as_secs(),
            settle_secs: failover.settle.as_secs(),
            keep_miners_secs: DEFAULT_KEEP_MINERS.as_secs(),
        }
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let listen = socket_address("listen.address", &raw.listen.address, Usually::PORT)?;
        let accept = raw.connections.accept_limits()?;
        let mode = raw.channels.mode()?;
        let (upstreams, security) = raw.upstreams(mode)?;
        let rules = TranslatorConfig {
            upstreams,
            mode,
            about: about(),
            answer_timeout: secs(
                "failover.answer_timeout_secs",
                raw.failover.answer_timeout_secs,
            )?,
            failover: raw.failover.rules()?,
            names_workers: raw.channels.worker_names,
            extranonce2_size: extranonce2_size("jobs.extranonce2_size", raw.jobs.extranonce2_size)?,
            bridge: raw.bridge()?,
            max_miners: u32::try_from(accept.connections).unwrap_or(u32::MAX),
            pace: Duration::from_millis(raw.jobs.spread_ms),
            min_job_interval: Duration::from_secs(raw.jobs.min_interval_secs),
            keep_miners: secs("failover.keep_miners_secs", raw.failover.keep_miners_secs)?,
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
    fn upstreams(
        &self,
        mode: ChannelMode,
    ) -> Result<(Vec<UpstreamConfig>, Vec<ClientSecurity>), Invalid> {
        let upstreams = self.upstreams.as_deref().unwrap_or_default();
        if upstreams.is_empty() {
            let fix = "add a table [[upstreams]] with url = \"stratum2+tcp://host:port/KEY\"";
            return Err(Invalid::new("upstreams", "names no pool", fix));
        }
        let checked = upstreams.iter().map(|upstream| upstream.check(mode));
        checked.collect()
    }

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
            ..TranslatorConfig::default().bridge
        })
    }
}

impl RawUpstream {
    fn check(&self, mode: ChannelMode) -> Result<(UpstreamConfig, ClientSecurity), Invalid> {
        const URL: &str = "upstreams.url";
        let Some(url) = &self.url else {
            let fix = "write stratum2+tcp://host:port/KEY, as the pool publishes it";
            return Err(Invalid::new(URL, "is missing", fix));
        };
        let endpoint: Endpoint =
            url.parse()
                .map_err(|error: network_helpers_sv2::EndpointError| {
                    Invalid::new(URL, error.to_string(), "")
                })?;
        if mode == ChannelMode::Aggregated && self.user_identity.is_none() {
            let fix = "say who mines there: your account or address, as the pool has it";
            return Err(Invalid::new("upstreams.user_identity", "is missing", fix));
        }
        if let Some(identity) = &self.user_identity
            && (identity.is_empty() || identity.len() > 255)
        {
            let what = format!("has {} bytes", identity.len());
            let fix = "choose 1 to 255";
            return Err(Invalid::new("upstreams.user_identity", what, fix));
        }
        let security = match endpoint.authority {
            Some(authority) => ClientSecurity::Noise {
                authority: Some(authority),
            },
            None => ClientSecurity::Plain,
        };
        let upstream = UpstreamConfig {
            user_identity: self.user_identity.clone(),
            expected_payout: self.expected_payout()?,
            ..UpstreamConfig::new(&endpoint.host, endpoint.port)
        };
        Ok((upstream, security))
    }

    fn expected_payout(&self) -> Result<Option<ExpectedPayout>, Invalid> {
        const KEY: &str = "upstreams.payout";
        let script_pubkey = match self.payout.trim() {
            "" => return Ok(None),
            "identity" => match self.script_of_identity() {
                Some(script) => script,
                None => {
                    let what = "is \"identity\", but user_identity names no address";
                    let fix = "write the address or descriptor itself";
                    return Err(Invalid::new(KEY, what, fix));
                }
            },
            text => script(text).ok_or_else(|| {
                let what = format!("`{text}` is no address and no descriptor");
                Invalid::new(KEY, what, "check for a typing error")
            })?,
        };
        let percent = self.payout_min_percent;
        if !(1..=100).contains(&percent) {
            let what = format!("is {percent}");
            let fix = "choose 1 to 100";
            return Err(Invalid::new("upstreams.payout_min_percent", what, fix));
        }
        Ok(Some(ExpectedPayout {
            script_pubkey,
            min_percent: percent,
        }))
    }

    fn script_of_identity(&self) -> Option<ScriptBuf> {
        let identity = self.user_identity.as_deref()?.as_bytes();
        let mut choices = NETWORKS
            .iter()
            .filter_map(|network| choose(identity, *network).ok());
        choices.find_map(|choice| match choice {
            PayoutChoice::Solo { script_pubkey } | PayoutChoice::Split { script_pubkey, .. } => {
                Some(script_pubkey)
            }
            PayoutChoice::Pool => None,
        })
    }
}

/// The script of an address or descriptor of any chain.
fn script(text: &str) -> Option<ScriptBuf> {
    let scripts = NETWORKS.iter().filter_map(|network| {
        let address = address_script(text, *network).ok();
        address.or_else(|| script_pubkey(text, *network).ok())
    });
    { scripts }.next()
}

impl RawChannels {
    fn mode(&self) -> Result<ChannelMode, Invalid> {
        match self.mode.as_str() {
            "aggregated" => Ok(ChannelMode::Aggregated),
            "per-miner" => Ok(ChannelMode::PerMiner),
            other => Err(Invalid::new(
                "channels.mode",
                format!("is `{other}`"),
                "write \"aggregated\" or \"per-miner\"",
            )),
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

impl RawFailover {
    fn rules(&self) -> Result<FailoverConfig, Invalid> {
        Ok(FailoverConfig {
            patience: secs("failover.patience_secs", self.patience_secs)?,
            settle: Duration::from_secs(self.settle_secs),
            ..FailoverConfig::default()
        })
    }
}

#[cfg(test)]
mod tests;
