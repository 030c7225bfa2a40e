use common_messages_sv2::{CommonMessage, Reconnect, SetupConnectionError, SetupConnectionSuccess};
use const_sv2::mining::REQUIRES_FIXED_VERSION;
use mining_sv2::{CloseChannel, OpenMiningChannelError, SetTarget};
use roles_logic_sv2::channels::client::Work;

use super::*;
use crate::testing::{CHANNEL, new_prev_hash, now, standard_job, standard_opened};
use crate::work::WorkSource;

fn miner() -> Miner {
    let terms = MinerTerms {
        user_identity: "alice.rig".try_into().unwrap(),
        kind: ChannelKind::Standard,
        open: OpenTerms::default(),
        endpoint: Endpoint::default(),
    };
    Miner::new(terms, now())
}

type Out = Output<AnyMessage<'static>>;

fn drain(miner: &mut Miner) -> Vec<Out> {
    std::iter::from_fn(|| miner.poll_output()).collect()
}

fn setup_success() -> AnyMessage<'static> {
    let message = SetupConnectionSuccess {
        used_version: 2,
        flags: 0,
    };
    CommonMessage::from(message).into()
}

fn handle(miner: &mut Miner, message: impl Into<AnyMessage<'static>>) -> Vec<Out> {
    miner.handle_message(&message.into(), now());
    drain(miner)
}

