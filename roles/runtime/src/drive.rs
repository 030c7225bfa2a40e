//! Running the rules of a connection that speaks frames.

use std::future::Future;

use framing_sv2::Sv2Frame;
use network_helpers_sv2::{CloseReason, Connection, Stream, Wake};
use roles_logic_sv2::clock::{Instant, Now};

use crate::SystemClock;
use crate::driven::{Driven, run};

/// The rules of one connection without I/O: four verbs, and the contract that all of them keep.
///
/// * Inputs are `handle_*` calls: frames and timers here, whatever else a role knows in methods of its own. Each takes
///   the time; none waits, sends, logs or fails: what follows from an input are outputs.
/// * After any number of inputs the caller takes outputs until there are none, in order, before it waits.
/// * Then it waits until [`Core::poll_timeout`] or the next input. `handle_timeout` at or after that moment moves it
///   into the future, or removes it; called earlier it does nothing.
/// * The same inputs give the same outputs.
///
/// A role implements it for its core, or for a newtype around it.
pub trait Core {
    /// What the core asks for: frames to send, the connection's end, entries to persist, blocks to submit.
    type Output;

    /// Takes a frame from the peer. Whatever stands in it, the answer is an output.
    fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now);

    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Now);

    /// The next thing the core asks for, each once.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When [`Core::handle_timeout`] is due, as things are now.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What connects a core with the rest of the program: its other inputs, and the places its outputs go to.
pub trait Shell<C: Core> {
    /// Waits until there is something to deliver: new work, a command, a confirmation. Never returns where there are no
    /// such inputs. Cancel safe: it is dropped and called again for every frame.
    fn changed(&mut self) -> impl Future<Output = ()>;

    /// Hands everything that has changed to the core.
    fn deliver(&mut self, core: &mut C, now: Now);

    /// Carries out one output: queues a frame on `connection`, or hands it to where it belongs without waiting. What
    /// has no place there is the role's to decide: tell the core, or end the connection with
    /// [`CloseReason::Overloaded`].
    ///
    /// # Errors
    /// The reason to end the connection, after what is queued has been sent.
    fn output<S: Stream>(
        &mut self,
        output: C::Output,
        core: &mut C,
        connection: &mut Connection<S>,
    ) -> Result<(), CloseReason>;
}

/// Runs `core` on `connection` until it ends, sends what is still queued, and gives the reason, to be counted.
///
/// All frames of a read are handled before the outputs are taken, and all messages that come of them leave in one write.
pub async fn drive<C: Core, S: Stream>(
    core: &mut C,
    shell: &mut impl Shell<C>,
    connection: Connection<S>,
    clock: SystemClock,
) -> CloseReason {
    let mut driven = Frames {
        core,
        shell,
        connection,
    };
    let Err(reason) = run(&mut driven, clock).await;
    let connection = driven.connection;
    // In a box, as its state would otherwise be part of every task that drives a connection.
    if !connection.is_all_sent() && reason != CloseReason::SlowConsumer {
        Box::pin(connection.close()).await;
    }
    reason
}

struct Frames<'a, C, H, S> {
    core: &'a mut C,
    shell: &'a mut H,
    connection: Connection<S>,
}

