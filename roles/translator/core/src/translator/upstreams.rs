//! The upstreams' side: connections, their channels, and the move from one to another.

use std::time::Duration;

use roles_logic_sv2::channels::client::{ClientEvent, OpenTerms};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::setup::Endpoint;
use roles_logic_sv2::target::Target;
use roles_logic_sv2::upstream::{
    UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms, words,
};

use const_sv2::EXTENSION_WORKER_IDENTITY;
use const_sv2::error_codes::open_mining_channel as codes;

use super::{Connect, Note, Output, Translator};
use crate::identity::channel_identity;
use crate::link::{Channel, LEAVE_GRACE, Link, LinkId, LinkOutput, WORK_TIMEOUT};
use crate::miner::{ChannelRef, MinerId, Request};
use stratum_translation::layout::{EXTRANONCE_SIZES_ASKED, Layout};

/// A miner whose channel the upstream closes gets another one, unless it got its last one so shortly before.
const REOPEN_PAUSE: Duration = Duration::from_secs(10);

impl Translator {
    pub(super) fn try_upstream(&mut self, index: usize, now: Now) {
        // What it asked to be replaced by may be under way already.
        let pending = self
            .links
            .iter()
            .find(|(_, link)| link.upstream == index && link.replaces.is_some());
        if let Some((id, is_ready)) = pending.map(|(id, link)| (*id, link.is_ready)) {
            if let Some(link) = self.links.get_mut(&id) {
                link.replaces = None;
            }
            self.set_current(index, Some(id));
            if is_ready {
                self.failover.ready(index, now.instant);
            }
            return;
        }
        let link = self.connect(index, None);
        self.set_current(index, Some(link));
    }

