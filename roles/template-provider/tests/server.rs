//! The template provider over real sockets with Noise, on the embedded chain.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{B064K, Message};
use bitcoin::ScriptBuf;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::generate;
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use network_helpers_sv2::{
    ClientSecurity, CloseReason, Connection, Endpoint, Options, ServerIdentity, ServerSecurity,
    connect,
};
use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey};
use roles_logic_sv2::coinbase::strip_bip141;
use roles_logic_sv2::setup::{Endpoint as SetupEndpoint, SetupRequest};
use stratum_runtime::Shutdown;
use stratum_template_provider::{Config, Snapshot, TemplateProvider};
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionData, SetNewPrevHash, SubmitSolution,
    TemplateDistributionMessage,
};

/// Longer than anything here takes; a test that hangs says where.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    node: Arc<EmbeddedNode>,
    provider: TemplateProvider,
    shutdown: Shutdown,
    authority: AuthorityPublicKey,
}

impl Scene {
    fn start() -> Self {
        let authority = AuthoritySecretKey::from_bytes(&[3; 32]).unwrap();
        let public = authority.public_key();
        let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
        let security = ServerSecurity::Noise(identity.into());
        let config = Config::new(([127, 0, 0, 1], 0).into(), security);
        let (node, shutdown) = (Arc::new(EmbeddedNode::default()), Shutdown::new());
        let provider = TemplateProvider::start(config, node.clone(), shutdown.clone()).unwrap();
        Self {
            node,
            provider,
            shutdown,
            authority: public,
        }
    }

    async fn connect(&self) -> Client {
        let security = ClientSecurity::Noise {
            authority: Some(self.authority),
        };
        let endpoint: Endpoint = self.provider.local_addr().to_string().parse().unwrap();
        let connected = connect(&endpoint, &security, Options::default()).await;
        Client(connected.unwrap())
    }

    async fn set_up(&self) -> Client {
        let mut client = self.connect().await;
        let request = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0);
        client
            .say(&request.message(&SetupEndpoint::default()))
            .await;
        let (msg_type, payload) = client.frame().await.unwrap();
        let answer = CommonMessage::parse(msg_type, &payload).unwrap();
        assert_eq!(answer.kind().name, "SetupConnection.Success");
        client
    }

    /// A client that announced an output of 43 bytes, its first template and the tip.
    async fn serve(&self) -> (Client, NewTemplate<'static>, SetNewPrevHash) {
        let mut client = self.set_up().await;
        let constraints = CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: 43,
            coinbase_output_max_additional_sigops: 0,
        };
        client.say(&constraints).await;
        let template = client.template().await;
        assert!(template.future_template);
        let tip = client.tip().await;
        (client, template, tip)
    }

    async fn snapshot_with(&self, is_it: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let wait = async {
            loop {
                let snapshot = self.provider.snapshot();
                if is_it(&snapshot) {
                    return snapshot;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{:#?}", self.provider.snapshot()))
    }
}

struct Client(Connection);

impl Client {
    async fn say<M: Message>(&mut self, message: &M) {
        self.0.queue(message).unwrap();
        self.0.flush().await.unwrap();
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), CloseReason> {
        let receive = async {
            loop {
                if let Some(frame) = self.0.next_frame()? {
                    return Ok((frame.header().msg_type(), frame.payload().to_vec()));
                }
                self.0.ready(None).await?;
            }
        };
        tokio::time::timeout(PATIENCE, receive)
            .await
            .expect("no frame in time")
    }

    async fn message(&mut self) -> TemplateDistributionMessage<'static> {
        use binary_sv2::IntoOwned as _;
        let (msg_type, payload) = self.frame().await.unwrap();
        TemplateDistributionMessage::parse(msg_type, &payload)
            .unwrap()
            .into_owned()
    }

    async fn template(&mut self) -> NewTemplate<'static> {
        match self.message().await {
            TemplateDistributionMessage::NewTemplate(template) => template,
            other => panic!("not a template: {other:?}"),
        }
    }

    async fn tip(&mut self) -> SetNewPrevHash {
        match self.message().await {
            TemplateDistributionMessage::SetNewPrevHash(tip) => tip,
            other => panic!("not a tip: {other:?}"),
        }
    }
}

/// A block on `template`, its coinbase stripped of its witness where `is_stripped`.
fn solve(
    template: &NewTemplate<'_>,
    tip: &SetNewPrevHash,
    is_stripped: bool,
) -> SubmitSolution<'static> {
    let payout = ScriptBuf::from_bytes(vec![0x51; 34]);
    let mut solution = generate::solution(template, tip, payout, &[]).unwrap();
    if is_stripped {
        let stripped = strip_bip141(solution.coinbase_tx.as_bytes()).unwrap();
        solution.coinbase_tx = B064K::try_from(stripped).unwrap();
    }
    solution
}

