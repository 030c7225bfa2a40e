//! Extranonce prefixes: disjoint parts of the search space, one per channel.
//!
//! The full extranonce has a fixed size, as the scriptSig's length byte is the same for all channels of a group
//! (MS-15). It begins with the server id, then the channel's number; extended channels roll what follows, for standard
//! channels it is zeros. Different server ids or different numbers make different prefixes of the same length, so no
//! two channels ever hash the same coinbase (MS-1).

use alloc::vec::Vec;

use crate::coinbase::MAX_FULL_EXTRANONCE_SIZE;

/// Longest prefix or miner's part that a message holds (`B0_32`).
pub const MAX_EXTRANONCE_PART_SIZE: usize = 32;

/// Most bytes that hold a channel's number.
pub const MAX_CHANNEL_NUMBER_SIZE: usize = 4;

/// How the full extranonce is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtranonceLayout {
    /// Bytes of the full extranonce.
    pub full_size: usize,
    /// Bytes that hold the server id, 0 when one server has the space to itself.
    pub server_id_size: usize,
    /// Bytes that hold the channel's number, 1 to 4.
    pub channel_number_size: usize,
    /// Most channels at a time, even where their number could count further. Bounds the allocator's memory.
    pub max_channels: u32,
}

impl Default for ExtranonceLayout {
    /// 20 bytes, as deployed pools have it: 1 for the server, 3 for the channel, 16 for the miner; a million channels.
    fn default() -> Self {
        Self {
            full_size: 20,
            server_id_size: 1,
            channel_number_size: 3,
            max_channels: 1_000_000,
        }
    }
}

/// Why there is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtranonceError {
    /// The parts of the layout do not fit into each other.
    #[error(
        "extranonce layout: at most 4 bytes of server id and 1 to 4 of channel number must fit the full size, the full \
         size 32 bytes"
    )]
    Layout,
    /// The server id needs more bytes than the layout has for it.
    #[error("server id {server_id} does not fit {size} bytes")]
    ServerId {
        /// The id in question.
        server_id: u32,
        /// Bytes there are.
        size: usize,
    },
    /// All prefixes are in use, or released since the last tip.
    #[error("all {capacity} extranonce prefixes are in use")]
    CapacityExhausted {
        /// Prefixes there are.
        capacity: u64,
    },
    /// The client asks for more bytes than are left behind the prefix.
    #[error("an extranonce of {asked} bytes was asked for, {available} are available")]
    MinSizeTooLarge {
        /// Bytes asked for.
        asked: usize,
        /// Bytes there are.
        available: usize,
    },
}

/// A prefix on loan to one channel. Give it back with [`ExtranonceAllocator::release`]; it cannot be copied, so it
/// cannot be given back twice. One that is dropped stays taken.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ExtranoncePrefix {
    bytes: [u8; MAX_EXTRANONCE_PART_SIZE],
    size: u8,
    number: u32,
}

impl ExtranoncePrefix {
    /// The same prefix with fewer bytes for the channel's number, which stands in its last `number_size` bytes, and zeros
    /// behind it up to `size` bytes in all: for a channel with less room than others. `Err` when the number needs more.
    ///
    /// # Errors
    /// The prefix as it was.
    pub fn narrowed(self, number_size: usize, size: usize) -> Result<Self, Self> {
        let needed = size_of::<u32>() - self.number.leading_zeros() as usize / 8;
        let fits = needed <= number_size && number_size <= size && size <= self.bytes.len();
        if !fits {
            return Err(self);
        }
        let digits = self.number.to_be_bytes();
        let skipped = digits.len().saturating_sub(number_size);
        let zeros = number_size.saturating_sub(digits.len());
        let mut bytes = [0; MAX_EXTRANONCE_PART_SIZE];
        let places = bytes.iter_mut().skip(zeros);
        for (place, digit) in places.zip(digits.iter().skip(skipped)) {
            *place = *digit;
        }
        Ok(Self {
            bytes,
            size: size as u8,
            number: self.number,
        })
    }

