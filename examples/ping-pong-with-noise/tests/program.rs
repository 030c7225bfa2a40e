//! The program as a reader of the README runs it.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ping_pong_with_noise"));
    // A program that hangs ends all the same, and fails what is asserted of it.
    command
        .args(["--address", "127.0.0.1:0", "--count", "3"])
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
fn the_bytes_of_each_ping_come_back() {
    let output = run(&[]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sent = behind(&printed, "client: sent Ping ");
    assert_eq!(sent.len(), 3, "{printed}");
    assert_eq!(sent, behind(&printed, "server: received Ping "));
    assert_eq!(sent, behind(&printed, "client: received Pong "));
}

#[test]
fn the_authority_is_fresh_and_the_client_takes_no_other() {
    let earlier = text(&run(&[]).stdout);
    let authority = behind(&earlier, "server: my authority is ")[0];
    let output = run(&["--expect", authority]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("failed the handshake")
            && said.ends_with("check the authority key, and the clock of this machine\n"),
        "{said}"
    );
    assert!(!text(&output.stdout).contains("sent Ping"));
}
