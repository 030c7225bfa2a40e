//! A client of any template provider: says what it may send, and shows the templates and tips that come.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use network_helpers_sv2::{
    ClientSecurity, CloseReason, ConnectError, Connection, Endpoint, Options, Wake, connect,
};
use roles_logic_sv2::messages::{AnyMessage, Peer, RouteError, Router};
use roles_logic_sv2::setup::{self, SetupError, SetupRequest};
use roles_logic_sv2::template_client::{Output, TemplateClient};
use stratum_runtime::SystemClock;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, TemplateDistributionMessage,
};
use tokio::time::Instant;

/// Seconds that the template provider has to answer `SetupConnection`.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest message, in bytes: a `NewTemplate` with 255 hashes and 64 KB of outputs fits.
const MAX_PAYLOAD_LEN: usize = 128 * 1024;

/// Shows the templates and tips of a Stratum V2 template provider
#[derive(Parser)]
#[command(name = "template-provider-test", version)]
struct Args {
    /// Address of the template provider: stratum2+tcp://HOST:PORT/KEY, or HOST:PORT to believe any key
    server: Endpoint,
    /// Connect without encryption, as some providers on one's own machine want it
    #[arg(long)]
    plain: bool,
    /// Bytes that the outputs of the coinbase may need
    #[arg(long, default_value_t = 43)]
    additional_size: u32,
    /// Signature operations that the outputs of the coinbase may need
    #[arg(long, default_value_t = 0)]
    additional_sigops: u16,
    /// Templates to show before it ends; without it there is no end
    #[arg(long)]
    count: Option<u64>,
    /// Seconds after which it ends; without it there is no end
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no connection to the template provider: {0}")]
    Connect(ConnectError),
    #[error("the connection has ended: {0}")]
    Closed(#[from] CloseReason),
    #[error("the template provider does not take this client: {0}")]
    Setup(#[from] SetupError),
    #[error("the template provider does not take this client: it says {0}")]
    Refused(String),
    #[error(
        "no answer to SetupConnection in {} s; is this the port of a template provider, and is it encrypted?",
        SETUP_TIMEOUT.as_secs()
    )]
    NoAnswer,
    #[error("the template provider breaks the protocol: {0}")]
    Protocol(#[from] RouteError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// One connection, and what is known from it.
struct Session {
    connection: Connection,
    router: Router,
    client: TemplateClient,
    clock: SystemClock,
    shown: u64,
}

impl Session {
    async fn connect(args: &Args) -> Result<Self, Error> {
        let security = match args.plain {
            true => ClientSecurity::Plain,
            false => ClientSecurity::Noise {
                authority: args.server.authority,
            },
        };
        let options = Options {
            // Between two blocks there may be nothing to say.
            idle_timeout: None,
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connected = connect(&args.server, &security, options).await;
        Ok(Self {
            connection: connected.map_err(Error::Connect)?,
            router: Router::new(Protocol::TEMPLATE_DISTRIBUTION, Peer::Server),
            client: TemplateClient::new(CoinbaseOutputConstraints {
                coinbase_output_max_additional_size: args.additional_size,
                coinbase_output_max_additional_sigops: args.additional_sigops,
            }),
            clock: SystemClock::default(),
            shown: 0,
        })
    }

    /// The first words of every Stratum V2 connection (specification 3.5).
    async fn set_up(&mut self, server: &Endpoint) -> Result<(), Error> {
        let request = SetupRequest::new(Protocol::TEMPLATE_DISTRIBUTION, 0);
        let message = request.message(&setup::Endpoint {
            host: server.host.as_str().try_into().unwrap_or_default(),
            port: server.port,
            vendor: "template-provider-test".try_into().unwrap_or_default(),
            ..setup::Endpoint::default()
        });
        self.connection.queue(&message)?;
        let until = Instant::now() + SETUP_TIMEOUT;
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                let header = frame.header();
                let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
                let routed = self
                    .router
                    .route(extension_type, msg_type, frame.payload())?;
                match routed.message {
                    AnyMessage::Common(CommonMessage::SetupConnectionSuccess(success)) => {
                        request.handle_success(&success)?;
                        return Ok(());
                    }
                    AnyMessage::Common(CommonMessage::SetupConnectionError(error)) => {
                        return Err(Error::Refused(error.error_code.to_string()));
                    }
                    other => println!("{} comes before the answer", other.kind().name),
                }
            }
            if self.connection.ready(Some(until)).await? == Wake::Deadline {
                return Err(Error::NoAnswer);
            }
        }
    }

    /// Shows what comes until the time is up, or `count` templates were shown.
    async fn show(&mut self, count: u64, until: Option<Instant>) -> Result<(), Error> {
        self.client.handle_connected();
        loop {
            self.act()?;
            if self.shown >= count || self.connection.ready(until).await? == Wake::Deadline {
                return Ok(());
            }
            self.read(count)?;
        }
    }

    /// Does what the client wants done.
    fn act(&mut self) -> Result<(), Error> {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send(message) => {
                    println!("-> {}", message.kind().name);
                    self.connection.queue_as(message.kind(), &message, &[])?;
                }
                Output::Work(active) => {
                    let template_id = active.template().template_id;
                    println!("   template {template_id} is mined now");
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, count: u64) -> Result<(), Error> {
        while self.shown < count
            && let Some(frame) = self.connection.next_frame()?
        {
            let header = frame.header();
            let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
            let routed = self
                .router
                .route(extension_type, msg_type, frame.payload())?;
            let AnyMessage::TemplateDistribution(message) = routed.message else {
                continue;
            };
            match &message {
                TemplateDistributionMessage::NewTemplate(template) => {
                    show_template(template);
                    self.shown += 1;
                }
                TemplateDistributionMessage::SetNewPrevHash(tip) => println!(
                    "<- SetNewPrevHash: template {} on block {}, nbits {:08x}, time {}",
                    tip.template_id,
                    block_hash(tip.prev_hash.0),
                    tip.nbits,
                    tip.header_timestamp
                ),
                other => println!("<- {}", other.kind().name),
            }
            self.client.handle_message(&message, self.clock.now());
        }
        Ok(())
    }
}

fn show_template(template: &NewTemplate<'_>) {
    println!(
        "<- NewTemplate {}{}: {} sat to spend, outputs: {}, merkle path: {}",
        template.template_id,
        match template.future_template {
            true => ", for a block to come",
            false => "",
        },
        template.coinbase_tx_value_remaining,
        template.coinbase_tx_outputs_count,
        template.merkle_path.len(),
    );
}

/// A block's hash as people write it: the other way round.
fn block_hash(bytes: [u8; 32]) -> String {
    let digits = bytes.iter().rev();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

async fn run(args: &Args) -> Result<(), Error> {
    let until = { args.seconds }.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut session = Session::connect(args).await?;
    println!("connected to {}", args.server);
    session.set_up(&args.server).await?;
    session.show(args.count.unwrap_or(u64::MAX), until).await?;
    println!("templates shown: {}", session.shown);
    session.connection.close().await;
    Ok(())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(&args)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
