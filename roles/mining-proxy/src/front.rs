//! One thread's proxy: its core, and the tasks that serve it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mining_proxy_core::{LinkId, MinerId, Note, Output, Proxy, Snapshot, Wake};
use roles_logic_sv2::clock::{Instant, Now};
use stratum_runtime::{Shutdown, SystemClock, random_bytes};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::link;
use crate::server::Context;

/// How often a line sums up in the log.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// How long a stopped thread waits for the last answers of upstreams.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// What others ask of a thread's proxy.
pub(crate) type Questions = mpsc::Receiver<oneshot::Sender<Snapshot>>;

/// A thread's proxy, shared by the tasks of that thread.
pub(crate) struct Front {
    core: RefCell<Proxy>,
    miners: RefCell<Vec<Option<Rc<Notify>>>>,
    links: RefCell<BTreeMap<LinkId, Rc<Notify>>>,
    /// Why each upstream failed last, and how often in a row.
    failures: RefCell<BTreeMap<usize, (String, u64)>>,
    /// When the clock's task will look next, and how it is told to look earlier.
    looks_at: Cell<Option<Instant>>,
    sooner: Notify,
    pub(crate) context: Arc<Context>,
    pub(crate) clock: SystemClock,
}

impl Front {
    /// `None` when its configuration makes no sense, which was checked at start.
    pub(crate) fn new(context: Arc<Context>) -> Option<Rc<Self>> {
        let clock = SystemClock::new();
        let rules = context.config.rules.clone();
        let core = Proxy::new(Arc::new(rules), random_bytes(), clock.now()).ok()?;
        let front = Rc::new(Self {
            core: RefCell::new(core),
            miners: RefCell::default(),
            links: RefCell::default(),
            failures: RefCell::default(),
            looks_at: Cell::new(None),
            sooner: Notify::new(),
            context,
            clock,
        });
        front.settle();
        Some(front)
    }

