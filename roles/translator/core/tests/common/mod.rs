//! Sv1 miners, the translator's core and upstreams in one dialogue, in virtual time.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test may fail"
)]

pub(crate) mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_translation::bridge::BridgeConfig;
use sv1_api::client::{
    ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
};
use sv1_api::server::{CloseReason, ServerConfig};
use translator_core::{
    ChannelMode, LinkId, LinkOutput, MinerId, MinerOutput, Note, Output, Snapshot, Translator,
    TranslatorConfig, UpstreamConfig, UpstreamStanding,
};
use upstream::{Reach, Upstream};

pub(crate) const START_SECS: u32 = 1_700_000_000;

/// The easiest shares there are: each hash is one.
pub(crate) fn config(mode: ChannelMode, upstreams: usize) -> TranslatorConfig {
    let names = ["a.example", "b.example", "c.example"];
    let upstreams = names.iter().take(upstreams);
    TranslatorConfig {
        upstreams: upstreams
            .zip(["farm-a", "farm-b", "farm-c"])
            .map(|(host, identity)| UpstreamConfig {
                user_identity: Some(identity.to_owned()),
                ..UpstreamConfig::new(host, 3333)
            })
            .collect(),
        mode,
        bridge: BridgeConfig {
            server: ServerConfig::default(),
            vardiff: VardiffConfig {
                shares_per_minute: 10.0,
                min_difficulty: 2f64.powi(-32),
            },
            nominal_hashrate: 1.0,
            limits: ShareLimits::default(),
        },
        ..TranslatorConfig::default()
    }
}

/// An Sv1 miner.
pub(crate) struct Miner {
    pub(crate) id: MinerId,
    session: ClientSession,
    pub(crate) jobs: Vec<Arc<ClientJob>>,
    pub(crate) accepted: u64,
    pub(crate) rejected: Vec<String>,
    /// Every line it was sent.
    pub(crate) lines: Vec<String>,
    pub(crate) closed: Option<CloseReason>,
    is_gone: bool,
    nonce: u32,
    is_raw: bool,
}

impl Miner {
    pub(crate) fn last_job(&self) -> Arc<ClientJob> {
        self.jobs.last().expect("a job").clone()
    }

    pub(crate) fn was_told(&self, what: &str) -> bool {
        self.lines.iter().any(|line| line.contains(what))
    }

    pub(crate) fn session_name(&self) -> String {
        self.session.session().expect("subscribed").to_owned()
    }
}

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) translator: Translator,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) miners: Vec<Miner>,
    /// Connections under way, and the upstream that each goes to.
    links: BTreeMap<LinkId, usize>,
    pub(crate) notes: Vec<Note>,
    /// Where connections were made to, in order.
    pub(crate) connects: Vec<String>,
}

impl World {
    /// The translator with so many upstreams, all of them well.
    pub(crate) fn new(config: TranslatorConfig) -> Self {
        let now = Now {
            instant: Instant::from_secs(1_000),
            unix_secs: u64::from(START_SECS),
        };
        let upstreams = config.upstreams.iter().map(|_| Upstream::new());
        let mut world = Self {
            upstreams: upstreams.collect(),
            translator: Translator::new(Arc::new(config), [7; 16], now).unwrap(),
            now,
            miners: Vec::new(),
            links: BTreeMap::new(),
            notes: Vec::new(),
            connects: Vec::new(),
        };
        world.run();
        world
    }

    pub(crate) fn with(mode: ChannelMode, upstreams: usize) -> Self {
        Self::new(config(mode, upstreams))
    }

    /// A miner of the kind that says nothing of extranonces, at work.
    pub(crate) fn miner(&mut self, user: &str) -> usize {
        self.miner_with(ClientConfig {
            user_agent: "cpuminer/2.5.1".to_owned(),
            ..ClientConfig::new("translator.example", user)
        })
    }

    pub(crate) fn miner_with(&mut self, config: ClientConfig) -> usize {
        let id = self.translator.miner_connected(self.now).expect("room");
        self.miners.push(Miner {
            id,
            session: ClientSession::new(config, self.now),
            jobs: Vec::new(),
            accepted: 0,
            rejected: Vec::new(),
            lines: Vec::new(),
            closed: None,
            is_gone: false,
            nonce: 0,
            is_raw: false,
        });
        self.run();
        self.miners.len() - 1
    }

