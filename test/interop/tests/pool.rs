//! The peer as a miner of our pool.

use std::net::TcpListener;
use std::thread;

use sri::bitcoin::Target;
use sri::channels_sv2::VERSION_ROLLING_MASK;
use sri::channels_sv2::client::share_accounting::{ShareValidationError, ShareValidationResult};
use sri::common_messages_sv2::{self as common, Protocol};
use sri::extensions_sv2::{RequestExtensionsOwned, UserIdentity};
use sri::mining_sv2::{self as mining, UpdateChannelOwned};
use sri::parsers_sv2::{
    AnyMessageOwned, CommonMessagesOwned, ExtensionsNegotiationOwned, ExtensionsOwned, MiningOwned,
    TlvField as _, TlvList,
};
use stratum_interop::client::{Channel, Client, REQUIRES_STANDARD_JOBS, Share, Wanted};
use stratum_interop::ours::{Home, authority};
use stratum_interop::peer::{Peer, setup_connection};
use stratum_interop::pool::provide_hard_work;
use stratum_interop::work::Candidate;
use stratum_pool::Pool;

/// Flag of `SetupConnection`: the client brings its own jobs.
const REQUIRES_WORK_SELECTION: u32 = 2;

/// Extension with the identity of a worker in each share.
const WORKER_IDENTITY: u16 = 0x0002;

/// An extension that nobody has.
const UNKNOWN_EXTENSION: u16 = 0x7abc;

fn connect(pool: &Pool) -> Peer {
    Peer::connect(pool.local_addr(), authority())
}

fn client(pool: &Pool, flags: u32) -> Client {
    Client::set_up(connect(pool), flags)
}

#[test]
fn the_peer_trusts_our_certificate_and_no_other() {
    let home = Home::default();
    let pool = home.start_pool();
    connect(&pool);
    let stranger = noise_sv2::AuthoritySecretKey::from_bytes(&[4; 32]).unwrap();
    let refused = Peer::try_connect(pool.local_addr(), stranger.public_key().to_bytes());
    assert!(refused.is_err());
}

#[test]
fn setup_is_answered_as_the_peer_expects() {
    let home = Home::default();
    let pool = home.start_pool();

    let success = connect(&pool)
        .set_up(Protocol::MiningProtocol, REQUIRES_STANDARD_JOBS)
        .unwrap();
    assert_eq!((success.used_version, success.flags), (2, 0));

    let error = connect(&pool)
        .set_up(Protocol::TemplateDistributionProtocol, 0)
        .unwrap_err();
    assert_eq!(
        error.error_code.as_utf8_or_hex(),
        common::ERROR_CODE_SETUP_CONNECTION_UNSUPPORTED_PROTOCOL
    );

    let mut newer = setup_connection(Protocol::MiningProtocol, 0);
    (newer.min_version, newer.max_version) = (3, 3);
    let mut peer = connect(&pool);
    let error = peer.set_up_with(newer).unwrap_err();
    assert_eq!(
        error.error_code.as_utf8_or_hex(),
        common::ERROR_CODE_SETUP_CONNECTION_PROTOCOL_VERSION_MISMATCH
    );
    assert!(
        peer.try_receive().is_none(),
        "the connection ends after its error"
    );
}

#[test]
fn standard_channels_mine_blocks() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, REQUIRES_STANDARD_JOBS);
    let channels = [client.open_standard("alice"), client.open_standard("bob")];
    for channel_id in [channels, channels].concat() {
        mine_block(&mut client, channel_id);
    }
    for channel_id in channels {
        let accounting = client.channels[&channel_id].accounting();
        assert_eq!(accounting.get_acknowledged_shares(), 2);
    }
    wait_for_height(&home, 4);
    assert_eq!(pool.snapshot().shares_accepted, 4);
}

#[test]
fn an_extended_channel_mines_blocks() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    let channel_id = client.open_extended("alice");
    for _ in 0..3 {
        mine_block(&mut client, channel_id);
    }
    wait_for_height(&home, 3);
    let accounting = client.channels[&channel_id].accounting();
    assert_eq!(accounting.get_acknowledged_shares(), 3);
    assert_eq!(accounting.get_blocks_found(), 3);
}

