//! Both sides of one mining connection, and the hub that makes work for it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use binary_sv2::{Encodable, Message};
use bitcoin::ScriptBuf;
use const_sv2::Protocol;
use mining_sv2::MiningMessage;

use crate::channels::client::{
    ClientChannels, ClientError, ClientReject, Found, OpenTerms, Submission, Work,
};
use crate::channels::server::{
    BlockFound, Grant, OpenRefusal, Output, PendingAck, ServerChannels, ServerConfig, ServerFlags,
};
use crate::channels::{ChannelKind, PayoutId, WorkState, WorkTerms};
use crate::clock::{Instant, Now};
use crate::coinbase::CoinbaseTemplate;
use crate::extranonce::{ExtranonceAllocator, ExtranonceLayout, ExtranoncePrefix};
use crate::job::{ChainTip, Job, JobFactory, JobTemplate, Payout};
use crate::messages::{AnyMessage, Peer, Router};
use crate::share::{RejectReason, Verdict};
use crate::vardiff::VardiffConfig;

/// Difficulty 1: no share of a test is a block.
pub(super) const HARD_NBITS: u32 = 0x1d00_ffff;

/// Regtest: every other hash is a block.
pub(super) const EASY_NBITS: u32 = 0x207f_ffff;

pub(super) const TIP_TIME: u32 = 1_700_000_000;

/// Makes templates, tips and jobs as a pool's hub does.
pub(super) struct Hub {
    templates: u64,
    tip: Arc<ChainTip>,
    jobs: BTreeMap<PayoutId, Arc<Job>>,
}

impl Hub {
    fn new() -> Self {
        let tip = ChainTip::new([1; 32], HARD_NBITS, TIP_TIME, Instant::default()).unwrap();
        let mut hub = Self {
            templates: 0,
            tip: Arc::new(tip),
            jobs: BTreeMap::from_iter((0..3).map(|id| (PayoutId(id), job(id, 0)))),
        };
        hub.new_template();
        hub
    }

    pub(super) fn new_template(&mut self) {
        self.templates += 1;
        for (payout, made) in &mut self.jobs {
            *made = job(payout.0, self.templates);
        }
    }

    pub(super) fn new_tip(&mut self, nbits: u32, now: Now) {
        self.new_template();
        let prev_hash = crate::merkle::sha256d(&self.templates.to_le_bytes());
        let min_ntime = TIP_TIME + self.templates as u32;
        let tip = ChainTip::new(prev_hash, nbits, min_ntime, now.instant).unwrap();
        self.tip = Arc::new(tip);
    }

    pub(super) fn work(&self) -> Arc<WorkState> {
        let jobs = self.jobs.iter().map(|(payout, job)| (*payout, job.clone()));
        Arc::new(WorkState::new(self.tip.clone(), jobs))
    }

    pub(super) fn job(&self, payout: u32) -> &Arc<Job> {
        &self.jobs[&PayoutId(payout)]
    }

    pub(super) fn forget_payout(&mut self, payout: u32) -> Arc<Job> {
        self.jobs.remove(&PayoutId(payout)).unwrap()
    }

    pub(super) fn add_payout(&mut self, payout: u32) {
        self.jobs
            .insert(PayoutId(payout), job(payout, self.templates));
    }
}

fn job(payout: u32, template_id: u64) -> Arc<Job> {
    let to = Payout {
        script_pubkey: ScriptBuf::from_bytes([0x51, payout as u8].to_vec()),
        weight: 1,
    };
    let factory = JobFactory::new([to].to_vec(), "test", "", 20, true).unwrap();
    let template = JobTemplate {
        template_id,
        version: 0x2000_0000,
        coinbase: CoinbaseTemplate {
            tx_version: 2,
            script_sig_prefix: &[1, 100],
            input_sequence: u32::MAX,
            value_remaining_sats: 5_000_000_000 + template_id,
            outputs_count: 0,
            outputs: &[],
            locktime: 0,
        },
        merkle_path: [[3; 32], [4; 32]].into(),
    };
    factory.job(&template).unwrap()
}

