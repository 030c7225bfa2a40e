//! Against Sv2 servers.

use std::collections::VecDeque;

use binary_sv2::{IntoOwned, Message};
use common_messages_sv2::{
    CommonMessage, Reconnect, SetupConnection, SetupConnectionError, SetupConnectionSuccess,
};
use mining_sv2::{MiningMessage, SubmitSharesError, SubmitSharesSuccess};
use network_helpers_sv2::{ServerSecurity, Wake};

use super::*;
use crate::core::{ANSWER_TIMEOUT, WORK_TIMEOUT};
use crate::course::{LOST_PAUSE_MAX, LOST_PAUSE_MIN, REFUSED_PAUSE_MIN};
use crate::session::FINDS_INTERVAL;
use crate::testing::{CHANNEL, new_prev_hash, standard_job, standard_opened};

const URL: &str =
    "stratum2+tcp://pool.example:3333/9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

fn scene(reachable: fn(&ServerUrl) -> bool) -> Scene {
    super::scene(URL, reachable, Duration::from_secs(1))
}

impl Scene {
    async fn server(&mut self) -> Server {
        Server::new(self.stream().await).await
    }

    /// A server that the device mines for.
    async fn mining(&mut self) -> Server {
        let mut server = self.server().await;
        server.open().await;
        server.give_work(2).await;
        server
    }
}

struct Server(Connection<DuplexStream>);

impl Server {
    async fn new(stream: DuplexStream) -> Self {
        let accepted = Connection::server(stream, &ServerSecurity::Plain, Options::default()).await;
        Self(accepted.unwrap())
    }

    async fn say<M: Message>(&mut self, message: M) {
        self.0.queue(&message).unwrap();
        self.0.flush().await.unwrap();
    }

    async fn say_mining(&mut self, message: MiningMessage<'_>) {
        self.0.queue_as(message.kind(), &message, &[]).unwrap();
        self.0.flush().await.unwrap();
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), CloseReason> {
        loop {
            if let Some(frame) = self.0.next_frame()? {
                return Ok((frame.header().msg_type(), frame.payload().to_vec()));
            }
            assert_eq!(self.0.ready(None).await?, Wake::Readable);
        }
    }

    async fn setup(&mut self) -> SetupConnection<'static> {
        let (msg_type, payload) = self.frame().await.unwrap();
        match CommonMessage::parse(msg_type, &payload).unwrap() {
            CommonMessage::SetupConnection(setup) => setup.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn mining(&mut self) -> Result<MiningMessage<'static>, CloseReason> {
        let (msg_type, payload) = self.frame().await?;
        Ok(MiningMessage::parse(msg_type, &payload)
            .unwrap()
            .into_owned())
    }

    async fn open(&mut self) {
        self.setup().await;
        let success = SetupConnectionSuccess {
            used_version: 2,
            flags: 0,
        };
        self.say(success).await;
        let MiningMessage::OpenStandardMiningChannel(open) = self.mining().await.unwrap() else {
            panic!("a channel is asked for")
        };
        assert_eq!(open.nominal_hash_rate, 1e6);
        self.say_mining(standard_opened(open.request_id, [0xff; 32]))
            .await;
    }

    async fn give_work(&mut self, job_id: u32) {
        self.say_mining(standard_job(job_id, 5)).await;
        self.say_mining(new_prev_hash(job_id)).await;
    }

