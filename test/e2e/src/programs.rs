//! The programs, started in this process as they are in one of their own: over Noise, on ports of this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bitcoin_node::rpc::{RpcConfig, RpcNode};
use bitcoin_node::set::{NodeSet, NodeSetConfig};
use bitcoin_node::{Network, Node};
use mining_proxy_core::{ChannelMode, ProxyConfig, UpstreamConfig};
use network_helpers_sv2::{
    ClientSecurity, Endpoint, ServerIdentity, ServerSecurity, Sv1Endpoint, TlsClient,
};
use noise_sv2::AuthoritySecretKey;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::downstream::Deadlines;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_mining_device::config::Sv1Config;
use stratum_mining_device::workers::Effort;
use stratum_mining_device::{Config as MinerConfig, MiningDevice};
use stratum_mining_proxy::{
    Config as ProxyServerConfig, ProgramConfig as ProxyProgramConfig, Proxy,
    RawConfig as RawProxyConfig,
};
use stratum_pool::{Config as PoolServerConfig, Pool, TemplateSource};
use stratum_runtime::Shutdown;
use stratum_runtime::config::Loader;
use stratum_template_provider::{Config as ProviderConfig, TemplateProvider};
use stratum_translation::bridge::BridgeConfig;

/// A free port of this machine.
pub const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Shares a minute of every miner here. On regtest each of them is a block, so this is the pace of the whole run.
pub const SHARES_PER_MINUTE: f64 = 240.0;

/// Hashes a second of every miner here; the pool asks for shares that this gives at the pace wanted.
pub const HASHRATE: f64 = 4_000.0;

/// The key that every server here is vouched for with.
///
/// # Panics
/// Never: the bytes are a key.
pub fn authority() -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&[3; 32]).expect("these bytes are a key")
}

/// How a server here is secured.
pub fn server_security() -> ServerSecurity {
    let identity = ServerIdentity::new(authority(), ServerIdentity::DEFAULT_VALIDITY);
    ServerSecurity::Noise(identity.into())
}

/// How a client here is secured.
pub fn client_security() -> ClientSecurity {
    ClientSecurity::Noise {
        authority: Some(authority().public_key()),
    }
}

/// A server here as its clients name it.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: Some(authority().public_key()),
    }
}

/// A node as programs follow it, one that is asked often: what is measured in minutes elsewhere takes seconds here.
///
/// # Panics
/// When the address is none.
pub fn follow(node: RpcConfig) -> Arc<dyn Node> {
    let node = RpcConfig {
        call_timeout: Duration::from_secs(2),
        fallback_poll_interval: Duration::from_millis(500),
        refresh_interval: Duration::from_millis(500),
        reconnect_pause_max: Duration::from_millis(500),
        ..node
    };
    let node = Arc::new(RpcNode::spawn(node).expect("a node's address")) as Arc<dyn Node>;
    let set = NodeSet::spawn(vec![node], NodeSetConfig::default());
    Arc::new(set.expect("a set of one node"))
}

/// A program under test, with an end of its own.
#[derive(Debug)]
pub struct Running<P> {
    /// The program.
    pub program: P,
    /// Its end.
    pub shutdown: Shutdown,
}

impl Running<TemplateProvider> {
    /// Starts a template provider.
    ///
    /// # Panics
    /// When it does not start.
    pub fn provider(config: ProviderConfig, node: Arc<dyn Node>) -> Self {
        let shutdown = Shutdown::new();
        let program = TemplateProvider::start(config, node, shutdown.clone());
        Self {
            program: program.expect("the template provider starts"),
            shutdown,
        }
    }
}

/// The configuration of a template provider at `listen`.
pub fn provider_config(listen: SocketAddr) -> ProviderConfig {
    ProviderConfig::new(listen, server_security())
}

