//! Jobs on their way to miners, and the miners' hash rate on its way up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::channels::client::{OpenTerms, Work};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::job::Job;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::UpstreamSession;
use stratum_translation::bridge::ChannelWork;
use stratum_translation::layout::Layout;

use super::Proxy;
use crate::link::{LinkId, WORK_TIMEOUT};
use crate::miner::{ChannelRef, MinerId, Source};

/// Miners whose jobs are due within so short a time get them together.
const PACE_STEP: Duration = Duration::from_millis(50);

/// Shortest time between two updates of the hash rate (MP-6).
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which the hash rate is looked at again even when no miner came or left.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// A hash rate that differs by less from what the upstream was told is not worth a message.
const UPDATE_RATIO: f32 = 0.1;

/// What miners can do together.
struct Load {
    /// Hashes a second.
    hashrate: f64,
    /// The easiest target that all can do with: the least that one of them can be asked for.
    max_target: Target,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            hashrate: 0.0,
            max_target: Target::MAX,
        }
    }
}

impl Proxy {
    /// The next name of a job. It wraps after four billion jobs.
    const fn next_job_name(&mut self) -> u32 {
        self.job_name = self.job_name.wrapping_add(1);
        self.job_name
    }

    pub(super) fn work_changed(&mut self, id: LinkId, channel_id: u32, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let owner = link.channels.get(&channel_id).map(|channel| channel.owner);
        let session = link.session.as_ref();
        let work = session.and_then(|session| session.channels().work(channel_id).cloned());
        let Some(owner) = owner else {
            return;
        };
        let Some(work) = work else {
            // The tip has changed and the upstream named no job: miners go on until it does.
            return link.expect_work(channel_id, now.instant + WORK_TIMEOUT);
        };
        // Channels of one upstream need not have the same room; one without any, for nobody needs it, goes by the others.
        let own_layout = Layout::of_channel(work.extranonce_size(), self.config.extranonce2_size);
        let Some(layout) = own_layout.or(link.layout) else {
            return;
        };
        if let Some(channel) = link.channels.get_mut(&channel_id) {
            channel.work_due = None;
        }
        let is_aggregated = link.is_aggregated;
        if let Err(reason) = self.check_payout(id, work.job()) {
            return self.fail(id, reason, now);
        }
        let name = self.next_job_name();
        let shown = layout.shown();
        let made = match owner {
            None if is_aggregated => ChannelWork::shared(work, id.source(), name, shown),
            _ => ChannelWork::new(work, id.source(), name, shown),
        };
        match (made, owner) {
            (Ok(_), None) if !is_aggregated => {
                // What was tried is good.
                let link = id;
                self.close_channel(ChannelRef { link, channel_id }, "no longer needed", now);
                self.ready(id, now);
            }
            (Ok(made), None) => self.common_work(id, Arc::new(made), now),
            (Ok(made), Some(miner)) => {
                let link = id;
                let channel = ChannelRef { link, channel_id };
                self.own_work(miner, channel, &Arc::new(made), now);
            }
            (Err(error), _) => self.fail(id, error.to_string(), now),
        }
    }

    fn check_payout(&mut self, id: LinkId, job: Option<&Arc<Job>>) -> Result<(), String> {
        let (Some(link), Some(job)) = (self.links.get_mut(&id), job) else {
            return Ok(());
        };
        let upstream = self.upstreams.get(link.upstream);
        let expected = upstream.and_then(|upstream| upstream.config.expected_payout.as_ref());
        let Some(expected) = expected else {
            return Ok(());
        };
        let is_known = |known: &Arc<Job>| Arc::ptr_eq(known, job);
        if link.checked_job.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        expected
            .check(job)
            .map_err(|mismatch| mismatch.to_string())?;
        link.checked_job = Some(job.clone());
        Ok(())
    }

    /// The channel that all miners of a link share has other work.
    fn common_work(&mut self, id: LinkId, work: Arc<ChannelWork>, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let former = link.work.replace(work.clone());
        let is_new_tip = is_new_tip(former.as_deref(), work.work());
        if self.used.contains(&id) {
            self.orphaned_at = None;
        }
        self.note_tip(id, work.work());
        let mut here = Vec::new();
        for miner in self.miners.ids() {
            if self.is_source(miner, Source::Common(id)) {
                here.push(miner);
            } else {
                // It may be that shares of its jobs still come.
                self.set_former_work(miner, &work, now);
            }
        }
        // In this order: with the link ready, miners that enter get this work.
        let waited = self.used.contains(&id) && former.is_none();
        self.ready(id, now);
        if is_new_tip {
            here.retain(|miner| self.is_source(*miner, Source::Common(id)));
            here.iter()
                .for_each(|miner| self.give_work(*miner, &work, now));
        } else {
            self.pace_all(&here, now);
        }
        if waited {
            // The link waited for its first miner.
            self.enter_all(id, now);
        }
    }

