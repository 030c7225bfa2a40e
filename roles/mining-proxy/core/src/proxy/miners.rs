//! The miners' side.

use std::sync::Arc;

use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::extranonce::ExtranoncePrefix;
use roles_logic_sv2::merkle::sha256d;
use stratum_translation::bridge::{Bridge, BridgeOutput, ChannelWork, Parked};
use sv1_api::Id;
use sv1_api::client_message::{Authorize, Subscribe};
use sv1_api::line::LineTooLong;

use super::{Note, Proxy};
use crate::link::LinkId;
use crate::miner::{Face, MAX_WAITING_NAMES, Miner, MinerId, MinerOutput, Source, Sv1};
use crate::snapshot::add_counts;
use stratum_translation::layout::Layout;

impl Proxy {
    /// A miner has connected. `None` when there are too many, or when the program ends: close its connection.
    pub fn miner_connected(&mut self, now: Now) -> Option<MinerId> {
        let is_full = self.miners.len() >= self.config.max_miners as usize;
        if is_full || self.is_draining {
            return None;
        }
        // Its numbers were checked at start.
        let bridge = Bridge::new(self.config.bridge, now).ok()?;
        Some(self.miners.insert(Miner::new(bridge, now.instant)))
    }

    /// Takes one line of a miner.
    pub fn handle_line(&mut self, id: MinerId, line: &[u8], now: Now) {
        if let Some(sv1) = self.miners.sv1_mut(id) {
            if let Some(worth) = sv1.bridge.handle_line(line, now) {
                self.worked(worth);
            }
            self.carry_out(id, now);
        }
    }

    /// Takes note of a line of a miner that was skipped for its length.
    pub fn handle_long_line(&mut self, id: MinerId, error: LineTooLong, now: Now) {
        if let Some(sv1) = self.miners.sv1_mut(id) {
            sv1.bridge.handle_long_line(error, now);
            self.carry_out(id, now);
        }
    }

    /// When [`Self::handle_miner_timeout`] is due.
    pub fn poll_miner_timeout(&self, id: MinerId) -> Option<Instant> {
        self.miners.sv1(id)?.bridge.poll_timeout()
    }

    /// Time passed for a miner.
    pub fn handle_miner_timeout(&mut self, id: MinerId, now: Now) {
        if let Some(sv1) = self.miners.sv1_mut(id) {
            sv1.bridge.handle_timeout(now);
            self.carry_out(id, now);
        }
    }

    /// A miner's connection has ended. It may come back to its session for a while.
    pub fn miner_closed(&mut self, id: MinerId, now: Now) {
        let Some(miner) = self.take_out(id, now) else {
            return;
        };
        if let Face::Sv1(sv1) = miner.face {
            self.totals.accepted += sv1.bridge.accepted();
            add_counts(&mut self.totals.upstream, sv1.bridge.upstream());
            for (reason, count) in sv1.bridge.session().rejects().iter() {
                *self.totals.rejected.entry(reason.text()).or_default() += count;
            }
            self.park(*sv1, now);
        }
        self.leave_when_drained(now);
    }

    /// Takes out one that mines no more; its channels are closed when its last shares are answered.
    pub(super) fn take_out(&mut self, id: MinerId, now: Now) -> Option<Miner> {
        self.unpace(id);
        let miner = self.miners.remove(id)?;
        // A channel that is being opened for it is closed when it is there.
        if let Source::Own(channel) = miner.source {
            self.retire_channel(channel, now);
        }
        if let Some(left) = miner.left {
            self.retire_left(left, id, now);
        }
        self.hashrate_changed(now);
        Some(miner)
    }

    fn park(&mut self, sv1: Sv1, now: Now) {
        let Some(number) = sv1.number else {
            return;
        };
        let grant = sv1.bridge.session().granted();
        let session = grant.map(|grant| grant.session.clone());
        let pushed_out = match sv1.bridge.park().zip(session) {
            Some((parked, session)) => self.parking.park(session, parked, number, now.instant),
            None => vec![number],
        };
        pushed_out
            .into_iter()
            .for_each(|number| self.numbers.release(number));
    }

    /// Carries out what the miner's bridge asks for, and has the miner looked at.
    pub(super) fn pump(&mut self, id: MinerId, now: Now) {
        if self.carry_out(id, now) {
            self.wake_miner(id);
        }
    }

    /// Carries out what the miner's bridge asks for; whether that was anything. It is enough after inputs of the miner's
    /// own, as who hands those in looks at it anyway: a wake for each share would be one too many.
    fn carry_out(&mut self, id: MinerId, now: Now) -> bool {
        let mut is_anything = false;
        while let Some(output) = self.next_bridge_output(id) {
            is_anything = true;
            self.handle_bridge(id, output, now);
        }
        is_anything
    }

    fn next_bridge_output(&mut self, id: MinerId) -> Option<BridgeOutput> {
        self.miners.sv1_mut(id)?.bridge.poll_output()
    }

