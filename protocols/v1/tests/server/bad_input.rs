//! What breaks the rules is answered, counted, and ends a connection only when it goes on.

use std::time::Duration;

use crate::dialogue::Dialogue;
use sv1_api::line::MAX_MINER_LINE_BYTES;
use sv1_api::reject::Reject;
use sv1_api::server::{CloseReason, MAX_FAULTS, MAX_HELD_LINES, MAX_WORKERS, ServerConfig};

/// The line gets the error, and the reason is counted once.
fn check(line: &str, reason: Reject, answer: &str) {
    let mut dialogue = Dialogue::new();
    dialogue.run(&format!("> {line}\n< {answer}"));
    assert_eq!(dialogue.session.rejects().of(reason), 1, "{line}");
    assert_eq!(dialogue.session.rejects().total(), 1, "{line}");
    assert_eq!(dialogue.closed, None);
}

#[test]
fn broken_lines() {
    check(
        "not json",
        Reject::NotJson,
        "error null 20 the line is not JSON",
    );
    check(
        r#"{"id":1,"method":"mining.submit""#,
        Reject::NotJson,
        "error null 20 the line is not JSON",
    );
    let no_message = "error null 20 the line has neither a method nor a result";
    for line in [
        "[]",
        "5",
        r#""x""#,
        "null",
        r#"{"id":1}"#,
        r#"{"id":1,"method":5}"#,
    ] {
        check(line, Reject::NotAMessage, no_message);
    }
    let mut dialogue = Dialogue::new();
    dialogue.miner_sends(b"{\"id\":\"\xff\",\"method\":\"mining.ping\"}\n");
    dialogue.run("< error null 20 the line is not JSON");
}

#[test]
fn deep_nesting_is_bounded() {
    let deep = format!(
        r#"{{"id":1,"method":"mining.authorize","params":{}{}}}"#,
        "[".repeat(4_000),
        "]".repeat(4_000)
    );
    check(
        &deep,
        Reject::BadParams,
        "error 1 20 params has the wrong type",
    );
}

#[test]
fn huge_lines_are_skipped() {
    let mut dialogue = Dialogue::new();
    let huge = vec![b'x'; MAX_MINER_LINE_BYTES + 1];
    dialogue.miner_sends(&huge);
    dialogue.run("< error null 20 the line is too long");
    dialogue.miner_sends(&huge);
    dialogue.miner_sends(b"\n");
    dialogue.run(
        r#"> {"id":1,"method":"mining.ping"}
           < {"id":1,"result":"pong","error":null}"#,
    );
    assert_eq!(dialogue.session.rejects().of(Reject::LineTooLong), 1);
}

#[test]
fn unknown_methods() {
    check(
        r#"{"id":7,"method":"mining.does_not_exist","params":[]}"#,
        Reject::UnknownMethod,
        "error 7 20 unknown method",
    );
}

