//! The devices' side.

use std::sync::Arc;

use binary_sv2::Str0255;
use mining_sv2::SubmitSharesSuccess;
use roles_logic_sv2::channels::client::Found;
use roles_logic_sv2::channels::server::{
    Grant, OpenRefusal, OpenRequest, ServerChannels, ServerMessage,
};
use roles_logic_sv2::channels::{ChannelKind, PayoutWork, WorkTerms};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::downstream::{CloseReason, Outgoing};
use roles_logic_sv2::extranonce::ExtranoncePrefix;
use roles_logic_sv2::messages::{ForeignFrame, ForwardedFrame};
use roles_logic_sv2::share::RejectReason;
use roles_logic_sv2::target::Difficulty;
use roles_logic_sv2::upstream::words;
use stratum_translation::bridge::{ChannelWork, UpstreamCounts, Worth};
use stratum_translation::layout::Layout;

use super::shares::Upward;
use super::{Proxy, Wake};
use crate::device::{Device, DeviceEvent, DeviceId, DeviceOutput, DeviceShare, MAX_WAITING_OPENS};
use crate::leaf::{Given, Leaf, OpenLeaf};
use crate::link::{Link, LinkId, Sent};
use crate::miner::{ChannelRef, Face, Miner, MinerId, Source};
use crate::snapshot::{add_counts, add_not_done, count_code};

impl Proxy {
    /// A device has connected. `None` when there are too many, or when the program ends: close its connection.
    pub fn device_connected(&mut self, now: Now) -> Option<DeviceId> {
        let is_full = self.devices.len() >= self.config.max_miners as usize;
        if is_full || self.is_draining {
            return None;
        }
        // It may come to work for any of those in use.
        let used = self.used.iter().filter_map(|id| self.links.get(id));
        let terms = match { used }.any(Link::has_fixed_version) {
            true => &self.device_terms.fixed_version,
            false => &self.device_terms.usual,
        };
        let device = Device::new(terms.clone(), now);
        Some(self.devices.insert(device))
    }

    /// Takes a frame of a device; `extension_type` includes the channel bit.
    pub fn handle_device_frame(
        &mut self,
        id: DeviceId,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        now: Now,
    ) {
        if let Some(device) = self.devices.find_mut(id) {
            device.handle_frame(extension_type, msg_type, payload, now);
            self.handle_device_events(id, now);
        }
    }

    /// When [`Self::handle_device_timeout`] is due.
    pub fn poll_device_timeout(&self, id: DeviceId) -> Option<Instant> {
        self.devices.find(id)?.session().poll_timeout()
    }

    /// Time passed for a device.
    pub fn handle_device_timeout(&mut self, id: DeviceId, now: Now) {
        if let Some(device) = self.devices.find_mut(id) {
            device.act(now, |session| session.handle_timeout(now));
            self.handle_device_events(id, now);
        }
    }

    /// The next thing to do for a device, in order.
    pub fn poll_device_output(&mut self, id: DeviceId) -> Option<DeviceOutput> {
        let output = self.devices.find_mut(id)?.poll_output()?;
        match &output {
            DeviceOutput::Close(reason) => {
                let reason = reason.label().to_owned();
                *self.totals.closed.entry(reason).or_default() += 1;
            }
            DeviceOutput::Send(Outgoing::Mining(message)) => {
                if let Some(code) = refusal(message) {
                    count_code(&mut self.totals.requests_refused, &words(code));
                }
            }
            DeviceOutput::Send(_) | DeviceOutput::Forward(_) => {}
        }
        Some(output)
    }

    /// A device's connection has ended.
    pub fn device_closed(&mut self, id: DeviceId, now: Now) {
        if let Some(device) = self.devices.find_mut(id) {
            device.act(now, |session| session.handle_disconnected());
            self.handle_device_events(id, now);
        }
        let Some(device) = self.devices.remove(id) else {
            return;
        };
        add_not_done(&mut self.totals.not_done, device.session());
        for (leaf, _) in device.waiting {
            self.leaf_closed(leaf, now);
        }
        self.leave_when_drained(now);
    }

