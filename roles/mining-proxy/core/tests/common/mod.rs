//! Sv1 miners, Sv2 devices, the proxy's core and upstreams in one dialogue, in virtual time.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test may fail"
)]

pub(crate) mod device;
pub(crate) mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{Encodable as _, Message as _};
use extensions_sv2::WorkerIdentity;
use mining_proxy_core::{
    ChannelMode, DeviceId, LinkId, LinkOutput, MinerId, MinerOutput, Note, Output, Proxy,
    ProxyConfig, Snapshot, UpstreamConfig, UpstreamSnapshot, UpstreamStanding, Wake,
};
use mining_sv2::{SubmitSharesExtended, SubmitSharesStandard};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::{AnyMessage, ForwardedFrame};
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::OutgoingShare;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_translation::bridge::BridgeConfig;
use sv1_api::client::{
    ClientConfig, ClientEnd, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
};
use sv1_api::server::{CloseReason, ServerConfig};

use device::Device;
use upstream::{Reach, Upstream};

pub(crate) const START_SECS: u32 = 1_700_000_000;

/// The easiest shares there are: each hash is one.
pub(crate) fn config(mode: ChannelMode, upstreams: usize) -> ProxyConfig {
    let names = ["a.example", "b.example", "c.example"];
    let upstreams = names.iter().take(upstreams);
    ProxyConfig {
        upstreams: upstreams
            .zip(["farm-a", "farm-b", "farm-c"])
            .zip(0..)
            .map(|((host, identity), priority)| UpstreamConfig {
                user_identity: Some(identity.to_owned()),
                mode,
                priority,
                ..UpstreamConfig::new(host, 3333)
            })
            .collect(),
        bridge: BridgeConfig {
            server: ServerConfig::default(),
            vardiff: VardiffConfig {
                shares_per_minute: 10.0,
                min_difficulty: 2f64.powi(-32),
            },
            nominal_hashrate: 1.0,
            limits: ShareLimits::default(),
        },
        ..ProxyConfig::default()
    }
}

/// An Sv1 miner.
pub(crate) struct Miner {
    pub(crate) id: MinerId,
    pub(crate) user: String,
    session: ClientSession,
    pub(crate) jobs: Vec<Arc<ClientJob>>,
    pub(crate) accepted: u64,
    pub(crate) rejected: Vec<String>,
    /// Every line it was sent.
    pub(crate) lines: Vec<String>,
    /// Why the proxy closed the connection.
    pub(crate) closed: Option<CloseReason>,
    /// Why the miner would.
    pub(crate) ended: Option<ClientEnd>,
    pub(crate) is_gone: bool,
    nonce: u32,
    /// Rolls all that it may.
    pub(crate) rolls: bool,
    is_raw: bool,
    next_id: u32,
}

impl Miner {
    fn new(id: MinerId, config: ClientConfig, is_raw: bool, now: Now) -> Self {
        Self {
            id,
            user: config.user.clone(),
            session: ClientSession::new(config, now),
            jobs: Vec::new(),
            accepted: 0,
            rejected: Vec::new(),
            lines: Vec::new(),
            closed: None,
            ended: None,
            is_gone: false,
            nonce: 0,
            rolls: false,
            is_raw,
            next_id: 9_000,
        }
    }

    pub(crate) fn last_job(&self) -> Arc<ClientJob> {
        self.jobs.last().expect("a job").clone()
    }

    pub(crate) fn was_told(&self, what: &str) -> bool {
        self.lines.iter().any(|line| line.contains(what))
    }

