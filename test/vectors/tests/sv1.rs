//! Runs `sv1.json`: lines of Sv1, worked shares, and what is translated from and to Sv2.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use mining_sv2::{NewExtendedMiningJob, SetNewPrevHash};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::merkle::sha256d;
use roles_logic_sv2::target::Target;
use serde_json::{Map, Value, json};
use stratum_translation::difficulty;
use stratum_translation::mapping::{self, ShareTerms};
use stratum_vectors::{array, bytes, list, load, text, to_hex, uint};
use sv1_api::Id;
use sv1_api::client::{ClientConfig, ClientEvent, ClientOutput, ClientSession, FoundShare};
use sv1_api::client_message::{ClientMessage, MINIMUM_DIFFICULTY, Submit, VERSION_ROLLING};
use sv1_api::message::{Message, Request, Response, request_line};
use sv1_api::server_message::{ConfigureReply, Outcome, ServerMessage, SubscribeReply, swap_words};

fn sv1() -> Value {
    load("sv1.json")
}

/// What a line means, under the names of the vectors.
type Meaning = Map<String, Value>;

fn meaning(value: Value) -> Meaning {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn id_value(id: &Id) -> Value {
    serde_json::from_str(id.as_json()).unwrap()
}

/// Numbers are equal by value: 2 is 2.0.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn client_meaning(message: &ClientMessage) -> Meaning {
    meaning(match message {
        ClientMessage::Configure(message) => json!({
            "extensions": message.extensions,
            "version_rolling_mask": message.version_rolling_mask,
            "min_bit_count": message.min_bit_count,
            "minimum_difficulty": message.minimum_difficulty.map(|it| it.as_f64()),
        }),
        ClientMessage::Subscribe(message) => {
            json!({"user_agent": message.user_agent, "session": message.session})
        }
        ClientMessage::Authorize(message) => {
            json!({"username": message.user, "password": message.password})
        }
        ClientMessage::Submit(message) => json!({
            "worker": message.worker,
            "job_id": message.job_id,
            "extranonce2": to_hex(&message.extranonce2),
            "ntime": message.ntime,
            "nonce": message.nonce,
            "version_bits": message.version_bits,
        }),
        ClientMessage::SuggestDifficulty(difficulty) => json!({"difficulty": difficulty.as_f64()}),
        ClientMessage::SuggestTarget(target) => json!({"target_be_hex": target.to_string()}),
        _ => json!({}),
    })
}

fn server_meaning(message: &ServerMessage) -> Meaning {
    meaning(match message {
        ServerMessage::Notify(message) => json!({
            "job_id": message.job_id,
            "prev_hash_header_bytes": to_hex(message.prev_hash),
            "coinb1": to_hex(&message.coinbase_prefix),
            "coinb2": to_hex(&message.coinbase_suffix),
            "merkle_branch": message.merkle_path.iter().map(to_hex).collect::<Vec<_>>(),
            "version": message.version,
            "nbits": message.nbits,
            "ntime": message.ntime,
            "clean_jobs": message.clean_jobs,
        }),
        ServerMessage::SetDifficulty(difficulty) => json!({"difficulty": difficulty.as_f64()}),
        ServerMessage::SetExtranonce(message) => json!({
            "extranonce1": to_hex(&message.extranonce1),
            "extranonce2_size": message.extranonce2_size,
        }),
        ServerMessage::SetVersionMask(mask) => json!({"mask": mask}),
        ServerMessage::Reconnect(message) => {
            json!({"host": message.host, "port": message.port, "wait": message.wait_secs})
        }
        ServerMessage::ShowMessage(message) => json!({"message": message}),
        _ => json!({}),
    })
}

fn outcome(reply: &ConfigureReply, extension: &str) -> Value {
    match reply.outcome(extension) {
        Some(Outcome::Yes) => json!(true),
        Some(Outcome::No) => json!(false),
        Some(Outcome::Failed(text)) => json!(text),
        None => Value::Null,
    }
}

