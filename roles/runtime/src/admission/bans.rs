//! Addresses that may not connect for a while.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Bans that a gate holds. One more takes the place of the one that would end first.
pub const MAX_BANS: usize = 10_000;

/// Longest ban; a longer one is made as long as this.
pub const MAX_BAN: Duration = Duration::from_secs(365 * 24 * 3600);

/// A ban, as a status page shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The address; the first one of the network for an IPv6 /64.
    pub address: IpAddr,
    /// What it was banned for.
    pub reason: &'static str,
    /// How long it lasts yet.
    pub left: Duration,
}

/// The bans of one gate. What has ended is forgotten with the next question.
#[derive(Debug, Default)]
pub(super) struct Bans {
    by_address: HashMap<IpAddr, Entry>,
    /// The same bans, the first to end first.
    by_end: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: Instant,
    reason: &'static str,
}

impl Bans {
    /// Bans `address`, unless it is banned for longer already.
    pub(super) fn add(
        &mut self,
        address: IpAddr,
        duration: Duration,
        reason: &'static str,
        now: Instant,
    ) {
        self.forget_ended(now);
        let end = now + duration.min(MAX_BAN);
        let before = self.by_address.get(&address).copied();
        if end <= now || before.is_some_and(|before| before.end >= end) {
            return;
        }
        match before {
            Some(before) => {
                self.by_end.remove(&(before.end, address));
            }
            None if self.by_address.len() >= MAX_BANS => {
                self.forget_first();
            }
            None => {}
        }
        self.by_address.insert(address, Entry { end, reason });
        self.by_end.insert((end, address));
    }

    pub(super) fn has(&mut self, address: IpAddr, now: Instant) -> bool {
        self.forget_ended(now);
        self.by_address.contains_key(&address)
    }

    /// All bans, the first to end first.
    pub(super) fn list(&mut self, now: Instant) -> Vec<Ban> {
        self.forget_ended(now);
        let ban = |(end, address): &(Instant, IpAddr)| {
            Some(Ban {
                address: *address,
                reason: self.by_address.get(address)?.reason,
                left: end.saturating_duration_since(now),
            })
        };
        self.by_end.iter().filter_map(ban).collect()
    }

    fn forget_ended(&mut self, now: Instant) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, address)) = self.by_end.pop_first() {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_ban_ends_by_itself_and_says_why_it_was() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        bans.add(address(1), HOUR, "garbage", now);
        bans.add(address(2), HOUR / 2, "flood", now);
        let shown = |bans: &mut Bans, now| {
            let list = bans.list(now).into_iter();
            list.map(|ban| (ban.address, ban.reason, ban.left.as_secs()))
                .collect::<Vec<_>>()
        };
        let both = [(address(2), "flood", 1800), (address(1), "garbage", 3600)];
        assert_eq!(shown(&mut bans, now), both);
        let later = now + HOUR / 2;
        assert!(!bans.has(address(2), later) && bans.has(address(1), later));
        assert_eq!(shown(&mut bans, later), [(address(1), "garbage", 1800)]);
        assert!(!bans.has(address(1), now + HOUR));
        assert!(bans.by_address.is_empty() && bans.by_end.is_empty());
    }

    #[test]
    fn the_longer_of_two_bans_counts() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        bans.add(address(1), HOUR, "long", now);
        bans.add(address(1), HOUR / 2, "short", now);
        assert_eq!(bans.list(now)[0].reason, "long");
        bans.add(address(1), HOUR * 2, "longer", now);
        let longer = Ban {
            address: address(1),
            reason: "longer",
            left: HOUR * 2,
        };
        assert_eq!(bans.list(now), [longer]);
        bans.add(address(2), Duration::ZERO, "none", now);
        bans.add(address(3), Duration::MAX, "for ever", now);
        let left: Vec<_> = bans.list(now).iter().map(|ban| ban.left).collect();
        assert_eq!(left, [HOUR * 2, MAX_BAN]);
    }

    #[test]
    fn the_number_is_bounded_and_the_first_to_end_gives_way() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        for number in 0..u32::try_from(MAX_BANS).unwrap() + 3 {
            let duration = HOUR + Duration::from_secs(number.into());
            bans.add(address(number), duration, "flood", now);
        }
        assert_eq!(
            (bans.by_address.len(), bans.by_end.len()),
            (MAX_BANS, MAX_BANS)
        );
        assert!(!bans.has(address(2), now) && bans.has(address(3), now));
    }
}
