//! The exports, called as C calls them: what comes out is what the Rust side says, and nothing that comes in is believed.
#![allow(
    unsafe_code,
    reason = "these are calls of C functions; pointers lead to the locals beside them"
)]

use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use binary_sv2::Message;
use codec_sv2::{Decoded, StandardSv2Decoder};
use common_messages_sv2::{
    ChannelEndpointChanged, Reconnect, SetupConnection, SetupConnectionError,
    SetupConnectionSuccess,
};
use framing_sv2::{Frame, Sv2Frame};
use proptest::prelude::*;
use sv2_ffi::*;

type Decode<T> = unsafe extern "C" fn(*const u8, usize, *mut T) -> sv2_result;
type Encode<T> = unsafe extern "C" fn(*const T, *mut u8, usize, *mut usize) -> sv2_result;

/// Decodes a payload and encodes what came of it.
fn there_and_back<T>(
    payload: &[u8],
    decode: Decode<T>,
    encode: Encode<T>,
) -> Result<Vec<u8>, sv2_result> {
    let mut message = MaybeUninit::<T>::uninit();
    // SAFETY: the payload is there, and there is room for the message.
    let result = unsafe { decode(payload.as_ptr(), payload.len(), message.as_mut_ptr()) };
    if result != SV2_OK {
        return Err(result);
    }
    let mut len = 0;
    // SAFETY: the message was written, and what it points to is in the payload.
    let result = unsafe { encode(message.as_ptr(), null_mut(), 0, &raw mut len) };
    assert_eq!(result, SV2_BUFFER_TOO_SHORT);
    let mut frame = vec![0xa5; len];
    // SAFETY: as above, and there is room for the frame.
    let result = unsafe { encode(message.as_ptr(), frame.as_mut_ptr(), len, &raw mut len) };
    assert_eq!((result, len), (SV2_OK, frame.len()));
    Ok(frame)
}

/// A message of the Rust side comes back from the C side as the frame that the Rust side makes of it.
fn check<M: Message, T>(message: &M, decode: Decode<T>, encode: Encode<T>) {
    let frame = Sv2Frame::from_message(message)
        .expect("it is short")
        .to_vec();
    let payload = message.to_vec();
    assert_eq!(there_and_back(&payload, decode, encode), Ok(frame));
    for len in 0..payload.len() {
        let result = there_and_back(&payload[..len], decode, encode);
        assert!(
            matches!(result, Err(SV2_MISSING_BYTES | SV2_LENGTH_ABOVE_MAX)),
            "{len}"
        );
    }
}

#[test]
fn common_messages() {
    let text = |text: &'static str| text.try_into().unwrap();
    let setup = SetupConnection {
        protocol: 2,
        min_version: 2,
        max_version: 3,
        flags: 5,
        endpoint_host: text("pool.example.com"),
        endpoint_port: 3336,
        vendor: text("v"),
        hardware_version: text(""),
        firmware: text("f"),
        device_id: text("d"),
    };
    check(
        &setup,
        sv2_setup_connection_decode,
        sv2_setup_connection_encode,
    );
    let success = SetupConnectionSuccess {
        used_version: 2,
        flags: 1,
    };
    check(
        &success,
        sv2_setup_connection_success_decode,
        sv2_setup_connection_success_encode,
    );
    let error = SetupConnectionError {
        flags: 9,
        error_code: text("unsupported-protocol"),
    };
    check(
        &error,
        sv2_setup_connection_error_decode,
        sv2_setup_connection_error_encode,
    );
    let changed = ChannelEndpointChanged { channel_id: 7 };
    check(
        &changed,
        sv2_channel_endpoint_changed_decode,
        sv2_channel_endpoint_changed_encode,
    );
    let reconnect = Reconnect {
        new_host: text("a"),
        new_port: 1,
    };
    check(&reconnect, sv2_reconnect_decode, sv2_reconnect_encode);
}

#[cfg(feature = "template-provider")]
#[test]
fn sequences_of_transactions() {
    use template_distribution_sv2::RequestTransactionDataSuccess;

    let transactions = [&[1u8; 300][..], &[], &[2; 5]];
    let list: Vec<_> = transactions
        .iter()
        .map(|bytes| (*bytes).try_into().unwrap())
        .collect();
    let message = RequestTransactionDataSuccess {
        template_id: u64::MAX,
        excess_data: [3u8; 2][..].try_into().unwrap(),
        transaction_list: list.try_into().unwrap(),
    };
    check(
        &message,
        sv2_request_transaction_data_success_decode,
        sv2_request_transaction_data_success_encode,
    );
}

#[cfg(feature = "miner")]
#[test]
fn sequences_of_numbers_and_hashes() {
    use binary_sv2::U256;
    use mining_sv2::{NewExtendedMiningJob, SetGroupChannel};

    let group = SetGroupChannel {
        group_channel_id: 1,
        channel_ids: vec![7, u32::MAX, 0].try_into().unwrap(),
    };
    check(
        &group,
        sv2_set_group_channel_decode,
        sv2_set_group_channel_encode,
    );
    for min_ntime in [None, Some(5)] {
        let job = NewExtendedMiningJob {
            channel_id: 1,
            job_id: 2,
            min_ntime,
            version: 3,
            version_rolling_allowed: true,
            merkle_path: vec![U256([4; 32]), U256([5; 32])].try_into().unwrap(),
            coinbase_tx_prefix: [6u8; 70][..].try_into().unwrap(),
            coinbase_tx_suffix: [7u8; 300][..].try_into().unwrap(),
        };
        check(
            &job,
            sv2_new_extended_mining_job_decode,
            sv2_new_extended_mining_job_encode,
        );
    }
}

