//! What a connection is told to send.

use binary_sv2::{Encodable, Message};
use const_sv2::MessageKind;

/// The name of what is no message of the protocol.
pub(crate) const UNKNOWN: &str = "unknown";

/// A frame, before its header is made and it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Extension, channel bit included.
    pub extension_type: u16,
    /// Type of the message.
    pub msg_type: u8,
    /// The message's fields.
    pub payload: Vec<u8>,
    /// The message's name; `unknown` when it is none.
    pub name: &'static str,
}

impl Frame {
    /// A message.
    pub(super) fn of<M: Message + Encodable>(message: &M) -> Self {
        Self::of_kind(&M::KIND, message)
    }

    /// A message whose kind is known at run time only.
    pub(super) fn of_kind(kind: &MessageKind, message: &impl Encodable) -> Self {
        Self {
            extension_type: kind.wire_extension_type(),
            msg_type: kind.msg_type,
            payload: message.to_vec(),
            name: kind.name,
        }
    }
}

/// What a connection is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(Frame),
    /// Send this without its last bytes, as many as `missing`, counted as it leaves: with its header, encrypted.
    SendPart {
        /// What is begun.
        frame: Frame,
        /// Bytes that are missing.
        missing: usize,
    },
    /// Send these bytes as they are, past the encryption.
    SendBytes(Vec<u8>),
    /// Send what is queued, then end the connection.
    Close {
        /// Why.
        reason: String,
    },
    /// End the connection at once.
    Cut {
        /// Why.
        reason: String,
    },
}
