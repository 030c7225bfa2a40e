//! Our miner on a pool made of the peer's crates, which has its templates from our template provider.
//!
//! Each block goes the whole way: our template, the peer's job, our hashes, the peer's validation and coinbase, our
//! node's verdict.

use std::net::TcpListener;
use std::thread;

use network_helpers_sv2::ClientSecurity;
use roles_logic_sv2::channels::ChannelKind;
use stratum_interop::client::REQUIRES_STANDARD_JOBS;
use stratum_interop::ours::{Home, authority};
use stratum_interop::pool::{Outcome, serve};
use stratum_mining_device::{Config, MiningDevice};
use stratum_runtime::Shutdown;

const BLOCKS: u32 = 3;

fn mine(channel: ChannelKind) -> (Home, Outcome) {
    let home = Home::default();
    let provider = home.start_template_provider().local_addr();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pool = thread::spawn(move || serve(&listener, provider, BLOCKS));

    let authority = noise_sv2::AuthorityPublicKey::from_bytes(&authority()).unwrap();
    let config = Config {
        security: ClientSecurity::Noise {
            authority: Some(authority),
        },
        channel,
        ..Config::new(address.to_string().parse().unwrap())
    };
    let shutdown = Shutdown::new();
    let device = {
        let _inside = home.runtime.enter();
        MiningDevice::start(config, shutdown.clone())
    };
    let outcome = pool.join().expect("the peer finds nothing wrong");
    shutdown.drain();
    home.runtime.block_on(device.join());
    (home, outcome)
}

fn check(home: &Home, outcome: &Outcome) {
    assert_eq!(outcome.blocks, BLOCKS);
    assert!(outcome.accepted >= BLOCKS);
    // A share that was under way when the tip changed is nobody's fault.
    let faults: Vec<_> = outcome
        .rejected
        .keys()
        .filter(|code| *code != sri::mining_sv2::ERROR_CODE_SUBMIT_SHARES_STALE_SHARE)
        .collect();
    assert!(faults.is_empty(), "{outcome:?}");
    assert_eq!(home.height(), BLOCKS);
}

#[test]
fn our_miner_works_for_the_peer_on_a_standard_channel() {
    let (home, outcome) = mine(ChannelKind::Standard);
    assert_eq!(outcome.flags, REQUIRES_STANDARD_JOBS);
    check(&home, &outcome);
}

#[test]
fn our_miner_works_for_the_peer_on_an_extended_channel() {
    let (home, outcome) = mine(ChannelKind::Extended);
    assert_eq!(outcome.flags, 0);
    check(&home, &outcome);
}
