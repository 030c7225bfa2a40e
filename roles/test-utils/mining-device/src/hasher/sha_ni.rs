//! SHA-256 with the SHA instructions of x86-64, two nonces side by side.
//!
//! One `sha256rnds2` has twice the latency of its throughput, so a second, independent hash runs in its shadow.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_cvtsi128_si32, _mm_set_epi32,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
    _mm_unpackhi_epi64, _mm_unpacklo_epi64,
};

use super::Work;
use super::portable::{INITIAL, ROUND_CONSTANTS};

const LANES: usize = 2;

/// Proof that this CPU has the instructions: there is no other way to make one than [`ShaNi::detect`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaNi(());

impl ShaNi {
    pub(super) fn detect() -> Option<Self> {
        let is_there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse2")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        is_there.then_some(Self(()))
    }

    /// The lowest offset below `count` whose nonce passes the test of the last word.
    pub(super) fn first_candidate(self, work: &Work, start: u32, count: u32) -> Option<u32> {
        // SAFETY: the function is unsafe to call only for its target features. `self` exists, so `detect` found each
        // feature it names on this CPU. It takes and returns plain values and dereferences no pointer.
        unsafe { first_candidate(work, start, count) }
    }
}

/// Half of the state each: words A, B, E, F and C, D, G, H, the first in the highest place, as the instructions want it.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn first_candidate(work: &Work, start: u32, count: u32) -> Option<u32> {
    let midstate = load(&work.midstate);
    let initial = load(&INITIAL);
    let [root, ntime, nbits] = work.tail;
    for offset in (0..count).step_by(LANES) {
        let first_blocks = std::array::from_fn(|lane| {
            // The lane past the end of an odd range may wrap around; it is not looked at.
            let nonce = start.wrapping_add(offset + lane as u32).swap_bytes();
            [
                words(root, ntime, nbits, nonce),
                words(0x8000_0000, 0, 0, 0),
                words(0, 0, 0, 0),
                words(0, 0, 0, 640),
            ]
        });
        let digests = compress([midstate; LANES], first_blocks);
        let second_blocks = digests.map(|digest| {
            let (abcd, efgh) = in_word_order(digest);
            [abcd, efgh, words(0x8000_0000, 0, 0, 0), words(0, 0, 0, 256)]
        });
        let last_words = last_words([initial; LANES], second_blocks);
        let passing = last_words
            .iter()
            .position(|word| work.may_be_met(word.wrapping_add(INITIAL[7])));
        if let Some(offset) = passing
            .map(|lane| offset + lane as u32)
            .filter(|offset| *offset < count)
        {
            return Some(offset);
        }
    }
    None
}

/// Four words, the first in the lowest place.
#[inline]
#[target_feature(enable = "sse2")]
fn words(a: u32, b: u32, c: u32, d: u32) -> __m128i {
    _mm_set_epi32(
        d.cast_signed(),
        c.cast_signed(),
        b.cast_signed(),
        a.cast_signed(),
    )
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(state: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = *state;
    State {
        abef: words(f, e, b, a),
        cdgh: words(h, g, d, c),
    }
}

/// The state as two vectors of words A, B, C, D and E, F, G, H, the first in the lowest place, as a block wants it.
#[inline]
#[target_feature(enable = "sse2")]
fn in_word_order(state: State) -> (__m128i, __m128i) {
    const SWAP_PAIRS: i32 = 0b10_11_00_01;
    let abcd = _mm_shuffle_epi32::<SWAP_PAIRS>(_mm_unpackhi_epi64(state.abef, state.cdgh));
    let efgh = _mm_shuffle_epi32::<SWAP_PAIRS>(_mm_unpacklo_epi64(state.abef, state.cdgh));
    (abcd, efgh)
}

/// SHA-256's compression of a block in each lane.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress(states: [State; LANES], mut blocks: [[__m128i; 4]; LANES]) -> [State; LANES] {
    let mut now = states;
    for group in 0..16 {
        for lane in 0..LANES {
            let w = next_words(&mut blocks[lane], group);
            now[lane].cdgh = _mm_sha256rnds2_epu32(now[lane].cdgh, now[lane].abef, w);
            now[lane].abef = _mm_sha256rnds2_epu32(now[lane].abef, now[lane].cdgh, high_half(w));
        }
    }
    std::array::from_fn(|lane| State {
        abef: _mm_add_epi32(now[lane].abef, states[lane].abef),
        cdgh: _mm_add_epi32(now[lane].cdgh, states[lane].cdgh),
    })
}

/// The last word of each lane's compression, before the initial state is added.
///
/// The rounds only move E on to F, G and H: F after 62 rounds is H after all 64, so the last two are left out.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn last_words(mut now: [State; LANES], mut blocks: [[__m128i; 4]; LANES]) -> [u32; LANES] {
    for group in 0..15 {
        for lane in 0..LANES {
            let w = next_words(&mut blocks[lane], group);
            now[lane].cdgh = _mm_sha256rnds2_epu32(now[lane].cdgh, now[lane].abef, w);
            now[lane].abef = _mm_sha256rnds2_epu32(now[lane].abef, now[lane].cdgh, high_half(w));
        }
    }
    std::array::from_fn(|lane| {
        let w = next_words(&mut blocks[lane], 15);
        let abef = _mm_sha256rnds2_epu32(now[lane].cdgh, now[lane].abef, w);
        _mm_cvtsi128_si32(abef).cast_unsigned()
    })
}

/// The four message words of one group of rounds with their constants added; makes the words of the group after next.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3")]
fn next_words(block: &mut [__m128i; 4], group: usize) -> __m128i {
    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|ahead| block[(group + ahead) % 4]);
    if group < 12 {
        let partial = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
        block[group % 4] = _mm_sha256msg2_epu32(partial, w3);
    }
    let k = &ROUND_CONSTANTS[group * 4..];
    _mm_add_epi32(w0, words(k[0], k[1], k[2], k[3]))
}

#[inline]
#[target_feature(enable = "sse2")]
fn high_half(words: __m128i) -> __m128i {
    _mm_shuffle_epi32::<0b00_00_11_10>(words)
}