pub(super) struct Dialogue {
    pub(super) now: Now,
    pub(super) server: ServerChannels,
    pub(super) client: ClientChannels,
    pub(super) hub: Hub,
    pub(super) extranonces: ExtranonceAllocator,
    /// What the server sent since the last look, one line each.
    log: Vec<String>,
    /// `min_ntime` of the tip that the server announced last.
    tip_time: u32,
    /// Whether the ledger confirms at once.
    pub(super) is_ledger_quick: bool,
    pub(super) unconfirmed: VecDeque<PendingAck>,
    pub(super) persisted: u64,
    pub(super) blocks: Vec<BlockFound>,
    pub(super) released: usize,
    nonce: u32,
}

pub(super) fn config() -> ServerConfig {
    ServerConfig {
        // Four hashes a share.
        vardiff: VardiffConfig {
            shares_per_minute: 10.0,
            min_difficulty: 1e-9,
        },
        ..ServerConfig::default()
    }
}

impl Dialogue {
    pub(super) fn new(config: ServerConfig, flags: ServerFlags) -> Self {
        Self {
            now: Now {
                instant: Instant::from_secs(1),
                unix_secs: u64::from(TIP_TIME),
            },
            server: ServerChannels::new(Arc::new(config), flags),
            client: ClientChannels::new(),
            hub: Hub::new(),
            extranonces: ExtranonceAllocator::new(ExtranonceLayout::default(), 7).unwrap(),
            log: Vec::new(),
            tip_time: 0,
            is_ledger_quick: true,
            unconfirmed: VecDeque::new(),
            persisted: 0,
            blocks: Vec::new(),
            released: 0,
            nonce: 0,
        }
    }

    /// With work from the start, as a running pool has it.
    pub(super) fn working(flags: ServerFlags) -> Self {
        let mut dialogue = Self::new(config(), flags);
        dialogue.give_work();
        dialogue
    }

    pub(super) fn give_work(&mut self) {
        let work = self.hub.work();
        self.server.handle_work(&work);
        self.pump();
    }

    pub(super) fn new_template(&mut self) {
        self.hub.new_template();
        self.give_work();
    }

