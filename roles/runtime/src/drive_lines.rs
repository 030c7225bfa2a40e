//! Running the rules of a connection that speaks lines.

use std::future::Future;

use network_helpers_sv2::{CloseReason, LineConnection, LineTooLong, Stream, Wake};
use roles_logic_sv2::clock::{Instant, Now};

use crate::SystemClock;
use crate::driven::{Driven, run};

/// The rules of one connection that speaks lines, as [`Core`](crate::Core) is for frames: the same verbs, and the same
/// contract.
pub trait LineCore {
    /// What the core asks for: lines to send, the connection's end, shares to pass on.
    type Output;

    /// Takes a line from the peer, without its end. Whatever stands in it, the answer is an output.
    fn handle_line(&mut self, line: &[u8], now: Now);

    /// Learns that the peer sent a line that was too long and is passed over.
    fn handle_long_line(&mut self, error: LineTooLong, now: Now);

    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Now);

    /// The next thing the core asks for, each once.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When [`LineCore::handle_timeout`] is due, as things are now.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What connects a [`LineCore`] with the rest of the program, as [`Shell`](crate::Shell) does for frames.
pub trait LineShell<C: LineCore> {
    /// Waits until there is something to deliver: new work, a command, a confirmation. Never returns where there are no
    /// such inputs. Cancel safe: it is dropped and called again for every line.
    fn changed(&mut self) -> impl Future<Output = ()>;

    /// Hands everything that has changed to the core.
    fn deliver(&mut self, core: &mut C, now: Now);

    /// Carries out one output: queues a line on `connection`, or hands it to where it belongs without waiting.
    ///
    /// # Errors
    /// The reason to end the connection, after what is queued has been sent.
    fn output<S: Stream>(
        &mut self,
        output: C::Output,
        core: &mut C,
        connection: &mut LineConnection<S>,
    ) -> Result<(), CloseReason>;
}

/// Runs `core` on `connection` until it ends, sends what is still queued, and gives the reason, to be counted.
///
/// All lines of a read are handled before the outputs are taken, and all lines that come of them leave in one write.
pub async fn drive_lines<C: LineCore, S: Stream>(
    core: &mut C,
    shell: &mut impl LineShell<C>,
    connection: LineConnection<S>,
    clock: SystemClock,
) -> CloseReason {
    let mut driven = Lines {
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

struct Lines<'a, C, H, S> {
    core: &'a mut C,
    shell: &'a mut H,
    connection: LineConnection<S>,
}

impl<C: LineCore, H: LineShell<C>, S: Stream> Driven for Lines<'_, C, H, S> {
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
        while let Some(line) = self.connection.next_line() {
            match line {
                Ok(line) => self.core.handle_line(line, now),
                Err(error) => self.core.handle_long_line(error, now),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use network_helpers_sv2::LineOptions;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::watch;

    use super::*;

    /// Answers each batch of lines with what came, and every ten seconds of silence with `silence`.
    #[derive(Default)]
    struct Echo {
        batch: Vec<String>,
        outputs: VecDeque<Out>,
        due: Option<Instant>,
    }

    enum Out {
        Send(String),
        Close,
    }

    const SILENCE: Duration = Duration::from_secs(10);

    impl LineCore for Echo {
        type Output = Out;

        fn handle_line(&mut self, line: &[u8], now: Now) {
            self.due = Some(now.instant + SILENCE);
            match line {
                b"quit" => self.outputs.extend([Out::Send("bye".into()), Out::Close]),
                line => self.batch.push(String::from_utf8_lossy(line).into()),
            }
        }

        fn handle_long_line(&mut self, error: LineTooLong, _: Now) {
            self.batch.push(format!("over {}", error.limit));
        }

        fn handle_timeout(&mut self, now: Now) {
            if self.due.is_some_and(|due| due <= now.instant) {
                self.outputs.push_back(Out::Send("silence".into()));
                self.due = Some(now.instant + SILENCE);
            }
        }

        fn poll_output(&mut self) -> Option<Out> {
            if !self.batch.is_empty() {
                let batch = std::mem::take(&mut self.batch).join("+");
                self.outputs.push_back(Out::Send(batch));
            }
            self.outputs.pop_front()
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.due
        }
    }

    struct TestShell(watch::Receiver<&'static str>);

    impl LineShell<Echo> for TestShell {
        async fn changed(&mut self) {
            if self.0.changed().await.is_err() {
                std::future::pending().await
            }
        }

        fn deliver(&mut self, core: &mut Echo, _: Now) {
            let work = *self.0.borrow_and_update();
            core.outputs.push_back(Out::Send(work.into()));
        }

        fn output<S: Stream>(
            &mut self,
            output: Out,
            _: &mut Echo,
            connection: &mut LineConnection<S>,
        ) -> Result<(), CloseReason> {
            match output {
                Out::Send(line) => connection.queue(&format!("{line}\n")),
                Out::Close => Err(CloseReason::Protocol),
            }
        }
    }

    struct Scene {
        client: LineConnection<DuplexStream>,
        work: watch::Sender<&'static str>,
        driven: tokio::task::JoinHandle<CloseReason>,
    }

    impl Scene {
        fn new() -> Self {
            let (near, far) = duplex(1024);
            let options = LineOptions {
                max_line_len: 10,
                ..LineOptions::server()
            };
            let (work, receiver) = watch::channel("");
            let driven = tokio::spawn(async move {
                let server = LineConnection::new(far, options);
                let mut shell = TestShell(receiver);
                drive_lines(&mut Echo::default(), &mut shell, server, SystemClock::new()).await
            });
            Self {
                client: LineConnection::new(near, LineOptions::client()),
                work,
                driven,
            }
        }

        async fn send(&mut self, lines: &str) {
            self.client.queue(lines).unwrap();
            self.client.flush().await.unwrap();
        }

        async fn next(&mut self) -> Result<String, CloseReason> {
            loop {
                if let Some(line) = self.client.next_line() {
                    return Ok(String::from_utf8(line.unwrap().to_vec()).unwrap());
                }
                self.client.ready(None).await?;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_handled_whole_before_the_outputs() {
        let mut scene = Scene::new();
        scene.send("one\ntwo\n elevenandmore\nthree\n").await;
        assert_eq!(scene.next().await.unwrap(), "one+two+over 10+three");
    }

    #[tokio::test(start_paused = true)]
    async fn timers_and_changes_reach_the_core() {
        let mut scene = Scene::new();
        let start = tokio::time::Instant::now();
        scene.send("one\n").await;
        assert_eq!(scene.next().await.unwrap(), "one");
        assert_eq!(scene.next().await.unwrap(), "silence");
        assert_eq!(start.elapsed(), SILENCE);
        scene.work.send("work").unwrap();
        assert_eq!(scene.next().await.unwrap(), "work");
        assert_eq!(start.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_closes_has_its_last_word() {
        let mut scene = Scene::new();
        scene.send("quit\n").await;
        assert_eq!(scene.next().await.unwrap(), "bye");
        assert_eq!(scene.next().await, Err(CloseReason::PeerClosed));
        drop(scene.client);
        assert_eq!(scene.driven.await.unwrap(), CloseReason::Protocol);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_the_connection_is_passed_on() {
        let scene = Scene::new();
        drop(scene.client);
        assert_eq!(scene.driven.await.unwrap(), CloseReason::PeerClosed);
    }
}
