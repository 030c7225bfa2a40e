//! The server's end of one connection: what a pool or translator says to one miner, and in which order.
//!
//! The owner decides who gets which extranonce, who may mine and what a share is worth; the session knows the protocol
//! and the miners' ways. It keeps this order, because miners exist that fail without it:
//!
//! 1. nothing goes out between `mining.subscribe` and its answer;
//! 2. work starts when the miner is subscribed and authorized, in whatever order it does that;
//! 3. `mining.set_version_mask` goes out after the first authorization and before the first job;
//! 4. `mining.set_difficulty` goes out immediately before the job that it belongs to, and only when it changes.
//!
//! Take all of [`ServerSession::poll_output`] after each call; the queue is not bounded otherwise.
//!
//! ```
//! use roles_logic_sv2::clock::Now;
//! use sv1_api::server::{Grant, ServerConfig, ServerEvent, ServerOutput, ServerSession};
//!
//! let now = Now::default();
//! let mut session = ServerSession::new(ServerConfig::default(), now);
//! session.handle_line(br#"{"id": "a", "method": "mining.subscribe", "params": ["cpuminer/2.5.1"]}"#, now);
//! let Some(ServerOutput::Event(ServerEvent::Subscribe(asked))) = session.poll_output() else { panic!() };
//! assert_eq!(asked.user_agent.as_deref(), Some("cpuminer/2.5.1"));
//!
//! session.grant(Grant { extranonce1: vec![0, 1, 2, 3], extranonce2_size: 8, session: "s1".into() }, now);
//! let Some(ServerOutput::Send(line)) = session.poll_output() else { panic!() };
//! assert_eq!(&*line, "{\"id\":\"a\",\"result\":[[[\"mining.set_difficulty\",\"s1\"],[\"mining.notify\",\"s1\"]],\"00010203\",8],\"error\":null}\n");
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::target::Target;
use serde_json::{Value, json};

use crate::client_message::{
    Authorize, ClientMessage, Configure, MINIMUM_DIFFICULTY, SUBSCRIBE_EXTRANONCE, Submit,
    Subscribe, VERSION_ROLLING,
};
use crate::difficulty::Difficulty;
use crate::error::ErrorReply;
use crate::id::Id;
use crate::line::LineTooLong;
use crate::message::{Message, Request, Response, response_line};
use crate::quirks::Quirks;
use crate::reject::{self, Reject, RejectCounts};
use crate::server_message::{
    ConfigureReply, Notify, Reconnect, ServerMessage, SetExtranonce, SubscribeReply,
};
use crate::worker::percent_decoded;

/// Version bits that mining hardware is made to roll; within those of BIP323.
pub const DEFAULT_VERSION_MASK: u32 = 0x1fff_e000;

/// Names that one connection may authorize: it may be a whole farm's proxy. Further ones are refused.
pub const MAX_WORKERS: usize = 256;

/// Lines held back until `mining.subscribe` is answered. With more the connection is closed.
pub const MAX_HELD_LINES: usize = 32;

/// Requests of ours that wait for an answer. One more pushes out the oldest.
pub const MAX_ASKED: usize = 8;

/// Faults forgiven. With more the connection is closed; one is forgotten every [`FAULT_LIFE`].
pub const MAX_FAULTS: u32 = 60;

/// How long a fault counts.
pub const FAULT_LIFE: Duration = Duration::from_secs(10);

/// How long a miner that was told to reconnect has for reading that; then the connection is closed, because many ignore
/// it.
pub const RECONNECT_GRACE: Duration = Duration::from_millis(250);

