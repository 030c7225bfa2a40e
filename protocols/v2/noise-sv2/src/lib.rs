//! The Noise NX handshake and transport cipher of Stratum V2, certificates and authority keys.
