//! Channels, groups, jobs and tips: who is told what, in which order.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use binary_sv2::Encodable;
use mining_sv2::{
    CloseChannel, SetCustomMiningJob, SetCustomMiningJobError, SetCustomMiningJobSuccess,
    UpdateChannel,
};

use super::dialogue::{Dialogue, HARD_NBITS, TIP_TIME, config};
use crate::channels::client::OpenTerms;
use crate::channels::server::{
    CustomJobRefusal, MAX_JOBS, OpenRefusal, Output, ServerChannels, ServerConfig, ServerFlags,
    UpdateRefusal,
};
use crate::channels::{ChannelKind, PayoutId};
use crate::job::{ChainTip, Job};
use crate::share::RejectReason;
use crate::target::Target;

const KINDS: [ChannelKind; 2] = [ChannelKind::Standard, ChannelKind::Extended];

const STANDARD_ONLY: ServerFlags = ServerFlags {
    standard_jobs_only: true,
    selects_work: false,
    extended_channels_only: false,
    rolls_version: false,
    fixed_version: false,
};

const WORK_SELECTION: ServerFlags = ServerFlags {
    standard_jobs_only: false,
    selects_work: true,
    extended_channels_only: true,
    rolls_version: false,
    fixed_version: false,
};

const fn job_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Standard => "NewMiningJob",
        ChannelKind::Extended => "NewExtendedMiningJob",
    }
}

fn group_of(dialogue: &Dialogue, channel_id: u32) -> u32 {
    dialogue.client.channel(channel_id).unwrap().group_id()
}

#[test]
fn the_first_work_follows_the_answer() {
    for kind in KINDS {
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let id = dialogue.open(kind, 0).unwrap();
        let job = job_name(kind);
        assert_eq!(
            dialogue.sent(),
            [
                format!("Open{kind:?}MiningChannel.Success"),
                format!("{job} to {id} future"),
                format!("SetNewPrevHash to {id}"),
            ]
        );
        assert_eq!(dialogue.work(id).min_ntime(), TIP_TIME);
        assert!(dialogue.mine(id).outcome.is_ok());
    }
}

#[test]
fn a_channel_opened_before_there_is_work_gets_it_later() {
    for kind in KINDS {
        let mut dialogue = Dialogue::new(config(), ServerFlags::default());
        let ids = [(); 2].map(|()| dialogue.open(kind, 0).unwrap());
        assert_eq!(dialogue.sent().len(), 2);
        dialogue.give_work();
        let mut expected = Vec::new();
        for id in ids {
            expected.push(format!("{} to {id} future", job_name(kind)));
            expected.push(format!("SetNewPrevHash to {id}"));
        }
        assert_eq!(dialogue.sent(), expected);
    }
}

#[test]
fn a_group_gets_one_job_per_template_and_one_prev_hash_per_tip() {
    for kinds in [
        [ChannelKind::Extended; 2],
        [ChannelKind::Standard; 2],
        KINDS,
    ] {
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let mut ids = Vec::new();
        for kind in kinds.into_iter().cycle().take(6) {
            ids.push(dialogue.open(kind, 0).unwrap());
            assert_eq!(dialogue.sent().len(), 3);
        }
        let group = group_of(&dialogue, ids[0]);
        assert!(ids.iter().all(|id| group_of(&dialogue, *id) == group));
        assert!(!ids.contains(&group), "group ids are no channel ids");

        dialogue.new_template();
        assert_eq!(
            dialogue.sent(),
            [format!("NewExtendedMiningJob to {group} now")]
        );
        for id in &ids {
            assert!(dialogue.mine(*id).outcome.is_ok());
        }
        dialogue.new_tip(HARD_NBITS);
        assert_eq!(
            dialogue.sent(),
            [
                format!("NewExtendedMiningJob to {group} future"),
                format!("SetNewPrevHash to {group}"),
            ]
        );
        for id in &ids {
            assert!(dialogue.mine(*id).outcome.is_ok());
        }
        dialogue.give_work();
        assert_eq!(
            dialogue.sent(),
            [] as [&str; 0],
            "nothing new, nothing sent"
        );
    }
}

