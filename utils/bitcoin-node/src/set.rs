//! Several nodes as one: templates from the first that is ready, every found block to all of them.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::node::{BlockStanding, Node, NodeFuture, NodeState, SubmitOutcome};
use crate::reject::RejectReason;
use crate::rpc::RpcError;

/// Most nodes in one set; more are refused at start.
pub const NODES_MAX: usize = 8;

/// Different reject reasons counted by their own name; later ones are counted as `other`.
pub const REASONS_COUNTED_MAX: usize = 64;

/// Limits of a [`NodeSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSetConfig {
    /// How long a better node must have been ready before templates come from it again.
    pub return_after: Duration,
    /// How long a node may be behind the highest of the ready nodes before it counts as not ready:
    /// one that restarted, or lost its peers, would have miners work on an old tip.
    pub behind_max: Duration,
    /// Attempts to hand a block to a node that gives no answer or lacks the block's parent; after the last the block is
    /// lost for that node.
    pub submit_attempts: u32,
    /// Times a node is asked whether it has the block, before it is reported missing.
    pub confirm_attempts: u32,
    /// First pause between two attempts of either kind; it doubles up to `pause_max`.
    pub pause_first: Duration,
    /// Longest pause between two attempts.
    pub pause_max: Duration,
}

impl Default for NodeSetConfig {
    /// Tries for about a minute: a node that restarts still gets the block.
    fn default() -> Self {
        Self {
            return_after: Duration::from_secs(5),
            behind_max: Duration::from_secs(3),
            submit_attempts: 16,
            confirm_attempts: 6,
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// Why there is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeSetError {
    /// No node.
    #[error("no node is configured: name at least one")]
    Empty,
    /// More than [`NODES_MAX`] nodes.
    #[error("more than {NODES_MAX} nodes are configured")]
    TooMany,
}

/// What one node made of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReport {
    /// The node's name.
    pub node: String,
    /// What it said to the block, at the last attempt.
    pub outcome: SubmitOutcome,
    /// Where it saw the block when asked afterwards; `None` when it was not asked or did not say.
    pub standing: Option<BlockStanding>,
}

impl BlockReport {
    /// The block is on this node's best chain.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.standing, Some(BlockStanding::Active { .. }))
    }

    /// A word to count the report by: `confirmed`, `stale`, `missing`, `unanswered`, or the reject reason.
    pub fn reason(&self) -> &str {
        match (&self.outcome, self.standing) {
            (_, Some(BlockStanding::Active { .. })) => "confirmed",
            (SubmitOutcome::Rejected(reason), _) => reason.as_str(),
            (_, Some(BlockStanding::Stale)) => "stale",
            (SubmitOutcome::Failed(_), _) => "unanswered",
            _ => "missing",
        }
    }

    /// What the operator can do about it; `None` when the node has the block on its best chain.
    pub fn advice(&self) -> Option<&'static str> {
        match (&self.outcome, self.standing) {
            (_, Some(BlockStanding::Active { .. })) => None,
            (SubmitOutcome::Rejected(RejectReason::PrevBlkNotFound), _) => Some(
                "the node lacks the block before this one: check that it is in sync; the block is lost unless another node has it",
            ),
            (SubmitOutcome::Rejected(_), _) => Some(
                "the node takes the block for invalid: read its debug.log and report this; the block is lost unless another node has it",
            ),
            (_, Some(BlockStanding::Stale)) => {
                Some("another block of this height was first; there is nothing to do")
            }
            (SubmitOutcome::Failed(_), _) => Some(
                "the node did not answer: check that it runs; the block is lost unless another node has it",
            ),
            _ => Some(
                "the node took the block, but did not show it on its chain afterwards: check the node and its debug.log",
            ),
        }
    }

    fn log(&self) {
        let (node, outcome, reason) = (&self.node, &self.outcome, self.reason());
        match self.advice() {
            None => tracing::info!(node, %outcome, reason, "block submitted"),
            Some(advice) => {
                tracing::warn!(node, %outcome, reason, advice, "block submitted, and not confirmed");
            }
        }
    }
}

