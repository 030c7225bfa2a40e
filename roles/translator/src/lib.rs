//! Sv1 miners on Stratum V2 pools: the [mining proxy](stratum_mining_proxy) with miners of Stratum V1 only.
//!
//! All that it does is there and in [`mining_proxy_core`]; this crate has the translator's configuration and its program.

pub mod config;
mod program;

pub use config::{DEFAULT_CONFIG, RawConfig};
pub use program::{ROLE, main};