/// A miner with an open channel and job 2 on it.
fn mining() -> (Miner, Work) {
    let mut miner = miner();
    drain(&mut miner);
    let outputs = handle(&mut miner, setup_success());
    let [Output::Send(AnyMessage::Mining(MiningMessage::OpenStandardMiningChannel(open)))] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    handle(&mut miner, standard_opened(open.request_id, [0xff; 32]));
    handle(&mut miner, standard_job(2, 5));
    let outputs = handle(&mut miner, new_prev_hash(2));
    let [Output::Assign(Some(work))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let work = work_of(work).clone();
    (miner, work)
}

fn work_of(source: &WorkSource) -> &Work {
    match source.task() {
        Task::Sv2 { work, .. } => work,
        other => panic!("{other:?}"),
    }
}

fn share_of(work: &Work, nonce: u32) -> FoundShare {
    WorkSource::new(Task::sv2(work.clone(), true), 0)
        .next_unit(now())
        .unwrap()
        .share(nonce)
}

fn end_of(outputs: &[Out]) -> &End {
    match outputs {
        [.., Output::Assign(None), Output::Close(end)] => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn setup_comes_first_and_asks_for_standard_jobs() {
    let outputs = drain(&mut miner());
    let [Output::Send(AnyMessage::Common(CommonMessage::SetupConnection(setup)))] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(setup.flags, REQUIRES_STANDARD_JOBS);
}

#[test]
fn a_find_becomes_a_share_of_its_job() {
    let (mut miner, work) = mining();
    miner.handle_found(&share_of(&work, 9), now()).unwrap();
    let outputs = drain(&mut miner);
    let [Output::Send(AnyMessage::Mining(MiningMessage::SubmitSharesStandard(share)))] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        (share.channel_id, share.job_id, share.nonce, share.version),
        (CHANNEL, 2, 9, 5)
    );
    assert_eq!(miner.counts().submitted, 1);
}

#[test]
fn a_new_tip_replaces_the_work_and_ends_late_finds() {
    let (mut miner, old) = mining();
    handle(&mut miner, standard_job(3, 5));
    let mut tip = new_prev_hash(3);
    if let MiningMessage::SetNewPrevHash(message) = &mut tip {
        message.prev_hash = [9; 32].into();
    }
    let outputs = handle(&mut miner, tip);
    assert!(
        matches!(&outputs[..], [Output::Assign(Some(work))] if work_of(work).job_id() == 3),
        "{outputs:?}"
    );
    assert_eq!(
        miner.handle_found(&share_of(&old, 9), now()),
        Err(ClientError::Stale)
    );
    assert!(drain(&mut miner).is_empty());
}

#[test]
fn the_active_job_keeps_its_target() {
    let (mut miner, work) = mining();
    let message = SetTarget {
        channel_id: CHANNEL,
        maximum_target: [1; 32].into(),
    };
    assert!(handle(&mut miner, MiningMessage::from(message)).is_empty());
    assert_eq!(work.target().to_le_bytes(), [0xff; 32]);
    handle(&mut miner, standard_job(3, 5));
    let outputs = handle(&mut miner, new_prev_hash(3));
    let [Output::Assign(Some(next))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(next.task().target().to_le_bytes(), [1; 32]);
}

#[test]
fn a_tip_without_its_job_stops_the_hashing() {
    let (mut miner, _) = mining();
    let outputs = handle(&mut miner, new_prev_hash(44));
    assert!(
        matches!(outputs.last(), Some(Output::Assign(None))),
        "{outputs:?}"
    );
    assert_eq!(miner.rejected(ClientReject::UnknownJob), 1);
}

#[test]
fn every_refusal_ends_the_connection_with_its_reason() {
    let mut refused = miner();
    let error = SetupConnectionError {
        flags: 1,
        error_code: "no".try_into().unwrap(),
    };
    let outputs = handle(&mut refused, CommonMessage::from(error));
    assert_eq!(
        end_of(&outputs),
        &End::SetupRefused {
            code: "no".into(),
            flags: 1
        }
    );

    let mut unopened = miner();
    handle(&mut unopened, setup_success());
    let error = OpenMiningChannelError {
        request_id: 1,
        error_code: "full".try_into().unwrap(),
    };
    let outputs = handle(&mut unopened, MiningMessage::from(error));
    assert_eq!(
        end_of(&outputs),
        &End::OpenRefused {
            code: "full".into()
        }
    );

    let (mut closed, work) = mining();
    let close = CloseChannel {
        channel_id: CHANNEL,
        reason_code: "bye".try_into().unwrap(),
    };
    let outputs = handle(&mut closed, MiningMessage::from(close));
    assert_eq!(
        end_of(&outputs),
        &End::ChannelClosed {
            reason: "bye".into()
        }
    );
    assert_eq!(
        closed.handle_found(&share_of(&work, 9), now()),
        Err(ClientError::NotOpen)
    );
    assert!(
        handle(&mut closed, standard_job(9, 5)).is_empty(),
        "nothing follows the end"
    );
}

#[test]
fn reconnect_is_passed_on() {
    let (mut miner, _) = mining();
    let message = Reconnect {
        new_host: "pool.example".try_into().unwrap(),
        new_port: 3333,
    };
    let outputs = handle(&mut miner, CommonMessage::from(message));
    assert_eq!(
        end_of(&outputs),
        &End::Reconnect {
            host: "pool.example".into(),
            port: 3333,
            wait: Duration::ZERO,
        }
    );
}

#[test]
fn a_message_before_setup_is_out_of_order() {
    let outputs = handle(&mut miner(), standard_job(2, 5));
    assert_eq!(
        end_of(&outputs),
        &End::OutOfOrder {
            message: "NewMiningJob"
        }
    );
}

#[test]
fn a_silent_server_is_left() {
    let mut miner = miner();
    drain(&mut miner);
    assert_eq!(miner.poll_timeout(), Some(now().instant + ANSWER_TIMEOUT));
    miner.handle_timeout(now().after(ANSWER_TIMEOUT - Duration::from_secs(1)));
    assert!(drain(&mut miner).is_empty());
    miner.handle_timeout(now().after(ANSWER_TIMEOUT));
    assert_eq!(end_of(&drain(&mut miner)), &End::NoAnswer);
    assert_eq!(mining().0.poll_timeout(), None);
}

#[test]
fn stopping_gives_the_channel_back() {
    let (mut miner, _) = mining();
    miner.handle_stop(now());
    let outputs = drain(&mut miner);
    let [
        Output::Send(AnyMessage::Mining(MiningMessage::CloseChannel(close))),
        ..,
    ] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(close.channel_id, CHANNEL);
    assert_eq!(end_of(&outputs), &End::Stopped);
}

#[test]
fn a_channel_without_work_is_left() {
    let mut miner = miner();
    handle(&mut miner, setup_success());
    handle(&mut miner, standard_opened(1, [0xff; 32]));
    assert_eq!(miner.poll_timeout(), Some(now().instant + WORK_TIMEOUT));
    handle(&mut miner, standard_job(2, 5));
    miner.handle_timeout(now().after(WORK_TIMEOUT - Duration::from_secs(1)));
    assert!(drain(&mut miner).is_empty());
    miner.handle_timeout(now().after(WORK_TIMEOUT));
    assert_eq!(end_of(&drain(&mut miner)), &End::NoWork);

    let (mut orphaned, _) = mining();
    handle(&mut orphaned, new_prev_hash(44));
    assert_eq!(orphaned.poll_timeout(), Some(now().instant + WORK_TIMEOUT));
}

#[test]
fn a_fixed_version_holds_for_all_work() {
    let mut miner = miner();
    let message = SetupConnectionSuccess {
        used_version: 2,
        flags: REQUIRES_FIXED_VERSION,
    };
    handle(&mut miner, CommonMessage::from(message));
    handle(&mut miner, standard_opened(1, [0xff; 32]));
    handle(&mut miner, standard_job(2, 5));
    let mut outputs = handle(&mut miner, new_prev_hash(2));
    let Some(Output::Assign(Some(mut source))) = outputs.pop() else {
        panic!("{outputs:?}")
    };
    let units = std::iter::from_fn(|| source.next_unit(now()));
    let versions: Vec<u32> = units.map(|unit| unit.share(0).version).collect();
    assert!(versions.len() == 256 && versions.iter().all(|version| *version == 5));
}

#[test]
fn unknown_frames_are_counted_and_malformed_ones_end_the_connection() {
    let (mut miner, _) = mining();
    miner.handle_frame(0x4abc, 0x21, &[], now());
    miner.handle_frame(0, 0x77, &[1, 2, 3], now());
    assert!(drain(&mut miner).is_empty());
    assert_eq!(miner.ignored_frames(), 2);
    miner.handle_frame(0x8000, 0x21, &[1], now());
    assert!(matches!(end_of(&drain(&mut miner)), End::Frame(_)));
}

/// It mines at servers under test, too.
#[test]
fn what_a_server_says_wrong_is_counted_and_changes_nothing() {
    let (mut miner, work) = mining();
    let channel_id = CHANNEL + 1;
    let message = SetTarget {
        channel_id,
        maximum_target: [1; 32].into(),
    };
    assert!(handle(&mut miner, MiningMessage::from(message)).is_empty());
    assert_eq!(miner.rejected(ClientReject::UnknownChannel), 1);
    for nonce in 0..100 {
        miner.handle_found(&share_of(&work, nonce), now()).unwrap();
    }
    assert_eq!(drain(&mut miner).len(), 100);
    assert_eq!(miner.poll_timeout(), None, "answers may take their time");
}

#[test]
fn a_channel_that_is_unsound_is_not_mined_on() {
    let mut miner = miner();
    handle(&mut miner, setup_success());
    let MiningMessage::OpenStandardMiningChannelSuccess(mut opened) =
        standard_opened(1, [0xff; 32])
    else {
        panic!()
    };
    opened.group_channel_id = opened.channel_id;
    let outputs = handle(&mut miner, MiningMessage::from(opened));
    assert_eq!(end_of(&outputs), &End::NoChannel);
}
