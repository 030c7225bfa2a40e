//! Miners: how they log in, leave and come back, and what they should not send.

use std::time::Duration;

use mining_proxy_core::{ChannelMode, LEAVE_GRACE, Note, PARK_TIME};
use sv1_api::client::{ClientConfig, ClientEnd};
use sv1_api::line::LineTooLong;
use sv1_api::quirks::{Quirks, TABLE};
use sv1_api::server::{CloseReason, FAULT_LIFE, MAX_FAULTS};

use crate::common::upstream::{EASY, Reach};
use crate::common::{Found, World, config};

const BOTH: [ChannelMode; 2] = [ChannelMode::Aggregated, ChannelMode::PerMiner];

const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

fn error(code: i64, text: &str) -> Result<String, (i64, String)> {
    Err((code, text.to_owned()))
}

fn told_yes() -> Result<String, (i64, String)> {
    Ok("true".to_owned())
}

/// How often a reason came up with the one miner there is.
fn rejects(world: &World, reason: &str) -> u64 {
    let miners = &world.snapshot().miners;
    miners[0].rejected.get(reason).copied().unwrap_or_default()
}

/// Lines that are no good, and why; the code of all of them is 20.
const BAD_LINES: &[(&str, &str)] = &[
    ("this is no JSON", "the line is not JSON"),
    (
        r#"{"id":1,"method":"mining.submit","params":["a""#,
        "the line is not JSON",
    ),
    ("[1,2,3]", "the line has neither a method nor a result"),
    ("17", "the line has neither a method nor a result"),
    (r#"{"id":1}"#, "the line has neither a method nor a result"),
    (
        r#"{"id":1,"method":"eth_submitWork","params":[]}"#,
        "unknown method",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":{}}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":[1,2,3,4,5]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":["a.rig1"]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":["a.rig1","1","zz","65000000","00000000"]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":["a.rig1","1","000","65000000","00000000"]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.submit","params":["a.rig1","1","00","650000000","00000000"]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.authorize","params":[[]]}"#,
        "bad parameters",
    ),
    (
        r#"{"id":1,"method":"mining.get_transactions","params":["1"]}"#,
        "not supported",
    ),
];

#[test]
fn each_kind_of_bad_line_has_its_error_and_is_counted() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.raw_worker("cpuminer/2.5.1", "a.rig1");
        for (line, reason) in BAD_LINES {
            let before = rejects(&world, reason);
            world.sends(miner, line);
            assert_eq!(rejects(&world, reason), before + 1, "{mode:?} {line}");
            let answer = world.miners[miner].lines.last().unwrap();
            let Err((code, _)) = crate::common::answer(answer) else {
                panic!("{line}: {answer}")
            };
            assert_eq!(code, 20, "{line}: {answer}");
        }
        let id = world.miners[miner].id;
        let now = world.now;
        world
            .proxy
            .handle_long_line(id, LineTooLong { limit: 8_192 }, now);
        world.sends(miner, "");
        assert_eq!(rejects(&world, "the line is too long"), 1);
        // None of that was worth the connection.
        assert_eq!(world.miners[miner].closed, None);
        assert!(world.asks(miner, "mining.ping", "").is_ok());
    }
}

#[test]
fn each_kind_of_bad_share_has_its_error_and_is_counted() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let worker = world.miner("alice.rig1");
        let job = world.miners[worker].last_job();
        let found = world.miners[worker].find(&job);
        let (job_id, ntime) = (job.notify().job_id.clone(), job.notify().ntime);
        let extranonce2 = "05".repeat(8);
        let good = |user: &str, ntime: u32| {
            let found = Found {
                ntime,
                ..found.clone()
            };
            found.params(user, &job)
        };
        let bits = |bits: &str| format!(r#"{},"{bits}""#, good("alice.rig1", ntime));
        let other = |job: &str, extranonce2: &str| {
            format!(r#""alice.rig1","{job}","{extranonce2}","{ntime:08x}","00000000""#)
        };
        for (params, code, text) in [
            (good("mallory", ntime), 24, "this worker is not authorized"),
            (other(&job_id, "00"), 20, "extranonce2 has the wrong size"),
            (
                other(&job_id, &"00".repeat(9)),
                20,
                "extranonce2 has the wrong size",
            ),
            (other("4711", &extranonce2), 21, "job not found"),
            (other("no job", &extranonce2), 21, "job not found"),
            (good("alice.rig1", ntime - 1), 20, "ntime out of range"),
            (good("alice.rig1", ntime + 8_000), 20, "ntime out of range"),
            (bits("40000000"), 20, "version bits outside the mask"),
        ] {
            let before = rejects(&world, text);
            let answer = world.asks(worker, "mining.submit", &params);
            assert_eq!(answer, error(code, text), "{mode:?} {params}");
            assert_eq!(rejects(&world, text), before + 1);
        }
        let params = good("alice.rig1", ntime);
        assert_eq!(world.asks(worker, "mining.submit", &params), told_yes());
        let duplicate = error(22, "duplicate share");
        assert_eq!(world.asks(worker, "mining.submit", &params), duplicate);
        let link = world.link(0);
        world.upstreams[0].new_tip(link);
        world.run();
        let stale = error(21, "the job is stale");
        assert_eq!(world.asks(worker, "mining.submit", &params), stale);
        // The upstream saw the one good share, and the miner mines on.
        assert_eq!(world.upstreams[0].shares.len(), 1);
        world.mine(worker);
        assert!(world.miners[worker].is_undisturbed());
        world.assert_books_balance();
    }
}

