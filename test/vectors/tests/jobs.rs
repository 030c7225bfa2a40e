//! Runs `jobs.json`: coinbases, merkle trees, headers, targets and shares.

// Helpers of tests are not seen as tests by clippy.
#![allow(clippy::unwrap_used)]

use binary_sv2::Decodable;
use bitcoin::{Amount, ScriptBuf, TxOut};
use mining_sv2::SetCustomMiningJob;
use roles_logic_sv2::clock::{Instant, Now};
use roles_logic_sv2::coinbase::{Coinbase, CoinbaseTemplate, strip_bip141};
use roles_logic_sv2::duplicates::DuplicateSet;
use roles_logic_sv2::header::{Header, block_hash, differs_only_in_rollable_bits, rolled_version};
use roles_logic_sv2::job::{ChainTip, Job};
use roles_logic_sv2::merkle::{coinbase_path, root, root_from_path, sha256d, witness_commitment};
use roles_logic_sv2::share::{
    RejectReason, Root, Share, ShareContext, ShareLimits, Verdict, validate,
};
use roles_logic_sv2::target::{Compact, ConversionError, ShareTarget, Target};
use serde_json::Value;
use stratum_vectors::{array, bytes, list, load, text, to_hex, uint, unhex};

/// Bytes of a frame's header, which the custom jobs carry in front of the message.
const FRAME_HEADER_SIZE: usize = 6;

fn jobs() -> Value {
    load("jobs.json")
}

fn u32_of(value: &Value, key: &str) -> u32 {
    uint(value, key)
        .try_into()
        .unwrap_or_else(|_| panic!("{key} exceeds 32 bits in {value}"))
}

fn bool_of(value: &Value, key: &str) -> bool {
    value[key]
        .as_bool()
        .unwrap_or_else(|| panic!("{key} is no boolean in {value}"))
}

