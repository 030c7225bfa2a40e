//! A Stratum V2 template provider on any Bitcoin node.