#[test]
fn a_share_below_its_difficulty_is_refused() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let hard = world.miner_with(ClientConfig {
            password: "md=1".to_owned(),
            user_agent: "cpuminer/2.5.1".to_owned(),
            ..ClientConfig::new("proxy.example", "alice.rig1")
        });
        let job = world.miners[hard].last_job();
        assert_eq!(job.difficulty().as_f64(), 1.0);
        let params = format!(
            r#""alice.rig1","{}","0000000000000000","{:08x}","00000000""#,
            job.notify().job_id,
            job.notify().ntime
        );
        let low = error(23, "low difficulty share");
        assert_eq!(world.asks(hard, "mining.submit", &params), low, "{mode:?}");
        assert!(world.upstreams[0].shares.is_empty());
        assert_eq!(rejects(&world, "low difficulty share"), 1);
    }
}

#[test]
fn version_bits_that_were_not_negotiated_are_refused() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.raw_worker("cpuminer/2.5.1", "alice.rig1");
    let notify = world.miners[miner].lines.last().unwrap().clone();
    let json: serde_json::Value = serde_json::from_str(&notify).unwrap();
    let (job_id, ntime) = (&json["params"][0], &json["params"][7]);
    let params =
        format!(r#""alice.rig1",{job_id},"0000000000000000",{ntime},"00000000","00002000""#);
    let refused = error(20, "version rolling was not negotiated");
    assert_eq!(world.asks(miner, "mining.submit", &params), refused);
    // None at all is as good as none.
    let params = params.replace("00002000", "00000000");
    assert_ne!(world.asks(miner, "mining.submit", &params), refused);
}

