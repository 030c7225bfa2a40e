//! From the handshake to the last share.

use common_messages_sv2::{Reconnect, SetupConnectionError};
use const_sv2::mining;
use mining_sv2::{
    CloseChannel, OpenMiningChannelError, SetTarget, SubmitSharesError, SubmitSharesSuccess,
};
use noise_sv2::{CertificateError, HandshakeError};
use roles_logic_sv2::channels::client::ClientReject;
use roles_logic_sv2::header::block_hash;
use roles_logic_sv2::setup::SetupError;

use super::*;
use crate::miner::channel::MAX_FUTURE_JOBS;
use crate::miner::job::Roll;
use crate::miner::wire::MAX_OUTGOING_LEN;

fn roll(nonce: u32, extranonce: &[u8]) -> Roll<'_> {
    Roll {
        version: 0x2000_0000,
        ntime: 1_700_000_000,
        nonce,
        extranonce,
    }
}

/// Both kinds of channel, in the clear and over Noise: work, a header, a share, its answer.
#[test]
fn shares_are_found_handed_in_and_answered() {
    for security in [|| Security::Plain, noise as fn() -> Security] {
        for kind in [ChannelKind::Standard, ChannelKind::Extended] {
            let (mut client, mut server) = ready(security());
            let request_id = open(
                &mut client,
                kind,
                4 * u16::from(kind == ChannelKind::Extended),
            );
            let mut bytes = match kind {
                ChannelKind::Standard => server.frame(&standard_success(request_id, 2)),
                ChannelKind::Extended => server.frame(&extended_success(request_id, 2)),
            };
            match kind {
                ChannelKind::Standard => bytes.extend(server.frame(&standard_job(2, 7))),
                ChannelKind::Extended => bytes.extend(server.frame(&extended_job(2, 7, 150, 3))),
            }
            bytes.extend(server.frame(&tip(2, 7)));
            let told = receive(&mut client, &bytes, at(1));
            let opened = Event::Opened {
                request_id,
                channel_id: 2,
            };
            assert_eq!(told, [opened, Event::Work { channel_id: 2 }]);

            let work = client.work(2, at(11)).unwrap();
            assert_eq!((work.job_id, work.min_ntime), (7, 1_700_000_000));
            assert_eq!(work.max_ntime, 1_700_000_010);
            let extranonce = &[1, 2, 3, 4][..work.extranonce_size];
            let header = client.header(&work, &roll(5, extranonce)).unwrap();
            assert!(work.target.is_met_by(&block_hash(&header)));
            sent(&mut client);
            assert_eq!(client.submit(&work, &roll(5, extranonce), at(2)), Ok(1));
            assert!(!sent(&mut client).is_empty());

            let answers = [
                server.frame(&SubmitSharesSuccess {
                    channel_id: 2,
                    last_sequence_number: 1,
                    new_submits_accepted_count: 1,
                    new_shares_sum: 3,
                }),
                server.frame(&SubmitSharesError {
                    channel_id: 2,
                    sequence_number: 1,
                    error_code: "stale-share".try_into().unwrap(),
                }),
            ];
            let told = receive(&mut client, &answers.concat(), at(3));
            assert!(matches!(told[0], Event::Accepted(message) if message.new_shares_sum == 3));
            let rejected = Event::Rejected {
                channel_id: 2,
                sequence_number: 1,
                text: b"stale-share".to_vec(),
            };
            assert_eq!(told[1..], [rejected]);
            let counts = client.counts(2).unwrap();
            assert_eq!(
                (counts.submitted, counts.acknowledged, counts.rejected),
                (1, 1, 1)
            );
        }
    }
}

#[test]
fn a_group_is_followed_by_each_of_its_channels() {
    let (mut client, mut server) = ready(noise());
    let [one, other] =
        [ChannelKind::Standard, ChannelKind::Extended].map(|kind| open(&mut client, kind, 0));
    let bytes = [
        server.frame(&standard_success(one, 2)),
        server.frame(&extended_success(other, 3)),
        server.frame(&extended_job(GROUP, 7, 100, 2)),
        server.frame(&tip(GROUP, 7)),
    ];
    let told = receive(&mut client, &bytes.concat(), at(0));
    assert_eq!(
        told[2..],
        [Event::Work { channel_id: 2 }, Event::Work { channel_id: 3 }]
    );
    assert!(client.work(2, at(0)).unwrap().merkle_root.is_some());
    assert_eq!(client.work(3, at(0)).unwrap().extranonce_size, 4);

    let close = CloseChannel {
        channel_id: GROUP,
        reason_code: "bye".try_into().unwrap(),
    };
    let told = receive(&mut client, &server.frame(&close), at(0));
    let closed = |channel_id| Event::Closed {
        channel_id,
        text: b"bye".to_vec(),
    };
    assert_eq!(told, [closed(2), closed(3)]);
    assert_eq!(client.work(2, at(0)), Err(MinerError::NotOpen));
    assert_eq!(open(&mut client, ChannelKind::Standard, 0), 3);
}

