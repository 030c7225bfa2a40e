//! Ids of requests, echoed as they came.

use std::fmt;

/// Bytes of an id as it stands in JSON. A longer one is refused: echoing it would let a peer choose what we send.
pub const MAX_ID_BYTES: usize = 64;

/// Bytes of an id that need no memory of their own: every number fits.
const INLINE_BYTES: usize = 22;

/// The id of a request: the JSON text of a number or a string, kept to the byte.
///
/// Objects, lists and booleans are no ids; they count as `null`, and so does an id that is missing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id(Text);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    /// Zeros stand behind the text.
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Long(Box<str>),
}

impl Text {
    const fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.split_at_mut_checked(text.len()) {
            Some((start, _)) => start.copy_from_slice(text.as_bytes()),
            None => return None,
        }
        Some(Self::Inline {
            len: text.len() as u8,
            bytes,
        })
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Inline { len, bytes } => {
                let text = bytes.get(..usize::from(*len)).unwrap_or_default();
                // Texts are copied whole, so it is UTF-8.
                std::str::from_utf8(text).unwrap_or("null")
            }
            Self::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text).unwrap_or_else(|| Self::Long(text.into()))
    }
}

impl Id {
    /// The id of what needs no answer.
    pub const NULL: Self = Self(Text::new("null").expect("four bytes fit"));

    /// From the JSON text of the member, surrounding blanks taken off; `None` when it is too long.
    pub fn from_json(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9') if text.len() > MAX_ID_BYTES => None,
            Some(b'"' | b'-' | b'0'..=b'9') => Some(Self(text.into())),
            _ => Some(Self::NULL),
        }
    }

    /// Whether an answer could be matched to its request.
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    /// The number, also where it comes as a string; some servers make one of the other.
    pub fn as_u64(&self) -> Option<u64> {
        let digits = self.as_json().trim_matches('"');
        // A float is what some JSON libraries make of every number.
        digits.strip_suffix(".0").unwrap_or(digits).parse().ok()
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.as_str()
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(number.to_string().as_str().into())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_length_are_kept_to_the_byte() {
        let long = format!("\"{}é\"", "x".repeat(30));
        for text in [
            "7",
            "-1.5e3",
            "\"a\\u0041\"",
            &"9".repeat(22),
            &"9".repeat(23),
            &long,
        ] {
            let id = Id::from_json(&format!(" {text}\t")).unwrap();
            assert_eq!((id.as_json(), &*id.to_string()), (text, text));
            assert_eq!(id, id.clone());
            assert!(!id.is_null());
        }
        assert_eq!(Id::from(u64::MAX).as_u64(), Some(u64::MAX));
        assert_ne!(Id::from(1), Id::from(10));
        for text in ["null", "true", "[1]", ""] {
            assert_eq!(Id::from_json(text), Some(Id::NULL));
        }
        assert_eq!(Id::from_json(&"9".repeat(MAX_ID_BYTES + 1)), None);
    }
}
