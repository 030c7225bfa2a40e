//! SetupConnection, extensions, frames that make no sense, deadlines.

use std::time::Duration;

use binary_sv2::{Encodable, Message};
use common_messages_sv2::SetupConnection;
use const_sv2::Protocol;
use const_sv2::mining::{REQUIRES_STANDARD_JOBS, REQUIRES_WORK_SELECTION};
use extensions_sv2::{RequestExtensions, RequestExtensionsSuccess};
use mining_sv2::{CloseChannel, SubmitSharesStandard, SubmitSharesSuccess};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::downstream::Deadlines;
use roles_logic_sv2::extensions::ExtensionPolicy;
use roles_logic_sv2::setup::{Endpoint, SetupRequest};

use crate::common::{Miner, Pool, config};

fn setup(protocol: Protocol, versions: (u16, u16), flags: u32) -> SetupConnection<'static> {
    SetupRequest {
        protocol,
        min_version: versions.0,
        max_version: versions.1,
        flags,
    }
    .message(&Endpoint::default())
}

fn extensions(numbers: &[u16]) -> RequestExtensions<'static> {
    RequestExtensions {
        request_id: 1,
        requested_extensions: numbers.to_vec().try_into().unwrap(),
    }
}

fn label(miner: &Miner) -> Option<&'static str> {
    miner.closed.as_ref().map(|reason| reason.label())
}

#[test]
fn setup_is_answered_and_a_refusal_closes() {
    let cases = [
        (
            Protocol::MINING,
            (2, 2),
            0,
            "SetupConnection.Success 2 0b0",
            None,
        ),
        (
            Protocol::MINING,
            (1, 9),
            REQUIRES_WORK_SELECTION,
            "SetupConnection.Success 2 0b10",
            None,
        ),
        (
            Protocol::JOB_DECLARATION,
            (2, 2),
            0,
            "SetupConnection.Error unsupported-protocol 0b0",
            Some("unsupported-protocol"),
        ),
        (
            Protocol::MINING,
            (3, 3),
            0,
            "SetupConnection.Error protocol-version-mismatch 0b0",
            Some("protocol-version-mismatch"),
        ),
        (
            Protocol::MINING,
            (2, 2),
            0x80,
            "SetupConnection.Error unsupported-feature-flags 0b10000000",
            Some("unsupported-feature-flags"),
        ),
    ];
    for (protocol, versions, flags, answer, closed) in cases {
        let mut pool = Pool::new(config());
        let mut miner = Miner::connect(&pool);
        miner.send(&mut pool, &setup(protocol, versions, flags));
        assert_eq!(miner.sent(), [answer]);
        assert_eq!(label(&miner), closed, "{answer}");
    }
}

/// What comes after `first` (setup or not) closes the connection for this reason.
#[test]
fn what_is_out_of_place_closes_with_a_reason() {
    let share = SubmitSharesStandard {
        channel_id: 1,
        sequence_number: 1,
        job_id: 1,
        nonce: 1,
        ntime: 1,
        version: 1,
    };
    let success = SubmitSharesSuccess {
        channel_id: 1,
        last_sequence_number: 1,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    };
    let granted = RequestExtensionsSuccess {
        request_id: 1,
        supported_extensions: vec![].try_into().unwrap(),
    };
    let again = setup(Protocol::MINING, (2, 2), 0);
    let (share_kind, close_kind) = (SubmitSharesStandard::KIND, CloseChannel::KIND);
    let cases = [
        (false, share_kind, share.to_vec(), "message-before-setup"),
        (
            false,
            RequestExtensions::KIND,
            extensions(&[2]).to_vec(),
            "message-before-setup",
        ),
        (
            false,
            SetupConnection::KIND,
            vec![0; 3],
            "malformed-message",
        ),
        (
            true,
            SetupConnection::KIND,
            again.to_vec(),
            "message-out-of-place",
        ),
        (
            true,
            SubmitSharesSuccess::KIND,
            success.to_vec(),
            "wrong-direction",
        ),
        (
            true,
            RequestExtensionsSuccess::KIND,
            granted.to_vec(),
            "wrong-direction",
        ),
        (
            true,
            share_kind,
            share.to_vec()[..23].to_vec(),
            "malformed-message",
        ),
        (true, close_kind, vec![1, 0, 0, 0, 200], "malformed-message"),
        (true, close_kind, vec![], "malformed-message"),
    ];
    for (is_set_up, kind, payload, expected) in cases {
        let mut pool = Pool::new(config());
        let mut miner = match is_set_up {
            true => Miner::set_up(&mut pool, 0),
            false => Miner::connect(&pool),
        };
        miner.send_raw(&mut pool, &kind, &payload);
        assert_eq!(label(&miner), Some(expected), "{}", kind.name);
        assert_eq!(miner.sent(), [""; 0]);
        // Nothing that follows in the same read does anything.
        miner.send(&mut pool, &share);
        assert_eq!(miner.pool.poll_timeout(), None);
    }
}

