//! A Stratum V1 miner straight on the pool: the bridge and an ordinary [`Downstream`], back to back in memory.
//!
//! So an Sv1 miner has a channel like any other, with the same jobs, checks, payouts and accounting; only the messages
//! between the two never leave the process. Its channel is opened with the name that it is first authorized under, which
//! says whom its blocks pay.

use std::collections::VecDeque;
use std::sync::Arc;

use binary_sv2::{Encodable, Message as _, Str0255};
use bitcoin::Network;
use const_sv2::{EXTENSION_WORKER_IDENTITY, MessageKind};
use extensions_sv2::WorkerIdentity;
use mining_sv2::SubmitSharesExtended;
use roles_logic_sv2::accounting::Slice;
use roles_logic_sv2::channels::client::{ClientEvent, OpenTerms};
use roles_logic_sv2::channels::server::{BlockFound, PendingAck};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::target::{ConversionError, Target};
use roles_logic_sv2::upstream::{
    OutgoingShare, UpstreamEnd, UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms,
};
use stratum_translation::bridge::{Bridge, BridgeConfig, BridgeOutput, ChannelWork, UpstreamShare};
use stratum_translation::layout::Layout;
use stratum_translation::mapping::{shortened, worker_identity};
use sv1_api::Id;
use sv1_api::client_message::Authorize;
use sv1_api::line::LineTooLong;
use sv1_api::reject::RejectCounts;
use sv1_api::server::CloseReason as MinerEnd;
use thiserror::Error;

use crate::downstream::{Downstream, Output};
use crate::payout::{PayoutChoice, choose};
use crate::shard::Shard;

/// Names whose authorization waits for the channel. Further ones are refused.
const MAX_WAITING_NAMES: usize = 16;

/// Bytes of a `user_identity` (`STR0_255`).
const MAX_IDENTITY_LEN: usize = 255;

/// What the operator wants for Sv1 miners.
#[derive(Clone, Copy, Debug)]
pub struct Sv1Config {
    /// Limits and difficulty.
    pub bridge: BridgeConfig,
    /// Bytes of extranonce2, unless a miner is known to need fewer.
    pub extranonce2_size: usize,
}

/// Why an Sv1 miner's connection is closed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Sv1Close {
    /// By the rules of Sv1.
    #[error(transparent)]
    Miner(#[from] MinerEnd),
    /// By those of the pool.
    #[error(transparent)]
    Pool(#[from] CloseReason),
    /// The pool's extranonce leaves no room for an Sv1 miner.
    #[error("the pool's extranonce is too short for Sv1 miners")]
    NoRoom,
    /// The pool does not answer its own channel, as when the ledger takes no shares: to go on would lose them all.
    #[error("the pool does not answer in time: {0}")]
    Unanswered(UpstreamEnd),
}

impl Sv1Close {
    /// A fixed name, for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Miner(MinerEnd::LoginTimeout) => "sv1-login-timeout",
            Self::Miner(MinerEnd::NoShares) => "sv1-no-shares",
            Self::Miner(MinerEnd::TooManyFaults) => "sv1-too-many-faults",
            Self::Miner(MinerEnd::TooManyLines) => "sv1-too-many-lines",
            Self::Miner(MinerEnd::TooManyHeld) => "sv1-too-many-held",
            Self::Miner(_) => "sv1-reconnect",
            Self::Pool(reason) => reason.label(),
            Self::NoRoom => "sv1-extranonce-too-short",
            Self::Unanswered(_) => "sv1-unanswered",
        }
    }
}

