//! A Stratum V2 mining pool.
//!
//! [`Pool::start`] serves miners over Noise with work from a [`TemplateSource`], until the program's
//! [`Shutdown`](stratum_runtime::Shutdown) drains it.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::sync::Arc;
//! use bitcoin_node::{Network, embedded::EmbeddedNode, hub::TemplateHub};
//! use network_helpers_sv2::ServerSecurity;
//! use pool_core::{payout::PoolPayouts, shard::PoolConfig};
//! use stratum_pool::{Config, Pool, TemplateSource};
//! use stratum_runtime::Shutdown;
//!
//! let payouts = PoolPayouts::new(Network::Regtest, [("raw(51)", 1)])?;
//! let config = Config::new(([127, 0, 0, 1], 0).into(), ServerSecurity::Plain, PoolConfig::new(payouts));
//! let source = TemplateSource::InProcess(TemplateHub::spawn(Arc::new(EmbeddedNode::default())));
//!
//! let shutdown = Shutdown::new();
//! let pool = Pool::start(config, source, shutdown.clone())?;
//! assert_ne!(pool.local_addr().port(), 0);
//!
//! shutdown.drain();
//! pool.join().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
mod counters;
mod ledger;
mod program;
mod report;
mod server;
mod session;
mod source;
mod sv1;

pub use config::{DEFAULT_CONFIG, ProgramConfig, RawConfig, TemplatesConfig};
pub use program::{ROLE, RunError, main, run};
pub use server::{
    BLOCKS_WAITING_MAX, Config, MAX_PAYLOAD_LEN, Pool, Snapshot, StartError, Watcher,
};
pub use source::{RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN, SourceSnapshot, TemplateSource};
pub use sv1::Sv1Listen;
