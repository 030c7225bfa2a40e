//! A connection to an upstream mining server, as proxies hold it: from `SetupConnection` to its end, without I/O.
//!
//! [`UpstreamSession`] sets the connection up, negotiates extensions and follows the channels; its owner opens channels
//! and hands in shares. [`failover`] decides which of several upstreams to use, [`split`] who works for which of them.
//!
//! ```
//! use common_messages_sv2::SetupConnectionSuccess;
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::upstream::{UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms};
//!
//! let now = Now::default();
//! let mut session = UpstreamSession::new(UpstreamTerms::default(), now);
//! let Some(UpstreamOutput::Send(setup)) = session.poll_output() else { panic!() };
//! assert_eq!(setup.kind().name, "SetupConnection");
//!
//! let answer = SetupConnectionSuccess { used_version: 2, flags: 0 };
//! session.handle_message(&common_messages_sv2::CommonMessage::from(answer).into(), now);
//! let Some(UpstreamOutput::Event(UpstreamEvent::Ready)) = session.poll_output() else { panic!() };
//! ```

pub mod failover;
pub mod split;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use binary_sv2::{IntoOwned, Str0255};
use common_messages_sv2::CommonMessage;
use const_sv2::mining::{REQUIRES_EXTENDED_CHANNELS, REQUIRES_FIXED_VERSION};
use const_sv2::{EXTENSION_WORKER_IDENTITY, Protocol};
use extensions_sv2::{ExtensionNegotiationMessage, RequestExtensions};
use mining_sv2::{MiningMessage, SubmitSharesExtended, SubmitSharesStandard};

use crate::channels::client::{
    ClientChannels, ClientError, ClientEvent, ClientReject, Found, OpenTerms, Submission, Work,
};
use crate::clock::{Instant, Now};
use crate::extensions::{ClientExtensions, ClientProgress, ExtensionError};
use crate::messages::{AnyMessage, ForeignFrame, ForwardedFrame, Peer, RouteError, Router};
use crate::setup::{Endpoint, SetupError, SetupRequest};

/// How long the server may take to answer setup or a request for a channel; then the connection ends.
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server is waited for that may not know of extensions, and then says nothing (EX-28).
pub const EXTENSIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// Shares without an answer from which on silence means something: deployed servers acknowledge up to ten at once.
pub const SILENT_SHARES: usize = 32;

/// How long a server may say nothing while [`SILENT_SHARES`] wait; then the connection ends.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests for channels that wait for an answer and are watched. Of more, the first are.
const MAX_WATCHED_OPENS: usize = 1_024;

/// Room kept for outputs: a message to a group of thousands of channels is news for each, and rare.
const OUTPUTS_KEPT: usize = 64;

/// Bytes of a server's words that are kept for a log.
const MAX_WORDS_LEN: usize = 120;

/// What to ask a server for.
#[derive(Clone, Debug)]
pub struct UpstreamTerms {
    /// What to say of ourselves, and of the server's address.
    pub endpoint: Endpoint<'static>,
    /// Flags of `SetupConnection`.
    pub flags: u32,
    /// Extensions to ask for; nothing is asked when empty.
    pub extensions: Vec<u16>,
    /// Time for answers to setup and to requests for channels.
    pub answer_timeout: Duration,
    /// Whether a server is left that breaks its word ([`ClientReject::is_broken_word`]) or says nothing while shares wait.
    /// Who has others to go to wants that; with one server only, what it says wrong is counted and changes nothing.
    pub is_strict: bool,
}

impl Default for UpstreamTerms {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::default(),
            flags: 0,
            extensions: Vec::new(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
            is_strict: true,
        }
    }
}

/// A share with what goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutgoingShare {
    /// The message.
    pub message: SubmitSharesExtended<'static>,
    /// The worker's name, to be appended as extension 0x0002 has it; `None` where that was not negotiated. At most 32
    /// bytes.
    pub worker: Option<Arc<str>>,
}

