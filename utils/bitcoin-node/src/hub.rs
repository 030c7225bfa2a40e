//! Templates for several clients of one node: [`TemplateServer`] with a task of its own.
//!
//! The hub follows a [`Node`], makes each template once for all clients whose coinbase leaves the same room, and hands
//! the blocks that solutions make to the node. A template provider serves its connections from it; a pool in the same
//! process uses [`TemplateHub::connect`] and exchanges the protocol's messages without a socket.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use bitcoin_node::{embedded::EmbeddedNode, hub::TemplateHub};
//! use template_distribution_sv2::{CoinbaseOutputConstraints, TemplateDistributionMessage};
//!
//! let hub = TemplateHub::spawn(Arc::new(EmbeddedNode::default()));
//! let mut link = hub.connect();
//! let constraints = CoinbaseOutputConstraints {
//!     coinbase_output_max_additional_size: 43,
//!     coinbase_output_max_additional_sigops: 0,
//! };
//! link.to_server.send(constraints.into()).await.unwrap();
//! let first = link.to_client.recv().await.unwrap();
//! assert!(matches!(first, TemplateDistributionMessage::NewTemplate(template) if template.future_template));
//! # });
//! ```

mod link;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::block_template::BlockTemplate;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::template_server::{
    Constraints, Deviation, SolutionError, SolvedBlock, TemplateServer, TransactionDataError, Work,
    WorkError,
};
use template_distribution_sv2::SubmitSolution;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use link::{LINK_MESSAGES_MAX, TemplateLink};

use crate::embedded::unix_secs;
use crate::node::{Node, NodeState, NodeStatus, SubmitOutcome};

/// Requests that wait for the hub; a client that would be one more waits until there is room.
pub const REQUESTS_WAITING_MAX: usize = 256;

/// Blocks on their way to the node at once. With one more the hub waits for one of them to be answered.
pub const SUBMISSIONS_IN_FLIGHT_MAX: usize = 64;

/// Different constraints that are served at once; a client with yet others is refused.
pub const CONSTRAINTS_SERVED_MAX: usize = 1_024;

/// Why a client gets no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The template server has no work for these constraints.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// [`CONSTRAINTS_SERVED_MAX`] is reached.
    #[error("too many clients with different constraints")]
    TooManyConstraints,
    /// The hub has ended.
    #[error("the template server has ended")]
    Ended,
}

/// The work for one set of constraints, now and in future.
#[derive(Debug)]
pub struct Subscription {
    /// The newest work at the time of the subscription; `None` before the node's first template.
    pub work: Option<Arc<Work>>,
    /// The newest work from then on. Work that was replaced before it was looked at is never seen.
    pub updates: watch::Receiver<Option<Arc<Work>>>,
}

/// A block on its way to the node.
#[derive(Debug)]
pub struct Submitted {
    /// The block.
    pub block: SolvedBlock,
    /// What the node says to it.
    pub outcome: oneshot::Receiver<SubmitOutcome>,
}

/// What the hub has done and sees, for status pages and metrics.
#[derive(Clone, Debug, Default)]
pub struct HubSnapshot {
    /// The node's name.
    pub node: String,
    /// Whether the node can be mined on.
    pub node_status: NodeStatus,
    /// The node's newest template.
    pub template: Option<Arc<BlockTemplate>>,
    /// Templates taken from the node.
    pub templates: u64,
    /// Tips seen.
    pub tips: u64,
    /// Templates of the node that could not be used.
    pub templates_refused: u64,
    /// Work that could not be made for clients who had some before.
    pub works_refused: u64,
    /// Solutions that became blocks.
    pub solutions: u64,
    /// Solutions that did not, by [`SolutionError::label`].
    pub solutions_refused: BTreeMap<&'static str, u64>,
    /// What clients did against the protocol in solutions that became blocks.
    pub deviations: BTreeMap<Deviation, u64>,
    /// Blocks that the node stored.
    pub blocks_stored: u64,
    /// Blocks that the node refused, by its reason.
    pub blocks_refused: BTreeMap<String, u64>,
    /// Blocks without an answer from the node.
    pub blocks_unanswered: u64,
}

enum Request {
    Subscribe {
        constraints: Constraints,
        after: Option<u64>,
        answer: oneshot::Sender<Result<Subscription, SubscribeError>>,
    },
    Transactions {
        template_id: u64,
        answer: oneshot::Sender<Result<Arc<Work>, TransactionDataError>>,
    },
}

struct Solution {
    solution: SubmitSolution<'static>,
    answer: oneshot::Sender<Result<Submitted, SolutionError>>,
}

/// A handle on the hub's task, which ends when the last handle is dropped and all blocks have been answered.
#[derive(Clone, Debug)]
pub struct TemplateHub {
    requests: mpsc::Sender<Request>,
    solutions: mpsc::Sender<Solution>,
    snapshot: watch::Receiver<HubSnapshot>,
}

