//! Templates for clients that build their own coinbase: the server half of template distribution (specification 7).
//!
//! A [`TemplateServer`] turns a node's [`BlockTemplate`] into [`Work`] that leaves room for what a client adds to the
//! coinbase, gives the work a number, remembers it, and assembles the block when a solution comes back. There is one
//! server per process, so template ids are unique in it and a solution is found again whichever connection brings it.
//! What a single client must be told is worked out by its [`Announcer`].
//!
//! ```
//! use std::sync::Arc;
//! use roles_logic_sv2::block_template::{BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU};
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::template_server::{Announcer, Constraints, TemplateServer};
//!
//! let template = BlockTemplate {
//!     height: 1, version: 0x2000_0000, prev_hash: [7; 32], nbits: 0x207f_ffff, current_time_secs: 1_700_000_000,
//!     min_time_secs: 1_699_999_999, subsidy_sats: 5_000_000_000, transactions: vec![], segwit_active: true,
//!     weight_limit_wu: MAX_BLOCK_WEIGHT_WU, sigops_limit: MAX_BLOCK_SIGOPS_COST, is_provisional: false,
//! };
//! let mut server = TemplateServer::new(1);
//! let now = Now::default();
//! server.handle_template(Arc::new(template), now).unwrap();
//!
//! let constraints = Constraints { additional_size: 43, additional_sigops: 0 };
//! let work = server.work(constraints, None).unwrap().expect("there is a template");
//! let announcement = Announcer::default().announce(&work, now).expect("nothing was announced before");
//! assert!(announcement.new_template.future_template);
//! assert_eq!(announcement.new_template.coinbase_prefix.as_bytes(), [0x51, 0x00]);
//! assert_eq!(announcement.set_new_prev_hash.map(|tip| tip.template_id), Some(1));
//! ```

mod constraints;
mod solution;
mod work;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use const_sv2::error_codes::request_transaction_data;
use template_distribution_sv2::SubmitSolution;

pub use constraints::{Constraints, ConstraintsError};
pub use solution::{Deviation, SolutionError, SolvedBlock};
pub use work::{Announcement, Announcer, Tip, Work, bip34_prefix};

use crate::block_template::BlockTemplate;
use crate::clock::{Instant, Now};
use crate::target::{NbitsError, Target};
use work::Body;

/// How long work on a replaced tip is kept, so that a solution already under way still becomes a block.
pub const STALE_RETENTION: Duration = Duration::from_secs(120);

/// Node templates that are remembered; one more pushes out the oldest, whose solutions are then refused as forgotten.
///
/// Templates of one tip share the bytes of the transactions they have in common.
pub const TEMPLATES_RETAINED_MAX: usize = 64;

/// Pieces of work made from one node template; a client that needs one more is refused until the next template.
///
/// Clients whose constraints leave room for the same transactions share one piece.
pub const WORKS_PER_TEMPLATE_MAX: usize = 1_024;

/// Why there is no work for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// Nothing could satisfy the client.
    #[error(transparent)]
    Constraints(#[from] ConstraintsError),
    /// [`WORKS_PER_TEMPLATE_MAX`] is reached.
    #[error("the current template was handed out in too many variants")]
    TooManyVariants,
}

/// Why a template's transactions are not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionDataError {
    /// The template builds on an older tip, or is forgotten.
    #[error("the template is stale")]
    Stale,
    /// No template has had this id.
    #[error("no template has this id")]
    NotFound,
}

impl TransactionDataError {
    /// The code that `RequestTransactionData.Error` carries.
    pub const fn error_code(self) -> &'static str {
        match self {
            Self::Stale => request_transaction_data::STALE_TEMPLATE_ID,
            Self::NotFound => request_transaction_data::TEMPLATE_ID_NOT_FOUND,
        }
    }
}

/// A node template and the work made from it.
#[derive(Debug)]
struct Issue {
    source: Arc<BlockTemplate>,
    tip: Tip,
    /// When another tip took over.
    stale_since: Option<Instant>,
    /// In the order of their ids.
    works: Vec<Arc<Work>>,
}

/// The templates of one process: the newest, and those that solutions may still come back for.
///
/// Inputs are [`handle_template`](Self::handle_template) and [`handle_timeout`](Self::handle_timeout); the other
/// methods answer at once, so there is nothing to poll but [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct TemplateServer {
    first_id: u64,
    next_id: u64,
    tips: u64,
    /// Oldest first; ids rise from front to back.
    issues: VecDeque<Issue>,
}

impl TemplateServer {
    /// A server whose first template has the id `first_id`.
    ///
    /// A start that grows from one run of the program to the next (from the wall clock, say) keeps solutions of an
    /// earlier run from being taken for ones of this run.
    pub const fn new(first_id: u64) -> Self {
        Self {
            first_id,
            next_id: first_id,
            tips: 0,
            issues: VecDeque::new(),
        }
    }

    /// Takes the node's newest template and says on which tip it is.
    ///
    /// A changed previous block or changed nBits (test networks change them between blocks) is a new tip.
    ///
    /// # Errors
    /// nBits that are no target; the template is not taken then.
    pub fn handle_template(
        &mut self,
        mut source: Arc<BlockTemplate>,
        now: Now,
    ) -> Result<Tip, NbitsError> {
        let target = Target::from_nbits(source.nbits)?;
        self.handle_timeout(now);
        self.share_transactions(&mut source);
        let tip = match self.issues.back().map(|issue| issue.tip) {
            Some(tip) if tip.prev_hash == source.prev_hash && tip.nbits == source.nbits => tip,
            _ => self.start_tip(&source, target, now),
        };
        if self.issues.len() == TEMPLATES_RETAINED_MAX {
            self.issues.pop_front();
        }
        self.issues.push_back(Issue {
            source,
            tip,
            stale_since: None,
            works: Vec::new(),
        });
        Ok(tip)
    }