    /// A miner whose lines the test writes.
    pub(crate) fn raw_miner(&mut self) -> usize {
        let id = self.translator.miner_connected(self.now).expect("room");
        let config = ClientConfig::new("translator.example", "raw");
        self.miners.push(Miner {
            id,
            session: ClientSession::new(config, self.now),
            jobs: Vec::new(),
            accepted: 0,
            rejected: Vec::new(),
            lines: Vec::new(),
            closed: None,
            is_gone: false,
            nonce: 0,
            is_raw: true,
        });
        self.miners.len() - 1
    }

    pub(crate) fn sends(&mut self, miner: usize, line: &str) {
        let id = self.miners[miner].id;
        self.translator.handle_line(id, line.as_bytes(), self.now);
        self.run();
    }

    pub(crate) fn leaves(&mut self, miner: usize) {
        self.miners[miner].is_gone = true;
        let id = self.miners[miner].id;
        self.translator.miner_closed(id, self.now);
        self.run();
    }

    /// Finds and hands in a share of the miner's last job.
    pub(crate) fn mine(&mut self, miner: usize) {
        let job = self.miners[miner].last_job();
        self.mine_on(miner, &job);
    }

    pub(crate) fn mine_on(&mut self, miner: usize, job: &ClientJob) {
        let miner = &mut self.miners[miner];
        let extranonce2 = vec![5; job.extranonce2_size()];
        loop {
            miner.nonce += 1;
            let share = FoundShare {
                extranonce2: &extranonce2,
                ntime: job.notify().ntime,
                nonce: miner.nonce,
                version: job.notify().version,
            };
            if job.target().is_met_by(&job.header(&share).hash()) {
                // The session refuses what it knows to be stale; that is the test's own business.
                let _ = miner.session.submit(job, &share);
                break;
            }
        }
        self.run();
    }

