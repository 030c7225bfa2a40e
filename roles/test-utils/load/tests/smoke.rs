//! The tool from its command line to its JSON, on a pool, a translator and a proxy of its own.

use std::process::Command;

use serde_json::Value;

fn load(options: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-load"));
    command.args(options.split_whitespace());
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options}: {said}");
    let mut lines = output.stdout.split(|byte| *byte == b'\n');
    let report = lines.next().map(serde_json::from_slice).expect("a line");
    assert_eq!(lines.next(), Some(&[][..]), "one line and no more");
    report.expect("the line is JSON")
}

#[test]
fn a_pool_of_its_own_takes_every_share() {
    for channel in ["standard", "extended"] {
        let report = load(&format!(
            "--self --connections 5 --channels 2 --seconds 1 --rounds 1 --channel {channel}"
        ));
        let shares = &report["shares"];
        assert!(shares["accepted"].as_u64() > Some(100), "{report}");
        assert_eq!(shares["rejected"], serde_json::json!({}), "{report}");
        assert!(shares["latency_us"]["p50"].as_f64() > Some(0.0), "{report}");
        assert!(
            report["floor"]["shares"]["accepted"].as_u64() > Some(100),
            "{report}"
        );
        assert!(report["cpu_to_floor"].as_f64() > Some(0.0), "{report}");
        assert_eq!(report["lost"], serde_json::json!({}), "{report}");
    }
}

#[test]
fn a_translator_of_its_own_passes_every_share_on() {
    for mode in ["", "--per-miner"] {
        let report = load(&format!(
            "--self --sv1 --connections 5 --seconds 1 --rounds 1 {mode}"
        ));
        let shares = &report["shares"];
        assert!(shares["accepted"].as_u64() > Some(100), "{report}");
        assert!(shares["latency_us"]["p50"].as_f64() > Some(0.0), "{report}");
        // Of 65 536 hashes one is no share at the lowest difficulty there is.
        let rejected = shares["rejected"].as_object().expect("an object");
        let is_chance = |code: &String| code == "low difficulty share";
        assert!(rejected.keys().all(is_chance), "{report}");
        let upstream = &shares["upstream"];
        assert!(upstream["accepted"].as_u64() > Some(100), "{report}");
        assert_eq!(upstream["missing"], 0, "{report}");
        let floor = &report["floor"]["shares"];
        assert!(floor["accepted"].as_u64() > Some(100), "{report}");
        assert!(report["cpu_to_floor"].as_f64() > Some(0.0), "{report}");
        assert_eq!(report["lost"], serde_json::json!({}), "{report}");
    }
}

#[test]
fn a_proxy_of_its_own_passes_every_share_on() {
    for (mode, is_aggregated) in [
        ("--aggregated", true),
        ("--transparent", false),
        ("", false),
    ] {
        for channel in ["standard", "extended"] {
            let report = load(&format!(
                "--self --proxy {mode} --connections 5 --channels 2 --seconds 1 --rounds 1 --channel {channel}"
            ));
            assert_eq!(report["aggregated"], is_aggregated, "{report}");
            let shares = &report["shares"];
            assert!(shares["accepted"].as_u64() > Some(100), "{report}");
            assert_eq!(shares["rejected"], serde_json::json!({}), "{report}");
            let upstream = &shares["upstream"];
            assert!(upstream["accepted"].as_u64() > Some(100), "{report}");
            assert_eq!(upstream["missing"], 0, "{report}");
            assert!(upstream["cpu_us"].as_f64() > Some(0.0), "{report}");
            assert!(report["cpu_to_floor"].as_f64() > Some(0.0), "{report}");
            assert_eq!(report["lost"], serde_json::json!({}), "{report}");
        }
    }
}

#[test]
fn every_connection_hears_of_a_new_tip() {
    hear_of_tips("--self");
    hear_of_tips("--self --sv1");
    hear_of_tips("--self --sv1 --per-miner");
    hear_of_tips("--self --proxy --aggregated");
    hear_of_tips("--self --proxy --transparent --channel extended");
}

fn hear_of_tips(options: &str) {
    let report = load(&format!("{options} --connections 5 --new-tip --rounds 2"));
    for tips in [&report["tips"], &report["floor"]["tips"]] {
        assert_eq!(
            (&tips["tips"], &tips["missed"]),
            (&2.into(), &0.into()),
            "{report}"
        );
    }
    assert!(report["tips"]["first_ms"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn shares_are_sent_at_the_rate_asked_for() {
    let report =
        load("--self --connections 5 --rate 20 --acks 1 --seconds 2 --rounds 1 --no-floor");
    let accepted = report["shares"]["accepted"].as_u64();
    assert!(
        (150..=250).contains(&accepted.expect("a number")),
        "{report}"
    );
}
