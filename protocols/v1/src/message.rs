//! What one line is: a request (or notification), or an answer.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::ErrorReply;
use crate::id::Id;
use crate::line::trim;
use crate::params::RawParams;

/// Bytes of a method's name that are kept.
const MAX_METHOD_BYTES: usize = 64;

/// Why a line is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Nothing but blanks: to be ignored.
    #[error("the line is empty")]
    Empty,
    /// Not JSON, or not in UTF-8.
    #[error("the line is not JSON")]
    NotJson,
    /// JSON, but no object with a method or a result.
    #[error("the line has neither a method nor a result")]
    NotAMessage,
    /// The id is too long to be echoed.
    #[error("the id is too long")]
    IdTooLong,
}

/// One line of a peer.
#[derive(Debug)]
pub enum Message<'a> {
    /// Asks for something, or (with an id of `null`) tells something.
    Request(Request<'a>),
    /// Answers a request.
    Response(Response),
}

/// A request or notification, its parameters not looked at yet.
#[derive(Debug)]
pub struct Request<'a> {
    /// To be echoed in the answer.
    pub id: Id,
    /// Name of the method.
    pub method: Cow<'a, str>,
    pub(crate) params: RawParams<'a>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The request that is answered.
    pub id: Id,
    /// What was asked for; `null` beside an error.
    pub result: Value,
    /// Why there is no result.
    pub error: Option<ErrorReply>,
}

impl Response {
    /// Whether this says yes: `true` and no error.
    pub fn is_accepted(&self) -> bool {
        self.error.is_none() && self.result == Value::Bool(true)
    }

    /// The reason of a no; a `false` without an error has none of its own.
    pub fn refusal(&self) -> Option<ErrorReply> {
        if self.is_accepted() {
            return None;
        }
        let unexplained = || {
            use crate::error::ErrorCode;
            ErrorReply::new(ErrorCode::OTHER, "no reason given")
        };
        Some(self.error.clone().unwrap_or_else(unexplained))
    }

    /// The line, its end included.
    pub fn to_line(&self) -> String {
        response_line(&self.id, &self.result, self.error.as_ref())
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de> + Default"))]
struct Members<'a, P> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(default)]
    params: P,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "reject-reason")]
    reject_reason: Option<&'a RawValue>,
}

/// Keeps `null` apart from a member that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Message<'a> {
    /// Reads one line. The order of members does not matter, and members of no meaning here are passed over.
    ///
    /// Memory is bounded by the line's length, depth by the JSON parser's limit of 128.
    ///
    /// # Errors
    /// Why it is no message.
    pub fn parse(line: &'a [u8]) -> Result<Self, MessageError> {
        let line = trim(line);
        if line.is_empty() {
            return Err(MessageError::Empty);
        }
        let text = std::str::from_utf8(line).map_err(|_| MessageError::NotJson)?;
        let members = match line.first() {
            Some(b'{') => Members::parse(text).ok_or(MessageError::NotJson)?,
            _ if serde_json::from_str::<&RawValue>(text).is_ok() => {
                return Err(MessageError::NotAMessage);
            }
            _ => return Err(MessageError::NotJson),
        };
        let id = members
            .id
            .map_or(Some(Id::NULL), |raw| Id::from_json(raw.get()))
            .ok_or(MessageError::IdTooLong)?;
        match members.method {
            Some(method) => Ok(Self::Request(Request {
                id,
                method: method_name(method)?,
                params: members.params,
            })),
            None => members.response(id).map(Self::Response),
        }
    }
}

fn method_name(raw: &RawValue) -> Result<Cow<'_, str>, MessageError> {
    let quoted = raw.get().strip_prefix('"');
    let plain = quoted.and_then(|quoted| quoted.strip_suffix('"'));
    if let Some(name) = plain.filter(|name| name.len() <= MAX_METHOD_BYTES && !name.contains('\\'))
    {
        return Ok(name.into());
    }
    let mut name: String =
        serde_json::from_str(raw.get()).map_err(|_| MessageError::NotAMessage)?;
    crate::error::truncate(&mut name, MAX_METHOD_BYTES);
    Ok(name.into())
}

impl<'a> Members<'a, RawParams<'a>> {
    /// All members in one pass. Where that fails the parameters may be to blame, which are then passed over: the request is
    /// to be answered under its id.
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(members) = serde_json::from_str(text) {
            return Some(members);
        }
        let others: Members<'a, IgnoredAny> = serde_json::from_str(text).ok()?;
        Some(Self {
            id: others.id,
            method: others.method,
            params: RawParams::Other,
            result: others.result,
            error: others.error,
            reject_reason: others.reject_reason,
        })
    }

    fn response(&self, id: Id) -> Result<Response, MessageError> {
        let error = self.error.or(self.reject_reason);
        if self.result.is_none() && error.is_none() {
            return Err(MessageError::NotAMessage);
        }
        let value = |raw: Option<&RawValue>| match raw {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| MessageError::NotJson),
            None => Ok(Value::Null),
        };
        let error = ErrorReply::from_json(&value(error)?);
        Ok(Response {
            id,
            result: value(self.result)?,
            error,
        })
    }
}

/// The line of a request, its end included.
pub fn request_line(id: &Id, method: &str, params: &Value) -> String {
    format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n")
}

/// The line of an answer, its end included.
pub fn response_line(id: &Id, result: &Value, error: Option<&ErrorReply>) -> String {
    let (result, error) = match (error, result) {
        (Some(error), _) => ("null".into(), Cow::from(error.to_json().to_string())),
        // What nearly all answers are.
        (None, Value::Bool(true)) => ("true".into(), "null".into()),
        (None, result) => (Cow::from(result.to_string()), "null".into()),
    };
    let id = id.as_json();
    [
        "{\"id\":",
        id,
        ",\"result\":",
        &result,
        ",\"error\":",
        &error,
        "}\n",
    ]
    .concat()
}
