//! What turns a table of messages into an enum with parser, encoder and names.

use const_sv2::MessageKind;
use thiserror::Error;

use crate::{DecodeError, Encodable};

/// A struct that is the payload of one message.
pub trait Message: Encodable {
    /// The message's line in the tables of the specification.
    const KIND: MessageKind;
}

/// A payload that does not parse as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseMessageError {
    /// The sub-protocol has no message of this number.
    #[error("unknown message type {0:#04x}")]
    UnknownMessage(u8),
    /// The payload does not hold the message's fields.
    #[error("malformed {message}: {source}")]
    Malformed {
        /// Name of the message.
        message: &'static str,
        /// The field that does not decode, and why.
        source: DecodeError,
    },
}

/// Makes the enum of a sub-protocol's messages from its table in `const_sv2`.
///
/// Not every message borrows, so a table line names its type with or without a lifetime.
#[macro_export]
macro_rules! message_enum {
    (
        $(#[$enum_meta:meta])*
        $enum_name:ident, $constants:ident;
        $($(#[$meta:meta])* $variant:ident $(<$lifetime:lifetime>)?, $constant:ident, $name:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        $(#[$enum_meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "messages live on the stack for one handler call")]
        pub enum $enum_name<'a> {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant($variant $(<$lifetime>)?),
            )*
        }

        $(
            impl $crate::Message for $crate::message_enum!(@anonymous $variant $($lifetime)?) {
                const KIND: $crate::const_sv2::MessageKind = $crate::const_sv2::$constants::$constant;
            }

            impl<'a> From<$variant $(<$lifetime>)?> for $enum_name<'a> {
                fn from(message: $variant $(<$lifetime>)?) -> Self {
                    Self::$variant(message)
                }
            }
        )*

        impl<'a> $enum_name<'a> {
            /// The table line of every message, in the order of the variants.
            pub const KINDS: &'static [$crate::const_sv2::MessageKind] = $crate::const_sv2::$constants::ALL;

            /// Reads the payload of a message; bytes behind its last field (TLV fields) are left alone.
            ///
            /// # Errors
            /// [`ParseMessageError`](binary_sv2::ParseMessageError) when no message has this number or a field does
            /// not decode.
            pub fn parse(msg_type: u8, payload: &'a [u8]) -> Result<Self, $crate::ParseMessageError> {
                Self::parse_prefix(msg_type, payload).map(|(message, _)| message)
            }

            /// Reads the payload of a message and gives the bytes behind its last field, where TLV fields stand.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn parse_prefix(
                msg_type: u8,
                payload: &'a [u8],
            ) -> Result<(Self, &'a [u8]), $crate::ParseMessageError> {
                match msg_type {
                    $(
                        $msg_type => match <$variant as $crate::Decodable>::decode_prefix(payload) {
                            Ok((message, rest)) => Ok((Self::$variant(message), rest)),
                            Err(source) => Err($crate::ParseMessageError::Malformed { message: $name, source }),
                        },
                    )*
                    _ => Err($crate::ParseMessageError::UnknownMessage(msg_type)),
                }
            }

            /// The message's line in the tables of the specification.
            pub const fn kind(&self) -> &'static $crate::const_sv2::MessageKind {
                match self {
                    $(Self::$variant(_) => &$crate::const_sv2::$constants::$constant,)*
                }
            }
        }

        impl $crate::Encodable for $enum_name<'_> {
            fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$variant(message) => $crate::Encodable::encoded_len(message),)*
                }
            }

            fn encode(&self, writer: &mut $crate::Writer<'_>) -> Result<(), $crate::BufferTooShort> {
                match self {
                    $(Self::$variant(message) => $crate::Encodable::encode(message, writer),)*
                }
            }
        }

        impl $crate::IntoOwned for $enum_name<'_> {
            type Owned = $enum_name<'static>;

            fn into_owned(self) -> $enum_name<'static> {
                match self {
                    $(Self::$variant(message) => $enum_name::$variant($crate::IntoOwned::into_owned(message)),)*
                }
            }
        }
    };
    (@anonymous $variant:ident $lifetime:lifetime) => { $variant<'_> };
    (@anonymous $variant:ident) => { $variant };
}

