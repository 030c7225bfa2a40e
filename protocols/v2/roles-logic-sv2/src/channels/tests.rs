//! Client channels and server channels talk to each other, in bytes and in virtual time.

mod client;
mod dialogue;
mod model;
mod relay;
mod scenarios;
mod shares;
