//! Each rule broken by a server in virtual time, and what is just short of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{Encodable, Seq0255, U256};
use common_messages_sv2::{CommonMessage, Reconnect, SetupConnectionError, SetupConnectionSuccess};
use mining_sv2::{
    CloseChannel, MiningMessage, NewExtendedMiningJob, NewMiningJob,
    OpenExtendedMiningChannelSuccess, OpenMiningChannelError, OpenStandardMiningChannelSuccess,
    SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash, SetTarget, SubmitSharesError,
    SubmitSharesSuccess,
};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::header::Header;
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::target::Target;

use super::device::{Device, Terms};
use super::log::Log;
use super::{MAX_FRAME_LEN, MAX_SILENCE, Rule};
use crate::args::ChannelType::{self, Extended, Standard};

const CHANNEL: u32 = 7;
const GROUP: u32 = 3;
const NTIME: u32 = 1_700_000_000;
const PREFIX: [u8; 4] = [0xa5; 4];

/// A target that one hash in some 16 meets.
const EASY: [u8; 32] = {
    let mut target = [0xff; 32];
    target[31] = 0x0f;
    target
};

const HARD: [u8; 32] = [0; 32];

/// A server that says what a test wants, and the device it says it to.
struct Server {
    device: Device,
    now: Now,
    shares: Vec<MiningMessage<'static>>,
}

impl Server {
    fn connected(kind: ChannelType) -> Self {
        let terms = Terms {
            host: "pool.example".to_owned(),
            port: 3333,
            user: "alice".try_into().unwrap(),
            channel: kind,
            hashrate: 1_000.0,
            duration: Duration::from_secs(300),
            shares: None,
        };
        let now = Now::default();
        let log = Log::new(2, now);
        let mut server = Self {
            device: Device::new(Arc::new(terms), log, now),
            now,
            shares: Vec::new(),
        };
        let setup = server.device.poll_output().unwrap();
        let AnyMessage::Common(CommonMessage::SetupConnection(setup)) = setup else {
            panic!("{setup:?}");
        };
        assert_eq!(setup.flags, u32::from(kind == Standard));
        assert_eq!((setup.min_version, setup.max_version), (2, 2));
        server
    }

    fn set_up(kind: ChannelType) -> Self {
        let mut server = Self::connected(kind);
        server.common(SetupConnectionSuccess {
            used_version: 2,
            flags: 0,
        });
        let open = server.device.poll_output().unwrap();
        let AnyMessage::Mining(open) = open else {
            panic!("{open:?}");
        };
        match (kind, open) {
            (Standard, MiningMessage::OpenStandardMiningChannel(open)) => {
                assert_eq!(open.nominal_hash_rate, 1e12);
            }
            (Extended, MiningMessage::OpenExtendedMiningChannel(open)) => {
                assert_eq!(
                    (open.nominal_hash_rate, open.min_extranonce_size),
                    (1e12, 2)
                );
            }
            (_, open) => panic!("{open:?}"),
        }
        server
    }

    /// With a channel, and no work yet.
    fn opened(kind: ChannelType) -> Self {
        let mut server = Self::set_up(kind);
        match kind {
            Standard => server.send(OpenStandardMiningChannelSuccess {
                request_id: 1,
                channel_id: CHANNEL,
                target: U256(EASY),
                extranonce_prefix: PREFIX.as_slice().try_into().unwrap(),
                group_channel_id: GROUP,
            }),
            Extended => server.send(extended_success(2)),
        }
        server
    }

    /// On job 1, for a second.
    fn mining(kind: ChannelType) -> Self {
        let mut server = Self::opened(kind);
        server.send(job(kind, 1, None));
        server.send(tip(1));
        server.wait(1.0);
        assert!(!server.shares.is_empty());
        assert_eq!(server.failed(), BTreeSet::new());
        server
    }

    fn send(&mut self, message: impl Into<MiningMessage<'static>>) {
        let message = message.into();
        let msg_type = message.kind().msg_type;
        self.raw(msg_type, &message.to_vec());
    }

    fn common(&mut self, message: impl Into<CommonMessage<'static>>) {
        let message = message.into();
        let msg_type = message.kind().msg_type;
        self.raw(msg_type, &message.to_vec());
    }

