//! Each misbehaviour as a client sees it, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::collections::BTreeSet;
use std::time::Duration;

use binary_sv2::Encodable;
use const_sv2::{CHANNEL_MSG_BIT, EXTENSION_WORKER_IDENTITY};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientEvent, ClientReject, Found, OpenTerms, Work};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::share::RejectReason;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::{
    UpstreamEnd, UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms,
};
use stratum_test_pool::core::{Frame, MAX_HELD, Output, Pool, PoolConfig, PoolOutput};
use stratum_test_pool::{
    Act, Command, ConnectionId, Delivery, Door, Event, Lie, MAX_WAITING_COMMANDS, Misbehaviour,
    Place, Reception,
};

const START: Now = Now {
    instant: Instant::from_secs(1_000),
    unix_secs: 1_800_000_000,
};

/// So easy that a share takes a few hashes.
const DIFFICULTY: f64 = 1e-9;

const CLIENT: ConnectionId = ConnectionId(1);

const BOTH: [ChannelKind; 2] = [ChannelKind::Standard, ChannelKind::Extended];

/// A pool, and one client of it: the client's half that all our programs have.
struct World {
    pool: Pool,
    client: UpstreamSession,
    now: Now,
    max_target: Target,
    /// What the client was sent, in order.
    frames: Vec<Frame>,
    /// What was done besides sending whole frames.
    others: Vec<Output>,
    events: Vec<UpstreamEvent>,
    seen: Vec<Event>,
    end: Option<UpstreamEnd>,
    nonce: u32,
}

impl World {
    fn new() -> Self {
        Self::with(UpstreamTerms::default())
    }

    fn with(terms: UpstreamTerms) -> Self {
        let config = PoolConfig {
            difficulty: DIFFICULTY,
            ..PoolConfig::default()
        };
        let mut pool = Pool::new(&config, START).unwrap();
        pool.handle_connected(CLIENT, START);
        Self {
            pool,
            client: UpstreamSession::new(terms, START),
            now: START,
            max_target: Target::MAX,
            frames: Vec::new(),
            others: Vec::new(),
            events: Vec::new(),
            seen: Vec::new(),
            end: None,
            nonce: 0,
        }
    }

    /// Misbehaves before a word is said.
    fn misbehaving(misbehaviour: impl Into<Misbehaviour>) -> Self {
        let mut world = Self::new();
        world.told(misbehaviour);
        world.run();
        world
    }

    /// A client with an open channel and work.
    fn mining(kind: ChannelKind) -> Self {
        let mut world = Self::new();
        world.run();
        world.open(kind);
        assert!(world.work().is_some(), "{:?}", world.events);
        world
    }

    fn told(&mut self, misbehaviour: impl Into<Misbehaviour>) -> usize {
        self.command(Act::Misbehave(misbehaviour.into()))
    }

    fn command(&mut self, command: impl Into<Command>) -> usize {
        let told = self.pool.handle_command(command.into(), self.now).unwrap();
        self.run();
        told
    }