    fn connect(&mut self, upstream: usize, replaces: Option<LinkId>) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link, Link::new(upstream, replaces));
        // A place that an upstream named counts once: if nobody is there, it is found as configured.
        let moved = self.moved.get_mut(upstream).and_then(Option::take);
        let configured = self
            .config
            .upstreams
            .get(upstream)
            .map(|upstream| (upstream.host.clone(), upstream.port));
        let (host, port) = moved.or(configured).unwrap_or_default();
        self.outputs.push_back(Output::Connect(Connect {
            link,
            upstream,
            host,
            port,
        }));
        link
    }

    fn set_current(&mut self, upstream: usize, link: Option<LinkId>) {
        if let Some(current) = self.current.get_mut(upstream) {
            *current = link;
        }
    }

    /// A connection is made, and secured.
    pub fn link_connected(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(upstream) = self.config.upstreams.get(link.upstream) else {
            return;
        };
        let mut extensions = Vec::new();
        if self.config.names_workers {
            extensions.push(EXTENSION_WORKER_IDENTITY);
        }
        let terms = UpstreamTerms {
            endpoint: Endpoint {
                host: upstream.host.clone().try_into().unwrap_or_default(),
                port: upstream.port,
                ..self.config.about.clone()
            },
            flags: 0,
            extensions,
            answer_timeout: self.config.answer_timeout,
        };
        link.session = Some(UpstreamSession::new(terms, now));
        self.take_session_outputs(id, now);
    }

    /// A connection could not be made, or has ended.
    pub fn link_closed(&mut self, id: LinkId, reason: &str, now: Now) {
        self.fail(id, reason.to_owned(), now);
    }

    /// Takes a frame of an upstream; `extension_type` includes the channel bit.
    pub fn handle_link_frame(
        &mut self,
        id: LinkId,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        now: Now,
    ) {
        if let Some(session) = self.session(id) {
            session.handle_frame(extension_type, msg_type, payload, now);
            self.take_session_outputs(id, now);
        }
    }

    /// When [`Self::handle_link_timeout`] is due.
    pub fn poll_link_timeout(&self, id: LinkId) -> Option<Instant> {
        self.links.get(&id)?.session.as_ref()?.poll_timeout()
    }

    /// Time passed for a link.
    pub fn handle_link_timeout(&mut self, id: LinkId, now: Now) {
        if let Some(session) = self.session(id) {
            session.handle_timeout(now);
            self.take_session_outputs(id, now);
        }
    }

    fn session(&mut self, id: LinkId) -> Option<&mut UpstreamSession> {
        self.links.get_mut(&id)?.session.as_mut()
    }

    /// Carries out what a session asks for.
    pub(super) fn take_session_outputs(&mut self, id: LinkId, now: Now) {
        while let Some(output) = self.session(id).and_then(UpstreamSession::poll_output) {
            match output {
                UpstreamOutput::Send(message) => self.link_output(id, LinkOutput::Send(message)),
                UpstreamOutput::Share(share) => self.link_output(id, LinkOutput::Share(share)),
                // There are no standard channels.
                UpstreamOutput::StandardShare(_) => {}
                UpstreamOutput::Event(event) => self.handle_upstream(id, event, now),
                UpstreamOutput::Close(end) => self.fail(id, end.to_string(), now),
            }
        }
    }

    pub(super) fn link_output(&mut self, id: LinkId, output: LinkOutput) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outputs.push_back(output);
            self.wake_link(id);
        }
    }

    fn handle_upstream(&mut self, id: LinkId, event: UpstreamEvent, now: Now) {
        match event {
            UpstreamEvent::Ready if self.is_aggregated() => self.open_common_channel(id, now),
            UpstreamEvent::Ready => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.layout = Some(Layout::usual(self.config.extranonce2_size));
                }
                self.ready(id, now);
            }
            UpstreamEvent::Reconnect { host, port } => self.move_elsewhere(id, host, port),
            UpstreamEvent::Channel(event) => self.handle_channel(id, event, now),
        }
    }

    fn handle_channel(&mut self, id: LinkId, event: ClientEvent, now: Now) {
        match event {
            ClientEvent::Opened {
                request_id,
                channel_id,
            } => self.opened(id, request_id, channel_id, now),
            ClientEvent::OpenRefused {
                request_id,
                error_code,
            } => self.open_refused(id, request_id, &words(&error_code), now),
            ClientEvent::WorkChanged { channel_id } => self.work_changed(id, channel_id, now),
            ClientEvent::Acknowledged(message) => self.acknowledged(id, &message),
            ClientEvent::Rejected {
                channel_id,
                sequence_number,
                error_code,
            } => self.rejected(id, channel_id, sequence_number, &error_code),
            ClientEvent::Closed {
                channel_id,
                reason_code,
            } => self.channel_closed(id, channel_id, &words(&reason_code), now),
            // The target stays as it was; the next hash rate is told all the same.
            ClientEvent::UpdateRefused { .. } | ClientEvent::Send(_) => {}
        }
    }

    /// The one channel of an upstream that all miners share.
    pub(super) fn open_common_channel(&mut self, id: LinkId, now: Now) {
        let nominal_hash_rate = self.nominal_hashrate(now);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let upstream = self.config.upstreams.get(link.upstream);
        let identity = upstream.and_then(|upstream| upstream.user_identity.clone());
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

    /// A channel for one miner, unless it has or has asked for one on this link.
    pub(super) fn open_own_channel(&mut self, id: MinerId, link_id: LinkId, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let has_channel = miner.channel.is_some_and(|channel| channel.link == link_id);
        let has_asked = miner.request.is_some_and(|request| request.link == link_id);
        if miner.user.is_none() || has_channel || has_asked {
            return;
        }
        self.ask_for_channel(id, link_id, now);
    }

    fn ask_for_channel(&mut self, id: MinerId, link_id: LinkId, now: Now) {
        let nominal = self.config.bridge.nominal_hashrate;
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get_mut(&link_id))
        else {
            return;
        };
        let estimate = miner.bridge.hashrate(now);
        let nominal_hash_rate = if estimate > 0.0 { estimate } else { nominal } as f32;
        let upstream = self.config.upstreams.get(link.upstream);
        let base = upstream.and_then(|upstream| upstream.user_identity.as_deref());
        let identity = channel_identity(base, miner.user.as_deref().unwrap_or_default());
        let terms = OpenTerms {
            nominal_hash_rate,
            max_target: miner.bridge.max_target(),
            min_extranonce_size: size_asked(link.size_index),
        };
        let identity = identity.try_into().unwrap_or_default();
        let session = link.session.as_mut();
        let request = session.and_then(|session| session.open_extended(identity, terms, now).ok());
        if let Some(request_id) = request {
            miner.told_hashrate = nominal_hash_rate;
            miner.request = Some(Request {
                link: link_id,
                request_id,
                size_index: link.size_index,
            });
            link.requests.insert(request_id, Some(id));
            self.take_session_outputs(link_id, now);
        } else {
            self.refuse_channel(id, "no further channel can be asked for", now);
        }
    }

    fn opened(&mut self, link_id: LinkId, request_id: u32, channel_id: u32, now: Now) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let Some(owner) = link.requests.remove(&request_id) else {
            return;
        };
        link.channels.insert(channel_id, Channel::of(owner));
        let size = link.session.as_ref().and_then(|session| {
            let channel = session.channels().channel(channel_id)?;
            Some(channel.extranonce_size())
        });
        let layout = size.and_then(|size| Layout::of_channel(size, self.config.extranonce2_size));
        let Some(layout) = layout else {
            let reason = "the upstream grants too few bytes of extranonce".to_owned();
            return self.fail(link_id, reason, now);
        };
        link.layout = Some(layout);
        match owner {
            None => link.work_deadline = Some(now.instant + WORK_TIMEOUT),
            Some(id) => self.own_channel_opened(id, link_id, channel_id, layout, now),
        }
    }

    fn own_channel_opened(
        &mut self,
        id: MinerId,
        link_id: LinkId,
        channel_id: u32,
        layout: Layout,
        now: Now,
    ) {
        let channel = ChannelRef {
            link: link_id,
            channel_id,
        };
        let Some(miner) = self.miners.find_mut(id) else {
            return self.close_channel(channel, "miner disconnected");
        };
        miner.request = None;
        miner.refusals = 0;
        let former = miner.channel.replace(channel);
        let grant = miner.bridge.session().granted();
        let shown = grant.map(|grant| grant.extranonce1.len() + grant.extranonce2_size);
        if let Some(former) = former {
            self.close_channel(former, "miner uses another upstream");
        }
        if shown.is_some_and(|shown| shown != layout.shown()) {
            self.fit_extranonce(id, layout, now);
        }
        self.answer_names(id, true, now);
    }

    fn open_refused(&mut self, link_id: LinkId, request_id: u32, code: &str, now: Now) {
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
                self.open_common_channel(link_id, now);
            }
            // It does not take a channel without hash rate; there is none before there is a miner.
            None if link.told_hashrate == 0.0 => {
                link.waits_for_miners = true;
                self.ready(link_id, now);
                if self.miners.len() > 0 {
                    self.open_common_channel(link_id, now);
                }
            }
            None => self.fail(
                link_id,
                format!("the upstream opens no channel: {code}"),
                now,
            ),
            Some(id) => {
                let request = self
                    .miners
                    .find_mut(id)
                    .and_then(|miner| miner.request.take());
                let Some(request) = request.filter(|request| request.request_id == request_id)
                else {
                    return;
                };
                let next = request.size_index + 1;
                if is_size && next < EXTRANONCE_SIZES_ASKED.len() {
                    // All others ask for as little from now on.
                    link.size_index = link.size_index.max(next);
                    self.ask_for_channel(id, link_id, now);
                } else {
                    self.own_channel_refused(id, link_id, code, now);
                }
            }
        }
    }

    /// An upstream that opens nobody's channel is left for another; where others mine, it is this miner that is refused.
    fn own_channel_refused(&mut self, id: MinerId, link_id: LinkId, code: &str, now: Now) {
        let others = self.upstreams.len();
        let (Some(miner), Some(link)) = (self.miners.find_mut(id), self.links.get(&link_id)) else {
            return;
        };
        miner.refusals += 1;
        let upstream = link.upstream;
        let is_everyones = link.channels.is_empty() && miner.refusals <= others && others > 1;
        let base = self.config.upstreams.get(upstream);
        let base = base.and_then(|upstream| upstream.user_identity.as_deref());
        let identity = channel_identity(base, miner.user.as_deref().unwrap_or_default());
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
        } else {
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
        if miner.names.is_empty() {
            miner.bridge.reconnect(now);
            self.pump(id, now);
        } else {
            self.answer_names(id, false, now);
        }
    }

    fn channel_closed(&mut self, link_id: LinkId, channel_id: u32, reason: &str, now: Now) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let upstream = link.upstream;
        let Some(channel) = link.channels.remove(&channel_id) else {
            return;
        };
        let owner = channel.owner;
        channel.lost().for_each(|id| self.lost(Some(upstream), id));
        let Some(id) = owner else {
            return self.fail(
                link_id,
                format!("the upstream closed the channel: {reason}"),
                now,
            );
        };
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        miner.channel = None;
        miner.bridge.cut_off();
        let reopened_at = miner.reopened_at.replace(now.instant);
        let is_soon = reopened_at.is_some_and(|at| now.instant - at < REOPEN_PAUSE);
        match self.used {
            Some(used) if !is_soon => self.open_own_channel(id, used, now),
            Some(_) => self.refuse_channel(id, "channel-closed", now),
            None => {}
        }
    }

    /// Tells an upstream that a channel is free.
    pub(super) fn close_channel(&mut self, channel: ChannelRef, reason: &str) {
        let Some(link) = self.links.get_mut(&channel.link) else {
            return;
        };
        let upstream = link.upstream;
        let closed = link.channels.remove(&channel.channel_id);
        if let Some(session) = &mut link.session {
            let reason = reason.to_owned().try_into().unwrap_or_default();
            let _ = session.close_channel(channel.channel_id, reason);
        }
        // Nothing but the message comes of it.
        while let Some(UpstreamOutput::Send(message)) = self
            .session(channel.link)
            .and_then(UpstreamSession::poll_output)
        {
            self.link_output(channel.link, LinkOutput::Send(message));
        }
        if let Some(closed) = closed {
            closed.lost().for_each(|id| self.lost(Some(upstream), id));
        }
    }

    /// An upstream could be used now.
    pub(super) fn ready(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut link.is_ready, true) {
            return;
        }
        let upstream = link.upstream;
        match link.replaces.take() {
            Some(former) if self.current.get(upstream) == Some(&Some(former)) => {
                self.set_current(upstream, Some(id));
                if self.used == Some(former) {
                    self.use_link(Some(id), now);
                }
                self.leave(former, now);
            }
            _ => {
                self.failover.ready(upstream, now.instant);
                self.follow_failover(now);
            }
        }
    }

    /// The upstream wants another connection. The present one goes on until that one is ready.
    fn move_elsewhere(&mut self, id: LinkId, host: String, port: u16) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let upstream = link.upstream;
        let mut links = self.links.values();
        let is_under_way = links.any(|other| other.replaces == Some(id));
        if is_under_way || link.leaves_at.is_some() || self.is_draining {
            return;
        }
        let Some(configured) = self.config.upstreams.get(upstream) else {
            return;
        };
        let host = Some(host).filter(|host| !host.is_empty());
        let port = Some(port)
            .filter(|port| *port != 0)
            .unwrap_or(configured.port);
        let host = host.unwrap_or_else(|| configured.host.clone());
        if let Some(moved) = self.moved.get_mut(upstream) {
            *moved = Some((host, port));
        }
        self.note(Note::Reconnects { upstream });
        self.connect(upstream, Some(id));
    }

    /// Mines on another link from now on, or on none.
    pub(super) fn use_link(&mut self, link: Option<LinkId>, now: Now) {
        self.used = link;
        self.paced.clear();
        match link {
            Some(link) => {
                self.orphaned_at = None;
                for id in self.miners.ids() {
                    self.enter(id, link, now);
                }
                self.hashrate_changed(now);
            }
            None => self.orphaned_at = Some(now.instant),
        }
    }

    /// Lets go of a link, once its last shares are answered.
    pub(super) fn leave(&mut self, id: LinkId, now: Now) {
        if let Some(link) = self.links.get_mut(&id) {
            link.leaves_at.get_or_insert(now.instant + LEAVE_GRACE);
            link.work_deadline = None;
        }
    }

    /// All miners are gone, and the program ends.
    pub(super) fn leave_all(&mut self, now: Now) {
        let ids: Vec<_> = self.links.keys().copied().collect();
        for id in ids {
            self.leave(id, now);
        }
        self.handle_link_deadlines(now);
    }

    pub(super) fn handle_link_deadlines(&mut self, now: Now) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        let is_left = |link: &Link| {
            let is_unused = link
                .channels
                .values()
                .all(|channel| channel.owner.is_none());
            link.leaves_at.is_some() && (due(link.leaves_at) || is_unused && link.in_flight() == 0)
        };
        let links = self.links.iter();
        let left: Vec<_> = links
            .filter(|(_, link)| is_left(link))
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            self.close_link(id, now);
        }
        let links = self.links.iter();
        let workless = links.filter(|(_, link)| due(link.work_deadline));
        let workless: Vec<_> = workless.map(|(id, _)| *id).collect();
        for id in workless {
            self.fail(id, "the upstream gave no work in time".to_owned(), now);
        }
    }

    /// Ends a link that nobody uses, in good order.
    fn close_link(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let channels: Vec<_> = link.channels.keys().copied().collect();
        for channel_id in channels {
            let channel = ChannelRef {
                link: id,
                channel_id,
            };
            self.close_channel(channel, "no longer used");
        }
        self.forget(id, now);
    }

    /// An upstream is of no use, or its connection has ended.
    pub(super) fn fail(&mut self, id: LinkId, reason: String, now: Now) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let upstream = link.upstream;
        let is_current = self.current.get(upstream) == Some(&Some(id));
        let is_leaving = link.leaves_at.is_some();
        self.forget(id, now);
        if is_leaving {
            return;
        }
        if let Some(snapshot) = self.upstreams.get_mut(upstream) {
            snapshot.failures += 1;
            snapshot.last_failure = Some(reason.clone());
        }
        self.note(Note::Failed { upstream, reason });
        if is_current {
            self.set_current(upstream, None);
            let random = self.next_random();
            self.failover.failed(upstream, random, now.instant);
            self.follow_failover(now);
        }
    }

    /// Takes a link out; what waited on it is lost.
    fn forget(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        // The shell hears of it, and finds that nothing is left to do.
        self.wakes.push_back(super::Wake::Link(id));
        for channel in link.channels.into_values() {
            channel
                .lost()
                .for_each(|miner| self.lost(Some(link.upstream), miner));
        }
        let is_used = self.used == Some(id);
        for (_, miner) in self.miners.iter_mut() {
            miner.bridge.forget_source(id.0);
            let mined_here = match miner.channel {
                Some(channel) => channel.link == id,
                None => is_used,
            };
            if mined_here {
                miner.bridge.cut_off();
                miner.channel = None;
            }
            if miner.request.is_some_and(|request| request.link == id) {
                miner.request = None;
            }
        }
        self.hashrate_changed(now);
    }
}

/// Bytes of extranonce to ask for.
fn size_asked(index: usize) -> u16 {
    let size = EXTRANONCE_SIZES_ASKED.get(index);
    size.copied().unwrap_or_default()
}
