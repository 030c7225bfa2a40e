//! The miners that are connected.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::extranonce::ExtranoncePrefix;
use roles_logic_sv2::target::Target;
use stratum_translation::bridge::{Bridge, ChannelWork};
use stratum_translation::mapping::worker_identity;
use sv1_api::Id;
use sv1_api::client_message::{Authorize, Subscribe};
use sv1_api::server::CloseReason;

use crate::leaf::Leaf;
use crate::link::LinkId;
use crate::slots::{SlotId, Slots};

/// Names whose authorization waits for a channel. Further ones are refused.
pub(crate) const MAX_WAITING_NAMES: usize = 16;

/// Error codes of upstreams that are told apart for each miner; further ones are counted together.
const MAX_CODES: usize = 8;

/// What further codes are counted under.
const OTHER_CODES: &str = "other";

/// One miner, as long as it is connected.
pub type MinerId = SlotId<Miner>;

/// All miners.
pub(crate) type Miners = Slots<Miner>;

impl Miners {
    /// The connection of an Sv1 miner.
    pub(crate) fn sv1(&self, id: MinerId) -> Option<&Sv1> {
        self.find(id)?.sv1()
    }

    pub(crate) fn sv1_mut(&mut self, id: MinerId) -> Option<&mut Sv1> {
        self.find_mut(id)?.sv1_mut()
    }

    /// The channel of a device.
    pub(crate) fn leaf(&self, id: MinerId) -> Option<&Leaf> {
        self.find(id)?.leaf()
    }

    pub(crate) fn leaf_mut(&mut self, id: MinerId) -> Option<&mut Leaf> {
        self.find_mut(id)?.leaf_mut()
    }
}

/// What is to be done for one miner.
#[derive(Clone, Debug, PartialEq)]
pub enum MinerOutput {
    /// Send this line; its end is part of it.
    Send(Arc<str>),
    /// Send what is queued, then close; nothing follows.
    Close(CloseReason),
}

/// A channel of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelRef {
    pub(crate) link: LinkId,
    pub(crate) channel_id: u32,
}

/// Where a miner's work comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// It has none.
    #[default]
    Nowhere,
    /// The channel of a link that is everyone's.
    Common(LinkId),
    /// A channel of its own.
    Own(ChannelRef),
}

impl Source {
    pub(crate) const fn link(self) -> Option<LinkId> {
        match self {
            Self::Nowhere => None,
            Self::Common(link) | Self::Own(ChannelRef { link, .. }) => Some(link),
        }
    }
}

/// A request for a channel of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) link: LinkId,
    /// `None` before its turn has come.
    pub(crate) request_id: Option<u32>,
    /// Which of the sizes was asked for.
    pub(crate) size_index: usize,
    /// Any target will do: with the miner's own limit it was refused.
    pub(crate) takes_any_target: bool,
}

/// An Sv1 miner's connection.
#[derive(Debug)]
pub(crate) struct Sv1 {
    pub(crate) bridge: Bridge,
    /// Tells it apart from others on its channel.
    pub(crate) number: Option<ExtranoncePrefix>,
    /// Waits for an upstream.
    pub(crate) subscribe: Option<Subscribe>,
    /// Wait for a channel of its own.
    pub(crate) names: Vec<(Id, Authorize)>,
}

/// What a miner is to us.
#[derive(Debug)]
pub(crate) enum Face {
    /// An Sv1 miner.
    Sv1(Box<Sv1>),
    /// A channel of an Sv2 device.
    Device(Box<Leaf>),
}