    fn run(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(output) = self.client.poll_output() {
                is_idle = false;
                self.says(output);
            }
            while let Some(output) = self.pool.poll_output() {
                is_idle = false;
                self.hears(output);
            }
            if is_idle {
                return;
            }
        }
    }

    fn says(&mut self, output: UpstreamOutput) {
        match output {
            UpstreamOutput::Send(message) => {
                let kind = message.kind();
                self.sends(kind.wire_extension_type(), kind.msg_type, &message.to_vec());
            }
            UpstreamOutput::Share(share) => {
                let kind = const_sv2::mining::SUBMIT_SHARES_EXTENDED;
                let payload = share.message.to_vec();
                self.sends(kind.wire_extension_type(), kind.msg_type, &payload);
            }
            UpstreamOutput::StandardShare(share) => {
                let kind = const_sv2::mining::SUBMIT_SHARES_STANDARD;
                self.sends(kind.wire_extension_type(), kind.msg_type, &share.to_vec());
            }
            UpstreamOutput::Forward(_) => {}
            UpstreamOutput::Event(event) => self.events.push(event),
            UpstreamOutput::Close(end) => self.end = Some(end),
        }
    }

    fn sends(&mut self, extension_type: u16, msg_type: u8, payload: &[u8]) {
        self.pool
            .handle_frame(CLIENT, extension_type, msg_type, payload, self.now);
    }

    fn hears(&mut self, output: PoolOutput) {
        match output {
            PoolOutput::Event(event) => self.seen.push(event),
            PoolOutput::On(id, Output::Send(frame)) => {
                assert_eq!(id, CLIENT);
                let (extension_type, msg_type) = (frame.extension_type, frame.msg_type);
                self.client
                    .handle_frame(extension_type, msg_type, &frame.payload, self.now);
                self.frames.push(frame);
            }
            PoolOutput::On(_, other) => self.others.push(other),
        }
    }

    fn open(&mut self, kind: ChannelKind) {
        let terms = OpenTerms {
            nominal_hash_rate: 1e12,
            max_target: self.max_target,
            min_extranonce_size: 4,
        };
        let user = "alice".try_into().unwrap();
        let opened = match kind {
            ChannelKind::Standard => self.client.open_standard(user, terms, self.now),
            ChannelKind::Extended => self.client.open_extended(user, terms, self.now),
        };
        opened.unwrap();
        self.run();
    }

    fn work(&self) -> Option<Work> {
        let channels = self.client.channels();
        let id = channels.channels().next()?.id();
        channels.work(id).cloned()
    }

    /// Finds a share and hands it in.
    fn mine(&mut self) {
        let work = self.work().unwrap();
        let extranonce = vec![7; work.extranonce_size()];
        let nonce = (self.nonce..)
            .find(|nonce| {
                let header = work.header(&found(&work, &extranonce, *nonce)).unwrap();
                work.target().is_met_by(&header.hash())
            })
            .unwrap();
        self.nonce = nonce + 1;
        let found = found(&work, &extranonce, nonce);
        self.client.submit(&work, &found, None, self.now).unwrap();
        self.run();
    }

    fn waits(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        while let Some(due) = self.pool.poll_timeout().filter(|due| *due <= until.instant) {
            self.now = self.now.after(due - self.now.instant);
            self.pool.handle_timeout(self.now);
            self.run();
            let next = self.pool.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now.instant));
        }
        self.now = until;
        self.client.handle_timeout(self.now);
        self.run();
    }

    fn waits_ms(&mut self, millis: u64) {
        self.waits(Duration::from_millis(millis));
    }

    fn names(&self) -> Vec<&'static str> {
        self.frames.iter().map(|frame| frame.name).collect()
    }

    /// Why the client had enough.
    fn label(&self) -> &'static str {
        self.end.as_ref().map_or("", UpstreamEnd::label)
    }

    fn rejected(&self, reason: ClientReject) -> u64 {
        self.client.rejected(reason)
    }

    fn refusals(&self) -> Vec<String> {
        let words = |event: &UpstreamEvent| match event {
            UpstreamEvent::Channel(
                ClientEvent::OpenRefused { error_code, .. }
                | ClientEvent::Rejected { error_code, .. }
                | ClientEvent::UpdateRefused { error_code, .. },
            ) => Some(error_code.as_str().unwrap().to_owned()),
            _ => None,
        };
        self.events.iter().filter_map(words).collect()
    }

    fn accepted(&self) -> u64 {
        let accepted = |event: &UpstreamEvent| match event {
            UpstreamEvent::Channel(ClientEvent::Acknowledged(success)) => {
                u64::from(success.new_submits_accepted_count)
            }
            _ => 0,
        };
        self.events.iter().map(accepted).sum()
    }

    /// Whether all is as it should be.
    fn assert_works(&mut self) {
        let before = self.accepted();
        self.mine();
        assert_eq!((self.accepted(), &self.end), (before + 1, &None));
    }
}

