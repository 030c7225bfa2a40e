//! A connection as two queues, for programs that want a task to do the rest: what that task does on any runtime.

use std::convert::Infallible;
use std::future::{Future, pending};

use framing_sv2::Sv2Frame;

use crate::CloseReason;
use crate::runtime::{Connection, First, Io, Runtime, race};

/// Frames that a queue holds unless told otherwise: a full one makes the sender wait.
pub const DEFAULT_QUEUE_LEN: usize = 32;

/// The queue of frames to be sent, where they come out.
pub(crate) trait Outgoing {
    /// The next frame; `None` when there will be none. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<Sv2Frame<'static>>> + Send;
}

/// The queue of frames that were received, where they go in.
pub(crate) trait Incoming {
    /// A place for one frame.
    type Place<'q>: Place
    where
        Self: 'q;

    /// Waits for a place; `None` when the receiver is gone. Cancel safe.
    fn place(&self) -> impl Future<Output = Option<Self::Place<'_>>> + Send;

    /// Waits until the receiver is gone.
    fn gone(&self) -> impl Future<Output = ()> + Send;
}

/// A place in a queue, kept for one frame.
pub(crate) trait Place {
    /// Fills it.
    fn put(self, frame: Sv2Frame<'static>);
}

/// Moves frames between a connection and its queues until one of the three ends.
pub(crate) async fn relay<S: Io<R>, R: Runtime>(
    connection: &mut Connection<S, R>,
    outgoing: &mut impl Outgoing,
    incoming: &impl Incoming,
) -> CloseReason {
    let Err(reason) = relay_all(connection, outgoing, incoming).await;
    reason
}

async fn relay_all<S: Io<R>, R: Runtime>(
    connection: &mut Connection<S, R>,
    outgoing: &mut impl Outgoing,
    incoming: &impl Incoming,
) -> Result<Infallible, CloseReason> {
    loop {
        // Each direction is asked first in turn, so that neither can starve the other.
        match race(outgoing.next(), receive(connection, incoming)).await {
            First::Left(frame) => queue(connection, frame)?,
            First::Right(received) => received?,
        }
        match race(receive(connection, incoming), outgoing.next()).await {
            First::Left(received) => received?,
            First::Right(frame) => queue(connection, frame)?,
        }
    }
}

fn queue<S: Io<R>, R: Runtime>(
    connection: &mut Connection<S, R>,
    frame: Option<Sv2Frame<'static>>,
) -> Result<(), CloseReason> {
    connection.queue_frame(&frame.ok_or(CloseReason::Finished)?)
}

/// Moves one frame from the connection to the queue. Cancel safe: a frame is taken only when it has a place.
async fn receive<S: Io<R>, R: Runtime>(
    connection: &mut Connection<S, R>,
    incoming: &impl Incoming,
) -> Result<(), CloseReason> {
    let place = match race(incoming.place(), broken(connection)).await {
        First::Left(place) => place.ok_or(CloseReason::Finished)?,
        First::Right(reason) => return Err(reason),
    };
    loop {
        if let Some(frame) = connection.next_frame()? {
            place.put(frame.into_owned());
            return Ok(());
        }
        match race(connection.ready(None), incoming.gone()).await {
            First::Left(wake) => wake?,
            First::Right(()) => return Err(CloseReason::Finished),
        };
    }
}

/// Sends what is queued, and waits for the connection to break meanwhile.
async fn broken<S: Io<R>, R: Runtime>(connection: &mut Connection<S, R>) -> CloseReason {
    match connection.flush().await {
        Ok(()) => pending().await,
        Err(reason) => reason,
    }
}
