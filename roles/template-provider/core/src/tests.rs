use std::sync::Arc;
use std::time::Duration;

use binary_sv2::{B064K, Encodable, Message, Seq064K};
use common_messages_sv2::CommonMessage;
use const_sv2::Protocol;
use extensions_sv2::{ExtensionNegotiationMessage, RequestExtensions};
use framing_sv2::{Frame, Sv2Frame};
use proptest::prelude::*;
use roles_logic_sv2::block_template::{
    BlockTemplate, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT_WU, TemplateTransaction,
};
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::setup::{Endpoint, SetupRequest};
use roles_logic_sv2::template_server::{
    Constraints, SolutionError, TemplateServer, TransactionDataError, Work, WorkError,
};
use template_distribution_sv2::{
    CoinbaseOutputConstraints, NewTemplate, RequestTransactionData, SubmitSolution,
    TemplateDistributionMessage,
};

use crate::{Downstream, Limits, Output, Reject};

const CONSTRAINTS: CoinbaseOutputConstraints = CoinbaseOutputConstraints {
    coinbase_output_max_additional_size: 100,
    coinbase_output_max_additional_sigops: 4,
};

/// A client's connection, the template server behind it, and a clock that moves when it is told to.
struct Dialogue {
    downstream: Downstream,
    server: TemplateServer,
    now: Now,
    subscribed: Option<Constraints>,
    solved: Vec<SubmitSolution<'static>>,
}

impl Dialogue {
    fn new() -> Self {
        let now = Now {
            instant: Instant::from_secs(100),
            unix_secs: 1_700_000_000,
        };
        Self {
            downstream: Downstream::new(Limits::default(), now),
            server: TemplateServer::new(1),
            now,
            subscribed: None,
            solved: Vec::new(),
        }
    }

    fn set_up() -> Self {
        let mut dialogue = Self::new();
        assert_eq!(
            dialogue.say(&setup(Protocol::TEMPLATE_DISTRIBUTION, 2, 0)),
            ["SetupConnection.Success"]
        );
        dialogue
    }

    /// Sends a message and gives what comes back, see [`Self::drain`].
    fn say<M: Message>(&mut self, message: &M) -> Vec<String> {
        self.say_frame(&Sv2Frame::from_message(message).unwrap())
    }

    fn say_frame(&mut self, frame: &Sv2Frame<'_>) -> Vec<String> {
        self.downstream.handle_frame(frame, self.now);
        self.drain()
    }

    /// Plays the shell until nothing is left to do; gives the messages sent, notes and closes, each as a word or two.
    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(output) = self.downstream.poll_output() {
            match output {
                Output::Send(frame) => said.push(describe(&frame)),
                Output::Subscribe { constraints, after } => {
                    self.subscribed = Some(constraints);
                    match self.server.work(constraints, after) {
                        Ok(Some(work)) => self.downstream.handle_work(&work, self.now),
                        Ok(None) => {}
                        Err(error) => self.downstream.handle_refusal(error.into()),
                    }
                }
                Output::FindTransactions { template_id } => {
                    let found = self
                        .server
                        .transaction_data(template_id)
                        .map(|work| &**work);
                    self.downstream.handle_transaction_data(template_id, found);
                }
                Output::Solve(solution) => match self.server.solve(&solution, self.now) {
                    Ok(_) => self.solved.push(solution),
                    Err(error) => self.downstream.handle_refused_solution(error, self.now),
                },
                Output::Note(reject) => said.push(format!("note {}", reject.name())),
                Output::Close(reject) => said.push(format!("close {}", reject.name())),
            }
        }
        said
    }

    fn node_has(&mut self, template: BlockTemplate) -> Vec<String> {
        self.server
            .handle_template(Arc::new(template), self.now)
            .unwrap();
        if let Some(constraints) = self.subscribed {
            let work = self.server.work(constraints, None).unwrap().unwrap();
            self.downstream.handle_work(&work, self.now);
        }
        self.drain()
    }

    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now = self.now.after(time);
        self.downstream.handle_timeout(self.now);
        self.drain()
    }

    /// A nonce that makes a block of template 1; on regtest every second one does.
    fn good_nonce(&self) -> u32 {
        (0..).find(|nonce| self.is_block(*nonce)).unwrap()
    }

    /// A nonce that makes none.
    fn bad_nonce(&self) -> u32 {
        (0..).find(|nonce| !self.is_block(*nonce)).unwrap()
    }

    fn is_block(&self, nonce: u32) -> bool {
        self.server.solve(&solution(1, nonce), self.now).is_ok()
    }

    fn newest_work(&mut self) -> Arc<Work> {
        self.server.work(CONSTRAINTS.into(), None).unwrap().unwrap()
    }
}

