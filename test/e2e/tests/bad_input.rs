//! Peers that break the rules, all at once, on live programs: each gets the specification's error or a closed connection,
//! each is counted, and an honest miner on the same pool notices nothing.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{B064K, Decodable as _, Message as _, U256};
use bitcoin_node::embedded::EmbeddedNode;
use common_messages_sv2::{SetupConnection, SetupConnectionError, SetupConnectionSuccess};
use const_sv2::{MessageKind, Protocol, error_codes as codes};
use extensions_sv2::{RequestExtensions, RequestExtensionsError};
use mining_sv2::{
    CloseChannel, OpenMiningChannelError, OpenStandardMiningChannel,
    OpenStandardMiningChannelSuccess, SubmitSharesError, SubmitSharesStandard, UpdateChannel,
    UpdateChannelError,
};
use network_helpers_sv2::Options;
use noise_sv2::AuthoritySecretKey;
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use stratum_e2e::panics::PanicWatch;
use stratum_e2e::peer::{Peer, send_raw};
use stratum_e2e::programs::{ANYWHERE, Running, endpoint, pool_config, provider_config, remote};
use stratum_e2e::{PATIENCE, eventually};
use stratum_mining_device::{Config as MinerConfig, MiningDevice};
use stratum_pool::Pool;
use stratum_runtime::{AcceptLimits, Shutdown};
use stratum_template_provider::TemplateProvider;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, RequestTransactionData, RequestTransactionDataError, SubmitSolution,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// For a peer that is silent; those that talk are done long before, however busy the machine.
const SHORT: Duration = Duration::from_secs(3);

/// More than the peers of one table, less than a flood.
const PER_ADDRESS: usize = 64;

const FLOOD: usize = 200;

/// An extension and a message that nobody knows.
const UNKNOWN_EXTENSION: u16 = 0x4242;
const UNKNOWN_MESSAGE: u8 = 0xee;

/// What one peer does, and the counters that must rise by one for it.
struct Case {
    counted: &'static [&'static str],
    attack: Pin<Box<dyn Future<Output = ()> + Send>>,
}

fn case(
    counted: &'static [&'static str],
    attack: impl Future<Output = ()> + Send + 'static,
) -> Case {
    Case {
        counted,
        attack: Box::pin(attack),
    }
}

/// Bytes that look like nothing, the same in every run.
fn garbage(len: usize) -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_with(|| ())
        .scan(7, |state, ()| step(state))
        .take(len)
        .collect()
}

fn setup(protocol: Protocol) -> SetupConnection<'static> {
    SetupRequest::new(protocol, 0).message(&Endpoint::default())
}

async fn set_up(server: SocketAddr, protocol: Protocol) -> Peer {
    let mut peer = Peer::connect(server).await;
    peer.say(&setup(protocol)).await;
    peer.hear(SetupConnectionSuccess::KIND).await;
    peer
}

/// Setup is answered by this error, with the flags that are not honoured, then the connection is closed.
async fn refused(server: SocketAddr, setup: SetupConnection<'static>, error_code: &str) {
    let mut peer = Peer::connect(server).await;
    peer.say(&setup).await;
    let answer = peer.hear(SetupConnectionError::KIND).await;
    let answer = SetupConnectionError::from_bytes(&answer).unwrap();
    assert_eq!(answer.error_code.as_str(), Some(error_code));
    assert_eq!(answer.flags, setup.flags);
    peer.closed().await;
}

/// The connection is still of use: a question is answered. It is about an extension that is not there.
async fn still_served(peer: &mut Peer) {
    let request = RequestExtensions {
        request_id: 7,
        requested_extensions: vec![UNKNOWN_EXTENSION].try_into().unwrap(),
    };
    peer.say(&request).await;
    let answer = peer.hear(RequestExtensionsError::KIND).await;
    let answer = RequestExtensionsError::from_bytes(&answer).unwrap();
    assert_eq!(answer.request_id, 7);
    assert!(answer.unsupported_extensions.iter().eq([UNKNOWN_EXTENSION]));
}

