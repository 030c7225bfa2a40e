//! The measurement: opens connections, loads them, reads what the server's process used.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use network_helpers_sv2::{ClientSecurity, Endpoint, Options, connect};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::{Args, ChannelType, ServerRole, Shape};
use crate::miner::{Miner, Pace};
use crate::process::{Server, Usage};
use crate::report::{Figures, Quantiles, Report, SetupFigures, ShareFigures, TipFigures, median};
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
        Some(endpoint) => {
            let security = match args.plain {
                true => ClientSecurity::Plain,
                false => ClientSecurity::Noise {
                    authority: endpoint.authority,
                },
            };
            let subject = Subject {
                endpoint,
                security,
                pid: args.server_pid,
                server: None,
                bare: None,
            };
            subject
                .measure(&args.shape)
                .await
                .context("load the server")?
        }
        None => own(args, ServerRole::Pool, words)
            .await
            .context("load the pool")?,
    };
    let has_floor = !args.no_floor && (args.own || args.server_pid.is_some());
    let floor = match has_floor {
        true => Some(
            own(args, ServerRole::Floor, words)
                .await
                .context("load the bare server")?,
        ),
        false => None,
    };
    Ok(Report::new(args, figures, floor))
}

async fn own(args: &Args, role: ServerRole, words: &[&str]) -> anyhow::Result<Figures> {
    let lens = bare_lens(args);
    let [share_len, ..] = lens;
    let server = Server::start(role, args, lens, words)?;
    let endpoint = server.endpoint.clone();
    let (security, bare) = match role {
        ServerRole::Pool => {
            let authority = endpoint.authority;
            (ClientSecurity::Noise { authority }, None)
        }
        ServerRole::Floor => {
            let bare = (share_len - PLAIN_OVERHEAD, args.acks.get() as usize);
            (ClientSecurity::Plain, Some(bare))
        }
    };
    let subject = Subject {
        endpoint: &endpoint,
        security,
        pid: Some(server.pid()),
        server: Some(server),
        bare,
    };
    subject.measure(&args.shape).await
}

/// Lengths of share, acknowledgement and tip on the wire.
fn bare_lens(args: &Args) -> [usize; 3] {
    let overhead = if args.plain {
        PLAIN_OVERHEAD
    } else {
        NOISE_OVERHEAD
    };
    let (share, tip) = match args.shape.channel {
        ChannelType::Standard => (SHARE_LEN, STANDARD_TIP_LENS),
        ChannelType::Extended => (SHARE_LEN + EXTRANONCE_FIELD_LEN, EXTENDED_TIP_LENS),
    };
    let tip = tip.iter().map(|len| len + overhead).sum();
    [share + overhead, ACK_LEN + overhead, tip]
}

/// A server under load.
struct Subject<'a> {
    endpoint: &'a Endpoint,
    security: ClientSecurity,
    pid: Option<u32>,
    /// Set where tips can be asked for.
    server: Option<Server>,
    /// Length of a share's payload and shares per acknowledgement of the bare server.
    bare: Option<(usize, usize)>,
}

