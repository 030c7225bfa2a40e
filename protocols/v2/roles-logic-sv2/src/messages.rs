//! From a frame to a message: which sub-protocol, which extension, which side may send it.
//!
//! A [`Router`] knows what the connection speaks and on which side the peer stands. It turns the three parts of a frame
//! (`extension_type`, `msg_type`, payload) into an [`AnyMessage`], or into a [`RouteError`] that says what to do.
//!
//! ```
//! use binary_sv2::Encodable;
//! use const_sv2::Protocol;
//! use mining_sv2::SetTarget;
//! use roles_logic_sv2::messages::{AnyMessage, Peer, RouteError, Router};
//!
//! let payload = SetTarget { channel_id: 1, maximum_target: [0xff; 32].into() }.to_vec();
//! let router = Router::new(Protocol::MINING, Peer::Server);
//!
//! let routed = router.route(0x8000, 0x21, &payload).unwrap();
//! assert_eq!(routed.message.kind().name, "SetTarget");
//! assert!(routed.is_channel_bit_right);
//!
//! let error = router.route(0x4abc, 0x21, &payload).unwrap_err();
//! assert!(error.is_ignored(), "an unknown extension closes no connection");
//! ```

use alloc::vec::Vec;

use binary_sv2::{BufferTooShort, DecodeError, Encodable, ParseMessageError, Writer};
use common_messages_sv2::CommonMessage;
use const_sv2::{
    CHANNEL_MSG_BIT, Direction, EXTENSION_CORE, EXTENSION_NEGOTIATION, MessageKind, Protocol,
};
use extensions_sv2::ExtensionNegotiationMessage;
use job_declaration_sv2::JobDeclarationMessage;
use mining_sv2::MiningMessage;
use template_distribution_sv2::TemplateDistributionMessage;

macro_rules! any_message {
    ($($number:literal: $variant:ident($message:ident), $doc:literal;)*) => {
        /// A message of any sub-protocol.
        ///
        /// To serde it is an enum of the sub-protocols' enums: `{"Mining": {"SetTarget": {…}}}`. It cannot be read from
        /// the bytes of the wire alone, because which sub-protocol they belong to is known to the [`Router`].
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "messages live on the stack for one handler call")]
        pub enum AnyMessage<'a> {
            $(
                #[doc = $doc]
                $variant($message<'a>),
            )*
        }

        impl AnyMessage<'_> {
            /// The message's line in the tables of the specification.
            pub const fn kind(&self) -> &'static MessageKind {
                match self {
                    $(Self::$variant(message) => message.kind(),)*
                }
            }
        }

        impl Encodable for AnyMessage<'_> {
            fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$variant(message) => message.encoded_len(),)*
                }
            }

            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooShort> {
                match self {
                    $(Self::$variant(message) => message.encode(writer),)*
                }
            }
        }

        #[cfg(feature = "with_serde")]
        binary_sv2::newtype_enum_serde! { AnyMessage; $($variant = $number, stringify!($variant);)* }

        $(
            impl<'a> From<$message<'a>> for AnyMessage<'a> {
                fn from(message: $message<'a>) -> Self {
                    Self::$variant(message)
                }
            }
        )*
    };
}

// The numbers are serde's, and above 255 so that the number of a message is never taken for one of them.
any_message! {
    0x100: Common(CommonMessage), "A message that all sub-protocols share (3.6).";
    0x101: Mining(MiningMessage), "A message of the mining protocol (5).";
    0x102: JobDeclaration(JobDeclarationMessage), "A message of the job declaration protocol (6).";
    0x103: TemplateDistribution(TemplateDistributionMessage), "A message of the template distribution protocol (7).";
    0x104: ExtensionNegotiation(ExtensionNegotiationMessage), "A message of extension 0x0001.";
}

/// On which side of the connection the peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The peer is downstream: it opened the connection.
    Client,
    /// The peer is upstream: it accepted the connection.
    Server,
}

/// A message with what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed<'a> {
    /// The message.
    pub message: AnyMessage<'a>,
    /// The bytes behind its last field: TLV fields, or nothing of ours.
    pub trailing: &'a [u8],
    /// Whether bit 15 of `extension_type` is as the table has it (FR-12).
    ///
    /// The bit is only a hint for proxies and deployed software set it differently for some messages, so a wrong one is
    /// worth a count and nothing else.
    pub is_channel_bit_right: bool,
}

/// A frame of an extension that is not known here, for the endpoint of a channel (3.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignFrame<'a> {
    /// The channel that it is for.
    pub channel_id: u32,
    /// The header's field, channel bit included.
    pub extension_type: u16,
    /// The message's number within the extension.
    pub msg_type: u8,
    /// All of the payload, channel id included.
    pub payload: &'a [u8],
}

impl<'a> ForeignFrame<'a> {
    /// The frame that a router does not know, when it is for the endpoint of a channel.
    pub fn from_error(
        error: &RouteError,
        extension_type: u16,
        msg_type: u8,
        payload: &'a [u8],
    ) -> Option<Self> {
        let RouteError::UnknownExtension { channel_id, .. } = error else {
            return None;
        };
        Some(Self {
            channel_id: (*channel_id)?,
            extension_type,
            msg_type,
            payload,
        })
    }

