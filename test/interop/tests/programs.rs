//! The reference implementation's programs and ours, each on its own side of a socket. `sri.sh` runs this.
//!
//! The chain is a real bitcoind's, hard enough that most shares are only shares.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use bitcoin_node::rpc::RpcNode;
use mining_proxy_core::{ChannelMode, ProxyConfig, UpstreamConfig, UpstreamStanding};
use network_helpers_sv2::ServerUrl;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::extensions::ExtensionPolicy;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_interop::eventually;
use stratum_interop::ours::{self, Home, authority_text};
use stratum_interop::programs::{HASHRATE, Program, SHARES_PER_MINUTE, scenario_folder};
use stratum_interop::signet::Signet;
use stratum_mining_device::workers::Effort;
use stratum_mining_device::{Config, MiningDevice};
use stratum_mining_proxy::Proxy;
use stratum_pool::Pool;
use stratum_runtime::Shutdown;
use stratum_translation::bridge::BridgeConfig;
use tokio::runtime::Runtime;

/// Shares that each miner gets credited before a scenario goes on.
const SHARES: u64 = 20;

/// Extension with which shares name their workers.
const WORKER_IDENTITY: u16 = 2;

/// Miners on one translator.
const MINERS: usize = 3;

fn vardiff() -> VardiffConfig {
    VardiffConfig {
        shares_per_minute: SHARES_PER_MINUTE,
        ..VardiffConfig::default()
    }
}

/// Where a scenario plays. Ours end before the chain does.
struct Stage {
    home: Home<RpcNode>,
    chain: Signet,
    folder: PathBuf,
}

impl Stage {
    fn new(scenario: &str) -> Self {
        let folder = scenario_folder(scenario);
        let runtime = Runtime::new().unwrap();
        let chain = Signet::start(&runtime, &folder.join("bitcoind.log"));
        Self {
            home: chain.home(runtime),
            chain,
            folder,
        }
    }

    fn wait_for_block(&self) {
        let above = self.chain.height(&self.home.runtime);
        eventually("another block", || {
            (self.chain.height(&self.home.runtime) > above).then_some(())
        });
    }

    fn our_pool(&self) -> Pool {
        let channels = ServerConfig {
            vardiff: vardiff(),
            ..ServerConfig::default()
        };
        self.home.start_pool_by(PoolConfig {
            // Their translator uses what is required of it.
            extensions: ExtensionPolicy::new([], [WORKER_IDENTITY]),
            channels: Arc::new(channels),
            ..PoolConfig::new(ours::payouts())
        })
    }

    /// Their pools, on one template provider of ours.
    fn their_pools<const N: usize>(&self) -> [Program; N] {
        let provider = self.home.start_template_provider().local_addr();
        std::array::from_fn(|number| Program::pool(&self.folder, provider, number as u16))
    }

    fn our_translator(&self, mode: ChannelMode, pools: &[Program]) -> Proxy {
        let upstream = |(pool, priority): (&Program, u32)| UpstreamConfig {
            user_identity: Some("farm".to_owned()),
            mode,
            priority,
            ..UpstreamConfig::new(&pool.listen.ip().to_string(), pool.listen.port())
        };
        let defaults = ProxyConfig::default();
        self.home.start_translator(ProxyConfig {
            upstreams: pools.iter().zip(0..).map(upstream).collect(),
            bridge: BridgeConfig {
                vardiff: vardiff(),
                nominal_hashrate: HASHRATE,
                ..defaults.bridge
            },
            ..defaults
        })
    }

    fn snapshot(&self, translator: &Proxy) -> mining_proxy_core::Snapshot {
        let snapshot = translator.watcher();
        let snapshot = self.home.runtime.block_on(snapshot.snapshot());
        assert_eq!(snapshot.panics, 0);
        snapshot.core
    }

    /// One of our miners, at a rate that leaves room for others.
    fn miner(&self, url: &str, channel: ChannelKind, name: &str) -> MiningDevice {
        let url: ServerUrl = url.parse().expect("a url");
        let config = Config {
            channel,
            user_identity: name.to_owned().try_into().expect("a short name"),
            nominal_hashrate: Some(HASHRATE as f32),
            effort: Effort {
                hashrate_limit: Some(HASHRATE),
                ..Effort::full(NonZeroUsize::MIN)
            },
            ..Config::from(url)
        };
        let _inside = self.home.runtime.enter();
        MiningDevice::start(config, Shutdown::new())
    }

