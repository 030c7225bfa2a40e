//! `SetupConnection`: which protocol version and features a connection has (3.6.1 to 3.6.3).
//!
//! The server holds a [`SetupPolicy`] and answers the first message of every connection; the client holds a
//! [`SetupRequest`] and checks the answer.
//!
//! ```
//! use const_sv2::mining;
//! use roles_logic_sv2::setup::{Endpoint, SetupPolicy, SetupRequest};
//!
//! let request = SetupRequest::mining(mining::REQUIRES_STANDARD_JOBS);
//! let first = request.message(&Endpoint::default());
//!
//! let accepted = SetupPolicy::mining().negotiate(&first).unwrap();
//! assert!(accepted.has_client_flag(mining::REQUIRES_STANDARD_JOBS));
//!
//! let connection = request.handle_success(&accepted.message()).unwrap();
//! assert_eq!(connection.version, 2);
//! ```

use binary_sv2::Str0255;
use common_messages_sv2::{
    CommonMessage, SetupConnection, SetupConnectionError, SetupConnectionSuccess,
};
use const_sv2::error_codes::setup_connection as codes;
use const_sv2::mining::{
    REQUIRES_EXTENDED_CHANNELS, REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS,
    REQUIRES_VERSION_ROLLING, REQUIRES_WORK_SELECTION,
};
use const_sv2::{PROTOCOL_VERSION, Protocol, job_declaration, mining};

use crate::messages::AnyMessage;

/// What a server takes and asks for, the same on every server behind one host and port (CM-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupPolicy {
    /// The sub-protocol served.
    pub protocol: Protocol,
    /// Lowest version spoken.
    pub min_version: u16,
    /// Highest version spoken.
    pub max_version: u16,
    /// Flags of `SetupConnection` that this server can honour.
    pub supported_flags: u32,
    /// Flags of `SetupConnection` without which a client is refused; only `DECLARE_TX_DATA` has an error code for it.
    pub required_flags: u32,
    /// Flags of `SetupConnection.Success`: what the server asks of every client.
    pub success_flags: u32,
}

impl SetupPolicy {
    const fn new(protocol: Protocol, supported_flags: u32) -> Self {
        Self {
            protocol,
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            supported_flags,
            required_flags: 0,
            success_flags: 0,
        }
    }

    /// A mining server that honours every flag.
    pub const fn mining() -> Self {
        Self::new(Protocol::MINING, mining::SETUP_FLAGS)
    }

    /// A job declaration server that takes declared transactions, and coinbase-only clients too.
    pub const fn job_declaration() -> Self {
        Self::new(Protocol::JOB_DECLARATION, job_declaration::SETUP_FLAGS)
    }

    /// A template provider; the protocol has no flags.
    pub const fn template_distribution() -> Self {
        Self::new(Protocol::TEMPLATE_DISTRIBUTION, 0)
    }

    /// The flags honoured, less those that the server's own demands rule out (MS-17, MS-19).
    pub const fn honoured_flags(&self) -> u32 {
        let mut flags = self.supported_flags;
        if self.protocol.0 == Protocol::MINING.0 {
            if self.success_flags & REQUIRES_FIXED_VERSION != 0 {
                flags &= !REQUIRES_VERSION_ROLLING;
            }
            if self.success_flags & REQUIRES_EXTENDED_CHANNELS != 0 {
                flags &= !REQUIRES_STANDARD_JOBS;
            }
        }
        flags
    }

    /// Answers the first message of a connection, which must be `SetupConnection` (CM-1).
    ///
    /// # Errors
    /// [`SetupRefusal`], [`SetupRefusal::OutOfOrder`] for any other message; the connection is closed after its answer.
    pub fn handle_first(&self, message: &AnyMessage<'_>) -> Result<SetupAccepted, SetupRefusal> {
        match message {
            AnyMessage::Common(CommonMessage::SetupConnection(request)) => self.negotiate(request),
            other => Err(SetupRefusal::OutOfOrder {
                message: other.kind().name,
            }),
        }
    }

