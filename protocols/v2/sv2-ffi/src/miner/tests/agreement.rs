//! The same rules as `roles_logic_sv2` has for proxies: both follow the same server, and are compared after each of its messages.

use std::string::String;

use binary_sv2::IntoOwned;
use mining_sv2::{
    CloseChannel, MiningMessage, OpenMiningChannelError, SetExtranoncePrefix, SetGroupChannel,
    SetTarget, SubmitSharesError, SubmitSharesSuccess, UpdateChannelError,
};
use proptest::prelude::*;
use roles_logic_sv2::channels::client::{
    ClientChannels, ClientError, ClientEvent, ClientReject, Found, Work as OtherWork,
};
use roles_logic_sv2::target::Target;

use super::*;
use crate::miner::job::{Roll, Work};

#[derive(Clone, Debug)]
enum Step {
    Open(ChannelKind, u16, u8),
    Message(MiningMessage<'static>),
    Submit(prop::sample::Index),
    Update(u32, u8),
    Close(u32),
}

fn target(byte: u8) -> Target {
    Target::from_le_bytes([byte; 32])
}

/// Ids of channels and groups, so few that they meet.
fn ids() -> impl Strategy<Value = u32> {
    prop_oneof![80 => 2..5u32, 40 => 10..12u32, 1 => Just(99)]
}

fn target_byte() -> impl Strategy<Value = u8> {
    prop_oneof![30 => Just(0x7f), 30 => Just(0x3f), 1 => Just(0xff)]
}

fn others() -> impl Strategy<Value = MiningMessage<'static>> {
    prop_oneof![
        (ids(), target_byte()).prop_map(|(channel_id, byte)| SetTarget {
            channel_id,
            maximum_target: [byte; 32].into(),
        }
        .into()),
        (ids(), 2..5usize).prop_map(|(channel_id, len)| SetExtranoncePrefix {
            channel_id,
            extranonce_prefix: std::vec![5; len].try_into().unwrap(),
        }
        .into()),
        (ids(), prop::collection::vec(2..5u32, 0..3)).prop_map(|(id, channels)| SetGroupChannel {
            group_channel_id: id,
            channel_ids: channels.try_into().unwrap(),
        }
        .into()),
        ids().prop_map(|channel_id| CloseChannel {
            channel_id,
            reason_code: "why".try_into().unwrap(),
        }
        .into()),
        (ids(), prop_oneof![1 => Just(0), 12 => 1..3u32]).prop_map(|(channel_id, last)| {
            SubmitSharesSuccess {
                channel_id,
                last_sequence_number: last,
                new_submits_accepted_count: 1,
                new_shares_sum: 2,
            }
            .into()
        }),
        (ids(), prop_oneof![1 => Just(0), 12 => 1..3u32]).prop_map(
            |(channel_id, sequence_number)| SubmitSharesError {
                channel_id,
                sequence_number,
                error_code: "no".try_into().unwrap(),
            }
            .into()
        ),
        (1..6u32).prop_map(|request_id| OpenMiningChannelError {
            request_id,
            error_code: "never".try_into().unwrap(),
        }
        .into()),
        ids().prop_map(|channel_id| UpdateChannelError {
            channel_id,
            error_code: "as it is".try_into().unwrap(),
        }
        .into()),
    ]
}

fn messages() -> impl Strategy<Value = MiningMessage<'static>> {
    let opened = (
        1..6u32,
        2..5u32,
        10..12u32,
        target_byte(),
        any::<bool>(),
        3..6u16,
    );
    let opened = opened.prop_map(|(request_id, channel_id, group, byte, is_extended, size)| {
        if is_extended {
            let mut message = extended_success(request_id, channel_id);
            message.group_channel_id = group;
            message.target = [byte; 32].into();
            message.extranonce_size = size;
            message.into()
        } else {
            let mut message = standard_success(request_id, channel_id);
            message.group_channel_id = group;
            message.target = [byte; 32].into();
            message.into()
        }
    });
    let ntime = || prop::option::of(1_700_000_000..1_700_000_009u32);
    let job = (
        ids(),
        0..4u32,
        ntime(),
        any::<bool>(),
        0..20usize,
        0..3usize,
    );
    let job = job.prop_map(|(id, job_id, min_ntime, is_extended, len, depth)| {
        if is_extended {
            let mut message = extended_job(id, job_id, len, depth);
            message.min_ntime = min_ntime;
            message.version_rolling_allowed = len % 2 == 0;
            message.into_owned().into()
        } else {
            let mut message = standard_job(id, job_id);
            message.min_ntime = min_ntime;
            message.into()
        }
    });
    let tips = (ids(), 0..4u32, prop_oneof![9 => Just(NBITS), 1 => Just(0)]);
    let tips = tips.prop_map(|(id, job_id, nbits)| {
        SetNewPrevHash {
            nbits,
            ..tip(id, job_id)
        }
        .into()
    });
    prop_oneof![1 => opened, 8 => job, 6 => tips, 4 => others()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![Just(ChannelKind::Standard), Just(ChannelKind::Extended)];
    let step = prop_oneof![
        2 => (kind, 0..5u16, target_byte()).prop_map(|(kind, size, byte)| Step::Open(kind, size, byte)),
        12 => messages().prop_map(Step::Message),
        3 => any::<prop::sample::Index>().prop_map(Step::Submit),
        1 => (ids(), target_byte()).prop_map(|(id, byte)| Step::Update(id, byte)),
        1 => ids().prop_map(Step::Close),
    ];
    prop::collection::vec(step, 1..60)
}

