//! The room that outputs need in a coinbase, negotiated with a template provider: connections for the rules of
//! [`coinbase_negotiator_core`].
//!
//! ```no_run
//! use std::time::Duration;
//! use coinbase_negotiator::{Outputs, Plan, Server, negotiate};
//! use network_helpers_sv2::ClientSecurity;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = Server {
//!     endpoint: "127.0.0.1:8442".parse()?,
//!     security: ClientSecurity::Plain,
//! };
//! let outputs = Outputs::Known(vec![bitcoin::ScriptBuf::from(vec![0x51])]);
//! let agreement = negotiate(&Plan::new(provider, outputs), |news| println!("{news:?}")).await?;
//! println!("{} sat to pay", agreement.figures.value_remaining_sats);
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::time::Duration;

use bitcoin::ScriptBuf;
use coinbase_negotiator_core::{
    Agreement, DEFAULT_ANSWER_TIMEOUT, Fault, Negotiation, News, Output, Party, Source, Terms,
};
use network_helpers_sv2::{ClientSecurity, CloseReason, Connection, Endpoint, Options, connect};
use roles_logic_sv2::coinbase_space::CoinbaseSpace;
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::setup;
use stratum_runtime::SystemClock;

pub use coinbase_negotiator_core as core;

/// Longest message of a peer, in bytes: the transactions of a full block fit, and a list of them that is twice as heavy. A
/// longer one ends the connection before memory is taken for it.
pub const MAX_PAYLOAD_LEN: usize = 8 * 1024 * 1024;

/// A server, and how the connection to it is secured.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub endpoint: Endpoint,
    /// In the clear, or in Noise.
    pub security: ClientSecurity,
}

/// Where the outputs come from.
#[derive(Clone, Debug)]
pub enum Outputs {
    /// They are known.
    Known(Vec<ScriptBuf>),
    /// A job declaration server names them.
    Declared {
        /// The server.
        server: Server,
        /// Who asks for a token; more than 255 bytes are not sent.
        user_identifier: String,
        /// Flags of `SetupConnection`: 0, or `DECLARE_TX_DATA` where a server insists.
        flags: u32,
    },
}

/// What to negotiate, with whom, and how long to wait.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The template provider.
    pub provider: Server,
    /// The outputs.
    pub outputs: Outputs,
    /// Room for more than they take, such as [`CoinbaseSpace::ANY_ADDRESS`] for a miner's own.
    pub extra: CoinbaseSpace,
    /// Time for each connection, and for each answer.
    pub answer_timeout: Duration,
}

impl Plan {
    /// No room beyond the outputs, and the usual patience.
    pub fn new(provider: Server, outputs: Outputs) -> Self {
        Self {
            provider,
            outputs,
            extra: CoinbaseSpace::default(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
        }
    }

    fn terms(&self) -> Terms {
        let source = match &self.outputs {
            Outputs::Known(scripts) => Source::Outputs(scripts.clone()),
            Outputs::Declared {
                server,
                user_identifier,
                flags,
            } => Source::JobDeclarator {
                endpoint: about(&server.endpoint),
                user_identifier: user_identifier.clone().try_into().unwrap_or_default(),
                flags: *flags,
            },
        };
        Terms {
            source,
            extra: self.extra,
            provider: about(&self.provider.endpoint),
            answer_timeout: self.answer_timeout,
        }
    }

    const fn server(&self, party: Party) -> &Server {
        match (&self.outputs, party) {
            (Outputs::Declared { server, .. }, Party::JobDeclarator) => server,
            _ => &self.provider,
        }
    }
}

fn about(server: &Endpoint) -> setup::Endpoint<'static> {
    setup::Endpoint {
        // A name above 255 bytes resolves to nothing, so the empty default is never sent.
        host: server.host.clone().try_into().unwrap_or_default(),
        port: server.port,
        vendor: concat!("coinbase-negotiator ", env!("CARGO_PKG_VERSION"))
            .try_into()
            .unwrap_or_default(),
        hardware_version: std::env::consts::OS.try_into().unwrap_or_default(),
        ..setup::Endpoint::default()
    }
}

