//! The server's side of one connection.

use std::collections::VecDeque;
use std::time::Duration;

use binary_sv2::{IntoOwned, Message, Str0255};
use common_messages_sv2::{CommonMessage, SetupConnection};
use const_sv2::Protocol;
use extensions_sv2::{ExtensionNegotiationMessage, RequestExtensions};
use framing_sv2::{Frame, Sv2Frame};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::extensions::{ExtensionPolicy, ServerExtensions};
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::SetupPolicy;
use roles_logic_sv2::template_server::{
    Announcer, Constraints, SolutionError, TransactionDataError, Work,
};
use template_distribution_sv2::{
    RequestTransactionDataError, SubmitSolution, TemplateDistributionMessage,
};

use crate::Reject;
use crate::budget::{
    Budget, CONSTRAINTS_COST, FRAME_COST, REFUSED_SOLUTION_COST, TRANSACTION_DATA_COST,
};

/// What one client may take of time and work. At each limit the connection is closed with a [`Reject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the start of the connection to `SetupConnection`.
    pub setup_timeout: Duration,
    /// From `SetupConnection` to `CoinbaseOutputConstraints`. After those a client may be silent for ever.
    pub constraints_timeout: Duration,
    /// Cost of all messages that may come at once, see [`FRAME_COST`] and its likes.
    pub burst: u32,
    /// Cost of all messages per second in the long run.
    pub per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            setup_timeout: Duration::from_secs(10),
            constraints_timeout: Duration::from_secs(30),
            burst: 256,
            per_second: 32,
        }
    }
}