/// Both clients, and the work that was seen so far.
struct Both {
    device: Client,
    proxy: ClientChannels,
    seen: Vec<(Work, OtherWork)>,
    /// Why the device's connection ended.
    ended: bool,
}

impl Both {
    fn open(&mut self, kind: ChannelKind, size: u16, byte: u8) {
        let user = || "bob".try_into().unwrap();
        let terms = OpenTerms {
            nominal_hash_rate: 1.0,
            max_target: target(byte),
            min_extranonce_size: size,
        };
        let ours = self.device.open(kind, user(), &terms, at(0));
        if ours == Err(MinerError::TooManyChannels) {
            return;
        }
        let theirs = match kind {
            ChannelKind::Standard => self.proxy.open_standard(user(), terms).unwrap().request_id,
            ChannelKind::Extended => self.proxy.open_extended(user(), terms).unwrap().request_id,
        };
        assert_eq!(ours, Ok(theirs));
        sent(&mut self.device);
    }

    /// A standard and an extended channel in one group, an extended one in another, and a request without an answer.
    fn begin(&mut self) {
        use ChannelKind::{Extended, Standard};
        for kind in [Standard, Extended, Extended, Standard] {
            self.open(kind, 0, 0x7f);
        }
        let mut standard = standard_success(1, 2);
        let mut extended = [extended_success(2, 3), extended_success(3, 4)];
        (standard.group_channel_id, standard.target) = (10, [0x7f; 32].into());
        for (message, group) in extended.iter_mut().zip([10, 11]) {
            (message.group_channel_id, message.target) = (group, [0x7f; 32].into());
        }
        let [one, other] = extended;
        self.message(&standard.into(), at(0));
        self.message(&one.into(), at(0));
        self.message(&other.into(), at(0));
        assert!(!self.ended);
    }

    fn message(&mut self, message: &MiningMessage<'static>, now: Now) {
        let kind = message.kind();
        let payload = message.to_vec();
        let header = Header::for_message(kind, payload.len()).unwrap();
        let told = receive(
            &mut self.device,
            &Server::default().raw(header, &payload),
            now,
        );
        let handled = self.proxy.handle_message(message, now);
        let mut expected = Vec::new();
        while let Some(event) = self.proxy.poll_output() {
            expected.extend(as_told(event));
        }
        if let Err(reason) = handled {
            let request_id = match message {
                MiningMessage::OpenStandardMiningChannelSuccess(message) => message.request_id,
                MiningMessage::OpenExtendedMiningChannelSuccess(message) => message.request_id,
                _ => 0,
            };
            expected.insert(0, Event::Refused { reason, request_id });
            if reason.is_broken_word() {
                // All that is left to tell of the channels is of no use any more.
                self.ended = true;
                let end = End::BrokenWord(reason);
                assert_eq!(
                    told.last(),
                    Some(&Event::Ended {
                        end,
                        text: Vec::new()
                    })
                );
                return;
            }
        }
        assert_eq!(sorted(told), sorted(expected), "{message:?}");
        sent(&mut self.device);
    }

    fn submit(&mut self, which: prop::sample::Index, now: Now) {
        if self.seen.is_empty() {
            return;
        }
        let (ours, theirs) = &self.seen[which.index(self.seen.len())];
        let extranonce = &[3; 32][..ours.extranonce_size];
        let (roll, found) = (roll(ours, extranonce), found(ours, extranonce));
        let handed_in = self.device.submit(ours, &roll, now);
        let expected = self.proxy.submit(theirs, &found);
        let expected = match expected {
            Ok(roles_logic_sv2::channels::client::Submission::Standard(share)) => {
                Ok(share.sequence_number)
            }
            Ok(roles_logic_sv2::channels::client::Submission::Extended(share)) => {
                Ok(share.sequence_number)
            }
            Err(ClientError::Stale) => Err(MinerError::Stale),
            Err(ClientError::NotOpen) => Err(MinerError::NotOpen),
            Err(_) => Err(MinerError::BadExtranonceSize),
        };
        assert_eq!(handed_in, expected);
        sent(&mut self.device);
    }

