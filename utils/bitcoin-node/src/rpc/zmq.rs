//! Tips as the node publishes them over ZMQ.

use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeromq::{Socket as _, SocketEvent, SocketRecv as _, SubSocket, ZmqMessage};

/// Deadline for the connection to a publisher.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a publisher sends for each new tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The block's hash.
    HashBlock,
    /// The whole block, of which the header is read.
    RawBlock,
}

impl Topic {
    const fn name(self) -> &'static str {
        match self {
            Self::HashBlock => "hashblock",
            Self::RawBlock => "rawblock",
        }
    }
}

/// One line of getzmqnotifications.
#[derive(Clone, Debug, Deserialize)]
pub struct Notification {
    /// `pubhashblock`, `pubrawblock`, or others that do not matter here.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the node listens, as in `tcp://0.0.0.0:28332`.
    pub address: String,
}

/// The publisher to follow: the hash where there is a choice, because a whole block takes longer to send than one question takes.
/// An address that stands for all interfaces is replaced by `host`.
pub fn choose(notifications: &[Notification], host: &str) -> Option<(Topic, String)> {
    [Topic::HashBlock, Topic::RawBlock]
        .into_iter()
        .find_map(|topic| {
            let of_topic = |notification: &&Notification| {
                notification.kind.strip_prefix("pub") == Some(topic.name())
            };
            notifications
                .iter()
                .filter(of_topic)
                .find_map(|notification| Some((topic, reachable(&notification.address, host)?)))
        })
}

fn reachable(address: &str, host: &str) -> Option<String> {
    let (listen_host, port) = address.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = match listen_host {
        "0.0.0.0" | "*" | "[::]" if host.contains(':') => format!("[{host}]"),
        "0.0.0.0" | "*" | "[::]" => host.to_owned(),
        other => other.to_owned(),
    };
    Some(format!("tcp://{host}:{port}"))
}

/// A new tip, as far as its message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TipSignal {
    /// Only its hash, 32 raw bytes.
    Hash([u8; 32]),
    /// Its header.
    Header(Header),
}

/// A subscription. Only the newest tip is kept: who is late skips the ones between.
#[derive(Debug)]
pub struct ZmqTips {
    signals: watch::Receiver<Option<TipSignal>>,
    task: JoinHandle<()>,
}

impl Drop for ZmqTips {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ZmqTips {
    /// Subscribes; `None` when the publisher cannot be reached.
    pub async fn connect(topic: Topic, address: &str) -> Option<Self> {
        let mut socket = SubSocket::new();
        let subscribed = async {
            socket.connect(address).await?;
            socket.subscribe(topic.name()).await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, subscribed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(address, %error, "cannot subscribe to the node's ZMQ, long poll is used meanwhile");
                return None;
            }
            Err(_) => {
                tracing::warn!(
                    address,
                    "no answer from the node's ZMQ, long poll is used meanwhile"
                );
                return None;
            }
        }
        let (sender, signals) = watch::channel(None);
        Some(Self {
            signals,
            task: tokio::spawn(forward(socket, topic, sender)),
        })
    }

    /// The next tip; `None` when the connection is lost.
    pub async fn next(&mut self) -> Option<TipSignal> {
        loop {
            self.signals.changed().await.ok()?;
            if let Some(signal) = *self.signals.borrow_and_update() {
                return Some(signal);
            }
        }
    }
}

/// Ends, and drops the sender, when the publisher goes away.
async fn forward(mut socket: SubSocket, topic: Topic, sender: watch::Sender<Option<TipSignal>>) {
    let mut events = socket.monitor();
    let mut sequence = None;
    loop {
        tokio::select! {
            event = events.recv() => {
                if matches!(event, Err(_) | Ok(SocketEvent::Disconnected(_) | SocketEvent::Closed)) {
                    return;
                }
            }
            message = socket.recv() => {
                let Ok(message) = message else { return };
                let Some((signal, number)) = read(topic, &message) else {
                    tracing::warn!(topic = topic.name(), "the node's ZMQ sent a message that is no tip");
                    continue;
                };
                if sequence.is_some_and(|last: u32| last.wrapping_add(1) != number) {
                    tracing::warn!(topic = topic.name(), "the node's ZMQ skipped messages");
                }
                sequence = Some(number);
                sender.send_replace(Some(signal));
            }
        }
    }
}

/// Three parts: topic, body, and a number that counts messages (4 bytes, little-endian).
fn read(topic: Topic, message: &ZmqMessage) -> Option<(TipSignal, u32)> {
    if message.get(0)?.as_ref() != topic.name().as_bytes() {
        return None;
    }
    let body = message.get(1)?;
    let number = u32::from_le_bytes(message.get(2)?.as_ref().try_into().ok()?);
    let signal = match topic {
        Topic::HashBlock => {
            let mut hash: [u8; 32] = body.as_ref().try_into().ok()?;
            // The node publishes the hash in the order in which it is displayed.
            hash.reverse();
            TipSignal::Hash(hash)
        }
        Topic::RawBlock => TipSignal::Header(deserialize(body.get(..Header::SIZE)?).ok()?),
    };
    Some((signal, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(kind: &str, address: &str) -> Notification {
        Notification {
            kind: kind.to_owned(),
            address: address.to_owned(),
        }
    }

    #[test]
    fn chooses_a_tip_publisher_that_can_be_reached() {
        let raw = notification("pubrawblock", "tcp://127.0.0.1:2");
        let hash = notification("pubhashblock", "tcp://0.0.0.0:1");
        let other = notification("pubrawtx", "tcp://127.0.0.1:3");
        assert_eq!(
            choose(&[other.clone(), raw.clone(), hash.clone()], "10.0.0.1"),
            Some((Topic::HashBlock, "tcp://10.0.0.1:1".to_owned()))
        );
        assert_eq!(
            choose(&[hash], "::1"),
            Some((Topic::HashBlock, "tcp://[::1]:1".to_owned()))
        );
        assert_eq!(
            choose(&[notification("pubhashblock", "ipc:///tmp/x"), raw], "a"),
            Some((Topic::RawBlock, "tcp://127.0.0.1:2".to_owned()))
        );
        assert_eq!(choose(&[other], "a"), None);
    }

    #[test]
    fn reads_messages_and_refuses_nonsense() {
        let message = |parts: [&[u8]; 3]| {
            let mut message = ZmqMessage::from(parts[0].to_vec());
            message.push_back(parts[1].to_vec().into());
            message.push_back(parts[2].to_vec().into());
            message
        };
        let mut displayed = [0; 32];
        displayed[31] = 7;
        let mut raw = [0; 32];
        raw[0] = 7;
        let good = message([b"hashblock", &displayed, &5_u32.to_le_bytes()]);
        assert_eq!(
            read(Topic::HashBlock, &good),
            Some((TipSignal::Hash(raw), 5))
        );
        assert_eq!(read(Topic::RawBlock, &good), None);
        assert_eq!(
            read(
                Topic::HashBlock,
                &message([b"hashblock", &displayed[1..], &[0; 4]])
            ),
            None
        );
        assert_eq!(
            read(
                Topic::HashBlock,
                &message([b"hashblock", &displayed, &[0; 3]])
            ),
            None
        );
        assert_eq!(
            read(Topic::RawBlock, &message([b"rawblock", &[1; 79], &[0; 4]])),
            None
        );
        assert_eq!(read(Topic::HashBlock, &ZmqMessage::from("hashblock")), None);
    }
}
