//! The program before our template provider on an embedded chain, before one that lies, and behind a job declaration
//! server.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::Message;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use bitcoin_node::Node;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::generate::{solve, unsolved_block};
use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
use const_sv2::Protocol;
use job_declaration_sv2::{AllocateMiningJobTokenSuccess, JobDeclarationMessage};
use network_helpers_sv2::{
    CloseReason, Connection, Options, ServerIdentity, ServerSecurity, accept,
};
use noise_sv2::AuthoritySecretKey;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::SetupPolicy;
use stratum_runtime::Shutdown;
use stratum_template_provider::{Config, TemplateProvider};
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionDataSuccess, SetNewPrevHash,
    TemplateDistributionMessage,
};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Longer than anything here takes; a test that hangs says where.
const PATIENCE: Duration = Duration::from_secs(60);

const P2WPKH: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

async fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let program = Command::new(env!("CARGO_BIN_EXE_coinbase-negotiator"))
        .args(["--chain", "regtest"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, program).await;
    let output = output.expect("the program ends in time").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

struct Provider {
    node: Arc<EmbeddedNode>,
    _server: TemplateProvider,
    url: String,
}

fn identity() -> (Arc<ServerIdentity>, String) {
    let authority = AuthoritySecretKey::from_bytes(&[3; 32]).unwrap();
    let key = authority.public_key().to_string();
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    (Arc::new(identity), key)
}

fn provider() -> Provider {
    let (identity, key) = identity();
    let config = Config::new(([127, 0, 0, 1], 0).into(), ServerSecurity::Noise(identity));
    let node = Arc::new(EmbeddedNode::default());
    let server = TemplateProvider::start(config, node.clone(), Shutdown::new()).unwrap();
    let url = format!("stratum2+tcp://{}/{key}", server.local_addr());
    Provider {
        node,
        _server: server,
        url,
    }
}

/// What somebody who lies, or keeps silent, sends for each message that comes. Setup is answered for him.
trait Script: Fn(&AnyMessage<'_>) -> Vec<AnyMessage<'static>> + Send + 'static {}

impl<F: Fn(&AnyMessage<'_>) -> Vec<AnyMessage<'static>> + Send + 'static> Script for F {}

/// Serves one client in Noise; gives the address to connect to.
async fn serve(protocol: Protocol, script: impl Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (identity, key) = identity();
    let url = format!("{}/{key}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let security = ServerSecurity::Noise(identity);
        let connection = accept(stream, &security, Options::default()).await;
        // The client ends it.
        let _: CloseReason = talk(connection.unwrap(), protocol, script)
            .await
            .unwrap_err();
    });
    url
}

async fn talk(
    mut connection: Connection,
    protocol: Protocol,
    script: impl Script,
) -> Result<(), CloseReason> {
    let router = Router::new(protocol, Peer::Client);
    let policy = match protocol {
        Protocol::JOB_DECLARATION => SetupPolicy::job_declaration(),
        _ => SetupPolicy::template_distribution(),
    };
    loop {
        let mut answers = Vec::new();
        while let Some(frame) = connection.next_frame()? {
            let header = frame.header();
            let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
            let routed = router.route(extension_type, msg_type, frame.payload());
            let message = routed.unwrap().message;
            match policy.handle_first(&message) {
                Ok(accepted) => {
                    let answer: SetupConnectionSuccess = accepted.message();
                    answers.push(CommonMessage::from(answer).into());
                }
                Err(_) => answers.extend(script(&message)),
            }
        }
        for answer in answers {
            let answer: AnyMessage<'static> = answer;
            connection.queue_as(answer.kind(), &answer, &[])?;
        }
        connection.ready(None).await?;
    }
}

fn provided(message: impl Into<TemplateDistributionMessage<'static>>) -> AnyMessage<'static> {
    message.into().into()
}

/// A transaction without witness, with one output of a script of `len` bytes.
fn transaction(coin: OutPoint, len: usize) -> Transaction {
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1),
            script_pubkey: ScriptBuf::from(vec![0x61; len]),
        }],
    }
}

/// A template without witness whose only transaction has an output of this many bytes, its tip, and the transaction.
fn heavy(len: usize) -> [AnyMessage<'static>; 3] {
    let tx = transaction(OutPoint::new(Txid::from_byte_array([1; 32]), 0), len);
    let template = NewTemplate {
        template_id: 1,
        future_template: true,
        version: 0x2000_0000,
        coinbase_tx_version: 2,
        coinbase_prefix: vec![0x51, 0].try_into().unwrap(),
        coinbase_tx_input_sequence: u32::MAX,
        coinbase_tx_value_remaining: 5_000_000_000,
        coinbase_tx_outputs_count: 0,
        coinbase_tx_outputs: Vec::new().try_into().unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: vec![tx.compute_txid().to_byte_array().into()]
            .try_into()
            .unwrap(),
    };
    let tip = SetNewPrevHash {
        template_id: 1,
        prev_hash: [1; 32].into(),
        header_timestamp: 1_700_000_000,
        nbits: 0x207f_ffff,
        target: [0xff; 32].into(),
    };
    let data = RequestTransactionDataSuccess {
        template_id: 1,
        excess_data: Vec::new().try_into().unwrap(),
        transaction_list: vec![serialize(&tx).try_into().unwrap()].try_into().unwrap(),
    };
    [provided(template), provided(tip), provided(data)]
}

async fn liar(script: impl Script) -> String {
    serve(Protocol::TEMPLATE_DISTRIBUTION, script).await
}

fn is<M: Message>(message: &AnyMessage<'_>) -> bool {
    message.kind().name == M::KIND.name
}

