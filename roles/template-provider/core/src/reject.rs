//! What is not done for a client, and why.

use binary_sv2::DecodeError;
use roles_logic_sv2::extensions::ExtensionError;
use roles_logic_sv2::messages::RouteError;
use roles_logic_sv2::setup::SetupRefusal;
use roles_logic_sv2::template_server::{SolutionError, TransactionDataError, WorkError};

/// Why a message was not obeyed, or why the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The extension is not known here; the frame was discarded (FR-17).
    #[error("unknown extension {extension:#06x}")]
    UnknownExtension {
        /// Extension number, without the channel bit.
        extension: u16,
    },
    /// Template distribution has no such message; the frame was discarded (FR-18).
    #[error("unknown message type {msg_type:#04x}")]
    UnknownMessage {
        /// Message number.
        msg_type: u8,
    },
    /// A solution made no block.
    #[error(transparent)]
    Solution(#[from] SolutionError),
    /// Transactions were not given out; the client was told.
    #[error(transparent)]
    TransactionData(#[from] TransactionDataError),
    /// Only a server sends this message.
    #[error("{message} is not for a client to send")]
    WrongDirection {
        /// Name of the message.
        message: &'static str,
    },
    /// A payload does not hold its message's fields.
    #[error("malformed {message}: {source}")]
    Malformed {
        /// Name of the message.
        message: &'static str,
        /// The field that does not decode, and why.
        source: DecodeError,
    },
    /// A message came before `SetupConnection`, or `SetupConnection` came twice.
    #[error("message type {msg_type:#04x} is out of order")]
    OutOfOrder {
        /// Message number.
        msg_type: u8,
    },
    /// `SetupConnection` was refused; the client was told.
    #[error(transparent)]
    Setup(#[from] SetupRefusal),
    /// Extension negotiation failed.
    #[error(transparent)]
    Extensions(#[from] ExtensionError),
    /// There is no work for the client's constraints.
    #[error(transparent)]
    Constraints(#[from] WorkError),
    /// Too many clients with different constraints are served already.
    #[error("too many clients with different constraints")]
    NoCapacity,
    /// The client sent more than its budget allows.
    #[error("too many messages")]
    RateExceeded,
    /// No `SetupConnection` in time.
    #[error("no SetupConnection in time")]
    SetupTimeout,
    /// No `CoinbaseOutputConstraints` in time.
    #[error("no CoinbaseOutputConstraints in time")]
    ConstraintsTimeout,
    /// An answer does not fit a frame: the node's template is larger than a block.
    #[error("the answer does not fit a frame")]
    AnswerTooLarge,
    /// The server ends.
    #[error("the server ends")]
    Draining,
}

impl Reject {
    /// The reason's name in metrics and logs. It never changes.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownExtension { .. } => "unknown-extension",
            Self::UnknownMessage { .. } => "unknown-message",
            Self::Solution(error) => error.label(),
            Self::TransactionData(error) => error.error_code(),
            Self::WrongDirection { .. } => "wrong-direction",
            Self::Malformed { .. } => "malformed",
            Self::OutOfOrder { .. } => "out-of-order",
            Self::Setup(refusal) => match refusal.error_code() {
                Some(code) => code,
                None => "out-of-order",
            },
            Self::Extensions(_) => "extensions",
            Self::Constraints(WorkError::Constraints(_)) => "constraints-too-large",
            Self::Constraints(_) => "too-many-variants",
            Self::NoCapacity => "too-many-constraints",
            Self::RateExceeded => "rate-exceeded",
            Self::SetupTimeout => "setup-timeout",
            Self::ConstraintsTimeout => "constraints-timeout",
            Self::AnswerTooLarge => "answer-too-large",
            Self::Draining => "draining",
        }
    }
}

impl From<RouteError> for Reject {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::UnknownExtension { extension, .. } => Self::UnknownExtension { extension },
            RouteError::WrongDirection { message } => Self::WrongDirection { message },
            RouteError::Malformed { message, source } => Self::Malformed { message, source },
            RouteError::UnknownMessage { msg_type, .. } => Self::UnknownMessage { msg_type },
            // A frame that cannot be routed for a reason yet unknown here has no number to tell.
            _ => Self::UnknownMessage { msg_type: 0xff },
        }
    }
}
