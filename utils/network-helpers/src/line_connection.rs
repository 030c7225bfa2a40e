//! A connection that speaks lines, after its handshake if it has one.

use std::future::poll_fn;
use std::time::Duration;

use buffer_sv2::{Append, Buffer};
use sv1_api::line::{LineTooLong, Lines, MAX_MINER_LINE_BYTES, MAX_SERVER_LINE_BYTES};

use crate::runtime::{Io, Runtime};
use crate::wire::{Inbox, Limits, Wire};
use crate::{
    CloseReason, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_OUTBOUND_LEN,
    DEFAULT_STALL_TIMEOUT, Wake,
};

/// Bytes of memory taken for a read: a few dozen shares, or a job; it goes back when the lines are taken.
const READ_LEN: usize = 8 * 1024;

/// The limits of a connection that speaks lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineOptions {
    /// Time for a TLS handshake where there is one.
    pub handshake_timeout: Duration,
    /// Bytes of a line, its end not included. A longer one is skipped to its end, and told once.
    pub max_line_len: usize,
    /// Time without a received byte; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Time in which the peer must take some of the bytes that wait for it.
    pub stall_timeout: Duration,
    /// Bytes that may wait for a peer that does not read. A single line may be longer.
    pub max_outbound_len: usize,
}

impl LineOptions {
    /// The limits of a server for its miners: lines of [`MAX_MINER_LINE_BYTES`] at most.
    pub const fn server() -> Self {
        Self {
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            max_line_len: MAX_MINER_LINE_BYTES,
            idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            max_outbound_len: DEFAULT_MAX_OUTBOUND_LEN,
        }
    }

    /// The limits of a client for its server: lines of [`MAX_SERVER_LINE_BYTES`] at most.
    pub const fn client() -> Self {
        Self {
            max_line_len: MAX_SERVER_LINE_BYTES,
            ..Self::server()
        }
    }
}

impl Default for LineOptions {
    /// As [`LineOptions::server`], whose limits are the lower ones.
    fn default() -> Self {
        Self::server()
    }
}

/// A connection that speaks lines of text, as Stratum V1 does, over the stream `S` on the runtime `R`.
///
/// Everything that fails gives the [`CloseReason`]; drop the connection then, or let [`LineConnection::close`] send what
/// is still queued. While nothing is under way it holds no buffers.
pub struct LineConnection<S, R: Runtime> {
    wire: Wire<S, R>,
    inbox: LineInbox,
}

impl<S: Io<R>, R: Runtime> LineConnection<S, R> {
    /// A connection on a stream that is open, TLS handshake included.
    pub fn new(stream: S, options: LineOptions) -> Self {
        let limits = Limits {
            idle_timeout: options.idle_timeout,
            stall_timeout: options.stall_timeout,
            max_outbound_len: options.max_outbound_len,
        };
        Self {
            wire: Wire::new(stream, limits),
            inbox: LineInbox {
                buffer: Buffer::default(),
                given_out: 0,
                lines: Lines::new(options.max_line_len),
            },
        }
    }

    /// Waits until bytes have arrived or `until` has passed, and meanwhile writes what is queued: one write for all of
    /// it where the peer keeps up. Cancel safe.
    ///
    /// # Errors
    /// The reason the connection has ended for, [`CloseReason::Idle`] and [`CloseReason::SlowConsumer`] among them;
    /// [`CloseReason::Truncated`] when it ended in the middle of a line.
    pub async fn ready(&mut self, until: Option<R::Instant>) -> Result<Wake, CloseReason> {
        let until = until.map(Into::into);
        poll_fn(|cx| self.wire.poll_ready(cx, until, &mut self.inbox)).await
    }

    /// The next line that has arrived whole, without its end and the blanks around it; `None` when there is none, so
    /// wait again. It lies in the connection's memory until the next call.
    ///
    /// A line that is too long is told as soon as that is known, and passed over; the lines behind it follow.
    pub fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        self.inbox.next_line()
    }

    /// Queues a line, or several, the last of which ends with `\n` as well.
    ///
    /// # Errors
    /// [`CloseReason::SlowConsumer`] when too many bytes wait already and the peer takes none;
    /// [`CloseReason::Unsendable`] when the end of the line is missing.
    pub fn queue(&mut self, line: &str) -> Result<(), CloseReason> {
        if !line.ends_with('\n') {
            return Err(CloseReason::Unsendable);
        }
        let outbound = self.wire.room_for(line.len())?;
        outbound.append(line.len()).copy_from_slice(line.as_bytes());
        Ok(())
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
        self.inbox.buffer.capacity() + self.inbox.lines.held() + self.wire.buffered()
    }

    /// Writes everything that is queued. Cancel safe.
    ///
    /// # Errors
    /// [`CloseReason::SlowConsumer`] when the peer stops taking it, or the reason the connection broke.
    pub async fn flush(&mut self) -> Result<(), CloseReason> {
        self.wire.flush().await
    }

    /// Sends what is queued, waits for the peer to close its side as well, both for [`LINGER`](crate::LINGER) at most,
    /// and ends the connection. What the peer still sends is read and ignored.
    pub async fn close(self) {
        self.wire.close().await;
    }

    /// The stream underneath, for its address.
    pub const fn stream(&self) -> &S {
        self.wire.stream()
    }
}

struct LineInbox {
    buffer: Buffer,
    /// Bytes at the front of the buffer that are taken, the line given out last among them.
    given_out: usize,
    lines: Lines,
}

impl LineInbox {
    fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        self.drop_given_out();
        let mut input = self.buffer.filled();
        let len = input.len();
        let line = self.lines.next_line(&mut input);
        self.given_out = len - input.len();
        line
    }

    fn drop_given_out(&mut self) {
        self.buffer.consume(std::mem::take(&mut self.given_out));
        self.buffer.release();
    }
}

impl Inbox for LineInbox {
    fn writable(&mut self) -> &mut [u8] {
        self.drop_given_out();
        if !self.buffer.is_empty() {
            return &mut [];
        }
        self.buffer.reserve(READ_LEN);
        self.buffer.spare_mut()
    }

    fn advance(&mut self, len: usize) {
        self.buffer.advance(len);
        self.buffer.release();
    }

    fn is_complete(&self) -> bool {
        self.lines.is_between_lines()
    }
}
