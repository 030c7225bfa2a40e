//! The client: pings, and checks what comes back.

use std::time::Duration;

use anyhow::{Context, ensure};
use binary_sv2::IntoOwned;
use network_helpers_sv2::{ClientSecurity, Connection, Endpoint, Options, connect, random_bytes};

use crate::PingPongArgs;
use crate::messages::{Ping, Pong, read};

/// Random bytes of a ping; up to 255 would fit.
const PING_LEN: usize = 16;

pub(crate) async fn ping(
    server: &Endpoint,
    security: &ClientSecurity,
    args: &PingPongArgs,
) -> anyhow::Result<()> {
    let mut connection = connect(server, security, Options::default()).await?;
    println!("client: connected to {server}");
    let mut ticks = tokio::time::interval(Duration::from_millis(args.every_ms));
    for id in 1..=args.count.unwrap_or(u32::MAX) {
        ticks.tick().await;
        let bytes = random_bytes::<PING_LEN>();
        let ping = Ping {
            id,
            bytes: bytes[..].try_into()?,
        };
        connection
            .queue(&ping)
            .context("the client cannot send a Ping")?;
        println!("client: sent Ping {id}: {}", hex::encode(&ping.bytes));
        let pong = next_pong(&mut connection)
            .await
            .context("the client waited for a Pong")?;
        println!(
            "client: received Pong {}: {}",
            pong.id,
            hex::encode(&pong.bytes)
        );
        ensure!(
            (pong.id, &pong.bytes) == (id, &ping.bytes),
            "the server answered Ping {id} with something else: that is a defect of its code",
        );
    }
    connection.close().await;
    Ok(())
}

async fn next_pong(connection: &mut Connection) -> anyhow::Result<Pong<'static>> {
    loop {
        if let Some(frame) = connection.next_frame()? {
            return Ok(read::<Pong>(&frame)?.into_owned());
        }
        // Writes the ping as well: what is queued leaves at the next wait.
        connection.ready(None).await?;
    }
}
