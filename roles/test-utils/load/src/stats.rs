//! What all connections of the client have seen. They share one thread, so plain cells do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

/// Different error codes that are told apart; further ones are counted as `other`.
const MAX_CODES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) accepted: Cell<u64>,
    pub(crate) rejected: RefCell<BTreeMap<String, u64>>,
    /// Shares sent and not answered.
    pub(crate) under_way: Cell<u64>,
    /// No shares are to be sent for now: the upstream is behind.
    pub(crate) is_paused: Cell<bool>,
    /// No more shares are to be sent.
    pub(crate) is_over: Cell<bool>,
    /// From submitting a share to its answer, in nanoseconds, one entry per answer.
    pub(crate) latencies: RefCell<Vec<u32>>,
    /// Set to another number for each tip that is waited for.
    pub(crate) tip: Cell<u32>,
    /// When each connection heard of that tip.
    pub(crate) tip_times: RefCell<Vec<Instant>>,
    /// Connections that ended, and why.
    pub(crate) lost: RefCell<BTreeMap<String, u64>>,
}

impl Stats {
    pub(crate) fn accept(&self, count: u64) {
        self.accepted.set(self.accepted.get() + count);
    }

    pub(crate) fn answered(&self, submitted: Instant, now: Instant) {
        let nanos = now.saturating_duration_since(submitted).as_nanos();
        let nanos = u32::try_from(nanos).unwrap_or(u32::MAX);
        self.latencies.borrow_mut().push(nanos);
    }

    pub(crate) fn reject(&self, code: &str) {
        count(&mut self.rejected.borrow_mut(), code);
    }

    /// A connection heard of a tip; `known` is the one it counted last.
    pub(crate) fn heard_of_tip(&self, known: &mut u32, now: Instant) {
        if std::mem::replace(known, self.tip.get()) != self.tip.get() {
            self.tip_times.borrow_mut().push(now);
        }
    }

    /// Answers to shares so far.
    pub(crate) fn judged(&self) -> u64 {
        self.accepted.get() + self.rejected.borrow().values().sum::<u64>()
    }

    pub(crate) fn lose(&self, reason: &str) {
        count(&mut self.lost.borrow_mut(), reason);
    }
}

/// Counts under a name that a peer may have chosen.
pub(crate) fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    let name = match counts.len() < MAX_CODES || counts.contains_key(name) {
        true => name,
        false => "other",
    };
    *counts.entry(name.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_invents_codes_fills_no_memory() {
        let stats = Stats::default();
        for code in 0..1000 {
            stats.reject(&code.to_string());
        }
        stats.reject("0");
        let rejected = stats.rejected.borrow();
        assert_eq!((rejected["0"], rejected["other"]), (2, 936));
    }
}