    /// Uses the core. Follow up with [`Self::settle`] once a batch of inputs is through.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Proxy) -> T) -> T {
        act(&mut self.core.borrow_mut())
    }

    /// Does what came of inputs for others than the one that they were for.
    pub(crate) fn settle(self: &Rc<Self>) {
        while let Some(wake) = self.with(Proxy::poll_wake) {
            match wake {
                Wake::Miner(id) => self.wake_miner(id),
                Wake::Link(id) => {
                    if let Some(link) = self.links.borrow().get(&id) {
                        link.notify_one();
                    }
                }
            }
        }
        while let Some(output) = self.with(Proxy::poll_output) {
            match output {
                Output::Connect(connect) => {
                    let wake = Rc::new(Notify::new());
                    self.links.borrow_mut().insert(connect.link, wake.clone());
                    tokio::task::spawn_local(link::run(self.clone(), connect, wake));
                }
                Output::Note(note) => self.log(&note),
            }
        }
        let due = self.with(|core| core.poll_timeout());
        let is_sooner = match (due, self.looks_at.get()) {
            (Some(due), Some(looks_at)) => due < looks_at,
            (due, None) => due.is_some(),
            (None, Some(_)) => false,
        };
        if is_sooner {
            self.sooner.notify_one();
        }
    }

    /// A miner's place among those that can be woken.
    pub(crate) fn register(&self, id: MinerId) -> Rc<Notify> {
        let wake = Rc::new(Notify::new());
        let mut miners = self.miners.borrow_mut();
        if miners.len() <= id.index() {
            miners.resize(id.index() + 1, None);
        }
        if let Some(place) = miners.get_mut(id.index()) {
            *place = Some(wake.clone());
        }
        wake
    }

    fn wake_miner(&self, id: MinerId) {
        let miners = self.miners.borrow();
        if let Some(Some(wake)) = miners.get(id.index()) {
            wake.notify_one();
        }
    }

    pub(crate) fn forget_miner(&self, id: MinerId) {
        let mut miners = self.miners.borrow_mut();
        if let Some(place) = miners.get_mut(id.index()) {
            *place = None;
        }
    }

    pub(crate) fn forget_link(&self, id: LinkId) {
        self.links.borrow_mut().remove(&id);
    }

    fn upstream_name(&self, index: usize) -> String {
        let upstream = self.context.config.rules.upstreams.get(index);
        upstream.map_or_else(String::new, |upstream| {
            format!("{}:{}", upstream.host, upstream.port)
        })
    }

    fn log(&self, note: &Note) {
        match note {
            Note::Uses(Some(index)) => {
                self.failures.borrow_mut().remove(index);
                tracing::info!(
                    upstream = self.upstream_name(*index),
                    "miners work for this upstream now"
                );
            }
            Note::Uses(None) => {
                tracing::warn!("no upstream: miners wait, and their shares are refused")
            }
            Note::Failed { upstream, reason } => self.log_failure(*upstream, reason),
            Note::Reconnects { upstream } => {
                tracing::info!(
                    upstream = self.upstream_name(*upstream),
                    "upstream asks to be connected to anew"
                );
            }
            Note::Rejected {
                user, code, count, ..
            } => {
                tracing::warn!(
                    user,
                    code,
                    count,
                    "the upstream rejects shares of this miner"
                );
            }
            Note::NoChannel {
                upstream,
                identity,
                code,
            } => {
                let upstream = self.upstream_name(*upstream);
                tracing::warn!(
                    upstream,
                    identity,
                    code,
                    "the upstream opens no channel for this miner; check its user name"
                );
            }
            Note::SendsAway(miners) => {
                tracing::warn!(miners, "no upstream for too long: sending miners away");
            }
        }
    }

    /// One that fails again and again in the same way is told of each time their number has doubled.
    fn log_failure(&self, upstream: usize, reason: &str) {
        let mut failures = self.failures.borrow_mut();
        let (last, times) = failures.entry(upstream).or_default();
        if last != reason {
            reason.clone_into(last);
            *times = 0;
        }
        *times += 1;
        if times.is_power_of_two() {
            let name = self.upstream_name(upstream);
            tracing::warn!(upstream = name, times = *times, "upstream failed: {reason}");
        }
    }

    fn summarize(&self, now: Now) {
        let snapshot = self.with(|core| core.snapshot(now));
        let upstream = snapshot.upstream;
        tracing::info!(
            miners = snapshot.miners.len(),
            hashrate = format_args!("{:.3e}", snapshot.hashrate),
            accepted = snapshot.accepted,
            refused = snapshot.rejected.values().sum::<u64>(),
            upstream_accepted = upstream.accepted,
            upstream_rejected = upstream.rejected,
            below_upstream_target = upstream.below_target,
            lost = upstream.lost,
            "summary"
        );
    }

    /// Keeps the core's time, answers questions, and drains it at the end.
    pub(crate) async fn keep(self: Rc<Self>, shutdown: Shutdown, mut questions: Questions) {
        let mut summary = tokio::time::interval(SUMMARY_INTERVAL);
        // The first tick is at once, when there is nothing to sum up.
        summary.tick().await;
        loop {
            let due = self.with(|core| core.poll_timeout());
            self.looks_at.set(due);
            let until = due.and_then(|due| self.clock.deadline(due));
            tokio::select! {
                () = wait(until) => self.with(|core| core.handle_timeout(self.clock.now())),
                () = self.sooner.notified() => {}
                Some(question) = questions.recv() => {
                    let _ = question.send(self.with(|core| core.snapshot(self.clock.now())));
                }
                _ = summary.tick() => self.summarize(self.clock.now()),
                () = shutdown.draining() => break,
            }
            self.settle();
        }
        self.with(|core| core.drain(self.clock.now()));
        self.settle();
        while !self.with(|core| core.is_drained()) {
            let question = timeout(DRAIN_STEP, questions.recv()).await;
            let now = self.clock.now();
            if let Ok(Some(question)) = question {
                let _ = question.send(self.with(|core| core.snapshot(now)));
            }
            self.with(|core| core.handle_timeout(now));
            self.settle();
        }
        self.summarize(self.clock.now());
    }
}

async fn wait(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
