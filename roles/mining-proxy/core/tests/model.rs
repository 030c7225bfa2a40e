//! Whatever miners and upstreams do, and in whatever order: some things always hold.
//!
//! Each run is made of random steps of one seed, which is told when a run fails. After each step the books balance and
//! nobody is left out; at the end of each chapter all upstreams are well again, and so must everything else be.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use ChannelMode::{Aggregated, PerMiner};
use bitcoin::ScriptBuf;
use common::upstream::{GROUP, NO_CHANNEL, Reach};
use common::{World, config};
use mining_proxy_core::{ChannelMode, ExpectedPayout, LinkId, ProxyConfig};
use roles_logic_sv2::target::Target;
use sv1_api::client::ClientConfig;

/// Runs of each kind, chapters of a run, steps of a chapter: 200 000 steps.
const RUNS: u64 = 25;
const CHAPTERS: usize = 10;
const STEPS: usize = 200;

/// Miners at a time.
const MAX_MINERS: usize = 12;

/// Connections at a time: one to each upstream, some that are let go of, some to other places.
const MAX_LINKS: usize = 16;

const AGENTS: [&str; 5] = [
    "cpuminer/2.5.1",
    "cgminer/4.12",
    "cgminer/3.7",
    "btccom-agent/1",
    "",
];

const SIZES: [u16; 5] = [12, 28, 10, 8, 4];

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    const fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())])
    }
}

/// What kind of run it is: each upstream's mode and priority.
#[derive(Clone, Copy, Debug)]
struct Kind {
    modes: [ChannelMode; 3],
    priorities: [u32; 3],
    /// The operator changes the configuration now and then.
    is_changed: bool,
}

impl Kind {
    /// One after the other, all in one mode.
    const fn in_order(mode: ChannelMode) -> Self {
        Self {
            modes: [mode; 3],
            priorities: [0, 1, 2],
            is_changed: false,
        }
    }

    fn config(&self) -> ProxyConfig {
        let mut config = config(Aggregated, 3);
        // Shares are found here whatever their difficulty: it would rise without end.
        config.bridge.vardiff.shares_per_minute = 6e6;
        config.max_miners = MAX_MINERS as u32;
        // Chapters are short, and nothing is to be forgotten but what must be.
        config.failover.max_settle = Duration::from_secs(40);
        config.bridge.server.job_interval = Duration::from_secs(150);
        for (at, upstream) in config.upstreams.iter_mut().enumerate() {
            upstream.mode = self.modes[at];
            upstream.priority = self.priorities[at];
            upstream.expected_payout = Some(ExpectedPayout {
                script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
                min_percent: 50,
            });
        }
        config
    }

    /// The upstreams that are used when all are well.
    fn best(&self) -> Vec<usize> {
        let best = self.priorities.iter().min();
        let all = 0..self.priorities.len();
        all.filter(|at| self.priorities.get(*at) == best).collect()
    }
}

/// Says which run it was.
struct Told(Kind, u64, usize);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} of {:?}, step {}", self.1, self.0, self.2);
        }
    }
}

struct Model {
    kind: Kind,
    world: World,
    random: Random,
    /// Sessions of miners that left.
    sessions: Vec<String>,
    /// Shares that upstreams saw, so that none is seen twice.
    seen: BTreeSet<(LinkId, Vec<u8>)>,
    /// How many of each upstream's shares were looked at.
    looked_at: Vec<usize>,
}

impl Model {
    fn new(kind: Kind, seed: u64) -> Self {
        Self {
            kind,
            world: World::new(kind.config()),
            random: Random::new(seed),
            sessions: Vec::new(),
            seen: BTreeSet::new(),
            looked_at: vec![0; 3],
        }
    }

    /// Shares that upstreams have.
    fn shares(&self) -> usize {
        let upstreams = self.world.upstreams.iter();
        upstreams.map(|upstream| upstream.shares.len()).sum()
    }

    /// Miners that are there.
    fn present(&self) -> Vec<usize> {
        let miners = self.world.miners.iter().enumerate();
        let present = miners.filter(|(_, miner)| !miner.is_gone);
        present.map(|(index, _)| index).collect()
    }

