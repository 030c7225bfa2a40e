use alloc::string::ToString;

use common_messages_sv2::{
    ChannelEndpointChanged, Reconnect, SetupConnectionError, SetupConnectionSuccess,
};
use extensions_sv2::{RequestExtensionsError, RequestExtensionsSuccess};
use mining_sv2::{
    NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, OpenMiningChannelError,
    OpenStandardMiningChannelSuccess, SetExtranoncePrefix, SetNewPrevHash, SetTarget,
    SubmitSharesSuccess,
};

use super::*;
use crate::target::Target;

const CHANNEL: u32 = 2;

struct Scene {
    session: UpstreamSession,
    now: Now,
}

impl Scene {
    fn new(extensions: &[u16]) -> Self {
        let now = Now::default();
        let terms = UpstreamTerms {
            extensions: extensions.to_vec(),
            ..UpstreamTerms::default()
        };
        let mut scene = Self {
            session: UpstreamSession::new(terms, now),
            now,
        };
        assert_eq!(scene.told(), ["SetupConnection"]);
        scene
    }

    /// Open, without extensions.
    fn open() -> Self {
        let mut scene = Self::new(&[]);
        scene.accept();
        assert_eq!(scene.told(), ["ready"]);
        scene
    }

    /// With a channel that has work.
    fn working() -> Self {
        let mut scene = Self::open();
        scene.channel(1);
        scene
    }

    fn channel(&mut self, request_id: u32) {
        let identity = "farm".try_into().unwrap();
        let asked = self
            .session
            .open_extended(identity, OpenTerms::default(), self.now);
        assert_eq!(asked, Ok(request_id));
        self.says(MiningMessage::from(OpenExtendedMiningChannelSuccess {
            request_id,
            channel_id: CHANNEL,
            target: [0xff; 32].into(),
            extranonce_size: 8,
            extranonce_prefix: [9; 4].as_slice().try_into().unwrap(),
            group_channel_id: 1,
        }));
        let script = [&[1, 0, 0, 0, 1][..], &[0; 32], &[0xff; 4], &[15, 2, 1, 1]].concat();
        let suffix = [&[0xff; 4][..], &[1], &[0; 8], &[1, 0x51], &[0; 4]].concat();
        self.says(MiningMessage::from(NewExtendedMiningJob {
            channel_id: CHANNEL,
            job_id: 1,
            min_ntime: None,
            version: 0x2000_0000,
            version_rolling_allowed: true,
            merkle_path: Default::default(),
            coinbase_tx_prefix: script.try_into().unwrap(),
            coinbase_tx_suffix: suffix.try_into().unwrap(),
        }));
        self.says(MiningMessage::from(SetNewPrevHash {
            channel_id: CHANNEL,
            job_id: 1,
            prev_hash: [1; 32].into(),
            min_ntime: 1_700_000_000,
            nbits: 0x1703_71b1,
        }));
        self.told();
    }

    fn says(&mut self, message: impl Into<AnyMessage<'static>>) {
        self.session.handle_message(&message.into(), self.now);
    }

    fn accept(&mut self) {
        let (used_version, flags) = (2, 0);
        let answer = SetupConnectionSuccess {
            used_version,
            flags,
        };
        self.says(CommonMessage::from(answer));
    }

    fn waits(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        self.session.handle_timeout(self.now);
    }

    fn submit(&mut self, worker: Option<&Arc<str>>) -> Result<u32, ClientError> {
        let work = self.session.channels().work(CHANNEL).unwrap().clone();
        let found = Found {
            nonce: 1,
            ntime: work.min_ntime(),
            version: work.version(),
            extranonce: &[5; 8],
        };
        self.session.submit(&work, &found, worker, self.now)
    }

    /// The outputs, in short.
    fn told(&mut self) -> Vec<String> {
        let outputs = core::iter::from_fn(|| self.session.poll_output());
        outputs.map(|output| short(&output)).collect()
    }
}

