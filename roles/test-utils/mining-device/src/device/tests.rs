//! The device against scripted servers, in virtual time.

mod sv1;
mod sv2;

use network_helpers_sv2::ClientSecurity;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::session::FINDS_PER_INTERVAL;
use crate::work::{FoundShare, WorkSource};

/// Bytes that the network takes before anybody reads.
const NETWORK_LEN: usize = 64 * 1024;

/// An attempt of the device to connect; without a stream it was refused.
struct Call {
    server: ServerUrl,
    at: Instant,
    stream: Option<DuplexStream>,
}

/// A network in which only `reachable` servers are.
struct Stage {
    reachable: fn(&ServerUrl) -> bool,
    calls: mpsc::Sender<Call>,
    find_every: Duration,
}

impl Stage {
    async fn open(&mut self, server: ServerUrl) -> Result<DuplexStream, String> {
        let (near, far) = duplex(NETWORK_LEN);
        let is_reached = (self.reachable)(&server);
        let call = Call {
            server,
            at: Instant::now(),
            stream: is_reached.then_some(far),
        };
        self.calls.send(call).await.unwrap();
        is_reached
            .then_some(near)
            .ok_or_else(|| "nobody is there".to_owned())
    }
}

impl World for Stage {
    type Stream = DuplexStream;
    type LineStream = DuplexStream;
    type Rig = Script;

    async fn connect(&mut self, server: &Endpoint) -> Result<Connection<DuplexStream>, String> {
        let stream = self.open(ServerUrl::Sv2(server.clone())).await?;
        let security = ClientSecurity::Plain;
        let connected = Connection::client(stream, &security, Options::default()).await;
        Ok(connected.unwrap())
    }

    async fn connect_lines(
        &mut self,
        server: &Sv1Endpoint,
    ) -> Result<LineConnection<DuplexStream>, String> {
        let stream = self.open(ServerUrl::Sv1(server.clone())).await?;
        Ok(LineConnection::new(stream, LineOptions::client()))
    }

    fn rig(&mut self, clock: SystemClock) -> Result<Script, String> {
        Ok(Script {
            work: None,
            clock,
            next_at: Instant::now(),
            every: self.find_every,
            nonce: 0,
        })
    }
}

/// Finds a share at every interval, with a thousand hashes.
struct Script {
    work: Option<WorkSource>,
    clock: SystemClock,
    next_at: Instant,
    every: Duration,
    nonce: u32,
}

impl Rig for Script {
    fn assign(&mut self, work: Option<WorkSource>) {
        self.work = work;
        self.next_at = Instant::now() + self.every;
    }

    async fn found(&mut self, finds: &mut Vec<FoundShare>) {
        let Some(work) = &self.work else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(self.next_at).await;
        self.next_at += self.every;
        let unit = work.clone().next_unit(self.clock.now()).unwrap();
        let count = if self.every.is_zero() {
            FINDS_PER_INTERVAL
        } else {
            1
        };
        for _ in 0..count {
            self.nonce += 1;
            finds.push(unit.share(self.nonce));
        }
    }

    fn hashes(&self) -> u64 {
        u64::from(self.nonce) * 1000
    }
}

struct Scene {
    device: MiningDevice,
    shutdown: Shutdown,
    calls: mpsc::Receiver<Call>,
}

fn scene(url: &str, reachable: fn(&ServerUrl) -> bool, find_every: Duration) -> Scene {
    let config = Config {
        nominal_hashrate: Some(1e6),
        ..Config::from(url.parse::<ServerUrl>().unwrap())
    };
    let (shutdown, (calls, receiver)) = (Shutdown::new(), mpsc::channel(1));
    let stage = Stage {
        reachable,
        calls,
        find_every,
    };
    Scene {
        device: MiningDevice::spawn(config, shutdown.clone(), stage),
        shutdown,
        calls: receiver,
    }
}

impl Scene {
    async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    async fn stream(&mut self) -> DuplexStream {
        self.call().await.stream.expect("the server is reachable")
    }

    /// Waits until the device is as it should be.
    async fn shows(&self, is_it: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut watcher = self.device.watcher();
        assert!(watcher.changed(is_it).await);
        watcher.snapshot()
    }
}

#[tokio::test]
async fn the_self_test_gives_a_hashrate() {
    let config = Config::new("127.0.0.1:9".parse().unwrap());
    let shutdown = Shutdown::new();
    let device = MiningDevice::start(config, shutdown.clone());
    let mut watcher = device.watcher();
    assert!(
        watcher
            .changed(|snapshot| snapshot.nominal_hashrate > 1e4)
            .await
    );
    shutdown.drain();
    device.join().await;
    assert!(!watcher.changed(|_| false).await);
}
