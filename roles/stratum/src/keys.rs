//! `stratum keys`: authority key pairs.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use noise_sv2::AuthoritySecretKey;

use crate::init::write_private;

/// Arguments of `stratum keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// Write the pair to a new file that only you can read, and print the public key alone
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Makes a pair and prints or writes it.
///
/// # Errors
/// When the file is there already or cannot be written.
pub fn run(args: &KeysArgs) -> anyhow::Result<()> {
    let secret = random_authority()?;
    let public = secret.public_key();
    let text = format!(
        "# For [authority]. Keep the secret key to yourself and give the public one to those who connect.\n\
         secret_key = \"{}\"\npublic_key = \"{public}\"\n",
        &*secret.to_text()
    );
    let shown = match &args.write {
        None => text,
        Some(path) => {
            write_private(path, &text, false)?;
            format!("public_key = \"{public}\"\n")
        }
    };
    io::stdout()
        .write_all(shown.as_bytes())
        .context("cannot write to standard output")
}

/// A fresh authority.
pub(crate) fn random_authority() -> anyhow::Result<AuthoritySecretKey> {
    AuthoritySecretKey::generate(network_helpers_sv2::random_bytes)
        .context("this machine's random numbers are broken")
}