#[test]
fn parameters_of_the_wrong_kind() {
    for (method, params, text) in [
        ("mining.authorize", "[]", "user is missing"),
        ("mining.authorize", "[1e999]", "params has the wrong type"),
        (
            "mining.authorize",
            r#"["\ud800"]"#,
            "params has the wrong type",
        ),
        ("mining.authorize", r#""x""#, "params has the wrong type"),
        ("mining.authorize", "null", "user is missing"),
        ("mining.authorize", "[5]", "user has the wrong type"),
        (
            "mining.authorize",
            r#"{"user":"a"}"#,
            "params has the wrong type",
        ),
        ("mining.configure", "[5,6]", "extensions has the wrong type"),
        (
            "mining.configure",
            r#"[["a"],6]"#,
            "extension parameters has the wrong type",
        ),
        (
            "mining.suggest_difficulty",
            "[0]",
            "difficulty is out of range",
        ),
        (
            "mining.suggest_difficulty",
            r#"["x"]"#,
            "difficulty has the wrong type",
        ),
        (
            "mining.suggest_target",
            r#"["00"]"#,
            "target has the wrong length",
        ),
        (
            "mining.submit",
            r#"["a","1","00","00"]"#,
            "params has the wrong length",
        ),
        (
            "mining.submit",
            r#"["a",1,"00","0","0"]"#,
            "job id has the wrong type",
        ),
        (
            "mining.submit",
            r#"["a","1","000","0","0"]"#,
            "extranonce2 is not hexadecimal",
        ),
        (
            "mining.submit",
            r#"["a","1","00","123456789","0"]"#,
            "ntime has the wrong length",
        ),
        (
            "mining.submit",
            r#"["a","1","00","0","+1"]"#,
            "nonce is not hexadecimal",
        ),
        (
            "mining.submit",
            r#"["a","1","00","0","0","xyz"]"#,
            "version bits is not hexadecimal",
        ),
    ] {
        check(
            &format!(r#"{{"id":3,"method":"{method}","params":{params}}}"#),
            Reject::BadParams,
            &format!("error 3 20 {text}"),
        );
    }
}

#[test]
fn shares_before_subscribe_and_before_authorize() {
    const SHARE: &str =
        r#"{"id":3,"method":"mining.submit","params":["a","1","0000000000000000","0","0"]}"#;
    check(SHARE, Reject::NotSubscribed, "error 3 25 subscribe first");
    Dialogue::new().run(&format!(
        r#"> {{"id":1,"method":"mining.subscribe","params":[]}}
           < subscribed 1
           > {SHARE}
           < error 3 24 this worker is not authorized"#
    ));
}

#[test]
fn a_second_subscribe_gets_the_same_and_one_too_early_an_error() {
    Dialogue::new().run(
        r#"! passive
           > {"id":1,"method":"mining.subscribe","params":[]}
           > {"id":2,"method":"mining.subscribe","params":[]}
           ! grant
           < subscribed 1
           < error 2 20 a subscription is under way
           > {"id":3,"method":"mining.subscribe","params":[]}
           < subscribed 3"#,
    );
}

#[test]
fn answers_to_nothing_are_counted() {
    let mut dialogue = Dialogue::new();
    dialogue.run(r#"> {"id":99,"result":true,"error":null}"#);
    assert_eq!(dialogue.session.rejects().of(Reject::UnexpectedResponse), 1);
}

#[test]
fn who_misbehaves_now_and_then_stays_and_who_goes_on_is_closed() {
    let mut patient = Dialogue::new();
    patient.run(
        r#"> {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1
           > {"id":2,"method":"mining.authorize","params":["a"]}
           < ok 2"#,
    );
    for _ in 0..2 * MAX_FAULTS {
        patient.run("> x\n< error null 20 the line is not JSON\n! wait 10");
    }
    assert_eq!(patient.closed, None);

    let mut hasty = Dialogue::new();
    for _ in 0..=MAX_FAULTS {
        assert_eq!(hasty.closed, None);
        hasty.run("> x\n< error null 20 the line is not JSON");
    }
    assert_eq!(hasty.closed, Some(CloseReason::TooManyFaults));
    hasty.run("> {\"id\":1,\"method\":\"mining.ping\"}");
}

#[test]
fn lines_a_second_are_limited() {
    let config = ServerConfig {
        max_lines_per_sec: 2,
        max_line_burst: 5,
        ..ServerConfig::default()
    };
    const PING: &str = "> {\"id\":1,\"method\":\"mining.ping\"}\n";
    const PONG: &str = "< {\"id\":1,\"result\":\"pong\",\"error\":null}\n";
    let mut dialogue = Dialogue::with(config);
    for _ in 0..20 {
        dialogue.run(&format!("{PING}{PONG}! wait 0.5"));
    }
    for _ in 0..5 {
        dialogue.run(&format!("{PING}{PONG}"));
    }
    dialogue.run(PING);
    assert_eq!(dialogue.closed, Some(CloseReason::TooManyLines));
}

#[test]
fn a_miner_that_does_not_log_in_or_finds_nothing_is_closed() {
    let mut silent = Dialogue::new();
    silent.run(
        r#"> {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1
           ! wait 59"#,
    );
    assert_eq!(silent.closed, None);
    silent.run("! wait 1");
    assert_eq!(silent.closed, Some(CloseReason::LoginTimeout));
    assert_eq!(silent.session.poll_timeout(), None);

    let mut idle = Dialogue::with(ServerConfig {
        share_timeout: Duration::from_secs(100),
        ..ServerConfig::default()
    });
    idle.run(
        r#"> {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1
           > {"id":2,"method":"mining.authorize","params":["a"]}
           < ok 2
           ! job j1
           < difficulty 1
           < clean job j1
           ! wait 99
           > {"id":3,"method":"mining.submit","params":["a","j1","0000000000000000","0","0"]}
           < ok 3
           ! wait 99"#,
    );
    assert_eq!(idle.closed, None);
    idle.run("! wait 1");
    assert_eq!(idle.closed, Some(CloseReason::NoShares));
}

#[test]
fn lines_held_back_and_workers_are_limited() {
    let mut dialogue = Dialogue::new();
    dialogue.run("! passive\n> {\"id\":1,\"method\":\"mining.subscribe\"}");
    for _ in 0..MAX_HELD_LINES {
        dialogue.run("> {\"id\":1,\"method\":\"mining.ping\"}");
        assert_eq!(dialogue.closed, None);
    }
    dialogue.run("> {\"id\":1,\"method\":\"mining.ping\"}");
    assert_eq!(dialogue.closed, Some(CloseReason::TooManyHeld));

    let mut farm = Dialogue::new();
    for number in 0..MAX_WORKERS {
        farm.run(&format!(
            "> {{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"w{number}\"]}}\n< ok 1"
        ));
    }
    farm.run(
        r#"> {"id":1,"method":"mining.authorize","params":["one too many"]}
           < error 1 24 too many workers on one connection"#,
    );
}
