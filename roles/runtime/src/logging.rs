//! Log lines: one format for every program.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The log level of a program whose configuration names none.
pub const DEFAULT_LEVEL: &str = "info";

/// Why logging could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is no tracing filter.
    #[error(
        "{place}: `{filter}` is not a log filter: {source}; use a level such as `info`, or `warn,stratum_pool=debug`"
    )]
    Filter {
        /// Where the filter comes from.
        place: &'static str,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something else in the process has set a logger already.
    #[error("a logger is set already")]
    AlreadySet,
}

/// Starts logging to standard error: colours on a terminal, plain lines elsewhere.
///
/// `RUST_LOG` wins over `level`, the configuration's filter.
///
/// # Errors
/// [`LogError`] when the filter does not parse or a logger is set already.
pub fn init(level: &str) -> Result<(), LogError> {
    let filter = filter(std::env::var("RUST_LOG").ok(), level)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|_| LogError::AlreadySet)
}

/// Checks a filter of the configuration without starting anything.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check(level: &str) -> Result<(), LogError> {
    filter(None, level).map(drop)
}

fn filter(from_env: Option<String>, level: &str) -> Result<EnvFilter, LogError> {
    let (place, filter) = match from_env {
        Some(filter) if !filter.is_empty() => ("RUST_LOG", filter),
        _ => ("log level", level.to_owned()),
    };
    EnvFilter::try_new(&filter).map_err(|source| LogError::Filter {
        place,
        filter,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_configuration() {
        let text = |env: Option<&str>| {
            filter(env.map(str::to_owned), "info").map(|filter| filter.to_string())
        };
        assert_eq!(text(None).unwrap(), "info");
        assert_eq!(text(Some("")).unwrap(), "info");
        assert_eq!(text(Some("warn,a=debug")).unwrap(), "a=debug,warn");
    }

    #[test]
    fn a_bad_filter_says_where_it_stands() {
        let error = filter(Some("a=loud".to_owned()), "info").unwrap_err();
        assert!(
            error.to_string().starts_with("RUST_LOG: `a=loud`"),
            "{error}"
        );
    }
}