/// Several nodes, best first.
///
/// Its state is that of the first node that is ready; while none is, that of the first node, with the last template.
pub struct NodeSet {
    name: String,
    nodes: Vec<Arc<dyn Node>>,
    config: NodeSetConfig,
    state: watch::Receiver<NodeState>,
    reports: Arc<Reports>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Reports {
    by_reason: Mutex<BTreeMap<String, u64>>,
    blocks: AtomicU64,
}

impl Reports {
    fn count(&self, reason: &str) {
        let mut counts = self
            .by_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = if counts.len() < REASONS_COUNTED_MAX || counts.contains_key(reason) {
            reason
        } else {
            "other"
        };
        *counts.entry(key.to_owned()).or_default() += 1;
    }
}

impl Drop for NodeSet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NodeSet {
    /// Joins `nodes`, best first; needs a tokio runtime.
    ///
    /// # Errors
    /// When there are none, or more than [`NODES_MAX`].
    pub fn spawn(nodes: Vec<Arc<dyn Node>>, config: NodeSetConfig) -> Result<Self, NodeSetError> {
        let name = match nodes.as_slice() {
            [] => return Err(NodeSetError::Empty),
            [only] => only.name().to_owned(),
            [first, ..] if nodes.len() <= NODES_MAX => {
                format!("{} and {} more", first.name(), nodes.len() - 1)
            }
            _ => return Err(NodeSetError::TooMany),
        };
        let states: Vec<_> = nodes.iter().map(|node| node.state()).collect();
        let first = states
            .first()
            .map(|state| state.borrow().clone())
            .unwrap_or_default();
        let (sender, state) = watch::channel(NodeState {
            generation: u64::from(first.template.is_some()),
            ..first
        });
        let task = tokio::spawn(select_states(states, config.clone(), sender));
        Ok(Self {
            name,
            nodes,
            config,
            state,
            reports: Arc::default(),
            task,
        })
    }

    /// The nodes, best first.
    pub fn nodes(&self) -> &[Arc<dyn Node>] {
        &self.nodes
    }

    /// Blocks handed in so far.
    pub fn blocks_submitted(&self) -> u64 {
        self.reports.blocks.load(Ordering::Relaxed)
    }

    /// How often each [`BlockReport::reason`] was reported, over all nodes.
    pub fn reports_by_reason(&self) -> BTreeMap<String, u64> {
        self.reports
            .by_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Hands a full serialised block to all nodes at once and waits for every report, which can take as long as
    /// [`NodeSetConfig`] allows. The work goes on when this is dropped.
    pub async fn submit_to_all(&self, block: Arc<[u8]>) -> Vec<BlockReport> {
        let (mut first_answers, mut reports) = self.start(block);
        first_answers.close();
        let mut all = Vec::with_capacity(self.nodes.len());
        while let Some(report) = reports.recv().await {
            all.push(report);
        }
        all
    }

    /// One task per node; each sends its first answer, and its report when it is done.
    fn start(
        &self,
        block: Arc<[u8]>,
    ) -> (mpsc::Receiver<SubmitOutcome>, mpsc::Receiver<BlockReport>) {
        self.reports.blocks.fetch_add(1, Ordering::Relaxed);
        let hash = block
            .get(..Header::SIZE)
            .and_then(|bytes| deserialize::<Header>(bytes).ok())
            .map(|header| header.block_hash().to_byte_array());
        let (answer_sender, answers) = mpsc::channel(self.nodes.len());
        let (report_sender, reports) = mpsc::channel(self.nodes.len());
        for node in &self.nodes {
            let (node, config, block) = (Arc::clone(node), self.config.clone(), Arc::clone(&block));
            let (counts, answer_sender, report_sender) = (
                Arc::clone(&self.reports),
                answer_sender.clone(),
                report_sender.clone(),
            );
            tokio::spawn(async move {
                let report =
                    submit_and_confirm(node.as_ref(), &config, block, hash, &answer_sender).await;
                counts.count(report.reason());
                report.log();
                // Nobody may be waiting for the report: it is counted and logged all the same.
                let _ = report_sender.try_send(report);
            });
        }
        (answers, reports)
    }
}

impl Node for NodeSet {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// Hands the block to all nodes at once; answers as soon as one of them stores it, else with the last answer.
    /// Retries and questions go on in the background, see [`NodeSet::reports_by_reason`].
    fn submit_block(&self, block: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        let (mut answers, _) = self.start(block);
        Box::pin(async move {
            let mut last =
                SubmitOutcome::Failed(RpcError::Unreachable("no node answered".to_owned()));
            while let Some(answer) = answers.recv().await {
                let is_stored = answer.is_stored();
                // A verdict says more than a silence.
                if is_stored
                    || !matches!(
                        (&last, &answer),
                        (SubmitOutcome::Rejected(_), SubmitOutcome::Failed(_))
                    )
                {
                    last = answer;
                }
                if is_stored {
                    break;
                }
            }
            last
        })
    }