    fn handle_bridge(&mut self, id: MinerId, output: BridgeOutput, now: Now) {
        match output {
            BridgeOutput::Send(line) => self.miner_output(id, MinerOutput::Send(line)),
            BridgeOutput::Close(reason) => {
                *self.totals.closed.entry(reason.to_string()).or_default() += 1;
                self.miner_output(id, MinerOutput::Close(reason));
            }
            BridgeOutput::Subscribe(asked) => self.subscribe(id, asked, now),
            BridgeOutput::Authorize {
                id: request,
                authorize,
            } => self.authorize(id, request, authorize, now),
            BridgeOutput::Share(share) => self.submit(id, &share, now),
        }
    }

    fn miner_output(&mut self, id: MinerId, output: MinerOutput) {
        if let Some(miner) = self.miners.find_mut(id) {
            miner.outputs.push_back(output);
        }
    }

    fn subscribe(&mut self, id: MinerId, asked: Subscribe, now: Now) {
        if let Some(sv1) = self.miners.sv1_mut(id) {
            sv1.subscribe = Some(asked);
        }
        self.admit(id, now);
    }

    /// Answers a subscription that waits, now that it is known what miners get.
    pub(super) fn grant(&mut self, id: MinerId, layout: Layout, now: Now) {
        let Some(sv1) = self.miners.sv1_mut(id) else {
            return;
        };
        let Some(asked) = sv1.subscribe.take() else {
            return;
        };
        let named = asked.session.and_then(|name| {
            let session = self.parking.take(&name)?;
            Some((name, session))
        });
        if let Some((name, session)) = named {
            sv1.number = Some(session.number);
            return self.resume(id, name, session.parked, layout, now);
        }
        let Ok(number) = self.numbers.allocate_extended(0) else {
            return self.refuse(id, now);
        };
        let quirks = sv1.bridge.session().quirks();
        let extranonce1 = layout.extranonce1(as_u32(&number), quirks);
        let Some((extranonce1, extranonce2_size)) = extranonce1 else {
            self.numbers.release(number);
            return self.refuse(id, now);
        };
        sv1.number = Some(number);
        let session = self.session_name();
        if let Some(sv1) = self.miners.sv1_mut(id) {
            let bridge = &mut sv1.bridge;
            bridge.grant(extranonce1, extranonce2_size, session, now);
        }
    }

    fn resume(&mut self, id: MinerId, name: String, parked: Parked, layout: Layout, now: Now) {
        let Some(sv1) = self.miners.sv1_mut(id) else {
            return;
        };
        let shown = parked.extranonce1().len() + parked.extranonce2_size();
        sv1.bridge.grant_again(parked, name, now);
        if shown != layout.shown() {
            self.fit_extranonce(id, layout, now);
        }
    }

    fn refuse(&mut self, id: MinerId, now: Now) {
        if let Some(sv1) = self.miners.sv1_mut(id) {
            sv1.bridge.refuse(now);
        }
    }

    /// Gives a miner the extranonce that another layout has for it; `false` when it is told to reconnect instead.
    pub(super) fn fit_extranonce(&mut self, id: MinerId, layout: Layout, now: Now) -> bool {
        let Some(sv1) = self.miners.sv1_mut(id) else {
            return false;
        };
        let number = sv1.number.as_ref().map(as_u32);
        let quirks = sv1.bridge.session().quirks();
        let fitting = number.and_then(|number| layout.extranonce1(number, quirks));
        match fitting {
            Some((extranonce1, size)) => sv1.bridge.change_extranonce(extranonce1, size, now),
            None => {
                sv1.bridge.reconnect(now);
                false
            }
        }
    }

    /// A name that nobody guesses, for a session.
    fn session_name(&mut self) -> String {
        self.sessions += 1;
        let digest = sha256d(&[&self.key[..], &self.sessions.to_le_bytes()].concat());
        let digits = digest.iter().take(8);
        digits.map(|byte| format!("{byte:02x}")).collect()
    }

    fn authorize(&mut self, id: MinerId, request: Id, authorize: Authorize, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        if miner.user.is_none() {
            miner.user = Some(authorize.user.clone());
        }
        self.find_link(id, now);
        let needs_channel = self.needs_channel(id);
        let Some(sv1) = self.miners.sv1_mut(id) else {
            return;
        };
        // All names of a connection mine on the channel of the first, and wait for it together.
        if !needs_channel {
            sv1.bridge.answer_authorize(&request, &authorize, true, now);
            return self.hashrate_changed(now);
        }
        if sv1.names.len() >= MAX_WAITING_NAMES {
            return sv1
                .bridge
                .answer_authorize(&request, &authorize, false, now);
        }
        sv1.names.push((request, authorize));
        if let Some(link) = self.miners.find(id).and_then(|miner| miner.link) {
            self.enter(id, link, now);
        }
    }

    /// Whether a miner's names wait for a channel of its own.
    fn needs_channel(&self, id: MinerId) -> bool {
        let Some(miner) = self.miners.find(id) else {
            return false;
        };
        match (miner.source, miner.link) {
            (Source::Own(_), _) => false,
            (_, Some(link)) => !self.is_aggregated(link),
            (_, None) => self
                .upstreams
                .iter()
                .any(|upstream| upstream.is_wanted() && !upstream.is_aggregated()),
        }
    }

