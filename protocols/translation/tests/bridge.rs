//! An Sv1 miner, the bridge and an upstream channel, all three in virtual time.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, SetExtranoncePrefix,
    SetNewPrevHash, SetTarget,
};
use roles_logic_sv2::channels::client::{ClientChannels, OpenTerms, Submission};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::share::ShareLimits;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_translation::bridge::{
    Bridge, BridgeConfig, BridgeOutput, ChannelWork, JOB_LIFE, UpstreamShare,
};
use stratum_translation::difficulty::at_most;
use stratum_translation::mapping::MappingError;
use sv1_api::client::{
    ClientConfig, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
};
use sv1_api::error::ErrorCode;
use sv1_api::reject::Reject;
use sv1_api::server::{CloseReason, ServerConfig};

const CHANNEL: u32 = 2;
const MIN_NTIME: u32 = 1_700_000_000;

/// One miner from end to end.
struct Farm {
    now: Now,
    upstream: ClientChannels,
    bridge: Bridge,
    miner: ClientSession,
    jobs: Vec<Arc<ClientJob>>,
    /// Verdicts that the miner heard: `None` for yes.
    verdicts: Vec<Option<ErrorCode>>,
    shares: Vec<UpstreamShare>,
    lines: Vec<String>,
    closed: Option<CloseReason>,
    part: Vec<u8>,
    password: String,
}

fn config() -> BridgeConfig {
    BridgeConfig {
        server: ServerConfig::default(),
        vardiff: VardiffConfig {
            shares_per_minute: 10.0,
            min_difficulty: 2f64.powi(-32),
        },
        nominal_hashrate: 1.0,
        limits: ShareLimits::default(),
    }
}

impl Farm {
    fn new() -> Self {
        Self::with(Target::MAX, true, "x")
    }

    fn with(target: Target, may_roll: bool, password: &str) -> Self {
        let now = Now {
            unix_secs: u64::from(MIN_NTIME),
            ..Now::default()
        };
        let mut upstream = ClientChannels::new();
        let terms = OpenTerms::default();
        let open = upstream
            .open_extended("farm".try_into().unwrap(), terms)
            .unwrap();
        let opened = OpenExtendedMiningChannelSuccess {
            request_id: open.request_id,
            channel_id: CHANNEL,
            target: target.to_le_bytes().into(),
            extranonce_size: 10,
            extranonce_prefix: [9; 4].as_slice().try_into().unwrap(),
            group_channel_id: 1,
        };
        upstream.handle_message(&opened.into(), now).unwrap();
        let client = ClientConfig {
            password: password.to_owned(),
            ..ClientConfig::new("pool.example", "alice.rig1")
        };
        let mut farm = Self {
            now,
            upstream,
            bridge: Bridge::new(config(), now).unwrap(),
            miner: ClientSession::new(client, now),
            jobs: Vec::new(),
            verdicts: Vec::new(),
            shares: Vec::new(),
            lines: Vec::new(),
            closed: None,
            part: vec![7, 7],
            password: password.to_owned(),
        };
        farm.job(1, None, may_roll);
        farm.tip(1, 1);
        farm.run();
        farm
    }

    fn says(&mut self, message: impl Into<MiningMessage<'static>>) {
        let message = message.into();
        self.upstream.handle_message(&message, self.now).unwrap();
    }

    fn job(&mut self, job_id: u32, min_ntime: Option<u32>, version_rolling_allowed: bool) {
        let prefix = [
            &[1, 0, 0, 0, 1][..],
            &[0; 32],
            &[0xff; 4],
            // The script: 4 bytes here and 14 of extranonce.
            &[18, 3, 1, 2, job_id as u8],
        ];
        let suffix = [&[0xff; 4][..], &[1], &[0; 8], &[1, 0x51], &[0; 4]];
        self.says(NewExtendedMiningJob {
            channel_id: CHANNEL,
            job_id,
            min_ntime,
            version: 0x2000_0000,
            version_rolling_allowed,
            merkle_path: vec![[5; 32].into()].try_into().unwrap(),
            coinbase_tx_prefix: prefix.concat().try_into().unwrap(),
            coinbase_tx_suffix: suffix.concat().try_into().unwrap(),
        });
    }

    fn tip(&mut self, job_id: u32, block: u8) {
        self.says(SetNewPrevHash {
            channel_id: CHANNEL,
            job_id,
            prev_hash: [block; 32].into(),
            min_ntime: MIN_NTIME,
            nbits: 0x1703_71b1,
        });
    }

