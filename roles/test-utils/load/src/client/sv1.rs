//! One connection of the client by Stratum V1: says what mining hardware says, and hashes nothing.

use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::bail;
use network_helpers_sv2::{
    CloseReason, LineConnection, LineOptions, MaybeTls, Sv1Endpoint, TlsClient, Wake, connect_lines,
};
use stratum_runtime::SystemClock;
use sv1_api::client::{ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession};
use sv1_api::message::Message;

use crate::args::Shape;
use crate::client::{ANSWER_TIMEOUT, Miner, Protocol, Waiting};
use crate::stats::Stats;

/// Ids of shares have five digits, so that all lines are equally long, and are never those of the first requests.
const FIRST_ID: u32 = 10_000;
const IDS: u32 = 90_000;

/// Asks for the lowest difficulty there is, 2^-32: all but one of 65 536 hashes are shares.
const PASSWORD: &str = "d=0.0000000002";

/// What a bare server answers to each share.
pub(crate) const BARE_ANSWER: &str = r#"{"id":10000,"result":true,"error":null}"#;

/// How what a bare server says of a new tip begins.
pub(crate) const BARE_TIP: &str = r#"{"id":null,"method":"mining.notify","params":[]}"#;

/// A job of the pool of `--self` as a line, in bytes.
const TIP_LEN: usize = 445;

/// Stratum V1.
pub(crate) struct Sv1 {
    pub(crate) endpoint: Sv1Endpoint,
    pub(crate) shape: Shape,
    /// The server only counts lines.
    pub(crate) is_bare: bool,
    pub(crate) clock: SystemClock,
    pub(crate) stats: Rc<Stats>,
}

impl Protocol for Sv1 {
    type Connection = LineConnection<MaybeTls>;
    type Miner = Sv1Miner;

    async fn connect(&self) -> anyhow::Result<Self::Connection> {
        let options = LineOptions {
            idle_timeout: None,
            ..LineOptions::client()
        };
        // Nothing secret is sent, and who is loaded is on this side's word.
        let tls = self.endpoint.is_tls.then(TlsClient::believing_anyone);
        Ok(connect_lines(&self.endpoint, tls.as_ref(), options).await?)
    }

    async fn open(
        &self,
        connection: Self::Connection,
        number: usize,
    ) -> anyhow::Result<(Sv1Miner, Duration)> {
        let worker = worker(&self.shape, number);
        let mut miner = Sv1Miner {
            connection,
            session: None,
            share: ShareLine::sample(&worker),
            has_work: self.is_bare,
            next: 0,
            window: self.shape.window.get(),
            waiting: Waiting::new(&self.stats),
            tip: 0,
            clock: self.clock,
            stats: self.stats.clone(),
        };
        if self.is_bare {
            return Ok((miner, Duration::ZERO));
        }
        let config = ClientConfig {
            user_agent: concat!("stratum-load/", env!("CARGO_PKG_VERSION")).to_owned(),
            password: PASSWORD.to_owned(),
            ..ClientConfig::new(&self.endpoint.host, &worker)
        };
        let opened = Instant::now();
        miner.log_in(config).await?;
        Ok((miner, opened.elapsed()))
    }
}

/// The name of a miner, equally long for all of them.
fn worker(shape: &Shape, number: usize) -> String {
    format!("{}.{number:05}", shape.user)
}

/// Lengths of share, answer and tip on the wire, without what TLS adds.
pub(crate) fn bare_lens(shape: &Shape) -> [usize; 3] {
    let share = ShareLine::sample(&worker(shape, 0)).write(0, 0).len();
    [share, BARE_ANSWER.len() + 1, TIP_LEN]
}

/// A connection with work.
pub(crate) struct Sv1Miner {
    connection: LineConnection<MaybeTls>,
    /// What follows the server's jobs; a bare server has none.
    session: Option<ClientSession>,
    share: ShareLine,
    has_work: bool,
    next: u32,
    window: usize,
    waiting: Waiting,
    /// The tip last counted, see [`Stats::tip`].
    tip: u32,
    clock: SystemClock,
    stats: Rc<Stats>,
}

