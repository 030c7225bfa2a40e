//! SHA-256 in plain Rust, over several nonces at once where the compiler finds vector instructions.

use std::array;

use super::Work;

/// Nonces hashed side by side: the width of the vectors that every x86-64 and aarch64 has.
const LANES: usize = 4;

type Lanes = [u32; LANES];

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
pub(super) fn header_tail_block<W: Word>(tail: [u32; 3], nonce: W) -> [W; 16] {
    let [root, ntime, nbits] = tail.map(W::splat);
    let (zero, one_bit) = (W::splat(0), W::splat(0x8000_0000));
    let bit_len = W::splat(640);
    [
        root, ntime, nbits, nonce, one_bit, zero, zero, zero, zero, zero, zero, zero, zero, zero,
        zero, bit_len,
    ]
}

/// The only block of the second hash: a digest and the padding of 32 bytes.
pub(super) fn digest_block<W: Word>(digest: [W; 8]) -> [W; 16] {
    let mut block = [W::splat(0); 16];
    block[..8].copy_from_slice(&digest);
    block[8] = W::splat(0x8000_0000);
    block[15] = W::splat(256);
    block
}

/// SHA-256's compression of one block of big-endian words.
pub(super) fn compress_one(state: &[u32; 8], block: &[u32; 16]) -> [u32; 8] {
    compress(*state, *block)
}

/// The lowest offset below `count` whose nonce passes the test of the last word.
pub(super) fn first_candidate(work: &Work, start: u32, count: u32) -> Option<u32> {
    for offset in (0..count).step_by(LANES) {
        // Lanes past the end of the range may wrap around; they are not looked at.
        let nonces: Lanes =
            array::from_fn(|lane| start.wrapping_add(offset + lane as u32).swap_bytes());
        let digest = compress(
            work.midstate.map(Lanes::splat),
            header_tail_block(work.tail, nonces),
        );
        let last_words = compress(INITIAL.map(Lanes::splat), digest_block(digest))[7];
        let passing = last_words.iter().position(|word| work.may_be_met(*word));
        if let Some(offset) = passing
            .map(|lane| offset + lane as u32)
            .filter(|offset| *offset < count)
        {
            return Some(offset);
        }
    }
    None
}

/// A word of SHA-256, or the same word of several hashes side by side.
pub(super) trait Word: Copy {
    /// The same value in every lane.
    fn splat(value: u32) -> Self;
    fn map(self, f: impl Fn(u32) -> u32) -> Self;
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self;

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_add)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
}

impl Word for u32 {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        value
    }

    #[inline(always)]
    fn map(self, f: impl Fn(u32) -> u32) -> Self {
        f(self)
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        f(self, other)
    }
}

impl Word for Lanes {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn map(self, f: impl Fn(u32) -> u32) -> Self {
        array::from_fn(|lane| f(self[lane]))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        array::from_fn(|lane| f(self[lane], other[lane]))
    }
}

/// FIPS 180-4, 6.2.2, in its own letters.
#[inline(always)]
fn compress<W: Word>(state: [W; 8], mut w: [W; 16]) -> [W; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    for round in 0..64 {
        if round >= 16 {
            let early =
                w[(round + 1) % 16].map(|x| x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3));
            let late =
                w[(round + 14) % 16].map(|x| x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10));
            w[round % 16] = w[round % 16]
                .plus(early)
                .plus(w[(round + 9) % 16])
                .plus(late);
        }
        let sum_1 = e.map(|x| x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25));
        let choice = g.xor(e.zip(f.xor(g), |x, y| x & y));
        let t1 = h
            .plus(sum_1)
            .plus(choice)
            .plus(w[round % 16])
            .map(|x| x.wrapping_add(ROUND_CONSTANTS[round]));
        let sum_0 = a.map(|x| x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22));
        let majority = a.zip(b, |x, y| x & y).xor(c.zip(a.xor(b), |x, y| x & y));
        (h, g, f, e) = (g, f, e, d.plus(t1));
        (d, c, b, a) = (c, b, a, t1.plus(sum_0).plus(majority));
    }
    let rounds = [a, b, c, d, e, f, g, h];
    array::from_fn(|index| state[index].plus(rounds[index]))
}
