//! The client of a template provider: remembers future templates, follows the tip, hands in solutions (7).
//!
//! A pool or a job declarator client holds one [`TemplateClient`] per template provider, whether the provider is reached
//! over a connection or lives in the same process.
//!
//! ```
//! use roles_logic_sv2::clock::Now;
//! use roles_logic_sv2::template_client::{Output, TemplateClient};
//! use template_distribution_sv2::{CoinbaseOutputConstraints, TemplateDistributionMessage};
//!
//! let constraints = CoinbaseOutputConstraints {
//!     coinbase_output_max_additional_size: 43,
//!     coinbase_output_max_additional_sigops: 0,
//! };
//! let mut client = TemplateClient::new(constraints);
//! client.handle_connected();
//! let Some(Output::Send(TemplateDistributionMessage::CoinbaseOutputConstraints(first))) = client.poll_output() else {
//!     panic!("the constraints come first")
//! };
//! assert_eq!(first, constraints);
//! ```

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use binary_sv2::IntoOwned;
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, SetNewPrevHash, SubmitSolution,
    TemplateDistributionMessage,
};

use crate::clock::Now;
use crate::job::{ChainTip, JobTemplate};
use crate::share::BlockSolution;
use crate::target::Target;

/// Future templates kept until a `SetNewPrevHash` names one. One more pushes out the oldest.
pub const MAX_FUTURE_TEMPLATES: usize = 64;

/// A template on the tip that is mined now.
#[derive(Clone, Debug)]
pub struct ActiveTemplate {
    tip: Arc<ChainTip>,
    template: NewTemplate<'static>,
}

impl ActiveTemplate {
    /// The tip that the template builds on.
    pub const fn tip(&self) -> &Arc<ChainTip> {
        &self.tip
    }

    /// The template as it came.
    pub const fn template(&self) -> &NewTemplate<'static> {
        &self.template
    }

    /// What a job factory needs of it.
    pub fn job_template(&self) -> JobTemplate<'_> {
        JobTemplate::from(&self.template)
    }
}

/// What the client of a template provider wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this to the template provider.
    Send(TemplateDistributionMessage<'static>),
    /// There is new work: make jobs of it.
    Work(Arc<ActiveTemplate>),
}

/// What the provider sent that could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// `SetNewPrevHash` for a template that was never sent, or is no longer kept.
    pub unknown_templates: u64,
    /// `SetNewPrevHash` whose `nbits` consensus refuses.
    pub invalid_nbits: u64,
    /// Templates for the present tip before any tip was named.
    pub templates_without_tip: u64,
    /// Future templates pushed out before they were used.
    pub templates_dropped: u64,
    /// Messages that answer nothing this client asked for.
    pub unexpected_messages: u64,
}

/// The client's side of one template provider, over all its connections.
#[derive(Debug)]
pub struct TemplateClient {
    constraints: CoinbaseOutputConstraints,
    future: VecDeque<NewTemplate<'static>>,
    active: Option<Arc<ActiveTemplate>>,
    /// Whether the provider has named a tip on this connection; before that its templates belong to no tip of ours.
    knows_tip: bool,
    outputs: VecDeque<Output>,
    anomalies: Anomalies,
}

impl TemplateClient {
    /// A client that will add at most what `constraints` say to a coinbase.
    pub const fn new(constraints: CoinbaseOutputConstraints) -> Self {
        Self {
            constraints,
            future: VecDeque::new(),
            active: None,
            knows_tip: false,
            outputs: VecDeque::new(),
            anomalies: Anomalies {
                unknown_templates: 0,
                invalid_nbits: 0,
                templates_without_tip: 0,
                templates_dropped: 0,
                unexpected_messages: 0,
            },
        }
    }

    /// The connection is set up: the constraints are sent at once (TC-1).
    ///
    /// Work that is being mined stays: its blocks are still worth handing in.
    pub fn handle_connected(&mut self) {
        self.future.clear();
        self.knows_tip = false;
        self.outputs
            .push_back(Output::Send(self.constraints.into()));
    }

