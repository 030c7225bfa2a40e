//! Atomics and memory: the real ones, or those of loom, which tries every order of what threads do.

#[cfg(not(loom))]
pub(super) use {
    alloc::alloc::{alloc_zeroed, dealloc},
    core::sync::atomic::{AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub(super) use loom::{
    alloc::{alloc_zeroed, dealloc},
    sync::atomic::{AtomicUsize, Ordering, fence},
};