    /// Several miners of the first protocol version.
    fn sv1_miners(&self, server: SocketAddr) -> Vec<MiningDevice> {
        let url = format!("stratum+tcp://{server}");
        let names = (1..=MINERS).map(|number| format!("farm.rig{number}"));
        let start = |name: String| self.miner(&url, ChannelKind::Extended, &name);
        names.map(start).collect()
    }
}

fn wait_for_shares(miners: &[MiningDevice]) {
    let credited = |miner: &MiningDevice| miner.snapshot().acknowledged;
    let goals: Vec<_> = miners
        .iter()
        .map(|miner| credited(miner) + SHARES)
        .collect();
    for (miner, goal) in miners.iter().zip(goals) {
        eventually("shares of a miner", || {
            (credited(miner) >= goal).then_some(())
        });
    }
}

/// A share that was under way when the tip changed is nobody's fault.
const TIP_CHANGED: &[&str] = &["stale"];

/// Nor is one that a miner finds while its translator has no pool.
const POOL_WAS_AWAY: &[&str] = &["stale", "no connection"];

fn faults<'a, K: AsRef<str> + 'a>(
    rejected: impl IntoIterator<Item = &'a K>,
    excuses: &[&str],
) -> Vec<&'a str> {
    let codes = rejected.into_iter().map(AsRef::as_ref);
    let is_fault = |code: &&str| !excuses.iter().any(|excuse| code.contains(excuse));
    codes.filter(is_fault).collect()
}

fn assert_sound(miners: &[MiningDevice], reconnects: u64, excuses: &[&str]) {
    for miner in miners {
        let snapshot = miner.snapshot();
        let faults = faults(snapshot.rejected.keys(), excuses);
        assert!(faults.is_empty(), "{snapshot:#?}");
        assert!(snapshot.anomalies.is_empty(), "{snapshot:#?}");
        assert_eq!(snapshot.reconnects, reconnects, "{snapshot:#?}");
    }
}

/// Channels that a translator opens for [`MINERS`].
fn channels(mode: ChannelMode) -> f64 {
    match mode {
        ChannelMode::Aggregated => 1.0,
        ChannelMode::PerMiner => MINERS as f64,
    }
}

/// Their pool has so many channels and refused nothing.
fn assert_takes_all(pool: &Program, channels: f64) {
    assert_eq!((pool.client_channels(), pool.faults()), (channels, 0.0));
}

fn their_translator_on_our_pool(mode: ChannelMode) {
    let stage = Stage::new(&format!("their_translator_on_our_pool_{mode:?}"));
    let pool = stage.our_pool();
    let translator = Program::translator(&stage.folder, pool.local_addr(), mode);
    let miners = stage.sv1_miners(translator.listen);
    wait_for_shares(&miners);
    stage.wait_for_block();
    assert_sound(&miners, 0, TIP_CHANGED);
    assert_eq!(translator.server_channels(), channels(mode));
    assert_eq!(translator.faults(), 0.0);
    let snapshot = pool.snapshot();
    assert!(
        faults(snapshot.shares_rejected.keys(), TIP_CHANGED).is_empty(),
        "{snapshot:#?}"
    );
    assert!(
        snapshot.rejects.is_empty() && snapshot.closed.is_empty(),
        "{snapshot:#?}"
    );
    assert!(snapshot.shares_accepted >= SHARES, "{snapshot:#?}");
    eventually("it counts what our pool acknowledged", || {
        (translator.accepted_by_server() >= snapshot.shares_accepted as f64).then_some(())
    });
}

#[test]
fn their_translator_mines_on_our_pool_with_one_channel() {
    their_translator_on_our_pool(ChannelMode::Aggregated);
}

#[test]
fn their_translator_mines_on_our_pool_with_a_channel_for_each_miner() {
    their_translator_on_our_pool(ChannelMode::PerMiner);
}

fn our_miner_on_their_pool(channel: ChannelKind) {
    let stage = Stage::new(&format!("our_miner_on_their_pool_{channel:?}"));
    let [mut pool] = stage.their_pools();
    let url = format!("stratum2+tcp://{}/{}", pool.listen, authority_text());
    let miners = [stage.miner(&url, channel, "farm.rig")];
    wait_for_shares(&miners);
    stage.wait_for_block();
    assert_sound(&miners, 0, TIP_CHANGED);
    assert_takes_all(&pool, 1.0);
    pool.kill();
    pool.restart();
    wait_for_shares(&miners);
    stage.wait_for_block();
    assert_sound(&miners, 1, TIP_CHANGED);
    assert_takes_all(&pool, 1.0);
}