#[test]
fn who_takes_standard_jobs_only_gets_one_for_each_channel() {
    let mut dialogue = Dialogue::working(STANDARD_ONLY);
    assert_eq!(
        dialogue.open(ChannelKind::Extended, 0),
        Err(OpenRefusal::ExtendedChannel)
    );
    assert_eq!(
        dialogue.sent(),
        ["OpenMiningChannel.Error extended-channels-not-supported-for-standard-jobs"]
    );
    let ids = [(); 3].map(|()| dialogue.open(ChannelKind::Standard, 0).unwrap());
    dialogue.sent();
    dialogue.new_template();
    let jobs = |when: &str| ids.map(|id| format!("NewMiningJob to {id} {when}"));
    assert_eq!(dialogue.sent(), jobs("now"));
    dialogue.new_tip(HARD_NBITS);
    let expected: Vec<String> = ids
        .iter()
        .flat_map(|id| {
            [
                format!("NewMiningJob to {id} future"),
                format!("SetNewPrevHash to {id}"),
            ]
        })
        .collect();
    assert_eq!(dialogue.sent(), expected);
    for id in ids {
        assert!(dialogue.mine(id).outcome.is_ok());
    }
}

#[test]
fn an_immediate_job_starts_at_the_time_of_the_tip() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    dialogue.new_tip(HARD_NBITS);
    let at_tip = dialogue.work(id).min_ntime();
    dialogue.pass(Duration::from_secs(40));
    dialogue.new_template();
    let work = dialogue.work(id);
    assert_eq!(
        (work.min_ntime(), work.max_ntime(dialogue.now)),
        (at_tip, at_tip + 40)
    );
}

#[test]
fn payouts_do_not_share_jobs() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let ids = [0, 1, 0].map(|payout| dialogue.open(ChannelKind::Extended, payout).unwrap());
    let groups = ids.map(|id| group_of(&dialogue, id));
    assert_eq!(groups[0], groups[2]);
    assert_ne!(groups[0], groups[1]);
    dialogue.sent();
    dialogue.new_template();
    assert_eq!(dialogue.sent().len(), 2);
    for (id, payout) in ids.into_iter().zip([0, 1, 0]) {
        let work = dialogue.work(id);
        let found = dialogue.find(&work, true);
        let prefix = dialogue.client.channel(id).unwrap().extranonce_prefix();
        let job = dialogue.hub.job(payout);
        assert_eq!(
            job.merkle_root(prefix, &found.extranonce),
            work.merkle_root(&found.extranonce)
        );
        assert!(dialogue.submit(&work, &found).unwrap().outcome.is_ok());
    }
}

#[test]
fn a_payout_that_has_no_job_yet_waits_for_one() {
    let mut dialogue = Dialogue::new(config(), ServerFlags::default());
    dialogue.hub.forget_payout(1);
    dialogue.give_work();
    let old = dialogue.open(ChannelKind::Extended, 0).unwrap();
    let new = dialogue.open(ChannelKind::Extended, 1).unwrap();
    dialogue.sent();
    dialogue.hub.add_payout(1);
    dialogue.give_work();
    assert_eq!(
        dialogue.sent(),
        [
            format!("NewExtendedMiningJob to {new} future"),
            format!("SetNewPrevHash to {new}"),
        ],
        "the others are not disturbed"
    );
    assert!(dialogue.mine(old).outcome.is_ok());
    // A tip for which one payout's job is late: its old jobs are stale all the same.
    let stale = dialogue.work(new);
    dialogue.hub.forget_payout(1);
    dialogue.new_tip(HARD_NBITS);
    let found = dialogue.find(&stale, true);
    assert_eq!(dialogue.force(&stale, &found), Some(RejectReason::Stale));
    dialogue.hub.add_payout(1);
    dialogue.sent();
    dialogue.give_work();
    let group = group_of(&dialogue, new);
    assert_eq!(
        dialogue.sent(),
        [
            format!("NewExtendedMiningJob to {group} future"),
            format!("SetNewPrevHash to {group}"),
        ]
    );
    assert!(dialogue.mine(new).outcome.is_ok());
}

