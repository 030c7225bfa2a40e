//! The program around the translator.

use std::io;

use stratum_mining_proxy::{Proxy, StartError};
use stratum_runtime::config::ConfigArgs;
use stratum_runtime::{ProgramError, Shutdown, drain_on_signals, run_program};
use thiserror::Error;

use crate::{ProgramConfig, RawConfig};

/// The name under which the program is configured, as in `STRATUM_TRANSLATOR__LISTEN__ADDRESS`.
pub const ROLE: &str = "translator";

/// Why the program cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The translator does not start.
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
    run_program::<RawConfig, _, _, _>(ROLE, args, |config: &ProgramConfig| &config.program, run)
}

/// Runs a translator until a signal drains it; needs a tokio runtime. Without any pool it keeps trying, says so in the
/// log, and gives miners work as soon as there is some.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: ProgramConfig) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), config.program.grace)?;
    let translator = Proxy::start(config.translator, shutdown.clone())?;
    translator.join().await;
    shutdown.end();
    Ok(())
}
