//! Recorded answers of a real node, and a scripted node that misbehaves.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use roles_logic_sv2::block_template::BlockTemplate;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::tip::{
    HeaderInfo, RecentHeaders, TipHeader, median_time_secs, provisional_template, subsidy_sats,
};
use super::*;
use crate::NodeStatus;
use zeromq::{Socket as _, SocketSend as _};

const GBT: &str = include_str!("../../tests/data/gbt_regtest_two_transactions.json");
const CHAIN_INFO: &str = include_str!("../../tests/data/getblockchaininfo.json");
const HEADER: &str = include_str!("../../tests/data/getblockheader.json");
const NO_SEGWIT_RULE: &str = include_str!("../../tests/data/error_no_segwit_rule.json");

fn reply(result: &str) -> String {
    format!(r#"{{"result":{result},"error":null,"id":"stratum"}}"#)
}

fn error(code: i64, message: &str) -> String {
    json!({ "result": null, "error": { "code": code, "message": message }, "id": "stratum" })
        .to_string()
}

fn gbt_with(change: impl FnOnce(&mut Value)) -> Result<gbt::NodeTemplate, RpcError> {
    let mut value: Value = serde_json::from_str(GBT).unwrap();
    change(&mut value);
    gbt::parse(reply(&value.to_string()).as_bytes())
}

#[test]
fn a_recorded_template_is_read() {
    let gbt::NodeTemplate {
        template,
        long_poll_id,
    } = gbt_with(|_| ()).unwrap();
    assert_eq!(
        (template.height, template.nbits, template.version),
        (103, 0x207f_ffff, 0x2000_0000)
    );
    assert_eq!(
        (template.subsidy_sats, template.fees_sats()),
        (5_000_000_000, 2_880 + 2_940)
    );
    assert_eq!(
        (
            template.min_time_secs,
            template.segwit_active,
            template.is_provisional
        ),
        (1_795_345_141, true, false)
    );
    assert!(
        long_poll_id
            .starts_with(&bitcoin::BlockHash::from_byte_array(template.prev_hash).to_string())
    );
    for tx in &template.transactions {
        let parsed: bitcoin::Transaction = deserialize(&tx.raw).unwrap();
        assert_eq!(
            (
                parsed.compute_txid().to_byte_array(),
                parsed.compute_wtxid().to_byte_array()
            ),
            (tx.txid, tx.wtxid)
        );
        assert_eq!(parsed.weight().to_wu(), u64::from(tx.weight_wu));
    }
    assert_eq!(
        template
            .transactions
            .iter()
            .map(|tx| tx.sigops_cost)
            .collect::<Vec<_>>(),
        [5, 9]
    );
}

#[test]
fn a_template_that_contradicts_itself_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 9] = [
        ("rule newfork is mandatory", |gbt| {
            gbt["rules"] = json!(["!segwit", "!newfork"])
        }),
        ("bits is no 32-bit", |gbt| gbt["bits"] = json!("zz")),
        ("bits is no target", |gbt| gbt["bits"] = json!("00000000")),
        ("coinbasevalue is below the fees", |gbt| {
            gbt["coinbasevalue"] = json!(5_819)
        }),
        ("above weightlimit", |gbt| gbt["weightlimit"] = json!(1_000)),
        ("is no hexadecimal text", |gbt| {
            gbt["transactions"][0]["data"] = json!("0g")
        }),
        ("does not fit its", |gbt| {
            gbt["transactions"][1]["weight"] = json!(3)
        }),
        ("missing field `fee`", |gbt| {
            drop(
                gbt["transactions"][1]
                    .as_object_mut()
                    .unwrap()
                    .remove("fee"),
            )
        }),
        ("invalid type: null", |gbt| gbt["mintime"] = Value::Null),
    ];
    for (expected, change) in cases {
        let text = gbt_with(change).unwrap_err().to_string();
        assert!(text.contains(expected), "{text} does not say {expected}");
    }
    assert_eq!(
        gbt::parse(NO_SEGWIT_RULE.as_bytes()).unwrap_err().code(),
        Some(-8)
    );
    for length in 0..NO_SEGWIT_RULE.trim_end().len() {
        assert!(matches!(
            gbt::parse(&NO_SEGWIT_RULE.as_bytes()[..length]),
            Err(RpcError::Garbage { .. })
        ));
    }
}

