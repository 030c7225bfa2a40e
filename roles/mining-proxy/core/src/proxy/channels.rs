//! The channels of upstreams: who gets one, and what becomes of it.

use std::collections::VecDeque;
use std::time::Duration;

use const_sv2::error_codes::open_mining_channel as codes;
use roles_logic_sv2::channels::client::OpenTerms;
use roles_logic_sv2::channels::{ChannelKind, PayoutId};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::target::Target;
use stratum_translation::layout::{EXTRANONCE_SIZES_ASKED, Layout};

use super::{Note, Proxy};
use crate::identity::channel_identity;
use crate::leaf::Leaf;
use crate::link::{Channel, LEAVE_GRACE, LinkId, MAX_OPENS_UNDER_WAY, WORK_TIMEOUT};
use crate::miner::{ChannelRef, MinerId, Request, Source};

/// A miner whose channel the upstream closes gets another one, unless it got its last one so shortly before.
const REOPEN_PAUSE: Duration = Duration::from_secs(10);

impl Proxy {
    /// The one channel of an upstream that all miners share.
    pub(super) fn open_common_channel(&mut self, id: LinkId, now: Now) {
        let nominal_hash_rate = self.expected_hashrate(id, now);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let upstream = self.upstreams.get(link.upstream);
        let identity = upstream.and_then(|upstream| upstream.config.user_identity.clone());
        let terms = OpenTerms {
            nominal_hash_rate,
            max_target: Target::MAX,
            min_extranonce_size: size_asked(link.size_index),
        };
        let identity = identity.unwrap_or_default().try_into().unwrap_or_default();
        let session = link.session.as_mut();
        let request = session.and_then(|session| session.open_extended(identity, terms, now).ok());
        if let Some(request_id) = request {
            link.waits_for_miners = false;
            link.told_hashrate = nominal_hash_rate;
            link.requests.insert(request_id, None);
            self.take_session_outputs(id, now);
        }
    }

