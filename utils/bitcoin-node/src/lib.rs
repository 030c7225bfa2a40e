//! One trait over a Bitcoin node: JSON-RPC with ZMQ or long poll, and an embedded regtest chain.