/// One job for a group when the mempool changes, one `SetNewPrevHash` for it when the tip does; all members mine on it.
#[test]
fn a_group_shares_its_jobs() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    let channels = [
        client.open_extended("alice"),
        client.open_standard("bob"),
        client.open_extended("carol"),
    ];
    let groups: Vec<u32> = client.groups.keys().copied().collect();
    let [group_id] = groups[..] else {
        panic!("all channels are in one group: {groups:?}")
    };
    client.drained();

    home.add_transaction();
    let job = client.until(|message| match message {
        MiningOwned::NewExtendedMiningJob(job) => Some(job.clone()),
        _ => None,
    });
    assert_eq!(job.channel_id, group_id);
    assert_eq!(job.merkle_path.len(), 1);
    assert!(job.min_ntime.as_ref().is_some());
    assert_eq!(kinds(client.drained()), Kinds::default(), "and no more");
    for channel_id in channels {
        assert_eq!(client.channels[&channel_id].active_job(), Some(job.job_id));
    }

    home.find_block();
    let mut seen = Kinds::default();
    while seen.tips_for(group_id) == 0 {
        let message = client.receive();
        seen.add(message);
    }
    seen.extend(client.drained());
    assert_eq!(seen.tips, vec![group_id]);
    assert!(seen.jobs.iter().all(|id| *id == group_id), "{seen:?}");

    for channel_id in channels {
        mine_block(&mut client, channel_id);
    }
    wait_for_height(&home, 4);
}

/// Whom jobs and tips were for.
#[derive(Debug, Default, PartialEq)]
struct Kinds {
    jobs: Vec<u32>,
    tips: Vec<u32>,
}

impl Kinds {
    fn add(&mut self, message: MiningOwned) {
        match message {
            MiningOwned::NewMiningJob(job) => self.jobs.push(job.channel_id),
            MiningOwned::NewExtendedMiningJob(job) => self.jobs.push(job.channel_id),
            MiningOwned::SetNewPrevHash(tip) => self.tips.push(tip.channel_id),
            _ => {}
        }
    }

    fn extend(&mut self, messages: Vec<MiningOwned>) {
        messages.into_iter().for_each(|message| self.add(message));
    }

    fn tips_for(&self, id: u32) -> usize {
        self.tips.iter().filter(|tip| **tip == id).count()
    }
}

fn kinds(messages: Vec<MiningOwned>) -> Kinds {
    let mut kinds = Kinds::default();
    kinds.extend(messages);
    kinds
}

/// A client that requires standard jobs gets each job and tip once a channel.
#[test]
fn standard_jobs_go_to_each_channel() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, REQUIRES_STANDARD_JOBS);
    let mut channels = vec![client.open_standard("alice"), client.open_standard("bob")];
    channels.sort_unstable();
    client.drained();
    home.add_transaction();
    let mut seen = Kinds::default();
    while seen.jobs.len() < channels.len() {
        let message = client.receive();
        seen.add(message);
    }
    seen.extend(client.drained());
    seen.jobs.sort_unstable();
    assert_eq!((seen.jobs, seen.tips), (channels, vec![]));
}

/// The peer is both ends of our pool: it provides the template, whose tip is too hard for blocks, and it mines.
#[test]
fn shares_are_acknowledged_together() {
    const SHARES: u32 = 12;
    let home = Home::default();
    let provider = home.start_template_provider().local_addr();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pool = home.start_pool_at(listener.local_addr().unwrap());
    let provider = thread::spawn(move || provide_hard_work(&listener, provider));

    let mut client = client(&pool, 0);
    let channel_id = client.open_extended("alice");
    let shares: Vec<Share> = (0..SHARES)
        .map(|_| client.find(channel_id, Wanted::Share))
        .collect();
    for share in &shares {
        let valid = client.validate(share).unwrap();
        assert!(matches!(valid, ShareValidationResult::Valid(_)));
    }
    let together = shares.iter().cloned().map(Into::into);
    client.peer.send_together(together);
    let mut acks = 0;
    while client.verdict().unwrap() < SHARES {
        acks += 1;
    }
    assert!(acks < SHARES / 2, "{acks} answers before the last");
    let accounting = client.channels[&channel_id].accounting();
    assert_eq!(accounting.get_acknowledged_shares(), SHARES);
    assert_eq!(accounting.get_blocks_found(), 0);

    client.peer.send(shares[0].clone());
    let (_, code) = client.verdict().unwrap_err();
    assert_eq!(code, mining::ERROR_CODE_SUBMIT_SHARES_DUPLICATE_SHARE);
    assert_eq!(pool.snapshot().shares_accepted, u64::from(SHARES));

    drop(client);
    home.drain();
    home.runtime.block_on(pool.join());
    let constraints = provider.join().expect("the peer finds nothing wrong");
    assert!(constraints.coinbase_output_max_additional_size >= 10);
}

