//! What small firmware cannot take.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Something that a server must not do to small firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// A server can be reached, and passes the handshake.
    NotConnected,
    /// A server keeps the connection.
    ConnectionLost,
    /// A server takes the firmware's setup and opens its channel.
    Refused,
    /// The answer to the setup, and to the request for a channel, is the very next frame.
    NotNextFrame,
    /// A frame has at most [`MAX_FRAME_LEN`](super::MAX_FRAME_LEN) bytes.
    FrameTooLong,
    /// A job has at most [`MAX_MERKLE_BRANCHES`](super::MAX_MERKLE_BRANCHES) branches.
    TooManyBranches,
    /// A message can be read.
    Unreadable,
    /// A channel gets jobs of its own kind: firmware takes the others' memory for its own.
    WrongKind,
    /// A message is for the channel or its group: firmware does not look at the id.
    ForeignChannel,
    /// An extended channel leaves the firmware the extranonce bytes it asks for, and no more than it has room for.
    ExtranonceSize,
    /// A job does not take the place of the one that is being mined.
    ActiveJobOverwritten,
    /// The job that `SetNewPrevHash` names is still in its place.
    NamedJobMissing,
    /// Before the first tip only its own job is sent: firmware starts all it has with it.
    StartedEarly,
    /// Work is not sent again under another job id: firmware begins each job at the same nonce and extranonce, finds the
    /// same shares again, and has them rejected.
    WorkRepeated,
    /// Shares of a job in its place are accepted.
    ShareRejected,
    /// The difficulty comes down to what the device does, whatever it claims.
    NoShareAccepted,
    /// Something is sent within [`MAX_SILENCE`](super::MAX_SILENCE).
    Silence,
}

impl Rule {
    /// A stable name, as in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotConnected => "not-connected",
            Self::ConnectionLost => "connection-lost",
            Self::Refused => "refused",
            Self::NotNextFrame => "not-next-frame",
            Self::FrameTooLong => "frame-too-long",
            Self::TooManyBranches => "too-many-branches",
            Self::Unreadable => "unreadable",
            Self::WrongKind => "wrong-kind",
            Self::ForeignChannel => "foreign-channel",
            Self::ExtranonceSize => "extranonce-size",
            Self::ActiveJobOverwritten => "active-job-overwritten",
            Self::NamedJobMissing => "named-job-missing",
            Self::StartedEarly => "started-early",
            Self::WorkRepeated => "work-repeated",
            Self::ShareRejected => "share-rejected",
            Self::NoShareAccepted => "no-share-accepted",
            Self::Silence => "silence",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that a server broke.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// The connection, counted from 0.
    pub connection: usize,
    /// Seconds since that connection was begun.
    pub after_secs: f64,
    /// The rule.
    pub rule: Rule,
    /// What the server did, and what became of it on the device.
    pub what: String,
}

impl Failure {
    pub(super) fn new(connection: usize, after: Duration, rule: Rule, what: String) -> Self {
        Self {
            connection,
            after_secs: after.as_secs_f64(),
            rule,
            what,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connection {}, after {:.1} s: {} ({})",
            self.connection, self.after_secs, self.what, self.rule
        )
    }
}
