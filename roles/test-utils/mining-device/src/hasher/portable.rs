//! SHA-256 in plain Rust, for every CPU.

use super::Work;

/// The state that SHA-256 starts from (FIPS 180-4, 5.3.3).
pub(super) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The round constants (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The second block of a header: merkle root's end, ntime, nbits, nonce (as big-endian words), padding of 80 bytes.
pub(super) fn header_tail_block([root, ntime, nbits]: [u32; 3], nonce: u32) -> [u32; 16] {
    [
        root,
        ntime,
        nbits,
        nonce,
        0x8000_0000,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        640,
    ]
}

/// The only block of the second hash: a digest and the padding of 32 bytes.
pub(super) fn digest_block([a, b, c, d, e, f, g, h]: [u32; 8]) -> [u32; 16] {
    [a, b, c, d, e, f, g, h, 0x8000_0000, 0, 0, 0, 0, 0, 0, 256]
}

/// The lowest offset below `count` whose nonce passes the test of the last word.
pub(super) fn first_candidate(work: &Work, start: u32, count: u32) -> Option<u32> {
    (0..count).find(|offset| {
        let nonce = (start + offset).swap_bytes();
        let digest = compress(&work.midstate, header_tail_block(work.tail, nonce));
        let [.., last_word] = compress(&INITIAL, digest_block(digest));
        work.may_be_met(last_word)
    })
}

/// SHA-256's compression of one block of big-endian words (FIPS 180-4, 6.2.2).
pub(super) fn compress(state: &[u32; 8], mut w: [u32; 16]) -> [u32; 8] {
    let mut now = *state;
    for first in [0, 16, 32, 48] {
        if first > 0 {
            extend(&mut w);
        }
        for (word, constant) in w.iter().zip(&ROUND_CONSTANTS[first..]) {
            now = round(now, word.wrapping_add(*constant));
        }
    }
    std::array::from_fn(|index| state[index].wrapping_add(now[index]))
}

/// Replaces the last 16 words of the message schedule by the next 16.
#[inline(always)]
fn extend(w: &mut [u32; 16]) {
    for index in 0..16 {
        let (early, late) = (w[(index + 1) % 16], w[(index + 14) % 16]);
        let sigma_0 = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
        let sigma_1 = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
        let sum = w[index]
            .wrapping_add(sigma_0)
            .wrapping_add(w[(index + 9) % 16]);
        w[index] = sum.wrapping_add(sigma_1);
    }
}

/// One round, in the letters of the standard; `w` has the round's constant added.
#[inline(always)]
fn round([a, b, c, d, e, f, g, h]: [u32; 8], w: u32) -> [u32; 8] {
    let sum_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let t1 = h.wrapping_add(sum_1).wrapping_add(choice).wrapping_add(w);
    let sum_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) ^ (c & (a ^ b));
    [
        t1.wrapping_add(sum_0).wrapping_add(majority),
        a,
        b,
        c,
        d.wrapping_add(t1),
        e,
        f,
        g,
    ]
}
