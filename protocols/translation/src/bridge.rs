//! One Sv1 miner on the work of an extended channel.
//!
//! The owner keeps the upstream's channels ([`ClientChannels`]) and gives each miner an extranonce and work; the bridge
//! judges shares and sets difficulties. A share is `true` to the miner when it meets the difficulty of its own job,
//! which is never easier than what the channel wants: each accepted share counts upstream too, unless the upstream
//! itself says no, and that is counted beside it ([`UpstreamCounts`]).
//!
//! [`ClientChannels`]: roles_logic_sv2::channels::client::ClientChannels

mod policy;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

use roles_logic_sv2::channels::client::Found;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::duplicates::DuplicateSet;
use roles_logic_sv2::share::{
    RejectReason, Root, Share, ShareContext, ShareLimits, Verdict, validate,
};
use roles_logic_sv2::target::{ConversionError, ShareTarget};
use roles_logic_sv2::vardiff::VardiffConfig;
use sv1_api::client_message::{Authorize, Submit, Subscribe};
use sv1_api::line::LineTooLong;
use sv1_api::reject::Reject;
use sv1_api::server::{CloseReason, Grant, ServerConfig, ServerEvent, ServerOutput, ServerSession};
use sv1_api::server_message::Reconnect;
use sv1_api::worker::PasswordOptions;
use sv1_api::{Difficulty, Id};

use crate::mapping::{version, version_mask};
use policy::DifficultyPolicy;
pub use work::ChannelWork;

/// Bytes of extranonce2 that suit marketplaces (at least 7) and ASICs (at most 8).
pub const DEFAULT_EXTRANONCE2_SIZE: usize = 8;

/// Jobs of one miner that shares may name. One more pushes out the oldest, whose shares are then "job not found".
pub const MAX_JOBS: usize = 32;

/// Shares remembered on one block. Beyond it shares are refused: the difficulty is far too low.
pub const MAX_SHARES_PER_TIP: usize = 1 << 17;

/// What the operator wants for each miner.
#[derive(Clone, Copy, Debug)]
pub struct BridgeConfig {
    /// Limits of the connection.
    pub server: ServerConfig,
    /// Share rate to aim at, and the lowest difficulty.
    pub vardiff: VardiffConfig,
    /// Hashes a second of a miner that is not known yet.
    pub nominal_hashrate: f64,
    /// What block times are taken.
    pub limits: ShareLimits,
}

/// A share for the upstream. Hand it in with [`ClientChannels::submit`], then tell what became of it.
///
/// [`ClientChannels::submit`]: roles_logic_sv2::channels::client::ClientChannels::submit
#[derive(Clone, Debug)]
pub struct UpstreamShare {
    /// What it was found on.
    pub work: Arc<ChannelWork>,
    /// Nonce of the header.
    pub nonce: u32,
    /// Block time in Unix seconds.
    pub ntime: u32,
    /// Full version.
    pub version: u32,
    /// The channel's part of the extranonce: the miner's own bytes, then its extranonce2.
    pub extranonce: Vec<u8>,
    /// The name that it was submitted under.
    pub worker: String,
    /// Whether it is a block.
    pub is_block: bool,
}

impl UpstreamShare {
    /// As the channel takes it.
    pub fn found(&self) -> Found<'_> {
        Found {
            nonce: self.nonce,
            ntime: self.ntime,
            version: self.version,
            extranonce: &self.extranonce,
        }
    }
}

/// What the shell or the owner is to do.
#[derive(Clone, Debug)]
pub enum BridgeOutput {
    /// Send this line to the miner.
    Send(Arc<str>),
    /// Give it work: [`Bridge::attach`] or [`Bridge::refuse`].
    Subscribe(Subscribe),
    /// Decide: [`Bridge::answer_authorize`].
    Authorize {
        /// For the answer.
        id: Id,
        /// Who, and with which password.
        authorize: Authorize,
    },
    /// Hand this in.
    Share(UpstreamShare),
    /// Send what is queued, then close; nothing follows.
    Close(CloseReason),
}

/// What became of a miner's shares upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// Given to the owner.
    pub passed_on: u64,
    /// Accepted.
    pub accepted: u64,
    /// Rejected.
    pub rejected: u64,
    /// Lost with the connection, or stale before they could be handed in.
    pub lost: u64,
}