/// What a connection wants done.
#[derive(Debug)]
pub enum Sv1Output {
    /// Send this line; its end is part of it.
    Send(Arc<str>),
    /// As [`Output::Persist`]; then call [`Sv1Downstream::handle_persisted`].
    Persist {
        /// Who mined them.
        user_identity: Arc<[u8]>,
        /// The shares.
        shares: PendingAck,
    },
    /// Hand in this block now, before anything else.
    SubmitBlock(Box<BlockFound>),
    /// Count this: a share that the channel rejected, by its error code.
    Rejected(Str0255<'static>),
    /// Count this: something that was refused in the words of Sv1.
    Refused(&'static str, u64),
    /// Send what is queued, then close.
    Close(Sv1Close),
}

impl Sv1Output {
    /// The shares of a [`Sv1Output::Persist`].
    pub const fn slice(&self) -> Option<&Slice> {
        match self {
            Self::Persist { shares, .. } => Some(shares.slice()),
            _ => None,
        }
    }
}

/// One Sv1 miner's connection.
#[derive(Debug)]
pub struct Sv1Downstream {
    config: Sv1Config,
    layout: Option<Layout>,
    bridge: Bridge,
    session: UpstreamSession,
    downstream: Downstream,
    network: Network,
    /// The name that the channel is opened under, and whom that pays.
    user: Option<(String, Option<PayoutChoice>)>,
    names: Vec<(Id, Authorize)>,
    channel: Option<u32>,
    is_asking: bool,
    told_max_target: Target,
    /// The name of the last job; it begins with the time, so that none from before is called the same.
    job_name: u32,
    /// What was refused and is counted.
    counted: RejectCounts,
    outputs: VecDeque<Sv1Output>,
}

impl Sv1Downstream {
    /// A connection that was just accepted.
    ///
    /// # Errors
    /// A share rate, hashrate or minimum difficulty that is no sensible number.
    pub fn new(config: Sv1Config, shard: &mut Shard, now: Now) -> Result<Self, ConversionError> {
        let terms = UpstreamTerms {
            extensions: vec![EXTENSION_WORKER_IDENTITY],
            ..UpstreamTerms::default()
        };
        let room = shard.extranonces.rollable_size();
        let mut connection = Self {
            layout: Layout::of_channel(room, config.extranonce2_size),
            bridge: Bridge::new(config.bridge, now)?,
            session: UpstreamSession::new(terms, now),
            downstream: Downstream::new(shard, now),
            network: shard.config().payouts.network(),
            user: None,
            names: Vec::new(),
            channel: None,
            is_asking: false,
            told_max_target: Target::MAX,
            job_name: now.unix_secs as u32,
            counted: RejectCounts::default(),
            outputs: VecDeque::new(),
            config,
        };
        connection.pump(shard, now);
        Ok(connection)
    }

    /// The Sv1 side, for its names and counters.
    pub const fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// The Sv2 side, for its counters.
    pub const fn downstream(&self) -> &Downstream {
        &self.downstream
    }

    /// Takes one line of the miner.
    pub fn handle_line(&mut self, line: &[u8], shard: &mut Shard, now: Now) {
        self.bridge.handle_line(line, now);
        self.pump(shard, now);
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, error: LineTooLong, shard: &mut Shard, now: Now) {
        self.bridge.handle_long_line(error, now);
        self.pump(shard, now);
    }

    /// There is new work in the shard.
    pub fn handle_work(&mut self, shard: &mut Shard, now: Now) {
        self.downstream.handle_work(shard, now);
        self.pump(shard, now);
    }

    /// The ledger has these shares: acknowledge them.
    pub fn handle_persisted(&mut self, shares: PendingAck, shard: &mut Shard, now: Now) {
        self.downstream.handle_persisted(shares, shard, now);
        self.pump(shard, now);
    }

    /// Asks the miner to come again, and ends a moment later.
    pub fn drain(&mut self, shard: &mut Shard, now: Now) {
        self.downstream.drain("", 0, shard, now);
        self.pump(shard, now);
    }

    /// The connection is gone; what is left to be done comes as outputs.
    pub fn handle_disconnected(&mut self, shard: &mut Shard, now: Now) {
        self.downstream.handle_disconnected(shard);
        self.pump(shard, now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [
            self.bridge.poll_timeout(),
            self.session.poll_timeout(),
            self.downstream.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, shard: &mut Shard, now: Now) {
        self.bridge.handle_timeout(now);
        self.session.handle_timeout(now);
        self.downstream.handle_timeout(shard, now);
        self.pump(shard, now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Sv1Output> {
        self.outputs.pop_front()
    }

    /// Carries messages between the two halves until neither has anything to say.
    fn pump(&mut self, shard: &mut Shard, now: Now) {
        loop {
            if let Some(output) = self.bridge.poll_output() {
                self.handle_bridge(output, now);
            } else if let Some(output) = self.session.poll_output() {
                self.handle_session(output, shard, now);
            } else if let Some(output) = self.downstream.poll_output() {
                self.handle_downstream(output, now);
            } else {
                break;
            }
        }
        self.count_refused();
    }

    fn count_refused(&mut self) {
        let rejects = self.bridge.session().rejects();
        if *rejects == self.counted {
            return;
        }
        let before = std::mem::replace(&mut self.counted, rejects.clone());
        for (reason, count) in self.counted.iter() {
            let new = count - before.of(reason);
            if new > 0 {
                let refused = Sv1Output::Refused(reason.text(), new);
                self.outputs.push_back(refused);
            }
        }
    }

    fn handle_bridge(&mut self, output: BridgeOutput, now: Now) {
        match output {
            BridgeOutput::Send(line) => self.outputs.push_back(Sv1Output::Send(line)),
            BridgeOutput::Close(reason) => self.close(reason.into()),
            BridgeOutput::Subscribe(_) => self.grant(now),
            BridgeOutput::Authorize { id, authorize } => self.authorize(id, authorize, now),
            BridgeOutput::Share(share) => self.submit(&share, now),
        }
    }

    fn close(&mut self, reason: Sv1Close) {
        self.outputs.push_back(Sv1Output::Close(reason));
    }

    /// All miners get the same bytes to roll: their channels' prefixes, in the coinbase, tell them apart.
    fn grant(&mut self, now: Now) {
        let quirks = self.bridge.session().quirks();
        let layout = self.layout;
        let Some((extranonce1, size)) = layout.and_then(|layout| layout.extranonce1(0, quirks))
        else {
            self.bridge.refuse(now);
            return self.close(Sv1Close::NoRoom);
        };
        // A session has nothing to resume: the channel of before is closed, and its prefix another's.
        let session = format!("{:08x}", self.job_name);
        self.bridge.grant(extranonce1, size, session, now);
    }

    /// The first name opens the channel; others may mine on it when their blocks pay the same.
    fn authorize(&mut self, id: Id, authorize: Authorize, now: Now) {
        let choice = choose(authorize.user.as_bytes(), self.network).ok();
        let is_welcome = match &self.user {
            None => true,
            Some((user, first)) => *user == authorize.user || *first == choice,
        };
        if !is_welcome || self.names.len() >= MAX_WAITING_NAMES {
            return self.bridge.answer_authorize(&id, &authorize, false, now);
        }
        if self.channel.is_some() {
            return self.bridge.answer_authorize(&id, &authorize, true, now);
        }
        if self.user.is_none() {
            self.user = Some((authorize.user.clone(), choice));
        }
        self.names.push((id, authorize));
        self.open(now);
    }

    fn open(&mut self, now: Now) {
        let Some((user, _)) = self.user.as_ref().filter(|_| !self.is_asking) else {
            return;
        };
        let shown = self.layout.map_or(0, Layout::shown);
        let identity = shortened(user, MAX_IDENTITY_LEN);
        self.told_max_target = self.bridge.max_target();
        let terms = OpenTerms {
            nominal_hash_rate: self.config.bridge.nominal_hashrate as f32,
            max_target: self.told_max_target,
            min_extranonce_size: u16::try_from(shown).unwrap_or(u16::MAX),
        };
        let identity = identity.try_into().unwrap_or_default();
        let asked = self.session.open_extended(identity, terms, now);
        self.is_asking = asked.is_ok();
        if asked.is_err() {
            self.answer_names(false, now);
        }
    }

    fn answer_names(&mut self, is_accepted: bool, now: Now) {
        self.is_asking = false;
        for (id, authorize) in std::mem::take(&mut self.names) {
            self.bridge
                .answer_authorize(&id, &authorize, is_accepted, now);
        }
        if !is_accepted {
            // Another name may find a channel.
            self.user = None;
        }
        self.tell_max_target();
    }

    /// A miner that takes no difficulty below some would give away what is above the channel's: the channel follows.
    fn tell_max_target(&mut self) {
        let max_target = self.bridge.max_target();
        let Some(channel_id) = self.channel else {
            return;
        };
        if std::mem::replace(&mut self.told_max_target, max_target) != max_target {
            let terms = OpenTerms {
                nominal_hash_rate: self.config.bridge.nominal_hashrate as f32,
                max_target,
                min_extranonce_size: 0,
            };
            // The channel is open.
            let _ = self.session.update(channel_id, terms);
        }
    }

    fn submit(&mut self, share: &UpstreamShare, now: Now) {
        let worker: Arc<str> = worker_identity(&share.worker).into();
        let work = share.work.work();
        let (found, worker) = (share.found(), Some(&worker));
        // A block of an earlier tip earns nothing as a share, and may yet win.
        let submitted = if share.is_block {
            self.session.submit_block(work, &found, worker, now)
        } else {
            self.session.submit(work, &found, worker, now)
        };
        if submitted.is_err() {
            self.bridge.upstream_lost();
        }
    }

    fn handle_session(&mut self, output: UpstreamOutput, shard: &mut Shard, now: Now) {
        match output {
            UpstreamOutput::Send(message) => {
                self.deliver(message.kind(), &message.to_vec(), shard, now);
            }
            UpstreamOutput::Share(OutgoingShare { message, worker }) => {
                let mut payload = message.to_vec();
                let worker = worker
                    .as_ref()
                    .map(|name| WorkerIdentity::new(name.as_bytes()));
                if let Some(Ok(worker)) = worker {
                    worker.append_to(&mut payload);
                }
                self.deliver(&SubmitSharesExtended::KIND, &payload, shard, now);
            }
            UpstreamOutput::Event(event) => self.handle_event(event, now),
            UpstreamOutput::Close(end) => self.close(Sv1Close::Unanswered(end)),
            // There are no standard channels, and no frames of unknown extensions.
            UpstreamOutput::StandardShare(_) | UpstreamOutput::Forward(_) => {}
        }
    }

    fn deliver(&mut self, kind: &MessageKind, payload: &[u8], shard: &mut Shard, now: Now) {
        let extension_type = kind.wire_extension_type();
        self.downstream
            .handle_frame(extension_type, kind.msg_type, payload, shard, now);
    }

    fn handle_event(&mut self, event: UpstreamEvent, now: Now) {
        match event {
            // The pool itself stands behind all of its channels.
            UpstreamEvent::Ready
            | UpstreamEvent::Foreign { .. }
            | UpstreamEvent::EndpointChanged { .. } => {}
            UpstreamEvent::Reconnect { .. } => self.bridge.reconnect(now),
            UpstreamEvent::Channel(ClientEvent::Opened { channel_id, .. }) => {
                self.channel = Some(channel_id);
                self.answer_names(true, now);
            }
            UpstreamEvent::Channel(ClientEvent::OpenRefused { .. }) => {
                self.answer_names(false, now)
            }
            UpstreamEvent::Channel(ClientEvent::WorkChanged { channel_id }) => {
                self.work_changed(channel_id, now);
            }
            UpstreamEvent::Channel(ClientEvent::Acknowledged(message)) => {
                let count = u64::from(message.new_submits_accepted_count);
                self.bridge.upstream_accepted(count);
            }
            UpstreamEvent::Channel(ClientEvent::Rejected { error_code, .. }) => {
                self.bridge.upstream_rejected();
                self.outputs.push_back(Sv1Output::Rejected(error_code));
            }
            UpstreamEvent::Channel(ClientEvent::Closed { .. }) => {
                self.channel = None;
                self.bridge.reconnect(now);
            }
            UpstreamEvent::Channel(_) => {}
        }
    }

    fn work_changed(&mut self, channel_id: u32, now: Now) {
        let work = self.session.channels().work(channel_id).cloned();
        let shown = self.layout.map_or(0, Layout::shown);
        self.job_name = self.job_name.wrapping_add(1);
        let made = work.and_then(|work| ChannelWork::new(work, 0, self.job_name, shown).ok());
        if let Some(made) = made {
            self.bridge.set_work(&Arc::new(made), now);
        }
    }

    fn handle_downstream(&mut self, output: Output, now: Now) {
        match output {
            Output::Send(message) => {
                let kind = message.kind();
                let payload = message.to_vec();
                let (extension_type, msg_type) = (kind.wire_extension_type(), kind.msg_type);
                self.session
                    .handle_frame(extension_type, msg_type, &payload, now);
            }
            Output::Persist {
                user_identity,
                shares,
            } => self.outputs.push_back(Sv1Output::Persist {
                user_identity,
                shares,
            }),
            Output::SubmitBlock(block) => self.outputs.push_back(Sv1Output::SubmitBlock(block)),
            Output::Close(reason) => self.close(reason.into()),
        }
    }
}