fn response_meaning(method: &str, response: &Response) -> Meaning {
    let error = response.error.as_ref().map(|error| error.to_json());
    let mut all = meaning(json!({"result": response.result, "error": error}));
    match method {
        "mining.configure" => {
            let reply = ConfigureReply::from_json(&response.result).unwrap();
            all.insert("version_rolling".into(), outcome(&reply, VERSION_ROLLING));
            all.insert(
                "minimum_difficulty".into(),
                outcome(&reply, MINIMUM_DIFFICULTY),
            );
            all.insert("mask".into(), json!(reply.version_rolling_mask));
        }
        "mining.subscribe" => {
            let reply = SubscribeReply::from_json(&response.result).unwrap();
            let extranonce1 = to_hex(&reply.extranonce.extranonce1);
            all.insert("extranonce1".into(), json!(extranonce1));
            let size = reply.extranonce.extranonce2_size;
            all.insert("extranonce2_size".into(), json!(size));
            all.insert("subscriptions".into(), json!(reply.subscriptions.len()));
            // What is read can be written.
            let again = SubscribeReply::from_json(&reply.to_json());
            assert_eq!(again, Ok(reply));
        }
        _ => {}
    }
    all
}

fn request_of(line: &str) -> Request<'_> {
    match Message::parse(line.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{line} is no request: {other:?}"),
    }
}

/// A request means the same after it was written and read again.
fn request_meaning(direction: &str, request: &Request<'_>) -> Meaning {
    if direction == "s2c" {
        let message = ServerMessage::parse(request).unwrap();
        let line = message.to_line(&request.id);
        assert_eq!(
            ServerMessage::parse(&request_of(&line)),
            Ok(message.clone()),
            "{line}"
        );
        server_meaning(&message)
    } else {
        let message = ClientMessage::parse(request).unwrap();
        let line = message.to_line(&request.id);
        assert_eq!(request_of(&line).id, request.id);
        assert_eq!(
            ClientMessage::parse(&request_of(&line)),
            Ok(message.clone()),
            "{line}"
        );
        client_meaning(&message)
    }
}

#[test]
fn accepted_lines_mean_what_the_vectors_say() {
    for vector in list(&sv1(), "lines") {
        if text(vector, "expected") != "accept" {
            continue;
        }
        let (line, method) = (text(vector, "line"), text(vector, "method"));
        let message = Message::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        let (id, mut found) = match &message {
            Message::Request(request) => {
                assert_ne!(text(vector, "kind"), "response", "{line}");
                assert_eq!(request.method, method, "{line}");
                (
                    &request.id,
                    request_meaning(text(vector, "direction"), request),
                )
            }
            Message::Response(response) => {
                assert_eq!(text(vector, "kind"), "response", "{line}");
                (&response.id, response_meaning(method, response))
            }
        };
        found.insert("id".into(), id_value(id));
        for (name, wanted) in vector["parsed"].as_object().unwrap() {
            let got = found
                .get(name)
                .unwrap_or_else(|| panic!("{name} has no meaning: {line}"));
            assert!(
                is_same(got, wanted),
                "{name} is {got}, not {wanted}: {line}"
            );
        }
    }
}

#[test]
fn rejected_lines_are_no_message_in_either_direction() {
    for vector in list(&sv1(), "lines") {
        if text(vector, "expected") != "reject" {
            continue;
        }
        let line = text(vector, "line");
        if let Ok(Message::Request(request)) = Message::parse(line.as_bytes()) {
            let for_server = ClientMessage::parse(&request);
            let for_client = ServerMessage::parse(&request);
            assert!(
                for_server.is_err() && for_client.is_err(),
                "{line} is accepted"
            );
        } else if let Ok(Message::Response(response)) = Message::parse(line.as_bytes()) {
            panic!("{line} is accepted as {response:?}");
        }
    }
}

