//! The shares already credited on a tip, in bounded memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::job::ChainTip;

/// Shares that one channel can have credited on one tip before further ones are refused.
///
/// At a usual 20 shares a minute this is a month without a block. It bounds the set to 12 MB.
pub const DEFAULT_MAX_SHARES_PER_TIP: usize = 1 << 20;

/// Origins of work that a miner has left, and whose shares are still known. Of more, the one that it left longest ago is
/// forgotten.
pub const MAX_ORIGINS_LEFT: usize = 8;

/// Slots of the first allocation, 64 bytes.
const INITIAL_SLOTS: usize = 8;

/// Slots kept when the tip changes, 4 KB: a channel at its usual rate allocates no more after the first tips.
const MAX_SLOTS_KEPT: usize = 512;

/// A slot without a fingerprint.
const EMPTY: u64 = 0;

/// What became of an attempt to remember a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// It was not known and now is.
    New,
    /// It was known.
    Duplicate,
    /// It is not known, and the limit leaves no room to remember it.
    Full,
}

/// The set of shares credited on the present tip, as 8-byte fingerprints.
///
/// The fingerprint of a share is the low end of its block hash, so it costs no hashing, and equal headers are found
/// whatever job they were submitted for. Two different shares are taken for one with a chance of about one in 10^13
/// among a million shares; the miner then loses one share.
///
/// Memory: nothing while empty, then open addressing at 68 to 85 % load, which is 9.4 to 11.8 bytes a share.
/// At the limit nothing is forgotten, for then old shares could be credited again: [`Insertion::Full`] lasts until
/// [`Self::clear`]. A channel gets there only far above any sane share rate; raise its difficulty.
#[derive(Clone, Debug)]
pub struct DuplicateSet {
    slots: Box<[u64]>,
    len: usize,
    limit: usize,
}

impl DuplicateSet {
    /// An empty set that remembers up to `limit` shares, [`DEFAULT_MAX_SHARES_PER_TIP`] unless there is a reason.
    pub fn new(limit: usize) -> Self {
        Self {
            slots: Box::default(),
            len: 0,
            limit,
        }
    }

    /// Shares remembered.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no share is remembered.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    /// Forgets everything: the tip changed. Keeps up to 4 KB for the next tip.
    pub fn clear(&mut self) {
        self.len = 0;
        if self.slots.len() > MAX_SLOTS_KEPT {
            self.slots = Box::default();
        }
        self.slots.fill(EMPTY);
    }

    /// Remembers the share with this block hash (32 raw bytes).
    pub fn insert(&mut self, hash: &[u8; 32]) -> Insertion {
        let fingerprint = fingerprint(hash);
        let mut slot = self.slot_of(fingerprint);
        if self.slots.get(slot) == Some(&fingerprint) {
            return Insertion::Duplicate;
        }
        if self.len >= self.limit {
            return Insertion::Full;
        }
        // At most 85 % of the slots are taken, so that a search ends soon.
        if (self.len + 1) * 20 > self.slots.len() * 17 {
            self.grow();
            slot = self.slot_of(fingerprint);
        }
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = fingerprint;
            self.len += 1;
        }
        Insertion::New
    }

    /// Where the fingerprint is, or the empty slot where it would go.
    fn slot_of(&self, fingerprint: u64) -> usize {
        let slots = self.slots.len();
        // Scales the fingerprint to the number of slots without a division, for any number of slots.
        let mut at = ((u128::from(fingerprint) * slots as u128) >> 64) as usize;
        while let Some(slot) = self.slots.get(at) {
            if *slot == EMPTY || *slot == fingerprint {
                break;
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
        at
    }

    /// A quarter more slots: small steps keep the set within 12 bytes a share.
    fn grow(&mut self) {
        let slots = (self.slots.len() * 5 / 4).max(INITIAL_SLOTS);
        let old = core::mem::replace(
            &mut self.slots,
            alloc::vec![EMPTY; slots].into_boxed_slice(),
        );
        for fingerprint in old.into_iter().filter(|slot| *slot != EMPTY) {
            let slot = self.slot_of(fingerprint);
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = fingerprint;
            }
        }
    }
}