/// What the shell or the owner is to do.
#[derive(Clone, Debug)]
pub enum UpstreamOutput {
    /// Send this.
    Send(AnyMessage<'static>),
    /// Send this share.
    Share(OutgoingShare),
    /// Send this share of a standard channel.
    StandardShare(SubmitSharesStandard),
    /// Send this as it is.
    Forward(ForwardedFrame),
    /// Take note.
    Event(UpstreamEvent),
    /// Close the connection; nothing follows.
    Close(UpstreamEnd),
}

/// What a server did that the owner wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamEvent {
    /// Channels may be opened now.
    Ready,
    /// Something happened on a channel.
    Channel(ClientEvent),
    /// A frame of an unknown extension for the endpoint of a channel, which is somebody else where channels are handed on.
    Foreign {
        /// The channel.
        channel_id: u32,
        /// The frame as it came.
        frame: ForwardedFrame,
    },
    /// Another endpoint stands behind a channel: what extensions knew of it is void (CM-17). Those of the connection are
    /// negotiated anew already.
    EndpointChanged {
        /// The channel.
        channel_id: u32,
    },
    /// The server asks us to come again, maybe elsewhere; it stays connected until the owner closes.
    Reconnect {
        /// Host, the same when empty.
        host: String,
        /// Port, the same when 0.
        port: u16,
    },
}

