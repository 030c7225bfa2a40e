//! The tables of the Stratum V2 specification: messages, flags, extension numbers, limits, error codes.
