//! Mining on a channel. Connection, channels, jobs and targets follow the rules of [`UpstreamSession`]; this decides what the
//! connection is for: one channel, mined on until it ends.

use std::collections::VecDeque;
use std::time::Duration;

use binary_sv2::Str0255;
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use mining_sv2::MiningMessage;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{
    ClientError, ClientEvent, ClientReject, OpenTerms, ShareCounts,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::setup::Endpoint;
use roles_logic_sv2::upstream::{
    UpstreamEnd, UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms,
};

use super::{ANSWER_TIMEOUT, End, News, Output, Rules, WORK_TIMEOUT, text};
use crate::task::Task;
use crate::work::{FoundShare, WorkSource};

/// What to mine for.
#[derive(Clone, Debug)]
pub struct MinerTerms {
    /// Who mines, as the pool understands it.
    pub user_identity: Str0255<'static>,
    /// Kind of channel to open.
    pub kind: ChannelKind,
    /// Hash rate to announce and easiest target to take.
    pub open: OpenTerms,
    /// What to say of ourselves.
    pub endpoint: Endpoint<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Setup,
    Opening,
    Mining(u32),
    Closed,
}

/// One connection of a miner.
#[derive(Debug)]
pub struct Miner {
    terms: MinerTerms,
    session: UpstreamSession,
    phase: Phase,
    /// When there has to be work.
    work_due: Option<Instant>,
    outputs: VecDeque<Output<AnyMessage<'static>>>,
}

impl Miner {
    /// A connection that was just made; its first output is `SetupConnection`.
    pub fn new(terms: MinerTerms, now: Now) -> Self {
        let flags = match terms.kind {
            ChannelKind::Standard => REQUIRES_STANDARD_JOBS,
            ChannelKind::Extended => 0,
        };
        let upstream = UpstreamTerms {
            endpoint: terms.endpoint.clone(),
            flags,
            extensions: Vec::new(),
            answer_timeout: ANSWER_TIMEOUT,
            // It mines at servers under test too, for whatever they still give work for.
            is_strict: false,
        };
        let mut miner = Self {
            terms,
            session: UpstreamSession::new(upstream, now),
            phase: Phase::Setup,
            work_due: None,
            outputs: VecDeque::new(),
        };
        miner.settle(now);
        miner
    }

    /// Takes a frame of the server; `extension_type` includes the channel bit. One of an unknown kind is counted and
    /// discarded (FR-17, FR-18).
    pub fn handle_frame(&mut self, extension_type: u16, msg_type: u8, payload: &[u8], now: Now) {
        self.with_session(now, |session| {
            session.handle_frame(extension_type, msg_type, payload, now);
        });
    }

    /// Takes a message of the server.
    pub fn handle_message(&mut self, message: &AnyMessage<'_>, now: Now) {
        self.with_session(now, |session| session.handle_message(message, now));
    }

    fn with_session(&mut self, now: Now, act: impl FnOnce(&mut UpstreamSession)) {
        if self.phase == Phase::Closed {
            return;
        }
        let unknown_jobs = self.rejected(ClientReject::UnknownJob);
        act(&mut self.session);
        self.settle(now);
        match self.phase {
            Phase::Opening if self.has_unsound_channel() => self.end(End::NoChannel),
            Phase::Mining(channel_id) => {
                if self.rejected(ClientReject::UnknownJob) > unknown_jobs {
                    self.outputs.push_back(Output::Assign(None));
                }
                self.work_due = match self.session.channels().work(channel_id) {
                    Some(_) => None,
                    None => self.work_due.or(Some(now.instant + WORK_TIMEOUT)),
                };
            }
            _ => {}
        }
    }

    /// Whether the answer to the request for a channel leaves us without one.
    fn has_unsound_channel(&self) -> bool {
        let reasons = [ClientReject::BadExtranonceSize, ClientReject::IdInUse];
        reasons.iter().any(|reason| self.rejected(*reason) > 0)
    }

    /// Carries out what the session wants done.
    fn settle(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                UpstreamOutput::Send(message) => self.send(message),
                UpstreamOutput::Share(share) => {
                    self.send(MiningMessage::from(share.message).into());
                }
                UpstreamOutput::StandardShare(share) => {
                    self.send(MiningMessage::from(share).into());
                }
                UpstreamOutput::Event(event) => self.handle_event(event, now),
                UpstreamOutput::Close(end) => self.end(end.into()),
                // Nobody stands behind this miner.
                UpstreamOutput::Forward(_) => {}
            }
        }
    }

    fn send(&mut self, message: AnyMessage<'static>) {
        if self.phase != Phase::Closed {
            self.outputs.push_back(Output::Send(message));
        }
    }

    fn handle_event(&mut self, event: UpstreamEvent, now: Now) {
        match event {
            UpstreamEvent::Ready => self.open(now),
            UpstreamEvent::Channel(event) => self.handle_channel(event),
            UpstreamEvent::Foreign { .. } => self.session.ignore_frame(),
            // There is no extension whose state would have to be forgotten (CM-17).
            UpstreamEvent::EndpointChanged { .. } => {}
            UpstreamEvent::Reconnect { host, port } => self.end(End::Reconnect {
                host,
                port,
                wait: Duration::ZERO,
            }),
        }
    }

    fn open(&mut self, now: Now) {
        let identity = self.terms.user_identity.clone();
        let terms = self.terms.open;
        let asked = match self.terms.kind {
            ChannelKind::Standard => self.session.open_standard(identity, terms, now),
            ChannelKind::Extended => self.session.open_extended(identity, terms, now),
        };
        match asked {
            Ok(_) => self.phase = Phase::Opening,
            Err(_) => self.end(End::NoChannel),
        }
    }

    fn handle_channel(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Opened { channel_id, .. } => {
                self.phase = Phase::Mining(channel_id);
                self.tell(News::Welcome);
            }
            ClientEvent::OpenRefused { error_code, .. } => {
                self.end(End::OpenRefused {
                    code: text(&error_code),
                });
            }
            ClientEvent::WorkChanged { channel_id } => {
                let may_roll_version = !self.session.has_fixed_version();
                let work = self.session.channels().work(channel_id).cloned();
                let task = work.map(|work| Task::sv2(work, may_roll_version));
                let source = task.map(|task| WorkSource::new(task, 0));
                self.outputs.push_back(Output::Assign(source));
            }
            ClientEvent::Closed { reason_code, .. } => {
                self.end(End::ChannelClosed {
                    reason: text(&reason_code),
                });
            }
            ClientEvent::Acknowledged(message) => {
                self.tell(News::Acknowledged(
                    message.new_submits_accepted_count.into(),
                ));
            }
            ClientEvent::Rejected { error_code, .. } => self.tell(News::Rejected {
                reason: text(&error_code),
            }),
            // The session sends what its channels want sent, and we ask for no update.
            ClientEvent::Send(_) | ClientEvent::UpdateRefused { .. } => {}
        }
    }

    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::Tell(news));
    }

    /// Takes what a thread found.
    ///
    /// # Errors
    /// Why it is not submitted, for a counter: usually it was found on a job that a new tip has just ended.
    pub fn handle_found(&mut self, share: &FoundShare, now: Now) -> Result<(), ClientError> {
        let Task::Sv2 { work, .. } = &share.task else {
            // Of another connection, which has ended.
            return Err(ClientError::NotOpen);
        };
        if self.phase == Phase::Closed {
            return Err(ClientError::NotOpen);
        }
        self.session.submit(work, &share.found(), None, now)?;
        self.settle(now);
        Ok(())
    }

    /// Ends mining in good order: the server learns that the channel is free (MC-9).
    pub fn handle_stop(&mut self, now: Now) {
        if let Phase::Mining(channel_id) = self.phase {
            let reason = "miner stopped".try_into().unwrap_or_default();
            // A channel that the server has closed already needs no word.
            let _: Result<(), ClientError> = self.session.close_channel(channel_id, reason);
            self.settle(now);
        }
        self.end(End::Stopped);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.with_session(now, |session| session.handle_timeout(now));
        if self.work_due.is_some_and(|due| due <= now.instant) {
            self.end(End::NoWork);
        }
    }

    /// What to do next, in order.
    pub fn poll_output(&mut self) -> Option<Output<AnyMessage<'static>>> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        let due = [self.session.poll_timeout(), self.work_due];
        due.into_iter().flatten().min()
    }

    /// What became of the shares of the open channel.
    pub fn counts(&self) -> ShareCounts {
        match self.phase {
            Phase::Mining(channel_id) => self
                .session
                .channels()
                .channel(channel_id)
                .map(|c| *c.counts())
                .unwrap_or_default(),
            _ => ShareCounts::default(),
        }
    }

    /// Messages of the server that changed nothing, by reason.
    pub fn rejected(&self, reason: ClientReject) -> u64 {
        self.session.rejected(reason)
    }

    /// Frames of an unknown extension or message type, and answers to nothing.
    pub const fn ignored_frames(&self) -> u64 {
        self.session.ignored_frames()
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.work_due = None;
            self.outputs
                .extend([Output::Assign(None), Output::Close(end)]);
        }
    }
}

