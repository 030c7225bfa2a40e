//! Mining as Sv1 has it. Lines, jobs and verdicts follow the rules of [`ClientSession`]; this decides what the connection is
//! for: one user, mined for until it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::{Instant, Now};
use sv1_api::client::{
    ClientConfig, ClientEnd, ClientEvent, ClientJob, ClientOutput, ClientSession, ShareCounts,
    SubmitError,
};
use sv1_api::line::LineTooLong;
use sv1_api::reject::RejectCounts;

use super::{End, News, Output, Rules, WORK_TIMEOUT, escaped};
use crate::task::{Task, sv1_share};
use crate::work::{FoundShare, WorkSource};

/// One connection of a miner to an Sv1 server.
#[derive(Debug)]
pub struct Sv1Miner {
    session: ClientSession,
    phase: Phase,
    /// The latest job, with when it came: shown to the threads once we are welcome.
    present: Option<(Arc<ClientJob>, Instant)>,
    /// When there must be work.
    work_deadline: Option<Instant>,
    next_roll: u32,
    outputs: VecDeque<Output<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    LoggingIn,
    Mining,
    Closed,
}

impl Sv1Miner {
    /// A connection that was just made; its first output is a line to send. Version and extranonce of the first job
    /// are rolled `first_roll` times, those of each further one once more: a session that is resumed then does not begin
    /// with headers that were hashed before, if `first_roll` is random.
    pub fn new(config: ClientConfig, first_roll: u32, now: Now) -> Self {
        let mut miner = Self {
            session: ClientSession::new(config, now),
            phase: Phase::LoggingIn,
            present: None,
            work_deadline: None,
            next_roll: first_roll,
            outputs: VecDeque::new(),
        };
        miner.take_outputs(now);
        miner
    }

    /// Takes a line of the server.
    pub fn handle_line(&mut self, line: &[u8], now: Now) {
        if self.phase != Phase::Closed {
            self.session.handle_line(line, now);
            self.take_outputs(now);
        }
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, line: LineTooLong) {
        self.session.handle_long_line(line);
    }

    fn take_outputs(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(line) => self.outputs.push_back(Output::Send(line)),
                ClientOutput::Event(event) => self.handle_event(event, now),
                ClientOutput::Close(end) => self.end(ended(end)),
            }
        }
    }

    fn handle_event(&mut self, event: ClientEvent, now: Now) {
        match event {
            ClientEvent::Authorized => {
                self.phase = Phase::Mining;
                self.work_deadline = Some(now.instant + WORK_TIMEOUT);
                self.tell(News::Welcome);
                self.assign();
            }
            ClientEvent::Work(job) => {
                // Given out again under other version bits it is no younger than it was.
                let former = self.present.take();
                let former = former.filter(|(former, _)| former.notify() == job.notify());
                let received_at = former.map_or(now.instant, |(_, received_at)| received_at);
                self.present = Some((job, received_at));
                self.assign();
            }
            ClientEvent::Accepted { .. } => self.tell(News::Acknowledged(1)),
            ClientEvent::Rejected { error, .. } => self.tell(News::Rejected {
                reason: escaped(&error.to_string()),
            }),
            ClientEvent::Message(text) => self.tell(News::Message(escaped(&text))),
        }
    }

    /// Lets the present job be hashed, once shares of it are taken.
    fn assign(&mut self) {
        if self.phase != Phase::Mining {
            return;
        }
        let Some((job, received_at)) = &self.present else {
            return;
        };
        let task = Task::sv1(Arc::clone(job), *received_at);
        let source = WorkSource::new(task, self.next_roll);
        self.next_roll = self.next_roll.wrapping_add(1);
        self.work_deadline = None;
        self.outputs.push_back(Output::Assign(Some(source)));
    }

    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::Tell(news));
    }

    /// Takes what a thread found.
    ///
    /// # Errors
    /// Why it is not submitted, for a counter: usually it was found on a job that a later one has just ended.
    pub fn handle_found(&mut self, share: &FoundShare, now: Now) -> Result<(), SubmitError> {
        let job = match &share.task {
            Task::Sv1 { job, .. } if self.phase == Phase::Mining => job,
            // Of another connection, or this one is over.
            _ => return Err(SubmitError::NotWorking),
        };
        self.session.submit(job, &sv1_share(&share.found()))?;
        self.take_outputs(now);
        Ok(())
    }

    /// Ends mining; there is nothing to say about it to the server.
    pub fn handle_stop(&mut self) {
        self.end(End::Stopped);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.phase == Phase::Closed {
            return;
        }
        self.session.handle_timeout(now);
        self.take_outputs(now);
        if self.work_deadline.is_some_and(|at| at <= now.instant) {
            self.end(End::NoWork);
        }
    }

    /// What to do next, in order.
    pub fn poll_output(&mut self) -> Option<Output<String>> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout();
        let due = session.into_iter().chain(self.work_deadline).min();
        due.filter(|_| self.phase != Phase::Closed)
    }

    /// The session that the next connection can resume, as the server names it.
    pub fn session(&self) -> Option<&str> {
        self.session.session()
    }

    /// What became of the shares.
    pub const fn counts(&self) -> &ShareCounts {
        self.session.counts()
    }

    /// Lines of the server that changed nothing, by reason.
    pub const fn rejected(&self) -> &RejectCounts {
        self.session.rejects()
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.outputs
                .extend([Output::Assign(None), Output::Close(end)]);
        }
    }
}

impl Rules for Sv1Miner {
    const CHECK: &'static str = "check user_identity, and that the server speaks Stratum V1 on this port; \
                                 with TLS it is stratum+ssl://, Stratum V2 is stratum2+tcp://";

    fn handle_find(&mut self, share: &FoundShare, now: Now) -> bool {
        self.handle_found(share, now).is_ok()
    }

    fn handle_stop(&mut self, _: Now) {
        self.handle_stop();
    }

    fn anomalies(&self) -> Vec<(String, u64)> {
        let rejects = self.rejected().iter();
        let rejects = rejects.map(|(reason, count)| (reason.text().to_owned(), count));
        let unanswered = (
            "share without an answer".to_owned(),
            self.counts().unanswered,
        );
        rejects.chain([unanswered]).collect()
    }
}

fn ended(end: ClientEnd) -> End {
    match end {
        ClientEnd::SubscribeRefused(error) => End::SubscribeRefused {
            reason: escaped(&error.to_string()),
        },
        ClientEnd::AuthorizeRefused(error) => End::AuthorizeRefused {
            reason: escaped(&error.to_string()),
        },
        ClientEnd::Reconnect(reconnect) => End::Reconnect {
            host: reconnect.host.unwrap_or_default(),
            port: reconnect.port.unwrap_or_default(),
            wait: Duration::from_secs(reconnect.wait_secs.unwrap_or_default().into()),
        },
        ClientEnd::Silent => End::Silent,
        // An end that is added later is named here when it is.
        _ => End::NoAnswer,
    }
}

#[cfg(test)]
mod tests;
