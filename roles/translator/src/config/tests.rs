use std::time::Duration;

use mining_proxy_core::ChannelMode;
use network_helpers_sv2::ClientSecurity;
use stratum_runtime::config::{Loader, check_template};

use super::*;

const KEY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn load(text: &str, assignments: &[&str]) -> Result<ProgramConfig, String> {
    let loader = Loader::new("translator")
        .text("translator.toml", text)
        .unwrap();
    let loaded = loader
        .set(assignments)
        .and_then(|loader| loader.load::<RawConfig, _>());
    loaded.map_err(|error| error.to_string())
}

/// One pool, and what else an `[[upstreams]]` table says.
fn pool(rest: &str) -> String {
    format!(
        "[[upstreams]]\nurl = \"stratum2+tcp://pool.example:3333/{KEY}\"\nuser_identity = \"alice\"\n{rest}\n"
    )
}

#[test]
fn the_written_configuration_explains_every_key_and_gives_the_defaults() {
    check_template::<RawConfig>(DEFAULT_CONFIG).unwrap();
}

#[test]
fn the_defaults_with_a_pool_are_the_defaults_of_the_rules() {
    let text = format!("{}{DEFAULT_CONFIG}", "");
    let without = load(&text, &[]).unwrap_err();
    assert!(without.contains("`upstreams`: names no pool"), "{without}");
    let config = load(&pool(""), &[]).unwrap().proxy;
    let default = ProxyConfig::default();
    assert_eq!(config.listen, Some(([127, 0, 0, 1], 3333).into()));
    assert_eq!(config.rules.failover, default.failover);
    assert_eq!(config.rules.bridge.server, default.bridge.server);
    assert_eq!(config.rules.bridge.vardiff, default.bridge.vardiff);
    assert_eq!(config.rules.keep_miners, default.keep_miners);
    assert_eq!(config.rules.max_miners, default.max_miners);
    assert_eq!(config.threads.get(), 1);
    assert!(config.tls.is_none());
    let [upstream] = &config.rules.upstreams[..] else {
        panic!()
    };
    assert_eq!((&*upstream.host, upstream.port), ("pool.example", 3333));
    assert!(matches!(
        config.security[..],
        [ClientSecurity::Noise { authority: Some(_) }]
    ));
}

