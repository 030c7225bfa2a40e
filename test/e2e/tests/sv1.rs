//! Sv1 miners over real sockets: straight on the pool, and through the translator.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::hub::TemplateHub;
use mining_proxy_core::{ChannelMode, UpstreamStanding};
use network_helpers_sv2::{ProxyProtocol, TlsServer};
use pool_core::sv1::Sv1Config;
use roles_logic_sv2::channels::ChannelKind;
use stratum_e2e::eventually;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{
    ANYWHERE, Running, bridge_config, pool_config, sv1_miner_config, translator_config,
};
use stratum_mining_device::MiningDevice;
use stratum_mining_proxy::Proxy;
use stratum_pool::{Config as PoolServerConfig, Pool, Sv1Listen, TemplateSource};
use stratum_runtime::config::sv1::TlsListen;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// A server that says nothing for so long has no more to say.
const QUIET: Duration = Duration::from_millis(500);

/// How often the pool dies.
const DEATHS: usize = 10;

fn sv1_listen() -> Sv1Listen {
    Sv1Listen::on_shared_port(Sv1Config {
        bridge: bridge_config(),
        extranonce2_size: 8,
    })
}

/// Pools that share one embedded chain.
struct Site(TemplateHub);

impl Site {
    fn new() -> Self {
        Self(TemplateHub::spawn(Arc::new(EmbeddedNode::default())))
    }

    fn pool(&self, config: PoolServerConfig) -> Running<Pool> {
        Running::pool(config, TemplateSource::InProcess(self.0.clone()))
    }

    fn pool_at(&self, address: SocketAddr) -> Running<Pool> {
        self.pool(pool_config(address, PAYEE))
    }
}

