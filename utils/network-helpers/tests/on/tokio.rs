//! What the tests need of tokio, under the names of [`smol`](../smol.rs)'s.

use std::future::Future;
use std::io;
use std::time::Duration;

pub(crate) use network_helpers_sv2::tokio::{
    Connection, LineConnection, MaybeTls, Tokio as Rt, accept, accept_lines, connect,
    connect_lines, sniff, split,
};
pub(crate) use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream as Pipe, duplex};
pub(crate) use tokio::net::{TcpListener, TcpStream};
pub(crate) use tokio::time::Instant;
pub(crate) use tokio_rustls::TlsConnector;

/// A second of the tests' deadlines: they pass at once, as the clock is set on.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs a test whose clock is set on while everything waits.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    runtime(true).block_on(test)
}

/// Runs a test that waits for the operating system.
pub(crate) fn run_on_sockets<T>(test: impl Future<Output = T>) -> T {
    runtime(false).block_on(test)
}

fn runtime(is_time_ours: bool) -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(is_time_ours);
    runtime.build().unwrap()
}

/// Fails unless `expected` has passed since `start`.
#[track_caller]
pub(crate) fn assert_took(start: Instant, expected: Duration) {
    assert_eq!(start.elapsed(), expected);
}

/// Says that nothing more comes.
pub(crate) async fn end(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await
}

/// Copies in both directions until both have ended.
pub(crate) async fn copy_both(mut near: TcpStream, mut far: TcpStream) {
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}
