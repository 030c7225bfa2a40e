//! An Sv1 miner straight on the pool's core, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{ADDRESS, EASY, HARD, POOL_SCRIPT, Pool, SCRIPT, config};
use pool_core::sv1::{Sv1Close, Sv1Config, Sv1Downstream, Sv1Output};
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::{SILENCE_TIMEOUT, SILENT_SHARES, UpstreamEnd};
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_translation::bridge::BridgeConfig;
use sv1_api::client::{
    ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
};
use sv1_api::server::{CloseReason, ServerConfig};

fn sv1_config() -> Sv1Config {
    Sv1Config {
        bridge: BridgeConfig {
            server: ServerConfig::default(),
            vardiff: VardiffConfig {
                shares_per_minute: 10.0,
                min_difficulty: 2f64.powi(-32),
            },
            nominal_hashrate: 1.0,
            limits: ShareLimits::default(),
        },
        extranonce2_size: 8,
    }
}

/// A miner and its connection.
struct Rig {
    pool: Sv1Downstream,
    session: ClientSession,
    jobs: Vec<Arc<ClientJob>>,
    accepted: u64,
    rejected: Vec<String>,
    /// Shares that were handed to the ledger: whose, and how many.
    persisted: Vec<(String, u32)>,
    is_ledger_up: bool,
    refused: Vec<(&'static str, u64)>,
    closed: Option<Sv1Close>,
    lines: Vec<String>,
    nonce: u32,
}

impl Rig {
    fn new(pool: &mut Pool, user: &str) -> Self {
        Self::with(pool, ClientConfig::new("pool.example", user))
    }

    fn with(pool: &mut Pool, client: ClientConfig) -> Self {
        let mut rig = Self {
            pool: Sv1Downstream::new(sv1_config(), &mut pool.shard, pool.now).unwrap(),
            session: ClientSession::new(client, pool.now),
            jobs: Vec::new(),
            accepted: 0,
            rejected: Vec::new(),
            persisted: Vec::new(),
            is_ledger_up: true,
            refused: Vec::new(),
            closed: None,
            lines: Vec::new(),
            nonce: 0,
        };
        rig.run(pool);
        rig
    }

    fn run(&mut self, pool: &mut Pool) {
        loop {
            let mut is_idle = true;
            while let Some(output) = self.pool.poll_output() {
                is_idle = false;
                self.pool_did(output, pool);
            }
            while let Some(output) = self.session.poll_output() {
                match output {
                    ClientOutput::Send(line) => {
                        is_idle = false;
                        self.pool
                            .handle_line(line.as_bytes(), &mut pool.shard, pool.now);
                    }
                    ClientOutput::Event(ClientEvent::Work(job)) => self.jobs.push(job),
                    ClientOutput::Event(ClientEvent::Accepted { .. }) => self.accepted += 1,
                    ClientOutput::Event(ClientEvent::Rejected { error, .. }) => {
                        self.rejected.push(error.message);
                    }
                    _ => {}
                }
            }
            if is_idle {
                return;
            }
        }
    }

    fn pool_did(&mut self, output: Sv1Output, pool: &mut Pool) {
        match output {
            Sv1Output::Send(line) => {
                self.session.handle_line(line.as_bytes(), pool.now);
                self.lines.push(line.trim_end().to_owned());
            }
            Sv1Output::Persist {
                user_identity,
                shares,
            } => {
                let user = String::from_utf8_lossy(&user_identity).into_owned();
                self.persisted.push((user, shares.slice().accepted_count));
                if self.is_ledger_up {
                    self.pool
                        .handle_persisted(shares, &mut pool.shard, pool.now);
                }
            }
            Sv1Output::SubmitBlock(block) => pool.blocks.push(*block),
            Sv1Output::Rejected(code) => panic!("{code:?}: the bridge let it pass"),
            Sv1Output::Refused(reason, count) => self.refused.push((reason, count)),
            Sv1Output::Close(reason) => self.closed = Some(reason),
        }
    }

    fn waits(&mut self, pool: &mut Pool, secs: u64) {
        let end = pool.now.after(Duration::from_secs(secs));
        while let Some(due) = self.pool.poll_timeout().filter(|due| *due <= end.instant) {
            pool.now = pool.now.after(due - pool.now.instant);
            self.pool.handle_timeout(&mut pool.shard, pool.now);
            self.run(pool);
            assert!(
                self.pool.poll_timeout().is_none_or(|next| next > due),
                "time stands still"
            );
        }
        pool.now = pool.now.after(end.instant - pool.now.instant);
    }