impl TemplateHub {
    /// Starts to follow `node`; needs a tokio runtime.
    pub fn spawn(node: Arc<dyn Node>) -> Self {
        Self::spawn_with_task(node).0
    }

    /// As [`TemplateHub::spawn`], with the task: it is done once all handles are dropped and the node has answered to
    /// every block, so a program that ends waits for it and loses none.
    pub fn spawn_with_task(node: Arc<dyn Node>) -> (Self, JoinHandle<()>) {
        let (request_sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (solution_sender, solutions) = mpsc::channel(REQUESTS_WAITING_MAX);
        let snapshot = watch::Sender::new(HubSnapshot {
            node: node.name().to_owned(),
            ..HubSnapshot::default()
        });
        let hub = Self {
            requests: request_sender,
            solutions: solution_sender,
            snapshot: snapshot.subscribe(),
        };
        let task = Task {
            // Ids of an earlier run lie below those of this one: no run makes a million templates a second.
            server: TemplateServer::new(unix_secs() << 20),
            state: node.state(),
            node,
            origin: tokio::time::Instant::now(),
            clients: HashMap::new(),
            submissions: JoinSet::new(),
            snapshot,
            generation: 0,
        };
        (hub, tokio::spawn(task.run(requests, solutions)))
    }

    /// The work for `constraints`, with an id above `after`, and all that follows.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn subscribe(
        &self,
        constraints: Constraints,
        after: Option<u64>,
    ) -> Result<Subscription, SubscribeError> {
        let (answer, reply) = oneshot::channel();
        let request = Request::Subscribe {
            constraints,
            after,
            answer,
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| SubscribeError::Ended)?;
        reply.await.unwrap_or(Err(SubscribeError::Ended))
    }

    /// The work whose transactions a client may have.
    ///
    /// # Errors
    /// See [`TransactionDataError`]; `Stale` also when the hub has ended.
    pub async fn transactions(&self, template_id: u64) -> Result<Arc<Work>, TransactionDataError> {
        let (answer, reply) = oneshot::channel();
        let request = Request::Transactions {
            template_id,
            answer,
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| TransactionDataError::Stale)?;
        reply.await.unwrap_or(Err(TransactionDataError::Stale))
    }

    /// Makes a block of a solution and hands it to the node. Answers as soon as the block is made.
    ///
    /// # Errors
    /// See [`SolutionError`]; `ForgottenTemplate` also when the hub has ended.
    pub async fn submit(
        &self,
        solution: SubmitSolution<'static>,
    ) -> Result<Submitted, SolutionError> {
        let ended = SolutionError::ForgottenTemplate {
            template_id: solution.template_id,
        };
        self.hand_over(solution).await.unwrap_or(Err(ended))
    }

    /// As [`TemplateHub::submit`], without waiting: the solution is on its way when this returns, whatever becomes of
    /// the caller and of the answer. Needs a tokio runtime.
    pub fn hand_over(
        &self,
        solution: SubmitSolution<'static>,
    ) -> oneshot::Receiver<Result<Submitted, SolutionError>> {
        let (answer, reply) = oneshot::channel();
        match self.solutions.try_send(Solution { solution, answer }) {
            Err(mpsc::error::TrySendError::Full(solution)) => {
                // A block outlives the connection that brought it.
                let solutions = self.solutions.clone();
                tokio::spawn(async move { solutions.send(solution).await });
            }
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
        reply
    }

    /// The hub's counters and what it sees, and their changes.
    pub fn snapshot(&self) -> watch::Receiver<HubSnapshot> {
        self.snapshot.clone()
    }
}

struct Task {
    node: Arc<dyn Node>,
    state: watch::Receiver<NodeState>,
    server: TemplateServer,
    origin: tokio::time::Instant,
    clients: HashMap<Constraints, watch::Sender<Option<Arc<Work>>>>,
    submissions: JoinSet<SubmitOutcome>,
    snapshot: watch::Sender<HubSnapshot>,
    /// The node's generation that was taken last.
    generation: u64,
}

impl Task {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut solutions: mpsc::Receiver<Solution>,
    ) {
        self.take_state();
        let mut is_node_alive = true;
        loop {
            let forget_at = self.server.poll_timeout().map(|at| self.deadline(at));
            // Blocks first, then new work, then questions about it.
            tokio::select! {
                biased;
                solution = solutions.recv() => match solution {
                    Some(solution) => self.solve(solution).await,
                    None => break,
                },
                changed = self.state.changed(), if is_node_alive => match changed {
                    Ok(()) => self.take_state(),
                    Err(_) => is_node_alive = false,
                },
                Some(outcome) = self.submissions.join_next() => self.count_outcome(outcome.ok()),
                Some(request) = requests.recv() => self.answer(request),
                () = tokio::time::sleep_until(forget_at.unwrap_or(self.origin)), if forget_at.is_some() => {
                    self.server.handle_timeout(self.now());
                }
            }
        }
        while let Some(outcome) = self.submissions.join_next().await {
            self.count_outcome(outcome.ok());
        }
    }

