//! Messages of extension 0x0001, extension negotiation.

#[cfg(feature = "prop_test")]
use binary_sv2::Arbitrary;
use binary_sv2::{Decodable, Encodable, Seq064K};
#[cfg(feature = "with_serde")]
use binary_sv2::{Deserialize, Serialize};

const_sv2::extension_negotiation_messages!(
    binary_sv2::message_enum,
    [
        /// Any message of extension 0x0001.
        ExtensionNegotiationMessage, extension_negotiation;
    ]
);

#[cfg(feature = "with_serde")]
const_sv2::extension_negotiation_messages!(binary_sv2::message_enum_serde, [ExtensionNegotiationMessage;]);

#[cfg(feature = "prop_test")]
const_sv2::extension_negotiation_messages!(binary_sv2::message_enum_arbitrary, [ExtensionNegotiationMessage;]);

/// Asks for extensions (extension 0x0001, 1).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestExtensions<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u16,
    /// Extension numbers that the client wishes to use.
    pub requested_extensions: Seq064K<'a, u16>,
}

/// Grants the supported subset of the requested extensions (extension 0x0001, 2).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestExtensionsSuccess<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u16,
    /// The requested extensions that the server supports.
    pub supported_extensions: Seq064K<'a, u16>,
}

/// None of the requested extensions is supported, or required ones are missing (extension 0x0001, 3).
#[derive(Clone, Debug, PartialEq, Encodable, Decodable)]
#[cfg_attr(feature = "with_serde", derive(Deserialize, Serialize))]
#[cfg_attr(feature = "prop_test", derive(Arbitrary))]
pub struct RequestExtensionsError<'a> {
    /// Chosen by the client, echoed in the answer.
    pub request_id: u16,
    /// The requested extensions that the server does not support.
    pub unsupported_extensions: Seq064K<'a, u16>,
    /// Extensions that the server requires and the client did not request.
    pub required_extensions: Seq064K<'a, u16>,
}
