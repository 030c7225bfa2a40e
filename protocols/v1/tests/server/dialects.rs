//! Sv1 as real miners speak it: one dialogue for each fact.

use crate::dialogue::Dialogue;
use sv1_api::client_message::ClientMessage;
use sv1_api::message::Message;
use sv1_api::quirks::Quirks;
use sv1_api::reject::Reject;
use sv1_api::server::{CloseReason, ServerEvent};
use sv1_api::worker::WorkerName;

const LOGIN: &str = r#"
    > {"id":1,"method":"mining.subscribe","params":["m/1"]}
    < subscribed 1
    > {"id":2,"method":"mining.authorize","params":["a.b","x"]}
    < ok 2
"#;

/// A miner at work on job `j1`.
fn working() -> Dialogue {
    let mut dialogue = Dialogue::new();
    dialogue.run(LOGIN).run(
        "! job j1
         < difficulty 1
         < clean job j1",
    );
    dialogue
}

/// A miner that may roll `1fffe000`.
fn rolling() -> Dialogue {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}
           < {"id":0,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
    );
    dialogue.run(LOGIN).run(
        "! job j1
         < mask 1fffe000
         < difficulty 1
         < clean job j1",
    );
    dialogue
}

fn submits(dialogue: &Dialogue) -> Vec<&sv1_api::client_message::Submit> {
    let events = dialogue.events.iter();
    let submits = events.filter_map(|event| match event {
        ServerEvent::Submit { submit, .. } => Some(submit),
        _ => None,
    });
    submits.collect()
}

// 1 Message order and framing

#[test]
fn esp_miner_pipelines_configure_subscribe_and_authorize() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"! passive
           > {"id": 1, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}
           < {"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}
           > {"id": 2, "method": "mining.subscribe", "params": ["bitaxe/BM1366/v2.9.0"]}
           > {"id": 3, "method": "mining.authorize", "params": ["bc1q.bitaxe", "x"]}
           ! job j1"#,
    );
    let (id, user) = match dialogue.events.last() {
        Some(ServerEvent::Authorize { id, authorize }) => (id.clone(), authorize.user.clone()),
        other => panic!("{other:?}"),
    };
    let now = dialogue.now;
    dialogue.session.answer_authorize(&id, &user, true, now);
    dialogue.run(
        "! grant
         < subscribed 2
         < ok 3
         < mask 1fffe000
         < difficulty 1
         < clean job j1",
    );
    dialogue.run(
        r#"> {"id": 4, "method": "mining.suggest_difficulty", "params": [1000]}
           < ok 4
           > {"id": 5, "method": "mining.extranonce.subscribe", "params": []}
           < ok 5"#,
    );
}

#[test]
fn cgminer_waits_for_the_answer_to_configure_and_wants_no_other_keys_in_it() {
    Dialogue::new().run(
        r#"> {"id": 0, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]}
           < {"id":0,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
    );
}

#[test]
fn cgminer_retries_a_refused_subscribe_without_params() {
    Dialogue::new().run(
        r#"! passive
           > {"id": 1, "method": "mining.subscribe", "params": ["cgminer/4.12.0", "0000"]}
           ! refuse
           < error 1 20 no work can be given now, try again later
           > {"id": 2, "method": "mining.subscribe", "params": []}
           ! grant
           < subscribed 2"#,
    );
}

#[test]
fn authorize_may_come_before_subscribe() {
    Dialogue::new().run(
        r#"! job j1
           > {"id":2,"method":"mining.authorize","params":["a.b","x"]}
           < ok 2
           > {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1
           < difficulty 1
           < clean job j1"#,
    );
}

#[test]
fn double_authorize_is_answered_and_happens_once() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":3,"method":"mining.authorize","params":["a.b","x"]}
           < ok 3"#,
    );
    let is_authorize = |event: &&ServerEvent| matches!(event, ServerEvent::Authorize { .. });
    assert_eq!(dialogue.events.iter().filter(is_authorize).count(), 1);
    assert_eq!(dialogue.session.workers(), ["a.b"]);
}

#[test]
fn configure_after_subscribe_is_accepted_and_takes_effect() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}
           < {"id":3,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}
           < mask 1fffe000
           > {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001","00002000"]}
           < ok 4"#,
    );
}