    /// Answers a `SetupConnection`.
    ///
    /// # Errors
    /// [`SetupRefusal`]; send its message, then close the connection (CM-11).
    pub fn negotiate(&self, request: &SetupConnection<'_>) -> Result<SetupAccepted, SetupRefusal> {
        let asked = Protocol(request.protocol);
        if asked != self.protocol {
            return Err(SetupRefusal::UnsupportedProtocol { asked });
        }
        let version = self.max_version.min(request.max_version);
        if version < self.min_version.max(request.min_version) {
            return Err(SetupRefusal::VersionMismatch {
                min: request.min_version,
                max: request.max_version,
            });
        }
        let honoured = self.honoured_flags();
        if request.flags & !honoured != 0 {
            // All that is not honoured, asked for or not: this is how clients discover features (CM-12, CM-13).
            let unsupported = (defined_flags(self.protocol) | request.flags) & !honoured;
            return Err(SetupRefusal::UnsupportedFlags { unsupported });
        }
        if self.required_flags & !request.flags != 0 {
            return Err(SetupRefusal::MissingFlags {
                missing: self.required_flags & !request.flags,
            });
        }
        Ok(SetupAccepted {
            protocol: self.protocol,
            version,
            client_flags: request.flags,
            server_flags: self.success_flags | self.flags_for(request.flags),
        })
    }

    /// A client that makes its own jobs has no use for standard channels, and deployed pools tell it so.
    fn flags_for(&self, client_flags: u32) -> u32 {
        if self.protocol == Protocol::MINING && client_flags & REQUIRES_WORK_SELECTION != 0 {
            REQUIRES_EXTENDED_CHANNELS
        } else {
            0
        }
    }
}

const fn defined_flags(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::MINING => mining::SETUP_FLAGS,
        Protocol::JOB_DECLARATION => job_declaration::SETUP_FLAGS,
        _ => 0,
    }
}

/// A connection that the server took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupAccepted {
    /// The sub-protocol of the connection.
    pub protocol: Protocol,
    /// Version of the connection, the highest that both sides speak.
    pub version: u16,
    /// What the client required.
    pub client_flags: u32,
    /// What the server requires of this client.
    pub server_flags: u32,
}

impl SetupAccepted {
    /// The answer to send.
    pub const fn message(&self) -> SetupConnectionSuccess {
        SetupConnectionSuccess {
            used_version: self.version,
            flags: self.server_flags,
        }
    }

    /// Whether the client required this feature.
    pub const fn has_client_flag(&self, flag: u32) -> bool {
        self.client_flags & flag != 0
    }

    /// Whether the server requires this of the client.
    pub const fn has_server_flag(&self, flag: u32) -> bool {
        self.server_flags & flag != 0
    }
}

/// Why a server refuses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupRefusal {
    /// The client wants a sub-protocol that is not served here.
    #[error("sub-protocol {} is not served here", asked.0)]
    UnsupportedProtocol {
        /// What it asked for.
        asked: Protocol,
    },
    /// No version is spoken by both sides.
    #[error("no common protocol version: the client speaks {min} to {max}")]
    VersionMismatch {
        /// The client's lowest version.
        min: u16,
        /// The client's highest version.
        max: u16,
    },
    /// The client requires features that the server does not have.
    #[error("feature flags {unsupported:#x} are not supported")]
    UnsupportedFlags {
        /// Every flag that the server does not support (CM-13).
        unsupported: u32,
    },
    /// The client does not offer what the server requires.
    #[error("the client did not set the required flags {missing:#x}")]
    MissingFlags {
        /// The flags it should have set.
        missing: u32,
    },
    /// The first message was another one; nothing answers that.
    #[error("{message} came before SetupConnection")]
    OutOfOrder {
        /// Name of the message.
        message: &'static str,
    },
}

