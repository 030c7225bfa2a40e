//! A miner's connection, as every mining server holds it: from `SetupConnection` to its end, without I/O.
//!
//! [`DownstreamSession`] sets the connection up, negotiates extensions, and has the channels judge shares. Who may open a
//! channel, and on what it mines, is its owner's decision ([`ChannelOwner`]): a pool's, a proxy's.
//!
//! ```
//! use std::sync::Arc;
//! use binary_sv2::Encodable;
//! use roles_logic_sv2::channels::server::{OpenRefusal, OpenRequest, ServerChannels};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::downstream::{ChannelOwner, DownstreamOutput, DownstreamSession, DownstreamTerms};
//! use roles_logic_sv2::setup::{Endpoint, SetupRequest};
//!
//! /// Opens no channel.
//! struct Closed;
//!
//! impl ChannelOwner for Closed {
//!     fn open(&mut self, channels: &mut ServerChannels, request: OpenRequest, _: &[u8], _: Now) {
//!         channels.refuse(request, OpenRefusal::CapacityExhausted);
//!     }
//! }
//!
//! let now = Now::default();
//! let mut session = DownstreamSession::new(Arc::new(DownstreamTerms::default()), now);
//! let setup = SetupRequest::mining(0).message(&Endpoint::default()).to_vec();
//! session.handle_frame(0, 0x00, &setup, &mut Closed, now);
//! let Some(DownstreamOutput::Send(answer)) = session.poll_output() else { panic!("setup is answered") };
//! assert_eq!(answer.kind().name, "SetupConnection.Success");
//! ```

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use binary_sv2::{BufferTooShort, Encodable, Writer};
use common_messages_sv2::{ChannelEndpointChanged, CommonMessage, Reconnect};
use const_sv2::error_codes::set_custom_mining_job::JD_NOT_SUPPORTED;
use const_sv2::{EXTENSION_WORKER_IDENTITY, MessageKind, Protocol};
use extensions_sv2::{ExtensionNegotiationMessage, WorkerIdentity};
use mining_sv2::{MiningMessage, SubmitSharesExtended, SubmitSharesStandard};

use crate::channels::WorkState;
use crate::channels::server::{
    BlockFound, Ignored, OpenRequest, Output, PendingAck, ServerChannels, ServerConfig,
    ServerFlags, ServerMessage,
};
use crate::clock::{Instant, Now};
use crate::extensions::{ExtensionError, ExtensionPolicy, ServerExtensions};
use crate::extranonce::ExtranoncePrefix;
use crate::messages::{AnyMessage, ForeignFrame, ForwardedFrame, Peer, RouteError, Router};
use crate::setup::{SetupPolicy, SetupRefusal};
use crate::share::{RejectReason, Share, Verdict};

/// Workers that one connection may name by default.
pub const DEFAULT_MAX_WORKERS: usize = 10_000;

/// What a worker's counters are named when the connection names too many workers.
const OTHER_WORKERS: &[u8] = b"(other workers)";

/// Outputs kept allocated when all are taken; more is given back.
const MAX_OUTPUTS_KEPT: usize = 16;

/// What the operator sets, the same for all connections.
#[derive(Clone, Debug)]
pub struct DownstreamTerms {
    /// What a connection may ask for at setup.
    pub setup: SetupPolicy,
    /// Extensions supported and required.
    pub extensions: ExtensionPolicy,
    /// Rules of channels.
    pub channels: Arc<ServerConfig>,
    /// Workers that one connection may name by extension 0x0002; the shares of further ones are counted together.
    pub max_workers: usize,
    /// How long a connection may take.
    pub deadlines: Deadlines,
}