async fn acknowledged(miners: &[Running<MiningDevice>], count: u64) {
    let look = async || {
        let snapshots = miners.iter().map(|miner| miner.program.snapshot());
        snapshots.collect::<Vec<_>>()
    };
    eventually("shares of each miner", look, |seen| {
        seen.iter().all(|seen| seen.acknowledged >= count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sv1_sv2_and_tls_share_the_pools_port() {
    let panics = PanicWatch::new();
    let site = Site::new();
    let tls = TlsListen {
        address: ANYWHERE,
        server: TlsServer::self_signed(vec!["localhost".to_owned()]).unwrap(),
    };
    let sv1 = Sv1Listen {
        address: Some(ANYWHERE),
        tls: Some(tls),
        ..sv1_listen()
    };
    let pool = site.pool(PoolServerConfig {
        sv1: Some(sv1),
        ..pool_config(ANYWHERE, PAYEE)
    });
    let shared = pool.program.local_addr();
    let [own, own_tls] = pool.program.sv1_addrs() else {
        panic!("two ports of their own")
    };
    let miners = [
        Running::miner(shared, ChannelKind::Standard, "farm.sv2"),
        Running::miner_with(sv1_miner_config(shared, false, "farm.sv1")),
        Running::miner_with(sv1_miner_config(shared, true, "farm.tls")),
        Running::miner_with(sv1_miner_config(*own, false, "farm.own")),
        Running::miner_with(sv1_miner_config(*own_tls, true, "farm.owntls")),
    ];
    acknowledged(&miners, 3).await;
    let snapshot = pool.program.snapshot();
    assert_eq!(snapshot.connections, miners.len(), "{snapshot:#?}");
    for miner in miners {
        let snapshot = miner.program.snapshot();
        assert_eq!(snapshot.reconnects, 0, "{snapshot:#?}");
        miner.stop().await;
    }
    let look = async || pool.program.snapshot().connections;
    eventually("all are gone", look, |connections| *connections == 0).await;
    pool.stop().await;
    panics.assert_none();
}

/// What a killed pool had credited.
async fn kill(pool: Running<Pool>) -> u64 {
    let watcher = pool.program.watcher();
    pool.kill().await;
    watcher.snapshot().shares_accepted
}

async fn uses(translator: &Running<Proxy>, upstream: usize) {
    let watcher = translator.program.watcher();
    let look = async || {
        let upstreams = watcher.snapshot().await.core.upstreams;
        upstreams
            .iter()
            .map(|upstream| upstream.standing)
            .collect::<Vec<_>>()
    };
    eventually("the upstream is used", look, |standing| {
        standing.get(upstream) == Some(&UpstreamStanding::Used)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_killed_ten_times_loses_no_miner_and_no_accepted_share() {
    for mode in [ChannelMode::Aggregated, ChannelMode::PerMiner] {
        let panics = PanicWatch::new();
        let site = Site::new();
        let mut pool = site.pool_at(ANYWHERE);
        let address = pool.program.local_addr();
        let translator = Running::translator(translator_config(&[address], mode));
        let listen = translator.program.local_addr();
        let miners: Vec<_> = (0..3)
            .map(|i| Running::miner_with(sv1_miner_config(listen, false, &format!("alice.rig{i}"))))
            .collect();
        let mut credited = 0;
        for death in 1..=DEATHS {
            acknowledged(&miners, death as u64).await;
            credited += kill(pool).await;
            pool = site.pool_at(address);
            uses(&translator, 0).await;
        }
        acknowledged(&miners, DEATHS as u64 + 2).await;

        let mut heard = 0;
        for miner in miners {
            let watcher = miner.program.watcher();
            miner.stop().await;
            let snapshot = watcher.snapshot();
            assert_eq!(snapshot.reconnects, 0, "{mode:?}: {snapshot:#?}");
            heard += snapshot.acknowledged;
        }
        let watcher = translator.program.watcher();
        let look = async || watcher.snapshot().await.core;
        let books = eventually("all shares are answered", look, |core| {
            let counts = core.upstream;
            core.miners.is_empty()
                && counts.passed_on == counts.accepted + counts.rejected + counts.lost
        })
        .await;
        translator.stop().await;
        credited += pool.program.watcher().snapshot().shares_accepted;
        pool.stop().await;
        let counts = books.upstream;
        // A block is passed on even when it earns its miner nothing.
        assert!(
            books.accepted <= counts.passed_on + counts.below_target,
            "{books:#?}"
        );
        assert!(heard <= books.accepted, "{heard}: {books:#?}");
        // What the pools credited was passed on, and what they said so of is counted.
        assert!(
            (counts.accepted..=counts.passed_on).contains(&credited),
            "{credited}: {books:#?}"
        );
        assert!(counts.accepted > 0);
        panics.assert_none();
    }
}

/// What a server answers a client of this address, whom a proxy speaks for, until it ends the connection or says no more.
async fn talk(server: SocketAddr, client: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let header = format!("PROXY TCP4 {client} 127.0.0.1 4444 3333\r\n");
    // A server that has heard enough closes in the middle of it.
    let _ = stream.write_all(header.as_bytes()).await;
    let _ = stream.write_all(lines.as_bytes()).await;
    let mut answers = Vec::new();
    let read = stream.read_to_end(&mut answers);
    let _ = tokio::time::timeout(QUIET, read).await;
    String::from_utf8(answers).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_breaks_the_rules_is_banned_and_others_behind_its_proxy_are_not() {
    let panics = PanicWatch::new();
    let site = Site::new();
    let pool = site.pool_at(ANYWHERE);
    let mut config = translator_config(&[pool.program.local_addr()], ChannelMode::Aggregated);
    config.accept.proxies = ProxyProtocol {
        trusted: vec!["127.0.0.0/8".parse().unwrap()],
    };
    let translator = Running::translator(config);
    let listen = translator.program.local_addr();
    uses(&translator, 0).await;

    let subscribe =
        r#"{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5"]}"#.to_owned() + "\n";
    assert!(
        talk(listen, "10.1.1.1", &subscribe)
            .await
            .contains(r#""error":null"#)
    );
    // A fault now and then is forgiven, a flood of them is not.
    let few = talk(listen, "10.1.1.1", &"nonsense\n".repeat(10)).await;
    assert_eq!(few.lines().count(), 10);
    let many = talk(listen, "10.1.1.1", &"nonsense\n".repeat(200)).await;
    assert!((60..=61).contains(&many.lines().count()), "{many}");
    assert_eq!(talk(listen, "10.1.1.1", &subscribe).await, "");
    assert!(
        talk(listen, "10.1.1.2", &subscribe)
            .await
            .contains(r#""error":null"#)
    );

    let snapshot = translator.program.watcher().snapshot().await;
    assert_eq!(snapshot.bans.len(), 1, "{snapshot:#?}");
    assert_eq!(snapshot.bans[0].reason, "does not speak the protocol");
    assert_eq!(snapshot.refused["banned"], 1, "{snapshot:#?}");
    assert!(snapshot.core.rejected["the line is not JSON"] >= 70);
    translator.stop().await;
    pool.stop().await;
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_added_and_drained_while_miners_mine() {
    let panics = PanicWatch::new();
    let site = Site::new();
    let (first, second) = (site.pool_at(ANYWHERE), site.pool_at(ANYWHERE));
    let addresses = [first.program.local_addr(), second.program.local_addr()];
    let mut config = translator_config(&addresses[..1], ChannelMode::Aggregated);
    config.rules.failover.settle = Duration::from_millis(500);
    config.threads = NonZeroUsize::new(2).unwrap();
    let translator = Running::translator(config.clone());
    let listen = translator.program.local_addr();
    let miners: Vec<_> = (0..4)
        .map(|i| Running::miner_with(sv1_miner_config(listen, false, &format!("alice.rig{i}"))))
        .collect();
    acknowledged(&miners, 2).await;

    let both = translator_config(&addresses, ChannelMode::Aggregated);
    config.security = both.security;
    config.rules.upstreams = both.rules.upstreams;
    config.rules.upstreams[1].priority = 0;
    let later = translator.program.reload(config.clone()).await.unwrap();
    assert!(later.is_empty(), "{later:?}");
    let look = async || second.program.snapshot().shares_accepted;
    eventually("the second pool gets shares too", look, |shares| {
        *shares > 0
    })
    .await;

    config.rules.upstreams[0].is_drained = true;
    config.threads = NonZeroUsize::MIN;
    config.accept.burst += 1;
    let later = translator.program.reload(config.clone()).await.unwrap();
    assert_eq!(later, ["program.threads", "connections.burst"]);
    let look = async || first.program.snapshot().connections;
    eventually("the first pool is left", look, |connections| {
        *connections == 0
    })
    .await;
    let before = second.program.snapshot().shares_accepted;
    let look = async || second.program.snapshot().shares_accepted;
    eventually("the second pool gets all", look, |shares| {
        *shares > before + 4
    })
    .await;

    // What makes no sense changes nothing.
    config.rules.upstreams.clear();
    assert!(translator.program.reload(config).await.is_err());
    let upstreams = translator.program.watcher().snapshot().await.core.upstreams;
    assert_eq!(upstreams.len(), 2);
    assert!(upstreams[0].is_drained && upstreams[0].accepted > 0);
    assert_eq!((upstreams[0].lost, upstreams[1].lost), (0, 0));
    for miner in miners {
        assert_eq!(miner.program.snapshot().reconnects, 0);
        miner.stop().await;
    }
    translator.stop().await;
    first.stop().await;
    second.stop().await;
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_go_to_the_second_pool_and_return_to_the_first() {
    let panics = PanicWatch::new();
    let site = Site::new();
    let (first, second) = (site.pool_at(ANYWHERE), site.pool_at(ANYWHERE));
    let address = first.program.local_addr();
    let mut config = translator_config(
        &[address, second.program.local_addr()],
        ChannelMode::Aggregated,
    );
    config.rules.failover.settle = Duration::from_millis(500);
    let translator = Running::translator(config);
    let listen = translator.program.local_addr();
    let miners: Vec<_> = (0..2)
        .map(|i| Running::miner_with(sv1_miner_config(listen, false, &format!("alice.rig{i}"))))
        .collect();
    acknowledged(&miners, 2).await;
    assert_eq!(second.program.snapshot().shares_accepted, 0);
    first.kill().await;
    uses(&translator, 1).await;
    let look = async || second.program.snapshot().shares_accepted;
    eventually("the second pool gets shares", look, |shares| *shares >= 2).await;
    let first = site.pool_at(address);
    uses(&translator, 0).await;
    let look = async || first.program.snapshot().shares_accepted;
    eventually("the first pool gets shares again", look, |shares| {
        *shares >= 2
    })
    .await;
    for miner in miners {
        assert_eq!(miner.program.snapshot().reconnects, 0);
        miner.stop().await;
    }
    translator.stop().await;
    first.stop().await;
    second.stop().await;
    panics.assert_none();
}
