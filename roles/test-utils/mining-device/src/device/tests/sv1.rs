//! Against Sv1 servers, whose end of the protocol is the library's.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use network_helpers_sv2::Wake;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::header::{Header, rolled_version};
use roles_logic_sv2::merkle::{root_from_path, sha256d};
use sv1_api::Id;
use sv1_api::client::SILENCE_TIMEOUT;
use sv1_api::client_message::{Authorize, Submit, Subscribe};
use sv1_api::line::MAX_SERVER_LINE_BYTES;
use sv1_api::reject::Reject;
use sv1_api::server::{
    DEFAULT_VERSION_MASK, Grant, Job, ServerConfig, ServerEvent, ServerOutput, ServerSession,
};
use sv1_api::server_message::{Notify, Reconnect};

use super::*;
use crate::course::{LOST_PAUSE_MAX, REFUSED_PAUSE_MIN};
use crate::workers::Effort;

const URL: &str = "stratum+tcp://a.pool.example:3333";

const EXTRANONCE1: [u8; 4] = [1, 2, 3, 4];

fn scene() -> Scene {
    super::scene(URL, |_| true, Duration::from_secs(1))
}

impl Scene {
    async fn sv1_server(&mut self) -> Server {
        Server::new(self.stream().await, ServerConfig::default())
    }

    /// A server that the device mines for.
    async fn sv1_mining(&mut self) -> Server {
        let mut server = self.sv1_server().await;
        server.log_in().await;
        server.give_work("a", true).await;
        server
    }
}

struct Server {
    connection: LineConnection<DuplexStream>,
    session: ServerSession,
    clock: SystemClock,
    events: VecDeque<ServerEvent>,
}

fn job(job_id: &str) -> Notify {
    Notify {
        job_id: job_id.to_owned(),
        prev_hash: [3; 32],
        coinbase_prefix: vec![0x0a, 0x0b],
        coinbase_suffix: vec![0x0d],
        merkle_path: vec![[4; 32]],
        version: 0x2000_0000,
        nbits: 0x207f_ffff,
        ntime: 500,
        clean_jobs: false,
    }
}