impl Default for DownstreamTerms {
    /// Mining without conditions; worker identity is supported.
    fn default() -> Self {
        Self {
            setup: SetupPolicy::mining(),
            extensions: ExtensionPolicy::new([EXTENSION_WORKER_IDENTITY], []),
            channels: Arc::new(ServerConfig::default()),
            max_workers: DEFAULT_MAX_WORKERS,
            deadlines: Deadlines::default(),
        }
    }
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From connect to `SetupConnection`.
    pub setup: Duration,
    /// From setup, or from the last channel's end, to the next channel (MS-20).
    pub first_channel: Duration,
    /// From `Reconnect` to the end of a connection that is drained; longer than a slice of shares stays open.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            setup: Duration::from_secs(10),
            first_channel: Duration::from_secs(60),
            drain: Duration::from_secs(3),
        }
    }
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Setup was refused.
    #[error("setup refused: {0}")]
    Setup(#[from] SetupRefusal),
    /// Extension negotiation failed.
    #[error("extensions: {0}")]
    Extensions(#[from] ExtensionError),
    /// A frame that is no message for a mining server.
    #[error("{0}")]
    Route(#[from] RouteError),
    /// A message that only belongs to the start of a connection, or to another role.
    #[error("{message} is out of place here")]
    OutOfPlace {
        /// Name of the message.
        message: &'static str,
    },
    /// No `SetupConnection` came in time.
    #[error("no SetupConnection in time")]
    SetupTimeout,
    /// No channel was opened in time (MS-20).
    #[error("no channel was opened in time")]
    ChannelTimeout,
    /// The server is going down or asks the client to go elsewhere.
    #[error("the server drains its connections")]
    Drained,
    /// There is no work for the client as it is set up: it may find some when it comes again.
    #[error("there is no work that fits the channels of this connection")]
    NoWork,
}

impl CloseReason {
    /// A fixed name, for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Setup(SetupRefusal::UnsupportedProtocol { .. }) => "unsupported-protocol",
            Self::Setup(SetupRefusal::VersionMismatch { .. }) => "protocol-version-mismatch",
            Self::Setup(SetupRefusal::UnsupportedFlags { .. }) => "unsupported-feature-flags",
            Self::Setup(SetupRefusal::OutOfOrder { .. }) => "message-before-setup",
            Self::Setup(_) => "setup-refused",
            Self::Extensions(_) => "extensions",
            Self::Route(RouteError::Malformed { .. }) => "malformed-message",
            Self::Route(_) => "wrong-direction",
            Self::OutOfPlace { .. } => "message-out-of-place",
            Self::SetupTimeout => "setup-timeout",
            Self::ChannelTimeout => "no-channel",
            Self::Drained => "drained",
            Self::NoWork => "no-work",
        }
    }
}

/// A message to the miner, in little memory: the large and rare ones are in a box.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// A common message.
    Common(Box<CommonMessage<'static>>),
    /// A message of extension 0x0001.
    Extension(Box<ExtensionNegotiationMessage<'static>>),
    /// A message of the mining protocol.
    Mining(ServerMessage),
}

impl Outgoing {
    /// The message's line in the tables of the specification.
    pub const fn kind(&self) -> &'static MessageKind {
        match self {
            Self::Common(message) => message.kind(),
            Self::Extension(message) => message.kind(),
            Self::Mining(message) => message.kind(),
        }
    }
}

impl Encodable for Outgoing {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Common(message) => message.encoded_len(),
            Self::Extension(message) => message.encoded_len(),
            Self::Mining(message) => message.encoded_len(),
        }
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
        match self {
            Self::Common(message) => message.encode(writer),
            Self::Extension(message) => message.encode(writer),
            Self::Mining(message) => message.encode(writer),
        }
    }
}

/// What a connection wants done.
#[derive(Debug)]
pub enum DownstreamOutput {
    /// Send this to the miner.
    Send(Outgoing),
    /// Send this as it is.
    Forward(ForwardedFrame),
    /// Store these shares, then call [`DownstreamSession::handle_persisted`].
    Persist(PendingAck),
    /// Hand in this block now, before anything else.
    SubmitBlock(Box<BlockFound>),
    /// A channel is gone. Its last shares were handed out before this.
    Closed {
        /// The channel.
        channel_id: u32,
        /// Its extranonce prefix, for the allocator.
        extranonce_prefix: ExtranoncePrefix,
    },
    /// No job uses this extranonce prefix any more; it goes back to the allocator.
    Released(ExtranoncePrefix),
    /// Send what is queued, then close.
    Close(CloseReason),
}

