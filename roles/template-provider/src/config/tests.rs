use std::time::Duration;

use bitcoin_node::rpc::RpcConfig;
use noise_sv2::AuthoritySecretKey;
use stratum_runtime::config::{Loader, check_template};

use super::*;

fn load(text: &str, assignments: &[&str]) -> Result<ProgramConfig, String> {
    let loader = Loader::new("template-provider")
        .text("tp.toml", text)
        .unwrap();
    let loaded = loader
        .set(assignments)
        .and_then(|loader| loader.load::<RawConfig, _>());
    loaded.map_err(|error| error.to_string())
}

const KEYS: &str = "authority.secret_key=mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";

fn fresh_key() -> String {
    let key = AuthoritySecretKey::from_bytes(&[7; 32]).unwrap();
    format!("authority.secret_key={}", &*key.to_text())
}

#[test]
fn the_written_configuration_explains_every_key_and_gives_the_defaults() {
    check_template::<RawConfig>(DEFAULT_CONFIG).unwrap();
}

#[test]
fn the_defaults_with_a_key_are_valid() {
    let config = load(DEFAULT_CONFIG, &[&fresh_key()]).unwrap();
    assert_eq!(config.server.listen, ([127, 0, 0, 1], 8442).into());
    assert!(matches!(config.server.security, ServerSecurity::Noise(_)));
    assert_eq!(config.server.limits, Limits::default());
    let NodesConfig::Rpc(nodes) = config.nodes else {
        panic!("rpc is the default")
    };
    assert_eq!(nodes[0].display_name(), "rpc://127.0.0.1:8332");
}

/// Every number is another than its default.
#[test]
fn every_key_arrives() {
    let config = load(
        "",
        &[
            "listen.address=127.0.0.2:7",
            "listen.encrypted=false",
            "node.urls=rpc://u:p@a:1",
            "node.chain=signet",
            "node.empty_template_first=false",
            "node.fees_delta_sats=7",
            "node.refresh_secs=8",
            "node.call_timeout_secs=9",
            "connections.total=18",
            "connections.per_address=19",
            "connections.per_sec=20",
            "connections.burst=21",
            "limits.setup_timeout_secs=26",
            "limits.constraints_timeout_secs=27",
            "limits.requests_per_sec=28",
            "limits.requests_burst=29",
            "program.threads=5",
            "program.log=debug",
            "program.grace_secs=31",
        ],
    );
    let config = config.unwrap();
    let secs = Duration::from_secs;
    let NodesConfig::Rpc(nodes) = &config.nodes else {
        panic!("a node is named")
    };
    let node = &nodes[0];
    assert_eq!(
        (node.empty_template_first, node.fees_delta_sats),
        (false, 7)
    );
    assert_eq!(
        (node.refresh_interval, node.call_timeout),
        (secs(8), secs(9))
    );
    let server = &config.server;
    assert_eq!(server.listen, ([127, 0, 0, 2], 7).into());
    assert!(matches!(server.security, ServerSecurity::Plain));
    let accept = &server.accept;
    assert_eq!((accept.connections, accept.per_address), (18, 19));
    assert_eq!((accept.per_second, accept.burst), (20, 21));
    assert_eq!(server.threads.map(NonZeroUsize::get), Some(5));
    let limits = Limits {
        setup_timeout: secs(26),
        constraints_timeout: secs(27),
        per_second: 28,
        burst: 29,
    };
    assert_eq!(server.limits, limits);
    assert_eq!(
        (config.program.log_level.as_str(), config.program.grace),
        ("debug", secs(31))
    );
}

#[test]
fn a_key_pair_made_by_another_stack_is_read() {
    let public = "authority.public_key=9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
    let config = load("", &[KEYS, public]).unwrap();
    assert!(matches!(config.server.security, ServerSecurity::Noise(_)));
}

#[test]
fn several_nodes_and_the_embedded_one() {
    let text = "[node]\nurls = ['rpc://u:secret@a:1', 'rpc://u:secret@b']\nchain = 'regtest'\n";
    let config = load(text, &["listen.encrypted=false"]).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret@"), "{shown}");
    let NodesConfig::Rpc(nodes) = config.nodes else {
        panic!("two nodes")
    };
    let names: Vec<_> = nodes.iter().map(RpcConfig::display_name).collect();
    assert_eq!(names, ["rpc://a:1", "rpc://b:18443"]);
    let config = load("", &["listen.encrypted=false", "node.urls=embedded"]).unwrap();
    assert_eq!(config.nodes, NodesConfig::Embedded);
}

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    let cases = [
        (
            "listen.address=8442",
            "`listen.address`: `8442` is no address with a port; write one such as",
        ),
        (
            "authority.secret_key=",
            "`authority.secret_key`: is missing; make a pair with `stratum keys`",
        ),
        ("authority.secret_key=garbage", "`authority.secret_key`: "),
        ("authority.public_key=garbage", "`authority.public_key`: "),
        (
            "authority.public_key=9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72",
            "does not belong to authority.secret_key; the secret key's public key is",
        ),
        (
            "authority.certificate_validity_secs=0",
            "`authority.certificate_validity_secs`: is 0; choose 1 or more",
        ),
        (
            "node.urls=http://127.0.0.1",
            "`node.urls`: the node's address must start with rpc://",
        ),
        (
            "node.urls=rpc://u:hunter2@h:99999",
            "`node.urls`: the port of the node's address is no number",
        ),
        (
            "node.chain=bitcoin",
            "`node.chain`: `bitcoin` is no chain; choose mainnet",
        ),
        (
            "node.urls=rpc://u:p@h,embedded",
            "`node.urls`: the node's address must start",
        ),
        ("node.refresh_secs=0", "`node.refresh_secs`: is 0"),
        ("connections.total=0", "`connections.total`: is 0"),
        (
            "limits.requests_burst=7",
            "`limits.requests_burst`: is 7; one request for transaction data costs 8",
        ),
        (
            "limits.setup_timeout_secs=0",
            "`limits.setup_timeout_secs`: is 0",
        ),
        ("program.log=a=loud", "`program.log`: "),
        ("listen.adress=1", "did you mean `address`?"),
    ];
    for (assignment, expected) in cases {
        let error = load("", &[&fresh_key(), assignment]).unwrap_err();
        assert!(error.contains(expected), "{assignment}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
