//! One connection, owned by one task.

use std::future::poll_fn;
use std::time::Duration;

use binary_sv2::{Encodable, Message};
use buffer_sv2::{Buffer, DefaultPool};
use codec_sv2::{
    ConnectionDecoder, ConnectionEncoder, DEFAULT_MAX_PAYLOAD_LEN, Decoded, EncodeError,
    FrameDecoder, FrameEncoder, MaybeOpener, MaybeSealer,
};
use const_sv2::MessageKind;
use framing_sv2::Sv2Frame;
use noise_sv2::Transport;
use tracing::debug;

use crate::CloseReason;
use crate::handshake::{self, ClientSecurity, Failure, ServerSecurity};
use crate::runtime::{Io, Runtime};
use crate::wire::{Inbox, Limits, Wire};

/// Time for a whole handshake unless told otherwise; then the connection ends with [`CloseReason::HandshakeTimeout`].
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a received byte unless told otherwise; then the connection ends with [`CloseReason::Idle`].
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Time in which the peer must take some of the bytes that wait for it unless told otherwise; then the connection ends
/// with [`CloseReason::SlowConsumer`].
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that may wait for a peer that does not read unless told otherwise; one frame more ends the connection with
/// [`CloseReason::SlowConsumer`].
pub const DEFAULT_MAX_OUTBOUND_LEN: usize = 256 * 1024;

/// Time in which the peer must take the last messages of a connection and close its side; then the connection is dropped.
pub const LINGER: Duration = Duration::from_secs(2);

/// The limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Time for a whole handshake.
    pub handshake_timeout: Duration,
    /// Time without a received byte; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Time in which the peer must take some of the bytes that wait for it.
    pub stall_timeout: Duration,
    /// Longest payload accepted, in bytes; refused by its header, before memory is taken.
    pub max_payload_len: usize,
    /// Bytes that may wait for a peer that does not read. A single frame may be longer.
    pub max_outbound_len: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            max_payload_len: DEFAULT_MAX_PAYLOAD_LEN,
            max_outbound_len: DEFAULT_MAX_OUTBOUND_LEN,
        }
    }
}

/// Why [`Connection::ready`] or [`LineConnection::ready`](crate::runtime::LineConnection::ready) returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Bytes have arrived: take frames or lines until there are none.
    Readable,
    /// The deadline has passed.
    Deadline,
}

/// A connection after its handshake: frames over the stream `S` on the runtime `R`.
///
/// Everything that fails gives the [`CloseReason`]; drop the connection then, or let [`Connection::close`] send what is
/// still queued.
pub struct Connection<S, R: Runtime> {
    wire: Wire<S, R>,
    // Boxed, as the ciphers are large and a task holds room for every move of its connection.
    decoder: Box<ConnectionDecoder>,
    encoder: Box<ConnectionEncoder>,
}

impl<S: Io<R>, R: Runtime> Connection<S, R> {
    /// Opens a connection as its client, on a stream that is connected.
    ///
    /// # Errors
    /// [`CloseReason`] when the handshake fails or takes too long.
    pub async fn client(
        stream: S,
        security: &ClientSecurity,
        options: Options,
    ) -> Result<Self, CloseReason> {
        let opened = Self::open_client(stream, security, options).await;
        opened.map_err(|failure| failure.reason())
    }

    /// Opens a connection as its server, on a stream that was accepted.
    ///
    /// # Errors
    /// [`CloseReason`] when the handshake fails or takes too long.
    pub async fn server(
        mut stream: S,
        security: &ServerSecurity,
        options: Options,
    ) -> Result<Self, CloseReason> {
        let transport = match security {
            ServerSecurity::Plain => None,
            // On the heap, so that the handshake's state does not stay in the memory of the connection's task.
            ServerSecurity::Noise(identity) => {
                let handshake = Box::pin(handshake::respond(&mut stream, identity));
                let done = R::timeout(options.handshake_timeout, handshake).await;
                let done = done.ok_or(CloseReason::HandshakeTimeout)?;
                Some(done.map_err(|failure| failure.reason())?)
            }
        };
        Ok(Self::established(stream, transport, options))
    }

    pub(crate) async fn open_client(
        mut stream: S,
        security: &ClientSecurity,
        options: Options,
    ) -> Result<Self, Failure> {
        let transport = match security {
            ClientSecurity::Plain => None,
            ClientSecurity::Noise { authority } => {
                let handshake = Box::pin(handshake::initiate(&mut stream, *authority));
                let done = R::timeout(options.handshake_timeout, handshake).await;
                Some(done.ok_or(Failure::Closed(CloseReason::HandshakeTimeout))??)
            }
        };
        Ok(Self::established(stream, transport, options))
    }

    fn established(stream: S, transport: Option<Transport>, options: Options) -> Self {
        let (sealer, opener) = match transport {
            Some(transport) => (transport.sealer.into(), transport.opener.into()),
            None => (MaybeSealer::default(), MaybeOpener::default()),
        };
        let limits = Limits {
            idle_timeout: options.idle_timeout,
            stall_timeout: options.stall_timeout,
            max_outbound_len: options.max_outbound_len,
        };
        Self {
            wire: Wire::new(stream, limits),
            decoder: Box::new(FrameDecoder::new(
                opener,
                DefaultPool::default(),
                options.max_payload_len,
            )),
            encoder: Box::new(FrameEncoder::new(sealer)),
        }
    }