fn short(output: &UpstreamOutput) -> String {
    match output {
        UpstreamOutput::Send(message) => message.kind().name.into(),
        UpstreamOutput::Share(share) => match &share.worker {
            Some(worker) => alloc::format!("share of {worker}"),
            None => "share".into(),
        },
        UpstreamOutput::StandardShare(_) => "standard share".into(),
        UpstreamOutput::Event(UpstreamEvent::Ready) => "ready".into(),
        UpstreamOutput::Event(UpstreamEvent::Channel(event)) => match event {
            ClientEvent::Opened { .. } => "opened".into(),
            ClientEvent::OpenRefused { error_code, .. } => {
                alloc::format!("refused {}", words(error_code))
            }
            ClientEvent::Acknowledged(_) => "acknowledged".into(),
            other => alloc::format!("{other:?}"),
        },
        UpstreamOutput::Event(UpstreamEvent::Reconnect { host, port }) => {
            alloc::format!("reconnect {host}:{port}")
        }
        UpstreamOutput::Event(UpstreamEvent::Foreign { channel_id, frame }) => {
            alloc::format!("foreign frame for {channel_id}: {:?}", frame.payload)
        }
        UpstreamOutput::Event(UpstreamEvent::EndpointChanged { channel_id }) => {
            alloc::format!("another endpoint behind {channel_id}")
        }
        UpstreamOutput::Forward(frame) => alloc::format!("forward {:?}", frame.payload),
        UpstreamOutput::Close(end) => end.to_string(),
    }
}

#[test]
fn a_server_without_extensions_is_waited_for_a_second() {
    let mut scene = Scene::new(&[EXTENSION_WORKER_IDENTITY]);
    scene.accept();
    assert_eq!(scene.told(), ["RequestExtensions"]);
    let identity: Str0255<'static> = "farm".try_into().unwrap();
    let early = scene
        .session
        .open_extended(identity, OpenTerms::default(), scene.now);
    assert_eq!(
        early,
        Err(ClientError::NotOpen),
        "nothing goes out before the answer"
    );
    scene.waits(999);
    assert_eq!(scene.told().len(), 0);
    scene.waits(1);
    assert_eq!(scene.told(), ["ready"]);
    scene.channel(1);
    let worker: Arc<str> = "alice.rig1".into();
    scene.submit(Some(&worker)).unwrap();
    assert_eq!(
        scene.told(),
        ["share"],
        "without the name, which nobody would read"
    );
    // The answer comes after all: it is counted and changes nothing.
    scene.says(ExtensionNegotiationMessage::from(success(1)));
    assert_eq!(scene.session.ignored_frames(), 1);
    assert!(scene.told().is_empty());
}

fn success(request_id: u16) -> RequestExtensionsSuccess<'static> {
    RequestExtensionsSuccess {
        request_id,
        supported_extensions: alloc::vec![EXTENSION_WORKER_IDENTITY].try_into().unwrap(),
    }
}

#[test]
fn names_of_workers_go_along_once_negotiated_and_again_after_another_endpoint() {
    let mut scene = Scene::new(&[EXTENSION_WORKER_IDENTITY]);
    scene.accept();
    scene.says(ExtensionNegotiationMessage::from(success(1)));
    assert_eq!(scene.told(), ["RequestExtensions", "ready"]);
    scene.channel(1);
    let worker: Arc<str> = "alice.rig1".into();
    assert_eq!(scene.submit(Some(&worker)), Ok(1));
    assert_eq!(scene.told(), ["share of alice.rig1"]);

    let channel_id = CHANNEL;
    scene.says(CommonMessage::from(ChannelEndpointChanged { channel_id }));
    let told = ["RequestExtensions", "another endpoint behind 2"];
    assert_eq!(scene.told(), told);
    assert!(scene.session.is_open(), "shares go on meanwhile");
    scene.says(ExtensionNegotiationMessage::from(success(2)));
    assert_eq!(scene.submit(Some(&worker)), Ok(2));
    assert_eq!(scene.told(), ["share of alice.rig1"]);
}

#[test]
fn a_server_that_requires_what_is_not_known_is_left() {
    let mut scene = Scene::new(&[EXTENSION_WORKER_IDENTITY]);
    scene.accept();
    scene.says(ExtensionNegotiationMessage::from(RequestExtensionsError {
        request_id: 1,
        unsupported_extensions: Default::default(),
        required_extensions: alloc::vec![0x4001].try_into().unwrap(),
    }));
    let told = scene.told();
    assert!(told[1].starts_with("extensions: "), "{told:?}");
}