    /// Whether it was ever sent a job.
    pub(crate) fn has_job(&self) -> bool {
        self.was_told(r#""method":"mining.notify""#)
    }

    /// Whether it mines on as if nothing had happened.
    pub(crate) fn is_undisturbed(&self) -> bool {
        let is_told = self.was_told("client.reconnect") || self.was_told("mining.set_extranonce");
        self.closed.is_none() && self.ended.is_none() && !is_told
    }

    /// What it was given to begin its extranonce with, and the bytes that it rolls.
    pub(crate) fn extranonce(&self) -> (String, u64) {
        let mut lines = self.lines.iter();
        let line = lines.find(|line| line.contains("mining.set_difficulty\",\""));
        let json: serde_json::Value = serde_json::from_str(line.expect("subscribed")).unwrap();
        let result = &json["result"];
        (
            result[1].as_str().unwrap().to_owned(),
            result[2].as_u64().unwrap(),
        )
    }

    /// What tells it apart from others on its channel.
    pub(crate) fn part(&self) -> String {
        let mut lines = self.lines.iter().rev();
        let changed = lines.find(|line| line.contains("mining.set_extranonce"));
        match changed {
            Some(line) => {
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                json["params"][0].as_str().unwrap().to_owned()
            }
            None => self.extranonce().0,
        }
    }

    pub(crate) fn session_name(&self) -> String {
        self.session.session().expect("subscribed").to_owned()
    }

    /// A share of the job, another one each time.
    pub(crate) fn find(&mut self, job: &ClientJob) -> Found {
        self.find_below(job, *job.target())
    }

    fn find_below(&mut self, job: &ClientJob, target: Target) -> Found {
        let mut found = Found {
            extranonce2: vec![5; job.extranonce2_size()],
            ntime: job.notify().ntime,
            nonce: 0,
            version: job.notify().version,
        };
        loop {
            self.nonce += 1;
            found.nonce = self.nonce;
            if self.rolls {
                let rolled = self.nonce.wrapping_mul(0x9e37_79b9);
                let bytes = rolled.to_be_bytes();
                found.extranonce2.fill(bytes[0]);
                found.ntime = job.notify().ntime + rolled % 5;
                found.version = job.notify().version ^ (rolled & job.version_mask());
            }
            if target.is_met_by(&job.header(&found.borrow()).hash()) {
                return found;
            }
        }
    }
}

/// What a miner found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) extranonce2: Vec<u8>,
    pub(crate) ntime: u32,
    pub(crate) nonce: u32,
    pub(crate) version: u32,
}

impl Found {
    pub(crate) fn borrow(&self) -> FoundShare<'_> {
        FoundShare {
            extranonce2: &self.extranonce2,
            ntime: self.ntime,
            nonce: self.nonce,
            version: self.version,
        }
    }

    /// The parameters of `mining.submit`.
    pub(crate) fn params(&self, user: &str, job: &ClientJob) -> String {
        let bytes = self.extranonce2.iter();
        let extranonce2: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        let (job_id, ntime, nonce) = (&job.notify().job_id, self.ntime, self.nonce);
        format!(r#""{user}","{job_id}","{extranonce2}","{ntime:08x}","{nonce:08x}""#)
    }
}

/// The answer to a request: its result, or the number and text of its error.
pub(crate) type Answer = Result<String, (i64, String)>;

/// Reads the line that answers a request.
pub(crate) fn answer(line: &str) -> Answer {
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    if let Some(error) = json["error"].as_array() {
        return Err((
            error[0].as_i64().unwrap(),
            error[1].as_str().unwrap().to_owned(),
        ));
    }
    Ok(json["result"].to_string())
}

/// An upstream that is no script: it takes and gives frames, as bytes.
pub(crate) trait Peer {
    fn connected(&mut self, link: LinkId, now: Now);
    fn disconnected(&mut self, link: LinkId, now: Now);
    fn takes(&mut self, link: LinkId, frame: Frame, now: Now);
    fn says(&mut self, link: LinkId, now: Now) -> Option<Frame>;
    fn poll_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Now);
}

/// Extension type with the channel bit, message type, payload.
pub(crate) type Frame = (u16, u8, Vec<u8>);

fn frame(message: &AnyMessage<'_>) -> Frame {
    let kind = message.kind();
    (kind.wire_extension_type(), kind.msg_type, message.to_vec())
}

fn standard_share_frame(share: &SubmitSharesStandard) -> Frame {
    let kind = SubmitSharesStandard::KIND;
    (kind.wire_extension_type(), kind.msg_type, share.to_vec())
}

fn foreign_frame(frame: ForwardedFrame) -> Frame {
    (frame.extension_type, frame.msg_type, frame.payload)
}