/// A job that was sent to this miner.
#[derive(Debug)]
struct SentJob {
    name: String,
    ntime: u32,
    work: Arc<ChannelWork>,
    target: ShareTarget,
    extranonce1: Arc<[u8]>,
    /// Bytes of `extranonce1` that are the upstream's.
    prefix_size: usize,
}

/// One Sv1 miner.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    session: ServerSession,
    policy: DifficultyPolicy,
    /// The miner's own bytes of the channel's extranonce.
    part: Vec<u8>,
    work: Option<Arc<ChannelWork>>,
    copies: u32,
    is_cut_off: bool,
    jobs: VecDeque<SentJob>,
    seen: DuplicateSet,
    accepted: u64,
    upstream: UpstreamCounts,
    outputs: VecDeque<BridgeOutput>,
}

impl Bridge {
    /// A miner that has just connected.
    ///
    /// # Errors
    /// A share rate, hashrate or minimum difficulty that is no sensible number.
    pub fn new(config: BridgeConfig, now: Now) -> Result<Self, ConversionError> {
        Ok(Self {
            session: ServerSession::new(config.server, now),
            policy: DifficultyPolicy::new(config.vardiff, config.nominal_hashrate, now.instant)?,
            part: Vec::new(),
            work: None,
            copies: 0,
            is_cut_off: false,
            jobs: VecDeque::new(),
            seen: DuplicateSet::new(MAX_SHARES_PER_TIP),
            accepted: 0,
            upstream: UpstreamCounts::default(),
            outputs: VecDeque::new(),
            config,
        })
    }

    /// The connection, for its names, counters and limits.
    pub const fn session(&self) -> &ServerSession {
        &self.session
    }

    /// Shares that were accepted here.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What became of them upstream.
    pub const fn upstream(&self) -> &UpstreamCounts {
        &self.upstream
    }

    /// Estimated hashes a second.
    pub fn hashrate(&self, now: Now) -> f64 {
        self.policy.hashrate(now.instant)
    }

    /// The difficulty of the next job.
    pub fn difficulty(&self) -> Option<Difficulty> {
        self.work.as_ref().map(|_| self.policy.difficulty())
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<BridgeOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout()?;
        let policy = self.policy.poll_timeout().filter(|_| self.is_mining());
        Some(policy.map_or(session, |policy| policy.min(session)))
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.session.handle_timeout(now);
        self.take_outputs(now);
        if self.is_mining() && self.policy.handle_timeout(now.instant) {
            self.difficulty_changed(now);
        }
    }

    /// Takes one line of the miner.
    pub fn handle_line(&mut self, line: &[u8], now: Now) {
        self.session.handle_line(line, now);
        self.take_outputs(now);
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, error: LineTooLong, now: Now) {
        self.session.handle_long_line(error, now);
        self.take_outputs(now);
    }

    /// Answers `mining.subscribe`: the miner works on `work`, behind `part` of the channel's extranonce.
    ///
    /// What is left of the channel's extranonce is the miner's extranonce2; without any, the miner is refused.
    pub fn attach(&mut self, work: &Arc<ChannelWork>, part: Vec<u8>, session: String, now: Now) {
        let left = work.work().extranonce_size().checked_sub(part.len());
        let Some(extranonce2_size) = left.filter(|left| *left > 0) else {
            return self.refuse(now);
        };
        let extranonce1 = [work.work().extranonce_prefix(), &part].concat();
        self.part = part;
        let minimum = self.session.quirks().min_difficulty;
        self.policy.raise_minimum(minimum, now.instant);
        let grant = Grant {
            extranonce1,
            extranonce2_size,
            session,
        };
        self.session.grant(grant, now);
        self.take_outputs(now);
        self.set_work(work, now);
    }

    /// Answers `mining.subscribe` with a no.
    pub fn refuse(&mut self, now: Now) {
        self.session.refuse_subscribe(now);
        self.take_outputs(now);
    }

    /// Answers `mining.authorize`. Options in the password take effect.
    pub fn answer_authorize(
        &mut self,
        id: &Id,
        authorize: &Authorize,
        is_accepted: bool,
        now: Now,
    ) {
        if is_accepted {
            let options = authorize.password.as_deref().map(PasswordOptions::parse);
            self.policy
                .apply_options(&options.unwrap_or_default(), now.instant);
        }
        let user = &authorize.user;
        self.session.answer_authorize(id, user, is_accepted, now);
        self.take_outputs(now);
        self.send_first(now);
    }

