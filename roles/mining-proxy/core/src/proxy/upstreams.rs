//! The upstreams' side: connections, and the move from one to another.

use roles_logic_sv2::channels::client::ClientEvent;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::setup::Endpoint;
use roles_logic_sv2::upstream::{
    UpstreamEnd, UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms, words,
};

use const_sv2::EXTENSION_WORKER_IDENTITY;

use super::{Connect, Note, Output, Proxy, Wake};
use crate::link::{LEAVE_GRACE, LEAVE_STEP, Link, LinkId, LinkOutput, MAX_LEAVE};
use crate::miner::{ChannelRef, Face, MinerId, Source};
use crate::upstream::Upstream;
use stratum_translation::layout::Layout;

impl Proxy {
    pub(super) fn try_upstream(&mut self, index: usize, now: Now) {
        // What it asked to be replaced by may be under way already.
        let pending = self
            .links
            .iter_mut()
            .find(|(_, link)| link.upstream == index && link.replaces.is_some());
        if let Some((id, link)) = pending {
            link.replaces = None;
            let (id, is_ready) = (*id, link.is_ready);
            self.set_current(index, Some(id));
            if is_ready {
                self.failover.ready(index, now.instant);
            }
            return;
        }
        let Some(upstream) = self.upstreams.get(index) else {
            return;
        };
        let place = (upstream.config.host.clone(), upstream.config.port);
        let link = self.connect(index, place, None);
        self.set_current(index, Some(link));
    }

    fn connect(
        &mut self,
        upstream: usize,
        place: (String, u16),
        replaces: Option<LinkId>,
    ) -> LinkId {
        let link = self.next_link;
        self.next_link = link.next();
        let (host, port) = place.clone();
        let at = self.upstreams.get(upstream);
        let is_aggregated = at.is_some_and(Upstream::is_aggregated);
        let new = Link::new(upstream, is_aggregated, place, replaces);
        self.links.insert(link, new);
        self.outputs.push_back(Output::Connect(Connect {
            link,
            upstream,
            host,
            port,
        }));
        link
    }

