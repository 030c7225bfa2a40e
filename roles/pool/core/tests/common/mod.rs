//! A miner, the pool's core and a template provider in one dialogue, in virtual time. All messages pass as bytes.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test may fail"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{Encodable, Message};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{Network, Transaction, Txid};
use common_messages_sv2::CommonMessage;
use const_sv2::{MessageKind, Protocol};
use extensions_sv2::ExtensionNegotiationMessage;
use mining_sv2::{MiningMessage, SubmitSharesExtended};
use pool_core::downstream::{Downstream, Output};
use pool_core::payout::PoolPayouts;
use pool_core::shard::{PoolConfig, Shard};
use roles_logic_sv2::block_template::{BlockTemplate, TemplateTransaction};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::channels::client::{ClientChannels, Found, OpenTerms, Submission, Work};
use roles_logic_sv2::channels::server::{BlockFound, PendingAck, ServerConfig};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::CloseReason;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::template_client::{Output as FeedOutput, TemplateClient};
use roles_logic_sv2::template_server::{Announcer, TemplateServer};
use roles_logic_sv2::vardiff::VardiffConfig;
use template_distribution_sv2::{CoinbaseOutputConstraints, TemplateDistributionMessage};

/// Difficulty 1: no share of a test is a block.
pub(crate) const HARD: u32 = 0x1d00_ffff;

/// Regtest: every other hash is a block.
pub(crate) const EASY: u32 = 0x207f_ffff;

pub(crate) const START_SECS: u32 = 1_700_000_000;

/// An address of a miner, and its script.
pub(crate) const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
pub(crate) const SCRIPT: &str = "0014751e76e8199196d454941c45d1b3a323f1433bd6";

/// Script of the pool's only output.
pub(crate) const POOL_SCRIPT: &str = "51";

/// A template provider and the pool's client of it.
pub(crate) struct Feed {
    server: TemplateServer,
    client: TemplateClient,
    announcer: Announcer,
    template: BlockTemplate,
    constraints: CoinbaseOutputConstraints,
}

impl Feed {
    fn new(config: &PoolConfig) -> Self {
        let constraints = config.payouts.constraints();
        let mut client = TemplateClient::new(constraints);
        client.handle_connected();
        client.poll_output().unwrap();
        Self {
            server: TemplateServer::new(1),
            client,
            announcer: Announcer::default(),
            template: BlockTemplate {
                height: 100,
                version: 0x2000_0000,
                prev_hash: [1; 32],
                nbits: HARD,
                current_time_secs: START_SECS,
                min_time_secs: START_SECS - 600,
                subsidy_sats: 5_000_000_000,
                transactions: vec![transaction()],
                segwit_active: true,
                weight_limit_wu: 4_000_000,
                sigops_limit: 80_000,
                is_provisional: false,
            },
            constraints,
        }
    }

    /// Hands the present template to the pool's client, as the provider words it.
    fn publish(&mut self, shard: &mut Shard, now: Now) {
        self.server
            .handle_template(Arc::new(self.template.clone()), now)
            .unwrap();
        let after = self.announcer.template_id();
        let work = self
            .server
            .work(self.constraints.into(), after)
            .unwrap()
            .unwrap();
        let announcement = self.announcer.announce(&work, now).unwrap();
        self.client
            .handle_message(&announcement.new_template.into(), now);
        if let Some(tip) = announcement.set_new_prev_hash {
            self.client.handle_message(&tip.into(), now);
        }
        while let Some(FeedOutput::Work(active)) = self.client.poll_output() {
            shard.handle_template(&active);
        }
    }