    fn work_came(&mut self, pool: &mut Pool) {
        self.pool.handle_work(&mut pool.shard, pool.now);
        self.run(pool);
    }

    /// Hands in a share of the last job that meets `target` too.
    fn mine(&mut self, pool: &mut Pool, target: Target) {
        let job = self.jobs.last().expect("a job").clone();
        let extranonce2 = vec![3; job.extranonce2_size()];
        loop {
            self.nonce += 1;
            let share = FoundShare {
                extranonce2: &extranonce2,
                ntime: job.notify().ntime,
                nonce: self.nonce,
                version: job.notify().version,
            };
            let hash = job.header(&share).hash();
            if job.target().is_met_by(&hash) && target.is_met_by(&hash) {
                self.session.submit(&job, &share).unwrap();
                break;
            }
        }
        self.run(pool);
    }
}

#[test]
fn shares_are_credited_to_the_name() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, "alice.rig1");
    for _ in 0..5 {
        rig.mine(&mut pool, Target::from_difficulty(1e-8).unwrap());
    }
    assert_eq!((rig.accepted, rig.rejected.len()), (5, 0));
    rig.waits(&mut pool, 5);
    let credited: u32 = rig.persisted.iter().map(|(_, count)| count).sum();
    assert_eq!(credited, 5, "all of them meet the channel's target");
    assert!(rig.persisted.iter().all(|(user, _)| user == "alice.rig1"));
    assert_eq!(rig.pool.bridge().upstream().accepted, 5);
    let (worker, counters) = rig.pool.downstream().workers().next().unwrap();
    assert_eq!((worker, counters.accepted), (&b"alice.rig1"[..], 5));
}

#[test]
fn a_block_pays_whom_the_name_says() {
    for (user, script) in [
        ("alice.rig1".to_owned(), POOL_SCRIPT),
        (format!("{ADDRESS}.rig1"), SCRIPT),
        (format!("sri/solo/{ADDRESS}/rig1"), SCRIPT),
    ] {
        let mut pool = Pool::new(config());
        pool.new_tip(EASY);
        let mut rig = Rig::new(&mut pool, &user);
        rig.mine(&mut pool, Target::from_nbits(EASY).unwrap());
        assert_eq!(rig.accepted, 1);
        let found = pool.blocks.pop().expect("a block");
        let block = pool.feed.solve(found, pool.now);
        let paid = &block.txdata[0].output[0];
        assert_eq!(paid.script_pubkey.to_hex_string(), script, "{user}");
        assert!(block.check_merkle_root() && block.check_witness_commitment());
    }
}

#[test]
fn two_miners_never_hash_the_same_and_follow_tips_and_templates() {
    let mut pool = Pool::new(config());
    let mut one = Rig::new(&mut pool, "alice.rig1");
    let mut other = Rig::new(&mut pool, "bob.rig1");
    let coinbase = |rig: &Rig| rig.jobs.last().unwrap().coinbase(&[0; 8]);
    assert_ne!(coinbase(&one), coinbase(&other));
    pool.new_tip(HARD);
    for rig in [&mut one, &mut other] {
        let jobs = rig.jobs.len();
        rig.work_came(&mut pool);
        assert_eq!(rig.jobs.len(), jobs + 1);
        assert!(rig.jobs.last().unwrap().notify().clean_jobs);
        rig.mine(&mut pool, Target::MAX);
        assert_eq!(rig.accepted, 1);
    }
    pool.new_template();
    one.work_came(&mut pool);
    assert!(!one.jobs.last().unwrap().notify().clean_jobs);
    one.mine(&mut pool, Target::MAX);
    assert_eq!(one.accepted, 2);
}