    fn set_current(&mut self, upstream: usize, link: Option<LinkId>) {
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.link = link;
        }
    }

    /// A connection is made, and secured.
    pub fn link_connected(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let mut extensions = Vec::new();
        if self.config.names_workers {
            extensions.push(EXTENSION_WORKER_IDENTITY);
        }
        let terms = UpstreamTerms {
            endpoint: Endpoint {
                host: link.place.0.clone().try_into().unwrap_or_default(),
                port: link.place.1,
                ..self.config.about.clone()
            },
            flags: 0,
            extensions,
            answer_timeout: self.config.answer_timeout,
            is_strict: true,
        };
        link.session = Some(UpstreamSession::new(terms, now));
        self.take_session_outputs(id, now);
    }

    /// A connection could not be made, or has ended.
    pub fn link_closed(&mut self, id: LinkId, reason: &str, now: Now) {
        self.farewells.remove(&id);
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

    /// Carries out what a session asks for, also what comes up meanwhile: one message to a group may be news for thousands
    /// of channels, which is a loop and must be no recursion.
    pub(super) fn take_session_outputs(&mut self, id: LinkId, now: Now) {
        let link = self.links.get_mut(&id);
        if link.is_none_or(|link| std::mem::replace(&mut link.is_busy, true)) {
            return;
        }
        while let Some(output) = self.session(id).and_then(UpstreamSession::poll_output) {
            match output {
                UpstreamOutput::Send(message) => self.link_output(id, LinkOutput::Send(message)),
                UpstreamOutput::Share(share) => self.link_output(id, LinkOutput::Share(share)),
                UpstreamOutput::StandardShare(share) => {
                    self.link_output(id, LinkOutput::StandardShare(share));
                }
                UpstreamOutput::Forward(frame) => {
                    self.link_output(id, LinkOutput::Forward(frame));
                }
                UpstreamOutput::Event(event) => self.handle_upstream(id, event, now),
                UpstreamOutput::Close(end) => self.session_ended(id, &end, now),
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.is_busy = false;
        }
    }

    fn session_ended(&mut self, id: LinkId, end: &UpstreamEnd, now: Now) {
        let upstream = self.links.get(&id).map(|link| link.upstream);
        if let UpstreamEnd::BrokenWord(_) = end
            && let Some(counts) = upstream.and_then(|at| self.counts(at))
        {
            *counts.broken_words.entry(end.label()).or_default() += 1;
        }
        self.fail(id, end.to_string(), now);
    }

    pub(super) fn link_output(&mut self, id: LinkId, output: LinkOutput) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outputs.push_back(output);
            self.wake_link(id);
        }
    }

    fn handle_upstream(&mut self, id: LinkId, event: UpstreamEvent, now: Now) {
        match event {
            UpstreamEvent::Ready if self.is_aggregated(id) => self.open_common_channel(id, now),
            UpstreamEvent::Ready => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.layout = Some(Layout::usual(self.config.extranonce2_size));
                }
                if !self.try_channel(id, now) {
                    self.ready(id, now);
                }
            }
            UpstreamEvent::Foreign { channel_id, frame } => {
                if !self.forward_down(id, channel_id, &frame, now)
                    && let Some(session) = self.session(id)
                {
                    session.ignore_frame();
                }
            }
            UpstreamEvent::EndpointChanged { channel_id } => {
                self.count_endpoint_changed(id);
                self.endpoint_changed(id, channel_id, now);
            }
            UpstreamEvent::Reconnect { host, port } => self.move_elsewhere(id, host, port, now),
            UpstreamEvent::Channel(event) => self.handle_channel(id, event, now),
        }
    }

    fn count_endpoint_changed(&mut self, id: LinkId) {
        let upstream = self.links.get(&id).map(|link| link.upstream);
        let Some((upstream, counts)) = upstream.and_then(|at| Some((at, self.counts(at)?))) else {
            return;
        };
        counts.endpoints_changed += 1;
        let count = counts.endpoints_changed;
        if count.is_power_of_two() {
            self.note(Note::EndpointChanged { upstream, count });
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
            ClientEvent::Acknowledged(message) => self.acknowledged(id, &message, now),
            ClientEvent::Rejected {
                channel_id,
                sequence_number,
                error_code,
            } => self.rejected(id, channel_id, sequence_number, &error_code, now),
            ClientEvent::Closed {
                channel_id,
                reason_code,
            } => self.channel_closed(id, channel_id, &words(&reason_code), now),
            // The target stays as it was; the next hash rate is told all the same.
            ClientEvent::UpdateRefused { .. } => {
                let upstream = self.links.get(&id).map(|link| link.upstream);
                if let Some(counts) = upstream.and_then(|at| self.counts(at)) {
                    counts.updates_refused += 1;
                }
            }
            ClientEvent::Send(_) => {}
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
        let Some(former) = link.replaces else {
            self.failover.ready(upstream, now.instant);
            return self.follow_failover(now);
        };
        if !self.is_current(former) {
            // The connection of before has ended: this one is used when the upstream's turn comes.
            return;
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.replaces = None;
        }
        self.set_current(upstream, Some(id));
        self.replace_used(former, id, now);
        self.leave(former, now);
        // For it may be that the former one was never ready.
        self.failover.ready(upstream, now.instant);
        self.follow_failover(now);
    }

    /// Whether a link is the one that its upstream is used by, if at all.
    fn is_current(&self, id: LinkId) -> bool {
        let upstream = self.links.get(&id).map(|link| link.upstream);
        let upstream = upstream.and_then(|at| self.upstreams.get(at));
        upstream.is_some_and(|upstream| upstream.link == Some(id))
    }

    /// The upstream wants another connection. The present one goes on until that one is ready.
    fn move_elsewhere(&mut self, id: LinkId, host: String, port: u16, now: Now) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let upstream = link.upstream;
        let mut links = self.links.values();
        let is_under_way = links.any(|other| other.replaces == Some(id));
        let is_wanted = link.leaves_at.is_none() && !self.is_draining;
        let at = self.upstreams.get_mut(upstream);
        if is_under_way || !is_wanted || !at.is_some_and(|at| at.may_move(now.instant)) {
            if let Some(link) = self.links.get_mut(&id) {
                link.ignored += 1;
            }
            return;
        }
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let host = Some(host).filter(|host| !host.is_empty());
        let port = Some(port).filter(|port| *port != 0);
        let place = (
            host.unwrap_or_else(|| link.place.0.clone()),
            port.unwrap_or(link.place.1),
        );
        let former = link.replaces;
        self.note(Note::Reconnects { upstream });
        self.connect(upstream, place, Some(former.unwrap_or(id)));
        if former.is_some() {
            // It was to replace another one itself, and was never used.
            self.leave(id, now);
        }
    }

    /// Lets go of a link: at once where nobody mined, else when the shares of its last jobs have come and are answered.
    pub(super) fn leave(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.replaces = None;
        if link.leaves_at.is_none() {
            link.leaves_at = Some(now.instant + LEAVE_GRACE);
            link.leaves_by = now.instant + MAX_LEAVE;
        }
        link.work_deadlines.clear();
        if !link.was_used {
            self.close_link(id, now);
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
        let due = |at: Instant| at <= now.instant;
        let is_draining = self.is_draining;
        let is_left = |link: &Link| {
            let is_over = |at| due(at) || is_draining && link.in_flight() == 0;
            link.leaves_at.is_some_and(is_over)
        };
        let links = self.links.iter();
        let left: Vec<_> = links
            .filter(|(_, link)| is_left(link))
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            if is_draining || !self.is_still_needed(id, now) {
                self.close_link(id, now);
            }
        }
        let links = self.links.iter();
        let pressed = links.filter(|(_, link)| link.poll_timeout().is_some_and(due));
        let pressed: Vec<_> = pressed.map(|(id, _)| *id).collect();
        for id in pressed {
            self.close_retired(id, now);
            self.check_work(id, now);
        }
    }

    /// Whether miners still mine on a link that is left, as their channels elsewhere are being opened: it is looked again in
    /// a moment.
    fn is_still_needed(&mut self, id: LinkId, now: Now) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        let mut miners = self.miners.iter();
        let is_needed = link.leaves_by > now.instant
            && miners.any(|(_, miner)| miner.source.link() == Some(id) && miner.request.is_some());
        if is_needed {
            link.leaves_at = Some(now.instant + LEAVE_STEP);
        }
        is_needed
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
            self.close_channel(channel, "no longer used", now);
        }
        let link = self.links.get_mut(&id);
        let last = link.map(|link| std::mem::take(&mut link.outputs));
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            self.farewells.insert(id, last);
        }
        self.forget(id, now);
    }

    /// An upstream is of no use, or its connection has ended.
    pub(super) fn fail(&mut self, id: LinkId, reason: String, now: Now) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let upstream = link.upstream;
        let is_current = self.is_current(id);
        let is_leaving = link.leaves_at.is_some();
        self.forget(id, now);
        if is_leaving {
            return;
        }
        if let Some(counts) = self.counts(upstream) {
            counts.failures += 1;
            counts.last_failure = Some(reason.clone());
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
        if let Some(counts) = self.counts(link.upstream) {
            counts.ignored += link.ignored();
        }
        // The shell hears of it, and finds what is left to do.
        self.wakes.push_back(Wake::Link(id));
        for channel in link.channels.into_values() {
            channel
                .lost()
                .for_each(|sent| self.lost(Some(link.upstream), sent, now));
        }
        for miner in self.miners.ids() {
            self.forget_of(miner, id, now);
        }
        self.new_tips.remove(&id);
        self.hashrate_changed(now);
    }

    /// A link is gone for a miner.
    fn forget_of(&mut self, id: MinerId, link: LinkId, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let is_there = |of: Option<LinkId>| of == Some(link);
        if let Some(sv1) = miner.sv1_mut() {
            sv1.bridge.forget_source(link.source());
        }
        let is_lost = match miner.source {
            Source::Nowhere => is_there(miner.link),
            source => is_there(source.link()),
        };
        if is_there(miner.link) {
            miner.link = None;
        }
        if is_there(miner.left.map(|left| left.link)) {
            miner.left = None;
        }
        if is_there(miner.refused_by) {
            miner.refused_by = None;
        }
        if is_there(miner.request.map(|request| request.link)) {
            miner.request = None;
        }
        if is_there(miner.source.link()) {
            miner.source = Source::Nowhere;
        }
        // It may have a channel elsewhere, and still the work of this one.
        let is_working_there = match &miner.face {
            Face::Sv1(sv1) => sv1.bridge.source() == Some(link.source()),
            Face::Device(leaf) => is_there(leaf.given.map(|given| given.channel.link)),
        };
        if is_lost || is_working_there {
            self.cut_off(id, now);
            self.unpace(id);
        }
        self.end_former_leaf_work(id, link, now);
    }
}