    /// The block that the provider makes of what a miner found.
    pub(crate) fn solve(&mut self, block: BlockFound, now: Now) -> bitcoin::Block {
        let template_id = block.job.template_id().unwrap();
        self.client
            .submit(template_id, &block.solution, block.coinbase);
        let Some(FeedOutput::Send(TemplateDistributionMessage::SubmitSolution(solution))) =
            self.client.poll_output()
        else {
            panic!("a solution")
        };
        let solved = self.server.solve(&solution, now).unwrap();
        assert_eq!(solved.deviations, []);
        bitcoin::consensus::deserialize(&solved.bytes).unwrap()
    }
}

/// A SegWit transaction worth a fee.
fn transaction() -> TemplateTransaction {
    let mut input = bitcoin::TxIn {
        previous_output: bitcoin::OutPoint::new(Txid::from_byte_array([7; 32]), 0),
        ..Default::default()
    };
    input.witness.push([9; 70]);
    let tx = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![input],
        output: vec![bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(1_000),
            script_pubkey: bitcoin::ScriptBuf::from_bytes(vec![0x51]),
        }],
    };
    TemplateTransaction {
        raw: bitcoin::consensus::serialize(&tx).into(),
        txid: tx.compute_txid().to_byte_array(),
        wtxid: tx.compute_wtxid().to_byte_array(),
        fee_sats: 1_234,
        weight_wu: tx.weight().to_wu() as u32,
        sigops_cost: 0,
    }
}

/// One output of this script, shares after four hashes, a share a slice.
pub(crate) fn config() -> PoolConfig {
    let payouts = PoolPayouts::new(Network::Regtest, [("raw(51)", 1)]).unwrap();
    let mut config = PoolConfig::new(payouts);
    config.channels = Arc::new(ServerConfig {
        vardiff: VardiffConfig {
            shares_per_minute: 10.0,
            min_difficulty: 1e-9,
        },
        ..ServerConfig::default()
    });
    config
}

/// What belongs to a core: its shard, and the templates it gets.
pub(crate) struct Pool {
    pub(crate) now: Now,
    pub(crate) shard: Shard,
    pub(crate) feed: Feed,
    /// Whether the ledger confirms at once.
    pub(crate) is_ledger_quick: bool,
    pub(crate) blocks: Vec<BlockFound>,
}

impl Pool {
    /// With a first template.
    pub(crate) fn new(config: PoolConfig) -> Self {
        let mut pool = Self::without_work(config);
        pool.publish();
        pool
    }

    pub(crate) fn without_work(config: PoolConfig) -> Self {
        let now = Now {
            instant: Instant::from_secs(1),
            unix_secs: u64::from(START_SECS),
        };
        Self {
            now,
            feed: Feed::new(&config),
            shard: Shard::new(Arc::new(config), 0).unwrap(),
            is_ledger_quick: true,
            blocks: Vec::new(),
        }
    }

    pub(crate) fn publish(&mut self) {
        self.feed.publish(&mut self.shard, self.now);
    }

    pub(crate) fn new_template(&mut self) {
        self.feed.template.subsidy_sats -= 1;
        self.publish();
    }

    /// The provider starts anew, with its ids too, and knows the same.
    pub(crate) fn restart_provider(&mut self) {
        self.feed.server = TemplateServer::new(1);
        self.feed.announcer = Announcer::default();
        self.feed.client.handle_connected();
        self.feed.client.poll_output().unwrap();
        self.publish();
    }

    pub(crate) fn new_tip(&mut self, nbits: u32) {
        let template = &mut self.feed.template;
        template.height += 1;
        template.prev_hash = sha256::Hash::hash(&template.prev_hash).to_byte_array();
        template.nbits = nbits;
        template.current_time_secs += 1;
        self.publish();
    }
}

/// A connection of a miner.
pub(crate) struct Miner {
    pub(crate) pool: Downstream,
    pub(crate) channels: ClientChannels,
    /// What the pool sent since the last look, one line each.
    log: Vec<String>,
    /// `min_ntime` of the tip that the pool announced last.
    tip_time: u32,
    pub(crate) unconfirmed: VecDeque<PendingAck>,
    /// Slices for the ledger: whose, and how many shares.
    pub(crate) persisted: Vec<(String, u32)>,
    pub(crate) closed: Option<CloseReason>,
    nonce: u32,
}

