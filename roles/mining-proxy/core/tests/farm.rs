//! A farm of Sv2 devices against a naive reference: whatever devices, upstreams and time do, and in whatever order.
//!
//! Each run is made of random steps of one seed, which is told when a run fails; `FARM_SEED=7 cargo test …` runs that one
//! alone. The reference writes down what each server said and knows nothing of how the proxy works: what a device hears
//! of its share must be what it thinks of it, and what the proxy hands in must be good there and the same share.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ChannelMode::{Aggregated, PerMiner};
use common::device::{Extended, FoundShare, NAMING, PLAIN, SMALL, Standard, TERMS};
use common::referee::{Judgement, Referee, Share};
use common::upstream::{NO_CHANNEL, Reach};
use common::{Frame, LinkEvent, World, config};
use const_sv2::Protocol;
use mining_proxy_core::{ChannelMode, LinkId, ProxyConfig};
use mining_sv2::{MiningMessage, SubmitSharesStandard};
use roles_logic_sv2::channels::client::{OpenTerms, Work};
use roles_logic_sv2::channels::server::MAX_EARLIER_GROUPS;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::target::Target;

/// Runs, chapters of a run, steps of a chapter: a million steps.
const RUNS: u64 = 100;
const CHAPTERS: usize = 50;
const STEPS: usize = 200;

/// Devices at a time, and channels of each.
const MAX_DEVICES: usize = 6;
const MAX_CHANNELS: usize = 3;

/// What an upstream says, or its end, after the share was taken here.
fn is_upstreams_word(code: &str) -> bool {
    matches!(code, "no-way" | "upstream-lost")
}

/// A job that is older than so many targets of its channel may count at the easiest.
const TARGETS_KNOWN: usize = 8;

/// Places that a channel was moved away from and whose jobs it may still hand in shares for, beside its own. Each gave it
/// other work, so a job that is older than so many works may be one of a place before those.
const PLACES_KNOWN: usize = MAX_EARLIER_GROUPS;

/// Works of a channel that are mined on after others came.
const WORKS_KEPT: usize = 4;

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

fn rules(modes: [ChannelMode; 3], priorities: [u32; 3]) -> ProxyConfig {
    let mut config = config(Aggregated, 3);
    for (at, upstream) in config.upstreams.iter_mut().enumerate() {
        (upstream.mode, upstream.priority) = (modes[at], priorities[at]);
        upstream.weight = 1 + at as u32;
    }
    config
}

/// Whether this work may have the same share as the one before.
fn is_as_before(before: &Work, found: &FoundShare, work: &Work) -> bool {
    let is_same_tip = before.tip().is_same_block(work.tip());
    let has_room = found.extranonce.len() == work.extranonce_size();
    is_same_tip
        && has_room
        && before.channel_id() == work.channel_id()
        && found.ntime >= work.min_ntime()
}