fn found<'a>(work: &Work, extranonce: &'a [u8], nonce: u32) -> Found<'a> {
    Found {
        nonce,
        ntime: work.min_ntime(),
        version: work.version(),
        extranonce,
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn text(text: &str) -> Command {
    text.parse().unwrap()
}

#[test]
fn an_honest_pool_serves_channels_of_both_kinds_and_tells_what_shares_are_worth() {
    for kind in BOTH {
        let mut world = World::mining(kind);
        world.mine();
        world.command(Act::NewJob);
        world.mine();
        world.command(Act::NewBlock);
        world.mine();
        assert_eq!(world.accepted(), 3, "{kind:?}");
        let reasons = ClientReject::ALL.map(|reason| world.rejected(reason));
        assert_eq!(reasons.iter().sum::<u64>(), 0, "{kind:?} {reasons:?}");
        let counters = world.pool.counters();
        assert_eq!((counters.shares_good, counters.shares()), (3, 3));
        assert_eq!(counters.sent("SubmitShares.Success"), 3);
        assert_eq!(counters.received("SetupConnection"), 1);
        let shares = world.seen.iter().filter_map(|event| match event {
            Event::Share(share) => Some((share.sequence_number, share.verdict)),
            _ => None,
        });
        let difficulty = Target::from_difficulty(DIFFICULTY).unwrap().difficulty();
        let good = Ok(difficulty.to_f64());
        assert_eq!(
            shares.map(|(_, verdict)| verdict).collect::<Vec<_>>(),
            [good; 3]
        );
    }
}

#[test]
fn a_share_that_is_worth_nothing_is_told_with_its_reason() {
    let mut world = World::mining(ChannelKind::Extended);
    let work = world.work().unwrap();
    let extranonce = vec![7; work.extranonce_size()];
    let bad = found(&work, &extranonce, 0);
    for _ in 0..2 {
        world.client.submit(&work, &bad, None, world.now).unwrap();
        world.run();
    }
    // Whatever the first one was worth, the second is no other.
    let last = world.seen.iter().rev().find_map(|event| match event {
        Event::Share(share) => Some(share.verdict),
        _ => None,
    });
    let reasons = [RejectReason::Duplicate, RejectReason::DifficultyTooLow];
    assert!(reasons.map(Err).contains(&last.unwrap()), "{last:?}");
    assert_eq!(
        world.refusals().last(),
        Some(&last.unwrap().unwrap_err().error_code().to_owned())
    );
    let code = last.unwrap().unwrap_err().error_code();
    assert!(world.pool.counters().shares_bad[code] > 0);
}

#[test]
fn channels_of_one_connection_share_the_jobs_of_their_group() {
    let mut world = World::mining(ChannelKind::Extended);
    world.open(ChannelKind::Standard);
    world.frames.clear();
    world.command(Act::NewBlock);
    assert_eq!(world.names(), ["NewExtendedMiningJob", "SetNewPrevHash"]);
}

#[test]
fn the_claims_of_clients_do_not_change_the_difficulty_but_their_limits_do() {
    let mut world = World::mining(ChannelKind::Extended);
    let wanted = Target::from_difficulty(DIFFICULTY).unwrap();
    assert_eq!(*world.work().unwrap().target(), wanted);
    world.max_target = Target::from_difficulty(1e-8).unwrap();
    world.open(ChannelKind::Extended);
    let targets: Vec<_> = world
        .client
        .channels()
        .channels()
        .map(|channel| *channel.target())
        .collect();
    assert!(targets[1] <= world.max_target && targets[0] == wanted);
}

/// What no server in its right mind says, with the name under which our clients count it.
#[test]
fn lies_that_break_the_word_end_the_connection() {
    let cases = [
        (Lie::UnknownChannel, "unknown-channel"),
        (Lie::UnsentAccepted, "unsent-share"),
        (Lie::UnsentRejected, "unsent-share"),
        (Lie::ShrinkExtranonce, "extranonce-size"),
        (Lie::EasyTarget, "target-too-easy"),
        (Lie::SecondSetup, "out-of-order"),
        (Lie::ClientMessage, "frame"),
        (Lie::Malformed, "frame"),
    ];
    for (lie, label) in cases {
        for kind in BOTH {
            let mut world = World::new();
            world.max_target = Target::from_difficulty(DIFFICULTY).unwrap();
            world.run();
            world.open(kind);
            world.assert_works();
            assert_eq!(world.told(lie.clone()), 1);
            assert_eq!(world.label(), label, "{lie} {kind:?}");
        }
    }
}

/// What a client counts, and goes on.
#[test]
fn lies_that_are_only_counted_are_counted() {
    let cases = [
        (Lie::UnknownJob, ClientReject::UnknownJob),
        (Lie::GroupAsChannel, ClientReject::IdInUse),
        (Lie::InvalidNbits, ClientReject::InvalidNbits),
        (Lie::WrongKind, ClientReject::WrongKind),
        (Lie::UnaskedOpen, ClientReject::UnknownRequest),
    ];
    for (lie, reason) in cases {
        for kind in BOTH {
            let mut world = World::mining(kind);
            assert_eq!(world.told(lie.clone()), 1);
            assert_eq!(world.rejected(reason), 1, "{lie} {kind:?}");
            assert_eq!(world.end, None, "{lie} {kind:?}");
            world.command(Act::NewBlock);
            world.assert_works();
        }
    }
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Lie::BadCoinbase);
    assert_eq!(world.rejected(ClientReject::BadCoinbase), 1);
    world.assert_works();
    world.told(Lie::UnaskedUpdate);
    assert_eq!(world.refusals(), ["invalid-channel-id"]);
    world.told(Lie::UnknownMessage);
    assert_eq!(world.client.ignored_frames(), 1);
    world.told(Lie::UnknownExtension);
    assert_eq!(world.names().last(), Some(&"unknown"));
    world.assert_works();
}

