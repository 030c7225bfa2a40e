//! The measurement: opens connections, loads them, reads what the server's process used.

use std::cell::RefCell;
use std::future::Future;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use network_helpers_sv2::{ClientSecurity, Endpoint, Protocol as Speech, ServerUrl, Sv1Endpoint};
use stratum_runtime::SystemClock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::{Args, ChannelType, ServerRole, Shape};
use crate::client::sv1::{self, Sv1};
use crate::client::sv2::Sv2;
use crate::client::{self, Miner, Pace, Protocol};
use crate::firmware::{Firmware, FirmwareReport};
use crate::process::{Server, Usage};
use crate::report::{Figures, Quantiles, Report, SetupFigures, ShareFigures, TipFigures};
use crate::rounds::{Round, Rounds, TipRounds};
use crate::stats::Stats;

/// Load before the first round is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Silence before memory is read, and between two tips.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a server may take after its start until it is idle; then it is measured all the same.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// CPU time within [`SETTLE`] below which a server is idle, in microseconds.
const IDLE_CPU_US: f64 = 5_000.0;

/// How often the client looks whether all connections have heard of a tip.
const TIP_POLL: Duration = Duration::from_millis(20);

/// How long the last connection may take to hear of a tip.
const TIP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the chain may take to find a block, where the client cannot ask for one.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// How long the last shares may take to be answered, and to reach the upstream.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two tips of the pool of `--self`, while clients behave as firmware.
const FIRMWARE_TIP_INTERVAL: Duration = Duration::from_secs(2);

/// How often the client looks how far behind the upstream is.
const LAG_POLL: Duration = Duration::from_millis(50);

/// Shares that the upstream may be behind; a translator or proxy counts as lost what is beyond 65 536.
const MAX_LAG: u64 = 16_384;

/// Bytes of an encrypted frame that are not its payload: header, and a tag for each of the two parts.
const NOISE_OVERHEAD: usize = 6 + 16 + 16;

/// Bytes of a frame in the clear that are not its payload.
const PLAIN_OVERHEAD: usize = 6;

/// Payloads in bytes: both kinds of share without their extranonce, the acknowledgement.
const SHARE_LEN: usize = 24;
const EXTRANONCE_FIELD_LEN: usize = 17;
const ACK_LEN: usize = 20;

/// Payloads of the messages of a new tip in bytes, with an empty merkle path: job and `SetNewPrevHash`.
const STANDARD_TIP_LENS: [usize; 2] = [45, 48];
const EXTENDED_TIP_LENS: [usize; 2] = [170, 48];

/// Measures what `args` ask for.
pub(crate) async fn run(args: &Args, words: &[&str]) -> anyhow::Result<Report> {
    let figures = match &args.url {
        Some(url) => measure(args, url, false, Servers::elsewhere(args.server_pid))
            .await
            .context("load the server")?,
        None => own(args, words).await?,
    };
    let has_floor = !args.no_floor && (args.own || args.server_pid.is_some());
    let floor = match has_floor {
        true => Some(floor(args, words).await.context("load the bare server")?),
        false => None,
    };
    Ok(Report::new(args, figures, floor))
}

/// Behaves as small firmware, and says what the server did.
pub(crate) async fn run_firmware(args: &Args, words: &[&str]) -> anyhow::Result<FirmwareReport> {
    match &args.url {
        Some(ServerUrl::Sv2(endpoint)) => Ok(devices(args, endpoint.clone()).run().await),
        Some(ServerUrl::Sv1(_)) => bail!("--profile firmware is for Stratum V2"),
        None => {
            let (mut pool, front) = start_own(args, words)?;
            let server = front.as_ref().unwrap_or(&pool);
            let devices = devices(args, server.endpoint.clone());
            tokio::select! {
                report = devices.run() => Ok(report),
                ended = announce_tips(&mut pool) => ended,
            }
        }
    }
}