/// A share that was judged.
#[derive(Clone, Copy, Debug)]
pub struct JudgedShare<'a> {
    /// The channel that it came on; it may not exist.
    pub channel_id: u32,
    /// Its number, as the client gave it.
    pub sequence_number: u32,
    /// The job that it names.
    pub job_id: u32,
    /// What was found.
    pub share: Share<'a>,
    /// Who found it, by extension 0x0002.
    pub worker: Option<&'a [u8]>,
    /// What it is worth.
    pub verdict: &'a Verdict,
}

/// Who decides about the channels of a connection, lent to it for one call.
pub trait ChannelOwner {
    /// Answers a request for a channel that is sound as far as the protocol goes: with [`ServerChannels::open`] or
    /// [`ServerChannels::refuse`], now or, by [`DownstreamSession::with_channels`], later.
    fn open(
        &mut self,
        channels: &mut ServerChannels,
        request: OpenRequest,
        user_identity: &[u8],
        now: Now,
    );

    /// Takes note of a share that was judged and answered.
    fn judged(&mut self, _share: &JudgedShare<'_>, _channels: &ServerChannels) {}

    /// Takes note of another hash rate or limit of a channel.
    fn updated(&mut self, _channel_id: u32) {}

    /// Takes a frame of an unknown extension to where the channel ends; whether it did. Otherwise it is discarded.
    fn forward(&mut self, _frame: &ForeignFrame<'_>) -> bool {
        false
    }
}

/// What one worker behind a connection did, by extension 0x0002.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerCounters {
    /// Accepted shares.
    pub accepted: u64,
    /// Rejected shares.
    pub rejected: u64,
    /// Difficulties of the accepted shares, summed.
    pub difficulty: f64,
}

/// Frames that were discarded, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Frames of extensions unknown here (FR-17).
    pub unknown_extension: u64,
    /// Messages unknown to the mining protocol (FR-18).
    pub unknown_message: u64,
    /// Shares whose worker identity is above 32 bytes; answered `invalid-share`.
    pub oversized_worker_identity: u64,
    /// Messages with the channel bit set wrong; handled all the same.
    pub wrong_channel_bit: u64,
    /// Messages after the time to drain was over, when only acknowledgements are sent.
    pub after_drain: u64,
}

impl Discarded {
    /// Each count with its name in metrics and logs. The names never change.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("unknown-extension", self.unknown_extension),
            ("unknown-message", self.unknown_message),
            ("oversized-worker-identity", self.oversized_worker_identity),
            ("wrong-channel-bit", self.wrong_channel_bit),
            ("message-after-drain", self.after_drain),
        ]
    }
}

#[derive(Debug)]
struct Open {
    channels: ServerChannels,
    extensions: ServerExtensions,
    has_checked_extensions: bool,
    workers: BTreeMap<Vec<u8>, WorkerCounters>,
    /// When the connection is closed unless a channel is open by then.
    channel_deadline: Option<Instant>,
    drain: Drain,
    /// Slices handed to the ledger and not yet confirmed.
    unconfirmed: usize,
}

/// How far the end of a connection that is drained has come.
#[derive(Clone, Copy, Debug)]
enum Drain {
    No,
    /// The miner was asked to go; its shares are taken until then.
    Asked {
        until: Instant,
    },
    /// No shares are taken any more; the connection closes when all are acknowledged, at the latest then.
    Ending {
        until: Instant,
    },
}

impl Drain {
    const fn until(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Asked { until } | Self::Ending { until } => Some(until),
        }
    }
}

#[derive(Debug)]
enum Phase {
    Setup { deadline: Instant },
    Open(Box<Open>),
    Closed,
}

/// One miner's connection.
#[derive(Debug)]
pub struct DownstreamSession {
    terms: Arc<DownstreamTerms>,
    phase: Phase,
    outputs: VecDeque<DownstreamOutput>,
    discarded: Discarded,
    /// What the channels discarded, kept for when they are gone.
    ignored: Ignored,
}