#[test]
fn each_way_to_fail_ends_the_connection_with_its_reason() {
    let mut scene = Scene::new(&[]);
    scene.waits(5_000);
    assert_eq!(scene.told(), ["the server did not answer in time"]);
    assert_eq!(scene.session.poll_timeout(), None);
    scene.accept();
    assert!(scene.told().is_empty(), "nothing follows an end");

    let mut scene = Scene::new(&[]);
    scene.says(CommonMessage::from(SetupConnectionError {
        flags: 4,
        error_code: "unsupported-feature-flags".try_into().unwrap(),
    }));
    let end = "the server refuses the connection: unsupported-feature-flags, unsupported flags 0x4";
    assert_eq!(scene.told(), [end]);

    let mut scene = Scene::new(&[]);
    scene.says(CommonMessage::from(SetupConnectionSuccess {
        used_version: 3,
        flags: 0,
    }));
    assert_eq!(scene.told().len(), 1);

    let mut scene = Scene::new(&[]);
    scene.session.handle_frame(0x8000, 0x1c, &[1, 2], scene.now);
    let told = scene.told();
    assert!(
        told[0].starts_with("the server sent a frame that cannot be taken"),
        "{told:?}"
    );
}

#[test]
fn a_channel_that_is_not_answered_ends_the_connection_and_a_refusal_does_not() {
    let mut scene = Scene::open();
    let open = |scene: &mut Scene| {
        let identity = "farm".try_into().unwrap();
        scene
            .session
            .open_extended(identity, OpenTerms::default(), scene.now)
            .unwrap()
    };
    let first = open(&mut scene);
    scene.waits(3_000);
    open(&mut scene);
    scene.says(MiningMessage::from(OpenMiningChannelError {
        request_id: first,
        error_code: "unknown-user\n".try_into().unwrap(),
    }));
    let expected = [
        "OpenExtendedMiningChannel",
        "OpenExtendedMiningChannel",
        "refused unknown-user\\n",
    ];
    assert_eq!(scene.told(), expected);
    scene.waits(2_000);
    assert!(
        scene.told().is_empty(),
        "the second one has 5 seconds of its own"
    );
    scene.waits(3_000);
    assert_eq!(scene.told(), ["the server did not answer in time"]);
}

#[test]
fn silence_ends_the_connection_only_when_many_shares_wait() {
    let mut scene = Scene::working();
    for _ in 0..SILENT_SHARES - 1 {
        scene.submit(None).unwrap();
    }
    assert_eq!(
        scene.session.poll_timeout(),
        None,
        "ten and more are acknowledged at once"
    );
    scene.submit(None).unwrap();
    scene.told();
    scene.waits(9_999);
    assert!(scene.told().is_empty());
    let payload = binary_sv2::Encodable::to_vec(&SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: 10,
        new_submits_accepted_count: 10,
        new_shares_sum: 10,
    });
    scene
        .session
        .handle_frame(0x8000, 0x1c, &payload, scene.now);
    assert_eq!(scene.told(), ["acknowledged"]);
    scene.waits(60_000);
    for _ in 0..SILENT_SHARES {
        scene.submit(None).unwrap();
    }
    scene.told();
    scene.waits(9_999);
    assert!(scene.told().is_empty());
    scene.waits(1);
    assert_eq!(scene.told(), ["the server says nothing while shares wait"]);
}

#[test]
fn a_reconnect_is_told_and_the_connection_goes_on() {
    let mut scene = Scene::working();
    scene.says(CommonMessage::from(Reconnect {
        new_host: "other.example".try_into().unwrap(),
        new_port: 3336,
    }));
    assert_eq!(scene.told(), ["reconnect other.example:3336"]);
    assert!(scene.submit(None).is_ok());
}

#[test]
fn unknown_frames_are_counted() {
    let mut scene = Scene::working();
    scene.session.handle_frame(0x4abc, 0x01, &[], scene.now);
    scene.session.handle_frame(0, 0xee, &[], scene.now);
    assert_eq!(scene.session.ignored_frames(), 2);
    assert!(scene.told().is_empty());
}