/// The devices that `args` ask for.
fn devices(args: &Args, endpoint: Endpoint) -> Firmware {
    let shape = &args.shape;
    let mut devices = Firmware {
        channel: shape.channel.unwrap_or(ChannelType::Extended),
        connections: shape.connections,
        parallel: shape.parallel,
        user: shape.user.clone(),
        hashrate: args.device_hashrate,
        duration: args.firmware_duration(),
        shares: args.shares.map(NonZeroU64::get),
        ..Firmware::new(endpoint)
    };
    if args.plain {
        devices.security = ClientSecurity::Plain;
    }
    devices
}

/// Never ends but with an error.
async fn announce_tips<T>(pool: &mut Server) -> anyhow::Result<T> {
    loop {
        sleep(FIRMWARE_TIP_INTERVAL).await;
        pool.announce_tip()?;
    }
}

/// Starts the pool of `--self`, and what is to stand before it.
fn start_own(args: &Args, words: &[&str]) -> anyhow::Result<(Server, Option<Server>)> {
    let lens = bare_lens(args);
    let pool =
        Server::start(ServerRole::Pool, args, lens, None, words).context("start the pool")?;
    let start = |role| Server::start(role, args, lens, Some(&pool.endpoint), words);
    let front = args.front().map(start).transpose();
    let front = front.context("start what stands before the pool")?;
    Ok((pool, front))
}

/// Loads the pool of `--self`, or what stands before it.
async fn own(args: &Args, words: &[&str]) -> anyhow::Result<Figures> {
    let servers = match start_own(args, words)? {
        (pool, None) => Servers::one(pool),
        (pool, Some(front)) => Servers {
            upstream: Some(pool),
            ..Servers::one(front)
        },
    };
    let server = servers.server.as_ref().context("it has just started")?;
    let url = url_of(args, &server.endpoint);
    let loaded = measure(args, &url, false, servers).await;
    loaded.context("load the server of --self")
}

async fn floor(args: &Args, words: &[&str]) -> anyhow::Result<Figures> {
    let server = Server::start(ServerRole::Floor, args, bare_lens(args), None, words)?;
    let url = url_of(args, &server.endpoint);
    measure(args, &url, true, Servers::one(server)).await
}

fn url_of(args: &Args, endpoint: &Endpoint) -> ServerUrl {
    match args.protocol() {
        Speech::Sv1 => ServerUrl::Sv1(Sv1Endpoint {
            host: endpoint.host.clone(),
            port: endpoint.port,
            is_tls: false,
        }),
        Speech::Sv2 => ServerUrl::Sv2(endpoint.clone()),
    }
}

async fn measure(
    args: &Args,
    url: &ServerUrl,
    is_bare: bool,
    servers: Servers,
) -> anyhow::Result<Figures> {
    let (shape, stats) = (args.shape.clone(), Rc::new(Stats::default()));
    match url {
        ServerUrl::Sv1(endpoint) => {
            let protocol = Sv1 {
                endpoint: endpoint.clone(),
                shape,
                is_bare,
                clock: SystemClock::new(),
                stats: stats.clone(),
            };
            let protocol = Rc::new(protocol);
            let subject = Subject {
                protocol,
                servers,
                stats,
            };
            subject.measure(&args.shape).await
        }
        ServerUrl::Sv2(endpoint) => {
            let [share_len, ..] = bare_lens(args);
            let protocol = Sv2 {
                endpoint: endpoint.clone(),
                security: match args.plain || is_bare {
                    true => ClientSecurity::Plain,
                    false => ClientSecurity::Noise {
                        authority: endpoint.authority,
                    },
                },
                shape,
                bare: is_bare.then(|| (share_len - PLAIN_OVERHEAD, args.shares_per_answer())),
                stats: stats.clone(),
            };
            let protocol = Rc::new(protocol);
            let subject = Subject {
                protocol,
                servers,
                stats,
            };
            subject.measure(&args.shape).await
        }
    }
}

