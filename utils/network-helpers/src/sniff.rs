//! What a client speaks, by the bytes that it sends first.

use std::io;
use std::time::Duration;

use noise_sv2::ACT1_LEN;
use sv1_api::line::is_sv1_start;

use crate::CloseReason;
use crate::runtime::{Runtime, Tcp};

/// Time in which the rest of a client's first message must follow its first byte; then it is judged by what has come.
/// Only a client that sends less than a handshake and less than a line is kept waiting by it.
pub const SNIFF_SETTLE: Duration = Duration::from_secs(1);

/// Pause before looking again whether more has come: the operating system does not tell, as nothing is taken from it.
const SNIFF_INTERVAL: Duration = Duration::from_millis(10);

/// What a client that has connected speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// Lines of JSON: [`LineConnection`](crate::runtime::LineConnection).
    Sv1,
    /// A Noise handshake, or what cannot be told from it: [`Connection`](crate::runtime::Connection).
    Sv2,
    /// A TLS handshake: [`TlsServer::accept`](crate::TlsServer::accept), and lines within.
    Tls,
}

/// Finds out what a client speaks and takes no byte of it. Waits up to `first_byte` for its first byte, and up to
/// [`SNIFF_SETTLE`] for as much more as is needed.
///
/// An Sv2 handshake begins with a key of 64 bytes that look random, one of which in 40 begins as a line of JSON does;
/// so all bytes that have come are looked at. Frames of Sv2 without Noise are no handshake: they cannot share a port
/// with Sv1. TLS is told only where `is_tls_served`.
///
/// # Errors
/// [`CloseReason::HandshakeTimeout`] when nothing comes in time, [`CloseReason::HandshakeClosed`] or
/// [`CloseReason::Io`] when the connection ends before.
pub async fn sniff<T: Tcp>(
    stream: &T,
    first_byte: Duration,
    is_tls_served: bool,
) -> Result<Spoken, CloseReason> {
    sniff_at::<T::Runtime>(stream, first_byte, is_tls_served).await
}

/// Where bytes can be looked at and left.
trait Peek {
    /// Waits until there is a byte, or the end, and gives how many there are.
    async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize>;
}

impl<T: Tcp> Peek for T {
    async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.look(bytes).await
    }
}

async fn sniff_at<R: Runtime>(
    stream: &impl Peek,
    first_byte: Duration,
    is_tls_served: bool,
) -> Result<Spoken, CloseReason> {
    let mut bytes = [0; ACT1_LEN];
    let first = R::timeout(first_byte, stream.peek(&mut bytes)).await;
    let mut len = first.ok_or(CloseReason::HandshakeTimeout)??;
    let settled = R::now() + SNIFF_SETTLE;
    loop {
        let come = bytes.get(..len).unwrap_or_default();
        match look(come, is_tls_served) {
            _ if come.is_empty() => return Err(CloseReason::HandshakeClosed),
            Look::Is(spoken) => return Ok(spoken),
            Look::Seems(spoken) if R::now() >= settled => return Ok(spoken),
            Look::Seems(_) => R::sleep_until(R::now() + SNIFF_INTERVAL).await,
        }
        len = stream.peek(&mut bytes).await?;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Is(Spoken),
    /// Unless what follows says otherwise.
    Seems(Spoken),
}

fn look(come: &[u8], is_tls_served: bool) -> Look {
    if is_tls_served && is_client_hello(come) {
        return match come.len() >= CLIENT_HELLO.len() {
            true => Look::Is(Spoken::Tls),
            false => Look::Seems(Spoken::Sv2),
        };
    }
    if !is_json_text(come) {
        return Look::Is(Spoken::Sv2);
    }
    match come.len() >= ACT1_LEN || has_whole_object(come) {
        true => Look::Is(Spoken::Sv1),
        false => Look::Seems(Spoken::Sv1),
    }
}

/// How a TLS record with a ClientHello begins: handshake, version 3.x, length, ClientHello, length below 65536, version
/// 3.x. `None` may be anything.
const CLIENT_HELLO: [Option<u8>; 10] = [
    Some(0x16),
    Some(3),
    None,
    None,
    None,
    Some(1),
    Some(0),
    None,
    None,
    Some(3),
];

/// Whether a ClientHello may begin so.
fn is_client_hello(come: &[u8]) -> bool {
    let mut pairs = come.iter().zip(CLIENT_HELLO);
    pairs.all(|(byte, expected)| expected.is_none_or(|expected| *byte == expected))
}

/// Whether lines of JSON may begin so: an object after blanks, and nothing that no text has.
fn is_json_text(come: &[u8]) -> bool {
    let is_blank = |byte: &u8| *byte != b'{' && is_sv1_start(*byte);
    let begins = come.iter().find(|byte| !is_blank(byte));
    let is_utf8 = match std::str::from_utf8(come) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none(),
    };
    let is_control = |byte: &u8| byte.is_ascii_control() && !is_blank(byte);
    begins.is_none_or(|first| *first == b'{') && is_utf8 && !come.iter().any(is_control)
}

