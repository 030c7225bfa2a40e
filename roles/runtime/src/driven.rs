//! The loop that every connection runs, whatever it speaks.

use std::convert::Infallible;
use std::future::Future;

use network_helpers_sv2::{CloseReason, Wake};
use roles_logic_sv2::clock::{Instant, Now};

use crate::SystemClock;

/// A core with its shell and its connection.
pub(crate) trait Driven {
    /// Carries out everything that the core asks for.
    fn carry_out(&mut self) -> Result<(), CloseReason>;

    /// When the core's timeout is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What there is to wait for: a change in the program, and the connection. Both are cancel safe.
    fn waits(
        &mut self,
        until: Option<tokio::time::Instant>,
    ) -> (
        impl Future<Output = ()>,
        impl Future<Output = Result<Wake, CloseReason>>,
    );

    /// Hands everything that has changed to the core.
    fn deliver(&mut self, now: Now);

    /// Lets the core do what is due.
    fn handle_timeout(&mut self, now: Now);

    /// Hands everything that has arrived to the core.
    fn handle_input(&mut self, now: Now) -> Result<(), CloseReason>;
}

/// Runs until the connection ends, and gives the reason.
pub(crate) async fn run(
    driven: &mut impl Driven,
    clock: SystemClock,
) -> Result<Infallible, CloseReason> {
    loop {
        driven.carry_out()?;
        let until = driven.poll_timeout().and_then(|at| clock.deadline(at));
        let (changed, ready) = driven.waits(until);
        // Changes first: they are rare, and a peer that never pauses must not keep new work out.
        let wake = tokio::select! {
            biased;
            () = changed => None,
            wake = ready => Some(wake),
        };
        let now = clock.now();
        match wake {
            None => driven.deliver(now),
            Some(Ok(Wake::Deadline)) => driven.handle_timeout(now),
            Some(Ok(Wake::Readable)) => driven.handle_input(now)?,
            Some(Err(reason)) => return Err(reason),
        }
    }
}
