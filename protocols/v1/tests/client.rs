//! The miner's end: servers of all kinds, scripted.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::Now;
use sv1_api::client::{
    ClientConfig, ClientEnd, ClientEvent, ClientJob, ClientOutput, ClientSession, FoundShare,
    MAX_IN_FLIGHT, SubmitError,
};
use sv1_api::error::ErrorCode;
use sv1_api::reject::Reject;

struct Miner {
    session: ClientSession,
    now: Now,
    sent: Vec<String>,
    events: Vec<ClientEvent>,
    end: Option<ClientEnd>,
}

impl Miner {
    fn new() -> Self {
        let mut miner = Self {
            session: ClientSession::new(
                ClientConfig::new("a.pool.example", "alice"),
                Now::default(),
            ),
            now: Now::default(),
            sent: Vec::new(),
            events: Vec::new(),
            end: None,
        };
        miner.take();
        miner
    }

    fn take(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(line) => self.sent.push(line),
                ClientOutput::Event(event) => self.events.push(event),
                ClientOutput::Close(end) => self.end = Some(end),
            }
        }
    }

    fn hears(&mut self, line: &str) -> &mut Self {
        self.session.handle_line(line.as_bytes(), self.now);
        self.take();
        self
    }

    fn waits(&mut self, secs: u64) -> &mut Self {
        self.now = self.now.after(Duration::from_secs(secs));
        self.session.handle_timeout(self.now);
        self.take();
        self
    }

    /// Until the first job, with all that servers usually send.
    fn working() -> Self {
        let mut miner = Self::new();
        miner
            .hears(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#)
            .hears(r#"{"id":2,"result":[[["mining.notify","s7"]],"0102",4],"error":null}"#)
            .hears(r#"{"id":3,"result":true,"error":null}"#)
            .hears(r#"{"id":null,"method":"mining.set_difficulty","params":[1024]}"#)
            .hears(&job("a", true));
        miner
    }

    fn last(&self) -> &str {
        self.sent
            .last()
            .map(|line| line.trim_end())
            .unwrap_or_default()
    }

    fn job(&self) -> Arc<ClientJob> {
        let mut jobs = self.events.iter().filter_map(|event| match event {
            ClientEvent::Work(job) => Some(job.clone()),
            _ => None,
        });
        jobs.next_back().unwrap()
    }

    fn submit(&mut self, job: &ClientJob) -> Result<u64, SubmitError> {
        let share = FoundShare {
            extranonce2: &[0, 0, 0, 1],
            ntime: 255,
            nonce: 1,
            version: job.notify().version,
        };
        let submission = self.session.submit(job, &share);
        self.take();
        submission
    }
}

fn job(id: &str, clean: bool) -> String {
    job_on(id, clean, "00")
}

fn job_on(id: &str, clean: bool, prev_hash_byte: &str) -> String {
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{id}","{}","01","02",[],"20000000","207fffff","000000ff",{clean}]}}"#,
        prev_hash_byte.repeat(32)
    )
}

#[test]
fn a_miner_logs_in_step_by_step() {
    let mut miner = Miner::new();
    assert!(miner.last().starts_with(r#"{"id":1,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],"#));
    miner.hears(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#);
    assert!(
        miner
            .last()
            .starts_with(r#"{"id":2,"method":"mining.subscribe","params":["stratum/"#)
    );
    miner.hears(r#"{"id":2,"result":[[["mining.notify","s7"]],"0102",4],"error":null}"#);
    assert_eq!(
        miner.last(),
        r#"{"id":3,"method":"mining.authorize","params":["alice","x"]}"#
    );
    miner.hears(r#"{"id":3,"result":true,"error":null}"#);
    assert_eq!(
        miner.last(),
        r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#
    );
    assert_eq!(miner.events, [ClientEvent::Authorized]);
    assert_eq!(miner.session.session(), Some("s7"));
    assert_eq!(miner.session.version_mask(), 0x1fff_e000);
}

#[test]
fn servers_without_configure_are_used_without_rolling() {
    for answer in [
        r#"{"id":1,"result":null,"error":[20,"unknown method",null]}"#,
        r#"{"id":1,"result":{"version-rolling":false},"error":null}"#,
        r#"{"id":1,"result":{"version-rolling":"no"},"error":null}"#,
    ] {
        let mut miner = Miner::new();
        miner.hears(answer);
        assert!(miner.last().contains("mining.subscribe"), "{answer}");
        assert_eq!(miner.session.version_mask(), 0);
    }
    let mut miner = Miner::new();
    miner.waits(4);
    assert!(miner.last().contains("mining.configure"));
    miner.waits(1);
    assert!(miner.last().contains("mining.subscribe"));
}

#[test]
fn a_refused_subscribe_is_repeated_without_params() {
    let mut miner = Miner::new();
    miner
        .hears(r#"{"id":1,"result":{},"error":null}"#)
        .hears(r#"{"id":2,"result":null,"error":[20,"too many params",null]}"#);
    assert_eq!(
        miner.last(),
        r#"{"id":3,"method":"mining.subscribe","params":[]}"#
    );
    miner.hears(r#"{"id":3,"result":null,"error":"full"}"#);
    match &miner.end {
        Some(ClientEnd::SubscribeRefused(error)) => assert_eq!(error.message, "full"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_come_as_list_object_text_or_reject_reason() {
    for (error, code, message) in [
        (
            r#""error":[23,"low",null]"#,
            ErrorCode::LOW_DIFFICULTY,
            "low",
        ),
        (
            r#""error":{"code":21,"message":"gone"}"#,
            ErrorCode::JOB_NOT_FOUND,
            "gone",
        ),
        (r#""error":"no""#, ErrorCode::OTHER, "no"),
        (
            r#""result":false,"error":null,"reject-reason":"old""#,
            ErrorCode::OTHER,
            "old",
        ),
        (
            r#""result":false,"error":null"#,
            ErrorCode::OTHER,
            "no reason given",
        ),
    ] {
        let mut miner = Miner::working();
        let job = miner.job();
        let submission = miner.submit(&job).unwrap();
        miner.hears(&format!(r#"{{"id":{submission},{error}}}"#));
        match miner.events.last() {
            Some(ClientEvent::Rejected {
                submission: of,
                error,
            }) => {
                assert_eq!(
                    (*of, error.code, &*error.message),
                    (submission, code, message)
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(miner.session.counts().rejected, 1);
    }
}

#[test]
fn a_share_is_sent_in_the_form_that_all_servers_take() {
    let mut miner = Miner::working();
    let job = miner.job();
    let submission = miner.submit(&job).unwrap();
    assert_eq!(
        miner.last(),
        r#"{"id":5,"method":"mining.submit","params":["alice","a","00000001","000000ff","00000001","00000000"]}"#
    );
    miner.hears(r#"{"id":"5","result":true,"error":null}"#);
    assert_eq!(
        miner.events.last(),
        Some(&ClientEvent::Accepted { submission })
    );
}

#[test]
fn what_a_server_changes_counts_for_later_jobs() {
    let mut miner = Miner::working();
    let first = miner.job();
    miner
        .hears(r#"{"id":711,"method":"mining.set_difficulty","params":[2048]}"#)
        .hears(r#"{"method":"mining.set_extranonce","params":["03",6]}"#);
    assert_eq!(miner.job(), first);
    miner.hears(&job("b", false));
    let second = miner.job();
    assert_eq!(
        (first.difficulty().as_f64(), first.extranonce2_size()),
        (1024.0, 4)
    );
    assert_eq!(
        (second.difficulty().as_f64(), second.extranonce2_size()),
        (2048.0, 6)
    );
    assert!(miner.submit(&first).is_ok(), "the first job is not over");
}

#[test]
fn another_version_mask_counts_at_once() {
    let mut miner = Miner::working();
    miner.hears(r#"{"id":null,"method":"mining.set_version_mask","params":["00003000"]}"#);
    let job = miner.job();
    assert_eq!((job.version_mask(), &*job.notify().job_id), (0x3000, "a"));
    let share = FoundShare {
        extranonce2: &[0; 4],
        ntime: 0,
        nonce: 0,
        version: job.notify().version ^ 0x8000,
    };
    assert_eq!(
        miner.session.submit(&job, &share),
        Err(SubmitError::BadVersion)
    );
}

#[test]
fn a_clean_job_or_another_block_ends_earlier_jobs() {
    let mut miner = Miner::working();
    let first = miner.job();
    miner.hears(&job("b", true));
    assert_eq!(miner.submit(&first), Err(SubmitError::Stale));
    let second = miner.job();
    miner.hears(&job_on("c", false, "11"));
    assert_eq!(miner.submit(&second), Err(SubmitError::Stale));
    assert_eq!(miner.session.counts().submitted, 0);
}

#[test]
fn pings_and_questions_are_answered_whatever_their_id() {
    let mut miner = Miner::working();
    miner.hears(r#"{"id":"p","method":"mining.ping","params":[]}"#);
    assert_eq!(miner.last(), r#"{"id":"p","result":"pong","error":null}"#);
    miner.hears(r#"{"id":9,"method":"client.get_version","params":[]}"#);
    assert!(miner.last().starts_with(r#"{"id":9,"result":"stratum/"#));
    miner.hears(r#"{"id":8,"method":"client.dance","params":[]}"#);
    assert_eq!(
        miner.last(),
        r#"{"id":8,"result":null,"error":[20,"unknown method",null]}"#
    );
    miner.hears(r#"{"id":null,"method":"client.show_message","params":["hi"]}"#);
    assert_eq!(
        miner.events.last(),
        Some(&ClientEvent::Message("hi".to_owned()))
    );
}

#[test]
fn reconnecting_stays_within_the_domain() {
    let mut miner = Miner::working();
    miner.hears(r#"{"id":null,"method":"client.reconnect","params":["evil.example",3333,1]}"#);
    assert_eq!(
        (&miner.end, miner.session.rejects().of(Reject::NotSupported)),
        (&None, 1)
    );
    miner.hears(r#"{"id":null,"method":"client.reconnect","params":["b.pool.example","3334"]}"#);
    match &miner.end {
        Some(ClientEnd::Reconnect(reconnect)) => assert_eq!(reconnect.port, Some(3334)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_server_is_left() {
    let mut miner = Miner::new();
    miner
        .hears(r#"{"id":1,"result":{},"error":null}"#)
        .waits(30);
    assert_eq!(miner.end, Some(ClientEnd::NoAnswer));
    let mut miner = Miner::working();
    miner.waits(299).hears(&job("b", false)).waits(299);
    assert_eq!(miner.end, None);
    miner.waits(1);
    assert_eq!(miner.end, Some(ClientEnd::Silent));
}

#[test]
fn a_refused_user_ends_the_connection() {
    let mut miner = Miner::new();
    miner
        .hears(r#"{"id":1,"result":{},"error":null}"#)
        .hears(r#"{"id":2,"result":[[],"0102",4],"error":null}"#)
        .hears(r#"{"id":3,"result":false,"error":null}"#);
    assert!(matches!(miner.end, Some(ClientEnd::AuthorizeRefused(_))));
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    let mut miner = Miner::new();
    miner.hears(&job("a", true));
    assert_eq!(miner.session.rejects().of(Reject::NotSubscribed), 1);
    let mut miner = Miner::working();
    let (sent, events) = (miner.sent.len(), miner.events.len());
    for (line, reason) in [
        ("x", Reject::NotJson),
        ("[]", Reject::NotAMessage),
        (
            r#"{"id":77,"result":true,"error":null}"#,
            Reject::UnexpectedResponse,
        ),
        (
            r#"{"id":null,"method":"mining.dance","params":[]}"#,
            Reject::UnknownMethod,
        ),
        (
            r#"{"id":null,"method":"mining.set_difficulty","params":[0]}"#,
            Reject::BadParams,
        ),
    ] {
        miner.hears(line);
        assert_eq!(miner.session.rejects().of(reason), 1, "{line}");
    }
    assert_eq!((miner.sent.len(), miner.events.len()), (sent, events));
}

#[test]
fn shares_without_answer_are_bounded() {
    let mut miner = Miner::working();
    let job = miner.job();
    for _ in 0..MAX_IN_FLIGHT + 10 {
        miner.submit(&job).unwrap();
    }
    let counts = miner.session.counts();
    assert_eq!(counts.submitted, MAX_IN_FLIGHT as u64 + 10);
    // The answer to mining.extranonce.subscribe is missing too, and goes first.
    assert_eq!(counts.unanswered, 10);
}