fn share_frame(share: &OutgoingShare) -> Frame {
    let kind = SubmitSharesExtended::KIND;
    let mut payload = share.message.to_vec();
    if let Some(worker) = &share.worker {
        WorkerIdentity::new(worker.as_bytes())
            .unwrap()
            .append_to(&mut payload);
    }
    (kind.wire_extension_type(), kind.msg_type, payload)
}

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) proxy: Proxy,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) miners: Vec<Miner>,
    pub(crate) devices: Vec<Device>,
    /// Connections under way, and the upstream that each goes to.
    links: BTreeMap<LinkId, usize>,
    /// Miners and connections to be looked at.
    busy: BTreeSet<usize>,
    busy_links: BTreeSet<LinkId>,
    busy_devices: BTreeSet<usize>,
    device_places: BTreeMap<DeviceId, usize>,
    places_of: BTreeMap<MinerId, usize>,
    place_of: BTreeMap<LinkId, String>,
    pub(crate) notes: Vec<Note>,
    /// Where connections were made to, in order.
    pub(crate) connects: Vec<String>,
    /// What becomes of attempts to connect there, whatever the upstream.
    pub(crate) places: BTreeMap<String, Reach>,
    /// Upstreams in whose place someone real stands.
    peers: BTreeMap<usize, Box<dyn Peer>>,
}

impl World {
    /// The proxy with so many upstreams, all of them well.
    pub(crate) fn new(config: ProxyConfig) -> Self {
        Self::prepared(config, |_| {})
    }

    /// The proxy with upstreams of which some are not well.
    pub(crate) fn prepared(config: ProxyConfig, prepare: impl FnOnce(&mut Vec<Upstream>)) -> Self {
        let mut world = Self::still(config);
        prepare(&mut world.upstreams);
        world.run();
        world
    }

    /// The proxy with real upstreams instead of the first ones.
    pub(crate) fn real(config: ProxyConfig, peers: Vec<Box<dyn Peer>>) -> Self {
        let mut world = Self::still(config);
        world.peers = peers.into_iter().enumerate().collect();
        world.run();
        world
    }

