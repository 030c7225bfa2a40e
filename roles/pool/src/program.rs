//! The program around the pool.

use std::io;

use bitcoin_node::hub::TemplateHub;
use stratum_runtime::config::ConfigArgs;
use stratum_runtime::node::NodeError;
use stratum_runtime::{ProgramError, Shutdown, drain_on_signals, run_program};
use thiserror::Error;

use crate::report::Report;
use crate::{Pool, ProgramConfig, RawConfig, StartError, TemplateSource, TemplatesConfig};

/// The name under which the program is configured, as in `STRATUM_POOL__LISTEN__ADDRESS`.
pub const ROLE: &str = "pool";

/// Why the program cannot run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The nodes cannot be used.
    #[error(transparent)]
    Nodes(#[from] NodeError),
    /// The pool does not start.
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

/// Runs a pool until a signal drains it; needs a tokio runtime. Without templates it serves miners all the same, says
/// so in the log, and gives them work as soon as there is some.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: ProgramConfig) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), config.program.grace)?;
    let (source, hub, hub_task) = match config.templates {
        TemplatesConfig::Provider { endpoint, security } => {
            (TemplateSource::Remote { endpoint, security }, None, None)
        }
        TemplatesConfig::Nodes(nodes) => {
            let (hub, task) = TemplateHub::spawn_with_task(nodes.spawn()?);
            let snapshot = hub.snapshot();
            (TemplateSource::InProcess(hub), Some(snapshot), Some(task))
        }
    };
    let pool = Pool::start(config.pool, source, shutdown.clone())?;
    let report = Report {
        pool: pool.watcher(),
        hub,
        started: tokio::time::Instant::now(),
    };
    tokio::select! {
        () = pool.join() => {}
        () = report.repeat() => {}
    }
    if let Some(task) = hub_task {
        // Blocks that were just found are on their way to the nodes.
        tokio::select! {
            _ = task => {}
            () = shutdown.ended() => {}
        }
    }
    report.end();
    shutdown.end();
    Ok(())
}