fn describe(frame: &Sv2Frame<'_>) -> String {
    let (msg_type, payload) = (frame.header().msg_type(), frame.payload());
    if frame.header().extension() == 1 {
        return ExtensionNegotiationMessage::parse(msg_type, payload)
            .unwrap()
            .kind()
            .name
            .to_owned();
    }
    if let Ok(message) = CommonMessage::parse(msg_type, payload) {
        return match message {
            CommonMessage::SetupConnectionError(error) => {
                format!("{} {:#x}", error.error_code, error.flags)
            }
            other => other.kind().name.to_owned(),
        };
    }
    match TemplateDistributionMessage::parse(msg_type, payload).unwrap() {
        TemplateDistributionMessage::NewTemplate(NewTemplate {
            template_id,
            future_template,
            ..
        }) => {
            let kind = if future_template { "future" } else { "current" };
            format!("{kind} template {template_id}")
        }
        TemplateDistributionMessage::SetNewPrevHash(tip) => format!("tip {}", tip.template_id),
        TemplateDistributionMessage::RequestTransactionDataSuccess(data) => {
            format!(
                "{} transactions of {}",
                data.transaction_list.len(),
                data.template_id
            )
        }
        TemplateDistributionMessage::RequestTransactionDataError(error) => {
            format!("{} {}", error.template_id, error.error_code)
        }
        other => panic!("not for a server to send: {other:?}"),
    }
}

fn setup(
    protocol: Protocol,
    version: u16,
    flags: u32,
) -> common_messages_sv2::SetupConnection<'static> {
    let request = SetupRequest {
        min_version: version,
        max_version: version,
        ..SetupRequest::new(protocol, flags)
    };
    request.message(&Endpoint::default())
}

fn template(prev_hash: u8, transactions: u8) -> BlockTemplate {
    let transaction = |number| TemplateTransaction {
        raw: vec![number; 100].into(),
        txid: [number; 32],
        wtxid: [number; 32],
        fee_sats: 1_000,
        weight_wu: 400,
        sigops_cost: 4,
    };
    BlockTemplate {
        height: 900_000,
        version: 0x2000_0000,
        prev_hash: [prev_hash; 32],
        nbits: 0x207f_ffff,
        current_time_secs: 1_700_000_000,
        min_time_secs: 1_699_999_000,
        subsidy_sats: 312_500_000,
        transactions: (0..transactions).map(transaction).collect(),
        segwit_active: true,
        weight_limit_wu: MAX_BLOCK_WEIGHT_WU,
        sigops_limit: MAX_BLOCK_SIGOPS_COST,
        is_provisional: transactions == 0,
    }
}

fn solution(template_id: u64, header_nonce: u32) -> SubmitSolution<'static> {
    // A coinbase with a scriptSig of two bytes and one output, stripped.
    let mut coinbase = vec![2, 0, 0, 0, 1];
    coinbase.extend([0; 32]);
    coinbase.extend([0xff; 4]);
    coinbase.extend([2, 0x51, 0x00, 0xff, 0xff, 0xff, 0xff, 1]);
    coinbase.extend([0; 9]);
    coinbase.extend([0; 4]);
    SubmitSolution {
        template_id,
        version: 0x2000_0000,
        header_timestamp: 1_700_000_000,
        header_nonce,
        coinbase_tx: B064K::try_from(coinbase).unwrap(),
    }
}

#[test]
fn setup_constraints_template_and_tip_come_in_this_order() {
    let mut dialogue = Dialogue::new();
    dialogue.node_has(template(1, 3));
    assert_eq!(
        dialogue.say(&setup(Protocol::TEMPLATE_DISTRIBUTION, 2, 0)),
        ["SetupConnection.Success"]
    );
    assert!(!dialogue.downstream.is_serving());
    assert_eq!(dialogue.say(&CONSTRAINTS), ["future template 1", "tip 1"]);
    assert!(dialogue.downstream.is_serving());
    assert_eq!(
        dialogue.node_has(template(1, 4)),
        ["current template 2"],
        "better fees"
    );
    assert_eq!(
        dialogue.node_has(template(2, 0)),
        ["future template 3", "tip 3"],
        "new tip, empty"
    );
    assert_eq!(
        dialogue.node_has(template(2, 2)),
        ["current template 4"],
        "the same in full"
    );
    assert_eq!(
        dialogue.downstream.poll_timeout(),
        None,
        "a served client may be silent"
    );
    assert!(dialogue.pass(Duration::from_secs(86_400)).is_empty());
}