    fn work(&self) -> Arc<ChannelWork> {
        let work = self.upstream.work(CHANNEL).unwrap().clone();
        let name = work.job_id();
        Arc::new(ChannelWork::shared(work, 0, name, self.part.len() + 8).unwrap())
    }

    fn give_work(&mut self) {
        let work = self.work();
        self.bridge.set_work(&work, self.now);
        self.run();
    }

    /// Carries lines to and fro until nobody has anything to say.
    fn run(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(output) = self.miner.poll_output() {
                is_idle = false;
                self.miner_did(output);
            }
            while let Some(output) = self.bridge.poll_output() {
                is_idle = false;
                self.bridge_did(output);
            }
            if is_idle {
                return;
            }
        }
    }

    fn miner_did(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Send(line) => {
                // What a share is worth is told exactly when one is accepted.
                let accepted = self.bridge.accepted();
                let worth = self.bridge.handle_line(line.as_bytes(), self.now);
                assert_eq!(worth.is_some(), self.bridge.accepted() > accepted);
            }
            ClientOutput::Event(ClientEvent::Work(job)) => self.jobs.push(job),
            ClientOutput::Event(ClientEvent::Accepted { .. }) => self.verdicts.push(None),
            ClientOutput::Event(ClientEvent::Rejected { error, .. }) => {
                self.verdicts.push(Some(error.code));
            }
            _ => {}
        }
    }

    fn bridge_did(&mut self, output: BridgeOutput) {
        match output {
            BridgeOutput::Send(line) => {
                self.miner.handle_line(line.as_bytes(), self.now);
                self.lines.push(line.trim_end().to_owned());
            }
            BridgeOutput::Subscribe(_) => {
                let part = self.part.clone();
                self.bridge.grant(part, 8, "s1".to_owned(), self.now);
                self.bridge.set_work(&self.work(), self.now);
            }
            BridgeOutput::Authorize { id, authorize } => {
                assert_eq!(authorize.password.as_deref(), Some(&*self.password));
                self.bridge
                    .answer_authorize(&id, &authorize, true, self.now);
            }
            BridgeOutput::Share(share) => self.shares.push(share),
            BridgeOutput::Close(reason) => self.closed = Some(reason),
        }
    }

    fn waits(&mut self, secs: u64) {
        let until = self.now.after(Duration::from_secs(secs));
        while let Some(at) = self.bridge.poll_timeout().filter(|at| *at <= until.instant) {
            self.now = self.now.after(at - self.now.instant);
            self.bridge.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
    }

    fn last_job(&self) -> Arc<ClientJob> {
        self.jobs.last().unwrap().clone()
    }

    /// A nonce whose hash is above `easy`, or at or below `hard`, from `start` on.
    fn find(&self, job: &ClientJob, is_wanted: impl Fn(&[u8; 32]) -> bool) -> u32 {
        let hash = |nonce: &u32| job.header(&share(job, *nonce)).hash();
        (0..).find(|nonce| is_wanted(&hash(nonce))).unwrap()
    }

    /// A share that meets the job's own difficulty, another one each time.
    fn mine(&mut self, job: &ClientJob, from: u32) -> u32 {
        let nonce = (from..)
            .find(|nonce| {
                job.target()
                    .is_met_by(&job.header(&share(job, *nonce)).hash())
            })
            .unwrap();
        self.submit(job, nonce);
        nonce
    }

    fn submit(&mut self, job: &ClientJob, nonce: u32) {
        self.miner.submit(job, &share(job, nonce)).unwrap();
        self.run();
    }

    /// What the miner sends itself, around its session.
    fn sends(&mut self, line: &str) {
        self.bridge.handle_line(line.as_bytes(), self.now);
        self.run();
    }

    fn rejects(&self, reason: Reject) -> u64 {
        self.bridge.session().rejects().of(reason)
    }
}

/// An upstream that leaves the difficulty to us.
fn hard() -> Target {
    Target::from_difficulty(2f64.powi(60)).unwrap()
}

fn share(job: &ClientJob, nonce: u32) -> FoundShare<'static> {
    FoundShare {
        extranonce2: &[0, 0, 0, 0, 0, 0, 0, 1],
        ntime: job.notify().ntime,
        nonce,
        version: job.notify().version ^ (job.version_mask() & 0x0000_6000),
    }
}

