//! Why a server refuses what a miner sends.

use crate::client_message::RequestError;
use crate::error::{ErrorCode, ErrorReply};
use crate::message::MessageError;
use crate::params::ParamError;

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident => $code:ident, $text:literal;)*) => {
        /// Why something of a miner is refused. Each is counted; those that answer a request go out as an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reject {
            $($(#[$doc])* $name,)*
        }

        impl Reject {
            /// All reasons, in the order of [`Self::index`].
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code of its error.
            pub const fn code(self) -> ErrorCode {
                match self {
                    $(Self::$name => ErrorCode::$code,)*
                }
            }

            /// What a user is shown.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rejects! {
    /// The line is not JSON.
    NotJson => OTHER, "the line is not JSON";
    /// The line is JSON, but neither a request nor an answer.
    NotAMessage => OTHER, "the line has neither a method nor a result";
    /// The line is longer than the limit.
    LineTooLong => OTHER, "the line is too long";
    /// The id is longer than what is echoed.
    IdTooLong => OTHER, "the id is too long";
    /// There is no such method.
    UnknownMethod => OTHER, "unknown method";
    /// The method is known and not offered.
    NotSupported => OTHER, "not supported";
    /// Parameters of a wrong type, form, number or length.
    BadParams => OTHER, "bad parameters";
    /// An answer to something that was not asked.
    UnexpectedResponse => OTHER, "an answer to no request";
    /// Subscribing while a subscription is under way.
    SubscribePending => OTHER, "a subscription is under way";
    /// No work can be given; the owner said so.
    SubscribeRefused => OTHER, "no work can be given now, try again later";
    /// The user is refused; the owner said so.
    AuthorizeRefused => UNAUTHORIZED, "the user name is not accepted";
    /// More names than one connection may have.
    TooManyWorkers => UNAUTHORIZED, "too many workers on one connection";
    /// A share before `mining.subscribe`.
    NotSubscribed => NOT_SUBSCRIBED, "subscribe first";
    /// A share under a name that was not authorized.
    Unauthorized => UNAUTHORIZED, "this worker is not authorized";
    /// A share with an extranonce2 of a wrong size.
    BadExtranonceSize => OTHER, "extranonce2 has the wrong size";
    /// A share with version bits, which were not negotiated.
    VersionRollingNotNegotiated => OTHER, "version rolling was not negotiated";
    /// A share with version bits outside the mask.
    VersionBitsOutsideMask => OTHER, "version bits outside the mask";
    /// A share of a job that is not known.
    JobNotFound => JOB_NOT_FOUND, "job not found";
    /// A share of a job on an earlier block.
    Stale => JOB_NOT_FOUND, "the job is stale";
    /// A share whose block time is too early or too late.
    NtimeOutOfRange => OTHER, "ntime out of range";
    /// A share that was credited before.
    Duplicate => DUPLICATE_SHARE, "duplicate share";
    /// A share whose hash does not meet the difficulty of its job.
    LowDifficulty => LOW_DIFFICULTY, "low difficulty share";
    /// More shares on one block than can be told apart.
    TooManyShares => OTHER, "too many shares: the difficulty is too low";
    /// There is nobody to pass the share on to.
    NoUpstream => OTHER, "no connection to the pool";
}

impl Reject {
    /// Where this reason stands in [`Self::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the miner does not speak the protocol, as opposed to bad luck with shares.
    pub const fn is_misbehaviour(self) -> bool {
        matches!(
            self,
            Self::NotJson
                | Self::NotAMessage
                | Self::LineTooLong
                | Self::IdTooLong
                | Self::UnknownMethod
                | Self::BadParams
                | Self::SubscribePending
                | Self::TooManyWorkers
        )
    }

    /// The error to answer with.
    pub fn reply(self) -> ErrorReply {
        ErrorReply::new(self.code(), self.text())
    }
}

/// `None` for a line without content, which is no fault.
pub(crate) const fn of_message(error: MessageError) -> Option<Reject> {
    match error {
        MessageError::Empty => None,
        MessageError::NotJson => Some(Reject::NotJson),
        MessageError::NotAMessage => Some(Reject::NotAMessage),
        MessageError::IdTooLong => Some(Reject::IdTooLong),
    }
}

/// The reason, and the error that says what was wrong where that is known.
pub(crate) fn of_request(error: RequestError) -> (Reject, ErrorReply) {
    match error {
        RequestError::UnknownMethod => (Reject::UnknownMethod, Reject::UnknownMethod.reply()),
        RequestError::Params(ParamError { name, problem }) => {
            let text = format!("{name} {problem}");
            (Reject::BadParams, ErrorReply::new(ErrorCode::OTHER, text))
        }
    }
}

/// How often each reason came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectCounts([u64; Reject::ALL.len()]);

impl Default for RejectCounts {
    fn default() -> Self {
        Self([0; Reject::ALL.len()])
    }
}

impl RejectCounts {
    /// Counts one.
    pub fn add(&mut self, reason: Reject) {
        if let Some(count) = self.0.get_mut(reason.index()) {
            *count += 1;
        }
    }

    /// How often one reason came up.
    pub fn of(&self, reason: Reject) -> u64 {
        self.0.get(reason.index()).copied().unwrap_or_default()
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that came up, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (Reject, u64)> {
        let all = Reject::ALL.iter().copied().zip(self.0);
        all.filter(|(_, count)| *count > 0)
    }
}
