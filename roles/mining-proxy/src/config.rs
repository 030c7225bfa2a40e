//! The configuration, as it is written and as it is used.

use std::sync::Arc;
use std::time::Duration;

use mining_proxy_core::{ChannelMode, ProxyConfig};
use network_helpers_sv2::{Options, ServerSecurity};
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::downstream::{Deadlines, DownstreamTerms};
use serde::Deserialize;
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{
    ProgramSettings, RawAuthority, RawConnections, RawListen, RawProgram, Usual, positive, secs,
};
use stratum_runtime::config::sv1::{DEFAULT_BAN, RawMinerLimits, RawTls, socket_address};

use crate::miners_config::{
    RawDifficulty, RawJobs, about, miner_rules, one_per_core, usual_accept_limits,
};
use crate::upstreams_config::{RawFailover, RawUpstream, check_upstreams};
use crate::{Config, DevicesListen, ListenKeys};

/// The commented configuration that `stratum config init proxy` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../proxy-config.toml");

/// The port of Sv1 miners in examples.
const SV1_PORT: u16 = 3333;

/// Longest message of a device, in bytes: none that it sends needs more.
const MAX_DEVICE_PAYLOAD_LEN: usize = 16 * 1024;

/// What the program needs besides.
#[derive(Clone, Debug)]
pub struct ProgramConfig {
    /// The server.
    pub proxy: Config,
    /// Its log and its end.
    pub program: ProgramSettings,
}

/// What a proxy takes where nothing is said.
#[derive(Clone, Debug, PartialEq)]
struct Usually;

impl Usual for Usually {
    const PORT: u16 = 34255;
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
    listen: RawListen<Usually>,
    authority: RawAuthority,
    channels: RawChannels,
    difficulty: RawDifficulty,
    jobs: RawJobs,
    failover: RawFailover,
    sv1: RawSv1,
    connections: RawConnections<Usually>,
    limits: RawLimits,
    program: RawProgram<Usually>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RawChannels {
    worker_names: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RawSv1 {
    address: Option<String>,
    tls: RawTls,
    limits: RawMinerLimits,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RawLimits {
    channels_per_connection: usize,
    workers_per_connection: usize,
    shares_per_tip: usize,
    setup_timeout_secs: u64,
    channel_timeout_secs: u64,
    stall_timeout_secs: u64,
    drain_secs: u64,
    ban_secs: u64,
}

impl Default for RawChannels {
    fn default() -> Self {
        Self { worker_names: true }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let (terms, server) = (DownstreamTerms::default(), ServerConfig::default());
        Self {
            channels_per_connection: server.max_channels,
            workers_per_connection: terms.max_workers,
            shares_per_tip: server.max_shares_per_tip,
            setup_timeout_secs: terms.deadlines.setup.as_secs(),
            channel_timeout_secs: terms.deadlines.first_channel.as_secs(),
            stall_timeout_secs: Options::default().stall_timeout.as_secs(),
            drain_secs: terms.deadlines.drain.as_secs(),
            ban_secs: DEFAULT_BAN.as_secs(),
        }
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let accept = raw.connections.accept_limits()?;
        let upstreams = raw.upstreams.as_deref().unwrap_or_default();
        let (upstreams, security) = check_upstreams(upstreams, ChannelMode::PerMiner)?;
        let limits = &raw.sv1.limits;
        let rules = ProxyConfig {
            upstreams,
            about: about("mining-proxy"),
            answer_timeout: raw.failover.answer_timeout()?,
            failover: raw.failover.rules()?,
            names_workers: raw.channels.worker_names,
            devices: raw.limits.terms()?,
            max_miners: u32::try_from(accept.connections).unwrap_or(u32::MAX),
            keep_miners: raw.failover.keep_miners()?,
            ..miner_rules(&raw.difficulty, &raw.jobs, limits, "sv1.limits")?
        };
        let sv1 = raw.sv1.address.as_deref();
        let sv1 = sv1.map(|text| socket_address("sv1.address", text, SV1_PORT));
        let proxy = Config {
            devices: Some(DevicesListen {
                address: raw.listen.address()?,
                security: raw.security()?,
                options: raw.limits.options()?,
                ban: Duration::from_secs(raw.limits.ban_secs),
            }),
            listen: sv1.transpose()?,
            tls: raw.sv1.tls.listen("sv1.tls", SV1_PORT + 1)?,
            keys: ListenKeys {
                devices: "listen.address",
                sv1: "sv1.address",
                tls: "sv1.tls.address",
            },
            accept,
            connection: limits.options("sv1.limits")?,
            ban: limits.ban(),
            threads: raw.program.threads().unwrap_or_else(one_per_core),
            ..Config::new(security, rules)
        };
        Ok(Self {
            proxy,
            program: raw.program.settings()?,
        })
    }
}

impl RawConfig {
    fn security(&self) -> Result<ServerSecurity, Invalid> {
        self.listen.security(&self.authority)
    }
}

impl RawLimits {
    fn terms(&self) -> Result<DownstreamTerms, Invalid> {
        let channels = ServerConfig {
            max_channels: positive(
                "limits.channels_per_connection",
                self.channels_per_connection,
            )?,
            max_shares_per_tip: positive("limits.shares_per_tip", self.shares_per_tip)?,
            ..ServerConfig::default()
        };
        Ok(DownstreamTerms {
            channels: Arc::new(channels),
            max_workers: self.workers_per_connection,
            deadlines: Deadlines {
                setup: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
                first_channel: secs("limits.channel_timeout_secs", self.channel_timeout_secs)?,
                drain: secs("limits.drain_secs", self.drain_secs)?,
            },
            ..DownstreamTerms::default()
        })
    }

    fn options(&self) -> Result<Options, Invalid> {
        Ok(Options {
            handshake_timeout: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
            stall_timeout: secs("limits.stall_timeout_secs", self.stall_timeout_secs)?,
            max_payload_len: MAX_DEVICE_PAYLOAD_LEN,
            // Devices are silent until they find something.
            idle_timeout: None,
            ..Options::default()
        })
    }
}

#[cfg(test)]
mod tests;
