//! The server: answers every ping of one client.

use anyhow::Context;
use binary_sv2::IntoOwned;
use network_helpers_sv2::{CloseReason, Connection, Options, ServerSecurity, accept};
use tokio::net::TcpListener;

use crate::messages::{Ping, Pong, read};

pub(crate) async fn serve(listener: &TcpListener, security: &ServerSecurity) -> anyhow::Result<()> {
    let (stream, peer) = listener
        .accept()
        .await
        .context("the server cannot accept a connection")?;
    let mut connection = accept(stream, security, Options::default())
        .await
        .context("the server gave up its client")?;
    println!("server: {peer} has connected");
    loop {
        match connection.ready(None).await {
            Ok(_) => answer(&mut connection).context("the server gave up its client")?,
            Err(CloseReason::PeerClosed) => break,
            Err(reason) => return Err(reason).context("the server lost its client"),
        }
    }
    println!("server: {peer} has gone");
    Ok(())
}

fn answer(connection: &mut Connection) -> anyhow::Result<()> {
    while let Some(frame) = connection.next_frame()? {
        // Owned, because the frame lies in the memory of the connection, which is to take the answer.
        let Ping { id, bytes } = read::<Ping>(&frame)?.into_owned();
        println!("server: received Ping {id}: {}", hex::encode(&bytes));
        connection.queue(&Pong { id, bytes })?;
    }
    Ok(())
}
