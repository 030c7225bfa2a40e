//! The client: a device that reports how hot it is, where the server wants to know.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use binary_sv2::{Decodable as _, Message as _};
use common_messages_sv2::CommonMessage;
use const_sv2::{EXTENSION_WORKER_IDENTITY, Protocol};
use network_helpers_sv2::{ClientSecurity, Connection, Endpoint, Options, connect, random_u32};
use roles_logic_sv2::extensions::ClientExtensions;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{self, SetupRequest};

use crate::Args;
use crate::messages::{COOLING, SetFan, Temperature};

/// From 313 K on, 40 degrees more or less.
const COLDEST_MK: u32 = 313_000;
const RANGE_MK: u32 = 40_000;

pub(crate) async fn report(server: &Endpoint, args: &Args) -> anyhow::Result<()> {
    let connected = connect(server, &ClientSecurity::Plain, Options::default()).await;
    let mut connection = connected.map_err(anyhow::Error::msg)?;
    set_up(&mut connection).await?;
    if !agree(&mut connection).await? {
        println!("client: the server does not know the extension; mining goes on without it");
        connection.close().await;
        return Ok(());
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(args.every_ms));
    for sequence_number in 1..=args.count.unwrap_or(u32::MAX) {
        ticks.tick().await;
        let temperature_mk = COLDEST_MK + random_u32() % RANGE_MK;
        let report = Temperature {
            sequence_number,
            temperature_mk,
        };
        println!("client: sends {report:?}");
        connection.queue(&report)?;
        let fan = next_fan(&mut connection).await?;
        println!("client: received {fan:?}");
        ensure!(
            fan.sequence_number == sequence_number,
            "the server answers another report"
        );
    }
    connection.close().await;
    Ok(())
}

/// The first words of every connection.
async fn set_up(connection: &mut Connection) -> anyhow::Result<()> {
    let request = SetupRequest::mining(0);
    connection.queue(&request.message(&setup::Endpoint::default()))?;
    let router = Router::new(Protocol::MINING, Peer::Server);
    let (extension_type, msg_type, payload) = next(connection).await?;
    match router.route(extension_type, msg_type, &payload)?.message {
        AnyMessage::Common(CommonMessage::SetupConnectionSuccess(success)) => {
            request.handle_success(&success)?;
            Ok(())
        }
        other => bail!("{} is no answer to SetupConnection", other.kind().name),
    }
}

/// Asks for extensions before anything else is said; whether ours is agreed upon.
async fn agree(connection: &mut Connection) -> anyhow::Result<bool> {
    let mut extensions = ClientExtensions::new(&[EXTENSION_WORKER_IDENTITY, COOLING], &[]);
    let request = extensions.request().context("there is something to ask")?;
    println!(
        "client: asks for extensions {:#06x} and {COOLING:#06x}",
        EXTENSION_WORKER_IDENTITY
    );
    connection.queue(&request)?;
    let router = Router::new(Protocol::MINING, Peer::Server);
    let (extension_type, msg_type, payload) = next(connection).await?;
    match router.route(extension_type, msg_type, &payload)?.message {
        AnyMessage::ExtensionNegotiation(answer) => extensions.handle_answer(&answer)?,
        other => bail!("{} is no answer to RequestExtensions", other.kind().name),
    };
    let granted = [EXTENSION_WORKER_IDENTITY, COOLING];
    for extension in granted.into_iter().filter(|e| extensions.is_negotiated(*e)) {
        println!("client: {extension:#06x} is agreed upon");
    }
    Ok(extensions.is_negotiated(COOLING))
}

async fn next_fan(connection: &mut Connection) -> anyhow::Result<SetFan> {
    loop {
        let (extension_type, msg_type, payload) = next(connection).await?;
        let kind = SetFan::KIND;
        if (extension_type, msg_type) == (kind.wire_extension_type(), kind.msg_type) {
            return SetFan::from_bytes(&payload).context("malformed SetFan");
        }
    }
}

/// The next frame: extension with the channel bit, type, payload.
async fn next(connection: &mut Connection) -> anyhow::Result<(u16, u8, Vec<u8>)> {
    loop {
        if let Some(frame) = connection.next_frame()? {
            let header = frame.header();
            let payload = frame.payload().to_vec();
            return Ok((header.extension_type(), header.msg_type(), payload));
        }
        connection.ready(None).await?;
    }
}