/// Implements serde's `Serialize` and `Deserialize` for the enum of a sub-protocol's messages from its table.
///
/// To people a message is a map of one entry whose key is the specification's name (`{"SetTarget": {…}}`); to other
/// formats it is the variant whose number is the message's.
#[cfg(feature = "with_serde")]
#[macro_export]
macro_rules! message_enum_serde {
    (
        $enum_name:ident;
        $($(#[$meta:meta])* $variant:ident $(<$lifetime:lifetime>)?, $constant:ident, $name:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        $crate::newtype_enum_serde! { $enum_name; $($variant = $msg_type, $name;)* }
    };
}

/// Implements serde's `Serialize` and `Deserialize` for an enum of messages: variant, number, name.
#[cfg(feature = "with_serde")]
#[doc(hidden)]
#[macro_export]
macro_rules! newtype_enum_serde {
    ($enum_name:ident; $($variant:ident = $number:literal, $name:expr;)*) => {
        const _: () = {
            use $crate::derived::VariantAccess as _;

            const NAMES: &[&str] = &[$($name),*];
            const NUMBERS: &[u32] = &[$($number),*];

            impl $crate::derived::Serialize for $enum_name<'_> {
                fn serialize<S: $crate::derived::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    match self {
                        $(Self::$variant(message) => {
                            serializer.serialize_newtype_variant(stringify!($enum_name), $number, $name, message)
                        })*
                    }
                }
            }

            struct MessageVisitor<'a>(core::marker::PhantomData<&'a ()>);

            impl<'de: 'a, 'a> $crate::derived::Visitor<'de> for MessageVisitor<'a> {
                type Value = $enum_name<'a>;

                fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    f.write_str(stringify!($enum_name))
                }

                fn visit_enum<A: $crate::derived::EnumAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
                    let known = $crate::derived::Variant { names: NAMES, numbers: NUMBERS };
                    let (number, message) = access.variant_seed(known)?;
                    match number {
                        $($number => message.newtype_variant().map($enum_name::$variant),)*
                        _ => Err($crate::derived::unknown_number(number)),
                    }
                }
            }

            impl<'de: 'a, 'a> $crate::derived::Deserialize<'de> for $enum_name<'a> {
                fn deserialize<D: $crate::derived::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_enum(
                        stringify!($enum_name),
                        NAMES,
                        MessageVisitor(core::marker::PhantomData),
                    )
                }
            }
        };
    };
}

/// Implements proptest's `Arbitrary` for the enum of a sub-protocol's messages from its table: any message of any fields.
#[cfg(feature = "prop_test")]
#[macro_export]
macro_rules! message_enum_arbitrary {
    (
        $enum_name:ident;
        $($(#[$meta:meta])* $variant:ident $(<$lifetime:lifetime>)?, $constant:ident, $name:literal, $extension:literal, $msg_type:literal, $channel:literal, $direction:ident;)*
    ) => {
        impl $crate::proptest::arbitrary::Arbitrary for $enum_name<'static> {
            type Parameters = ();
            type Strategy = $crate::proptest::strategy::BoxedStrategy<Self>;

            fn arbitrary_with(_: ()) -> Self::Strategy {
                use $crate::proptest::{arbitrary::any, strategy::{Strategy, Union}};

                Union::new([$(
                    any::<$crate::message_enum_arbitrary!(@owned $variant $($lifetime)?)>()
                        .prop_map(Self::$variant)
                        .boxed()
                ),*])
                .boxed()
            }
        }
    };
    (@owned $variant:ident $lifetime:lifetime) => { $variant<'static> };
    (@owned $variant:ident) => { $variant };
}