#[test]
fn who_selects_work_is_left_alone() {
    let mut dialogue = Dialogue::working(WORK_SELECTION);
    assert_eq!(
        dialogue.open(ChannelKind::Standard, 0),
        Err(OpenRefusal::StandardChannel)
    );
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    dialogue.new_template();
    dialogue.new_tip(HARD_NBITS);
    assert_eq!(
        dialogue.sent(),
        [
            "OpenMiningChannel.Error standard-channels-not-supported-for-custom-work",
            "OpenExtendedMiningChannel.Success",
        ]
    );
    assert!(dialogue.client.work(id).is_none());
}

fn custom_job(channel_id: u32) -> SetCustomMiningJob<'static> {
    SetCustomMiningJob {
        channel_id,
        request_id: 9,
        mining_job_token: Vec::new().try_into().unwrap(),
        version: 0x2000_0000,
        prev_hash: [8; 32].into(),
        min_ntime: TIP_TIME,
        nbits: HARD_NBITS,
        coinbase_tx_version: 2,
        coinbase_prefix: [1, 100, 20].to_vec().try_into().unwrap(),
        coinbase_tx_input_n_sequence: u32::MAX,
        coinbase_tx_outputs: [1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0x51]
            .to_vec()
            .try_into()
            .unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: Vec::new().try_into().unwrap(),
    }
}

#[test]
fn custom_jobs_are_refused_where_they_are_not_taken() {
    for (takes_custom_jobs, flags) in [(false, WORK_SELECTION), (true, ServerFlags::default())] {
        let config = ServerConfig {
            takes_custom_jobs,
            ..config()
        };
        let mut dialogue = Dialogue::new(config, flags);
        let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
        let refused = dialogue
            .server
            .handle_set_custom_mining_job(&custom_job(id));
        assert_eq!(refused, Err(CustomJobRefusal::NotSupported));
        assert_eq!(dialogue.server.ignored().custom_jobs_refused, 1);
        let answer = SetCustomMiningJobError {
            channel_id: id,
            request_id: 9,
            error_code: "jd-not-supported".try_into().unwrap(),
        };
        assert_eq!(sent_next(&mut dialogue.server), answer.to_vec());
    }
}

/// The bytes of the next message to the client.
fn sent_next(server: &mut ServerChannels) -> Vec<u8> {
    match server.poll_output() {
        Some(Output::Send(message)) => message.to_vec(),
        other => panic!("{other:?} is no message"),
    }
}

#[test]
fn custom_jobs_count_until_one_names_another_tip() {
    let config = ServerConfig {
        takes_custom_jobs: true,
        ..config()
    };
    let mut dialogue = Dialogue::new(config, WORK_SELECTION);
    let ids = [(); 2].map(|()| dialogue.open(ChannelKind::Extended, 0).unwrap());
    let request = custom_job(ids[0]);
    let server = &mut dialogue.server;
    assert_eq!(
        server.handle_set_custom_mining_job(&custom_job(99)),
        Err(CustomJobRefusal::UnknownChannel)
    );
    sent_next(server);
    server.handle_set_custom_mining_job(&request).unwrap();
    let job = Arc::new(Job::from_custom(&request, 20).unwrap());
    let now = dialogue.now;
    let tip = |prev_hash| ChainTip::new(prev_hash, HARD_NBITS, TIP_TIME, now.instant).unwrap();
    let mut accept = |prev_hash| {
        let accepted = server.accept_custom_job(ids[0], 9, job.clone(), tip(prev_hash));
        accepted.unwrap()
    };
    let first = accept([8; 32]);
    let second = accept([8; 32]);
    assert_eq!((first, second), (1, 2));
    for job_id in [first, second] {
        let answer = SetCustomMiningJobSuccess {
            channel_id: ids[0],
            request_id: 9,
            job_id,
        };
        assert_eq!(sent_next(server), answer.to_vec());
    }
    let share = |channel_id, job_id| mining_sv2::SubmitSharesExtended {
        channel_id,
        sequence_number: 1,
        job_id,
        nonce: 0,
        ntime: TIP_TIME,
        version: 0x2000_0000,
        extranonce: [0; 16].as_slice().try_into().unwrap(),
    };
    let mut outcome = |channel_id, job_id| {
        let verdict = server.handle_submit_extended(&share(channel_id, job_id), now);
        verdict.outcome.err()
    };
    let not_stale = [None, Some(RejectReason::DifficultyTooLow)];
    assert!(not_stale.contains(&outcome(ids[0], first)));
    assert_eq!(
        outcome(ids[1], first),
        Some(RejectReason::UnknownJob),
        "custom jobs are not shared"
    );
    let third = server
        .accept_custom_job(ids[0], 9, job.clone(), tip([9; 32]))
        .unwrap();
    let mut outcome = |channel_id, job_id| {
        let verdict = server.handle_submit_extended(&share(channel_id, job_id), now);
        verdict.outcome.err()
    };
    assert_eq!(outcome(ids[0], second), Some(RejectReason::Stale));
    assert!(not_stale.contains(&outcome(ids[0], third)));
}

