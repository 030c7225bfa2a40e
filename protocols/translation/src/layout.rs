//! How a channel's extranonce is divided between miners.

use sv1_api::quirks::Quirks;

/// Bytes that tell miners on one channel apart, where the channel has room for them.
const USUAL_PART_SIZE: usize = 4;

/// Fewest bytes that tell miners apart: 65 536 of them.
const MIN_PART_SIZE: usize = 2;

/// Fewest bytes of extranonce2 that mining hardware works with.
const MIN_EXTRANONCE2_SIZE: usize = 2;

/// Bytes of extranonce that an upstream is asked for, one after the other until it grants one.
pub const EXTRANONCE_SIZES_ASKED: [u16; 4] = [12, 10, 8, 4];

/// What miners see of a channel's extranonce: first what tells them apart, then what they roll.
///
/// The rest stands in the coinbase. So the same layout serves with any upstream that grants as many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes that tell miners apart.
    pub part_size: usize,
    /// Bytes that each rolls.
    pub extranonce2_size: usize,
}

impl Layout {
    /// The layout where there is room enough.
    pub const fn usual(extranonce2_size: usize) -> Self {
        Self {
            part_size: USUAL_PART_SIZE,
            extranonce2_size,
        }
    }

    /// The layout for a channel with so many bytes; `None` when two miners could not work on it.
    pub fn of_channel(size: usize, extranonce2_size: usize) -> Option<Self> {
        let wanted = Self::usual(extranonce2_size);
        if size >= wanted.shown() {
            return Some(wanted);
        }
        let part_size = size
            .saturating_sub(extranonce2_size)
            .clamp(MIN_PART_SIZE, USUAL_PART_SIZE);
        let left = size.checked_sub(part_size)?;
        (left >= MIN_EXTRANONCE2_SIZE).then_some(Self {
            part_size,
            extranonce2_size: left.min(extranonce2_size),
        })
    }

    /// Bytes of extranonce1 and extranonce2 together.
    pub const fn shown(self) -> usize {
        self.part_size + self.extranonce2_size
    }

    /// Miners that can be told apart.
    pub const fn capacity(self) -> u64 {
        1 << (8 * self.part_size)
    }

    /// extranonce1 and the size of extranonce2 for a kind of miner. `number` is its own among all on the channel; `None`
    /// when the part does not hold it, or when the miner cannot work with so few bytes to roll.
    ///
    /// What a miner cannot roll of its bytes are zeros behind its part.
    pub fn extranonce1(self, number: u32, quirks: &Quirks) -> Option<(Vec<u8>, usize)> {
        if u64::from(number) >= self.capacity() {
            return None;
        }
        let sizes = quirks.extranonce2_sizes();
        let extranonce2_size = self.extranonce2_size.min(*sizes.end());
        if extranonce2_size < *sizes.start() {
            return None;
        }
        let digits = number.to_be_bytes();
        let skipped = digits.len() - self.part_size;
        let mut extranonce1 = digits.get(skipped..)?.to_vec();
        extranonce1.resize(self.shown() - extranonce2_size, 0);
        Some((extranonce1, extranonce2_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: usize, expected: Option<(usize, usize)>) {
        let layout = Layout::of_channel(size, 8);
        let parts = layout.map(|layout| (layout.part_size, layout.extranonce2_size));
        assert_eq!(parts, expected, "{size}");
    }

    #[test]
    fn a_large_channel_gives_the_usual_sizes_and_a_small_one_what_it_can() {
        check(32, Some((4, 8)));
        check(12, Some((4, 8)));
        check(11, Some((3, 8)));
        check(10, Some((2, 8)));
        check(8, Some((2, 6)));
        check(4, Some((2, 2)));
        check(3, None);
        check(0, None);
    }

    #[test]
    fn every_size_asked_for_makes_a_layout() {
        for size in EXTRANONCE_SIZES_ASKED {
            assert!(Layout::of_channel(size.into(), 8).is_some());
        }
    }

    #[test]
    fn miners_have_bytes_of_their_own_and_no_more_to_roll_than_they_can() {
        let layout = Layout::usual(8);
        let ordinary = layout.extranonce1(0x0102, &Quirks::ORDINARY);
        assert_eq!(ordinary, Some((vec![0, 0, 1, 2], 8)));
        let small = Quirks {
            extranonce2_max: 4,
            ..Quirks::ORDINARY
        };
        let padded = layout.extranonce1(0x0102, &small);
        assert_eq!(padded, Some((vec![0, 0, 1, 2, 0, 0, 0, 0], 4)));
        let narrow = Layout::of_channel(8, 8).unwrap();
        assert_eq!(
            narrow.extranonce1(0xffff, &Quirks::ORDINARY),
            Some((vec![0xff, 0xff], 6))
        );
        assert_eq!(narrow.extranonce1(0x1_0000, &Quirks::ORDINARY), None);
        let marketplace = Quirks {
            extranonce2_min: 4,
            ..Quirks::ORDINARY
        };
        let narrowest = Layout::of_channel(4, 8).unwrap();
        assert_eq!(narrowest.extranonce1(1, &marketplace), None);
    }
}
