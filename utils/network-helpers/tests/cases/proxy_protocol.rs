//! What is made of PROXY headers.

use std::net::Ipv6Addr;

use network_helpers_sv2::{CloseReason, PROXY_HEADER_MAX_LEN, PROXY_HEADER_TIMEOUT, ProxyProtocol};
use smol::future::zip;

use crate::on::{AsyncReadExt, AsyncWriteExt, Instant, assert_took, duplex, run};

/// How a header of version 2 begins.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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
    [V2_START, &[command, family], &len, rest].concat()
}

const V4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0xdc, 4, 0x0d, 5];

fn v6() -> Vec<u8> {
    let client: Ipv6Addr = "2001:db8:1::2".parse().unwrap();
    [&client.octets()[..], &[9; 16], &[0, 80, 0, 81]].concat()
}

#[test]
fn headers_give_the_client_and_leave_what_follows() {
    run(async {
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
    });
}

#[test]
fn what_is_no_header_is_refused() {
    run(async {
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
    });
}

#[test]
fn the_end_within_a_header_is_told() {
    run(async {
        let whole = v2(0x21, 0x11, &V4);
        for len in [0, 5, 12, 15, 20] {
            let (got, _) = client_of(PROXY, &whole[..len]).await;
            assert_eq!(got, Err(CloseReason::HandshakeClosed), "{len}");
        }
    });
}

#[test]
fn only_trusted_proxies_are_believed() {
    run(async {
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
    });
}

#[test]
fn a_proxy_that_stops_is_not_waited_for_for_ever() {
    run(async {
        let stop = async |sent: &[u8]| {
            let (mut near, mut far) = duplex(64);
            near.write_all(sent).await.unwrap();
            let start = Instant::now();
            let got = proxies()
                .client_address(&mut far, PROXY.parse().unwrap())
                .await;
            assert_eq!(got, Err(CloseReason::HandshakeTimeout));
            assert_took(start, PROXY_HEADER_TIMEOUT);
        };
        let half = v2(0x21, 0x11, &V4);
        let in_text = zip(stop(b""), stop(b"PROXY TCP4 198.51"));
        zip(in_text, stop(&half[..20])).await;
    });
}