#[test]
fn unsound_requests_are_refused_with_their_reason() {
    let terms = OpenTerms::default();
    let cases = [
        (
            OpenTerms {
                nominal_hash_rate: f32::NAN,
                ..terms
            },
            "invalid-nominal-hashrate",
        ),
        (
            OpenTerms {
                nominal_hash_rate: -1.0,
                ..terms
            },
            "invalid-nominal-hashrate",
        ),
        (
            OpenTerms {
                nominal_hash_rate: f32::INFINITY,
                ..terms
            },
            "invalid-nominal-hashrate",
        ),
        (
            OpenTerms {
                max_target: Target::from_le_bytes([0; 32]),
                ..terms
            },
            "max-target-out-of-range",
        ),
        (
            OpenTerms {
                min_extranonce_size: 17,
                ..terms
            },
            "min-extranonce-size-too-large",
        ),
    ];
    let mut dialogue = Dialogue::working(ServerFlags::default());
    for (count, (terms, code)) in cases.into_iter().enumerate() {
        assert!(dialogue.open_with(ChannelKind::Extended, 0, terms).is_err());
        assert_eq!(dialogue.sent(), [format!("OpenMiningChannel.Error {code}")]);
        assert_eq!(dialogue.server.ignored().opens_refused, count as u64 + 1);
    }
    assert_eq!(dialogue.extranonces.in_use(), 0, "no prefix is lost");
    let biggest = OpenTerms {
        min_extranonce_size: 16,
        ..terms
    };
    assert!(
        dialogue
            .open_with(ChannelKind::Extended, 0, biggest)
            .is_ok()
    );
    let full = ServerConfig {
        max_channels: 1,
        ..config()
    };
    let mut dialogue = Dialogue::new(full, ServerFlags::default());
    dialogue.open(ChannelKind::Standard, 0).unwrap();
    assert_eq!(
        dialogue.open(ChannelKind::Standard, 0),
        Err(OpenRefusal::CapacityExhausted)
    );
}

/// MS-18, and MS-16 where the client has its way.
#[test]
fn extended_jobs_allow_what_setup_and_the_work_allow() {
    for fixed_version in [false, true] {
        let flags = ServerFlags {
            fixed_version,
            ..ServerFlags::default()
        };
        let mut dialogue = Dialogue::working(flags);
        let channel = dialogue.open(ChannelKind::Extended, 0).unwrap();
        let mask = dialogue.work(channel).version_mask();
        assert_eq!(mask == 0, fixed_version);
        dialogue.mine(channel).outcome.unwrap();
    }
}

#[test]
fn a_kind_of_channel_that_setup_rules_out_is_refused() {
    let flags = ServerFlags::default();
    let extended_only = ServerFlags {
        extended_channels_only: true,
        ..flags
    };
    let standard_only = ServerFlags {
        standard_jobs_only: true,
        ..flags
    };
    let selects_work = ServerFlags {
        selects_work: true,
        ..flags
    };
    use ChannelKind::{Extended, Standard};
    for (flags, served, refused, refusal) in [
        (
            extended_only,
            Extended,
            Standard,
            OpenRefusal::StandardChannel,
        ),
        (
            selects_work,
            Extended,
            Standard,
            OpenRefusal::StandardChannel,
        ),
        (
            standard_only,
            Standard,
            Extended,
            OpenRefusal::ExtendedChannel,
        ),
    ] {
        let mut dialogue = Dialogue::working(flags);
        assert_eq!(dialogue.open(refused, 0), Err(refusal));
        assert!(dialogue.open(served, 0).is_ok(), "{flags:?}");
    }
}

