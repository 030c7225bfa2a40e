//! Decoders, outputs and frames whose memory is a slab pool's, shared by threads.

use buffer_sv2::{Buffer, BufferPool, SlabPool, SlabStorage};
use framing_sv2::{Header, Sv2Frame};
#[cfg(feature = "noise_sv2")]
use noise_sv2::DefaultCipher;

#[cfg(feature = "noise_sv2")]
use crate::decoder::{ConnectionDecoder, StandardNoiseDecoder};
use crate::decoder::{DEFAULT_MAX_PAYLOAD_LEN, FrameDecoder, StandardSv2Decoder};
use crate::layer::Open;

/// A decoder of frames in the clear, with memory of a [`SlabPool`].
pub type PooledSv2Decoder = StandardSv2Decoder<SlabPool>;

/// A decoder of frames sealed by Noise, with memory of a [`SlabPool`].
#[cfg(feature = "noise_sv2")]
pub type PooledNoiseDecoder<C = DefaultCipher> = StandardNoiseDecoder<SlabPool, C>;

/// A decoder for a connection whose configuration says whether it is encrypted, with memory of a [`SlabPool`].
#[cfg(feature = "noise_sv2")]
pub type PooledConnectionDecoder<C = DefaultCipher> = ConnectionDecoder<SlabPool, C>;

/// An output that encoders append frames to, with memory of a [`SlabPool`].
pub type PooledOutput = Buffer<SlabPool>;

/// A decoder of what `layer` opens, with memory from `pool` and the default limit; all else is as with other pools.
///
/// ```
/// use buffer_sv2::{SlabPool, SlabShape};
/// use codec_sv2::{Decoded, Encoder, Plain, PooledFrame, pooled_decoder, pooled_output};
///
/// let pool = SlabPool::new(SlabShape::default())?;
/// let mut output = pooled_output(&pool);
/// Encoder::default().encode_raw(0x8000, 0x21, b"payload", &mut output)?;
///
/// let mut decoder = pooled_decoder(Plain, &pool);
/// decoder.feed(output.filled());
/// let Decoded::Frame(frame) = decoder.next_frame()? else { panic!("a frame has arrived") };
/// let kept = PooledFrame::copied(&frame, &pool);
/// drop(decoder);
/// assert_eq!(kept.frame().payload(), b"payload");
/// assert_eq!(pool.usage().in_use, 2, "the output and the frame");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pooled_decoder<L: Open>(layer: L, pool: &SlabPool) -> FrameDecoder<L, SlabPool> {
    FrameDecoder::new(layer, pool.clone(), DEFAULT_MAX_PAYLOAD_LEN)
}

/// An empty output with memory from `pool`; it holds none until the first frame.
pub fn pooled_output(pool: &SlabPool) -> PooledOutput {
    Buffer::new(pool.clone())
}

/// A frame that outlives the decoder it came from and may go to another thread: its payload lies in memory of a
/// [`SlabPool`], which gets it back in whatever order frames are dropped.
#[derive(Debug)]
pub struct PooledFrame {
    header: Header,
    storage: SlabStorage,
}

impl PooledFrame {
    /// A copy of `frame` in memory from `pool`.
    pub fn copied(frame: &Sv2Frame<'_>, pool: &SlabPool) -> Self {
        let payload = frame.payload();
        let mut storage = pool.take(payload.len());
        storage[..payload.len()].copy_from_slice(payload);
        Self {
            header: frame.header(),
            storage,
        }
    }

    /// The frame, as it came out of the decoder.
    pub fn frame(&self) -> Sv2Frame<'_> {
        let payload = &self.storage[..self.header.payload_len()];
        Sv2Frame::from_parts_unchecked(self.header, payload)
    }

    /// Whether the payload lies in the pool, and not in memory of the system's allocator.
    pub const fn is_pooled(&self) -> bool {
        self.storage.is_pooled()
    }
}
