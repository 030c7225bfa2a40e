//! A small pool of the peer: templates from our template provider, channels and share validation its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use sri::bitcoin::opcodes::OP_TRUE;
use sri::bitcoin::script::Builder;
use sri::bitcoin::{Amount, CompactTarget, Target, TxOut};
use sri::channels_sv2::extranonce_manager::ExtranonceAllocator;
use sri::channels_sv2::server::extended::ExtendedChannel;
use sri::channels_sv2::server::group::GroupChannel;
use sri::channels_sv2::server::share_accounting::{ShareValidationError, ShareValidationResult};
use sri::channels_sv2::server::standard::StandardChannel;
use sri::common_messages_sv2::{Protocol, SetupConnectionSuccess};
use sri::mining_sv2::{
    OpenExtendedMiningChannelSuccessOwned, OpenStandardMiningChannelSuccessOwned,
    SetExtranoncePrefixOwned, SetNewPrevHashOwned, SetTargetOwned, SubmitSharesErrorOwned,
    SubmitSharesSuccess,
};
use sri::parsers_sv2::{
    AnyMessageOwned, CommonMessagesOwned, MiningOwned, TemplateDistributionOwned,
};
use sri::template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplateOwned, SetNewPrevHashOwned as TemplateTip,
    SubmitSolutionOwned,
};

use crate::ours::{AUTHORITY_SECRET, authority};
use crate::peer::{Peer, VERSION};
use crate::work::bytes32;

/// Id of the only channel.
const CHANNEL_ID: u32 = 2;

/// Id of its group.
const GROUP_ID: u32 = 1;

/// Text in the coinbase.
const POOL_TAG: &str = "interop";

/// Bytes of the full extranonce.
const EXTRANONCE_SIZE: u8 = 20;

/// Bytes of it that an extended channel rolls.
const ROLLABLE_SIZE: u16 = 8;

/// A short test wants many shares.
const SHARES_PER_MINUTE: f32 = 600.0;

/// A template client of the peer.
pub struct TemplateClient {
    /// The connection.
    pub peer: Peer,
}

impl TemplateClient {
    /// Connects to our template provider and announces one output of ten bytes.
    pub fn connect(provider: SocketAddr) -> Self {
        let mut peer = Peer::connect(provider, authority());
        peer.set_up(Protocol::TemplateDistributionProtocol, 0)
            .expect("our template provider takes the connection");
        peer.send(TemplateDistributionOwned::CoinbaseOutputConstraints(
            CoinbaseOutputConstraints {
                coinbase_output_max_additional_size: 10,
                coinbase_output_max_additional_sigops: 0,
            },
        ));
        Self { peer }
    }

    /// The next message.
    pub fn receive(&mut self) -> TemplateDistributionOwned {
        match self.peer.receive() {
            AnyMessageOwned::TemplateDistribution(message) => message,
            other => panic!("only template distribution speaks here: {other}"),
        }
    }

    /// The template that comes next, which is one for a future tip, and that tip.
    pub fn future(&mut self) -> (NewTemplateOwned, TemplateTip) {
        let mut future = None;
        loop {
            match self.receive() {
                TemplateDistributionOwned::NewTemplate(template) if template.future_template => {
                    future = Some(template);
                }
                TemplateDistributionOwned::SetNewPrevHash(tip) => {
                    let template = future.expect("a template comes before its tip");
                    assert_eq!(template.template_id, tip.template_id);
                    return (template, tip);
                }
                // Better fees on the tip that is being left.
                TemplateDistributionOwned::NewTemplate(_) => {}
                other => panic!("not a template: {other}"),
            }
        }
    }
}

/// A tip whose blocks are too hard to find, so that shares are only shares: of difficulty 1.
fn harden(tip: &mut TemplateTip) {
    tip.n_bits = 0x1d00_ffff;
    let target = Target::from_compact(CompactTarget::from_consensus(tip.n_bits));
    tip.target = target.to_le_bytes().into();
}

