//! A CPU miner that speaks Stratum V2.
//!
//! [`core`] holds the rules of a connection, [`work`] deals out what to hash, [`workers`] are the threads that do it
//! with a [`hasher`].

pub mod core;
pub mod hasher;
#[cfg(test)]
mod testing;
pub mod work;
pub mod workers;
