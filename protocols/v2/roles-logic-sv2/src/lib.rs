//! The rules of Stratum V2 mining without I/O: channels, jobs, shares, templates.
//!
//! - [`downstream`] is a server's side of a miner's connection, [`upstream`] a miner's or proxy's side of one to a server;
//!   [`channels`] is what both hold of channels.
//! - [`template_client`] follows a template provider, [`template_server`] is one; [`job`] makes jobs of templates.
//! - [`share`] judges, [`accounting`] counts, [`vardiff`] steers difficulty, [`extranonce`] divides the search space.
//! - [`setup`], [`extensions`] and [`messages`] are what every connection begins with.
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
#![no_std]

extern crate alloc;

pub mod accounting;
pub mod block_template;
pub mod channels;
pub mod clock;
pub mod coinbase;
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
