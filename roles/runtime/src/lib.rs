//! The shell every role shares: configuration, logging, signals, tasks, drain, and the loop that drives a core on a
//! connection.
//!
//! A program reads its configuration with [`config`], starts [`logging`], makes a [`Shutdown`] that signals drain
//! ([`drain_on_signals`]), may read it again at SIGHUP ([`reload_on_hangup`]), runs its long-lived parts as [`Tasks`] and its connections on [`CoreRuntimes`]: [`bind`],
//! [`accept_loop`] through a [`Gate`], and [`serve`] with a [`Core`] and a [`Shell`] for each. A client runs [`drive`] on
//! what [`stay_connected`] gives it. [`serve_lines`], [`LineCore`], [`LineShell`] and [`drive_lines`] are the same for
//! Stratum V1.
//!
//! ```
//! use std::time::Duration;
//! use stratum_runtime::{OnEnd, Phase, Shutdown, Tasks};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let shutdown = Shutdown::new();
//! let mut tasks = Tasks::new(shutdown.clone());
//! tasks.spawn("answer", OnEnd::Drain, async || Ok::<(), std::io::Error>(()));
//! assert_eq!(tasks.join().await, 0);
//! assert_eq!(shutdown.phase(), Phase::Draining);
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod config;
pub mod logging;
pub mod miner_end;
#[cfg(feature = "node")]
pub mod node;

mod accept;
mod admission;
mod clock;
mod cores;
mod drive;
mod drive_lines;
mod driven;
mod limits;
mod program;
mod reload;
mod report;
mod secret;
mod session;
mod shutdown;
mod tasks;

pub use accept::{BACKLOG, BindError, accept_loop, bind};
pub use admission::{AcceptLimits, Ban, Gate, MAX_BAN, MAX_BANS, Pass, Refusal};
pub use clock::SystemClock;
pub use cores::{CoreRuntimes, MAX_WAITING_TASKS, PanicCount, SpawnError};
pub use drive::{Core, Shell, drive};
pub use drive_lines::{LineCore, LineShell, drive_lines};
pub use limits::raise_open_files;
pub use network_helpers_sv2::{random_bytes, random_u32};
pub use program::{ProgramError, run_program};
pub use reload::{Hangups, reload_on_hangup};
pub use report::{REPORT_INTERVAL, Rate, Reasons, announce};
pub use secret::Secret;
pub use session::{
    RECONNECT_BOUND, RECONNECT_FIRST, serve, serve_lines, stay_connected, stay_connected_lines,
};
pub use shutdown::{DEFAULT_GRACE_SECS, Phase, Shutdown, drain_on_signals};
pub use tasks::{OnEnd, TaskCounts, Tasks};