#[test]
fn a_stale_job_builds_on_the_block_before() {
    for kind in BOTH {
        let mut world = World::mining(kind);
        let first = world.work().unwrap();
        world.command(Act::NewBlock);
        let second = world.work().unwrap();
        let prev_hash = |work: &Work| {
            let extranonce = vec![7; work.extranonce_size()];
            work.header(&found(work, &extranonce, 0)).unwrap().prev_hash
        };
        assert_ne!(prev_hash(&first), prev_hash(&second));
        assert_eq!(world.told(Lie::StaleJob), 1);
        let third = world.work().unwrap();
        assert_eq!(prev_hash(&third), prev_hash(&first), "{kind:?}");
        assert_ne!(third.job_id(), first.job_id());
        world.command(Act::NewBlock);
        world.assert_works();
    }
}

#[test]
fn a_job_pays_somebody_else_and_its_shares_are_good_all_the_same() {
    let mut world = World::mining(ChannelKind::Extended);
    let root = |world: &World| {
        let work = world.work().unwrap();
        let extranonce = vec![7; work.extranonce_size()];
        work.merkle_root(&extranonce).unwrap()
    };
    let outputs = |world: &World| {
        let is_job = |frame: &&Frame| frame.name == "NewExtendedMiningJob";
        let job = world.frames.iter().rev().find(is_job).unwrap();
        // One byte of script behind its length, then the lock time.
        job.payload[job.payload.len() - 6..].to_vec()
    };
    let before = root(&world);
    assert_eq!(outputs(&world), [1, 0x51, 0, 0, 0, 0]);
    assert_eq!(world.told(Lie::OtherPayee), 1);
    assert_ne!(root(&world), before);
    assert_eq!(outputs(&world), [1, 0x52, 0, 0, 0, 0]);
    world.assert_works();
    world.command(Act::NewJob);
    assert_eq!(outputs(&world), [1, 0x51, 0, 0, 0, 0]);
}

#[test]
fn channels_are_closed_and_clients_sent_away() {
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Lie::Reconnect(Place {
        host: "pool.example".to_owned(),
        port: 3333,
    }));
    let moved = UpstreamEvent::Reconnect {
        host: "pool.example".to_owned(),
        port: 3333,
    };
    assert!(world.events.contains(&moved));
    world.told(Lie::CloseChannels);
    let is_closed =
        |event: &UpstreamEvent| matches!(event, UpstreamEvent::Channel(ClientEvent::Closed { .. }));
    assert!(world.events.iter().any(is_closed));
    assert_eq!(world.client.channels().channels().len(), 0);
    // Nothing is left to be lied about.
    assert_eq!(world.told(Lie::UnsentAccepted), 0);
    world.open(ChannelKind::Standard);
    world.assert_works();
}