/// Whether a line is there that ends as an object does.
fn has_whole_object(come: &[u8]) -> bool {
    let mut lines = come.split(|byte| *byte == b'\n').rev().skip(1);
    lines.any(|line| line.trim_ascii_end().ends_with(b"}"))
}

#[cfg(test)]
mod tests {
    use noise_sv2::EphemeralKey;

    use super::*;
    use crate::handshake::key_from;

    const SV1: Look = Look::Is(Spoken::Sv1);
    const SV2: Look = Look::Is(Spoken::Sv2);
    const TLS: Look = Look::Is(Spoken::Tls);

    /// The first line of each is how the miner of that name begins.
    const LINES: &[&str] = &[
        // cgminer, ESP-Miner
        "{\"id\": 0, \"method\": \"mining.configure\", \"params\": [[\"version-rolling\"], {\"version-rolling.mask\": \"ffffffff\"}]}\n",
        // pooler's cpuminer
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer/2.5.1\"]}\n",
        // NerdMiner, whose members come in another order
        "{\"params\": [\"bc1q\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}\n",
        // shorter than a handshake
        "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n",
        "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\r\n",
        "  \r\n\t{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n",
        "{}\n",
        // two lines at once, the second one cut
        "{\"id\":1,\"method\":\"a\",\"params\":[]}\n{\"id\":2",
        // names of workers in other scripts, here cut within a character
        "{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"шахтёры.01234567890123456789\"]}\n",
    ];

    fn first(bytes: &[u8]) -> &[u8] {
        &bytes[..bytes.len().min(ACT1_LEN)]
    }

    #[test]
    fn lines_of_json_are_sv1() {
        for line in LINES {
            assert_eq!(look(first(line.as_bytes()), true), SV1, "{line}");
        }
    }

    #[test]
    fn keys_are_sv2_whatever_they_begin_with() {
        let mut like_json = 0;
        for _ in 0..4_000 {
            let key = key_from(EphemeralKey::new).encoding();
            like_json += usize::from(is_sv1_start(key[0]));
            assert_eq!(look(&key, true), SV2, "{key:?}");
            // The first bytes decide nothing, but for those that cannot be text.
            for cut in [1, 2, 20] {
                assert_ne!(look(&key[..cut], true), SV1, "{key:?}");
                assert_ne!(look(&key[..cut], true), TLS, "{key:?}");
            }
        }
        assert!(like_json > 20, "keys are no longer random: {like_json}");
    }

    #[test]
    fn keys_that_begin_as_lines_do_are_sv2() {
        let key = key_from(EphemeralKey::new).encoding();
        for begin in [
            "{",
            "{\"",
            "\n",
            " {",
            "\r\n{",
            "{\n",
            "{}\n",
            "{\"id\":1}\n",
        ] {
            let mut begun = key;
            begun[..begin.len()].copy_from_slice(begin.as_bytes());
            assert_eq!(look(&begun, true), SV2, "{begin:?}");
        }
    }

