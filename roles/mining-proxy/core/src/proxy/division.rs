//! Which miner works on which of the links that are used.

use roles_logic_sv2::clock::Now;
use roles_logic_sv2::upstream::failover::FailoverOutput;
use roles_logic_sv2::upstream::split::Load;

use super::{Note, Proxy};
use crate::link::LinkId;
use crate::miner::MinerId;

impl Proxy {
    /// Does what the choice between upstreams asks for.
    pub(super) fn follow_failover(&mut self, now: Now) {
        while let Some(output) = self.failover.poll_output() {
            match output {
                FailoverOutput::Try(index) => self.try_upstream(index, now),
                FailoverOutput::Use(indices) => self.use_upstreams(indices, now),
                FailoverOutput::Leave(index) => {
                    let upstream = self.upstreams.get_mut(index);
                    if let Some(link) = upstream.and_then(|upstream| upstream.link.take()) {
                        self.leave(link, now);
                    }
                }
            }
        }
    }

    /// Mines for exactly these upstreams from now on.
    fn use_upstreams(&mut self, indices: Vec<usize>, now: Now) {
        let upstreams = indices
            .iter()
            .filter_map(|index| self.upstreams.get(*index));
        self.used = upstreams.filter_map(|upstream| upstream.link).collect();
        self.note(Note::Uses(indices));
        self.new_tips.clear();
        self.weigh(now);
        if self.used.is_empty() {
            self.orphaned_at.get_or_insert(now.instant);
        }
        for id in self.used.clone() {
            self.begin_use(id);
        }
        for miner in self.miners.ids() {
            self.find_link_and_enter(miner, now);
        }
        self.hashrate_changed(now);
        self.leave_successors(now);
    }