    /// An upstream that opens no channel without miners opens one now.
    pub(super) fn open_for_first_miner(&mut self, now: Now) {
        let waiting = self.links.iter().filter(|(_, link)| link.waits_for_miners);
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.open_common_channel(id, now);
        }
    }

    /// Has one miner's channel opened for a moment, where miners have other work meanwhile: so that they do not leave it
    /// for an upstream that refuses them or whose work is wrong. `false` when nobody has anything to lose.
    pub(super) fn try_channel(&mut self, id: LinkId, now: Now) -> bool {
        let has_work = !self.used.is_empty() && !self.used.contains(&id);
        let miners = self.miners.iter().filter(|(_, miner)| miner.user.is_some());
        let miners: Vec<_> = miners.map(|(id, _)| id).collect();
        // Not always the same one: it may be that it alone is refused.
        let at = self.next_random() as usize % miners.len().max(1);
        let Some(miner) = miners.get(at).filter(|_| has_work) else {
            return false;
        };
        let request = self.request_channel(*miner, id, Target::MAX, now);
        if let Some((request_id, nominal_hash_rate)) = request
            && let Some(link) = self.links.get_mut(&id)
        {
            link.told_hashrate = nominal_hash_rate;
            link.requests.insert(request_id, None);
            self.take_session_outputs(id, now);
        }
        request.is_some()
    }

    /// A channel for one miner, unless it has or has asked for one on this link. One that it left a moment ago will do.
    pub(super) fn open_own_channel(&mut self, id: MinerId, link_id: LinkId, now: Now) {
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get_mut(&link_id))
        else {
            return;
        };
        let has_asked = miner.request.is_some_and(|request| request.link == link_id);
        if miner.user.is_none() || miner.has_channel_on(link_id) || has_asked {
            return;
        }
        let left = miner.left.filter(|left| left.link == link_id);
        if let Some(left) = left.filter(|left| link.reopen(left.channel_id, id)) {
            return self.return_to_channel(id, left, now);
        }
        miner.request = Some(Request {
            link: link_id,
            request_id: None,
            size_index: link.size_index,
            takes_any_target: false,
        });
        link.waiting.push_back(id);
        self.ask_for_channels(link_id, now);
    }

    /// Asks for the channels of those that wait for one, as far as their turn has come.
    fn ask_for_channels(&mut self, link_id: LinkId, now: Now) {
        while let Some(link) = self.links.get_mut(&link_id) {
            if link.requests.len() >= MAX_OPENS_UNDER_WAY {
                return;
            }
            let Some(id) = link.waiting.pop_front() else {
                return;
            };
            let request = self.miners.find(id).and_then(|miner| miner.request);
            let waits = |request: Request| request.link == link_id && request.request_id.is_none();
            if request.is_some_and(waits) {
                self.ask_for_channel(id, link_id, false, now);
            }
        }
    }

    fn ask_for_channel(&mut self, id: MinerId, link_id: LinkId, takes_any_target: bool, now: Now) {
        let miner = self.miners.find(id);
        let max_target = match miner.filter(|_| !takes_any_target) {
            Some(miner) => miner.max_target(),
            None => Target::MAX,
        };
        let request = self.request_channel(id, link_id, max_target, now);
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get_mut(&link_id))
        else {
            return;
        };
        miner.request = request.map(|(request_id, _)| Request {
            link: link_id,
            request_id: Some(request_id),
            size_index: link.size_index,
            takes_any_target,
        });
        if let Some((request_id, nominal_hash_rate)) = request {
            miner.told_hashrate = nominal_hash_rate;
            miner.told_max_target = max_target;
            link.requests.insert(request_id, Some(id));
            self.take_session_outputs(link_id, now);
        } else {
            self.refuse_channel(id, "no further channel can be asked for", now);
        }
    }

    /// Asks for a channel under a miner's name; gives the number of the request, and the hash rate it speaks of.
    fn request_channel(
        &mut self,
        id: MinerId,
        link_id: LinkId,
        max_target: Target,
        now: Now,
    ) -> Option<(u32, f32)> {
        let identity = self.identity(id, link_id);
        let miner = self.miners.find(id)?;
        let link = self.links.get_mut(&link_id)?;
        let nominal = self.config.bridge.nominal_hashrate;
        let nominal_hash_rate = miner.hashrate(nominal, now) as f32;
        let terms = OpenTerms {
            nominal_hash_rate,
            max_target,
            min_extranonce_size: size_asked(link.size_index),
        };
        let identity = identity.try_into().unwrap_or_default();
        let session = link.session.as_mut()?;
        let upstream = self.upstreams.get(link.upstream);
        // Whom a job pays is seen on an extended channel only.
        let is_checked = upstream.is_some_and(|at| at.config.expected_payout.is_some());
        let needs_extended = is_checked || session.requires_extended_channels();
        let is_standard = miner.leaf().is_some_and(Leaf::is_standard);
        let request_id = if is_standard && !needs_extended {
            session.open_standard(identity, terms, now).ok()?
        } else {
            session.open_extended(identity, terms, now).ok()?
        };
        Some((request_id, nominal_hash_rate))
    }

    /// The name that a miner's channel has on a link.
    fn identity(&self, id: MinerId, link_id: LinkId) -> String {
        let upstream = self.links.get(&link_id).map(|link| link.upstream);
        let upstream = upstream.and_then(|at| self.upstreams.get(at));
        let base = upstream.and_then(|upstream| upstream.config.user_identity.as_deref());
        let user = self.miners.find(id).and_then(|miner| miner.user.as_deref());
        channel_identity(base, user.unwrap_or_default())
    }

    pub(super) fn opened(&mut self, link_id: LinkId, request_id: u32, channel_id: u32, now: Now) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let Some(owner) = link.requests.remove(&request_id) else {
            return;
        };
        self.next_payout = self.next_payout.wrapping_add(1);
        let payout = PayoutId(self.next_payout);
        link.channels.insert(channel_id, Channel::of(owner, payout));
        link.expect_work(channel_id, now.instant + WORK_TIMEOUT);
        let session = link.session.as_ref();
        let opened = session.and_then(|session| session.channels().channel(channel_id));
        let layout = opened.and_then(|channel| match channel.kind() {
            ChannelKind::Extended => {
                Layout::of_channel(channel.extranonce_size(), self.config.extranonce2_size)
            }
            // Nobody needs room on it.
            ChannelKind::Standard => link.layout,
        });
        let Some(layout) = layout else {
            let reason = "the upstream grants too few bytes of extranonce".to_owned();
            return self.fail(link_id, reason, now);
        };
        link.layout = Some(layout);
        if let Some(id) = owner {
            let channel = ChannelRef {
                link: link_id,
                channel_id,
            };
            self.own_channel_opened(id, request_id, channel, layout, now);
            self.ask_for_channels(link_id, now);
        }
    }

    fn own_channel_opened(
        &mut self,
        id: MinerId,
        request_id: u32,
        channel: ChannelRef,
        layout: Layout,
        now: Now,
    ) {
        let is_asked_for = |request: Request| {
            request.link == channel.link && request.request_id == Some(request_id)
        };
        let miner = self.miners.find_mut(id);
        let Some(miner) = miner.filter(|miner| miner.request.is_some_and(is_asked_for)) else {
            // The miner has left, or works for another upstream by now.
            return self.close_channel(channel, "no longer needed", now);
        };
        miner.request = None;
        miner.refusals = 0;
        let shown = miner.shown();
        self.set_source(id, Source::Own(channel), now);
        if self.miners.leaf(id).is_some() {
            self.leaf_fits(id, layout, now);
        } else if shown.is_some_and(|shown| shown != layout.shown()) {
            self.fit_extranonce(id, layout, now);
        }
        self.answer_names(id, true, now);
    }

    pub(super) fn open_refused(&mut self, link_id: LinkId, request_id: u32, code: &str, now: Now) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let Some(owner) = link.requests.remove(&request_id) else {
            return;
        };
        let is_size = matches!(
            code,
            codes::MIN_EXTRANONCE_SIZE_TOO_LARGE | codes::UNSUPPORTED_MIN_EXTRANONCE_SIZE
        );
        match owner {
            None if is_size && link.size_index + 1 < EXTRANONCE_SIZES_ASKED.len() => {
                link.size_index += 1;
                if link.is_aggregated {
                    self.open_common_channel(link_id, now);
                } else if !self.try_channel(link_id, now) {
                    self.ready(link_id, now);
                }
            }
            // It does not take a channel without hash rate; there is none before a miner works here.
            None if link.told_hashrate == 0.0 => {
                link.waits_for_miners = true;
                self.ready(link_id, now);
                if self.expected_hashrate(link_id, now) > 0.0 {
                    self.open_common_channel(link_id, now);
                }
            }
            None => self.fail(
                link_id,
                format!("the upstream opens no channel: {code}"),
                now,
            ),
            Some(id) => {
                self.own_open_refused(id, link_id, request_id, code, is_size, now);
                self.ask_for_channels(link_id, now);
            }
        }
    }

    fn own_open_refused(
        &mut self,
        id: MinerId,
        link_id: LinkId,
        request_id: u32,
        code: &str,
        is_size: bool,
        now: Now,
    ) {
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get_mut(&link_id))
        else {
            return;
        };
        let is_this =
            |request: &Request| request.link == link_id && request.request_id == Some(request_id);
        let Some(request) = miner.request.filter(is_this) else {
            return;
        };
        miner.request = None;
        let has_limit = miner.told_max_target != Target::MAX;
        let next = request.size_index + 1;
        if is_size && next < EXTRANONCE_SIZES_ASKED.len() {
            // All others ask for as little from now on.
            link.size_index = link.size_index.max(next);
            self.ask_for_channel(id, link_id, request.takes_any_target, now);
        } else if has_limit {
            // A server may refuse a limit (MP-5); it is then told of it once there is a channel.
            self.ask_for_channel(id, link_id, true, now);
        } else {
            self.own_channel_refused(id, link_id, code, now);
        }
    }

    /// An upstream that opens nobody's channel is left for another; where others mine, it is this miner that is refused,
    /// and goes to another one that is used.
    fn own_channel_refused(&mut self, id: MinerId, link_id: LinkId, code: &str, now: Now) {
        let others = self.config.upstreams.len();
        let identity = self.identity(id, link_id);
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get(&link_id)) else {
            return;
        };
        miner.refusals += 1;
        let upstream = link.upstream;
        let is_often = miner.refusals as usize > others;
        let is_everyones = link.channels.is_empty() && !is_often && others > 1;
        self.note(Note::NoChannel {
            upstream,
            identity,
            code: code.to_owned(),
        });
        if is_everyones {
            self.fail(
                link_id,
                format!("the upstream opens no channel: {code}"),
                now,
            );
        } else if !self.go_elsewhere(id, link_id, now) {
            self.refuse_channel(id, code, now);
        }
    }

    /// A miner that waits for its first channel hears no; one that mined is sent away, to come again.
    fn refuse_channel(&mut self, id: MinerId, code: &str, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        miner.refusals = 0;
        miner.count_code(code);
        if miner.leaf().is_some() {
            return self.refuse_leaf(id, code, now);
        }
        if miner.is_working() {
            self.dismiss(id, now);
        }
        self.answer_names(id, false, now);
    }

    pub(super) fn channel_closed(
        &mut self,
        link_id: LinkId,
        channel_id: u32,
        reason: &str,
        now: Now,
    ) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let upstream = link.upstream;
        let Some(channel) = link.channels.remove(&channel_id) else {
            return;
        };
        let owner = channel.owner;
        let is_retired = channel.is_retired;
        channel
            .lost()
            .for_each(|sent| self.lost(Some(upstream), sent, now));
        if is_retired {
            return;
        }
        let Some(id) = owner else {
            return self.fail(
                link_id,
                format!("the upstream closed the channel: {reason}"),
                now,
            );
        };
        let closed = ChannelRef {
            link: link_id,
            channel_id,
        };
        self.own_channel_closed(id, closed, now);
    }

    fn own_channel_closed(&mut self, id: MinerId, closed: ChannelRef, now: Now) {
        let miner = self.miners.find_mut(id);
        let Some(miner) = miner.filter(|miner| miner.source == Source::Own(closed)) else {
            return;
        };
        miner.source = Source::Nowhere;
        let reopened_at = miner.reopened_at.replace(now.instant);
        let is_soon = reopened_at.is_some_and(|at| now.instant - at < REOPEN_PAUSE);
        let link = miner.link;
        self.cut_off(id, now);
        self.unpace(id);
        match link {
            Some(link) if self.is_aggregated(link) => self.enter(id, link, now),
            Some(link) if !is_soon => self.open_own_channel(id, link, now),
            Some(_) => self.refuse_channel(id, "channel-closed", now),
            None => {}
        }
    }

    /// Where a miner's work comes from, from now on. The channel that it had elsewhere stays for a while: for the shares that
    /// are on their way, and because it may come back.
    pub(super) fn set_source(&mut self, id: MinerId, source: Source, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let former = std::mem::replace(&mut miner.source, source);
        if former == source {
            return;
        }
        self.unpace(id);
        let Source::Own(channel) = former else {
            return;
        };
        if source.link() == Some(channel.link) {
            return self.retire_channel(channel, now);
        }
        if let Some(miner) = self.miners.find_mut(id) {
            miner.left = Some(channel);
        }
        if let Some(link) = self.links.get_mut(&channel.link) {
            link.close_later(channel.channel_id, now.instant + LEAVE_GRACE);
        }
    }

    /// A miner comes back to a channel of its own.
    fn return_to_channel(&mut self, id: MinerId, channel: ChannelRef, now: Now) {
        self.set_source(id, Source::Own(channel), now);
        if let Some(miner) = self.miners.find_mut(id) {
            // What was told of it there is another matter than what was told elsewhere meanwhile.
            miner.told_hashrate = 0.0;
            miner.told_max_target = Target::MAX;
            miner.refusals = 0;
        }
        self.work_changed(channel.link, channel.channel_id, now);
        self.answer_names(id, true, now);
    }

    /// A channel's owner is gone. Shares of its that were answered afterwards count all the same.
    pub(super) fn retire_channel(&mut self, channel: ChannelRef, now: Now) {
        let Some(link) = self.links.get_mut(&channel.link) else {
            return;
        };
        let Some(retired) = link.channels.get_mut(&channel.channel_id) else {
            return;
        };
        if retired.in_flight() == 0 {
            return self.close_channel(channel, "miner disconnected", now);
        }
        retired.is_retired = true;
        link.close_later(channel.channel_id, now.instant + LEAVE_GRACE);
    }

    /// The same for a channel that its owner had left before, unless it is another's by now.
    pub(super) fn retire_left(&mut self, channel: ChannelRef, owner: MinerId, now: Now) {
        let link = self.links.get_mut(&channel.link);
        if link.is_some_and(|link| link.reopen(channel.channel_id, owner)) {
            self.retire_channel(channel, now);
        }
    }

    /// Tells an upstream that a channel is free.
    pub(super) fn close_channel(&mut self, channel: ChannelRef, reason: &str, now: Now) {
        let Some(link) = self.links.get_mut(&channel.link) else {
            return;
        };
        let upstream = link.upstream;
        let closed = link.channels.remove(&channel.channel_id);
        if let Some(session) = &mut link.session {
            let reason = reason.to_owned().try_into().unwrap_or_default();
            let _ = session.close_channel(channel.channel_id, reason);
        }
        self.take_session_outputs(channel.link, now);
        if let Some(closed) = closed {
            closed
                .lost()
                .for_each(|sent| self.lost(Some(upstream), sent, now));
        }
    }

    /// Closes channels that nobody mines on any more, and that have waited long enough for answers.
    pub(super) fn close_retired(&mut self, link: LinkId, now: Now) {
        while let Some(at) = self.links.get_mut(&link) {
            let due = pop_due(&mut at.retired, now);
            let Some((due, channel_id)) = due else {
                return;
            };
            let channel = at.channels.get(&channel_id);
            let Some(channel) = channel.filter(|channel| channel.closes_at == Some(due)) else {
                continue;
            };
            let reason = match channel.is_retired {
                true => "miner disconnected",
                false => "no longer used",
            };
            self.close_channel(ChannelRef { link, channel_id }, reason, now);
        }
    }

    /// Looks for channels that have got no work in time.
    pub(super) fn check_work(&mut self, id: LinkId, now: Now) {
        while let Some(link) = self.links.get_mut(&id) {
            let due = pop_due(&mut link.work_deadlines, now);
            let Some((due, channel_id)) = due else {
                return;
            };
            let channel = link.channels.get(&channel_id);
            let Some(channel) = channel.filter(|channel| channel.work_due == Some(due)) else {
                continue;
            };
            let mut channels = link.channels.values();
            let is_alone = channels.any(|channel| channel.work_due.is_none());
            match channel.owner.filter(|_| is_alone) {
                Some(miner) => self.give_up_channel(
                    miner,
                    ChannelRef {
                        link: id,
                        channel_id,
                    },
                    now,
                ),
                None => self.fail(id, "the upstream gave no work in time".to_owned(), now),
            }
        }
    }

    /// A channel got no work while others did.
    fn give_up_channel(&mut self, id: MinerId, channel: ChannelRef, now: Now) {
        self.close_channel(channel, "no work", now);
        let miner = self.miners.find_mut(id);
        if let Some(miner) = miner.filter(|miner| miner.source == Source::Own(channel)) {
            miner.source = Source::Nowhere;
            self.cut_off(id, now);
            self.unpace(id);
            if !self.go_elsewhere(id, channel.link, now) {
                self.refuse_channel(id, "no-work", now);
            }
        }
    }
}

/// The channel whose time has come, and which time that was.
fn pop_due(deadlines: &mut VecDeque<(Instant, u32)>, now: Now) -> Option<(Instant, u32)> {
    let (due, _) = deadlines.front()?;
    if *due <= now.instant {
        deadlines.pop_front()
    } else {
        None
    }
}

/// Bytes of extranonce to ask for.
fn size_asked(index: usize) -> u16 {
    let size = EXTRANONCE_SIZES_ASKED.get(index);
    size.copied().unwrap_or_default()
}
