//! Who may connect: limits in total, per address, and per second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roles_logic_sv2::clock::Instant;

/// Limits of a listener. At each of them a new connection is closed at once and counted as a [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one IPv4 address or one IPv6 /64 network.
    pub per_address: usize,
    /// Connections accepted per second in the long run.
    pub per_second: u32,
    /// Connections accepted at once after a pause, as after a restart.
    pub burst: u32,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 1_000,
            per_second: 1_000,
            burst: 5_000,
        }
    }
}

/// Why a connection was refused before anything was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// [`AcceptLimits::connections`] are open.
    Total,
    /// [`AcceptLimits::per_address`] are open from this address.
    Address,
    /// [`AcceptLimits::per_second`] came already.
    Rate,
    /// The operating system could not give the connection, mostly for lack of file descriptors.
    System,
    /// The cores have too many connections waiting to be started.
    Busy,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Total,
        Self::Address,
        Self::Rate,
        Self::System,
        Self::Busy,
    ];

    /// The reason's name in metrics and logs. It never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total_limit",
            Self::Address => "address_limit",
            Self::Rate => "rate_limit",
            Self::System => "system",
            Self::Busy => "busy",
        }
    }
}

/// The gate of one listener: counts who is in and why others are not. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: AcceptLimits,
    inside: Mutex<Inside>,
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// Holds one entry per address with an open connection, so the limit in total bounds it.
#[derive(Debug, Default)]
struct Inside {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Millionths of a connection that may come now, and when that was computed.
    tokens: u64,
    filled_at: Option<Instant>,
}

const TOKEN: u64 = 1_000_000;

impl Gate {
    /// A gate with nobody inside.
    pub fn new(limits: AcceptLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            inside: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
        }))
    }

    /// Lets a connection in for as long as the pass lives.
    ///
    /// # Errors
    /// [`Refusal`], counted.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<Pass, Refusal> {
        let address = network(address);
        let admitted = self.0.inside().admit(address, now, &self.0.limits);
        match admitted {
            Ok(()) => self.0.accepted.fetch_add(1, Ordering::Relaxed),
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        Ok(Pass {
            gate: Arc::clone(&self.0),
            address,
        })
    }

    /// Counts a refusal that was decided elsewhere, and gives it back.
    pub fn refuse(&self, refusal: Refusal) -> Refusal {
        if let Some(count) = self.0.refused.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        refusal
    }

    /// Connections inside.
    pub fn inside(&self) -> usize {
        self.0.inside().total
    }

    /// Connections let in so far.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Connections refused so far for one reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        let count = self.0.refused.get(refusal as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in here can panic between two writes that belong together.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn admit(
        &mut self,
        address: IpAddr,
        now: Instant,
        limits: &AcceptLimits,
    ) -> Result<(), Refusal> {
        self.fill(now, limits);
        if self.total >= limits.connections {
            return Err(Refusal::Total);
        }
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if here >= limits.per_address {
            return Err(Refusal::Address);
        }
        self.tokens = self.tokens.checked_sub(TOKEN).ok_or(Refusal::Rate)?;
        self.total += 1;
        self.by_address.insert(address, here + 1);
        Ok(())
    }

    fn fill(&mut self, now: Instant, limits: &AcceptLimits) {
        let full = u64::from(limits.burst).saturating_mul(TOKEN);
        let Some(before) = self.filled_at.replace(now) else {
            self.tokens = full;
            return;
        };
        let micros = now.as_micros().saturating_sub(before.as_micros());
        let new = micros.saturating_mul(u64::from(limits.per_second));
        self.tokens = self.tokens.saturating_add(new).min(full);
    }

    fn leave(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(here) = self.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Leave to be connected; given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.inside().leave(self.address);
    }
}

/// What counts as one address: a host has all of an IPv6 /64, and an IPv4 address may come mapped into IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AcceptLimits = AcceptLimits {
        connections: 5,
        per_address: 2,
        per_second: 10,
        burst: 8,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn secs(tenths: u64) -> Instant {
        Instant::from_micros(tenths * 100_000)
    }

    #[test]
    fn one_network_gets_its_share_until_it_leaves() {
        let gate = Gate::new(LIMITS);
        for [one, same, other] in [
            ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"],
            ["2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"],
        ] {
            let first = gate.admit(ip(one), secs(0)).unwrap();
            let _second = gate.admit(ip(same), secs(0)).unwrap();
            assert_eq!(gate.admit(ip(one), secs(0)).err(), Some(Refusal::Address));
            let _other = gate.admit(ip(other), secs(0)).unwrap();
            drop(first);
            let _again = gate.admit(ip(same), secs(0)).unwrap();
            assert_eq!(gate.inside(), 3);
        }
        assert_eq!(gate.inside(), 0);
        assert_eq!((gate.accepted(), gate.refused(Refusal::Address)), (8, 2));
        assert!(gate.0.inside().by_address.is_empty());
    }

    #[test]
    fn the_total_is_bounded() {
        let gate = Gate::new(LIMITS);
        let address = |i: u8| IpAddr::from([10, 0, 0, i]);
        let passes: Vec<_> = (0..5).map(|i| gate.admit(address(i), secs(0))).collect();
        assert!(passes.iter().all(Result::is_ok));
        assert_eq!(gate.admit(address(9), secs(0)).err(), Some(Refusal::Total));
        drop(passes);
        assert!(gate.admit(address(9), secs(0)).is_ok());
    }

    #[test]
    fn the_rate_is_bounded_and_recovers() {
        let gate = Gate::new(LIMITS);
        let come = |at| gate.admit(ip("10.0.0.1"), at).map(drop);
        assert_eq!((0..8).filter_map(|_| come(secs(0)).err()).count(), 0);
        assert_eq!(come(secs(0)), Err(Refusal::Rate));
        assert_eq!(come(secs(1)), Ok(()));
        assert_eq!(come(secs(1)), Err(Refusal::Rate));
        assert_eq!((0..9).filter_map(|_| come(secs(1000)).err()).count(), 1);
    }
}
