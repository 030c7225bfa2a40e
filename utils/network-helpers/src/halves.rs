//! A connection as two queues, for programs that want a task to do the rest.

use framing_sv2::Sv2Frame;
use tokio::sync::{mpsc, oneshot};

use crate::{CloseReason, Connection, Stream};

/// Frames that a queue holds unless told otherwise: a full one makes the sender wait.
pub const DEFAULT_QUEUE_LEN: usize = 32;

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
    tokio::spawn(async move {
        let Err(reason) = relay(&mut connection, outgoing, incoming).await;
        let _ = end_sender.send(reason);
        connection.close().await;
    });
    (sender, FrameReceiver { frames, end })
}

async fn relay<S: Stream>(
    connection: &mut Connection<S>,
    mut outgoing: mpsc::Receiver<Sv2Frame<'static>>,
    incoming: mpsc::Sender<Sv2Frame<'static>>,
) -> Result<std::convert::Infallible, CloseReason> {
    loop {
        tokio::select! {
            frame = outgoing.recv() => {
                let frame = frame.ok_or(CloseReason::Finished)?;
                connection.queue_frame(&frame)?;
            }
            received = receive(connection, &incoming) => received?,
        }
    }
}

/// Moves one frame from the connection to the queue. Cancel safe: a frame is taken only when it has a place.
async fn receive<S: Stream>(
    connection: &mut Connection<S>,
    incoming: &mpsc::Sender<Sv2Frame<'static>>,
) -> Result<(), CloseReason> {
    let place = tokio::select! {
        place = incoming.reserve() => place.map_err(|_| CloseReason::Finished)?,
        Err(reason) = connection.flush() => return Err(reason),
    };
    loop {
        if let Some(frame) = connection.next_frame()? {
            place.send(frame.into_owned());
            return Ok(());
        }
        tokio::select! {
            wake = connection.ready(None) => wake?,
            () = incoming.closed() => return Err(CloseReason::Finished),
        };
    }
}