#[test]
fn ids_come_back_as_they_were() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.raw_miner();
    for (id, echo) in [
        ("1", "1"),
        (r#""abc""#, r#""abc""#),
        ("null", "null"),
        ("1.5", "1.5"),
        ("-7", "-7"),
        ("18446744073709551616", "18446744073709551616"),
        ("{}", "null"),
        ("[1]", "null"),
        ("true", "null"),
    ] {
        world.sends(
            miner,
            &format!(r#"{{"id":{id},"method":"mining.ping","params":[]}}"#),
        );
        let last = world.miners[miner].lines.last().unwrap();
        assert!(
            last.starts_with(&format!(r#"{{"id":{echo},"#)),
            "{id}: {last}"
        );
    }
    world.sends(miner, r#"{"method":"mining.ping","params":[]}"#);
    assert!(
        world.miners[miner]
            .lines
            .last()
            .unwrap()
            .starts_with(r#"{"id":null,"#)
    );
    let long = "9".repeat(65);
    world.sends(
        miner,
        &format!(r#"{{"id":{long},"method":"mining.ping","params":[]}}"#),
    );
    assert_eq!(rejects(&world, "the id is too long"), 1);
    assert_eq!(world.miners[miner].closed, None);
}

#[test]
fn a_miner_that_misbehaves_now_and_then_stays_and_one_that_does_not_stop_is_closed() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let clumsy = world.miner("alice.rig1");
        let broken = world.miner("alice.rig2");
        for _ in 0..300 {
            world.sends(clumsy, "what");
            world.waits(FAULT_LIFE);
        }
        assert!(world.miners[clumsy].is_undisturbed(), "{mode:?}");
        for _ in 0..=MAX_FAULTS {
            assert_eq!(world.miners[broken].closed, None);
            world.sends(broken, "what");
        }
        assert_eq!(
            world.miners[broken].closed,
            Some(CloseReason::TooManyFaults)
        );
        let closed = &world.snapshot().closed;
        assert_eq!(closed[&CloseReason::TooManyFaults.to_string()], 1);
        // The others notice nothing.
        world.mine(clumsy);
        assert_eq!(world.miners[clumsy].accepted, 1, "{mode:?}");
    }
}

#[test]
fn bad_shares_alone_do_not_close_a_connection() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    for _ in 0..300 {
        world.waits(Duration::from_millis(100));
        let params = r#""alice.rig1","4711","0000000000000000","65000000","00000000""#;
        assert_eq!(
            world.asks(miner, "mining.submit", params),
            error(21, "job not found")
        );
    }
    assert!(world.miners[miner].is_undisturbed());
}

#[test]
fn too_many_lines_at_once_close_a_connection() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    for _ in 0..600 {
        world.sends(miner, r#"{"id":1,"method":"mining.ping","params":[]}"#);
    }
    assert_eq!(world.miners[miner].closed, Some(CloseReason::TooManyLines));
}

#[test]
fn a_miner_may_authorize_before_it_subscribes() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.raw_miner();
        // It waits for the answer before it goes on.
        let answer = world.asks(miner, "mining.authorize", r#""alice.rig1","x""#);
        assert_eq!(answer, told_yes(), "{mode:?}");
        assert!(!world.miners[miner].has_job());
        let link = world.link(0);
        world.upstreams[0].new_tip(link);
        world.run();
        assert!(
            world
                .asks(miner, "mining.subscribe", r#""cpuminer/2.5.1""#)
                .is_ok()
        );
        let lines = &world.miners[miner].lines;
        let methods = lines.iter().map(|line| {
            let at = line.find(r#""method":"#).map_or(0, |at| at + 10);
            line[at..].split('"').next().unwrap_or_default()
        });
        let methods: Vec<_> = methods.collect();
        let end = ["mining.set_difficulty", "mining.notify"];
        assert_eq!(methods[2..], end, "{mode:?}: one job, at once: {lines:?}");
    }
}

#[test]
fn a_share_before_its_time_is_refused() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.raw_miner();
        let share = r#""alice.rig1","1","0000000000000000","65000000","00000000""#;
        let answer = world.asks(miner, "mining.submit", share);
        assert_eq!(answer, error(25, "subscribe first"), "{mode:?}");
        world.asks(miner, "mining.subscribe", r#""x""#).unwrap();
        let answer = world.asks(miner, "mining.submit", share);
        assert_eq!(answer, error(24, "this worker is not authorized"));
        world
            .asks(miner, "mining.authorize", r#""alice.rig1","x""#)
            .unwrap();
        assert!(world.miners[miner].has_job());
    }
}

#[test]
fn who_subscribes_while_there_is_no_upstream_is_answered_later() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        let miner = world.raw_miner();
        let subscription = world.requests(miner, "mining.subscribe", r#""cpuminer/2.5.1""#);
        let authorization = world.requests(miner, "mining.authorize", r#""alice.rig1","x""#);
        let twice = world.requests(miner, "mining.subscribe", r#""cpuminer/2.5.1""#);
        world.waits_secs(50);
        assert!(
            world.miners[miner].lines.is_empty(),
            "nothing before the first answer"
        );
        world.revive(0);
        world.waits_secs(5);
        let answer = |id| world.answer_to(miner, id);
        assert!(
            answer(subscription).is_some_and(|answer| answer.is_ok()),
            "{mode:?}"
        );
        assert_eq!(answer(authorization), Some(told_yes()));
        assert_eq!(
            answer(twice),
            Some(error(20, "a subscription is under way"))
        );
        assert!(world.miners[miner].lines[0].contains("mining.set_difficulty\",\""));
        assert!(world.miners[miner].has_job());
        assert_eq!(world.miners[miner].closed, None);
    }
}

#[test]
fn who_is_not_answered_in_time_is_closed() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].reach = Reach::Refused;
        });
        let miner = world.raw_miner();
        let _ = world.requests(miner, "mining.subscribe", r#""cpuminer/2.5.1""#);
        let silent = world.raw_miner();
        world.waits(LOGIN_TIMEOUT - Duration::from_secs(1));
        assert_eq!(world.miners[miner].closed, None);
        world.waits_secs(2);
        for miner in [miner, silent] {
            assert_eq!(
                world.miners[miner].closed,
                Some(CloseReason::LoginTimeout),
                "{mode:?}"
            );
        }
        assert_eq!(world.snapshot().miners.len(), 0);
    }
}

#[test]
fn a_session_is_resumed_with_its_extranonce_and_late_shares_count() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    let job = world.miners[miner].last_job();
    world.mine(miner);
    let (extranonce, session) = (
        world.miners[miner].extranonce(),
        world.miners[miner].session_name(),
    );
    world.leaves(miner);
    assert_eq!(world.snapshot().parked, 1);
    // Somebody else comes meanwhile and gets another one.
    let other = world.miner("alice.rig2");
    assert_ne!(world.miners[other].extranonce().0, extranonce.0);
    world.waits(PARK_TIME - Duration::from_secs(1));
    let again = world.comes_back("alice.rig1", session.clone());
    assert_eq!(world.miners[again].extranonce(), extranonce);
    assert_eq!(world.miners[again].session_name(), session);
    assert_eq!(world.snapshot().parked, 0);
    // A share that was found before, one that was credited before, and one of now.
    assert_eq!(world.late_share(again, &job), error(22, "duplicate share"));
    assert_eq!(world.late_share(again, &job), told_yes());
    world.mine(again);
    let extranonces: Vec<_> = world.upstreams[0]
        .shares
        .iter()
        .map(|(_, share)| share.extranonce.as_bytes()[..4].to_vec())
        .collect();
    assert_eq!(extranonces.len(), 3);
    assert!(extranonces.iter().all(|bytes| *bytes == extranonces[0]));
    world.assert_books_balance();
}