    fn raw(&mut self, msg_type: u8, payload: &[u8]) {
        self.device.handle_frame(msg_type, payload, self.now);
    }

    /// Lets time pass, and takes the shares.
    fn wait(&mut self, secs: f64) {
        let end = self.now.after(Duration::from_secs_f64(secs));
        while let Some(next) = self
            .device
            .poll_timeout()
            .filter(|next| *next <= end.instant)
        {
            self.now = self.now.after(next - self.now.instant);
            self.device.handle_timeout(self.now);
            while let Some(AnyMessage::Mining(share)) = self.device.poll_output() {
                self.shares.push(share);
            }
        }
        self.now = end;
    }

    fn accept_all(&mut self) {
        let shares = std::mem::take(&mut self.shares);
        self.send(SubmitSharesSuccess {
            channel_id: CHANNEL,
            last_sequence_number: sequence_number(shares.last().unwrap()),
            new_submits_accepted_count: shares.len() as u32,
            new_shares_sum: 0,
        });
    }

    fn reject_last(&mut self, code: &'static str) {
        let number = sequence_number(&self.shares.pop().unwrap());
        self.send(SubmitSharesError {
            channel_id: CHANNEL,
            sequence_number: number,
            error_code: code.try_into().unwrap(),
        });
    }

    fn log(&self) -> Log {
        self.device.log().clone()
    }

    fn failed(&self) -> BTreeSet<Rule> {
        self.log().failed.into_keys().collect()
    }
}

fn sequence_number(share: &MiningMessage<'_>) -> u32 {
    match share {
        MiningMessage::SubmitSharesStandard(share) => share.sequence_number,
        MiningMessage::SubmitSharesExtended(share) => share.sequence_number,
        other => panic!("{other:?}"),
    }
}

fn extended_success(extranonce_size: u16) -> OpenExtendedMiningChannelSuccess<'static> {
    OpenExtendedMiningChannelSuccess {
        request_id: 1,
        channel_id: CHANNEL,
        target: U256(EASY),
        extranonce_size,
        extranonce_prefix: PREFIX.as_slice().try_into().unwrap(),
        group_channel_id: GROUP,
    }
}

fn standard_job(job_id: u32, min_ntime: Option<u32>) -> NewMiningJob {
    NewMiningJob {
        channel_id: CHANNEL,
        job_id,
        min_ntime,
        version: 0x2000_0000,
        merkle_root: U256([job_id as u8; 32]),
    }
}

fn extended_job(
    job_id: u32,
    min_ntime: Option<u32>,
    branches: usize,
    coinbase_len: usize,
) -> NewExtendedMiningJob<'static> {
    let path = vec![U256([job_id as u8; 32]); branches];
    NewExtendedMiningJob {
        channel_id: GROUP,
        job_id,
        min_ntime,
        version: 0x2000_0000,
        version_rolling_allowed: true,
        merkle_path: Seq0255::try_from(path).unwrap(),
        coinbase_tx_prefix: vec![job_id as u8; coinbase_len].try_into().unwrap(),
        coinbase_tx_suffix: vec![4; 50].try_into().unwrap(),
    }
}

fn job(kind: ChannelType, job_id: u32, min_ntime: Option<u32>) -> MiningMessage<'static> {
    match kind {
        Standard => standard_job(job_id, min_ntime).into(),
        Extended => extended_job(job_id, min_ntime, 20, 100).into(),
    }
}

fn tip(job_id: u32) -> SetNewPrevHash {
    SetNewPrevHash {
        channel_id: CHANNEL,
        job_id,
        prev_hash: U256([9; 32]),
        min_ntime: NTIME,
        nbits: 0x1703_4219,
    }
}

fn target(target: [u8; 32]) -> SetTarget {
    SetTarget {
        channel_id: CHANNEL,
        maximum_target: U256(target),
    }
}

fn close() -> CloseChannel<'static> {
    CloseChannel {
        channel_id: CHANNEL,
        reason_code: "maintenance".try_into().unwrap(),
    }
}

fn new_prefix() -> SetExtranoncePrefix<'static> {
    SetExtranoncePrefix {
        channel_id: CHANNEL,
        extranonce_prefix: [1; 4].as_slice().try_into().unwrap(),
    }
}

