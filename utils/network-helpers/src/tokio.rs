//! Connections on tokio. All names but those of its traits stand at the root of the crate as well.
//!
//! ```
//! use network_helpers_sv2::tokio::LineConnection;
//! use network_helpers_sv2::{LineOptions, Wake};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let (near, far) = tokio::io::duplex(4096);
//! let mut miner = LineConnection::new(near, LineOptions::client());
//! let mut server = LineConnection::new(far, LineOptions::server());
//!
//! miner.queue("{\"id\":1}\n")?;
//! miner.flush().await?;
//! assert_eq!(server.ready(None).await?, Wake::Readable);
//! assert_eq!(server.next_line(), Some(Ok(&b"{\"id\":1}"[..])));
//! assert_eq!(server.next_line(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use framing_sv2::Sv2Frame;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::CloseReason;
use crate::api::api_of_runtime;
use crate::halves::{Incoming, Outgoing, Place, relay};
use crate::runtime::{Io, Runtime, Sleep, Tcp};
use crate::tcp::Sealed;
use crate::tls::{Layer, end_without_notice};

api_of_runtime!(Tokio, TcpStream);

/// The runtime of the crate `tokio`, with its time and, for sockets, its I/O enabled.
#[derive(Clone, Copy, Debug)]
pub enum Tokio {}

impl Runtime for Tokio {
    type Instant = tokio::time::Instant;
    type Sleep = TokioSleep;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(deadline: Instant) -> TokioSleep {
        TokioSleep(Box::pin(tokio::time::sleep_until(deadline.into())))
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}

/// A timer of tokio.
#[derive(Debug)]
pub struct TokioSleep(Pin<Box<tokio::time::Sleep>>);

impl Future for TokioSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for TokioSleep {
    fn deadline(&self) -> Instant {
        self.0.deadline().into_std()
    }

    fn reset(&mut self, deadline: Instant) {
        self.0.as_mut().reset(deadline.into());
    }
}

/// Any stream of bytes in both directions: TCP, or memory in tests.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<Tokio> for S {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        let polled = AsyncRead::poll_read(Pin::new(self), cx, &mut room);
        polled.map_ok(|()| room.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }
}

impl Sealed for TcpStream {}

impl Tcp for TcpStream {
    type Runtime = Tokio;
    type Tls = TlsStream<Self>;

    async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((host, port)).await?.collect())
    }

    async fn reach(address: SocketAddr) -> io::Result<Self> {
        Self::connect(address).await
    }

    async fn look(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.peek(bytes).await
    }

    fn socket(&self) -> SockRef<'_> {
        self.into()
    }

    async fn open_tls(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self::Tls> {
        let connecting = TlsConnector::from(config).connect(name, self);
        Ok(connecting.await?.into())
    }

    async fn accept_tls(self, config: Arc<ServerConfig>) -> io::Result<Self::Tls> {
        Ok(TlsAcceptor::from(config).accept(self).await?.into())
    }

    fn below(tls: &Self::Tls) -> &Self {
        tls.get_ref().0
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Layer::Tls(stream) => end_without_notice(Pin::new(stream).poll_read(cx, buf)),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Sends frames. When all clones are dropped, what is queued is sent and the connection closed.
pub type FrameSender = mpsc::Sender<Sv2Frame<'static>>;

/// Receives frames. When it is dropped the connection is closed.
#[derive(Debug)]
pub struct FrameReceiver {
    frames: mpsc::Receiver<Sv2Frame<'static>>,
    end: oneshot::Receiver<CloseReason>,
}

impl FrameReceiver {
    /// The next frame. Cancel safe until the end is given.
    ///
    /// # Errors
    /// The reason the connection ended for, after its last frame; [`CloseReason::Finished`] when asked again.
    pub async fn recv(&mut self) -> Result<Sv2Frame<'static>, CloseReason> {
        match self.frames.recv().await {
            Some(frame) => Ok(frame),
            None => Err((&mut self.end).await.unwrap_or(CloseReason::Finished)),
        }
    }
}

/// Gives the connection to a task of the current runtime, behind two queues of `queue_len` frames each. While the
/// receiver's queue is full nothing is read, so the peer has to wait.
pub fn split<S: Stream + Send + 'static>(
    mut connection: Connection<S>,
    queue_len: usize,
) -> (FrameSender, FrameReceiver) {
    let (sender, outgoing) = mpsc::channel(queue_len.max(1));
    let (incoming, frames) = mpsc::channel(queue_len.max(1));
    let (end_sender, end) = oneshot::channel();
    let (mut outgoing, incoming) = (FromSender(outgoing), ToReceiver(incoming));
    tokio::spawn(async move {
        let reason = relay(&mut connection, &mut outgoing, &incoming).await;
        drop((outgoing, incoming));
        let _ = end_sender.send(reason);
        connection.close().await;
    });
    (sender, FrameReceiver { frames, end })
}

struct FromSender(mpsc::Receiver<Sv2Frame<'static>>);

impl Outgoing for FromSender {
    async fn next(&mut self) -> Option<Sv2Frame<'static>> {
        self.0.recv().await
    }
}

struct ToReceiver(mpsc::Sender<Sv2Frame<'static>>);

impl Incoming for ToReceiver {
    type Place<'q> = mpsc::Permit<'q, Sv2Frame<'static>>;

    async fn place(&self) -> Option<Self::Place<'_>> {
        self.0.reserve().await.ok()
    }

    async fn gone(&self) {
        self.0.closed().await;
    }
}

impl Place for mpsc::Permit<'_, Sv2Frame<'static>> {
    fn put(self, frame: Sv2Frame<'static>) {
        self.send(frame);
    }
}
