//! The rules of Stratum V2 mining without I/O: channels, jobs, shares, templates.
#![no_std]

extern crate alloc;

pub mod block_template;
pub mod clock;