    /// Waits until bytes have arrived or `until` has passed, and meanwhile writes what is queued: one write for all of
    /// it where the peer keeps up. Cancel safe.
    ///
    /// # Errors
    /// The reason the connection has ended for, [`CloseReason::Idle`] and [`CloseReason::SlowConsumer`] among them.
    pub async fn ready(&mut self, until: Option<R::Instant>) -> Result<Wake, CloseReason> {
        let until = until.map(Into::into);
        poll_fn(|cx| self.wire.poll_ready(cx, until, &mut *self.decoder)).await
    }

    /// The next frame that has arrived whole; `None` when there is none, so wait again. It lies in the connection's
    /// memory until the next call.
    ///
    /// # Errors
    /// [`CloseReason::PayloadTooLong`] or [`CloseReason::Undecryptable`], again on every further call.
    pub fn next_frame(&mut self) -> Result<Option<Sv2Frame<'_>>, CloseReason> {
        match self.decoder.next_frame() {
            Ok(Decoded::Frame(frame)) => Ok(Some(frame)),
            Ok(Decoded::Missing(_)) => Ok(None),
            Err(error) => {
                debug!(%error, "connection given up");
                Err(error.into())
            }
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`CloseReason::SlowConsumer`] when too many bytes wait already and the peer takes none;
    /// [`CloseReason::Unsendable`] when it cannot be encoded.
    pub fn queue<M: Message>(&mut self, message: &M) -> Result<(), CloseReason> {
        self.queue_as(&M::KIND, message, &[])
    }

    /// Queues a message whose kind is known at run time only, such as the enum of a sub-protocol, followed by TLV fields
    /// that are already encoded.
    ///
    /// # Errors
    /// As [`Connection::queue`].
    pub fn queue_as(
        &mut self,
        kind: &MessageKind,
        fields: &impl Encodable,
        tlv: &[u8],
    ) -> Result<(), CloseReason> {
        let payload_len = fields.encoded_len().saturating_add(tlv.len());
        self.queue_with(payload_len, |encoder, outbound| {
            encoder.encode_as(kind, fields, tlv, outbound)
        })
    }

    /// Queues a payload that is already encoded; `extension_type` includes the channel bit.
    ///
    /// # Errors
    /// As [`Connection::queue`].
    pub fn queue_raw(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
    ) -> Result<(), CloseReason> {
        self.queue_with(payload.len(), |encoder, outbound| {
            encoder.encode_raw(extension_type, msg_type, payload, outbound)
        })
    }

    /// Queues a frame as it is, for relays.
    ///
    /// # Errors
    /// As [`Connection::queue`].
    pub fn queue_frame(&mut self, frame: &Sv2Frame<'_>) -> Result<(), CloseReason> {
        self.queue_with(frame.payload().len(), |encoder, outbound| {
            encoder.encode_frame(frame, outbound)
        })
    }

    /// Queues what `encode` appends with the connection's encoder: a frame of about `payload_len` bytes, such as a
    /// prepared one in which two fields are set.
    ///
    /// # Errors
    /// As [`Connection::queue`].
    pub fn queue_with(
        &mut self,
        payload_len: usize,
        encode: impl FnOnce(&mut ConnectionEncoder, &mut Buffer) -> Result<(), EncodeError>,
    ) -> Result<(), CloseReason> {
        let len = self.encoder.frame_len(payload_len);
        let outbound = self.wire.room_for(len)?;
        encode(&mut self.encoder, outbound).map_err(|error| {
            debug!(%error, "own message not encoded");
            error.into()
        })
    }

    /// Bytes that wait to be written.
    pub const fn outbound_len(&self) -> usize {
        self.wire.outbound_len()
    }

    /// Whether everything queued has gone to the operating system.
    pub const fn is_all_sent(&self) -> bool {
        self.wire.is_all_sent()
    }

    /// Bytes of buffer memory held at the moment; 0 when nothing is under way.
    pub fn buffered(&self) -> usize {
        self.decoder.capacity() + self.wire.buffered()
    }

    /// Writes everything that is queued. Cancel safe.
    ///
    /// # Errors
    /// [`CloseReason::SlowConsumer`] when the peer stops taking it, or the reason the connection broke.
    pub async fn flush(&mut self) -> Result<(), CloseReason> {
        self.wire.flush().await
    }

    /// Sends what is queued, waits for the peer to close its side as well, both for [`LINGER`] at most, and ends the
    /// connection.
    ///
    /// What the peer still sends is read and ignored: unread bytes would make the operating system reset the connection,
    /// and the peer lose the last messages.
    pub async fn close(self) {
        self.wire.close().await;
    }

    /// The stream underneath, for its address.
    pub const fn stream(&self) -> &S {
        self.wire.stream()
    }
}

impl Inbox for ConnectionDecoder {
    fn writable(&mut self) -> &mut [u8] {
        self.writable()
    }

    fn advance(&mut self, len: usize) {
        self.advance(len);
    }

    fn is_complete(&self) -> bool {
        self.is_between_frames()
    }
}
