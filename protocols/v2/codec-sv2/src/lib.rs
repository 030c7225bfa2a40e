//! Bytes in, Stratum V2 frames out, plain or over Noise.
