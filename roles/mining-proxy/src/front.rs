//! One thread's proxy: its core, and the tasks that serve it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mining_proxy_core::{
    ConfigError, DeviceId, LinkId, MinerId, Note, Output, Proxy, Snapshot, Wake,
};
use network_helpers_sv2::ClientSecurity;
use roles_logic_sv2::clock::{Instant, Now};
use stratum_runtime::{Reasons, Shutdown, SystemClock, random_bytes};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::link;
use crate::server::{Config, Context};

/// How often a line sums up in the log.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// How long a stopped thread waits for the last answers of upstreams.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// What others ask of a thread's proxy. All threads get the same in the same order, so that an upstream has the same
/// index in each.
pub(crate) enum Order {
    /// How does it stand?
    Snapshot(oneshot::Sender<Snapshot>),
    /// Take this configuration.
    Reload(Arc<Config>, oneshot::Sender<Result<(), ConfigError>>),
}

/// See [`Order`].
pub(crate) type Orders = mpsc::Receiver<Order>;

/// Tasks that can be woken, by the places of whom they serve.
#[derive(Default)]
struct Sleepers(RefCell<Vec<Option<Rc<Notify>>>>);

impl Sleepers {
    fn register(&self, index: usize) -> Rc<Notify> {
        let wake = Rc::new(Notify::new());
        let mut places = self.0.borrow_mut();
        if places.len() <= index {
            places.resize(index + 1, None);
        }
        if let Some(place) = places.get_mut(index) {
            *place = Some(wake.clone());
        }
        wake
    }

    fn wake(&self, index: usize) {
        if let Some(Some(wake)) = self.0.borrow().get(index) {
            wake.notify_one();
        }
    }

    fn forget(&self, index: usize) {
        if let Some(place) = self.0.borrow_mut().get_mut(index) {
            *place = None;
        }
    }
}

