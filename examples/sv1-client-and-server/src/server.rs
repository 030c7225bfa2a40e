//! The server: gives one miner work and judges its shares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use network_helpers_sv2::{
    CloseReason, LineConnection, LineOptions, MaybeTls, Wake, accept_lines, random_bytes,
};
use roles_logic_sv2::header::{Header, rolled_version};
use roles_logic_sv2::merkle::{root_from_path, sha256d};
use stratum_runtime::SystemClock;
use sv1_api::Difficulty;
use sv1_api::client_message::Submit;
use sv1_api::reject::Reject;
use sv1_api::server::{Grant, Job, ServerConfig, ServerEvent, ServerOutput, ServerSession};
use sv1_api::server_message::Notify;
use tokio::net::TcpListener;

/// About a thousand hashes a share, so that no hardware is needed.
const DIFFICULTY: f64 = 1.0 / (1 << 22) as f64;

/// Jobs whose shares still count; at the limit the oldest is forgotten.
const MAX_JOBS: usize = 4;

const EXTRANONCE1_LEN: usize = 4;
const EXTRANONCE2_LEN: u8 = 8;

pub(crate) async fn serve(listener: &TcpListener, job_interval: Duration) -> anyhow::Result<()> {
    let (stream, peer) = listener
        .accept()
        .await
        .context("the server cannot accept a connection")?;
    let connection = accept_lines(stream, None, LineOptions::server())
        .await
        .context("the server gave up its client")?;
    println!("server is connected to {peer}");
    let clock = SystemClock::new();
    let config = ServerConfig {
        job_interval,
        ..ServerConfig::default()
    };
    let mut server = Server {
        session: ServerSession::new(config, clock.now()),
        connection,
        clock,
        jobs: VecDeque::new(),
        jobs_made: 0,
    };
    let difficulty = Difficulty::new(DIFFICULTY).context("the difficulty is above zero")?;
    server.session.set_difficulty(difficulty);
    // The session keeps it until the miner is subscribed and authorized.
    server.send_job();
    server.work().await.context("the server gave up its client")
}

struct Server {
    session: ServerSession,
    connection: LineConnection<MaybeTls>,
    clock: SystemClock,
    jobs: VecDeque<Arc<Job>>,
    jobs_made: u32,
}

impl Server {
    async fn work(&mut self) -> anyhow::Result<()> {
        loop {
            self.carry_out()?;
            let deadline = self.session.poll_timeout();
            let until = deadline.and_then(|at| self.clock.deadline(at));
            match self.connection.ready(until).await {
                Ok(Wake::Readable) => self.hear(),
                Ok(Wake::Deadline) => self.session.handle_timeout(self.clock.now()),
                Err(CloseReason::PeerClosed) => return Ok(()),
                Err(reason) => return Err(reason.into()),
            }
        }
    }

    fn hear(&mut self) {
        let now = self.clock.now();
        while let Some(line) = self.connection.next_line() {
            match line {
                Ok(line) => {
                    println!("server hears {}", String::from_utf8_lossy(line));
                    self.session.handle_line(line, now);
                }
                Err(error) => self.session.handle_long_line(error, now),
            }
        }
    }

    fn carry_out(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.session.poll_output() {
            match output {
                ServerOutput::Send(line) => {
                    print!("server sends {line}");
                    self.connection.queue(&line)?;
                }
                ServerOutput::Event(event) => self.decide(event),
                ServerOutput::Close(reason) => bail!(reason),
            }
        }
        Ok(())
    }

    /// The session knows the protocol; who may mine, on what, and whether a share counts, is for its owner to say.
    fn decide(&mut self, event: ServerEvent) {
        let now = self.clock.now();
        match event {
            ServerEvent::Subscribe(_) => {
                let grant = Grant {
                    extranonce1: random_bytes::<EXTRANONCE1_LEN>().to_vec(),
                    extranonce2_size: EXTRANONCE2_LEN.into(),
                    session: "1".into(),
                };
                self.session.grant(grant, now);
            }
            ServerEvent::Authorize { id, authorize } => {
                self.session
                    .answer_authorize(&id, &authorize.user, true, now);
            }
            ServerEvent::Submit { id, submit } => {
                let verdict = self.judge(&submit);
                self.session.answer_submit(&id, verdict, now);
            }
            ServerEvent::JobDue => self.send_job(),
            event => println!("server notes {event:?}"),
        }
    }

    fn send_job(&mut self) {
        self.jobs_made += 1;
        let now = self.clock.now();
        let job = Arc::new(Job::new(notify(self.jobs_made, now.unix_secs)));
        self.session.send_job(&job, false, now);
        self.jobs.push_back(job);
        if self.jobs.len() > MAX_JOBS {
            self.jobs.pop_front();
        }
    }

    /// A pool also looks for duplicates, checks `ntime`, and hands in what is a block.
    fn judge(&self, submit: &Submit) -> Result<(), Reject> {
        let grant = self.session.granted().ok_or(Reject::NotSubscribed)?;
        let mut jobs = self.jobs.iter().map(|job| job.notify());
        let job = jobs
            .find(|job| job.job_id == submit.job_id)
            .ok_or(Reject::JobNotFound)?;
        let coinbase = [
            &job.coinbase_prefix,
            &grant.extranonce1,
            &submit.extranonce2,
            &job.coinbase_suffix,
        ];
        let coinbase = coinbase.map(Vec::as_slice).concat();
        let mask = self.session.version_mask().unwrap_or(0);
        let header = Header {
            version: rolled_version(job.version, mask, submit.version_bits.unwrap_or(0)),
            prev_hash: job.prev_hash,
            merkle_root: root_from_path(&sha256d(&coinbase), &job.merkle_path),
            ntime: submit.ntime,
            nbits: job.nbits,
            nonce: submit.nonce,
        };
        let target = Difficulty::new(DIFFICULTY).map(Difficulty::target);
        let is_met = target.is_some_and(|target| target.is_met_by(&header.hash()));
        is_met.then_some(()).ok_or(Reject::LowDifficulty)
    }
}

/// A job on an invented block; a real one comes from a node's block template.
fn notify(number: u32, unix_secs: u64) -> Notify {
    // BIP34: the height, 1, begins the scriptSig, whose rest is the extranonce.
    let script_sig_len = 1 + EXTRANONCE1_LEN as u8 + EXTRANONCE2_LEN;
    let outpoint = [&[0; 32][..], &[0xff; 4]].concat();
    let value_sats = 5_000_000_000_u64.to_le_bytes();
    Notify {
        job_id: format!("{number:x}"),
        prev_hash: [0; 32],
        coinbase_prefix: [&[1, 0, 0, 0, 1][..], &outpoint, &[script_sig_len, 0x51]].concat(),
        // One output, which anyone can spend.
        coinbase_suffix: [&[0xff; 4][..], &[1], &value_sats, &[1, 0x51], &[0; 4]].concat(),
        merkle_path: Vec::new(),
        version: 0x2000_0000,
        nbits: 0x1d00_ffff,
        ntime: u32::try_from(unix_secs).unwrap_or(u32::MAX),
        clean_jobs: false,
    }
}
