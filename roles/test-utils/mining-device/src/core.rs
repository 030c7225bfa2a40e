//! The miner's rules: one connection from setup to its end, without I/O.
//!
//! Messages and finds go in, messages and work come out. Channels, jobs and targets follow the rules of
//! [`ClientChannels`]; this decides what the connection is for: one channel, mined on until it ends.

use std::collections::VecDeque;
use std::time::Duration;

use binary_sv2::{IntoOwned, Str0255};
use common_messages_sv2::CommonMessage;
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use mining_sv2::MiningMessage;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{
    ClientChannels, ClientError, ClientEvent, ClientReject, OpenTerms, ShareCounts, Submission,
    Work,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::setup::{Endpoint, SetupError, SetupRequest};

use crate::work::FoundShare;

/// How long the server may take to answer setup or the request for a channel; then the connection ends.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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

/// What the shell is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this.
    Send(AnyMessage<'static>),
    /// Hash this instead of what was hashed; nothing when `None`.
    Assign(Option<Work>),
    /// Something to show or count; nothing to do.
    Tell(ClientEvent),
    /// Close the connection; nothing follows.
    Close(End),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The server refused the connection.
    #[error("the server refuses the connection: {code:?}, unsupported flags {flags:#x}")]
    SetupRefused {
        /// The server's words.
        code: Option<String>,
        /// Flags that it does not support.
        flags: u32,
    },
    /// The server's answer does not fit.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The server opens no channel for us.
    #[error("the server opens no channel: {code:?}")]
    OpenRefused {
        /// The server's words.
        code: Option<String>,
    },
    /// The request for a channel cannot be made or its answer is unsound.
    #[error("no channel was opened")]
    NoChannel,
    /// The server closed the channel.
    #[error("the server closed the channel: {reason:?}")]
    ChannelClosed {
        /// The server's words.
        reason: Option<String>,
    },
    /// The server asks us to come again, maybe elsewhere.
    #[error("the server asks to reconnect")]
    Reconnect {
        /// Host, the same when empty.
        host: String,
        /// Port, the same when 0.
        port: u16,
    },
    /// The server does not answer.
    #[error("the server did not answer in time")]
    NoAnswer,
    /// A message that has no place there.
    #[error("{message} is out of order")]
    OutOfOrder {
        /// Its name.
        message: &'static str,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
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
    phase: Phase,
    deadline: Option<Instant>,
    channels: ClientChannels,
    outputs: VecDeque<Output>,
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
            phase: Phase::Setup,
            deadline: Some(now.instant + ANSWER_TIMEOUT),
            channels: ClientChannels::new(),
            outputs: VecDeque::from([Output::Send(first.into())]),
        }
    }

    /// Takes a message of the server.
    pub fn handle_message(&mut self, message: &AnyMessage<'_>, now: Now) {
        match (self.phase, message) {
            (Phase::Closed, _) => {}
            (Phase::Setup, AnyMessage::Common(message)) => self.handle_setup(message, now),
            (_, AnyMessage::Common(CommonMessage::Reconnect(message))) => {
                self.end(End::Reconnect {
                    host: text(&message.new_host).unwrap_or_default(),
                    port: message.new_port,
                })
            }
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
                    Ok(_) => self.open(now),
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
        let is_open = matches!(self.phase, Phase::Mining(_));
        if self.phase == Phase::Opening && handled == Err(ClientReject::BadExtranonceSize) {
            self.end(End::NoChannel);
        } else if is_open && handled == Err(ClientReject::UnknownJob) {
            self.outputs.push_back(Output::Assign(None));
        }
    }

    fn handle_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Opened { channel_id, .. } => {
                self.phase = Phase::Mining(channel_id);
                self.deadline = None;
                self.outputs.push_back(Output::Tell(event));
            }
            ClientEvent::OpenRefused { error_code, .. } => {
                self.end(End::OpenRefused {
                    code: text(&error_code),
                });
            }
            ClientEvent::WorkChanged { channel_id } => {
                let work = self.channels.work(channel_id).cloned();
                self.outputs.push_back(Output::Assign(work));
            }
            ClientEvent::Closed { reason_code, .. } => {
                self.end(End::ChannelClosed {
                    reason: text(&reason_code),
                });
            }
            ClientEvent::Send(message) => self.outputs.push_back(Output::Send(message.into())),
            told => self.outputs.push_back(Output::Tell(told)),
        }
    }

    /// Takes what a thread found.
    ///
    /// # Errors
    /// Why it is not submitted, for a counter: usually it was found on a job that a new tip has just ended.
    pub fn handle_found(&mut self, share: &FoundShare) -> Result<(), ClientError> {
        let submission = self.channels.submit(&share.job, &share.found())?;
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
            self.end(End::NoAnswer);
        }
    }

    /// What to do next, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
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

    fn end(&mut self, end: End) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.deadline = None;
            self.outputs
                .extend([Output::Assign(None), Output::Close(end)]);
        }
    }
}

/// A server's words for people; `None` when they are no text.
fn text(words: &Str0255<'_>) -> Option<String> {
    words.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
