//! A program without the standard library that shakes hands over Noise, passes a share through it, and mines as a
//! device's firmware does.
//!
//! It links the C library for memory and nothing else, as firmware does with its own allocator: if one of the
//! libraries asked for `std`, its panic handler would clash with the one below. The exit code is 0 on success.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};

use binary_sv2::{Decodable, Encodable};
use common_messages_sv2::{CommonMessage, SetupConnectionSuccess};
use mining_sv2::{
    MiningMessage, NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, SetNewPrevHash,
    SubmitSharesStandard,
};
use noise_sv2::{
    AuthoritySecretKey, Certificate, DEFAULT_CLOCK_ALLOWANCE_SECS, EphemeralKey, Initiator,
    Responder, StaticKey, Transport, sealed_payload_len,
};
use roles_logic_sv2::channels::client::{ClientEvent, Found, OpenTerms};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::upstream::{UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms};
use {
    buffer_sv2 as _, codec_sv2 as _, const_sv2 as _, extensions_sv2 as _, framing_sv2 as _,
    job_declaration_sv2 as _, template_distribution_sv2 as _,
};

#[link(name = "c")]
unsafe extern "C" {
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn abort() -> !;
}

struct CAllocator;

// SAFETY: `aligned_alloc` gives null or memory of the asked size and alignment that nobody else holds until `free`.
// Its two demands are met: the alignment of a `Layout` is a power of two, raised to that of a pointer, and the size is
// rounded up to a multiple of it, which cannot overflow because a `Layout` rounded up to its alignment fits `isize`.
unsafe impl GlobalAlloc for CAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align().max(size_of::<usize>());
        // SAFETY: see the implementation.
        unsafe { aligned_alloc(align, layout.size().next_multiple_of(align)).cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: the caller hands back what `alloc` gave, once.
        unsafe { free(memory.cast()) }
    }
}

#[global_allocator]
static ALLOCATOR: CAllocator = CAllocator;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: `abort` takes nothing and does not come back.
    unsafe { abort() }
}

/// The C library's entry.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const u8) -> c_int {
    c_int::from(share_over_noise().is_none() || mine().is_none())
}

/// A share, sealed by a client and opened by its server; `None` when any step fails or the share is not the same.
fn share_over_noise() -> Option<()> {
    let (mut client, mut server) = shake_hands()?;
    let share = SubmitSharesStandard {
        channel_id: 1,
        sequence_number: 2,
        job_id: 3,
        nonce: 4,
        ntime: 5,
        version: 6,
    };
    let payload = share.to_vec();
    let header = [0, 0x80, 0x1a, u8::try_from(payload.len()).ok()?, 0, 0];

    let mut frame: Vec<u8> = header.into();
    frame.resize(noise_sv2::SEALED_HEADER_LEN, 0);
    frame.extend_from_slice(&payload);
    frame.resize(
        noise_sv2::SEALED_HEADER_LEN + sealed_payload_len(payload.len()),
        0,
    );
    client.sealer.seal_frame(&mut frame).ok()?;

    let (sealed_header, sealed_payload) = frame.split_first_chunk_mut()?;
    (server.opener.open_header(sealed_header).ok()? == header).then_some(())?;
    let len = server.opener.open_payload(sealed_payload).ok()?;
    let payload = sealed_payload.get(..len)?;
    let received = SubmitSharesStandard::from_bytes(payload).ok()?;
    let (through_serde, _) =
        serde_sv2::message_from_bytes::<MiningMessage<'_>>(0x1a, payload).ok()?;
    let written = serde_sv2::to_vec(&through_serde).ok()?;
    (received == share && through_serde == share.into() && written == payload).then_some(())
}

