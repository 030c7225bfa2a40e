//! An upstream that does as it is told.

use std::collections::{BTreeMap, VecDeque};

use binary_sv2::{IntoOwned, Str0255};
use common_messages_sv2::{CommonMessage, Reconnect, SetupConnectionError, SetupConnectionSuccess};
use const_sv2::EXTENSION_WORKER_IDENTITY;
use extensions_sv2::{
    ExtensionNegotiationMessage, RequestExtensionsError, RequestExtensionsSuccess,
};
use mining_proxy_core::LinkId;
use mining_sv2::{
    CloseChannel, MiningMessage, NewExtendedMiningJob, NewMiningJob, OpenExtendedMiningChannel,
    OpenExtendedMiningChannelSuccess, OpenMiningChannelError, OpenStandardMiningChannel,
    OpenStandardMiningChannelSuccess, SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash,
    SetTarget, SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess,
    UpdateChannel,
};
use roles_logic_sv2::merkle::sha256d;
use roles_logic_sv2::messages::{AnyMessage, ForwardedFrame};
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::OutgoingShare;

use super::START_SECS;

pub(crate) const GROUP: u32 = 1;

/// The group of standard channels that get merkle roots.
pub(crate) const ROOTS: u32 = 1_000_000;

/// No channel has this number.
pub(crate) const NO_CHANNEL: u32 = 4_711;

/// No share of a test is a block.
const HARD: u32 = 0x1703_71b1;

/// Regtest: every other hash is a block.
pub(crate) const EASY: u32 = 0x207f_ffff;

/// Bytes of the prefix of each channel.
const PREFIX_SIZE: usize = 4;

/// What becomes of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Up,
    Refused,
    Silent,
}

/// A channel as the upstream sees it.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) link: LinkId,
    pub(crate) id: u32,
    pub(crate) identity: String,
    pub(crate) nominal_hash_rate: f32,
    pub(crate) max_target: [u8; 32],
    pub(crate) min_extranonce_size: u16,
    pub(crate) is_standard: bool,
}

#[derive(Debug, Default)]
struct Wire {
    out: VecDeque<AnyMessage<'static>>,
}

