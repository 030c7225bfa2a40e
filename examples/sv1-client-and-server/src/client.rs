//! The miner: finds and submits a share of the present job every now and then.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use network_helpers_sv2::{
    LineConnection, LineOptions, MaybeTls, Sv1Endpoint, Wake, connect_lines,
};
use stratum_runtime::SystemClock;
use sv1_api::client::{
    ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
};
use tokio::time::Instant;

/// Who mines, as the server is told.
const USER: &str = "alice.rig1";

pub(crate) async fn mine(
    server: &Sv1Endpoint,
    submit_interval: Duration,
    count: Option<u64>,
) -> anyhow::Result<()> {
    let connection = connect_lines(server, None, LineOptions::client()).await?;
    let clock = SystemClock::new();
    let mut client = Client {
        // The session has lines to send from the start: it configures, subscribes and authorizes by itself.
        session: ClientSession::new(ClientConfig::new(&server.host, USER), clock.now()),
        connection,
        clock,
        job: None,
        extranonce2: 0,
    };
    client
        .work(submit_interval, count)
        .await
        .context("the client's connection ended")?;
    let counts = client.session.counts();
    println!(
        "client has submitted {}, accepted {}, rejected {}",
        counts.submitted, counts.accepted, counts.rejected
    );
    client.connection.close().await;
    Ok(())
}

struct Client {
    session: ClientSession,
    connection: LineConnection<MaybeTls>,
    clock: SystemClock,
    job: Option<Arc<ClientJob>>,
    extranonce2: u64,
}

impl Client {
    async fn work(&mut self, submit_interval: Duration, count: Option<u64>) -> anyhow::Result<()> {
        let mut submit_at = Instant::now() + submit_interval;
        loop {
            self.carry_out()?;
            let counts = self.session.counts();
            if count.is_some_and(|count| counts.accepted + counts.rejected >= count) {
                return Ok(());
            }
            let deadline = self.session.poll_timeout();
            let deadline = deadline.and_then(|at| self.clock.deadline(at));
            let until = deadline.map_or(submit_at, |at| at.min(submit_at));
            if self.connection.ready(Some(until)).await? == Wake::Readable {
                self.hear();
            } else {
                self.session.handle_timeout(self.clock.now());
            }
            if Instant::now() >= submit_at {
                submit_at = Instant::now() + submit_interval;
                self.submit()?;
            }
        }
    }

    fn hear(&mut self) {
        let now = self.clock.now();
        while let Some(line) = self.connection.next_line() {
            match line {
                Ok(line) => {
                    println!("client hears {}", String::from_utf8_lossy(line));
                    self.session.handle_line(line, now);
                }
                Err(error) => self.session.handle_long_line(error),
            }
        }
    }

    fn carry_out(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(line) => {
                    print!("client sends {line}");
                    self.connection.queue(&line)?;
                }
                ClientOutput::Event(ClientEvent::Work(job)) => self.job = Some(job),
                ClientOutput::Event(event) => println!("client notes {event:?}"),
                ClientOutput::Close(end) => return Err(end.into()),
            }
        }
        Ok(())
    }

    fn submit(&mut self) -> anyhow::Result<()> {
        let Some(job) = &self.job else {
            return Ok(());
        };
        self.extranonce2 += 1;
        let mut extranonce2 = vec![0; job.extranonce2_size()];
        let counter = self.extranonce2.to_le_bytes();
        extranonce2
            .iter_mut()
            .zip(counter)
            .for_each(|(to, from)| *to = from);
        let share =
            find(job, &extranonce2).ok_or_else(|| anyhow!("no nonce makes a share of this job"))?;
        // The line goes out with the next outputs, the verdict comes as an event.
        self.session.submit(job, &share)?;
        Ok(())
    }
}

fn find<'a>(job: &ClientJob, extranonce2: &'a [u8]) -> Option<FoundShare<'a>> {
    let mut share = FoundShare {
        extranonce2,
        ntime: job.notify().ntime,
        nonce: 0,
        version: job.notify().version,
    };
    let mut header = job.header(&share);
    share.nonce = (0..=u32::MAX).find(|nonce| {
        header.nonce = *nonce;
        job.target().is_met_by(&header.hash())
    })?;
    Some(share)
}
