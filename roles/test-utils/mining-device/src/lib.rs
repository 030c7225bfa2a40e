//! A CPU miner that speaks Stratum V2.

pub mod hasher;