/// What the shell is to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send this frame.
    Send(Sv2Frame<'static>),
    /// Subscribe to work for these constraints, with an id above `after`, instead of any earlier subscription; bring
    /// the first and every later piece to [`Downstream::handle_work`], a refusal to [`Downstream::handle_refusal`].
    Subscribe {
        /// What the client adds to the coinbase.
        constraints: Constraints,
        /// The newest template that the client knows.
        after: Option<u64>,
    },
    /// Find the work of this id and bring it to [`Downstream::handle_transaction_data`].
    FindTransactions {
        /// The template in question.
        template_id: u64,
    },
    /// Make a block of this and hand it to the node; bring what kept it from being one to
    /// [`Downstream::handle_refused_solution`].
    Solve(SubmitSolution<'static>),
    /// Count this and log it; the connection goes on.
    Note(Reject),
    /// Send what is still to be sent, close the connection, count the reason. There is no further output.
    Close(Reject),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitSetup { deadline: Instant },
    AwaitConstraints { deadline: Instant },
    Serving,
    Closed,
}

/// The server's side of one connection.
///
/// Every input makes a handful of outputs at most: poll them all before the next input.
#[derive(Debug)]
pub struct Downstream {
    limits: Limits,
    phase: Phase,
    budget: Budget,
    extensions: ServerExtensions,
    announcer: Announcer,
    outputs: VecDeque<Output>,
}

const ROUTER: Router = Router::new(Protocol::TEMPLATE_DISTRIBUTION, Peer::Client);

impl Downstream {
    /// A connection that was made just now.
    pub fn new(limits: Limits, now: Now) -> Self {
        Self {
            limits,
            phase: Phase::AwaitSetup {
                deadline: now.instant + limits.setup_timeout,
            },
            budget: Budget::new(&limits, now.instant),
            extensions: ServerExtensions::default(),
            announcer: Announcer::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a frame of the client.
    pub fn handle_frame(&mut self, frame: &Sv2Frame<'_>, now: Now) {
        let header = frame.header();
        let (extension_type, msg_type) = (header.extension_type(), header.msg_type());
        let routed = ROUTER.route(extension_type, msg_type, frame.payload());
        match (self.phase, routed) {
            (Phase::Closed, _) => {}
            (Phase::AwaitSetup { .. }, Ok(routed)) => match routed.message {
                AnyMessage::Common(CommonMessage::SetupConnection(setup)) => {
                    self.handle_setup(&setup, now);
                }
                _ => self.close(Reject::OutOfOrder { msg_type }),
            },
            (Phase::AwaitSetup { .. }, Err(error)) if error.is_ignored() => {
                self.close(Reject::OutOfOrder { msg_type });
            }
            (_, Err(error)) if error.is_ignored() => {
                self.outputs.push_back(Output::Note(error.into()));
                self.charge(FRAME_COST, now);
            }
            (_, Err(error)) => self.close(error.into()),
            (_, Ok(routed)) => self.handle_message(routed.message, now),
        }
    }

    fn handle_setup(&mut self, setup: &SetupConnection<'_>, now: Now) {
        match SetupPolicy::template_distribution().negotiate(setup) {
            Ok(accepted) => {
                let deadline = now.instant + self.limits.constraints_timeout;
                self.phase = Phase::AwaitConstraints { deadline };
                self.send(&accepted.message());
            }
            Err(refusal) => {
                if let Some(message) = refusal.message() {
                    self.send(&message);
                }
                self.close(refusal.into());
            }
        }
    }

    fn handle_message(&mut self, message: AnyMessage<'_>, now: Now) {
        use TemplateDistributionMessage as T;
        let msg_type = message.kind().msg_type;
        match message {
            AnyMessage::TemplateDistribution(T::CoinbaseOutputConstraints(constraints)) => {
                if self.charge(CONSTRAINTS_COST, now) {
                    self.phase = Phase::Serving;
                    self.outputs.push_back(Output::Subscribe {
                        constraints: constraints.into(),
                        after: self.announcer.template_id(),
                    });
                }
            }
            AnyMessage::TemplateDistribution(T::RequestTransactionData(request)) => {
                if self.charge(TRANSACTION_DATA_COST, now) {
                    let template_id = request.template_id;
                    self.outputs
                        .push_back(Output::FindTransactions { template_id });
                }
            }
            // Taken before constraints too: a client that lost its connection may still bring a block.
            AnyMessage::TemplateDistribution(T::SubmitSolution(solution)) => {
                self.outputs.push_back(Output::Solve(solution.into_owned()));
            }
            AnyMessage::ExtensionNegotiation(ExtensionNegotiationMessage::RequestExtensions(
                request,
            )) => {
                if self.charge(FRAME_COST, now) {
                    self.handle_request_extensions(&request);
                }
            }
            _ => self.close(Reject::OutOfOrder { msg_type }),
        }
    }

    fn handle_request_extensions(&mut self, request: &RequestExtensions<'_>) {
        use ExtensionNegotiationMessage as E;
        let answer = self
            .extensions
            .handle_request(&ExtensionPolicy::default(), request);
        match answer {
            Ok(E::RequestExtensionsSuccess(success)) => self.send(&success),
            Ok(E::RequestExtensionsError(error)) => self.send(&error),
            Ok(E::RequestExtensions(_)) => {}
            Err(error) => self.close(error.into()),
        }
    }

    /// Takes work for the client's constraints and announces it, unless the client knows it.
    pub fn handle_work(&mut self, work: &Work, now: Now) {
        if self.phase != Phase::Serving {
            return;
        }
        let Some(announcement) = self.announcer.announce(work, now) else {
            return;
        };
        self.send(&announcement.new_template);
        if let Some(tip) = announcement.set_new_prev_hash {
            self.send(&tip);
        }
    }

    /// Takes the reason why there is no work for the client's constraints.
    pub fn handle_refusal(&mut self, reject: Reject) {
        self.close(reject);
    }

    /// Takes the outcome of [`Output::FindTransactions`].
    pub fn handle_transaction_data(
        &mut self,
        template_id: u64,
        found: Result<&Work, TransactionDataError>,
    ) {
        match found {
            Ok(work) => self.send(&work.transaction_data()),
            Err(error) => {
                let error_code = Str0255::try_from(error.error_code()).unwrap_or_default();
                self.send(&RequestTransactionDataError {
                    template_id,
                    error_code,
                });
                self.note(error.into());
            }
        }
    }

    /// Takes the reason why an [`Output::Solve`] made no block.
    pub fn handle_refused_solution(&mut self, error: SolutionError, now: Now) {
        self.note(error.into());
        let cost = match error {
            // After a restart each client may hand in what it found for templates that were never given here.
            SolutionError::UnknownTemplate { .. } | SolutionError::ForgottenTemplate { .. } => {
                FRAME_COST
            }
            _ => REFUSED_SOLUTION_COST,
        };
        self.charge(cost, now);
    }

    /// The server ends.
    pub fn handle_drain(&mut self) {
        self.close(Reject::Draining);
    }

    /// Closes the connection when the client is late.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.phase {
            Phase::AwaitSetup { deadline } if deadline <= now.instant => {
                self.close(Reject::SetupTimeout);
            }
            Phase::AwaitConstraints { deadline } if deadline <= now.instant => {
                self.close(Reject::ConstraintsTimeout);
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitSetup { deadline } | Phase::AwaitConstraints { deadline } => Some(deadline),
            Phase::Serving | Phase::Closed => None,
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the client announced its constraints and is served templates.
    pub const fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Takes the cost of a message from the budget; closes the connection when it is not there.
    fn charge(&mut self, cost: u32, now: Now) -> bool {
        let is_affordable = self.budget.take(cost, now.instant);
        if !is_affordable {
            self.close(Reject::RateExceeded);
        }
        is_affordable
    }

    fn send<M: Message>(&mut self, message: &M) {
        if self.phase == Phase::Closed {
            return;
        }
        match Sv2Frame::from_message(message) {
            Ok(frame) => self.outputs.push_back(Output::Send(frame)),
            Err(_) => self.close(Reject::AnswerTooLarge),
        }
    }

    fn note(&mut self, reject: Reject) {
        if self.phase != Phase::Closed {
            self.outputs.push_back(Output::Note(reject));
        }
    }

    fn close(&mut self, reject: Reject) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.outputs.push_back(Output::Close(reject));
        }
    }
}