/// Why a connection to an upstream ends.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamEnd {
    /// The server refused the connection.
    #[error("the server refuses the connection: {code}, unsupported flags {flags:#x}")]
    SetupRefused {
        /// The server's words.
        code: String,
        /// Flags that it does not support.
        flags: u32,
    },
    /// The server's answer does not fit.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The server asks for extensions that are not known here.
    #[error("extensions: {0}")]
    Extensions(#[from] ExtensionError),
    /// The server does not answer.
    #[error("the server did not answer in time")]
    NoAnswer,
    /// The server takes shares and says nothing.
    #[error("the server says nothing while shares wait")]
    Silent,
    /// A frame that is no message for us.
    #[error("the server sent a frame that cannot be taken: {0}")]
    Frame(#[from] RouteError),
    /// A message that no server in its right mind sends: what else it says cannot be relied upon.
    #[error("the server does not keep to what was agreed: {0}")]
    BrokenWord(ClientReject),
    /// A message that has no place there.
    #[error("{message} is out of order")]
    OutOfOrder {
        /// Its name.
        message: &'static str,
    },
}

impl UpstreamEnd {
    /// A fixed name, for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::SetupRefused { .. } => "setup-refused",
            Self::Setup(_) => "setup",
            Self::Extensions(_) => "extensions",
            Self::NoAnswer => "no-answer",
            Self::Silent => "silent",
            Self::Frame(_) => "frame",
            Self::BrokenWord(ClientReject::UnknownChannel) => "unknown-channel",
            Self::BrokenWord(ClientReject::BadExtranonceSize) => "extranonce-size",
            Self::BrokenWord(ClientReject::TargetTooEasy) => "target-too-easy",
            Self::BrokenWord(ClientReject::UnsentShare) => "unsent-share",
            Self::BrokenWord(_) => "broken-word",
            Self::OutOfOrder { .. } => "out-of-order",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Setup,
    Extensions,
    Open,
    Closed,
}

/// One connection to an upstream.
#[derive(Debug)]
pub struct UpstreamSession {
    request: SetupRequest,
    router: Router,
    phase: Phase,
    extensions: ClientExtensions,
    answer_timeout: Duration,
    is_strict: bool,
    deadline: Option<Instant>,
    channels: ClientChannels,
    /// Requests for channels, by the time the answer is due.
    opens: VecDeque<(u32, Instant)>,
    server_flags: u32,
    /// Shares sent since the server last said anything, and when the first of them went out.
    unheard: usize,
    unheard_since: Instant,
    ignored_frames: u64,
    outputs: VecDeque<UpstreamOutput>,
}

impl UpstreamSession {
    /// A connection that was just made; its first output is `SetupConnection`.
    pub fn new(terms: UpstreamTerms, now: Now) -> Self {
        let request = SetupRequest::mining(terms.flags);
        let first: CommonMessage<'static> = request.message(&terms.endpoint).into();
        Self {
            request,
            router: Router::new(Protocol::MINING, Peer::Server),
            phase: Phase::Setup,
            extensions: ClientExtensions::new(&terms.extensions, &[]),
            answer_timeout: terms.answer_timeout,
            is_strict: terms.is_strict,
            deadline: Some(now.instant + terms.answer_timeout),
            channels: ClientChannels::new(),
            opens: VecDeque::new(),
            server_flags: 0,
            unheard: 0,
            unheard_since: now.instant,
            ignored_frames: 0,
            outputs: VecDeque::from([UpstreamOutput::Send(first.into())]),
        }
    }

    /// The channels, to look at.
    pub const fn channels(&self) -> &ClientChannels {
        &self.channels
    }

    /// Whether the server wants jobs' versions left as they are.
    pub const fn has_fixed_version(&self) -> bool {
        self.server_flags & REQUIRES_FIXED_VERSION != 0
    }

    /// Whether the server opens no standard channels.
    pub const fn requires_extended_channels(&self) -> bool {
        self.server_flags & REQUIRES_EXTENDED_CHANNELS != 0
    }

    /// Whether workers' names go along with shares.
    pub fn names_workers(&self) -> bool {
        self.extensions.is_negotiated(EXTENSION_WORKER_IDENTITY)
    }

    /// Whether channels may be opened.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Frames of unknown kinds, which are discarded.
    pub const fn ignored_frames(&self) -> u64 {
        self.ignored_frames
    }

    /// Takes a frame of the server; `extension_type` includes the channel bit. One of an unknown kind is counted and
    /// discarded (FR-17, FR-18).
    pub fn handle_frame(&mut self, extension_type: u16, msg_type: u8, payload: &[u8], now: Now) {
        self.unheard = 0;
        match self.router.route(extension_type, msg_type, payload) {
            Ok(routed) => self.handle_message(&routed.message, now),
            Err(error) if error.is_ignored() => {
                let foreign = ForeignFrame::from_error(&error, extension_type, msg_type, payload);
                match foreign.filter(|_| self.is_open()) {
                    Some(frame) => self.event(UpstreamEvent::Foreign {
                        channel_id: frame.channel_id,
                        frame: frame.for_channel(frame.channel_id),
                    }),
                    None => self.ignored_frames += 1,
                }
            }
            Err(error) => self.end(error.into()),
        }
    }

    /// Sends a frame of an unknown extension, for the endpoint of a channel.
    pub fn forward(&mut self, frame: ForwardedFrame) {
        if self.is_open() {
            self.outputs.push_back(UpstreamOutput::Forward(frame));
        }
    }

    /// Counts a frame that nobody takes.
    pub const fn ignore_frame(&mut self) {
        self.ignored_frames += 1;
    }

    /// Takes a message of the server.
    pub fn handle_message(&mut self, message: &AnyMessage<'_>, now: Now) {
        match (self.phase, message) {
            (Phase::Closed, _) => {}
            (Phase::Setup, AnyMessage::Common(message)) => self.handle_setup(message, now),
            (Phase::Setup, other) => self.out_of_order(other),
            (_, AnyMessage::Common(CommonMessage::Reconnect(message))) => {
                self.event(UpstreamEvent::Reconnect {
                    host: message.new_host.as_str().unwrap_or("?").into(),
                    port: message.new_port,
                });
            }
            (_, AnyMessage::Common(CommonMessage::ChannelEndpointChanged(message))) => {
                self.handle_endpoint_changed(message.channel_id);
            }
            (_, AnyMessage::ExtensionNegotiation(answer)) => self.handle_extensions(answer, now),
            (_, AnyMessage::Mining(message)) => self.handle_mining(message, now),
            (_, other) => self.out_of_order(other),
        }
    }

    fn handle_setup(&mut self, message: &CommonMessage<'_>, now: Now) {
        match message {
            CommonMessage::SetupConnectionSuccess(message) => {
                match self.request.handle_success(message) {
                    Ok(accepted) => {
                        self.server_flags = accepted.server_flags;
                        self.negotiate(now);
                    }
                    Err(error) => self.end(error.into()),
                }
            }
            CommonMessage::SetupConnectionError(message) => self.end(UpstreamEnd::SetupRefused {
                code: words(&message.error_code),
                flags: message.flags,
            }),
            other => self.end(UpstreamEnd::OutOfOrder {
                message: other.kind().name,
            }),
        }
    }

    /// Nothing else is sent before the answer, or before it is clear that there will be none (EX-26).
    fn negotiate(&mut self, now: Now) {
        match self.extensions.request() {
            Some(request) => {
                self.phase = Phase::Extensions;
                self.deadline = Some(now.instant + EXTENSIONS_TIMEOUT);
                self.send_request(request);
            }
            None => self.open(),
        }
    }

    fn send_request(&mut self, request: RequestExtensions<'static>) {
        let request: ExtensionNegotiationMessage<'static> = request.into();
        self.send(request.into());
    }

    fn handle_extensions(&mut self, answer: &ExtensionNegotiationMessage<'_>, now: Now) {
        match self.extensions.handle_answer(answer) {
            Ok(ClientProgress::Retry) if self.phase == Phase::Extensions => self.negotiate(now),
            Ok(ClientProgress::Retry) => {
                if let Some(request) = self.extensions.request() {
                    self.send_request(request);
                }
            }
            Ok(ClientProgress::Settled) if self.phase == Phase::Extensions => self.open(),
            Ok(ClientProgress::Settled) => {}
            // An answer that comes when nobody waits any more changes nothing.
            Err(ExtensionError::UnexpectedAnswer { .. }) => self.ignored_frames += 1,
            Err(error) => self.end(error.into()),
        }
    }

    /// What extensions knew of the channel is forgotten: here that is what was negotiated, the rest is the owner's (CM-17).
    fn handle_endpoint_changed(&mut self, channel_id: u32) {
        if self.channels.channel(channel_id).is_none() {
            self.ignored_frames += 1;
            return;
        }
        if let Some(request) = self.extensions.request() {
            self.send_request(request);
        }
        self.event(UpstreamEvent::EndpointChanged { channel_id });
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        self.deadline = None;
        self.event(UpstreamEvent::Ready);
    }

    fn handle_mining(&mut self, message: &MiningMessage<'_>, now: Now) {
        // What breaks the rules is counted by the channels and changes nothing.
        let handled = self.channels.handle_message(message, now);
        while let Some(event) = self.channels.poll_output() {
            match event {
                ClientEvent::Send(message) => self.send(message.into()),
                ClientEvent::Opened { request_id, .. }
                | ClientEvent::OpenRefused { request_id, .. } => {
                    self.opens.retain(|(open, _)| *open != request_id);
                    self.event(UpstreamEvent::Channel(event));
                }
                event => self.event(UpstreamEvent::Channel(event)),
            }
        }
        if let Err(reason) = handled
            && self.is_strict
            && reason.is_broken_word()
        {
            self.end(UpstreamEnd::BrokenWord(reason));
        }
    }

    /// Asks for a standard channel; gives the number of the request.
    ///
    /// # Errors
    /// As [`Self::open_extended`].
    pub fn open_standard(
        &mut self,
        user_identity: Str0255<'static>,
        terms: OpenTerms,
        now: Now,
    ) -> Result<u32, ClientError> {
        if !self.is_open() {
            return Err(ClientError::NotOpen);
        }
        let request = self.channels.open_standard(user_identity, terms)?;
        let request_id = request.request_id;
        self.watch(request_id, now);
        self.send(MiningMessage::from(request).into());
        Ok(request_id)
    }

    /// The answer to a request for a channel is due.
    fn watch(&mut self, request_id: u32, now: Now) {
        if self.opens.len() < MAX_WATCHED_OPENS {
            let due = now.instant + self.answer_timeout;
            self.opens.push_back((request_id, due));
        }
    }

    /// Asks for an extended channel; gives the number of the request.
    ///
    /// # Errors
    /// [`ClientError::NotOpen`] before [`UpstreamEvent::Ready`]; too many channels or requests.
    pub fn open_extended(
        &mut self,
        user_identity: Str0255<'static>,
        terms: OpenTerms,
        now: Now,
    ) -> Result<u32, ClientError> {
        if !self.is_open() {
            return Err(ClientError::NotOpen);
        }
        let request = self.channels.open_extended(user_identity, terms)?;
        let request_id = request.request_id;
        self.watch(request_id, now);
        self.send(MiningMessage::from(request).into());
        Ok(request_id)
    }

    /// Tells the server of another hash rate or limit of a channel.
    ///
    /// # Errors
    /// [`ClientError::NotOpen`].
    pub fn update(&mut self, channel_id: u32, terms: OpenTerms) -> Result<(), ClientError> {
        let message = self.channels.update(channel_id, terms)?;
        self.send(MiningMessage::from(message).into());
        Ok(())
    }

    /// Ends a channel (MC-9).
    ///
    /// # Errors
    /// [`ClientError::NotOpen`].
    pub fn close_channel(
        &mut self,
        channel_id: u32,
        reason_code: Str0255<'static>,
    ) -> Result<(), ClientError> {
        let message = self.channels.close(channel_id, reason_code)?;
        self.send(MiningMessage::from(message).into());
        Ok(())
    }

    /// Hands in a share; gives its sequence number. The worker's name goes along where that was negotiated.
    ///
    /// # Errors
    /// Why it cannot be handed in: the channel is closed, the work is stale, the extranonce has the wrong size.
    pub fn submit(
        &mut self,
        work: &Work,
        found: &Found<'_>,
        worker: Option<&Arc<str>>,
        now: Now,
    ) -> Result<u32, ClientError> {
        if !self.is_open() {
            return Err(ClientError::NotOpen);
        }
        let submission = self.channels.submit(work, found)?;
        Ok(self.hand_in(submission, worker, now))
    }

    /// The same for a block, whatever the tip: it earns nothing as a share, and may yet win over another block.
    ///
    /// # Errors
    /// The channel is closed, the extranonce has the wrong size.
    pub fn submit_block(
        &mut self,
        work: &Work,
        found: &Found<'_>,
        worker: Option<&Arc<str>>,
        now: Now,
    ) -> Result<u32, ClientError> {
        if !self.is_open() {
            return Err(ClientError::NotOpen);
        }
        let submission = self.channels.submit_block(work, found)?;
        Ok(self.hand_in(submission, worker, now))
    }

    fn hand_in(&mut self, submission: Submission<'_>, worker: Option<&Arc<str>>, now: Now) -> u32 {
        if self.unheard == 0 {
            self.unheard_since = now.instant;
        }
        self.unheard += 1;
        let (sequence_number, output) = match submission {
            Submission::Standard(share) => {
                (share.sequence_number, UpstreamOutput::StandardShare(share))
            }
            Submission::Extended(share) => {
                let worker = worker.filter(|_| self.names_workers()).cloned();
                let sequence_number = share.sequence_number;
                let message = share.into_owned();
                let share = OutgoingShare { message, worker };
                (sequence_number, UpstreamOutput::Share(share))
            }
        };
        self.outputs.push_back(output);
        sequence_number
    }

    /// All that the server sent and that changed nothing: frames of unknown kinds, answers to nothing, messages that
    /// break the rules.
    pub fn ignored(&self) -> u64 {
        let reasons = ClientReject::ALL.into_iter();
        self.ignored_frames + reasons.map(|reason| self.rejected(reason)).sum::<u64>()
    }

    /// Messages of the server that changed nothing, by reason.
    pub fn rejected(&self, reason: ClientReject) -> u64 {
        self.channels.rejected(reason)
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<UpstreamOutput> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(OUTPUTS_KEPT);
        }
        output
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        let open = self.opens.front().map(|(_, due)| *due);
        let is_unheard = self.is_strict && self.unheard >= SILENT_SHARES;
        let silence = is_unheard.then(|| self.unheard_since + SILENCE_TIMEOUT);
        [self.deadline, open, silence].into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if !due(self.poll_timeout()) {
            return;
        }
        if due(self.opens.front().map(|(_, due)| *due)) {
            return self.end(UpstreamEnd::NoAnswer);
        }
        if due(self.deadline) {
            return match self.phase {
                Phase::Extensions => match self.extensions.handle_no_answer() {
                    Ok(_) => self.open(),
                    Err(error) => self.end(error.into()),
                },
                _ => self.end(UpstreamEnd::NoAnswer),
            };
        }
        self.end(UpstreamEnd::Silent);
    }

    fn out_of_order(&mut self, message: &AnyMessage<'_>) {
        self.end(UpstreamEnd::OutOfOrder {
            message: message.kind().name,
        });
    }

    fn send(&mut self, message: AnyMessage<'static>) {
        self.outputs.push_back(UpstreamOutput::Send(message));
    }

    fn event(&mut self, event: UpstreamEvent) {
        self.outputs.push_back(UpstreamOutput::Event(event));
    }

    fn end(&mut self, end: UpstreamEnd) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.outputs.push_back(UpstreamOutput::Close(end));
        }
    }
}

/// A server's words, fit for a log: printable, and not too many.
pub fn words(text: &Str0255<'_>) -> String {
    let text = String::from_utf8_lossy(text.as_bytes());
    let escaped = text.chars().flat_map(char::escape_default);
    escaped.take(MAX_WORDS_LEN).collect()
}

#[cfg(test)]
mod tests;