/// Lengths of share, acknowledgement and tip on the wire.
fn bare_lens(args: &Args) -> [usize; 3] {
    if args.protocol() == Speech::Sv1 {
        return sv1::bare_lens(&args.shape);
    }
    let overhead = if args.plain {
        PLAIN_OVERHEAD
    } else {
        NOISE_OVERHEAD
    };
    let (share, tip) = match args.shape.channel() {
        ChannelType::Standard => (SHARE_LEN, STANDARD_TIP_LENS),
        ChannelType::Extended => (SHARE_LEN + EXTRANONCE_FIELD_LEN, EXTENDED_TIP_LENS),
    };
    let tip = tip.iter().map(|len| len + overhead).sum();
    [share + overhead, ACK_LEN + overhead, tip]
}

/// The processes behind a load.
struct Servers {
    /// The one that is measured, if it can be seen.
    pid: Option<u32>,
    /// The same, if it is of our own making.
    server: Option<Server>,
    /// The pool behind a translator or proxy.
    upstream: Option<Server>,
}

impl Servers {
    const fn elsewhere(pid: Option<u32>) -> Self {
        Self {
            pid,
            server: None,
            upstream: None,
        }
    }

    fn one(server: Server) -> Self {
        Self {
            server: Some(server),
            ..Self::elsewhere(None)
        }
    }

    fn usage(&self) -> anyhow::Result<Option<Usage>> {
        let own = self.server.as_ref().map(Server::pid);
        own.or(self.pid).map(Usage::of).transpose()
    }

    fn upstream_usage(&self) -> anyhow::Result<Option<Usage>> {
        let upstream = self.upstream.as_ref().map(Server::pid);
        upstream.map(Usage::of).transpose()
    }

    /// Asks for a new tip where one can be asked for.
    fn announce_tip(&mut self) -> anyhow::Result<bool> {
        let Some(first) = self.upstream.as_mut().or(self.server.as_mut()) else {
            return Ok(false);
        };
        first.announce_tip()?;
        Ok(true)
    }
}

/// A server under load.
struct Subject<P> {
    protocol: Rc<P>,
    servers: Servers,
    stats: Rc<Stats>,
}

impl<P: Protocol> Subject<P> {
    async fn measure(mut self, shape: &Shape) -> anyhow::Result<Figures> {
        let (miners, setup) = self.set_up(shape).await?;
        let (shares, tips) = match shape.new_tip {
            true => (None, Some(self.spread_tips(shape, miners).await?)),
            false => (Some(self.take_shares(shape, miners).await?), None),
        };
        let lost = self.stats.lost.take();
        Ok(Figures {
            setup,
            shares,
            tips,
            lost,
        })
    }

