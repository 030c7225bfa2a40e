//! The pool's rules without I/O: hub and downstream connections.