    /// The tip of the newest template.
    pub fn tip(&self) -> Option<Tip> {
        self.issues.back().map(|issue| issue.tip)
    }

    /// The newest template, as the node gave it.
    pub fn template(&self) -> Option<&Arc<BlockTemplate>> {
        self.issues.back().map(|issue| &issue.source)
    }

    /// The newest work that leaves room for `constraints`, with an id above `after`; `None` before the first template.
    ///
    /// `after` is the id that the client was told last.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub fn work(
        &mut self,
        constraints: Constraints,
        after: Option<u64>,
    ) -> Result<Option<Arc<Work>>, WorkError> {
        let Some(issue) = self.issues.back_mut() else {
            return Ok(None);
        };
        let transaction_count = constraints.fitting_transactions(&issue.source)?;
        let same = issue
            .works
            .iter()
            .rev()
            .find(|work| work.transactions().len() == transaction_count);
        if let Some(work) = same.filter(|work| Some(work.template_id()) > after) {
            return Ok(Some(Arc::clone(work)));
        }
        if issue.works.len() == WORKS_PER_TEMPLATE_MAX {
            return Err(WorkError::TooManyVariants);
        }
        let body = match same {
            Some(work) => Arc::clone(work.body()),
            None => Arc::new(Body::new(&issue.source, transaction_count)),
        };
        let source = Arc::clone(&issue.source);
        let work = Arc::new(Work::new(self.next_id, issue.tip, source, body));
        self.next_id += 1;
        issue.works.push(Arc::clone(&work));
        Ok(Some(work))
    }

    /// The work whose transactions a client may have: of this id, and on the newest tip.
    ///
    /// # Errors
    /// See [`TransactionDataError`].
    pub fn transaction_data(&self, template_id: u64) -> Result<&Arc<Work>, TransactionDataError> {
        match self.find(template_id) {
            Some((issue, work)) if issue.stale_since.is_none() => Ok(work),
            Some(_) => Err(TransactionDataError::Stale),
            None if self.was_issued(template_id) => Err(TransactionDataError::Stale),
            None => Err(TransactionDataError::NotFound),
        }
    }

    /// The block that a solution makes.
    ///
    /// Whatever consensus may accept becomes a block, even where the client broke a rule of the protocol or the tip is
    /// no more the newest; [`SolvedBlock::deviations`] says so then.
    ///
    /// # Errors
    /// See [`SolutionError`].
    pub fn solve(
        &self,
        solution: &SubmitSolution<'_>,
        now: Now,
    ) -> Result<SolvedBlock, SolutionError> {
        let template_id = solution.template_id;
        let Some((issue, work)) = self.find(template_id) else {
            return Err(if self.was_issued(template_id) {
                SolutionError::ForgottenTemplate { template_id }
            } else {
                SolutionError::UnknownTemplate { template_id }
            });
        };
        solution::assemble(work, solution, issue.stale_since.is_some(), now)
    }

    /// Forgets work on tips that were replaced more than [`STALE_RETENTION`] ago.
    pub fn handle_timeout(&mut self, now: Now) {
        while self
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now.instant)
        {
            self.issues.pop_front();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to forget.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stale_since = self.issues.front()?.stale_since?;
        Some(stale_since + STALE_RETENTION)
    }

    fn start_tip(&mut self, source: &BlockTemplate, target: Target, now: Now) -> Tip {
        for issue in &mut self.issues {
            issue.stale_since.get_or_insert(now.instant);
        }
        self.tips += 1;
        Tip {
            number: self.tips,
            prev_hash: source.prev_hash,
            nbits: source.nbits,
            target,
            start_time_secs: source.current_time_secs.max(source.min_time_secs),
            since_secs: now.unix_secs,
        }
    }

    /// Replaces transactions that an earlier template holds too by that one's bytes, so that they are kept once.
    fn share_transactions(&self, source: &mut Arc<BlockTemplate>) {
        // A provisional template is empty; the one before it may still share what was not mined.
        let earlier = self.issues.iter().rev().map(|issue| &issue.source);
        let Some(earlier) = earlier.into_iter().find(|it| !it.transactions.is_empty()) else {
            return;
        };
        let known = earlier.transactions.iter().map(|tx| (tx.wtxid, &tx.raw));
        let known: BTreeMap<_, _> = known.collect();
        let is_copy = |tx: &crate::block_template::TemplateTransaction| {
            let raw = known.get(&tx.wtxid);
            raw.is_some_and(|raw| !Arc::ptr_eq(raw, &tx.raw) && **raw == tx.raw)
        };
        if !source.transactions.iter().any(is_copy) {
            return;
        }
        for tx in &mut Arc::make_mut(source).transactions {
            if let Some(raw) = known.get(&tx.wtxid).filter(|raw| ***raw == tx.raw) {
                tx.raw = Arc::clone(raw);
            }
        }
    }

    fn find(&self, template_id: u64) -> Option<(&Issue, &Arc<Work>)> {
        self.issues.iter().rev().find_map(|issue| {
            let works = &issue.works;
            let index = works
                .binary_search_by_key(&template_id, |work| work.template_id())
                .ok()?;
            Some((issue, works.get(index)?))
        })
    }

    fn was_issued(&self, template_id: u64) -> bool {
        (self.first_id..self.next_id).contains(&template_id)
    }
}

#[cfg(test)]
mod tests;
