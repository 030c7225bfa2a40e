//! The program around the device.

use std::io::{self, Write};
use std::time::Duration;

use stratum_runtime::config::{ConfigArgs, ConfigError};
use stratum_runtime::{ProgramError, Shutdown, drain_on_signals, run_program};

use crate::{MiningDevice, ProgramConfig, RawConfig, Snapshot, Watcher};

/// The name under which the program is configured, as in `STRATUM_MINER__UPSTREAM__URL`.
pub const ROLE: &str = "miner";

/// The arguments of the program; a URL is enough.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MinerArgs {
    /// Pool or proxy to mine for: stratum2+tcp://host:port/KEY, or stratum+tcp://host:port, stratum+ssl://host:port for
    /// Stratum V1
    pub url: Option<String>,
    /// Who mines, as the pool understands it: an account, an address, or any name (upstream.user_identity)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Kind of channel: standard or extended (upstream.channel)
    #[arg(long, value_name = "KIND")]
    pub channel: Option<String>,
    /// Connect to a Stratum V2 server without encryption; only for a network of your own (upstream.encrypted)
    #[arg(long)]
    pub plain: bool,
    /// The arguments of every program.
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl MinerArgs {
    /// Loads the configuration; what the arguments say wins.
    ///
    /// # Errors
    /// [`ConfigError`], whose message says what to do.
    pub fn load(&self) -> Result<ProgramConfig, ConfigError> {
        self.overrides().load::<RawConfig, ProgramConfig>(ROLE)
    }

    /// The arguments of every program, with what the others say as further assignments.
    fn overrides(&self) -> ConfigArgs {
        let named = [
            ("upstream.url", self.url.clone()),
            ("upstream.user_identity", self.user.clone()),
            ("upstream.channel", self.channel.clone()),
            ("upstream.encrypted", self.plain.then(|| "false".to_owned())),
        ];
        let mut config = self.config.clone();
        let given = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        config
            .set
            .extend(given.map(|(key, value)| format!("{key}={value}")));
        config
    }
}

/// The whole program, as its arguments say.
///
/// # Errors
/// [`ProgramError`], whose message says what to do.
pub fn main(args: &MinerArgs) -> Result<(), ProgramError> {
    let args = args.overrides();
    run_program::<RawConfig, _, _, _>(ROLE, &args, |config: &ProgramConfig| &config.program, run)
}

/// Mines until a signal drains it, and says on standard output how it goes; needs a tokio runtime.
///
/// # Errors
/// When the operating system refuses signal handlers.
pub async fn run(config: ProgramConfig) -> io::Result<()> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), config.program.grace)?;
    let device = MiningDevice::start(config.device, shutdown.clone());
    let watcher = device.watcher();
    tokio::select! {
        // The end comes first, as the last line is said below.
        biased;
        () = shutdown.draining() => {}
        () = report(device.watcher(), config.report_interval) => {}
    }
    device.join().await;
    say(&watcher.snapshot());
    shutdown.end();
    Ok(())
}

/// Says how it goes at every interval, and when the connection comes or goes.
async fn report(mut watcher: Watcher, interval: Option<Duration>) {
    let mut last = news(&watcher.snapshot());
    loop {
        let wait = async {
            match interval {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            is_alive = watcher.changed(|snapshot| news(snapshot) != last) => {
                if !is_alive {
                    return;
                }
            }
        }
        let snapshot = watcher.snapshot();
        last = news(&snapshot);
        say(&snapshot);
    }
}

/// What is worth a line at once.
fn news(snapshot: &Snapshot) -> (bool, bool, u64) {
    let is_hashing = snapshot.hashrate > 0.0;
    (snapshot.is_connected, is_hashing, snapshot.reconnects)
}

fn say(snapshot: &Snapshot) {
    // Who closed our output wants no more lines, but may still want shares.
    let _ = writeln!(io::stdout(), "{snapshot}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        miner: MinerArgs,
    }

    #[test]
    fn arguments_win_over_assignments() {
        let args = Args::parse_from([
            "miner",
            "pool.example:1",
            "--plain",
            "--user",
            "bob",
            "--channel",
            "extended",
            "--set",
            "upstream.user_identity=alice",
        ]);
        let device = args.miner.load().unwrap().device;
        assert_eq!(device.upstream.to_string(), "stratum2+tcp://pool.example:1");
        assert_eq!(device.user_identity.as_str(), Some("bob"));
        assert_eq!(
            device.channel,
            roles_logic_sv2::channels::ChannelKind::Extended
        );
    }

    #[test]
    fn the_url_says_which_protocol_is_spoken() {
        let args = Args::parse_from(["miner", "stratum+tcp://pool.example:1"]);
        let device = args.miner.load().unwrap().device;
        assert!(matches!(
            device.upstream,
            network_helpers_sv2::ServerUrl::Sv1(_)
        ));
    }

    #[test]
    fn a_bad_url_says_what_to_do() {
        let args = Args::parse_from(["miner", "pool.example"]);
        let error = args.miner.load().unwrap_err().to_string();
        assert!(
            error.contains("`pool.example` has no port; write host:port"),
            "{error}"
        );
    }
}
