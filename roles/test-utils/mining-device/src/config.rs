//! The configuration, as it is written and as it is used.

use std::num::NonZeroUsize;
use std::time::Duration;

use binary_sv2::Str0255;
use network_helpers_sv2::{ClientSecurity, Endpoint};
use roles_logic_sv2::channels::ChannelKind;
use roles_logic_sv2::setup;
use serde::Deserialize;
use stratum_runtime::config::Invalid;
use stratum_runtime::config::sections::ProgramSettings;
use stratum_runtime::{DEFAULT_GRACE_SECS, logging};

use crate::workers::Effort;

/// The commented configuration that `stratum config init miner` writes; it gives the defaults.
pub const DEFAULT_CONFIG: &str = include_str!("../mining-device-config.toml");

/// Extranonce bytes that an extended channel can have, at most.
const MAX_EXTRANONCE_SIZE: u16 = 32;

/// What a mining device in this process needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pool or proxy.
    pub upstream: Endpoint,
    /// How the connection to it is secured.
    pub security: ClientSecurity,
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

impl Config {
    /// The defaults for a pool or proxy: all cores on one standard channel, encrypted where the endpoint has a key.
    pub fn new(upstream: Endpoint) -> Self {
        let security = match upstream.authority {
            Some(authority) => ClientSecurity::Noise {
                authority: Some(authority),
            },
            None => ClientSecurity::Plain,
        };
        let vendor = concat!("stratum mining-device ", env!("CARGO_PKG_VERSION"));
        let hasher = crate::hasher::Hasher::detect().name();
        Self {
            upstream,
            security,
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
        let defaults = Config::new(upstream.endpoint()?);
        let security = match upstream.encrypted {
            true => defaults.security,
            false => ClientSecurity::Plain,
        };
        let nominal = positive("mining.nominal_hashrate", mining.nominal_hashrate)?;
        let device = Config {
            security,
            user_identity: short_text("upstream.user_identity", upstream.user_identity)?,
            channel: parse_channel(&upstream.channel)?,
            min_extranonce_size: extranonce_size(upstream.min_extranonce_size)?,
            nominal_hashrate: nominal.map(|hashrate| hashrate as f32),
            effort: Effort {
                threads: mining.threads()?,
                hashrate_limit: positive("mining.hashrate_limit", mining.hashrate_limit)?,
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
    fn endpoint(&self) -> Result<Endpoint, Invalid> {
        const KEY: &str = "upstream.url";
        const FORM: &str = "name the pool or proxy as stratum2+tcp://host:port/KEY";
        let Some(url) = &self.url else {
            return Err(Invalid::new(KEY, "is missing", FORM));
        };
        let endpoint: Endpoint =
            url.parse()
                .map_err(|error: network_helpers_sv2::EndpointError| {
                    Invalid::new(KEY, error.to_string(), FORM)
                })?;
        if self.encrypted && endpoint.authority.is_none() {
            let fix = "add the key that the server's operator publishes, as stratum2+tcp://host:port/KEY, or set \
                       upstream.encrypted = false (--plain) on a network of your own";
            return Err(Invalid::new(KEY, "has no authority key", fix));
        }
        Ok(endpoint)
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

fn positive(key: &str, rate: Option<f64>) -> Result<Option<f64>, Invalid> {
    match rate {
        Some(rate) if !(rate > 0.0 && rate <= f64::from(f32::MAX)) => {
            let fix = "choose a number above 0, in hashes per second";
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
    fn every_key_arrives() {
        let config = load(&[
            "upstream.url=h:1",
            "upstream.encrypted=false",
            "upstream.user_identity=alice",
            "upstream.channel=extended",
            "upstream.min_extranonce_size=8",
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
        let long = format!("upstream.user_identity={}", "x".repeat(256));
        for (assignment, expected) in [
            ("upstream.url=pool", "`upstream.url`: `pool` has no port"),
            ("program.log=a=loud", "`program.log`: "),
            (
                "upstream.url=stratum+tcp://a:1",
                "is not Stratum V2 over TCP",
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
        }
        assert!(
            load(&[])
                .unwrap_err()
                .contains("`upstream.url`: is missing; name the pool")
        );
    }
}