#[test]
fn what_is_wrong_below_the_messages_is_left_to_the_shell() {
    let mut world = World::mining(ChannelKind::Extended);
    for lie in [Lie::Oversize, Lie::Truncated, Lie::Garbage, Lie::Disconnect] {
        world.others.clear();
        assert_eq!(world.told(lie.clone()), 1);
        match (&lie, &*world.others) {
            (Lie::Oversize, [Output::SendPart { frame, missing }]) => {
                assert_eq!(frame.payload.len(), const_sv2::MAX_PAYLOAD_LEN);
                assert!(*missing > 0 && *missing < frame.payload.len());
            }
            (Lie::Truncated, [Output::SendPart { frame, missing }, Output::Close { .. }]) => {
                assert!(*missing > 0 && *missing < frame.payload.len());
            }
            (Lie::Garbage, [Output::SendBytes(bytes)]) => assert!(!bytes.is_empty()),
            (Lie::Disconnect, [Output::Cut { .. }]) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn setup_is_refused_or_ignored() {
    let world = World::misbehaving(Reception::RefuseSetup("unsupported-protocol".into()));
    assert_eq!(world.label(), "setup-refused");
    let UpstreamEnd::SetupRefused { code, .. } = world.end.unwrap() else {
        panic!("refused")
    };
    assert_eq!(code, "unsupported-protocol");
    assert!(matches!(&*world.others, [Output::Close { .. }]));

    let mut world = World::misbehaving(Reception::IgnoreSetup);
    assert!(world.frames.is_empty());
    world.waits(secs(60));
    assert_eq!(world.label(), "no-answer");
}

#[test]
fn extensions_are_required_or_ignored() {
    let terms = || UpstreamTerms {
        extensions: vec![EXTENSION_WORKER_IDENTITY],
        ..UpstreamTerms::default()
    };
    let mut honest = World::with(terms());
    honest.run();
    assert!(honest.client.names_workers());

    let mut world = World::with(terms());
    world.told(Reception::RequireExtension(0x4001));
    assert_eq!(world.label(), "extensions");
    assert!(world.end.unwrap().to_string().contains("0x4001"));

    let mut world = World::with(terms());
    world.told(Reception::IgnoreExtensions);
    world.waits(secs(60));
    assert!(!world.client.names_workers());
    assert_eq!(world.names(), ["SetupConnection.Success"]);
}

#[test]
fn opens_and_updates_are_refused_or_ignored() {
    for kind in BOTH {
        let mut world = World::misbehaving(Reception::RefuseOpens("unknown-user".into()));
        world.open(kind);
        assert_eq!(world.refusals(), ["unknown-user"]);

        let mut world = World::misbehaving(Reception::IgnoreOpens);
        world.open(kind);
        assert_eq!(world.names(), ["SetupConnection.Success"]);
        world.waits(secs(60));
        assert_eq!(world.label(), "no-answer");
        assert_eq!(world.pool.counters().channels_opened, 0);
    }
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Reception::RefuseUpdates("max-target-out-of-range".into()));
    let id = world.client.channels().channels().next().unwrap().id();
    world.client.update(id, OpenTerms::default()).unwrap();
    world.run();
    assert_eq!(world.refusals(), ["max-target-out-of-range"]);
}

#[test]
fn grants_are_not_what_was_asked_for() {
    let mut world = World::misbehaving(Delivery::ShortGrant);
    world.open(ChannelKind::Extended);
    assert_eq!(world.label(), "extranonce-size");

    for kind in BOTH {
        let mut world = World::misbehaving(Delivery::EasyGrant);
        world.max_target = Target::from_difficulty(1e-8).unwrap();
        world.open(kind);
        assert_eq!(world.label(), "target-too-easy", "{kind:?}");

        let mut world = World::misbehaving(Delivery::UsedId);
        world.open(kind);
        assert_eq!(world.rejected(ClientReject::IdInUse), 1, "{kind:?}");
    }
}

#[test]
fn work_or_its_block_is_withheld() {
    for kind in BOTH {
        for (delivery, jobs) in [(Delivery::WithholdWork, 0), (Delivery::WithholdTips, 1)] {
            let mut world = World::misbehaving(delivery);
            world.open(kind);
            assert_eq!(world.client.channels().channels().len(), 1);
            let names = world.names();
            let given = names.iter().filter(|name| name.ends_with("MiningJob"));
            assert_eq!(given.count(), jobs, "{names:?}");
            assert!(!names.contains(&"SetNewPrevHash"));
            assert!(world.work().is_none());
            world.command(Act::Behave);
            world.command(Act::NewBlock);
            world.assert_works();
        }
    }
}

#[test]
fn good_shares_are_refused_or_ignored_and_still_told_as_good() {
    for kind in BOTH {
        let mut world = World::mining(kind);
        world.told(Delivery::RefuseShares("stale-share".into()));
        world.mine();
        assert_eq!(world.refusals(), ["stale-share"], "{kind:?}");
        world.told(Delivery::IgnoreShares);
        world.mine();
        assert_eq!(world.refusals().len(), 1);
        assert_eq!(world.accepted(), 0);
        assert_eq!(world.pool.counters().shares_good, 2);
        world.command(Act::Behave);
        world.assert_works();
    }
}

#[test]
fn silence_keeps_what_there_is_to_say_until_it_is_over() {
    let mut world = World::mining(ChannelKind::Extended);
    world.command(text("silent 10s"));
    world.mine();
    world.mine();
    world.waits_ms(9_999);
    assert_eq!(world.accepted(), 0);
    world.waits_ms(1);
    assert_eq!(world.accepted(), 2);
    let over = Event::Over(Act::from(Delivery::Silent));
    assert!(world.seen.contains(&over));
    world.told(Delivery::Silent);
    world.mine();
    assert_eq!(world.accepted(), 2);
    world.command(Act::Behave);
    assert_eq!(world.accepted(), 3);
}

#[test]
fn a_slow_pool_is_late_and_keeps_the_order() {
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Delivery::Slow(secs(2)));
    world.mine();
    world.waits_ms(1_500);
    world.mine();
    assert_eq!(world.accepted(), 0);
    world.waits_ms(499);
    assert_eq!(world.accepted(), 0);
    world.waits_ms(1);
    assert_eq!(world.accepted(), 1);
    // What was said before it behaved leaves in its time, and nothing overtakes it.
    world.command(Act::Behave);
    world.mine();
    assert_eq!(world.accepted(), 1);
    world.waits_ms(1_500);
    assert_eq!(world.accepted(), 3);
}

#[test]
fn what_leaves_together_leaves_the_other_way_round() {
    let mut world = World::misbehaving(Delivery::Reorder);
    world.open(ChannelKind::Extended);
    let expected = [
        "SetupConnection.Success",
        "SetNewPrevHash",
        "NewExtendedMiningJob",
        "OpenExtendedMiningChannel.Success",
    ];
    let names = world.names();
    assert_eq!(names[..names.len().min(4)], expected[..]);
    assert_eq!(world.label(), "unknown-channel");
}

#[test]
fn the_second_of_two_answers_leaves_first() {
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Delivery::ReorderAnswers);
    world.frames.clear();
    for _ in 0..3 {
        world.mine();
    }
    let numbers = |world: &World| {
        let answers = world
            .frames
            .iter()
            .filter(|frame| frame.name == "SubmitShares.Success");
        // The sequence number follows the channel's.
        answers.map(|frame| frame.payload[4]).collect::<Vec<_>>()
    };
    let first = numbers(&world);
    assert_eq!(first.len(), 2);
    assert_eq!(first[0], first[1] + 1, "{first:?}");
    world.command(Act::Behave);
    assert_eq!(numbers(&world).len(), 3, "the last one is not lost");
}