#[test]
fn suggest_target_may_come_before_subscribe() {
    let mut dialogue = Dialogue::new();
    let target = format!("00000000ffff{}", "0".repeat(52));
    dialogue.run(&format!(
        r#"> {{"id":1,"method":"mining.suggest_target","params":["{target}"]}}
           < ok 1"#
    ));
    let wanted = roles_logic_sv2::target::Target::DIFFICULTY_1;
    assert_eq!(dialogue.events, [ServerEvent::SuggestTarget(wanted)]);
}

#[test]
fn marketplaces_subscribe_with_empty_params() {
    Dialogue::new().run(
        r#"> {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1"#,
    );
    Dialogue::new().run(
        r#"> {"id":1,"method":"mining.subscribe"}
           < subscribed 1"#,
    );
}

#[test]
fn braiins_os_on_s9_subscribes_with_host_and_port() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.subscribe","params":["bosminer-plus-tuner/0.2.0",null,"pool.example:3333",null]}
           < subscribed 1"#,
    );
    assert_eq!(
        dialogue.session.user_agent(),
        Some("bosminer-plus-tuner/0.2.0")
    );
}

#[test]
fn whatsminer_names_a_session_of_odd_length() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.subscribe","params":["whatsminer/v1.1","b08cf00d1"]}
           < subscribed 1"#,
    );
    match dialogue.events.first() {
        Some(ServerEvent::Subscribe(asked)) => {
            assert_eq!(asked.session.as_deref(), Some("b08cf00d1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nerdminer_takes_the_first_line_as_subscribe_result() {
    // Nothing goes out in front of it, whatever else is ready.
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"! passive
           ! job j1
           > {"id": 1, "method": "mining.subscribe", "params": ["NerdMinerV2/1.7"]}
           ! ping
           > {"id": 2, "method": "mining.ping", "params": []}
           ! wait 1
           ! grant
           < subscribed 1
           < {"id":1,"method":"mining.ping","params":[]}
           < {"id":2,"result":"pong","error":null}"#,
    );
}

#[test]
fn nerdminer_authorize_has_params_before_id() {
    Dialogue::new().run(
        r#"> {"params": ["bc1q.nerd", "x"], "id": 2, "method": "mining.authorize"}
           < ok 2"#,
    );
}

#[test]
fn blanks_before_the_brace_crlf_and_nul_are_no_part_of_a_line() {
    for (before, after) in [
        ("  \t", "\r\n"),
        ("", "\n\0"),
        ("\r\n \n", "\0\r\n"),
        ("", "\n"),
    ] {
        let mut dialogue = Dialogue::new();
        let line = format!(r#"{before}{{"id":1,"method":"mining.ping","params":[]}}{after}"#);
        dialogue.miner_sends(line.as_bytes());
        dialogue.run(r#"< {"id":1,"result":"pong","error":null}"#);
        assert_eq!(dialogue.session.rejects().total(), 0, "{line:?}");
    }
}

// 2 Ids and errors

#[test]
fn ids_are_echoed_as_they_came() {
    for id in [
        "1",
        "-1",
        "1.0",
        "1e3",
        "18446744073709551616",
        r#""abc""#,
        r#""\u00e9""#,
        r#""""#,
        "null",
    ] {
        Dialogue::new().run(&format!(
            r#"> {{"id":{id},"method":"mining.ping","params":[]}}
               < {{"id":{id},"result":"pong","error":null}}"#
        ));
    }
    Dialogue::new().run(
        r#"> {"method":"mining.ping","params":[]}
           < {"id":null,"result":"pong","error":null}"#,
    );
}

#[test]
fn ids_that_are_objects_become_null_and_long_ones_are_refused() {
    for id in ["{}", "[1]", "true"] {
        Dialogue::new().run(&format!(
            r#"> {{"id":{id},"method":"mining.ping","params":[]}}
               < {{"id":null,"result":"pong","error":null}}"#
        ));
    }
    let mut dialogue = Dialogue::new();
    dialogue.run(&format!(
        r#"> {{"id":"{}","method":"mining.ping","params":[]}}
           < error null 20 the id is too long"#,
        "x".repeat(100)
    ));
    assert_eq!(dialogue.session.rejects().of(Reject::IdTooLong), 1);
}

#[test]
fn cpuminer_uses_the_same_ids_again_and_again() {
    working().run(
        r#"> {"method": "mining.submit", "params": ["a.b", "j1", "0000000000000000", "000000ff", "00000001"], "id":4}
           < ok 4
           > {"method": "mining.submit", "params": ["a.b", "j1", "0000000000000001", "000000ff", "00000001"], "id":4}
           < ok 4"#,
    );
}

#[test]
fn errors_are_a_list_of_code_text_and_null() {
    working().run(
        r#"! reject
           > {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001"]}
           < {"id":4,"result":null,"error":[23,"low difficulty share",null]}"#,
    );
}

#[test]
fn esp_miner_answers_a_ping_with_a_request() {
    let mut dialogue = working();
    dialogue.run(
        r#"! ping
           < {"id":1,"method":"mining.ping","params":[]}
           > {"id":1,"method":"pong","params":[]}"#,
    );
    assert_eq!(dialogue.session.unanswered_pings(), 0);
    assert_eq!(dialogue.session.rejects().total(), 0);
}

#[test]
fn cgminer_answers_a_ping_with_a_result() {
    let mut dialogue = working();
    dialogue.run(
        r#"! ping
           < {"id":1,"method":"mining.ping","params":[]}
           > {"id":1,"result":"pong","error":null}"#,
    );
    assert_eq!(dialogue.session.unanswered_pings(), 0);
    assert_eq!(dialogue.session.rejects().total(), 0);
}

#[test]
fn nerdminer_repeats_its_suggestion_as_a_sign_of_life() {
    let mut dialogue = working();
    for _ in 0..3 {
        dialogue.run(
            r#"> {"id": 3, "method": "mining.suggest_difficulty", "params": [0.00015]}
               < ok 3"#,
        );
    }
    let is_suggestion = |event: &&ServerEvent| matches!(event, ServerEvent::SuggestDifficulty(_));
    assert_eq!(dialogue.events.iter().filter(is_suggestion).count(), 1);
}

// 3 Extranonce

#[test]
fn eight_bytes_of_extranonce2_suit_most_miners() {
    for agent in [
        "whatsminer/v1",
        "cgminer/4.12.0",
        "cpuminer/2.5.1",
        "bitaxe/BM1370/v2.9.0",
        "NiceHash/1.0.0",
        "bosminer-plus-tuner/0.2.0",
        "somebody's own",
    ] {
        assert!(
            Quirks::of(agent).extranonce2_sizes().contains(&8),
            "{agent}"
        );
    }
    assert!(!Quirks::of("whatsminer/v1").extranonce2_sizes().contains(&9));
}

#[test]
fn old_cgminer_and_bitaxe_know_only_four_bytes_of_extranonce2() {
    for agent in ["cgminer/3.7.2", "bitaxe/BM1366/v2.4.0"] {
        assert_eq!(Quirks::of(agent).extranonce2_sizes(), 4..=4, "{agent}");
    }
}

#[test]
fn nicehash_wants_four_bytes_of_extranonce2_and_a_high_difficulty() {
    let quirks = Quirks::of("NiceHash/1.0.0");
    assert!(!quirks.extranonce2_sizes().contains(&3));
    assert_eq!(quirks.min_difficulty, 524_288.0);
}

#[test]
fn futurebit_apollo_takes_sixteen_bytes_of_extranonce1() {
    assert_eq!(Quirks::of("FutureBit Apollo/2").extranonce1_max, 16);
}

#[test]
fn extranonce2_of_another_size_is_refused_with_its_reason() {
    let mut dialogue = working();
    for extranonce2 in ["", "00000000", "000000000000000000"] {
        dialogue.run(&format!(
            r#"> {{"id":4,"method":"mining.submit","params":["a.b","j1","{extranonce2}","000000ff","00000001"]}}
               < error 4 20 extranonce2 has the wrong size"#
        ));
    }
    assert_eq!(dialogue.session.rejects().of(Reject::BadExtranonceSize), 3);
    assert_eq!(dialogue.closed, None);
}

#[test]
fn extranonce_subscribe_makes_a_miner_follow_a_switch_of_upstream() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":3,"method":"mining.extranonce.subscribe","params":[]}
           < ok 3"#,
    );
    assert!(dialogue.session.set_extranonce(vec![1, 2, 3], 6));
    dialogue.run(
        r#"! wait 0
           < {"id":null,"method":"mining.set_extranonce","params":["010203",6]}
           > {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001"]}
           < ok 4
           ! clean job j2
           < clean job j2
           > {"id":5,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001"]}
           < error 5 20 extranonce2 has the wrong size
           > {"id":6,"method":"mining.submit","params":["a.b","j2","000000000000","000000ff","00000001"]}
           < ok 6"#,
    );
}

#[test]
fn a_miner_that_cannot_follow_is_told_to_reconnect_and_closed_after_a_moment() {
    let mut dialogue = working();
    assert!(!dialogue.session.set_extranonce(vec![1, 2, 3], 6));
    assert!(
        dialogue
            .session
            .set_extranonce(vec![0xaa, 0xbb, 0xcc, 0xdd], 8)
    );
    dialogue.run(
        r#"! reconnect
           < {"id":null,"method":"client.reconnect","params":[]}
           ! wait 0.2"#,
    );
    assert_eq!(dialogue.closed, None);
    dialogue.run("! wait 0.1");
    assert_eq!(dialogue.closed, Some(CloseReason::Reconnect));
}

#[test]
fn the_extension_subscribe_extranonce_does_the_same_as_the_method() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.configure","params":[["subscribe-extranonce"],{}]}
           < {"id":1,"result":{"subscribe-extranonce":true},"error":null}"#,
    );
    assert!(dialogue.session.follows_extranonce());
}

// 4 Job fields

#[test]
fn numbers_of_a_job_have_eight_digits_and_clean_jobs_comes_last() {
    // The short forms of the script are exact: nbits 0x1a2b and ntime 0xff are written with their zeros, words of the
    // hash are swapped, branches are not.
    working().run(
        "! job j2
         < job j2
         ! clean job j3
         < clean job j3",
    );
}

#[test]
fn small_miners_have_a_known_limit_for_the_coinbase() {
    for (agent, limit) in [
        ("NerdMinerV2/1.7", Some(255)),
        ("NiceHash/1.0.0", Some(500)),
        ("Antminer S21/Mon", Some(2_250)),
        ("Antminer S19j", Some(730)),
        ("whatsminer/v1.1", Some(6_500)),
        ("xminer-1.2.7", Some(16_384)),
        ("PowerPlay-BM/1", Some(16_384)),
        ("bosminer-plus-tuner/0.2.0", Some(2_250)),
        ("cpuminer/2.5.1", None),
    ] {
        assert_eq!(Quirks::of(agent).max_coinbase_bytes, limit, "{agent}");
    }
}

#[test]
fn long_segwit_user_names_make_long_lines() {
    let user = format!("bc1p{}.{}", "q".repeat(58), "w".repeat(300));
    let mut dialogue = Dialogue::new();
    dialogue.run(&format!(
        r#"> {{"id":2,"method":"mining.authorize","params":["{user}","{}"]}}
           < ok 2"#,
        "x".repeat(500)
    ));
    assert_eq!(dialogue.session.workers(), [user]);
}

// 5 Version rolling

#[test]
fn miners_ask_for_all_bits_and_name_no_minimum() {
    assert_eq!(rolling().session.version_mask(), Some(0x1fff_e000));
}

#[test]
fn a_minimum_of_bits_that_is_no_number_counts_as_none() {
    for minimum in [r#""2""#, "-1", "null", "[]", "1.5", "99999999999"] {
        Dialogue::new().run(&format!(
            r#"> {{"id":0,"method":"mining.configure","params":[["version-rolling"],{{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":{minimum}}}]}}
               < {{"id":0,"result":{{"version-rolling":true,"version-rolling.mask":"1fffe000"}},"error":null}}"#
        ));
    }
}

#[test]
fn every_extension_asked_for_is_answered() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.configure","params":[["minimum-difficulty","subscribe-extranonce","version-rolling","x"],{"minimum-difficulty.value":2048,"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16}]}
           < {"id":1,"result":{"minimum-difficulty":true,"subscribe-extranonce":true,"version-rolling":true,"version-rolling.mask":"1fffe000","x":false},"error":null}"#,
    );
    let floor = sv1_api::Difficulty::new(2048.0).unwrap();
    assert_eq!(dialogue.events, [ServerEvent::MinimumDifficulty(floor)]);
}