#[test]
fn the_clients_limit_on_the_target_is_honoured() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let limit = Target::from_difficulty(4e-9).unwrap();
    let terms = OpenTerms {
        max_target: limit,
        ..OpenTerms::default()
    };
    let id = dialogue.open_with(ChannelKind::Extended, 0, terms).unwrap();
    assert!(*dialogue.work(id).target() <= limit);
    // Silence for an hour: the target gets easier, but never easier than the client said.
    dialogue.pass(Duration::from_secs(3_600));
    assert!(*dialogue.client.channel(id).unwrap().target() <= limit);
    assert!(dialogue.mine(id).outcome.is_ok());
}

#[test]
fn updates_are_taken_or_refused() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    dialogue.sent();
    let update = |channel_id, nominal_hash_rate, maximum_target: Target| UpdateChannel {
        channel_id,
        nominal_hash_rate,
        maximum_target: maximum_target.to_le_bytes().into(),
    };
    let zero = Target::from_le_bytes([0; 32]);
    for (message, refusal, code) in [
        (
            update(99, 1.0, Target::MAX),
            UpdateRefusal::UnknownChannel,
            "invalid-channel-id",
        ),
        (
            update(id, f32::NAN, Target::MAX),
            UpdateRefusal::InvalidNominalHashRate,
            "invalid-nominal-hashrate",
        ),
        (
            update(id, -0.5, Target::MAX),
            UpdateRefusal::InvalidNominalHashRate,
            "invalid-nominal-hashrate",
        ),
        (
            update(id, 1.0, zero),
            UpdateRefusal::MaxTargetOutOfRange,
            "max-target-out-of-range",
        ),
    ] {
        // The client's channels would not take an error for a channel it does not have.
        if message.channel_id == id {
            assert_eq!(
                dialogue
                    .server
                    .handle_update_channel(&message, dialogue.now),
                Err(refusal)
            );
            dialogue.pump();
            assert_eq!(dialogue.sent(), [format!("UpdateChannel.Error {code}")]);
        } else {
            let refused = dialogue
                .server
                .handle_update_channel(&message, dialogue.now);
            assert_eq!(refused.unwrap_err().error_code(), code);
            assert!(dialogue.server.poll_output().is_some());
        }
    }
    // A sound one has no answer, or SetTarget and the job anew.
    let sound = |dialogue: &mut Dialogue, message| {
        dialogue
            .server
            .handle_update_channel(&message, dialogue.now)
            .unwrap();
        dialogue.pump();
        dialogue.sent()
    };
    assert_eq!(
        sound(&mut dialogue, update(id, 0.0, Target::MAX)),
        [] as [&str; 0]
    );
    let limit = Target::from_difficulty(8e-9).unwrap();
    assert_eq!(
        sound(&mut dialogue, update(id, 0.0, limit)),
        [
            format!("SetTarget to {id}"),
            format!("NewExtendedMiningJob to {id} now")
        ]
    );
    assert!(*dialogue.work(id).target() <= limit);
    let sent = sound(&mut dialogue, update(id, 1e9, Target::MAX));
    assert_eq!(
        sent.len(),
        2,
        "a much higher claim makes the work harder at once"
    );
    assert!(*dialogue.work(id).target() < limit);
}

