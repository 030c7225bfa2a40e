//! The mining proxy's rules without I/O: miners on the channels of Sv2 upstreams. The translator is this with Sv1 miners only.
//!
//! A [`Proxy`] owns everything that miners and upstreams share: which upstream is used, its channels, who mines on
//! them and what became of each share. The shell owns the sockets: it hands in lines of miners and frames of upstreams,
//! and takes outputs for both.
//!
//! ```
//! use std::sync::Arc;
//! use roles_logic_sv2::clock::Now;
//! use mining_proxy_core::{Output, Proxy, ProxyConfig, UpstreamConfig};
//!
//! let now = Now::default();
//! let config = ProxyConfig {
//!     upstreams: vec![UpstreamConfig::new("pool.example", 3333)],
//!     ..ProxyConfig::default()
//! };
//! let mut proxy = Proxy::new(Arc::new(config), [0; 16], now).unwrap();
//! let Some(Output::Connect(connect)) = proxy.poll_output() else { panic!() };
//! assert_eq!((&*connect.host, connect.port), ("pool.example", 3333));
//!
//! let miner = proxy.miner_connected(now).unwrap();
//! proxy.handle_line(miner, br#"{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5"]}"#, now);
//! assert!(proxy.poll_miner_output(miner).is_none(), "the answer waits for an upstream");
//! ```

mod config;
mod device;
mod identity;
mod leaf;
mod link;
mod miner;
mod parking;
mod payout;
mod proxy;
mod slots;
mod snapshot;
mod upstream;

pub use config::{
    ChannelMode, DEFAULT_KEEP_MINERS, DEFAULT_MIN_JOB_INTERVAL, DEFAULT_PACE, ProxyConfig,
    UpstreamConfig,
};
pub use device::{DeviceId, DeviceOutput, MAX_WAITING_OPENS};
pub use identity::channel_identity;
pub use link::{LEAVE_GRACE, LinkId, LinkOutput, MAX_IN_FLIGHT};
pub use miner::{MinerId, MinerOutput};
pub use parking::{MAX_PARKED, PARK_TIME};
pub use payout::{ExpectedPayout, PayoutMismatch};
pub use proxy::{ConfigError, Connect, MAX_UPSTREAMS, Note, Output, Proxy, Wake};
pub use snapshot::{MAX_REJECT_CODES, MinerSnapshot, Snapshot, UpstreamSnapshot, UpstreamStanding};
pub use stratum_translation::layout::{EXTRANONCE_SIZES_ASKED, Layout};