/// What the operator wants. Each limit closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Version bits that may be rolled; 0 for none.
    pub version_mask: u32,
    /// Time to subscribe and authorize.
    pub login_timeout: Duration,
    /// Time without a job after which the owner is asked for one: miners leave a server that is silent for minutes.
    pub job_interval: Duration,
    /// Time without any share since the first job.
    pub share_timeout: Duration,
    /// Lines a second, in the long run.
    pub max_lines_per_sec: u32,
    /// Lines at once.
    pub max_line_burst: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            version_mask: DEFAULT_VERSION_MASK,
            login_timeout: Duration::from_secs(60),
            job_interval: Duration::from_secs(30),
            share_timeout: Duration::from_secs(3_600),
            max_lines_per_sec: 100,
            max_line_burst: 500,
        }
    }
}

/// What a miner gets for `mining.subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// First part of the extranonce.
    pub extranonce1: Vec<u8>,
    /// Bytes of the part that the miner rolls.
    pub extranonce2_size: usize,
    /// Names the session, so that it can be resumed.
    pub session: String,
}

/// What the shell or the owner is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerOutput {
    /// Send this line; its end is part of it.
    Send(Arc<str>),
    /// Decide, or take note.
    Event(ServerEvent),
    /// Send what is queued, then close; nothing follows.
    Close(CloseReason),
}

/// What a miner wants or says.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEvent {
    /// Answer with [`ServerSession::grant`] or [`ServerSession::refuse_subscribe`].
    Subscribe(Subscribe),
    /// Answer with [`ServerSession::answer_authorize`]. Comes once for each name.
    Authorize {
        /// For the answer.
        id: Id,
        /// Who, and with which password.
        authorize: Authorize,
    },
    /// A share in good order. Answer with [`ServerSession::answer_submit`].
    Submit {
        /// For the answer.
        id: Id,
        /// The share.
        submit: Submit,
    },
    /// The miner would like this difficulty. Comes only when it differs from what it said before.
    SuggestDifficulty(Difficulty),
    /// The same as a target.
    SuggestTarget(Target),
    /// The miner takes no difficulty below this.
    MinimumDifficulty(Difficulty),
    /// The answer to [`ServerSession::ask_version`].
    Version(String),
    /// No job went out for a while: send one.
    JobDue,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The miner did not subscribe and authorize in time.
    #[error("did not subscribe and authorize in time")]
    LoginTimeout,
    /// No share came in time.
    #[error("no share for too long")]
    NoShares,
    /// Too many faults in short time.
    #[error("does not speak the protocol")]
    TooManyFaults,
    /// Too many lines in short time.
    #[error("too many lines a second")]
    TooManyLines,
    /// Too many requests before the answer to `mining.subscribe`.
    #[error("too many requests before the answer to mining.subscribe")]
    TooManyHeld,
    /// It was told to reconnect.
    #[error("told to reconnect")]
    Reconnect,
}

#[derive(Debug)]
enum Subscription {
    None,
    /// The id of the request, and the lines that wait behind its answer.
    Pending(Id, Vec<Arc<str>>),
    Active(Grant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Version,
    Ping,
}

/// One connection of a miner, as the server sees it.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    subscription: Subscription,
    /// Size of extranonce2 before the last change: shares of earlier jobs have it.
    former_extranonce2_size: Option<usize>,
    quirks: &'static Quirks,
    user_agent: Option<String>,
    workers: Vec<String>,
    /// What the miner can roll; `None` until it asked.
    asked_mask: Option<u32>,
    follows_extranonce: bool,
    suggested: Option<Target>,
    difficulty: Difficulty,
    sent_difficulty: Option<Difficulty>,
    /// What the miner last heard it may roll, in the answer to `mining.configure` too.
    told_mask: u32,
    sent_mask: Option<u32>,
    waiting_job: Option<Arc<Job>>,
    asked: VecDeque<(u64, Asked)>,
    next_id: u64,
    faults: Leak,
    lines: Leak,
    login_deadline: Option<Instant>,
    job_due: Option<Instant>,
    share_deadline: Option<Instant>,
    close_at: Option<Instant>,
    is_closed: bool,
    rejects: RejectCounts,
    outputs: VecDeque<ServerOutput>,
}

