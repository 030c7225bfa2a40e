//! One Sv1 miner on the work of an extended channel.
//!
//! The owner keeps the upstream's channels ([`ClientChannels`]) and gives each miner an extranonce and work; the bridge
//! judges shares and sets difficulties. A share is `true` to the miner when it meets the difficulty of its own job. Jobs
//! are never harder than the channel wants, since the upstream credits no more than it asked for; they are easier where
//! a power of two, or a miner of many on one channel, makes them so. A share that meets the miner's difficulty and not
//! the channel's goes no further and is counted ([`UpstreamCounts::below_target`]); all others are passed on, and what
//! the upstream says of them is counted beside.
//!
//! [`ClientChannels`]: roles_logic_sv2::channels::client::ClientChannels

mod policy;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::channels::client::Found;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::duplicates::{DuplicateSet, SharesElsewhere};
use roles_logic_sv2::job::ChainTip;
use roles_logic_sv2::share::{
    AcceptedShare, RejectReason, Root, Share, ShareContext, ShareLimits, Verdict, validate,
};
use roles_logic_sv2::target::{ConversionError, Difficulty as Credit, ShareTarget, Target};
use roles_logic_sv2::vardiff::VardiffConfig;
use sv1_api::client_message::{Authorize, Submit, Subscribe};
use sv1_api::line::LineTooLong;
use sv1_api::reject::Reject;
use sv1_api::server::{
    CloseReason, Grant, Job as Sv1Job, ServerConfig, ServerEvent, ServerOutput, ServerSession,
};
use sv1_api::server_message::Reconnect;
use sv1_api::worker::PasswordOptions;
use sv1_api::{Difficulty, Id};

use crate::mapping::{JobName, MappingError, version, version_mask};
use policy::DifficultyPolicy;
pub use work::ChannelWork;

/// Bytes of extranonce2 that suit marketplaces (at least 7) and ASICs (at most 8).
pub const DEFAULT_EXTRANONCE2_SIZE: usize = 8;

/// Hashes a second of a miner that is not known yet: where the search for its difficulty begins. Ten to fifty times too
/// much for a home miner, as much too little for a farm's machine, and a minute away from both.
pub const DEFAULT_NOMINAL_HASHRATE: f64 = 10e12;

/// Jobs of one miner that shares may name. One more pushes out the oldest, whose shares are then "job not found".
pub const MAX_JOBS: usize = 16;

/// How long shares may name a job after another one was sent. Miners hand in shares up to two minutes late.
pub const JOB_LIFE: Duration = Duration::from_secs(300);

/// Shares remembered on one block of one source. Beyond it shares are refused: the difficulty is far too low.
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
    /// The channel's part of the extranonce: zeros, the miner's own bytes, its extranonce2.
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

/// What a share that was accepted here counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// The source of its job's work.
    pub source: u64,
    /// By the difficulty of its job.
    pub credit: Credit,
}

/// What the shell or the owner is to do.
#[derive(Clone, Debug)]
pub enum BridgeOutput {
    /// Send this line to the miner.
    Send(Arc<str>),
    /// Give it an extranonce, with [`Bridge::grant`], or [`Bridge::refuse`] it.
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

/// What became of a miner's accepted shares upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// Kept here: they meet the miner's difficulty, and not the channel's.
    pub below_target: u64,
    /// Given to the owner.
    pub passed_on: u64,
    /// Those among them that were refused as shares, and are blocks all the same.
    pub unpaid_blocks: u64,
    /// Accepted.
    pub accepted: u64,
    /// Rejected.
    pub rejected: u64,
    /// Lost with the connection, or stale before they could be handed in.
    pub lost: u64,
}

/// A job that was sent to this miner.
#[derive(Clone, Debug)]
struct SentJob {
    sent_at: Instant,
    copy: u32,
    ntime: u32,
    work: Arc<ChannelWork>,
    target: Arc<ShareTarget>,
    /// What stands before extranonce2, the upstream's prefix included.
    head: Arc<[u8]>,
}

impl SentJob {
    fn name(&self) -> JobName {
        JobName {
            job_id: self.work.name(),
            copy: self.copy,
        }
    }
}