    fn now(&self) -> Now {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now {
            instant: Instant::from_micros(micros),
            unix_secs: unix_secs(),
        }
    }

    fn deadline(&self, instant: Instant) -> tokio::time::Instant {
        self.origin + Duration::from_micros(instant.as_micros())
    }

    fn take_state(&mut self) {
        let state = self.state.borrow_and_update().clone();
        self.snapshot.send_modify(|snapshot| {
            snapshot.node_status = state.status;
            snapshot.template.clone_from(&state.template);
        });
        let Some(template) = state.template else {
            return;
        };
        if state.generation == self.generation {
            return;
        }
        self.generation = state.generation;
        match self.server.handle_template(template, self.now()) {
            Ok(tip) => {
                self.publish_work();
                self.snapshot.send_modify(|snapshot| {
                    snapshot.templates += 1;
                    snapshot.tips = tip.number;
                });
            }
            Err(error) => {
                tracing::error!(node = self.node.name(), %error, "the node's template cannot be used");
                self.snapshot
                    .send_modify(|snapshot| snapshot.templates_refused += 1);
            }
        }
    }

    fn publish_work(&mut self) {
        self.clients.retain(|_, sender| sender.receiver_count() > 0);
        for (constraints, sender) in &self.clients {
            match self.server.work(*constraints, None) {
                Ok(work) => {
                    sender.send_replace(work);
                }
                Err(error) => {
                    tracing::warn!(%error, "clients keep their old template");
                    self.snapshot
                        .send_modify(|snapshot| snapshot.works_refused += 1);
                }
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // A client that is gone needs no answer.
        match request {
            Request::Subscribe {
                constraints,
                after,
                answer,
            } => {
                let _ = answer.send(self.subscribe(constraints, after));
            }
            Request::Transactions {
                template_id,
                answer,
            } => {
                let work = self.server.transaction_data(template_id).map(Arc::clone);
                let _ = answer.send(work);
            }
        }
    }

    fn subscribe(
        &mut self,
        constraints: Constraints,
        after: Option<u64>,
    ) -> Result<Subscription, SubscribeError> {
        let work = self.server.work(constraints, after)?;
        if self.clients.len() >= CONSTRAINTS_SERVED_MAX && !self.clients.contains_key(&constraints)
        {
            self.clients.retain(|_, sender| sender.receiver_count() > 0);
            if self.clients.len() >= CONSTRAINTS_SERVED_MAX {
                return Err(SubscribeError::TooManyConstraints);
            }
        }
        let sender = self.clients.entry(constraints);
        let updates = sender
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe();
        Ok(Subscription { work, updates })
    }

    async fn solve(&mut self, request: Solution) {
        let result = self.server.solve(&request.solution, self.now());
        self.count_solution(&result);
        let answer = match result {
            Ok(block) => {
                if self.submissions.len() == SUBMISSIONS_IN_FLIGHT_MAX {
                    let outcome = self.submissions.join_next().await;
                    self.count_outcome(outcome.and_then(Result::ok));
                }
                Ok(self.submit(block))
            }
            Err(error) => Err(error),
        };
        let _ = request.answer.send(answer);
    }

    fn submit(&mut self, block: SolvedBlock) -> Submitted {
        let (sender, outcome) = oneshot::channel();
        let (node, bytes, height) = (
            Arc::clone(&self.node),
            Arc::clone(&block.bytes),
            block.height,
        );
        self.submissions.spawn(async move {
            let outcome = node.submit_block(bytes).await;
            tracing::info!(height, %outcome, "block handed to the node");
            let _ = sender.send(outcome.clone());
            outcome
        });
        Submitted { block, outcome }
    }

    fn count_solution(&self, result: &Result<SolvedBlock, SolutionError>) {
        match result {
            Ok(block) if !block.deviations.is_empty() => {
                tracing::warn!(height = block.height, deviations = ?block.deviations, "a solution breaks rules of the protocol");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a solution makes no block"),
        }
        self.snapshot.send_modify(|snapshot| match result {
            Ok(block) => {
                snapshot.solutions += 1;
                for deviation in &block.deviations {
                    *snapshot.deviations.entry(*deviation).or_default() += 1;
                }
            }
            Err(error) => *snapshot.solutions_refused.entry(error.label()).or_default() += 1,
        });
    }

    /// `None` when the task that asked the node panicked.
    fn count_outcome(&self, outcome: Option<SubmitOutcome>) {
        self.snapshot.send_modify(|snapshot| match outcome {
            Some(outcome) if outcome.is_stored() => snapshot.blocks_stored += 1,
            Some(SubmitOutcome::Rejected(reason)) => {
                let known = &mut snapshot.blocks_refused;
                let reason = if known.len() < crate::set::REASONS_COUNTED_MAX
                    || known.contains_key(reason.as_str())
                {
                    reason.as_str()
                } else {
                    "other"
                };
                *known.entry(reason.to_owned()).or_default() += 1;
            }
            _ => snapshot.blocks_unanswered += 1,
        });
    }
}
