//! Whom blocks pay, looked up in the blocks themselves.

use pool_core::shard::PoolConfig;
use roles_logic_sv2::channels::ChannelKind::{self, Extended, Standard};
use roles_logic_sv2::channels::client::OpenTerms;

use crate::common::{ADDRESS, EASY, Miner, POOL_SCRIPT, Pool, SCRIPT, config};

const ADDRESS_2: &str = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6";

/// The outputs of a block that `user` finds, as script and share of the reward in percent.
fn paid(config: PoolConfig, kind: ChannelKind, user: &str) -> Vec<(String, u64)> {
    let mut pool = Pool::new(config);
    pool.new_tip(EASY);
    let mut miner = Miner::set_up(&mut pool, 0);
    let channel = miner.open(&mut pool, kind, user).unwrap();
    while pool.blocks.is_empty() {
        miner.mine(&mut pool, channel);
    }
    let found = pool.blocks.remove(0);
    let block = pool.feed.solve(found, pool.now);
    assert!(block.check_merkle_root() && block.check_witness_commitment());
    assert_eq!(block.txdata.len(), 2);
    assert_eq!(block.bip34_block_height(), Ok(101));
    let coinbase = &block.txdata[0];
    let tag = b"Sv2/Stratum//";
    let script_sig = coinbase.input[0].script_sig.as_bytes();
    assert!(script_sig.windows(tag.len()).any(|part| part == tag));
    let total: u64 = coinbase
        .output
        .iter()
        .map(|output| output.value.to_sat())
        .sum();
    assert_eq!(
        total, 5_000_001_234,
        "subsidy and fees, to the last satoshi"
    );
    let payouts = coinbase
        .output
        .iter()
        .filter(|output| !output.script_pubkey.is_op_return());
    let percent = |sats: u64| (sats * 100 + total / 2) / total;
    payouts
        .map(|output| {
            (
                output.script_pubkey.to_hex_string(),
                percent(output.value.to_sat()),
            )
        })
        .collect()
}

#[test]
fn a_block_pays_whom_the_identity_names() {
    let pool_only: &[(&str, u64)] = &[(POOL_SCRIPT, 100)];
    let miner_only: &[(&str, u64)] = &[(SCRIPT, 100)];
    let cases = [
        ("random-user", pool_only),
        (ADDRESS, miner_only),
        (&format!("{ADDRESS}.worker1"), miner_only),
        (&format!("sri/solo/{ADDRESS}/worker.1"), miner_only),
        ("sri/donate", pool_only),
        ("sri/donate/worker.1", pool_only),
        (
            &format!("sri/donate/5/{ADDRESS}/worker.1"),
            &[(POOL_SCRIPT, 5), (SCRIPT, 95)],
        ),
    ];
    for kind in [Standard, Extended] {
        for (user, expected) in &cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(s, percent)| (s.to_string(), *percent))
                .collect();
            assert_eq!(paid(config(), kind, user), expected, "{kind:?} {user}");
        }
    }
    let plain = PoolConfig {
        honours_identity_patterns: false,
        ..config()
    };
    assert_eq!(
        paid(plain, Standard, ADDRESS),
        [(POOL_SCRIPT.to_owned(), 100)]
    );
}

#[test]
fn identities_that_cannot_be_paid_are_refused() {
    for kind in [Standard, Extended] {
        for user in [
            "sri/worker.1",
            "sri/solo/nonsense/worker.1",
            "sri/solo/bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4/w",
            "sri/donate/101/x/w",
        ] {
            let mut pool = Pool::new(config());
            let mut miner = Miner::set_up(&mut pool, 0);
            let refused = Err("OpenMiningChannel.Error invalid-user-identity".to_owned());
            assert_eq!(miner.open(&mut pool, kind, user), refused);
            assert_eq!(miner.closed, None);
            assert!(
                miner.open(&mut pool, kind, "bob").is_ok(),
                "the connection lives on"
            );
        }
    }
}

/// Any bytes are a name, if no address.
#[test]
fn a_name_need_not_be_utf_8() {
    let mut pool = Pool::new(config());
    let mut miner = Miner::set_up(&mut pool, 0);
    let user = [0xff, 0xfe].as_slice().try_into().unwrap();
    let request = miner
        .channels
        .open_standard(user, OpenTerms::default())
        .unwrap();
    miner.send(&mut pool, &request);
    assert_eq!(miner.pool.channels().unwrap().channels().len(), 1);
}

#[test]
fn connections_with_one_payout_share_its_job_and_others_do_not() {
    let mut pool = Pool::new(config());
    let users = [
        ADDRESS,
        &format!("sri/solo/{ADDRESS}/other"),
        ADDRESS_2,
        "alice",
    ];
    let mut miners: Vec<Miner> = users.map(|_| Miner::set_up(&mut pool, 0)).into();
    for (miner, user) in miners.iter_mut().zip(users) {
        miner.open(&mut pool, Extended, user).unwrap();
    }
    assert_eq!(pool.shard.payouts_in_use(), 3);
    assert_eq!(pool.shard.work().unwrap().jobs().count(), 3);
    let suffixes: Vec<_> = miners.iter().map(paid_to).collect();
    assert_eq!(suffixes[0], suffixes[1]);
    assert!(suffixes[0] != suffixes[2] && suffixes[0] != suffixes[3] && suffixes[2] != suffixes[3]);
    for (miner, left) in miners.iter_mut().zip([3, 2, 1, 1]) {
        miner.disconnect(&mut pool);
        assert_eq!(pool.shard.payouts_in_use(), left);
    }
    assert_eq!(pool.shard.extranonces.in_use(), 0);
}

/// The group's payout in the server's channels.
fn paid_to(miner: &Miner) -> roles_logic_sv2::channels::PayoutId {
    miner.pool.channels().unwrap().payout_of_group(1).unwrap()
}

#[test]
fn the_limit_of_payouts_is_answered_and_frees_itself() {
    let mut pool = Pool::new(PoolConfig {
        max_payouts: 1,
        ..config()
    });
    let mut miner = Miner::set_up(&mut pool, 0);
    let first = miner.open(&mut pool, Standard, ADDRESS).unwrap();
    let full = Err("OpenMiningChannel.Error channel-capacity-exhausted".to_owned());
    assert_eq!(miner.open(&mut pool, Standard, ADDRESS_2), full);
    assert!(
        miner.open(&mut pool, Standard, ADDRESS).is_ok(),
        "served already"
    );
    assert!(
        miner.open(&mut pool, Standard, "alice").is_ok(),
        "the pool's own"
    );
    for id in [first, first + 1] {
        let close = miner.channels.close(id, "".try_into().unwrap()).unwrap();
        miner.send(&mut pool, &close);
    }
    assert!(miner.open(&mut pool, Standard, ADDRESS_2).is_ok());
    assert_eq!(pool.shard.extranonces.in_use(), 2);
}