#[test]
fn work_ends_with_its_tip_and_headers_with_their_job() {
    let (mut client, mut server) = ready(Security::Plain);
    let request_id = open(&mut client, ChannelKind::Extended, 4);
    let bytes = [
        server.frame(&extended_success(request_id, 2)),
        server.frame(&extended_job(2, 1, 100, 2)),
        server.frame(&tip(2, 1)),
    ];
    receive(&mut client, &bytes.concat(), at(0));
    let old = client.work(2, at(0)).unwrap();
    let good = roll(1, &[0; 4]);
    for (roll, error) in [
        (roll(1, &[0; 3]), MinerError::BadExtranonceSize),
        (
            Roll {
                version: 0x4000_0000,
                ..good
            },
            MinerError::VersionNotAllowed,
        ),
        (
            Roll {
                ntime: 1_699_999_999,
                ..good
            },
            MinerError::NtimeTooEarly,
        ),
    ] {
        assert_eq!(client.header(&old, &roll), Err(error));
        assert_eq!(client.submit(&old, &roll, at(0)), Err(error));
    }
    // The same job id again, on the same tip: another job.
    let mut newer = extended_job(2, 1, 120, 2);
    newer.min_ntime = Some(1_700_000_001);
    let told = receive(&mut client, &server.frame(&newer), at(1));
    assert_eq!(told, [Event::Work { channel_id: 2 }]);
    assert_eq!(client.header(&old, &good), Err(MinerError::Stale));
    assert_eq!(client.submit(&old, &good, at(1)), Ok(1));

    let bytes = [
        server.frame(&extended_job(2, 2, 100, 2)),
        server.frame(&tip(2, 2)),
    ];
    receive(&mut client, &bytes.concat(), at(2));
    assert_eq!(client.submit(&old, &good, at(2)), Err(MinerError::Stale));
    let new = client.work(2, at(2)).unwrap();
    assert_eq!(client.submit(&new, &good, at(2)), Ok(2));
    client.close(2, "bye".try_into().unwrap()).unwrap();
    assert_eq!(client.submit(&new, &good, at(2)), Err(MinerError::NotOpen));
    // What was on its way is no lie.
    let told = receive(&mut client, &server.frame(&tip(GROUP, 9)), at(2));
    let reason = ClientReject::FormerChannel;
    assert_eq!(
        told,
        [Event::Refused {
            reason,
            request_id: 0
        }]
    );
    assert_eq!(client.rejected(reason), 1);
}

/// A server may use the number of a channel that was closed for another one.
#[test]
fn work_of_a_closed_channel_is_not_its_successors() {
    let (mut client, mut server) = ready(Security::Plain);
    let good = roll(1, &[0; 4]);
    let mut works = Vec::new();
    for _ in 0..2 {
        let request_id = open(&mut client, ChannelKind::Extended, 4);
        let bytes = [
            server.frame(&extended_success(request_id, 2)),
            server.frame(&extended_job(2, 1, 100, 2)),
            server.frame(&tip(2, 1)),
        ];
        receive(&mut client, &bytes.concat(), at(0));
        works.push(client.work(2, at(0)).unwrap());
        if works.len() == 1 {
            client.close(2, "bye".try_into().unwrap()).unwrap();
        }
    }
    let stale = client.submit(&works[0], &good, at(0));
    assert_eq!(stale, Err(MinerError::Stale));
    assert_eq!(client.header(&works[0], &good), Err(MinerError::Stale));
    assert_eq!(client.submit(&works[1], &good, at(0)), Ok(1));
}

#[test]
fn a_target_is_for_jobs_to_come() {
    let (mut client, mut server) = ready(Security::Plain);
    let request_id = open(&mut client, ChannelKind::Standard, 0);
    let target = SetTarget {
        channel_id: 2,
        maximum_target: [3; 32].into(),
    };
    let bytes = [
        server.frame(&standard_success(request_id, 2)),
        server.frame(&standard_job(2, 1)),
        server.frame(&tip(2, 1)),
        server.frame(&target),
    ];
    receive(&mut client, &bytes.concat(), at(0));
    assert_eq!(
        client.work(2, at(0)).unwrap().target.to_le_bytes(),
        [0xff; 32]
    );
    let mut next = standard_job(2, 2);
    next.min_ntime = Some(0);
    receive(&mut client, &server.frame(&next), at(0));
    let work = client.work(2, at(0)).unwrap();
    assert_eq!(work.target.to_le_bytes(), [3; 32]);
    assert_eq!(work.min_ntime, 1_700_000_000, "the tip's is later");
}

