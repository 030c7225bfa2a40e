//! The course of a negotiation, with peers that keep to it and peers that do not.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

mod common;

use std::time::Duration;

use bitcoin::consensus::serialize;
use bitcoin::opcodes::all::OP_CHECKMULTISIG;
use bitcoin::{Amount, ScriptBuf, TxOut};
use coinbase_negotiator_core::{
    DEFAULT_ANSWER_TIMEOUT, Fault, MAX_DECLARED_OUTPUTS, MAX_REQUESTS, Negotiation, OrderFault,
    Party, Source, Terms, Token,
};
use common_messages_sv2::{CommonMessage, SetupConnectionError, SetupConnectionSuccess};
use job_declaration_sv2::{AllocateMiningJobTokenSuccess, JobDeclarationMessage};
use roles_logic_sv2::clock::Now;
use roles_logic_sv2::coinbase_space::{CoinbaseSpace, CoinbaseSpaceError};
use roles_logic_sv2::messages::AnyMessage;
use roles_logic_sv2::setup::{Endpoint, SetupError};
use template_distribution_sv2::RequestTransactionDataError;

use common::{Scene, block, p2pkh, provider, txs};

const MOMENT: Duration = Duration::from_millis(1);
use Party::{JobDeclarator, TemplateProvider};

fn declarator() -> Source {
    Source::JobDeclarator {
        endpoint: Endpoint::default(),
        user_identifier: "farm".try_into().unwrap(),
        flags: 0,
    }
}

fn token(request_id: u32, outputs: Vec<u8>) -> AnyMessage<'static> {
    let message = AllocateMiningJobTokenSuccess {
        request_id,
        mining_job_token: vec![1, 2, 3].try_into().unwrap(),
        coinbase_tx_outputs: outputs.try_into().unwrap(),
    };
    JobDeclarationMessage::from(message).into()
}

fn outputs(values: &[u64]) -> Vec<u8> {
    let outputs = values.iter().map(|sats| TxOut {
        value: Amount::from_sat(*sats),
        script_pubkey: p2pkh(),
    });
    serialize(&outputs.collect::<Vec<_>>())
}

/// A negotiation that waits for a token.
fn waiting() -> Scene {
    let mut scene = Scene::new(declarator());
    assert_eq!(scene.told(), ["connect job declaration server"]);
    scene.set_up(JobDeclarator);
    assert_eq!(scene.told(), ["AllocateMiningJobToken"]);
    scene
}

#[test]
fn outputs_of_a_token_are_asked_room_for() {
    let mut scene = waiting();
    let Some(AnyMessage::JobDeclaration(JobDeclarationMessage::AllocateMiningJobToken(asked))) =
        scene.sent.last().cloned()
    else {
        panic!()
    };
    assert_eq!(asked.user_identifier.as_bytes(), b"farm");
    scene.says(JobDeclarator, token(asked.request_id, outputs(&[0, 0])));
    let told = [
        "disconnect job declaration server",
        "outputs 68 2",
        "connect template provider",
    ];
    assert_eq!(scene.told(), told);
    // Its end does not matter any more.
    scene
        .negotiation
        .handle_disconnected(JobDeclarator, "closed by peer");
    scene.set_up(TemplateProvider);
    assert_eq!(scene.told(), ["CoinbaseOutputConstraints", "asked 68 2"]);
    scene.offer(block(5, &txs(&[true])));
    let agreement = scene.end().unwrap();
    assert_eq!(agreement.token, Some(Token(vec![1, 2, 3])));
    assert_eq!(agreement.outputs, [p2pkh(), p2pkh()]);
    assert_eq!(agreement.figures.coinbase_outputs, 3);
}

#[test]
fn answers_of_a_job_declarator_that_are_none_fail() {
    let too_many = vec![0; MAX_DECLARED_OUTPUTS + 1];
    let cases = [
        (
            token(2, outputs(&[0])),
            Fault::UnknownRequest { request_id: 2 },
        ),
        (token(1, outputs(&[])), Fault::DeclaredOutputs),
        (token(1, outputs(&too_many)), Fault::DeclaredOutputs),
        (token(1, vec![]), Fault::DeclaredOutputs),
        (token(1, vec![2, 0, 0]), Fault::DeclaredOutputs),
        (token(1, vec![0xff; 9]), Fault::DeclaredOutputs),
        (
            token(1, [outputs(&[0]), vec![0]].concat()),
            Fault::DeclaredOutputs,
        ),
        (
            token(1, outputs(&[0, 7])),
            Fault::DeclaredValue { position: 2 },
        ),
    ];
    for (answer, fault) in cases {
        let mut scene = waiting();
        scene.says(JobDeclarator, answer);
        assert_eq!(scene.told(), ["disconnect job declaration server"]);
        let end = scene.end().unwrap_err();
        assert!(end.is_breach());
        assert_eq!(end, fault);
    }
}