impl DownstreamSession {
    /// A connection that was just accepted.
    pub fn new(terms: Arc<DownstreamTerms>, now: Now) -> Self {
        Self {
            phase: Phase::Setup {
                deadline: now.instant + terms.deadlines.setup,
            },
            terms,
            outputs: VecDeque::new(),
            discarded: Discarded::default(),
            ignored: Ignored::default(),
        }
    }

    /// A frame from the miner; `extension_type` with the channel bit.
    pub fn handle_frame(
        &mut self,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        owner: &mut impl ChannelOwner,
        now: Now,
    ) {
        let router = Router::new(Protocol::MINING, Peer::Client);
        match router.route(extension_type, msg_type, payload) {
            Ok(routed) => {
                self.discarded.wrong_channel_bit += u64::from(!routed.is_channel_bit_right);
                self.handle_message(&routed.message, routed.trailing, owner, now);
            }
            Err(error @ RouteError::UnknownExtension { .. }) => {
                let frame = ForeignFrame::from_error(&error, extension_type, msg_type, payload);
                let is_open = matches!(self.phase, Phase::Open(_));
                let is_taken = frame.is_some_and(|frame| is_open && owner.forward(&frame));
                self.discarded.unknown_extension += u64::from(!is_taken);
            }
            Err(error) if error.is_ignored() => self.discarded.unknown_message += 1,
            Err(error) => self.close(error.into()),
        }
    }

    /// Sends a frame of an unknown extension that came for a channel of this connection.
    pub fn forward(&mut self, frame: ForwardedFrame) {
        if matches!(self.phase, Phase::Open(_)) {
            self.outputs.push_back(DownstreamOutput::Forward(frame));
        }
    }

    /// Says that another endpoint stands behind a channel: what extensions knew of it is void (CM-16).
    pub fn endpoint_changed(&mut self, channel_id: u32) {
        if matches!(self.phase, Phase::Open(_)) {
            let message = CommonMessage::from(ChannelEndpointChanged { channel_id });
            let message = Outgoing::Common(Box::new(message));
            self.outputs.push_back(DownstreamOutput::Send(message));
        }
    }

    fn handle_message(
        &mut self,
        message: &AnyMessage<'_>,
        trailing: &[u8],
        owner: &mut impl ChannelOwner,
        now: Now,
    ) {
        let handled = match &mut self.phase {
            Phase::Setup { .. } => self.handle_setup(message, now),
            Phase::Open(open) if matches!(open.drain, Drain::Ending { .. }) => {
                self.discarded.after_drain += 1;
                return;
            }
            Phase::Open(open) => {
                let discarded = &mut self.discarded;
                open.handle_message(message, trailing, &self.terms, owner, discarded, now)
            }
            Phase::Closed => return,
        };
        match handled {
            Ok(Some(answer)) => self.outputs.push_back(DownstreamOutput::Send(answer)),
            Ok(None) => {}
            Err(reason) => self.close(reason),
        }
        self.collect(now);
    }

    fn handle_setup(
        &mut self,
        message: &AnyMessage<'_>,
        now: Now,
    ) -> Result<Option<Outgoing>, CloseReason> {
        let terms = &self.terms;
        let accepted = terms.setup.handle_first(message).inspect_err(|refusal| {
            let answer = refusal
                .message()
                .map(|answer| Outgoing::Common(Box::new(answer.into())));
            self.outputs.extend(answer.map(DownstreamOutput::Send));
        })?;
        let channels = ServerChannels::new(terms.channels.clone(), ServerFlags::from(&accepted));
        self.phase = Phase::Open(Box::new(Open {
            channels,
            extensions: ServerExtensions::default(),
            has_checked_extensions: false,
            workers: BTreeMap::new(),
            channel_deadline: Some(now.instant + terms.deadlines.first_channel),
            drain: Drain::No,
            unconfirmed: 0,
        }));
        Ok(Some(Outgoing::Common(Box::new(accepted.message().into()))))
    }

