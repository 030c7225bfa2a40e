//! Configuration: a TOML file, then the environment, then the command line.
//!
//! A program has a *raw* struct, whose fields are the keys as they are written (`Deserialize`, with
//! `#[serde(default)]`, no `flatten`), and a *valid* one made from it with `TryFrom`, which checks every value and
//! says by [`Invalid`] what to change. Nothing is opened or bound before all of it is valid.
//!
//! ```
//! use stratum_runtime::config::{Invalid, Loader};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(default)]
//! struct Raw { listen: RawListen }
//! #[derive(serde::Deserialize)]
//! #[serde(default)]
//! struct RawListen { port: u16 }
//! # impl Default for Raw { fn default() -> Self { Self { listen: RawListen::default() } } }
//! # impl Default for RawListen { fn default() -> Self { Self { port: 34254 } } }
//!
//! struct Config { port: u16 }
//!
//! impl TryFrom<Raw> for Config {
//!     type Error = Invalid;
//!
//!     fn try_from(raw: Raw) -> Result<Self, Invalid> {
//!         match raw.listen.port {
//!             0 => Err(Invalid::new("listen.port", "is 0", "choose a port from 1 to 65535")),
//!             port => Ok(Self { port }),
//!         }
//!     }
//! }
//!
//! let environment = [("STRATUM_POOL__LISTEN__PORT".into(), "3333".into())];
//! let config: Config = Loader::new("pool").text("pool.toml", "[listen]\nport = 1")?.env(environment)?.load::<Raw, _>()?;
//! assert_eq!(config.port, 3333);
//!
//! let error = Loader::new("pool").text("pool.toml", "[listen]\nprot = 1")?.load::<Raw, Config>().err().unwrap();
//! assert_eq!(error.to_string(), "pool.toml: `listen.prot`: is not a key of this program; did you mean `port`?");
//! # Ok::<(), stratum_runtime::config::ConfigError>(())
//! ```

mod de;
pub mod sections;
pub mod sv1;
mod template;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::{Table, Value};

pub use template::check_template;

/// A key with a value that the program cannot work with, found by the check of a whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key with the sections it stands in, `listen.port`.
    pub key: String,
    /// What is wrong, continuing a sentence that begins with the key.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Invalid {
    /// Says that the value of `key` is wrong: `what` it is and how to `fix` it. Must not quote a secret.
    pub fn new(key: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
            fix: fix.into(),
        }
    }
}

/// Why there is no configuration: where, which key, what is wrong, what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "{path}: cannot read the configuration: {source}; check the path, or write one with `stratum config init {role}`"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The program it is for.
        role: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{name}:{line}: is not TOML: {message}")]
    Syntax {
        /// Name of the file.
        name: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// An assignment on the command line has no `=`.
    #[error("--set {0}: has no value; write --set section.key=value")]
    Assignment(String),
    /// An override stands below a key that has a value of its own.
    #[error("{origin}: `{key}` is a value, not a section; remove what follows it")]
    NotASection {
        /// Where it comes from.
        origin: String,
        /// The key.
        key: String,
    },
    /// A key is unknown, missing, or its value is wrong.
    #[error("{origin}: `{}`: {}{}{}", .invalid.key, .invalid.what, if .invalid.fix.is_empty() { "" } else { "; " }, .invalid.fix)]
    Key {
        /// File, environment variable or argument it comes from.
        origin: String,
        /// The key, what is wrong, and what to do.
        invalid: Invalid,
    },
}

/// Collects a configuration from its sources; a later one wins.
#[derive(Debug)]
pub struct Loader {
    role: String,
    name: String,
    table: Table,
    /// Keys that did not come from the file, with the name of their source: their values are texts.
    overrides: BTreeMap<String, String>,
}