/// One miner: an Sv1 miner, or a channel of an Sv2 device.
#[derive(Debug)]
pub struct Miner {
    pub(crate) face: Face,
    /// The link that it is to work on, and since when. It goes on with the work of another one until there is some here.
    pub(crate) link: Option<LinkId>,
    pub(crate) moved_at: Instant,
    pub(crate) source: Source,
    /// A channel of its own that it left a moment ago, and may come back to.
    pub(crate) left: Option<ChannelRef>,
    pub(crate) request: Option<Request>,
    /// The first name it was authorized under.
    pub(crate) user: Option<String>,
    /// When it last got a job that was no news of a block.
    pub(crate) refreshed_at: Instant,
    /// When a job is due that waits for it, and that job if it is of its own channel.
    pub(crate) paced_at: Option<Instant>,
    pub(crate) paced_work: Option<Arc<ChannelWork>>,
    /// Upstreams that opened no channel for it, one after the other, and the last of them.
    pub(crate) refusals: u32,
    pub(crate) refused_by: Option<LinkId>,
    /// When its channel was last opened anew after the upstream had closed it.
    pub(crate) reopened_at: Option<Instant>,
    /// The hash rate that its upstream was told.
    pub(crate) told_hashrate: f32,
    /// The easiest target that its upstream was told of.
    pub(crate) told_max_target: Target,
    /// Answers of upstreams to its shares, by error code.
    pub(crate) codes: BTreeMap<String, u64>,
    pub(crate) connected_at: Instant,
    pub(crate) is_woken: bool,
    pub(crate) outputs: VecDeque<MinerOutput>,
    /// The name of the last share as it goes to the upstream, and as it is where it is too long for that.
    worker: Option<(Arc<str>, Option<Box<str>>)>,
}

impl Miner {
    pub(crate) fn new(bridge: Bridge, now: Instant) -> Self {
        let sv1 = Sv1 {
            bridge,
            number: None,
            subscribe: None,
            names: Vec::new(),
        };
        Self::with_face(Face::Sv1(Box::new(sv1)), now)
    }

    pub(crate) const fn with_face(face: Face, now: Instant) -> Self {
        Self {
            face,
            link: None,
            moved_at: now,
            source: Source::Nowhere,
            left: None,
            request: None,
            user: None,
            refreshed_at: now,
            paced_at: None,
            paced_work: None,
            refusals: 0,
            refused_by: None,
            reopened_at: None,
            told_hashrate: 0.0,
            told_max_target: Target::MAX,
            codes: BTreeMap::new(),
            connected_at: now,
            is_woken: false,
            outputs: VecDeque::new(),
            worker: None,
        }
    }

    /// Its Sv1 connection, if it is such a miner.
    pub(crate) fn sv1(&self) -> Option<&Sv1> {
        match &self.face {
            Face::Sv1(sv1) => Some(sv1),
            Face::Device(_) => None,
        }
    }

    pub(crate) fn sv1_mut(&mut self) -> Option<&mut Sv1> {
        match &mut self.face {
            Face::Sv1(sv1) => Some(sv1),
            Face::Device(_) => None,
        }
    }

    /// Its channel on a device's connection, if it is such a one.
    pub(crate) fn leaf(&self) -> Option<&Leaf> {
        match &self.face {
            Face::Sv1(_) => None,
            Face::Device(leaf) => Some(leaf),
        }
    }

    pub(crate) fn leaf_mut(&mut self) -> Option<&mut Leaf> {
        match &mut self.face {
            Face::Sv1(_) => None,
            Face::Device(leaf) => Some(leaf),
        }
    }

    /// Whether it has said what it wants; others are given nothing.
    pub(crate) fn is_here(&self) -> bool {
        match &self.face {
            Face::Sv1(sv1) => {
                let is_granted = sv1.bridge.session().granted().is_some();
                is_granted || sv1.subscribe.is_some() || self.user.is_some()
            }
            Face::Device(_) => true,
        }
    }

    /// Bytes of the extranonce that it sees; `None` before it is subscribed, or open.
    pub(crate) fn shown(&self) -> Option<usize> {
        match &self.face {
            Face::Sv1(sv1) => {
                let grant = sv1.bridge.session().granted()?;
                Some(grant.extranonce1.len() + grant.extranonce2_size)
            }
            Face::Device(leaf) => leaf.shown(),
        }
    }