    /// A server that has just started prepares itself; that is not part of any figure.
    async fn wait_until_idle(&self) -> anyhow::Result<Option<Usage>> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut before = self.servers.usage()?;
        while let Some(early) = before {
            sleep(SETTLE).await;
            before = self.servers.usage()?;
            let used = before.map_or(0.0, |late| late.cpu_us_since(&early));
            if used < IDLE_CPU_US || Instant::now() > deadline {
                break;
            }
        }
        Ok(before)
    }

    async fn set_up(&self, shape: &Shape) -> anyhow::Result<(Vec<P::Miner>, SetupFigures)> {
        let before = self.wait_until_idle().await?;
        let start = Instant::now();
        let count = shape.connections.get();
        let protocol = self.protocol.clone();
        let connections = in_parallel(shape, vec![(); count], move |()| {
            let protocol = protocol.clone();
            async move { protocol.connect().await }
        })
        .await?;
        let shaken_secs = start.elapsed().as_secs_f64();
        let shaken = self.servers.usage()?;
        let protocol = self.protocol.clone();
        let connections = (0_usize..).zip(connections).collect();
        let opened = in_parallel(shape, connections, move |(number, connection)| {
            let protocol = protocol.clone();
            async move { protocol.open(connection, number).await }
        })
        .await?;
        let all_secs = start.elapsed().as_secs_f64();
        sleep(SETTLE).await;
        let after = self.servers.usage()?;
        let each = |value: Option<f64>| value.map(|value| value / count as f64);
        let since = |late: Option<Usage>, early: Option<Usage>| late.zip(early);
        let (miners, mut waits): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let setup = SetupFigures {
            handshakes_per_second: count as f64 / shaken_secs,
            connections_per_second: count as f64 / all_secs,
            handshake_cpu_us: each(
                since(shaken, before).map(|(late, early)| late.cpu_us_since(&early)),
            ),
            cpu_us: each(since(after, before).map(|(late, early)| late.cpu_us_since(&early))),
            memory_bytes: each(since(after, before).map(|(late, early)| late.memory_since(&early))),
            open_to_work_us: Quantiles::of_durations(&mut waits),
        };
        Ok((miners, setup))
    }

    async fn take_shares(
        &mut self,
        shape: &Shape,
        miners: Vec<P::Miner>,
    ) -> anyhow::Result<ShareFigures> {
        let stats = self.stats.clone();
        let tasks = start(shape, miners, shape.rate, &stats);
        let idle = self.servers.usage()?;
        self.wait(WARM_UP, shape).await?;
        let mut rounds = Rounds::default();
        for _ in 0..shape.rounds.get() {
            stats.latencies.borrow_mut().clear();
            let (at, accepted, judged) = (Instant::now(), stats.accepted.get(), stats.judged());
            let (usage, upstream) = (self.servers.usage()?, self.servers.upstream_usage()?);
            self.wait(shape.round(), shape).await?;
            let round = Round {
                secs: at.elapsed().as_secs_f64(),
                accepted: stats.accepted.get() - accepted,
                judged: stats.judged() - judged,
                cpu_us: cpu_us(usage, self.servers.usage()?),
                upstream_cpu_us: cpu_us(upstream, self.servers.upstream_usage()?),
            };
            rounds.push(&round, &mut stats.latencies.borrow_mut());
        }
        if stats.judged() == 0 {
            bail!("the server answered no share: {:?}", stats.lost.borrow());
        }
        let (all, after) = (stats.accepted.get(), self.servers.usage()?);
        let memory = after.zip(idle);
        let memory = memory.map(|(late, early)| late.memory_since(&early) / all.max(1) as f64);
        let upstream = self.compare().await?;
        drop(tasks);
        Ok(rounds.figures(stats.rejected.take(), memory, upstream))
    }

    /// Lets the load go on for a while. Clients that send all that is taken pause while the upstream is behind: they see
    /// the answers of what stands before it only, and would fill its queue.
    async fn wait(&mut self, duration: Duration, shape: &Shape) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        let upstream = self.servers.upstream.as_mut();
        let Some(upstream) = upstream.filter(|_| shape.rate.is_none()) else {
            sleep(duration).await;
            return Ok(());
        };
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            sleep(left.min(LAG_POLL)).await;
            let lag = self.stats.accepted.get().saturating_sub(upstream.shares()?);
            self.stats.is_paused.set(lag > MAX_LAG);
        }
        Ok(())
    }

    /// Lets the last shares arrive, and asks the upstream how many it has accepted. Gives that, and how many more the
    /// clients were told of.
    async fn compare(&mut self) -> anyhow::Result<Option<(u64, i64)>> {
        let Some(upstream) = &mut self.servers.upstream else {
            return Ok(None);
        };
        self.stats.is_over.set(true);
        let until = Instant::now() + SETTLE_TIMEOUT;
        loop {
            sleep(SETTLE).await;
            let (accepted, told) = (upstream.shares()?, self.stats.accepted.get());
            let missing = told as i64 - accepted as i64;
            let is_settled = self.stats.under_way.get() == 0 && missing == 0;
            if is_settled || Instant::now() > until {
                return Ok(Some((accepted, missing)));
            }
        }
    }

    async fn spread_tips(
        &mut self,
        shape: &Shape,
        miners: Vec<P::Miner>,
    ) -> anyhow::Result<TipFigures> {
        let (count, stats) = (miners.len(), self.stats.clone());
        let _tasks = start(shape, miners, None, &stats);
        sleep(SETTLE).await;
        let idle = self.servers.usage()?;
        let mut rounds = TipRounds::default();
        for round in 1..=shape.rounds.get() {
            let before = self.servers.usage()?;
            stats.tip_times.borrow_mut().clear();
            stats.tip.set(u32::try_from(round).unwrap_or(u32::MAX));
            let asked = Instant::now();
            let is_asked = self.servers.announce_tip()?;
            wait_for_tip(&stats, count, is_asked).await?;
            sleep(SETTLE).await;
            let used = cpu_us(before, self.servers.usage()?);
            let times = stats.tip_times.borrow();
            let (first, last) = times
                .iter()
                .min()
                .zip(times.iter().max())
                .context("no tip came")?;
            let reach = last.duration_since(*first).as_secs_f64() * 1e3;
            let ask = first.duration_since(asked).as_secs_f64() * 1e3;
            rounds.push(reach, is_asked.then_some(ask), used, times.len());
        }
        let grown = self
            .servers
            .usage()?
            .zip(idle)
            .map(|(late, early)| late.memory_since(&early));
        Ok(rounds.figures(count, grown))
    }
}