    pub(super) fn new_tip(&mut self, nbits: u32) {
        self.hub.new_tip(nbits, self.now);
        self.extranonces.advance_tip();
        self.give_work();
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end.instant) {
            self.now = self.now.after(due - self.now.instant);
            self.server.handle_timeout(self.now);
            assert!(
                self.server.poll_timeout().is_none_or(|next| next > due),
                "a timeout that does not pass"
            );
            self.pump();
        }
        self.now = self.now.after(end.instant - self.now.instant);
    }

    pub(super) fn open(&mut self, kind: ChannelKind, payout: u32) -> Result<u32, OpenRefusal> {
        self.open_with(kind, payout, OpenTerms::default())
    }

    pub(super) fn open_with(
        &mut self,
        kind: ChannelKind,
        payout: u32,
        terms: OpenTerms,
    ) -> Result<u32, OpenRefusal> {
        let user = "alice".try_into().unwrap();
        let request = match kind {
            ChannelKind::Standard => {
                let message = self.client.open_standard(user, terms).unwrap();
                self.server.request_standard(&through_bytes(&message, |m| {
                    let MiningMessage::OpenStandardMiningChannel(message) = m else {
                        panic!("{m:?}")
                    };
                    message
                }))
            }
            ChannelKind::Extended => {
                let message = self.client.open_extended(user, terms).unwrap();
                self.server.request_extended(&through_bytes(&message, |m| {
                    let MiningMessage::OpenExtendedMiningChannel(message) = m else {
                        panic!("{m:?}")
                    };
                    message
                }))
            }
        };
        let opened = request.and_then(|request| {
            let grant = Grant {
                terms: WorkTerms::Own,
                payout: PayoutId(payout),
                extranonce_prefix: self.prefix(kind),
                full_extranonce_size: self.extranonces.full_size(),
            };
            self.server
                .open(request, grant, self.now)
                .map_err(|failed| {
                    self.extranonces.release(failed.extranonce_prefix);
                    failed.refusal
                })
        });
        self.pump();
        opened
    }

    pub(super) fn prefix(&mut self, kind: ChannelKind) -> ExtranoncePrefix {
        match kind {
            ChannelKind::Standard => self.extranonces.allocate_standard().unwrap(),
            ChannelKind::Extended => self.extranonces.allocate_extended(0).unwrap(),
        }
    }

    /// Carries everything the server wants done to where it belongs; the client must accept all of it.
    pub(super) fn pump(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(message) => {
                    let kind = *message.kind();
                    let payload = message.to_vec();
                    assert_eq!(payload.len(), message.encoded_len());
                    let routed = Router::new(Protocol::MINING, Peer::Server)
                        .route(kind.wire_extension_type(), kind.msg_type, &payload)
                        .unwrap();
                    assert!(routed.trailing.is_empty());
                    let AnyMessage::Mining(message) = routed.message else {
                        panic!("{kind:?}")
                    };
                    self.log.push(line(&message));
                    self.check_time(&message);
                    let taken = self.client.handle_message(&message, self.now);
                    // Some tests hand in shares that the client knows nothing of.
                    let is_answer = taken == Err(ClientReject::UnsentShare);
                    assert!(taken.is_ok() || is_answer, "{message:?}: {taken:?}");
                }
                Output::Persist(ack) => {
                    self.persisted += u64::from(ack.slice().accepted_count);
                    if self.is_ledger_quick {
                        self.server.handle_persisted(ack);
                    } else {
                        self.unconfirmed.push_back(ack);
                    }
                }
                Output::SubmitBlock(block) => self.blocks.push(*block),
                Output::Closed {
                    extranonce_prefix, ..
                } => {
                    self.released += 1;
                    self.extranonces.release(extranonce_prefix);
                }
                Output::Released(prefix) => {
                    self.released += 1;
                    self.extranonces.release(prefix);
                }
            }
        }
    }

    /// What the server sent since the last call.
    pub(super) fn sent(&mut self) -> Vec<String> {
        core::mem::take(&mut self.log)
    }

    pub(super) fn work(&self, channel_id: u32) -> Work {
        self.client.work(channel_id).expect("work").clone()
    }

    /// Something that meets the target of `work` (or misses it).
    pub(super) fn find(&mut self, work: &Work, is_met: bool) -> OwnedFound {
        self.find_where(work, |hash| work.target().is_met_by(hash) == is_met)
    }

    pub(super) fn find_where(
        &mut self,
        work: &Work,
        is_wanted: impl Fn(&[u8; 32]) -> bool,
    ) -> OwnedFound {
        let mut found = OwnedFound {
            nonce: 0,
            ntime: work.min_ntime(),
            version: work.version(),
            extranonce: [5; 32][..work.extranonce_size()].to_vec(),
        };
        loop {
            self.nonce = self.nonce.wrapping_add(1);
            found.nonce = self.nonce;
            if is_wanted(&work.header(&found.borrow()).unwrap().hash()) {
                return found;
            }
        }
    }

    /// Hands in what was found, as the client does it.
    pub(super) fn submit(
        &mut self,
        work: &Work,
        found: &OwnedFound,
    ) -> Result<Verdict, ClientError> {
        let submission = self.client.submit(work, &found.borrow())?;
        let verdict = match submission {
            Submission::Standard(share) => self.server.handle_submit_standard(
                &through_bytes(&share, |m| {
                    let MiningMessage::SubmitSharesStandard(share) = m else {
                        panic!("{m:?}")
                    };
                    share
                }),
                self.now,
            ),
            Submission::Extended(share) => self.server.handle_submit_extended(
                &through_bytes(&share, |m| {
                    let MiningMessage::SubmitSharesExtended(share) = m else {
                        panic!("{m:?}")
                    };
                    share
                }),
                self.now,
            ),
        };
        self.pump();
        Ok(verdict)
    }

    /// Hands in what the client itself would hold back.
    pub(super) fn force(&mut self, work: &Work, found: &OwnedFound) -> Option<RejectReason> {
        let share = mining_sv2::SubmitSharesExtended {
            channel_id: work.channel_id(),
            sequence_number: 77,
            job_id: work.job_id(),
            nonce: found.nonce,
            ntime: found.ntime,
            version: found.version,
            extranonce: found.extranonce.as_slice().try_into().unwrap(),
        };
        let verdict = self.server.handle_submit_extended(&share, self.now);
        self.pump();
        verdict.outcome.err()
    }

    /// Finds and hands in a good share.
    pub(super) fn mine(&mut self, channel_id: u32) -> Verdict {
        let work = self.work(channel_id);
        let found = self.find(&work, true);
        self.submit(&work, &found).unwrap()
    }
}