#[test]
fn handshakes_end_as_the_certificate_says() {
    let not_yet = |error: &HandshakeError| {
        matches!(
            error,
            HandshakeError::Certificate(CertificateError::NotYetValid { .. })
        )
    };
    let expired = |error: &HandshakeError| {
        matches!(
            error,
            HandshakeError::Certificate(CertificateError::Expired { .. })
        )
    };
    let signature = |error: &HandshakeError| {
        matches!(
            error,
            HandshakeError::Certificate(CertificateError::Signature)
        )
    };
    let changed = |error: &HandshakeError| matches!(error, HandshakeError::Cipher(_));
    let now = 1_700_000_000;
    let other = AuthoritySecretKey::from_bytes(&[9; 32])
        .unwrap()
        .public_key();
    type Check = fn(&HandshakeError) -> bool;
    for (validity, authority, flip, expected) in [
        (
            now + 100..=now + 200,
            authority().public_key(),
            0,
            not_yet as Check,
        ),
        (now - 200..=now - 100, authority().public_key(), 0, expired),
        (0..=u32::MAX, other, 0, signature),
        (0..=u32::MAX, authority().public_key(), 1, changed),
    ] {
        let key = EphemeralKey::new(&[5; 32], &[6; 32]).unwrap();
        let security = Security::Noise {
            authority: Some(authority),
            key,
        };
        let mut client = Client::new(terms(security), at(0)).unwrap();
        let mut act2 = Server::default().shake_hands(&sent(&mut client), validity);
        act2[100] ^= flip;
        let told = receive(&mut client, &act2, at(0));
        let [
            Event::Ended {
                end: End::Handshake(error),
                ..
            },
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        assert!(expected(error), "{error:?}");
        assert!(client.outgoing().is_empty());
        let mut taken = 0;
        assert_eq!(
            client.receive(&[0], at(0), &mut taken),
            Err(MinerError::Ended)
        );
        assert_eq!((taken, client.poll_timeout()), (0, None));
    }
}

#[test]
fn a_refused_set_up_comes_with_the_servers_words() {
    let mut client = Client::new(terms(Security::Plain), at(0)).unwrap();
    let user = "bob".try_into().unwrap();
    let early = client.open(ChannelKind::Standard, user, &OpenTerms::default(), at(0));
    assert_eq!(early, Err(MinerError::NotReady));
    let refusal = SetupConnectionError {
        flags: 4,
        error_code: "unsupported-feature-flags".try_into().unwrap(),
    };
    let told = receive(&mut client, &Server::default().frame(&refusal), at(0));
    let ended = Event::Ended {
        end: End::SetupRefused { flags: 4 },
        text: b"unsupported-feature-flags".to_vec(),
    };
    assert_eq!(told, [ended]);

    let mut client = Client::new(terms(Security::Plain), at(0)).unwrap();
    let answer = SetupConnectionSuccess {
        used_version: 3,
        ..setup_success()
    };
    let told = receive(&mut client, &Server::default().frame(&answer), at(0));
    let end = End::Setup(SetupError::VersionNotOffered { version: 3 });
    assert_eq!(
        told,
        [Event::Ended {
            end,
            text: Vec::new()
        }]
    );
}

#[test]
fn other_answers_are_told_too() {
    let (mut client, mut server) = ready(Security::Plain);
    let request_id = open(&mut client, ChannelKind::Standard, 0);
    let refused = OpenMiningChannelError {
        request_id,
        error_code: "unknown-user".try_into().unwrap(),
    };
    let reconnect = Reconnect {
        new_host: "pool.example".try_into().unwrap(),
        new_port: 3333,
    };
    let unknown = Header::new(0, 0x7f, 3).unwrap();
    let bytes = [
        server.raw(unknown, &[1, 2, 3]),
        server.frame(&refused),
        server.frame(&reconnect),
    ];
    let told = receive(&mut client, &bytes.concat(), at(0));
    let open_refused = Event::OpenRefused {
        request_id,
        text: b"unknown-user".to_vec(),
    };
    let asked = Event::Reconnect {
        host: b"pool.example".to_vec(),
        port: 3333,
    };
    assert_eq!(told, [open_refused, asked]);
    assert_eq!((client.ignored_frames(), client.poll_timeout()), (1, None));
}

#[test]
fn a_broken_word_is_counted_told_and_the_end() {
    let (mut client, mut server) = ready(Security::Plain);
    let request_id = open(&mut client, ChannelKind::Extended, 8);
    sent(&mut client);
    let told = receive(
        &mut client,
        &server.frame(&extended_success(request_id, 2)),
        at(0),
    );
    let reason = ClientReject::BadExtranonceSize;
    let end = End::BrokenWord(reason);
    assert_eq!(
        told,
        [
            Event::Refused { reason, request_id },
            Event::Ended {
                end,
                text: Vec::new()
            }
        ]
    );
    assert_eq!(sent(&mut client)[2], mining::CLOSE_CHANNEL.msg_type);
}

#[test]
fn limits_hold() {
    let (mut client, mut server) = ready(Security::Plain);
    for _ in 0..4 {
        open(&mut client, ChannelKind::Standard, 0);
    }
    let user = "bob".try_into().unwrap();
    let fifth = client.open(ChannelKind::Standard, user, &OpenTerms::default(), at(0));
    assert_eq!(fifth, Err(MinerError::TooManyChannels));

    receive(&mut client, &server.frame(&standard_success(1, 2)), at(0));
    for job_id in 1..=MAX_FUTURE_JOBS as u32 + 1 {
        receive(&mut client, &server.frame(&standard_job(2, job_id)), at(0));
    }
    let told = receive(&mut client, &server.frame(&tip(2, 1)), at(0));
    let reason = ClientReject::UnknownJob;
    assert_eq!(
        told,
        [
            Event::Refused {
                reason,
                request_id: 0
            },
            Event::Work { channel_id: 2 }
        ]
    );
    assert_eq!(client.work(2, at(0)), Err(MinerError::NoWork));

    let bytes = [server.frame(&standard_job(2, 1)), server.frame(&tip(2, 1))];
    receive(&mut client, &bytes.concat(), at(0));
    let work = client.work(2, at(0)).unwrap();
    let mut shares = 0;
    let error = loop {
        match client.submit(&work, &roll(shares, &[]), at(0)) {
            Ok(number) => shares = number,
            Err(error) => break error,
        }
    };
    assert_eq!(error, MinerError::OutgoingFull);
    assert!(client.outgoing().len() <= MAX_OUTGOING_LEN);
    assert_eq!(client.counts(2).unwrap().submitted, u64::from(shares));
    client.sent(100);
    assert_eq!(client.submit(&work, &roll(0, &[]), at(0)), Ok(shares + 1));

    let long = Header::new(0x8000, 0x1f, 8193).unwrap();
    let told = receive(&mut client, &long.to_bytes(), at(0));
    let end = End::PayloadTooLong;
    assert_eq!(
        told,
        [Event::Ended {
            end,
            text: Vec::new()
        }]
    );
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let mut client = Client::new(terms(noise()), at(0)).unwrap();
    assert_eq!(client.poll_timeout(), Some(at(TIMEOUT_SECS).instant));
    client.handle_timeout(at(TIMEOUT_SECS - 1));
    assert_eq!(events(&mut client), []);
    client.handle_timeout(at(TIMEOUT_SECS));
    let ended = |end| {
        [Event::Ended {
            end,
            text: Vec::new(),
        }]
    };
    assert_eq!(events(&mut client), ended(End::NoAnswer));

    let (mut client, mut server) = ready(Security::Plain);
    assert_eq!(client.poll_timeout(), None);
    let request_id = open(&mut client, ChannelKind::Standard, 0);
    assert_eq!(client.poll_timeout(), Some(at(TIMEOUT_SECS).instant));
    let bytes = [
        server.frame(&standard_success(request_id, 2)),
        server.frame(&standard_job(2, 1)),
        server.frame(&tip(2, 1)),
    ];
    receive(&mut client, &bytes.concat(), at(0));
    assert_eq!(client.poll_timeout(), None);
    let work = client.work(2, at(0)).unwrap();
    for nonce in 0..32 {
        assert_eq!(client.poll_timeout(), None);
        client.submit(&work, &roll(nonce, &[]), at(1)).unwrap();
    }
    assert_eq!(client.poll_timeout(), Some(at(11).instant));
    client.handle_timeout(at(11));
    assert_eq!(events(&mut client), ended(End::Silent));
}
