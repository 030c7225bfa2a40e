//! Miners on Stratum V2 pools, behind few connections.
//!
//! [`Proxy::start`] serves miners with the work of the best of its upstreams that work, until the program's
//! [`Shutdown`](stratum_runtime::Shutdown) drains it. [`Proxy::reload`] gives it another configuration meanwhile. The rules are in [`mining_proxy_core`]; this crate owns the sockets.
//! [`upstreams_config`] is what the configurations of its programs share; the translator is one of them.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use mining_proxy_core::{ProxyConfig, UpstreamConfig};
//! use network_helpers_sv2::{ClientSecurity, ServerSecurity};
//! use stratum_mining_proxy::{Config, Proxy};
//! use stratum_runtime::Shutdown;
//!
//! let rules = ProxyConfig {
//!     upstreams: vec![UpstreamConfig::new("127.0.0.1", 9)],
//!     ..ProxyConfig::default()
//! };
//! let address = ([127, 0, 0, 1], 0).into();
//! let config = Config::for_devices(address, ServerSecurity::Plain, vec![ClientSecurity::Plain], rules);
//! let shutdown = Shutdown::new();
//! let proxy = Proxy::start(config, shutdown.clone())?;
//! assert_ne!(proxy.local_addr().port(), 0);
//! assert_eq!(proxy.watcher().snapshot().await.core.upstreams.len(), 1);
//!
//! shutdown.drain();
//! proxy.join().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod device;
mod front;
mod link;
mod miner;
pub mod miners_config;
mod program;
mod server;
pub mod upstreams_config;

pub use config::{DEFAULT_CONFIG, ProgramConfig, RawConfig};
pub use front::SUMMARY_INTERVAL;
pub use program::{ROLE, RunError, main, run};
pub use server::{
    Config, DevicesListen, ListenKeys, MAX_OUTBOUND_LEN, MAX_PAYLOAD_LEN, Proxy, Reloader,
    Snapshot, StartError, Watcher,
};
