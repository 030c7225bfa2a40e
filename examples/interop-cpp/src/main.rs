//! The Rust peer of the template provider in C++: takes its templates, finds blocks, and hands them in.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bitcoin::ScriptBuf;
use clap::Parser;
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use network_helpers_sv2::{ClientSecurity, Connection, Endpoint, Options, Wake, connect};
use roles_logic_sv2::header::Header;
use roles_logic_sv2::job::{Job, JobFactory, Payout};
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{self, SetupRequest};
use roles_logic_sv2::share::BlockSolution;
use roles_logic_sv2::template_client::{ActiveTemplate, Output, TemplateClient};
use stratum_runtime::SystemClock;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, RequestTransactionData, TemplateDistributionMessage as Message,
};
use tokio::time::Instant;

/// Seconds that the template provider has for each answer, and for the next tip after a block.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of extranonce in the coinbase; one value is enough, on regtest every second nonce is a block.
const EXTRANONCE: [u8; 8] = [0; 8];

/// Bytes that an output to a taproot address needs.
const OUTPUT_SIZE: u32 = 43;

/// Mines on a template provider that does not encrypt, and hands its blocks in
#[derive(Parser)]
#[command(name = "interop-cpp", version)]
struct Args {
    /// Address of the template provider, HOST:PORT
    server: Endpoint,
    /// Blocks to find before it ends
    #[arg(long, default_value_t = 3)]
    count: u64,
}

/// A connection to the template provider, and what is known from it.
struct Miner {
    connection: Connection,
    router: Router,
    client: TemplateClient,
    jobs: JobFactory,
    clock: SystemClock,
    /// Blocks handed in. Each must bring a tip of its own.
    found: u64,
}

impl Miner {
    async fn connect(server: &Endpoint) -> Result<Self, Box<dyn Error>> {
        let options = Options {
            idle_timeout: None,
            ..Options::default()
        };
        let payout = Payout {
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
            weight: 1,
        };
        Ok(Self {
            connection: connect(server, &ClientSecurity::Plain, options).await?,
            router: Router::new(Protocol::TEMPLATE_DISTRIBUTION, Peer::Server),
            client: TemplateClient::new(CoinbaseOutputConstraints {
                coinbase_output_max_additional_size: OUTPUT_SIZE,
                coinbase_output_max_additional_sigops: 0,
            }),
            jobs: JobFactory::new(vec![payout], "rust", "", EXTRANONCE.len(), true)?,
            clock: SystemClock::default(),
            found: 0,
        })
    }

    /// The first words of every Stratum V2 connection (specification 3.5).
    async fn set_up(&mut self, server: &Endpoint) -> Result<(), Box<dyn Error>> {
        let request = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0);
        let message = request.message(&setup::Endpoint {
            host: server.host.as_str().try_into()?,
            port: server.port,
            vendor: "interop-cpp".try_into()?,
            ..setup::Endpoint::default()
        });
        self.connection.queue(&message)?;
        let until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            if let Some(frame) = self.connection.next_frame()? {
                let header = frame.header();
                let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
                let routed = self
                    .router
                    .route(extension_type, msg_type, frame.payload())?;
                match routed.message {
                    AnyMessage::Common(CommonMessage::SetupConnectionSuccess(success)) => {
                        request.handle_success(&success)?;
                        println!("<- SetupConnection.Success");
                        return Ok(());
                    }
                    other => return Err(format!("not set up: {}", other.kind().name).into()),
                }
            }
            self.wait(until).await?;
        }
    }

    async fn wait(&mut self, until: Instant) -> Result<(), Box<dyn Error>> {
        match self.connection.ready(Some(until)).await? {
            Wake::Readable => Ok(()),
            Wake::Deadline => Err("the template provider does not answer".into()),
        }
    }

    /// Finds blocks until there are `count` and the template provider has a new tip after the last one.
    async fn mine(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        self.client.handle_connected();
        let mut until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send(message) => {
                        println!("-> {}", message.kind().name);
                        self.connection.queue_as(message.kind(), &message, &[])?;
                    }
                    Output::Work(_) if self.found == count => {
                        println!("blocks taken: {count}");
                        return Ok(());
                    }
                    Output::Work(active) => {
                        until = Instant::now() + ANSWER_TIMEOUT;
                        self.work(&active)?;
                    }
                }
            }
            self.wait(until).await?;
            self.read()?;
        }
    }

    /// Asks for the transactions of a template, and finds the block.
    fn work(&mut self, active: &ActiveTemplate) -> Result<(), Box<dyn Error>> {
        let template_id = active.template().template_id;
        println!("   template {template_id} is mined now");
        let request = RequestTransactionData { template_id };
        self.connection.queue(&request)?;
        let job = self.jobs.job(&active.job_template())?;
        let solution = solve(&job, active).ok_or("no nonce makes a block")?;
        let coinbase = job.coinbase().ok_or("a job without coinbase")?;
        println!("   block {} found", block_hash(solution.hash));
        let coinbase = coinbase.for_block(&[], &EXTRANONCE);
        self.client.submit(template_id, &solution, coinbase);
        self.found += 1;
        Ok(())
    }

    fn read(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some(frame) = self.connection.next_frame()? {
            let header = frame.header();
            let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
            let routed = self
                .router
                .route(extension_type, msg_type, frame.payload())?;
            let AnyMessage::TemplateDistribution(message) = routed.message else {
                continue;
            };
            show(&message)?;
            self.client.handle_message(&message, self.clock.now());
        }
        Ok(())
    }
}

/// Shows what came; a template provider that refuses something is an error here.
fn show(message: &Message<'_>) -> Result<(), Box<dyn Error>> {
    match message {
        Message::NewTemplate(template) => println!(
            "<- NewTemplate {}: {} sat to spend",
            template.template_id, template.coinbase_tx_value_remaining
        ),
        Message::SetNewPrevHash(tip) => println!(
            "<- SetNewPrevHash: template {} on block {}",
            tip.template_id,
            block_hash(tip.prev_hash.0)
        ),
        Message::RequestTransactionDataSuccess(data) => println!(
            "<- RequestTransactionData.Success: template {} has {} transactions",
            data.template_id,
            data.transaction_list.len()
        ),
        Message::RequestTransactionDataError(refused) => {
            return Err(format!("no transaction data: {}", refused.error_code).into());
        }
        other => println!("<- {}", other.kind().name),
    }
    Ok(())
}

/// The first nonce whose header meets the network's target.
fn solve(job: &Job, active: &ActiveTemplate) -> Option<BlockSolution> {
    let tip = active.tip();
    let mut header = Header {
        version: active.template().version,
        prev_hash: tip.prev_hash,
        merkle_root: job.merkle_root(&[], &EXTRANONCE)?,
        ntime: tip.min_ntime,
        nbits: tip.nbits,
        nonce: 0,
    };
    (0..=u32::MAX).find_map(|nonce| {
        header.nonce = nonce;
        let hash = header.hash();
        let solution = BlockSolution { header, hash };
        tip.network_target.is_met_by(&hash).then_some(solution)
    })
}

/// A block's hash as people write it: the other way round.
fn block_hash(bytes: [u8; 32]) -> String {
    let digits = bytes.iter().rev();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut miner = Miner::connect(&args.server).await?;
    println!("connected to {}", args.server);
    miner.set_up(&args.server).await?;
    miner.mine(args.count).await?;
    miner.connection.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