/// A job and its two lines, made once for all miners that get it.
#[derive(Debug)]
pub struct Job {
    notify: Notify,
    line: Arc<str>,
    clean_line: Arc<str>,
}

impl Job {
    /// Writes the lines.
    pub fn new(notify: Notify) -> Self {
        let line = |clean_jobs| {
            let message = Notify {
                clean_jobs,
                ..notify.clone()
            };
            ServerMessage::Notify(message).to_line(&Id::NULL).into()
        };
        Self {
            line: line(false),
            clean_line: line(true),
            notify,
        }
    }

    /// What it says.
    pub const fn notify(&self) -> &Notify {
        &self.notify
    }
}

/// A bucket that leaks.
#[derive(Clone, Copy, Debug)]
struct Leak {
    level: f64,
    at: Instant,
}

impl Leak {
    /// Adds one to what is left after leaking `per_sec`; whether it stays within `limit`.
    fn add(&mut self, per_sec: f64, limit: f64, now: Instant) -> bool {
        let leaked = (now - self.at).as_secs_f64() * per_sec;
        self.at = now;
        self.level = (self.level - leaked).max(0.0) + 1.0;
        self.level <= limit
    }
}

impl ServerSession {
    /// A connection that was just accepted.
    pub fn new(config: ServerConfig, now: Now) -> Self {
        let empty = Leak {
            level: 0.0,
            at: now.instant,
        };
        Self {
            config,
            subscription: Subscription::None,
            former_extranonce2_size: None,
            quirks: &Quirks::ORDINARY,
            user_agent: None,
            workers: Vec::new(),
            asked_mask: None,
            follows_extranonce: false,
            suggested: None,
            difficulty: Difficulty::ONE,
            sent_difficulty: None,
            told_mask: 0,
            sent_mask: None,
            waiting_job: None,
            asked: VecDeque::new(),
            next_id: 1,
            faults: empty,
            lines: empty,
            login_deadline: Some(now.instant + config.login_timeout),
            job_due: None,
            share_deadline: None,
            close_at: None,
            is_closed: false,
            rejects: RejectCounts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// What is known of this kind of miner.
    pub const fn quirks(&self) -> &'static Quirks {
        self.quirks
    }

    /// What the miner runs, as it says.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// The names that may submit, in the order of their authorization.
    pub fn workers(&self) -> &[String] {
        &self.workers
    }

    /// The name that was authorized for what a share says: itself, or the one that the miner cuts to it.
    pub fn worker(&self, submitted: &str) -> Option<&str> {
        let cut = |name: &str| {
            let limit = self.quirks.cuts_names_at;
            limit == Some(submitted.len()) && name.starts_with(submitted)
        };
        let is_same = |name: &&String| {
            *name == submitted
                || cut(name)
                || submitted.contains('%') && **name == percent_decoded(submitted)
                || name.contains('%') && percent_decoded(name) == submitted
        };
        self.workers.iter().find(is_same).map(String::as_str)
    }

    /// What the miner works with; `None` before [`Self::grant`].
    pub const fn granted(&self) -> Option<&Grant> {
        match &self.subscription {
            Subscription::Active(grant) => Some(grant),
            _ => None,
        }
    }

    /// The bits that this miner may roll; `None` when it did not ask, or may roll none.
    pub fn version_mask(&self) -> Option<u32> {
        let mask = self.asked_mask? & self.config.version_mask;
        (mask != 0).then_some(mask)
    }

    /// Whether `mining.set_extranonce` works with this miner.
    pub const fn follows_extranonce(&self) -> bool {
        self.follows_extranonce
    }

    /// What was refused, by reason.
    pub const fn rejects(&self) -> &RejectCounts {
        &self.rejects
    }

    /// Whether jobs go out: the miner is subscribed and authorized.
    pub fn is_working(&self) -> bool {
        matches!(self.subscription, Subscription::Active(_)) && !self.workers.is_empty()
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Its memory as well: most miners have nothing to say most of the time.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let timers = [
            self.login_deadline,
            self.job_due,
            self.share_deadline,
            self.close_at,
        ];
        timers.into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if is_due(self.close_at) {
            self.close(CloseReason::Reconnect);
        } else if is_due(self.login_deadline) {
            self.close(CloseReason::LoginTimeout);
        } else if is_due(self.share_deadline) {
            self.close(CloseReason::NoShares);
        } else if is_due(self.job_due) && !self.is_closed {
            self.job_due = Some(now.instant + self.config.job_interval);
            self.event(ServerEvent::JobDue);
        }
    }

    /// Takes one line of the miner, its end taken off or not.
    pub fn handle_line(&mut self, line: &[u8], now: Now) {
        if self.is_closed || !self.admits_line(now) {
            return;
        }
        match Message::parse(line) {
            Ok(Message::Request(request)) => self.handle_request(&request, now),
            Ok(Message::Response(response)) => self.handle_response(&response),
            Err(error) => {
                if let Some(reason) = reject::of_message(error) {
                    self.refuse(&Id::NULL, reason, reason.reply(), now);
                }
            }
        }
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, _: LineTooLong, now: Now) {
        if !self.is_closed && self.admits_line(now) {
            let reason = Reject::LineTooLong;
            self.refuse(&Id::NULL, reason, reason.reply(), now);
        }
    }

    fn admits_line(&mut self, now: Now) -> bool {
        let rate = f64::from(self.config.max_lines_per_sec);
        let burst = f64::from(self.config.max_line_burst);
        let is_admitted = self.lines.add(rate, burst, now.instant);
        if !is_admitted {
            self.close(CloseReason::TooManyLines);
        }
        is_admitted
    }

    fn handle_request(&mut self, request: &Request<'_>, now: Now) {
        let id = request.id.clone();
        let message = match ClientMessage::parse(request) {
            Ok(message) => message,
            Err(error) => {
                let (reason, reply) = reject::of_request(error);
                return self.refuse(&id, reason, reply, now);
            }
        };
        match message {
            ClientMessage::Configure(configure) => self.configure(&id, &configure),
            ClientMessage::Subscribe(subscribe) => self.subscribe(id, subscribe, now),
            ClientMessage::Authorize(authorize) => self.authorize(id, authorize, now),
            ClientMessage::Submit(submit) => self.submit(id, submit, now),
            ClientMessage::SuggestDifficulty(difficulty) => {
                self.accept(&id);
                if self.suggests_anew(difficulty.target()) {
                    self.event(ServerEvent::SuggestDifficulty(difficulty));
                }
            }
            ClientMessage::SuggestTarget(target) => {
                self.accept(&id);
                if self.suggests_anew(target) {
                    self.event(ServerEvent::SuggestTarget(target));
                }
            }
            ClientMessage::ExtranonceSubscribe => {
                self.follows_extranonce = true;
                self.accept(&id);
            }
            ClientMessage::GetTransactions(_) => {
                let reason = Reject::NotSupported;
                self.refuse(&id, reason, reason.reply(), now);
            }
            ClientMessage::Ping => self.reply(&id, &json!("pong")),
            // An answer in the form of a request.
            ClientMessage::Pong => self.asked.retain(|(_, asked)| *asked != Asked::Ping),
        }
    }

    fn handle_response(&mut self, response: &Response) {
        let number = response.id.as_u64();
        let at = self.asked.iter().position(|(id, _)| Some(*id) == number);
        match at.and_then(|at| self.asked.remove(at)) {
            Some((_, Asked::Version)) => {
                if let Value::String(version) = &response.result {
                    let mut version = version.clone();
                    crate::error::truncate(&mut version, crate::client_message::MAX_TEXT_BYTES);
                    self.event(ServerEvent::Version(version));
                }
            }
            Some((_, Asked::Ping)) => {}
            None => self.rejects.add(Reject::UnexpectedResponse),
        }
    }

    fn configure(&mut self, id: &Id, configure: &Configure) {
        if configure.asks_for(VERSION_ROLLING) {
            self.asked_mask = Some(configure.version_rolling_mask.unwrap_or(u32::MAX));
        }
        if configure.asks_for(SUBSCRIBE_EXTRANONCE) {
            self.follows_extranonce = true;
        }
        let mask = self.version_mask().unwrap_or(0);
        self.told_mask = mask;
        self.reply(id, &ConfigureReply::answer(configure, mask).to_json());
        if let Some(difficulty) = configure.minimum_difficulty
            && configure.asks_for(MINIMUM_DIFFICULTY)
        {
            self.event(ServerEvent::MinimumDifficulty(difficulty));
        }
        if self.sent_difficulty.is_some() {
            self.send_mask();
        }
    }

    fn subscribe(&mut self, id: Id, subscribe: Subscribe, now: Now) {
        if let Some(agent) = &subscribe.user_agent {
            self.quirks = Quirks::of(agent);
            self.user_agent = Some(agent.clone());
        }
        match &self.subscription {
            Subscription::None => {
                self.subscription = Subscription::Pending(id, Vec::new());
                self.event(ServerEvent::Subscribe(subscribe));
            }
            Subscription::Pending(..) => {
                let reason = Reject::SubscribePending;
                self.refuse(&id, reason, reason.reply(), now);
            }
            Subscription::Active(grant) => {
                let reply = subscribe_reply(grant);
                self.reply(&id, &reply);
            }
        }
    }

    /// Answers `mining.subscribe`; does nothing when it is not open.
    pub fn grant(&mut self, grant: Grant, now: Now) {
        let reply = subscribe_reply(&grant);
        if let Some((id, held)) = self.take_pending(Subscription::Active(grant)) {
            self.reply(&id, &reply);
            held.into_iter().for_each(|line| self.send(line));
            self.start(now);
        }
    }

    /// Answers `mining.subscribe` with a no; the miner may ask again.
    pub fn refuse_subscribe(&mut self, now: Now) {
        if let Some((id, held)) = self.take_pending(Subscription::None) {
            let reason = Reject::SubscribeRefused;
            self.refuse(&id, reason, reason.reply(), now);
            held.into_iter().for_each(|line| self.send(line));
        }
    }

    fn take_pending(&mut self, next: Subscription) -> Option<(Id, Vec<Arc<str>>)> {
        match std::mem::replace(&mut self.subscription, next) {
            Subscription::Pending(id, held) => Some((id, held)),
            other => {
                self.subscription = other;
                None
            }
        }
    }

    fn authorize(&mut self, id: Id, authorize: Authorize, now: Now) {
        if self.workers.contains(&authorize.user) {
            self.accept(&id);
        } else if self.workers.len() >= MAX_WORKERS {
            let reason = Reject::TooManyWorkers;
            self.refuse(&id, reason, reason.reply(), now);
        } else {
            self.event(ServerEvent::Authorize { id, authorize });
        }
    }

    /// Answers `mining.authorize` for the name `user`.
    pub fn answer_authorize(&mut self, id: &Id, user: &str, is_accepted: bool, now: Now) {
        if !is_accepted {
            let reason = Reject::AuthorizeRefused;
            return self.refuse(id, reason, reason.reply(), now);
        }
        if !self.workers.iter().any(|name| name == user) && self.workers.len() < MAX_WORKERS {
            self.workers.push(user.to_owned());
        }
        self.accept(id);
        self.start(now);
    }

    fn submit(&mut self, id: Id, submit: Submit, now: Now) {
        match self.check_submit(&submit) {
            Ok(()) => self.event(ServerEvent::Submit { id, submit }),
            Err(reason) => self.refuse(&id, reason, reason.reply(), now),
        }
    }

    fn check_submit(&self, submit: &Submit) -> Result<(), Reject> {
        let grant = self.granted().ok_or(Reject::NotSubscribed)?;
        self.worker(&submit.worker).ok_or(Reject::Unauthorized)?;
        let size = submit.extranonce2.len();
        if size != grant.extranonce2_size && Some(size) != self.former_extranonce2_size {
            return Err(Reject::BadExtranonceSize);
        }
        match (self.version_mask(), submit.version_bits.unwrap_or(0)) {
            (_, 0) => Ok(()),
            (None, _) => Err(Reject::VersionRollingNotNegotiated),
            (Some(mask), bits) if bits & !mask != 0 => Err(Reject::VersionBitsOutsideMask),
            _ => Ok(()),
        }
    }

    /// Answers `mining.submit`; the owner says what is wrong with the share, if anything.
    pub fn answer_submit(&mut self, id: &Id, verdict: Result<(), Reject>, now: Now) {
        match verdict {
            Ok(()) => {
                self.share_deadline = Some(now.instant + self.config.share_timeout);
                self.accept(id);
            }
            Err(reason) => self.refuse(id, reason, reason.reply(), now),
        }
    }

    /// The difficulty of the jobs to come; the miner is told with the next one.
    pub const fn set_difficulty(&mut self, difficulty: Difficulty) {
        self.difficulty = difficulty;
    }

    /// Sends a job, now or as soon as the miner can take one. `clean` says that earlier jobs are over; the first job is
    /// always sent so.
    pub fn send_job(&mut self, job: &Arc<Job>, clean: bool, now: Now) {
        if !self.is_working() {
            self.waiting_job = Some(job.clone());
            return;
        }
        let is_first = self.sent_difficulty.is_none();
        if is_first {
            self.send_mask();
            self.share_deadline = Some(now.instant + self.config.share_timeout);
        }
        if self.sent_difficulty != Some(self.difficulty) {
            self.sent_difficulty = Some(self.difficulty);
            self.tell(&ServerMessage::SetDifficulty(self.difficulty));
        }
        if clean {
            self.former_extranonce2_size = None;
        }
        let line = if clean || is_first {
            &job.clean_line
        } else {
            &job.line
        };
        self.send(line.clone());
        self.job_due = Some(now.instant + self.config.job_interval);
    }

    /// Begins work when all is there that it takes.
    fn start(&mut self, now: Now) {
        if !self.is_working() {
            return;
        }
        self.login_deadline = None;
        match self.waiting_job.take() {
            Some(job) => self.send_job(&job, true, now),
            None if self.job_due.is_none() => {
                self.job_due = Some(now.instant + self.config.job_interval);
            }
            None => {}
        }
    }

    /// Tells another extranonce, for the jobs to come; what it says on false: the miner cannot follow, so tell it to
    /// [reconnect](Self::reconnect).
    pub fn set_extranonce(&mut self, extranonce1: Vec<u8>, extranonce2_size: usize) -> bool {
        let follows = self.follows_extranonce;
        let Subscription::Active(grant) = &mut self.subscription else {
            return false;
        };
        if grant.extranonce1 == extranonce1 && grant.extranonce2_size == extranonce2_size {
            return true;
        }
        if !follows {
            return false;
        }
        self.former_extranonce2_size = Some(grant.extranonce2_size);
        grant.extranonce1.clone_from(&extranonce1);
        grant.extranonce2_size = extranonce2_size;
        self.tell(&ServerMessage::SetExtranonce(SetExtranonce {
            extranonce1,
            extranonce2_size,
        }));
        true
    }

    /// Other version bits may be rolled from now on.
    pub fn set_version_mask(&mut self, mask: u32) {
        self.config.version_mask = mask;
        if self.sent_difficulty.is_some() {
            self.send_mask();
        }
    }

    fn send_mask(&mut self) {
        // A mask that becomes empty is told too, so that the miner stops rolling.
        let mask = self
            .asked_mask
            .map(|asked| asked & self.config.version_mask);
        let is_news = match mask {
            Some(0) => self.told_mask != 0,
            mask => mask != self.sent_mask,
        };
        if let Some(mask) = mask.filter(|_| is_news) {
            self.told_mask = mask;
            self.sent_mask = Some(mask);
            self.tell(&ServerMessage::SetVersionMask(mask));
        }
    }

    /// Tells the miner to come again, maybe elsewhere, and closes a moment later.
    pub fn reconnect(&mut self, reconnect: Reconnect, now: Now) {
        if !self.is_closed && self.close_at.is_none() {
            self.tell(&ServerMessage::Reconnect(reconnect));
            self.close_at = Some(now.instant + RECONNECT_GRACE);
        }
    }

    /// Shows a message to whoever looks at the miner; nothing happens on miners that do not know how.
    pub fn show_message(&mut self, text: &str) {
        if self.quirks.shows_messages {
            self.tell(&ServerMessage::ShowMessage(text.to_owned()));
        }
    }

    /// Asks what the miner runs; an event follows if it answers.
    pub fn ask_version(&mut self) {
        self.ask(&ServerMessage::GetVersion, Asked::Version);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        self.ask(&ServerMessage::Ping, Asked::Ping);
    }

    /// Pings that are not answered.
    pub fn unanswered_pings(&self) -> usize {
        let pings = self.asked.iter();
        pings.filter(|(_, asked)| *asked == Asked::Ping).count()
    }

    fn ask(&mut self, message: &ServerMessage, asked: Asked) {
        let id = self.next_id;
        self.next_id += 1;
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back((id, asked));
        self.send(message.to_line(&Id::from(id)).into());
    }

    /// Whether this suggestion differs from the one before: firmware exists that repeats it to stay connected.
    fn suggests_anew(&mut self, target: Target) -> bool {
        self.suggested.replace(target) != Some(target)
    }

    fn accept(&mut self, id: &Id) {
        self.reply(id, &Value::Bool(true));
    }

    fn reply(&mut self, id: &Id, result: &Value) {
        self.send(response_line(id, result, None).into());
    }

    fn tell(&mut self, message: &ServerMessage) {
        self.send(message.to_line(&Id::NULL).into());
    }

    fn refuse(&mut self, id: &Id, reason: Reject, reply: ErrorReply, now: Now) {
        self.rejects.add(reason);
        self.send(response_line(id, &Value::Null, Some(&reply)).into());
        if reason.is_misbehaviour() {
            let per_sec = 1.0 / FAULT_LIFE.as_secs_f64();
            if !self.faults.add(per_sec, f64::from(MAX_FAULTS), now.instant) {
                self.close(CloseReason::TooManyFaults);
            }
        }
    }

    fn send(&mut self, line: Arc<str>) {
        if self.is_closed {
            return;
        }
        match &mut self.subscription {
            Subscription::Pending(_, held) if held.len() < MAX_HELD_LINES => held.push(line),
            Subscription::Pending(..) => self.close(CloseReason::TooManyHeld),
            _ => self.outputs.push_back(ServerOutput::Send(line)),
        }
    }

    fn event(&mut self, event: ServerEvent) {
        self.outputs.push_back(ServerOutput::Event(event));
    }

    fn close(&mut self, reason: CloseReason) {
        if !self.is_closed {
            self.is_closed = true;
            self.outputs.push_back(ServerOutput::Close(reason));
        }
    }
}

fn subscribe_reply(grant: &Grant) -> Value {
    let subscription = |method: &str| (method.to_owned(), grant.session.clone());
    SubscribeReply {
        subscriptions: vec![
            subscription("mining.set_difficulty"),
            subscription("mining.notify"),
        ],
        extranonce: SetExtranonce {
            extranonce1: grant.extranonce1.clone(),
            extranonce2_size: grant.extranonce2_size,
        },
    }
    .to_json()
}
