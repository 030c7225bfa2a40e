//! The course of a negotiation.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use binary_sv2::Str0255;
use bitcoin::consensus::encode::deserialize;
use bitcoin::{Amount, ScriptBuf, TxOut};
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use const_sv2::error_codes::request_transaction_data::STALE_TEMPLATE_ID;
use job_declaration_sv2::{
    AllocateMiningJobToken, AllocateMiningJobTokenSuccess, JobDeclarationMessage,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::coinbase_space::CoinbaseSpace;
use roles_logic_sv2::messages::{AnyMessage, Peer, Router};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::template_client::{ActiveTemplate, Output as ClientOutput, TemplateClient};
use roles_logic_sv2::upstream::words;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionData, RequestTransactionDataError,
    RequestTransactionDataSuccess, TemplateDistributionMessage,
};

use crate::check::{self, Figures, Outline};
use crate::fault::{Fault, OrderFault};

/// How long a peer may take for a connection and for each answer unless told otherwise.
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Templates whose transactions are asked for: one may be outdated before they come. Then the negotiation fails.
pub const MAX_REQUESTS: usize = 3;

/// Most outputs that a job declaration server may name; more fail the negotiation. A pool has a handful.
pub const MAX_DECLARED_OUTPUTS: usize = 1_000;

/// The only request that is made.
const REQUEST_ID: u32 = 1;

/// Who is talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The job declaration server, for the outputs.
    JobDeclarator,
    /// The template provider.
    TemplateProvider,
}

impl Party {
    const fn protocol(self) -> Protocol {
        match self {
            Self::JobDeclarator => Protocol::JOB_DECLARATION,
            Self::TemplateProvider => Protocol::TEMPLATE_DISTRIBUTION,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JobDeclarator => "job declaration server",
            Self::TemplateProvider => "template provider",
        })
    }
}

/// Where the outputs come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// They are known.
    Outputs(Vec<ScriptBuf>),
    /// A job declaration server names them.
    JobDeclarator {
        /// What to say of ourselves there, and of its address.
        endpoint: Endpoint<'static>,
        /// Who asks for a token.
        user_identifier: Str0255<'static>,
        /// Flags of `SetupConnection`: 0, or `DECLARE_TX_DATA` where a server insists.
        flags: u32,
    },
}

/// What is negotiated, and how long peers are waited for.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The outputs.
    pub source: Source,
    /// Room for more than they take, such as [`CoinbaseSpace::ANY_ADDRESS`] for a miner's own.
    pub extra: CoinbaseSpace,
    /// What to say of ourselves to the template provider, and of its address.
    pub provider: Endpoint<'static>,
    /// Time for a connection, and for each answer.
    pub answer_timeout: Duration,
}

impl Terms {
    /// No room beyond the outputs, and the usual patience.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            extra: CoinbaseSpace::default(),
            provider: Endpoint::default(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
        }
    }
}

/// A token of a job declaration server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(pub Vec<u8>);

/// What a negotiation comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Scripts of the outputs that there is room for.
    pub outputs: Vec<ScriptBuf>,
    /// The token that came with them.
    pub token: Option<Token>,
    /// What was asked for.
    pub asked: CoinbaseOutputConstraints,
    /// The template that leaves the room.
    pub figures: Figures,
}

/// How it goes, for those who look on.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The outputs are known, and what they take with the room beyond them.
    Outputs {
        /// Their scripts.
        scripts: Vec<ScriptBuf>,
        /// All room needed.
        space: CoinbaseSpace,
    },
    /// The template provider was asked for this.
    Asked(CoinbaseOutputConstraints),
    /// A template to judge has come; its transactions are asked for.
    Template {
        /// Its number.
        template_id: u64,
        /// Satoshis for our outputs.
        value_remaining_sats: u64,
        /// Outputs that it has itself.
        own_outputs: u32,
    },
}

/// What the shell is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect to this party, then call [`Negotiation::handle_connected`].
    Connect(Party),
    /// Send this.
    Send(Party, AnyMessage<'static>),
    /// Something to show; nothing to do.
    Told(News),
    /// The party is needed no more: close its connection, on which nothing waits.
    Disconnect(Party),
    /// It is over; nothing follows.
    Done(Result<Box<Agreement>, Fault>),
}

