//! A Stratum V2 mining pool.
