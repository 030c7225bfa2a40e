//! Our miner and our proxy before a pool that does wrong, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::net::SocketAddr;
use std::time::Duration;

use mining_proxy_core::Snapshot;
use roles_logic_sv2::channels::ChannelKind;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{Running, authority, proxy_config, proxy_upstream};
use stratum_e2e::{PATIENCE, eventually};
use stratum_mining_device::MiningDevice;
use stratum_mining_proxy::Proxy;
use stratum_test_pool::{Counters, Delivery, Door, Lie, Reception, TestPool};
use tokio::time::timeout;

/// A share takes a miner here a tenth of a second.
const DIFFICULTY: f64 = 1e-7;

/// Shares after which a pool counts as in use.
const SOME_SHARES: u64 = 3;

/// What ends a connection, whoever hears it.
const FATAL: [Lie; 5] = [
    Lie::Malformed,
    Lie::Oversize,
    Lie::Truncated,
    Lie::Garbage,
    Lie::Disconnect,
];

/// What no client has to leave for, and is not to fall over.
const HARMLESS: [Lie; 8] = [
    Lie::OtherPayee,
    Lie::InvalidNbits,
    Lie::WrongKind,
    Lie::BadCoinbase,
    Lie::UnaskedOpen,
    Lie::UnaskedUpdate,
    Lie::UnknownMessage,
    Lie::UnknownExtension,
];

/// What a proxy leaves a pool for, with the reason that it counts.
const BROKEN_WORDS: [(Lie, &str); 4] = [
    (Lie::UnknownChannel, "unknown-channel"),
    (Lie::UnsentAccepted, "unsent-share"),
    (Lie::UnsentRejected, "unsent-share"),
    (Lie::ShrinkExtranonce, "extranonce-size"),
];

async fn pool() -> TestPool {
    let builder = TestPool::builder().authority(authority());
    builder.difficulty(DIFFICULTY).start().await.unwrap()
}

async fn until(pool: &TestPool, what: &str, is_it: impl FnMut(&Counters) -> bool) -> Counters {
    let waited = timeout(PATIENCE, pool.wait_until(is_it)).await;
    waited.unwrap_or_else(|_| panic!("not in time: {what}: {:#?}", pool.counters()))
}

async fn mines(pool: &TestPool, what: &str) {
    let wanted = pool.counters().shares_good + SOME_SHARES;
    until(pool, what, |counters| counters.shares_good >= wanted).await;
}

