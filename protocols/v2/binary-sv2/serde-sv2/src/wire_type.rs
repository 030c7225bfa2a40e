//! The data types that serde has no word for, by the names of the newtypes that stand for them.

/// A data type of the specification (3.1), as far as its bytes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireType {
    /// Three bytes of an integer.
    U24,
    /// Bytes of a fixed number.
    Array { len: usize },
    /// Bytes behind a length of `prefix` bytes.
    ByteString { prefix: Prefix, max: usize },
    /// Bytes to the end of the payload.
    Rest,
    /// Elements behind a count of `prefix` bytes.
    Sequence { prefix: Prefix, max: usize },
}

/// Size of a length or count in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    One,
    Two,
    Three,
}

impl WireType {
    /// The data type by its name in the specification.
    #[inline]
    pub(crate) fn named(name: &str) -> Option<Self> {
        use Prefix::{One, Three, Two};
        Some(match name {
            "U24" => Self::U24,
            "U256" | "PUBKEY" => Self::Array { len: 32 },
            "SIGNATURE" => Self::Array { len: 64 },
            "MAC" => Self::Array { len: 16 },
            "B0_32" => Self::ByteString {
                prefix: One,
                max: 32,
            },
            "STR0_255" | "B0_255" => Self::ByteString {
                prefix: One,
                max: 0xff,
            },
            "B0_64K" => Self::ByteString {
                prefix: Two,
                max: 0xffff,
            },
            "B0_16M" => Self::ByteString {
                prefix: Three,
                max: 0xff_ffff,
            },
            "BYTES" => Self::Rest,
            "SEQ0_255" => Self::Sequence {
                prefix: One,
                max: 0xff,
            },
            "SEQ0_64K" => Self::Sequence {
                prefix: Two,
                max: 0xffff,
            },
            _ => return None,
        })
    }
}

impl Prefix {
    /// Number of bytes.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}
