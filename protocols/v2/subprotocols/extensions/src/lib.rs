//! Stratum V2 extensions: negotiation (0x0001), TLV fields, worker identity (0x0002).
