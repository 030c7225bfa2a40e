use binary_sv2::Message as _;
use bitcoin::ScriptBuf;
use common_messages_sv2::{SetupConnectionError, SetupConnectionSuccess};
use network_helpers_sv2::ServerSecurity;
use roles_logic_sv2::header::Header;
use roles_logic_sv2::job::{JobFactory, Payout};
use roles_logic_sv2::share::BlockSolution;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, SetNewPrevHash, SubmitSolution,
};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A test that waits for longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A template provider that does as the test says.
struct Provider {
    listener: TcpListener,
}

/// The pool, connected to it.
type Link = Connection<TcpStream>;

impl Provider {
    /// The next connection, after the pool's setup.
    async fn accept_setup(&self) -> Link {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("the pool connects").unwrap();
        let mut link = Connection::server(stream, &ServerSecurity::Plain, Options::default())
            .await
            .unwrap();
        assert_eq!(next(&mut link).await.0, SetupConnection::KIND.msg_type);
        link
    }

    /// The next connection, after setup and constraints.
    async fn accept(&self) -> Link {
        let mut link = self.accept_setup().await;
        let success = SetupConnectionSuccess {
            used_version: 2,
            flags: 0,
        };
        link.queue(&success).unwrap();
        link.flush().await.unwrap();
        let first = next(&mut link).await.0;
        assert_eq!(
            first,
            CoinbaseOutputConstraints::KIND.msg_type,
            "constraints come first"
        );
        link
    }
}

async fn next(link: &mut Link) -> (u8, Vec<u8>) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(frame) = link.next_frame().unwrap() {
            return (frame.header().msg_type(), frame.payload().to_vec());
        }
        let wake = link.ready(Some(until)).await.unwrap();
        assert_eq!(wake, Wake::Readable, "the pool says nothing");
    }
}

/// The template that the next solution is for.
async fn solution(link: &mut Link) -> u64 {
    let (msg_type, payload) = next(link).await;
    assert_eq!(msg_type, SubmitSolution::KIND.msg_type);
    u64::from_le_bytes(*payload.first_chunk().unwrap())
}

async fn announce(link: &mut Link, template_id: u64, tip: u8) {
    let template = NewTemplate {
        template_id,
        future_template: true,
        version: 0x2000_0000,
        coinbase_tx_version: 2,
        coinbase_prefix: vec![0x51, 0].try_into().unwrap(),
        coinbase_tx_input_sequence: u32::MAX,
        coinbase_tx_value_remaining: 5_000_000_000,
        coinbase_tx_outputs_count: 0,
        coinbase_tx_outputs: vec![].try_into().unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: vec![].try_into().unwrap(),
    };
    let prev_hash = SetNewPrevHash {
        template_id,
        prev_hash: [tip; 32].into(),
        header_timestamp: 1_700_000_000,
        nbits: 0x207f_ffff,
        target: [0xff; 32].into(),
    };
    link.queue(&template).unwrap();
    link.queue(&prev_hash).unwrap();
    link.flush().await.unwrap();
}

struct Scene {
    provider: Provider,
    templates: watch::Receiver<Option<Arc<ActiveTemplate>>>,
    blocks: mpsc::Sender<Box<BlockFound>>,
    snapshot: watch::Receiver<SourceSnapshot>,
    feeding: tokio::task::JoinHandle<()>,
}

async fn scene() -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (template_sender, templates) = watch::channel(None);
    let (blocks, found) = mpsc::channel(8);
    let (snapshot_sender, snapshot) = watch::channel(SourceSnapshot::default());
    let feed = Feed {
        client: TemplateClient::new(CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: 43,
            coinbase_output_max_additional_sigops: 0,
        }),
        templates: template_sender,
        blocks: Blocks::new(found),
        snapshot: snapshot_sender,
        clock: SystemClock::new(),
    };
    let source = TemplateSource::Remote {
        endpoint: address.to_string().parse().unwrap(),
        security: ClientSecurity::Plain,
    };
    Scene {
        provider: Provider { listener },
        templates,
        blocks,
        snapshot,
        feeding: tokio::spawn(feed.run(source)),
    }
}

impl Scene {
    /// The template that became work last.
    async fn work(&mut self) -> Arc<ActiveTemplate> {
        let changed = tokio::time::timeout(PATIENCE, self.templates.changed()).await;
        changed.expect("there is new work").unwrap();
        self.templates.borrow_and_update().clone().unwrap()
    }

    async fn find(&self, active: &ActiveTemplate) {
        let payout = Payout {
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
            weight: 1,
        };
        let factory = JobFactory::new(vec![payout], "test", "", 20, true).unwrap();
        let job = factory.job(&active.job_template()).unwrap();
        let header = Header {
            version: 0x2000_0000,
            prev_hash: active.tip().prev_hash,
            merkle_root: [0; 32],
            ntime: 1_700_000_000,
            nbits: 0x207f_ffff,
            nonce: 7,
        };
        let block = BlockFound {
            channel_id: 2,
            coinbase: job.coinbase().unwrap().for_block(&[0; 20], &[]),
            job,
            solution: BlockSolution {
                header,
                hash: header.hash(),
            },
        };
        self.blocks.send(Box::new(block)).await.unwrap();
    }
}

