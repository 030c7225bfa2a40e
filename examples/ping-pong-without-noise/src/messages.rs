//! The messages, and how they are told apart.

use anyhow::{Context, ensure};
use binary_sv2::{B0255, Decodable, Encodable, Message};
use const_sv2::{Direction, FIRST_EXPERIMENTAL_EXTENSION, MessageKind};
use framing_sv2::Sv2Frame;

/// The extension of our messages: one that is free for experiments, so no message of the specification is meant by them.
pub const EXTENSION: u16 = FIRST_EXPERIMENTAL_EXTENSION;

/// Asks for the same bytes back.
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
pub struct Ping<'a> {
    /// Chosen by the client, echoed in the answer.
    pub id: u32,
    /// Random, up to 255 bytes.
    pub bytes: B0255<'a>,
}

/// Answers a [`Ping`].
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
pub struct Pong<'a> {
    /// That of the ping.
    pub id: u32,
    /// Those of the ping.
    pub bytes: B0255<'a>,
}

impl Message for Ping<'_> {
    const KIND: MessageKind = MessageKind {
        extension: EXTENSION,
        msg_type: 0x00,
        is_channel_message: false,
        direction: Direction::ToServer,
        name: "Ping",
    };
}

impl Message for Pong<'_> {
    const KIND: MessageKind = MessageKind {
        extension: EXTENSION,
        msg_type: 0x01,
        is_channel_message: false,
        direction: Direction::ToClient,
        name: "Pong",
    };
}

/// Reads the message that must come now. It borrows from the frame: nothing is copied.
pub(crate) fn read<'a, M: Message + Decodable<'a>>(frame: &'a Sv2Frame<'_>) -> anyhow::Result<M> {
    let (header, kind) = (frame.header(), M::KIND);
    ensure!(
        header.extension_type() == kind.wire_extension_type() && header.msg_type() == kind.msg_type,
        "a {} was expected, message {:#04x} of extension {:#06x} came",
        kind.name,
        header.msg_type(),
        header.extension_type(),
    );
    M::from_bytes(frame.payload()).with_context(|| format!("malformed {}", kind.name))
}
