//! Shares on their way up, and the upstream's verdicts on their way back.

use std::sync::Arc;

use mining_sv2::SubmitSharesSuccess;
use roles_logic_sv2::channels::client::{ClientError, Found, Work};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::share::RejectReason;
use roles_logic_sv2::upstream::words;
use stratum_translation::bridge::{UpstreamShare, Worth};

use super::{Note, Proxy};
use crate::link::{LinkId, Sent};
use crate::miner::{ChannelRef, MinerId};

/// What a device hears of a share whose upstream is gone: nobody knows what became of it.
const UPSTREAM_LOST: &str = "upstream-lost";

/// A share on its way up, whoever found it.
pub(super) struct Upward<'a> {
    /// The connection that its work came on.
    pub(super) source: u64,
    pub(super) work: &'a Work,
    pub(super) found: Found<'a>,
    pub(super) worker: Option<Arc<str>>,
    pub(super) is_block: bool,
    pub(super) sent: Sent,
}

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

    /// Hands in a share of an Sv1 miner.
    pub(super) fn submit(&mut self, id: MinerId, share: &UpstreamShare, now: Now) {
        let miner = self.miners.find_mut(id);
        let upward = Upward {
            source: share.work.source(),
            work: share.work.work(),
            found: share.found(),
            worker: miner.map(|miner| miner.worker(&share.worker)),
            is_block: share.is_block,
            sent: Sent {
                miner: id,
                own_number: None,
            },
        };
        self.hand_in(&upward, now);
    }

    /// Hands a share in where its job came from.
    pub(super) fn hand_in(&mut self, share: &Upward<'_>, now: Now) {
        let link_id = LinkId::of_source(share.source);
        let link = link_id.and_then(|id| self.links.get_mut(&id));
        let Some((link_id, link)) = link_id.zip(link) else {
            return self.lost(None, share.sent, now);
        };
        let upstream = link.upstream;
        let (work, found, worker) = (share.work, &share.found, share.worker.as_ref());
        let submitted = link.session.as_mut().map(|session| {
            if share.is_block {
                session.submit_block(work, found, worker, now)
            } else {
                session.submit(work, found, worker, now)
            }
        });
        let channel = link.channels.get_mut(&work.channel_id());
        let (Some(Ok(sequence_number)), Some(channel)) = (submitted, channel) else {
            let code = match submitted {
                Some(Err(ClientError::Stale)) => RejectReason::Stale.error_code(),
                _ => UPSTREAM_LOST,
            };
            return self.lost_as(code, Some(upstream), share.sent, now);
        };
        let pushed_out = channel.sent(sequence_number, share.sent);
        if let Some(counts) = self.counts(upstream) {
            counts.submitted += 1;
        }
        if let Some(pushed_out) = pushed_out {
            self.lost(Some(upstream), pushed_out, now);
        }
        self.take_session_outputs(link_id, now);
    }

    /// A share was not handed in, or will not be answered.
    pub(super) fn lost(&mut self, upstream: Option<usize>, sent: Sent, now: Now) {
        self.lost_as(UPSTREAM_LOST, upstream, sent, now);
    }

    /// The same; a device that waits for the answer hears this code.
    fn lost_as(&mut self, code: &str, upstream: Option<usize>, sent: Sent, now: Now) {
        match self.miners.find_mut(sent.miner) {
            Some(miner) => miner.upstream_lost(),
            None => self.totals.upstream.lost += 1,
        }
        if let Some(counts) = upstream.and_then(|upstream| self.counts(upstream)) {
            counts.lost += 1;
        }
        self.reject_relayed(sent, code, now);
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
        // Whose numbers wait for this, the last of them, and how many there are.
        let mut relayed = None;
        let mut relayed_count = 0;
        while let Some(sent) = channel.acknowledged(last) {
            count += 1;
            if let Some(number) = sent.own_number {
                relayed = Some((sent.miner, number));
                relayed_count += 1;
            }
            match self.miners.find_mut(sent.miner) {
                Some(miner) => miner.upstream_accepted(1),
                None => self.totals.upstream.accepted += 1,
            }
        }
        let upstream = link.upstream;
        if let Some(counts) = self.counts(upstream) {
            counts.accepted += count;
        }
        if let Some((id, last_sequence_number)) = relayed {
            let message = SubmitSharesSuccess {
                last_sequence_number,
                new_submits_accepted_count: relayed_count,
                ..*message
            };
            self.acknowledge_relayed(id, message, now);
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
        let Some(sent) = miner else {
            link.ignored += 1;
            return;
        };
        let id = sent.miner;
        let code = words(code);
        self.reject_relayed(sent, &code, now);
        self.count_upstream_code(upstream, &code);
        self.answered(link_id, channel_id, now);
        let Some(miner) = self.miners.find_mut(id) else {
            self.totals.upstream.rejected += 1;
            return;
        };
        miner.upstream_rejected();
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
