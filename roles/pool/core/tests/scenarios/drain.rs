//! The end of a connection: nothing accepted is lost.

use std::time::Duration;

use roles_logic_sv2::channels::ChannelKind::{Extended, Standard};
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::downstream::Deadlines;

use crate::common::{Miner, Pool, config};

const RECONNECT: &str = "Reconnect other.example:34254";

#[test]
fn draining_acknowledges_every_share_that_was_accepted() {
    let drain = Deadlines::default().drain;
    for is_ledger_quick in [true, false] {
        let mut pool = Pool::new(config());
        pool.is_ledger_quick = is_ledger_quick;
        let mut miner = Miner::set_up(&mut pool, 0);
        let channel = miner.open(&mut pool, Extended, "alice").unwrap();
        miner.sent();
        miner.mine(&mut pool, channel);
        miner.drain(&mut pool);
        miner.drain(&mut pool);
        miner.confirm(&mut pool);
        assert_eq!(miner.sent(), [RECONNECT, "SubmitShares.Success up to 1: 1"]);
        // The miner has not gone yet: it goes on, up to the last moment.
        miner.pass(&mut pool, drain - Duration::from_millis(1));
        miner.mine(&mut pool, channel);
        miner.pass(&mut pool, Duration::from_millis(1));
        if !is_ledger_quick {
            assert_eq!(miner.closed, None, "the ledger has not confirmed");
            miner.mine(&mut pool, channel);
            assert_eq!(miner.pool.discarded().after_drain, 1);
            miner.confirm(&mut pool);
        }
        assert_eq!(miner.sent(), ["SubmitShares.Success up to 2: 1"]);
        assert_eq!(miner.closed, Some(CloseReason::Drained));
        assert_eq!(
            miner.persisted,
            [("alice".to_owned(), 1), ("alice".to_owned(), 1)]
        );
        assert_eq!(pool.shard.extranonces.in_use(), 0);
    }
}

#[test]
fn a_ledger_that_never_confirms_does_not_hold_the_end() {
    let drain = Deadlines::default().drain;
    let mut pool = Pool::new(config());
    pool.is_ledger_quick = false;
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, Standard, "alice").unwrap();
    miner.mine(&mut pool, channel);
    miner.drain(&mut pool);
    miner.pass(&mut pool, 2 * drain);
    assert_eq!(miner.closed, Some(CloseReason::Drained));
    assert_eq!(miner.unconfirmed.len(), 1);
}

#[test]
fn draining_before_setup_or_without_channels_ends_too() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::connect(&pool);
    miner.drain(&mut pool);
    assert_eq!(miner.closed, Some(CloseReason::Drained));
    let mut miner = Miner::set_up(&mut pool, 0);
    miner.drain(&mut pool);
    miner.pass(&mut pool, Deadlines::default().drain);
    assert_eq!(miner.closed, Some(CloseReason::Drained));
}

#[test]
fn the_shares_of_a_miner_that_vanishes_are_stored_under_its_name() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    for user in ["alice", "bob"] {
        let channel = miner.open(&mut pool, Standard, user).unwrap();
        miner.mine(&mut pool, channel);
    }
    miner.sent();
    miner.disconnect(&mut pool);
    miner.persisted.sort();
    assert_eq!(
        miner.persisted,
        [("alice".to_owned(), 1), ("bob".to_owned(), 1)]
    );
    assert_eq!(miner.sent(), [""; 0]);
    assert_eq!(
        (pool.shard.extranonces.in_use(), pool.shard.payouts_in_use()),
        (0, 1)
    );
    assert_eq!(miner.pool.poll_timeout(), None);
}
