//! One connection of the device: the core, driven by the socket, the threads' finds and the program's end.

use std::future::Future;

use framing_sv2::Sv2Frame;
use network_helpers_sv2::{CloseReason, Connection, LineConnection, LineTooLong, Stream};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::AnyMessage;
use stratum_runtime::{Core, LineCore, LineShell, Phase, Shell, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use crate::core::{End, Miner, News, Output, Rules, Sv1Miner};
use crate::hasher::Hasher;
use crate::snapshot::{Meter, SAMPLE_INTERVAL, Snapshot};
use crate::work::{FoundShare, WorkSource};
use crate::workers::{Effort, Workers};

/// Pause between two handfuls of finds that are sent. With a target that nearly every hash meets the threads find more
/// than can be sent: they wait then, and the connection still reads what the server says.
pub const FINDS_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

/// Finds that are sent at once, and that wait for it; a thread that finds one more waits.
pub const FINDS_PER_INTERVAL: usize = 16;

/// Messages that a server wants shown, on one connection; further ones are passed over.
pub const MAX_SHOWN_MESSAGES: usize = 16;

/// A core, as the runtime drives it.
pub(crate) struct Session<C>(pub(crate) C);

impl Core for Session<Miner> {
    type Output = Output<AnyMessage<'static>>;

    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
        let header = frame.header();
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        self.0
            .handle_frame(extension_type, msg_type, frame.payload(), now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Self::Output> {
        self.0.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

impl LineCore for Session<Sv1Miner> {
    type Output = Output<String>;

    fn handle_line(&mut self, line: &[u8], now: Now) {
        self.0.handle_line(line, now);
    }

    fn handle_long_line(&mut self, error: LineTooLong, _: Now) {
        self.0.handle_long_line(error);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Self::Output> {
        self.0.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

/// What hashes: threads, or a script in tests.
pub(crate) trait Rig {
    /// Replaces the work; `None` for none.
    fn assign(&mut self, work: Option<WorkSource>);

    /// Waits for finds and appends them, at most [`FINDS_PER_INTERVAL`]. Cancel safe.
    fn found(&mut self, finds: &mut Vec<FoundShare>) -> impl Future<Output = ()> + Send;

    /// Hashes done so far.
    fn hashes(&self) -> u64;
}

/// The threads of one connection: with them ends whatever they have found for it.
pub(crate) struct ThreadRig {
    // Dropped before the threads: those that wait for a place in the queue go on, and end.
    finds: mpsc::Receiver<FoundShare>,
    workers: Workers,
}

impl ThreadRig {
    pub(crate) fn start(
        effort: Effort,
        hasher: Hasher,
        clock: impl Fn() -> Now + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, finds) = mpsc::channel(FINDS_PER_INTERVAL);
        // Nobody listens any more when the connection has ended.
        let on_found = move |find| drop(sender.blocking_send(find));
        let workers = Workers::start(effort, hasher, clock, on_found)?;
        Ok(Self { finds, workers })
    }
}

impl Rig for ThreadRig {
    fn assign(&mut self, work: Option<WorkSource>) {
        self.workers.assign(work);
    }

    async fn found(&mut self, finds: &mut Vec<FoundShare>) {
        if self.finds.recv_many(finds, FINDS_PER_INTERVAL).await == 0 {
            // No thread is left, so nothing can be found.
            std::future::pending().await
        }
    }

    fn hashes(&self) -> u64 {
        self.workers.hashes()
    }
}

/// Connects a session with the rest of the program.
pub(crate) struct Wiring<'a, R> {
    rig: R,
    snapshot: &'a watch::Sender<Snapshot>,
    phase: watch::Receiver<Phase>,
    sampling: Interval,
    meter: Meter,
    /// Hashes already shown.
    counted_hashes: u64,
    finds: Vec<FoundShare>,
    next_finds_at: tokio::time::Instant,
    is_sample_due: bool,
    shown_messages: usize,
    drains: bool,
    /// Whether the server took us.
    pub(crate) was_welcome: bool,
    /// Since when there has been work.
    pub(crate) worked_since: Option<tokio::time::Instant>,
    /// What the core closed the connection for.
    pub(crate) end: Option<End>,
}

impl<'a, R: Rig> Wiring<'a, R> {
    pub(crate) fn new(rig: R, snapshot: &'a watch::Sender<Snapshot>, shutdown: &Shutdown) -> Self {
        let mut sampling = interval(SAMPLE_INTERVAL);
        sampling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            rig,
            snapshot,
            phase: shutdown.subscribe(),
            sampling,
            meter: Meter::default(),
            counted_hashes: 0,
            finds: Vec::with_capacity(FINDS_PER_INTERVAL),
            next_finds_at: tokio::time::Instant::now(),
            is_sample_due: false,
            shown_messages: 0,
            drains: false,
            was_welcome: false,
            worked_since: None,
            end: None,
        }
    }

    fn sample(&mut self, now: Now) {
        let hashes = self.rig.hashes();
        let hashrate = self.meter.sample(now.instant, hashes);
        let new = hashes - std::mem::replace(&mut self.counted_hashes, hashes);
        self.snapshot.send_modify(|snapshot| {
            snapshot.hashrate = hashrate;
            snapshot.hashes += new;
        });
    }

    fn submit(&mut self, miner: &mut impl Rules, now: Now) {
        let mut outdated = 0;
        let mut submitted = 0;
        for find in self.finds.drain(..) {
            match miner.handle_find(&find, now) {
                true => submitted += 1,
                false => outdated += 1,
            }
        }
        self.next_finds_at = tokio::time::Instant::now() + FINDS_INTERVAL;
        self.snapshot.send_modify(|snapshot| {
            snapshot.submitted += submitted;
            snapshot.outdated += outdated;
        });
    }

    fn assign(&mut self, work: Option<WorkSource>) {
        let target = work.as_ref().map(|work| *work.task().target());
        if work.is_some() {
            self.worked_since
                .get_or_insert_with(tokio::time::Instant::now);
        }
        self.rig.assign(work);
        self.snapshot.send_if_modified(|snapshot| {
            if let Some(target) = target.filter(|_| snapshot.target != target) {
                tracing::info!(difficulty = target.difficulty_f64(), "new target");
            }
            let is_new = snapshot.target != target;
            snapshot.target = target;
            is_new
        });
    }

    fn show(&mut self, news: News) {
        match news {
            News::Welcome => {
                self.was_welcome = true;
                self.snapshot
                    .send_modify(|snapshot| snapshot.is_connected = true);
                let upstream = &self.snapshot.borrow().upstream;
                tracing::info!(%upstream, "mining");
            }
            News::Acknowledged(shares) => self
                .snapshot
                .send_modify(|snapshot| snapshot.acknowledged += shares),
            News::Rejected { reason } => {
                tracing::debug!(reason, "share rejected");
                self.snapshot
                    .send_modify(|snapshot| snapshot.reject(reason));
            }
            News::Message(text) if self.shown_messages < MAX_SHOWN_MESSAGES => {
                self.shown_messages += 1;
                tracing::info!("the server says: {text}");
            }
            News::Message(_) => {}
        }
    }

    /// Books what the connection leaves behind.
    pub(crate) fn finish(&mut self, miner: &impl Rules, now: Now) {
        self.rig.assign(None);
        self.sample(now);
        let anomalies = miner.anomalies();
        self.snapshot.send_modify(|snapshot| {
            for (reason, count) in anomalies {
                if count > 0 {
                    *snapshot.anomalies.entry(reason).or_default() += count;
                }
            }
            snapshot.is_connected = false;
            snapshot.hashrate = 0.0;
            snapshot.target = None;
        });
    }
}

impl<R: Rig> Wiring<'_, R> {
    /// Waits for finds, the time to sample, or the program's end. Cancel safe.
    async fn wait(&mut self) {
        if self.is_sample_due || !self.finds.is_empty() {
            return;
        }
        let finds = async {
            sleep_until(self.next_finds_at).await;
            self.rig.found(&mut self.finds).await;
        };
        tokio::select! {
            _ = self.phase.wait_for(|phase| *phase > Phase::Running), if !self.drains => self.drains = true,
            _ = self.sampling.tick() => self.is_sample_due = true,
            () = finds => {}
        }
    }

    fn hand_over(&mut self, miner: &mut impl Rules, now: Now) {
        if std::mem::take(&mut self.is_sample_due) {
            self.sample(now);
        }
        if !self.finds.is_empty() {
            self.submit(miner, now);
        }
        if self.drains {
            miner.handle_stop(now);
        }
    }

    /// Carries out one output; gives back what is to be sent.
    fn carry_out<M>(&mut self, output: Output<M>) -> Result<Option<M>, CloseReason> {
        match output {
            Output::Send(message) => return Ok(Some(message)),
            Output::Assign(work) => self.assign(work),
            Output::Tell(news) => self.show(news),
            Output::Close(end) => {
                let reason = close_reason(&end);
                self.end = Some(end);
                return Err(reason);
            }
        }
        Ok(None)
    }
}

impl<R: Rig> Shell<Session<Miner>> for Wiring<'_, R> {
    async fn changed(&mut self) {
        self.wait().await;
    }

    fn deliver(&mut self, session: &mut Session<Miner>, now: Now) {
        self.hand_over(&mut session.0, now);
    }

    fn output<S: Stream>(
        &mut self,
        output: Output<AnyMessage<'static>>,
        _: &mut Session<Miner>,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        match self.carry_out(output)? {
            Some(message) => connection.queue_as(message.kind(), &message, &[]),
            None => Ok(()),
        }
    }
}

impl<R: Rig> LineShell<Session<Sv1Miner>> for Wiring<'_, R> {
    async fn changed(&mut self) {
        self.wait().await;
    }

    fn deliver(&mut self, session: &mut Session<Sv1Miner>, now: Now) {
        self.hand_over(&mut session.0, now);
    }

    fn output<S: Stream>(
        &mut self,
        output: Output<String>,
        _: &mut Session<Sv1Miner>,
        connection: &mut LineConnection<S>,
    ) -> Result<(), CloseReason> {
        match self.carry_out(output)? {
            Some(line) => connection.queue(&line),
            None => Ok(()),
        }
    }
}

const fn close_reason(end: &End) -> CloseReason {
    match end {
        End::Stopped => CloseReason::Shutdown,
        End::NoAnswer | End::NoWork | End::Silent => CloseReason::Idle,
        End::Reconnect { .. } | End::ChannelClosed { .. } => CloseReason::Finished,
        _ => CloseReason::Protocol,
    }
}
