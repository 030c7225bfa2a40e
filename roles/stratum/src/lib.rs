//! Stratum: pool, translator, template provider, miner and demo in one binary.
//!
//! Each program lives in a crate of its own; this one names them on a command line, makes keys and configurations,
//! and runs the demo, which is all of them in one process.
//!
//! ```
//! use clap::Parser;
//! use stratum_cli::{Cli, Command};
//!
//! let cli = Cli::parse_from(["stratum", "demo", "--blocks", "5"]);
//! assert!(matches!(cli.command, Command::Demo(demo) if demo.blocks == Some(5)));
//! ```

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stratum_mining_device::MinerArgs;
use stratum_runtime::config::ConfigArgs;

pub mod demo;
pub mod init;
pub mod keys;

/// Stratum V2: pool, translator, mining proxy, template provider, miner, and a demo
#[derive(Debug, Parser)]
#[command(name = "stratum", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it mine: a node, a template provider, a pool and miners in one process
    Demo(demo::DemoArgs),
    /// Give work to miners, take their shares, hand in their blocks
    Pool(ConfigArgs),
    /// Put Sv1 miners on Stratum V2 pools
    Translator(ConfigArgs),
    /// Put the devices of a farm on Stratum V2 pools, behind few connections
    Proxy(ConfigArgs),
    /// Give block templates of a Bitcoin node to pools and job declarators
    TemplateProvider(ConfigArgs),
    /// Mine on this machine's processor, for a Stratum V2 or V1 server
    Miner(MinerArgs),
    /// Load a server with many connections and measure what it costs
    Load(Box<stratum_load::Args>),
    /// Make an authority key pair
    Keys(keys::KeysArgs),
    /// Write configurations
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What can be done with configurations.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write the configuration of a program, every key explained
    Init(init::InitArgs),
}

/// Does what the command line says; the exit code is that of the process.
///
/// # Errors
/// Says what is wrong and what to do about it.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Demo(args) => return demo::run(&args),
        Command::Pool(args) => stratum_pool::main(&args)?,
        Command::Translator(args) => stratum_translator::main(&args)?,
        Command::Proxy(args) => stratum_mining_proxy::main(&args)?,
        Command::TemplateProvider(args) => stratum_template_provider::main(&args)?,
        Command::Miner(args) => stratum_mining_device::main(&args)?,
        Command::Load(args) => stratum_load::main(&args, &["load"])?,
        Command::Keys(args) => keys::run(&args)?,
        Command::Config(ConfigCommand::Init(args)) => init::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An error with its causes in one line; a cause that the error tells already is left out.
pub fn message(error: &anyhow::Error) -> String {
    let causes = error.chain().skip(1).map(ToString::to_string);
    causes.fold(error.to_string(), |told, cause| {
        if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}