impl From<UpstreamEnd> for End {
    fn from(end: UpstreamEnd) -> Self {
        match end {
            UpstreamEnd::SetupRefused { code, flags } => Self::SetupRefused { code, flags },
            UpstreamEnd::Setup(error) => Self::Setup(error),
            UpstreamEnd::NoAnswer => Self::NoAnswer,
            UpstreamEnd::Frame(error) => Self::Frame(error),
            UpstreamEnd::OutOfOrder { message } => Self::OutOfOrder { message },
            other => Self::Left(other),
        }
    }
}

impl Rules for Miner {
    const CHECK: &'static str = "check that the server speaks Stratum V2 on this port, and whether it wants \
                                 encryption; Stratum V1 is stratum+tcp://";

    fn handle_find(&mut self, share: &FoundShare, now: Now) -> bool {
        self.handle_found(share, now).is_ok()
    }

    fn handle_stop(&mut self, now: Now) {
        self.handle_stop(now);
    }

    fn anomalies(&self) -> Vec<(String, u64)> {
        let rejects = ClientReject::ALL.map(|reason| (reason.to_string(), self.rejected(reason)));
        let ignored = ("unknown frame".to_owned(), self.ignored_frames());
        rejects.into_iter().chain([ignored]).collect()
    }
}

#[cfg(test)]
mod tests;