#[test]
fn each_answer_has_its_time_and_chatter_does_not_prolong_it() {
    let silent = |scene: &mut Scene, party, awaited| {
        scene.told();
        scene.waits(DEFAULT_ANSWER_TIMEOUT - MOMENT);
        // Of an extension that nobody knows.
        scene
            .negotiation
            .handle_frame(party, 0x4abc, 1, &[], scene.now);
        assert!(scene.told().is_empty());
        scene.waits(MOMENT);
        let end = scene.end().unwrap_err();
        assert_eq!(end, Fault::NoAnswer { party, awaited });
        assert!(!end.is_breach());
        assert_eq!(scene.negotiation.ignored_frames(), 1);
    };
    let mut scene = Scene::new(declarator());
    scene.negotiation.handle_connected(JobDeclarator, scene.now);
    silent(&mut scene, JobDeclarator, "SetupConnection.Success");
    silent(
        &mut waiting(),
        JobDeclarator,
        "AllocateMiningJobToken.Success",
    );
    let mut scene = Scene::new(Source::Outputs(vec![p2pkh()]));
    scene
        .negotiation
        .handle_connected(TemplateProvider, scene.now);
    silent(&mut scene, TemplateProvider, "SetupConnection.Success");
    silent(
        &mut Scene::asked(),
        TemplateProvider,
        "a template with its tip",
    );
    // Templates for blocks to come are no tip.
    let mut scene = Scene::asked();
    scene.waits(DEFAULT_ANSWER_TIMEOUT / 2);
    scene.provides(block(1, &[]).template);
    scene.now = Now::default();
    silent(&mut scene, TemplateProvider, "a template with its tip");
    let mut scene = Scene::asked();
    scene.provides(block(1, &[]).template);
    scene.provides(block(1, &[]).tip);
    let awaited = "RequestTransactionData.Success";
    silent(&mut scene, TemplateProvider, awaited);
}

#[test]
fn a_party_that_is_not_there_is_named() {
    let mut scene = Scene::new(declarator());
    scene.told();
    scene.waits(DEFAULT_ANSWER_TIMEOUT);
    let end = scene.end().unwrap_err();
    assert!(
        matches!(
            end,
            Fault::NoConnection {
                party: JobDeclarator,
                ..
            }
        ),
        "{end}"
    );
    let mut scene = Scene::asked();
    scene
        .negotiation
        .handle_disconnected(TemplateProvider, "closed by peer");
    let end = scene.end().unwrap_err();
    let text = "no connection to the template provider: closed by peer";
    assert_eq!(end.to_string(), text);
    assert!(!end.is_breach());
}

#[test]
fn a_setup_that_fails_says_why() {
    let answered = |answer: CommonMessage<'static>| {
        let mut scene = Scene::new(Source::Outputs(vec![p2pkh()]));
        scene
            .negotiation
            .handle_connected(TemplateProvider, scene.now);
        scene.says(TemplateProvider, answer.into());
        scene.end().unwrap_err()
    };
    let refused = SetupConnectionError {
        flags: 1,
        error_code: "unsupported-protocol\n".try_into().unwrap(),
    };
    let refused = answered(refused.into());
    assert_eq!(
        refused,
        Fault::SetupRefused {
            party: TemplateProvider,
            code: "unsupported-protocol\\n".to_owned(),
            flags: 1,
        }
    );
    assert!(!refused.is_breach());
    let (used_version, flags) = (3, 0);
    let version = answered(
        SetupConnectionSuccess {
            used_version,
            flags,
        }
        .into(),
    );
    let source = SetupError::VersionNotOffered { version: 3 };
    let party = TemplateProvider;
    assert_eq!(version, Fault::Setup { party, source });
    assert!(version.is_breach());
}

#[test]
fn the_wrong_order_is_found_out() {
    let later = |template_id| {
        let mut block = block(template_id, &[]);
        block.template.future_template = false;
        block
    };
    let mut bad_tip = block(1, &[]).tip;
    bad_tip.nbits = 0xffff_ffff;
    let endless = (1..).take(70).map(|id| provider(block(id, &[]).template));
    let cases: Vec<(Vec<AnyMessage<'static>>, OrderFault)> = vec![
        (
            vec![provider(block(1, &[]).tip)],
            OrderFault::TipBeforeTemplate,
        ),
        (
            vec![
                provider(block(1, &[]).template),
                provider(block(2, &[]).tip),
            ],
            OrderFault::TipBeforeTemplate,
        ),
        (
            vec![provider(later(1).template)],
            OrderFault::TemplateBeforeTip,
        ),
        (
            vec![
                provider(block(4, &[]).template),
                provider(block(4, &[]).template),
            ],
            OrderFault::NumberNotRising {
                template_id: 4,
                last: 4,
            },
        ),
        (
            vec![provider(block(1, &[]).template), provider(bad_tip)],
            OrderFault::InvalidNbits,
        ),
        (endless.collect(), OrderFault::TooManyTemplates),
        // While transactions are waited for, too.
        (
            vec![
                provider(block(1, &[]).template),
                provider(block(1, &[]).tip),
                provider(block(2, &[]).tip),
            ],
            OrderFault::TipBeforeTemplate,
        ),
    ];
    for (messages, fault) in cases {
        let mut scene = Scene::asked();
        for message in messages {
            scene.says(TemplateProvider, message);
        }
        assert_eq!(scene.end().unwrap_err(), Fault::Order(fault));
    }
}