    /// Devices connected.
    pub const fn devices(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn drain_device(&mut self, id: DeviceId, now: Now) {
        self.act_on_device(id, now, |device| {
            device.act(now, |session| session.drain("", 0, now));
        });
    }

    /// Has something done for a device that it did not ask for itself.
    fn act_on_device(&mut self, id: DeviceId, now: Now, act: impl FnOnce(&mut Device)) {
        if let Some(device) = self.devices.find_mut(id) {
            act(device);
            self.wake_device(id);
            self.handle_device_events(id, now);
        }
    }

    fn wake_device(&mut self, id: DeviceId) {
        if let Some(device) = self.devices.find_mut(id)
            && !std::mem::replace(&mut device.is_woken, true)
        {
            self.wakes.push_back(Wake::Device(id));
        }
    }

    /// Decides what the rules of the connection leave to the proxy.
    fn handle_device_events(&mut self, id: DeviceId, now: Now) {
        while let Some(event) = self.devices.find_mut(id).and_then(Device::poll_event) {
            match event {
                DeviceEvent::Open {
                    request,
                    user_identity,
                } => self.leaf_requested(id, request, user_identity, now),
                DeviceEvent::Judged {
                    channel_id,
                    sequence_number,
                    outcome,
                    source,
                    share,
                } => {
                    if let Some(leaf) = self.leaf_of(id, channel_id) {
                        self.count_leaf_share(leaf, outcome, source, share.as_ref(), now);
                        // A block that is no share was answered as what it is.
                        let own_number = outcome.is_ok().then_some(sequence_number);
                        if let Some(share) = share {
                            self.submit_of_leaf(leaf, own_number, share, now);
                        }
                    } else if let Err(reason) = outcome {
                        *self.totals.rejected.entry(reason.error_code()).or_default() += 1;
                    }
                }
                DeviceEvent::Updated { channel_id } => {
                    if let Some(leaf) = self.leaf_of(id, channel_id) {
                        self.look_at_leaf(leaf, now);
                        self.hashrate_changed(now);
                    }
                }
                DeviceEvent::Closed {
                    channel_id,
                    extranonce_prefix,
                } => {
                    self.numbers.release(extranonce_prefix);
                    let device = self.devices.find_mut(id);
                    if let Some(leaf) = device.and_then(|device| device.leaves.remove(&channel_id))
                    {
                        self.leaf_closed(leaf, now);
                    }
                }
                DeviceEvent::Released(prefix) => self.numbers.release(prefix),
                DeviceEvent::Forward { channel_id, frame } => {
                    self.forward_up(id, channel_id, &frame, now);
                }
            }
        }
    }

    fn leaf_of(&self, id: DeviceId, channel_id: u32) -> Option<MinerId> {
        let device = self.devices.find(id)?;
        device.leaves.get(&channel_id).copied()
    }

    /// A device asks for a channel: it is one more that mines, as soon as there is work for it.
    fn leaf_requested(&mut self, id: DeviceId, request: OpenRequest, user: String, now: Now) {
        let is_full = self.miners.len() >= self.config.max_miners as usize;
        let Some(device) = self.devices.find_mut(id) else {
            return;
        };
        if is_full || self.is_draining || device.waiting.len() >= MAX_WAITING_OPENS {
            device.with_channels(now, |channels| {
                channels.refuse(request, OpenRefusal::CapacityExhausted);
            });
            return;
        }
        let leaf = Leaf {
            device: id,
            kind: request.kind(),
            open: None,
            min_extranonce_size: request.min_extranonce_size(),
            nominal_hash_rate: request.nominal_hash_rate(),
            hashrate: 0.0,
            difficulty: 0.0,
            max_target: request.max_target(),
            given: None,
            former: None,
            tip: None,
            has_foreign: false,
            accepted: 0,
            rejected: Default::default(),
            upstream: UpstreamCounts::default(),
        };
        let mut miner = Miner::with_face(Face::Device(Box::new(leaf)), now.instant);
        miner.user = Some(user);
        let leaf = self.miners.insert(miner);
        device.waiting.push((leaf, request));
        self.admit(leaf, now);
        self.hashrate_changed(now);
    }

    /// Takes over what the channel's rules know of a leaf.
    fn look_at_leaf(&mut self, id: MinerId, now: Now) {
        let Some(leaf) = self.miners.leaf_mut(id) else {
            return;
        };
        let channels = self.devices.find(leaf.device);
        let channels = channels.and_then(|device| device.session().channels());
        let open = leaf.open.map(|open| open.channel_id);
        let channel = open.and_then(|channel_id| channels?.channel(channel_id));
        if let Some(channel) = channel {
            leaf.hashrate = channel.hashrate(now.instant);
            leaf.difficulty = channel.target().difficulty_f64();
            leaf.max_target = channel.max_target();
            leaf.nominal_hash_rate = channel.nominal_hash_rate();
        }
    }

    /// Looks at all leaves: time without shares says something too.
    pub(super) fn look_at_leaves(&mut self, now: Now) {
        if self.devices.len() > 0 {
            for id in self.miners.ids() {
                self.look_at_leaf(id, now);
            }
        }
    }

    fn count_leaf_share(
        &mut self,
        id: MinerId,
        outcome: Result<Difficulty, RejectReason>,
        source: Option<u64>,
        passed_on: Option<&DeviceShare>,
        now: Now,
    ) {
        if let (Ok(credit), Some(source)) = (outcome, source) {
            self.worked(Worth { credit, source });
        }
        let Some(leaf) = self.miners.leaf_mut(id) else {
            return;
        };
        leaf.count(outcome);
        match passed_on {
            Some(_) => {
                leaf.upstream.passed_on += 1;
                leaf.upstream.unpaid_blocks += u64::from(outcome.is_err());
            }
            None => leaf.upstream.below_target += u64::from(outcome.is_ok()),
        }
        self.look_at_leaf(id, now);
    }

    /// `own_number` is the share's, if the device is to hear what the upstream says of it.
    fn submit_of_leaf(
        &mut self,
        id: MinerId,
        own_number: Option<u32>,
        share: DeviceShare,
        now: Now,
    ) {
        let link = LinkId::of_source(share.relayed.source());
        let link = link.and_then(|link| self.links.get(&link));
        let is_relayed = link.is_none_or(|link| !link.is_aggregated);
        let Some(miner) = self.miners.find_mut(id) else {
            return;
        };
        let worker = match &share.worker {
            Some(name) => miner.worker(name),
            None => miner.own_worker(),
        };
        let upward = Upward {
            source: share.relayed.source(),
            work: share.relayed.work(),
            found: Found {
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: &share.extranonce,
            },
            worker: Some(worker),
            is_block: share.is_block,
            sent: Sent {
                miner: id,
                own_number: own_number.filter(|_| is_relayed),
            },
        };
        self.hand_in(&upward, now);
    }

    /// The upstream acknowledged shares of a device, which waits for that. The numbers are the device's own.
    pub(super) fn acknowledge_relayed(
        &mut self,
        id: MinerId,
        message: SubmitSharesSuccess,
        now: Now,
    ) {
        let Some((device, channel_id)) = self.place_of(id) else {
            return;
        };
        let message = SubmitSharesSuccess {
            channel_id,
            ..message
        };
        self.act_on_device(device, now, |device| {
            device.with_channels(now, |channels| channels.acknowledge(message));
        });
    }

    /// The upstream rejected a share, or it is lost: the device is told if it waits for that.
    pub(super) fn reject_relayed(&mut self, sent: Sent, code: &str, now: Now) {
        let (Some(number), Some((device, channel_id))) =
            (sent.own_number, self.place_of(sent.miner))
        else {
            return;
        };
        let code = code.to_owned().try_into().unwrap_or_default();
        self.act_on_device(device, now, |device| {
            device.with_channels(now, |channels| channels.reject(channel_id, number, code));
        });
    }

    /// The device of a leaf, and its channel there.
    fn place_of(&self, id: MinerId) -> Option<(DeviceId, u32)> {
        let leaf = self.miners.leaf(id)?;
        Some((leaf.device, leaf.open?.channel_id))
    }

    /// Whether a leaf can work by this layout. One that cannot is refused, or sent away if it has begun.
    pub(super) fn leaf_fits(&mut self, id: MinerId, layout: Layout, now: Now) -> bool {
        let Some(leaf) = self.miners.leaf(id) else {
            return false;
        };
        if let Some(shown) = leaf.shown() {
            if shown != layout.shown() {
                self.dismiss_leaf(id, now);
            }
            return shown == layout.shown();
        }
        let fits = usize::from(leaf.min_extranonce_size) <= layout.extranonce2_size;
        if !fits {
            let refusal = OpenRefusal::MinExtranonceSizeTooLarge;
            self.refuse_leaf(id, refusal.error_code(), now);
        }
        fits
    }

    /// Gives a leaf the work of a channel upstream; the first opens it.
    pub(super) fn give_leaf_work(&mut self, id: MinerId, work: &Arc<ChannelWork>, now: Now) {
        let Some((given, payout_work)) = self.payout_work(work) else {
            return self.dismiss_leaf(id, now);
        };
        if self.is_version_fixed(work, given.channel.link) && !self.keeps_version(id) {
            return self.dismiss_leaf(id, now);
        }
        let Some(leaf) = self.miners.leaf_mut(id) else {
            return;
        };
        leaf.tip = Some(payout_work.tip.clone());
        let is_move = leaf.give(given);
        let (device, has_foreign) = (leaf.device, leaf.has_foreign);
        let Some(open) = leaf.open else {
            return self.open_leaf(id, given, work.shown(), &payout_work, now);
        };
        if is_move {
            leaf.has_foreign = false;
        }
        let channel_id = open.channel_id;
        self.act_on_device(device, now, |device| {
            device.with_channels(now, |channels| {
                if is_move {
                    channels.set_payout(&[channel_id], given.payout);
                }
                channels.handle_payout_work(given.payout, &payout_work);
            });
            if is_move && has_foreign {
                device.act(now, |session| session.endpoint_changed(channel_id));
            }
        });
        self.look_at_leaf(id, now);
    }

    /// Whether the version of this work has to be left as it is, as its upstream said at setup or says with each job.
    fn is_version_fixed(&mut self, work: &ChannelWork, link: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&link) else {
            return false;
        };
        link.gave_fixed_version |= work.work().version_mask() == 0;
        link.has_fixed_version()
    }