impl SetupRefusal {
    /// The code on the wire; `None` where the connection is closed without a word.
    pub const fn error_code(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnsupportedProtocol { .. } => codes::UNSUPPORTED_PROTOCOL,
            Self::VersionMismatch { .. } => codes::PROTOCOL_VERSION_MISMATCH,
            Self::UnsupportedFlags { .. } => codes::UNSUPPORTED_FEATURE_FLAGS,
            Self::MissingFlags { .. } => codes::MISSING_DECLARE_TX_DATA_FLAG,
            Self::OutOfOrder { .. } => return None,
        })
    }

    /// The answer to send before the connection is closed.
    pub fn message(&self) -> Option<SetupConnectionError<'static>> {
        let flags = match self {
            Self::UnsupportedFlags { unsupported } => *unsupported,
            _ => 0,
        };
        Some(SetupConnectionError {
            flags,
            error_code: self.error_code()?.try_into().ok()?,
        })
    }
}

/// Who connects, and to what: the descriptive fields of `SetupConnection`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint<'a> {
    /// Host name or address that the client connects to.
    pub host: Str0255<'a>,
    /// Port that the client connects to.
    pub port: u16,
    /// Manufacturer or developer and firmware version (CM-4).
    pub vendor: Str0255<'a>,
    /// Hardware or software package (CM-5).
    pub hardware_version: Str0255<'a>,
    /// Firmware on the device.
    pub firmware: Str0255<'a>,
    /// Identifier of the device, empty without telemetry (CM-3).
    pub device_id: Str0255<'a>,
}

/// What a client asks for, to check the answer against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupRequest {
    /// The sub-protocol wanted.
    pub protocol: Protocol,
    /// Lowest version spoken.
    pub min_version: u16,
    /// Highest version spoken.
    pub max_version: u16,
    /// Features required.
    pub flags: u32,
}

impl SetupRequest {
    /// A request for `protocol` in the version that this project speaks.
    pub const fn new(protocol: Protocol, flags: u32) -> Self {
        Self {
            protocol,
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            flags,
        }
    }

    /// A mining client.
    pub const fn mining(flags: u32) -> Self {
        Self::new(Protocol::MINING, flags)
    }

    /// The first message of the connection.
    pub fn message<'a>(&self, endpoint: &Endpoint<'a>) -> SetupConnection<'a> {
        SetupConnection {
            protocol: self.protocol.0,
            min_version: self.min_version,
            max_version: self.max_version,
            flags: self.flags,
            endpoint_host: endpoint.host.clone(),
            endpoint_port: endpoint.port,
            vendor: endpoint.vendor.clone(),
            hardware_version: endpoint.hardware_version.clone(),
            firmware: endpoint.firmware.clone(),
            device_id: endpoint.device_id.clone(),
        }
    }

    /// Checks a `SetupConnection.Success` (CM-8, CM-10).
    ///
    /// # Errors
    /// A version that was not offered; demands of the server that contradict what this client requires.
    pub fn handle_success(
        &self,
        message: &SetupConnectionSuccess,
    ) -> Result<SetupAccepted, SetupError> {
        let version = message.used_version;
        if !(self.min_version..=self.max_version).contains(&version) {
            return Err(SetupError::VersionNotOffered { version });
        }
        let contradicts = |ours, theirs| self.flags & ours != 0 && message.flags & theirs != 0;
        if self.protocol == Protocol::MINING {
            if contradicts(REQUIRES_VERSION_ROLLING, REQUIRES_FIXED_VERSION) {
                return Err(SetupError::VersionRollingRefused);
            }
            if contradicts(REQUIRES_STANDARD_JOBS, REQUIRES_EXTENDED_CHANNELS) {
                return Err(SetupError::StandardChannelsRefused);
            }
        }
        Ok(SetupAccepted {
            protocol: self.protocol,
            version,
            client_flags: self.flags,
            server_flags: message.flags,
        })
    }

    /// Takes a `SetupConnection.Error`: which of the required flags the server lacks, and its code as it came.
    ///
    /// The code is for a log; what to do next depends on the flags alone (CM-26).
    pub fn handle_error<'a>(&self, message: &SetupConnectionError<'a>) -> SetupRejected<'a> {
        SetupRejected {
            unsupported_flags: message.flags,
            can_retry_without: message.flags & self.flags,
            error_code: message.error_code.clone(),
        }
    }
}

