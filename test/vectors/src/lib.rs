//! Golden data and the helpers that read it.
