//! The template provider's rules without I/O.
