//! Sv1 miners and Sv2 devices on a real pool: the proxy's core and the pool's, and bytes between them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

#[path = "../../../pool/core/tests/common/mod.rs"]
mod pool_side;

#[path = "pool/devices.rs"]
mod devices;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use binary_sv2::Encodable as _;
use bitcoin::{ScriptBuf, Transaction};
use mining_proxy_core::{ChannelMode, ExpectedPayout, LinkId, ProxyConfig};
use pool_core::downstream::{Downstream, Output};
use roles_logic_sv2::channels::server::BlockFound;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::CloseReason;
use sv1_api::client::ClientConfig;
use sv1_api::quirks::TABLE;

use common::{Frame, Peer, World};
use pool_side::{ADDRESS, EASY, POOL_SCRIPT, Pool, SCRIPT};

const BOTH: [ChannelMode; 2] = [ChannelMode::Aggregated, ChannelMode::PerMiner];

/// More than any test finds.
const SHARES_PER_MINUTE: f64 = 6e6;

/// A pool with its connections.
struct RealPool {
    pool: Pool,
    connections: BTreeMap<LinkId, Downstream>,
    /// Shares that went to the ledger.
    persisted: u64,
    closed: Vec<CloseReason>,
}

/// The same pool for the world and for the test.
#[derive(Clone)]
struct Shared(Rc<RefCell<RealPool>>);

impl Shared {
    fn new() -> Self {
        Self::asking(0)
    }

    /// A pool that asks this of its clients at setup.
    fn asking(flags: u32) -> Self {
        let mut config = pool_side::config();
        config.setup.success_flags = flags;
        let mut channels = (*config.channels).clone();
        // Shares are found here as fast as they are wanted: their difficulty would rise without end.
        channels.vardiff.shares_per_minute = SHARES_PER_MINUTE;
        config.channels = channels.into();
        Self(Rc::new(RefCell::new(RealPool {
            pool: Pool::new(config),
            connections: BTreeMap::new(),
            persisted: 0,
            closed: Vec::new(),
        })))
    }

    fn peer(&self) -> Box<dyn Peer> {
        Box::new(self.clone())
    }

    /// Does something to the pool; its connections hear of other work.
    fn with(&self, world: &mut World, act: impl FnOnce(&mut Pool)) {
        {
            let real = &mut *self.0.borrow_mut();
            real.pool.now = world.now;
            act(&mut real.pool);
            for connection in real.connections.values_mut() {
                connection.handle_work(&mut real.pool.shard, world.now);
            }
        }
        world.run();
    }

    fn drain(&self, world: &mut World) {
        {
            let real = &mut *self.0.borrow_mut();
            for connection in real.connections.values_mut() {
                connection.drain("", 0, &mut real.pool.shard, world.now);
            }
        }
        world.run();
    }

    fn persisted(&self) -> u64 {
        self.0.borrow().persisted
    }

    fn blocks(&self) -> Vec<BlockFound> {
        std::mem::take(&mut self.0.borrow_mut().pool.blocks)
    }

    /// The block that the template provider makes of what was found.
    fn solve(&self, block: BlockFound, now: Now) -> bitcoin::Block {
        self.0.borrow_mut().pool.feed.solve(block, now)
    }
}

impl Peer for Shared {
    fn connected(&mut self, link: LinkId, now: Now) {
        let real = &mut *self.0.borrow_mut();
        let connection = Downstream::new(&real.pool.shard, now);
        real.connections.insert(link, connection);
    }

    fn disconnected(&mut self, link: LinkId, _: Now) {
        let real = &mut *self.0.borrow_mut();
        if let Some(mut connection) = real.connections.remove(&link) {
            connection.handle_disconnected(&mut real.pool.shard);
        }
    }

    fn takes(&mut self, link: LinkId, frame: Frame, now: Now) {
        let real = &mut *self.0.borrow_mut();
        real.pool.now = now;
        let (extension_type, msg_type, payload) = frame;
        if let Some(connection) = real.connections.get_mut(&link) {
            let shard = &mut real.pool.shard;
            connection.handle_frame(extension_type, msg_type, &payload, shard, now);
        }
    }