/// Is a template provider to our pool: passes on the first template of `provider`, with a tip that is too hard for
/// blocks. Ends when the pool does, and gives the constraints that the pool had for it.
pub fn provide_hard_work(
    listener: &TcpListener,
    provider: SocketAddr,
) -> CoinbaseOutputConstraints {
    let (template, mut tip) = TemplateClient::connect(provider).future();
    harden(&mut tip);
    let (stream, _) = listener.accept().expect("our pool connects");
    let mut pool = Peer::accept(stream, &authority(), &AUTHORITY_SECRET);
    answer_setup(&mut pool, Protocol::TemplateDistributionProtocol);
    let AnyMessageOwned::TemplateDistribution(
        TemplateDistributionOwned::CoinbaseOutputConstraints(constraints),
    ) = pool.receive()
    else {
        panic!("constraints come first")
    };
    pool.send(TemplateDistributionOwned::NewTemplate(template));
    pool.send(TemplateDistributionOwned::SetNewPrevHash(tip));
    if let Some(message) = pool.try_receive() {
        panic!("nothing more was to come: {message}");
    }
    constraints
}

/// What the pool saw.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Flags of the miner's `SetupConnection`.
    pub flags: u32,
    /// Shares that the peer's validation took.
    pub accepted: u32,
    /// Blocks among them.
    pub blocks: u32,
    /// Shares that it refused, by error code.
    pub rejected: BTreeMap<String, u32>,
}

impl Outcome {
    fn has_reached(&self, goal: Goal) -> bool {
        match goal {
            Goal::Blocks(blocks) => self.blocks >= blocks,
            Goal::Shares(shares) => self.accepted >= shares,
        }
    }
}

enum Channel {
    Standard(Box<StandardChannel>),
    /// With the group that its jobs go to.
    Extended(Box<ExtendedChannel>, Box<GroupChannel>),
}

/// How long the pool goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Until so many blocks are found.
    Blocks(u32),
    /// Until so many shares are accepted, on a tip that is too hard for blocks.
    Shares(u32),
}

/// Serves one connection of our miner until the goal is reached.
pub fn serve(listener: &TcpListener, provider: SocketAddr, goal: Goal) -> Outcome {
    let mut templates = TemplateClient::connect(provider);
    let mut work = templates.future();
    if let Goal::Shares(_) = goal {
        harden(&mut work.1);
    }
    let (stream, _) = listener.accept().expect("our miner connects");
    let mut miner = Peer::accept(stream, &authority(), &AUTHORITY_SECRET);
    let flags = answer_setup(&mut miner, Protocol::MiningProtocol);
    let mut session = Session {
        miner,
        templates,
        outcome: Outcome {
            flags,
            ..Outcome::default()
        },
    };
    let mut extranonces = ExtranonceAllocator::new(vec![7], EXTRANONCE_SIZE, 16).unwrap();
    let mut channel = session.open(&mut extranonces);
    session.give(&mut channel, work);
    while !session.outcome.has_reached(goal) {
        if session.take_share(&mut channel) {
            session.change(&mut channel, &mut extranonces);
            let work = session.templates.future();
            session.give(&mut channel, work);
        }
    }
    session.outcome
}

/// Takes `SetupConnection` and gives its flags.
fn answer_setup(client: &mut Peer, protocol: Protocol) -> u32 {
    let AnyMessageOwned::Common(CommonMessagesOwned::SetupConnection(setup)) = client.receive()
    else {
        panic!("SetupConnection comes first")
    };
    assert_eq!(setup.protocol, protocol);
    assert!((setup.min_version..=setup.max_version).contains(&VERSION));
    let success = SetupConnectionSuccess {
        used_version: VERSION,
        flags: 0,
    };
    client.send(CommonMessagesOwned::SetupConnectionSuccess(success));
    setup.flags
}

struct Session {
    miner: Peer,
    templates: TemplateClient,
    outcome: Outcome,
}

impl Session {
    fn receive(&mut self) -> MiningOwned {
        match self.miner.receive() {
            AnyMessageOwned::Mining(message) => message,
            other => panic!("only the mining protocol speaks here: {other}"),
        }
    }

