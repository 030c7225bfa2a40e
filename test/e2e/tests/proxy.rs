//! Sv2 devices and an Sv1 miner through the mining proxy, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::hub::TemplateHub;
use mining_proxy_core::{Snapshot, UpstreamStanding};
use roles_logic_sv2::channels::ChannelKind;
use stratum_e2e::chain::MinedBlock;
use stratum_e2e::eventually;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{
    ANYWHERE, Running, follow, pool_config, proxy_config, proxy_upstream, sv1_miner_config,
};
use stratum_e2e::regtest_node::{RegtestNode, Zmq};
use stratum_mining_device::MiningDevice;
use stratum_mining_proxy::Proxy;
use stratum_pool::{Pool, TemplateSource};

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// How the proxy uses a pool.
const MODES: [&str; 2] = ["aggregated", "transparent"];

/// How often the pool dies.
const DEATHS: u64 = 3;

/// How long a pool that is back may be without a share. Attempts to connect are seconds apart.
const BACK_TO_WORK: Duration = Duration::from_secs(10);

/// Shares that a pool gets before it counts as used.
const SOME_SHARES: u64 = 4;

/// Pools that share one embedded chain.
struct Site(TemplateHub);

impl Site {
    fn new() -> Self {
        Self(TemplateHub::spawn(Arc::new(EmbeddedNode::default())))
    }

    fn pool_at(&self, address: SocketAddr) -> Running<Pool> {
        let source = TemplateSource::InProcess(self.0.clone());
        Running::pool(pool_config(address, PAYEE), source)
    }
}

/// A server as one of the proxy's upstreams, in one of [`MODES`].
fn upstream(server: SocketAddr, mode: &str, keys: &[&str]) -> String {
    let mode = format!("mode = '{mode}'\nuser_identity = 'farm'");
    proxy_upstream(server, &[&[mode.as_str()], keys].concat())
}

fn proxy_on(server: SocketAddr, mode: &str) -> Running<Proxy> {
    Running::proxy(proxy_config(&[upstream(server, mode, &[])]))
}

/// A device of each kind, and an Sv1 miner.
fn farm(proxy: &Running<Proxy>) -> Vec<Running<MiningDevice>> {
    let devices = proxy.program.devices_addr().unwrap();
    let sv1 = proxy.program.sv1_addr().unwrap();
    vec![
        Running::miner(devices, ChannelKind::Standard, "farm.standard"),
        Running::miner(devices, ChannelKind::Extended, "farm.extended"),
        Running::miner_with(sv1_miner_config(sv1, false, "farm.sv1")),
    ]
}

fn shares(farm: &[Running<MiningDevice>]) -> Vec<u64> {
    let snapshots = farm.iter().map(|miner| miner.program.snapshot());
    snapshots.map(|miner| miner.acknowledged).collect()
}

/// Waits until each of them has so many more shares acknowledged.
async fn mine(farm: &[Running<MiningDevice>], count: u64) {
    let before = shares(farm);
    let look = async || shares(farm);
    eventually("shares of each miner", look, |now| {
        now.iter()
            .zip(&before)
            .all(|(now, before)| *now >= before + count)
    })
    .await;
}

/// Waits until the pool has so many shares accepted.
async fn credited(pool: &Running<Pool>, count: u64) {
    let look = async || pool.program.snapshot().shares_accepted;
    eventually("shares at the pool", look, |shares| *shares >= count).await;
}

async fn core(proxy: &Running<Proxy>) -> Snapshot {
    proxy.program.watcher().snapshot().await.core
}