#[test]
fn a_server_that_breaks_its_word_is_left_and_the_reason_has_a_name() {
    let acknowledged = SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: 9,
        new_submits_accepted_count: 9,
        new_shares_sum: 9,
    };
    let job = SetNewPrevHash {
        channel_id: 4_711,
        job_id: 1,
        prev_hash: [1; 32].into(),
        min_ntime: 1_700_000_000,
        nbits: 0x1703_71b1,
    };
    let prefix = SetExtranoncePrefix {
        channel_id: CHANNEL,
        extranonce_prefix: [9; 5].as_slice().try_into().unwrap(),
    };
    let target = SetTarget {
        channel_id: CHANNEL,
        maximum_target: [0xff; 32].into(),
    };
    let lies: [(MiningMessage<'static>, &str); 4] = [
        (acknowledged.into(), "unsent-share"),
        (job.into(), "unknown-channel"),
        (prefix.into(), "extranonce-size"),
        (target.into(), "target-too-easy"),
    ];
    for (lie, label) in lies {
        let mut scene = Scene::working();
        if label == "target-too-easy" {
            // As if that had been asked for.
            scene = Scene::open();
            let terms = OpenTerms {
                max_target: Target::from_difficulty(1.0).unwrap(),
                ..OpenTerms::default()
            };
            let identity = "farm".try_into().unwrap();
            let request = scene.session.open_standard(identity, terms, scene.now);
            assert_eq!(scene.told(), ["OpenStandardMiningChannel"]);
            scene.says(MiningMessage::from(OpenStandardMiningChannelSuccess {
                request_id: request.unwrap(),
                channel_id: CHANNEL,
                target: terms.max_target.to_le_bytes().into(),
                extranonce_prefix: [9; 20].as_slice().try_into().unwrap(),
                group_channel_id: 1,
            }));
            assert_eq!(scene.told(), ["opened"]);
        }
        scene.says(lie);
        let Some(UpstreamOutput::Close(end)) = scene.session.poll_output() else {
            panic!("{label}: it is left")
        };
        assert_eq!(end.label(), label);
        assert!(
            end.to_string()
                .starts_with("the server does not keep to what was agreed: ")
        );
        assert!(scene.session.poll_timeout().is_none());
    }
}

#[test]
fn another_endpoint_behind_no_channel_is_counted_and_changes_nothing() {
    let mut scene = Scene::working();
    let channel_id = 4_711;
    scene.says(CommonMessage::from(ChannelEndpointChanged { channel_id }));
    assert!(scene.told().is_empty());
    assert_eq!(scene.session.ignored_frames(), 1);
    let channel_id = CHANNEL;
    scene.says(CommonMessage::from(ChannelEndpointChanged { channel_id }));
    assert_eq!(scene.told(), ["another endpoint behind 2"]);
    assert_eq!(scene.session.ignored_frames(), 1);
}

#[test]
fn who_is_not_strict_counts_what_others_leave_a_server_for() {
    let mut scene = Scene::working();
    scene.session.is_strict = false;
    scene.says(MiningMessage::from(SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: 9,
        new_submits_accepted_count: 9,
        new_shares_sum: 9,
    }));
    assert!(scene.told().is_empty());
    assert_eq!(scene.session.rejected(ClientReject::UnsentShare), 1);
    for _ in 0..SILENT_SHARES {
        scene.submit(None).unwrap();
    }
    assert_eq!(scene.session.poll_timeout(), None);
}

#[test]
fn frames_of_unknown_extensions_for_a_channel_are_handed_out_as_they_came() {
    let mut scene = Scene::working();
    let payload = [&CHANNEL.to_le_bytes()[..], &[1, 2, 3]].concat();
    scene
        .session
        .handle_frame(0xc001, 0x77, &payload, scene.now);
    assert_eq!(scene.told(), ["foreign frame for 2: [2, 0, 0, 0, 1, 2, 3]"]);
    // One for the connection is nobody's.
    scene
        .session
        .handle_frame(0x4001, 0x77, &payload, scene.now);
    assert!(scene.told().is_empty());
    assert_eq!(scene.session.ignored_frames(), 1);
    let frame = ForeignFrame {
        channel_id: 9,
        extension_type: 0xc001,
        msg_type: 0x77,
        payload: &[9, 0, 0, 0, 5],
    };
    scene.session.forward(frame.for_channel(CHANNEL));
    assert_eq!(scene.told(), ["forward [2, 0, 0, 0, 5]"]);
    let mut early = Scene::new(&[]);
    early
        .session
        .handle_frame(0xc001, 0x77, &payload, early.now);
    early.session.forward(frame.for_channel(CHANNEL));
    assert!(early.told().is_empty());
    assert_eq!(early.session.ignored_frames(), 1);
}