#[test]
fn every_key_arrives() {
    let text = format!(
        "{}{}[channels]\nmode = 'per-miner'\nworker_names = false\n[difficulty]\nshares_per_minute = 20\nminimum = 64\n\
         nominal_hashrate = 1e12\n[jobs]\nextranonce2_size = 4\nversion_mask = '1fff0000'\nkeep_alive_secs = 20\n\
         spread_ms = 0\nmin_interval_secs = 0\n[failover]\nanswer_timeout_secs = 3\npatience_secs = 1\nsettle_secs = 0\n\
         keep_miners_secs = 9\n[limits]\nlogin_timeout_secs = 5\nshare_timeout_secs = 6\nlines_per_sec = 7\nline_burst = 8\n\
         line_bytes = 900\nstall_timeout_secs = 11\nban_secs = 0\n",
        pool(&format!("payout = \"{ADDRESS}\"\npayout_min_percent = 50")),
        pool(""),
    );
    let assignments = [
        "listen.address=0.0.0.0:1",
        "tls.address=[::1]:2",
        "program.threads=0",
    ];
    let config = load(&text, &assignments).unwrap().proxy;
    let rules = &config.rules;
    let mode = rules.upstreams[0].mode;
    assert_eq!((mode, rules.names_workers), (ChannelMode::PerMiner, false));
    assert_eq!(rules.bridge.vardiff.shares_per_minute, 20.0);
    assert_eq!(rules.bridge.vardiff.min_difficulty, 64.0);
    assert_eq!(rules.bridge.nominal_hashrate, 1e12);
    assert_eq!(
        (rules.extranonce2_size, rules.bridge.server.version_mask),
        (4, 0x1fff_0000)
    );
    assert_eq!(rules.bridge.server.job_interval, Duration::from_secs(20));
    assert_eq!(
        (rules.pace, rules.min_job_interval),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(rules.answer_timeout, Duration::from_secs(3));
    assert_eq!(rules.failover.patience, Duration::from_secs(1));
    assert_eq!(rules.keep_miners, Duration::from_secs(9));
    let server = rules.bridge.server;
    assert_eq!(
        (server.login_timeout, server.share_timeout),
        (Duration::from_secs(5), Duration::from_secs(6))
    );
    assert_eq!((server.max_lines_per_sec, server.max_line_burst), (7, 8));
    assert_eq!(config.connection.max_line_len, 900);
    assert_eq!(
        (config.connection.stall_timeout, config.ban),
        (Duration::from_secs(11), Duration::ZERO)
    );
    assert_eq!(config.tls.unwrap().address, "[::1]:2".parse().unwrap());
    assert_eq!(config.threads, one_per_core());
    let payouts: Vec<_> = rules
        .upstreams
        .iter()
        .map(|upstream| &upstream.expected_payout)
        .collect();
    assert_eq!(payouts[0].as_ref().unwrap().min_percent, 50);
    assert_eq!(payouts[1], &None);
}

#[test]
fn pools_are_used_in_their_order_unless_priorities_say_otherwise() {
    let keys = "priority = 7\nweight = 70\ndrain = true";
    let text = [pool(""), pool(""), pool(keys)].concat();
    let rules = load(&text, &[]).unwrap().proxy.rules;
    let seen = rules.upstreams.iter();
    let seen: Vec<_> = seen
        .map(|upstream| (upstream.priority, upstream.weight, upstream.is_drained))
        .collect();
    assert_eq!(seen, [(0, 1, false), (1, 1, false), (7, 70, true)]);
}

#[test]
fn a_payout_is_that_of_the_identity_an_address_or_a_descriptor() {
    let check = |identity: &str, payout: &str| {
        let text = format!(
            "[[upstreams]]\nurl = \"pool.example:3333\"\nuser_identity = \"{identity}\"\npayout = \"{payout}\"\n"
        );
        let config = load(&text, &[]).unwrap().proxy;
        let expected = config.rules.upstreams[0].expected_payout.as_ref().unwrap();
        expected.script_pubkey.to_hex_string()
    };
    let script = "0014751e76e8199196d454941c45d1b3a323f1433bd6";
    assert_eq!(
        check(&format!("sri/solo/{ADDRESS}/rig"), "identity"),
        script
    );
    assert_eq!(
        check(&format!("sri/donate/5/{ADDRESS}"), "identity"),
        script
    );
    assert_eq!(check(&format!("{ADDRESS}.rig"), "identity"), script);
    assert_eq!(check("alice", ADDRESS), script);
    assert_eq!(
        check("alice", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        script
    );
    assert_eq!(check("alice", &format!("addr({ADDRESS})")), script);
    assert_eq!(check("alice", "raw(51)"), "51");
}

/// A text and an assignment give an error that contains this.
fn refuse(text: &str, assignment: &str, expected: &str) {
    let assignments = Some(assignment).filter(|text| !text.is_empty());
    let assignments: Vec<_> = assignments.into_iter().collect();
    let error = load(text, &assignments).expect_err(expected);
    assert!(error.contains(expected), "{error}\nlacks {expected}");
}

#[test]
fn each_mistake_of_an_upstream_says_where_what_and_what_to_do() {
    let upstream = |keys: &str| format!("[[upstreams]]\n{keys}\n");
    for (text, expected) in [
        (
            upstream("user_identity = 'a'"),
            "`upstreams.url`: is missing",
        ),
        (
            upstream("url = 'pool'"),
            "`upstreams.url`: `pool` has no port",
        ),
        (
            upstream("url = 'stratum+tcp://pool:1'"),
            "is not Stratum V2 over TCP",
        ),
        (upstream("url = 'pool:1/xyz'"), "is not an authority key"),
        (
            upstream("url = 'pool:1'"),
            "`upstreams.user_identity`: is missing",
        ),
        (
            pool("payout = 'identity'"),
            "user_identity names no address",
        ),
        (
            pool("payout = 'nonsense'"),
            "`upstreams.payout`: `nonsense` is no address",
        ),
        (
            pool("payout = 'raw(51)'\npayout_min_percent = 0"),
            "payout_min_percent`: is 0",
        ),
        (pool("pay = 'x'"), "pay"),
        (pool("weight = 0"), "`upstreams.weight`: is 0"),
        (
            pool("drain = true"),
            "`upstreams.drain`: is true for every pool",
        ),
    ] {
        refuse(&text, "", expected);
    }
}

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    for (assignment, expected) in [
        (
            "listen.address=here",
            "`listen.address`: `here` is no address with a port",
        ),
        ("channels.mode=both", "`channels.mode`: is `both`"),
        (
            "difficulty.shares_per_minute=0",
            "`difficulty.shares_per_minute`: is 0",
        ),
        ("difficulty.minimum=-1", "`difficulty.minimum`: is -1"),
        (
            "difficulty.nominal_hashrate=0",
            "`difficulty.nominal_hashrate`: is 0",
        ),
        ("jobs.extranonce2_size=17", "`jobs.extranonce2_size`: is 17"),
        (
            "jobs.version_mask=xyz",
            "`jobs.version_mask`: `xyz` is no mask",
        ),
        ("limits.line_bytes=0", "`limits.line_bytes`: is 0"),
        ("connections.total=0", "`connections.total`: is 0"),
    ] {
        refuse(&pool(""), assignment, expected);
    }
    let tls = "[tls]\naddress = '127.0.0.1:1'\nkey = 'no.pem'\n";
    refuse(
        &format!("{tls}{}", pool("")),
        "",
        "`tls.certificate`: is missing",
    );
    let both = format!("{tls}certificate = 'no.pem'\n{}", pool(""));
    refuse(&both, "", "no.pem");
}