    fn says(&mut self, link: LinkId, now: Now) -> Option<Frame> {
        let real = &mut *self.0.borrow_mut();
        let connection = real.connections.get_mut(&link)?;
        loop {
            match connection.poll_output()? {
                Output::Send(message) => {
                    let kind = message.kind();
                    let extension_type = kind.wire_extension_type();
                    return Some((extension_type, kind.msg_type, message.to_vec()));
                }
                Output::Persist { shares, .. } => {
                    real.persisted += u64::from(shares.slice().accepted_count);
                    connection.handle_persisted(shares, &mut real.pool.shard, now);
                }
                Output::SubmitBlock(block) => real.pool.blocks.push(*block),
                Output::Close(reason) => real.closed.push(reason),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let real = self.0.borrow();
        let connections = real.connections.values();
        connections.filter_map(Downstream::poll_timeout).min()
    }

    fn handle_timeout(&mut self, now: Now) {
        let real = &mut *self.0.borrow_mut();
        for connection in real.connections.values_mut() {
            connection.handle_timeout(&mut real.pool.shard, now);
        }
    }
}

/// One upstream, and that is the pool. Miners are paid under this name, or under their own.
fn config(mode: ChannelMode, identity: Option<&str>) -> ProxyConfig {
    let mut config = common::config(mode, 1);
    config.bridge.vardiff.shares_per_minute = SHARES_PER_MINUTE;
    config.upstreams[0].user_identity = identity.map(str::to_owned);
    config
}

/// A miner of each kind that can be kept busy here.
fn crowd(world: &mut World) -> Vec<usize> {
    let agents = TABLE.iter().map(|quirks| quirks.pattern.replace('*', "x"));
    let agents: Vec<_> = agents.chain(["other/1".to_owned()]).collect();
    let mut miners = Vec::new();
    for (i, user_agent) in agents.into_iter().enumerate() {
        let miner = world.miner_with(ClientConfig {
            user_agent,
            ..ClientConfig::new("proxy.example", &format!("alice.rig{i}"))
        });
        world.miners[miner].rolls = true;
        miners.push(miner);
    }
    miners
}

/// One share of each miner whose difficulty a test can meet, the others' when it is a block.
fn mine_all(world: &mut World) {
    for miner in 0..world.miners.len() {
        let job = world.miners[miner].last_job();
        if job.difficulty().as_f64() < 1e-6 {
            world.mine(miner);
        } else if job.notify().nbits == EASY {
            world.mine_block(miner);
        }
    }
}

/// Whatever was passed on was accepted, and no miner heard a no.
fn assert_all_accepted(world: &World, pool: &Shared, mode: ChannelMode) {
    let snapshot = world.snapshot();
    let counts = snapshot.upstream;
    assert!(counts.passed_on > 0);
    assert_eq!(counts.accepted, counts.passed_on, "{mode:?}: {counts:?}");
    assert_eq!((counts.rejected, counts.lost), (0, 0), "{mode:?}");
    assert_eq!(pool.persisted(), counts.accepted, "{mode:?}");
    assert_eq!(snapshot.upstreams[0].ignored, 0);
    for miner in &world.miners {
        assert!(miner.rejected.is_empty(), "{mode:?}: {:?}", miner.rejected);
    }
    assert!(world.failures(0).is_empty(), "{:?}", world.failures(0));
}

#[test]
fn every_share_that_is_passed_on_is_accepted() {
    for mode in BOTH {
        let pool = Shared::new();
        let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
        let miners = crowd(&mut world);
        for round in 0..60 {
            mine_all(&mut world);
            world.waits_secs(1 + round % 3 * 10);
            match round % 10 {
                3 | 6 => pool.with(&mut world, Pool::new_template),
                9 => pool.with(&mut world, |pool| pool.new_tip(EASY)),
                _ => {}
            }
        }
        world.waits_secs(20);
        assert_all_accepted(&world, &pool, mode);
        assert!(miners.iter().all(|miner| world.miners[*miner].accepted > 0));
        let refused = world.snapshot().rejected;
        assert!(refused.is_empty(), "{mode:?}: {refused:?}");
    }
}

#[test]
fn shares_of_the_job_before_count_until_a_new_tip() {
    for mode in BOTH {
        let pool = Shared::new();
        let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
        let miner = world.miner("alice.rig1");
        let first = world.miners[miner].last_job();
        pool.with(&mut world, Pool::new_template);
        world.waits_secs(10);
        let second = world.miners[miner].last_job();
        assert_ne!(first.notify().job_id, second.notify().job_id);
        assert!(world.late_share(miner, &first).is_ok());
        assert!(world.late_share(miner, &second).is_ok());
        world.waits_secs(20);
        assert_all_accepted(&world, &pool, mode);
        pool.with(&mut world, |pool| pool.new_tip(pool_side::HARD));
        let stale = Err((21, "the job is stale".to_owned()));
        assert_eq!(world.late_share(miner, &first), stale, "{mode:?}");
        world.mine(miner);
        world.waits_secs(20);
        assert_eq!(pool.persisted(), world.snapshot().upstream.passed_on);
    }
}

/// What the jobs of a miner pay, and to whom.
fn outputs(world: &World, miner: usize) -> Vec<(u64, String)> {
    let job = world.miners[miner].last_job();
    let coinbase = job.coinbase(&vec![0; job.extranonce2_size()]);
    let transaction: Transaction = bitcoin::consensus::deserialize(&coinbase).unwrap();
    paid(&transaction)
}

fn paid(coinbase: &Transaction) -> Vec<(u64, String)> {
    let outputs = coinbase.output.iter();
    let paid = outputs.filter(|output| output.value.to_sat() > 0);
    paid.map(|output| {
        let script = output.script_pubkey.to_hex_string();
        (output.value.to_sat(), script)
    })
    .collect()
}

#[test]
fn whom_a_block_pays_follows_the_identity() {
    let solo = format!("sri/solo/{ADDRESS}");
    let cases = [
        (
            ChannelMode::Aggregated,
            Some("farm"),
            "alice.rig1",
            POOL_SCRIPT,
        ),
        (ChannelMode::Aggregated, Some(&*solo), "alice.rig1", SCRIPT),
        (
            ChannelMode::PerMiner,
            Some("farm"),
            "alice.rig1",
            POOL_SCRIPT,
        ),
        (ChannelMode::PerMiner, Some(&*solo), "alice.rig1", SCRIPT),
        (ChannelMode::PerMiner, Some(ADDRESS), "alice.rig1", SCRIPT),
        // Without an identity of the operator's each miner is paid as it says.
        (ChannelMode::PerMiner, None, "alice.rig1", POOL_SCRIPT),
        (ChannelMode::PerMiner, None, ADDRESS, SCRIPT),
        (
            ChannelMode::PerMiner,
            None,
            &*format!("{ADDRESS}.rig1"),
            SCRIPT,
        ),
    ];
    for (mode, identity, user, script) in cases {
        let pool = Shared::new();
        let mut config = config(mode, identity);
        config.upstreams[0].expected_payout = Some(ExpectedPayout {
            script_pubkey: ScriptBuf::from_hex(script).unwrap(),
            min_percent: 95,
        });
        let mut world = World::real(config, vec![pool.peer()]);
        let miner = world.miner(user);
        assert_eq!(
            world.used(),
            Some(0),
            "{mode:?} {identity:?}: {:?}",
            world.notes
        );
        let paid = outputs(&world, miner);
        assert_eq!(paid.len(), 1, "{mode:?} {identity:?} {user}");
        assert_eq!(paid[0].1, script, "{mode:?} {identity:?} {user}");
        (0..20).for_each(|_| world.mine(miner));
        world.waits_secs(20);
        assert_all_accepted(&world, &pool, mode);
    }
}

#[test]
fn a_pool_that_pays_someone_else_is_not_mined_for() {
    for mode in BOTH {
        let pool = Shared::new();
        let mut config = config(mode, Some("farm"));
        config.upstreams[0].expected_payout = Some(ExpectedPayout {
            script_pubkey: ScriptBuf::from_hex(SCRIPT).unwrap(),
            min_percent: 95,
        });
        let mut world = World::real(config, vec![pool.peer()]);
        let miner = world.raw_miner();
        let _ = world.requests(miner, "mining.subscribe", r#""cpuminer/2.5.1""#);
        let _ = world.requests(miner, "mining.authorize", r#""alice.rig1","x""#);
        world.waits_secs(20);
        let failures = world.failures(0);
        assert!(failures[0].contains("pays 0 of"), "{mode:?} {failures:?}");
        assert!(!world.miners[miner].has_job(), "{mode:?}");
    }
}

#[test]
fn an_identity_that_is_no_good_is_refused_to_the_miner() {
    let pool = Shared::new();
    let mut world = World::real(config(ChannelMode::PerMiner, None), vec![pool.peer()]);
    let good = world.miner("alice.rig1");
    let bad = world.raw_miner();
    world
        .asks(bad, "mining.subscribe", r#""cpuminer/2.5.1""#)
        .unwrap();
    let answer = world.asks(bad, "mining.authorize", r#""sri/solo/nobody","x""#);
    let refused = Err((24, "the user name is not accepted".to_owned()));
    assert_eq!(answer, refused);
    (0..20).for_each(|_| world.mine(good));
    world.waits_secs(20);
    assert_all_accepted(&world, &pool, ChannelMode::PerMiner);
}

#[test]
fn a_block_of_an_sv1_miner_is_a_block() {
    for mode in BOTH {
        for (identity, script) in [("farm", POOL_SCRIPT), (ADDRESS, SCRIPT)] {
            let pool = Shared::new();
            let mut world = World::real(config(mode, Some(identity)), vec![pool.peer()]);
            let miners = crowd(&mut world);
            pool.with(&mut world, |pool| pool.new_tip(EASY));
            // Miners roll the time ahead, which blocks of this moment may not.
            world.waits_secs(10);
            let heights = 102;
            for miner in &miners {
                world.mine_block(*miner);
                let mut blocks = pool.blocks();
                assert_eq!(blocks.len(), 1, "{mode:?} {identity}");
                let job = world.miners[*miner].last_job();
                let block = pool.solve(blocks.remove(0), world.now);
                let target = block.header.target();
                assert!(block.header.validate_pow(target).is_ok());
                assert_eq!(block.header.bits.to_consensus(), EASY);
                assert!(block.check_merkle_root());
                assert!(block.check_witness_commitment());
                assert!(block.bip34_block_height().unwrap() < heights);
                let coinbase = &block.txdata[0];
                let paid = paid(coinbase);
                assert_eq!(paid, outputs(&world, *miner), "{mode:?} {identity}");
                assert_eq!(paid[0].1, script);
                assert!(paid[0].0 > 5_000_000_000, "with the fee");
                let script_sig = coinbase.input[0].script_sig.to_hex_string();
                let prefix = hex(&job.notify().coinbase_prefix);
                // After version, count, null outpoint and the script's length.
                assert!(script_sig.starts_with(&prefix[2 * 42..]), "{mode:?}");
            }
            world.waits_secs(20);
            assert_eq!(world.snapshot().upstream.rejected, 0);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_block_on_an_earlier_tip_reaches_the_node_all_the_same() {
    for mode in BOTH {
        let pool = Shared::new();
        let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
        let miner = world.miner("alice.rig1");
        pool.with(&mut world, |pool| pool.new_tip(EASY));
        let old = world.miners[miner].last_job();
        pool.with(&mut world, |pool| pool.new_tip(EASY));
        while pool.0.borrow().pool.blocks.is_empty() {
            let stale = Err((21, "the job is stale".to_owned()));
            assert_eq!(world.late_share(miner, &old), stale, "{mode:?}");
        }
        assert_eq!(world.snapshot().upstream.unpaid_blocks, 1);
    }
}

#[test]
fn a_pool_that_is_drained_is_moved_away_from_without_a_gap() {
    for mode in BOTH {
        let pool = Shared::new();
        let mut world = World::real(config(mode, Some("farm")), vec![pool.peer()]);
        let _ = world.crowd(5);
        world.mine_all();
        pool.drain(&mut world);
        world.mine_all();
        world.waits_secs(20);
        world.mine_all();
        world.waits_secs(20);
        assert_all_accepted(&world, &pool, mode);
        assert_eq!(world.connects.len(), 2);
        assert_eq!(pool.0.borrow().closed.len(), 1, "{mode:?}");
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
    }
}

#[test]
fn a_pool_killed_ten_times_in_a_row_loses_no_miner_and_no_share() {
    for mode in BOTH {
        let pools = [Shared::new(), Shared::new()];
        let mut config = common::config(mode, 2);
        config.bridge.vardiff.shares_per_minute = SHARES_PER_MINUTE;
        config.upstreams[1].user_identity = Some(ADDRESS.to_owned());
        let peers = pools.iter().map(Shared::peer).collect();
        let mut world = World::real(config, peers);
        let _ = world.crowd(20);
        for round in 0..10 {
            for step in 0..10 {
                world.mine_all();
                world.waits(std::time::Duration::from_millis(300));
                if step == 5 {
                    let used = world.used().unwrap();
                    pools[used].with(&mut world, |pool| pool.new_tip(pool_side::HARD));
                }
            }
            let used = world.used().unwrap();
            world.kill(used);
            world.revive(1 - used);
            world.waits_secs(3);
            assert!(world.used().is_some(), "{mode:?} round {round}");
        }
        world.mine_all();
        world.waits_secs(30);
        assert!(world.miners.iter().all(|miner| miner.is_undisturbed()));
        let counts = world.snapshot().upstream;
        assert_eq!(counts.rejected, 0, "{mode:?}");
        assert_eq!(counts.passed_on, counts.accepted + counts.lost);
        // Lost is only what was under way when the connection broke; the pools have all of the rest, and maybe more.
        let persisted: u64 = pools.iter().map(Shared::persisted).sum();
        assert!(
            persisted >= counts.accepted,
            "{mode:?} {persisted} {counts:?}"
        );
        assert!(counts.accepted > 300, "{counts:?}");
    }
}