#[tokio::test]
async fn blocks_found_while_the_provider_is_away_are_handed_in_later() {
    let mut scene = scene().await;
    let mut link = scene.provider.accept().await;
    announce(&mut link, 50, 1).await;
    let first = scene.work().await;
    scene.find(&first).await;
    assert_eq!(solution(&mut link).await, 50);
    drop(link);
    scene.find(&first).await;

    // It comes back with lower ids.
    let mut link = scene.provider.accept().await;
    for _ in 0..2 {
        // The first one again, as it may not have arrived.
        assert_eq!(solution(&mut link).await, 50);
    }
    announce(&mut link, 3, 1).await;
    let again = scene.work().await;
    assert_eq!(again.template().template_id, 3);
    assert!(Arc::ptr_eq(again.tip(), first.tip()), "the same tip");
    scene.find(&again).await;
    assert_eq!(solution(&mut link).await, 3);

    // The pool ends when its miners are gone and all blocks are handed in.
    scene.find(&again).await;
    drop(scene.blocks);
    assert_eq!(solution(&mut link).await, 3);
    drop(link);
    scene.feeding.await.unwrap();
    assert_eq!(scene.snapshot.borrow().failures, 1);
}

/// Else a provider that hangs up for too many solutions of templates it has forgotten would never be of use again.
#[tokio::test]
async fn a_solution_is_sent_again_once() {
    let mut scene = scene().await;
    let mut link = scene.provider.accept().await;
    announce(&mut link, 50, 1).await;
    let active = scene.work().await;
    for _ in 0..3 {
        scene.find(&active).await;
        assert_eq!(solution(&mut link).await, 50);
    }
    drop(link);
    let mut link = scene.provider.accept().await;
    for _ in 0..3 {
        assert_eq!(solution(&mut link).await, 50);
    }
    drop(link);
    let mut link = scene.provider.accept().await;
    announce(&mut link, 60, 2).await;
    let active = scene.work().await;
    scene.find(&active).await;
    assert_eq!(solution(&mut link).await, 60);
}

#[tokio::test]
async fn a_provider_that_talks_nonsense_is_left_and_tried_again() {
    let mut scene = scene().await;
    let nonsense: [(u16, u8, &[u8]); 3] = [
        // A frame of an extension that is not known changes nothing; the next one does not decode.
        (0x4001, 0x10, &[1]),
        (0, NewTemplate::KIND.msg_type, &[1, 2, 3]),
        (0, 0, &[]),
    ];
    let mut link = scene.provider.accept().await;
    for (extension_type, msg_type, payload) in nonsense {
        link.queue_raw(extension_type, msg_type, payload).unwrap();
    }
    link.flush().await.unwrap();
    let mut link = scene.provider.accept().await;
    assert!(scene.snapshot.borrow().last_failure.contains("NewTemplate"));
    announce(&mut link, 1, 1).await;
    assert_eq!(scene.work().await.template().template_id, 1);
    assert_eq!(scene.snapshot.borrow().failures, 1);
}

#[tokio::test]
async fn a_provider_that_refuses_is_left_with_its_reason_and_tried_again() {
    let scene = scene().await;
    let mut link = scene.provider.accept_setup().await;
    let refusal = SetupConnectionError {
        flags: 0,
        error_code: "unsupported-protocol".try_into().unwrap(),
    };
    link.queue(&refusal).unwrap();
    link.flush().await.unwrap();
    let mut link = scene.provider.accept_setup().await;
    let failure = scene.snapshot.borrow().last_failure.clone();
    assert_eq!(failure, "it refuses the connection: unsupported-protocol");
    let other_version = SetupConnectionSuccess {
        used_version: 3,
        flags: 0,
    };
    link.queue(&other_version).unwrap();
    link.flush().await.unwrap();
    scene.provider.accept().await;
    let failure = scene.snapshot.borrow().last_failure.clone();
    assert!(
        failure.contains("version 3, which was not offered"),
        "{failure}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_silent_is_left() {
    let scene = scene().await;
    let _silent = scene.provider.accept_setup().await;
    scene.provider.accept().await;
    let snapshot = scene.snapshot.borrow();
    assert_eq!(
        snapshot.last_failure,
        "it did not answer SetupConnection in time"
    );
}

#[tokio::test]
async fn a_pool_with_a_block_waits_for_the_provider_until_its_grace_is_over() {
    let mut scene = scene().await;
    let mut link = scene.provider.accept().await;
    announce(&mut link, 50, 1).await;
    let active = scene.work().await;
    drop(link);
    scene
        .snapshot
        .wait_for(|snapshot| snapshot.failures == 1)
        .await
        .unwrap();
    scene.find(&active).await;
    drop(scene.blocks);
    let mut link = scene.provider.accept().await;
    assert_eq!(solution(&mut link).await, 50);
    drop(link);
    scene.feeding.await.unwrap();
}

#[tokio::test]
async fn a_pool_without_blocks_ends_though_the_provider_is_away() {
    let scene = scene().await;
    drop((scene.provider, scene.blocks));
    scene.feeding.await.unwrap();
}