    fn open(&mut self, extranonces: &mut ExtranonceAllocator) -> Channel {
        match self.receive() {
            MiningOwned::OpenStandardMiningChannel(open) => {
                let prefix = extranonces.allocate_standard().unwrap();
                let bytes = prefix.as_bytes().to_vec();
                let channel = StandardChannel::new_for_pool(
                    CHANNEL_ID,
                    open.user_identity.as_utf8_or_hex(),
                    prefix,
                    target(open.max_target.as_ref()),
                    open.nominal_hash_rate,
                    1,
                    SHARES_PER_MINUTE,
                    POOL_TAG.into(),
                    None,
                );
                let channel = channel.expect("our miner's terms are sound");
                self.miner
                    .send(MiningOwned::OpenStandardMiningChannelSuccess(
                        OpenStandardMiningChannelSuccessOwned {
                            request_id: open.request_id,
                            channel_id: CHANNEL_ID,
                            target: channel.get_target().to_le_bytes().into(),
                            extranonce_prefix: bytes.try_into().unwrap(),
                            group_channel_id: GROUP_ID,
                        },
                    ));
                Channel::Standard(channel.into())
            }
            MiningOwned::OpenExtendedMiningChannel(open) => {
                assert!(open.min_extranonce_size <= ROLLABLE_SIZE);
                let prefix = extranonces.allocate_extended(ROLLABLE_SIZE.into()).unwrap();
                let bytes = prefix.as_bytes().to_vec();
                let rollable = extranonces.rollable_extranonce_size();
                let channel = ExtendedChannel::new_for_pool(
                    CHANNEL_ID,
                    open.user_identity.as_utf8_or_hex(),
                    prefix,
                    target(open.max_target.as_ref()),
                    open.nominal_hash_rate,
                    true,
                    rollable.into(),
                    1,
                    SHARES_PER_MINUTE,
                    POOL_TAG.into(),
                    None,
                );
                let channel = channel.expect("our miner's terms are sound");
                let full_size = channel.get_full_extranonce_size();
                let group = GroupChannel::new_for_pool(GROUP_ID, full_size, true, POOL_TAG.into());
                let mut group = group.unwrap();
                group.add_channel_id(CHANNEL_ID, full_size).unwrap();
                self.miner
                    .send(MiningOwned::OpenExtendedMiningChannelSuccess(
                        OpenExtendedMiningChannelSuccessOwned {
                            request_id: open.request_id,
                            channel_id: CHANNEL_ID,
                            target: channel.get_target().to_le_bytes().into(),
                            extranonce_size: rollable.into(),
                            extranonce_prefix: bytes.try_into().unwrap(),
                            group_channel_id: GROUP_ID,
                        },
                    ));
                Channel::Extended(channel.into(), group.into())
            }
            other => panic!("not a request for a channel: {other}"),
        }
    }

    /// Sends a future job and the tip that makes it active.
    fn give(&mut self, channel: &mut Channel, (template, tip): (NewTemplateOwned, TemplateTip)) {
        let template_id = template.template_id;
        let rewards = vec![TxOut {
            value: Amount::from_sat(template.coinbase_tx_value_remaining),
            script_pubkey: Builder::new().push_opcode(OP_TRUE).into_script(),
        }];
        let (job, job_id, channel_id) = match channel {
            Channel::Standard(channel) => {
                channel.on_new_template(template, rewards).unwrap();
                let job_id = channel.get_future_job_id_from_template_id(template_id);
                let job_id = job_id.expect("the job was just made");
                let job = channel.get_future_job(job_id).expect("it is there");
                let message = MiningOwned::NewMiningJob(job.get_job_message().clone());
                channel.on_set_new_prev_hash(tip.clone()).unwrap();
                (message, job_id, CHANNEL_ID)
            }
            Channel::Extended(channel, group) => {
                group.on_new_template(template, rewards).unwrap();
                let job_id = group.get_future_job_id_from_template_id(template_id);
                let job_id = job_id.expect("the job was just made");
                let job = group.get_future_job(job_id).expect("it is there").clone();
                let message = MiningOwned::NewExtendedMiningJob(job.get_job_message().clone());
                channel.on_group_channel_job(job).unwrap();
                group.on_set_new_prev_hash(tip.clone()).unwrap();
                channel.on_set_new_prev_hash(tip.clone()).unwrap();
                (message, job_id, GROUP_ID)
            }
        };
        self.miner.send(job);
        self.miner
            .send(MiningOwned::SetNewPrevHash(SetNewPrevHashOwned {
                channel_id,
                job_id,
                prev_hash: tip.prev_hash,
                min_ntime: tip.header_timestamp,
                nbits: tip.n_bits,
            }));
    }

