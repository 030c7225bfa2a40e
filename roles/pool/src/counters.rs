//! What a pool has done, counted where it happens and read by status pages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use binary_sv2::Str0255;
use pool_core::downstream::Downstream;
use roles_logic_sv2::accounting::Slice;
use roles_logic_sv2::share::RejectReason;

/// Hashes that stand behind a share of difficulty 1.
const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;

/// Counters by name; names are fixed in the program, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Named(Mutex<BTreeMap<&'static str, u64>>);

impl Named {
    pub(crate) fn add(&self, name: &'static str, count: u64) {
        if count > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(name).or_default() += count;
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Shares of all connections.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    accepted: AtomicU64,
    /// Hashes that the accepted shares stand for, an f64 by its bits.
    hashes: AtomicU64,
    /// Rejected shares, at the place of the first reason in [`RejectReason::ALL`] with the error code that was sent.
    rejected: [AtomicU64; RejectReason::ALL.len()],
}

impl Shares {
    /// Once per slice, not per share.
    pub(crate) fn count(&self, slice: &Slice) {
        self.accepted
            .fetch_add(u64::from(slice.accepted_count), Ordering::Relaxed);
        let hashes = slice.difficulty.to_f64() * HASHES_PER_DIFFICULTY;
        let add = |bits| Some((f64::from_bits(bits) + hashes).to_bits());
        // The closure always gives a value, so the update cannot fail.
        let _ = self
            .hashes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// A rejection under this error code, one of those of [`RejectReason`].
    pub(crate) fn count_rejected(&self, error_code: &Str0255<'_>) {
        let sent = |reason: &RejectReason| error_code.as_str() == Some(reason.error_code());
        let place = RejectReason::ALL.iter().position(sent);
        if let Some(count) = place.and_then(|place| self.rejected.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rejected shares by error code; codes never sent are left out.
    pub(crate) fn rejected(&self) -> BTreeMap<&'static str, u64> {
        let counts = self
            .rejected
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let named = RejectReason::ALL.iter().zip(counts);
        let sent = named.filter(|(_, count)| *count > 0);
        sent.map(|(reason, count)| (reason.error_code(), count))
            .collect()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn hashes(&self) -> f64 {
        f64::from_bits(self.hashes.load(Ordering::Relaxed))
    }
}

/// Books what a connection discarded, when it ends.
pub(crate) fn book_discarded(rejects: &Named, downstream: &Downstream) {
    let ignored = downstream.ignored();
    let named = downstream.discarded().named().into_iter();
    let named = named.chain(ignored.refused()).chain(ignored.passed_over());
    named.for_each(|(name, count)| rejects.add(name, count));
}
