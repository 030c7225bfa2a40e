//! The configuration, as it is written and as it is used.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use binary_sv2::Str0255;
use network_helpers_sv2::{ClientSecurity, Endpoint, Protocol, ServerUrl, Sv1Endpoint, TlsClient};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::setup;
use serde::Deserialize;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::ProgramSettings;
use stratum_runtime::{DEFAULT_GRACE_SECS, Secret, logging};
use sv1_api::client_message::MAX_TEXT_BYTES;

use crate::workers::Effort;

/// The commented configuration that `stratum config init miner` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../mining-device-config.toml");

/// Extranonce bytes that an extended channel can have, at most.
const MAX_EXTRANONCE_SIZE: u16 = 32;

/// What a mining device in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pool or proxy.
    pub upstream: ServerUrl,
    /// How the connection to an Sv2 server is secured.
    pub security: ClientSecurity,
    /// What only an Sv1 server is told.
    pub sv1: Sv1Config,
    /// Who mines, as the pool understands it.
    pub user_identity: Str0255<'static>,
    /// Kind of channel to open.
    pub channel: ChannelKind,
    /// Bytes that an extended channel must leave to us.
    pub min_extranonce_size: u16,
    /// Hashes per second to announce; measured at start when `None`.
    pub nominal_hashrate: Option<f32>,
    /// The threads that hash.
    pub effort: Effort,
    /// What to tell of ourselves; host and port are those of the upstream.
    pub about: setup::Endpoint<'static>,
}

/// What a mining device needs to know for Sv1 servers only.
#[derive(Clone, Debug)]
pub struct Sv1Config {
    /// Goes with the user's name: options for the server, seldom a secret.
    pub password: Secret<String>,
    /// Shares a minute at which the suggested difficulty aims; nothing is suggested when `None`.
    pub shares_per_min: Option<f64>,
    /// Whom to believe behind `stratum+ssl://`.
    pub tls: TlsClient,
}

impl Default for Sv1Config {
    fn default() -> Self {
        Self {
            password: Secret::new(DEFAULT_PASSWORD.to_owned()),
            shares_per_min: Some(DEFAULT_SHARES_PER_MIN),
            tls: TlsClient::verifying(&[]).expect("the usual authorities are built in"),
        }
    }
}

/// The password that servers expect of those who have none to tell.
const DEFAULT_PASSWORD: &str = "x";

/// Few enough for any server, often enough to see soon that it works.
const DEFAULT_SHARES_PER_MIN: f64 = 10.0;

impl Config {
    /// The defaults for an Sv2 pool or proxy: all cores on one standard channel, encrypted where the endpoint has a key.
    pub fn new(upstream: Endpoint) -> Self {
        ServerUrl::Sv2(upstream).into()
    }

    /// The defaults for an Sv1 pool or proxy: all cores, any password, a suggested difficulty, certificates verified.
    pub fn sv1(upstream: Sv1Endpoint) -> Self {
        ServerUrl::Sv1(upstream).into()
    }
}

impl From<ServerUrl> for Config {
    fn from(upstream: ServerUrl) -> Self {
        let authority = match &upstream {
            ServerUrl::Sv2(server) => server.authority,
            ServerUrl::Sv1(_) => None,
        };
        let security = match authority {
            Some(_) => ClientSecurity::Noise { authority },
            None => ClientSecurity::Plain,
        };
        let vendor = concat!("stratum-mining-device/", env!("CARGO_PKG_VERSION"));
        let hasher = crate::hasher::Hasher::detect().name();
        Self {
            upstream,
            security,
            sv1: Sv1Config::default(),
            user_identity: "miner".try_into().unwrap_or_default(),
            channel: ChannelKind::Standard,
            min_extranonce_size: 4,
            nominal_hashrate: None,
            effort: Effort::full(one_per_core()),
            about: setup::Endpoint {
                vendor: vendor.try_into().unwrap_or_default(),
                hardware_version: hasher.try_into().unwrap_or_default(),
                ..setup::Endpoint::default()
            },
        }
    }
}