#[test]
fn signet_asks_with_its_rule() {
    assert_eq!(
        gbt::params(Network::Signet, None),
        json!([{ "rules": ["segwit", "signet"] }])
    );
    assert_eq!(
        gbt::params(Network::Bitcoin, Some("x")),
        json!([{ "rules": ["segwit"], "longpollid": "x" }])
    );
}

fn template() -> BlockTemplate {
    gbt_with(|_| ()).unwrap().template
}

#[test]
fn only_material_changes_are_told() {
    let old = template();
    let mut richer = old.clone();
    richer.transactions[0].fee_sats += 1_000;
    assert!(gbt::is_material(&old, &richer, 1_000));
    assert!(!gbt::is_material(&old, &richer, 1_001));
    assert!(!gbt::is_material(&richer, &old, 1_000));
    assert!(!gbt::is_material(
        &old,
        &BlockTemplate {
            current_time_secs: old.current_time_secs + 60,
            ..old.clone()
        },
        0
    ));
    assert!(gbt::is_material(
        &old,
        &BlockTemplate {
            prev_hash: [1; 32],
            ..old.clone()
        },
        1_000
    ));
    assert!(gbt::is_material(
        &old,
        &BlockTemplate {
            nbits: 0x1d00_ffff,
            ..old.clone()
        },
        1_000
    ));
    assert!(gbt::is_material(
        &BlockTemplate {
            is_provisional: true,
            ..old.clone()
        },
        &old,
        1_000
    ));
}

fn tip(height: u32) -> TipHeader {
    TipHeader {
        hash: [3; 32],
        height,
        nbits: 0x1703_4567,
        median_time_secs: 1_700_000_000,
    }
}

#[test]
fn a_header_alone_makes_an_empty_template() {
    let last = template();
    let made = provisional_template(Network::Bitcoin, &tip(839_999), &last, 1_600_000_000).unwrap();
    assert_eq!(
        (made.height, made.subsidy_sats, made.prev_hash, made.nbits),
        (840_000, 312_500_000, [3; 32], 0x1703_4567)
    );
    assert_eq!(
        (made.min_time_secs, made.current_time_secs),
        (1_700_000_001, 1_700_000_001)
    );
    assert_eq!(
        (made.version, made.is_provisional, made.transactions.len()),
        (last.version, true, 0)
    );
    let later =
        provisional_template(Network::Bitcoin, &tip(839_998), &last, 1_700_000_500).unwrap();
    assert_eq!(
        (later.subsidy_sats, later.current_time_secs),
        (625_000_000, 1_700_000_500)
    );
}

#[test]
fn the_header_alone_does_not_tell_the_next_target_everywhere() {
    let last = template();
    let made = |chain, height| provisional_template(chain, &tip(height), &last, 0).is_some();
    assert!(
        !made(Network::Bitcoin, 2_015)
            && made(Network::Bitcoin, 2_014)
            && made(Network::Bitcoin, 2_016)
    );
    assert!(!made(Network::Signet, 4_031) && made(Network::Signet, 4_032));
    assert!(!made(Network::Testnet, 10) && !made(Network::Testnet4, 10));
    assert!(made(Network::Regtest, 2_015));
    assert!(!made(Network::Regtest, u32::MAX));
    let known = BlockTemplate {
        prev_hash: [3; 32],
        ..last
    };
    assert_eq!(
        provisional_template(Network::Regtest, &tip(1), &known, 0),
        None
    );
}

#[test]
fn the_subsidy_halves_by_the_chain_s_own_interval() {
    for (chain, height, sats) in [
        (Network::Regtest, 149, 5_000_000_000),
        (Network::Regtest, 150, 2_500_000_000),
        (Network::Regtest, 150 * 33, 0),
        (Network::Bitcoin, 209_999, 5_000_000_000),
        (Network::Bitcoin, 210_000, 2_500_000_000),
        (Network::Regtest, 150 * 64, 0),
        (Network::Regtest, u32::MAX, 0),
    ] {
        assert_eq!(subsidy_sats(chain, height), sats, "{chain} {height}");
    }
}