    /// Nobody has said anything yet.
    fn still(config: ProxyConfig) -> Self {
        let now = Now {
            instant: Instant::from_secs(1_000),
            unix_secs: u64::from(START_SECS),
        };
        Self {
            upstreams: config.upstreams.iter().map(|_| Upstream::new()).collect(),
            proxy: Proxy::new(Arc::new(config), [7; 16], now).unwrap(),
            now,
            miners: Vec::new(),
            devices: Vec::new(),
            busy_devices: BTreeSet::new(),
            device_places: BTreeMap::new(),
            links: BTreeMap::new(),
            busy: BTreeSet::new(),
            busy_links: BTreeSet::new(),
            places_of: BTreeMap::new(),
            place_of: BTreeMap::new(),
            notes: Vec::new(),
            connects: Vec::new(),
            places: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Another configuration; gives the places of its upstreams. New ones are well.
    pub(crate) fn reconfigure(&mut self, config: ProxyConfig) -> Vec<usize> {
        let places = self.proxy.reconfigure(Arc::new(config), self.now).unwrap();
        let last = places.iter().max().copied().unwrap_or_default();
        while self.upstreams.len() <= last {
            self.upstreams.push(Upstream::new());
        }
        self.run();
        places
    }

    pub(crate) fn with(mode: ChannelMode, upstreams: usize) -> Self {
        Self::new(config(mode, upstreams))
    }

    /// A miner of the kind that says nothing of extranonces, at work.
    pub(crate) fn miner(&mut self, user: &str) -> usize {
        self.miner_with(ClientConfig {
            user_agent: "cpuminer/2.5.1".to_owned(),
            ..ClientConfig::new("proxy.example", user)
        })
    }

    pub(crate) fn miner_with(&mut self, config: ClientConfig) -> usize {
        let miner = self.connects_as(config, false);
        self.run();
        miner
    }

    fn connects_as(&mut self, config: ClientConfig, is_raw: bool) -> usize {
        let id = self.proxy.miner_connected(self.now).expect("room");
        let miner = self.miners.len();
        assert_eq!(
            self.places_of.insert(id, miner),
            None,
            "an id of another miner"
        );
        self.miners.push(Miner::new(id, config, is_raw, self.now));
        self.busy.insert(miner);
        miner
    }

    /// So many miners, at work.
    pub(crate) fn crowd(&mut self, count: usize) -> Vec<usize> {
        let names = (0..count).map(|i| format!("alice.rig{i}"));
        names.map(|name| self.miner(&name)).collect()
    }

    /// A miner that comes back to its session.
    pub(crate) fn comes_back(&mut self, user: &str, session: String) -> usize {
        self.miner_with(ClientConfig {
            user_agent: "cpuminer/2.5.1".to_owned(),
            session: Some(session),
            ..ClientConfig::new("proxy.example", user)
        })
    }

    /// A miner whose lines the test writes.
    pub(crate) fn raw_miner(&mut self) -> usize {
        let config = ClientConfig::new("proxy.example", "raw");
        self.connects_as(config, true)
    }

    /// A miner whose lines the test writes, at work.
    pub(crate) fn raw_worker(&mut self, agent: &str, user: &str) -> usize {
        let miner = self.raw_miner();
        self.asks(miner, "mining.subscribe", &format!(r#""{agent}""#))
            .unwrap();
        let params = format!(r#""{user}","x""#);
        self.asks(miner, "mining.authorize", &params).unwrap();
        self.miners[miner].user = user.to_owned();
        miner
    }

    pub(crate) fn sends(&mut self, miner: usize, line: &str) {
        let id = self.miners[miner].id;
        self.proxy.handle_line(id, line.as_bytes(), self.now);
        self.busy.insert(miner);
        self.run();
    }

    /// Sends a request under a number of its own, and gives that.
    pub(crate) fn requests(&mut self, miner: usize, method: &str, params: &str) -> u32 {
        self.miners[miner].next_id += 1;
        let id = self.miners[miner].next_id;
        self.sends(
            miner,
            &format!(r#"{{"id":{id},"method":"{method}","params":[{params}]}}"#),
        );
        id
    }

    /// The answer to a request, if it has come.
    pub(crate) fn answer_to(&self, miner: usize, id: u32) -> Option<Answer> {
        let start = format!(r#"{{"id":{id},"#);
        let mut lines = self.miners[miner].lines.iter();
        lines
            .find(|line| line.starts_with(&start))
            .map(|line| answer(line))
    }

    /// Sends a request, and gives its answer.
    pub(crate) fn asks(&mut self, miner: usize, method: &str, params: &str) -> Answer {
        let id = self.requests(miner, method, params);
        let answer = self.answer_to(miner, id).expect("an answer");
        if method == "mining.submit" && answer.is_ok() {
            self.miners[miner].accepted += 1;
        }
        answer
    }

    /// Hands in a share of a job, also of one that the miner knows to be stale.
    pub(crate) fn late_share(&mut self, miner: usize, job: &ClientJob) -> Answer {
        let found = self.miners[miner].find(job);
        let params = found.params(&self.miners[miner].user, job);
        self.asks(miner, "mining.submit", &params)
    }

    pub(crate) fn leaves(&mut self, miner: usize) {
        self.miners[miner].is_gone = true;
        let id = self.miners[miner].id;
        self.proxy.miner_closed(id, self.now);
        self.run();
    }

    /// Finds and hands in a share of the miner's last job.
    pub(crate) fn mine(&mut self, miner: usize) {
        let job = self.miners[miner].last_job();
        self.mine_on(miner, &job);
    }

    /// A share of each miner that is there.
    pub(crate) fn mine_all(&mut self) {
        for miner in 0..self.miners.len() {
            if !self.miners[miner].is_gone {
                self.mine(miner);
            }
        }
    }

    pub(crate) fn mine_on(&mut self, miner: usize, job: &ClientJob) {
        self.mine_below(miner, job, *job.target());
    }

    /// Finds a block, which need not be a share.
    pub(crate) fn mine_block(&mut self, miner: usize) {
        let job = self.miners[miner].last_job();
        let target = Target::from_nbits(job.notify().nbits).unwrap();
        self.mine_below(miner, &job, target);
    }

    fn mine_below(&mut self, miner: usize, job: &ClientJob, target: Target) {
        self.busy.insert(miner);
        let miner = &mut self.miners[miner];
        let found = miner.find_below(job, target);
        // The session refuses what it knows to be stale; that is the test's own business.
        let _ = miner.session.submit(job, &found.borrow());
        self.run();
    }

    /// Lets messages go to and fro until nobody has anything to say. Whom the proxy does not wake has nothing to do.
    pub(crate) fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "messages without end: {:?}", self.snapshot());
            let mut is_idle = true;
            while let Some(output) = self.proxy.poll_output() {
                is_idle = false;
                self.handle_output(output);
            }
            while let Some(wake) = self.proxy.poll_wake() {
                match wake {
                    Wake::Miner(id) => self.busy.extend(self.places_of.get(&id)),
                    Wake::Link(id) => drop(self.busy_links.insert(id)),
                    Wake::Device(id) => self.busy_devices.extend(self.device_places.get(&id)),
                }
            }
            while let Some(index) = self.busy.pop_first() {
                is_idle &= !self.pump_miner(index);
            }
            while let Some(index) = self.busy_devices.pop_first() {
                is_idle &= !self.pump_device(index);
            }
            self.busy_links.extend(self.links.keys());
            while let Some(id) = self.busy_links.pop_first() {
                if let Some(at) = self.links.get(&id) {
                    is_idle &= !self.pump_link(id, *at);
                }
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
        let place = format!("{}:{}", connect.host, connect.port);
        let upstream = &mut self.upstreams[connect.upstream];
        let reach = self.places.get(&place).copied();
        self.place_of.insert(connect.link, place.clone());
        self.connects.push(place);
        match reach.unwrap_or(upstream.reach) {
            Reach::Up => {
                match self.peers.get_mut(&connect.upstream) {
                    Some(peer) => peer.connected(connect.link, self.now),
                    None => upstream.connected(connect.link),
                }
                self.links.insert(connect.link, connect.upstream);
                self.proxy.link_connected(connect.link, self.now);
            }
            Reach::Refused => {
                let now = self.now;
                self.proxy
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
        while let Some(output) = self.proxy.poll_link_output(id) {
            is_any = true;
            match (output, self.peers.get_mut(&at)) {
                (LinkOutput::Close, _) => {
                    self.links.remove(&id);
                    self.disconnected(id, at);
                    return true;
                }
                (LinkOutput::Send(message), Some(peer)) => {
                    peer.takes(id, frame(&message), self.now)
                }
                (LinkOutput::Share(share), Some(peer)) => {
                    peer.takes(id, share_frame(&share), self.now);
                }
                (LinkOutput::Send(message), None) => self.upstreams[at].takes(id, &message),
                (LinkOutput::Share(share), None) => self.upstreams[at].takes_share(id, share),
                (LinkOutput::StandardShare(share), Some(peer)) => {
                    peer.takes(id, standard_share_frame(&share), self.now);
                }
                (LinkOutput::Forward(frame), Some(peer)) => {
                    peer.takes(id, foreign_frame(frame), self.now);
                }
                (LinkOutput::StandardShare(share), None) => {
                    self.upstreams[at].takes_standard_share(id, share);
                }
                (LinkOutput::Forward(frame), None) => self.upstreams[at].forwarded.push(frame),
            }
        }
        while let Some((extension_type, msg_type, payload)) = self.heard(id, at) {
            is_any = true;
            self.proxy
                .handle_link_frame(id, extension_type, msg_type, &payload, self.now);
        }
        is_any
    }

    /// What an upstream says next.
    fn heard(&mut self, id: LinkId, at: usize) -> Option<Frame> {
        match self.peers.get_mut(&at) {
            Some(peer) => peer.says(id, self.now),
            None => self.upstreams[at].says(id).map(|message| frame(&message)),
        }
    }

    fn disconnected(&mut self, id: LinkId, at: usize) {
        match self.peers.get_mut(&at) {
            Some(peer) => peer.disconnected(id, self.now),
            None => self.upstreams[at].disconnected(id),
        }
    }

    fn pump_miner(&mut self, index: usize) -> bool {
        let mut is_any = false;
        let miner = &mut self.miners[index];
        if miner.is_gone {
            return false;
        }
        while let Some(output) = self.proxy.poll_miner_output(miner.id) {
            is_any = true;
            match output {
                MinerOutput::Send(line) => {
                    miner.session.handle_line(line.as_bytes(), self.now);
                    miner.lines.push(line.trim_end().to_owned());
                }
                MinerOutput::Close(reason) => {
                    miner.closed = Some(reason);
                    miner.is_gone = true;
                    self.proxy.miner_closed(miner.id, self.now);
                    return true;
                }
            }
        }
        while let Some(output) = miner.session.poll_output() {
            match output {
                _ if miner.is_raw => {}
                ClientOutput::Send(line) => {
                    is_any = true;
                    self.busy.insert(index);
                    self.proxy.handle_line(miner.id, line.as_bytes(), self.now);
                }
                ClientOutput::Event(ClientEvent::Work(job)) => miner.jobs.push(job),
                ClientOutput::Event(ClientEvent::Accepted { .. }) => miner.accepted += 1,
                ClientOutput::Event(ClientEvent::Rejected { error, .. }) => {
                    miner.rejected.push(error.message);
                }
                ClientOutput::Close(end) => miner.ended = Some(end),
                ClientOutput::Event(_) => {}
            }
        }
        is_any
    }

    /// The next moment at which something is due.
    fn next_due(&self) -> Option<Instant> {
        let links = self.links.keys();
        let links = links.filter_map(|id| self.proxy.poll_link_timeout(*id));
        let miners = self.miners.iter().filter_map(|miner| self.miner_due(miner));
        let devices = self.devices.iter().filter_map(|at| self.device_due(at));
        let peers = self.peers.values().filter_map(|peer| peer.poll_timeout());
        let timers = links.chain(miners).chain(devices).chain(peers);
        timers.chain(self.proxy.poll_timeout()).min()
    }

    fn miner_due(&self, miner: &Miner) -> Option<Instant> {
        if miner.is_gone {
            return None;
        }
        let session = miner.session.poll_timeout().filter(|_| !miner.is_raw);
        let timers = [self.proxy.poll_miner_timeout(miner.id), session];
        timers.into_iter().flatten().min()
    }

    fn device_due(&self, device: &Device) -> Option<Instant> {
        if device.is_gone {
            return None;
        }
        let session = device.session.poll_timeout().filter(|_| !device.is_raw);
        let timers = [self.proxy.poll_device_timeout(device.id), session];
        timers.into_iter().flatten().min()
    }

    pub(crate) fn waits(&mut self, duration: Duration) {
        self.run();
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
        self.proxy.handle_timeout(now);
        self.peers
            .values_mut()
            .for_each(|peer| peer.handle_timeout(now));
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.proxy.handle_link_timeout(id, now);
        }
        for index in 0..self.miners.len() {
            let miner = &self.miners[index];
            if self.miner_due(miner).is_some_and(|due| due <= now.instant) {
                let miner = &mut self.miners[index];
                self.proxy.handle_miner_timeout(miner.id, now);
                miner.session.handle_timeout(now);
                self.busy.insert(index);
            }
        }
        for index in 0..self.devices.len() {
            let device = &self.devices[index];
            if self
                .device_due(device)
                .is_some_and(|due| due <= now.instant)
            {
                let device = &mut self.devices[index];
                self.proxy.handle_device_timeout(device.id, now);
                device.session.handle_timeout(now);
                self.busy_devices.insert(index);
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
            self.disconnected(id, at);
            self.proxy
                .link_closed(id, "the peer closed the connection", self.now);
        }
        self.run();
    }

    pub(crate) fn revive(&mut self, at: usize) {
        self.upstreams[at].reach = Reach::Up;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.proxy.snapshot(self.now)
    }

    /// The upstream that is used, the first if there are several.
    pub(crate) fn used(&self) -> Option<usize> {
        self.all_used().first().copied()
    }

    /// The upstreams that are used.
    pub(crate) fn all_used(&self) -> Vec<usize> {
        let upstreams = self.snapshot().upstreams.into_iter().enumerate();
        let used = upstreams.filter(|(_, upstream)| upstream.standing == UpstreamStanding::Used);
        used.map(|(index, _)| index).collect()
    }

    /// How many miners each upstream has.
    pub(crate) fn division(&self) -> Vec<usize> {
        let upstreams = self.snapshot().upstreams.into_iter();
        upstreams.map(|upstream| upstream.miners).collect()
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

    pub(crate) fn links_of(&self, at: usize) -> Vec<LinkId> {
        let links = self.links.iter().filter(|(_, upstream)| **upstream == at);
        links.map(|(id, _)| *id).collect()
    }

    /// Whoever has something coming was woken for it, and no time is left to pass that has passed.
    pub(crate) fn assert_nothing_is_left_to_do(&mut self) {
        assert_eq!(self.proxy.poll_output(), None);
        assert_eq!(self.proxy.poll_wake(), None);
        for id in self.links.keys() {
            assert!(self.proxy.poll_link_output(*id).is_none());
        }
        for miner in self.miners.iter().filter(|miner| !miner.is_gone) {
            assert_eq!(self.proxy.poll_miner_output(miner.id), None);
        }
        for device in self.devices.iter().filter(|device| !device.is_gone) {
            assert!(self.proxy.poll_device_output(device.id).is_none());
        }
        let due = self.proxy.poll_timeout();
        assert!(due.is_none_or(|due| due >= self.now.instant), "{due:?}");
    }

    /// The newest connection to an upstream.
    pub(crate) fn last_link(&self, at: usize) -> LinkId {
        let links = self.links.iter().filter(|(_, upstream)| **upstream == at);
        links.map(|(id, _)| *id).next_back().expect("a connection")
    }

    /// The connection to a place.
    pub(crate) fn link_to(&self, at: usize, place: &str) -> LinkId {
        let links = self.links.iter().filter(|(_, upstream)| **upstream == at);
        let mut links = links.map(|(id, _)| *id);
        let is_there = |id: &LinkId| self.place_of.get(id).is_some_and(|of| of == place);
        links.find(is_there).expect("a connection")
    }

    /// An attempt to connect of which nothing was heard succeeds now.
    pub(crate) fn connects_at_last(&mut self, id: LinkId) {
        let at = self.links[&id];
        self.upstreams[at].connected(id);
        self.proxy.link_connected(id, self.now);
        self.run();
    }

    /// Breaks one connection.
    pub(crate) fn cut_link(&mut self, id: LinkId) {
        let at = self.links.remove(&id).expect("a connection");
        self.disconnected(id, at);
        self.proxy
            .link_closed(id, "the peer closed the connection", self.now);
        self.run();
    }

    /// What an operator was told of failures of an upstream.
    pub(crate) fn failures(&self, at: usize) -> Vec<String> {
        let reason = |note: &'_ Note| match note {
            Note::Failed { upstream, reason } if *upstream == at => Some(reason.clone()),
            _ => None,
        };
        self.notes.iter().filter_map(reason).collect()
    }

    /// Bytes that no message is made of, or that someone else made.
    pub(crate) fn upstream_sends(
        &mut self,
        id: LinkId,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
    ) {
        let now = self.now;
        self.proxy
            .handle_link_frame(id, extension_type, msg_type, payload, now);
        self.run();
    }

    /// Each accepted share has gone somewhere, nothing is counted twice, and what was acknowledged is counted.
    pub(crate) fn assert_books_balance(&self) {
        let snapshot = self.snapshot();
        let upstream = snapshot.upstream;
        assert_eq!(
            snapshot.accepted + upstream.unpaid_blocks,
            upstream.passed_on + upstream.below_target,
            "{upstream:?}"
        );
        let waiting = upstream.passed_on - upstream.accepted - upstream.rejected - upstream.lost;
        let unanswered: usize = self.upstreams.iter().map(Upstream::unanswered).sum();
        assert_eq!(waiting as usize, unanswered, "{upstream:?}");
        for (seen, real) in snapshot.upstreams.iter().zip(&self.upstreams) {
            assert_eq!(seen.accepted, real.acknowledged, "{seen:?}");
            assert_eq!(seen.rejected.values().sum::<u64>(), real.rejected);
        }
        if self.devices.is_empty() {
            let heard: u64 = self.miners.iter().map(|miner| miner.accepted).sum();
            assert_eq!(heard, snapshot.accepted);
        }
        let of_miners =
            |count: fn(&UpstreamSnapshot) -> u64| snapshot.upstreams.iter().map(count).sum::<u64>();
        assert_eq!(of_miners(|upstream| upstream.accepted), upstream.accepted);
        assert_eq!(
            of_miners(|upstream| upstream.rejected.values().sum()),
            upstream.rejected
        );
    }
}