impl<C: Core, H: Shell<C>, S: Stream> Driven for Frames<'_, C, H, S> {
    fn carry_out(&mut self) -> Result<(), CloseReason> {
        while let Some(output) = self.core.poll_output() {
            let connection = &mut self.connection;
            self.shell.output(output, self.core, connection)?;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    fn waits(
        &mut self,
        until: Option<tokio::time::Instant>,
    ) -> (
        impl Future<Output = ()>,
        impl Future<Output = Result<Wake, CloseReason>>,
    ) {
        (self.shell.changed(), self.connection.ready(until))
    }

    fn deliver(&mut self, now: Now) {
        self.shell.deliver(self.core, now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.core.handle_timeout(now);
    }

    fn handle_input(&mut self, now: Now) -> Result<(), CloseReason> {
        while let Some(frame) = self.connection.next_frame()? {
            self.core.handle_frame(frame, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use network_helpers_sv2::{ClientSecurity, Options, ServerSecurity};
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::{mpsc, watch};

    use super::*;

    /// Answers each batch of frames with their number, and every ten seconds of silence with a frame 0.
    #[derive(Default)]
    struct Counter {
        batch: u8,
        outputs: VecDeque<Out>,
        due: Option<Instant>,
    }

    enum Out {
        Send(u8),
        Report(u8),
        Close,
    }

    const SILENCE: Duration = Duration::from_secs(10);

    impl Core for Counter {
        type Output = Out;

        fn handle_frame(&mut self, frame: Sv2Frame<'_>, now: Now) {
            self.due = Some(now.instant + SILENCE);
            match frame.header().msg_type() {
                0 => self.outputs.extend([Out::Send(99), Out::Close]),
                _ => self.batch += 1,
            }
        }

        fn handle_timeout(&mut self, now: Now) {
            if self.due.is_some_and(|due| due <= now.instant) {
                self.outputs.push_back(Out::Send(0));
                self.due = Some(now.instant + SILENCE);
            }
        }

        fn poll_output(&mut self) -> Option<Out> {
            if self.batch > 0 {
                let batch = std::mem::take(&mut self.batch);
                self.outputs.extend([Out::Send(batch), Out::Report(batch)]);
            }
            self.outputs.pop_front()
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.due
        }
    }

    struct TestShell {
        work: watch::Receiver<u8>,
        reports: mpsc::Sender<u8>,
    }

    impl Shell<Counter> for TestShell {
        async fn changed(&mut self) {
            if self.work.changed().await.is_err() {
                std::future::pending().await
            }
        }

        fn deliver(&mut self, core: &mut Counter, _: Now) {
            let work = *self.work.borrow_and_update();
            core.outputs.push_back(Out::Send(work));
        }

        fn output<S: Stream>(
            &mut self,
            output: Out,
            _: &mut Counter,
            connection: &mut Connection<S>,
        ) -> Result<(), CloseReason> {
            match output {
                Out::Send(number) => connection.queue_raw(0, number, &[]),
                Out::Report(count) => {
                    let sent = self.reports.try_send(count);
                    sent.map_err(|_| CloseReason::Overloaded)
                }
                Out::Close => Err(CloseReason::Protocol),
            }
        }
    }

    struct Scene {
        client: Connection<DuplexStream>,
        work: watch::Sender<u8>,
        reports: mpsc::Receiver<u8>,
        driven: tokio::task::JoinHandle<CloseReason>,
    }

    async fn scene() -> Scene {
        let (near, far) = duplex(1024);
        let options = Options::default();
        let client = Connection::client(near, &ClientSecurity::Plain, options).await;
        let server = Connection::server(far, &ServerSecurity::Plain, options).await;
        let (work, work_receiver) = watch::channel(0);
        let (report_sender, reports) = mpsc::channel(2);
        let driven = tokio::spawn(async move {
            let mut shell = TestShell {
                work: work_receiver,
                reports: report_sender,
            };
            let clock = SystemClock::new();
            drive(&mut Counter::default(), &mut shell, server.unwrap(), clock).await
        });
        Scene {
            client: client.unwrap(),
            work,
            reports,
            driven,
        }
    }

    impl Scene {
        async fn send(&mut self, numbers: &[u8]) {
            for number in numbers {
                self.client.queue_raw(0, *number, &[]).unwrap();
            }
            self.client.flush().await.unwrap();
        }

        async fn next(&mut self) -> Result<u8, CloseReason> {
            loop {
                if let Some(frame) = self.client.next_frame()? {
                    return Ok(frame.header().msg_type());
                }
                self.client.ready(None).await?;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_handled_whole_before_the_outputs() {
        let mut scene = scene().await;
        scene.send(&[1; 40]).await;
        assert_eq!(scene.next().await, Ok(40));
        assert_eq!(scene.reports.recv().await, Some(40));
    }

    #[tokio::test(start_paused = true)]
    async fn timers_and_changes_reach_the_core() {
        let mut scene = scene().await;
        let start = tokio::time::Instant::now();
        scene.send(&[1]).await;
        assert_eq!(scene.next().await, Ok(1));
        assert_eq!(scene.next().await, Ok(0));
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());
        scene.work.send(77).unwrap();
        assert_eq!(scene.next().await, Ok(77));
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_closes_has_its_last_word() {
        let mut scene = scene().await;
        scene.send(&[0]).await;
        assert_eq!(scene.next().await, Ok(99));
        assert_eq!(scene.next().await, Err(CloseReason::PeerClosed));
        drop(scene.client);
        assert_eq!(scene.driven.await.unwrap(), CloseReason::Protocol);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shell_may_end_the_connection() {
        let mut scene = scene().await;
        for batch in 1..=3 {
            scene.send(&[1]).await;
            assert_eq!(scene.next().await, Ok(1), "{batch}");
        }
        assert_eq!(scene.driven.await.unwrap(), CloseReason::Overloaded);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_the_connection_is_passed_on() {
        let scene = scene().await;
        drop(scene.client);
        assert_eq!(scene.driven.await.unwrap(), CloseReason::PeerClosed);
    }
}