/// A thread's proxy, shared by the tasks of that thread.
pub(crate) struct Front {
    core: RefCell<Proxy>,
    config: RefCell<Arc<Config>>,
    /// How the connection to each upstream is secured, by its index in the core.
    security: RefCell<Vec<ClientSecurity>>,
    miners: Sleepers,
    devices: Sleepers,
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
        let config = context.config.clone();
        let rules = config.rules.clone();
        let core = Proxy::new(Arc::new(rules), random_bytes(), clock.now()).ok()?;
        let front = Rc::new(Self {
            core: RefCell::new(core),
            security: RefCell::new(config.security.clone()),
            config: RefCell::new(config),
            miners: Sleepers::default(),
            devices: Sleepers::default(),
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

    /// The configuration of this moment.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// How connections to an upstream are secured.
    pub(crate) fn security(&self, upstream: usize) -> Option<ClientSecurity> {
        self.security.borrow().get(upstream).copied()
    }

    /// Takes another configuration.
    fn reload(&self, config: Arc<Config>) -> Result<(), ConfigError> {
        let rules = Arc::new(config.rules.clone());
        let now = self.clock.now();
        let indices = self.with(|core| core.reconfigure(rules, now))?;
        let mut security = self.security.borrow_mut();
        for (index, new) in indices.into_iter().zip(&config.security) {
            match security.get_mut(index) {
                Some(known) => *known = *new,
                // Indices of new ones follow each other.
                None => security.push(*new),
            }
        }
        self.config.replace(config);
        Ok(())
    }

    fn obey(&self, order: Order) {
        // Who asked may be gone.
        match order {
            Order::Snapshot(asked) => {
                let _ = asked.send(self.with(|core| core.snapshot(self.clock.now())));
            }
            Order::Reload(config, asked) => drop(asked.send(self.reload(config))),
        }
    }

    /// Uses the core. Follow up with [`Self::settle`] once a batch of inputs is through.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Proxy) -> T) -> T {
        act(&mut self.core.borrow_mut())
    }

    /// Does what came of inputs for others than the one that they were for.
    pub(crate) fn settle(self: &Rc<Self>) {
        while let Some(wake) = self.with(Proxy::poll_wake) {
            match wake {
                Wake::Miner(id) => self.miners.wake(id.index()),
                Wake::Device(id) => self.devices.wake(id.index()),
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

    /// An Sv1 miner's place among those that can be woken.
    pub(crate) fn register(&self, id: MinerId) -> Rc<Notify> {
        self.miners.register(id.index())
    }

    pub(crate) fn forget_miner(&self, id: MinerId) {
        self.miners.forget(id.index());
    }

    /// The same for devices.
    pub(crate) fn register_device(&self, id: DeviceId) -> Rc<Notify> {
        self.devices.register(id.index())
    }

    pub(crate) fn forget_device(&self, id: DeviceId) {
        self.devices.forget(id.index());
    }

    pub(crate) fn forget_link(&self, id: LinkId) {
        self.links.borrow_mut().remove(&id);
    }

    fn upstream_name(&self, index: usize) -> String {
        self.with(|core| core.upstream_name(index).to_owned())
    }

    fn log(&self, note: &Note) {
        match note {
            Note::Uses(used) if used.is_empty() => {
                tracing::warn!("no upstream: miners wait, and their shares are refused");
            }
            Note::Uses(used) => self.log_used(used),
            Note::Failed { upstream, reason } => self.log_failure(*upstream, reason),
            Note::Reconnects { upstream } => {
                tracing::info!(
                    upstream = self.upstream_name(*upstream),
                    "upstream asks to be connected to anew"
                );
            }
            Note::EndpointChanged { upstream, count } => {
                tracing::info!(
                    upstream = self.upstream_name(*upstream),
                    count,
                    "another endpoint stands behind a channel of this upstream"
                );
            }
            // Late by a moment at each tip is a matter for the counts.
            Note::Rejected {
                user, code, count, ..
            } if *code == "stale-share" => {
                tracing::debug!(user, count, "shares of this miner were late upstream");
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

    fn log_used(&self, used: &[usize]) {
        let mut failures = self.failures.borrow_mut();
        used.iter().for_each(|index| drop(failures.remove(index)));
        let names: Vec<_> = used.iter().map(|at| self.upstream_name(*at)).collect();
        match &names[..] {
            [name] => tracing::info!(upstream = name, "miners work for this upstream now"),
            _ => tracing::info!(
                upstreams = names.join(", "),
                "miners work for these upstreams now"
            ),
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
            requests_refused = snapshot.requests_refused.values().sum::<u64>(),
            not_done = %Reasons(&snapshot.not_done),
            upstream_accepted = upstream.accepted,
            upstream_rejected = upstream.rejected,
            below_upstream_target = upstream.below_target,
            lost = upstream.lost,
            "summary"
        );
        for upstream in &snapshot.upstreams {
            tracing::info!(
                upstream = upstream.name,
                standing = ?upstream.standing,
                miners = upstream.miners,
                channels = upstream.channels,
                accepted = upstream.accepted,
                rejected = upstream.rejected.values().sum::<u64>(),
                lost = upstream.lost,
                failures = upstream.failures,
                "upstream"
            );
        }
        for miner in &snapshot.miners {
            tracing::debug!(
                user = miner.user,
                hashrate = format_args!("{:.3e}", miner.hashrate),
                difficulty = miner.difficulty,
                accepted = miner.accepted,
                refused = ?miner.rejected,
                upstream_accepted = miner.upstream.accepted,
                upstream_rejected = ?miner.upstream_rejected,
                lost = miner.upstream.lost,
                "miner"
            );
        }
    }

    /// Keeps the core's time, answers questions, and drains it at the end.
    pub(crate) async fn keep(self: Rc<Self>, shutdown: Shutdown, mut orders: Orders) {
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
                Some(order) = orders.recv() => self.obey(order),
                _ = summary.tick() => self.summarize(self.clock.now()),
                () = shutdown.draining() => break,
            }
            self.settle();
        }
        self.with(|core| core.drain(self.clock.now()));
        self.settle();
        while !self.with(|core| core.is_drained()) {
            // A configuration for a thread that ends is dropped, and who sent it hears that the thread has ended.
            let order = timeout(DRAIN_STEP, orders.recv()).await;
            if let Ok(Some(order @ Order::Snapshot(_))) = order {
                self.obey(order);
            }
            self.with(|core| core.handle_timeout(self.clock.now()));
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
