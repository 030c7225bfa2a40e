//! A miner in C, on the C library as firmware links it, mines on our pool.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::hub::TemplateHub;
use network_helpers_sv2::ServerSecurity;
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::programs::{ANYWHERE, Running, authority, pool_config, server_security};
use stratum_pool::{Config, TemplateSource};

/// What a connection with one open channel may hold of the caller's memory, in bytes.
const HEAP_LIMIT: u64 = 16 * 1024;

/// Shares of each run.
const SHARES: u64 = 5;

/// An address of regtest that blocks here pay.
const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Builds the library without the standard library, and the miner on it.
fn build(root: &Path) -> PathBuf {
    let target = root.join("target/c-miner");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .current_dir(root)
        .args(["rustc", "-p", "stratum-sv2-ffi", "--profile", "firmware"])
        .args(["--no-default-features", "--features", "miner,lowmemory"])
        .args(["--crate-type", "staticlib", "--target-dir"])
        .arg(&target));
    let ffi = root.join("protocols/v2/sv2-ffi");
    let miner = target.join("miner");
    run(Command::new("cc")
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-O2",
            "-I",
        ])
        .arg(&ffi)
        .arg(ffi.join("examples/miner.c"))
        .arg(target.join("firmware/libsv2_ffi.a"))
        .arg("-o")
        .arg(&miner));
    miner
}

/// The numbers of what the miner says last: accepted, rejected, peak heap, left.
fn numbers(said: &str) -> Vec<u64> {
    let last = said.lines().last().unwrap_or_default();
    let words = last.split([' ', ',']);
    words.filter_map(|word| word.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_in_c_mines_in_16_kib() {
    let panics = PanicWatch::new();
    let root = xtask::root();
    let miner = tokio::task::spawn_blocking(move || build(&root))
        .await
        .unwrap();
    for is_noise in [false, true] {
        let node = Arc::new(EmbeddedNode::default());
        let source = TemplateSource::InProcess(TemplateHub::spawn(node));
        let security = if is_noise {
            server_security()
        } else {
            ServerSecurity::Plain
        };
        let config = Config {
            security,
            ..pool_config(ANYWHERE, ADDRESS)
        };
        let pool = Running::pool(config, source);
        let address = pool.program.local_addr();
        for is_standard in [false, true] {
            let before = pool.program.snapshot().shares_accepted;
            let mut command = Command::new(&miner);
            command.args(is_standard.then_some("--standard"));
            command.args(["--shares", &SHARES.to_string(), "--user", "farm.c"]);
            command.args([address.ip().to_string(), address.port().to_string()]);
            command.args(is_noise.then(|| authority().public_key().to_string()));
            let output = tokio::task::spawn_blocking(move || run(&mut command)).await;
            let said = String::from_utf8(output.unwrap().stdout).unwrap();
            println!("Noise {is_noise}, standard {is_standard}: {said}");
            let [accepted, _, peak, left] = numbers(&said)[..] else {
                panic!("{said}")
            };
            assert!(accepted >= SHARES, "{said}");
            assert!(!said.contains("refused"), "{said}");
            assert!((1..=HEAP_LIMIT).contains(&peak) && left == 0, "{said}");
            let counted = pool.program.snapshot().shares_accepted - before;
            assert!(counted >= SHARES, "the pool counts {counted}");
        }
        pool.stop().await;
    }
    panics.assert_none();
}
