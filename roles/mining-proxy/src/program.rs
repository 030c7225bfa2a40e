//! The program around the proxy.

use std::io;

use serde::de::DeserializeOwned;
use stratum_runtime::config::sections::ProgramSettings;
use stratum_runtime::config::{ConfigArgs, Invalid};
use stratum_runtime::{
    Hangups, ProgramError, Shutdown, drain_on_signals, reload_on_hangup, run_program,
};
use thiserror::Error;

use crate::{ProgramConfig, Proxy, RawConfig, StartError};

/// The name under which the program is configured, as in `STRATUM_PROXY__LISTEN__ADDRESS`.
pub const ROLE: &str = "proxy";

/// Why the program cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The proxy does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The operating system refuses signal handlers.
    #[error("cannot watch for signals: {0}")]
    Signals(#[from] io::Error),
}

/// The whole program, as its arguments say.
///
/// # Errors
/// [`ProgramError`], whose message says what to do.
pub fn main(args: &ConfigArgs) -> Result<(), ProgramError> {
    run_program::<RawConfig, _, _, _>(
        ROLE,
        args,
        |config: &ProgramConfig| &config.program,
        |config| run::<RawConfig>(ROLE, config, args.clone()),
    )
}

/// Runs a proxy, or a translator, whose configuration is written as `R` under the name `role`, until a signal drains it;
/// needs a tokio runtime. Without any pool it keeps trying, says so in the log, and gives miners work as soon as there is
/// some. At SIGHUP it reads its configuration again, as `args` say.
///
/// # Errors
/// See [`RunError`].
pub async fn run<R>(
    role: &'static str,
    config: ProgramConfig,
    args: ConfigArgs,
) -> Result<(), RunError>
where
    R: DeserializeOwned + 'static,
    ProgramConfig: TryFrom<R, Error = Invalid>,
{
    let shutdown = Shutdown::new();
    let program = config.program;
    drain_on_signals(shutdown.clone(), program.grace)?;
    let hangups = Hangups::watch()?;
    let proxy = Proxy::start(config.proxy, shutdown.clone())?;
    let reloader = proxy.reloader();
    let take = move |new: ProgramConfig| {
        let (reloader, later) = (reloader.clone(), fixed_program_keys(&program, &new.program));
        async move {
            let keys = reloader.reload(new.proxy).await?;
            Ok::<_, StartError>([keys, later].concat())
        }
    };
    reload_on_hangup::<R, _, _, _>(hangups, role, args, shutdown.clone(), take);
    proxy.join().await;
    shutdown.end();
    Ok(())
}

/// Keys that say something else, and that a program follows from its start only.
fn fixed_program_keys(start: &ProgramSettings, new: &ProgramSettings) -> Vec<&'static str> {
    let keys = [
        ("program.log", start.log_level != new.log_level),
        ("program.grace_secs", start.grace != new.grace),
    ];
    let changed = keys.into_iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| key).collect()
}