#[test]
fn the_mask_may_be_written_in_capitals() {
    Dialogue::new().run(
        r#"> {"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1FFFE000"}]}
           < {"id":0,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
    );
}

#[test]
fn configure_is_answered_also_without_a_mask() {
    Dialogue::new().run(
        r#"> {"id":0,"method":"mining.configure","params":[["version-rolling"],{}]}
           < {"id":0,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}
           > {"id":1,"method":"mining.configure","params":[["version-rolling"]]}
           < {"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}
           > {"id":2,"method":"mining.configure","params":[[]]}
           < {"id":2,"result":{},"error":null}"#,
    );
}

#[test]
fn a_share_without_its_sixth_field_rolled_nothing() {
    let mut dialogue = rolling();
    dialogue.run(
        r#"> {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001"]}
           < ok 4
           > {"id":5,"method":"mining.submit","params":["a.b","j1","0000000000000001","000000ff","00000001",null]}
           < ok 5
           > {"id":6,"method":"mining.submit","params":["a.b","j1","0000000000000002","000000ff","00000001","00002000"]}
           < ok 6"#,
    );
    let bits: Vec<_> = submits(&dialogue)
        .iter()
        .map(|submit| submit.version_bits)
        .collect();
    assert_eq!(bits, [None, None, Some(0x2000)]);
}

#[test]
fn set_version_mask_comes_after_authorize_and_before_the_first_job() {
    // Esp-miner crashed when it came before the subscription, an S21+ when it came before the authorization.
    rolling();
}

#[test]
fn set_version_mask_goes_only_to_miners_that_asked() {
    working().run("! mask 1fff0000");
    rolling().run(
        "! mask 1fff0000
         < mask 1fff0000
         ! mask 1fff0000
         ! mask 00000000
         < mask 00000000",
    );
}

#[test]
fn old_bmminer_rolls_bits_outside_the_mask() {
    let mut dialogue = rolling();
    for bits in ["40000000", "80000000", "c0000000"] {
        dialogue.run(&format!(
            r#"> {{"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001","{bits}"]}}
               < error 4 20 version bits outside the mask"#
        ));
    }
    assert_eq!(
        dialogue
            .session
            .rejects()
            .of(Reject::VersionBitsOutsideMask),
        3
    );
    assert_eq!(dialogue.closed, None);
}

#[test]
fn miners_without_version_rolling_need_none() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001","00000000"]}
           < ok 4
           > {"id":5,"method":"mining.submit","params":["a.b","j1","0000000000000000","000000ff","00000001","00002000"]}
           < error 5 20 version rolling was not negotiated"#,
    );
    assert_eq!(
        dialogue
            .session
            .rejects()
            .of(Reject::VersionRollingNotNegotiated),
        1
    );
}