/// What is waited for. All but the end have a deadline.
#[derive(Debug)]
enum Phase {
    Connecting(Party),
    SettingUp(Party, SetupRequest),
    Token,
    Template(Box<Asking>),
    Transactions(Box<Asking>, Box<Candidate>),
    Done,
}

impl Phase {
    const fn party(&self) -> Option<Party> {
        match self {
            Self::Connecting(party) | Self::SettingUp(party, _) => Some(*party),
            Self::Token => Some(Party::JobDeclarator),
            Self::Template(_) | Self::Transactions(..) => Some(Party::TemplateProvider),
            Self::Done => None,
        }
    }

    const fn awaited(&self) -> &'static str {
        match self {
            Self::Connecting(_) => "anything",
            Self::SettingUp(..) => "SetupConnection.Success",
            Self::Token => "AllocateMiningJobToken.Success",
            Self::Template(_) => "a template with its tip",
            Self::Transactions(..) => "RequestTransactionData.Success",
            Self::Done => "",
        }
    }
}

/// What was asked of the template provider, and what it sent.
#[derive(Debug)]
struct Asking {
    asked: CoinbaseOutputConstraints,
    client: TemplateClient,
    last_template_id: Option<u64>,
    requests: usize,
}

/// A template whose transactions are on their way.
#[derive(Debug)]
struct Candidate {
    active: Arc<ActiveTemplate>,
    outline: Outline,
}

/// One negotiation, from the outputs to the verdict.
#[derive(Debug)]
pub struct Negotiation {
    terms: Terms,
    scripts: Vec<ScriptBuf>,
    token: Option<Token>,
    phase: Phase,
    deadline: Instant,
    ignored_frames: u64,
    outputs: VecDeque<Output>,
}

impl Negotiation {
    /// Begins: its first output is whom to connect to, or that there is nothing to negotiate.
    pub fn new(terms: Terms, now: Now) -> Self {
        let mut negotiation = Self {
            terms,
            scripts: Vec::new(),
            token: None,
            phase: Phase::Done,
            deadline: now.instant,
            ignored_frames: 0,
            outputs: VecDeque::new(),
        };
        match &mut negotiation.terms.source {
            Source::Outputs(scripts) => {
                let scripts = std::mem::take(scripts);
                negotiation.take_outputs(scripts, now);
            }
            Source::JobDeclarator { .. } => negotiation.connect(Party::JobDeclarator, now),
        }
        negotiation
    }

    /// Frames of unknown kinds, which are discarded (FR-17, FR-18).
    pub const fn ignored_frames(&self) -> u64 {
        self.ignored_frames
    }

    /// The connection asked for is made, and secured.
    pub fn handle_connected(&mut self, party: Party, now: Now) {
        if !matches!(self.phase, Phase::Connecting(wanted) if wanted == party) {
            return;
        }
        let (endpoint, flags) = match (&self.terms.source, party) {
            (
                Source::JobDeclarator {
                    endpoint, flags, ..
                },
                Party::JobDeclarator,
            ) => (endpoint, *flags),
            _ => (&self.terms.provider, 0),
        };
        let request = SetupRequest::new(party.protocol(), flags);
        let message = CommonMessage::from(request.message(endpoint));
        self.outputs.push_back(Output::Send(party, message.into()));
        self.enter(Phase::SettingUp(party, request), now);
    }

    /// A connection cannot be made, or has ended; of a party that is needed no more it means nothing.
    pub fn handle_disconnected(&mut self, party: Party, reason: &str) {
        if self.phase.party() == Some(party) {
            let reason = reason.to_owned();
            self.fail(Fault::NoConnection { party, reason });
        }
    }

    /// Takes a frame of a party; `extension_type` includes the channel bit. One of an unknown kind is counted and
    /// discarded.
    pub fn handle_frame(
        &mut self,
        party: Party,
        extension_type: u16,
        msg_type: u8,
        payload: &[u8],
        now: Now,
    ) {
        if self.phase.party() != Some(party) {
            return;
        }
        let router = Router::new(party.protocol(), Peer::Server);
        match router.route(extension_type, msg_type, payload) {
            Ok(routed) => self.handle_message(party, &routed.message, now),
            Err(error) if error.is_ignored() => self.ignored_frames += 1,
            Err(source) => self.fail(Fault::Frame { party, source }),
        }
    }

