//! Mining on a channel. Channels, jobs and targets follow the rules of [`ClientChannels`]; this decides what the connection
//! is for: one channel, mined on until it ends.

use std::collections::VecDeque;
use std::time::Duration;

use binary_sv2::{IntoOwned, Str0255};
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use const_sv2::mining::{REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS};
use mining_sv2::MiningMessage;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{
    ClientChannels, ClientError, ClientEvent, ClientReject, OpenTerms, ShareCounts, Submission,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};

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
    request: SetupRequest,
    router: Router,
    phase: Phase,
    deadline: Option<Instant>,
    channels: ClientChannels,
    may_roll_version: bool,
    ignored_frames: u64,
    outputs: VecDeque<Output<AnyMessage<'static>>>,
}

impl Miner {
    /// A connection that was just made; its first output is `SetupConnection`.
    pub fn new(terms: MinerTerms, now: Now) -> Self {
        let flags = match terms.kind {
            ChannelKind::Standard => REQUIRES_STANDARD_JOBS,
            ChannelKind::Extended => 0,
        };
        let request = SetupRequest::mining(flags);
        let first: CommonMessage<'static> = request.message(&terms.endpoint).into();
        Self {
            terms,
            request,
            router: Router::new(Protocol::MINING, Peer::Server),
            phase: Phase::Setup,
            deadline: Some(now.instant + ANSWER_TIMEOUT),
            channels: ClientChannels::new(),
            may_roll_version: true,
            ignored_frames: 0,
            outputs: VecDeque::from([Output::Send(first.into())]),
        }
    }

    /// Takes a frame of the server; `extension_type` includes the channel bit. One of an unknown kind is counted and
    /// discarded (FR-17, FR-18).
    pub fn handle_frame(&mut self, extension_type: u16, msg_type: u8, payload: &[u8], now: Now) {
        match self.router.route(extension_type, msg_type, payload) {
            Ok(routed) => self.handle_message(&routed.message, now),
            Err(error) if error.is_ignored() => self.ignored_frames += 1,
            Err(error) => self.end(error.into()),
        }
    }

    /// Takes a message of the server.
    pub fn handle_message(&mut self, message: &AnyMessage<'_>, now: Now) {
        match (self.phase, message) {
            (Phase::Closed, _) => {}
            (Phase::Setup, AnyMessage::Common(message)) => self.handle_setup(message, now),
            (_, AnyMessage::Common(CommonMessage::Reconnect(message))) => {
                self.end(End::Reconnect {
                    host: message.new_host.as_str().unwrap_or("?").to_owned(),
                    port: message.new_port,
                    wait: Duration::ZERO,
                })
            }
            // There is no extension whose state would have to be forgotten (CM-17).
            (_, AnyMessage::Common(CommonMessage::ChannelEndpointChanged(_))) => {}
            (Phase::Opening | Phase::Mining(_), AnyMessage::Mining(message)) => {
                self.handle_mining(message, now);
            }
            (_, other) => self.end(End::OutOfOrder {
                message: other.kind().name,
            }),
        }
    }

    fn handle_setup(&mut self, message: &CommonMessage<'_>, now: Now) {
        match message {
            CommonMessage::SetupConnectionSuccess(message) => {
                match self.request.handle_success(message) {
                    Ok(accepted) => {
                        self.may_roll_version = !accepted.has_server_flag(REQUIRES_FIXED_VERSION);
                        self.open(now);
                    }
                    Err(error) => self.end(error.into()),
                }
            }
            CommonMessage::SetupConnectionError(message) => self.end(End::SetupRefused {
                code: text(&message.error_code),
                flags: message.flags,
            }),
            other => self.end(End::OutOfOrder {
                message: other.kind().name,
            }),
        }
    }