/// What a server does breaks these rules, and no others; the first failure says all of the words.
#[track_caller]
fn check(mut server: Server, broken: &[Rule], words: &str, act: impl FnOnce(&mut Server)) {
    act(&mut server);
    let told = server.log().failures;
    assert_eq!(
        server.failed(),
        broken.iter().copied().collect(),
        "{told:?}"
    );
    let first = told.first().map(ToString::to_string).unwrap_or_default();
    for word in words.split_whitespace() {
        assert!(first.contains(word), "{word}: {first}");
    }
}

const BOTH: [ChannelType; 2] = [Standard, Extended];

#[test]
fn a_server_that_keeps_the_rules_breaks_none() {
    for kind in BOTH {
        check(Server::mining(kind), &[], "", |server| {
            for id in 2..20 {
                server.accept_all();
                server.send(job(kind, id, Some(NTIME)));
                server.wait(0.5);
            }
            server.send(job(kind, 20, None));
            server.send(tip(20));
            // Whatever it is called: the tip was sent first.
            server.reject_last("stale-share");
            server.reject_last("invalid-job-id");
            server.send(new_prefix());
            server.wait(1.0);
            server.accept_all();
            server.wait(MAX_SILENCE.as_secs_f64() - 1.0);
            assert_eq!(server.log().seen.jobs_repeated, 0);
        });
    }
    let mut server = Server::mining(Extended);
    server.accept_all();
    server.common(Reconnect {
        new_host: "".try_into().unwrap(),
        new_port: 0,
    });
    let seen = server.log().seen;
    assert_eq!((seen.jobs, seen.tips, seen.most_branches), (1, 1, 20));
    assert_eq!(seen.accepted, seen.submitted);
    assert_eq!(seen.ignored["Reconnect"], 1);
    let first = seen.first_share_secs.unwrap();
    assert!((0.9..1.1).contains(&first), "{first}");
}

#[test]
fn answers_come_next() {
    for kind in BOTH {
        let next = &[Rule::NotNextFrame];
        check(
            Server::connected(kind),
            next,
            "connection 2 SetupConnection.Success 0x21",
            |server| {
                server.send(target(EASY));
            },
        );
        check(
            Server::set_up(kind),
            next,
            "0x21 MiningChannel.Success",
            |server| {
                server.send(target(EASY));
                assert!(server.device.is_over());
            },
        );
        check(Server::set_up(kind), next, "", |server| match kind {
            Standard => server.send(extended_success(2)),
            Extended => server.common(Reconnect {
                new_host: "".try_into().unwrap(),
                new_port: 0,
            }),
        });
        check(
            Server::connected(kind),
            &[Rule::Refused],
            "unsupported-protocol",
            |server| {
                server.common(SetupConnectionError {
                    flags: 0,
                    error_code: "unsupported-protocol".try_into().unwrap(),
                });
            },
        );
        check(
            Server::set_up(kind),
            &[Rule::Refused],
            "unknown-user",
            |server| {
                server.send(OpenMiningChannelError {
                    request_id: 1,
                    error_code: "unknown-user".try_into().unwrap(),
                });
            },
        );
    }
    for (size, broken) in [(0, true), (1, true), (32, false), (33, true)] {
        let rules: &[Rule] = if broken { &[Rule::ExtranonceSize] } else { &[] };
        check(Server::set_up(Extended), rules, "", |server| {
            server.send(extended_success(size))
        });
    }
}

#[test]
fn frames_and_merkle_paths_fit() {
    let fixed = extended_job(2, Some(NTIME), 20, 0).to_vec().len() + 6;
    let rest = MAX_FRAME_LEN - fixed;
    check(Server::mining(Extended), &[], "", |server| {
        server.send(extended_job(2, Some(NTIME), 20, rest));
        assert_eq!(server.log().seen.largest_frame_bytes, MAX_FRAME_LEN);
    });
    let too_long = &[Rule::FrameTooLong];
    check(
        Server::mining(Extended),
        too_long,
        "8193 0x1f 1.0",
        |server| {
            server.send(extended_job(2, Some(NTIME), 20, rest + 1));
            assert!(server.device.is_over());
        },
    );
    // Firmware reads what it ignores as well.
    check(Server::mining(Standard), too_long, "9006 0xee", |server| {
        server.raw(0xee, &[0; 9_000]);
    });
    check(
        Server::mining(Extended),
        &[Rule::TooManyBranches],
        "21 job 2",
        |server| {
            server.send(extended_job(2, Some(NTIME), 21, 100));
        },
    );
}

