//! What the pool sees, and counts.

use std::collections::BTreeMap;
use std::fmt;

use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::share::RejectReason;

use crate::script::Act;

/// A connection, numbered from 1 in the order of their coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// Something that the pool sees or does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A client is there, after its handshake.
    Connected(ConnectionId),
    /// A client was not let in, or gave up before the handshake was done.
    NotConnected {
        /// How it ended.
        reason: String,
    },
    /// A connection is gone.
    Gone {
        /// Which one.
        connection: ConnectionId,
        /// How it ended.
        reason: String,
    },
    /// A frame came.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// The message's name; `unknown` when it is none of the protocol.
        message: &'static str,
    },
    /// A frame is sent.
    Sent {
        /// On which connection.
        connection: ConnectionId,
        /// The message's name; `unknown` when it is none of the protocol.
        message: &'static str,
    },
    /// A channel was opened, as the pool has it.
    Opened {
        /// On which connection.
        connection: ConnectionId,
        /// Its number.
        channel_id: u32,
        /// The group that it belongs to: jobs of the group are its own.
        group_id: u32,
        /// Standard or extended.
        kind: ChannelKind,
        /// Who mines.
        user_identity: String,
    },
    /// A share was judged. What the client is told may be another thing.
    Share(JudgedShare),
    /// A share is a block.
    Block {
        /// Who found it.
        connection: ConnectionId,
        /// On which channel.
        channel_id: u32,
    },
    /// The pool does as it was told.
    Acted {
        /// What.
        act: Act,
        /// Connections that it was told to, for what is done once; all there are for what lasts.
        connections: usize,
    },
    /// A misbehaviour is over, as its time is.
    Over(Act),
}

/// A share and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedShare {
    /// Who sent it.
    pub connection: ConnectionId,
    /// On which channel.
    pub channel_id: u32,
    /// Its number, as the client gave it.
    pub sequence_number: u32,
    /// Its job.
    pub job_id: u32,
    /// Difficulty that it is credited with, or why not.
    pub verdict: Result<f64, RejectReason>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(connection) => write!(f, "{connection}: is there"),
            Self::NotConnected { reason } => write!(f, "a connection came to nothing: {reason}"),
            Self::Gone { connection, reason } => write!(f, "{connection}: gone: {reason}"),
            Self::Received {
                connection,
                message,
            } => write!(f, "{connection}: <- {message}"),
            Self::Sent {
                connection,
                message,
            } => write!(f, "{connection}: -> {message}"),
            Self::Opened {
                connection,
                channel_id,
                group_id,
                kind,
                user_identity,
            } => {
                let kind = match kind {
                    ChannelKind::Standard => "standard",
                    ChannelKind::Extended => "extended",
                };
                write!(
                    f,
                    "{connection}: {kind} channel {channel_id} of group {group_id} opened for {user_identity:?}"
                )
            }
            Self::Share(share) => share.fmt(f),
            Self::Block {
                connection,
                channel_id,
            } => write!(f, "{connection}: channel {channel_id} found a block"),
            Self::Acted { act, connections } => {
                write!(f, "pool: {act}, connections: {connections}")
            }
            Self::Over(act) => write!(f, "pool: {act} is over"),
        }
    }
}

impl fmt::Display for JudgedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: channel {} share {} for job {}: ",
            self.connection, self.channel_id, self.sequence_number, self.job_id
        )?;
        match &self.verdict {
            Ok(difficulty) => write!(f, "good, difficulty {difficulty:.3e}"),
            Err(reason) => write!(f, "bad: {reason}"),
        }
    }
}

/// What the pool has seen since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that are open.
    pub connections: usize,
    /// Connections that were ever open.
    pub connections_total: u64,
    /// Connections that were not let in, or gave up before the handshake was done.
    pub not_connected: u64,
    /// Channels that were ever opened.
    pub channels_opened: u64,
    /// Shares that are good, whatever the client was told.
    pub shares_good: u64,
    /// Shares that are not, by [`RejectReason::error_code`].
    pub shares_bad: BTreeMap<&'static str, u64>,
    /// Shares that are blocks.
    pub blocks: u64,
    /// Frames that came, by the message's name.
    pub received: BTreeMap<&'static str, u64>,
    /// Frames that were sent, by the message's name.
    pub sent: BTreeMap<&'static str, u64>,
    /// Ends of connections, by their reason in words.
    pub ends: BTreeMap<String, u64>,
}

/// Reasons for which ends are counted apart; ends for further ones are counted as [`OTHER_ENDS`].
pub const MAX_ENDS: usize = 64;

/// What ends are counted under when there are more than [`MAX_ENDS`] reasons.
pub const OTHER_ENDS: &str = "other reasons";

impl Counters {
    /// Shares that came, good and bad.
    pub fn shares(&self) -> u64 {
        self.shares_good + self.shares_bad.values().sum::<u64>()
    }

    /// Frames of this message that came.
    pub fn received(&self, message: &str) -> u64 {
        self.received.get(message).copied().unwrap_or_default()
    }

    /// Frames of this message that were sent.
    pub fn sent(&self, message: &str) -> u64 {
        self.sent.get(message).copied().unwrap_or_default()
    }

    pub(crate) fn count(&mut self, event: &Event) {
        match event {
            Event::Connected(_) => {
                self.connections += 1;
                self.connections_total += 1;
            }
            Event::NotConnected { .. } => self.not_connected += 1,
            Event::Gone { reason, .. } => {
                self.connections = self.connections.saturating_sub(1);
                let is_room = self.ends.len() < MAX_ENDS || self.ends.contains_key(reason);
                let reason = if is_room { reason } else { OTHER_ENDS };
                *self.ends.entry(reason.to_owned()).or_default() += 1;
            }
            Event::Received { message, .. } => *self.received.entry(message).or_default() += 1,
            Event::Sent { message, .. } => *self.sent.entry(message).or_default() += 1,
            Event::Opened { .. } => self.channels_opened += 1,
            Event::Share(share) => match share.verdict {
                Ok(_) => self.shares_good += 1,
                Err(reason) => *self.shares_bad.entry(reason.error_code()).or_default() += 1,
            },
            Event::Block { .. } => self.blocks += 1,
            Event::Acted { .. } | Event::Over(_) => {}
        }
    }
}
