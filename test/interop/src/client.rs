//! A miner of the peer: its channels, its share validation.

use std::collections::BTreeMap;

use sri::bitcoin::Target;
use sri::channels_sv2::chain_tip::ChainTip;
use sri::channels_sv2::client::extended::ExtendedChannel;
use sri::channels_sv2::client::group::GroupChannel;
use sri::channels_sv2::client::share_accounting::{
    ShareAccounting, ShareValidationError, ShareValidationResult,
};
use sri::channels_sv2::client::standard::StandardChannel;
use sri::channels_sv2::extranonce_manager::ExtranoncePrefix;
use sri::channels_sv2::merkle_root::merkle_root_from_path;
use sri::common_messages_sv2::Protocol;
use sri::mining_sv2::{
    NewExtendedMiningJobOwned, OpenExtendedMiningChannelOwned, OpenStandardMiningChannelOwned,
    SetNewPrevHashOwned, SubmitSharesExtendedOwned, SubmitSharesStandardOwned,
};
use sri::parsers_sv2::{AnyMessageOwned, MiningOwned};

use crate::peer::{Message, Peer};
use crate::work::{Candidate, bytes32, network_target};

/// Flag of `SetupConnection`: no group jobs, each channel its own.
pub const REQUIRES_STANDARD_JOBS: u32 = 1;

/// Hashes a second that a channel is opened with: our pool then gives its easiest target.
const NOMINAL_HASHRATE: f32 = 1_000.0;

/// A channel of the peer.
#[derive(Debug)]
pub enum Channel {
    /// The server makes the merkle root.
    Standard(StandardChannel),
    /// The client does.
    Extended(ExtendedChannel),
}

impl Channel {
    /// What the peer counted.
    pub fn accounting(&self) -> &ShareAccounting {
        match self {
            Self::Standard(channel) => channel.get_share_accounting(),
            Self::Extended(channel) => channel.get_share_accounting(),
        }
    }

    /// Id of the job to mine on.
    pub fn active_job(&self) -> Option<u32> {
        match self {
            Self::Standard(channel) => channel.get_active_job().map(|job| job.job_message.job_id),
            Self::Extended(channel) => channel.get_active_job().map(|job| job.job_message.job_id),
        }
    }

    /// The tip to mine on.
    pub fn tip(&self) -> Option<&ChainTip> {
        match self {
            Self::Standard(channel) => channel.get_chain_tip(),
            Self::Extended(channel) => channel.get_chain_tip(),
        }
    }

    fn set_target(&mut self, target: Target) {
        match self {
            Self::Standard(channel) => channel.set_target(target).unwrap(),
            Self::Extended(channel) => channel.set_target(target).unwrap(),
        }
    }

    fn take_group_job(&mut self, job: NewExtendedMiningJobOwned) {
        match self {
            Self::Standard(channel) => channel.on_new_group_channel_job(job).unwrap(),
            Self::Extended(channel) => channel.on_new_extended_mining_job(job).unwrap(),
        }
    }

    fn take_tip(&mut self, tip: SetNewPrevHashOwned) {
        match self {
            Self::Standard(channel) => channel.on_set_new_prev_hash(tip).unwrap(),
            Self::Extended(channel) => channel.on_set_new_prev_hash(tip).unwrap(),
        }
    }

    fn take_ack(&mut self, count: u32, sum: u64) {
        match self {
            Self::Standard(channel) => channel.on_share_acknowledgement(count, sum),
            Self::Extended(channel) => channel.on_share_acknowledgement(count, sum),
        }
    }

    fn take_reject(&mut self, code: &str) {
        match self {
            Self::Standard(channel) => channel.on_share_rejection(code),
            Self::Extended(channel) => channel.on_share_rejection(code),
        }
    }
}

/// A share of either kind.
#[derive(Clone, Debug)]
pub enum Share {
    /// On a standard channel.
    Standard(SubmitSharesStandardOwned),
    /// On an extended channel.
    Extended(SubmitSharesExtendedOwned),
}

impl From<Share> for MiningOwned {
    fn from(share: Share) -> Self {
        match share {
            Share::Standard(share) => Self::SubmitSharesStandard(share),
            Share::Extended(share) => Self::SubmitSharesExtended(share),
        }
    }
}

impl From<Share> for Message {
    fn from(share: Share) -> Self {
        MiningOwned::from(share).into()
    }
}