#[test]
fn messages_out_of_place_fail() {
    let mut early = Scene::new(Source::Outputs(vec![p2pkh()]));
    early
        .negotiation
        .handle_connected(TemplateProvider, early.now);
    early.provides(block(1, &[]).template);
    let mut unasked = Scene::asked();
    unasked.provides(block(1, &[]).data);
    let mut other = Scene::asked();
    other.provides(block(1, &[]).template);
    other.provides(block(1, &[]).tip);
    other.provides(block(2, &[]).data);
    let name = "RequestTransactionData.Success";
    for (mut scene, message) in [(early, "NewTemplate"), (unasked, name), (other, name)] {
        let party = TemplateProvider;
        let end = scene.end().unwrap_err();
        assert_eq!(end, Fault::OutOfOrder { party, message });
        assert!(end.is_breach());
    }
    let mut malformed = Scene::asked();
    malformed
        .negotiation
        .handle_frame(TemplateProvider, 0, 0x71, &[1], malformed.now);
    let end = malformed.end().unwrap_err();
    assert!(matches!(end, Fault::Frame { .. }) && end.is_breach());
    // Nothing follows an end.
    malformed.provides(block(1, &[]).template);
    malformed.waits(DEFAULT_ANSWER_TIMEOUT);
    assert!(malformed.told().is_empty() && malformed.done.is_none());
}

fn no_data(template_id: u64, code: &str) -> RequestTransactionDataError<'static> {
    RequestTransactionDataError {
        template_id,
        error_code: code.to_owned().try_into().unwrap(),
    }
}

#[test]
fn a_template_that_is_outdated_meanwhile_is_replaced_by_the_next() {
    // The next one may come before the refusal, or behind it.
    for is_before in [true, false] {
        let mut scene = Scene::asked();
        scene.provides(block(1, &[]).template);
        scene.provides(block(1, &[]).tip);
        scene.told();
        let next = block(2, &txs(&[true]));
        if !is_before {
            scene.provides(no_data(1, "stale-template-id"));
            assert!(scene.told().is_empty());
        }
        scene.provides(next.template);
        scene.provides(next.tip);
        if is_before {
            assert!(scene.told().is_empty());
            scene.provides(no_data(1, "stale-template-id"));
        }
        assert_eq!(scene.told(), ["template 2", "RequestTransactionData"]);
        scene.provides(next.data);
        assert_eq!(scene.end().unwrap().figures.template_id, 2);
    }
}

#[test]
fn outdated_templates_do_not_go_on_for_ever() {
    let mut scene = Scene::asked();
    for id in 1..=MAX_REQUESTS as u64 + 1 {
        scene.provides(block(id, &[]).template);
        scene.provides(block(id, &[]).tip);
        scene.provides(no_data(id, "stale-template-id"));
    }
    assert_eq!(scene.end().unwrap_err(), Fault::AlwaysStale);
    let mut scene = Scene::asked();
    scene.provides(block(1, &[]).template);
    scene.provides(block(1, &[]).tip);
    scene.provides(no_data(1, "template-id-not-found"));
    let code = "template-id-not-found".to_owned();
    assert_eq!(scene.end().unwrap_err(), Fault::NoTransactions { code });
}

#[test]
fn room_beyond_the_outputs_is_asked_for_and_no_more_than_there_is() {
    let begin = |scripts: Vec<ScriptBuf>, extra| {
        let terms = Terms {
            extra,
            ..Terms::new(Source::Outputs(scripts))
        };
        let mut scene = Scene::new(declarator());
        scene.negotiation = Negotiation::new(terms, Now::default());
        scene
    };
    let mut scene = begin(vec![p2pkh()], CoinbaseSpace::ANY_ADDRESS);
    assert_eq!(scene.told(), ["outputs 85 2", "connect template provider"]);
    let costly = ScriptBuf::from(vec![OP_CHECKMULTISIG.to_u8(); 1_001]);
    let mut scene = begin(vec![costly], CoinbaseSpace::default());
    let sigops = 20_020;
    let too_many = CoinbaseSpaceError::TooManySigops { sigops };
    assert_eq!(scene.end().unwrap_err(), Fault::Space(too_many));
    let mut scene = begin(vec![], CoinbaseSpace::ANY_ADDRESS);
    assert_eq!(scene.end().unwrap_err(), Fault::NoOutputs);
}
