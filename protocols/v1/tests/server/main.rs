//! The server's end of a connection against miners of all kinds, as scripted dialogues in virtual time.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod dialects;
mod dialogue;