    /// The same for the other side of a proxy, where the channel has another number; nothing else changes (MP-14, MP-15).
    pub fn for_channel(&self, channel_id: u32) -> ForwardedFrame {
        let rest = self.payload.get(size_of::<u32>()..).unwrap_or_default();
        ForwardedFrame {
            extension_type: self.extension_type,
            msg_type: self.msg_type,
            payload: [&channel_id.to_le_bytes(), rest].concat(),
        }
    }
}

/// A frame of an extension that is not known here, on its way to the endpoint of its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedFrame {
    /// The header's field, channel bit included.
    pub extension_type: u16,
    /// The message's number within the extension.
    pub msg_type: u8,
    /// All of the payload, channel id included.
    pub payload: Vec<u8>,
}

/// Why a frame is no message for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The extension is not known here; the frame is discarded, or forwarded to the channel's owner by a proxy (FR-17).
    #[error("unknown extension {extension:#06x}, message type {msg_type:#04x}")]
    UnknownExtension {
        /// Extension number, without the channel bit.
        extension: u16,
        /// Message number within the extension.
        msg_type: u8,
        /// The channel whose endpoint the frame is meant for, when the channel bit is set.
        channel_id: Option<u32>,
    },
    /// The sub-protocol of this connection has no such message; the frame is discarded (FR-18).
    #[error("unknown message type {msg_type:#04x} of extension {extension:#06x}")]
    UnknownMessage {
        /// Extension number, without the channel bit.
        extension: u16,
        /// Message number within the extension.
        msg_type: u8,
    },
    /// Only our side sends this message.
    #[error("{message} is not for the peer to send")]
    WrongDirection {
        /// Name of the message.
        message: &'static str,
    },
    /// The payload does not hold the message's fields.
    #[error("malformed {message}: {source}")]
    Malformed {
        /// Name of the message.
        message: &'static str,
        /// The field that does not decode, and why.
        source: DecodeError,
    },
}

impl RouteError {
    /// Whether the frame is counted and discarded; otherwise the connection is closed.
    pub const fn is_ignored(&self) -> bool {
        matches!(
            self,
            Self::UnknownExtension { .. } | Self::UnknownMessage { .. }
        )
    }
}

/// Routes the frames that a peer sends on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    protocol: Protocol,
    peer: Peer,
}

impl Router {
    /// A router for frames that `peer` sends on a connection that speaks `protocol`.
    pub const fn new(protocol: Protocol, peer: Peer) -> Self {
        Self { protocol, peer }
    }