/// The frames that the C decoder makes of a stream in pieces, as message number and payload.
fn frames(pieces: &[Vec<u8>]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut decoder = null_mut();
    // SAFETY: all pointers lead to locals; a payload is copied before the next call.
    unsafe {
        assert_eq!(
            sv2_decoder_new(SV2_MAX_PAYLOAD_LEN, &raw mut decoder),
            SV2_OK
        );
        for piece in pieces {
            let mut rest = &piece[..];
            loop {
                let mut taken = 0;
                let result = sv2_decoder_feed(decoder, rest.as_ptr(), rest.len(), &raw mut taken);
                assert_eq!(result, SV2_OK);
                rest = &rest[taken..];
                let mut frame = MaybeUninit::<sv2_frame>::uninit();
                while sv2_decoder_next(decoder, frame.as_mut_ptr(), null_mut()) == SV2_OK {
                    let frame = frame.assume_init();
                    let payload = std::slice::from_raw_parts(frame.payload.data, frame.payload.len);
                    found.push((frame.msg_type, payload.to_vec()));
                }
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
    assert_eq!(sv2_decoder_free(decoder), SV2_OK);
    assert_eq!(sv2_decoder_free(decoder), SV2_FREED);
    found
}

proptest! {
    #[test]
    fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..400)) {
        let results = [
            there_and_back(&payload, sv2_setup_connection_decode, sv2_setup_connection_encode),
            there_and_back(&payload, sv2_reconnect_decode, sv2_reconnect_encode),
            #[cfg(feature = "template-provider")]
            there_and_back(&payload, sv2_new_template_decode, sv2_new_template_encode),
            #[cfg(feature = "template-provider")]
            there_and_back(
                &payload,
                sv2_request_transaction_data_success_decode,
                sv2_request_transaction_data_success_encode,
            ),
            #[cfg(feature = "miner")]
            there_and_back(&payload, sv2_set_group_channel_decode, sv2_set_group_channel_encode),
            #[cfg(feature = "miner")]
            there_and_back(&payload, sv2_set_custom_mining_job_decode, sv2_set_custom_mining_job_encode),
        ];
        for result in results {
            match result {
                Ok(frame) => prop_assert!(frame.len() <= 6 + payload.len()),
                Err(result) => {
                    prop_assert!(matches!(result, SV2_MISSING_BYTES | SV2_LENGTH_ABOVE_MAX));
                }
            }
        }
    }

    #[test]
    fn a_stream_is_cut_as_the_codec_cuts_it(
        pieces in prop::collection::vec(prop::collection::vec(0u8..4, 0..3_000), 0..6),
    ) {
        let mut expected = Vec::new();
        let mut decoder: StandardSv2Decoder = StandardSv2Decoder::plain();
        decoder.set_max_payload_len(SV2_MAX_PAYLOAD_LEN as usize);
        for piece in &pieces {
            let mut rest = &piece[..];
            loop {
                rest = &rest[decoder.feed(rest)..];
                while let Ok(Decoded::Frame(frame)) = decoder.next_frame() {
                    expected.push((frame.header().msg_type(), frame.payload().to_vec()));
                }
                if rest.is_empty() {
                    break;
                }
            }
        }
        prop_assert_eq!(frames(&pieces), expected);
    }
}

#[test]
fn null_is_a_result_wherever_it_stands() {
    let payload = [0; 4];
    let mut changed = MaybeUninit::uninit();
    let message = sv2_channel_endpoint_changed { channel_id: 1 };
    let (mut buffer, mut len) = ([0; 32], 0);
    // SAFETY: pointers lead to locals or are null.
    let results = unsafe {
        [
            sv2_channel_endpoint_changed_decode(payload.as_ptr(), 4, null_mut()),
            sv2_channel_endpoint_changed_decode(null(), 4, changed.as_mut_ptr()),
            sv2_channel_endpoint_changed_encode(null(), buffer.as_mut_ptr(), 32, &raw mut len),
            sv2_channel_endpoint_changed_encode(&raw const message, null_mut(), 32, &raw mut len),
            sv2_channel_endpoint_changed_encode(
                &raw const message,
                buffer.as_mut_ptr(),
                32,
                null_mut(),
            ),
            sv2_decoder_new(1, null_mut()),
            sv2_decoder_next(null_mut(), MaybeUninit::uninit().as_mut_ptr(), null_mut()),
            sv2_decoder_free(null_mut()),
            sv2_environment_check(null()),
        ]
    };
    assert_eq!(results, [SV2_NULL; 9]);
}

#[test]
fn a_second_init_is_refused_and_the_first_may_bring_nothing() {
    // SAFETY: null is allowed with the standard library.
    let results = unsafe { [sv2_init(null()), sv2_init(null())] };
    assert_eq!(results, [SV2_OK, SV2_ALREADY_INITIALISED]);
}