fn header(prev: [u8; 32], time: u32) -> Header {
    let template = template();
    Header {
        version: bitcoin::block::Version::from_consensus(4),
        prev_blockhash: bitcoin::BlockHash::from_byte_array(prev),
        merkle_root: bitcoin::TxMerkleNode::from_byte_array([0; 32]),
        time,
        bits: bitcoin::CompactTarget::from_consensus(template.nbits),
        nonce: 0,
    }
}

#[test]
fn a_header_is_placed_on_the_blocks_known() {
    let mut recent = RecentHeaders::default();
    assert_eq!(recent.place(&header([0; 32], 5)), None);
    for (height, time) in (100_u8..).zip([50, 10, 40, 20, 30, 60, 70, 80, 90]) {
        recent.push(
            [height; 32],
            u32::from(height),
            time,
            Some([height - 1; 32]),
        );
    }
    assert_eq!(
        recent.place(&header([108; 32], 5)),
        None,
        "nine blocks are too few"
    );
    recent.push([109; 32], 109, 100, Some([108; 32]));
    let placed = recent.place(&header([109; 32], 5)).unwrap();
    assert_eq!((placed.height, placed.median_time_secs), (110, 50));
    assert_eq!(recent.place(&header([108; 32], 5)), None, "not the newest");
    assert!(recent.contains(&[100; 32]));
    recent.push([7; 32], 300, 1, Some([6; 32]));
    assert!(!recent.contains(&[100; 32]) && recent.tip() == Some([7; 32]));
    let mut young = RecentHeaders::default();
    young.push([0; 32], 0, 9, None);
    assert_eq!(
        young.place(&header([0; 32], 5)).unwrap().median_time_secs,
        9
    );
    assert_eq!(median_time_secs(Vec::new()), 0);
}

#[test]
fn a_recorded_header_is_read() {
    let info: HeaderInfo = serde_json::from_str(HEADER).unwrap();
    let tip = info.as_tip().unwrap();
    assert_eq!(
        (tip.height, tip.nbits, tip.median_time_secs, tip.hash),
        (102, 0x207f_ffff, 1_795_345_140, template().prev_hash)
    );
    assert_eq!(
        HeaderInfo {
            confirmations: 2,
            ..info.clone()
        }
        .as_tip(),
        None
    );
    assert_eq!(
        HeaderInfo {
            confirmations: -1,
            ..info
        }
        .as_tip(),
        None
    );
}

#[test]
fn answers_to_a_block_are_told_apart() {
    assert_eq!(submit_outcome(Ok(None)), SubmitOutcome::Accepted);
    assert_eq!(
        submit_outcome(Ok(Some("duplicate".into()))),
        SubmitOutcome::Duplicate
    );
    assert_eq!(
        submit_outcome(Ok(Some("inconclusive".into()))),
        SubmitOutcome::Inconclusive
    );
    assert_eq!(
        submit_outcome(Ok(Some("high-hash".into()))),
        SubmitOutcome::Rejected(RejectReason::HighHash)
    );
    let node = |code| RpcError::Node {
        method: "submitblock",
        code,
        message: String::new(),
    };
    assert_eq!(
        submit_outcome(Err(node(-22))),
        SubmitOutcome::Rejected(RejectReason::Malformed)
    );
    assert_eq!(
        submit_outcome(Err(node(-28))),
        SubmitOutcome::Failed(node(-28))
    );
}

/// What the scripted node does with a call.
#[derive(Clone)]
enum Act {
    /// Answers with status 200 and this body.
    Say(String),
    /// Answers with a bare status.
    Status(u16),
    /// Never answers.
    Hang,
    /// Announces and sends more than is allowed.
    Flood,
    /// Closes the connection.
    Close,
}

