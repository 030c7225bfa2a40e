//! A Stratum V2 template provider on any Bitcoin node.
//!
//! [`TemplateProvider::start`] serves template distribution (specification 7) over Noise to any number of clients from
//! one [`Node`](bitcoin_node::Node), until the program's [`Shutdown`](stratum_runtime::Shutdown) drains it. Its
//! [`TemplateHub`](bitcoin_node::hub::TemplateHub) serves clients in the same process without a socket.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::sync::Arc;
//! use bitcoin_node::embedded::EmbeddedNode;
//! use network_helpers_sv2::ServerSecurity;
//! use stratum_runtime::Shutdown;
//! use stratum_template_provider::{Config, TemplateProvider};
//!
//! let shutdown = Shutdown::new();
//! let config = Config::new(([127, 0, 0, 1], 0).into(), ServerSecurity::Plain);
//! let provider = TemplateProvider::start(config, Arc::new(EmbeddedNode::default()), shutdown.clone())?;
//! assert_ne!(provider.local_addr().port(), 0);
//! assert_eq!(provider.snapshot().connections, 0);
//!
//! shutdown.drain();
//! provider.join().await;
//! # Ok::<(), stratum_template_provider::StartError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
mod program;
mod report;
mod server;
mod session;

pub use config::{Config, DEFAULT_CONFIG, ProgramConfig, RawConfig};
pub use program::{ROLE, RunError, main, run};
pub use server::{Snapshot, StartError, TemplateProvider, Watcher};
pub use session::PENDING_MAX;
