//! A connection from its opening to its counted end, for servers and for clients that stay connected.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use network_helpers_sv2::{
    Backoff, ClientSecurity, CloseCounts, CloseReason, ConnectError, Connection, Endpoint,
    LineConnection, LineOptions, MaybeTls, Options, ServerSecurity, Sv1Endpoint, TlsClient,
    TlsServer, accept, accept_lines, connect, connect_lines, random_u32,
};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{Core, LineCore, LineShell, Shell, Shutdown, SystemClock, drive, drive_lines};

/// Pause before a client's second attempt; it doubles with each further one.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(250);

/// Longest pause between two attempts. A connection that lasted longer begins with [`RECONNECT_FIRST`] again.
pub const RECONNECT_BOUND: Duration = Duration::from_secs(15);

/// Serves one accepted connection: handshake, then the core and shell that `session` makes, until it ends. The end is
/// counted in `counts` and logged once.
pub async fn serve<C: Core, H: Shell<C>>(
    stream: TcpStream,
    peer: SocketAddr,
    security: &ServerSecurity,
    options: Options,
    clock: SystemClock,
    counts: &CloseCounts,
    session: impl FnOnce() -> (C, H),
) {
    // In a box, so that the state of the opening does not stay in the memory of the connection's task.
    let opening = Box::pin(accept(stream, security, options));
    let reason = match opening.await {
        Ok(connection) => {
            let (mut core, mut shell) = session();
            drive(&mut core, &mut shell, connection, clock).await
        }
        Err(reason) => reason,
    };
    end(peer, reason, counts);
}

/// As [`serve`], for a connection that speaks lines, through TLS where `tls` is given.
pub async fn serve_lines<C: LineCore, H: LineShell<C>>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&TlsServer>,
    options: LineOptions,
    clock: SystemClock,
    counts: &CloseCounts,
    session: impl FnOnce() -> (C, H),
) {
    // In a box, as in `serve`.
    let opening = Box::pin(accept_lines(stream, tls, options));
    let reason = match opening.await {
        Ok(connection) => {
            let (mut core, mut shell) = session();
            drive_lines(&mut core, &mut shell, connection, clock).await
        }
        Err(reason) => reason,
    };
    end(peer, reason, counts);
}

fn end(peer: SocketAddr, reason: CloseReason, counts: &CloseCounts) {
    counts.count(reason);
    debug!(%peer, reason = reason.name(), "connection ended");
}

/// Keeps a client connected: opens a connection to the server that `target` names at each attempt, lets `run` use it to
/// its end, and begins again after a pause. Ends when draining has begun and `run` is done.
///
/// Each end and each failed attempt is counted in `counts` and logged.
pub async fn stay_connected<F: Future<Output = CloseReason>>(
    mut target: impl FnMut() -> (Endpoint, ClientSecurity),
    options: Options,
    counts: &CloseCounts,
    shutdown: &Shutdown,
    run: impl FnMut(Connection) -> F,
) {
    let open = || {
        let (endpoint, security) = target();
        async move {
            let connection = connect(&endpoint, &security, options).await?;
            info!(%endpoint, "connected");
            Ok(connection)
        }
    };
    keep_open(open, counts, shutdown, run).await;
}

/// As [`stay_connected`], to a server that speaks lines; how it is believed matters for TLS only, as for
/// [`connect_lines`].
pub async fn stay_connected_lines<F: Future<Output = CloseReason>>(
    mut target: impl FnMut() -> (Sv1Endpoint, Option<TlsClient>),
    options: LineOptions,
    counts: &CloseCounts,
    shutdown: &Shutdown,
    run: impl FnMut(LineConnection<MaybeTls>) -> F,
) {
    let open = || {
        let (endpoint, tls) = target();
        async move {
            let connection = connect_lines(&endpoint, tls.as_ref(), options).await?;
            info!(%endpoint, "connected");
            Ok(connection)
        }
    };
    keep_open(open, counts, shutdown, run).await;
}

async fn keep_open<C, O, F>(
    mut open: impl FnMut() -> O,
    counts: &CloseCounts,
    shutdown: &Shutdown,
    mut run: impl FnMut(C) -> F,
) where
    O: Future<Output = Result<C, ConnectError>>,
    F: Future<Output = CloseReason>,
{
    let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_BOUND);
    loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = shutdown.draining() => return,
        };
        let reason = match opened {
            Ok(connection) => {
                let since = Instant::now();
                let reason = run(connection).await;
                if since.elapsed() > RECONNECT_BOUND {
                    backoff.reset();
                }
                info!(reason = reason.name(), "connection to the server ended");
                reason
            }
            Err(error) => {
                warn!("{error}");
                error.reason()
            }
        };
        counts.count(reason);
        tokio::select! {
            () = tokio::time::sleep(backoff.next_pause(random_u32())) => {}
            () = shutdown.draining() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;

    fn unreachable_server() -> ConnectError {
        ConnectError::Timeout {
            endpoint: "pool.example:3333".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_slow_down_while_the_server_is_away() {
        let (shutdown, counts) = (Shutdown::new(), CloseCounts::default());
        let attempts = Cell::new(0);
        let open = || {
            attempts.set(attempts.get() + 1);
            ready(Err::<(), _>(unreachable_server()))
        };
        let hour = Duration::from_secs(3600);
        let trying = keep_open(open, &counts, &shutdown, async |()| CloseReason::Finished);
        assert!(tokio::time::timeout(hour, trying).await.is_err(), "gave up");
        let fewest = hour.as_secs() / RECONNECT_BOUND.as_secs();
        assert!(
            (fewest..2 * fewest + 20).contains(&attempts.get()),
            "{attempts:?}"
        );
        assert_eq!(counts.of(CloseReason::Io), attempts.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_opened_again_at_once_and_draining_ends_it() {
        let (shutdown, counts) = (Shutdown::new(), CloseCounts::default());
        let start = Instant::now();
        let connections = Cell::new(0);
        let lasts = RECONNECT_BOUND * 2;
        let run = async |()| {
            connections.set(connections.get() + 1);
            tokio::time::sleep(lasts).await;
            if connections.get() == 5 {
                shutdown.drain();
            }
            CloseReason::PeerClosed
        };
        keep_open(|| ready(Ok(())), &counts, &shutdown, run).await;
        assert_eq!(counts.of(CloseReason::PeerClosed), 5);
        let pauses = start.elapsed() - lasts * 5;
        assert!(pauses <= RECONNECT_FIRST * 4, "{pauses:?}");
    }

    #[tokio::test]
    async fn a_client_may_run_as_a_task_of_any_runtime() {
        let shutdown = Shutdown::new();
        shutdown.drain();
        let client = tokio::spawn(async move {
            let counts = CloseCounts::default();
            let target = || {
                let endpoint = Endpoint {
                    host: "127.0.0.1".to_owned(),
                    port: 1,
                    authority: None,
                };
                (endpoint, ClientSecurity::Plain)
            };
            let run = async |mut connection: Connection| match connection.ready(None).await {
                Ok(_) => CloseReason::Finished,
                Err(reason) => reason,
            };
            stay_connected(target, Options::default(), &counts, &shutdown, run).await;
        });
        client.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn draining_interrupts_an_attempt() {
        let (shutdown, counts) = (Shutdown::new(), CloseCounts::default());
        shutdown.drain();
        let open = std::future::pending::<Result<(), ConnectError>>;
        keep_open(
            async || open().await,
            &counts,
            &shutdown,
            async |()| CloseReason::Io,
        )
        .await;
    }
}
