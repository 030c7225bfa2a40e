//! Who may connect: limits in total, per address, and per second; bans; and whom a proxy speaks for.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network_helpers_sv2::ProxyProtocol;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

mod bans;

use bans::Bans;
pub use bans::{Ban, MAX_BAN, MAX_BANS};

/// Limits of a listener. At each of them a new connection is closed at once and counted as a [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one IPv4 address or one IPv6 /64 network.
    pub per_address: usize,
    /// Connections accepted per second in the long run.
    pub per_second: u32,
    /// Connections accepted at once after a pause, as after a restart.
    pub burst: u32,
    /// Proxies whose connections begin with a PROXY header. They count in total and per second as others do; the limit
    /// per address, and bans, are for the client that the header names.
    pub proxies: ProxyProtocol,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 1_000,
            per_second: 1_000,
            burst: 5_000,
            proxies: ProxyProtocol::none(),
        }
    }
}

/// Why a connection was refused before the client was heard.
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
    /// The address is banned, see [`Gate::ban`].
    Banned,
    /// A trusted proxy did not say for which client the connection is.
    Proxy,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Total,
        Self::Address,
        Self::Rate,
        Self::System,
        Self::Busy,
        Self::Banned,
        Self::Proxy,
    ];

    /// The reason's name in metrics and logs. It never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total_limit",
            Self::Address => "address_limit",
            Self::Rate => "rate_limit",
            Self::System => "system",
            Self::Busy => "busy",
            Self::Banned => "banned",
            Self::Proxy => "proxy_header",
        }
    }
}

