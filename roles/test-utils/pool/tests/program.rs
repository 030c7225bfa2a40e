//! The program as a reader of the guide runs it.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::io::{BufRead, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use noise_sv2::AuthoritySecretKey;
use stratum_mining_device::workers::Effort;
use stratum_mining_device::{Config, MiningDevice};
use stratum_runtime::Shutdown;
use stratum_test_pool::Misbehaviour;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-pool"));
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Running {
    program: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn start(arguments: &[&str]) -> Running {
    // A program that hangs ends all the same, and fails what is asserted of it.
    let arguments = [&["--port", "0", "--seconds", "60"], arguments].concat();
    let mut program = program(&arguments).spawn().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    Running { program, lines }
}

impl Running {
    fn says(&mut self, line: &str) {
        let input = self.program.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    fn hears(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_shares_and_the_miner_has_the_last_answer() {
    let mut pool = start(&["--shares", "3", "--quiet"]);
    let url = pool.hears().split_off("test pool: ".len());
    let shutdown = Shutdown::new();
    let miner = MiningDevice::start(
        Config {
            user_identity: "alice".try_into().unwrap(),
            nominal_hashrate: Some(1_000.0),
            effort: Effort::full(NonZeroUsize::MIN),
            ..Config::new(url.parse().unwrap())
        },
        shutdown.clone(),
    );
    let ended = tokio::task::spawn_blocking(move || {
        let said: Vec<String> = pool.lines.map(Result::unwrap).collect();
        (said, pool.program.wait().unwrap())
    });
    let (said, status) = ended.await.unwrap();
    assert!(status.success(), "{said:?}");
    let good = said
        .iter()
        .filter(|line| line.contains(": good, difficulty"));
    assert!(good.count() >= 3, "{said:?}");
    assert!(!said.iter().any(|line| line.contains("<-")), "{said:?}");
    let is_summary = |line: &String| line.starts_with("pool: connections 1, channels 1, good");
    assert!(said.iter().any(is_summary), "{said:?}");
    assert!(miner.snapshot().acknowledged >= 3, "{:?}", miner.snapshot());
    shutdown.end();
    miner.join().await;
}

#[test]
fn it_lists_all_misbehaviours() {
    let output = run(&["--list"]);
    let said = text(&output.stdout);
    assert!(output.status.success());
    for listed in Misbehaviour::list() {
        let is_listed = |line: &str| line.starts_with(listed.name) && line.ends_with(listed.line);
        assert!(said.lines().any(is_listed), "{}: {said}", listed.name);
    }
}

#[test]
fn it_takes_commands_by_hand_and_says_what_is_wrong_with_them() {
    let key = AuthoritySecretKey::from_bytes(&[3; 32]).unwrap();
    let mut pool = start(&["--key", &key.to_text()]);
    let first = pool.hears();
    assert!(
        first.starts_with("test pool: stratum2+tcp://127.0.0.1:"),
        "{first}"
    );
    assert!(first.ends_with(&key.public_key().to_string()), "{first}");
    pool.says("sulk");
    let error = "pool: there is no misbehaviour `sulk`; `test-pool --list` names all";
    assert_eq!(pool.hears(), error);
    pool.says("silent for 5m");
    assert_eq!(pool.hears(), "pool: silent, connections: 0");
    pool.says("counters");
    let counters = "pool: connections 0, channels 0, good shares 0, bad shares 0, blocks 0";
    assert_eq!(pool.hears(), counters);
    pool.says("stop");
    assert_eq!(pool.hears(), counters);
    assert!(pool.program.wait().unwrap().success());
}

#[test]
fn it_plays_a_script_and_ends_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(
        &script,
        "# a script\nafter 10ms silent 20ms\nafter 50ms new-block\n",
    )
    .unwrap();
    let script = script.to_str().unwrap();
    let output = run(&[
        "--port",
        "0",
        "--plain",
        "--script",
        script,
        "--misbehave",
        "slow 5ms",
        "--seconds",
        "1",
    ]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<_> = said.lines().skip(1).take(4).collect();
    let expected = [
        "pool: slow 5ms, connections: 0",
        "pool: silent, connections: 0",
        "pool: silent is over",
        "pool: new-block, connections: 0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_it_cannot_do_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "behave\nsulk\n").unwrap();
    let script = script.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases: [(&[&str], &str); 7] = [
        (
            &["--script", script],
            "line 2: there is no misbehaviour `sulk`",
        ),
        (&["--script", "/nowhere"], "cannot read /nowhere"),
        (
            &["--misbehave", "slow"],
            "--misbehave: `slow` needs an argument",
        ),
        (&["--key", "abc"], "--key is no authority's secret key"),
        (&["--port", &port], "in use"),
        (&["--difficulty", "0"], "difficulty"),
        (&["--extranonce-size", "40"], "extranonce"),
    ];
    for (arguments, said) in cases {
        let arguments = [&["--seconds", "1"], arguments].concat();
        let output = run(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.starts_with("error: ") && error.contains(said),
            "{error}"
        );
    }
}
