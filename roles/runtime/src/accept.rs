//! Listening: bind with a message that helps, accept within limits, hand over to a core.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::admission::{Gate, Pass, Refusal};
use crate::{CoreRuntimes, Shutdown};

/// Connections the operating system keeps until they are accepted; further ones are refused by it.
pub const BACKLOG: u32 = 4096;

/// Pause after the operating system could not give a connection: without it an exhausted process would only spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Why a program cannot listen.
///
/// The message holds its cause, so [`Error::source`](std::error::Error::source) does not give that again.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (`{key}`): {}", advice(.cause, .address))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The configuration's key that holds it.
    pub key: &'static str,
    /// What the operating system says.
    pub cause: io::Error,
}

fn advice(error: &io::Error, address: &SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another program; stop it or choose another port")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; use one of its own, or 0.0.0.0 for all".into()
        }
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to use port {port}; choose one above 1023")
        }
        _ => format!("{error}; choose another address or port"),
    }
}

/// Listens on `address`, which the configuration has under `key`. A port of 0 chooses a free one.
///
/// # Errors
/// [`BindError`], whose message says what to do.
pub fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Lets a restarted program listen while connections of the old one are in TIME_WAIT.
        socket.set_reuseaddr(cfg!(unix))?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|cause| BindError {
        address,
        key,
        cause,
    })
}

/// Accepts connections through `gate` until draining begins and runs what `serve` makes of each on a core.
///
/// The pass of a connection is dropped with its future. A connection that is refused is closed at once. `serve` gets the
/// address of the client, which is not the peer's where a trusted proxy speaks for it ([`AcceptLimits::proxies`]).
///
/// [`AcceptLimits::proxies`]: crate::AcceptLimits::proxies
pub async fn accept_loop<F>(
    listener: TcpListener,
    gate: Gate,
    cores: &CoreRuntimes,
    shutdown: &Shutdown,
    serve: impl Fn(TcpStream, SocketAddr) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let mut draining = std::pin::pin!(shutdown.draining());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut draining => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let admitted = gate.admit(peer.ip(), Instant::now());
                let outcome = admitted.and_then(|pass| {
                    hand_over(stream, peer, pass, cores, serve.clone())
                        .map_err(|refusal| gate.refuse(refusal))
                });
                if let Err(refusal) = outcome {
                    debug!(%peer, reason = refusal.name(), "connection refused");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                debug!("a connection ended before it was accepted");
            }
            Err(error) => {
                gate.refuse(Refusal::System);
                warn!(%error, "cannot accept connections; check the limit of open files (ulimit -n)");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

fn hand_over<F: Future<Output = ()> + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    pass: Pass,
    cores: &CoreRuntimes,
    serve: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static,
) -> Result<(), Refusal> {
    // A socket belongs to the runtime that polls it, so it leaves this one and joins the core's.
    let stream = stream.into_std().map_err(|_| Refusal::System)?;
    let start = move || async move {
        let (mut pass, mut stream) = match TcpStream::from_std(stream) {
            Ok(stream) => (pass, stream),
            Err(error) => return warn!(%peer, %error, "cannot watch a connection"),
        };
        match pass.client(&mut stream, peer).await {
            Ok(client) => serve(stream, client).await,
            Err(refusal) => debug!(%peer, reason = refusal.name(), "connection refused"),
        }
    };
    cores.spawn(start).map_err(|_| Refusal::Busy)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use network_helpers_sv2::ProxyProtocol;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::AcceptLimits;

    fn any_port() -> TcpListener {
        bind(SocketAddr::from(([127, 0, 0, 1], 0)), "listen.address").unwrap()
    }

    #[tokio::test]
    async fn a_port_in_use_says_what_to_do() {
        let taken = any_port();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "listen.address").unwrap_err();
        let port = address.port();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {address} (`listen.address`): port {port} is in use by another program; \
                 stop it or choose another port"
            )
        );
        assert!(std::error::Error::source(&error).is_none(), "it is told");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_says_what_to_do() {
        let error = bind(SocketAddr::from(([192, 0, 2, 1], 0)), "listen.address").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("this machine does not have that address"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn those_inside_are_served_and_those_over_the_limit_are_closed() {
        let shutdown = Shutdown::new();
        let cores = CoreRuntimes::new(NonZeroUsize::new(1), &shutdown).unwrap();
        let listener = any_port();
        let address = listener.local_addr().unwrap();
        let gate = Gate::new(AcceptLimits {
            per_address: 1,
            ..AcceptLimits::default()
        });
        let echo = |mut stream: TcpStream, _| async move {
            let mut byte = [0];
            while matches!(stream.read(&mut byte).await, Ok(1)) {
                let _ = stream.write_all(&byte).await;
            }
        };
        let client = async {
            let mut first = TcpStream::connect(address).await.unwrap();
            first.write_all(b"x").await.unwrap();
            assert_eq!(first.read_u8().await.unwrap(), b'x');
            let mut second = TcpStream::connect(address).await.unwrap();
            assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "refused");
            assert_eq!(gate.refused(Refusal::Address), 1);
            assert_eq!(gate.inside(), 1);
            shutdown.drain();
        };
        tokio::join!(
            accept_loop(listener, gate.clone(), &cores, &shutdown, echo),
            client
        );
        tokio::task::spawn_blocking(|| cores.join()).await.unwrap();
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test]
    async fn a_server_behind_a_proxy_sees_its_clients() {
        let shutdown = Shutdown::new();
        let cores = CoreRuntimes::new(NonZeroUsize::new(1), &shutdown).unwrap();
        let listener = any_port();
        let address = listener.local_addr().unwrap();
        let trusted = vec!["127.0.0.1/32".parse().unwrap()];
        let gate = Gate::new(AcceptLimits {
            proxies: ProxyProtocol { trusted },
            ..AcceptLimits::default()
        });
        let tell = |mut stream: TcpStream, client: SocketAddr| async move {
            let _ = stream.write_all(client.to_string().as_bytes()).await;
        };
        let proxy = async {
            for (sent, answer) in [
                (
                    &b"PROXY TCP6 2001:db8::7 ::1 5000 3333\r\n"[..],
                    "[2001:db8::7]:5000",
                ),
                (b"{\"id\":1}\n", ""),
            ] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(sent).await.unwrap();
                let mut got = String::new();
                let _ = stream.read_to_string(&mut got).await;
                assert_eq!(got, answer);
            }
            assert_eq!(gate.refused(Refusal::Proxy), 1);
            shutdown.drain();
        };
        tokio::join!(
            accept_loop(listener, gate.clone(), &cores, &shutdown, tell),
            proxy
        );
        tokio::task::spawn_blocking(|| cores.join()).await.unwrap();
        assert_eq!(gate.inside(), 0);
    }
}