/// The peer refuses the same shares for the same reasons, in the same words.
#[test]
fn bad_shares_are_refused_as_the_peer_would() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    let channel_id = client.open_extended("alice");
    client.drained();

    let old = client.find(channel_id, Wanted::NoShare);
    let tips = client.tips();
    home.find_block();
    client.until_all_left(&tips);
    client.drained();
    // None of them is a block by chance: one that is would be handed in all the same, and change the tip.
    let low = client.find(channel_id, Wanted::NoShare);
    let mut header =
        |change: fn(&mut Candidate)| client.find_with(channel_id, Wanted::NoShare, change);
    let early = header(|candidate| candidate.ntime -= 100_000);
    let late = header(|candidate| candidate.ntime += 100_000);
    let version = header(|candidate| candidate.version ^= 1);
    let changed = |change: fn(&mut mining::SubmitSharesExtendedOwned)| {
        let Share::Extended(mut share) = low.clone() else {
            unreachable!("the channel is extended")
        };
        change(&mut share);
        Share::Extended(share)
    };
    let unknown_job = changed(|share| share.job_id = u32::MAX);
    let extranonce = changed(|share| share.extranonce = vec![1; 3].try_into().unwrap());
    let lost = changed(|share| share.channel_id = u32::MAX);
    let cases = [
        (mining::ERROR_CODE_SUBMIT_SHARES_STALE_SHARE, old),
        (mining::ERROR_CODE_SUBMIT_SHARES_INVALID_JOB_ID, unknown_job),
        (mining::ERROR_CODE_SUBMIT_SHARES_DIFFICULTY_TOO_LOW, low),
        (
            mining::ERROR_CODE_SUBMIT_SHARES_BAD_EXTRANONCE_SIZE,
            extranonce,
        ),
        (mining::ERROR_CODE_SUBMIT_SHARES_INVALID_SHARE, early),
        (mining::ERROR_CODE_SUBMIT_SHARES_INVALID_SHARE, late),
        (
            mining::ERROR_CODE_SUBMIT_SHARES_INVALID_NON_ROLLABLE_VERSION_BIT,
            version,
        ),
    ];
    for (code, share) in cases {
        let theirs = client.validate(&share).expect_err(code);
        assert_eq!(code_of(&theirs), code, "the peer");
        client.peer.send(share);
        let (_, ours) = client.verdict().expect_err(code);
        assert_eq!(ours, code, "our pool");
    }
    client.peer.send(lost);
    let (_, code) = client.verdict().unwrap_err();
    assert_eq!(code, mining::ERROR_CODE_SUBMIT_SHARES_INVALID_CHANNEL_ID);

    // After all this the channel works as before, with rolled version bits too; the same share twice counts once.
    let rolled = client.find_with(channel_id, Wanted::Share, |candidate| {
        candidate.version ^= VERSION_ROLLING_MASK & 0x0012_3400;
    });
    client.validate(&rolled).unwrap();
    let again = client.validate(&rolled).unwrap_err();
    assert_eq!(
        code_of(&again),
        mining::ERROR_CODE_SUBMIT_SHARES_DUPLICATE_SHARE
    );
    client
        .peer
        .send_together([rolled.clone().into(), rolled.into()]);
    let mut verdicts = [client.verdict(), client.verdict()];
    verdicts.sort();
    let [Ok(_), Err((_, code))] = verdicts else {
        panic!("one is accepted, one is not: {verdicts:?}")
    };
    assert_eq!(code, mining::ERROR_CODE_SUBMIT_SHARES_DUPLICATE_SHARE);
}