    /// Everything that can be seen of both.
    fn compare(&mut self, now: Now) {
        for id in [2, 3, 4] {
            let (ours, theirs) = (self.device.work(id, now), self.proxy.work(id));
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Some(theirs)) => (ours, theirs.clone()),
                (ours, theirs) => {
                    assert!(ours.is_err() && theirs.is_none(), "channel {id}");
                    continue;
                }
            };
            assert_eq!(
                (
                    ours.job_id,
                    ours.version,
                    ours.version_mask,
                    ours.extranonce_size
                ),
                (
                    theirs.job_id(),
                    theirs.version(),
                    theirs.version_mask(),
                    theirs.extranonce_size()
                )
            );
            assert_eq!(ours.target, *theirs.target());
            assert_eq!(
                (ours.min_ntime, ours.max_ntime),
                (theirs.min_ntime(), theirs.max_ntime(now))
            );
            let extranonce = &[3; 32][..ours.extranonce_size];
            let header = self.device.header(&ours, &roll(&ours, extranonce)).unwrap();
            let expected = theirs.header(&found(&ours, extranonce)).unwrap();
            assert_eq!(header, expected.to_bytes());
            self.seen.push((ours, theirs));
        }
        for channel in self.proxy.channels() {
            let (ours, theirs) = (self.device.counts(channel.id()).unwrap(), channel.counts());
            assert_eq!(ours, *theirs);
        }
        for reason in ClientReject::ALL {
            assert_eq!(
                self.device.rejected(reason),
                self.proxy.rejected(reason),
                "{reason:?}"
            );
        }
    }
}

fn roll<'a>(work: &Work, extranonce: &'a [u8]) -> Roll<'a> {
    Roll {
        version: work.version,
        ntime: work.min_ntime,
        nonce: 77,
        extranonce,
    }
}

fn found<'a>(work: &Work, extranonce: &'a [u8]) -> Found<'a> {
    Found {
        version: work.version,
        ntime: work.min_ntime,
        nonce: 77,
        extranonce,
    }
}

fn as_told(event: ClientEvent) -> Option<Told> {
    Some(match event {
        ClientEvent::Opened {
            request_id,
            channel_id,
        } => Event::Opened {
            request_id,
            channel_id,
        },
        ClientEvent::OpenRefused {
            request_id,
            error_code,
        } => Event::OpenRefused {
            request_id,
            text: error_code.into_vec(),
        },
        ClientEvent::WorkChanged { channel_id } => Event::Work { channel_id },
        ClientEvent::Acknowledged(message) => Event::Accepted(message),
        ClientEvent::Rejected {
            channel_id,
            sequence_number,
            error_code,
        } => Event::Rejected {
            channel_id,
            sequence_number,
            text: error_code.into_vec(),
        },
        ClientEvent::UpdateRefused {
            channel_id,
            error_code,
        } => Event::UpdateRefused {
            channel_id,
            text: error_code.into_vec(),
        },
        ClientEvent::Closed {
            channel_id,
            reason_code,
        } => Event::Closed {
            channel_id,
            text: reason_code.into_vec(),
        },
        ClientEvent::Send(_) => return None,
    })
}

/// Events of one message come in the order of the channels, which each side keeps as it likes.
fn sorted(mut events: Vec<Told>) -> Vec<String> {
    let mut events: Vec<_> = events
        .drain(..)
        .map(|event| std::format!("{event:?}"))
        .collect();
    events.sort();
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn devices_and_proxies_follow_a_server_alike(steps in steps()) {
        let (device, _) = ready(Security::Plain);
        let mut both = Both {
            device,
            proxy: ClientChannels::new(),
            seen: Vec::new(),
            ended: false,
        };
        both.begin();
        for (step, secs) in steps.into_iter().zip(1..) {
            let now = at(secs);
            match step {
                Step::Open(kind, size, byte) => both.open(kind, size, byte),
                Step::Message(message) => both.message(&message, now),
                Step::Submit(which) => both.submit(which, now),
                Step::Update(id, byte) => {
                    let terms = OpenTerms { max_target: target(byte), ..OpenTerms::default() };
                    let ours = both.device.update(id, &terms).is_ok();
                    prop_assert_eq!(ours, both.proxy.update(id, terms).is_ok());
                    sent(&mut both.device);
                }
                Step::Close(id) => {
                    let ours = both.device.close(id, "bye".try_into().unwrap()).is_ok();
                    prop_assert_eq!(ours, both.proxy.close(id, "bye".try_into().unwrap()).is_ok());
                    sent(&mut both.device);
                }
            }
            if both.ended {
                break;
            }
            both.compare(now);
        }
    }
}