#[test]
fn a_client_that_comes_before_the_node_is_served_when_the_node_is_there() {
    let mut dialogue = Dialogue::set_up();
    assert!(dialogue.say(&CONSTRAINTS).is_empty());
    assert_eq!(
        dialogue.node_has(template(1, 3)),
        ["future template 1", "tip 1"]
    );
}

#[test]
fn nothing_is_sent_before_the_constraints() {
    let mut dialogue = Dialogue::set_up();
    dialogue.node_has(template(1, 3));
    let work = dialogue.newest_work();
    dialogue.downstream.handle_work(&work, dialogue.now);
    assert!(dialogue.drain().is_empty());
}

#[test]
fn other_constraints_are_answered_at_once_with_a_higher_id() {
    let mut dialogue = Dialogue::set_up();
    dialogue.node_has(template(1, 3));
    assert_eq!(dialogue.say(&CONSTRAINTS), ["future template 1", "tip 1"]);
    let larger = CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: 999_000,
        ..CONSTRAINTS
    };
    assert_eq!(dialogue.say(&larger), ["current template 2"]);
    assert_eq!(dialogue.say(&CONSTRAINTS), ["current template 3"]);
    let too_large = CoinbaseOutputConstraints {
        coinbase_output_max_additional_size: 1_000_000,
        ..CONSTRAINTS
    };
    assert_eq!(dialogue.say(&too_large), ["close constraints-too-large"]);
}

#[test]
fn a_wrong_setup_is_told_and_ends_the_connection() {
    let cases = [
        (setup(Protocol::MINING, 2, 0), "unsupported-protocol"),
        (setup(Protocol(9), 2, 0), "unsupported-protocol"),
        (
            setup(Protocol::TEMPLATE_DISTRIBUTION, 3, 0),
            "protocol-version-mismatch",
        ),
        (
            setup(Protocol::TEMPLATE_DISTRIBUTION, 1, 0),
            "protocol-version-mismatch",
        ),
        (
            setup(Protocol::TEMPLATE_DISTRIBUTION, 2, 5),
            "unsupported-feature-flags",
        ),
    ];
    for (message, code) in cases {
        let mut dialogue = Dialogue::new();
        let flags = if code == "unsupported-feature-flags" {
            5
        } else {
            0
        };
        let expected = [format!("{code} {flags:#x}"), format!("close {code}")];
        assert_eq!(dialogue.say(&message), expected);
        assert!(
            dialogue
                .say(&setup(Protocol::TEMPLATE_DISTRIBUTION, 2, 0))
                .is_empty(),
            "closed is closed"
        );
        assert_eq!(dialogue.downstream.poll_timeout(), None);
    }
}

#[test]
fn messages_out_of_order_end_the_connection() {
    assert_eq!(Dialogue::new().say(&CONSTRAINTS), ["close out-of-order"]);
    let foreign = Sv2Frame::new(0x4000, 0, &[][..]).unwrap();
    assert_eq!(Dialogue::new().say_frame(&foreign), ["close out-of-order"]);
    let mut dialogue = Dialogue::set_up();
    let again = setup(Protocol::TEMPLATE_DISTRIBUTION, 2, 0);
    assert_eq!(dialogue.say(&again), ["close out-of-order"]);
}

#[test]
fn a_silent_client_is_closed_at_the_deadline() {
    let limits = Limits::default();
    let mut dialogue = Dialogue::new();
    assert!(
        dialogue
            .pass(limits.setup_timeout - Duration::from_micros(1))
            .is_empty()
    );
    assert_eq!(
        dialogue.pass(Duration::from_micros(1)),
        ["close setup-timeout"]
    );

    let mut dialogue = Dialogue::set_up();
    let deadline = dialogue.downstream.poll_timeout().unwrap();
    assert_eq!(deadline, dialogue.now.instant + limits.constraints_timeout);
    assert!(
        dialogue
            .pass(limits.constraints_timeout - Duration::from_micros(1))
            .is_empty()
    );
    assert_eq!(
        dialogue.pass(Duration::from_micros(1)),
        ["close constraints-timeout"]
    );
}

