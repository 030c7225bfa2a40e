//! A client in front of a server that breaks the rules.

use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannelSuccess,
    OpenStandardMiningChannelSuccess, SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash,
    SetTarget, SubmitSharesSuccess,
};

use crate::channels::client::{
    ClientChannels, ClientError, ClientEvent, ClientReject, Found, MAX_FUTURE_JOBS, MAX_IN_FLIGHT,
    MAX_PENDING_OPENS, OpenTerms,
};
use crate::clock::Now;
use crate::target::Target;

const STANDARD: u32 = 10;
const EXTENDED: u32 = 11;
const GROUP: u32 = 9;

fn standard_success(request_id: u32, channel_id: u32, group: u32) -> MiningMessage<'static> {
    let message = OpenStandardMiningChannelSuccess {
        request_id,
        channel_id,
        target: [0xff; 32].into(),
        extranonce_prefix: [0u8; 20].to_vec().try_into().unwrap(),
        group_channel_id: group,
    };
    message.into()
}

fn extended_success(request_id: u32, extranonce_size: u16) -> MiningMessage<'static> {
    let message = OpenExtendedMiningChannelSuccess {
        request_id,
        channel_id: EXTENDED,
        target: [0xff; 32].into(),
        extranonce_size,
        extranonce_prefix: [0u8; 4].to_vec().try_into().unwrap(),
        group_channel_id: GROUP,
    };
    message.into()
}

fn open(client: &mut ClientChannels, size: u16) -> [u32; 2] {
    let user = || "bob".try_into().unwrap();
    let terms = OpenTerms {
        min_extranonce_size: size,
        ..OpenTerms::default()
    };
    let standard = client.open_standard(user(), terms).unwrap().request_id;
    let extended = client.open_extended(user(), terms).unwrap().request_id;
    [standard, extended]
}

fn client() -> ClientChannels {
    let mut client = ClientChannels::new();
    let [standard, extended] = open(&mut client, 16);
    take(&mut client, standard_success(standard, STANDARD, GROUP)).unwrap();
    take(&mut client, extended_success(extended, 16)).unwrap();
    client
}

fn take(client: &mut ClientChannels, message: MiningMessage<'_>) -> Result<(), ClientReject> {
    client.handle_message(&message, Now::default())
}

fn standard_job(channel_id: u32, job_id: u32, min_ntime: Option<u32>) -> MiningMessage<'static> {
    let message = NewMiningJob {
        channel_id,
        job_id,
        min_ntime,
        version: 0,
        merkle_root: [1; 32].into(),
    };
    message.into()
}

fn extended_job(channel_id: u32, prefix: &[u8]) -> MiningMessage<'_> {
    let message = NewExtendedMiningJob {
        channel_id,
        job_id: 1,
        min_ntime: None,
        version: 0,
        version_rolling_allowed: false,
        merkle_path: Default::default(),
        coinbase_tx_prefix: prefix.try_into().unwrap(),
        coinbase_tx_suffix: [0u8; 9].to_vec().try_into().unwrap(),
    };
    message.into()
}

fn tip(channel_id: u32, job_id: u32, nbits: u32) -> MiningMessage<'static> {
    let message = SetNewPrevHash {
        channel_id,
        job_id,
        prev_hash: [2; 32].into(),
        min_ntime: 5,
        nbits,
    };
    message.into()
}

const NBITS: u32 = 0x207f_ffff;

#[test]
fn what_breaks_the_rules_is_counted_and_changes_nothing() {
    use ClientReject as R;
    let mut client = client();
    let [standard, extended] = open(&mut client, 8);
    let group = SetGroupChannel {
        group_channel_id: EXTENDED,
        channel_ids: Default::default(),
    };
    let acknowledged = SubmitSharesSuccess {
        channel_id: 77,
        last_sequence_number: 1,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    };
    let user = "bob".try_into().unwrap();
    let not_for_clients = ClientChannels::new()
        .open_standard(user, OpenTerms::default())
        .unwrap();
    for (message, reason) in [
        (not_for_clients.into(), R::Unexpected),
        (standard_success(99, 50, GROUP), R::UnknownRequest),
        (standard_success(standard, STANDARD, GROUP), R::IdInUse),
        (extended_success(extended, 7), R::IdInUse),
        (group.into(), R::IdInUse),
        (acknowledged.into(), R::UnknownChannel),
        (standard_job(77, 1, None), R::UnknownChannel),
        (standard_job(EXTENDED, 1, None), R::WrongKind),
        (standard_job(STANDARD, 1, Some(5)), R::NoPrevHash),
        (extended_job(STANDARD, &[0; 8]), R::WrongKind),
        (extended_job(EXTENDED, &[0; 3]), R::BadCoinbase),
        (tip(STANDARD, 1, 0), R::InvalidNbits),
        (tip(STANDARD, 1, NBITS), R::UnknownJob),
    ] {
        let before = client.rejected(reason);
        assert_eq!(
            take(&mut client, message.clone()),
            Err(reason),
            "{message:?}"
        );
        assert_eq!(client.rejected(reason), before + 1);
        assert_eq!(client.channels().len(), 2);
        assert!(client.channels().all(|c| client.work(c.id()).is_none()));
    }
    for (at, reason) in ClientReject::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), at);
    }
}

#[test]
fn a_channel_with_too_little_extranonce_is_given_back() {
    let mut client = ClientChannels::new();
    let [_, extended] = open(&mut client, 8);
    let taken = take(&mut client, extended_success(extended, 7));
    assert_eq!(taken, Err(ClientReject::BadExtranonceSize));
    let Some(ClientEvent::Send(MiningMessage::CloseChannel(close))) = client.poll_output() else {
        panic!("the server must learn of it")
    };
    assert_eq!(close.channel_id, EXTENDED);
}