fn code_of(error: &ShareValidationError) -> &'static str {
    match error {
        ShareValidationError::Invalid(code)
        | ShareValidationError::Stale(code)
        | ShareValidationError::InvalidJobId(code)
        | ShareValidationError::DoesNotMeetTarget(code)
        | ShareValidationError::VersionRollingNotAllowed(code)
        | ShareValidationError::DuplicateShare(code)
        | ShareValidationError::BadExtranonceSize(code) => code,
        ShareValidationError::NoChainTip => "no tip",
    }
}

/// The peer announces another hashrate, gets a harder target with a job to use it on, and closes its channel in the end.
#[test]
fn a_channel_is_updated_and_closed() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    let channel_id = client.open_extended("alice");
    client.drained();
    let (job, target) = active(&client, channel_id);
    client
        .peer
        .send(MiningOwned::UpdateChannel(UpdateChannelOwned {
            channel_id,
            nominal_hash_rate: 100_000.0,
            maximum_target: [0xff; 32].into(),
        }));
    while active(&client, channel_id).0 == job {
        client.receive();
    }
    assert!(active(&client, channel_id).1 < target);
    mine_block(&mut client, channel_id);

    let late = client.find(channel_id, Wanted::NoShare);
    client
        .peer
        .send(MiningOwned::CloseChannel(mining::CloseChannelOwned {
            channel_id,
            reason_code: "done".try_into().unwrap(),
        }));
    client.peer.send(late);
    let (_, code) = client.verdict().unwrap_err();
    assert_eq!(code, mining::ERROR_CODE_SUBMIT_SHARES_INVALID_CHANNEL_ID);
}

/// Id and target of the job that an extended channel is at.
fn active(client: &Client, channel_id: u32) -> (u32, Target) {
    let Channel::Extended(channel) = &client.channels[&channel_id] else {
        panic!("channel {channel_id} is not extended")
    };
    let job = channel.get_active_job().expect("it has work");
    (job.job_message.job_id, job.target)
}

#[test]
fn requests_are_refused_in_the_peers_words() {
    let home = Home::default();
    let pool = home.start_pool();

    let mut standard = client(&pool, REQUIRES_STANDARD_JOBS);
    standard.request_extended("alice", 4);
    assert_eq!(
        standard.open_error(),
        mining::ERROR_CODE_OPEN_MINING_CHANNEL_EXTENDED_CHANNELS_NOT_SUPPORTED_FOR_STANDARD_JOBS
    );

    let mut client = client(&pool, 0);
    client.request_extended("alice", 33);
    assert_eq!(
        client.open_error(),
        mining::ERROR_CODE_OPEN_MINING_CHANNEL_MIN_EXTRANONCE_SIZE_TOO_LARGE
    );
    client.request_standard("sri/worker.1");
    assert_eq!(
        client.open_error(),
        mining::ERROR_CODE_OPEN_MINING_CHANNEL_INVALID_USER_IDENTITY
    );
    client
        .peer
        .send(MiningOwned::UpdateChannel(UpdateChannelOwned {
            channel_id: 99,
            nominal_hash_rate: 1.0,
            maximum_target: [0xff; 32].into(),
        }));
    let code = client.until(|message| match message {
        MiningOwned::UpdateChannelError(error) => Some(error.error_code.as_utf8_or_hex()),
        _ => None,
    });
    assert_eq!(code, mining::ERROR_CODE_UPDATE_CHANNEL_INVALID_CHANNEL_ID);
}

/// A job declarator client gets its channel, but neither jobs nor tips.
#[test]
fn a_client_that_selects_work_gets_no_jobs() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, REQUIRES_WORK_SELECTION);
    client.request_standard("jdc");
    assert_eq!(
        client.open_error(),
        mining::ERROR_CODE_OPEN_MINING_CHANNEL_STANDARD_CHANNELS_NOT_SUPPORTED_FOR_CUSTOM_WORK
    );
    client.request_extended("jdc", 8);
    let channel_id = client.until(|message| match message {
        MiningOwned::OpenExtendedMiningChannelSuccess(success) => Some(success.channel_id),
        _ => None,
    });
    // Once somebody else has the new tip, this client would have it too.
    let mut other = self::client(&pool, 0);
    other.open_extended("alice");
    let tips = other.tips();
    home.find_block();
    other.until_all_left(&tips);
    assert_eq!(kinds(client.drained()), Kinds::default());

    client.peer.send(custom_job(channel_id));
    let code = client.until(|message| match message {
        MiningOwned::SetCustomMiningJobError(error) => Some(error.error_code.as_utf8_or_hex()),
        _ => None,
    });
    assert_eq!(
        code,
        mining::ERROR_CODE_SET_CUSTOM_MINING_JOB_JD_NOT_SUPPORTED
    );
}

