//! How new connections are met: the one place of each [`Door`].

use std::sync::Arc;

use network_helpers_sv2::{
    CloseReason, Connection, Options, ServerIdentity, ServerSecurity, accept, random_bytes,
};
use noise_sv2::AuthoritySecretKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::misbehaviour::Door;

/// As long as a server's part of the handshake, so that clients that wait for it have it.
const GIBBERISH_LEN: usize = noise_sv2::ACT2_LEN;

/// What the pool proves itself with, rightly and wrongly.
#[derive(Clone, Debug)]
pub(crate) struct Securities {
    pub(crate) right: ServerSecurity,
    pub(crate) wrong: ServerSecurity,
}

impl Securities {
    /// In the clear there is nothing to get wrong.
    pub(crate) const fn plain() -> Self {
        Self {
            right: ServerSecurity::Plain,
            wrong: ServerSecurity::Plain,
        }
    }

    pub(crate) fn noise(authority: AuthoritySecretKey) -> Self {
        let noise = |authority| {
            let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
            ServerSecurity::Noise(Arc::new(identity))
        };
        Self {
            right: noise(authority),
            wrong: noise(random_authority()),
        }
    }
}

/// A fresh authority.
pub(crate) fn random_authority() -> AuthoritySecretKey {
    loop {
        // Fewer than one in 2^127 numbers is no key.
        if let Ok(key) = AuthoritySecretKey::from_bytes(&random_bytes()) {
            return key;
        }
    }
}

/// Meets a client that has just come.
pub(crate) async fn meet(
    mut stream: TcpStream,
    door: Option<Door>,
    securities: &Securities,
    options: Options,
) -> Result<Connection, CloseReason> {
    match door {
        None => accept(stream, &securities.right, options).await,
        Some(Door::WrongCertificate) => accept(stream, &securities.wrong, options).await,
        Some(Door::Refuse) => Err(CloseReason::Finished),
        Some(Door::Mute) => Err(outlast(&mut stream).await),
        Some(Door::Gibberish) => {
            // A client that is gone already does not need it.
            let _ = stream.write_all(&[0xaa; GIBBERISH_LEN]).await;
            Err(outlast(&mut stream).await)
        }
    }
}

/// Reads and says nothing until the client has had enough.
async fn outlast(stream: &mut TcpStream) -> CloseReason {
    let mut unread = [0; 1024];
    while let Ok(len) = stream.read(&mut unread).await {
        if len == 0 {
            break;
        }
    }
    CloseReason::HandshakeClosed
}