#[test]
fn a_server_may_not_take_back_what_it_granted_nor_go_beyond_what_was_agreed() {
    use ClientReject as R;
    let mut client = client();
    assert_eq!(
        R::ALL
            .iter()
            .filter(|reason| reason.is_broken_word())
            .count(),
        4
    );
    let prefix = |size: usize| SetExtranoncePrefix {
        channel_id: EXTENDED,
        extranonce_prefix: [1; 32][..size].to_vec().try_into().unwrap(),
    };
    let granted = client.channel(EXTENDED).unwrap().extranonce_prefix().len();
    assert_eq!(take(&mut client, prefix(granted).into()), Ok(()));
    let grown = take(&mut client, prefix(granted + 1).into());
    assert_eq!(
        grown,
        Err(R::BadExtranonceSize),
        "it takes from what was granted"
    );

    let target = |byte| SetTarget {
        channel_id: EXTENDED,
        maximum_target: [byte; 32].into(),
    };
    let terms = OpenTerms {
        max_target: Target::from_le_bytes([7; 32]),
        ..OpenTerms::default()
    };
    client.update(EXTENDED, terms).unwrap();
    assert_eq!(
        take(&mut client, target(0xff).into()),
        Ok(()),
        "any was agreed upon at first"
    );
    let request = client
        .open_standard("bob".try_into().unwrap(), terms)
        .unwrap();
    let too_easy = standard_success(request.request_id, 50, GROUP);
    assert_eq!(take(&mut client, too_easy), Err(R::TargetTooEasy));
}

#[test]
fn answers_to_shares_never_sent_are_told_from_messages_that_crossed() {
    use ClientReject as R;
    let mut client = client();
    let acknowledged = |last_sequence_number| SubmitSharesSuccess {
        channel_id: STANDARD,
        last_sequence_number,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    };
    assert_eq!(
        take(&mut client, acknowledged(0).into()),
        Err(R::UnsentShare)
    );
    take(&mut client, standard_job(STANDARD, 1, None)).unwrap();
    take(&mut client, tip(STANDARD, 1, NBITS)).unwrap();
    let work = client.work(STANDARD).unwrap().clone();
    let found = Found {
        nonce: 1,
        ntime: 5,
        version: 0,
        extranonce: &[],
    };
    client.submit(&work, &found).unwrap();
    assert_eq!(
        take(&mut client, acknowledged(2).into()),
        Err(R::UnsentShare)
    );
    assert_eq!(take(&mut client, acknowledged(1).into()), Ok(()));
    let again = take(&mut client, acknowledged(1).into());
    assert_eq!(again, Ok(()), "told twice is no lie");

    // What was closed or left a moment ago may still be spoken of.
    client.close(STANDARD, "bye".try_into().unwrap()).unwrap();
    assert_eq!(
        take(&mut client, acknowledged(1).into()),
        Err(R::FormerChannel)
    );
    let group = SetGroupChannel {
        group_channel_id: 60,
        channel_ids: [EXTENDED].to_vec().try_into().unwrap(),
    };
    take(&mut client, group.into()).unwrap();
    assert_eq!(
        take(&mut client, tip(GROUP, 1, NBITS)),
        Err(R::FormerChannel)
    );
    assert_eq!(take(&mut client, tip(61, 1, NBITS)), Err(R::UnknownChannel));
}

/// A server works for the whole group until it has read that the last channel of it is closed.
#[test]
fn a_group_is_spoken_of_after_its_last_channel_was_closed() {
    use ClientReject as R;
    let mut client = client();
    client.close(STANDARD, "bye".try_into().unwrap()).unwrap();
    let work = extended_job(GROUP, &[0; 4]);
    assert_eq!(take(&mut client, work.clone()), Ok(()));
    client.close(EXTENDED, "bye".try_into().unwrap()).unwrap();
    assert_eq!(take(&mut client, work), Err(R::FormerChannel));
}

#[test]
fn a_tip_without_its_job_ends_the_work() {
    let mut client = client();
    for job_id in 1..=2 * MAX_FUTURE_JOBS as u32 {
        take(&mut client, standard_job(STANDARD, job_id, None)).unwrap();
    }
    let newest = 2 * MAX_FUTURE_JOBS as u32;
    take(&mut client, tip(STANDARD, newest, NBITS)).unwrap();
    let work = client.work(STANDARD).unwrap().clone();
    assert_eq!(work.job_id(), newest);
    let forgotten = tip(STANDARD, 1, NBITS);
    assert_eq!(take(&mut client, forgotten), Err(ClientReject::UnknownJob));
    assert!(client.work(STANDARD).is_none());
}

#[test]
fn requests_and_unanswered_shares_are_bounded() {
    let mut client = client();
    take(&mut client, standard_job(STANDARD, 1, None)).unwrap();
    take(&mut client, tip(STANDARD, 1, NBITS)).unwrap();
    let work = client.work(STANDARD).unwrap().clone();
    for nonce in 0..MAX_IN_FLIGHT as u32 + 5 {
        let found = Found {
            nonce,
            ntime: 5,
            version: 0,
            extranonce: &[],
        };
        client.submit(&work, &found).unwrap();
    }
    let channel = client.channel(STANDARD).unwrap();
    assert_eq!(
        (channel.in_flight(), channel.counts().unanswered),
        (MAX_IN_FLIGHT, 5)
    );
    let user = || "bob".try_into().unwrap();
    for _ in 0..MAX_PENDING_OPENS {
        client.open_standard(user(), OpenTerms::default()).unwrap();
    }
    let more = client.open_standard(user(), OpenTerms::default());
    assert_eq!(more, Err(ClientError::TooManyChannels));
}
