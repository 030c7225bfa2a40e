//! A program without the standard library that shakes hands over Noise and passes a share through it.
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
use mining_sv2::{MiningMessage, SubmitSharesStandard};
use noise_sv2::{
    AuthoritySecretKey, Certificate, DEFAULT_CLOCK_ALLOWANCE_SECS, EphemeralKey, Initiator,
    Responder, StaticKey, Transport, sealed_payload_len,
};
use {
    buffer_sv2 as _, codec_sv2 as _, common_messages_sv2 as _, const_sv2 as _, extensions_sv2 as _,
    framing_sv2 as _, job_declaration_sv2 as _, template_distribution_sv2 as _,
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
    c_int::from(share_over_noise().is_none())
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
