//! The extension: its number and its messages.

use binary_sv2::{Decodable, Encodable, Message};
use const_sv2::{Direction, FIRST_EXPERIMENTAL_EXTENSION, MessageKind};

/// Numbers from 0x4000 on are free for experiments; others are given out by the specification's repository.
pub(crate) const COOLING: u16 = FIRST_EXPERIMENTAL_EXTENSION + 0x0c;

/// How hot a device is.
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
pub(crate) struct Temperature {
    /// Counts the reports from 1.
    pub(crate) sequence_number: u32,
    /// Millikelvin.
    pub(crate) temperature_mk: u32,
}

/// How fast its fan is to turn.
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
pub(crate) struct SetFan {
    /// The report that it answers.
    pub(crate) sequence_number: u32,
    /// Percent of the highest speed.
    pub(crate) speed_percent: u8,
}

const fn kind(msg_type: u8, direction: Direction, name: &'static str) -> MessageKind {
    MessageKind {
        extension: COOLING,
        msg_type,
        // With a channel number first and this bit set, proxies would hand them on to the channel's other end.
        is_channel_message: false,
        direction,
        name,
    }
}

impl Message for Temperature {
    const KIND: MessageKind = kind(0x00, Direction::ToServer, "Temperature");
}

impl Message for SetFan {
    const KIND: MessageKind = kind(0x01, Direction::ToClient, "SetFan");
}