async fn frame_is_ignored(server: SocketAddr, protocol: Protocol, extension: u16, message: u8) {
    let mut peer = set_up(server, protocol).await;
    peer.say_frame(extension, message, &garbage(40)).await;
    still_served(&mut peer).await;
    peer.leave().await;
}

async fn frame_ends_the_connection(mut peer: Peer, kind: MessageKind, payload: &[u8]) {
    peer.say_frame(kind.wire_extension_type(), kind.msg_type, payload)
        .await;
    peer.closed().await;
}

async fn half_a_handshake(server: SocketAddr) {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&garbage(20)).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
}

/// What breaks the rules of bytes and of Noise.
fn against_bytes(server: SocketAddr, protocol: Protocol) -> Vec<Case> {
    let http = format!(
        "GET / HTTP/1.1\r\nhost: pool\r\nuser-agent: {}\r\n\r\n",
        "x".repeat(100)
    );
    vec![
        case(&["closed.handshake_timeout"], send_raw(server, vec![])),
        case(&["closed.handshake_timeout"], send_raw(server, garbage(20))),
        case(&["closed.handshake_closed"], half_a_handshake(server)),
        case(&["closed.undecryptable"], send_raw(server, garbage(4_096))),
        case(&["closed.undecryptable"], send_raw(server, http.into())),
        case(&["closed.undecryptable"], async move {
            let mut peer = Peer::connect(server).await;
            peer.say_bytes(&garbage(100)).await;
            peer.closed().await;
        }),
        case(&["closed.truncated"], async move {
            let mut peer = set_up(server, protocol).await;
            peer.say_bytes(&garbage(10)).await;
            peer.leave().await;
        }),
        case(&["closed.payload_too_long"], async move {
            let mut peer = set_up(server, protocol).await;
            let payload = vec![0; 300 * 1024];
            peer.say_frame(0, UNKNOWN_MESSAGE, &payload).await;
            peer.closed().await;
        }),
    ]
}

/// What breaks the rules that all sub-protocols share.
fn against_common_rules(server: SocketAddr, protocol: Protocol) -> Vec<Case> {
    use codes::setup_connection as refusals;
    let other = match protocol {
        Protocol::MINING => Protocol::TEMPLATE_DISTRIBUTION,
        _ => Protocol::MINING,
    };
    let new_version = SetupConnection {
        min_version: 3,
        max_version: 9,
        ..setup(protocol)
    };
    let new_flags = SetupConnection {
        flags: 1 << 20,
        ..setup(protocol)
    };
    vec![
        case(&["closed.idle", "rejects.setup-timeout"], async move {
            Peer::connect(server).await.closed().await;
        }),
        case(
            &["closed.protocol", "rejects.unsupported-protocol"],
            refused(server, setup(other), refusals::UNSUPPORTED_PROTOCOL),
        ),
        case(
            &["closed.protocol", "rejects.protocol-version-mismatch"],
            refused(server, new_version, refusals::PROTOCOL_VERSION_MISMATCH),
        ),
        case(
            &["closed.protocol", "rejects.unsupported-feature-flags"],
            refused(server, new_flags, refusals::UNSUPPORTED_FEATURE_FLAGS),
        ),
        case(
            &["closed.peer_closed", "rejects.unknown-extension"],
            frame_is_ignored(server, protocol, UNKNOWN_EXTENSION, 0),
        ),
        case(
            &["closed.peer_closed", "rejects.unknown-message"],
            frame_is_ignored(server, protocol, 0, UNKNOWN_MESSAGE),
        ),
        case(
            &["closed.protocol", "rejects.wrong-direction"],
            async move {
                let peer = set_up(server, protocol).await;
                frame_ends_the_connection(peer, SetupConnectionSuccess::KIND, &[0; 6]).await;
            },
        ),
    ]
}

