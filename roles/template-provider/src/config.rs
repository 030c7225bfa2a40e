//! The configuration, as it is written and as it is used.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use network_helpers_sv2::ServerSecurity;
use serde::Deserialize;
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{
    ProgramSettings, RawAuthority, RawConnections, RawListen, RawProgram, Usual, positive, secs,
};
use stratum_runtime::node::{NodesConfig, RawNode};
use template_provider_core::{Limits, TRANSACTION_DATA_COST};

/// The commented configuration that `stratum config init template-provider` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../template-provider-config.toml");

/// What a template provider in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// How connections are secured.
    pub security: ServerSecurity,
    /// Who may connect.
    pub accept: AcceptLimits,
    /// What one client may take of time and work.
    pub limits: Limits,
    /// Threads that serve connections; one per core when `None`.
    pub threads: Option<NonZeroUsize>,
}

impl Config {
    /// The defaults for a listener at `listen`.
    pub fn new(listen: SocketAddr, security: ServerSecurity) -> Self {
        Self {
            listen,
            security,
            accept: Usually::accept_limits(),
            limits: Limits::default(),
            threads: NonZeroUsize::new(Usually::THREADS),
        }
    }
}

/// What the program needs besides.
#[derive(Clone, Debug)]
pub struct ProgramConfig {
    /// The server.
    pub server: Config,
    /// The nodes behind it.
    pub nodes: NodesConfig,
    /// Its log and its end.
    pub program: ProgramSettings,
}

/// What a template provider takes where nothing is said.
#[derive(Clone, Debug, PartialEq)]
struct Usually;

impl Usual for Usually {
    const PORT: u16 = 8442;
    const THREADS: usize = 1;

    fn accept_limits() -> AcceptLimits {
        AcceptLimits {
            connections: 1_000,
            per_address: 100,
            per_second: 100,
            burst: 500,
            ..AcceptLimits::default()
        }
    }
}

/// The keys as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    listen: RawListen<Usually>,
    authority: RawAuthority,
    node: RawNode,
    connections: RawConnections<Usually>,
    limits: RawLimits,
    program: RawProgram<Usually>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawLimits {
    setup_timeout_secs: u64,
    constraints_timeout_secs: u64,
    requests_per_sec: u32,
    requests_burst: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            setup_timeout_secs: limits.setup_timeout.as_secs(),
            constraints_timeout_secs: limits.constraints_timeout.as_secs(),
            requests_per_sec: limits.per_second,
            requests_burst: limits.burst,
        }
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let security = raw.listen.security(&raw.authority)?;
        Ok(Self {
            server: Config {
                accept: raw.connections.accept_limits()?,
                limits: raw.limits.per_client()?,
                threads: raw.program.threads(),
                ..Config::new(raw.listen.address()?, security)
            },
            nodes: raw.node.nodes()?,
            program: raw.program.settings()?,
        })
    }
}

impl RawLimits {
    fn per_client(&self) -> Result<Limits, Invalid> {
        if self.requests_burst < TRANSACTION_DATA_COST {
            let what = format!("is {}", self.requests_burst);
            let fix = format!(
                "one request for transaction data costs {TRANSACTION_DATA_COST}: choose that or more"
            );
            return Err(Invalid::new("limits.requests_burst", what, fix));
        }
        let constraints_timeout = secs(
            "limits.constraints_timeout_secs",
            self.constraints_timeout_secs,
        );
        Ok(Limits {
            setup_timeout: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
            constraints_timeout: constraints_timeout?,
            burst: self.requests_burst,
            per_second: positive("limits.requests_per_sec", self.requests_per_sec)?,
        })
    }
}

#[cfg(test)]
mod tests;
