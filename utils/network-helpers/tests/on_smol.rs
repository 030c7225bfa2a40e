//! The rules of connections on smol. The cases are the same for every runtime.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod cases;
#[path = "on/smol.rs"]
mod on;