    /// Whether a leaf leaves the versions of jobs as they are. One that was told so at setup does, and one that is told with
    /// each job and has not said that it cannot. For the others the connection ends: at the next setup they hear it (MS-16
    /// to MS-18).
    fn keeps_version(&self, id: MinerId) -> bool {
        let Some(leaf) = self.miners.leaf(id) else {
            return true;
        };
        let device = self.devices.find(leaf.device);
        let flags = device.and_then(|device| Some(device.session().channels()?.flags()));
        let Some(flags) = flags else {
            return true;
        };
        flags.fixed_version || !flags.rolls_version && !leaf.is_standard()
    }

    /// Work as devices get it, and where it comes from. `None` when the channel is gone, or when it cannot be handed on.
    fn payout_work(&self, work: &Arc<ChannelWork>) -> Option<(Given, PayoutWork)> {
        let link_id = LinkId::of_source(work.source())?;
        let link = self.links.get(&link_id)?;
        let channel_id = work.work().channel_id();
        let target = *work.work().target();
        let given = Given {
            channel: ChannelRef {
                link: link_id,
                channel_id,
            },
            payout: link.channels.get(&channel_id)?.payout,
        };
        let payout_work = PayoutWork {
            tip: work.work().tip().clone(),
            job: work.relayed()?.clone(),
            min_ntime: work.work().min_ntime(),
            terms: match link.is_aggregated {
                true => WorkTerms::AtMost(target),
                false => WorkTerms::Relayed(target),
            },
        };
        Some((given, payout_work))
    }

