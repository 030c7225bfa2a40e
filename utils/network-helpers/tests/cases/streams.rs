//! Streams that behave as the tests need them, on any runtime.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use network_helpers_sv2::runtime::Io;

/// A stream that takes everything and remembers the length of each write.
#[derive(Clone, Default)]
pub(crate) struct Counting(Rc<RefCell<Vec<usize>>>);

impl Counting {
    pub(crate) fn writes(&self) -> Vec<usize> {
        self.0.borrow().clone()
    }
}

impl<R> Io<R> for Counting {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream that takes what it is given and holds it until it is flushed, as TLS may.
pub(crate) struct Holding<S> {
    below: S,
    held: Vec<u8>,
}

impl<S> Holding<S> {
    pub(crate) const fn new(below: S) -> Self {
        Self {
            below,
            held: Vec::new(),
        }
    }
}

impl<R, S: Io<R>> Io<R> for Holding<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        self.below.poll_read(cx, room)
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let len = ready!(self.below.poll_write(cx, &self.held))?;
            self.held.drain(..len);
        }
        self.below.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.below.poll_close(cx)
    }
}