    /// The bytes to send as `extranonce_prefix`.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.size)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ExtranoncePrefix {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Lends prefixes to channels.
///
/// A released prefix is lent again only after [`Self::advance_tip`]: by then each job that was mined with it is stale,
/// so no share can be credited to two channels. Memory: 4 bytes for each prefix that was released and not lent again,
/// at most `4 * max_channels`. At the limit [`Self::allocate_standard`] and [`Self::allocate_extended`] answer
/// [`ExtranonceError::CapacityExhausted`].
#[derive(Clone, Debug)]
pub struct ExtranonceAllocator {
    layout: ExtranonceLayout,
    server_id: u32,
    /// The first number of this allocator's part of the space.
    first: u64,
    capacity: u64,
    /// How many of its numbers were ever lent.
    next: u64,
    free: Vec<u32>,
    /// Released on the present tip.
    retiring: Vec<u32>,
    /// Released before [`Self::begin_tips`].
    due: Vec<u32>,
}

impl ExtranonceAllocator {
    /// An allocator for the part of the space that `server_id` stands for.
    ///
    /// # Errors
    /// A layout whose parts do not fit, a server id that does not fit its bytes.
    pub fn new(layout: ExtranonceLayout, server_id: u32) -> Result<Self, ExtranonceError> {
        Self::part(layout, server_id, 0, 1)
    }

    /// An allocator for one of `parts` equal parts of the channel numbers of a server, `part` from 0: for owners that
    /// share a server id without a lock. `max_channels` holds for each part.
    ///
    /// # Errors
    /// As [`Self::new`]; a part that does not exist, or more parts than numbers.
    pub fn part(
        layout: ExtranonceLayout,
        server_id: u32,
        part: u32,
        parts: u32,
    ) -> Result<Self, ExtranonceError> {
        let ExtranonceLayout {
            full_size,
            server_id_size,
            channel_number_size,
            max_channels,
        } = layout;
        let fits = server_id_size <= size_of::<u32>()
            && (1..=MAX_CHANNEL_NUMBER_SIZE).contains(&channel_number_size)
            && server_id_size + channel_number_size <= full_size
            && full_size <= MAX_EXTRANONCE_PART_SIZE.min(MAX_FULL_EXTRANONCE_SIZE);
        if !fits {
            return Err(ExtranonceError::Layout);
        }
        if u64::from(server_id) >= 1 << (8 * server_id_size) {
            return Err(ExtranonceError::ServerId {
                server_id,
                size: server_id_size,
            });
        }
        let numbers = 1u64 << (8 * channel_number_size);
        let share = numbers.checked_div(u64::from(parts)).unwrap_or(0);
        if share == 0 || part >= parts {
            return Err(ExtranonceError::Layout);
        }
        let capacity = share.min(u64::from(max_channels));
        Ok(Self {
            layout,
            server_id,
            first: u64::from(part) * share,
            capacity,
            next: 0,
            free: Vec::new(),
            retiring: Vec::new(),
            due: Vec::new(),
        })
    }

    /// Bytes of the full extranonce, the same for all channels.
    pub const fn full_size(&self) -> usize {
        self.layout.full_size
    }

    /// Bytes that an extended channel's miner rolls.
    pub const fn rollable_size(&self) -> usize {
        self.layout.full_size - self.layout.server_id_size - self.layout.channel_number_size
    }

    /// Prefixes on loan.
    pub fn in_use(&self) -> u64 {
        let released = self.free.len() + self.retiring.len() + self.due.len();
        self.next - released as u64
    }

    /// A prefix as long as the full extranonce, for a standard channel.
    ///
    /// # Errors
    /// All prefixes are in use.
    pub fn allocate_standard(&mut self) -> Result<ExtranoncePrefix, ExtranonceError> {
        let number = self.take_number()?;
        Ok(self.prefix(number, self.layout.full_size))
    }

    /// A prefix for an extended channel, whose miner gets [`Self::rollable_size`] bytes.
    ///
    /// # Errors
    /// `min_size` (bytes the client asks for) exceeds what there is, or all prefixes are in use.
    pub fn allocate_extended(
        &mut self,
        min_size: usize,
    ) -> Result<ExtranoncePrefix, ExtranonceError> {
        let available = self.rollable_size();
        if min_size > available {
            return Err(ExtranonceError::MinSizeTooLarge {
                asked: min_size,
                available,
            });
        }
        let number = self.take_number()?;
        Ok(self.prefix(number, self.layout.full_size - available))
    }

