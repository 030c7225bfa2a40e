//! Messages of the Stratum V2 mining protocol: channels, jobs, shares.