#[test]
fn what_is_unknown_is_counted_and_otherwise_ignored() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    for (extension_type, msg_type) in [
        (0x4001, 0x10),
        (0xc001, 0x99),
        (0, 0x5e),
        (0, 0x05),
        (1, 0x77),
    ] {
        miner.frame(&mut pool, extension_type, msg_type, &[1, 2, 3]);
    }
    // The channel bit is set for a message that has none.
    miner.frame(
        &mut pool,
        0x8001,
        RequestExtensions::KIND.msg_type,
        &extensions(&[2]).to_vec(),
    );
    let discarded = miner.pool.discarded();
    assert_eq!(
        (discarded.unknown_extension, discarded.unknown_message),
        (2, 3)
    );
    assert_eq!(discarded.wrong_channel_bit, 1);
    assert_eq!(miner.closed, None);
    assert!(
        miner
            .open(&mut pool, ChannelKind::Extended, "alice")
            .is_ok()
    );
}

#[test]
fn silence_closes() {
    let deadlines = Deadlines::default();
    let mut pool = Pool::new(config());
    let mut silent = Miner::connect(&pool);
    silent.pass(&mut pool, deadlines.setup);
    assert_eq!(label(&silent), Some("setup-timeout"));

    let mut idle = Miner::set_up(&mut pool, 0);
    idle.pass(&mut pool, deadlines.first_channel - Duration::from_secs(1));
    let channel = idle
        .open(&mut pool, ChannelKind::Standard, "alice")
        .unwrap();
    idle.pass(&mut pool, 3 * deadlines.first_channel);
    assert_eq!(idle.closed, None, "it has a channel");
    let close = idle
        .channels
        .close(channel, "bye".try_into().unwrap())
        .unwrap();
    idle.send(&mut pool, &close);
    idle.pass(&mut pool, deadlines.first_channel);
    assert_eq!(label(&idle), Some("no-channel"));
    assert_eq!(pool.shard.extranonces.in_use(), 0);
}

#[test]
fn extensions_are_negotiated_or_refused() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    miner.send(&mut pool, &extensions(&[2, 0x4002]));
    miner.send(&mut pool, &extensions(&[0x4002]));
    let error = "RequestExtensions.Error [16386] []";
    assert_eq!(miner.sent(), ["RequestExtensions.Success", error]);
    for _ in 2..=8 {
        miner.send(&mut pool, &extensions(&[2]));
    }
    assert_eq!(
        label(&miner),
        Some("extensions"),
        "nobody needs so many requests"
    );
}

#[test]
fn a_required_extension_that_is_refused_closes() {
    let mut config = config();
    config.extensions = ExtensionPolicy::new([], [2]);
    let mut pool = Pool::new(config);
    for asked in [None, Some(&[][..]), Some(&[0x4002])] {
        let mut miner = Miner::set_up(&mut pool, REQUIRES_STANDARD_JOBS);
        asked
            .into_iter()
            .for_each(|asked| miner.send(&mut pool, &extensions(asked)));
        let refused = asked.map(|asked| format!("RequestExtensions.Error {asked:?} [2]"));
        assert_eq!(miner.sent(), Vec::from_iter(refused));
        assert_eq!(miner.closed, None, "it may ask again");
        assert!(
            miner
                .open(&mut pool, ChannelKind::Standard, "alice")
                .is_err()
        );
        assert_eq!(label(&miner), Some("extensions"));
    }
    let mut miner = Miner::set_up(&mut pool, 0);
    miner.send(&mut pool, &extensions(&[2]));
    assert!(
        miner
            .open(&mut pool, ChannelKind::Standard, "alice")
            .is_ok()
    );
}