/// Which hash a share is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One that meets the channel's target.
    Share,
    /// One that meets neither the channel's target nor the network's.
    NoShare,
}

/// A miner with all its channels, kept up to date by the peer's own rules: whatever they refuse ends the test.
pub struct Client {
    /// The connection.
    pub peer: Peer,
    /// Channels by id.
    pub channels: BTreeMap<u32, Channel>,
    /// Groups by id.
    pub groups: BTreeMap<u32, GroupChannel>,
    request_id: u32,
    sequence_number: u32,
}

impl Client {
    /// A connection that is set up for mining with these flags.
    pub fn set_up(mut peer: Peer, flags: u32) -> Self {
        peer.set_up(Protocol::MiningProtocol, flags)
            .expect("our server takes the connection");
        Self {
            peer,
            channels: BTreeMap::new(),
            groups: BTreeMap::new(),
            request_id: 0,
            sequence_number: 0,
        }
    }

    /// Asks for a standard channel and gives the id of its request.
    pub fn request_standard(&mut self, user_identity: &str) -> u32 {
        self.request_id += 1;
        self.peer.send(MiningOwned::OpenStandardMiningChannel(
            OpenStandardMiningChannelOwned {
                request_id: self.request_id,
                user_identity: user_identity.try_into().unwrap(),
                nominal_hash_rate: NOMINAL_HASHRATE,
                max_target: [0xff; 32].into(),
            },
        ));
        self.request_id
    }

    /// Asks for an extended channel and gives the id of its request.
    pub fn request_extended(&mut self, user_identity: &str, min_extranonce_size: u16) -> u32 {
        self.request_id += 1;
        self.peer.send(MiningOwned::OpenExtendedMiningChannel(
            OpenExtendedMiningChannelOwned {
                request_id: self.request_id,
                user_identity: user_identity.try_into().unwrap(),
                nominal_hash_rate: NOMINAL_HASHRATE,
                max_target: [0xff; 32].into(),
                min_extranonce_size,
            },
        ));
        self.request_id
    }

    /// Opens a standard channel and waits for work on it.
    pub fn open_standard(&mut self, user_identity: &str) -> u32 {
        self.request_standard(user_identity);
        self.opened()
    }

    /// Opens an extended channel and waits for work on it.
    pub fn open_extended(&mut self, user_identity: &str) -> u32 {
        self.request_extended(user_identity, 4);
        self.opened()
    }

    fn opened(&mut self) -> u32 {
        let channel_id = self.until(|message| match message {
            MiningOwned::OpenStandardMiningChannelSuccess(success) => Some(success.channel_id),
            MiningOwned::OpenExtendedMiningChannelSuccess(success) => Some(success.channel_id),
            _ => None,
        });
        while self.channels[&channel_id].active_job().is_none() {
            self.receive();
        }
        channel_id
    }