    fn open(&mut self, now: Now) {
        let identity = self.terms.user_identity.clone();
        let request: Result<MiningMessage<'static>, ClientError> = match self.terms.kind {
            ChannelKind::Standard => self
                .channels
                .open_standard(identity, self.terms.open)
                .map(Into::into),
            ChannelKind::Extended => self
                .channels
                .open_extended(identity, self.terms.open)
                .map(Into::into),
        };
        let Ok(request) = request else {
            return self.end(End::NoChannel);
        };
        self.phase = Phase::Opening;
        self.deadline = Some(now.instant + ANSWER_TIMEOUT);
        self.outputs.push_back(Output::Send(request.into()));
    }

    fn handle_mining(&mut self, message: &MiningMessage<'_>, now: Now) {
        // A reject is counted by the channels and changes nothing; what it leaves us without is seen below.
        let handled = self.channels.handle_message(message, now);
        while let Some(event) = self.channels.poll_output() {
            self.handle_event(event);
        }
        match self.phase {
            Phase::Opening if is_lasting(handled) => self.end(End::NoChannel),
            Phase::Mining(channel_id) => {
                if handled == Err(ClientReject::UnknownJob) {
                    self.outputs.push_back(Output::Assign(None));
                }
                self.deadline = match self.channels.work(channel_id) {
                    Some(_) => None,
                    None => self.deadline.or(Some(now.instant + WORK_TIMEOUT)),
                };
            }
            _ => {}
        }
    }

    fn handle_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Opened { channel_id, .. } => {
                self.phase = Phase::Mining(channel_id);
                self.deadline = None;
                self.tell(News::Welcome);
            }
            ClientEvent::OpenRefused { error_code, .. } => {
                self.end(End::OpenRefused {
                    code: text(&error_code),
                });
            }
            ClientEvent::WorkChanged { channel_id } => {
                let work = self.channels.work(channel_id).cloned();
                let task = work.map(|work| Task::sv2(work, self.may_roll_version));
                let source = task.map(|task| WorkSource::new(task, 0));
                self.outputs.push_back(Output::Assign(source));
            }
            ClientEvent::Closed { reason_code, .. } => {
                self.end(End::ChannelClosed {
                    reason: text(&reason_code),
                });
            }
            ClientEvent::Send(message) => self.outputs.push_back(Output::Send(message.into())),
            ClientEvent::Acknowledged(message) => {
                self.tell(News::Acknowledged(
                    message.new_submits_accepted_count.into(),
                ));
            }
            ClientEvent::Rejected { error_code, .. } => self.tell(News::Rejected {
                reason: text(&error_code),
            }),
            // We ask for no update.
            ClientEvent::UpdateRefused { .. } => {}
        }
    }

    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::Tell(news));
    }

    /// Takes what a thread found.
    ///
    /// # Errors
    /// Why it is not submitted, for a counter: usually it was found on a job that a new tip has just ended.
    pub fn handle_found(&mut self, share: &FoundShare) -> Result<(), ClientError> {
        let Task::Sv2 { work, .. } = &share.task else {
            // Of another connection, which has ended.
            return Err(ClientError::NotOpen);
        };
        let submission = self.channels.submit(work, &share.found())?;
        let message: MiningMessage<'static> = match submission {
            Submission::Standard(message) => message.into(),
            Submission::Extended(message) => message.into_owned().into(),
        };
        self.outputs.push_back(Output::Send(message.into()));
        Ok(())
    }

    /// Ends mining in good order: the server learns that the channel is free (MC-9).
    pub fn handle_stop(&mut self) {
        if let Phase::Mining(channel_id) = self.phase {
            let reason = "miner stopped".try_into().unwrap_or_default();
            if let Ok(message) = self.channels.close(channel_id, reason) {
                self.outputs
                    .push_back(Output::Send(MiningMessage::from(message).into()));
            }
        }
        self.end(End::Stopped);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= now.instant)
        {
            self.end(match self.phase {
                Phase::Mining(_) => End::NoWork,
                _ => End::NoAnswer,
            });
        }
    }

    /// What to do next, in order.
    pub fn poll_output(&mut self) -> Option<Output<AnyMessage<'static>>> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// What became of the shares of the open channel.
    pub fn counts(&self) -> ShareCounts {
        match self.phase {
            Phase::Mining(channel_id) => self
                .channels
                .channel(channel_id)
                .map(|c| *c.counts())
                .unwrap_or_default(),
            _ => ShareCounts::default(),
        }
    }

    /// Messages of the server that changed nothing, by reason.
    pub fn rejected(&self, reason: ClientReject) -> u64 {
        self.channels.rejected(reason)
    }

    /// Frames of an unknown extension or message type.
    pub const fn ignored_frames(&self) -> u64 {
        self.ignored_frames
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.deadline = None;
            self.outputs
                .extend([Output::Assign(None), Output::Close(end)]);
        }
    }
}

impl Rules for Miner {
    const CHECK: &'static str = "check that the server speaks Stratum V2 on this port, and whether it wants \
                                 encryption; Stratum V1 is stratum+tcp://";

    fn handle_find(&mut self, share: &FoundShare, _: Now) -> bool {
        self.handle_found(share).is_ok()
    }

    fn handle_stop(&mut self) {
        self.handle_stop();
    }

    fn anomalies(&self) -> Vec<(String, u64)> {
        let rejects = ClientReject::ALL.map(|reason| (reason.to_string(), self.rejected(reason)));
        let ignored = ("unknown frame".to_owned(), self.ignored_frames);
        rejects.into_iter().chain([ignored]).collect()
    }
}

/// Whether this answer to the request for a channel leaves us without one.
fn is_lasting(handled: Result<(), ClientReject>) -> bool {
    matches!(
        handled,
        Err(ClientReject::BadExtranonceSize | ClientReject::IdInUse)
    )
}

#[cfg(test)]
mod tests;
