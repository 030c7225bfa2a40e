//! The pool before a miner.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, ChildStdout, Command, Stdio};

use roles_logic_sv2::channels::ChannelKind;
use stratum_mining_device::workers::Effort;
use stratum_mining_device::{Config, MiningDevice};
use stratum_runtime::Shutdown;

struct Pool {
    program: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn start(arguments: &[&str]) -> Pool {
    let mut program = Command::new(env!("CARGO_BIN_EXE_small-pool"))
        .args(["--address", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    Pool { program, lines }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_shares_of_both_kinds_of_channels() {
    for channel in [ChannelKind::Standard, ChannelKind::Extended] {
        // A pool that hangs ends all the same, and fails what is asserted of it.
        let mut pool = start(&["--count", "5", "--seconds", "60"]);
        let first = pool.lines.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap();
        let shutdown = Shutdown::new();
        let config = Config {
            channel,
            security: network_helpers_sv2::ClientSecurity::Plain,
            user_identity: "alice".try_into().unwrap(),
            nominal_hashrate: Some(1_000.0),
            effort: Effort::full(NonZeroUsize::MIN),
            ..Config::new(address.parse().unwrap())
        };
        let miner = MiningDevice::start(config, shutdown.clone());
        let (said, ended) = tokio::task::spawn_blocking(move || {
            let said: Vec<String> = pool.lines.map(Result::unwrap).collect();
            (said, pool.program.wait().unwrap())
        })
        .await
        .unwrap();
        assert!(ended.success(), "{said:?}");
        let good = said.iter().filter(|line| line.starts_with("good share"));
        assert!(good.count() >= 5, "{said:?}");
        assert!(
            said.iter().any(|line| line == "channel 2 is open"),
            "{said:?}"
        );
        assert!(
            !said.iter().any(|line| line.starts_with("bad share")),
            "{said:?}"
        );
        shutdown.end();
        miner.join().await;
    }
}

#[test]
fn seconds_end_it() {
    let mut pool = start(&["--seconds", "1"]);
    assert!(pool.program.wait().unwrap().success());
    assert_eq!(pool.lines.count(), 1);
}
