//! The rules of Stratum V2 mining without I/O: channels, jobs, shares, templates.
#![no_std]

extern crate alloc;

pub mod accounting;
pub mod block_template;
pub mod channels;
pub mod clock;
pub mod coinbase;
pub mod coinbase_space;
pub mod downstream;
pub mod duplicates;
pub mod extensions;
pub mod extranonce;
mod hash;
pub mod header;
pub mod job;
pub mod merkle;
pub mod messages;
pub mod setup;
pub mod share;
pub mod target;
pub mod template_client;
pub mod template_server;
pub mod upstream;
pub mod vardiff;
mod wide;
