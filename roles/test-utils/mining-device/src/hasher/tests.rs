use stratum_vectors::array;

use super::*;

fn hashers() -> Vec<Hasher> {
    vec![Hasher::portable(), Hasher::detect()]
}

fn scan(
    hasher: &Hasher,
    header: &[u8; 80],
    target: &[u8; 32],
    nonces: RangeInclusive<u32>,
) -> Scan {
    hasher.scan(&Work::new(header, target), nonces, &AtomicBool::new(false))
}

/// Pseudo-random bytes of a seed (splitmix64).
fn bytes<const N: usize>(seed: u64) -> [u8; N] {
    let mut state = seed;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed.wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8
    })
}

struct Mined {
    header: [u8; 80],
    hash: [u8; 32],
}

/// Headers with their hashes: of real blocks, and of the shares of made-up jobs.
fn mined() -> Vec<Mined> {
    let vectors = stratum_vectors::load("jobs.json");
    let entries = |keys: [&'static str; 2]| {
        keys.map(|key| stratum_vectors::list(&vectors, key))
            .concat()
    };
    let of_blocks = entries(["real_blocks", "real_headers"])
        .into_iter()
        .map(|block| {
            let mut hash: [u8; 32] = array(&block, "block_hash_display");
            hash.reverse();
            Mined {
                header: array(&block, "header"),
                hash,
            }
        });
    let of_shares = entries(["extended_jobs", "standard_jobs"])
        .into_iter()
        .map(|job| Mined {
            header: array(&job["share"], "header"),
            hash: array(&job["share"], "block_hash_le"),
        });
    of_blocks.chain(of_shares).collect()
}

fn nonce_of(header: &[u8; 80]) -> u32 {
    u32::from_le_bytes(header[76..].try_into().unwrap())
}

#[test]
fn known_headers_have_their_hashes() {
    for Mined { header, hash } in mined() {
        assert_eq!(double_sha256(&header), hash);
    }
}

#[test]
fn every_hasher_finds_the_nonce_of_known_headers_at_their_own_hash() {
    for Mined { header, hash } in mined() {
        let nonce = nonce_of(&header);
        let (from, to) = (nonce.saturating_sub(3), nonce.saturating_add(3));
        for hasher in hashers() {
            let found: Vec<u32> = (from..=to)
                .filter(|nonce| {
                    scan(&hasher, &header, &hash, *nonce..=*nonce).end == ScanEnd::Found(*nonce)
                })
                .collect();
            assert!(
                found.contains(&nonce),
                "{} misses {nonce} among {found:?}",
                hasher.name()
            );
        }
    }
}

#[test]
fn the_target_itself_is_met_and_one_less_is_not() {
    let Mined { header, hash } = mined().swap_remove(0);
    let nonce = nonce_of(&header);
    let mut below = hash;
    let lowest = below.iter_mut().find(|byte| **byte > 0).unwrap();
    *lowest -= 1;
    for hasher in hashers() {
        assert_eq!(
            scan(&hasher, &header, &hash, nonce..=nonce).end,
            ScanEnd::Found(nonce)
        );
        let scan = scan(&hasher, &header, &below, nonce..=nonce);
        assert_eq!(
            scan,
            Scan {
                end: ScanEnd::Exhausted,
                hashes: 1
            },
            "{}",
            hasher.name()
        );
    }
}

#[test]
fn every_hasher_finds_what_plain_hashing_finds_on_random_headers() {
    for seed in 0..20 {
        let header: [u8; 80] = bytes(seed);
        let mut target: [u8; 32] = bytes(seed + 1000);
        // One nonce in 2 to one in 64, and ranges of odd and even length, some at the very end of the nonces.
        target[31] >>= 1 + seed % 6;
        let count = 200 + seed as u32 % 3;
        let first = if seed % 4 == 0 {
            u32::MAX - count
        } else {
            nonce_of(&header).min(u32::MAX - count)
        };
        let work = Work::new(&header, &target);
        let expected: Vec<u32> = (first..=first + count)
            .filter(|nonce| work.is_met_by(*nonce))
            .collect();
        for hasher in hashers() {
            assert_eq!(
                all_found(&hasher, &work, first..=first + count),
                expected,
                "{} {seed}",
                hasher.name()
            );
        }
    }
}

fn all_found(hasher: &Hasher, work: &Work, nonces: RangeInclusive<u32>) -> Vec<u32> {
    let (mut next, mut found) = (Some(*nonces.start()), Vec::new());
    while let Some(start) = next {
        let scan = hasher.scan(work, start..=*nonces.end(), &AtomicBool::new(false));
        let ScanEnd::Found(nonce) = scan.end else {
            break;
        };
        found.push(nonce);
        next = nonce.checked_add(1).filter(|next| next <= nonces.end());
    }
    found
}

#[test]
fn a_scan_counts_its_hashes_over_batches() {
    let impossible = [0; 32];
    for hasher in hashers() {
        let scan = scan(&hasher, &[7; 80], &impossible, 5..=3 * BATCH);
        assert_eq!(
            scan,
            Scan {
                end: ScanEnd::Exhausted,
                hashes: u64::from(3 * BATCH) - 4
            }
        );
    }
}

#[test]
fn a_raised_flag_stops_before_the_first_hash() {
    let scan = Hasher::detect().scan(
        &Work::new(&[7; 80], &[0xff; 32]),
        0..=u32::MAX,
        &AtomicBool::new(true),
    );
    assert_eq!(
        scan,
        Scan {
            end: ScanEnd::Stopped,
            hashes: 0
        }
    );
}

#[test]
fn an_empty_range_is_exhausted() {
    #[expect(clippy::reversed_empty_ranges, reason = "the empty range is the case")]
    let scan = Hasher::detect().scan(
        &Work::new(&[7; 80], &[0xff; 32]),
        5..=4,
        &AtomicBool::new(false),
    );
    assert_eq!(
        scan,
        Scan {
            end: ScanEnd::Exhausted,
            hashes: 0
        }
    );
}
