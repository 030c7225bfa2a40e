//! Sv1 miners on Stratum V2 pools.
//!
//! [`Translator::start`] serves miners with the work of the best of its upstreams that works, until the program's
//! [`Shutdown`](stratum_runtime::Shutdown) drains it. The rules are in [`translator_core`]; this crate owns the sockets.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use network_helpers_sv2::ClientSecurity;
//! use stratum_runtime::Shutdown;
//! use stratum_translator::{Config, Translator};
//! use translator_core::{TranslatorConfig, UpstreamConfig};
//!
//! let rules = TranslatorConfig {
//!     upstreams: vec![UpstreamConfig::new("127.0.0.1", 9)],
//!     ..TranslatorConfig::default()
//! };
//! let config = Config::new(([127, 0, 0, 1], 0).into(), vec![ClientSecurity::Plain], rules);
//! let shutdown = Shutdown::new();
//! let translator = Translator::start(config, shutdown.clone())?;
//! assert_ne!(translator.local_addr().port(), 0);
//! assert_eq!(translator.watcher().snapshot().await.core.upstreams.len(), 1);
//!
//! shutdown.drain();
//! translator.join().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
mod front;
mod link;
mod miner;
mod program;
mod server;

pub use config::{DEFAULT_CONFIG, ProgramConfig, RawConfig};
pub use front::SUMMARY_INTERVAL;
pub use program::{ROLE, RunError, main, run};
pub use server::{
    Config, MAX_OUTBOUND_LEN, MAX_PAYLOAD_LEN, Snapshot, StartError, Translator, Watcher,
};