/// The gate of one or more listeners: counts who is in and why others are not. Clones share it.
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
    bans: Bans,
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
    /// One from a trusted proxy is let in for whom it is not yet known: see [`Pass::client`].
    ///
    /// # Errors
    /// [`Refusal`], counted.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<Pass, Refusal> {
        let is_proxy = self.0.limits.proxies.trusts(address);
        let address = (!is_proxy).then(|| network(address));
        let admitted = self.0.inside().admit(address, now, &self.0.limits);
        match admitted {
            Ok(()) => self.0.accepted.fetch_add(1, Ordering::Relaxed),
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        Ok(Pass {
            gate: self.clone(),
            address,
        })
    }

    /// Lets nobody in from `address` (one /64 network for IPv6) for `duration`. Connections that are open stay; a trusted
    /// proxy cannot be banned, as it speaks for others. At [`MAX_BANS`] the ban that would end first gives way.
    ///
    /// `reason` is what a status page shows, such as `"invalid shares"`.
    pub fn ban(&self, address: IpAddr, duration: Duration, reason: &'static str, now: Instant) {
        if !self.0.limits.proxies.trusts(address) {
            let mut inside = self.0.inside();
            inside.bans.add(network(address), duration, reason, now);
        }
    }

    /// The bans of this moment, the first to end first.
    pub fn bans(&self, now: Instant) -> Vec<Ban> {
        self.0.inside().bans.list(now)
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
    /// `address` is `None` for a proxy.
    fn admit(
        &mut self,
        address: Option<IpAddr>,
        now: Instant,
        limits: &AcceptLimits,
    ) -> Result<(), Refusal> {
        self.fill(now, limits);
        if let Some(address) = address {
            self.check_address(address, now, limits)?;
        }
        if self.total >= limits.connections {
            return Err(Refusal::Total);
        }
        self.tokens = self.tokens.checked_sub(TOKEN).ok_or(Refusal::Rate)?;
        self.total += 1;
        self.count_address(address);
        Ok(())
    }

    fn check_address(
        &mut self,
        address: IpAddr,
        now: Instant,
        limits: &AcceptLimits,
    ) -> Result<(), Refusal> {
        if self.bans.has(address, now) {
            return Err(Refusal::Banned);
        }
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if here >= limits.per_address {
            return Err(Refusal::Address);
        }
        Ok(())
    }

    fn count_address(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    fn fill(&mut self, now: Instant, limits: &AcceptLimits) {
        let full = u64::from(limits.burst).saturating_mul(TOKEN);
        let Some(before) = self.filled_at.replace(now) else {
            self.tokens = full;
            return;
        };
        let micros = now.saturating_duration_since(before).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let new = micros.saturating_mul(u64::from(limits.per_second));
        self.tokens = self.tokens.saturating_add(new).min(full);
    }

    fn leave(&mut self, address: Option<IpAddr>) {
        self.total -= 1;
        let Some(address) = address else {
            return;
        };
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
    gate: Gate,
    /// Whose limit it counts for; `None` for a proxy's that is not for a client, or not yet.
    address: Option<IpAddr>,
}

impl Pass {
    /// The address of the client at the other end: `peer`, or whom it speaks for if it is a trusted proxy. Then its
    /// header is taken off `stream`, and the client admitted as others are, but for the limits that the proxy has met.
    ///
    /// # Errors
    /// [`Refusal`], counted.
    pub async fn client(
        &mut self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> Result<SocketAddr, Refusal> {
        let proxies = &self.gate.0.limits.proxies;
        if !proxies.trusts(peer.ip()) {
            return Ok(peer);
        }
        // In a box, so that the state of the reading does not stay in the memory of the connection's task.
        let header = Box::pin(proxies.client_address(stream, peer)).await;
        let client = header.map_err(|reason| {
            debug!(proxy = %peer, reason = reason.name(), "no PROXY header");
            self.gate.refuse(Refusal::Proxy)
        })?;
        if client != peer {
            self.move_to(client.ip(), Instant::now())?;
        }
        Ok(client)
    }

    fn move_to(&mut self, client: IpAddr, now: Instant) -> Result<(), Refusal> {
        let client = network(client);
        let shared = &self.gate.0;
        let mut inside = shared.inside();
        let checked = inside.check_address(client, now, &shared.limits);
        if checked.is_ok() {
            inside.count_address(Some(client));
            self.address = Some(client);
        }
        drop(inside);
        checked.map_err(|refusal| self.gate.refuse(refusal))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.0.inside().leave(self.address);
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
    use std::sync::LazyLock;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMITS: AcceptLimits = AcceptLimits {
        connections: 5,
        per_address: 2,
        per_second: 10,
        burst: 8,
        proxies: ProxyProtocol::none(),
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn secs(tenths: u64) -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_millis(tenths * 100)
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

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn who_is_banned_stays_out_until_it_is_over() {
        let gate = Gate::new(LIMITS);
        let stays = gate.admit(ip("2001:db8::1"), secs(0)).unwrap();
        gate.ban(ip("2001:db8::1"), HOUR, "garbage", secs(0));
        gate.ban(ip("::ffff:10.0.0.1"), HOUR * 2, "flood", secs(0));
        for address in ["2001:db8::ffff:0:0:1", "10.0.0.1"] {
            let refused = gate.admit(ip(address), secs(1)).err();
            assert_eq!(refused, Some(Refusal::Banned), "{address}");
        }
        assert_eq!((gate.inside(), gate.refused(Refusal::Banned)), (1, 2));
        let shown = gate.bans(secs(10)).into_iter();
        let shown: Vec<_> = shown.map(|ban| (ban.address, ban.reason)).collect();
        assert_eq!(
            shown,
            [(ip("2001:db8::"), "garbage"), (ip("10.0.0.1"), "flood")]
        );
        drop(stays);
        assert!(gate.admit(ip("2001:db8::1"), secs(36_000)).is_ok());
        assert!(gate.admit(ip("10.0.0.1"), secs(36_000)).is_err());
    }

    #[test]
    fn those_refused_for_their_address_take_nothing_from_others() {
        let gate = Gate::new(LIMITS);
        gate.ban(ip("10.0.0.1"), HOUR, "flood", secs(0));
        for _ in 0..100 {
            assert!(gate.admit(ip("10.0.0.1"), secs(0)).is_err());
        }
        assert!(gate.admit(ip("10.0.0.2"), secs(0)).is_ok());
    }

    fn behind_a_proxy() -> Gate {
        let trusted = vec!["127.0.0.0/8".parse().unwrap()];
        Gate::new(AcceptLimits {
            proxies: ProxyProtocol { trusted },
            ..LIMITS
        })
    }

    #[test]
    fn a_proxy_has_the_limits_of_its_clients() {
        let gate = behind_a_proxy();
        gate.ban(ip("127.0.0.1"), HOUR, "on behalf of others", secs(0));
        gate.ban(ip("10.0.0.3"), HOUR, "flood", secs(0));
        let mut passes: Vec<_> = (0..5)
            .map(|_| gate.admit(ip("127.0.0.1"), secs(0)).unwrap())
            .collect();
        let refused = gate.admit(ip("127.0.0.1"), secs(0)).err();
        assert_eq!(refused, Some(Refusal::Total));
        let mut clients = ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.3"].into_iter();
        let moved: Vec<_> = passes
            .iter_mut()
            .zip(&mut clients)
            .map(|(pass, client)| pass.move_to(ip(client), secs(0)))
            .collect();
        let banned = Err(Refusal::Banned);
        assert_eq!(moved, [Ok(()), Ok(()), Err(Refusal::Address), banned]);
        drop(passes);
        assert_eq!((gate.inside(), gate.refused(Refusal::Address)), (0, 1));
        assert!(gate.0.inside().by_address.is_empty());
    }

    /// What becomes of a connection through a proxy that sends `sent`.
    async fn through_proxy(gate: &Gate, sent: &[u8]) -> Result<(SocketAddr, Pass), Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        proxy.write_all(sent).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut pass = gate.admit(peer.ip(), Instant::now())?;
        let client = pass.client(&mut stream, peer).await?;
        proxy.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "{}\n");
        Ok((client, pass))
    }

    #[tokio::test]
    async fn the_client_of_a_proxy_is_admitted_by_its_own_address() {
        let gate = behind_a_proxy();
        let header = b"PROXY TCP4 198.51.100.7 127.0.0.1 56324 443\r\n{}\n";
        let (client, pass) = through_proxy(&gate, header).await.unwrap();
        assert_eq!(client, "198.51.100.7:56324".parse().unwrap());
        let _second = through_proxy(&gate, header).await.unwrap();
        let third = through_proxy(&gate, header).await;
        assert_eq!(third.err(), Some(Refusal::Address));
        drop(pass);
        gate.ban(client.ip(), HOUR, "flood", Instant::now());
        let again = through_proxy(&gate, header).await;
        assert_eq!(again.err(), Some(Refusal::Banned));
        let (own, _pass) = through_proxy(&gate, b"PROXY UNKNOWN\r\n{}\n")
            .await
            .unwrap();
        assert!(own.ip().is_loopback());
        let headless = through_proxy(&gate, b"{\"id\":1}\n").await;
        assert_eq!(headless.err(), Some(Refusal::Proxy));
        let counted = [Refusal::Address, Refusal::Banned, Refusal::Proxy];
        assert_eq!(counted.map(|refusal| gate.refused(refusal)), [1; 3]);
    }
}
