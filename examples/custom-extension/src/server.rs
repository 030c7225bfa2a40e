//! The server: sets a connection up, agrees on extensions, and tells devices how fast their fans are to turn.

use anyhow::Context as _;
use binary_sv2::{Decodable as _, Message as _};
use const_sv2::Protocol;
use extensions_sv2::ExtensionNegotiationMessage;
use network_helpers_sv2::{CloseReason, Connection, Options, ServerSecurity, accept};
use roles_logic_sv2::extensions::{ExtensionPolicy, ServerExtensions};
use roles_logic_sv2::messages::{AnyMessage, Peer, RouteError, Router};
use roles_logic_sv2::setup::SetupPolicy;
use tokio::net::TcpListener;

use crate::messages::{COOLING, SetFan, Temperature};

/// Room temperature, in millikelvin: a fan may stand still.
const COOL_MK: u32 = 293_000;

pub(crate) async fn serve(listener: &TcpListener, policy: &ExtensionPolicy) -> anyhow::Result<()> {
    let (stream, _) = listener.accept().await.context("accept")?;
    let mut connection = accept(stream, &ServerSecurity::Plain, Options::default()).await?;
    let mut extensions = ServerExtensions::default();
    loop {
        match connection.ready(None).await {
            Ok(_) => answer(&mut connection, policy, &mut extensions)?,
            Err(CloseReason::PeerClosed) => return Ok(()),
            Err(reason) => return Err(reason).context("the server lost its client"),
        }
    }
}

fn answer(
    connection: &mut Connection,
    policy: &ExtensionPolicy,
    extensions: &mut ServerExtensions,
) -> anyhow::Result<()> {
    let router = Router::new(Protocol::MINING, Peer::Client);
    while let Some(frame) = connection.next_frame()? {
        let (header, payload) = (frame.header(), frame.payload());
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        match router.route(extension_type, msg_type, payload) {
            // The messages of the specification are known to the router: these two are at the start of each connection.
            Ok(routed) => match &routed.message {
                AnyMessage::ExtensionNegotiation(
                    ExtensionNegotiationMessage::RequestExtensions(request),
                ) => {
                    let answer = extensions.handle_request(policy, request)?;
                    println!("server: answers {}", answer.kind().name);
                    connection.queue_as(answer.kind(), &answer, &[])?;
                }
                message => {
                    let accepted = SetupPolicy::mining().handle_first(message)?;
                    connection.queue(&accepted.message())?;
                }
            },
            // An extension that the router does not know may be ours, if it was agreed upon.
            Err(RouteError::UnknownExtension { extension, .. })
                if extension == COOLING
                    && extensions.is_negotiated(COOLING)
                    && msg_type == Temperature::KIND.msg_type =>
            {
                let report = Temperature::from_bytes(payload).context("malformed Temperature")?;
                println!("server: received {report:?}");
                connection.queue(&fan_for(&report))?;
            }
            // Anything else that is unknown is ignored, as the specification says.
            Err(error) if error.is_ignored() => println!("server: ignores {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// One percent for each degree above room temperature.
fn fan_for(report: &Temperature) -> SetFan {
    let degrees = report.temperature_mk.saturating_sub(COOL_MK) / 1_000;
    SetFan {
        sequence_number: report.sequence_number,
        speed_percent: u8::try_from(degrees.min(100)).unwrap_or(100),
    }
}
