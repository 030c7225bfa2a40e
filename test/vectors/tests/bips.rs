//! The test vectors of BIP324 (ElligatorSwift) and BIP340 (Schnorr) against the keys of `noise_sv2`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use noise_sv2::{AuthorityPublicKey, AuthoritySecretKey, EphemeralKey, decode_key};
use stratum_vectors::{load_csv, unhex};

fn array<const N: usize>(hex: &str) -> [u8; N] {
    unhex(hex)
        .try_into()
        .unwrap_or_else(|b: Vec<u8>| panic!("{} bytes, not {N}", b.len()))
}

#[test]
fn bip324_encodings_decode() {
    for row in load_csv("bips/bip-0324_ellswift_decode_test_vectors.csv") {
        assert_eq!(
            decode_key(&array(&row["ellswift"])),
            array(&row["x"]),
            "{}",
            row["comment"]
        );
    }
}

#[test]
fn bip324_inverses_decode_to_where_they_came_from() {
    let mut inverses = 0;
    for row in load_csv("bips/bip-0324_xswiftec_inv_test_vectors.csv") {
        for case in 0..8 {
            let t = &row[&format!("case{case}_t")];
            if t.is_empty() {
                continue;
            }
            let encoding = array(&format!("{}{t}", row["u"]));
            assert_eq!(
                decode_key(&encoding),
                array(&row["x"]),
                "case {case}: {}",
                row["comment"]
            );
            inverses += 1;
        }
    }
    assert!(inverses > 0);
}

#[test]
fn bip324_shared_secrets() {
    for row in load_csv("bips/bip-0324_packet_encoding_test_vectors.csv") {
        let theirs = array(&row["in_ellswift_theirs"]);
        let ours = array(&row["in_ellswift_ours"]);
        let key = EphemeralKey::from_parts(&array(&row["in_priv_ours"]), &ours).unwrap();
        let secret = match row["in_initiating"].as_str() {
            "1" => key.shared_secret_as_initiator(&theirs),
            _ => key.shared_secret_as_responder(&theirs),
        };
        assert_eq!(
            *secret,
            array(&row["mid_shared_secret"]),
            "index {}",
            row["in_idx"]
        );
        assert_eq!(decode_key(&ours), array(&row["mid_x_ours"]));
        assert_eq!(decode_key(&theirs), array(&row["mid_x_theirs"]));
    }
}

#[test]
fn bip340_signatures() {
    let (mut valid, mut invalid, mut signed) = (0, 0, 0);
    for row in load_csv("bips/bip-0340_test-vectors.csv") {
        // Stratum V2 signs digests only.
        let Ok(digest) = <[u8; 32]>::try_from(unhex(&row["message"])) else {
            continue;
        };
        let signature = array(&row["signature"]);
        let key = AuthorityPublicKey::from_bytes(&array(&row["public key"]));
        let verifies = key.is_ok_and(|key| key.verifies(&digest, &signature));
        assert_eq!(
            verifies,
            row["verification result"] == "TRUE",
            "index {}",
            row["index"]
        );
        *(if verifies { &mut valid } else { &mut invalid }) += 1;

        if !row["secret key"].is_empty() {
            let secret = AuthoritySecretKey::from_bytes(&array(&row["secret key"])).unwrap();
            assert_eq!(secret.public_key(), key.unwrap());
            assert_eq!(secret.sign(&digest, &array(&row["aux_rand"])), signature);
            signed += 1;
        }
    }
    assert!(valid > 0 && invalid > 0 && signed > 0);
}