#[test]
fn after_two_minutes_or_under_an_unknown_name_a_session_is_a_new_one() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let miner = world.miner("alice.rig1");
        let (extranonce, session) = (
            world.miners[miner].extranonce().0,
            world.miners[miner].session_name(),
        );
        world.leaves(miner);
        world.waits(PARK_TIME + Duration::from_secs(1));
        assert_eq!(world.snapshot().parked, 0);
        let again = world.comes_back("alice.rig1", session.clone());
        assert_ne!(world.miners[again].session_name(), session, "{mode:?}");
        if mode == ChannelMode::Aggregated {
            assert_ne!(world.miners[again].extranonce().0, extranonce);
        }
        let stranger = world.comes_back("alice.rig2", "b08cf00d1".to_owned());
        world.mine(again);
        world.mine(stranger);
        assert_eq!(world.miners[stranger].accepted, 1);
    }
}

#[test]
fn the_session_of_a_miner_that_is_there_is_not_given_away() {
    let mut world = World::with(ChannelMode::Aggregated, 1);
    let miner = world.miner("alice.rig1");
    let (extranonce, session) = (
        world.miners[miner].extranonce().0,
        world.miners[miner].session_name(),
    );
    let thief = world.comes_back("mallory", session.clone());
    assert_ne!(world.miners[thief].session_name(), session);
    assert_ne!(world.miners[thief].extranonce().0, extranonce);
    world.mine(miner);
    world.mine(thief);
    assert_eq!(world.miners[miner].accepted, 1);
    // Nor is it given out twice.
    world.leaves(miner);
    let first = world.comes_back("alice.rig1", session.clone());
    let second = world.comes_back("alice.rig1", session.clone());
    assert_eq!(world.miners[first].session_name(), session);
    assert_ne!(world.miners[second].session_name(), session);
    // Names tell nothing of each other.
    let names: Vec<_> = world
        .miners
        .iter()
        .map(|miner| miner.session_name())
        .collect();
    assert!(names.iter().all(|name| name.len() == 16));
}

#[test]
fn a_session_may_be_resumed_at_another_upstream() {
    for mode in BOTH {
        let mut world = World::with(mode, 2);
        let miner = world.miner("alice.rig1");
        let job = world.miners[miner].last_job();
        let (extranonce, session) = (
            world.miners[miner].extranonce(),
            world.miners[miner].session_name(),
        );
        world.leaves(miner);
        world.kill(0);
        world.waits_secs(2);
        let again = world.comes_back("alice.rig1", session);
        assert_eq!(world.miners[again].extranonce(), extranonce, "{mode:?}");
        let stale = error(21, "the job is stale");
        assert_eq!(world.late_share(again, &job), stale, "{mode:?}");
        world.mine(again);
        assert_eq!(world.upstreams[1].shares.len(), 1);
        world.assert_books_balance();
    }
}

