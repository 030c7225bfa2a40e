//! A CPU miner that speaks Stratum V2.
