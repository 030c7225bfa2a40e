//! The channels of one downstream connection (5.2, 5.3), as a pool or proxy keeps them.
//!
//! [`ServerChannels`] opens, updates and closes channels, gives out jobs, judges shares and adjusts targets. It has
//! the four verbs of every core: `handle_*`, [`ServerChannels::handle_timeout`], [`ServerChannels::poll_output`],
//! [`ServerChannels::poll_timeout`]. After each `handle_*` call poll all outputs.
//!
//! Who a channel's user is and which extranonce prefix it gets is the owner's decision, so opening has two steps:
//! [`ServerChannels::request_standard`] (or `_extended`) checks what the protocol says, [`ServerChannels::open`] with a
//! [`Grant`] (or [`ServerChannels::refuse`]) answers.
//!
//! ```
//! use roles_logic_sv2::channels::PayoutId;
//! use roles_logic_sv2::channels::server::{Grant, Output, ServerChannels, ServerConfig, ServerFlags};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::extranonce::{ExtranonceAllocator, ExtranonceLayout};
//!
//! let now = Now::default();
//! let mut extranonces = ExtranonceAllocator::new(ExtranonceLayout::default(), 1).unwrap();
//! let mut channels = ServerChannels::new(ServerConfig::default().into(), ServerFlags::default());
//!
//! let request = mining_sv2::OpenExtendedMiningChannel {
//!     request_id: 7,
//!     user_identity: "alice.rig1".try_into().unwrap(),
//!     nominal_hash_rate: 1e12,
//!     max_target: [0xff; 32].into(),
//!     min_extranonce_size: 8,
//! };
//! let checked = channels.request_extended(&request).expect("the request is sound");
//! let grant = Grant {
//!     payout: PayoutId(0),
//!     extranonce_prefix: extranonces.allocate_extended(8).unwrap(),
//!     full_extranonce_size: extranonces.full_size(),
//!     terms: Default::default(),
//! };
//! let channel_id = channels.open(checked, grant, now).unwrap();
//!
//! let Some(Output::Send(success)) = channels.poll_output() else { panic!("the answer comes first") };
//! assert_eq!(success.kind().name, "OpenExtendedMiningChannel.Success");
//! assert!(channels.channel(channel_id).is_some());
//! ```

mod channel;
mod group;
mod message;
mod open;
mod shares;
mod update;
mod work;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use const_sv2::mining::{
    REQUIRES_EXTENDED_CHANNELS, REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS,
    REQUIRES_VERSION_ROLLING, REQUIRES_WORK_SELECTION,
};

use crate::accounting::{ShareAccounting, Slice, SliceLimits};
use crate::channels::{ChannelKind, PayoutId, WorkState};
use crate::clock::Instant;
use crate::duplicates::DEFAULT_MAX_SHARES_PER_TIP;
use crate::extranonce::ExtranoncePrefix;
use crate::job::Job;
use crate::setup::SetupAccepted;
use crate::share::{BlockSolution, ShareLimits};
use crate::target::Target;
use crate::vardiff::VardiffConfig;

use channel::Channel;
use group::Group;

pub use channel::{MAX_EARLIER_GROUPS, MAX_EARLIER_TARGETS};
pub use group::MAX_JOBS;
pub use message::{ExtendedJob, ServerMessage};
pub use open::{Grant, OpenFailed, OpenRefusal, OpenRequest};
pub use shares::PendingAck;
pub use update::{CustomJobRefusal, UpdateRefusal};

/// Channels that one connection may have by default. At the limit an open is answered `channel-capacity-exhausted`.
pub const DEFAULT_MAX_CHANNELS: usize = 10_000;

/// Outputs kept allocated when all are taken; more is given back.
const MAX_OUTPUTS_KEPT: usize = 16;

/// Timeouts are handled in steps of this length, in microseconds: a connection of many channels would otherwise wake up
/// for each of them and look at all. Nothing is later than one step.
const TIMER_STEP_MICROS: u64 = 50_000;