impl Default for DuplicateSet {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_SHARES_PER_TIP)
    }
}

/// The shares of a miner that works for several origins in turn, such as the upstreams of a proxy, each with a tip of its
/// own. It may come back to one, or hand in a late share there, while that one's tip is still the same; so the set of each
/// is put aside when the miner leaves, for as long as the tip lasts.
///
/// Memory: a pointer before the miner leaves its first origin; then up to [`MAX_ORIGINS_LEFT`] sets.
#[derive(Clone, Debug)]
pub struct SharesElsewhere<K> {
    /// `None` where none is known: of most miners, so that it is to be small.
    left: Option<Box<Origins<K>>>,
}

#[derive(Clone, Debug)]
struct Origins<K> {
    /// The one left longest ago first.
    list: Vec<Left<K>>,
}

#[derive(Clone, Debug)]
struct Left<K> {
    origin: K,
    tip: Arc<ChainTip>,
    seen: DuplicateSet,
}

impl<K: Copy + Eq> SharesElsewhere<K> {
    /// The miner has left no origin.
    pub const fn new() -> Self {
        Self { left: None }
    }

    /// The miner leaves an origin, on this tip.
    pub fn leave(&mut self, origin: K, tip: Arc<ChainTip>, seen: DuplicateSet) {
        let none = || Box::new(Origins { list: Vec::new() });
        let list = &mut self.left.get_or_insert_with(none).list;
        list.retain(|left| left.origin != origin);
        if list.len() >= MAX_ORIGINS_LEFT {
            list.remove(0);
        }
        // Most that leave one have two at most.
        list.reserve_exact(1);
        list.push(Left { origin, tip, seen });
    }

    /// The miner works for an origin again, on this tip. Gives the shares that it had there on this very block, if any.
    pub fn come_back(&mut self, origin: K, tip: &ChainTip) -> Option<DuplicateSet> {
        let list = &mut self.left.as_mut()?.list;
        let at = list.iter().position(|left| left.origin == origin)?;
        let left = list.remove(at);
        self.left.take_if(|left| left.list.is_empty());
        left.tip.is_same_block(tip).then_some(left.seen)
    }

    /// The shares of an origin that was left, for a late one.
    pub fn find_mut(&mut self, origin: K) -> Option<&mut DuplicateSet> {
        let mut list = self.left.as_mut()?.list.iter_mut();
        let left = list.find(|left| left.origin == origin)?;
        Some(&mut left.seen)
    }

    /// An origin that was left has this tip by now.
    pub fn end_tip(&mut self, origin: K, tip: &ChainTip) {
        self.retain(|left| left.origin != origin || left.tip.is_same_block(tip));
    }

    /// An origin is gone.
    pub fn forget(&mut self, origin: K) {
        self.retain(|left| left.origin != origin);
    }

    fn retain(&mut self, is_kept: impl FnMut(&Left<K>) -> bool) {
        if let Some(left) = &mut self.left {
            left.list.retain(is_kept);
            self.left.take_if(|left| left.list.is_empty());
        }
    }
}