#[test]
fn what_is_unknown_is_ignored_and_counted() {
    let mut dialogue = Dialogue::set_up();
    let frame =
        |extension_type, msg_type| Sv2Frame::new(extension_type, msg_type, &[1, 2][..]).unwrap();
    assert_eq!(
        dialogue.say_frame(&frame(0x4000, 0x70)),
        ["note unknown-extension"]
    );
    assert_eq!(
        dialogue.say_frame(&frame(0x8abc, 0x70)),
        ["note unknown-extension"]
    );
    assert_eq!(
        dialogue.say_frame(&frame(0, 0x1a)),
        ["note unknown-message"],
        "a mining message"
    );
    dialogue.node_has(template(1, 0));
    assert_eq!(dialogue.say(&CONSTRAINTS), ["future template 1", "tip 1"]);
    assert_eq!(dialogue.say_frame(&frame(0, 0x70)), ["close malformed"]);

    let mut dialogue = Dialogue::set_up();
    let tip = Sv2Frame::new(0, 0x72, vec![0; 100]).unwrap();
    assert_eq!(dialogue.say_frame(&tip), ["close wrong-direction"]);
}

#[test]
fn no_extension_is_supported_and_the_client_is_told() {
    let mut dialogue = Dialogue::set_up();
    let request = RequestExtensions {
        request_id: 7,
        requested_extensions: Seq064K::new(vec![2, 0x4001]).unwrap(),
    };
    assert_eq!(dialogue.say(&request), ["RequestExtensions.Error"]);
    dialogue.node_has(template(1, 0));
    assert_eq!(
        dialogue.say(&CONSTRAINTS),
        ["future template 1", "tip 1"],
        "it goes on without"
    );
    for _ in 1..roles_logic_sv2::extensions::MAX_REQUESTS {
        assert_eq!(dialogue.say(&request), ["RequestExtensions.Error"]);
    }
    assert_eq!(dialogue.say(&request), ["close extensions"]);
}

#[test]
fn transaction_data_is_current_unknown_or_stale() {
    let mut dialogue = Dialogue::set_up();
    let request = |template_id| RequestTransactionData { template_id };
    let unknown = ["1 template-id-not-found", "note template-id-not-found"];
    assert_eq!(dialogue.say(&request(1)), unknown);
    dialogue.node_has(template(1, 3));
    dialogue.say(&CONSTRAINTS);
    assert_eq!(dialogue.say(&request(1)), ["3 transactions of 1"]);
    dialogue.node_has(template(2, 2));
    assert_eq!(
        dialogue.say(&request(1)),
        ["1 stale-template-id", "note stale-template-id"]
    );
    assert_eq!(dialogue.say(&request(2)), ["2 transactions of 2"]);
}

#[test]
fn a_solution_reaches_the_node_even_from_a_client_without_constraints() {
    let mut dialogue = Dialogue::set_up();
    dialogue.node_has(template(1, 3));
    dialogue.newest_work();
    let good = dialogue.good_nonce();
    assert!(dialogue.say(&solution(1, good)).is_empty());
    assert_eq!(dialogue.solved, [solution(1, good)]);
}

#[test]
fn blocks_are_free_and_what_is_refused_is_not() {
    let limits = Limits::default();
    let mut dialogue = Dialogue::set_up();
    dialogue.node_has(template(1, 3));
    dialogue.say(&CONSTRAINTS);
    let good = dialogue.good_nonce();
    for _ in 0..10_000 {
        assert!(dialogue.say(&solution(1, good)).is_empty());
    }
    assert_eq!(dialogue.solved.len(), 10_000);
    let bad = solution(1, dialogue.bad_nonce());
    let affordable = (limits.burst - crate::CONSTRAINTS_COST) / crate::REFUSED_SOLUTION_COST;
    for _ in 0..affordable {
        assert_eq!(dialogue.say(&bad), ["note hash-above-target"]);
    }
    dialogue.pass(Duration::from_secs(1));
    for _ in 0..limits.per_second / crate::REFUSED_SOLUTION_COST {
        assert_eq!(dialogue.say(&bad), ["note hash-above-target"]);
    }
    assert_eq!(
        dialogue.say(&bad),
        ["note hash-above-target", "close rate-exceeded"]
    );
}