/// What the operator sets, the same for all connections.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Most channels of one connection.
    pub max_channels: usize,
    /// How fast shares should come, and how easy they may get.
    pub vardiff: VardiffConfig,
    /// Leave each channel at the target that its claimed hash rate gives: for rented hash power and load tests.
    pub is_target_fixed: bool,
    /// Limits of a share's ntime.
    pub share_limits: ShareLimits,
    /// When accepted shares are handed to the ledger and acknowledged.
    pub slices: SliceLimits,
    /// Shares that one channel can have credited on one tip.
    pub max_shares_per_tip: usize,
    /// Send the present job again under a new id when a channel's target changes.
    ///
    /// A job that is already active keeps its target (MS-52), so without this a new target waits for the next template.
    pub is_job_resent_on_new_target: bool,
    /// Address a channel that is alone in its group by its own id: small firmware does not follow [`SetGroupChannel`].
    ///
    /// [`SetGroupChannel`]: mining_sv2::SetGroupChannel
    pub is_lone_channel_addressed: bool,
    /// Whether `SetCustomMiningJob` is taken at all; where not it is answered `jd-not-supported`.
    pub takes_custom_jobs: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_channels: DEFAULT_MAX_CHANNELS,
            vardiff: VardiffConfig::default(),
            is_target_fixed: false,
            share_limits: ShareLimits::default(),
            slices: SliceLimits::default(),
            max_shares_per_tip: DEFAULT_MAX_SHARES_PER_TIP,
            is_job_resent_on_new_target: true,
            is_lone_channel_addressed: false,
            takes_custom_jobs: false,
        }
    }
}

/// What setup settled for this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFlags {
    /// The client takes `NewMiningJob` only, each channel its own (REQUIRES_STANDARD_JOBS).
    pub standard_jobs_only: bool,
    /// The client makes its own jobs and gets neither jobs nor `SetNewPrevHash` (REQUIRES_WORK_SELECTION).
    pub selects_work: bool,
    /// This server told the client to open no standard channels (REQUIRES_EXTENDED_CHANNELS).
    pub extended_channels_only: bool,
    /// The client rolls versions and cannot do otherwise (REQUIRES_VERSION_ROLLING).
    pub rolls_version: bool,
    /// This server told the client to leave jobs' versions as they are (REQUIRES_FIXED_VERSION): no extended job allows
    /// otherwise, whatever the work says (MS-18).
    pub fixed_version: bool,
}

impl From<&SetupAccepted> for ServerFlags {
    fn from(setup: &SetupAccepted) -> Self {
        Self {
            standard_jobs_only: setup.has_client_flag(REQUIRES_STANDARD_JOBS),
            selects_work: setup.has_client_flag(REQUIRES_WORK_SELECTION),
            extended_channels_only: setup.has_server_flag(REQUIRES_EXTENDED_CHANNELS),
            rolls_version: setup.has_client_flag(REQUIRES_VERSION_ROLLING),
            fixed_version: setup.has_server_flag(REQUIRES_FIXED_VERSION),
        }
    }
}

/// A block that a channel found.
#[derive(Clone, Debug)]
pub struct BlockFound {
    /// Channel that found it.
    pub channel_id: u32,
    /// The job it was found on; its template id is what a solution names.
    pub job: Arc<Job>,
    /// Header and hash.
    pub solution: BlockSolution,
    /// The whole coinbase transaction, with its witness where it has one; empty for a job whose root came ready.
    pub coinbase: Vec<u8>,
}

/// What a connection's channels want done.
#[derive(Debug)]
pub enum Output {
    /// Send this to the client.
    Send(ServerMessage),
    /// Store these shares, then hand the token to [`ServerChannels::handle_persisted`].
    Persist(PendingAck),
    /// Submit this block now, before anything else.
    SubmitBlock(Box<BlockFound>),
    /// A channel is gone. Its last shares were handed out before this.
    Closed {
        /// The channel.
        channel_id: u32,
        /// Its extranonce prefix, for the allocator.
        extranonce_prefix: ExtranoncePrefix,
    },
    /// No job uses this extranonce prefix any more; it goes back to the allocator.
    Released(ExtranoncePrefix),
}

/// What was discarded without a channel to book it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Shares for channels that are not open; answered `invalid-channel-id`.
    pub shares_of_unknown_channels: u64,
    /// `CloseChannel` for channels that are not open.
    pub closes_of_unknown_channels: u64,
    /// `UpdateChannel` refused.
    pub updates_refused: u64,
    /// Opens refused.
    pub opens_refused: u64,
    /// `SetCustomMiningJob` refused.
    pub custom_jobs_refused: u64,
    /// Standard channels that could not be sent a job, as their prefix is not as long as its extranonce.
    pub unfit_jobs: u64,
}