/// CPU time between two readings, in microseconds.
fn cpu_us(early: Option<Usage>, late: Option<Usage>) -> Option<f64> {
    early
        .zip(late)
        .map(|(early, late)| late.cpu_us_since(&early))
}

/// Starts all miners; they end when this is dropped.
fn start<M: Miner>(
    shape: &Shape,
    miners: Vec<M>,
    rate: Option<f64>,
    stats: &Rc<Stats>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (now, count) = (Instant::now(), miners.len());
    for (at, miner) in miners.into_iter().enumerate() {
        let pace = match rate {
            _ if shape.new_tip => Pace::Idle,
            None => Pace::Saturated,
            Some(rate) => {
                let interval = Duration::from_secs_f64(1.0 / rate);
                let next = now + interval.mul_f64(at as f64 / count as f64);
                Pace::Every { next, interval }
            }
        };
        tasks.spawn_local(client::run(miner, pace, stats.clone()));
    }
    tasks
}

/// Waits until all connections have heard of the tip, or nothing more comes.
async fn wait_for_tip(stats: &Stats, count: usize, is_asked: bool) -> anyhow::Result<()> {
    let patience = if is_asked { TIP_TIMEOUT } else { BLOCK_TIMEOUT };
    let mut until = Instant::now() + patience;
    loop {
        sleep(TIP_POLL).await;
        let heard = stats.tip_times.borrow().len();
        if heard >= count {
            return Ok(());
        }
        if heard > 0 {
            until = until.min(Instant::now() + TIP_TIMEOUT);
        }
        if Instant::now() > until {
            match heard {
                0 => bail!("no connection heard of a new tip in time"),
                _ => return Ok(()),
            }
        }
    }
}

/// Runs `work` on every item, [`Shape::parallel`] of them at a time; the first error ends it.
async fn in_parallel<I: 'static, T: 'static, F>(
    shape: &Shape,
    items: Vec<I>,
    work: impl Fn(I) -> F + 'static,
) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    let items = Rc::new(RefCell::new(items));
    let work = Rc::new(work);
    let mut workers = JoinSet::new();
    for _ in 0..shape.parallel.get() {
        let (items, work) = (items.clone(), work.clone());
        workers.spawn_local(async move {
            let mut done = Vec::new();
            loop {
                let Some(item) = items.borrow_mut().pop() else {
                    return Ok::<_, anyhow::Error>(done);
                };
                done.push(work(item).await?);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(done) = workers.join_next().await {
        all.append(&mut done.context("a connection's task panicked")??);
    }
    Ok(all)
}
