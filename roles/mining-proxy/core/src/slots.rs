//! Places that are used again, with ids that are not.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Who has a place, as long as it has it.
pub struct SlotId<T> {
    index: u32,
    /// How often the place was used before, so that an id is never another one's.
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> SlotId<T> {
    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self {
            index,
            generation,
            of: PhantomData,
        }
    }

    /// A number below the most that there ever were at a time, for tables of the shell.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

// Derived, these would ask the same of what stands in the places.
impl<T> Clone for SlotId<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SlotId<T> {}

impl<T> PartialEq for SlotId<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for SlotId<T> {}

impl<T> PartialOrd for SlotId<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for SlotId<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}

impl<T> Hash for SlotId<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}

impl<T> fmt::Debug for SlotId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Things by their ids. Grows to the most there ever were at a time.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<(u32, Option<Box<T>>)>,
    free: Vec<u32>,
    count: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }
}

impl<T> Slots<T> {
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn insert(&mut self, thing: T) -> SlotId<T> {
        self.count += 1;
        let thing = Some(Box::new(thing));
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.1 = thing;
            return SlotId::new(index, slot.0);
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, thing));
        SlotId::new(index, 0)
    }

    pub(crate) fn find(&self, id: SlotId<T>) -> Option<&T> {
        let slot = self.slots.get(id.index());
        slot.filter(|slot| slot.0 == id.generation)?.1.as_deref()
    }

    pub(crate) fn find_mut(&mut self, id: SlotId<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index());
        let slot = slot.filter(|slot| slot.0 == id.generation)?;
        slot.1.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, id: SlotId<T>) -> Option<T> {
        let slot = self.slots.get_mut(id.index());
        let slot = slot.filter(|slot| slot.0 == id.generation)?;
        let thing = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.index);
        self.count -= 1;
        Some(*thing)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotId<T>, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            let id = SlotId::new(index, slot.0);
            Some((id, slot.1.as_deref()?))
        })
    }

    pub(crate) fn ids(&self) -> Vec<SlotId<T>> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_ids_are_not() {
        let mut slots = Slots::default();
        let (one, two) = (slots.insert("one"), slots.insert("two"));
        assert_eq!(slots.remove(one), Some("one"));
        let three = slots.insert("three");
        assert_eq!((three.index(), three == one), (one.index(), false));
        assert_eq!(slots.find(one), None);
        assert_eq!(slots.remove(one), None);
        assert_eq!(slots.find(three), Some(&"three"));
        assert_eq!((slots.len(), slots.ids()), (2, vec![three, two]));
    }
}
