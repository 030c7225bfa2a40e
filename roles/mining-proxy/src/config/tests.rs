use std::time::Duration;

use network_helpers_sv2::ClientSecurity;
use stratum_runtime::config::{Loader, check_template};

use super::*;

const KEY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";

/// One pool.
fn pool(rest: &str) -> String {
    format!("[[upstreams]]\nurl = \"stratum2+tcp://pool.example:3333/{KEY}\"\n{rest}\n")
}

fn load(text: &str, assignments: &[&str]) -> Result<ProgramConfig, String> {
    let loader = Loader::new("proxy").text("proxy.toml", text).unwrap();
    let loaded = loader
        .set(assignments)
        .and_then(|loader| loader.load::<RawConfig, _>());
    loaded.map_err(|error| error.to_string())
}

const PLAIN: &str = "listen.encrypted=false";

#[test]
fn the_written_configuration_explains_every_key_and_gives_the_defaults() {
    check_template::<RawConfig>(DEFAULT_CONFIG).unwrap();
}

#[test]
fn the_defaults_with_a_pool_are_the_defaults_of_the_rules() {
    let config = load(&pool(""), &[PLAIN]).unwrap().proxy;
    let default = ProxyConfig::default();
    let devices = config.devices.as_ref().unwrap();
    assert_eq!(devices.address, ([127, 0, 0, 1], 34_255).into());
    assert_eq!(devices.ban, DEFAULT_BAN);
    assert_eq!((config.listen, config.tls.is_none()), (None, true));
    let (terms, usual) = (&config.rules.devices, &default.devices);
    assert_eq!(terms.channels, usual.channels);
    assert_eq!(terms.deadlines.setup, usual.deadlines.setup);
    assert_eq!(terms.deadlines.drain, usual.deadlines.drain);
    assert_eq!(config.rules.bridge.vardiff, default.bridge.vardiff);
    assert_eq!(config.rules.max_miners, default.max_miners);
    let [upstream] = &config.rules.upstreams[..] else {
        panic!()
    };
    assert_eq!(upstream.mode, ChannelMode::PerMiner);
    assert_eq!((upstream.priority, upstream.weight), (0, 1));
    assert!(matches!(
        config.security[..],
        [ClientSecurity::Noise { authority: Some(_) }]
    ));
}

#[test]
fn every_key_arrives() {
    let text = format!(
        "{}{}[sv1]\naddress = '[::1]:3333'\n[sv1.limits]\nban_secs = 5\n[channels]\nworker_names = false\n[limits]\n\
         channels_per_connection = 7\nworkers_per_connection = 8\nshares_per_tip = 9\nsetup_timeout_secs = 10\n\
         channel_timeout_secs = 11\nstall_timeout_secs = 12\ndrain_secs = 13\nban_secs = 0\n",
        pool("mode = 'aggregated'\nuser_identity = 'farm'\nweight = 70"),
        pool("mode = 'transparent'\npriority = 0\nweight = 30\ndrain = true"),
    );
    let assignments = [PLAIN, "listen.address=0.0.0.0:1", "sv1.tls.address=[::1]:2"];
    let config = load(&text, &assignments).unwrap().proxy;
    let devices = config.devices.unwrap();
    assert_eq!(devices.address, ([0, 0, 0, 0], 1).into());
    assert_eq!(devices.ban, Duration::ZERO);
    assert_eq!(devices.options.handshake_timeout, Duration::from_secs(10));
    assert_eq!(devices.options.stall_timeout, Duration::from_secs(12));
    assert_eq!(config.ban, Duration::from_secs(5));
    assert_eq!(config.listen, Some("[::1]:3333".parse().unwrap()));
    assert_eq!(config.tls.unwrap().address, "[::1]:2".parse().unwrap());
    let rules = &config.rules;
    assert!(!rules.names_workers);
    let terms = &rules.devices;
    assert_eq!(
        (
            terms.channels.max_channels,
            terms.channels.max_shares_per_tip
        ),
        (7, 9)
    );
    assert_eq!(terms.max_workers, 8);
    assert_eq!(terms.deadlines.first_channel, Duration::from_secs(11));
    assert_eq!(terms.deadlines.drain, Duration::from_secs(13));
    let seen = rules.upstreams.iter().map(|upstream| {
        (
            upstream.mode,
            upstream.priority,
            upstream.weight,
            upstream.is_drained,
        )
    });
    let expected = [
        (ChannelMode::Aggregated, 0, 70, false),
        (ChannelMode::PerMiner, 0, 30, true),
    ];
    assert!(seen.eq(expected));
}

#[test]
fn what_is_wrong_is_said_with_its_key_and_what_to_do() {
    for (text, assignments, expected) in [
        (
            String::new(),
            &[PLAIN][..],
            "`upstreams`: names no pool; add a table [[upstreams]]",
        ),
        (
            pool(""),
            &[],
            "`authority.secret_key`: is missing; make a pair with `stratum keys`",
        ),
        (
            pool("mode = 'aggregated'"),
            &[PLAIN],
            "`upstreams.user_identity`: is missing; say who mines there",
        ),
        (
            pool("mode = 'both'"),
            &[PLAIN],
            "`upstreams.mode`: is `both`; write \"aggregated\", or",
        ),
        (
            pool("weight = 0"),
            &[PLAIN],
            "`upstreams.weight`: is 0; choose 1 or more",
        ),
        (
            pool(""),
            &[PLAIN, "sv1.address=3333"],
            "`sv1.address`: `3333` is no address with a port",
        ),
        (
            pool(""),
            &[PLAIN, "limits.drain_secs=0"],
            "`limits.drain_secs`: is 0",
        ),
    ] {
        let said = load(&text, assignments).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}
