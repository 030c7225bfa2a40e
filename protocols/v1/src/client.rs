//! The miner's end of one connection to an Sv1 server.
//!
//! It configures, subscribes and authorizes one after the other, then follows jobs. A job is given out with all that is
//! hashed: what the server changes later counts for later jobs.
//!
//! Take all of [`ClientSession::poll_output`] after each call; the queue is not bounded otherwise.
//!
//! ```
//! use roles_logic_sv2::clock::Now;
//! use sv1_api::client::{ClientConfig, ClientOutput, ClientSession};
//!
//! let now = Now::default();
//! let mut miner = ClientSession::new(ClientConfig::new("pool.example.com", "alice.rig1"), now);
//! let Some(ClientOutput::Send(line)) = miner.poll_output() else { panic!() };
//! assert!(line.contains("mining.configure"));
//! miner.handle_line(br#"{"id": 1, "result": {"version-rolling": false}, "error": null}"#, now);
//! let Some(ClientOutput::Send(line)) = miner.poll_output() else { panic!() };
//! assert!(line.contains("mining.subscribe"));
//! ```

mod job;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::{Instant, Now};
use serde_json::{Value, json};

use crate::client_message::{
    Authorize, ClientMessage, Configure, SUBSCRIBE_EXTRANONCE, Submit, Subscribe, VERSION_ROLLING,
};
use crate::difficulty::Difficulty;
use crate::error::ErrorReply;
use crate::id::Id;
use crate::line::LineTooLong;
use crate::message::{Message, Request, Response, response_line};
use crate::reject::{self, Reject, RejectCounts};
use crate::server_message::{
    ConfigureReply, Notify, Outcome, Reconnect, ServerMessage, SetExtranonce, SubscribeReply,
};

pub use job::{ClientJob, FoundShare};

/// How long a server may take to answer `mining.configure`. Some never do: then nothing is rolled.
pub const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to answer `mining.subscribe` or `mining.authorize`; then the connection ends.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server may say nothing; then the connection ends.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// Requests that wait for an answer. One more pushes out the oldest, which then counts as unanswered.
pub const MAX_IN_FLIGHT: usize = 1_024;

/// What to mine for.
#[derive(Clone, PartialEq)]
pub struct ClientConfig {
    /// What we run, as the server is told.
    pub user_agent: String,
    /// Who mines.
    pub user: String,
    /// Options for the server, seldom a secret.
    pub password: String,
    /// Host that was connected to: only others of its domain may be reconnected to.
    pub host: String,
    /// Version bits that we can roll; with 0 nothing is configured.
    pub version_mask: u32,
    /// The difficulty to suggest.
    pub suggested_difficulty: Option<Difficulty>,
    /// Session to resume.
    pub session: Option<String>,
}

impl ClientConfig {
    /// The usual: all version bits, nothing suggested, nothing resumed.
    pub fn new(host: &str, user: &str) -> Self {
        Self {
            user_agent: concat!("stratum/", env!("CARGO_PKG_VERSION")).to_owned(),
            user: user.to_owned(),
            password: "x".to_owned(),
            host: host.to_owned(),
            version_mask: roles_logic_sv2::header::VERSION_ROLLING_MASK,
            suggested_difficulty: None,
            session: None,
        }
    }
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig")
            .field("user_agent", &self.user_agent)
            .field("user", &self.user)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What the shell or the owner is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientOutput {
    /// Send this line; its end is part of it.
    Send(String),
    /// Take note.
    Event(ClientEvent),
    /// Send what is queued, then close; nothing follows.
    Close(ClientEnd),
}

/// What a server did.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The server knows us now.
    Authorized,
    /// Hash this instead of what was hashed.
    Work(Arc<ClientJob>),
    /// A share counts.
    Accepted {
        /// What [`ClientSession::submit`] gave.
        submission: u64,
    },
    /// A share does not count.
    Rejected {
        /// What [`ClientSession::submit`] gave.
        submission: u64,
        /// Why.
        error: ErrorReply,
    },
    /// The server wants this shown.
    Message(String),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientEnd {
    /// No work for us.
    #[error("the server refuses the subscription: {0}")]
    SubscribeRefused(ErrorReply),
    /// The user is not welcome.
    #[error("the server refuses the user: {0}")]
    AuthorizeRefused(ErrorReply),
    /// Something was not answered.
    #[error("the server did not answer in time")]
    NoAnswer,
    /// Nothing came for long.
    #[error("the server has said nothing for too long")]
    Silent,
    /// Come again as this says.
    #[error("the server asks to reconnect")]
    Reconnect(Reconnect),
}

/// Why a share is not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The server has not accepted us, or the connection is over.
    #[error("not authorized")]
    NotWorking,
    /// A later job has ended this one.
    #[error("the job is stale")]
    Stale,
    /// The extranonce2 has not the job's size.
    #[error("extranonce2 has the wrong size")]
    BadExtranonceSize,
    /// Version bits changed that may not be.
    #[error("version bits outside the mask changed")]
    BadVersion,
}

