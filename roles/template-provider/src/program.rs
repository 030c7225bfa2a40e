//! The program around the server.

use std::io;

use bitcoin_node::NodeState;
use stratum_runtime::{Shutdown, drain_on_signals};
use thiserror::Error;
use tokio::sync::watch;

use crate::{NodeError, ProgramConfig, StartError, TemplateProvider};

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

/// Runs a template provider until a signal drains it; needs a tokio runtime.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: ProgramConfig) -> Result<(), RunError> {
    let shutdown = Shutdown::new();
    drain_on_signals(shutdown.clone(), config.grace)?;
    let node = config.nodes.spawn()?;
    let watcher = tokio::spawn(log_status(node.name().to_owned(), node.state()));
    let provider = TemplateProvider::start(config.server, node, shutdown.clone())?;
    shutdown.draining().await;
    watcher.abort();
    provider.join().await;
    shutdown.end();
    Ok(())
}

/// Says when the node becomes usable or is no more, and what to do about it.
async fn log_status(node: String, mut state: watch::Receiver<NodeState>) {
    let mut last = None;
    loop {
        let status = state.borrow_and_update().status.clone();
        if last.as_ref() != Some(&status) {
            match status.advice() {
                Some(advice) => tracing::warn!(node, %status, advice, "the node cannot be used"),
                None => tracing::info!(node, %status, "node"),
            }
            last = Some(status);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