fn device(server: SocketAddr, channel: ChannelKind) -> Running<MiningDevice> {
    Running::miner(server, channel, "farm.rig1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_comes_back_from_whatever_ends_its_connection() {
    let panics = PanicWatch::new();
    for channel in [ChannelKind::Standard, ChannelKind::Extended] {
        let pool = pool().await;
        let miner = device(pool.address(), channel);
        mines(&pool, "the first shares").await;
        for lie in FATAL {
            let before = pool.counters().connections_total;
            assert_eq!(pool.misbehave(lie.clone()).await, 1, "{lie}");
            let what = lie.to_string();
            until(&pool, &what, |counters| counters.connections_total > before).await;
            mines(&pool, &what).await;
        }
        for lie in HARMLESS {
            assert_eq!(pool.misbehave(lie.clone()).await, 1, "{lie}");
            mines(&pool, &lie.to_string()).await;
        }
        miner.stop().await;
        pool.stop().await;
    }
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_waits_for_a_pool_that_does_not_let_it_in() {
    let panics = PanicWatch::new();
    let pool = pool().await;
    pool.misbehave(Door::WrongCertificate).await;
    let miner = device(pool.address(), ChannelKind::Extended);
    until(&pool, "a certificate is not believed", |counters| {
        counters.not_connected + counters.connections_total > 0
    })
    .await;
    pool.misbehave(Door::Refuse).await;
    until(&pool, "a connection is refused", |counters| {
        counters.not_connected > 0
    })
    .await;
    pool.behave().await;
    pool.misbehave(Reception::RefuseOpens("unknown-user".into()))
        .await;
    until(&pool, "an open is refused", |counters| {
        counters.sent("OpenMiningChannel.Error") > 0
    })
    .await;
    assert_eq!(pool.counters().shares(), 0);
    pool.behave().await;
    mines(&pool, "the pool behaves").await;
    miner.stop().await;
    pool.stop().await;
    panics.assert_none();
}

struct Farm {
    pools: Vec<TestPool>,
    proxy: Running<Proxy>,
    devices: Vec<Running<MiningDevice>>,
}

impl Farm {
    async fn new(mode: &str, more: &str) -> Self {
        let pools = vec![pool().await, pool().await];
        let keys = format!("mode = '{mode}'\nuser_identity = 'farm'\n{more}");
        let upstreams = pools
            .iter()
            .map(|pool| proxy_upstream(pool.address(), &[&keys]));
        let proxy = Running::proxy(proxy_config(&upstreams.collect::<Vec<_>>()));
        let server = proxy.program.devices_addr().unwrap();
        let kinds = [ChannelKind::Standard, ChannelKind::Extended];
        let devices = kinds.into_iter().map(|kind| device(server, kind)).collect();
        Self {
            pools,
            proxy,
            devices,
        }
    }

    fn shares(&self) -> u64 {
        let pools = self.pools.iter();
        pools.map(|pool| pool.counters().shares_good).sum()
    }

    async fn mines(&self, what: &str) {
        let wanted = self.shares() + SOME_SHARES;
        eventually(what, async || self.shares(), |shares| *shares >= wanted).await;
    }

    async fn core(&self) -> Snapshot {
        self.proxy.program.watcher().snapshot().await.core
    }

    async fn broken_words(&self, label: &str) -> u64 {
        let core = self.core().await;
        let upstreams = core.upstreams.iter();
        upstreams
            .filter_map(|upstream| upstream.broken_words.get(label))
            .sum()
    }

    /// Tells a lie wherever there is somebody to hear it.
    async fn hears(&self, lie: &Lie) {
        let tell = async || {
            let mut told = 0;
            for pool in &self.pools {
                told += pool.misbehave(lie.clone()).await;
            }
            told
        };
        eventually("somebody hears it", tell, |told| *told > 0).await;
    }

    async fn stop(self) {
        for device in self.devices {
            let snapshot = device.program.snapshot();
            assert_eq!(snapshot.reconnects, 0, "{snapshot:#?}");
            assert!(snapshot.anomalies.is_empty(), "{snapshot:#?}");
            device.stop().await;
        }
        self.proxy.stop().await;
        for pool in self.pools {
            pool.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leaves_a_pool_that_breaks_its_word_and_its_devices_notice_nothing() {
    for mode in ["aggregated", "transparent"] {
        let panics = PanicWatch::new();
        let farm = Farm::new(mode, "").await;
        farm.mines("the first shares").await;
        for (lie, label) in BROKEN_WORDS {
            let before = farm.broken_words(label).await;
            farm.hears(&lie).await;
            let look = async || farm.broken_words(label).await;
            eventually(label, look, |count| *count > before).await;
            farm.mines(&format!("{mode}: {lie}")).await;
        }
        for lie in FATAL {
            farm.hears(&lie).await;
            farm.mines(&format!("{mode}: {lie}")).await;
        }
        farm.stop().await;
        panics.assert_none();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leaves_a_pool_that_pays_somebody_else() {
    let panics = PanicWatch::new();
    // What a test pool pays unless told otherwise.
    let farm = Farm::new("aggregated", "payout = 'raw(51)'").await;
    farm.mines("the first shares").await;
    let failures = async || {
        let upstreams = farm.core().await.upstreams;
        upstreams
            .iter()
            .map(|upstream| upstream.failures)
            .sum::<u64>()
    };
    assert_eq!(failures().await, 0);
    farm.hears(&Lie::OtherPayee).await;
    eventually("the pool is left", failures, |count| *count > 0).await;
    farm.mines("another pool pays whom it should").await;
    farm.stop().await;
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_keeps_its_books_on_a_pool_that_is_slow() {
    for mode in ["aggregated", "transparent"] {
        let panics = PanicWatch::new();
        let farm = Farm::new(mode, "").await;
        let slow = Delivery::Slow(Duration::from_millis(300));
        farm.mines("the first shares").await;
        for pool in &farm.pools {
            pool.misbehave(slow.clone()).await;
        }
        for _ in 0..3 {
            farm.mines(mode).await;
        }
        let look = async || farm.core().await.upstream;
        let books = eventually("answers come late", look, |counts| counts.accepted >= 6).await;
        assert_eq!((books.lost, books.rejected), (0, 0), "{mode}: {books:#?}");
        farm.stop().await;
        panics.assert_none();
    }
}
