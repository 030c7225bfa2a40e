//! One connection: the core, driven by the socket and the hub.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin_node::hub::{Submitted, SubscribeError, Subscription, TemplateHub};
use framing_sv2::Sv2Frame;
use network_helpers_sv2::{CloseReason, Connection, Stream};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::template_server::{SolutionError, TransactionDataError, Work};
use stratum_runtime::{Core, Phase, Shell, Shutdown};
use template_provider_core::{Downstream, Output, Reject};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Questions of one client that the hub has not answered; with one more the connection is closed as overloaded.
/// Solutions among them are on their way to the node all the same.
pub const PENDING_MAX: usize = 256;

/// How often each [`Reject`] happened, by name.
#[derive(Debug, Default)]
pub(crate) struct RejectCounts(Mutex<BTreeMap<&'static str, u64>>);

impl RejectCounts {
    fn count(&self, reject: &Reject) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reject.name()).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

/// The core, as the runtime drives it.
pub(crate) struct Session(pub(crate) Downstream);

impl Core for Session {
    type Output = Output;

    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
        self.0.handle_frame(&frame, now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

/// What the hub or the program has to say to a session.
enum Event {
    Subscribed(Result<Subscription, SubscribeError>),
    Work(Option<Arc<Work>>),
    Transactions(u64, Result<Arc<Work>, TransactionDataError>),
    Solved(Result<Submitted, SolutionError>),
    Drain,
}

/// Connects a session with the hub and the program's end.
pub(crate) struct Wiring {
    hub: TemplateHub,
    rejects: Arc<RejectCounts>,
    phase: watch::Receiver<Phase>,
    updates: Option<watch::Receiver<Option<Arc<Work>>>>,
    pending: JoinSet<Event>,
    arrived: Option<Event>,
}

impl Wiring {
    pub(crate) fn new(hub: TemplateHub, rejects: Arc<RejectCounts>, shutdown: &Shutdown) -> Self {
        Self {
            hub,
            rejects,
            phase: shutdown.subscribe(),
            updates: None,
            pending: JoinSet::new(),
            arrived: None,
        }
    }

    fn subscribed(
        &mut self,
        subscription: Result<Subscription, SubscribeError>,
        core: &mut Downstream,
        now: Now,
    ) {
        match subscription {
            Ok(subscription) => {
                self.updates = Some(subscription.updates);
                if let Some(work) = subscription.work {
                    core.handle_work(&work, now);
                }
            }
            Err(SubscribeError::Work(error)) => core.handle_refusal(error.into()),
            Err(SubscribeError::TooManyConstraints) => core.handle_refusal(Reject::NoCapacity),
            Err(_) => core.handle_drain(),
        }
    }

    fn ask(&mut self, output: Output) {
        let hub = self.hub.clone();
        match output {
            Output::Subscribe { constraints, after } => {
                // Nothing of the old constraints may overtake the answer: its id might then be too low.
                self.updates = None;
                let subscribe =
                    async move { Event::Subscribed(hub.subscribe(constraints, after).await) };
                self.pending.spawn(subscribe);
            }
            Output::FindTransactions { template_id } => {
                let find = async move {
                    Event::Transactions(template_id, hub.transactions(template_id).await)
                };
                self.pending.spawn(find);
            }
            Output::Solve(solution) => {
                let template_id = solution.template_id;
                let answer = hub.hand_over(solution);
                let ended = SolutionError::ForgottenTemplate { template_id };
                let solved = async move { Event::Solved(answer.await.unwrap_or(Err(ended))) };
                self.pending.spawn(solved);
            }
            Output::Send(_) | Output::Note(_) | Output::Close(_) => {}
        }
    }
}

impl Shell<Session> for Wiring {
    async fn changed(&mut self) {
        if self.arrived.is_some() {
            return;
        }
        self.arrived = tokio::select! {
            _ = self.phase.wait_for(|phase| *phase > Phase::Running) => Some(Event::Drain),
            Some(event) = self.pending.join_next() => event.ok(),
            event = next_work(&mut self.updates) => Some(event),
        };
    }

    fn deliver(&mut self, core: &mut Session, now: Now) {
        let core = &mut core.0;
        match self.arrived.take() {
            Some(Event::Subscribed(subscription)) => self.subscribed(subscription, core, now),
            Some(Event::Work(Some(work))) => core.handle_work(&work, now),
            Some(Event::Transactions(template_id, found)) => {
                core.handle_transaction_data(template_id, found.as_deref().map_err(|e| *e));
            }
            Some(Event::Solved(Err(error))) => core.handle_refused_solution(error, now),
            Some(Event::Drain) => core.handle_drain(),
            // A task that panicked is logged by the runtime; a block that was made is the hub's to count.
            Some(Event::Work(None) | Event::Solved(Ok(_))) | None => {}
        }
    }

    fn output<S: Stream>(
        &mut self,
        output: Output,
        _: &mut Session,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason> {
        match output {
            Output::Send(frame) => connection.queue_frame(&frame),
            Output::Note(reject) => {
                tracing::debug!(%reject, "message not obeyed");
                self.rejects.count(&reject);
                Ok(())
            }
            Output::Close(reject) => {
                tracing::debug!(%reject, "closing the connection");
                self.rejects.count(&reject);
                Err(close_reason(&reject))
            }
            question => {
                self.ask(question);
                match self.pending.len() {
                    0..=PENDING_MAX => Ok(()),
                    _ => Err(CloseReason::Overloaded),
                }
            }
        }
    }
}

const fn close_reason(reject: &Reject) -> CloseReason {
    match reject {
        Reject::Draining => CloseReason::Shutdown,
        Reject::SetupTimeout | Reject::ConstraintsTimeout => CloseReason::Idle,
        Reject::NoCapacity => CloseReason::Overloaded,
        Reject::AnswerTooLarge => CloseReason::Unsendable,
        _ => CloseReason::Protocol,
    }
}

/// The next work; waits for ever without a subscription.
async fn next_work(updates: &mut Option<watch::Receiver<Option<Arc<Work>>>>) -> Event {
    let Some(updates) = updates else {
        return std::future::pending().await;
    };
    match updates.changed().await {
        Ok(()) => Event::Work(updates.borrow_and_update().clone()),
        Err(_) => Event::Drain,
    }
}