    /// Takes a message of a party; of one that is needed no more it means nothing.
    pub fn handle_message(&mut self, party: Party, message: &AnyMessage<'_>, now: Now) {
        if self.phase.party() != Some(party) {
            return;
        }
        // Each step gives the next phase; whatever goes wrong leaves none.
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        let handled = match (phase, message) {
            (Phase::SettingUp(_, request), AnyMessage::Common(message)) => {
                self.handle_setup(party, &request, message, now)
            }
            (
                Phase::Token,
                AnyMessage::JobDeclaration(JobDeclarationMessage::AllocateMiningJobTokenSuccess(
                    message,
                )),
            ) => self.handle_token(message, now),
            (Phase::Template(asking), AnyMessage::TemplateDistribution(message)) => {
                self.handle_template(asking, message, now)
            }
            (Phase::Transactions(asking, candidate), AnyMessage::TemplateDistribution(message)) => {
                self.handle_transactions(asking, candidate, message, now)
            }
            (_, other) => Err(out_of_order(party, other.kind().name)),
        };
        if let Err(fault) = handled {
            self.fail_from(party, fault);
        }
    }

    fn handle_setup(
        &mut self,
        party: Party,
        request: &SetupRequest,
        message: &CommonMessage<'_>,
        now: Now,
    ) -> Result<(), Fault> {
        match message {
            CommonMessage::SetupConnectionSuccess(success) => {
                request
                    .handle_success(success)
                    .map_err(|source| Fault::Setup { party, source })?;
                self.set_up(party, now)
            }
            CommonMessage::SetupConnectionError(error) => Err(Fault::SetupRefused {
                party,
                code: words(&error.error_code),
                flags: error.flags,
            }),
            other => Err(out_of_order(party, other.kind().name)),
        }
    }

    /// The connection is ready for its purpose.
    fn set_up(&mut self, party: Party, now: Now) -> Result<(), Fault> {
        match party {
            Party::JobDeclarator => {
                let Source::JobDeclarator {
                    user_identifier, ..
                } = &self.terms.source
                else {
                    return Err(Fault::NoOutputs);
                };
                let request = JobDeclarationMessage::from(AllocateMiningJobToken {
                    user_identifier: user_identifier.clone(),
                    request_id: REQUEST_ID,
                });
                self.outputs.push_back(Output::Send(party, request.into()));
                self.enter(Phase::Token, now);
            }
            Party::TemplateProvider => {
                let asked = self.space().constraints()?;
                let mut client = TemplateClient::new(asked);
                client.handle_connected();
                let mut asking = Box::new(Asking {
                    asked,
                    client,
                    last_template_id: None,
                    requests: 0,
                });
                self.take_work(&mut asking);
                self.outputs.push_back(Output::Told(News::Asked(asked)));
                self.enter(Phase::Template(asking), now);
            }
        }
        Ok(())
    }

    fn handle_token(
        &mut self,
        message: &AllocateMiningJobTokenSuccess<'_>,
        now: Now,
    ) -> Result<(), Fault> {
        let request_id = message.request_id;
        if request_id != REQUEST_ID {
            return Err(Fault::UnknownRequest { request_id });
        }
        let outputs = declared_outputs(message.coinbase_tx_outputs.as_bytes())?;
        self.token = Some(Token(message.mining_job_token.as_bytes().to_vec()));
        self.outputs
            .push_back(Output::Disconnect(Party::JobDeclarator));
        self.take_outputs(outputs, now);
        Ok(())
    }

    /// The outputs are known: the template provider's turn.
    fn take_outputs(&mut self, scripts: Vec<ScriptBuf>, now: Now) {
        if scripts.is_empty() {
            return self.fail(Fault::NoOutputs);
        }
        self.scripts = scripts;
        let space = self.space();
        let scripts = self.scripts.clone();
        self.outputs
            .push_back(Output::Told(News::Outputs { scripts, space }));
        match space.constraints() {
            Ok(_) => self.connect(Party::TemplateProvider, now),
            Err(error) => self.fail(error.into()),
        }
    }

