//! The decoders of plain and of sealed frames.

use buffer_sv2::{BufferPool, SlabPool, SlabShape, SystemPool};
use codec_sv2::{DecodeError, Decoded, Encoder, FrameDecoder, FrameEncoder, Open, Plain, READ_LEN};
use framing_sv2::Sv2Frame;
use noise_sv2::{CipherError, CipherState, DefaultCipher, Opener, SEALED_HEADER_LEN, Sealer};

// Low enough for the fuzzer to reach, high enough for payloads of several blocks.
const MAX_PAYLOAD_LEN: usize = 200_000;

const KEY: [u8; 32] = [7; 32];

fn opener() -> Opener {
    Opener::new(CipherState::<DefaultCipher>::new(&KEY))
}

/// All frames of a stream, and how it ends.
type Stream = (Vec<Sv2Frame<'static>>, Result<usize, DecodeError>);

fn decode<L: Open>(layer: L, wire: &[u8], step: usize) -> Stream {
    decode_in(layer, SystemPool, wire, step)
}

/// All frames in `wire`, fed `step` bytes at a time, and how the stream ends. Checks that memory is
/// bounded by what has arrived.
fn decode_in<L: Open, P: BufferPool>(layer: L, pool: P, wire: &[u8], step: usize) -> Stream {
    let mut decoder = FrameDecoder::new(layer, pool, MAX_PAYLOAD_LEN);
    let mut frames = Vec::new();
    let mut rest = wire;
    loop {
        match decoder.next_frame() {
            Ok(Decoded::Frame(frame)) => frames.push(frame.into_owned()),
            Ok(Decoded::Missing(missing)) if rest.is_empty() => return (frames, Ok(missing)),
            Ok(Decoded::Missing(missing)) => {
                assert!(missing > 0, "a frame is complete but is not given out");
                let taken = decoder.feed(&rest[..step.min(rest.len())]);
                assert!(taken > 0, "no room although bytes are missing");
                rest = &rest[taken..];
                let arrived = wire.len() - rest.len();
                let bound = (2 * arrived).max(READ_LEN).next_power_of_two();
                assert!(
                    decoder.capacity() <= bound,
                    "more memory than bytes account for"
                );
            }
            Err(error) => return (frames, Err(error)),
        }
    }
}

/// Any stream of plain bytes: the same frames however it is split and wherever memory comes from, and
/// encoding them gives the stream again.
pub(crate) fn frame_decoder(data: &[u8]) {
    let whole = decode(Plain, data, usize::MAX);
    let step = data.first().map_or(1, |byte| usize::from(*byte) + 1);
    assert_eq!(
        whole,
        decode(Plain, data, step),
        "frames depend on how the stream is split"
    );

    let pool = SlabPool::new(SlabShape::default()).expect("the default is within the limits");
    assert_eq!(
        whole,
        decode_in(Plain, pool.clone(), data, step),
        "frames depend on where memory comes from"
    );
    assert_eq!(
        pool.usage().in_use,
        0,
        "the decoder is gone, its memory is not"
    );

    let mut wire = Vec::new();
    for frame in &whole.0 {
        let encoded = Encoder::default().encode_frame(frame, &mut wire);
        assert_eq!(encoded, Ok(()), "a decoded frame cannot be encoded");
    }
    assert!(
        data.starts_with(&wire),
        "the frames are not those of the stream"
    );
}

/// Any stream of bytes where sealed frames are expected: never accepted.
pub(crate) fn noise_decoder(data: &[u8]) {
    let step = data.first().map_or(1, |byte| usize::from(*byte) + 1);
    let (frames, end) = decode(opener(), data, step);
    assert!(frames.is_empty(), "a frame nobody sealed is accepted");
    let expected = match SEALED_HEADER_LEN.checked_sub(data.len()) {
        Some(missing) if missing > 0 => Ok(missing),
        _ => Err(DecodeError::Cipher(CipherError::Authentication)),
    };
    assert_eq!(end, expected);
}

/// Sealed frames, one byte of which is changed: the frames before it arrive, then an error.
///
/// The first 4 bytes say where and how, the others are the frames.
pub(crate) fn noise_tampering(data: &[u8]) {
    let Some((&[at0, at1, at2, mask], data)) = data.split_first_chunk() else {
        return;
    };
    let (frames, _) = decode(Plain, data, usize::MAX);
    let mut encoder = FrameEncoder::new(Sealer::new(CipherState::<DefaultCipher>::new(&KEY)));
    let mut wire = Vec::new();
    for frame in &frames {
        let sealed = encoder.encode_frame(frame, &mut wire);
        assert_eq!(sealed, Ok(()), "a decoded frame cannot be sealed");
    }
    assert_eq!(decode(opener(), &wire, 1 + usize::from(at0)).0, frames);

    let at = u32::from_le_bytes([at0, at1, at2, 0]) as usize;
    let Some(byte) = wire.get_mut(at) else { return };
    *byte ^= mask;
    let (received, end) = decode(opener(), &wire, usize::MAX);
    assert_eq!(
        received,
        frames[..received.len()],
        "a changed frame is accepted"
    );
    assert_eq!(end.is_ok(), mask == 0);
}
