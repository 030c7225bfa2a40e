//! A stream of bytes in, frames out.

use buffer_sv2::SystemPool;
use codec_sv2::{DecodeError, Decoded, FrameDecoder, Plain};

use crate::boundary::boundary;
use crate::handle::{Kind, Object, borrow, create, free};
use crate::platform::initialised;
use crate::pointer::{Out, addresses, apart, bytes, check_bytes};
use crate::result::{
    Fault, SV2_NEED_BYTES, SV2_NO_MEMORY, SV2_PANIC, SV2_PAYLOAD_TOO_LONG, sv2_result,
};
use crate::view::sv2_bytes;

/// Turns the bytes of a connection without encryption, cut in any way, into frames.
///
/// It holds no memory while no byte waits, and never more than twice what has arrived or 8 KiB, whichever is more. What a frame merely
/// announces takes none.
pub struct sv2_decoder(FrameDecoder<Plain, SystemPool>);

impl Object for sv2_decoder {
    const KIND: Kind = Kind::Decoder;
}

/// A frame: what its header says, and its payload.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sv2_frame {
    /// Number of the extension, without the channel bit; 0 for the messages of this header.
    pub extension: u16,
    /// Number of the message within its extension, such as `SV2_MSG_SETUP_CONNECTION`.
    pub msg_type: u8,
    /// 1 when the channel bit is set, which says that the payload begins with a channel's number, otherwise 0.
    pub is_channel_message: u8,
    /// The message's fields and what follows them.
    pub payload: sv2_bytes,
}

/// Makes a decoder that accepts payloads of up to `max_payload_len` bytes, and writes its handle to `decoder`.
///
/// The caller frees it with `sv2_decoder_free`. `SV2_NO_MEMORY` and `SV2_TOO_MANY_HANDLES` leave nothing to free.
///
/// # Safety
/// `decoder` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_decoder_new(
    max_payload_len: u32,
    decoder: *mut *mut sv2_decoder,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(decoder) }?;
        initialised()?;
        let max = usize::try_from(max_payload_len).unwrap_or(usize::MAX);
        out.write(create(sv2_decoder(FrameDecoder::new(
            Plain, SystemPool, max,
        )))?);
        Ok(())
    })
}

/// Copies bytes that arrived into the decoder, and writes how many it took to `taken`: all, or fewer when a whole frame waits.
///
/// Call it until all are taken, and after each call `sv2_decoder_next` until it gives `SV2_NEED_BYTES`. The payload of the frame given last
/// is gone afterwards. `SV2_NO_MEMORY` takes none and changes nothing: the call may be repeated when there is memory again.
/// `SV2_PAYLOAD_TOO_LONG` when the stream was given up before.
///
/// # Safety
/// `data` leads to `len` bytes unless it is NULL or they are 0; `taken` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_decoder_feed(
    decoder: *mut sv2_decoder,
    data: *const u8,
    len: usize,
    taken: *mut usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let taken = unsafe { Out::new(taken) }?;
        check_bytes(data, len)?;
        apart(&taken.addresses(), &addresses(data, len))?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data, len) }?;
        let mut decoder = borrow(decoder)?;
        if let Some(error) = decoder.0.error() {
            return Err(error.into());
        }
        let count = decoder
            .0
            .try_feed(bytes)
            .map_err(|_| Fault(SV2_NO_MEMORY))?;
        taken.write(count);
        Ok(())
    })
}

/// Writes the next frame to `frame`. Its payload belongs to the decoder and is there until the next call with this handle.
///
/// `SV2_NEED_BYTES` when no whole frame is there: `missing`, which may be NULL, is then the least number of bytes to feed before there is
/// more to say. `SV2_PAYLOAD_TOO_LONG` at a frame that announces too much: the stream has lost its frames, so the
/// decoder says the same for ever.
///
/// # Safety
/// `frame` and `missing` are NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_decoder_next(
    decoder: *mut sv2_decoder,
    frame: *mut sv2_frame,
    missing: *mut usize,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let frame = unsafe { Out::new(frame) }?;
        let missing = match missing.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { Out::new(missing) }?),
        };
        let mut decoder = borrow(decoder)?;
        match decoder.0.next_frame()? {
            Decoded::Frame(decoded) => {
                let header = decoded.header();
                frame.write(sv2_frame {
                    extension: header.extension(),
                    msg_type: header.msg_type(),
                    is_channel_message: u8::from(header.is_channel_message()),
                    payload: sv2_bytes::of(decoded.payload()),
                });
                Ok(())
            }
            Decoded::Missing(count) => {
                if let Some(missing) = missing {
                    missing.write(count);
                }
                Err(Fault(SV2_NEED_BYTES))
            }
        }
    })
}

/// Writes 1 to `is_between` when the stream may end here, 0 when a part of a frame or a frame that was not taken is left in the decoder.
///
/// Like every call with this handle it ends the life of the payload that `sv2_decoder_next` gave last.
///
/// # Safety
/// `is_between` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv2_decoder_is_between_frames(
    decoder: *mut sv2_decoder,
    is_between: *mut u8,
) -> sv2_result {
    boundary(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new(is_between) }?;
        let decoder = borrow(decoder)?;
        out.write(u8::from(decoder.0.is_between_frames()));
        Ok(())
    })
}

/// Frees a decoder and the memory it holds. The handle and the payload it gave last are gone afterwards.
///
/// A second time gives `SV2_FREED`; a call from within one on the same handle `SV2_BUSY`.
#[unsafe(no_mangle)]
pub extern "C" fn sv2_decoder_free(decoder: *mut sv2_decoder) -> sv2_result {
    boundary(|| free(decoder))
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::PayloadTooLong { .. } => Self(SV2_PAYLOAD_TOO_LONG),
            // Frames in the clear fail in no other way.
            _ => Self(SV2_PANIC),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::tests::with_memory_for;

    /// A frame of 20 000 bytes in pieces of 100; gives what the decoder holds in the end.
    fn walk() -> Result<usize, Fault> {
        let mut decoder = sv2_decoder(FrameDecoder::new(Plain, SystemPool, 20_000));
        let feed = |decoder: &mut sv2_decoder, bytes: &[u8]| {
            let taken = decoder.0.try_feed(bytes);
            taken.map_err(|_| Fault(SV2_NO_MEMORY))
        };
        feed(&mut decoder, &[0, 0, 0, 0x20, 0x4e, 0])?;
        for _ in 0..200 {
            assert!(matches!(decoder.0.next_frame(), Ok(Decoded::Missing(_))));
            feed(&mut decoder, &[7; 100])?;
        }
        Ok(decoder.0.capacity())
    }

    #[test]
    fn the_want_of_each_allocation_is_a_result() {
        let mut allowed = 0;
        while with_memory_for(allowed, walk) == Err(Fault(SV2_NO_MEMORY)) {
            allowed += 1;
        }
        assert!(allowed > 1, "{allowed}");
    }

    #[test]
    #[cfg(feature = "miner")]
    fn what_is_announced_takes_no_memory() {
        let announce = |max_payload_len| {
            let mut decoder = sv2_decoder(FrameDecoder::new(Plain, SystemPool, max_payload_len));
            decoder.0.try_feed(&[0, 0, 0, 0xff, 0xff, 0xff]).unwrap();
            assert_eq!(decoder.0.next_frame(), Ok(Decoded::Missing(0xff_ffff)));
            decoder.0.try_feed(&[0; 10]).unwrap();
        };
        let peak = crate::memory::tests::peak_of(|_| announce(0xff_ffff));
        assert!(peak <= codec_sv2::READ_LEN, "{peak}");
    }
}
