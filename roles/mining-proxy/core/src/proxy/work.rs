//! Jobs on their way to miners, and the miners' hash rate on its way up.

use std::sync::Arc;
use std::time::Duration;

use roles_logic_sv2::channels::client::{OpenTerms, Work};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::job::Job;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::UpstreamSession;
use stratum_translation::bridge::ChannelWork;

use super::Proxy;
use crate::link::{LinkId, WORK_TIMEOUT};
use crate::miner::{ChannelRef, MinerId};

/// Miners whose jobs are due within so short a time get them together.
const PACE_STEP: Duration = Duration::from_millis(50);

/// Shortest time between two updates of the hash rate (MP-6).
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which the hash rate is looked at again even when no miner came or left.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// A hash rate that differs by less from what the upstream was told is not worth a message.
const UPDATE_RATIO: f32 = 0.1;

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
        let (Some(owner), Some(layout)) = (owner, link.layout) else {
            return;
        };
        let Some(work) = work else {
            // The tip has changed and the upstream named no job: miners go on until it does.
            return link.expect_work(channel_id, now.instant + WORK_TIMEOUT);
        };
        if let Some(channel) = link.channels.get_mut(&channel_id) {
            channel.work_due = None;
        }
        if let Err(reason) = self.check_payout(id, work.job()) {
            return self.fail(id, reason, now);
        }
        let name = self.next_job_name();
        let shown = layout.shown();
        let made = match owner {
            None => ChannelWork::shared(work, id.0, name, shown),
            Some(_) => ChannelWork::new(work, id.0, name, shown),
        };
        match (made, owner) {
            (Ok(_), None) if !self.is_aggregated() => {
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
        let upstream = self.config.upstreams.get(link.upstream);
        let Some(expected) = upstream.and_then(|upstream| upstream.expected_payout.as_ref()) else {
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
        // In this order: with the link ready, miners that enter get this work.
        let is_news = self.used == Some(id);
        self.ready(id, now);
        if !is_news {
            // It may be that shares of its jobs still come.
            let miners = self.miners.iter_mut();
            return miners.for_each(|(_, miner)| miner.bridge.set_former_work(&work));
        }
        self.orphaned_at = None;
        if is_new_tip {
            self.numbers.advance_tip();
            self.paced.clear();
            for miner in self.miners.ids() {
                match former {
                    Some(_) => self.give_work(miner, &work, now),
                    // The link waited for its first miner.
                    None => self.enter(miner, id, now),
                }
            }
        } else {
            self.pace_all(now);
        }
    }

    /// A miner's own channel has other work.
    fn own_work(&mut self, id: MinerId, channel: ChannelRef, work: &Arc<ChannelWork>, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        if miner.channel != Some(channel) {
            return miner.bridge.set_former_work(work);
        }
        if self.used == Some(channel.link) {
            self.orphaned_at = None;
        }
        let is_new_tip = miner.bridge.is_new_tip(work);
        let due = miner.refreshed_at + self.config.min_job_interval;
        if is_new_tip {
            self.numbers.advance_tip();
        }
        if is_new_tip || due <= now.instant {
            self.own.remove(&id);
            return self.give_work(id, work, now);
        }
        let due = self.pace(id, due);
        self.own.insert(id, (due, work.clone()));
    }

    /// Spreads a job that is no news of a block over all miners.
    fn pace_all(&mut self, now: Now) {
        let count = u32::try_from(self.miners.len()).unwrap_or(u32::MAX).max(1);
        let step = self.config.pace / count;
        let interval = self.config.min_job_interval;
        let miners = self.miners.iter().zip(0_u32..);
        let due: Vec<_> = miners
            .map(|((id, miner), index)| {
                let spread = now.instant + step.saturating_mul(index);
                (id, spread.max(miner.refreshed_at + interval))
            })
            .collect();
        // Those that wait for an earlier job get this one in its stead, at the time of that one.
        let waiting: std::collections::BTreeSet<_> = self.paced.iter().map(|(_, id)| *id).collect();
        for (id, due) in due {
            if !waiting.contains(&id) {
                let _ = self.pace(id, due);
            }
        }
        self.send_paced(now);
    }

    /// Gives the time that it is rounded to.
    fn pace(&mut self, id: MinerId, due: Instant) -> Instant {
        let step = u64::try_from(PACE_STEP.as_micros()).unwrap_or(1);
        let rounded = Instant::from_micros(due.as_micros() / step * step);
        self.paced.insert((rounded, id));
        rounded
    }

    pub(super) fn send_paced(&mut self, now: Now) {
        // A miner that is gone, or got its job otherwise, has nothing coming.
        while let Some((at, id)) = self.paced.first().copied() {
            if at > now.instant {
                break;
            }
            self.paced.pop_first();
            let work = if self.is_aggregated() {
                self.used
                    .and_then(|link| self.links.get(&link)?.work.clone())
            } else {
                let is_due = self.own.get(&id).is_some_and(|(due, _)| *due <= at);
                let own = is_due.then(|| self.own.remove(&id)).flatten();
                own.map(|(_, work)| work)
            };
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

    /// Hashes a second of all miners; of those not known yet what the operator thinks they have.
    pub(super) fn nominal_hashrate(&self, now: Now) -> f32 {
        let nominal = self.config.bridge.nominal_hashrate;
        let each = self.miners.iter().filter_map(|(_, miner)| {
            let is_there = miner.bridge.session().is_working() || miner.subscribe.is_some();
            let estimate = miner.bridge.hashrate(now);
            is_there.then_some(if estimate > 0.0 { estimate } else { nominal })
        });
        // Not a sum: that of nothing is -0, which upstreams may take for less than nothing.
        each.fold(0.0, |sum: f64, each| sum + each) as f32
    }

    pub(super) fn tell_hashrates(&mut self, now: Now) {
        self.told_at = now.instant;
        self.update_at = (self.miners.len() > 0).then(|| now.instant + REVIEW_INTERVAL);
        if self.is_aggregated() {
            self.tell_common_hashrate(now);
        } else {
            self.miners
                .ids()
                .into_iter()
                .for_each(|id| self.tell_own_hashrate(id, now));
        }
    }

    /// The easiest target that all miners can do with: the least that one of them can be asked for.
    fn common_max_target(&self) -> Target {
        let miners = self.miners.iter();
        let working = miners.filter(|(_, miner)| miner.bridge.session().is_working());
        let targets = working.map(|(_, miner)| miner.bridge.max_target());
        targets.min().unwrap_or(Target::MAX)
    }

    fn tell_common_hashrate(&mut self, now: Now) {
        let nominal_hash_rate = self.nominal_hashrate(now);
        let limit = self.common_max_target();
        let Some(id) = self.used else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(channel_id) = link.common_channel() else {
            return;
        };
        let Some(session) = &mut link.session else {
            return;
        };
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
        let Some(channel) = miner.channel else {
            return;
        };
        let link = self.links.get_mut(&channel.link);
        let Some(session) = link.and_then(|link| link.session.as_mut()) else {
            return;
        };
        let estimate = miner.bridge.hashrate(now) as f32;
        let nominal_hash_rate = if estimate > 0.0 {
            estimate
        } else {
            miner.told_hashrate
        };
        let limit = miner.bridge.max_target();
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
