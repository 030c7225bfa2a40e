//! Fail-over and submission with scripted nodes, in virtual time.

use std::collections::VecDeque;

use super::*;
use crate::node::NodeStatus;

struct Scripted {
    name: String,
    state: watch::Sender<NodeState>,
    outcomes: Mutex<VecDeque<SubmitOutcome>>,
    standings: Mutex<VecDeque<BlockStanding>>,
}

impl Scripted {
    fn new(name: &str, outcomes: &[SubmitOutcome], standings: &[BlockStanding]) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            state: watch::Sender::new(NodeState::default()),
            outcomes: Mutex::new(outcomes.iter().cloned().collect()),
            standings: Mutex::new(standings.iter().copied().collect()),
        })
    }

    /// Ready with a template that can be told from others by its version.
    fn ready(&self, version: u32) {
        self.ready_at(10, version);
    }

    fn ready_at(&self, height: u32, version: u32) {
        let mut template = crate::embedded::EmbeddedChain::new().template(1_800_000_000);
        (template.height, template.version) = (height, version);
        self.state.send_modify(|state| {
            state.status = NodeStatus::Ready;
            state.template = Some(Arc::new(template));
        });
    }

    fn fail(&self, status: NodeStatus) {
        self.state.send_modify(|state| state.status = status);
    }
}

impl Node for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> watch::Receiver<NodeState> {
        self.state.subscribe()
    }

    fn submit_block(&self, _: Arc<[u8]>) -> NodeFuture<'_, SubmitOutcome> {
        let next = self.outcomes.lock().unwrap().pop_front();
        Box::pin(async move { next.unwrap_or_else(silence) })
    }

    fn block_standing(&self, _: [u8; 32]) -> NodeFuture<'_, Result<BlockStanding, RpcError>> {
        let next = self.standings.lock().unwrap().pop_front();
        Box::pin(async move { next.ok_or(RpcError::Forbidden) })
    }
}

fn silence() -> SubmitOutcome {
    SubmitOutcome::Failed(RpcError::Forbidden)
}

fn set(nodes: &[Arc<Scripted>]) -> NodeSet {
    let nodes = nodes
        .iter()
        .map(|node| Arc::clone(node) as Arc<dyn Node>)
        .collect();
    NodeSet::spawn(nodes, NodeSetConfig::default()).unwrap()
}

fn version(set: &NodeSet) -> Option<u32> {
    set.state()
        .borrow()
        .template
        .as_ref()
        .map(|template| template.version)
}