fn against_any_server(server: SocketAddr, protocol: Protocol) -> impl Iterator<Item = Case> {
    let bytes = against_bytes(server, protocol);
    bytes
        .into_iter()
        .chain(against_common_rules(server, protocol))
}

fn open(user_identity: &str) -> OpenStandardMiningChannel<'static> {
    OpenStandardMiningChannel {
        request_id: 5,
        user_identity: user_identity.to_owned().try_into().unwrap(),
        nominal_hash_rate: 1e12,
        max_target: U256([0xff; 32]),
    }
}

fn share(channel_id: u32, job_id: u32) -> SubmitSharesStandard {
    SubmitSharesStandard {
        channel_id,
        sequence_number: 3,
        job_id,
        nonce: 0,
        ntime: 0,
        version: 0,
    }
}

async fn share_is_refused(peer: &mut Peer, share: SubmitSharesStandard, error_code: &str) {
    peer.say(&share).await;
    let answer = peer.hear(SubmitSharesError::KIND).await;
    let answer = SubmitSharesError::from_bytes(&answer).unwrap();
    assert_eq!(
        (answer.channel_id, answer.sequence_number),
        (share.channel_id, 3)
    );
    assert_eq!(answer.error_code.as_str(), Some(error_code));
}

async fn open_is_refused(server: SocketAddr, user_identity: &str) {
    let mut peer = set_up(server, Protocol::MINING).await;
    peer.say(&open(user_identity)).await;
    let answer = peer.hear(OpenMiningChannelError::KIND).await;
    let answer = OpenMiningChannelError::from_bytes(&answer).unwrap();
    let code = codes::open_mining_channel::INVALID_USER_IDENTITY;
    assert_eq!(answer.error_code.as_str(), Some(code));
    assert_eq!(answer.request_id, 5);
    peer.leave().await;
}

/// Closing a channel that is not there is passed over, updating it is answered.
async fn channel_is_unknown(server: SocketAddr) {
    let mut peer = set_up(server, Protocol::MINING).await;
    let close = CloseChannel {
        channel_id: 999,
        reason_code: "".try_into().unwrap(),
    };
    peer.say(&close).await;
    let update = UpdateChannel {
        channel_id: 999,
        nominal_hash_rate: 1.0,
        maximum_target: U256([0xff; 32]),
    };
    peer.say(&update).await;
    let answer = peer.hear(UpdateChannelError::KIND).await;
    let answer = UpdateChannelError::from_bytes(&answer).unwrap();
    let code = codes::update_channel::INVALID_CHANNEL_ID;
    assert_eq!(answer.error_code.as_str(), Some(code));
    assert_eq!(answer.channel_id, 999);
    peer.leave().await;
}

/// What breaks the rules of mining.
fn against_the_pool(server: SocketAddr) -> Vec<Case> {
    const MINING: Protocol = Protocol::MINING;
    vec![
        case(&["closed.idle", "rejects.no-channel"], async move {
            set_up(server, MINING).await.closed().await;
        }),
        case(
            &["closed.protocol", "rejects.message-before-setup"],
            async move {
                let mut peer = Peer::connect(server).await;
                peer.say(&open("early")).await;
                peer.closed().await;
            },
        ),
        case(
            &["closed.protocol", "rejects.message-out-of-place"],
            async move {
                let mut peer = set_up(server, MINING).await;
                peer.say(&setup(MINING)).await;
                peer.closed().await;
            },
        ),
        case(
            &["closed.protocol", "rejects.malformed-message"],
            async move {
                let peer = set_up(server, MINING).await;
                frame_ends_the_connection(peer, OpenStandardMiningChannel::KIND, &[1, 2, 3]).await;
            },
        ),
        case(
            &["closed.peer_closed", "rejects.open-refused"],
            open_is_refused(server, "sri/solo/bcrt1nobody/rig"),
        ),
        case(
            &[
                "closed.peer_closed",
                "rejects.update-refused",
                "rejects.close-of-unknown-channel",
            ],
            channel_is_unknown(server),
        ),
        case(
            &["closed.peer_closed", "shares.invalid-channel-id"],
            async move {
                let mut peer = set_up(server, MINING).await;
                let code = codes::submit_shares::INVALID_CHANNEL_ID;
                share_is_refused(&mut peer, share(999, 1), code).await;
                still_served(&mut peer).await;
                peer.leave().await;
            },
        ),
        case(
            &["closed.peer_closed", "shares.invalid-job-id"],
            async move {
                let mut peer = set_up(server, MINING).await;
                peer.say(&open("rig")).await;
                let opened = peer.hear(OpenStandardMiningChannelSuccess::KIND).await;
                let opened = OpenStandardMiningChannelSuccess::from_bytes(&opened).unwrap();
                let share = share(opened.channel_id, u32::MAX);
                share_is_refused(&mut peer, share, codes::submit_shares::INVALID_JOB_ID).await;
                peer.leave().await;
            },
        ),
    ]
}

