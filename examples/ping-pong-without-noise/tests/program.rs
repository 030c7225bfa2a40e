//! The program as a reader of the README runs it.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ping_pong_without_noise"));
    // A program that hangs ends all the same, and fails what is asserted of it.
    command
        .args(arguments)
        .args(["--every-ms", "10", "--seconds", "30"])
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
fn the_bytes_of_each_ping_come_back() {
    let output = run(&["--address", "127.0.0.1:0", "--count", "3"]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sent = behind(&printed, "client: sent Ping ");
    assert_eq!(sent.len(), 3, "{printed}");
    assert!(
        sent.iter().all(|ping| ping.len() == "1: ".len() + 32),
        "{printed}"
    );
    assert!(sent[0][3..] != sent[1][3..], "random: {printed}");
    assert_eq!(sent, behind(&printed, "server: received Ping "));
    assert_eq!(sent, behind(&printed, "client: received Pong "));
    assert!(printed.contains("has gone"), "{printed}");
}

#[test]
fn seconds_end_what_has_no_count() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ping_pong_without_noise"));
    let arguments = ["--address", "127.0.0.1:0", "--seconds", "1"];
    let output = command.args(arguments).output().unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(printed.ends_with("ended after 1 s\n"), "{printed}");
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
