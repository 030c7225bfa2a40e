//! Shares on their way up, and the upstream's verdicts on their way back.

use mining_sv2::SubmitSharesSuccess;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::upstream::words;
use stratum_translation::bridge::{UpstreamShare, Worth};

use super::{Note, Proxy};
use crate::link::LinkId;
use crate::miner::{ChannelRef, MinerId};

impl Proxy {
    /// A share was accepted here: the division of miners between upstreams counts it where its job came from.
    pub(super) fn worked(&mut self, worth: Worth) {
        if self.used.len() > 1
            && let Some(id) = LinkId::of_source(worth.source)
            && let Some(link) = self.links.get(&id)
        {
            let hashes = worth.credit.expected_hashes();
            self.split.worked(link.upstream, hashes);
        }
    }

    /// Hands a share in where its job came from.
    pub(super) fn submit(&mut self, id: MinerId, share: &UpstreamShare, now: Now) {
        let worker = self
            .miners
            .find_mut(id)
            .map(|miner| miner.worker(&share.worker));
        let link_id = LinkId::of_source(share.work.source());
        let link = link_id.and_then(|id| self.links.get_mut(&id));
        let Some((link_id, link)) = link_id.zip(link) else {
            return self.lost(None, id);
        };
        let upstream = link.upstream;
        let work = share.work.work();
        let found = share.found();
        let submitted = link.session.as_mut().and_then(|session| {
            let submitted = if share.is_block {
                session.submit_block(work, &found, worker.as_ref(), now)
            } else {
                session.submit(work, &found, worker.as_ref(), now)
            };
            submitted.ok()
        });
        let channel = link.channels.get_mut(&work.channel_id());
        let Some((sequence_number, channel)) = submitted.zip(channel) else {
            return self.lost(Some(upstream), id);
        };
        let pushed_out = channel.sent(sequence_number, id);
        if let Some(counts) = self.counts(upstream) {
            counts.submitted += 1;
        }
        if let Some(pushed_out) = pushed_out {
            self.lost(Some(upstream), pushed_out);
        }
        self.take_session_outputs(link_id, now);
    }

    /// A share was not handed in, or will not be answered.
    pub(super) fn lost(&mut self, upstream: Option<usize>, id: MinerId) {
        match self.miners.find_mut(id) {
            Some(miner) => miner.bridge.upstream_lost(),
            None => self.totals.upstream.lost += 1,
        }
        if let Some(counts) = upstream.and_then(|upstream| self.counts(upstream)) {
            counts.lost += 1;
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        link_id: LinkId,
        message: &SubmitSharesSuccess,
        now: Now,
    ) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let last = message.last_sequence_number;
        let channel = link.channels.get_mut(&message.channel_id);
        let Some(channel) = channel.filter(|channel| channel.was_sent(last)) else {
            link.ignored += 1;
            return;
        };
        let mut count = 0;
        while let Some(id) = channel.acknowledged(last) {
            count += 1;
            match self.miners.find_mut(id) {
                Some(miner) => miner.bridge.upstream_accepted(1),
                None => self.totals.upstream.accepted += 1,
            }
        }
        let upstream = link.upstream;
        if let Some(counts) = self.counts(upstream) {
            counts.accepted += count;
        }
        self.answered(link_id, message.channel_id, now);
    }

    pub(super) fn rejected(
        &mut self,
        link_id: LinkId,
        channel_id: u32,
        sequence_number: u32,
        code: &binary_sv2::Str0255<'_>,
        now: Now,
    ) {
        let Some(link) = self.links.get_mut(&link_id) else {
            return;
        };
        let upstream = link.upstream;
        let channel = link.channels.get_mut(&channel_id);
        let miner = channel.and_then(|channel| channel.rejected(sequence_number));
        let Some(id) = miner else {
            link.ignored += 1;
            return;
        };
        let code = words(code);
        self.count_upstream_code(upstream, &code);
        self.answered(link_id, channel_id, now);
        let Some(miner) = self.miners.find_mut(id) else {
            self.totals.upstream.rejected += 1;
            return;
        };
        miner.bridge.upstream_rejected();
        let count = miner.count_code(&code);
        if count.is_power_of_two() {
            let user = miner.user.clone().unwrap_or_default();
            self.note(Note::Rejected {
                miner: id,
                user,
                code,
                count,
            });
        }
    }

    /// Shares of a channel were answered: it may be that nobody waits there any more.
    fn answered(&mut self, link_id: LinkId, channel_id: u32, now: Now) {
        let Some(link) = self.links.get(&link_id) else {
            return;
        };
        let channel = link.channels.get(&channel_id);
        if channel.is_some_and(|channel| channel.is_retired && channel.in_flight() == 0) {
            let link = link_id;
            self.close_channel(ChannelRef { link, channel_id }, "miner disconnected", now);
        }
        if self.is_draining {
            self.handle_link_deadlines(now);
        }
    }
}