/// Ends the miners: none of them has lost its connection or seen a message that is wrong.
async fn stop(farm: Vec<Running<MiningDevice>>, case: &str) {
    for miner in farm {
        let snapshot = miner.program.snapshot();
        assert_eq!(snapshot.reconnects, 0, "{case}: {snapshot:#?}");
        assert!(snapshot.anomalies.is_empty(), "{case}: {snapshot:#?}");
        miner.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_an_sv1_miner_are_on_one_connection_of_the_pool() {
    for mode in MODES {
        let panics = PanicWatch::new();
        let pool = Site::new().pool_at(ANYWHERE);
        let proxy = proxy_on(pool.program.local_addr(), mode);
        let farm = farm(&proxy);
        mine(&farm, 5).await;
        credited(&pool, 2 * SOME_SHARES).await;
        let snapshot = pool.program.snapshot();
        assert_eq!(snapshot.connections, 1, "{mode}: {snapshot:#?}");
        assert!(snapshot.rejects.is_empty(), "{mode}: {snapshot:#?}");
        // A share may cross a new tip on its way.
        let is_late = |code: &&str| *code == "stale-share";
        let rejected = &snapshot.shares_rejected;
        assert!(rejected.keys().all(is_late), "{mode}: {snapshot:#?}");
        let channels = core(&proxy).await.upstreams[0].channels;
        let expected = if mode == "aggregated" { 1 } else { farm.len() };
        assert_eq!(channels, expected, "{mode}");

        stop(farm, mode).await;
        let look = async || core(&proxy).await;
        let books = eventually("all shares are answered", look, |core| {
            let counts = core.upstream;
            core.miners.is_empty()
                && counts.passed_on == counts.accepted + counts.rejected + counts.lost
        })
        .await;
        assert_eq!(books.upstream.lost, 0, "{mode}: {books:#?}");
        let accepted = pool.program.snapshot().shares_accepted;
        assert_eq!(books.upstream.accepted, accepted, "{mode}: {books:#?}");
        proxy.stop().await;
        pool.stop().await;
        panics.assert_none();
    }
}

/// A device's block reaches the chain and pays whom it mines for: with one channel for all whom the proxy's configuration
/// names, with a channel for each whom the device names.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_devices_pay_whom_they_mine_for() {
    for mode in MODES {
        let panics = PanicWatch::new();
        let bitcoind = RegtestNode::start(Zmq::HashBlock).await.unwrap();
        let pooled = bitcoind.fund_wallet().await.unwrap();
        let solo = bitcoind.address("bech32m").await.unwrap();
        let start = bitcoind.height().await.unwrap();
        let hub = TemplateHub::spawn(follow(bitcoind.config()));
        let config = pool_config(ANYWHERE, &pooled);
        let pool = Running::pool(config, TemplateSource::InProcess(hub));

        let server = pool.program.local_addr();
        let (upstream, payees) = if mode == "aggregated" {
            let identity = format!("user_identity = '{solo}'\npayout = 'identity'");
            let upstream = proxy_upstream(server, &["mode = 'aggregated'", &identity]);
            (upstream, BTreeSet::from([solo.clone()]))
        } else {
            let upstream = proxy_upstream(server, &["mode = 'transparent'"]);
            (upstream, BTreeSet::from([solo.clone(), pooled.clone()]))
        };
        let proxy = Running::proxy(proxy_config(&[upstream]));
        let devices = proxy.program.devices_addr().unwrap();
        let farm = vec![
            Running::miner(devices, ChannelKind::Standard, "farm.rig"),
            Running::miner(devices, ChannelKind::Extended, &format!("{solo}.rig")),
        ];
        let mut paid = BTreeSet::new();
        let mut height = start;
        while paid != payees || shares(&farm).iter().any(|shares| *shares < SOME_SHARES) {
            height += 1;
            let look = async || bitcoind.height().await.unwrap();
            eventually("height", look, |now| *now >= height).await;
            let block = MinedBlock::at(&bitcoind, height).await.unwrap();
            block.assert_claims_everything();
            assert!(block.has_tag("Stratum"), "block {height} is not the pool's");
            let payouts: Vec<_> = block.payouts().into_keys().collect();
            assert_eq!(payouts.len(), 1, "{mode}: {payouts:?}");
            assert!(payees.contains(&payouts[0]), "{mode}: {payouts:?}");
            paid.extend(payouts);
        }
        stop(farm, mode).await;
        proxy.stop().await;
        pool.stop().await;
        panics.assert_none();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_dies_costs_no_device_its_connection() {
    for mode in MODES {
        let panics = PanicWatch::new();
        let site = Site::new();
        let mut pool = site.pool_at(ANYWHERE);
        let address = pool.program.local_addr();
        let proxy = proxy_on(address, mode);
        let farm = farm(&proxy);
        for death in 1..=DEATHS {
            mine(&farm, 2).await;
            credited(&pool, 1).await;
            pool.kill().await;
            pool = site.pool_at(address);
            let back = Instant::now();
            credited(&pool, 1).await;
            let took = back.elapsed();
            assert!(took < BACK_TO_WORK, "{mode}, death {death}: {took:?}");
        }
        mine(&farm, 2).await;
        stop(farm, mode).await;
        proxy.stop().await;
        pool.stop().await;
        panics.assert_none();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_share_two_pools_until_one_is_drained() {
    for mode in MODES {
        let panics = PanicWatch::new();
        let site = Site::new();
        let pools = [site.pool_at(ANYWHERE), site.pool_at(ANYWHERE)];
        let addresses = pools.each_ref().map(|pool| pool.program.local_addr());
        let config = |first: &str| {
            let same = "priority = 0\nweight = 50";
            proxy_config(&[
                upstream(addresses[0], mode, &[same, first]),
                upstream(addresses[1], mode, &[same]),
            ])
        };
        let proxy = Running::proxy(config(""));
        let farm = farm(&proxy);
        for pool in &pools {
            credited(pool, SOME_SHARES).await;
        }

        let later = proxy.program.reload(config("drain = true")).await.unwrap();
        assert_eq!(later, Vec::<&str>::new(), "{mode}: all of it at once");
        let look = async || core(&proxy).await.upstreams[0].clone();
        eventually("the first pool is left", look, |upstream| {
            upstream.is_drained
                && upstream.miners == 0
                && upstream.standing == UpstreamStanding::Down
        })
        .await;
        let look = async || pools[0].program.snapshot().connections;
        eventually("its connection ends", look, |open| *open == 0).await;
        let [left, used] = pools
            .each_ref()
            .map(|pool| pool.program.snapshot().shares_accepted);
        mine(&farm, SOME_SHARES).await;
        credited(&pools[1], used + SOME_SHARES).await;
        let shares = pools[0].program.snapshot().shares_accepted;
        assert_eq!(shares, left, "{mode}: the drained pool gets no share");

        proxy.program.reload(config("")).await.unwrap();
        credited(&pools[0], left + SOME_SHARES).await;
        stop(farm, mode).await;
        proxy.stop().await;
        for pool in pools {
            pool.stop().await;
        }
        panics.assert_none();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_stands_behind_a_proxy() {
    for outer in MODES {
        for inner in MODES {
            let case = format!("{inner} behind {outer}");
            let panics = PanicWatch::new();
            let pool = Site::new().pool_at(ANYWHERE);
            let front = proxy_on(pool.program.local_addr(), outer);
            let back = proxy_on(front.program.devices_addr().unwrap(), inner);
            let farm = farm(&back);
            mine(&farm, 3).await;
            credited(&pool, SOME_SHARES).await;
            let seen = core(&front).await;
            assert_eq!(seen.devices, 1, "{case}: {seen:#?}");
            let expected = if inner == "aggregated" { 1 } else { farm.len() };
            assert_eq!(seen.miners.len(), expected, "{case}: {seen:#?}");
            stop(farm, &case).await;
            back.stop().await;
            front.stop().await;
            pool.stop().await;
            panics.assert_none();
        }
    }
}
