//! The miner before a pool for tests.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::{Command, Output};

use stratum_test_pool::{Reception, TestPool};

fn miner(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_small-miner"))
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_shares_are_accepted() {
    let pool = TestPool::builder().start().await.unwrap();
    let endpoint = pool.endpoint().to_string();
    let miner = tokio::task::spawn_blocking(move || miner(&[&endpoint, "--count", "3"]));
    let output = miner.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("found: nonce"), "{said}");
    assert!(!said.contains("Rejected"), "{said}");
    assert!(pool.counters().shares_good >= 3);
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_opens_no_channel_is_told() {
    let refusal = Reception::RefuseOpens("unknown-user".into());
    let builder = TestPool::builder().plain().misbehave(refusal);
    let pool = builder.start().await.unwrap();
    let address = pool.address().to_string();
    let miner = tokio::task::spawn_blocking(move || miner(&[&address, "--plain"]));
    let output = miner.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("no channel: unknown-user"), "{said}");
    pool.stop().await;
}

#[test]
fn seconds_end_it_whatever_the_pool_says() {
    // It takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let output = miner(&[&address, "--plain", "--seconds", "1"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_pool_that_is_not_there_is_told() {
    let output = miner(&["127.0.0.1:1"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot reach 127.0.0.1:1"), "{said}");
}