impl<K: Copy + Eq> Default for SharesElsewhere<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The low end of a hash: the high end of every share's hash is zeros.
fn fingerprint(hash: &[u8; 32]) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&hash[..8]);
    // Zero marks an empty slot.
    u64::from_le_bytes(low).max(1)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::clock::Instant;
    use crate::merkle::sha256d;

    #[test]
    fn agrees_with_a_naive_set_and_stays_within_its_memory() {
        let mut set = DuplicateSet::default();
        let mut naive = BTreeSet::new();
        for i in 0..20_000u32 {
            // Every third share repeats an earlier one.
            let hash = sha256d(&(if i % 3 == 2 { i / 2 } else { i }).to_le_bytes());
            let expected = if naive.insert(hash) {
                Insertion::New
            } else {
                Insertion::Duplicate
            };
            assert_eq!(set.insert(&hash), expected, "share {i}");
            assert!(
                set.len() < 10 || set.heap_size() <= 12 * set.len(),
                "{} of {}",
                set.heap_size(),
                set.len()
            );
        }
        assert_eq!(set.len(), naive.len());
    }

    #[test]
    fn at_the_limit_old_shares_stay_known_and_new_ones_are_refused() {
        let mut set = DuplicateSet::new(100);
        let hash = |i: u32| sha256d(&i.to_le_bytes());
        for i in 0..100 {
            assert_eq!(set.insert(&hash(i)), Insertion::New);
        }
        assert_eq!(set.insert(&hash(100)), Insertion::Full);
        assert_eq!(set.insert(&hash(0)), Insertion::Duplicate);
        set.clear();
        assert_eq!(set.insert(&hash(0)), Insertion::New);
    }

    #[test]
    fn clear_gives_back_what_a_usual_tip_does_not_need() {
        let mut set = DuplicateSet::default();
        for i in 0..5_000u32 {
            set.insert(&sha256d(&i.to_le_bytes()));
        }
        set.clear();
        assert_eq!((set.heap_size(), set.is_empty()), (0, true));
        for i in 0..200u32 {
            set.insert(&sha256d(&i.to_le_bytes()));
        }
        let warm = set.heap_size();
        set.clear();
        assert_eq!(set.heap_size(), warm);
    }

    fn tip(block: u8, min_ntime: u32) -> Arc<ChainTip> {
        let tip = ChainTip::new([block; 32], 0x1d00_ffff, min_ntime, Instant::default());
        Arc::new(tip.unwrap())
    }

    fn set_of(share: u8) -> DuplicateSet {
        let mut set = DuplicateSet::default();
        set.insert(&[share; 32]);
        set
    }

    #[test]
    fn shares_of_an_origin_are_known_while_its_tip_lasts() {
        let mut elsewhere = SharesElsewhere::new();
        elsewhere.leave(1, tip(1, 0), set_of(1));
        elsewhere.leave(2, tip(2, 0), set_of(2));
        let late = elsewhere.find_mut(1).unwrap();
        assert_eq!(late.insert(&[1; 32]), Insertion::Duplicate);
        assert_eq!(late.insert(&[3; 32]), Insertion::New);
        // The same block, told once more.
        elsewhere.end_tip(1, &tip(1, 9));
        let mut back = elsewhere.come_back(1, &tip(1, 9)).unwrap();
        assert_eq!(back.insert(&[3; 32]), Insertion::Duplicate);
        assert!(elsewhere.find_mut(1).is_none());
        assert!(elsewhere.come_back(2, &tip(3, 0)).is_none());
        assert!(elsewhere.come_back(2, &tip(2, 0)).is_none());
        elsewhere.leave(2, tip(2, 0), set_of(2));
        elsewhere.end_tip(2, &tip(3, 0));
        assert!(elsewhere.find_mut(2).is_none());
    }

    #[test]
    fn the_origin_left_longest_ago_is_forgotten() {
        let mut elsewhere = SharesElsewhere::new();
        let most = MAX_ORIGINS_LEFT as u8;
        (0..most).for_each(|origin| elsewhere.leave(origin, tip(1, 0), set_of(origin)));
        elsewhere.leave(0, tip(1, 0), set_of(0));
        assert!(elsewhere.find_mut(1).is_some());
        elsewhere.leave(most, tip(1, 0), set_of(most));
        assert!(elsewhere.find_mut(1).is_none());
        assert!((2..=most).all(|origin| elsewhere.find_mut(origin).is_some()));
        assert!(elsewhere.find_mut(0).is_some());
    }

    #[test]
    fn fingerprints_that_look_like_an_empty_slot_are_kept() {
        let mut set = DuplicateSet::default();
        assert_eq!(set.insert(&[0; 32]), Insertion::New);
        assert_eq!(set.insert(&[0; 32]), Insertion::Duplicate);
        assert_eq!(set.insert(&[0xff; 32]), Insertion::New);
        assert_eq!(set.insert(&[0xff; 32]), Insertion::Duplicate);
    }
}
