//! The options.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum;
use network_helpers_sv2::{Endpoint, Protocol, ServerUrl, ServerUrlError};
use serde::Serialize;

use crate::firmware::{DEFAULT_DURATION, DEFAULT_HASHRATE};

/// What to load, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Server to load, as stratum2+tcp://HOST:PORT/KEY, stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT
    #[arg(value_name = "URL", value_parser = server_url)]
    pub url: Option<ServerUrl>,
    /// Load a pool that this program starts by itself, with a fixed template and the easiest target
    #[arg(long = "self", conflicts_with = "url")]
    pub own: bool,
    /// With --self: put a translator before the pool and load that, as Stratum V1 miners
    #[arg(long)]
    pub sv1: bool,
    /// The translator of --self opens a channel for each miner instead of one for all
    #[arg(long, requires = "sv1")]
    pub per_miner: bool,
    /// With --self: put a mining proxy before the pool and load that, as Stratum V2 devices
    #[arg(long, conflicts_with = "sv1")]
    pub proxy: bool,
    /// The proxy of --self has one channel on the pool for all devices
    #[arg(long, requires = "proxy", conflicts_with = "transparent")]
    pub aggregated: bool,
    /// The proxy of --self has a channel on the pool for each device's; the default
    #[arg(long, requires = "proxy")]
    pub transparent: bool,
    /// Connect to URL without encryption
    #[arg(long, conflicts_with = "own")]
    pub plain: bool,
    /// Process of the server behind URL, if it runs on this machine: its CPU time and memory are measured
    #[arg(long, value_name = "PID", conflicts_with = "own")]
    pub server_pid: Option<u32>,
    /// Threads for connections of the server that --self loads; if not given, as many as there are cores, and one for a
    /// translator or proxy
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// Shares that the pool of --self acknowledges together
    #[arg(long, default_value = "10")]
    pub acks: NonZeroU32,
    /// Do not run the bare server that shows how low the figures could be
    #[arg(long)]
    pub no_floor: bool,
    /// The load
    #[command(flatten)]
    pub shape: Shape,
    /// Behave as such a client, and fail when the server does what it cannot take, instead of measuring a load
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// With --profile: a connection is done when it has so many shares accepted
    #[arg(long, value_name = "COUNT", requires = "profile")]
    pub shares: Option<NonZeroU64>,
    /// With --profile: hashes a second that each connection really does
    #[arg(long, value_name = "RATE", requires = "profile", default_value_t = DEFAULT_HASHRATE)]
    pub device_hashrate: f64,
    /// What this process is, if it was started as a server to be measured
    #[arg(long, hide = true)]
    pub(crate) serve: Option<ServerRole>,
    /// The pool that the translator or proxy is to use
    #[arg(long, hide = true)]
    pub(crate) upstream: Option<Endpoint>,
    /// Lengths of share, acknowledgement and tip that the bare server deals with, in bytes
    #[arg(long, hide = true, value_delimiter = ',', default_value = "62,58,190")]
    pub(crate) bare_lens: Vec<usize>,
}

/// The load that clients put on the server.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// Connections, open all the time
    #[arg(long, default_value = "100")]
    pub connections: NonZeroUsize,
    /// Channels on each connection
    #[arg(long, default_value = "1")]
    pub channels: NonZeroUsize,
    /// Kind of channel; if not given, standard, and extended with --profile firmware
    #[arg(long, value_enum)]
    pub channel: Option<ChannelType>,
    /// Shares that a channel sends before it waits for acknowledgements
    #[arg(long, default_value = "32")]
    pub window: NonZeroUsize,
    /// Shares a second on each connection, evenly spread; as many as the server takes if not given
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds of each round; 5 if not given. With --profile firmware: seconds within which each connection must have a
    /// share accepted; 120 if not given
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Rounds; figures are the medians of all
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroUsize,
    /// Measure how a new tip spreads instead of shares; with a URL, a round waits for the chain's next block
    #[arg(long)]
    pub new_tip: bool,
    /// Connections that are opened at the same time
    #[arg(long, default_value = "32")]
    pub parallel: NonZeroUsize,
    /// User identity of all channels; many pools want an address
    #[arg(long, default_value = "load")]
    pub user: String,
    /// Hash rate that each channel claims, in hashes a second; the lower it is, the easier the target. --profile firmware
    /// claims 1e12
    #[arg(long, default_value = "1")]
    pub hashrate: f32,
}

