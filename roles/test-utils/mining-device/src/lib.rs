//! A CPU miner that speaks Stratum V2 and V1, whichever the server's URL names.
//!
//! [`MiningDevice::start`] mines for one pool or proxy until the program's [`Shutdown`](stratum_runtime::Shutdown) drains
//! it, and comes back by itself after whatever ends a connection. Underneath, [`core`] holds the rules of a connection,
//! [`course`] those of coming back, [`work`] deals out each [`task`], [`workers`] are the threads that do it with a
//! [`hasher`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use stratum_mining_device::{Config, MiningDevice};
//! use stratum_runtime::Shutdown;
//!
//! let shutdown = Shutdown::new();
//! let config = Config {
//!     nominal_hashrate: Some(1e6),
//!     ..Config::new("127.0.0.1:9".parse()?)
//! };
//! let device = MiningDevice::start(config, shutdown.clone());
//! assert!(!device.snapshot().is_connected);
//!
//! shutdown.drain();
//! device.join().await;
//! # Ok::<(), network_helpers_sv2::EndpointError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
pub mod core;
pub mod course;
mod device;
pub mod hasher;
mod program;
mod session;
mod snapshot;
pub mod task;
#[cfg(test)]
mod testing;
pub mod work;
pub mod workers;

pub use config::{Config, DEFAULT_CONFIG, ProgramConfig, RawConfig, Sv1Config};
pub use device::{MiningDevice, SELF_TEST, Watcher};
pub use program::{MinerArgs, ROLE, main, run};
pub use session::{FINDS_INTERVAL, FINDS_PER_INTERVAL, MAX_SHOWN_MESSAGES};
pub use snapshot::{MAX_REJECT_CODES, Snapshot};