/// What breaks the rules of template distribution.
fn against_the_provider(server: SocketAddr) -> Vec<Case> {
    const TEMPLATES: Protocol = Protocol::TEMPLATE_DISTRIBUTION;
    let constraints = |size| CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: size,
        coinbase_output_max_additional_sigops: 0,
    };
    vec![
        case(
            &["closed.idle", "rejects.constraints-timeout"],
            async move {
                set_up(server, TEMPLATES).await.closed().await;
            },
        ),
        case(&["closed.protocol", "rejects.out-of-order"], async move {
            let mut peer = Peer::connect(server).await;
            peer.say(&constraints(43)).await;
            peer.closed().await;
        }),
        case(&["closed.protocol", "rejects.out-of-order"], async move {
            let mut peer = set_up(server, TEMPLATES).await;
            peer.say(&setup(TEMPLATES)).await;
            peer.closed().await;
        }),
        case(&["closed.protocol", "rejects.malformed"], async move {
            let peer = set_up(server, TEMPLATES).await;
            frame_ends_the_connection(peer, CoinbaseOutputConstraints::KIND, &[1]).await;
        }),
        case(
            &["closed.protocol", "rejects.constraints-too-large"],
            async move {
                let mut peer = set_up(server, TEMPLATES).await;
                peer.say(&constraints(u32::MAX)).await;
                peer.closed().await;
            },
        ),
        case(
            &["closed.peer_closed", "rejects.template-id-not-found"],
            async move {
                let mut peer = set_up(server, TEMPLATES).await;
                peer.say(&RequestTransactionData {
                    template_id: u64::MAX,
                })
                .await;
                let answer = peer.hear(RequestTransactionDataError::KIND).await;
                let answer = RequestTransactionDataError::from_bytes(&answer).unwrap();
                let code = codes::request_transaction_data::TEMPLATE_ID_NOT_FOUND;
                assert_eq!(answer.error_code.as_str(), Some(code));
                peer.leave().await;
            },
        ),
        case(
            &["closed.peer_closed", "solutions.unknown-template"],
            async move {
                let mut peer = set_up(server, TEMPLATES).await;
                let solution = SubmitSolution {
                    template_id: u64::MAX,
                    version: 0,
                    header_timestamp: 0,
                    header_nonce: 0,
                    coinbase_tx: B064K::try_from(garbage(60)).unwrap(),
                };
                peer.say(&solution).await;
                still_served(&mut peer).await;
                peer.leave().await;
            },
        ),
    ]
}

type Counts = BTreeMap<String, u64>;

fn flatten<'a>(
    parts: impl IntoIterator<Item = (&'a str, &'a BTreeMap<&'static str, u64>)>,
) -> Counts {
    let parts = parts.into_iter();
    let named = parts.flat_map(|(part, counts)| {
        counts
            .iter()
            .map(move |(name, count)| (format!("{part}.{name}"), *count))
    });
    named.collect()
}