    /// A message of the provider.
    pub fn handle_message(&mut self, message: &TemplateDistributionMessage<'_>, now: Now) {
        match message {
            TemplateDistributionMessage::NewTemplate(template) => self.handle_template(template),
            TemplateDistributionMessage::SetNewPrevHash(prev_hash) => {
                self.handle_prev_hash(prev_hash, now)
            }
            _ => self.anomalies.unexpected_messages += 1,
        }
    }

    fn handle_template(&mut self, template: &NewTemplate<'_>) {
        let template = template.clone().into_owned();
        if !template.future_template {
            let tip = self
                .active
                .as_ref()
                .filter(|_| self.knows_tip)
                .map(|active| active.tip.clone());
            match tip {
                Some(tip) => self.activate(tip, template),
                None => self.anomalies.templates_without_tip += 1,
            }
            return;
        }
        if self.future.len() >= MAX_FUTURE_TEMPLATES {
            self.future.pop_front();
            self.anomalies.templates_dropped += 1;
        }
        self.future.push_back(template);
    }

    fn handle_prev_hash(&mut self, message: &SetNewPrevHash, now: Now) {
        let Ok(mut tip) = ChainTip::new(
            message.prev_hash.0,
            message.nbits,
            message.header_timestamp,
            now.instant,
        ) else {
            self.anomalies.invalid_nbits += 1;
            return;
        };
        // The provider may ask for more than the chain does (TC-17), never for less.
        tip.network_target = tip
            .network_target
            .min(Target::from_le_bytes(message.target.0));
        let wanted = |template: &NewTemplate<'_>| template.template_id == message.template_id;
        let Some(template) = self
            .future
            .iter()
            .position(wanted)
            .and_then(|at| self.future.remove(at))
        else {
            self.anomalies.unknown_templates += 1;
            return;
        };
        self.future.clear();
        self.knows_tip = true;
        let tip = self.same_tip(&tip).unwrap_or_else(|| Arc::new(tip));
        self.activate(tip, template);
    }

    /// The present tip when it is announced anew, as after a reconnect: its shares stay known and its jobs valid, or
    /// what was credited before could be credited again.
    fn same_tip(&self, tip: &ChainTip) -> Option<Arc<ChainTip>> {
        let known = &self.active.as_ref()?.tip;
        let is_same = known.prev_hash == tip.prev_hash
            && known.nbits == tip.nbits
            && known.network_target == tip.network_target;
        is_same.then(|| known.clone())
    }

    fn activate(&mut self, tip: Arc<ChainTip>, template: NewTemplate<'static>) {
        let active = Arc::new(ActiveTemplate { tip, template });
        self.active = Some(active.clone());
        self.outputs.push_back(Output::Work(active));
    }

    /// Hands in a block: at once, whatever else waits (TC-11).
    ///
    /// `coinbase` is the whole transaction, with its witness where it has one (TC-14).
    pub fn submit(
        &mut self,
        template_id: u64,
        solution: &BlockSolution,
        coinbase: alloc::vec::Vec<u8>,
    ) {
        let header = &solution.header;
        let Ok(coinbase_tx) = coinbase.try_into() else {
            return;
        };
        let message = SubmitSolution {
            template_id,
            version: header.version,
            header_timestamp: header.ntime,
            header_nonce: header.nonce,
            coinbase_tx,
        };
        self.outputs.push_front(Output::Send(message.into()));
    }

    /// The next thing to do, in order. `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The work that is mined now; `None` before the first tip.
    pub const fn active(&self) -> Option<&Arc<ActiveTemplate>> {
        self.active.as_ref()
    }

    /// What could not be used so far.
    pub const fn anomalies(&self) -> &Anomalies {
        &self.anomalies
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn template(template_id: u64, future_template: bool) -> TemplateDistributionMessage<'static> {
        NewTemplate {
            template_id,
            future_template,
            version: 0x2000_0000,
            coinbase_tx_version: 2,
            coinbase_prefix: [0x51, 0].to_vec().try_into().unwrap(),
            coinbase_tx_input_sequence: u32::MAX,
            coinbase_tx_value_remaining: 5_000_000_000,
            coinbase_tx_outputs_count: 0,
            coinbase_tx_outputs: Vec::new().try_into().unwrap(),
            coinbase_tx_locktime: 0,
            merkle_path: Vec::new().try_into().unwrap(),
        }
        .into()
    }

