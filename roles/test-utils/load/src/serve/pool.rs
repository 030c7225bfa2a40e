//! The pool: a fixed template on the main chain's difficulty, and the easiest target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::Network;
use bitcoin_node::hub::TemplateHub;
use bitcoin_node::rpc::RpcError;
use bitcoin_node::{BlockStanding, Node, NodeFuture, NodeState, NodeStatus, SubmitOutcome};
use network_helpers_sv2::ServerSecurity;
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::accounting::SliceLimits;
use roles_logic_sv2::block_template::{BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU};
use roles_logic_sv2::channels::server::ServerConfig;
use stratum_pool::{Config, Pool, TemplateSource};
use stratum_runtime::Shutdown;
use tokio::sync::{mpsc, watch};

use super::{MAX_SHARES_PER_TIP, Order, everyone, identity, say, tell, vardiff};
use crate::args::Args;

/// Height of the block to be mined at first.
const FIRST_HEIGHT: u32 = 840_000;

/// The network's target at that height: no share is a block.
const NBITS: u32 = 0x1703_4219;

pub(super) async fn run(
    args: &Args,
    mut orders: mpsc::Receiver<Order>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let identity = identity()?;
    let config = Config {
        accept: everyone(),
        threads: args.threads,
        ..Config::new(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            ServerSecurity::Noise(identity.clone()),
            rules(args)?,
        )
    };
    let (states, node) = watch::channel(state(0));
    let hub = TemplateHub::spawn(Arc::new(FixedNode(node)));
    let pool = Pool::start(config, TemplateSource::InProcess(hub), shutdown.clone())?;
    tell(pool.local_addr(), Some(&identity))?;
    let mut tip = 0;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Tip => {
                tip += 1;
                states.send_replace(state(tip));
            }
            Order::Shares => say(pool.snapshot().shares_accepted)?,
        }
    }
    pool.join().await;
    Ok(())
}

/// The pool's rules, but for targets that are as [`vardiff`] says.
fn rules(args: &Args) -> anyhow::Result<PoolConfig> {
    let payouts = PoolPayouts::new(Network::Bitcoin, [("raw(51)", 1)])?;
    let (vardiff, is_target_fixed) = vardiff(args);
    let channels = ServerConfig {
        vardiff,
        is_target_fixed,
        slices: SliceLimits {
            max_shares: args.acks.get(),
            ..SliceLimits::default()
        },
        max_shares_per_tip: MAX_SHARES_PER_TIP,
        ..ServerConfig::default()
    };
    Ok(PoolConfig {
        channels: Arc::new(channels),
        ..PoolConfig::new(payouts)
    })
}

/// A node whose tip changes when the client says so.
struct FixedNode(watch::Receiver<NodeState>);

impl Node for FixedNode {
    fn name(&self) -> &str {
        "fixed"
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.0.clone()
    }

    fn submit_block(&self, _: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        Box::pin(std::future::ready(SubmitOutcome::Inconclusive))
    }

    fn block_standing(&self, _: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        Box::pin(std::future::ready(Ok(BlockStanding::Unknown)))
    }
}

fn state(tip: u32) -> NodeState {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u32::try_from(now.unwrap_or_default().as_secs()).unwrap_or(u32::MAX);
    let mut prev_hash = [0x5a; 32];
    let (height, _) = prev_hash.split_at_mut(4);
    height.copy_from_slice(&tip.to_le_bytes());
    let template = BlockTemplate {
        height: FIRST_HEIGHT + tip,
        version: 0x2000_0000,
        prev_hash,
        nbits: NBITS,
        current_time_secs: now,
        min_time_secs: now.saturating_sub(3600),
        subsidy_sats: 312_500_000,
        transactions: Vec::new(),
        segwit_active: true,
        weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
        sigops_limit: MAX_BLOCK_SIGOPS_COST,
        is_provisional: false,
    };
    NodeState {
        status: NodeStatus::Ready,
        chain: Some(Network::Bitcoin),
        template: Some(Arc::new(template)),
        generation: u64::from(tip) + 1,
    }
}
