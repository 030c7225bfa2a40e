//! What connections need of a runtime, and the connections themselves for any runtime.
//!
//! A runtime is a type that implements [`Runtime`]: its clock and its timers. [`Io`] says how one of its streams moves
//! bytes. Everything else, from the handshake to the limits, is written once for all of them. `tokio::Tokio`
//! and `smol::Smol` are there with the features of this crate. Another one brings its clock, its timer and its streams, and
//! has [`Connection`] and [`LineConnection`] with the same handshakes, rules and limits; without a feature that is what
//! this crate does, and it opens no socket itself.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use crate::connection::Connection;
pub use crate::line_connection::LineConnection;
pub use crate::sniff::sniff;
pub use crate::tcp::{Tcp, accept, accept_lines, connect, connect_lines};
pub use crate::tls::MaybeTls;

/// The clock and the timers of a runtime.
pub trait Runtime: 'static {
    /// A moment as the runtime says it: its own type where its clock can be set in tests.
    type Instant: Copy + Into<Instant>;

    /// A timer.
    type Sleep: Sleep;

    /// The moment by the runtime's clock.
    fn now() -> Instant;

    /// A timer that strikes at `deadline`.
    fn sleep_until(deadline: Instant) -> Self::Sleep;

    /// What `future` gives, or `None` when it takes longer than `limit`.
    fn timeout<F: Future>(
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<Self, F> {
        async move {
            // A deadline that no clock reaches is none.
            let Some(deadline) = Self::now().checked_add(limit) else {
                return Some(future.await);
            };
            match race(future, Self::sleep_until(deadline)).await {
                First::Left(output) => Some(output),
                First::Right(()) => None,
            }
        }
    }
}

/// A timer that can be set again.
pub trait Sleep: Future<Output = ()> + Unpin {
    /// When it strikes.
    fn deadline(&self) -> Instant;

    /// Lets it strike at `deadline` instead, also where it has struck before.
    fn reset(&mut self, deadline: Instant);
}

/// A stream of bytes in both directions on the runtime `R`: TCP, or memory in tests.
///
/// Every type with the traits of a runtime that a feature brings has it.
pub trait Io<R>: Unpin {
    /// Reads into `room` and gives how many bytes; 0 at the end of the stream.
    ///
    /// # Errors
    /// The stream's.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Takes the first of `bytes` and gives how many.
    ///
    /// # Errors
    /// The stream's.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends what was taken and held back.
    ///
    /// # Errors
    /// The stream's.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends what was held back and says that nothing more comes.
    ///
    /// # Errors
    /// The stream's.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Reads once; 0 at the end of the stream.
pub(crate) async fn read<R, S: Io<R>>(stream: &mut S, room: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, room)).await
}

/// Fills `room`.
pub(crate) async fn read_exact<R, S: Io<R>>(stream: &mut S, room: &mut [u8]) -> io::Result<()> {
    let mut len = 0;
    while let Some(rest @ [_, ..]) = room.get_mut(len..) {
        match read(stream, rest).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => len += read,
        }
    }
    Ok(())
}

/// Writes all `bytes`, and leaves none of them in the stream.
pub(crate) async fn write_all<R, S: Io<R>>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    let mut len = 0;
    while let Some(rest @ [_, ..]) = bytes.get(len..) {
        match poll_fn(|cx| stream.poll_write(cx, rest)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => len += written,
        }
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

/// Which of two was ready first.
pub(crate) enum First<A, B> {
    Left(A),
    Right(B),
}

/// What is ready first, the left one when both are; the other is dropped.
pub(crate) async fn race<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|cx| match left.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(First::Left(output)),
        Poll::Pending => right.as_mut().poll(cx).map(First::Right),
    })
    .await
}