    /// Miners are about to mine here.
    fn begin_use(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.was_used = true;
            if link.work.is_some() {
                self.orphaned_at = None;
            }
        }
    }

    /// A link takes the place of another one to the same upstream; if that was used, with its miners.
    pub(super) fn replace_used(&mut self, former: LinkId, link: LinkId, now: Now) {
        let mut used = self.used.iter_mut();
        let Some(place) = used.find(|used| **used == former) else {
            return;
        };
        *place = link;
        self.begin_use(link);
        for id in self.miners.ids() {
            let miner = self.miners.find(id);
            if miner.is_some_and(|miner| miner.link == Some(former)) {
                self.assign(id, link, now);
            }
        }
        self.hashrate_changed(now);
    }

    /// Tells the division what it divides among.
    pub(super) fn weigh(&mut self, now: Now) {
        let upstreams = self.used.iter().filter_map(|id| self.links.get(id));
        let weights = upstreams.filter_map(|link| {
            let upstream = self.upstreams.get(link.upstream)?;
            Some((link.upstream, upstream.config.weight))
        });
        let weights: Vec<_> = weights.collect();
        self.split.set_weights(&weights, now.instant);
    }

    /// A miner has said something new of itself: it is brought to its link, or to one for the first time.
    pub(super) fn admit(&mut self, id: MinerId, now: Now) {
        let link = self.miners.find(id).and_then(|miner| miner.link);
        match link.filter(|link| self.used.contains(link)) {
            Some(link) => self.enter(id, link, now),
            None if self.used.is_empty() => self.open_for_first_miner(now),
            None => self.find_link_and_enter(id, now),
        }
    }

    fn find_link_and_enter(&mut self, id: MinerId, now: Now) {
        if let Some(link) = self.find_link(id, now) {
            self.enter(id, link, now);
        }
    }

    /// Assigns a miner to a link that is used, if it has none; gives that link if so.
    pub(super) fn find_link(&mut self, id: MinerId, now: Now) -> Option<LinkId> {
        let miner = self.miners.find(id)?;
        if miner.link.is_some_and(|link| self.used.contains(&link)) {
            return None;
        }
        let chosen = match miner.is_here() {
            true => self.choose(id, now),
            false => None,
        };
        let miner = self.miners.find_mut(id)?;
        miner.link = chosen;
        miner.moved_at = now.instant;
        chosen
    }

    /// The link for a new miner: that of the upstream that is short of most, unless it has just refused this one.
    fn choose(&mut self, id: MinerId, now: Now) -> Option<LinkId> {
        if let [only] = *self.used {
            return Some(only);
        }
        let miner = self.miners.find(id)?;
        let refused_by = miner.refused_by;
        let upstream = self.split.place(miner.estimate(now))?;
        let link = self.upstreams.get(upstream)?.link?;
        match refused_by == Some(link) {
            true => self.next_used(link),
            false => Some(link),
        }
    }

    /// The link that is used after this one, all in a circle; `None` when there is no other.
    fn next_used(&self, id: LinkId) -> Option<LinkId> {
        let mut links = self.used.iter();
        let at = links.position(|link| *link == id)?;
        let next = self.used.get(at + 1).or(self.used.first());
        next.copied().filter(|next| *next != id)
    }

    fn assign(&mut self, id: MinerId, link: LinkId, now: Now) {
        if let Some(miner) = self.miners.find_mut(id) {
            miner.link = Some(link);
            miner.moved_at = now.instant;
            self.enter(id, link, now);
        }
    }

    /// A link has nothing for this miner: it goes to the next one that is used. `false` when there is none, or when all
    /// have refused it.
    pub(super) fn go_elsewhere(&mut self, id: MinerId, from: LinkId, now: Now) -> bool {
        let Some(next) = self.next_used(from) else {
            return false;
        };
        let Some(miner) = self.miners.find_mut(id) else {
            return false;
        };
        if miner.refusals as usize >= self.used.len() {
            return false;
        }
        miner.refused_by = Some(from);
        self.assign(id, next, now);
        true
    }

    /// Moves miners so that each upstream gets its part, when it is time to look.
    pub(super) fn rebalance(&mut self, now: Now) {
        let due = self.split.poll_timeout();
        if due.is_none_or(|due| due > now.instant) {
            return;
        }
        self.look_at_leaves(now);
        let nominal = self.config.bridge.nominal_hashrate;
        let miners = self.miners.iter().filter(|(_, miner)| miner.is_counted());
        let loads = miners.filter_map(|(key, miner)| {
            Some(Load {
                key,
                upstream: self.links.get(&miner.link?)?.upstream,
                hashrate: miner.hashrate(nominal, now),
                moved_at: miner.moved_at,
            })
        });
        let loads: Vec<_> = loads.collect();
        let moves = self.split.rebalance(&loads, now.instant);
        for (id, upstream) in &moves {
            let link = self.upstreams.get(*upstream).and_then(|at| at.link);
            if let Some(link) = link.filter(|link| self.may_move(*id, *link)) {
                self.assign(*id, link, now);
            }
        }
        if !moves.is_empty() {
            self.hashrate_changed(now);
        }
    }

    /// Whether a miner can change links without noticing more than another job.
    fn may_move(&self, id: MinerId, link_id: LinkId) -> bool {
        let (Some(miner), Some(link)) = (self.miners.find(id), self.links.get(&link_id)) else {
            return false;
        };
        let shown = link.layout.map(|layout| layout.shown());
        let is_alike = shown.is_some() && miner.shown().is_none_or(|own| shown == Some(own));
        let has_work = !link.is_aggregated || link.work.is_some();
        let is_settled = miner.request.is_none() && miner.refused_by != Some(link_id);
        self.used.contains(&link_id) && is_alike && has_work && is_settled
    }

    /// Lets go of connections that upstreams wanted instead of others, which are gone, if those upstreams will not be tried
    /// again: better ones are used, or they are not wanted.
    pub(super) fn leave_successors(&mut self, now: Now) {
        let used = self.used.iter().filter_map(|id| self.links.get(id));
        let used: Vec<usize> = used.map(|link| link.upstream).collect();
        let of_used = used.iter().filter_map(|index| self.upstreams.get(*index));
        let wanted = of_used.filter(|upstream| upstream.is_wanted());
        let tier = wanted.map(|upstream| upstream.config.priority).min();
        let is_over = |index: usize| {
            let upstream = self.upstreams.get(index);
            upstream.is_none_or(|upstream| {
                let is_worse = tier.is_some_and(|tier| tier < upstream.config.priority);
                is_worse || !upstream.is_wanted()
            })
        };
        let links = self.links.iter().filter(|(_, link)| {
            let is_successor = link.replaces.is_some() && link.leaves_at.is_none();
            is_successor && !used.contains(&link.upstream) && is_over(link.upstream)
        });
        let successors: Vec<_> = links.map(|(id, _)| *id).collect();
        for id in successors {
            self.leave(id, now);
        }
    }
}