/// What is kept of a miner that left, for its return.
///
/// Miners hand in shares of the time before; they are judged as if the connection had lasted. Counters begin anew.
#[derive(Debug)]
pub struct Parked {
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
    policy: DifficultyPolicy,
    jobs: VecDeque<SentJob>,
    seen: SharesElsewhere<u64>,
}

impl Parked {
    /// The extranonce1 that it worked with.
    pub fn extranonce1(&self) -> &[u8] {
        &self.extranonce1
    }

    /// Bytes of its extranonce2.
    pub const fn extranonce2_size(&self) -> usize {
        self.extranonce2_size
    }
}

/// One Sv1 miner.
#[derive(Debug)]
pub struct Bridge {
    version_mask: u32,
    limits: ShareLimits,
    session: ServerSession,
    policy: DifficultyPolicy,
    work: Option<Arc<ChannelWork>>,
    /// The last work of the channel before, whose shares still count there.
    former: Option<Arc<ChannelWork>>,
    head: Arc<[u8]>,
    copies: u32,
    /// A job was sent on this connection.
    has_begun: bool,
    cut_off_at: Option<Instant>,
    jobs: VecDeque<SentJob>,
    /// Shares of the present source.
    seen: DuplicateSet,
    /// Shares of sources that it worked for before.
    seen_elsewhere: SharesElsewhere<u64>,
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
            work: None,
            former: None,
            head: Arc::default(),
            copies: 0,
            has_begun: false,
            cut_off_at: None,
            jobs: VecDeque::new(),
            seen: DuplicateSet::new(MAX_SHARES_PER_TIP),
            seen_elsewhere: SharesElsewhere::new(),
            accepted: 0,
            upstream: UpstreamCounts::default(),
            outputs: VecDeque::new(),
            version_mask: config.server.version_mask,
            limits: config.limits,
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

    /// Where the miner's work comes from; `None` before it had any.
    pub fn source(&self) -> Option<u64> {
        self.work.as_ref().map(|work| work.source())
    }

    /// What became of them upstream.
    pub const fn upstream(&self) -> &UpstreamCounts {
        &self.upstream
    }

    /// The easiest target that jobs may have for this miner: to be asked for upstream.
    pub fn max_target(&self) -> Target {
        self.policy.floor().target()
    }

    /// Whether jobs go to this miner.
    pub fn is_mining(&self) -> bool {
        self.work.is_some() && self.session.is_working()
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
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Its memory as well: most miners have nothing to say most of the time.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout()?;
        let policy = self.policy.poll_timeout();
        let policy = policy.filter(|_| self.is_mining() && self.cut_off_at.is_none());
        Some(policy.map_or(session, |policy| policy.min(session)))
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.session.handle_timeout(now);
        self.take_outputs(now);
        // Without an upstream no share counts: that is no silence of the miner.
        let is_judged = self.is_mining() && self.cut_off_at.is_none();
        if is_judged && self.policy.handle_timeout(now.instant) {
            self.difficulty_changed(now);
        }
    }

    /// Takes one line of the miner. Gives what the share in it is worth, if it was accepted, and the source of its job.
    pub fn handle_line(&mut self, line: &[u8], now: Now) -> Option<Worth> {
        self.session.handle_line(line, now);
        self.take_outputs(now)
    }

    /// Takes note of a line that was skipped for its length.
    pub fn handle_long_line(&mut self, error: LineTooLong, now: Now) {
        self.session.handle_long_line(error, now);
        self.take_outputs(now);
    }

    /// Answers `mining.subscribe`. Work that shows as many bytes as `extranonce1` and extranonce2 have follows with
    /// [`Self::set_work`], or is there already.
    pub fn grant(
        &mut self,
        extranonce1: Vec<u8>,
        extranonce2_size: usize,
        session: String,
        now: Now,
    ) {
        let minimum = self.session.quirks().min_difficulty;
        self.policy.raise_minimum(minimum, now.instant);
        let grant = Grant {
            extranonce1,
            extranonce2_size,
            session,
        };
        self.session.grant(grant, now);
        self.take_outputs(now);
        self.send_first(now);
    }

