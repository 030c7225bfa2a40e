//! The rules of Stratum V2 mining without I/O: channels, jobs, shares, templates.
//!
//! No part of it needs the standard library. The feature `server`, on by default, has what servers and makers of jobs
//! need: their side of channels, templates, the judging of shares; and with it rust-bitcoin and the C library that it
//! brings along. Without it there remains what a miner or a device's firmware needs: set-up, channels as a client
//! keeps them, jobs and their headers, targets.
#![no_std]

extern crate alloc;

#[cfg(feature = "server")]
pub mod accounting;
#[cfg(feature = "server")]
pub mod block_template;
pub mod channels;
pub mod clock;
pub mod coinbase;
#[cfg(feature = "server")]
pub mod downstream;
#[cfg(feature = "server")]
pub mod duplicates;
pub mod extensions;
#[cfg(feature = "server")]
pub mod extranonce;
mod hash;
pub mod header;
pub mod job;
pub mod merkle;
pub mod messages;
pub mod setup;
#[cfg(feature = "server")]
pub mod share;
pub mod target;
#[cfg(feature = "server")]
pub mod template_client;
#[cfg(feature = "server")]
pub mod template_server;
pub mod upstream;
#[cfg(feature = "server")]
pub mod vardiff;
mod wide;