#[test]
fn a_name_that_cannot_be_paid_is_refused_and_another_may_follow() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, "sri/nonsense");
    assert!(rig.jobs.is_empty());
    assert!(
        rig.refused
            .iter()
            .any(|(reason, _)| reason.contains("not accepted")),
        "{:?}",
        rig.refused
    );
    let line = r#"{"id":9,"method":"mining.authorize","params":["alice.rig1","x"]}"#;
    rig.pool
        .handle_line(line.as_bytes(), &mut pool.shard, pool.now);
    rig.run(&mut pool);
    assert!(
        rig.lines
            .iter()
            .any(|line| line.starts_with(r#"{"id":9,"result":true"#)),
        "{:?}",
        rig.lines
    );
    assert!(
        rig.lines
            .iter()
            .any(|line| line.contains(r#""method":"mining.notify""#))
    );
}

#[test]
fn another_name_mines_on_the_channel_only_when_it_is_paid_the_same() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, &format!("{ADDRESS}.rig1"));
    for (id, user, verdict) in [
        (7, format!("{ADDRESS}.rig2"), r#""result":true"#),
        (8, "alice.rig1".to_owned(), r#""result":null"#),
        (
            9,
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn.rig".to_owned(),
            r#""result":null"#,
        ),
    ] {
        let line = format!(r#"{{"id":{id},"method":"mining.authorize","params":["{user}","x"]}}"#);
        rig.pool
            .handle_line(line.as_bytes(), &mut pool.shard, pool.now);
        rig.run(&mut pool);
        let answer = rig
            .lines
            .iter()
            .rfind(|line| line.starts_with(&format!(r#"{{"id":{id},"#)));
        assert!(answer.unwrap().contains(verdict), "{user}: {answer:?}");
    }
}

#[test]
fn what_is_refused_is_counted_by_its_reason() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, "alice.rig1");
    let job = rig.jobs.last().unwrap().notify().job_id.clone();
    for line in [
        "nonsense".to_owned(),
        r#"{"id":5,"method":"mining.submit","params":["bob","1","00","00000000","00000000"]}"#
            .to_owned(),
        format!(
            r#"{{"id":6,"method":"mining.submit","params":["alice.rig1","{job}x","0000000000000000","00000000","00000000"]}}"#
        ),
    ] {
        rig.pool
            .handle_line(line.as_bytes(), &mut pool.shard, pool.now);
        rig.run(&mut pool);
    }
    let reasons: Vec<_> = rig
        .refused
        .iter()
        .map(|(reason, count)| (*reason, *count))
        .collect();
    let expected = [
        ("the line is not JSON", 1),
        ("this worker is not authorized", 1),
        ("job not found", 1),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(rig.closed, None);
}

#[test]
fn a_miner_is_drained_with_its_last_shares() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, "alice.rig1");
    rig.mine(&mut pool, Target::from_difficulty(1e-8).unwrap());
    rig.pool.drain(&mut pool.shard, pool.now);
    rig.run(&mut pool);
    assert!(
        rig.lines
            .iter()
            .any(|line| line.contains("client.reconnect"))
    );
    rig.waits(&mut pool, 1);
    assert_eq!(rig.closed, Some(Sv1Close::Miner(CloseReason::Reconnect)));
    rig.pool.handle_disconnected(&mut pool.shard, pool.now);
    rig.run(&mut pool);
    assert_eq!(rig.persisted.iter().map(|(_, count)| count).sum::<u32>(), 1);
    assert_eq!(pool.shard.extranonces.in_use(), 0);
    assert_eq!(pool.shard.payouts_in_use(), 1);
}

#[test]
fn one_that_never_logs_in_is_closed() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::with(&mut pool, ClientConfig::new("pool.example", "sri/nonsense"));
    rig.waits(&mut pool, 61);
    assert!(
        matches!(
            rig.closed,
            Some(Sv1Close::Miner(CloseReason::LoginTimeout) | Sv1Close::Pool(_))
        ),
        "{:?}",
        rig.closed
    );
}

#[test]
fn one_whose_shares_nobody_keeps_is_closed_instead_of_mining_in_vain() {
    let mut pool = Pool::new(config());
    let mut rig = Rig::new(&mut pool, "alice.rig1");
    rig.is_ledger_up = false;
    // Of what a miner finds, about one in four meets the pool's own target.
    for _ in 0..10 * SILENT_SHARES {
        if rig.persisted.len() >= SILENT_SHARES {
            break;
        }
        assert_eq!(rig.closed, None);
        rig.mine(&mut pool, Target::MAX);
        // As often as is asked for, or each share would be harder to find than the last.
        rig.waits(&mut pool, 6);
    }
    rig.waits(&mut pool, SILENCE_TIMEOUT.as_secs());
    assert_eq!(
        rig.closed,
        Some(Sv1Close::Unanswered(UpstreamEnd::Silent)),
        "{:?}",
        rig.persisted
    );
}

#[test]
fn a_small_extranonce_of_the_pool_serves_as_far_as_it_goes() {
    for (size, serves) in [(20, true), (12, true), (8, true), (5, false)] {
        let mut config = config();
        config.extranonce.full_size = size;
        let mut pool = Pool::new(config);
        let mut rig = Rig::new(&mut pool, "alice.rig1");
        if serves {
            rig.mine(&mut pool, Target::MAX);
            assert_eq!(rig.accepted, 1, "{size}");
        } else {
            assert_eq!(rig.closed, Some(Sv1Close::NoRoom));
        }
    }
}
