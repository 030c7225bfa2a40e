//! The PROXY protocol, versions 1 and 2: the address of the client that a proxy speaks for.
//!
//! Its specification is `doc/proxy-protocol.txt` in HAProxy's sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::CloseReason;
use crate::runtime::{self, Io, Runtime};

/// Time in which a trusted proxy must send its header; then the connection ends with [`CloseReason::HandshakeTimeout`].
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may follow the fixed part of a header of version 2: addresses of at most 216, and what proxies add about
/// TLS. A longer one ends the connection with [`CloseReason::ProxyHeader`].
pub const PROXY_HEADER_MAX_LEN: usize = 4096;

/// Bytes of a header of version 1, its end included, as the protocol says.
const V1_MAX_LEN: usize = 107;

/// How a header of version 1 begins.
const V1_START: &[u8; 6] = b"PROXY ";

/// How a header of version 2 begins.
const V2_START: &[u8; START_LEN] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes that both versions have.
const START_LEN: usize = 12;

/// Whose connections begin with a PROXY header that says for which client they are.
///
/// A header is required from the proxies in `trusted`, as anyone who reached the proxy could write one if it did not.
/// From others none is expected: what looks like one is taken for what the client speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Networks of the proxies.
    pub trusted: Vec<IpNet>,
}

impl ProxyProtocol {
    /// No proxy is trusted.
    pub const fn none() -> Self {
        Self {
            trusted: Vec::new(),
        }
    }

    /// Whether connections from `peer` begin with a header.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The address of the client that `peer` speaks for, which is `peer` itself unless it is a trusted proxy. Takes the
    /// header, and no byte more, off `stream`.
    ///
    /// A proxy may also say that a connection is its own, as for checking that the server lives, or that it does not
    /// know the client: that gives `peer` too.
    ///
    /// # Errors
    /// [`CloseReason::ProxyHeader`] when a trusted proxy sends something else than a header,
    /// [`CloseReason::HandshakeTimeout`] when it does not within [`PROXY_HEADER_TIMEOUT`],
    /// [`CloseReason::HandshakeClosed`] or [`CloseReason::Io`] when the connection ends before.
    pub async fn client_address<S: Io<R>, R: Runtime>(
        &self,
        stream: &mut S,
        peer: SocketAddr,
    ) -> Result<SocketAddr, CloseReason> {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let read = R::timeout(PROXY_HEADER_TIMEOUT, read_header(stream)).await;
        let client = read.ok_or(CloseReason::HandshakeTimeout)??;
        Ok(client.unwrap_or(peer))
    }
}

/// The client's address, if the header has one.
async fn read_header<R, S: Io<R>>(stream: &mut S) -> Result<Option<SocketAddr>, CloseReason> {
    let mut start = [0; START_LEN];
    let mut len = 0;
    // Judged as it comes, as others may send less than that and wait.
    while let Some(room @ [_, ..]) = start.get_mut(len..) {
        len += read(stream, room).await?;
        let come = start.get(..len).unwrap_or_default();
        if !may_begin(come, V1_START) && !may_begin(come, V2_START) {
            return Err(CloseReason::ProxyHeader);
        }
    }
    match start.starts_with(V1_START) {
        true => read_v1(stream, &start).await,
        false => read_v2(stream).await,
    }
}

fn may_begin(come: &[u8], start: &[u8]) -> bool {
    come.iter().zip(start).all(|(come, start)| come == start)
}

async fn read<R, S: Io<R>>(stream: &mut S, room: &mut [u8]) -> Result<usize, CloseReason> {
    match runtime::read(stream, room).await? {
        0 => Err(CloseReason::HandshakeClosed),
        len => Ok(len),
    }
}

async fn read_all<R, S: Io<R>>(stream: &mut S, room: &mut [u8]) -> Result<(), CloseReason> {
    let mut len = 0;
    while let Some(room @ [_, ..]) = room.get_mut(len..) {
        len += read(stream, room).await?;
    }
    Ok(())
}

async fn read_v1<R, S: Io<R>>(
    stream: &mut S,
    start: &[u8; START_LEN],
) -> Result<Option<SocketAddr>, CloseReason> {
    let mut line = Vec::with_capacity(V1_MAX_LEN);
    line.extend_from_slice(start);
    // Byte by byte, as what follows the end is not ours.
    while line.last() != Some(&b'\n') && line.len() < V1_MAX_LEN {
        let mut byte = [0];
        read(stream, &mut byte).await?;
        line.extend_from_slice(&byte);
    }
    parse_v1(&line).ok_or(CloseReason::ProxyHeader)
}

/// The client's address in a header of version 1; `None` when it is none.
fn parse_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut fields = line.split(' ');
    let is_v4 = match (fields.next()?, fields.next()?) {
        ("PROXY", "UNKNOWN") => return Some(None),
        ("PROXY", "TCP4") => true,
        ("PROXY", "TCP6") => false,
        _ => return None,
    };
    let mut address = || {
        let address: IpAddr = fields.next()?.parse().ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (client, _) = (address()?, address()?);
    let mut port = || fields.next()?.parse::<u16>().ok();
    let (client_port, _) = (port()?, port()?);
    match fields.next() {
        Some(_) => None,
        None => Some(Some(SocketAddr::new(client, client_port))),
    }
}

async fn read_v2<R, S: Io<R>>(stream: &mut S) -> Result<Option<SocketAddr>, CloseReason> {
    let mut fixed = [0; 4];
    read_all(stream, &mut fixed).await?;
    let [command, family, len @ ..] = fixed;
    let len = usize::from(u16::from_be_bytes(len));
    if len > PROXY_HEADER_MAX_LEN {
        return Err(CloseReason::ProxyHeader);
    }
    let mut rest = vec![0; len];
    read_all(stream, &mut rest).await?;
    parse_v2(command, family, &rest).ok_or(CloseReason::ProxyHeader)
}

/// The client's address in a header of version 2; `None` when it is none.
fn parse_v2(command: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match (command, family) {
        (0x20, _) => Some(None),
        // Of an unknown family, or of Unix sockets.
        (0x21, 0x00..=0x02 | 0x30..=0x32) => Some(None),
        (0x21, 0x10..=0x12) => addresses::<4>(rest, |bytes| Ipv4Addr::from(bytes).into()).map(Some),
        (0x21, 0x20..=0x22) => {
            addresses::<16>(rest, |bytes| Ipv6Addr::from(bytes).into()).map(Some)
        }
        _ => None,
    }
}

/// The first of two addresses of `N` bytes, with its port behind both.
fn addresses<const N: usize>(rest: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<SocketAddr> {
    let (client, rest) = rest.split_first_chunk::<N>()?;
    let (_, rest) = rest.split_first_chunk::<N>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    rest.split_first_chunk::<2>()?;
    Some(SocketAddr::new(ip(*client), u16::from_be_bytes(*port)))
}