    /// Answers the request of a leaf that waits, now that there is work for it.
    fn open_leaf(&mut self, id: MinerId, given: Given, shown: usize, work: &PayoutWork, now: Now) {
        let Some(leaf) = self.miners.leaf(id) else {
            return;
        };
        let (device_id, kind) = (leaf.device, leaf.kind);
        let device = self.devices.find(device_id);
        if device.is_none_or(|device| device.session().channels().is_none()) {
            // Its connection ends.
            return;
        }
        let Some(prefix) = self.prefix(kind, shown) else {
            let refusal = OpenRefusal::CapacityExhausted;
            return self.refuse_leaf(id, refusal.error_code(), now);
        };
        let grant = Grant {
            payout: given.payout,
            extranonce_prefix: prefix,
            full_extranonce_size: shown,
            terms: work.terms,
        };
        let Some(device) = self.devices.find_mut(device_id) else {
            return self.numbers.release(grant.extranonce_prefix);
        };
        let Some(request) = device.take_request(id) else {
            return self.numbers.release(grant.extranonce_prefix);
        };
        let opened = device.with_channels(now, |channels| {
            let opened = channels.open(request, grant, now);
            channels.handle_payout_work(given.payout, work);
            opened
        });
        self.wake_device(device_id);
        match opened {
            Some(Ok(channel_id)) => {
                if let Some(device) = self.devices.find_mut(device_id) {
                    device.leaves.insert(channel_id, id);
                }
                if let Some(leaf) = self.miners.leaf_mut(id) {
                    leaf.open = Some(OpenLeaf { channel_id, shown });
                }
                self.look_at_leaf(id, now);
            }
            Some(Err(failed)) => {
                self.numbers.release(failed.extranonce_prefix);
                self.leaf_closed(id, now);
            }
            None => self.leaf_closed(id, now),
        }
        self.handle_device_events(device_id, now);
    }