pub(crate) struct Upstream {
    pub(crate) reach: Reach,
    /// Answers `SetupConnection`; says nothing when `None`.
    pub(crate) setup: Option<Result<u32, &'static str>>,
    /// Answers extension 0x0001.
    pub(crate) knows_extensions: bool,
    /// Says this to each request for a channel.
    pub(crate) refuses_opens: Option<&'static str>,
    /// Says the same to requests in this name.
    pub(crate) refuses_user: Option<&'static str>,
    /// Refuses those that do not take any target.
    pub(crate) refuses_limits: bool,
    /// Says nothing to requests for channels.
    pub(crate) ignores_opens: bool,
    /// Keeps requests for channels, to answer them with [`Self::answers_opens`].
    pub(crate) holds_opens: bool,
    held: VecDeque<(LinkId, OpenExtendedMiningChannel<'static>)>,
    /// Gives no work on new channels.
    pub(crate) withholds_work: bool,
    /// Bytes that miners roll on new channels.
    pub(crate) extranonce_size: u16,
    /// Grants that size to those too that ask for more.
    pub(crate) ignores_sizes: bool,
    /// Refuses to go on without this extension.
    pub(crate) requires: Option<u16>,
    /// Says nothing at all, whatever is sent.
    pub(crate) is_mute: bool,
    pub(crate) target: [u8; 32],
    /// The network's target.
    pub(crate) nbits: u32,
    /// Answers shares: `None` for not at all.
    pub(crate) verdict: Option<Result<(), &'static str>>,
    pub(crate) may_roll: bool,
    /// Script of the coinbase's output, one byte.
    pub(crate) pays: u8,
    pub(crate) channels: Vec<Channel>,
    pub(crate) updates: Vec<UpdateChannel>,
    pub(crate) closes: Vec<u32>,
    pub(crate) opens: usize,
    pub(crate) shares: Vec<(LinkId, SubmitSharesExtended<'static>)>,
    pub(crate) workers: Vec<Option<String>>,
    pub(crate) standard_shares: Vec<(LinkId, SubmitSharesStandard)>,
    /// Frames of extensions that nobody knows.
    pub(crate) forwarded: Vec<ForwardedFrame>,
    /// Standard channels get a merkle root each, and no job of the group's.
    pub(crate) gives_roots: bool,
    pub(crate) connections: usize,
    pub(crate) extension_requests: usize,
    /// Shares acknowledged and rejected by what was read of us.
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    /// Shares that wait for an answer: connection, channel, number.
    waiting: Vec<(LinkId, u32, u32)>,
    wires: BTreeMap<LinkId, Wire>,
    next_channel: u32,
    next_job: u32,
    block: u8,
    min_ntime: u32,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self {
            reach: Reach::Up,
            setup: Some(Ok(0)),
            knows_extensions: true,
            refuses_opens: None,
            refuses_user: None,
            refuses_limits: false,
            ignores_opens: false,
            holds_opens: false,
            held: VecDeque::new(),
            withholds_work: false,
            extranonce_size: 12,
            ignores_sizes: false,
            requires: None,
            is_mute: false,
            target: [0xff; 32],
            nbits: HARD,
            verdict: Some(Ok(())),
            may_roll: true,
            pays: 0x51,
            channels: Vec::new(),
            updates: Vec::new(),
            closes: Vec::new(),
            opens: 0,
            shares: Vec::new(),
            workers: Vec::new(),
            standard_shares: Vec::new(),
            forwarded: Vec::new(),
            gives_roots: false,
            connections: 0,
            extension_requests: 0,
            acknowledged: 0,
            rejected: 0,
            waiting: Vec::new(),
            wires: BTreeMap::new(),
            next_channel: GROUP,
            next_job: 0,
            block: 1,
            min_ntime: START_SECS,
        }
    }

    pub(crate) fn connected(&mut self, link: LinkId) {
        self.connections += 1;
        self.wires.insert(link, Wire::default());
    }

    pub(crate) fn disconnected(&mut self, link: LinkId) {
        self.wires.remove(&link);
        self.waiting.retain(|(waiting, ..)| *waiting != link);
        self.channels.retain(|channel| channel.link != link);
    }

    pub(crate) fn says(&mut self, link: LinkId) -> Option<AnyMessage<'static>> {
        let wire = self.wires.get_mut(&link)?;
        if self.is_mute {
            wire.out.clear();
        }
        let message = wire.out.pop_front()?;
        match &message {
            AnyMessage::Mining(MiningMessage::SubmitSharesSuccess(message)) => {
                self.acknowledged += u64::from(message.new_submits_accepted_count);
            }
            AnyMessage::Mining(MiningMessage::SubmitSharesError(message)) => {
                self.rejected += u64::from(message.channel_id != NO_CHANNEL);
            }
            _ => {}
        }
        Some(message)
    }

    /// Shares on connections that are there which wait for an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Answers so many of the shares that wait, the oldest first: what is accepted together, as servers do.
    pub(crate) fn answers(&mut self, count: usize, verdict: Result<(), &'static str>) {
        let count = if self.is_mute {
            0
        } else {
            count.min(self.waiting.len())
        };
        let answered: Vec<_> = self.waiting.drain(..count).collect();
        let mut accepted: BTreeMap<(LinkId, u32), (u32, u32)> = BTreeMap::new();
        for (link, channel_id, sequence_number) in answered {
            match verdict {
                Ok(()) => {
                    let entry = accepted.entry((link, channel_id)).or_default();
                    *entry = (sequence_number, entry.1 + 1);
                }
                Err(code) => self.rejects(link, channel_id, sequence_number, code),
            }
        }
        for ((link, channel_id), (last, count)) in accepted {
            self.acknowledges(link, channel_id, last, count);
        }
    }

    pub(crate) fn acknowledges(&mut self, link: LinkId, channel_id: u32, last: u32, count: u32) {
        let message = SubmitSharesSuccess {
            channel_id,
            last_sequence_number: last,
            new_submits_accepted_count: count,
            new_shares_sum: count.into(),
        };
        self.mining(link, message);
    }