fn f64_of(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

fn target_of(value: &Value, key: &str) -> Target {
    Target::from_le_bytes(array(value, key))
}

/// A list of hashes; the list itself may be empty.
fn hashes(value: &Value, key: &str) -> Vec<[u8; 32]> {
    let entries = value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list in {value}"));
    entries
        .iter()
        .map(|hash| unhex(hash.as_str().unwrap()).try_into().unwrap())
        .collect()
}

fn payouts(value: &Value) -> Vec<TxOut> {
    list(value, "client_outputs")
        .iter()
        .map(|output| TxOut {
            value: Amount::from_sat(uint(output, "value")),
            script_pubkey: ScriptBuf::from_bytes(bytes(output, "script_pubkey")),
        })
        .collect()
}

/// The job of a template with the bytes given between the template's part of the scriptSig and the extranonce.
fn job_of(
    template: &Value,
    payouts: &[TxOut],
    tag: &[u8],
    extranonce_size: usize,
    may_roll: bool,
) -> Job {
    let script_sig_prefix = bytes(template, "coinbase_prefix");
    let outputs = bytes(template, "coinbase_tx_outputs");
    let fields = CoinbaseTemplate {
        tx_version: u32_of(template, "coinbase_tx_version"),
        script_sig_prefix: &script_sig_prefix,
        input_sequence: u32_of(template, "coinbase_tx_input_sequence"),
        value_remaining_sats: uint(template, "coinbase_tx_value_remaining"),
        outputs_count: u32_of(template, "coinbase_tx_outputs_count"),
        outputs: &outputs,
        locktime: u32_of(template, "coinbase_tx_locktime"),
    };
    let coinbase = Coinbase::from_template(&fields, payouts, tag, extranonce_size).unwrap();
    let id = uint(template, "template_id");
    Job::new(
        Some(id),
        u32_of(template, "version"),
        may_roll,
        hashes(template, "merkle_path"),
        coinbase,
    )
}

fn check_parts(coinbase: &Coinbase, expected: &Value) {
    assert_eq!(
        to_hex(coinbase.prefix()),
        text(expected, "coinbase_tx_prefix")
    );
    assert_eq!(
        to_hex(coinbase.suffix()),
        text(expected, "coinbase_tx_suffix")
    );
    assert_eq!(
        to_hex(coinbase.prefix_with_bip141()),
        text(expected, "coinbase_tx_prefix_with_bip141")
    );
    assert_eq!(
        to_hex(coinbase.suffix_with_bip141()),
        text(expected, "coinbase_tx_suffix_with_bip141")
    );
}

fn check_root(
    job: &Job,
    extranonce_prefix: &[u8],
    extranonce: &[u8],
    expected: &Value,
) -> [u8; 32] {
    let txid = job
        .coinbase()
        .unwrap()
        .txid(extranonce_prefix, extranonce)
        .unwrap();
    assert_eq!(to_hex(txid), text(expected, "coinbase_txid_le"));
    let root = job.merkle_root(extranonce_prefix, extranonce).unwrap();
    assert_eq!(to_hex(root), text(expected, "merkle_root"));
    root
}

/// The header of a share made from its fields, its hash, and the targets it meets or not.
fn check_share(share: &Value, merkle_root: [u8; 32], job_version: u32) {
    let header = Header {
        version: u32_of(share, "version"),
        prev_hash: array(share, "prev_hash"),
        merkle_root,
        ntime: u32_of(share, "ntime"),
        nbits: u32_of(share, "nbits"),
        nonce: u32_of(share, "nonce"),
    };
    assert_eq!(to_hex(header.to_bytes()), text(share, "header"));
    let mut hash = header.hash();
    assert_eq!(to_hex(hash), text(share, "block_hash_le"));
    for entry in list(share, "targets") {
        let meets = target_of(entry, "target_le").is_met_by(&hash);
        assert_eq!(meets, bool_of(entry, "meets"), "{}", text(entry, "name"));
    }
    hash.reverse();
    assert_eq!(to_hex(hash), text(share, "block_hash_display"));
    assert_eq!(
        header.version != job_version,
        bool_of(share, "version_was_rolled")
    );
}

#[test]
fn extended_jobs() {
    for case in list(&jobs(), "extended_jobs") {
        let (template, expected) = (&case["template"], &case["expected"]);
        let tag = bytes(case, "script_sig_between_prefix_and_extranonce");
        let size = usize::try_from(uint(case, "full_extranonce_size")).unwrap();
        let may_roll = bool_of(expected, "version_rolling_allowed");
        let job = job_of(template, &payouts(case), &tag, size, may_roll);
        assert_eq!(job.version(), u32_of(expected, "version"));
        assert_eq!(
            job.merkle_path().len() as u64,
            uint(expected, "merkle_path_len")
        );
        check_parts(job.coinbase().unwrap(), expected);
        let (prefix, extranonce) = (bytes(case, "extranonce_prefix"), bytes(case, "extranonce"));
        let full = job.coinbase().unwrap().with_witness(&prefix, &extranonce);
        assert_eq!(to_hex(&full), text(expected, "coinbase_tx_with_witness"));
        let stripped = strip_bip141(&full).unwrap();
        assert_eq!(to_hex(&stripped), text(expected, "coinbase_tx_stripped"));
        let for_block = job.coinbase().unwrap().for_block(&prefix, &extranonce);
        let commits = job.coinbase().unwrap().has_witness_commitment();
        assert_eq!(for_block, if commits { full } else { stripped });
        let root = check_root(&job, &prefix, &extranonce, expected);
        check_share(&case["share"], root, job.version());
    }
}

#[test]
fn standard_jobs() {
    for case in list(&jobs(), "standard_jobs") {
        let from = &case["from_extended_job"];
        let extranonce_prefix = bytes(case, "extranonce_prefix");
        let (prefix, suffix) = (
            bytes(from, "coinbase_tx_prefix"),
            bytes(from, "coinbase_tx_suffix"),
        );
        let coinbase =
            Coinbase::from_stripped_parts(&prefix, &suffix, extranonce_prefix.len()).unwrap();
        let version = u32_of(from, "version");
        let job = Job::new(None, version, true, hashes(from, "merkle_path"), coinbase);
        let root = check_root(&job, &extranonce_prefix, &[], &case["expected"]);
        check_share(&case["share"], root, version);
    }
}

#[test]
fn custom_jobs() {
    for case in list(&jobs(), "custom_jobs") {
        let expected = &case["expected"];
        let frame = bytes(case, "set_custom_mining_job_frame");
        let message = SetCustomMiningJob::from_bytes(&frame[FRAME_HEADER_SIZE..]).unwrap();
        assert_eq!(
            message.coinbase_prefix.as_bytes(),
            bytes(case, "coinbase_prefix")
        );
        assert_eq!(
            message.coinbase_tx_outputs.as_bytes(),
            bytes(case, "coinbase_tx_outputs")
        );
        assert_eq!(message.min_ntime, u32_of(expected, "min_ntime"));
        let (prefix, extranonce) = (bytes(case, "extranonce_prefix"), bytes(case, "extranonce"));
        let job = Job::from_custom(&message, prefix.len() + extranonce.len()).unwrap();
        check_parts(job.coinbase().unwrap(), expected);
        check_root(&job, &prefix, &extranonce, expected);
    }
}

fn check_header(case: &Value) -> [u8; 32] {
    let header = Header {
        version: u32_of(case, "version"),
        prev_hash: array(case, "prev_hash"),
        merkle_root: array(case, "merkle_root"),
        ntime: u32_of(case, "ntime"),
        nbits: u32_of(case, "nbits"),
        nonce: u32_of(case, "nonce"),
    };
    assert_eq!(to_hex(header.to_bytes()), text(case, "header"));
    let hash = block_hash(&array(case, "header"));
    let mut display = hash;
    display.reverse();
    assert_eq!(to_hex(display), text(case, "block_hash_display"));
    hash
}

#[test]
fn real_headers() {
    for case in list(&jobs(), "real_headers") {
        let hash = check_header(case);
        assert!(
            Target::from_nbits(u32_of(case, "nbits"))
                .unwrap()
                .is_met_by(&hash)
        );
    }
}

#[test]
fn real_blocks() {
    for case in list(&jobs(), "real_blocks") {
        let hash = check_header(case);
        let target = Target::from_nbits(u32_of(case, "nbits")).unwrap();
        assert_eq!(target, target_of(case, "network_target_le"));
        assert_eq!(
            target.is_met_by(&hash),
            bool_of(case, "meets_network_target")
        );

        let full = bytes(case, "coinbase_tx");
        let stripped = strip_bip141(&full).unwrap();
        assert_eq!(to_hex(&stripped), text(case, "coinbase_tx_stripped"));
        assert_eq!(full != stripped, bool_of(case, "coinbase_is_segwit"));

        let (prefix, extranonce) = (bytes(case, "extranonce_prefix"), bytes(case, "extranonce"));
        let (before, after) = (
            bytes(case, "coinbase_tx_prefix"),
            bytes(case, "coinbase_tx_suffix"),
        );
        let coinbase =
            Coinbase::from_stripped_parts(&before, &after, prefix.len() + extranonce.len())
                .unwrap();
        if coinbase.has_witness_commitment() == bool_of(case, "coinbase_is_segwit") {
            assert_eq!(coinbase.for_block(&prefix, &extranonce), full);
        }
        let job = Job::new(
            None,
            u32_of(case, "version"),
            true,
            hashes(case, "merkle_path"),
            coinbase,
        );
        check_root(&job, &prefix, &extranonce, case);
        check_transactions(case, &job);
    }
}

/// Blocks carry their transactions, or only what their witness commitment is made of.
fn check_transactions(case: &Value, job: &Job) {
    if case.get("txids_le").is_some() {
        let txids = hashes(case, "txids_le");
        assert_eq!(txids.len() as u64, uint(case, "transaction_count"));
        assert_eq!(coinbase_path(&txids[1..]), job.merkle_path());
        assert_eq!(root(&txids), Some(array(case, "merkle_root")));
    }
    if case.get("witness_commitment").is_some() {
        let mut committed: Vec<u8> = bytes(case, "witness_root_le");
        committed.extend([0; 32]);
        assert_eq!(
            to_hex(sha256d(&committed)),
            text(case, "witness_commitment")
        );
        let found = job.coinbase().unwrap().has_witness_commitment();
        assert_eq!(found, bool_of(case, "witness_commitment_in_coinbase"));
    }
}

#[test]
fn the_witness_commitment_of_a_block_without_transactions() {
    // The one wtxid is the coinbase's, which counts as zero: a hash that every empty block since 2017 carries.
    let empty = "e2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9";
    assert_eq!(to_hex(witness_commitment(&[])), empty);
}

#[test]
fn merkle_trees() {
    for case in list(&jobs(), "merkle_trees") {
        let count = u32_of(case, "transaction_count");
        let coinbase: [u8; 32] = array(case, "coinbase_txid_le");
        let others = if case.get("seed_hex").is_some() {
            let seed = bytes(case, "seed_hex");
            (1..count)
                .map(|i| sha256(&[&seed[..], &i.to_le_bytes()].concat()))
                .collect()
        } else {
            hashes(case, "other_txids_le")
        };
        assert_eq!(others.len() + 1, count as usize);
        let path = coinbase_path(&others);
        assert_eq!(path, hashes(case, "merkle_path"));
        assert_eq!(
            to_hex(root_from_path(&coinbase, &path)),
            text(case, "merkle_root")
        );
    }
}

fn sha256(data: &[u8]) -> [u8; 32] {
    use bitcoin::hashes::{Hash, sha256};
    sha256::Hash::hash(data).to_byte_array()
}

#[test]
fn nbits() {
    let difficulty_1 = natural_be(&Target::DIFFICULTY_1.to_be_bytes());
    for case in list(&jobs(), "nbits") {
        let nbits = u32_of(case, "nbits");
        assert_eq!(format!("{nbits:08x}"), text(case, "nbits_hex"));
        let target = Target::from_nbits(nbits).unwrap();
        assert_eq!(to_hex(target.to_le_bytes()), text(case, "target_le"));
        assert_eq!(target.to_string(), text(case, "target_be"));
        assert_eq!(target.to_nbits(), u32_of(case, "back_to_nbits"));
        assert_eq!(target.difficulty_f64(), f64_of(case, "difficulty_f64"));

        let [numerator, denominator] = list(case, "difficulty_exact") else {
            panic!("no fraction in {case}")
        };
        let left = product(
            &natural(numerator.as_str().unwrap()),
            &natural_be(&target.to_be_bytes()),
        );
        assert_eq!(
            left,
            product(&natural(denominator.as_str().unwrap()), &difficulty_1)
        );
    }
}

/// A natural number in base 2^16, least significant digit first, without leading zeros.
type Natural = Vec<u64>;

fn natural(decimal: &str) -> Natural {
    let mut number = vec![];
    for digit in decimal.chars() {
        let mut carry = u64::from(digit.to_digit(10).unwrap());
        for place in &mut number {
            carry += *place * 10;
            *place = carry & 0xffff;
            carry >>= 16;
        }
        number.push(carry);
    }
    trimmed(number)
}

fn natural_be(bytes: &[u8]) -> Natural {
    let digits = bytes.rchunks(2).map(|pair| {
        pair.iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    });
    trimmed(digits.collect())
}

fn product(a: &Natural, b: &Natural) -> Natural {
    let mut out = vec![0; a.len() + b.len()];
    for (i, x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, y) in b.iter().enumerate() {
            carry += out[i + j] + x * y;
            out[i + j] = carry & 0xffff;
            carry >>= 16;
        }
        out[i + b.len()] += carry;
    }
    trimmed(out)
}