async fn settle(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

const ACTIVE: BlockStanding = BlockStanding::Active { confirmations: 1 };

#[tokio::test(start_paused = true)]
async fn templates_come_from_the_first_ready_node_and_return_to_a_better_one() {
    let (first, second) = (
        Scripted::new("first", &[], &[]),
        Scripted::new("second", &[], &[]),
    );
    let set = set(&[Arc::clone(&first), Arc::clone(&second)]);
    assert_eq!(set.state().borrow().status, NodeStatus::Connecting);
    second.ready(20);
    settle(1).await;
    assert_eq!(
        (version(&set), set.state().borrow().generation),
        (Some(20), 1)
    );
    first.ready(10);
    settle(4_990).await;
    assert_eq!(version(&set), Some(20), "too early to return");
    settle(20).await;
    assert_eq!(
        (version(&set), set.state().borrow().generation),
        (Some(10), 2)
    );
    first.fail(NodeStatus::WrongCredentials);
    settle(1).await;
    assert_eq!(
        (version(&set), set.state().borrow().generation),
        (Some(20), 3)
    );
    second.fail(NodeStatus::NoPeers);
    settle(1).await;
    let state = set.state().borrow().clone();
    assert_eq!(
        (
            state.status,
            state.template.map(|template| template.version)
        ),
        (NodeStatus::WrongCredentials, Some(10))
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_flaps_is_not_returned_to() {
    let (first, second) = (
        Scripted::new("first", &[], &[]),
        Scripted::new("second", &[], &[]),
    );
    let set = set(&[Arc::clone(&first), Arc::clone(&second)]);
    second.ready(20);
    for _ in 0..10 {
        first.ready(10);
        settle(4_000).await;
        first.fail(NodeStatus::NoPeers);
        settle(1).await;
        assert_eq!(version(&set), Some(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_behind_is_left_until_it_catches_up() {
    let (first, second) = (
        Scripted::new("first", &[], &[]),
        Scripted::new("second", &[], &[]),
    );
    let set = set(&[Arc::clone(&first), Arc::clone(&second)]);
    first.ready_at(10, 10);
    second.ready_at(11, 11);
    settle(2_990).await;
    assert_eq!(version(&set), Some(10), "the better node gets its time");
    settle(20).await;
    assert_eq!(version(&set), Some(11));
    first.ready_at(11, 1);
    second.ready_at(12, 12);
    settle(1).await;
    assert_eq!(version(&set), Some(12));
    first.ready_at(12, 13);
    second.fail(NodeStatus::NoPeers);
    settle(1).await;
    assert_eq!(
        (version(&set), set.state().borrow().status.clone()),
        (Some(13), NodeStatus::Ready)
    );
}

fn block() -> Arc<[u8]> {
    bitcoin::consensus::serialize(&bitcoin::constants::genesis_block(
        bitcoin::Network::Regtest,
    ))
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_block_goes_to_every_node_and_each_is_asked_afterwards() {
    let nodes = [
        Scripted::new("good", &[SubmitOutcome::Accepted], &[ACTIVE]),
        Scripted::new(
            "slow",
            &[SubmitOutcome::Inconclusive],
            &[BlockStanding::Unknown, BlockStanding::Stale, ACTIVE],
        ),
        Scripted::new(
            "restarts",
            &[
                silence(),
                SubmitOutcome::Rejected(RejectReason::PrevBlkNotFound),
                SubmitOutcome::Duplicate,
            ],
            &[ACTIVE],
        ),
        Scripted::new(
            "strict",
            &[SubmitOutcome::Rejected(RejectReason::HighHash)],
            &[BlockStanding::Unknown],
        ),
        Scripted::new("dead", &[], &[]),
        Scripted::new(
            "loser",
            &[SubmitOutcome::Inconclusive],
            &[BlockStanding::Stale; 6],
        ),
        Scripted::new(
            "forgets",
            &[SubmitOutcome::Accepted],
            &[BlockStanding::Unknown; 6],
        ),
    ];
    let set = set(&nodes);
    let mut reports = set.submit_to_all(block()).await;
    reports.sort_by(|a, b| a.node.cmp(&b.node));
    let summary: Vec<_> = reports
        .iter()
        .map(|report| (report.node.as_str(), report.reason(), report.is_confirmed()))
        .collect();
    let restarted = reports.iter().find(|report| report.node == "restarts");
    assert_eq!(
        restarted.map(|report| &report.outcome),
        Some(&SubmitOutcome::Duplicate),
        "tried until it has the block before"
    );
    let advised = reports.iter().map(|report| report.advice());
    let unconfirmed = reports.iter().map(|report| !report.is_confirmed());
    assert!(
        advised
            .clone()
            .map(|advice| advice.is_some())
            .eq(unconfirmed)
    );
    let advice: std::collections::BTreeSet<_> = advised.flatten().collect();
    assert_eq!(advice.len(), 4, "each has its own");
    assert_eq!(
        summary,
        [
            ("dead", "unanswered", false),
            ("forgets", "missing", false),
            ("good", "confirmed", true),
            ("loser", "stale", false),
            ("restarts", "confirmed", true),
            ("slow", "confirmed", true),
            ("strict", "high-hash", false),
        ]
    );
    assert_eq!(set.reports_by_reason().get("confirmed"), Some(&3));
    assert_eq!(set.blocks_submitted(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_node_that_stores_a_block_answers_for_all() {
    let nodes = [
        Scripted::new("dead", &[], &[]),
        Scripted::new(
            "strict",
            &[SubmitOutcome::Rejected(RejectReason::HighHash)],
            &[],
        ),
        Scripted::new("good", &[SubmitOutcome::Accepted], &[ACTIVE]),
    ];
    assert_eq!(
        set(&nodes).submit_block(block()).await,
        SubmitOutcome::Accepted
    );
    let nodes = [
        Scripted::new(
            "strict",
            &[SubmitOutcome::Rejected(RejectReason::HighHash)],
            &[],
        ),
        Scripted::new("dead", &[], &[]),
    ];
    let set = set(&nodes);
    assert_eq!(
        set.submit_block(block()).await,
        SubmitOutcome::Rejected(RejectReason::HighHash)
    );
    assert_eq!(
        set.submit_block([0; 10].into()).await,
        SubmitOutcome::Rejected(RejectReason::Malformed)
    );
    settle(600_000).await;
    assert_eq!(
        set.reports_by_reason().values().sum::<u64>(),
        4,
        "every report is counted although nobody waits"
    );
}

#[tokio::test]
async fn a_set_has_between_one_and_eight_nodes() {
    let config = NodeSetConfig::default();
    assert_eq!(
        NodeSet::spawn(Vec::new(), config.clone()).err(),
        Some(NodeSetError::Empty)
    );
    let many = (0..=NODES_MAX)
        .map(|_| Scripted::new("node", &[], &[]) as Arc<dyn Node>)
        .collect();
    assert_eq!(
        NodeSet::spawn(many, config).err(),
        Some(NodeSetError::TooMany)
    );
}
