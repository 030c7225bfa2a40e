//! The device: connects, mines, and comes back.

use std::future::Future;
use std::time::Duration;

use network_helpers_sv2::{
    ClientSecurity, CloseReason, Connection, Endpoint, Options, Stream, connect, random_u32,
};
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::setup;
use stratum_runtime::{Phase, Shutdown, SystemClock, drive};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Config;
use crate::core::{End, Miner, MinerTerms};
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
        W::Rig: Send,
    {
        let upstream = config.upstream.to_string();
        let (sender, snapshot) = watch::channel(Snapshot::new(upstream, config.channel));
        let device = Device {
            config,
            shutdown,
            world,
            snapshot: sender,
            clock: SystemClock::new(),
            connections: 0,
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

/// What a device needs of the machine.
trait World {
    type Stream: Stream;
    type Rig: Rig;

    /// A connection to a server; the error says what failed and what to check.
    fn connect(
        &mut self,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Connection<Self::Stream>, String>> + Send;

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
    type Rig = ThreadRig;

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<Connection, String> {
        let security: &ClientSecurity = &self.config.security;
        let options = Options {
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connected = connect(endpoint, security, options).await;
        connected.map_err(|error| error.to_string())
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
            let endpoint = course.present().clone();
            let name = endpoint.to_string();
            self.snapshot
                .send_if_modified(|snapshot| replace(&mut snapshot.upstream, name));
            let (ended, worked) = self.connect_and_mine(&endpoint, nominal_hashrate).await;
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

    /// One connection from its begin to its end, and how long it had work.
    async fn connect_and_mine(
        &mut self,
        endpoint: &Endpoint,
        nominal_hashrate: f32,
    ) -> (Ended, Option<Duration>) {
        let shutdown = self.shutdown.clone();
        let connected = tokio::select! {
            connected = self.world.connect(endpoint) => connected,
            () = shutdown.draining() => return (End::Stopped.into(), None),
        };
        let started =
            connected.and_then(|connection| Ok((connection, self.world.rig(self.clock)?)));
        let (connection, rig) = match started {
            Ok(started) => started,
            Err(error) => return (Ended::Lost(error), None),
        };
        self.connections += 1;
        let reconnects = self.connections - 1;
        self.snapshot
            .send_modify(|snapshot| snapshot.reconnects = reconnects);
        let terms = terms(&self.config, endpoint, nominal_hashrate);
        let mut session = Session(Miner::new(terms, self.clock.now()));
        let mut wiring = Wiring::new(rig, &self.snapshot, &shutdown);
        let driving = drive(&mut session, &mut wiring, connection, self.clock);
        let reason = tokio::select! {
            reason = driving => reason,
            () = shutdown.ended() => CloseReason::Shutdown,
        };
        wiring.finish(&session.0, self.clock.now());
        let ended = match wiring.end.take() {
            Some(end) => end.into(),
            None => Ended::Lost(format!("{endpoint}: {reason}")),
        };
        (ended, wiring.worked_since.map(|since| since.elapsed()))
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

fn terms(config: &Config, endpoint: &Endpoint, nominal_hash_rate: f32) -> MinerTerms {
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
            host: endpoint.host.clone().try_into().unwrap_or_default(),
            port: endpoint.port,
            ..config.about.clone()
        },
    }
}

#[cfg(test)]
mod tests;
