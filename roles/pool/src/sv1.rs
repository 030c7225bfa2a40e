//! One Sv1 miner's connection.

use std::net::SocketAddr;

use network_helpers_sv2::{
    CloseCounts, CloseReason, LineConnection, LineOptions, LineTooLong, Stream, TlsServer,
    accept_lines,
};
use pool_core::sv1::{Sv1Close, Sv1Config, Sv1Downstream, Sv1Output};
use roles_logic_sv2::clock::{Instant, Now};
use stratum_runtime::config::sv1::{DEFAULT_BAN, TlsListen};
use stratum_runtime::{Gate, LineCore, LineShell, SystemClock, drive_lines, miner_end};
use sv1_api::server::CloseReason as MinerEnd;
use tokio::net::TcpStream;

use crate::counters::book_discarded;
use crate::session::{LocalShard, News, Sinks, close_reason, refresh};

/// How Sv1 miners are served.
#[derive(Clone, Debug)]
pub struct Sv1Listen {
    /// A port of their own; port 0 chooses a free one.
    pub address: Option<SocketAddr>,
    /// A port of their own, through TLS.
    pub tls: Option<TlsListen>,
    /// Whether they may come to the port of Sv2 miners, told apart by the first bytes. Only where that one is encrypted.
    pub shares_port: bool,
    /// The rules.
    pub rules: Sv1Config,
    /// Limits and deadlines of their connections.
    pub options: LineOptions,
    /// How long an address is banned whose miner broke the rules; zero for not at all.
    pub ban: std::time::Duration,
}

impl Sv1Listen {
    /// On the port of Sv2 miners, by these rules.
    pub const fn on_shared_port(rules: Sv1Config) -> Self {
        let mut options = LineOptions::server();
        // Miners are silent until they find something; the time without a share is bounded by the rules.
        options.idle_timeout = None;
        Self {
            address: None,
            tls: None,
            shares_port: true,
            rules,
            options,
            ban: DEFAULT_BAN,
        }
    }
}

/// What a miner's connection needs of the pool.
pub(crate) struct Sv1Context<'a> {
    pub(crate) listen: &'a Sv1Listen,
    pub(crate) shard: LocalShard,
    pub(crate) news: News,
    pub(crate) sinks: Sinks,
    pub(crate) gate: &'a Gate,
    pub(crate) closed: &'a CloseCounts,
    pub(crate) clock: SystemClock,
}

/// Serves an Sv1 miner to the end of its connection.
pub(crate) async fn serve(
    context: Sv1Context<'_>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&TlsServer>,
) {
    let closed = context.closed;
    // In a box, so that the state of the opening does not stay in the memory of the connection's task.
    let opening = Box::pin(accept_lines(stream, tls, context.listen.options));
    let reason = match opening.await {
        Ok(connection) => run(context, connection, peer).await,
        Err(reason) => reason,
    };
    tracing::debug!(%peer, %reason, "Sv1 miner disconnected");
    closed.count(reason);
}

async fn run<S: Stream>(
    mut context: Sv1Context<'_>,
    connection: LineConnection<S>,
    peer: SocketAddr,
) -> CloseReason {
    let shard = context.shard.clone();
    refresh(&shard, &mut context.news.templates, &context.sinks.rejects);
    let clock = context.clock;
    let made = Sv1Downstream::new(context.listen.rules, &mut shard.borrow_mut(), clock.now());
    // Its numbers were checked at start.
    let Ok(downstream) = made else {
        return CloseReason::Overloaded;
    };
    let mut session = Sv1Session { downstream, shard };
    let mut wiring = Sv1Wiring {
        news: context.news,
        sinks: context.sinks,
        clock,
        ended: None,
    };
    let reason = drive_lines(&mut session, &mut wiring, connection, clock).await;
    if let Some(end) = wiring.ended {
        miner_end::ban(context.gate, peer, end, context.listen.ban);
    }
    session
        .downstream
        .handle_disconnected(&mut session.shard.borrow_mut(), clock.now());
    while let Some(output) = session.poll_output() {
        // Shares and blocks are still good; there is nobody left to send to.
        let _ = wiring.settle(output, &mut session);
    }
    book_discarded(&wiring.sinks.rejects, session.downstream.downstream());
    reason
}

struct Sv1Session {
    downstream: Sv1Downstream,
    shard: LocalShard,
}

impl LineCore for Sv1Session {
    type Output = Sv1Output;

    fn handle_line(&mut self, line: &[u8], now: Now) {
        self.downstream
            .handle_line(line, &mut self.shard.borrow_mut(), now);
    }

    fn handle_long_line(&mut self, error: LineTooLong, now: Now) {
        self.downstream
            .handle_long_line(error, &mut self.shard.borrow_mut(), now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.downstream
            .handle_timeout(&mut self.shard.borrow_mut(), now);
    }

    fn poll_output(&mut self) -> Option<Sv1Output> {
        self.downstream.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.downstream.poll_timeout()
    }
}

struct Sv1Wiring {
    news: News,
    sinks: Sinks,
    clock: SystemClock,
    /// Why the rules of Sv1 ended the connection.
    ended: Option<MinerEnd>,
}

impl Sv1Wiring {
    /// Carries out an output that needs no connection; gives back one that does.
    fn settle(&self, output: Sv1Output, session: &mut Sv1Session) -> Option<Sv1Output> {
        match output {
            Sv1Output::SubmitBlock(block) => self.sinks.submit(block),
            Sv1Output::Persist {
                user_identity,
                shares,
            } => {
                if self.sinks.store(&user_identity, &shares) {
                    let mut shard = session.shard.borrow_mut();
                    let now = self.clock.now();
                    session.downstream.handle_persisted(shares, &mut shard, now);
                }
            }
            Sv1Output::Rejected(code) => self.sinks.shares.count_rejected(&code),
            Sv1Output::Refused(reason, count) => self.sinks.rejects.add(reason, count),
            other => return Some(other),
        }
        None
    }
}

impl LineShell<Sv1Session> for Sv1Wiring {
    async fn changed(&mut self) {
        self.news.changed().await;
    }

    fn deliver(&mut self, session: &mut Sv1Session, now: Now) {
        if self.news.take_new_template() {
            refresh(
                &session.shard,
                &mut self.news.templates,
                &self.sinks.rejects,
            );
            session
                .downstream
                .handle_work(&mut session.shard.borrow_mut(), now);
        }
        if self.news.drains() {
            session
                .downstream
                .drain(&mut session.shard.borrow_mut(), now);
        }
    }

    fn output<S: Stream>(
        &mut self,
        output: Sv1Output,
        session: &mut Sv1Session,
        connection: &mut LineConnection<S>,
    ) -> Result<(), CloseReason> {
        match self.settle(output, session) {
            Some(Sv1Output::Send(line)) => connection.queue(&line),
            Some(Sv1Output::Close(reason)) => {
                tracing::debug!(%reason, "closing the connection");
                self.sinks.rejects.add(reason.label(), 1);
                Err(match reason {
                    Sv1Close::Miner(end) => {
                        self.ended = Some(end);
                        miner_end::close_reason(end)
                    }
                    Sv1Close::Pool(reason) => close_reason(&reason),
                    Sv1Close::Unanswered(_) => CloseReason::Overloaded,
                    _ => CloseReason::Finished,
                })
            }
            _ => Ok(()),
        }
    }
}