// 6 Difficulty

#[test]
fn set_difficulty_goes_out_immediately_before_the_job_it_belongs_to() {
    working().run(
        "! difficulty 1024
         ! difficulty 2048
         ! job j2
         < difficulty 2048
         < job j2
         ! job j3
         < job j3",
    );
}

#[test]
fn whole_difficulties_are_written_without_a_point() {
    working().run(
        "! difficulty 0.5
         ! job j2
         < difficulty 0.5
         < job j2
         ! difficulty 4294967296
         ! job j3
         < difficulty 4294967296
         < job j3",
    );
}

#[test]
fn nerdminer_needs_fractions_and_old_asics_whole_numbers() {
    assert_eq!(Quirks::of("NerdMinerV2/1.7").min_difficulty, 0.0);
    assert_eq!(Quirks::of("Antminer S21/Mon").min_difficulty, 1.0);
    assert_eq!(Quirks::of("bitaxe/BM1366/v2.6.0").min_difficulty, 1.0);
}

// 7 Submit details

#[test]
fn nerdminer_leaves_out_the_zeros_of_the_nonce() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":4,"method":"mining.submit","params":["a.b","j1","0000000000000000","ff","1a2"]}
           < ok 4"#,
    );
    let shares: Vec<_> = submits(&dialogue)
        .iter()
        .map(|it| (it.ntime, it.nonce))
        .collect();
    assert_eq!(shares, [(0xff, 0x1a2)]);
}

