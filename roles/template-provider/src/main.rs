//! The template provider as a program of its own.

use anyhow::Context as _;
use clap::Parser;
use stratum_runtime::config::ConfigArgs;
use stratum_runtime::{logging, raise_open_files};
use stratum_template_provider::{ProgramConfig, RawConfig};

/// Gives block templates of a Bitcoin node to Stratum V2 pools and job declarators
#[derive(Parser)]
#[command(name = "template-provider", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = args
        .config
        .load::<RawConfig, ProgramConfig>(stratum_template_provider::ROLE)?;
    if args.config.check {
        println!("the configuration is valid");
        return Ok(());
    }
    logging::init(&config.log_level)?;
    raise_open_files();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    Ok(runtime.block_on(stratum_template_provider::run(config))?)
}