fn shake_hands() -> Option<(Transport, Transport)> {
    let now = 1_700_000_000;
    let authority = AuthoritySecretKey::from_bytes(&[1; 32]).ok()?;
    let server_key = StaticKey::new(&[2; 32], &[3; 32]).ok()?;
    let certificate = Certificate::issue(&authority, &server_key, now..=now + 3600, &[4; 32]);
    let (client, act1) = Initiator::new(
        Some(authority.public_key()),
        EphemeralKey::new(&[5; 32], &[6; 32]).ok()?,
    );
    let responder = Responder::new(&server_key, &certificate);
    let (server, act2) = responder
        .respond(&act1, EphemeralKey::new(&[7; 32], &[8; 32]).ok()?)
        .ok()?;
    let client = client
        .finish(&act2, now.into(), DEFAULT_CLOCK_ALLOWANCE_SECS)
        .ok()?;
    Some((client, server))
}

/// Sets a connection up, opens a channel, takes a job and hands in a share; `None` when any step fails.
fn mine() -> Option<()> {
    let now = Now::default();
    let mut session = UpstreamSession::new(UpstreamTerms::default(), now);
    matches!(session.poll_output()?, UpstreamOutput::Send(_)).then_some(())?;
    let answer = SetupConnectionSuccess {
        used_version: 2,
        flags: 0,
    };
    session.handle_message(&CommonMessage::from(answer).into(), now);
    matches!(
        session.poll_output()?,
        UpstreamOutput::Event(UpstreamEvent::Ready)
    )
    .then_some(())?;

    let terms = OpenTerms {
        nominal_hash_rate: 1e6,
        min_extranonce_size: 8,
        ..OpenTerms::default()
    };
    let user = "firmware".try_into().ok()?;
    let request_id = session.open_extended(user, terms, now).ok()?;
    for message in work_on_a_new_channel(request_id)? {
        session.handle_message(&message, now);
    }
    let mut is_work = false;
    while let Some(output) = session.poll_output() {
        is_work |= matches!(
            output,
            UpstreamOutput::Event(UpstreamEvent::Channel(ClientEvent::WorkChanged {
                channel_id: 7
            }))
        );
    }
    is_work.then_some(())?;

    let work = session.channels().work(7)?.clone();
    let mut found = Found {
        nonce: 0,
        ntime: work.min_ntime(),
        version: work.version(),
        extranonce: &[0; 8],
    };
    let mut header = work.header(&found)?;
    while !work.target().is_met_by(&header.hash()) {
        header.nonce = header.nonce.checked_add(1)?;
    }
    found.nonce = header.nonce;
    (session.submit(&work, &found, None, now).ok()? == 1).then_some(())?;
    matches!(session.poll_output()?, UpstreamOutput::Share(share) if share.message.nonce == found.nonce)
        .then_some(())
}

/// What a server sends for a request for an extended channel: the channel, a job, and a tip to start it on.
fn work_on_a_new_channel(request_id: u32) -> Option<[AnyMessage<'static>; 3]> {
    // About one in 16 hashes is a share.
    let mut target = [0xff; 32];
    target[31] = 0x0f;
    let opened = OpenExtendedMiningChannelSuccess {
        request_id,
        channel_id: 7,
        target: target.into(),
        extranonce_size: 8,
        extranonce_prefix: b"pool".as_slice().try_into().ok()?,
        group_channel_id: 1,
    };
    let job = NewExtendedMiningJob {
        channel_id: 7,
        job_id: 1,
        min_ntime: None,
        version: 0x2000_0000,
        version_rolling_allowed: true,
        merkle_path: Default::default(),
        coinbase_tx_prefix: [1; 60].as_slice().try_into().ok()?,
        coinbase_tx_suffix: [2; 60].as_slice().try_into().ok()?,
    };
    let tip = SetNewPrevHash {
        channel_id: 7,
        job_id: 1,
        prev_hash: [9; 32].into(),
        min_ntime: 1_700_000_000,
        nbits: 0x207f_ffff,
    };
    Some([
        MiningMessage::from(opened).into(),
        MiningMessage::from(binary_sv2::IntoOwned::into_owned(job)).into(),
        MiningMessage::from(tip).into(),
    ])
}
