//! Why a negotiation fails.

use roles_logic_sv2::coinbase_space::CoinbaseSpaceError;
use roles_logic_sv2::messages::RouteError;
use roles_logic_sv2::setup::SetupError;

use crate::check::{TemplateFault, Unreadable};
use crate::negotiation::{MAX_DECLARED_OUTPUTS, MAX_REQUESTS, Party};

/// Why a negotiation fails. Words of a peer are escaped and cut.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection, or it has ended.
    #[error("no connection to the {party}: {reason}")]
    NoConnection {
        /// Who is not there.
        party: Party,
        /// What the shell knows of it.
        reason: String,
    },
    /// It says nothing, or nothing to the point.
    #[error("the {party} did not send {awaited} in time")]
    NoAnswer {
        /// Who is silent.
        party: Party,
        /// The message that was waited for.
        awaited: &'static str,
    },
    /// It does not take this client.
    #[error("the {party} refuses the connection: {code}, unsupported flags {flags:#x}")]
    SetupRefused {
        /// Who refuses.
        party: Party,
        /// Its words.
        code: String,
        /// Flags that it does not support.
        flags: u32,
    },
    /// It gives no transactions of its own template.
    #[error("the template provider gives no transactions of its template: {code}")]
    NoTransactions {
        /// Its words.
        code: String,
    },
    /// Its transactions are in an encoding of its own.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Its templates were outdated before their transactions were there, each time.
    #[error("{MAX_REQUESTS} templates were outdated before their transactions came")]
    AlwaysStale,
    /// No block has room for the outputs.
    #[error(transparent)]
    Space(#[from] CoinbaseSpaceError),
    /// There is nothing to pay to.
    #[error("there is no output to find room for")]
    NoOutputs,
    /// Its answer to `SetupConnection` does not fit.
    #[error("the {party} breaks the protocol: {source}")]
    Setup {
        /// Who breaks it.
        party: Party,
        /// How.
        source: SetupError,
    },
    /// A frame that is no message for us.
    #[error("the {party} breaks the protocol: {source}")]
    Frame {
        /// Who breaks it.
        party: Party,
        /// How.
        source: RouteError,
    },
    /// A message that has no place there.
    #[error("the {party} breaks the protocol: {message} is out of order")]
    OutOfOrder {
        /// Who sent it.
        party: Party,
        /// Its name.
        message: &'static str,
    },
    /// An answer to a request that was not made.
    #[error("the job declaration server breaks the protocol: it answers request {request_id}")]
    UnknownRequest {
        /// The number that it gives.
        request_id: u32,
    },
    /// The outputs that come with a token are none (JS-3, JS-7).
    #[error(
        "the job declaration server breaks the protocol: its outputs are not 1 to {MAX_DECLARED_OUTPUTS} outputs behind their number"
    )]
    DeclaredOutputs,
    /// An output that comes with a token has a value, which nobody but the miner could give it (JS-3, JS-4).
    #[error("the job declaration server breaks the protocol: its output {position} has a value")]
    DeclaredValue {
        /// Which output, from 1.
        position: usize,
    },
    /// Templates and tips come in an order that makes no sense.
    #[error("the template provider breaks the protocol: {0}")]
    Order(#[from] OrderFault),
    /// The template does not leave the room asked for, or is none.
    #[error("template {template_id} is not fit to be mined: {source}")]
    Template {
        /// Its number.
        template_id: u64,
        /// What is wrong.
        source: TemplateFault,
    },
}

impl Fault {
    /// Whether a peer breaks a rule. Otherwise nothing is known of that: nobody answers, or what is asked cannot be.
    pub const fn is_breach(&self) -> bool {
        matches!(
            self,
            Self::Setup { .. }
                | Self::Frame { .. }
                | Self::OutOfOrder { .. }
                | Self::UnknownRequest { .. }
                | Self::DeclaredOutputs
                | Self::DeclaredValue { .. }
                | Self::Order(_)
                | Self::Template { .. }
        )
    }
}

/// How templates and tips can come in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderFault {
    /// `SetNewPrevHash` names a template that was not sent before (TS-17).
    #[error("SetNewPrevHash names a template that was not sent before it")]
    TipBeforeTemplate,
    /// A template for the present tip, before any tip was named (TS-15).
    #[error("the first template is for a tip that was never named")]
    TemplateBeforeTip,
    /// The number of a template is not above those before it (TS-14).
    #[error("template {template_id} comes after template {last}")]
    NumberNotRising {
        /// Its number.
        template_id: u64,
        /// The last one before.
        last: u64,
    },
    /// A tip whose `nbits` no block may have.
    #[error("SetNewPrevHash has a target that consensus refuses")]
    InvalidNbits,
    /// More templates for blocks to come than are kept, and no tip.
    #[error("templates come without end, and no SetNewPrevHash")]
    TooManyTemplates,
}