fn counts_of_pool(pool: &Pool) -> Counts {
    let snapshot = pool.snapshot();
    let shares = &snapshot.shares_rejected;
    let mut counts = flatten([
        ("closed", &snapshot.closed),
        ("rejects", &snapshot.rejects),
        ("shares", shares),
    ]);
    // The honest miner's own, now and then: its share crossed a new tip.
    counts.remove("shares.stale-share");
    counts
}

fn counts_of_provider(provider: &TemplateProvider) -> Counts {
    let snapshot = provider.snapshot();
    let solutions = &snapshot.hub.solutions_refused;
    let mut counts = flatten([
        ("closed", &snapshot.closed),
        ("rejects", &snapshot.rejects),
        ("solutions", solutions),
    ]);
    // The hub's count is there even when the client has left before the answer.
    counts.remove("rejects.unknown-template");
    counts
}

/// Runs all cases at once and gives what must be counted for them.
async fn run(cases: impl IntoIterator<Item = Case>) -> Counts {
    let (mut expected, mut attacks) = (Counts::new(), JoinSet::new());
    for case in cases {
        for name in case.counted {
            *expected.entry((*name).to_owned()).or_default() += 1;
        }
        attacks.spawn(case.attack);
    }
    while let Some(done) = attacks.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    expected
}

fn limits() -> AcceptLimits {
    AcceptLimits {
        per_address: PER_ADDRESS,
        ..AcceptLimits::default()
    }
}

struct Stack {
    provider: Running<TemplateProvider>,
    pool: Running<Pool>,
    miner: Running<MiningDevice>,
}

impl Stack {
    fn start() -> Self {
        let mut config = provider_config(ANYWHERE);
        config.accept = limits();
        config.limits.setup_timeout = SHORT;
        config.limits.constraints_timeout = SHORT;
        let provider = Running::provider(config, Arc::new(EmbeddedNode::default()));
        let mut config = pool_config(ANYWHERE, PAYEE);
        config.accept = limits();
        config.threads = NonZeroUsize::new(1);
        config.connection = Options {
            handshake_timeout: SHORT,
            ..config.connection
        };
        config.pool.deadlines.setup = SHORT;
        config.pool.deadlines.first_channel = SHORT;
        let pool = Running::pool(config, remote(provider.program.local_addr()));
        let server = pool.program.local_addr();
        let miner = Running::miner(server, ChannelKind::Standard, "honest");
        Self {
            provider,
            pool,
            miner,
        }
    }

    /// Waits until the honest miner has earned something more.
    async fn mining_goes_on(&self) {
        let acknowledged = async || self.miner.program.snapshot().acknowledged;
        let before = acknowledged().await;
        eventually("mining goes on", acknowledged, |now| *now > before).await;
    }

    /// The honest miner and the pool kept the only connection they ever had.
    async fn stop_undisturbed(self) {
        let snapshot = self.miner.program.snapshot();
        assert_eq!(
            (snapshot.reconnects, &snapshot.last_failure),
            (0, &None),
            "{snapshot:#?}"
        );
        assert!(snapshot.anomalies.is_empty(), "{snapshot:#?}");
        let panics = (
            self.pool.program.snapshot().panics,
            self.provider.program.snapshot().panics,
        );
        assert_eq!(panics, (0, 0));
        let source = self.pool.program.snapshot().source;
        assert_eq!(
            (source.is_connected, source.failures),
            (true, 0),
            "{source:#?}"
        );
        self.miner.stop().await;
        self.pool.stop().await;
        self.provider.stop().await;
    }
}

