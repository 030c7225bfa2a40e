//! The device: connects, mines, and comes back.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use network_helpers_sv2::{
    CloseReason, ConnectError, Connection, Endpoint, LineConnection, LineOptions, MaybeTls,
    Options, ServerUrl, Stream, Sv1Endpoint, connect, connect_lines, random_u32,
};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::setup;
use roles_logic_sv2::target::Target;
use stratum_runtime::{Phase, Shutdown, SystemClock, drive, drive_lines};
use sv1_api::Difficulty;
use sv1_api::client::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Config;
use crate::core::{End, Miner, MinerTerms, Rules, Sv1Miner};
use crate::course::{Course, Ended};
use crate::hasher::Hasher;
use crate::session::{Rig, Session, ThreadRig, Wiring};
use crate::snapshot::{Rate, Snapshot};
use crate::workers::measure;

/// How long the hash rate is measured at start, unless the configuration names it.
pub const SELF_TEST: Duration = Duration::from_millis(250);

/// Longest payload that a server may send, in bytes: room for a job with the longest coinbase parts. A longer one ends
/// the connection before memory is taken for it.
const MAX_PAYLOAD_LEN: usize = 256 * 1024;

/// A running mining device. It goes on when this is dropped, until its shutdown drains.
#[derive(Debug)]
pub struct MiningDevice {
    snapshot: watch::Receiver<Snapshot>,
    task: JoinHandle<()>,
}

/// Sees how a device is doing.
#[derive(Clone, Debug)]
pub struct Watcher(watch::Receiver<Snapshot>);

impl Watcher {
    /// How it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    /// Waits until `is_it` holds, `false` when the device has ended before. Cancel safe.
    pub async fn changed(&mut self, is_it: impl FnMut(&Snapshot) -> bool) -> bool {
        self.0.wait_for(is_it).await.is_ok()
    }
}

impl MiningDevice {
    /// Mines until `shutdown` drains; needs a tokio runtime. Nothing that a server does or fails to do ends it before.
    pub fn start(config: Config, shutdown: Shutdown) -> Self {
        let hasher = Hasher::detect();
        let world = Machine {
            config: config.clone(),
            hasher,
        };
        Self::spawn(config, shutdown, world)
    }

    fn spawn<W: World + Send + 'static>(config: Config, shutdown: Shutdown, world: W) -> Self
    where
        W::Stream: Send,
        W::LineStream: Send,
        W::Rig: Send,
    {
        let first = Snapshot::new(
            config.upstream.to_string(),
            channel(&config, &config.upstream),
        );
        let (sender, snapshot) = watch::channel(first);
        let device = Device {
            config,
            shutdown,
            world,
            snapshot: sender,
            clock: SystemClock::new(),
            connections: 0,
            resumable: None,
        };
        let task = tokio::spawn(device.run());
        Self { snapshot, task }
    }

    /// How it is doing.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// A handle that sees how it is doing, as long as it is needed.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.snapshot.clone())
    }

    /// Waits until the shutdown has drained it: the channel closed, the threads ended.
    pub async fn join(self) {
        if self.task.await.is_err() {
            tracing::error!("the mining device's task panicked: please report this");
        }
    }
}

/// What a device needs of the machine. Errors say what failed and what to check.
trait World {
    type Stream: Stream;
    type LineStream: Stream;
    type Rig: Rig;

    /// A connection to a server.
    fn connect(
        &mut self,
        server: &Endpoint,
    ) -> impl Future<Output = Result<Connection<Self::Stream>, String>> + Send;

    /// A connection to an Sv1 server.
    fn connect_lines(
        &mut self,
        server: &Sv1Endpoint,
    ) -> impl Future<Output = Result<LineConnection<Self::LineStream>, String>> + Send;

    /// Something that hashes, for one connection whose core has its time from `clock`.
    fn rig(&mut self, clock: SystemClock) -> Result<Self::Rig, String>;
}

/// The real one.
struct Machine {
    config: Config,
    hasher: Hasher,
}

impl World for Machine {
    type Stream = TcpStream;
    type LineStream = MaybeTls;
    type Rig = ThreadRig;

