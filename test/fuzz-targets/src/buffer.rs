//! The pool of slots.

/// Any bytes as what is done with a pool: it does as its model says.
pub(crate) fn pool(data: &[u8]) {
    buffer_sv2::fuzz::run(data);
}
