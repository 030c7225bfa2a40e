//! A client that says what it is told to, right or wrong.

use std::net::SocketAddr;

use binary_sv2::Message;
use const_sv2::MessageKind;
use network_helpers_sv2::{CloseReason, Connection, Options, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::programs::{client_security, endpoint};

/// A connection to a server under test, after its handshake.
pub struct Peer(Connection);

impl Peer {
    /// Connects and shakes hands.
    ///
    /// # Panics
    /// When the server does not.
    pub async fn connect(server: SocketAddr) -> Self {
        let connected = connect(&endpoint(server), &client_security(), Options::default()).await;
        Self(connected.expect("the server shakes hands"))
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn say<M: Message>(&mut self, message: &M) {
        self.0.queue(message).expect("a message that can be sent");
        self.0.flush().await.expect("the server reads");
    }

    /// Sends any frame; `extension_type` with the channel bit.
    ///
    /// # Panics
    /// When the frame cannot be queued. A server that hangs up meanwhile is no failure.
    pub async fn say_frame(&mut self, extension_type: u16, msg_type: u8, payload: &[u8]) {
        let queued = self.0.queue_raw(extension_type, msg_type, payload);
        queued.expect("a frame that can be sent");
        let _ = self.0.flush().await;
    }

    /// Sends bytes past the encryption, as many as go at once.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        let stream = self.0.stream();
        stream.writable().await.expect("the server is there");
        stream.try_write(bytes).expect("the server reads");
    }

    /// The payload of the next message of this kind; others are passed over.
    ///
    /// # Panics
    /// When the connection ends before, or none comes in time.
    pub async fn hear(&mut self, kind: MessageKind) -> Vec<u8> {
        let wait = async {
            loop {
                while let Some(frame) = self.0.next_frame()? {
                    if frame.header().msg_type() == kind.msg_type {
                        return Ok::<_, CloseReason>(frame.payload().to_vec());
                    }
                }
                self.0.ready(None).await?;
            }
        };
        let heard = timeout(PATIENCE, wait).await;
        let heard = heard.unwrap_or_else(|_| panic!("no {} in time", kind.name));
        heard.unwrap_or_else(|reason| panic!("no {}: {reason}", kind.name))
    }

    /// Ends the connection as a client does that has no more to say.
    pub async fn leave(self) {
        self.0.close().await;
    }

    /// Waits until the server closes the connection; what it says before is passed over.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn closed(mut self) {
        let wait = async {
            loop {
                while let Ok(Some(_)) = self.0.next_frame() {}
                if self.0.ready(None).await.is_err() {
                    return;
                }
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.expect("the server closes the connection");
    }
}

/// Connects without a handshake, sends `bytes`, and waits until the server closes the connection.
///
/// # Panics
/// When it does not in time.
pub async fn send_raw(server: SocketAddr, bytes: Vec<u8>) {
    let mut stream = TcpStream::connect(server)
        .await
        .expect("the server is there");
    // A server that hangs up meanwhile is what is waited for.
    let _ = stream.write_all(&bytes).await;
    let mut ignored = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut ignored)).await;
    assert!(
        closed.is_ok(),
        "the server keeps a connection without a handshake"
    );
}