    /// Whether it mines, or could as soon as there is work.
    pub(crate) fn is_working(&self) -> bool {
        match &self.face {
            Face::Sv1(sv1) => sv1.bridge.session().is_working(),
            Face::Device(leaf) => leaf.shown().is_some(),
        }
    }

    /// The easiest target that it can do with.
    pub(crate) fn max_target(&self) -> Target {
        match &self.face {
            Face::Sv1(sv1) => sv1.bridge.max_target(),
            Face::Device(leaf) => leaf.max_target,
        }
    }

    /// Estimated hashes a second; 0 when that is not known.
    pub(crate) fn estimate(&self, now: Now) -> f64 {
        match &self.face {
            Face::Sv1(sv1) => sv1.bridge.hashrate(now),
            Face::Device(leaf) => leaf.hashrate,
        }
    }

    /// Whether this work is on another block than its own, or of another channel: then all earlier jobs are over.
    pub(crate) fn is_new_tip(&self, work: &ChannelWork) -> bool {
        match &self.face {
            Face::Sv1(sv1) => sv1.bridge.is_new_tip(work),
            Face::Device(leaf) => leaf.is_new_tip(work),
        }
    }

    /// An upstream accepted shares of it.
    pub(crate) fn upstream_accepted(&mut self, count: u64) {
        match &mut self.face {
            Face::Sv1(sv1) => sv1.bridge.upstream_accepted(count),
            Face::Device(leaf) => leaf.upstream.accepted += count,
        }
    }

    /// An upstream rejected a share of it.
    pub(crate) fn upstream_rejected(&mut self) {
        match &mut self.face {
            Face::Sv1(sv1) => sv1.bridge.upstream_rejected(),
            Face::Device(leaf) => leaf.upstream.rejected += 1,
        }
    }

    /// A share of it could not be handed in, or its answer will never come.
    pub(crate) fn upstream_lost(&mut self) {
        match &mut self.face {
            Face::Sv1(sv1) => sv1.bridge.upstream_lost(),
            Face::Device(leaf) => leaf.upstream.lost += 1,
        }
    }

    /// Whether it mines on a channel of its own there.
    pub(crate) fn has_channel_on(&self, link: LinkId) -> bool {
        matches!(self.source, Source::Own(channel) if channel.link == link)
    }

    /// Whether its hash rate counts.
    pub(crate) fn is_counted(&self) -> bool {
        match &self.face {
            Face::Sv1(sv1) => sv1.bridge.session().is_working() || sv1.subscribe.is_some(),
            Face::Device(_) => true,
        }
    }

    /// Hashes a second; what it claims or the operator thinks it has as long as that is not known.
    pub(crate) fn hashrate(&self, nominal: f64, now: Now) -> f64 {
        let estimate = self.estimate(now);
        let claimed = self.leaf().map(|leaf| f64::from(leaf.nominal_hash_rate));
        if estimate > 0.0 {
            estimate
        } else {
            claimed.unwrap_or(nominal)
        }
    }

    /// The name in the form that extension 0x0002 has for it. Miners have one name mostly, so the last is kept.
    pub(crate) fn worker(&mut self, name: &str) -> Arc<str> {
        if let Some((identity, long)) = &self.worker
            && long.as_deref().unwrap_or(identity) == name
        {
            return identity.clone();
        }
        let identity: Arc<str> = worker_identity(name).into();
        let long = (*identity != *name).then(|| name.into());
        self.worker = Some((identity.clone(), long));
        identity
    }

    /// The same for the name that it came with.
    pub(crate) fn own_worker(&mut self) -> Arc<str> {
        let user = self.user.take();
        let worker = self.worker(user.as_deref().unwrap_or_default());
        self.user = user;
        worker
    }

    /// Counts a rejection; how many there were with this code.
    pub(crate) fn count_code(&mut self, code: &str) -> u64 {
        let is_known = self.codes.contains_key(code) || self.codes.len() < MAX_CODES;
        let code = if is_known { code } else { OTHER_CODES };
        let count = self.codes.entry(code.to_owned()).or_default();
        *count += 1;
        *count
    }
}