#[test]
fn btcpools_agent_writes_an_ntime_of_zero_for_the_jobs() {
    assert!(Quirks::of("btccom-agent/0.1").zero_ntime_is_jobs);
    assert!(!Quirks::of("cgminer/4.12.0").zero_ntime_is_jobs);
}

#[test]
fn a_session_to_resume_reaches_the_owner_and_its_name_the_miner() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.subscribe","params":["cgminer/4.12.0","s1"]}
           < subscribed 1"#,
    );
    match dialogue.events.first() {
        Some(ServerEvent::Subscribe(asked)) => assert_eq!(asked.session.as_deref(), Some("s1")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_password_may_be_left_out() {
    Dialogue::new().run(
        r#"> {"id":1,"method":"mining.authorize","params":["bc1q"]}
           < ok 1
           > {"id":2,"method":"mining.authorize","params":["bc1q.b",null]}
           < ok 2"#,
    );
}

#[test]
fn a_share_must_come_from_an_authorized_worker() {
    let mut dialogue = working();
    dialogue.run(
        r#"> {"id":4,"method":"mining.submit","params":["mallory","j1","0000000000000000","000000ff","00000001"]}
           < error 4 24 this worker is not authorized"#,
    );
    assert_eq!(dialogue.session.rejects().of(Reject::Unauthorized), 1);
}

#[test]
fn avalon_cuts_names_at_63_characters() {
    let user = format!("bc1q{}.worker", "x".repeat(80));
    let mut dialogue = Dialogue::new();
    dialogue.run(&format!(
        r#"> {{"id":1,"method":"mining.subscribe","params":["avalon10/1.0"]}}
           < subscribed 1
           > {{"id":2,"method":"mining.authorize","params":["{user}","x"]}}
           < ok 2
           > {{"id":4,"method":"mining.submit","params":["{}","j1","0000000000000000","000000ff","00000001"]}}
           < ok 4
           > {{"id":5,"method":"mining.submit","params":["bc1q","j1","0000000000000000","000000ff","00000001"]}}
           < error 5 24 this worker is not authorized"#,
        &user[..63]
    ));
}

#[test]
fn specials_in_names_may_be_percent_encoded() {
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.subscribe","params":[]}
           < subscribed 1
           > {"id":2,"method":"mining.authorize","params":["bc1q~a","x"]}
           < ok 2
           > {"id":4,"method":"mining.submit","params":["bc1q%7Ea","j1","0000000000000000","000000ff","00000001"]}
           < ok 4"#,
    );
}

#[test]
fn names_have_a_worker_behind_a_dot_an_underscore_or_nothing() {
    for user in ["addr.worker", "addr_worker"] {
        let name = WorkerName::parse(user);
        assert_eq!((&*name.account, &*name.worker), ("addr", "worker"));
    }
    assert_eq!(WorkerName::parse(".worker").account, "");
}

// 8 Liveness

#[test]
fn work_is_due_every_thirty_seconds() {
    let mut dialogue = working();
    dialogue.run("! wait 29");
    assert!(!dialogue.events.contains(&ServerEvent::JobDue));
    dialogue.run("! wait 1");
    assert_eq!(dialogue.events.last(), Some(&ServerEvent::JobDue));
    dialogue.run(
        "! job j1-1
         < job j1-1
         ! wait 29",
    );
    let is_due = |event: &&ServerEvent| **event == ServerEvent::JobDue;
    assert_eq!(dialogue.events.iter().filter(is_due).count(), 1);
}

#[test]
fn the_user_agents_met_are_known() {
    for agent in [
        "Antminer S21/",
        "PowerPlay-BM/",
        "xminer-1.",
        "whatsminer/v1",
        "bosminer-plus-tuner",
        "NiceHash/",
        "bitaxe/BM1370/v2.9.0",
        "NerdMinerV2/",
        "cgminer/",
        "cpuminer/",
    ] {
        assert_ne!(Quirks::of(agent), &Quirks::ORDINARY, "{agent}");
    }
    assert_eq!(Quirks::of(""), &Quirks::ORDINARY);
}

#[test]
fn messages_are_shown_only_where_they_are_understood() {
    working().run("! show hello");
    let mut dialogue = Dialogue::new();
    dialogue.run(
        r#"> {"id":1,"method":"mining.subscribe","params":["cgminer/4.12.0"]}
           < subscribed 1
           ! show hello
           < {"id":null,"method":"client.show_message","params":["hello"]}
           ! version
           < {"id":1,"method":"client.get_version","params":[]}
           > {"id":1,"result":"cgminer/4.12.0","error":null}"#,
    );
    let version = ServerEvent::Version("cgminer/4.12.0".to_owned());
    assert_eq!(dialogue.events.last(), Some(&version));
}

#[test]
fn transactions_of_a_job_are_not_given_out() {
    working().run(
        r#"> {"id":4,"method":"mining.get_transactions","params":["j1"]}
           < error 4 20 not supported"#,
    );
}

// Nothing that a miner writes is lost on the way.

#[test]
fn client_messages_are_read_as_they_are_written() {
    let line = r#"{"id":1,"method":"mining.configure","params":[["info"],{"info.hw-id":"x1"}]}"#;
    let Ok(Message::Request(request)) = Message::parse(line.as_bytes()) else {
        panic!("no request")
    };
    let message = ClientMessage::parse(&request).unwrap();
    assert_eq!(message.to_line(&request.id).trim_end(), line);
}
