//! `stratum demo`: a node, a template provider, a pool and miners in one process, over encrypted connections.

mod node;
mod screen;
mod status;
mod wallet;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bitcoin_node::{Network, NodeStatus};
use clap::{Args, ValueEnum};
use mining_proxy_core::{ProxyConfig, UpstreamConfig};
use network_helpers_sv2::{ClientSecurity, Endpoint, ServerIdentity, ServerSecurity, Sv1Endpoint};
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::server::ServerConfig;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_mining_device::MiningDevice;
use stratum_mining_device::workers::Effort;
use stratum_mining_proxy::Proxy;
use stratum_pool::{Pool, TemplateSource};
use stratum_runtime::{Shutdown, drain_on_signals, logging};
use stratum_template_provider::TemplateProvider;

use self::node::{BlockNews, DemoNode};
use self::screen::Screen;
use self::status::{Parts, Status};
use self::wallet::Wallet;
use crate::keys::random_authority;

/// Most miners of one demo: they share the cores, so more only divide the same work.
pub const MINERS_MAX: usize = 64;

/// How often the status in a terminal is drawn anew.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);

/// How often a line sums up when the output is no terminal.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// What is logged beside plain lines; in a terminal a log would tear the drawing apart. What the node says is among
/// the lines themselves.
const LOG_OF_LINES: &str = "warn,bitcoin_node=error";

/// Hashes a second of one core, about: where the search for an Sv1 miner's difficulty begins.
const CORE_HASHRATE: f64 = 5e6;

/// How long all parts together may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Exit code of a demo that was ended by a signal before it had its blocks.
const EXIT_WITHOUT_BLOCKS: u8 = 130;

/// Arguments of the demo.
///
/// It ends with 0 after its blocks, and with 0 on Ctrl-C or SIGTERM when no number of blocks was wanted; otherwise a
/// signal gives 130. What does not start gives 1.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Mine on a real node: rpc://user:password@host:port, rpc://host:port?cookie=/path, or auto, which finds or
    /// obtains a bitcoind and starts it on regtest. Without it, on a regtest chain inside this process
    #[arg(long, value_name = "URL|auto")]
    pub node: Option<String>,
    /// Number of miners, which share this machine's cores
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MINERS_MAX as i64))]
    pub miners: u16,
    /// Number of further miners that speak Sv1, through the translator
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=MINERS_MAX as i64))]
    pub sv1_miners: u16,
    /// End with success after the node has accepted so many blocks
    #[arg(long, value_name = "N")]
    pub blocks: Option<u64>,
    /// Kind of channel that the miners open
    #[arg(long, value_enum, default_value_t = Channel::Standard)]
    pub channel: Channel,
    /// Time between two shares on average, in milliseconds: the pool chooses its difficulty by it. On regtest every share
    /// is a block
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub interval_ms: u64,
    /// Whom blocks pay, as a descriptor such as addr(ADDRESS). On regtest a fresh key without it, elsewhere required
    #[arg(long, value_name = "DESCRIPTOR")]
    pub payout: Option<String>,
    /// Print plain lines even in a terminal
    #[arg(long)]
    pub plain: bool,
}

/// Kinds of channel, as arguments name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    /// The pool makes the whole job.
    Standard,
    /// The miner rolls a part of the coinbase.
    Extended,
}

impl From<Channel> for ChannelKind {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Standard => Self::Standard,
            Channel::Extended => Self::Extended,
        }
    }
}

/// Runs the demo to its end.
///
/// # Errors
/// Says what does not start and what to do about it.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let screen = Screen::new(args.plain);
    logging::init(if screen.is_live() {
        "off"
    } else {
        LOG_OF_LINES
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(play(args, screen))
}

async fn play(args: &DemoArgs, mut screen: Screen) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), GRACE)?;
    // Whoever cannot wait for a node to start may end it.
    let demo = tokio::select! {
        demo = Demo::start(args) => demo?,
        () = shutdown.draining() => return Ok(ExitCode::from(EXIT_WITHOUT_BLOCKS)),
    };
    let has_blocks = demo.watch(args, &shutdown, &mut screen).await;
    Ok(match has_blocks || args.blocks.is_none() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_WITHOUT_BLOCKS),
    })
}

/// All parts, running. They end one after the other, miners first, so that no block is lost.
struct Demo {
    node: DemoNode,
    provider: (TemplateProvider, Shutdown),
    pool: (Pool, Shutdown),
    translator: (Proxy, Shutdown),
    miners: (Vec<MiningDevice>, Shutdown),
    payout: String,
    pool_url: String,
}