impl Running<Pool> {
    /// Starts a pool.
    ///
    /// # Panics
    /// When it does not start.
    pub fn pool(config: PoolServerConfig, source: TemplateSource) -> Self {
        let shutdown = Shutdown::new();
        let program = Pool::start(config, source, shutdown.clone());
        Self {
            program: program.expect("the pool starts"),
            shutdown,
        }
    }
}

/// The configuration of a pool at `listen` whose blocks pay `address`.
///
/// # Panics
/// When there is no such address on regtest.
pub fn pool_config(listen: SocketAddr, address: &str) -> PoolServerConfig {
    let descriptor = format!("addr({address})");
    let payouts = PoolPayouts::new(Network::Regtest, [(descriptor.as_str(), 1)]);
    let rules = PoolConfig {
        channels: Arc::new(ServerConfig {
            // Regtest is easier than any difficulty that shares usually have.
            vardiff: VardiffConfig {
                shares_per_minute: SHARES_PER_MINUTE,
                min_difficulty: 1e-9,
            },
            is_target_fixed: true,
            slices: SliceLimits {
                max_shares: 1,
                ..SliceLimits::default()
            },
            ..ServerConfig::default()
        }),
        deadlines: Deadlines {
            drain: Duration::from_millis(500),
            ..Deadlines::default()
        },
        ..PoolConfig::new(payouts.expect("an address of regtest"))
    };
    PoolServerConfig::new(listen, server_security(), rules)
}

/// A template provider at `address` as a pool's source.
pub fn remote(address: SocketAddr) -> TemplateSource {
    TemplateSource::Remote {
        endpoint: endpoint(address),
        security: client_security(),
    }
}

impl Running<MiningDevice> {
    /// Starts a miner on a pool, at [`HASHRATE`].
    ///
    /// # Panics
    /// When the identity is above 255 bytes.
    pub fn miner(pool: SocketAddr, channel: ChannelKind, user_identity: &str) -> Self {
        let config = MinerConfig {
            channel,
            user_identity: user_identity
                .to_owned()
                .try_into()
                .expect("a short identity"),
            nominal_hashrate: Some(HASHRATE as f32),
            effort: Effort {
                hashrate_limit: Some(HASHRATE),
                ..Effort::full(NonZeroUsize::MIN)
            },
            ..MinerConfig::new(endpoint(pool))
        };
        let shutdown = Shutdown::new();
        let program = MiningDevice::start(config, shutdown.clone());
        Self { program, shutdown }
    }
}

/// An Sv1 miner's configuration for a server at `server`, at [`HASHRATE`]; its certificate is believed whatever it is.
///
/// # Panics
/// When the identity is above 255 bytes.
pub fn sv1_miner_config(server: SocketAddr, is_tls: bool, user: &str) -> MinerConfig {
    let config = MinerConfig::sv1(Sv1Endpoint {
        host: server.ip().to_string(),
        port: server.port(),
        is_tls,
    });
    MinerConfig {
        user_identity: user.to_owned().try_into().expect("a short identity"),
        nominal_hashrate: Some(HASHRATE as f32),
        effort: Effort {
            hashrate_limit: Some(HASHRATE),
            ..Effort::full(NonZeroUsize::MIN)
        },
        sv1: Sv1Config {
            shares_per_min: Some(SHARES_PER_MINUTE),
            tls: TlsClient::believing_anyone(),
            ..config.sv1.clone()
        },
        ..config
    }
}

impl Running<MiningDevice> {
    /// Starts a miner by its configuration.
    pub fn miner_with(config: MinerConfig) -> Self {
        let shutdown = Shutdown::new();
        let program = MiningDevice::start(config, shutdown.clone());
        Self { program, shutdown }
    }
}

/// What the bridge does with Sv1 miners here: [`HASHRATE`] at [`SHARES_PER_MINUTE`].
pub fn bridge_config() -> BridgeConfig {
    let mut config = BridgeConfig {
        vardiff: VardiffConfig {
            shares_per_minute: SHARES_PER_MINUTE,
            min_difficulty: 1e-9,
        },
        nominal_hashrate: HASHRATE,
        ..ProxyConfig::default().bridge
    };
    // Until its hash rate is known a miner here sends a hundred shares a second and more, and a pool that dies then leaves
    // it at that for as long as a busy machine takes to start another.
    config.server.max_line_burst = 100_000;
    config
}

