//! The pool as a program of its own.
fn main() {}