    /// Gives the channel another extranonce prefix and a target twice as hard, from the next job on.
    fn change(&mut self, channel: &mut Channel, extranonces: &mut ExtranonceAllocator) {
        let (prefix, target) = match channel {
            Channel::Standard(channel) => {
                let prefix = extranonces.allocate_standard().unwrap();
                let bytes = prefix.as_bytes().to_vec();
                channel.set_extranonce_prefix(prefix).unwrap();
                let target = halved(channel.get_target());
                channel.set_target(target).unwrap();
                (bytes, target)
            }
            Channel::Extended(channel, _) => {
                let prefix = extranonces.allocate_extended(ROLLABLE_SIZE.into()).unwrap();
                let bytes = prefix.as_bytes().to_vec();
                channel.set_extranonce_prefix(prefix).unwrap();
                let target = halved(channel.get_target());
                channel.set_target(target).unwrap();
                (bytes, target)
            }
        };
        self.miner
            .send(MiningOwned::SetExtranoncePrefix(SetExtranoncePrefixOwned {
                channel_id: CHANNEL_ID,
                extranonce_prefix: prefix.try_into().unwrap(),
            }));
        self.miner.send(MiningOwned::SetTarget(SetTargetOwned {
            channel_id: CHANNEL_ID,
            maximum_target: target.to_le_bytes().into(),
        }));
    }

    /// Takes the miner's next share; says whether it is a block, which then is with our template provider.
    fn take_share(&mut self, channel: &mut Channel) -> bool {
        let (validated, sequence_number, solution) = match (self.receive(), &mut *channel) {
            (MiningOwned::SubmitSharesStandard(share), Channel::Standard(channel)) => (
                channel.validate_share(share.clone()),
                share.sequence_number,
                (share.version, share.ntime, share.nonce),
            ),
            (MiningOwned::SubmitSharesExtended(share), Channel::Extended(channel, _)) => (
                channel.validate_share(share.clone()),
                share.sequence_number,
                (share.version, share.ntime, share.nonce),
            ),
            (other, _) => panic!("not a share of the channel: {other}"),
        };
        match validated {
            Ok(ShareValidationResult::Valid(_)) => self.accept(sequence_number),
            Ok(ShareValidationResult::BlockFound(_, template_id, coinbase)) => {
                self.accept(sequence_number);
                self.outcome.blocks += 1;
                let (version, header_timestamp, header_nonce) = solution;
                self.templates
                    .peer
                    .send(TemplateDistributionOwned::SubmitSolution(
                        SubmitSolutionOwned {
                            template_id: template_id.expect("the job is of a template"),
                            version,
                            header_timestamp,
                            header_nonce,
                            coinbase_tx: coinbase.try_into().unwrap(),
                        },
                    ));
                return true;
            }
            Err(error) => self.reject(sequence_number, &error),
        }
        false
    }

    fn accept(&mut self, last_sequence_number: u32) {
        self.outcome.accepted += 1;
        self.miner
            .send(MiningOwned::SubmitSharesSuccess(SubmitSharesSuccess {
                channel_id: CHANNEL_ID,
                last_sequence_number,
                new_submits_accepted_count: 1,
                new_shares_sum: 1,
            }));
    }

    fn reject(&mut self, sequence_number: u32, error: &ShareValidationError) {
        let code = match error {
            ShareValidationError::Invalid(code)
            | ShareValidationError::Stale(code)
            | ShareValidationError::InvalidJobId(code)
            | ShareValidationError::DoesNotMeetTarget(code)
            | ShareValidationError::VersionRollingNotAllowed(code)
            | ShareValidationError::DuplicateShare(code)
            | ShareValidationError::BadExtranonceSize(code) => (*code).to_owned(),
            other => panic!("the pool itself is at fault: {other:?}"),
        };
        *self.outcome.rejected.entry(code.clone()).or_default() += 1;
        self.miner
            .send(MiningOwned::SubmitSharesError(SubmitSharesErrorOwned {
                channel_id: CHANNEL_ID,
                sequence_number,
                error_code: code.try_into().unwrap(),
            }));
    }
}

fn halved(target: &Target) -> Target {
    let mut bytes = target.to_be_bytes();
    let mut carry = 0;
    for byte in &mut bytes {
        (*byte, carry) = ((*byte >> 1) | carry, *byte << 7);
    }
    Target::from_be_bytes(bytes)
}

fn target(bytes: &[u8]) -> Target {
    Target::from_le_bytes(bytes32(bytes))
}