/// A server's refusal as the client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupRejected<'a> {
    /// All flags that the server does not support.
    pub unsupported_flags: u32,
    /// Those of them that this client required: without them a new connection may be taken. 0: another cause.
    pub can_retry_without: u32,
    /// The server's words.
    pub error_code: Str0255<'a>,
}

/// Why a client does not go on after `SetupConnection.Success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The server chose a version outside of the client's range.
    #[error("the server chose protocol version {version}, which was not offered")]
    VersionNotOffered {
        /// The version chosen.
        version: u16,
    },
    /// The server does not take rolled versions, and this client must roll them.
    #[error("the server requires a fixed version, but this miner must roll it")]
    VersionRollingRefused,
    /// The server takes extended channels only, and this client must have standard ones.
    #[error("the server requires extended channels, but this miner opens standard ones only")]
    StandardChannelsRefused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(protocol: Protocol, versions: (u16, u16), flags: u32) -> SetupConnection<'static> {
        SetupRequest {
            protocol,
            min_version: versions.0,
            max_version: versions.1,
            flags,
        }
        .message(&Endpoint::default())
    }

    fn refusal(policy: SetupPolicy, request: &SetupConnection<'_>) -> (u32, &'static str) {
        let refusal = policy.negotiate(request).unwrap_err();
        let message = refusal.message().unwrap();
        assert_eq!(message.error_code.as_str(), refusal.error_code());
        (message.flags, refusal.error_code().unwrap())
    }

    #[test]
    fn the_highest_common_version_is_used() {
        let policy = SetupPolicy {
            max_version: 4,
            ..SetupPolicy::mining()
        };
        for (versions, used) in [((2, 2), 2), ((0, 3), 3), ((3, 9), 4), ((0, u16::MAX), 4)] {
            let accepted = policy
                .negotiate(&ask(Protocol::MINING, versions, 0))
                .unwrap();
            assert_eq!(accepted.version, used, "{versions:?}");
        }
        for versions in [(0, 1), (5, 9), (4, 2)] {
            assert_eq!(
                refusal(policy, &ask(Protocol::MINING, versions, 0)),
                (0, "protocol-version-mismatch"),
                "{versions:?}"
            );
        }
    }

    #[test]
    fn other_protocols_are_refused_everywhere() {
        let policies = [
            SetupPolicy::mining(),
            SetupPolicy::job_declaration(),
            SetupPolicy::template_distribution(),
        ];
        for policy in policies {
            for protocol in (0..=u8::MAX).map(Protocol) {
                let request = ask(protocol, (2, 2), 0);
                if protocol == policy.protocol {
                    assert!(policy.negotiate(&request).is_ok());
                } else {
                    assert_eq!(refusal(policy, &request), (0, "unsupported-protocol"));
                }
            }
        }
    }

    #[test]
    fn all_unsupported_flags_are_listed() {
        let policy = SetupPolicy {
            supported_flags: REQUIRES_STANDARD_JOBS,
            ..SetupPolicy::mining()
        };
        // Asking for one shows the other one too; unknown ones show only when asked for.
        for (flags, listed) in [(0b010, 0b110), (0b111, 0b110), (u32::MAX, !1)] {
            assert_eq!(
                refusal(policy, &ask(Protocol::MINING, (2, 2), flags)),
                (listed, "unsupported-feature-flags")
            );
        }
        assert!(policy.negotiate(&ask(Protocol::MINING, (2, 2), 1)).is_ok());
        assert_eq!(
            refusal(
                SetupPolicy::template_distribution(),
                &ask(Protocol::TEMPLATE_DISTRIBUTION, (2, 2), 1)
            ),
            (1, "unsupported-feature-flags")
        );
    }

    #[test]
    fn demands_of_the_server_rule_out_contrary_flags() {
        for (success_flags, asked, honoured) in [
            (REQUIRES_FIXED_VERSION, REQUIRES_VERSION_ROLLING, false),
            (REQUIRES_FIXED_VERSION, REQUIRES_STANDARD_JOBS, true),
            (REQUIRES_EXTENDED_CHANNELS, REQUIRES_STANDARD_JOBS, false),
            (REQUIRES_EXTENDED_CHANNELS, REQUIRES_VERSION_ROLLING, true),
            (0, REQUIRES_VERSION_ROLLING, true),
        ] {
            let policy = SetupPolicy {
                success_flags,
                ..SetupPolicy::mining()
            };
            let answer = policy.negotiate(&ask(Protocol::MINING, (2, 2), asked));
            assert_eq!(answer.is_ok(), honoured, "{success_flags:#b} {asked:#b}");
            if let Ok(accepted) = answer {
                assert_eq!(accepted.message().flags, success_flags);
            }
        }
    }

    #[test]
    fn who_selects_work_is_told_to_use_extended_channels() {
        let request = ask(Protocol::MINING, (2, 2), REQUIRES_WORK_SELECTION);
        let accepted = SetupPolicy::mining().negotiate(&request).unwrap();
        assert!(accepted.has_server_flag(REQUIRES_EXTENDED_CHANNELS));
    }

    #[test]
    fn a_declarator_that_hides_its_transactions_is_told_so() {
        let policy = SetupPolicy {
            required_flags: job_declaration::DECLARE_TX_DATA,
            ..SetupPolicy::job_declaration()
        };
        assert_eq!(
            refusal(policy, &ask(Protocol::JOB_DECLARATION, (2, 2), 0)),
            (0, "missing-declare-tx-data-flag")
        );
        assert!(
            policy
                .negotiate(&ask(Protocol::JOB_DECLARATION, (2, 2), 1))
                .is_ok()
        );
    }

    #[test]
    fn nothing_comes_before_setup() {
        let early = AnyMessage::Common(
            SetupConnectionSuccess {
                used_version: 2,
                flags: 0,
            }
            .into(),
        );
        let refusal = SetupPolicy::mining().handle_first(&early).unwrap_err();
        assert_eq!(refusal.message(), None);
    }

    #[test]
    fn the_client_checks_what_it_is_given() {
        let request = SetupRequest::mining(REQUIRES_VERSION_ROLLING | REQUIRES_STANDARD_JOBS);
        let answer = |used_version, flags| {
            request
                .handle_success(&SetupConnectionSuccess {
                    used_version,
                    flags,
                })
                .map(|accepted| accepted.server_flags)
        };
        assert_eq!(answer(2, 0), Ok(0));
        assert_eq!(answer(2, 1 << 9), Ok(1 << 9), "unknown flags are kept");
        assert_eq!(
            answer(3, 0),
            Err(SetupError::VersionNotOffered { version: 3 })
        );
        assert_eq!(
            answer(2, REQUIRES_FIXED_VERSION),
            Err(SetupError::VersionRollingRefused)
        );
        assert_eq!(
            answer(2, REQUIRES_EXTENDED_CHANNELS),
            Err(SetupError::StandardChannelsRefused)
        );
        let rejected = request.handle_error(&SetupConnectionError {
            flags: 0b110,
            error_code: "who knows".try_into().unwrap(),
        });
        assert_eq!(rejected.can_retry_without, REQUIRES_VERSION_ROLLING);
    }
}
