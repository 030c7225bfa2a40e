//! The frame of every program: configuration, check, log, runtime, and its work until it has drained.

use std::future::Future;

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::config::sections::ProgramSettings;
use crate::config::{ConfigArgs, ConfigError, Invalid};
use crate::logging::{self, LogError};
use crate::raise_open_files;

/// Why a program does not run, for the person who started it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The configuration is of no use.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging does not start.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operating system gives no threads.
    #[error("cannot start the runtime: {0}; check the limits of this user (ulimit -u)")]
    Runtime(#[from] std::io::Error),
    /// The program's own reason.
    #[error(transparent)]
    Run(Box<dyn std::error::Error + Send + Sync>),
}

/// Runs a program of the name `role` as its arguments say: with `--check` only its configuration is checked, otherwise
/// `run` does its work on a runtime, logging by `settings`.
///
/// # Errors
/// [`ProgramError`], whose message says what to do.
pub fn run_program<R, C, F, E>(
    role: &str,
    args: &ConfigArgs,
    settings: impl FnOnce(&C) -> &ProgramSettings,
    run: impl FnOnce(C) -> F,
) -> Result<(), ProgramError>
where
    R: DeserializeOwned,
    C: TryFrom<R, Error = Invalid>,
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let config = args.load::<R, C>(role)?;
    if args.check {
        println!("the configuration is valid");
        return Ok(());
    }
    logging::init(&settings(&config).log_level)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run(config));
    ended.map_err(|error| ProgramError::Run(Box::new(error)))
}