/// A miner's session that was given the extranonce and mask of a vector.
fn miner_of(vector: &Value, now: Now) -> ClientSession {
    let mut miner = ClientSession::new(ClientConfig::new("pool.example", "w"), now);
    let mask = vector["version_mask"].as_str();
    let configured = match mask {
        Some(mask) => json!({"version-rolling": true, "version-rolling.mask": mask}),
        None => json!({"version-rolling": false}),
    };
    let subscribed = json!([
        [],
        text(vector, "extranonce1"),
        uint(vector, "extranonce2_size")
    ]);
    for (id, result) in [(1, configured), (2, subscribed), (3, json!(true))] {
        let line = json!({"id": id, "result": result, "error": null}).to_string();
        miner.handle_line(line.as_bytes(), now);
    }
    let difficulty: Value = serde_json::from_str(&match &vector["share_difficulty"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
    .unwrap();
    let line = request_line(&Id::NULL, "mining.set_difficulty", &json!([difficulty]));
    miner.handle_line(line.as_bytes(), now);
    miner
}

fn submitted(line: &str) -> Submit {
    match ClientMessage::parse(&request_of(line)) {
        Ok(ClientMessage::Submit(submit)) => submit,
        other => panic!("{line} is no share: {other:?}"),
    }
}

#[test]
fn worked_shares_hash_as_the_vectors_say() {
    for vector in list(&sv1(), "worked_shares") {
        let (name, steps, now) = (text(vector, "name"), &vector["steps"], Now::default());
        let mut miner = miner_of(vector, now);
        miner.handle_line(text(vector, "notify_line").as_bytes(), now);
        let outputs = std::iter::from_fn(|| miner.poll_output());
        let job = outputs.filter_map(|output| match output {
            ClientOutput::Event(ClientEvent::Work(job)) => Some(job),
            _ => None,
        });
        let job = job.last().unwrap_or_else(|| panic!("{name}: no job"));
        let submit = submitted(text(vector, "submit_line"));
        let mask = (miner.version_mask() != 0).then_some(miner.version_mask());
        let version = mapping::version(job.notify().version, mask, submit.version_bits);
        let share = FoundShare {
            extranonce2: &submit.extranonce2,
            ntime: submit.ntime,
            nonce: submit.nonce,
            version,
        };
        let coinbase = job.coinbase(&submit.extranonce2);
        assert_eq!(coinbase, bytes(steps, "coinbase_tx"), "{name}");
        assert_eq!(
            sha256d(&coinbase),
            array(steps, "coinbase_txid_le"),
            "{name}"
        );
        let header = job.header(&share);
        assert_eq!(header.merkle_root, array(steps, "merkle_root"), "{name}");
        assert_eq!(
            header.prev_hash,
            array(steps, "prev_hash_header_bytes"),
            "{name}"
        );
        for (field, value) in [
            ("version", header.version),
            ("ntime", header.ntime),
            ("nbits", header.nbits),
            ("nonce", header.nonce),
        ] {
            assert_eq!(u64::from(value), uint(steps, field), "{field} of {name}");
        }
        assert_eq!(to_hex(header.to_bytes()), text(steps, "header"), "{name}");
        let hash = header.hash();
        let mut displayed = hash;
        displayed.reverse();
        assert_eq!(to_hex(displayed), text(steps, "hash_display"), "{name}");
        assert_eq!(
            job.target().to_string(),
            text(steps, "share_target_be"),
            "{name}"
        );
        let is_share = job.target().is_met_by(&hash);
        assert_eq!(json!(is_share), steps["meets_share_target"], "{name}");
        let network = Target::from_nbits(header.nbits).unwrap();
        let is_block = network.is_met_by(&hash);
        assert_eq!(json!(is_block), steps["meets_network_target"], "{name}");
        // A quotient of two rounded numbers is off by no more than three roundings.
        let difficulty = difficulty::rounded(Target::from_le_bytes(hash)).unwrap();
        let wanted = steps["hash_difficulty"].as_f64().unwrap();
        let error = difficulty.as_f64() / wanted - 1.0;
        assert!(error.abs() < 3.0 * f64::EPSILON, "{name}");
        // What the miner would send is the line itself, but for the worker's name and the id.
        miner.submit(&job, &share).unwrap();
        let Some(ClientOutput::Send(line)) = miner.poll_output() else {
            panic!("{name}: nothing sent");
        };
        let again = submitted(&line);
        assert_eq!(
            mapping::version(job.notify().version, mask, again.version_bits),
            version
        );
        assert_eq!(
            (&again.job_id, again.nonce, again.ntime),
            (&submit.job_id, submit.nonce, submit.ntime)
        );
    }
}

#[test]
fn prev_hashes_are_swapped_by_words() {
    for vector in list(&sv1(), "prevhash") {
        let header: [u8; 32] = array(vector, "header_bytes");
        assert_eq!(to_hex(swap_words(header)), text(vector, "sv1_prevhash"));
        assert_eq!(swap_words(array(vector, "sv1_prevhash")), header);
        let mut displayed = header;
        displayed.reverse();
        assert_eq!(to_hex(displayed), text(vector, "display"));
    }
}

fn u32_of(value: &Value, key: &str) -> u32 {
    uint(value, key).try_into().unwrap()
}

#[test]
fn extended_jobs_become_notify() {
    for vector in list(&sv1(), "sv2_job_to_notify") {
        let (job, tip) = (
            &vector["new_extended_mining_job"],
            &vector["set_new_prev_hash"],
        );
        let path: Vec<binary_sv2::U256> = job["merkle_path"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                binary_sv2::U256(
                    stratum_vectors::unhex(node.as_str().unwrap())
                        .try_into()
                        .unwrap(),
                )
            })
            .collect();
        let min_ntime = &job["min_ntime"];
        let notify = mapping::notify(
            &NewExtendedMiningJob {
                channel_id: 1,
                job_id: u32_of(job, "job_id"),
                min_ntime: (!min_ntime.is_null()).then(|| u32_of(job, "min_ntime")),
                version: u32_of(job, "version"),
                version_rolling_allowed: true,
                merkle_path: path.try_into().unwrap(),
                coinbase_tx_prefix: bytes(job, "coinbase_tx_prefix").try_into().unwrap(),
                coinbase_tx_suffix: bytes(job, "coinbase_tx_suffix").try_into().unwrap(),
            },
            &SetNewPrevHash {
                channel_id: 1,
                job_id: u32_of(job, "job_id"),
                prev_hash: array::<32>(tip, "prev_hash").into(),
                min_ntime: u32_of(tip, "min_ntime"),
                nbits: u32_of(tip, "nbits"),
            },
            vector["clean_jobs"].as_bool().unwrap(),
        );
        let line = ServerMessage::Notify(notify).to_line(&Id::NULL);
        let written: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(written["params"], vector["sv1_params"]);
        assert!(written["id"].is_null());
    }
}

#[test]
fn shares_become_those_of_an_extended_channel() {
    for vector in list(&sv1(), "submit_to_sv2") {
        let line = request_line(&Id::from(1), "mining.submit", &vector["sv1_params"]);
        let (submit, wanted) = (submitted(&line), &vector["submit_shares_extended"]);
        let name: mapping::JobName = submit.job_id.parse().unwrap();
        let terms = ShareTerms {
            channel_id: u32_of(wanted, "channel_id"),
            sequence_number: u32_of(wanted, "sequence_number"),
            job_id: name.job_id,
            job_version: u32_of(vector, "job_version"),
            version_mask: (!vector["mask"].is_null()).then(|| u32_of(vector, "mask")),
            extranonce_part: &[],
        };
        let share = mapping::share(&submit, &terms).unwrap();
        let found = json!({
            "channel_id": share.channel_id,
            "sequence_number": share.sequence_number,
            "job_id": share.job_id,
            "nonce": share.nonce,
            "ntime": share.ntime,
            "version": share.version,
            "extranonce": to_hex(&share.extranonce),
        });
        assert_eq!(&found, wanted);
    }
}

#[test]
fn targets_become_difficulties() {
    for vector in list(&sv1(), "target_to_set_difficulty") {
        let target = Target::from_le_bytes(array(vector, "target_le"));
        let difficulty = difficulty::rounded(target).unwrap();
        let line = ServerMessage::SetDifficulty(difficulty).to_line(&Id::NULL);
        let written: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(written["params"], vector["sv1_params"], "{target}");
    }
}
