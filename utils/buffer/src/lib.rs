//! Pooled byte buffers for the Stratum V2 codec.
