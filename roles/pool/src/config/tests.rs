use noise_sv2::AuthoritySecretKey;
use stratum_runtime::config::{Loader, check_template};

use super::*;

const PUBLIC: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
const MAINNET: &str = "payout.outputs=addr(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)";

fn load(text: &str, assignments: &[&str]) -> Result<ProgramConfig, String> {
    let loader = Loader::new("pool").text("pool.toml", text).unwrap();
    let loaded = loader
        .set(assignments)
        .and_then(|loader| loader.load::<RawConfig, _>());
    loaded.map_err(|error| error.to_string())
}

fn fresh_key() -> String {
    let key = AuthoritySecretKey::from_bytes(&[7; 32]).unwrap();
    format!("authority.secret_key={}", &*key.to_text())
}

#[test]
fn the_written_configuration_explains_every_key_and_gives_the_defaults() {
    check_template::<RawConfig>(DEFAULT_CONFIG).unwrap();
}

#[test]
fn the_defaults_with_key_and_payout_are_the_defaults_of_the_rules() {
    let config = load(DEFAULT_CONFIG, &[&fresh_key(), MAINNET]).unwrap();
    assert_eq!(config.pool.listen, ([127, 0, 0, 1], 34254).into());
    assert_eq!(config.pool.accept, AcceptLimits::default());
    let rules = &config.pool.pool;
    assert_eq!(rules.channels.vardiff, VardiffConfig::default());
    assert_eq!(rules.channels.slices, SliceLimits::default());
    assert_eq!(rules.extranonce, ExtranonceLayout::default());
    assert_eq!(rules.payouts.network(), Network::Bitcoin);
    let TemplatesConfig::Nodes(NodesConfig::Rpc(nodes)) = config.templates else {
        panic!("nodes are the default")
    };
    assert_eq!(nodes[0].chain, Some(Network::Bitcoin));
}

/// A value for each key, another than its default.
const EACH_KEY: &[&str] = &[
    "listen.address=127.0.0.2:7",
    "listen.encrypted=false",
    "node.urls=rpc://u:p@a:1",
    "node.chain=regtest",
    "node.empty_template_first=false",
    "node.fees_delta_sats=7",
    "node.refresh_secs=8",
    "node.call_timeout_secs=9",
    "payout.outputs=raw(51)",
    "payout.tag=mine",
    "payout.identity_payouts=false",
    "shares.per_minute=11",
    "shares.min_difficulty=12",
    "shares.acknowledge_after=13",
    "shares.acknowledge_after_ms=14",
    "channels.version_rolling=false",
    "channels.worker_identity_required=true",
    "extranonce.size=15",
    "extranonce.server_id=16",
    "extranonce.server_id_size=2",
    "extranonce.channel_number_size=4",
    "extranonce.channels_per_thread=17",
    "connections.total=18",
    "connections.per_address=19",
    "connections.per_sec=20",
    "connections.burst=21",
    "limits.channels_per_connection=22",
    "limits.payouts_per_thread=23",
    "limits.workers_per_connection=24",
    "limits.shares_per_tip=25",
    "limits.setup_timeout_secs=26",
    "limits.channel_timeout_secs=27",
    "limits.idle_timeout_secs=28",
    "limits.stall_timeout_secs=29",
    "limits.drain_secs=30",
    "program.threads=5",
    "program.log=debug",
    "program.grace_secs=31",
];

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn every_key_of_the_shell_arrives() {
    let config = load("", EACH_KEY).unwrap();
    let TemplatesConfig::Nodes(NodesConfig::Rpc(nodes)) = &config.templates else {
        panic!("a node is named")
    };
    let node = &nodes[0];
    assert_eq!(
        (node.display_name(), node.chain),
        ("rpc://a:1".to_owned(), Some(Network::Regtest))
    );
    assert_eq!(
        (node.empty_template_first, node.fees_delta_sats),
        (false, 7)
    );
    assert_eq!(
        (node.refresh_interval, node.call_timeout),
        (secs(8), secs(9))
    );

    let server = &config.pool;
    assert_eq!(server.listen, ([127, 0, 0, 2], 7).into());
    assert!(matches!(server.security, ServerSecurity::Plain));
    let accept = &server.accept;
    assert_eq!((accept.connections, accept.per_address), (18, 19));
    assert_eq!((accept.per_second, accept.burst), (20, 21));
    let bytes = &server.connection;
    assert_eq!(
        (bytes.handshake_timeout, bytes.idle_timeout),
        (secs(26), Some(secs(28)))
    );
    assert_eq!(
        (bytes.stall_timeout, bytes.max_payload_len),
        (secs(29), MAX_PAYLOAD_LEN)
    );
    assert_eq!(server.threads.map(std::num::NonZeroUsize::get), Some(5));

    let program = &config.program;
    assert_eq!(
        (program.log_level.as_str(), program.grace),
        ("debug", secs(31))
    );
}

