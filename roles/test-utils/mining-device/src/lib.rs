//! A CPU miner that speaks Stratum V2.
//!
//! [`hasher`] hashes headers, [`work`] deals out what to hash as pure values, [`workers`] are the threads that do it.

pub mod hasher;
pub mod work;
pub mod workers;
