//! The translator between the pool and Stratum V1 miners.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::Context;
use mining_proxy_core::{ChannelMode, ProxyConfig, UpstreamConfig};
use network_helpers_sv2::ClientSecurity;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_mining_proxy::{Config, Proxy};
use stratum_runtime::Shutdown;
use stratum_translation::bridge::BridgeConfig;
use sv1_api::server::ServerConfig;
use tokio::sync::mpsc;

use super::{Order, everyone, say, tell, threads};
use crate::args::Args;

pub(super) async fn run(
    args: &Args,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let pool = args.upstream.as_ref();
    let pool = pool.context("--serve translator needs --upstream")?;
    let security = ClientSecurity::Noise {
        authority: pool.authority,
    };
    let upstream = UpstreamConfig {
        user_identity: Some(args.shape.user.clone()),
        mode: match args.per_miner {
            true => ChannelMode::PerMiner,
            false => ChannelMode::Aggregated,
        },
        ..UpstreamConfig::new(&pool.host, pool.port)
    };
    let config = Config {
        accept: everyone(),
        threads: threads(args).unwrap_or(NonZeroUsize::MIN),
        ..Config::for_sv1(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            vec![security],
            rules(upstream),
        )
    };
    let translator = Proxy::start(config, shutdown)?;
    tell(translator.local_addr(), None)?;
    let watcher = translator.watcher();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Tip => {}
            Order::Shares => say(watcher.snapshot().await.core.accepted)?,
        }
    }
    translator.join().await;
    Ok(())
}

/// The usual rules, but for limits on lines, and difficulties that stay as easy as the pool's.
fn rules(upstream: UpstreamConfig) -> ProxyConfig {
    let usual = ProxyConfig::default();
    ProxyConfig {
        upstreams: vec![upstream],
        bridge: BridgeConfig {
            server: ServerConfig {
                max_lines_per_sec: u32::MAX,
                max_line_burst: u32::MAX,
                ..usual.bridge.server
            },
            vardiff: VardiffConfig {
                min_difficulty: f64::MIN_POSITIVE,
                ..usual.bridge.vardiff
            },
            // The pool's target is as easy as what is claimed to it is little.
            nominal_hashrate: 1.0,
            ..usual.bridge
        },
        ..usual
    }
}
