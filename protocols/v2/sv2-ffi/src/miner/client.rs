//! A miner's connection without I/O: bytes in, events and bytes out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use binary_sv2::{Encodable, Str0255, Writer};
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use const_sv2::common::SETUP_CONNECTION;
use const_sv2::mining::{
    CLOSE_CHANNEL, OPEN_EXTENDED_MINING_CHANNEL, OPEN_STANDARD_MINING_CHANNEL,
    SUBMIT_SHARES_EXTENDED, SUBMIT_SHARES_STANDARD, UPDATE_CHANNEL,
};
use mining_sv2::{
    CloseChannel, OpenExtendedMiningChannel, OpenStandardMiningChannel, SubmitSharesExtended,
    SubmitSharesStandard, UpdateChannel,
};
use noise_sv2::{
    AuthorityPublicKey, DEFAULT_CLOCK_ALLOWANCE_SECS, EphemeralKey, Initiator, PortableCipher,
};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientReject, OpenTerms, ShareCounts};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::upstream::{SILENCE_TIMEOUT, SILENT_SHARES};

use crate::memory::boxed;
use crate::miner::channel::{Channel, State};
use crate::miner::error::{End, MinerError};
use crate::miner::job::{Roll, Trouble, Work};
use crate::miner::rules::{Channels, Event, Place, place};
use crate::miner::wire::{Fed, Incoming, Outgoing, seal_off};

/// How a connection is secured.
pub(crate) enum Security {
    /// Not at all.
    Plain,
    /// By Noise, with a key for this connection, to a server that the authority vouches for; to any server without one.
    Noise {
        authority: Option<AuthorityPublicKey>,
        key: EphemeralKey,
    },
}

/// What a connection is to be.
pub(crate) struct Terms<'a> {
    pub(crate) security: Security,
    pub(crate) endpoint: Endpoint<'a>,
    /// Flags of `SetupConnection`.
    pub(crate) flags: u32,
    /// Longest payload taken, in bytes.
    pub(crate) max_payload_len: usize,
    /// Channels open or asked for at a time.
    pub(crate) max_channels: usize,
    /// Time for the server to answer handshake, set-up and requests for channels, each.
    pub(crate) answer_timeout: Duration,
}

enum Phase {
    /// Noise; the first message was sent.
    Handshake(Box<Initiator<PortableCipher>>),
    Setup,
    Open,
    Ended,
}

/// One connection to a server.
pub(crate) struct Client {
    phase: Phase,
    incoming: Incoming,
    outgoing: Outgoing,
    channels: Channels,
    request: SetupRequest,
    /// The payload of `SetupConnection`, until it is sent.
    setup: Vec<u8>,
    max_channels: usize,
    answer_timeout: Duration,
    /// When the answer to handshake or set-up is due.
    deadline: Option<Instant>,
    next_request_id: u32,
    /// Shares sent since the server last said anything, and when the first of them went out.
    unheard: usize,
    unheard_since: Instant,
    ignored_frames: u64,
    /// Why it ended, until that is told.
    ending: Option<(End, Place)>,
}

/// Bytes that are a message's payload already.
struct Encoded<'a>(&'a [u8]);

impl Encodable for Encoded<'_> {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), binary_sv2::BufferTooShort> {
        writer.put(self.0)
    }
}

impl Client {
    /// A connection that was just made; what it sends first waits already.
    pub(crate) fn new(terms: Terms<'_>, now: Now) -> Result<Self, MinerError> {
        let request = SetupRequest::mining(terms.flags);
        let message = request.message(&terms.endpoint);
        let (mut outgoing, mut setup) = (Outgoing::new(), Vec::new());
        let is_noise = matches!(terms.security, Security::Noise { .. });
        let phase = match terms.security {
            Security::Plain => {
                outgoing.send(&SETUP_CONNECTION, &message)?;
                Phase::Setup
            }
            Security::Noise { authority, key } => {
                let len = message.encoded_len();
                setup
                    .try_reserve_exact(len)
                    .map_err(|_| MinerError::NoMemory)?;
                setup.resize(len, 0);
                // A message says its length.
                let _ = message.encode(&mut Writer::new(&mut setup));
                let (initiator, act1) = Initiator::with_cipher(authority, key);
                outgoing.put(&act1)?;
                Phase::Handshake(boxed(initiator).map_err(|_| MinerError::NoMemory)?)
            }
        };
        Ok(Self {
            phase,
            incoming: Incoming::new(is_noise, terms.max_payload_len),
            outgoing,
            channels: Channels::new(),
            request,
            setup,
            max_channels: terms.max_channels,
            answer_timeout: terms.answer_timeout,
            deadline: Some(now.instant + terms.answer_timeout),
            next_request_id: 0,
            unheard: 0,
            unheard_since: now.instant,
            ignored_frames: 0,
            ending: None,
        })
    }