#[test]
fn messages_are_for_the_channel_and_can_be_read() {
    for kind in BOTH {
        let other = if kind == Standard { Extended } else { Standard };
        check(
            Server::mining(kind),
            &[Rule::WrongKind],
            "job 2",
            |server| {
                server.send(job(other, 2, Some(NTIME)));
            },
        );
        check(
            Server::mining(kind),
            &[Rule::ForeignChannel],
            "channel 8 SetTarget",
            |server| {
                server.send(SetTarget {
                    channel_id: CHANNEL + 1,
                    maximum_target: U256(HARD),
                });
            },
        );
        check(Server::mining(kind), &[], "", |server| {
            server.send(SetTarget {
                channel_id: GROUP,
                maximum_target: U256(HARD),
            });
        });
        check(
            Server::mining(kind),
            &[Rule::Unreadable],
            "SetNewPrevHash",
            |server| {
                server.raw(0x20, &[1, 2, 3]);
            },
        );
    }
}

#[test]
fn a_channel_may_move_to_another_group() {
    let group = |group_channel_id, channel_id| SetGroupChannel {
        group_channel_id,
        channel_ids: vec![channel_id].try_into().unwrap(),
    };
    let easier = |channel_id| SetTarget {
        channel_id,
        maximum_target: U256(EASY),
    };
    let foreign = &[Rule::ForeignChannel];
    for kind in BOTH {
        check(Server::mining(kind), &[], "", |server| {
            server.send(group(4, CHANNEL));
            server.send(easier(4));
            assert_eq!(server.log().seen.ignored["SetGroupChannel"], 1);
        });
        check(Server::mining(kind), foreign, "channel 4", |server| {
            server.send(group(4, CHANNEL + 1));
            server.send(easier(4));
        });
    }
}

#[test]
fn jobs_stay_in_their_places() {
    for kind in BOTH {
        let overwritten = &[Rule::ActiveJobOverwritten];
        check(
            Server::mining(kind),
            overwritten,
            "job 9 job 1 place 1 8",
            |server| {
                server.send(job(kind, 9, Some(NTIME)));
            },
        );
        check(
            Server::mining(kind),
            overwritten,
            "job 1001 job 1",
            |server| {
                server.send(job(kind, 1_001, None));
                server.shares.clear();
                server.wait(1.0);
                assert!(server.shares.is_empty(), "no share for a job that is gone");
            },
        );
        let missing = &[Rule::NamedJobMissing];
        check(
            Server::mining(kind),
            missing,
            "job 2 place (2 job 10",
            |server| {
                server.send(job(kind, 2, None));
                server.send(job(kind, 10, None));
                server.send(tip(2));
            },
        );
        check(Server::mining(kind), missing, "job 5 nothing", |server| {
            server.send(tip(5))
        });
        check(
            Server::mining(kind),
            missing,
            "job 1 mined already",
            |server| server.send(tip(1)),
        );
        // Room for eight is room for eight.
        check(Server::mining(kind), &[], "", |server| {
            for id in 2..9 {
                server.send(job(kind, id, None));
            }
            server.send(tip(2));
        });
        check(
            Server::opened(kind),
            &[Rule::StartedEarly],
            "job 2 job 1",
            |server| {
                server.send(job(kind, 1, None));
                server.send(job(kind, 2, None));
                server.send(tip(1));
            },
        );
    }
}