impl Miner {
    /// Connected, nothing sent yet.
    pub(crate) fn connect(pool: &Pool) -> Self {
        Self {
            pool: Downstream::new(&pool.shard, pool.now),
            channels: ClientChannels::new(),
            log: Vec::new(),
            tip_time: 0,
            unconfirmed: VecDeque::new(),
            persisted: Vec::new(),
            closed: None,
            nonce: 0,
        }
    }

    /// After setup with these flags.
    pub(crate) fn set_up(pool: &mut Pool, flags: u32) -> Self {
        let mut miner = Self::connect(pool);
        miner.send(
            pool,
            &SetupRequest::mining(flags).message(&Endpoint::default()),
        );
        assert_eq!(miner.log.len(), 1, "{:?}", miner.log);
        miner.log.clear();
        miner
    }

    pub(crate) fn send<M: Message>(&mut self, pool: &mut Pool, message: &M) {
        self.send_raw(pool, &M::KIND, &message.to_vec());
    }

    pub(crate) fn send_raw(&mut self, pool: &mut Pool, kind: &MessageKind, payload: &[u8]) {
        self.frame(pool, kind.wire_extension_type(), kind.msg_type, payload);
    }

    pub(crate) fn frame(
        &mut self,
        pool: &mut Pool,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
    ) {
        self.pool
            .handle_frame(extension_type, msg_type, payload, &mut pool.shard, pool.now);
        self.pump(pool);
    }

    /// There is new work in the shard.
    pub(crate) fn work_came(&mut self, pool: &mut Pool) {
        self.pool.handle_work(&mut pool.shard, pool.now);
        self.pump(pool);
    }

    pub(crate) fn pass(&mut self, pool: &mut Pool, duration: Duration) {
        let end = pool.now.after(duration);
        while let Some(due) = self.pool.poll_timeout().filter(|due| *due <= end.instant) {
            pool.now = pool.now.after(due - pool.now.instant);
            self.pool.handle_timeout(&mut pool.shard, pool.now);
            let next = self.pool.poll_timeout();
            assert!(
                next.is_none_or(|next| next > due),
                "a timeout that does not pass"
            );
            self.pump(pool);
        }
        pool.now = pool.now.after(end.instant - pool.now.instant);
    }

    pub(crate) fn confirm(&mut self, pool: &mut Pool) {
        while let Some(ack) = self.unconfirmed.pop_front() {
            self.pool.handle_persisted(ack, &mut pool.shard, pool.now);
        }
        self.pump(pool);
    }

    pub(crate) fn drain(&mut self, pool: &mut Pool) {
        self.pool
            .drain("other.example", 34_254, &mut pool.shard, pool.now);
        self.pump(pool);
    }

    pub(crate) fn disconnect(&mut self, pool: &mut Pool) {
        self.pool.handle_disconnected(&mut pool.shard);
        self.pump(pool);
    }