#[tokio::test(flavor = "multi_thread")]
async fn our_template_provider_leaves_the_room() {
    let provider = provider();
    let p2pkh = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn";
    let (code, said) = run(&[
        &provider.url,
        "--output",
        P2WPKH,
        "--output",
        &format!("addr({p2pkh})"),
        "--miner-address",
    ])
    .await;
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "output: 31 bytes, signature operations: 0, script 0014751e76e8199196d454941c45d1b3a323f1433bd6",
        "room needed: 116 bytes, signature operations: 2",
        "asked for: 116 bytes, signature operations: 2",
        "5000000000 sat for our outputs, outputs of its own: 1",
        "transactions: 0",
        "outputs of the coinbase: 3, one of them commits to witnesses",
        "weight with all that is reserved: 1632 of 4000000",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

/// Has a transaction wait for a block, after as many blocks as its coin needs; gives its weight.
async fn add_transaction(provider: &Provider) -> u64 {
    let mut first = None;
    for _ in 0..101 {
        let template = provider.node.state().borrow().template.clone().unwrap();
        let mut block = unsolved_block(&template, ScriptBuf::from(vec![0x51])).unwrap();
        assert!(solve(&mut block));
        first.get_or_insert(block.txdata[0].compute_txid());
        let outcome = provider.node.submit_block(serialize(&block).into()).await;
        assert!(outcome.is_stored(), "{outcome:?}");
    }
    let mut tx = transaction(OutPoint::new(first.unwrap(), 0), 30);
    tx.output[0].value = Amount::from_sat(4_999_990_000);
    provider
        .node
        .add_transaction(&serialize(&tx), 10_000)
        .unwrap();
    tx.weight().to_wu()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_template_provider_leaves_the_room_to_the_last_byte() {
    let provider = provider();
    let weight = add_transaction(&provider).await;
    let most = (4_000_000 - 1_168 - weight) / 4 - 31;
    for (extra, transactions, total) in [(most, 1, 4_000_000), (most + 1, 0, 4_000_004 - weight)] {
        let extra = extra.to_string();
        let arguments = [&provider.url, "--output", P2WPKH, "--extra-size", &extra];
        let (code, said) = run(&arguments).await;
        assert_eq!(code, Some(0), "{said}");
        for line in [
            format!("transactions: {transactions}"),
            format!("weight with all that is reserved: {total} of 4000000"),
        ] {
            assert!(said.contains(&line), "{line} is not in\n{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_too_heavy_is_found_out() {
    for (len, expected) in [(999_000, Some(0)), (1_000_000, Some(1))] {
        let url = liar(move |message| {
            let [template, tip, data] = heavy(len);
            match is::<CoinbaseOutputConstraints>(message) {
                true => vec![template, tip],
                false => vec![data],
            }
        })
        .await;
        let (code, said) = run(&[&url, "--output", P2WPKH]).await;
        assert_eq!(code, expected, "{said}");
        let names_it = said.contains("with our outputs the block would weigh 40");
        assert_eq!(names_it, expected == Some(1), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_order_is_found_out() {
    let url = liar(|_| {
        let [template, tip, _] = heavy(1);
        vec![tip, template]
    })
    .await;
    let (code, said) = run(&[&url, "--output", P2WPKH]).await;
    assert_eq!(code, Some(1), "{said}");
    let error = "error: the template provider breaks the protocol: SetNewPrevHash names a template that was not sent before it";
    assert!(said.contains(error), "{said}");
    assert!(said.contains("asked for: 31 bytes"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_absence_are_no_breach() {
    let url = liar(|_| Vec::new()).await;
    let (code, said) = run(&[&url, "--output", P2WPKH, "--timeout-secs", "1"]).await;
    assert_eq!(code, Some(3), "{said}");
    let error = "error: the template provider did not send a template with its tip in time";
    assert!(said.contains(error), "{said}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (code, said) = run(&[&nobody, "--output", P2WPKH]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("no connection to the template provider"),
        "{said}"
    );
}

async fn declarator(outputs: Vec<TxOut>) -> String {
    serve(Protocol::JOB_DECLARATION, move |message| {
        let AnyMessage::JobDeclaration(JobDeclarationMessage::AllocateMiningJobToken(asked)) =
            message
        else {
            panic!("{message:?}")
        };
        assert_eq!(asked.user_identifier.as_bytes(), b"farm");
        let answer = AllocateMiningJobTokenSuccess {
            request_id: asked.request_id,
            mining_job_token: vec![7; 4].try_into().unwrap(),
            coinbase_tx_outputs: serialize(&outputs).try_into().unwrap(),
        };
        vec![JobDeclarationMessage::from(answer).into()]
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_declarator_names_the_outputs() {
    let output = |sats| TxOut {
        value: Amount::from_sat(sats),
        script_pubkey: ScriptBuf::from(vec![0x51; 34]),
    };
    let provider = provider();
    let jds = declarator(vec![output(0), output(0)]).await;
    let arguments = [&provider.url, "--user", "farm", "--jds", &jds];
    let (code, said) = run(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("asked for: 86 bytes"), "{said}");
    let jds = declarator(vec![output(1)]).await;
    let arguments = [&provider.url, "--user", "farm", "--jds", &jds];
    let (code, said) = run(&arguments).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("its output 1 has a value"), "{said}");
    assert!(!said.contains("asked for"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_without_sense_are_refused() {
    for (arguments, says) in [
        (&["127.0.0.1:1"][..], "--output"),
        (&["127.0.0.1:1", "--output", "nonsense"], "nonsense"),
        (
            &["127.0.0.1:1", "--output", P2WPKH, "--jds", "127.0.0.1:2"],
            "cannot be used with",
        ),
        (
            &["127.0.0.1:1", "--output", P2WPKH, "--extra-size", "1000000"],
            "fit no block",
        ),
    ] {
        let (code, said) = run(arguments).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
