//! The example `examples/sv2-proxy`: the test pool, the mining proxy and the miner as a script starts them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../examples/sv2-proxy/run.sh"
    );
    Command::new(script).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn shares_of_a_standard_channel_reach_the_pool_through_the_proxy() {
    let output = run(&["--seconds", "8"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let of = |name: &str| {
        let start = format!("{name:<5} | ");
        let lines = said.lines();
        let lines = lines.filter_map(|line| line.strip_prefix(&start));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let pool = of("pool");
    let is_said = |lines: &[String], part: &str| lines.iter().any(|line| line.contains(part));
    assert!(
        is_said(&pool, "standard channel 2 of group 1 opened"),
        "{said}"
    );
    assert!(is_said(&pool, ": good, difficulty"), "{said}");
    assert!(is_said(&pool, "-> NewExtendedMiningJob"), "{said}");
    // A share may cross the new block on its way.
    let bad = pool.iter().filter(|line| line.contains(": bad: "));
    assert!(bad.count() <= 1, "{said}");
    assert!(is_said(&of("proxy"), "mining proxy listens"), "{said}");
    assert!(is_said(&of("miner"), " accepted, "), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("the pool has judged "), "{said}");
}

#[test]
fn what_it_is_not_told_it_does_not_do() {
    for (arguments, code, said) in [
        (&["--seconds", "soon"][..], 1, "`soon` is none"),
        (&["--seconds"], 1, "--seconds takes a number"),
        (&["now"], 2, "usage"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(said), "{arguments:?}");
    }
}
