//! The peer as a client of our template provider.

use sri::bitcoin::Transaction;
use sri::bitcoin::consensus::deserialize;
use sri::channels_sv2::outputs::deserialize_template_outputs;
use sri::common_messages_sv2::{self as common, Protocol};
use sri::parsers_sv2::TemplateDistributionOwned;
use sri::template_distribution_sv2::{self as template_distribution, RequestTransactionData};
use stratum_interop::ours::{Home, authority};
use stratum_interop::peer::Peer;
use stratum_interop::pool::TemplateClient;

#[test]
fn other_protocols_are_refused() {
    let home = Home::default();
    let provider = home.start_template_provider();
    let mut peer = Peer::connect(provider.local_addr(), authority());
    let error = peer.set_up(Protocol::MiningProtocol, 0).unwrap_err();
    assert_eq!(
        error.error_code.as_utf8_or_hex(),
        common::ERROR_CODE_SETUP_CONNECTION_UNSUPPORTED_PROTOCOL
    );
}

#[test]
fn templates_tips_and_transactions_reach_the_peer() {
    let home = Home::default();
    let provider = home.start_template_provider();
    let mut client = TemplateClient::connect(provider.local_addr());
    let (first, tip) = client.future();
    assert_eq!(first.coinbase_tx_value_remaining, 50 * 100_000_000);
    assert_eq!(tip.n_bits, 0x207f_ffff);
    let outputs = deserialize_template_outputs(
        first.coinbase_tx_outputs.as_ref().to_vec(),
        first.coinbase_tx_outputs_count,
    )
    .expect("the peer reads our outputs");
    assert_eq!(outputs.len(), 1);
    assert!(
        outputs[0].script_pubkey.is_op_return(),
        "witness commitment"
    );

    home.add_transaction();
    let TemplateDistributionOwned::NewTemplate(full) = client.receive() else {
        panic!("a better template on the same tip")
    };
    assert!(!full.future_template);
    assert_eq!(
        full.coinbase_tx_value_remaining,
        first.coinbase_tx_value_remaining + 100_000
    );
    let request = |client: &mut TemplateClient, template_id| {
        let message = RequestTransactionData { template_id };
        client
            .peer
            .send(TemplateDistributionOwned::RequestTransactionData(message));
        client.receive()
    };
    let TemplateDistributionOwned::RequestTransactionDataSuccess(data) =
        request(&mut client, full.template_id)
    else {
        panic!("no transactions")
    };
    assert_eq!(data.template_id, full.template_id);
    let raw: Vec<&[u8]> = data.transaction_list.iter_bytes().collect();
    let [raw] = raw[..] else {
        panic!("one transaction, not {}", raw.len())
    };
    let transaction: Transaction = deserialize(raw).unwrap();
    assert!(!transaction.input[0].witness.is_empty(), "with its witness");

    let TemplateDistributionOwned::RequestTransactionDataError(error) = request(&mut client, 1)
    else {
        panic!("there is no such template")
    };
    assert_eq!(
        error.error_code.as_utf8_or_hex(),
        template_distribution::ERROR_CODE_REQUEST_TRANSACTION_DATA_TEMPLATE_ID_NOT_FOUND
    );

    home.find_block();
    let (second, new_tip) = client.future();
    assert!(second.template_id > full.template_id);
    assert_ne!(new_tip.prev_hash, tip.prev_hash);
}