    /// Answers `mining.subscribe` of a miner that was here before: it goes on with its extranonce, difficulty and jobs.
    pub fn grant_again(&mut self, parked: Parked, session: String, now: Now) {
        let Parked {
            extranonce1,
            extranonce2_size,
            policy,
            jobs,
            seen,
        } = parked;
        self.policy = policy;
        self.jobs = jobs;
        self.seen_elsewhere = seen;
        if let Some(work) = self.work.clone() {
            self.recall_shares(&work);
        }
        self.grant(extranonce1, extranonce2_size, session, now);
    }

    /// What to keep of a miner whose connection has ended; `None` where it had not begun to work.
    pub fn park(self) -> Option<Parked> {
        let grant = self.session.granted()?;
        let work = self.work.as_ref()?;
        let mut seen = self.seen_elsewhere;
        if !self.seen.is_empty() {
            seen.leave(work.source(), work.work().tip().clone(), self.seen);
        }
        Some(Parked {
            extranonce1: grant.extranonce1.clone(),
            extranonce2_size: grant.extranonce2_size,
            policy: self.policy,
            jobs: self.jobs,
            seen,
        })
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

    /// The channel has other work. It shows as many bytes as the miner was granted, or the miner is told to reconnect.
    pub fn set_work(&mut self, work: &Arc<ChannelWork>, now: Now) {
        let new = work.work();
        let is_new_tip = self.is_new_tip(work);
        let cut_off_at = self.cut_off_at.take();
        if let Some(since) = cut_off_at {
            self.policy.skip(now.instant - since);
        }
        let is_other =
            |before: &Arc<ChannelWork>| cut_off_at.is_none() && !before.is_of_channel_of(work);
        let is_move = self.work.as_ref().is_some_and(is_other);
        if is_new_tip && !is_move {
            self.forget_before(new.tip());
        }
        let before = self.work.replace(work.clone());
        self.change_shares(before.as_deref(), work);
        if is_move {
            self.former = before;
        }
        self.copies = 0;
        let mask = version_mask(self.version_mask, new.version_mask() != 0);
        self.session.set_version_mask(mask);
        self.policy.set_upstream(*new.target());
        if self.shows_as_much(work) {
            self.send(work.line(), 0, is_new_tip, now);
        } else if self.session.granted().is_some() {
            self.session.reconnect(Reconnect::default(), now);
        }
        self.take_outputs(now);
    }

    /// The channel before has other work, while shares of its jobs still count there.
    pub fn set_former_work(&mut self, work: &Arc<ChannelWork>) {
        self.seen_elsewhere
            .end_tip(work.source(), work.work().tip());
        if let Some(former) = &mut self.former
            && former.is_of_channel_of(work)
        {
            *former = work.clone();
        }
    }

    /// The shares known are those of the source of the present work, on its tip.
    fn change_shares(&mut self, before: Option<&ChannelWork>, work: &ChannelWork) {
        if let Some(before) = before {
            let tip = before.work().tip();
            if before.source() != work.source() {
                let fresh = DuplicateSet::new(MAX_SHARES_PER_TIP);
                let seen = std::mem::replace(&mut self.seen, fresh);
                self.seen_elsewhere
                    .leave(before.source(), tip.clone(), seen);
            } else if !tip.is_same_block(work.work().tip()) {
                self.seen.clear();
            }
        }
        self.recall_shares(work);
    }

    /// It may be that the miner worked for this source before, on the same block.
    fn recall_shares(&mut self, work: &ChannelWork) {
        let tip = work.work().tip();
        if let Some(seen) = self.seen_elsewhere.come_back(work.source(), tip) {
            self.seen = seen;
        }
    }

    /// Jobs of the tip before the last one are of no more use.
    fn forget_before(&mut self, tip: &ChainTip) {
        let former = self.work.as_ref().map(|work| work.work().tip().clone());
        let is_known = |job: &SentJob| {
            let job_tip = job.work.work().tip();
            **job_tip == *tip || former.as_ref().is_some_and(|former| former == job_tip)
        };
        // A miner that came back has jobs, and no work yet: its shares are still good if its tip is.
        let is_back = former.is_none() && self.jobs.iter().any(is_known);
        if former.is_some() || is_back {
            self.jobs.retain(is_known);
        }
    }

    /// A source is gone: shares of its jobs are stale.
    pub fn forget_source(&mut self, source: u64) {
        self.seen_elsewhere.forget(source);
        if self
            .former
            .as_ref()
            .is_some_and(|former| former.source() == source)
        {
            self.former = None;
        }
    }

    /// Whether a job's own channel has another tip, or is gone.
    fn is_stale(&self, job: &ChannelWork) -> bool {
        let mut known = [&self.work, &self.former].into_iter().flatten();
        let last = known.find(|work| work.is_of_channel_of(job));
        last.is_none_or(|last| last.work().tip() != job.work().tip())
    }

    /// Gives the miner another extranonce, for the jobs to come; `false` when it cannot follow, and is told to reconnect.
    pub fn change_extranonce(
        &mut self,
        extranonce1: Vec<u8>,
        extranonce2_size: usize,
        now: Now,
    ) -> bool {
        let follows = self.session.set_extranonce(extranonce1, extranonce2_size);
        if !follows {
            self.session.reconnect(Reconnect::default(), now);
        }
        self.take_outputs(now);
        follows
    }

    /// Whether this work is on another block than the miner's, or of another channel: then all earlier jobs are over.
    pub fn is_new_tip(&self, work: &ChannelWork) -> bool {
        let former = self.work.as_ref();
        former.is_none_or(|former| {
            former.work().tip() != work.work().tip() || !former.is_of_channel_of(work)
        })
    }

    /// There is no upstream for now: shares are refused with that reason, the miner stays.
    pub fn cut_off(&mut self, now: Now) {
        self.cut_off_at.get_or_insert(now.instant);
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

    /// Sends the work that waited for the miner's subscription or authorization.
    fn send_first(&mut self, now: Now) {
        let Some(work) = self.work.clone().filter(|_| !self.has_begun) else {
            return;
        };
        if self.shows_as_much(&work) {
            self.send(work.line(), 0, true, now);
        } else if self.session.granted().is_some() {
            self.session.reconnect(Reconnect::default(), now);
        }
        self.take_outputs(now);
    }

    /// Whether the miner was granted as many bytes as the work shows.
    fn shows_as_much(&self, work: &ChannelWork) -> bool {
        let grant = self.session.granted();
        grant.is_some_and(|grant| grant.extranonce1.len() + grant.extranonce2_size == work.shown())
    }

    fn send(&mut self, line: Result<Arc<Sv1Job>, MappingError>, copy: u32, clean: bool, now: Now) {
        let (Some(work), Ok(line)) = (self.work.clone(), line) else {
            // Work has its coinbase, so its line can always be written.
            return;
        };
        let Some(grant) = self.session.granted().filter(|_| self.session.is_working()) else {
            return;
        };
        if !self.has_begun {
            self.has_begun = true;
            self.policy.begin(now.instant);
        }
        if !work.is_head(&self.head, &grant.extranonce1) {
            self.head = work.head(&grant.extranonce1);
        }
        let is_over = |next: &SentJob| next.sent_at + JOB_LIFE <= now.instant;
        while self.jobs.len() >= MAX_JOBS || self.jobs.get(1).is_some_and(is_over) {
            self.jobs.pop_front();
        }
        self.jobs.push_back(SentJob {
            sent_at: now.instant,
            copy,
            ntime: line.notify().ntime,
            work,
            target: self.policy.share_target().clone(),
            head: self.head.clone(),
        });
        self.session.set_difficulty(self.policy.difficulty());
        self.session.send_job(&line, clean, now);
    }

    /// The same work once more: a sign of life, or what brings a new difficulty.
    fn send_again(&mut self, now: Now) {
        if let Some(work) = self.work.clone() {
            self.copies = self.copies.wrapping_add(1);
            self.send(work.copy(self.copies, now), self.copies, false, now);
        }
    }

    fn difficulty_changed(&mut self, now: Now) {
        let target = self.policy.share_target();
        let last = self.jobs.back().map(|job| &job.target);
        if last.is_some_and(|last| !Arc::ptr_eq(last, target)) {
            self.send_again(now);
        }
        self.take_outputs(now);
    }

    /// Gives what a share is worth that was accepted meanwhile: a line has one at most.
    fn take_outputs(&mut self, now: Now) -> Option<Worth> {
        let mut worth = None;
        while let Some(output) = self.session.poll_output() {
            match output {
                ServerOutput::Send(line) => self.outputs.push_back(BridgeOutput::Send(line)),
                ServerOutput::Close(reason) => self.outputs.push_back(BridgeOutput::Close(reason)),
                ServerOutput::Event(ServerEvent::Submit { id, submit }) => {
                    worth = self.handle_submit(&id, &submit, now);
                }
                ServerOutput::Event(event) => self.handle_event(event, now),
            }
        }
        worth
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
            ServerEvent::SuggestDifficulty(difficulty) => {
                self.suggest(difficulty.target(), now);
            }
            ServerEvent::SuggestTarget(target) => self.suggest(target, now),
            ServerEvent::MinimumDifficulty(difficulty) => {
                let minimum = difficulty.as_f64();
                self.policy.raise_minimum(minimum, now.instant);
            }
            ServerEvent::JobDue => self.send_again(now),
            ServerEvent::Submit { .. } | ServerEvent::Version(_) => {}
        }
    }

    fn suggest(&mut self, target: Target, now: Now) {
        self.policy.restart(target, now.instant);
        if self.is_mining() {
            self.difficulty_changed(now);
        }
    }

    fn handle_submit(&mut self, id: &Id, submit: &Submit, now: Now) -> Option<Worth> {
        let judged = self.judge(submit, now);
        self.session.answer_submit(id, judged.map(|_| ()), now);
        let worth = judged.ok()?;
        self.accepted += 1;
        if self.policy.share_accepted(worth.credit, now.instant) {
            self.difficulty_changed(now);
        }
        Some(worth)
    }

    /// Judges a share by its own job, and passes it on when it counts upstream, or when it is a block whatever it counts.
    fn judge(&mut self, submit: &Submit, now: Now) -> Result<Worth, Reject> {
        if self.cut_off_at.is_some() {
            return Err(Reject::NoUpstream);
        }
        let name: JobName = submit.job_id.parse().map_err(|_| Reject::JobNotFound)?;
        let mut jobs = self.jobs.iter().rev();
        let job = jobs.find(|job| job.name() == name);
        let job = job.ok_or(Reject::JobNotFound)?;
        let work = job.work.work();
        let is_zero = submit.ntime == 0 && self.session.quirks().zero_ntime_is_jobs;
        let mask = self.session.version_mask();
        let share = Share {
            nonce: submit.nonce,
            ntime: if is_zero { job.ntime } else { submit.ntime },
            version: version(work.version(), mask, submit.version_bits),
            extranonce: &submit.extranonce2,
        };
        let context = ShareContext {
            job: work.job().ok_or(Reject::JobNotFound)?,
            tip: work.tip(),
            is_stale: self.is_stale(&job.work),
            job_min_ntime: work.min_ntime(),
            target: &job.target,
            root: Root::Extended {
                extranonce_prefix: &job.head,
            },
        };
        let is_elsewhere = (self.work.as_ref()).is_none_or(|now| now.source() != job.work.source());
        let elsewhere = match is_elsewhere {
            true => self.seen_elsewhere.find_mut(job.work.source()),
            false => None,
        };
        let seen = elsewhere.unwrap_or(&mut self.seen);
        let Verdict { outcome, block } = validate(&context, &share, &self.limits, seen, now);
        let counts = |share: &AcceptedShare| work.target().is_met_by(&share.hash);
        if block.is_some() || outcome.as_ref().is_ok_and(counts) {
            self.upstream.passed_on += 1;
            self.upstream.unpaid_blocks += u64::from(outcome.is_err());
            let own = job.head.get(work.extranonce_prefix().len()..);
            let worker = self.session.worker(&submit.worker);
            self.outputs.push_back(BridgeOutput::Share(UpstreamShare {
                work: job.work.clone(),
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: [own.unwrap_or_default(), share.extranonce].concat(),
                worker: worker.unwrap_or_default().to_owned(),
                is_block: block.is_some(),
            }));
        } else if outcome.is_ok() {
            self.upstream.below_target += 1;
        }
        let source = job.work.source();
        let worth = outcome.map(|share| Worth {
            source,
            credit: share.difficulty,
        });
        worth.map_err(reject)
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