#[test]
fn closed_channels_are_silent() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let ids = [(); 3].map(|()| dialogue.open(ChannelKind::Extended, 0).unwrap());
    let other = dialogue.open(ChannelKind::Extended, 1).unwrap();
    let work = ids.map(|id| dialogue.work(id));
    let close = dialogue
        .client
        .close(ids[0], "done".try_into().unwrap())
        .unwrap();
    dialogue.server.handle_close_channel(&close);
    dialogue.pump();
    assert_eq!(dialogue.released, 1);
    let found = dialogue.find(&work[0], true);
    let share = mining_sv2::SubmitSharesExtended {
        channel_id: ids[0],
        sequence_number: 1,
        job_id: 1,
        nonce: found.nonce,
        ntime: found.ntime,
        version: found.version,
        extranonce: found.extranonce.as_slice().try_into().unwrap(),
    };
    let verdict = dialogue.server.handle_submit_extended(&share, dialogue.now);
    assert_eq!(verdict.outcome, Err(RejectReason::UnknownChannel));
    assert_eq!(dialogue.server.ignored().shares_of_unknown_channels, 1);
    while dialogue.server.poll_output().is_some() {}

    dialogue.server.handle_close_channel(&close);
    assert_eq!(dialogue.server.ignored().closes_of_unknown_channels, 1);
    // The whole group, by the server.
    dialogue.sent();
    let group = group_of(&dialogue, ids[1]);
    assert!(dialogue.server.close(group, "maintenance"));
    dialogue.pump();
    assert_eq!(
        dialogue.sent(),
        [format!("CloseChannel {group} maintenance")]
    );
    assert_eq!(dialogue.released, 3);
    assert_eq!(
        dialogue
            .client
            .channels()
            .map(|c| c.id())
            .collect::<Vec<_>>(),
        [other]
    );
    dialogue.new_template();
    assert_eq!(dialogue.sent().len(), 1, "only the other group is told");
    assert!(!dialogue.server.close(group, "again"));
    // By the client, with a group's id.
    let group = group_of(&dialogue, other);
    dialogue.server.handle_close_channel(&CloseChannel {
        channel_id: group,
        reason_code: Default::default(),
    });
    dialogue.pump();
    assert_eq!(dialogue.server.channels().len(), 0);
    assert_eq!(dialogue.extranonces.in_use(), 0);
}

#[test]
fn a_new_prefix_holds_for_jobs_after_it() {
    for kind in KINDS {
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let id = dialogue.open(kind, 0).unwrap();
        let before = dialogue.work(id);
        dialogue.sent();
        let prefix = dialogue.prefix(kind);
        let bytes = prefix.as_bytes().to_vec();
        dialogue.server.set_extranonce_prefix(id, prefix).unwrap();
        dialogue.pump();
        assert_eq!(
            dialogue.sent(),
            [
                String::from("SetExtranoncePrefix"),
                format!("{} to {id} now", job_name(kind))
            ]
        );
        assert_eq!(
            dialogue.client.channel(id).unwrap().extranonce_prefix(),
            bytes
        );
        let after = dialogue.work(id);
        assert_ne!(
            before.merkle_root(&[5; 16][..before.extranonce_size()]),
            after.merkle_root(&[5; 16][..after.extranonce_size()])
        );
        // Both count, whichever comes first.
        for work in [&after, &before, &after, &before] {
            let found = dialogue.find(work, true);
            assert!(dialogue.submit(work, &found).unwrap().outcome.is_ok());
        }
        assert_eq!(dialogue.released, 0, "the old prefix is in use");
        dialogue.new_tip(HARD_NBITS);
        assert_eq!(dialogue.released, 1);
        assert!(dialogue.mine(id).outcome.is_ok());
    }
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    let wrong_size = dialogue.prefix(ChannelKind::Standard);
    assert!(
        dialogue
            .server
            .set_extranonce_prefix(id, wrong_size)
            .is_err()
    );
}

#[test]
fn another_payout_is_another_group_and_jobs_sent_before_still_count() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let ids = [(); 3].map(|()| dialogue.open(ChannelKind::Extended, 0).unwrap());
    let standard = dialogue.open(ChannelKind::Standard, 0).unwrap();
    for _ in 0..3 {
        dialogue.new_template();
    }
    let before = dialogue.work(ids[0]);
    dialogue.sent();
    let group = dialogue
        .server
        .set_payout(&[ids[0], 99, standard], PayoutId(2))
        .unwrap();
    dialogue.pump();
    assert_eq!(dialogue.sent()[0], "SetGroupChannel");
    assert_eq!(group_of(&dialogue, ids[0]), group);
    assert_eq!(group_of(&dialogue, standard), group);
    assert_ne!(group_of(&dialogue, ids[1]), group);
    let after = dialogue.work(ids[0]);
    assert!(after.job_id() > before.job_id(), "ids do not collide");
    for work in [&before, &after] {
        let found = dialogue.find(work, true);
        assert!(dialogue.submit(work, &found).unwrap().outcome.is_ok());
    }
    dialogue.new_template();
    assert_eq!(
        dialogue
            .sent()
            .iter()
            .filter(|l| l.starts_with("NewExtended"))
            .count(),
        2
    );
    for id in [ids[0], ids[1], standard] {
        assert!(dialogue.mine(id).outcome.is_ok());
    }
    assert_eq!(dialogue.server.payout_of_group(group), Some(PayoutId(2)));
}