#[tokio::test]
async fn two_clients_mine_in_turn() {
    let scene = Scene::start();
    let (mut first, mut template, mut tip) = scene.serve().await;
    let (mut second, other, _) = scene.serve().await;
    assert_eq!(template, other, "equal constraints share one template");
    for height in 1..=10 {
        let solution = solve(&template, &tip, height % 2 == 0);
        first.say(&solution).await;
        let told = second.template().await;
        assert!(told.future_template);
        second.tip().await;
        template = first.template().await;
        tip = first.tip().await;
        assert_eq!(template, told);
        assert_eq!(scene.node.with_chain(|chain| chain.height()), height);
        std::mem::swap(&mut first, &mut second);
    }
    first
        .say(&RequestTransactionData {
            template_id: template.template_id,
        })
        .await;
    let TemplateDistributionMessage::RequestTransactionDataSuccess(data) = first.message().await
    else {
        panic!("no transaction data")
    };
    assert!(data.transaction_list.is_empty());
    let snapshot = scene
        .snapshot_with(|snapshot| snapshot.hub.blocks_stored == 10)
        .await;
    assert_eq!((snapshot.connections, snapshot.hub.tips), (2, 11));
    assert_eq!(
        snapshot.hub.deviations.values().sum::<u64>(),
        5,
        "stripped coinbases"
    );
}

#[tokio::test]
async fn a_block_reaches_the_node_though_its_finder_leaves() {
    let scene = Scene::start();
    let (mut client, template, tip) = scene.serve().await;
    client.say(&solve(&template, &tip, false)).await;
    drop(client);
    scene
        .snapshot_with(|snapshot| snapshot.hub.blocks_stored == 1)
        .await;
    assert_eq!(scene.node.with_chain(|chain| chain.height()), 1);
}

#[tokio::test]
async fn a_bad_client_is_told_and_counted_and_others_notice_nothing() {
    let scene = Scene::start();
    let (mut good, template, tip) = scene.serve().await;

    let mut miner = scene.connect().await;
    let request = SetupRequest::mining(0).message(&SetupEndpoint::default());
    miner.say(&request).await;
    let (msg_type, payload) = miner.frame().await.unwrap();
    let answer = CommonMessage::parse(msg_type, &payload).unwrap();
    assert_eq!(answer.kind().name, "SetupConnection.Error");
    assert_eq!(miner.frame().await, Err(CloseReason::PeerClosed));
    drop(miner);

    let mut greedy = scene.set_up().await;
    let constraints = CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: u32::MAX,
        coinbase_output_max_additional_sigops: 0,
    };
    greedy.say(&constraints).await;
    assert_eq!(greedy.frame().await, Err(CloseReason::PeerClosed));
    drop(greedy);

    let mut liar = scene.set_up().await;
    liar.say(&SubmitSolution {
        template_id: 5,
        ..solve(&template, &tip, false)
    })
    .await;
    scene
        .snapshot_with(|snapshot| snapshot.rejects.contains_key("unknown-template"))
        .await;

    let snapshot = scene
        .snapshot_with(|snapshot| snapshot.connections == 2)
        .await;
    assert_eq!(snapshot.rejects.get("unsupported-protocol"), Some(&1));
    assert_eq!(snapshot.rejects.get("constraints-too-large"), Some(&1));
    assert_eq!(snapshot.closed.get("protocol"), Some(&2));
    good.say(&solve(&template, &tip, false)).await;
    assert!(good.template().await.future_template);
}

#[tokio::test]
async fn draining_closes_connections_and_keeps_blocks() {
    let scene = Scene::start();
    let (mut client, template, tip) = scene.serve().await;
    client.say(&solve(&template, &tip, false)).await;
    client.template().await;
    client.tip().await;
    scene.shutdown.drain();
    assert!(client.frame().await.is_err());
    let counters = scene.provider.hub().snapshot();
    tokio::time::timeout(PATIENCE, scene.provider.join())
        .await
        .expect("drained in time");
    assert_eq!(counters.borrow().blocks_stored, 1);
}

#[tokio::test]
async fn a_port_in_use_is_said_at_start() {
    let scene = Scene::start();
    let config = Config::new(scene.provider.local_addr(), ServerSecurity::Plain);
    let error = TemplateProvider::start(config, scene.node.clone(), Shutdown::new()).unwrap_err();
    assert!(
        error.to_string().contains("is in use by another program"),
        "{error}"
    );
}