#[test]
fn each_message_comes_twice() {
    let mut world = World::mining(ChannelKind::Extended);
    world.told(Delivery::Duplicate);
    world.frames.clear();
    world.mine();
    assert_eq!(world.names(), ["SubmitShares.Success"; 2]);
    assert_eq!(world.frames[0], world.frames[1]);
}

#[test]
fn the_channel_bit_is_wrong() {
    let mut world = World::mining(ChannelKind::Extended);
    world.frames.clear();
    world.told(Delivery::WrongChannelBit);
    world.command(Act::NewBlock);
    assert_eq!(world.frames.len(), 2);
    let is_wrong = |frame: &Frame| frame.extension_type & CHANNEL_MSG_BIT == 0;
    assert!(world.frames.iter().all(is_wrong));
    world.assert_works();
}

#[test]
fn the_door_is_as_it_was_told_last() {
    let mut world = World::new();
    assert_eq!(world.pool.door(), None);
    world.told(Door::Mute);
    world.command(text("gibberish 10s"));
    assert_eq!(world.pool.door(), Some(&Door::Gibberish));
    world.waits(secs(10));
    assert_eq!(world.pool.door(), Some(&Door::Mute));
    world.told(Door::Refuse);
    world.told(Door::WrongCertificate);
    assert_eq!(world.pool.door(), Some(&Door::WrongCertificate));
    world.command(Act::Behave);
    assert_eq!(world.pool.door(), None);
}