fn mining(frame: &Frame, peer: Peer, act: impl FnOnce(&MiningMessage<'_>)) {
    let (extension_type, msg_type, payload) = frame;
    let routed = Router::new(Protocol::MINING, peer).route(*extension_type, *msg_type, payload);
    if let Ok(routed) = routed
        && let AnyMessage::Mining(message) = routed.message
    {
        act(&message);
    }
}

/// A device's side.
#[derive(Default)]
struct Seat {
    referee: Referee,
    /// Frames that the referee has heard.
    heard: usize,
    /// Rejections that were looked at.
    rejected: usize,
    /// The last works of each channel.
    works: BTreeMap<u32, Vec<Work>>,
    last: Option<(Work, FoundShare)>,
    /// Hashes of shares that were called stale: here, or there after they were taken.
    stale: BTreeSet<[u8; 32]>,
}

struct Farm {
    world: World,
    random: Random,
    seats: Vec<Seat>,
    upstreams: BTreeMap<LinkId, Referee>,
    /// Hashes of what was handed in since the last look.
    handed_in: Vec<[u8; 32]>,
}

impl Farm {
    fn new(config: ProxyConfig, seed: u64) -> Self {
        let mut world = World::still(config);
        world.link_events = Some(Vec::new());
        world.run();
        Self {
            world,
            random: Random::new(seed),
            seats: Vec::new(),
            upstreams: BTreeMap::new(),
            handed_in: Vec::new(),
        }
    }

    fn present(&self) -> Vec<usize> {
        let devices = self.world.devices.iter().enumerate();
        let present = devices.filter(|(_, device)| !device.is_gone);
        present.map(|(index, _)| index).collect()
    }

    fn channels(&self, device: usize) -> Vec<u32> {
        let channels = self.world.devices[device].session.channels().channels();
        channels.map(|channel| channel.id()).collect()
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 => self.comes(),
            1 => self.opens(),
            2 => self.goes(),
            3..11 => self.digs(),
            11..14 => self.upstream_works(),
            14 => self.upstream_changes(),
            15 => self.upstream_breaks(),
            16 => self.upstream_talks(),
            17 => self.updates(),
            _ => self.time_passes(),
        }
        self.listen();
    }

    fn comes(&mut self) {
        if self.present().len() < MAX_DEVICES {
            let kind = [PLAIN, NAMING, SMALL][self.random.below(3)];
            let device = self.world.device(kind);
            self.seats.resize_with(device + 1, Seat::default);
        }
    }

    fn opens(&mut self) {
        let present = self.present();
        let Some(device) = self.random.pick(&present) else {
            return;
        };
        if self.channels(device).len() >= MAX_CHANNELS {
            return;
        }
        let kind = if self.random.one_in(2) {
            Standard
        } else {
            Extended
        };
        let terms = OpenTerms {
            min_extranonce_size: if kind == Extended {
                self.random.below(9) as u16
            } else {
                0
            },
            ..TERMS
        };
        let user = format!("farm.rig{}", self.random.below(9));
        self.world.opens_with(device, kind, &user, terms);
    }

    fn goes(&mut self) {
        let present = self.present();
        let Some(device) = self.random.pick(&present) else {
            return;
        };
        let channels = self.channels(device);
        match self
            .random
            .pick(&channels)
            .filter(|_| self.random.one_in(2))
        {
            Some(channel_id) => {
                self.seats[device].referee.closes(channel_id);
                self.world.device_closes(device, channel_id);
            }
            None if self.random.one_in(3) => self.world.device_leaves(device),
            None => {}
        }
    }

    fn updates(&mut self) {
        let present = self.present();
        let Some(device) = self.random.pick(&present) else {
            return;
        };
        let channels = self.channels(device);
        if let Some(channel_id) = self.random.pick(&channels) {
            let terms = OpenTerms {
                nominal_hash_rate: self.random.below(1_000) as f32,
                ..TERMS
            };
            self.world.device_updates(device, channel_id, terms);
        }
    }

    /// A share, good or not, and what is said of it.
    fn digs(&mut self) {
        let present = self.present();
        let Some(device) = self.random.pick(&present) else {
            return;
        };
        let works: Vec<usize> = (0..self.seats[device].works.len()).collect();
        let Some(at) = self.random.pick(&works) else {
            return;
        };
        let works: Vec<Work> = self.seats[device].works.values().nth(at).unwrap().clone();
        let work = match self.random.below(4) {
            0 => works[self.random.below(works.len())].clone(),
            _ => works.last().unwrap().clone(),
        };
        let again = self.seats[device].last.clone();
        let (work, found) = match (self.random.below(8), again) {
            (0, Some((work, found))) => (work, found),
            // Firmware that begins each job anew finds it again.
            (1, Some((before, found))) if is_as_before(&before, &found, &work) => (work, found),
            (1, _) => {
                let mut found = self.world.devices[device].find_below(&work, &Target::MAX);
                found.nonce = self.random.below(1 << 30) as u32;
                (work, found)
            }
            _ => {
                let found = self.world.devices[device].find_below(&work, work.target());
                (work, found)
            }
        };
        if self.world.devices[device]
            .session
            .channels()
            .channel(work.channel_id())
            .is_none()
        {
            return;
        }
        self.seats[device].last = Some((work.clone(), found.clone()));
        self.hands_in(device, &work, &found);
    }

    fn hands_in(&mut self, device: usize, work: &Work, found: &FoundShare) {
        let share = Share {
            channel_id: work.channel_id(),
            job_id: work.job_id(),
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
            extranonce: found.extranonce.clone(),
        };
        let referee = &self.seats[device].referee;
        let (judged, is_over) = (referee.judges(&share), referee.is_over(&share));
        let is_older = referee.is_older(&share, TARGETS_KNOWN);
        let is_far_back = referee.is_before_works(&share, PLACES_KNOWN);
        let hash = referee.hash(&share);
        let links = self.world.live_links();
        let behind = self
            .upstreams
            .iter()
            .filter(|(link, _)| links.contains(link));
        let behind = behind.filter_map(|(_, upstream)| upstream.stands_behind(referee, &share));
        let behind: Vec<Target> = behind.collect();
        self.handed_in.clear();
        self.world.hands_in(device, work, found, None);
        self.listen_to_links();
        let code = self.new_code(device);
        let handed_in = std::mem::take(&mut self.handed_in);
        if code.as_deref().is_none_or(is_upstreams_word) {
            self.seats[device].referee.takes(&share);
        }
        assert!(handed_in.len() <= 1, "one share is handed in once");
        if let [sent] = handed_in[..] {
            assert_eq!(Some(sent), hash, "another share than the device's");
            let is_share = judged == Judgement::Good || judged == Judgement::Low && is_older;
            assert!(is_share, "{judged:?} here, handed in there: {share:?}");
        }
        let counts = |target: &Target| hash.is_some_and(|hash| target.is_met_by(&hash));
        match (judged, code.as_deref()) {
            // Where it is known whose job it was, nothing that counts stays here.
            (Judgement::Good, None) if handed_in.is_empty() => {
                assert!(!behind.iter().any(counts), "a share that counts was kept");
            }
            (Judgement::Good, None) => {}
            (Judgement::Good, Some(code)) if is_upstreams_word(code) => {}
            // The easiest of the targets it had may count.
            (Judgement::Low, code) if is_older && code.is_none_or(is_upstreams_word) => {}
            (_, Some("stale-share")) if is_over => self.seats[device].stale.extend(hash),
            (_, Some("invalid-job-id")) if is_over => {}
            (_, Some("duplicate-share"))
                if is_over && hash.is_some_and(|hash| self.seats[device].stale.contains(&hash)) => {
            }
            (_, Some("stale-share")) if is_far_back => {}
            (_, Some("stale-share")) => {
                assert!(
                    behind.is_empty(),
                    "its upstream is there, and has no other tip"
                );
            }
            (Judgement::Low, Some("difficulty-too-low")) => {}
            (Judgement::Again, Some("duplicate-share")) => {}
            (Judgement::NoJob, Some("invalid-job-id")) => {}
            other => panic!("{other:?}: {share:?}"),
        }
    }

    /// What the device was told of its last share, if it was rejected.
    fn new_code(&mut self, device: usize) -> Option<String> {
        let rejected = &self.world.devices[device].rejected;
        let from = std::mem::replace(&mut self.seats[device].rejected, rejected.len());
        let number = self.world.devices[device].submitted_last;
        let new = rejected[from..].iter();
        let own = new.filter(|(channel, sequence, _)| Some((*channel, *sequence)) == number);
        own.map(|(.., code)| code.clone()).next()
    }

    fn upstream_works(&mut self) {
        let Some((at, link, channel)) = self.somewhere() else {
            return;
        };
        let upstream = &mut self.world.upstreams[at];
        match self.random.below(5) {
            0 | 1 => upstream.new_tip(link),
            2 => drop(upstream.new_job(link)),
            3 => {
                let prefix = [9, 9, 9, self.random.below(250) as u8];
                let is_standard =
                    { upstream.channels.iter() }.any(|at| at.id == channel && at.is_standard);
                if channel != NO_CHANNEL && !is_standard {
                    upstream.set_prefix(link, channel, prefix);
                }
            }
            _ => {
                let difficulty = 2f64.powi(-32 - self.random.below(3) as i32);
                let target = Target::from_difficulty(difficulty).unwrap();
                if channel != NO_CHANNEL {
                    upstream.set_target(link, channel, target.to_le_bytes());
                }
            }
        }
        self.world.run();
    }

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

    /// From now on this upstream is like that.
    fn upstream_changes(&mut self) {
        let upstream = &mut self.world.upstreams[self.random.below(3)];
        let is_good = self.random.one_in(2);
        match self.random.below(6) {
            0 => upstream.refuses_opens = (!is_good).then_some("no-way"),
            1 => upstream.ignores_opens = !is_good,
            2 => upstream.withholds_work = !is_good,
            3 => upstream.verdict = is_good.then_some(Ok(())),
            4 => upstream.verdict = Some(if is_good { Ok(()) } else { Err("no-way") }),
            _ => upstream.reach = if is_good { Reach::Up } else { Reach::Refused },
        }
    }

    fn upstream_breaks(&mut self) {
        let at = self.random.below(3);
        match self.random.below(3) {
            0 => self.world.cut(at),
            1 => self.world.kill(at),
            _ => self.world.revive(at),
        }
        self.world.run();
    }

    fn upstream_talks(&mut self) {
        let Some((at, link, channel)) = self.somewhere() else {
            return;
        };
        let upstream = &mut self.world.upstreams[at];
        match self.random.below(4) {
            0 => upstream.reconnect(link, "", 0),
            1 if channel != NO_CHANNEL => upstream.close(link, channel),
            2 => upstream.answers(self.random.below(8), Ok(())),
            _ => upstream.answers(self.random.below(4), Err("no-way")),
        }
        self.world.run();
    }

    fn time_passes(&mut self) {
        let ms = [10, 100, 1_000, 5_000, 20_000][self.random.below(5)];
        self.world.waits(Duration::from_millis(ms));
    }

    /// Brings the reference up to date.
    fn listen(&mut self) {
        self.listen_to_links();
        self.handed_in.clear();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let device = &self.world.devices[index];
            if device.is_gone {
                continue;
            }
            for frame in &device.frames[seat.heard..] {
                mining(frame, Peer::Server, |message| seat.referee.hears(message));
            }
            seat.heard = device.frames.len();
            seat.rejected = device.rejected.len();
            let open: Vec<u32> = { device.session.channels().channels() }
                .map(|channel| channel.id())
                .collect();
            seat.works.retain(|channel_id, _| open.contains(channel_id));
            for channel_id in open {
                let Some(work) = device.session.channels().work(channel_id) else {
                    continue;
                };
                let works = seat.works.entry(channel_id).or_default();
                if works
                    .last()
                    .is_none_or(|last| last.job_id() != work.job_id())
                {
                    works.push(work.clone());
                }
                if works.len() > WORKS_KEPT {
                    works.remove(0);
                }
            }
        }
    }

    /// What went to and fro between the proxy and upstreams, in order.
    fn listen_to_links(&mut self) {
        let events = self.world.link_events.replace(Vec::new()).unwrap();
        for (link, event) in events {
            let referee = self.upstreams.entry(link).or_default();
            match event {
                LinkEvent::Heard(frame) => {
                    mining(&frame, Peer::Server, |message| referee.hears(message));
                }
                LinkEvent::Sent(frame) => mining(&frame, Peer::Client, |message| {
                    let share = match message {
                        MiningMessage::SubmitSharesExtended(m) => Share {
                            channel_id: m.channel_id,
                            job_id: m.job_id,
                            nonce: m.nonce,
                            ntime: m.ntime,
                            version: m.version,
                            extranonce: m.extranonce.as_bytes().to_vec(),
                        },
                        MiningMessage::SubmitSharesStandard(m) => standard(m),
                        MiningMessage::CloseChannel(m) => return referee.closes(m.channel_id),
                        _ => return,
                    };
                    let judged = referee.judges(&share);
                    assert_eq!(judged, Judgement::Good, "handed in: {share:?}");
                    assert!(!referee.is_over(&share), "late when handed in: {share:?}");
                    self.handed_in.extend(referee.hash(&share));
                    referee.takes(&share);
                }),
            }
        }
        let links = self.world.live_links();
        self.upstreams.retain(|link, _| links.contains(link));
    }

    /// All upstreams are well again, and so must all devices be.
    fn check_chapter(&mut self) {
        for at in 0..3 {
            let upstream = &mut self.world.upstreams[at];
            upstream.refuses_opens = None;
            (upstream.ignores_opens, upstream.withholds_work) = (false, false);
            upstream.verdict = Some(Ok(()));
            upstream.reach = Reach::Up;
            upstream.answers(usize::MAX, Ok(()));
            self.world.revive(at);
        }
        self.world.waits_secs(120);
        self.listen();
        for device in self.present() {
            for channel_id in self.channels(device) {
                let work = self.world.devices[device].try_work(channel_id).cloned();
                let work = work.expect("an open channel has work");
                let found = self.world.devices[device].find_below(&work, work.target());
                self.hands_in(device, &work, &found);
                self.listen();
            }
        }
        self.world.waits_secs(10);
        self.listen();
        for device in self.present() {
            let channels = self.world.devices[device].session.channels().channels();
            for channel in channels {
                assert_eq!(channel.in_flight(), 0, "each share is answered");
            }
        }
        self.world.assert_books_balance();
    }
}

