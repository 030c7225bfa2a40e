//! The program as a reader of the README runs it.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client_and_server"));
    // A program that hangs ends all the same, and fails what is asserted of it.
    command
        .args(["--every-ms", "10", "--seconds", "30"])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What stands behind `start` in each line that begins so.
fn behind<'a>(printed: &'a str, start: &str) -> Vec<&'a str> {
    let lines = printed.lines();
    lines.filter_map(|line| line.strip_prefix(start)).collect()
}

#[test]
fn a_miner_logs_in_gets_jobs_and_has_its_shares_accepted() {
    let output = run(&["--address", "127.0.0.1:0", "--count", "8"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let asked = behind(&printed, "client sends ");
    assert_eq!(asked, behind(&printed, "server hears "), "{printed}");
    let methods = [
        "mining.configure",
        "mining.subscribe",
        "mining.authorize",
        "mining.extranonce.subscribe",
        "mining.submit",
    ];
    for (line, method) in asked.iter().zip(methods) {
        assert!(line.contains(method), "{method}: {printed}");
    }
    let shares = asked.iter().filter(|line| line.contains("mining.submit"));
    assert_eq!(shares.count(), 8, "{printed}");

    let heard = behind(&printed, "client hears ");
    let is_job = |line: &&&str| line.contains(r#""method":"mining.notify""#);
    assert!(heard.iter().filter(is_job).count() >= 2, "{printed}");
    assert_eq!(
        behind(&printed, "client notes Accepted").len(),
        8,
        "{printed}"
    );
    let end = "client has submitted 8, accepted 8, rejected 0\n";
    assert!(printed.ends_with(end), "{printed}");
}

#[test]
fn a_port_in_use_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--address", &address, "--count", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let start = format!("error: cannot listen on {address} (`--address`): port ");
    assert!(
        said.starts_with(&start) && said.ends_with("choose another port\n"),
        "{said}"
    );
}
