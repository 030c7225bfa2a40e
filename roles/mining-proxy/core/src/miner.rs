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

use crate::link::LinkId;

/// Names whose authorization waits for a channel. Further ones are refused.
pub(crate) const MAX_WAITING_NAMES: usize = 16;

/// Error codes of upstreams that are told apart for each miner; further ones are counted together.
const MAX_CODES: usize = 8;

/// What further codes are counted under.
const OTHER_CODES: &str = "other";

/// One miner, as long as it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinerId {
    index: u32,
    /// How often the index was used before, so that an id is never another miner's.
    generation: u32,
}

impl MinerId {
    /// A number of at most the most miners there ever were at a time, for tables of the shell.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    #[cfg(test)]
    pub(crate) const fn numbered(index: u32) -> Self {
        let generation = 0;
        Self { index, generation }
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

/// One miner.
#[derive(Debug)]
pub(crate) struct Miner {
    pub(crate) bridge: Bridge,
    /// Tells it apart from others on its channel.
    pub(crate) number: Option<ExtranoncePrefix>,
    /// Waits for an upstream.
    pub(crate) subscribe: Option<Subscribe>,
    /// Wait for a channel of its own.
    pub(crate) names: Vec<(Id, Authorize)>,
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
    pub(crate) const fn new(bridge: Bridge, now: Instant) -> Self {
        Self {
            bridge,
            number: None,
            subscribe: None,
            names: Vec::new(),
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

    /// Whether it has said what it wants; others are given nothing.
    pub(crate) fn is_here(&self) -> bool {
        let is_granted = self.bridge.session().granted().is_some();
        is_granted || self.subscribe.is_some() || self.user.is_some()
    }

    /// Bytes of extranonce1 and extranonce2 together; `None` before it is subscribed.
    pub(crate) fn shown(&self) -> Option<usize> {
        let grant = self.bridge.session().granted()?;
        Some(grant.extranonce1.len() + grant.extranonce2_size)
    }

    /// Whether it mines on a channel of its own there.
    pub(crate) fn has_channel_on(&self, link: LinkId) -> bool {
        matches!(self.source, Source::Own(channel) if channel.link == link)
    }

    /// Whether its hash rate counts.
    pub(crate) fn is_counted(&self) -> bool {
        self.bridge.session().is_working() || self.subscribe.is_some()
    }

    /// Hashes a second; what the operator thinks it has as long as that is not known.
    pub(crate) fn hashrate(&self, nominal: f64, now: Now) -> f64 {
        let estimate = self.bridge.hashrate(now);
        if estimate > 0.0 { estimate } else { nominal }
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

    /// Counts a rejection; how many there were with this code.
    pub(crate) fn count_code(&mut self, code: &str) -> u64 {
        let is_known = self.codes.contains_key(code) || self.codes.len() < MAX_CODES;
        let code = if is_known { code } else { OTHER_CODES };
        let count = self.codes.entry(code.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// All miners.
#[derive(Debug, Default)]
pub(crate) struct Miners {
    slots: Vec<(u32, Option<Box<Miner>>)>,
    free: Vec<u32>,
    count: usize,
}

impl Miners {
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn insert(&mut self, miner: Miner) -> MinerId {
        self.count += 1;
        let miner = Some(Box::new(miner));
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.1 = miner;
            return MinerId {
                index,
                generation: slot.0,
            };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, miner));
        MinerId {
            index,
            generation: 0,
        }
    }

    pub(crate) fn find(&self, id: MinerId) -> Option<&Miner> {
        let slot = self.slots.get(id.index());
        slot.filter(|slot| slot.0 == id.generation)?.1.as_deref()
    }

    pub(crate) fn find_mut(&mut self, id: MinerId) -> Option<&mut Miner> {
        let slot = self.slots.get_mut(id.index());
        slot.filter(|slot| slot.0 == id.generation)?
            .1
            .as_deref_mut()
    }

    pub(crate) fn remove(&mut self, id: MinerId) -> Option<Miner> {
        let slot = self.slots.get_mut(id.index());
        let slot = slot.filter(|slot| slot.0 == id.generation)?;
        let miner = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.index);
        self.count -= 1;
        Some(*miner)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MinerId, &Miner)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            let id = MinerId {
                index,
                generation: slot.0,
            };
            Some((id, slot.1.as_deref()?))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (MinerId, &mut Miner)> {
        self.slots.iter_mut().zip(0..).filter_map(|(slot, index)| {
            let id = MinerId {
                index,
                generation: slot.0,
            };
            Some((id, slot.1.as_deref_mut()?))
        })
    }

    pub(crate) fn ids(&self) -> Vec<MinerId> {
        self.iter().map(|(id, _)| id).collect()
    }
}