    async fn connect(&mut self, server: &Endpoint) -> Result<Connection, String> {
        let options = Options {
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connected = connect(server, &self.config.security, options).await;
        connected.map_err(|error| error.to_string())
    }

    async fn connect_lines(
        &mut self,
        server: &Sv1Endpoint,
    ) -> Result<LineConnection<MaybeTls>, String> {
        let tls = Some(&self.config.sv1.tls);
        let connected = connect_lines(server, tls, LineOptions::client()).await;
        connected.map_err(|error| match error {
            ConnectError::Certificate { .. } => {
                format!("{error} (sv1.tls_ca_files, sv1.tls_verify)")
            }
            error => error.to_string(),
        })
    }

    fn rig(&mut self, clock: SystemClock) -> Result<ThreadRig, String> {
        let started = ThreadRig::start(self.config.effort, self.hasher, move || clock.now());
        started.map_err(|error| {
            format!("cannot start threads: {error}; check the limits of this user (ulimit -u)")
        })
    }
}

struct Device<W> {
    config: Config,
    shutdown: Shutdown,
    world: W,
    snapshot: watch::Sender<Snapshot>,
    clock: SystemClock,
    connections: u64,
    /// The session that an Sv1 server may let us resume.
    resumable: Option<(Sv1Endpoint, String)>,
}

/// What became of a connection.
struct Outcome {
    ended: Ended,
    /// How long it had work.
    worked: Option<Duration>,
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        Self {
            ended,
            worked: None,
        }
    }
}

impl<W: World> Device<W> {
    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        let Some(nominal_hashrate) = nominal_hashrate(&self.config).await else {
            return;
        };
        self.snapshot
            .send_modify(|snapshot| snapshot.nominal_hashrate = nominal_hashrate);
        let mut course = Course::new(self.config.upstream.clone());
        while shutdown.phase() == Phase::Running {
            let server = course.present().clone();
            let name = server.to_string();
            self.snapshot
                .send_if_modified(|snapshot| replace(&mut snapshot.upstream, name));
            let mined = match &server {
                ServerUrl::Sv2(server) => self.mine(server, nominal_hashrate).await,
                ServerUrl::Sv1(server) => self.mine_sv1(server, nominal_hashrate).await,
            };
            let Outcome { ended, worked } = mined.unwrap_or_else(Outcome::from);
            if shutdown.phase() > Phase::Running {
                return;
            }
            let pause = course.handle_end(&ended, worked, random_u32());
            self.report(&ended, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.draining() => {}
            }
        }
    }

    /// One connection from its begin to its end; the error is that of an attempt.
    async fn mine(&mut self, server: &Endpoint, nominal_hashrate: f32) -> Result<Outcome, Ended> {
        let shutdown = self.shutdown.clone();
        let connection = unless_draining(&shutdown, self.world.connect(server)).await?;
        let rig = self.begin()?;
        let terms = terms(&self.config, server, nominal_hashrate);
        let mut session = Session(Miner::new(terms, self.clock.now()));
        let mut wiring = Wiring::new(rig, &self.snapshot, &shutdown);
        let driving = drive(&mut session, &mut wiring, connection, self.clock);
        let reason = until_ended(&shutdown, driving).await;
        Ok(self.outcome(wiring, &session.0, server, reason))
    }

    /// The same for an Sv1 server.
    async fn mine_sv1(
        &mut self,
        server: &Sv1Endpoint,
        nominal_hashrate: f32,
    ) -> Result<Outcome, Ended> {
        let shutdown = self.shutdown.clone();
        let connection = unless_draining(&shutdown, self.world.connect_lines(server)).await?;
        let rig = self.begin()?;
        let resumable = self.resumable.as_ref().filter(|(at, _)| at == server);
        let session = resumable.map(|(_, session)| session.clone());
        let client = sv1_client(&self.config, server, nominal_hashrate, session);
        let mut session = Session(Sv1Miner::new(client, random_u32(), self.clock.now()));
        let mut wiring = Wiring::new(rig, &self.snapshot, &shutdown);
        let driving = drive_lines(&mut session, &mut wiring, connection, self.clock);
        let reason = until_ended(&shutdown, driving).await;
        let outcome = self.outcome(wiring, &session.0, server, reason);
        if let Some(resumable) = session.0.session() {
            self.resumable = Some((server.clone(), resumable.to_owned()));
        }
        Ok(outcome)
    }

    /// Counts a connection and prepares what hashes for it.
    fn begin(&mut self) -> Result<W::Rig, Ended> {
        let rig = self.world.rig(self.clock).map_err(Ended::Lost)?;
        let reconnects = self.connections;
        self.connections += 1;
        self.snapshot
            .send_modify(|snapshot| snapshot.reconnects = reconnects);
        Ok(rig)
    }

    fn outcome<R: Rules>(
        &self,
        mut wiring: Wiring<'_, W::Rig>,
        miner: &R,
        server: &impl Display,
        reason: CloseReason,
    ) -> Outcome {
        wiring.finish(miner, self.clock.now());
        let lost = || match wiring.was_welcome {
            true => format!("{server}: {reason}"),
            false => format!("{server}: {reason}; {}", R::CHECK),
        };
        Outcome {
            worked: wiring.worked_since.map(|since| since.elapsed()),
            ended: match &wiring.end {
                Some(end) => end.clone().into(),
                None => Ended::Lost(lost()),
            },
        }
    }

    fn report(&self, ended: &Ended, pause: Duration) {
        let advice = ended.advice();
        let failure = match advice {
            "" => ended.to_string(),
            advice => format!("{ended}; {advice}"),
        };
        tracing::warn!(pause_secs = pause.as_secs_f32(), "{failure}");
        self.snapshot
            .send_modify(|snapshot| snapshot.last_failure = Some(failure));
    }
}