#[test]
fn solutions_for_templates_of_before_a_restart_are_cheap() {
    let mut dialogue = Dialogue::set_up();
    dialogue.node_has(template(1, 3));
    for _ in 0..Limits::default().burst {
        assert_eq!(dialogue.say(&solution(99, 0)), ["note unknown-template"]);
    }
    assert_eq!(
        dialogue.say(&solution(99, 0)),
        ["note unknown-template", "close rate-exceeded"]
    );
}

#[test]
fn a_flood_ends_the_connection() {
    type Flood<'a> = &'a dyn Fn(&mut Dialogue) -> Vec<String>;
    let floods: [(Flood<'_>, u32); 3] = [
        (
            &|dialogue| dialogue.say(&CONSTRAINTS),
            crate::CONSTRAINTS_COST,
        ),
        (
            &|dialogue| dialogue.say(&RequestTransactionData { template_id: 0 }),
            crate::TRANSACTION_DATA_COST,
        ),
        (
            &|dialogue| dialogue.say_frame(&Sv2Frame::new(9, 9, &[][..]).unwrap()),
            crate::FRAME_COST,
        ),
    ];
    for (flood, cost) in floods {
        let mut dialogue = Dialogue::set_up();
        dialogue.node_has(template(1, 0));
        for _ in 0..Limits::default().burst / cost {
            assert!(
                !flood(&mut dialogue)
                    .iter()
                    .any(|word| word.starts_with("close"))
            );
        }
        let last = flood(&mut dialogue);
        assert_eq!(last.last().map(String::as_str), Some("close rate-exceeded"));
    }
}

#[test]
fn draining_ends_the_connection_once() {
    let mut dialogue = Dialogue::set_up();
    dialogue.downstream.handle_drain();
    dialogue.downstream.handle_drain();
    assert_eq!(dialogue.drain(), ["close draining"]);
    dialogue
        .downstream
        .handle_refused_solution(SolutionError::NotACoinbase, dialogue.now);
    dialogue
        .downstream
        .handle_transaction_data(1, Err(TransactionDataError::Stale));
    dialogue
        .downstream
        .handle_refusal(WorkError::TooManyVariants.into());
    assert!(dialogue.drain().is_empty());
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names = [
        Reject::NoCapacity.name(),
        Reject::RateExceeded.name(),
        Reject::Constraints(WorkError::TooManyVariants).name(),
        Reject::AnswerTooLarge.name(),
        Reject::Draining.name(),
        Reject::SetupTimeout.name(),
        Reject::ConstraintsTimeout.name(),
    ];
    let mut distinct = names.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_end_in_answers_or_a_close(
        is_set_up: bool,
        frames in proptest::collection::vec(
            (prop_oneof![Just(0u16), Just(1), any::<u16>()], prop_oneof![0u8..5, 0x70u8..0x78, any::<u8>()],
             proptest::collection::vec(any::<u8>(), 0..80)), 1..40),
    ) {
        let mut dialogue = if is_set_up { Dialogue::set_up() } else { Dialogue::new() };
        dialogue.node_has(template(1, 2));
        let mut is_closed = false;
        for (extension_type, msg_type, payload) in frames {
            let said = dialogue.say_frame(&Sv2Frame::new(extension_type, msg_type, payload).unwrap());
            prop_assert!(!is_closed || said.is_empty(), "closed is closed: {said:?}");
            is_closed |= said.iter().any(|word| word.starts_with("close"));
        }
    }

    #[test]
    fn any_constraints_get_a_template_or_a_reason(size: u32, sigops: u16) {
        let mut dialogue = Dialogue::set_up();
        dialogue.node_has(template(1, 3));
        let message = CoinbaseOutputConstraints {
            coinbase_output_max_additional_size: size,
            coinbase_output_max_additional_sigops: sigops,
        };
        let said = dialogue.say(&message);
        let fits = 1_168 + 4 * u64::from(size) <= u64::from(MAX_BLOCK_WEIGHT_WU);
        if fits {
            prop_assert_eq!(said, ["future template 1", "tip 1"]);
        } else {
            prop_assert_eq!(said, ["close constraints-too-large"]);
        }
        prop_assert_eq!(message.encoded_len(), 6);
    }
}