    /// Takes back the prefix of a closed channel; it is lent again after the next [`Self::advance_tip`].
    pub fn release(&mut self, prefix: ExtranoncePrefix) {
        self.retiring.push(prefix.number);
    }

    /// A new tip made all earlier jobs stale: prefixes released before may be lent again.
    pub fn advance_tip(&mut self) {
        self.begin_tips();
        self.end_tips();
    }

    /// For work of several sources, each with a tip of its own: one of them has a new tip, the first since
    /// [`Self::end_tips`]. Prefixes released before may be lent again when all have had one.
    pub fn begin_tips(&mut self) {
        self.due.append(&mut self.retiring);
    }

    /// Each source has had a new tip since [`Self::begin_tips`]. What was released since then waits for the next time: some
    /// of the tips were there by then.
    pub fn end_tips(&mut self) {
        self.free.append(&mut self.due);
    }

    fn take_number(&mut self) -> Result<u32, ExtranonceError> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        let exhausted = ExtranonceError::CapacityExhausted {
            capacity: self.capacity,
        };
        if self.next >= self.capacity {
            return Err(exhausted);
        }
        let number = u32::try_from(self.first + self.next).map_err(|_| exhausted)?;
        self.next += 1;
        Ok(number)
    }

    fn prefix(&self, number: u32, size: usize) -> ExtranoncePrefix {
        let mut bytes = [0; MAX_EXTRANONCE_PART_SIZE];
        let fields = [
            (self.server_id, self.layout.server_id_size),
            (number, self.layout.channel_number_size),
        ];
        let digits = fields
            .into_iter()
            .flat_map(|(value, size)| value.to_be_bytes().into_iter().skip(4 - size));
        for (byte, digit) in bytes.iter_mut().zip(digits) {
            *byte = digit;
        }
        ExtranoncePrefix {
            bytes,
            size: size as u8,
            number,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    fn layout(server_id_size: usize, channel_number_size: usize) -> ExtranonceLayout {
        ExtranonceLayout {
            full_size: 8,
            server_id_size,
            channel_number_size,
            max_channels: 300,
        }
    }

    #[test]
    fn prefixes_are_disjoint_across_servers_and_kinds() {
        let mut seen = BTreeSet::new();
        for server_id in 0..3 {
            let mut allocator = ExtranonceAllocator::new(layout(1, 2), server_id).unwrap();
            for i in 0..300 {
                let prefix = if i % 2 == 0 {
                    allocator.allocate_standard()
                } else {
                    allocator.allocate_extended(5)
                };
                // What tells channels apart are the bytes that no miner rolls.
                assert!(seen.insert(prefix.unwrap().as_bytes()[..3].to_vec()));
            }
            assert_eq!(
                allocator.allocate_standard(),
                Err(ExtranonceError::CapacityExhausted { capacity: 300 })
            );
        }
    }

    #[test]
    fn parts_of_a_server_share_no_number() {
        let mut seen = BTreeSet::new();
        for part in 0..3 {
            let mut allocator = ExtranonceAllocator::part(layout(1, 1), 9, part, 3).unwrap();
            for _ in 0..85 {
                let prefix = allocator.allocate_extended(6).unwrap();
                assert_eq!(prefix.as_bytes()[0], 9);
                assert!(seen.insert(prefix.as_bytes().to_vec()));
            }
            assert!(allocator.allocate_standard().is_err());
        }
        for (part, parts) in [(3, 3), (0, 0), (0, 257)] {
            assert_eq!(
                ExtranonceAllocator::part(layout(1, 1), 0, part, parts).unwrap_err(),
                ExtranonceError::Layout
            );
        }
    }

    #[test]
    fn a_released_prefix_waits_for_the_next_tip() {
        let mut allocator = ExtranonceAllocator::new(layout(0, 1), 0).unwrap();
        let mut lent: Vec<_> = (0..256)
            .map(|_| allocator.allocate_extended(7).unwrap())
            .collect();
        let released = lent.pop().unwrap();
        let bytes = released.as_bytes().to_vec();
        allocator.release(released);
        assert!(
            allocator.allocate_extended(7).is_err(),
            "jobs of this tip may still use it"
        );
        allocator.advance_tip();
        assert_eq!(allocator.allocate_extended(7).unwrap().as_bytes(), bytes);
        assert_eq!(allocator.in_use(), 256);
    }

    #[test]
    fn what_is_released_between_tips_of_several_sources_waits_for_the_next_of_all() {
        let mut allocator = ExtranonceAllocator::new(layout(0, 1), 0).unwrap();
        let mut lent: Vec<_> = (0..256)
            .map(|_| allocator.allocate_extended(7).unwrap())
            .collect();
        allocator.release(lent.pop().unwrap());
        allocator.begin_tips();
        allocator.release(lent.pop().unwrap());
        assert_eq!(allocator.in_use(), 254);
        assert!(allocator.allocate_extended(7).is_err());
        for _ in 0..2 {
            allocator.end_tips();
            lent.push(allocator.allocate_extended(7).unwrap());
            assert!(allocator.allocate_extended(7).is_err());
            allocator.begin_tips();
        }
        assert_eq!(allocator.in_use(), 256);
    }

    #[test]
    fn memory_is_bounded_by_the_capacity() {
        let mut allocator = ExtranonceAllocator::new(layout(1, 2), 1).unwrap();
        for _ in 0..50 {
            let lent: Vec<_> = core::iter::from_fn(|| allocator.allocate_standard().ok()).collect();
            assert_eq!(lent.len(), 300);
            lent.into_iter()
                .for_each(|prefix| allocator.release(prefix));
            allocator.advance_tip();
        }
        assert_eq!((allocator.free.len(), allocator.in_use()), (300, 0));
    }

    #[test]
    fn bad_layouts_and_requests_are_refused() {
        for (server, number) in [(5, 1), (0, 0), (0, 5), (4, 4 + 1)] {
            assert_eq!(
                ExtranonceAllocator::new(layout(server, number), 0).unwrap_err(),
                ExtranonceError::Layout
            );
        }
        assert_eq!(
            ExtranonceAllocator::new(layout(1, 2), 256).unwrap_err(),
            ExtranonceError::ServerId {
                server_id: 256,
                size: 1
            }
        );
        let mut allocator = ExtranonceAllocator::new(layout(1, 2), 255).unwrap();
        assert_eq!(
            allocator.allocate_extended(6),
            Err(ExtranonceError::MinSizeTooLarge {
                asked: 6,
                available: 5
            })
        );
        assert_eq!(
            allocator.allocate_standard().unwrap().as_bytes(),
            [255, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            allocator.allocate_extended(5).unwrap().as_bytes(),
            [255, 0, 1]
        );
    }

    #[test]
    fn a_prefix_may_be_narrowed_as_far_as_its_number_fits() {
        let layout = ExtranonceLayout {
            full_size: 12,
            server_id_size: 0,
            channel_number_size: 4,
            max_channels: 70_000,
        };
        let mut allocator = ExtranonceAllocator::new(layout, 0).unwrap();
        let some = (0..=0x0102).map(|_| allocator.allocate_extended(8).unwrap());
        let narrow = some.last().unwrap().narrowed(2, 2).unwrap();
        assert_eq!(narrow.as_bytes(), [1, 2]);
        let standard = narrow.narrowed(2, 8).unwrap();
        assert_eq!(standard.as_bytes(), [1, 2, 0, 0, 0, 0, 0, 0]);
        assert!(
            standard.narrowed(1, 8).is_err(),
            "two numbers would look alike"
        );
        let more = (0..0x1_0000).map(|_| allocator.allocate_extended(8).unwrap());
        let wide = more.last().unwrap().narrowed(2, 8).unwrap_err();
        assert_eq!(wide.as_bytes(), [0, 1, 1, 2]);
        let whole = wide.narrowed(4, 12).unwrap();
        assert_eq!(whole.as_bytes(), [0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