    /// Carries everything the pool wants done to where it belongs; the miner must accept all of it.
    pub(crate) fn pump(&mut self, pool: &mut Pool) {
        while let Some(output) = self.pool.poll_output() {
            assert!(self.closed.is_none(), "{output:?} after the end");
            match output {
                Output::Send(message) => {
                    let payload = message.to_vec();
                    assert_eq!(payload.len(), message.encoded_len());
                    self.receive(message.kind(), &payload, pool.now);
                }
                Output::Persist {
                    user_identity,
                    shares,
                } => {
                    let user = String::from_utf8_lossy(&user_identity).into_owned();
                    self.persisted.push((user, shares.slice().accepted_count));
                    if pool.is_ledger_quick {
                        self.pool
                            .handle_persisted(shares, &mut pool.shard, pool.now);
                    } else {
                        self.unconfirmed.push_back(shares);
                    }
                }
                Output::SubmitBlock(block) => pool.blocks.push(*block),
                Output::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    fn receive(&mut self, kind: &MessageKind, payload: &[u8], now: Now) {
        let router = Router::new(Protocol::MINING, Peer::Server);
        let routed = router
            .route(kind.wire_extension_type(), kind.msg_type, payload)
            .unwrap();
        assert!(routed.trailing.is_empty() && routed.is_channel_bit_right);
        self.log.push(line(&routed.message));
        if let AnyMessage::Mining(message) = &routed.message {
            self.check_time(message);
            // What a test forces past the client's own rules is answered to nobody.
            let is_answer_to_force = matches!(
                message,
                MiningMessage::SubmitSharesError(_)
                    | MiningMessage::UpdateChannelError(_)
                    | MiningMessage::SetCustomMiningJobError(_)
                    | MiningMessage::OpenMiningChannelError(_)
            );
            let taken = self.channels.handle_message(message, now);
            assert!(taken.is_ok() || is_answer_to_force, "{taken:?} {message:?}");
            while self.channels.poll_output().is_some() {}
        }
    }

    /// A job to start at once starts at the time that the provider named with the tip, or later where the same work was sent
    /// before.
    fn check_time(&mut self, message: &MiningMessage<'_>) {
        let start = match message {
            MiningMessage::SetNewPrevHash(m) => return self.tip_time = m.min_ntime,
            MiningMessage::NewMiningJob(m) => m.min_ntime,
            MiningMessage::NewExtendedMiningJob(m) => m.min_ntime,
            _ => None,
        };
        assert!(
            start.is_none_or(|start| (self.tip_time..self.tip_time + 100).contains(&start)),
            "{message:?}"
        );
    }

    /// What the pool sent since the last call.
    pub(crate) fn sent(&mut self) -> Vec<String> {
        core::mem::take(&mut self.log)
    }

    /// Opens a channel; `Err` is what the pool sent instead.
    pub(crate) fn open(
        &mut self,
        pool: &mut Pool,
        kind: ChannelKind,
        user: &str,
    ) -> Result<u32, String> {
        let before: Vec<u32> = self
            .channels
            .channels()
            .map(|channel| channel.id())
            .collect();
        let user = user.try_into().unwrap();
        match kind {
            ChannelKind::Standard => {
                let request = self
                    .channels
                    .open_standard(user, OpenTerms::default())
                    .unwrap();
                self.send(pool, &request);
            }
            ChannelKind::Extended => {
                let request = self
                    .channels
                    .open_extended(user, OpenTerms::default())
                    .unwrap();
                self.send(pool, &request);
            }
        }
        let opened = self.channels.channels().map(|channel| channel.id());
        let mut opened = opened.filter(|id| !before.contains(id));
        opened
            .next()
            .ok_or_else(|| self.log.last().cloned().unwrap_or_default())
    }

    pub(crate) fn work(&self, channel_id: u32) -> Work {
        self.channels.work(channel_id).expect("work").clone()
    }

    /// A nonce that meets the target of `work` (or misses it), with nothing rolled.
    pub(crate) fn find(&mut self, work: &Work, is_met: bool) -> OwnedFound {
        self.find_rolled(work, 0, is_met)
    }

    /// The same with these bits of the version changed.
    pub(crate) fn find_rolled(&mut self, work: &Work, bits: u32, is_met: bool) -> OwnedFound {
        let mut found = OwnedFound {
            nonce: 0,
            ntime: work.min_ntime(),
            version: work.version() ^ bits,
            extranonce: vec![5; work.extranonce_size()],
        };
        loop {
            self.nonce += 1;
            found.nonce = self.nonce;
            let hash = work.header(&found.borrow()).unwrap().hash();
            if work.target().is_met_by(&hash) == is_met {
                return found;
            }
        }
    }

    /// Finds and hands in a good share.
    pub(crate) fn mine(&mut self, pool: &mut Pool, channel_id: u32) {
        self.mine_as(pool, channel_id, &[]);
    }

    /// A good share with bytes behind it.
    pub(crate) fn mine_as(&mut self, pool: &mut Pool, channel_id: u32, trailing: &[u8]) {
        let work = self.work(channel_id);
        let found = self.find(&work, true);
        let (kind, payload) = match self.channels.submit(&work, &found.borrow()).unwrap() {
            Submission::Standard(share) => (mining_sv2::SubmitSharesStandard::KIND, share.to_vec()),
            Submission::Extended(share) => (SubmitSharesExtended::KIND, share.to_vec()),
        };
        self.send_raw(pool, &kind, &[&payload, trailing].concat());
    }

    /// Hands in a share that the client itself would hold back, as number 77.
    pub(crate) fn force(&mut self, pool: &mut Pool, work: &Work, found: &OwnedFound) {
        let share = SubmitSharesExtended {
            channel_id: work.channel_id(),
            sequence_number: 77,
            job_id: work.job_id(),
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
            extranonce: found.extranonce.as_slice().try_into().unwrap(),
        };
        self.send(pool, &share);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct OwnedFound {
    pub(crate) nonce: u32,
    pub(crate) ntime: u32,
    pub(crate) version: u32,
    pub(crate) extranonce: Vec<u8>,
}

impl OwnedFound {
    pub(crate) fn borrow(&self) -> Found<'_> {
        Found {
            nonce: self.nonce,
            ntime: self.ntime,
            version: self.version,
            extranonce: &self.extranonce,
        }
    }
}

/// What matters of a message: name, channel, and for work whether it waits.
fn line(message: &AnyMessage<'_>) -> String {
    use MiningMessage as M;
    let when = |min_ntime: Option<u32>| match min_ntime {
        Some(_) => "now",
        None => "future",
    };
    let name = message.kind().name;
    match message {
        AnyMessage::Common(CommonMessage::SetupConnectionSuccess(m)) => {
            format!("{name} {} {:#b}", m.used_version, m.flags)
        }
        AnyMessage::Common(CommonMessage::SetupConnectionError(m)) => {
            format!("{name} {} {:#b}", m.error_code, m.flags)
        }
        AnyMessage::Common(CommonMessage::Reconnect(m)) => {
            format!("{name} {}:{}", m.new_host, m.new_port)
        }
        AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensionsError(
            m,
        )) => {
            let required = m.required_extensions.to_vec();
            format!(
                "{name} {:?} {required:?}",
                m.unsupported_extensions.to_vec()
            )
        }
        AnyMessage::Mining(M::NewMiningJob(m)) => {
            format!("{name} {} {}", m.channel_id, when(m.min_ntime))
        }
        AnyMessage::Mining(M::NewExtendedMiningJob(m)) => {
            format!("{name} {} {}", m.channel_id, when(m.min_ntime))
        }
        AnyMessage::Mining(M::SetNewPrevHash(m)) => format!("{name} {}", m.channel_id),
        AnyMessage::Mining(M::SetTarget(m)) => format!("{name} {}", m.channel_id),
        AnyMessage::Mining(M::OpenMiningChannelError(m)) => format!("{name} {}", m.error_code),
        AnyMessage::Mining(M::UpdateChannelError(m)) => format!("{name} {}", m.error_code),
        AnyMessage::Mining(M::SubmitSharesError(m)) => {
            format!("{name} {} {}", m.sequence_number, m.error_code)
        }
        AnyMessage::Mining(M::SetCustomMiningJobError(m)) => format!("{name} {}", m.error_code),
        AnyMessage::Mining(M::SubmitSharesSuccess(m)) => {
            let (last, count) = (m.last_sequence_number, m.new_submits_accepted_count);
            format!("{name} up to {last}: {count}")
        }
        _ => name.to_owned(),
    }
}
