//! The configuration, as it is written and as it is used.

use mining_proxy_core::ProxyConfig;
use serde::Deserialize;
use stratum_mining_proxy::miners_config::{
    RawDifficulty, RawJobs, about, miner_rules, one_per_core, usual_accept_limits,
};
use stratum_mining_proxy::upstreams_config::{
    RawFailover, RawUpstream, channel_mode, check_upstreams,
};
use stratum_mining_proxy::{Config, ProgramConfig};
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{RawConnections, RawProgram, Usual};
use stratum_runtime::config::sv1::{RawMinerLimits, RawTls, socket_address};

/// The commented configuration that `stratum config init translator` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../translator-config.toml");

/// What a translator takes where nothing is said.
#[derive(Clone, Debug, PartialEq)]
struct Usually;

impl Usual for Usually {
    const PORT: u16 = 3333;
    const THREADS: usize = 1;

    fn accept_limits() -> AcceptLimits {
        usual_accept_limits()
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
            about: about("translator"),
            answer_timeout: raw.failover.answer_timeout()?,
            failover: raw.failover.rules()?,
            names_workers: raw.channels.worker_names,
            max_miners: u32::try_from(accept.connections).unwrap_or(u32::MAX),
            keep_miners: raw.failover.keep_miners()?,
            ..miner_rules(&raw.difficulty, &raw.jobs, &raw.limits, "limits")?
        };
        let proxy = Config {
            tls: raw.tls.listen("tls", Usually::PORT + 1)?,
            accept,
            connection: raw.limits.options("limits")?,
            ban: raw.limits.ban(),
            threads: raw.program.threads().unwrap_or_else(one_per_core),
            ..Config::for_sv1(listen, security, rules)
        };
        Ok(Self {
            proxy,
            program: raw.program.settings()?,
        })
    }
}

#[cfg(test)]
mod tests;
