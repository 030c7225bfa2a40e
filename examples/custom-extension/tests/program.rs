//! The program as a reader of the README runs it.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::Command;

fn run(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custom_extension"));
    // A program that hangs ends all the same, and fails what is asserted of it.
    command
        .args(["--address", "127.0.0.1:0", "--count", "3"])
        .args(["--every-ms", "10", "--seconds", "30"])
        .args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What stands behind `start` in each line that begins so.
fn behind<'a>(printed: &'a str, start: &str) -> Vec<&'a str> {
    let lines = printed.lines();
    lines.filter_map(|line| line.strip_prefix(start)).collect()
}

#[test]
fn what_was_agreed_upon_is_spoken() {
    let printed = run(&[]);
    assert_eq!(
        behind(&printed, "client: 0x"),
        ["0002 is agreed upon", "400c is agreed upon"]
    );
    let sent = behind(&printed, "client: sends Temperature ");
    assert_eq!(sent.len(), 3, "{printed}");
    assert_eq!(sent, behind(&printed, "server: received Temperature "));
    let fans = behind(&printed, "client: received SetFan ");
    assert_eq!(fans.len(), 3, "{printed}");
    assert!(
        fans[2].starts_with("{ sequence_number: 3, speed_percent: "),
        "{printed}"
    );
}

#[test]
fn what_the_server_does_not_know_is_not_spoken() {
    let printed = run(&["--unknown"]);
    assert_eq!(behind(&printed, "client: 0x"), ["0002 is agreed upon"]);
    assert!(printed.contains("goes on without it"), "{printed}");
    assert!(!printed.contains("Temperature"), "{printed}");
}
