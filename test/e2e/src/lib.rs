//! Helpers for end-to-end tests: whole programs, real sockets, a real node.

pub mod regtest_node;