#[test]
fn a_share_is_the_same_header_upstream() {
    let mut farm = Farm::new();
    let job = farm.last_job();
    assert_eq!((&*job.notify().job_id, job.extranonce2_size()), ("1", 8));
    let nonce = farm.mine(&job, 0);
    assert_eq!(farm.verdicts, [None]);
    let passed = farm.shares.pop().unwrap();
    assert_eq!(&*passed.worker, "alice.rig1");
    let work = passed.work.work();
    let header = work.header(&passed.found()).unwrap();
    assert_eq!(header, job.header(&share(&job, nonce)));
    assert_eq!(header.version, 0x2000_6000);
    match farm.upstream.submit(work, &passed.found()).unwrap() {
        Submission::Extended(share) => {
            assert_eq!(share.extranonce.as_bytes(), [7, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
            assert_eq!((share.job_id, share.nonce), (1, nonce));
        }
        other => panic!("{other:?}"),
    }
    farm.bridge.upstream_rejected();
    assert_eq!(farm.bridge.upstream().rejected, 1);
    assert_eq!(
        (farm.bridge.upstream().passed_on, farm.bridge.accepted()),
        (1, 1)
    );
}

#[test]
fn the_difficulty_comes_immediately_before_its_job() {
    let farm = Farm::new();
    let at = farm
        .lines
        .iter()
        .position(|line| line.contains(r#""method":"mining.notify""#))
        .unwrap();
    assert!(
        farm.lines[at - 1].contains("mining.set_difficulty"),
        "{:?}",
        farm.lines
    );
    assert!(
        farm.lines[at - 2].contains("mining.set_version_mask"),
        "{:?}",
        farm.lines
    );
}

#[test]
fn older_jobs_are_judged_at_their_own_difficulty() {
    let mut farm = Farm::with(hard(), true, "x");
    let easy = farm.last_job();
    // The miner wants harder shares from the next job on.
    farm.sends(r#"{"id":50,"method":"mining.suggest_difficulty","params":[0.0009765625]}"#);
    let hard = farm.last_job();
    assert!(easy.difficulty() < hard.difficulty());
    let nonce = farm.find(&easy, |hash| {
        easy.target().is_met_by(hash) && !hard.target().is_met_by(hash)
    });
    farm.submit(&easy, nonce);
    let nonce = farm.find(&hard, |hash| {
        easy.target().is_met_by(hash) && !hard.target().is_met_by(hash)
    });
    farm.submit(&hard, nonce);
    assert_eq!(farm.verdicts, [None, Some(ErrorCode::LOW_DIFFICULTY)]);
    assert_eq!(farm.rejects(Reject::LowDifficulty), 1);
    assert_eq!(farm.bridge.upstream().below_target, 1);
}

#[test]
fn what_counts_for_the_miner_and_not_upstream_is_kept_and_counted() {
    let mut farm = Farm::new();
    let hard_target = Target::from_difficulty(2f64.powi(-20)).unwrap();
    farm.says(SetTarget {
        channel_id: CHANNEL,
        maximum_target: hard_target.to_le_bytes().into(),
    });
    farm.job(2, Some(MIN_NTIME), true);
    farm.give_work();
    let job = farm.last_job();
    let nonce = farm.find(&job, |hash| {
        job.target().is_met_by(hash) && !hard_target.is_met_by(hash)
    });
    farm.submit(&job, nonce);
    let counts = *farm.bridge.upstream();
    assert_eq!((counts.below_target, counts.passed_on), (1, 0));
    let nonce = farm.find(&job, |hash| hard_target.is_met_by(hash));
    farm.submit(&job, nonce);
    let counts = *farm.bridge.upstream();
    assert_eq!((counts.below_target, counts.passed_on), (1, 1));
    assert_eq!(farm.verdicts, [None, None]);
    assert_eq!((farm.bridge.accepted(), farm.shares.len()), (2, 1));
}

#[test]
fn a_job_is_repeated_under_another_name_and_its_shares_find_their_way() {
    let mut farm = Farm::new();
    let first = farm.last_job();
    let nonce = farm.mine(&first, 0);
    let jobs = farm.jobs.len();
    farm.waits(200);
    assert!(farm.jobs.len() >= jobs + 6, "one each 30 seconds");
    let copy = farm.last_job();
    assert_ne!(copy.notify().job_id, first.notify().job_id);
    assert!(!copy.notify().clean_jobs);
    assert!(copy.notify().ntime > first.notify().ntime, "time goes on");
    farm.mine(&copy, 0);
    assert_eq!(farm.shares.last().unwrap().work.work().job_id(), 1);
    // The same header under the other name is the same share.
    let again = format!(
        r#"{{"id":99,"method":"mining.submit","params":["alice.rig1","{}","0000000000000001","{:08x}","{nonce:08x}","00006000"]}}"#,
        copy.notify().job_id,
        first.notify().ntime
    );
    farm.sends(&again);
    assert_eq!(farm.rejects(Reject::Duplicate), 1);
    assert!(farm.lines.last().unwrap().contains("[22,"));
}

#[test]
fn a_job_is_known_until_another_has_been_sent_for_long() {
    let mut farm = Farm::new();
    let first = farm.last_job();
    farm.waits(JOB_LIFE.as_secs());
    farm.mine(&first, 0);
    assert_eq!(farm.verdicts.pop(), Some(None), "its first copy is younger");
    farm.waits(60);
    farm.mine(&first, 1_000);
    assert_eq!(farm.verdicts.pop(), Some(Some(ErrorCode::JOB_NOT_FOUND)));
    let last = farm.last_job();
    farm.mine(&last, 0);
    assert_eq!(farm.verdicts.pop(), Some(None));
}

#[test]
fn fast_miners_get_harder_jobs_and_silent_ones_easier() {
    let mut farm = Farm::with(hard(), true, "x");
    let start = farm.last_job().difficulty();
    let mut from = 0;
    // Each one would make jobs harder still, and shares of hard jobs take time to find.
    while farm.last_job().difficulty().as_f64() < 16.0 * start.as_f64() {
        farm.waits(1);
        let job = farm.last_job();
        from = farm.mine(&job, from) + 1;
    }
    let fast = farm.last_job().difficulty();
    assert_eq!(fast.as_f64().log2().fract(), 0.0);
    assert!(farm.verdicts.iter().all(Option::is_none));
    farm.waits(1_000);
    assert!(farm.last_job().difficulty() < fast);
}

#[test]
fn no_job_is_harder_than_what_the_upstream_credits() {
    for (upstream, password, expected) in [
        (3.0, "d=20", 2.0),
        (4.0, "d=20", 4.0),
        (3.0, "x=20", 2.0),
        // The shares of a miner that is far above what its upstream knows of are bounded all the same.
        (3.0, "d=1024", 64.0),
        (1e-9, "d=1024", 64.0),
        (1e6, "d=1000", 512.0),
        // A miner that takes no less gets no less: what it gives away is asked of the upstream.
        (3.0, "md=1000", 1024.0),
    ] {
        let target = Target::from_difficulty(upstream).unwrap();
        let farm = Farm::with(target, true, password);
        let given = farm.last_job().difficulty();
        assert_eq!(given.as_f64(), expected, "{upstream} {password}");
        let is_minimum = password.starts_with("md");
        assert_eq!(given <= at_most(target), expected <= upstream);
        if is_minimum {
            assert_eq!(farm.bridge.max_target(), given.target());
        }
    }
}

#[test]
fn a_password_fixes_the_difficulty_or_where_it_starts() {
    let mut farm = Farm::with(hard(), true, "x,d=100");
    assert_eq!(farm.last_job().difficulty().as_f64(), 64.0);
    farm.waits(2_000);
    assert_eq!(farm.last_job().difficulty().as_f64(), 64.0);

    let mut farm = Farm::with(hard(), true, "x=1024");
    let start = farm.last_job().difficulty().as_f64();
    assert!((512.0..=1024.0).contains(&start), "{start}");
    farm.waits(200);
    assert!(farm.last_job().difficulty().as_f64() < start);
}

#[test]
fn a_suggestion_is_where_the_search_goes_on() {
    let mut farm = Farm::with(hard(), true, "x");
    farm.sends(r#"{"id":50,"method":"mining.suggest_difficulty","params":[4096]}"#);
    let difficulty = farm.last_job().difficulty().as_f64();
    assert!((2048.0..=4096.0).contains(&difficulty), "{difficulty}");
}

#[test]
fn shares_of_an_earlier_block_or_an_unknown_job_are_refused() {
    let mut farm = Farm::new();
    let old = farm.last_job();
    farm.job(2, None, true);
    farm.tip(2, 2);
    farm.give_work();
    assert!(farm.last_job().notify().clean_jobs);
    for (job, ntime, reason) in [
        (&*old.notify().job_id, MIN_NTIME, Reject::Stale),
        ("77", MIN_NTIME, Reject::JobNotFound),
        ("no job", MIN_NTIME, Reject::JobNotFound),
        ("2", MIN_NTIME - 1, Reject::NtimeOutOfRange),
        ("2", MIN_NTIME + 7_201, Reject::NtimeOutOfRange),
    ] {
        let before = farm.rejects(reason);
        farm.sends(&format!(
            r#"{{"id":99,"method":"mining.submit","params":["alice.rig1","{job}","0000000000000001","{ntime:08x}","00000000"]}}"#
        ));
        assert_eq!(farm.rejects(reason), before + 1, "{reason:?}");
    }
    assert!(farm.shares.is_empty());
}

#[test]
fn another_prefix_changes_nothing_for_the_miner() {
    let mut farm = Farm::new();
    let old = farm.last_job();
    farm.says(SetExtranoncePrefix {
        channel_id: CHANNEL,
        extranonce_prefix: [8; 4].as_slice().try_into().unwrap(),
    });
    farm.job(2, Some(MIN_NTIME), true);
    farm.give_work();
    let new = farm.last_job();
    farm.mine(&old, 0);
    farm.mine(&new, 0);
    assert_eq!(farm.verdicts, [None, None]);
    for passed in std::mem::take(&mut farm.shares) {
        let work = passed.work.work();
        let hash = work.header(&passed.found()).unwrap().hash();
        let expected = if work.job_id() == 1 { &old } else { &new };
        assert!(expected.target().is_met_by(&hash));
    }
    let told = |line: &String| line.contains("set_extranonce") || line.contains("reconnect");
    assert!(!farm.lines.iter().any(told), "{:?}", farm.lines);
}

#[test]
fn another_size_is_followed_or_ends_in_a_reconnect() {
    for follows in [true, false] {
        let mut farm = Farm::new();
        if !follows {
            // A miner that says nothing of extranonces; its session logs in under the bridge's eyes only once.
            farm.bridge = Bridge::new(config(), farm.now).unwrap();
            farm.sends(r#"{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5.1"]}"#);
            farm.sends(r#"{"id":2,"method":"mining.authorize","params":["alice.rig1","x"]}"#);
        }
        let old = farm.last_job();
        farm.part = vec![7];
        let part = farm.part.clone();
        assert_eq!(farm.bridge.change_extranonce(part, 8, farm.now), follows);
        farm.job(2, Some(MIN_NTIME), true);
        farm.give_work();
        if follows {
            let new = farm.last_job();
            farm.mine(&old, 0);
            farm.mine(&new, 0);
            assert_eq!(farm.verdicts, [None, None]);
            assert_eq!(farm.shares[0].extranonce, [7, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
            assert_eq!(farm.shares[1].extranonce, [0, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
            assert_eq!(farm.closed, None);
        } else {
            let told = |line: &String| line.contains("client.reconnect");
            assert!(farm.lines.iter().any(told), "{:?}", farm.lines);
            farm.waits(1);
            assert_eq!(farm.closed, Some(CloseReason::Reconnect));
        }
    }
}

#[test]
fn a_miner_that_comes_back_goes_on_where_it_was() {
    let mut farm = Farm::new();
    let job = farm.last_job();
    let nonce = farm.mine(&job, 0);
    let fresh = Bridge::new(config(), farm.now).unwrap();
    let parked = std::mem::replace(&mut farm.bridge, fresh).park().unwrap();
    assert_eq!(
        (parked.extranonce1(), parked.extranonce2_size()),
        (&[7, 7][..], 8)
    );
    farm.bridge.handle_line(
        br#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.12","s1"]}"#,
        farm.now,
    );
    assert!(matches!(
        farm.bridge.poll_output(),
        Some(BridgeOutput::Subscribe(_))
    ));
    farm.bridge.grant_again(parked, "s1".to_owned(), farm.now);
    farm.bridge.set_work(&farm.work(), farm.now);
    farm.sends(r#"{"id":2,"method":"mining.authorize","params":["alice.rig1","x"]}"#);
    let again = |nonce: u32| {
        format!(
            r#"{{"id":9,"method":"mining.submit","params":["alice.rig1","{}","0000000000000001","{:08x}","{nonce:08x}"]}}"#,
            job.notify().job_id,
            job.notify().ntime,
        )
    };
    // Without the version bits it is another header.
    let other = (0..).find(|nonce| {
        let found = FoundShare {
            version: job.notify().version,
            ..share(&job, *nonce)
        };
        job.target().is_met_by(&job.header(&found).hash())
    });
    farm.sends(&again(other.unwrap()));
    farm.sends(&again(other.unwrap()));
    assert_eq!(farm.bridge.accepted(), 1, "{nonce} was before");
    assert_eq!(farm.rejects(Reject::Duplicate), 1);
    assert_eq!(farm.bridge.upstream().passed_on, 1);
}

#[test]
fn nothing_is_rolled_where_the_upstream_forbids_it() {
    let mut farm = Farm::with(Target::MAX, false, "x");
    let job = farm.last_job();
    assert_eq!(job.version_mask(), 0);
    farm.mine(&job, 0);
    assert_eq!(farm.verdicts, [None]);
    assert_eq!(farm.shares.last().unwrap().version, 0x2000_0000);
    farm.job(2, Some(MIN_NTIME), true);
    farm.give_work();
    assert_eq!(farm.last_job().version_mask(), 0x1fff_e000);
}

#[test]
fn time_without_an_upstream_is_no_silence_of_the_miner() {
    let mut farm = Farm::with(hard(), true, "x");
    farm.sends(r#"{"id":50,"method":"mining.suggest_difficulty","params":[64]}"#);
    let before = farm.last_job().difficulty();
    farm.bridge.cut_off(farm.now);
    farm.waits(600);
    assert_eq!(farm.bridge.difficulty(), Some(before));
    farm.job(2, Some(MIN_NTIME), true);
    farm.give_work();
    assert_eq!(farm.last_job().difficulty(), before);
    // From now on it is.
    farm.waits(600);
    assert!(farm.last_job().difficulty() < before);
}

#[test]
fn without_an_upstream_shares_are_refused_and_the_miner_stays() {
    let mut farm = Farm::new();
    let job = farm.last_job();
    farm.bridge.cut_off(farm.now);
    let nonce = farm.mine(&job, 0);
    assert_eq!(farm.verdicts, [Some(ErrorCode::OTHER)]);
    assert_eq!(
        (farm.rejects(Reject::NoUpstream), farm.shares.len()),
        (1, 0)
    );
    farm.job(2, Some(MIN_NTIME), true);
    farm.give_work();
    // Not credited before, so not a duplicate.
    farm.submit(&job, nonce);
    assert_eq!(farm.verdicts.last(), Some(&None));
    assert_eq!(farm.closed, None);
}

#[test]
fn a_channel_without_room_for_the_miners_bytes_makes_no_work() {
    let farm = Farm::new();
    let work = farm.upstream.work(CHANNEL).unwrap().clone();
    assert!(ChannelWork::new(work.clone(), 0, 1, 10).is_ok());
    let error = ChannelWork::new(work, 0, 1, 11).unwrap_err();
    let (available, shown) = (10, 11);
    assert_eq!(error, MappingError::ExtranonceTooShort { available, shown });
}

#[test]
fn btcpools_agent_may_write_zero_for_the_jobs_ntime() {
    for (agent, verdict) in [("btccom-agent/0.1", "true"), ("other/1", "null")] {
        let mut farm = Farm::new();
        let job = farm.last_job();
        farm.password = "d=0.0000000001".to_owned();
        farm.bridge = Bridge::new(config(), farm.now).unwrap();
        farm.sends(&format!(
            r#"{{"id":1,"method":"mining.subscribe","params":["{agent}"]}}"#
        ));
        farm.sends(r#"{"id":2,"method":"mining.authorize","params":["a","d=0.0000000001"]}"#);
        let nonce = farm.find(&job, |_| true);
        farm.sends(&format!(
            r#"{{"id":9,"method":"mining.submit","params":["a","1","0000000000000001","00000000","{nonce:08x}"]}}"#
        ));
        let answer = farm
            .lines
            .iter()
            .find(|line| line.starts_with(r#"{"id":9,"#))
            .unwrap();
        assert!(
            answer.contains(&format!(r#""result":{verdict}"#)),
            "{answer}"
        );
    }
}