    /// There is new work.
    pub fn handle_work(&mut self, work: &Arc<WorkState>, now: Now) {
        self.with_channels(now, |channels| channels.handle_work(work));
    }

    /// Has the owner act on the channels; `None` before setup and after the end.
    pub fn with_channels<T>(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut ServerChannels) -> T,
    ) -> Option<T> {
        let Phase::Open(open) = &mut self.phase else {
            return None;
        };
        let acted = act(&mut open.channels);
        self.collect(now);
        Some(acted)
    }

    /// The ledger has these shares: acknowledge them.
    pub fn handle_persisted(&mut self, ack: PendingAck, now: Now) {
        if let Phase::Open(open) = &mut self.phase {
            open.channels.handle_persisted(ack);
            open.unconfirmed = open.unconfirmed.saturating_sub(1);
            self.collect(now);
            self.end_when_confirmed();
        }
    }

    /// The time that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        match &mut self.phase {
            Phase::Setup { deadline } if *deadline <= now.instant => {
                self.close(CloseReason::SetupTimeout);
            }
            Phase::Open(open) if is_due(open.drain.until()) => self.handle_drain_timeout(now),
            Phase::Open(open) if is_due(open.channel_deadline) => {
                self.close(CloseReason::ChannelTimeout);
            }
            Phase::Open(open) => {
                open.channels.handle_timeout(now);
                self.collect(now);
            }
            Phase::Setup { .. } | Phase::Closed => {}
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Setup { deadline } => Some(*deadline),
            Phase::Open(open) => [
                open.drain.until(),
                open.channel_deadline,
                open.channels.poll_timeout(),
            ]
            .into_iter()
            .flatten()
            .min(),
            Phase::Closed => None,
        }
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<DownstreamOutput> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > MAX_OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Asks the miner to connect again, to `host` and `port` where given (empty and 0: the same), and ends after
    /// [`Deadlines::drain`] unless the miner is gone before.
    ///
    /// Until then shares are taken and acknowledged as ever. At the end the last ones are handed out, and the connection
    /// closes when they are acknowledged, or after the same time again when the ledger does not confirm them.
    pub fn drain(&mut self, host: &str, port: u16, now: Now) {
        match &mut self.phase {
            Phase::Open(open) if matches!(open.drain, Drain::No) => {
                let until = now.instant + self.terms.deadlines.drain;
                open.drain = Drain::Asked { until };
                // What is acknowledged now leaves in one write with the message, so a miner that goes at once has it.
                open.channels.close_slices();
                let message = Reconnect {
                    new_host: host.to_owned().try_into().unwrap_or_default(),
                    new_port: port,
                };
                let message = Outgoing::Common(Box::new(message.into()));
                self.outputs.push_back(DownstreamOutput::Send(message));
                self.collect(now);
            }
            Phase::Setup { .. } => self.close(CloseReason::Drained),
            Phase::Open(_) | Phase::Closed => {}
        }
    }

    fn handle_drain_timeout(&mut self, now: Now) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match open.drain {
            Drain::Asked { .. } => {
                let until = now.instant + self.terms.deadlines.drain;
                open.drain = Drain::Ending { until };
                open.channels.close_slices();
                self.collect(now);
                self.end_when_confirmed();
            }
            Drain::No | Drain::Ending { .. } => self.close(CloseReason::Drained),
        }
    }

    fn end_when_confirmed(&mut self) {
        if let Phase::Open(open) = &self.phase
            && open.unconfirmed == 0
            && matches!(open.drain, Drain::Ending { .. })
        {
            self.close(CloseReason::Drained);
        }
    }

    /// The connection is gone: hands out the last shares, gives back what was lent. Nothing is sent any more.
    pub fn handle_disconnected(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.channels.close_all();
            open.take_outputs(&mut self.outputs);
            self.ignored = *open.channels.ignored();
        }
        self.phase = Phase::Closed;
    }

    /// Ends the connection, as [`Self::handle_disconnected`], and has it closed.
    pub fn close(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.handle_disconnected();
        self.outputs.push_back(DownstreamOutput::Close(reason));
    }

    fn collect(&mut self, now: Now) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        open.take_outputs(&mut self.outputs);
        let has_channel = open.channels.channels().len() > 0;
        open.channel_deadline = match (has_channel, open.channel_deadline) {
            (true, _) => None,
            (false, None) => Some(now.instant + self.terms.deadlines.first_channel),
            (false, deadline) => deadline,
        };
    }

    /// The connection's channels; `None` before setup and after the end.
    pub fn channels(&self) -> Option<&ServerChannels> {
        match &self.phase {
            Phase::Open(open) => Some(&open.channels),
            Phase::Setup { .. } | Phase::Closed => None,
        }
    }

    /// The workers that shares named, with their counters.
    pub fn workers(&self) -> impl Iterator<Item = (&[u8], &WorkerCounters)> {
        let open = match &self.phase {
            Phase::Open(open) => Some(open),
            Phase::Setup { .. } | Phase::Closed => None,
        };
        open.into_iter()
            .flat_map(|open| &open.workers)
            .map(|(name, counters)| (name.as_slice(), counters))
    }

    /// What was refused or ignored on the connection's channels so far.
    pub fn ignored(&self) -> Ignored {
        self.channels()
            .map_or(self.ignored, |channels| *channels.ignored())
    }

    /// Frames that were discarded so far.
    pub const fn discarded(&self) -> &Discarded {
        &self.discarded
    }
}

