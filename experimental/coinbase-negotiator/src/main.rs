//! Asks a template provider for the room that outputs need in a coinbase, and judges the template that comes.

use std::process::ExitCode;
use std::time::Duration;

use bitcoin::{Network, ScriptBuf};
use clap::{ArgGroup, Parser};
use coinbase_negotiator::core::{Agreement, Fault, News};
use coinbase_negotiator::{Outputs, Plan, Server, negotiate};
use const_sv2::job_declaration::DECLARE_TX_DATA;
use network_helpers_sv2::{ClientSecurity, Endpoint};
use pool_core::descriptor;
use roles_logic_sv2::block_template::{MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU};
use roles_logic_sv2::coinbase_space::CoinbaseSpace;

/// A peer breaks a rule.
const EXIT_BREACH: u8 = 1;

/// The arguments make no sense; clap's own code too.
const EXIT_ARGUMENTS: u8 = 2;

/// It could not be found out: no connection, no answer.
const EXIT_UNKNOWN: u8 = 3;

/// Works out the room that outputs need in a coinbase, asks a template provider for it, and judges the template that comes
///
/// Ends with 0 when the template leaves the room, 1 when it does not or somebody breaks the protocol, 2 when the arguments
/// make no sense, and 3 when it cannot be found out.
#[derive(Parser)]
#[command(name = "coinbase-negotiator", version)]
#[command(group(ArgGroup::new("outputs").required(true).args(["output", "jds"])))]
struct Args {
    /// Address of the template provider: stratum2+tcp://HOST:PORT/KEY, or HOST:PORT to believe any key
    template_provider: Endpoint,
    /// An output, as a pool's configuration has it: an address, addr(ADDRESS), raw(HEX), or a descriptor such as wpkh(KEY);
    /// may be given several times
    #[arg(long, value_name = "DESCRIPTOR")]
    output: Vec<String>,
    /// Job declaration server that names the outputs, with a token: stratum2+tcp://HOST:PORT/KEY or HOST:PORT
    #[arg(long, value_name = "URL")]
    jds: Option<Endpoint>,
    /// Chain that addresses belong to: main, test, testnet4, signet or regtest
    #[arg(long, default_value = "main", value_parser = chain)]
    chain: Network,
    /// Who asks the job declaration server for a token
    #[arg(long, default_value = "coinbase-negotiator", value_name = "NAME")]
    user: String,
    /// Offer the job declaration server the data of transactions, for those that insist
    #[arg(long)]
    declare_tx_data: bool,
    /// Ask for room for one address more, as a pool does whose miners may name their own
    #[arg(long)]
    miner_address: bool,
    /// Bytes of outputs to ask room for beyond those given
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    extra_size: u32,
    /// Signature operations to ask room for beyond those of the outputs given
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    extra_sigops: u16,
    /// Connect to the template provider without encryption
    #[arg(long)]
    plain: bool,
    /// Connect to the job declaration server without encryption
    #[arg(long)]
    jds_plain: bool,
    /// Seconds for each connection and each answer
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout_secs: u64,
}

fn chain(text: &str) -> Result<Network, String> {
    Network::from_core_arg(text).map_err(|error| error.to_string())
}

impl Args {
    fn plan(&self) -> Result<Plan, descriptor::DescriptorError> {
        let outputs = match &self.jds {
            Some(endpoint) => Outputs::Declared {
                server: server(endpoint, self.jds_plain),
                user_identifier: self.user.clone(),
                flags: if self.declare_tx_data {
                    DECLARE_TX_DATA
                } else {
                    0
                },
            },
            None => {
                let scripts = self.output.iter();
                let scripts = scripts.map(|text| descriptor::script_pubkey(text, self.chain));
                Outputs::Known(scripts.collect::<Result<_, _>>()?)
            }
        };
        let given = CoinbaseSpace {
            size: self.extra_size as usize,
            sigops: self.extra_sigops.into(),
        };
        let address = match self.miner_address {
            true => CoinbaseSpace::ANY_ADDRESS,
            false => CoinbaseSpace::default(),
        };
        Ok(Plan {
            extra: given.plus(address),
            answer_timeout: Duration::from_secs(self.timeout_secs),
            ..Plan::new(server(&self.template_provider, self.plain), outputs)
        })
    }
}

fn server(endpoint: &Endpoint, is_plain: bool) -> Server {
    let security = match is_plain {
        true => ClientSecurity::Plain,
        false => ClientSecurity::Noise {
            authority: endpoint.authority,
        },
    };
    let endpoint = endpoint.clone();
    Server { endpoint, security }
}

fn show(news: &News) {
    match news {
        News::Outputs { scripts, space } => {
            scripts.iter().for_each(show_output);
            println!(
                "room needed: {} bytes, signature operations: {}",
                space.size, space.sigops
            );
        }
        News::Asked(asked) => println!(
            "asked for: {} bytes, signature operations: {}",
            asked.coinbase_output_max_additional_size, asked.coinbase_output_max_additional_sigops
        ),
        News::Template {
            template_id,
            value_remaining_sats,
            own_outputs,
        } => println!(
            "template {template_id}: {value_remaining_sats} sat for our outputs, outputs of its own: {own_outputs}"
        ),
    }
}

fn show_output(script: &ScriptBuf) {
    let space = CoinbaseSpace::of_script(script);
    println!(
        "output: {} bytes, signature operations: {}, script {}",
        space.size,
        space.sigops,
        script.to_hex_string()
    );
}

fn show_agreement(agreement: &Agreement) {
    let figures = &agreement.figures;
    let commitment = match figures.has_witness_commitment {
        true => "one of them commits to witnesses",
        false => "none commits to witnesses",
    };
    println!("template {} leaves the room:", figures.template_id);
    println!("  transactions: {}", figures.transactions);
    println!(
        "  outputs of the coinbase: {}, {commitment}",
        figures.coinbase_outputs
    );
    println!(
        "  weight with all that is reserved: {} of {MAX_BLOCK_WEIGHT_WU}",
        figures.weight_wu
    );
    println!(
        "  signature operations cost, as far as it can be counted: {} of {MAX_BLOCK_SIGOPS_COST}",
        figures.sigops_cost
    );
}

fn code(fault: &Fault) -> u8 {
    match fault {
        fault if fault.is_breach() => EXIT_BREACH,
        Fault::Space(_) | Fault::NoOutputs => EXIT_ARGUMENTS,
        _ => EXIT_UNKNOWN,
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_ARGUMENTS);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let negotiated = match runtime {
        Ok(runtime) => runtime.block_on(negotiate(&plan, show)),
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::from(EXIT_UNKNOWN);
        }
    };
    match negotiated {
        Ok(agreement) => {
            show_agreement(&agreement);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(code(&fault))
        }
    }
}