fn one_per_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// What the program needs besides.
#[derive(Clone, Debug)]
pub struct ProgramConfig {
    /// The device.
    pub device: Config,
    /// Pause between two lines that say how it goes; `None` for lines only when something changes.
    pub report_interval: Option<Duration>,
    /// Its log and its end.
    pub program: ProgramSettings,
}

/// The keys as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawConfig {
    upstream: RawUpstream,
    sv1: RawSv1,
    mining: RawMining,
    device: RawDevice,
    program: RawProgram,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawUpstream {
    url: Option<String>,
    encrypted: bool,
    user_identity: String,
    channel: String,
    min_extranonce_size: u16,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawSv1 {
    password: Secret<String>,
    shares_per_min: f64,
    tls_verify: bool,
    tls_ca_files: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawMining {
    threads: Option<usize>,
    nominal_hashrate: Option<f64>,
    hashrate_limit: Option<f64>,
    low_priority: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RawDevice {
    vendor: Option<String>,
    hardware_version: Option<String>,
    firmware: String,
    device_id: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct RawProgram {
    report_secs: u64,
    log: String,
    grace_secs: u64,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            url: None,
            encrypted: true,
            user_identity: "miner".to_owned(),
            channel: "standard".to_owned(),
            min_extranonce_size: 4,
        }
    }
}

impl Default for RawSv1 {
    fn default() -> Self {
        Self {
            password: Secret::new(DEFAULT_PASSWORD.to_owned()),
            shares_per_min: DEFAULT_SHARES_PER_MIN,
            tls_verify: true,
            tls_ca_files: Vec::new(),
        }
    }
}

impl Default for RawMining {
    fn default() -> Self {
        Self {
            threads: None,
            nominal_hashrate: None,
            hashrate_limit: None,
            low_priority: true,
        }
    }
}

impl Default for RawProgram {
    fn default() -> Self {
        Self {
            report_secs: 30,
            log: logging::DEFAULT_LEVEL.to_owned(),
            grace_secs: DEFAULT_GRACE_SECS,
        }
    }
}

impl TryFrom<RawConfig> for ProgramConfig {
    type Error = Invalid;

    fn try_from(raw: RawConfig) -> Result<Self, Invalid> {
        let (upstream, mining) = (raw.upstream, raw.mining);
        let defaults = Config::from(upstream.server()?);
        let security = match upstream.encrypted {
            true => defaults.security,
            false => ClientSecurity::Plain,
        };
        let nominal = positive("mining.nominal_hashrate", mining.nominal_hashrate, RATE)?;
        let device = Config {
            security,
            sv1: raw.sv1.valid()?,
            user_identity: short_text("upstream.user_identity", upstream.user_identity)?,
            channel: parse_channel(&upstream.channel)?,
            min_extranonce_size: extranonce_size(upstream.min_extranonce_size)?,
            nominal_hashrate: nominal.map(|hashrate| hashrate as f32),
            effort: Effort {
                threads: mining.threads()?,
                hashrate_limit: positive("mining.hashrate_limit", mining.hashrate_limit, RATE)?,
                is_low_priority: mining.low_priority,
            },
            about: raw.device.about(defaults.about)?,
            upstream: defaults.upstream,
        };
        Ok(Self {
            device,
            report_interval: match raw.program.report_secs {
                0 => None,
                secs => Some(Duration::from_secs(secs)),
            },
            program: raw.program.settings()?,
        })
    }
}

impl RawProgram {
    fn settings(self) -> Result<ProgramSettings, Invalid> {
        logging::check(&self.log)
            .map_err(|error| Invalid::new("program.log", error.to_string(), ""))?;
        Ok(ProgramSettings {
            log_level: self.log,
            grace: Duration::from_secs(self.grace_secs),
        })
    }
}

impl RawUpstream {
    fn server(&self) -> Result<ServerUrl, Invalid> {
        const FORM: &str = "name the pool or proxy as stratum2+tcp://host:port/KEY, stratum+tcp://host:port or \
                            stratum+ssl://host:port";
        let wrong = |what: &str, fix: &str| Invalid::new("upstream.url", what, fix);
        let Some(url) = &self.url else {
            return Err(wrong("is missing", FORM));
        };
        // The error says what to write.
        let server = ServerUrl::parse_or(url, Protocol::Sv2)
            .map_err(|error| wrong(&error.to_string(), ""))?;
        match &server {
            ServerUrl::Sv2(endpoint) if self.encrypted && endpoint.authority.is_none() => {
                Err(wrong(
                    "has no authority key",
                    "add the key that the server's operator publishes, as stratum2+tcp://host:port/KEY, or set \
                 upstream.encrypted = false (--plain) on a network of your own",
                ))
            }
            ServerUrl::Sv1(endpoint) if !self.encrypted && endpoint.is_tls => Err(wrong(
                "asks for TLS, and upstream.encrypted = false (--plain) for none",
                "write stratum+tcp://host:port for a connection without TLS",
            )),
            _ => Ok(server),
        }
    }
}

impl RawSv1 {
    fn valid(self) -> Result<Sv1Config, Invalid> {
        let len = self.password.expose().len();
        if len > MAX_TEXT_BYTES {
            let fix = format!("{MAX_TEXT_BYTES} bytes fit at most");
            let what = format!("is {len} bytes long");
            return Err(Invalid::new("sv1.password", what, fix));
        }
        let asked = Some(self.shares_per_min).filter(|shares| *shares != 0.0);
        let fix = "choose a number of shares a minute, or 0 to suggest no difficulty";
        Ok(Sv1Config {
            shares_per_min: positive("sv1.shares_per_min", asked, fix)?,
            tls: self.tls()?,
            password: self.password,
        })
    }

    fn tls(&self) -> Result<TlsClient, Invalid> {
        const KEY: &str = "sv1.tls_ca_files";
        if self.tls_verify {
            let client = TlsClient::verifying(&self.tls_ca_files);
            return client.map_err(|error| Invalid::new(KEY, error.to_string(), ""));
        }
        if !self.tls_ca_files.is_empty() {
            let what = "has no effect while sv1.tls_verify is false";
            return Err(Invalid::new(KEY, what, "leave out one of the two"));
        }
        Ok(TlsClient::believing_anyone())
    }
}

impl RawMining {
    fn threads(&self) -> Result<NonZeroUsize, Invalid> {
        match self.threads {
            None => Ok(one_per_core()),
            Some(threads) => NonZeroUsize::new(threads)
                .filter(|threads| threads.get() <= MAX_THREADS)
                .ok_or_else(|| {
                    let fix =
                        format!("choose 1 to {MAX_THREADS}, or leave it out for one per core");
                    Invalid::new("mining.threads", format!("is {threads}"), fix)
                }),
        }
    }
}

/// More threads than any machine has cores.
const MAX_THREADS: usize = 4_096;

impl RawDevice {
    fn about(
        self,
        defaults: setup::Endpoint<'static>,
    ) -> Result<setup::Endpoint<'static>, Invalid> {
        let or = |key, text: Option<String>, default| match text {
            Some(text) => short_text(key, text),
            None => Ok(default),
        };
        Ok(setup::Endpoint {
            vendor: or("device.vendor", self.vendor, defaults.vendor)?,
            hardware_version: or(
                "device.hardware_version",
                self.hardware_version,
                defaults.hardware_version,
            )?,
            firmware: short_text("device.firmware", self.firmware)?,
            device_id: short_text("device.device_id", self.device_id)?,
            ..defaults
        })
    }
}

fn short_text(key: &str, text: String) -> Result<Str0255<'static>, Invalid> {
    let len = text.len();
    Str0255::try_from(text).map_err(|_| {
        let what = format!("is {len} bytes long");
        Invalid::new(key, what, "255 bytes fit at most")
    })
}