#[test]
fn every_key_of_the_rules_arrives() {
    let config = load("", EACH_KEY).unwrap();
    let rules = &config.pool.pool;
    assert_eq!(
        (rules.pool_tag.as_str(), rules.honours_identity_patterns),
        ("mine", false)
    );
    assert_eq!(
        (rules.version_rolling_allowed, rules.server_id),
        (false, 16)
    );
    let required = ExtensionPolicy::new([], [EXTENSION_WORKER_IDENTITY]);
    assert_eq!(rules.extensions, required);
    let layout = ExtranonceLayout {
        full_size: 15,
        server_id_size: 2,
        channel_number_size: 4,
        max_channels: 17,
    };
    assert_eq!(rules.extranonce, layout);
    assert_eq!((rules.max_payouts, rules.max_workers), (23, 24));
    let deadlines = &rules.deadlines;
    assert_eq!(
        (deadlines.setup, deadlines.first_channel),
        (secs(26), secs(27))
    );
    assert_eq!(deadlines.drain, secs(30));
    let channels = ServerConfig {
        max_channels: 22,
        max_shares_per_tip: 25,
        vardiff: VardiffConfig {
            shares_per_minute: 11.0,
            min_difficulty: 12.0,
        },
        slices: SliceLimits {
            max_shares: 13,
            max_age: Duration::from_millis(14),
        },
        ..ServerConfig::default()
    };
    assert_eq!(*rules.channels, channels);
}

#[test]
fn a_template_provider_and_weighted_outputs() {
    let text = format!(
        "[template_provider]\nurl = 'stratum2+tcp://tp.example:8442/{PUBLIC}'\n[node]\nchain = 'regtest'\n\
         [payout]\noutputs = ['raw(51)', {{ descriptor = 'raw(52)', weight = 3 }}]\n"
    );
    let config = load(&text, &["listen.encrypted=false"]).unwrap();
    let outputs = config
        .pool
        .pool
        .payouts
        .payouts(&pool_core::payout::PayoutChoice::Pool);
    let weights: Vec<_> = outputs.iter().map(|output| output.weight).collect();
    assert_eq!(weights, [1, 3]);
    let TemplatesConfig::Provider { endpoint, security } = config.templates else {
        panic!("the url wins")
    };
    assert_eq!(endpoint.host, "tp.example");
    assert!(matches!(
        security,
        ClientSecurity::Noise { authority: Some(_) }
    ));
}

#[test]
fn the_embedded_chain_is_regtest() {
    let arguments = [
        "listen.encrypted=false",
        "node.urls=embedded",
        "payout.outputs=raw(51)",
    ];
    let config = load("", &arguments).unwrap();
    assert_eq!(config.pool.pool.payouts.network(), Network::Regtest);
    assert_eq!(
        config.templates,
        TemplatesConfig::Nodes(NodesConfig::Embedded)
    );
}

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    let cases = [
        (
            "authority.secret_key=garbage",
            "--set authority.secret_key: `authority.secret_key`: ",
        ),
        (
            "payout.outputs=",
            "`payout.outputs`: is missing; say whom a block pays",
        ),
        (
            "payout.outputs=addr(bc1qgarbage)",
            "coinbase output 1: `bc1qgarbage` is no Bitcoin address; check for a typing error",
        ),
        (
            "payout.outputs=wpkh(garbage)",
            "`payout.outputs`: coinbase output 1: `wpkh(",
        ),
        (
            "node.chain=regtest",
            "is not of chain regtest; use an address of that chain or change the chain",
        ),
        (
            "template_provider.url=stratum+tcp://a:1",
            "is not Stratum V2 over TCP; write stratum2+tcp://host:port/KEY",
        ),
        (
            "template_provider.url=tp.example:99999",
            "`99999` is not a port; use a number from 1 to 65535",
        ),
        (
            "template_provider.url=tp.example:1/garbage",
            "`garbage` is not an authority key",
        ),
        (
            "listen.address=127.0.0.1:port",
            "`listen.address`: `127.0.0.1:port` is no address with a port",
        ),
        (
            "node.urls=http://a",
            "`node.urls`: the node's address must start with rpc://",
        ),
        (
            "shares.per_minute=0",
            "`shares.per_minute`: is 0; choose more than 0",
        ),
        (
            "shares.min_difficulty=NaN",
            "`shares.min_difficulty`: is NaN",
        ),
        (
            "shares.acknowledge_after=0",
            "`shares.acknowledge_after`: is 0",
        ),
        ("extranonce.server_id=300", "`extranonce`: server id"),
        ("extranonce.size=40", "`extranonce`: extranonce layout"),
        (
            "limits.channel_timeout_secs=0",
            "`limits.channel_timeout_secs`: is 0",
        ),
        ("payout.output=x", "did you mean `outputs`?"),
    ];
    for (assignment, expected) in cases {
        let error = load("", &[&fresh_key(), MAINNET, assignment]).unwrap_err();
        assert!(error.contains(expected), "{assignment}: {error}");
    }
}

#[test]
fn an_output_with_a_wrong_key_or_type_is_named() {
    for (output, expected) in [
        ("{ descriptr = 'raw(51)' }", "did you mean `descriptor`?"),
        (
            "{ weight = 1 }",
            "`payout.outputs.0.descriptor`: is missing",
        ),
        (
            "{ descriptor = 'raw(51)', weight = 'x' }",
            "`payout.outputs.0.weight`: is a text",
        ),
        ("1", "`payout.outputs.0`: is the number 1, not a descriptor"),
    ] {
        let text = format!("[payout]\noutputs = [{output}]\n");
        let error = load(&text, &["listen.encrypted=false"]).unwrap_err();
        assert!(error.contains(expected), "{output}: {error}");
    }
}