    fn space(&self) -> CoinbaseSpace {
        CoinbaseSpace::of_scripts(&self.scripts).plus(self.terms.extra)
    }

    fn connect(&mut self, party: Party, now: Now) {
        self.outputs.push_back(Output::Connect(party));
        self.enter(Phase::Connecting(party), now);
    }

    fn handle_template(
        &mut self,
        mut asking: Box<Asking>,
        message: &TemplateDistributionMessage<'_>,
        now: Now,
    ) -> Result<(), Fault> {
        asking.follow(message, now)?;
        match self.take_work(&mut asking) {
            Some(active) => self.request(asking, active, now),
            None => {
                // Templates for blocks to come may follow each other; the deadline stays.
                self.phase = Phase::Template(asking);
                Ok(())
            }
        }
    }

    /// Sends what the client wants sent; gives the last piece of work that it has.
    fn take_work(&mut self, asking: &mut Asking) -> Option<Arc<ActiveTemplate>> {
        let mut work = None;
        while let Some(output) = asking.client.poll_output() {
            match output {
                ClientOutput::Send(message) => {
                    let message = Output::Send(Party::TemplateProvider, message.into());
                    self.outputs.push_back(message);
                }
                ClientOutput::Work(active) => work = Some(active),
            }
        }
        work
    }

    /// Judges what can be judged at once, and asks for the transactions.
    fn request(
        &mut self,
        mut asking: Box<Asking>,
        active: Arc<ActiveTemplate>,
        now: Now,
    ) -> Result<(), Fault> {
        if asking.requests >= MAX_REQUESTS {
            return Err(Fault::AlwaysStale);
        }
        asking.requests += 1;
        let template = active.template();
        let template_id = template.template_id;
        let outline =
            check::outline(template, &self.scripts).map_err(|source| Fault::Template {
                template_id,
                source,
            })?;
        self.outputs.push_back(Output::Told(News::Template {
            template_id,
            value_remaining_sats: template.coinbase_tx_value_remaining,
            own_outputs: template.coinbase_tx_outputs_count,
        }));
        let request = TemplateDistributionMessage::from(RequestTransactionData { template_id });
        self.outputs
            .push_back(Output::Send(Party::TemplateProvider, request.into()));
        let candidate = Box::new(Candidate { active, outline });
        self.enter(Phase::Transactions(asking, candidate), now);
        Ok(())
    }

    fn handle_transactions(
        &mut self,
        mut asking: Box<Asking>,
        candidate: Box<Candidate>,
        message: &TemplateDistributionMessage<'_>,
        now: Now,
    ) -> Result<(), Fault> {
        let template_id = candidate.active.template().template_id;
        match message {
            TemplateDistributionMessage::RequestTransactionDataSuccess(data)
                if data.template_id == template_id =>
            {
                self.judge(&asking, &candidate, data)
            }
            TemplateDistributionMessage::RequestTransactionDataError(error)
                if error.template_id == template_id =>
            {
                self.handle_no_transactions(asking, &candidate, error, now)
            }
            other => {
                // Newer templates are remembered, in case that this one is outdated by them.
                asking.follow(other, now)?;
                self.take_work(&mut asking);
                self.phase = Phase::Transactions(asking, candidate);
                Ok(())
            }
        }
    }

    fn handle_no_transactions(
        &mut self,
        asking: Box<Asking>,
        candidate: &Candidate,
        error: &RequestTransactionDataError<'_>,
        now: Now,
    ) -> Result<(), Fault> {
        let code = words(&error.error_code);
        if code != STALE_TEMPLATE_ID {
            return Err(Fault::NoTransactions { code });
        }
        let newer = asking.client.active().cloned();
        let newer = newer.filter(|active| !Arc::ptr_eq(active, &candidate.active));
        match newer {
            Some(active) => self.request(asking, active, now),
            // The template that outdates this one is on its way.
            None => {
                self.enter(Phase::Template(asking), now);
                Ok(())
            }
        }
    }

