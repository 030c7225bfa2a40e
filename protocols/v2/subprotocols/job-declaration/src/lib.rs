//! Messages of the Stratum V2 job declaration protocol.