/// Negotiates room for the outputs. `on_news` hears how it goes.
///
/// It takes six times the time for an answer at most, and twice more for each template that is outdated meanwhile: see
/// [`coinbase_negotiator_core::MAX_REQUESTS`]. Dropping it closes the connections.
///
/// # Errors
/// [`Fault`], which says who does not answer, or who breaks which rule.
pub async fn negotiate(plan: &Plan, on_news: impl FnMut(&News)) -> Result<Agreement, Fault> {
    let clock = SystemClock::new();
    let talk = Talk {
        plan,
        on_news,
        clock,
        negotiation: Negotiation::new(plan.terms(), clock.now()),
        connection: None,
    };
    talk.run().await
}

/// A negotiation and the one connection that it has at a time.
struct Talk<'p, N> {
    plan: &'p Plan,
    on_news: N,
    clock: SystemClock,
    negotiation: Negotiation,
    connection: Option<(Party, Connection)>,
}

impl<N: FnMut(&News)> Talk<'_, N> {
    async fn run(mut self) -> Result<Agreement, Fault> {
        loop {
            while let Some(output) = self.negotiation.poll_output() {
                match output {
                    Output::Connect(party) => self.connect(party).await,
                    Output::Send(party, message) => self.send(party, &message),
                    Output::Told(news) => (self.on_news)(&news),
                    Output::Disconnect(_) => self.connection = None,
                    Output::Done(done) => return done.map(|agreement| *agreement),
                }
            }
            self.wait().await;
            // A peer that never stops talking is no reason to wait for ever.
            self.negotiation.handle_timeout(self.clock.now());
        }
    }

    async fn connect(&mut self, party: Party) {
        let Server { endpoint, security } = self.plan.server(party);
        let options = Options {
            max_payload_len: MAX_PAYLOAD_LEN,
            ..Options::default()
        };
        let connecting = connect(endpoint, security, options);
        match self.in_time(connecting).await {
            Some(Ok(connection)) => {
                self.connection = Some((party, connection));
                self.negotiation.handle_connected(party, self.clock.now());
            }
            Some(Err(error)) => {
                self.negotiation
                    .handle_disconnected(party, &error.to_string());
            }
            None => self.negotiation.handle_timeout(self.clock.now()),
        }
    }

    /// What something comes to, unless the negotiation's deadline passes before.
    async fn in_time<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        match self.deadline() {
            Some(until) => tokio::time::timeout_at(until, what).await.ok(),
            None => Some(what.await),
        }
    }

    fn deadline(&self) -> Option<tokio::time::Instant> {
        let deadline = self.negotiation.poll_timeout();
        deadline.and_then(|deadline| self.clock.deadline(deadline))
    }

    fn send(&mut self, party: Party, message: &AnyMessage<'static>) {
        if let Some((_, connection)) = &mut self.connection
            && let Err(reason) = connection.queue_as(message.kind(), message, &[])
        {
            self.lost(party, reason);
        }
    }

    async fn wait(&mut self) {
        let until = self.deadline();
        let Some((party, connection)) = &mut self.connection else {
            // Without a connection there is only the end of time to wait for.
            let _: Option<()> = self.in_time(std::future::pending()).await;
            return;
        };
        let party = *party;
        if let Err(reason) = connection.ready(until).await {
            return self.lost(party, reason);
        }
        loop {
            match connection.next_frame() {
                Ok(Some(frame)) => {
                    let header = frame.header();
                    self.negotiation.handle_frame(
                        party,
                        header.extension_type(),
                        header.msg_type(),
                        frame.payload(),
                        self.clock.now(),
                    );
                }
                Ok(None) => return,
                Err(reason) => return self.lost(party, reason),
            }
        }
    }

    fn lost(&mut self, party: Party, reason: CloseReason) {
        self.connection = None;
        self.negotiation
            .handle_disconnected(party, &reason.to_string());
    }
}