    /// Lets messages go to and fro until nobody has anything to say.
    pub(crate) fn run(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(output) = self.translator.poll_output() {
                is_idle = false;
                self.handle_output(output);
            }
            while self.translator.poll_wake().is_some() {}
            let links: Vec<_> = self.links.iter().map(|(id, at)| (*id, *at)).collect();
            for (id, at) in links {
                is_idle &= !self.pump_link(id, at);
            }
            for index in 0..self.miners.len() {
                is_idle &= !self.pump_miner(index);
            }
            if is_idle {
                return;
            }
        }
    }

    fn handle_output(&mut self, output: Output) {
        let connect = match output {
            Output::Note(note) => return self.notes.push(note),
            Output::Connect(connect) => connect,
        };
        self.connects
            .push(format!("{}:{}", connect.host, connect.port));
        let upstream = &mut self.upstreams[connect.upstream];
        match upstream.reach {
            Reach::Up => {
                upstream.connected(connect.link);
                self.links.insert(connect.link, connect.upstream);
                self.translator.link_connected(connect.link, self.now);
            }
            Reach::Refused => {
                let now = self.now;
                self.translator
                    .link_closed(connect.link, "connection refused", now);
            }
            // Nothing comes back; the shell would give up later.
            Reach::Silent => {
                self.links.insert(connect.link, connect.upstream);
            }
        }
    }

    fn pump_link(&mut self, id: LinkId, at: usize) -> bool {
        let mut is_any = false;
        while let Some(output) = self.translator.poll_link_output(id) {
            is_any = true;
            match output {
                LinkOutput::Send(message) => self.upstreams[at].takes(id, &message),
                LinkOutput::Share(share) => self.upstreams[at].takes_share(id, share),
                LinkOutput::Close => {
                    self.links.remove(&id);
                    self.upstreams[at].disconnected(id);
                    return true;
                }
            }
        }
        while let Some(message) = self.upstreams[at].says(id) {
            is_any = true;
            let kind = message.kind();
            let payload = binary_sv2::Encodable::to_vec(&message);
            let (extension_type, msg_type) = (kind.wire_extension_type(), kind.msg_type);
            self.translator
                .handle_link_frame(id, extension_type, msg_type, &payload, self.now);
        }
        is_any
    }

    fn pump_miner(&mut self, index: usize) -> bool {
        let mut is_any = false;
        let miner = &mut self.miners[index];
        if miner.is_gone {
            return false;
        }
        while let Some(output) = self.translator.poll_miner_output(miner.id) {
            is_any = true;
            match output {
                MinerOutput::Send(line) => {
                    miner.session.handle_line(line.as_bytes(), self.now);
                    miner.lines.push(line.trim_end().to_owned());
                }
                MinerOutput::Close(reason) => {
                    miner.closed = Some(reason);
                    miner.is_gone = true;
                    self.translator.miner_closed(miner.id, self.now);
                    return true;
                }
            }
        }
        while let Some(output) = miner.session.poll_output() {
            match output {
                _ if miner.is_raw => {}
                ClientOutput::Send(line) => {
                    is_any = true;
                    self.translator
                        .handle_line(miner.id, line.as_bytes(), self.now);
                }
                ClientOutput::Event(ClientEvent::Work(job)) => miner.jobs.push(job),
                ClientOutput::Event(ClientEvent::Accepted { .. }) => miner.accepted += 1,
                ClientOutput::Event(ClientEvent::Rejected { error, .. }) => {
                    miner.rejected.push(error.message);
                }
                ClientOutput::Event(_) | ClientOutput::Close(_) => {}
            }
        }
        is_any
    }

    /// The next moment at which something is due, and what.
    fn next_due(&self) -> Option<Instant> {
        let links = self.links.keys();
        let links = links.filter_map(|id| self.translator.poll_link_timeout(*id));
        let miners = self.miners.iter().filter(|miner| !miner.is_gone);
        let miners = miners.flat_map(|miner| {
            let session = miner.session.poll_timeout().filter(|_| !miner.is_raw);
            [self.translator.poll_miner_timeout(miner.id), session]
        });
        let timers = links.chain(miners.flatten());
        timers.chain(self.translator.poll_timeout()).min()
    }

    pub(crate) fn waits(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        let mut turns = 0;
        while let Some(due) = self.next_due().filter(|due| *due <= end.instant) {
            turns += 1;
            assert!(turns < 100_000, "time stands still at {due:?}");
            self.now = self.now.after(due - self.now.instant);
            self.timeouts();
            self.run();
        }
        self.now = self.now.after(end.instant - self.now.instant);
    }

    pub(crate) fn waits_secs(&mut self, secs: u64) {
        self.waits(Duration::from_secs(secs));
    }

    fn timeouts(&mut self) {
        let now = self.now;
        self.translator.handle_timeout(now);
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.translator.handle_link_timeout(id, now);
        }
        for miner in &mut self.miners {
            if !miner.is_gone {
                self.translator.handle_miner_timeout(miner.id, now);
                miner.session.handle_timeout(now);
            }
        }
    }

    /// The connections of an upstream break, and it is gone.
    pub(crate) fn kill(&mut self, at: usize) {
        self.upstreams[at].reach = Reach::Refused;
        self.cut(at);
    }

    /// The connections of an upstream break.
    pub(crate) fn cut(&mut self, at: usize) {
        let links = self.links.iter().filter(|(_, upstream)| **upstream == at);
        for id in links.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.links.remove(&id);
            self.upstreams[at].disconnected(id);
            self.translator
                .link_closed(id, "the peer closed the connection", self.now);
        }
        self.run();
    }

    pub(crate) fn revive(&mut self, at: usize) {
        self.upstreams[at].reach = Reach::Up;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.translator.snapshot(self.now)
    }

    /// The upstream that is used.
    pub(crate) fn used(&self) -> Option<usize> {
        let upstreams = self.snapshot().upstreams;
        let mut standing = upstreams.iter().map(|upstream| upstream.standing);
        standing.position(|standing| standing == UpstreamStanding::Used)
    }

    /// The one connection to an upstream.
    pub(crate) fn link(&self, at: usize) -> LinkId {
        let links = self.links.iter().filter(|(_, upstream)| **upstream == at);
        let links: Vec<_> = links.map(|(id, _)| *id).collect();
        assert_eq!(links.len(), 1, "connections to upstream {at}");
        links[0]
    }

    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// Each accepted share has gone somewhere, and nothing is counted twice.
    pub(crate) fn assert_books_balance(&self) {
        let snapshot = self.snapshot();
        let upstream = snapshot.upstream;
        assert_eq!(
            snapshot.accepted,
            upstream.passed_on + upstream.below_target,
            "{upstream:?}"
        );
        let waiting = upstream.passed_on - upstream.accepted - upstream.rejected - upstream.lost;
        let unanswered: usize = self.upstreams.iter().map(Upstream::unanswered).sum();
        assert_eq!(waiting as usize, unanswered, "{upstream:?}");
        let heard: u64 = self.miners.iter().map(|miner| miner.accepted).sum();
        assert_eq!(heard, snapshot.accepted);
    }
}