    /// The first bytes of the extranonce that a leaf sees, which tell it apart.
    fn prefix(&mut self, kind: ChannelKind, shown: usize) -> Option<ExtranoncePrefix> {
        let layout = Layout::of_channel(shown, self.config.extranonce2_size)?;
        let prefix = self.numbers.allocate_extended(0).ok()?;
        let size = match kind {
            ChannelKind::Standard => shown,
            ChannelKind::Extended => layout.part_size,
        };
        match prefix.narrowed(layout.part_size, size) {
            Ok(prefix) => Some(prefix),
            Err(prefix) => {
                self.numbers.release(prefix);
                None
            }
        }
    }

    /// There is no upstream for a leaf. Shares of its jobs count as long as the channel is open that they came from: it may
    /// have gone to another one, and that one have ended before it had work.
    pub(super) fn cut_off_leaf(&mut self, id: MinerId, now: Now) {
        let given = self.miners.leaf(id).and_then(|leaf| leaf.given);
        let Some(channel) = given.map(|given| given.channel) else {
            return;
        };
        let link = self.links.get(&channel.link);
        if link.is_none_or(|link| !link.channels.contains_key(&channel.channel_id)) {
            self.end_leaf_work(id, channel, now);
        }
    }

    /// A channel upstream is gone: shares of the jobs that a leaf had from it are late from now on.
    pub(super) fn end_leaf_work(&mut self, id: MinerId, channel: ChannelRef, now: Now) {
        let Some(leaf) = self.miners.leaf_mut(id) else {
            return;
        };
        let Some(payout) = leaf.payout_of(channel) else {
            return;
        };
        leaf.tip
            .take_if(|_| leaf.given.is_some_and(|given| given.channel == channel));
        let device = leaf.device;
        if let Some(device) = self.devices.find_mut(device) {
            device.with_channels(now, |channels| channels.end_payout_work(payout));
        }
    }

    /// The link that a leaf mined on before is gone.
    pub(super) fn end_former_leaf_work(&mut self, id: MinerId, link: LinkId, now: Now) {
        let Some(leaf) = self.miners.leaf_mut(id) else {
            return;
        };
        let Some(former) = leaf.former.take_if(|former| former.channel.link == link) else {
            return;
        };
        let device = leaf.device;
        if let Some(device) = self.devices.find_mut(device) {
            device.with_channels(now, |channels| channels.end_payout_work(former.payout));
        }
    }

    /// The channel that a leaf mined on before has other work.
    pub(super) fn set_former_leaf_work(&mut self, id: MinerId, work: &Arc<ChannelWork>, now: Now) {
        let Some(link) = LinkId::of_source(work.source()) else {
            return;
        };
        let channel = ChannelRef {
            link,
            channel_id: work.work().channel_id(),
        };
        let Some(leaf) = self.miners.leaf(id) else {
            return;
        };
        if leaf.payout_of(channel).is_none() {
            return;
        }
        let device = leaf.device;
        if let Some((given, payout_work)) = self.payout_work(work) {
            self.act_on_device(device, now, |device| {
                device.with_channels(now, |channels| {
                    channels.handle_payout_work(given.payout, &payout_work);
                });
            });
        }
    }

    /// No upstream opens a channel for a leaf: the device hears the upstream's word, or its channel is closed.
    pub(super) fn refuse_leaf(&mut self, id: MinerId, code: &str, now: Now) {
        let Some(leaf) = self.miners.leaf(id) else {
            return;
        };
        let device_id = leaf.device;
        if leaf.open.is_some() {
            return self.dismiss_leaf(id, now);
        }
        let code = code.to_owned().try_into().unwrap_or_default();
        self.act_on_device(device_id, now, |device| {
            if let Some(request) = device.take_request(id) {
                device.with_channels(now, |channels| channels.refuse_as(request, code));
            }
        });
        self.leaf_closed(id, now);
    }