    pub(crate) fn rejects(
        &mut self,
        link: LinkId,
        channel_id: u32,
        sequence_number: u32,
        code: &'static str,
    ) {
        let message = SubmitSharesError {
            channel_id,
            sequence_number,
            error_code: code.try_into().unwrap(),
        };
        self.mining(link, message);
    }

    pub(crate) fn say(&mut self, link: LinkId, message: impl Into<AnyMessage<'static>>) {
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.out.push_back(message.into());
        }
    }

    pub(crate) fn mining(&mut self, link: LinkId, message: impl Into<MiningMessage<'static>>) {
        self.say(link, message.into());
    }

    pub(crate) fn takes(&mut self, link: LinkId, message: &AnyMessage<'static>) {
        match message {
            AnyMessage::Common(CommonMessage::SetupConnection(_)) => match self.setup {
                Some(Ok(flags)) => {
                    let used_version = 2;
                    let answer = SetupConnectionSuccess {
                        used_version,
                        flags,
                    };
                    self.say(link, CommonMessage::from(answer));
                }
                Some(Err(code)) => {
                    let answer = SetupConnectionError {
                        flags: 0,
                        error_code: code.try_into().unwrap(),
                    };
                    self.say(link, CommonMessage::from(answer));
                }
                None => {}
            },
            AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensions(
                request,
            )) if self.knows_extensions => {
                self.extension_requests += 1;
                if let Some(extension) = self.requires {
                    let answer = RequestExtensionsError {
                        request_id: request.request_id,
                        unsupported_extensions: Vec::new().try_into().unwrap(),
                        required_extensions: vec![extension].try_into().unwrap(),
                    };
                    return self.say(link, ExtensionNegotiationMessage::from(answer));
                }
                let answer = RequestExtensionsSuccess {
                    request_id: request.request_id,
                    supported_extensions: vec![EXTENSION_WORKER_IDENTITY].try_into().unwrap(),
                };
                self.say(link, ExtensionNegotiationMessage::from(answer));
            }
            AnyMessage::ExtensionNegotiation(_) => {}
            AnyMessage::Mining(message) => self.takes_mining(link, message),
            other => panic!("{other:?}"),
        }
    }

    fn takes_mining(&mut self, link: LinkId, message: &MiningMessage<'static>) {
        match message {
            MiningMessage::OpenExtendedMiningChannel(open) if self.holds_opens => {
                self.held.push_back((link, open.clone()));
            }
            MiningMessage::OpenExtendedMiningChannel(open) => self.takes_open(link, open),
            MiningMessage::OpenStandardMiningChannel(open) => self.takes_standard_open(link, open),
            MiningMessage::UpdateChannel(update) => self.updates.push(*update),
            MiningMessage::CloseChannel(close) => {
                self.closes.push(close.channel_id);
                self.channels
                    .retain(|channel| channel.id != close.channel_id);
                self.waiting.retain(|(_, id, _)| *id != close.channel_id);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Answers so many of the requests for channels that it kept.
    pub(crate) fn answers_opens(&mut self, count: usize) {
        for (link, open) in self
            .held
            .drain(..count.min(self.held.len()))
            .collect::<Vec<_>>()
        {
            self.takes_open(link, &open);
        }
    }

    fn takes_open(&mut self, link: LinkId, open: &OpenExtendedMiningChannel<'static>) {
        self.opens += 1;
        if self.ignores_opens {
            return;
        }
        let too_large = open.min_extranonce_size > self.extranonce_size && !self.ignores_sizes;
        let identity = open.user_identity.as_str().unwrap();
        let is_refused = self
            .refuses_user
            .is_some_and(|user| identity.contains(user));
        let is_limited = self.refuses_limits && open.max_target.0 != [0xff; 32];
        let refusal = self
            .refuses_opens
            .or(is_refused.then_some("unknown-user"))
            .or(is_limited.then_some("max-target-out-of-range"))
            .or(too_large.then_some("min-extranonce-size-too-large"));
        if let Some(code) = refusal {
            return self.mining(
                link,
                OpenMiningChannelError {
                    request_id: open.request_id,
                    error_code: code.try_into().unwrap(),
                },
            );
        }
        self.next_channel += 1;
        let channel_id = self.next_channel;
        self.channels.push(Channel {
            link,
            id: channel_id,
            identity: identity.to_owned(),
            nominal_hash_rate: open.nominal_hash_rate,
            max_target: open.max_target.0,
            min_extranonce_size: open.min_extranonce_size,
            is_standard: false,
        });
        let prefix = channel_id.to_be_bytes();
        let wanted = Target::from_le_bytes(self.target);
        let target = wanted.min(Target::from_le_bytes(open.max_target.0));
        let opened = OpenExtendedMiningChannelSuccess {
            request_id: open.request_id,
            channel_id,
            target: target.to_le_bytes().into(),
            extranonce_size: self.extranonce_size,
            extranonce_prefix: prefix.as_slice().try_into().unwrap(),
            group_channel_id: GROUP,
        };
        self.mining(link, opened.into_owned());
        if !self.withholds_work {
            self.first_work(link, channel_id);
        }
    }

    fn takes_standard_open(&mut self, link: LinkId, open: &OpenStandardMiningChannel<'static>) {
        self.opens += 1;
        if self.ignores_opens {
            return;
        }
        let identity = open.user_identity.as_str().unwrap();
        let is_refused = self
            .refuses_user
            .is_some_and(|user| identity.contains(user));
        let refusal = self.refuses_opens.or(is_refused.then_some("unknown-user"));
        if let Some(code) = refusal {
            return self.mining(
                link,
                OpenMiningChannelError {
                    request_id: open.request_id,
                    error_code: code.try_into().unwrap(),
                },
            );
        }
        self.next_channel += 1;
        let channel_id = self.next_channel;
        self.channels.push(Channel {
            link,
            id: channel_id,
            identity: identity.to_owned(),
            nominal_hash_rate: open.nominal_hash_rate,
            max_target: open.max_target.0,
            min_extranonce_size: 0,
            is_standard: true,
        });
        let prefix = self.standard_prefix(channel_id);
        let wanted = Target::from_le_bytes(self.target);
        let target = wanted.min(Target::from_le_bytes(open.max_target.0));
        let opened = OpenStandardMiningChannelSuccess {
            request_id: open.request_id,
            channel_id,
            target: target.to_le_bytes().into(),
            extranonce_prefix: prefix.as_slice().try_into().unwrap(),
            group_channel_id: if self.gives_roots { ROOTS } else { GROUP },
        };
        self.mining(link, opened.into_owned());
        if !self.withholds_work {
            self.first_work(link, channel_id);
        }
    }

    /// The merkle root of a standard channel.
    pub(crate) fn root(&self, job_id: u32, channel_id: u32) -> [u8; 32] {
        let (prefix, suffix) = self.coinbase_parts(job_id);
        let extranonce = self.standard_prefix(channel_id);
        let coinbase = sha256d(&[prefix, extranonce, suffix].concat());
        sha256d(&[coinbase, [5; 32]].concat())
    }

    /// The merkle root of a share of an extended channel with this prefix.
    pub(crate) fn root_of(&self, share: &SubmitSharesExtended<'_>, prefix: &[u8]) -> [u8; 32] {
        let (head, tail) = self.coinbase_parts(share.job_id);
        let coinbase = [&head, prefix, share.extranonce.as_bytes(), &tail].concat();
        sha256d(&[sha256d(&coinbase), [5; 32]].concat())
    }

    /// The merkle root of the last share, whose channel has its first prefix. All channels are of one kind.
    pub(crate) fn last_root(&self) -> [u8; 32] {
        match self.standard_shares.last() {
            Some((_, share)) => self.root(share.job_id, share.channel_id),
            None => {
                let (_, share) = self.shares.last().expect("a share");
                self.root_of(share, &share.channel_id.to_be_bytes())
            }
        }
    }

    /// As long as the extranonce of all.
    fn standard_prefix(&self, channel_id: u32) -> Vec<u8> {
        let mut prefix = channel_id.to_be_bytes().to_vec();
        prefix.resize(PREFIX_SIZE + usize::from(self.extranonce_size), 0);
        prefix
    }

    fn is_standard(&self, channel_id: u32) -> bool {
        let mut channels = self.channels.iter();
        channels.any(|channel| channel.id == channel_id && channel.is_standard)
    }

    /// Standard channels of a connection that get roots.
    fn rooted(&self, link: LinkId) -> Vec<u32> {
        let channels = self.channels.iter();
        let rooted = channels.filter(|channel| channel.link == link && channel.is_standard);
        rooted
            .filter(|_| self.gives_roots)
            .map(|channel| channel.id)
            .collect()
    }

    /// Whether this is the group of none, as all channels are those that get roots.
    fn is_nobodys(&self, link: LinkId, channel_id: u32) -> bool {
        let rooted = self.rooted(link);
        let mut here = self.channels.iter().filter(|channel| channel.link == link);
        let is_all = here.all(|channel| rooted.contains(&channel.id));
        channel_id == GROUP && is_all && !rooted.is_empty()
    }

    pub(crate) fn takes_standard_share(&mut self, link: LinkId, share: SubmitSharesStandard) {
        self.standard_shares.push((link, share));
        self.judges(link, share.channel_id, share.sequence_number);
    }

    pub(crate) fn takes_share(&mut self, link: LinkId, share: OutgoingShare) {
        let OutgoingShare { message, worker } = share;
        let (channel_id, sequence_number) = (message.channel_id, message.sequence_number);
        self.shares.push((link, message));
        self.workers.push(worker.map(|worker| worker.to_string()));
        self.judges(link, channel_id, sequence_number);
    }

    fn judges(&mut self, link: LinkId, channel_id: u32, sequence_number: u32) {
        match self.verdict.filter(|_| !self.is_mute) {
            Some(Ok(())) => {
                // A number stands for all before it.
                let before = self.waiting.len();
                self.waiting
                    .retain(|waiting| (waiting.0, waiting.1) != (link, channel_id));
                let count = before - self.waiting.len() + 1;
                self.acknowledges(link, channel_id, sequence_number, count as u32);
            }
            Some(Err(code)) => self.rejects(link, channel_id, sequence_number, code),
            None => self.waiting.push((link, channel_id, sequence_number)),
        }
    }

    /// The work that a channel gets when it is opened: a future job, and the tip that makes it the present one.
    pub(crate) fn first_work(&mut self, link: LinkId, channel_id: u32) {
        let job_id = self.future_job(link, channel_id);
        self.activate(link, channel_id, job_id);
    }

    pub(crate) fn future_job(&mut self, link: LinkId, channel_id: u32) -> u32 {
        self.next_job += 1;
        self.job(link, channel_id, self.next_job, None);
        self.next_job
    }

    pub(crate) fn activate(&mut self, link: LinkId, channel_id: u32, job_id: u32) {
        if self.is_nobodys(link, channel_id) {
            return;
        }
        self.mining(
            link,
            SetNewPrevHash {
                channel_id,
                job_id,
                prev_hash: [self.block; 32].into(),
                min_ntime: self.min_ntime,
                nbits: self.nbits,
            },
        );
    }

    /// A block was found somewhere; the next tip that is told is another one.
    pub(crate) fn next_block(&mut self) {
        self.block = self.block.wrapping_add(1);
        self.min_ntime += 1;
    }

    /// A block was found somewhere: all channels of a connection have other work.
    pub(crate) fn new_tip(&mut self, link: LinkId) {
        self.next_block();
        let job_id = self.future_job(link, GROUP);
        self.activate(link, GROUP, job_id);
        for channel_id in self.rooted(link) {
            self.first_work(link, channel_id);
        }
    }

    /// Better fees: all channels of a connection have another job on the same block.
    pub(crate) fn new_job(&mut self, link: LinkId) -> u32 {
        self.next_job += 1;
        let job_id = self.next_job;
        self.job(link, GROUP, job_id, Some(self.min_ntime));
        for channel_id in self.rooted(link) {
            self.job(link, channel_id, job_id, Some(self.min_ntime));
        }
        job_id
    }

    pub(crate) fn job(
        &mut self,
        link: LinkId,
        channel_id: u32,
        job_id: u32,
        min_ntime: Option<u32>,
    ) {
        if self.is_standard(channel_id) {
            let job = NewMiningJob {
                channel_id,
                job_id,
                min_ntime,
                version: 0x2000_0000,
                merkle_root: self.root(job_id, channel_id).into(),
            };
            return self.mining(link, job);
        }
        if self.is_nobodys(link, channel_id) {
            return;
        }
        let (prefix, suffix) = self.coinbase_parts(job_id);
        let version_rolling_allowed = self.may_roll;
        self.mining(
            link,
            NewExtendedMiningJob {
                channel_id,
                job_id,
                min_ntime,
                version: 0x2000_0000,
                version_rolling_allowed,
                merkle_path: vec![[5; 32].into()].try_into().unwrap(),
                coinbase_tx_prefix: prefix.try_into().unwrap(),
                coinbase_tx_suffix: suffix.try_into().unwrap(),
            },
        );
    }

    fn coinbase_parts(&self, job_id: u32) -> (Vec<u8>, Vec<u8>) {
        let full_size = PREFIX_SIZE + usize::from(self.extranonce_size);
        let script = [4 + full_size as u8, 3, 1, 2, job_id as u8];
        let prefix = [&[1, 0, 0, 0, 1][..], &[0; 32], &[0xff; 4], &script].concat();
        let mut suffix = vec![0xff; 4];
        suffix.push(1);
        suffix.extend(5_000_000_000_u64.to_le_bytes());
        suffix.extend([1, self.pays]);
        suffix.extend([0; 4]);
        (prefix, suffix)
    }

    /// The coinbase that a share of a channel with its first prefix was found with.
    pub(crate) fn coinbase(&self, share: &SubmitSharesExtended<'_>) -> Vec<u8> {
        let (prefix, suffix) = self.coinbase_parts(share.job_id);
        let own = share.channel_id.to_be_bytes();
        [&prefix, &own[..], share.extranonce.as_bytes(), &suffix].concat()
    }

    pub(crate) fn set_target(&mut self, link: LinkId, channel_id: u32, target: [u8; 32]) {
        let maximum_target = target.into();
        self.mining(
            link,
            SetTarget {
                channel_id,
                maximum_target,
            },
        );
    }

    pub(crate) fn set_prefix(&mut self, link: LinkId, channel_id: u32, prefix: [u8; 4]) {
        let extranonce_prefix = prefix.as_slice().try_into().unwrap();
        let message = SetExtranoncePrefix {
            channel_id,
            extranonce_prefix,
        };
        self.mining(link, message.into_owned());
    }

    pub(crate) fn set_group(&mut self, link: LinkId, group_channel_id: u32, channels: &[u32]) {
        self.mining(
            link,
            SetGroupChannel {
                group_channel_id,
                channel_ids: channels.to_vec().try_into().unwrap(),
            },
        );
    }

    pub(crate) fn close(&mut self, link: LinkId, channel_id: u32) {
        if self.is_mute {
            return;
        }
        let reason: Str0255<'static> = "going away".try_into().unwrap();
        let is_closed =
            |on: LinkId, id: u32| on == link && (id == channel_id || channel_id == GROUP);
        self.channels
            .retain(|channel| !is_closed(channel.link, channel.id));
        self.waiting.retain(|(on, id, _)| !is_closed(*on, *id));
        self.mining(
            link,
            CloseChannel {
                channel_id,
                reason_code: reason,
            },
        );
    }

    pub(crate) fn reconnect(&mut self, link: LinkId, host: &str, port: u16) {
        let message = Reconnect {
            new_host: host.to_owned().try_into().unwrap(),
            new_port: port,
        };
        self.say(link, CommonMessage::from(message));
    }

    /// Names under which channels are open.
    pub(crate) fn identities(&self) -> Vec<&str> {
        let channels = self.channels.iter();
        channels.map(|channel| &*channel.identity).collect()
    }
}