impl Ignored {
    /// The requests that were answered with an error, each with its name in metrics and logs. The names never change.
    pub const fn refused(&self) -> [(&'static str, u64); 3] {
        [
            ("update-refused", self.updates_refused),
            ("open-refused", self.opens_refused),
            ("custom-job-refused", self.custom_jobs_refused),
        ]
    }

    /// What nothing was sent for, each with its name in metrics and logs. The names never change.
    pub const fn passed_over(&self) -> [(&'static str, u64); 2] {
        [
            ("close-of-unknown-channel", self.closes_of_unknown_channels),
            ("job-does-not-fit-prefix", self.unfit_jobs),
        ]
    }
}

/// The channels of one downstream connection.
///
/// Nothing is allocated for a share but what its duplicate check keeps. An idle channel takes less than 1 KB.
#[derive(Debug)]
pub struct ServerChannels {
    config: Arc<ServerConfig>,
    flags: ServerFlags,
    /// By ascending id.
    channels: Vec<Channel>,
    /// By ascending id.
    groups: Vec<Group>,
    /// Channels and groups share one space of ids (MS-10).
    next_id: u32,
    work: Option<Arc<WorkState>>,
    outputs: VecDeque<Output>,
    /// The first timeout of any channel, rounded up to a step.
    next_timeout: Option<Instant>,
    ignored: Ignored,
}

/// A channel as its owner may look at it.
#[derive(Clone, Copy, Debug)]
pub struct ChannelView<'a>(&'a Channel);

impl<'a> ChannelView<'a> {
    /// The channel's id.
    pub const fn id(&self) -> u32 {
        self.0.id
    }

    /// Standard or extended.
    pub const fn kind(&self) -> ChannelKind {
        self.0.kind
    }

    /// The group that the channel belongs to.
    pub const fn group_id(&self) -> u32 {
        self.0.group_id
    }

    /// The target of jobs to come.
    pub const fn target(&self) -> Target {
        *self.0.target.target.target()
    }

    /// First bytes of the extranonce of jobs to come.
    pub fn extranonce_prefix(&self) -> &'a [u8] {
        self.0.prefix.as_bytes()
    }

    /// The easiest target that the client takes.
    pub const fn max_target(&self) -> Target {
        self.0.vardiff.max_target()
    }

    /// Estimated hashes a second; 0 before the first shares.
    pub fn hashrate(&self, now: Instant) -> f64 {
        self.0.vardiff.hashrate(now)
    }

    /// Hashes a second, as the client last claimed.
    pub const fn nominal_hash_rate(&self) -> f32 {
        self.0.nominal_hash_rate
    }

    /// Shares, difficulty, hashrate.
    pub const fn accounting(&self) -> &'a ShareAccounting {
        &self.0.accounting
    }
}

impl ServerChannels {
    /// What setup settled.
    pub const fn flags(&self) -> ServerFlags {
        self.flags
    }

    /// No channels yet.
    pub const fn new(config: Arc<ServerConfig>, flags: ServerFlags) -> Self {
        Self {
            config,
            flags,
            channels: Vec::new(),
            groups: Vec::new(),
            next_id: 1,
            work: None,
            outputs: VecDeque::new(),
            next_timeout: None,
            ignored: Ignored {
                shares_of_unknown_channels: 0,
                closes_of_unknown_channels: 0,
                updates_refused: 0,
                opens_refused: 0,
                custom_jobs_refused: 0,
                unfit_jobs: 0,
            },
        }
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > MAX_OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Self::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout
    }

    /// A look at a channel; `None` when it is not open.
    pub fn channel(&self, channel_id: u32) -> Option<ChannelView<'_>> {
        let at = self.channel_at(channel_id)?;
        self.channels.get(at).map(ChannelView)
    }

    /// All open channels, by ascending id.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = ChannelView<'_>> {
        self.channels.iter().map(ChannelView)
    }

    /// How to pay the channels of a group; `None` when there is no such group.
    pub fn payout_of_group(&self, group_id: u32) -> Option<PayoutId> {
        let at = self.group_at(group_id)?;
        self.groups.get(at).map(|group| group.key.payout)
    }

    /// Bytes of an idle channel, without what its prefix allocator and the shared jobs take.
    pub const fn channel_size() -> usize {
        size_of::<Channel>()
    }

    /// What was discarded so far.
    pub const fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    fn send(&mut self, message: impl Into<ServerMessage>) {
        self.outputs.push_back(Output::Send(message.into()));
    }

    fn channel_at(&self, channel_id: u32) -> Option<usize> {
        self.channels
            .binary_search_by_key(&channel_id, |channel| channel.id)
            .ok()
    }

    fn group_at(&self, group_id: u32) -> Option<usize> {
        self.groups
            .binary_search_by_key(&group_id, |group| group.id)
            .ok()
    }

    /// A wake-up for a channel's timeout.
    fn wake_at(&mut self, due: Option<Instant>) {
        let round_up = |due: Instant| {
            let steps = due.as_micros().div_ceil(TIMER_STEP_MICROS);
            Instant::from_micros(steps.saturating_mul(TIMER_STEP_MICROS))
        };
        let due = due.map(round_up);
        self.next_timeout = [self.next_timeout, due].into_iter().flatten().min();
    }
}