impl Demo {
    async fn start(args: &DemoArgs) -> anyhow::Result<Self> {
        let wallet = Wallet::random();
        let own = format!("addr({})", wallet.address());
        let payout = args.payout.clone().unwrap_or(own);
        let node = match args.node.as_deref() {
            None => DemoNode::embedded(wallet)?,
            Some("auto") => DemoNode::auto(&payout).await?,
            Some(url) => DemoNode::at(url, &payout).await?,
        };
        if node.chain != Network::Regtest && args.payout.is_none() {
            bail!(
                "the node is on {}, where blocks are worth money: say whom they pay with --payout 'addr(ADDRESS)'",
                node.chain.to_core_arg()
            );
        }
        let local = SocketAddr::from(([127, 0, 0, 1], 0));

        let (security, authority) = identity()?;
        let provider_config = stratum_template_provider::Config::new(local, security);
        let provider_shutdown = Shutdown::new();
        let provider = TemplateProvider::start(
            provider_config,
            node.node.clone(),
            provider_shutdown.clone(),
        )?;
        let source = TemplateSource::Remote {
            endpoint: endpoint(provider.local_addr(), &authority),
            security: authority,
        };

        let (security, authority) = identity()?;
        let rules = rules(args, node.chain, &payout)?;
        let pool_shutdown = Shutdown::new();
        let pool = Pool::start(
            stratum_pool::Config::new(local, security, rules),
            source,
            pool_shutdown.clone(),
        )?;
        let pool_endpoint = endpoint(pool.local_addr(), &authority);
        let pool_url = pool_endpoint.to_string();

        let translator_shutdown = Shutdown::new();
        let translator = Proxy::start(
            translator_config(args, local, &pool_endpoint, authority),
            translator_shutdown.clone(),
        )?;

        let miners_shutdown = Shutdown::new();
        let sv2 = (1..=args.miners).map(|number| miner(args, number, pool_endpoint.clone()));
        let sv1 =
            (1..=args.sv1_miners).map(|number| sv1_miner(args, number, translator.local_addr()));
        let miners = sv2
            .chain(sv1)
            .map(|config| MiningDevice::start(config, miners_shutdown.clone()))
            .collect();
        Ok(Self {
            node,
            provider: (provider, provider_shutdown),
            pool: (pool, pool_shutdown),
            translator: (translator, translator_shutdown),
            miners: (miners, miners_shutdown),
            payout,
            pool_url,
        })
    }

    fn parts(&self) -> Parts {
        Parts {
            chain: self.node.chain,
            provider: self.provider.0.local_addr(),
            pool: self.pool.0.watcher(),
            pool_addr: self.pool.0.local_addr(),
            translator_addr: self.translator.0.local_addr(),
            miners: self.miners.0.iter().map(MiningDevice::watcher).collect(),
        }
    }

    /// Shows what happens until the blocks are there, a signal comes, or nobody reads any more; then ends all parts.
    /// Says whether the blocks are there.
    async fn watch(mut self, args: &DemoArgs, shutdown: &Shutdown, screen: &mut Screen) -> bool {
        let mut status = Status::new(args.blocks, self.parts());
        let mut interval = tokio::time::interval(match screen.is_live() {
            true => DRAW_INTERVAL,
            false => SUMMARY_INTERVAL,
        });
        interval.tick().await;
        let sv1_url = format!("stratum+tcp://{}", self.translator.0.local_addr());
        let mut is_read = screen.say(&format!("pool    {}", self.pool_url))
            && screen.say(&format!("sv1     {sv1_url}, through the translator"))
            && screen.say(&format!("payout  {}", self.payout));
        let translator = self.translator.0.watcher();
        let (name, mut state) = (self.node.node.name().to_owned(), self.node.node.state());
        let mut last_status = None;
        while is_read && !status.is_complete() {
            let node_status = state.borrow_and_update().status.clone();
            if last_status.as_ref() != Some(&node_status) {
                is_read = screen.say(&node_line(&name, &node_status));
                last_status = Some(node_status);
                continue;
            }
            tokio::select! {
                Some(news) = self.node.blocks.recv() => {
                    status.count(&news);
                    is_read = screen.mention(&block_line(&news));
                }
                Ok(()) = state.changed() => {}
                _ = interval.tick() => {
                    let now = self.provider.0.snapshot();
                    is_read = match screen.is_live() {
                        true => screen.draw(&status.lines(&now, &translator.snapshot().await)),
                        false => screen.say(&status.line(&now)),
                    };
                }
                () = shutdown.draining() => break,
            }
        }
        let elapsed = status.elapsed();
        // The pool counts the last shares when its miners leave.
        self.end(shutdown).await;
        screen.finish();
        screen.say(&status.sum(elapsed));
        status.is_complete()
    }

