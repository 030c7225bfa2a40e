//! The rules of Stratum V2 mining without I/O: channels, jobs, shares, templates.
//!
//! - [`downstream`] is a server's side of a miner's connection, [`upstream`] a miner's or proxy's side of one to a server;
//!   [`channels`] is what both hold of channels.
//! - [`template_client`] follows a template provider, [`template_server`] is one; [`job`] makes jobs of templates.
//! - [`share`] judges, [`accounting`] counts, [`vardiff`] steers difficulty, [`extranonce`] divides the search space.
//! - [`setup`], [`extensions`] and [`messages`] are what every connection begins with.
//!
//! No part of it needs the standard library.
//!
//! Each state machine has four verbs: `handle_*(input, now)`, `handle_timeout(now)`, `poll_output()`,
//! `poll_timeout()`. After each `handle_*` poll all outputs and do what they say; come back with `handle_timeout` when
//! the time of `poll_timeout` has come.
//!
//! ```
//! use std::sync::Arc;
//! use binary_sv2::Encodable;
//! use roles_logic_sv2::channels::server::{OpenRefusal, OpenRequest, ServerChannels};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::downstream::{ChannelOwner, DownstreamOutput, DownstreamSession, DownstreamTerms};
//! use roles_logic_sv2::upstream::{UpstreamEvent, UpstreamOutput, UpstreamSession, UpstreamTerms};
//!
//! /// Decides who may open a channel, and whom it pays: here nobody.
//! struct Closed;
//!
//! impl ChannelOwner for Closed {
//!     fn open(&mut self, channels: &mut ServerChannels, request: OpenRequest, _: &[u8], _: Now) {
//!         channels.refuse(request, OpenRefusal::UnknownUser);
//!     }
//! }
//!
//! let now = Now::default();
//! let mut miner = UpstreamSession::new(UpstreamTerms::default(), now);
//! let mut server = DownstreamSession::new(Arc::new(DownstreamTerms::default()), now);
//!
//! // Messages travel as bytes; the sockets are somebody else's.
//! let Some(UpstreamOutput::Send(setup)) = miner.poll_output() else { panic!("the miner begins") };
//! let kind = setup.kind();
//! server.handle_frame(kind.wire_extension_type(), kind.msg_type, &setup.to_vec(), &mut Closed, now);
//!
//! let Some(DownstreamOutput::Send(answer)) = server.poll_output() else { panic!("setup is answered") };
//! let kind = answer.kind();
//! miner.handle_frame(kind.wire_extension_type(), kind.msg_type, &answer.to_vec(), now);
//! assert!(matches!(miner.poll_output(), Some(UpstreamOutput::Event(UpstreamEvent::Ready))));
//! ```
//!
//! # Features
//!
//! - `core` (default): nothing more; our own codec of messages is always there.
//! - `with_serde`: [`messages::AnyMessage`] and all messages in it implement serde's `Serialize` and `Deserialize`, see
//!   `binary_sv2` for their forms.
//! - `server` (default): what servers and makers of jobs need: their side of channels, templates, the judging of shares; and with
//!   it rust-bitcoin and the C library that it brings along. Without it there remains what a miner or a device's firmware
//!   needs: set-up, channels as a client keeps them, jobs and their headers, targets.
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
pub mod coinbase_space;
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
