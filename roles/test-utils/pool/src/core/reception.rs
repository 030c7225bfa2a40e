//! What becomes of what clients ask for: the one place of each [`Reception`].

use common_messages_sv2::{CommonMessage, SetupConnectionError};
use extensions_sv2::{ExtensionNegotiationMessage, RequestExtensions, RequestExtensionsError};
use mining_sv2::{MiningMessage, OpenMiningChannelError, UpdateChannelError};
use roles_logic_sv2::channels::server::ServerMessage;
use roles_logic_sv2::downstream::Outgoing;
use roles_logic_sv2::messages::AnyMessage;

use crate::misbehaviour::{ErrorCode, Reception};

/// What is done in place of the right thing.
#[derive(Debug)]
pub(super) enum Instead {
    /// Nothing.
    Nothing,
    /// This is said.
    Say(Outgoing),
    /// This is said, and the connection ends.
    SayAndClose(Outgoing),
}

impl Reception {
    /// What is done with this message in place of the right thing; `None` for the right thing.
    pub(super) fn meet(&self, message: &AnyMessage<'_>) -> Option<Instead> {
        match self {
            Self::RefuseSetup(code) => is_setup(message).then(|| {
                let error = SetupConnectionError {
                    flags: 0,
                    error_code: code.field(),
                };
                Instead::SayAndClose(Outgoing::Common(Box::new(error.into())))
            }),
            Self::IgnoreSetup => is_setup(message).then_some(Instead::Nothing),
            Self::RequireExtension(extension) => {
                let request = extensions(message)?;
                let mut requested = request.requested_extensions.iter();
                let is_named = requested.any(|named| named == *extension);
                (!is_named).then(|| Instead::Say(required(request.request_id, *extension)))
            }
            Self::IgnoreExtensions => extensions(message).map(|_| Instead::Nothing),
            Self::RefuseOpens(code) => {
                let request_id = open_request(message)?;
                Some(Instead::Say(refusal(request_id, code)))
            }
            Self::IgnoreOpens => open_request(message).map(|_| Instead::Nothing),
            Self::RefuseUpdates(code) => match message {
                AnyMessage::Mining(MiningMessage::UpdateChannel(update)) => {
                    let error = UpdateChannelError {
                        channel_id: update.channel_id,
                        error_code: code.field(),
                    };
                    Some(Instead::Say(Outgoing::Mining(error.into())))
                }
                _ => None,
            },
        }
    }
}

const fn is_setup(message: &AnyMessage<'_>) -> bool {
    matches!(
        message,
        AnyMessage::Common(CommonMessage::SetupConnection(_))
    )
}

const fn extensions<'a>(message: &'a AnyMessage<'a>) -> Option<&'a RequestExtensions<'a>> {
    match message {
        AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensions(
            request,
        )) => Some(request),
        _ => None,
    }
}

const fn open_request(message: &AnyMessage<'_>) -> Option<u32> {
    match message {
        AnyMessage::Mining(MiningMessage::OpenStandardMiningChannel(open)) => Some(open.request_id),
        AnyMessage::Mining(MiningMessage::OpenExtendedMiningChannel(open)) => Some(open.request_id),
        _ => None,
    }
}

fn refusal(request_id: u32, code: &ErrorCode) -> Outgoing {
    let error_code = code.field();
    let error = OpenMiningChannelError {
        request_id,
        error_code,
    };
    Outgoing::Mining(ServerMessage::from(error))
}

fn required(request_id: u16, extension: u16) -> Outgoing {
    let error = RequestExtensionsError {
        request_id,
        unsupported_extensions: Vec::new().try_into().unwrap_or_default(),
        required_extensions: vec![extension].try_into().unwrap_or_default(),
    };
    Outgoing::Extension(Box::new(error.into()))
}