#[derive(Clone, Debug)]
pub(super) struct OwnedFound {
    pub(super) nonce: u32,
    pub(super) ntime: u32,
    pub(super) version: u32,
    pub(super) extranonce: Vec<u8>,
}

impl OwnedFound {
    pub(super) fn borrow(&self) -> Found<'_> {
        Found {
            nonce: self.nonce,
            ntime: self.ntime,
            version: self.version,
            extranonce: &self.extranonce,
        }
    }
}

/// A client's message as the server reads it.
fn through_bytes<M: Message, T: binary_sv2::IntoOwned>(
    message: &M,
    pick: impl for<'a> Fn(MiningMessage<'static>) -> T,
) -> T::Owned {
    use binary_sv2::IntoOwned;
    let payload = message.to_vec();
    let routed = Router::new(Protocol::MINING, Peer::Client)
        .route(M::KIND.wire_extension_type(), M::KIND.msg_type, &payload)
        .unwrap();
    let AnyMessage::Mining(message) = routed.message else {
        panic!("{}", M::KIND.name)
    };
    pick(message.into_owned()).into_owned()
}

impl Dialogue {
    /// A job to start at once starts at the time of the tip, or later where the same work was sent before.
    fn check_time(&mut self, message: &MiningMessage<'_>) {
        let start = match message {
            MiningMessage::SetNewPrevHash(m) => return self.tip_time = m.min_ntime,
            MiningMessage::NewMiningJob(m) => m.min_ntime,
            MiningMessage::NewExtendedMiningJob(m) => m.min_ntime,
            _ => None,
        };
        assert!(
            start.is_none_or(
                |start| (0..100).contains(&(i64::from(start) - i64::from(self.tip_time)))
            ),
            "{message:?}"
        );
    }
}

/// What matters of a server's message: name, channel, and for work the job and whether it waits.
fn line(message: &MiningMessage<'_>) -> String {
    use MiningMessage as M;
    let when = |min_ntime: Option<u32>| match min_ntime {
        Some(_) => "now",
        None => "future",
    };
    let name = message.kind().name;
    match message {
        M::NewMiningJob(m) => {
            format!("{name} to {} {}", m.channel_id, when(m.min_ntime))
        }
        M::NewExtendedMiningJob(m) => {
            format!("{name} to {} {}", m.channel_id, when(m.min_ntime))
        }
        M::SetNewPrevHash(m) => format!("{name} to {}", m.channel_id),
        M::SetTarget(m) => format!("{name} to {}", m.channel_id),
        M::OpenMiningChannelError(m) => format!("{name} {}", m.error_code),
        M::UpdateChannelError(m) => format!("{name} {}", m.error_code),
        M::SubmitSharesError(m) => format!("{name} {}", m.error_code),
        M::SetCustomMiningJobError(m) => format!("{name} {}", m.error_code),
        M::CloseChannel(m) => format!("{name} {} {}", m.channel_id, m.reason_code),
        M::SubmitSharesSuccess(m) => format!(
            "{name} up to {}: {}",
            m.last_sequence_number, m.new_submits_accepted_count
        ),
        _ => name.to_string(),
    }
}