/// A node that does what its script says for each method.
struct FakeNode {
    port: u16,
    script: Arc<Mutex<HashMap<&'static str, Act>>>,
    credentials: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeNode {
    /// A healthy node without ZMQ, for user `a` with password `b`.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let best = format!(
            "\"{}\"",
            bitcoin::BlockHash::from_byte_array(template().prev_hash)
        );
        let script = HashMap::from([
            ("getblockchaininfo", Act::Say(reply(CHAIN_INFO))),
            ("getzmqnotifications", Act::Say(reply("[]"))),
            ("getblocktemplate", Act::Say(reply(GBT))),
            ("longpoll", Act::Hang),
            ("getbestblockhash", Act::Say(reply(&best))),
            ("getblockheader", Act::Say(reply(HEADER))),
        ]);
        let script = Arc::new(Mutex::new(script));
        let credentials = Arc::new(Mutex::new("a:b".to_owned()));
        let task = tokio::spawn(serve(
            listener,
            Arc::clone(&script),
            Arc::clone(&credentials),
        ));
        Self {
            port,
            script,
            credentials,
            task,
        }
    }

    fn set(&self, method: &'static str, act: Act) {
        self.script.lock().unwrap().insert(method, act);
    }

    fn config(&self) -> RpcConfig {
        let auth = RpcAuth::UserPassword {
            user: "a".into(),
            password: Password::new("b"),
        };
        RpcConfig {
            call_timeout: Duration::from_millis(300),
            long_poll_timeout: Duration::from_millis(300),
            fallback_poll_interval: Duration::from_millis(50),
            refresh_interval: Duration::from_millis(50),
            reconnect_pause_max: Duration::from_millis(100),
            ..RpcConfig::new("127.0.0.1", self.port, auth)
        }
    }
}

async fn serve(
    listener: TcpListener,
    script: Arc<Mutex<HashMap<&'static str, Act>>>,
    credentials: Arc<Mutex<String>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, credentials) = (Arc::clone(&script), Arc::clone(&credentials));
        connections.spawn(async move {
            while_answering(BufReader::new(stream), &script, &credentials).await
        });
    }
}