/// A client to behave as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Small firmware, as Bitaxe devices have it: 8 192 bytes for a frame, 20 merkle branches, 8 jobs.
    Firmware,
}

/// Kind of channel to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelType {
    /// Jobs carry their merkle root.
    Standard,
    /// The client rolls the extranonce.
    Extended,
}

impl ChannelType {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Extended => "extended",
        }
    }
}

/// A server that the tool starts as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerRole {
    /// The pool.
    Pool,
    /// The translator.
    Translator,
    /// The mining proxy.
    Proxy,
    /// The bare server.
    Floor,
}

/// Seconds of a round unless told otherwise.
const ROUND_SECONDS: f64 = 5.0;

/// Longest round, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Without a scheme Stratum V2 is meant.
fn server_url(text: &str) -> Result<ServerUrl, ServerUrlError> {
    ServerUrl::parse_or(text, Protocol::Sv2)
}

impl Args {
    /// The protocol of the load.
    pub(crate) const fn protocol(&self) -> Protocol {
        match &self.url {
            Some(url) => url.protocol(),
            None if self.sv1 => Protocol::Sv1,
            None => Protocol::Sv2,
        }
    }

    /// What stands before the pool of `--self`, and is loaded instead of it.
    pub(crate) const fn front(&self) -> Option<ServerRole> {
        match (self.sv1, self.proxy) {
            (true, _) => Some(ServerRole::Translator),
            (false, true) => Some(ServerRole::Proxy),
            (false, false) => None,
        }
    }

    /// Shares that one answer of the server is for.
    pub(crate) fn shares_per_answer(&self) -> usize {
        match self.protocol() {
            Protocol::Sv1 => 1,
            Protocol::Sv2 => self.acks.get() as usize,
        }
    }

    /// What clap cannot check.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let shape = &self.shape;
        ensure!(
            self.own || self.url.is_some() || self.serve.is_some(),
            "name a server, such as stratum2+tcp://HOST:PORT/KEY, or let --self start one"
        );
        ensure!(
            shape
                .seconds
                .is_none_or(|seconds| seconds > 0.0 && seconds <= MAX_SECONDS),
            "--seconds must be above 0 and at most {MAX_SECONDS}"
        );
        ensure!(
            shape.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
            "--rate must be above 0; leave it out to send as fast as the server takes shares"
        );
        ensure!(
            !self.own
                || shape.rate.is_some()
                || self.profile.is_some()
                || self.shares_per_answer() <= shape.window.get(),
            "--window must not be below --acks, or every share waits for its acknowledgement's deadline"
        );
        ensure!(
            !self.sv1 || self.url.is_none(),
            "--sv1 is for --self: a URL says which protocol it means, so write stratum+tcp://HOST:PORT"
        );
        ensure!(
            !self.proxy || self.url.is_none(),
            "--proxy is for --self: behind a URL stands what stands there"
        );
        let is_sv2 = self.protocol() == Protocol::Sv2;
        ensure!(
            is_sv2 || shape.channels.get() == 1 && shape.channel() == ChannelType::Standard,
            "Stratum V1 has no channels: leave --channels and --channel out"
        );
        ensure!(
            is_sv2 || !self.plain,
            "--plain is for Stratum V2: write stratum+tcp:// for Stratum V1 without encryption"
        );
        ensure!(
            shape.user.len() <= usize::from(u8::MAX),
            "--user must have at most 255 bytes"
        );
        match self.profile {
            Some(Profile::Firmware) => self.check_firmware(),
            None => Ok(()),
        }
    }

    fn check_firmware(&self) -> anyhow::Result<()> {
        let shape = &self.shape;
        ensure!(
            self.protocol() == Protocol::Sv2 && shape.channels.get() == 1,
            "--profile firmware is for Stratum V2 with one channel on each connection: leave --sv1 and --channels out"
        );
        ensure!(
            shape.rate.is_none() && !shape.new_tip,
            "--profile firmware hashes for its shares, and takes tips as they come: leave --rate and --new-tip out"
        );
        ensure!(
            self.device_hashrate.is_finite() && self.device_hashrate > 0.0,
            "--device-hashrate must be above 0"
        );
        Ok(())
    }

    /// How long the connections of --profile firmware mine.
    pub(crate) fn firmware_duration(&self) -> Duration {
        let given = self.shape.seconds.map(duration);
        given.unwrap_or(DEFAULT_DURATION)
    }
}