#[test]
fn who_takes_standard_jobs_only_is_told_of_no_group() {
    let mut dialogue = Dialogue::working(STANDARD_ONLY);
    let ids = [(); 2].map(|()| dialogue.open(ChannelKind::Standard, 0).unwrap());
    dialogue.sent();
    dialogue.server.set_payout(&ids, PayoutId(2)).unwrap();
    dialogue.pump();
    let expected = ids.map(|id| {
        [
            format!("NewMiningJob to {id} future"),
            format!("SetNewPrevHash to {id}"),
        ]
    });
    assert_eq!(dialogue.sent(), expected.as_flattened());
    for id in ids {
        assert!(dialogue.mine(id).outcome.is_ok());
    }
}

/// Small firmware starts each job at nonce 0 and never rolls the time.
#[test]
fn the_same_work_sent_again_starts_at_another_time() {
    for kind in [ChannelKind::Standard, ChannelKind::Extended] {
        let mut dialogue = Dialogue::working(ServerFlags::default());
        let id = dialogue.open(kind, 0).unwrap();
        dialogue.new_template();
        let mut times = Vec::new();
        for difficulty in [1e-9, 2e-9, 4e-9, 1e-9] {
            let target = Target::from_difficulty(difficulty).unwrap();
            let update = UpdateChannel {
                channel_id: id,
                nominal_hash_rate: 0.0,
                maximum_target: target.to_le_bytes().into(),
            };
            dialogue
                .server
                .handle_update_channel(&update, dialogue.now)
                .unwrap();
            dialogue.pump();
            times.push(dialogue.work(id).min_ntime());
            assert!(dialogue.mine(id).outcome.is_ok());
        }
        times.dedup();
        assert!(times.is_sorted() && times.len() >= 3, "{kind:?} {times:?}");
        dialogue.new_template();
        assert!(
            dialogue.work(id).min_ntime() < times[1],
            "other work starts where the tip does"
        );
    }
}

#[test]
fn job_ids_are_small_and_follow_each_other() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Standard, 0).unwrap();
    for expected in 1..40 {
        assert_eq!(dialogue.work(id).job_id(), expected);
        if expected % 3 == 0 {
            dialogue.new_tip(HARD_NBITS);
        } else {
            dialogue.new_template();
        }
    }
}

#[test]
fn thousands_of_channels_are_one_message() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let ids: Vec<u32> = (0..2_000)
        .map(|_| dialogue.open(ChannelKind::Extended, 0).unwrap())
        .collect();
    dialogue.sent();
    dialogue.new_template();
    dialogue.new_tip(HARD_NBITS);
    assert_eq!(dialogue.sent().len(), 3);
    for id in ids.iter().step_by(97) {
        assert!(dialogue.mine(*id).outcome.is_ok());
    }
    for id in &ids {
        assert!(dialogue.server.close(*id, "bye"));
    }
    dialogue.pump();
    assert_eq!(dialogue.server.channels().len(), 0);
    assert_eq!(dialogue.extranonces.in_use(), 0);
}

#[test]
fn old_jobs_are_let_go_over_many_tips() {
    let mut dialogue = Dialogue::working(ServerFlags::default());
    let id = dialogue.open(ChannelKind::Extended, 0).unwrap();
    let mut jobs = Vec::new();
    for i in 0..2_000 {
        if i % 5 == 0 {
            dialogue.new_tip(HARD_NBITS);
        } else {
            dialogue.new_template();
        }
        jobs.push(Arc::downgrade(dialogue.hub.job(0)));
        if i % 3 == 0 {
            assert!(dialogue.mine(id).outcome.is_ok());
        }
        dialogue.pass(Duration::from_secs(20));
        while dialogue.client.poll_output().is_some() {}
    }
    let alive = jobs.iter().filter(|job| job.strong_count() > 0).count();
    assert!(alive <= MAX_JOBS, "{alive} jobs are kept");
}

#[test]
fn an_idle_channel_is_small() {
    let size = ServerChannels::channel_size();
    assert!(size <= 1_024, "{size} bytes");
}