    fn judge(
        &mut self,
        asking: &Asking,
        candidate: &Candidate,
        data: &RequestTransactionDataSuccess<'_>,
    ) -> Result<(), Fault> {
        let transactions = check::transactions(data)?;
        let template = candidate.active.template();
        let judged = check::judge(template, &candidate.outline, asking.asked, &transactions);
        let figures = judged.map_err(|source| Fault::Template {
            template_id: template.template_id,
            source,
        })?;
        self.outputs
            .push_back(Output::Disconnect(Party::TemplateProvider));
        self.outputs.push_back(Output::Done(Ok(Box::new(Agreement {
            outputs: std::mem::take(&mut self.scripts),
            token: self.token.take(),
            asked: asking.asked,
            figures,
        }))));
        Ok(())
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        let Some(party) = self.phase.party() else {
            return;
        };
        if self.deadline <= now.instant {
            let awaited = self.phase.awaited();
            let fault = match self.phase {
                Phase::Connecting(_) => Fault::NoConnection {
                    party,
                    reason: "it cannot be reached in time".to_owned(),
                },
                _ => Fault::NoAnswer { party, awaited },
            };
            self.fail(fault);
        }
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; `None` at the end.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Done => None,
            _ => Some(self.deadline),
        }
    }

    fn enter(&mut self, phase: Phase, now: Now) {
        self.phase = phase;
        self.deadline = now.instant + self.terms.answer_timeout;
    }

    fn fail(&mut self, fault: Fault) {
        match self.phase.party() {
            Some(party) => self.fail_from(party, fault),
            None => self.outputs.push_back(Output::Done(Err(fault))),
        }
    }

    fn fail_from(&mut self, party: Party, fault: Fault) {
        self.phase = Phase::Done;
        self.outputs
            .extend([Output::Disconnect(party), Output::Done(Err(fault))]);
    }
}

impl Asking {
    /// Has the client follow, and sees whether that makes sense.
    fn follow(&mut self, message: &TemplateDistributionMessage<'_>, now: Now) -> Result<(), Fault> {
        if let TemplateDistributionMessage::NewTemplate(template) = message {
            self.check_number(template)?;
        }
        self.client.handle_message(message, now);
        let anomalies = self.client.anomalies();
        let faults = [
            (anomalies.unknown_templates, OrderFault::TipBeforeTemplate),
            (
                anomalies.templates_without_tip,
                OrderFault::TemplateBeforeTip,
            ),
            (anomalies.invalid_nbits, OrderFault::InvalidNbits),
            (anomalies.templates_dropped, OrderFault::TooManyTemplates),
        ];
        if let Some((_, fault)) = faults.iter().find(|(count, _)| *count > 0) {
            return Err((*fault).into());
        }
        match anomalies.unexpected_messages {
            0 => Ok(()),
            _ => Err(out_of_order(Party::TemplateProvider, message.kind().name)),
        }
    }

    fn check_number(&mut self, template: &NewTemplate<'_>) -> Result<(), OrderFault> {
        let template_id = template.template_id;
        match self.last_template_id.replace(template_id) {
            Some(last) if last >= template_id => {
                Err(OrderFault::NumberNotRising { template_id, last })
            }
            _ => Ok(()),
        }
    }
}

const fn out_of_order(party: Party, message: &'static str) -> Fault {
    Fault::OutOfOrder { party, message }
}

/// The scripts of outputs that come with a token: behind their number, worth nothing until a block is made (JS-3, JS-7).
fn declared_outputs(encoded: &[u8]) -> Result<Vec<ScriptBuf>, Fault> {
    let outputs: Vec<TxOut> = deserialize(encoded).map_err(|_| Fault::DeclaredOutputs)?;
    if !(1..=MAX_DECLARED_OUTPUTS).contains(&outputs.len()) {
        return Err(Fault::DeclaredOutputs);
    }
    if let Some(at) = outputs
        .iter()
        .position(|output| output.value != Amount::ZERO)
    {
        return Err(Fault::DeclaredValue { position: at + 1 });
    }
    let scripts = outputs.into_iter().map(|output| output.script_pubkey);
    Ok(scripts.collect())
}