    /// The best standing that any node sees.
    fn block_standing(&self, hash: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        Box::pin(async move {
            let mut best = Err(RpcError::Unreachable("no node answered".to_owned()));
            for node in &self.nodes {
                match (node.block_standing(hash).await, &best) {
                    (Ok(active @ BlockStanding::Active { .. }), _) => return Ok(active),
                    (Ok(BlockStanding::Stale), _) => best = Ok(BlockStanding::Stale),
                    (Ok(BlockStanding::Unknown), Err(_)) => best = Ok(BlockStanding::Unknown),
                    _ => {}
                }
            }
            best
        })
    }
}

async fn submit_and_confirm(
    node: &dyn Node,
    config: &NodeSetConfig,
    block: Arc<[u8]>,
    hash: Option<[u8; 32]>,
    answers: &mpsc::Sender<SubmitOutcome>,
) -> BlockReport {
    let node_name = node.name().to_owned();
    let Some(hash) = hash else {
        let outcome = SubmitOutcome::Rejected(RejectReason::Malformed);
        let _ = answers.try_send(outcome.clone());
        return BlockReport {
            node: node_name,
            outcome,
            standing: None,
        };
    };
    let mut pauses = Backoff::new(config.pause_first, config.pause_max);
    let mut outcome = node.submit_block(Arc::clone(&block)).await;
    // The first answer is passed on at once; a receiver that has enough is closed.
    let _ = answers.try_send(outcome.clone());
    if is_worth_another_try(&outcome) {
        tracing::warn!(node = node_name, %outcome, "block not taken yet; trying again");
    }
    for _ in 1..config.submit_attempts {
        if !is_worth_another_try(&outcome) {
            break;
        }
        sleep(pauses.next_pause()).await;
        outcome = node.submit_block(Arc::clone(&block)).await;
    }
    let standing = confirm(node, config, hash, &outcome).await;
    BlockReport {
        node: node_name,
        outcome,
        standing,
    }
}

/// A node that restarts gives no answer at first, and then may have to fetch the block's parent from its peers.
fn is_worth_another_try(outcome: &SubmitOutcome) -> bool {
    matches!(
        outcome,
        SubmitOutcome::Failed(_) | SubmitOutcome::Rejected(RejectReason::PrevBlkNotFound)
    )
}

/// Asks until the node has the block on its best chain, or says for certain that it has not.
async fn confirm(
    node: &dyn Node,
    config: &NodeSetConfig,
    hash: [u8; 32],
    outcome: &SubmitOutcome,
) -> Option<BlockStanding> {
    // A rejected block is asked for once: it may have reached the node by another way.
    let attempts = if outcome.is_stored() {
        config.confirm_attempts
    } else {
        1
    };
    let mut pauses = Backoff::new(config.pause_first, config.pause_max);
    let mut standing = None;
    for attempt in 0..attempts {
        if attempt > 0 {
            sleep(pauses.next_pause()).await;
        }
        standing = node.block_standing(hash).await.ok().or(standing);
        if matches!(standing, Some(BlockStanding::Active { .. })) {
            break;
        }
    }
    standing
}

/// The height that a ready node would have mined next.
fn ready_height(state: &mut watch::Receiver<NodeState>) -> Option<u32> {
    let state = state.borrow_and_update();
    let template = state.template.as_ref().filter(|_| state.status.is_ready());
    template.map(|template| template.height)
}

/// How long a node has been fit to mine on.
#[derive(Clone, Debug, Default)]
struct Health {
    ready_since: Option<Instant>,
    behind_since: Option<Instant>,
    /// When it stops being fit, unless it catches up.
    patience_ends: Option<Instant>,
}

impl Health {
    fn update(
        &mut self,
        height: Option<u32>,
        best: Option<u32>,
        behind_max: Duration,
        now: Instant,
    ) {
        let is_behind = height.is_some() && height < best;
        self.behind_since = is_behind.then(|| self.behind_since.unwrap_or(now));
        let ends = self.behind_since.map(|since| since + behind_max);
        let is_fit = height.is_some() && ends.is_none_or(|ends| now < ends);
        self.patience_ends = ends.filter(|_| is_fit);
        self.ready_since = is_fit.then(|| self.ready_since.unwrap_or(now));
    }
}

/// Publishes the state of the chosen node until the set is dropped.
async fn select_states(
    mut states: Vec<watch::Receiver<NodeState>>,
    config: NodeSetConfig,
    sender: watch::Sender<NodeState>,
) {
    let mut health = vec![Health::default(); states.len()];
    let mut chosen = 0;
    loop {
        let now = Instant::now();
        let heights: Vec<_> = states.iter_mut().map(ready_height).collect();
        let best = heights.iter().copied().flatten().max();
        for (health, height) in health.iter_mut().zip(heights) {
            health.update(height, best, config.behind_max, now);
        }
        let ready_since: Vec<_> = health.iter().map(|health| health.ready_since).collect();
        let next = choose(&ready_since, chosen, config.return_after, now);
        let patience_ends = health.iter().filter_map(|health| health.patience_ends);
        let recheck_at = patience_ends.chain(next.recheck_at).min();
        if next.index != chosen {
            tracing::warn!(
                from = chosen,
                to = next.index,
                "templates come from another node"
            );
            chosen = next.index;
        }
        if let Some(state) = states.get(chosen) {
            let state = state.borrow().clone();
            publish(&sender, state);
        }
        let recheck = async {
            match recheck_at {
                Some(at) => sleep_until(at).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            is_open = any_changed(&mut states) => if !is_open { return },
            () = recheck => {}
        }
    }
}

/// Takes over a node's state; the generation counts this set's own templates, and a template outlives its node.
fn publish(sender: &watch::Sender<NodeState>, new: NodeState) {
    sender.send_if_modified(|state| {
        let template = new.template.or_else(|| {
            state
                .template
                .clone()
                .filter(|_| new.status.keeps_template())
        });
        let is_other = match (&state.template, &template) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() != new.is_some(),
        };
        let has_changed = is_other || state.status != new.status || state.chain != new.chain;
        *state = NodeState {
            status: new.status,
            chain: new.chain,
            template,
            generation: state.generation + u64::from(is_other),
        };
        has_changed
    });
}

/// Waits until one of the states changes; false when all nodes are gone.
async fn any_changed(states: &mut [watch::Receiver<NodeState>]) -> bool {
    let mut waits: Vec<_> = states
        .iter_mut()
        .map(|state| Box::pin(state.changed()))
        .collect();
    core::future::poll_fn(|context| {
        let mut is_closed = true;
        for wait in &mut waits {
            match wait.as_mut().poll(context) {
                core::task::Poll::Ready(Ok(())) => return core::task::Poll::Ready(true),
                core::task::Poll::Ready(Err(_)) => {}
                core::task::Poll::Pending => is_closed = false,
            }
        }
        if is_closed {
            core::task::Poll::Ready(false)
        } else {
            core::task::Poll::Pending
        }
    })
    .await
}

#[derive(Debug, PartialEq, Eq)]
struct Choice {
    index: usize,
    /// When a better node will have been ready for long enough.
    recheck_at: Option<Instant>,
}

/// Leaves a node at once when it fails, and returns to a better one when that has been ready for a while.
fn choose(
    ready_since: &[Option<Instant>],
    current: usize,
    return_after: Duration,
    now: Instant,
) -> Choice {
    let is_current_ready = ready_since.get(current).is_some_and(Option::is_some);
    let mut ready = ready_since
        .iter()
        .enumerate()
        .filter_map(|(index, since)| since.map(|since| (index, since + return_after)));
    if !is_current_ready {
        return Choice {
            index: ready.next().map_or(0, |(index, _)| index),
            recheck_at: None,
        };
    }
    let better: Vec<_> = ready.take_while(|(index, _)| *index < current).collect();
    match better.iter().find(|(_, from)| *from <= now) {
        Some((index, _)) => Choice {
            index: *index,
            recheck_at: None,
        },
        None => Choice {
            index: current,
            recheck_at: better.iter().map(|(_, from)| *from).min(),
        },
    }
}

#[cfg(test)]
mod tests;
