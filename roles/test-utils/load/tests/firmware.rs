//! Devices with small firmware on pools of the tool's own, and on a mining proxy before them.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use network_helpers_sv2::Endpoint;
use serde_json::Value;
use stratum_load::ChannelType;
use stratum_load::firmware::{Firmware, FirmwareReport, Rule};

const BOTH: [ChannelType; 2] = [ChannelType::Standard, ChannelType::Extended];

/// A server in a process of its own.
struct Server {
    child: Child,
    input: ChildStdin,
    endpoint: Endpoint,
}

impl Server {
    /// A pool whose targets follow from the claim and stay.
    fn pool() -> Self {
        Self::start("pool --acks 3 --threads 1")
    }

    fn start(role: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-load"));
        command.arg("--serve").args(role.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let input = child.stdin.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the server says where it is");
        Self {
            child,
            input,
            endpoint: line.parse().expect("an endpoint"),
        }
    }

    fn announce_tip(&mut self) {
        writeln!(self.input, "tip").expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn run(firmware: &Firmware, pool: &mut Server) -> FirmwareReport {
    let tips = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            pool.announce_tip();
        }
    };
    tokio::select! {
        report = firmware.run() => report,
        () = tips => unreachable!("tips never end"),
    }
}

#[tokio::test]
async fn the_pool_keeps_the_rules() {
    for channel in BOTH {
        let mut pool = Server::pool();
        let firmware = Firmware {
            channel,
            connections: NonZeroUsize::new(2).expect("not zero"),
            hashrate: 200_000.0,
            duration: Duration::from_secs(60),
            shares: Some(5),
            ..Firmware::new(pool.endpoint.clone())
        };
        let report = run(&firmware, &mut pool).await;
        assert!(report.is_ok(), "{report}");
        assert!(report.seen.accepted >= 10, "{report}");
        assert!(report.seen.tips > 2, "{report}");
        assert_eq!(report.seen.jobs, report.seen.tips, "{report}");
    }
}

/// Targets follow the shares, both the pool's and the proxy's, while tips come and go.
#[tokio::test]
async fn the_proxy_keeps_the_rules() {
    for (mode, channel) in ["--aggregated", "--transparent"]
        .into_iter()
        .flat_map(|mode| BOTH.map(|channel| (mode, channel)))
    {
        let case = format!("{mode}, {channel:?}");
        let mut pool = Server::start("pool --acks 3 --threads 1 --profile firmware");
        let upstream = pool.endpoint.to_string();
        let proxy = Server::start(&format!(
            "proxy --acks 3 --profile firmware --proxy {mode} --upstream {upstream}"
        ));
        let firmware = Firmware {
            channel,
            connections: NonZeroUsize::new(2).expect("not zero"),
            hashrate: 100_000.0,
            duration: Duration::from_secs(60),
            shares: Some(30),
            ..Firmware::new(proxy.endpoint.clone())
        };
        let report = run(&firmware, &mut pool).await;
        assert!(report.is_ok(), "{case}: {report}");
        assert!(report.seen.accepted >= 60, "{case}: {report}");
        assert!(report.seen.targets > 3, "{case}: {report}");
        assert!(report.seen.tips > 10, "{case}: {report}");
    }
}

#[tokio::test]
async fn who_cannot_be_reached_or_is_not_the_one_is_told() {
    let pool = Server::pool();
    let mut endpoint = pool.endpoint.clone();
    drop(pool);
    let report = Firmware::new(endpoint.clone()).run().await;
    assert_eq!(report.failed[&Rule::NotConnected], 1, "{report}");
    let other = Server::pool();
    endpoint.port = other.endpoint.port;
    let report = Firmware::new(endpoint).run().await;
    assert_eq!(report.failed[&Rule::NotConnected], 1, "{report}");
    assert!(
        report.failures[0].what.contains("authority key"),
        "{report}"
    );
}

/// The difficulty comes down from what the firmware claims, and the program tells whether that was well.
#[test]
fn a_device_that_claims_too_much_is_not_starved() {
    for channel in ["standard", "extended"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-load"));
        let options = "--self --profile firmware --connections 2 --device-hashrate 100000 --seconds 60 --shares 10";
        command
            .args(options.split(' '))
            .args(["--channel", channel]);
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        assert!(report["accepted"].as_u64() >= Some(20), "{said}");
        assert!(report["targets"].as_u64() > Some(10), "{said}");
        let failed = report["failed"].as_object().expect("an object");
        assert!(failed.is_empty() && output.status.success(), "{said}");
    }
}