const fn standard(message: &SubmitSharesStandard) -> Share {
    Share {
        channel_id: message.channel_id,
        job_id: message.job_id,
        nonce: message.nonce,
        ntime: message.ntime,
        version: message.version,
        extranonce: Vec::new(),
    }
}

fn run(seed: u64) {
    let modes = [
        [Aggregated; 3],
        [PerMiner; 3],
        [Aggregated, PerMiner, PerMiner],
        [PerMiner, Aggregated, Aggregated],
    ];
    let priorities = [[0, 1, 2], [0, 0, 1], [0, 0, 0]];
    let at = seed as usize;
    let config = rules(
        modes[at % modes.len()],
        priorities[at / modes.len() % priorities.len()],
    );
    let mut farm = Farm::new(config, seed);
    for _ in 0..CHAPTERS {
        for _ in 0..STEPS {
            farm.step();
        }
        farm.check_chapter();
    }
    assert!(
        farm.seats.iter().any(|seat| seat.last.is_some()),
        "nobody mined"
    );
}

/// Tells the seed of a run that fails.
fn tell(seed: u64) {
    let failed = std::panic::catch_unwind(|| run(seed));
    if failed.is_err() {
        panic!("the farm of seed {seed} failed; FARM_SEED={seed} runs it alone");
    }
}

/// Runs these seeds, or the one that was asked for.
fn run_all(seeds: impl Iterator<Item = u64>) {
    match option_env!("FARM_SEED") {
        Some(seed) => run(seed.parse().unwrap()),
        None => seeds.for_each(tell),
    }
}

// In two, as tests run beside each other.

#[test]
fn a_farm_agrees_with_the_naive_reference_whatever_happens() {
    run_all((0..RUNS).step_by(2));
}

#[test]
fn another_farm_agrees_with_the_naive_reference_too() {
    run_all((1..RUNS).step_by(2));
}
