//! The configuration, as it is written and as it is used.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use bitcoin_node::Network;
use bitcoin_node::rpc::RpcConfig;
use bitcoin_node::set::NODES_MAX;
use network_helpers_sv2::{ServerIdentity, ServerSecurity};
use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};
use serde::Deserialize;
use stratum_runtime::config::Invalid;
use stratum_runtime::{AcceptLimits, DEFAULT_GRACE_SECS, Secret};
use template_provider_core::{Limits, TRANSACTION_DATA_COST};

use crate::NodesConfig;

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
    /// Threads that serve connections.
    pub threads: NonZeroUsize,
}

impl Config {
    /// The defaults for a listener at `listen`.
    pub fn new(listen: SocketAddr, security: ServerSecurity) -> Self {
        Self {
            listen,
            security,
            accept: AcceptLimits {
                connections: 1_000,
                per_address: 100,
                per_second: 100,
                burst: 500,
            },
            limits: Limits::default(),
            threads: NonZeroUsize::MIN,
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
    /// What is logged, see [`stratum_runtime::logging::init`].
    pub log_level: String,
    /// How long draining may take.
    pub grace: Duration,
}

/// The keys as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    listen: RawListen,
    authority: RawAuthority,
    node: RawNode,
    limits: RawLimits,
    program: RawProgram,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawListen {
    address: String,
    encrypted: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawAuthority {
    secret_key: Option<Secret<String>>,
    public_key: Option<String>,
    certificate_validity_secs: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawNode {
    urls: Vec<Secret<String>>,
    chain: Option<String>,
    empty_template_first: bool,
    fees_delta_sats: u64,
    refresh_secs: u64,
    call_timeout_secs: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawLimits {
    connections: usize,
    connections_per_address: usize,
    connections_per_sec: u32,
    connections_burst: u32,
    setup_timeout_secs: u64,
    constraints_timeout_secs: u64,
    requests_per_sec: u32,
    requests_burst: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawProgram {
    threads: usize,
    log: String,
    grace_secs: u64,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8442".to_owned(),
            encrypted: true,
        }
    }
}

impl Default for RawAuthority {
    fn default() -> Self {
        Self {
            secret_key: None,
            public_key: None,
            certificate_validity_secs: ServerIdentity::DEFAULT_VALIDITY.as_secs(),
        }
    }
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            urls: vec![Secret::new("rpc://127.0.0.1".to_owned())],
            chain: None,
            empty_template_first: true,
            fees_delta_sats: 1_000,
            refresh_secs: 30,
            call_timeout_secs: 15,
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let server = Config::new(([0; 4], 0).into(), ServerSecurity::Plain);
        Self {
            connections: server.accept.connections,
            connections_per_address: server.accept.per_address,
            connections_per_sec: server.accept.per_second,
            connections_burst: server.accept.burst,
            setup_timeout_secs: server.limits.setup_timeout.as_secs(),
            constraints_timeout_secs: server.limits.constraints_timeout.as_secs(),
            requests_per_sec: server.limits.per_second,
            requests_burst: server.limits.burst,
        }
    }
}

impl Default for RawProgram {
    fn default() -> Self {
        Self {
            threads: 1,
            log: stratum_runtime::logging::DEFAULT_LEVEL.to_owned(),
            grace_secs: DEFAULT_GRACE_SECS,
        }
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let listen = raw.listen.address.parse().map_err(|_| {
            let what = format!("`{}` is no address with a port", raw.listen.address);
            let fix = "write one such as 127.0.0.1:8442, or 0.0.0.0:8442 for all of this machine's";
            Invalid::new("listen.address", what, fix)
        })?;
        let security = raw.authority.security(raw.listen.encrypted)?;
        Ok(Self {
            server: Config {
                accept: raw.limits.accept()?,
                limits: raw.limits.per_client()?,
                threads: NonZeroUsize::new(raw.program.threads)
                    .ok_or_else(|| zero("program.threads"))?,
                ..Config::new(listen, security)
            },
            nodes: raw.node.nodes()?,
            log_level: raw.program.log,
            grace: Duration::from_secs(raw.program.grace_secs),
        })
    }
}

fn zero(key: &str) -> Invalid {
    Invalid::new(key, "is 0", "choose 1 or more")
}

fn secs(key: &str, secs: u64) -> Result<Duration, Invalid> {
    match secs {
        0 => Err(zero(key)),
        secs => Ok(Duration::from_secs(secs)),
    }
}

impl RawAuthority {
    fn security(&self, is_encrypted: bool) -> Result<ServerSecurity, Invalid> {
        let validity = secs(
            "authority.certificate_validity_secs",
            self.certificate_validity_secs,
        )?;
        if !is_encrypted {
            return Ok(ServerSecurity::Plain);
        }
        let make = "make a pair with `stratum keys`";
        let Some(secret) = &self.secret_key else {
            let fix = format!("{make}, or set listen.encrypted = false on a network of your own");
            return Err(Invalid::new("authority.secret_key", "is missing", fix));
        };
        let secret = AuthoritySecretKey::from_str(secret.expose())
            .map_err(|error| Invalid::new("authority.secret_key", error.to_string(), make))?;
        if let Some(public) = &self.public_key {
            let public = AuthorityPublicKey::from_str(public)
                .map_err(|error| Invalid::new("authority.public_key", error.to_string(), make))?;
            if public != secret.public_key() {
                let fix = format!("the secret key's public key is {}", secret.public_key());
                let what = "does not belong to authority.secret_key";
                return Err(Invalid::new("authority.public_key", what, fix));
            }
        }
        let identity = ServerIdentity::new(secret, validity);
        Ok(ServerSecurity::Noise(identity.into()))
    }
}

impl RawNode {
    fn nodes(&self) -> Result<NodesConfig, Invalid> {
        const KEY: &str = "node.urls";
        let chain = self.chain.as_deref().map(parse_chain).transpose()?;
        match self.urls.as_slice() {
            [] => Err(Invalid::new(
                KEY,
                "is empty",
                "name at least one node, such as rpc://127.0.0.1:8332",
            )),
            [only] if only.expose() == "embedded" => Ok(NodesConfig::Embedded),
            urls if urls.len() > NODES_MAX => {
                let what = format!("names {} nodes", urls.len());
                Err(Invalid::new(KEY, what, format!("name at most {NODES_MAX}")))
            }
            urls => {
                let nodes = urls.iter().map(|url| self.node(url.expose(), chain));
                Ok(NodesConfig::Rpc(nodes.collect::<Result<_, _>>()?))
            }
        }
    }

    fn node(&self, url: &str, chain: Option<Network>) -> Result<RpcConfig, Invalid> {
        // The error never repeats the address: it may hold a password.
        let node = RpcConfig::from_url(url, chain, std::env::home_dir()).map_err(|error| {
            let fix = "see the comment on node.urls in the configuration that `stratum config init` writes";
            Invalid::new("node.urls", error.to_string(), fix)
        })?;
        Ok(RpcConfig {
            empty_template_first: self.empty_template_first,
            fees_delta_sats: self.fees_delta_sats,
            refresh_interval: secs("node.refresh_secs", self.refresh_secs)?,
            call_timeout: secs("node.call_timeout_secs", self.call_timeout_secs)?,
            ..node
        })
    }
}

fn parse_chain(name: &str) -> Result<Network, Invalid> {
    Ok(match name {
        "mainnet" | "main" => Network::Bitcoin,
        "testnet" | "test" => Network::Testnet,
        "testnet4" => Network::Testnet4,
        "signet" => Network::Signet,
        "regtest" => Network::Regtest,
        other => {
            let fix = "choose mainnet, testnet, testnet4, signet or regtest";
            return Err(Invalid::new(
                "node.chain",
                format!("`{other}` is no chain"),
                fix,
            ));
        }
    })
}

impl RawLimits {
    fn accept(&self) -> Result<AcceptLimits, Invalid> {
        if self.connections == 0 {
            return Err(zero("limits.connections"));
        }
        if self.connections_per_address == 0 {
            return Err(zero("limits.connections_per_address"));
        }
        if self.connections_per_sec == 0 {
            return Err(zero("limits.connections_per_sec"));
        }
        if self.connections_burst == 0 {
            return Err(zero("limits.connections_burst"));
        }
        Ok(AcceptLimits {
            connections: self.connections,
            per_address: self.connections_per_address,
            per_second: self.connections_per_sec,
            burst: self.connections_burst,
        })
    }

    fn per_client(&self) -> Result<Limits, Invalid> {
        if self.requests_per_sec == 0 {
            return Err(zero("limits.requests_per_sec"));
        }
        if self.requests_burst < TRANSACTION_DATA_COST {
            let what = format!("is {}", self.requests_burst);
            let fix = format!(
                "one request for transaction data costs {TRANSACTION_DATA_COST}: choose that or more"
            );
            return Err(Invalid::new("limits.requests_burst", what, fix));
        }
        Ok(Limits {
            setup_timeout: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
            constraints_timeout: secs(
                "limits.constraints_timeout_secs",
                self.constraints_timeout_secs,
            )?,
            burst: self.requests_burst,
            per_second: self.requests_per_sec,
        })
    }
}

#[cfg(test)]
mod tests;