    /// The sequence number of the next share.
    async fn share(&mut self) -> u32 {
        match self.mining().await.unwrap() {
            MiningMessage::SubmitSharesStandard(share) => share.sequence_number,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn shares_are_sent_and_what_becomes_of_them_is_shown() {
    let mut scene = scene(|_| true);
    let mut server = scene.mining().await;
    for sequence_number in 1..=5 {
        assert_eq!(server.share().await, sequence_number);
    }
    let success = SubmitSharesSuccess {
        channel_id: CHANNEL,
        last_sequence_number: 4,
        new_submits_accepted_count: 4,
        new_shares_sum: 4,
    };
    server.say(success).await;
    let error = SubmitSharesError {
        channel_id: CHANNEL,
        sequence_number: 5,
        error_code: "stale-share".try_into().unwrap(),
    };
    server.say(error).await;
    server.share().await;
    let snapshot = scene.device.snapshot();
    assert!(snapshot.is_connected && snapshot.upstream == URL);
    assert_eq!((snapshot.submitted, snapshot.acknowledged), (6, 4));
    assert_eq!(snapshot.rejected, [("stale-share".to_owned(), 1)].into());
    assert!((snapshot.hashrate - 1000.0).abs() < 250.0, "{snapshot:?}");
    assert_eq!(snapshot.target.unwrap().to_le_bytes(), [0xff; 32]);

    scene.shutdown.drain();
    let MiningMessage::CloseChannel(close) = server.mining().await.unwrap() else {
        panic!("the channel is given back")
    };
    assert_eq!(close.channel_id, CHANNEL);
    assert_eq!(server.mining().await, Err(CloseReason::PeerClosed));
    let watcher = scene.device.watcher();
    scene.device.join().await;
    let last = watcher.snapshot();
    assert!(!last.is_connected && last.hashrate == 0.0);
    assert_eq!((last.reconnects, last.last_failure), (0, None));
}

#[tokio::test(start_paused = true)]
async fn setup_says_where_it_connects_and_who_it_is() {
    let mut scene = scene(|_| true);
    let setup = scene.server().await.setup().await;
    assert_eq!(setup.endpoint_host.as_str(), Some("pool.example"));
    assert_eq!(setup.endpoint_port, 3333);
    let vendor = setup.vendor.as_str().unwrap();
    assert!(vendor.contains("mining-device"), "{vendor}");
}

#[tokio::test(start_paused = true)]
async fn reconnect_leads_elsewhere_under_the_same_authority_and_back() {
    let mut scene = scene(|server| server.host() != "gone.example");
    let home = URL.parse().unwrap();
    let mut server = scene.mining().await;
    server.share().await;
    let ask = |host: &'static str, new_port| Reconnect {
        new_host: host.try_into().unwrap(),
        new_port,
    };
    server.say(ask("other.example", 0)).await;
    let call = scene.call().await;
    let authority = URL.rsplit_once('/').unwrap().1;
    assert_eq!(
        call.server.to_string(),
        format!("stratum2+tcp://other.example:3333/{authority}")
    );

    let mut other = Server::new(call.stream.unwrap()).await;
    other.open().await;
    other.give_work(2).await;
    other.share().await;
    other.say(ask("gone.example", 9)).await;
    let call = scene.call().await;
    assert_eq!(
        (call.server.host(), call.server.port()),
        ("gone.example", 9)
    );
    assert_eq!(scene.call().await.server, home);
    scene.shows(|snapshot| snapshot.reconnects == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_is_tried_for_ever_with_growing_pauses() {
    let mut scene = scene(|_| false);
    let mut pauses = VecDeque::new();
    let mut last = scene.call().await.at;
    for _ in 0..20 {
        let at = scene.call().await.at;
        pauses.push_back(at - last);
        last = at;
    }
    let slack = Duration::from_millis(2);
    assert!(pauses[0] >= LOST_PAUSE_MIN / 2 && pauses[0] <= LOST_PAUSE_MIN + slack);
    assert!(pauses[19] >= LOST_PAUSE_MAX / 2 && pauses[19] <= LOST_PAUSE_MAX + slack);
    let snapshot = scene.device.snapshot();
    assert_eq!(snapshot.last_failure.as_deref(), Some("nobody is there"));
    scene.shutdown.drain();
    scene.device.join().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_shown_with_advice_and_asked_again_after_a_long_pause() {
    let mut scene = scene(|_| true);
    let mut server = scene.server().await;
    server.setup().await;
    let error = SetupConnectionError {
        flags: const_sv2::mining::REQUIRES_STANDARD_JOBS,
        error_code: "unsupported-feature-flags".try_into().unwrap(),
    };
    server.say(error).await;
    let refused_at = Instant::now();
    let again = scene.call().await;
    assert!(again.at - refused_at >= REFUSED_PAUSE_MIN / 2);
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(failure.contains("unsupported-feature-flags"), "{failure}");
    assert!(failure.ends_with("set channel = \"extended\""), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_or_gives_no_work_is_left() {
    let mut scene = scene(|_| true);
    let started = Instant::now();
    let silent = scene.server().await;
    let mut idle = scene.server().await;
    assert!(started.elapsed() >= ANSWER_TIMEOUT);
    drop(silent);
    idle.open().await;
    let opened = Instant::now();
    let next = scene.call().await;
    assert!(next.at - opened >= WORK_TIMEOUT, "{:?}", next.at - opened);
    assert!(next.at - opened < WORK_TIMEOUT * 2);
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(failure.contains("gave no work in time"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_and_garbage_are_survived() {
    let mut scene = scene(|_| true);
    drop(scene.mining().await);
    let mut server = scene.mining().await;
    server.share().await;
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(
        failure.contains("the peer closed the connection"),
        "{failure}"
    );
    server.0.queue_raw(0x8000, 0x21, &[1, 2]).unwrap();
    server.0.flush().await.unwrap();
    let mut server = scene.mining().await;
    let failure = scene.device.snapshot().last_failure.unwrap();
    assert!(failure.contains("malformed SetTarget"), "{failure}");
    // Shares of the new connection are numbered anew.
    assert_eq!(server.share().await, 1);
    assert_eq!(scene.device.snapshot().reconnects, 2);
}

#[tokio::test(start_paused = true)]
async fn finds_without_end_neither_flood_nor_deafen() {
    let mut scene = super::scene(URL, |_| true, Duration::ZERO);
    let mut server = scene.mining().await;
    let started = Instant::now();
    for _ in 0..50 * FINDS_PER_INTERVAL {
        server.share().await;
    }
    assert!(started.elapsed() >= FINDS_INTERVAL * 49);
    server
        .say(Reconnect {
            new_host: "".try_into().unwrap(),
            new_port: 0,
        })
        .await;
    // It was heard, as the device calls again; what had been found by then still arrives.
    scene.call().await;
    while server.mining().await.is_ok() {}
    assert!(started.elapsed() < Duration::from_secs(5));
}
