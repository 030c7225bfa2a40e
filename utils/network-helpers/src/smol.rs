//! Connections on smol. The names are those of [`tokio`](crate::tokio), and what stands there holds here.
//!
//! The feature is called `async_std`: the crate of that name is discontinued, and its authors point to smol.
//!
//! A connection needs no executor of its own: it runs wherever it is polled, while the reactor of `async-io`, which any of
//! smol's ways to block drives, wakes it. Only [`split`] starts a task, on smol's global executor.
//!
//! ```
//! use network_helpers_sv2::smol::{accept_lines, connect_lines};
//! use network_helpers_sv2::{LineOptions, Wake};
//!
//! # smol::block_on(async {
//! let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
//! let endpoint = listener.local_addr()?.to_string().parse()?;
//! let accepting = async {
//!     let (stream, _) = listener.accept().await?;
//!     accept_lines(stream, None, LineOptions::server()).await
//! };
//! let connecting = connect_lines(&endpoint, None, LineOptions::client());
//! let (miner, server) = smol::future::zip(connecting, accepting).await;
//! let (mut miner, mut server) = (miner?, server?);
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

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use framing_sv2::Sv2Frame;
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::io::{AsyncRead, AsyncWrite};
use smol::lock::{Semaphore, SemaphoreGuardArc};
use smol::net::{TcpStream, resolve};
use socket2::SockRef;

use crate::CloseReason;
use crate::api::api_of_runtime;
use crate::halves::{Incoming, Outgoing, Place, relay};
use crate::runtime::{First, Io, Runtime, Sleep, Tcp, race};
use crate::tcp::Sealed;
use crate::tls::{Layer, end_without_notice};

api_of_runtime!(Smol, TcpStream);

/// The runtime of the crate `smol`, and of any executor beside the reactor of `async-io`.
#[derive(Clone, Copy, Debug)]
pub enum Smol {}

impl Runtime for Smol {
    type Instant = Instant;
    type Sleep = SmolSleep;

    fn now() -> Instant {
        Instant::now()
    }

    fn sleep_until(deadline: Instant) -> SmolSleep {
        SmolSleep {
            timer: Timer::at(deadline),
            deadline,
        }
    }
}

/// A timer of smol.
#[derive(Debug)]
pub struct SmolSleep {
    timer: Timer,
    deadline: Instant,
}

impl Future for SmolSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.timer).poll(cx));
        Poll::Ready(())
    }
}

impl Sleep for SmolSleep {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn reset(&mut self, deadline: Instant) {
        self.timer.set_at(deadline);
        self.deadline = deadline;
    }
}

/// Any stream of bytes in both directions: TCP, or memory in tests.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<Smol> for S {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(self), cx, room)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(self), cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(Pin::new(self), cx)
    }
}

impl Sealed for TcpStream {}

impl Tcp for TcpStream {
    type Runtime = Smol;
    type Tls = TlsStream<Self>;

    async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        resolve((host, port)).await
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
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
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

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Layer::Plain(stream) => Pin::new(stream).poll_close(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

/// Sends frames. When all clones are dropped, what is queued is sent and the connection closed.
pub type FrameSender = Sender<Sv2Frame<'static>>;

/// A frame, and the place that it takes in the queue until it is received.
type Placed = (Sv2Frame<'static>, SemaphoreGuardArc);

/// Receives frames. When it is dropped the connection is closed.
#[derive(Debug)]
pub struct FrameReceiver {
    frames: Receiver<Placed>,
    end: Receiver<CloseReason>,
    /// Nothing is sent here: the task hears of it when it is dropped.
    _is_here: Sender<Infallible>,
}

impl FrameReceiver {
    /// The next frame. Cancel safe until the end is given.
    ///
    /// # Errors
    /// The reason the connection ended for, after its last frame; [`CloseReason::Finished`] when asked again.
    pub async fn recv(&mut self) -> Result<Sv2Frame<'static>, CloseReason> {
        match self.frames.recv().await {
            Ok((frame, _)) => Ok(frame),
            Err(_) => Err(self.end.recv().await.unwrap_or(CloseReason::Finished)),
        }
    }
}

/// Gives the connection to a task of smol's global executor, behind two queues of `queue_len` frames each. While the
/// receiver's queue is full nothing is read, so the peer has to wait.
pub fn split<S: Stream + Send + 'static>(
    mut connection: Connection<S>,
    queue_len: usize,
) -> (FrameSender, FrameReceiver) {
    let (sender, outgoing) = bounded(queue_len.max(1));
    let (to_receiver, frames) = bounded(queue_len.max(1));
    let (is_here, receiver) = bounded(1);
    let (end_sender, end) = bounded(1);
    let mut outgoing = FromSender(outgoing);
    let incoming = ToReceiver {
        frames: to_receiver,
        places: Arc::new(Semaphore::new(queue_len.max(1))),
        receiver,
    };
    smol::spawn(async move {
        let reason = relay(&mut connection, &mut outgoing, &incoming).await;
        drop((outgoing, incoming));
        let _ = end_sender.try_send(reason);
        drop(end_sender);
        connection.close().await;
    })
    .detach();
    let receiver = FrameReceiver {
        frames,
        end,
        _is_here: is_here,
    };
    (sender, receiver)
}

struct FromSender(Receiver<Sv2Frame<'static>>);

impl Outgoing for FromSender {
    async fn next(&mut self) -> Option<Sv2Frame<'static>> {
        self.0.recv().await.ok()
    }
}

/// The queue to the receiver. Its places are counted apart, as its own channel cannot keep one for a frame to come.
struct ToReceiver {
    frames: Sender<Placed>,
    places: Arc<Semaphore>,
    receiver: Receiver<Infallible>,
}

impl Incoming for ToReceiver {
    type Place<'q> = PlaceAtReceiver<'q>;

    async fn place(&self) -> Option<PlaceAtReceiver<'_>> {
        match race(self.gone(), self.places.acquire_arc()).await {
            First::Left(()) => None,
            First::Right(place) => Some(PlaceAtReceiver {
                frames: &self.frames,
                place,
            }),
        }
    }

    async fn gone(&self) {
        let _ = self.receiver.recv().await;
    }
}

struct PlaceAtReceiver<'q> {
    frames: &'q Sender<Placed>,
    place: SemaphoreGuardArc,
}

impl Place for PlaceAtReceiver<'_> {
    fn put(self, frame: Sv2Frame<'static>) {
        // It is not full, as there is a place; and where the receiver is gone, the next place says so.
        let _ = self.frames.try_send((frame, self.place));
    }
}
