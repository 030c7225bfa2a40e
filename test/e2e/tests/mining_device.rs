//! Mining devices on a pool over real sockets with Noise, on the embedded chain.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bitcoin_node::Network;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::hub::TemplateHub;
use network_helpers_sv2::{Endpoint, ServerIdentity, ServerSecurity};
use noise_sv2::AuthoritySecretKey;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::channels::ChannelKind;
use stratum_mining_device::workers::Effort;
use stratum_mining_device::{Config, MiningDevice, Snapshot};
use stratum_pool::{Pool, TemplateSource};
use stratum_runtime::Shutdown;

/// Longer than anything here takes; a test that hangs says where.
const PATIENCE: Duration = Duration::from_secs(60);

fn authority() -> AuthoritySecretKey {
    AuthoritySecretKey::from_bytes(&[3; 32]).unwrap()
}

fn pool(node: &Arc<EmbeddedNode>, listen: SocketAddr, shutdown: &Shutdown) -> Pool {
    let identity = ServerIdentity::new(authority(), ServerIdentity::DEFAULT_VALIDITY);
    let payouts = PoolPayouts::new(Network::Regtest, [("raw(51)", 1)]).unwrap();
    let config = stratum_pool::Config::new(
        listen,
        ServerSecurity::Noise(identity.into()),
        PoolConfig::new(payouts),
    );
    let source = TemplateSource::InProcess(TemplateHub::spawn(node.clone()));
    Pool::start(config, source, shutdown.clone()).unwrap()
}

/// A slow miner that claims to be much slower still, so that it finds several shares a second.
fn device(address: SocketAddr, channel: ChannelKind, shutdown: &Shutdown) -> MiningDevice {
    let upstream = Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: Some(authority().public_key()),
    };
    let config = Config {
        channel,
        nominal_hashrate: Some(2e3),
        effort: Effort {
            hashrate_limit: Some(1e5),
            ..Effort::full(NonZeroUsize::MIN)
        },
        ..Config::new(upstream)
    };
    MiningDevice::start(config, shutdown.clone())
}

async fn until(device: &MiningDevice, is_it: impl FnMut(&Snapshot) -> bool) {
    let mut watcher = device.watcher();
    let waited = tokio::time::timeout(PATIENCE, watcher.changed(is_it)).await;
    assert_eq!(waited, Ok(true), "{:#?}", device.snapshot());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_channel_earn_shares_and_blocks_and_survive_the_pools_restart() {
    let node = Arc::new(EmbeddedNode::default());
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (pool_shutdown, shutdown) = (Shutdown::new(), Shutdown::new());
    let first = pool(&node, anywhere, &pool_shutdown);
    let address = first.local_addr();
    let devices =
        [ChannelKind::Standard, ChannelKind::Extended].map(|kind| device(address, kind, &shutdown));
    for device in &devices {
        until(device, |snapshot| snapshot.acknowledged >= 3).await;
    }
    let height = node.with_chain(|chain| chain.height());
    assert!(
        height >= 3,
        "every share is a block here, but the height is {height}"
    );

    pool_shutdown.drain();
    first.join().await;
    let second_shutdown = Shutdown::new();
    let second = pool(&node, address, &second_shutdown);
    for device in &devices {
        let before = device.snapshot().acknowledged;
        until(device, |snapshot| {
            snapshot.reconnects >= 1 && snapshot.acknowledged > before
        })
        .await;
    }

    shutdown.drain();
    for device in devices {
        let watcher = device.watcher();
        tokio::time::timeout(PATIENCE, device.join()).await.unwrap();
        let snapshot = watcher.snapshot();
        // Another's block may come first.
        let is_stale = |code: &String| code == "stale-share";
        assert!(snapshot.rejected.keys().all(is_stale), "{snapshot:#?}");
        assert!(snapshot.hashes > 0 && snapshot.anomalies.is_empty());
    }
    second_shutdown.drain();
    second.join().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_mined_for() {
    let node = Arc::new(EmbeddedNode::default());
    let shutdown = Shutdown::new();
    let pool = pool(&node, SocketAddr::from(([127, 0, 0, 1], 0)), &shutdown);
    let other = AuthoritySecretKey::from_bytes(&[4; 32]).unwrap();
    let upstream = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: pool.local_addr().port(),
        authority: Some(other.public_key()),
    };
    let config = Config {
        nominal_hashrate: Some(1e3),
        ..Config::new(upstream)
    };
    let device = MiningDevice::start(config, shutdown.clone());
    until(&device, |snapshot| snapshot.last_failure.is_some()).await;
    let failure = device.snapshot().last_failure.unwrap();
    assert!(failure.contains("check the authority key"), "{failure}");
    assert_eq!(device.snapshot().hashes, 0);
    shutdown.drain();
    device.join().await;
    pool.join().await;
}
