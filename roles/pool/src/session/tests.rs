use std::time::Duration;

use binary_sv2::Message as _;
use bitcoin::Network;
use mining_sv2::{NewExtendedMiningJob, OpenExtendedMiningChannel};
use network_helpers_sv2::{ClientSecurity, Options, ServerSecurity};
use pool_core::payout::PoolPayouts;
use pool_core::shard::PoolConfig;
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::template_client::{Output as FeedOutput, TemplateClient};
use stratum_runtime::{Shutdown, drive};
use template_distribution_sv2::{CoinbaseOutputConstraints, NewTemplate, SetNewPrevHash};
use tokio::io::{DuplexStream, duplex};

use super::*;

/// Work on one tip after the other.
fn work(client: &mut TemplateClient, template_id: u64) -> Arc<ActiveTemplate> {
    work_with(client, template_id, &[0x51, 0])
}

/// The same with this at the start of the coinbase's text.
fn work_with(client: &mut TemplateClient, template_id: u64, prefix: &[u8]) -> Arc<ActiveTemplate> {
    let template = NewTemplate {
        template_id,
        future_template: true,
        version: 0x2000_0000,
        coinbase_tx_version: 2,
        coinbase_prefix: prefix.to_vec().try_into().unwrap(),
        coinbase_tx_input_sequence: u32::MAX,
        coinbase_tx_value_remaining: 5_000_000_000,
        coinbase_tx_outputs_count: 0,
        coinbase_tx_outputs: vec![].try_into().unwrap(),
        coinbase_tx_locktime: 0,
        merkle_path: vec![].try_into().unwrap(),
    };
    let prev_hash = SetNewPrevHash {
        template_id,
        prev_hash: [template_id as u8; 32].into(),
        header_timestamp: 1_700_000_000,
        nbits: 0x1d00_ffff,
        target: [0xff; 32].into(),
    };
    client.handle_message(&template.into(), Now::default());
    client.handle_message(&prev_hash.into(), Now::default());
    loop {
        if let FeedOutput::Work(active) = client.poll_output().unwrap() {
            return active;
        }
    }
}

fn template_client() -> TemplateClient {
    TemplateClient::new(CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: 43,
        coinbase_output_max_additional_sigops: 0,
    })
}

fn local_shard() -> LocalShard {
    let payouts = PoolPayouts::new(Network::Regtest, [("raw(51)", 1)]).unwrap();
    let shard = Shard::new(Arc::new(PoolConfig::new(payouts)), 0).unwrap();
    Rc::new(RefCell::new(shard))
}

#[test]
fn a_template_of_which_no_coinbase_can_be_made_is_counted() {
    let (shard, mut client, rejects) = (local_shard(), template_client(), Named::default());
    // Providers have 8 bytes; a text of 100 is all that a coinbase may have.
    for (template_id, prefix_len, failed) in [(1, 8, None), (2, 90, Some(1)), (3, 8, Some(1))] {
        let active = work_with(&mut client, template_id, &vec![1; prefix_len]);
        let (_sender, mut templates) = watch::channel(Some(active));
        refresh(&shard, &mut templates, &rejects);
        assert_eq!(rejects.all().get("job-not-made").copied(), failed);
        let has_job = shard
            .borrow()
            .work()
            .is_some_and(|work| work.jobs().count() == 1);
        assert_eq!(has_job, prefix_len == 8);
    }
}

async fn miner(stream: DuplexStream) -> Connection<DuplexStream> {
    let options = Options::default();
    let mut miner = Connection::client(stream, &ClientSecurity::Plain, options)
        .await
        .unwrap();
    let open = OpenExtendedMiningChannel {
        request_id: 1,
        user_identity: "alice".try_into().unwrap(),
        nominal_hash_rate: 0.0,
        max_target: [0xff; 32].into(),
        min_extranonce_size: 4,
    };
    miner
        .queue(&SetupRequest::mining(0).message(&Endpoint::default()))
        .unwrap();
    miner.queue(&open).unwrap();
    miner.flush().await.unwrap();
    miner
}

/// Reads until a message of this type has come.
async fn until(miner: &mut Connection<DuplexStream>, msg_type: u8) {
    loop {
        while let Some(frame) = miner.next_frame().unwrap() {
            if frame.header().msg_type() == msg_type {
                return;
            }
        }
        miner.ready(None).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_does_not_read_is_dropped_and_others_get_work_until_they_drain() {
    let shard = local_shard();
    let (template_sender, templates) = watch::channel(None);
    let (blocks, _found) = mpsc::channel(1);
    let sinks = Sinks {
        blocks,
        shares: Arc::default(),
        rejects: Arc::default(),
        ledger: NullLedger,
    };
    let (shutdown, clock) = (Shutdown::new(), SystemClock::new());
    let serve = async |stream| {
        let options = Options {
            max_outbound_len: 4096,
            ..Options::default()
        };
        let connection = Connection::server(stream, &ServerSecurity::Plain, options)
            .await
            .unwrap();
        let mut session = Session::new(shard.clone(), clock.now());
        let (templates, sinks) = (templates.clone(), sinks.clone());
        let mut wiring = Wiring::new(templates, shutdown.subscribe(), sinks, clock);
        let reason = drive(&mut session, &mut wiring, connection, clock).await;
        session.handle_disconnected();
        reason
    };
    let ((near_slow, far_slow), (near_fast, far_fast)) = (duplex(1024), duplex(1024));
    let script = async {
        let mut client = template_client();
        let _slow = miner(near_slow).await;
        let mut fast = miner(near_fast).await;
        for template_id in 1..=100 {
            template_sender.send_replace(Some(work(&mut client, template_id)));
            until(&mut fast, NewExtendedMiningJob::KIND.msg_type).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            shard.borrow().extranonces.in_use(),
            1,
            "the slow one has given its prefix back"
        );
        shutdown.drain();
        until(&mut fast, common_messages_sv2::Reconnect::KIND.msg_type).await;
    };
    let (slow, fast, ()) = tokio::join!(serve(far_slow), serve(far_fast), script);
    assert_eq!(
        (slow, fast),
        (CloseReason::SlowConsumer, CloseReason::PeerClosed)
    );
}
