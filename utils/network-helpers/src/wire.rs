//! What connections of both protocols have in common: one stream, the bytes that wait to be written, and the deadlines.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use buffer_sv2::Buffer;
use tracing::debug;

use crate::runtime::{Io, Runtime, read};
use crate::timer::Timer;
use crate::{CloseReason, LINGER, Wake};

/// Where bytes that were read go.
pub(crate) trait Inbox {
    /// Memory to read into; empty while what has arrived must be taken first.
    fn writable(&mut self) -> &mut [u8];

    /// Says that `len` bytes were read into [`Inbox::writable`]; 0 hands unused memory back.
    fn advance(&mut self, len: usize);

    /// Whether the stream may end here.
    fn is_complete(&self) -> bool;
}

/// The limits that a wire watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) stall_timeout: Duration,
    pub(crate) max_outbound_len: usize,
}

/// A stream that is written in as few writes as possible and watched for silence and stalls.
pub(crate) struct Wire<S, R: Runtime> {
    stream: S,
    outbound: Buffer,
    /// The stream may hold written bytes back, as TLS does.
    is_flushed: bool,
    limits: Limits,
    timer: Timer<R>,
    received_at: Instant,
    /// Since when the peer has taken nothing of what waits for it.
    stalled_since: Option<Instant>,
}

impl<S: Io<R>, R: Runtime> Wire<S, R> {
    pub(crate) fn new(stream: S, limits: Limits) -> Self {
        Self {
            stream,
            outbound: Buffer::default(),
            is_flushed: true,
            limits,
            timer: Timer::default(),
            received_at: R::now(),
            stalled_since: None,
        }
    }

    pub(crate) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Bytes that wait to be written.
    pub(crate) const fn outbound_len(&self) -> usize {
        self.outbound.len()
    }

    /// Whether everything queued has gone to the operating system.
    pub(crate) const fn is_all_sent(&self) -> bool {
        self.outbound.is_empty() && self.is_flushed
    }

    /// Bytes of buffer memory held at the moment.
    pub(crate) fn buffered(&self) -> usize {
        self.outbound.capacity()
    }

    /// Waits until `inbox` has got bytes or `until` has passed, and meanwhile writes what is queued. Cancel safe.
    pub(crate) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
        inbox: &mut impl Inbox,
    ) -> Poll<Result<Wake, CloseReason>> {
        if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
            return Poll::Ready(Err(reason));
        }
        if let Poll::Ready(read) = self.poll_read(cx, inbox) {
            return Poll::Ready(read.map(|()| Wake::Readable));
        }
        let idle = self.limits.idle_timeout;
        let idle = idle.and_then(|after| self.received_at.checked_add(after));
        let stalled = self.stall_deadline();
        let first = [until, idle, stalled].into_iter().flatten().min();
        ready!(self.timer.poll(cx, first));
        Poll::Ready(match first {
            first if first == until => Ok(Wake::Deadline),
            first if first == stalled => Err(CloseReason::SlowConsumer),
            _ => Err(CloseReason::Idle),
        })
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut impl Inbox,
    ) -> Poll<Result<(), CloseReason>> {
        let room = inbox.writable();
        if room.is_empty() {
            // Something whole waits, or the inbox has failed: its owner learns it from the inbox.
            return Poll::Ready(Ok(()));
        }
        let room_len = room.len();
        let polled = self.stream.poll_read(cx, room);
        let len = match &polled {
            Poll::Ready(Ok(len)) => (*len).min(room_len),
            _ => 0,
        };
        inbox.advance(len);
        ready!(polled)?;
        if len == 0 {
            return Poll::Ready(Err(match inbox.is_complete() {
                true => CloseReason::PeerClosed,
                false => CloseReason::Truncated,
            }));
        }
        self.received_at = R::now();
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is left to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        while !self.outbound.is_empty() {
            match self.stream.poll_write(cx, self.outbound.filled()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseReason::Io)),
                Poll::Ready(written) => {
                    self.outbound.consume(written?);
                    self.is_flushed = false;
                    self.stalled_since = None;
                }
                Poll::Pending => return self.stall(),
            }
        }
        self.outbound.release();
        if !self.is_flushed {
            match self.stream.poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return self.stall(),
            }
            self.is_flushed = true;
            self.stalled_since = None;
        }
        Poll::Ready(Ok(()))
    }

    fn stall(&mut self) -> Poll<Result<(), CloseReason>> {
        self.stalled_since.get_or_insert_with(R::now);
        Poll::Pending
    }

    fn stall_deadline(&self) -> Option<Instant> {
        self.stalled_since?.checked_add(self.limits.stall_timeout)
    }

    /// Where to append `len` bytes that are to be sent. Where too many wait already, what the peer takes at once is
    /// written; what then waits must leave room for `len` bytes, or be nothing.
    pub(crate) fn room_for(&mut self, len: usize) -> Result<&mut Buffer, CloseReason> {
        if self.is_over(len) {
            // The task is woken by the next wait, which writes again.
            let written = self.poll_write(&mut Context::from_waker(Waker::noop()));
            match written {
                Poll::Ready(result) => result?,
                Poll::Pending if self.is_over(len) => return Err(CloseReason::SlowConsumer),
                Poll::Pending => {}
            }
        }
        Ok(&mut self.outbound)
    }

    const fn is_over(&self, len: usize) -> bool {
        let waiting = self.outbound.len();
        waiting > 0 && waiting.saturating_add(len) > self.limits.max_outbound_len
    }

    /// Writes everything that is queued. Cancel safe.
    pub(crate) async fn flush(&mut self) -> Result<(), CloseReason> {
        poll_fn(|cx| {
            if let Poll::Ready(written) = self.poll_write(cx) {
                return Poll::Ready(written);
            }
            let deadline = self.stall_deadline();
            ready!(self.timer.poll(cx, deadline));
            Poll::Ready(Err(CloseReason::SlowConsumer))
        })
        .await
    }

    /// Sends what is queued, waits for the peer to close its side as well, both for [`LINGER`] at most, and ends the
    /// stream. What the peer still sends is read and ignored: unread bytes would make the operating system reset the
    /// connection, and the peer lose the last messages.
    pub(crate) async fn close(mut self) {
        let last = async {
            self.flush().await?;
            poll_fn(|cx| self.stream.poll_close(cx)).await?;
            let mut ignored = [0; 1024];
            while read(&mut self.stream, &mut ignored).await? > 0 {}
            Ok::<_, CloseReason>(())
        };
        if !matches!(R::timeout(LINGER, last).await, Some(Ok(()))) {
            debug!("the peer did not close its side");
        }
    }
}