#[test]
fn one_miner_too_many_is_refused_until_another_leaves() {
    for mode in BOTH {
        let mut config = config(mode, 1);
        config.max_miners = 3;
        let mut world = World::new(config);
        let miners = world.crowd(3);
        let now = world.now;
        assert_eq!(world.proxy.miner_connected(now), None, "{mode:?}");
        world.mine_all();
        world.leaves(miners[1]);
        let next = world.miner("alice.rig9");
        world.mine(next);
        assert_eq!(world.miners[next].accepted, 1);
        // Its number in tables of the shell is the free one, and yet it is another miner.
        let (left, came) = (world.miners[miners[1]].id, world.miners[next].id);
        assert_eq!(left.index(), came.index());
        assert_ne!(left, came);
        let lines = world.miners[next].lines.len();
        world
            .proxy
            .handle_line(left, br#"{"id":1,"method":"mining.ping"}"#, now);
        world.run();
        assert_eq!(world.miners[next].lines.len(), lines);
    }
}

#[test]
fn miners_come_and_go_for_days_and_leave_nothing_behind() {
    for mode in BOTH {
        let mut config = config(mode, 1);
        config.max_miners = 4;
        let mut world = World::new(config);
        for round in 0..1_000 {
            let miner = world.miner("alice.rig1");
            world.mine(miner);
            assert_eq!(world.miners[miner].accepted, 1, "{mode:?} {round}");
            world.leaves(miner);
            if round % 10 == 0 {
                world.waits_secs(60);
                let link = world.link(0);
                world.upstreams[0].new_tip(link);
                world.run();
            }
        }
        let channels = world.upstreams[0].channels.len();
        assert_eq!(channels, usize::from(mode == ChannelMode::Aggregated));
        world.waits(PARK_TIME);
        assert_eq!(world.snapshot().parked, 0);
        world.assert_books_balance();
    }
}

/// An agent that an entry of the table is about.
fn agent_of(quirks: &Quirks) -> String {
    quirks.pattern.replace('*', "x")
}

#[test]
fn miners_of_each_kind_get_what_they_can_work_with_and_their_shares_arrive() {
    for mode in BOTH {
        for size in [12, 28] {
            for quirks in TABLE {
                let agent = agent_of(quirks);
                let mut world = World::prepared(config(mode, 1), |upstreams| {
                    upstreams[0].extranonce_size = size;
                    // A block counts whatever the difficulty: nobody finds a share of difficulty 1 in a test.
                    upstreams[0].nbits = EASY;
                });
                let miner = world.miner_with(ClientConfig {
                    user_agent: agent.clone(),
                    ..ClientConfig::new("proxy.example", "alice.rig1")
                });
                let (extranonce1, extranonce2_size) = world.miners[miner].extranonce();
                let rolls = extranonce2_size as usize;
                assert!(
                    quirks.extranonce2_sizes().contains(&rolls),
                    "{agent}: {rolls}"
                );
                assert!(extranonce1.len() / 2 <= quirks.extranonce1_max, "{agent}");
                let job = world.miners[miner].last_job();
                assert!(
                    job.difficulty().as_f64() >= quirks.min_difficulty,
                    "{agent}"
                );
                world.mine_block(miner);
                assert_eq!(world.miners[miner].accepted, 1, "{mode:?} {agent}");
                let share = &world.upstreams[0].shares[0].1;
                // Zeros of ours, what tells it apart, zeros that it cannot roll, what it rolled.
                let expected = [
                    vec![0; usize::from(size) - 12],
                    hex(&extranonce1),
                    vec![5; rolls],
                ];
                assert_eq!(
                    share.extranonce.as_bytes(),
                    expected.concat(),
                    "{mode:?} {agent}"
                );
                assert_same_header(&world, miner);
                world.assert_books_balance();
            }
        }
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// What the upstream makes of its job and the share is the header that the miner hashed.
fn assert_same_header(world: &World, miner: usize) {
    let share = &world.upstreams[0].shares.last().unwrap().1;
    let job = world.miners[miner].last_job();
    let own = job.header(&sv1_api::client::FoundShare {
        extranonce2: &vec![5; job.extranonce2_size()],
        ntime: share.ntime,
        nonce: share.nonce,
        version: share.version,
    });
    let coinbase = world.upstreams[0].coinbase(share);
    let path = &job.notify().merkle_path;
    let root =
        roles_logic_sv2::merkle::root_from_path(&roles_logic_sv2::merkle::sha256d(&coinbase), path);
    assert_eq!(own.merkle_root, root);
}

#[test]
fn a_block_on_an_earlier_tip_goes_up_whatever_it_is_worth_as_a_share() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].nbits = EASY;
            upstreams[0].verdict = Some(Err("stale-share"));
        });
        let miner = world.miner("alice.rig1");
        let old = world.miners[miner].last_job();
        let link = world.link(0);
        world.upstreams[0].new_tip(link);
        world.run();
        let stale = error(21, "the job is stale");
        // Every other one is a block.
        for _ in 0..20 {
            assert_eq!(world.late_share(miner, &old), stale, "{mode:?}");
        }
        let counts = world.snapshot().upstream;
        assert!(counts.unpaid_blocks > 0);
        assert_eq!(counts.unpaid_blocks, counts.passed_on);
        assert_eq!((counts.rejected, counts.lost), (counts.passed_on, 0));
        let jobs = world.upstreams[0]
            .shares
            .iter()
            .map(|(_, share)| share.job_id);
        assert!({ jobs }.all(|job_id| job_id == 1), "{mode:?}");
        world.assert_books_balance();
    }
}