fn parse_channel(name: &str) -> Result<ChannelKind, Invalid> {
    match name {
        "standard" => Ok(ChannelKind::Standard),
        "extended" => Ok(ChannelKind::Extended),
        other => {
            let what = format!("`{other}` is no kind of channel");
            let fix = "choose standard or extended";
            Err(Invalid::new("upstream.channel", what, fix))
        }
    }
}

fn extranonce_size(size: u16) -> Result<u16, Invalid> {
    if size > MAX_EXTRANONCE_SIZE {
        let fix = format!("{MAX_EXTRANONCE_SIZE} is the most there can be");
        let what = format!("is {size}");
        return Err(Invalid::new("upstream.min_extranonce_size", what, fix));
    }
    Ok(size)
}

const RATE: &str = "choose a number above 0, in hashes per second";

fn positive(key: &str, rate: Option<f64>, fix: &str) -> Result<Option<f64>, Invalid> {
    match rate {
        Some(rate) if !(rate > 0.0 && rate <= f64::from(f32::MAX)) => {
            Err(Invalid::new(key, format!("is {rate}"), fix))
        }
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use stratum_runtime::config::{Loader, check_template};

    use super::*;

    const URL: &str = "upstream.url=stratum2+tcp://pool.example:3333/9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

    fn load(assignments: &[&str]) -> Result<ProgramConfig, String> {
        let loader = Loader::new(crate::ROLE)
            .text("miner.toml", DEFAULT_CONFIG)
            .unwrap();
        let loaded = loader
            .set(assignments)
            .and_then(|loader| loader.load::<RawConfig, _>());
        loaded.map_err(|error| error.to_string())
    }

    #[test]
    fn the_written_configuration_explains_every_key_and_gives_the_defaults() {
        check_template::<RawConfig>(DEFAULT_CONFIG).unwrap();
    }

    #[test]
    fn a_url_is_enough() {
        let config = load(&[URL]).unwrap();
        assert!(matches!(
            config.device.security,
            ClientSecurity::Noise { authority: Some(_) }
        ));
        assert_eq!(config.device.channel, ChannelKind::Standard);
        assert_eq!(config.device.effort.threads, one_per_core());
        assert_eq!(config.report_interval, Some(Duration::from_secs(30)));
        assert!(
            config
                .device
                .about
                .vendor
                .as_str()
                .unwrap()
                .contains(env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn an_sv1_url_is_enough() {
        for (url, is_tls) in [
            ("upstream.url=stratum+tcp://pool.example:3333", false),
            ("upstream.url=stratum+ssl://pool.example:3334", true),
        ] {
            let device = load(&[url]).unwrap().device;
            let ServerUrl::Sv1(server) = device.upstream else {
                panic!("{url}")
            };
            assert_eq!((&*server.host, server.is_tls), ("pool.example", is_tls));
            assert_eq!(device.sv1.password.expose(), "x");
            assert_eq!(device.sv1.shares_per_min, Some(10.0));
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_told() {
        for (assignments, expected) in [
            (
                ["upstream.url=stratum+ssl://a:1", "upstream.encrypted=false"],
                "`upstream.url`: asks for TLS, and upstream.encrypted = false (--plain) for none",
            ),
            (
                ["sv1.tls_verify=false", "sv1.tls_ca_files=ca.pem"],
                "`sv1.tls_ca_files`: has no effect while sv1.tls_verify is false",
            ),
        ] {
            let error = load(&[&[URL], &assignments[..]].concat()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_key_arrives() {
        let config = load(&[
            "upstream.url=h:1",
            "upstream.encrypted=false",
            "upstream.user_identity=alice",
            "upstream.channel=extended",
            "upstream.min_extranonce_size=8",
            "sv1.password=hunter2",
            "sv1.shares_per_min=0",
            "sv1.tls_verify=false",
            "mining.threads=3",
            "mining.nominal_hashrate=2e6",
            "mining.hashrate_limit=1000",
            "mining.low_priority=false",
            "device.vendor=v",
            "device.hardware_version=h",
            "device.firmware=f",
            "device.device_id=d",
            "program.report_secs=0",
        ])
        .unwrap();
        let device = config.device;
        assert_eq!(device.security, ClientSecurity::Plain);
        assert_eq!(device.sv1.password.expose(), "hunter2");
        let shown = format!("{device:?}");
        assert!(
            shown.contains("is_verifying: false") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert_eq!(device.sv1.shares_per_min, None);
        assert_eq!(device.user_identity.as_str(), Some("alice"));
        assert_eq!(
            (device.channel, device.min_extranonce_size),
            (ChannelKind::Extended, 8)
        );
        assert_eq!(device.nominal_hashrate, Some(2e6));
        let effort = device.effort;
        assert_eq!(
            (
                effort.threads.get(),
                effort.hashrate_limit,
                effort.is_low_priority
            ),
            (3, Some(1000.0), false)
        );
        let about = device.about;
        let told = [
            about.vendor,
            about.hardware_version,
            about.firmware,
            about.device_id,
        ];
        assert_eq!(
            told.map(|text| text.as_str().unwrap().to_owned()),
            ["v", "h", "f", "d"]
        );
        assert_eq!(config.report_interval, None);
    }

    #[test]
    fn each_mistake_says_where_what_and_what_to_do() {
        let long_password = format!("sv1.password={}", "x".repeat(513));
        let long = format!("upstream.user_identity={}", "x".repeat(256));
        for (assignment, expected) in [
            ("upstream.url=pool", "`upstream.url`: `pool` has no port"),
            ("program.log=a=loud", "`program.log`: "),
            ("upstream.url=http://a:1", "`http://` is not Stratum; write"),
            (
                "upstream.url=stratum+tcp://bob:hunter2@a:1",
                "`upstream.url`: the address has a user name before the host",
            ),
            (&long_password, "`sv1.password`: is 513 bytes long; 512"),
            (
                "sv1.shares_per_min=-1",
                "`sv1.shares_per_min`: is -1; choose a number of shares",
            ),
            (
                "sv1.tls_ca_files=/nowhere/ca.pem",
                "`sv1.tls_ca_files`: cannot read /nowhere/ca.pem",
            ),
            (
                "upstream.url=a:1/garbage",
                "`garbage` is not an authority key",
            ),
            (
                "upstream.url=a:1",
                "`upstream.url`: has no authority key; add the key",
            ),
            (
                &long,
                "`upstream.user_identity`: is 256 bytes long; 255 bytes fit",
            ),
            (
                "upstream.channel=group",
                "`group` is no kind of channel; choose standard",
            ),
            ("upstream.min_extranonce_size=33", "is 33; 32 is the most"),
            ("mining.threads=0", "`mining.threads`: is 0; choose 1 to"),
            ("mining.threads=9999", "`mining.threads`: is 9999"),
            (
                "mining.nominal_hashrate=0",
                "`mining.nominal_hashrate`: is 0; choose a number above 0",
            ),
            ("mining.hashrate_limit=-5", "`mining.hashrate_limit`: is -5"),
            ("mining.hashrate_limit=nan", "`mining.hashrate_limit`: "),
            ("mining.treads=1", "did you mean `threads`?"),
        ] {
            let error = load(&[URL, assignment]).unwrap_err();
            assert!(error.contains(expected), "{assignment}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(
            load(&[])
                .unwrap_err()
                .contains("`upstream.url`: is missing; name the pool")
        );
    }
}
