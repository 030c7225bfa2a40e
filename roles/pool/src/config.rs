//! The configuration, as it is written and as it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use const_sv2::EXTENSION_WORKER_IDENTITY;
use network_helpers_sv2::{ClientSecurity, Endpoint, Options, ServerSecurity};
use pool_core::descriptor::DescriptorError;
use pool_core::payout::{PayoutError, PoolPayouts};
use pool_core::shard::{PoolConfig, Shard, ShardError};
use pool_core::sv1::Sv1Config;
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::downstream::{DEFAULT_MAX_WORKERS, Deadlines};
use roles_logic_sv2::extensions::ExtensionPolicy;
use roles_logic_sv2::extranonce::ExtranonceLayout;
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::vardiff::VardiffConfig;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use stratum_runtime::AcceptLimits;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::{
    ProgramSettings, RawAuthority, RawConnections, RawListen, RawProgram, Usual, positive, secs,
};
use stratum_runtime::config::sv1::{
    RawMinerLimits, RawTls, above_zero, extranonce2_size, socket_address, version_mask,
};
use stratum_runtime::node::{NodesConfig, RawNode};
use stratum_translation::bridge::{
    BridgeConfig, DEFAULT_EXTRANONCE2_SIZE, DEFAULT_NOMINAL_HASHRATE,
};
use sv1_api::server::DEFAULT_VERSION_MASK;

use crate::{Config, MAX_PAYLOAD_LEN, Sv1Listen};

/// The commented configuration that `stratum config init pool` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../pool-config.toml");

/// Shares a minute that a channel may be asked for at most: ten a second.
const SHARES_PER_MINUTE_MAX: f64 = 600.0;

/// The port of Sv1 miners in examples.
const SV1_PORT: u16 = 3333;

/// What the program needs besides.
#[derive(Clone, Debug)]
pub struct ProgramConfig {
    /// The server.
    pub pool: Config,
    /// Where templates come from.
    pub templates: TemplatesConfig,
    /// Its log and its end.
    pub program: ProgramSettings,
}

/// Where templates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplatesConfig {
    /// Nodes, asked by this process itself.
    Nodes(NodesConfig),
    /// A template provider over the wire.
    Provider {
        /// Its address.
        endpoint: Endpoint,
        /// How the connection is secured.
        security: ClientSecurity,
    },
}

/// What a pool takes where nothing is said.
#[derive(Clone, Debug, PartialEq)]
struct Usually;

impl Usual for Usually {
    const PORT: u16 = 34254;
    const THREADS: usize = 0;

    fn accept_limits() -> AcceptLimits {
        AcceptLimits::default()
    }
}

