//! What can go wrong, and the numbers of it: the one place that turns errors into results.

use noise_sv2::{CertificateError, HandshakeError};
use roles_logic_sv2::channels::client::ClientReject;
use roles_logic_sv2::setup::SetupError;

use crate::result::*;

/// Why a call did not do what it was asked to; nothing was changed where the call does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MinerError {
    /// The allocator refuses.
    NoMemory,
    /// The connection has ended.
    Ended,
    /// Events wait to be taken.
    EventsWaiting,
    /// The server has not taken the connection yet.
    NotReady,
    /// No such channel is open.
    NotOpen,
    /// The channel has nothing to hash.
    NoWork,
    /// The work is of an earlier tip, or its job was replaced.
    Stale,
    /// The extranonce has not the channel's size.
    BadExtranonceSize,
    /// Bits outside of the mask were changed.
    VersionNotAllowed,
    /// The time is before the job's earliest.
    NtimeTooEarly,
    /// No further channel can be asked for.
    TooManyChannels,
    /// The server does not read: too much waits to be sent.
    OutgoingFull,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server's part of the handshake is refused.
    Handshake(HandshakeError),
    /// A frame cannot be opened, or none be sealed any more.
    Cipher,
    /// A frame announces more than is taken.
    PayloadTooLong,
    /// A frame does not hold the message that it announces.
    Malformed,
    /// A message that has no place there.
    OutOfOrder,
    /// The server refused the connection; these of the flags that were asked for it does not support.
    SetupRefused {
        /// Flags.
        flags: u32,
    },
    /// The server's answer does not fit.
    Setup(SetupError),
    /// The server does not answer.
    NoAnswer,
    /// The server takes shares and says nothing.
    Silent,
    /// The server does not keep to what was agreed.
    BrokenWord(ClientReject),
}

impl From<MinerError> for Fault {
    fn from(error: MinerError) -> Self {
        Self(match error {
            MinerError::NoMemory => SV2_NO_MEMORY,
            MinerError::Ended => SV2_ENDED,
            MinerError::EventsWaiting => SV2_EVENTS_WAITING,
            MinerError::NotReady => SV2_NOT_READY,
            MinerError::NotOpen => SV2_CHANNEL_NOT_OPEN,
            MinerError::NoWork => SV2_NO_WORK,
            MinerError::Stale => SV2_STALE_WORK,
            MinerError::BadExtranonceSize => SV2_BAD_EXTRANONCE_SIZE,
            MinerError::VersionNotAllowed => SV2_VERSION_NOT_ALLOWED,
            MinerError::NtimeTooEarly => SV2_NTIME_TOO_EARLY,
            MinerError::TooManyChannels => SV2_TOO_MANY_CHANNELS,
            MinerError::OutgoingFull => SV2_OUTGOING_FULL,
        })
    }
}

impl End {
    /// Its number.
    pub(crate) const fn result(self) -> sv2_result {
        match self {
            Self::Handshake(HandshakeError::Certificate(error)) => match error {
                CertificateError::NotYetValid { .. } => SV2_CERTIFICATE_NOT_YET_VALID,
                CertificateError::Expired { .. } => SV2_CERTIFICATE_EXPIRED,
                _ => SV2_CERTIFICATE_REFUSED,
            },
            Self::Handshake(_) => SV2_HANDSHAKE_FAILED,
            Self::Cipher => SV2_CIPHER_FAILED,
            Self::PayloadTooLong => SV2_PAYLOAD_TOO_LONG,
            Self::Malformed => SV2_MALFORMED_MESSAGE,
            Self::OutOfOrder => SV2_OUT_OF_ORDER,
            Self::SetupRefused { .. } => SV2_SETUP_REFUSED,
            Self::Setup(SetupError::VersionRollingRefused) => SV2_VERSION_ROLLING_REFUSED,
            Self::Setup(SetupError::StandardChannelsRefused) => SV2_STANDARD_CHANNELS_REFUSED,
            Self::Setup(_) => SV2_VERSION_NOT_OFFERED,
            Self::NoAnswer => SV2_NO_ANSWER,
            Self::Silent => SV2_SERVER_SILENT,
            Self::BrokenWord(reject) => refused(reject),
        }
    }
}

/// The number of a reason for which a message is refused.
pub(crate) const fn refused(reject: ClientReject) -> sv2_result {
    match reject {
        ClientReject::UnknownRequest => SV2_REFUSED_UNKNOWN_REQUEST,
        ClientReject::UnknownChannel => SV2_REFUSED_UNKNOWN_CHANNEL,
        ClientReject::FormerChannel => SV2_REFUSED_FORMER_CHANNEL,
        ClientReject::IdInUse => SV2_REFUSED_ID_IN_USE,
        ClientReject::UnknownJob => SV2_REFUSED_UNKNOWN_JOB,
        ClientReject::NoPrevHash => SV2_REFUSED_NO_PREV_HASH,
        ClientReject::InvalidNbits => SV2_REFUSED_INVALID_NBITS,
        ClientReject::WrongKind => SV2_REFUSED_WRONG_KIND,
        ClientReject::BadCoinbase => SV2_REFUSED_BAD_COINBASE,
        ClientReject::BadExtranonceSize => SV2_REFUSED_BAD_EXTRANONCE_SIZE,
        ClientReject::TargetTooEasy => SV2_REFUSED_TARGET_TOO_EASY,
        ClientReject::UnsentShare => SV2_REFUSED_UNSENT_SHARE,
        _ => SV2_REFUSED_UNEXPECTED,
    }
}
