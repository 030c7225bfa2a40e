//! The mining proxy between the pool and Stratum V2 devices.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use mining_proxy_core::{ChannelMode, ProxyConfig, UpstreamConfig};
use network_helpers_sv2::{ClientSecurity, ServerSecurity};
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::downstream::DownstreamTerms;
use stratum_mining_proxy::{Config, Proxy};
use stratum_runtime::Shutdown;
use stratum_translation::bridge::BridgeConfig;
use tokio::sync::mpsc;

use super::{MAX_SHARES_PER_TIP, Order, everyone, identity, say, tell, threads, vardiff};
use crate::args::Args;

pub(super) async fn run(
    args: &Args,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let pool = args.upstream.as_ref();
    let pool = pool.context("--serve proxy needs --upstream")?;
    let security = ClientSecurity::Noise {
        authority: pool.authority,
    };
    let upstream = UpstreamConfig {
        user_identity: Some(args.shape.user.clone()),
        mode: match args.aggregated {
            true => ChannelMode::Aggregated,
            false => ChannelMode::PerMiner,
        },
        ..UpstreamConfig::new(&pool.host, pool.port)
    };
    let identity = identity()?;
    let config = Config {
        accept: everyone(),
        threads: threads(args).unwrap_or(NonZeroUsize::MIN),
        ..Config::for_devices(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            ServerSecurity::Noise(identity.clone()),
            vec![security],
            rules(args, upstream),
        )
    };
    let proxy = Proxy::start(config, shutdown)?;
    tell(proxy.local_addr(), Some(&identity))?;
    let watcher = proxy.watcher();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Tip => {}
            Order::Shares => say(watcher.snapshot().await.core.accepted)?,
        }
    }
    proxy.join().await;
    Ok(())
}

/// The usual rules, but for targets that are as [`vardiff`] says, and acknowledgements that are as the pool's.
fn rules(args: &Args, upstream: UpstreamConfig) -> ProxyConfig {
    let usual = ProxyConfig::default();
    let (vardiff, is_target_fixed) = vardiff(args);
    let channels = ServerConfig {
        is_target_fixed,
        slices: SliceLimits {
            max_shares: args.acks.get(),
            ..SliceLimits::default()
        },
        max_shares_per_tip: MAX_SHARES_PER_TIP,
        ..(*usual.devices.channels).clone()
    };
    ProxyConfig {
        upstreams: vec![upstream],
        bridge: BridgeConfig {
            vardiff,
            ..usual.bridge
        },
        devices: DownstreamTerms {
            channels: Arc::new(channels),
            ..usual.devices
        },
        max_miners: u32::MAX,
        ..usual
    }
}
