//! Ids of requests, echoed as they came.

use std::borrow::Cow;
use std::fmt;

/// Bytes of an id as it stands in JSON. A longer one is refused: echoing it would let a peer choose what we send.
pub const MAX_ID_BYTES: usize = 64;

/// The id of a request: the JSON text of a number or a string, kept to the byte.
///
/// Objects, lists and booleans are no ids; they count as `null`, and so does an id that is missing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id(Cow<'static, str>);

impl Id {
    /// The id of what needs no answer.
    pub const NULL: Self = Self(Cow::Borrowed("null"));

    /// From the JSON text of the member, surrounding blanks taken off; `None` when it is too long.
    pub fn from_json(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9') if text.len() > MAX_ID_BYTES => None,
            Some(b'"' | b'-' | b'0'..=b'9') => Some(Self(Cow::Owned(text.to_owned()))),
            _ => Some(Self::NULL),
        }
    }

    /// Whether an answer could be matched to its request.
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }

    /// The number, also where it comes as a string; some servers make one of the other.
    pub fn as_u64(&self) -> Option<u64> {
        let digits = self.0.trim_matches('"');
        // A float is what some JSON libraries make of every number.
        digits.strip_suffix(".0").unwrap_or(digits).parse().ok()
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(Cow::Owned(number.to_string()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}