impl Sv1Miner {
    /// Configures, subscribes, authorizes, and waits for the first job.
    async fn log_in(&mut self, config: ClientConfig) -> anyhow::Result<()> {
        let mut session = ClientSession::new(config, self.clock.now());
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        loop {
            while let Some(output) = session.poll_output() {
                match output {
                    ClientOutput::Send(line) => self.connection.queue(&line)?,
                    ClientOutput::Event(ClientEvent::Work(job)) => self.work_on(&job),
                    ClientOutput::Event(_) => {}
                    ClientOutput::Close(end) => bail!("{end}; try another --user"),
                }
            }
            if self.has_work {
                break;
            }
            if self.connection.ready(Some(deadline)).await? == Wake::Deadline {
                bail!("the server did not answer or gave no job in time");
            }
            while let Some(line) = self.connection.next_line() {
                session.handle_line(line?, self.clock.now());
            }
        }
        self.session = Some(session);
        Ok(())
    }

    fn work_on(&mut self, job: &ClientJob) {
        if job.notify().clean_jobs {
            self.stats.heard_of_tip(&mut self.tip, Instant::now());
        }
        self.share = ShareLine::of(job, &self.share.worker);
        self.has_work = true;
    }

    /// Does what the session asks for.
    fn follow(&mut self) -> Result<(), CloseReason> {
        while let Some(output) = self.session.as_mut().and_then(ClientSession::poll_output) {
            match output {
                ClientOutput::Send(line) => self.connection.queue(&line)?,
                ClientOutput::Event(ClientEvent::Work(job)) => self.work_on(&job),
                ClientOutput::Event(_) => {}
                ClientOutput::Close(_) => return Err(CloseReason::Finished),
            }
        }
        Ok(())
    }
}

impl Miner for Sv1Miner {
    fn send_share(&mut self, now: Instant) -> Result<bool, CloseReason> {
        if !self.has_work || self.waiting.len() >= self.window {
            return Ok(false);
        }
        let id = FIRST_ID + self.next % IDS;
        self.waiting.sent(id, now);
        self.connection.queue(self.share.write(id, self.next))?;
        self.next = self.next.wrapping_add(1);
        Ok(true)
    }

    async fn ready(&mut self, until: Option<tokio::time::Instant>) -> Result<Wake, CloseReason> {
        self.connection.ready(until).await
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        while let Some(line) = self.connection.next_line() {
            let message = line.ok().map(|line| (line, Message::parse(line)));
            match (message, &mut self.session) {
                (Some((_, Ok(Message::Response(_)))), None) => {
                    self.waiting.oldest_answered(1, now);
                    self.stats.accept(1);
                }
                (Some((_, Ok(Message::Request(_)))), None) => {
                    self.stats.heard_of_tip(&mut self.tip, now);
                }
                (Some((line, Ok(message))), Some(session)) => {
                    if !take_answer(&message, &mut self.waiting, &self.stats, now) {
                        session.handle_line(line, self.clock.now());
                    }
                }
                _ => self.stats.reject("unreadable-answer"),
            }
        }
        self.follow()
    }
}

/// Whether this was the answer to a share.
fn take_answer(message: &Message<'_>, waiting: &mut Waiting, stats: &Stats, now: Instant) -> bool {
    let Message::Response(response) = message else {
        return false;
    };
    let id = response.id.as_u64().and_then(|id| u32::try_from(id).ok());
    if !id.is_some_and(|id| waiting.answered(id, now)) {
        return false;
    }
    match response.refusal() {
        None => stats.accept(1),
        Some(error) => stats.reject(&error.message),
    }
    true
}

