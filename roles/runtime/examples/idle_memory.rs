//! Measures the resident memory of idle Noise connections: `cargo run --release --example idle_memory -- 2000`.
//!
//! The clients live in a process of their own, so that only the server's side is counted. Each connection is driven on
//! a core with a core that does nothing and an idle deadline, and has exchanged one frame both ways.

use std::future::pending;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use framing_sv2::Sv2Frame;
use network_helpers_sv2::{
    ClientSecurity, CloseCounts, CloseReason, Connection, Endpoint, Options, ServerIdentity,
    ServerSecurity, Stream, connect,
};
use noise_sv2::AuthoritySecretKey;
use roles_logic_sv2::clock::{Instant, Now};
use stratum_runtime::{
    AcceptLimits, Core, CoreRuntimes, Gate, Shell, Shutdown, SystemClock, accept_loop, bind,
    raise_open_files, random_bytes, serve,
};

fn main() -> anyhow::Result<()> {
    raise_open_files();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [count] => server(count.parse()?),
        [count, endpoint] => clients(count.parse()?, &endpoint.parse()?),
        _ => anyhow::bail!("give the number of connections"),
    }
}

/// Answers each frame with an empty one.
#[derive(Default)]
struct Echo {
    answers: usize,
}

impl Core for Echo {
    type Output = ();

    fn handle_frame(&mut self, _: Sv2Frame<'_>, _: Now) {
        self.answers += 1;
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<()> {
        self.answers = self.answers.checked_sub(1)?;
        Some(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Nothing;

impl Shell<Echo> for Nothing {
    async fn changed(&mut self) {
        pending().await
    }

    fn deliver(&mut self, _: &mut Echo, _: Now) {}

    fn output<S: Stream>(
        &mut self,
        (): (),
        _: &mut Echo,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        connection.queue_raw(0, 1, &[])
    }
}

fn server(count: usize) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let cores = CoreRuntimes::new(NonZeroUsize::new(1), &shutdown)?;
    let authority = AuthoritySecretKey::generate(random_bytes)?;
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    let security = ServerSecurity::Noise(Arc::new(identity));
    let clock = SystemClock::new();
    let counts = Arc::new(CloseCounts::default());
    let connection = move |stream, peer| {
        let (security, counts) = (security.clone(), Arc::clone(&counts));
        async move {
            let session = || (Echo::default(), Nothing);
            serve(
                stream,
                peer,
                &security,
                Options::default(),
                clock,
                &counts,
                session,
            )
            .await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "listen")?;
        let endpoint = listener.local_addr()?.to_string();
        let gate = Gate::new(AcceptLimits {
            per_address: usize::MAX,
            ..AcceptLimits::default()
        });
        let measure = async {
            // The first connections fill caches and pools.
            let warm_up = run_clients(100, &endpoint).await?;
            let before = resident()?;
            let all = run_clients(count, &endpoint).await?;
            let after = resident()?;
            let open = gate.inside();
            println!(
                "{open} connections open, {} bytes resident for each of the last {count}",
                after.saturating_sub(before) / count
            );
            drop((warm_up, all));
            shutdown.drain();
            anyhow::Ok(())
        };
        let accepting = accept_loop(listener, gate.clone(), &cores, &shutdown, connection);
        let ((), measured) = tokio::join!(accepting, measure);
        measured
    })?;
    shutdown.end();
    cores.join();
    Ok(())
}

/// Clients in a process that ends when its standard input closes.
async fn run_clients(count: usize, endpoint: &str) -> anyhow::Result<ClientProcess> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([&count.to_string(), endpoint])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("the clients have an output")?;
    let connected = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map(|_| line)
    });
    let process = ClientProcess(child);
    anyhow::ensure!(
        connected.await??.trim() == "connected",
        "the clients failed"
    );
    Ok(process)
}

struct ClientProcess(std::process::Child);

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn clients(count: usize, endpoint: &Endpoint) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..count {
            let security = ClientSecurity::Noise { authority: None };
            let mut connection = connect(endpoint, &security, Options::default()).await?;
            connection.queue_raw(0, 1, &[0; 60])?;
            while connection.next_frame()?.is_none() {
                connection.ready(None).await?;
            }
            connections.push(connection);
        }
        println!("connected");
        pending().await
    })
}

/// Bytes of memory of this process.
fn resident() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes
        .context("the kernel tells the resident memory")?
        .parse::<usize>()?
        * 1024)
}