/// What an attempt comes to; the program's drain ends it.
async fn unless_draining<T>(
    shutdown: &Shutdown,
    attempt: impl Future<Output = Result<T, String>>,
) -> Result<T, Ended> {
    tokio::select! {
        result = attempt => result.map_err(Ended::Lost),
        () = shutdown.draining() => Err(End::Stopped.into()),
    }
}

/// Why a connection ended; the program's end ends it, however long its last messages take.
async fn until_ended(
    shutdown: &Shutdown,
    driving: impl Future<Output = CloseReason>,
) -> CloseReason {
    tokio::select! {
        reason = driving => reason,
        () = shutdown.ended() => CloseReason::Shutdown,
    }
}

/// Hashes per second to announce; `None` when the program ends first.
async fn nominal_hashrate(config: &Config) -> Option<f32> {
    if let Some(hashrate) = config.nominal_hashrate {
        return Some(hashrate);
    }
    let (effort, hasher) = (config.effort, Hasher::detect());
    let measured = tokio::task::spawn_blocking(move || measure(&effort, hasher, SELF_TEST));
    let hashrate = measured.await.ok()?;
    tracing::info!(
        hashrate = %Rate(hashrate),
        threads = effort.threads,
        hasher = hasher.name(),
        "measured"
    );
    Some(hashrate as f32)
}

fn replace(text: &mut String, new: String) -> bool {
    let is_new = *text != new;
    *text = new;
    is_new
}

/// The kind of channel that a server is asked for, if it has channels.
fn channel(config: &Config, server: &ServerUrl) -> Option<ChannelKind> {
    match server {
        ServerUrl::Sv2(_) => Some(config.channel),
        ServerUrl::Sv1(_) => None,
    }
}

fn terms(config: &Config, server: &Endpoint, nominal_hash_rate: f32) -> MinerTerms {
    MinerTerms {
        user_identity: config.user_identity.clone(),
        kind: config.channel,
        open: OpenTerms {
            nominal_hash_rate,
            min_extranonce_size: config.min_extranonce_size,
            ..OpenTerms::default()
        },
        endpoint: setup::Endpoint {
            // A name above 255 bytes resolves to nothing, so the empty default is never sent.
            host: server.host.clone().try_into().unwrap_or_default(),
            port: server.port,
            ..config.about.clone()
        },
    }
}

fn sv1_client(
    config: &Config,
    server: &Sv1Endpoint,
    nominal_hashrate: f32,
    session: Option<String>,
) -> ClientConfig {
    let user = config.user_identity.as_str().unwrap_or_default();
    let suggested = |shares_per_min| suggested_difficulty(nominal_hashrate, shares_per_min);
    ClientConfig {
        user_agent: config.about.vendor.as_str().unwrap_or_default().to_owned(),
        password: config.sv1.password.expose().clone(),
        suggested_difficulty: config.sv1.shares_per_min.and_then(suggested),
        session,
        ..ClientConfig::new(&server.host, user)
    }
}

/// The difficulty at which a hash rate gives so many shares; `None` for numbers without sense.
fn suggested_difficulty(hashrate: f32, shares_per_min: f64) -> Option<Difficulty> {
    let target = Target::from_hashrate(hashrate.into(), shares_per_min).ok()?;
    Difficulty::new(target.difficulty_f64())
}

#[cfg(test)]
mod tests;
