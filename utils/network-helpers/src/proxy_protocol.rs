//! The PROXY protocol, versions 1 and 2: the address of the client that a proxy speaks for.
//!
//! Its specification is `doc/proxy-protocol.txt` in HAProxy's sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::CloseReason;

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
    pub async fn client_address(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> Result<SocketAddr, CloseReason> {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let read = timeout(PROXY_HEADER_TIMEOUT, read_header(stream)).await;
        let client = read.map_err(|_| CloseReason::HandshakeTimeout)??;
        Ok(client.unwrap_or(peer))
    }
}

/// The client's address, if the header has one.
async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, CloseReason> {
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

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    room: &mut [u8],
) -> Result<usize, CloseReason> {
    match stream.read(room).await? {
        0 => Err(CloseReason::HandshakeClosed),
        len => Ok(len),
    }
}

async fn read_all(
    stream: &mut (impl AsyncRead + Unpin),
    room: &mut [u8],
) -> Result<(), CloseReason> {
    let mut len = 0;
    while let Some(room @ [_, ..]) = room.get_mut(len..) {
        len += read(stream, room).await?;
    }
    Ok(())
}

async fn read_v1(
    stream: &mut (impl AsyncRead + Unpin),
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

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, CloseReason> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const PROXY: &str = "10.1.2.3:5000";

    fn proxies() -> ProxyProtocol {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        ProxyProtocol {
            trusted: trusted.map(|text| text.parse().unwrap()).into(),
        }
    }

    /// What is made of `sent`, and what is left of it.
    async fn client_of(peer: &str, sent: &[u8]) -> (Result<String, CloseReason>, Vec<u8>) {
        let (mut near, mut far) = duplex(8192);
        near.write_all(sent).await.unwrap();
        drop(near);
        let client = proxies()
            .client_address(&mut far, peer.parse().unwrap())
            .await;
        let mut left = Vec::new();
        far.read_to_end(&mut left).await.unwrap();
        (client.map(|address| address.to_string()), left)
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&V2_START[..], &[command, family], &len, rest].concat()
    }

    const V4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0xdc, 4, 0x0d, 5];

    fn v6() -> Vec<u8> {
        let client: Ipv6Addr = "2001:db8:1::2".parse().unwrap();
        [&client.octets()[..], &[9; 16], &[0, 80, 0, 81]].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn headers_give_the_client_and_leave_what_follows() {
        let with_additions = [&V4[..], &[4, 0, 1, 0, 0x20, 0, 2, 1, 1]].concat();
        let cases: &[(Vec<u8>, &str)] = &[
            (
                b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n".into(),
                "198.51.100.7:56324",
            ),
            (
                b"PROXY TCP6 2001:db8:1::2 ::1 80 81\r\n".into(),
                "[2001:db8:1::2]:80",
            ),
            (b"PROXY UNKNOWN\r\n".into(), PROXY),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".into(), PROXY),
            (v2(0x21, 0x11, &V4), "198.51.100.7:56324"),
            (v2(0x21, 0x11, &with_additions), "198.51.100.7:56324"),
            (v2(0x21, 0x21, &v6()), "[2001:db8:1::2]:80"),
            (v2(0x20, 0x00, &[]), PROXY),
            (v2(0x20, 0x11, &V4), PROXY),
            (v2(0x21, 0x00, &[1, 2, 3]), PROXY),
            (v2(0x21, 0x31, &[0; 216]), PROXY),
        ];
        for (header, client) in cases {
            let sent = [&header[..], b"{\"id\":1}\n"].concat();
            let (got, left) = client_of(PROXY, &sent).await;
            assert_eq!(got.as_deref(), Ok(*client), "{}", header.escape_ascii());
            assert_eq!(left, b"{\"id\":1}\n", "{}", header.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_header_is_refused() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat();
        for sent in [
            &b"{\"id\":1}\n"[..],
            b"\x16\x03\x01",
            b"proxy UNKNOWN\r\n",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324\r\n",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443 1\r\n",
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 65536\r\n",
            b"PROXY TCP4  198.51.100.7 10.0.0.1 56324 443\r\n",
            b"PROXY TCP4 ::1 ::1 56324 443\r\n",
            b"PROXY TCP4 pool.example 10.0.0.1 56324 443\r\n",
            b"PROXY UNKNOWN\n",
            b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n",
            &long,
            &v2(0x11, 0x11, &V4),
            &v2(0x22, 0x11, &V4),
            &v2(0x21, 0x13, &V4),
            &v2(0x21, 0x41, &V4),
            &v2(0x21, 0x11, &V4[..11]),
            &v2(0x21, 0x21, &V4),
            &v2(0x21, 0x11, &[0; PROXY_HEADER_MAX_LEN + 1]),
        ] {
            let (got, _) = client_of(PROXY, sent).await;
            assert_eq!(
                got,
                Err(CloseReason::ProxyHeader),
                "{}",
                sent.escape_ascii()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_within_a_header_is_told() {
        let whole = v2(0x21, 0x11, &V4);
        for len in [0, 5, 12, 15, 20] {
            let (got, _) = client_of(PROXY, &whole[..len]).await;
            assert_eq!(got, Err(CloseReason::HandshakeClosed), "{len}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_trusted_proxies_are_believed() {
        let header = b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n";
        for (peer, is_trusted) in [
            ("10.255.0.1:1", true),
            ("[::ffff:10.0.0.1]:1", true),
            ("[2001:db8::7]:1", true),
            ("11.0.0.1:1", false),
            ("[2001:db9::7]:1", false),
        ] {
            let (got, left) = client_of(peer, header).await;
            assert_eq!(got.unwrap() != peer, is_trusted, "{peer}");
            assert_eq!(left.is_empty(), is_trusted, "{peer}");
        }
        assert!(!ProxyProtocol::none().trusts("10.0.0.1".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_stops_is_not_waited_for_for_ever() {
        for sent in [&b""[..], b"PROXY TCP4 198.51", &v2(0x21, 0x11, &V4)[..20]] {
            let (mut near, mut far) = duplex(64);
            near.write_all(sent).await.unwrap();
            let start = Instant::now();
            let got = proxies()
                .client_address(&mut far, PROXY.parse().unwrap())
                .await;
            assert_eq!(got, Err(CloseReason::HandshakeTimeout));
            assert_eq!(start.elapsed(), PROXY_HEADER_TIMEOUT);
        }
    }
}
