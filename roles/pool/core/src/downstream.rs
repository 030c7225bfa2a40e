//! One miner's connection: its channels, and whom they pay.
//!
//! [`Downstream`] has the four verbs of every core. What its connection shares with others on the same core, the
//! [`Shard`], is an argument: it has one owner, who lends it for one call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bitcoin::Network;
use roles_logic_sv2::channels::server::{
    BlockFound, Grant, Ignored, OpenRefusal, OpenRequest, PendingAck, ServerChannels,
};
use roles_logic_sv2::channels::{ChannelKind, WorkTerms};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::{
    ChannelOwner, CloseReason, Discarded, DownstreamOutput, DownstreamSession, Outgoing,
    WorkerCounters,
};
use roles_logic_sv2::extranonce::ExtranonceError;

use crate::payout::{PayoutChoice, choose};
use crate::shard::{PayoutRefusal, Shard};

/// Outputs kept allocated when all are taken; more is given back.
const MAX_OUTPUTS_KEPT: usize = 16;

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

/// A channel's user.
#[derive(Debug)]
struct User {
    identity: Arc<[u8]>,
    payout: PayoutChoice,
}

/// One miner's connection.
#[derive(Debug)]
pub struct Downstream {
    session: DownstreamSession,
    users: BTreeMap<u32, User>,
    outputs: VecDeque<Output>,
}

/// Opens channels for a connection.
struct Owner<'a> {
    users: &'a mut BTreeMap<u32, User>,
    shard: &'a mut Shard,
}

impl Downstream {
    /// A connection that was just accepted.
    pub fn new(shard: &Shard, now: Now) -> Self {
        Self {
            session: DownstreamSession::new(shard.terms().clone(), now),
            users: BTreeMap::new(),
            outputs: VecDeque::new(),
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
        let users = &mut self.users;
        let mut owner = Owner { users, shard };
        self.session
            .handle_frame(extension_type, msg_type, payload, &mut owner, now);
        self.collect(shard);
    }

    /// There is new work in the shard.
    pub fn handle_work(&mut self, shard: &mut Shard, now: Now) {
        if let Some(work) = shard.work() {
            self.session.handle_work(work, now);
            self.collect(shard);
        }
    }

    /// The ledger has these shares: acknowledge them.
    pub fn handle_persisted(&mut self, ack: PendingAck, shard: &mut Shard, now: Now) {
        self.session.handle_persisted(ack, now);
        self.collect(shard);
    }

    /// The time that [`Self::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, shard: &mut Shard, now: Now) {
        self.session.handle_timeout(now);
        self.collect(shard);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > MAX_OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Asks the miner to connect again, as [`DownstreamSession::drain`] says.
    pub fn drain(&mut self, host: &str, port: u16, shard: &mut Shard, now: Now) {
        self.session.drain(host, port, now);
        self.collect(shard);
    }

    /// The connection is gone: hands out the last shares, gives back what was lent. Nothing is sent any more.
    pub fn handle_disconnected(&mut self, shard: &mut Shard) {
        self.session.handle_disconnected();
        self.collect(shard);
    }

    /// The connection's channels; `None` before setup and after the end.
    pub fn channels(&self) -> Option<&ServerChannels> {
        self.session.channels()
    }

    /// Who mines on a channel; empty when it is not open.
    pub fn user_identity(&self, channel_id: u32) -> &[u8] {
        let user = self.users.get(&channel_id);
        user.map_or(&[], |user| &user.identity)
    }

    /// The workers that shares named, with their counters.
    pub fn workers(&self) -> impl Iterator<Item = (&[u8], &WorkerCounters)> {
        self.session.workers()
    }

    /// What was refused or ignored on the connection's channels so far.
    pub fn ignored(&self) -> Ignored {
        self.session.ignored()
    }

    /// Frames that were discarded so far.
    pub const fn discarded(&self) -> &Discarded {
        self.session.discarded()
    }

    /// Takes what the connection wants done, and does what concerns the shard.
    fn collect(&mut self, shard: &mut Shard) {
        while let Some(output) = self.session.poll_output() {
            match output {
                DownstreamOutput::Send(message) => self.outputs.push_back(Output::Send(message)),
                DownstreamOutput::Persist(shares) => {
                    let user = self.users.get(&shares.channel_id());
                    let user_identity = user.map(|user| user.identity.clone()).unwrap_or_default();
                    self.outputs.push_back(Output::Persist {
                        user_identity,
                        shares,
                    });
                }
                DownstreamOutput::SubmitBlock(block) => {
                    self.outputs.push_front(Output::SubmitBlock(block));
                }
                DownstreamOutput::Released(prefix) => shard.extranonces.release(prefix),
                DownstreamOutput::Closed {
                    channel_id,
                    extranonce_prefix,
                } => {
                    shard.extranonces.release(extranonce_prefix);
                    if let Some(user) = self.users.remove(&channel_id) {
                        shard.release_payout(&user.payout);
                    }
                }
                // The pool forwards nothing: channels end here.
                DownstreamOutput::Forward(_) => {}
                DownstreamOutput::Close(reason) => self.outputs.push_back(Output::Close(reason)),
            }
        }
    }
}

impl ChannelOwner for Owner<'_> {
    fn open(
        &mut self,
        channels: &mut ServerChannels,
        request: OpenRequest,
        user_identity: &[u8],
        now: Now,
    ) {
        let shard = &mut *self.shard;
        let (payout, grant) = match grant(&request, user_identity, shard) {
            Ok(granted) => granted,
            Err(refusal) => return channels.refuse(request, refusal),
        };
        if let Some(work) = shard.work() {
            channels.handle_work(work);
        }
        match channels.open(request, grant, now) {
            Ok(channel_id) => {
                let identity = user_identity.into();
                self.users.insert(channel_id, User { identity, payout });
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
            terms: WorkTerms::Own,
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