async fn while_answering(
    mut stream: BufReader<TcpStream>,
    script: &Mutex<HashMap<&'static str, Act>>,
    credentials: &Mutex<String>,
) -> Option<()> {
    loop {
        let (mut length, mut auth) = (0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let (name, value) = line.trim().split_once(": ").unwrap_or((line.trim(), ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.parse().ok()?,
                "authorization" => auth = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let call: Value = serde_json::from_slice(&body).ok()?;
        let is_long_poll = call["params"][0]["longpollid"].is_string();
        let method = if is_long_poll {
            "longpoll"
        } else {
            call["method"].as_str()?
        };
        let expected = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(&*credentials.lock().unwrap())
        );
        let act = if auth == expected {
            script.lock().unwrap().get(method).cloned()?
        } else {
            Act::Status(401)
        };
        let answer = match act {
            Act::Say(body) => format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            Act::Status(status) => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
            Act::Hang => core::future::pending().await,
            Act::Close => return None,
            Act::Flood => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"result\":\"")
                    .await
                    .ok()?;
                while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
                return None;
            }
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn until(
    node: &RpcNode,
    what: &str,
    mut is_reached: impl FnMut(&NodeState) -> bool,
) -> NodeState {
    let mut state = node.state();
    let reached = state.wait_for(|state| is_reached(state));
    match tokio::time::timeout(Duration::from_secs(20), reached).await {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!(
            "{what} not reached, state is {:?}",
            node.state().borrow().status
        ),
    }
}

async fn until_ready(node: &RpcNode) -> NodeState {
    until(node, "ready", |state| state.status.is_ready()).await
}

/// Each way to fail is a status of its own, and the node is ready again when it is over.
#[tokio::test]
async fn every_failure_is_a_status_and_passes() {
    let other_chain = reply(&CHAIN_INFO.replace("regtest", "main"));
    let (chain_info, gbt) = ("getblockchaininfo", "getblocktemplate");
    let cases = [
        (
            chain_info,
            Act::Say(error(-28, "Loading…")),
            "starting: Loading…",
        ),
        (chain_info, Act::Say("nonsense".into()), "is not a node's"),
        (chain_info, Act::Status(503), "HTTP status 503"),
        (chain_info, Act::Status(403), "rpcallowip"),
        (chain_info, Act::Status(401), "refuses the credentials"),
        (
            chain_info,
            Act::Hang,
            "no answer to getblockchaininfo within 300 ms",
        ),
        (chain_info, Act::Close, "unreachable: cannot reach the node"),
        (
            chain_info,
            Act::Say(other_chain),
            "is on chain main, not on regtest",
        ),
        (gbt, Act::Say(error(-9, "not connected")), "has no peers"),
        (
            gbt,
            Act::Say(error(-10, "initial sync")),
            "syncing: block 102 of 102, 100.00 %",
        ),
        (gbt, Act::Say(reply("{}")), "missing field"),
    ];
    for (method, act, expected) in cases {
        let fake = FakeNode::start().await;
        let healthy = fake.script.lock().unwrap().get(method).cloned().unwrap();
        fake.set(method, act);
        let node = RpcNode::spawn(RpcConfig {
            chain: Some(Network::Regtest),
            ..fake.config()
        })
        .unwrap();
        let state = until(&node, expected, |state| {
            state.status.to_string().contains(expected)
        })
        .await;
        assert!(state.template.is_none());
        fake.set(method, healthy);
        assert_eq!(
            until_ready(&node).await.template.as_deref(),
            Some(&template())
        );
        assert!(node.counters().sessions_failed.load(Ordering::Relaxed) > 0);
    }
}

/// The node of a chain for tests gives templates all the same.
#[tokio::test]
async fn a_chain_that_is_still_downloaded_is_not_mined_on() {
    let fake = FakeNode::start().await;
    let there = CHAIN_INFO.replace("regtest", "signet");
    let behind = there.replace(
        "\"initialblockdownload\": false",
        "\"initialblockdownload\": true",
    );
    fake.set("getblockchaininfo", Act::Say(reply(&behind)));
    let node = RpcNode::spawn(RpcConfig {
        chain: Some(Network::Signet),
        ..fake.config()
    })
    .unwrap();
    let is_syncing = |state: &NodeState| matches!(state.status, NodeStatus::Syncing { .. });
    let state = until(&node, "syncing", is_syncing).await;
    assert!(state.template.is_none());
    fake.set("getblockchaininfo", Act::Say(reply(&there)));
    until_ready(&node).await;
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let fake = FakeNode::start().await;
    fake.set("getblockchaininfo", Act::Flood);
    let config = RpcConfig {
        call_timeout: Duration::from_secs(20),
        ..fake.config()
    };
    let node = RpcNode::spawn(config).unwrap();
    until(&node, "too large", |state| matches!(&state.status, NodeStatus::Unreachable { reason } if reason.contains("larger than"))).await;
}

#[tokio::test]
async fn a_hang_while_ready_keeps_the_template_and_passes() {
    let fake = FakeNode::start().await;
    let node = RpcNode::spawn(fake.config()).unwrap();
    let generation = until_ready(&node).await.generation;
    let healthy = fake
        .script
        .lock()
        .unwrap()
        .get("getbestblockhash")
        .cloned()
        .unwrap();
    fake.set("getbestblockhash", Act::Hang);
    let state = until(&node, "hang", |state| {
        matches!(state.status, NodeStatus::Unreachable { .. })
    })
    .await;
    assert!(state.template.is_some());
    fake.set("getbestblockhash", healthy);
    assert!(until_ready(&node).await.generation > generation);
}

#[tokio::test]
async fn a_restarted_node_has_a_new_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join(".cookie");
    let fake = FakeNode::start().await;
    let node = RpcNode::spawn(RpcConfig {
        auth: RpcAuth::CookieFile(cookie.clone()),
        ..fake.config()
    })
    .unwrap();
    until(&node, "no cookie", |state| matches!(&state.status, NodeStatus::Unreachable { reason } if reason.contains("cookie file"))).await;
    std::fs::write(&cookie, "a:wrong").unwrap();
    until(&node, "wrong cookie", |state| {
        state.status == NodeStatus::WrongCredentials
    })
    .await;
    std::fs::write(&cookie, "a:b\n").unwrap();
    until_ready(&node).await;
    std::fs::write(&cookie, "a:new").unwrap();
    *fake.credentials.lock().unwrap() = "a:new".into();
    assert_eq!(
        node.block_standing(template().prev_hash).await,
        Ok(BlockStanding::Active { confirmations: 1 })
    );
}

#[tokio::test]
async fn a_long_poll_brings_the_new_tip_and_the_slow_poll_finds_it_otherwise() {
    let fake = FakeNode::start().await;
    let config = RpcConfig {
        long_poll_timeout: Duration::from_secs(60),
        fallback_poll_interval: Duration::from_secs(60),
        ..fake.config()
    };
    let node = RpcNode::spawn(config).unwrap();
    until_ready(&node).await;
    drop(node);

    let next_hash = bitcoin::BlockHash::from_byte_array([9; 32]).to_string();
    let next = GBT
        .replace(
            &bitcoin::BlockHash::from_byte_array(template().prev_hash).to_string(),
            &next_hash,
        )
        .replace("103", "104");
    fake.set("longpoll", Act::Say(reply(&next)));
    let node = RpcNode::spawn(RpcConfig {
        refresh_interval: Duration::from_secs(60),
        ..fake.config()
    })
    .unwrap();
    until(&node, "long poll", |state| {
        state
            .template
            .as_ref()
            .is_some_and(|template| template.height == 104)
    })
    .await;
    assert_eq!(node.counters().tips_by_long_poll.load(Ordering::Relaxed), 1);
    drop(node);

    fake.set("longpoll", Act::Hang);
    let node = RpcNode::spawn(RpcConfig {
        refresh_interval: Duration::from_secs(60),
        ..fake.config()
    })
    .unwrap();
    until_ready(&node).await;
    fake.set(
        "getblockheader",
        Act::Say(reply(&HEADER.replace("102", "103").replacen(
            &template_prev_hash(),
            &next_hash,
            1,
        ))),
    );
    fake.set("getblocktemplate", Act::Hang);
    fake.set(
        "getbestblockhash",
        Act::Say(reply(&format!("\"{next_hash}\""))),
    );
    let state = until(&node, "provisional", |state| {
        state
            .template
            .as_ref()
            .is_some_and(|template| template.is_provisional)
    })
    .await;
    assert_eq!(
        state.template.map(|template| (
            template.height,
            template.prev_hash,
            template.min_time_secs
        )),
        Some((104, [9; 32], 1_795_345_141))
    );
    fake.set("getblocktemplate", Act::Say(reply(&next)));
    until(&node, "full", |state| {
        state
            .template
            .as_ref()
            .is_some_and(|template| !template.is_provisional && template.height == 104)
    })
    .await;
    assert!(
        node.counters()
            .tips_by_fallback_poll
            .load(Ordering::Relaxed)
            > 0
    );
}

#[tokio::test]
async fn nothing_empty_comes_first_where_it_is_not_wanted() {
    let fake = FakeNode::start().await;
    let node = RpcNode::spawn(RpcConfig {
        empty_template_first: false,
        refresh_interval: Duration::from_secs(60),
        ..fake.config()
    })
    .unwrap();
    until_ready(&node).await;
    let next_hash = bitcoin::BlockHash::from_byte_array([9; 32]).to_string();
    let header = HEADER.replace("102", "103");
    let header = header.replacen(&template_prev_hash(), &next_hash, 1);
    fake.set("getblockheader", Act::Say(reply(&header)));
    let next = GBT.replace(&template_prev_hash(), &next_hash);
    let next = next.replace("103", "104");
    fake.set("getblocktemplate", Act::Say(reply(&next)));
    fake.set(
        "getbestblockhash",
        Act::Say(reply(&format!("\"{next_hash}\""))),
    );
    let is_full = |state: &NodeState| {
        let template = state.template.as_ref();
        template.is_some_and(|template| !template.is_provisional && template.height == 104)
    };
    until(&node, "full", is_full).await;
    let provisional = &node.counters().provisional_templates;
    assert_eq!(provisional.load(Ordering::Relaxed), 0);
}

fn template_prev_hash() -> String {
    bitcoin::BlockHash::from_byte_array(template().prev_hash).to_string()
}

#[tokio::test]
async fn better_fees_are_told_when_they_are_worth_it() {
    let fake = FakeNode::start().await;
    let node = RpcNode::spawn(fake.config()).unwrap();
    let first = until_ready(&node).await.generation;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        node.state().borrow().generation,
        first,
        "the same template was told twice"
    );
    fake.set(
        "getblocktemplate",
        Act::Say(reply(
            &GBT.replace("2880", "3880")
                .replace("5000005820", "5000006820"),
        )),
    );
    let state = until(&node, "better fees", |state| state.generation > first).await;
    assert_eq!(
        state.template.map(|template| template.fees_sats()),
        Some(6_820)
    );
}

/// A ZMQ publisher of hashes at a port of its own.
async fn publisher(port: u16) -> (zeromq::PubSocket, u16) {
    let mut socket = zeromq::PubSocket::new();
    let bound = socket.bind(&format!("tcp://127.0.0.1:{port}")).await;
    let zeromq::Endpoint::Tcp(_, port) = bound.unwrap() else {
        panic!("not bound to TCP")
    };
    (socket, port)
}

fn announced(port: u16) -> Act {
    let line = json!([{ "type": "pubhashblock", "address": format!("tcp://127.0.0.1:{port}"), "hwm": 1000 }]);
    Act::Say(reply(&line.to_string()))
}

/// Publishes until the node has heard it: a subscription takes a moment to arrive.
async fn publish_until_told(socket: &mut zeromq::PubSocket, node: &RpcNode, told: u64) {
    for number in 0_u32..400 {
        let mut message = zeromq::ZmqMessage::from("hashblock");
        // What is published must differ each time, or it is no news.
        message.push_back([&number.to_be_bytes()[..], &[1; 28]].concat().into());
        message.push_back(number.to_le_bytes().to_vec().into());
        socket.send(message).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if node.counters().tips_by_zmq.load(Ordering::Relaxed) > told {
            return;
        }
    }
    panic!("no message arrived");
}

#[tokio::test]
async fn a_lost_zmq_connection_is_noticed_and_made_again() {
    let fake = FakeNode::start().await;
    let (mut socket, port) = publisher(0).await;
    fake.set("getzmqnotifications", announced(port));
    // The header's block has a child: no tip, so nothing provisional is made of what is published.
    fake.set(
        "getblockheader",
        Act::Say(reply(
            &HEADER.replace("\"confirmations\": 1,", "\"confirmations\": 2,"),
        )),
    );
    let node = RpcNode::spawn(fake.config()).unwrap();
    until_ready(&node).await;
    publish_until_told(&mut socket, &node, 0).await;
    drop(socket);
    for _ in 0..400 {
        if node.counters().zmq_lost.load(Ordering::Relaxed) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(node.counters().zmq_lost.load(Ordering::Relaxed), 1);
    let told = node.counters().tips_by_zmq.load(Ordering::Relaxed);
    let (mut socket, _) = publisher(port).await;
    publish_until_told(&mut socket, &node, told).await;
    assert_eq!(
        node.counters().sessions_failed.load(Ordering::Relaxed),
        0,
        "the session outlives its ZMQ"
    );
}

#[tokio::test]
async fn a_zmq_connection_that_tells_nothing_is_given_up() {
    let fake = FakeNode::start().await;
    let (_socket, port) = publisher(0).await;
    fake.set("getzmqnotifications", announced(port));
    let node = RpcNode::spawn(fake.config()).unwrap();
    until_ready(&node).await;
    let next_hash = bitcoin::BlockHash::from_byte_array([9; 32]).to_string();
    fake.set(
        "getblockheader",
        Act::Say(reply(&HEADER.replacen(
            &template_prev_hash(),
            &next_hash,
            1,
        ))),
    );
    fake.set(
        "getblocktemplate",
        Act::Say(reply(&GBT.replace(&template_prev_hash(), &next_hash))),
    );
    fake.set(
        "getbestblockhash",
        Act::Say(reply(&format!("\"{next_hash}\""))),
    );
    until(&node, "new tip", |state| {
        state
            .template
            .as_ref()
            .is_some_and(|template| template.prev_hash == [9; 32])
    })
    .await;
    for _ in 0..400 {
        if node.counters().zmq_lost.load(Ordering::Relaxed) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a silent ZMQ connection was kept");
}