    #[test]
    fn tls_is_told_only_where_it_is_served() {
        let mut hello = [0x5a; ACT1_LEN];
        hello[..11].copy_from_slice(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        assert_eq!(look(&hello, true), TLS);
        assert_eq!(look(&hello, false), SV2);
        assert_eq!(look(&hello[..3], true), Look::Seems(Spoken::Sv2));
        let mut key = hello;
        key[9] = 4;
        assert_eq!(look(&key, true), SV2);
    }

    #[test]
    fn other_text_is_left_to_the_handshake_to_refuse() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "SSH-2.0-x\r\n",
            "hello\n",
            "[1]\n",
            "{\u{1}}\n",
            "{\0}\u{7f}\n",
        ] {
            assert_eq!(look(text.as_bytes(), true), SV2, "{text}");
        }
    }

    #[cfg(feature = "with_tokio")]
    mod in_time {
        use std::cell::Cell;

        use tokio::time::{Instant, sleep_until};

        use super::*;
        use crate::tokio::Tokio;

        /// Bytes that come at certain milliseconds, and are never taken.
        struct Arrivals {
            start: Instant,
            parts: &'static [(u64, &'static str)],
            looks: Cell<usize>,
        }

        impl Arrivals {
            fn new(parts: &'static [(u64, &'static str)]) -> Self {
                Self {
                    start: Instant::now(),
                    parts,
                    looks: Cell::new(0),
                }
            }
        }

        impl Peek for Arrivals {
            async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
                self.looks.set(self.looks.get() + 1);
                let Some((first, _)) = self.parts.first() else {
                    return std::future::pending().await;
                };
                sleep_until(self.start + Duration::from_millis(*first)).await;
                let elapsed = self.start.elapsed().as_millis();
                let come = self
                    .parts
                    .iter()
                    .filter(|(at, _)| u128::from(*at) <= elapsed);
                let come: String = come.map(|(_, text)| *text).collect();
                let len = come.len().min(bytes.len());
                bytes[..len].copy_from_slice(&come.as_bytes()[..len]);
                Ok(len)
            }
        }

        const PATIENCE: Duration = Duration::from_secs(10);

        #[tokio::test(start_paused = true)]
        async fn a_line_that_comes_in_parts_is_waited_for() {
            let parts = Arrivals::new(&[(500, "{"), (800, "\"id\":1"), (1_200, "}\n")]);
            assert_eq!(
                sniff_at::<Tokio>(&parts, PATIENCE, true).await,
                Ok(Spoken::Sv1)
            );
            let elapsed = parts.start.elapsed().as_millis();
            assert!((1_200..1_230).contains(&elapsed), "{elapsed}");
        }

        #[tokio::test(start_paused = true)]
        async fn half_a_line_is_waited_for_for_a_while() {
            for half in [&[(0, "{\"id\"")][..], &[(0, "\n")], &[(0, "{\"id\":1,\n")]] {
                let parts = Arrivals::new(half);
                assert_eq!(
                    sniff_at::<Tokio>(&parts, PATIENCE, true).await,
                    Ok(Spoken::Sv1)
                );
                let elapsed = parts.start.elapsed();
                assert!(
                    (SNIFF_SETTLE..SNIFF_SETTLE * 11 / 10).contains(&elapsed),
                    "{elapsed:?}"
                );
                assert!(parts.looks.get() <= 102, "{:?}", parts.looks);
            }
        }

        #[tokio::test(start_paused = true)]
        async fn silence_and_the_end_are_told_apart() {
            let silent = Arrivals::new(&[]);
            let verdict = sniff_at::<Tokio>(&silent, PATIENCE, true).await;
            assert_eq!(verdict, Err(CloseReason::HandshakeTimeout));
            assert_eq!(silent.start.elapsed(), PATIENCE);
            let ended = Arrivals::new(&[(0, "")]);
            let verdict = sniff_at::<Tokio>(&ended, PATIENCE, true).await;
            assert_eq!(verdict, Err(CloseReason::HandshakeClosed));
        }
    }
}