impl Open {
    fn take_outputs(&mut self, outputs: &mut VecDeque<DownstreamOutput>) {
        while let Some(output) = self.channels.poll_output() {
            outputs.push_back(match output {
                Output::Send(message) => DownstreamOutput::Send(Outgoing::Mining(message)),
                Output::Persist(shares) => {
                    self.unconfirmed += 1;
                    DownstreamOutput::Persist(shares)
                }
                Output::SubmitBlock(block) => {
                    outputs.push_front(DownstreamOutput::SubmitBlock(block));
                    continue;
                }
                Output::Released(prefix) => DownstreamOutput::Released(prefix),
                Output::Closed {
                    channel_id,
                    extranonce_prefix,
                } => DownstreamOutput::Closed {
                    channel_id,
                    extranonce_prefix,
                },
            });
        }
    }

    fn handle_message(
        &mut self,
        message: &AnyMessage<'_>,
        trailing: &[u8],
        terms: &DownstreamTerms,
        owner: &mut impl ChannelOwner,
        discarded: &mut Discarded,
        now: Now,
    ) -> Result<Option<Outgoing>, CloseReason> {
        match message {
            AnyMessage::Mining(message) => {
                self.check_extensions(terms)?;
                match message {
                    MiningMessage::SubmitSharesStandard(share) => {
                        self.handle_standard_share(share, owner, now);
                    }
                    MiningMessage::SubmitSharesExtended(share) => {
                        let is_whole =
                            self.handle_extended_share(share, trailing, terms, owner, now);
                        discarded.oversized_worker_identity += u64::from(!is_whole);
                    }
                    other => self.handle_mining(other, owner, now)?,
                }
                Ok(None)
            }
            AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensions(
                request,
            )) => {
                let answer = self.extensions.handle_request(&terms.extensions, request)?;
                self.has_checked_extensions = false;
                Ok(Some(Outgoing::Extension(Box::new(answer))))
            }
            other => Err(CloseReason::OutOfPlace {
                message: other.kind().name,
            }),
        }
    }

    fn check_extensions(&mut self, terms: &DownstreamTerms) -> Result<(), CloseReason> {
        if !self.has_checked_extensions {
            self.extensions
                .check_before_other_message(&terms.extensions)?;
            self.has_checked_extensions = true;
        }
        Ok(())
    }

    fn handle_standard_share(
        &mut self,
        message: &SubmitSharesStandard,
        owner: &mut impl ChannelOwner,
        now: Now,
    ) {
        let verdict = self.channels.handle_submit_standard(message, now);
        let share = JudgedShare {
            channel_id: message.channel_id,
            sequence_number: message.sequence_number,
            job_id: message.job_id,
            share: Share {
                nonce: message.nonce,
                ntime: message.ntime,
                version: message.version,
                extranonce: &[],
            },
            worker: None,
            verdict: &verdict,
        };
        owner.judged(&share, &self.channels);
    }

    /// Whether the fields of extensions behind the message were sound.
    fn handle_extended_share(
        &mut self,
        message: &SubmitSharesExtended<'_>,
        trailing: &[u8],
        terms: &DownstreamTerms,
        owner: &mut impl ChannelOwner,
        now: Now,
    ) -> bool {
        let is_negotiated = self.extensions.is_negotiated(EXTENSION_WORKER_IDENTITY);
        let trailing = if is_negotiated { trailing } else { &[] };
        let found = WorkerIdentity::find(trailing);
        let verdict = match &found {
            Ok(_) => self.channels.handle_submit_extended(message, now),
            Err(_) => {
                let reason = RejectReason::MalformedExtensionField;
                self.channels.reject_submit_extended(message, reason, now)
            }
        };
        let worker = found.as_ref().ok().and_then(Option::as_ref);
        let worker = worker.map(WorkerIdentity::as_bytes);
        if let Some(worker) = worker {
            self.count_worker(worker, &verdict, terms.max_workers);
        }
        let share = JudgedShare {
            channel_id: message.channel_id,
            sequence_number: message.sequence_number,
            job_id: message.job_id,
            share: Share {
                nonce: message.nonce,
                ntime: message.ntime,
                version: message.version,
                extranonce: message.extranonce.as_bytes(),
            },
            worker,
            verdict: &verdict,
        };
        owner.judged(&share, &self.channels);
        found.is_ok()
    }

    fn handle_mining(
        &mut self,
        message: &MiningMessage<'_>,
        owner: &mut impl ChannelOwner,
        now: Now,
    ) -> Result<(), CloseReason> {
        // Refusals are answered and counted where they are found.
        match message {
            MiningMessage::OpenStandardMiningChannel(message) => {
                if let Ok(request) = self.channels.request_standard(message) {
                    let identity = message.user_identity.as_bytes();
                    owner.open(&mut self.channels, request, identity, now);
                }
            }
            MiningMessage::OpenExtendedMiningChannel(message) => {
                if let Ok(request) = self.channels.request_extended(message) {
                    let identity = message.user_identity.as_bytes();
                    owner.open(&mut self.channels, request, identity, now);
                }
            }
            MiningMessage::UpdateChannel(update) => {
                if self.channels.handle_update_channel(update, now).is_ok() {
                    owner.updated(update.channel_id);
                }
            }
            MiningMessage::CloseChannel(close) => self.channels.handle_close_channel(close),
            MiningMessage::SetCustomMiningJob(job) => {
                // Job declaration is not served yet, so a job that is sound as far as channels go is refused as well.
                if self.channels.handle_set_custom_mining_job(job).is_ok() {
                    self.channels.refuse_custom_job(
                        job.channel_id,
                        job.request_id,
                        JD_NOT_SUPPORTED,
                    );
                }
            }
            other => {
                return Err(CloseReason::OutOfPlace {
                    message: other.kind().name,
                });
            }
        }
        Ok(())
    }

    fn count_worker(&mut self, worker: &[u8], verdict: &Verdict, max_workers: usize) {
        let is_known = self.workers.contains_key(worker);
        let name = if is_known || self.workers.len() < max_workers {
            worker
        } else {
            OTHER_WORKERS
        };
        let counters = match self.workers.get_mut(name) {
            Some(counters) => counters,
            None => self.workers.entry(name.to_vec()).or_default(),
        };
        match &verdict.outcome {
            Ok(share) => {
                counters.accepted += 1;
                counters.difficulty += share.difficulty.to_f64();
            }
            Err(_) => counters.rejected += 1,
        }
    }
}