#[test]
fn a_miner_that_cannot_work_with_so_few_bytes_is_refused_and_told() {
    for mode in BOTH {
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].extranonce_size = 4;
        });
        // In per-miner mode the first channel teaches how much there is.
        let _ = world.miner("alice.rig1");
        world.waits_secs(1);
        let _ = world.miner("alice.rig2");
        let miner = world.raw_miner();
        let answer = world.asks(miner, "mining.subscribe", r#""nicehash/1.0""#);
        let refused = error(20, "no work can be given now, try again later");
        assert_eq!(answer, refused, "{mode:?}");
        assert!(
            world
                .asks(miner, "mining.subscribe", r#""cpuminer/2.5.1""#)
                .is_ok()
        );
    }
}

#[test]
fn several_workers_may_share_a_connection() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let farm = world.miner("alice.rig1");
        let job = world.miners[farm].last_job();
        for name in ["alice.rig2", "alice.rig3", "bob"] {
            let answer = world.asks(farm, "mining.authorize", &format!(r#""{name}","x""#));
            assert_eq!(answer, told_yes());
            world.miners[farm].user = name.to_owned();
            assert_eq!(world.late_share(farm, &job), told_yes(), "{mode:?} {name}");
        }
        world.miners[farm].user = "mallory".to_owned();
        let refused = error(24, "this worker is not authorized");
        assert_eq!(world.late_share(farm, &job), refused);
        let workers: Vec<_> = world.upstreams[0].workers.iter().flatten().collect();
        assert_eq!(workers, ["alice.rig2", "alice.rig3", "bob"]);
        assert_eq!(
            world.upstreams[0].channels.len(),
            1,
            "{mode:?}: one channel"
        );
        // Once more is as good as once.
        let answer = world.asks(farm, "mining.authorize", r#""bob","x""#);
        assert_eq!(answer, told_yes());
        world.assert_books_balance();
    }
}

#[test]
fn all_names_of_a_connection_wait_for_its_channel() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    let _ = world.miner("alice.rig1");
    world.upstreams[0].ignores_opens = true;
    let miner = world.raw_miner();
    world
        .asks(miner, "mining.subscribe", r#""cpuminer/2.5.1""#)
        .unwrap();
    let names = [r#""bob.1","x""#, r#""bob.2","x""#];
    let waiting = names.map(|name| world.requests(miner, "mining.authorize", name));
    assert!(
        waiting
            .iter()
            .all(|id| world.answer_to(miner, *id).is_none())
    );
    // The upstream refuses the first, with its limits and without: that is the answer to all.
    let link = world.link(0);
    for request_id in [2, 3] {
        let refusal = mining_sv2::OpenMiningChannelError {
            request_id,
            error_code: "unknown-user".try_into().unwrap(),
        };
        world.upstreams[0].mining(link, refusal);
        world.run();
    }
    let refused = error(24, "the user name is not accepted");
    for id in waiting {
        assert_eq!(world.answer_to(miner, id), Some(refused.clone()));
    }
    assert!(!world.miners[miner].has_job());
    // Another name finds a channel.
    world.upstreams[0].ignores_opens = false;
    let answer = world.asks(miner, "mining.authorize", r#""bob.3","x""#);
    assert_eq!(answer, told_yes());
    assert!(world.miners[miner].has_job());
}

#[test]
fn more_names_than_can_wait_are_refused() {
    let mut world = World::prepared(config(ChannelMode::PerMiner, 1), |upstreams| {
        upstreams[0].ignores_opens = true;
    });
    let miner = world.raw_miner();
    world.asks(miner, "mining.subscribe", r#""x""#).unwrap();
    let name = |i: u32| format!(r#""bob.{i}","x""#);
    let ids: Vec<_> = (0..20)
        .map(|i| world.requests(miner, "mining.authorize", &name(i)))
        .collect();
    let answered = ids
        .iter()
        .filter(|id| world.answer_to(miner, **id).is_some());
    assert_eq!(answered.count(), 4);
}

#[test]
fn a_user_that_the_upstream_refuses_is_told_no_and_the_others_notice_nothing() {
    for upstreams in [1, 2] {
        let mut world = World::with(ChannelMode::PerMiner, upstreams);
        world.upstreams[0].refuses_user = Some("mallory");
        let good = world.miner("alice.rig1");
        let bad = world.raw_miner();
        world
            .asks(bad, "mining.subscribe", r#""cpuminer/2.5.1""#)
            .unwrap();
        let answer = world.asks(bad, "mining.authorize", r#""x.mallory","x""#);
        assert_eq!(answer, error(24, "the user name is not accepted"));
        let told = Note::NoChannel {
            upstream: 0,
            identity: "farm-a.mallory".to_owned(),
            code: "unknown-user".to_owned(),
        };
        assert!(world.notes.contains(&told), "{:?}", world.notes);
        assert_eq!((world.used(), world.failures(0).len()), (Some(0), 0));
        let snapshot = world.snapshot();
        assert_eq!(snapshot.miners[bad].upstream_rejected["unknown-user"], 1);
        world.mine(good);
        assert!(world.miners[good].is_undisturbed());
        assert_eq!(
            world.asks(bad, "mining.authorize", r#""x.bob","x""#),
            told_yes()
        );
        assert!(world.miners[bad].has_job());
    }
}

#[test]
fn a_user_that_no_upstream_takes_is_told_no_when_all_were_asked() {
    let mut world = World::with(ChannelMode::PerMiner, 2);
    world
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.refuses_user = Some("mallory"));
    let bad = world.raw_miner();
    world
        .asks(bad, "mining.subscribe", r#""cpuminer/2.5.1""#)
        .unwrap();
    let id = world.requests(bad, "mining.authorize", r#""x.mallory","x""#);
    world.waits_secs(30);
    let refused = error(24, "the user name is not accepted");
    assert_eq!(world.answer_to(bad, id), Some(refused));
    assert_eq!(world.miners[bad].closed, None);
    // That has ruined nothing.
    let good = world.miner("alice.rig1");
    world.waits_secs(5);
    world.mine(good);
    assert_eq!(world.miners[good].accepted, 1);
}

#[test]
fn a_miner_that_the_next_upstream_refuses_is_sent_away() {
    let mut world = World::with(ChannelMode::PerMiner, 2);
    world.upstreams[1].refuses_user = Some("mallory");
    let good = world.miner("alice.rig1");
    let bad = world.miner("x.mallory");
    world.kill(0);
    world.waits_secs(2);
    assert_eq!(world.used(), Some(1));
    assert!(world.miners[bad].was_told("client.reconnect"));
    assert!(matches!(
        world.miners[bad].ended,
        Some(ClientEnd::Reconnect(_))
    ));
    assert_eq!(world.miners[bad].closed, Some(CloseReason::Reconnect));
    world.mine(good);
    assert!(world.miners[good].is_undisturbed());
    // Another name that is authorized in the gap does not make it stay without work.
    world.kill(1);
    let two = world.miner("x.carol");
    world.revive(0);
    world.waits_secs(3);
    world.upstreams[1].refuses_user = Some("carol");
    world.kill(0);
    let _ = world.requests(two, "mining.authorize", r#""x.dave","x""#);
    world.revive(1);
    world.waits_secs(10);
    assert!(world.miners[two].was_told("client.reconnect"));
}

#[test]
fn shares_of_a_miner_that_left_are_counted_when_they_are_answered() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        world.upstreams[0].verdict = None;
        let miner = world.miner("alice.rig1");
        let stays = world.miner("alice.rig2");
        (0..4).for_each(|_| world.mine(miner));
        world.mine(stays);
        world.leaves(miner);
        world.assert_books_balance();
        world.upstreams[0].answers(3, Ok(()));
        world.run();
        world.upstreams[0].answers(1, Err("stale-share"));
        world.run();
        let counts = world.snapshot().upstream;
        assert_eq!(
            (counts.accepted, counts.rejected, counts.lost),
            (3, 1, 0),
            "{mode:?}"
        );
        world.upstreams[0].answers(1, Ok(()));
        world.run();
        assert_eq!(world.snapshot().miners[0].upstream.accepted, 1);
        // Its channel is closed when nothing more is to come.
        let closes: &[u32] = match mode {
            ChannelMode::Aggregated => &[],
            ChannelMode::PerMiner => &[2],
        };
        assert_eq!(world.upstreams[0].closes, closes);
        world.assert_books_balance();
    }
}

#[test]
fn the_channel_of_a_miner_that_left_is_not_kept_for_ever() {
    let mut world = World::with(ChannelMode::PerMiner, 1);
    world.upstreams[0].verdict = None;
    let miner = world.miner("alice.rig1");
    world.mine(miner);
    world.leaves(miner);
    world.waits(LEAVE_GRACE - Duration::from_secs(1));
    assert!(world.upstreams[0].closes.is_empty());
    world.waits_secs(2);
    assert_eq!(world.upstreams[0].closes, [2]);
    let counts = world.snapshot().upstream;
    assert_eq!((counts.accepted, counts.lost), (0, 1));
    world.assert_books_balance();
}

#[test]
fn a_drained_translator_sends_miners_away_and_waits_for_their_last_answers() {
    for mode in BOTH {
        let mut world = World::with(mode, 2);
        let miners = world.crowd(3);
        world.upstreams[0].verdict = None;
        world.mine_all();
        let now = world.now;
        world.proxy.drain(now);
        world.run();
        assert!(!world.proxy.is_drained());
        assert_eq!(world.proxy.miner_connected(now), None, "{mode:?}");
        world.waits_secs(1);
        for miner in &miners {
            assert!(world.miners[*miner].was_told("client.reconnect"));
            assert_eq!(world.miners[*miner].closed, Some(CloseReason::Reconnect));
        }
        assert!(
            !world.proxy.is_drained(),
            "{mode:?}: shares wait for answers"
        );
        world.upstreams[0].answers(3, Ok(()));
        world.run();
        assert!(world.proxy.is_drained(), "{mode:?}");
        assert_eq!((world.links(), world.upstreams[0].channels.len()), (0, 0));
        assert_eq!(world.snapshot().upstream.accepted, 3);
        world.assert_books_balance();
        world.waits_secs(600);
        assert_eq!(world.links(), 0, "nobody connects any more");
    }
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    for mode in BOTH {
        let mut world = World::with(mode, 1);
        let _ = world.crowd(2);
        world.upstreams[0].verdict = None;
        world.mine_all();
        let now = world.now;
        world.proxy.drain(now);
        world.waits(LEAVE_GRACE + Duration::from_secs(1));
        assert!(world.proxy.is_drained(), "{mode:?}");
        assert_eq!(world.snapshot().upstream.lost, 2);
        // Nor is there anything to wait for without miners, or without upstreams.
        let mut world = World::with(mode, 1);
        let now = world.now;
        world.proxy.drain(now);
        world.run();
        assert!(world.proxy.is_drained(), "{mode:?}");
        let mut world = World::prepared(config(mode, 1), |upstreams| {
            upstreams[0].reach = Reach::Silent;
        });
        let now = world.now;
        world.proxy.drain(now);
        world.run();
        assert!(world.proxy.is_drained(), "{mode:?}");
    }
}

#[test]
fn nothing_is_zero_and_not_less() {
    for mode in BOTH {
        let world = World::with(mode, 1);
        assert!(world.snapshot().hashrate.is_sign_positive());
        let channels = world.upstreams[0].channels.iter();
        assert!({ channels }.all(|channel| channel.nominal_hash_rate.is_sign_positive()));
    }
}