impl Server {
    fn new(stream: DuplexStream, config: ServerConfig) -> Self {
        let clock = SystemClock::new();
        Self {
            connection: LineConnection::new(stream, LineOptions::server()),
            session: ServerSession::new(config, clock.now()),
            clock,
            events: VecDeque::new(),
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        while let Some(output) = self.session.poll_output() {
            match output {
                ServerOutput::Send(line) => self.connection.queue(&line).unwrap(),
                ServerOutput::Event(event) => self.events.push_back(event),
                ServerOutput::Close(reason) => panic!("{reason}"),
            }
        }
        self.connection.flush().await
    }

    /// Says something that the session would not.
    async fn say(&mut self, line: &str) {
        self.connection.queue(&format!("{line}\n")).unwrap();
        self.connection.flush().await.unwrap();
    }

    /// What the miner wants next.
    async fn event(&mut self) -> Result<ServerEvent, CloseReason> {
        loop {
            self.flush().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            assert_eq!(self.connection.ready(None).await?, Wake::Readable);
            let now = self.now();
            while let Some(line) = self.connection.next_line() {
                self.session.handle_line(line.unwrap(), now);
            }
        }
    }

    async fn subscribe(&mut self) -> Subscribe {
        let Ok(ServerEvent::Subscribe(subscribe)) = self.event().await else {
            panic!("the miner subscribes")
        };
        let grant = Grant {
            extranonce1: EXTRANONCE1.to_vec(),
            extranonce2_size: 4,
            session: "s7".to_owned(),
        };
        self.session.grant(grant, self.now());
        subscribe
    }

    async fn authorize(&mut self, is_accepted: bool) -> Authorize {
        let Ok(ServerEvent::Authorize { id, authorize }) = self.event().await else {
            panic!("the miner authorizes")
        };
        let (user, now) = (&authorize.user, self.now());
        self.session.answer_authorize(&id, user, is_accepted, now);
        self.flush().await.unwrap();
        authorize
    }

    async fn log_in(&mut self) {
        self.subscribe().await;
        self.authorize(true).await;
    }

    async fn give_work(&mut self, job_id: &str, clean: bool) {
        let job = Arc::new(Job::new(job(job_id)));
        self.session.send_job(&job, clean, self.now());
        self.flush().await.unwrap();
    }

    /// The next share; what it is answered is for the caller to say.
    async fn share(&mut self) -> (Id, Submit) {
        loop {
            match self.event().await.unwrap() {
                ServerEvent::Submit { id, submit } => return (id, submit),
                ServerEvent::SuggestDifficulty(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn answer(&mut self, id: &Id, verdict: Result<(), Reject>) {
        self.session.answer_submit(id, verdict, self.now());
        self.flush().await.unwrap();
    }

    fn difficulty(&mut self, difficulty: f64) {
        let difficulty = Difficulty::new(difficulty).unwrap();
        self.session.set_difficulty(difficulty);
    }

    /// Takes what comes until the miner is gone.
    async fn ends(&mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.event().await {
                return reason;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn shares_are_sent_and_what_becomes_of_them_is_shown() {
    let mut scene = scene();
    let mut server = scene.sv1_server().await;
    server.difficulty(0.5);
    server.log_in().await;
    server.give_work("a", true).await;
    for verdict in [
        Ok(()),
        Err(Reject::LowDifficulty),
        Err(Reject::Stale),
        Err(Reject::LowDifficulty),
        Ok(()),
    ] {
        let (id, share) = server.share().await;
        assert_eq!((&*share.worker, &*share.job_id), ("miner", "a"));
        server.answer(&id, verdict).await;
    }
    server.share().await;
    let snapshot = scene.shows(|snapshot| snapshot.acknowledged == 2).await;
    assert!(snapshot.is_connected && snapshot.upstream == URL);
    assert_eq!((snapshot.submitted, snapshot.channel), (6, None));
    let counted = |reason: Reject, count| (reason.reply().to_string(), count);
    assert_eq!(
        snapshot.rejected,
        [counted(Reject::LowDifficulty, 2), counted(Reject::Stale, 1)].into()
    );
    assert!((snapshot.hashrate - 1000.0).abs() < 250.0, "{snapshot:?}");
    assert_eq!(snapshot.target.unwrap().difficulty_f64(), 0.5);
    assert!(snapshot.to_string().contains("low difficulty share (23) 2"));

    scene.shutdown.drain();
    assert_eq!(server.ends().await, CloseReason::PeerClosed);
    let watcher = scene.device.watcher();
    scene.device.join().await;
    let last = watcher.snapshot();
    assert!(!last.is_connected && last.hashrate == 0.0);
    assert_eq!((last.reconnects, last.last_failure), (0, None));
}

#[tokio::test(start_paused = true)]
async fn the_login_says_who_mines_and_what_difficulty_fits() {
    let mut scene = scene();
    let mut server = scene.sv1_server().await;
    let subscribe = server.subscribe().await;
    let agent = subscribe.user_agent.unwrap();
    assert!(agent.contains("mining-device/"), "{agent}");
    assert_eq!(subscribe.session, None);
    let authorize = server.authorize(true).await;
    assert_eq!(authorize.user, "miner");
    assert_eq!(authorize.password.as_deref(), Some("x"));
    let Ok(ServerEvent::SuggestDifficulty(difficulty)) = server.event().await else {
        panic!("a difficulty is suggested")
    };
    // A million hashes a second, a share every six seconds.
    let expected = 6e6 / 2_f64.powi(32);
    assert!((difficulty.as_f64() / expected - 1.0).abs() < 1e-4);
    assert!(server.session.follows_extranonce());
}

#[tokio::test(start_paused = true)]
async fn version_bits_are_rolled_only_where_the_server_lets_us() {
    for (version_mask, is_rolled) in [(0, false), (0x0000_6000, true)] {
        let mut scene = scene();
        let config = ServerConfig {
            version_mask,
            ..ServerConfig::default()
        };
        let mut server = Server::new(scene.stream().await, config);
        server.log_in().await;
        let mut rolled = 0;
        for number in 0..4 {
            server.give_work(&number.to_string(), true).await;
            // The session checks that the bits are within the mask.
            let (_, share) = server.share().await;
            rolled |= share.version_bits.unwrap_or(0);
            assert_eq!(share.version_bits.is_some(), is_rolled);
        }
        assert_eq!(rolled, version_mask);
        assert_eq!(server.session.rejects().total(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn another_extranonce_counts_from_the_next_job_on() {
    let mut scene = scene();
    let mut server = scene.sv1_mining().await;
    assert_eq!(server.share().await.1.extranonce2.len(), 4);
    assert!(server.session.set_extranonce(vec![9; 8], 6));
    let (id, share) = server.share().await;
    assert_eq!((share.extranonce2.len(), &*share.job_id), (4, "a"));
    server.answer(&id, Ok(())).await;
    server.give_work("b", false).await;
    let (_, share) = server.share().await;
    assert_eq!((share.extranonce2.len(), &*share.job_id), (6, "b"));
    assert_eq!(scene.device.snapshot().acknowledged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clean_job_replaces_the_work_at_once() {
    let mut scene = scene();
    let mut server = scene.sv1_mining().await;
    server.share().await;
    server.give_work("b", true).await;
    for _ in 0..3 {
        assert_eq!(server.share().await.1.job_id, "b");
    }
}

#[tokio::test(start_paused = true)]
async fn another_difficulty_counts_from_the_next_job_on() {
    let mut scene = scene();
    let mut server = scene.sv1_mining().await;
    server.share().await;
    let difficulty = |snapshot: &Snapshot| snapshot.target.map(|target| target.difficulty_f64());
    let line = r#"{"id":null,"method":"mining.set_difficulty","params":[4]}"#;
    server.say(line).await;
    server.share().await;
    assert_eq!(difficulty(&scene.device.snapshot()), Some(1.0));
    server.difficulty(4.0);
    server.give_work("b", false).await;
    server.share().await;
    assert_eq!(difficulty(&scene.device.snapshot()), Some(4.0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_and_the_session_resumed() {
    let mut scene = scene();
    drop(scene.sv1_mining().await);
    let mut server = scene.sv1_server().await;
    assert_eq!(server.subscribe().await.session.as_deref(), Some("s7"));
    server.authorize(true).await;
    server.give_work("a", true).await;
    server.share().await;
    let snapshot = scene.device.snapshot();
    assert_eq!(snapshot.reconnects, 1);
    let failure = snapshot.last_failure.unwrap();
    assert!(failure.starts_with(URL), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_or_is_mute_from_the_start_may_speak_another_protocol() {
    let mut scene = scene();
    drop(scene.stream().await);
    let mute = scene.stream().await;
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(failure.starts_with(URL), "{failure}");
    assert!(
        failure.contains("with TLS it is stratum+ssl://"),
        "{failure}"
    );
    scene.call().await;
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(failure.contains("in time; check the port"), "{failure}");
    drop(mute);
}

#[tokio::test(start_paused = true)]
async fn reconnect_leads_elsewhere_within_the_domain_and_back() {
    let reachable = |server: &ServerUrl| server.host() != "gone.pool.example";
    let mut scene = super::scene(URL, reachable, Duration::from_secs(1));
    let mut server = scene.sv1_mining().await;
    let to = |host: &str, wait_secs| Reconnect {
        host: Some(host.to_owned()),
        port: Some(3334),
        wait_secs,
    };
    let now = server.now();
    server.session.reconnect(to("evil.example", None), now);
    server.flush().await.unwrap();
    server.share().await;
    let line = r#"{"id":null,"method":"client.reconnect","params":["b.pool.example",3334,20]}"#;
    server.say(line).await;
    let asked_at = Instant::now();
    assert_eq!(server.ends().await, CloseReason::PeerClosed);

    let call = scene.call().await;
    assert_eq!(call.server.to_string(), "stratum+tcp://b.pool.example:3334");
    assert!(call.at - asked_at >= Duration::from_secs(20));
    let mut other = Server::new(call.stream.unwrap(), ServerConfig::default());
    assert_eq!(
        other.subscribe().await.session,
        None,
        "it is of another server"
    );
    other.authorize(true).await;
    other.give_work("a", true).await;
    other.share().await;
    let now = other.now();
    other.session.reconnect(to("gone.pool.example", None), now);
    other.flush().await.unwrap();
    assert_eq!(scene.call().await.server.host(), "gone.pool.example");
    assert_eq!(scene.call().await.server.to_string(), URL);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_user_is_asked_again_after_a_long_pause() {
    let mut scene = scene();
    let mut server = scene.sv1_server().await;
    server.subscribe().await;
    server.authorize(false).await;
    let refused_at = Instant::now();
    assert_eq!(server.ends().await, CloseReason::PeerClosed);
    let again = scene.call().await;
    assert!(again.at - refused_at >= REFUSED_PAUSE_MIN / 2);
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(
        failure.starts_with(
            "the server refuses the user: the user name is not accepted (24); check user_identity"
        ),
        "{failure}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left() {
    let mut scene = scene();
    let mut server = scene.sv1_mining().await;
    let silent_since = Instant::now();
    // Shares are sent all the time; nothing is said to them.
    assert_eq!(server.ends().await, CloseReason::PeerClosed);
    assert!(silent_since.elapsed() >= SILENCE_TIMEOUT);
    scene.call().await;
    let snapshot = scene.device.snapshot();
    let failure = snapshot.last_failure.unwrap();
    assert_eq!(failure, "the server has said nothing for too long");
    assert_eq!((snapshot.acknowledged, snapshot.rejected.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn broken_lines_are_counted_and_change_nothing() {
    let mut scene = scene();
    let mut server = scene.sv1_mining().await;
    server.say("not JSON").await;
    server
        .say(r#"{"id":null,"method":"mining.notify","params":["c"]}"#)
        .await;
    server.say(&"x".repeat(MAX_SERVER_LINE_BYTES + 1)).await;
    assert_eq!(server.share().await.1.job_id, "a");
    drop(server);
    let snapshot = scene.shows(|snapshot| !snapshot.is_connected).await;
    let counted = |reason: Reject| (reason.text().to_owned(), 1);
    assert_eq!(
        snapshot.anomalies,
        [Reject::NotJson, Reject::BadParams, Reject::LineTooLong]
            .map(counted)
            .into()
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_is_tried_for_ever() {
    let mut scene = super::scene(URL, |_| false, Duration::from_secs(1));
    let mut last = scene.call().await.at;
    for _ in 0..20 {
        let at = scene.call().await.at;
        assert!(at - last <= LOST_PAUSE_MAX + Duration::from_millis(2));
        last = at;
    }
    scene.shutdown.drain();
    scene.device.join().await;
}

/// The threads of this machine, on the one connection that there is.
struct Forge {
    stream: Option<DuplexStream>,
    machine: Machine,
}

impl World for Forge {
    type Stream = DuplexStream;
    type LineStream = DuplexStream;
    type Rig = ThreadRig;

    async fn connect(&mut self, _: &Endpoint) -> Result<Connection<DuplexStream>, String> {
        Err("Sv1 only".to_owned())
    }

    async fn connect_lines(
        &mut self,
        _: &Sv1Endpoint,
    ) -> Result<LineConnection<DuplexStream>, String> {
        let stream = self.stream.take().ok_or("once only")?;
        Ok(LineConnection::new(stream, LineOptions::client()))
    }

    fn rig(&mut self, clock: SystemClock) -> Result<ThreadRig, String> {
        self.machine.rig(clock)
    }
}

/// The header that a server makes of a share.
fn header_of(share: &Submit, extranonce1: &[u8]) -> Header {
    let job = job(&share.job_id);
    let parts = [
        &job.coinbase_prefix,
        extranonce1,
        &share.extranonce2,
        &job.coinbase_suffix,
    ];
    let bits = share.version_bits.unwrap_or(0);
    Header {
        version: rolled_version(job.version, DEFAULT_VERSION_MASK, bits),
        prev_hash: job.prev_hash,
        merkle_root: root_from_path(&sha256d(&parts.concat()), &job.merkle_path),
        ntime: share.ntime,
        nbits: job.nbits,
        nonce: share.nonce,
    }
}

/// A share for every 16 384 hashes.
const EASY: f64 = 1.0 / 262_144.0;

#[tokio::test]
async fn threads_find_shares_that_hold_and_none_twice_whatever_the_server_changes() {
    let config = Config {
        nominal_hashrate: Some(1e6),
        effort: Effort::full(NonZeroUsize::MIN.saturating_add(1)),
        ..Config::from(URL.parse::<ServerUrl>().unwrap())
    };
    let (near, far) = duplex(NETWORK_LEN);
    let world = Forge {
        stream: Some(near),
        machine: Machine {
            config: config.clone(),
            hasher: Hasher::detect(),
        },
    };
    let shutdown = Shutdown::new();
    let device = MiningDevice::spawn(config, shutdown.clone(), world);
    let config = ServerConfig {
        max_lines_per_sec: u32::MAX,
        max_line_burst: u32::MAX,
        ..ServerConfig::default()
    };
    let mut server = Server::new(far, config);
    server.difficulty(EASY);
    server.log_in().await;
    server.give_work("a", true).await;

    let target = Target::from_difficulty(EASY).unwrap();
    let mut extranonces = HashMap::from([("a".to_owned(), EXTRANONCE1)]);
    let mut extranonce1 = EXTRANONCE1;
    let mut headers = HashSet::new();
    for round in 0..8 {
        for _ in 0..20 {
            let (id, share) = server.share().await;
            let header = header_of(&share, &extranonces[&share.job_id]);
            assert!(target.is_met_by(&header.hash()), "{share:?}");
            assert!(headers.insert(header.to_bytes()), "{share:?}");
            server.answer(&id, Ok(())).await;
        }
        match round % 4 {
            0 => server.session.set_version_mask(0x6000),
            1 => server.session.set_version_mask(DEFAULT_VERSION_MASK),
            2 => {
                extranonce1 = [round; 4];
                assert!(server.session.set_extranonce(extranonce1.to_vec(), 4));
            }
            // The same job once more.
            _ => {}
        }
        let job_id = format!("b{round}");
        extranonces.insert(job_id.clone(), extranonce1);
        server.give_work(&job_id, false).await;
    }
    shutdown.drain();
    server.ends().await;
    device.join().await;
}
