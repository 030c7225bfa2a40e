//! Loads a Stratum server with many connections and measures what each handshake, connection, share and new tip costs.
//!
//! Its clients hash nothing: where the server grants the easiest target any nonce is a share, and elsewhere the rejects
//! are counted. With `--self` the server is a pool in a child process with a fixed template; beside it runs the floor, a
//! bare server that reads the same bytes and writes the same acknowledgements without decoding anything, so that the
//! figures of two machines can be compared by their ratio. With `--sv1` a translator stands before the pool and is what is
//! loaded and measured, as Stratum V1 miners, and with `--proxy` a mining proxy, as Stratum V2 devices. With `--profile firmware` nothing is measured: the clients are devices with
//! little memory, see [`firmware`].
//!
//! ```
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     load: stratum_load::Args,
//! }
//!
//! let cli = Cli::parse_from(["load", "--self", "--connections", "1000", "--rate", "2"]);
//! assert_eq!(cli.load.shape.connections.get(), 1000);
//! ```

mod args;
mod client;
pub mod firmware;
mod measure;
mod process;
mod report;
mod rounds;
mod serve;
mod stats;

use std::fmt::Display;
use std::io::Write;

use anyhow::Context;
use serde::Serialize;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

pub use args::{Args, ChannelType, Profile, Shape};
pub use report::{
    Figures, Quantiles, Report, SetupFigures, ShareFigures, TipFigures, UpstreamFigures,
};

/// Runs the tool: one line of JSON on standard output, a summary for people on standard error.
///
/// `words` are the words of this program's command line that come before the tool's own options, such as `load`; the
/// tool starts its own program again as the server to be measured.
///
/// # Errors
/// Says what could not be reached, started or measured, and what to do about it.
pub fn main(args: &Args, words: &[&str]) -> anyhow::Result<()> {
    if let Some(role) = args.serve {
        return serve::serve(role, args);
    }
    if args.profile == Some(Profile::Firmware) {
        let report = run_firmware(args, words)?;
        show(&report)?;
        anyhow::ensure!(
            report.is_ok(),
            "the server does what small firmware cannot take; see the failures above"
        );
        return Ok(());
    }
    let report = run(args, words)?;
    show(&report)?;
    let missing = report.missing();
    anyhow::ensure!(
        missing == 0,
        "miners were told of {missing} more shares than the pool has accepted: please report this"
    );
    Ok(())
}

fn show(report: &(impl Display + Serialize)) -> anyhow::Result<()> {
    eprint!("{report}");
    let mut line = serde_json::to_string(report).context("write the report")?;
    line.push('\n');
    std::io::stdout()
        .write_all(line.as_bytes())
        .context("write the report to standard output")
}

/// Measures, and gives the figures; see [`main`] for `words`.
///
/// # Errors
/// As [`main`].
pub fn run(args: &Args, words: &[&str]) -> anyhow::Result<Report> {
    args.check()?;
    runtime()?.block_on(measure::run(args, words))
}

/// Behaves as small firmware, and says what the server did; see [`main`] for `words`, and [`Firmware`](firmware::Firmware)
/// for tests beside a server in the same process.
///
/// # Errors
/// The options contradict each other, or the server of `--self` does not start. What a server does is in the report.
pub fn run_firmware(args: &Args, words: &[&str]) -> anyhow::Result<firmware::FirmwareReport> {
    args.check()?;
    runtime()?.block_on(measure::run_firmware(args, words))
}

fn runtime() -> anyhow::Result<LocalRuntime> {
    stratum_runtime::raise_open_files();
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("start the client's runtime")
}