impl Loader {
    /// Begins with an empty configuration for a program, whose name stands in its environment variables.
    pub fn new(role: &str) -> Self {
        Self {
            role: role.to_owned(),
            name: "configuration".to_owned(),
            table: Table::new(),
            overrides: BTreeMap::new(),
        }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] or [`ConfigError::Syntax`].
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            role: self.role.clone(),
            source,
        })?;
        self.text(&path.display().to_string(), &text)
    }

    /// Takes TOML from memory; messages call it `name`.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`].
    pub fn text(mut self, name: &str, text: &str) -> Result<Self, ConfigError> {
        name.clone_into(&mut self.name);
        self.table = text.parse().map_err(|error: toml::de::Error| {
            // The error's own text quotes the line, which may hold a password.
            let before = error.span().and_then(|span| text.get(..span.start));
            ConfigError::Syntax {
                name: self.name.clone(),
                line: before.unwrap_or_default().matches('\n').count() + 1,
                message: error.message().replace('\n', ", "),
            }
        })?;
        Ok(self)
    }

    /// Takes the variables named `STRATUM_<ROLE>__SECTION__KEY`; others are ignored.
    ///
    /// # Errors
    /// [`ConfigError::NotASection`].
    pub fn env(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let role = self.role.to_uppercase().replace('-', "_");
        let prefix = format!("STRATUM_{role}__");
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(&prefix) {
                let key = key.to_lowercase().replace("__", ".");
                self.insert(&key, value, name)?;
            }
        }
        Ok(self)
    }

    /// Takes assignments `section.key=value` from the command line.
    ///
    /// # Errors
    /// [`ConfigError::Assignment`] or [`ConfigError::NotASection`].
    pub fn set<S: AsRef<str>>(
        mut self,
        assignments: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        for assignment in assignments {
            let assignment = assignment.as_ref();
            let Some((key, value)) = assignment.split_once('=') else {
                return Err(ConfigError::Assignment(assignment.to_owned()));
            };
            let key = key.trim();
            self.insert(key, value.trim().to_owned(), format!("--set {key}"))?;
        }
        Ok(self)
    }

    fn insert(&mut self, key: &str, value: String, origin: String) -> Result<(), ConfigError> {
        let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.table;
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            table = match entry {
                Value::Table(table) => table,
                _ => {
                    return Err(ConfigError::NotASection {
                        origin,
                        key: section.to_owned(),
                    });
                }
            };
        }
        table.insert(last.to_owned(), Value::String(value));
        self.overrides.insert(key.to_owned(), origin);
        Ok(())
    }

    /// The raw struct: every key known and of the right type.
    ///
    /// # Errors
    /// [`ConfigError::Key`].
    pub fn raw<R: DeserializeOwned>(&self) -> Result<R, ConfigError> {
        let absent = RefCell::default();
        de::from_table(&self.table, &self.overrides, &absent)
            .map_err(|invalid| self.at_origin(invalid))
    }

    /// The valid configuration.
    ///
    /// # Errors
    /// [`ConfigError::Key`].
    pub fn load<R, C>(&self) -> Result<C, ConfigError>
    where
        R: DeserializeOwned,
        C: TryFrom<R, Error = Invalid>,
    {
        C::try_from(self.raw()?).map_err(|invalid| self.at_origin(invalid))
    }

    fn at_origin(&self, invalid: Invalid) -> ConfigError {
        let origin = self.overrides.get(&invalid.key).unwrap_or(&self.name);
        ConfigError::Key {
            origin: origin.clone(),
            invalid,
        }
    }
}

/// The arguments by which every program is configured; flatten it into the program's own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, as section.key=value; wins over file and environment. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
}

impl ConfigArgs {
    /// Loads the configuration from file, environment and command line. With `--check` the caller ends after it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load<R, C>(&self, role: &str) -> Result<C, ConfigError>
    where
        R: DeserializeOwned,
        C: TryFrom<R, Error = Invalid>,
    {
        let mut loader = Loader::new(role);
        if let Some(path) = &self.config {
            loader = loader.file(path)?;
        }
        // A variable that is no Unicode cannot be one of ours.
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        loader
            .env(std::env::vars_os().filter_map(unicode))?
            .set(&self.set)?
            .load::<R, C>()
    }
}

#[cfg(test)]
mod tests;