/// What became of the shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareCounts {
    /// Handed in.
    pub submitted: u64,
    /// Accepted.
    pub accepted: u64,
    /// Rejected.
    pub rejected: u64,
    /// Forgotten without an answer.
    pub unanswered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Configuring,
    /// `is_bare` when the request was repeated without parameters.
    Subscribing {
        is_bare: bool,
    },
    Authorizing,
    Working,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Configure,
    Subscribe,
    Authorize,
    Share,
    /// The answer changes nothing.
    Other,
}

/// One connection to a server.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    phase: Phase,
    deadline: Option<Instant>,
    asked: VecDeque<(u64, Asked)>,
    next_id: u64,
    mask: u32,
    extranonce: Option<SetExtranonce>,
    session: Option<String>,
    difficulty: Difficulty,
    /// Counts the jobs that ended all earlier ones.
    generation: u64,
    job: Option<Arc<ClientJob>>,
    counts: ShareCounts,
    rejects: RejectCounts,
    outputs: VecDeque<ClientOutput>,
}

impl ClientSession {
    /// A connection that was just made; its first output is a line to send.
    pub fn new(config: ClientConfig, now: Now) -> Self {
        let mut session = Self {
            phase: Phase::Configuring,
            deadline: None,
            asked: VecDeque::new(),
            next_id: 1,
            mask: 0,
            extranonce: None,
            session: None,
            difficulty: Difficulty::ONE,
            generation: 0,
            job: None,
            counts: ShareCounts::default(),
            rejects: RejectCounts::default(),
            outputs: VecDeque::new(),
            config,
        };
        if session.config.version_mask == 0 {
            session.subscribe(false, now);
        } else {
            session.configure(now);
        }
        session
    }

    /// The session that can be resumed, as the server names it.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The version bits that may be rolled now.
    pub const fn version_mask(&self) -> u32 {
        self.mask
    }

    /// What became of the shares.
    pub const fn counts(&self) -> &ShareCounts {
        &self.counts
    }

    /// Lines that changed nothing, by reason.
    pub const fn rejects(&self) -> &RejectCounts {
        &self.rejects
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.deadline.is_none_or(|deadline| deadline > now.instant) {
            return;
        }
        match self.phase {
            Phase::Configuring => self.subscribe(false, now),
            Phase::Working => self.end(ClientEnd::Silent),
            _ => self.end(ClientEnd::NoAnswer),
        }
    }

