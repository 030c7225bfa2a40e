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
