//! The miner's rules, without I/O: one connection from its begin to its end.
//!
//! [`Miner`] does it on a channel, [`Sv1Miner`] as Sv1 has it. What a server says and what the threads find goes in;
//! messages, work and the connection's end come out.

mod sv1;
mod sv2;

use std::time::Duration;

use binary_sv2::Str0255;
use const_sv2::error_codes::{open_mining_channel, setup_connection};
use const_sv2::mining::REQUIRES_STANDARD_JOBS;
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::messages::RouteError;
use roles_logic_sv2::setup::SetupError;
use roles_logic_sv2::upstream::UpstreamEnd;

use crate::work::{FoundShare, WorkSource};

pub use sv1::Sv1Miner;
pub use sv2::{Miner, MinerTerms};

/// How long the server may take to answer setup or the request for a channel; then the connection ends.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long there may be no work, at the start or after a tip without a job; then the connection ends.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(60);

/// What the shell is to do; `M` is what is sent.
#[derive(Clone, Debug)]
pub enum Output<M> {
    /// Send this.
    Send(M),
    /// Hash this instead of what was hashed; nothing when `None`.
    Assign(Option<WorkSource>),
    /// Something to show or count; nothing to do.
    Tell(News),
    /// Close the connection; nothing follows.
    Close(End),
}

/// What a server did. Its words are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It takes our shares now; work follows.
    Welcome,
    /// So many shares count.
    Acknowledged(u64),
    /// A share does not count.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It wants this shown.
    Message(String),
}

/// What both protocols' miners do for the shell.
pub(crate) trait Rules {
    /// What to check when a server goes away without having taken us.
    const CHECK: &'static str;

    /// Takes what a thread found; whether it is handed in.
    fn handle_find(&mut self, share: &FoundShare, now: Now) -> bool;

    /// Ends mining in good order.
    fn handle_stop(&mut self, now: Now);

    /// What the server sent that changed nothing, by reason.
    fn anomalies(&self) -> Vec<(String, u64)>;
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The server refused the connection.
    #[error("the server refuses the connection: {code}, unsupported flags {flags:#x}")]
    SetupRefused {
        /// The server's words, escaped.
        code: String,
        /// Flags that it does not support.
        flags: u32,
    },
    /// The server's answer does not fit.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The server opens no channel for us.
    #[error("the server opens no channel: {code}")]
    OpenRefused {
        /// The server's words, escaped.
        code: String,
    },
    /// The request for a channel cannot be made or its answer is unsound.
    #[error("the server opened no channel of the kind and size asked for")]
    NoChannel,
    /// The server closed the channel.
    #[error("the server closed the channel: {reason}")]
    ChannelClosed {
        /// The server's words, escaped.
        reason: String,
    },
    /// The Sv1 server has no work for us.
    #[error("the server refuses the subscription: {reason}")]
    SubscribeRefused {
        /// The server's words, escaped.
        reason: String,
    },
    /// The Sv1 server does not want the user.
    #[error("the server refuses the user: {reason}")]
    AuthorizeRefused {
        /// The server's words, escaped.
        reason: String,
    },
    /// The server asks us to come again, maybe elsewhere.
    #[error("the server asks to reconnect")]
    Reconnect {
        /// Host, the same when empty.
        host: String,
        /// Port, the same when 0.
        port: u16,
        /// How long to wait first.
        wait: Duration,
    },
    /// The server does not answer.
    #[error("the server did not answer in time")]
    NoAnswer,
    /// The Sv1 server says nothing any more.
    #[error("the server has said nothing for too long")]
    Silent,
    /// We are welcome, but there is nothing to hash.
    #[error("the server gave no work in time")]
    NoWork,
    /// Something else that a session is not gone on with for.
    #[error(transparent)]
    Left(UpstreamEnd),
    /// A frame that is no message for us.
    #[error("the server sent a frame that cannot be taken: {0}")]
    Frame(#[from] RouteError),
    /// A message that has no place there.
    #[error("{message} is out of order")]
    OutOfOrder {
        /// Its name.
        message: &'static str,
    },
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
}

impl End {
    /// Whether the server will say the same next time, unless somebody changes something.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::SetupRefused { .. }
                | Self::Setup(_)
                | Self::OpenRefused { .. }
                | Self::NoChannel
                | Self::SubscribeRefused { .. }
                | Self::AuthorizeRefused { .. }
        )
    }

    /// What to do about it; empty where nothing is to be done.
    pub fn advice(&self) -> &'static str {
        const IDENTITY: &str = "check user_identity: many pools want an address or an account";
        const EXTENDED: &str = "set channel = \"extended\"";
        match self {
            Self::SetupRefused { code, flags } => match code.as_str() {
                _ if flags & REQUIRES_STANDARD_JOBS != 0 => EXTENDED,
                setup_connection::UNSUPPORTED_PROTOCOL => {
                    "check the port: it does not serve the mining protocol"
                }
                _ => "check that the server speaks version 2 of the mining protocol",
            },
            Self::Setup(SetupError::StandardChannelsRefused) => EXTENDED,
            Self::Setup(_) => "the server breaks the protocol: tell its operator",
            Self::OpenRefused { code } => match code.as_str() {
                open_mining_channel::MAX_TARGET_OUT_OF_RANGE
                | open_mining_channel::INVALID_NOMINAL_HASHRATE => "set nominal_hashrate",
                open_mining_channel::MIN_EXTRANONCE_SIZE_TOO_LARGE
                | open_mining_channel::UNSUPPORTED_MIN_EXTRANONCE_SIZE => {
                    "set another min_extranonce_size"
                }
                open_mining_channel::CHANNEL_CAPACITY_EXHAUSTED => {
                    "the server is full: wait, or use another one"
                }
                _ => IDENTITY,
            },
            Self::NoChannel => "set another min_extranonce_size, or tell the server's operator",
            Self::SubscribeRefused { .. } => "the server may be full: wait, or use another one",
            Self::AuthorizeRefused { .. } => {
                "check user_identity and password: many pools want an address or an account"
            }
            Self::NoAnswer => "check the port: the server may speak another protocol there",
            Self::NoWork => "the server may have lost its node: tell its operator",
            _ => "",
        }
    }
}

/// A server's words for people, on one line whatever stands in them.
fn text(words: &Str0255<'_>) -> String {
    escaped(words.as_str().unwrap_or("(not text)"))
}

fn escaped(words: &str) -> String {
    words.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = |flags| End::SetupRefused {
            code: "unsupported-feature-flags".into(),
            flags,
        };
        assert!(
            refused(REQUIRES_STANDARD_JOBS)
                .advice()
                .contains("extended")
        );
        assert!(refused(0).advice().contains("version 2"));
        let unknown = End::OpenRefused {
            code: "unknown-user".into(),
        };
        assert!(unknown.is_refusal() && unknown.advice().contains("user_identity"));
        let unknown = End::AuthorizeRefused {
            reason: "unknown user".into(),
        };
        assert!(unknown.is_refusal() && unknown.advice().contains("password"));
        assert!(!End::NoWork.is_refusal());
    }

    #[test]
    fn words_of_a_server_stay_on_one_line() {
        let hostile = "a\n\u{1b}[2Jb".try_into().unwrap();
        assert_eq!(text(&hostile), "a\\n\\u{1b}[2Jb");
    }
}
