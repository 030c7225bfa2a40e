//! Our miner on a pool made of the peer's crates, which has its templates from our template provider.
//!
//! Each block goes the whole way: our template, the peer's job, our hashes, the peer's validation and coinbase, our
//! node's verdict.

use std::net::TcpListener;
use std::thread;

use roles_logic_sv2::channels::ChannelKind;
use stratum_interop::client::REQUIRES_STANDARD_JOBS;
use stratum_interop::ours::{Home, client_security};
use stratum_interop::pool::{Goal, Outcome, serve};
use stratum_mining_device::{Config, MiningDevice};
use stratum_runtime::Shutdown;

const BLOCKS: u32 = 3;

const SHARES: u32 = 20;

fn mine(channel: ChannelKind, goal: Goal) -> (Home, Outcome) {
    let home = Home::default();
    let provider = home.start_template_provider().local_addr();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pool = thread::spawn(move || serve(&listener, provider, goal));

    let config = Config {
        security: client_security(),
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
    let (home, outcome) = mine(ChannelKind::Standard, Goal::Blocks(BLOCKS));
    assert_eq!(outcome.flags, REQUIRES_STANDARD_JOBS);
    check(&home, &outcome);
}

#[test]
fn our_miner_works_for_the_peer_on_an_extended_channel() {
    let (home, outcome) = mine(ChannelKind::Extended, Goal::Blocks(BLOCKS));
    assert_eq!(outcome.flags, 0);
    check(&home, &outcome);
}

/// Nothing changes while these are found, so none is stale: the peer takes every one.
#[test]
fn the_peer_takes_every_share_of_our_miner() {
    for channel in [ChannelKind::Standard, ChannelKind::Extended] {
        let (home, outcome) = mine(channel, Goal::Shares(SHARES));
        assert_eq!((outcome.accepted, outcome.blocks), (SHARES, 0));
        assert!(outcome.rejected.is_empty(), "{outcome:?}");
        assert_eq!(home.height(), 0);
    }
}