fn trimmed(mut digits: Natural) -> Natural {
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

#[test]
fn nbits_edge_cases() {
    for case in list(&jobs(), "nbits_edge_cases") {
        let nbits = u32_of(case, "nbits");
        let compact = Compact::from_nbits(nbits);
        assert_eq!(
            compact.is_negative,
            bool_of(case, "negative"),
            "{nbits:08x}"
        );
        assert_eq!(
            compact.is_overflow,
            bool_of(case, "overflow"),
            "{nbits:08x}"
        );
        assert_eq!(
            Target::from_nbits(nbits).is_ok(),
            bool_of(case, "valid_for_pow"),
            "{nbits:08x}"
        );
        if !compact.is_overflow {
            assert_eq!(compact.target.to_string(), text(case, "target_be"));
            assert_eq!(
                compact.target.to_nbits(),
                u32_of(case, "canonical_nbits"),
                "{nbits:08x}"
            );
        }
    }
}

#[test]
fn target_to_difficulty() {
    for case in list(&jobs(), "target_to_difficulty") {
        let target = target_of(case, "target_le");
        assert_eq!(target.difficulty_f64(), f64_of(case, "difficulty_f64"));
        assert_eq!(target.to_nbits(), u32_of(case, "to_nbits"));
    }
}

#[test]
fn difficulty_to_target() {
    for case in list(&jobs(), "difficulty_to_target") {
        let target = Target::from_difficulty_str(text(case, "difficulty")).unwrap();
        assert_eq!(
            to_hex(target.to_le_bytes()),
            text(case, "target_le"),
            "{case}"
        );
        assert_eq!(target.to_string(), text(case, "target_be"));
        assert_eq!(target == Target::MAX, bool_of(case, "clamped"));
    }
}

#[test]
fn hashrate_to_target() {
    for case in list(&jobs(), "hashrate_to_target") {
        let shares_per_minute = f64_of(case, "shares_per_minute");
        let target = Target::from_hashrate(f64_of(case, "hashrate"), shares_per_minute).unwrap();
        assert_eq!(
            to_hex(target.to_le_bytes()),
            text(case, "target_le"),
            "{case}"
        );
        assert_eq!(target.to_string(), text(case, "target_be"));
        let back = target.to_hashrate(shares_per_minute).unwrap();
        // Null where the reference computation ran out of bits.
        if let Some(expected) = case["inverse_hashrate"].as_f64() {
            assert_eq!(back, expected, "{case}");
        }
    }
}

#[test]
fn hashrate_to_target_errors() {
    for case in list(&jobs(), "hashrate_to_target_errors") {
        let number = |key| text(case, key).parse().unwrap();
        let error =
            Target::from_hashrate(number("hashrate"), number("shares_per_minute")).unwrap_err();
        let name = match error {
            ConversionError::NonFinite => "NonFiniteInput",
            ConversionError::Negative => "NegativeInput",
            ConversionError::DivisionByZero => "DivisionByZero",
            other => panic!("{other} for {case}"),
        };
        assert_eq!(name, text(case, "result"), "{case}");
    }
}

#[test]
fn version_rolling() {
    for case in list(&jobs(), "version_rolling") {
        let (version, mask) = (u32_of(case, "job_version"), u32_of(case, "mask"));
        let bits = u32_of(case, "version_bits");
        let rolled = rolled_version(version, mask, bits);
        assert_eq!(rolled, u32_of(case, "resulting_version"));
        assert_eq!(bits & !mask != 0, bool_of(case, "bits_outside_mask"));
        assert_eq!(
            differs_only_in_rollable_bits(version, rolled),
            bool_of(case, "differs_only_in_bip323")
        );
    }
}

/// One channel of a share sequence.
struct Channel {
    job: Job,
    job_id: u32,
    tip: ChainTip,
    target: ShareTarget,
    extranonce_prefix: Vec<u8>,
    /// Set on standard channels.
    merkle_root: Option<[u8; 32]>,
    seen: DuplicateSet,
}

impl Channel {
    fn new(case: &Value) -> Self {
        let extranonce_prefix = bytes(case, "extranonce_prefix");
        let full_size =
            extranonce_prefix.len() + usize::try_from(uint(case, "extranonce_size")).unwrap();
        let may_roll = bool_of(case, "version_rolling_allowed");
        let (given, template) = (&case["job"], &case["template"]);
        let is_standard = match text(case, "channel") {
            "standard" => true,
            "extended" => false,
            other => panic!("unknown kind of channel {other}"),
        };
        let tag = tag_of(case, full_size);
        let job = job_of(template, &payouts(case), &tag, full_size, may_roll);
        assert_eq!(job.version(), u32_of(given, "version"));
        if !is_standard {
            assert_eq!(
                to_hex(job.coinbase().unwrap().prefix()),
                text(given, "coinbase_tx_prefix")
            );
            assert_eq!(
                to_hex(job.coinbase().unwrap().suffix()),
                text(given, "coinbase_tx_suffix")
            );
            assert_eq!(job.merkle_path(), hashes(given, "merkle_path"));
        }
        let received_at = Instant::from_secs(0);
        let (nbits, min_ntime) = (u32_of(case, "nbits"), u32_of(case, "min_ntime"));
        Self {
            job_id: u32_of(given, "job_id"),
            merkle_root: is_standard.then(|| array(given, "merkle_root")),
            job,
            tip: ChainTip::new(array(case, "prev_hash"), nbits, min_ntime, received_at).unwrap(),
            target: ShareTarget::new(target_of(case, "channel_target_le")),
            extranonce_prefix,
            seen: DuplicateSet::default(),
        }
    }

    fn submit(&mut self, case: &Value) -> Verdict {
        if u32_of(case, "job_id") != self.job_id {
            return Verdict::rejected(RejectReason::UnknownJob);
        }
        let extranonce = if case["extranonce"].is_null() {
            vec![]
        } else {
            bytes(case, "extranonce")
        };
        let share = Share {
            nonce: u32_of(case, "nonce"),
            ntime: u32_of(case, "ntime"),
            version: u32_of(case, "version"),
            extranonce: &extranonce,
        };
        let context = ShareContext {
            job: &self.job,
            tip: &self.tip,
            is_stale: false,
            job_min_ntime: 0,
            target: &self.target,
            root: match &self.merkle_root {
                Some(root) => Root::Standard(root),
                None => Root::Extended {
                    extranonce_prefix: &self.extranonce_prefix,
                },
            },
        };
        // The verdicts count ntime from min_ntime: the clock stands at it.
        let now = Now {
            instant: self.tip.received_at,
            unix_secs: self.tip.min_ntime.into(),
        };
        validate(
            &context,
            &share,
            &ShareLimits::default(),
            &mut self.seen,
            now,
        )
    }
}

/// The bytes between the template's part of the scriptSig and the extranonce: as the job has them, or, where only a
/// merkle root is given, as the coinbase of a block in the sequence has them.
fn tag_of(case: &Value, full_extranonce_size: usize) -> Vec<u8> {
    let template_part = bytes(&case["template"], "coinbase_prefix").len();
    // Version, number of inputs, outpoint, size of the scriptSig.
    let script_sig_at = 4 + 1 + 36 + 1;
    let prefix = if case["job"].get("coinbase_tx_prefix").is_some() {
        bytes(&case["job"], "coinbase_tx_prefix")
    } else {
        let blocks = list(case, "shares").iter().map(|share| &share["detail"]);
        let Some(block) = blocks
            .into_iter()
            .find(|detail| detail.get("coinbase_tx_with_witness").is_some())
        else {
            return vec![];
        };
        let coinbase = strip_bip141(&bytes(block, "coinbase_tx_with_witness")).unwrap();
        let script_sig_size = usize::from(coinbase[script_sig_at - 1]);
        coinbase[..script_sig_at + script_sig_size - full_extranonce_size].to_vec()
    };
    prefix[script_sig_at + template_part..].to_vec()
}

fn check_verdict(channel: &Channel, verdict: &Verdict, share: &Value) {
    let given = match (&verdict.outcome, &verdict.block) {
        (Ok(_), Some(_)) => "block",
        (Ok(_), None) => "accepted",
        (Err(reason), _) => reason.error_code(),
    };
    assert_eq!(
        given,
        text(share, "sri_verdict"),
        "{} in {share}",
        text(share, "kind")
    );
    if let Ok(accepted) = verdict.outcome {
        assert_eq!(to_hex(accepted.hash), text(&share["detail"], "hash_le"));
        assert_eq!(accepted.difficulty, channel.target.difficulty());
    }
    if let Some(block) = verdict.block {
        assert_eq!(block.header.hash(), block.hash);
        assert_eq!(
            channel.job.template_id(),
            Some(uint(&share["detail"], "template_id"))
        );
        let extranonce = if share["extranonce"].is_null() {
            vec![]
        } else {
            bytes(share, "extranonce")
        };
        let coinbase = channel
            .job
            .coinbase()
            .unwrap()
            .with_witness(&channel.extranonce_prefix, &extranonce);
        assert_eq!(
            to_hex(coinbase),
            text(&share["detail"], "coinbase_tx_with_witness")
        );
        let root = channel
            .job
            .merkle_root(&channel.extranonce_prefix, &extranonce);
        assert_eq!(Some(block.header.merkle_root), root);
    }
}

#[test]
fn share_sequences() {
    for case in list(&jobs(), "share_sequences") {
        let mut channel = Channel::new(case);
        for share in list(case, "shares") {
            let verdict = channel.submit(share);
            check_verdict(&channel, &verdict, share);
        }
    }
}