    /// Those of them that have a job.
    fn working(&self) -> Vec<usize> {
        let mut working = self.present();
        working.retain(|miner| !self.world.miners[*miner].jobs.is_empty());
        working
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..2 => self.comes(),
            2 => self.leaves(),
            3..9 => self.mines(),
            9 => self.mumbles(),
            10..13 => self.upstream_works(),
            13 => self.upstream_changes(),
            14 => self.upstream_breaks(),
            15 => self.upstream_talks(),
            16 => self.upstream_answers(),
            17 if self.kind.is_changed => self.operator_changes(),
            _ => self.time_passes(),
        }
    }

    fn comes(&mut self) {
        if self.present().len() >= MAX_MINERS {
            let now = self.world.now;
            assert_eq!(self.world.proxy.miner_connected(now), None);
            return;
        }
        let session = self
            .random
            .pick(&(0..self.sessions.len()).collect::<Vec<_>>());
        let session = session.filter(|_| self.random.one_in(2));
        let session = session.map(|at| self.sessions.swap_remove(at));
        let user = format!("alice.rig{}", self.random.below(5));
        let config = ClientConfig {
            user_agent: AGENTS[self.random.below(AGENTS.len())].to_owned(),
            session,
            version_mask: if self.random.one_in(3) {
                0
            } else {
                0x1fff_e000
            },
            ..ClientConfig::new("proxy.example", &user)
        };
        let miner = self.world.miner_with(config);
        self.world.miners[miner].rolls = true;
    }

    fn leaves(&mut self) {
        let present = self.present();
        let Some(miner) = self.random.pick(&present) else {
            return;
        };
        if !self.world.miners[miner].jobs.is_empty() {
            let session = self.world.miners[miner].session_name();
            self.sessions.push(session);
        }
        self.world.leaves(miner);
    }

    fn mines(&mut self) {
        let working = self.working();
        let Some(miner) = self.random.pick(&working) else {
            return;
        };
        if self.random.one_in(4) {
            let jobs = &self.world.miners[miner].jobs;
            let job = jobs[self.random.below(jobs.len())].clone();
            let _ = self.world.late_share(miner, &job);
        } else {
            self.world.mine(miner);
        }
    }

    fn mumbles(&mut self) {
        let present = self.present();
        let Some(miner) = self.random.pick(&present) else {
            return;
        };
        let name = self.random.below(4);
        let lines = [
            "what".to_owned(),
            r#"{"id":1,"method":"mining.what","params":[]}"#.to_owned(),
            r#"{"id":null,"result":true,"error":null}"#.to_owned(),
            format!(r#"{{"id":2,"method":"mining.authorize","params":["bob.{name}","x"]}}"#),
            r#"{"id":3,"method":"mining.subscribe","params":["x"]}"#.to_owned(),
            r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#.to_owned(),
            r#"{"id":5,"method":"mining.submit","params":["a","1","00","65000000","0"]}"#
                .to_owned(),
            r#"{"id":6,"method":"mining.ping","params":[]}"#.to_owned(),
        ];
        let line = &lines[self.random.below(lines.len())];
        self.world.sends(miner, line);
    }

    /// A connection to some upstream, with a channel that is open there or was.
    fn somewhere(&mut self) -> Option<(usize, LinkId, u32)> {
        let at = self.random.below(3);
        let links = self.world.links_of(at);
        let link = self.random.pick(&links)?;
        let channels = self.world.upstreams[at].channels.iter();
        let channels: Vec<_> = { channels }
            .filter(|channel| channel.link == link)
            .map(|channel| channel.id)
            .collect();
        let channel = self.random.pick(&channels).unwrap_or(NO_CHANNEL);
        Some((at, link, channel))
    }

    fn upstream_works(&mut self) {
        let Some((at, link, channel)) = self.somewhere() else {
            return;
        };
        let upstream = &mut self.world.upstreams[at];
        match self.random.below(4) {
            0 => upstream.new_tip(link),
            1 => drop(upstream.new_job(link)),
            2 => drop(upstream.future_job(link, channel)),
            _ => {
                let difficulty = 2f64.powi(-32 - self.random.below(3) as i32);
                let target = Target::from_difficulty(difficulty).unwrap();
                upstream.set_target(link, channel, target.to_le_bytes());
            }
        }
        self.world.run();
    }

    /// From now on this upstream is like that.
    fn upstream_changes(&mut self) {
        let upstream = &mut self.world.upstreams[self.random.below(3)];
        let is_good = self.random.one_in(2);
        match self.random.below(11) {
            0 => upstream.setup = is_good.then_some(Ok(0)),
            1 => upstream.setup = Some(if is_good { Ok(0) } else { Err("no-way") }),
            2 => upstream.refuses_opens = (!is_good).then_some("no-way"),
            3 => upstream.ignores_opens = !is_good,
            4 => upstream.withholds_work = !is_good,
            5 => upstream.verdict = is_good.then_some(Ok(())),
            6 => upstream.verdict = Some(if is_good { Ok(()) } else { Err("stale-share") }),
            7 => upstream.is_mute = !is_good,
            8 => upstream.pays = if is_good { 0x51 } else { 0x52 },
            9 => upstream.refuses_user = (!is_good).then_some("rig3"),
            _ => upstream.extranonce_size = SIZES[self.random.below(SIZES.len())],
        }
    }

    fn upstream_breaks(&mut self) {
        let at = self.random.below(3);
        match self.random.below(6) {
            0 => self.world.kill(at),
            1 => self.world.upstreams[at].reach = Reach::Silent,
            2 => self.world.cut(at),
            _ => self.world.revive(at),
        }
    }

    fn upstream_talks(&mut self) {
        let Some((at, link, channel)) = self.somewhere() else {
            return;
        };
        let number = self.random.below(20) as u32;
        let upstream = &mut self.world.upstreams[at];
        match self.random.below(8) {
            0 => upstream.close(link, channel),
            1 => upstream.close(link, GROUP),
            2 => upstream.reconnect(link, "", 0),
            3 => upstream.reconnect(link, "c.example", 4_444),
            4 => upstream.set_group(link, GROUP, &[channel]),
            5 => upstream.rejects(link, NO_CHANNEL, number, "what"),
            6 => upstream.set_prefix(link, channel, number.to_be_bytes()),
            _ => {
                let payload = vec![7; self.random.below(40)];
                let msg_type = self.random.below(256) as u8;
                self.world.upstream_sends(link, 0x8000, msg_type, &payload);
            }
        }
        self.world.run();
    }

    fn upstream_answers(&mut self) {
        let upstream = &mut self.world.upstreams[self.random.below(3)];
        let verdict = if self.random.one_in(4) {
            Err("stale-share")
        } else {
            Ok(())
        };
        upstream.answers(self.random.below(10), verdict);
        self.world.run();
    }

    /// Another configuration, with some of the upstreams.
    fn operator_changes(&mut self) {
        let mut config = self.kind.config();
        let mut at = 0;
        config.upstreams.retain_mut(|upstream| {
            upstream.weight = self.random.below(3) as u32;
            upstream.is_drained = self.random.one_in(4);
            if self.random.one_in(3) {
                upstream.priority = self.random.below(3) as u32;
            }
            at += 1;
            !self.random.one_in(4)
        });
        let places = self.world.reconfigure(config);
        assert!(places.iter().all(|place| *place < at), "{places:?}");
    }

    fn time_passes(&mut self) {
        let ms = [10, 100, 1_000, 5_000][self.random.below(4)];
        let ms = if self.random.one_in(20) { 90_000 } else { ms };
        self.world.waits(Duration::from_millis(ms));
    }

    /// Miners that have given up close the connection.
    fn disappointed_leave(&mut self) {
        for miner in self.present() {
            if self.world.miners[miner].ended.is_some() {
                self.world.leaves(miner);
            }
        }
    }

    /// What holds at any time.
    fn check(&mut self) {
        self.disappointed_leave();
        self.world.assert_books_balance();
        self.world.assert_nothing_is_left_to_do();
        assert!(self.world.links() <= MAX_LINKS, "{}", self.world.links());
        for at in 0..3 {
            let shares = &self.world.upstreams[at].shares;
            for (link, share) in &shares[self.looked_at[at]..] {
                let mut header = share.extranonce.as_bytes().to_vec();
                for field in [share.job_id, share.nonce, share.ntime, share.version] {
                    header.extend(field.to_le_bytes());
                }
                header.extend(share.channel_id.to_le_bytes());
                assert!(self.seen.insert((*link, header)), "twice: {share:?}");
            }
            self.looked_at[at] = shares.len();
        }
    }

    /// All is well: soon all miners work for the best upstreams again, and nothing is left of what there was.
    fn end_chapter(&mut self) {
        self.world.reconfigure(self.kind.config());
        for upstream in &mut self.world.upstreams {
            upstream.reach = Reach::Up;
            upstream.setup = Some(Ok(0));
            upstream.refuses_opens = None;
            upstream.refuses_user = None;
            upstream.ignores_opens = false;
            upstream.withholds_work = false;
            upstream.verdict = Some(Ok(()));
            upstream.is_mute = false;
            upstream.pays = 0x51;
            upstream.extranonce_size = 12;
            upstream.answers(usize::MAX, Ok(()));
        }
        // What was lost on the way is lost; connections of before may still be as they were.
        (0..3).for_each(|at| self.world.cut(at));
        // A miner that nobody served is sent away sooner or later; an upstream that was bad gets its next chance.
        self.world.waits_secs(150);
        self.check();
        let best = self.kind.best();
        assert_eq!(self.world.all_used(), best, "{:?}", self.world.failures(0));
        assert_eq!(self.world.links(), best.len());
        let before = self.shares();
        let present = self.present();
        for miner in &present {
            assert!(!self.world.miners[*miner].jobs.is_empty(), "miner {miner}");
            let (accepted, rejected) = {
                let miner = &self.world.miners[*miner];
                (miner.accepted, miner.rejected.len())
            };
            self.world.mine(*miner);
            let miner = &self.world.miners[*miner];
            assert_eq!(miner.rejected.len(), rejected, "{:?}", miner.rejected);
            assert_eq!(miner.accepted, accepted + 1);
        }
        assert_eq!(self.shares(), before + present.len());
        let division = self.world.division();
        assert_eq!(division.iter().sum::<usize>(), present.len());
        for at in &best {
            let channels = self.world.upstreams[*at].channels.len();
            match self.kind.modes[*at] {
                Aggregated => assert_eq!(channels, 1),
                // Those that miners left a moment ago are still there.
                PerMiner if best.len() > 1 => {
                    assert!((division[*at]..=present.len()).contains(&channels));
                }
                PerMiner => assert_eq!(channels, present.len()),
            }
        }
        let parts: BTreeSet<_> = present
            .iter()
            .map(|miner| self.world.miners[*miner].part())
            .collect();
        assert_eq!(parts.len(), present.len(), "each searches for itself");
        self.check();
    }
}

fn check(kind: Kind) {
    for seed in 1..=RUNS {
        let mut model = Model::new(kind, seed);
        let mut told = Told(kind, seed, 0);
        for _ in 0..CHAPTERS {
            for _ in 0..STEPS {
                told.2 += 1;
                model.step();
                model.check();
            }
            model.end_chapter();
        }
    }
}

#[test]
fn whatever_happens_with_one_channel_for_all() {
    check(Kind::in_order(Aggregated));
}

#[test]
fn whatever_happens_with_a_channel_each() {
    check(Kind::in_order(PerMiner));
}

#[test]
fn whatever_happens_with_two_used_together_in_different_modes() {
    check(Kind {
        modes: [Aggregated, PerMiner, PerMiner],
        priorities: [0, 0, 1],
        is_changed: false,
    });
}

#[test]
fn whatever_happens_while_the_operator_changes_the_configuration() {
    check(Kind {
        modes: [PerMiner, Aggregated, Aggregated],
        priorities: [0, 0, 0],
        is_changed: true,
    });
}
