//! The program around the server.

use std::io;

use stratum_runtime::config::ConfigArgs;
use stratum_runtime::node::NodeError;
use stratum_runtime::{ProgramError, Shutdown, drain_on_signals, run_program};
use thiserror::Error;

use crate::report::{log, repeat};
use crate::{ProgramConfig, RawConfig, StartError, TemplateProvider};

/// The name under which the program is configured, as in `STRATUM_TEMPLATE_PROVIDER__LISTEN__ADDRESS`.
pub const ROLE: &str = "template-provider";

/// Why the program cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The nodes cannot be used.
    #[error(transparent)]
    Nodes(#[from] NodeError),
    /// The server does not start.
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

/// Runs a template provider until a signal drains it; needs a tokio runtime.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: ProgramConfig) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), config.program.grace)?;
    let node = config.nodes.spawn()?;
    let provider = TemplateProvider::start(config.server, node, shutdown.clone())?;
    let watcher = provider.watcher();
    tokio::select! {
        () = provider.join() => {}
        () = repeat(&watcher) => {}
    }
    log("the template provider has ended", &watcher.snapshot());
    shutdown.end();
    Ok(())
}