    /// The channel has other work. A miner that cannot follow its extranonce is told to reconnect.
    pub fn set_work(&mut self, work: &Arc<ChannelWork>, now: Now) {
        let new = work.work();
        let is_new_tip = self
            .work
            .as_ref()
            .is_none_or(|former| former.work().tip() != new.tip());
        if is_new_tip {
            self.seen.clear();
        }
        self.work = Some(work.clone());
        self.copies = 0;
        self.is_cut_off = false;
        let mask = version_mask(self.config.server.version_mask, new.version_mask() != 0);
        self.session.set_version_mask(mask);
        self.policy.set_upstream(*new.target(), now.instant);
        if self.session.granted().is_some() {
            if self.follows_extranonce(work) {
                self.send(work.line().clone(), is_new_tip, now);
            } else {
                self.session.reconnect(Reconnect::default(), now);
            }
        }
        self.take_outputs(now);
    }

    /// There is no upstream for now: shares are refused with that reason, the miner stays.
    pub const fn cut_off(&mut self) {
        self.is_cut_off = true;
    }

    /// Tells the miner to come again, and closes a moment later.
    pub fn reconnect(&mut self, now: Now) {
        self.session.reconnect(Reconnect::default(), now);
        self.take_outputs(now);
    }

    /// The upstream accepted shares of this miner.
    pub const fn upstream_accepted(&mut self, count: u64) {
        self.upstream.accepted += count;
    }

    /// The upstream rejected a share of this miner.
    pub const fn upstream_rejected(&mut self) {
        self.upstream.rejected += 1;
    }

    /// A share of this miner could not be handed in, or its answer will never come.
    pub const fn upstream_lost(&mut self) {
        self.upstream.lost += 1;
    }

    fn is_mining(&self) -> bool {
        self.work.is_some() && self.session.is_working()
    }

    /// Tells the miner the extranonce of this work; whether it can take it.
    fn follows_extranonce(&mut self, work: &ChannelWork) -> bool {
        let work = work.work();
        let extranonce1 = [work.extranonce_prefix(), &self.part].concat();
        let left = work.extranonce_size().checked_sub(self.part.len());
        left.filter(|left| *left > 0)
            .is_some_and(|left| self.session.set_extranonce(extranonce1, left))
    }

    /// Sends the work that waited for the miner's authorization.
    fn send_first(&mut self, now: Now) {
        if self.jobs.is_empty()
            && let Some(work) = self.work.clone()
        {
            self.send(work.line().clone(), true, now);
            self.take_outputs(now);
        }
    }

    fn send(&mut self, line: Arc<sv1_api::server::Job>, clean: bool, now: Now) {
        let (Some(work), Some(grant)) = (&self.work, self.session.granted()) else {
            return;
        };
        if !self.session.is_working() {
            return;
        }
        if self.jobs.is_empty() {
            self.policy.begin(now.instant);
        }
        let difficulty = self.policy.difficulty();
        let sent = SentJob {
            name: line.notify().job_id.clone(),
            ntime: line.notify().ntime,
            work: work.clone(),
            target: ShareTarget::new(difficulty.target()),
            extranonce1: grant.extranonce1.as_slice().into(),
            prefix_size: grant.extranonce1.len().saturating_sub(self.part.len()),
        };
        if self.jobs.len() >= MAX_JOBS {
            self.jobs.pop_front();
        }
        self.jobs.push_back(sent);
        self.session.set_difficulty(difficulty);
        self.session.send_job(&line, clean, now);
    }

    /// The same work once more: a sign of life, or what brings a new difficulty.
    fn send_again(&mut self, now: Now) {
        if let Some(work) = self.work.clone() {
            self.copies = self.copies.wrapping_add(1);
            self.send(work.copy(self.copies, now), false, now);
        }
    }

    fn difficulty_changed(&mut self, now: Now) {
        let target = self.policy.difficulty().target();
        let last = self.jobs.back().map(|job| *job.target.target());
        if last.is_some_and(|last| last != target) {
            self.send_again(now);
        }
        self.take_outputs(now);
    }