/// The configuration of a translator on the pools at these addresses, the best first.
pub fn translator_config(pools: &[SocketAddr], mode: ChannelMode) -> ProxyServerConfig {
    let upstreams = pools
        .iter()
        .zip(0..)
        .map(|(pool, priority)| UpstreamConfig {
            user_identity: Some("farm".to_owned()),
            mode,
            priority,
            ..UpstreamConfig::new(&pool.ip().to_string(), pool.port())
        });
    let rules = ProxyConfig {
        upstreams: upstreams.collect(),
        bridge: bridge_config(),
        ..ProxyConfig::default()
    };
    let security = vec![client_security(); pools.len()];
    ProxyServerConfig::for_sv1(ANYWHERE, security, rules)
}

/// The configuration of a mining proxy for devices and Sv1 miners, as its program reads it. `upstreams` are its tables of
/// them; see [`proxy_upstream`].
///
/// # Panics
/// When the program would refuse it.
pub fn proxy_config(upstreams: &[String]) -> ProxyServerConfig {
    let upstreams = upstreams.concat();
    let key = authority().to_text();
    let text = format!(
        "{upstreams}\n\
        [listen]\naddress = '{ANYWHERE}'\n\
        [authority]\nsecret_key = '{}'\n\
        [sv1]\naddress = '{ANYWHERE}'\n\
        [difficulty]\nshares_per_minute = {SHARES_PER_MINUTE}\nminimum = 1e-9\nnominal_hashrate = {HASHRATE}\n\
        [failover]\nsettle_secs = 1\n",
        &*key
    );
    let loader = Loader::new("proxy").text("proxy.toml", &text);
    let loaded = loader.and_then(|loader| loader.load::<RawProxyConfig, _>());
    let config: ProxyProgramConfig = loaded.expect("a configuration of the proxy");
    config.proxy
}

/// A table of a mining proxy's configuration: the server at this address, with keys and values as in `mode = 'aggregated'`.
pub fn proxy_upstream(server: SocketAddr, keys: &[&str]) -> String {
    let (server, keys) = (endpoint(server), keys.join("\n"));
    format!("[[upstreams]]\nurl = '{server}'\n{keys}\n")
}

impl Running<Proxy> {
    /// Starts a translator.
    ///
    /// # Panics
    /// When it does not start.
    pub fn translator(config: ProxyServerConfig) -> Self {
        Self::proxy(config)
    }

    /// Starts a mining proxy.
    ///
    /// # Panics
    /// When it does not start.
    pub fn proxy(config: ProxyServerConfig) -> Self {
        let shutdown = Shutdown::new();
        let program = Proxy::start(config, shutdown.clone());
        Self {
            program: program.expect("the proxy starts"),
            shutdown,
        }
    }
}

/// Something that ends when it has drained.
trait Joined {
    async fn joined(self);
}

impl Joined for TemplateProvider {
    async fn joined(self) {
        self.join().await;
    }
}

impl Joined for Pool {
    async fn joined(self) {
        self.join().await;
    }
}

impl Joined for Proxy {
    async fn joined(self) {
        self.join().await;
    }
}

impl Joined for MiningDevice {
    async fn joined(self) {
        self.join().await;
    }
}

#[allow(private_bounds, reason = "only the programs here end")]
impl<P: Joined> Running<P> {
    /// Drains the program and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(self) {
        self.shutdown.drain();
        let joined = tokio::time::timeout(crate::PATIENCE, self.program.joined()).await;
        joined.expect("a program that is drained ends");
    }

    /// Ends the program without a grace time.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn kill(self) {
        self.shutdown.end();
        self.stop().await;
    }
}
