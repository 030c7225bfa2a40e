//! Messages of the Stratum V2 template distribution protocol.