#[test]
fn our_miner_mines_on_their_pool_with_a_standard_channel() {
    our_miner_on_their_pool(ChannelKind::Standard);
}

#[test]
fn our_miner_mines_on_their_pool_with_an_extended_channel() {
    our_miner_on_their_pool(ChannelKind::Extended);
}

/// Until all shares count for us that count for this pool, the first of our upstreams. Gives how many did in all.
fn wait_until_counted(stage: &Stage, translator: &Proxy, pool: &Program, earlier: u64) -> u64 {
    let theirs = eventually("it takes shares", || {
        let taken = pool.accepted_of_clients() as u64;
        (taken > 0).then_some(earlier + taken)
    });
    eventually("we count them", || {
        let ours = stage.snapshot(translator).upstreams[0].accepted;
        (ours >= theirs).then_some(ours)
    })
}

/// The pool dies in the middle; miners stay, and no share that it took is missing.
fn our_translator_on_their_pool(mode: ChannelMode) {
    let stage = Stage::new(&format!("our_translator_on_their_pool_{mode:?}"));
    let [mut pool] = stage.their_pools();
    let translator = stage.our_translator(mode, std::slice::from_ref(&pool));
    let miners = stage.sv1_miners(translator.local_addr());
    wait_for_shares(&miners);
    stage.wait_for_block();
    assert_sound(&miners, 0, TIP_CHANGED);
    assert_takes_all(&pool, channels(mode));
    let before = wait_until_counted(&stage, &translator, &pool, 0);
    pool.kill();
    pool.restart();
    wait_for_shares(&miners);
    stage.wait_for_block();
    wait_until_counted(&stage, &translator, &pool, before);
    assert_sound(&miners, 0, POOL_WAS_AWAY);
    assert_takes_all(&pool, channels(mode));
    let snapshot = stage.snapshot(&translator);
    assert!(
        faults(snapshot.rejected.keys(), POOL_WAS_AWAY).is_empty(),
        "{snapshot:#?}"
    );
    let rejected = &snapshot.upstreams[0].rejected;
    let faults = faults(rejected.keys(), TIP_CHANGED);
    assert!(faults.is_empty(), "{snapshot:#?}");
}

#[test]
fn our_translator_mines_on_their_pool_with_one_channel() {
    our_translator_on_their_pool(ChannelMode::Aggregated);
}

#[test]
fn our_translator_mines_on_their_pool_with_a_channel_for_each_miner() {
    our_translator_on_their_pool(ChannelMode::PerMiner);
}

/// Two pools of theirs, which give different prefixes: miners go to the second when the first dies, and back to it.
fn our_translator_between_their_pools(mode: ChannelMode) {
    let stage = Stage::new(&format!("our_translator_between_their_pools_{mode:?}"));
    let mut pools: [_; 2] = stage.their_pools();
    let translator = stage.our_translator(mode, &pools);
    let miners = stage.sv1_miners(translator.local_addr());
    let wait_until_used = |index: usize| {
        eventually("the upstream is used", || {
            let snapshot = stage.snapshot(&translator);
            (snapshot.upstreams[index].standing == UpstreamStanding::Used).then_some(())
        });
    };
    wait_for_shares(&miners);
    pools[0].kill();
    wait_until_used(1);
    wait_for_shares(&miners);
    assert_takes_all(&pools[1], channels(mode));
    pools[0].restart();
    wait_until_used(0);
    wait_for_shares(&miners);
    stage.wait_for_block();
    assert_sound(&miners, 0, POOL_WAS_AWAY);
    assert_takes_all(&pools[0], channels(mode));
    let snapshot = stage.snapshot(&translator);
    assert!(
        faults(snapshot.rejected.keys(), POOL_WAS_AWAY).is_empty(),
        "{snapshot:#?}"
    );
}

#[test]
fn our_translator_goes_to_another_pool_of_theirs_and_back_with_one_channel() {
    our_translator_between_their_pools(ChannelMode::Aggregated);
}

#[test]
fn our_translator_goes_to_another_pool_of_theirs_and_back_with_a_channel_for_each_miner() {
    our_translator_between_their_pools(ChannelMode::PerMiner);
}