    fn tip(template_id: u64, target: [u8; 32]) -> TemplateDistributionMessage<'static> {
        SetNewPrevHash {
            template_id,
            prev_hash: [template_id as u8; 32].into(),
            header_timestamp: 1_700_000_000,
            nbits: 0x207f_ffff,
            target: target.into(),
        }
        .into()
    }

    fn client() -> TemplateClient {
        let mut client = TemplateClient::new(CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: 43,
            coinbase_output_max_additional_sigops: 0,
        });
        client.handle_connected();
        client.poll_output().unwrap();
        client
    }

    /// The ids of the templates that became work.
    fn works(
        client: &mut TemplateClient,
        messages: &[TemplateDistributionMessage<'_>],
    ) -> Vec<u64> {
        messages
            .iter()
            .for_each(|message| client.handle_message(message, Now::default()));
        let works =
            core::iter::from_fn(|| client.poll_output()).filter_map(|output| match output {
                Output::Work(active) => Some(active.template().template_id),
                Output::Send(_) => None,
            });
        works.collect()
    }

    #[test]
    fn a_future_template_waits_for_its_tip_and_a_later_one_starts_at_once() {
        let mut client = client();
        assert_eq!(works(&mut client, &[template(1, true)]), []);
        assert_eq!(
            works(&mut client, &[tip(1, [0xff; 32]), template(2, false)]),
            [1, 2]
        );
        assert_eq!(client.active().unwrap().tip().prev_hash, [1; 32]);
    }

    #[test]
    fn the_target_of_the_provider_may_only_be_harder() {
        let mut client = client();
        works(&mut client, &[template(1, true), tip(1, [0xff; 32])]);
        let chain_target = Target::from_nbits(0x207f_ffff).unwrap();
        assert_eq!(client.active().unwrap().tip().network_target, chain_target);
        works(&mut client, &[template(2, true), tip(2, [0x01; 32])]);
        assert_eq!(
            client.active().unwrap().tip().network_target,
            Target::from_le_bytes([1; 32])
        );
    }

    #[test]
    fn a_provider_that_makes_no_sense_is_counted_and_harmless() {
        let mut client = client();
        assert_eq!(
            works(&mut client, &[template(1, false), tip(9, [0xff; 32])]),
            []
        );
        assert_eq!(client.anomalies().templates_without_tip, 1);
        assert_eq!(client.anomalies().unknown_templates, 1);
        for id in 0..MAX_FUTURE_TEMPLATES as u64 + 5 {
            works(&mut client, &[template(id, true)]);
        }
        assert_eq!(client.anomalies().templates_dropped, 5);
        assert_eq!(
            works(&mut client, &[tip(2, [0xff; 32])]),
            [],
            "it was pushed out"
        );
        assert_eq!(works(&mut client, &[tip(7, [0xff; 32])]), [7]);
    }

    #[test]
    fn a_tip_that_is_announced_anew_stays_the_same_tip() {
        let mut client = client();
        works(&mut client, &[template(1, true), tip(1, [0xff; 32])]);
        let first = client.active().unwrap().tip().clone();
        client.handle_connected();
        let later = Now::default().after(core::time::Duration::from_secs(9));
        for message in [template(1, true), tip(1, [0xff; 32])] {
            client.handle_message(&message, later);
        }
        assert!(Arc::ptr_eq(client.active().unwrap().tip(), &first));
        works(&mut client, &[template(1, true), tip(1, [0x01; 32])]);
        assert_ne!(
            client.active().unwrap().tip(),
            &first,
            "what counts as a block has changed"
        );
    }

    #[test]
    fn after_a_reconnect_templates_wait_for_a_tip_again() {
        let mut client = client();
        works(&mut client, &[template(1, true), tip(1, [0xff; 32])]);
        client.handle_connected();
        assert!(matches!(client.poll_output(), Some(Output::Send(_))));
        assert_eq!(works(&mut client, &[template(2, false)]), []);
        assert_eq!(
            works(&mut client, &[template(3, true), tip(3, [0xff; 32])]),
            [3]
        );
    }
}
