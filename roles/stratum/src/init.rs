//! `stratum config init`: commented configurations, and files that only their owner can read.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

/// Arguments of `stratum config init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The program to configure
    pub role: Role,
    /// File to write; - for standard output
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

/// The programs that have a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The pool.
    Pool,
    /// The translator.
    Translator,
    /// The mining proxy.
    Proxy,
    /// The template provider.
    TemplateProvider,
    /// The CPU miner.
    Miner,
}

impl Role {
    /// Its commented configuration, which gives the defaults.
    pub const fn default_config(self) -> &'static str {
        match self {
            Self::Pool => stratum_pool::DEFAULT_CONFIG,
            Self::Translator => stratum_translator::DEFAULT_CONFIG,
            Self::Proxy => stratum_mining_proxy::DEFAULT_CONFIG,
            Self::TemplateProvider => stratum_template_provider::DEFAULT_CONFIG,
            Self::Miner => stratum_mining_device::DEFAULT_CONFIG,
        }
    }
}

/// Writes a configuration.
///
/// # Errors
/// When the file is there already or cannot be written.
pub fn run(args: &InitArgs) -> anyhow::Result<()> {
    let text = args.role.default_config();
    if args.file == Path::new("-") {
        return io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write to standard output");
    }
    write_private(&args.file, text, args.force)
}

/// Writes a file that only its owner can read: it holds keys or will.
pub(crate) fn write_private(path: &Path, text: &str, is_replaced: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    match is_replaced {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| match path.exists() && !is_replaced {
        true => format!(
            "{} is there already; choose another file, or --force to replace it",
            path.display()
        ),
        false => format!("cannot write {}; check folder and rights", path.display()),
    })
}