fn custom_job(channel_id: u32) -> MiningOwned {
    let bytes: Vec<u8> = vec![1, 2, 3];
    MiningOwned::SetCustomMiningJob(mining::SetCustomMiningJobOwned {
        channel_id,
        request_id: 1,
        token: bytes.clone().try_into().unwrap(),
        version: 0x2000_0000,
        prev_hash: [1; 32].into(),
        min_ntime: 0,
        nbits: 0x207f_ffff,
        coinbase_tx_version: 2,
        coinbase_prefix: bytes.clone().try_into().unwrap(),
        coinbase_tx_input_n_sequence: u32::MAX,
        coinbase_tx_outputs: bytes.try_into().unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: Vec::new().try_into().unwrap(),
    })
}

#[test]
fn extensions_are_negotiated_and_workers_named() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    client
        .peer
        .send(request_extensions(1, vec![WORKER_IDENTITY]));
    match client.peer.receive() {
        AnyMessageOwned::Extensions(ExtensionsOwned::ExtensionsNegotiation(
            ExtensionsNegotiationOwned::RequestExtensionsSuccess(success),
        )) => {
            assert_eq!(success.request_id, 1);
            assert_eq!(success.supported_extensions.as_slice(), [WORKER_IDENTITY]);
        }
        other => panic!("not granted: {other}"),
    }
    let channel_id = client.open_extended("farm");
    let share = client.find(channel_id, Wanted::Share);
    let worker = UserIdentity::new("rig-7").unwrap().to_tlv().unwrap();
    let fields = TlvList::from_slice(&[worker]).unwrap();
    let bytes = fields.build_frame_bytes_with_tlvs(MiningOwned::from(share));
    client.peer.send_frame(bytes.unwrap());
    client.verdict().expect("a share with a worker is accepted");
    wait_for_height(&home, 1);
}

#[test]
fn unknown_extensions_are_refused() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, 0);
    client
        .peer
        .send(request_extensions(2, vec![UNKNOWN_EXTENSION]));
    match client.peer.receive() {
        AnyMessageOwned::Extensions(ExtensionsOwned::ExtensionsNegotiation(
            ExtensionsNegotiationOwned::RequestExtensionsError(error),
        )) => {
            assert_eq!(error.request_id, 2);
            assert_eq!(error.unsupported_extensions.as_slice(), [UNKNOWN_EXTENSION]);
        }
        other => panic!("not refused: {other}"),
    }
}

fn request_extensions(request_id: u16, extensions: Vec<u16>) -> ExtensionsOwned {
    ExtensionsOwned::ExtensionsNegotiation(ExtensionsNegotiationOwned::RequestExtensions(
        RequestExtensionsOwned {
            request_id,
            requested_extensions: extensions.try_into().unwrap(),
        },
    ))
}

#[test]
fn a_pool_that_drains_asks_the_peer_to_reconnect() {
    let home = Home::default();
    let pool = home.start_pool();
    let mut client = client(&pool, REQUIRES_STANDARD_JOBS);
    client.open_standard("alice");
    home.drain();
    let reconnect = std::iter::from_fn(|| client.peer.try_receive()).find(|message| {
        matches!(
            message,
            AnyMessageOwned::Common(CommonMessagesOwned::Reconnect(_))
        )
    });
    assert!(reconnect.is_some());
}

/// On regtest a share is a block: all channels get the next tip.
fn mine_block(client: &mut Client, channel_id: u32) {
    let tips = client.tips();
    client.mine(channel_id);
    client.until_all_left(&tips);
}

fn wait_for_height(home: &Home, height: u32) {
    let waited = home.runtime.block_on(async {
        let mut state = bitcoin_node::Node::state(&*home.node);
        let reached = state.wait_for(|_| home.height() >= height);
        tokio::time::timeout(stratum_interop::peer::PATIENCE, reached)
            .await
            .is_ok()
    });
    assert!(waited, "height {} instead of {height}", home.height());
}
