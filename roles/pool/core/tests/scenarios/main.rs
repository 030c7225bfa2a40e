//! The pool's side of what a miner can do, as dialogues in virtual time.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;

mod channels;
mod drain;
mod payouts;
mod setup;
mod shares;