    async fn end(self, shutdown: &Shutdown) {
        shutdown.drain();
        let all = async {
            self.miners.1.drain();
            for miner in self.miners.0 {
                miner.join().await;
            }
            self.translator.1.drain();
            self.translator.0.join().await;
            self.pool.1.drain();
            self.pool.0.join().await;
            self.provider.1.drain();
            self.provider.0.join().await;
        };
        tokio::select! {
            () = all => {}
            () = shutdown.ended() => {}
        }
        shutdown.end();
    }
}

/// A server's identity of a fresh key, and what its clients expect.
fn identity() -> anyhow::Result<(ServerSecurity, ClientSecurity)> {
    let authority = random_authority()?;
    let client = ClientSecurity::Noise {
        authority: Some(authority.public_key()),
    };
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    Ok((ServerSecurity::Noise(Arc::new(identity)), client))
}

fn endpoint(address: SocketAddr, security: &ClientSecurity) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: match security {
            ClientSecurity::Noise { authority } => *authority,
            ClientSecurity::Plain => None,
        },
    }
}

fn rules(args: &DemoArgs, chain: Network, payout: &str) -> anyhow::Result<PoolConfig> {
    let payouts = PoolPayouts::new(chain, [(payout, 1)]).context("--payout")?;
    let channels = ServerConfig {
        vardiff: vardiff(args),
        ..ServerConfig::default()
    };
    Ok(PoolConfig {
        channels: Arc::new(channels),
        ..PoolConfig::new(payouts)
    })
}

/// The pace of each channel, so that all together make a share at each interval. Sv1 miners have one channel.
fn vardiff(args: &DemoArgs) -> VardiffConfig {
    let channels = args.miners + args.sv1_miners.min(1);
    VardiffConfig {
        shares_per_minute: 60_000.0 / args.interval_ms as f64 / f64::from(channels),
        ..VardiffConfig::default()
    }
}

fn translator_config(
    args: &DemoArgs,
    listen: SocketAddr,
    pool: &Endpoint,
    security: ClientSecurity,
) -> stratum_mining_proxy::Config {
    let upstream = UpstreamConfig {
        user_identity: Some("demo.sv1".to_owned()),
        ..UpstreamConfig::new(&pool.host, pool.port)
    };
    let mut rules = ProxyConfig {
        upstreams: vec![upstream],
        ..ProxyConfig::default()
    };
    rules.bridge.vardiff = vardiff(args);
    rules.bridge.nominal_hashrate = CORE_HASHRATE;
    stratum_mining_proxy::Config::for_sv1(listen, vec![security], rules)
}

fn miner(args: &DemoArgs, number: u16, pool: Endpoint) -> stratum_mining_device::Config {
    let name = format!("demo.{number}");
    stratum_mining_device::Config {
        channel: args.channel.into(),
        user_identity: name.try_into().unwrap_or_default(),
        effort: effort(args),
        ..stratum_mining_device::Config::new(pool)
    }
}

fn sv1_miner(
    args: &DemoArgs,
    number: u16,
    translator: SocketAddr,
) -> stratum_mining_device::Config {
    let name = format!("demo.sv1-{number}");
    let config = stratum_mining_device::Config::sv1(Sv1Endpoint {
        host: translator.ip().to_string(),
        port: translator.port(),
        is_tls: false,
    });
    stratum_mining_device::Config {
        user_identity: name.try_into().unwrap_or_default(),
        effort: effort(args),
        ..config
    }
}

/// The cores are shared by all miners.
fn effort(args: &DemoArgs) -> Effort {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = NonZeroUsize::new(cores / usize::from(args.miners + args.sv1_miners));
    Effort {
        // On a busy machine the rate measured at start would say nothing of the rate to come.
        is_low_priority: false,
        ..Effort::full(threads.unwrap_or(NonZeroUsize::MIN))
    }
}

fn node_line(name: &str, status: &NodeStatus) -> String {
    match status.advice() {
        Some(advice) => format!("node    {name}: {status}; {advice}"),
        None => format!("node    {name}: {status}"),
    }
}

fn block_line(news: &BlockNews) -> String {
    let BlockNews {
        height,
        hash,
        transactions,
        reward_sats,
        outcome,
    } = news;
    let transactions = status::counted(*transactions, "transaction");
    let reward = status::coins(*reward_sats);
    format!("block   {height} {outcome}: {transactions}, {reward} BTC, {hash}")
}