    /// Answers the authorizations that waited for a channel.
    pub(super) fn answer_names(&mut self, id: MinerId, is_accepted: bool, now: Now) {
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let Some(sv1) = miner.sv1_mut() else {
            return;
        };
        for (request, authorize) in std::mem::take(&mut sv1.names) {
            sv1.bridge
                .answer_authorize(&request, &authorize, is_accepted, now);
        }
        if !is_accepted {
            // Another name may find a channel.
            miner.user = None;
        }
        self.pump(id, now);
        // Passwords may have brought limits.
        self.hashrate_changed(now);
    }

    /// Brings a miner to a link.
    pub(super) fn enter(&mut self, id: MinerId, link_id: LinkId, now: Now) {
        let Some(link) = self.links.get(&link_id) else {
            return;
        };
        let Some(layout) = link.layout else {
            return self.open_for_first_miner(now);
        };
        let is_aggregated = link.is_aggregated;
        let work = link.work.clone();
        self.drop_request_elsewhere(id, link_id);
        self.grant(id, layout, now);
        let is_fitting = self.fits(id, layout, now);
        if !is_aggregated && is_fitting != Some(false) {
            // A channel takes a name only: some miners authorize first, and subscribe when they are welcome.
            self.open_own_channel(id, link_id, now);
        } else if let Some(work) = work.filter(|_| is_fitting == Some(true)) {
            self.set_source(id, Source::Common(link_id), now);
            self.give_work(id, &work, now);
        }
        let sv1 = self.miners.sv1(id);
        let has_names = sv1.is_some_and(|sv1| !sv1.names.is_empty());
        if is_aggregated && has_names {
            self.answer_names(id, true, now);
        }
        self.pump(id, now);
    }

    /// A channel that is being opened for a miner elsewhere is closed when it is there.
    fn drop_request_elsewhere(&mut self, id: MinerId, link: LinkId) {
        if let Some(miner) = self.miners.find_mut(id)
            && miner.request.is_some_and(|request| request.link != link)
        {
            miner.request = None;
        }
    }

    /// Whether the miner has as much extranonce as there is, or can be given it; `None` before it is subscribed.
    fn fits(&mut self, id: MinerId, layout: Layout, now: Now) -> Option<bool> {
        let miner = self.miners.find(id)?;
        if miner.leaf().is_some() {
            return Some(self.leaf_fits(id, layout, now));
        }
        let shown = miner.shown()?;
        Some(shown == layout.shown() || self.fit_extranonce(id, layout, now))
    }

    /// Gives a miner other work. On a channel that is everyone's it is subscribed; else it gets what there is when it is.
    pub(super) fn give_work(&mut self, id: MinerId, work: &Arc<ChannelWork>, now: Now) {
        self.unpace(id);
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        miner.refreshed_at = now.instant;
        match &mut miner.face {
            Face::Sv1(sv1) => {
                sv1.bridge.set_work(work, now);
                self.pump(id, now);
            }
            Face::Device(_) => self.give_leaf_work(id, work, now),
        }
    }

    /// There is no upstream for a miner for now: its shares are refused, and it stays.
    pub(super) fn cut_off(&mut self, id: MinerId, now: Now) {
        match self.miners.find_mut(id).map(|miner| &mut miner.face) {
            Some(Face::Sv1(sv1)) => sv1.bridge.cut_off(now),
            Some(Face::Device(_)) => self.cut_off_leaf(id, now),
            None => {}
        }
    }

    /// The channel upstream that a miner mined on before has other work, while shares of its jobs still count there.
    pub(super) fn set_former_work(&mut self, id: MinerId, work: &Arc<ChannelWork>, now: Now) {
        match self.miners.find_mut(id).map(|miner| &mut miner.face) {
            Some(Face::Sv1(sv1)) => sv1.bridge.set_former_work(work),
            Some(Face::Device(_)) => self.set_former_leaf_work(id, work, now),
            None => {}
        }
    }

    /// Sends a miner away, to come again.
    pub(super) fn dismiss(&mut self, id: MinerId, now: Now) {
        match self.miners.find_mut(id).map(|miner| &mut miner.face) {
            Some(Face::Sv1(sv1)) => {
                sv1.bridge.reconnect(now);
                self.pump(id, now);
            }
            Some(Face::Device(_)) => self.dismiss_leaf(id, now),
            None => {}
        }
    }

    /// There was no work for too long: whoever knows another pool should go there. Who is not subscribed waits on.
    pub(super) fn send_away(&mut self, now: Now) {
        self.orphaned_at = None;
        let miners = self.miners.iter();
        let ids: Vec<_> = miners
            .filter(|(_, miner)| miner.shown().is_some())
            .map(|(id, _)| id)
            .collect();
        if !ids.is_empty() {
            self.note(Note::SendsAway(ids.len()));
        }
        ids.into_iter().for_each(|id| self.dismiss(id, now));
    }
}

/// A miner's number, which the allocator gives as four big-endian bytes.
fn as_u32(number: &ExtranoncePrefix) -> u32 {
    let bytes = number.as_bytes().iter();
    bytes.fold(0, |value, byte| value << 8 | u32::from(*byte))
}