    /// Takes messages until `pick` finds what it looks for.
    pub fn until<T>(&mut self, mut pick: impl FnMut(&MiningOwned) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(&self.receive()) {
                return found;
            }
        }
    }

    /// The code of the next error that answers a request for a channel.
    pub fn open_error(&mut self) -> String {
        self.until(|message| match message {
            MiningOwned::OpenMiningChannelError(error) => Some(error.error_code.as_utf8_or_hex()),
            _ => None,
        })
    }

    /// The next answer to shares: the last sequence number acknowledged, or that of a refused share with its code.
    pub fn verdict(&mut self) -> Result<u32, (u32, String)> {
        self.until(|message| match message {
            MiningOwned::SubmitSharesSuccess(success) => Some(Ok(success.last_sequence_number)),
            MiningOwned::SubmitSharesError(error) => Some(Err((
                error.sequence_number,
                error.error_code.as_utf8_or_hex(),
            ))),
            _ => None,
        })
    }

    /// All messages that are on their way: those before the answer to a request that is always refused, as it wants a
    /// longer extranonce than there is, or an extended channel where there are only standard ones.
    pub fn drained(&mut self) -> Vec<MiningOwned> {
        self.request_extended("barrier", u16::MAX);
        let mut messages = Vec::new();
        loop {
            match self.receive() {
                MiningOwned::OpenMiningChannelError(_) => return messages,
                message => messages.push(message),
            }
        }
    }

    /// The tip of each channel.
    pub fn tips(&self) -> BTreeMap<u32, ChainTip> {
        let tip = |(id, channel): (&u32, &Channel)| Some((*id, channel.tip()?.clone()));
        self.channels.iter().filter_map(tip).collect()
    }

    /// Takes messages until each channel has another tip than it had then.
    pub fn until_all_left(&mut self, tips: &BTreeMap<u32, ChainTip>) {
        for (channel_id, tip) in tips {
            while self.channels[channel_id].tip() == Some(tip) {
                self.receive();
            }
        }
    }

    /// The next message, after the peer's channels have taken it.
    pub fn receive(&mut self) -> MiningOwned {
        let AnyMessageOwned::Mining(message) = self.peer.receive() else {
            panic!("only the mining protocol speaks here")
        };
        self.take(message.clone());
        message
    }

    fn take(&mut self, message: MiningOwned) {
        match message {
            MiningOwned::OpenStandardMiningChannelSuccess(success) => {
                let prefix = success.extranonce_prefix.as_ref();
                let channel = StandardChannel::new(
                    success.channel_id,
                    "interop".into(),
                    ExtranoncePrefix::from_wire(prefix.to_vec()).unwrap(),
                    target(success.target.as_ref()),
                    NOMINAL_HASHRATE,
                    None,
                );
                let channel = Channel::Standard(channel.unwrap());
                self.join(
                    success.channel_id,
                    success.group_channel_id,
                    prefix.len(),
                    channel,
                );
            }
            MiningOwned::OpenExtendedMiningChannelSuccess(success) => {
                let prefix = success.extranonce_prefix.as_ref();
                let channel = ExtendedChannel::new(
                    success.channel_id,
                    "interop".into(),
                    ExtranoncePrefix::from_wire(prefix.to_vec()).unwrap(),
                    target(success.target.as_ref()),
                    NOMINAL_HASHRATE,
                    true,
                    success.extranonce_size,
                    None,
                );
                let full_size = prefix.len() + usize::from(success.extranonce_size);
                let channel = Channel::Extended(channel.unwrap());
                self.join(
                    success.channel_id,
                    success.group_channel_id,
                    full_size,
                    channel,
                );
            }
            MiningOwned::NewMiningJob(job) => match self.channel(job.channel_id) {
                Channel::Standard(channel) => channel.on_new_mining_job(job).unwrap(),
                Channel::Extended(_) => panic!("a standard job for an extended channel"),
            },
            MiningOwned::NewExtendedMiningJob(job) => {
                if let Some(group) = self.groups.get_mut(&job.channel_id) {
                    group.on_new_extended_mining_job(job.clone());
                }
                self.for_members(job.channel_id, |channel| {
                    channel.take_group_job(job.clone());
                });
            }
            MiningOwned::SetNewPrevHash(tip) => {
                if let Some(group) = self.groups.get_mut(&tip.channel_id) {
                    // A group that was made for the channel just opened has no job of its own yet.
                    if group.get_future_job(tip.job_id).is_some() {
                        group.on_set_new_prev_hash(tip.clone()).unwrap();
                    }
                }
                self.for_members(tip.channel_id, |channel| channel.take_tip(tip.clone()));
            }
            MiningOwned::SetTarget(new) => {
                self.for_members(new.channel_id, |channel| {
                    channel.set_target(target(new.maximum_target.as_ref()));
                });
            }
            MiningOwned::SubmitSharesSuccess(ack) => {
                let channel = self.channel(ack.channel_id);
                channel.take_ack(ack.new_submits_accepted_count, ack.new_shares_sum);
            }
            MiningOwned::SubmitSharesError(error) => {
                let code = error.error_code.as_utf8_or_hex();
                if let Some(channel) = self.channels.get_mut(&error.channel_id) {
                    channel.take_reject(&code);
                }
            }
            MiningOwned::CloseChannel(close) => {
                self.channels.remove(&close.channel_id);
            }
            _ => {}
        }
    }

    fn join(&mut self, channel_id: u32, group_id: u32, full_size: usize, channel: Channel) {
        self.channels.insert(channel_id, channel);
        if group_id != 0 {
            let group = self.groups.entry(group_id);
            let group = group.or_insert_with(|| GroupChannel::new(group_id));
            group.add_channel_id(channel_id, full_size).unwrap();
        }
    }

    fn channel(&mut self, channel_id: u32) -> &mut Channel {
        let channel = self.channels.get_mut(&channel_id);
        channel.unwrap_or_else(|| panic!("a message for unknown channel {channel_id}"))
    }

    /// Does something with a channel, or with all channels of a group.
    fn for_members(&mut self, id: u32, mut act: impl FnMut(&mut Channel)) {
        let Some(group) = self.groups.get(&id) else {
            return act(self.channel(id));
        };
        let members: Vec<u32> = group.get_channel_ids().copied().collect();
        members
            .into_iter()
            .for_each(|member| act(self.channel(member)));
    }

    /// A share on the present job of a channel, hashed with the peer's code.
    pub fn find(&mut self, channel_id: u32, wanted: Wanted) -> Share {
        self.find_with(channel_id, wanted, |_| {})
    }

    /// As [`Self::find`], with a header that was changed before it is hashed.
    pub fn find_with(
        &mut self,
        channel_id: u32,
        wanted: Wanted,
        change: impl FnOnce(&mut Candidate),
    ) -> Share {
        self.sequence_number += 1;
        let sequence_number = self.sequence_number;
        match self.channel(channel_id) {
            Channel::Standard(channel) => {
                let (job, tip) = (channel.get_active_job(), channel.get_chain_tip());
                let (job, tip) = (job.expect("a job"), tip.expect("a tip"));
                let mut candidate = Candidate {
                    version: job.job_message.version,
                    merkle_root: bytes32(job.job_message.merkle_root.as_ref()),
                    ntime: tip.min_ntime(),
                };
                change(&mut candidate);
                Share::Standard(SubmitSharesStandardOwned {
                    channel_id,
                    sequence_number,
                    job_id: job.job_message.job_id,
                    nonce: nonce(&candidate, tip, &job.target, wanted),
                    ntime: candidate.ntime,
                    version: candidate.version,
                })
            }
            Channel::Extended(channel) => {
                let (job, tip) = (channel.get_active_job(), channel.get_chain_tip());
                let (job, tip) = (job.expect("a job"), tip.expect("a tip"));
                let size = usize::from(channel.get_rollable_extranonce_size());
                let mut extranonce = vec![0x5a; size];
                extranonce[..4].copy_from_slice(&sequence_number.to_le_bytes());
                let full = [&job.extranonce_prefix[..], &extranonce].concat();
                let path: Vec<_> = job.job_message.merkle_path.iter_bytes().collect();
                let root = merkle_root_from_path(
                    job.job_message.coinbase_tx_prefix.as_ref(),
                    job.job_message.coinbase_tx_suffix.as_ref(),
                    &full,
                    &path,
                );
                let mut candidate = Candidate {
                    version: job.job_message.version,
                    merkle_root: root.expect("the peer can build our coinbase"),
                    ntime: tip.min_ntime(),
                };
                change(&mut candidate);
                Share::Extended(SubmitSharesExtendedOwned {
                    channel_id,
                    sequence_number,
                    job_id: job.job_message.job_id,
                    nonce: nonce(&candidate, tip, &job.target, wanted),
                    ntime: candidate.ntime,
                    version: candidate.version,
                    extranonce: extranonce.try_into().unwrap(),
                })
            }
        }
    }

    /// What the peer says to a share before it is sent.
    pub fn validate(
        &mut self,
        share: &Share,
    ) -> Result<ShareValidationResult, ShareValidationError> {
        match share {
            Share::Standard(share) => match self.channel(share.channel_id) {
                Channel::Standard(channel) => channel.validate_share(share.clone()),
                Channel::Extended(_) => unreachable!("shares are made for their channel"),
            },
            Share::Extended(share) => match self.channel(share.channel_id) {
                Channel::Extended(channel) => channel.validate_share(share.clone()),
                Channel::Standard(_) => unreachable!("shares are made for their channel"),
            },
        }
    }

    /// Finds a share, has the peer validate it, sends it, and waits until it is acknowledged.
    pub fn mine(&mut self, channel_id: u32) {
        let share = self.find(channel_id, Wanted::Share);
        self.validate(&share).expect("the peer finds it valid");
        self.peer.send(share);
        assert_eq!(self.verdict(), Ok(self.sequence_number));
    }
}

fn nonce(candidate: &Candidate, tip: &ChainTip, target: &Target, wanted: Wanted) -> u32 {
    let network = network_target(tip);
    candidate.nonce(tip, |hash| match wanted {
        Wanted::Share => hash <= target,
        Wanted::NoShare => hash > target && *hash > network,
    })
}

fn target(bytes: &[u8]) -> Target {
    Target::from_le_bytes(bytes32(bytes))
}