/// All of them share one core with the honest miner's connection.
#[tokio::test(flavor = "multi_thread")]
async fn each_breach_is_answered_and_counted_and_others_notice_nothing() {
    let panics = PanicWatch::new();
    let stack = Stack::start();
    stack.mining_goes_on().await;
    let (pool, provider) = (&stack.pool.program, &stack.provider.program);
    let (server, other) = (pool.local_addr(), provider.local_addr());

    let any = against_any_server(server, Protocol::MINING);
    let on_pool = any.chain(against_the_pool(server));
    let any = against_any_server(other, Protocol::TEMPLATE_DISTRIBUTION);
    let on_provider = any.chain(against_the_provider(other));
    let honest = async {
        for _ in 0..4 {
            stack.mining_goes_on().await;
        }
    };
    let (on_pool, on_provider, ()) = tokio::join!(run(on_pool), run(on_provider), honest);
    let counts = async || counts_of_pool(pool);
    eventually(&format!("{on_pool:#?}"), counts, |counts| {
        *counts == on_pool
    })
    .await;
    let counts = async || counts_of_provider(provider);
    eventually(&format!("{on_provider:#?}"), counts, |counts| {
        *counts == on_provider
    })
    .await;

    stack.mining_goes_on().await;
    stack.stop_undisturbed().await;
    panics.assert_none();
}

/// What a server counts at its door: connections let in, connections over the limit of their address.
async fn flood(server: SocketAddr, door: impl Fn() -> (u64, u64)) {
    let (accepted, refused) = door();
    let mut streams = Vec::new();
    for _ in 0..FLOOD {
        streams.push(TcpStream::connect(server).await.unwrap());
    }
    // Those over the limit are closed at once, the others when their time for the handshake is over.
    for mut stream in streams {
        let closed = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
        assert_eq!(closed.unwrap().unwrap_or(0), 0);
    }
    let (let_in, turned_away) = (door().0 - accepted, door().1 - refused);
    assert_eq!(let_in + turned_away, FLOOD as u64);
    // More than the limit at one time are let in only if the first leave before the last come.
    assert!(
        turned_away as usize >= FLOOD - 2 * PER_ADDRESS,
        "{turned_away}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_is_turned_away_and_others_notice_nothing() {
    let panics = PanicWatch::new();
    let stack = Stack::start();
    stack.mining_goes_on().await;
    let (pool, provider) = (&stack.pool.program, &stack.provider.program);
    let of_address =
        |refused: BTreeMap<&'static str, u64>| refused.get("address_limit").copied().unwrap_or(0);
    let on_pool = flood(pool.local_addr(), || {
        let snapshot = pool.snapshot();
        (snapshot.accepted, of_address(snapshot.refused))
    });
    let on_provider = flood(provider.local_addr(), || {
        let snapshot = provider.snapshot();
        (snapshot.accepted, of_address(snapshot.refused))
    });
    let honest = async {
        for _ in 0..4 {
            stack.mining_goes_on().await;
        }
    };
    tokio::join!(on_pool, on_provider, honest);
    let inside = async || (pool.snapshot().connections, provider.snapshot().connections);
    eventually("only the honest are left", inside, |inside| {
        *inside == (1, 1)
    })
    .await;
    stack.mining_goes_on().await;
    stack.stop_undisturbed().await;
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_a_message_at_start() {
    let stack = Stack::start();
    let taken = stack.provider.program.local_addr();
    let started = Pool::start(pool_config(taken, PAYEE), remote(taken), Shutdown::new());
    let error = started.unwrap_err();
    let expected = format!("port {} is in use by another program", taken.port());
    assert!(error.to_string().contains(&expected), "{error}");
    stack.mining_goes_on().await;
    stack.stop_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_another_authority_is_not_mined_for() {
    let stack = Stack::start();
    let other = AuthoritySecretKey::from_bytes(&[4; 32]).unwrap();
    let mut pool = endpoint(stack.pool.program.local_addr());
    pool.authority = Some(other.public_key());
    let shutdown = Shutdown::new();
    let device = MiningDevice::start(MinerConfig::new(pool), shutdown.clone());
    let failure = async || device.snapshot().last_failure;
    let failure = eventually("the miner complains", failure, Option::is_some).await;
    assert!(failure.unwrap().contains("check the authority key"));
    assert_eq!(device.snapshot().hashes, 0);
    shutdown.drain();
    device.join().await;
    stack.stop_undisturbed().await;
}
