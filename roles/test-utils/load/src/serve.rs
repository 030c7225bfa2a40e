//! The servers that `--self` starts, each in a process of its own.

mod floor;
mod pool;
mod proxy;
mod translator;

use std::fmt::Display;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use network_helpers_sv2::{Endpoint, Protocol, ServerIdentity};
use noise_sv2::AuthoritySecretKey;
use roles_logic_sv2::vardiff::VardiffConfig;
use stratum_runtime::{AcceptLimits, Shutdown, raise_open_files, random_bytes};
use tokio::sync::mpsc;

use crate::args::{Args, Profile, ServerRole};

/// Orders that may wait; the client gives one at a time.
const MAX_ORDERS: usize = 16;

/// Shares that a channel of a measured server remembers on one tip: what the fastest client sends in minutes.
const MAX_SHARES_PER_TIP: usize = 1 << 26;

/// Shares a minute that firmware is to find: it takes seconds to come down from its claim, instead of a minute.
const FIRMWARE_SHARES_PER_MINUTE: f64 = 600.0;

/// What the client wants of a server, as a line on the server's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Announce a new tip.
    Tip,
    /// Say how many shares were accepted, on standard output.
    Shares,
}

impl Order {
    pub(crate) const fn line(self) -> &'static str {
        match self {
            Self::Tip => "tip",
            Self::Shares => "shares",
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut all = [Self::Tip, Self::Shares].into_iter();
        all.find(|order| order.line() == line)
    }
}

/// Is one of the servers until standard input ends, as it does when the client has ended.
pub(crate) fn serve(role: ServerRole, args: &Args) -> anyhow::Result<()> {
    stratum_runtime::logging::init("warn").context("log what goes wrong")?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the server's runtime")?;
    let (sender, orders) = mpsc::channel(MAX_ORDERS);
    let shutdown = Shutdown::new();
    let ending = shutdown.clone();
    thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        for order in lines.filter_map(|line| Order::parse(&line)) {
            if sender.blocking_send(order).is_err() {
                break;
            }
        }
        ending.end();
    });
    runtime.block_on(async {
        match role {
            ServerRole::Pool => pool::run(args, orders, shutdown).await,
            ServerRole::Translator => translator::run(args, orders, shutdown).await,
            ServerRole::Proxy => proxy::run(args, orders, shutdown).await,
            ServerRole::Floor => floor::run(args, orders, shutdown).await,
        }
    })
}

/// Tells the client where to connect.
fn tell(address: SocketAddr, identity: Option<&ServerIdentity>) -> anyhow::Result<()> {
    say(Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        authority: identity.map(ServerIdentity::authority),
    })
}

/// Answers the client, as a line on standard output.
fn say(what: impl Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}")
        .and_then(|()| out.flush())
        .context("answer the client")
}

/// The client comes from one address, all at once.
fn everyone() -> AcceptLimits {
    AcceptLimits {
        connections: usize::MAX,
        per_address: usize::MAX,
        per_second: u32::MAX,
        burst: u32::MAX,
        ..AcceptLimits::default()
    }
}

/// A new key, and certificates of it.
fn identity() -> anyhow::Result<Arc<ServerIdentity>> {
    let authority = AuthoritySecretKey::generate(random_bytes).context("authority key")?;
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    Ok(Arc::new(identity))
}

/// How difficult shares are, and whether they stay so: the easiest for a load. A client that behaves as firmware gets
/// targets that follow its shares, sooner than other servers' do.
fn vardiff(args: &Args) -> (VardiffConfig, bool) {
    match args.profile {
        None => {
            let easiest = VardiffConfig {
                shares_per_minute: 1e9,
                min_difficulty: f64::MIN_POSITIVE,
            };
            (easiest, true)
        }
        Some(Profile::Firmware) => {
            let soon = VardiffConfig {
                shares_per_minute: FIRMWARE_SHARES_PER_MINUTE,
                ..VardiffConfig::default()
            };
            (soon, false)
        }
    }
}

/// Threads for the connections of the server that is loaded. What stands before a pool has one unless it is told
/// otherwise, and so has the bare server that it is compared with.
fn threads(args: &Args) -> Option<NonZeroUsize> {
    let has_one = args.protocol() == Protocol::Sv1 || args.proxy;
    let one = has_one.then_some(NonZeroUsize::MIN);
    args.threads.or(one)
}