    /// There is no work that fits a leaf. Its connection is closed: some devices take no notice of a channel that is.
    pub(super) fn dismiss_leaf(&mut self, id: MinerId, now: Now) {
        if let Some(leaf) = self.miners.leaf(id) {
            self.act_on_device(leaf.device, now, |device| {
                // What was accepted is acknowledged before.
                device.with_channels(now, ServerChannels::close_slices);
                device.act(now, |session| session.close(CloseReason::NoWork));
            });
        }
    }

    /// A leaf mines no more.
    fn leaf_closed(&mut self, id: MinerId, now: Now) {
        let Some(miner) = self.take_out(id, now) else {
            return;
        };
        if let Face::Device(leaf) = miner.face {
            self.totals.accepted += leaf.accepted;
            add_counts(&mut self.totals.upstream, &leaf.upstream);
            for (reason, count) in leaf.rejected {
                *self.totals.rejected.entry(reason).or_default() += count;
            }
        }
    }

    /// A frame of an unknown extension for the endpoint of a device's channel: that of its channel upstream, if it has one
    /// of its own (MP-13).
    fn forward_up(&mut self, id: DeviceId, channel_id: u32, frame: &ForwardedFrame, now: Now) {
        let leaf = self.leaf_of(id, channel_id);
        let source = leaf
            .and_then(|leaf| self.miners.find(leaf))
            .map(|miner| miner.source);
        let (Some(leaf), Some(Source::Own(channel))) = (leaf, source) else {
            self.totals.foreign_ignored += 1;
            return;
        };
        if let Some(leaf) = self.miners.leaf_mut(leaf) {
            leaf.has_foreign = true;
        }
        let forwarded = foreign(channel_id, frame).for_channel(channel.channel_id);
        let link = self.links.get_mut(&channel.link);
        if let Some(session) = link.and_then(|link| link.session.as_mut()) {
            session.forward(forwarded);
            self.take_session_outputs(channel.link, now);
        }
    }

    /// The same from the upstream; whether there was somebody to take it.
    pub(super) fn forward_down(
        &mut self,
        link: LinkId,
        channel_id: u32,
        frame: &ForwardedFrame,
        now: Now,
    ) -> bool {
        let Some((owner, device, own_id)) = self.endpoint_of(link, channel_id) else {
            return false;
        };
        if let Some(leaf) = self.miners.leaf_mut(owner) {
            leaf.has_foreign = true;
        }
        let forwarded = foreign(channel_id, frame).for_channel(own_id);
        self.act_on_device(device, now, |device| {
            device.act(now, |session| session.forward(forwarded));
        });
        true
    }

    /// Further up another endpoint stands behind a channel. If it is a device's, and frames of unknown extensions have
    /// passed, the device hears of it, as of any other endpoint (CM-16).
    pub(super) fn endpoint_changed(&mut self, link: LinkId, channel_id: u32, now: Now) {
        let Some((owner, device, own_id)) = self.endpoint_of(link, channel_id) else {
            return;
        };
        let leaf = self.miners.leaf_mut(owner);
        let had_foreign = leaf.is_some_and(|leaf| std::mem::take(&mut leaf.has_foreign));
        if had_foreign {
            self.act_on_device(device, now, |device| {
                device.act(now, |session| session.endpoint_changed(own_id));
            });
        }
    }

    /// The leaf that a channel upstream is handed on to, its device, and the channel there. `None` where the channel ends
    /// here, or its leaf mines elsewhere by now.
    fn endpoint_of(&self, link: LinkId, channel_id: u32) -> Option<(MinerId, DeviceId, u32)> {
        let channel = self.links.get(&link)?.channels.get(&channel_id)?;
        let owner = channel.owner?;
        let here = Source::Own(ChannelRef { link, channel_id });
        let miner = self.miners.find(owner)?;
        let (device, own_id) = self.place_of(owner).filter(|_| miner.source == here)?;
        Some((owner, device, own_id))
    }
}

const fn foreign(channel_id: u32, frame: &ForwardedFrame) -> ForeignFrame<'_> {
    ForeignFrame {
        channel_id,
        extension_type: frame.extension_type,
        msg_type: frame.msg_type,
        payload: frame.payload.as_slice(),
    }
}

/// The error code of a message that refuses a device what it asked for.
const fn refusal(message: &ServerMessage) -> Option<&Str0255<'static>> {
    match message {
        ServerMessage::OpenMiningChannelError(message) => Some(&message.error_code),
        ServerMessage::UpdateChannelError(message) => Some(&message.error_code),
        ServerMessage::SetCustomMiningJobError(message) => Some(&message.error_code),
        _ => None,
    }
}