    /// Takes one line of the server.
    pub fn handle_line(&mut self, line: &[u8], now: Now) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase == Phase::Working {
            self.deadline = Some(now.instant + SILENCE_TIMEOUT);
        }
        match Message::parse(line) {
            Ok(Message::Request(request)) => self.handle_request(&request),
            Ok(Message::Response(response)) => self.handle_response(&response, now),
            Err(error) => {
                if let Some(reason) = reject::of_message(error) {
                    self.rejects.add(reason);
                }
            }
        }
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, _: LineTooLong) {
        self.rejects.add(Reject::LineTooLong);
    }

    fn handle_request(&mut self, request: &Request<'_>) {
        let message = match ServerMessage::parse(request) {
            Ok(message) => message,
            Err(error) => {
                let (reason, reply) = reject::of_request(error);
                self.rejects.add(reason);
                if !request.id.is_null() {
                    self.send(response_line(&request.id, &Value::Null, Some(&reply)));
                }
                return;
            }
        };
        match message {
            ServerMessage::Notify(notify) => self.handle_job(notify),
            ServerMessage::SetDifficulty(difficulty) => self.difficulty = difficulty,
            ServerMessage::SetExtranonce(extranonce) => self.extranonce = Some(extranonce),
            ServerMessage::SetVersionMask(mask) => self.handle_mask(mask),
            ServerMessage::Reconnect(reconnect) => self.handle_reconnect(reconnect),
            ServerMessage::ShowMessage(text) => self.event(ClientEvent::Message(text)),
            ServerMessage::GetVersion => {
                let agent = json!(self.config.user_agent);
                self.send(response_line(&request.id, &agent, None));
            }
            ServerMessage::Ping => self.send(response_line(&request.id, &json!("pong"), None)),
            ServerMessage::Pong => {}
        }
    }

    fn handle_job(&mut self, notify: Notify) {
        let Some(extranonce) = self.extranonce.clone() else {
            return self.rejects.add(Reject::NotSubscribed);
        };
        // Some servers forget to say that a new block ends the jobs on the old one.
        let former = self.job.as_ref().map(|job| job.notify().prev_hash);
        if notify.clean_jobs || former != Some(notify.prev_hash) {
            self.generation += 1;
        }
        let job = ClientJob::new(
            notify,
            extranonce,
            self.difficulty,
            self.mask,
            self.generation,
        );
        let job = Arc::new(job);
        self.job = Some(job.clone());
        self.event(ClientEvent::Work(job));
    }

    /// Takes effect at once (BIP310): the present job is given out again under the new mask.
    fn handle_mask(&mut self, mask: u32) {
        self.mask = mask & self.config.version_mask;
        if let Some(job) = &self.job
            && job.version_mask() != self.mask
        {
            let job = Arc::new(job.with_version_mask(self.mask));
            self.job = Some(job.clone());
            self.event(ClientEvent::Work(job));
        }
    }

    fn handle_reconnect(&mut self, reconnect: Reconnect) {
        let host = reconnect.host.as_deref();
        if host.is_none_or(|host| is_same_site(host, &self.config.host)) {
            self.end(ClientEnd::Reconnect(reconnect));
        } else {
            // Sending hashrate elsewhere is what an attacker would do.
            self.rejects.add(Reject::NotSupported);
        }
    }

    fn handle_response(&mut self, response: &Response, now: Now) {
        let number = response.id.as_u64();
        let at = self.asked.iter().position(|(id, _)| Some(*id) == number);
        let Some((id, asked)) = at.and_then(|at| self.asked.remove(at)) else {
            return self.rejects.add(Reject::UnexpectedResponse);
        };
        match (asked, self.phase) {
            (Asked::Configure, _) => self.handle_configured(response, now),
            (Asked::Subscribe, Phase::Subscribing { is_bare }) => {
                self.handle_subscribed(response, is_bare, now);
            }
            (Asked::Authorize, Phase::Authorizing) => self.handle_authorized(response, now),
            (Asked::Share, _) => self.handle_verdict(id, response),
            _ => {}
        }
    }

    fn configure(&mut self, now: Now) {
        let message = ClientMessage::Configure(Configure {
            extensions: vec![VERSION_ROLLING.to_owned(), SUBSCRIBE_EXTRANONCE.to_owned()],
            version_rolling_mask: Some(self.config.version_mask),
            min_bit_count: Some(self.config.version_mask.count_ones().min(2)),
            ..Configure::default()
        });
        self.ask(&message, Asked::Configure);
        self.deadline = Some(now.instant + CONFIGURE_TIMEOUT);
    }

    fn handle_configured(&mut self, response: &Response, now: Now) {
        if let Ok(reply) = ConfigureReply::from_json(&response.result)
            && reply.outcome(VERSION_ROLLING) == Some(&Outcome::Yes)
        {
            let granted = reply.version_rolling_mask.unwrap_or(0);
            self.mask = granted & self.config.version_mask;
        }
        if self.phase == Phase::Configuring {
            self.subscribe(false, now);
        }
    }

    fn subscribe(&mut self, is_bare: bool, now: Now) {
        let message = if is_bare {
            Subscribe::default()
        } else {
            Subscribe {
                user_agent: Some(self.config.user_agent.clone()),
                session: self.config.session.clone(),
            }
        };
        self.ask(&ClientMessage::Subscribe(message), Asked::Subscribe);
        self.phase = Phase::Subscribing { is_bare };
        self.deadline = Some(now.instant + ANSWER_TIMEOUT);
    }

    fn handle_subscribed(&mut self, response: &Response, is_bare: bool, now: Now) {
        let reply = match (SubscribeReply::from_json(&response.result), is_bare) {
            (Ok(reply), _) if response.error.is_none() => reply,
            // Old servers do not take parameters.
            (_, false) => return self.subscribe(true, now),
            (Err(error), true) if response.error.is_none() => {
                let error = ErrorReply::new(crate::error::ErrorCode::OTHER, error.to_string());
                return self.end(ClientEnd::SubscribeRefused(error));
            }
            (_, true) => {
                let error = response
                    .refusal()
                    .unwrap_or_else(|| Reject::BadParams.reply());
                return self.end(ClientEnd::SubscribeRefused(error));
            }
        };
        self.session = reply.session().map(str::to_owned);
        self.extranonce = Some(reply.extranonce);
        let message = ClientMessage::Authorize(Authorize {
            user: self.config.user.clone(),
            password: Some(self.config.password.clone()),
        });
        self.ask(&message, Asked::Authorize);
        self.phase = Phase::Authorizing;
        self.deadline = Some(now.instant + ANSWER_TIMEOUT);
    }

    fn handle_authorized(&mut self, response: &Response, now: Now) {
        if let Some(error) = response.refusal() {
            return self.end(ClientEnd::AuthorizeRefused(error));
        }
        self.phase = Phase::Working;
        self.deadline = Some(now.instant + SILENCE_TIMEOUT);
        self.event(ClientEvent::Authorized);
        self.ask(&ClientMessage::ExtranonceSubscribe, Asked::Other);
        if let Some(difficulty) = self.config.suggested_difficulty {
            self.ask(&ClientMessage::SuggestDifficulty(difficulty), Asked::Other);
        }
    }

    fn handle_verdict(&mut self, submission: u64, response: &Response) {
        match response.refusal() {
            None => {
                self.counts.accepted += 1;
                self.event(ClientEvent::Accepted { submission });
            }
            Some(error) => {
                self.counts.rejected += 1;
                self.event(ClientEvent::Rejected { submission, error });
            }
        }
    }

    /// Hands in a share found on `job`. Gives the number under which its verdict comes.
    ///
    /// # Errors
    /// Why it is of no use to the server.
    pub fn submit(&mut self, job: &ClientJob, share: &FoundShare<'_>) -> Result<u64, SubmitError> {
        if self.phase != Phase::Working {
            return Err(SubmitError::NotWorking);
        }
        if job.generation() != self.generation {
            return Err(SubmitError::Stale);
        }
        if share.extranonce2.len() != job.extranonce2_size() {
            return Err(SubmitError::BadExtranonceSize);
        }
        let mask = self.mask;
        if (share.version ^ job.notify().version) & !mask != 0 {
            return Err(SubmitError::BadVersion);
        }
        let message = ClientMessage::Submit(Submit {
            worker: self.config.user.clone(),
            job_id: job.notify().job_id.clone(),
            extranonce2: share.extranonce2.to_vec(),
            ntime: share.ntime,
            nonce: share.nonce,
            version_bits: (mask != 0).then_some(share.version & mask),
        });
        self.counts.submitted += 1;
        Ok(self.ask(&message, Asked::Share))
    }

    fn ask(&mut self, message: &ClientMessage, asked: Asked) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.asked.len() >= MAX_IN_FLIGHT
            && let Some((_, Asked::Share)) = self.asked.pop_front()
        {
            self.counts.unanswered += 1;
        }
        self.asked.push_back((id, asked));
        self.send(message.to_line(&Id::from(id)));
        id
    }

    fn send(&mut self, line: String) {
        self.outputs.push_back(ClientOutput::Send(line));
    }

    fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    fn end(&mut self, end: ClientEnd) {
        self.phase = Phase::Closed;
        self.deadline = None;
        self.outputs.push_back(ClientOutput::Close(end));
    }
}

/// Whether two hosts are the same or differ only before the first dot.
fn is_same_site(host: &str, other: &str) -> bool {
    let domain = |host: &str| {
        let (_, domain) = host.split_once('.')?;
        let is_name = domain.contains('.') && host.parse::<std::net::IpAddr>().is_err();
        is_name.then(|| domain.to_ascii_lowercase())
    };
    host.eq_ignore_ascii_case(other) || domain(host).is_some_and(|own| domain(other) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_domain_is_the_same_site() {
        for (host, is_same) in [
            ("a.pool.example", true),
            ("B.pool.example", true),
            ("a.evil.example", false),
            ("pool.example", false),
            ("a.pool.example.evil.test", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_same_site(host, "a.pool.example"), is_same, "{host}");
        }
        assert!(is_same_site("10.0.0.1", "10.0.0.1"));
        assert!(!is_same_site("11.0.0.1", "10.0.0.1"));
    }
}
