//! Stratum: pool, template provider, miner and demo in one binary.