impl Shape {
    /// The length of a round.
    pub(crate) fn round(&self) -> Duration {
        duration(self.seconds.unwrap_or(ROUND_SECONDS))
    }

    /// Kind of channel of a load.
    pub(crate) fn channel(&self) -> ChannelType {
        self.channel.unwrap_or(ChannelType::Standard)
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, MAX_SECONDS))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.args.check().map_err(|error| error.to_string())?;
        Ok(cli.args)
    }

    #[test]
    fn a_server_is_named_or_started() {
        let named = parse("127.0.0.1:3333 --rate 0.5 --server-pid 7").unwrap();
        let url = named.url.as_ref().unwrap();
        assert_eq!((url.port(), named.server_pid), (3333, Some(7)));
        assert_eq!(named.protocol(), Protocol::Sv2);
        assert!(parse("--self --channel extended --new-tip").unwrap().own);
        for (sv1, port) in [
            ("stratum+tcp://127.0.0.1:3333", Some(3333)),
            ("stratum+ssl://127.0.0.1:3334 --rate 1", Some(3334)),
            ("--self --sv1 --window 1", None),
            ("--self --sv1 --per-miner", None),
            ("--serve translator --sv1", None),
        ] {
            let args = parse(sv1).unwrap();
            assert_eq!(args.protocol(), Protocol::Sv1, "{sv1}");
            assert_eq!(args.url.map(|url| url.port()), port, "{sv1}");
        }
        for wrong in [
            "",
            "--self 127.0.0.1:3333",
            "127.0.0.1",
            "--self --server-pid 7",
            "http://127.0.0.1:3333",
            "--sv1 127.0.0.1:3333",
            "--self --per-miner",
            "--proxy 127.0.0.1:3333",
            "--self --proxy --sv1",
            "--self --aggregated",
            "--self --transparent",
            "--self --proxy --aggregated --transparent",
            "--self --sv1 --channels 2",
            "--self --sv1 --channel extended",
            "stratum+tcp://127.0.0.1:3333 --plain",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("").unwrap_err().contains("let --self start one"));
    }

    #[test]
    fn a_load_that_measures_nothing_is_refused() {
        for (wrong, option) in [
            ("--self --seconds 0", "--seconds"),
            ("--self --seconds NaN", "--seconds"),
            ("--self --rate 0", "--rate"),
            ("--self --rate inf", "--rate"),
            ("--self --window 1", "--window"),
            ("--self --connections 0", "--connections"),
            ("--self --profile firmware --rate 1", "--rate"),
            ("--self --profile firmware --new-tip", "--new-tip"),
            ("--self --profile firmware --sv1", "--sv1"),
            ("--self --profile firmware --channels 2", "--channels"),
            (
                "--self --profile firmware --device-hashrate 0",
                "--device-hashrate",
            ),
            ("--self --profile bitaxe", "--profile"),
            ("--self --shares 5", "--profile"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(option), "{wrong}: {error}");
        }
        parse("--self --window 1 --acks 1").unwrap();
        parse("--self --window 1 --rate 2").unwrap();
        parse("--self --profile firmware --window 1 --shares 5").unwrap();
    }
}