/// The shares of a job as lines.
struct ShareLine {
    worker: String,
    /// What stands between id and nonce.
    middle: String,
    /// What stands behind the nonce.
    end: String,
    line: String,
}

impl ShareLine {
    fn of(job: &ClientJob, worker: &str) -> Self {
        let mask = job.version_mask();
        let notify = job.notify();
        // One bit of those that may be rolled.
        let version_bits = (mask != 0).then_some(mask & mask.wrapping_neg());
        let extranonce2 = "00".repeat(job.extranonce2_size());
        Self::new(
            worker,
            (&notify.job_id, notify.ntime),
            &extranonce2,
            version_bits,
        )
    }

    /// As long as those of a real job.
    fn sample(worker: &str) -> Self {
        Self::new(worker, ("1700000000", 0), &"00".repeat(8), Some(0))
    }

    fn new(worker: &str, job: (&str, u32), extranonce2: &str, version_bits: Option<u32>) -> Self {
        let (job_id, ntime) = job;
        let worker_json = serde_json::Value::from(worker);
        let job_id = serde_json::Value::from(job_id);
        let bits = version_bits.map_or_else(String::new, |bits| format!(",\"{bits:08x}\""));
        Self {
            worker: worker.to_owned(),
            middle: format!(
                ",\"method\":\"mining.submit\",\"params\":[{worker_json},{job_id},\"{extranonce2}\",\"{ntime:08x}\",\""
            ),
            end: format!("\"{bits}]}}\n"),
            line: String::new(),
        }
    }

    fn write(&mut self, id: u32, nonce: u32) -> &str {
        let Self {
            middle, end, line, ..
        } = self;
        line.clear();
        // Writing to a string does not fail.
        let _ = write!(line, "{{\"id\":{id}{middle}{nonce:08x}{end}");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_lines_that_a_server_reads() {
        use sv1_api::client_message::ClientMessage;

        let mut share = ShareLine::new("a\"b.7", ("x1", 0x6500_0000), "0000", Some(0x2000));
        share.write(10_000, 1);
        let line = share.write(10_001, 2);
        assert!(line.ends_with('\n'));
        let Ok(Message::Request(request)) = Message::parse(line.as_bytes()) else {
            panic!("{line}")
        };
        assert_eq!(request.id.as_u64(), Some(10_001));
        let Ok(ClientMessage::Submit(submit)) = ClientMessage::parse(&request) else {
            panic!("{line}")
        };
        assert_eq!((&*submit.worker, &*submit.job_id), ("a\"b.7", "x1"));
        assert_eq!((submit.ntime, submit.nonce), (0x6500_0000, 2));
        assert_eq!(submit.extranonce2, [0, 0]);
        assert_eq!(submit.version_bits, Some(0x2000));
        let without = ShareLine::new("a", ("x1", 0), "", None);
        assert_eq!(without.end, "\"]}\n");
    }

    #[test]
    fn answers_are_told_from_what_else_a_server_says() {
        let (stats, now) = (Rc::new(Stats::default()), Instant::now());
        let mut waiting = Waiting::new(&stats);
        (10_000..10_003).for_each(|id| waiting.sent(id, now));
        for (line, is_answer) in [
            (r#"{"id":10001,"result":true,"error":null}"#, true),
            (r#"{"id":10001,"result":true,"error":null}"#, false),
            (r#"{"id":3,"result":true,"error":null}"#, false),
            (
                r#"{"id":10000,"result":null,"error":[21,"stale",null]}"#,
                true,
            ),
            (r#"{"id":10002,"method":"mining.ping","params":[]}"#, false),
        ] {
            let message = Message::parse(line.as_bytes()).unwrap();
            let taken = take_answer(&message, &mut waiting, &stats, now);
            assert_eq!(taken, is_answer, "{line}");
        }
        assert_eq!((stats.accepted.get(), waiting.len()), (1, 1));
        assert_eq!(stats.rejected.borrow()["stale"], 1);
    }
}
