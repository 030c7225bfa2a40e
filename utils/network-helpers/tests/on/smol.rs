//! What the tests need of smol, under the names of [`tokio`](../tokio.rs)'s.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

pub(crate) use futures_rustls::TlsConnector;
pub(crate) use network_helpers_sv2::smol::{
    Connection, LineConnection, MaybeTls, Smol as Rt, accept, accept_lines, connect, connect_lines,
    sniff, split,
};
use smol::future::{or, zip};
pub(crate) use smol::io::{AsyncReadExt, AsyncWriteExt};
pub(crate) use smol::net::{TcpListener, TcpStream};
pub(crate) use std::time::Instant;

/// A second of the tests' deadlines, which have to pass.
pub(crate) const SECOND: Duration = Duration::from_millis(10);

/// What fails instead of waiting for ever.
const STUCK: Duration = Duration::from_secs(60);

/// Runs a test.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let stuck = async {
        smol::Timer::after(STUCK).await;
        panic!("the test is stuck");
    };
    smol::block_on(or(test, stuck))
}

/// Runs a test that waits for the operating system.
pub(crate) fn run_on_sockets<T>(test: impl Future<Output = T>) -> T {
    run(test)
}

/// Fails unless `expected` has passed since `start`. Without a clock of its own a test cannot say that nothing more has.
#[track_caller]
pub(crate) fn assert_took(start: Instant, expected: Duration) {
    assert!(start.elapsed() >= expected, "{:?}", start.elapsed());
}

/// Says that nothing more comes.
pub(crate) async fn end(stream: &mut TcpStream) -> io::Result<()> {
    stream.close().await
}

/// Copies in both directions until both have ended.
pub(crate) async fn copy_both(near: TcpStream, far: TcpStream) {
    let copy = async |from: TcpStream, mut to: TcpStream| {
        let _ = smol::io::copy(from, &mut to).await;
        let _ = end(&mut to).await;
    };
    zip(copy(near.clone(), far.clone()), copy(far, near)).await;
}

/// One end of a pipe of a certain length, which is tokio's with smol's traits: it needs no runtime.
pub(crate) struct Pipe(tokio::io::DuplexStream);

/// The two ends of a pipe that holds `len` bytes in each direction.
pub(crate) fn duplex(len: usize) -> (Pipe, Pipe) {
    let (near, far) = tokio::io::duplex(len);
    (Pipe(near), Pipe(far))
}

impl smol::io::AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = tokio::io::ReadBuf::new(buf);
        let stream = Pin::new(&mut self.0);
        ready!(tokio::io::AsyncRead::poll_read(stream, cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl smol::io::AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
