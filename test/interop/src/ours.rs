//! Our programs in this process, with a node of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin_node::Node;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::generate;
use bitcoin_node::hub::TemplateHub;
use mining_proxy_core::ProxyConfig;
use network_helpers_sv2::{ClientSecurity, ServerIdentity, ServerSecurity};
use noise_sv2::AuthoritySecretKey;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use stratum_mining_proxy::Proxy;
use stratum_pool::{Pool, TemplateSource};
use stratum_runtime::Shutdown;
use stratum_template_provider::TemplateProvider;
use tokio::runtime::Runtime;

/// Secret key of the authority of all servers here.
pub const AUTHORITY_SECRET: [u8; 32] = [3; 32];

/// Its public key, as clients pin it.
pub fn authority() -> [u8; 32] {
    secret_key().public_key().to_bytes()
}

/// The secret key as configurations have it.
pub fn authority_secret_text() -> String {
    secret_key().to_text().to_string()
}

/// The public key as configurations have it.
pub fn authority_text() -> String {
    secret_key().public_key().to_string()
}

fn secret_key() -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&AUTHORITY_SECRET).expect("it is in range")
}

/// How our clients make sure whom they talk to.
pub fn client_security() -> ClientSecurity {
    ClientSecurity::Noise {
        authority: Some(secret_key().public_key()),
    }
}

fn security() -> ServerSecurity {
    let identity = ServerIdentity::new(secret_key(), ServerIdentity::DEFAULT_VALIDITY);
    ServerSecurity::Noise(identity.into())
}

/// A runtime, a node, and what ends them.
pub struct Home<N: Node + 'static = EmbeddedNode> {
    /// Where our programs run.
    pub runtime: Runtime,
    /// The node; by default a regtest chain in this process.
    pub node: Arc<N>,
    shutdown: Shutdown,
}

impl Default for Home {
    fn default() -> Self {
        Self {
            runtime: Runtime::new().expect("threads"),
            node: Arc::default(),
            shutdown: Shutdown::new(),
        }
    }
}

impl<N: Node> Home<N> {
    /// On another node than the usual one, which needs `runtime`.
    pub fn on(runtime: Runtime, node: N) -> Self {
        Self {
            runtime,
            node: Arc::new(node),
            shutdown: Shutdown::new(),
        }
    }

    /// Starts our pool, its templates coming from the node.
    pub fn start_pool(&self) -> Pool {
        self.start_pool_by(PoolConfig::new(payouts()))
    }

    /// Starts our pool with these rules, its templates coming from the node.
    pub fn start_pool_by(&self, rules: PoolConfig) -> Pool {
        let _inside = self.runtime.enter();
        let hub = TemplateHub::spawn(self.node.clone());
        self.start_pool_from(TemplateSource::InProcess(hub), rules)
    }

    /// Starts our pool, its templates coming from the template provider at this address.
    pub fn start_pool_at(&self, provider: SocketAddr) -> Pool {
        let source = TemplateSource::Remote {
            endpoint: provider.to_string().parse().expect("an address"),
            security: client_security(),
        };
        self.start_pool_from(source, PoolConfig::new(payouts()))
    }

    fn start_pool_from(&self, source: TemplateSource, rules: PoolConfig) -> Pool {
        let _inside = self.runtime.enter();
        let config = stratum_pool::Config::new(any_port(), security(), rules);
        Pool::start(config, source, self.shutdown.clone()).expect("the pool starts")
    }

    /// Starts our translator, its upstreams as the rules have them.
    pub fn start_translator(&self, rules: ProxyConfig) -> Proxy {
        let _inside = self.runtime.enter();
        let security = vec![client_security(); rules.upstreams.len()];
        let config = stratum_mining_proxy::Config::for_sv1(any_port(), security, rules);
        Proxy::start(config, self.shutdown.clone()).expect("the translator starts")
    }

    /// Starts our template provider.
    pub fn start_template_provider(&self) -> TemplateProvider {
        let _inside = self.runtime.enter();
        let config = stratum_template_provider::Config::new(any_port(), security());
        TemplateProvider::start(config, self.node.clone(), self.shutdown.clone())
            .expect("the template provider starts")
    }

    /// Tells all programs to drain.
    pub fn drain(&self) {
        self.shutdown.drain();
    }
}

impl Home {
    /// Height of the node's tip.
    pub fn height(&self) -> u32 {
        self.node.with_chain(|chain| chain.height())
    }

    /// A transaction with a good fee comes into the node's mempool; the chain does not look at what it spends.
    pub fn add_transaction(&self) -> [u8; 32] {
        let spent = bitcoin::OutPoint::new(bitcoin::Txid::from_byte_array([9; 32]), 0);
        let transaction = bitcoin::Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![bitcoin::TxIn {
                previous_output: spent,
                witness: bitcoin::Witness::from_slice(&[[1; 64]]),
                ..bitcoin::TxIn::default()
            }],
            output: vec![bitcoin::TxOut {
                value: bitcoin::Amount::from_sat(1_000),
                script_pubkey: bitcoin::ScriptBuf::new(),
            }],
        };
        let raw = bitcoin::consensus::serialize(&transaction);
        self.node
            .add_transaction(&raw, 100_000)
            .expect("it is sound")
    }

    /// Another miner finds a block.
    pub fn find_block(&self) {
        let template = self.node.state().borrow().template.clone();
        let template = template.expect("the embedded node always has one");
        let mut block = generate::unsolved_block(&template, bitcoin::ScriptBuf::new()).unwrap();
        assert!(generate::solve(&mut block));
        let raw = bitcoin::consensus::serialize(&block);
        self.runtime.block_on(self.node.submit_block(raw.into()));
    }
}

impl<N: Node> Drop for Home<N> {
    fn drop(&mut self) {
        self.shutdown.end();
    }
}

/// Blocks pay whoever takes the coins first.
pub fn payouts() -> PoolPayouts {
    PoolPayouts::new(bitcoin::Network::Regtest, [("raw(51)", 1)]).expect("a descriptor")
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