    /// Reads a frame's message.
    ///
    /// `extension_type` is the header's field, channel bit included.
    ///
    /// # Errors
    /// [`RouteError`]; [`RouteError::is_ignored`] tells a frame to discard from a reason to close the connection.
    pub fn route<'a>(
        &self,
        extension_type: u16,
        msg_type: u8,
        payload: &'a [u8],
    ) -> Result<Routed<'a>, RouteError> {
        let extension = extension_type & !CHANNEL_MSG_BIT;
        let has_channel_bit = extension_type != extension;
        let unnamed = |error| match error {
            ParseMessageError::Malformed { message, source } => {
                RouteError::Malformed { message, source }
            }
            _ => RouteError::UnknownMessage {
                extension,
                msg_type,
            },
        };
        let (message, trailing) = match extension {
            EXTENSION_CORE => self.parse_core(msg_type, payload).map_err(unnamed)?,
            EXTENSION_NEGOTIATION => ExtensionNegotiationMessage::parse_prefix(msg_type, payload)
                .map(|(message, trailing)| (message.into(), trailing))
                .map_err(unnamed)?,
            _ => {
                let channel_id = payload.first_chunk().filter(|_| has_channel_bit);
                return Err(RouteError::UnknownExtension {
                    extension,
                    msg_type,
                    channel_id: channel_id.map(|bytes| u32::from_le_bytes(*bytes)),
                });
            }
        };
        let kind = message.kind();
        let is_ours = match self.peer {
            Peer::Client => kind.direction == Direction::ToClient,
            Peer::Server => kind.direction == Direction::ToServer,
        };
        if is_ours {
            return Err(RouteError::WrongDirection { message: kind.name });
        }
        Ok(Routed {
            message,
            trailing,
            is_channel_bit_right: kind.is_channel_message == has_channel_bit,
        })
    }

    fn parse_core<'a>(
        &self,
        msg_type: u8,
        payload: &'a [u8],
    ) -> Result<(AnyMessage<'a>, &'a [u8]), ParseMessageError> {
        fn wrap<'a, M: Into<AnyMessage<'a>>>(
            (message, trailing): (M, &'a [u8]),
        ) -> (AnyMessage<'a>, &'a [u8]) {
            (message.into(), trailing)
        }
        match self.protocol {
            // The common messages are few and rare: shares come first.
            Protocol::MINING if msg_type > const_sv2::common::RECONNECT.msg_type => {
                MiningMessage::parse_prefix(msg_type, payload).map(wrap)
            }
            Protocol::JOB_DECLARATION if msg_type > const_sv2::common::RECONNECT.msg_type => {
                JobDeclarationMessage::parse_prefix(msg_type, payload).map(wrap)
            }
            Protocol::TEMPLATE_DISTRIBUTION if msg_type > const_sv2::common::RECONNECT.msg_type => {
                TemplateDistributionMessage::parse_prefix(msg_type, payload).map(wrap)
            }
            _ => CommonMessage::parse_prefix(msg_type, payload).map(wrap),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const PROTOCOLS: [(Protocol, &[MessageKind]); 3] = [
        (Protocol::MINING, const_sv2::mining::ALL),
        (Protocol::JOB_DECLARATION, const_sv2::job_declaration::ALL),
        (
            Protocol::TEMPLATE_DISTRIBUTION,
            const_sv2::template_distribution::ALL,
        ),
    ];

    /// Every message of the tables is known on its protocol, refused from the wrong side, and unknown on the other
    /// protocols.
    #[test]
    fn every_table_line_is_routed_by_protocol_and_side() {
        for (protocol, own) in PROTOCOLS {
            for (_, kinds) in PROTOCOLS {
                for kind in kinds.iter().chain(const_sv2::common::ALL) {
                    let known = own.contains(kind) || const_sv2::common::ALL.contains(kind);
                    check_kind(protocol, kind, known);
                }
            }
        }
    }

    fn check_kind(protocol: Protocol, kind: &MessageKind, known: bool) {
        // Long enough for every fixed part, and zero: all strings and sequences empty.
        let payload = [0u8; 300];
        for (peer, ours) in [
            (Peer::Client, Direction::ToClient),
            (Peer::Server, Direction::ToServer),
        ] {
            let router = Router::new(protocol, peer);
            let result = router.route(kind.wire_extension_type(), kind.msg_type, &payload);
            match result {
                Err(RouteError::UnknownMessage { .. }) => assert!(!known, "{}", kind.name),
                Err(RouteError::WrongDirection { message }) => {
                    assert!(known && kind.direction == ours, "{message}");
                }
                Ok(routed) => {
                    assert!(known && kind.direction != ours, "{}", kind.name);
                    assert_eq!(routed.message.kind(), kind);
                    assert!(routed.is_channel_bit_right);
                }
                Err(other) => panic!("{}: {other}", kind.name),
            }
        }
    }

    #[test]
    fn a_wrong_channel_bit_is_told_and_tolerated() {
        let router = Router::new(Protocol::MINING, Peer::Client);
        let routed = router.route(0x0000, 0x1a, &[0; 24]).unwrap();
        assert!(!routed.is_channel_bit_right);
        let routed = router.route(0x8000, 0x00, &[0; 18]).unwrap();
        assert!(!routed.is_channel_bit_right);
    }

    #[test]
    fn unknown_extensions_are_told_with_the_channel_they_are_for() {
        let router = Router::new(Protocol::MINING, Peer::Client);
        let unknown = |extension_type, payload: &[u8]| match router
            .route(extension_type, 0x1a, payload)
            .unwrap_err()
        {
            RouteError::UnknownExtension {
                extension,
                channel_id,
                ..
            } => (extension, channel_id),
            other => panic!("{other}"),
        };
        assert_eq!(
            unknown(0x8abc, &[7, 0, 0, 0, 9]),
            (0x0abc, Some(7)),
            "the bit is no part of the number"
        );
        assert_eq!(unknown(0x0abc, &[7, 0, 0, 0]), (0x0abc, None));
        assert_eq!(unknown(0x8abc, &[7]), (0x0abc, None));
    }

    #[test]
    fn extension_negotiation_has_numbers_of_its_own() {
        let request = extensions_sv2::RequestExtensions {
            request_id: 3,
            requested_extensions: Vec::from([2u16]).try_into().unwrap(),
        };
        let payload = request.to_vec();
        let routed = Router::new(Protocol::MINING, Peer::Client)
            .route(1, 0, &payload)
            .unwrap();
        assert_eq!(
            routed.message,
            AnyMessage::ExtensionNegotiation(request.into())
        );
        assert_eq!(routed.message.to_vec(), payload);
    }

    #[test]
    fn what_stands_behind_a_message_is_given_out_and_what_is_cut_short_names_its_field() {
        let router = Router::new(Protocol::MINING, Peer::Client);
        let mut payload = [0u8; 24].to_vec();
        payload.extend_from_slice(&[2, 0, 1, 0, 0]);
        assert_eq!(
            router.route(0x8000, 0x1a, &payload).unwrap().trailing,
            [2, 0, 1, 0, 0]
        );
        let error = router.route(0x8000, 0x1a, &payload[..10]).unwrap_err();
        assert!(!error.is_ignored());
        let RouteError::Malformed { message, source } = error else {
            panic!("{error}")
        };
        assert_eq!((message, source.field), ("SubmitSharesStandard", "job_id"));
    }
}