    fn take_outputs(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ServerOutput::Send(line) => self.outputs.push_back(BridgeOutput::Send(line)),
                ServerOutput::Close(reason) => self.outputs.push_back(BridgeOutput::Close(reason)),
                ServerOutput::Event(event) => self.handle_event(event, now),
            }
        }
    }

    fn handle_event(&mut self, event: ServerEvent, now: Now) {
        match event {
            ServerEvent::Subscribe(asked) => {
                self.outputs.push_back(BridgeOutput::Subscribe(asked));
            }
            ServerEvent::Authorize { id, authorize } => {
                self.outputs
                    .push_back(BridgeOutput::Authorize { id, authorize });
            }
            ServerEvent::Submit { id, submit } => self.handle_submit(&id, &submit, now),
            ServerEvent::SuggestDifficulty(difficulty) => {
                self.suggest(difficulty.target(), now);
            }
            ServerEvent::SuggestTarget(target) => self.suggest(target, now),
            ServerEvent::MinimumDifficulty(difficulty) => {
                let minimum = difficulty.as_f64();
                self.policy.raise_minimum(minimum, now.instant);
            }
            ServerEvent::JobDue => self.send_again(now),
            ServerEvent::Version(_) => {}
        }
    }

    fn suggest(&mut self, target: roles_logic_sv2::target::Target, now: Now) {
        self.policy.restart(target, now.instant);
        if self.is_mining() {
            self.difficulty_changed(now);
        }
    }

    fn handle_submit(&mut self, id: &Id, submit: &Submit, now: Now) {
        let judged = self.judge(submit, now);
        self.session.answer_submit(id, judged.map(|_| ()), now);
        if let Ok(credit) = judged {
            self.accepted += 1;
            if self.policy.share_accepted(credit, now.instant) {
                self.difficulty_changed(now);
            }
        }
    }

    /// Judges a share by its own job, and passes it on when it counts, or when it is a block whatever it counts.
    fn judge(
        &mut self,
        submit: &Submit,
        now: Now,
    ) -> Result<roles_logic_sv2::target::Difficulty, Reject> {
        if self.is_cut_off {
            return Err(Reject::NoUpstream);
        }
        let mut jobs = self.jobs.iter().rev();
        let job = jobs
            .find(|job| job.name == submit.job_id)
            .ok_or(Reject::JobNotFound)?;
        let work = job.work.work();
        let tip = self.work.as_ref().map(|work| work.work().tip());
        let is_zero = submit.ntime == 0 && self.session.quirks().zero_ntime_is_jobs;
        let share = Share {
            nonce: submit.nonce,
            ntime: if is_zero { job.ntime } else { submit.ntime },
            version: version(
                work.version(),
                self.session.version_mask(),
                submit.version_bits,
            ),
            extranonce: &submit.extranonce2,
        };
        let context = ShareContext {
            job: job.work.job(),
            tip: work.tip(),
            is_stale: tip != Some(work.tip()),
            job_min_ntime: work.min_ntime(),
            target: &job.target,
            root: Root::Extended {
                extranonce_prefix: &job.extranonce1,
            },
        };
        let Verdict { outcome, block } =
            validate(&context, &share, &self.config.limits, &mut self.seen, now);
        if outcome.is_ok() || block.is_some() {
            let part = job.extranonce1.get(job.prefix_size..).unwrap_or_default();
            self.upstream.passed_on += 1;
            self.outputs.push_back(BridgeOutput::Share(UpstreamShare {
                work: job.work.clone(),
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: [part, share.extranonce].concat(),
                worker: self
                    .session
                    .worker(&submit.worker)
                    .unwrap_or_default()
                    .to_owned(),
                is_block: block.is_some(),
            }));
        }
        outcome.map(|share| share.difficulty).map_err(reject)
    }
}

/// A reason of the share rules in the words of Sv1.
const fn reject(reason: RejectReason) -> Reject {
    match reason {
        RejectReason::UnknownJob | RejectReason::UnknownChannel => Reject::JobNotFound,
        RejectReason::Stale => Reject::Stale,
        RejectReason::BadExtranonceSize | RejectReason::MalformedExtensionField => {
            Reject::BadExtranonceSize
        }
        RejectReason::NtimeTooEarly | RejectReason::NtimeTooLate => Reject::NtimeOutOfRange,
        RejectReason::VersionRollingNotAllowed => Reject::VersionRollingNotNegotiated,
        RejectReason::NonRollableVersionBit => Reject::VersionBitsOutsideMask,
        RejectReason::DifficultyTooLow => Reject::LowDifficulty,
        RejectReason::Duplicate => Reject::Duplicate,
        // The reasons may grow; what has no word of its own is not the miner's fault.
        _ => Reject::TooManyShares,
    }
}