impl Subject<'_> {
    fn usage(&self) -> anyhow::Result<Option<Usage>> {
        self.pid.map(Usage::of).transpose()
    }

    async fn measure(mut self, shape: &Shape) -> anyhow::Result<Figures> {
        let stats = Rc::new(Stats::default());
        let (miners, setup) = self.set_up(shape, &stats).await?;
        let (shares, tips) = match shape.new_tip {
            true => (None, Some(self.spread_tips(shape, miners, &stats).await?)),
            false => (Some(self.take_shares(shape, miners, &stats).await?), None),
        };
        let lost = stats.lost.take();
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
        let mut before = self.usage()?;
        while let Some(early) = before {
            sleep(SETTLE).await;
            before = self.usage()?;
            let used = before.map_or(0.0, |late| late.cpu_us_since(&early));
            if used < IDLE_CPU_US || Instant::now() > deadline {
                break;
            }
        }
        Ok(before)
    }

    async fn set_up(
        &self,
        shape: &Shape,
        stats: &Rc<Stats>,
    ) -> anyhow::Result<(Vec<Miner>, SetupFigures)> {
        let before = self.wait_until_idle().await?;
        let start = Instant::now();
        let count = shape.connections.get();
        let (endpoint, security) = (Rc::new(self.endpoint.clone()), self.security);
        let connections = in_parallel(shape, vec![(); count], {
            let endpoint = endpoint.clone();
            move |()| {
                let endpoint = endpoint.clone();
                async move { Ok(connect(&endpoint, &security, options()).await?) }
            }
        })
        .await?;
        let shaken_secs = start.elapsed().as_secs_f64();
        let shaken = self.usage()?;
        let (bare, shape_of_each, stats) = (self.bare, Rc::new(shape.clone()), stats.clone());
        let opened = in_parallel(shape, connections, move |connection| {
            let (endpoint, shape, stats) = (endpoint.clone(), shape_of_each.clone(), stats.clone());
            async move {
                match bare {
                    Some(bare) => {
                        let miner = Miner::bare(connection, &shape, bare, &stats);
                        Ok((miner, Duration::ZERO))
                    }
                    None => Miner::open(connection, &endpoint, &shape, &stats).await,
                }
            }
        })
        .await?;
        let all_secs = start.elapsed().as_secs_f64();
        sleep(SETTLE).await;
        let after = self.usage()?;
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
        &self,
        shape: &Shape,
        miners: Vec<Miner>,
        stats: &Rc<Stats>,
    ) -> anyhow::Result<ShareFigures> {
        let tasks = start(shape, miners, shape.rate);
        let idle = self.usage()?;
        sleep(WARM_UP).await;
        let mut rounds = Rounds::default();
        let (mut total, mut rejected_before) = (0, stats.rejected.borrow().values().sum::<u64>());
        for _ in 0..shape.rounds.get() {
            stats.latencies.borrow_mut().clear();
            let (accepted, usage, at) = (stats.accepted.get(), self.usage()?, Instant::now());
            sleep(shape.round()).await;
            let secs = at.elapsed().as_secs_f64();
            let used = self
                .usage()?
                .zip(usage)
                .map(|(late, early)| late.cpu_us_since(&early));
            let accepted = stats.accepted.get() - accepted;
            let rejected = stats.rejected.borrow().values().sum::<u64>();
            let judged = accepted + rejected - rejected_before;
            rejected_before = rejected;
            total += accepted;
            rounds.push(
                accepted as f64 / secs,
                used,
                judged,
                &mut stats.latencies.borrow_mut(),
            );
        }
        let all = stats.accepted.get();
        let after = self.usage()?.zip(idle);
        drop(tasks);
        if total == 0 && stats.rejected.borrow().is_empty() {
            bail!("the server answered no share: {:?}", stats.lost.borrow());
        }
        let per_share = |growth: f64| growth / all.max(1) as f64;
        let memory = after.map(|(late, early)| per_share(late.memory_since(&early)));
        Ok(rounds.figures(total, stats.rejected.take(), memory))
    }

    async fn spread_tips(
        &mut self,
        shape: &Shape,
        miners: Vec<Miner>,
        stats: &Rc<Stats>,
    ) -> anyhow::Result<TipFigures> {
        let count = miners.len();
        let _tasks = start(shape, miners, None);
        sleep(SETTLE).await;
        let idle = self.usage()?;
        let mut rounds = TipRounds::default();
        for round in 1..=shape.rounds.get() {
            let before = self.usage()?;
            stats.tip_times.borrow_mut().clear();
            stats.tip.set(u32::try_from(round).unwrap_or(u32::MAX));
            let asked = Instant::now();
            if let Some(server) = &mut self.server {
                server.announce_tip()?;
            }
            wait_for_tip(stats, count, self.server.is_some()).await?;
            sleep(SETTLE).await;
            let used = self
                .usage()?
                .zip(before)
                .map(|(late, early)| late.cpu_us_since(&early));
            let times = stats.tip_times.borrow();
            let (first, last) = times
                .iter()
                .min()
                .zip(times.iter().max())
                .context("no tip came")?;
            let reach = last.duration_since(*first).as_secs_f64() * 1e3;
            let ask = first.duration_since(asked).as_secs_f64() * 1e3;
            rounds.push(
                reach,
                self.server.is_some().then_some(ask),
                used,
                times.len(),
            );
        }
        let grown = self
            .usage()?
            .zip(idle)
            .map(|(late, early)| late.memory_since(&early));
        Ok(rounds.figures(count, grown))
    }
}

fn options() -> Options {
    Options {
        idle_timeout: None,
        ..Options::default()
    }
}

/// Starts all miners; they end when this is dropped.
fn start(shape: &Shape, miners: Vec<Miner>, rate: Option<f64>) -> JoinSet<()> {
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
        tasks.spawn_local(miner.run(pace));
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

/// Figures of each round of shares.
#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    cpu_us: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    fn push(&mut self, per_second: f64, cpu_us: Option<f64>, judged: u64, latencies: &mut [u32]) {
        self.per_second.push(per_second);
        if judged > 0 {
            self.cpu_us.extend(cpu_us.map(|cpu| cpu / judged as f64));
        }
        if let Some(latency) = Quantiles::of_nanos(latencies) {
            self.p50.push(latency.p50);
            self.p99.push(latency.p99);
        }
    }

    fn figures(
        mut self,
        accepted: u64,
        rejected: std::collections::BTreeMap<String, u64>,
        memory_bytes: Option<f64>,
    ) -> ShareFigures {
        let (p50, p99) = (median(&mut self.p50), median(&mut self.p99));
        ShareFigures {
            accepted,
            rejected,
            accepted_per_second: median(&mut self.per_second).unwrap_or_default(),
            cpu_us: median(&mut self.cpu_us),
            latency_us: p50.zip(p99).map(|(p50, p99)| Quantiles { p50, p99 }),
            memory_bytes,
        }
    }
}

/// Figures of each tip.
#[derive(Default)]
struct TipRounds {
    spread_ms: Vec<f64>,
    first_ms: Vec<f64>,
    cpu_us: Vec<f64>,
    heard: usize,
}

impl TipRounds {
    fn push(&mut self, spread_ms: f64, first_ms: Option<f64>, cpu_us: Option<f64>, heard: usize) {
        self.spread_ms.push(spread_ms);
        self.first_ms.extend(first_ms);
        self.cpu_us.extend(cpu_us);
        self.heard += heard;
    }

    fn figures(mut self, connections: usize, grown: Option<f64>) -> TipFigures {
        let tips = self.spread_ms.len();
        let each = connections as f64;
        TipFigures {
            tips,
            missed: (connections * tips).saturating_sub(self.heard),
            first_ms: median(&mut self.first_ms),
            spread_ms: median(&mut self.spread_ms).unwrap_or_default(),
            cpu_us: median(&mut self.cpu_us).map(|cpu| cpu / each),
            memory_bytes: grown.map(|grown| grown / each / tips.max(1) as f64),
        }
    }
}
