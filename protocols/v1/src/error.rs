//! Errors as they stand in answers.

use serde_json::{Value, json};

/// Bytes kept of an error's text; the rest is cut off.
pub const MAX_ERROR_TEXT_BYTES: usize = 256;

/// What kind of error an answer carries: a number, of which six are in common use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i64);

impl ErrorCode {
    /// Anything that has no code of its own.
    pub const OTHER: Self = Self(20);
    /// The job is not known, or is over.
    pub const JOB_NOT_FOUND: Self = Self(21);
    /// The share was submitted before.
    pub const DUPLICATE_SHARE: Self = Self(22);
    /// The share does not meet the difficulty.
    pub const LOW_DIFFICULTY: Self = Self(23);
    /// The worker is not authorized.
    pub const UNAUTHORIZED: Self = Self(24);
    /// Nothing was subscribed to.
    pub const NOT_SUBSCRIBED: Self = Self(25);
}

/// The error of an answer. Written as `[code, "message", null]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({})", code.0)]
pub struct ErrorReply {
    /// Its kind.
    pub code: ErrorCode,
    /// What a user is shown.
    pub message: String,
}

impl ErrorReply {
    /// An error with a text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Reads the `error` member as servers write it: a list, an object of JSON-RPC 2.0, a bare text; `None` for none.
    pub fn from_json(value: &Value) -> Option<Self> {
        let (code, message) = match value {
            Value::Null | Value::Bool(false) => return None,
            Value::Array(parts) => (parts.first(), parts.get(1)),
            Value::Object(members) => (members.get("code"), members.get("message")),
            text => (None, Some(text)),
        };
        let code = code.and_then(integer).map_or(ErrorCode::OTHER, ErrorCode);
        let mut message = match message {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "no reason given".to_owned(),
            Some(other) => other.to_string(),
        };
        truncate(&mut message, MAX_ERROR_TEXT_BYTES);
        Some(Self { code, message })
    }

    /// The `error` member.
    pub fn to_json(&self) -> Value {
        json!([self.code.0, self.message, null])
    }
}

/// Cuts a text at a character's border.
pub(crate) fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