    /// Has all miners of a link enter it.
    fn enter_all(&mut self, id: LinkId, now: Now) {
        for miner in self.miners.ids() {
            let is_here = self.miners.find(miner).and_then(|miner| miner.link) == Some(id);
            if is_here {
                self.enter(miner, id, now);
            }
        }
    }

    fn is_source(&self, id: MinerId, source: Source) -> bool {
        let miner = self.miners.find(id);
        miner.is_some_and(|miner| miner.source == source)
    }

    /// The tip of a link's work: numbers of miners that left are given free when each link that is used had a new one since,
    /// for then no share of theirs can count.
    fn note_tip(&mut self, id: LinkId, work: &Work) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let former = link.tip.replace(work.tip().clone());
        if former.as_ref() == Some(work.tip()) || !self.used.contains(&id) {
            return;
        }
        if self.new_tips.is_empty() {
            self.numbers.begin_tips();
        }
        self.new_tips.insert(id);
        if self.used.iter().all(|used| self.new_tips.contains(used)) {
            self.new_tips.clear();
            self.numbers.end_tips();
        }
    }

    /// A miner's own channel has other work.
    fn own_work(&mut self, id: MinerId, channel: ChannelRef, work: &Arc<ChannelWork>, now: Now) {
        self.note_tip(channel.link, work.work());
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        if miner.source != Source::Own(channel) {
            return self.set_former_work(id, work, now);
        }
        if self.used.contains(&channel.link) {
            self.orphaned_at = None;
        }
        let due = miner.refreshed_at + self.config.min_job_interval;
        if miner.is_new_tip(work) || due <= now.instant {
            return self.give_work(id, work, now);
        }
        miner.paced_work = Some(work.clone());
        self.pace(id, due);
    }

    /// Spreads a job that is no news of a block over the miners that are to get it.
    fn pace_all(&mut self, ids: &[MinerId], now: Now) {
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
        let step = self.config.pace / count;
        let interval = self.config.min_job_interval;
        for (id, index) in ids.iter().zip(0_u32..) {
            if let Some(miner) = self.miners.find(*id) {
                let spread = now.instant + step.saturating_mul(index);
                self.pace(*id, spread.max(miner.refreshed_at + interval));
            }
        }
        self.send_paced(now);
    }

    /// A job waits for its time. One that waits already gives way to it, at the time of that one.
    fn pace(&mut self, id: MinerId, due: Instant) {
        let miner = self.miners.find_mut(id);
        if let Some(miner) = miner.filter(|miner| miner.paced_at.is_none()) {
            let step = u64::try_from(PACE_STEP.as_micros()).unwrap_or(1);
            let rounded = Instant::from_micros(due.as_micros() / step * step);
            miner.paced_at = Some(rounded);
            self.paced.insert((rounded, id));
        }
    }

    /// A miner has nothing coming.
    pub(super) fn unpace(&mut self, id: MinerId) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        miner.paced_work = None;
        if let Some(at) = miner.paced_at.take() {
            self.paced.remove(&(at, id));
        }
    }

    pub(super) fn send_paced(&mut self, now: Now) {
        while let Some((at, id)) = self.paced.first().copied() {
            if at > now.instant {
                break;
            }
            let work = self
                .miners
                .find_mut(id)
                .and_then(|miner| match miner.source {
                    Source::Nowhere => None,
                    Source::Common(link) => self.links.get(&link)?.work.clone(),
                    Source::Own(_) => miner.paced_work.take(),
                });
            self.paced.pop_first();
            self.unpace(id);
            if let Some(work) = work {
                self.give_work(id, &work, now);
            }
        }
    }

    /// Miners came or left: the upstream will be told.
    pub(super) fn hashrate_changed(&mut self, now: Now) {
        let earliest = (self.told_at + UPDATE_INTERVAL).max(now.instant);
        let at = self.update_at.map_or(earliest, |at| at.min(earliest));
        self.update_at = Some(at);
    }

    /// What the miners of each link can do together, and the least that one of them can be asked for.
    fn loads(&self, now: Now) -> BTreeMap<LinkId, Load> {
        let nominal = self.config.bridge.nominal_hashrate;
        let mut loads: BTreeMap<LinkId, Load> = BTreeMap::new();
        for (_, miner) in self.miners.iter() {
            let Some(link) = miner.link.filter(|_| miner.is_counted()) else {
                continue;
            };
            let load = loads.entry(link).or_default();
            load.hashrate += miner.hashrate(nominal, now);
            if miner.is_working() {
                load.max_target = load.max_target.min(miner.max_target());
            }
        }
        loads
    }

    /// Hashes a second that an upstream is to expect on the channel that is everyone's: those of its miners, or its part of
    /// all if it is not used yet.
    pub(super) fn expected_hashrate(&self, id: LinkId, now: Now) -> f32 {
        if self.used.contains(&id) {
            let load = self.loads(now).remove(&id);
            return load.unwrap_or_default().hashrate as f32;
        }
        let nominal = self.config.bridge.nominal_hashrate;
        let miners = self.miners.iter().filter(|(_, miner)| miner.is_counted());
        // Not a sum: that of nothing is -0, which upstreams may take for less than nothing.
        let all = miners.fold(0.0, |sum, (_, miner)| sum + miner.hashrate(nominal, now));
        (all * self.part_of(id)) as f32
    }

    /// The part of all work that an upstream is to have when it is used beside those that are.
    fn part_of(&self, id: LinkId) -> f64 {
        let config = |id: &LinkId| {
            let upstream = self.upstreams.get(self.links.get(id)?.upstream)?;
            Some(&upstream.config)
        };
        let Some(own) = config(&id) else {
            return 1.0;
        };
        let beside = self.used.iter().filter_map(config);
        let beside = beside.filter(|other| other.priority == own.priority && !other.is_drained);
        let sum: f64 = beside.map(|other| f64::from(other.weight)).sum();
        let weight = f64::from(own.weight);
        if sum + weight > 0.0 {
            weight / (sum + weight)
        } else {
            1.0
        }
    }

    pub(super) fn tell_hashrates(&mut self, now: Now) {
        self.told_at = now.instant;
        self.look_at_leaves(now);
        self.update_at = (self.miners.len() > 0).then(|| now.instant + REVIEW_INTERVAL);
        let mut loads = self.loads(now);
        for id in self.used.clone() {
            let load = loads.remove(&id).unwrap_or_default();
            self.tell_common_hashrate(id, &load, now);
        }
        for id in self.miners.ids() {
            self.tell_own_hashrate(id, now);
        }
    }

    fn tell_common_hashrate(&mut self, id: LinkId, load: &Load, now: Now) {
        let nominal_hash_rate = load.hashrate as f32;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_aggregated) else {
            return;
        };
        let Some(channel_id) = link.common_channel() else {
            return;
        };
        let Some(session) = &mut link.session else {
            return;
        };
        let limit = load.max_target;
        let max_target = max_target(session, channel_id, limit, link.told_max_target);
        let is_limit_new = max_target != link.told_max_target;
        if !is_limit_new && !is_news(link.told_hashrate, nominal_hash_rate) {
            return;
        }
        let terms = OpenTerms {
            nominal_hash_rate,
            max_target,
            min_extranonce_size: 0,
        };
        if session.update(channel_id, terms).is_ok() {
            link.told_hashrate = nominal_hash_rate;
            link.told_max_target = max_target;
            self.take_session_outputs(id, now);
        }
    }

    fn tell_own_hashrate(&mut self, id: MinerId, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let Source::Own(channel) = miner.source else {
            return;
        };
        let link = self.links.get_mut(&channel.link);
        let Some(session) = link.and_then(|link| link.session.as_mut()) else {
            return;
        };
        // Of one that claims nothing there is no news before its first shares.
        let claimed = miner.leaf().map(|leaf| leaf.nominal_hash_rate);
        let estimate = miner.estimate(now) as f32;
        let nominal_hash_rate = if estimate > 0.0 {
            estimate
        } else {
            claimed.unwrap_or(miner.told_hashrate)
        };
        let limit = miner.max_target();
        let max_target = max_target(session, channel.channel_id, limit, miner.told_max_target);
        let is_limit_new = max_target != miner.told_max_target;
        if !is_limit_new && !is_news(miner.told_hashrate, nominal_hash_rate) {
            return;
        }
        let terms = OpenTerms {
            nominal_hash_rate,
            max_target,
            min_extranonce_size: 0,
        };
        if session.update(channel.channel_id, terms).is_ok() {
            miner.told_hashrate = nominal_hash_rate;
            miner.told_max_target = max_target;
            self.take_session_outputs(channel.link, now);
        }
    }
}

/// The easiest target to tell an upstream of. Miners that take no difficulty below some would give away what is above the
/// channel's; else upstreams are told of no limit, for some refuse one that they would keep anyway.
fn max_target(session: &UpstreamSession, channel_id: u32, limit: Target, told: Target) -> Target {
    let channel = session.channels().channel(channel_id);
    let is_too_easy = channel.is_some_and(|channel| *channel.target() > limit);
    if is_too_easy || told != Target::MAX {
        limit
    } else {
        Target::MAX
    }
}

fn is_new_tip(former: Option<&ChannelWork>, work: &Work) -> bool {
    former.is_none_or(|former| former.work().tip() != work.tip())
}

fn is_news(told: f32, now: f32) -> bool {
    (told - now).abs() > told.abs() * UPDATE_RATIO
}