/// The keys as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    listen: RawListen<Usually>,
    authority: RawAuthority,
    template_provider: RawTemplateProvider,
    node: RawNode,
    payout: RawPayout,
    shares: RawShares,
    channels: RawChannels,
    extranonce: RawExtranonce,
    sv1: RawSv1,
    connections: RawConnections<Usually>,
    limits: RawLimits,
    program: RawProgram<Usually>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RawTemplateProvider {
    url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawPayout {
    outputs: Option<Vec<RawOutput>>,
    tag: String,
    identity_payouts: bool,
}

/// An output, written as a descriptor alone or with its weight.
#[derive(Clone, Debug, PartialEq)]
struct RawOutput {
    descriptor: String,
    weight: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawShares {
    per_minute: f64,
    min_difficulty: f64,
    acknowledge_after: u32,
    acknowledge_after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawChannels {
    version_rolling: bool,
    worker_identity_required: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawExtranonce {
    size: usize,
    server_id: u32,
    server_id_size: usize,
    channel_number_size: usize,
    channels_per_thread: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawSv1 {
    shared_port: bool,
    address: Option<String>,
    extranonce2_size: usize,
    version_mask: String,
    nominal_hashrate: f64,
    keep_alive_secs: u64,
    tls: RawTls,
    limits: RawMinerLimits,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawLimits {
    channels_per_connection: usize,
    payouts_per_thread: usize,
    workers_per_connection: usize,
    shares_per_tip: usize,
    setup_timeout_secs: u64,
    channel_timeout_secs: u64,
    idle_timeout_secs: u64,
    stall_timeout_secs: u64,
    drain_secs: u64,
}

impl Default for RawPayout {
    fn default() -> Self {
        Self {
            outputs: None,
            tag: "Stratum".to_owned(),
            identity_payouts: true,
        }
    }
}

impl Default for RawShares {
    fn default() -> Self {
        let (vardiff, slices) = (VardiffConfig::default(), SliceLimits::default());
        Self {
            per_minute: vardiff.shares_per_minute,
            min_difficulty: vardiff.min_difficulty,
            acknowledge_after: slices.max_shares,
            acknowledge_after_ms: millis(slices.max_age),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Default for RawChannels {
    fn default() -> Self {
        Self {
            version_rolling: true,
            worker_identity_required: false,
        }
    }
}

impl Default for RawExtranonce {
    fn default() -> Self {
        let layout = ExtranonceLayout::default();
        Self {
            size: layout.full_size,
            server_id: 0,
            server_id_size: layout.server_id_size,
            channel_number_size: layout.channel_number_size,
            channels_per_thread: layout.max_channels,
        }
    }
}

impl Default for RawSv1 {
    fn default() -> Self {
        Self {
            shared_port: false,
            address: None,
            extranonce2_size: DEFAULT_EXTRANONCE2_SIZE,
            version_mask: format!("{DEFAULT_VERSION_MASK:08x}"),
            nominal_hashrate: DEFAULT_NOMINAL_HASHRATE,
            keep_alive_secs: sv1_api::server::ServerConfig::default()
                .job_interval
                .as_secs(),
            tls: RawTls::default(),
            limits: RawMinerLimits::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let (deadlines, options) = (Deadlines::default(), Options::default());
        let channels = ServerConfig::default();
        Self {
            channels_per_connection: channels.max_channels,
            payouts_per_thread: pool_core::shard::DEFAULT_MAX_PAYOUTS,
            workers_per_connection: DEFAULT_MAX_WORKERS,
            shares_per_tip: channels.max_shares_per_tip,
            setup_timeout_secs: deadlines.setup.as_secs(),
            channel_timeout_secs: deadlines.first_channel.as_secs(),
            idle_timeout_secs: options.idle_timeout.unwrap_or_default().as_secs(),
            stall_timeout_secs: options.stall_timeout.as_secs(),
            drain_secs: deadlines.drain.as_secs(),
        }
    }
}

impl<'de> Deserialize<'de> for RawOutput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutputVisitor;

        impl<'de> Visitor<'de> for OutputVisitor {
            type Value = RawOutput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a descriptor, or { descriptor = \"…\", weight = 1 }")
            }

            fn visit_str<E>(self, descriptor: &str) -> Result<RawOutput, E> {
                Ok(RawOutput {
                    descriptor: descriptor.to_owned(),
                    weight: 1,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawOutput, A::Error> {
                let (mut descriptor, mut weight) = (None, 1);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "descriptor" => descriptor = Some(map.next_value()?),
                        _ => weight = map.next_value()?,
                    }
                }
                let descriptor = descriptor.ok_or_else(|| A::Error::missing_field("descriptor"))?;
                Ok(RawOutput { descriptor, weight })
            }
        }

        deserializer.deserialize_struct("output", &["descriptor", "weight"], OutputVisitor)
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let security = raw.listen.security(&raw.authority)?;
        let chain = raw.node.chain()?.unwrap_or(Network::Bitcoin);
        let rules = raw.rules(chain)?;
        let pool = Config {
            accept: raw.connections.accept_limits()?,
            connection: raw.limits.options()?,
            threads: raw.program.threads(),
            sv1: raw.sv1(&security)?,
            ..Config::new(raw.listen.address()?, security, rules)
        };
        Ok(Self {
            pool,
            templates: raw.templates(chain)?,
            program: raw.program.settings()?,
        })
    }
}

impl RawConfig {
    fn templates(&self, chain: Network) -> Result<TemplatesConfig, Invalid> {
        const KEY: &str = "template_provider.url";
        let Some(url) = &self.template_provider.url else {
            return Ok(TemplatesConfig::Nodes(self.node.nodes_on(Some(chain))?));
        };
        let endpoint: Endpoint =
            url.parse()
                .map_err(|error: network_helpers_sv2::EndpointError| {
                    Invalid::new(KEY, error.to_string(), "")
                })?;
        let security = match endpoint.authority {
            Some(authority) => ClientSecurity::Noise {
                authority: Some(authority),
            },
            None => ClientSecurity::Plain,
        };
        Ok(TemplatesConfig::Provider { endpoint, security })
    }

    fn sv1(&self, security: &ServerSecurity) -> Result<Option<Sv1Listen>, Invalid> {
        let sv1 = &self.sv1;
        let address = sv1.address.as_deref();
        let address = address.map(|text| socket_address("sv1.address", text, SV1_PORT));
        let (address, tls) = (
            address.transpose()?,
            sv1.tls.listen("sv1.tls", SV1_PORT + 1)?,
        );
        if sv1.shared_port && matches!(security, ServerSecurity::Plain) {
            let what = "needs encryption, as only an encrypted beginning can be told from Sv1";
            let fix = "set listen.encrypted = true, or give Sv1 miners sv1.address";
            return Err(Invalid::new("sv1.shared_port", what, fix));
        }
        let rules = sv1.rules(self.shares.vardiff()?)?;
        let options = sv1.limits.options("sv1.limits")?;
        let is_served = sv1.shared_port || address.is_some() || tls.is_some();
        Ok(is_served.then_some(Sv1Listen {
            address,
            tls,
            shares_port: sv1.shared_port,
            rules,
            options,
            ban: sv1.limits.ban(),
        }))
    }

    fn rules(&self, chain: Network) -> Result<PoolConfig, Invalid> {
        let worker_identity = [EXTENSION_WORKER_IDENTITY];
        let required = worker_identity
            .into_iter()
            .filter(|_| self.channels.worker_identity_required);
        let rules = PoolConfig {
            honours_identity_patterns: self.payout.identity_payouts,
            pool_tag: self.payout.tag.clone(),
            extranonce: self.extranonce.layout(),
            server_id: self.extranonce.server_id,
            channels: Arc::new(self.server()?),
            extensions: ExtensionPolicy::new(worker_identity, required),
            version_rolling_allowed: self.channels.version_rolling,
            max_payouts: self.limits.payouts_per_thread,
            max_workers: self.limits.workers_per_connection,
            deadlines: self.limits.deadlines()?,
            ..PoolConfig::new(self.payout.payouts(chain)?)
        };
        let threads = match self.program.threads() {
            Some(threads) => threads,
            None => std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN),
        };
        let rules = PoolConfig {
            shards: u32::try_from(threads.get()).unwrap_or(u32::MAX),
            ..rules
        };
        // The last thread has the highest number, so what fits it fits all.
        Shard::new(Arc::new(rules.clone()), rules.shards - 1).map_err(unfit)?;
        Ok(rules)
    }

    fn server(&self) -> Result<ServerConfig, Invalid> {
        let limits = &self.limits;
        Ok(ServerConfig {
            max_channels: positive(
                "limits.channels_per_connection",
                limits.channels_per_connection,
            )?,
            max_shares_per_tip: positive("limits.shares_per_tip", limits.shares_per_tip)?,
            vardiff: self.shares.vardiff()?,
            slices: self.shares.slices()?,
            ..ServerConfig::default()
        })
    }
}

fn unfit(error: ShardError) -> Invalid {
    match error {
        ShardError::Extranonce(error) => {
            let fix = "make more bytes for it, or choose a smaller server id or fewer threads";
            Invalid::new("extranonce", error.to_string(), fix)
        }
        other => Invalid::new(
            "payout",
            other.to_string(),
            "shorten payout.tag, or choose a smaller extranonce",
        ),
    }
}

impl RawPayout {
    fn payouts(&self, chain: Network) -> Result<PoolPayouts, Invalid> {
        const KEY: &str = "payout.outputs";
        let Some(outputs) = &self.outputs else {
            let fix = "say whom a block pays, for example outputs = [\"addr(YOUR ADDRESS)\"]";
            return Err(Invalid::new(KEY, "is missing", fix));
        };
        let outputs = outputs
            .iter()
            .map(|output| (output.descriptor.as_str(), output.weight));
        PoolPayouts::new(chain, outputs).map_err(|error| {
            let fix = match error {
                PayoutError::Descriptor {
                    source: DescriptorError::OtherChain { .. },
                    ..
                } => format!("node.chain says {}", chain.to_core_arg()),
                _ => String::new(),
            };
            Invalid::new(KEY, error.to_string(), fix)
        })
    }
}

impl RawSv1 {
    fn rules(&self, vardiff: VardiffConfig) -> Result<Sv1Config, Invalid> {
        let mask = version_mask("sv1.version_mask", &self.version_mask)?;
        let interval = secs("sv1.keep_alive_secs", self.keep_alive_secs)?;
        Ok(Sv1Config {
            bridge: BridgeConfig {
                server: self.limits.server("sv1.limits", mask, interval)?,
                vardiff,
                nominal_hashrate: above_zero("sv1.nominal_hashrate", self.nominal_hashrate)?,
                limits: ShareLimits::default(),
            },
            extranonce2_size: extranonce2_size("sv1.extranonce2_size", self.extranonce2_size)?,
        })
    }
}

impl RawShares {
    fn vardiff(&self) -> Result<VardiffConfig, Invalid> {
        if !(self.per_minute > 0.0 && self.per_minute <= SHARES_PER_MINUTE_MAX) {
            let fix = format!("choose more than 0 and at most {SHARES_PER_MINUTE_MAX}");
            let what = format!("is {}", self.per_minute);
            return Err(Invalid::new("shares.per_minute", what, fix));
        }
        if !(self.min_difficulty > 0.0 && self.min_difficulty.is_finite()) {
            let what = format!("is {}", self.min_difficulty);
            return Err(Invalid::new(
                "shares.min_difficulty",
                what,
                "choose more than 0",
            ));
        }
        Ok(VardiffConfig {
            shares_per_minute: self.per_minute,
            min_difficulty: self.min_difficulty,
        })
    }

    fn slices(&self) -> Result<SliceLimits, Invalid> {
        let age_ms = positive("shares.acknowledge_after_ms", self.acknowledge_after_ms)?;
        Ok(SliceLimits {
            max_shares: positive("shares.acknowledge_after", self.acknowledge_after)?,
            max_age: Duration::from_millis(age_ms),
        })
    }
}

impl RawExtranonce {
    const fn layout(&self) -> ExtranonceLayout {
        ExtranonceLayout {
            full_size: self.size,
            server_id_size: self.server_id_size,
            channel_number_size: self.channel_number_size,
            max_channels: self.channels_per_thread,
        }
    }
}

impl RawLimits {
    fn deadlines(&self) -> Result<Deadlines, Invalid> {
        Ok(Deadlines {
            setup: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
            first_channel: secs("limits.channel_timeout_secs", self.channel_timeout_secs)?,
            drain: Duration::from_secs(self.drain_secs),
        })
    }

    fn options(&self) -> Result<Options, Invalid> {
        Ok(Options {
            handshake_timeout: secs("limits.setup_timeout_secs", self.setup_timeout_secs)?,
            idle_timeout: Some(secs("limits.idle_timeout_secs", self.idle_timeout_secs)?),
            stall_timeout: secs("limits.stall_timeout_secs", self.stall_timeout_secs)?,
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        })
    }
}

#[cfg(test)]
mod tests;
