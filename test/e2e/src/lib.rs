//! End-to-end tests: whole programs, real sockets, a real node.