#[test]
fn shares_are_accepted() {
    for kind in BOTH {
        for code in ["invalid-job-id", "difficulty-too-low", "duplicate-share"] {
            let rejected = &[Rule::ShareRejected];
            let words = format!("{code} job 1 in its place");
            check(Server::mining(kind), rejected, &words, |server| {
                server.reject_last(code)
            });
        }
        check(
            Server::mining(kind),
            &[Rule::ShareRejected],
            "SetExtranoncePrefix CloseChannel",
            |server| {
                server.send(new_prefix());
                server.send(close());
                server.reject_last("difficulty-too-low");
            },
        );
        check(
            Server::mining(kind),
            &[Rule::ShareRejected],
            "no such share",
            |server| {
                server.reject_last("stale-share");
                server.wait(1.0);
                server.send(job(kind, 2, None));
                server.send(tip(2));
                server.send(SubmitSharesError {
                    channel_id: CHANNEL,
                    sequence_number: 1_000_000,
                    error_code: "invalid-share".try_into().unwrap(),
                });
            },
        );
        check(
            Server::mining(kind),
            &[Rule::WorkRepeated],
            "job 3 job 2 duplicate-share",
            |server| {
                server.send(job(kind, 2, Some(NTIME + 1)));
                let mut again = job(kind, 2, Some(NTIME + 1));
                match &mut again {
                    MiningMessage::NewMiningJob(job) => job.job_id = 3,
                    MiningMessage::NewExtendedMiningJob(job) => job.job_id = 3,
                    _ => {}
                }
                server.send(again);
                server.wait(1.0);
                server.reject_last("duplicate-share");
                assert_eq!(server.log().seen.jobs_repeated, 1);
            },
        );
    }
}

#[test]
fn a_stale_share_has_its_tip() {
    for kind in BOTH {
        check(Server::mining(kind), &[], "", |server| {
            server.reject_last("stale-share");
            server.wait(4.0);
            server.send(job(kind, 2, None));
            server.send(tip(2));
            server.wait(10.0);
        });
        check(
            Server::mining(kind),
            &[Rule::ShareRejected],
            "stale-share latest 6.0",
            |server| {
                server.reject_last("stale-share");
                server.wait(10.0);
            },
        );
    }
}

#[test]
fn a_device_has_a_share_accepted_in_time() {
    for kind in BOTH {
        check(
            Server::opened(kind),
            &[Rule::NoShareAccepted],
            "300 1e12 1e3 SetTarget",
            |server| {
                server.send(target(HARD));
                server.send(job(kind, 1, None));
                server.send(tip(1));
                for _ in 0..4 {
                    // A target by itself changes nothing: it is for jobs to come.
                    server.send(target(EASY));
                    server.wait(90.0);
                }
                assert!(server.device.is_over());
                assert!(server.shares.is_empty());
            },
        );
        check(Server::opened(kind), &[], "", |server| {
            server.send(target(HARD));
            server.send(job(kind, 1, None));
            server.send(tip(1));
            server.send(target(EASY));
            server.send(job(kind, 2, Some(NTIME)));
            server.wait(1.0);
            server.accept_all();
        });
        check(Server::mining(kind), &[Rule::Silence], "180 s", |server| {
            server.wait(200.0);
        });
    }
}

#[test]
fn a_connection_lasts() {
    check(
        Server::mining(Extended),
        &[Rule::ConnectionLost],
        "closed Reconnect",
        |server| {
            server.common(Reconnect {
                new_host: "".try_into().unwrap(),
                new_port: 0,
            });
            server.device.handle_end("closed-by-peer", server.now);
        },
    );
}

#[test]
fn shares_are_made_of_the_prefix_and_counter_and_rolled_version() {
    let mut server = Server::opened(Standard);
    server.send(standard_job(1, None));
    server.send(tip(1));
    server.wait(1.0);
    let versions: BTreeSet<u32> = server
        .shares
        .iter()
        .map(|share| match share {
            MiningMessage::SubmitSharesStandard(share) => {
                let header = Header {
                    version: share.version,
                    prev_hash: [9; 32],
                    merkle_root: [1; 32],
                    ntime: NTIME,
                    nbits: 0x1703_4219,
                    nonce: share.nonce,
                };
                assert!(Target::from_le_bytes(EASY).is_met_by(&header.hash()));
                assert_eq!(
                    (share.ntime, share.job_id, share.channel_id),
                    (NTIME, 1, CHANNEL)
                );
                share.version
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(versions.len() > 5, "{versions:x?}");
    let mut server = Server::mining(Extended);
    let extranonces: BTreeSet<Vec<u8>> = server
        .shares
        .drain(..)
        .map(|share| match share {
            MiningMessage::SubmitSharesExtended(share) => share.extranonce.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(extranonces.contains([0, 1].as_slice()), "{extranonces:?}");
}