#[test]
fn a_script_is_played_in_its_time() {
    let mut world = World::mining(ChannelKind::Extended);
    let script = "after 5s silent 10s\nafter 7s new-block\nafter 3s slow 1s for 1s\n";
    for command in stratum_test_pool::parse_script(script).unwrap() {
        assert_eq!(world.command(command), 0);
    }
    world.seen.clear();
    world.frames.clear();
    world.waits_ms(14_999);
    let told: Vec<String> = world.seen.iter().map(ToString::to_string).collect();
    let expected = [
        "pool: slow 1s, connections: 1",
        "pool: slow 1s is over",
        "pool: silent, connections: 1",
        "pool: new-block, connections: 1",
    ];
    assert_eq!(told, expected);
    assert!(world.frames.is_empty());
    world.waits_ms(1);
    assert_eq!(world.names(), ["NewExtendedMiningJob", "SetNewPrevHash"]);
    world.assert_works();
}

#[test]
fn limits_hold() {
    let mut world = World::mining(ChannelKind::Extended);
    let far = text("after 60s behave");
    for _ in 0..MAX_WAITING_COMMANDS {
        world.pool.handle_command(far.clone(), world.now).unwrap();
    }
    assert!(world.pool.handle_command(far, world.now).is_err());

    let mut world = World::mining(ChannelKind::Extended);
    world.told(Delivery::Silent);
    for _ in 0..=MAX_HELD {
        world
            .pool
            .handle_command(Act::NewJob.into(), world.now)
            .unwrap();
    }
    world.run();
    assert!(
        matches!(&*world.others, [Output::Cut { .. }]),
        "{:?}",
        world.others.len()
    );
}

#[test]
fn a_connection_that_is_gone_gives_back_what_it_had() {
    let mut world = World::mining(ChannelKind::Extended);
    world.pool.handle_gone(CLIENT, "test".to_owned(), world.now);
    world.run();
    assert_eq!(world.pool.counters().connections, 0);
    assert_eq!(world.pool.counters().ends["test"], 1);
    assert_eq!(world.told(Lie::UnknownChannel), 0);
}

/// The guide and this file know each misbehaviour.
#[test]
fn nothing_is_left_untested_or_unexplained() {
    let guide = include_str!("../../../../docs/test-pool.md");
    let tests = include_str!("misbehaviours.rs");
    let variants: BTreeSet<String> = Misbehaviour::list()
        .map(|listed| {
            let words = listed.name.split('-');
            words
                .map(|word| word[..1].to_uppercase() + &word[1..])
                .collect()
        })
        .collect();
    for variant in &variants {
        let is_there = ["Door", "Reception", "Delivery", "Lie"]
            .iter()
            .any(|kind| tests.contains(&format!("{kind}::{variant}")));
        assert!(is_there, "no test of {variant}");
    }
    for listed in Misbehaviour::list() {
        let name = format!("| `{}", listed.name);
        assert!(
            guide.contains(&name),
            "docs/test-pool.md does not explain {}",
            listed.name
        );
    }
}
