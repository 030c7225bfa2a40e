//! One miner's connection: setup, extensions, channels, shares.
//!
//! [`Downstream`] has the four verbs of every core. What its connection shares with others on the same core, the
//! [`Shard`], is an argument: it has one owner, who lends it for one call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use binary_sv2::{BufferTooShort, Encodable, Writer};
use bitcoin::Network;
use common_messages_sv2::{CommonMessage, Reconnect};
use const_sv2::error_codes::set_custom_mining_job::JD_NOT_SUPPORTED;
use const_sv2::{EXTENSION_WORKER_IDENTITY, MessageKind, Protocol};
use extensions_sv2::{ExtensionNegotiationMessage, WorkerIdentity};
use mining_sv2::{MiningMessage, OpenExtendedMiningChannel, OpenStandardMiningChannel};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::server::{
    self, BlockFound, Grant, Ignored, OpenRefusal, OpenRequest, PendingAck, ServerChannels,
    ServerFlags, ServerMessage,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::extensions::{ExtensionError, ServerExtensions};
use roles_logic_sv2::extranonce::ExtranonceError;
use roles_logic_sv2::messages::{AnyMessage, Peer, RouteError, Router};
use roles_logic_sv2::setup::SetupRefusal;
use roles_logic_sv2::share::{RejectReason, Verdict};
use thiserror::Error;

use crate::payout::{PayoutChoice, choose};
use crate::shard::{PayoutRefusal, Shard};

/// What a worker's counters are named when the connection names too many workers.
const OTHER_WORKERS: &[u8] = b"(other workers)";

/// Outputs kept allocated when all are taken; more is given back.
const MAX_OUTPUTS_KEPT: usize = 16;

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
    /// The pool is going down or asks the client to go elsewhere.
    #[error("the pool drains its connections")]
    Drained,
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
pub enum Output {
    /// Send this to the miner.
    Send(Outgoing),
    /// Store these shares, then call [`Downstream::handle_persisted`].
    Persist {
        /// Who mined them, as the channel was opened; it may be closed by now.
        user_identity: Arc<[u8]>,
        /// The shares.
        shares: PendingAck,
    },
    /// Hand in this block now, before anything else.
    SubmitBlock(Box<BlockFound>),
    /// Send what is queued, then close.
    Close(CloseReason),
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

/// A channel's user.
#[derive(Debug)]
struct User {
    identity: Arc<[u8]>,
    payout: PayoutChoice,
}

#[derive(Debug)]
struct Open {
    channels: ServerChannels,
    extensions: ServerExtensions,
    has_checked_extensions: bool,
    users: BTreeMap<u32, User>,
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
pub struct Downstream {
    phase: Phase,
    outputs: VecDeque<Output>,
    discarded: Discarded,
    /// What the channels discarded, kept for when they are gone.
    ignored: Ignored,
}

impl Downstream {
    /// A connection that was just accepted.
    pub fn new(shard: &Shard, now: Now) -> Self {
        Self {
            phase: Phase::Setup {
                deadline: now.instant + shard.config().deadlines.setup,
            },
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
        shard: &mut Shard,
        now: Now,
    ) {
        let router = Router::new(Protocol::MINING, Peer::Client);
        match router.route(extension_type, msg_type, payload) {
            Ok(routed) => {
                self.discarded.wrong_channel_bit += u64::from(!routed.is_channel_bit_right);
                self.handle_message(&routed.message, routed.trailing, shard, now);
            }
            Err(RouteError::UnknownExtension { .. }) => self.discarded.unknown_extension += 1,
            Err(error) if error.is_ignored() => self.discarded.unknown_message += 1,
            Err(error) => self.close(error.into(), shard),
        }
    }

    fn handle_message(
        &mut self,
        message: &AnyMessage<'_>,
        trailing: &[u8],
        shard: &mut Shard,
        now: Now,
    ) {
        let handled = match &mut self.phase {
            Phase::Setup { .. } => self.handle_setup(message, shard, now),
            Phase::Open(open) if matches!(open.drain, Drain::Ending { .. }) => {
                self.discarded.after_drain += 1;
                return;
            }
            Phase::Open(open) => {
                open.handle_message(message, trailing, shard, now, &mut self.discarded)
            }
            Phase::Closed => return,
        };
        match handled {
            Ok(Some(answer)) => self.outputs.push_back(Output::Send(answer)),
            Ok(None) => {}
            Err(reason) => self.close(reason, shard),
        }
        self.collect(shard, now);
    }

    fn handle_setup(
        &mut self,
        message: &AnyMessage<'_>,
        shard: &Shard,
        now: Now,
    ) -> Result<Option<Outgoing>, CloseReason> {
        let config = shard.config();
        let accepted = config
            .setup_policy()
            .handle_first(message)
            .inspect_err(|refusal| {
                let answer = refusal
                    .message()
                    .map(|answer| Outgoing::Common(Box::new(answer.into())));
                self.outputs.extend(answer.map(Output::Send));
            })?;
        let mut channels =
            ServerChannels::new(config.channels.clone(), ServerFlags::from(&accepted));
        if let Some(work) = shard.work() {
            channels.handle_work(work);
        }
        self.phase = Phase::Open(Box::new(Open {
            channels,
            extensions: ServerExtensions::default(),
            has_checked_extensions: false,
            users: BTreeMap::new(),
            workers: BTreeMap::new(),
            channel_deadline: Some(now.instant + config.deadlines.first_channel),
            drain: Drain::No,
            unconfirmed: 0,
        }));
        Ok(Some(Outgoing::Common(Box::new(accepted.message().into()))))
    }

    /// There is new work in the shard.
    pub fn handle_work(&mut self, shard: &mut Shard, now: Now) {
        if let (Phase::Open(open), Some(work)) = (&mut self.phase, shard.work()) {
            open.channels.handle_work(work);
            self.collect(shard, now);
        }
    }

    /// The ledger has these shares: acknowledge them.
    pub fn handle_persisted(&mut self, ack: PendingAck, shard: &mut Shard, now: Now) {
        if let Phase::Open(open) = &mut self.phase {
            open.channels.handle_persisted(ack);
            open.unconfirmed = open.unconfirmed.saturating_sub(1);
            self.collect(shard, now);
            self.end_when_confirmed(shard);
        }
    }

    /// The time that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, shard: &mut Shard, now: Now) {
        match &mut self.phase {
            Phase::Setup { deadline } if *deadline <= now.instant => {
                self.close(CloseReason::SetupTimeout, shard)
            }
            Phase::Open(open) if open.drain.until().is_some_and(|due| due <= now.instant) => {
                self.handle_drain_timeout(shard, now);
            }
            Phase::Open(open)
                if open
                    .channel_deadline
                    .is_some_and(|deadline| deadline <= now.instant) =>
            {
                self.close(CloseReason::ChannelTimeout, shard);
            }
            Phase::Open(open) => {
                open.channels.handle_timeout(now);
                self.collect(shard, now);
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
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > MAX_OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Asks the miner to connect again, to `host` and `port` where given (empty and 0: the same), and ends after
    /// [`Deadlines::drain`](crate::shard::Deadlines::drain) unless the miner is gone before.
    ///
    /// Until then shares are taken and acknowledged as ever. At the end the last ones are handed out, and the connection
    /// closes when they are acknowledged, or after the same time again when the ledger does not confirm them.
    pub fn drain(&mut self, host: &str, port: u16, shard: &mut Shard, now: Now) {
        match &mut self.phase {
            Phase::Open(open) if matches!(open.drain, Drain::No) => {
                let until = now.instant + shard.config().deadlines.drain;
                open.drain = Drain::Asked { until };
                // What is acknowledged now leaves in one write with the message, so a miner that goes at once has it.
                open.channels.close_slices();
                let message = Reconnect {
                    new_host: host.to_owned().try_into().unwrap_or_default(),
                    new_port: port,
                };
                self.outputs
                    .push_back(Output::Send(Outgoing::Common(Box::new(message.into()))));
                self.collect(shard, now);
            }
            Phase::Setup { .. } => self.close(CloseReason::Drained, shard),
            Phase::Open(_) | Phase::Closed => {}
        }
    }

    fn handle_drain_timeout(&mut self, shard: &mut Shard, now: Now) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match open.drain {
            Drain::Asked { .. } => {
                let until = now.instant + shard.config().deadlines.drain;
                open.drain = Drain::Ending { until };
                open.channels.close_slices();
                self.collect(shard, now);
                self.end_when_confirmed(shard);
            }
            Drain::No | Drain::Ending { .. } => self.close(CloseReason::Drained, shard),
        }
    }

    fn end_when_confirmed(&mut self, shard: &mut Shard) {
        if let Phase::Open(open) = &self.phase
            && open.unconfirmed == 0
            && matches!(open.drain, Drain::Ending { .. })
        {
            self.close(CloseReason::Drained, shard);
        }
    }

    /// The connection is gone: hands out the last shares, gives back what was lent. Nothing is sent any more.
    pub fn handle_disconnected(&mut self, shard: &mut Shard) {
        if let Phase::Open(open) = &mut self.phase {
            open.channels.close_all();
            collect(open, &mut self.outputs, shard);
            self.ignored = *open.channels.ignored();
        }
        self.phase = Phase::Closed;
    }

    fn close(&mut self, reason: CloseReason, shard: &mut Shard) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.handle_disconnected(shard);
        self.outputs.push_back(Output::Close(reason));
    }

    fn collect(&mut self, shard: &mut Shard, now: Now) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        collect(open, &mut self.outputs, shard);
        let has_channel = open.channels.channels().len() > 0;
        open.channel_deadline = match (has_channel, open.channel_deadline) {
            (true, _) => None,
            (false, None) => Some(now.instant + shard.config().deadlines.first_channel),
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

    /// Who mines on a channel; empty when it is not open.
    pub fn user_identity(&self, channel_id: u32) -> &[u8] {
        match &self.phase {
            Phase::Open(open) => open
                .users
                .get(&channel_id)
                .map_or(&[], |user| &user.identity),
            Phase::Setup { .. } | Phase::Closed => &[],
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

/// Takes what the channels want done, and does what concerns the shard.
fn collect(open: &mut Open, outputs: &mut VecDeque<Output>, shard: &mut Shard) {
    while let Some(output) = open.channels.poll_output() {
        match output {
            server::Output::Send(message) => {
                outputs.push_back(Output::Send(Outgoing::Mining(message)))
            }
            server::Output::Persist(shares) => {
                let user = open.users.get(&shares.channel_id());
                let user_identity = user.map(|user| user.identity.clone()).unwrap_or_default();
                open.unconfirmed += 1;
                outputs.push_back(Output::Persist {
                    user_identity,
                    shares,
                });
            }
            server::Output::SubmitBlock(block) => outputs.push_front(Output::SubmitBlock(block)),
            server::Output::Released(prefix) => shard.extranonces.release(prefix),
            server::Output::Closed {
                channel_id,
                extranonce_prefix,
            } => {
                shard.extranonces.release(extranonce_prefix);
                if let Some(user) = open.users.remove(&channel_id) {
                    shard.release_payout(&user.payout);
                }
            }
        }
    }
}

impl Open {
    fn handle_message(
        &mut self,
        message: &AnyMessage<'_>,
        trailing: &[u8],
        shard: &mut Shard,
        now: Now,
        discarded: &mut Discarded,
    ) -> Result<Option<Outgoing>, CloseReason> {
        match message {
            AnyMessage::Mining(message) => {
                self.check_extensions(shard)?;
                self.handle_mining(message, trailing, shard, now, discarded)?;
                Ok(None)
            }
            AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensions(
                request,
            )) => {
                let answer = self
                    .extensions
                    .handle_request(&shard.config().extensions, request)?;
                self.has_checked_extensions = false;
                Ok(Some(Outgoing::Extension(Box::new(answer))))
            }
            other => Err(CloseReason::OutOfPlace {
                message: other.kind().name,
            }),
        }
    }

    fn check_extensions(&mut self, shard: &Shard) -> Result<(), CloseReason> {
        if !self.has_checked_extensions {
            self.extensions
                .check_before_other_message(&shard.config().extensions)?;
            self.has_checked_extensions = true;
        }
        Ok(())
    }

    fn handle_mining(
        &mut self,
        message: &MiningMessage<'_>,
        trailing: &[u8],
        shard: &mut Shard,
        now: Now,
        discarded: &mut Discarded,
    ) -> Result<(), CloseReason> {
        match message {
            MiningMessage::SubmitSharesStandard(share) => {
                let _ = self.channels.handle_submit_standard(share, now);
            }
            MiningMessage::SubmitSharesExtended(share) => {
                let is_negotiated = self.extensions.is_negotiated(EXTENSION_WORKER_IDENTITY);
                let trailing = if is_negotiated { trailing } else { &[] };
                let Ok(worker) = WorkerIdentity::find(trailing) else {
                    discarded.oversized_worker_identity += 1;
                    let reason = RejectReason::MalformedExtensionField;
                    let _ = self.channels.reject_submit_extended(share, reason, now);
                    return Ok(());
                };
                let verdict = self.channels.handle_submit_extended(share, now);
                if let Some(worker) = worker {
                    self.count_worker(worker.as_bytes(), &verdict, shard.config().max_workers);
                }
            }
            MiningMessage::OpenStandardMiningChannel(request) => {
                self.open_standard(request, shard, now)
            }
            MiningMessage::OpenExtendedMiningChannel(request) => {
                self.open_extended(request, shard, now)
            }
            MiningMessage::UpdateChannel(update) => {
                // A refusal is answered and counted where it is found.
                let _ = self.channels.handle_update_channel(update, now);
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

    fn open_standard(
        &mut self,
        message: &OpenStandardMiningChannel<'_>,
        shard: &mut Shard,
        now: Now,
    ) {
        // A refusal is answered and counted where it is found.
        if let Ok(request) = self.channels.request_standard(message) {
            self.open(request, message.user_identity.as_bytes(), shard, now);
        }
    }

    fn open_extended(
        &mut self,
        message: &OpenExtendedMiningChannel<'_>,
        shard: &mut Shard,
        now: Now,
    ) {
        if let Ok(request) = self.channels.request_extended(message) {
            self.open(request, message.user_identity.as_bytes(), shard, now);
        }
    }

    fn open(&mut self, request: OpenRequest, identity: &[u8], shard: &mut Shard, now: Now) {
        let (payout, grant) = match grant(&request, identity, shard) {
            Ok(granted) => granted,
            Err(refusal) => return self.channels.refuse(request, refusal),
        };
        if let Some(work) = shard.work() {
            self.channels.handle_work(work);
        }
        match self.channels.open(request, grant, now) {
            Ok(channel_id) => {
                self.users.insert(
                    channel_id,
                    User {
                        identity: identity.into(),
                        payout,
                    },
                );
            }
            Err(failed) => {
                shard.extranonces.release(failed.extranonce_prefix);
                shard.release_payout(&payout);
            }
        }
    }
}

fn grant(
    request: &OpenRequest,
    identity: &[u8],
    shard: &mut Shard,
) -> Result<(PayoutChoice, Grant), OpenRefusal> {
    let config = shard.config().clone();
    let choice = payout_choice(
        identity,
        config.honours_identity_patterns,
        config.payouts.network(),
    )?;
    let payout = shard
        .take_payout(&choice)
        .map_err(|refusal| match refusal {
            PayoutRefusal::TooMany => OpenRefusal::CapacityExhausted,
            PayoutRefusal::Coinbase => OpenRefusal::InvalidUserIdentity,
        })?;
    let allocated = match request.kind() {
        ChannelKind::Standard => shard.extranonces.allocate_standard(),
        ChannelKind::Extended => shard
            .extranonces
            .allocate_extended(usize::from(request.min_extranonce_size())),
    };
    let extranonce_prefix = allocated.map_err(|error| {
        shard.release_payout(&choice);
        match error {
            ExtranonceError::MinSizeTooLarge { .. } => OpenRefusal::MinExtranonceSizeTooLarge,
            _ => OpenRefusal::CapacityExhausted,
        }
    })?;
    let full_extranonce_size = shard.extranonces.full_size();
    Ok((
        choice,
        Grant {
            payout,
            extranonce_prefix,
            full_extranonce_size,
        },
    ))
}

fn payout_choice(
    identity: &[u8],
    honours_patterns: bool,
    network: Network,
) -> Result<PayoutChoice, OpenRefusal> {
    if !honours_patterns {
        return Ok(PayoutChoice::Pool);
    }
    choose(identity, network).map_err(|_| OpenRefusal::InvalidUserIdentity)
}
