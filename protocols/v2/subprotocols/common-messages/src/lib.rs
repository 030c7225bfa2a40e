//! Messages common to all Stratum V2 sub-protocols: connection setup, reconnect.
