//! The rules of connections on tokio. The cases are the same for every runtime.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod cases;
#[path = "on/tokio.rs"]
mod on;