    /// Takes bytes of the server until something is to be told, and counts them in `taken`, which is right after an error too.
    ///
    /// After [`MinerError::NoMemory`] the same goes on with the bytes that were not taken, even if none are left.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        now: Now,
        taken: &mut usize,
    ) -> Result<(), MinerError> {
        *taken = 0;
        if self.has_events() {
            return Err(MinerError::EventsWaiting);
        }
        if matches!(self.phase, Phase::Ended) {
            return Err(MinerError::Ended);
        }
        while !self.has_events() {
            match self.incoming.feed(bytes, taken)? {
                Ok(Fed::Missing) => break,
                Ok(Fed::Act2) => self.shake_hands(now)?,
                Ok(Fed::Frame) => self.handle_frame(now)?,
                Err(end) => self.end(end, 0..0),
            }
        }
        Ok(())
    }

    fn shake_hands(&mut self, now: Now) -> Result<(), MinerError> {
        self.outgoing.reserve_sealed(self.setup.len())?;
        let phase = core::mem::replace(&mut self.phase, Phase::Setup);
        let (Phase::Handshake(initiator), Some(act2)) = (phase, self.incoming.act2()) else {
            self.end(End::OutOfOrder, 0..0);
            return Ok(());
        };
        match initiator.finish(act2, now.unix_secs, DEFAULT_CLOCK_ALLOWANCE_SECS) {
            Ok(transport) => {
                seal_off(&mut self.incoming, &mut self.outgoing, transport);
                let setup = core::mem::take(&mut self.setup);
                self.deadline = Some(now.instant + self.answer_timeout);
                // There is room, see above.
                self.outgoing.send(&SETUP_CONNECTION, &Encoded(&setup))
            }
            Err(error) => {
                self.end(End::Handshake(error), 0..0);
                Ok(())
            }
        }
    }

    fn handle_frame(&mut self, now: Now) -> Result<(), MinerError> {
        const ROUTER: Router = Router::new(Protocol::MINING, Peer::Server);
        let Some((header, payload)) = self.incoming.frame() else {
            return Ok(());
        };
        self.unheard = 0;
        let end = match ROUTER.route(header.extension_type(), header.msg_type(), payload) {
            Err(error) if error.is_ignored() => {
                self.ignored_frames += 1;
                None
            }
            Err(roles_logic_sv2::messages::RouteError::Malformed { .. }) => {
                Some((End::Malformed, 0..0))
            }
            Err(_) => Some((End::OutOfOrder, 0..0)),
            Ok(routed) => match (&self.phase, &routed.message) {
                (Phase::Setup, AnyMessage::Common(message)) => {
                    match answer_to_setup(&self.request, message, payload) {
                        Ok(server_flags) => {
                            self.phase = Phase::Open;
                            self.deadline = None;
                            self.channels.news = Some(Event::Ready { server_flags });
                            None
                        }
                        Err(end) => Some(end),
                    }
                }
                (Phase::Open, AnyMessage::Mining(message)) => {
                    let outgoing = &mut self.outgoing;
                    match self.channels.handle(message, payload, outgoing, now) {
                        Ok(()) => None,
                        Err(Trouble::NoMemory) => return Err(MinerError::NoMemory),
                        Err(Trouble::Reject(reason)) => reason
                            .is_broken_word()
                            .then_some((End::BrokenWord(reason), 0..0)),
                    }
                }
                (Phase::Open, AnyMessage::Common(CommonMessage::Reconnect(message))) => {
                    self.channels.news = Some(Event::Reconnect {
                        host: place(payload, message.new_host.as_bytes()),
                        port: message.new_port,
                    });
                    None
                }
                // Nothing is known of a channel that an extension keeps, and none was asked for.
                (
                    Phase::Open,
                    AnyMessage::Common(CommonMessage::ChannelEndpointChanged(_))
                    | AnyMessage::ExtensionNegotiation(_),
                ) => {
                    self.ignored_frames += 1;
                    None
                }
                _ => Some((End::OutOfOrder, 0..0)),
            },
        };
        self.incoming.done();
        if let Some((end, text)) = end {
            self.end(end, text);
        }
        Ok(())
    }

    fn end(&mut self, end: End, text: Place) {
        self.phase = Phase::Ended;
        self.deadline = None;
        self.channels.list = Vec::new();
        self.ending = Some((end, text));
    }

    fn has_events(&self) -> bool {
        self.ending.is_some() || self.channels.has_news()
    }

    /// The next event; its text is there until the next call.
    pub(crate) fn next_event(&mut self) -> Option<Event<&[u8]>> {
        let ended = |(end, text)| Event::Ended { end, text };
        let news = self.channels.next_news();
        let news = news.or_else(|| self.ending.take().map(ended));
        if news.is_none() {
            self.incoming.release();
        }
        Some(news?.map(|at| self.incoming.quote(at)))
    }

    /// What waits to be sent.
    pub(crate) fn outgoing(&self) -> &[u8] {
        self.outgoing.waiting()
    }

    /// `len` bytes of it were sent.
    pub(crate) fn sent(&mut self, len: usize) {
        self.outgoing.sent(len);
    }

    /// Asks for a channel; gives the number of the request.
    pub(crate) fn open(
        &mut self,
        kind: ChannelKind,
        user_identity: Str0255<'_>,
        terms: &OpenTerms,
        now: Now,
    ) -> Result<u32, MinerError> {
        self.check_open()?;
        if self.channels.list.len() >= self.max_channels {
            return Err(MinerError::TooManyChannels);
        }
        self.channels
            .list
            .try_reserve_exact(1)
            .map_err(|_| MinerError::NoMemory)?;
        let request_id = self.next_request_id.wrapping_add(1);
        let max_target = terms.max_target.to_le_bytes().into();
        let nominal_hash_rate = terms.nominal_hash_rate;
        let (size, sent) = match kind {
            ChannelKind::Standard => {
                let message = OpenStandardMiningChannel {
                    request_id,
                    user_identity,
                    nominal_hash_rate,
                    max_target,
                };
                (
                    0,
                    self.outgoing.send(&OPEN_STANDARD_MINING_CHANNEL, &message),
                )
            }
            ChannelKind::Extended => {
                let min_extranonce_size = terms.min_extranonce_size;
                let message = OpenExtendedMiningChannel {
                    request_id,
                    user_identity,
                    nominal_hash_rate,
                    max_target,
                    min_extranonce_size,
                };
                let sent = self.outgoing.send(&OPEN_EXTENDED_MINING_CHANNEL, &message);
                (usize::from(min_extranonce_size), sent)
            }
        };
        sent?;
        self.next_request_id = request_id;
        let due = now.instant + self.answer_timeout;
        self.channels.list.push(Channel::asked(
            kind,
            request_id,
            size,
            terms.max_target,
            due,
        ));
        Ok(request_id)
    }

    /// Tells the server of another hash rate or limit of a channel. The target changes only by its `SetTarget` (MC-8).
    pub(crate) fn update(&mut self, channel_id: u32, terms: &OpenTerms) -> Result<(), MinerError> {
        self.check_open()?;
        let channel = self
            .channels
            .open_channel(channel_id)
            .map_err(|_| MinerError::NotOpen)?;
        let message = UpdateChannel {
            channel_id,
            nominal_hash_rate: terms.nominal_hash_rate,
            maximum_target: terms.max_target.to_le_bytes().into(),
        };
        self.outgoing.send(&UPDATE_CHANNEL, &message)?;
        // A target by the limit of before may be under way: only an easier limit holds at once.
        channel.max_target = channel.max_target.max(terms.max_target);
        Ok(())
    }

    /// Ends a channel (MC-9).
    pub(crate) fn close(
        &mut self,
        channel_id: u32,
        reason_code: Str0255<'_>,
    ) -> Result<(), MinerError> {
        self.check_open()?;
        self.channels
            .channel(channel_id)
            .ok_or(MinerError::NotOpen)?;
        let message = CloseChannel {
            channel_id,
            reason_code,
        };
        self.outgoing.send(&CLOSE_CHANNEL, &message)?;
        self.channels.remove(channel_id);
        Ok(())
    }

    /// What to hash on a channel now.
    pub(crate) fn work(&self, channel_id: u32, now: Now) -> Result<Work, MinerError> {
        let channel = self.channels.channel(channel_id);
        let channel = channel.ok_or(MinerError::NotOpen)?;
        channel.work(now).ok_or(MinerError::NoWork)
    }

    /// The 80 bytes to hash.
    pub(crate) fn header(&self, work: &Work, roll: &Roll<'_>) -> Result<[u8; 80], MinerError> {
        work.check(roll)?;
        let merkle_root = match work.merkle_root {
            Some(root) => root,
            None => {
                let channel = self.channels.channel(work.channel_id);
                let channel = channel.ok_or(MinerError::NotOpen)?;
                let job = channel.job(work).ok_or(MinerError::Stale)?;
                job.merkle_root(roll.extranonce)?
            }
        };
        Ok(work.header(roll, merkle_root).to_bytes())
    }

    /// Hands in a share; gives its sequence number.
    pub(crate) fn submit(
        &mut self,
        work: &Work,
        roll: &Roll<'_>,
        now: Now,
    ) -> Result<u32, MinerError> {
        self.check_open()?;
        let channel = self
            .channels
            .open_channel(work.channel_id)
            .map_err(|_| MinerError::NotOpen)?;
        if !channel.is_current(work) {
            return Err(MinerError::Stale);
        }
        work.check(roll)?;
        let sequence_number = channel.next_sequence_number();
        let share = SubmitSharesStandard {
            channel_id: work.channel_id,
            sequence_number,
            job_id: work.job_id,
            nonce: roll.nonce,
            ntime: roll.ntime,
            version: roll.version,
        };
        match channel.kind {
            ChannelKind::Standard => self.outgoing.send(&SUBMIT_SHARES_STANDARD, &share)?,
            ChannelKind::Extended => {
                let extranonce = roll.extranonce.try_into();
                let share = SubmitSharesExtended {
                    channel_id: share.channel_id,
                    sequence_number,
                    job_id: share.job_id,
                    nonce: share.nonce,
                    ntime: share.ntime,
                    version: share.version,
                    extranonce: extranonce.map_err(|_| MinerError::BadExtranonceSize)?,
                };
                self.outgoing.send(&SUBMIT_SHARES_EXTENDED, &share)?;
            }
        }
        channel.submitted();
        if self.unheard == 0 {
            self.unheard_since = now.instant;
        }
        self.unheard += 1;
        Ok(sequence_number)
    }

    fn check_open(&self) -> Result<(), MinerError> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Ended => Err(MinerError::Ended),
            Phase::Handshake(_) | Phase::Setup => Err(MinerError::NotReady),
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let silence = (self.unheard >= SILENT_SHARES && !matches!(self.phase, Phase::Ended))
            .then(|| self.unheard_since + SILENCE_TIMEOUT);
        [self.answer_due(), silence].into_iter().flatten().min()
    }

    fn answer_due(&self) -> Option<Instant> {
        let asked = self.channels.list.iter();
        let asked = asked.filter_map(|channel| match channel.state {
            State::Asked(due) => Some(due),
            State::Open | State::Closed => None,
        });
        asked.chain(self.deadline).min()
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if is_due(self.answer_due()) {
            self.end(End::NoAnswer, 0..0);
        } else if is_due(self.poll_timeout()) {
            self.end(End::Silent, 0..0);
        }
    }

    /// What became of a channel's shares.
    pub(crate) fn counts(&self, channel_id: u32) -> Result<ShareCounts, MinerError> {
        let channel = self.channels.channel(channel_id);
        channel
            .map(|channel| channel.counts)
            .ok_or(MinerError::NotOpen)
    }

    /// Messages that changed nothing, by reason.
    pub(crate) fn rejected(&self, reason: ClientReject) -> u64 {
        self.channels.rejected(reason)
    }

    /// Frames of unknown kinds, and messages that mean nothing here.
    pub(crate) const fn ignored_frames(&self) -> u64 {
        self.ignored_frames
    }
}

/// What the first message of a server says: its flags, or why the connection ends.
fn answer_to_setup(
    request: &SetupRequest,
    message: &CommonMessage<'_>,
    payload: &[u8],
) -> Result<u32, (End, Place)> {
    match message {
        CommonMessage::SetupConnectionSuccess(message) => request
            .handle_success(message)
            .map(|accepted| accepted.server_flags)
            .map_err(|error| (End::Setup(error), 0..0)),
        CommonMessage::SetupConnectionError(message) => Err((
            End::SetupRefused {
                flags: message.flags,
            },
            place(payload, message.error_code.as_bytes()),
        )),
        _ => Err((End::OutOfOrder, 0..0)),
    }
}
